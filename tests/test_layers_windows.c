#include "layer_table.h"

/* [height, width], or one number for both. */
static tn_pair pair(const op_args *args, const char *name, int64_t missing)
{
    tn_shape s = op_shape(args, name);
    return s.ndim == 2 ? (tn_pair){s.sizes[0], s.sizes[1]} : s.ndim == 1 ? (tn_pair){s.sizes[0], s.sizes[0]} : (tn_pair){missing, missing};
}
static bool yes(const op_args *args, const char *name) { return !op_has(args, name) || op_flag(args, name); }

#define IN(name) pair(args, name, 0).h
#define OUT(name) pair(args, name, 0).w
#define CHANNELS IN("channels"), OUT("channels"), op_int(args, "kernel", 0)
#define SAID(name, missing) op_int(args, name, missing)
#define PAIRS                                                                                                                 \
    .kernel_hw = pair(args, "kernel", 0), .stride_hw = pair(args, "stride", 1), .padding_hw = pair(args, "padding", 0),       \
    .dilation_hw = pair(args, "dilation", 1), .groups = SAID("groups", 1), .bias = yes(args, "bias")
#define SINGLES                                                                                                               \
    .stride = SAID("stride", 1), .padding = SAID("padding", 0), .dilation = SAID("dilation", 1), .groups = SAID("groups", 1), \
    .bias = yes(args, "bias")
#define POOL_PAIRS                                                                                                            \
    .kernel_hw = pair(args, "kernel", 0), .stride_hw = pair(args, "stride", 0), .padding_hw = pair(args, "padding", 0),       \
    .ceil_mode = op_flag(args, "ceil_mode")
#define POOL_SINGLES .stride = SAID("stride", 0), .padding = SAID("padding", 0), .ceil_mode = op_flag(args, "ceil_mode")

#define WINDOWS(X)                                                                                                            \
    X(linear, NULL, tn_linear_new(IN("features"), OUT("features"), .bias = yes(args, "bias")))                                \
    X(conv2d, NULL, tn_conv2d_new(IN("channels"), OUT("channels"), 0, PAIRS))                                                 \
    X(conv1d, NULL, tn_conv1d_new(CHANNELS, SINGLES))                                                                         \
    X(conv_transpose2d, NULL, tn_conv_transpose2d_new(IN("channels"), OUT("channels"), 0, PAIRS,                              \
                                                      .output_padding_hw = pair(args, "output_padding", 0)))                  \
    X(conv_transpose1d, NULL, tn_conv_transpose1d_new(CHANNELS, SINGLES, .output_padding = SAID("output_padding", 0)))        \
    X(max_pool2d, NULL, tn_max_pool2d_new(0, POOL_PAIRS, .dilation_hw = pair(args, "dilation", 1)))                           \
    X(avg_pool2d, NULL, tn_avg_pool2d_new(0, POOL_PAIRS, .count_include_pad = yes(args, "count_include_pad")))                \
    X(max_pool1d, NULL, tn_max_pool1d_new(SAID("kernel", 0), POOL_SINGLES, .dilation = SAID("dilation", 1)))                  \
    X(avg_pool1d, NULL, tn_avg_pool1d_new(SAID("kernel", 0), POOL_SINGLES, .count_include_pad = yes(args, "count_include_pad"))) \
    X(adaptive_avg_pool2d, NULL, tn_adaptive_avg_pool2d_new(IN("size"), OUT("size")))                                         \
    X(adaptive_avg_pool1d, NULL, tn_adaptive_avg_pool1d_new(SAID("size", 0)))
LAYER_TABLE(rows, WINDOWS);

