#include "layer_table.h"

/* ---- against PyTorch's modules ------------------------------------------------------------------------------------------ */

#define SIZES op_shape(args, "sizes").sizes[0], op_shape(args, "sizes").sizes[1]
#define BIAS .bias = !op_has(args, "bias") || op_flag(args, "bias")
#define RELU .nonlinearity = op_text(args, "nonlinearity", "tanh")[0] == 'r' ? TN_RNN_RELU : TN_RNN_TANH
#define OPTIONS                                                                                                               \
    BIAS, .num_layers = (int)op_int(args, "num_layers", 1), .batch_first = op_flag(args, "batch_first"),                      \
          .dropout = op_number(args, "dropout", 0), .bidirectional = op_flag(args, "bidirectional")

static tn_tensor *input(tn_tensor *const *in, const op_args *args, int i) { return i < args->count ? in[i] : NULL; }

static tn_status call_layer(void *module, tn_tensor *const *in, const op_args *args, tn_tensor **out, int n_out)
{
    out[0] = tn_call_recurrent(module, in[0], .h0 = input(in, args, 1), .c0 = input(in, args, 2), .h_n = &out[1], .c_n = n_out > 2 ? &out[2] : NULL);
    return tn_last_status();
}

static tn_status call_packed(void *module, tn_tensor *const *in, const op_args *args, tn_tensor **out, int n_out)
{
    bool batch_first = op_flag(args, "batch_first");
    tn_packed_sequence *x = tn_pack_padded_sequence(in[0], in[1], .batch_first = batch_first,
                                                    .enforce_sorted = !op_has(args, "enforce_sorted") || op_flag(args, "enforce_sorted"));
    tn_packed_sequence *y = tn_call_packed(module, x, .h0 = input(in, args, 2), .c0 = input(in, args, 3), .h_n = &out[1],
                                           .c_n = n_out > 3 ? &out[2] : NULL);
    out[0] = tn_pad_packed_sequence(y, .batch_first = batch_first, .padding_value = op_number(args, "padding", 0),
                                    .total_length = op_int(args, "total", 0), .lengths = &out[n_out - 1]);
    return tn_last_status();
}

#define RECURRENT(X)                                                                                                          \
    X(rnn, call_layer, tn_rnn_new(SIZES, OPTIONS, RELU))                                                                      \
    X(lstm, call_layer, tn_lstm_new(SIZES, OPTIONS, .proj_size = op_int(args, "proj_size", 0)))                               \
    X(gru, call_layer, tn_gru_new(SIZES, OPTIONS))                                                                            \
    X(packed_rnn, call_packed, tn_rnn_new(SIZES, OPTIONS))                                                                    \
    X(packed_lstm, call_packed, tn_lstm_new(SIZES, OPTIONS, .proj_size = op_int(args, "proj_size", 0)))                       \
    X(packed_gru, call_packed, tn_gru_new(SIZES, OPTIONS))                                                                    \
    X(rnn_cell, NULL, tn_rnn_cell_new(SIZES, BIAS, RELU))                                                                     \
    X(lstm_cell, NULL, tn_lstm_cell_new(SIZES, BIAS))                                                                         \
    X(gru_cell, NULL, tn_gru_cell_new(SIZES, BIAS))
LAYER_TABLE(rows, RECURRENT);

int main(void)
{
    const struct CMUnitTest tests[] = {LAYER_TABLE_TESTS};
    return layer_table_load("recurrent", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
