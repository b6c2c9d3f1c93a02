/* A reduction's inner loops for one work type: included by reduce.c with T (float, double or int64_t), U (T, unsigned where it is an
 * integer: sums and products wrap), V (the member of tn_partial's value), V_TYPE and V_SUM (its type, and U of that), FN(name). */

static U FN(product)(const T *x, int64_t n)
{
    U lane[4] = {1, 1, 1, 1};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int l = 0; l < 4; l++)
            lane[l] *= (U)x[i + l];
    for (; i < n; i++)
        lane[0] *= (U)x[i];
    return (lane[0] * lane[1]) * (lane[2] * lane[3]);
}

/* Where value, which is among x, first stands. */
static int64_t FN(find)(const T *x, int64_t n, T value)
{
    int64_t i = 0;
    if (TN_IS_NAN(value))
        while (i < n - 1 && !TN_IS_NAN(x[i]))
            i++;
    else
        while (i < n - 1 && x[i] != value)
            i++;
    return i;
}

static int64_t FN(nonzeros)(const T *x, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += x[i] != 0;
    return count;
}

static void FN(extreme)(tn_reduce_op op, const T *x, int64_t n, tn_partial *s)
{
    bool max = op == TN_REDUCE_MAX || op == TN_REDUCE_ARGMAX;
    T best = max ? FN(max)(x, n) : FN(min)(x, n), former = (T)s->value.V;
    if (s->count > 0 && (TN_IS_NAN(former) || !(TN_IS_NAN(best) || (max ? best > former : best < former)))) return;
    s->value.V = best;
    if (op == TN_REDUCE_ARGMAX || op == TN_REDUCE_ARGMIN) s->index = s->count + FN(find)(x, n, best);
}

/* Adds n more inputs to s. */
static void FN(block)(tn_reduce_op op, double p, const void *block, int64_t n, tn_partial *s)
{
    const T *x = block;
    switch (op) {
    case TN_REDUCE_SUM:
    case TN_REDUCE_MEAN: s->value.V = (V_TYPE)((V_SUM)s->value.V + (V_SUM)FN(sum)(x, n)); break;
    case TN_REDUCE_PROD: s->value.V = (V_TYPE)((V_SUM)s->value.V * (V_SUM)FN(product)(x, n)); break;
    case TN_REDUCE_ANY: s->value.V = s->value.V != 0 || FN(nonzeros)(x, n) > 0; break;
    case TN_REDUCE_ALL: s->value.V = s->value.V != 0 && FN(nonzeros)(x, n) == n; break;
    case TN_REDUCE_MAX:
    case TN_REDUCE_MIN:
    case TN_REDUCE_ARGMAX:
    case TN_REDUCE_ARGMIN: FN(extreme)(op, x, n, s); break;
    default: FN(special)(op, p, x, n, s);
    }
    s->count += n;
}

#define E T
#define WIDE(x) ((U)(x))
#define DIRECT plan->direct
#include "kernels/cpu/reduce_columns.h"

/* Any reduction of w <= TILE columns: a tile of ROWS rows is turned, then each column is a block. */
static void FN(turn_columns)(const tn_plan *plan, tn_walk *walk, int64_t rows, int64_t w, tn_partial *s)
{
    T tile[TILE][ROWS], row[TILE];
    for (int64_t done = 0; done < rows; done += ROWS) {
        int64_t end = rows - done < ROWS ? rows - done : ROWS;
        for (int64_t r = 0; r < end; r++) {
            const T *from = plan->direct ? (const T *)(const void *)walk->at : row;
            if (!plan->direct) plan->load(walk->at, plan->column_stride, w, row);
            for (int64_t c = 0; c < w; c++)
                tile[c][r] = from[c];
            tn_walk_step(walk);
        }
        for (int64_t c = 0; c < w; c++)
            FN(block)(plan->op, plan->param, tile[c], end, &s[c]);
    }
}

#undef T
#undef U
#undef V
#undef V_TYPE
#undef V_SUM
#undef FN
