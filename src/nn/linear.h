/* The linear layer's struct, which lora.c adds to. */
#ifndef TN_NN_LINEAR_H
#define TN_NN_LINEAR_H

#include "nn/layer.h"

typedef struct linear {
    tn_module base;
    tn_tensor *weight, *bias; /* [out, in], [out] or NULL */
    tn_activation activation;
    tn_tensor *lora_A, *lora_B; /* [rank, in], [out, rank], or NULL */
    double lora_scale;
} linear;
extern const tn_module_type *const tn_linear_type;

/* What the low-rank matrices add to the product with x. */
tn_tensor *tn_lora_part(const linear *self, tn_tensor *x);
/* What tn_state_dict() would give after tn_merge_lora(), without lora_A and lora_B: weights that have them are new, all else is shared. The scope's. */
tn_dict *tn_state_dict_merged(tn_module *module);

#endif
