/* Gathering and scattering by byte offsets, and where a mask is true. */
#include "kernels/cpu/cpu.h"

#include <string.h>

/* ---- offsets ------------------------------------------------------------------------------------------------------------ */

tn_status TN_K(offsets)(tn_offsets *offsets)
{
    for (int term = 0; term < offsets->count; term++) {
        const int64_t *index = offsets->index[term];
        int64_t size = offsets->sizes[term], stride = offsets->strides[term];
        int64_t least = offsets->wrap ? -size : 0, bad = 0;
        for (int64_t i = 0; i < offsets->n; i++)
            bad |= index[i] >= size || index[i] < least;
        for (int64_t i = 0; bad && i < offsets->n; i++)
            if (index[i] >= size || index[i] < least) {
                offsets->bad_term = term;
                offsets->bad_index = index[i];
                return TN_ERR_INDEX;
            }
        for (int64_t i = 0; i < offsets->n; i++) {
            int64_t at = (index[i] < 0 ? index[i] + size : index[i]) * stride;
            offsets->out[i] = term == 0 ? at : offsets->out[i] + at;
        }
    }
    return TN_OK;
}

/* ---- a walk over the loop's outer dims ----------------------------------------------------------------------------------- */

/* One run along the innermost dim: n elements of the dense side, the indexed side and the offsets, by their strides. */
typedef void (*run_fn)(int64_t n, char *near, char *far, const char *offsets, const int64_t *strides);

/* A loop whose dim `split` is cut among threads. */
typedef struct walk {
    tn_loop loop;
    run_fn run;
    int split;
} walk;

static void walk_piece(int64_t begin, int64_t end, void *context)
{
    const walk *w = context;
    tn_loop loop = w->loop;
    int inner = loop.ndim - 1;
    int64_t strides[3], index[TN_MAX_DIMS] = {0};
    for (int k = 0; k < 3; k++) {
        strides[k] = loop.strides[k][inner];
        loop.data[k] += begin * loop.strides[k][w->split];
    }
    loop.sizes[w->split] = end - begin;
    for (;;) {
        w->run(loop.sizes[inner], loop.data[0], loop.data[1], loop.data[2], strides);
        int d = inner - 1;
        for (; d >= 0; d--) {
            for (int k = 0; k < 3; k++)
                loop.data[k] += loop.strides[k][d];
            if (++index[d] < loop.sizes[d])
                break;
            for (int k = 0; k < 3; k++)
                loop.data[k] -= loop.sizes[d] * loop.strides[k][d];
            index[d] = 0;
        }
        if (d < 0)
            return;
    }
}

static tn_status walk_all(const tn_loop *loop, run_fn run, int split)
{
    walk w = {*loop, run, split < 0 ? 0 : split};
    int64_t rest = 1;
    for (int d = 0; d < loop->ndim; d++)
        rest *= d == w.split ? 1 : loop->sizes[d];
    int64_t n = loop->sizes[w.split];
    tn_parallel_for(n, split < 0 ? n : tn_max_i64(1, TN_GRAIN / 4 / rest), walk_piece, &w);
    return TN_OK;
}

/* ---- gather ------------------------------------------------------------------------------------------------------------- */

#define GATHER(name, T)                                                                                                       \
    static void name(int64_t n, char *near, char *far, const char *offsets, const int64_t *strides)                           \
    {                                                                                                                         \
        int64_t to = strides[0], from = strides[1], step = strides[2];                                                        \
        if (to == (int64_t)sizeof(T) && step == 8) {                                                                          \
            T *restrict out = (T *)near;                                                                                      \
            const int64_t *restrict at = (const int64_t *)offsets;                                                            \
            for (int64_t i = 0; i < n; i++)                                                                                   \
                out[i] = *(const T *)(far + i * from + at[i]);                                                                \
        } else {                                                                                                              \
            for (int64_t i = 0; i < n; i++)                                                                                   \
                *(T *)(near + i * to) = *(const T *)(far + i * from + *(const int64_t *)(offsets + i * step));                \
        }                                                                                                                     \
    }
GATHER(gather_1, uint8_t)
GATHER(gather_2, uint16_t)
GATHER(gather_4, uint32_t)
GATHER(gather_8, uint64_t)

/* Whole rows, which lie dense on both sides; strides[0] is the element. */
static void gather_row(int64_t n, char *near, char *far, const char *offsets, const int64_t *strides)
{
    memcpy(near, far + *(const int64_t *)offsets, (size_t)(n * strides[0]));
}

