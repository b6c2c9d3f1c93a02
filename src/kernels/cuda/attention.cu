/* Scaled dot-product attention by tiles (Dao et al. 2022): a block has some rows of queries (of keys, for their gradients) and walks the others tile by
 * tile, products going through its shared memory; no scores are laid out. Each element of a result is one block's, which adds in one order. */
#include "kernels/cuda/math.h"
#include "kernels/philox.h"

/* A tile of scores: TILE rows by TILE columns, of which each of SIDE x SIDE threads has R x R side by side, read as packs of R. DEPTH elements of a
 * row go at a time. What is short has small tiles, other things those that fit in a block's memory. */
template <class S, int R, int SIDE> struct shape {
    enum { TILE = SIDE * R, DEPTH = 16, THREADS = SIDE * SIDE, PER_ROW = THREADS / TILE, EACH = TILE * DEPTH / THREADS };
    struct alignas(R * sizeof(S)) pack { S v[R]; };
    struct alignas(16) tile { S v[TILE][TILE + R]; };
    struct alignas(16) strip { S v[DEPTH][TILE + R]; };
};
template <int SIDE, int R> TN_DEVICE int row_at(int y) { return threadIdx.x / SIDE * R + y; }
template <int SIDE, int R> TN_DEVICE int column_at(int x) { return threadIdx.x % SIDE * R + x; }

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
template <int SIDE, class S, int R>
TN_DEVICE void products(const matrix<S> &a, const matrix<S> &b, typename shape<S, R, SIDE>::strip &as, typename shape<S, R, SIDE>::strip &bs, S (&sum)[R][R])
{
    typedef shape<S, R, SIDE> of;
    typedef typename of::pack pack;
    TN_UNROLL
    for (int y = 0; y < R; y++)
        TN_UNROLL
        for (int x = 0; x < R; x++)
            sum[y][x] = 0;
    for (int64_t d0 = 0; d0 < a.cols; d0 += of::DEPTH) {
        S of_a[of::EACH], of_b[of::EACH];
        TN_UNROLL
        for (int n = 0; n < of::EACH; n++) {
            const int e = n * of::THREADS + threadIdx.x, i = e / of::DEPTH, d = e % of::DEPTH;
            const bool within = d0 + d < a.cols;
            of_a[n] = within && i < a.rows ? a.data[i * a.row + d0 + d] : (S)0;
            of_b[n] = within && i < b.rows ? b.data[i * b.row + d0 + d] : (S)0;
        }
        TN_UNROLL
        for (int n = 0; n < of::EACH; n++) {
            const int e = n * of::THREADS + threadIdx.x, i = e / of::DEPTH, d = e % of::DEPTH;
            as.v[d][i] = of_a[n];
            bs.v[d][i] = of_b[n];
        }
        __syncthreads();
        TN_UNROLL
        for (int d = 0; d < of::DEPTH; d++) {
            const pack left = *(const pack *)&as.v[d][row_at<SIDE, R>(0)], right = *(const pack *)&bs.v[d][column_at<SIDE, R>(0)];
            TN_UNROLL
            for (int y = 0; y < R; y++)
                TN_UNROLL
                for (int x = 0; x < R; x++)
                    sum[y][x] += left.v[y] * right.v[x];
        }
        __syncthreads();
    }
}

/* sum += p bs, or p' bs where TURNED, p from row or column k0 on. CAREFUL: where p is 0 nothing is added. */
template <bool TURNED, bool CAREFUL, int SIDE, class S, int R>
TN_DEVICE void accumulate_strip(const typename shape<S, R, SIDE>::tile &p, int k0, const typename shape<S, R, SIDE>::strip &bs, S (&sum)[R][R])
{
    typedef typename shape<S, R, SIDE>::pack pack;
    TN_UNROLL
    for (int k = 0; k < shape<S, R, SIDE>::DEPTH; k += R) {
        pack left[R];
        TN_UNROLL
        for (int i = 0; i < R; i++)
            left[i] = TURNED ? *(const pack *)&p.v[k0 + k + i][row_at<SIDE, R>(0)] : *(const pack *)&p.v[row_at<SIDE, R>(i)][k0 + k];
        TN_UNROLL
        for (int i = 0; i < R; i++) {
            const pack right = *(const pack *)&bs.v[k + i][column_at<SIDE, R>(0)];
            TN_UNROLL
            for (int y = 0; y < R; y++) {
                const S one = TURNED ? left[i].v[y] : left[y].v[i];
                TN_UNROLL
                for (int x = 0; x < R; x++)
                    sum[y][x] = CAREFUL && one == 0 ? sum[y][x] : sum[y][x] + one * right.v[x];
            }
        }
    }
}

