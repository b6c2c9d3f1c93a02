/* The gradients of a linear layer of few features, f32, included by gemm.c: dW = dy' x, with db as a_sums and dX = dy w as the product beside it.
 * So few numbers for each of dy are bound by reading dy, which here is read once for all three.
 *
 * Rows are cut into chunks by the sizes alone, each with sums of its own that are added up in order, so that no bit depends on the threads. */

enum { THIN = 4 };           /* columns at most: n, and one of ones where a_sums are asked for */
enum { THIN_WIDTH = 4096 };  /* m * columns at most: weights and sums stay in the first cache */
enum { THIN_CHUNK = 65536, THIN_CHUNKS = 64 }; /* elements of a in a chunk at least, and chunks at most */
enum { THIN_AHEAD = 4096 };  /* elements from what is read to what is fetched */
enum { THIN_LANES = VECTOR_BYTES / 4 };

typedef struct thin {
    const tn_gemm *g;
    int columns;
    int64_t width, rows; /* m in whole vectors; rows of a chunk */
    float *weights;      /* [columns, width]: b of the product beside, and zeros */
    float *sums;         /* [chunks, columns, width] */
} thin;

/* Of rows i and on, whose number is a constant, as is that of columns. */
static ALWAYS_INLINE void thin_rows(int rows, int columns, bool back, const thin *t, int64_t i, float *restrict sums)
{
    const tn_gemm *g = t->g, *beside = g->beside;
    const int64_t m = g->m, width = t->width, next = g->a_col; /* locals: for all that the compiler knows, sums could hold what t says */
    const float *dy = (const float *)g->a + i * next, *x = (const float *)g->b + i * g->b_row, *weights = t->weights;
    vec_f32 element[THIN][4], dx[THIN][4];
    UNROLL
    for (int c = 0; c < columns; c++)
        UNROLL
        for (int r = 0; r < 4; r++) {
            element[c][r] = SPLAT_F32(r >= rows ? 0.0f : c < g->n ? x[r * g->b_row + c * g->b_col] : 1.0f);
            dx[c][r] = SPLAT_F32(0.0f);
        }
    for (int64_t v = 0; v < width; v += THIN_LANES) {
        vec_f32 y[4];
        UNROLL
        for (int r = 0; r < rows; r++) {
            __builtin_prefetch(dy + r * next + v + THIN_AHEAD);
            y[r] = SPLAT_F32(0.0f);
            if (v + THIN_LANES <= m)
                y[r] = *(const vec_f32 *)(dy + r * next + v);
            else
                memcpy(&y[r], dy + r * next + v, (size_t)(m - v) * sizeof(float));
        }
        UNROLL
        for (int c = 0; c < columns; c++) {
            const vec_f32 weight = *(const vec_f32 *)(weights + c * width + v);
            vec_f32 sum = y[0] * element[c][0];
            UNROLL
            for (int r = 1; r < rows; r++)
                sum = FMA_F32(y[r], element[c][r], sum);
            *(vec_f32 *)(sums + c * width + v) += sum;
            UNROLL
            for (int r = 0; back && r < rows; r++)
                dx[c][r] = FMA_F32(y[r], weight, dx[c][r]);
        }
    }
    UNROLL
    for (int c = 0; back && c < columns; c++) {
        float row[4];
        lane_sums_f32(dx[c], row);
        for (int r = 0; c < g->n && r < rows; r++)
            ((float *)beside->c)[(i + r) * beside->c_row + c] = row[r];
    }
}

static ALWAYS_INLINE void thin_chunk(int columns, bool back, const thin *t, int64_t begin, int64_t end, float *sums)
{
    int64_t i = begin;
    for (; i + 4 <= end; i += 4)
        thin_rows(4, columns, back, t, i, sums);
    for (; i < end; i++)
        thin_rows(1, columns, back, t, i, sums);
}

static void thin_work(int64_t begin, int64_t end, void *context)
{
    const thin *t = context;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        const int64_t from = chunk * t->rows, to = tn_min_i64(from + t->rows, t->g->k);
        float *sums = t->sums + chunk * t->columns * t->width;
        memset(sums, 0, (size_t)(t->columns * t->width) * sizeof *sums);
        switch (2 * t->columns + (t->g->beside != NULL)) {
        case 2: thin_chunk(1, false, t, from, to, sums); break;
        case 3: thin_chunk(1, true, t, from, to, sums); break;
        case 4: thin_chunk(2, false, t, from, to, sums); break;
        case 5: thin_chunk(2, true, t, from, to, sums); break;
        case 6: thin_chunk(3, false, t, from, to, sums); break;
        case 7: thin_chunk(3, true, t, from, to, sums); break;
        case 8: thin_chunk(4, false, t, from, to, sums); break;
        default: thin_chunk(4, true, t, from, to, sums);
        }
    }
}

static bool is_thin(const tn_gemm *g)
{
    const int64_t columns = g->n + (g->a_sums != NULL);
    const bool wide = g->m % THIN_LANES == 0 || g->m >= 4 * THIN_LANES; /* a vector that is not whole takes as long as a few that are */
    return (g->a_sums || g->beside) && g->batch == 1 && g->a_row == 1 && g->alpha == 1 && g->beta == 0 && !g->bias && !g->activation &&
           wide && columns <= THIN && g->m * columns <= THIN_WIDTH;
}

/* Column c of a chunk's sums where it belongs. */
static void thin_column(const thin *t, int c)
{
    const tn_gemm *g = t->g;
    float *to = c < g->n ? (float *)g->c + c : g->a_sums;
    for (int64_t j = 0; j < g->m; j++)
        to[c < g->n ? j * g->c_row : j] = t->sums[c * t->width + j];
}

static tn_status gemm_thin(const tn_gemm *g)
{
    thin t = {.g = g, .columns = (int)g->n + (g->a_sums != NULL), .width = tn_ceil_div(g->m, THIN_LANES) * THIN_LANES};
    t.rows = tn_max_i64(tn_ceil_div(THIN_CHUNK, g->m), tn_ceil_div(g->k, THIN_CHUNKS));
    t.rows = tn_ceil_div(t.rows, 4) * 4;
    const int64_t chunks = tn_max_i64(tn_ceil_div(g->k, t.rows), 1), each = t.columns * t.width;
    const size_t bytes = (size_t)((chunks + 1) * each) * sizeof(float);
    t.weights = tn_alloc(bytes);
    if (!t.weights)
        return TN_ERR_MEMORY;
    t.sums = t.weights + each;
    memset(t.weights, 0, (size_t)each * sizeof(float));
    for (int64_t p = 0; g->beside && p < g->n * g->m; p++)
        t.weights[p / g->m * t.width + p % g->m] = ((const float *)g->beside->b)[p % g->m * g->beside->b_row + p / g->m * g->beside->b_col];
    tn_parallel_for(chunks, 1, thin_work, &t);
    for (int64_t p = each; p < chunks * each; p++)
        t.sums[p % each] += t.sums[p];
    for (int c = 0; c < t.columns; c++)
        thin_column(&t, c);
    tn_free(t.weights, bytes);
    return TN_OK;
}
