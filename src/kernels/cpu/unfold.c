/* Images into columns of windows (im2col) and back: columns are [n, c * kh * kw, oh * ow]; back, what overlaps is added. */
#include <string.h>

#include "kernels/cpu/cpu.h"

typedef struct {
    const tn_conv *c;
    const void *in;
    void *out;
} unfold_job;

/* The outputs o of 0 ... n whose tap lies inside 0 ... size, from a start of -pad + tap * dilation. */
typedef struct {
    int64_t begin, end;
} inside;

static inside inside_of(int64_t start, int64_t stride, int64_t size, int64_t n)
{
    int64_t begin = start < 0 ? tn_ceil_div(-start, stride) : 0, end = size > start ? tn_ceil_div(size - start, stride) : 0;
    begin = tn_min_i64(begin, n);
    return (inside){begin, tn_max_i64(begin, tn_min_i64(end, n))};
}

/* One row of columns is one channel seen through one tap. */
#define UNFOLD(T)                                                                                                             \
    static void unfold_##T(int64_t first, int64_t last, void *context)                                                        \
    {                                                                                                                         \
        const unfold_job *job = context;                                                                                      \
        const tn_conv *c = job->c;                                                                                            \
        for (int64_t row = first; row < last; row++) {                                                                        \
            int64_t y0 = row / c->kw % c->kh * c->dil_h - c->pad_h, x0 = row % c->kw * c->dil_w - c->pad_w;                   \
            inside iy = inside_of(y0, c->stride_h, c->h, c->oh), ix = inside_of(x0, c->stride_w, c->w, c->ow);                \
            const T *in = (const T *)job->in + row / (c->kh * c->kw) * c->h * c->w;                                           \
            T *out = (T *)job->out + row * c->oh * c->ow;                                                                     \
            memset(out, 0, (size_t)(c->oh * c->ow) * sizeof(T));                                                              \
            for (int64_t y = iy.begin; y < iy.end; y++)                                                                       \
                for (int64_t x = ix.begin; x < ix.end; x++)                                                                   \
                    out[y * c->ow + x] = in[(y0 + y * c->stride_h) * c->w + x0 + x * c->stride_w];                            \
        }                                                                                                                     \
    }
UNFOLD(uint8_t)
UNFOLD(uint16_t)
UNFOLD(uint32_t)
UNFOLD(uint64_t)

/* One plane of the image from the rows of its taps. */
#define FOLD(T)                                                                                                               \
    static void fold_##T(int64_t first, int64_t last, void *context)                                                          \
    {                                                                                                                         \
        const unfold_job *job = context;                                                                                      \
        const tn_conv *c = job->c;                                                                                            \
        for (int64_t plane = first; plane < last; plane++) {                                                                  \
            T *out = (T *)job->out + plane * c->h * c->w;                                                                     \
            memset(out, 0, (size_t)(c->h * c->w) * sizeof(T));                                                                \
            for (int64_t tap = 0; tap < c->kh * c->kw; tap++) {                                                               \
                int64_t y0 = tap / c->kw * c->dil_h - c->pad_h, x0 = tap % c->kw * c->dil_w - c->pad_w;                       \
                inside iy = inside_of(y0, c->stride_h, c->h, c->oh), ix = inside_of(x0, c->stride_w, c->w, c->ow);            \
                const T *in = (const T *)job->in + (plane * c->kh * c->kw + tap) * c->oh * c->ow;                             \
                for (int64_t y = iy.begin; y < iy.end; y++)                                                                   \
                    for (int64_t x = ix.begin; x < ix.end; x++)                                                               \
                        out[(y0 + y * c->stride_h) * c->w + x0 + x * c->stride_w] += in[y * c->ow + x];                       \
            }                                                                                                                 \
        }                                                                                                                     \
    }
FOLD(float)
FOLD(double)

tn_status TN_K(unfold)(tn_dtype dtype, const tn_conv *c, const void *x, void *columns)
{
    static void (*const of_size[])(int64_t, int64_t, void *) = {
        [1] = unfold_uint8_t, [2] = unfold_uint16_t, [4] = unfold_uint32_t, [8] = unfold_uint64_t};
    tn_parallel_for(c->n * c->c_in * c->kh * c->kw, TN_GRAIN / (c->oh * c->ow + 1) + 1, of_size[tn_dtype_size(dtype)],
                    &(unfold_job){c, x, columns});
    return TN_OK;
}

tn_status TN_K(fold)(tn_dtype dtype, const tn_conv *c, const void *columns, void *x)
{
    tn_parallel_for(c->n * c->c_in, TN_GRAIN / (c->kh * c->kw * c->oh * c->ow + 1) + 1, dtype == TN_F64 ? fold_double : fold_float,
                    &(unfold_job){c, columns, x});
    return TN_OK;
}
