/* Where tiles lie in an image, and how vectors of them are read and written: winograd.c.
 *
 * A tile is 2 x 2 outputs and the 4 x 4 inputs that they need. A group is up to 16 tiles, the lanes of a vector: tiles beside each other, or,
 * where the image is narrow, all of 2 or 4 rows of tiles. A line is what a group reads, or writes, of one row of each of its tiles: 32 floats,
 * which are 1, 2 or 4 pieces of rows of the image. */
#include <immintrin.h>

typedef struct tiling {
    int64_t h, w, oh, ow, pad_h, pad_w; /* of a plane read, and of one written */
    int64_t rows, cols;                 /* tiles of an image */
    int64_t down, across;               /* rows of tiles in a group, and tiles of such a row */
    int64_t chunks, groups;             /* groups side by side, and of an image */
    __m512i pick[4];                    /* column j of the lanes' tiles in a line read */
    __mmask16 inside[4];
    __m512i split[2], merge[2]; /* even and odd columns of a line of outputs, and its halves of those */
} tiling;

typedef struct line {
    int64_t at[4]; /* the pieces: 4 of 8 floats, or 2 of 16 */
    __mmask16 mask[4];
} line;

typedef struct group {
    int64_t image, tiles, place; /* its first tile's among those of its block */
    __mmask16 lanes;
    line in[4], out[2];
} group;

static void tiling_lanes(tiling *t)
{
    const int64_t section = 32 / t->down, shift = t->chunks == 1 ? t->pad_w : 0;
    int32_t lane[16] = {0};
    for (int j = 0; j < 4; j++) {
        t->inside[j] = 0;
        for (int64_t l = 0; l < t->down * t->across; l++) {
            int64_t column = 2 * (l % t->across) + j - shift;
            bool in = column >= 0 && column < section;
            lane[l] = in ? (int32_t)(l / t->across * section + column) : 0;
            t->inside[j] |= (__mmask16)(in << l);
        }
        t->pick[j] = _mm512_loadu_si512(lane);
    }
    for (int j = 0; j < 2; j++) {
        for (int64_t l = 0; l < t->down * t->across; l++)
            lane[l] = (int32_t)(l / t->across * section + 2 * (l % t->across) + j);
        t->split[j] = _mm512_loadu_si512(lane);
    }
    for (int64_t half = 0; half < 2; half++) {
        for (int64_t i = 0; i < 16; i++) {
            int64_t place = half * 16 + i, row = place / section, column = place % section;
            lane[i] = (int32_t)((row * t->across + column / 2) % 16 + 16 * (column % 2));
        }
        t->merge[half] = _mm512_loadu_si512(lane);
    }
}

static tiling tiling_of(int64_t h, int64_t w, int64_t oh, int64_t ow, int64_t pad_h, int64_t pad_w)
{
    tiling t = {.h = h, .w = w, .oh = oh, .ow = ow, .pad_h = pad_h, .pad_w = pad_w, .rows = tn_ceil_div(oh, 2), .cols = tn_ceil_div(ow, 2)};
    const int64_t columns = tn_max_i64(2 * t.cols, tn_min_i64(w, 2 * t.cols + 2 - pad_w));
    t.down = columns <= 8 ? 4 : columns <= 16 ? 2 : 1;
    t.chunks = columns <= 32 ? 1 : tn_ceil_div(t.cols, 15); /* 15 tiles read 32 columns */
    t.across = tn_ceil_div(t.cols, t.chunks);
    t.groups = tn_ceil_div(t.rows, t.down) * t.chunks;
    tiling_lanes(&t);
    return t;
}

/* Piece p of a line from row y and column x of a plane whose rows of `pitch` end at column `last`, if the row is there. */
static void set_piece(line *l, int p, int floats, bool there, int64_t y, int64_t x, int64_t h, int64_t pitch, int64_t last)
{
    const int64_t begin = tn_max_i64(0, -x), end = tn_min_i64(floats, last - x);
    there = there && y >= 0 && y < h && begin < end;
    l->at[p] = there ? y * pitch + x : 0;
    l->mask[p] = (__mmask16)(there ? (1 << end) - (1 << begin) : 0);
}

