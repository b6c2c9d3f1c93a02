/* Recurrent layers of f32 and f64 by cuDNN: a layer in one direction over packed sequences, which is what tn_rnn is. Steps go forward there: of
 * a reversed layer each sequence's rows are turned around before and after. Weights lie in one space of cuDNN's own order, filled at each call,
 * and gradients of weights come out of such a one. */
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/cudnn.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

enum { TN_CUDNN_NUMBERS(TN_NUMBER) TN_CUDNN_RNN_NUMBERS(TN_NUMBER) };
static struct { TN_CUDNN_RNN_FUNCTIONS(TN_FUNCTION) } dnn;

static bool there;
static char text[400];
static std::once_flag opened;

static bool opens(const char *file, char *why, size_t size)
{
    static const char *const names[] = {TN_CUDNN_RNN_FUNCTIONS(TN_NAME)};
    if (!tn_cuda_open(file, names, &dnn, why, size))
        return false;
    const int error = dnn.cudnnAdvVersionCheck(); /* that of the other files */
    if (error)
        snprintf(why, size, "%s: %s", file, tn_cudnn_error(error));
    return !error;
}

static bool is_there()
{
    std::call_once(opened, [] {
        char why[300];
        there = tn_cudnn_is_there() && opens("libcudnn_adv.so.9", why, sizeof why);
        if (tn_cudnn_is_there() && !there)
            snprintf(text, sizeof text, "; recurrent layers run by kernels of our own: %s", why);
    });
    return there;
}

const char *tn_cudnn_rnn_text() { return is_there(), text; }

/* ---- plans ------------------------------------------------------------------------------------------------------------------ */

namespace { /* other files have keys and plans of other kinds */

struct key {
    int64_t device, kind, rounds, dtype, in, hidden;
};
struct plan {
    void *rnn = NULL, *dropout = NULL; /* descriptors */
    size_t weights = 0;                /* bytes of the space for the weights */
    size_t places[4] = {};             /* in it, of w_ih, w_hh, b_ih, b_hh; each has its gates one after another, as ours */
    int error = CUDNN_STATUS_SUCCESS;  /* why it does not work */

    plan() = default;
    plan(const plan &) = delete;
    ~plan()
    {
        if (rnn)
            dnn.cudnnDestroyRNNDescriptor(rnn);
        if (dropout)
            dnn.cudnnDestroyDropoutDescriptor(dropout);
    }
};
/* Under tn_cudnn_lock. */
static std::unordered_map<key, std::unique_ptr<plan>, tn_cuda_hash<key>, tn_cuda_same<key>> plans;

struct tensor { /* a descriptor */
    void *made = NULL;
    int error = dnn.cudnnCreateTensorDescriptor(&made);

