/* cuBLASLt and cuDNN under the kernels of CUDA: which is there, when an algorithm is chosen, which engine runs, and what stands in for them.
 * What hangs on the stand-ins of tests/cuda (TENON_CUDA_PATH's last folder has them) is skipped without. */
#include "check.h"

#include <dlfcn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const tn_device_id cuda0 = {TN_CUDA, 0};

static void needs_device(void)
{
    if (!tn_cuda_available()) {
        print_message("skipped: no CUDA device\n");
        skip();
    }
}

/* What a stand-in counts; -1 where none is. */
static int told(const char *file, const char *name)
{
    char path[1024];
    const char *folders = getenv("TENON_CUDA_PATH"), *last = folders ? strrchr(folders, ':') : NULL;
    int (*count)(void) = NULL;
    snprintf(path, sizeof path, "%s/%s", last ? last + 1 : "", file);
    void *library = last ? dlopen(path, RTLD_NOW) : NULL, *symbol = library ? dlsym(library, name) : NULL;
    memcpy(&count, &symbol, sizeof count);
    return count ? count() : -1;
}
static int lt(const char *what) { return told("libcublasLt.so.13", what); }
static int dnn(const char *what) { return told("libcudnn.so.9", what); }

static void needs_stand_ins(void)
{
    if (lt("cublaslt_on_cpu_ran") < 0 || dnn("cudnn_on_cpu_ran") < 0) {
        print_message("skipped: not over the emulated libraries\n");
        skip();
    }
}

/* a * b with one row each way, of numbers that TF32 and bf16 round: 1 + 2^-12 and 1 + 2^-9. */
static double product_of(double a, double b)
{
    TN_SCOPE;
    tn_tensor *x = tn_full(TN_SHAPE(2, 3), a, .device = &cuda0), *w = tn_full(TN_SHAPE(3, 2), b, .device = &cuda0);
    return tn_item(tn_select(tn_reshape(tn_matmul(x, w), TN_SHAPE(4)), 0, 0));
}

/* A convolution of a 3 x 3 plane to c_out channels, by ones; every element of weight is w. */
static double convolution_of(int64_t c_out, double w)
{
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(1, 1, 3, 3), .device = &cuda0), *weight = tn_full(TN_SHAPE(c_out, 1, 3, 3), w, .device = &cuda0);
    return tn_item(tn_select(tn_reshape(tn_conv2d(x, weight), TN_SHAPE(c_out)), 0, c_out - 1));
}

