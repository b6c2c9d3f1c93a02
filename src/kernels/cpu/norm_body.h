/* Normalisation for one work type: included by norm.c with T (float or double), VEC (its vector) and FN(name) defined. Sums are kept in T
 * for BLOCK terms at most, and in f64 from there on. */

#define WIDTH ((int64_t)(sizeof(VEC) / sizeof(T)))
#define AT(p) (*(const VEC *)(p))

/* A function that gives the sum of TERM(p[i], q[i]) over 0 ... n. */
#define SUM_FUNCTION(name, parameters, p, q, TERM)                                                                            \
    static double FN(name) parameters                                                                                         \
    {                                                                                                                         \
        double total = 0;                                                                                                     \
        for (int64_t begin = 0; begin < n; begin += BLOCK) {                                                                  \
            int64_t end = tn_min_i64(begin + BLOCK, n), i = begin;                                                            \
            VEC sum[4] = {{0}};                                                                                               \
            T rest = 0;                                                                                                       \
            for (; i + 4 * WIDTH <= end; i += 4 * WIDTH) {                                                                    \
                TN_UNROLL                                                                                                     \
                for (int k = 0; k < 4; k++)                                                                                   \
                    sum[k] += TERM(AT(p + i + k * WIDTH), AT(q + i + k * WIDTH));                                             \
            }                                                                                                                 \
            for (; i + WIDTH <= end; i += WIDTH)                                                                              \
                sum[0] += TERM(AT(p + i), AT(q + i));                                                                         \
            for (; i < end; i++)                                                                                              \
                rest += TERM(p[i], q[i]);                                                                                     \
            sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);                                                                   \
            total += FN(fold)(&sum[0], rest);                                                                                 \
        }                                                                                                                     \
        return total;                                                                                                         \
    }
#define TERM_SUM(a, b) (a)
#define TERM_SQUARE(a, b) (((a) - mean) * ((b) - mean))
#define TERM_PRODUCT(a, b) ((a) * ((b) - mean))
SUM_FUNCTION(total, (const T *x, int64_t n), x, x, TERM_SUM)
SUM_FUNCTION(sum_squares, (const T *x, T mean, int64_t n), x, x, TERM_SQUARE)
SUM_FUNCTION(sum_product, (const T *dy, const T *x, T mean, int64_t n), dy, x, TERM_PRODUCT)
#undef TERM_SUM
#undef TERM_SQUARE
#undef TERM_PRODUCT
#undef SUM_FUNCTION

/* ---- rows: s is 1, a pool lies together -------------------------------------------------------------------------------- */

static void FN(normalise)(const T *x, const T *w, const T *b, T mean, T rstd, T *restrict y, int64_t m)
{
    int64_t j = 0;
    for (; j + WIDTH <= m; j += WIDTH) {
        VEC v = (AT(x + j) - mean) * rstd;
        if (w)
            v *= AT(w + j);
        if (b)
            v += AT(b + j);
        *(VEC *)(y + j) = v;
    }
    for (; j < m; j++) {
        T v = (x[j] - mean) * rstd;
        v = w ? v * w[j] : v;
        y[j] = b ? v + b[j] : v;
    }
}

/* A row's first sum is taken before the row above is written, so that its end, where lanes become one, runs beside that. */
static void FN(rows_forward)(int64_t begin, int64_t end, void *context)
{
    const tn_norm *f = ((const norm_task *)context)->f;
    const int64_t m = f->c / f->groups;
    const T *x = (const T *)f->x + begin * m;
    double centre = f->centre ? FN(total)(x, m) / (double)m : 0, squares = FN(sum_squares)(x, (T)centre, m);
    for (int64_t row = begin; row < end; row++, x += m) {
        const int64_t at = row % f->groups * m;
        const bool more = row + 1 < end;
        const T own = (T)centre, *next = x + m;
        set_pool(f, row, centre, squares / (double)m);
        if (more && f->centre)
            centre = FN(total)(next, m) / (double)m;
        else if (more)
            squares = FN(sum_squares)(next, 0, m);
        FN(normalise)(x, f->weight ? (const T *)f->weight + at : NULL, f->bias ? (const T *)f->bias + at : NULL, own, (T)f->rstd[row],
                      (T *)f->y + row * m, m);
        if (more && f->centre)
            squares = FN(sum_squares)(next, (T)centre, m);
    }
}