static group group_at(const tiling *t, int64_t index, int64_t place)
{
    group g = {.image = index / t->groups, .place = place};
    const int64_t rest = index % t->groups, row = rest / t->chunks * t->down, col = rest % t->chunks * t->across;
    const int64_t down = tn_min_i64(t->down, t->rows - row), across = tn_min_i64(t->across, t->cols - col);
    const int floats = t->down == 4 ? 8 : 16;
    g.tiles = down * across;
    g.lanes = (__mmask16)((1 << g.tiles) - 1);
    for (int p = 0; p < 32 / floats; p++) {
        const int64_t y = 2 * (row + (t->down > 1 ? p : 0)), x = 2 * col + (t->down > 1 ? 0 : 16 * p);
        const bool there = t->down == 1 || p < down;
        for (int i = 0; i < 4; i++)
            set_piece(&g.in[i], p, floats, there, y + i - t->pad_h, t->chunks == 1 ? x : x - t->pad_w, t->h, t->w, t->w);
        for (int i = 0; i < 2; i++)
            set_piece(&g.out[i], p, floats, there, y + i, x, t->oh, t->ow, tn_min_i64(t->ow, 2 * (col + across)));
    }
    return g;
}

/* Groups first ... last - 1 into `g`; returns how many tiles they have. */
static int64_t groups_between(const tiling *t, int64_t first, int64_t last, group *g)
{
    int64_t tiles = 0;
    for (int64_t i = first; i < last; i++, tiles += g++->tiles)
        *g = group_at(t, i, tiles);
    return tiles;
}

/* Planes ahead that a prefetch goes, of images of which n groups are in a block. */
static int64_t planes_ahead(int64_t n) { return tn_ceil_div(8, n); }

/* How many of `count` groups are of the first one's image. */
static int64_t of_one_image(const group *g, int64_t count)
{
    int64_t n = 1;
    while (n < count && g[n].image == g->image)
        n++;
    return n;
}

TN_INLINE void load_line(const tiling *t, const float *x, const line *l, __m512 *a, __m512 *b)
{
    if (t->down == 4) {
        *a = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_maskz_loadu_ps((__mmask8)l->mask[0], x + l->at[0])),
                                _mm256_maskz_loadu_ps((__mmask8)l->mask[1], x + l->at[1]), 1);
        *b = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_maskz_loadu_ps((__mmask8)l->mask[2], x + l->at[2])),
                                _mm256_maskz_loadu_ps((__mmask8)l->mask[3], x + l->at[3]), 1);
    } else {
        *a = _mm512_maskz_loadu_ps(l->mask[0], x + l->at[0]);
        *b = _mm512_maskz_loadu_ps(l->mask[1], x + l->at[1]);
    }
}

TN_INLINE void store_line(const tiling *t, float *y, const line *l, __m512 even, __m512 odd)
{
    const __m512 a = _mm512_permutex2var_ps(even, t->merge[0], odd), b = _mm512_permutex2var_ps(even, t->merge[1], odd);
    if (t->down == 4) {
        _mm256_mask_storeu_ps(y + l->at[0], (__mmask8)l->mask[0], _mm512_castps512_ps256(a));
        _mm256_mask_storeu_ps(y + l->at[1], (__mmask8)l->mask[1], _mm512_extractf32x8_ps(a, 1));
        _mm256_mask_storeu_ps(y + l->at[2], (__mmask8)l->mask[2], _mm512_castps512_ps256(b));
        _mm256_mask_storeu_ps(y + l->at[3], (__mmask8)l->mask[3], _mm512_extractf32x8_ps(b, 1));
    } else {
        _mm512_mask_storeu_ps(y + l->at[0], l->mask[0], a);
        _mm512_mask_storeu_ps(y + l->at[1], l->mask[1], b);
    }
}

/* Two lines of a plane that is read, or written, soon: planes are shorter than the processor's own prefetching looks. */
TN_INLINE void prefetch_lines(const tiling *t, const float *x, const line *l, bool write)
{
    TN_UNROLL for (int i = 0; i < 4; i++) {
        const float *at = x + (t->down == 4 ? l[0].at[i] : l[i / 2].at[i % 2]);
        if (write)
            __builtin_prefetch(at, 1);
        else
            __builtin_prefetch(at);
    }
}

/* The transforms below act on one row of four or on four rows: B'd on inputs, A'm on products, A y on gradients. */
TN_INLINE void input_side(__m512 *d0, __m512 *d1, __m512 *d2, __m512 *d3)
{
    const __m512 e0 = *d0 - *d2, e1 = *d1 + *d2, e2 = *d2 - *d1, e3 = *d3 - *d1;
    *d0 = e0, *d1 = e1, *d2 = e2, *d3 = e3;
}

/* A group's tiles of a plane of x: plane p of the tile at v + p * step. */
TN_INLINE void transform_input(const tiling *t, const group *g, const float *x, float *v, int64_t step)
{
    __m512 d[4][4];
    TN_UNROLL for (int i = 0; i < 4; i++) {
        __m512 a, b;
        load_line(t, x, &g->in[i], &a, &b);
        TN_UNROLL for (int j = 0; j < 4; j++)
            d[i][j] = _mm512_maskz_permutex2var_ps(t->inside[j], a, t->pick[j], b);
        input_side(&d[i][0], &d[i][1], &d[i][2], &d[i][3]);
    }
    TN_UNROLL for (int j = 0; j < 4; j++) {
        input_side(&d[0][j], &d[1][j], &d[2][j], &d[3][j]);
        TN_UNROLL for (int i = 0; i < 4; i++)
            _mm512_storeu_ps(v + (4 * i + j) * step, d[i][j]);
    }
}

