/* Reductions: the one way to the kernel, and sum, mean, prod, the extremes, any and all. */
#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/reduction.h"

/* ---- the kernel's view of a reduction ------------------------------------------------------------------------------------ */

/* A dim on its way: sizes, and strides in bytes. */
typedef struct dim {
    int64_t size, in, out, index;
} dim;

/* Drops sizes of 1, sorts by the input's strides where the order is free, and merges neighbours. Returns how many are left. */
static int coalesce(dim *dims, int count, bool sort)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        if (dims[i].size != 1)
            dims[n++] = dims[i];
    for (int i = 1; i < n && sort; i++)
        for (int j = i; j > 0 && dims[j - 1].in < dims[j].in; j--) {
            dim swap = dims[j];
            dims[j] = dims[j - 1], dims[j - 1] = swap;
        }
    int last = 0;
    for (int i = 1; i < n; i++) {
        dim *a = &dims[last], *b = &dims[i];
        if (a->in == b->in * b->size && a->out == b->out * b->size && a->index == b->index * b->size)
            *a = (dim){a->size * b->size, b->in, b->out, b->index};
        else
            dims[++last] = *b;
    }
    return n > 0 ? last + 1 : 0;
}

static void reduction_make(tn_reduction *r, const tn_tensor *x, const tn_reduced *how, int64_t out_item, bool ordered)
{
    dim outer[TN_MAX_DIMS], inner[TN_MAX_DIMS];
    int outers = 0, inners = 0;
    int64_t item = (int64_t)tn_item_size(x), results = 1;
    for (int d = 0; d < x->ndim; d++)
        if (!(how->mask >> d & 1))
            results *= x->sizes[d];
    for (int d = 0; d < x->ndim; d++) {
        if (how->mask >> d & 1) {
            inner[inners++] = (dim){x->sizes[d], x->strides[d] * item, 0, 0};
            continue;
        }
        results = x->sizes[d] ? results / x->sizes[d] : 0;
        outer[outers++] = (dim){x->sizes[d], x->strides[d] * item, results * out_item, results * (int64_t)sizeof(int64_t)};
    }
    r->outer_ndim = coalesce(outer, outers, true);
    r->inner_ndim = coalesce(inner, inners, !ordered);
    for (int d = 0; d < r->outer_ndim; d++) {
        r->outer_sizes[d] = outer[d].size, r->outer_strides[d] = outer[d].in;
        r->out_strides[d] = outer[d].out, r->index_strides[d] = outer[d].index;
    }
    for (int d = 0; d < r->inner_ndim; d++)
        r->inner_sizes[d] = inner[d].size, r->inner_strides[d] = inner[d].in;
}

tn_tensor *tn_reduce_run(const char *op, tn_reduce_op kind, tn_tensor *x, const tn_reduced *how, bool keepdim, bool values,
                         tn_tensor **indices)
{
    bool total = kind == TN_REDUCE_SUM || kind == TN_REDUCE_PROD, test = kind == TN_REDUCE_ANY || kind == TN_REDUCE_ALL;
    bool ordered = kind == TN_REDUCE_ARGMAX || kind == TN_REDUCE_ARGMIN;
    tn_dtype dtype = test ? TN_BOOL : total && !tn_dtype_is_float((tn_dtype)x->dtype) ? TN_I64 : (tn_dtype)x->dtype;
    tn_shape shape = {0};
    for (int d = 0; d < x->ndim; d++)
        if (!(how->mask >> d & 1) || keepdim)
            shape.sizes[shape.ndim++] = how->mask >> d & 1 ? 1 : x->sizes[d];
    tn_tensor *y = values ? tn_new(op, shape, dtype, x->storage->device) : NULL;
    tn_tensor *index = indices ? tn_new(op, shape, TN_I64, x->storage->device) : NULL;
    if ((values && !y) || (indices && !index))
        return NULL;
    tn_reduction r = {.in = tn_ptr(x), .out = y ? tn_ptr(y) : NULL, .index = index ? tn_ptr(index) : NULL, .param = how->param};
    reduction_make(&r, x, how, tn_dtype_sizes[dtype], ordered);
    if ((y ? y : index)->numel > 0 && tn_kernels_for(x)->reduce(kind, (tn_dtype)x->dtype, &r) != TN_OK)
        return NULL;
    if (indices)
        *indices = index;
    return y ? y : index;
}

/* ---- what all begin with -------------------------------------------------------------------------------------------------- */

