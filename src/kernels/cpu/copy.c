/* Kernels that move elements: casts and copies, fill, where; and lerp, the other of three operands. */
#include "kernels/cpu/math.h"
#include "kernels/cpu/rows.h"

#include <string.h>

/* ---- cast ----------------------------------------------------------------------------------------------------------------- */

/* Floats to integers without undefined behaviour: toward zero, at the ends saturated, NaN to 0. */
TN_INLINE_ int32_t f32_to_i32(float x)
{
    float low = x < -2147483648.0f ? -2147483648.0f : x;
    low = low > 2147483520.0f ? 2147483520.0f : low;
    int32_t y = (int32_t)(low == low ? low : 0.0f);
    return x >= 2147483648.0f ? INT32_MAX : y;
}
TN_INLINE_ int32_t f64_to_i32(double x)
{
    double y = x < -2147483648.0 ? -2147483648.0 : x;
    y = y > 2147483647.0 ? 2147483647.0 : y;
    return (int32_t)(y == y ? y : 0.0);
}
TN_INLINE_ int64_t f64_to_i64(double x)
{
    double low = x < -0x1p63 ? -0x1p63 : x;
    low = low >= 0x1p63 ? 0x1.fffffffffffffp62 : low;
    int64_t y = (int64_t)(low == low ? low : 0.0);
    return x >= 0x1p63 ? INT64_MAX : y;
}

typedef void (*cast_fn)(void *restrict out, const void *restrict in, int64_t n);
#define CAST(from, From, to, To, expression)                                                                                  \
    static void from##_##to(void *restrict out, const void *restrict in, int64_t n)                                           \
    {                                                                                                                         \
        const From *x_ = in;                                                                                                  \
        To *y = out;                                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                                                     \
            From x = x_[i];                                                                                                   \
            y[i] = expression;                                                                                                \
        }                                                                                                                     \
    }
CAST(f32, float, f64, double, x)
CAST(f32, float, i32, int32_t, f32_to_i32(x))
CAST(f32, float, i64, int64_t, f64_to_i64((double)x))
CAST(f32, float, bool, uint8_t, x != 0)
CAST(f64, double, f32, float, (float)x)
CAST(f64, double, i32, int32_t, f64_to_i32(x))
CAST(f64, double, i64, int64_t, f64_to_i64(x))
CAST(f64, double, bool, uint8_t, x != 0)
CAST(i32, int32_t, f32, float, (float)x)
CAST(i32, int32_t, f64, double, x)
CAST(i32, int32_t, i64, int64_t, x)
CAST(i32, int32_t, bool, uint8_t, x != 0)
CAST(i64, int64_t, f32, float, (float)x)
CAST(i64, int64_t, f64, double, (double)x)
CAST(i64, int64_t, i32, int32_t, (int32_t)(uint32_t)(uint64_t)x)
CAST(i64, int64_t, bool, uint8_t, x != 0)

/* From a kind to a kind; NULL where they are the same. To bool is its own column: 0.5 is true. */
static cast_fn const casts[TN_KIND_COUNT][TN_KIND_COUNT + 1] = {
    [TN_KIND_F32] = {NULL, f32_f64, f32_i32, f32_i64, f32_bool},
    [TN_KIND_F64] = {f64_f32, NULL, f64_i32, f64_i64, f64_bool},
    [TN_KIND_I32] = {i32_f32, i32_f64, NULL, i32_i64, i32_bool},
    [TN_KIND_I64] = {i64_f32, i64_f64, i64_i32, NULL, i64_bool},
};

typedef struct cast_job {
    tn_dtype to, from;
    size_t size;
    cast_fn convert;
    bool direct; /* what convert writes is of dtype `to` */
    bool widens; /* what is loaded is of dtype `to` */
} cast_job;

static void cast_row(char *const *data, const int64_t *strides, int64_t n, const void *context)
{
    const cast_job *j = context;
    tn_buffer loaded, converted;
    for (int64_t i = 0; i < n; i += TN_CHUNK) {
        int64_t m = tn_min_i64(n - i, TN_CHUNK);
        char *out = data[0] + i * strides[0];
        const bool dense = strides[0] == (int64_t)j->size, in_place = j->direct && dense;
        const void *x = TN_K(load)(j->from, data[1] + i * strides[1], strides[1], m, j->widens && dense ? (void *)out : loaded.data);
        if (x == out)
            continue;
        if (j->convert)
            j->convert(in_place ? (void *)out : converted.data, x, m);
        if (!in_place && j->to == TN_BOOL)
            TN_K(copy_row)(1, out, strides[0], converted.data, 1, m);
        else if (!in_place)
            TN_K(store)(j->to, out, strides[0], m, j->convert ? converted.data : x);
    }
}

