/* Rotary embedding: pairs of a row's elements turned in their plane. */
#include <string.h>

#include "kernels/cpu/cpu.h"

#define ROPE(T, name)                                                                                                         \
    static void name(int64_t begin, int64_t end, void *context)                                                               \
    {                                                                                                                         \
        const tn_rope_rows *r = context;                                                                                      \
        const int64_t half = r->half, step = r->interleaved ? 2 : 1, second = r->interleaved ? 1 : half;                      \
        const T sign = r->inverse ? -1 : 1;                                                                                   \
        for (int64_t row = begin; row < end; row++) {                                                                         \
            const T *x = (const T *)r->x + row * r->width;                                                                    \
            const T *c = (const T *)r->cos + row % r->table_rows * half, *s = (const T *)r->sin + row % r->table_rows * half; \
            T *y = (T *)r->y + row * r->width;                                                                                \
            TN_INDEPENDENT                                                                                                    \
            for (int64_t j = 0; j < half; j++) {                                                                              \
                const T a = x[j * step], b = x[j * step + second], sine = sign * s[j];                                        \
                y[j * step] = a * c[j] - b * sine;                                                                            \
                y[j * step + second] = b * c[j] + a * sine;                                                                   \
            }                                                                                                                 \
            memcpy(y + 2 * half, x + 2 * half, (size_t)(r->width - 2 * half) * sizeof(T));                                    \
        }                                                                                                                     \
    }
ROPE(float, rope_f32)
ROPE(double, rope_f64)
#undef ROPE

tn_status TN_K(rope)(tn_dtype dtype, const tn_rope_rows *rows)
{
    tn_parallel_for(rows->rows, tn_ceil_div(TN_GRAIN, tn_max_i64(1, rows->width)), dtype == TN_F64 ? rope_f64 : rope_f32,
                    (void *)(uintptr_t)rows);
    return TN_OK;
}
