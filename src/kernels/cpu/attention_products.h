/* Attention's products for one type: included by attention_body.h. Nothing is packed but k' and v', once for all rows of a block: elements of
 * the left side are read one by one where they lie, and rows of the right side are vectors. What no row of a tile may see is passed over. LANES stays
 * defined for attention_body.h. */

typedef T FN(vec) __attribute__((vector_size(TN_VECTOR_BYTES)));
typedef T FN(vec_at) __attribute__((vector_size(TN_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
#define LANES ((int64_t)(TN_VECTOR_BYTES / sizeof(T)))

/* c = alpha a b, or c += it: a [m, k], b [k, n] in panels of `width` columns, n a multiple of LANES. */
typedef struct FN(product) {
    int64_t m, n, k;
    const T *a;
    int64_t a_row, a_col;
    const T *b;
    int64_t b_row, width, panel; /* width 0: one panel */
    T *c;
    int64_t c_row;
    T alpha;
    bool add;
} FN(product);

/* A tile of c whose sums stay in registers. */
TN_INLINE void FN(sums)(int rows, int vectors, int64_t k, const T *a, int64_t a_row, int64_t a_col, const T *b, const FN(product) *g, T *c)
{
    const FN(vec) zero = {0};
    FN(vec) sum[24];
    TN_UNROLL for (int i = 0; i < rows * vectors; i++)
        sum[i] = zero;
    const T *third[] = {a, a + 3 * a_row, a + 6 * a_row, a + 9 * a_row}; /* two more rows of each are an index away */
    for (; k > 0; k--, b += g->b_row) {
        FN(vec) x[3];
        TN_UNROLL for (int v = 0; v < vectors; v++)
            x[v] = *(const FN(vec_at) *)(b + v * LANES);
        TN_UNROLL for (int r = 0; r < rows; r++) {
            const FN(vec) element = third[r / 3][r % 3 * a_row] - zero; /* a splat: x - 0 is x */
            TN_UNROLL for (int v = 0; v < vectors; v++)
                sum[r * vectors + v] += x[v] * element;
        }
        TN_UNROLL for (int i = 0; i < 4; i++)
            third[i] += a_col;
    }
    TN_UNROLL for (int r = 0; r < rows; r++) {
        TN_UNROLL for (int v = 0; v < vectors; v++) {
            FN(vec_at) *to = (FN(vec_at) *)(c + r * g->c_row + v * LANES);
            const FN(vec) y = sum[r * vectors + v] * g->alpha;
            *to = g->add ? (FN(vec))*to + y : y;
        }
    }
}

#define SUMS_(rows, vectors)                                                                                                  \
    static __attribute__((noinline)) void FN(sums_##rows##_##vectors)(int64_t k, const T *a, const T *b, const FN(product) *g, T *c) \
    {                                                                                                                         \
        FN(sums)(rows, vectors, k, a, g->a_row, g->a_col, b, g, c);                                                           \
    }
SUMS_(HIGH_2, 1)
SUMS_(HIGH_2, 2)
SUMS_(HIGH_3, 3)
SUMS_(LOW_2, 1)
SUMS_(LOW_2, 2)
SUMS_(3, 3)
SUMS_(1, 1)
SUMS_(1, 2)
SUMS_(1, 3)
#undef SUMS_

static void FN(product_of)(const FN(product) *g, attention_side side, int64_t seen)
{
    static void (*const by_shape[3][3])(int64_t, const T *, const T *, const FN(product) *, T *) = {
        {FN(sums_1_1), FN(sums_1_2), FN(sums_1_3)},
        {FN(sums_LOW_2_1), FN(sums_LOW_2_2), FN(sums_3_3)},
        {FN(sums_HIGH_2_1), FN(sums_HIGH_2_2), FN(sums_HIGH_3_3)}};
    for (int64_t j = 0, vectors; j < g->n; j += vectors * LANES) {
        const int64_t left = (g->n - j) / LANES, panel = g->width ? j / g->width : 0;
        vectors = !g->width && left % 3 == 0 ? 3 : tn_min_i64(left, 2);
        const T *b = g->b + panel * g->panel + j - panel * g->width;
        const int64_t most = vectors == 3 ? HIGH_3 : HIGH_2, few = vectors == 3 ? 3 : LOW_2;
        for (int64_t i = 0, rows; i < g->m; i += rows) {
            const bool twice = (g->m - i) / 2 == few && most < 2 * few; /* two of few before single rows */
            const int height = g->m - i >= most && !twice ? 2 : g->m - i >= few;
            rows = height == 2 ? most : height == 1 ? few : 1;
            const int64_t end = i + rows + seen; /* of what these rows may see */
            const int64_t from = side == SEEN_M ? tn_max_i64(0, i - seen) : 0, to = side == SEEN_K ? tn_min_i64(g->k, end) : g->k;
            if (from < to && (side != SEEN_N || j < end))
                by_shape[height][vectors - 1](to - from, g->a + i * g->a_row + from * g->a_col, b + from * g->b_row, g,
                                              g->c + i * g->c_row + j);
        }
    }
}
