/* The bounds of kernels/cpu/optim.c: each optimiser's update of a step against its formulas in float64.
 * labels: isa, quick */
#include "check.h"

#include "drawn.h"
#include "kernels/kernels.h"
#include "sized.h"
#include "ulp.h"

static double between(int low, int high) { return ldexp(uniform(), low + (int)(next() % (uint64_t)(high - low + 1))); }

/* What an element becomes; those of p and of each state. */
enum { RESULTS = 1 + TN_STEP_STATES };
typedef struct element {
    sized w, x, to[RESULTS];
    double m[TN_STEP_STATES]; /* the states before */
} element;

static sized average(double m, double take, sized x) { return (sized){m + take * (x.x - m), fabs(m) + take * (x.size + fabs(m))}; }
static sized squares(double keep, double m, double take, sized x) { return plus(scaled(keep, exact(m)), scaled(take, times(x, x))); }
/* y by what is computed from v: how far off v may be counts for y too. */
static sized by(sized y, double divisor, sized v) { return (sized){y.x / divisor, y.size / divisor * (v.size > 0 ? v.size / v.x : 1)}; }
static sized greater(sized a, sized b) { return a.x < b.x ? b : a; }

static void sgd(const tn_step_scalars *c, element *e, int states)
{
    sized step = e->x;
    if (states) {
        e->to[1] = plus(scaled(c->keep1, exact(e->m[0])), scaled(c->take1, e->x));
        step = plus(scaled(c->ahead, e->x), scaled(c->scale, e->to[1]));
    }
    e->to[0] = minus(e->w, scaled(c->rate, step));
}

static void adam(const tn_step_scalars *c, element *e, int states)
{
    sized v = e->to[2] = squares(c->keep2, e->m[1], c->take2, e->x);
    e->to[1] = average(e->m[0], c->take1, e->x);
    if (states & 4)
        v = e->to[3] = greater(v, exact(e->m[2]));
    e->to[0] = minus(e->w, by(plus(scaled(c->rate, e->to[1]), scaled(c->ahead, e->x)), sqrt(v.x) * c->scale + c->eps, v));
}

static void rmsprop(const tn_step_scalars *c, element *e, int states)
{
    sized v = e->to[1] = squares(c->keep2, e->m[0], c->take2, e->x);
    if (states & 4) {
        e->to[3] = average(e->m[2], c->take2, e->x);
        v = minus(v, times(e->to[3], e->to[3]));
        v.x = fmax(v.x, 0);
        if (v.x < v.size / 64) /* they cancel: any root may be */
            v.size = INFINITY;
    }
    sized y = by(e->x, sqrt(v.x) + c->eps, v);
    if (states & 2)
        y = e->to[2] = plus(scaled(c->keep1, exact(e->m[1])), y);
    e->to[0] = minus(e->w, scaled(c->rate, y));
}

static void adadelta(const tn_step_scalars *c, element *e, int states)
{
    (void)states;
    const sized v = e->to[1] = squares(c->keep2, e->m[0], c->take2, e->x);
    const sized y = by(scaled(sqrt(e->m[1] + c->eps), e->x), sqrt(v.x + c->eps), v);
    e->to[2] = squares(c->keep2, e->m[1], c->take2, y);
    e->to[0] = minus(e->w, scaled(c->rate, y));
}

static void adamax(const tn_step_scalars *c, element *e, int states)
{
    (void)states;
    e->to[1] = average(e->m[0], c->take1, e->x);
    e->to[2] = greater(scaled(c->keep2, exact(e->m[1])), (sized){fabs(e->x.x) + c->eps, e->x.size + c->eps});
    e->to[0] = minus(e->w, by(scaled(c->rate, e->to[1]), e->to[2].x, e->to[2]));
}

static void lion(const tn_step_scalars *c, element *e, int states)
{
    (void)states;
    const sized u = plus(scaled(c->keep1, exact(e->m[0])), scaled(c->take1, e->x));
    e->to[1] = plus(scaled(c->keep2, exact(e->m[0])), scaled(c->take2, e->x));
    e->to[0] = minus(e->w, scaled(c->rate, exact(u.x > 0 ? 1 : u.x < 0 ? -1 : 0)));
    if (fabs(u.x) < 0x1p-20 * u.size) /* they cancel: either sign may be */
        e->to[0].size = INFINITY;
}

static void muon(const tn_step_scalars *c, element *e, int states)
{
    (void)states;
    e->to[1] = average(e->m[0], c->take1, e->x);
    e->to[2] = exact(e->m[1]);
    e->to[0] = minus(e->w, scaled(c->rate, exact(e->m[1])));
}

static void lerp(const tn_step_scalars *c, element *e, int states)
{
    (void)states;
    e->to[0] = plus(e->w, scaled(c->rate, minus(e->x, e->w)));
}

