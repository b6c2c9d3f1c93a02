/* Sums of contiguous elements, and normalisation of segments and rows, for one element type: included by norm.c with E (the element), T (the work
 * type), VEC (its vector), LOAD(p) and STORE(p, v) of its elements, ONE(e) and CUT(x) of one, FN(name) and ROWS (whether there are rows of E) defined.
 * Sums are kept in T for BLOCK terms at most, and in f64 from there on. */

#define WIDTH ((int64_t)(sizeof(VEC) / sizeof(T)))

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
                    sum[k] += TERM(LOAD(p + i + k * WIDTH), LOAD(q + i + k * WIDTH));                                         \
            }                                                                                                                 \
            for (; i + WIDTH <= end; i += WIDTH)                                                                              \
                sum[0] += TERM(LOAD(p + i), LOAD(q + i));                                                                     \
            for (; i < end; i++)                                                                                              \
                rest += TERM(ONE(p[i]), ONE(q[i]));                                                                           \
            sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);                                                                   \
            total += FN(fold)(&sum[0], rest);                                                                                 \
        }                                                                                                                     \
        return total;                                                                                                         \
    }
#define TERM_SUM(a, b) (a)
#define TERM_SQUARE(a, b) (((a) - mean) * ((b) - mean))
SUM_FUNCTION(total, (const E *x, int64_t n), x, x, TERM_SUM)
SUM_FUNCTION(sum_squares, (const E *x, T mean, int64_t n), x, x, TERM_SQUARE)
#undef TERM_SUM
#undef TERM_SQUARE
#undef SUM_FUNCTION

