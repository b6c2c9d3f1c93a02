/* The optimisers' updates: one pass over all parameters, each element read and written once. */
#include <math.h>

#include "core/core.h"
#include "kernels/cpu/cpu.h"

#define T float
#define NAME(x) x##_f32
#define SQRT sqrtf
#include "kernels/cpu/optim_loops.h"
#define T double
#define NAME(x) x##_f64
#define SQRT sqrt
#include "kernels/cpu/optim_loops.h"

enum { STEP_GRAIN = 16384 };

typedef struct pass {
    void (*update)(const void *step, const tn_step_item *item, int64_t begin, int64_t end);
    const void *step;
    const tn_step_item *items;
    int count;
} pass;

/* Elements begin ... end of all parameters laid end to end. */
static void run(int64_t begin, int64_t end, void *context)
{
    const pass *all = context;
    for (int i = 0; i < all->count; i++) {
        const tn_step_item *item = &all->items[i];
        int64_t from = tn_max_i64(begin - item->start, 0), to = tn_min_i64(end - item->start, item->n);
        if (from < to)
            all->update(all->step, item, from, to);
    }
}

static void over_all(pass all)
{
    const tn_step_item *last = &all.items[all.count - 1];
    if (all.count)
        tn_parallel_for(last->start + last->n, STEP_GRAIN, run, &all);
}

static tn_status refuse(const char *op, tn_dtype dtype)
{
    tn_fail(TN_ERR_DTYPE, "%s: parameters are float32 or float64, and this is %s", op, tn_dtype_name(dtype));
    return TN_ERR_DTYPE;
}

tn_status TN_K(sgd_step)(tn_dtype dtype, const tn_sgd_step *step, const tn_step_item *items, int count)
{
    if (dtype != TN_F32 && dtype != TN_F64)
        return refuse("sgd_step", dtype);
    over_all((pass){dtype == TN_F32 ? sgd_f32 : sgd_f64, step, items, count});
    return TN_OK;
}

tn_status TN_K(adam_step)(tn_dtype dtype, const tn_adam_step *step, const tn_step_item *items, int count)
{
    if (dtype != TN_F32 && dtype != TN_F64)
        return refuse("adam_step", dtype);
    over_all((pass){dtype == TN_F32 ? adam_f32 : adam_f64, step, items, count});
    return TN_OK;
}
