/* Scaled dot-product attention by tiles (Dao et al. 2022): a block has some rows of queries (of keys, for their gradients) and walks the others tile by
 * tile, products going through its shared memory; no scores are laid out. Each element of a result is one block's, which adds in one order. */
#include "kernels/cuda/math.h"
#include "kernels/philox.h"

#define EVERY(i, n) TN_UNROLL for (int i = 0; i < n; i++)
#ifdef __CUDACC__ /* at least so many blocks of a kernel fit in a multiprocessor at once */
#define AT_ONCE(threads, blocks) __launch_bounds__(threads, blocks)
#else
#define AT_ONCE(threads, blocks)
#endif

/* A tile of scores: TILE rows by TILE columns, of which each of SIDE x SIDE threads has R x R, read as packs of W side by side. DEPTH elements of a
 * row go at a time, a strip; there are two of each operand, one that is multiplied while the next is laid out. */
template <class S, int R, int SIDE> struct shape {
    enum { TILE = SIDE * R, W = R < 4 ? R : 4, PITCH = TILE + W, DEPTH = 16, THREADS = SIDE * SIDE, EACH = TILE * DEPTH / THREADS };
    struct alignas(W * sizeof(S)) pack { S v[W]; };
    struct alignas(16) tile { S v[TILE][PITCH]; };
    struct alignas(16) strip { S v[DEPTH][PITCH]; };
    struct strips { strip a[2], b[2]; };
};
template <int SIDE, int R> TN_DEVICE int row_at(int y) { return threadIdx.x / SIDE * R + y; }
template <int SIDE, int R> TN_DEVICE int column_at(int x) { return threadIdx.x % SIDE * R + x; }

/* Rows of an operand from the tile's first on. */
template <class S> struct matrix {
    const S *data;
    int64_t row, cols;
    int rows; /* or more than any tile has */
};
TN_DEVICE int left_of(int64_t rows) { return rows < (1 << 16) ? (int)rows : 1 << 16; }
template <class S> TN_DEVICE matrix<S> rows_from(const tn_head_rows &r, int64_t batch, int64_t head, int64_t first, int64_t rows, int64_t cols)
{
    const matrix<S> m = {(const S *)r.data + batch * r.batch + head * r.head + first * r.row, r.row, cols, left_of(rows - first)};
    return m;
}
TN_DEVICE int64_t row_index(const tn_attention &f, int64_t batch, int64_t head, int64_t row) { return (batch * f.heads + head) * f.l + row; }
/* Whether all rows can be read 16 bytes at a time; the same for all threads. */
template <class S> TN_DEVICE bool is_wide(const matrix<S> &m)
{
    enum { WIDE = 16 / sizeof(S) };
    return m.cols % WIDE == 0 && m.row % WIDE == 0 && (uintptr_t)m.data % 16 == 0;
}
/* A thread's EACH elements of rows of SPAN from (i0, c0) on: element n is the place_of()th. 0 outside. */
template <int THREADS, class S> TN_DEVICE int place_of(int n)
{
    enum { WIDE = 16 / sizeof(S) };
    return n / WIDE * WIDE * THREADS + threadIdx.x * WIDE + n % WIDE;
}
template <int SPAN, int THREADS, class S, int EACH> TN_DEVICE void fetch(const matrix<S> &m, bool wide, int i0, int64_t c0, S (&to)[EACH])
{
    enum { WIDE = 16 / sizeof(S) };
    struct alignas(16) pack { S v[WIDE]; };
    TN_UNROLL
    for (int n = 0; n < EACH; n += WIDE) {
        const int e = place_of<THREADS, S>(n), i = i0 + e / SPAN;
        const int64_t c = c0 + e % SPAN;
        const S *from = m.data + i * m.row + c;
        pack one = {};
        if (wide && i < m.rows && c < m.cols)
            one = *(const pack *)from;
        EVERY(k, WIDE) {
            if (!wide && i < m.rows && c + k < m.cols)
                one.v[k] = from[k];
            to[n + k] = one.v[k];
        }
    }
}