bool tn_reduce_begin(const char *op, tn_tensor *x, int dim, tn_dims dims, double param, tn_reduced *how)
{
    if (!tn_ready(op, "x", x))
        return false;
    if (dim != TN_ALL_DIMS && dims.count != 0) {
        tn_fail(TN_ERR_ARGUMENT, "%s: both .dim = %d and .dims are given: give one of them", op, dim);
        return false;
    }
    if (dim != TN_ALL_DIMS) {
        dims.count = 1;
        dims.dim[0] = dim;
    }
    how->shape = tn_shape_of(x);
    how->param = param;
    return tn_dims_mask(op, dims, x->ndim, &how->mask);
}

bool tn_floats_only(const char *op, const tn_tensor *x)
{
    if (tn_dtype_is_float((tn_dtype)x->dtype))
        return true;
    tn_fail(TN_ERR_DTYPE, "%s: x is %s: only floating dtypes have it; tn_cast(x, TN_F32) first", op, tn_dtype_name((tn_dtype)x->dtype));
    return false;
}

/* Nothing has no greatest. */
static bool not_empty(const char *op, const tn_tensor *x, const tn_reduced *how)
{
    for (int d = 0; d < x->ndim; d++)
        if ((how->mask >> d & 1) && x->sizes[d] == 0) {
            tn_fail(TN_ERR_SHAPE, "%s: x is %s: dim %d, which is reduced, has no elements", op, tn_text(x), d);
            return false;
        }
    return true;
}

int64_t tn_reduced_count(const tn_reduced *how)
{
    int64_t count = 1;
    for (int d = 0; d < how->shape.ndim; d++)
        count *= how->mask >> d & 1 ? how->shape.sizes[d] : 1;
    return count;
}

tn_tensor *tn_kept(tn_tensor *y, const tn_reduced *how)
{
    tn_shape shape = how->shape;
    for (int d = 0; d < shape.ndim; d++)
        if (how->mask >> d & 1)
            shape.sizes[d] = 1;
    return y && y->ndim == shape.ndim ? y : tn_reshape(y, shape);
}

/* The options of another reduction over the same dims, which stay. */
static tn_reduce_args same_dims(tn_tensor *x, const tn_reduced *how)
{
    tn_reduce_args args = {.size = sizeof args, .dim = TN_ALL_DIMS, .keepdim = true, .x = x};
    for (int d = 0; d < how->shape.ndim; d++)
        if (how->mask >> d & 1)
            args.dims.dim[args.dims.count++] = d;
    return args;
}

tn_tensor *tn_sum_kept(tn_tensor *x, const tn_reduced *how)
{
    tn_reduce_args args = same_dims(x, how);
    return args.dims.count ? tn_sum_with(&args) : x;
}

tn_tensor *tn_mean_kept(tn_tensor *x, const tn_reduced *how)
{
    tn_reduce_args args = same_dims(x, how);
    return args.dims.count ? tn_mean_with(&args) : x;
}

tn_tensor *tn_packed(tn_tensor *x)
{
    TN_NO_GRAD;
    return x && tn_has(x, TN_FLAG_CONTIGUOUS) ? x : tn_contiguous(x);
}

void tn_around(const tn_tensor *x, int dim, int64_t *outer, int64_t *n, int64_t *inner)
{
    *outer = *n = *inner = 1;
    for (int d = 0; d < x->ndim; d++)
        *(d < dim ? outer : d == dim ? n : inner) *= x->sizes[d];
}

/* ---- sum, mean, any, all --------------------------------------------------------------------------------------------------- */

static void sum_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    dx[0] = tn_expand(tn_kept(dy[0], how), how->shape);
}

tn_tensor *tn_sum_with(const tn_reduce_args *args)
{
    TN_KNOWN(tn_reduce_args, args);
    tn_reduced how;
    if (!tn_reduce_begin("sum", args->x, args->dim, args->dims, 0, &how))
        return NULL;
    tn_tensor *y = tn_reduce_run("sum", TN_REDUCE_SUM, args->x, &how, args->keepdim, true, NULL);
    return tn_record(y, "sum", sum_backward, TN_INPUTS(args->x), TN_NO_SAVED, TN_ATTR(how));
}

static void mean_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    tn_tensor *share = tn_div(dy[0], tn_scalar_f64((double)tn_reduced_count(how)));
    dx[0] = tn_expand(tn_kept(share, how), how->shape);
}

