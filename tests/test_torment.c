/* Memory fails: for every n, the nth allocation of making a network, of a training step of each network, and of whatever else makes
 * objects, gives nothing. Each time the error is clear, nothing is lost or leaked, the parameters are what they were, and the same step then
 * succeeds. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int64_t countdown, outstanding; /* fails when countdown reaches 0; below: never */
static bool told_wrong;                /* a context or a size was another than it was */

/* A block's size stands before it: free is told the same. */
static void *failing_alloc(size_t size, void *context)
{
    if (context != &countdown)
        __atomic_store_n(&told_wrong, true, __ATOMIC_RELAXED);
    if (__atomic_load_n(&countdown, __ATOMIC_RELAXED) >= 0 && __atomic_fetch_sub(&countdown, 1, __ATOMIC_RELAXED) == 0)
        return NULL;
    void *memory = NULL;
    if (posix_memalign(&memory, 64, 64 + size) != 0)
        return NULL;
    *(size_t *)memory = size;
    __atomic_fetch_add(&outstanding, 1, __ATOMIC_RELAXED);
    return (char *)memory + 64;
}

static void failing_free(void *memory, size_t size, void *context)
{
    size_t *begin = (size_t *)(void *)((char *)memory - 64);
    if (context != &countdown || *begin != size)
        __atomic_store_n(&told_wrong, true, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&outstanding, 1, __ATOMIC_RELAXED);
    free(begin);
}

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
    const int64_t hidden = test_quickly() ? 256 : 1024; /* as many allocations, each sooner done with */
    mlp *net = TN_NEW(mlp);
    TN_CHILD(net, fc1, tn_linear_new(784, hidden));
    TN_CHILD(net, fc2, tn_linear_new(hidden, hidden));
    TN_CHILD(net, fc3, tn_linear_new(hidden, 10));
    return net;
}