template <int SIDE, class S, int R> TN_DEVICE void multiply(const typename shape<S, R, SIDE>::strip &a, const typename shape<S, R, SIDE>::strip &b, S (&sum)[R][R])
{
    typedef typename shape<S, R, SIDE>::pack pack;
    TN_UNROLL
    for (int d = 0; d < shape<S, R, SIDE>::DEPTH; d++) {
        const pack left = *(const pack *)&a.v[d][row_at<SIDE, R>(0)], right = *(const pack *)&b.v[d][column_at<SIDE, R>(0)];
        EVERY(y, R)
            EVERY(x, R)
                sum[y][x] += left.v[y] * right.v[x];
    }
}

/* sum = a b'; the room is free before and after. The next strip is on its way from memory while one is multiplied. */
template <int SIDE, class S, int R>
TN_DEVICE void products(const matrix<S> &a, const matrix<S> &b, typename shape<S, R, SIDE>::strips &room, S (&sum)[R][R])
{
    typedef shape<S, R, SIDE> of;
    const bool wide_a = is_wide(a), wide_b = is_wide(b);
    S of_a[of::EACH], of_b[of::EACH];
    EVERY(y, R)
        EVERY(x, R)
            sum[y][x] = 0;
    fetch<of::DEPTH, of::THREADS>(a, wide_a, 0, 0, of_a);
    fetch<of::DEPTH, of::THREADS>(b, wide_b, 0, 0, of_b);
    int now = 0;
    TN_UNROLL_BY(1)
    for (int64_t d0 = 0; d0 < a.cols; d0 += of::DEPTH, now ^= 1) {
        EVERY(n, of::EACH) {
            const int e = place_of<of::THREADS, S>(n);
            room.a[now].v[e % of::DEPTH][e / of::DEPTH] = of_a[n];
            room.b[now].v[e % of::DEPTH][e / of::DEPTH] = of_b[n];
        }
        __syncthreads();
        if (d0 + of::DEPTH < a.cols) {
            fetch<of::DEPTH, of::THREADS>(a, wide_a, 0, d0 + of::DEPTH, of_a);
            fetch<of::DEPTH, of::THREADS>(b, wide_b, 0, d0 + of::DEPTH, of_b);
        }
        multiply<SIDE>(room.a[now], room.b[now], sum);
    }
    __syncthreads();
}

/* p = a thread's part of it from each. */
template <int SIDE, class S, int R> TN_DEVICE void lay(typename shape<S, R, SIDE>::tile &p, const S (&part)[R][R])
{
    typedef typename shape<S, R, SIDE>::pack pack;
    EVERY(y, R) {
        pack out;
        EVERY(x, R)
            out.v[x] = part[y][x];
        *(pack *)&p.v[row_at<SIDE, R>(y)][column_at<SIDE, R>(0)] = out;
    }
}

/* sum += p b, or p' b where TURNED, p from row or column k0 on. CAREFUL: where p is 0 nothing is added. */
template <bool TURNED, bool CAREFUL, int SIDE, class S, int R>
TN_DEVICE void accumulate_strip(const typename shape<S, R, SIDE>::tile &p, int k0, const typename shape<S, R, SIDE>::strip &b, S (&sum)[R][R])
{
    typedef typename shape<S, R, SIDE>::pack pack;
    TN_UNROLL
    for (int k = 0; k < shape<S, R, SIDE>::DEPTH; k += R) {
        pack left[R];
        EVERY(i, R)
            left[i] = TURNED ? *(const pack *)&p.v[k0 + k + i][row_at<SIDE, R>(0)] : *(const pack *)&p.v[row_at<SIDE, R>(i)][k0 + k];
        EVERY(i, R) {
            const pack right = *(const pack *)&b.v[k + i][column_at<SIDE, R>(0)];
            EVERY(y, R) {
                const S one = TURNED ? left[i].v[y] : left[y].v[i];
                EVERY(x, R)
                    sum[y][x] = CAREFUL && one == 0 ? sum[y][x] : sum[y][x] + one * right.v[x];
            }
        }
    }
}