tn_tensor *tn_mean_with(const tn_reduce_args *args)
{
    TN_KNOWN(tn_reduce_args, args);
    tn_reduced how;
    if (!tn_reduce_begin("mean", args->x, args->dim, args->dims, 0, &how) || !tn_floats_only("mean", args->x))
        return NULL;
    tn_tensor *y = tn_reduce_run("mean", TN_REDUCE_MEAN, args->x, &how, args->keepdim, true, NULL);
    return tn_record(y, "mean", mean_backward, TN_INPUTS(args->x), TN_NO_SAVED, TN_ATTR(how));
}

static tn_tensor *test(const char *op, tn_reduce_op kind, const tn_reduce_args *args)
{
    tn_reduced how;
    if (!tn_reduce_begin(op, args->x, args->dim, args->dims, 0, &how))
        return NULL;
    return tn_reduce_run(op, kind, args->x, &how, args->keepdim, true, NULL);
}
tn_tensor *tn_any_with(const tn_reduce_args *args)
{
    TN_KNOWN(tn_reduce_args, args);
    return test("any", TN_REDUCE_ANY, args);
}
tn_tensor *tn_all_with(const tn_reduce_args *args)
{
    TN_KNOWN(tn_reduce_args, args);
    return test("all", TN_REDUCE_ALL, args);
}

/* ---- prod ------------------------------------------------------------------------------------------------------------------ */

/* For each element the product of the others, as a table of n products of n: can be differentiated again wherever zeros are. */
static tn_tensor *products_of_others(tn_tensor *x, const tn_reduced *how)
{
    tn_dims order = {0}, back = {0};
    tn_shape moved = {0};
    for (int kept = 1; kept >= 0; kept--)
        for (int d = 0; d < x->ndim; d++)
            if ((how->mask >> d & 1) != (unsigned)kept) {
                moved.sizes[order.count] = x->sizes[d];
                order.dim[order.count++] = d;
            }
    back.count = moved.ndim = order.count;
    for (int d = 0; d < order.count; d++)
        back.dim[order.dim[d]] = d;
    int64_t n = tn_reduced_count(how), rows = n ? x->numel / n : 0;
    tn_tensor *flat = tn_reshape(order.count ? tn_permute(x, order) : x, TN_SHAPE(rows, 1, n));
    tn_eye_args eye = {.size = sizeof eye, .dtype = TN_BOOL, .rows = n};
    if (flat)
        eye.device = &x->storage->device;
    tn_tensor *others = tn_where(flat ? tn_eye_with(&eye) : NULL, tn_scalar_f64(1), tn_expand(flat, TN_SHAPE(rows, n, n)));
    tn_reduce_args last = {.size = sizeof last, .dim = 2, .x = others};
    tn_tensor *products = tn_reshape(tn_prod_with(&last), moved);
    return order.count ? tn_permute(products, back) : products;
}

/* The product of the others is y / x; where one input is 0, only it has one that is not 0. */
static void prod_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    tn_tensor *x = tn_node_saved(node, 0), *g = tn_kept(dy[0], how), *one = tn_scalar_f64(1), *none = tn_scalar_f64(0);
    tn_tensor *zero = tn_eq(x, none);
    tn_reduce_args any = {.size = sizeof any, .dim = TN_ALL_DIMS, .x = zero};
    if (tn_grad_enabled() && tn_item_i64(tn_any_with(&any))) {
        dx[0] = tn_mul(g, products_of_others(x, how));
        return;
    }
    tn_tensor *others = tn_where(zero, one, x), *zeros = tn_sum_kept(tn_cast(zero, TN_I64), how);
    tn_reduce_args prod = same_dims(others, how);
    tn_tensor *y = prod.dims.count ? tn_prod_with(&prod) : others;
    tn_tensor *share = tn_where(zero, tn_where(tn_eq(zeros, one), y, none), tn_where(tn_eq(zeros, none), tn_div(y, others), none));
    dx[0] = tn_mul(g, share);
}

tn_tensor *tn_prod_with(const tn_reduce_args *args)
{
    TN_KNOWN(tn_reduce_args, args);
    tn_reduced how;
    if (!tn_reduce_begin("prod", args->x, args->dim, args->dims, 0, &how))
        return NULL;
    tn_tensor *y = tn_reduce_run("prod", TN_REDUCE_PROD, args->x, &how, args->keepdim, true, NULL);
    return tn_record(y, "prod", prod_backward, TN_INPUTS(args->x), TN_SAVED(args->x), TN_ATTR(how));
}

/* ---- extremes -------------------------------------------------------------------------------------------------------------- */

