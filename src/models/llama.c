/* The Llama family as modules: attention, the gated network, a layer of both, the model, and the model with its head. */
#include "models/weights.h"

#include "nn/layer.h"

/* ---- attention ------------------------------------------------------------------------------------------------------------ */

typedef struct llama_attention {
    tn_module base;
    tn_module *q_proj, *k_proj, *v_proj, *o_proj;
    tn_module *q_norm, *k_norm; /* NULL but with .qk_norm */
    int64_t heads, kv_heads, head_dim;
    bool interleaved;
} llama_attention;

/* x [n, l, hidden] through a projection, as [n, heads, l, head_dim]. */
static tn_tensor *in_heads(const llama_attention *self, tn_module *projection, tn_tensor *x, int64_t heads)
{
    tn_tensor *y = tn_call_array(projection, &x, 1);
    y = y ? tn_reshape(y, TN_SHAPE(x->sizes[0], x->sizes[1], heads, self->head_dim)) : NULL;
    return tn_transpose(y, 1, 2);
}

/* The same for what is turned by its position, normed before where the model does so. */
static tn_tensor *turned(const llama_attention *self, tn_module *projection, tn_module *norm, tn_tensor *const *in, int64_t heads)
{
    tn_tensor *y = in_heads(self, projection, in[0], heads);
    if (norm && y)
        y = tn_call_array(norm, &y, 1);
    return y ? tn_rope_with(&(tn_rope_args){sizeof(tn_rope_args), .interleaved = self->interleaved, .x = y, .cos = in[1], .sin = in[2]}) : NULL;
}

