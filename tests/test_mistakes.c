/* What people who knew only the README and the headers did wrong: each mistake is told what would be right, and breaks nothing. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int handled;
static void count_errors(void) { handled++; }

static void test_a_loop_that_an_error_ends_calls_the_handler(void **state)
{
    (void)state;
    tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(tn_ones(TN_SHAPE(4, 2)), NULL), .batch_size = 2);
    tn_error_handler former = tn_set_error_handler(count_errors);
    handled = 0;
    int turns = 0;
    TN_FOREACH_BATCH(batch, loader) {
        turns++;
        tn_matmul(batch->x, batch->x); /* [2, 2] by [2, 2]: well */
        if (turns == 2)
            tn_matmul(batch->x, tn_ones(TN_SHAPE(3, 3)));
    }
    assert_int_equal(turns, 2);
    assert_int_equal(handled, 1);
    TN_FOREACH_BATCH(batch, loader)
        turns++;
    assert_int_equal(turns, 2);
    assert_int_equal(handled, 2);
    check_error(TN_ERR_SHAPE, "matmul: a is [2, 2] and b is [3, 3]");
    assert_int_equal(tn_loader_length(NULL), -1);
    tn_clear_error();
    tn_set_error_handler(former);
    tn_release(loader);
}

/* x squared, with a gradient of another dtype than x's. */
static void square_forward(tn_context *context, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    (void)n_in, (void)n_out;
    tn_check(tn_save(context, in[0]));
    out[0] = tn_square(in[0]);
}
static void square_backward(tn_context *context, tn_tensor *const *grad_out, int n_out, tn_tensor **grad_in, int n_in)
{
    (void)n_out, (void)n_in;
    grad_in[0] = tn_mul(tn_mul(tn_cast(tn_saved(context, 0), TN_F64), 2), tn_cast(grad_out[0], TN_F64));
}
static void test_a_gradient_has_the_dtype_of_what_it_belongs_to(void **state)
{
    (void)state;
    static const tn_function square = {"square", square_forward, square_backward};
    tn_tensor *x = tn_from_floats(((float[]){1, 2, 3}), TN_SHAPE(3), .requires_grad = true);
    tn_optim *opt = tn_sgd_new(tn_list_from(&x, 1), 0.5);
    tn_check(tn_backward(tn_sum(tn_apply(&square, NULL, 0, &x, 1))));
    assert_int_equal(tn_dtype_of(tn_grad(x)), TN_F32);
    check_values(tn_grad(x), 0, 2, 4, 6);
    tn_check(tn_step(opt));
    check_values(x, 0, 0, 0, 0);
    tn_release(opt);
}

static void test_a_tensor_used_after_its_scope(void **state)
{
    (void)state;
#if ADDRESS_SANITIZER
    print_message("not run: the address sanitizer stops at a use after release by itself\n");
    skip();
#endif
    const tn_tensor *late;
    {
        TN_SCOPE;
        late = tn_ones(TN_SHAPE(3));
    }
    assert_null(tn_neg((tn_tensor *)(uintptr_t)late));
    check_error(TN_ERR_ARGUMENT, "neg: x is no tensor: it was released (its scope has ended: tn_keep() or tn_pass() it)");
    tn_list *list = tn_list_new();
    assert_null(tn_neg((tn_tensor *)(void *)list));
    check_error(TN_ERR_ARGUMENT, "or is another object");
    tn_release(list);
}

static void test_releasing_twice(void **state)
{
    (void)state;
#if ADDRESS_SANITIZER
    print_message("not run: the address sanitizer stops at a use after release by itself\n");
    skip();
#endif
    tn_module *net = tn_linear_new(2, 3);
    tn_release(net);
    tn_release(net);
    check_error(TN_ERR_STATE, "release: the object was released already");
    assert_null(tn_call(net, tn_ones(TN_SHAPE(1, 2))));
    check_error(TN_ERR_ARGUMENT, "or it was released");
    {
        TN_SCOPE;
        tn_release(tn_ones(TN_SHAPE(3))); /* the scope's, and not ours to release */
    }
    check_error(TN_ERR_STATE, "is its scope's to release");
}

static void test_sizes_that_were_forgotten(void **state)
{
    (void)state;
    assert_null(tn_linear_new(3));
    check_error(TN_ERR_ARGUMENT, "linear: in_features is 3 and out_features 0: both must be given");
    assert_null(tn_max_pool2d_new());
    check_error(TN_ERR_ARGUMENT, "max_pool2d: the kernel is 0x0: it must be given");
    assert_null(tn_avg_pool2d_new());
    check_error(TN_ERR_ARGUMENT, "avg_pool2d: the kernel is 0x0: it must be given");
}

