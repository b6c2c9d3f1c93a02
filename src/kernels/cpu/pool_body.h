/* Pooling for one element type T (pool.c includes this file for each). A row of outputs is made tap by tap, so that the inner loop runs
 * along the row; windows of 2 x 2 with stride 2 have a loop of their own, with vectors. */

typedef struct {
    const tn_pool *p;
    const T *in;
    T *out;
    unsigned char *index; /* bytes, or i32 where wide */
    bool wide;
} N(pool_job);

static void N(max_chunk)(const tn_pool *p, const T *x, T *y, int32_t *at, int64_t oy, int64_t ox0, int64_t count)
{
    taps ty = taps_of(oy, p->stride_h, p->pad_h, p->dil_h, p->kh, p->h);
    for (int64_t i = 0; i < count; i++) {
        taps tx = taps_of(ox0 + i, p->stride_w, p->pad_w, p->dil_w, p->kw, p->w);
        y[i] = LOWEST;
        at[i] = (int32_t)(ty.begin * p->kw + tx.begin);
    }
    for (int64_t ky = ty.begin; ky < ty.end; ky++) {
        const T *row = x + (oy * p->stride_h - p->pad_h + ky * p->dil_h) * p->w;
        for (int64_t kx = 0; kx < p->kw; kx++) {
            taps o = outputs_of(kx, p, ox0, count);
            const T *from = row + (ox0 + o.begin) * p->stride_w - p->pad_w + kx * p->dil_w;
            int32_t tap = (int32_t)(ky * p->kw + kx);
            for (int64_t i = o.begin; i < o.end; i++, from += p->stride_w) {
                T v = *from;
                bool more = (v > y[i]) | IS_NAN(v);
                y[i] = more ? v : y[i];
                at[i] = more ? tap : at[i];
            }
        }
    }
}

static void N(max_plane)(const N(pool_job) *job, int64_t plane)
{
    const tn_pool *p = job->p;
    int32_t at[CHUNK];
    for (int64_t oy = 0; oy < p->oh; oy++) {
        for (int64_t ox = 0; ox < p->ow; ox += CHUNK) {
            int64_t count = tn_min_i64(CHUNK, p->ow - ox), o = (plane * p->oh + oy) * p->ow + ox;
            N(max_chunk)(p, job->in + plane * p->h * p->w, job->out + o, at, oy, ox, count);
            for (int64_t i = 0; job->index && i < count; i++) {
                if (job->wide)
                    ((int32_t *)job->index)[o + i] = at[i];
                else
                    job->index[o + i] = (unsigned char)at[i];
            }
        }
    }
}

static void N(scatter_plane)(const N(pool_job) *job, int64_t plane)
{
    const tn_pool *p = job->p;
    T *dx = job->out + plane * p->h * p->w;
    memset(dx, 0, (size_t)(p->h * p->w) * sizeof(T));
    for (int64_t oy = 0; oy < p->oh; oy++) {
        for (int64_t ox = 0; ox < p->ow; ox++) {
            int64_t o = (plane * p->oh + oy) * p->ow + ox;
            int64_t to = position_of(p, oy, ox, index_at(job->index, job->wide, o));
            if (to >= 0)
                dx[to] += job->in[o];
        }
    }
}

#ifdef VECTOR_2X2
/* A vector of `lanes` outputs of the 2 x 2 windows, and of their gradients (without an index those of averages); H is the integer of T's
 * size. */
