/* DESIGN section 5, conventions: each test is headed by the line that it stands for. Values, promotion and defaults are PyTorch's by
 * test_ops_*.c; random numbers are in test_random.c, names and copies of modules in test_module_tree.c, options' sizes for every function
 * in zeros.awk, what compilers say in compiles.sh. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include <tenon/io.h>

/* ---- hooks, version, shutdown ------------------------------------------------------------------------------------------------ */

static char logged[256];
static double log_sum;
static void log_handler(const char *message, void *context)
{
    snprintf(logged, sizeof logged, "%s", message);
    TN_SCOPE;
    log_sum = tn_item(tn_sum(tn_ones(TN_SHAPE(3)))) + *(double *)context; /* it may call the library */
}

/* "hooks for a caller's ... log": main() asked for an instruction set that there is not. (The allocator's is in test_torment.c.) */
static void test_log_hook(void **state)
{
    (void)state;
    double ten = 10;
    tn_set_log_handler(log_handler, &ten);
    assert_non_null(tn_cpu_isa());
    assert_non_null(strstr(logged, "TENON_ISA=abacus"));
    assert_true(log_sum == 13);
    tn_set_log_handler(NULL, NULL);
}

/* "tn_version" */
static void test_version(void **state)
{
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", TN_VERSION_MAJOR, TN_VERSION_MINOR, TN_VERSION_PATCH);
    assert_string_equal(tn_version(), text);
}

/* "tn_shutdown": the caches go, what lives stays, and the library works on */
static void test_shutdown(void **state)
{
    (void)state;
    tn_tensor *x = tn_keep(tn_ones(TN_SHAPE(100000)));
    {
        TN_SCOPE;
        tn_tensor *y = tn_mul(x, 2); /* a scope that is open keeps what it holds */
        tn_shutdown();
        assert_true(tn_item(tn_sum(y)) == 200000);
    }
#if !ADDRESS_SANITIZER
    assert_true(tn_get_memory_stats().cached > 0);
#endif
    tn_shutdown();
    tn_shutdown();
    assert_int_equal(tn_get_memory_stats().cached, 0);
    assert_true(tn_item(tn_sum(x)) == 100000);
    tn_release(x);
}

/* ---- options ----------------------------------------------------------------------------------------------------------------- */

/* "any default can be overridden, with zero too" */
static void test_zero_overrides_a_default(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles((double[]){-1, 2, 4}, TN_SHAPE(3));
    check_values(tn_clamp(x, .max = 0), 0, -1, 0, 0);
    check_values(tn_clamp(x, .min = 0), 0, 0, 2, 4);
    assert_true(fabs(tn_item(tn_var(x, .correction = 0)) - 38. / 9) < 1e-12);
    assert_true(fabs(tn_item(tn_var(x)) - 38. / 6) < 1e-12);
    check_values(tn_norm(x, .p = 0), 0, 3);
    tn_tensor *logits = tn_zeros(TN_SHAPE(2, 2)), *target = tn_from_ints((int64_t[]){0, 1}, TN_SHAPE(2));
    check_values(tn_cross_entropy(logits, target, .ignore_index = 0, .reduction = TN_NONE), 1e-6, 0, log(2));
    tn_module *layer = tn_linear_new(2, 2, .bias = false);
    assert_int_equal(tn_list_count(tn_parameters(layer)), 1);
    tn_release(layer);
    assert_null(tn_conv2d_new(1, 2, 3, .dilation = 0)); /* a zero that arrives, and is refused */
    check_error(TN_ERR_ARGUMENT, "dilation");
    assert_null(tn_conv2d_new(1, 2, 3, .groups = 0));
    check_error(TN_ERR_ARGUMENT, "groups");
    check_shape(tn_flatten(tn_call(tn_adopt(tn_flatten_new(.start_dim = 0)), tn_ones(TN_SHAPE(2, 3))), 0, -1), 6);
}

/* "what was forgotten reads as 0 and is checked at run time" */
static void test_what_was_forgotten(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(1, 1, 4, 4));
    tn_module *net = tn_identity_new();
