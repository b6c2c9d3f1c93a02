/* Devices: what a machine without CUDA says, and what moves to a device and back where there is one (test_ops_*.cuda runs the operators).
 * labels: threads */
#include "check.h"

#include <stdio.h>
#include <unistd.h>

static const tn_device_id cuda0 = {TN_CUDA, 0};

static void needs_device(void)
{
    if (!tn_cuda_available()) {
        print_message("skipped: no CUDA device\n");
        skip();
    }
}

/* ---- without CUDA --------------------------------------------------------------------------------------------------------- */

/* A step of training, whose loss falls. */
static void trains_on(tn_device_id device)
{
    TN_SCOPE;
    tn_manual_seed(3);
    tn_module *net = tn_adopt(tn_linear_new(4, 2));
    tn_tensor *x = tn_to(tn_randn(TN_SHAPE(8, 4)), device), *y = tn_to(tn_randn(TN_SHAPE(8, 2)), device);
    assert_int_equal(tn_module_to(net, device), TN_OK);
    tn_optim *opt = tn_adopt(tn_adam_new(tn_parameters(net), 1e-2));
    double losses[3];
    for (int i = 0; i < 3; i++) {
        tn_tensor *loss = tn_mse_loss(tn_call(net, x), y);
        tn_zero_grad(opt);
        assert_int_equal(tn_backward(loss), TN_OK);
        assert_int_equal(tn_step(opt), TN_OK);
        losses[i] = tn_item(loss);
    }
    check_good();
    assert_true(losses[1] < losses[0] && losses[2] < losses[1]);
}

static void test_cpu_trains(void **state)
{
    (void)state;
    trains_on((tn_device_id){TN_CPU, 0});
}

static void test_absent(void **state)
{
    (void)state;
    if (tn_cuda_available()) {
        print_message("skipped: there is a CUDA device\n");
        skip();
    }
    TN_SCOPE;
    assert_int_equal(tn_cuda_device_count(), 0);
    assert_int_equal(tn_device("cuda:0").type, TN_CPU);
    check_error(TN_ERR_DEVICE, "no CUDA here");
    tn_tensor *x = tn_ones(TN_SHAPE(2));
    assert_null(tn_to(x, cuda0));
    check_error(TN_ERR_DEVICE, "to: cuda:0 is not there");
    tn_module *net = tn_adopt(tn_linear_new(2, 2));
    assert_int_equal(tn_module_to(net, cuda0), TN_ERR_DEVICE);
    check_error(TN_ERR_DEVICE, "module_to: cuda:0 is not there");
    assert_int_equal(tn_synchronize(cuda0), TN_ERR_DEVICE);
    check_error(TN_ERR_DEVICE, "synchronize");
    assert_int_equal(tn_get_device_memory_stats(cuda0).in_use, 0);
    check_error(TN_ERR_DEVICE, "cuda:0");
    assert_int_equal(tn_device_memory_set_limit(cuda0, 1), TN_ERR_DEVICE);
    tn_clear_error();
    assert_int_equal(tn_device_memory_trim(cuda0), TN_ERR_DEVICE);
    tn_clear_error();
}

static void test_cpu_is_a_device(void **state)
{
    (void)state;
    const tn_device_id cpu = {TN_CPU, 0};
    assert_int_equal(tn_synchronize(cpu), TN_OK);
    assert_true(tn_get_device_memory_stats(cpu).allocations == tn_get_memory_stats().allocations);
    assert_int_equal(tn_device_memory_set_limit(cpu, 0), TN_OK);
    assert_int_equal(tn_device_memory_trim(cpu), TN_OK);
    assert_int_equal(tn_synchronize((tn_device_id){7, 0}), TN_ERR_DEVICE);
    check_error(TN_ERR_DEVICE, "type 7");
}

/* ---- with it -------------------------------------------------------------------------------------------------------------- */

