/* Walking loops by rows; loads and stores of every dtype at any stride. */
#include "kernels/cpu/rows.h"

#include <string.h>

#include "kernels/cpu/past.h"

tn_kind TN_K(kind_of)(tn_dtype dtype)
{
    switch (dtype) {
    case TN_F32: case TN_F16: case TN_BF16: return TN_KIND_F32;
    case TN_F64: return TN_KIND_F64;
    case TN_I64: return TN_KIND_I64;
    default: return TN_KIND_I32;
    }
}

/* ---- the walk ------------------------------------------------------------------------------------------------------------- */

/* The loop cut into units: a row, or a chunk of one. Where an operand's inner stride is not its element, chunks are short and the units
 * of neighbouring rows follow each other, so that the lines of memory which a chunk touched still lie in the cache for the next row. */
typedef struct walk {
    const tn_loop *loop;
    tn_row_fn row;
    const void *context;
    int64_t chunk, chunks; /* elements in a unit, units in a row */
    int64_t neighbours;    /* rows walked chunk by chunk together: the size of the second innermost dim, or 1 */
    int rest;              /* how many outer dims remain */
    int64_t past;          /* bytes of a result's element where results go past the caches, or 0 */
} walk;

enum { PIECE = 1024 }; /* bytes of a result that lie in a buffer before they are stored past the caches */

/* A unit in pieces, each by way of a buffer in the first cache, while the inputs of the piece after the next come in. */
static void row_past(const walk *w, char *const *data, const int64_t *strides, int64_t n)
{
    tn_buffer buffer;
    char *at[TN_LOOP_OPERANDS];
    const int operands = w->loop->operands;
    const int64_t size = w->past, piece = PIECE / size, first = (int64_t)(-(uintptr_t)data[0] % 64) / size;
    int64_t i = tn_min_i64(n, first);
    if (i > 0)
        w->row(data, strides, i, w->context);
    for (; i + piece <= n; i += piece) {
        at[0] = buffer.data;
        for (int k = 1; k < operands; k++) {
            at[k] = data[k] + i * strides[k];
            for (int64_t ahead = 0; ahead < piece * strides[k]; ahead += 64)
                __builtin_prefetch(at[k] + 2 * piece * strides[k] + ahead);
        }
        w->row(at, strides, piece, w->context);
        for (int line = 0; line < PIECE; line += 64)
            tn_store_past(data[0] + i * size + line, buffer.data + line);
    }
    for (int k = 0; k < operands; k++)
        at[k] = data[k] + i * strides[k];
    if (i < n)
        w->row(at, strides, n - i, w->context);
    tn_fence_past();
}

static void walk_units(int64_t begin, int64_t end, void *context)
{
    const walk *w = context;
    const tn_loop *loop = w->loop;
    int inner = loop->ndim - 1, k = loop->operands;
    int64_t row = begin % w->neighbours, chunk = begin / w->neighbours % w->chunks;
    int64_t rest = begin / w->neighbours / w->chunks, index[TN_MAX_DIMS];
    char *base[TN_LOOP_OPERANDS], *data[TN_LOOP_OPERANDS];
    int64_t strides[TN_LOOP_OPERANDS];
    for (int i = 0; i < k; i++) {
        base[i] = loop->data[i];
        strides[i] = loop->strides[i][inner];
    }
    for (int d = w->rest - 1; d >= 0; d--) {
        index[d] = rest % loop->sizes[d];
        rest /= loop->sizes[d];
        for (int i = 0; i < k; i++)
            base[i] += index[d] * loop->strides[i][d];
    }
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t first = chunk * w->chunk;
        for (int i = 0; i < k; i++)
            data[i] = base[i] + first * strides[i] + (w->neighbours > 1 ? row * loop->strides[i][inner - 1] : 0);
        const int64_t n = tn_min_i64(w->chunk, loop->sizes[inner] - first);
        if (w->past)
            row_past(w, data, strides, n);
        else
            w->row(data, strides, n, w->context);
        if (++row < w->neighbours)
            continue;
        row = 0;
        if (++chunk < w->chunks)
            continue;
        chunk = 0;
        for (int d = w->rest - 1; d >= 0; d--) {
            bool more = ++index[d] < loop->sizes[d];
            for (int i = 0; i < k; i++)
                base[i] += more ? loop->strides[i][d] : loop->strides[i][d] * (1 - loop->sizes[d]);
            if (more)
                break;
            index[d] = 0;
        }
    }
}

void TN_K(rows)(const tn_loop *loop, const size_t *sizes, int64_t grain, tn_row_fn row, const void *context)
{
    int inner = loop->ndim - 1;
    int64_t n = loop->sizes[inner], total = 1;
    bool dense = true, in_place = false;
    int64_t strides[TN_LOOP_OPERANDS];
    for (int i = 0; i < loop->operands; i++) {
        strides[i] = loop->strides[i][inner];
        dense = dense && (strides[i] == 0 || strides[i] == (int64_t)sizes[i]);
        in_place = in_place || (i > 0 && loop->data[i] == loop->data[0]);
    }
    if (inner == 0 && n <= grain) {
        row(loop->data, strides, n, context);
        return;
    }
    walk w = {.loop = loop, .row = row, .context = context, .chunk = dense ? grain : TN_CHUNK / 2, .neighbours = 1, .rest = inner};
    if (!dense && inner > 0) {
        w.neighbours = loop->sizes[inner - 1];
        w.rest = inner - 1;
    }
    w.chunk = tn_min_i64(w.chunk, n);
    w.chunks = tn_ceil_div(n, w.chunk);
    for (int d = 0; d < inner; d++)
        total *= loop->sizes[d];
    const int64_t size = (int64_t)sizes[0];
    const bool quick = grain >= TN_GRAIN; /* a slow loop has the time to read the lines */
    if (quick && dense && !in_place && strides[0] && total * n * size >= TN_PAST_CACHES && w.chunk * size >= 8 * PIECE &&
        (uintptr_t)loop->data[0] % sizes[0] == 0)
        w.past = size;
    tn_parallel_for(total * w.chunks, tn_ceil_div(grain, w.chunk), walk_units, &w);
}