/* sum += p b, or p' b where TURNED, for the columns of b from c0 on. Where p is 0 the row of b may be anything, NaN too. */
template <bool TURNED, int SIDE, class S, int R>
TN_DEVICE void accumulate(const typename shape<S, R, SIDE>::tile &p, const matrix<S> &b, int64_t c0, typename shape<S, R, SIDE>::strip &bs, S (&sum)[R][R])
{
    typedef shape<S, R, SIDE> of;
    for (int k0 = 0; k0 < of::TILE && k0 < b.rows; k0 += of::DEPTH) {
        bool finite = true;
        TN_UNROLL
        for (int n = 0; n < of::EACH; n++) {
            const int e = n * of::THREADS + threadIdx.x, k = e / of::TILE, c = e % of::TILE;
            const S v = k0 + k < b.rows && c0 + c < b.cols ? b.data[(k0 + k) * b.row + c0 + c] : (S)0;
            bs.v[k][c] = v;
            finite = finite && v - v == 0;
        }
        if (__syncthreads_or(!finite))
            accumulate_strip<TURNED, true, SIDE>(p, k0, bs, sum);
        else
            accumulate_strip<TURNED, false, SIDE>(p, k0, bs, sum);
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

/* A thread's part of rows by columns from (first, c0) on; to is dense. */
template <int SIDE, class S, int R> TN_DEVICE void put(S *to, int64_t first, int64_t rows, int64_t c0, int64_t cols, const S (&sum)[R][R])
{
    typedef typename shape<S, R, SIDE>::pack pack;
    const int64_t c = c0 + column_at<SIDE, R>(0);
    const bool packed = cols % R == 0 && (uintptr_t)to % sizeof(pack) == 0 && c < cols;
    TN_UNROLL
    for (int y = 0; y < R; y++) {
        const int64_t i = first + row_at<SIDE, R>(y);
        S *at = to + i * cols + c;
        if (i < rows && packed) {
            pack out;
            TN_UNROLL
            for (int x = 0; x < R; x++)
                out.v[x] = sum[y][x];
            *(pack *)at = out;
        } else {
            TN_UNROLL
            for (int x = 0; x < R; x++)
                if (i < rows && c + x < cols)
                    at[x] = sum[y][x];
        }
    }
}

/* PER_ROW threads share a row of the tile for its greatest score and the sum of exp; what was summed so far shrinks as greater scores come. A block
 * has G tiles of columns of the result. */
template <class S, int R, int SIDE, int G> TN_KERNEL attention_kernel(tn_attention f, int64_t groups)
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
    S sum[R][R], out[G][R][R] = {};
    if (turn == 0)
        most[row] = -(S)INFINITY, total[row] = 0;
    for (int64_t j0 = 0; j0 < end; j0 += TILE) {
        products<SIDE>(q, rows_from<S>(f.k, at.batch, kv, j0, f.s, f.e), as, bs, sum);
        for (int y = 0; y < R; y++)
            for (int x = 0; x < R; x++)
                p.v[row_at<SIDE, R>(y)][column_at<SIDE, R>(x)] =
                    score(f, at.batch, at.head, at.first + row_at<SIDE, R>(y), j0 + column_at<SIDE, R>(x), sum[y][x]);
        __syncthreads();
        S now = -(S)INFINITY, own = 0;
        for (int j = turn; j < TILE; j += PER_ROW)
            now = greater_of(now, p.v[row][j]);
        parts[threadIdx.x] = now;
        __syncthreads();
        now = most[row];
        for (int k = 0; k < PER_ROW; k++)
            now = greater_of(now, parts[row * PER_ROW + k]);
        const bool nothing = now == -(S)INFINITY;
        const S shrink = nothing ? (S)0 : tn_exp_(most[row] - now);
        for (int j = turn; j < TILE; j += PER_ROW) {
            const S e = nothing ? (S)0 : tn_exp_(p.v[row][j] - now);
            own += e;
            p.v[row][j] = e == 0 ? e : e * kept<S>(f, at.batch, at.head, at.first + row, j0 + j);
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
        TN_UNROLL
        for (int g = 0; g < G; g++) {
            TN_UNROLL
            for (int y = 0; y < R; y++)
                TN_UNROLL
                for (int x = 0; x < R; x++)
                    out[g][y][x] *= shrinks[row_at<SIDE, R>(y)];
            accumulate<false, SIDE>(p, rows_from<S>(f.v, at.batch, kv, j0, f.s, f.ev), at.group * G + g * TILE, bs, out[g]);
        }
    }
    __syncthreads();
    S *y = (S *)f.y + row_index(f, at.batch, at.head, 0) * f.ev;
    TN_UNROLL
    for (int g = 0; g < G; g++) {
        TN_UNROLL
        for (int i = 0; i < R; i++) {
            const double all = total[row_at<SIDE, R>(i)];
            TN_UNROLL
            for (int x = 0; x < R; x++)
                out[g][i][x] = all == 0 ? (S)0 : out[g][i][x] * (S)(1 / all);
        }
        put<SIDE>(y, at.first, f.l, at.group * G + g * TILE, f.ev, out[g]);
    }
    if (turn == 0 && at.group == 0 && at.first + row < f.l) {
        S *stats = (S *)f.stats + 2 * row_index(f, at.batch, at.head, at.first + row);
        stats[0] = total[row] == 0 ? (S)0 : most[row];
        stats[1] = total[row] == 0 ? (S)0 : (S)(1 / total[row]);
    }
}

/* ---- backward ---------------------------------------------------------------------------------------------------------------- */

/* dy y of each row, by a thread that adds as products() does: where a row reads one key alone, its slope comes to 0. */
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

/* Of a tile from (i0, j0) on: p the probabilities after dropout, ds the scores' slopes times scale: probability (keep dy v - dy y). dy_y is NULL where
 * the tile has all keys of its rows: dy y is the sum of p dy v. */
template <class S, int R, int SIDE>
TN_DEVICE void slopes(const tn_attention &f, int64_t batch, int64_t head, int64_t i0, int64_t j0, const S *dy_y, typename shape<S, R, SIDE>::strip &as,
                      typename shape<S, R, SIDE>::strip &bs, typename shape<S, R, SIDE>::tile &p, typename shape<S, R, SIDE>::tile &ds)
{
    const int64_t kv = head / (f.heads / f.kv_heads);
    S scores[R][R], steps[R][R], own[R];
    products<SIDE>(rows_from<S>(f.q, batch, head, i0, f.l, f.e), rows_from<S>(f.k, batch, kv, j0, f.s, f.e), as, bs, scores);
    products<SIDE>(results_from<S>(f, f.dy, batch, head, i0), rows_from<S>(f.v, batch, kv, j0, f.s, f.ev), as, bs, steps);
    TN_UNROLL
    for (int y = 0; y < R; y++) {
        const int row = row_at<SIDE, R>(y);
        const int64_t i = i0 + row, at = row_index(f, batch, head, i < f.l ? i : 0);
        const S most = ((const S *)f.stats)[2 * at], share = ((const S *)f.stats)[2 * at + 1];
        own[y] = 0;
        TN_UNROLL
        for (int x = 0; x < R; x++) {
            const int64_t j = j0 + column_at<SIDE, R>(x);
            const S one = score(f, batch, head, i, j, scores[y][x]);
            const S probability = one == -(S)INFINITY || share == 0 ? (S)0 : tn_exp_(one - most) * share;
            const S keep = probability == 0 ? (S)0 : kept<S>(f, batch, head, i, j);
            p.v[row][column_at<SIDE, R>(x)] = probability * keep;
            scores[y][x] = probability;
            steps[y][x] = keep == 0 ? (S)0 : keep * steps[y][x];
            own[y] += probability == 0 ? (S)0 : probability * steps[y][x];
        }
        if (dy_y)
            own[y] = dy_y[at];
        else
            ds.v[row][threadIdx.x % SIDE] = own[y];
    }
    __syncthreads();
    if (!dy_y) {
        TN_UNROLL
        for (int y = 0; y < R; y++) {
            own[y] = 0;
            TN_UNROLL
            for (int x = 0; x < SIDE; x++)
                own[y] += ds.v[row_at<SIDE, R>(y)][x];
        }
        __syncthreads();
    }
    TN_UNROLL
    for (int y = 0; y < R; y++)
        TN_UNROLL
        for (int x = 0; x < R; x++)
            ds.v[row_at<SIDE, R>(y)][column_at<SIDE, R>(x)] = scores[y][x] == 0 ? (S)0 : (S)f.scale * scores[y][x] * (steps[y][x] - own[y]);
    __syncthreads();
}

/* All of a head where one tile holds its scores. */
template <class S, int R, int SIDE> TN_KERNEL one_tile_kernel(tn_attention f)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strip as, bs;
    __shared__ typename shape<S, R, SIDE>::tile p, ds;
    const int64_t head = blockIdx.x % f.heads, batch = blockIdx.x / f.heads, out = blockIdx.x;
    slopes<S, R, SIDE>(f, batch, head, 0, 0, NULL, as, bs, p, ds);
    for (int64_t c0 = 0; c0 < f.e; c0 += TILE) {
        S of_q[R][R] = {}, of_k[R][R] = {};
        if (f.dq) {
            accumulate<false, SIDE>(ds, rows_from<S>(f.k, batch, head, 0, f.s, f.e), c0, bs, of_q);
            put<SIDE>((S *)f.dq + out * f.l * f.e, 0, f.l, c0, f.e, of_q);
        }
        if (f.dk) {
            accumulate<true, SIDE>(ds, rows_from<S>(f.q, batch, head, 0, f.l, f.e), c0, bs, of_k);
            put<SIDE>((S *)f.dk + out * f.s * f.e, 0, f.s, c0, f.e, of_k);
        }
    }
    for (int64_t c0 = 0; c0 < f.ev && f.dv; c0 += TILE) {
        S of_v[R][R] = {};
        accumulate<true, SIDE>(p, results_from<S>(f, f.dy, batch, head, 0), c0, bs, of_v);
        put<SIDE>((S *)f.dv + out * f.s * f.ev, 0, f.s, c0, f.ev, of_v);
    }
}

template <class S, int R, int SIDE, int G> TN_KERNEL dq_kernel(tn_attention f, int64_t groups, const S *dy_y)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strip as, bs;
    __shared__ typename shape<S, R, SIDE>::tile p, ds;
    const part at = part_of(groups, tn_blocks(f.l, TILE), TILE, f.heads);
    const int64_t kv = at.head / (f.heads / f.kv_heads), end = f.causal && at.first + TILE < f.s ? at.first + TILE : f.s;
    S sum[G][R][R] = {};
    for (int64_t j0 = 0; j0 < end; j0 += TILE) {
        slopes<S, R, SIDE>(f, at.batch, at.head, at.first, j0, dy_y, as, bs, p, ds);
        TN_UNROLL
        for (int g = 0; g < G; g++)
            accumulate<false, SIDE>(ds, rows_from<S>(f.k, at.batch, kv, j0, f.s, f.e), at.group * G + g * TILE, bs, sum[g]);
    }
    TN_UNROLL
    for (int g = 0; g < G; g++)
        put<SIDE>((S *)f.dq + row_index(f, at.batch, at.head, 0) * f.e, at.first, f.l, at.group * G + g * TILE, f.e, sum[g]);
}