    tensor() = default;
    tensor(const tensor &) = delete;
    ~tensor()
    {
        if (made)
            dnn.cudnnDestroyTensorDescriptor(made);
    }
};

static size_t item_of(int64_t dtype) { return dtype == TN_F64 ? sizeof(double) : sizeof(float); }
static int type_of(int64_t dtype) { return dtype == TN_F64 ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT; }

/* Bytes of one gate of w_ih, w_hh, b_ih, b_hh. */
struct gate_sizes {
    size_t each[4];
    gate_sizes(int64_t dtype, int64_t in, int64_t hidden)
    {
        const size_t unit = (size_t)hidden * item_of(dtype);
        each[0] = unit * (size_t)in, each[1] = unit * (size_t)hidden, each[2] = each[3] = unit;
    }
};

/* Asks for each gate's matrices and biases, of the input and of h, in a space at an address where nobody looks. */
static int find_places(plan *p, const key &k, void *handle)
{
    const gate_sizes sizes(k.dtype, k.in, k.hidden);
    const int gates = (int)tn_rnn_gates((tn_rnn_kind)k.kind);
    const uintptr_t space = 1 << 20;
    tensor matrix, bias;
    int error = matrix.error ? matrix.error : bias.error;
    for (int id = 0; id < 2 * gates && !error; id++) {
        void *at[2] = {};
        error = dnn.cudnnGetRNNWeightParams(handle, p->rnn, 0, p->weights, (const void *)space, id, matrix.made, &at[0], bias.made, &at[1]);
        for (int which = 0; which < 2 && !error; which++) {
            const int i = id / gates + 2 * which, gate = id % gates;
            const size_t place = (size_t)((uintptr_t)at[which] - space);
            if (gate == 0)
                p->places[i] = place;
            if (!at[which] || place != p->places[i] + (size_t)gate * sizes.each[i] || place + sizes.each[i] > p->weights)
                error = CUDNN_STATUS_NOT_SUPPORTED;
        }
    }
    return error;
}

/* Of one algorithm, which gives the same bits every time. A layer alone drops nothing, and the descriptor wants to be told. */
static int make(plan *p, const key &k, void *handle)
{
    static const int modes[] = {CUDNN_RNN_TANH, CUDNN_RNN_RELU, CUDNN_LSTM, CUDNN_GRU}; /* by tn_rnn_kind */
    const int type = type_of(k.dtype), math = k.dtype == TN_F32 && !k.rounds ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH;
    int error = dnn.cudnnCreateDropoutDescriptor(&p->dropout);
    error = error ? error : dnn.cudnnSetDropoutDescriptor(p->dropout, handle, 0, NULL, 0, 0);
    error = error ? error : dnn.cudnnCreateRNNDescriptor(&p->rnn);
    error = error ? error : dnn.cudnnSetRNNDescriptor_v8(p->rnn, CUDNN_RNN_ALGO_STANDARD, modes[k.kind], CUDNN_RNN_DOUBLE_BIAS, CUDNN_UNIDIRECTIONAL,
                                                         CUDNN_LINEAR_INPUT, type, type, math, (int32_t)k.in, (int32_t)k.hidden,
                                                         (int32_t)k.hidden, 1, p->dropout, CUDNN_RNN_PADDED_IO_DISABLED);
    error = error ? error : dnn.cudnnGetRNNWeightSpaceSize(handle, p->rnn, &p->weights);
    return error ? error : find_places(p, k, handle);
}

static const plan *plan_of(const key &k, void *handle)
{
    auto found = plans.find(k);
    if (found != plans.end())
        return found->second.get();
    if (plans.size() >= TN_CUDA_PLANS)
        plans.clear();
    std::unique_ptr<plan> p(new plan);
    p->error = make(p.get(), k, handle);
    return plans.emplace(k, std::move(p)).first->second.get();
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

/* Rows as tn_rnn has them, made dense, and of each sequence in the other order if `turned`. */
template <class S> struct rows {
    int64_t count, width, batch, steps;
    const int64_t *first; /* on the device; NULL: all sequences have all steps, or it does not matter */
    bool turned;
    const S *from;
    int64_t from_step, from_row; /* as tn_rnn_grad's dy has them */
    S *to;
};

/* The last of the steps that begin at row or before. */
TN_DEVICE int64_t step_of(const int64_t *first, int64_t steps, int64_t row)
{
    int64_t low = 0, high = steps - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        first[middle] <= row ? low = middle : high = middle - 1;
    }
    return low;
}

/* The last of the steps that sequence b has. */
TN_DEVICE int64_t last_of(const int64_t *first, int64_t steps, int64_t b)
{
    int64_t low = 0, high = steps - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        first[middle + 1] - first[middle] > b ? low = middle : high = middle - 1;
    }
    return low;
}

