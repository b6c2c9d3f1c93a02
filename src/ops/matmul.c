/* Products: matmul and its special cases, addmm, linear. One kernel call does each where strides allow it. */
#include <math.h>

#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/broadcast.h"
#include "ops/product.h"
#include "ops/relu_mask.h"

/* ---- a batch of matrix products over tensors --------------------------------------------------------------------- */

/* What the kernel does besides multiplying. */
typedef struct extras {
    double alpha, beta;
    const tn_tensor *bias; /* contiguous [n] or NULL */
    tn_tensor *a_sums;     /* [m] or NULL: the sums of op(a)'s rows, where there is no batch */
    const tn_gemm *beside; /* as tn_gemm's */
    tn_activation activation;
} extras;
static const extras plain = {.alpha = 1};

/* The batch dims of c and the operands' strides over them (0 where broadcast), neighbours merged where all three allow
 * it. */
typedef struct batches {
    int ndim;
    int64_t sizes[TN_MAX_DIMS], a[TN_MAX_DIMS], b[TN_MAX_DIMS], c[TN_MAX_DIMS];
} batches;

/* x's stride over dim d of a result of ndim dims, 0 where x is broadcast. */
static int64_t batch_stride(const tn_tensor *x, int ndim, int d)
{
    const int own = d - (ndim - x->ndim);
    return own < 0 || x->sizes[own] == 1 ? 0 : x->strides[own];
}

static batches batches_of(const tn_tensor *c, const tn_tensor *a, const tn_tensor *b)
{
    batches all = {.ndim = 1, .sizes = {1}};
    for (int d = 0; d < c->ndim - 2; d++) {
        const int64_t size = c->sizes[d], sa = batch_stride(a, c->ndim, d), sb = batch_stride(b, c->ndim, d),
                      sc = c->strides[d];
        int last = all.ndim - 1;
        if (size == 1)
            continue;
        const bool merges = all.a[last] == sa * size && all.b[last] == sb * size && all.c[last] == sc * size;
        if (all.sizes[last] != 1 && !merges)
            last = all.ndim++;
        all.sizes[last] = (merges ? all.sizes[last] : 1) * size;
        all.a[last] = sa, all.b[last] = sb, all.c[last] = sc;
    }
    return all;
}

/* c = activation(alpha op(a) op(b) + beta c + bias), where op transposes the last two dims if asked. c is contiguous
 * and its shape right. */
static bool multiply(tn_tensor *c, const tn_tensor *a, bool a_transposed, const tn_tensor *b, bool b_transposed,
                     extras with)
{
    if (!(a = tn_multiplied(a)) || !(b = tn_multiplied(b)))
        return false;
    const int ra = a->ndim - 2 + a_transposed, ca = a->ndim - 1 - a_transposed, rb = b->ndim - 2 + b_transposed;
    const int cb = b->ndim - 1 - b_transposed;
    const batches all = batches_of(c, a, b);
    const int inner = all.ndim - 1;
    const size_t item = tn_item_size(c);
    tn_gemm g = {.batch = all.sizes[inner], .m = a->sizes[ra], .n = b->sizes[cb], .k = a->sizes[ca],
                 .a_row = a->strides[ra], .a_col = a->strides[ca], .b_row = b->strides[rb], .b_col = b->strides[cb],
                 .c_row = b->sizes[cb], .a_batch = all.a[inner], .b_batch = all.b[inner], .c_batch = all.c[inner],
                 .alpha = with.alpha, .beta = with.beta, .bias = with.bias ? tn_ptr(with.bias) : NULL,
                 .a_sums = with.a_sums ? tn_ptr(with.a_sums) : NULL,
                 .beside = with.beside,
                 .activation = with.activation == TN_ACTIVATION_RELU ? TN_UNARY_RELU : 0, .rounded = tn_rounds_to_bf16()};
    if (c->numel == 0)
        return true;
    /* A b that the whole batch shares: the batch is only more rows. */
    if (g.batch > 1 && g.b_batch == 0 && (g.m == 1 || g.a_batch == g.m * g.a_row)) {
        g.a_row = g.m == 1 ? g.a_batch : g.a_row;
        g.m *= g.batch;
        g.batch = 1;
    }
    int64_t at[TN_MAX_DIMS] = {0}, ia = 0, ib = 0, ic = 0;
    for (;;) {
        g.a = tn_ptr(a) + (size_t)ia * item, g.b = tn_ptr(b) + (size_t)ib * item, g.c = tn_ptr(c) + (size_t)ic * item;
        if (tn_kernels_for(c)->gemm((tn_dtype)c->dtype, &g) != TN_OK)
            return false;
        int d = inner - 1;
        for (; d >= 0; d--) {
            ia += all.a[d], ib += all.b[d], ic += all.c[d];
            if (++at[d] < all.sizes[d])
                break;
            ia -= all.a[d] * at[d], ib -= all.b[d] * at[d], ic -= all.c[d] * at[d];
            at[d] = 0;
        }
        if (d < 0)
            return true;
    }
}