/* Over the rows of q of each head that reads these keys and values. */
template <class S, int R, int SIDE, int G> TN_KERNEL dkv_kernel(tn_attention f, int64_t groups, const S *dy_y)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strip as, bs;
    __shared__ typename shape<S, R, SIDE>::tile p, ds;
    const part at = part_of(groups, tn_blocks(f.s, TILE), TILE, f.kv_heads);
    const int64_t each = f.heads / f.kv_heads, out = (at.batch * f.kv_heads + at.head) * f.s;
    S of_k[G][R][R] = {}, of_v[G][R][R] = {};
    for (int64_t head = at.head * each; head < (at.head + 1) * each; head++)
        for (int64_t i0 = f.causal ? at.first : 0; i0 < f.l; i0 += TILE) {
            slopes<S, R, SIDE>(f, at.batch, head, i0, at.first, dy_y, as, bs, p, ds);
            TN_UNROLL
            for (int g = 0; g < G; g++) {
                const int64_t c0 = at.group * G + g * TILE;
                if (f.dk && c0 < f.e)
                    accumulate<true, SIDE>(ds, rows_from<S>(f.q, at.batch, head, i0, f.l, f.e), c0, bs, of_k[g]);
                if (f.dv && c0 < f.ev)
                    accumulate<true, SIDE>(p, results_from<S>(f, f.dy, at.batch, head, i0), c0, bs, of_v[g]);
            }
        }
    TN_UNROLL
    for (int g = 0; g < G; g++) {
        if (f.dk)
            put<SIDE>((S *)f.dk + out * f.e, at.first, f.s, at.group * G + g * TILE, f.e, of_k[g]);
        if (f.dv)
            put<SIDE>((S *)f.dv + out * f.ev, at.first, f.s, at.group * G + g * TILE, f.ev, of_v[g]);
    }
}

