/* The products of a convolution that give y and dx, for one way to multiply (N(name) makes the names): of elements T, or, where T is float, of
 * pairs of bf16 in its bits, from two neighbouring channels. The includer defines STEP(sum, x, w), which is sum + x w, of pairs the sum of both
 * products; SPLAT(w), a vector of the same in all lanes; WEIGHT(w, next), what is multiplied by, `next` being the next channel's; PREPARE(room,
 * image, channels, plane), the image as it is multiplied; and TARGET, the attribute of what uses them.
 *
 * Lines of outputs that are of whole vectors, or nearly, or lie without gaps, are stored as they are computed; others are computed at the planes' pitch, and the few
 * columns too many are dropped at the store. */

#define VEC ROW(vec)
#define WIDTH ((int64_t)(TN_VECTOR_BYTES / sizeof(T)))
#define LOAD(p) ((VEC)(*(const ROW(uvec) *)(p)))
#define STORE(p, v) (*(ROW(uvec) *)(p) = (ROW(uvec))(v))

/* out[0], out[stride], ... = in[0 ... n) */
TN_INLINE void N(put_row)(T *out, const T *in, int64_t stride, int64_t n)
{
#if defined(__AVX512F__)
    const __m512i pairs = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0), more = _mm512_add_epi32(pairs, _mm512_set1_epi32(8));
    for (int64_t i = 0; i < n && stride == 2 && sizeof(T) == sizeof(float); i += 16) {
        const uint32_t lanes = n - i >= 16 ? 0xffff : (1u << (n - i)) - 1, even = _pdep_u32(lanes, 0x55555555);
        const __m512 v = _mm512_maskz_loadu_ps((__mmask16)lanes, (const float *)(const void *)(in + i));
        _mm512_mask_storeu_ps((float *)(void *)(out + 2 * i), (__mmask16)even, _mm512_permutexvar_ps(pairs, v));
        if (n - i > 8)
            _mm512_mask_storeu_ps((float *)(void *)(out + 2 * i + 16), (__mmask16)(even >> 16), _mm512_permutexvar_ps(more, v));
    }
    if (stride == 2 && sizeof(T) == sizeof(float))
        return;
#endif
    for (int64_t i = 0; i < n; i++)
        out[i * stride] = in[i];
}

/* What is read soon is asked for meanwhile, `each` bytes in a block: at once they would keep waiting what is read now. */
typedef struct {
    const char *at, *end;
    int64_t each;
} N(ahead);

/* tile[r][v] = bias[r] + sum over k of w[k][r] * x[off[k] + v], v being vectors x_step (in the tile: step) apart. */
TARGET TN_INLINE void N(block)(int rows, int vectors, const T *x, int64_t x_step, const int64_t *off, int64_t k, const T *w, const T *bias,
                               bool relu, T *tile, int64_t pitch, int64_t step, N(ahead) *ahead)
{
    const char *next = ahead->at;
    const int64_t stride = ahead->each / k;
    ahead->at = ahead->end - next > ahead->each ? next + ahead->each : ahead->end;
    VEC acc[SUMS];
    const VEC zero = {0};
    TN_UNROLL for (int i = 0; i < rows * vectors; i++)
        acc[i] = zero;
    for (int64_t i = 0; i < k; i++, w += rows) {
        const T *at = x + off[i];
        __builtin_prefetch(next, 0, 2);
        next += stride;
        VEC xv[SUMS];
        if (rows > 1) {
            TN_UNROLL for (int v = 0; v < vectors; v++)
                xv[v] = LOAD(at + v * x_step);
        }
        TN_UNROLL for (int r = 0; r < rows; r++) {
            const VEC wr = SPLAT(w[r]);
            TN_UNROLL for (int v = 0; v < vectors; v++)
                acc[r * vectors + v] = STEP(acc[r * vectors + v], rows > 1 ? xv[v] : LOAD(at + v * x_step), wr);
        }
    }
    TN_UNROLL for (int r = 0; r < rows; r++) {
        T b = bias ? bias[r] : 0;
        TN_UNROLL for (int v = 0; v < vectors; v++) {
            VEC y = acc[r * vectors + v] + b;
            if (relu)
                y = (VEC)((__typeof__(y < zero))y & ~(y < zero)); /* NaN stays */
            STORE(tile + r * pitch + v * step, y);
        }
    }
}

/* One block of rows over `count` vectors of outputs, x_step apart, in the tile step apart; it and the planes have room for whole vectors. Four
 * that are left are two and two: one alone has too few sums to hide how long an addition takes. */
