/* Written from the README and the headers alone. A GRU by hand, with a fused gate of our own, learns the adding problem: x[t] = (value, marker); the answer is the sum of the two
 * values that are marked. */
#include <math.h>
#include <stdio.h>
#include <tenon/tenon.h>

enum { STEPS = 12, HIDDEN = 24, BATCH = 64 };

/* ---- an operator of our own: y = n + z (h - n), z = clamp(slope a + 1/2, 0, 1) ---- */
typedef struct {
    double slope;
} gate_data;

static tn_tensor *gate_z(tn_context *context, tn_tensor *a)
{
    const gate_data *data = tn_context_data(context);
    return tn_clamp(tn_add(tn_mul(a, data->slope), 0.5), .min = 0, .max = 1);
}

static void gate_forward(tn_context *context, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (n_in != 3 || n_out != 1) {
        tn_fail(TN_ERR_ARGUMENT, "gate: takes a, h and n, not %d tensors", n_in);
        return;
    }
    for (int i = 0; i < 3; i++)
        tn_save(context, in[i]);
    out[0] = tn_lerp(in[2], in[1], gate_z(context, in[0]));
}

static void gate_backward(tn_context *context, tn_tensor *const *grad_out, int n_out, tn_tensor **grad_in, int n_in)
{
    (void)n_out, (void)n_in;
    const gate_data *data = tn_context_data(context);
    tn_tensor *g = grad_out[0], *a = tn_saved(context, 0), *h = tn_saved(context, 1), *n = tn_saved(context, 2);
    tn_tensor *z = gate_z(context, a);
    if (tn_needs_grad(context, 0)) {
        tn_tensor *inside = tn_lt(tn_abs(a), 0.5 / data->slope);
        grad_in[0] = tn_where(inside, tn_mul(tn_mul(g, tn_sub(h, n)), data->slope), 0.0);
    }
    if (tn_needs_grad(context, 1))
        grad_in[1] = tn_mul(g, z);
    if (tn_needs_grad(context, 2))
        grad_in[2] = tn_mul(g, tn_sub(1.0, z));
}

static const tn_function gate_function = {"gate", gate_forward, gate_backward};
static tn_tensor *gate(tn_tensor *a, tn_tensor *h, tn_tensor *n)
{
    gate_data data = {0.25};
    return tn_apply(&gate_function, &data, sizeof data, (tn_tensor *[]){a, h, n}, 3);
}

static tn_tensor *gate_of(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return gate(in[0], in[1], in[2]);
}

typedef struct {
    tn_module base;
    tn_module *from_x, *from_h, *from_rh;
} gru_cell;

static tn_tensor *gru_cell_forward(gru_cell *cell, tn_tensor *x, tn_tensor *h)
{
    tn_tensor *gx[3], *gh[2];
    tn_chunk(tn_call(cell->from_x, x), 3, 1, gx);
    tn_chunk(tn_call(cell->from_h, h), 2, 1, gh);
    tn_tensor *r = tn_sigmoid(tn_add(gx[1], gh[1]));
    tn_tensor *n = tn_tanh(tn_add(gx[2], tn_call(cell->from_rh, tn_mul(r, h))));
    return gate(tn_add(gx[0], gh[0]), h, n);
}
TN_MODULE2(gru_cell, gru_cell_forward);

static gru_cell *gru_cell_new(int64_t in, int64_t hidden)
{
    gru_cell *cell = TN_NEW(gru_cell);
    TN_CHILD(cell, from_x, tn_linear_new(in, 3 * hidden));
    TN_CHILD(cell, from_h, tn_linear_new(hidden, 2 * hidden, .bias = false));
    TN_CHILD(cell, from_rh, tn_linear_new(hidden, hidden, .bias = false));
    return cell;
}

typedef struct {
    tn_module base;
    tn_module *cell, *out;
} adder;

static tn_tensor *adder_forward(adder *net, tn_tensor *x) /* [n, steps, 2] to [n] */
{
    tn_tensor *h = tn_zeros(TN_SHAPE(tn_size(x, 0), HIDDEN));
    for (int64_t t = 0; t < tn_size(x, 1); t++)
        h = tn_call(net->cell, tn_select(x, 1, t), h);
    return tn_squeeze(tn_call(net->out, h), 1);
}
TN_MODULE(adder, adder_forward);

static tn_tensor *draw(int64_t n, tn_tensor **target)
{
    tn_tensor *value = tn_rand(TN_SHAPE(n, STEPS));
    tn_tensor *first = tn_one_hot(tn_randint(TN_SHAPE(n), 0, STEPS / 2), STEPS);
    tn_tensor *second = tn_one_hot(tn_randint(TN_SHAPE(n), STEPS / 2, STEPS), STEPS);
    tn_tensor *marker = tn_cast(tn_add(first, second), TN_F32);
    *target = tn_sum(tn_mul(value, marker), .dim = 1);
    return tn_stack(TN_TENSORS(value, marker), 2);
}

static bool run(void)
{
    TN_SCOPE;
    tn_manual_seed(3);
    tn_tensor *in[3];
    for (int i = 0; i < 3; i++)
        in[i] = tn_normal(TN_SHAPE(4, 5), 0, 2, .dtype = TN_F64, .requires_grad = true);
    tn_check(tn_gradcheck(gate_of, NULL, in, 3, .second = true));
    printf("the gate's gradients are right, and their own\n");

    adder *net = TN_NEW(adder);
    TN_CHILD(net, cell, gru_cell_new(2, HIDDEN));
    TN_CHILD(net, out, tn_linear_new(HIDDEN, 1));
    tn_list *params = tn_parameters(net);
    tn_optim *opt = tn_adam_new(params, 0.01);
    for (int step = 0; step < 300; step++) {
        TN_SCOPE;
        tn_tensor *y, *x = draw(BATCH, &y);
        tn_tensor *loss = tn_mse_loss(tn_call(net, x), y);
        tn_zero_grad(opt);
        tn_check(tn_backward(loss));
        tn_clip_grad_norm(params, 1.0);
        tn_check(tn_step(opt));
        if (step % 50 == 49)
            printf("step %d: loss %.4f\n", step + 1, tn_item(loss));
    }
    TN_NO_GRAD;
    tn_tensor *y, *x = draw(1000, &y);
    double error = tn_item(tn_mse_loss(tn_call(net, x), y)), guess = tn_item(tn_var(y));
    printf("test: %.4f, where the mean alone gives %.4f\n", error, guess);
    tn_check(tn_last_status());
    tn_release(opt);
    tn_release(net);
    return error < 0.1 * guess;
}

int main(void)
{
    tn_set_error_handler(tn_die);
    tn_check(tn_set_num_threads(1)); /* the matrices are small */
    bool learned = run();
    return !(learned && tn_live_objects() == 0);
}
