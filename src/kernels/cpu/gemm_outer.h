/* Products of few terms, f32, included by gemm.c: each row of c is a few rows of b times numbers of a. They are bound by storing c, which panels of
 * columns would do in pieces of rows; here whole rows are stored in order, in two places at once, which the caches take faster than one (a result of
 * 24 MB: by a tenth to a quarter). */

enum { OUTER_LEAST = 1 << 18 }; /* elements of a result that leaves the second cache */

typedef struct outer {
    const tn_gemm *g;
    int64_t width; /* n in whole vectors */
    float *b;      /* [k + 1, width]: b as it is multiplied, and the bias or zeros */
} outer;

/* Rows i and, of two, i + apart; their number and depth, which is k, are constants. */
static ALWAYS_INLINE void outer_rows(int rows, int depth, const outer *o, int64_t i, int64_t apart)
{
    const tn_gemm *g = o->g;
    const int64_t n = g->n, width = o->width; /* locals: for all that the compiler knows, c could hold what o says */
    const bool relu = g->activation;
    const float *b = o->b, *bias = b + depth * width;
    float *c[2] = {(float *)g->c + i * g->c_row, (float *)g->c + (i + apart) * g->c_row}, element[2][THIN];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
        for (int p = 0; p < depth; p++) {
            const float x = ((const float *)g->a)[(i + r * apart) * g->a_row + p * g->a_col];
            element[r][p] = g->rounded ? tn_load_bf16(tn_store_bf16(x)) : x;
        }
    for (int64_t v = 0; v < width; v += THIN_LANES) {
        vec_f32 sum[2];
        UNROLL
        for (int r = 0; r < rows; r++) {
            sum[r] = SPLAT_F32(0.0f);
            UNROLL
            for (int p = 0; p < depth; p++)
                sum[r] = FMA_F32(SPLAT_F32(element[r][p]), *(const vec_f32 *)(b + p * width + v), sum[r]);
            sum[r] += *(const vec_f32 *)(bias + v);
            if (relu)
                sum[r] = (vec_f32)((__typeof__(sum[r] < sum[r]))sum[r] & ~(sum[r] < SPLAT_F32(0.0f)));
        }
        if (v + THIN_LANES > n) {
            for (int r = 0; r < rows; r++)
                memcpy(c[r] + v, &sum[r], (size_t)(n - v) * sizeof(float));
            return;
        }
        UNROLL
        for (int r = 0; r < rows; r++)
            *(vec_f32 *)(c[r] + v) = sum[r];
    }
}

static ALWAYS_INLINE void outer_range(int depth, const outer *o, int64_t begin, int64_t end)
{
    const int64_t half = (end - begin) / 2;
    for (int64_t i = begin; i < begin + half; i++)
        outer_rows(2, depth, o, i, half);
    if ((end - begin) % 2)
        outer_rows(1, depth, o, end - 1, 0);
}

static void outer_work(int64_t begin, int64_t end, void *context)
{
    const outer *o = context;
    switch (o->g->k) {
    case 1: outer_range(1, o, begin, end); break;
    case 2: outer_range(2, o, begin, end); break;
    case 3: outer_range(3, o, begin, end); break;
    default: outer_range(4, o, begin, end);
    }
}

static bool is_outer(const tn_gemm *g)
{
    return g->k >= 1 && g->k <= THIN && g->batch == 1 && g->alpha == 1 && g->beta == 0 && !g->packed && !g->scratch && !g->a_sums && g->n >= THIN_LANES &&
           g->n * (g->k + 1) <= THIN_WIDTH && g->m * g->n >= OUTER_LEAST && !goes_past_f32(g);
}

static tn_status gemm_outer(const tn_gemm *g)
{
    outer o = {.g = g, .width = tn_ceil_div(g->n, THIN_LANES) * THIN_LANES};
    const size_t bytes = (size_t)((g->k + 1) * o.width) * sizeof(float);
    o.b = tn_alloc(bytes);
    if (!o.b)
        return TN_ERR_MEMORY;
    memset(o.b, 0, bytes);
    for (int64_t p = 0; p < g->k; p++)
        for (int64_t j = 0; j < g->n; j++) {
            const float x = ((const float *)g->b)[p * g->b_row + j * g->b_col];
            o.b[p * o.width + j] = g->rounded ? tn_load_bf16(tn_store_bf16(x)) : x;
        }
    if (g->bias)
        memcpy(o.b + g->k * o.width, g->bias, (size_t)g->n * sizeof(float));
    tn_parallel_for(g->m, tn_ceil_div(TN_GRAIN, g->n), outer_work, &o);
    tn_free(o.b, bytes);
    return TN_OK;
}
