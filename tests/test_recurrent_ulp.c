/* The bounds of kernels/cpu/recurrent.c: one step and several of each kind of layer, forward and backward, against its formulas in float64.
 * labels: isa, loops */
#include "check.h"

#include "drawn.h"
#include "kernels/kernels.h"
#include "sized.h"
#include "ulp.h"

/* Numbers by how: of both signs, gates about half open; of all sizes; gates nearly shut or open; all alike, so that sums round one way. */
enum { COMMON, SIZES, SHUT, ALIKE, HOWS };
/* What may be rounded to bf16 as it is multiplied: nothing; all of it; or the states and gradients, x, h0 and the weights being bf16 already. */
enum { NOTHING, ALL, MADE };
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
    int how, rounded;
    int64_t in, hidden, wide, batch, steps;
    float *x, *h0, *c0, *w_ih, *w_hh, *b_ih, *b_hh, *dy, *dh0, *dc0;
    float *y, *h, *c, *dh, *dc, *dx, *dw_ih, *dw_hh, *db_ih, *db_hh, *saved;
} layer;

static float *copy_of(const float *x, int64_t n) { return memcpy(malloc((size_t)n * sizeof *x), x, (size_t)n * sizeof *x); }
static float *operands(const layer *l, float *x, int64_t n)
{
    for (int64_t i = 0; i < n && l->rounded == MADE; i++) {
        int exponent;
        x[i] = (float)nearbyint(256 * frexp((double)x[i], &exponent));
        x[i] = (float)ldexp((double)x[i], exponent - 8);
    }
    return x;
}
static float *room(int64_t n) { return calloc((size_t)n, sizeof(float)); }

static void draw_layer(layer *l)
{
    const int64_t b = l->batch, in = l->in, hidden = l->hidden, wide = l->wide, rows = l->steps * b;
    const double each = 2 / (l->how == ALIKE ? (double)(in + hidden) : sqrt((double)(in + hidden)));
    const int other = l->how == SHUT ? COMMON : l->how; /* that shuts no gate */
    l->x = operands(l, numbers(l->how, rows * in, 2), rows * in), l->h0 = operands(l, numbers(other, b * hidden, 1), b * hidden);
    l->c0 = numbers(other, b * hidden, 1);
    l->w_ih = operands(l, numbers(other, wide * in, each), wide * in), l->w_hh = operands(l, numbers(l->how, wide * hidden, each), wide * hidden);
    l->b_ih = numbers(l->how, wide, 0.5), l->b_hh = numbers(l->how, wide, 0.5);
    l->dy = numbers(other, rows * hidden, 1), l->dh0 = numbers(other, b * hidden, 1), l->dc0 = numbers(other, b * hidden, 1);
    l->y = room(rows * hidden), l->h = room(b * hidden), l->c = room(b * hidden), l->dh = room(b * hidden), l->dc = room(b * hidden);
    l->dx = room(rows * in), l->dw_ih = room(wide * in), l->dw_hh = room(wide * hidden), l->db_ih = room(wide), l->db_hh = room(wide);
    l->saved = room(rows * tn_rnn_saved(l->kind, hidden) + 32);
}

