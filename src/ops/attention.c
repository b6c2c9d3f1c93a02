/* Scaled dot-product attention: shapes, masks and heads are brought to [batch, heads, rows, columns] by views; the kernel does the rest. */
#include <math.h>

#include <tenon/ops.h>

#include "core/loop.h"
#include "core/random.h"
#include "kernels/graph.h"
#include "ops/product.h"
#include "ops/broadcast.h"
#include "ops/create.h"
#include "ops/heads.h"
#include "ops/reduction.h"
#include "ops/window.h"

static const char op[] = "scaled_dot_product_attention";

/* The node's attribute is a tn_attention, whose pointers are set for each call. */

static tn_attention operands(const tn_attention *form, const tn_tensor *q, const tn_tensor *k, const tn_tensor *v, const tn_tensor *mask,
                             const tn_tensor *y, const tn_tensor *stats)
{
    tn_attention f = *form;
    const tn_tensor *query = tn_multiplied(q), *key = tn_multiplied(k), *value = tn_multiplied(v);
    f.q = tn_heads_of(query ? query : q); /* where there is no memory an error sticks */
    f.k = tn_heads_of(key ? key : k);
    f.v = tn_heads_of(value ? value : v);
    if (mask) {
        f.mask = tn_heads_of(mask);
        f.mask_column = mask->strides[3];
        f.mask_is_bool = mask->dtype == TN_BOOL;
    }
    f.y = tn_heads_of(y);
    f.stats = tn_ptr(stats);
    f.rounded = tn_rounds_to_bf16();
    return f;
}

/* ---- the gradient in tensor ops, to be differentiated in its turn, and for the mask's --------------------------------------- */

static tn_tensor *along(tn_tensor *(*reduce)(const tn_reduce_args *), tn_tensor *x)
{
    return reduce(&(tn_reduce_args){.size = sizeof(tn_reduce_args), .dim = -1, .keepdim = true, .x = x});
}

/* The probabilities, [batch, kv_heads, heads of each, l, s]. */
static tn_tensor *probabilities(const tn_attention *f, tn_tensor *q, tn_tensor *k, tn_tensor *mask)
{
    tn_tensor *scores = tn_mul(tn_matmul(q, tn_transpose(k, -2, -1)), tn_scalar_f64(f->scale));
    if (mask)
        scores = mask->dtype == TN_BOOL ? tn_masked_fill(scores, tn_logical_not(mask), -HUGE_VAL) : tn_add(scores, mask);
    if (f->causal) {
        const tn_shape_args ones = {.size = sizeof ones, .dtype = TN_BOOL, .device = &q->storage->device, .shape = TN_SHAPE(f->l, f->s)};
        scores = tn_masked_fill(scores, tn_logical_not(tn_tril(tn_ones_with(&ones), 0)), -HUGE_VAL);
    }
    tn_tensor *nowhere = tn_eq(along(tn_amax_with, scores), tn_scalar_f64(-HUGE_VAL));
    return tn_masked_fill(tn_softmax(tn_masked_fill(scores, nowhere, 0), -1), nowhere, 0);
}

/* What dropout multiplied with in forward. */
static tn_tensor *kept(const tn_attention *f, const tn_tensor *like, tn_shape shape)
{
    tn_tensor *keep = f->dropout > 0 ? tn_new(op, shape, (tn_dtype)like->dtype, like->storage->device) : NULL;
    if (!keep)
        return NULL;
    const tn_random_fill fill = {.kind = TN_RANDOM_BERNOULLI, .dtype = (tn_dtype)keep->dtype, .n = keep->numel, .out = tn_ptr(keep),
                                 .seed = f->seed, .offset = f->offset, .a = 1 - f->dropout, .b = 1 / (1 - f->dropout)};
    return tn_kernels_for(keep)->random(&fill) == TN_OK ? keep : NULL;
}