static bool dense_rows(const tn_loop *loop, size_t element)
{
    int inner = loop->ndim - 1;
    return loop->strides[0][inner] == (int64_t)element && loop->strides[1][inner] == (int64_t)element && loop->strides[2][inner] == 0;
}

/* Bytes of a row that is fetched before it is copied; from how many on a row is copied line by line, if it is fetched whole. */
enum { FETCHED = 4096, BY_LINES = 1024 };

/* gather_row() of one row after another: they lie anywhere, so that nothing but the offsets says what is read next. */
static void gather_rows(int64_t begin, int64_t end, void *context)
{
    const tn_loop *loop = context;
    const size_t bytes = (size_t)(loop->sizes[1] * loop->strides[0][1]), fetched = bytes < FETCHED ? bytes : FETCHED;
    for (int64_t i = begin; i < end; i++) {
        char *to = (char *)loop->data[0] + i * loop->strides[0][0];
        const char *rows = (const char *)loop->data[1], *offsets = (const char *)loop->data[2] + i * loop->strides[2][0];
        if (i + 1 < end) {
            const char *next = rows + (i + 1) * loop->strides[1][0] + *(const int64_t *)(offsets + loop->strides[2][0]);
            for (size_t line = 0; line < fetched; line += 64)
                __builtin_prefetch(next + line);
        }
        /* Of a size whose bound the compiler knows it would make a string instruction, which takes twice as long (Zen 5). */
        memcpy(to, rows + i * loop->strides[1][0] + *(const int64_t *)offsets, bytes);
    }
}

/* The same of rows of BY_LINES to FETCHED bytes: for each line that is copied one of the row after the next comes near. */
static void gather_lines(int64_t begin, int64_t end, void *context)
{
    enum { LINE = 64 };
    const tn_loop *loop = context;
    const size_t bytes = (size_t)(loop->sizes[1] * loop->strides[0][1]), lines = bytes / LINE * LINE;
    for (int64_t i = begin; i < end; i++) {
        const int64_t ahead = tn_min_i64(i + 2, end - 1);
        char *to = (char *)loop->data[0] + i * loop->strides[0][0];
        const char *rows = (const char *)loop->data[1], *offsets = (const char *)loop->data[2];
        const char *from = rows + i * loop->strides[1][0] + *(const int64_t *)(offsets + i * loop->strides[2][0]);
        const char *later = rows + ahead * loop->strides[1][0] + *(const int64_t *)(offsets + ahead * loop->strides[2][0]);
        for (size_t line = 0; line < lines; line += LINE) {
            __builtin_prefetch(later + line);
            memcpy(to + line, from + line, LINE);
        }
        memcpy(to + lines, from + lines, bytes - lines);
    }
}

tn_status TN_K(gather)(size_t element, const tn_loop *loop)
{
    static const run_fn by_size[9] = {[1] = gather_1, [2] = gather_2, [4] = gather_4, [8] = gather_8};
    if (loop->ndim == 2 && dense_rows(loop, element) && loop->sizes[0] >= 64) {
        tn_loop rows = *loop;
        const int64_t bytes = rows.sizes[1] * (int64_t)element;
        tn_parallel_for(rows.sizes[0], tn_max_i64(1, TN_GRAIN / 4 / rows.sizes[1]),
                        bytes >= BY_LINES && bytes <= FETCHED ? gather_lines : gather_rows, &rows);
        return TN_OK;
    }
    int split = 0; /* the outermost dim, unless it has too few places to share out */
    for (int d = 1; d < loop->ndim && loop->sizes[0] < 64; d++)
        if (loop->sizes[d] > loop->sizes[split])
            split = d;
    return walk_all(loop, dense_rows(loop, element) ? gather_row : by_size[element], split);
}

/* ---- scatter ------------------------------------------------------------------------------------------------------------ */

#define SCATTER_SET(name, T)                                                                                                  \
    static void name(int64_t n, char *near, char *far, const char *offsets, const int64_t *strides)                           \
    {                                                                                                                         \
        for (int64_t i = 0; i < n; i++)                                                                                       \
            *(T *)(far + i * strides[1] + *(const int64_t *)(offsets + i * strides[2])) = *(const T *)(near + i * strides[0]); \
    }
SCATTER_SET(set_1, uint8_t)
SCATTER_SET(set_2, uint16_t)
SCATTER_SET(set_4, uint32_t)
SCATTER_SET(set_8, uint64_t)

static void set_row(int64_t n, char *near, char *far, const char *offsets, const int64_t *strides)
{
    memcpy(far + *(const int64_t *)offsets, near, (size_t)(n * strides[0]));
}

