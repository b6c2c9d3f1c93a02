/* One row of `make bench`: a training step of a network, timed.  usage: training mlp|lenet THREADS [STEPS]
 * Prints "network threads median_ms min_ms gflop peak_mb last_loss". The step is zero_grad, forward, loss, backward and Adam; the batch
 * changes each step. bench/training.py is the same program on PyTorch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <tenon/tenon.h>

enum { BATCH = 256, BATCHES = 4, WARMUP = 5, MOST_STEPS = 1000 };

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
    if (argc < 3) {
        fprintf(stderr, "usage: %s mlp|lenet THREADS [STEPS]\n", argv[0]);
        return 2;
    }
    bool is_mlp = strcmp(argv[1], "mlp") == 0;
    int threads = atoi(argv[2]), steps = argc > 3 ? atoi(argv[3]) : 40;
    steps = steps < 1 ? 1 : steps > MOST_STEPS ? MOST_STEPS : steps;
    tn_set_error_handler(tn_die);
    tn_check(tn_set_num_threads(threads));
    tn_manual_seed(1);
    void *net = is_mlp ? mlp_new() : lenet_new();
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-3);
    tn_tensor *x[BATCHES], *y[BATCHES]; /* [256, 1, 28, 28] and [256] each */
    for (int i = 0; i < BATCHES; i++) {
        x[i] = tn_rand(TN_SHAPE(BATCH, 1, 28, 28));
        y[i] = tn_randint(TN_SHAPE(BATCH), 0, 10);
    }
    double times[MOST_STEPS], loss_value = 0;
    for (int i = -WARMUP; i < steps; i++) {
        TN_SCOPE;
        double start = now_ms();
        int k = (i + WARMUP) % BATCHES;
        tn_zero_grad(opt);
        tn_tensor *loss = tn_cross_entropy(tn_call(net, x[k]), y[k]);
        tn_check(tn_backward(loss));
        tn_check(tn_step(opt));
        loss_value = tn_item(loss);
        if (i >= 0)
            times[i] = now_ms() - start;
    }
    qsort(times, (size_t)steps, sizeof *times, by_size);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%s %d %.4f %.4f %.3f %.1f %.6f\n", argv[1], threads, times[steps / 2], times[0], is_mlp ? 2.449 : 4.742,
           (double)usage.ru_maxrss / 1024, loss_value);
    tn_release(opt);
    tn_release(net);
    return 0;
}