template <class S> TN_KERNEL rows_kernel(rows<S> s)
{
    const int64_t e = tn_this_thread(), row = e / s.width;
    if (row >= s.count)
        return;
    int64_t t = s.first ? step_of(s.first, s.steps, row) : row / s.batch, at = row;
    const int64_t b = s.first ? row - s.first[t] : row % s.batch;
    if (s.turned) {
        t = (s.first ? last_of(s.first, s.steps, b) : s.steps - 1) - t;
        at = (s.first ? s.first[t] : t * s.batch) + b;
    }
    s.to[e] = s.from[(s.from_step ? t * s.from_step + b * s.from_row : at * s.from_row) + e % s.width];
}

/* ---- calls ------------------------------------------------------------------------------------------------------------------ */

/* One call: the plan, what depends on the sequences, and memory for as long as it takes. */
struct call {
    std::lock_guard<std::mutex> hold{tn_cudnn_lock};
    const tn_dtype dtype;
    const tn_rnn *const r;
    const int64_t count;
    void *handle = NULL;
    const plan *p = NULL;
    void *x = NULL, *y = NULL; /* descriptors */
    tensor h;                  /* of c too */
    size_t work = 0, reserve = 0;
    int error;
    std::deque<tn_cuda_scratch> memory;
    bool missing = false; /* memory was, and nothing may be launched */
    const int64_t *first = NULL;

    /* way: 1, or 2, where products may round. */
    call(tn_dtype dtype_, const tn_rnn *r_, int way, int mode) : dtype(dtype_), r(r_), count(r_->first[r_->steps])
    {
        error = tn_cudnn_handle(&handle);
        error = error ? error : h.error;
        if (error)
            return;
        p = plan_of({tn_cuda_device(), r->kind, way - 1, dtype, r->in, r->hidden}, handle);
        error = p->error ? p->error : describe();
        error = error ? error : dnn.cudnnGetRNNTempSpaceSizes(handle, p->rnn, mode, x, &work, mode == CUDNN_FWD_MODE_TRAINING ? &reserve : NULL);
    }
    call(const call &) = delete;
    ~call()
    {
        if (x)
            dnn.cudnnDestroyRNNDataDescriptor(x);
        if (y)
            dnn.cudnnDestroyRNNDataDescriptor(y);
    }

    int describe()
    {
        const int type = type_of(dtype), batch = (int)r->batch, hidden = (int)r->hidden, sizes[] = {1, batch, hidden};
        const int strides[] = {batch * hidden, hidden, 1};
        std::vector<int> lengths;
        for (int64_t t = r->steps; t > 0; t--) /* the first r->first[t] - r->first[t - 1] sequences have t steps */
            lengths.resize((size_t)(r->first[t] - r->first[t - 1]), (int)t);
        int failed = dnn.cudnnSetTensorNdDescriptor(h.made, type, 3, sizes, strides);
        failed = failed ? failed : dnn.cudnnCreateRNNDataDescriptor(&x);
        failed = failed ? failed : dnn.cudnnCreateRNNDataDescriptor(&y);
        failed = failed ? failed : dnn.cudnnSetRNNDataDescriptor(x, type, CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED, (int)r->steps, batch, (int)r->in,
                                                                 lengths.data(), NULL);
        return failed ? failed : dnn.cudnnSetRNNDataDescriptor(y, type, CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED, (int)r->steps, batch, hidden,
                                                               lengths.data(), NULL);
    }