static void run_layer(layer *l, float *saved)
{
    const int64_t b = l->batch, hidden = l->hidden;
    int64_t first[32];
    for (int64_t t = 0; t <= l->steps; t++)
        first[t] = t * b;
    const size_t bytes = (size_t)(b * hidden) * sizeof(float);
    memcpy(l->h, l->h0, bytes), memcpy(l->c, l->c0, bytes), memcpy(l->dh, l->dh0, bytes), memcpy(l->dc, l->dc0, bytes);
    const tn_rnn r = {.kind = l->kind, .rounded = l->rounded != NOTHING, .steps = l->steps, .batch = b, .in = l->in, .hidden = hidden, .first = first,
                      .x = l->x, .w_ih = l->w_ih, .w_hh = l->w_hh, .b_ih = l->b_ih, .b_hh = l->b_hh, .saved = saved, .y = l->y, .h = l->h, .c = l->c};
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
        fail_msg("%s, how %d, rounded %d, %d to %d, batch %d, %d steps: %s[%d] is %a, %a was due: %.3g ulp, %.3g are allowed", kinds[l->kind], l->how,
                 l->rounded, (int)l->in, (int)l->hidden, (int)l->batch, (int)l->steps, what, (int)i, (double)is, due.x, off, most);
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
static sized gate(const float *w, int64_t j, const sized *row, int64_t n, const float *bias)
{
    sized sum = exact((double)bias[j]);
    for (int64_t k = 0; k < n; k++)
        sum = plus(sum, scaled((double)w[j * n + k], row[k]));
    return sum;
}

/* Unit j of row b of a step: its gates, GRU's fourth the hidden part of n; what forward makes of them; and the gradients of its gates (of GRU's n the
 * two parts' apart) and of h and c before, without what h's comes to by W_hh. */
typedef struct unit {
    sized gate[4], y, c, slope[4], dh, dc;
} unit;
static void forward_unit(const layer *l, const sized *x, const sized *before, int64_t j, sized cell, unit *u)
{
    sized of_x[4], of_h[4], *g = u->gate;
    for (int64_t s = 0; s < tn_rnn_gates(l->kind); s++) {
        of_x[s] = gate(l->w_ih, s * l->hidden + j, x, l->in, l->b_ih);
        of_h[s] = gate(l->w_hh, s * l->hidden + j, before, l->hidden, l->b_hh);
        g[s] = plus(of_x[s], of_h[s]);
    }
    if (l->kind == TN_RNN_KIND_LSTM) {
        g[0] = sigmoid(g[0]), g[1] = sigmoid(g[1]), g[2] = hyperbolic_tangent(g[2]), g[3] = sigmoid(g[3]);
        u->c = plus(times(g[1], cell), times(g[0], g[2]));
        u->y = times(g[3], hyperbolic_tangent(u->c));
    } else if (l->kind == TN_RNN_KIND_GRU) {
        g[0] = sigmoid(g[0]), g[1] = sigmoid(g[1]), g[2] = hyperbolic_tangent(plus(of_x[2], times(g[0], of_h[2]))), g[3] = of_h[2];
        u->y = plus(times(minus(before[j], g[2]), g[1]), g[2]);
    } else
        u->y = l->kind == TN_RNN_KIND_TANH ? hyperbolic_tangent(g[0]) : (sized){fmax(g[0].x, 0), g[0].size};
}

/* up, dc: the gradients of its y and c; y: the kernel's. */
static void backward_unit(const layer *l, sized before, sized cell, sized up, sized dc, double y, unit *u)
{
    const sized *g = u->gate;
    u->dh = exact(0);
    if (l->kind == TN_RNN_KIND_LSTM) {
        const sized i = g[0], f = g[1], n = g[2], o = g[3], t = hyperbolic_tangent(u->c);
        dc = plus(dc, times(up, times(o, rest(times(t, t)))));
        u->slope[0] = times(times(dc, n), times(i, rest(i)));
        u->slope[1] = times(times(dc, cell), times(f, rest(f)));
        u->slope[2] = times(times(dc, i), rest(times(n, n)));
        u->slope[3] = times(times(up, t), times(o, rest(o)));
        u->dc = times(dc, f);
    } else if (l->kind == TN_RNN_KIND_GRU) {
        const sized r = g[0], z = g[1], n = g[2];
        u->slope[2] = times(times(up, rest(z)), rest(times(n, n)));
        u->slope[0] = times(times(u->slope[2], g[3]), times(r, rest(r)));
        u->slope[1] = times(times(up, minus(before, n)), times(z, rest(z)));
        u->slope[3] = times(u->slope[2], r);
        u->dh = times(up, z);
    } else if (l->kind == TN_RNN_KIND_TANH)
        u->slope[0] = times(up, rest(exact(y * y)));
    else
        u->slope[0] = y > 0 ? up : exact(0);
}

/* Gate s of the hidden part: GRU's n has a gradient of its own. */
static int64_t of_hidden(const layer *l, int64_t s) { return l->kind == TN_RNN_KIND_GRU && s == 2 ? 3 : s; }

/* The bound of what step t makes, or in going back made of it: a result whose own sum has k terms beside those of the gates; a `sum` is one of products
 * with gates' gradients. To it lead t + 1 steps forward, or all of them and then those back to t; one step's both are bounded as one. */
static double bound(const layer *l, int64_t k, int64_t t, bool back, bool sum)
{
    const int64_t deep = !back ? t + 1 : l->steps == 1 ? 1 : 2 * l->steps - t, products = !back ? t + 1 : 2 * l->steps - t - !sum;
    k += l->in + l->hidden + 2;
    const double step = 4 + (l->how == ALIKE ? (double)(k < 512 ? k : 512) / 5 : sqrt((double)k));
    const double each = l->hidden > 64 ? 0x1p16 : 0; /* what is smaller is not rounded */
    const double rounding = l->rounded == ALL ? 2 * each * (double)products : l->rounded == MADE ? each * (double)(products - 1) : 0;
    return (l->how == ALIKE ? (double)deep : sqrt((double)deep)) * step + rounding;
}

static sized *exact_row(const float *x, int64_t n)
{
    sized *row = malloc((size_t)n * sizeof *row);
    for (int64_t i = 0; i < n; i++)
        row[i] = exact((double)x[i]);
    return row;
}

/* What is known in float64: x; h and c, those before all steps first; and units, by step. */
typedef struct known {
    sized *x, *h, *c;
    unit *units;
} known;

static void check_weights(const layer *l, const known *due)
{
    const int64_t hidden = l->hidden, rows = l->steps * l->batch;
    for (int64_t j = 0; j < l->wide; j++) {
        const int64_t s = j / hidden, unit_of = j % hidden, sh = of_hidden(l, s);
        sized db_ih = {0, 0}, db_hh = {0, 0};
        for (int64_t b = 0; b < rows; b++)
            db_ih = plus(db_ih, due->units[b * hidden + unit_of].slope[s]), db_hh = plus(db_hh, due->units[b * hidden + unit_of].slope[sh]);
        check(l, "db_ih", j, l->db_ih[j], db_ih, bound(l, rows, 0, true, false));
        check(l, "db_hh", j, l->db_hh[j], db_hh, bound(l, rows, 0, true, false));
        for (int64_t k = 0; k < l->in + hidden; k++) {
            sized sum = {0, 0};
            for (int64_t b = 0; b < rows; b++)
                sum = plus(sum, times(k < l->in ? due->x[b * l->in + k] : due->h[b * hidden + k - l->in],
                                      due->units[b * hidden + unit_of].slope[k < l->in ? s : sh]));
            if (k < l->in)
                check(l, "dw_ih", j * l->in + k, l->dw_ih[j * l->in + k], sum, bound(l, rows, 0, true, true));
            else
                check(l, "dw_hh", j * hidden + k - l->in, l->dw_hh[j * hidden + k - l->in], sum, bound(l, rows, 0, true, true));
        }
    }
}

/* Row b of step t backward: dh and dc become those of the step before. */
static void check_back(const layer *l, const known *due, int64_t t, int64_t b, sized *dh, sized *dc)
{
    const int64_t hidden = l->hidden, at = t * l->batch + b;
    unit *row = due->units + at * hidden;
    for (int64_t j = 0; j < hidden; j++) {
        const int64_t i = at * hidden + j;
        backward_unit(l, due->h[i], due->c[i], plus(exact((double)l->dy[i]), dh[j]), dc[j], (double)l->y[i], &row[j]);
        dc[j] = row[j].dc;
    }
    for (int64_t k = 0; k < l->in + hidden; k++) {
        sized sum = k < l->in ? exact(0) : row[k - l->in].dh;
        for (int64_t j = 0; j < l->wide; j++)
            sum = plus(sum, scaled((double)(k < l->in ? l->w_ih[j * l->in + k] : l->w_hh[j * hidden + k - l->in]),
                                   row[j % hidden].slope[k < l->in ? j / hidden : of_hidden(l, j / hidden)]));
        if (k < l->in)
            check(l, "dx", at * l->in + k, l->dx[at * l->in + k], sum, bound(l, l->wide, t, true, true));
        else
            dh[k - l->in] = sum;
    }
}

static void check_rows(const layer *l, known *due)
{
    const int64_t hidden = l->hidden, all = l->batch * hidden;
    for (int64_t i = 0; i < l->steps * all; i++) {
        const int64_t row = i / hidden;
        unit *u = &due->units[i];
        forward_unit(l, due->x + row * l->in, due->h + row * hidden, i % hidden, due->c[i], u);
        due->h[all + i] = u->y, due->c[all + i] = u->c;
        check(l, "y", i, l->y[i], u->y, bound(l, 0, i / all, false, false));
    }
    sized *dh = exact_row(l->dh0, all), *dc = exact_row(l->dc0, all);
    for (int64_t t = l->steps - 1; t >= 0; t--)
        for (int64_t b = 0; b < l->batch; b++)
            check_back(l, due, t, b, dh + b * hidden, dc + b * hidden);
    for (int64_t i = 0; i < all; i++) {
        check(l, "dh", i, l->dh[i], dh[i], bound(l, l->wide, 0, true, true));
        if (l->kind == TN_RNN_KIND_LSTM) {
            check(l, "c", i, l->c[i], due->c[l->steps * all + i], bound(l, 0, l->steps - 1, false, false));
            check(l, "dc", i, l->dc[i], dc[i], bound(l, 0, 0, true, false));
        }
    }
    free(dh), free(dc);
}

static void check_layer(layer l)
{
    const int64_t rows = l.steps * l.batch, all = l.batch * l.hidden;
    l.wide = tn_rnn_gates(l.kind) * l.hidden;
    draw_layer(&l);
    run_layer(&l, l.saved);
    known due = {exact_row(l.x, rows * l.in), malloc((size_t)(all + rows * l.hidden) * sizeof *due.h),
                 malloc((size_t)(all + rows * l.hidden) * sizeof *due.c), calloc((size_t)(rows * l.hidden), sizeof *due.units)};
    for (int64_t i = 0; i < all; i++)
        due.h[i] = exact((double)l.h0[i]), due.c[i] = exact((double)l.c0[i]);
    check_rows(&l, &due);
    check_weights(&l, &due);
    free(due.x), free(due.h), free(due.c), free(due.units);
    free_layer(&l);
}

/* Parts of vectors, many terms, many rows, and what is beyond the cache. */
static void test_step(void **unused)
{
    (void)unused;
    static const int64_t sizes[][3] = {{1, 3, 7}, {5, 37, 59}, {70, 48, 100}, {1, 32, 900}, {700, 160, 4}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 4 * HOWS; way++)
            if (!test_quickly() || sizes[i][0] < 70)
                check_layer((layer){.kind = (tn_rnn_kind)(way % 4), .how = way / 4, .in = sizes[i][0], .hidden = sizes[i][1], .batch = sizes[i][2],
                                    .steps = 1});
}

static void test_steps(void **unused)
{
    (void)unused;
    for (int64_t steps = 2; steps <= 6; steps += 4)
        for (int way = 0; way < 4 * HOWS; way++) {
            check_layer((layer){.kind = (tn_rnn_kind)(way % 4), .how = way / 4, .in = 3, .hidden = 37, .batch = 13, .steps = steps});
            if (!test_quickly())
                check_layer((layer){.kind = (tn_rnn_kind)(way % 4), .how = way / 4, .in = 700, .hidden = 160, .batch = 3, .steps = steps});
        }
}

/* Layers that are rounded in pairs, by products over all rows, and not at all. */
static void test_rounded(void **unused)
{
    (void)unused;
    static const int64_t sizes[][3] = {{5, 70, 13}, {3, 100, 30}, {700, 160, 3}, {5, 37, 10}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 4 * HOWS * 2; way++)
            for (int64_t steps = 1; steps <= 3; steps += 2)
                if (!test_quickly() || i == 0)
                    check_layer((layer){.kind = (tn_rnn_kind)(way % 4), .how = way / 4 % HOWS, .rounded = way < 4 * HOWS ? ALL : MADE,
                                        .in = sizes[i][0], .hidden = sizes[i][1], .batch = sizes[i][2], .steps = steps});
}

/* So much is saved that it goes past the caches, of one thread and where it lies at whole lines; the bits are the same. */
static void test_past(void **unused)
{
    (void)unused;
    const int threads = tn_get_num_threads();
    assert_int_equal(tn_set_num_threads(1), TN_OK);
    for (int kind = TN_RNN_KIND_LSTM; kind <= TN_RNN_KIND_GRU; kind++) {
        layer l = {.kind = (tn_rnn_kind)kind, .in = 1, .hidden = 27, .wide = tn_rnn_gates((tn_rnn_kind)kind) * 27, .batch = 1500, .steps = 17};
        draw_layer(&l);
        float *line = l.saved + (64 - (uintptr_t)l.saved % 64) / sizeof(float);
        const float *results[] = {l.y, l.h, l.dh, l.dx, l.dw_ih, l.dw_hh, l.db_ih, l.db_hh, l.c, l.dc};
        const int count = l.kind == TN_RNN_KIND_LSTM ? 10 : 8;
        const int64_t sizes[] = {l.steps * l.batch * l.hidden, l.batch * l.hidden, l.batch * l.hidden, l.steps * l.batch, l.wide, l.wide * l.hidden, l.wide,
                                 l.wide, l.batch * l.hidden, l.batch * l.hidden};
        float *kept[10];
        run_layer(&l, line + 1);
        for (int i = 0; i < count; i++)
            kept[i] = copy_of(results[i], sizes[i]);
        run_layer(&l, line);
        for (int i = 0; i < count; i++) {
            assert_memory_equal(kept[i], results[i], (size_t)sizes[i] * sizeof(float));
            free(kept[i]);
        }
        free_layer(&l);
    }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_step), cmocka_unit_test(test_steps), cmocka_unit_test(test_rounded),
                                       cmocka_unit_test(test_past)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