/* ---- the product as an operator: op(a) op(b) over the last two dims, batch dims broadcast ------------------------ */

typedef struct transposed {
    bool a, b;
} transposed;

/* x with its leading dims made one: [rows, last]. */
static tn_tensor *as_rows(tn_tensor *x)
{
    int64_t rows = 1;
    for (int d = 0; x && d < x->ndim - 1; d++)
        rows *= x->sizes[d];
    return x ? tn_reshape(x, TN_SHAPE(rows, x->sizes[x->ndim - 1])) : NULL;
}

static void product_backward(tn_node *node, tn_tensor *const *dys, tn_tensor **dx)
{
    const transposed *how = tn_node_attr(node);
    tn_tensor *a = tn_node_saved(node, 0), *b = tn_node_saved(node, 1), *dy = dys[0];
    if (!a || !b)
        return;
    if (tn_wants(node, 0))
        dx[0] = tn_sum_to(
            how->a ? tn_product(node->name, b, how->b, dy, true) : tn_product(node->name, dy, false, b, !how->b), a);
    if (!tn_wants(node, 1))
        return;
    if (b->ndim == 2 && a->ndim > 2 && !how->a) { /* one product sums over the batch too */
        a = as_rows(a);
        dy = as_rows(dy);
    }
    dx[1] = tn_sum_to(
        how->b ? tn_product(node->name, dy, true, a, how->a) : tn_product(node->name, a, !how->a, dy, false), b);
}

tn_tensor *tn_product(const char *op, tn_tensor *a, bool ta, tn_tensor *b, bool tb)
{
    if (tn_failing() || !a || !b)
        return NULL;
    const tn_tensor *longer = a->ndim > b->ndim ? a : b;
    tn_shape shape = tn_shape_of(longer);
    for (int d = 0; d < shape.ndim - 2; d++) {
        const int da = d - (shape.ndim - a->ndim), db = d - (shape.ndim - b->ndim);
        const int64_t size_a = da < 0 ? 1 : a->sizes[da], size_b = db < 0 ? 1 : b->sizes[db];
        shape.sizes[d] = size_a == 1 ? size_b : size_a;
    }
    shape.sizes[shape.ndim - 2] = a->sizes[a->ndim - 2 + ta];
    shape.sizes[shape.ndim - 1] = b->sizes[b->ndim - 1 - tb];
    tn_tensor *c = tn_new(op, shape, (tn_dtype)a->dtype, a->storage->device);
    if (!c || !multiply(c, a, ta, b, tb, plain))
        return NULL;
    const transposed how = {ta, tb};
    return tn_record(c, op, product_backward, TN_INPUTS(a, b), TN_SAVED(a, b), TN_ATTR(how));
}

/* ---- matmul and its special cases -------------------------------------------------------------------------------- */