    void *take(size_t bytes)
    {
        memory.emplace_back(bytes);
        missing = missing || !memory.back().data;
        return memory.back().data;
    }
    void *take_rows(int64_t width) { return take((size_t)(count * width) * item_of(dtype)); }
    void copy(void *to, const void *from, size_t bytes)
    {
        if (!missing)
            cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, tn_cuda_stream());
    }
    void zero(void *to, size_t bytes)
    {
        if (!missing)
            cudaMemsetAsync(to, 0, bytes, tn_cuda_stream());
    }
    void *copy_of(const void *from, size_t bytes)
    {
        void *to = take(bytes);
        copy(to, from, bytes);
        return to;
    }
    /* A state; NULL of NULL. */
    void *state(const void *from) { return from ? copy_of(from, (size_t)(r->batch * r->hidden) * item_of(dtype)) : NULL; }

    /* Where sequences differ and are turned: first on the device. */
    void bring_first()
    {
        if (first || !r->reverse || count == r->steps * r->batch)
            return;
        const size_t bytes = (size_t)(r->steps + 1) * sizeof *r->first;
        void *host = NULL, *to = tn_cuda_capturing() ? tn_cuda_cell(r->first, bytes, &host) : take(bytes);
        missing = missing || !to;
        if (!missing && !host)
            cudaMemcpyAsync(to, r->first, bytes, cudaMemcpyHostToDevice, tn_cuda_stream());
        first = (const int64_t *)to;
    }
    template <class S> void lay_all(void *to, const void *from, int64_t width, int64_t step, int64_t row)
    {
        const rows<S> s = {count, width, r->batch, r->steps, first, r->reverse, (const S *)from, step, row, (S *)to};
        TN_LAUNCH_EACH(rows_kernel<S>, count * width, s);
    }
    void lay(void *to, const void *from, int64_t width, int64_t step, int64_t row)
    {
        bring_first();
        if (!missing)
            dtype == TN_F64 ? lay_all<double>(to, from, width, step, row) : lay_all<float>(to, from, width, step, row);
    }
    /* Rows for cuDNN: what is given, where it is as cuDNN wants it. */
    const void *rows_in(const void *from, int64_t width, int64_t step, int64_t row)
    {
        if (!r->reverse && row == width && (!step || step == r->batch * width))
            return from;
        void *to = take_rows(width);
        lay(to, from, width, step, row);
        return to;
    }
    /* Rows by cuDNN, which bring_out() brings where they belong; NULL: nowhere. */
    void *rows_out(void *to, int64_t width) { return to && !r->reverse ? to : take_rows(width); }
    void bring_out(void *to, const void *from, int64_t width)
    {
        if (to && to != from)
            lay(to, from, width, 0, width);
    }

    /* Weights as cuDNN has them. */
    void *weights()
    {
        const void *const from[] = {r->w_ih, r->w_hh, r->b_ih, r->b_hh};
        const gate_sizes sizes(dtype, r->in, r->hidden);
        char *space = (char *)take(p->weights);
        for (int i = 0; i < 4 && !missing; i++) {
            const size_t bytes = (size_t)tn_rnn_gates(r->kind) * sizes.each[i];
            from[i] ? copy(space + p->places[i], from[i], bytes) : zero(space + p->places[i], bytes);
        }
        return space;
    }
    void bring_weights(const void *space, void *const *to)
    {
        const gate_sizes sizes(dtype, r->in, r->hidden);
        for (int i = 0; i < 4; i++)
            if (to[i])
                copy(to[i], (const char *)space + p->places[i], (size_t)tn_rnn_gates(r->kind) * sizes.each[i]);
    }

    void *cell() const { return r->kind == TN_RNN_KIND_LSTM ? h.made : NULL; }
};

} // namespace

static tn_status status_of(const char *op, int error)
{
    return error ? tn_cuda_library_failed(op, tn_cudnn_error(error)) : tn_cuda_status(op);
}

/* The way that a call would go now; 0: not by cuDNN. One step is as fast by our own kernels, which take the weights where they are. A ReLU must
 * keep NaN, of which cuDNN promises nothing. */
static int way_of(tn_dtype dtype, const tn_rnn *r)
{
    const int64_t rows = r->first[r->steps], wide = r->hidden * tn_rnn_gates(r->kind), widest = wide > r->in ? wide : r->in;
    const bool empty = !r->batch || !r->hidden || !r->in, small = widest <= INT32_MAX && rows <= INT32_MAX && rows * widest <= INT32_MAX;
    if (empty || !small || r->steps < 2 || r->kind == TN_RNN_KIND_RELU || !is_there())
        return 0;
    return dtype == TN_F32 && (r->rounded || tn_cuda_tf32()) ? 2 : 1;
}

