/* Scaled dot-product attention by tiles (Dao et al. 2022): a block has some rows of queries (of keys, for their gradients) and walks the others tile by
 * tile, products going through its shared memory; no scores are laid out. Each element of a result is one block's, which adds in one order. */
#include "kernels/cuda/math.h"
#include "kernels/philox.h"

/* A tile of scores: TILE rows by TILE columns, of which each of SIDE x SIDE threads has R x R, SIDE apart. DEPTH elements of a row go at a time. What
 * is short has small tiles, other things those that fit in a block's memory. */
template <class S, int R, int SIDE> struct shape {
    enum { TILE = SIDE * R, DEPTH = 16, THREADS = SIDE * SIDE, PER_ROW = THREADS / TILE };
    typedef S tile[TILE][TILE + 1];
    typedef S strip[DEPTH][TILE + 1];
};
template <int SIDE> TN_DEVICE int row_at(int y) { return threadIdx.x / SIDE + SIDE * y; }
template <int SIDE> TN_DEVICE int column_at(int x) { return threadIdx.x % SIDE + SIDE * x; }

/* Rows of an operand from the tile's first on. */
template <class S> struct matrix {
    const S *data;
    int64_t row, rows, cols;
};
template <class S> TN_DEVICE matrix<S> rows_from(const tn_attention_rows &r, int64_t batch, int64_t head, int64_t first, int64_t rows, int64_t cols)
{
    const matrix<S> m = {(const S *)r.data + batch * r.batch + head * r.head + first * r.row, r.row, rows - first, cols};
    return m;
}
TN_DEVICE int64_t row_index(const tn_attention &f, int64_t batch, int64_t head, int64_t row) { return (batch * f.heads + head) * f.l + row; }
/* dy or y: dense [batch, heads, l, ev]. */
template <class S> TN_DEVICE matrix<S> results_from(const tn_attention &f, const void *data, int64_t batch, int64_t head, int64_t first)
{
    const matrix<S> m = {(const S *)data + row_index(f, batch, head, first) * f.ev, f.ev, f.l - first, f.ev};
    return m;
}

/* sum = a b'; as and bs are free before and after. */
template <int SIDE, class S, int R> TN_DEVICE void products(const matrix<S> &a, const matrix<S> &b, typename shape<S, R, SIDE>::strip &as, typename shape<S, R, SIDE>::strip &bs, S (&sum)[R][R])
{
    enum { TILE = shape<S, R, SIDE>::TILE, DEPTH = shape<S, R, SIDE>::DEPTH, THREADS = shape<S, R, SIDE>::THREADS };
    TN_UNROLL
    for (int y = 0; y < R; y++)
        TN_UNROLL
        for (int x = 0; x < R; x++)
            sum[y][x] = 0;
    for (int64_t d0 = 0; d0 < a.cols; d0 += DEPTH) {
        for (int e = threadIdx.x; e < TILE * DEPTH; e += THREADS) {
            const int i = e / DEPTH, d = e % DEPTH;
            const bool within = d0 + d < a.cols;
            as[d][i] = within && i < a.rows ? a.data[i * a.row + d0 + d] : (S)0;
            bs[d][i] = within && i < b.rows ? b.data[i * b.row + d0 + d] : (S)0;
        }
        __syncthreads();
        TN_UNROLL
        for (int d = 0; d < DEPTH; d++) {
            S left[R], right[R];
            TN_UNROLL
            for (int y = 0; y < R; y++)
                left[y] = as[d][row_at<SIDE>(y)], right[y] = bs[d][column_at<SIDE>(y)];
            TN_UNROLL
            for (int y = 0; y < R; y++)
                TN_UNROLL
                for (int x = 0; x < R; x++)
                    sum[y][x] += left[y] * right[x];
        }
        __syncthreads();
    }
}