/* sum += p b, or p' b where TURNED, for the columns of b from c0 on, as products() goes. Where p is 0 the row of b may be anything, NaN too. */
template <bool TURNED, int SIDE, class S, int R>
TN_DEVICE void accumulate(const typename shape<S, R, SIDE>::tile &p, const matrix<S> &b, int64_t c0, typename shape<S, R, SIDE>::strips &room, S (&sum)[R][R])
{
    typedef shape<S, R, SIDE> of;
    typedef typename of::pack pack;
    const bool wide = is_wide(b);
    S next[of::EACH];
    fetch<of::TILE, of::THREADS>(b, wide, 0, c0, next);
    int now = 0;
    TN_UNROLL_BY(1)
    for (int k0 = 0; k0 < of::TILE && k0 < b.rows; k0 += of::DEPTH, now ^= 1) {
        bool finite = true;
        TN_UNROLL
        for (int n = 0; n < of::EACH; n += of::W) {
            const int e = place_of<of::THREADS, S>(n);
            pack out;
            EVERY(x, of::W) {
                out.v[x] = next[n + x];
                finite = finite && out.v[x] - out.v[x] == 0;
            }
            *(pack *)&room.b[now].v[e / of::TILE][e % of::TILE] = out;
        }
        const bool careful = __syncthreads_or(!finite);
        if (k0 + of::DEPTH < of::TILE)
            fetch<of::TILE, of::THREADS>(b, wide, k0 + of::DEPTH, c0, next);
        if (careful)
            accumulate_strip<TURNED, true, SIDE>(p, k0, room.b[now], sum);
        else
            accumulate_strip<TURNED, false, SIDE>(p, k0, room.b[now], sum);
    }
    __syncthreads();
}

