/* Connectionist temporal classification (Graves et al. 2006), in logarithms and f64. A sequence's states are blank, label 0, blank,
 * label 1, ..., blank: 2 length + 1 of them. alpha[t][s] is the log of the probability of all ways that end in s at t, beta[s] that of
 * all that go on from there; a way goes on to its own state, the next, and past a blank between two labels that differ. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

typedef struct ctc_task {
    const tn_ctc *c;
    bool wide;       /* f64 */
    int64_t rows;    /* of alpha that are kept: all for the gradient, else two */
    int64_t states;  /* of the longest target */
    double *scratch; /* [workers][rows + 2][states] */
    int64_t workers;
} ctc_task;

static double log_sum(double a, double b)
{
    double high = a > b ? a : b, low = a > b ? b : a;
    return low == -INFINITY ? high : high + log1p(exp(low - high));
}

static inline double at(const ctc_task *task, int64_t t, int64_t n, int64_t label)
{
    int64_t i = (t * task->c->batch + n) * task->c->classes + label;
    return task->wide ? ((const double *)task->c->x)[i] : (double)((const float *)task->c->x)[i];
}
static inline void put(const ctc_task *task, void *to, int64_t i, double value)
{
    if (task->wide)
        ((double *)to)[i] = value;
    else
        ((float *)to)[i] = (float)value;
}

static inline int64_t label_of(const ctc_task *task, const int64_t *target, int64_t s) { return s & 1 ? target[s / 2] : task->c->blank; }
/* Whether a way may go from s - 2 to s. */
static inline bool jumps(const int64_t *target, int64_t s) { return s & 1 && s >= 3 && target[s / 2] != target[s / 2 - 1]; }

/* All of alpha; the log of the target's probability. */
static double forward(const ctc_task *task, int64_t n, const int64_t *target, int64_t length, int64_t states, double *alpha)
{
    if (length == 0)
        return states == 1 ? 0 : -INFINITY;
    for (int64_t t = 0; t < length; t++) {
        double *now = alpha + t % task->rows * task->states;
        const double *before = t ? alpha + (t - 1) % task->rows * task->states : NULL;
        for (int64_t s = 0; s < states; s++) {
            double sum = before ? before[s] : s < 2 ? 0 : -INFINITY;
            if (before && s > 0)
                sum = log_sum(sum, before[s - 1]);
            if (before && jumps(target, s))
                sum = log_sum(sum, before[s - 2]);
            now[s] = sum + at(task, t, n, label_of(task, target, s));
        }
    }
    const double *last = alpha + (length - 1) % task->rows * task->states;
    return states == 1 ? last[0] : log_sum(last[states - 1], last[states - 2]);
}

/* d loss/d x[t][n][label]: minus the probability, the target given, that the way is in a state of this label at t. */
static void backward(const ctc_task *task, int64_t n, const int64_t *target, int64_t length, int64_t states, double *alpha, double total)
{
    double *next = alpha + task->rows * task->states, *beta = next + task->states;
    for (int64_t t = length - 1; t >= 0; t--) {
        const double *here = alpha + t * task->states;
        char *dx = (char *)task->c->dx + (size_t)((t * task->c->batch + n) * task->c->classes) * (task->wide ? 8 : 4);
        for (int64_t s = 0; s < states; s++) {
            double sum = t == length - 1 ? (s >= states - 2 ? 0 : -INFINITY) : next[s];
            if (t < length - 1 && s + 1 < states)
                sum = log_sum(sum, next[s + 1]);
            if (t < length - 1 && s + 2 < states && jumps(target, s + 2))
                sum = log_sum(sum, next[s + 2]);
            beta[s] = sum;
            int64_t label = label_of(task, target, s);
            double former = task->wide ? ((double *)(void *)dx)[label] : (double)((float *)(void *)dx)[label];
            put(task, dx, label, former - exp(here[s] + sum - total));
        }
        for (int64_t s = 0; s < states; s++) /* what comes at t counts from t - 1 on */
            next[s] = beta[s] + at(task, t, n, label_of(task, target, s));
    }
}

static void clear(const ctc_task *task, int64_t n)
{
    const tn_ctc *c = task->c;
    size_t row = (size_t)c->classes * (task->wide ? 8 : 4);
    for (int64_t t = 0; t < c->time; t++)
        memset((char *)c->dx + (size_t)(t * c->batch + n) * row, 0, row);
}

static void sequences(int64_t begin, int64_t end, void *context)
{
    const ctc_task *task = context;
    const tn_ctc *c = task->c;
    for (int64_t worker = begin; worker < end; worker++) {
        double *alpha = task->scratch + worker * (task->rows + 2) * task->states;
        int64_t last = c->batch * (worker + 1) / task->workers;
        for (int64_t n = c->batch * worker / task->workers; n < last; n++) {
            const int64_t *target = c->targets + c->starts[n];
            int64_t length = c->input_lengths[n], states = 2 * c->target_lengths[n] + 1;
            double total = forward(task, n, target, length, states, alpha);
            bool none = total == -INFINITY && c->zero_infinity;
            put(task, c->loss, n, none ? 0 : -total);
            if (!c->dx)
                continue;
            clear(task, n);
            if (!none)
                backward(task, n, target, length, states, alpha, total);
        }
    }
}

tn_status TN_K(ctc)(tn_dtype dtype, const tn_ctc *c)
{
    ctc_task task = {.c = c, .wide = dtype == TN_F64, .rows = c->dx ? c->time : 2, .states = 2 * c->longest + 1};
    if (c->batch == 0) return TN_OK;
    int64_t work = tn_max_i64(1, c->time * task.states);
    task.workers = tn_min_i64(tn_min_i64(tn_parallel_width(), c->batch), tn_ceil_div(c->batch * work, TN_GRAIN / 32));
    size_t bytes = (size_t)(task.workers * (task.rows + 2) * task.states) * sizeof(double);
    if (!(task.scratch = tn_alloc(bytes))) return TN_ERR_MEMORY;
    tn_parallel_for(task.workers, 1, sequences, &task);
    tn_free(task.scratch, bytes);
    return TN_OK;
}
