/* Written from the README and the headers alone. Two networks trained against each other: a generator of points on a ring, and a discriminator that tells them from real ones.
 *
 * The discriminator's step sees the generator's points detached, so that no gradient reaches the generator; the generator's step
 * freezes the discriminator, so that none reaches it. Both are checked in each step of the first ten, and the ring at the end. */
#include <math.h>
#include <stdio.h>

#include <tenon/tenon.h>

#ifdef __SANITIZE_ADDRESS__ /* the steps are alike: what comes of 1500 is the plain run's to say */
enum { STEPS = 100, LEARNS = false };
#else
enum { STEPS = 1500, LEARNS = true };
#endif
enum { BATCH = 128, NOISE = 8, SECTORS = 8, SAMPLES = 4096 };
static const double radius = 2, spread = 0.05;

static int failures;
static void expect(bool what, const char *text)
{
    if (!what) {
        printf("FAILED: %s\n", text);
        failures++;
    }
}

/* n points [n, 2] about a ring. */
static tn_tensor *ring(int64_t n)
{
    tn_tensor *angle = tn_uniform(TN_SHAPE(n, 1), 0, 2 * 3.14159265358979);
    tn_tensor *points = tn_concat(TN_TENSORS(tn_cos(angle), tn_sin(angle)), 1);
    return tn_add(tn_mul(points, radius), tn_normal(TN_SHAPE(n, 2), 0, spread));
}

/* Binary cross-entropy of logits against one label for all of them: softplus(x) - label x, which no logit overflows. */
static tn_tensor *bce_with_logits(tn_tensor *logits, double label)
{
    return tn_mean(tn_sub(tn_softplus(logits), tn_mul(logits, label)));
}

static tn_module *mlp(int64_t in, int64_t hidden, int64_t out)
{
    return tn_sequential_new(tn_linear_new(in, hidden), tn_leaky_relu_new(0.2), tn_linear_new(hidden, hidden),
                             tn_leaky_relu_new(0.2), tn_linear_new(hidden, out));
}

/* Whether any parameter has a gradient. */
static bool any_grad(tn_module *net)
{
    tn_list *all = tn_parameters(net);
    for (int64_t i = 0; i < tn_list_count(all); i++)
        if (tn_grad(tn_list_at(all, i)))
            return true;
    return false;
}

/* A number that changes when a parameter does. */
static double fingerprint(tn_module *net)
{
    double sum = 0;
    tn_list *all = tn_parameters(net);
    for (int64_t i = 0; i < tn_list_count(all); i++)
        sum += (double)(i + 1) * tn_item(tn_norm(tn_detach(tn_list_at(all, i))));
    return sum;
}

static double train(tn_module *gen, tn_module *disc)
{
    TN_SCOPE;
    tn_optim *gen_opt = tn_adam_new(tn_parameters(gen), 1e-3, .beta1 = 0.5);
    tn_optim *disc_opt = tn_adam_new(tn_parameters(disc), 1e-3, .beta1 = 0.5);
    double last = 0;
    for (int step = 0; step < STEPS; step++) {
        TN_SCOPE;
        bool check = step < 10;

        /* the discriminator: 1 for the ring's points, 0 for the generator's */
        double before = check ? fingerprint(gen) : 0;
        tn_zero_grad(gen_opt);
        tn_tensor *fake = tn_call(gen, tn_randn(TN_SHAPE(BATCH, NOISE)));
        tn_tensor *disc_loss = tn_add(bce_with_logits(tn_call(disc, ring(BATCH)), 1),
                                      bce_with_logits(tn_call(disc, tn_detach(fake)), 0));
        tn_zero_grad(disc_opt);
        tn_check(tn_backward(disc_loss));
        tn_check(tn_step(disc_opt));
        if (check) {
            expect(fingerprint(gen) == before, "the discriminator's step left the generator alone");
            expect(!any_grad(gen), "no gradient went through detach");
        }

        /* the generator: its points, with their history this time, should be taken for the ring's */
        before = check ? fingerprint(disc) : 0;
        tn_freeze(disc, true);
        tn_tensor *gen_loss = bce_with_logits(tn_call(disc, fake), 1);
        tn_check(tn_backward(gen_loss));
        tn_check(tn_step(gen_opt));
        if (check) {
            expect(!any_grad(disc), "a frozen discriminator gets no gradient");
            expect(fingerprint(disc) == before, "the generator's step left the discriminator alone");
        }
        tn_freeze(disc, false);

        last = tn_item(gen_loss);
        if (step % 300 == 0)
            printf("step %4d: discriminator %.3f, generator %.3f\n", step, tn_item(disc_loss), last);
    }
    tn_release(gen_opt);
    tn_release(disc_opt);
    return last;
}

static void judge(tn_module *gen)
{
    TN_SCOPE;
    TN_NO_GRAD;
    tn_train(gen, false);
    tn_tensor *points = tn_call(gen, tn_randn(TN_SHAPE(SAMPLES, NOISE)));
    tn_tensor *distance = tn_norm(points, .dim = 1);
    double mean = tn_item(tn_mean(distance)), std = tn_item(tn_std(distance));
    double off = tn_item(tn_norm(tn_mean(points, .dim = 0)));
    static float xy[SAMPLES * 2];
    tn_check(tn_to_floats(points, xy, SAMPLES * 2));
    int count[SECTORS] = {0};
    for (int i = 0; i < SAMPLES; i++) {
        double turn = atan2((double)xy[2 * i + 1], (double)xy[2 * i]) / (2 * 3.14159265358979) + 0.5;
        count[(int)(turn * SECTORS) % SECTORS]++;
    }
    int least = SAMPLES;
    for (int i = 0; i < SECTORS; i++)
        least = count[i] < least ? count[i] : least;
    printf("radius %.3f +- %.3f (real: %.3f +- %.3f), centre off by %.3f, emptiest of %d sectors %.1f%%\n", mean, std, radius, spread,
           off, SECTORS, 100.0 * least / SAMPLES);
    expect(isfinite(mean) && isfinite(std), "the points are numbers");
    if (!LEARNS)
        return;
    expect(fabs(mean - radius) < 0.15, "the mean radius is the ring's");
    expect(std < 0.3, "the points are on a ring, not in a disc");
    expect(off < 0.4, "the points' centre is the ring's");
    expect(least > SAMPLES / SECTORS / 5, "no part of the ring was dropped");
}

int main(void)
{
    tn_set_error_handler(tn_die);
    tn_check(tn_set_num_threads(1)); /* the networks are small: a second thread costs more than it gives */
    int64_t start = tn_live_objects();
    tn_manual_seed(3);
    tn_module *gen = mlp(NOISE, 64, 2), *disc = mlp(2, 64, 1);
    double loss = train(gen, disc);
    expect(isfinite(loss), "the loss is finite");
    judge(gen);
    tn_release(gen);
    tn_release(disc);
    expect(tn_live_objects() == start, "nothing is left");
    printf("%s\n", failures ? "FAILED" : "passed");
    return failures != 0;
}
