/* Softmax, its logarithm, and cross-entropy of class indices, forward and backward. The greatest of a row is taken off before exp, so
 * that no row overflows; sums are kept in f64. */
#include <string.h>

#include "kernels/cpu/exp_sum.h"
#include "kernels/cpu/load.h"
#include "kernels/cpu/vector.h"

/* Elements of a row, and columns, taken at a time; elements of a short row, and how many of those are taken at a time. */
enum { BLOCK = 1024, COLUMNS = 64, SHORT = 128, GROUP = 16, FAR = 1 << 24 /* bytes */ };

/* How the elements of a dtype are read and written in the work type. */
typedef struct tn_rows {
    tn_dtype dtype;
    int64_t element;
    bool direct;
    bool far; /* in memory rather than in a cache: the next row is fetched while this one's exponentials are taken */
    tn_load_fn load;
} tn_rows;

static tn_rows rows_of(tn_dtype dtype, int64_t elements)
{
    const int64_t element = (int64_t)tn_dtype_size(dtype);
    return (tn_rows){dtype, element, dtype == TN_F32 || dtype == TN_F64, elements * element >= FAR, tn_loader(dtype, tn_work_of(dtype))};
}

static double class_weight(const tn_cross_entropy_rows *c, const tn_rows *rows, int64_t class)
{
    return c->weight ? tn_load_float(rows->dtype, (const char *)c->weight + class * rows->element) : 1;
}

#define T float
#define FN(name) name##_f32
#include "kernels/cpu/softmax_rows.h"

#define T double
#define FN(name) name##_f64
#include "kernels/cpu/softmax_rows.h"

/* ---- softmax ------------------------------------------------------------------------------------------------------------ */

typedef struct softmax_task {
    const tn_softmax_rows *s;
    tn_rows rows;
    bool backward;
    int64_t spans; /* tasks that cover the inner positions; 0 where there is one and rows are contiguous */
} softmax_task;

static void softmax_one_row(const softmax_task *task, int64_t row)
{
    const tn_softmax_rows *s = task->s;
    int64_t at = row * s->n * task->rows.element;
    const void *x = (const char *)s->x + at;
    void *y = (char *)s->y + at;
    if (task->rows.dtype == TN_F64 && task->backward)
        softmax_row_backward_f64(&task->rows, x, (const char *)s->dy + at, y, s->n, s->log);
    else if (task->rows.dtype == TN_F64)
        softmax_row_f64(&task->rows, x, y, s->n, s->log);
    else if (task->backward)
        softmax_row_backward_f32(&task->rows, x, (const char *)s->dy + at, y, s->n, s->log);
    else
        softmax_row_f32(&task->rows, x, y, s->n, s->log);
}

