/* Predicts a time series: a GRU of 32 reads windows of 40 values of sin(πt) + cos(2πt)/2 and says the next one. --help lists the options;
 * examples/pytorch/ts_prediction.py is the same program on PyTorch. */
#include <math.h>
#include <stdio.h>

#include "options.h"

enum { POINTS = 2000, WINDOW = 40, WINDOWS = POINTS - WINDOW, TRAIN = WINDOWS * 8 / 10, HIDDEN = 32 };

typedef struct {
    tn_module base;
    tn_module *rnn, *fc;
} predictor;

static tn_tensor *predictor_forward(predictor *net, tn_tensor *x)   /* [n, 40, 1] */
{
    tn_tensor *y = tn_call(net->rnn, x);                            /* [n, 40, 32] */
    return tn_squeeze(tn_call(net->fc, tn_select(y, 1, -1)), -1);   /* of the last step: [n] */
}
TN_MODULE(predictor, predictor_forward);

static predictor *predictor_new(void)
{
    predictor *net = TN_NEW(predictor);
    TN_CHILD(net, rnn, tn_gru_new(1, HIDDEN, .batch_first = true));
    TN_CHILD(net, fc, tn_linear_new(HIDDEN, 1));
    return net;
}

int main(int argc, char **argv)
{
    options o = {.about = "A GRU learns to say a time series' next value.", .takes = "bersvpwl", .batch_size = 128, .epochs = 20,
                 .lr = 5e-3, .seed = 1, .device = "cpu", .plot = "ts_prediction.png"};
    read_options(&o, argc, argv);
    tn_set_error_handler(tn_die);
    tn_manual_seed((uint64_t)o.seed);

    tn_tensor *t = tn_mul(tn_arange(0, POINTS, .dtype = TN_F64), 0.01 * 3.14159265358979323846);    /* πt, t = 0, 0.01, ... */
    tn_tensor *series = tn_cast(tn_add(tn_sin(t), tn_div(tn_cos(tn_mul(t, 2)), 2)), TN_F32);        /* [2000] */
    tn_tensor *at = tn_add(tn_unsqueeze(tn_arange(0, WINDOWS), 1), tn_arange(0, WINDOW));           /* [1960, 40]: window i begins at i */
    tn_tensor *x = tn_unsqueeze(tn_index(series, at), -1), *y = tn_narrow(series, 0, WINDOW, WINDOWS);
    tn_tensor *test_x = tn_to(tn_narrow(x, 0, TRAIN, WINDOWS - TRAIN), o.on), *test_y = tn_to(tn_narrow(y, 0, TRAIN, WINDOWS - TRAIN), o.on);
    tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(tn_narrow(x, 0, 0, TRAIN), tn_narrow(y, 0, 0, TRAIN)),
                                      .batch_size = o.batch_size, .shuffle = true, .device = &o.on);

    predictor *net = predictor_new();
    tn_check(tn_module_to(net, o.on));
    if (o.load)
        tn_check(tn_load_module(net, o.load));
    tn_optim *opt = tn_adam_new(tn_parameters(net), o.lr);
    double test_loss = NAN;
    for (int64_t epoch = 1; epoch <= o.epochs; epoch++) {
        double sum = 0;
        TN_FOREACH_BATCH(batch, loader) {
            tn_tensor *loss = tn_mse_loss(tn_call(net, batch->x), batch->y);
            tn_zero_grad(opt);
            tn_check(tn_backward(loss));
            tn_check(tn_step(opt));
            sum += tn_item(loss);
        }
        TN_SCOPE;
        TN_NO_GRAD;
        test_loss = tn_item(tn_mse_loss(tn_call(net, test_x), test_y));
        printf("epoch %2lld: train loss %.2e, test loss %.2e\n", (long long)epoch, sum / (double)tn_loader_length(loader), test_loss);
    }
    if (o.save)
        tn_check(tn_save_module(net, o.save));

    tn_plot *plot = tn_plot_new(o.plot, .title = "Predicting sin(πt) + cos(2πt)/2", .xlabel = "t", .ylabel = "value");
    tn_check(tn_plot_series(plot, "true"));
    tn_check(tn_plot_series(plot, "predicted", .style = TN_PLOT_DASHED));
    {
        TN_NO_GRAD;
        tn_tensor *said = tn_call(net, test_x);
        for (int64_t i = 0; i < WINDOWS - TRAIN; i++) {
            double when = (double)(TRAIN + WINDOW + i) * 0.01;
            tn_check(tn_plot_point(plot, "predicted", when, tn_at(said, TN_SHAPE(i))));
            tn_check(tn_plot_point(plot, "true", when, tn_at(test_y, TN_SHAPE(i))));
        }
    }
    printf("test loss %.2e; the picture: %s, its numbers: %s\n", test_loss, save_picture(plot, o.plot), tn_plot_csv(plot));
    tn_release(plot);
    tn_release(opt);
    tn_release(net);
    tn_release(loader);
    return 0;
}