/* ---- strides -------------------------------------------------------------------------------------------------------------- */

#define COPY_LOOP(T)                                                                                                          \
    if (src_stride == 0) {                                                                                                    \
        T value = *(const T *)src;                                                                                            \
        if (dst_stride == (int64_t)sizeof(T))                                                                                 \
            for (int64_t i = 0; i < n; i++)                                                                                   \
                ((T *)dst)[i] = value;                                                                                        \
        else                                                                                                                  \
            for (int64_t i = 0; i < n; i++)                                                                                   \
                *(T *)(dst + i * dst_stride) = value;                                                                         \
    } else if (dst_stride == (int64_t)sizeof(T)) {                                                                            \
        for (int64_t i = 0; i < n; i++)                                                                                       \
            ((T *)dst)[i] = *(const T *)(src + i * src_stride);                                                               \
    } else {                                                                                                                  \
        for (int64_t i = 0; i < n; i++)                                                                                       \
            *(T *)(dst + i * dst_stride) = *(const T *)(src + i * src_stride);                                                \
    }                                                                                                                         \
    return

void TN_K(copy_row)(size_t element, char *dst, int64_t dst_stride, const char *src, int64_t src_stride, int64_t n)
{
    if (dst_stride == (int64_t)element && src_stride == (int64_t)element) {
        memmove(dst, src, (size_t)n * element);
        return;
    }
    switch (element) {
    case 1: COPY_LOOP(tn_bits8);
    case 2: COPY_LOOP(tn_bits16);
    case 4: COPY_LOOP(tn_bits32);
    default: COPY_LOOP(tn_bits64);
    }
}

/* ---- kinds ---------------------------------------------------------------------------------------------------------------- */

#define WIDEN_LOOP(T, wide, expression)                                                                                       \
    for (int64_t i = 0; i < n; i++) {                                                                                         \
        T x = ((const T *)src)[i];                                                                                            \
        ((wide *)out)[i] = expression;                                                                                        \
    }                                                                                                                         \
    return

static void widen(tn_dtype dtype, const void *restrict src, void *restrict out, int64_t n)
{
    switch (dtype) {
    case TN_F16: WIDEN_LOOP(tn_f16, float, tn_load_f16(x));
    case TN_BF16: WIDEN_LOOP(tn_bf16, float, tn_load_bf16(x));
    case TN_I16: WIDEN_LOOP(int16_t, int32_t, x);
    case TN_I8: WIDEN_LOOP(int8_t, int32_t, x);
    default: WIDEN_LOOP(uint8_t, int32_t, x); /* u8 and bool */
    }
}

static void narrow(tn_dtype dtype, const void *restrict src, void *restrict out, int64_t n)
{
    switch (dtype) {
    case TN_F16: WIDEN_LOOP(float, tn_f16, tn_store_f16(x));
    case TN_BF16: WIDEN_LOOP(float, tn_bf16, tn_store_bf16(x));
    case TN_I16: WIDEN_LOOP(int32_t, int16_t, (int16_t)x);
    case TN_BOOL: WIDEN_LOOP(int32_t, uint8_t, x != 0);
    default: WIDEN_LOOP(int32_t, uint8_t, (uint8_t)x); /* u8 and i8 */
    }
}

static bool native(tn_dtype dtype) { return dtype == TN_F32 || dtype == TN_F64 || dtype == TN_I32 || dtype == TN_I64; }

const void *TN_K(load)(tn_dtype dtype, const char *src, int64_t stride, int64_t n, void *buffer)
{
    size_t size = tn_dtype_size(dtype);
    if (native(dtype)) {
        if (stride == (int64_t)size)
            return src;
        TN_K(copy_row)(size, buffer, (int64_t)size, src, stride, n);
        return buffer;
    }
    tn_buffer gathered;
    if (stride != (int64_t)size) {
        TN_K(copy_row)(size, gathered.data, (int64_t)size, src, stride, n);
        src = gathered.data;
    }
    widen(dtype, src, buffer, n);
    return buffer;
}

void TN_K(store)(tn_dtype dtype, char *dst, int64_t stride, int64_t n, const void *value)
{
    size_t size = tn_dtype_size(dtype);
    if (native(dtype)) {
        TN_K(copy_row)(size, dst, stride, value, (int64_t)size, n);
        return;
    }
    if (stride == (int64_t)size) {
        narrow(dtype, value, dst, n);
        return;
    }
    tn_buffer narrowed;
    narrow(dtype, value, narrowed.data, n);
    TN_K(copy_row)(size, dst, stride, narrowed.data, (int64_t)size, n);
}
