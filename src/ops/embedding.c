/* Rows of a table: a walk of gathering, whose gradient scatters and leaves out the padding. */
#include <tenon/ops.h>

#include "autograd/node.h"
#include "ops/create.h"
#include "ops/index.h"

typedef struct embedding_attr {
    int64_t padding; /* the row, or -1 */
    int64_t rows, dim;
} embedding_attr;

/* index [...] walks the rows, the result's last dim walks the table's. */
static tn_walk walk_of(tn_tensor *index, int64_t dim)
{
    tn_walk walk = {.op = "embedding", .count = 1, .index = {index}, .dim = {0}, .shape = tn_shape_of(index)};
    for (int d = 0; d < index->ndim; d++) {
        walk.walk[d] = -1;
        walk.along[d] = (int8_t)d;
    }
    walk.walk[index->ndim] = 1;
    walk.along[index->ndim] = -1;
    walk.shape.sizes[walk.shape.ndim++] = dim;
    return walk;
}

static void embedding_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const embedding_attr *attr = tn_node_attr(node);
    tn_tensor *index = tn_node_saved(node, 0), *g = dy[0];
    if (tn_failing())
        return;
    if (attr->padding >= 0)
        g = tn_masked_fill(g, tn_unsqueeze(tn_eq(index, tn_scalar_i64(attr->padding)), -1), 0);
    tn_walk walk = walk_of(index, attr->dim);
    tn_tensor *zeros = g ? tn_zeros_of("embedding", TN_SHAPE(attr->rows, attr->dim), g) : NULL;
    dx[0] = zeros ? tn_walk_scatter(zeros, &walk, g, true) : NULL;
}

tn_tensor *tn_embedding_with(const tn_embedding_args *args)
{
    TN_KNOWN(tn_embedding_args, args);
    tn_tensor *weight = args->weight, *index = args->index;
    if (!tn_ready("embedding", "index", index) || !tn_ready("embedding", "weight", weight))
        return NULL;
    if (weight->ndim != 2 || index->ndim >= TN_MAX_DIMS)
        return tn_fail(TN_ERR_SHAPE, "embedding: weight is %s and index is %s: weight must be [rows, dim], and index have at most %d dims",
                       tn_text(weight), tn_text(index), TN_MAX_DIMS - 1);
    embedding_attr attr = {.padding = -1, .rows = weight->sizes[0], .dim = weight->sizes[1]};
    if (args->padding_idx != TN_NO_PADDING) {
        attr.padding = args->padding_idx + (args->padding_idx < 0 ? attr.rows : 0);
        if (attr.padding < 0 || attr.padding >= attr.rows)
            return tn_fail(TN_ERR_INDEX, "embedding: padding_idx is %lld, and weight has %lld rows", (long long)args->padding_idx,
                           (long long)attr.rows);
    }
    TN_SCOPE;
    index = tn_walk_index("embedding", weight, index);
    if (!index)
        return NULL;
    tn_walk walk = walk_of(index, attr.dim);
    tn_grad_mode mode = tn_grad_mode_set(false); /* the walk's own node knows no padding */
    tn_tensor *y = tn_walk_gather(weight, &walk);
    tn_grad_mode_restore(&mode);
    return tn_pass(tn_record(y, "embedding", embedding_backward, TN_INPUTS(weight), TN_SAVED(index), TN_ATTR(attr)));
}
