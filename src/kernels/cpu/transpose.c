/* Copies whose result runs along one dimension and whose source runs along another (a transposed matrix, images to channels last and
 * back): by blocks, and within them by square tiles that are transposed in registers. A tile stores one line of memory in each of its rows;
 * where those collide in the caches, or go to memory, blocks go by way of buffers that whole rows are stored from. */
#include "kernels/cpu/past.h"
#include "kernels/cpu/rows.h"

/* Rows and columns of a block: its lines of memory lie in the first cache or at least in the second one. Bytes of a row of a buffer; bytes apart
 * that lines collide in the first cache, which has room for fewer of them than a tile has rows. */
enum { BLOCK = 64, WIDTH = 256, WAY = 4096 };

/* Rows of a block in a buffer that are yet to be stored, `bytes` of each; past: by whole lines past the caches. */
typedef struct waiting {
    const char *from;
    char *to;
    int64_t row, rows, bytes;
    bool past;
} waiting;

static void store_rows(waiting *w, int64_t rows)
{
    for (rows = tn_min_i64(rows, w->rows), w->rows -= rows; rows > 0; rows--, w->from += WIDTH, w->to += w->row) {
        const int64_t lines = w->past ? w->bytes / 64 * 64 : 0;
        for (int64_t line = 0; line < lines; line += 64)
            tn_store_past(w->to + line, w->from + line);
        if (lines == 0 && w->bytes == WIDTH)
            memcpy(w->to, w->from, WIDTH); /* of a size that the compiler knows */
        else
            memcpy(w->to + lines, w->from + lines, (size_t)(w->bytes - lines));
    }
}

/* What shufflevector takes to interleave the lower and the upper halves of two vectors. */
#define LOW_2 0, 2
#define HIGH_2 1, 3
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define LOW_32 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, \
    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47
#define HIGH_32 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, \
    24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63

/* The same within each half of a vector. */
#define SAME_4 0, 1, 2, 3
#define LOW_HALVES_4 0, 4, 2, 6
#define HIGH_HALVES_4 1, 5, 3, 7
#define SAME_8 0, 1, 2, 3, 4, 5, 6, 7
#define LOW_HALVES_8 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH_HALVES_8 2, 10, 3, 11, 6, 14, 7, 15

/* block_name: out's rows of `cols` neighbours, out_row bytes apart, are the columns of in, whose rows are in_row bytes apart. A tile is transposed
 * by interleaving its upper half of rows with its lower half, as often as rows halve. At edges the last tile overlaps the one before: tiles_name, which is for blocks of a tile at least.
 * buffer_name: the same into a buffer, reading in's rows on, while the rows of the block before are stored and the next block's lines come near. */
