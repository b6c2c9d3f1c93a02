/* Tenon: the embedding layer. */
#ifndef TENON_NN_EMBEDDING_H
#define TENON_NN_EMBEDDING_H

#include <tenon/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of a table by their numbers: index [...] of integers to [..., dim]. Parameter weight [rows, dim], standard normal but for the row
 * .padding_idx, which begins as zeros and stays as it is. tn_embedding_new(rows, dim, .padding_idx = 0). With .max_norm a call first scales
 * those of its rows down, in the table itself, of which the norm is greater: a call may write then, what else uses the table comes after it. */
#define TN_EMBEDDING_LAYER_OPTIONS(X)                                                                                         \
    X(int64_t, padding_idx, TN_NO_PADDING)                                                                                    \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)                                                                                      \
    X(double, max_norm, 0) /* above 0; 0: none */                                                                             \
    X(double, norm_type, 2) /* the p of the norm, as of tn_norm() */
typedef struct tn_embedding_layer_args {
    size_t size TN_SIZE_(tn_embedding_layer_args);
    TN_EMBEDDING_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t rows TN_ZERO_, dim TN_ZERO_;
} tn_embedding_layer_args;
TN_API tn_module *tn_embedding_new_with(const tn_embedding_layer_args *args);

#ifdef __cplusplus
}
#endif

#endif