#if defined(__AVX512F__)
/* Rows of n elements in so many vectors, which stay in registers. */
TN_INLINE void rows_of_vectors(int vectors, const float *x, float *y, int64_t count, int64_t n)
{
    const __mmask16 all = 0xffff, last = tn_first_(n - 16 * (vectors - 1));
    const __m512 none = _mm512_set1_ps(-HUGE_VALF);
    for (int64_t row = 0; row < count; row++, x += n, y += n) {
        __m512 v[SHORT / 16], sum = _mm512_setzero_ps(), max = none;
        TN_UNROLL
        for (int i = 0; i < vectors; i++) {
            v[i] = _mm512_mask_loadu_ps(none, i < vectors - 1 ? all : last, x + 16 * i);
            max = _mm512_max_ps(v[i], max); /* NaN is passed over: its exponential makes the row NaN */
        }
        max = _mm512_set1_ps(_mm512_reduce_max_ps(max));
        TN_UNROLL
        for (int i = 0; i < vectors; i++) {
            v[i] = tn_exp_minus_v_(_mm512_sub_ps(v[i], max));
            sum = _mm512_mask_add_ps(sum, i < vectors - 1 ? all : last, sum, v[i]);
        }
        const __m512 scale = _mm512_set1_ps(1 / tn_fold16_((const tn_lanes16_ *)&sum));
        TN_UNROLL
        for (int i = 0; i < vectors; i++)
            if (i < vectors - 1 || last == all)
                _mm512_storeu_ps(y + 16 * i, _mm512_mul_ps(v[i], scale));
            else
                _mm512_mask_storeu_ps(y + 16 * i, last, _mm512_mul_ps(v[i], scale));
    }
}
static void short_rows_f32(const float *x, float *y, int64_t count, int64_t n)
{
    switch (tn_ceil_div(n, 16)) {
    case 1: rows_of_vectors(1, x, y, count, n); break;
    case 2: rows_of_vectors(2, x, y, count, n); break;
    case 3: rows_of_vectors(3, x, y, count, n); break;
    case 4: rows_of_vectors(4, x, y, count, n); break;
    case 5: rows_of_vectors(5, x, y, count, n); break;
    case 6: rows_of_vectors(6, x, y, count, n); break;
    case 7: rows_of_vectors(7, x, y, count, n); break;
    default: rows_of_vectors(8, x, y, count, n);
    }
}
#else
static void short_rows_f32(const float *x, float *y, int64_t count, int64_t n) { softmax_short_rows_f32(x, y, count, n); }
#endif

static void softmax_short(int64_t begin, int64_t end, void *context)
{
    const softmax_task *task = context;
    const int64_t n = task->s->n;
    for (int64_t row = begin; row < end; row += GROUP) {
        const int64_t count = tn_min_i64(GROUP, end - row), at = row * n;
        if (task->rows.dtype == TN_F64)
            softmax_short_rows_f64((const double *)task->s->x + at, (double *)task->s->y + at, count, n);
        else
            short_rows_f32((const float *)task->s->x + at, (float *)task->s->y + at, count, n);
    }
}

static void softmax_range(int64_t begin, int64_t end, void *context)
{
    const softmax_task *task = context;
    const tn_softmax_rows *s = task->s;
    for (int64_t i = begin; i < end; i++) {
        if (task->spans == 0) {
            softmax_one_row(task, i);
            continue;
        }
        int64_t column = i % task->spans * COLUMNS, w = tn_min_i64(COLUMNS, s->inner - column);
        int64_t at = i / task->spans * s->n * s->inner + column;
        if (task->rows.dtype == TN_F64)
            (task->backward ? softmax_columns_backward_f64 : softmax_columns_f64)(&task->rows, s, at, w);
        else
            (task->backward ? softmax_columns_backward_f32 : softmax_columns_f32)(&task->rows, s, at, w);
    }
}

static tn_status softmax(tn_dtype dtype, const tn_softmax_rows *s, bool backward)
{
    softmax_task task = {s, rows_of(dtype, s->outer * s->n * s->inner), backward, s->inner == 1 ? 0 : tn_ceil_div(s->inner, COLUMNS)};
    int64_t tasks = s->outer * tn_max_i64(1, task.spans), width = tn_min_i64(COLUMNS, s->inner);
    if (s->n == 0 || s->inner == 0) return TN_OK;
    const bool grouped = !backward && !s->log && task.spans == 0 && task.rows.direct && s->n <= SHORT;
    tn_parallel_for(tasks, tn_ceil_div(TN_GRAIN / 8, s->n * width), grouped ? softmax_short : softmax_range, &task);
    return TN_OK;
}

tn_status TN_K(softmax)(tn_dtype dtype, const tn_softmax_rows *s) { return softmax(dtype, s, false); }
tn_status TN_K(softmax_backward)(tn_dtype dtype, const tn_softmax_rows *s) { return softmax(dtype, s, true); }

/* ---- cross-entropy ------------------------------------------------------------------------------------------------------ */

