/* The packed matrix product of one floating type, included by gemm.c once for each way to multiply (no include guard, on purpose): float,
 * double, and float whose operands are rounded to bf16 as they are packed.
 *
 * The plan is that of BLIS (Van Zee and van de Geijn 2015): panels of MR rows of a and of NR columns of b are packed so
 * that the micro-kernel reads both in order and keeps its MR x NR results in registers; KC steps of k at a time, so
 * that a's block of panels and b's panel stay in the first two caches. A panel is packed just before its first use, and
 * fetched before that.
 *
 * Every element of c is the same sum in the same order wherever its tile lies, so that no bit depends on how the tiles
 * are shared among threads. KC is a constant of the type for the same reason; only the sizes that change no sum come
 * from the machine's caches.
 *
 * What is packed is units of DEPTH steps of k: elements, or pairs of bf16 in the bits of a float.
 *
 * The includer defines T, its vectors V and V4, NAME(x), LANES, LINE, MR, NV, KC; FMA(a, b, c), of one element ONE(a, b, c); SPLAT(x); DEPTH;
 * STEP(a, b, c), which is FMA for units; TARGET, the attribute of what uses them; where panels are not packed as they are PACK(dst, width, src,
 * count, k, across, along); and where there is more than pack4 for lines along k LINES(dst, width, src, count, k, across), which says how many it
 * packed. Those that differ from one inclusion to the next, NAME and KC to LINES, end with it. */

#define NR (NV * LANES)
#define UNITS(k) (((k) + DEPTH - 1) / DEPTH)
#define CHUNK (DEPTH > 1 ? 4 : 16) /* units between two fetches of what comes next; pairs use up twice the lines meanwhile */

/* One product of the batch, or a block of it: c's strides are general, so that a and b may change places. */
typedef struct NAME(product) {
    int64_t m, n, k;
    const T *a, *b;
    T *c;
    int64_t a_row, a_col, b_row, b_col, c_row, c_col;
    T alpha, beta;
    const T *bias;
    int64_t bias_row, bias_col; /* one is 1 and the other 0 */
    bool relu;
    bool past; /* c, all of which is written once, goes past the caches */
    const T *packed; /* all of b in panels (gemm_pack), or NULL; this product's columns begin at packed_j of packed_n */
    int64_t packed_j, packed_n;
} NAME(product);

/* What becomes of a tile of sums: the first pass over k scales c, the last one adds the bias. */
typedef struct NAME(finish) {
    T *c;
    int64_t c_row, c_col;
    T alpha, beta;
    const T *bias;
    int64_t bias_row, bias_col;
    bool relu, past;
    bool fetch; /* c's lines are fetched meanwhile: of long sums, for a short one has no time for it */
} NAME(finish);

/* ---- packing ----------------------------------------------------------------------------------------------------- */

#ifndef PACK
#define PACK NAME(pack)
/* Four rows of length k side by side: dst[p * width + i] = src[i * across + p]. */
static inline void NAME(pack4)(T *restrict dst, int width, const T *restrict src, int64_t k, int64_t across)
{
    int64_t p = 0;
    for (; p + 4 <= k; p += 4, dst += 4 * width) {
        const V4 r0 = *(const V4 *)(src + p), r1 = *(const V4 *)(src + across + p);
        const V4 r2 = *(const V4 *)(src + 2 * across + p),
                         r3 = *(const V4 *)(src + 3 * across + p);
        const V4 low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5),
                         high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
        const V4 low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5),
                         high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
        *(V4 *)dst = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
        *(V4 *)(dst + width) = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
        *(V4 *)(dst + 2 * width) = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
        *(V4 *)(dst + 3 * width) = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
    }
    for (; p < k; p++, dst += width)
        for (int i = 0; i < 4; i++)
            dst[i] = src[i * across + p];
}

/* A panel: dst[p * width + i] = src[i * across + p * along] for i < count and 0 up to width. Where across is 1, count may be that of several
 * whole panels, which follow each other: together they read each line of memory once. */
