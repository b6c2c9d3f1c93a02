/* Reductions over any dims. A result is made of chunks, a chunk of blocks: blocks (a kibi-element, in lanes) are added in f64 or i64, and
 * chunks, which are there so that a single result can keep all threads busy, are merged in order. Both depend on the shape alone.
 *
 * Errors of f32 in ulp, whatever the size: of a sum and a mean 4.5 of the sum (the mean) of the terms' magnitudes, and 32 where each lane of a block, which
 * has 32 terms at most, loses half an ulp of its own with each, an ulp of the sum being half as much at the least; of a variance 4.5 and a standard
 * deviation 2.5 of the result, however far from 0 the mean is; of logsumexp 2 of 1 + |result|; of a product and a norm, which are f64 within, 0.5 of the
 * result (tests/test_reduce.c). */
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/load.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/wide.h"

/* Elements of a block, rows of a tile, columns of a tile and of a sum's block, positions of a chunk. */
enum { BLOCK = 1024, ROWS = 64, TILE = 32, COLUMNS = 256, CHUNK = 32768 };

/* What some of the inputs amount to: VAR keeps the sum of squares about the mean in value and the mean in second, LOGSUMEXP the sum of
 * exp(x - max) in value and max in second. */
typedef struct tn_partial {
    union { double f; int64_t i; } value;
    double second;
    int64_t index, count;
} tn_partial;

typedef struct tn_plan {
    const tn_reduction *r;
    tn_reduce_op op;
    tn_dtype dtype;
    tn_work work;
    double param;
    tn_load_fn load;
    bool sum;              /* or a mean */
    bool direct;           /* an element of the input is one of the work type */
    bool halves;           /* a sum of bfloat16 */
    int64_t column_stride; /* of columns: bytes from one to the next; 0 where results are made one by one, of rows */
    int64_t outer, inner;  /* results; inputs of each */
    int64_t width;         /* results of a task at most */
    int64_t spans;         /* tasks that cover the results of the last outer dim (columns), or 1 */
    int64_t chunk, chunks; /* inner positions of a chunk; chunks of a result */
    tn_partial *partials;  /* [outer, chunks], where chunks > 1 */
} tn_plan;

/* A place among the inner positions. */
typedef struct tn_walk {
    const tn_reduction *r;
    const char *at;
    int64_t coord[TN_MAX_DIMS];
} tn_walk;

static void tn_walk_to(tn_walk *walk, const tn_reduction *r, const char *base, int64_t position)
{
    walk->r = r;
    walk->at = base;
    for (int d = r->inner_ndim - 1; d >= 0; d--) {
        walk->coord[d] = d > 0 ? position % r->inner_sizes[d] : position; /* no division for the last */
        position = d > 0 ? position / r->inner_sizes[d] : 0;
        walk->at += walk->coord[d] * r->inner_strides[d];
    }
}

/* count positions on, which do not lead beyond the end of the last dim. */
static void tn_walk_by(tn_walk *walk, int64_t count)
{
    const tn_reduction *r = walk->r;
    int d = r->inner_ndim - 1;
    if (d < 0) return;
    walk->coord[d] += count;
    walk->at += count * r->inner_strides[d];
    for (; d > 0 && walk->coord[d] == r->inner_sizes[d]; d--) {
        walk->at += r->inner_strides[d - 1] - walk->coord[d] * r->inner_strides[d];
        walk->coord[d] = 0;
        walk->coord[d - 1]++;
    }
}

static inline void tn_walk_step(tn_walk *walk) { tn_walk_by(walk, 1); }

/* ---- what only floats have: variance, norm, logsumexp ------------------------------------------------------------------ */

static void merge_var(tn_partial *a, double mean, double squares, int64_t count)
{
    double n = (double)(a->count + count), delta = mean - a->second;
    if (count == 0) return;
    a->value.f += squares + delta * delta * ((double)a->count * (double)count / n);
    a->second = a->count == 0 ? mean : a->second + delta * ((double)count / n);
}