typedef struct {
    tn_module base;
    tn_module *conv1, *conv2, *fc1, *fc2;
} lenet;
static tn_tensor *lenet_forward(lenet *net, tn_tensor *x)
{
    x = tn_max_pool2d(tn_relu(tn_call(net->conv1, x)), 2);
    x = tn_max_pool2d(tn_relu(tn_call(net->conv2, x)), 2);
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

/* The layers that neither has. */
static void *mixed_new(void)
{
    return tn_sequential_new(tn_conv2d_new(1, 4, 3, .stride = 4), tn_batch_norm2d_new(4), tn_prelu_new(4, 0.25), tn_conv_transpose2d_new(4, 6, 2),
                             tn_group_norm_new(2, 6), tn_selu_new(), tn_adaptive_avg_pool2d_new(3, 4), tn_flatten_new(),
                             tn_layer_norm_new(TN_SHAPE(72)), tn_rms_norm_new(TN_SHAPE(72)), tn_linear_new(72, 10), tn_batch_norm1d_new(10));
}

/* Reads an image row by row, in both directions; some packing on the way. */
typedef struct {
    tn_module base;
    tn_module *lstm, *gru, *fc;
} reader;
static tn_tensor *reader_forward(reader *net, tn_tensor *x)
{
    int64_t lengths[] = {20, 28};
    tn_packed_sequence *rows = tn_pack_padded_sequence(tn_squeeze(x, 1), tn_from_ints(lengths, TN_SHAPE(2)), .batch_first = true,
                                                       .enforce_sorted = false);
    x = tn_pad_packed_sequence(tn_call_packed(net->lstm, rows));
    return tn_call(net->fc, tn_select(tn_call(net->gru, x), 0, -1));
}
TN_MODULE(reader, reader_forward);
static void *reader_new(void)
{
    reader *net = TN_NEW(reader);
    TN_CHILD(net, lstm, tn_lstm_new(28, 5, .bidirectional = true));
    TN_CHILD(net, gru, tn_gru_new(10, 6));
    TN_CHILD(net, fc, tn_linear_new(6, 10));
    return net;
}

/* Reads an image as two sequences of rows, one with the other as its memory. */
typedef struct {
    tn_module base;
    tn_module *encoder, *decoder, *fc;
} translator;
static tn_tensor *translator_forward(translator *net, tn_tensor *x)
{
    tn_tensor *rows = tn_squeeze(x, 1), *sin, *cos = tn_rope_tables(tn_arange(0, 28), 28, &sin);
    tn_tensor *memory = tn_call(net->encoder, tn_rope(rows, cos, sin)), *seen = tn_triu(tn_ones(TN_SHAPE(28, 28), .dtype = TN_BOOL), 1);
    return tn_call(net->fc, tn_select(tn_call(net->decoder, rows, memory, NULL, seen), 1, -1));
}
TN_MODULE(translator, translator_forward);
static void *translator_new(void)
{
    translator *net = TN_NEW(translator);
    tn_module *layer = tn_transformer_encoder_layer_new(28, 2, .dim_feedforward = 6, .dropout = 0, .batch_first = true);
    TN_CHILD(net, encoder, tn_transformer_encoder_new(layer, 2, .norm = tn_layer_norm_new(TN_SHAPE(28))));
    TN_CHILD(net, decoder, tn_transformer_decoder_layer_new(28, 2, .dim_feedforward = 6, .dropout = 0, .batch_first = true, .is_causal = true));
    TN_CHILD(net, fc, tn_linear_new(28, 10));
    return net;
}

static tn_status step(void *net, tn_optim *opt, tn_tensor *x, tn_tensor *y)
{
    TN_SCOPE;
    tn_zero_grad(opt);
    tn_tensor *loss = tn_cross_entropy(tn_call(net, x), y);
    tn_status status = tn_backward(loss);
    return status == TN_OK ? tn_step(opt) : status;
}

/* A network whose making fails at the nth allocation leaves nothing behind. */
static void torment_making(void *(*make)(void))
{
    for (int64_t n = 0;; n++) {
        int64_t live = tn_live_objects();
        countdown = n;
        void *net = make();
        bool failed = countdown < 0;
        countdown = -1;
        if (!failed) {
            assert_true(n > 10);
            tn_release(net);
            break;
        }
        check_error(TN_ERR_MEMORY, "out of memory");
        tn_release(net);
        tn_scope_clear();
        assert_int_equal(tn_live_objects(), live);
    }
}

static void torment_step(void *(*make)(void))
{
    tn_manual_seed(5);
    void *net = make();
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-2);
    tn_tensor *x = tn_keep(tn_rand(TN_SHAPE(2, 1, 28, 28))), *y = tn_keep(tn_randint(TN_SHAPE(2), 0, 10));
    void *before = tn_keep(tn_module_clone(net));
    check_good();
    tn_scope_clear();
    int64_t n = 0, failures = 0;
    for (;; n++) {
        int64_t live = tn_live_objects();
        countdown = n;
        tn_status status = step(net, opt, x, y);
        bool failed = countdown < 0;
        countdown = -1;
        if (!failed) {
            assert_int_equal(status, TN_OK);
            break;
        }
        failures++;
        assert_int_equal(status, TN_ERR_MEMORY);
        check_error(TN_ERR_MEMORY, "out of memory");
        tn_zero_grad(opt);
        tn_scope_clear();
        assert_true(tn_live_objects() <= live + 64); /* the optimiser's own state may have been made */
        TN_SCOPE;
        tn_list *now = tn_parameters(net), *then = tn_parameters(before);
        for (int64_t i = 0; i < tn_list_count(now); i++)
            assert_true(tn_equal(tn_list_at(now, i), tn_list_at(then, i)));
    }
    assert_true(failures > 50);
    print_message("%lld allocations of a step failed in turn\n", (long long)failures);
    { /* and the step that went through did what a network that never failed does */
        TN_SCOPE;
        tn_optim *fresh = tn_adam_new(tn_parameters(before), 1e-2);
        assert_int_equal(step(before, fresh, x, y), TN_OK);
        tn_list *now = tn_parameters(net), *then = tn_parameters(before);
        for (int64_t i = 0; i < tn_list_count(now); i++)
            assert_true(tn_equal(tn_list_at(now, i), tn_list_at(then, i)));
        tn_release(fresh);
    }
    tn_release(opt);
    tn_release(net);
    tn_release(before);
    tn_release(x);
    tn_release(y);
}