/* sum += p b, or p' b where TURNED, for the columns of b from c0 on. Where p is 0 the row of b may be anything, NaN too. */
template <bool TURNED, int SIDE, class S, int R> TN_DEVICE void accumulate(const typename shape<S, R, SIDE>::tile &p, const matrix<S> &b, int64_t c0, typename shape<S, R, SIDE>::strip &bs, S (&sum)[R][R])
{
    enum { TILE = shape<S, R, SIDE>::TILE, DEPTH = shape<S, R, SIDE>::DEPTH, THREADS = shape<S, R, SIDE>::THREADS };
    for (int k0 = 0; k0 < TILE; k0 += DEPTH) {
        for (int e = threadIdx.x; e < TILE * DEPTH; e += THREADS) {
            const int k = e / TILE, c = e % TILE;
            bs[k][c] = k0 + k < b.rows && c0 + c < b.cols ? b.data[(k0 + k) * b.row + c0 + c] : (S)0;
        }
        __syncthreads();
        TN_UNROLL
        for (int k = 0; k < DEPTH; k++) {
            S right[R];
            TN_UNROLL
            for (int x = 0; x < R; x++)
                right[x] = bs[k][column_at<SIDE>(x)];
            TN_UNROLL
            for (int y = 0; y < R; y++) {
                const S left = TURNED ? p[k0 + k][row_at<SIDE>(y)] : p[row_at<SIDE>(y)][k0 + k];
                TN_UNROLL
                for (int x = 0; x < R; x++)
                    sum[y][x] = left != 0 ? sum[y][x] + left * right[x] : sum[y][x];
            }
        }
        __syncthreads();
    }
}

/* Score (i, j) of a product; -inf: not allowed. */
template <class S> TN_DEVICE S score(const tn_attention &f, int64_t batch, int64_t head, int64_t i, int64_t j, S product)
{
    const S nothing = -(S)INFINITY;
    if (i >= f.l || j >= f.s || (f.causal && j > i))
        return nothing;
    const S x = (S)f.scale * product;
    if (!f.mask.data)
        return x;
    const int64_t at = batch * f.mask.batch + head * f.mask.head + i * f.mask.row + j * f.mask_column;
    if (f.mask_is_bool)
        return ((const bool *)f.mask.data)[at] ? x : nothing;
    return x + ((const S *)f.mask.data)[at];
}

/* What dropout multiplies probability (i, j) with: element by element what BERNOULLI fills a dense [batch, heads, l, s] with. */
template <class S> TN_DEVICE S kept(const tn_attention &f, int64_t batch, int64_t head, int64_t i, int64_t j)
{
    if (!(f.dropout > 0))
        return 1;
    const int64_t e = row_index(f, batch, head, i) * f.s + j;
    const uint64_t counter = f.offset + (uint64_t)(e / 4);
    const uint32_t at[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, 0}, key[2] = {(uint32_t)f.seed, (uint32_t)(f.seed >> 32)};
    uint32_t w[4];
    tn_philox(at, key, w);
    return w[e % 4] >> 8 < (uint32_t)ceil((1 - f.dropout) * 0x1p24) ? (S)(1 / (1 - f.dropout)) : (S)0;
}

template <class S> TN_DEVICE S greater_of(S a, S b) { return a != a || a > b ? a : b; } /* NaN, of either, goes through */

/* A block's part: a tile of rows of one head of `heads`, and which tile of columns of the result. */
struct part {
    int64_t group, first, head, batch;
};
TN_DEVICE part part_of(int64_t groups, int64_t tiles, int tile, int64_t heads)
{
    const int64_t rest = blockIdx.x / groups;
    const part p = {blockIdx.x % groups * tile, rest % tiles * tile, rest / tiles % heads, rest / tiles / heads};
    return p;
}

