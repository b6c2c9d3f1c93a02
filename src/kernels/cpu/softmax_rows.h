/* Softmax and cross-entropy for one work type: included by softmax.c with T (float or double) and FN(name) defined. Elements of any
 * dtype come as blocks of T by get() and go by put(); where dtype is T itself both give the memory itself and copy nothing. */

static const T *FN(get)(const tn_rows *rows, const void *from, int64_t i, int64_t n, T *buffer)
{
    const char *at = (const char *)from + i * rows->element;
    if (rows->direct) return (const T *)(const void *)at;
    rows->load(at, rows->element, n, buffer);
    return buffer;
}

static T *FN(place)(const tn_rows *rows, void *to, int64_t i, T *buffer)
{
    return rows->direct ? (T *)to + i : buffer;
}

static void FN(put)(const tn_rows *rows, void *to, int64_t i, int64_t n, const T *values)
{
    if (!rows->direct) tn_store_f32_as(rows->dtype, (const float *)(const void *)values, n, (char *)to + i * rows->element);
}

/* NaN are passed over: each makes the sum of the row's exponentials NaN by itself. */
static T FN(row_max)(const tn_rows *rows, const void *x, int64_t n)
{
    T buffer[BLOCK], best = -(T)HUGE_VAL;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = tn_min_i64(BLOCK, n - i);
        T block = FN(max_number)(FN(get)(rows, x, i, m, buffer), m);
        best = block > best ? block : best;
    }
    return best;
}

/* The sum of exp(x - max); each term goes to e where that is not NULL. The next row lies n elements on. */
static double FN(row_exp)(const tn_rows *rows, const void *x, int64_t n, T max, T *e)
{
    T buffer[BLOCK], terms[BLOCK];
    double sum = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = tn_min_i64(BLOCK, n - i);
        const T *block = FN(get)(rows, x, i, m, buffer);
        sum += (double)FN(exp_sum)(block, max, e ? e + i : terms, m, rows->direct ? n : 0);
    }
    return sum;
}

static void FN(softmax_row)(const tn_rows *rows, const void *x, void *y, int64_t n, bool log_of)
{
    T buffer[BLOCK], result[BLOCK], max = FN(row_max)(rows, x, n);
    bool kept = rows->direct && !log_of;
    double sum = FN(row_exp)(rows, x, n, max, kept ? y : NULL);
    T scale = (T)(1 / sum), shift = log_of ? (T)log(sum) : 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = tn_min_i64(BLOCK, n - i);
        T *to = FN(place)(rows, y, i, result);
        const T *from = FN(get)(rows, x, i, m, buffer);
        if (kept) {
            TN_INDEPENDENT
            for (int64_t j = 0; j < m; j++)
                to[j] *= scale;
        } else if (log_of) {
            TN_INDEPENDENT
            for (int64_t j = 0; j < m; j++)
                to[j] = from[j] - max - shift;
        } else {
            TN_INDEPENDENT
            for (int64_t j = 0; j < m; j++)
                to[j] = tn_exp_minus_(from[j] - max) * scale;
        }
        FN(put)(rows, y, i, m, to);
    }
}

/* Short rows of n elements, GROUP at a time, in passes: the end of a row, where its lanes become one, runs beside the next rows. */
__attribute__((unused)) static void FN(softmax_short_rows)(const T *x, T *y, int64_t count, int64_t n)
{
    T max[GROUP], scale[GROUP];
    for (int64_t first = 0; first < count; first += GROUP, x += GROUP * n, y += GROUP * n) {
        const int64_t rows = tn_min_i64(GROUP, count - first);
        for (int64_t row = 0; row < rows; row++)
            max[row] = FN(max_number)(x + row * n, n);
        for (int64_t row = 0; row < rows; row++) {
            TN_INDEPENDENT
            for (int64_t i = row * n; i < (row + 1) * n; i++)
                y[i] = tn_exp_minus_(x[i] - max[row]);
            scale[row] = 1 / FN(sum)(y + row * n, n);
        }
        for (int64_t row = 0; row < rows; row++) {
            TN_INDEPENDENT
            for (int64_t i = row * n; i < (row + 1) * n; i++)
                y[i] *= scale[row];
        }
    }
}

