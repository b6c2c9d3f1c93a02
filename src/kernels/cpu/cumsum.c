/* Running sums over the middle of contiguous [outer, n, inner]: kept in f64, or i64. */
#include "kernels/cpu/load.h"

enum { COLUMNS = 64 };

typedef struct cumsum_task {
    const tn_cumsum_rows *rows;
    tn_dtype dtype;
    int64_t element, spans; /* tasks that cover the inner positions */
} cumsum_task;

/* w columns from element `at` on. */
static void cumsum_columns(const cumsum_task *task, int64_t at, int64_t w)
{
    const tn_cumsum_rows *r = task->rows;
    double total[COLUMNS] = {0}, row[COLUMNS];
    for (int64_t i = 0; i < r->n; i++) {
        int64_t offset = (at + (r->reverse ? r->n - 1 - i : i) * r->inner) * task->element;
        char *y = (char *)r->y + offset;
        tn_loader(task->dtype, TN_WORK_F64)((const char *)r->x + offset, task->element, w, row);
        for (int64_t c = 0; c < w; c++)
            total[c] += row[c];
        for (int64_t c = 0; c < w; c++)
            tn_store_float(task->dtype, total[c], y + c * task->element);
    }
}

static void cumsum_columns_i64(const cumsum_task *task, int64_t at, int64_t w)
{
    const tn_cumsum_rows *r = task->rows;
    uint64_t total[COLUMNS] = {0};
    for (int64_t i = 0; i < r->n; i++) {
        int64_t offset = at + (r->reverse ? r->n - 1 - i : i) * r->inner;
        const int64_t *x = (const int64_t *)r->x + offset;
        int64_t *y = (int64_t *)r->y + offset;
        for (int64_t c = 0; c < w; c++)
            y[c] = (int64_t)(total[c] += (uint64_t)x[c]);
    }
}

/* A contiguous row of f32 or f64, the usual case. */
#define CUMSUM_ROW(T)                                                                                                         \
    static void cumsum_row_##T(const T *x, T *y, int64_t n, bool reverse)                                                     \
    {                                                                                                                         \
        double total = 0;                                                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                                                     \
            int64_t at = reverse ? n - 1 - i : i;                                                                             \
            y[at] = (T)(total += (double)x[at]);                                                                              \
        }                                                                                                                     \
    }
CUMSUM_ROW(float)
CUMSUM_ROW(double)
#undef CUMSUM_ROW

static void cumsum_range(int64_t begin, int64_t end, void *context)
{
    const cumsum_task *task = context;
    const tn_cumsum_rows *r = task->rows;
    for (int64_t i = begin; i < end; i++) {
        int64_t column = i % task->spans * COLUMNS, w = tn_min_i64(COLUMNS, r->inner - column);
        int64_t at = i / task->spans * r->n * r->inner + column;
        if (r->inner == 1 && task->dtype == TN_F32)
            cumsum_row_float((const float *)r->x + at, (float *)r->y + at, r->n, r->reverse);
        else if (r->inner == 1 && task->dtype == TN_F64)
            cumsum_row_double((const double *)r->x + at, (double *)r->y + at, r->n, r->reverse);
        else
            (task->dtype == TN_I64 ? cumsum_columns_i64 : cumsum_columns)(task, at, w);
    }
}

tn_status TN_K(cumsum)(tn_dtype dtype, const tn_cumsum_rows *r)
{
    cumsum_task task = {r, dtype, (int64_t)tn_dtype_size(dtype), tn_ceil_div(r->inner, COLUMNS)};
    if (r->n == 0 || r->inner == 0) return TN_OK;
    int64_t work = r->n * tn_min_i64(COLUMNS, r->inner);
    tn_parallel_for(r->outer * task.spans, tn_ceil_div(TN_GRAIN / 8, work), cumsum_range, &task);
    return TN_OK;
}
