/* Tenon: recurrent layers, their cells, and packed sequences. nn.h takes this in. Weights are float32 or float64. */
#ifndef TENON_NN_RECURRENT_H
#define TENON_NN_RECURRENT_H

#include <tenon/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- layers over sequences ---------------------------------------------------------------------------------------------- */

/* Layers over x [steps, batch, input_size] ([batch, steps, input_size] with .batch_first; without the batch for one sequence). y is
 * [steps, batch, d hidden_size], the last layer's h of every step, d = 2 with .bidirectional, the forward half first.
 *
 *     tn_module *gru = tn_gru_new(1, 32, .batch_first = true);
 *     tn_tensor *h_n, *y = tn_call_recurrent(gru, x, .h_n = &h_n);      tn_call(gru, x) where y is enough
 *
 * Parameters are PyTorch's: weight_ih_l0 [gates hidden_size, input_size], weight_hh_l0 [gates hidden_size, hidden_size], bias_ih_l0 and
 * bias_hh_l0 [gates hidden_size], the same with _reverse, then _l1, ...; all uniform on ±1/√hidden_size. Gates in them are in the order
 * i f g o (LSTM) and r z n (GRU). Layers after the first take the former's y, on which .dropout works while training. */
#define TN_RECURRENT_OPTIONS(X)                                                                                               \
    X(int, num_layers, 1)                                                                                                     \
    X(bool, bias, true)                                                                                                       \
    X(bool, batch_first, false)                                                                                               \
    X(double, dropout, 0)                                                                                                     \
    X(bool, bidirectional, false)                                                                                             \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
#define TN_LSTM_OPTIONS(X) X(int64_t, proj_size, 0) /* of h, less than hidden_size; 0: hidden_size */
typedef struct tn_lstm_layer_args { /* tn_lstm_new(input_size, hidden_size, .num_layers = 2) */
    size_t size TN_SIZE_(tn_lstm_layer_args);
    TN_RECURRENT_OPTIONS(TN_FIELD_)
    TN_LSTM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t input_size TN_ZERO_, hidden_size TN_ZERO_;
} tn_lstm_layer_args;
/* i, f, o = σ(gates), g = tanh(gate); c = f c + i g; h = o tanh(c). With .proj_size (Sak et al. 2014) h = W_hr (o tanh(c)), after the biases the
 * parameter weight_hr_l0 [proj_size, hidden_size]: y, h0 and h_n then have proj_size where they have hidden_size else, as weight_hh has columns;
 * a step is made of several operators, not by one kernel. */
TN_API tn_module *tn_lstm_new_with(const tn_lstm_layer_args *args);

typedef struct tn_gru_layer_args { /* tn_gru_new(input_size, hidden_size, .bidirectional = true) */
    size_t size TN_SIZE_(tn_gru_layer_args);
    TN_RECURRENT_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t input_size TN_ZERO_, hidden_size TN_ZERO_;
} tn_gru_layer_args;
/* r, z = σ(gates); n = tanh(W_in x + b_in + r (W_hn h + b_hn)); h = (1 - z) n + z h. */
TN_API tn_module *tn_gru_new_with(const tn_gru_layer_args *args);

typedef enum tn_rnn_nonlinearity { TN_RNN_TANH, TN_RNN_RELU } tn_rnn_nonlinearity;
#define TN_RNN_OPTIONS(X) X(tn_rnn_nonlinearity, nonlinearity, TN_RNN_TANH)
typedef struct tn_rnn_layer_args { /* tn_rnn_new(input_size, hidden_size, .nonlinearity = TN_RNN_RELU) */
    size_t size TN_SIZE_(tn_rnn_layer_args);
    TN_RECURRENT_OPTIONS(TN_FIELD_)
    TN_RNN_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t input_size TN_ZERO_, hidden_size TN_ZERO_;
} tn_rnn_layer_args;
/* h = tanh(W_ih x + b_ih + W_hh h + b_hh), or ReLU. */
TN_API tn_module *tn_rnn_new_with(const tn_rnn_layer_args *args);

/* States are [d num_layers, batch, hidden_size] (h of an LSTM with .proj_size has that; without the batch for one sequence): layer 0, layer 0
 * reverse, layer 1, ... */
#define TN_RECURRENT_CALL_OPTIONS(X)                                                                                          \
    X(tn_tensor *, h0, NULL)   /* the first state; NULL: zeros */                                                             \
    X(tn_tensor *, c0, NULL)   /* of an LSTM, both or neither */                                                              \
    X(tn_tensor **, h_n, NULL) /* where the last state goes; NULL: not wanted */                                              \
    X(tn_tensor **, c_n, NULL)