typedef struct loss_task {
    const tn_cross_entropy_rows *c;
    tn_rows rows;
    double *losses; /* [rows] */
    double grad;    /* of each row's loss, where the loss is one number */
    double all;     /* the sum of all classes' weights */
} loss_task;

static void loss_range(int64_t begin, int64_t end, void *context)
{
    const loss_task *task = context;
    const tn_cross_entropy_rows *c = task->c;
    for (int64_t row = begin; row < end; row++) {
        if (c->target[row] == c->ignore_index)
            task->losses[row] = 0;
        else if (task->rows.dtype == TN_F64)
            task->losses[row] = cross_entropy_row_f64(&task->rows, c, row, &c->stats[2 * row]);
        else
            task->losses[row] = cross_entropy_row_f32(&task->rows, c, row, &c->stats[2 * row]);
    }
}

static tn_status check_targets(const tn_cross_entropy_rows *c)
{
    for (int64_t row = 0; row < c->rows; row++) {
        int64_t t = c->target[row];
        if (t == c->ignore_index || (t >= 0 && t < c->classes)) continue;
        tn_fail(TN_ERR_INDEX,
                "cross_entropy: target number %lld is %lld, but there are %lld classes: targets are 0 to %lld, or ignore_index (%lld)",
                (long long)row, (long long)t, (long long)c->classes, (long long)c->classes - 1, (long long)c->ignore_index);
        return TN_ERR_INDEX;
    }
    return TN_OK;
}

tn_status TN_K(cross_entropy)(tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    loss_task task = {.c = c, .rows = rows_of(dtype, c->rows * c->classes)};
    size_t bytes = (size_t)tn_max_i64(1, c->rows) * sizeof(double);
    tn_status status = check_targets(c);
    if (status != TN_OK) return status;
    if (!(task.losses = tn_alloc(bytes))) return TN_ERR_MEMORY;
    tn_parallel_for(c->rows, tn_ceil_div(TN_GRAIN / 8, tn_max_i64(1, c->classes)), loss_range, &task);

    double total = 0, sum = 0;
    for (int64_t row = 0; row < c->rows; row++) {
        if (c->target[row] != c->ignore_index) total += class_weight(c, &task.rows, c->target[row]);
        sum += task.losses[row];
        if (c->reduction == 0) tn_store_float(dtype, task.losses[row], (char *)c->loss + row * task.rows.element);
    }
    if (c->reduction != 0) tn_store_float(dtype, c->reduction == 1 ? sum / total : sum, c->loss);
    c->stats[2 * c->rows] = total;
    tn_free(task.losses, bytes);
    return TN_OK;
}

static void loss_range_backward(int64_t begin, int64_t end, void *context)
{
    const loss_task *task = context;
    const tn_cross_entropy_rows *c = task->c;
    int64_t element = task->rows.element;
    for (int64_t row = begin; row < end; row++) {
        double g = c->reduction == 0 && c->grad ? tn_load_float(task->rows.dtype, (const char *)c->grad + row * element) : task->grad;
        if (c->target[row] == c->ignore_index)
            memset((char *)c->dx + row * c->classes * element, 0, (size_t)(c->classes * element));
        else if (task->rows.dtype == TN_F64)
            cross_entropy_row_backward_f64(&task->rows, c, row, g, task->all);
        else
            cross_entropy_row_backward_f32(&task->rows, c, row, g, task->all);
    }
}

tn_status TN_K(cross_entropy_backward)(tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    loss_task task = {.c = c, .rows = rows_of(dtype, c->rows * c->classes)};
    for (int64_t j = 0; j < c->classes; j++)
        task.all += class_weight(c, &task.rows, j);
    task.grad = (c->reduction != 0 && c->grad ? tn_load_float(dtype, c->grad) : 1) / (c->reduction == 1 ? c->stats[2 * c->rows] : 1);
    tn_parallel_for(c->rows, tn_ceil_div(TN_GRAIN / 8, tn_max_i64(1, c->classes)), loss_range_backward, &task);
    return TN_OK;
}