/* PER_ROW threads share a row of the tile for its greatest score and the sum of exp; what was summed so far shrinks as greater scores come. */
template <class S, int R, int SIDE> TN_KERNEL attention_kernel(tn_attention f, int64_t groups)
{
    enum { TILE = shape<S, R, SIDE>::TILE, PER_ROW = shape<S, R, SIDE>::PER_ROW, THREADS = shape<S, R, SIDE>::THREADS };
    __shared__ typename shape<S, R, SIDE>::strip as, bs;
    __shared__ typename shape<S, R, SIDE>::tile p;
    __shared__ S parts[THREADS], most[TILE], shrinks[TILE];
    __shared__ double total[TILE];
    const part at = part_of(groups, tn_blocks(f.l, TILE), TILE, f.heads);
    const int64_t kv = at.head / (f.heads / f.kv_heads), end = f.causal && at.first + TILE < f.s ? at.first + TILE : f.s;
    const matrix<S> q = rows_from<S>(f.q, at.batch, at.head, at.first, f.l, f.e);
    const int row = threadIdx.x / PER_ROW, turn = threadIdx.x % PER_ROW;
    S sum[R][R], out[R][R] = {};
    if (turn == 0)
        most[row] = -(S)INFINITY, total[row] = 0;
    for (int64_t j0 = 0; j0 < end; j0 += TILE) {
        products<SIDE>(q, rows_from<S>(f.k, at.batch, kv, j0, f.s, f.e), as, bs, sum);
        for (int y = 0; y < R; y++)
            for (int x = 0; x < R; x++)
                p[row_at<SIDE>(y)][column_at<SIDE>(x)] =
                    score(f, at.batch, at.head, at.first + row_at<SIDE>(y), j0 + column_at<SIDE>(x), sum[y][x]);
        __syncthreads();
        S now = -(S)INFINITY, own = 0;
        for (int j = turn; j < TILE; j += PER_ROW)
            now = greater_of(now, p[row][j]);
        parts[threadIdx.x] = now;
        __syncthreads();
        now = most[row];
        for (int k = 0; k < PER_ROW; k++)
            now = greater_of(now, parts[row * PER_ROW + k]);
        const bool nothing = now == -(S)INFINITY;
        const S shrink = nothing ? (S)0 : tn_exp_(most[row] - now);
        for (int j = turn; j < TILE; j += PER_ROW) {
            const S e = nothing ? (S)0 : tn_exp_(p[row][j] - now);
            own += e;
            p[row][j] = e == 0 ? e : e * kept<S>(f, at.batch, at.head, at.first + row, j0 + j);
        }
        __syncthreads();
        parts[threadIdx.x] = own;
        __syncthreads();
        if (turn == 0) {
            double all = total[row] * (double)shrink;
            for (int k = 0; k < PER_ROW; k++)
                all += (double)parts[row * PER_ROW + k];
            total[row] = all;
            most[row] = now;
            shrinks[row] = shrink;
        }
        __syncthreads();
        for (int y = 0; y < R; y++)
            for (int x = 0; x < R; x++)
                out[y][x] *= shrinks[row_at<SIDE>(y)];
        accumulate<false, SIDE>(p, rows_from<S>(f.v, at.batch, kv, j0, f.s, f.ev), at.group, bs, out);
    }
    __syncthreads();
    for (int y = 0; y < R; y++) {
        const int64_t i = at.first + row_at<SIDE>(y);
        const double all = total[row_at<SIDE>(y)];
        for (int x = 0; x < R && i < f.l; x++)
            if (at.group + column_at<SIDE>(x) < f.ev)
                ((S *)f.y)[row_index(f, at.batch, at.head, i) * f.ev + at.group + column_at<SIDE>(x)] = all == 0 ? (S)0 : out[y][x] * (S)(1 / all);
    }
    if (turn == 0 && at.group == 0 && at.first + row < f.l) {
        S *stats = (S *)f.stats + 2 * row_index(f, at.batch, at.head, at.first + row);
        stats[0] = total[row] == 0 ? (S)0 : most[row];
        stats[1] = total[row] == 0 ? (S)0 : (S)(1 / total[row]);
    }
}

/* ---- backward ---------------------------------------------------------------------------------------------------------------- */