static void composed(tn_node *node, tn_tensor *dy, tn_tensor *q, tn_tensor *k, tn_tensor *v, tn_tensor *mask, tn_tensor **d)
{
    const tn_attention *f = tn_node_attr(node);
    const int64_t b = f->batch, heads = f->kv_heads, each = f->heads / heads;
    const tn_shape all = TN_SHAPE(b, heads, each, f->l, f->s);
    tn_tensor *q5 = tn_reshape(q, TN_SHAPE(b, heads, each, f->l, f->e)), *k5 = tn_unsqueeze(k, 2), *v5 = tn_unsqueeze(v, 2);
    tn_tensor *dy5 = tn_reshape(dy, TN_SHAPE(b, heads, each, f->l, f->ev));
    tn_tensor *p = probabilities(f, q5, k5, mask ? tn_reshape(mask, all) : NULL);
    if (!p)
        return;
    tn_tensor *keep = kept(f, p, all), *scale = tn_scalar_f64(f->scale);
    if (tn_wants(node, 2))
        d[2] = tn_reshape(tn_sum_to(tn_matmul(tn_transpose(keep ? tn_mul(p, keep) : p, -2, -1), dy5), v5), tn_shape_of(v));
    tn_tensor *dp = tn_matmul(dy5, tn_transpose(v5, -2, -1));
    dp = keep ? tn_mul(dp, keep) : dp;
    tn_tensor *ds = tn_mul(p, tn_sub(dp, along(tn_sum_with, tn_mul(p, dp))));
    if (tn_wants(node, 0))
        d[0] = tn_reshape(tn_mul(tn_matmul(ds, k5), scale), tn_shape_of(q));
    if (tn_wants(node, 1))
        d[1] = tn_reshape(tn_sum_to(tn_mul(tn_matmul(tn_transpose(ds, -2, -1), q5), scale), k5), tn_shape_of(k));
    if (tn_wants(node, 3))
        d[3] = tn_reshape(ds, tn_shape_of(mask));
}

/* ---- the operator ------------------------------------------------------------------------------------------------------------ */

static void attention_backward(tn_node *node, tn_tensor *const *dys, tn_tensor **d)
{
    const tn_attention *form = tn_node_attr(node);
    tn_tensor *in[] = {tn_node_saved(node, 0), tn_node_saved(node, 1), tn_node_saved(node, 2)}, *mask = tn_node_saved(node, 3);
    tn_tensor *y = tn_node_saved(node, 4), *stats = tn_node_saved(node, 5);
    if (tn_failing())
        return;
    const bool nothing = y->numel == 0 || form->s == 0;
    if (!nothing && (tn_grad_enabled() || tn_wants(node, 3))) {
        composed(node, dys[0], in[0], in[1], in[2], mask, d);
        return;
    }
    for (int i = 0; i < 4; i++)
        if (tn_wants(node, i)) {
            const tn_tensor *x = i < 3 ? in[i] : mask;
            d[i] = nothing ? tn_zeros_of(op, tn_shape_of(x), x) : tn_new_heads(op, x, x->sizes[3]);
        }
    tn_tensor *dy = dys[0]->strides[3] == 1 ? dys[0] : tn_contiguous(dys[0]);
    if (tn_failing() || nothing)
        return;
    tn_attention f = operands(form, in[0], in[1], in[2], mask, y, stats);
    f.dy = tn_heads_of(dy);
    f.dq = d[0] ? tn_heads_of(d[0]) : f.dq;
    f.dk = d[1] ? tn_heads_of(d[1]) : f.dk;
    f.dv = d[2] ? tn_heads_of(d[2]) : f.dv;
    tn_kernels_for(y)->attention_backward((tn_dtype)y->dtype, &f);
}

/* x, [..., heads, rows, columns], as [batch, heads, rows, columns]. */
static tn_tensor *four_dims(tn_tensor *x)
{
    if (!x || x->ndim == 4)
        return x;
    int64_t batch = 1;
    for (int d = 0; d < x->ndim - 3; d++)
        batch *= x->sizes[d];
    return tn_reshape(x, TN_SHAPE(batch, x->ndim > 2 ? x->sizes[x->ndim - 3] : 1, x->sizes[x->ndim - 2], x->sizes[x->ndim - 1]));
}

