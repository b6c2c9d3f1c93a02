/* Planes of elements E (pool_2x2.h includes this for each): maxima, averages and the gradients of both. */

TN_INLINE void N(gather_2x2)(plane_2x2 p, const E *xa, const E *xb, E *ya, E *yb, uint8_t *index_a, uint8_t *index_b, bool average)
{
    floats tap[4];
    N(split)(xa, xb, &tap[0], &tap[1]);
    N(split)(xa + p.w, xb + p.w, &tap[2], &tap[3]);
    if (average) {
        N(put)(N(rounded)((tap[0] + tap[1] + tap[2] + tap[3]) / p.divisor), ya, yb);
        return;
    }
    if (!index_a) {
        N(put)(greatest(tap), ya, yb);
    } else {
        words at;
        N(put)(greatest_at(tap, &at), ya, yb);
        put_index(N(placed)(at), index_a, index_b);
    }
}

TN_INLINE void N(gather_plane_2x2)(plane_2x2 p, const E *x, E *y, uint8_t *index, bool average)
{
    for (int64_t r = 0; r < rows_of(p); r += p.n > HALF ? 1 : 2)
        for (int64_t c = 0; c < p.n; c += LANES) {
            const pieces at = pieces_from(p, r, c);
            N(gather_2x2)(p, x + at.in_a, x + at.in_b, y + at.out_a, y + at.out_b, index ? index + at.out_a : NULL, index ? index + at.out_b : NULL, average);
        }
    if (p.n < HALF) {
        E row[HALF];
        uint8_t row_index[HALF];
        const E *from = x + last_of(p).in_a;
        N(gather_2x2)(p, from, from, row, row, index ? row_index : NULL, row_index, average);
        memcpy(y + (p.rows - 1) * p.n, row + HALF - p.n, (size_t)p.n * sizeof(E));
        if (index)
            memcpy(index + (p.rows - 1) * p.n, row_index + HALF - p.n, (size_t)p.n);
    }
}

/* Gradients of maxima, or of averages where there is no index, to two rows of x, w elements apart. A piece is written whole before the next. */
TN_INLINE void N(scatter_2x2)(plane_2x2 p, const E *ya, const E *yb, const uint8_t *index_a, const uint8_t *index_b, E *xa, E *xb, int64_t w)
{
    const floats dy = N(get)(ya, yb);
    words tap[4];
    if (index_a) {
        const words at = N(placed)(get_index(index_a, index_b));
        TN_UNROLL for (unsigned i = 0; i < 4; i++)
            tap[i] = where_at((words)dy, at, i);
    } else {
        tap[0] = tap[1] = tap[2] = tap[3] = (words)N(rounded)(dy / p.divisor);
    }
    COLUMNS top_a, top_b, bottom_a, bottom_b;
    N(join)(tap[0], tap[1], &top_a, &top_b);
    N(join)(tap[2], tap[3], &bottom_a, &bottom_b);
    *(COLUMNS *)xa = top_a;
    *(COLUMNS *)(xa + w) = bottom_a;
    *(COLUMNS *)xb = top_b;
    *(COLUMNS *)(xb + w) = bottom_b;
}

TN_INLINE void N(scatter_plane_2x2)(plane_2x2 p, const E *y, const uint8_t *index, E *x)
{
    for (int64_t r = 0; r < rows_of(p); r += p.n > HALF ? 1 : 2)
        for (int64_t c = 0; c < p.n; c += LANES) {
            const pieces at = pieces_from(p, r, c);
            N(scatter_2x2)(p, y + at.out_a, y + at.out_b, index ? index + at.out_a : NULL, index ? index + at.out_b : NULL, x + at.in_a, x + at.in_b, p.w);
        }
    if (p.n < HALF) {
        E rows[2][2 * HALF];
        const int64_t from = last_of(p).out_a;
        N(scatter_2x2)(p, y + from, y + from, index ? index + from : NULL, index ? index + from : NULL, rows[0], rows[0], 2 * HALF);
        for (int64_t i = 0; i < 2; i++)
            memcpy(x + (2 * (p.rows - 1) + i) * p.w, rows[i] + 2 * (HALF - p.n), (size_t)(2 * p.n) * sizeof(E));
    }
    const int64_t rest = p.w - 2 * p.n;
    for (int64_t y0 = 0; rest > 0 && y0 < 2 * p.rows; y0++)
        memset(x + y0 * p.w + 2 * p.n, 0, (size_t)rest * sizeof(E));
}

static void N(max_planes_2x2)(int64_t begin, int64_t end, void *context)
{
    const pool_job *job = context;
    const tn_pool *p = job->p;
    const plane_2x2 sizes = plane_of(p);
    for (int64_t plane = begin; plane < end; plane++) {
        const E *x = (const E *)job->in + plane * p->h * p->w;
        E *y = (E *)job->out + plane * p->oh * p->ow;
        if (job->index)
            N(gather_plane_2x2)(sizes, x, y, job->index + plane * p->oh * p->ow, false);
        else
            N(gather_plane_2x2)(sizes, x, y, NULL, false); /* without what only an index needs */
    }
}

static void N(average_planes_2x2)(int64_t begin, int64_t end, void *context)
{
    const pool_job *job = context;
    const tn_pool *p = job->p;
    const plane_2x2 sizes = plane_of(p);
    for (int64_t plane = begin; plane < end; plane++)
        N(gather_plane_2x2)(sizes, (const E *)job->in + plane * p->h * p->w, (E *)job->out + plane * p->oh * p->ow, NULL, true);
}

static void N(scatter_planes_2x2)(int64_t begin, int64_t end, void *context)
{
    const pool_job *job = context;
    const tn_pool *p = job->p;
    const plane_2x2 sizes = plane_of(p);
    for (int64_t plane = begin; plane < end; plane++) {
        const E *y = (const E *)job->in + plane * p->oh * p->ow;
        E *x = (E *)job->out + plane * p->h * p->w;
        if (job->index)
            N(scatter_plane_2x2)(sizes, y, job->index + plane * p->oh * p->ow, x);
        else
            N(scatter_plane_2x2)(sizes, y, NULL, x);
        memset(x + 2 * p->oh * p->w, 0, (size_t)((p->h - 2 * p->oh) * p->w) * sizeof(E));
    }
}
