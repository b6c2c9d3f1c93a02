/* What surrounds examples/mnist.c: its options, its digits, the table and picture of its curves, a few digits shown. */
#ifndef MNIST_OPTIONS_H
#define MNIST_OPTIONS_H

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/tenon.h>

enum { DRAWN_TRAIN = 6000, DRAWN_TEST = 1000, SHOWN = 5, SIDE = 28 };

typedef struct {
    bool mlp;
    int batch_size, test_batch_size, epochs;
    double lr;
    uint64_t seed;
    const char *device, *data, *plot, *save, *load;
    tn_plot *curves;
    double test_accuracy;
} options;

typedef struct {
    tn_tensor *x, *y; /* [n, 1, 28, 28] in 0 ... 1, [n] */
} digits;

static inline double number(const char *text, const struct argp_state *state, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        argp_error(state, "'%s' is no number from %g to %g", text, least, most);
    return value;
}

static inline error_t read_option(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case 'n':
        o->mlp = strcmp(text, "mlp") == 0;
        if (!o->mlp && strcmp(text, "conv") != 0)
            argp_error(state, "the network is mlp or conv, not '%s'", text);
        return 0;
    case 'b': o->batch_size = (int)number(text, state, 1, 1e6); return 0;
    case 't': o->test_batch_size = (int)number(text, state, 1, 1e6); return 0;
    case 'e': o->epochs = (int)number(text, state, 1, 1e5); return 0;
    case 'r': o->lr = number(text, state, 0, 1e3); return 0;
    case 's': o->seed = (uint64_t)number(text, state, 0, 9e15); return 0;
    case 'v': o->device = text; return 0;
    case 'd': o->data = text; return 0;
    case 'p': o->plot = text; return 0;
    case 'w': o->save = text; return 0;
    case 'l': o->load = text; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static inline options read_options(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"network", 'n', "mlp|conv", 0, "MLP 784-1024-1024-10, or LeNet (conv)", 0},
        {"batch-size", 'b', "N", 0, "Digits in a training batch (256)", 0},
        {"test-batch-size", 't', "N", 0, "Digits in a test batch (1024)", 0},
        {"epochs", 'e', "N", 0, "Passes over the training digits (10)", 0},
        {"lr", 'r', "RATE", 0, "Adam's learning rate (0.001)", 0},
        {"device", 'v', "NAME", 0, "cpu, or cuda:0 (cpu)", 0},
        {"seed", 's', "N", 0, "Of weights, order and drawn digits (1)", 0},
        {"data", 'd', "DIR", 0, "The folder of MNIST's four files (data/mnist, where it is)", 0},
        {"plot", 'p', "FILE", 0, "The curves' picture; a CSV lies beside it (mnist.png)", 0},
        {"save", 'w', "FILE", 0, "Write the weights as safetensors", 0},
        {"load", 'l', "FILE", 0, "Begin from such a file", 0},
        {0},
    };
    static const struct argp parser = {list, read_option, NULL, "Trains a network to read digits, and shows what it learned.", NULL, NULL, NULL};
    options o = {.batch_size = 256, .test_batch_size = 1024, .epochs = 10, .lr = 1e-3, .seed = 1, .device = "cpu", .plot = "mnist.png"};
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (!o.data && access("data/mnist", R_OK) == 0)
        o.data = "data/mnist";
    o.curves = tn_plot_new(o.plot, .title = "Reading digits", .xlabel = "epoch", .ylabel = "accuracy, %", .y2label = "training loss");
    tn_check(tn_plot_series(o.curves, "train accuracy", .style = TN_PLOT_LINE_POINTS));
    tn_check(tn_plot_series(o.curves, "test accuracy", .style = TN_PLOT_LINE_POINTS));
    tn_check(tn_plot_series(o.curves, "loss", .style = TN_PLOT_DASHED, .right = true));
    if (o.data)
        printf("MNIST from %s\n", o.data);
    else
        printf("No MNIST here (scripts/fetch_mnist.sh fetches it): %d digits drawn for training, %d for testing\n", DRAWN_TRAIN, DRAWN_TEST);
    return o;
}

static inline digits load_digits(const options *o, bool train)
{
    tn_tensor *y = NULL;
    tn_tensor *x = o->data ? tn_load_mnist(o->data, train, &y) : tn_draw_digits(train ? DRAWN_TRAIN : DRAWN_TEST, &y);
    x = tn_div(tn_reshape(x, TN_SHAPE(-1, 1, SIDE, SIDE)), 255.0);
    if (!x)
        tn_check(tn_last_status());
    return (digits){x, y};
}

static inline tn_tensor *test_image(const digits *d, int64_t i) { return tn_narrow(d->x, 0, i, 1); }

static inline void record_epoch(options *o, int epoch, double loss, double train, double test)
{
    printf("epoch %2d: loss %.4f, train accuracy %.2f %%, test accuracy %.2f %%\n", epoch, loss, 100 * train, 100 * test);
    tn_check(tn_plot_point(o->curves, "train accuracy", epoch, 100 * train));
    tn_check(tn_plot_point(o->curves, "test accuracy", epoch, 100 * test));
    tn_check(tn_plot_point(o->curves, "loss", epoch, loss));
    o->test_accuracy = test;
}

/* A few test digits side by side, and what the network says they are. */
static inline void show_some(tn_module *net, const digits *test)
{
    TN_SCOPE;
    TN_NO_GRAD;
    tn_train(net, false);
    tn_tensor *x = tn_narrow(test->x, 0, 0, SHOWN), *said = tn_argmax(tn_call(net, x), .dim = 1);
    for (int64_t row = 2; row < SIDE - 2; row += 2) {
        for (int64_t i = 0; i < SHOWN; i++)
            for (int64_t column = 2; column < SIDE - 2; column++) {
                double ink = tn_at(x, TN_SHAPE(i, 0, row, column)) + tn_at(x, TN_SHAPE(i, 0, row + 1, column));
                putchar(" .:*#"[ink > 1.6 ? 4 : ink > 1.0 ? 3 : ink > 0.5 ? 2 : ink > 0.2 ? 1 : 0]);
            }
        putchar('\n');
    }
    for (int64_t i = 0; i < SHOWN; i++)
        printf("   said %.0f, it is %.0f    ", tn_at(said, TN_SHAPE(i)), tn_at(test->y, TN_SHAPE(i)));
    putchar('\n');
}

/* The picture of the curves; without gnuplot their numbers are in the CSV all the same. */
static inline void finish(options *o)
{
    tn_status drawn = tn_plot_save(o->curves);
    if (drawn != TN_OK && drawn != TN_ERR_UNSUPPORTED)
        tn_check(drawn);
    printf("test accuracy %.2f %%; the curves: %s, their numbers: %s\n", 100 * o->test_accuracy,
           drawn == TN_OK ? o->plot : "(no gnuplot for the picture)", tn_plot_csv(o->curves));
    tn_clear_error();
    tn_release(o->curves);
}

#endif