static void test_making_the_mlp(void **state) { (void)state; torment_making(mlp_new); }
static void test_making_the_lenet(void **state) { (void)state; torment_making(lenet_new); }
static void test_making_mixed_layers(void **state) { (void)state; torment_making(mixed_new); }
static void test_a_step_of_the_mlp(void **state) { (void)state; torment_step(mlp_new); }
static void test_a_step_of_the_lenet(void **state) { (void)state; torment_step(lenet_new); }
static void test_a_step_of_mixed_layers(void **state) { (void)state; torment_step(mixed_new); }
static void test_making_the_reader(void **state) { (void)state; torment_making(reader_new); }
static void test_a_step_of_the_reader(void **state) { (void)state; torment_step(reader_new); }
static void test_making_the_translator(void **state) { (void)state; torment_making(translator_new); }
static void test_a_step_of_the_translator(void **state) { (void)state; torment_step(translator_new); }

/* ---- the rest ----------------------------------------------------------------------------------------------------------- */

/* Runs act(), which returns true when it came through, with each of its allocations failing in turn. */
static void torment(bool (*act)(void *), void *context, int64_t least)
{
    for (int64_t n = 0;; n++) {
        int64_t live = tn_live_objects();
        countdown = n;
        bool whole = act(context), failed = countdown < 0;
        countdown = -1;
        if (whole != (tn_last_status() == TN_OK))
            fail_msg("allocation %lld failed: %s, and the error is %s", (long long)n, whole ? "a result" : "none",
                     tn_last_error() ? tn_last_error() : "none");
        if (!whole)
            check_error(TN_ERR_MEMORY, "memory");
        tn_scope_clear();
        assert_int_equal(tn_live_objects(), live);
        if (failed)
            continue;
        if (!whole || n < least)
            fail_msg("%s after %lld allocations", whole ? "whole" : "not whole", (long long)n);
        return;
    }
}

/* Gradients that add to those that are there, by way of hooks, a retained one and an operator of one's own: all or none changes. */
typedef struct {
    tn_tensor *x, *w, *held; /* held: a .grad that someone else holds */
} leaves;

static tn_tensor *twice(tn_tensor *grad, void *context)
{
    (void)context;
    return tn_mul(grad, 2);
}
static void outer_forward(tn_context *c, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    (void)n_in, (void)n_out;
    out[0] = tn_mul(in[0], in[1]);
    out[1] = tn_exp(in[0]);
    if (tn_save(c, in[0]) == TN_OK && tn_save(c, in[1]) == TN_OK)
        tn_save(c, out[1]);
}
static void outer_backward(tn_context *c, tn_tensor *const *dy, int n_out, tn_tensor **dx, int n_in)
{
    (void)n_in, (void)n_out;
    dx[0] = tn_add(tn_mul(dy[0], tn_saved(c, 1)), tn_mul(dy[1], tn_saved(c, 2)));
    dx[1] = tn_mul(dy[0], tn_saved(c, 0));
}

static bool backward(void *context)
{
    static const tn_function outer = {"outer", outer_forward, outer_backward};
    leaves *l = context;
    TN_SCOPE;
    tn_tensor *h = tn_mul(l->x, 3), *out[2], *in[] = {h, l->w};
    if (tn_add_hook(h, twice, NULL) != TN_OK || tn_retain_grad(h) != TN_OK || tn_apply_n(&outer, "7 bytes", 7, in, 2, out, 2) != TN_OK)
        return false;
    return tn_backward(tn_sum(tn_add(out[0], tn_mul(out[1], out[1])))) == TN_OK;
}

