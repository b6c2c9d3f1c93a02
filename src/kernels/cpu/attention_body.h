/* Attention for one type: included by attention.c with T (float or double), DTYPE and FN(name) defined. A tile of scratch is
 * [ROWS][COLUMNS]. */

/* A worker's scratch. */
typedef struct FN(work) {
    T *p, *dp, *keep; /* tiles; forward has no dp, and keep is NULL without dropout */
    T *product;
    bool rounded;
} FN(work);

static FN(work) FN(work_of)(const attention_task *task, int64_t worker, bool backward)
{
    T *at = (T *)task->scratch + worker * task->size, *tiles = at + task->product;
    T *keep = task->a->dropout > 0 ? tiles + (backward ? 2 : 1) * TILE : NULL;
    return (FN(work)){tiles, tiles + TILE, keep, at, task->a->rounded};
}

static const T *FN(at)(const tn_attention_rows *x, int64_t b, int64_t h, int64_t i)
{
    return (const T *)x->data + b * x->batch + h * x->head + i * x->row;
}

/* Row i of head h of a dense [batch, heads, rows, width]. */
static T *FN(dense)(const void *x, int64_t heads, int64_t rows, int64_t width, int64_t b, int64_t h, int64_t i)
{
    return (T *)(uintptr_t)x + ((b * heads + h) * rows + i) * width;
}

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

/* v's rows of the tile, or their transpose. */
static FN(matrix) FN(values)(const tn_attention *a, const attention_tile *t, bool transposed)
{
    const T *v = FN(at)(&a->v, t->b, FN(kv_head)(a, t->h), t->j0);
    return transposed ? (FN(matrix)){v, 1, a->v.row} : (FN(matrix)){v, a->v.row, 1};
}

/* work->p = scale q k' + mask; -infinity where nothing is to be seen. */
static void FN(scores)(const tn_attention *a, const attention_tile *t, const FN(work) *work)
{
    const T *q = FN(at)(&a->q, t->b, t->h, t->i0), *k = FN(at)(&a->k, t->b, FN(kv_head)(a, t->h), t->j0);
    FN(multiply)(work, t->rows, t->columns, a->e, a->scale, (FN(matrix)){q, a->q.row, 1}, (FN(matrix)){k, 1, a->k.row}, 0, work->p, COLUMNS);
    for (int64_t i = 0; i < t->rows; i++) {
        T *row = work->p + i * COLUMNS;
        const int64_t from = t->b * a->mask.batch + t->h * a->mask.head + (t->i0 + i) * a->mask.row + t->j0 * a->mask_column;
        if (a->mask.data && a->mask_is_bool)
            for (int64_t j = 0; j < t->columns; j++)
                row[j] = ((const bool *)a->mask.data)[from + j * a->mask_column] ? row[j] : -(T)HUGE_VAL;
        else if (a->mask.data)
            for (int64_t j = 0; j < t->columns; j++)
                row[j] += ((const T *)a->mask.data)[from + j * a->mask_column];
        for (int64_t j = a->causal ? tn_max_i64(0, t->i0 + i + 1 - t->j0) : t->columns; j < t->columns; j++)
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
        memcpy(keep + i * COLUMNS, words + skip, (size_t)t->columns * sizeof(T));
    }
}

static void FN(times)(const attention_tile *t, const T *x, const T *y, T *to)
{
    for (int64_t i = 0; i < t->rows * COLUMNS; i += COLUMNS)
        TN_INDEPENDENT
        for (int64_t j = i; j < i + t->columns; j++)
            to[j] = x[j] * y[j];
}

/* ---- forward ---------------------------------------------------------------------------------------------------------------- */