/* Both are there, on one device, of one dtype that has products. */
static bool operands_fit(const char *op, const char *name_a, const tn_tensor *a, const char *name_b, const tn_tensor *b)
{
    if (!tn_ready(op, name_a, a) || !tn_ready(op, name_b, b) || !tn_devices_agree(op, a, b))
        return false;
    if (a->dtype != b->dtype)
        tn_fail(TN_ERR_DTYPE, "%s: %s is %s and %s is %s: both must have one dtype: tn_cast one of them", op, name_a,
                tn_dtype_name((tn_dtype)a->dtype), name_b, tn_dtype_name((tn_dtype)b->dtype));
    else if (a->dtype == TN_BOOL)
        tn_fail(TN_ERR_DTYPE, "%s: %s is bool, which has no product: tn_cast it to a number", op, name_a);
    return !tn_failing();
}

/* The product of what are [..., m, k] and [..., k, n], each at least 2-D; a_text and b_text are the operands as the
 * caller gave them. */
static tn_tensor *checked_product(const char *op, tn_tensor *a, tn_tensor *b, const char *a_text, const char *b_text)
{
    if (!a || !b)
        return NULL;
    const int64_t inner_a = a->sizes[a->ndim - 1], inner_b = b->sizes[b->ndim - 2];
    if (inner_a != inner_b)
        return tn_fail(TN_ERR_SHAPE, "%s: a is %s and b is %s: the inner sizes %lld and %lld differ", op, a_text,
                       b_text, (long long)inner_a, (long long)inner_b);
    for (int d = 3; d <= a->ndim && d <= b->ndim; d++) {
        const int64_t size_a = a->sizes[a->ndim - d], size_b = b->sizes[b->ndim - d];
        if (size_a != size_b && size_a != 1 && size_b != 1)
            return tn_fail(TN_ERR_SHAPE, "%s: a is %s and b is %s: the batch sizes %lld and %lld do not broadcast", op,
                           a_text, b_text, (long long)size_a, (long long)size_b);
    }
    return tn_product(op, a, false, b, false);
}

tn_tensor *tn_matmul(tn_tensor *a, tn_tensor *b)
{
    if (!operands_fit("matmul", "a", a, "b", b))
        return NULL;
    if (a->ndim == 0 || b->ndim == 0)
        return tn_fail(TN_ERR_SHAPE,
                       "matmul: a is %s and b is %s: each needs at least one dimension: tn_mul multiplies by a scalar",
                       tn_text(a), tn_text(b));
    if (a->ndim > 1 && b->ndim > 1)
        return checked_product("matmul", a, b, tn_text(a), tn_text(b));
    /* A vector is a matrix of one row or column, which the result loses again. */
    tn_tensor *y = checked_product("matmul", a->ndim == 1 ? tn_reshape(a, TN_SHAPE(1, a->sizes[0])) : a,
                                   b->ndim == 1 ? tn_reshape(b, TN_SHAPE(b->sizes[0], 1)) : b, tn_text(a), tn_text(b));
    if (!y)
        return NULL;
    tn_shape shape = {.ndim = 0};
    for (int d = 0; d < y->ndim; d++)
        if (!(d == y->ndim - 2 && a->ndim == 1) && !(d == y->ndim - 1 && b->ndim == 1))
            shape.sizes[shape.ndim++] = y->sizes[d];
    return tn_reshape(y, shape);
}

/* matmul for operands of exactly so many dims. */
static tn_tensor *exact(const char *op, tn_tensor *a, int a_ndim, tn_tensor *b, int b_ndim)
{
    if (!operands_fit(op, "a", a, "b", b))
        return NULL;
    if (a->ndim != a_ndim || b->ndim != b_ndim)
        return tn_fail(TN_ERR_SHAPE,
                       "%s: a is %s and b is %s: a must have %d dimension%s and b %d: tn_matmul takes all cases", op,
                       tn_text(a), tn_text(b), a_ndim, a_ndim == 1 ? "" : "s", b_ndim);
    return checked_product(op, a, b, tn_text(a), tn_text(b));
}