/* The same of a plane of gradients of outputs. */
TN_INLINE void transform_grad(const tiling *t, const group *g, const float *dy, float *v, int64_t step)
{
    __m512 d[2][4];
    TN_UNROLL for (int i = 0; i < 2; i++) {
        __m512 a, b;
        load_line(t, dy, &g->out[i], &a, &b);
        d[i][0] = _mm512_permutex2var_ps(a, t->split[0], b);
        d[i][3] = _mm512_permutex2var_ps(a, t->split[1], b);
        d[i][1] = d[i][0] + d[i][3];
        d[i][2] = d[i][0] - d[i][3];
    }
    TN_UNROLL for (int j = 0; j < 4; j++) {
        _mm512_storeu_ps(v + j * step, d[0][j]);
        _mm512_storeu_ps(v + (4 + j) * step, d[0][j] + d[1][j]);
        _mm512_storeu_ps(v + (8 + j) * step, d[0][j] - d[1][j]);
        _mm512_storeu_ps(v + (12 + j) * step, d[1][j]);
    }
}

/* A group's tiles of a plane of y, of products m, with a bias; returns zeros, unless one is not finite. */
TN_INLINE __m512 transform_output(const tiling *t, const group *g, const float *m, int64_t step, __m512 bias, bool relu, float *y)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 p[4][2], out[2][2], check = zero;
    TN_UNROLL for (int i = 0; i < 4; i++) {
        __m512 s[4];
        TN_UNROLL for (int j = 0; j < 4; j++)
            s[j] = _mm512_loadu_ps(m + (4 * i + j) * step);
        p[i][0] = s[0] + (s[1] + s[2]);
        p[i][1] = s[3] + (s[1] - s[2]);
    }
    TN_UNROLL for (int j = 0; j < 2; j++) {
        out[0][j] = p[0][j] + (p[1][j] + p[2][j]) + bias;
        out[1][j] = p[3][j] + (p[1][j] - p[2][j]) + bias;
    }
    TN_UNROLL for (int i = 0; i < 2; i++) {
        TN_UNROLL for (int j = 0; j < 2; j++) {
            check = _mm512_fmadd_ps(_mm512_maskz_mov_ps(g->lanes, out[i][j]), zero, check);
            if (relu)
                out[i][j] = _mm512_max_ps(out[i][j], zero);
        }
        store_line(t, y, &g->out[i], out[i][0], out[i][1]);
    }
    return check;
}

/* Of `count` groups and `channels` planes: channel c of plane p at v + p * step + c * pitch. Plane by plane, which memory likes. */
static void transform_inputs(const tiling *t, const group *g, int64_t count, const float *x, int64_t channels, float *v, int64_t pitch,
                             int64_t step)
{
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < n; i++) {
                const float *plane = x + (g->image * channels + c) * t->h * t->w;
                prefetch_lines(t, plane + planes_ahead(n) * t->h * t->w, g[i].in + 2, false);
                transform_input(t, &g[i], plane, v + c * pitch + g[i].place, step);
            }
    }
}

static void transform_grads(const tiling *t, const group *g, int64_t count, const float *dy, int64_t channels, float *v, int64_t pitch,
                            int64_t step)
{
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < n; i++) {
                const float *plane = dy + (g->image * channels + c) * t->oh * t->ow;
                prefetch_lines(t, plane + planes_ahead(n) * t->oh * t->ow, g[i].out, false);
                transform_grad(t, &g[i], plane, v + c * pitch + g[i].place, step);
            }
    }
}

/* False where one is not finite. */
static bool transform_outputs(const tiling *t, const group *g, int64_t count, const float *m, int64_t channels, int64_t pitch,
                              int64_t step, const float *bias, bool relu, float *y)
{
    __m512 check = _mm512_setzero_ps();
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        for (int64_t c = 0; c < channels; c++) {
            const __m512 b = _mm512_set1_ps(bias ? bias[c] : 0);
            for (int64_t i = 0; i < n; i++) {
                float *plane = y + (g->image * channels + c) * t->oh * t->ow;
                prefetch_lines(t, plane + planes_ahead(n) * t->oh * t->ow, g[i].out, true);
                check += transform_output(t, &g[i], m + c * pitch + g[i].place, step, b, relu, plane);
            }
        }
    }
    return _mm512_cmp_ps_mask(check, _mm512_setzero_ps(), _CMP_EQ_OQ) == 0xffff;
}