void tn_cudnn_rnn_saved(tn_dtype dtype, const tn_rnn *r, int64_t *elements)
{
    const int way = way_of(dtype, r);
    if (!way)
        return;
    const call c(dtype, r, way, CUDNN_FWD_MODE_TRAINING);
    if (c.error)
        return;
    const int64_t kept = (int64_t)((c.reserve + item_of(dtype) - 1) / item_of(dtype));
    *elements = std::max({kept, *elements, (int64_t)1});
    *r->way = way;
}

bool tn_cudnn_rnn_forward(tn_dtype dtype, const tn_rnn *r, tn_status *status)
{
    const int way = r->saved ? *r->way : way_of(dtype, r);
    *r->way = 0;
    if (!way)
        return false;
    call c(dtype, r, way, r->saved ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE);
    if (c.error)
        return false;
    const void *x = c.rows_in(r->x, r->in, 0, r->in), *h = c.state(r->h), *cell = c.state(r->c), *weights = c.weights();
    void *y = c.rows_out(r->y, r->hidden), *work = c.take(c.work);
    if (c.missing)
        return *status = TN_ERR_MEMORY, true;
    const int error = dnn.cudnnRNNForward(c.handle, c.p->rnn, r->saved ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE, NULL, c.x, x, c.y, y,
                                          c.h.made, h, r->h, c.cell(), cell, r->c, c.p->weights, weights, c.work, work, c.reserve, r->saved);
    if (error / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000)
        return false;
    if (!error)
        c.bring_out(r->y, y, r->hidden);
    *r->way = r->saved ? way : 0;
    return *status = c.missing ? TN_ERR_MEMORY : status_of("rnn_forward", error), true;
}

/* What forward kept is copied: cuDNN writes into it, and a graph may be walked twice. */
tn_status tn_cudnn_rnn_backward(tn_dtype dtype, const tn_rnn_grad *d)
{
    const tn_rnn *r = &d->rnn;
    call c(dtype, r, *r->way, CUDNN_FWD_MODE_TRAINING);
    if (c.error)
        return status_of("rnn_backward", c.error);
    void *const dweights[] = {d->dw_ih, d->dw_hh, d->db_ih, d->db_hh};
    const bool learns = d->dw_ih || d->dw_hh || d->db_ih || d->db_hh;
    const void *y = c.rows_in(r->y, r->hidden, 0, r->hidden), *dy = c.rows_in(d->dy, r->hidden, d->dy_step, d->dy_row);
    const void *x = learns ? c.rows_in(r->x, r->in, 0, r->in) : NULL, *dh = c.state(d->dh), *dc = c.state(d->dc), *weights = c.weights();
    void *dx = c.rows_out(d->dx, r->in), *reserve = c.copy_of(r->saved, c.reserve), *work = c.take(c.work);
    void *space = learns ? c.take(c.p->weights) : NULL; /* to which is added */
    if (c.missing)
        return TN_ERR_MEMORY;
    int error = dnn.cudnnRNNBackwardData_v8(c.handle, c.p->rnn, NULL, c.y, y, dy, c.x, dx, c.h.made, r->h, dh, d->dh, c.cell(), r->c, dc, d->dc,
                                            c.p->weights, weights, c.work, work, c.reserve, reserve);
    if (learns && !error) {
        c.zero(space, c.p->weights);
        error = dnn.cudnnRNNBackwardWeights_v8(c.handle, c.p->rnn, CUDNN_WGRAD_MODE_ADD, NULL, c.x, x, c.h.made, r->h, c.y, y, c.p->weights, space,
                                               c.work, work, c.reserve, reserve);
    }
    if (!error) {
        c.bring_out(d->dx, dx, r->in);
        if (learns)
            c.bring_weights(space, dweights);
    }
    return status_of("rnn_backward", error);
}
