/* The gradients of a convolution's weight and bias, for one way to multiply (N(name) makes the names): of elements E in sums T, E being T, or
 * bf16, neighbouring positions as pairs. The includer defines STEP(sum, x, w), which is sum + x w, of pairs the sum of both products;
 * PREPARE(room, image, channels, plane), the image as it is multiplied; PUT_ROW(to, from, n), the same of a row; SUM(x, n); and TARGET, the
 * attribute of what uses them. */

typedef T N(vec) __attribute__((vector_size(TN_VECTOR_BYTES)));
#define VEC N(vec)
#define WIDTH ((int64_t)(TN_VECTOR_BYTES / sizeof(E)))
#define LOAD(p) ((VEC)(*(const ROW(uvec) *)(p)))
#if defined(__x86_64__) && TN_VECTOR_BYTES == 64
#define KEEP(v) __asm__("" : "+v"(v)) /* in a register, however cheap a load is thought to be */
#else
#define KEEP(v) (void)(v)
#endif
#define HIDE(p) __asm__("" : "+r"(p)) /* else each row would have a pointer of its own, more than there are registers */

TN_INLINE T N(fold)(VEC v)
{
#if TN_VECTOR_BYTES == 64
    if (sizeof(T) == sizeof(float))
        return (T)tn_fold16_((const tn_lanes16_ *)(const void *)&v);
#elif TN_VECTOR_BYTES == 32
    if (sizeof(T) == sizeof(float))
        return (T)tn_fold8_((const tn_lanes8_ *)(const void *)&v);
#endif
    T lane[TN_VECTOR_BYTES / sizeof(T)];
    memcpy(lane, &v, sizeof lane);
    TN_UNROLL for (int width = (int)(sizeof lane / sizeof *lane) / 2; width > 0; width /= 2) {
        TN_UNROLL for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    }
    return lane[0];
}

/* dw[r][t] += sum over images and positions of dy[r][...] * x[off[t] + ...], for `rows` outputs and `taps` distances. */
TARGET TN_INLINE void N(dots)(int rows, int taps, const weight_plan *w, const E *x, const E *dy, int64_t first, T *dw)
{
    const int64_t plane = w->dy_plane;
    const int pitch = taps == 3 ? 4 : taps;
    VEC acc[32];
    const VEC zero = {0};
    TN_UNROLL for (int i = 0; i < 32; i++)
        acc[i] = zero;
    for (int64_t image = 0; image < w->images; image++) {
        const E *xi = x + image * w->x_image;
        const E *at[9];
        TN_UNROLL for (int t = 0; t < taps; t++)
            at[t] = xi + w->off[tn_min_i64(first + t, w->k - 1)];
        const E *low = dy + image * w->dy_image, *high = low + 4 * plane; /* rows 0 to 3, and 4 to 7 */
        for (int64_t line = 0, to = 0; line < w->lines; line++, to += w->x_line - w->length) {
            for (int64_t i = w->length; i > 0; i -= WIDTH, to += WIDTH, low += WIDTH, high += WIDTH) {
                HIDE(to);
                HIDE(low);
                if (rows > 4)
                    HIDE(high);
                VEC xv[9];
                TN_UNROLL for (int t = 0; t < taps; t++) {
                    xv[t] = LOAD(at[t] + to);
                    KEEP(xv[t]); /* once for all rows */
                }
                TN_UNROLL for (int r = 0; r < rows; r++) {
                    VEC dyv = LOAD((r < 4 ? low : high) + r % 4 * plane);
                    KEEP(dyv);
                    TN_UNROLL for (int t = 0; t < taps; t++)
                        acc[r * pitch + t] = STEP(acc[r * pitch + t], xv[t], dyv);
                }
            }
        }
    }
#if TN_VECTOR_BYTES == 64
    if (sizeof(T) == sizeof(float)) {
        float sums[32];
        TN_UNROLL for (int i = 0; i < rows * pitch; i += 16)
            _mm512_storeu_ps(sums + i, tn_sum_each_((const __m512 *)(const void *)(acc + i)));
        const __mmask8 lanes = (__mmask8)tn_first_(tn_min_i64(taps, w->k - first));
        TN_UNROLL for (int r = 0; r < rows && pitch == 4; r++) {
            float *to = (float *)(void *)(dw + r * w->k + first);
            _mm_mask_storeu_ps(to, lanes, _mm_add_ps(_mm_maskz_loadu_ps(lanes, to), _mm_loadu_ps(sums + 4 * r)));
        }
        for (int r = 0; r < rows && pitch != 4; r++)
            for (int t = 0; t < taps && first + t < w->k; t++)
                dw[r * w->k + first + t] += (T)sums[r * taps + t];
        return;
    }
#endif
    for (int t = 0; t < taps && first + t < w->k; t++)
        for (int r = 0; r < rows; r++)
            dw[r * w->k + first + t] += N(fold)(acc[r * pitch + t]);
}