/* The sums over a row of g = dy w and of g (x - mean), in one pass. */
static void FN(row_sums)(const T *dy, const T *x, const T *w, T mean, int64_t m, double *of_g, double *of_gx)
{
    *of_g = *of_gx = 0;
    for (int64_t begin = 0; begin < m; begin += BLOCK) {
        int64_t end = tn_min_i64(begin + BLOCK, m), j = begin;
        VEC a[2] = {{0}}, b[2] = {{0}};
        T rest_a = 0, rest_b = 0;
        for (; j + 2 * WIDTH <= end; j += 2 * WIDTH) {
            TN_UNROLL
            for (int k = 0; k < 2; k++) {
                VEC g = AT(dy + j + k * WIDTH);
                if (w)
                    g *= AT(w + j + k * WIDTH);
                a[k] += g;
                b[k] += g * (AT(x + j + k * WIDTH) - mean);
            }
        }
        for (; j < end; j++) {
            T g = w ? dy[j] * w[j] : dy[j];
            rest_a += g;
            rest_b += g * (x[j] - mean);
        }
        a[0] += a[1];
        b[0] += b[1];
        *of_g += FN(fold)(&a[0], rest_a);
        *of_gx += FN(fold)(&b[0], rest_b);
    }
}

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

/* ---- segments: the s elements of one of n and one channel lie together -------------------------------------------------- */

/* Mean and sum of squares about it. */
static void FN(segments_moments)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    const int64_t together = f->s <= BLOCK ? TOGETHER : 1;
    for (int64_t first = begin; first < end; first += together) {
        const int64_t last = tn_min_i64(first + together, end);
        for (int64_t k = first; k < last; k++)
            task->sums[2 * k] = FN(total)((const T *)f->x + k * f->s, f->s) / (double)f->s;
        for (int64_t k = first; k < last; k++)
            task->sums[2 * k + 1] = FN(sum_squares)((const T *)f->x + k * f->s, (T)task->sums[2 * k], f->s);
    }
}

/* The same of chunks of batch norm's segments, SEGMENTS at most, in one pass: sums about a pivot, which is the mean of the chunk's first segment.
 * It lies within sqrt(SEGMENTS) standard deviations of the chunk's own mean, so that no more than a factor of 1 + SEGMENTS cancels. */
static void FN(chunks_moments)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    const int64_t blocks = tn_ceil_div(f->c, CHANNELS);
    for (int64_t k = begin; k < end; k++) {
        const int64_t chunk = k / blocks, c = k % blocks * CHANNELS, channels = tn_min_i64(CHANNELS, f->c - c);
        const int64_t first = chunk * task->chunk, last = tn_min_i64(first + task->chunk, f->n);
        VEC sum[CHANNELS] = {{0}}, squares[CHANNELS] = {{0}};
        T pivot[CHANNELS], rest[CHANNELS] = {0}, rest_squares[CHANNELS] = {0};
        for (int64_t i = first; i < last; i++)
            for (int64_t l = 0; l < channels; l++) {
                const T *x = (const T *)f->x + (i * f->c + c + l) * f->s;
                if (i == first)
                    pivot[l] = (T)(FN(total)(x, f->s) / (double)f->s);
                VEC a = sum[l], b = squares[l];
                int64_t j = 0;
                for (; j + WIDTH <= f->s; j += WIDTH) {
                    const VEC v = AT(x + j) - pivot[l];
                    a += v;
                    b += v * v;
                }
                sum[l] = a, squares[l] = b;
                for (; j < f->s; j++) {
                    const T v = x[j] - pivot[l];
                    rest[l] += v;
                    rest_squares[l] += v * v;
                }
            }
        for (int64_t l = 0; l < channels; l++) {
            const double count = (double)((last - first) * f->s), away = FN(fold)(&sum[l], rest[l]) / count;
            const double about = FN(fold)(&squares[l], rest_squares[l]) - away * away * count;
            double *own = &task->sums[2 * (chunk * f->c + c + l)];
            own[0] = (double)pivot[l] + away;
            own[1] = about < 0 ? 0 : about;
        }
    }
}

/* Each lane's x < 0 ? 0 : x. */
static inline VEC FN(rectified)(VEC x)
{
    const __typeof__(x < 0) negative = x < 0;
    return (VEC)((__typeof__(negative))x & ~negative);
}

