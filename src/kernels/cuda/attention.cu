/* Scaled dot-product attention. A block has a row of scores (backward also: a row of keys), and computes each score when it needs it, so
 * that no scores are laid out. */
#include "kernels/cuda/math.h"
#include "kernels/philox.h"

/* What one score is made of: its heads and its row; column j is given. */
template <class S> struct scores {
    const S *q, *k, *v;
    const char *mask;
    int64_t batch, head, row; /* of [batch, heads, l] */
};

template <class S> TN_DEVICE const S *row_of(const tn_attention_rows &r, int64_t batch, int64_t head, int64_t row)
{
    return (const S *)r.data + batch * r.batch + head * r.head + row * r.row;
}
template <class S> TN_DEVICE scores<S> scores_of(const tn_attention &f, int64_t batch, int64_t head, int64_t row)
{
    const int64_t kv = head / (f.heads / f.kv_heads);
    const scores<S> s = {row_of<S>(f.q, batch, head, row), row_of<S>(f.k, batch, kv, 0), row_of<S>(f.v, batch, kv, 0),
                         f.mask.data ? (const char *)f.mask.data + (batch * f.mask.batch + head * f.mask.head + row * f.mask.row) *
                                                                       (int64_t)(f.mask_is_bool ? sizeof(bool) : sizeof(S))
                                     : NULL,
                         batch, head, row};
    return s;
}

template <class S> TN_DEVICE S dot(const S *a, const S *b, int64_t n)
{
    S sum = 0;
    for (int64_t d = 0; d < n; d++)
        sum += a[d] * b[d];
    return sum;
}

/* -inf: not allowed. */
template <class S> TN_DEVICE S score(const tn_attention &f, const scores<S> &s, int64_t j)
{
    const S nothing = -(S)INFINITY;
    if (f.causal && j > s.row)
        return nothing;
    const int64_t at = j * f.mask_column;
    if (s.mask && f.mask_is_bool && !((const bool *)s.mask)[at])
        return nothing;
    const S x = (S)f.scale * dot(s.q, s.k + j * f.k.row, f.e);
    return s.mask && !f.mask_is_bool ? x + ((const S *)s.mask)[at] : x;
}

/* What dropout multiplies probability j with: element by element what BERNOULLI fills a dense [batch, heads, l, s] with. */
template <class S> TN_DEVICE S kept(const tn_attention &f, const scores<S> &s, int64_t j)
{
    if (!(f.dropout > 0))
        return 1;
    const int64_t i = ((s.batch * f.heads + s.head) * f.l + s.row) * f.s + j;
    const uint64_t counter = f.offset + (uint64_t)(i / 4);
    const uint32_t at[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, 0}, key[2] = {(uint32_t)f.seed, (uint32_t)(f.seed >> 32)};
    uint32_t w[4];
    tn_philox(at, key, w);
    return w[i % 4] >> 8 < (uint32_t)ceil((1 - f.dropout) * 0x1p24) ? (S)(1 / (1 - f.dropout)) : (S)0;
}

TN_DEVICE int64_t row_index(const tn_attention &f, int64_t batch, int64_t head, int64_t row) { return (batch * f.heads + head) * f.l + row; }

/* A block for a row: its greatest score, the sum of exp, then, some columns at a time, their probabilities and what they bring of v. */
template <class S> TN_KERNEL attention_kernel(tn_attention f)
{
    __shared__ S p[TN_THREADS];
    const int64_t row = blockIdx.x % f.l, head = blockIdx.x / f.l % f.heads, batch = blockIdx.x / f.l / f.heads;
    const scores<S> s = scores_of<S>(f, batch, head, row);
    S max = -(S)INFINITY;
    for (int64_t j = threadIdx.x; j < f.s; j += blockDim.x) {
        const S x = score(f, s, j);
        max = x > max || x != x ? x : max;
    }
    max = tn_over_block(max, [](S a, S b) { return a != a || a > b ? a : b; });
    const bool nothing = max == -(S)INFINITY;
    double sum = 0;
    for (int64_t j = threadIdx.x; j < f.s && !nothing; j += blockDim.x)
        sum += (double)tn_exp_(score(f, s, j) - max);
    sum = tn_block_sum(sum);
    const S inverse = nothing ? (S)0 : (S)(1 / sum);
    S *stats = (S *)f.stats + 2 * row_index(f, batch, head, row), *y = (S *)f.y + row_index(f, batch, head, row) * f.ev;
    if (threadIdx.x == 0) {
        stats[0] = nothing ? (S)0 : max;
        stats[1] = inverse;
    }
    for (int64_t d0 = 0; d0 < f.ev; d0 += blockDim.x) {
        const int64_t d = d0 + threadIdx.x;
        S out = 0;
        for (int64_t j0 = 0; j0 < f.s; j0 += blockDim.x) {
            const int64_t j = j0 + threadIdx.x, left = f.s - j0 < (int64_t)blockDim.x ? f.s - j0 : (int64_t)blockDim.x;
            p[threadIdx.x] = j < f.s && !nothing ? tn_exp_(score(f, s, j) - max) * inverse * kept(f, s, j) : (S)0;
            __syncthreads();
            for (int64_t i = 0; i < left && d < f.ev; i++)
                if (p[i] != 0) /* what is not allowed may be anything, NaN too */
                    out += p[i] * s.v[(j0 + i) * f.v.row + d];
            __syncthreads();
        }
        if (d < f.ev)
            y[d] = out;
    }
}

