/* cuBLASLt and cuDNN under the kernels of CUDA: which is there, when an algorithm is chosen, which engine runs, and what stands in for them;
 * recurrent layers by either. What hangs on the stand-ins of tests/cuda (TENON_CUDA_PATH's last folder has them) is skipped without. */
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
static int rnn(const char *what) { return told("libcudnn_adv.so.9", what); }

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

/* ---- recurrent layers --------------------------------------------------------------------------------------------------- */

enum { RELU = 1, LSTM = 2, GRU = 3, KINDS, RESULTS = 13 };

/* A layer of 3 inputs in both directions, by tn_rnn_kind, the same at each call. */
static tn_module *recurrent_of(int kind, int64_t hidden, tn_dtype dtype, bool bias, tn_device_id device)
{
    tn_manual_seed(5);
    tn_module *net = tn_adopt(kind == LSTM  ? tn_lstm_new(3, hidden, .bidirectional = true, .bias = bias, .dtype = dtype)
                              : kind == GRU ? tn_gru_new(3, hidden, .bidirectional = true, .bias = bias, .dtype = dtype)
                                            : tn_rnn_new(3, hidden, .bidirectional = true, .bias = bias, .dtype = dtype,
                                                         .nonlinearity = kind == RELU ? TN_RNN_RELU : TN_RNN_TANH));
    assert_int_equal(tn_module_to(net, device), TN_OK);
    return net;
}

static tn_tensor *random_of(tn_dtype dtype, tn_device_id device, int64_t a, int64_t b, int64_t c)
{
    tn_tensor *x = tn_to(tn_randn(TN_SHAPE(a, b, c), .dtype = dtype), device);
    assert_int_equal(tn_set_requires_grad(x, true), TN_OK);
    return x;
}

static tn_packed_sequence *packed(tn_tensor *x) { return tn_pack_padded_sequence(x, tn_from_ints(((int64_t[]){5, 3, 3}), TN_SHAPE(3))); }

/* Sequences of 5, 3 and 3 steps, or of 5 each: y, the last state, and the gradients of everything after backward went twice; NULL where there
 * is none, and all NULL on error. */
static void results_of(int kind, int64_t hidden, tn_dtype dtype, bool pack, tn_device_id device, tn_tensor **out)
{
    tn_module *net = recurrent_of(kind, hidden, dtype, pack, device);
    tn_tensor *x = random_of(dtype, device, 5, 3, 3), *h0 = random_of(dtype, device, 2, 3, hidden), *h_n = NULL, *y;
    tn_tensor *c0 = kind == LSTM ? random_of(dtype, device, 2, 3, hidden) : NULL;
    memset(out, 0, RESULTS * sizeof *out);
    if (pack) {
        tn_packed_sequence *all = tn_call_packed(net, packed(x), .h0 = h0, .c0 = c0, .h_n = &h_n);
        y = all ? all->data : NULL;
    } else {
        y = tn_call_recurrent(net, x, .h0 = h0, .c0 = c0, .h_n = &h_n);
    }
    tn_tensor *loss = tn_add(tn_sum(tn_mul(y, y)), tn_sum(h_n));
    if (tn_backward(loss, .retain_graph = true) != TN_OK || tn_backward(loss) != TN_OK)
        return;
    tn_tensor *const made[] = {y, h_n, tn_grad(x), tn_grad(h0), c0 ? tn_grad(c0) : h_n};
    for (int i = 0; i < RESULTS; i++)
        if (i < 5 || i - 5 < tn_list_count(tn_parameters(net)))
            out[i] = tn_to(i < 5 ? made[i] : tn_grad(tn_list_at(tn_parameters(net), i - 5)), tn_device("cpu"));
}

static void check_as_on_cpu(int kind, int64_t hidden, tn_dtype dtype, bool pack)
{
    TN_SCOPE;
    const double tolerance = dtype == TN_F64 ? 1e-11 : 1e-4;
    tn_tensor *here[RESULTS], *there[RESULTS];
    results_of(kind, hidden, dtype, pack, tn_device("cpu"), here);
    results_of(kind, hidden, dtype, pack, cuda0, there);
    check_good();
    for (int i = 0; i < RESULTS && here[i]; i++)
        if (!tn_allclose(there[i], here[i], tolerance, tolerance, false))
            fail_msg("kind %d, hidden %d, %s, packed %d: result %d differs", kind, (int)hidden, tn_dtype_name(dtype), pack, i);
}

static void test_recurrent(void **state)
{
    (void)state;
    needs_device();
    for (int i = 0; i < 4 * KINDS; i++) {
        const int ran = rnn("cudnn_adv_on_cpu_ran");
        check_as_on_cpu(i / 4, 7, i & 1 ? TN_F64 : TN_F32, i & 2);
        if (ran >= 0) /* in both directions: once forward, and twice backward, of data and of weights */
            assert_int_equal(rnn("cudnn_adv_on_cpu_ran"), ran + (i / 4 == RELU ? 0 : 2 * (1 + 2 * 2)));
    }
    const int made = rnn("cudnn_adv_on_cpu_made");
    check_as_on_cpu(GRU, 7, TN_F32, true);
    assert_int_equal(rnn("cudnn_adv_on_cpu_made"), made);
}

