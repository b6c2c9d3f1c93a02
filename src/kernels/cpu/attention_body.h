/* Attention for one type: included by attention.c with T (float or double), DTYPE and FN(name) defined. A tile of scratch is
 * [ROWS][PITCH]. */

#include "kernels/cpu/attention_products.h"

/* A worker's scratch. */
typedef struct FN(work) {
    T *p, *dp, *keep; /* tiles; forward has no dp, and keep is NULL without dropout */
    T *product;       /* gemm's, or two sets of panels: of k' and, in backward, of v' */
    int64_t second;   /* where the second set begins */
    bool own, rounded;
    T *q, *dy, *k, *v; /* rounded copies, of a tile's rows and of its columns; NULL where our own products round nothing */
} FN(work);

static FN(work) FN(work_of)(const attention_task *task, int64_t worker, bool backward)
{
    T *at = (T *)task->scratch + worker * task->size, *tiles = at + task->product;
    T *keep = task->a->dropout > 0 ? tiles + (backward ? 2 : 1) * TILE : NULL;
    const bool rounded = DTYPE == TN_F32 && task->a->rounded;
    FN(work) work = {tiles, tiles + TILE, keep, at, task->panels, task->own, rounded, NULL, NULL, NULL, NULL};
    if (OWN_ROUNDED && task->own && rounded) {
        work.q = at + 2 * task->panels;
        work.dy = work.q + OWN_ROWS * task->widest;
        work.k = work.dy + OWN_ROWS * task->widest;
        work.v = work.k + COLUMNS * task->widest;
    }
    return work;
}

static T *FN(at)(const tn_head_rows *x, int64_t b, int64_t h, int64_t i) { return (T *)x->data + b * x->batch + h * x->head + i * x->row; }
static T *FN(stats_at)(const tn_attention *a, int64_t b, int64_t h, int64_t i) { return (T *)a->stats + ((b * a->heads + h) * a->l + i) * 2; }

static int64_t FN(kv_head)(const tn_attention *a, int64_t h) { return h / (a->heads / a->kv_heads); }

/* A matrix as gemm takes it. */
typedef struct FN(matrix) {
    const T *data;
    int64_t row, col;
} FN(matrix);

/* c = alpha a b + beta c, a [m, k] and b [k, n]. */
static void FN(multiply)(const FN(work) *work, int64_t m, int64_t n, int64_t k, double alpha, FN(matrix) a, FN(matrix) b, double beta, T *c,
                         int64_t c_row)
{
    const tn_gemm g = {.batch = 1, .m = m, .n = n, .k = k, .a = a.data, .b = b.data, .c = c, .a_row = a.row, .a_col = a.col, .b_row = b.row,
                       .b_col = b.col, .c_row = c_row, .alpha = alpha, .beta = beta, .rounded = work->rounded, .scratch = work->product};
    TN_K(gemm)(DTYPE, &g);
}

/* Rows of a matrix: of a tile's head from its first row on, or of its head of k and v from its first column on. */
typedef struct FN(rows) {
    T *data;
    int64_t row;
} FN(rows);

static FN(rows) FN(queries_of)(const tn_head_rows *x, const attention_tile *t)
{
    return (FN(rows)){FN(at)(x, t->b, t->h, t->i0), x->row};
}
static FN(rows) FN(keys_of)(const tn_attention *a, const tn_head_rows *x, const attention_tile *t)
{
    return (FN(rows)){FN(at)(x, t->b, FN(kv_head)(a, t->h), t->j0), x->row};
}

/* to = x, n elements, as bf16 has them. */
static void FN(round)(const T *x, int64_t n, T *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = tn_bits_f32(tn_rounded_((float)x[i]) & 0xffff0000u);
}

/* Rows [n, width] rounded, where there is room for a copy. */
static void FN(round_rows)(FN(rows) x, int64_t n, int64_t width, T *copy)
{
    for (int64_t i = 0; OWN_ROUNDED && copy && i < n; i++)
        FN(round)(x.data + i * x.row, width, copy + i * width);
}

/* Rows as products take them: their rounded copy where there is one. */
static FN(rows) FN(taken)(FN(rows) x, int64_t width, T *copy) { return OWN_ROUNDED && copy ? (FN(rows)){copy, width} : x; }

