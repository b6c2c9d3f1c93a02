/* Convolution for one element type T (conv.c includes this file for float and for double; N(name) makes the names).
 *
 * All three products read an image that was spread over padded planes, in which every tap of the kernel is a constant distance from
 * the output's position: for stride 1 that is the padded image itself, for stride s there is a plane for each of the s * s phases. So
 * one loop over (distance, weight) pairs serves any stride, padding and dilation, with whole vectors of neighbouring outputs, without
 * unfolding the image (im2col). Rows of outputs are computed at the planes' pitch: the few columns too many are dropped at the store. */

typedef T N(vec) __attribute__((vector_size(TN_VECTOR_BYTES)));
typedef T N(uvec) __attribute__((vector_size(TN_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
#define VEC N(vec)
#define WIDTH ((int64_t)(TN_VECTOR_BYTES / sizeof(T)))
#define LOAD(p) ((VEC)(*(const N(uvec) *)(p)))
#if defined(__x86_64__) && TN_VECTOR_BYTES == 64
#define KEEP(v) __asm__("" : "+v"(v)) /* in a register, however cheap a load is thought to be */
#else
#define KEEP(v) (void)(v)
#endif
#define STORE(p, v) (*(N(uvec) *)(p) = (N(uvec))(v))

/* out[0 ... n) = in[0 ... n): rows are short, so that memcpy's own dispatch would cost as much as the copy. */
TN_INLINE void N(copy_row)(T *out, const T *in, int64_t n)
{
    if (n >= WIDTH) {
        for (int64_t i = 0; i + WIDTH <= n; i += WIDTH)
            STORE(out + i, LOAD(in + i));
        STORE(out + n - WIDTH, LOAD(in + n - WIDTH));
    } else {
        for (int64_t i = 0; i < n; i++)
            out[i] = in[i];
    }
}

/* out[0 ... n) = in[0], in[stride], ... */
TN_INLINE void N(pick_row)(T *out, const T *in, int64_t stride, int64_t n)
{
    typedef T eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
    if (stride == 2 && n >= 8) {
        for (int64_t next = 0; next < n; next += 8) {
            int64_t i = tn_min_i64(next, n - 8);
            eight low = *(const eight *)(in + 2 * i), high = *(const eight *)(in + 2 * i + 7); /* to the last that is picked */
            *(eight *)(out + i) = __builtin_shufflevector(low, high, 0, 2, 4, 6, 9, 11, 13, 15);
        }
    } else {
        for (int64_t i = 0; i < n; i++)
            out[i] = in[i * stride];
    }
}

/* even[0 ... n) = in[0], in[2], ... and odd[0 ... n) = in[1], in[3], ...; n is 16 at least, and ends overlap. */
TN_INLINE void N(part_row)(T *even, T *odd, const T *in, int64_t n)
{
    typedef T sixteen __attribute__((vector_size(16 * sizeof(T)), aligned(sizeof(T)), may_alias));
    for (int64_t next = 0; next < n; next += 16) {
        const int64_t i = tn_min_i64(next, n - 16);
        const sixteen low = *(const sixteen *)(in + 2 * i), high = *(const sixteen *)(in + 2 * i + 16);
        *(sixteen *)(even + i) = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        *(sixteen *)(odd + i) = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    }
}

/* out[0], out[stride], ... = in[0 ... n) */
TN_INLINE void N(put_row)(T *out, const T *in, int64_t stride, int64_t n)
{
#if defined(__AVX512F__)
    const __m512i pairs = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0), more = _mm512_add_epi32(pairs, _mm512_set1_epi32(8));
    for (int64_t i = 0; i < n && stride == 2 && sizeof(T) == sizeof(float); i += 16) {
        const uint32_t lanes = n - i >= 16 ? 0xffff : (1u << (n - i)) - 1, even = _pdep_u32(lanes, 0x55555555);
        const __m512 v = _mm512_maskz_loadu_ps((__mmask16)lanes, (const float *)(const void *)(in + i));
        _mm512_mask_storeu_ps((float *)(void *)(out + 2 * i), (__mmask16)even, _mm512_permutexvar_ps(pairs, v));
        _mm512_mask_storeu_ps((float *)(void *)(out + 2 * i + 16), (__mmask16)(even >> 16), _mm512_permutexvar_ps(more, v));
    }
    if (stride == 2 && sizeof(T) == sizeof(float))
        return;
#endif
    for (int64_t i = 0; i < n; i++)
        out[i * stride] = in[i];
}

/* spread() where columns go in turn to two planes of one width, each whole vectors wide; else returns false. */
static __attribute__((noinline)) bool N(spread_pairs)(T *out, const spread_plan *s, const T *in, int64_t channels)
{
    if (WIDTH != 16 || s->x.stride != 2 || s->x.phases != 2)
        return false;
    const span a = axis_span(&s->x, 0, s->w), b = axis_span(&s->x, 1, s->w);
    const int64_t n = a.end - a.begin, odd = 2 * a.begin + a.shift; /* the first column of the first plane */
    if (b.end - b.begin != n || n < 16 || odd + 2 * b.begin + b.shift != 1)
        return false;
    for (int64_t phase = 0; phase < s->y.phases; phase++) {
        const span r = axis_span(&s->y, phase, s->h);
        for (int64_t c = 0; c < channels; c++) {
            T *first = out + c * s->plane + 2 * phase * s->y.size * s->x.size, *second = first + s->y.size * s->x.size;
            for (int64_t q = r.begin; q < r.end; q++) {
                T *to[] = {first + q * s->x.size + a.begin, second + q * s->x.size + b.begin};
                N(part_row)(to[odd], to[!odd], in + (c * s->h + q * s->y.stride + r.shift) * s->w, n);
            }
        }
    }
    return true;
}

/* Copies `channels` planes [h, w] into spread planes; what lies outside the image was set to zero before. */
static void N(spread)(T *out, const spread_plan *s, const T *in, int64_t channels)
{
    if (s->x.stride == 2 && N(spread_pairs)(out, s, in, channels))
        return;
    for (int64_t phase = 0; phase < s->y.phases * s->x.phases; phase++) {
        span ry = axis_span(&s->y, phase / s->x.phases, s->h), rx = axis_span(&s->x, phase % s->x.phases, s->w);
        for (int64_t c = 0; c < channels; c++) {
            T *plane = out + c * s->plane + phase * s->y.size * s->x.size;
            for (int64_t q = ry.begin; q < ry.end; q++) {
                const T *from = in + (c * s->h + q * s->y.stride + ry.shift) * s->w + rx.begin * s->x.stride + rx.shift;
                T *to = plane + q * s->x.size + rx.begin;
                for (int64_t ahead = 0; ahead < s->w; ahead += 64 / (int64_t)sizeof(T)) /* planes are shorter than the processor looks */
                    __builtin_prefetch(from + s->h * s->w + ahead);
                if (s->x.stride == 1)
                    N(copy_row)(to, from, rx.end - rx.begin);
                else
                    N(pick_row)(to, from, s->x.stride, rx.end - rx.begin);
            }
        }
    }
}

/* tile[r][v] = bias[r] + sum over k of w[k][r] * x[off[k] + v], v being vectors x_step (in the tile: step) apart. */
TN_INLINE void N(block)(int rows, int vectors, const T *x, int64_t x_step, const int64_t *off, int64_t k, const T *w, const T *bias,
                        bool relu, T *tile, int64_t pitch, int64_t step)
{
    VEC acc[12];
    const VEC zero = {0};
    TN_UNROLL for (int i = 0; i < rows * vectors; i++)
        acc[i] = zero;
    for (int64_t i = 0; i < k; i++, w += rows) {
        const T *at = x + off[i];
        VEC xv[12];
        if (rows > 1) {
            TN_UNROLL for (int v = 0; v < vectors; v++)
                xv[v] = LOAD(at + v * x_step);
        }
        TN_UNROLL for (int r = 0; r < rows; r++) {
            VEC wr = w[r] - zero; /* a splat: x - 0 is x */
            TN_UNROLL for (int v = 0; v < vectors; v++)
                acc[r * vectors + v] += (rows > 1 ? xv[v] : LOAD(at + v * x_step)) * wr;
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

/* Asks for the next lines of what is read soon, a few at a time: many at once would keep waiting what is read now. */
typedef struct {
    const char *at, *end;
    int64_t each;
} N(ahead);
TN_INLINE void N(fetch)(N(ahead) *a)
{
    for (int64_t i = 0; i < a->each && a->at < a->end; i++, a->at += 64)
        __builtin_prefetch(a->at, 0, 2);
}

/* One block of rows over `length` neighbouring outputs. The tile and the planes have room for whole vectors. */
#define CONV_ROWS(rows, vectors)                                                                                              \
    static void N(rows_##rows)(const T *x, const int64_t *off, int64_t k, const T *w, const T *bias, bool relu, T *tile,      \
                               int64_t pitch, int64_t length, N(ahead) *ahead)                                                \
    {                                                                                                                         \
        int64_t i = 0;                                                                                                        \
        for (; i + (vectors - 1) * WIDTH < length; i += vectors * WIDTH) {                                                    \
            N(fetch)(ahead);                                                                                                  \
            N(block)(rows, vectors, x + i, WIDTH, off, k, w, bias, relu, tile + i, pitch, WIDTH);                             \
        }                                                                                                                     \
        for (; i < length; i += WIDTH)                                                                                        \
            N(block)(rows, 1, x + i, WIDTH, off, k, w, bias, relu, tile + i, pitch, WIDTH);                                   \
    }
CONV_ROWS(1, 12)
CONV_ROWS(2, 6)
CONV_ROWS(3, 4)
CONV_ROWS(4, 3)
CONV_ROWS(5, 2)
CONV_ROWS(6, 2)
#undef CONV_ROWS

static void (*const N(rows_of)[])(const T *, const int64_t *, int64_t, const T *, const T *, bool, T *, int64_t, int64_t, N(ahead) *) = {
    NULL, N(rows_1), N(rows_2), N(rows_3), N(rows_4), N(rows_5), N(rows_6),
};

/* A product of one row (depthwise): without a tile, 4 lines of at least a vector together; at their end vectors overlap. */
static void N(multiply_lines)(const product *p, const T *x, const T *packed, const T *bias, bool relu, T *out)
{
    for (int64_t y = 0; y < p->oh;) {
        int64_t lines = p->oh - y >= 4 ? 4 : 1;
        for (int64_t next = 0; next < p->ow; next += WIDTH) {
            int64_t i = tn_min_i64(next, p->ow - WIDTH);
            const T *from = x + p->base + y * p->cols + i;
            T *to = out + y * p->out_row + i;
            if (lines == 4)
                N(block)(1, 4, from, p->cols, p->off, p->k, packed, bias, relu, to, 0, p->out_row);
            else
                N(block)(1, 1, from, 0, p->off, p->k, packed, bias, relu, to, 0, 0);
        }
        y += lines;
    }
}

/* A 1 x 1 kernel reads the image as it lies and writes the result as it lies, where strips are of whole vectors. */
static bool N(is_direct)(const convolution *v)
{
    const tn_conv *c = v->conv;
    const product *p = &v->product[0];
    return c->kh == 1 && c->kw == 1 && c->stride_h == 1 && c->stride_w == 1 && c->pad_h == 0 && c->pad_w == 0 &&
           p->oh * p->ow % WIDTH == 0 && product_strip(p) * p->cols % WIDTH == 0;
}

/* Blocks [first, last) of one product: spread planes x by packed weights into out, by way of the tile or (NULL) directly; what is `ahead` is
 * fetched meanwhile. */
static void N(multiply)(const product *p, const T *x, const T *packed, int64_t first, int64_t last, const T *bias, bool relu, T *out,
                        T *tile, N(ahead) *ahead)
{
    int64_t strip = product_strip(p), pitch = product_pitch(p);
    if (p->rows == 1 && p->out_col == 1 && p->ow >= WIDTH) {
        N(multiply_lines)(p, x, packed, bias, relu, out);
        return;
    }
    for (int64_t y = 0; y < p->oh; y += strip) {
        int64_t lines = tn_min_i64(strip, p->oh - y), length = (lines - 1) * p->cols + p->ow;
        for (int64_t b = first; b < last; b++) {
            int64_t row = block_begin(p->rows, b), count = block_begin(p->rows, b + 1) - row;
            T *sums = tile ? tile : out + row * p->out_plane + y * p->out_row;
            N(rows_of)[count](x + p->base + y * p->cols, p->off, p->k, packed + row * p->k, bias ? bias + row : NULL, relu, sums,
                              tile ? pitch : p->out_plane, length, ahead);
            for (int64_t r = 0; tile && r < count; r++) {
                T *to = out + (row + r) * p->out_plane + y * p->out_row;
                const T *from = tile + r * pitch;
                for (int64_t i = 0; i < lines; i++, to += p->out_row, from += p->cols) {
                    if (p->out_col == 1) {
                        N(copy_row)(to, from, p->ow);
                        continue;
                    }
                    N(put_row)(to, from, p->out_col, p->ow);
                }
            }
        }
    }
}

/* Weights in the order in which multiply() reads them: [group][product][block][k][row of the block]. Forward has the outputs as rows and
 * one product; the gradient of x has the inputs as rows, and for each phase of x a product of its own with the taps that reach it. */
static void N(pack)(T *packed, const convolution *v, const T *weight)
{
    const tn_conv *c = v->conv;
    int64_t in = c->c_in / c->groups, taps = c->kh * c->kw;
    for (int64_t g = 0; g < c->groups; g++, weight += c->c_out / c->groups * in * taps) {
        for (int64_t i = 0; i < v->products; i++) {
            const product *p = &v->product[i];
            for (int64_t b = 0; b < block_count(p->rows); b++) {
                int64_t begin = block_begin(p->rows, b), end = block_begin(p->rows, b + 1);
                for (int64_t k = 0; k < p->k; k++) {
                    for (int64_t r = begin; r < end; r++) {
                        int64_t o = v->transposed ? p->channel[k] : r, j = v->transposed ? r : p->channel[k];
                        *packed++ = weight[(o * in + j) * taps + p->tap[k]];
                    }
                }
            }
        }
    }
}

typedef struct {
    const convolution *v;
    const T *in, *packed, *bias;
    T *out, *scratch;
    int64_t scratch_each, workers, parts;
    bool relu, direct;
} N(multiply_job);

static void N(multiply_images)(int64_t begin, int64_t end, void *context)
{
    const N(multiply_job) *job = context;
    const convolution *v = job->v;
    const tn_conv *c = v->conv;
    int64_t units = c->n * c->groups * job->parts, in_size = v->in * v->plan.h * v->plan.w, out_size = v->out_plane * v->rows;
    for (int64_t worker = begin; worker < end; worker++) {
        T *planes = job->scratch + worker * job->scratch_each, *tile = planes + v->plan.plane * v->in + SLACK;
        if (!job->direct)
            memset(planes, 0, (size_t)(tile - planes) * sizeof(T));
        int64_t spread_now = -1;
        for (int64_t u = worker * units / job->workers; u < (worker + 1) * units / job->workers; u++) {
            int64_t image = u / job->parts, part = u % job->parts, group = image % c->groups;
            const T *in = job->in + image * in_size;
            N(ahead) ahead = {0}; /* of a direct product the next image, over all of this one's blocks */
            if (image != spread_now && job->direct && job->parts == 1 && u + 1 < (worker + 1) * units / job->workers) {
                const product *p = &v->product[0];
                ahead.at = (const char *)(in + in_size), ahead.end = ahead.at + (size_t)in_size * sizeof(T);
                ahead.each = tn_ceil_div(ahead.end - ahead.at, 64 * tn_max_i64(1, block_count(p->rows) * (p->oh * p->ow / (2 * WIDTH))));
            }
            if (image != spread_now && !job->direct)
                N(spread)(planes, &v->plan, in, v->in);
            spread_now = image;
            const T *packed = job->packed + group * v->packed;
            for (int64_t i = 0; i < v->products; packed += v->product[i].rows * v->product[i].k, i++) {
                const product *p = &v->product[i];
                int64_t blocks = block_count(p->rows);
                T *out = job->out + image * out_size + p->out_base;
                N(multiply)(p, job->direct ? in : planes, packed, part * blocks / job->parts, (part + 1) * blocks / job->parts,
                            job->bias ? job->bias + group * v->rows : NULL, job->relu, out, job->direct ? NULL : tile, &ahead);
            }
        }
    }
}

/* out = the products of v on in: forward with v = plan_forward(), the gradient of x with v = plan_backward(). */
static tn_status N(multiply_all)(const convolution *v, const T *in, const T *weight, const T *bias, bool relu, T *out)
{
    const tn_conv *c = v->conv;
    int64_t images = c->n * c->groups, workers = tn_parallel_width(), tile = 0;
    for (int64_t i = 0; i < v->products; i++)
        tile = tn_max_i64(tile, 6 * product_pitch(&v->product[i]));
    N(multiply_job) job = {v, in, NULL, bias, out, NULL, v->plan.plane * v->in + SLACK + tile + 16, workers, 1, relu, N(is_direct)(v)};
    if (images < workers)
        job.parts = tn_min_i64(block_count(v->rows), tn_ceil_div(2 * workers, images));
    size_t packed_size = (size_t)(v->packed * c->groups) * sizeof(T);
    size_t scratch_size = (size_t)(job.scratch_each * workers) * sizeof(T);
    T *packed = tn_alloc(packed_size);
    job.scratch = packed ? tn_alloc(scratch_size) : NULL;
    if (job.scratch) {
        N(pack)(packed, v, weight);
        job.packed = packed;
        if (v->gaps)
            memset(out, 0, (size_t)(images * v->rows * v->out_plane) * sizeof(T));
        tn_parallel_for(workers, 1, N(multiply_images), &job);
    }
    tn_free(job.scratch, scratch_size);
    tn_free(packed, packed_size);
    return job.scratch ? TN_OK : TN_ERR_MEMORY;
}

TN_INLINE T N(fold)(VEC v)
{
#if TN_VECTOR_BYTES == 64
    if (sizeof(T) == sizeof(float))
        return (T)tn_fold16_((const tn_lanes16_ *)(const void *)&v);
#endif
    T lane[TN_VECTOR_BYTES / sizeof(T)];
    memcpy(lane, &v, sizeof lane);
    TN_UNROLL for (int width = (int)WIDTH / 2; width > 0; width /= 2) {
        TN_UNROLL for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    }
    return lane[0];
}

/* dw[r][t] += sum over images and positions of dy[r][...] * x[off[t] + ...], for `rows` outputs and `taps` distances. */
TN_INLINE void N(dots)(int rows, int taps, const weight_plan *w, const T *x, const T *dy, int64_t first, T *dw)
{
    VEC acc[12];
    const VEC zero = {0};
    TN_UNROLL for (int i = 0; i < rows * taps; i++)
        acc[i] = zero;
    for (int64_t image = 0; image < w->images; image++) {
        const T *xi = x + image * w->x_image, *dyi = dy + image * w->dy_image;
        const T *at[9];
        TN_UNROLL for (int t = 0; t < taps; t++)
            at[t] = xi + w->off[tn_min_i64(first + t, w->k - 1)];
        for (int64_t i = 0; i < w->length; i += WIDTH) {
            VEC dyv[4];
            TN_UNROLL for (int r = 0; r < rows; r++) {
                dyv[r] = LOAD(dyi + r * w->dy_plane + i);
                KEEP(dyv[r]); /* once for all taps */
            }
            TN_UNROLL for (int t = 0; t < taps; t++) {
                VEC xv = LOAD(at[t] + i);
                TN_UNROLL for (int r = 0; r < rows; r++)
                    acc[r * taps + t] += xv * dyv[r];
            }
        }
    }
    for (int t = 0; t < taps && first + t < w->k; t++)
        for (int r = 0; r < rows; r++)
            dw[r * w->k + first + t] += N(fold)(acc[r * taps + t]);
}

#define DOT_ROWS(rows, taps)                                                                                                  \
    static void N(dot_rows_##rows)(const weight_plan *w, const T *x, const T *dy, T *dw)                                      \
    {                                                                                                                         \
        for (int64_t k = 0; k < w->k; k += taps)                                                                              \
            N(dots)(rows, taps, w, x, dy, k, dw);                                                                             \
    }
DOT_ROWS(1, 9)
DOT_ROWS(2, 6)
DOT_ROWS(3, 3)
DOT_ROWS(4, 3)
#undef DOT_ROWS

typedef struct {
    const convolution *v;
    const weight_plan *w;
    const T *x, *dy;
    T *dw, *db, *partial, *scratch; /* partial is [chunks][c_out][k + 1]: dw, then db */
    int64_t scratch_each, workers, chunks, parts, batch;
} N(weight_job);

/* One chunk of images, one group, one part of its outputs: into the chunk's partial sums. */
static void N(weight_unit)(const N(weight_job) *job, T *planes, T *grads, int64_t chunk, int64_t group, int64_t part)
{
    const convolution *v = job->v;
    const tn_conv *c = v->conv;
    weight_plan w = *job->w;
    int64_t begin = chunk * c->n / job->chunks, end = (chunk + 1) * c->n / job->chunks, spatial = c->oh * c->ow;
    int64_t row0 = part * v->rows / job->parts, rows = (part + 1) * v->rows / job->parts - row0;
    T *dw = job->partial + (chunk * c->c_out + group * v->rows + row0) * (w.k + 1), *db = dw + rows * w.k;
    memset(dw, 0, (size_t)(rows * (w.k + 1)) * sizeof(T));
    for (int64_t i = begin; i < end; i += w.images) {
        w.images = tn_min_i64(job->batch, end - i);
        for (int64_t b = 0; b < w.images; b++) {
            const T *dy = job->dy + ((i + b) * c->c_out + group * v->rows + row0) * spatial;
            N(spread)(planes + b * w.x_image, &v->plan, job->x + ((i + b) * c->c_in + group * v->in) * c->h * c->w, v->in);
            for (int64_t r = 0; r < rows; r++) {
                T *to = grads + b * w.dy_image + r * w.dy_plane;
                for (int64_t y = 0; y < c->oh; y++)
                    N(copy_row)(to + y * v->plan.x.size, dy + r * spatial + y * c->ow, c->ow);
                VEC total = {0};
                for (int64_t p = 0; job->db && p < w.length; p += WIDTH)
                    total += LOAD(to + p);
                db[r] += N(fold)(total);
            }
        }
        for (int64_t r = 0; job->dw && r < rows; r += 4) {
            static void (*const of[])(const weight_plan *, const T *, const T *, T *) = {
                NULL, N(dot_rows_1), N(dot_rows_2), N(dot_rows_3), N(dot_rows_4)};
            of[tn_min_i64(4, rows - r)](&w, planes, grads + r * w.dy_plane, dw + r * w.k);
        }
    }
}

static void N(weight_units)(int64_t begin, int64_t end, void *context)
{
    const N(weight_job) *job = context;
    int64_t groups = job->v->conv->groups, units = job->chunks * groups * job->parts;
    for (int64_t worker = begin; worker < end; worker++) {
        T *planes = job->scratch + worker * job->scratch_each, *grads = planes + tn_ceil_div(job->batch * job->w->x_image + SLACK, 16) * 16;
        memset(planes, 0, (size_t)job->scratch_each * sizeof(T));
        for (int64_t u = worker * units / job->workers; u < (worker + 1) * units / job->workers; u++)
            N(weight_unit)(job, planes, grads, u / job->parts / groups, u / job->parts % groups, u % job->parts);
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

/* The gradients of weight and bias. How images are cut into chunks, and outputs into parts, follows from the shape alone. */
static tn_status N(weight_grad)(const convolution *v, const T *x, const T *dy, T *dw, T *db)
{
    const tn_conv *c = v->conv;
    const product *p = &v->product[0];
    int64_t length = tn_ceil_div((c->oh - 1) * p->cols + c->ow, WIDTH) * WIDTH;
    N(weight_job) job = {.v = v, .x = x, .dy = dy, .dw = dw, .db = db, .workers = tn_parallel_width()};
    int64_t weights = c->c_out * (p->k + 1);
    job.chunks = tn_max_i64(1, tn_min_i64(tn_min_i64(c->n, 16), ((int64_t)4 << 20) / weights));
    job.parts = tn_min_i64(tn_ceil_div(v->rows, 4), tn_ceil_div(16, job.chunks * c->groups));
    int64_t rows = tn_ceil_div(v->rows, job.parts);
    weight_plan w = {p->k, p->off, 1, length, length, length * rows, v->plan.plane * v->in};
    job.batch = tn_max_i64(1, tn_min_i64(tn_ceil_div(c->n, job.chunks), 131072 / (w.x_image + w.dy_image)));
    job.scratch_each = tn_ceil_div(job.batch * (w.x_image + w.dy_image) + SLACK + 32, 16) * 16;
    job.w = &w;
    size_t partial_size = (size_t)(job.chunks * weights) * sizeof(T), scratch_size = (size_t)(job.scratch_each * job.workers) * sizeof(T);
    job.partial = tn_alloc(partial_size);
    job.scratch = job.partial ? tn_alloc(scratch_size) : NULL;
    if (job.scratch) {
        tn_parallel_for(job.workers, 1, N(weight_units), &job);
        N(weight_sum)(&job);
    }
    tn_free(job.scratch, scratch_size);
    tn_free(job.partial, partial_size);
    return job.scratch ? TN_OK : TN_ERR_MEMORY;
}

#undef VEC
#undef WIDTH
#undef LOAD
#undef KEEP
#undef STORE