typedef struct tn_recurrent_call_args {
    size_t size TN_SIZE_(tn_recurrent_call_args);
    TN_RECURRENT_CALL_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    void *module TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_recurrent_call_args;
/* y, as tn_call() gives it, with states. As a module an LSTM takes the tensors x, h0, c0 and gives y, h_n, c_n, a cell gives h, c; others
 * are without c. Inputs may be left off at the end, and all but x may be NULL. */
TN_API tn_tensor *tn_call_recurrent_with(const tn_recurrent_call_args *args);

/* ---- cells: one step ---------------------------------------------------------------------------------------------------- */

/* x [batch, input_size] and the state [batch, hidden_size] (both without the batch for one) to the next state: tn_call(cell, x, h), of an
 * LSTM tn_call_recurrent(cell, x, .h0 = h, .c0 = c, .c_n = &c). Parameters weight_ih, weight_hh, bias_ih, bias_hh as above. */
#define TN_CELL_OPTIONS(X)                                                                                                    \
    X(bool, bias, true)                                                                                                       \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_cell_args { /* tn_gru_cell_new(input_size, hidden_size) */
    size_t size TN_SIZE_(tn_cell_args);
    TN_CELL_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t input_size TN_ZERO_, hidden_size TN_ZERO_;
} tn_cell_args;
TN_API tn_module *tn_lstm_cell_new_with(const tn_cell_args *args);
TN_API tn_module *tn_gru_cell_new_with(const tn_cell_args *args);
typedef struct tn_rnn_cell_args { /* tn_rnn_cell_new(input_size, hidden_size, .nonlinearity = TN_RNN_RELU) */
    size_t size TN_SIZE_(tn_rnn_cell_args);
    TN_CELL_OPTIONS(TN_FIELD_)
    TN_RNN_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t input_size TN_ZERO_, hidden_size TN_ZERO_;
} tn_rnn_cell_args;
TN_API tn_module *tn_rnn_cell_new_with(const tn_rnn_cell_args *args);

/* ---- packed sequences: of unequal lengths, without the padding ---------------------------------------------------------- */

/* A counted object: tn_keep(), tn_release() and scopes work on it. data has the rows of step 0 of all sequences, the longest first, then
 * those of step 1, ...; step t has batch_sizes[t] of them. All but data are i64. */
typedef struct tn_packed_sequence {
    tn_object object;
    tn_tensor *data;             /* [sum of lengths, ...] */
    tn_tensor *batch_sizes;      /* [longest length] */
    tn_tensor *sorted_indices;   /* [batch]: which sequence lies at each place; NULL: they were in order */
    tn_tensor *unsorted_indices; /* [batch]: at which place each sequence lies; NULL likewise */
} tn_packed_sequence;

#define TN_PACK_OPTIONS(X)                                                                                                    \
    X(bool, batch_first, false)                                                                                               \
    X(bool, enforce_sorted, true) /* lengths must fall; with false any order, which padding again brings back */
typedef struct tn_pack_args { /* tn_pack_padded_sequence(x, lengths, .batch_first = true) */
    size_t size TN_SIZE_(tn_pack_args);
    TN_PACK_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *lengths TN_ZERO_;
} tn_pack_args;
/* x [steps, batch, ...] of which sequence b counts up to lengths[b], an integer tensor [batch] of lengths from 1 to steps; the scope's. */
TN_API tn_packed_sequence *tn_pack_padded_sequence_with(const tn_pack_args *args);

#define TN_PAD_PACKED_OPTIONS(X)                                                                                              \
    X(bool, batch_first, false)                                                                                               \
    X(double, padding_value, 0)                                                                                               \
    X(int64_t, total_length, 0)    /* steps of the result, at least the longest length; 0: that */                            \
    X(tn_tensor **, lengths, NULL) /* where the lengths go, i64 [batch]; NULL: not wanted */
typedef struct tn_pad_packed_args { /* tn_pad_packed_sequence(packed, .batch_first = true, .lengths = &lengths) */
    size_t size TN_SIZE_(tn_pad_packed_args);
    TN_PAD_PACKED_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_packed_sequence *packed TN_ZERO_;
} tn_pad_packed_args;
/* The way back: [steps, batch, ...], the sequences in the order in which they were packed. */
TN_API tn_tensor *tn_pad_packed_sequence_with(const tn_pad_packed_args *args);

typedef struct tn_packed_call_args {
    size_t size TN_SIZE_(tn_packed_call_args);
    TN_RECURRENT_CALL_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    void *module TN_ZERO_;
    tn_packed_sequence *x TN_ZERO_;
} tn_packed_call_args;
/* tn_call_packed(lstm, packed, .h_n = &h_n): a layer over packed sequences gives packed y. States are in the order in which the sequences
 * were packed; h_n is each one's at its own last step. */
TN_API tn_packed_sequence *tn_call_packed_with(const tn_packed_call_args *args);

#ifdef __cplusplus
}
#endif

#endif