/* The transpose of k's or v's rows [columns, k], in panels of gemm's. */
static void FN(pack)(FN(rows) x, int64_t columns, int64_t k, T *panels)
{
    const tn_gemm g = {.n = columns, .k = k, .b = x.data, .b_row = 1, .b_col = x.row};
    TN_K(gemm_pack)(DTYPE, &g, panels);
}

/* out [rows, columns] = alpha x other', k wide; the panels are other's, where products are our own. */
static void FN(dots)(const FN(work) *work, const attention_tile *t, int64_t k, double alpha, FN(rows) x, FN(rows) other, const T *panels, T *out)
{
    if (!work->own) {
        FN(multiply)(work, t->rows, t->columns, k, alpha, (FN(matrix)){x.data, x.row, 1}, (FN(matrix)){other.data, 1, other.row}, 0, out, PITCH);
        return;
    }
    const int64_t panel = (int64_t)(TN_K(gemm_packed_bytes)(DTYPE, &(tn_gemm){.n = 1, .k = k}) / sizeof(T));
    const int64_t lanes = TN_VECTOR_BYTES / (int64_t)sizeof(T);
    const FN(product) g = {.m = t->rows, .n = tn_ceil_div(t->columns, lanes) * lanes, .k = k, .a = x.data, .a_row = x.row, .a_col = 1,
                           .b = panels, .b_row = panel / k, .width = panel / k, .panel = panel, .c = out, .c_row = PITCH, .alpha = (T)alpha};
    FN(product_of)(&g, SEEN_N, t->seen);
}

/* to [rows, n] += alpha p other, p a tile and other [columns, n] */
static void FN(gather)(const FN(work) *work, const attention_tile *t, int64_t n, double alpha, const T *p, FN(rows) other, FN(rows) to)
{
    const FN(product) g = {.m = t->rows, .n = n, .k = t->columns, .a = p, .a_row = PITCH, .a_col = 1, .b = other.data, .b_row = other.row,
                           .c = to.data, .c_row = to.row, .alpha = (T)alpha, .add = true};
    if (work->own)
        FN(product_of)(&g, SEEN_K, t->seen);
    else
        FN(multiply)(work, g.m, n, g.k, alpha, (FN(matrix)){p, PITCH, 1}, (FN(matrix)){other.data, other.row, 1}, 1, to.data, to.row);
}

/* to [columns, n] += alpha p' x, p a tile and x [rows, n] */
static void FN(scatter)(const FN(work) *work, const attention_tile *t, int64_t n, double alpha, const T *p, FN(rows) x, FN(rows) to)
{
    const FN(product) g = {.m = t->columns, .n = n, .k = t->rows, .a = p, .a_row = 1, .a_col = PITCH, .b = x.data, .b_row = x.row,
                           .c = to.data, .c_row = to.row, .alpha = (T)alpha, .add = true};
    if (work->own)
        FN(product_of)(&g, SEEN_M, t->seen);
    else
        FN(multiply)(work, g.m, n, g.k, alpha, (FN(matrix)){p, 1, PITCH}, (FN(matrix)){x.data, x.row, 1}, 1, to.data, to.row);
}

/* Rows i0 ... i1 of a head of what is asked for become 0. */
static void FN(begin_sums)(const tn_head_rows *x, int64_t width, int64_t b, int64_t h, int64_t i0, int64_t i1)
{
    for (int64_t i = i0; i < i1 && x->data; i++) {
        T *row = FN(at)(x, b, h, i);
        int64_t j = 0;
        for (; j + LANES <= width; j += LANES) {
            *(FN(vec_at) *)(row + j) = (FN(vec)){0};
            __asm__ volatile("" ::: "memory"); /* no call of memset for each row */
        }
        for (; j < width; j++)
            row[j] = 0;
    }
}

/* Columns up to which a row is computed of which n are seen. */
static int64_t FN(whole)(int64_t n) { return tn_ceil_div(n, WHOLE) * WHOLE; }

/* A tile as products take it. */
static void FN(round_tile)(const FN(work) *work, const attention_tile *t, const T *x, T *to)
{
    for (int64_t i = 0; OWN_ROUNDED && work->q && i < t->rows; i++)
        FN(round)(x + i * PITCH, t->columns, to + i * PITCH);
}

