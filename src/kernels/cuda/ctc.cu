/* Connectionist temporal classification, as cpu/ctc.c has it: a block for a sequence, whose threads share the states of a step. */
#include "kernels/cuda/cuda.h"

TN_DEVICE double log_sum(double a, double b)
{
    const double high = a > b ? a : b, low = a > b ? b : a;
    return low == -(double)INFINITY ? high : high + log1p(exp(low - high));
}

/* A sequence, and its part of the scratch. */
struct sequence {
    const int64_t *target;
    int64_t n, length, states, rows, wide; /* rows: of alpha that are kept: all for the gradient, else two; wide: states of the longest target */
    double *alpha;                         /* [rows, wide] */
    double *next, *share;                  /* [wide]: beta with what comes at its own step; what a state takes of its label's gradient */
    int64_t *follower;                     /* [wide]: the next state of the same label, negative where this is not its label's first; states: none */
};
TN_HD static inline int64_t scratch_of(const tn_ctc &c) { return ((c.dx ? c.time : 2) + 3) * (2 * c.longest + 1); }
TN_DEVICE sequence sequence_of(const tn_ctc &c, int64_t n, double *scratch)
{
    sequence q;
    q.target = c.targets + c.starts[n];
    q.n = n;
    q.length = c.input_lengths[n];
    q.states = 2 * c.target_lengths[n] + 1;
    q.rows = c.dx ? c.time : 2;
    q.wide = 2 * c.longest + 1;
    q.alpha = scratch + n * scratch_of(c);
    q.next = q.alpha + q.rows * q.wide;
    q.share = q.next + q.wide;
    q.follower = (int64_t *)(q.share + q.wide);
    return q;
}

TN_DEVICE int64_t label_of(const tn_ctc &c, const sequence &q, int64_t s) { return s & 1 ? q.target[s / 2] : c.blank; }
/* Whether a way may go from s - 2 to s. */
TN_DEVICE bool jumps(const sequence &q, int64_t s) { return (s & 1) && s >= 3 && q.target[s / 2] != q.target[s / 2 - 1]; }
TN_DEVICE int64_t place_of(const tn_ctc &c, const sequence &q, int64_t t, int64_t label) { return (t * c.batch + q.n) * c.classes + label; }

/* All of alpha; the log of the target's probability. */
template <class S> TN_DEVICE double forward(const tn_ctc &c, const sequence &q)
{
    if (q.length == 0)
        return q.states == 1 ? 0 : -(double)INFINITY;
    for (int64_t t = 0; t < q.length; t++) {
        double *now = q.alpha + t % q.rows * q.wide;
        const double *before = q.alpha + (t + q.rows - 1) % q.rows * q.wide;
        for (int64_t s = threadIdx.x; s < q.states; s += blockDim.x) {
            double sum = t ? before[s] : s < 2 ? 0 : -(double)INFINITY;
            if (t && s > 0)
                sum = log_sum(sum, before[s - 1]);
            if (t && jumps(q, s))
                sum = log_sum(sum, before[s - 2]);
            now[s] = sum + (double)((const S *)c.x)[place_of(c, q, t, label_of(c, q, s))];
        }
        __syncthreads();
    }
    const double *last = q.alpha + (q.length - 1) % q.rows * q.wide;
    return q.states == 1 ? last[0] : log_sum(last[q.states - 1], last[q.states - 2]);
}

/* The states of each label as a list, so that one thread adds them up, in their order. */
TN_DEVICE void link(const tn_ctc &c, const sequence &q)
{
    for (int64_t s = threadIdx.x; s < q.states; s += blockDim.x) {
        const int64_t label = label_of(c, q, s);
        int64_t before = s - 2, after = s + 2; /* no label is the blank */
        while (before >= 0 && label_of(c, q, before) != label)
            before -= 2;
        while (after < q.states && label_of(c, q, after) != label)
            after += 2;
        after = after < q.states ? after : q.states;
        q.follower[s] = before >= 0 ? -after : after;
    }
}

/* d loss/d x[t][n][label]: minus the probability, the target given, that the way is in a state of this label at t. */
template <class S> TN_DEVICE void backward(const tn_ctc &c, const sequence &q, double total)
{
    link(c, q);
    for (int64_t t = q.length - 1; t >= 0; t--) {
        const double *here = q.alpha + t * q.wide;
        for (int64_t s = threadIdx.x; s < q.states; s += blockDim.x) {
            double sum = t == q.length - 1 ? (s >= q.states - 2 ? 0 : -(double)INFINITY) : q.next[s];
            if (t < q.length - 1 && s + 1 < q.states)
                sum = log_sum(sum, q.next[s + 1]);
            if (t < q.length - 1 && s + 2 < q.states && jumps(q, s + 2))
                sum = log_sum(sum, q.next[s + 2]);
            q.share[s] = sum;
        }
        __syncthreads();
        for (int64_t s = threadIdx.x; s < q.states; s += blockDim.x) { /* what comes at t counts from t - 1 on */
            q.next[s] = q.share[s] + (double)((const S *)c.x)[place_of(c, q, t, label_of(c, q, s))];
            q.share[s] = exp(here[s] + q.share[s] - total);
        }
        __syncthreads();
        for (int64_t s = threadIdx.x; s < q.states; s += blockDim.x) {
            if (q.follower[s] < 0)
                continue;
            double sum = q.share[s];
            for (int64_t k = q.follower[s]; k < q.states; k = -q.follower[k])
                sum += q.share[k];
            ((S *)c.dx)[place_of(c, q, t, label_of(c, q, s))] = (S)-sum;
        }
        __syncthreads();
    }
}

template <class S> TN_KERNEL ctc_kernel(tn_ctc c, double *scratch)
{
    const sequence q = sequence_of(c, blockIdx.x, scratch);
    const double total = forward<S>(c, q);
    const bool none = total == -(double)INFINITY && c.zero_infinity;
    if (threadIdx.x == 0)
        ((S *)c.loss)[q.n] = none ? 0 : (S)-total;
    for (int64_t i = threadIdx.x; c.dx && i < c.time * c.classes; i += blockDim.x)
        ((S *)c.dx)[place_of(c, q, i / c.classes, i % c.classes)] = 0;
    __syncthreads();
    if (c.dx && !none)
        backward<S>(c, q, total);
}

tn_status tn_cuda_ctc(tn_dtype dtype, const tn_ctc *c)
{
    const int64_t states = 2 * c->longest + 1;
    tn_cuda_scratch scratch((size_t)(c->batch * scratch_of(*c)) * sizeof(double));
    if (!scratch.data)
        return TN_ERR_MEMORY;
    if (c->batch > 0 && dtype == TN_F64)
        TN_LAUNCH(ctc_kernel<double>, c->batch, tn_threads(states), *c, (double *)scratch.data);
    else if (c->batch > 0)
        TN_LAUNCH(ctc_kernel<float>, c->batch, tn_threads(states), *c, (double *)scratch.data);
    return tn_cuda_status("ctc");
}