#define DOT_ROWS(rows, taps)                                                                                                  \
    TARGET static void N(dots_##rows##_##taps)(const weight_plan *w, const E *x, const E *dy, T *dw)                          \
    {                                                                                                                         \
        for (int64_t k = 0; k < w->k; k += taps)                                                                              \
            N(dots)(rows, taps, w, x, dy, k, dw);                                                                             \
    }
DOT_ROWS(1, 9)
DOT_ROWS(2, 6)
DOT_ROWS(3, 3)
DOT_ROWS(4, 3)
#if TN_VECTOR_BYTES == 64
DOT_ROWS(4, 4)
DOT_ROWS(8, 3)
#endif
#undef DOT_ROWS

/* At most 4 rows of dw. */
static void N(few_rows)(int64_t rows, const weight_plan *w, const E *x, const E *dy, T *dw)
{
    if (rows == 1)
        N(dots_1_9)(w, x, dy, dw);
    else if (rows == 2)
        N(dots_2_6)(w, x, dy, dw);
    else if (rows == 3)
        N(dots_3_3)(w, x, dy, dw);
#if TN_VECTOR_BYTES == 64
    else if (w->k > 9)
        N(dots_4_4)(w, x, dy, dw);
#endif
    else
        N(dots_4_3)(w, x, dy, dw);
}

/* All rows of dw: 8 together where the taps are threes, as they are of 3 x 3 kernels, and there are registers for it; else 4. */
static void N(all_rows)(int64_t rows, const weight_plan *w, const E *x, const E *dy, T *dw)
{
    int64_t r = 0;
#if TN_VECTOR_BYTES == 64
    for (; w->k % 3 == 0 && rows - r >= 8; r += 8)
        N(dots_8_3)(w, x, dy + r * w->dy_plane, dw + r * w->k);
#endif
    for (; r < rows; r += 4)
        N(few_rows)(tn_min_i64(4, rows - r), w, x, dy + r * w->dy_plane, dw + r * w->k);
}

typedef struct {
    const convolution *v;
    const weight_plan *w;
    const T *x, *dy;
    T *dw, *db, *partial; /* partial is [chunks][c_out][k + 1]: dw, then db */
    E *scratch;           /* each worker's planes of x, gradients, and room for what an image of x is multiplied as */
    int64_t scratch_each, grads_at, room_at, workers, chunks, parts, batch;
    int64_t lines;              /* of dy, copied together */
    bool x_lies, dense, dy_lies; /* x is read where it is, or is only rounded; dy is read where it is */
} N(weight_job);

/* One chunk of images, one group, one part of its outputs: into the chunk's partial sums. */
static void N(weight_unit)(const N(weight_job) *job, E *planes, int64_t chunk, int64_t group, int64_t part)
{
    E *grads = planes + job->grads_at, *room = planes + job->room_at;
    const convolution *v = job->v;
    const tn_conv *c = v->conv;
    weight_plan w = *job->w;
    const int64_t begin = chunk * c->n / job->chunks, end = (chunk + 1) * c->n / job->chunks, spatial = c->oh * c->ow;
    const int64_t row0 = part * v->rows / job->parts, rows = (part + 1) * v->rows / job->parts - row0;
    T *dw = job->partial + (chunk * c->c_out + group * v->rows + row0) * (w.k + 1), *db = dw + rows * w.k;
    memset(dw, 0, (size_t)(rows * (w.k + 1)) * sizeof(T));
    for (int64_t i = begin; i < end; i += w.images) {
        w.images = tn_min_i64(job->batch, end - i);
        for (int64_t b = 0; b < w.images; b++) {
            const T *x = job->x + ((i + b) * c->c_in + group * v->in) * c->h * c->w;
            const T *dy = job->dy + ((i + b) * c->c_out + group * v->rows + row0) * spatial;
            for (int64_t r = 0; r < rows && job->db; r++)
                db[r] += SUM(dy + r * spatial, spatial);
            if (job->dense)
                (void)PREPARE(planes + b * w.x_image, x, v->in, c->h * c->w);
            else if (!job->x_lies)
                ROW(spread)(planes + b * w.x_image, &v->plan, PREPARE(room, x, v->in, c->h * c->w), v->in);
            for (int64_t r = 0; r < rows && !job->dy_lies; r++, dy += spatial)
                for (int64_t y = 0; y < c->oh; y += job->lines)
                    PUT_ROW(grads + b * w.dy_image + r * w.dy_plane + y * v->plan.x.size, dy + y * c->ow, job->lines * c->ow);
        }
        const E *x = planes, *dy = grads;
        if (job->x_lies)
            x = (const E *)(const void *)(job->x + i * w.x_image + group * v->in * c->h * c->w);
        if (job->dy_lies)
            dy = (const E *)(const void *)(job->dy + i * w.dy_image + (group * v->rows + row0) * spatial);
        if (job->dw)
            N(all_rows)(rows, &w, x, dy, dw);
    }
}

static void N(weight_units)(int64_t begin, int64_t end, void *context)
{
    const N(weight_job) *job = context;
    const int64_t groups = job->v->conv->groups, units = job->chunks * groups * job->parts;
    for (int64_t worker = begin; worker < end; worker++) {
        E *planes = job->scratch + worker * job->scratch_each;
        memset(planes, 0, (size_t)job->scratch_each * sizeof(E));
        for (int64_t u = worker * units / job->workers; u < (worker + 1) * units / job->workers; u++)
            N(weight_unit)(job, planes, u / job->parts / groups, u / job->parts % groups, u % job->parts);
    }
}

/* dw and db: the sum over chunks, in their order. A part of the outputs keeps its rows' dw first and then their db. */
static void N(weight_sum)(const N(weight_job) *job)
{
    const convolution *v = job->v;
    int64_t k = job->w->k, all = v->conv->c_out * (k + 1);
    for (int64_t chunk = 1; chunk < job->chunks; chunk++)
        for (int64_t i = 0; i < all; i++)
            job->partial[i] += job->partial[chunk * all + i];
    const T *from = job->partial;
    for (int64_t g = 0, row = 0; g < v->conv->groups; g++) {
        for (int64_t part = 0; part < job->parts; part++) {
            int64_t rows = (part + 1) * v->rows / job->parts - part * v->rows / job->parts;
            if (job->dw)
                memcpy(job->dw + row * k, from, (size_t)(rows * k) * sizeof(T));
            if (job->db)
                memcpy(job->db + row, from + rows * k, (size_t)rows * sizeof(T));
            from += rows * (k + 1);
            row += rows;
        }
    }
}

/* dw of outputs [begin, end) as the plain sum over what each tap sees. */
static void N(plain_weights)(int64_t begin, int64_t end, void *context)
{
    const N(weight_job) *job = context;
    const tn_conv *c = job->v->conv;
    const int64_t in = job->v->in, taps = c->kh * c->kw, k = in * taps;
    for (int64_t at = begin * k; at < end * k; at++) {
        const int64_t o = at / k, channel = o / job->v->rows * in + at % k / taps;
        const int64_t y0 = at % taps / c->kw * c->dil_h - c->pad_h, x0 = at % c->kw * c->dil_w - c->pad_w;
        T sum = 0;
        for (int64_t row = 0; row < c->n * c->oh; row++) {
            const int64_t image = row / c->oh, y = row % c->oh * c->stride_h + y0;
            const T *dy = job->dy + ((image * c->c_out + o) * c->oh + row % c->oh) * c->ow;
            const T *x = job->x + ((image * c->c_in + channel) * c->h + y) * c->w;
            for (int64_t i = 0; i < c->ow && y >= 0 && y < c->h; i++)
                if (i * c->stride_w + x0 >= 0 && i * c->stride_w + x0 < c->w)
                    sum += dy[i] * x[i * c->stride_w + x0];
        }
        job->dw[at] = sum;
    }
}

/* The zeros of planes' gaps keep out only what is finite beside them. */
static void N(mend_weights)(N(weight_job) *job)
{
    const int64_t count = job->v->conv->c_out * job->w->k;
    T check = 0;
    for (int64_t i = 0; i < count; i++)
        check += job->dw[i] * 0;
    if (check != 0)
        tn_parallel_for(job->v->conv->c_out, 1, N(plain_weights), job);
}

/* The gradients of weight and bias. How images are cut into chunks, and outputs into parts, follows from the shape alone. */
static tn_status N(weight_grad)(const convolution *v, const T *x, const T *dy, T *dw, T *db)
{
    const tn_conv *c = v->conv;
    const product *p = &v->product[0];
    const int64_t spatial = c->oh * c->ow, weights = c->c_out * (p->k + 1);
    N(weight_job) job = {.v = v, .x = x, .dy = dy, .dw = dw, .db = db};
    job.workers = tn_workers_for(c->n * c->c_out * p->k * spatial);
    /* Of whole vectors, all lines or each, dy has no gaps; else it has the planes' pitch, and zeros in the gaps. */
    const bool whole = p->cols == c->ow && spatial % WIDTH == 0, even = !whole && c->ow % WIDTH == 0;
    const int64_t length = even ? c->ow : whole ? spatial : tn_ceil_div((c->oh - 1) * p->cols + c->ow, WIDTH) * WIDTH;
    const int64_t lines = even ? c->oh : 1, dy_plane = lines * length;
    job.lines = even || whole ? c->oh : 1;
    job.dy_lies = (even || whole) && sizeof(E) == sizeof(T);
    job.x_lies = is_direct(v, WIDTH) && sizeof(E) == sizeof(T);
    job.dense = is_direct(v, WIDTH) && sizeof(E) < sizeof(T);
    job.chunks = tn_max_i64(1, tn_min_i64(tn_min_i64(c->n, 16), ((int64_t)4 << 20) / weights));
    job.parts = tn_min_i64(tn_ceil_div(v->rows, 4), tn_ceil_div(16, job.chunks * c->groups));
    weight_plan w = {.k = p->k, .off = p->off, .images = 1, .lines = lines, .length = length, .x_line = p->cols, .dy_plane = dy_plane};
    w.x_image = job.x_lies ? c->c_in * c->h * c->w : v->plan.plane * v->in;
    w.dy_image = dy_plane * (job.dy_lies ? c->c_out : tn_ceil_div(v->rows, job.parts));
    job.batch = tn_max_i64(1, tn_min_i64(tn_ceil_div(c->n, job.chunks), BATCH_BYTES / (int64_t)sizeof(E) / (w.x_image + w.dy_image)));
    job.batch = tn_min_i64(job.batch, tn_max_i64(1, ROWS_BYTES / (ROWS * (int64_t)sizeof(E) * dy_plane)));
    const int64_t x_room = job.x_lies ? 0 : job.batch * w.x_image, dy_room = job.dy_lies ? 0 : job.batch * w.dy_image;
    job.grads_at = tn_ceil_div(x_room + SLACK, 64) * 64;
    job.room_at = job.grads_at + tn_ceil_div(dy_room + SLACK, 64) * 64;
    job.scratch_each = job.room_at + tn_ceil_div((sizeof(E) < sizeof(T) ? v->in * c->h * c->w : 0) + SLACK, 64) * 64;
    job.w = &w;
    const size_t partial_size = (size_t)(job.chunks * weights) * sizeof(T), scratch_size = (size_t)(job.scratch_each * job.workers) * sizeof(E);
    job.partial = tn_alloc(partial_size);
    job.scratch = job.partial ? tn_alloc(scratch_size) : NULL;
    if (job.scratch) {
        tn_parallel_for(job.workers, 1, N(weight_units), &job);
        N(weight_sum)(&job);
        if (dw)
            N(mend_weights)(&job);
    }
    tn_free(job.scratch, scratch_size);
    tn_free(job.partial, partial_size);
    return job.scratch ? TN_OK : TN_ERR_MEMORY;
}

#undef VEC
#undef WIDTH
#undef LOAD
#undef KEEP
#undef HIDE