static void copy_row(char *const *data, const int64_t *strides, int64_t n, const void *context)
{
    TN_K(copy_row)(*(const size_t *)context, data[0], strides[0], data[1], strides[1], n);
}

/* n runs of bytes, by lines; the eighth run from here comes in meanwhile, for they may lie far apart. */
static void copy_runs(char *const *data, const int64_t *strides, int64_t n, const void *context)
{
    enum { LINE = 64 };
    const int64_t bytes = *(const int64_t *)context;
    for (int64_t i = 0; i < n; i++) {
        const char *from = data[1] + i * strides[1];
        char *to = data[0] + i * strides[0];
        int64_t at = 0;
        for (; at + LINE <= bytes; at += LINE) {
            __builtin_prefetch(from + 8 * strides[1] + at);
            memcpy(to + at, from + at, LINE);
        }
        memcpy(to + at, from + at, (size_t)(bytes - at));
    }
}

/* A copy whose innermost dim is dense in both and short, as a network's heads are: the loop goes over its runs as over elements. */
enum { SHORT_RUN = 4096 };
static bool copy_by_runs(size_t size, const tn_loop *loop)
{
    const int inner = loop->ndim - 1;
    const int64_t run = loop->sizes[inner] * (int64_t)size;
    const size_t sizes[2] = {(size_t)run, (size_t)run};
    if (inner < 1 || run > SHORT_RUN || loop->strides[0][inner] != (int64_t)size || loop->strides[1][inner] != (int64_t)size)
        return false;
    tn_loop runs = *loop;
    runs.ndim = inner;
    TN_K(rows)(&runs, sizes, tn_ceil_div(TN_GRAIN, loop->sizes[inner]), copy_runs, &run);
    return true;
}

tn_status TN_K(cast)(tn_dtype to, tn_dtype from, const tn_loop *loop)
{
    size_t sizes[2] = {tn_dtype_size(to), tn_dtype_size(from)};
    if (to == from) {
        if (!TN_K(transpose)(sizes[0], loop) && !copy_by_runs(sizes[0], loop))
            TN_K(rows)(loop, sizes, TN_GRAIN, copy_row, &sizes[0]);
        return TN_OK;
    }
    tn_kind kind = TN_K(kind_of)(to);
    cast_job j = {.to = to, .from = from, .size = sizes[0]};
    j.convert = casts[TN_K(kind_of)(from)][to == TN_BOOL ? TN_KIND_COUNT : kind];
    j.widens = !j.convert && (to == TN_F32 || to == TN_I32);
    j.direct = j.convert && (to == TN_F32 || to == TN_F64 || to == TN_I32 || to == TN_I64 || to == TN_BOOL);
    TN_K(rows)(loop, sizes, TN_GRAIN, cast_row, &j);
    return TN_OK;
}

/* ---- fill ----------------------------------------------------------------------------------------------------------------- */

typedef struct fill_job {
    size_t element;
    uint64_t value;
    bool bytes; /* all bytes of the value are alike */
} fill_job;

static void fill_row(char *const *data, const int64_t *strides, int64_t n, const void *context)
{
    const fill_job *j = context;
    if (j->bytes && strides[0] == (int64_t)j->element)
        memset(data[0], (int)(j->value & 0xff), (size_t)n * j->element);
    else
        TN_K(copy_row)(j->element, data[0], strides[0], (const char *)&j->value, 0, n);
}

tn_status TN_K(fill)(size_t element, const void *value, const tn_loop *loop)
{
    fill_job j = {.element = element, .bytes = true};
    memcpy(&j.value, value, element);
    for (size_t i = 1; i < element; i++)
        j.bytes = j.bytes && ((const char *)value)[i] == ((const char *)value)[0];
    TN_K(rows)(loop, &element, TN_GRAIN, fill_row, &j);
    return TN_OK;
}

/* ---- where, lerp ---------------------------------------------------------------------------------------------------------- */

typedef struct ternary_job {
    tn_dtype dtype;
    int64_t size;
} ternary_job;