#define CONV_ROWS(rows, vectors)                                                                                              \
    TARGET static void N(rows_##rows)(const T *x, int64_t x_step, const int64_t *off, int64_t k, const T *w, const T *bias,   \
                                      bool relu, T *tile, int64_t pitch, int64_t step, int64_t count, N(ahead) *ahead)        \
    {                                                                                                                         \
        int64_t i = 0;                                                                                                        \
        for (; count - i >= vectors && (vectors != 3 || count - i != 4); i += vectors)                                        \
            N(block)(rows, vectors, x + i * x_step, x_step, off, k, w, bias, relu, tile + i * step, pitch, step, ahead);      \
        for (; vectors == 3 && count - i >= 2; i += 2)                                                                        \
            N(block)(rows, 2, x + i * x_step, x_step, off, k, w, bias, relu, tile + i * step, pitch, step, ahead);            \
        for (; i < count; i++)                                                                                                \
            N(block)(rows, 1, x + i * x_step, x_step, off, k, w, bias, relu, tile + i * step, pitch, step, ahead);            \
    }
CONV_ROWS(1, 12)
CONV_ROWS(2, 6)
CONV_ROWS(3, 4)
CONV_ROWS(4, 3)
#if TN_VECTOR_BYTES == 64
CONV_ROWS(5, 3)
CONV_ROWS(6, 3)
CONV_ROWS(7, 3)
CONV_ROWS(8, 3)
#else
CONV_ROWS(5, 2)
CONV_ROWS(6, 2)
#endif
#undef CONV_ROWS

static void (*const N(rows_of)[])(const T *, int64_t, const int64_t *, int64_t, const T *, const T *, bool, T *, int64_t, int64_t, int64_t,
                                      N(ahead) *) = {
    NULL, N(rows_1), N(rows_2), N(rows_3), N(rows_4), N(rows_5), N(rows_6),
#if TN_VECTOR_BYTES == 64
    N(rows_7), N(rows_8),
#endif
};

/* A product of one row (depthwise): without a tile, 4 lines of at least a vector together; at their end vectors overlap. */
TARGET static void N(multiply_lines)(const product *p, const T *x, const T *packed, const T *bias, bool relu, T *out,
                                      N(ahead) *ahead)
{
    for (int64_t y = 0; y < p->oh;) {
        int64_t lines = p->oh - y >= 4 ? 4 : 1;
        for (int64_t next = 0; next < p->ow; next += WIDTH) {
            int64_t i = tn_min_i64(next, p->ow - WIDTH);
            const T *from = x + p->base + y * p->cols + i;
            T *to = out + y * p->out_row + i;
            if (lines == 4)
                N(block)(1, 4, from, p->cols, p->off, p->k, packed, bias, relu, to, 0, p->out_row, ahead);
            else
                N(block)(1, 1, from, 0, p->off, p->k, packed, bias, relu, to, 0, 0, ahead);
        }
        y += lines;
    }
}

/* `lines` lines of outputs of some rows of a product, which begin at out, from their tile. */
TN_INLINE void N(put_tile)(const product *p, T *out, const T *tile, int64_t pitch, int64_t rows, int64_t lines)
{
    for (int64_t r = 0; r < rows; r++) {
        T *to = out + r * p->out_plane;
        const T *from = tile + r * pitch;
        for (int64_t i = 0; i < lines; i++, to += p->out_row, from += p->cols) {
            if (p->out_col == 1)
                ROW(copy_row)(to, from, p->ow);
            else
                N(put_row)(to, from, p->out_col, p->ow);
        }
    }
}

/* put_tile() of two products whose columns alternate, by whole lines; out and tile are the first one's, and the second one's tile follows. */
TN_INLINE void N(put_tiles)(const product *p, T *out, const T *tile, int64_t pitch, int64_t rows, int64_t lines)
{
    const bool odd = p[1].out_base < p->out_base; /* the first one's columns are the odd ones */
    for (int64_t r = 0; r < rows; r++) {
        T *to = out + r * p->out_plane - odd;
        const T *even = tile + ((odd ? ROWS : 0) + r) * pitch, *other = tile + ((odd ? 0 : ROWS) + r) * pitch;
        for (int64_t i = 0; i < lines; i++, to += p->out_row, even += p->cols, other += p->cols)
            ROW(zip_row)(to, even, other, p->ow);
    }
}

/* `lines` lines of a block, where they are of whole vectors, or nearly: the columns between them are not computed. Rows of out are pitch apart, lines
 * out_row. */
TN_INLINE void N(multiply_columns)(const product *p, const T *x, const T *w, const T *bias, bool relu, int64_t count, T *out, int64_t pitch,
                                   int64_t out_row, int64_t lines, N(ahead) *ahead)
{
    for (int64_t next = 0; next < p->ow; next += WIDTH) { /* vectors one below another; the last column overlaps */
        const int64_t at = tn_min_i64(next, p->ow - WIDTH);
        N(rows_of)[count](x + at, p->cols, p->off, p->k, w, bias, relu, out + at, pitch, out_row, lines, ahead);
    }
}

