/* Multi-head attention as a module. */
#include <math.h>

#include "nn/layer.h"
#include "ops/window.h"

typedef struct multihead_attention {
    tn_module base;
    tn_tensor *in_proj_weight;                                /* [3 e, e], or NULL where there are */
    tn_tensor *q_proj_weight, *k_proj_weight, *v_proj_weight; /* [e, e], [e, kdim], [e, vdim] */
    tn_tensor *in_proj_bias;                                  /* [3 e], or NULL */
    tn_tensor *bias_k, *bias_v;                               /* [1, 1, e], or NULL */
    tn_module *out_proj;
    int64_t embed_dim, num_heads;
    double dropout;
    bool batch_first, is_causal, add_zero_attn, average_attn_weights;
} multihead_attention;

/* A call: the inputs with a batch dim, and the sizes; s counts the keys given, and behind them there are `more`. */
typedef struct attending {
    const multihead_attention *self;
    tn_tensor *query, *key, *value, *padding, *mask;
    int64_t n, l, s, more;
} attending;

static bool attending_fits(const attending *a)
{
    const char *name = "multihead_attention";
    const tn_tensor *q = a->query, *k = a->key, *v = a->value;
    if (!tn_ready(name, "query", q) || !tn_ready(name, "key", k) || !tn_ready(name, "value", v))
        return false;
    const int b = a->self->batch_first ? 0 : 1;
    if ((q->ndim != 2 && q->ndim != 3) || k->ndim != q->ndim || v->ndim != q->ndim)
        tn_fail(TN_ERR_SHAPE, "%s: query is %s, key is %s and value is %s: each must be %s, or without the batch [length, features]", name,
                tn_text(q), tn_text(k), tn_text(v), b ? "[length, batch, features]" : "[batch, length, features]");
    else if (k->sizes[0] != v->sizes[0] || (q->ndim == 3 && (k->sizes[1] != v->sizes[1] || k->sizes[b] != q->sizes[b])))
        tn_fail(TN_ERR_SHAPE, "%s: query is %s, key is %s and value is %s: they must have one batch, and as many keys as values", name,
                tn_text(q), tn_text(k), tn_text(v));
    return !tn_failing();
}

/* Masks as they broadcast to [n, heads, l, s]. */
static bool masks_fit(attending *a, bool batched)
{
    const char *name = "multihead_attention";
    tn_tensor *const masks[] = {a->padding, a->mask};
    for (int i = 0; i < 2; i++)
        if (masks[i] && (!tn_ready(name, i ? "attn_mask" : "key_padding_mask", masks[i]) ||
                         (masks[i]->dtype != TN_BOOL && !tn_dtype_is_float((tn_dtype)masks[i]->dtype)))) {
            if (!tn_failing())
                tn_fail(TN_ERR_DTYPE, "%s: %s is %s: it must be bool, or of a floating dtype", name, i ? "attn_mask" : "key_padding_mask",
                        tn_dtype_name((tn_dtype)masks[i]->dtype));
            return false;
        }
    const int64_t heads = a->self->num_heads;
    const tn_shape padding = batched ? TN_SHAPE(a->n, a->s) : TN_SHAPE(a->s), one = TN_SHAPE(a->l, a->s);
    const tn_shape each = TN_SHAPE(a->n * heads, a->l, a->s);
    if (a->padding && !tn_shape_equal(tn_shape_of(a->padding), padding))
        tn_fail(TN_ERR_SHAPE, "%s: key_padding_mask is %s: it must be %s", name, tn_text(a->padding), tn_shape_text(padding));
    else if (a->mask && !tn_shape_equal(tn_shape_of(a->mask), one) && !tn_shape_equal(tn_shape_of(a->mask), each))
        tn_fail(TN_ERR_SHAPE, "%s: attn_mask is %s: it must be %s or %s", name, tn_text(a->mask), tn_shape_text(one), tn_shape_text(each));
    if (tn_failing())
        return false;
    a->padding = a->padding ? tn_reshape(a->padding, TN_SHAPE(a->n, 1, 1, a->s)) : NULL;
    a->mask = a->mask && a->mask->ndim == 3 ? tn_reshape(a->mask, TN_SHAPE(a->n, heads, a->l, a->s)) : a->mask;
    return !tn_failing();
}

/* A mask of floats from either kind. */
static tn_tensor *added(tn_tensor *mask, tn_dtype dtype)
{
    if (mask->dtype != TN_BOOL)
        return tn_as_dtype(mask, dtype);
    tn_like_args like = {.size = sizeof like, .dtype = dtype, .x = mask};
    return tn_masked_fill(tn_zeros_like_with(&like), mask, -HUGE_VAL);
}