/* Before anything else opens them: a child whose libraries are too old. */
static void test_unusable(void **state)
{
    (void)state;
    needs_stand_ins();
    static const struct { const char *name, *value, *said; } faults[] = {
        {"TENON_CUDNN_VERSION", "90000", "libcudnn.so.9 is older than 9.1"}, {"TENON_CUDNN_FAILS", "1", "libcudnn.so.9: emulated error"}};
    for (int i = 0; i < 2; i++) {
        fflush(NULL);
        const pid_t child = fork();
        if (child == 0) {
            setenv("TENON_CUBLASLT_FAILS", "1", 1);
            setenv(faults[i].name, faults[i].value, 1);
            const char *text = tn_cuda_text();
            const bool good = strstr(text, "no cuBLASLt") && strstr(text, "libcublasLt.so.13: not initialised") &&
                              strstr(text, "libcublasLt.so.12 was not found") && strstr(text, "no cuDNN") && strstr(text, faults[i].said) &&
                              product_of(2, 3) == 18 && convolution_of(2, 3) == 27 && tn_last_status() == TN_OK;
            if (!good)
                fprintf(stderr, "%s; %s\n", text, tn_last_error());
            _exit(good ? 0 : 1);
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_int_equal(how, 0);
    }
}

static void test_text(void **state)
{
    (void)state;
    const char *text = tn_cuda_text(), *folders = getenv("TENON_CUDA_PATH");
    if (!tn_cuda_available()) {
        assert_true(strstr(text, "libtenon_cuda.so") || strstr(text, "driver") || strstr(text, "GPU"));
    } else if (folders && strstr(folders, "cuda_on_cpu") && !strchr(folders, ':')) {
        assert_non_null(strstr(text, "no cuBLASLt, products run by kernels of our own: libcublasLt.so.13 was not found"));
        assert_non_null(strstr(text, "no cuDNN, convolutions run by kernels of our own: libcudnn.so.9 was not found"));
    } else {
        assert_true(strstr(text, "; cuBLASLt ") || strstr(text, "no cuBLASLt"));
        assert_true(strstr(text, "; cuDNN ") || strstr(text, "no cuDNN"));
        print_message("%s\n", text);
    }
}

static void test_chosen_once(void **state)
{
    (void)state;
    needs_stand_ins();
    TN_SCOPE;
    tn_tensor *x = tn_rand(TN_SHAPE(3, 5), .device = &cuda0), *w = tn_rand(TN_SHAPE(4, 5), .device = &cuda0);
    tn_tensor *b = tn_rand(TN_SHAPE(4), .device = &cuda0);
    tn_linear(x, w, b);
    const int asked = lt("cublaslt_on_cpu_asked"), ran = lt("cublaslt_on_cpu_ran");
    for (int i = 0; i < 3; i++)
        tn_linear(x, w, tn_mul(b, i));
    assert_int_equal(lt("cublaslt_on_cpu_asked"), asked);
    assert_int_equal(lt("cublaslt_on_cpu_ran"), ran + 3);
    tn_linear(x, w); /* another epilogue, another plan */
    assert_int_equal(lt("cublaslt_on_cpu_asked"), asked + 1);
    convolution_of(2, 1);
    const int searched = dnn("cudnn_on_cpu_asked"), convolved = dnn("cudnn_on_cpu_ran");
    for (int i = 0; i < 3; i++)
        convolution_of(2, i);
    assert_int_equal(dnn("cudnn_on_cpu_asked"), searched);
    assert_int_equal(dnn("cudnn_on_cpu_ran"), convolved + 3);
    check_good();
}

static void test_unknown_products(void **state)
{
    (void)state;
    needs_stand_ins();
    TN_SCOPE;
    const int ran = lt("cublaslt_on_cpu_ran");
    /* 1013 columns, which it has no algorithm for, and 1019, of which that comes out later; elements apart in both directions; integers */
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3), .device = &cuda0);
    check_values(tn_sum(tn_matmul(x, tn_ones(TN_SHAPE(3, 1013), .device = &cuda0))), 0, 6078);
    for (int i = 0; i < 2; i++)
        check_values(tn_sum(tn_matmul(x, tn_ones(TN_SHAPE(3, 1019), .device = &cuda0))), 0, 6114);
    tn_tensor *wide = tn_reshape(tn_arange(24, .dtype = TN_F32, .device = &cuda0), TN_SHAPE(2, 3, 2, 2)), *apart = tn_select(tn_select(wide, 3, 0), 2, 0);
    check_values(tn_matmul(apart, tn_ones(TN_SHAPE(3, 1), .device = &cuda0)), 0, 12, 48);
    tn_tensor *whole = tn_full(TN_SHAPE(2, 2), 3, .dtype = TN_I64, .device = &cuda0);
    check_values(tn_matmul(whole, whole), 0, 18, 18, 18, 18);
    assert_int_equal(lt("cublaslt_on_cpu_ran"), ran);
}