#define SCATTER_ADD(name, T, sum)                                                                                             \
    static void name(int64_t n, char *near, char *far, const char *offsets, const int64_t *strides)                           \
    {                                                                                                                         \
        if (strides[0] == (int64_t)sizeof(T) && strides[1] == (int64_t)sizeof(T) && strides[2] == 0) {                        \
            T *restrict to = (T *)(far + *(const int64_t *)offsets);                                                          \
            const T *restrict from = (const T *)near;                                                                         \
            for (int64_t i = 0; i < n; i++) {                                                                                 \
                T a = to[i], b = from[i];                                                                                     \
                to[i] = sum;                                                                                                  \
            }                                                                                                                 \
            return;                                                                                                           \
        }                                                                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                                                     \
            T *to = (T *)(far + i * strides[1] + *(const int64_t *)(offsets + i * strides[2]));                               \
            T a = *to, b = *(const T *)(near + i * strides[0]);                                                               \
            *to = sum;                                                                                                        \
        }                                                                                                                     \
    }
SCATTER_ADD(add_f32, float, a + b)
SCATTER_ADD(add_f64, double, a + b)
SCATTER_ADD(add_f16, tn_f16, tn_store_f16(tn_load_f16(a) + tn_load_f16(b)))
SCATTER_ADD(add_bf16, tn_bf16, tn_store_bf16(tn_load_bf16(a) + tn_load_bf16(b)))
SCATTER_ADD(add_i64, int64_t, (int64_t)((uint64_t)a + (uint64_t)b))
SCATTER_ADD(add_i32, int32_t, (int32_t)((uint32_t)a + (uint32_t)b))
SCATTER_ADD(add_i16, int16_t, (int16_t)(a + b))
SCATTER_ADD(add_i8, int8_t, (int8_t)(a + b))
SCATTER_ADD(add_u8, uint8_t, (uint8_t)(a + b))
SCATTER_ADD(add_bool, bool, a || b)

/* Whole rows of the target, cut into pieces by where they lie: a row is one thread's from end to end, mostly that which
 * fill() gave its zeros. Were a row's columns shared out instead, threads would walk the same rows in step, and lines at
 * their borders, fetched ahead or shared, would go to and fro between two cores: about 150 ns for each row. */
enum { BINS = 256, MOST_PIECES = 64 };
typedef struct scattered_rows {
    const tn_loop *loop;
    run_fn run;
    int64_t from[MOST_PIECES + 1]; /* piece i has the rows at offsets from[i] to from[i + 1] - 1 */
} scattered_rows;

static int64_t offset_of(const tn_loop *loop, int64_t i) { return *(const int64_t *)(loop->data[2] + i * loop->strides[2][0]); }

/* The rows of one piece, in order: first which they are, without a branch that would be guessed, then each while the
 * next one's target comes near. */
static void scatter_piece(const scattered_rows *rows, int64_t least, int64_t end)
{
    enum { LISTED = 256 };
    const tn_loop *loop = rows->loop;
    const int64_t n = loop->sizes[0], strides[3] = {loop->strides[0][1], loop->strides[1][1], 0};
    const int64_t bytes = loop->sizes[1] * strides[0], fetched = tn_min_i64(bytes, FETCHED);
    int64_t own[LISTED];
    for (int64_t i = 0; i < n;) {
        int count = 0;
        for (; i < n && count < LISTED; i++) {
            const int64_t at = offset_of(loop, i);
            own[count] = i;
            count += at >= least && at < end;
        }
        for (int k = 0; k < count; k++) {
            const char *next = loop->data[1] + offset_of(loop, own[k + 1 < count ? k + 1 : k]);
            for (int64_t line = 0; line < fetched; line += 64)
                __builtin_prefetch(next + line, 1);
            rows->run(loop->sizes[1], loop->data[0] + own[k] * loop->strides[0][0], loop->data[1], loop->data[2] + own[k] * loop->strides[2][0],
                      strides);
        }
    }
}

static void scatter_pieces(int64_t begin, int64_t end, void *context)
{
    const scattered_rows *rows = context;
    for (int64_t piece = begin; piece < end; piece++)
        scatter_piece(rows, rows->from[piece], rows->from[piece + 1]);
}

