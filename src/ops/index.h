/* The one walk behind gathering, scattering and indexing by tensors. */
#ifndef TN_OPS_INDEX_H
#define TN_OPS_INDEX_H

#include "core/core.h"

/* A walk over the places of `shape`. At each, the indexed tensor is read or written where its dims in `walk` stand at the walk's own place,
 * and its dims in `dim` at what the index tensors say, which are i64, contiguous, of one shape, and are themselves walked by `along`. */
typedef struct tn_walk {
    const char *op;
    int count; /* index tensors */
    tn_tensor *index[TN_MAX_DIMS];
    int dim[TN_MAX_DIMS];
    tn_shape shape;
    int8_t walk[TN_MAX_DIMS];  /* the indexed tensor's dim for each of the shape's, or -1 */
    int8_t along[TN_MAX_DIMS]; /* the index tensors' dim for each of the shape's, or -1 */
    bool wrap;                 /* negative indices count from the end */
} tn_walk;

/* What x has at the places: a new tensor of the walk's shape. */
tn_tensor *tn_walk_gather(tn_tensor *x, const tn_walk *walk);
/* x with values (broadcast and cast) put at the places or added to them, in place; x, or NULL. */
tn_tensor *tn_walk_scatter(tn_tensor *x, const tn_walk *walk, tn_tensor *values, bool add);
/* index as contiguous i64 for a walk, the scope's; NULL with an error where it is no tensor of integers on x's device. */
tn_tensor *tn_walk_index(const char *op, const tn_tensor *x, tn_tensor *index);
/* Where mask (bool) is true, as flat positions: i64 [count]. */
tn_tensor *tn_true_positions(const char *op, tn_tensor *mask);

#endif