static void test_which_layer_does_not_fit(void **state)
{
    (void)state;
    tn_module *net = tn_sequential_new(tn_linear_new(3, 4), tn_relu_new(), tn_linear_new(5, 2));
    assert_null(tn_call(net, tn_ones(TN_SHAPE(4, 3))));
    check_error(TN_ERR_SHAPE, "sequential, child 2: linear: x is [4, 4] and weight is [2, 5]: each row of x has 4 features and the layer takes 5");
    assert_null(tn_call(net, tn_ones(TN_SHAPE(4, 3)), tn_ones(TN_SHAPE(4, 3))));
    check_error(TN_ERR_ARGUMENT, "sequential: it takes and gives one tensor");
    tn_release(net);
    assert_null(tn_sequential_new(tn_relu_new(), NULL));
    check_error(TN_ERR_ARGUMENT, "sequential: child 1 is NULL");
    assert_null(tn_call(NULL, tn_ones(TN_SHAPE(1))));
    check_error(TN_ERR_ARGUMENT, "call: the module is NULL: was it given by TN_CHILD?");
    assert_null(tn_conv2d(tn_ones(TN_SHAPE(4, 28, 28)), tn_ones(TN_SHAPE(8, 1, 3, 3)), NULL));
    check_error(TN_ERR_SHAPE, "x is taken as one image, [channels, h, w]: tn_unsqueeze(x, 1) gives each of several a channel");
}

static void test_files_are_named(void **state)
{
    (void)state;
    without_cjson_skip();
    char path[] = "/tmp/tenon-mistakes-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "#include <stdio.h>\n", 19), 19);
    close(fd);
    tn_module *small = tn_linear_new(2, 3), *large = tn_linear_new(4, 3);
    assert_int_equal(tn_load_module(small, path), TN_ERR_FORMAT);
    check_error(TN_ERR_FORMAT, "no safetensors file, or a damaged one");
    tn_check(tn_save_module(large, path));
    assert_int_equal(tn_load_module(small, path), TN_ERR_SHAPE);
    char words[128];
    snprintf(words, sizeof words, "load_module: %s: load_state_dict: \"weight\" is [3, 2] in the module and [3, 4] in the dict", path);
    check_error(TN_ERR_SHAPE, words);
    remove(path);
    assert_int_equal(tn_save_module(small, "/absent/net.safetensors"), TN_ERR_IO);
    check_error(TN_ERR_IO, "save_safetensors: /absent/net.safetensors: cannot be written");
    tn_release(small);
    tn_release(large);
}

static void test_labels(void **state)
{
    (void)state;
    tn_tensor *logits = tn_zeros(TN_SHAPE(2, 3));
    assert_null(tn_cross_entropy(logits, tn_zeros(TN_SHAPE(2))));
    check_error(TN_ERR_DTYPE, "class indices are integers: tn_cast(target, TN_I64)");
    assert_null(tn_cross_entropy(logits, tn_one_hot(tn_zeros(TN_SHAPE(2), .dtype = TN_I64), 3)));
    check_error(TN_ERR_SHAPE, "target is int64 [2, 3]: class indices must be [2]; probabilities must be of a floating dtype");
}

static void test_what_a_model_was_given(void **state)
{
    (void)state;
    tn_module *net = tn_identity_new();
    assert_int_equal(tn_add_parameter(net, "scale", tn_zeros(TN_SHAPE(2), .dtype = TN_I64)), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "identity: parameter scale is int64: only floating tensors can be trained");
    tn_release(net);
}

static void test_a_step_carried_over(void **state)
{
    (void)state;
    tn_tensor *w = tn_ones(TN_SHAPE(2), .requires_grad = true), *h = tn_tanh(w);
    tn_check(tn_backward(tn_sum(tn_mul(h, w))));
    assert_int_equal(tn_backward(tn_sum(tn_mul(h, w))), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "or tn_detach() what is carried over from an earlier step");
}

static tn_tensor *twice(tn_tensor *const *in, int count, void *context)
{
    (void)count, (void)context;
    return tn_mul(in[0], 2);
}