/* Pieces of about as many rows each; false where some rows are met so often that no cut between rows is fair. */
static bool cut_rows(scattered_rows *rows, int64_t pieces)
{
    const tn_loop *loop = rows->loop;
    const int64_t n = loop->sizes[0];
    if (pieces == 1) {
        rows->from[0] = INT64_MIN;
        rows->from[1] = INT64_MAX;
        return true;
    }
    int64_t least = offset_of(loop, 0), last = least, met[BINS] = {0}, before = 0, piece = 1, begun = 0, most = 0;
    for (int64_t i = 1; i < n; i++) {
        least = tn_min_i64(least, offset_of(loop, i));
        last = tn_max_i64(last, offset_of(loop, i));
    }
    int shift = 0;
    while ((last - least) >> shift >= BINS)
        shift++;
    rows->from[0] = least;
    rows->from[pieces] = last + 1;
    for (int64_t i = 0; i < n; i++)
        met[(offset_of(loop, i) - least) >> shift]++;
    for (int64_t bin = 0; bin < BINS; bin++) {
        for (; piece < pieces && (before + met[bin] / 2) * pieces >= n * piece; piece++) {
            rows->from[piece] = least + (bin << shift);
            most = tn_max_i64(most, before - begun);
            begun = before;
        }
        before += met[bin];
    }
    most = tn_max_i64(most, n - begun);
    return piece == pieces && most * pieces <= n + n / 4;
}

/* A float that k values are added to one after another, as the gradient of an embedding is to zeros, lies within (k - 1) / 2 ulp of the exact sum, in
 * ulp of the sum of the terms' magnitudes, and within 1 + sqrt(k) / 5 where they are not alike (tests/test_layers_embedding.c).
 *
 * Threads may share the offsets but no element of the target: whole rows of it are shared out, or the cut goes along a dim that walks the
 * target itself, whose places are distinct elements whatever the offsets say. Each element then gets its values in one order, on any number
 * of threads. */
tn_status TN_K(scatter)(tn_dtype dtype, bool add, const tn_loop *loop)
{
    static const run_fn sets[9] = {[1] = set_1, [2] = set_2, [4] = set_4, [8] = set_8};
    static const run_fn adds[TN_DTYPE_COUNT] = {
        [TN_F32] = add_f32, [TN_F64] = add_f64, [TN_F16] = add_f16, [TN_BF16] = add_bf16, [TN_I64] = add_i64,
        [TN_I32] = add_i32, [TN_I16] = add_i16, [TN_I8] = add_i8,   [TN_U8] = add_u8,     [TN_BOOL] = add_bool};
    const size_t element = tn_dtype_size(dtype);
    const bool dense = dense_rows(loop, element);
    const run_fn run = add ? adds[dtype] : dense ? set_row : sets[element];
    if (loop->ndim == 2 && dense && loop->strides[1][0] == 0) {
        const int64_t worth = loop->sizes[0] * loop->sizes[1] / (TN_GRAIN / 4);
        const int64_t pieces = tn_max_i64(1, tn_min_i64(tn_min_i64(tn_parallel_width(), MOST_PIECES), worth));
        scattered_rows rows = {.loop = loop, .run = run};
        if (cut_rows(&rows, pieces)) {
            tn_parallel_for(pieces, 1, scatter_pieces, &rows);
            return TN_OK;
        }
    }
    int split = -1;
    for (int d = 0; d < loop->ndim; d++)
        if (loop->strides[1][d] != 0 && (split < 0 || loop->sizes[d] > loop->sizes[split]))
            split = d;
    return walk_all(loop, run, split);
}

/* ---- masks -------------------------------------------------------------------------------------------------------------- */

tn_status TN_K(positions)(int64_t n, const bool *mask, int64_t *out, int64_t *count)
{
    int64_t found = 0, i = 0;
    if (!out) {
        for (; i < n; i++)
            found += mask[i];
        *count = found;
        return TN_OK;
    }
    for (; i + 8 <= n; i += 8) {
        uint64_t eight;
        memcpy(&eight, mask + i, 8);
        if (eight)
            for (int64_t k = i; k < i + 8; k++)
                if (mask[k])
                    out[found++] = k;
    }
    for (; i < n; i++)
        if (mask[i])
            out[found++] = i;
    *count = found;
    return TN_OK;
}

tn_status TN_K(unravel)(int64_t n, const int64_t *positions, int ndim, const int64_t *sizes, int64_t row, int64_t column, int64_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = positions[i];
        for (int d = ndim - 1; d >= 0; d--) {
            out[i * row + d * column] = d == 0 ? rest : rest % sizes[d];
            rest = d == 0 ? 0 : rest / sizes[d];
        }
    }
    return TN_OK;
}
