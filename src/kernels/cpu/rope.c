/* Rotary embedding: pairs of a row's elements turned in their plane. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

/* name_row: the pairs' first elements lie `step` apart, each one's second `second` on; name: rows in the order in which they lie in y. */
#define ROPE(T, name)                                                                                                         \
    TN_INLINE void name##_row(const tn_rope_rows *r, int64_t b, int64_t h, int64_t i, int step, int64_t second)               \
    {                                                                                                                         \
        const int64_t half = r->half, at = ((b * r->heads + h) * r->l + i) % r->table_rows * half;                            \
        const T *x = (const T *)r->x.data + b * r->x.batch + h * r->x.head + i * r->x.row;                                    \
        T *y = (T *)r->y.data + b * r->y.batch + h * r->y.head + i * r->y.row;                                                \
        const T *c = (const T *)r->cos + at, *s = (const T *)r->sin + at, sign = r->inverse ? -1 : 1;                         \
        TN_INDEPENDENT                                                                                                        \
        for (int64_t j = 0; j < half; j++) {                                                                                  \
            const T one = x[j * step], two = x[j * step + second], sine = sign * s[j];                                        \
            y[j * step] = one * c[j] - two * sine;                                                                            \
            y[j * step + second] = two * c[j] + one * sine;                                                                   \
        }                                                                                                                     \
        memcpy(y + 2 * half, x + 2 * half, (size_t)(r->width - 2 * half) * sizeof(T));                                        \
    }                                                                                                                         \
    static void name(int64_t begin, int64_t end, void *context)                                                               \
    {                                                                                                                         \
        const tn_rope_rows *r = context;                                                                                      \
        const bool beside = r->y.head < r->y.row;                                                                             \
        const int64_t inner = beside ? r->heads : r->l, outer = beside ? r->l : r->heads;                                     \
        for (int64_t row = begin, n; row < end; row += n) {                                                                   \
            const int64_t first = row % inner, other = row / inner % outer, b = row / inner / outer;                          \
            n = tn_min_i64(inner - first, end - row);                                                                         \
            for (int64_t k = first; k < first + n; k++) {                                                                     \
                const int64_t h = beside ? k : other, i = beside ? other : k;                                                 \
                if (r->interleaved)                                                                                           \
                    name##_row(r, b, h, i, 2, 1);                                                                             \
                else                                                                                                          \
                    name##_row(r, b, h, i, 1, r->half);                                                                       \
            }                                                                                                                 \
        }                                                                                                                     \
    }
ROPE(float, rope_f32)
ROPE(double, rope_f64)
#undef ROPE

tn_status TN_K(rope)(tn_dtype dtype, const tn_rope_rows *rows)
{
    tn_parallel_for(rows->batch * rows->heads * rows->l, tn_ceil_div(TN_GRAIN, tn_max_i64(1, rows->width)), dtype == TN_F64 ? rope_f64 : rope_f32,
                    (void *)(uintptr_t)rows);
    return TN_OK;
}
