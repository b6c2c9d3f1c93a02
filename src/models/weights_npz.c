/* llama3.np's and PyDyNet's npz (https://github.com/likejazz/llama3.np, https://github.com/WeltXing/PyDyNet): transformers' names, matrices
 * [out, in], and llama2.c's order of rows in q_proj and k_proj. Such a file has no configuration: its shapes tell most, and the rest is what both
 * programs have for the one model that they read. */
#include "models/weights.h"

#include "io/file.h"

#include <stdio.h>
#include <string.h>

/* The shape [rows, columns] of a matrix; false with an error. */
static bool matrix(tn_weights_source source, const tn_dict *dict, const char *name, int64_t *rows, int64_t *columns)
{
    const tn_tensor *x = tn_dict_find(dict, name) >= 0 ? tn_dict_get(dict, name) : NULL;
    if (!x)
        return TN_WEIGHTS_BAD(source, "there is no \"%s\"", name);
    if (x->ndim != 2)
        return TN_WEIGHTS_BAD(source, "\"%s\" is %s, and must be a matrix", name, tn_text(x));
    *rows = x->sizes[0];
    *columns = x->sizes[1];
    return true;
}

/* What the shapes say; heads are those of stories15M. */
static bool guess(tn_weights_source source, const tn_dict *dict, tn_llama_args *c)
{
    enum { STORIES_HIDDEN = 288, STORIES_HEADS = 6 };
    int64_t layers = 0, keys = 0, columns;
    char name[64];
    *c = tn_llama_defaults();
    c->rms_norm_eps = 1e-6;
    c->max_position_embeddings = 1024;
    if (!matrix(source, dict, "model.embed_tokens.weight", &c->vocab_size, &c->hidden_size) ||
        !matrix(source, dict, "model.layers.0.mlp.gate_proj.weight", &c->intermediate_size, &columns) ||
        !matrix(source, dict, "model.layers.0.self_attn.k_proj.weight", &keys, &columns))
        return false;
    do
        snprintf(name, sizeof name, "model.layers.%lld.input_layernorm.weight", (long long)++layers);
    while (tn_dict_find(dict, name) >= 0);
    c->num_hidden_layers = layers;
    c->tie_word_embeddings = tn_dict_find(dict, "lm_head.weight") < 0;
    if (c->hidden_size != STORIES_HIDDEN)
        return TN_WEIGHTS_BAD(source, "the file does not tell how many heads its model has: put a config.json beside it");
    c->num_attention_heads = STORIES_HEADS;
    c->head_dim = STORIES_HIDDEN / STORIES_HEADS;
    c->num_key_value_heads = keys / c->head_dim;
    return true;
}

tn_weights *tn_weights_npz(tn_weights_source source)
{
    bool found = true;
    tn_llama_config_text text = {0};
    tn_dict *dict = tn_map_npz(source.path);
    const tn_tensor *config = tn_dict_find(dict, TN_WEIGHTS_CONFIG) >= 0 ? tn_dict_get(dict, TN_WEIGHTS_CONFIG) : NULL;
    if (!dict)
        return NULL;
    if (config && config->dtype == TN_U8 && tn_has(config, TN_FLAG_CONTIGUOUS)) {
        if (!tn_llama_config_parse(source, tn_ptr(config), (size_t)config->numel, &text))
            return NULL;
    } else if (!tn_llama_config_read(source, false, &found, &text) || (!found && !guess(source, dict, &text.config))) {
        return NULL;
    }
    return tn_weights_of_dict(source, &text.config, text.rope_freqs, dict, true, "npz");
}