static bool backward_adds(void *context)
{
    const leaves *l = context;
    bool whole = backward(context);
    double at = countdown < 0 ? -1 : (double)countdown;
    countdown = -1; /* what follows may allocate */
    tn_status status = tn_last_status();
    char text[128];
    snprintf(text, sizeof text, "%s", tn_last_error() ? tn_last_error() : "");
    tn_clear_error();
    double factor = whole ? 2 : 1;
    check_values(l->held, 0, 1, 1);
    check_values(tn_grad(l->w), 0, factor * 6, factor * 6);
    check_values(tn_grad(l->x), 1e-12, 1 + (factor - 1) * 6 * (2 + 2 * exp(12)), 1 + (factor - 1) * 6 * (2 + 2 * exp(12)));
    if (whole && tn_set_grad(l->x, l->held) != TN_OK)
        return false;
    if (status != TN_OK)
        tn_fail(status, "%s", text);
    countdown = at < 0 ? -1 : 0;
    return whole;
}

static void test_gradients_that_add(void **state)
{
    (void)state;
    leaves l;
    {
        TN_SCOPE;
        l.x = tn_keep(tn_full(TN_SHAPE(2), 2, .dtype = TN_F64, .requires_grad = true));
        l.w = tn_keep(tn_full(TN_SHAPE(2), 2, .dtype = TN_F64, .requires_grad = true));
        l.held = tn_keep(tn_ones(TN_SHAPE(2), .dtype = TN_F64));
        assert_int_equal(tn_set_grad(l.x, l.held), TN_OK);
        assert_int_equal(tn_set_grad(l.w, tn_full(TN_SHAPE(2), 6, .dtype = TN_F64)), TN_OK);
    }
    torment(backward_adds, &l, 30);
    tn_release(l.x);
    tn_release(l.w);
    tn_release(l.held);
}

static bool second_derivative(void *context)
{
    TN_SCOPE;
    tn_tensor *x = context, *y = tn_sum(tn_mul(tn_sigmoid(x), tn_softmax(x, 0)));
    tn_tensor *g = tn_grad_of(y, x, .create_graph = true);
    return tn_grad_of(tn_sum(tn_mul(g, g)), x) != NULL;
}
static tn_tensor *cubed(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_mul(in[0], tn_mul(in[0], in[0]));
}
static bool checked(void *context)
{
    TN_SCOPE;
    tn_tensor *x = context;
    return tn_gradcheck(cubed, NULL, &x, 1, .second = true) == TN_OK;
}

static void test_second_derivatives(void **state)
{
    (void)state;
    tn_tensor *x = tn_keep(tn_rand(TN_SHAPE(3), .dtype = TN_F64, .requires_grad = true));
    torment(second_derivative, x, 30);
    torment(checked, x, 30);
    tn_release(x);
}

