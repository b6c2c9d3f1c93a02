/* The networks that training.c measures, written as a user would write them, and the table of them. bench/networks.py has the same ones on
 * PyTorch under the same parameter names. */
#ifndef BENCH_NETWORKS_H
#define BENCH_NETWORKS_H

#include <string.h>

#include <tenon/tenon.h>

#define RELU .activation = TN_ACTIVATION_RELU

typedef struct {
    tn_module base;
    tn_module *fc1, *fc2, *fc3;
} mlp;

static tn_tensor *mlp_forward(mlp *net, tn_tensor *x)
{
    return tn_call(net->fc3, tn_call(net->fc2, tn_call(net->fc1, tn_flatten(x, 1, -1))));
}
TN_MODULE(mlp, mlp_forward);

static void *mlp_new(void)
{
    mlp *net = TN_NEW(mlp);
    TN_CHILD(net, fc1, tn_linear_new(784, 1024, RELU));
    TN_CHILD(net, fc2, tn_linear_new(1024, 1024, RELU));
    TN_CHILD(net, fc3, tn_linear_new(1024, 10));
    return net;
}

typedef struct {
    tn_module base;
    tn_module *conv1, *conv2, *fc1, *fc2;
} lenet;

static tn_tensor *lenet_forward(lenet *net, tn_tensor *x)
{
    x = tn_max_pool2d(tn_call(net->conv1, x), 2); /* [n, 20, 14, 14] */
    x = tn_max_pool2d(tn_call(net->conv2, x), 2); /* [n, 50, 7, 7] */
    return tn_call(net->fc2, tn_call(net->fc1, tn_flatten(x, 1, -1)));
}
TN_MODULE(lenet, lenet_forward);

static void *lenet_new(void)
{
    lenet *net = TN_NEW(lenet);
    TN_CHILD(net, conv1, tn_conv2d_new(1, 20, 3, .padding = 1, RELU));
    TN_CHILD(net, conv2, tn_conv2d_new(20, 50, 3, .padding = 1, RELU));
    TN_CHILD(net, fc1, tn_linear_new(2450, 500, RELU));
    TN_CHILD(net, fc2, tn_linear_new(500, 10));
    return net;
}

/* Words, a Transformer layer, the mean over the places, one logit. */
typedef struct {
    tn_module base;
    tn_module *word, *encoder, *out;
} transformer;

static tn_tensor *transformer_forward(transformer *net, tn_tensor *x) /* [n, 44] */
{
    x = tn_call(net->encoder, tn_call(net->word, x)); /* [n, 44, 512] */
    return tn_call(net->out, tn_mean(x, .dim = 1));   /* [n, 1] */
}
TN_MODULE(transformer, transformer_forward);

static void *transformer_of(int64_t hidden)
{
    transformer *net = TN_NEW(transformer);
    TN_CHILD(net, word, tn_embedding_new(8000, 512));
    TN_CHILD(net, encoder, tn_transformer_encoder_layer_new(512, 4, .dim_feedforward = hidden, .dropout = 0, .batch_first = true));
    TN_CHILD(net, out, tn_linear_new(512, 1));
    return net;
}

static void *transformer_new(void) { return transformer_of(2048); }
static void *transformer_1536_new(void) { return transformer_of(1536); }

static void *llama_new(void)
{
    return tn_llama_new(.vocab_size = 4096, .hidden_size = 288, .intermediate_size = 768, .num_hidden_layers = 6, .num_attention_heads = 6,
                        .max_position_embeddings = 256, .tie_word_embeddings = true);
}

/* The last step's h of a recurrent layer, and a linear one over it. */
typedef struct {
    tn_module base;
    tn_module *recurrent, *fc;
} sequence;

static tn_tensor *sequence_forward(sequence *net, tn_tensor *x)
{
    return tn_call(net->fc, tn_select(tn_call(net->recurrent, x), 1, -1));
}
TN_MODULE(sequence, sequence_forward);

static void *sequence_new(tn_module *recurrent, int64_t hidden, int64_t out)
{
    sequence *net = TN_NEW(sequence);
    TN_CHILD(net, recurrent, recurrent);
    TN_CHILD(net, fc, tn_linear_new(hidden, out));
    return net;
}

static void *gru_new(void) { return sequence_new(tn_gru_new(1, 32, .batch_first = true), 32, 1); }
static void *lstm_new(void) { return sequence_new(tn_lstm_new(64, 128, .batch_first = true), 128, 10); }

/* ResNet-20 of He et al. 2016 for 32 x 32 pictures: three stages of three blocks, 16, 32 and 64 channels wide. */
typedef struct {
    tn_module base;
    tn_module *conv1, *bn1, *conv2, *bn2, *shortcut; /* NULL: x as it is */
} block;

static tn_tensor *block_forward(block *net, tn_tensor *x)
{
    tn_tensor *y = tn_call(net->bn1, tn_call(net->conv1, x)), *residual = net->shortcut ? tn_call(net->shortcut, x) : x;
    return tn_call(net->bn2, tn_call(net->conv2, y), residual);
}
TN_MODULE(block, block_forward);