static void test_gradcheck_with_nothing_to_check(void **state)
{
    (void)state;
    tn_tensor *x = tn_ones(TN_SHAPE(2), .dtype = TN_F64);
    assert_int_equal(tn_gradcheck(twice, NULL, &x, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "gradcheck: no input requires a gradient");
}

static void test_an_operator_that_lacks_a_part(void **state)
{
    (void)state;
    static const tn_function forward_alone = {"half", square_forward, NULL};
    tn_tensor *x = tn_ones(TN_SHAPE(2));
    assert_null(tn_apply(&forward_alone, NULL, 0, &x, 1));
    check_error(TN_ERR_ARGUMENT, "apply: its backward is NULL");
    assert_null(tn_apply(NULL, NULL, 0, &x, 1));
    check_error(TN_ERR_ARGUMENT, "apply: the function is NULL");
    static const tn_function whole = {"square", square_forward, square_backward};
    assert_null(tn_apply(&whole, NULL, 8, &x, 1));
    check_error(TN_ERR_ARGUMENT, "square: data is NULL, and of 8 bytes");
}

static void test_the_pooling_layers_round_up_where_asked(void **state)
{
    (void)state;
    tn_tensor *x = tn_ones(TN_SHAPE(1, 1, 5, 5));
    tn_module *max = tn_max_pool2d_new(2, .ceil_mode = true), *average = tn_avg_pool2d_new(2, .ceil_mode = true);
    check_shape(tn_call(max, x), 1, 1, 3, 3);
    check_shape(tn_call(average, x), 1, 1, 3, 3);
    tn_release(max);
    tn_release(average);
}

static void test_numbers_that_a_dtype_cannot_hold(void **state)
{
    (void)state;
    assert_null(tn_full(TN_SHAPE(2), 300, .dtype = TN_U8));
    check_error(TN_ERR_DTYPE, "full: 300 does not fit into uint8");
    assert_null(tn_full(TN_SHAPE(2), NAN, .dtype = TN_I32));
    check_error(TN_ERR_DTYPE, "full: nan does not fit into int32");
    tn_tensor *x = tn_zeros(TN_SHAPE(2), .dtype = TN_I8);
    assert_null(tn_fill_(x, -129));
    check_error(TN_ERR_DTYPE, "fill_: -129 does not fit into int8");
    assert_null(tn_full_like(x, 128));
    check_error(TN_ERR_DTYPE, "full_like: 128 does not fit into int8");
    check_values(tn_fill_(x, -128.9), 0, -128, -128);
    check_values(tn_full(TN_SHAPE(1), -9223372036854775808.0, .dtype = TN_I64), 0, -9223372036854775808.0);
    assert_null(tn_full(TN_SHAPE(1), 9223372036854775808.0, .dtype = TN_I64));
    check_error(TN_ERR_DTYPE, "does not fit into int64");
    assert_null(tn_randperm(300, .dtype = TN_U8));
    check_error(TN_ERR_ARGUMENT, "randperm: 0 to 299 do not all fit into uint8");
    assert_null(tn_randperm(5000, .dtype = TN_F16));
    check_error(TN_ERR_ARGUMENT, "do not all fit into float16");
    assert_int_equal(tn_item(tn_sum(tn_randperm(256, .dtype = TN_U8))), 255 * 128);
}

static void test_ranges(void **state)
{
    (void)state;
    check_values(tn_arange(5), 0, 0, 1, 2, 3, 4);
    check_values(tn_arange(5, 0, -2), 0, 5, 3, 1);
    assert_null(tn_arange(0, -5));
    check_error(TN_ERR_ARGUMENT, "go towards the end");
    assert_null(tn_arange(0, 1e18));
    check_error(TN_ERR_ARGUMENT, "more numbers than any tensor holds");
    tn_tensor *x = tn_arange(0, 10, 2), *i = tn_from_ints((int64_t[]){3, 1}, TN_SHAPE(2));
    check_values(tn_index(x, tn_retain(i)), 0, 6, 2); /* a void pointer is taken for a tensor */
    tn_release(i);
}

static void test_saving_over_what_is_no_file(void **state)
{
    (void)state;
    char folder[] = "/tmp/tenon-mistakes-XXXXXX", real[64], link[64], pipe[64];
    assert_non_null(mkdtemp(folder));
    snprintf(real, sizeof real, "%s/real", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    snprintf(pipe, sizeof pipe, "%s/pipe", folder);
    tn_module *net = tn_linear_new(2, 3);
    struct stat st;

    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(tn_save_module(net, pipe), TN_ERR_IO);
    check_error(TN_ERR_IO, "pipe: cannot be written: it is no regular file");
    assert_true(lstat(pipe, &st) == 0 && S_ISFIFO(st.st_mode));
    assert_int_equal(tn_save_module(net, folder), TN_ERR_IO);
    check_error(TN_ERR_IO, "it is no regular file");

    FILE *file = fopen(real, "w"); /* a link stays a link, and a file keeps its mode */
    assert_non_null(file);
    fclose(file);
    assert_int_equal(chmod(real, 0600), 0);
    assert_int_equal(symlink("real", link), 0);
    tn_check(tn_save_module(net, link));
    check_good();
    assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    assert_true(stat(real, &st) == 0 && (st.st_mode & 0777) == 0600 && st.st_size > 8);
    tn_release(net);
    remove(pipe), remove(link), remove(real), rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_loop_that_an_error_ends_calls_the_handler),
        TEST(test_a_gradient_has_the_dtype_of_what_it_belongs_to),
        TEST(test_a_tensor_used_after_its_scope),
        TEST(test_releasing_twice),
        TEST(test_sizes_that_were_forgotten),
        TEST(test_which_layer_does_not_fit),
        TEST(test_files_are_named),
        TEST(test_labels),
        TEST(test_what_a_model_was_given),
        TEST(test_a_step_carried_over),
        TEST(test_gradcheck_with_nothing_to_check),
        TEST(test_an_operator_that_lacks_a_part),
        TEST(test_the_pooling_layers_round_up_where_asked),
        TEST(test_numbers_that_a_dtype_cannot_hold),
        TEST(test_ranges),
        TEST(test_saving_over_what_is_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
