/* Normalisation of rows and columns for one work type: included by norm.c with T (float or double), VEC (its vector) and FN(name) defined, after
 * norm_segments.h. Sums are kept in T for BLOCK terms at most, and in f64 from there on. */

#define WIDTH ((int64_t)(sizeof(VEC) / sizeof(T)))

/* ---- rows: s is 1, a pool lies together -------------------------------------------------------------------------------- */

#if !EIGHT_LANES
/* dx of one row; dw and db, unless NULL, gain what the row gives to the parameters' gradients. */
static void FN(row_backward)(const tn_norm *f, int64_t r, T *restrict dw, T *restrict db)
{
    const int64_t m = f->c / f->groups, at = r % f->groups * m;
    const T *x = (const T *)f->x + r * m, *dy = (const T *)f->dy + r * m, *w = f->weight ? (const T *)f->weight + at : NULL;
    const T mean = (T)f->mean[r], rstd = (T)f->rstd[r];
    for (int64_t j = 0; j < m && (dw || db); j++) {
        if (dw)
            dw[at + j] += dy[j] * ((x[j] - mean) * rstd);
        if (db)
            db[at + j] += dy[j];
    }
    if (!f->dx)
        return;
    T *restrict dx = (T *)f->dx + r * m;
    double of_g, of_gx;
    FN(row_sums)(dy, x, w, mean, m, &of_g, &of_gx);
    const T shift = (T)(f->centre ? of_g / (double)m : 0), slope = (T)(of_gx * f->rstd[r] * f->rstd[r] / (double)m);
    for (int64_t j = 0; j < m; j++) {
        T g = w ? dy[j] * w[j] : dy[j];
        dx[j] = (g - shift - (x[j] - mean) * slope) * rstd;
    }
}

/* Chunks of n: each has sums of its own in scratch, [chunks, 2, c]. */
static void FN(rows_backward)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    for (int64_t k = begin; k < end; k++) {
        T *own = (T *)task->scratch + k * 2 * f->c;
        memset(own, 0, (size_t)(2 * f->c) * sizeof(T));
        for (int64_t i = k * task->chunk; i < tn_min_i64((k + 1) * task->chunk, f->n); i++)
            for (int64_t g = 0; g < f->groups; g++)
                FN(row_backward)(f, i * f->groups + g, f->dweight ? own : NULL, f->dbias ? own + f->c : NULL);
    }
}
#endif

/* The chunks' sums added up, for one of the two parameters. */
static void FN(rows_gather)(const norm_task *task, int64_t chunks, int which, void *out)
{
    const int64_t c = task->f->c;
    const T *part = (const T *)task->scratch + which * c;
    for (int64_t j = 0; j < c; j += COLUMNS) {
        const int64_t w = tn_min_i64(COLUMNS, c - j);
        double sum[COLUMNS] = {0};
        for (int64_t k = 0; k < chunks; k++)
            for (int64_t l = 0; l < w; l++)
                sum[l] += (double)part[k * 2 * c + j + l];
        for (int64_t l = 0; l < w; l++)
            ((T *)out)[j + l] = (T)sum[l];
    }
}

/* ---- columns: s is 1, a pool is a column ------------------------------------------------------------------------------- */

static void FN(columns_forward)(int64_t begin, int64_t end, void *context)
{
    const tn_norm *f = ((const norm_task *)context)->f;
    for (int64_t k = begin; k < end; k++) {
        const int64_t at = k * COLUMNS, w = tn_min_i64(COLUMNS, f->c - at);
        const T *x = (const T *)f->x + at;
        double sum[COLUMNS] = {0}, squares[COLUMNS] = {0};
        T mean[COLUMNS], scale[COLUMNS], shift[COLUMNS];
        const T *added = f->residual ? (const T *)f->residual + at : NULL;
        const bool relu = f->activation == TN_UNARY_RELU;
        for (int64_t i = 0; i < f->n && !f->given; i++)
            for (int64_t l = 0; l < w; l++)
                sum[l] += (double)x[i * f->c + l];
        for (int64_t l = 0; l < w; l++)
            mean[l] = (T)(f->given ? f->mean[at + l] : sum[l] / (double)f->n);
        for (int64_t i = 0; i < f->n && !f->given; i++)
            for (int64_t l = 0; l < w; l++) {
                T v = x[i * f->c + l] - mean[l];
                squares[l] += (double)v * (double)v;
            }
        for (int64_t l = 0; l < w; l++) {
            if (!f->given)
                set_pool(f, at + l, sum[l] / (double)f->n, squares[l] / (double)f->n);
            scale[l] = (T)f->rstd[at + l] * (f->weight ? ((const T *)f->weight)[at + l] : 1);
            shift[l] = f->bias ? ((const T *)f->bias)[at + l] : 0;
        }
        for (int64_t i = 0; i < f->n; i++)
            for (int64_t l = 0; l < w; l++) {
                T v = (x[i * f->c + l] - mean[l]) * scale[l] + shift[l];
                v = added ? v + added[i * f->c + l] : v;
                ((T *)f->y)[i * f->c + at + l] = relu && v < 0 ? 0 : v;
            }
    }
}

static void FN(columns_backward)(int64_t begin, int64_t end, void *context)
{
    const tn_norm *f = ((const norm_task *)context)->f;
    for (int64_t k = begin; k < end; k++) {
        const int64_t at = k * COLUMNS, w = tn_min_i64(COLUMNS, f->c - at);
        const T *x = (const T *)f->x + at, *dy = (const T *)f->dy + at;
        double of_g[COLUMNS] = {0}, of_gx[COLUMNS] = {0};
        T mean[COLUMNS], scale[COLUMNS], shift[COLUMNS], slope[COLUMNS];
        for (int64_t l = 0; l < w; l++)
            mean[l] = (T)f->mean[at + l];
        for (int64_t i = 0; i < f->n; i++)
            for (int64_t l = 0; l < w; l++) {
                double g = (double)dy[i * f->c + l];
                of_g[l] += g;
                of_gx[l] += g * (double)(x[i * f->c + l] - mean[l]);
            }
        for (int64_t l = 0; l < w; l++) {
            const double rstd = f->rstd[at + l], n = (double)f->n;
            if (f->dweight)
                ((T *)f->dweight)[at + l] = (T)(of_gx[l] * rstd);
            if (f->dbias)
                ((T *)f->dbias)[at + l] = (T)of_g[l];
            scale[l] = (T)rstd * (f->weight ? ((const T *)f->weight)[at + l] : 1);
            shift[l] = f->given ? 0 : (T)(of_g[l] / n);
            slope[l] = f->given ? 0 : (T)(of_gx[l] * rstd * rstd / n);
        }
        for (int64_t i = 0; i < f->n && f->dx; i++)
            for (int64_t l = 0; l < w; l++)
                ((T *)f->dx)[i * f->c + at + l] =
                    (dy[i * f->c + l] - shift[l] - (x[i * f->c + l] - mean[l]) * slope[l]) * scale[l];
    }
}

#undef WIDTH
#undef AT