/* The bias's gradient comes with the weight's, by one product where the library has it: not of f64, nor for 1013 columns. */
static void test_bias_gradient(void **state)
{
    (void)state;
    needs_stand_ins();
    const struct { int64_t in; tn_dtype dtype; bool one; } cases[] = {{3, TN_F32, true}, {3, TN_F16, true}, {3, TN_F64, false}, {1013, TN_F32, false}};
    for (int i = 0; i < 4; i++) {
        TN_SCOPE;
        tn_tensor *x = tn_ones(TN_SHAPE(2, 2, cases[i].in), .dtype = cases[i].dtype, .device = &cuda0);
        tn_tensor *w = tn_ones(TN_SHAPE(2, cases[i].in), .dtype = cases[i].dtype, .device = &cuda0, .requires_grad = true);
        tn_tensor *b = tn_zeros(TN_SHAPE(2), .dtype = cases[i].dtype, .device = &cuda0, .requires_grad = true);
        tn_tensor *dy = tn_to(tn_cast(tn_from_floats((float[]){1, 2, 3, 4, 5, 6, 7, 8}, TN_SHAPE(2, 2, 2)), cases[i].dtype), cuda0);
        const int before = lt("cublaslt_on_cpu_summed");
        assert_int_equal(tn_backward(tn_linear(x, w, b), .grad = dy), TN_OK);
        assert_int_equal(lt("cublaslt_on_cpu_summed"), before + cases[i].one);
        check_values(tn_grad(b), 0, 16, 20);
        check_values(tn_select(tn_grad(w), 1, cases[i].in - 1), 0, 16, 20);
    }
}

static void test_failures(void **state)
{
    (void)state;
    needs_stand_ins();
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3), .device = &cuda0), *image = tn_ones(TN_SHAPE(1, 1, 3, 3), .device = &cuda0);
    assert_null(tn_matmul(x, tn_ones(TN_SHAPE(3, 1017), .device = &cuda0)));
    check_error(TN_ERR_DEVICE, "gemm: cuda:0: emulated error");
    assert_null(tn_conv2d(image, tn_ones(TN_SHAPE(109, 1, 3, 3), .device = &cuda0)));
    check_error(TN_ERR_DEVICE, "conv_forward: cuda:0: emulated error");
    /* memory for the result and none for the engine's own */
    tn_tensor *weight = tn_ones(TN_SHAPE(2, 1, 3, 3), .device = &cuda0);
    assert_int_equal(tn_device_memory_set_limit(cuda0, tn_get_device_memory_stats(cuda0).in_use + 256), TN_OK);
    assert_null(tn_conv2d(image, weight));
    check_error(TN_ERR_MEMORY, "1000 bytes");
    assert_int_equal(tn_device_memory_set_limit(cuda0, 0), TN_OK);
    check_values(tn_conv2d(image, weight), 0, 9, 9);
}

static void test_tf32_on_request(void **state)
{
    (void)state;
    assert_false(tn_get_allow_tf32());
    needs_device();
    const double a = 1 + 0x1p-12, b = 1 + 0x1p-9;
    assert_true(fabs(product_of(a, 1) - 3 * a) < 1e-6);
    assert_true(fabs(convolution_of(2, a) - 9 * a) < 1e-5);
    if (dnn("cudnn_on_cpu_engine") >= 0)
        assert_int_equal(dnn("cudnn_on_cpu_engine"), 4);
    tn_set_allow_tf32(true);
    assert_true(tn_get_allow_tf32());
    if (lt("cublaslt_on_cpu_ran") >= 0) {
        assert_true(product_of(a, 1) == 3 && product_of(b, 1) == 3 * b);
        assert_true(convolution_of(2, a) == 9);
        assert_int_equal(dnn("cudnn_on_cpu_engine"), 1);
    }
    tn_set_allow_tf32(false);
    assert_true(fabs(product_of(a, 1) - 3 * a) < 1e-6);
    {
        TN_AUTOCAST(TN_BF16);
        if (lt("cublaslt_on_cpu_ran") >= 0)
            assert_true(product_of(b, 1) == 3);
    }
    check_good();
}

