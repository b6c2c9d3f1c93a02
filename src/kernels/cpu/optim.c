/* The optimisers' updates: one pass over all parameters, each element read and written once.
 *
 * Errors of f32 in ulp of what the formulas of optim_updates.h give with each term's magnitude in its place, of the scalars as f32 has them, a root's
 * argument counting for all that it divides: averages of gradients, and parameters that change by a sum of products, 4; averages of squares, and
 * parameters that change by what a root divides, 6; Adadelta's average of squared steps 10: half as much again as 150 seeds came to
 * (tests/test_optim_ulp.c). */
#include <math.h>

#include "core/core.h"
#include "kernels/cpu/cpu.h"

/* The loops that there are: X(op, function, states), a bit in states for each that the item has. */
#define STEP_LOOPS(X)                                                                                                         \
    X(SGD, sgd, 0) X(SGD, sgd, 1)                                                                                             \
    X(ADAM, adam, 3) X(ADAM, adam, 7)                                                                                         \
    X(RMSPROP, rmsprop, 1) X(RMSPROP, rmsprop, 3) X(RMSPROP, rmsprop, 5) X(RMSPROP, rmsprop, 7)                               \
    X(ADADELTA, adadelta, 3) X(ADAMAX, adamax, 3) X(LION, lion, 1) X(MUON, muon, 3)                                           \
    X(SCALE, scale, 0) X(CLAMP, clamp, 0) X(LERP, lerp, 0) X(SWAP, swap, 1)

#define T float
#define NAME(x) x##_f32
#define SQRT sqrtf
#include "kernels/cpu/optim_loops.h"
#define T double
#define NAME(x) x##_f64
#define SQRT sqrt
#include "kernels/cpu/optim_loops.h"

enum { STEP_GRAIN = 16384 };

typedef struct loop {
    void (*f32)(const tn_step_item *item, int64_t begin, int64_t end);
    void (*f64)(const tn_step_item *item, int64_t begin, int64_t end);
} loop;
#define ROW(OP, name, states) [TN_STEP_##OP][states] = {name##_##states##_f32, name##_##states##_f64},
static const loop loops[TN_STEP_OPS][1 << TN_STEP_STATES] = {STEP_LOOPS(ROW)};

static const loop *loop_of(tn_step_op op, const tn_step_item *item)
{
    int states = 0;
    for (int k = 0; k < TN_STEP_STATES; k++)
        states |= item->state[k] ? 1 << k : 0;
    return &loops[op][states];
}

typedef struct pass {
    tn_step_op op;
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
        if (from >= to)
            continue;
        const loop *update = loop_of(all->op, item);
        (item->dtype == TN_F32 ? update->f32 : update->f64)(item, from, to);
    }
}

tn_status TN_K(optim_step)(tn_step_op op, const tn_step_item *items, int count)
{
    for (int i = 0; i < count; i++) {
        if (items[i].dtype == TN_F32 || items[i].dtype == TN_F64)
            continue;
        tn_fail(TN_ERR_DTYPE, "optim_step: parameters are float32 or float64, and one is %s", tn_dtype_name(items[i].dtype));
        return TN_ERR_DTYPE;
    }
    pass all = {op, items, count};
    if (count)
        tn_parallel_for(items[count - 1].start + items[count - 1].n, STEP_GRAIN, run, &all);
    return TN_OK;
}
