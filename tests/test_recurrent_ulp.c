/* The bounds of kernels/cpu/recurrent.c: a step of each kind of layer, forward and backward, against its formulas in float64.
 * labels: isa, loops */
#include "check.h"

#include "drawn.h"
#include "kernels/kernels.h"
#include "sized.h"
#include "ulp.h"

/* Numbers by how: of both signs, gates about half open; of all sizes; gates nearly shut or open; all alike, so that sums round one way. */
enum { COMMON, SIZES, SHUT, ALIKE, HOWS };
static float *numbers(int how, int64_t n, double most)
{
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(how == SIZES ? ldexp(most * uniform(), -(int)(next() % 20)) : how == ALIKE ? most / 3 * (1 + uniform() / 64)
                                                                                                   : (how == SHUT ? 12 : 1) * most * uniform());
    return x;
}

/* A layer, what goes in, and what the kernel made of it. */
typedef struct layer {
    tn_rnn_kind kind;
    int how;
    int64_t in, hidden, wide, batch;
    float *x, *h0, *c0, *w_ih, *w_hh, *b_ih, *b_hh, *dy, *dh0, *dc0;
    float *y, *h, *c, *dh, *dc, *dx, *dw_ih, *dw_hh, *db_ih, *db_hh, *saved;
} layer;

static float *copy_of(const float *x, int64_t n) { return memcpy(malloc((size_t)n * sizeof *x), x, (size_t)n * sizeof *x); }
static float *room(int64_t n) { return calloc((size_t)n, sizeof(float)); }

static void run_layer(layer *l)
{
    const int64_t b = l->batch, in = l->in, hidden = l->hidden, wide = l->wide, first[] = {0, b};
    const double each = 2 / (l->how == ALIKE ? (double)(in + hidden) : sqrt((double)(in + hidden)));
    const int other = l->how == SHUT ? COMMON : l->how; /* that shuts no gate */
    l->x = numbers(l->how, b * in, 2), l->h0 = numbers(other, b * hidden, 1), l->c0 = numbers(other, b * hidden, 1);
    l->w_ih = numbers(other, wide * in, each), l->w_hh = numbers(l->how, wide * hidden, each);
    l->b_ih = numbers(l->how, wide, 0.5), l->b_hh = numbers(l->how, wide, 0.5);
    l->dy = numbers(other, b * hidden, 1), l->dh0 = numbers(other, b * hidden, 1), l->dc0 = numbers(other, b * hidden, 1);
    l->y = room(b * hidden), l->h = copy_of(l->h0, b * hidden), l->c = copy_of(l->c0, b * hidden);
    l->dh = copy_of(l->dh0, b * hidden), l->dc = copy_of(l->dc0, b * hidden);
    l->dx = room(b * in), l->dw_ih = room(wide * in), l->dw_hh = room(wide * hidden), l->db_ih = room(wide), l->db_hh = room(wide);
    l->saved = room(b * tn_rnn_saved(l->kind, hidden) + 1);
    const tn_rnn r = {.kind = l->kind, .steps = 1, .batch = b, .in = in, .hidden = hidden, .first = first, .x = l->x, .w_ih = l->w_ih, .w_hh = l->w_hh,
                      .b_ih = l->b_ih, .b_hh = l->b_hh, .saved = l->saved, .y = l->y, .h = l->h, .c = l->c};
    tn_rnn_grad g = {.rnn = r, .dy = l->dy, .dy_row = hidden, .dh = l->dh, .dc = l->kind == TN_RNN_KIND_LSTM ? l->dc : NULL, .dx = l->dx,
                     .dw_ih = l->dw_ih, .dw_hh = l->dw_hh, .db_ih = l->db_ih, .db_hh = l->db_hh};
    g.rnn.h = l->h0, g.rnn.c = l->c0;
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    assert_int_equal(k->rnn_forward(TN_F32, &r), TN_OK);
    assert_int_equal(k->rnn_backward(TN_F32, &g), TN_OK);
}