/* The slope of score (row, j), times scale: probability (keep dy·v - dy·y); and the probability after dropout. */
template <class S> struct slope {
    S ds, kept;
};
template <class S> TN_DEVICE slope<S> slope_of(const tn_attention &f, const scores<S> &s, int64_t j, S of_row)
{
    const int64_t at = row_index(f, s.batch, s.head, s.row);
    const S *stats = (const S *)f.stats + 2 * at, *dy = (const S *)f.dy + at * f.ev;
    const S x = score(f, s, j), p = stats[1] == 0 || x == -(S)INFINITY ? (S)0 : tn_exp_(x - stats[0]) * stats[1];
    slope<S> r = {0, 0};
    if (p == 0)
        return r;
    const S keep = kept(f, s, j);
    r.kept = p * keep;
    r.ds = (S)f.scale * p * (keep * dot(dy, s.v + j * f.v.row, f.ev) - of_row);
    return r;
}
template <class S> TN_DEVICE S dy_y(const tn_attention &f, int64_t at) { return dot((const S *)f.dy + at * f.ev, (const S *)f.y + at * f.ev, f.ev); }

/* A block for a row of q. */
template <class S> TN_KERNEL dq_kernel(tn_attention f)
{
    __shared__ S ds[TN_THREADS];
    const int64_t row = blockIdx.x % f.l, head = blockIdx.x / f.l % f.heads, batch = blockIdx.x / f.l / f.heads, at = row_index(f, batch, head, row);
    const scores<S> s = scores_of<S>(f, batch, head, row);
    const S of_row = dy_y<S>(f, at);
    for (int64_t d0 = 0; d0 < f.e; d0 += blockDim.x) {
        const int64_t d = d0 + threadIdx.x;
        S out = 0;
        for (int64_t j0 = 0; j0 < f.s; j0 += blockDim.x) {
            const int64_t j = j0 + threadIdx.x, left = f.s - j0 < (int64_t)blockDim.x ? f.s - j0 : (int64_t)blockDim.x;
            ds[threadIdx.x] = j < f.s ? slope_of(f, s, j, of_row).ds : (S)0;
            __syncthreads();
            for (int64_t i = 0; i < left && d < f.e; i++)
                if (ds[i] != 0)
                    out += ds[i] * s.k[(j0 + i) * f.k.row + d];
            __syncthreads();
        }
        if (d < f.e)
            ((S *)f.dq)[at * f.e + d] = out;
    }
}

/* A block for a row of k and v: over the rows of q, some at a time, of each head that reads it. */
template <class S> TN_KERNEL dkv_kernel(tn_attention f)
{
    __shared__ S ds[TN_THREADS], p[TN_THREADS];
    const int64_t j = blockIdx.x % f.s, kv = blockIdx.x / f.s % f.kv_heads, batch = blockIdx.x / f.s / f.kv_heads, each = f.heads / f.kv_heads;
    const int64_t wide = f.e > f.ev ? f.e : f.ev, rows = each * f.l, out_row = (batch * f.kv_heads + kv) * f.s + j;
    for (int64_t d0 = 0; d0 < wide; d0 += blockDim.x) {
        const int64_t d = d0 + threadIdx.x;
        S of_k = 0, of_v = 0;
        for (int64_t r0 = 0; r0 < rows; r0 += blockDim.x) {
            const int64_t r = r0 + threadIdx.x, left = rows - r0 < (int64_t)blockDim.x ? rows - r0 : (int64_t)blockDim.x;
            slope<S> mine = {0, 0};
            if (r < rows) {
                const int64_t head = kv * each + r / f.l, row = r % f.l;
                mine = slope_of(f, scores_of<S>(f, batch, head, row), j, dy_y<S>(f, row_index(f, batch, head, row)));
            }
            ds[threadIdx.x] = mine.ds;
            p[threadIdx.x] = mine.kept;
            __syncthreads();
            for (int64_t i = 0; i < left; i++) {
                const int64_t head = kv * each + (r0 + i) / f.l, row = (r0 + i) % f.l;
                if (d < f.e && ds[i] != 0)
                    of_k += ds[i] * row_of<S>(f.q, batch, head, row)[d];
                if (d < f.ev && p[i] != 0)
                    of_v += p[i] * ((const S *)f.dy)[row_index(f, batch, head, row) * f.ev + d];
            }
            __syncthreads();
        }
        if (f.dk && d < f.e)
            ((S *)f.dk)[out_row * f.e + d] = of_k;
        if (f.dv && d < f.ev)
            ((S *)f.dv)[out_row * f.ev + d] = of_v;
    }
}

static int threads_for(int64_t a, int64_t b, int64_t c)
{
    const int64_t most = a > b ? a : b;
    return tn_threads(most > c ? most : c);
}

tn_status tn_cuda_attention(tn_dtype dtype, const tn_attention *f)
{
    const int64_t rows = f->batch * f->heads * f->l;
    const int threads = threads_for(f->s / 2, f->ev, 0);
    if (rows > 0 && dtype == TN_F64)
        TN_LAUNCH(attention_kernel<double>, rows, threads, *f);
    else if (rows > 0)
        TN_LAUNCH(attention_kernel<float>, rows, threads, *f);
    return tn_cuda_status("attention");
}

template <class S> static void attention_backward(const tn_attention *f)
{
    const int64_t rows = f->batch * f->heads * f->l, columns = f->batch * f->kv_heads * f->s;
    if (f->dq && rows > 0)
        TN_LAUNCH(dq_kernel<S>, rows, threads_for(f->s / 2, f->e, 0), *f);
    if ((f->dk || f->dv) && columns > 0)
        TN_LAUNCH(dkv_kernel<S>, columns, threads_for(f->l / 2, f->e, f->ev), *f);
}

tn_status tn_cuda_attention_backward(tn_dtype dtype, const tn_attention *f)
{
    dtype == TN_F64 ? attention_backward<double>(f) : attention_backward<float>(f);
    return tn_cuda_status("attention_backward");
}
