/* The products of recurrent_small.c, included once for each way to multiply: floats, and pairs of bf16 in the bits of a float, the elements k and
 * k + 1 of what is summed over. The includer defines NAME(x); DEPTH, elements in a unit; SPLAT(x) of a unit; STEP(a, b, c), which is a b + c,
 * of pairs the sum of both products; and TARGET, the attribute of what uses it. They end here. */

#define UNITS(k) (((k) + DEPTH - 1) / DEPTH)

/* sum[r][v] += a[r][k] b[v] where registers are few: what is broadcast lies in them and one vector of b at a time, which is read only once. */
TARGET TN_INLINE void NAME(multiply_few)(int rows, int n, vec (*sum)[WIDE], int s0, const float *const *a, int64_t k, const float *b)
{
    vec e[ROWS];
    TN_UNROLL
    for (int r = 0; r < rows; r++)
        e[r] = SPLAT(a[r][k]);
    TN_UNROLL
    for (int s = 0; s < n; s++) {
        const vec v = AT_CONST(b + s * LANES);
        TN_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r][s0 + s] = STEP(e[r], v, sum[r][s0 + s]);
    }
}

/* sum[r][v] += the sum over k < count of a[r][begin + k] b[k][v]. */
TARGET TN_INLINE void NAME(multiply)(int rows, int n, vec (*sum)[WIDE], int s0, const float *const *a, int64_t begin, int64_t count, const float *b)
{
    const float *p[ROWS];
    TN_UNROLL
    for (int r = 0; r < rows; r++)
        p[r] = a[r] + begin;
    for (int64_t k = 0; k < count; k++, b += n * LANES) {
        if (APART && rows < n) {
            NAME(multiply_few)(rows, n, sum, s0, p, k, b);
            continue;
        }
        vec v[WIDE];
        TN_UNROLL
        for (int s = 0; s < n; s++)
            v[s] = AT_CONST(b + s * LANES);
        TN_UNROLL
        for (int r = 0; r < rows; r++) {
            const vec e = SPLAT(p[r][k]);
            TN_UNROLL
            for (int s = 0; s < n; s++)
                sum[r][s0 + s] = STEP(e, v[s], sum[r][s0 + s]);
        }
    }
}

/* Sums of a vector of units, and their formulas; or the sums are left at `apart`. */
TARGET TN_INLINE void NAME(forward_block)(int rows, tn_rnn_kind kind, const walk *w, const place *at, int64_t u, vec (*apart)[WIDE])
{
    const layout l = layout_of(kind);
    const tn_rnn *r = w->r;
    const float *x[ROWS], *h[ROWS];
    vec sum[ROWS][WIDE];
    TN_UNROLL
    for (int i = 0; i < rows; i++) {
        x[i] = at[i].x, h[i] = at[i].h;
        TN_UNROLL
        for (int s = 0; s < l.slots; s++)
            sum[i][s] = AT_CONST(w->bias + (u * l.slots + s) * LANES);
    }
    NAME(multiply)(rows, l.xn, sum, l.x0, x, 0, UNITS(r->in), w->w_x + u * UNITS(r->in) * l.xn * LANES);
    const int64_t depth = UNITS(r->hidden), piece = tn_max_i64(1, depth / (l.kept + 1));
    const float *w_h = w->w_h + u * depth * l.hn * LANES;
    for (int64_t k = 0, fetched = 0; k < depth; k += piece, w_h += piece * l.hn * LANES, fetched++) {
        TN_UNROLL
        for (int i = 0; i < rows; i++)
            fetch_next(&at[i], fetched, u, l.kept);
        NAME(multiply)(rows, l.hn, sum, l.h0, h, k, tn_min_i64(piece, depth - k), w_h);
    }
    if (APART) {
        TN_UNROLL
        for (int i = 0; i < rows; i++) {
            TN_UNROLL
            for (int s = 0; s < l.slots; s++)
                apart[i][s] = sum[i][s];
        }
        return;
    }
    forward_cells(rows, kind, sum, at, u, r->hidden - u * LANES, w->past);
}