/* The sums of dy and of dy (x - mean), in one pass. */
static void FN(sum_products)(const E *dy, const E *x, T mean, int64_t n, double *of_g, double *of_gx)
{
    *of_g = *of_gx = 0;
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        int64_t end = tn_min_i64(begin + BLOCK, n), i = begin;
        VEC a[2] = {{0}}, b[2] = {{0}};
        T rest_a = 0, rest_b = 0;
        for (; i + 2 * WIDTH <= end; i += 2 * WIDTH) {
            TN_UNROLL
            for (int k = 0; k < 2; k++) {
                const VEC g = LOAD(dy + i + k * WIDTH);
                a[k] += g;
                b[k] += g * (LOAD(x + i + k * WIDTH) - mean);
            }
        }
        for (; i < end; i++) {
            rest_a += ONE(dy[i]);
            rest_b += ONE(dy[i]) * (ONE(x[i]) - mean);
        }
        a[0] += a[1];
        b[0] += b[1];
        *of_g += FN(fold)(&a[0], rest_a);
        *of_gx += FN(fold)(&b[0], rest_b);
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
            task->sums[2 * k] = FN(total)((const E *)f->x + k * f->s, f->s) / (double)f->s;
        for (int64_t k = first; k < last; k++)
            task->sums[2 * k + 1] = FN(sum_squares)((const E *)f->x + k * f->s, (T)task->sums[2 * k], f->s);
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
                const E *x = (const E *)f->x + (i * f->c + c + l) * f->s;
                if (i == first)
                    pivot[l] = (T)(FN(total)(x, f->s) / (double)f->s);
                VEC a = sum[l], b = squares[l];
                int64_t j = 0;
                for (; j + WIDTH <= f->s; j += WIDTH) {
                    const VEC v = LOAD(x + j) - pivot[l];
                    a += v;
                    b += v * v;
                }
                sum[l] = a, squares[l] = b;
                for (; j < f->s; j++) {
                    const T v = ONE(x[j]) - pivot[l];
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

/* As a result of E would be read. */
static inline VEC FN(rounded)(VEC v)
{
    E element[WIDTH];
    STORE(element, v);
    return LOAD(element);
}

/* y = (x - mean) scale + base; dx = dy scale - base - (x - mean) slope. */
typedef struct FN(terms) {
    T mean, scale, base, slope;
} FN(terms);

/* Of segment k, which is of channel c. */
static inline FN(terms) FN(forward_terms)(const norm_task *task, int64_t k, int64_t c)
{
    const tn_norm *f = task->f;
    const int64_t pool = f->batch ? c : pool_of(f, k);
    const T bias = f->bias ? ((const T *)f->bias)[c] : 0, scale = (T)f->rstd[pool] * (f->weight ? ((const T *)f->weight)[c] : 1);
    return (FN(terms)){(T)f->mean[pool], scale, bias, 0};
}
static inline FN(terms) FN(backward_terms)(const norm_task *task, int64_t k, int64_t c)
{
    const tn_norm *f = task->f;
    const int64_t pool = f->batch ? c : pool_of(f, k);
    const double rstd = f->rstd[pool], of_g = rstd * task->pools[2 * pool];
    const T scale = (T)(rstd * weight_at(f, sizeof(T), c)), slope = (T)(rstd * rstd * task->pools[2 * pool + 1]);
    return (FN(terms)){(T)f->mean[pool], scale, (T)of_g, slope};
}

/* The bits are those of one operator after another, whose results are rounded between. */
static inline void FN(segment_forward)(const tn_norm *f, const FN(terms) *of, const E *x, const E *added, E *y)
{
    const int64_t s = f->s;
    const T mean = of->mean, scale = of->scale, base = of->base;
    const bool relu = f->activation == TN_UNARY_RELU;
    int64_t i = 0;
    for (; i + WIDTH <= s; i += WIDTH) {
        VEC v = (LOAD(x + i) - mean) * scale + base;
        if (added || relu)
            v = FN(rounded)(v);
        if (added)
            v += LOAD(added + i);
        if (relu)
            v = FN(rectified)(v);
        STORE(y + i, v);
    }
    for (; i < s; i++) {
        T v = (ONE(x[i]) - mean) * scale + base;
        v = added || relu ? ONE(CUT(v)) : v;
        v = added ? v + ONE(added[i]) : v;
        y[i] = CUT(relu && v < 0 ? 0 : v);
    }
}

static void FN(segments_forward)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm f = *task->f; /* which no store to y can change */
    const bool shared = f.batch && f.c <= SHARED;
    FN(terms) of[SHARED];
    for (int64_t c = 0; c < f.c && shared; c++)
        of[c] = FN(forward_terms)(task, c, c);
    int64_t c = begin % f.c;
    for (int64_t k = begin; k < end; k++, c = c + 1 < f.c ? c + 1 : 0) {
        if (!shared)
            of[0] = FN(forward_terms)(task, k, c);
        FN(segment_forward)(&f, &of[shared ? c : 0], (const E *)f.x + k * f.s, f.residual ? (const E *)f.residual + k * f.s : NULL,
                            (E *)f.y + k * f.s);
    }
}

/* Sums of dy and of dy (x - mean) rstd: what each segment gives to bias's and weight's gradients. */
static void FN(segments_sums)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    for (int64_t k = begin; k < end; k++) {
        const E *x = (const E *)f->x + k * f->s, *dy = (const E *)f->dy + k * f->s;
        const int64_t pool = pool_of(f, k);
        FN(sum_products)(dy, x, (T)f->mean[pool], f->s, &task->sums[2 * k], &task->sums[2 * k + 1]);
        task->sums[2 * k + 1] *= f->rstd[pool];
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
                const E *x = (const E *)f->x + at, *dy = (const E *)f->dy + at;
                const T mean = (T)f->mean[c + l];
                VEC a = of_g[l], b = of_gx[l];
                int64_t j = 0;
                for (; j + WIDTH <= f->s; j += WIDTH) {
                    a += LOAD(dy + j);
                    b += LOAD(dy + j) * (LOAD(x + j) - mean);
                }
                of_g[l] = a, of_gx[l] = b;
                for (; j < f->s; j++) {
                    rest_g[l] += ONE(dy[j]);
                    rest_gx[l] += ONE(dy[j]) * (ONE(x[j]) - mean);
                }
            }
        for (int64_t l = 0; l < channels; l++) {
            double *own = &task->sums[2 * (chunk * f->c + c + l)];
            own[0] = FN(fold)(&of_g[l], rest_g[l]);
            own[1] = FN(fold)(&of_gx[l], rest_gx[l]) * f->rstd[c + l];
        }
    }
}

static inline void FN(segment_backward)(const FN(terms) *of, const E *x, const E *dy, E *dx, int64_t s)
{
    const T mean = of->mean, scale = of->scale, base = of->base, slope = of->slope;
    int64_t i = 0;
    for (; i + WIDTH <= s; i += WIDTH)
        STORE(dx + i, LOAD(dy + i) * scale - base - (LOAD(x + i) - mean) * slope);
    for (; i < s; i++)
        dx[i] = CUT(ONE(dy[i]) * scale - base - (ONE(x[i]) - mean) * slope);
}