#define REFUSED(status, words, call)                                                                                          \
    do {                                                                                                                      \
        (void)!(call);                                                                                                        \
        check_error(status, words);                                                                                           \
    } while (0)
    REFUSED(TN_ERR_ARGUMENT, "linear: in_features is 4 and out_features 0", tn_linear_new(4));
    REFUSED(TN_ERR_ARGUMENT, "conv2d", tn_conv2d_new(1, 20));
    REFUSED(TN_ERR_ARGUMENT, "lr is 0", tn_adam_new(TN_LIST(tn_ones(TN_SHAPE(1), .requires_grad = true))));
    REFUSED(TN_ERR_ARGUMENT, "params is NULL", tn_sgd_new());
    REFUSED(TN_ERR_ARGUMENT, "max_pool2d", tn_max_pool2d(x));
    REFUSED(TN_ERR_ARGUMENT, "avg_pool2d", tn_avg_pool2d(x));
    REFUSED(TN_ERR_ARGUMENT, "unfold", tn_unfold(x));
    REFUSED(TN_ERR_ARGUMENT, "target", tn_cross_entropy(tn_ones(TN_SHAPE(2, 2))));
    REFUSED(TN_ERR_ARGUMENT, "weight", tn_linear(x));
    REFUSED(TN_ERR_ARGUMENT, "randint: low 0 and high 0", tn_randint(TN_SHAPE(2)));
    REFUSED(TN_ERR_ARGUMENT, "dataset is NULL", tn_loader_new(.batch_size = 4));
    REFUSED(TN_ERR_ARGUMENT, "the dict is NULL", tn_load_state_dict(net));
    REFUSED(TN_ERR_ARGUMENT, "NULL", tn_backward());
    REFUSED(TN_ERR_ARGUMENT, "NULL", tn_sum(.dim = 0));
    REFUSED(TN_ERR_ARGUMENT, "data is NULL", tn_from_floats(.shape = TN_SHAPE(2)));
    tn_release(net);
}

/* "Each has a plain twin, ..._with(const args *), for FFI": the same result, from a struct that a program fills */
static void test_the_plain_twin(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_conv2d_args args = {.size = sizeof args, .stride = 1, .padding = 1, .dilation = 1, .groups = 1};
    args.x = tn_rand(TN_SHAPE(1, 2, 5, 5));
    args.weight = tn_rand(TN_SHAPE(3, 2, 3, 3));
    tn_tensor *(*twin)(const tn_conv2d_args *) = tn_conv2d_with;
    assert_true(tn_equal(twin(&args), tn_conv2d(args.x, args.weight, NULL, .padding = 1)));
}

/* "A pair is .padding (both) and .padding_hw (each)." */
static void test_pairs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(1, 1, 6, 8)), *w = tn_ones(TN_SHAPE(1, 1, 3, 3));
    check_shape(tn_conv2d(x, w, NULL, .padding = 1), 1, 1, 6, 8);
    check_shape(tn_conv2d(x, w, NULL, .padding_hw = {0, 1}), 1, 1, 4, 8);
    check_shape(tn_conv2d(x, w, NULL, .stride = 2), 1, 1, 2, 3);
    check_shape(tn_conv2d(x, w, NULL, .stride_hw = {1, 2}), 1, 1, 4, 3);
    check_shape(tn_conv2d(x, w, NULL, .dilation_hw = {2, 1}), 1, 1, 2, 6);
    check_shape(tn_max_pool2d(x, .kernel_hw = {3, 2}), 1, 1, 2, 4);
    tn_module *layer = tn_conv2d_new(1, 2, .kernel_hw = {1, 3}, .padding_hw = {0, 1});
    check_shape(tn_parameter(layer, "weight"), 2, 1, 1, 3);
    check_shape(tn_call(layer, x), 1, 2, 6, 8);
    tn_release(layer);
}

/* "Options grow at the end only; the struct begins with its size": of tn_full_with's struct, the value is what a later header added. The
 * structs end where their memory does, so that a sanitizer sees who reads on. */
