/* What surrounds examples/mnist.c: its options, its digits, its curves, a few digits shown. */
#ifndef MNIST_OPTIONS_H
#define MNIST_OPTIONS_H

#include <unistd.h>

#include "options.h"

enum { DRAWN_TRAIN = 6000, DRAWN_TEST = 1000, SHOWN = 5, SIDE = 28 };

typedef struct {
    options o;
    tn_plot *curves;
    double test_accuracy;
} mnist;

typedef struct {
    tn_tensor *x, *y; /* [n, 1, 28, 28] in 0 ... 1, [n] */
} digits;

static inline mnist mnist_begin(int argc, char **argv)
{
    mnist m = {.o = {.about = "Trains an MLP 784-1024-1024-10, or a LeNet (conv), to read digits, and shows what it learned.",
                     .takes = "nbtersvdpwl", .networks = "conv|mlp", .network = "conv", .batch_size = 256, .test_batch_size = 1024,
                     .epochs = 10, .lr = 1e-3, .seed = 1, .device = "cpu", .plot = "mnist.png"}};
    if (access("data/mnist", R_OK) == 0)
        m.o.data = "data/mnist";
    read_options(&m.o, argc, argv);
    tn_manual_seed((uint64_t)m.o.seed);
    m.curves = tn_plot_new(m.o.plot, .title = "Reading digits", .xlabel = "epoch", .ylabel = "accuracy, %", .y2label = "training loss");
    tn_check(tn_plot_series(m.curves, "train accuracy", .style = TN_PLOT_LINE_POINTS));
    tn_check(tn_plot_series(m.curves, "test accuracy", .style = TN_PLOT_LINE_POINTS));
    tn_check(tn_plot_series(m.curves, "loss", .style = TN_PLOT_DASHED, .right = true, .colour_of = "train accuracy"));
    if (m.o.data)
        printf("MNIST from %s\n", m.o.data);
    else
        printf("No MNIST here (scripts/fetch_mnist.sh fetches it): %d digits drawn for training, %d for testing\n", DRAWN_TRAIN, DRAWN_TEST);
    return m;
}

static inline digits load_digits(const mnist *m, bool train)
{
    tn_tensor *y = NULL;
    tn_tensor *x = m->o.data ? tn_load_mnist(m->o.data, train, &y) : tn_draw_digits(train ? DRAWN_TRAIN : DRAWN_TEST, &y);
    x = tn_div(tn_reshape(x, TN_SHAPE(-1, 1, SIDE, SIDE)), 255.0);
    if (!x)
        tn_check(tn_last_status());
    return (digits){x, y};
}

static inline tn_tensor *test_image(const digits *d, int64_t i) { return tn_narrow(d->x, 0, i, 1); }

static inline void record_epoch(mnist *m, int epoch, double loss, double train, double test)
{
    printf("epoch %2d: loss %.4f, train accuracy %.2f %%, test accuracy %.2f %%\n", epoch, loss, 100 * train, 100 * test);
    tn_check(tn_plot_point(m->curves, "train accuracy", epoch, 100 * train));
    tn_check(tn_plot_point(m->curves, "test accuracy", epoch, 100 * test));
    tn_check(tn_plot_point(m->curves, "loss", epoch, loss));
    m->test_accuracy = test;
}

/* A few test digits side by side, and what the network says they are. */
static inline void show_some(tn_module *net, const digits *test, tn_device_id on)
{
    TN_SCOPE;
    TN_NO_GRAD;
    tn_train(net, false);
    tn_tensor *x = tn_narrow(test->x, 0, 0, SHOWN), *said = tn_argmax(tn_call(net, tn_to(x, on)), .dim = 1);
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

static inline void finish(mnist *m)
{
    printf("test accuracy %.2f %%; the curves: %s, their numbers: %s\n", 100 * m->test_accuracy, save_picture(m->curves, m->o.plot), tn_plot_csv(m->curves));
    tn_release(m->curves);
}

#endif