/* dy y of each row. */
template <class S> TN_KERNEL dy_y_kernel(tn_attention f, int64_t rows, S *out)
{
    const int64_t i = tn_this_thread();
    if (i >= rows)
        return;
    S sum = 0;
    for (int64_t d = 0; d < f.ev; d++)
        sum += ((const S *)f.dy)[i * f.ev + d] * ((const S *)f.y)[i * f.ev + d];
    out[i] = sum;
}

/* Of a tile from (i0, j0) on: p the probabilities after dropout, ds the scores' slopes times scale: probability (keep dy v - dy y). */
template <class S, int R, int SIDE> TN_DEVICE void slopes(const tn_attention &f, int64_t batch, int64_t head, int64_t i0, int64_t j0, const S *dy_y, typename shape<S, R, SIDE>::strip &as,
                                         typename shape<S, R, SIDE>::strip &bs, typename shape<S, R, SIDE>::tile &p, typename shape<S, R, SIDE>::tile &ds)
{
    const int64_t kv = head / (f.heads / f.kv_heads);
    S scores[R][R], steps[R][R];
    products<SIDE>(rows_from<S>(f.q, batch, head, i0, f.l, f.e), rows_from<S>(f.k, batch, kv, j0, f.s, f.e), as, bs, scores);
    products<SIDE>(results_from<S>(f, f.dy, batch, head, i0), rows_from<S>(f.v, batch, kv, j0, f.s, f.ev), as, bs, steps);
    for (int y = 0; y < R; y++) {
        const int64_t i = i0 + row_at<SIDE>(y), at = row_index(f, batch, head, i < f.l ? i : 0);
        const S *stats = (const S *)f.stats + 2 * at;
        for (int x = 0; x < R; x++) {
            const int64_t j = j0 + column_at<SIDE>(x);
            const S one = score(f, batch, head, i, j, scores[y][x]);
            const S probability = one == -(S)INFINITY || stats[1] == 0 ? (S)0 : tn_exp_(one - stats[0]) * stats[1];
            const S keep = probability == 0 ? (S)0 : kept<S>(f, batch, head, i, j);
            p[row_at<SIDE>(y)][column_at<SIDE>(x)] = probability * keep;
            ds[row_at<SIDE>(y)][column_at<SIDE>(x)] = probability == 0 ? (S)0 : (S)f.scale * probability * (keep * steps[y][x] - dy_y[at]);
        }
    }
    __syncthreads();
}

template <int SIDE, class S, int R> TN_DEVICE void put(S *to, int64_t first, int64_t rows, int64_t c0, int64_t cols, const S (&sum)[R][R])
{
    for (int y = 0; y < R; y++)
        for (int x = 0; x < R; x++)
            if (first + row_at<SIDE>(y) < rows && c0 + column_at<SIDE>(x) < cols)
                to[(first + row_at<SIDE>(y)) * cols + c0 + column_at<SIDE>(x)] = sum[y][x];
}

template <class S, int R, int SIDE> TN_KERNEL dq_kernel(tn_attention f, int64_t groups, const S *dy_y)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strip as, bs;
    __shared__ typename shape<S, R, SIDE>::tile p, ds;
    const part at = part_of(groups, tn_blocks(f.l, TILE), TILE, f.heads);
    const int64_t kv = at.head / (f.heads / f.kv_heads), end = f.causal && at.first + TILE < f.s ? at.first + TILE : f.s;
    S sum[R][R] = {};
    for (int64_t j0 = 0; j0 < end; j0 += TILE) {
        slopes<S, R, SIDE>(f, at.batch, at.head, at.first, j0, dy_y, as, bs, p, ds);
        accumulate<false, SIDE>(ds, rows_from<S>(f.k, at.batch, kv, j0, f.s, f.e), at.group, bs, sum);
    }
    put<SIDE>((S *)f.dq + row_index(f, at.batch, at.head, 0) * f.e, at.first, f.l, at.group, f.e, sum);
}

