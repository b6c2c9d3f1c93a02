/* winograd_tiles.h's groups with AVX2, which has no masks to speak of: planes are copied to a room with zeros around them, from which whole vectors
 * are read, and results to another, of which only the image is copied back. A vector's lanes are always 8 tiles of one row, 4 of two or 2 of four:
 * where a narrow image has fewer, it is as if it were wider. */
typedef struct tiling {
    int64_t h, w, oh, ow, pad_h, pad_w; /* of a plane read, and of one written */
    int64_t rows, cols;                 /* tiles of an image */
    int64_t down, across;               /* rows of tiles in a group, and tiles of such a row */
    int64_t chunks, groups;             /* groups side by side, and of an image */
    int64_t pitch, room;                /* floats of a room's rows, and of a room for one plane */
    int64_t quad[4];                    /* where the four columns of each two tiles lie in a room */
} tiling;

typedef struct group {
    int64_t image, tiles, place, row, at; /* its place and its first row of tiles; where its first tile lies in the room */
} group;

/* Columns of an image at most: a block is whole rows of tiles, which beyond that would no longer lie in the second cache. */
enum { WIDEST = 3072 };

/* Rooms: two for what is read, for the next plane is copied before this one is read, and two for gradients or results. */
enum { ROOMS = 4 };

static tiling tiling_of(int64_t h, int64_t w, int64_t oh, int64_t ow, int64_t pad_h, int64_t pad_w)
{
    tiling t = {.h = h, .w = w, .oh = oh, .ow = ow, .pad_h = pad_h, .pad_w = pad_w, .rows = tn_ceil_div(oh, 2), .cols = tn_ceil_div(ow, 2)};
    t.down = t.cols <= 2 ? 4 : t.cols <= 4 ? 2 : 1;
    t.chunks = tn_ceil_div(t.cols, LANES);
    t.across = t.down > 1 ? LANES / t.down : tn_ceil_div(t.cols, t.chunks);
    t.groups = tn_ceil_div(t.rows, t.down) * t.chunks;
    t.pitch = tn_ceil_div(2 * t.across * (t.chunks - 1) + 2 * LANES + 2, LANES) * LANES;
    for (int64_t i = 0; i < 4; i++)
        t.quad[i] = t.down == 1 ? 4 * i : t.down == 2 ? i / 2 * 2 * t.pitch + i % 2 * 4 : i * 2 * t.pitch;
    return t;
}

/* Blocks are of whole rows of tiles, as their rooms are. */
static int64_t whole_rows(const tiling *t, int64_t groups) { return tn_max_i64(1, groups / t->chunks) * t->chunks; }

/* Sets t->room for blocks of so many groups, and returns the floats of a worker's rooms. */
static int64_t room_floats(tiling *t, int64_t groups)
{
    const int64_t rows = tn_min_i64(tn_ceil_div(t->rows, t->down), tn_ceil_div(groups, t->chunks)) * t->down;
    t->room = tn_ceil_div((2 * rows + 2) * t->pitch, 16) * 16;
    return ROOMS * t->room;
}

/* Groups first ... last - 1 into `g`; returns how many tiles they have. */
static int64_t groups_between(const tiling *t, int64_t first, int64_t last, group *g)
{
    int64_t tiles = 0, top = 0;
    for (int64_t i = first; i < last; i++, tiles += g++->tiles) {
        const int64_t rest = i % t->groups, row = rest / t->chunks * t->down, col = rest % t->chunks * t->across;
        if (i == first || rest == 0)
            top = row;
        const int64_t down = tn_min_i64(t->down, t->rows - row), across = t->down > 1 ? t->across : tn_min_i64(t->across, t->cols - col);
        *g = (group){i / t->groups, down * across, tiles, row, 2 * (row - top) * t->pitch + 2 * col};
    }
    return tiles;
}

TN_INLINE mask lanes_of(const group *g) { return first_lanes(g->tiles); }