static void test_there_and_back(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_tensor *x = tn_from_floats(((float[]){1, 2, 3, 4, 5, 6}), TN_SHAPE(2, 3), .requires_grad = true);
    tn_tensor *there = tn_to(tn_transpose(x, 0, 1), cuda0);
    assert_int_equal(tn_device_of(there).type, TN_CUDA);
    check_values(there, 0, 1, 4, 2, 5, 3, 6);
    assert_null(tn_data(there));
    check_error(TN_ERR_DEVICE, "cuda:0");
    assert_null(tn_add(there, tn_ones(TN_SHAPE(3, 2))));
    check_error(TN_ERR_DEVICE, "move one with tn_to");
    assert_int_equal(tn_backward(tn_sum(tn_mul(there, 2))), TN_OK);
    assert_int_equal(tn_device_of(tn_grad(x)).type, TN_CPU);
    check_values(tn_grad(x), 0, 2, 2, 2, 2, 2, 2);
    assert_int_equal(tn_synchronize(cuda0), TN_OK);
    char text[64];
    tn_format(tn_to(tn_ones(TN_SHAPE(2)), cuda0), text, sizeof text);
    assert_string_equal(text, "[1., 1.]");
}

static void test_a_number_goes_anywhere(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_tensor *x = tn_to(tn_from_floats(((float[]){1, -2, 3}), TN_SHAPE(3)), cuda0);
    check_values(tn_sub(1, x), 0, 0, 3, -2);
    check_values(tn_div(x, 2), 1e-7, 0.5, -1, 1.5);
    check_values(tn_where(tn_gt(x, 0), x, 7), 0, 1, 7, 3);
    check_values(tn_masked_fill(x, tn_lt(x, 0), 9), 0, 1, 9, 3);
    check_values(tn_fill_(tn_clone(x), 4), 0, 4, 4, 4);
    check_values(tn_pow(x, 3), 1e-6, 1, -8, 27);
    tn_tensor *i = tn_to(tn_from_ints(((int64_t[]){7, -7, 5}), TN_SHAPE(3)), cuda0);
    check_values(tn_remainder(i, 3), 0, 1, 2, 2);
    assert_null(tn_remainder(i, tn_sub(i, 5)));
    check_error(TN_ERR_ARGUMENT, "b has a 0");
}

static void test_memory(void **state)
{
    (void)state;
    needs_device();
    const int64_t before = tn_get_device_memory_stats(cuda0).in_use;
    {
        TN_SCOPE;
        tn_tensor *x = tn_zeros(TN_SHAPE(1024), .device = &cuda0);
        tn_memory_stats stats = tn_get_device_memory_stats(cuda0);
        assert_true(stats.in_use >= before + 4096 && stats.peak >= stats.in_use);
        assert_int_equal(tn_device_memory_set_limit(cuda0, stats.in_use + 100000), TN_OK);
        assert_null(tn_zeros(TN_SHAPE(1000003), .dtype = TN_U8, .device = &cuda0));
        check_error(TN_ERR_MEMORY, "1000003 bytes");
        assert_int_equal(tn_device_memory_set_limit(cuda0, 0), TN_OK);
        check_values(tn_sum(tn_add(x, 1)), 0, 1024);
    }
    assert_int_equal(tn_get_device_memory_stats(cuda0).in_use, before);
    assert_int_equal(tn_device_memory_trim(cuda0), TN_OK);
}

static void test_index_out_of_range(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_tensor *x = tn_to(tn_arange(5), cuda0), *bad = tn_to(tn_from_ints(((int64_t[]){1, 5}), TN_SHAPE(2)), cuda0);
    tn_tensor *y = tn_index_select(x, 0, bad);
    (void)!tn_item(tn_sum(y));
    check_error(TN_ERR_INDEX, "index 5 is out of range for a dim of size 5");
    check_values(tn_index_select(x, 0, tn_to(tn_from_ints(((int64_t[]){4, 0}), TN_SHAPE(2)), cuda0)), 0, 4, 0); /* the error is told once */
}

/* The same bits as the CPU's, of integers and uniforms; normals but for the last ones. */
static void test_random(void **state)
{
    (void)state;
    needs_device();
    static const tn_dtype dtypes[] = {TN_F32, TN_F64, TN_F16, TN_BF16};
    for (int i = 0; i < 4; i++) {
        TN_SCOPE;
        tn_manual_seed(11);
        tn_tensor *a = tn_rand(TN_SHAPE(1001), .dtype = dtypes[i]), *n = tn_randn(TN_SHAPE(77), .dtype = dtypes[i]);
        tn_tensor *k = tn_randint(TN_SHAPE(33), -5, 1000);
        tn_manual_seed(11);
        tn_tensor *b = tn_rand(TN_SHAPE(1001), .dtype = dtypes[i], .device = &cuda0);
        tn_tensor *m = tn_randn(TN_SHAPE(77), .dtype = dtypes[i], .device = &cuda0);
        tn_tensor *l = tn_randint(TN_SHAPE(33), -5, 1000, .device = &cuda0);
        assert_true(tn_equal(a, b) && tn_equal(k, l));
        assert_true(tn_allclose(m, n, dtypes[i] == TN_F64 ? 1e-14 : dtypes[i] == TN_F32 ? 1e-6 : 1e-2, 1e-7, false));
    }
}