/* work->p = scale q k' + mask, of what rows may see; -infinity where nothing is to be seen, up to whole vectors. */
static void FN(scores)(const tn_attention *a, const attention_tile *t, const FN(work) *work)
{
    const FN(rows) q = FN(queries_of)(&a->q, t);
    FN(round_rows)(q, t->rows, a->e, work->q);
    FN(dots)(work, t, a->e, a->scale, FN(taken)(q, a->e, work->q), FN(keys_of)(a, &a->k, t), work->product, work->p);
    for (int64_t i = 0; i < t->rows; i++) {
        T *row = work->p + i * PITCH;
        const int64_t from = t->b * a->mask.batch + t->h * a->mask.head + (t->i0 + i) * a->mask.row + t->j0 * a->mask_column;
        const int64_t n = seen_by(t, i);
        if (a->mask.data && a->mask_is_bool)
            for (int64_t j = 0; j < n; j++)
                row[j] = ((const bool *)a->mask.data)[from + j * a->mask_column] ? row[j] : -(T)HUGE_VAL;
        else if (a->mask.data)
            for (int64_t j = 0; j < n; j++)
                row[j] += ((const T *)a->mask.data)[from + j * a->mask_column];
        for (int64_t j = n; j < FN(whole)(n); j++)
            row[j] = -(T)HUGE_VAL;
    }
}

/* What dropout multiplies the tile's probabilities with. */
static void FN(kept)(const tn_attention *a, const attention_tile *t, T *keep)
{
    T words[COLUMNS + 4];
    for (int64_t i = 0; i < t->rows; i++) {
        const int64_t first = ((t->b * a->heads + t->h) * a->l + t->i0 + i) * a->s + t->j0, skip = first % 4; /* four to a block */
        const tn_random_fill fill = {.kind = TN_RANDOM_BERNOULLI, .dtype = DTYPE, .n = skip + t->columns, .out = words, .seed = a->seed,
                                     .offset = a->offset + (uint64_t)(first / 4), .a = 1 - a->dropout, .b = 1 / (1 - a->dropout)};
        TN_K(random)(&fill);
        memcpy(keep + i * PITCH, words + skip, (size_t)t->columns * sizeof(T));
    }
}

static void FN(times)(const attention_tile *t, const T *x, const T *y, T *to)
{
    for (int64_t i = 0; i < t->rows * PITCH; i += PITCH)
        TN_INDEPENDENT
        for (int64_t j = i; j < i + t->columns; j++)
            to[j] = x[j] * y[j];
}

/* ---- forward ---------------------------------------------------------------------------------------------------------------- */

/* A tile against what the block's rows saw before: y is rescaled where the max grows. */
static void FN(forward_tile)(const tn_attention *a, const attention_tile *t, T *max, double *sum, const FN(work) *work)
{
    const FN(rows) y = FN(queries_of)(&a->y, t);
    FN(scores)(a, t, work);
    for (int64_t i = 0; i < t->rows; i++) {
        const int64_t n = FN(whole)(seen_by(t, i));
        T *row = work->p + i * PITCH, *to = y.data + i * y.row;
        const T own = FN(max_number)(row, n), larger = own > max[i] ? own : max[i]; /* NaN is in the sum */
        const T shift = larger == -(T)HUGE_VAL ? 0 : larger, factor = tn_exp_minus_(max[i] - shift);
        sum[i] = sum[i] * (double)factor + (double)FN(exp_sum)(row, shift, row, n, 0);
        max[i] = larger;
        for (int64_t j = n; j < t->columns; j++)
            row[j] = 0;
        for (int64_t j = 0; j < a->ev && factor != 1; j++)
            to[j] *= factor;
    }
    if (work->keep) {
        FN(kept)(a, t, work->keep);
        FN(times)(t, work->p, work->keep, work->p);
    }
    FN(round_tile)(work, t, work->p, work->p);
    FN(gather)(work, t, a->ev, 1, work->p, FN(taken)(FN(keys_of)(a, &a->v, t), a->ev, work->v), y);
}