static void free_layer(layer *l)
{
    float *all[] = {l->x, l->h0, l->c0, l->w_ih, l->w_hh, l->b_ih, l->b_hh, l->dy, l->dh0, l->dc0, l->y, l->h, l->c, l->dh, l->dc, l->dx, l->dw_ih,
                    l->dw_hh, l->db_ih, l->db_hh, l->saved};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static const char *const kinds[] = {"tanh", "relu", "lstm", "gru"};

/* `most`: in ulp of due.size. */
static void check(const layer *l, const char *what, int64_t i, float is, sized due, double most)
{
    const double off = ulps_of(is, due.x, due.size);
    if (!(off <= most))
        fail_msg("%s, how %d, %d to %d, batch %d: %s[%d] is %a, %a was due: %.3g ulp, %.3g are allowed", kinds[l->kind], l->how, (int)l->in, (int)l->hidden,
                 (int)l->batch, what, (int)i, (double)is, due.x, off, most);
}

static sized sigmoid(sized a)
{
    const double s = 1 / (1 + exp(-a.x));
    return (sized){s, s + s * (1 - s) * a.size};
}
static sized hyperbolic_tangent(sized a)
{
    const double t = tanh(a.x);
    return (sized){t, fabs(t) + (1 - t * t) * a.size};
}
/* 1 - a, and its size that of an open gate, which may be far above it. */
static sized rest(sized a) { return (sized){1 - a.x, fabs(1 - a.x) + a.size}; }

/* Row j of a weight by a row, begun with its bias. */
static sized gate(const float *w, int64_t j, const float *row, int64_t n, const float *bias)
{
    sized sum = exact((double)bias[j]);
    for (int64_t k = 0; k < n; k++)
        sum = plus(sum, exact((double)w[j * n + k] * (double)row[k]));
    return sum;
}

/* Unit j of row b, forward, and backward into the gradients of its gates (of GRU's n the two parts' apart) and of h and c before; `y` the kernel's. */
typedef struct unit {
    sized y, c, slope[5], dh, dc;
} unit;
static unit formulas(const layer *l, int64_t b, int64_t j)
{
    sized x[4], h[4], sum[4];
    const int64_t at = b * l->hidden + j;
    for (int64_t s = 0; s < tn_rnn_gates(l->kind); s++) {
        x[s] = gate(l->w_ih, s * l->hidden + j, l->x + b * l->in, l->in, l->b_ih);
        h[s] = gate(l->w_hh, s * l->hidden + j, l->h0 + b * l->hidden, l->hidden, l->b_hh);
        sum[s] = plus(x[s], h[s]);
    }
    const sized up = plus(exact((double)l->dy[at]), exact((double)l->dh0[at])), before = exact((double)l->h0[at]), cell = exact((double)l->c0[at]);
    unit u = {.dh = {0, 0}};
    if (l->kind == TN_RNN_KIND_LSTM) {
        const sized i = sigmoid(sum[0]), f = sigmoid(sum[1]), g = hyperbolic_tangent(sum[2]), o = sigmoid(sum[3]);
        u.c = plus(times(f, cell), times(i, g));
        const sized t = hyperbolic_tangent(u.c), dc = plus(exact((double)l->dc0[at]), times(up, times(o, rest(times(t, t)))));
        u.y = times(o, t);
        u.slope[0] = times(times(dc, g), times(i, rest(i)));
        u.slope[1] = times(times(dc, cell), times(f, rest(f)));
        u.slope[2] = times(times(dc, i), rest(times(g, g)));
        u.slope[3] = times(times(up, t), times(o, rest(o)));
        u.dc = times(dc, f);
    } else if (l->kind == TN_RNN_KIND_GRU) {
        const sized r = sigmoid(sum[0]), z = sigmoid(sum[1]), n = hyperbolic_tangent(plus(x[2], times(r, h[2])));
        u.y = plus(times(minus(before, n), z), n);
        u.slope[2] = times(times(up, rest(z)), rest(times(n, n)));
        u.slope[0] = times(times(u.slope[2], h[2]), times(r, rest(r)));
        u.slope[1] = times(times(up, minus(before, n)), times(z, rest(z)));
        u.slope[3] = times(u.slope[2], r);
        u.dh = times(up, z);
    } else if (l->kind == TN_RNN_KIND_TANH) {
        u.y = hyperbolic_tangent(sum[0]);
        u.slope[0] = times(up, rest(exact((double)l->y[at] * (double)l->y[at])));
    } else {
        u.y = (sized){fmax(sum[0].x, 0), sum[0].size};
        u.slope[0] = l->y[at] > 0 ? up : exact(0);
    }
    return u;
}

/* Gate s of the hidden part: GRU's n has a gradient of its own. */
static int64_t of_hidden(const layer *l, int64_t s) { return l->kind == TN_RNN_KIND_GRU && s == 2 ? 3 : s; }

/* The bound of a result whose own sum has k terms, beside those of the gates. */
static double bound(const layer *l, int64_t k)
{
    k += l->in + l->hidden + 2;
    return 4 + (l->how == ALIKE ? (double)(k < 512 ? k : 512) / 5 : sqrt((double)k));
}

static void check_weights(const layer *l, const unit *units)
{
    const int64_t hidden = l->hidden;
    for (int64_t j = 0; j < l->wide; j++) {
        const int64_t s = j / hidden, unit_of = j % hidden, sh = of_hidden(l, s);
        sized db_ih = {0, 0}, db_hh = {0, 0};
        for (int64_t b = 0; b < l->batch; b++)
            db_ih = plus(db_ih, units[b * hidden + unit_of].slope[s]), db_hh = plus(db_hh, units[b * hidden + unit_of].slope[sh]);
        check(l, "db_ih", j, l->db_ih[j], db_ih, bound(l, l->batch));
        check(l, "db_hh", j, l->db_hh[j], db_hh, bound(l, l->batch));
        for (int64_t k = 0; k < l->in + hidden; k++) {
            sized sum = {0, 0};
            for (int64_t b = 0; b < l->batch; b++)
                sum = plus(sum, scaled((double)(k < l->in ? l->x[b * l->in + k] : l->h0[b * hidden + k - l->in]),
                                       units[b * hidden + unit_of].slope[k < l->in ? s : sh]));
            if (k < l->in)
                check(l, "dw_ih", j * l->in + k, l->dw_ih[j * l->in + k], sum, bound(l, l->batch));
            else
                check(l, "dw_hh", j * hidden + k - l->in, l->dw_hh[j * hidden + k - l->in], sum, bound(l, l->batch));
        }
    }
}

static void check_row(const layer *l, int64_t b, const unit *row)
{
    const int64_t hidden = l->hidden;
    for (int64_t j = 0; j < hidden; j++) {
        check(l, "y", b * hidden + j, l->y[b * hidden + j], row[j].y, bound(l, 0));
        if (l->kind == TN_RNN_KIND_LSTM) {
            check(l, "c", b * hidden + j, l->c[b * hidden + j], row[j].c, bound(l, 0));
            check(l, "dc", b * hidden + j, l->dc[b * hidden + j], row[j].dc, bound(l, 0));
        }
    }
    for (int64_t k = 0; k < l->in + hidden; k++) {
        sized sum = k < l->in ? exact(0) : row[k - l->in].dh;
        for (int64_t j = 0; j < l->wide; j++)
            sum = plus(sum, scaled((double)(k < l->in ? l->w_ih[j * l->in + k] : l->w_hh[j * hidden + k - l->in]),
                                   row[j % hidden].slope[k < l->in ? j / hidden : of_hidden(l, j / hidden)]));
        if (k < l->in)
            check(l, "dx", b * l->in + k, l->dx[b * l->in + k], sum, bound(l, l->wide));
        else
            check(l, "dh", b * hidden + k - l->in, l->dh[b * hidden + k - l->in], sum, bound(l, l->wide));
    }
}

static void check_layer(tn_rnn_kind kind, int how, int64_t in, int64_t hidden, int64_t batch)
{
    layer l = {.kind = kind, .how = how, .in = in, .hidden = hidden, .wide = tn_rnn_gates(kind) * hidden, .batch = batch};
    run_layer(&l);
    unit *units = malloc((size_t)(batch * hidden) * sizeof *units);
    for (int64_t i = 0; i < batch * hidden; i++)
        units[i] = formulas(&l, i / hidden, i % hidden);
    for (int64_t b = 0; b < batch; b++)
        check_row(&l, b, units + b * hidden);
    check_weights(&l, units);
    free(units);
    free_layer(&l);
}

/* Parts of vectors, many terms, many rows, and what is beyond the cache. */
static void test_steps(void **unused)
{
    (void)unused;
    static const int64_t sizes[][3] = {{1, 3, 7}, {5, 37, 59}, {70, 48, 100}, {1, 32, 900}, {700, 160, 4}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 4 * HOWS; way++)
            if (!test_quickly() || sizes[i][0] < 70)
                check_layer((tn_rnn_kind)(way % 4), way / 4, sizes[i][0], sizes[i][1], sizes[i][2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
