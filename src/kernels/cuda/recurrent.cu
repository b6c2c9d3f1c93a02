/* Recurrent layers, by cuDNN where it is and has them; else: the input's part of the gates as one product over all steps; then for each step
 * the product of h with W_hh, and one kernel over the gates. Formulas and names are cpu/recurrent_rows.h's. */
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/math.h"

/* Step t of the first n sequences. Of LSTM and GRU gates and kept are [rows, gates hidden] and [rows, hidden]; of a plain network gates are y. */
template <class T> struct step {
    tn_rnn_kind kind;
    int64_t n, hidden, at; /* at: the step's first row */
    T *gates, *kept, *y, *h, *c;
    const T *part; /* [n, gates hidden]: the hidden part */
    /* Backward: where the states before come from: rows `was` ... of y and of kept for the first `had` sequences, h and c for the others. */
    const T *dy;
    int64_t dy_row, was, had;
    T *dh, *dc, *dgates, *dkept, *before, *to; /* to: [n, gates hidden], the gradient of the hidden part */
};

template <class T> TN_KERNEL forward_kernel(step<T> s)
{
    const int64_t e = tn_this_thread(), i = e / s.hidden, j = e % s.hidden, n = s.hidden;
    if (i >= s.n)
        return;
    const int64_t wide = s.kind == TN_RNN_KIND_LSTM ? 4 * n : s.kind == TN_RNN_KIND_GRU ? 3 * n : n;
    T *gates = s.gates + (s.at + i) * wide + j, *h = s.h + e;
    const T *part = s.part + i * wide + j;
    T out;
    if (s.kind == TN_RNN_KIND_LSTM) {
        const T in = tn_sigmoid_(gates[0] + part[0]), forget = tn_sigmoid_(gates[n] + part[n]), g = tn_tanh_(gates[2 * n] + part[2 * n]);
        const T o = tn_sigmoid_(gates[3 * n] + part[3 * n]), cell = forget * s.c[e] + in * g;
        gates[0] = in, gates[n] = forget, gates[2 * n] = g, gates[3 * n] = o;
        s.c[e] = s.kept[s.at * n + e] = cell;
        out = o * tn_tanh_(cell);
    } else if (s.kind == TN_RNN_KIND_GRU) {
        const T r = tn_sigmoid_(gates[0] + part[0]), z = tn_sigmoid_(gates[n] + part[n]), hidden = part[2 * n];
        const T fresh = tn_tanh_(gates[2 * n] + r * hidden);
        gates[0] = r, gates[n] = z, gates[2 * n] = fresh;
        s.kept[s.at * n + e] = hidden;
        out = (*h - fresh) * z + fresh;
    } else {
        const T sum = gates[0] + part[0];
        out = s.kind == TN_RNN_KIND_TANH ? tn_tanh_(sum) : sum < 0 ? (T)0 : sum;
    }
    *h = s.y[s.at * n + e] = out;
}

/* dh and dc come as those after the step and go as those before it, dh without what comes by W_hh. */
template <class T> TN_KERNEL backward_kernel(step<T> s)
{
    const int64_t e = tn_this_thread(), i = e / s.hidden, j = e % s.hidden, n = s.hidden;
    if (i >= s.n)
        return;
    const int64_t wide = s.kind == TN_RNN_KIND_LSTM ? 4 * n : s.kind == TN_RNN_KIND_GRU ? 3 * n : n, row = s.at * n + e;
    const T *gates = s.gates + (s.at + i) * wide + j;
    const T h = i < s.had ? s.y[s.was * n + e] : s.h[e];
    const T up = s.dh[e] + s.dy[i * s.dy_row + j];
    T *dgates = s.dgates + (s.at + i) * wide + j, *to = s.to + i * wide + j;
    s.before[row] = h;
    if (s.kind == TN_RNN_KIND_LSTM) {
        const T in = gates[0], forget = gates[n], g = gates[2 * n], o = gates[3 * n], t = tn_tanh_(s.kept[row]);
        const T c = i < s.had ? s.kept[s.was * n + e] : s.c[e], cell = s.dc[e] + up * o * (1 - t * t);
        dgates[0] = cell * g * in * (1 - in);
        dgates[n] = cell * c * forget * (1 - forget);
        dgates[2 * n] = cell * in * (1 - g * g);
        dgates[3 * n] = up * t * o * (1 - o);
        s.dc[e] = cell * forget;
    } else if (s.kind == TN_RNN_KIND_GRU) {
        const T r = gates[0], z = gates[n], fresh = gates[2 * n], dn = up * (1 - z) * (1 - fresh * fresh);
        dgates[0] = to[0] = dn * s.kept[row] * r * (1 - r);
        dgates[n] = to[n] = up * (h - fresh) * z * (1 - z);
        dgates[2 * n] = dn;
        s.dkept[row] = to[2 * n] = dn * r;
        s.dh[e] = up * z;
    } else {
        const T y = s.y[row];
        dgates[0] = s.kind == TN_RNN_KIND_TANH ? up * (1 - y * y) : y > 0 ? up : (T)0;
    }
}