/* Every loss and its gradient, while NaNs are looked for; what is measured; first weights. */
static bool losses(void *context)
{
    TN_SCOPE;
    tn_tensor *x = context, *p = tn_sigmoid(x), *t = tn_full(TN_SHAPE(4, 3), 0.25, .dtype = TN_F64), *w = tn_full(TN_SHAPE(3), 2, .dtype = TN_F64);
    tn_tensor *labels = tn_from_ints(((int64_t[]){1, 2}), TN_SHAPE(2)), *four = tn_full(TN_SCALAR, 4, .dtype = TN_I64);
    tn_tensor *signs = tn_from_ints(((int64_t[]){1, -1, 1, -1}), TN_SHAPE(4));
    tn_set_detect_anomaly(true);
    tn_tensor *all[] = {tn_l1_loss(x, t), tn_smooth_l1_loss(x, t, .beta = 0.5), tn_huber_loss(x, t), tn_binary_cross_entropy(p, t, .weight = w),
                        tn_binary_cross_entropy_with_logits(x, t, .pos_weight = w), tn_kl_div(x, t, .reduction = TN_BATCHMEAN),
                        tn_mean(tn_cosine_similarity(x, t)), tn_cosine_embedding_loss(x, t, signs),
                        tn_ctc_loss(tn_log_softmax(x, 1), labels, four, tn_full(TN_SCALAR, 2, .dtype = TN_I64))};
    bool whole = tn_grad_of(tn_sum(tn_stack(all, (int)(sizeof all / sizeof *all), 0)), x) != NULL;
    tn_set_detect_anomaly(false);
    tn_tensor *m = tn_confusion_matrix(x, labels = tn_from_ints(((int64_t[]){0, 1, 2, 1}), TN_SHAPE(4)), 3);
    whole = whole && tn_f1(m, TN_MACRO) && !isnan(tn_accuracy(x, labels)) && !isnan(tn_perplexity(x, labels)) && !isnan(tn_matthews_corrcoef(m));
    return whole && tn_init_orthogonal(t) && tn_init_trunc_normal(t);
}

static void test_losses(void **state)
{
    (void)state;
    tn_tensor *x = tn_keep(tn_rand(TN_SHAPE(4, 3), .dtype = TN_F64, .requires_grad = true));
    torment(losses, x, 100);
    tn_release(x);
}

static int64_t seven(void *self) { return (void)self, 7; }
static tn_status numbered(void *self, int64_t i, tn_tensor **x, tn_tensor **y)
{
    (void)self;
    *x = tn_full(TN_SHAPE(2), (double)i);
    *y = tn_scalar_i64(i);
    return tn_last_status();
}
static const tn_dataset_class numbers = {seven, numbered, NULL};

/* An epoch over a dataset of one's own, or over tensors, with so many workers. */
static bool an_epoch(void *context)
{
    int64_t *kind = context, turns = 0;
    TN_SCOPE;
    tn_dataset *dataset = kind[0] ? tn_dataset_new(&numbers, NULL) : tn_tensor_dataset_new(tn_transpose(tn_rand(TN_SHAPE(3, 7)), 0, 1), tn_arange(0, 7));
    tn_loader *loader = tn_loader_new(dataset, .batch_size = 3, .shuffle = true, .workers = (int)kind[1], .seed = 3);
    TN_FOREACH_BATCH(batch, loader)
        turns += tn_add(batch->x, 1) != NULL;
    tn_release(loader);
    return turns == 3 && !tn_last_error();
}

static void test_loaders(void **state)
{
    (void)state;
    for (int64_t own = 0; own < 2; own++)
        for (int64_t workers = 0; workers <= 2; workers++)
            torment(an_epoch, (int64_t[]){own, workers}, 10);
}

static char folder[] = "/tmp/tenon-torment-XXXXXX";

static bool digits_from_files(void *context)
{
    (void)context;
    TN_SCOPE;
    tn_tensor *y;
    return tn_load_mnist(folder, true, &y) && y;
}
static bool digits_drawn(void *context)
{
    (void)context;
    TN_SCOPE;
    tn_tensor *y;
    return tn_draw_digits(3, &y) && y;
}