/* All n sequences, by blocks of like size. */
#define FORWARD_STEP(name, kind)                                                                                              \
    TARGET static void name(const walk *w, const place *at, int64_t n)                                                        \
    {                                                                                                                         \
        enum { MOST = ROWS_OF(kind == TN_RNN_KIND_LSTM ? 4 : 3) };                                                            \
        const int64_t blocks = tn_ceil_div(n, MOST);                                                                          \
        vec apart[APART ? TILE : 1][WIDE];                                                                                    \
        for (int64_t u = 0; u < w->units; u++) {                                                                              \
            for (int64_t b = 0; b < blocks; b++)                                                                              \
                BY_ROWS(n * (b + 1) / blocks - n * b / blocks, MOST, NAME(forward_block), kind, w, at + n * b / blocks, u,    \
                        apart + (APART ? n * b / blocks : 0))                                                                 \
            for (int64_t i = 0; APART && i < n; i += ROWS)                                                                    \
                BY_ROWS(n - i, ROWS, forward_cells, kind, apart + i, at + i, u, w->r->hidden - u * LANES, w->past)            \
        }                                                                                                                     \
    }
FORWARD_STEP(NAME(forward_lstm), TN_RNN_KIND_LSTM)
FORWARD_STEP(NAME(forward_gru), TN_RNN_KIND_GRU)
FORWARD_STEP(NAME(forward_tanh), TN_RNN_KIND_TANH)
FORWARD_STEP(NAME(forward_relu), TN_RNN_KIND_RELU)
#undef FORWARD_STEP

static void NAME(forward)(const walk *w, const place *at, int64_t n)
{
    static void (*const step[])(const walk *, const place *, int64_t) = {
        [TN_RNN_KIND_TANH] = NAME(forward_tanh), [TN_RNN_KIND_RELU] = NAME(forward_relu),
        [TN_RNN_KIND_LSTM] = NAME(forward_lstm), [TN_RNN_KIND_GRU] = NAME(forward_gru)};
    step[w->r->kind](w, at, n);
}

/* What comes to the columns from j on by a weight: out[r] = dgates[r], in units, times a panel of it, or added. Meanwhile what the next step will
 * read of rows `ahead` is fetched, a vector of each at a time: many at once would be waited for. */
TARGET TN_INLINE void NAME(back_block)(int rows, int wide, const layout *l, int n, int s0, int64_t units, const float *const *dgates,
                                       const float *panel, float *const *out, int64_t j, int64_t columns, bool add, const grad_place *ahead)
{
    enum { PIECE = LANES / 2 / DEPTH };
    vec sum[ROWS][WIDE];
    int64_t fetched = 0;
    TN_UNROLL
    for (int r = 0; r < rows; r++) {
        TN_UNROLL
        for (int v = 0; v < wide; v++)
            sum[r][v] = add ? load_part(out[r] + j + v * LANES, columns - j - v * LANES) : (vec){0};
    }
    for (int64_t u = 0; u < units; u++)
        for (int64_t k = 0; k < UNITS(n * LANES); k += PIECE, panel += PIECE * wide * LANES, fetched++) {
            TN_UNROLL
            for (int r = 0; ahead && r < rows; r++)
                fetch_ahead(&ahead[r], fetched, units * l->kept, units);
            NAME(multiply)(rows, wide, sum, 0, dgates, UNITS((u * l->slots + s0) * LANES) + k, PIECE, panel);
        }
    TN_UNROLL
    for (int r = 0; r < rows; r++) {
        TN_UNROLL
        for (int v = 0; v < wide; v++)
            store_part(out[r] + j + v * LANES, sum[r][v], columns - j - v * LANES);
    }
}

