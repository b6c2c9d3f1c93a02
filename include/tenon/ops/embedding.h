/* Tenon: rows of a table by their numbers. */
#ifndef TENON_OPS_EMBEDDING_H
#define TENON_OPS_EMBEDDING_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TN_NO_PADDING INT64_MIN

#define TN_EMBEDDING_OPTIONS(X) X(int64_t, padding_idx, TN_NO_PADDING) /* a row that gets no gradient; negative: from the end */
typedef struct tn_embedding_args { /* tn_embedding(index, weight, .padding_idx = 0) */
    size_t size TN_SIZE_(tn_embedding_args);
    TN_EMBEDDING_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *index TN_ZERO_, *weight TN_ZERO_;
} tn_embedding_args;
/* weight's rows at the indices: weight [rows, dim] and index [...], of any integer dtype, give [..., dim]. The gradient of a row is the sum
 * over its places. TN_ERR_INDEX on an index, or a padding_idx, that weight has no row for; TN_ERR_DTYPE on one that is no integer. */
TN_API tn_tensor *tn_embedding_with(const tn_embedding_args *args);

#ifdef __cplusplus
}
#endif

#endif