/* Blocks [first, last) of one product, and of the next where they alternate: spread planes x by packed weights into out, by way of the tile or
 * directly: where the tile is NULL, and where lines are of whole vectors, or nearly. What is `ahead` is fetched meanwhile. */
static void N(multiply)(const product *p, const T *x, const T *packed, int64_t first, int64_t last, const T *bias, bool relu, T *out,
                        T *tile, N(ahead) *ahead)
{
    if (p->rows == 1 && p->out_col == 1 && p->ow >= WIDTH) {
        N(multiply_lines)(p, x, packed, bias, relu, out, ahead);
        return;
    }
    const int64_t strip = product_strip(p), pitch = product_pitch(p), across = tn_ceil_div(p->ow, WIDTH);
    const bool whole = strip >= 3 && p->ow >= WIDTH && 8 * across * WIDTH <= 9 * p->cols, upright = whole && tile && p->out_col == 1;
    const bool zipped = whole && TN_VECTOR_BYTES == 32 && p->alternates;
    for (int64_t y = 0; y < p->oh; y += strip) {
        const int64_t lines = tn_min_i64(strip, p->oh - y), vectors = tn_ceil_div((lines - 1) * p->cols + p->ow, WIDTH);
        for (int64_t b = first; b < last; b++) {
            const int64_t row = block_begin(p->rows, b), count = block_begin(p->rows, b + 1) - row;
            const T *from = x + p->base + y * p->cols, *w = packed + row * p->k, *add = bias ? bias + row : NULL;
            T *to = out + row * p->out_plane + y * p->out_row;
            if (upright) {
                N(multiply_columns)(p, from, w, add, relu, count, to, p->out_plane, p->out_row, lines, ahead);
                continue;
            }
            if (zipped) {
                N(multiply_columns)(p, from, w, add, relu, count, tile, pitch, p->cols, lines, ahead);
                w = packed + p->rows * p->k + row * p[1].k;
                N(multiply_columns)(&p[1], from + p[1].base - p->base, w, add, relu, count, tile + ROWS * pitch, pitch, p->cols, lines, ahead);
                N(put_tiles)(p, to, tile, pitch, count, lines);
                continue;
            }
            N(rows_of)[count](from, WIDTH, p->off, p->k, w, add, relu, tile ? tile : to, tile ? pitch : p->out_plane, WIDTH, vectors, ahead);
            if (p->alternates) {
                from += p[1].base - p->base;
                w = packed + p->rows * p->k + row * p[1].k;
                N(rows_of)[count](from, WIDTH, p[1].off, p[1].k, w, add, relu, tile + ROWS * pitch, pitch, WIDTH, vectors, ahead);
                N(put_tiles)(p, to, tile, pitch, count, lines);
            } else if (tile)
                N(put_tile)(p, to, tile, pitch, count, lines);
        }
    }
}

/* Weights in the order in which multiply() reads them: [group][product][block][k][row of the block]. Forward has the outputs as rows and
 * one product; the gradient of x has the inputs as rows, and for each phase of x a product of its own with the taps that reach it. */
static void N(pack)(T *packed, const convolution *v, const T *weight)
{
    const tn_conv *c = v->conv;
    const int64_t taps = c->kh * c->kw, of_output = c->c_in / c->groups * taps;
    const int64_t of_channel = v->transposed ? of_output : taps, of_row = v->transposed ? taps : of_output;
    for (int64_t g = 0; g < c->groups; g++, weight += c->c_out / c->groups * of_output) {
        for (int64_t i = 0; i < v->products; i++) {
            const product *p = &v->product[i];
            for (int64_t b = 0; b < block_count(p->rows); b++) {
                const int64_t begin = block_begin(p->rows, b), end = block_begin(p->rows, b + 1);
                for (int64_t k = 0; k < p->k; k++) {
                    const int64_t channel = p->channel[k] * v->together;
                    const T *first = weight + channel * of_channel + p->tap[k];
                    for (int64_t r = begin; r < end; r++)
                        *packed++ = WEIGHT(first[r * of_row], channel + 1 < v->in ? first[r * of_row + of_channel] : 0);
                }
            }
        }
    }
}

typedef struct {
    const convolution *v;
    const T *in, *packed, *bias;
    T *out, *scratch; /* scratch: each worker's spread planes, tile, and room for an image's pairs */
    int64_t scratch_each, tile, workers, parts;
    bool relu, direct;
} N(multiply_job);