/* A block of rows against all columns, with a running max and sum for each row; y is rescaled when the max grows. */
static void FN(forward_block)(const tn_attention *a, int64_t b, int64_t h, int64_t i0, const FN(work) *work)
{
    attention_tile t = {b, h, i0, 0, tn_min_i64(ROWS, a->l - i0), 0};
    T *y = FN(dense)(a->y, a->heads, a->l, a->ev, b, h, i0), *stats = FN(dense)(a->stats, a->heads, a->l, 2, b, h, i0), max[ROWS];
    const int64_t all = columns_of(a, i0 + t.rows);
    double sum[ROWS] = {0};
    memset(y, 0, (size_t)(t.rows * a->ev) * sizeof(T));
    for (int64_t i = 0; i < t.rows; i++)
        max[i] = -(T)HUGE_VAL;
    for (t.j0 = 0; t.j0 < all; t.j0 += COLUMNS) {
        t.columns = tn_min_i64(COLUMNS, all - t.j0);
        FN(scores)(a, &t, work);
        for (int64_t i = 0; i < t.rows; i++) {
            T *row = work->p + i * COLUMNS, top = FN(max_number)(row, t.columns), *to = y + i * a->ev;
            const T larger = top > max[i] ? top : max[i], shift = larger == -(T)HUGE_VAL ? 0 : larger, factor = tn_exp_minus_(max[i] - shift);
            sum[i] = sum[i] * (double)factor + (double)FN(exp_sum)(row, shift, row, t.columns, 0);
            max[i] = larger;
            for (int64_t j = 0; j < a->ev && factor != 1; j++)
                to[j] *= factor;
        }
        if (work->keep) {
            FN(kept)(a, &t, work->keep);
            FN(times)(&t, work->p, work->keep, work->p);
        }
        FN(multiply)(work, t.rows, a->ev, t.columns, 1, (FN(matrix)){work->p, COLUMNS, 1}, FN(values)(a, &t, false), 1, y, a->ev);
    }
    for (int64_t i = 0; i < t.rows; i++) {
        const T inverse = (T)(sum[i] == 0 ? 0 : 1 / sum[i]);
        stats[2 * i] = max[i] == -(T)HUGE_VAL ? 0 : max[i];
        stats[2 * i + 1] = inverse;
        for (int64_t j = 0; j < a->ev; j++)
            y[i * a->ev + j] *= inverse;
    }
}

static void FN(forward_range)(int64_t begin, int64_t end, void *context)
{
    const attention_task *task = context;
    const tn_attention *a = task->a;
    for (int64_t w = begin; w < end; w++) {
        const FN(work) work = FN(work_of)(task, w, false);
        for (int64_t u = task->units * w / task->workers; u < task->units * (w + 1) / task->workers; u++) {
            const int64_t head = u / task->row_blocks, block = folded(u % task->row_blocks, task->row_blocks);
            FN(forward_block)(a, head / a->heads, head % a->heads, block * ROWS, &work);
        }
    }
}

/* ---- backward --------------------------------------------------------------------------------------------------------------- */

/* ds, in dp: p (dy v' - the row's sum of dy y). */
static void FN(slopes)(const tn_attention *a, const attention_tile *t, const T *dy, const FN(work) *work)
{
    const T *y = FN(dense)(a->y, a->heads, a->l, a->ev, t->b, t->h, t->i0);
    FN(multiply)(work, t->rows, t->columns, a->ev, 1, (FN(matrix)){dy, a->ev, 1}, FN(values)(a, t, true), 0, work->dp, COLUMNS);
    if (work->keep)
        FN(times)(t, work->dp, work->keep, work->dp);
    for (int64_t i = 0; i < t->rows; i++) {
        T *row = work->dp + i * COLUMNS;
        const T *p = work->p + i * COLUMNS, mean = FN(dot)(dy + i * a->ev, y + i * a->ev, a->ev);
        TN_INDEPENDENT
        for (int64_t j = 0; j < t->columns; j++)
            row[j] = p[j] * (row[j] - mean);
    }
}