/* ---- what is launched --------------------------------------------------------------------------------------------------------- */

/* Of what is wider than a tile a block has two, so that scores are computed half as often. */
template <class S, int R, int SIDE> static tn_status attention(const tn_attention *f)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    const int64_t tiles = f->ev > 0 ? tn_blocks(f->ev, TILE) : 1, groups = tn_blocks(tiles, 2), blocks = f->batch * f->heads * tn_blocks(f->l, TILE);
    if (blocks > 0 && tiles > 1)
        TN_LAUNCH((attention_kernel<S, R, SIDE, 2>), blocks * groups, SIDE * SIDE, *f, groups);
    else if (blocks > 0)
        TN_LAUNCH((attention_kernel<S, R, SIDE, 1>), blocks, SIDE * SIDE, *f, groups);
    return tn_cuda_status("attention");
}

template <class S, int R, int SIDE, int G> static void long_backward(const tn_attention *f, const S *dy_y)
{
    enum { TILE = shape<S, R, SIDE>::TILE, WIDE = TILE * G };
    const int64_t of_q = f->batch * f->heads * tn_blocks(f->l, TILE), of_k = f->batch * f->kv_heads * tn_blocks(f->s, TILE);
    const int64_t e = tn_blocks(f->e, WIDE), wide = tn_blocks(f->e > f->ev ? f->e : f->ev, WIDE);
    if (f->dq && of_q * e > 0)
        TN_LAUNCH((dq_kernel<S, R, SIDE, G>), of_q * e, SIDE * SIDE, *f, e, dy_y);
    if ((f->dk || f->dv) && of_k * wide > 0)
        TN_LAUNCH((dkv_kernel<S, R, SIDE, G>), of_k * wide, SIDE * SIDE, *f, wide, dy_y);
}

