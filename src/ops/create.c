/* Creation: empty, zeros, ones, full, ranges, eye, copies of the caller's numbers, one_hot, tril, triu. */
#include "ops/create.h"

#include <math.h>
#include <string.h>

#include <tenon/ops.h>

#include "autograd/node.h"
#include "core/loop.h"

tn_tensor *tn_create(const char *op, tn_shape shape, tn_dtype dtype, const tn_device_id *device, bool requires_grad)
{
    if (tn_failing())
        return NULL;
    dtype = tn_dtype_or_default(dtype);
    if ((unsigned)dtype >= TN_DTYPE_COUNT)
        return tn_fail(TN_ERR_DTYPE, "%s: dtype %d is unknown", op, (int)dtype);
    if (requires_grad && !tn_dtype_is_float(dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: only floating tensors can require a gradient, and this is %s", op, tn_dtype_name(dtype));
    tn_tensor *x = tn_new(op, shape, dtype, tn_device_or_default(device));
    if (x && requires_grad)
        x->flags |= TN_FLAG_REQUIRES_GRAD;
    return x;
}

tn_tensor *tn_create_like(const char *op, const tn_like_args *args)
{
    const tn_tensor *x = args->x;
    if (!tn_ready(op, "x", x))
        return NULL;
    return tn_create(op, tn_shape_of(x), args->dtype == TN_DTYPE_DEFAULT ? (tn_dtype)x->dtype : args->dtype,
                     args->device ? args->device : &x->storage->device, args->requires_grad);
}

bool tn_fill_raw(const tn_tensor *x, double value)
{
    tn_loop loop, one = {.ndim = 1, .operands = 2, .sizes = {1}};
    uint64_t element = 0;
    one.data[0] = (char *)&element;
    one.data[1] = (char *)&value;
    if (tn_kernels_of(TN_CPU)->cast((tn_dtype)x->dtype, TN_F64, &one) != TN_OK)
        return false;
    return !tn_loop_make(&loop, x, NULL, 0) || tn_kernels_for(x)->fill(tn_item_size(x), &element, &loop) == TN_OK;
}

bool tn_copy_raw(const tn_tensor *to, const tn_tensor *from)
{
    tn_loop loop;
    return !tn_loop_make(&loop, to, &from, 1) ||
           tn_kernels_for(to)->cast((tn_dtype)to->dtype, (tn_dtype)from->dtype, &loop) == TN_OK;
}

static tn_tensor *filled(tn_tensor *x, double value) { return x && tn_fill_raw(x, value) ? x : NULL; }

tn_tensor *tn_zeros_of(const char *op, tn_shape shape, const tn_tensor *like)
{
    return filled(tn_new(op, shape, (tn_dtype)like->dtype, like->storage->device), 0);
}

static tn_tensor *created(const char *op, const tn_shape_args *args)
{
    return tn_create(op, args->shape, args->dtype, args->device, args->requires_grad);
}

tn_tensor *tn_empty_with(const tn_shape_args *args)
{
    TN_KNOWN(tn_shape_args, args);
    return created("empty", args);
}
tn_tensor *tn_zeros_with(const tn_shape_args *args)
{
    TN_KNOWN(tn_shape_args, args);
    return filled(created("zeros", args), 0);
}
tn_tensor *tn_ones_with(const tn_shape_args *args)
{
    TN_KNOWN(tn_shape_args, args);
    return filled(created("ones", args), 1);
}
tn_tensor *tn_full_with(const tn_shape_args *args)
{
    TN_KNOWN(tn_shape_args, args);
    return tn_number_fits("full", args->value, tn_dtype_or_default(args->dtype)) ? filled(created("full", args), args->value) : NULL;
}
tn_tensor *tn_empty_like_with(const tn_like_args *args)
{
    TN_KNOWN(tn_like_args, args);
    return tn_create_like("empty_like", args);
}
tn_tensor *tn_zeros_like_with(const tn_like_args *args)
{
    TN_KNOWN(tn_like_args, args);
    return filled(tn_create_like("zeros_like", args), 0);
}
tn_tensor *tn_ones_like_with(const tn_like_args *args)
{
    TN_KNOWN(tn_like_args, args);
    return filled(tn_create_like("ones_like", args), 1);
}
tn_tensor *tn_full_like_with(const tn_like_args *args)
{
    TN_KNOWN(tn_like_args, args);
    tn_tensor *y = tn_create_like("full_like", args);
    return y && tn_number_fits("full_like", args->value, (tn_dtype)y->dtype) ? filled(y, args->value) : NULL;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------------- */

static bool whole(double x) { return x == floor(x) && fabs(x) < 0x1p53; }

tn_tensor *tn_arange_with(const tn_range_args *args)
{
    TN_KNOWN(tn_range_args, args);
    bool end_alone = args->start > 0 && args->end == 0 && args->step == 0; /* tn_arange(5): nothing else could be meant */
    double start = end_alone ? 0 : args->start, end = end_alone ? args->start : args->end, step = args->step == 0 ? 1 : args->step;
    double count = ceil((end - start) / step);
    if (tn_failing())
        return NULL;
    if (count >= 0x1p53)
        return tn_fail(TN_ERR_ARGUMENT, "arange: from %g to %g by steps of %g are more numbers than any tensor holds", start, end, step);
    if (!(count >= 0))
        return tn_fail(TN_ERR_ARGUMENT, "arange: from %g to %g by steps of %g leads nowhere: the step must be finite and go towards the end",
                       start, end, step);
    bool integers = whole(start) && whole(end) && whole(step) && args->dtype == TN_DTYPE_DEFAULT && !args->requires_grad;
    tn_tensor *x = tn_create("arange", TN_SHAPE((int64_t)count), integers ? TN_I64 : args->dtype, args->device, args->requires_grad);
    if (!x || tn_kernels_for(x)->range((tn_dtype)x->dtype, x->numel, 0, start, step, tn_ptr(x)) != TN_OK)
        return NULL;
    return x;
}

/* From both ends towards the middle, so that both ends are exact and the points symmetric. */
tn_tensor *tn_linspace_with(const tn_range_args *args)
{
    TN_KNOWN(tn_range_args, args);
    double points = args->step;
    if (tn_failing())
        return NULL;
    if (!(points >= 0 && whole(points)))
        return tn_fail(TN_ERR_ARGUMENT, "linspace: %g is no number of points", points);
    int64_t n = (int64_t)points, half = (n + 1) / 2;
    tn_tensor *x = tn_create("linspace", TN_SHAPE(n), args->dtype, args->device, args->requires_grad);
    if (!x || n == 0)
        return x;
    double step = n > 1 ? (args->end - args->start) / (points - 1) : 0;
    const tn_kernels *kernels = tn_kernels_for(x);
    tn_dtype dtype = (tn_dtype)x->dtype;
    if (kernels->range(dtype, half, 0, args->start, step, tn_ptr(x)) != TN_OK ||
        kernels->range(dtype, n - half, half - (n - 1), args->end, step, tn_ptr(x) + (size_t)half * tn_item_size(x)) != TN_OK)
        return NULL;
    return x;
}

tn_tensor *tn_eye_with(const tn_eye_args *args)
{
    TN_KNOWN(tn_eye_args, args);
    int64_t rows = args->rows, cols = args->cols ? args->cols : rows;
    tn_tensor *x = filled(tn_create("eye", TN_SHAPE(rows, cols), args->dtype, args->device, args->requires_grad), 0);
    if (!x)
        return NULL;
    tn_tensor diagonal = *x;
    diagonal.ndim = 1;
    diagonal.flags = 0;
    diagonal.sizes[0] = diagonal.numel = rows < cols ? rows : cols;
    diagonal.strides[0] = cols + 1;
    return filled(&diagonal, 1) ? x : NULL;
}

/* ---- from the caller's numbers ------------------------------------------------------------------------------------------- */

static tn_tensor *copied(const char *op, const tn_from_args *args, tn_dtype from)
{
    tn_device_id cpu = {TN_CPU, 0};
    tn_dtype dtype = args->dtype == TN_DTYPE_DEFAULT ? from : args->dtype;
    tn_tensor *x = tn_create(op, args->shape, dtype, &cpu, args->requires_grad && !args->device);
    if (!x)
        return NULL;
    if (!args->data && x->numel)
        return tn_fail(TN_ERR_ARGUMENT, "%s: data is NULL for the shape %s", op, tn_shape_text(args->shape));
    tn_loop loop = {.ndim = 1, .operands = 2, .sizes = {x->numel}};
    loop.strides[0][0] = (int64_t)tn_item_size(x);
    loop.strides[1][0] = (int64_t)tn_dtype_size(from);
    loop.data[0] = tn_ptr(x);
    loop.data[1] = (char *)(uintptr_t)args->data;
    if (x->numel && tn_kernels_for(x)->cast(dtype, from, &loop) != TN_OK)
        return NULL;
    if (!args->device)
        return x;
    x = tn_to(x, *args->device);
    if (x && args->requires_grad && tn_set_requires_grad(x, true) != TN_OK)
        return NULL;
    return x;
}

tn_tensor *tn_from_floats_with(const tn_from_args *args)
{
    TN_KNOWN(tn_from_args, args);
    return copied("from_floats", args, TN_F32);
}
tn_tensor *tn_from_doubles_with(const tn_from_args *args)
{
    TN_KNOWN(tn_from_args, args);
    return copied("from_doubles", args, TN_F64);
}
tn_tensor *tn_from_ints_with(const tn_from_args *args)
{
    TN_KNOWN(tn_from_args, args);
    return copied("from_ints", args, TN_I64);
}

/* ---- triangles ---------------------------------------------------------------------------------------------------------- */

typedef struct triangle {
    int64_t diagonal;
    bool upper;
} triangle;

static tn_tensor *triangle_of(tn_tensor *x, triangle part);

static void triangle_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = triangle_of(dy[0], *(const triangle *)tn_node_attr(node));
}

static tn_tensor *triangle_of(tn_tensor *x, triangle part)
{
    const char *name = part.upper ? "triu" : "tril";
    if (!tn_ready(name, "x", x))
        return NULL;
    if (x->ndim < 2)
        return tn_fail(TN_ERR_SHAPE, "%s: x is %s: it needs two dimensions or more", name, tn_text(x));
    tn_tensor *dense = tn_contiguous(x), *y = tn_new(name, tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (!dense || !y)
        return NULL;
    int64_t rows = x->sizes[x->ndim - 2], cols = x->sizes[x->ndim - 1];
    if (x->numel && tn_kernels_for(x)->triangle(tn_item_size(x), part.upper, part.diagonal, x->numel / (rows * cols), rows, cols,
                                                tn_ptr(dense), tn_ptr(y)) != TN_OK)
        return NULL;
    return tn_record(y, name, triangle_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(part));
}

tn_tensor *tn_tril(tn_tensor *x, int64_t diagonal) { return triangle_of(x, (triangle){diagonal, false}); }
tn_tensor *tn_triu(tn_tensor *x, int64_t diagonal) { return triangle_of(x, (triangle){diagonal, true}); }
