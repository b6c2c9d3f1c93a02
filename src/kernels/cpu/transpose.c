/* Copies whose result runs along one dimension and whose source runs along another (a transposed matrix, images to channels last and
 * back): by blocks, and within them by square tiles that are transposed in registers. */
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vector.h"

/* Rows and columns of a block: its lines of memory lie in the first cache or at least in the second one, where powers of two collide. */
enum { BLOCK = 64 };

/* What shufflevector takes to interleave the lower and the upper halves of two vectors. */
#define LOW_2 0, 2
#define HIGH_2 1, 3
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

/* block_T: out's rows of `cols` neighbours, out_row bytes apart, are the columns of in, whose rows are in_row bytes apart. A tile is transposed
 * by interleaving its upper half of rows with its lower half, as often as rows halve. At edges the last tile overlaps the one before. */
#define BLOCK_OF(T, lanes, LOW, HIGH)                                                                                         \
    TN_INLINE void tile_##T(char *out, int64_t out_row, const char *in, int64_t in_row)                                       \
    {                                                                                                                         \
        typedef T vec __attribute__((vector_size(lanes * sizeof(T)), aligned(sizeof(T))));                                    \
        vec row[lanes], next[lanes];                                                                                          \
        TN_UNROLL for (int i = 0; i < lanes; i++)                                                                             \
            row[i] = *(const vec *)(in + i * in_row);                                                                         \
        TN_UNROLL for (int step = 1; step < lanes; step *= 2) {                                                               \
            TN_UNROLL for (int i = 0; i < lanes / 2; i++) {                                                                   \
                next[2 * i] = __builtin_shufflevector(row[i], row[i + lanes / 2], LOW);                                       \
                next[2 * i + 1] = __builtin_shufflevector(row[i], row[i + lanes / 2], HIGH);                                  \
            }                                                                                                                 \
            TN_UNROLL for (int i = 0; i < lanes; i++)                                                                         \
                row[i] = next[i];                                                                                             \
        }                                                                                                                     \
        TN_UNROLL for (int i = 0; i < lanes; i++)                                                                             \
            *(vec *)(out + i * out_row) = row[i];                                                                             \
    }                                                                                                                         \
    static void block_##T(char *out, int64_t out_row, int64_t rows, const char *in, int64_t in_row, int64_t cols)             \
    {                                                                                                                         \
        const int64_t size = sizeof(T);                                                                                       \
        if (rows < lanes || cols < lanes) {                                                                                   \
            for (int64_t r = 0; r < rows; r++)                                                                                \
                for (int64_t c = 0; c < cols; c++)                                                                            \
                    *(T *)(out + r * out_row + c * size) = *(const T *)(in + c * in_row + r * size);                          \
            return;                                                                                                           \
        }                                                                                                                     \
        for (int64_t row = 0; row < rows; row += lanes) {                                                                     \
            for (int64_t col = 0; col < cols; col += lanes) {                                                                 \
                int64_t r = tn_min_i64(row, rows - lanes), c = tn_min_i64(col, cols - lanes);                                 \
                tile_##T(out + r * out_row + c * size, out_row, in + c * in_row + r * size, in_row);                          \
            }                                                                                                                 \
        }                                                                                                                     \
    }
BLOCK_OF(tn_bits8, 16, LOW_16, HIGH_16)
BLOCK_OF(tn_bits16, 8, LOW_8, HIGH_8)
#if TN_VECTOR_BYTES == 64
BLOCK_OF(tn_bits32, 16, LOW_16, HIGH_16)
BLOCK_OF(tn_bits64, 8, LOW_8, HIGH_8)
#elif TN_VECTOR_BYTES == 32
BLOCK_OF(tn_bits32, 8, LOW_8, HIGH_8)
BLOCK_OF(tn_bits64, 4, LOW_4, HIGH_4)
#else
BLOCK_OF(tn_bits32, 4, LOW_4, HIGH_4)
BLOCK_OF(tn_bits64, 2, LOW_2, HIGH_2)
#endif

typedef struct transposition {
    const tn_loop *loop;
    void (*block)(char *out, int64_t out_row, int64_t rows, const char *in, int64_t in_row, int64_t cols);
    int along;             /* the dimension along which in runs; out runs along the innermost one */
    int64_t rows, columns; /* blocks of the two */
} transposition;

static void blocks(int64_t begin, int64_t end, void *context)
{
    const transposition *t = context;
    const tn_loop *loop = t->loop;
    const int inner = loop->ndim - 1, along = t->along;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t col = unit % t->columns * BLOCK, row = unit / t->columns % t->rows * BLOCK, rest = unit / t->columns / t->rows;
        char *out = loop->data[0] + row * loop->strides[0][along] + col * loop->strides[0][inner];
        const char *in = loop->data[1] + row * loop->strides[1][along] + col * loop->strides[1][inner];
        for (int d = inner - 1; d >= 0; d--) {
            if (d == along)
                continue;
            out += rest % loop->sizes[d] * loop->strides[0][d];
            in += rest % loop->sizes[d] * loop->strides[1][d];
            rest /= loop->sizes[d];
        }
        t->block(out, loop->strides[0][along], tn_min_i64(BLOCK, loop->sizes[along] - row), in, loop->strides[1][inner],
                 tn_min_i64(BLOCK, loop->sizes[inner] - col));
    }
}

bool TN_K(transpose)(size_t element, const tn_loop *loop)
{
    const int inner = loop->ndim - 1;
    int along = inner - 1;
    while (along >= 0 && loop->strides[1][along] != (int64_t)element)
        along--;
    if (along < 0 || loop->strides[0][inner] != (int64_t)element || loop->strides[1][inner] == (int64_t)element)
        return false;
    transposition t = {loop, NULL, along, tn_ceil_div(loop->sizes[along], BLOCK), tn_ceil_div(loop->sizes[inner], BLOCK)};
    t.block = element == 1 ? block_tn_bits8 : element == 2 ? block_tn_bits16 : element == 4 ? block_tn_bits32 : block_tn_bits64;
    int64_t units = t.rows * t.columns;
    for (int d = 0; d < inner; d++)
        units *= d == along ? 1 : loop->sizes[d];
    int64_t size = tn_min_i64(BLOCK, loop->sizes[along]) * tn_min_i64(BLOCK, loop->sizes[inner]);
    tn_parallel_for(units, tn_ceil_div(TN_GRAIN, size), blocks, &t);
    return true;
}
