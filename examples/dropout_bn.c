/* Three MLPs 4096-512-128-40 tell 40 faces apart: a plain one, one with dropout, one with batch norm. --data is the Olivetti faces as NPZ
 * (images [400, 64, 64], labels [400]), three of each ten held back; examples/pytorch/dropout_bn.py is the same program on PyTorch. */
#include <stdio.h>

#include "options.h"

enum { PIXELS = 64 * 64, PEOPLE = 40, NETS = 3 };

typedef struct {
    const char *name, *loss_name;
    tn_module *net;
    tn_optim *opt;
    double accuracy;
} contestant;

/* A hidden layer: linear, batch norm where wanted, ReLU, dropout where wanted. */
static void add_hidden(tn_module *net, int64_t in, int64_t out, bool dropout, bool batch_norm)
{
    tn_check(tn_append(net, tn_linear_new(in, out)));
    if (batch_norm)
        tn_check(tn_append(net, tn_batch_norm1d_new(out)));
    tn_check(tn_append(net, tn_relu_new()));
    if (dropout)
        tn_check(tn_append(net, tn_dropout_new(0.2)));
}

static tn_module *mlp_new(bool dropout, bool batch_norm)
{
    tn_module *net = tn_sequential_new(tn_flatten_new());
    add_hidden(net, PIXELS, 512, dropout, batch_norm);
    add_hidden(net, 512, 128, dropout, batch_norm);
    tn_check(tn_append(net, tn_linear_new(128, PEOPLE)));
    return net;
}

/* Bytes as floats in -1 ... 1. */
static tn_tensor *pixels(tn_tensor *images) { return tn_sub(tn_div(images, 127.5), 1); }

static double accuracy(tn_module *net, tn_loader *loader)
{
    TN_NO_GRAD;
    tn_train(net, false);
    double right = 0, all = 0;
    TN_FOREACH_BATCH(batch, loader) {
        right += tn_item(tn_sum(tn_eq(tn_argmax(tn_call(net, pixels(batch->x)), .dim = 1), batch->y)));
        all += (double)batch->size;
    }
    tn_train(net, true);
    return 100 * right / all;
}

int main(int argc, char **argv)
{
    options o = {.about = "Plain, dropout and batch norm: three networks learn to tell 40 people's faces apart.", .takes = "bersvdp",
                 .batch_size = 32, .epochs = 40, .lr = 5e-4, .seed = 1, .device = "cpu", .data = "data/olivetti/olivetti.npz", .plot = "dropout_bn.png"};
    read_options(&o, argc, argv);
    tn_set_error_handler(tn_die);
    tn_manual_seed((uint64_t)o.seed);

    tn_dict *faces = tn_load_npz(o.data);
    tn_check(tn_last_status());
    tn_tensor *images = tn_dict_get(faces, "images"), *labels = tn_dict_get(faces, "labels");
    tn_dataset *parts[2]; /* of each person seven faces to learn, three held back */
    tn_check(tn_random_split_new(tn_tensor_dataset_new(images, labels), parts, 2, .shares = (double[]){0.7, 0.3}, .labels = labels));
    tn_loader *train = tn_loader_new(parts[0], .batch_size = o.batch_size, .shuffle = true, .device = &o.on);
    tn_loader *test = tn_loader_new(parts[1], .batch_size = 120, .device = &o.on);

    contestant nets[NETS] = {{"plain", "plain, loss", mlp_new(false, false), NULL, 0},
                             {"dropout", "dropout, loss", mlp_new(true, false), NULL, 0},
                             {"batch norm", "batch norm, loss", mlp_new(false, true), NULL, 0}};
    tn_plot *plot = tn_plot_new(o.plot, .title = "Faces of 40 people", .xlabel = "epoch", .ylabel = "accuracy on held-back faces, %",
                                .y2label = "training loss");
    for (int i = 0; i < NETS; i++) {
        tn_check(tn_module_to(nets[i].net, o.on));
        nets[i].opt = tn_adam_new(tn_parameters(nets[i].net), o.lr);
        tn_check(tn_plot_series(plot, nets[i].name));
    }
    for (int i = 0; i < NETS; i++)
        tn_check(tn_plot_series(plot, nets[i].loss_name, .style = TN_PLOT_DASHED, .right = true, .colour_of = nets[i].name));
    for (int64_t epoch = 1; epoch <= o.epochs; epoch++) {
        double losses[NETS] = {0};
        TN_FOREACH_BATCH(batch, train) {
            tn_tensor *x = pixels(batch->x);
            for (int i = 0; i < NETS; i++) {
                tn_tensor *loss = tn_cross_entropy(tn_call(nets[i].net, x), batch->y);
                tn_zero_grad(nets[i].opt);
                tn_check(tn_backward(loss));
                tn_check(tn_step(nets[i].opt));
                losses[i] += tn_item(loss) / (double)tn_loader_length(train);
            }
        }
        printf("epoch %2lld:", (long long)epoch);
        for (int i = 0; i < NETS; i++) {
            nets[i].accuracy = accuracy(nets[i].net, test);
            tn_check(tn_plot_point(plot, nets[i].name, (double)epoch, nets[i].accuracy));
            tn_check(tn_plot_point(plot, nets[i].loss_name, (double)epoch, losses[i]));
            printf("  %s: loss %.4f, held-back accuracy %5.2f %%", nets[i].name, losses[i], nets[i].accuracy);
        }
        printf("\n");
    }
    printf("the picture: %s, its numbers: %s\n", save_picture(plot, o.plot), tn_plot_csv(plot));
    for (int i = 0; i < NETS; i++) {
        tn_release(nets[i].opt);
        tn_release(nets[i].net);
    }
    tn_release(plot);
    tn_release(train);
    tn_release(test);
    return 0;
}