static ALWAYS_INLINE void NAME(pack)(T *restrict dst, int width, const T *restrict src, int count, int64_t k,
                                     int64_t across, int64_t along)
{
    if (across == 1 && count >= width) {
        for (int64_t p = 0; p < k; p++)
            for (int i = 0; i < count; i += width)
                memcpy(dst + i * k + p * width, src + p * along + i, (size_t)width * sizeof(T));
        return;
    }
    int i = 0;
    if (along == 1) {
#ifdef LINES
        i = LINES(dst, width, src, count, k, across);
#endif
        for (; i + 4 <= count; i += 4)
            NAME(pack4)(dst + i, width, src + i * across, k, across);
    }
    if (i < width)
        for (int64_t p = 0; p < k; p++)
            for (int r = i; r < width; r++)
                dst[p * width + r] = r < count ? src[r * across + p * along] : (T)0;
}
#endif

/* What is to be packed next, fetched a few lines at a time between the steps of a product: many at once would keep the operands' own lines
 * waiting. `count` strings of `lines` each, `stride` elements apart, `each` lines at a time. */
typedef struct NAME(ahead) {
    const T *string;
    int64_t stride, count, lines, line, each;
} NAME(ahead);

/* Of a panel `width` wide and k deep, within so many times; of none where it is NULL. */
static NAME(ahead) NAME(ahead_of)(const T *panel, int64_t width, int64_t k, int64_t across, int64_t along, int64_t times)
{
    if (!panel || (across != 1 && along != 1))
        return (NAME(ahead)){0};
    /* Half a line more, for strings that begin within one. */
    const int64_t count = across == 1 ? k : width, lines = ((across == 1 ? width : k) + LINE / 2 + LINE - 1) / LINE;
    return (NAME(ahead)){panel, across == 1 ? along : across, count, lines, 0, (count * lines + times - 1) / times};
}

static ALWAYS_INLINE void NAME(fetch)(NAME(ahead) *ahead)
{
    for (int64_t n = ahead->each; n > 0 && ahead->count > 0; n--) {
        __builtin_prefetch(ahead->string + ahead->line * LINE, 0, 2);
        if (++ahead->line == ahead->lines)
            ahead->line = 0, ahead->count--, ahead->string += ahead->stride;
    }
}

TARGET static void NAME(pack_a)(T *restrict dst, const T *restrict a, int count, int64_t k, int64_t row, int64_t col)
{
    PACK(dst, MR, a, count, k, row, col);
}

TARGET static void NAME(pack_b)(T *restrict dst, const T *restrict b, int count, int64_t k, int64_t row, int64_t col)
{
    PACK(dst, NR, b, count, k, col, row);
}

/* ---- the micro-kernel -------------------------------------------------------------------------------------------- */

/* c = relu(alpha sum + beta c + bias) for a whole tile of columns side by side, and sums that are still in registers. */
TARGET static ALWAYS_INLINE void NAME(finish_sums)(int rows, int vectors, V sum[MR][NV], const NAME(finish) *f)
{
    const V alpha = SPLAT(f->alpha), beta = SPLAT(f->beta);
#define EACH(statement)                                                                                                                        \
    UNROLL                                                                                                                                     \
    for (int i = 0; i < rows; i++)                                                                                                             \
        UNROLL                                                                                                                                 \
        for (int v = 0; v < vectors; v++)                                                                                                           \
            statement
    if (f->beta != 0) {
        EACH(sum[i][v] = FMA(*(const V *)(f->c + i * f->c_row + v * LANES), beta, sum[i][v] * alpha);) /* as finish_edge() rounds */
    } else if (f->alpha != 1) {
        EACH(sum[i][v] *= alpha;)
    }
    if (f->bias && f->bias_col) {
        EACH(sum[i][v] += *(const V *)(f->bias + v * LANES);)
    } else if (f->bias) {
        EACH(sum[i][v] += SPLAT(f->bias[i]);)
    }
    if (f->relu) {
        EACH(sum[i][v] = (V)((__typeof__(alpha < alpha))sum[i][v] & ~(sum[i][v] < SPLAT((T)0)));)
    }
    if (f->past) {
        EACH(STORE_PAST(f->c + i * f->c_row + v * LANES, sum[i][v]);)
    } else {
        EACH(*(V *)(f->c + i * f->c_row + v * LANES) = sum[i][v];)
    }
#undef EACH
}

static void NAME(finish_edge)(const T *restrict tile, int rows, int cols, const NAME(finish) *f)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            T *c = f->c + i * f->c_row + j * f->c_col;
            T x = tile[i * NR + j] * f->alpha;
            if (f->beta != 0)
                x = ONE(*c, f->beta, x);
            if (f->bias)
                x += f->bias[i * f->bias_row + j * f->bias_col];
            *c = f->relu && x < 0 ? (T)0 : x;
        }
}