#define SELECT(T)                                                                                                             \
    {                                                                                                                         \
        const T *x = a, *z = b;                                                                                               \
        T *y = out;                                                                                                           \
        TN_INDEPENDENT                                                                                                        \
        for (int64_t i = 0; i < n; i++)                                                                                       \
            y[i] = (T)(c[i] ? x[i] : z[i]);                                                                                   \
    }                                                                                                                         \
    return

static void select_loop(int64_t size, void *out, const uint8_t *c, const void *a, const void *b, int64_t n)
{
    switch (size) {
    case 1: SELECT(tn_bits8);
    case 2: SELECT(tn_bits16);
    case 4: SELECT(tn_bits32);
    default: SELECT(tn_bits64);
    }
}

/* n <= TN_CHUNK elements as they are, contiguous. */
static const void *gather(int64_t size, const char *src, int64_t stride, int64_t n, tn_buffer *buffer)
{
    if (stride == size)
        return src;
    TN_K(copy_row)((size_t)size, buffer->data, size, src, stride, n);
    return buffer->data;
}

static void where_row(char *const *data, const int64_t *strides, int64_t n, const void *context)
{
    const ternary_job *j = context;
    tn_buffer buffers[4];
    for (int64_t i = 0; i < n; i += TN_CHUNK) {
        int64_t m = tn_min_i64(n - i, TN_CHUNK);
        char *out = data[0] + i * strides[0];
        const void *c = gather(1, data[1] + i * strides[1], strides[1], m, &buffers[1]);
        const void *a = gather(j->size, data[2] + i * strides[2], strides[2], m, &buffers[2]);
        const void *b = gather(j->size, data[3] + i * strides[3], strides[3], m, &buffers[3]);
        select_loop(j->size, strides[0] == j->size ? (void *)out : buffers[0].data, c, a, b, m);
        if (strides[0] != j->size)
            TN_K(copy_row)((size_t)j->size, out, strides[0], buffers[0].data, j->size, m);
    }
}

/* From the nearer end, as PyTorch: the other end is hit exactly at w = 1. */
#define LERP(name, T)                                                                                                         \
    static void name(void *out, const void *from, const void *to, const void *weight, int64_t n)                              \
    {                                                                                                                         \
        const T *a = from, *b = to, *w = weight;                                                                              \
        T *y = out;                                                                                                           \
        TN_INDEPENDENT                                                                                                        \
        for (int64_t i = 0; i < n; i++) {                                                                                     \
            T d = b[i] - a[i];                                                                                                \
            y[i] = tn_fabs_(w[i]) < (T)0.5 ? a[i] + w[i] * d : b[i] - d * ((T)1 - w[i]);                                      \
        }                                                                                                                     \
    }
#define tn_fabs_(x) _Generic((x), float: tn_abs_f32_, double: fabs)(x)
LERP(lerp_f32, float)
LERP(lerp_f64, double)

static void lerp_row(char *const *data, const int64_t *strides, int64_t n, const void *context)
{
    const ternary_job *j = context;
    bool wide = j->dtype == TN_F64, direct = (wide || j->dtype == TN_F32) && strides[0] == j->size;
    tn_buffer buffers[4];
    const void *in[4];
    for (int64_t i = 0; i < n; i += TN_CHUNK) {
        int64_t m = tn_min_i64(n - i, TN_CHUNK);
        char *out = data[0] + i * strides[0];
        for (int k = 1; k < 4; k++)
            in[k] = TN_K(load)(j->dtype, data[k] + i * strides[k], strides[k], m, &buffers[k]);
        (wide ? lerp_f64 : lerp_f32)(direct ? (void *)out : buffers[0].data, in[1], in[2], in[3], m);
        if (!direct)
            TN_K(store)(j->dtype, out, strides[0], m, buffers[0].data);
    }
}

tn_status TN_K(ternary)(tn_ternary_op op, tn_dtype dtype, const tn_loop *loop)
{
    ternary_job j = {dtype, (int64_t)tn_dtype_size(dtype)};
    size_t size = (size_t)j.size;
    bool where = op == TN_TERNARY_WHERE;
    if (!where && !tn_dtype_is_float(dtype)) {
        tn_fail(TN_ERR_DTYPE, "lerp: %s is no floating dtype", tn_dtype_name(dtype));
        return TN_ERR_DTYPE;
    }
    TN_K(rows)(loop, (size_t[]){size, where ? 1 : size, size, size}, TN_GRAIN, where ? where_row : lerp_row, &j);
    return TN_OK;
}