static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3, 5)), *w = tn_ones(TN_SHAPE(3, 4, 3)), *image = tn_ones(TN_SHAPE(2, 3, 5, 5));
    check_fails(tn_conv_transpose1d(x, tn_ones(TN_SHAPE(4, 3, 3))), TN_ERR_SHAPE, "conv_transpose1d: [2, 3, 5] [4, 3, 3] first size 3 channels");
    check_fails(tn_conv_transpose1d(x, w, .groups = 2), TN_ERR_SHAPE, "conv_transpose1d: groups, 2, divide");
    check_fails(tn_conv_transpose1d(x, w, tn_ones(TN_SHAPE(3))), TN_ERR_SHAPE, "bias must be [4]");
    check_fails(tn_conv_transpose1d(x, image), TN_ERR_SHAPE, "weight [in, out / groups, k]");
    check_fails(tn_conv_transpose1d(x, w, .stride = 2, .output_padding = 2), TN_ERR_ARGUMENT, "output_padding smaller stride, dilation");
    check_fails(tn_conv_transpose1d(x, w, .stride = 0), TN_ERR_ARGUMENT, "conv_transpose1d: stride is 1 x 0: must be 1");
    check_fails(tn_conv_transpose1d(x, w, .padding = 4), TN_ERR_SHAPE, "conv_transpose1d: [2, 3, 5] 1 x -1: pad less");
    check_fails(tn_conv_transpose2d(x, w), TN_ERR_SHAPE, "conv_transpose2d: weight [in, out / groups, kh, kw]");
    check_fails(tn_conv_transpose2d(image, tn_ones(TN_SHAPE(3, 4, 3, 3), .dtype = TN_F64)), TN_ERR_DTYPE, "float64");
    check_fails(tn_conv_transpose1d(NULL, w), TN_ERR_ARGUMENT, "conv_transpose1d: x is NULL");
    check_fails(tn_adaptive_avg_pool1d(x, -1), TN_ERR_ARGUMENT, "adaptive_avg_pool1d: -1");
    check_fails(tn_adaptive_avg_pool2d(tn_ones(TN_SHAPE(2, 3, 0, 5)), 1, 1), TN_ERR_SHAPE, "nothing to average");
    check_fails(tn_adaptive_avg_pool1d(tn_ones(TN_SHAPE(2, 3, 5), .dtype = TN_I64), 2), TN_ERR_DTYPE, "int64");
    check_fails(tn_adaptive_avg_pool1d(tn_ones(TN_SHAPE(5)), 2), TN_ERR_SHAPE, "[n, c, l]");
    check_fails(tn_conv1d_new(0, 3, 3), TN_ERR_ARGUMENT, "conv1d_new: 0 channels in");
    check_fails(tn_conv1d_new(3, 4, 3, .groups = 3), TN_ERR_ARGUMENT, "conv1d_new: 3 groups divide both");
    check_fails(tn_conv_transpose2d_new(3, 3, 3, .dilation = 0), TN_ERR_ARGUMENT, "conv_transpose2d_new: dilations at least 1");
    check_fails(tn_max_pool1d_new(0), TN_ERR_ARGUMENT, "max_pool1d: the kernel is 1x0: must be given");
    check_fails(tn_call(tn_adopt(tn_conv1d_new(4, 3, 3)), x), TN_ERR_SHAPE, "conv1d: [2, 3, 5] 4 channels");
}

/* 16-bit floats are computed in f32: the result is that of f32, rounded once. */
static void test_half(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(3);
    tn_tensor *x = tn_cast(tn_randn(TN_SHAPE(2, 3, 5, 7)), TN_BF16), *w = tn_cast(tn_randn(TN_SHAPE(3, 4, 3, 3)), TN_BF16);
    tn_tensor *exact = tn_conv_transpose2d(tn_cast(x, TN_F32), tn_cast(w, TN_F32), .stride = 2);
    assert_true(tn_equal(tn_conv_transpose2d(x, w, .stride = 2), tn_cast(exact, TN_BF16)));
    assert_true(tn_equal(tn_adaptive_avg_pool2d(x, 3, 2), tn_cast(tn_adaptive_avg_pool2d(tn_cast(x, TN_F32), 3, 2), TN_BF16)));
    check_good();
}

/* PyTorch's law: both uniform on one bound, which samples of 4096 come near to and do not pass. */
static void test_initial(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(1);
    struct { tn_module *layer; double fan; } of[] = {{tn_conv1d_new(16, 64, 4), 64}, {tn_conv_transpose1d_new(16, 64, 4), 256},
                                                     {tn_conv_transpose2d_new(16, 64, 2, .groups = 4), 64}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        double bound = 1 / sqrt(of[i].fan);
        const tn_tensor *weight = tn_parameter(of[i].layer, "weight");
        double top = tn_item(tn_amax(tn_abs(tn_parameter(of[i].layer, "weight")))), bias = tn_item(tn_amax(tn_abs(tn_parameter(of[i].layer, "bias"))));
        assert_true(tn_numel(weight) >= 1024 && top <= bound && top > 0.98 * bound && bias <= bound && bias > 0.8 * bound);
        tn_release(of[i].layer);
    }
    check_good();
}

static void test_described(void **state)
{
    (void)state;
    TN_SCOPE;
    char text[1024];
    tn_module *net = tn_sequential_new(tn_conv1d_new(3, 4, 5, .padding = 2), tn_conv_transpose1d_new(4, 2, 3, .stride = 2, .bias = false),
                                       tn_max_pool1d_new(2), tn_adaptive_avg_pool1d_new(3));
    assert_true(tn_format_summary(net, tn_ones(TN_SHAPE(2, 3, 8)), text, sizeof text));
    const char *const lines[] = {"conv1d(3, 4, kernel=5, stride=1, padding=2)", "conv_transpose1d(4, 2, kernel=3, stride=2, padding=0, bias=False)",
                                 "max_pool1d(kernel=2, stride=2, padding=0)", "adaptive_avg_pool1d(size=3)", "[2, 2, 3]"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(text, lines[i]))
            fail_msg("no \"%s\" in\n%s", lines[i], text);
    tn_release(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {LAYER_TABLE_TESTS, TEST(test_errors), TEST(test_half), TEST(test_initial), TEST(test_described)};
    return layer_table_load("windows", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
