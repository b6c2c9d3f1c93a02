/* Files of weights as modules, and what they hold as text. */
#include "models/weights.h"

#include "nn/module.h"

/* Copies each weight into the parameter of its name. */
static bool fill(tn_module *llama, const tn_weights *w)
{
    for (int64_t i = 0; i < w->count; i++) {
        TN_SCOPE;
        TN_NO_GRAD;
        const tn_dtype dtype = tn_quant_dtype(w->weights[i].blocks.type);
        tn_tensor *from = tn_weight_tensor(w, &w->weights[i], 0, dtype == TN_DTYPE_DEFAULT ? TN_F32 : dtype);
        tn_tensor *to = from ? tn_parameter(llama, w->weights[i].name) : NULL;
        if (!to || tn_overwrite(to, from) != TN_OK)
            return false;
    }
    return true;
}

tn_module *tn_llama_load_with(const tn_llama_load_args *args)
{
    TN_KNOWN(tn_llama_load_args, args);
    TN_SCOPE;
    tn_weights *w = tn_adopt(tn_weights_open(args->path));
    if (!w)
        return NULL;
    tn_llama_args config = w->config;
    config.dtype = args->dtype;
    tn_this.undrawn = true;
    tn_module *llama = tn_llama_new_with(&config);
    tn_this.undrawn = false;
    if (llama && fill(llama, w))
        return llama;
    tn_release(llama);
    return NULL;
}

static void put_config(tn_text_out *out, const tn_weights *w)
{
    const tn_llama_args *c = &w->config;
#define WHOLE(field) tn_put(out, #field " %lld\n", (long long)c->field)
#define REAL(field) tn_put(out, #field " %g\n", c->field)
#define FLAG(field) tn_put(out, #field " %s\n", c->field ? "true" : "false")
    WHOLE(vocab_size);
    WHOLE(hidden_size);
    WHOLE(intermediate_size);
    WHOLE(num_hidden_layers);
    WHOLE(num_attention_heads);
    WHOLE(num_key_value_heads);
    WHOLE(head_dim);
    WHOLE(max_position_embeddings);
    WHOLE(sliding_window);
    if (tn_llama_mixed(c)) {
        tn_put(out, "full_layers");
        for (int64_t i = 0; i < c->num_hidden_layers; i++)
            if (!tn_llama_window(c, i))
                tn_put(out, " %lld", (long long)i);
        tn_put(out, "\n");
    }
    REAL(rms_norm_eps);
    REAL(rope_theta);
    REAL(rope_factor);
    REAL(rope_original_length);
    FLAG(tie_word_embeddings);
    FLAG(attention_bias);
    FLAG(qk_norm);
    if (w->rope_freqs)
        tn_put(out, "rope_freqs [%lld]\n", (long long)(c->head_dim / 2));
}

size_t tn_llama_inspect(const char *path, char *text, size_t size)
{
    TN_SCOPE;
    const tn_dict *tuned = tn_tuned_list(path);
    if (tuned)
        return tn_tuned_inspect(tuned, path, text, size);
    const tn_weights *w = tn_adopt(tn_weights_list(path));
    tn_text_out out = {text, text ? size : 0, 0};
    int64_t numbers = 0, bytes = 0;
    if (!w)
        return 0;
    tn_put(&out, "%s: %s\n", path, w->format);
    put_config(&out, w);
    for (int64_t i = 0; i < w->count; i++) {
        const tn_blocks *b = &w->weights[i].blocks;
        tn_put(&out, "%-48s %-7s %-14s %12zu\n", w->weights[i].name, tn_quant_name(b->type), tn_shape_text(b->shape), b->size);
        numbers += b->shape.sizes[0] * (b->shape.ndim == 2 ? b->shape.sizes[1] : 1);
        bytes += (int64_t)b->size;
    }
    tn_put(&out, "%lld weights, %lld numbers, %lld bytes\n", (long long)w->count, (long long)numbers, (long long)bytes);
    return out.length;
}