static void *block_new(int64_t in, int64_t out, int64_t stride)
{
    block *net = TN_NEW(block);
    TN_CHILD(net, conv1, tn_conv2d_new(in, out, 3, .stride = stride, .padding = 1, .bias = false));
    TN_CHILD(net, bn1, tn_batch_norm2d_new(out, RELU));
    TN_CHILD(net, conv2, tn_conv2d_new(out, out, 3, .padding = 1, .bias = false));
    TN_CHILD(net, bn2, tn_batch_norm2d_new(out, RELU)); /* of the sum with the shortcut */
    if (in != out)
        TN_CHILD(net, shortcut, tn_sequential_new(tn_conv2d_new(in, out, 1, .stride = stride, .bias = false), tn_batch_norm2d_new(out)));
    return net;
}

typedef struct {
    tn_module base;
    tn_module *conv, *bn, *blocks, *fc;
} resnet;

static tn_tensor *resnet_forward(resnet *net, tn_tensor *x)
{
    x = tn_call(net->bn, tn_call(net->conv, x));
    x = tn_call(net->blocks, x); /* [n, 64, 8, 8] */
    return tn_call(net->fc, tn_mean(x, .dims = TN_DIMS(2, 3)));
}
TN_MODULE(resnet, resnet_forward);

static void *resnet_new(void)
{
    resnet *net = TN_NEW(resnet);
    TN_CHILD(net, conv, tn_conv2d_new(3, 16, 3, .padding = 1, .bias = false));
    TN_CHILD(net, bn, tn_batch_norm2d_new(16, RELU));
    TN_CHILD(net, blocks, tn_sequential_new(block_new(16, 16, 1), block_new(16, 16, 1), block_new(16, 16, 1), block_new(16, 32, 2),
                                            block_new(32, 32, 1), block_new(32, 32, 1), block_new(32, 64, 2), block_new(64, 64, 1),
                                            block_new(64, 64, 1)));
    TN_CHILD(net, fc, tn_linear_new(64, 10));
    return net;
}

/* ---- the table ------------------------------------------------------------------------------------------------------------- */

static tn_tensor *entropy_loss(tn_tensor *out, tn_tensor *y)
{
    return tn_cross_entropy(tn_reshape(out, TN_SHAPE(-1, tn_size(out, -1))), tn_reshape(y, TN_SHAPE(-1)));
}
static tn_tensor *square_loss(tn_tensor *out, tn_tensor *y) { return tn_mse_loss(out, y); }
static tn_tensor *logistic_loss(tn_tensor *out, tn_tensor *y) { return tn_binary_cross_entropy_with_logits(out, y); }

/* FLOPs are those of PyTorch's FlopCounterMode (networks.py counts them): products, convolutions and attention, a multiply-add being two, the
 * causal half of attention's. */
typedef struct network {
    const char *name;
    void *(*make)(void);
    tn_tensor *(*loss)(tn_tensor *out, tn_tensor *y);
    int64_t batch, many;     /* examples of a training step, and of the forward pass of many */
    tn_shape x, y;           /* of one example */
    int64_t words, classes;  /* x and y are numbers below these; 0: uniform on [0, 1) */
    double gflop, forward;   /* of a training step, and of one example's forward pass */
} network;

#define SIZES(...) {(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}}
static const network networks[] = {
    {"mlp", mlp_new, entropy_loss, 256, 1024, SIZES(1, 28, 28), {0}, 0, 10, 2.448, 3.72326e-3},
    {"lenet", lenet_new, entropy_loss, 256, 1024, SIZES(1, 28, 28), {0}, 0, 10, 4.743, 6.27024e-3},
    {"transformer", transformer_new, logistic_loss, 128, 1024, SIZES(44), SIZES(1), 8000, 0, 108.08, 0.280791},
    {"transformer_1536", transformer_1536_new, logistic_loss, 256, 1024, SIZES(44), SIZES(1), 8000, 0, 180.72, 0.234653},
    {"llama", llama_new, entropy_loss, 8, 32, SIZES(256), SIZES(256), 4096, 4096, 94.22, 3.88812},
    {"resnet", resnet_new, entropy_loss, 128, 1024, SIZES(3, 32, 32), {0}, 0, 10, 31.23, 81.6264e-3},
    {"gru", gru_new, square_loss, 1568, 1024, SIZES(40, 1), SIZES(1), 0, 0, 1.171, 0.253504e-3},
    {"lstm", lstm_new, entropy_loss, 64, 1024, SIZES(100, 64), {0}, 0, 10, 3.348, 19.6634e-3},
};

static inline const network *network_named(const char *name)
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if (!strcmp(networks[i].name, name))
            return &networks[i];
    return NULL;
}

static inline tn_tensor *drawn(int64_t n, tn_shape example, int64_t below)
{
    tn_shape shape = {.ndim = example.ndim + 1, .sizes = {n}};
    memcpy(shape.sizes + 1, example.sizes, (size_t)example.ndim * sizeof *example.sizes);
    return below ? tn_randint(shape, 0, (double)below) : tn_rand(shape);
}
#undef SIZES
#undef RELU

#endif