#define TILE_OF(T, name, lanes)                                                                                               \
    TN_INLINE void tile_##name(char *out, int64_t out_row, const char *in, int64_t in_row)                                    \
    {                                                                                                                         \
        typedef T vec __attribute__((vector_size(lanes * sizeof(T)), aligned(sizeof(T))));                                    \
        vec row[lanes], next[lanes];                                                                                          \
        TN_UNROLL for (int i = 0; i < lanes; i++)                                                                             \
            row[i] = *(const vec *)(in + i * in_row);                                                                         \
        TN_UNROLL for (int step = 1; step < lanes; step *= 2) {                                                               \
            TN_UNROLL for (int i = 0; i < lanes / 2; i++) {                                                                   \
                next[2 * i] = __builtin_shufflevector(row[i], row[i + lanes / 2], LOW_##lanes);                               \
                next[2 * i + 1] = __builtin_shufflevector(row[i], row[i + lanes / 2], HIGH_##lanes);                          \
            }                                                                                                                 \
            TN_UNROLL for (int i = 0; i < lanes; i++)                                                                         \
                row[i] = next[i];                                                                                             \
        }                                                                                                                     \
        TN_UNROLL for (int i = 0; i < lanes; i++)                                                                             \
            *(vec *)(out + i * out_row) = row[i];                                                                             \
    }
#define TILES_OF(TILE, T, name, lanes)                                                                                        \
    TILE(T, name, lanes)                                                                                                      \
    static void tiles_##name(char *out, int64_t out_row, int64_t rows, const char *in, int64_t in_row, int64_t cols)          \
    {                                                                                                                         \
        const int64_t size = sizeof(T);                                                                                       \
        for (int64_t row = 0; row < rows; row += lanes) {                                                                     \
            for (int64_t col = 0; col < cols; col += lanes) {                                                                 \
                int64_t r = tn_min_i64(row, rows - lanes), c = tn_min_i64(col, cols - lanes);                                 \
                tile_##name(out + r * out_row + c * size, out_row, in + c * in_row + r * size, in_row);                       \
            }                                                                                                                 \
        }                                                                                                                     \
    }
/* The same of vectors whose halves shuffles do not cross: each begins as pieces of two rows, half a tile apart, which are transposed side by side. */
#define HALVES_OF(T, name, lanes)                                                                                             \
    TN_INLINE void tile_##name(char *out, int64_t out_row, const char *in, int64_t in_row)                                    \
    {                                                                                                                         \
        enum { HALF = lanes / 2 };                                                                                            \
        typedef T vec __attribute__((vector_size(lanes * sizeof(T)), aligned(sizeof(T))));                                    \
        typedef T piece __attribute__((vector_size(HALF * sizeof(T)), aligned(sizeof(T))));                                   \
        TN_UNROLL for (int half = 0; half < 2; half++) {                                                                      \
            vec row[HALF], next[HALF];                                                                                        \
            const char *from = in + half * (int64_t)sizeof(piece);                                                            \
            TN_UNROLL for (int i = 0; i < HALF; i++)                                                                          \
                row[i] = __builtin_shufflevector(*(const piece *)(from + i * in_row), *(const piece *)(from + (i + HALF) * in_row), SAME_##lanes); \
            TN_UNROLL for (int step = 1; step < HALF; step *= 2) {                                                            \
                TN_UNROLL for (int i = 0; i < HALF / 2; i++) {                                                                \
                    next[2 * i] = __builtin_shufflevector(row[i], row[i + HALF / 2], LOW_HALVES_##lanes);                     \
                    next[2 * i + 1] = __builtin_shufflevector(row[i], row[i + HALF / 2], HIGH_HALVES_##lanes);                \
                }                                                                                                             \
                TN_UNROLL for (int i = 0; i < HALF; i++)                                                                      \
                    row[i] = next[i];                                                                                         \
            }                                                                                                                 \
            TN_UNROLL for (int i = 0; i < HALF; i++)                                                                          \
                *(vec *)(out + (half * HALF + i) * out_row) = row[i];                                                         \
        }                                                                                                                     \
    }
#define BLOCK_OF(TILE, T, name, lanes)                                                                                        \
    TILES_OF(TILE, T, name, lanes)                                                                                            \
    static void block_##name(char *out, int64_t out_row, int64_t rows, const char *in, int64_t in_row, int64_t cols)          \
    {                                                                                                                         \
        const int64_t size = sizeof(T);                                                                                       \
        if (rows >= lanes && cols >= lanes) {                                                                                 \
            tiles_##name(out, out_row, rows, in, in_row, cols);                                                               \
            return;                                                                                                           \
        }                                                                                                                     \
        for (int64_t r = 0; r < rows; r++)                                                                                    \
            for (int64_t c = 0; c < cols; c++)                                                                                \
                *(T *)(out + r * out_row + c * size) = *(const T *)(in + c * in_row + r * size);                              \
    }                                                                                                                         \
    static void buffer_##name(char *buffer, int64_t rows, const char *in, int64_t in_row, int64_t cols, waiting *before)      \
    {                                                                                                                         \
        const int64_t size = sizeof(T), share = tn_max_i64(1, lanes * lanes * size / WIDTH);                                  \
        if (rows < lanes || cols < lanes) {                                                                                   \
            block_##name(buffer, WIDTH, rows, in, in_row, cols);                                                              \
            return;                                                                                                           \
        }                                                                                                                     \
        for (int64_t col = 0; col < cols; col += lanes) {                                                                     \
            for (int64_t row = 0; row < rows; row += lanes) {                                                                 \
                int64_t r = tn_min_i64(row, rows - lanes), c = tn_min_i64(col, cols - lanes);                                 \
                const char *from = in + c * in_row + r * size;                                                                \
                TN_UNROLL for (int i = 0; i < lanes; i++)                                                                     \
                    if (row * size % 64 == 0)                                                                                 \
                        __builtin_prefetch(from + i * in_row + BLOCK * size, 0, 2);                                           \
                tile_##name(buffer + r * WIDTH + c * size, WIDTH, from, in_row);                                              \
                store_rows(before, share);                                                                                    \
            }                                                                                                                 \
        }                                                                                                                     \
    }
BLOCK_OF(TILE_OF, tn_bits8, bits8, 16)
BLOCK_OF(TILE_OF, tn_bits16, bits16, 8)
#if TN_VECTOR_BYTES == 64
TILES_OF(TILE_OF, tn_bits16, whole_lines, 32)
BLOCK_OF(TILE_OF, tn_bits32, bits32, 16)
BLOCK_OF(TILE_OF, tn_bits64, bits64, 8)
#elif TN_VECTOR_BYTES == 32
BLOCK_OF(HALVES_OF, tn_bits32, bits32, 8)
BLOCK_OF(HALVES_OF, tn_bits64, bits64, 4)
#else
BLOCK_OF(TILE_OF, tn_bits32, bits32, 4)
BLOCK_OF(TILE_OF, tn_bits64, bits64, 2)
#endif

/* Of 16 bits. Where in's rows lie so far apart that they share few sets of the first cache, which loses their lines between tiles that take a part
 * of a line, by tiles that take whole ones; elsewhere those gain little, and are slower where lines are not whole or out's alone collide. */
static void block_16_bits(char *out, int64_t out_row, int64_t rows, const char *in, int64_t in_row, int64_t cols)
{
#if TN_VECTOR_BYTES == 64
    if (in_row % 512 == 0 && rows >= 32 && cols >= 32) {
        tiles_whole_lines(out, out_row, rows, in, in_row, cols);
        return;
    }
#endif
    block_bits16(out, out_row, rows, in, in_row, cols);
}

typedef struct transposition {
    const tn_loop *loop;
    void (*block)(char *out, int64_t out_row, int64_t rows, const char *in, int64_t in_row, int64_t cols);
    void (*buffer)(char *buffer, int64_t rows, const char *in, int64_t in_row, int64_t cols, waiting *before);
    int along;             /* the dimension along which in runs; out runs along the innermost one */
    int64_t width;         /* columns of a block */
    int64_t rows, columns; /* blocks of the two */
    bool past;
} transposition;

/* Where a block lies, and its size, which at the edges is less. */
typedef struct place {
    char *out;
    const char *in;
    int64_t rows, cols;
} place;

static place place_of(const transposition *t, int64_t row, int64_t col, int64_t rest)
{
    const tn_loop *loop = t->loop;
    const int inner = loop->ndim - 1, along = t->along;
    row *= BLOCK, col *= t->width;
    place p = {.out = loop->data[0] + row * loop->strides[0][along] + col * loop->strides[0][inner],
               .in = loop->data[1] + row * loop->strides[1][along] + col * loop->strides[1][inner],
               .rows = tn_min_i64(BLOCK, loop->sizes[along] - row), .cols = tn_min_i64(t->width, loop->sizes[inner] - col)};
    for (int d = inner - 1; d >= 0; d--) {
        if (d == along)
            continue;
        p.out += rest % loop->sizes[d] * loop->strides[0][d];
        p.in += rest % loop->sizes[d] * loop->strides[1][d];
        rest /= loop->sizes[d];
    }
    return p;
}

static void blocks(int64_t begin, int64_t end, void *context)
{
    const transposition *t = context;
    const int64_t out_row = t->loop->strides[0][t->along], in_row = t->loop->strides[1][t->loop->ndim - 1];
    for (int64_t unit = begin; unit < end; unit++) {
        const place p = place_of(t, unit / t->columns % t->rows, unit % t->columns, unit / t->columns / t->rows);
        t->block(p.out, out_row, p.rows, p.in, in_row, p.cols);
    }
}

static void buffered_blocks(int64_t begin, int64_t end, void *context)
{
    _Alignas(64) char buffers[2][BLOCK * WIDTH];
    const transposition *t = context;
    const tn_loop *loop = t->loop;
    waiting before = {.rows = 0};
    for (int64_t unit = begin; unit < end; unit++) { /* on along in's rows */
        const place p = place_of(t, unit % t->rows, unit / t->rows % t->columns, unit / t->rows / t->columns);
        char *buffer = buffers[unit % 2];
        t->buffer(buffer, p.rows, p.in, loop->strides[1][loop->ndim - 1], p.cols, &before);
        store_rows(&before, before.rows);
        before = (waiting){buffer, p.out, loop->strides[0][t->along], p.rows, p.cols * loop->strides[0][loop->ndim - 1], t->past};
    }
    store_rows(&before, before.rows);
    tn_fence_past();
}

bool TN_K(transpose)(size_t element, const tn_loop *loop)
{
    const int inner = loop->ndim - 1;
    int along = inner - 1;
    while (along >= 0 && loop->strides[1][along] != (int64_t)element)
        along--;
    if (along < 0 || loop->strides[0][inner] != (int64_t)element || loop->strides[1][inner] == (int64_t)element)
        return false;
    int64_t outer = 1;
    bool lines = (uintptr_t)loop->data[0] % 64 == 0; /* whether all rows of out begin with a line */
    for (int d = 0; d < inner; d++) {
        outer *= d == along ? 1 : loop->sizes[d];
        lines = lines && loop->strides[0][d] % 64 == 0;
    }
    const int64_t bytes = outer * loop->sizes[along] * loop->sizes[inner] * (int64_t)element;
    const bool past = lines && 2 * bytes >= TN_PAST_CACHES; /* what is read and what is stored */
    const bool buffered = past || (lines && loop->strides[0][along] % WAY == 0);
    transposition t = {.loop = loop, .along = along, .width = buffered ? WIDTH / (int64_t)element : BLOCK, .past = past};
    t.block = element == 1 ? block_bits8 : element == 2 ? block_16_bits : element == 4 ? block_bits32 : block_bits64;
    t.buffer = element == 1 ? buffer_bits8 : element == 2 ? buffer_bits16 : element == 4 ? buffer_bits32 : buffer_bits64;
    t.rows = tn_ceil_div(loop->sizes[along], BLOCK), t.columns = tn_ceil_div(loop->sizes[inner], t.width);
    int64_t size = tn_min_i64(BLOCK, loop->sizes[along]) * tn_min_i64(t.width, loop->sizes[inner]);
    tn_parallel_for(outer * t.rows * t.columns, tn_ceil_div(TN_GRAIN, size), buffered ? buffered_blocks : blocks, &t);
    return true;
}