/* Two masks as one, bool where both are; either may be NULL. */
static tn_tensor *joined(tn_tensor *a, tn_tensor *b, tn_dtype dtype)
{
    if (!a || !b)
        return a ? a : b;
    return a->dtype == TN_BOOL && b->dtype == TN_BOOL ? tn_logical_or(a, b) : tn_add(added(a, dtype), added(b, dtype));
}

/* x with zeros behind its last places, `more` of a dim counted from the last: 0 or 1. */
static tn_tensor *longer(tn_tensor *x, int dim, int64_t more)
{
    const tn_pad_args args = {.size = sizeof args, .x = x, .pads = dim ? TN_SHAPE(0, 0, 0, more) : TN_SHAPE(0, more)};
    return x && more ? tn_pad_with(&args) : x;
}

/* All masks as one, or NULL; with `causal` a row's later keys among those given too. */
static tn_tensor *merged(const attending *a, bool causal)
{
    const tn_dtype dtype = (tn_dtype)a->query->dtype;
    const tn_shape_args ones = {.size = sizeof ones, .dtype = TN_BOOL, .shape = TN_SHAPE(a->l, a->s)};
    tn_tensor *mask = longer(joined(a->mask, a->padding, dtype), 0, a->more);
    if (causal)
        mask = joined(mask, longer(tn_triu(tn_ones_with(&ones), 1), 0, a->more), dtype);
    return mask && mask->dtype != TN_BOOL ? added(mask, dtype) : mask;
}

/* Input i, the query, key or value, through its part of the projection, as [n, heads, length, e / heads]. */
static tn_tensor *projected(const attending *a, tn_tensor *x, int i)
{
    const multihead_attention *self = a->self;
    const int64_t e = self->embed_dim, heads = self->num_heads;
    tn_tensor *const own[] = {self->q_proj_weight, self->k_proj_weight, self->v_proj_weight};
    tn_linear_op_args args = {.size = sizeof args, .x = x,
                              .weight = self->in_proj_weight ? tn_narrow(self->in_proj_weight, 0, i * e, e) : own[i],
                              .bias = self->in_proj_bias ? tn_narrow(self->in_proj_bias, 0, i * e, e) : NULL};
    tn_tensor *y = tn_linear_with(&args);
    y = y ? tn_reshape(y, TN_SHAPE(y->sizes[0], y->sizes[1], heads, e / heads)) : NULL;
    return tn_permute(y, self->batch_first ? TN_DIMS(0, 2, 1, 3) : TN_DIMS(1, 2, 0, 3));
}

/* Fills parts with all three; where they are one tensor by one product. */
static void project(const attending *a, tn_tensor **parts)
{
    const multihead_attention *self = a->self;
    tn_tensor *const in[] = {a->query, a->key, a->value};
    if (a->key != a->query || a->value != a->query || !self->in_proj_weight) {
        for (int i = 0; i < 3; i++)
            parts[i] = projected(a, in[i], i);
        return;
    }
    tn_linear_op_args args = {.size = sizeof args, .x = a->query, .weight = self->in_proj_weight, .bias = self->in_proj_bias};
    tn_tensor *all = tn_linear_with(&args);
    if (all)
        all = tn_reshape(all, TN_SHAPE(all->sizes[0], all->sizes[1], 3, self->num_heads, self->embed_dim / self->num_heads));
    if (tn_unbind(all, 2, parts, 3) != 3)
        return;
    for (int i = 0; i < 3; i++)
        parts[i] = tn_permute(parts[i], self->batch_first ? TN_DIMS(0, 2, 1, 3) : TN_DIMS(1, 2, 0, 3));
}

/* Keys or values, [n, heads, s, e / heads], with those that the layer has of its own behind them. */
static tn_tensor *with_own(const attending *a, tn_tensor *part, tn_tensor *bias)
{
    const int64_t heads = a->self->num_heads, size = a->self->embed_dim / heads;
    tn_tensor *row = bias ? tn_expand(tn_reshape(bias, TN_SHAPE(1, heads, 1, size)), TN_SHAPE(a->n, heads, 1, size)) : NULL;
    part = bias ? tn_concat((tn_tensor *[]){part, row}, 2, 2) : part;
    return longer(part, 1, a->self->add_zero_attn);
}

