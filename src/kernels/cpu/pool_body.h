/* Pooling for one element type T (pool.c includes this file for each). A row of outputs is made tap by tap, so that the inner loop runs
 * along the row. */

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

static void N(max_plane)(const pool_job *job, int64_t plane)
{
    const tn_pool *p = job->p;
    int32_t at[CHUNK];
    for (int64_t oy = 0; oy < p->oh; oy++) {
        for (int64_t ox = 0; ox < p->ow; ox += CHUNK) {
            int64_t count = tn_min_i64(CHUNK, p->ow - ox), o = (plane * p->oh + oy) * p->ow + ox;
            N(max_chunk)(p, (const T *)job->in + plane * p->h * p->w, (T *)job->out + o, at, oy, ox, count);
            for (int64_t i = 0; job->index && i < count; i++) {
                if (job->wide)
                    ((int32_t *)job->index)[o + i] = at[i];
                else
                    job->index[o + i] = (unsigned char)at[i];
            }
        }
    }
}

static void N(scatter_plane)(const pool_job *job, int64_t plane)
{
    const tn_pool *p = job->p;
    T *dx = (T *)job->out + plane * p->h * p->w;
    memset(dx, 0, (size_t)(p->h * p->w) * sizeof(T));
    for (int64_t oy = 0; oy < p->oh; oy++) {
        for (int64_t ox = 0; ox < p->ow; ox++) {
            int64_t o = (plane * p->oh + oy) * p->ow + ox;
            int64_t to = position_of(p, oy, ox, index_at(job->index, job->wide, o));
            if (to >= 0)
                dx[to] += ((const T *)job->in)[o];
        }
    }
}

static void N(max_planes)(int64_t begin, int64_t end, void *context)
{
    const pool_job *job = context;
    for (int64_t plane = begin; plane < end; plane++)
        N(max_plane)(job, plane);
}

static void N(scatter_planes)(int64_t begin, int64_t end, void *context)
{
    const pool_job *job = context;
    for (int64_t plane = begin; plane < end; plane++)
        N(scatter_plane)(job, plane);
}

#ifndef WITHOUT_AVERAGE
static void N(average_plane)(const pool_job *job, int64_t plane)
{
    const tn_pool *p = job->p;
    const T *x = (const T *)job->in + plane * p->h * p->w;
    for (int64_t oy = 0; oy < p->oh; oy++) {
        T *y = (T *)job->out + (plane * p->oh + oy) * p->ow;
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
    const pool_job *job = context;
    for (int64_t plane = begin; plane < end; plane++)
        N(average_plane)(job, plane);
}

static void N(spread_plane)(const pool_job *job, int64_t plane)
{
    const tn_pool *p = job->p;
    memset((T *)job->out + plane * p->h * p->w, 0, (size_t)(p->h * p->w) * sizeof(T));
    for (int64_t row = plane * p->oh; row < (plane + 1) * p->oh; row++) {
        int64_t oy = row % p->oh;
        taps ty = taps_of(oy, p->stride_h, p->pad_h, 1, p->kh, p->h);
        T *x = (T *)job->out + (row / p->oh * p->h + oy * p->stride_h - p->pad_h) * p->w;
        for (int64_t ox = 0; ox < p->ow; ox++) {
            taps tx = taps_of(ox, p->stride_w, p->pad_w, 1, p->kw, p->w);
            T g = ((const T *)job->in)[row * p->ow + ox] / (T)divisor_of(p, oy, ox);
            T *to = x + ox * p->stride_w - p->pad_w;
            for (int64_t ky = ty.begin; ky < ty.end; ky++)
                for (int64_t kx = tx.begin; kx < tx.end; kx++)
                    to[ky * p->w + kx] += g;
        }
    }
}

static void N(spread_planes)(int64_t begin, int64_t end, void *context)
{
    const pool_job *job = context;
    for (int64_t plane = begin; plane < end; plane++)
        N(spread_plane)(job, plane);
}
#endif
