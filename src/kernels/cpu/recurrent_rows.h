/* The gates of one sequence at one step, for one type: included by recurrent.c with T (float or double) and FN(name) defined. Rows have n
 * elements, those of gates several times that, gate beside gate. */

/* Forward: gates is the input's part and becomes the gates, part is the hidden one; h and c go one step on, y is h again. Formulas and
 * order of gates are PyTorch's. */
static void FN(lstm_row)(int64_t n, T *restrict gates, const T *restrict part, T *restrict kept, T *restrict h, T *restrict c, T *restrict y)
{
    TN_INDEPENDENT
    for (int64_t j = 0; j < n; j++) {
        T i = tn_sigmoid_(gates[j] + part[j]), f = tn_sigmoid_(gates[n + j] + part[n + j]);
        T g = tn_tanh_(gates[2 * n + j] + part[2 * n + j]), o = tn_sigmoid_(gates[3 * n + j] + part[3 * n + j]);
        T cell = f * c[j] + i * g;
        gates[j] = i, gates[n + j] = f, gates[2 * n + j] = g, gates[3 * n + j] = o;
        c[j] = kept[j] = cell;
        h[j] = y[j] = o * tn_tanh_(cell);
    }
}

static void FN(gru_row)(int64_t n, T *restrict gates, const T *restrict part, T *restrict kept, T *restrict h, T *restrict y)
{
    TN_INDEPENDENT
    for (int64_t j = 0; j < n; j++) {
        T r = tn_sigmoid_(gates[j] + part[j]), z = tn_sigmoid_(gates[n + j] + part[n + j]), hidden = part[2 * n + j];
        T fresh = tn_tanh_(gates[2 * n + j] + r * hidden);
        gates[j] = r, gates[n + j] = z, gates[2 * n + j] = fresh;
        kept[j] = hidden;
        h[j] = y[j] = (h[j] - fresh) * z + fresh;
    }
}

static void FN(forward_row)(tn_rnn_kind kind, int64_t n, void *gates, const void *part, void *kept, void *h, void *c, void *y)
{
    const T *hidden = part;
    T *state = h, *out = y; /* where gates and y are one: a plain network */
    switch (kind) {
    case TN_RNN_KIND_LSTM: FN(lstm_row)(n, gates, part, kept, h, c, y); break;
    case TN_RNN_KIND_GRU: FN(gru_row)(n, gates, part, kept, h, y); break;
    case TN_RNN_KIND_TANH:
        TN_INDEPENDENT
        for (int64_t j = 0; j < n; j++)
            out[j] = state[j] = tn_tanh_(out[j] + hidden[j]);
        break;
    case TN_RNN_KIND_RELU:
        TN_INDEPENDENT
        for (int64_t j = 0; j < n; j++) {
            T sum = out[j] + hidden[j];
            out[j] = state[j] = sum < 0 ? 0 : sum; /* NaN stays NaN */
        }
    }
}

/* Backward: h and c are those before the step, dh and dc come as those after it and go as those before it, dh without what comes by
 * W_hh. */
static void FN(lstm_row_backward)(int64_t n, const T *restrict gates, const T *restrict kept, const T *restrict c, const T *restrict dy,
                                  const T *restrict dh, T *restrict dc, T *restrict dgates)
{
    TN_INDEPENDENT
    for (int64_t j = 0; j < n; j++) {
        T i = gates[j], f = gates[n + j], g = gates[2 * n + j], o = gates[3 * n + j], t = tn_tanh_(kept[j]), up = dh[j] + dy[j];
        T cell = dc[j] + up * o * (1 - t * t);
        dgates[j] = cell * g * i * (1 - i);
        dgates[n + j] = cell * c[j] * f * (1 - f);
        dgates[2 * n + j] = cell * i * (1 - g * g);
        dgates[3 * n + j] = up * t * o * (1 - o);
        dc[j] = cell * f;
    }
}

/* part: the gradient of the hidden part of all gates. */
static void FN(gru_row_backward)(int64_t n, const T *restrict gates, const T *restrict kept, const T *restrict h, const T *restrict dy,
                                 T *restrict dh, T *restrict dgates, T *restrict dkept, T *restrict part)
{
    TN_INDEPENDENT
    for (int64_t j = 0; j < n; j++) {
        T r = gates[j], z = gates[n + j], fresh = gates[2 * n + j], up = dh[j] + dy[j];
        T dn = up * (1 - z) * (1 - fresh * fresh);
        dgates[j] = part[j] = dn * kept[j] * r * (1 - r);
        dgates[n + j] = part[n + j] = up * (h[j] - fresh) * z * (1 - z);
        dgates[2 * n + j] = dn;
        dkept[j] = part[2 * n + j] = dn * r;
        dh[j] = up * z;
    }
}

/* y: of a plain network. */
static void FN(backward_row)(tn_rnn_kind kind, int64_t n, const void *gates, const void *y_, const void *kept, const void *h, const void *c,
                             const void *dy_, void *dh_, void *dc, void *dgates, void *dkept, void *part)
{
    const T *y = y_, *dy = dy_, *dh = dh_;
    T *slope = dgates;
    switch (kind) {
    case TN_RNN_KIND_LSTM: FN(lstm_row_backward)(n, gates, kept, c, dy_, dh_, dc, dgates); break;
    case TN_RNN_KIND_GRU: FN(gru_row_backward)(n, gates, kept, h, dy_, dh_, dgates, dkept, part); break;
    case TN_RNN_KIND_TANH:
        TN_INDEPENDENT
        for (int64_t j = 0; j < n; j++)
            slope[j] = (dh[j] + dy[j]) * (1 - y[j] * y[j]);
        break;
    case TN_RNN_KIND_RELU:
        TN_INDEPENDENT
        for (int64_t j = 0; j < n; j++)
            slope[j] = y[j] > 0 ? dh[j] + dy[j] : 0;
    }
}

/* out[j] is the sum of x[i][j] over rows of `wide`, of which n are looked at. */
static void FN(sum_rows)(int64_t rows, int64_t n, const void *x_, int64_t wide, void *out_)
{
    const T *x = x_;
    T *restrict out = out_;
    for (int64_t j = 0; j < n; j++)
        out[j] = 0;
    for (int64_t i = 0; i < rows; i++, x += wide)
        for (int64_t j = 0; j < n; j++)
            out[j] += x[j];
}

#undef T
#undef FN