tn_tensor *tn_mm(tn_tensor *a, tn_tensor *b) { return exact("mm", a, 2, b, 2); }

tn_tensor *tn_bmm(tn_tensor *a, tn_tensor *b)
{
    if (tn_ready("bmm", "a", a) && tn_ready("bmm", "b", b) && a->ndim == 3 && b->ndim == 3 &&
        a->sizes[0] != b->sizes[0])
        return tn_fail(TN_ERR_SHAPE,
                       "bmm: a is %s and b is %s: the batch sizes %lld and %lld differ: tn_matmul broadcasts",
                       tn_text(a), tn_text(b), (long long)a->sizes[0], (long long)b->sizes[0]);
    return exact("bmm", a, 3, b, 3);
}

tn_tensor *tn_mv(tn_tensor *a, tn_tensor *x)
{
    if (!operands_fit("mv", "a", a, "x", x))
        return NULL;
    if (a->ndim != 2 || x->ndim != 1 || a->sizes[1] != x->sizes[0])
        return tn_fail(TN_ERR_SHAPE, "mv: a is %s and x is %s: they must be [m, k] and [k]", tn_text(a), tn_text(x));
    return tn_matmul(a, x);
}

tn_tensor *tn_dot(tn_tensor *a, tn_tensor *b)
{
    if (!operands_fit("dot", "a", a, "b", b))
        return NULL;
    if (a->ndim != 1 || b->ndim != 1 || a->sizes[0] != b->sizes[0])
        return tn_fail(TN_ERR_SHAPE, "dot: a is %s and b is %s: both must be vectors of one size", tn_text(a),
                       tn_text(b));
    return tn_matmul(a, b);
}

tn_tensor *tn_outer(tn_tensor *a, tn_tensor *b)
{
    if (!tn_ready("outer", "a", a) || !tn_ready("outer", "b", b))
        return NULL;
    if (a->ndim != 1 || b->ndim != 1)
        return tn_fail(TN_ERR_SHAPE, "outer: a is %s and b is %s: both must be vectors", tn_text(a), tn_text(b));
    return tn_mul(tn_reshape(a, TN_SHAPE(a->sizes[0], 1)), b);
}

/* ---- addmm ------------------------------------------------------------------------------------------------------- */

typedef struct addmm_attr {
    double alpha, beta;
    tn_shape c_shape;
} addmm_attr;

static tn_tensor *scaled(tn_tensor *x, double factor) { return factor == 1 ? x : tn_mul(x, tn_scalar_f64(factor)); }

static void addmm_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const addmm_attr *attr = tn_node_attr(node);
    tn_tensor *a = tn_node_saved(node, 0), *b = tn_node_saved(node, 1);
    if (tn_wants(node, 0))
        dx[0] = tn_sum_to_shape(scaled(dy[0], attr->beta), attr->c_shape);
    if (tn_wants(node, 1))
        dx[1] = scaled(tn_product("addmm", dy[0], false, b, true), attr->alpha);
    if (tn_wants(node, 2))
        dx[2] = scaled(tn_product("addmm", a, true, dy[0], false), attr->alpha);
}

static bool is_whole(double x) { return fabs(x) <= 0x1p53 && x == (double)(int64_t)x; }

