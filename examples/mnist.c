/* Learns to read digits: an MLP or a LeNet on MNIST, or on digits that it draws itself. --help lists the options;
 * examples/pytorch/mnist.py is the same program on PyTorch. */
#include <stdio.h>
#include <stdlib.h>

#include "mnist_options.h"

typedef struct {                        /* a model is a struct with a tn_module named base first */
    tn_module base;
    tn_module *conv1, *conv2, *fc1, *fc2;
} lenet;

static tn_tensor *lenet_forward(lenet *net, tn_tensor *x)
{
    x = tn_max_pool2d(tn_relu(tn_call(net->conv1, x)), 2);      /* [n, 20, 14, 14] */
    x = tn_max_pool2d(tn_relu(tn_call(net->conv2, x)), 2);      /* [n, 50, 7, 7] */
    x = tn_relu(tn_call(net->fc1, tn_flatten(x, 1, -1)));       /* [n, 500] */
    return tn_call(net->fc2, x);                                /* [n, 10] */
}
TN_MODULE(lenet, lenet_forward);

static tn_module *lenet_new(void)
{
    lenet *net = TN_NEW(lenet);
    TN_CHILD(net, conv1, tn_conv2d_new(1, 20, 3, .padding = 1)); /* parameters "conv1.weight" and "conv1.bias" */
    TN_CHILD(net, conv2, tn_conv2d_new(20, 50, 3, .padding = 1));
    TN_CHILD(net, fc1, tn_linear_new(50 * 7 * 7, 500));
    TN_CHILD(net, fc2, tn_linear_new(500, 10));
    return &net->base;
}

static tn_module *mlp_new(void)
{
    return tn_sequential_new(tn_flatten_new(), tn_linear_new(784, 1024), tn_relu_new(), tn_linear_new(1024, 1024), tn_relu_new(),
                             tn_linear_new(1024, 10));
}

/* The share of a loader's digits that the network reads rightly. */
static double accuracy(tn_module *net, tn_loader *loader)
{
    double right = 0, all = 0;
    TN_NO_GRAD;
    tn_train(net, false);
    TN_FOREACH_BATCH(batch, loader) {
        right += tn_item(tn_sum(tn_eq(tn_argmax(tn_call(net, batch->x), .dim = 1), batch->y)));
        all += (double)batch->size;
    }
    tn_train(net, true);
    return right / all;
}

int main(int argc, char **argv)
{
    tn_set_error_handler(tn_die);                               /* a program that would rather stop says so once */
    mnist m = mnist_begin(argc, argv);                          /* the options, and the curves to be drawn */
    options o = m.o;
    digits train = load_digits(&m, true), test = load_digits(&m, false); /* x [n, 1, 28, 28] in 0 ... 1, y [n] */
    tn_loader *train_loader = tn_loader_new(tn_tensor_dataset_new(train.x, train.y), .batch_size = o.batch_size, .shuffle = true,
                                           .device = &o.on);
    tn_loader *train_check = tn_loader_new(tn_tensor_dataset_new(train.x, train.y), .batch_size = o.test_batch_size, .device = &o.on);
    tn_loader *test_loader = tn_loader_new(tn_tensor_dataset_new(test.x, test.y), .batch_size = o.test_batch_size, .device = &o.on);

    tn_module *net = strcmp(o.network, "mlp") == 0 ? mlp_new() : lenet_new();
    tn_check(tn_module_to(net, o.on));
    if (o.load)
        tn_check(tn_load_module(net, o.load));
    tn_check(tn_summary(net, tn_to(test_image(&test, 0), o.on)));
    tn_optim *opt = tn_adam_new(tn_parameters(net), o.lr);

    for (int epoch = 1; epoch <= o.epochs; epoch++) {
        tn_progress_bar *bar = tn_progress_new(tn_loader_length(train_loader), stdout);
        double loss_sum = 0;
        TN_FOREACH_BATCH(batch, train_loader) {                 /* a scope of its own each turn */
            tn_tensor *loss = tn_cross_entropy(tn_call(net, batch->x), batch->y);
            tn_zero_grad(opt);
            tn_check(tn_backward(loss));
            tn_check(tn_step(opt));
            loss_sum += tn_item(loss);
            tn_progress(bar, "epoch %d, loss %.4f", epoch, tn_item(loss));
        }
        tn_release(bar);
        record_epoch(&m, epoch, loss_sum / (double)tn_loader_length(train_loader), accuracy(net, train_check), accuracy(net, test_loader));
    }
    if (o.save)
        tn_check(tn_save_module(net, o.save));
    show_some(net, &test, o.on);
    finish(&m);
    tn_release(opt);
    tn_release(net);
    tn_release(train_loader);
    tn_release(train_check);
    tn_release(test_loader);
    return 0;
}