/* An operand as the kernel takes it: its dims before the heads those of q, the last one dense. */
static tn_tensor *operand(tn_tensor *x, const tn_tensor *q, tn_dtype dtype)
{
    tn_shape shape = tn_shape_of(x);
    for (int d = 0; d < x->ndim - 3; d++)
        shape.sizes[d] = q->sizes[d];
    x = four_dims(tn_expand(tn_as_dtype(x, dtype), shape));
    return x && x->strides[3] != 1 && x->sizes[3] != 1 ? tn_contiguous(x) : x;
}

/* k or v beside q. */
static bool fits(const char *name, const tn_tensor *x, const tn_tensor *q, bool grouped)
{
    if (!tn_devices_agree(op, q, x))
        return false;
    if (x->dtype != q->dtype) {
        tn_fail(TN_ERR_DTYPE, "%s: q is %s and %s is %s: all must be of one dtype: tn_cast one of them", op,
                tn_dtype_name((tn_dtype)q->dtype), name, tn_dtype_name((tn_dtype)x->dtype));
        return false;
    }
    bool good = x->ndim == q->ndim;
    for (int d = 0; good && d < q->ndim - 3; d++)
        good = x->sizes[d] == q->sizes[d] || x->sizes[d] == 1;
    if (!good) {
        tn_fail(TN_ERR_SHAPE, "%s: q is %s and %s is %s: they must have the same dims before the heads", op, tn_text(q), name, tn_text(x));
        return false;
    }
    const int64_t heads = q->ndim > 2 ? q->sizes[q->ndim - 3] : 1, own = q->ndim > 2 ? x->sizes[q->ndim - 3] : 1;
    if (own != heads && !grouped)
        tn_fail(TN_ERR_SHAPE, "%s: q is %s and %s is %s: %lld heads and %lld: .enable_gqa lets heads share keys and values", op,
                tn_text(q), name, tn_text(x), (long long)heads, (long long)own);
    else if (own != heads && (own < 1 || heads % own))
        tn_fail(TN_ERR_SHAPE, "%s: q is %s and %s is %s: the %lld heads must be a multiple of the %lld", op, tn_text(q), name, tn_text(x),
                (long long)heads, (long long)own);
    return !tn_failing();
}

static bool all_fit(const tn_attention_args *a)
{
    const tn_tensor *q = a->q, *k = a->k, *v = a->v;
    if (!tn_ready(op, "q", q) || !tn_ready(op, "k", k) || !tn_ready(op, "v", v) || !tn_floats_only(op, q))
        return false;
    if (q->ndim < 2)
        tn_fail(TN_ERR_SHAPE, "%s: q is %s: it must be [..., heads, l, e]", op, tn_text(q));
    else if (!fits("k", k, q, a->enable_gqa) || !fits("v", v, q, a->enable_gqa))
        return false;
    else if (k->sizes[k->ndim - 1] != q->sizes[q->ndim - 1] || k->sizes[k->ndim - 2] != v->sizes[v->ndim - 2] ||
             (q->ndim > 2 && k->sizes[k->ndim - 3] != v->sizes[v->ndim - 3]))
        tn_fail(TN_ERR_SHAPE, "%s: q is %s, k is %s and v is %s: they must be [..., l, e], [..., s, e] and [..., s, ev]", op, tn_text(q),
                tn_text(k), tn_text(v));
    else if (!(a->dropout_p >= 0 && a->dropout_p <= 1))
        tn_fail(TN_ERR_ARGUMENT, "%s: dropout_p is %g: a probability, 0 to 1, is needed", op, a->dropout_p);
    else if (!isfinite(a->scale))
        tn_fail(TN_ERR_ARGUMENT, "%s: scale is %g: it must be a number", op, a->scale);
    return !tn_failing();
}