static void FN(segments_backward)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm f = *task->f;
    const bool shared = f.batch && f.c <= SHARED;
    FN(terms) of[SHARED];
    for (int64_t c = 0; c < f.c && shared; c++)
        of[c] = FN(backward_terms)(task, c, c);
    int64_t c = begin % f.c;
    for (int64_t k = begin; k < end; k++, c = c + 1 < f.c ? c + 1 : 0) {
        if (!shared)
            of[0] = FN(backward_terms)(task, k, c);
        FN(segment_backward)(&of[shared ? c : 0], (const E *)f.x + k * f.s, (const E *)f.dy + k * f.s, (E *)f.dx + k * f.s, f.s);
    }
}

#if ROWS
/* ---- rows: s is 1, a pool lies together -------------------------------------------------------------------------------- */

static void FN(normalise)(const E *x, const T *w, const T *b, T mean, T rstd, E *restrict y, int64_t m)
{
    int64_t j = 0;
    for (; j + WIDTH <= m; j += WIDTH) {
        VEC v = (LOAD(x + j) - mean) * rstd;
        if (w)
            v *= *(const VEC *)(w + j);
        if (b)
            v += *(const VEC *)(b + j);
        STORE(y + j, v);
    }
    for (; j < m; j++) {
        T v = (ONE(x[j]) - mean) * rstd;
        v = w ? v * w[j] : v;
        y[j] = CUT(b ? v + b[j] : v);
    }
}

/* A row's first sum is taken before the row above is written, so that its end, where lanes become one, runs beside that. */
static void FN(rows_forward)(int64_t begin, int64_t end, void *context)
{
    const tn_norm *f = ((const norm_task *)context)->f;
    const int64_t m = f->c / f->groups;
    const E *x = (const E *)f->x + begin * m;
    double centre = f->centre ? FN(total)(x, m) / (double)m : 0, squares = FN(sum_squares)(x, (T)centre, m);
    for (int64_t row = begin; row < end; row++, x += m) {
        const int64_t at = row % f->groups * m;
        const bool more = row + 1 < end;
        const E *next = x + m;
        const T own = (T)centre;
        set_pool(f, row, centre, squares / (double)m);
        if (more && f->centre)
            centre = FN(total)(next, m) / (double)m;
        else if (more)
            squares = FN(sum_squares)(next, 0, m);
        FN(normalise)(x, f->weight ? (const T *)f->weight + at : NULL, f->bias ? (const T *)f->bias + at : NULL, own, (T)f->rstd[row],
                      (E *)f->y + row * m, m);
        if (more && f->centre)
            squares = FN(sum_squares)(next, (T)centre, m);
    }
}

/* The sums over a row of g = dy w and of g (x - mean), in one pass. */
static void FN(row_sums)(const E *dy, const E *x, const T *w, T mean, int64_t m, double *of_g, double *of_gx)
{
    *of_g = *of_gx = 0;
    for (int64_t begin = 0; begin < m; begin += BLOCK) {
        int64_t end = tn_min_i64(begin + BLOCK, m), j = begin;
        VEC a[2] = {{0}}, b[2] = {{0}};
        T rest_a = 0, rest_b = 0;
        for (; j + 2 * WIDTH <= end; j += 2 * WIDTH) {
            TN_UNROLL
            for (int k = 0; k < 2; k++) {
                VEC g = LOAD(dy + j + k * WIDTH);
                if (w)
                    g *= *(const VEC *)(w + j + k * WIDTH);
                a[k] += g;
                b[k] += g * (LOAD(x + j + k * WIDTH) - mean);
            }
        }
        for (; j < end; j++) {
            T g = w ? ONE(dy[j]) * w[j] : ONE(dy[j]);
            rest_a += g;
            rest_b += g * (ONE(x[j]) - mean);
        }
        a[0] += a[1];
        b[0] += b[1];
        *of_g += FN(fold)(&a[0], rest_a);
        *of_gx += FN(fold)(&b[0], rest_b);
    }
}

#if EIGHT_LANES
/* dx = (dy w - shift - (x - mean) slope) rstd of a row. */
typedef struct FN(slopes) {
    T mean, rstd, shift, slope;
} FN(slopes);