/* Whether all scores of a tile from (i0, j0) on are products times scale, and no more. */
TN_DEVICE bool is_plain(const tn_attention &f, int64_t i0, int64_t j0, int tile)
{
    return !f.mask.data && i0 + tile <= f.l && j0 + tile <= f.s && !(f.causal && j0 + tile - 1 > i0);
}
/* Score (i, j) of a product; -inf: not allowed. */
template <class S> TN_DEVICE S score(const tn_attention &f, bool plain, int64_t batch, int64_t head, int64_t i, int64_t j, S product)
{
    const S nothing = -(S)INFINITY, x = (S)f.scale * product;
    if (plain)
        return x;
    if (i >= f.l || j >= f.s || (f.causal && j > i))
        return nothing;
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

/* A thread's part of a head's rows by columns from (first, c0) on. */
template <int SIDE, class S, int R>
TN_DEVICE void put(const tn_head_rows &r, int64_t batch, int64_t head, int64_t first, int64_t rows, int64_t c0, int64_t cols, const S (&sum)[R][R])
{
    typedef typename shape<S, R, SIDE>::pack pack;
    S *to = (S *)r.data + batch * r.batch + head * r.head;
    const int64_t c = c0 + column_at<SIDE, R>(0);
    const bool packed = cols % R == 0 && r.row % R == 0 && (uintptr_t)to % sizeof(pack) == 0 && c < cols;
    EVERY(y, R) {
        const int64_t i = first + row_at<SIDE, R>(y);
        S *at = to + i * r.row + c;
        if (i < rows && packed) {
            pack out;
            EVERY(x, R)
                out.v[x] = sum[y][x];
            *(pack *)at = out;
        } else {
            EVERY(x, R)
                if (i < rows && c + x < cols)
                    at[x] = sum[y][x];
        }
    }
}

/* Each thread has the greatest score of its rows and, of its own columns, the sum of exp; what was summed so far shrinks as greater scores come. NaN
 * is in the sums, whatever the greatest. A block has G tiles of columns of the result. */
template <class S, int R, int SIDE, int G>
TN_KERNEL AT_ONCE(SIDE *SIDE, SIDE == 16 ? 2 : 1) attention_kernel(tn_attention f, int64_t groups)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strips room;
    __shared__ typename shape<S, R, SIDE>::tile p;
    __shared__ union { S most[TILE][SIDE + R]; double total[TILE][SIDE + 1]; } of_threads;
    const part at = part_of(groups, tn_blocks(f.l, TILE), TILE, f.heads);
    const int64_t kv = at.head / (f.heads / f.kv_heads), end = f.causal && at.first + TILE < f.s ? at.first + TILE : f.s;
    const matrix<S> q = rows_from<S>(f.q, at.batch, at.head, at.first, f.l, f.e);
    const int side = threadIdx.x % SIDE;
    S most[R], scores[R][R], out[G][R][R] = {};
    double total[R] = {};
    EVERY(y, R)
        most[y] = -(S)INFINITY;
    for (int64_t j0 = 0; j0 < end; j0 += TILE) {
        products<SIDE>(q, rows_from<S>(f.k, at.batch, kv, j0, f.s, f.e), room, scores);
        const bool plain = is_plain(f, at.first, j0, TILE);
        EVERY(y, R) {
            S own = -(S)INFINITY;
            EVERY(x, R) {
                scores[y][x] = score(f, plain, at.batch, at.head, at.first + row_at<SIDE, R>(y), j0 + column_at<SIDE, R>(x), scores[y][x]);
                own = (S)fmax(own, scores[y][x]);
            }
            of_threads.most[row_at<SIDE, R>(y)][side] = own;
        }
        __syncthreads();
        EVERY(y, R) {
            const int row = row_at<SIDE, R>(y);
            S now = most[y], own = 0;
            EVERY(k, SIDE)
                now = (S)fmax(now, of_threads.most[row][k]);
            const S shrink = most[y] == -(S)INFINITY ? (S)0 : tn_exp_(most[y] - now);
            most[y] = now;
            EVERY(x, R) {
                const S e = scores[y][x] == -(S)INFINITY ? (S)0 : tn_exp_(scores[y][x] - now);
                own += e;
                scores[y][x] = e == 0 ? e : e * kept<S>(f, at.batch, at.head, at.first + row, j0 + column_at<SIDE, R>(x));
            }
            total[y] = total[y] * (double)shrink + (double)own;
            EVERY(g, G)
                EVERY(x, R)
                    out[g][y][x] *= shrink;
        }
        lay<SIDE>(p, scores);
        __syncthreads();
        EVERY(g, G)
            accumulate<false, SIDE>(p, rows_from<S>(f.v, at.batch, kv, j0, f.s, f.ev), at.group * G + g * TILE, room, out[g]);
    }
    EVERY(y, R)
        of_threads.total[row_at<SIDE, R>(y)][side] = total[y];
    __syncthreads();
    EVERY(y, R) {
        const int row = row_at<SIDE, R>(y);
        double all = 0;
        for (int k = 0; k < SIDE; k++)
            all += of_threads.total[row][k];
        const S share = all == 0 ? (S)0 : (S)(1 / all);
        EVERY(g, G)
            EVERY(x, R)
                out[g][y][x] = all == 0 ? (S)0 : out[g][y][x] * share;
        if (side == 0 && at.group == 0 && at.first + row < f.l) {
            S *stats = (S *)f.stats + 2 * row_index(f, at.batch, at.head, at.first + row);
            stats[0] = all == 0 ? (S)0 : most[y];
            stats[1] = share;
        }
    }
    EVERY(g, G)
        put<SIDE>(f.y, at.batch, at.head, at.first, f.l, at.group * G + g * TILE, f.ev, out[g]);
}

/* ---- backward ---------------------------------------------------------------------------------------------------------------- */

/* dy y of each row, by a thread that adds as products() does: where a row reads one key alone, its slope comes to 0. */
template <class S> TN_KERNEL dy_y_kernel(tn_attention f, int64_t rows, S *out)
{
    const int64_t i = tn_this_thread();
    if (i >= rows)
        return;
    const int64_t head = i / f.l % f.heads, batch = i / f.l / f.heads;
    const matrix<S> dy = rows_from<S>(f.dy, batch, head, i % f.l, f.l, f.ev), y = rows_from<S>(f.y, batch, head, i % f.l, f.l, f.ev);
    S sum = 0;
    for (int64_t d = 0; d < f.ev; d++)
        sum += dy.data[d] * y.data[d];
    out[i] = sum;
}

/* A thread's part of a tile from (i0, j0) on: p the probabilities after dropout, ds the scores' slopes times scale: probability (keep dy v - dy y). dy_y
 * is NULL where the tile has all keys of its rows: dy y is the sum of p dy v. */
