/* One row of `make bench`: a training step of a network, timed.  usage: training mlp|lenet|gru|lstm THREADS [STEPS]
 * Prints "network threads median_ms min_ms gflop peak_mb last_loss". The step is zero_grad, forward, loss, backward and Adam; the batch
 * changes each step. bench/training.py is the same program on PyTorch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <tenon/tenon.h>

enum { BATCHES = 4, WARMUP = 5, MOST_STEPS = 1000 };

typedef struct {
    tn_module base;
    tn_module *fc1, *fc2, *fc3;
} mlp;

static tn_tensor *mlp_forward(mlp *net, tn_tensor *x)
{
    x = tn_relu(tn_call(net->fc1, tn_flatten(x, 1, -1)));
    return tn_call(net->fc3, tn_relu(tn_call(net->fc2, x)));
}
TN_MODULE(mlp, mlp_forward);

static void *mlp_new(void)
{
    mlp *net = TN_NEW(mlp);
    TN_CHILD(net, fc1, tn_linear_new(784, 1024));
    TN_CHILD(net, fc2, tn_linear_new(1024, 1024));
    TN_CHILD(net, fc3, tn_linear_new(1024, 10));
    return net;
}

typedef struct {
    tn_module base;
    tn_module *conv1, *conv2, *fc1, *fc2;
} lenet;

static tn_tensor *lenet_forward(lenet *net, tn_tensor *x)
{
    x = tn_max_pool2d(tn_relu(tn_call(net->conv1, x)), 2); /* [n, 20, 14, 14] */
    x = tn_max_pool2d(tn_relu(tn_call(net->conv2, x)), 2); /* [n, 50, 7, 7] */
    x = tn_relu(tn_call(net->fc1, tn_flatten(x, 1, -1)));
    return tn_call(net->fc2, x);
}
TN_MODULE(lenet, lenet_forward);

static void *lenet_new(void)
{
    lenet *net = TN_NEW(lenet);
    TN_CHILD(net, conv1, tn_conv2d_new(1, 20, 3, .padding = 1));
    TN_CHILD(net, conv2, tn_conv2d_new(20, 50, 3, .padding = 1));
    TN_CHILD(net, fc1, tn_linear_new(2450, 500));
    TN_CHILD(net, fc2, tn_linear_new(500, 10));
    return net;
}

/* The last step's h of a recurrent layer, and a linear one over it. */
typedef struct {
    tn_module base;
    tn_module *recurrent, *fc;
} sequence_model;

static tn_tensor *sequence_forward(sequence_model *net, tn_tensor *x)
{
    return tn_call(net->fc, tn_select(tn_call(net->recurrent, x), 1, -1));
}
TN_MODULE(sequence_model, sequence_forward);

/* The GRU that predicts a sine wave, and an LSTM over longer and wider sequences. */
static void *gru_new(void)
{
    sequence_model *net = TN_NEW(sequence_model);
    TN_CHILD(net, recurrent, tn_gru_new(1, 32, .batch_first = true));
    TN_CHILD(net, fc, tn_linear_new(32, 1));
    return net;
}

static void *lstm_new(void)
{
    sequence_model *net = TN_NEW(sequence_model);
    TN_CHILD(net, recurrent, tn_lstm_new(64, 128, .batch_first = true));
    TN_CHILD(net, fc, tn_linear_new(128, 10));
    return net;
}

/* What there is to train. A multiply-add is two operations; a step has three products for each weight, but none for the first dx. */
static const struct {
    const char *name;
    void *(*make)(void);
    int64_t batch, sizes[3]; /* x is [batch, sizes...]; 0: one dim less */
    int64_t classes;         /* 0: the loss is the squared error of one number */
    double gflop;
} networks[] = {
    {"mlp", mlp_new, 256, {1, 28, 28}, 10, 2.449},
    {"lenet", lenet_new, 256, {1, 28, 28}, 10, 4.742},
    {"gru", gru_new, 1568, {40, 1}, 0, 1.180},
    {"lstm", lstm_new, 64, {100, 64}, 10, 3.356},
};

enum { NETWORKS = (int)(sizeof networks / sizeof *networks) };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int which = 0;
    while (argc > 1 && which < NETWORKS && strcmp(argv[1], networks[which].name) != 0)
        which++;
    if (argc < 3 || which == NETWORKS) {
        fprintf(stderr, "usage: %s mlp|lenet|gru|lstm THREADS [STEPS]\n", argv[0]);
        return 2;
    }
    int threads = atoi(argv[2]), steps = argc > 3 ? atoi(argv[3]) : 40;
    steps = steps < 1 ? 1 : steps > MOST_STEPS ? MOST_STEPS : steps;
    tn_set_error_handler(tn_die);
    tn_check(tn_set_num_threads(threads));
    tn_manual_seed(1);
    void *net = networks[which].make();
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-3);
    const int64_t n = networks[which].batch, classes = networks[which].classes, *sizes = networks[which].sizes;
    tn_shape shape = sizes[2] ? TN_SHAPE(n, sizes[0], sizes[1], sizes[2]) : TN_SHAPE(n, sizes[0], sizes[1]);
    tn_tensor *x[BATCHES], *y[BATCHES];
    for (int i = 0; i < BATCHES; i++) {
        x[i] = tn_rand(shape);
        y[i] = classes ? tn_randint(TN_SHAPE(n), 0, classes) : tn_rand(TN_SHAPE(n, 1));
    }
    double times[MOST_STEPS], loss_value = 0;
    for (int i = -WARMUP; i < steps; i++) {
        TN_SCOPE;
        double start = now_ms();
        int k = (i + WARMUP) % BATCHES;
        tn_zero_grad(opt);
        tn_tensor *out = tn_call(net, x[k]), *loss = classes ? tn_cross_entropy(out, y[k]) : tn_mse_loss(out, y[k]);
        tn_check(tn_backward(loss));
        tn_check(tn_step(opt));
        loss_value = tn_item(loss);
        if (i >= 0)
            times[i] = now_ms() - start;
    }
    qsort(times, (size_t)steps, sizeof *times, by_size);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%s %d %.4f %.4f %.3f %.1f %.6f\n", argv[1], threads, times[steps / 2], times[0], networks[which].gflop,
           (double)usage.ru_maxrss / 1024, loss_value);
    tn_release(opt);
    tn_release(net);
    return 0;
}
