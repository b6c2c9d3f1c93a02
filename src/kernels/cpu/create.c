/* Ranges and triangles. */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

typedef struct range {
    tn_dtype dtype;
    int64_t first;
    double start, step;
    bool whole; /* start and step are integers: no rounding */
    char *out;
} range;

#define RANGE_OF(type, store)                                                                                                 \
    do {                                                                                                                      \
        type *out = (type *)r->out;                                                                                           \
        for (int64_t i = begin; i < end; i++) {                                                                               \
            double value = r->start + (double)(r->first + i) * r->step;                                                       \
            out[i] = store(value);                                                                                            \
        }                                                                                                                     \
    } while (0)
#define RANGE_OF_INT(type)                                                                                                    \
    do {                                                                                                                      \
        type *out = (type *)r->out;                                                                                           \
        int64_t start = r->whole ? (int64_t)r->start : 0, step = r->whole ? (int64_t)r->step : 0;                             \
        for (int64_t i = begin; r->whole && i < end; i++)                                                                     \
            out[i] = (type)(start + (r->first + i) * step);                                                                   \
        for (int64_t i = begin; !r->whole && i < end; i++)                                                                    \
            out[i] = (type)(int64_t)(r->start + (double)(r->first + i) * r->step);                                            \
    } while (0)
#define TO_F32(x) (float)(x)
#define TO_F64(x) (x)
#define TO_F16(x) tn_store_f16((float)(x))
#define TO_BF16(x) tn_store_bf16((float)(x))
#define TO_BOOL(x) (x) != 0

static void range_piece(int64_t begin, int64_t end, void *context)
{
    const range *r = context;
    switch (r->dtype) {
    case TN_F32: RANGE_OF(float, TO_F32); break;
    case TN_F64: RANGE_OF(double, TO_F64); break;
    case TN_F16: RANGE_OF(tn_f16, TO_F16); break;
    case TN_BF16: RANGE_OF(tn_bf16, TO_BF16); break;
    case TN_I64: RANGE_OF_INT(int64_t); break;
    case TN_I32: RANGE_OF_INT(int32_t); break;
    case TN_I16: RANGE_OF_INT(int16_t); break;
    case TN_I8: RANGE_OF_INT(int8_t); break;
    case TN_U8: RANGE_OF_INT(uint8_t); break;
    default: RANGE_OF(bool, TO_BOOL); break;
    }
}

tn_status TN_K(range)(tn_dtype dtype, int64_t n, int64_t first, double start, double step, void *out)
{
    bool whole = fabs(start) < 0x1p53 && fabs(step) < 0x1p53 && start == floor(start) && step == floor(step);
    range r = {dtype, first, start, step, whole, out};
    tn_parallel_for(n, TN_GRAIN, range_piece, &r);
    return TN_OK;
}

typedef struct triangle {
    size_t element;
    bool upper;
    int64_t diagonal, rows, cols;
    const char *x;
    char *out;
} triangle;

static void triangle_rows(int64_t begin, int64_t end, void *context)
{
    const triangle *t = context;
    size_t row = (size_t)t->cols * t->element;
    for (int64_t i = begin; i < end; i++) {
        int64_t edge = i % t->rows + t->diagonal + (t->upper ? 0 : 1); /* the first column beyond the lower part */
        size_t cut = (size_t)tn_max_i64(0, tn_min_i64(edge, t->cols)) * t->element;
        const char *x = t->x + (size_t)i * row;
        char *out = t->out + (size_t)i * row;
        if (t->upper) {
            memset(out, 0, cut);
            memcpy(out + cut, x + cut, row - cut);
        } else {
            memcpy(out, x, cut);
            memset(out + cut, 0, row - cut);
        }
    }
}

tn_status TN_K(triangle)(size_t element, bool upper, int64_t diagonal, int64_t batch, int64_t rows, int64_t cols, const void *x, void *out)
{
    diagonal = tn_max_i64(-rows - 1, tn_min_i64(diagonal, cols + 1)); /* beyond, nothing changes, and sums do not overflow */
    triangle t = {element, upper, diagonal, rows, cols, x, out};
    tn_parallel_for(batch * rows, tn_max_i64(1, TN_GRAIN / tn_max_i64(1, cols)), triangle_rows, &t);
    return TN_OK;
}