/* With p the probabilities: dv += p' dy, dq += scale ds k, dk += scale ds' q. */
static void FN(backward_tile)(const tn_attention *a, const attention_tile *t, int wanted, const FN(work) *work)
{
    const int64_t kv = FN(kv_head)(a, t->h);
    const T *dy = FN(dense)(a->dy, a->heads, a->l, a->ev, t->b, t->h, t->i0);
    const T *stats = FN(dense)(a->stats, a->heads, a->l, 2, t->b, t->h, t->i0);
    FN(scores)(a, t, work);
    for (int64_t i = 0; i < t->rows; i++) {
        T *row = work->p + i * COLUMNS;
        const T shift = stats[2 * i], inverse = stats[2 * i + 1];
        for (int64_t j = 0; j < t->columns; j++)
            row[j] = tn_exp_minus_(row[j] - shift) * inverse;
    }
    if (work->keep)
        FN(kept)(a, t, work->keep);
    if (wanted & DV) {
        const T *p = work->keep ? work->dp : work->p;
        if (work->keep)
            FN(times)(t, work->p, work->keep, work->dp);
        FN(multiply)(work, t->columns, a->ev, t->rows, 1, (FN(matrix)){p, 1, COLUMNS}, (FN(matrix)){dy, a->ev, 1}, 1,
                     FN(dense)(a->dv, a->kv_heads, a->s, a->ev, t->b, kv, t->j0), a->ev);
    }
    if (!(wanted & (DQ | DK)))
        return;
    FN(slopes)(a, t, dy, work);
    if (wanted & DQ)
        FN(multiply)(work, t->rows, a->e, t->columns, a->scale, (FN(matrix)){work->dp, COLUMNS, 1},
                     (FN(matrix)){FN(at)(&a->k, t->b, kv, t->j0), a->k.row, 1}, 1,
                     FN(dense)(a->dq, a->heads, a->l, a->e, t->b, t->h, t->i0), a->e);
    if (wanted & DK)
        FN(multiply)(work, t->columns, a->e, t->rows, a->scale, (FN(matrix)){work->dp, 1, COLUMNS},
                     (FN(matrix)){FN(at)(&a->q, t->b, t->h, t->i0), a->q.row, 1}, 1,
                     FN(dense)(a->dk, a->kv_heads, a->s, a->e, t->b, kv, t->j0), a->e);
}

/* The tiles of heads h0 ... h1 whose rows and columns begin in the ranges: heads first, then rows, then columns. */
static void FN(backward_span)(const attention_task *task, int64_t b, int64_t h0, int64_t h1, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
                              const FN(work) *work)
{
    const tn_attention *a = task->a;
    for (int64_t h = h0; h < h1; h++)
        for (int64_t i = i0; i < i1; i += ROWS) {
            const int64_t rows = tn_min_i64(ROWS, a->l - i), all = columns_of(a, i + rows);
            for (int64_t j = j0; j < tn_min_i64(j1, all); j += COLUMNS) {
                const attention_tile t = {b, h, i, j, rows, tn_min_i64(COLUMNS, all - j)};
                FN(backward_tile)(a, &t, task->wanted, work);
            }
        }
}

static void FN(backward_unit)(const attention_task *task, int64_t unit, const FN(work) *work)
{
    const tn_attention *a = task->a;
    if (!task->whole && task->wanted == DQ) {
        const int64_t head = unit / task->row_blocks, h = head % a->heads, i = folded(unit % task->row_blocks, task->row_blocks) * ROWS;
        FN(backward_span)(task, head / a->heads, h, h + 1, i, tn_min_i64(i + ROWS, a->l), 0, a->s, work);
        return;
    }
    const int64_t group = a->heads / a->kv_heads, blocks = task->whole ? 1 : task->column_blocks;
    const int64_t head = unit / blocks, h = head % a->kv_heads * group, j = folded(unit % blocks, blocks) * COLUMNS;
    FN(backward_span)(task, head / a->kv_heads, h, h + group, 0, a->l, j, task->whole ? a->s : tn_min_i64(j + COLUMNS, a->s), work);
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
#undef FN
#undef DTYPE