static void test_digits(void **state)
{
    (void)state;
    static const struct {
        const char *name, *head;
        size_t head_size, size;
    } files[] = {{"train-images-idx3-ubyte", "\0\0\x08\3\0\0\0\2\0\0\0\x1c\0\0\0\x1c", 16, 16 + 2 * 784},
                 {"train-labels-idx1-ubyte", "\0\0\x08\1\0\0\0\2", 8, 10}};
    assert_non_null(mkdtemp(folder));
    char path[2][128];
    for (int i = 0; i < 2; i++) {
        char bytes[16 + 2 * 784] = {0};
        memcpy(bytes, files[i].head, files[i].head_size);
        snprintf(path[i], sizeof path[i], "%s/%s", folder, files[i].name);
        FILE *file = fopen(path[i], "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(bytes, 1, files[i].size, file), files[i].size);
        fclose(file);
    }
    torment(digits_from_files, NULL, 4);
    torment(digits_drawn, NULL, 4);
    for (int i = 0; i < 2; i++)
        unlink(path[i]);
    rmdir(folder);
}

static bool a_table(void *context)
{
    char text[4096];
    TN_SCOPE;
    size_t length = tn_format_summary(context, tn_zeros(TN_SHAPE(1, 1, 28, 28)), text, sizeof text);
    if (!tn_is_training(tn_child(context, "conv1")) && !tn_last_error())
        fail_msg("the modes did not come back");
    return length > 0;
}
static bool a_copy(void *context)
{
    TN_SCOPE;
    void *copy = tn_module_clone(context);
    return copy && tn_module_to_dtype(copy, TN_F64) == TN_OK && tn_dict_count(tn_named_parameters(copy)) == 8 && tn_named_buffers(copy);
}
static bool a_file(void *context)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/tenon-torment-%ld", (long)getpid());
    bool whole = tn_save_module(context, path) == TN_OK && tn_load_module(context, path) == TN_OK;
    if (tn_last_status() == TN_ERR_UNSUPPORTED) { /* a build without cJSON writes only */
        tn_clear_error();
        whole = true;
    }
    unlink(path);
    return whole;
}
static bool a_state(void *context)
{
    TN_SCOPE;
    return tn_load_state_dict(context, tn_state_dict(context)) == TN_OK;
}

static void test_what_modules_do(void **state)
{
    (void)state;
    void *net = lenet_new();
    torment(a_table, net, 20);
    tn_train(net, true);
    torment(a_copy, net, 30);
    torment(a_state, net, 10);
    torment(a_file, net, 10);
    tn_release(net);
}

/* Each reader and writer of arrays; in a build without libzip or cJSON those that need none. */
#define ARRAYS TN_SOURCE_DIR "/tests/reference/files/"
static bool files_of_arrays(void *path)
{
    tn_tensor *x = tn_load_npy(ARRAYS "fortran.npy");
    if (!x || !tn_map_npy(ARRAYS "bigfortran.npy") || tn_save_npy(x, path) != TN_OK)
        return false;
#ifdef TENON_HAVE_ZIP
    tn_dict *dict = tn_load_npz(ARRAYS "deflated.npz");
    if (!dict || !tn_load_pt(ARRAYS "whole.pt") || tn_save_npz(dict, path, .compress = true) != TN_OK)
        return false;
#endif
#ifdef TENON_HAVE_CJSON
    if (!tn_map_safetensors(TN_SOURCE_DIR "/tests/reference/torch.safetensors"))
        return false;
    tn_dict *extra = tn_adopt(tn_dict_new());
    if (!extra || tn_dict_set(extra, "x", x) != TN_OK || tn_save_checkpoint(path, .extra = extra) != TN_OK ||
        tn_load_checkpoint(path, .extra = extra) != TN_OK)
        return false;
#endif
    return true;
}
static void test_files_of_arrays(void **state)
{
    (void)state;
    char path[] = "/tmp/tenon-torment-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    torment(files_of_arrays, path, 10);
    unlink(path);
}