static void test_trains(void **state)
{
    (void)state;
    needs_device();
    trains_on(cuda0);
}

/* The losses of some steps of a convolutional net. */
static void losses_on(tn_device_id device, double losses[4])
{
    TN_SCOPE;
    tn_manual_seed(5);
    tn_module *net = tn_adopt(tn_sequential_new(tn_conv2d_new(1, 4, 3, .padding = 1), tn_batch_norm2d_new(4), tn_relu_new(), tn_max_pool2d_new(2),
                                            tn_flatten_new(), tn_linear_new(64, 3)));
    tn_tensor *x = tn_to(tn_randn(TN_SHAPE(6, 1, 8, 8)), device), *y = tn_to(tn_randint(TN_SHAPE(6), 0, 3), device);
    assert_int_equal(tn_module_to(net, device), TN_OK);
    tn_optim *opt = tn_adopt(tn_sgd_new(tn_parameters(net), 0.05, .momentum = 0.9));
    for (int i = 0; i < 4; i++) {
        tn_tensor *loss = tn_cross_entropy(tn_call(net, x), y);
        tn_zero_grad(opt);
        assert_int_equal(tn_backward(loss), TN_OK);
        assert_int_equal(tn_step(opt), TN_OK);
        losses[i] = tn_item(loss);
    }
    check_good();
}

static void test_same_as_cpu(void **state)
{
    (void)state;
    needs_device();
    double here[4], there[4], again[4];
    losses_on((tn_device_id){TN_CPU, 0}, here);
    losses_on(cuda0, there);
    losses_on(cuda0, again);
    assert_memory_equal(there, again, sizeof there); /* the same bits twice */
    for (int i = 0; i < 4; i++)
        assert_true(fabs(here[i] - there[i]) < 1e-5 * (1 + fabs(here[i])));
    assert_true(there[3] < there[0]);
}

/* Batches are the same numbers wherever they are brought, with workers and without. */
static void test_loader(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_tensor *x = tn_reshape(tn_arange(60), TN_SHAPE(20, 3)), *y = tn_arange(20);
    for (int workers = 0; workers <= 2; workers += 2) {
        tn_loader *here = tn_adopt(tn_loader_new(tn_tensor_dataset_new(x, y), .batch_size = 6, .shuffle = true, .seed = 4));
        tn_loader *there = tn_adopt(tn_loader_new(tn_tensor_dataset_new(x, y), .batch_size = 6, .shuffle = true, .seed = 4, .workers = workers,
                                                  .device = &cuda0));
        tn_tensor *xs[4], *ys[4];
        int64_t n = 0;
        TN_FOREACH_BATCH(batch, here) {
            xs[batch->index] = tn_pass(batch->x);
            ys[batch->index] = tn_pass(batch->y);
        }
        TN_FOREACH_BATCH(batch, there) {
            assert_int_equal(tn_device_of(batch->x).type, TN_CUDA);
            assert_true(tn_equal(batch->x, xs[batch->index]) && tn_equal(batch->y, ys[batch->index]));
            n++;
        }
        assert_int_equal(n, 4);
    }
    assert_null(tn_loader_new(tn_tensor_dataset_new(x, y), .device = &(tn_device_id){TN_CUDA, 99}));
    check_error(TN_ERR_DEVICE, "loader_new: cuda:99 is not there");
    check_good();
}