/* Of segment k, which is of channel c; y may be x. */
static inline void FN(segment_forward)(const tn_norm *f, int64_t k, int64_t c, const T *x, T *y)
{
    const int64_t pool = f->batch ? c : pool_of(f, k), s = f->s;
    const T mean = (T)f->mean[pool], shift = f->bias ? ((const T *)f->bias)[c] : 0;
    const T scale = (T)f->rstd[pool] * (f->weight ? ((const T *)f->weight)[c] : 1);
    const T *added = f->residual ? (const T *)f->residual + k * s : NULL;
    const bool relu = f->activation == TN_UNARY_RELU;
    int64_t i = 0;
    for (; i + WIDTH <= s; i += WIDTH) {
        VEC v = (AT(x + i) - mean) * scale + shift;
        if (added)
            v += AT(added + i);
        if (relu)
            v = FN(rectified)(v);
        *(VEC *)(y + i) = v;
    }
    for (; i < s; i++) {
        T v = (x[i] - mean) * scale + shift;
        v = added ? v + added[i] : v;
        y[i] = relu && v < 0 ? 0 : v;
    }
}

static void FN(segments_forward)(int64_t begin, int64_t end, void *context)
{
    const tn_norm f = *((const norm_task *)context)->f; /* which no store to y can change */
    for (int64_t k = begin; k < end; k++)
        FN(segment_forward)(&f, k, k % f.c, (const T *)f.x + k * f.s, (T *)f.y + k * f.s);
}

/* Sums of dy and of dy (x - mean) rstd: what each segment gives to bias's and weight's gradients. */
static void FN(segments_sums)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    for (int64_t k = begin; k < end; k++) {
        const T *x = (const T *)f->x + k * f->s, *dy = (const T *)f->dy + k * f->s;
        const int64_t pool = pool_of(f, k);
        task->sums[2 * k] = FN(total)(dy, f->s);
        task->sums[2 * k + 1] = FN(sum_product)(dy, x, (T)f->mean[pool], f->s) * f->rstd[pool];
    }
}

/* The same of chunks of batch norm's segments. */
static void FN(chunks_sums)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    const int64_t blocks = tn_ceil_div(f->c, CHANNELS);
    for (int64_t k = begin; k < end; k++) {
        const int64_t chunk = k / blocks, c = k % blocks * CHANNELS, channels = tn_min_i64(CHANNELS, f->c - c);
        const int64_t first = chunk * task->chunk, last = tn_min_i64(first + task->chunk, f->n);
        VEC of_g[CHANNELS] = {{0}}, of_gx[CHANNELS] = {{0}};
        T rest_g[CHANNELS] = {0}, rest_gx[CHANNELS] = {0};
        for (int64_t i = first; i < last; i++)
            for (int64_t l = 0; l < channels; l++) {
                const int64_t at = (i * f->c + c + l) * f->s;
                const T *x = (const T *)f->x + at, *dy = (const T *)f->dy + at, mean = (T)f->mean[c + l];
                VEC a = of_g[l], b = of_gx[l];
                int64_t j = 0;
                for (; j + WIDTH <= f->s; j += WIDTH) {
                    a += AT(dy + j);
                    b += AT(dy + j) * (AT(x + j) - mean);
                }
                of_g[l] = a, of_gx[l] = b;
                for (; j < f->s; j++) {
                    rest_g[l] += dy[j];
                    rest_gx[l] += dy[j] * (x[j] - mean);
                }
            }
        for (int64_t l = 0; l < channels; l++) {
            double *own = &task->sums[2 * (chunk * f->c + c + l)];
            own[0] = FN(fold)(&of_g[l], rest_g[l]);
            own[1] = FN(fold)(&of_gx[l], rest_gx[l]) * f->rstd[c + l];
        }
    }
}

/* Of segment k, which is of channel c; dx may be dy. */
static inline void FN(segment_backward)(const norm_task *task, int64_t k, int64_t c, const T *x, const T *dy, T *dx)
{
    const tn_norm *f = task->f;
    const int64_t pool = f->batch ? c : pool_of(f, k), s = f->s;
    const double rstd = f->rstd[pool], weight = weight_at(f, sizeof(T), c);
    const T mean = (T)f->mean[pool], scale = (T)(rstd * weight), shift = (T)(rstd * task->pools[2 * pool]);
    const T slope = (T)(rstd * rstd * task->pools[2 * pool + 1]);
    int64_t i = 0;
    for (; i + WIDTH <= s; i += WIDTH)
        *(VEC *)(dx + i) = AT(dy + i) * scale - shift - (AT(x + i) - mean) * slope;
    for (; i < s; i++)
        dx[i] = dy[i] * scale - shift - (x[i] - mean) * slope;
}

static void FN(segments_backward)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    int64_t c = begin % f->c;
    for (int64_t k = begin; k < end; k++, c = c + 1 < f->c ? c + 1 : 0)
        FN(segment_backward)(task, k, c, (const T *)f->x + k * f->s, (const T *)f->dy + k * f->s, (T *)f->dx + k * f->s);
}

#undef WIDTH
#undef AT
#undef T
#undef VEC
#undef FN