static void test_engines(void **state)
{
    (void)state;
    needs_stand_ins();
    assert_true(convolution_of(105, 3) == 27); /* the first search names none that may be taken */
    assert_int_equal(dnn("cudnn_on_cpu_engine"), 5);
    const int ran = dnn("cudnn_on_cpu_ran");
    assert_true(convolution_of(107, 3) == 27); /* nor does the second */
    assert_true(convolution_of(107, 3) == 27);
    assert_int_equal(dnn("cudnn_on_cpu_ran"), ran);
    check_good();
}

/* A ReLU that a library adds keeps NaN, as ours does: what went wrong is not hidden. */
static void test_relu_keeps_nan(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_tensor *x = tn_full(TN_SHAPE(1, 2), NAN, .device = &cuda0), *w = tn_ones(TN_SHAPE(2, 2), .device = &cuda0);
    check_values(tn_linear(x, w, .activation = TN_ACTIVATION_RELU), 0, NAN, NAN);
    x = tn_full(TN_SHAPE(1, 1, 1, 2), NAN, .device = &cuda0), w = tn_ones(TN_SHAPE(1, 1, 1, 2), .device = &cuda0);
    check_values(tn_conv2d(x, w, .activation = TN_ACTIVATION_RELU), 0, NAN);
}

/* The slope of a convolution's ReLU, where there is a bias whose kernel goes through it, and where there is none. */
static void test_relu_backward(void **state)
{
    (void)state;
    needs_device();
    for (int bias = 0; bias < 2; bias++) {
        TN_SCOPE;
        tn_tensor *x = tn_to(tn_reshape(tn_from_floats((float[]){1, 2, 3}, TN_SHAPE(3)), TN_SHAPE(1, 1, 1, 3)), cuda0);
        tn_tensor *w = tn_to(tn_reshape(tn_from_floats((float[]){1, -1}, TN_SHAPE(2)), TN_SHAPE(2, 1, 1, 1)), cuda0);
        tn_tensor *b = tn_zeros(TN_SHAPE(2), .device = &cuda0, .requires_grad = true);
        assert_true(tn_set_requires_grad(x, true) == TN_OK && tn_set_requires_grad(w, true) == TN_OK);
        assert_int_equal(tn_backward(tn_sum(tn_conv2d(x, w, bias ? b : NULL, .activation = TN_ACTIVATION_RELU))), TN_OK);
        check_values(tn_grad(x), 0, 1, 1, 1);
        check_values(tn_grad(w), 0, 6, 0);
        if (bias)
            check_values(tn_grad(b), 0, 3, 0);
    }
}

/* Shapes that keep changing: what is kept of them stays within bounds. */
static void test_plans_are_dropped(void **state)
{
    (void)state;
    needs_stand_ins();
    int most = 0, most_dnn = 0;
    for (int64_t i = 1; i <= 1100; i++) {
        TN_SCOPE;
        tn_tensor *x = tn_ones(TN_SHAPE(1, i), .device = &cuda0), *w = tn_ones(TN_SHAPE(i, 1), .device = &cuda0);
        assert_non_null(tn_matmul(x, w));
        assert_non_null(tn_conv2d(tn_reshape(x, TN_SHAPE(1, 1, 1, i)), tn_ones(TN_SHAPE(1, 1, 1, 1), .device = &cuda0)));
        most = lt("cublaslt_on_cpu_made") > most ? lt("cublaslt_on_cpu_made") : most;
        most_dnn = dnn("cudnn_on_cpu_made") > most_dnn ? dnn("cudnn_on_cpu_made") : most_dnn;
    }
    assert_in_range(most, 4 * 1000, 4 * 1024);
    assert_true(lt("cublaslt_on_cpu_made") < 4 * 200 && dnn("cudnn_on_cpu_made") < most_dnn / 4);
    check_good();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_unusable), TEST(test_text),            TEST(test_chosen_once), TEST(test_unknown_products), TEST(test_bias_gradient),
        TEST(test_failures), TEST(test_tf32_on_request), TEST(test_engines),     TEST(test_relu_keeps_nan),   TEST(test_relu_backward),
        TEST(test_plans_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