/* The loops there are, with the bounds of p and of each state in ulp of the magnitudes. */
enum { LINEAR = 4, ROOT = 6, ROOT_SQUARED = 10 };
static const struct row {
    const char *name;
    tn_step_op op;
    int states;
    void (*formula)(const tn_step_scalars *c, element *e, int states);
    int most[RESULTS];
} rows[] = {
    {"sgd", TN_STEP_SGD, 0, sgd, {LINEAR}},
    {"sgd with momentum", TN_STEP_SGD, 1, sgd, {LINEAR, LINEAR}},
    {"adam", TN_STEP_ADAM, 3, adam, {ROOT, LINEAR, ROOT}},
    {"amsgrad", TN_STEP_ADAM, 7, adam, {ROOT, LINEAR, ROOT, ROOT}},
    {"rmsprop", TN_STEP_RMSPROP, 1, rmsprop, {ROOT, ROOT}},
    {"rmsprop with momentum", TN_STEP_RMSPROP, 3, rmsprop, {ROOT, ROOT, ROOT}},
    {"rmsprop, centred", TN_STEP_RMSPROP, 5, rmsprop, {ROOT, ROOT, 0, LINEAR}},
    {"rmsprop, centred with momentum", TN_STEP_RMSPROP, 7, rmsprop, {ROOT, ROOT, ROOT, LINEAR}},
    {"adadelta", TN_STEP_ADADELTA, 3, adadelta, {ROOT, ROOT, ROOT_SQUARED}},
    {"adamax", TN_STEP_ADAMAX, 3, adamax, {ROOT, LINEAR, LINEAR}},
    {"lion", TN_STEP_LION, 1, lion, {LINEAR, LINEAR}},
    {"muon", TN_STEP_MUON, 3, muon, {LINEAR, LINEAR, 0}},
    {"lerp", TN_STEP_LERP, 0, lerp, {LINEAR}},
};

/* Numbers by how: all near 1; of all sizes; a gradient near its average; one that all but cancels the decay; tiny gradients with parameters of the
 * size of a step or none, whose digits are the step's. */
enum { N = 1003, HOWS = 5, STATES_ARE_SQUARES = 1 << TN_STEP_ADAM | 1 << TN_STEP_RMSPROP | 1 << TN_STEP_ADADELTA | 1 << TN_STEP_ADAMAX };
static void hard_numbers(const struct row *row, int how, double decay, float (*a)[N])
{
    for (int i = 0; i < N; i++) {
        const double g = how == 1 ? between(-30, 20) : how == 4 ? between(-40, -20) : uniform(), near = g * (1 + ldexp(uniform(), -(int)(next() % 24)));
        a[0][i] = (float)(how == 1 ? between(-30, 5) : how == 4 ? i % 2 ? 0 : between(-30, -10) : uniform());
        a[1][i] = (float)(how == 3 && decay > 0 ? -decay * (double)a[0][i] * near / g : g);
        for (int k = 0; k < TN_STEP_STATES; k++) {
            const double m = how == 2 ? near : how == 1 ? between(-30, 20) : how == 4 ? between(-40, -20) : uniform();
            a[2 + k][i] = (float)m;
        }
        const int first = row->op == TN_STEP_ADAM || row->op == TN_STEP_ADAMAX ? 1 : 0, end = row->op == TN_STEP_RMSPROP ? 1 : row->op == TN_STEP_ADAMAX ? 2 : 3;
        for (int k = first; k < end && STATES_ARE_SQUARES >> row->op & 1; k++)
            a[2 + k][i] = row->op == TN_STEP_ADAMAX ? fabsf(a[2 + k][i]) : a[2 + k][i] * a[2 + k][i];
    }
}

static void check_step(const struct row *row, int how, const tn_step_scalars *c)
{
    static float before[2 + TN_STEP_STATES][N], after[2 + TN_STEP_STATES][N];
    hard_numbers(row, how, c->decay, before);
    memcpy(after, before, sizeof after);
    tn_step_item item = {.dtype = TN_F32, .n = N, .p = after[0], .g = after[1], .c = *c};
    for (int k = 0; k < TN_STEP_STATES; k++)
        item.state[k] = row->states >> k & 1 ? after[2 + k] : NULL;
    assert_int_equal(tn_kernels_of(TN_CPU)->optim_step(row->op, &item, 1), TN_OK);
    for (int i = 0; i < N; i++) {
        element e = {.m = {(double)before[2][i], (double)before[3][i], (double)before[4][i]}};
        e.w = scaled(c->shrink, exact((double)before[0][i]));
        e.x = plus(scaled(c->sign, exact((double)before[1][i])), scaled(c->decay, e.w));
        row->formula(c, &e, row->states);
        for (int k = 0; k < RESULTS; k++) {
            if (k > 0 && !(row->states >> (k - 1) & 1))
                continue;
            const float is = after[k ? k + 1 : 0][i];
            if (isfinite(e.to[k].size) && !(ulps_of(is, e.to[k].x, e.to[k].size) <= row->most[k]))
                fail_msg("%s, how %d, decay %g, shrink %g: result %d is %a, %a was due: %.3g ulp", row->name, how, c->decay, c->shrink, k, (double)is,
                         e.to[k].x, ulps_of(is, e.to[k].x, e.to[k].size));
        }
    }
}

static void test_steps(void **unused)
{
    (void)unused;
#define F(x) (double)(x##F)
    const tn_step_scalars plain = {.sign = 1, .shrink = 1, .rate = F(1e-3), .ahead = 0, .keep1 = F(0.9), .take1 = F(0.1), .keep2 = F(0.999),
                                   .take2 = F(0.001), .scale = 1, .eps = F(1e-8)};
    tn_step_scalars others[] = {plain, plain, plain, plain};
    others[1].decay = F(0.01), others[1].ahead = F(1e-4), others[1].scale = F(31.6); /* bias corrected; decay in the gradient */
    others[2].shrink = F(0.99), others[2].sign = -1, others[2].scale = F(0.9), others[2].rate = F(0.5); /* decay apart; to a maximum */
    others[3].decay = F(0.5), others[3].take1 = F(0.5), others[3].keep1 = F(0.5), others[3].keep2 = F(0.5), others[3].take2 = F(0.5);
#undef F
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int how = 0; how < 4 * HOWS; how++)
            check_step(&rows[i], how / 4, &others[how % 4]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