template <int SIDE, class S, int R>
TN_DEVICE void slopes(const tn_attention &f, int64_t batch, int64_t head, int64_t i0, int64_t j0, const S *dy_y, typename shape<S, R, SIDE>::strips &room,
                      S (&p)[R][R], S (&ds)[R][R])
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    const int64_t kv = head / (f.heads / f.kv_heads);
    const bool plain = is_plain(f, i0, j0, TILE);
    S scores[R][R], own[R];
    products<SIDE>(rows_from<S>(f.q, batch, head, i0, f.l, f.e), rows_from<S>(f.k, batch, kv, j0, f.s, f.e), room, scores);
    products<SIDE>(rows_from<S>(f.dy, batch, head, i0, f.l, f.ev), rows_from<S>(f.v, batch, kv, j0, f.s, f.ev), room, ds);
    EVERY(y, R) {
        const int64_t i = i0 + row_at<SIDE, R>(y), at = row_index(f, batch, head, i < f.l ? i : 0);
        const S most = ((const S *)f.stats)[2 * at], share = ((const S *)f.stats)[2 * at + 1];
        own[y] = 0;
        EVERY(x, R) {
            const int64_t j = j0 + column_at<SIDE, R>(x);
            const S one = score(f, plain, batch, head, i, j, scores[y][x]);
            const S probability = one == -(S)INFINITY || share == 0 ? (S)0 : tn_exp_(one - most) * share;
            const S keep = probability == 0 ? (S)0 : kept<S>(f, batch, head, i, j);
            p[y][x] = probability * keep;
            scores[y][x] = probability;
            ds[y][x] = keep == 0 ? (S)0 : keep * ds[y][x];
            own[y] += probability == 0 ? (S)0 : probability * ds[y][x];
        }
        if (dy_y)
            own[y] = dy_y[at];
        else
            room.a[0].v[threadIdx.x % SIDE][row_at<SIDE, R>(y)] = own[y];
    }
    if (!dy_y) {
        __syncthreads();
        EVERY(y, R) {
            own[y] = 0;
            EVERY(x, SIDE)
                own[y] += room.a[0].v[x][row_at<SIDE, R>(y)];
        }
    }
    EVERY(y, R)
        EVERY(x, R)
            ds[y][x] = scores[y][x] == 0 ? (S)0 : (S)f.scale * scores[y][x] * (ds[y][x] - own[y]);
}

/* All of a head where one tile holds its scores. */
template <class S, int R, int SIDE> TN_KERNEL one_tile_kernel(tn_attention f)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strips room;
    __shared__ typename shape<S, R, SIDE>::tile laid;
    const int64_t head = blockIdx.x % f.heads, batch = blockIdx.x / f.heads;
    S p[R][R], ds[R][R];
    slopes<SIDE>(f, batch, head, 0, 0, (const S *)NULL, room, p, ds);
    lay<SIDE>(laid, p);
    __syncthreads();
    for (int64_t c0 = 0; c0 < f.ev && f.dv.data; c0 += TILE) {
        S of_v[R][R] = {};
        accumulate<true, SIDE>(laid, rows_from<S>(f.dy, batch, head, 0, f.l, f.ev), c0, room, of_v);
        put<SIDE>(f.dv, batch, head, 0, f.s, c0, f.ev, of_v);
    }
    lay<SIDE>(laid, ds);
    __syncthreads();
    for (int64_t c0 = 0; c0 < f.e; c0 += TILE) {
        S of_q[R][R] = {}, of_k[R][R] = {};
        if (f.dq.data) {
            accumulate<false, SIDE>(laid, rows_from<S>(f.k, batch, head, 0, f.s, f.e), c0, room, of_q);
            put<SIDE>(f.dq, batch, head, 0, f.l, c0, f.e, of_q);
        }
        if (f.dk.data) {
            accumulate<true, SIDE>(laid, rows_from<S>(f.q, batch, head, 0, f.l, f.e), c0, room, of_k);
            put<SIDE>(f.dk, batch, head, 0, f.s, c0, f.e, of_k);
        }
    }
}