/* Rows i0 ... i1, at most MOST_BLOCKS blocks, against all columns, with a running max and sum for each row. */
static void FN(forward_span)(const attention_task *task, int64_t b, int64_t h, int64_t i0, int64_t i1, const FN(work) *work)
{
    const tn_attention *a = task->a;
    T *stats = FN(stats_at)(a, b, h, i0);
    T max[MOST_BLOCKS * ROWS];
    double sum[MOST_BLOCKS * ROWS] = {0};
    FN(begin_sums)(&a->y, a->ev, b, h, i0, i1);
    for (int64_t i = 0; i < i1 - i0; i++)
        max[i] = -(T)HUGE_VAL;
    for (int64_t j = 0; j < columns_of(a, i1); j += COLUMNS) {
        const int64_t columns = tn_min_i64(COLUMNS, a->s - j);
        const attention_tile first = {.b = b, .h = h, .j0 = j};
        const FN(rows) k = FN(keys_of)(a, &a->k, &first);
        FN(round_rows)(k, columns, a->e, work->k);
        FN(round_rows)(FN(keys_of)(a, &a->v, &first), columns, a->ev, work->v);
        if (work->own)
            FN(pack)(FN(taken)(k, a->e, work->k), columns, a->e, work->product);
        for (int64_t i = i0; i < i1; i += task->rows) {
            const attention_tile t = tile_of(task, b, h, i, j);
            if (t.columns > 0)
                FN(forward_tile)(a, &t, max + (i - i0), sum + (i - i0), work);
        }
    }
    for (int64_t i = 0; i < i1 - i0; i++) {
        const T inverse = (T)(sum[i] == 0 ? 0 : 1 / sum[i]);
        stats[2 * i] = max[i] == -(T)HUGE_VAL ? 0 : max[i];
        stats[2 * i + 1] = inverse;
        T *y = FN(at)(&a->y, b, h, i0 + i);
        for (int64_t j = 0; j < a->ev; j++)
            y[j] *= inverse;
    }
}

static void FN(forward_range)(int64_t begin, int64_t end, void *context)
{
    const attention_task *task = context;
    const tn_attention *a = task->a;
    const int64_t rows = task->span * task->rows;
    for (int64_t w = begin; w < end; w++) {
        const FN(work) work = FN(work_of)(task, w, false);
        for (int64_t u = task->units * w / task->workers; u < task->units * (w + 1) / task->workers; u++) {
            const int64_t head = u / task->spans, i = folded(u % task->spans, task->spans) * rows;
            FN(forward_span)(task, head / a->heads, head % a->heads, i, tn_min_i64(i + rows, a->l), &work);
        }
    }
}

/* ---- backward --------------------------------------------------------------------------------------------------------------- */

/* ds, in dp: p (dy v' - the row's sum of dy y). */
static void FN(slopes)(const tn_attention *a, const attention_tile *t, const FN(work) *work)
{
    const FN(rows) y = FN(queries_of)(&a->y, t), dy = FN(queries_of)(&a->dy, t);
    FN(dots)(work, t, a->ev, 1, FN(taken)(dy, a->ev, work->dy), FN(keys_of)(a, &a->v, t), work->product + work->second, work->dp);
    for (int64_t i = 0; i < t->rows; i++) {
        T *row = work->dp + i * PITCH;
        const T *p = work->p + i * PITCH, *keep = work->keep ? work->keep + i * PITCH : NULL;
        const T mean = FN(dot)(dy.data + i * dy.row, y.data + i * y.row, a->ev);
        const int64_t n = seen_by(t, i);
        for (int64_t j = 0; keep && j < n; j++)
            row[j] *= keep[j];
        TN_INDEPENDENT
        for (int64_t j = 0; j < n; j++)
            row[j] = p[j] * (row[j] - mean);
        for (int64_t j = n; j < t->columns; j++)
            row[j] = 0;
    }
}