tn_tensor *tn_addmm_with(const tn_addmm_args *args)
{
    TN_KNOWN(tn_addmm_args, args);
    tn_tensor *c = args->c, *a = args->a, *b = args->b;
    if (!operands_fit("addmm", "a", a, "b", b) || !operands_fit("addmm", "c", c, "a", a))
        return NULL;
    if (a->ndim != 2 || b->ndim != 2 || a->sizes[1] != b->sizes[0])
        return tn_fail(TN_ERR_SHAPE, "addmm: a is %s and b is %s: they must be [m, k] and [k, n]", tn_text(a),
                       tn_text(b));
    const int64_t sizes[] = {a->sizes[0], b->sizes[1]};
    bool fits = c->ndim <= 2;
    for (int d = 0; fits && d < c->ndim; d++)
        fits = c->sizes[d] == 1 || c->sizes[d] == sizes[2 - c->ndim + d];
    if (!tn_dtype_is_float((tn_dtype)a->dtype) && !(is_whole(args->alpha) && is_whole(args->beta)))
        return tn_fail(TN_ERR_ARGUMENT, "addmm: alpha is %g and beta %g: for %s both must be whole numbers",
                       args->alpha, args->beta, tn_dtype_name((tn_dtype)a->dtype));
    if (!fits)
        return tn_fail(TN_ERR_SHAPE, "addmm: c is %s, a is %s and b is %s: c does not broadcast to [%lld, %lld]",
                       tn_text(c), tn_text(a), tn_text(b), (long long)sizes[0], (long long)sizes[1]);
    tn_tensor *y = tn_new("addmm", tn_make_shape(2, sizes), (tn_dtype)a->dtype, a->storage->device);
    const tn_tensor *from = c;
    tn_loop loop;
    if (!y || (args->beta != 0 && tn_loop_make(&loop, y, &from, 1) &&
               tn_kernels_for(y)->cast((tn_dtype)y->dtype, (tn_dtype)c->dtype, &loop) != TN_OK) ||
        !multiply(y, a, false, b, false, (extras){.alpha = args->alpha, .beta = args->beta}))
        return NULL;
    const addmm_attr attr = {args->alpha, args->beta, tn_shape_of(c)};
    return tn_record(y, "addmm", addmm_backward, TN_INPUTS(c, a, b), TN_SAVED(a, b), TN_ATTR(attr));
}

/* ---- linear ------------------------------------------------------------------------------------------------------ */

/* All gradients that are wanted by one call, which may read slope, [rows, out], once; weight's is among them. Nothing is empty, and nobody goes
 * on to differentiate. */
static void linear_gradients(tn_node *node, tn_tensor *slope, tn_tensor *x, tn_tensor *weight, tn_tensor **dx)
{
    const tn_device_id device = x->storage->device;
    const tn_dtype dtype = (tn_dtype)x->dtype;
    const int64_t out = weight->sizes[0], in = weight->sizes[1];
    tn_tensor *rows = as_rows(x), *dw = tn_new("linear", TN_SHAPE(out, in), dtype, device);
    tn_tensor *own = tn_wants(node, 0) ? tn_new("linear", tn_shape_of(x), dtype, device) : NULL;
    tn_tensor *db = tn_wants(node, 2) ? tn_new("linear", TN_SHAPE(out), dtype, device) : NULL;
    if (tn_failing())
        return;
    const tn_gemm beside = {.batch = 1, .m = slope->sizes[0], .n = in, .k = out, .a = tn_ptr(slope), .b = tn_ptr(weight), .c = own ? tn_ptr(own) : NULL,
                            .a_row = slope->strides[0], .a_col = slope->strides[1], .b_row = weight->strides[0], .b_col = weight->strides[1],
                            .c_row = in, .alpha = 1, .rounded = tn_rounds_to_bf16()};
    if (!multiply(dw, slope, true, rows, false, (extras){.alpha = 1, .a_sums = db, .beside = own ? &beside : NULL}))
        return;
    dx[0] = own;
    dx[1] = dw;
    dx[2] = db;
}

static void linear_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    tn_tensor *x = tn_node_saved(node, 0), *weight = tn_node_saved(node, 1), *y = tn_node_saved(node, 2);
    if (tn_failing())
        return;
    tn_tensor *slope = as_rows(y ? tn_relu_mask(dy[0], y) : dy[0]);
    const bool more = tn_wants(node, 0) || tn_wants(node, 2);
    if (tn_wants(node, 1) && more && slope && slope->numel && x->numel && !tn_grad_enabled() && tn_this.autocast != TN_F16) {
        linear_gradients(node, slope, x, weight, dx);
        return;
    }
    if (tn_wants(node, 0))
        dx[0] = tn_reshape(tn_product("linear", slope, false, weight, false), tn_shape_of(x));
    if (tn_wants(node, 1))
        dx[1] = tn_product("linear", slope, true, as_rows(x), false);
    if (tn_wants(node, 2))
        dx[2] = tn_sum_to_shape(slope, TN_SHAPE(weight->sizes[0]));
}