/* softmax: dx = y (dy - sum of dy y); its log: dx = dy - exp(y) (sum of dy). */
static void FN(softmax_row_backward)(const tn_rows *rows, const void *y, const void *dy, void *dx, int64_t n, bool log_of)
{
    T y_buffer[BLOCK], dy_buffer[BLOCK], result[BLOCK];
    const T *g = NULL, *p = NULL;
    double sum = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = tn_min_i64(BLOCK, n - i);
        g = FN(get)(rows, dy, i, m, dy_buffer);
        if (!log_of || n <= BLOCK)
            p = FN(get)(rows, y, i, m, y_buffer);
        sum += (double)(log_of ? FN(sum)(g, m) : FN(dot)(g, p, m));
    }
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = tn_min_i64(BLOCK, n - i);
        if (n > BLOCK) /* else both are there yet */
            g = FN(get)(rows, dy, i, m, dy_buffer), p = FN(get)(rows, y, i, m, y_buffer);
        T *to = FN(place)(rows, dx, i, result), s = (T)sum;
        if (log_of) {
            TN_INDEPENDENT
            for (int64_t j = 0; j < m; j++)
                to[j] = g[j] - tn_exp_minus_(p[j]) * s;
        } else {
            TN_INDEPENDENT
            for (int64_t j = 0; j < m; j++)
                to[j] = (g[j] - s) * p[j];
        }
        FN(put)(rows, dx, i, m, to);
    }
}

/* w <= COLUMNS columns side by side, `stride` elements from one of the n positions to the next; at is the first element's index. */
static void FN(softmax_columns)(const tn_rows *rows, const tn_softmax_rows *s, int64_t at, int64_t w)
{
    T buffer[COLUMNS], result[COLUMNS], max[COLUMNS];
    double sum[COLUMNS] = {0};
    for (int64_t c = 0; c < w; c++)
        max[c] = -(T)HUGE_VAL;
    for (int64_t i = 0; i < s->n; i++) {
        const T *x = FN(get)(rows, s->x, at + i * s->inner, w, buffer);
        for (int64_t c = 0; c < w; c++)
            max[c] = x[c] > max[c] || TN_IS_NAN(x[c]) ? x[c] : max[c];
    }
    for (int64_t i = 0; i < s->n; i++) {
        const T *x = FN(get)(rows, s->x, at + i * s->inner, w, buffer);
        for (int64_t c = 0; c < w; c++)
            sum[c] += (double)tn_exp_minus_(x[c] - max[c]);
    }
    for (int64_t c = 0; c < w; c++)
        sum[c] = s->log ? log(sum[c]) : 1 / sum[c];
    for (int64_t i = 0; i < s->n; i++) {
        const T *x = FN(get)(rows, s->x, at + i * s->inner, w, buffer);
        T *to = FN(place)(rows, s->y, at + i * s->inner, result);
        for (int64_t c = 0; c < w && s->log; c++)
            to[c] = x[c] - max[c] - (T)sum[c];
        for (int64_t c = 0; c < w && !s->log; c++)
            to[c] = tn_exp_minus_(x[c] - max[c]) * (T)sum[c];
        FN(put)(rows, s->y, at + i * s->inner, w, to);
    }
}