#define POOL_VECTOR(lanes, EVEN, ODD, LOW, HIGH)                                                                              \
    typedef T N(v##lanes) __attribute__((vector_size(lanes * sizeof(T)), aligned(sizeof(T)), may_alias));                     \
    typedef H N(h##lanes) __attribute__((vector_size(lanes * sizeof(T)), aligned(sizeof(T)), may_alias));                     \
    typedef uint8_t N(b##lanes) __attribute__((vector_size(lanes), aligned(1), may_alias));                                   \
    TN_INLINE void N(max_2x2_##lanes)(const T *x0, const T *x1, T *y, uint8_t *index)                                         \
    {                                                                                                                         \
        N(v##lanes) l0 = *(const N(v##lanes) *)x0, h0 = *(const N(v##lanes) *)(x0 + lanes);                                   \
        N(v##lanes) l1 = *(const N(v##lanes) *)x1, h1 = *(const N(v##lanes) *)(x1 + lanes);                                   \
        N(v##lanes) tap[4] = {__builtin_shufflevector(l0, h0, EVEN), __builtin_shufflevector(l0, h0, ODD),                    \
                              __builtin_shufflevector(l1, h1, EVEN), __builtin_shufflevector(l1, h1, ODD)};                   \
        N(v##lanes) best = tap[0];                                                                                            \
        N(h##lanes) at = {0};                                                                                                 \
        TN_UNROLL for (int i = 1; i < 4; i++) {                                                                               \
            N(h##lanes) more = (N(h##lanes))((tap[i] > best) | (tap[i] != tap[i]));                                           \
            best = (N(v##lanes))((more & (N(h##lanes))tap[i]) | (~more & (N(h##lanes))best));                                 \
            at = (more & i) | (~more & at);                                                                                   \
        }                                                                                                                     \
        *(N(v##lanes) *)y = best;                                                                                             \
        if (index)                                                                                                            \
            *(N(b##lanes) *)index = __builtin_convertvector(at, N(b##lanes));                                                 \
    }                                                                                                                         \
    TN_INLINE void N(average_2x2_##lanes)(const T *x0, const T *x1, T *y, T divisor)                                          \
    {                                                                                                                         \
        N(v##lanes) l0 = *(const N(v##lanes) *)x0, h0 = *(const N(v##lanes) *)(x0 + lanes);                                   \
        N(v##lanes) l1 = *(const N(v##lanes) *)x1, h1 = *(const N(v##lanes) *)(x1 + lanes);                                   \
        N(v##lanes) top = __builtin_shufflevector(l0, h0, EVEN) + __builtin_shufflevector(l0, h0, ODD);                       \
        *(N(v##lanes) *)y = (top + __builtin_shufflevector(l1, h1, EVEN) + __builtin_shufflevector(l1, h1, ODD)) / divisor;   \
    }                                                                                                                         \
    TN_INLINE void N(scatter_2x2_##lanes)(const T *dy, const uint8_t *index, T divisor, T *x0, T *x1)                         \
    {                                                                                                                         \
        N(h##lanes) tap[4];                                                                                                   \
        if (index) {                                                                                                          \
            N(h##lanes) g = *(const N(h##lanes) *)dy, at = __builtin_convertvector(*(const N(b##lanes) *)index, N(h##lanes)); \
            TN_UNROLL for (int i = 0; i < 4; i++)                                                                             \
                tap[i] = g & (N(h##lanes))(at == i);                                                                          \
        } else {                                                                                                              \
            tap[0] = tap[1] = tap[2] = tap[3] = (N(h##lanes))(*(const N(v##lanes) *)dy / divisor);                            \
        }                                                                                                                     \
        *(N(h##lanes) *)x0 = __builtin_shufflevector(tap[0], tap[1], LOW);                                                    \
        *(N(h##lanes) *)(x0 + lanes) = __builtin_shufflevector(tap[0], tap[1], HIGH);                                         \
        *(N(h##lanes) *)x1 = __builtin_shufflevector(tap[2], tap[3], LOW);                                                    \
        *(N(h##lanes) *)(x1 + lanes) = __builtin_shufflevector(tap[2], tap[3], HIGH);                                         \
    }

#define COMMA_8(a, b, c, d, e, f, g, h) a, b, c, d, e, f, g, h
POOL_VECTOR(8, COMMA_8(0, 2, 4, 6, 8, 10, 12, 14), COMMA_8(1, 3, 5, 7, 9, 11, 13, 15), COMMA_8(0, 8, 1, 9, 2, 10, 3, 11),
            COMMA_8(4, 12, 5, 13, 6, 14, 7, 15))
#define COMMA_4(a, b, c, d) a, b, c, d
POOL_VECTOR(4, COMMA_4(0, 2, 4, 6), COMMA_4(1, 3, 5, 7), COMMA_4(0, 4, 1, 5), COMMA_4(2, 6, 3, 7))
#undef COMMA_8
#undef COMMA_4
#undef POOL_VECTOR

/* Rows of at least 4 outputs. */
TN_INLINE void N(max_rows_2x2)(const tn_pool *p, const T *x, T *y, uint8_t *index)
{
    const int64_t n = p->ow;
    for (int64_t oy = 0; oy < p->oh; oy++, x += 2 * p->w, y += n, index = index ? index + n : NULL) {
        const int64_t lanes = lanes_2x2(p, oy);
        for (int64_t next = 0; next < n; next += lanes) {
            const int64_t i = begin_2x2(next, n, lanes);
            if (lanes == 8)
                N(max_2x2_8)(x + 2 * i, x + p->w + 2 * i, y + i, index ? index + i : NULL);
            else
                N(max_2x2_4)(x + 2 * i, x + p->w + 2 * i, y + i, index ? index + i : NULL);
        }
    }
}

static void N(max_plane_2x2)(const N(pool_job) *job, int64_t plane)
{
    const tn_pool *p = job->p;
    const T *x = job->in + plane * p->h * p->w;
    const int64_t o = plane * p->oh * p->ow;
    if (job->index)
        N(max_rows_2x2)(p, x, job->out + o, job->index + o);
    else
        N(max_rows_2x2)(p, x, job->out + o, NULL); /* without what only an index needs */
}

static void N(scatter_plane_2x2)(const N(pool_job) *job, int64_t plane)
{
    const tn_pool *p = job->p;
    T *x = job->out + plane * p->h * p->w;
    int64_t o = plane * p->oh * p->ow, n = p->ow;
    const T divisor = (T)(p->divisor ? p->divisor : 4);
    for (int64_t oy = 0; oy < p->oh; oy++, o += n, x += 2 * p->w) {
        const uint8_t *index = job->index ? job->index + o : NULL;
        const int64_t lanes = lanes_2x2(p, oy);
        for (int64_t next = 0; next < n; next += lanes) {
            const int64_t i = begin_2x2(next, n, lanes);
            if (lanes == 8)
                N(scatter_2x2_8)(job->in + o + i, index ? index + i : NULL, divisor, x + 2 * i, x + p->w + 2 * i);
            else
                N(scatter_2x2_4)(job->in + o + i, index ? index + i : NULL, divisor, x + 2 * i, x + p->w + 2 * i);
        }
        for (int64_t i = 2 * n; i < p->w; i++)
            x[i] = x[p->w + i] = 0;
    }
    memset(x, 0, (size_t)((p->h - 2 * p->oh) * p->w) * sizeof(T));
}
#endif

static void N(max_planes)(int64_t begin, int64_t end, void *context)
{
    const N(pool_job) *job = context;
    for (int64_t plane = begin; plane < end; plane++) {
#ifdef VECTOR_2X2
        if (is_2x2(job->p)) {
            N(max_plane_2x2)(job, plane);
            continue;
        }
#endif
        N(max_plane)(job, plane);
    }
}

static void N(scatter_planes)(int64_t begin, int64_t end, void *context)
{
    const N(pool_job) *job = context;
    for (int64_t plane = begin; plane < end; plane++) {
#ifdef VECTOR_2X2
        if (is_2x2(job->p)) {
            N(scatter_plane_2x2)(job, plane);
            continue;
        }
#endif
        N(scatter_plane)(job, plane);
    }
}

#ifdef VECTOR_2X2 /* floats: integers have no average */
static void N(average_plane_2x2)(const N(pool_job) *job, int64_t plane)
{
    const tn_pool *p = job->p;
    const T *x = job->in + plane * p->h * p->w, divisor = (T)(p->divisor ? p->divisor : 4);
    T *y = job->out + plane * p->oh * p->ow;
    for (int64_t oy = 0; oy < p->oh; oy++, y += p->ow, x += 2 * p->w) {
        const int64_t lanes = lanes_2x2(p, oy);
        for (int64_t next = 0; next < p->ow; next += lanes) {
            const int64_t i = begin_2x2(next, p->ow, lanes);
            if (lanes == 8)
                N(average_2x2_8)(x + 2 * i, x + p->w + 2 * i, y + i, divisor);
            else
                N(average_2x2_4)(x + 2 * i, x + p->w + 2 * i, y + i, divisor);
        }
    }
}

static void N(average_plane)(const N(pool_job) *job, int64_t plane)
{
    const tn_pool *p = job->p;
    const T *x = job->in + plane * p->h * p->w;
    for (int64_t oy = 0; oy < p->oh; oy++) {
        T *y = job->out + (plane * p->oh + oy) * p->ow;
        taps ty = taps_of(oy, p->stride_h, p->pad_h, 1, p->kh, p->h);
        memset(y, 0, (size_t)p->ow * sizeof(T));
        for (int64_t ky = ty.begin; ky < ty.end; ky++) {
            const T *from = x + (oy * p->stride_h - p->pad_h + ky) * p->w - p->pad_w;
            for (int64_t kx = 0; kx < p->kw; kx++) {
                taps o = outputs_of(kx, p, 0, p->ow);
                for (int64_t i = o.begin; i < o.end; i++)
                    y[i] += from[i * p->stride_w + kx];
            }
        }
        for (int64_t i = 0; i < p->ow; i++)
            y[i] /= (T)divisor_of(p, oy, i);
    }
}

static void N(average_planes)(int64_t begin, int64_t end, void *context)
{
    const N(pool_job) *job = context;
    for (int64_t plane = begin; plane < end; plane++)
        (is_2x2(job->p) ? N(average_plane_2x2) : N(average_plane))(job, plane);
}

static void N(spread_plane)(const N(pool_job) *job, int64_t plane)
{
    const tn_pool *p = job->p;
    memset(job->out + plane * p->h * p->w, 0, (size_t)(p->h * p->w) * sizeof(T));
    for (int64_t row = plane * p->oh; row < (plane + 1) * p->oh; row++) {
        int64_t oy = row % p->oh;
        taps ty = taps_of(oy, p->stride_h, p->pad_h, 1, p->kh, p->h);
        T *x = job->out + (row / p->oh * p->h + oy * p->stride_h - p->pad_h) * p->w;
        for (int64_t ox = 0; ox < p->ow; ox++) {
            taps tx = taps_of(ox, p->stride_w, p->pad_w, 1, p->kw, p->w);
            T g = job->in[row * p->ow + ox] / (T)divisor_of(p, oy, ox);
            T *to = x + ox * p->stride_w - p->pad_w;
            for (int64_t ky = ty.begin; ky < ty.end; ky++)
                for (int64_t kx = tx.begin; kx < tx.end; kx++)
                    to[ky * p->w + kx] += g;
        }
    }
}

static void N(spread_planes)(int64_t begin, int64_t end, void *context)
{
    const N(pool_job) *job = context;
    for (int64_t plane = begin; plane < end; plane++)
        (is_2x2(job->p) ? N(scatter_plane_2x2) : N(spread_plane))(job, plane);
}
#endif
