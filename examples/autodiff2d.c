/* Gradient descent on f(x) = ½ xᵀA x + bᵀx, whose lowest point is where A x = -b: the path over the surface.
 * examples/pytorch/autodiff2d.py is the same program on PyTorch. */
#include <stdio.h>

#include "options.h"

enum { GRID = 41 };

/* x [..., 2] gives f [...]. */
static tn_tensor *quadratic(tn_tensor *x, tn_tensor *a, tn_tensor *b)
{
    tn_tensor *bent = tn_sum(tn_mul(tn_matmul(x, a), x), .dims = TN_DIMS(-1));
    return tn_add(tn_mul(bent, 0.5), tn_matmul(x, b));
}

int main(int argc, char **argv)
{
    const double rate = 0.1, low = -3, high = 3;
    options o = {.about = "Gradient descent on ½ xᵀA x + bᵀx: the path over the surface.", .takes = "vp", .device = "cpu",
                 .plot = "autodiff2d.png"};
    read_options(&o, argc, argv);
    tn_set_error_handler(tn_die);
    tn_tensor *a = tn_from_doubles(((double[]){3, 1, 1, 2}), TN_SHAPE(2, 2), .device = &o.on);
    tn_tensor *b = tn_from_doubles(((double[]){-1, 1}), TN_SHAPE(2), .device = &o.on);

    tn_plot *plot = tn_plot_new(o.plot, .title = "Gradient descent on ½ xᵀA x + bᵀx", .xlabel = "x1", .ylabel = "x2", .zlabel = "f");
    tn_tensor *line = tn_linspace(low, high, GRID, .dtype = TN_F64, .device = &o.on), *along[2] = {
        tn_expand(line, TN_SHAPE(GRID, GRID)), tn_expand(tn_unsqueeze(line, 1), TN_SHAPE(GRID, GRID))};
    tn_tensor *grid = tn_stack(along, 2, -1);                   /* [rows, columns, 2]: x1 along the columns, x2 along the rows */
    tn_check(tn_plot_surface(plot, quadratic(grid, a, b), low, high, low, high));
    tn_check(tn_plot_series(plot, "30 steps", .style = TN_PLOT_LINE_POINTS));

    tn_tensor *x = tn_from_doubles(((double[]){-2.5, 2.5}), TN_SHAPE(2), .device = &o.on, .requires_grad = true);
    tn_optim *opt = tn_sgd_new(tn_list_from(&x, 1), rate);
    printf("step        x1        x2       f(x)\n");
    for (int step = 0; step <= 30; step++) {
        TN_SCOPE;
        tn_tensor *f = quadratic(x, a, b);
        tn_zero_grad(opt);
        tn_check(tn_backward(f));
        double x1 = tn_at(x, TN_SHAPE(0)), x2 = tn_at(x, TN_SHAPE(1));
        printf("%4d  %8.5f  %8.5f  %9.6f\n", step, x1, x2, tn_item(f));
        tn_check(tn_plot_point3(plot, "30 steps", x1, x2, tn_item(f)));
        tn_check(tn_step(opt));                                 /* x -= rate * (A x + b) */
    }
    printf("the lowest point is (0.6, -0.8), where f is -0.7\n");
    printf("the picture: %s, its numbers: %s\n", save_picture(plot, o.plot), tn_plot_csv(plot));
    tn_release(opt);
    tn_release(plot);
    return tn_allclose(x, tn_from_doubles(((double[]){0.6, -0.8}), TN_SHAPE(2), .device = &o.on), 0, 0.05, false) ? 0 : 1;
}