static void FN(softmax_columns_backward)(const tn_rows *rows, const tn_softmax_rows *s, int64_t at, int64_t w)
{
    T y_buffer[COLUMNS], dy_buffer[COLUMNS], result[COLUMNS];
    double sum[COLUMNS] = {0};
    for (int64_t i = 0; i < s->n; i++) {
        const T *g = FN(get)(rows, s->dy, at + i * s->inner, w, dy_buffer);
        const T *p = FN(get)(rows, s->x, at + i * s->inner, w, y_buffer);
        for (int64_t c = 0; c < w; c++)
            sum[c] += (double)g[c] * (s->log ? 1 : (double)p[c]);
    }
    for (int64_t i = 0; i < s->n; i++) {
        const T *g = FN(get)(rows, s->dy, at + i * s->inner, w, dy_buffer);
        const T *p = FN(get)(rows, s->x, at + i * s->inner, w, y_buffer);
        T *to = FN(place)(rows, s->y, at + i * s->inner, result);
        for (int64_t c = 0; c < w && s->log; c++)
            to[c] = g[c] - tn_exp_minus_(p[c]) * (T)sum[c];
        for (int64_t c = 0; c < w && !s->log; c++)
            to[c] = (g[c] - (T)sum[c]) * p[c];
        FN(put)(rows, s->y, at + i * s->inner, w, to);
    }
}

/* One row's loss, of its greatest element and the sum of its exponentials; that and the sum's logarithm go to its stats. */
static double FN(loss_of)(const tn_rows *rows, const tn_cross_entropy_rows *c, int64_t row, T max, double sum)
{
    const char *x = (const char *)c->x + row * c->classes * rows->element;
    const double log_sum = log(sum);
    T buffer[BLOCK];
    c->stats[2 * row] = (double)max;
    c->stats[2 * row + 1] = log_sum;
    double hit = (double)*FN(get)(rows, x, c->target[row], 1, buffer), smooth = 0;
    double loss = class_weight(c, rows, c->target[row]) * ((double)max - hit + log_sum);
    if (c->smoothing == 0) return loss;
    for (int64_t i = 0; i < c->classes; i += BLOCK) {
        int64_t m = tn_min_i64(BLOCK, c->classes - i);
        const T *block = FN(get)(rows, x, i, m, buffer);
        for (int64_t j = 0; j < m; j++)
            smooth += class_weight(c, rows, i + j) * ((double)(max - block[j]) + log_sum);
    }
    return (1 - c->smoothing) * loss + c->smoothing / (double)c->classes * smooth;
}
static double FN(cross_entropy_row)(const tn_rows *rows, const tn_cross_entropy_rows *c, int64_t row)
{
    const char *x = (const char *)c->x + row * c->classes * rows->element;
    const T max = FN(row_max)(rows, x, c->classes);
    return FN(loss_of)(rows, c, row, max, FN(row_exp)(rows, x, c->classes, max, NULL));
}

/* dx = g (softmax(x) ((1 - s) w[t] + s/c sum of w) - (1 - s) w[t] [j = t] - s/c w[j]). */
static void FN(cross_entropy_row_backward)(const tn_rows *rows, const tn_cross_entropy_rows *c, int64_t row, double g, double all)
{
    const int64_t n = c->classes, t = c->target[row];
    const char *x = (const char *)c->x + row * n * rows->element;
    char *dx = (char *)c->dx + row * n * rows->element;
    T buffer[BLOCK], result[BLOCK], max = (T)c->stats[2 * row], shift = (T)c->stats[2 * row + 1];
    double own = (1 - c->smoothing) * class_weight(c, rows, t), share = c->smoothing / (double)n;
    T scale = (T)(g * (own + share * all));
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = tn_min_i64(BLOCK, n - i);
        const T *block = FN(get)(rows, x, i, m, buffer);
        T *to = FN(place)(rows, dx, i, result);
        for (int64_t j = 0; j < m; j++)
            to[j] = tn_exp_minus_(block[j] - max - shift) * scale;
        for (int64_t j = 0; j < m && share != 0; j++)
            to[j] -= (T)(g * share * class_weight(c, rows, i + j));
        if (t >= i && t < i + m) to[t - i] -= (T)(g * own);
        FN(put)(rows, dx, i, m, to);
    }
}

#undef T
#undef FN
