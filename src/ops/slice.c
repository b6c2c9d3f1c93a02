/* Slices: views of every so many places, their adjoint, splitting. */
#include <tenon/ops.h>

#include "autograd/node.h"
#include "ops/create.h"
#include "ops/shape.h"

/* ---- a slice and its adjoint --------------------------------------------------------------------------------------------- */

tn_slice tn_slice_of(const tn_tensor *x)
{
    tn_slice slice = {.whole = tn_shape_of(x)};
    for (int d = 0; d < x->ndim; d++) {
        slice.step[d] = 1;
        slice.size[d] = x->sizes[d];
    }
    return slice;
}

tn_tensor tn_slice_raw(const tn_tensor *x, const tn_slice *slice)
{
    tn_tensor part = *x;
    part.flags = 0;
    part.numel = 1;
    for (int d = 0; d < x->ndim; d++) {
        part.offset += slice->start[d] * x->strides[d];
        part.strides[d] = slice->step[d] * x->strides[d];
        part.sizes[d] = slice->size[d];
        part.numel *= slice->size[d];
    }
    return part;
}

static void slice_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_slice_embed(dy[0], tn_node_attr(node));
}

/* The strides of dims of size 1 count for nothing, so that each dim of the shape finds its own among the others. */
tn_tensor *tn_slice_view(const char *name, tn_tensor *x, const tn_slice *slice, tn_shape shape)
{
    tn_tensor part = tn_slice_raw(x, slice);
    int64_t strides[TN_MAX_DIMS];
    for (int to = 0, from = 0; to < shape.ndim; to++) {
        strides[to] = 1;
        if (shape.sizes[to] == 1)
            continue;
        while (part.sizes[from] == 1)
            from++;
        strides[to] = part.strides[from++];
    }
    tn_tensor *y = tn_view_of(x, shape.ndim, shape.sizes, strides, part.offset);
    return tn_record(y, name, slice_backward, TN_INPUTS(x), TN_NO_SAVED, slice, sizeof *slice);
}

typedef struct embed_attr {
    tn_slice slice;
    tn_shape shape;
} embed_attr;

static void embed_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const embed_attr *attr = tn_node_attr(node);
    dx[0] = tn_slice_view("slice", dy[0], &attr->slice, attr->shape);
}

tn_tensor *tn_slice_embed(tn_tensor *x, const tn_slice *slice)
{
    if (!tn_ready("embed", "x", x))
        return NULL;
    embed_attr attr = {*slice, tn_shape_of(x)};
    tn_tensor *y = tn_zeros_of("embed", slice->whole, x);
    if (!y)
        return NULL;
    tn_tensor part = tn_slice_raw(y, slice), from = *x; /* from: x with the slice's own dims */
    from.ndim = part.ndim;
    from.flags = 0;
    for (int to = 0, d = 0; to < part.ndim; to++) {
        from.sizes[to] = part.sizes[to];
        from.strides[to] = 0;
        if (part.sizes[to] == 1)
            continue;
        while (x->sizes[d] == 1)
            d++;
        from.strides[to] = x->strides[d++];
    }
    if (!tn_copy_raw(&part, &from))
        return NULL;
    return tn_record(y, "embed", embed_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(attr));
}

/* ---- narrow and select -------------------------------------------------------------------------------------------------- */

static tn_tensor *narrowed(const char *name, tn_tensor *x, int d, int64_t start, int64_t length)
{
    tn_slice slice = tn_slice_of(x);
    tn_shape shape = tn_shape_of(x);
    slice.start[d] = start;
    slice.size[d] = shape.sizes[d] = length;
    return tn_slice_view(name, x, &slice, shape);
}

tn_tensor *tn_narrow(tn_tensor *x, int dim, int64_t start, int64_t length)
{
    if (!tn_ready("narrow", "x", x))
        return NULL;
    int d = tn_wrap_dim("narrow", dim, x->ndim);
    if (d < 0)
        return NULL;
    if (x->ndim == 0)
        return tn_fail(TN_ERR_SHAPE, "narrow: x is a single element of rank 0: it has no dim to narrow");
    int64_t size = x->sizes[d], from = start < 0 ? start + size : start;
    if (from < 0 || from > size || length < 0 || length > size - from)
        return tn_fail(TN_ERR_INDEX, "narrow: start %lld and length %lld do not lie within dim %d of size %lld", (long long)start,
                       (long long)length, d, (long long)size);
    return narrowed("narrow", x, d, from, length);
}

tn_tensor *tn_select(tn_tensor *x, int dim, int64_t index)
{
    if (!tn_ready("select", "x", x))
        return NULL;
    int d = tn_wrap_dim("select", dim, x->ndim);
    if (d < 0)
        return NULL;
    if (x->ndim == 0)
        return tn_fail(TN_ERR_SHAPE, "select: x is a single element of rank 0: it has no dim to select from");
    int64_t size = x->sizes[d], at = index < 0 ? index + size : index;
    if (at < 0 || at >= size)
        return tn_fail(TN_ERR_INDEX, "select: index %lld is out of range for dim %d of size %lld", (long long)index, d, (long long)size);
    tn_slice slice = tn_slice_of(x);
    tn_shape shape = {.ndim = x->ndim - 1};
    for (int i = 0; i < shape.ndim; i++)
        shape.sizes[i] = x->sizes[i < d ? i : i + 1];
    slice.start[d] = at;
    slice.size[d] = 1;
    return tn_slice_view("select", x, &slice, shape);
}

/* ---- splitting ---------------------------------------------------------------------------------------------------------- */

static void split_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = tn_concat(dy, node->outputs, *(const int *)tn_node_attr(node));
}