static void test_recurrent_otherwise(void **state)
{
    (void)state;
    needs_stand_ins();
    const int ran = rnn("cudnn_adv_on_cpu_ran");
    check_as_on_cpu(GRU, 107, TN_F32, true); /* whose weights lie otherwise there */
    check_as_on_cpu(LSTM, 109, TN_F32, false);
    assert_int_equal(rnn("cudnn_adv_on_cpu_ran"), ran);
    TN_SCOPE;
    tn_tensor *out[RESULTS];
    results_of(LSTM, 113, TN_F32, true, cuda0, out);
    check_error(TN_ERR_DEVICE, "rnn_forward: cuda:0: emulated error");
    tn_module *net = recurrent_of(LSTM, 6, TN_F32, true, cuda0);
    tn_tensor *x = random_of(TN_F32, cuda0, 5, 3, 3), *dx;
    int k = 0;
    for (bool done = false; !done; k++) { /* each time some more memory */
        TN_SCOPE;
        assert_int_equal(tn_device_memory_set_limit(cuda0, tn_get_device_memory_stats(cuda0).in_use + 256 * (k + 1)), TN_OK);
        tn_tensor *const loss[] = {tn_sum(tn_call(net, x))};
        done = tn_grads_of(loss, 1, &x, 1, &dx) == TN_OK;
        if (!done)
            check_error(TN_ERR_MEMORY, "out of memory on cuda:0");
    }
    assert_int_equal(tn_device_memory_set_limit(cuda0, 0), TN_OK);
    assert_in_range(k, 20, 200);
}

/* What forward did is what backward goes by, whatever has been set meanwhile. */
static void test_recurrent_tf32(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_module *net = recurrent_of(LSTM, 7, TN_F32, true, cuda0);
    tn_tensor *x = random_of(TN_F32, cuda0, 5, 3, 3), *y[2], *dx[2];
    for (int i = 0; i < 2; i++) {
        tn_set_allow_tf32(i);
        tn_tensor *const loss[] = {tn_sum(y[i] = tn_call(net, x))}, *const in[] = {x};
        tn_set_allow_tf32(false);
        assert_int_equal(tn_grads_of(loss, 1, in, 1, &dx[i]), TN_OK);
    }
    assert_true(tn_allclose(y[1], y[0], 1e-2, 1e-2, false) && tn_allclose(dx[1], dx[0], 1e-2, 1e-2, false));
    if (rnn("cudnn_adv_on_cpu_ran") >= 0)
        assert_false(tn_equal(y[1], y[0]));
    check_good();
}

/* Recorded, the layer gives the same bits with new data. */
static void test_recurrent_captured(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_module *net = recurrent_of(GRU, 7, TN_F32, true, cuda0);
    tn_packed_sequence *x = packed(tn_detach(random_of(TN_F32, cuda0, 5, 3, 3)));
    tn_tensor *weight[] = {tn_parameter(net, "weight_hh_l0_reverse")}, *y[2], *dw[2], *data = tn_detach(tn_to(tn_randn(TN_SHAPE(11, 3)), cuda0));
    tn_graph *graph = tn_adopt(tn_graph_new(cuda0));
    for (int i = 0; i < 4; i++) { /* done, recorded, done with new data */
        if (i == 2)
            tn_copy_(x->data, data);
        if (i == 1 && tn_capture_begin(graph) != TN_OK)
            fail_msg("%s", tn_last_error());
        if (i < 3) {
            tn_packed_sequence *all = tn_call_packed(net, x);
            tn_tensor *const loss[] = {tn_sum(tn_mul(y[i & 1] = all->data, all->data))};
            assert_int_equal(tn_grads_of(loss, 1, weight, 1, &dw[i & 1]), TN_OK);
        }
        if (i == 1)
            assert_int_equal(tn_capture_end(graph), TN_OK);
        if (i == 1 || i == 3)
            assert_int_equal(tn_replay(graph), TN_OK);
        if (i & 1)
            assert_true(tn_equal(y[0], y[1]) && tn_equal(dw[0], dw[1]));
    }
    check_good();
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
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) { /* cuDNN without a file of its own */
        setenv("TENON_CUDNN_ADV_FAILS", "1", 1);
        check_as_on_cpu(LSTM, 3, TN_F32, true);
        const bool good = strstr(tn_cuda_text(), "; cuDNN 9.19.0; recurrent layers run by kernels of our own: libcudnn_adv.so.9: emulated error");
        _exit(good && rnn("cudnn_adv_on_cpu_ran") == 0 ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
}

static void test_text(void **state)
{
    (void)state;
    const char *text = tn_cuda_text(), *folders = getenv("TENON_CUDA_PATH");
    if (!tn_cuda_available()) {
        assert_true(strstr(text, "libtenon_cuda.so") || strstr(text, "driver") || strstr(text, "GPU"));
    } else if (folders && strstr(folders, "cuda_on_cpu") && !strchr(folders, ':')) {
        assert_non_null(strstr(text, "no cuBLASLt, products run by kernels of our own: libcublasLt.so.13 was not found"));
        assert_non_null(strstr(text, "no cuDNN, convolutions and recurrent layers run by kernels of our own: libcudnn.so.9 was not found"));
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
    tn_module *net = recurrent_of(RELU, 1, TN_F32, true, cuda0);
    check_values(tn_call(net, tn_full(TN_SHAPE(2, 1, 3), NAN, .device = &cuda0)), 0, NAN, NAN, NAN, NAN);
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
        TEST(test_plans_are_dropped), TEST(test_recurrent), TEST(test_recurrent_otherwise), TEST(test_recurrent_tf32), TEST(test_recurrent_captured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