/* Over the rows of q of each head that reads these keys and values. */
template <class S, int R, int SIDE> TN_KERNEL dkv_kernel(tn_attention f, int64_t groups, const S *dy_y)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strip as, bs;
    __shared__ typename shape<S, R, SIDE>::tile p, ds;
    const part at = part_of(groups, tn_blocks(f.s, TILE), TILE, f.kv_heads);
    const int64_t each = f.heads / f.kv_heads, out = (at.batch * f.kv_heads + at.head) * f.s;
    S of_k[R][R] = {}, of_v[R][R] = {};
    for (int64_t head = at.head * each; head < (at.head + 1) * each; head++)
        for (int64_t i0 = f.causal ? at.first : 0; i0 < f.l; i0 += TILE) {
            slopes<S, R, SIDE>(f, at.batch, head, i0, at.first, dy_y, as, bs, p, ds);
            if (f.dk && at.group < f.e)
                accumulate<true, SIDE>(ds, rows_from<S>(f.q, at.batch, head, i0, f.l, f.e), at.group, bs, of_k);
            if (f.dv && at.group < f.ev)
                accumulate<true, SIDE>(p, results_from<S>(f, f.dy, at.batch, head, i0), at.group, bs, of_v);
        }
    if (f.dk)
        put<SIDE>((S *)f.dk + out * f.e, at.first, f.s, at.group, f.e, of_k);
    if (f.dv)
        put<SIDE>((S *)f.dv + out * f.ev, at.first, f.s, at.group, f.ev, of_v);
}

template <class S, int R, int SIDE> static void attention(const tn_attention *f)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    const int64_t groups = f->ev > 0 ? tn_blocks(f->ev, TILE) : 1, blocks = f->batch * f->heads * tn_blocks(f->l, TILE);
    if (blocks > 0)
        TN_LAUNCH((attention_kernel<S, R, SIDE>), blocks * groups, SIDE * SIDE, *f, groups);
}

tn_status tn_cuda_attention(tn_dtype dtype, const tn_attention *f)
{
    const bool is_short = f->l <= 32 && f->s <= 32;
    if (dtype == TN_F64)
        is_short ? attention<double, 2, 8>(f) : attention<double, 2, 16>(f);
    else
        is_short ? attention<float, 2, 8>(f) : attention<float, 4, 16>(f);
    return tn_cuda_status("attention");
}

template <class S, int R, int SIDE> static tn_status attention_backward(const tn_attention *f)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    const int64_t rows = f->batch * f->heads * f->l, of_q = f->batch * f->heads * tn_blocks(f->l, TILE);
    const int64_t of_k = f->batch * f->kv_heads * tn_blocks(f->s, TILE), e = tn_blocks(f->e, TILE), wide = tn_blocks(f->e > f->ev ? f->e : f->ev, TILE);
    tn_cuda_scratch scratch((size_t)rows * sizeof(S));
    S *dy_y = (S *)scratch.data;
    if (!dy_y)
        return TN_ERR_MEMORY;
    if (rows > 0)
        TN_LAUNCH_EACH(dy_y_kernel<S>, rows, *f, rows, dy_y);
    if (f->dq && of_q * e > 0)
        TN_LAUNCH((dq_kernel<S, R, SIDE>), of_q * e, SIDE * SIDE, *f, e, dy_y);
    if ((f->dk || f->dv) && of_k * wide > 0)
        TN_LAUNCH((dkv_kernel<S, R, SIDE>), of_k * wide, SIDE * SIDE, *f, wide, dy_y);
    return tn_cuda_status("attention_backward");
}

tn_status tn_cuda_attention_backward(tn_dtype dtype, const tn_attention *f)
{
    const bool is_short = f->l <= 32 && f->s <= 32;
    if (dtype == TN_F64)
        return is_short ? attention_backward<double, 2, 8>(f) : attention_backward<double, 2, 16>(f);
    return is_short ? attention_backward<float, 2, 8>(f) : attention_backward<float, 4, 16>(f);
}