/* What a layer and its attention take: x [n, l, hidden], the tables' cos and sin [l, head_dim / 2], and the window's mask [l, l] or NULL. */
static bool inputs_fit(const char *name, tn_tensor *const *in, int n_in, int n_out)
{
    if (n_in != 4 || n_out != 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: %d inputs and %d outputs: it takes x, cos, sin and a mask or NULL, and gives one", name, n_in, n_out);
    else if (tn_ready(name, "x", in[0]) && in[0]->ndim != 3)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s: it must be [n, l, hidden_size]", name, tn_text(in[0]));
    return !tn_failing();
}

static tn_status llama_attention_forward(llama_attention *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (!inputs_fit("llama_attention", in, n_in, n_out))
        return tn_last_status();
    tn_attention_args args = {.size = sizeof args, .attn_mask = in[3], .is_causal = !in[3], .enable_gqa = true};
    args.q = turned(self, self->q_proj, self->q_norm, in, self->heads);
    args.k = turned(self, self->k_proj, self->k_norm, in, self->kv_heads);
    args.v = in_heads(self, self->v_proj, in[0], self->kv_heads);
    tn_tensor *y = tn_failing() ? NULL : tn_transpose(tn_scaled_dot_product_attention_with(&args), 1, 2); /* [n, l, heads, head_dim] */
    y = y ? tn_reshape(y, TN_SHAPE(y->sizes[0], y->sizes[1], self->heads * self->head_dim)) : NULL;
    out[0] = y ? tn_call_array(self->o_proj, &y, 1) : NULL;
    return tn_last_status();
}
TN_MODULE_N(llama_attention, llama_attention_forward);

static tn_module *projection_new(const tn_llama_args *a, int64_t in, int64_t out, bool bias)
{
    const tn_linear_layer_args args = {.size = sizeof args, .bias = bias, .dtype = a->dtype, .in_features = in, .out_features = out};
    tn_module *linear = tn_linear_new_with(&args);
    if (linear) {
        tn_init_normal(tn_parameter(linear, "weight"), 0, a->initializer_range);
        if (bias)
            tn_init_zeros(tn_parameter(linear, "bias"));
    }
    return tn_finished(linear);
}

static tn_module *norm_new(const tn_llama_args *a, int64_t size)
{
    return tn_rms_norm_new_with(&(tn_rms_norm_layer_args){
        .size = sizeof(tn_rms_norm_layer_args), .eps = a->rms_norm_eps, .elementwise_affine = true, .dtype = a->dtype, .shape = TN_SHAPE(size)});
}

static llama_attention *llama_attention_new(const tn_llama_args *a)
{
    llama_attention *self = TN_NEW(llama_attention);
    const int64_t queries = a->num_attention_heads * a->head_dim, keys = a->num_key_value_heads * a->head_dim;
    if (!self)
        return NULL;
    self->heads = a->num_attention_heads;
    self->kv_heads = a->num_key_value_heads;
    self->head_dim = a->head_dim;
    self->interleaved = a->rope_interleaved;
    TN_CHILD(self, q_proj, projection_new(a, a->hidden_size, queries, a->attention_bias));
    TN_CHILD(self, k_proj, projection_new(a, a->hidden_size, keys, a->attention_bias));
    TN_CHILD(self, v_proj, projection_new(a, a->hidden_size, keys, a->attention_bias));
    TN_CHILD(self, o_proj, projection_new(a, queries, a->hidden_size, false));
    if (a->qk_norm) {
        TN_CHILD(self, q_norm, norm_new(a, a->head_dim));
        TN_CHILD(self, k_norm, norm_new(a, a->head_dim));
    }
    return (llama_attention *)(void *)tn_finished(self);
}

/* ---- the gated network ---------------------------------------------------------------------------------------------------- */

typedef struct llama_mlp {
    tn_module base;
    tn_module *gate_proj, *up_proj, *down_proj;
} llama_mlp;

/* SwiGLU (Shazeer 2020). */
static tn_tensor *llama_mlp_forward(llama_mlp *self, tn_tensor *x)
{
    tn_tensor *gate = tn_call(self->gate_proj, x), *up = tn_call(self->up_proj, x);
    return tn_call(self->down_proj, tn_swiglu(gate, up));
}
TN_MODULE(llama_mlp, llama_mlp_forward);

static llama_mlp *llama_mlp_new(const tn_llama_args *a)
{
    llama_mlp *self = TN_NEW(llama_mlp);
    TN_CHILD(self, gate_proj, projection_new(a, a->hidden_size, a->intermediate_size, false));
    TN_CHILD(self, up_proj, projection_new(a, a->hidden_size, a->intermediate_size, false));
    TN_CHILD(self, down_proj, projection_new(a, a->intermediate_size, a->hidden_size, false));
    return (llama_mlp *)(void *)tn_finished(self);
}

/* ---- a layer -------------------------------------------------------------------------------------------------------------- */

typedef struct llama_layer {
    tn_module base;
    tn_module *input_layernorm, *post_attention_layernorm;
    llama_attention *self_attn;
    llama_mlp *mlp;
} llama_layer;

static tn_status llama_layer_forward(llama_layer *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (!inputs_fit("llama_layer", in, n_in, n_out))
        return tn_last_status();
    tn_tensor *x = tn_add(in[0], tn_call(self->self_attn, tn_call(self->input_layernorm, in[0]), in[1], in[2], in[3]));
    out[0] = tn_add(x, tn_call(self->mlp, tn_call(self->post_attention_layernorm, x)));
    return tn_last_status();
}
TN_MODULE_N(llama_layer, llama_layer_forward);

static llama_layer *llama_layer_new(const tn_llama_args *a)
{
    llama_layer *self = TN_NEW(llama_layer);
    TN_CHILD(self, self_attn, llama_attention_new(a));
    TN_CHILD(self, mlp, llama_mlp_new(a));
    TN_CHILD(self, input_layernorm, norm_new(a, a->hidden_size));
    TN_CHILD(self, post_attention_layernorm, norm_new(a, a->hidden_size));
    return (llama_layer *)(void *)tn_finished(self);
}

/* ---- the model ------------------------------------------------------------------------------------------------------------ */

enum { MOST_FREQS = 512 };

typedef struct llama_model {
    tn_module base;
    tn_module *embed_tokens, *layers, *norm;
    tn_llama_args config;
    bool has_rope_freqs;
    float rope_freqs[MOST_FREQS]; /* [head_dim / 2]; no buffer, which a cast of the module would round */
} llama_model;

static tn_tensor *rope_freqs_of(const llama_model *self)
{
    if (!self->has_rope_freqs)
        return NULL;
    const tn_from_args args = {.size = sizeof args, .dtype = TN_F32, .data = self->rope_freqs, .shape = TN_SHAPE(self->config.head_dim / 2)};
    return tn_from_floats_with(&args);
}

/* Which columns each row may look at: itself and the window before it, bool [l, l]. */
static tn_tensor *window_mask(int64_t l, int64_t window, tn_device_id device)
{
    const tn_shape_args ones = {.size = sizeof ones, .dtype = TN_BOOL, .device = &device, .shape = TN_SHAPE(l, l)};
    return tn_triu(tn_tril(tn_ones_with(&ones), 0), (int)(1 - window));
}

static tn_tensor *llama_model_forward(llama_model *self, tn_tensor *tokens) /* [l] or [n, l] */
{
    const tn_llama_args *c = &self->config;
    if (!tn_ready("llama", "tokens", tokens))
        return NULL;
    if (tokens->ndim < 1 || tokens->ndim > 2)
        return tn_fail(TN_ERR_SHAPE, "llama: tokens is %s: it must be [l] or [n, l]", tn_text(tokens));
    const int64_t l = tokens->sizes[tokens->ndim - 1];
    if (l > c->max_position_embeddings)
        return tn_fail(TN_ERR_SHAPE, "llama: tokens is %s: the model knows %lld positions (max_position_embeddings)", tn_text(tokens),
                       (long long)c->max_position_embeddings);
    const tn_device_id device = tokens->storage->device;
    tn_tensor *sin, *positions = tn_arange_with(&(tn_range_args){.size = sizeof(tn_range_args), .end = (double)l, .step = 1, .dtype = TN_I64,
                                                                 .device = &device});
    tn_rope_tables_args tables = {.size = sizeof tables, .base = c->rope_theta, .factor = c->rope_factor,
                                  .original_length = c->rope_original_length, .low_freq_factor = c->rope_low_freq_factor,
                                  .high_freq_factor = c->rope_high_freq_factor, .positions = positions, .dim = c->head_dim,
                                  .sin = &sin, .freq_factors = rope_freqs_of(self)};
    tn_tensor *x = tn_call(self->embed_tokens, tokens->ndim == 1 ? tn_unsqueeze(tokens, 0) : tokens);
    tables.dtype = x && x->dtype == TN_F64 ? TN_F64 : TN_F32; /* angles are never rounded to 16 bits */
    tn_tensor *cos = tn_rope_tables_with(&tables);
    tn_tensor *mask = c->sliding_window && l > c->sliding_window ? window_mask(l, c->sliding_window, device) : NULL;
    for (int i = 0; i < c->num_hidden_layers && !tn_failing(); i++)
        x = tn_call(tn_child_at(self->layers, i), x, cos, sin, tn_llama_window(c, i) ? mask : NULL);
    x = tn_call(self->norm, x);
    return tokens->ndim == 1 ? tn_squeeze(x, 0) : x;
}
TN_MODULE(llama_model, llama_model_forward);

static llama_model *llama_model_new(const tn_llama_args *a)
{
    llama_model *self = TN_NEW(llama_model);
    if (!self)
        return NULL;
    self->config = *a;
    self->config.rope_freqs = NULL;
    self->has_rope_freqs = a->rope_freqs != NULL;
    if (a->rope_freqs && a->head_dim / 2 > MOST_FREQS)
        tn_fail(TN_ERR_UNSUPPORTED, "llama: rope_freqs of head_dim %lld: at most %d", (long long)a->head_dim, 2 * MOST_FREQS);
    else if (a->rope_freqs)
        (void)!tn_to_floats(a->rope_freqs, self->rope_freqs, a->head_dim / 2);
    const tn_embedding_layer_args table = {.size = sizeof table, .padding_idx = TN_NO_PADDING, .dtype = a->dtype, .rows = a->vocab_size,
                                           .dim = a->hidden_size};
    TN_CHILD(self, embed_tokens, tn_embedding_new_with(&table));
    TN_CHILD(self, layers, tn_module_list_new_from(NULL, 0));
    for (int64_t i = 0; i < a->num_hidden_layers && !tn_failing(); i++)
        if (tn_append(self->layers, llama_layer_new(a)) != TN_OK)
            break;
    TN_CHILD(self, norm, norm_new(a, a->hidden_size));
    if (!tn_failing())
        tn_init_normal(tn_parameter(self->embed_tokens, "weight"), 0, a->initializer_range);
    return (llama_model *)(void *)tn_finished(self);
}

/* ---- with its head -------------------------------------------------------------------------------------------------------- */

typedef struct llama {
    tn_module base;
    llama_model *model;
    tn_module *lm_head; /* NULL where the embedding's weight is the head's */
} llama;

static tn_tensor *llama_forward(llama *self, tn_tensor *tokens)
{
    tn_tensor *x = tn_call(self->model, tokens);
    if (self->lm_head)
        return tn_call(self->lm_head, x);
    return tn_linear_with(&(tn_linear_op_args){sizeof(tn_linear_op_args), .x = x, .weight = tn_parameter(self->model->embed_tokens, "weight")});
}

static size_t llama_describe(const tn_module *module, char *text, size_t size)
{
    const tn_llama_args *c = tn_llama_config(module);
    tn_text_out out = {text, size, 0};
    tn_put(&out, "vocab_size=%lld, hidden_size=%lld, intermediate_size=%lld, heads=%lld of %lld, key/value heads=%lld", (long long)c->vocab_size,
           (long long)c->hidden_size, (long long)c->intermediate_size, (long long)c->num_attention_heads, (long long)c->head_dim,
           (long long)c->num_key_value_heads);
    return out.length;
}
LAYER(llama);

const tn_llama_args *tn_llama_config(const void *module)
{
    const tn_module *m = tn_module_of("llama_config", module);
    if (m && m->type != &llama_module)
        return tn_fail(TN_ERR_ARGUMENT, "llama_config: %s is no llama", m->type->name);
    return m ? &((const llama *)module)->model->config : NULL;
}

tn_tensor *tn_llama_rope_freqs(const void *module)
{
    return tn_llama_config(module) ? rope_freqs_of(((const llama *)module)->model) : NULL;
}

bool tn_llama_mixed(const tn_llama_args *c)
{
    int64_t full = 0;
    for (int64_t i = 0; i < c->num_hidden_layers; i++)
        full += tn_llama_window(c, i) == 0;
    return full > 0 && full < c->num_hidden_layers;
}

/* A window that no layer has is none: files would give it to all. */
static void drop_unused_window(tn_llama_args *a)
{
    int64_t full = 0; /* of the first layers */
    while (a->sliding_window && full < a->num_hidden_layers && !tn_llama_window(a, full))
        full++;
    if (full == a->num_hidden_layers)
        a->sliding_window = 0;
    if (!a->sliding_window)
        a->full_layers = (tn_layer_set){{0}};
}

bool tn_llama_completed(const char *op, tn_status status, tn_llama_args *a)
{
    if (!a->num_key_value_heads)
        a->num_key_value_heads = a->num_attention_heads;
    if (!a->head_dim && a->num_attention_heads > 0 && a->hidden_size % a->num_attention_heads == 0)
        a->head_dim = a->hidden_size / a->num_attention_heads;
#define GIVEN_(field) {#field, a->field}
    const struct {
        const char *name;
        int64_t value;
    } given[] = {GIVEN_(vocab_size), GIVEN_(hidden_size), GIVEN_(intermediate_size), GIVEN_(num_hidden_layers), GIVEN_(num_attention_heads),
                 GIVEN_(num_key_value_heads), GIVEN_(head_dim), GIVEN_(max_position_embeddings)};
#undef GIVEN_
    for (int i = 0; i < TN_COUNT(given); i++)
        if (given[i].value < 1 || given[i].value > INT32_MAX) {
            tn_fail(status, "%s: %s is %lld: it must be given, from 1 to 2^31", op, given[i].name, (long long)given[i].value);
            return false;
        }
    if (a->num_attention_heads % a->num_key_value_heads || a->head_dim % 2)
        tn_fail(status, "%s: num_attention_heads is %lld, num_key_value_heads %lld and head_dim %lld: the first must be a multiple of "
                "the second, and the third even", op, (long long)a->num_attention_heads, (long long)a->num_key_value_heads, (long long)a->head_dim);
    else if (a->sliding_window < 0 || !(a->rms_norm_eps > 0) || !(a->initializer_range >= 0))
        tn_fail(status, "%s: sliding_window %lld and initializer_range %g must not be negative, and rms_norm_eps %g positive", op,
                (long long)a->sliding_window, a->initializer_range, a->rms_norm_eps);
    else if (!(a->rope_theta > 0) || !(a->rope_factor > 0) || !(a->rope_original_length >= 0) ||
             !(a->rope_high_freq_factor > a->rope_low_freq_factor))
        tn_fail(status, "%s: rope_theta %g and rope_factor %g must be positive, rope_original_length %g not negative, and "
                "rope_high_freq_factor %g above rope_low_freq_factor %g", op, a->rope_theta, a->rope_factor, a->rope_original_length,
                a->rope_high_freq_factor, a->rope_low_freq_factor);
    drop_unused_window(a);
    return !tn_failing();
}

tn_module *tn_llama_new_with(const tn_llama_args *args)
{
    TN_KNOWN(tn_llama_args, args);
    tn_llama_args a = *args;
    if (tn_failing() || !tn_llama_completed("llama", TN_ERR_ARGUMENT, &a))
        return NULL;
    TN_SCOPE;
    llama *self = TN_NEW(llama);
    TN_CHILD(self, model, llama_model_new(&a));
    if (!a.tie_word_embeddings)
        TN_CHILD(self, lm_head, projection_new(&a, a.hidden_size, a.vocab_size, false));
    return tn_finished(self);
}
