/* Transformer layers, encoders and decoders. */
#include "nn/layer.h"

/* An encoder's layer, or with multihead_attn a decoder's. */
typedef struct transformer_layer {
    tn_module base;
    tn_module *self_attn, *multihead_attn;
    tn_module *linear1, *linear2;
    tn_module *norm1, *norm2, *norm3; /* norm3 of a decoder's */
    tn_transformer_activation activation;
    double dropout;
    bool norm_first;
} transformer_layer;

static tn_tensor *dropped(const transformer_layer *self, tn_tensor *x)
{
    return x ? tn_dropout(x, self->dropout, self->base.training) : NULL;
}

/* x's attention to memory, or to itself where that is NULL. */
static tn_tensor *attended(const transformer_layer *self, tn_module *attention, tn_tensor *x, tn_tensor *memory, tn_tensor *mask,
                           tn_tensor *padding)
{
    tn_tensor *const in[] = {x, memory ? memory : x, memory ? memory : x, padding, mask};
    return dropped(self, x ? tn_call_array(attention, in, TN_COUNT(in)) : NULL);
}

static tn_tensor *fed_forward(const transformer_layer *self, tn_tensor *x)
{
    x = x ? tn_call_array(self->linear1, &x, 1) : NULL; /* with its ReLU */
    if (self->activation == TN_TRANSFORMER_GELU)
        x = tn_gelu_with(&(tn_gelu_args){.size = sizeof(tn_gelu_args), .x = x});
    x = dropped(self, x);
    return dropped(self, x ? tn_call_array(self->linear2, &x, 1) : NULL);
}

static tn_tensor *normed(tn_module *norm, tn_tensor *x) { return x ? tn_call_array(norm, &x, 1) : NULL; }

/* What stands before a part, and its sum with the input. */
static tn_tensor *before(const transformer_layer *self, tn_module *norm, tn_tensor *x) { return self->norm_first ? normed(norm, x) : x; }
static tn_tensor *after(const transformer_layer *self, tn_module *norm, tn_tensor *x, tn_tensor *part)
{
    tn_tensor *sum = part ? tn_add(x, part) : NULL;
    return self->norm_first ? sum : normed(norm, sum);
}