/* A decoder on a device finds what the CPU's does: prompts in pieces, several sequences, beyond what is remembered, taken back. */
static void test_decoder(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_manual_seed(8);
    tn_module *llama = tn_adopt(tn_llama_new(.vocab_size = 13, .hidden_size = 16, .intermediate_size = 20, .num_hidden_layers = 2,
                                             .num_attention_heads = 4, .num_key_value_heads = 2, .max_position_embeddings = 8, .initializer_range = 0.5));
    static const int64_t tokens[] = {1, 5, 2, 12, 0, 7, 7, 3, 9, 4, 11, 6}, both[] = {1, 0};
    tn_decoder *here = tn_adopt(tn_decoder_new(llama, .sequences = 2)), *there = tn_adopt(tn_decoder_new(llama, .sequences = 2, .device = &cuda0));
    const struct {
        int64_t sequence, first, count; /* -1: a step of both, two tokens */
        bool all;
    } calls[] = {{0, 0, 3, false}, {0, 3, 2, true}, {1, 0, 1, false}, {-1, 5, 2, false}, {0, 7, 5, true}, {-1, 3, 2, false}};
    for (int i = 0; i < (int)(sizeof calls / sizeof *calls); i++) {
        const int64_t count = calls[i].count;
        const float *logits[2];
        for (int k = 0; k < 2; k++) {
            tn_decoder *d = k ? there : here;
            const int64_t *t = tokens + calls[i].first;
            logits[k] = calls[i].sequence < 0 ? tn_decoder_step(d, both, t, count)
                        : calls[i].all        ? tn_decoder_feed_all(d, calls[i].sequence, t, count)
                                              : tn_decoder_feed(d, calls[i].sequence, t, count);
            check_good();
        }
        const int64_t rows = calls[i].all || calls[i].sequence < 0 ? count : 1;
        for (int64_t j = 0; j < rows * 13; j++)
            assert_true(fabs((double)logits[0][j] - (double)logits[1][j]) < 1e-4);
    }
    assert_int_equal(tn_decoder_length(there, 0), 12);
    assert_int_equal(tn_decoder_rewind(there, 1, 1), TN_OK);
    assert_null(tn_decoder_new(llama, .device = &(tn_device_id){TN_CUDA, 99}));
    check_error(TN_ERR_DEVICE, "decoder: cuda:99 is not there");
}

/* What lies on a device goes into a file and comes back, and over what lies elsewhere. */
static void test_across(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_tensor *here = tn_zeros(TN_SHAPE(2, 3)), *there = tn_to(tn_arange(6, .dtype = TN_F64), cuda0);
    assert_non_null(tn_copy_(here, tn_transpose(tn_reshape(there, TN_SHAPE(3, 2)), 0, 1)));
    check_values(here, 0, 0, 2, 4, 1, 3, 5);
    tn_tensor *back = tn_zeros(TN_SHAPE(3, 2), .device = &cuda0);
    assert_non_null(tn_copy_(back, tn_transpose(here, 0, 1)));
    check_values(back, 0, 0, 1, 2, 3, 4, 5);
    char path[] = "/tmp/tenon-device-XXXXXX";
    const int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    tn_module *net = tn_adopt(tn_linear_new(2, 1)), *other = tn_adopt(tn_linear_new(2, 1));
    assert_int_equal(tn_module_to(net, cuda0), TN_OK);
    tn_status saved = tn_save_module(net, path);
    if (saved == TN_ERR_UNSUPPORTED) { /* no cJSON */
        tn_clear_error();
    } else {
        assert_int_equal(saved, TN_OK);
        assert_int_equal(tn_module_to(other, cuda0), TN_OK);
        assert_int_equal(tn_load_module(other, path), TN_OK);
        assert_true(tn_equal(tn_parameter(net, "weight"), tn_parameter(other, "weight")));
    }
    remove(path);
    check_good();
}

static void test_step_needs_one_device(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_module *net = tn_adopt(tn_linear_new(2, 1));
    tn_optim *opt = tn_adopt(tn_adam_new(tn_parameters(net), 1e-2));
    assert_int_equal(tn_backward(tn_sum(tn_call(net, tn_ones(TN_SHAPE(1, 2))))), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    assert_int_equal(tn_module_to(net, cuda0), TN_OK);
    assert_int_equal(tn_backward(tn_sum(tn_call(net, tn_ones(TN_SHAPE(1, 2), .device = &cuda0)))), TN_OK);
    assert_int_equal(tn_step(opt), TN_ERR_DEVICE);
    check_error(TN_ERR_DEVICE, "move the model before it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cpu_trains),   TEST(test_absent),           TEST(test_cpu_is_a_device), TEST(test_there_and_back), TEST(test_a_number_goes_anywhere),
        TEST(test_memory),       TEST(test_index_out_of_range), TEST(test_random),        TEST(test_trains),         TEST(test_step_needs_one_device),
        TEST(test_same_as_cpu),  TEST(test_loader),          TEST(test_decoder),
        TEST(test_across),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