/* dx, unless NULL, of so many rows, which lie `step` elements apart, and what they give to the parameters' gradients, unless NULL. */
TN_INLINE void FN(write_slopes)(int count, const FN(slopes) *of, const E *x, const E *dy, E *dx, int64_t step, const T *w, T *dw, T *db, int64_t m)
{
    int64_t j = 0;
    for (; j + WIDTH <= m; j += WIDTH) {
        VEC weight = (VEC){0} + 1, of_w = {0}, of_b = {0};
        if (w)
            weight = *(const VEC *)(w + j);
        TN_UNROLL
        for (int r = 0; r < count; r++) {
            const VEC g = LOAD(dy + r * step + j), away = LOAD(x + r * step + j) - of[r].mean;
            of_w += g * (away * of[r].rstd);
            of_b += g;
            if (dx)
                STORE(dx + r * step + j, (g * weight - of[r].shift - away * of[r].slope) * of[r].rstd);
        }
        if (dw)
            *(VEC *)(dw + j) += of_w;
        if (db)
            *(VEC *)(db + j) += of_b;
    }
    for (; j < m; j++)
        for (int r = 0; r < count; r++) {
            const T g = ONE(dy[r * step + j]), away = ONE(x[r * step + j]) - of[r].mean;
            if (dw)
                dw[j] += g * (away * of[r].rstd);
            if (db)
                db[j] += g;
            if (dx)
                dx[r * step + j] = CUT(((w ? g * w[j] : g) - of[r].shift - away * of[r].slope) * of[r].rstd);
        }
}

/* The same of row r and, of two, of row r + groups; dw and db are of all channels. */
TN_INLINE void FN(few_rows_backward)(int count, const tn_norm *f, int64_t r, T *dw, T *db)
{
    const int64_t m = f->c / f->groups, at = r % f->groups * m, step = f->groups * m;
    const E *x = (const E *)f->x + r * m, *dy = (const E *)f->dy + r * m;
    const T *w = f->weight ? (const T *)f->weight + at : NULL;
    FN(slopes) of[2];
    for (int i = 0; i < count; i++) {
        const int64_t row = r + i * f->groups;
        const double rstd = f->rstd[row];
        double of_g = 0, of_gx = 0;
        if (f->dx)
            FN(row_sums)(dy + i * step, x + i * step, w, (T)f->mean[row], m, &of_g, &of_gx);
        of[i] = (FN(slopes)){(T)f->mean[row], (T)rstd, (T)(f->centre ? of_g / (double)m : 0), (T)(of_gx * rstd * rstd / (double)m)};
    }
    FN(write_slopes)(count, of, x, dy, f->dx ? (E *)f->dx + r * m : NULL, step, w, dw ? dw + at : NULL, db ? db + at : NULL, m);
}

static void FN(row_backward)(const tn_norm *f, int64_t r, T *dw, T *db) { FN(few_rows_backward)(1, f, r, dw, db); }

/* Chunks of n: each has sums of its own in scratch, [chunks, 2, c]. Rows but bfloat16's go one by one: from the third cache two took half as long again. */
static void FN(rows_backward)(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm f = *task->f; /* which no store to dx can change */
    for (int64_t k = begin; k < end; k++) {
        T *own = (T *)task->scratch + k * 2 * f.c, *dw = f.dweight ? own : NULL, *db = f.dbias ? own + f.c : NULL;
        const int64_t first = k * task->chunk, last = tn_min_i64(first + task->chunk, f.n), twos = sizeof(E) == 2 ? (last - first) / 2 * 2 : 0;
        memset(own, 0, (size_t)(2 * f.c) * sizeof(T));
        for (int64_t i = first; i < first + twos; i += 2)
            for (int64_t g = 0; g < f.groups; g++)
                FN(few_rows_backward)(2, &f, i * f.groups + g, dw, db);
        for (int64_t i = first + twos; i < last; i++)
            for (int64_t g = 0; g < f.groups; g++)
                FN(row_backward)(&f, i * f.groups + g, dw, db);
    }
}
#endif
#endif

#undef WIDTH
#undef E
#undef T
#undef VEC
#undef LOAD
#undef STORE
#undef ONE
#undef CUT
#undef FN
#undef ROWS