template <class S, int R, int SIDE> static tn_status attention_backward(const tn_attention *f)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    const int64_t heads = f->batch * f->heads, rows = heads * f->l;
    if (rows > 0 && f->s > 0 && f->l <= TILE && f->s <= TILE && f->heads == f->kv_heads) {
        TN_LAUNCH((one_tile_kernel<S, R, SIDE>), heads, SIDE * SIDE, *f);
        return tn_cuda_status("attention_backward");
    }
    tn_cuda_scratch scratch((size_t)rows * sizeof(S));
    S *dy_y = (S *)scratch.data;
    if (!dy_y)
        return TN_ERR_MEMORY;
    if (rows > 0)
        TN_LAUNCH_EACH(dy_y_kernel<S>, rows, *f, rows, dy_y);
    if (f->e > TILE || f->ev > TILE)
        long_backward<S, R, SIDE, 2>(f, dy_y);
    else
        long_backward<S, R, SIDE, 1>(f, dy_y);
    return tn_cuda_status("attention_backward");
}

/* call<S, R, SIDE>(f): small tiles for what is short, and where large ones would be too few to keep a device busy. */
#define BY_LENGTH(call)                                                                                                       \
    enum { BUSY = 256 };                                                                                                      \
    const int64_t longest = f->l > f->s ? f->l : f->s;                                                                        \
    if (dtype == TN_F64)                                                                                                      \
        return longest <= 16 ? call<double, 2, 8>(f) : call<double, 2, 16>(f);                                                \
    if (longest <= 16)                                                                                                        \
        return call<float, 2, 8>(f);                                                                                          \
    return longest <= 32 || f->batch * f->heads * tn_blocks(longest, 64) < BUSY ? call<float, 4, 8>(f) : call<float, 4, 16>(f);

tn_status tn_cuda_attention(tn_dtype dtype, const tn_attention *f) { BY_LENGTH(attention) }
tn_status tn_cuda_attention_backward(tn_dtype dtype, const tn_attention *f) { BY_LENGTH(attention_backward) }
