/* What reading and writing llama2.c's checkpoints share. */
#ifndef TN_MODELS_WEIGHTS_LLAMA2_H
#define TN_MODELS_WEIGHTS_LLAMA2_H

#include "models/weights.h"

enum { TN_LLAMA2_HEADER0 = 28, TN_LLAMA2_HEADER = 256, TN_LLAMA2_MAGIC = 0x616b3432, TN_LLAMA2_KINDS = 12 };
/* In which order the weights stand, all layers of a kind together: in version 0, and in 1 and 2. */
extern const tn_weight_kind tn_llama2_order0[TN_LLAMA2_KINDS], tn_llama2_order1[TN_LLAMA2_KINDS];
static inline bool tn_llama2_in_layer(tn_weight_kind kind) { return kind != TN_WEIGHT_EMBED && kind != TN_WEIGHT_NORM && kind != TN_WEIGHT_LM_HEAD; }

#endif