/* The one stride from row to row of x, [..., in]; -1 where there is none. */
static int64_t row_stride(const tn_tensor *x)
{
    int64_t stride = 0, span = 0;
    for (int d = x->ndim - 2; d >= 0; d--) {
        if (x->sizes[d] == 1)
            continue;
        if (span && x->strides[d] != span)
            return -1;
        stride = span ? stride : x->strides[d];
        span = x->strides[d] * x->sizes[d];
        if (!span)
            return -1;
    }
    return stride;
}

tn_tensor *tn_linear_with(const tn_linear_op_args *args)
{
    TN_KNOWN(tn_linear_op_args, args);
    tn_tensor *x = args->x, *weight = args->weight, *bias = args->bias;
    if (!operands_fit("linear", "x", x, "weight", weight) || (bias && !operands_fit("linear", "x", x, "bias", bias)))
        return NULL;
    if (x->ndim == 0 || weight->ndim != 2)
        return tn_fail(TN_ERR_SHAPE, "linear: x is %s and weight is %s: they must be [..., in] and [out, in]", tn_text(x), tn_text(weight));
    if (x->sizes[x->ndim - 1] != weight->sizes[1])
        return tn_fail(TN_ERR_SHAPE, "linear: x is %s and weight is %s: each row of x has %lld features and the layer takes %lld", tn_text(x),
                       tn_text(weight), (long long)x->sizes[x->ndim - 1], (long long)weight->sizes[1]);
    if (bias && (bias->ndim != 1 || bias->sizes[0] != weight->sizes[0]))
        return tn_fail(TN_ERR_SHAPE, "linear: weight is %s and bias is %s: bias must be [%lld]", tn_text(weight),
                       tn_text(bias), (long long)weight->sizes[0]);
    if ((unsigned)args->activation > TN_ACTIVATION_RELU)
        return tn_fail(TN_ERR_ARGUMENT, "linear: activation %d is none of tn_activation", (int)args->activation);
    if (row_stride(x) < 0)
        x = tn_contiguous(x);
    const tn_tensor *dense_bias = bias ? tn_contiguous(bias) : NULL;
    if (tn_failing())
        return NULL;
    tn_shape shape = tn_shape_of(x);
    shape.sizes[shape.ndim - 1] = weight->sizes[0];
    tn_tensor *y = tn_new("linear", shape, (tn_dtype)x->dtype, x->storage->device);
    if (!y)
        return NULL;
    const int64_t in = weight->sizes[1], rows = y->numel / (weight->sizes[0] ? weight->sizes[0] : 1);
    const tn_tensor *a = tn_multiplied(x), *b = tn_multiplied(weight);
    if (!a || !b)
        return NULL;
    const tn_gemm g = {.batch = 1, .m = rows, .n = weight->sizes[0], .k = in, .a = tn_ptr(a), .b = tn_ptr(b),
                       .c = tn_ptr(y), .a_row = row_stride(a), .a_col = a->strides[a->ndim - 1],
                       .b_row = b->strides[1], .b_col = b->strides[0], .c_row = weight->sizes[0], .alpha = 1,
                       .bias = bias ? tn_ptr(dense_bias) : NULL,
                       .activation = args->activation == TN_ACTIVATION_RELU ? TN_UNARY_RELU : 0, .rounded = tn_rounds_to_bf16()};
    if (y->numel > 0 && tn_kernels_for(y)->gemm((tn_dtype)y->dtype, &g) != TN_OK)
        return NULL;
    return tn_record(y, "linear", linear_backward, TN_INPUTS(x, weight, bias),
                     TN_SAVED(x, weight, args->activation == TN_ACTIVATION_RELU ? y : NULL), TN_NO_ATTR);
}