/* With p the probabilities: dv += p' dy, dq += scale ds k, dk += scale ds' q. */
static void FN(backward_tile)(const tn_attention *a, const attention_tile *t, int wanted, const FN(work) *work)
{
    const FN(rows) dy = FN(queries_of)(&a->dy, t), k = FN(keys_of)(a, &a->k, t), q = FN(queries_of)(&a->q, t);
    const T *stats = FN(stats_at)(a, t->b, t->h, t->i0);
    FN(scores)(a, t, work);
    for (int64_t i = 0; i < t->rows; i++) {
        T *row = work->p + i * PITCH;
        const T shift = stats[2 * i], inverse = stats[2 * i + 1];
        const int64_t n = FN(whole)(seen_by(t, i));
        for (int64_t j = 0; j < n; j++)
            row[j] = tn_exp_minus_(row[j] - shift) * inverse;
        for (int64_t j = n; j < t->columns; j++)
            row[j] = 0;
    }
    if (work->keep)
        FN(kept)(a, t, work->keep);
    FN(round_rows)(dy, t->rows, a->ev, work->dy);
    if (wanted & DV) {
        const T *p = work->keep || (OWN_ROUNDED && work->q) ? work->dp : work->p;
        if (work->keep)
            FN(times)(t, work->p, work->keep, work->dp);
        FN(round_tile)(work, t, work->keep ? work->dp : work->p, work->dp);
        FN(scatter)(work, t, a->ev, 1, p, FN(taken)(dy, a->ev, work->dy), FN(keys_of)(a, &a->dv, t));
    }
    if (!(wanted & (DQ | DK)))
        return;
    FN(slopes)(a, t, work);
    FN(round_tile)(work, t, work->dp, work->dp);
    if (wanted & DQ)
        FN(gather)(work, t, a->e, a->scale, work->dp, FN(taken)(k, a->e, work->k), FN(queries_of)(&a->dq, t));
    if (wanted & DK)
        FN(scatter)(work, t, a->e, a->scale, work->dp, FN(taken)(q, a->e, work->q), FN(keys_of)(a, &a->dk, t));
}

/* The tiles of heads h0 ... h1, of one head of k and v, whose rows and columns begin in the ranges: columns first, then heads, then rows. */
static void FN(backward_span)(const attention_task *task, int64_t b, int64_t h0, int64_t h1, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
                              const FN(work) *work)
{
    const tn_attention *a = task->a;
    for (int64_t j = j0; j < tn_min_i64(j1, columns_of(a, i1)); j += COLUMNS) {
        const int64_t columns = tn_min_i64(COLUMNS, a->s - j);
        const attention_tile first = {.b = b, .h = h0, .j0 = j};
        const FN(rows) k = FN(keys_of)(a, &a->k, &first), v = FN(keys_of)(a, &a->v, &first);
        FN(round_rows)(k, columns, a->e, work->k);
        FN(round_rows)(v, columns, a->ev, work->v);
        if (work->own)
            FN(pack)(FN(taken)(k, a->e, work->k), columns, a->e, work->product);
        if (work->own && task->wanted & (DQ | DK))
            FN(pack)(FN(taken)(v, a->ev, work->v), columns, a->ev, work->product + work->second);
        for (int64_t h = h0; h < h1; h++)
            for (int64_t i = i0; i < i1; i += task->rows) {
                const attention_tile t = tile_of(task, b, h, i, j);
                if (t.columns > 0)
                    FN(backward_tile)(a, &t, task->wanted, work);
            }
    }
}

static void FN(backward_unit)(const attention_task *task, int64_t unit, const FN(work) *work)
{
    const tn_attention *a = task->a;
    if (!task->whole && task->wanted == DQ) {
        const int64_t head = unit / task->row_blocks, b = head / a->heads, h = head % a->heads;
        const int64_t i = folded(unit % task->row_blocks, task->row_blocks) * task->rows, end = tn_min_i64(i + task->rows, a->l);
        FN(begin_sums)(&a->dq, a->e, b, h, i, end);
        FN(backward_span)(task, b, h, h + 1, i, end, 0, a->s, work);
        return;
    }
    const int64_t group = a->heads / a->kv_heads, blocks = task->whole ? 1 : task->column_blocks;
    const int64_t head = unit / blocks, b = head / a->kv_heads, kv = head % a->kv_heads, h = kv * group;
    const int64_t j = folded(unit % blocks, blocks) * COLUMNS, end = task->whole ? a->s : tn_min_i64(j + COLUMNS, a->s);
    FN(begin_sums)(&a->dk, a->e, b, kv, j, end);
    FN(begin_sums)(&a->dv, a->ev, b, kv, j, end);
    for (int64_t i = h; i < h + group && task->wanted & DQ; i++)
        FN(begin_sums)(&a->dq, a->e, b, i, 0, a->l);
    FN(backward_span)(task, b, h, h + group, 0, a->l, j, end, work);
}

static void FN(backward_range)(int64_t begin, int64_t end, void *context)
{
    const attention_task *task = context;
    for (int64_t w = begin; w < end; w++) {
        const FN(work) work = FN(work_of)(task, w, true);
        for (int64_t u = task->units * w / task->workers; u < task->units * (w + 1) / task->workers; u++)
            FN(backward_unit)(task, u, &work);
    }
}

#undef T
#undef LANES
#undef WHOLE
#undef FN
#undef DTYPE