/* to[0 ... n) = from[0 ... n) */
TN_INLINE void copy_columns(float *to, const float *from, int64_t n)
{
    if (n >= LANES) {
        for (int64_t i = 0; i + LANES <= n; i += LANES)
            V(storeu_ps)(to + i, V(loadu_ps)(from + i));
        V(storeu_ps)(to + n - LANES, V(loadu_ps)(from + n - LANES));
    } else if (n >= LANES / 2) {
        _mm_storeu_ps(to, _mm_loadu_ps(from));
        _mm_storeu_ps(to + n - LANES / 2, _mm_loadu_ps(from + n - LANES / 2));
    } else {
        for (int64_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

/* Rows [top, top + rows) of a plane [h, w] into a room of zeros from column `left` on. */
static void fill_room(const tiling *t, float *room, const float *plane, int64_t h, int64_t w, int64_t top, int64_t rows, int64_t left, bool more)
{
    for (int64_t y = top; y < top + rows; y++, room += t->pitch) {
        if (y >= 0 && y < h) {
            for (int64_t i = 0; i < w && more; i += 16) /* of the next plane */
                __builtin_prefetch(plane + (h + y) * w + i);
            copy_columns(room + left, plane + y * w, w);
        } else {
            for (int64_t i = 0; i < t->pitch; i += LANES)
                V(storeu_ps)(room + i, V(setzero_ps)());
        }
    }
}

/* Rows of tiles of n groups of one image. */
static int64_t rows_of(const tiling *t, const group *g, int64_t n) { return g[n - 1].row - g->row + t->down; }

/* Plane c of n groups' image in its room. */
static const float *open_input(const tiling *t, const group *g, int64_t n, const float *image, int64_t c, int64_t channels, float *room)
{
    const int64_t top = 2 * g->row - t->pad_h, rows = 2 * rows_of(t, g, n) + 2;
    for (int64_t i = c ? c + 1 : 0; i < tn_min_i64(c + 2, channels); i++)
        fill_room(t, room + i % 2 * t->room, image + i * t->h * t->w, t->h, t->w, top, rows, t->pad_w, i + 1 < channels);
    return room + c % 2 * t->room;
}

static const float *open_grad(const tiling *t, const group *g, int64_t n, const float *image, int64_t c, int64_t channels, float *room)
{
    room += 2 * t->room;
    for (int64_t i = c ? c + 1 : 0; i < tn_min_i64(c + 2, channels); i++)
        fill_room(t, room + i % 2 * t->room, image + i * t->oh * t->ow, t->oh, t->ow, 2 * g->row, 2 * rows_of(t, g, n), 0, i + 1 < channels);
    return room + c % 2 * t->room;
}

static float *open_output(const tiling *t, float *image, int64_t c, float *room) { return (void)image, room + (2 + c % 2) * t->room; }

/* What lies in the room of plane c - 1, and of c where it is the last one, goes to the image. */
static void close_output(const tiling *t, const group *g, int64_t n, float *image, int64_t c, int64_t channels, float *room)
{
    const int64_t begin = 2 * g->row, end = tn_min_i64(t->oh, begin + 2 * rows_of(t, g, n));
    for (int64_t i = tn_max_i64(0, c - 1); i < (c + 1 < channels ? c : channels); i++) {
        const float *from = room + (2 + i % 2) * t->room;
        for (int64_t y = begin; y < end; y++, from += t->pitch) {
            float *to = image + (i * t->oh + y) * t->ow;
            for (int64_t x = 0; x < t->ow && i + 2 < channels; x += 16) /* of the plane after next */
                __builtin_prefetch(to + 2 * t->oh * t->ow + x, 1);
            copy_columns(to, from, t->ow);
        }
    }
}

/* Planes are fetched while they are copied. */
TN_INLINE void prefetch_input(const tiling *t, const group *g, int64_t n, const float *plane) { (void)t, (void)g, (void)n, (void)plane; }
TN_INLINE void prefetch_output(const tiling *t, const group *g, int64_t n, const float *plane, bool write)
{
    (void)t, (void)g, (void)n, (void)plane, (void)write;
}

/* The even and the odd ones of a group's columns from `at` on. */
TN_INLINE void load_columns(const tiling *t, const float *at, vec *even, vec *odd)
{
    const vec a = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(at + t->quad[0])), _mm_loadu_ps(at + t->quad[2]), 1);
    const vec b = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(at + t->quad[1])), _mm_loadu_ps(at + t->quad[3]), 1);
    *even = _mm256_shuffle_ps(a, b, 0x88);
    *odd = _mm256_shuffle_ps(a, b, 0xdd);
}

/* Columns 0 to 3 of row i of a group's tiles. */
TN_INLINE void load_inputs(const tiling *t, const group *g, int i, const float *x, vec d[4])
{
    load_columns(t, x + g->at + i * t->pitch, &d[0], &d[1]);
    load_columns(t, x + g->at + i * t->pitch + 2, &d[2], &d[3]);
}

/* The even and the odd columns of row i of their outputs. */
TN_INLINE void load_outputs(const tiling *t, const group *g, int i, const float *y, vec *even, vec *odd)
{
    load_columns(t, y + g->at + i * t->pitch, even, odd);
}

TN_INLINE void store_outputs(const tiling *t, const group *g, int i, float *y, vec even, vec odd)
{
    const vec a = _mm256_unpacklo_ps(even, odd), b = _mm256_unpackhi_ps(even, odd);
    float *at = y + g->at + i * t->pitch;
    _mm_storeu_ps(at + t->quad[0], _mm256_castps256_ps128(a));
    _mm_storeu_ps(at + t->quad[1], _mm256_castps256_ps128(b));
    _mm_storeu_ps(at + t->quad[2], _mm256_extractf128_ps(a, 1));
    _mm_storeu_ps(at + t->quad[3], _mm256_extractf128_ps(b, 1));
}