/* The unfused way, where the softmax is wanted: *weights is its average over the heads, [n, l, s], or itself. */
static tn_tensor *attend_seen(const attending *a, tn_tensor *const *parts, double dropout, tn_tensor **weights)
{
    const multihead_attention *self = a->self;
    tn_tensor *mask = merged(a, self->is_causal);
    tn_tensor *q = tn_mul(parts[0], tn_scalar_f64(1 / sqrt((double)(self->embed_dim / self->num_heads))));
    tn_tensor *scores = tn_matmul(q, tn_transpose(parts[1], -2, -1));
    if (mask)
        scores = mask->dtype == TN_BOOL ? tn_masked_fill(scores, mask, -HUGE_VAL) : tn_add(scores, mask);
    tn_tensor *p = tn_dropout(tn_softmax(scores, -1), dropout, true);
    *weights = self->average_attn_weights ? tn_mean_with(&(tn_reduce_args){.size = sizeof(tn_reduce_args), .dim = 1, .x = p}) : p;
    return tn_matmul(p, parts[2]);
}

static tn_tensor *attend(const attending *a, tn_tensor **weights)
{
    const multihead_attention *self = a->self;
    const double dropout = self->base.training ? self->dropout : 0;
    tn_tensor *parts[3] = {NULL}, *y;
    project(a, parts);
    parts[1] = with_own(a, parts[1], self->bias_k);
    parts[2] = with_own(a, parts[2], self->bias_v);
    if (tn_failing())
        return NULL;
    if (weights)
        y = attend_seen(a, parts, dropout, weights);
    else {
        const bool causal = self->is_causal && !a->more; /* the operator's own would hide the keys behind those given */
        tn_tensor *mask = merged(a, self->is_causal && a->more);
        tn_attention_args args = {.size = sizeof args, .attn_mask = mask && mask->dtype == TN_BOOL ? tn_logical_not(mask) : mask,
                                  .dropout_p = dropout, .is_causal = causal, .q = parts[0], .k = parts[1], .v = parts[2]};
        y = tn_scaled_dot_product_attention_with(&args);
    }
    y = tn_permute(y, self->batch_first ? TN_DIMS(0, 2, 1, 3) : TN_DIMS(2, 0, 1, 3));
    const tn_shape shape = self->batch_first ? TN_SHAPE(a->n, a->l, self->embed_dim) : TN_SHAPE(a->l, a->n, self->embed_dim);
    y = y ? tn_reshape(y, shape) : NULL;
    return y ? tn_call_array(self->out_proj, &y, 1) : NULL;
}

static tn_status multihead_attention_forward(multihead_attention *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (n_in < 1 || n_in > 5) {
        tn_fail(TN_ERR_ARGUMENT, "multihead_attention: %d inputs: it takes query, key, value, key_padding_mask and attn_mask", n_in);
        return TN_ERR_ARGUMENT;
    }
    attending a = {.self = self, .query = in[0], .key = in[n_in > 1 ? 1 : 0], .value = in[n_in > 2 ? 2 : n_in - 1],
                   .padding = n_in > 3 ? in[3] : NULL, .mask = n_in > 4 ? in[4] : NULL};
    if (!attending_fits(&a))
        return tn_last_status();
    const bool batched = a.query->ndim == 3, own = a.key == a.query && a.value == a.query;
    const int batch_dim = self->batch_first ? 0 : 1;
    if (!batched) {
        a.query = tn_unsqueeze(a.query, batch_dim);
        a.key = own ? a.query : tn_unsqueeze(a.key, batch_dim);
        a.value = own ? a.query : tn_unsqueeze(a.value, batch_dim);
    }
    if (tn_failing())
        return tn_last_status();
    a.n = a.query->sizes[batch_dim];
    a.l = a.query->sizes[1 - batch_dim];
    a.s = a.key->sizes[1 - batch_dim];
    a.more = (self->bias_k != NULL) + self->add_zero_attn;
    if (!masks_fit(&a, batched))
        return tn_last_status();
    out[0] = attend(&a, n_out > 1 ? &out[1] : NULL);
    if (!batched) {
        out[0] = tn_squeeze(out[0], batch_dim);
        if (n_out > 1)
            out[1] = tn_squeeze(out[1], 0);
    }
    return tn_last_status();
}