/* What is read after this image, over all of its blocks. */
static N(ahead) N(ahead_of)(const convolution *v, const T *next, int64_t size)
{
    int64_t blocks = 1;
    for (int64_t i = 0; i < v->products; i++)
        blocks += block_count(v->product[i].rows) * v->product[i].oh * v->product[i].cols / (SUMS / ROWS * WIDTH);
    return (N(ahead)){(const char *)next, (const char *)(next + size), tn_ceil_div(size * (int64_t)sizeof(T), blocks)};
}

static void N(multiply_images)(int64_t begin, int64_t end, void *context)
{
    const N(multiply_job) *job = context;
    const convolution *v = job->v;
    const tn_conv *c = v->conv;
    const int64_t units = c->n * c->groups * job->parts, in_plane = v->plan.h * v->plan.w, in_size = v->in * in_plane;
    const int64_t out_size = v->out_plane * v->rows;
    for (int64_t worker = begin; worker < end; worker++) {
        T *planes = job->scratch + worker * job->scratch_each, *tile = planes + v->plan.plane * v->depth + SLACK, *room = tile + job->tile;
        if (!job->direct)
            memset(planes, 0, (size_t)(tile - planes) * sizeof(T));
        const int64_t last = (worker + 1) * units / job->workers;
        int64_t prepared = -1;
        const T *from = NULL;
        for (int64_t u = worker * units / job->workers; u < last; u++) {
            const int64_t image = u / job->parts, part = u % job->parts, group = image % c->groups;
            N(ahead) ahead = {(const char *)job->in, (const char *)job->in, 0};
            if (image != prepared) {
                const T *in = job->in + image * in_size;
                if (job->parts == 1 && u + 1 < last)
                    ahead = N(ahead_of)(v, in + in_size, in_size);
                from = PREPARE(room, in, v->in, in_plane);
                if (!job->direct) {
                    ROW(spread)(planes, &v->plan, from, v->depth);
                    from = planes;
                }
                prepared = image;
            }
            const T *packed = job->packed + group * v->packed;
            for (int64_t i = 0; i < v->products; packed += v->product[i].rows * v->product[i].k, i++) {
                const product *p = &v->product[i];
                if (i > 0 && p[-1].alternates)
                    continue; /* done with the one before */
                const int64_t blocks = block_count(p->rows);
                N(multiply)(p, from, packed, part * blocks / job->parts, (part + 1) * blocks / job->parts,
                            job->bias ? job->bias + group * v->rows : NULL, job->relu, job->out + image * out_size + p->out_base,
                            is_dense(p, WIDTH) ? NULL : tile, &ahead);
            }
        }
    }
}

/* out = the products of v on in: forward with v = plan_forward(), the gradient of x with v = plan_backward(). */
static tn_status N(multiply_all)(const convolution *v, const T *in, const T *weight, const T *bias, bool relu, T *out)
{
    const tn_conv *c = v->conv;
    const int64_t images = c->n * c->groups, room = v->together > 1 ? v->depth * v->plan.h * v->plan.w : 0;
    N(multiply_job) job = {.v = v, .in = in, .bias = bias, .out = out, .parts = 1, .relu = relu,
                           .direct = is_direct(v, WIDTH)};
    int64_t work = 0;
    for (int64_t i = 0; i < v->products; i++) {
        const product *p = &v->product[i];
        job.tile = tn_max_i64(job.tile, (p->alternates ? 2 : 1) * ROWS * product_pitch(p));
        work += images * p->rows * p->k * p->oh * p->ow;
    }
    job.workers = tn_workers_for(work);
    job.scratch_each = v->plan.plane * v->depth + SLACK + job.tile + room + SLACK;
    if (images < job.workers)
        job.parts = tn_min_i64(block_count(v->rows), tn_ceil_div(2 * job.workers, images));
    const size_t packed_size = (size_t)(v->packed * c->groups) * sizeof(T);
    const size_t scratch_size = (size_t)(job.scratch_each * job.workers) * sizeof(T);
    T *packed = tn_alloc(packed_size);
    job.scratch = packed ? tn_alloc(scratch_size) : NULL;
    if (job.scratch) {
        N(pack)(packed, v, weight);
        job.packed = packed;
        if (v->gaps)
            memset(out, 0, (size_t)(images * v->rows * v->out_plane) * sizeof(T));
        tn_parallel_for(job.workers, 1, N(multiply_images), &job);
    }
    tn_free(job.scratch, scratch_size);
    tn_free(packed, packed_size);
    return job.scratch ? TN_OK : TN_ERR_MEMORY;
}

#undef VEC
#undef WIDTH
#undef LOAD
#undef STORE