/* The mask as [batch, heads, l, s] with strides of 0, or of the dtype that is computed in; NULL with an error where it does not fit. */
static tn_tensor *mask_of(tn_tensor *mask, const tn_tensor *q, int64_t s, tn_dtype dtype)
{
    tn_shape shape = tn_shape_of(q);
    shape.sizes[shape.ndim - 1] = s;
    if (!tn_ready(op, "attn_mask", mask) || !tn_devices_agree(op, q, mask))
        return NULL;
    if (mask->dtype != TN_BOOL && mask->dtype != q->dtype)
        return tn_fail(TN_ERR_DTYPE, "%s: attn_mask is %s and q is %s: a mask is bool or of q's dtype", op,
                       tn_dtype_name((tn_dtype)mask->dtype), tn_dtype_name((tn_dtype)q->dtype));
    bool good = mask->ndim <= shape.ndim;
    for (int d = 1; good && d <= mask->ndim; d++)
        good = mask->sizes[mask->ndim - d] == 1 || mask->sizes[mask->ndim - d] == shape.sizes[shape.ndim - d];
    if (!good)
        return tn_fail(TN_ERR_SHAPE, "%s: attn_mask is %s, which does not broadcast to the scores' %s", op, tn_text(mask),
                       tn_shape_text(shape));
    return four_dims(tn_expand(mask->dtype == TN_BOOL ? mask : tn_as_dtype(mask, dtype), shape));
}

static tn_tensor *attend(const tn_attention_args *a)
{
    const tn_dtype dtype = tn_compute_dtype(a->q);
    tn_tensor *q = operand(a->q, a->q, dtype), *k = operand(a->k, a->q, dtype), *v = operand(a->v, a->q, dtype), *mask = NULL;
    if (a->attn_mask && !(mask = mask_of(a->attn_mask, a->q, a->k->sizes[a->k->ndim - 2], dtype)))
        return NULL;
    if (tn_failing())
        return NULL;
    tn_attention form = {.batch = q->sizes[0], .heads = q->sizes[1], .kv_heads = k->sizes[1], .l = q->sizes[2], .s = k->sizes[2], 
                         .e = q->sizes[3], .ev = v->sizes[3], .causal = a->is_causal, .scale = a->scale, .dropout = a->dropout_p};
    if (form.scale == 0)
        form.scale = form.e ? 1 / sqrt((double)form.e) : 1;
    if (form.dropout > 0 && tn_captures(q->storage->device))
        return tn_fail(TN_ERR_STATE, "%s: dropout_p while a graph is captured: each replay would drop the same", op);
    if (form.dropout > 0) {
        tn_random_fill fill = {.kind = TN_RANDOM_BERNOULLI, .dtype = dtype, .n = form.batch * form.heads * form.l * form.s};
        tn_random_take(&fill);
        form.seed = fill.seed;
        form.offset = fill.offset;
    }
    tn_tensor *y = form.s ? tn_new_heads(op, q, form.ev) : tn_zeros_of(op, TN_SHAPE(form.batch, form.heads, form.l, form.ev), q);
    tn_tensor *stats = tn_new(op, TN_SHAPE(form.batch, form.heads, form.l, 2), dtype, q->storage->device);
    if (!y || !stats)
        return NULL;
    const tn_attention f = operands(&form, q, k, v, mask, y, stats);
    if (y->numel && form.s && tn_kernels_for(y)->attention(dtype, &f) != TN_OK)
        return NULL;
    y = tn_record(y, op, attention_backward, TN_INPUTS(q, k, v, mask), TN_SAVED(q, k, v, mask, y, stats), TN_ATTR(form));
    tn_shape whole = tn_shape_of(a->q);
    whole.sizes[whole.ndim - 1] = form.ev;
    return tn_as_dtype(tn_reshape(y, whole), (tn_dtype)a->q->dtype);
}

tn_tensor *tn_scaled_dot_product_attention_with(const tn_attention_args *args)
{
    TN_KNOWN(tn_attention_args, args);
    if (!all_fit(args))
        return NULL;
    TN_SCOPE;
    return tn_pass(attend(args));
}