template <class S, int R, int SIDE, int G>
TN_KERNEL AT_ONCE(SIDE *SIDE, SIDE == 16 && G == 1 ? 2 : 1) dq_kernel(tn_attention f, int64_t groups, const S *dy_y)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strips room;
    __shared__ typename shape<S, R, SIDE>::tile laid;
    const part at = part_of(groups, tn_blocks(f.l, TILE), TILE, f.heads);
    const int64_t kv = at.head / (f.heads / f.kv_heads), end = f.causal && at.first + TILE < f.s ? at.first + TILE : f.s;
    S p[R][R], ds[R][R], sum[G][R][R] = {};
    for (int64_t j0 = 0; j0 < end; j0 += TILE) {
        slopes<SIDE>(f, at.batch, at.head, at.first, j0, dy_y, room, p, ds);
        lay<SIDE>(laid, ds);
        __syncthreads();
        EVERY(g, G)
            accumulate<false, SIDE>(laid, rows_from<S>(f.k, at.batch, kv, j0, f.s, f.e), at.group * G + g * TILE, room, sum[g]);
    }
    EVERY(g, G)
        put<SIDE>(f.dq, at.batch, at.head, at.first, f.l, at.group * G + g * TILE, f.e, sum[g]);
}

/* Over the rows of q of each head that reads these keys and values. */
template <class S, int R, int SIDE, int G>
TN_KERNEL AT_ONCE(SIDE *SIDE, 1) dkv_kernel(tn_attention f, int64_t groups, const S *dy_y)
{
    enum { TILE = shape<S, R, SIDE>::TILE };
    __shared__ typename shape<S, R, SIDE>::strips room;
    __shared__ typename shape<S, R, SIDE>::tile laid;
    const part at = part_of(groups, tn_blocks(f.s, TILE), TILE, f.kv_heads);
    const int64_t each = f.heads / f.kv_heads, c0 = at.group * G;
    S p[R][R], ds[R][R], of_k[G][R][R] = {}, of_v[G][R][R] = {};
    for (int64_t head = at.head * each; head < (at.head + 1) * each; head++)
        for (int64_t i0 = f.causal ? at.first : 0; i0 < f.l; i0 += TILE) {
            slopes<SIDE>(f, at.batch, head, i0, at.first, dy_y, room, p, ds);
            lay<SIDE>(laid, p);
            __syncthreads();
            EVERY(g, G)
                if (f.dv.data && c0 + g * TILE < f.ev)
                    accumulate<true, SIDE>(laid, rows_from<S>(f.dy, at.batch, head, i0, f.l, f.ev), c0 + g * TILE, room, of_v[g]);
            lay<SIDE>(laid, ds);
            __syncthreads();
            EVERY(g, G)
                if (f.dk.data && c0 + g * TILE < f.e)
                    accumulate<true, SIDE>(laid, rows_from<S>(f.q, at.batch, head, i0, f.l, f.e), c0 + g * TILE, room, of_k[g]);
        }
    EVERY(g, G) {
        if (f.dk.data)
            put<SIDE>(f.dk, at.batch, at.head, at.first, f.s, c0 + g * TILE, f.e, of_k[g]);
        if (f.dv.data)
            put<SIDE>(f.dv, at.batch, at.head, at.first, f.s, c0 + g * TILE, f.ev, of_v[g]);
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
    if (f->dq.data && of_q * e > 0)
        TN_LAUNCH((dq_kernel<S, R, SIDE, G>), of_q * e, SIDE * SIDE, *f, e, dy_y);
    if ((f->dk.data || f->dv.data) && of_k * wide > 0)
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

/* call<S, R, SIDE>(f): small tiles for what is short. */
#define BY_LENGTH(call)                                                                                                       \
    const int64_t longest = f->l > f->s ? f->l : f->s;                                                                        \
    if (dtype == TN_F64)                                                                                                      \
        return longest <= 16 ? call<double, 2, 8>(f) : call<double, 2, 16>(f);                                                \
    if (longest <= 16)                                                                                                        \
        return call<float, 2, 8>(f);                                                                                          \
    return longest <= 32 ? call<float, 4, 8>(f) : call<float, 4, 16>(f);

tn_status tn_cuda_attention(tn_dtype dtype, const tn_attention *f) { BY_LENGTH(attention) }
tn_status tn_cuda_attention_backward(tn_dtype dtype, const tn_attention *f) { BY_LENGTH(attention_backward) }
