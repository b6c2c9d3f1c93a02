/* Gradient descent on f(x) = log((x - 7)² + 6) from x = 1: the gradient by backward, and by hand beside it.
 * examples/pytorch/autodiff1d.py is the same program on PyTorch. */
#include <math.h>
#include <stdio.h>

#include "options.h"

static double by_hand(double x) { return 2 * (x - 7) / ((x - 7) * (x - 7) + 6); }

int main(int argc, char **argv)
{
    const double rate = 1.5;
    options o = {.about = "Gradient descent on log((x - 7)² + 6): the gradient by backward, and by hand beside it.", .takes = "vp",
                 .device = "cpu", .plot = "autodiff1d.png"};
    read_options(&o, argc, argv);
    tn_set_error_handler(tn_die);
    tn_plot *plot = tn_plot_new(o.plot, .title = "Gradient descent on log((x - 7)² + 6)", .ylabel = "f(x)");
    for (int i = 0; i <= 280; i++)
        tn_check(tn_plot_point(plot, "f(x)", i * 0.05, log((i * 0.05 - 7) * (i * 0.05 - 7) + 6)));
    tn_check(tn_plot_series(plot, "20 steps from 1", .style = TN_PLOT_LINE_POINTS));

    tn_tensor *x = tn_full(TN_SCALAR, 1, .dtype = TN_F64, .device = &o.on, .requires_grad = true);
    tn_optim *opt = tn_sgd_new(tn_list_from(&x, 1), rate);
    double apart = 0;
    printf("step         x      f(x)   backward    by hand\n");
    for (int step = 0; step <= 20; step++) {
        TN_SCOPE;                                               /* what this step makes goes with it */
        tn_tensor *f = tn_log(tn_add(tn_square(tn_sub(x, 7)), 6));
        tn_zero_grad(opt);
        tn_check(tn_backward(f));
        double at = tn_item(x), gradient = tn_item(tn_grad(x));
        printf("%4d  %8.5f  %8.5f  %9.6f  %9.6f\n", step, at, tn_item(f), gradient, by_hand(at));
        tn_check(tn_plot_point(plot, "20 steps from 1", at, tn_item(f)));
        apart = fmax(apart, fabs(gradient - by_hand(at)));
        tn_check(tn_step(opt));                                 /* x -= rate * gradient */
    }
    printf("the two gradients differ by %.1e at most\n", apart);
    printf("the picture: %s, its numbers: %s\n", save_picture(plot, o.plot), tn_plot_csv(plot));
    tn_release(opt);
    tn_release(plot);
    return apart < 1e-12 ? 0 : 1;
}