/* False, with an error, where the call has not `needed` to `most` inputs, the needed ones there, and one output. */
static bool inputs_fit(const char *name, tn_tensor *const *in, int n_in, int needed, int most, int n_out)
{
    if (n_in < needed || n_in > most || n_out != 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: %d inputs and %d outputs: it takes %d to %d and gives 1", name, n_in, n_out, needed, most);
    for (int i = 0; i < needed && !tn_failing(); i++)
        tn_ready(name, needed == 1 ? "src" : i ? "memory" : "tgt", in[i]);
    return !tn_failing();
}

static tn_status encoder_layer_forward(const transformer_layer *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (!inputs_fit("transformer_encoder_layer", in, n_in, 1, 3, n_out))
        return tn_last_status();
    tn_tensor *x = in[0], *mask = n_in > 1 ? in[1] : NULL, *padding = n_in > 2 ? in[2] : NULL;
    x = after(self, self->norm1, x, attended(self, self->self_attn, before(self, self->norm1, x), NULL, mask, padding));
    out[0] = after(self, self->norm2, x, fed_forward(self, before(self, self->norm2, x)));
    return tn_last_status();
}

static tn_status decoder_layer_forward(const transformer_layer *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (!inputs_fit("transformer_decoder_layer", in, n_in, 2, 6, n_out))
        return tn_last_status();
    tn_tensor *all[6] = {NULL}, *x = in[0];
    for (int i = 0; i < n_in; i++)
        all[i] = in[i];
    x = after(self, self->norm1, x, attended(self, self->self_attn, before(self, self->norm1, x), NULL, all[2], all[4]));
    x = after(self, self->norm2, x, attended(self, self->multihead_attn, before(self, self->norm2, x), all[1], all[3], all[5]));
    out[0] = after(self, self->norm3, x, fed_forward(self, before(self, self->norm3, x)));
    return tn_last_status();
}

static size_t layer_describe(const tn_module *module, char *text, size_t size)
{
    const transformer_layer *self = (const transformer_layer *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "dropout=%g, activation=%s%s", self->dropout, self->activation == TN_TRANSFORMER_GELU ? "gelu" : "relu",
           self->norm_first ? ", norm_first=True" : "");
    return out.length;
}

#define TRANSFORMER(kind, type, forward, describe)                                                                            \
    TN_MODULE_THUNK_(kind, return forward((type *)(void *)module_, in_, n_in_, out_, n_out_)) = {                             \
        sizeof(tn_module_type), #kind, sizeof(type), -1, 1, kind##_thunk_, NULL, NULL, describe,                              \
    }
TRANSFORMER(transformer_encoder_layer, transformer_layer, encoder_layer_forward, layer_describe);
TRANSFORMER(transformer_decoder_layer, transformer_layer, decoder_layer_forward, layer_describe);

static bool layer_fits(const char *name, const tn_transformer_layer_args *a)
{
    if (tn_failing())
        return false;
    if (a->d_model < 1 || a->nhead < 1 || a->d_model % a->nhead || a->dim_feedforward < 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: d_model is %lld, nhead %lld and dim_feedforward %lld: each must be 1 or more, and nhead divide "
                "d_model", name, (long long)a->d_model, (long long)a->nhead, (long long)a->dim_feedforward);
    else if ((unsigned)a->activation > TN_TRANSFORMER_GELU)
        tn_fail(TN_ERR_ARGUMENT, "%s: activation %d is none of tn_transformer_activation", name, (int)a->activation);
    else if (!(a->dropout >= 0 && a->dropout <= 1))
        tn_fail(TN_ERR_ARGUMENT, "%s: dropout is %g: a probability, 0 to 1, is needed", name, a->dropout);
    return !tn_failing();
}

static tn_module *layer_new(const tn_module_type *type, const tn_transformer_layer_args *a, bool decoder)
{
    if (!layer_fits(type->name, a))
        return NULL;
    TN_SCOPE;
    transformer_layer *self = tn_module_new(type);
    if (!self)
        return NULL;
    self->activation = a->activation;
    self->dropout = a->dropout;
    self->norm_first = a->norm_first;
    tn_multihead_attention_args attention = {.size = sizeof attention, .dropout = a->dropout, .bias = a->bias, .batch_first = a->batch_first,
                                             .is_causal = a->is_causal, .dtype = a->dtype, .embed_dim = a->d_model, .num_heads = a->nhead};
    tn_linear_layer_args first = {.size = sizeof first, .bias = a->bias, .dtype = a->dtype, .in_features = a->d_model,
                                  .out_features = a->dim_feedforward,
                                  .activation = a->activation == TN_TRANSFORMER_RELU ? TN_ACTIVATION_RELU : TN_ACTIVATION_NONE};
    tn_linear_layer_args second = {.size = sizeof second, .bias = a->bias, .dtype = a->dtype, .in_features = a->dim_feedforward,
                                   .out_features = a->d_model};
    tn_layer_norm_layer_args norm = {.size = sizeof norm, .eps = a->layer_norm_eps, .elementwise_affine = true, .bias = a->bias,
                                     .dtype = a->dtype, .shape = TN_SHAPE(a->d_model)};
    TN_CHILD(self, self_attn, tn_multihead_attention_new_with(&attention));
    attention.is_causal = false;
    if (decoder)
        TN_CHILD(self, multihead_attn, tn_multihead_attention_new_with(&attention));
    TN_CHILD(self, linear1, tn_linear_new_with(&first));
    TN_CHILD(self, linear2, tn_linear_new_with(&second));
    TN_CHILD(self, norm1, tn_layer_norm_new_with(&norm));
    TN_CHILD(self, norm2, tn_layer_norm_new_with(&norm));
    if (decoder)
        TN_CHILD(self, norm3, tn_layer_norm_new_with(&norm));
    return tn_finished(self);
}

tn_module *tn_transformer_encoder_layer_new_with(const tn_transformer_layer_args *a)
{
    TN_KNOWN(tn_transformer_layer_args, a);
    return layer_new(&transformer_encoder_layer_module, a, false);
}

tn_module *tn_transformer_decoder_layer_new_with(const tn_transformer_layer_args *a)
{
    TN_KNOWN(tn_transformer_layer_args, a);
    return layer_new(&transformer_decoder_layer_module, a, true);
}

/* ---- stacks ----------------------------------------------------------------------------------------------------------------- */

enum { MOST_INPUTS = 6 };

typedef struct transformer {
    tn_module base;
    tn_module *layers, *norm; /* norm may be NULL */
} transformer;

static tn_status transformer_forward(const transformer *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (n_in < 1 || n_in > MOST_INPUTS || n_out != 1) {
        tn_fail(TN_ERR_ARGUMENT, "%s: %d inputs and %d outputs: it takes its layers' and gives 1", self->base.type->name, n_in, n_out);
        return TN_ERR_ARGUMENT;
    }
    tn_tensor *all[MOST_INPUTS];
    for (int i = 0; i < n_in; i++)
        all[i] = in[i];
    for (int i = 0; i < tn_num_children(self->layers) && !tn_failing(); i++) {
        all[0] = tn_call_array(tn_child_at(self->layers, i), all, n_in);
        if (!all[0])
            tn_fail_within("%s, layer %d", self->base.type->name, i);
    }
    out[0] = self->norm ? normed(self->norm, all[0]) : all[0];
    return tn_last_status();
}
TRANSFORMER(transformer_encoder, transformer, transformer_forward, NULL);
TRANSFORMER(transformer_decoder, transformer, transformer_forward, NULL);

static tn_module *stack_new(const tn_module_type *type, const tn_transformer_args *a)
{
    TN_SCOPE;
    void *layer = tn_adopt(a->layer), *norm = tn_adopt(a->norm);
    if (!tn_module_of(type->name, layer))
        return NULL;
    if (a->num_layers < 1)
        return tn_fail(TN_ERR_ARGUMENT, "%s: num_layers is %d: 1 or more are needed", type->name, a->num_layers);
    transformer *self = tn_module_new(type);
    if (!self)
        return NULL;
    void *first = tn_retain(layer);
    TN_CHILD(self, layers, tn_module_list_new_from(&first, 1));
    for (int i = 1; i < a->num_layers && !tn_failing(); i++)
        if (tn_append(self->layers, tn_keep(tn_module_clone(layer))) != TN_OK)
            break;
    if (norm)
        TN_CHILD(self, norm, tn_retain(norm));
    return tn_finished(self);
}

tn_module *tn_transformer_encoder_new_with(const tn_transformer_args *a)
{
    TN_KNOWN(tn_transformer_args, a);
    return stack_new(&transformer_encoder_module, a);
}

tn_module *tn_transformer_decoder_new_with(const tn_transformer_args *a)
{
    TN_KNOWN(tn_transformer_args, a);
    return stack_new(&transformer_decoder_module, a);
}