/* One node for all pieces, so that their gradients are joined once. sizes has `count` numbers; NULL: `size` for all but the last. */
static int split_into(const char *name, tn_tensor *x, int d, int64_t size, const int64_t *sizes, int count, tn_tensor **out)
{
    int64_t at = 0, shape[TN_MAX_DIMS];
    int made = 0;
    for (int i = 0; i < x->ndim; i++)
        shape[i] = x->sizes[i];
    for (; made < count; made++, at += shape[d]) {
        shape[d] = sizes ? sizes[made] : size < x->sizes[d] - at ? size : x->sizes[d] - at;
        out[made] = tn_view_of(x, x->ndim, shape, x->strides, x->offset + at * x->strides[d]);
        if (!out[made])
            break;
    }
    if (made == count && tn_record_many(out, count, name, split_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(d)))
        return count;
    for (int i = 0; i < count; i++)
        out[i] = NULL;
    return 0;
}

/* The dim, or -1 with an error; out is cleared first, so that it holds NULLs after any error. */
static int split_dim(const char *name, const tn_tensor *x, int dim, tn_tensor **out, int max)
{
    for (int i = 0; i < max; i++)
        out[i] = NULL;
    if (!tn_ready(name, "x", x))
        return -1;
    int d = tn_wrap_dim(name, dim, x->ndim);
    if (d >= 0 && x->ndim == 0) {
        tn_fail(TN_ERR_SHAPE, "%s: x is a single element of rank 0: it has no dim to split", name);
        return -1;
    }
    return d;
}

/* Pieces of `size` places; a dim of size 0 makes one empty piece. */
static int split_by(const char *name, tn_tensor *x, int64_t size, int d, tn_tensor **out, int max)
{
    int64_t count = x->sizes[d] ? (x->sizes[d] - 1) / (size ? size : 1) + 1 : 1;
    if (size < 0 || (size == 0 && x->sizes[d] > 0)) {
        tn_fail(TN_ERR_ARGUMENT, "%s: pieces of size %lld: give a positive size", name, (long long)size);
        return 0;
    }
    if (count > max) {
        tn_fail(TN_ERR_ARGUMENT, "%s: dim %d of size %lld makes %lld pieces of %lld, and out has room for %d", name, d,
                (long long)x->sizes[d], (long long)count, (long long)size, max);
        return 0;
    }
    return split_into(name, x, d, size, NULL, (int)count, out);
}

int tn_split(tn_tensor *x, int64_t size, int dim, tn_tensor **out, int max)
{
    int d = split_dim("split", x, dim, out, max);
    return d < 0 ? 0 : split_by("split", x, size, d, out, max);
}

int tn_split_sizes(tn_tensor *x, const int64_t *sizes, int count, int dim, tn_tensor **out)
{
    int d = split_dim("split_sizes", x, dim, out, count);
    if (d < 0)
        return 0;
    int64_t sum = 0;
    bool good = count > 0;
    for (int i = 0; i < count; i++) {
        good = good && sizes[i] >= 0 && sizes[i] <= x->sizes[d] - sum;
        sum += good ? sizes[i] : 0;
    }
    if (!good || sum != x->sizes[d]) {
        tn_fail(TN_ERR_SHAPE, "split_sizes: the %d sizes must not be negative and must add up to the size %lld of dim %d", count,
                (long long)x->sizes[d], d);
        return 0;
    }
    return split_into("split_sizes", x, d, 0, sizes, count, out);
}

int tn_chunk(tn_tensor *x, int chunks, int dim, tn_tensor **out)
{
    int d = split_dim("chunk", x, dim, out, chunks);
    if (d < 0)
        return 0;
    if (chunks < 1) {
        tn_fail(TN_ERR_ARGUMENT, "chunk: %d chunks: give a positive number", chunks);
        return 0;
    }
    if (x->sizes[d] == 0) /* all of them, each empty */
        return split_into("chunk", x, d, 0, NULL, chunks, out);
    return split_by("chunk", x, (x->sizes[d] + chunks - 1) / chunks, d, out, chunks);
}

int tn_unbind(tn_tensor *x, int dim, tn_tensor **out, int max)
{
    int d = split_dim("unbind", x, dim, out, max);
    if (d < 0)
        return 0;
    int count = (int)x->sizes[d];
    if (count == 0) {
        tn_fail(TN_ERR_SHAPE, "unbind: x is %s: dim %d has no places", tn_text(x), d);
        return 0;
    }
    count = split_by("unbind", x, 1, d, out, max);
    for (int i = 0; i < count; i++)
        out[i] = tn_squeeze(out[i], d);
    return tn_failing() ? 0 : count;
}

/* numpy's splits: equal pieces. */
static int split_equal(const char *name, tn_tensor *x, int sections, int dim, tn_tensor **out)
{
    int d = split_dim(name, x, dim, out, sections);
    if (d < 0)
        return 0;
    if (sections < 1 || x->sizes[d] % sections) {
        tn_fail(TN_ERR_SHAPE, "%s: dim %d of %s has size %lld, which %d sections do not divide", name, d, tn_text(x),
                (long long)x->sizes[d], sections);
        return 0;
    }
    return split_into(name, x, d, x->sizes[d] / sections, NULL, sections, out);
}

int tn_vsplit(tn_tensor *x, int sections, tn_tensor **out) { return split_equal("vsplit", x, sections, 0, out); }
int tn_hsplit(tn_tensor *x, int sections, tn_tensor **out) { return split_equal("hsplit", x, sections, x && x->ndim == 1 ? 0 : 1, out); }
int tn_dsplit(tn_tensor *x, int sections, tn_tensor **out) { return split_equal("dsplit", x, sections, 2, out); }