/* A panel of a and one of b, and what comes next of both. */
typedef struct NAME(panels) {
    const T *a, *b;
    int64_t units;
    NAME(ahead) next_a, next_b;
} NAME(panels);

/* What the product of two panels makes of a tile of c. `rows` and `vectors` are constants where this is inlined: the least of the compiled
 * heights and widths that holds the tile; zeros beyond cost less than a kernel for each. */
TARGET static ALWAYS_INLINE void NAME(tile_of)(int rows, int vectors, NAME(panels) *panels, int tile_rows, int cols, const NAME(finish) *f)
{
    const T *restrict a = panels->a, *restrict b = panels->b, *c = f->c;
    V sum[MR][NV];
    UNROLL
    for (int i = 0; i < rows; i++)
        UNROLL
        for (int v = 0; v < vectors; v++)
            sum[i][v] = SPLAT((T)0);
    /* Where nothing is fetched, one loop: the end of each is predicted late. */
    const int64_t chunk = f->fetch || panels->next_a.count || panels->next_b.count ? CHUNK : panels->units;
    int rows_left = f->fetch ? tile_rows : 0;
    for (int64_t left = panels->units; left > 0; left -= chunk) {
        if (rows_left-- > 0) {
            __builtin_prefetch(c, 1);
            __builtin_prefetch(c + NR - 1, 1);
            c += f->c_row;
        }
        NAME(fetch)(&panels->next_a);
        NAME(fetch)(&panels->next_b);
        for (int64_t p = left < chunk ? left : chunk; p > 0; p--, a += MR, b += NR) {
            V column[NV];
            UNROLL
            for (int v = 0; v < vectors; v++)
                column[v] = *(const V *)(b + v * LANES);
            UNROLL
            for (int i = 0; i < rows; i++) {
                const V element = SPLAT(a[i]);
                UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[i][v] = STEP(element, column[v], sum[i][v]);
            }
        }
    }
    if (tile_rows == rows && cols == vectors * LANES && f->c_col == 1) {
        NAME(finish_sums)(rows, vectors, sum, f);
        return;
    }
    T tile[MR * NR] __attribute__((aligned(64)));
    UNROLL
    for (int i = 0; i < rows; i++)
        UNROLL
        for (int v = 0; v < vectors; v++)
            *(V *)(tile + i * NR + v * LANES) = sum[i][v];
    NAME(finish_edge)(tile, tile_rows, cols, f);
}