static int64_t active(const tn_rnn *r, int64_t t) { return r->first[t + 1] - r->first[t]; }

/* c [m, n] = a [m, k] b or a b', where both lie densely; added to c where beta is 1. */
static tn_gemm product(const tn_rnn *r, int64_t m, int64_t n, int64_t k, const void *a, const void *b, bool turned, void *c)
{
    tn_gemm g = {};
    g.batch = 1, g.m = m, g.n = n, g.k = k, g.a = a, g.b = b, g.c = c, g.alpha = 1, g.rounded = r->rounded;
    g.a_row = k, g.a_col = 1, g.b_row = turned ? 1 : n, g.b_col = turned ? k : 1, g.c_row = n;
    return g;
}

template <class T> static step<T> step_of(const tn_rnn *r, void *saved)
{
    step<T> s = {};
    s.kind = r->kind, s.hidden = r->hidden, s.y = (T *)r->y, s.h = (T *)r->h, s.c = (T *)r->c;
    s.gates = tn_rnn_gates(r->kind) == 1 ? s.y : (T *)saved;
    s.kept = s.gates + r->first[r->steps] * r->hidden * tn_rnn_gates(r->kind);
    return s;
}

template <class T> static tn_status forward(tn_dtype dtype, const tn_rnn *r)
{
    const int64_t wide = r->hidden * tn_rnn_gates(r->kind), rows = r->first[r->steps];
    tn_cuda_scratch part((size_t)(r->batch * wide) * sizeof(T)), saved(r->saved ? 0 : (size_t)(rows * tn_rnn_saved(r->kind, r->hidden)) * sizeof(T));
    if (!part.data || !saved.data)
        return TN_ERR_MEMORY;
    step<T> s = step_of<T>(r, r->saved ? r->saved : saved.data);
    s.part = (const T *)part.data;
    tn_gemm g = product(r, rows, wide, r->in, r->x, r->w_ih, true, s.gates);
    g.bias = r->b_ih;
    tn_status status = tn_cuda_gemm(dtype, &g);
    for (int64_t k = 0; k < r->steps && status == TN_OK; k++) {
        const int64_t t = r->reverse ? r->steps - 1 - k : k;
        s.n = active(r, t), s.at = r->first[t];
        g = product(r, s.n, wide, r->hidden, s.h, r->w_hh, true, part.data);
        g.bias = r->b_hh;
        status = tn_cuda_gemm(dtype, &g);
        TN_LAUNCH_EACH(forward_kernel<T>, s.n * s.hidden, s);
    }
    return status == TN_OK ? tn_cuda_status("rnn_forward") : status;
}

tn_status tn_cuda_rnn_saved(tn_dtype dtype, const tn_rnn *r, int64_t *elements)
{
    *elements = r->first[r->steps] * tn_rnn_saved(r->kind, r->hidden);
    tn_cudnn_rnn_saved(dtype, r, elements);
    return TN_OK;
}

tn_status tn_cuda_rnn_forward(tn_dtype dtype, const tn_rnn *r)
{
    tn_status status = TN_OK;
    if (r->hidden == 0 || r->batch == 0 || tn_cudnn_rnn_forward(dtype, r, &status))
        return status;
    return dtype == TN_F64 ? forward<double>(dtype, r) : forward<float>(dtype, r);
}

/* to [n] is the sum of rows of `wide`, of which n elements are looked at. */
template <class T> static tn_status sum_rows(tn_dtype dtype, int64_t rows, int64_t n, const T *x, int64_t wide, void *to)
{
    tn_reduction sum = {};
    sum.outer_ndim = sum.inner_ndim = 1;
    sum.outer_sizes[0] = n, sum.inner_sizes[0] = rows;
    sum.outer_strides[0] = sum.out_strides[0] = sizeof(T);
    sum.inner_strides[0] = wide * (int64_t)sizeof(T);
    sum.in = (const char *)x, sum.out = (char *)to;
    return tn_cuda_reduce(TN_REDUCE_SUM, dtype, &sum);
}