static void merge_logsumexp(tn_partial *a, double max, double sum)
{
    double top = a->second > max || TN_IS_NAN(a->second) ? a->second : max;
    double pivot = isinf(top) ? 0 : top;
    if (top == -HUGE_VAL) return;
    a->value.f = (a->value.f > 0 ? a->value.f * exp(a->second - pivot) : 0) + sum * exp((isinf(max) ? 0 : max) - pivot);
    a->second = top;
}

/* Two passes over the block, which is in the first cache: the mean, then the squares about it, with what the mean's rounding left. */
#define FLOAT_ONLY(T, suffix)                                                                                                 \
    static void var_##suffix(const T *x, int64_t n, tn_partial *s)                                                            \
    {                                                                                                                         \
        if (n < 1) return;                                                                                                    \
        T mean = (T)((double)sum_##suffix(x, n) / (double)n), away[BLOCK], squares[BLOCK];                                    \
        for (int64_t i = 0; i < n; i++) {                                                                                     \
            away[i] = x[i] - mean;                                                                                            \
            squares[i] = away[i] * away[i];                                                                                   \
        }                                                                                                                     \
        double left = (double)sum_##suffix(away, n);                                                                          \
        merge_var(s, (double)mean + left / (double)n, (double)sum_##suffix(squares, n) - left * left / (double)n, n);         \
    }                                                                                                                         \
    static void logsumexp_##suffix(const T *x, int64_t n, tn_partial *s)                                                      \
    {                                                                                                                         \
        T max = max_##suffix(x, n), pivot = isinf(max) ? 0 : max, e[BLOCK];                                                   \
        for (int64_t i = 0; i < n; i++)                                                                                       \
            e[i] = tn_exp_(x[i] - pivot);                                                                                \
        merge_logsumexp(s, (double)max, (double)sum_##suffix(e, n));                                                          \
    }
FLOAT_ONLY(float, f32)
FLOAT_ONLY(double, f64)
#undef FLOAT_ONLY

static int64_t nonzeros_f64(const double *x, int64_t n);

static void norm_f64(double p, const double *x, int64_t n, tn_partial *s)
{
    double terms[BLOCK];
    if (p == 0) s->value.f += (double)nonzeros_f64(x, n);
    if (p == 0 || n < 1) return;
    for (int64_t i = 0; i < n; i++)
        terms[i] = p == 2 ? x[i] * x[i] : fabs(x[i]);
    if (isinf(p)) {
        double most = max_f64(terms, n);
        if (p < 0) {
            for (int64_t i = 0; i < n; i++)
                terms[i] = -terms[i];
            most = -max_f64(terms, n);
            s->value.f = s->count == 0 || most < s->value.f || TN_IS_NAN(most) ? most : s->value.f;
        } else if (!TN_IS_NAN(s->value.f)) {
            s->value.f = most > s->value.f || TN_IS_NAN(most) ? most : s->value.f;
        }
        return;
    }
    for (int64_t i = 0; i < n && p != 2 && p != 1; i++)
        terms[i] = pow(terms[i], p);
    s->value.f += sum_f64(terms, n);
}

static void special_f32(tn_reduce_op op, double p, const float *x, int64_t n, tn_partial *s)
{
    (void)p;
    op == TN_REDUCE_LOGSUMEXP ? logsumexp_f32(x, n, s) : var_f32(x, n, s);
}

static void special_f64(tn_reduce_op op, double p, const double *x, int64_t n, tn_partial *s)
{
    op == TN_REDUCE_NORM ? norm_f64(p, x, n, s) : op == TN_REDUCE_LOGSUMEXP ? logsumexp_f64(x, n, s) : var_f64(x, n, s);
}

static void special_i64(tn_reduce_op op, double p, const int64_t *x, int64_t n, tn_partial *s)
{
    (void)op, (void)p, (void)x, (void)n, (void)s;
}

#define T float
#define U float
#define V f
#define V_TYPE double
#define V_SUM double
#define FN(name) name##_f32
#include "kernels/cpu/reduce_block.h"

#define T double
#define U double
#define V f
#define V_TYPE double
#define V_SUM double
#define FN(name) name##_f64
#include "kernels/cpu/reduce_block.h"

#define T int64_t
#define U uint64_t
#define V i
#define V_TYPE int64_t
#define V_SUM uint64_t
#define FN(name) name##_i64
#include "kernels/cpu/reduce_block.h"

/* bfloat16 is summed as it lies: the same sums as by way of a buffer. */
#define U float
#define V f
#define V_TYPE double
#define V_SUM double
#define FN(name) name##_bf16
#define E tn_bf16
#define WIDE(x) tn_load_bf16(x)
#define DIRECT true
#include "kernels/cpu/reduce_columns.h"
#undef U
#undef V
#undef V_TYPE
#undef V_SUM
#undef FN

static void add_block(const tn_plan *plan, const void *block, int64_t n, tn_partial *s)
{
    if (plan->work == TN_WORK_F32)
        block_f32(plan->op, plan->param, block, n, s);
    else if (plan->work == TN_WORK_F64)
        block_f64(plan->op, plan->param, block, n, s);
    else
        block_i64(plan->op, plan->param, block, n, s);
}

/* ---- chunks ------------------------------------------------------------------------------------------------------------- */

static void start(const tn_plan *plan, tn_partial *s)
{
    bool one = plan->op == TN_REDUCE_PROD || plan->op == TN_REDUCE_ALL;
    *s = (tn_partial){.second = plan->op == TN_REDUCE_LOGSUMEXP ? -HUGE_VAL : 0};
    if (plan->work == TN_WORK_I64)
        s->value.i = one;
    else
        s->value.f = one;
}

/* `n` inputs from where walk stands, those of one result. */
static void run_row(const tn_plan *plan, tn_walk *walk, int64_t n, tn_partial *s)
{
    const tn_reduction *r = plan->r;
    double buffer[BLOCK];
    size_t size = plan->work == TN_WORK_F32 ? sizeof(float) : sizeof(double);
    int64_t stride = r->inner_ndim > 0 ? r->inner_strides[r->inner_ndim - 1] : 0, filled = 0;
    const bool packed = plan->halves ? stride == (int64_t)sizeof(tn_bf16) : plan->direct && stride == (int64_t)size;
    while (n > 0) {
        int64_t left = r->inner_ndim > 0 ? r->inner_sizes[r->inner_ndim - 1] - walk->coord[r->inner_ndim - 1] : 1;
        if (packed && filled == 0 && (left >= n || left >= BLOCK)) {
            const int64_t most = left >= n ? n : left / BLOCK * BLOCK;
            for (int64_t i = 0; i < most; i += BLOCK)
                if (plan->halves)
                    s->value.f += (double)sum_bf16((const tn_bf16 *)(const void *)(walk->at + i * stride), tn_min_i64(BLOCK, most - i));
                else
                    add_block(plan, walk->at + i * stride, tn_min_i64(BLOCK, most - i), s);
            n -= most;
            tn_walk_by(walk, most);
            continue;
        }
        int64_t take = tn_min_i64(tn_min_i64(left, n), BLOCK - filled);
        plan->load(walk->at, stride, take, (char *)buffer + (size_t)filled * size);
        filled += take;
        n -= take;
        tn_walk_by(walk, take);
        if (filled == BLOCK || n == 0) {
            add_block(plan, buffer, filled, s);
            filled = 0;
        }
    }
}

static void run_columns(const tn_plan *plan, tn_walk *walk, int64_t rows, int64_t w, tn_partial *s)
{
    const bool sum = plan->sum;
    if (plan->halves)
        sum_columns_bf16(plan, walk, rows, w, s);
    else if (plan->work == TN_WORK_F32)
        (sum ? sum_columns_f32 : turn_columns_f32)(plan, walk, rows, w, s);
    else if (plan->work == TN_WORK_F64)
        (sum ? sum_columns_f64 : turn_columns_f64)(plan, walk, rows, w, s);
    else
        (sum ? sum_columns_i64 : turn_columns_i64)(plan, walk, rows, w, s);
}

/* a followed by b. */
static void merge(const tn_plan *plan, tn_partial *a, const tn_partial *b)
{
    tn_reduce_op op = plan->op;
    if (op == TN_REDUCE_VAR || op == TN_REDUCE_STD) {
        merge_var(a, b->second, b->value.f, b->count);
    } else if (op == TN_REDUCE_LOGSUMEXP) {
        merge_logsumexp(a, b->second, b->value.f);
    } else if (op == TN_REDUCE_NORM) {
        double most = plan->param > 0 ? fmax(a->value.f, b->value.f) : fmin(a->value.f, b->value.f);
        bool nan = TN_IS_NAN(a->value.f) || TN_IS_NAN(b->value.f);
        a->value.f = !isinf(plan->param) || nan ? a->value.f + b->value.f : a->count == 0 ? b->value.f : most;
    } else if (op == TN_REDUCE_MAX || op == TN_REDUCE_MIN || op == TN_REDUCE_ARGMAX || op == TN_REDUCE_ARGMIN) {
        bool max = op == TN_REDUCE_MAX || op == TN_REDUCE_ARGMAX, better;
        if (plan->work == TN_WORK_I64)
            better = max ? b->value.i > a->value.i : b->value.i < a->value.i;
        else
            better = !TN_IS_NAN(a->value.f) &&
                     (TN_IS_NAN(b->value.f) || (max ? b->value.f > a->value.f : b->value.f < a->value.f));
        if (a->count == 0 || better) {
            a->value = b->value;
            a->index = a->count + b->index;
        }
    } else if (plan->work == TN_WORK_I64) {
        uint64_t u = (uint64_t)a->value.i, v = (uint64_t)b->value.i;
        a->value.i = (int64_t)(op == TN_REDUCE_PROD ? u * v : op == TN_REDUCE_ANY ? u | v : op == TN_REDUCE_ALL ? u & v : u + v);
    } else {
        double u = a->value.f, v = b->value.f;
        a->value.f = op == TN_REDUCE_PROD || op == TN_REDUCE_ALL ? u * v : op == TN_REDUCE_ANY ? fmax(u, v) : u + v;
    }
    a->count += b->count;
}

/* ---- results ------------------------------------------------------------------------------------------------------------ */

static double finish_float(const tn_plan *plan, const tn_partial *s)
{
    double v = s->value.f, p = plan->param, count = (double)plan->inner;
    switch (plan->op) {
    case TN_REDUCE_MEAN: return v / count;
    case TN_REDUCE_VAR:
    case TN_REDUCE_STD:
        v = count == 0 ? NAN : v / (count > p ? count - p : 0);
        return plan->op == TN_REDUCE_STD ? sqrt(v) : v;
    case TN_REDUCE_NORM: return p == 2 ? sqrt(v) : p == 0 || p == 1 || isinf(p) ? v : pow(v, 1 / p);
    case TN_REDUCE_LOGSUMEXP: return log(v) + (isinf(s->second) ? 0 : s->second);
    default: return v;
    }
}

static void finish(const tn_plan *plan, const tn_partial *s, char *out, char *index)
{
    bool test = plan->op == TN_REDUCE_ANY || plan->op == TN_REDUCE_ALL;
    bool total = plan->op == TN_REDUCE_SUM || plan->op == TN_REDUCE_PROD;
    if (index) *(int64_t *)(void *)index = s->index;
    if (!out) return;
    if (plan->work != TN_WORK_I64 && !test)
        tn_store_float(plan->dtype, finish_float(plan, s), out);
    else
        tn_store_int(test ? TN_BOOL : total ? TN_I64 : plan->dtype,
                     plan->work == TN_WORK_I64 ? s->value.i : s->value.f != 0, out);
}

static int64_t offset_of(const tn_reduction *r, const int64_t *strides, int64_t result)
{
    int64_t offset = 0;
    for (int d = r->outer_ndim - 1; d > 0; d--) {
        offset += result % r->outer_sizes[d] * strides[d];
        result /= r->outer_sizes[d];
    }
    return r->outer_ndim > 0 ? offset + result * strides[0] : 0;
}

/* count results from `first` on, all in a row of the last outer dim. */
static void finish_all(const tn_plan *plan, int64_t first, int64_t count, const tn_partial *s)
{
    const tn_reduction *r = plan->r;
    int last = r->outer_ndim - 1;
    char *out = r->out ? r->out + offset_of(r, r->out_strides, first) : NULL;
    char *index = r->index ? r->index + offset_of(r, r->index_strides, first) : NULL;
    for (int64_t i = 0; i < count; i++) {
        finish(plan, &s[i], out, index);
        if (out && last >= 0) out += r->out_strides[last];
        if (index && last >= 0) index += r->index_strides[last];
    }
}

/* A task is (results, chunk): one result, or `width` columns next to each other. */
static void run_tasks(int64_t begin, int64_t end, void *context)
{
    const tn_plan *plan = context;
    const tn_reduction *r = plan->r;
    tn_partial s[COLUMNS];
    for (int64_t task = begin; task < end; task++) {
        int64_t chunk = plan->chunks == 1 ? 0 : task % plan->chunks, group = plan->chunks == 1 ? task : task / plan->chunks;
        int64_t first = group, count = 1, from = chunk * plan->chunk;
        if (plan->column_stride) {
            int64_t columns = r->outer_sizes[r->outer_ndim - 1], column = group % plan->spans * plan->width;
            first = group / plan->spans * columns + column;
            count = tn_min_i64(plan->width, columns - column);
        }
        for (int64_t i = 0; i < count; i++)
            start(plan, &s[i]);
        if (plan->inner > 0) {
            int64_t n = tn_min_i64(plan->chunk, plan->inner - from);
            tn_walk walk;
            tn_walk_to(&walk, r, r->in + offset_of(r, r->outer_strides, first), from);
            if (plan->column_stride)
                run_columns(plan, &walk, n, count, s);
            else
                run_row(plan, &walk, n, s);
        }
        if (plan->chunks == 1)
            finish_all(plan, first, count, s);
        else
            for (int64_t i = 0; i < count; i++)
                plan->partials[(first + i) * plan->chunks + chunk] = s[i];
    }
}

/* Sums of rows that lie packed: the same sums as run_row()'s, in a loop so short that one row's end runs beside the next row. */
static void sum_rows(int64_t begin, int64_t end, void *context)
{
    const tn_plan *plan = context;
    const tn_reduction *r = plan->r;
    const double by = plan->op == TN_REDUCE_MEAN ? (double)plan->inner : 1;
    for (int64_t row = begin; row < end; row++) {
        const void *x = r->in + row * r->outer_strides[0];
        double sum = 0;
        for (int64_t i = 0; i < plan->inner; i += BLOCK) {
            const int64_t n = tn_min_i64(BLOCK, plan->inner - i);
            sum += (double)(plan->halves ? sum_bf16((const tn_bf16 *)x + i, n) : sum_f32((const float *)x + i, n));
        }
        tn_store_float(plan->dtype, sum / by, r->out + row * r->out_strides[0]);
    }
}
static bool sums_rows(const tn_plan *plan)
{
    const tn_reduction *r = plan->r;
    return plan->sum && (plan->dtype == TN_F32 || plan->halves) && plan->chunks == 1 && !plan->column_stride && r->outer_ndim == 1 &&
           r->inner_ndim == 1 && r->inner_strides[0] == (int64_t)tn_dtype_size(plan->dtype) && r->out;
}

static void merge_chunks(const tn_plan *plan)
{
    for (int64_t result = 0; result < plan->outer; result++) {
        tn_partial *s = &plan->partials[result * plan->chunks];
        for (int64_t chunk = 1; chunk < plan->chunks; chunk++)
            merge(plan, s, &s[chunk]);
        finish_all(plan, result, 1, s);
    }
}

/* ---- the plan ----------------------------------------------------------------------------------------------------------- */

static bool works_in_f64(tn_reduce_op op) { return op == TN_REDUCE_PROD || op == TN_REDUCE_NORM; }

static tn_plan plan_of(tn_reduce_op op, tn_dtype dtype, const tn_reduction *r)
{
    tn_plan plan = {.r = r, .op = op, .dtype = dtype, .param = r->param, .outer = 1, .inner = 1, .width = 1, .spans = 1};
    for (int d = 0; d < r->outer_ndim; d++)
        plan.outer *= r->outer_sizes[d];
    for (int d = 0; d < r->inner_ndim; d++)
        plan.inner *= r->inner_sizes[d];
    plan.work = tn_work_of(dtype) == TN_WORK_F32 && works_in_f64(op) ? TN_WORK_F64 : tn_work_of(dtype);
    plan.load = tn_loader(dtype, plan.work);
    plan.direct = (plan.work == TN_WORK_F32 && dtype == TN_F32) || dtype == TN_F64 || dtype == TN_I64;

    int64_t element = (int64_t)tn_dtype_size(dtype), columns = r->outer_ndim > 0 ? r->outer_sizes[r->outer_ndim - 1] : 0;
    plan.sum = op == TN_REDUCE_SUM || op == TN_REDUCE_MEAN;
    plan.halves = plan.sum && dtype == TN_BF16;
    if (r->inner_ndim > 0 && columns > 1 && r->inner_strides[r->inner_ndim - 1] != element &&
        r->outer_strides[r->outer_ndim - 1] == element) {
        plan.column_stride = element;
        plan.width = plan.sum ? COLUMNS : TILE;
        plan.spans = tn_ceil_div(columns, plan.width);
    }
    int64_t groups = plan.column_stride ? plan.outer / columns * plan.spans : plan.outer;
    int64_t wide = plan.column_stride ? tn_min_i64(columns, plan.width) : 1;
    int64_t unit = plan.column_stride ? ROWS : BLOCK;
    const int64_t chunk = plan.column_stride && plan.sum ? 8 * CHUNK : CHUNK; /* a sum's rows take less time than its partials' merging */
    plan.chunk = tn_max_i64(1, chunk / wide / unit) * unit;
    plan.chunks = groups < 32 ? tn_max_i64(1, plan.inner / plan.chunk) : 1;
    plan.chunk = plan.chunks == 1 ? plan.inner : plan.chunk;
    plan.chunks = plan.inner == 0 ? 1 : tn_ceil_div(plan.inner, plan.chunk);
    return plan;
}

tn_status TN_K(reduce)(tn_reduce_op op, tn_dtype dtype, const tn_reduction *r)
{
    tn_plan plan = plan_of(op, dtype, r);
    if (plan.outer == 0) return TN_OK;
    size_t bytes = plan.chunks > 1 ? (size_t)(plan.outer * plan.chunks) * sizeof(tn_partial) : 0;
    if (bytes && !(plan.partials = tn_alloc(bytes))) return TN_ERR_MEMORY;

    int64_t groups = plan.column_stride ? plan.outer / r->outer_sizes[r->outer_ndim - 1] * plan.spans : plan.outer;
    int64_t work = tn_max_i64(1, plan.chunk * (plan.column_stride ? plan.width : 1));
    tn_parallel_for(groups * plan.chunks, tn_ceil_div(TN_GRAIN, work), sums_rows(&plan) ? sum_rows : run_tasks, &plan);
    if (bytes) {
        merge_chunks(&plan);
        tn_free(plan.partials, bytes);
    }
    return TN_OK;
}