/* The same for all columns of n rows; ahead may be NULL. */
TARGET static void NAME(back)(const walk *w, int s0, int slots, const float *packed, const float *const *dgates, int64_t n,
                              float *const *out, int64_t columns, bool add, const grad_place *ahead)
{
    const int64_t most = tn_ceil_div(n, ROWS_OF(4)), least = tn_ceil_div(n, ROWS), depth = UNITS(w->units * slots * LANES);
    for (int64_t j = 0, wide; j < columns; j += wide * LANES, packed += depth * wide * LANES, ahead = NULL) {
        wide = panel_of(columns - j);
        const int64_t blocks = wide == 4 ? most : least;
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t from = n * b / blocks, rows = n * (b + 1) / blocks - from;
            if (wide == 4)
                BY_ROWS(rows, ROWS_OF(4), NAME(back_block), 4, &w->l, slots, s0, w->units, dgates + from, packed, out + from, j, columns, add,
                        ahead ? ahead + from : NULL)
            else if (wide == 2)
                BY_ROWS(rows, ROWS_OF(2), NAME(back_block), 2, &w->l, slots, s0, w->units, dgates + from, packed, out + from, j, columns, add,
                        ahead ? ahead + from : NULL)
            else
                BY_ROWS(rows, ROWS_OF(1), NAME(back_block), 1, &w->l, slots, s0, w->units, dgates + from, packed, out + from, j, columns, add,
                        ahead ? ahead + from : NULL)
        }
    }
}

/* sum[k][s] += the sum over rows, or pairs of them, of a[row][k] dgates[row][s]. */
TARGET TN_INLINE void NAME(outer_block)(int count, int n, const float *const *a, int64_t k, int64_t rows, const float *dgates, int64_t width,
                                        float *sums)
{
    vec sum[ROWS][WIDE];
    TN_UNROLL
    for (int i = 0; i < count; i++) {
        TN_UNROLL
        for (int s = 0; s < n; s++)
            sum[i][s] = AT(sums + (i * n + s) * LANES);
    }
    for (int64_t row = 0; row < rows; row++, dgates += width) {
        const float *p = a[row] + k;
        vec v[WIDE];
        TN_UNROLL
        for (int s = 0; s < n; s++)
            v[s] = AT_CONST(dgates + s * LANES);
        TN_UNROLL
        for (int i = 0; i < count; i++) {
            const vec e = SPLAT(p[i]);
            TN_UNROLL
            for (int s = 0; s < n; s++)
                sum[i][s] = STEP(e, v[s], sum[i][s]);
        }
    }
    TN_UNROLL
    for (int i = 0; i < count; i++) {
        TN_UNROLL
        for (int s = 0; s < n; s++)
            AT(sums + (i * n + s) * LANES) = sum[i][s];
    }
}

/* The same for all k and all units. */
TARGET static void NAME(outer)(const walk *w, const float *const *a, int64_t rows, const float *all, int64_t k, int s0, int slots, float *sums)
{
    const int64_t blocks = tn_ceil_div(k, ROWS_OF(slots)), width = w->units * w->l.slots * LANES;
    for (int64_t u = 0; u < w->units; u++, sums += k * slots * LANES)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t from = k * b / blocks, count = k * (b + 1) / blocks - from;
            const float *dgates = all + (u * w->l.slots + s0) * LANES;
            float *to = sums + from * slots * LANES;
            if (slots == 4)
                BY_ROWS(count, ROWS_OF(4), NAME(outer_block), 4, a, from, rows, dgates, width, to)
            else if (slots == 3)
                BY_ROWS(count, ROWS_OF(3), NAME(outer_block), 3, a, from, rows, dgates, width, to)
            else
                BY_ROWS(count, ROWS_OF(1), NAME(outer_block), 1, a, from, rows, dgates, width, to)
        }
}

#undef NAME
#undef DEPTH
#undef UNITS
#undef SPLAT
#undef STEP
#undef TARGET