/* to [m, n] = a' b over all rows, which lie a_row and n elements apart. */
static tn_status rows_product(tn_dtype dtype, const tn_rnn *r, const void *a, int64_t m, int64_t a_row, const void *b, int64_t n, void *to)
{
    tn_gemm g = product(r, m, n, r->first[r->steps], a, b, false, to);
    g.a_row = 1, g.a_col = a_row;
    return tn_cuda_gemm(dtype, &g);
}

/* What the gates' gradients come to. Of GRU's n the hidden part has a gradient of its own. */
template <class T> static tn_status from_gates(tn_dtype dtype, const tn_rnn_grad *d, const step<T> &s)
{
    const tn_rnn *r = &d->rnn;
    const int64_t rows = r->first[r->steps], hidden = r->hidden, wide = hidden * tn_rnn_gates(r->kind);
    const int64_t shared = r->kind == TN_RNN_KIND_GRU ? 2 * hidden : wide;
    const tn_gemm dx = product(r, rows, r->in, wide, s.dgates, r->w_ih, false, d->dx);
    tn_status status = d->dx ? tn_cuda_gemm(dtype, &dx) : TN_OK;
    if (d->dw_ih && status == TN_OK)
        status = rows_product(dtype, r, s.dgates, wide, wide, r->x, r->in, d->dw_ih);
    if (d->dw_hh && status == TN_OK)
        status = rows_product(dtype, r, s.dgates, shared, wide, s.before, hidden, d->dw_hh);
    if (d->dw_hh && shared < wide && status == TN_OK)
        status = rows_product(dtype, r, s.dkept, hidden, hidden, s.before, hidden, (T *)d->dw_hh + shared * hidden);
    if (d->db_ih && status == TN_OK)
        status = sum_rows(dtype, rows, wide, s.dgates, wide, d->db_ih);
    if (d->db_hh && status == TN_OK)
        status = sum_rows(dtype, rows, shared, s.dgates, wide, d->db_hh);
    if (d->db_hh && shared < wide && status == TN_OK)
        status = sum_rows(dtype, rows, hidden, s.dkept, hidden, (T *)d->db_hh + shared);
    return status;
}

template <class T> static tn_status backward(tn_dtype dtype, const tn_rnn_grad *d)
{
    const tn_rnn *r = &d->rnn;
    const bool gru = r->kind == TN_RNN_KIND_GRU;
    const int64_t hidden = r->hidden, wide = hidden * tn_rnn_gates(r->kind), rows = r->first[r->steps];
    tn_cuda_scratch scratch((size_t)(rows * (wide + (gru ? 2 : 1) * hidden) + (gru ? r->batch * wide : 0)) * sizeof(T));
    if (!scratch.data)
        return TN_ERR_MEMORY;
    step<T> s = step_of<T>(r, r->saved);
    s.dh = (T *)d->dh, s.dc = (T *)d->dc;
    s.dgates = (T *)scratch.data;
    s.before = s.dgates + rows * wide;
    s.dkept = s.before + rows * hidden;
    s.dy_row = d->dy_row;
    tn_status status = TN_OK;
    for (int64_t k = 0; k < r->steps && status == TN_OK; k++) {
        const int64_t t = r->reverse ? k : r->steps - 1 - k, earlier = r->reverse ? t + 1 : t - 1;
        s.n = active(r, t), s.at = r->first[t];
        s.had = earlier < 0 || earlier >= r->steps ? 0 : active(r, earlier) < s.n ? active(r, earlier) : s.n;
        s.was = s.had ? r->first[earlier] : 0;
        s.dy = (const T *)d->dy + (d->dy_step ? t * d->dy_step : s.at * d->dy_row);
        s.to = gru ? s.dkept + rows * hidden : s.dgates + s.at * wide;
        TN_LAUNCH_EACH(backward_kernel<T>, s.n * hidden, s);
        tn_gemm g = product(r, s.n, hidden, wide, s.to, r->w_hh, false, s.dh);
        g.beta = gru ? 1 : 0;
        status = tn_cuda_gemm(dtype, &g);
    }
    status = status == TN_OK ? from_gates(dtype, d, s) : status;
    return status == TN_OK ? tn_cuda_status("rnn_backward") : status;
}

tn_status tn_cuda_rnn_backward(tn_dtype dtype, const tn_rnn_grad *d)
{
    if (d->rnn.hidden == 0 || d->rnn.batch == 0)
        return TN_OK;
    if (*d->rnn.way)
        return tn_cudnn_rnn_backward(dtype, d);
    return dtype == TN_F64 ? backward<double>(dtype, d) : backward<float>(dtype, d);
}