static void test_options_of_another_header(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_shape_args now = {.size = sizeof now, .dtype = TN_F64, .shape = TN_SHAPE(2), .value = 7};
    check_values(tn_full_with(&now), 0, 7, 7);

    size_t shorter = offsetof(tn_shape_args, value);
    tn_shape_args *older = malloc(shorter);
    now.size = shorter;
    memcpy(older, &now, shorter);
    check_values(tn_full_with(older), 0, 0, 0); /* 0: what was before */
    check_values(tn_ones_with(older), 0, 1, 1);
    assert_int_equal(tn_dtype_of(tn_ones_with(older)), TN_F64);
    free(older);

    struct {
        tn_shape_args known;
        int64_t later;
    } newer = {.known = now};
    newer.known.size = sizeof newer;
    check_values(tn_full_with(&newer.known), 0, 7, 7); /* an option that is off */
    newer.later = 1;
    assert_null(tn_full_with(&newer.known));
    check_error(TN_ERR_UNSUPPORTED, "an option beyond them is set");

    for (size_t size = 0; size < sizeof size; size += sizeof size - 1) {
        now.size = size;
        assert_null(tn_full_with(&now));
        check_error(TN_ERR_ARGUMENT, "set it to the size of the struct");
    }
    now.size = SIZE_MAX;
    assert_null(tn_full_with(&now));
    check_error(TN_ERR_ARGUMENT, "set it to the size of the struct");
    assert_null(tn_full_with(NULL));
    check_error(TN_ERR_ARGUMENT, "NULL");
}

/* A macro in the place of a function takes its arguments once. */
static void test_arguments_are_taken_once(void **state)
{
    (void)state;
    TN_SCOPE;
    int n = 2;
    double value = 1;
    tn_tensor *list[] = {tn_ones(TN_SHAPE(2)), tn_zeros(TN_SHAPE(2))}, **at = list;
    check_shape(tn_full(TN_SHAPE(n++), value++), 2);
    check_values(tn_add(*at++, value++), 0, 3, 3);
    check_values(tn_sum(tn_mul(*at++, n++)), 0, 0);
    tn_module *layer = tn_linear_new(n++, 1);
    assert_int_equal(tn_size(tn_parameter(layer, "weight"), 1), 4);
    assert_true(n == 5 && value == 3 && at == list + 2);
    tn_release(layer);
}

/* ---- numbers, dtypes, shapes --------------------------------------------------------------------------------------------------- */

/* "A scalar operand is a scalar: tn_mul(x, 2) ... does not promote a tensor's dtype, as in PyTorch" */
static void test_scalars_do_not_promote(void **state)
{
    (void)state;
    TN_SCOPE;
    for (int d = 0; d < TN_DTYPE_COUNT; d++) {
        tn_dtype dtype = (tn_dtype)d, kept = dtype == TN_BOOL ? TN_I64 : dtype, floating = tn_dtype_is_float(dtype) ? dtype : TN_F32;
        tn_tensor *x = tn_ones(TN_SHAPE(2), .dtype = dtype);
        assert_int_equal(tn_dtype_of(tn_mul(x, 2)), kept);
        assert_int_equal(tn_dtype_of(tn_mul(INT64_C(3), x)), kept);
        assert_int_equal(tn_dtype_of(tn_mul(x, (bool)true)), dtype);
        assert_int_equal(tn_dtype_of(tn_mul(x, 2.5)), floating);
        assert_int_equal(tn_dtype_of(tn_mul(x, 2.5f)), floating);
        assert_int_equal(tn_dtype_of(tn_maximum(x, tn_full(TN_SCALAR, 2, .dtype = dtype))), dtype);
        check_good();
    }
}