static size_t multihead_attention_describe(const tn_module *module, char *text, size_t size)
{
    const multihead_attention *self = (const multihead_attention *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, %lld", (long long)self->embed_dim, (long long)self->num_heads);
    if (self->dropout > 0)
        tn_put(&out, ", dropout=%g", self->dropout);
    tn_put(&out, "%s%s%s", tn_bias_text(self->in_proj_bias), self->bias_k ? ", add_bias_kv=True" : "",
           self->add_zero_attn ? ", add_zero_attn=True" : "");
    tn_put(&out, "%s%s", self->batch_first ? ", batch_first=True" : "", self->is_causal ? ", is_causal=True" : "");
    return out.length;
}
TN_MODULE_THUNK_(multihead_attention,
                 return multihead_attention_forward((multihead_attention *)(void *)module_, in_, n_in_, out_, n_out_)) = {
    sizeof(tn_module_type), "multihead_attention", sizeof(multihead_attention), -1, 2, multihead_attention_thunk_, NULL, NULL,
    multihead_attention_describe,
};

static tn_tensor *xavier(int64_t out, int64_t in, tn_dtype dtype)
{
    const double bound = sqrt(6.0 / (double)(in + out));
    tn_uniform_args args = {.size = sizeof args, .shape = TN_SHAPE(out, in), .a = -bound, .b = bound, .dtype = dtype};
    return tn_uniform_with(&args);
}

/* [1, 1, e] by Xavier's normal law, whose fans are both e. */
static tn_tensor *row_of(int64_t e, tn_dtype dtype)
{
    tn_uniform_args args = {.size = sizeof args, .shape = TN_SHAPE(1, 1, e), .a = 0, .b = 1 / sqrt((double)e), .dtype = dtype};
    return tn_normal_with(&args);
}

static bool sizes_fit(const tn_multihead_attention_args *a)
{
    if (tn_failing())
        return false;
    if (a->embed_dim < 1 || a->num_heads < 1 || a->embed_dim % a->num_heads)
        tn_fail(TN_ERR_ARGUMENT, "multihead_attention: embed_dim is %lld and num_heads %lld: both must be given, and num_heads divide "
                "embed_dim", (long long)a->embed_dim, (long long)a->num_heads);
    else if (a->kdim < 0 || a->vdim < 0)
        tn_fail(TN_ERR_ARGUMENT, "multihead_attention: kdim is %lld and vdim %lld: they must be 1 or more, or 0 for embed_dim",
                (long long)a->kdim, (long long)a->vdim);
    else if (!(a->dropout >= 0 && a->dropout <= 1))
        tn_fail(TN_ERR_ARGUMENT, "multihead_attention: dropout is %g: a probability, 0 to 1, is needed", a->dropout);
    return !tn_failing();
}

tn_module *tn_multihead_attention_new_with(const tn_multihead_attention_args *a)
{
    TN_KNOWN(tn_multihead_attention_args, a);
    if (!sizes_fit(a))
        return NULL;
    TN_SCOPE;
    multihead_attention *self = TN_NEW(multihead_attention);
    const int64_t e = a->embed_dim, kdim = a->kdim ? a->kdim : e, vdim = a->vdim ? a->vdim : e;
    if (!self)
        return NULL;
    self->embed_dim = e;
    self->num_heads = a->num_heads;
    self->dropout = a->dropout;
    self->batch_first = a->batch_first;
    self->is_causal = a->is_causal;
    self->add_zero_attn = a->add_zero_attn;
    self->average_attn_weights = a->average_attn_weights;
    if (kdim == e && vdim == e)
        TN_PARAM(self, in_proj_weight, xavier(3 * e, e, a->dtype));
    else {
        TN_PARAM(self, q_proj_weight, xavier(e, e, a->dtype));
        TN_PARAM(self, k_proj_weight, xavier(e, kdim, a->dtype));
        TN_PARAM(self, v_proj_weight, xavier(e, vdim, a->dtype));
    }
    tn_shape_args zeros = {.size = sizeof zeros, .shape = TN_SHAPE(3 * e), .dtype = a->dtype};
    if (a->bias)
        TN_PARAM(self, in_proj_bias, tn_zeros_with(&zeros));
    if (a->add_bias_kv) {
        TN_PARAM(self, bias_k, row_of(e, a->dtype));
        TN_PARAM(self, bias_v, row_of(e, a->dtype));
    }
    const tn_linear_layer_args out = {.size = sizeof out, .bias = a->bias, .dtype = a->dtype, .in_features = e, .out_features = e};
    TN_CHILD(self, out_proj, tn_linear_new_with(&out));
    if (self->out_proj && a->bias)
        tn_init_zeros(tn_parameter(self->out_proj, "bias"));
    return tn_finished(self);
}