/* A GGUF file written, with a value set twice, and read. */
static bool a_gguf_file(void *path)
{
    TN_SCOPE;
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    tn_tensor *x = tn_transpose(tn_ones(TN_SHAPE(256, 2)), 0, 1);
    if (!w || !x || tn_gguf_set_string(w, "key", "a") != TN_OK || tn_gguf_set_string(w, "key", "b") != TN_OK ||
        tn_gguf_set_array(w, "words", TN_GGUF_STRING, (const char *[]){"a", "b"}, 2) != TN_OK || tn_gguf_add(w, "x", x, TN_QUANT_Q4_K) != TN_OK ||
        tn_save_gguf(w, path) != TN_OK)
        return false;
    tn_gguf *file = tn_map_gguf(path);
    return file && tn_gguf_tensor(file, "x", TN_BF16) && strcmp(tn_gguf_string(file, "key", ""), "b") == 0;
}
static void test_a_gguf_file(void **state)
{
    (void)state;
    char path[] = "/tmp/tenon-torment-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    torment(a_gguf_file, path, 20);
    unlink(path);
}

/* A decoder made of a model, and tokens read by it. */
static bool a_decoder(void *llama)
{
    TN_SCOPE;
    const int64_t tokens[3] = {1, 2, 3};
    tn_decoder *decoder = tn_adopt(tn_decoder_new(llama, .weights = TN_QUANT_Q8_0, .cache = TN_I8, .context = 8));
    return decoder && tn_decoder_feed(decoder, 0, tokens, 3) && tn_decoder_feed_all(decoder, 0, tokens, 2);
}
static void test_a_decoder(void **state)
{
    (void)state;
    tn_module *llama = tn_llama_new(.vocab_size = 9, .hidden_size = 8, .intermediate_size = 12, .num_hidden_layers = 2, .num_attention_heads = 2,
                                    .attention_bias = true);
    assert_non_null(llama);
    assert_int_equal(tn_add_lora(llama, .targets = "q_proj"), TN_OK);
    torment(a_decoder, llama, 8);
    tn_release(llama);
}

/* Two texts written together. */
static bool writing(void *llama)
{
    TN_SCOPE;
    tn_tokenizer *tokenizer = tn_adopt(tn_tokenizer_new(TN_SOURCE_DIR "/tests/reference/tokenizers/llama2c.bin"));
    tn_decoder *decoder = tn_adopt(tn_decoder_new(llama, .sequences = 2));
    tn_llama_generate_args each[2] = {tn_llama_prompt(decoder, tokenizer, "a"), tn_llama_prompt(decoder, tokenizer, "b c")};
    each[0].max_tokens = each[1].max_tokens = 3;
    each[0].repetition_penalty = 2;
    each[1].sequence = each[1].temperature = each[1].seed = 1;
    return decoder && tokenizer && tn_llama_generate_all(each, 2) == TN_OK;
}
static void test_writing(void **state)
{
    (void)state;
    tn_module *llama = tn_llama_new(.vocab_size = 400, .hidden_size = 8, .intermediate_size = 12, .num_hidden_layers = 1, .num_attention_heads = 2);
    assert_non_null(llama);
    torment(writing, llama, 20);
    tn_release(llama);
}

/* A model read and written as another kind. context: the file, and the other's name. */
static bool files_of_llamas(void *context)
{
    TN_SCOPE;
    char *const *paths = context;
    tn_module *llama = tn_llama_load(paths[0]);
    const bool good = llama && tn_llama_save(llama, paths[1]) == TN_OK && tn_llama_convert(paths[0], paths[1], .type = TN_QUANT_F16) == TN_OK;
    tn_release(llama);
    return good;
}

static void test_files_of_llamas(void **state)
{
    (void)state;
    char folder[] = "/tmp/tenon-torment-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    const char *files[] = {"v2.bin", "llama3.gguf",
#ifdef TENON_HAVE_CJSON
                           "qwen2", "llama3",
#endif
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (int k = 0; k < (i > 1 ? 2 : 1); k++) {
            char from[512];
            snprintf(from, sizeof from, "%s/tests/reference/llama/%s", TN_SOURCE_DIR, files[i]);
            snprintf(path, sizeof path, "%s/out%s", folder, k ? ".safetensors" : ".gguf");
            torment(files_of_llamas, (char *[]){from, path}, 50);
            unlink(path);
        }
    rmdir(folder);
}