/* "dtypes: f32, f64, f16, bf16, i64, i32, i16, i8, u8, bool (16-bit floats are structs: no compiler type is portable here)" */
static void test_dtypes(void **state)
{
    (void)state;
    TN_SCOPE;
    static const size_t sizes[] = {4, 8, 2, 2, 8, 4, 2, 1, 1, 1};
    assert_int_equal(TN_DTYPE_COUNT, sizeof sizes / sizeof *sizes);
#define SAME_SIZE(name, type, text)                                                                                           \
    assert_int_equal(tn_dtype_size(TN_##name), sizeof(type));                                                                 \
    assert_string_equal(tn_dtype_name(TN_##name), text);                                                                      \
    assert_int_equal(tn_dtype_size(TN_##name), sizes[TN_##name]);
    TN_DTYPE_LIST(SAME_SIZE)
    const tn_f16 *half = tn_data(tn_ones(TN_SHAPE(1), .dtype = TN_F16));
    const tn_bf16 *brain = tn_data(tn_ones(TN_SHAPE(1), .dtype = TN_BF16));
    assert_true(half->bits == 0x3c00 && brain->bits == 0x3f80);
}

/* "Indices come out as i64 and any integer goes in." */
static void test_indices(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_from_doubles((double[]){3, 1, 2, 0, 5, 4}, TN_SHAPE(2, 3)), *i = NULL;
#define OUT(call)                                                                                                             \
    do {                                                                                                                      \
        i = NULL;                                                                                                             \
        assert_non_null(call);                                                                                                \
        assert_int_equal(tn_dtype_of(i), TN_I64);                                                                             \
    } while (0)
    OUT(i = tn_argmax(x));
    OUT(i = tn_argmin(x, .dim = 1));
    OUT(tn_max(x, .dim = 1, .indices = &i));
    OUT(tn_min(x, .dim = 0, .indices = &i));
    OUT(tn_sort(x, .indices = &i));
    OUT(i = tn_argsort(x));
    OUT(tn_topk(x, 2, .indices = &i));
    OUT(i = tn_nonzero(x));
    OUT(i = tn_randperm(4));
    OUT(tn_max_pool2d(tn_reshape(x, TN_SHAPE(1, 1, 2, 3)), 2, .indices = &i));
    static const tn_dtype integers[] = {TN_I64, TN_I32, TN_I16, TN_I8, TN_U8};
    for (size_t d = 0; d < sizeof integers / sizeof *integers; d++) {
        tn_tensor *index = tn_from_ints((int64_t[]){1, 0}, TN_SHAPE(2), .dtype = integers[d]), *columns = tn_reshape(index, TN_SHAPE(2, 1));
        check_values(tn_index(x, index, 2), 0, 4, 2);
        check_values(tn_index_select(x, 0, index), 0, 0, 5, 4, 3, 1, 2);
        check_values(tn_index_add(x, 0, index, tn_ones_like(x)), 0, 4, 2, 3, 1, 6, 5);
        check_values(tn_gather(x, 1, columns), 0, 1, 0);
        check_values(tn_scatter(x, 1, columns, 9), 0, 3, 9, 2, 9, 5, 4);
        check_values(tn_scatter_add(x, 1, columns, 9), 0, 3, 10, 2, 9, 5, 4);
        check_values(tn_one_hot(index, 2), 0, 0, 1, 1, 0);
        check_values(tn_cross_entropy(tn_zeros(TN_SHAPE(2, 2)), index), 1e-6, log(2));
        check_values(tn_nll_loss(x, index), 0, -0.5);
        tn_tensor *written = tn_zeros(TN_SHAPE(2));
        assert_non_null(tn_assign(written, x, index, 1) ? NULL : written); /* x does not fit: an error, and no write */
        tn_clear_error();
        assert_non_null(tn_assign(written, 6, tn_narrow(index, 0, 0, 1)));
        check_values(written, 0, 0, 6);
    }
}

/* "Shapes up to 8 dimensions, sizes in int64, empty tensors work; TN_SCALAR is the shape of rank 0." */
static void test_shapes(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_reshape(tn_arange(0, 256, .dtype = TN_F64), TN_SHAPE(2, 2, 2, 2, 2, 2, 2, 2));
    tn_tensor *turned = tn_permute(x, TN_DIMS(7, 6, 5, 4, 3, 2, 1, 0));
    assert_true(tn_at(turned, TN_SHAPE(1, 0, 0, 0, 0, 0, 0, 0)) == 1);
    tn_tensor *sum = tn_sum(tn_add(tn_contiguous(turned), x), .dims = TN_DIMS(0, 1, 2, 3, 4, 5));
    check_shape(sum, 2, 2);
    check_values(tn_sum(sum), 0, 2 * 255 * 128);
    tn_tensor *eight = tn_ones(TN_SHAPE(1, 1, 1, 1, 1, 1, 1, 3));
    assert_null(tn_unsqueeze(eight, 0));
    check_error(TN_ERR_SHAPE, "8 dim");
    tn_unfold(eight, 1);
    assert_int_not_equal(tn_last_status(), TN_OK);
    tn_clear_error();

    tn_tensor *wide = tn_expand(tn_ones(TN_SHAPE(1)), TN_SHAPE(INT64_C(1) << 40)); /* of one element's memory */
    assert_true(tn_numel(wide) == INT64_C(1) << 40 && tn_size(wide, 0) == INT64_C(1) << 40);
    assert_true(tn_item(tn_select(wide, 0, (INT64_C(1) << 40) - 1)) == 1);

    tn_tensor *none = tn_zeros(TN_SHAPE(0, 3), .requires_grad = true);
    check_shape(tn_mul(tn_relu(none), 2), 0, 3);
    check_values(tn_sum(none), 0, 0);
    check_values(tn_sum(none, .dim = 0), 0, 0, 0, 0);
    check_values(tn_matmul(tn_zeros(TN_SHAPE(2, 0)), tn_zeros(TN_SHAPE(0, 2))), 0, 0, 0, 0, 0);
    check_shape(tn_matmul(none, tn_ones(TN_SHAPE(3, 2))), 0, 2);
    check_shape(tn_cat((tn_tensor *[]){none, tn_ones(TN_SHAPE(2, 3))}, 2, 0), 2, 3);
    assert_int_equal(tn_backward(tn_sum(none)), TN_OK);
    check_shape(tn_grad(none), 0, 3);

    tn_tensor *scalar = tn_full(TN_SCALAR, 3);
    assert_int_equal(tn_ndim(scalar), 0);
    assert_int_equal(tn_numel(scalar), 1);
    check_shape(tn_mul(scalar, tn_ones(TN_SHAPE(2))), 2);
    assert_int_equal(tn_ndim(tn_sum(tn_ones(TN_SHAPE(2, 2)))), 0);
}

/* "a default dtype and device" */
static void test_default_dtype_and_device(void **state)
{
    (void)state;
    TN_SCOPE;
    assert_int_equal(tn_get_default_dtype(), TN_F32);
    assert_int_equal(tn_set_default_dtype(TN_F64), TN_OK);
    tn_module *layer = tn_linear_new(2, 2);
    tn_tensor *whole = tn_arange(0, 3);
    tn_tensor *made[] = {tn_zeros(TN_SHAPE(1)), tn_rand(TN_SHAPE(1)), tn_linspace(0, 1, 3), tn_eye(2), tn_div(whole, 2), tn_exp(whole),
                         tn_mul(whole, 0.5), tn_parameter(layer, "weight")};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        assert_int_equal(tn_dtype_of(made[i]), TN_F64);
    assert_int_equal(tn_dtype_of(whole), TN_I64);
    assert_int_equal(tn_set_default_dtype(TN_F32), TN_OK);
    assert_int_equal(tn_dtype_of(tn_zeros(TN_SHAPE(1))), TN_F32);
    assert_int_equal(tn_set_default_dtype(TN_I32), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "int32 is no floating dtype");
    tn_release(layer);

    assert_int_equal(tn_get_default_device().type, TN_CPU);
    assert_int_equal(tn_set_default_device(tn_device("cpu")), TN_OK);
    if (!tn_cuda_available()) {
        assert_int_equal(tn_set_default_device((tn_device_id){TN_CUDA, 0}), TN_ERR_DEVICE);
        check_error(TN_ERR_DEVICE, "cuda:0 is not there");
    }
    assert_int_equal(tn_device_of(tn_zeros(TN_SHAPE(1))).type, TN_CPU);
}

/* ---- the same numbers again ------------------------------------------------------------------------------------------------------ */

/* "C leaves the order of arguments open, so nothing random is made twice in one expression": layers in one call draw in their order */
static void test_layers_draw_in_the_order_in_which_they_are_written(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(4);
    tn_module *net = tn_sequential_new(tn_linear_new(3, 4), tn_conv2d_new(1, 2, 3), tn_linear_new(4, 5));
    tn_manual_seed(4);
    tn_module *first = tn_linear_new(3, 4);
    tn_module *second = tn_conv2d_new(1, 2, 3);
    tn_module *third = tn_linear_new(4, 5);
    tn_module *alone[] = {first, second, third};
    for (int i = 0; i < 3; i++) {
        tn_tensor *weight = tn_parameter(tn_child_at(net, i), "weight"), *bias = tn_parameter(tn_child_at(net, i), "bias");
        assert_true(tn_equal(weight, tn_parameter(alone[i], "weight")));
        assert_true(tn_equal(bias, tn_parameter(alone[i], "bias")));
        tn_release(alone[i]);
    }
    tn_release(net);
}

/* "The same program, seed, device, thread count and instruction set give the same bits": a training of everything that draws or sums */
enum { BYTES = 1 << 14 };
static size_t trained(int threads, unsigned char *bits)
{
    TN_SCOPE;
    size_t used = 0;
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    tn_manual_seed(9);
    tn_tensor *labels, *images = tn_draw_digits(96, &labels);
    images = tn_div(tn_reshape(images, TN_SHAPE(96, 1, 28, 28)), 255.0);
    tn_module *net = tn_sequential_new(tn_conv2d_new(1, 4, 3, .padding = 1), tn_relu_new(), tn_max_pool2d_new(4), tn_dropout_new(0.2),
                                       tn_flatten_new(), tn_linear_new(4 * 7 * 7, 10));
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-2);
    tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(images, labels), .batch_size = 32, .shuffle = true, .workers = 2);
    for (int epoch = 0; epoch < 2; epoch++)
        TN_FOREACH_BATCH(batch, loader) {
            tn_tensor *loss = tn_cross_entropy(tn_call(net, batch->x), tn_cast(batch->y, TN_I64));
            tn_zero_grad(opt);
            assert_int_equal(tn_backward(loss), TN_OK);
            assert_int_equal(tn_step(opt), TN_OK);
        }
    check_good();
    tn_list *params = tn_parameters(net);
    for (int i = 0; i < tn_list_count(params); i++) {
        tn_tensor *x = tn_list_at(params, i);
        size_t bytes = (size_t)tn_numel(x) * sizeof(float);
        assert_true(used + bytes <= BYTES);
        memcpy(bits + used, tn_data(x), bytes);
        used += bytes;
    }
    tn_release(loader);
    tn_release(opt);
    tn_release(net);
    return used;
}
static void test_the_same_bits_twice(void **state)
{
    (void)state;
    static unsigned char first[BYTES], second[BYTES];
    int before = tn_get_num_threads();
    for (int threads = 1; threads <= 2; threads++) {
        size_t bytes = trained(threads, first);
        for (int again = 0; again < 3; again++) {
            assert_int_equal(trained(threads, second), bytes);
            assert_memory_equal(first, second, bytes);
        }
    }
    assert_int_equal(tn_set_num_threads(before), TN_OK);
}

int main(void)
{
    setenv("TENON_ISA", "abacus", 1); /* for test_log_hook, which comes first */
    const struct CMUnitTest tests[] = {
        TEST(test_log_hook), TEST(test_version), TEST(test_shutdown), TEST(test_zero_overrides_a_default), TEST(test_what_was_forgotten),
        TEST(test_the_plain_twin), TEST(test_pairs), TEST(test_options_of_another_header), TEST(test_arguments_are_taken_once),
        TEST(test_scalars_do_not_promote), TEST(test_dtypes), TEST(test_indices), TEST(test_shapes), TEST(test_default_dtype_and_device),
        TEST(test_layers_draw_in_the_order_in_which_they_are_written), TEST(test_the_same_bits_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