TARGET static void NAME(tile)(int rows, int cols, NAME(panels) *panels, const NAME(finish) *f)
{
    if (rows == 1)
        NAME(tile_of)(1, NV, panels, rows, cols, f);
    else if (rows == 2)
        NAME(tile_of)(2, NV, panels, rows, cols, f);
    else if (rows <= 4)
        NAME(tile_of)(4, NV, panels, rows, cols, f);
    else if (MR > 8 && rows <= 8)
        NAME(tile_of)(MR > 8 ? 8 : MR, NV, panels, rows, cols, f);
    else if (cols <= NV / 2 * LANES)
        NAME(tile_of)(MR, NV / 2, panels, rows, cols, f);
    else
        NAME(tile_of)(MR, NV, panels, rows, cols, f);
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* How a product is cut: among workers, and into blocks within one. */
typedef struct NAME(cut) {
    int64_t kc, mc, nc;
    int64_t a_size, b_size; /* units of packed a and b, of one worker */
    bool strips; /* blocks are as high as what is packed at once, and while one is multiplied all of the next is fetched */
} NAME(cut);

/* Steps of k in one pass, whole units. */
static int64_t NAME(pass)(int64_t k)
{
    const int64_t passes = (k + KC - 1) / KC;
    return passes ? UNITS((k + passes - 1) / passes) * DEPTH : 0;
}

static NAME(cut) NAME(cut_of)(int64_t m, int64_t n, int64_t k, int64_t a_row)
{
    const int64_t kc = NAME(pass)(k);
    const int64_t element = (int64_t)sizeof(T), depth = kc ? kc / DEPTH : 1;
    int64_t mc = second_cache() / 2 / (depth * element) / MR * MR,
            nc = ((int64_t)2 << 20) / (depth * element) / NR * NR;
    const int64_t m_up = (m + MR - 1) / MR * MR, n_up = (n + NR - 1) / NR * NR;
    mc = mc < 8 * MR ? 8 * MR : mc;
    nc = nc < 8 * NR ? 8 * NR : nc;
    /* Blocks of equal height rather than a small last one. */
    const int64_t blocks = (m_up + mc - 1) / mc;
    mc = blocks > 1 ? ((m_up / MR + blocks - 1) / blocks) * MR : m_up;
    nc = nc < n_up ? nc : n_up;
    /* Few panels of b stay near however low a's blocks are, and rows side by side are fetched in time only while all of b is multiplied by those
     * before. As floats, which take twice as long to multiply, they are in time anyway. */
    const bool strips = DEPTH > 1 && a_row == 1 && m_up > TOGETHER && n_up <= STRIP_PANELS * NR;
    mc = strips ? TOGETHER : mc;
    /* With one block of rows a panel of b serves at once and is not kept. */
    return (NAME(cut)){kc, mc, nc, mc * depth, (mc < m_up ? nc : NR) * depth, strips};
}

/* One block of a against the panels of b. The panels are packed on the way: a's with the first of b, b's with the first block. */
static void NAME(block)(const NAME(product) *g, const NAME(cut) *cut, int64_t i0, int64_t j0, int64_t p0, T *a, T *b)
{
    const int64_t mc = g->m - i0 < cut->mc ? g->m - i0 : cut->mc, nc = g->n - j0 < cut->nc ? g->n - j0 : cut->nc;
    const int64_t kc = g->k - p0 < cut->kc ? g->k - p0 : cut->kc, units = UNITS(kc);
    const int64_t chunks = (units + CHUNK - 1) / CHUNK, tiles = (mc + MR - 1) / MR;
    const bool first = p0 == 0, last = p0 + kc == g->k, keep = cut->mc < g->m;
    const T *below = g->a + (i0 + mc) * g->a_row + p0 * g->a_col, *beyond = g->a + (p0 + kc) * g->a_col; /* the blocks that follow */
    const T *after = i0 + mc < g->m ? below : last ? NULL : beyond;
    const int64_t near = second_cache() / 4 / (int64_t)sizeof(T); /* what small operands need is there before they are packed */
    const bool fetch_a = g->m * g->k > near, fetch_b = g->n * g->k > near;
    NAME(finish) f = {.c_row = g->c_row, .c_col = g->c_col, .alpha = g->alpha, .beta = first ? g->beta : 1,
                      .bias_row = g->bias_row, .bias_col = g->bias_col, .relu = last && g->relu, .past = g->past,
                      .fetch = chunks >= MR && !g->past};
    int64_t packed_rows = 0;
    NAME(panels) panels = {.units = units};
    if (cut->strips)
        panels.next_a = NAME(ahead_of)(fetch_a ? after : NULL, TOGETHER, kc, g->a_row, g->a_col, chunks * tiles * ((nc + NR - 1) / NR));
    for (int64_t j = 0; j < nc; j += NR) {
        const int cols = (int)(nc - j < NR ? nc - j : NR);
        const T *panel = g->b + p0 * g->b_row + (j0 + j) * g->b_col;
        panels.b = b + (keep ? j * units : 0);
        panels.next_b = (NAME(ahead)){0};
        if (g->packed) {
            panels.b = g->packed + p0 / DEPTH * g->packed_n + (g->packed_j + j0 + j) * units;
        } else if (i0 == 0) {
            const T *next = j + NR < nc ? panel + NR * g->b_col : last ? NULL : g->b + (p0 + kc) * g->b_row + j0 * g->b_col;
            NAME(pack_b)(b + (keep ? j * units : 0), panel, cols, kc, g->b_row, g->b_col);
            panels.next_b = NAME(ahead_of)(fetch_b ? next : NULL, NR, kc, g->b_col, g->b_row, chunks * tiles);
        }
        if (!cut->strips && j > 0 && j + NR >= nc)
            panels.next_a = NAME(ahead_of)(fetch_a ? after : NULL, MR, kc, g->a_row, g->a_col, chunks * tiles);
        for (int64_t i = 0; i < mc; i += MR) {
            const int rows = (int)(mc - i < MR ? mc - i : MR);
            if (j == 0 && i == packed_rows) {
                const T *own = g->a + (i0 + i) * g->a_row + p0 * g->a_col;
                const int64_t group = g->a_row == 1 && mc - i >= TOGETHER ? TOGETHER : MR;
                const T *next = i + group < mc ? own + group * g->a_row : nc > NR ? NULL : after;
                NAME(pack_a)(a + i * units, own, (int)(mc - i < group ? mc - i : group), kc, g->a_row, g->a_col);
                if (!cut->strips)
                    panels.next_a = NAME(ahead_of)(fetch_a ? next : NULL, group, kc, g->a_row, g->a_col, chunks * (group / MR));
                packed_rows += group;
            }
            panels.a = a + i * units;
            f.c = g->c + (i0 + i) * g->c_row + (j0 + j) * g->c_col;
            f.bias = last && g->bias ? g->bias + (i0 + i) * g->bias_row + (j0 + j) * g->bias_col : NULL;
            NAME(tile)(rows, cols, &panels, &f);
        }
    }
}

static void NAME(blocks)(const NAME(product) *g, const NAME(cut) *cut, T *a, T *b)
{
    for (int64_t j0 = 0; j0 < g->n; j0 += cut->nc)
        for (int64_t p0 = 0; p0 < g->k; p0 += cut->kc)
            for (int64_t i0 = 0; i0 < g->m; i0 += cut->mc)
                NAME(block)(g, cut, i0, j0, p0, a, b);
}

/* ---- vector times matrix ----------------------------------------------------------------------------------------- */

/* c's columns j and on, from their sums; a vector at once, for a branch at each sign costs as much as a column. */
TARGET static void NAME(finish_row)(const NAME(product) *g, int64_t j, int64_t width, const T *sum)
{
    NAME(finish) f = {.c = g->c + j * g->c_col, .c_col = g->c_col, .alpha = g->alpha, .beta = g->beta,
                      .bias = g->bias ? g->bias + j * g->bias_col : NULL, .bias_col = g->bias_col, .relu = g->relu};
    int64_t v = 0;
    for (; g->c_col == 1 && v + LANES <= width; v += LANES) {
        V one[MR][NV];
        one[0][0] = *(const V *)(sum + v);
        NAME(finish_sums)(1, 1, one, &f);
        f.c += LANES, f.bias = f.bias ? f.bias + LANES * g->bias_col : NULL;
    }
    NAME(finish_edge)(sum + v, 1, (int)(width - v), &f);
}

/* The sum of each vector's lanes. Four vectors side by side and by halves: one lane after the other would take a third as long as the products
 * of a column that comes from the third cache. */
static ALWAYS_INLINE void NAME(lane_sums)(const V vector[4], T sum[4])
{
    V4 four[4];
    UNROLL
    for (int q = 0; q < 4; q++) {
        T lanes[LANES < 4 ? 4 : LANES] __attribute__((aligned(64))) = {0};
        *(V *)lanes = vector[q];
        four[q] = *(V4 *)lanes;
        UNROLL
        for (int i = 4; i < LANES; i += 4)
            four[q] += *(V4 *)(lanes + i);
    }
    const V4 two01 = __builtin_shufflevector(four[0], four[1], 0, 4, 2, 6) + __builtin_shufflevector(four[0], four[1], 1, 5, 3, 7);
    const V4 two23 = __builtin_shufflevector(four[2], four[3], 0, 4, 2, 6) + __builtin_shufflevector(four[2], four[3], 1, 5, 3, 7);
    *(V4 *)sum = __builtin_shufflevector(two01, two23, 0, 1, 4, 5) + __builtin_shufflevector(two01, two23, 2, 3, 6, 7);
}

/* The columns of b are contiguous: dot products, `columns` (a constant) of them at once. */
static ALWAYS_INLINE void NAME(dots)(int columns, const NAME(product) *g, int64_t j, T *dot)
{
    const T *a = g->a, *b = g->b + j * g->b_col;
    V sum[4][2];
    for (int q = 0; q < 4; q++)
        sum[q][0] = sum[q][1] = SPLAT((T)0);
    int64_t p = 0;
    for (; p + 2 * LANES <= g->k; p += 2 * LANES) {
        const V a0 = *(const V *)(a + p), a1 = *(const V *)(a + p + LANES);
        UNROLL
        for (int q = 0; q < columns; q++) {
            const T *column = b + q * g->b_col + p;
            sum[q][0] = FMA(a0, *(const V *)column, sum[q][0]);
            sum[q][1] = FMA(a1, *(const V *)(column + LANES), sum[q][1]);
        }
    }
    if (p + LANES <= g->k) {
        UNROLL
        for (int q = 0; q < columns; q++)
            sum[q][0] = FMA(*(const V *)(a + p), *(const V *)(b + q * g->b_col + p), sum[q][0]);
        p += LANES;
    }
    T all[4], rest[4] = {0};
    const V both[4] = {sum[0][0] + sum[0][1], sum[1][0] + sum[1][1], sum[2][0] + sum[2][1], sum[3][0] + sum[3][1]};
    NAME(lane_sums)(both, all);
    for (; p < g->k; p++)
        for (int q = 0; q < columns; q++)
            rest[q] += a[p] * b[q * g->b_col + p];
    for (int q = 0; q < columns; q++)
        dot[q] = all[q] + rest[q];
}

static void NAME(dots_row)(const NAME(product) *g, int64_t j, int64_t width, T *sum)
{
    int64_t i = 0;
    for (; i + 4 <= width; i += 4)
        NAME(dots)(4, g, j + i, sum + i);
    for (; i < width; i++)
        NAME(dots)(1, g, j + i, sum + i);
}

/* The rows of b are contiguous: eight of them at once, each read in order. */
static void NAME(strip)(const NAME(product) *g, int64_t j, int64_t width, T *sum)
{
    enum { ROWS = 8 };
    const int64_t whole = width / LANES * LANES;
    memset(sum, 0, (size_t)width * sizeof(T));
    const T *b = g->b + j;
    int64_t p = 0;
    for (; p + ROWS <= g->k; p += ROWS, b += ROWS * g->b_row) {
        V element[ROWS];
        for (int r = 0; r < ROWS; r++)
            element[r] = SPLAT(g->a[p + r]);
        for (int64_t v = 0; v < whole; v += LANES) {
            V s = *(V *)(sum + v);
            UNROLL
            for (int r = 0; r < ROWS; r++)
                s = FMA(element[r], *(const V *)(b + r * g->b_row + v), s);
            *(V *)(sum + v) = s;
        }
    }
    for (; p < g->k; p++, b += g->b_row) {
        const V element = SPLAT(g->a[p]);
        for (int64_t v = 0; v < whole; v += LANES)
            *(V *)(sum + v) = FMA(element, *(const V *)(b + v), *(V *)(sum + v));
    }
    for (int64_t v = whole; v < width; v++)
        for (int64_t r = 0; r < g->k; r++)
            sum[v] += g->a[r] * g->b[r * g->b_row + j + v];
}

/* One row; a is contiguous, and b along k or along n. */
static void NAME(row_times)(const NAME(product) *g)
{
    T sum[STRIP] __attribute__((aligned(64)));
    for (int64_t j = 0; j < g->n; j += STRIP) {
        const int64_t width = g->n - j < STRIP ? g->n - j : STRIP;
        if (g->b_row == 1)
            NAME(dots_row)(g, j, width, sum);
        else
            NAME(strip)(g, j, width, sum);
        NAME(finish_row)(g, j, width, sum);
    }
}

/* ---- a whole call ------------------------------------------------------------------------------------------------ */

/* The call as the workers see it: `tasks` pieces, `parts_m` x `parts_n` of each product of the batch. */
typedef struct NAME(call) {
    NAME(product) g;
    int64_t a_batch, b_batch, c_batch;
    int64_t batch, parts_m, parts_n, step_m, step_n, workers;
    NAME(cut) cut;
    T *scratch;
    bool vector; /* m is 1 and no packing is needed */
} NAME(call);

static void NAME(piece)(const NAME(call) *call, int64_t task, T *a, T *b)
{
    const int64_t at = task / (call->parts_m * call->parts_n), part = task % (call->parts_m * call->parts_n);
    const int64_t i = part / call->parts_n * call->step_m, j = part % call->parts_n * call->step_n;
    NAME(product) g = call->g;
    if (i >= g.m || j >= g.n)
        return;
    g.a += at * call->a_batch + i * g.a_row;
    g.b += at * call->b_batch + j * g.b_col;
    g.packed_j = j;
    g.c += at * call->c_batch + i * g.c_row + j * g.c_col;
    g.bias = g.bias ? g.bias + i * g.bias_row + j * g.bias_col : NULL;
    g.m = g.m - i < call->step_m ? g.m - i : call->step_m;
    g.n = g.n - j < call->step_n ? g.n - j : call->step_n;
    if (call->vector)
        NAME(row_times)(&g);
    else
        NAME(blocks)(&g, &call->cut, a, b);
}

static void NAME(work)(int64_t begin, int64_t end, void *context)
{
    const NAME(call) *call = context;
    const int64_t tasks = call->batch * call->parts_m * call->parts_n;
    for (int64_t w = begin; w < end; w++) {
        T *a = call->scratch ? call->scratch + w * (call->cut.a_size + call->cut.b_size) : NULL;
        for (int64_t task = tasks * w / call->workers; task < tasks * (w + 1) / call->workers; task++)
            NAME(piece)(call, task, a, call->scratch ? a + call->cut.a_size : NULL);
    }
    if (call->g.past)
        FENCE_PAST(); /* before another thread is told that c is there */
}

/* Cuts each product for about `threads` workers: the cheapest grid, where packing an element costs about a cycle and a
 * cycle does two vectors of the product. */
static void NAME(share)(NAME(call) *call, int64_t threads)
{
    const int64_t rows = call->vector ? 1 : (call->g.m + MR - 1) / MR, columns = (call->g.n + NR - 1) / NR;
    double best = 0;
    for (int64_t parts_m = 1; parts_m <= threads && parts_m <= rows; parts_m++) {
        int64_t parts_n = threads / parts_m;
        parts_n = parts_n < columns ? parts_n : columns;
        const double m = (double)((rows + parts_m - 1) / parts_m * MR),
                     n = (double)((columns + parts_n - 1) / parts_n * NR);
        const double cost = m * n / (2 * LANES) + m + n;
        if (parts_m > 1 && cost >= best)
            continue;
        best = cost;
        call->parts_m = parts_m;
        call->parts_n = parts_n;
    }
    call->step_m = call->vector ? 1 : (rows + call->parts_m - 1) / call->parts_m * MR;
    call->step_n = (columns + call->parts_n - 1) / call->parts_n * NR;
}

/* c = relu(beta c + bias): what is left of a product over no k. */
static void NAME(no_product)(const tn_gemm *gemm)
{
    for (int64_t at = 0; at < gemm->batch; at++)
        for (int64_t i = 0; i < gemm->m; i++)
            for (int64_t j = 0; j < gemm->n; j++) {
                T *c = (T *)gemm->c + at * gemm->c_batch + i * gemm->c_row + j;
                T x = (gemm->beta != 0 ? *c * (T)gemm->beta : (T)0) + (gemm->bias ? ((const T *)gemm->bias)[j] : (T)0);
                *c = gemm->activation == TN_UNARY_RELU && x < 0 ? (T)0 : x;
            }
}

/* a and b change places: c' = b' a'. */
static void NAME(swap)(NAME(call) *call)
{
    const NAME(product) g = call->g;
    const int64_t batch = call->a_batch;
    call->g.m = g.n, call->g.n = g.m, call->g.a = g.b, call->g.b = g.a;
    call->g.a_row = g.b_col, call->g.a_col = g.b_row, call->g.b_row = g.a_col, call->g.b_col = g.a_row;
    call->g.c_row = g.c_col, call->g.c_col = g.c_row, call->g.bias_row = g.bias_col, call->g.bias_col = g.bias_row;
    call->a_batch = call->b_batch, call->b_batch = batch;
}

/* Lanes that compute nothing when m rows lie along MR and n columns along NR, as a share of the useful ones. */
static double NAME(waste)(int64_t m, int64_t n)
{
    return (double)((m + MR - 1) / MR * MR) * (double)((n + NR - 1) / NR * NR) / ((double)m * (double)n);
}

/* Whether c leaves no cache room for itself, and is written in one pass by whole lines. */
static bool NAME(goes_past)(const tn_gemm *g)
{
    const bool lines = (uintptr_t)g->c % VECTOR_BYTES == 0 && g->c_row % LANES == 0 && (g->batch == 1 || g->c_batch % LANES == 0);
    return lines && g->beta == 0 && g->k <= KC && g->batch * g->m * g->n >= TN_PAST_CACHES / (int64_t)sizeof(T);
}

static tn_status NAME(gemm)(const tn_gemm *gemm)
{
    if (gemm->batch == 0 || gemm->m == 0 || gemm->n == 0)
        return TN_OK;
    if (gemm->k == 0) {
        NAME(no_product)(gemm);
        return TN_OK;
    }
    NAME(call) call = {.g = {gemm->m, gemm->n, gemm->k, gemm->a, gemm->b, gemm->c, gemm->a_row, gemm->a_col,
                             gemm->b_row, gemm->b_col, gemm->c_row, 1, (T)gemm->alpha, (T)gemm->beta, gemm->bias, 0, 1,
                             gemm->activation == TN_UNARY_RELU, NAME(goes_past)(gemm), gemm->packed, 0, (gemm->n + NR - 1) / NR * NR},
                       .a_batch = gemm->a_batch, .b_batch = gemm->b_batch, .c_batch = gemm->c_batch,
                       .batch = gemm->batch};
    if (gemm->m > 1 && !gemm->packed &&
        (gemm->n == 1 || (gemm->n < NR && NAME(waste)(gemm->n, gemm->m) < NAME(waste)(gemm->m, gemm->n))))
        NAME(swap)(&call);
    call.vector = call.g.m == 1 && !gemm->packed && (call.g.a_col == 1 || gemm->k == 1) && (call.g.b_row == 1 || call.g.b_col == 1);
    const double work = (double)gemm->m * (double)gemm->n * (double)gemm->k * (double)gemm->batch;
    const int64_t threads = gemm->scratch ? 1 : tn_workers_for((int64_t)work);
    NAME(share)(&call, (threads + gemm->batch - 1) / gemm->batch);
    const int64_t tasks = call.batch * call.parts_m * call.parts_n;
    call.workers = threads < tasks ? threads : tasks;
    T small[SMALL_SCRATCH / sizeof(T)] __attribute__((aligned(64)));
    size_t bytes = 0;
    if (!call.vector) {
        call.cut = NAME(cut_of)(call.step_m < call.g.m ? call.step_m : call.g.m,
                                call.step_n < call.g.n ? call.step_n : call.g.n, gemm->k, call.g.a_row);
        call.cut.b_size = gemm->packed ? 0 : call.cut.b_size;
        bytes = (size_t)(call.workers * (call.cut.a_size + call.cut.b_size)) * sizeof(T);
        call.scratch = gemm->scratch ? gemm->scratch : bytes <= sizeof(small) ? small : tn_alloc(bytes);
        if (!call.scratch)
            return TN_ERR_MEMORY;
    }
    if (call.workers == 1)
        NAME(work)(0, 1, &call);
    else
        tn_parallel_for(call.workers, 1, NAME(work), &call);
    if (call.scratch && call.scratch != small && !gemm->scratch)
        tn_free(call.scratch, bytes);
    return TN_OK;
}

static size_t NAME(packed_bytes)(const tn_gemm *gemm)
{
    return (size_t)((gemm->n + NR - 1) / NR * NR * UNITS(gemm->k)) * sizeof(T);
}

static size_t NAME(scratch_bytes)(const tn_gemm *gemm, int64_t rows)
{
    return (size_t)((rows + MR - 1) / MR * MR * UNITS(NAME(pass)(gemm->k))) * sizeof(T);
}

/* Pass after pass over k, in each the panels of NR columns one after the other. */
static void NAME(pack_whole)(const tn_gemm *gemm, T *packed)
{
    const int64_t depth = NAME(pass)(gemm->k), columns = (gemm->n + NR - 1) / NR * NR;
    for (int64_t p0 = 0; p0 < gemm->k; p0 += depth) {
        const int64_t kc = gemm->k - p0 < depth ? gemm->k - p0 : depth;
        for (int64_t j = 0; j < gemm->n; j += NR)
            NAME(pack_b)(packed + p0 / DEPTH * columns + j * UNITS(kc), (const T *)gemm->b + p0 * gemm->b_row + j * gemm->b_col,
                         (int)(gemm->n - j < NR ? gemm->n - j : NR), kc, gemm->b_row, gemm->b_col);
    }
}

#undef NR
#undef UNITS
#undef CHUNK
#undef NAME
#undef KC
#undef STEP
#undef DEPTH
#undef TARGET
#undef PACK
#undef LINES
