#include "op_table.h"

static tn_pair pair(const op_args *args, const char *name, int64_t missing)
{
    tn_shape s = op_shape(args, name);
    return s.ndim == 2 ? (tn_pair){s.sizes[0], s.sizes[1]} : s.ndim == 1 ? (tn_pair){s.sizes[0], s.sizes[0]} : (tn_pair){missing, missing};
}

#define CONV(X)                                                                                                               \
    X(conv2d, tn_conv2d(in[0], in[1], args->count > 2 ? in[2] : NULL, .stride_hw = pair(args, "stride", 1),                   \
                        .padding_hw = pair(args, "padding", 0), .dilation_hw = pair(args, "dilation", 1),                     \
                        .groups = op_int(args, "groups", 1),                                                                  \
                        .activation = op_flag(args, "relu") ? TN_ACTIVATION_RELU : TN_ACTIVATION_NONE))                       \
    X(conv1d, tn_conv1d(in[0], in[1], args->count > 2 ? in[2] : NULL, .stride = op_int(args, "stride", 1),                    \
                        .padding = op_int(args, "padding", 0), .dilation = op_int(args, "dilation", 1),                       \
                        .groups = op_int(args, "groups", 1)))                                                                 \
    X(max_pool2d, tn_max_pool2d(in[0], op_int(args, "kernel", 0), .stride = op_int(args, "stride", 0),                        \
                                .padding = op_int(args, "padding", 0), .dilation = op_int(args, "dilation", 1),               \
                                .ceil_mode = op_flag(args, "ceil_mode"), .indices = &out[1]))                                 \
    X(max_pool1d, tn_max_pool1d(in[0], op_int(args, "kernel", 0), .stride = op_int(args, "stride", 0),                        \
                                .padding = op_int(args, "padding", 0), .dilation = op_int(args, "dilation", 1),               \
                                .ceil_mode = op_flag(args, "ceil_mode"), .indices = &out[1]))                                 \
    X(avg_pool2d, tn_avg_pool2d(in[0], op_int(args, "kernel", 0), .stride = op_int(args, "stride", 0),                        \
                                .padding = op_int(args, "padding", 0), .ceil_mode = op_flag(args, "ceil_mode"),               \
                                .count_include_pad = !op_flag(args, "exclude_pad"), .divisor_override = op_int(args, "divisor", 0)))   \
    X(avg_pool1d, tn_avg_pool1d(in[0], op_int(args, "kernel", 0), .stride = op_int(args, "stride", 0),                        \
                                .padding = op_int(args, "padding", 0), .ceil_mode = op_flag(args, "ceil_mode"),               \
                                .count_include_pad = !op_flag(args, "exclude_pad")))                                          \
    X(unfold1d, tn_unfold1d(in[0], op_int(args, "kernel", 0), .stride = op_int(args, "stride", 1),                            \
                            .padding = op_int(args, "padding", 0), .dilation = op_int(args, "dilation", 1)))                  \
    X(fold1d, tn_fold1d(in[0], op_int(args, "length", 0), op_int(args, "kernel", 0), .stride = op_int(args, "stride", 1),     \
                        .padding = op_int(args, "padding", 0), .dilation = op_int(args, "dilation", 1)))                      \
    X(unfold, tn_unfold(in[0], op_int(args, "kernel", 0), .stride = op_int(args, "stride", 1),                                \
                        .padding = op_int(args, "padding", 0), .dilation = op_int(args, "dilation", 1)))                      \
    X(fold, tn_fold(in[0], pair(args, "size", 0).h, pair(args, "size", 0).w, op_int(args, "kernel", 0),                       \
                    .stride = op_int(args, "stride", 1), .padding = op_int(args, "padding", 0),                               \
                    .dilation = op_int(args, "dilation", 1)))
OP_TABLE(rows, CONV);

int main(void)
{
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS};
    return op_table_load("conv", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