/* Shared out evenly among those that equal the result; where that is NaN, among the NaNs. */
static void extreme_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    tn_tensor *x = tn_node_saved(node, 0), *y = tn_kept(tn_node_saved(node, 1), how), *g = tn_kept(dy[0], how);
    tn_tensor *equal = g && x ? tn_cast(tn_logical_or(tn_eq(x, y), tn_isnan(x)), (tn_dtype)x->dtype) : NULL;
    dx[0] = tn_mul(tn_div(g, tn_sum_kept(equal, how)), equal);
}

static tn_tensor *extreme(const char *op, tn_reduce_op kind, const tn_reduce_args *args)
{
    tn_reduced how;
    if (!tn_reduce_begin(op, args->x, args->dim, args->dims, 0, &how) || !not_empty(op, args->x, &how))
        return NULL;
    tn_tensor *y = tn_reduce_run(op, kind, args->x, &how, args->keepdim, true, NULL);
    return tn_record(y, op, extreme_backward, TN_INPUTS(args->x), TN_SAVED(args->x, y), TN_ATTR(how));
}
tn_tensor *tn_amax_with(const tn_reduce_args *args)
{
    TN_KNOWN(tn_reduce_args, args);
    return extreme("amax", TN_REDUCE_MAX, args);
}
tn_tensor *tn_amin_with(const tn_reduce_args *args)
{
    TN_KNOWN(tn_reduce_args, args);
    return extreme("amin", TN_REDUCE_MIN, args);
}

/* To the one that the index names. */
static void pick_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const tn_reduced *how = tn_node_attr(node);
    int dim = how->shape.ndim ? __builtin_ctz(how->mask) : 0;
    tn_tensor *index = tn_kept(tn_node_saved(node, 0), how), *g = tn_kept(dy[0], how);
    if (!g)
        return;
    tn_shape_args zeros = {.size = sizeof zeros, .dtype = (tn_dtype)g->dtype, .device = &g->storage->device, .shape = how->shape};
    dx[0] = tn_scatter_add(tn_zeros_with(&zeros), dim, index, g);
}

static tn_tensor *pick(const char *op, bool max, const tn_extreme_args *args)
{
    tn_reduced how;
    tn_tensor *index = NULL;
    if (args->dim == TN_ALL_DIMS) {
        if (args->indices)
            return tn_fail(TN_ERR_ARGUMENT, "%s: .indices needs .dim: of all elements tn_arg%s gives the place", op, op);
        tn_reduce_args all = {.size = sizeof all, .dim = TN_ALL_DIMS, .keepdim = args->keepdim, .x = args->x};
        return extreme(op, max ? TN_REDUCE_MAX : TN_REDUCE_MIN, &all);
    }
    if (!tn_reduce_begin(op, args->x, args->dim, (tn_dims){0}, 0, &how) || !not_empty(op, args->x, &how))
        return NULL;
    if (!args->indices && !tn_recording(&args->x, 1))
        return tn_reduce_run(op, max ? TN_REDUCE_MAX : TN_REDUCE_MIN, args->x, &how, args->keepdim, true, NULL);
    tn_tensor *y = tn_reduce_run(op, max ? TN_REDUCE_ARGMAX : TN_REDUCE_ARGMIN, args->x, &how, args->keepdim, true, &index);
    y = tn_record(y, op, pick_backward, TN_INPUTS(args->x), TN_SAVED(index), TN_ATTR(how));
    if (y && args->indices)
        *args->indices = index;
    return y;
}
tn_tensor *tn_max_with(const tn_extreme_args *args)
{
    TN_KNOWN(tn_extreme_args, args);
    return pick("max", true, args);
}
tn_tensor *tn_min_with(const tn_extreme_args *args)
{
    TN_KNOWN(tn_extreme_args, args);
    return pick("min", false, args);
}

static tn_tensor *place(const char *op, tn_reduce_op kind, const tn_arg_args *args)
{
    tn_reduced how;
    tn_tensor *index = NULL;
    if (!tn_reduce_begin(op, args->x, args->dim, (tn_dims){0}, 0, &how) || !not_empty(op, args->x, &how))
        return NULL;
    return tn_reduce_run(op, kind, args->x, &how, args->keepdim, false, &index);
}
tn_tensor *tn_argmax_with(const tn_arg_args *args)
{
    TN_KNOWN(tn_arg_args, args);
    return place("argmax", TN_REDUCE_ARGMAX, args);
}
tn_tensor *tn_argmin_with(const tn_arg_args *args)
{
    TN_KNOWN(tn_arg_args, args);
    return place("argmin", TN_REDUCE_ARGMIN, args);
}
