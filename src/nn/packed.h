/* Packed sequences. */
#ifndef TN_PACKED_H
#define TN_PACKED_H

#include <tenon/nn.h>

/* Whether a sequence that a caller may have made is whole: what it has, not whether batch_sizes fit data. False with an error. */
bool tn_packed_sequence_check(const char *op, const tn_packed_sequence *packed);
/* One of the scope's that shares the tensors (order may be NULL, both); NULL where data is NULL. */
tn_packed_sequence *tn_packed_sequence_of(tn_tensor *data, tn_tensor *batch_sizes, tn_tensor *sorted, tn_tensor *unsorted);

#endif
