/* winograd_tiles.h's groups with AVX-512: where an image is narrow, all of 2 or 4 rows of tiles. A line is what a group reads, or writes, of one row
 * of each of its tiles: 32 floats, which are 1, 2 or 4 pieces of rows of the image, by masks. */

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

/* Columns 0 to 3 of row i of a group's tiles. */
TN_INLINE void load_inputs(const tiling *t, const group *g, int i, const float *x, __m512 d[4])
{
    __m512 a, b;
    load_line(t, x, &g->in[i], &a, &b);
    TN_UNROLL for (int j = 0; j < 4; j++)
        d[j] = _mm512_maskz_permutex2var_ps(t->inside[j], a, t->pick[j], b);
}

/* The even and the odd columns of row i of their outputs. */
TN_INLINE void load_outputs(const tiling *t, const group *g, int i, const float *y, __m512 *even, __m512 *odd)
{
    __m512 a, b;
    load_line(t, y, &g->out[i], &a, &b);
    *even = _mm512_permutex2var_ps(a, t->split[0], b);
    *odd = _mm512_permutex2var_ps(a, t->split[1], b);
}

TN_INLINE void store_outputs(const tiling *t, const group *g, int i, float *y, __m512 even, __m512 odd)
{
    store_line(t, y, &g->out[i], even, odd);
}

TN_INLINE mask lanes_of(const group *g) { return g->lanes; }

/* Planes are read and written where they lie. */
TN_INLINE const float *open_input(const tiling *t, const group *g, int64_t n, const float *image, int64_t c, int64_t channels, float *room)
{
    return (void)g, (void)n, (void)channels, (void)room, image + c * t->h * t->w;
}

TN_INLINE const float *open_grad(const tiling *t, const group *g, int64_t n, const float *image, int64_t c, int64_t channels, float *room)
{
    return (void)g, (void)n, (void)channels, (void)room, image + c * t->oh * t->ow;
}

TN_INLINE float *open_output(const tiling *t, float *image, int64_t c, float *room) { return (void)room, image + c * t->oh * t->ow; }

TN_INLINE void close_output(const tiling *t, const group *g, int64_t n, float *image, int64_t c, int64_t channels, float *room)
{
    (void)t, (void)g, (void)n, (void)image, (void)c, (void)channels, (void)room;
}

TN_INLINE void prefetch_input(const tiling *t, const group *g, int64_t n, const float *plane)
{
    prefetch_lines(t, plane + planes_ahead(n) * t->h * t->w, g->in + 2, false);
}

TN_INLINE void prefetch_output(const tiling *t, const group *g, int64_t n, const float *plane, bool write)
{
    prefetch_lines(t, plane + planes_ahead(n) * t->oh * t->ow, g->out, write);
}

enum { WIDEST = INT32_MAX };

static int64_t whole_rows(const tiling *t, int64_t groups) { return (void)t, groups; }
static int64_t room_floats(tiling *t, int64_t groups) { return (void)t, (void)groups, 0; }