/* A tokeniser read, used and written. context: its file. */
static bool a_tokenizer(void *context)
{
    TN_SCOPE;
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(context, .pattern = "llama3"));
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    return tn_tokenizer_decode(t, tn_tokenizer_encode(t, "hear me speak", 13), NULL, 0) > 0 && tn_gguf_set_tokenizer(w, t, 0) == TN_OK;
}

static void test_tokenizers(void **state)
{
    (void)state;
    static const char *const files[] = {"llama2c.bin", "sp_bpe_llama.model", "tiktoken_llama3.tiktoken"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tests/reference/tokenizers/%s", TN_SOURCE_DIR, files[i]);
        torment(a_tokenizer, path, 20);
    }
}

#ifdef TENON_HAVE_CJSON
/* LoRA's parts of a model written, and read into another. */
static bool a_tuned_file(void *context)
{
    TN_SCOPE;
    void *const *models = context;
    const char *path = models[2];
    tn_module *other = tn_module_clone(models[1]);
    return other && tn_llama_save_tuned(models[0], path) == TN_OK && tn_llama_load_tuned(other, path) == TN_OK;
}

static void test_a_tuned_file(void **state)
{
    (void)state;
    char path[] = "/tmp/tenon-torment-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    tn_module *models[2];
    for (int i = 0; i < 2; i++) {
        tn_manual_seed(1); /* a tuned file is for the model that it was tuned from */
        models[i] = tn_llama_new(.vocab_size = 9, .hidden_size = 8, .intermediate_size = 12, .num_hidden_layers = 1, .num_attention_heads = 2);
    }
    assert_int_equal(tn_add_lora(models[0], .targets = "q_proj,v_proj"), TN_OK);
    torment(a_tuned_file, (void *[]){models[0], models[1], path}, 20);
    tn_release(models[0]);
    tn_release(models[1]);
    unlink(path);
}
#endif

/* Printing works as far as there is memory, and says nothing of it. */
static void test_text(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_transpose(tn_rand(TN_SHAPE(2, 3)), 0, 1);
    char text[200];
    for (countdown = 0; countdown < 20;) {
        int64_t n = countdown;
        tn_format(x, text, sizeof text);
        countdown = n + 1;
    }
    countdown = -1;
    tn_clear_error();
}

static void test_nothing_is_left(void **state)
{
    (void)state;
    countdown = -1;
    tn_shutdown();
    assert_int_equal(tn_live_objects(), 0);
    assert_int_equal(tn_set_allocator(NULL), TN_OK);
    assert_int_equal(outstanding, 0);
    assert_false(told_wrong);
}

int main(void)
{
    countdown = -1;
    const tn_allocator allocator = {failing_alloc, failing_free, &countdown};
    if (tn_set_num_threads(1) != TN_OK || tn_set_allocator(&allocator) != TN_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(test_making_the_mlp), TEST(test_making_the_lenet), TEST(test_a_step_of_the_mlp), TEST(test_a_step_of_the_lenet),
        TEST(test_making_mixed_layers), TEST(test_a_step_of_mixed_layers),
        TEST(test_making_the_reader), TEST(test_a_step_of_the_reader), TEST(test_making_the_translator), TEST(test_a_step_of_the_translator),
        TEST(test_gradients_that_add), TEST(test_second_derivatives), TEST(test_losses), TEST(test_loaders), TEST(test_digits),
        TEST(test_what_modules_do), TEST(test_text), TEST(test_files_of_arrays), TEST(test_a_gguf_file), TEST(test_a_decoder), TEST(test_writing),
        TEST(test_files_of_llamas),
        TEST(test_tokenizers),
#ifdef TENON_HAVE_CJSON
        TEST(test_a_tuned_file),
#endif
        cmocka_unit_test(test_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
