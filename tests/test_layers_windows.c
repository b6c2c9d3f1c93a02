#include "layer_table.h"

static tn_pair pair(const op_args *args, const char *name, int64_t missing)
{
    tn_shape s = op_shape(args, name);
    return s.ndim == 2 ? (tn_pair){s.sizes[0], s.sizes[1]} : s.ndim == 1 ? (tn_pair){s.sizes[0], s.sizes[0]} : (tn_pair){missing, missing};
}
static bool said_or_true(const op_args *args, const char *name) { return !op_has(args, name) || op_flag(args, name); }

#define WINDOWS(X)                                                                                                            \
    X(linear, NULL, tn_linear_new(pair(args, "features", 0).h, pair(args, "features", 0).w, .bias = said_or_true(args, "bias"))) \
    X(conv2d, NULL, tn_conv2d_new(pair(args, "channels", 0).h, pair(args, "channels", 0).w, 0, .kernel_hw = pair(args, "kernel", 0),   \
                                  .stride_hw = pair(args, "stride", 1), .padding_hw = pair(args, "padding", 0),               \
                                  .dilation_hw = pair(args, "dilation", 1), .groups = op_int(args, "groups", 1),              \
                                  .bias = said_or_true(args, "bias")))
LAYER_TABLE(rows, WINDOWS);

int main(void)
{
    const struct CMUnitTest tests[] = {LAYER_TABLE_TESTS};
    return layer_table_load("windows", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
