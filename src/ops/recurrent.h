/* A recurrent layer over sequences, in one direction: one operator and one node for all its steps. What the modules of src/nn/recurrent.c
 * are made of. */
#ifndef TN_OPS_RECURRENT_H
#define TN_OPS_RECURRENT_H

#include "core/core.h"
#include "kernels/kernels.h"

typedef struct tn_recurrence {
    const char *op; /* for messages: "lstm" */
    tn_rnn_kind kind;
    bool reverse;
    tn_tensor *x;     /* [steps, batch, in], or [rows, in]: all sequences' step 0, then step 1, ..., the longest sequence first (kernels.h) */
    tn_tensor *first; /* i64 [steps + 1]: the row where each step begins; contiguous, made by the library */
    tn_tensor *h, *c; /* [batch, hidden], NULL: zeros; c of an LSTM, which may have h [batch, proj] */
    tn_tensor *w_ih, *w_hh, *b_ih, *b_hh; /* [gates hidden, in], [gates hidden, hidden or proj], [gates hidden] both or neither NULL */
    tn_tensor *w_hr;                      /* [proj, hidden] of an LSTM whose h it makes; NULL: none */
} tn_recurrence;

/* y, like x with hidden or proj elements; *h and *c become the last states, shaped as the first, c of an LSTM. float32 and float64. All are the
 * scope's; NULL on error: x or a state that does not fit the weights, dtypes or devices that differ. */
tn_tensor *tn_recur(const tn_recurrence *layer, tn_tensor **h, tn_tensor **c);

#endif
