/* GGUF files of the architectures llama (and Mistral, which has no other), qwen2 and qwen3. */
#include "models/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "llama.block_count" */
typedef struct named {
    tn_weights_source source;
    const tn_gguf *file;
    const char *architecture;
    char key[96];
} named;

static const char *key_of(named *n, const char *name)
{
    snprintf(n->key, sizeof n->key, "%s.%s", n->architecture, name);
    return n->key;
}

/* An integer, or a list with one for each layer, which must be the same for all. */
static int64_t whole(named *n, const char *name, int64_t missing)
{
    TN_SCOPE;
    const char *key = key_of(n, name);
    const int64_t at = tn_gguf_find_key(n->file, key);
    if (at < 0 || tn_gguf_entry_at(n->file, at).kind != TN_GGUF_ARRAY)
        return tn_gguf_int(n->file, key, missing);
    const tn_tensor *list = tn_gguf_numbers(n->file, key);
    const int64_t *values = list && list->dtype == TN_I64 && list->numel > 0 ? tn_data(list) : NULL;
    for (int64_t i = 1; values && i < list->numel; i++)
        if (values[i] != values[0])
            tn_weights_fail(n->source, TN_ERR_UNSUPPORTED, "%s is %lld in layer 0 and %lld in layer %lld: it must be one for all", key,
                            (long long)values[0], (long long)values[i], (long long)i);
    if (!values)
        TN_WEIGHTS_BAD(n->source, "%s is no integer and no list of them", key);
    return tn_failing() ? missing : values[0];
}

/* An f32 as the decimal number that was meant: 1e-5, not 9.9999997473787516e-06. */
static double number(named *n, const char *name, double missing)
{
    const double value = tn_gguf_float(n->file, key_of(n, name), missing);
    char text[32];
    snprintf(text, sizeof text, "%.7g", value);
    const double meant = strtod(text, NULL);
    return (float)meant == (float)value ? meant : value;
}

/* Where a factor stands without a type, llama.cpp takes it for linear. */
static bool read_scaling(named *n, tn_llama_args *c)
{
    const char *kind = tn_gguf_string(n->file, key_of(n, "rope.scaling.type"), "linear");
    const double factor = number(n, "rope.scaling.factor", number(n, "rope.scale_linear", 1)), scale = number(n, "rope.scaling.attn_factor", 1);
    c->rope_theta = number(n, "rope.freq_base", 10000);
    if (tn_failing())
        return false;
    if (strcmp(kind, "none") != 0 && strcmp(kind, "linear") != 0)
        return tn_weights_fail(n->source, TN_ERR_UNSUPPORTED, "rope.scaling.type \"%s\" is not among what Tenon's Llama has", kind);
    if (scale != 1)
        return tn_weights_fail(n->source, TN_ERR_UNSUPPORTED, "rope.scaling.attn_factor is %g: rotations alone are had", scale);
    c->rope_factor = strcmp(kind, "linear") == 0 ? factor : 1;
    return true;
}

static bool read_config(named *n, tn_llama_args *c)
{
    const int64_t embed = tn_gguf_find(n->file, "token_embd.weight");
    if (embed < 0)
        return TN_WEIGHTS_BAD(n->source, "there is no \"token_embd.weight\"");
    *c = tn_llama_defaults();
    c->vocab_size = tn_gguf_blocks(n->file, embed).shape.sizes[0];
    c->hidden_size = whole(n, "embedding_length", 0);
    c->intermediate_size = whole(n, "feed_forward_length", 0);
    c->num_hidden_layers = whole(n, "block_count", 0);
    c->num_attention_heads = whole(n, "attention.head_count", 0);
    c->num_key_value_heads = whole(n, "attention.head_count_kv", 0);
    c->head_dim = whole(n, "attention.key_length", 0);
    c->max_position_embeddings = whole(n, "context_length", 2048);
    c->sliding_window = whole(n, "attention.sliding_window", 0);
    c->rms_norm_eps = number(n, "attention.layer_norm_rms_epsilon", 0);
    c->tie_word_embeddings = tn_gguf_find(n->file, "output.weight") < 0;
    c->attention_bias = tn_gguf_find(n->file, "blk.0.attn_q.bias") >= 0;
    c->qk_norm = strcmp(n->architecture, "qwen3") == 0;
    if (tn_failing() || !read_scaling(n, c) || !tn_llama_completed(n->source.path, TN_ERR_FORMAT, c))
        return false;
    const int64_t turned = whole(n, "rope.dimension_count", c->head_dim), values = whole(n, "attention.value_length", c->head_dim);
    if (turned != c->head_dim || values != c->head_dim || whole(n, "expert_count", 0) != 0)
        tn_weights_fail(n->source, TN_ERR_UNSUPPORTED, "rope.dimension_count is %lld, attention.value_length %lld and expert_count %lld: the "
                        "first two must be the heads' %lld and the last 0", (long long)turned, (long long)values, (long long)whole(n, "expert_count", 0),
                        (long long)c->head_dim);
    if (!tn_gguf_bool(n->file, key_of(n, "attention.causal"), true) || whole(n, "nextn_predict_layers", 0) != 0)
        tn_weights_fail(n->source, TN_ERR_UNSUPPORTED, "%s: what Tenon's Llama has is causal, and each of its layers is run for the next token", n->key);
    return !tn_failing();
}

/* Which layers have the window: those with a 1 in a list, or of a number n all but each n-th (0: all), as llama.cpp has the key where it reads it;
 * without the key all. What such layers may have of their own must be what the others have. */
static bool read_window(named *n, tn_llama_args *c)
{
    TN_SCOPE;
    const char *key = key_of(n, "attention.sliding_window_pattern");
    const int64_t at = tn_gguf_find_key(n->file, key);
    const bool listed = at >= 0 && tn_gguf_entry_at(n->file, at).kind == TN_GGUF_ARRAY;
    const tn_tensor *list = listed ? tn_cast(tn_gguf_numbers(n->file, key), TN_BOOL) : NULL;
    const bool *slides = list ? tn_data(list) : NULL;
    const int64_t period = listed ? 0 : tn_gguf_int(n->file, key, 0);
    int64_t sliding = at < 0 && c->sliding_window;
    if (period < 0 || (list && list->numel != c->num_hidden_layers))
        TN_WEIGHTS_BAD(n->source, "%s is %lld%s, and there are %lld layers", key, (long long)(list ? list->numel : period), list ? " flags" : "",
                       (long long)c->num_hidden_layers);
    for (int64_t i = 0; at >= 0 && i < c->num_hidden_layers && !tn_failing(); i++) {
        const bool has = slides ? slides[i] : period == 0 || i % period < period - 1;
        sliding += has;
        if (!has && i < 256)
            c->full_layers.bits[i / 64] |= (uint64_t)1 << i % 64;
        else if (!has && c->sliding_window)
            tn_weights_fail(n->source, TN_ERR_UNSUPPORTED, "%s: a layer without the window beyond 256 layers", key);
        else if (has && !c->sliding_window)
            TN_WEIGHTS_BAD(n->source, "%s has layers with a window, and there is no attention.sliding_window", key);
    }
    if (!sliding) {
        c->sliding_window = 0;
        c->full_layers = (tn_layer_set){{0}};
    } else if (whole(n, "attention.key_length_swa", c->head_dim) != c->head_dim || whole(n, "attention.value_length_swa", c->head_dim) != c->head_dim ||
               whole(n, "rope.dimension_count_swa", c->head_dim) != c->head_dim || number(n, "rope.freq_base_swa", c->rope_theta) != c->rope_theta) {
        tn_weights_fail(n->source, TN_ERR_UNSUPPORTED, "%s is another than that of layers without a window", n->key);
    }
    return !tn_failing();
}

/* Each weight's blocks, and no tensor but those. */
static bool take_weights(const named *n, tn_weights *w)
{
    int64_t known = w->count;
    for (int64_t i = 0; i < w->count; i++) {
        char name[64];
        tn_weight *weight = &w->weights[i];
        tn_weight_name(weight->kind, weight->layer, true, name);
        const int64_t at = tn_gguf_find(n->file, name);
        if (at < 0)
            return TN_WEIGHTS_BAD(n->source, "there is no \"%s\"", name);
        const tn_blocks blocks = tn_gguf_blocks(n->file, at);
        if (!tn_shape_equal(blocks.shape, weight->blocks.shape))
            return TN_WEIGHTS_BAD(n->source, "\"%s\" is %s, and must be %s", name, tn_shape_text(blocks.shape), tn_shape_text(weight->blocks.shape));
        weight->blocks = blocks;
    }
    const int64_t freqs = tn_gguf_find(n->file, "rope_freqs.weight");
    known += freqs >= 0;
    if (freqs >= 0 && !tn_weights_keep_freqs(n->source, w, tn_gguf_tensor(n->file, "rope_freqs.weight", TN_F32)))
        return false;
    if (tn_gguf_count(n->file) != known)
        return tn_weights_fail(n->source, TN_ERR_UNSUPPORTED, "%lld tensors, of which a %s of this configuration has %lld: the file holds "
                               "another model", (long long)tn_gguf_count(n->file), n->architecture, (long long)known);
    return true;
}

tn_weights *tn_weights_gguf(tn_weights_source source)
{
    tn_gguf *file = tn_map_gguf(source.path);
    named n = {.source = source, .file = file, .architecture = tn_gguf_string(file, "general.architecture", "")};
    tn_llama_args config;
    if (!file || !n.architecture)
        return NULL;
    if (strcmp(n.architecture, "llama") != 0 && strcmp(n.architecture, "qwen2") != 0 && strcmp(n.architecture, "qwen3") != 0)
        return tn_weights_fail(source, TN_ERR_UNSUPPORTED, "architecture \"%s\": llama, qwen2 and qwen3 are read", n.architecture);
    const bool llama = strcmp(n.architecture, "llama") == 0;
    tn_weights *w = read_config(&n, &config) ? tn_weights_new(source, &config, 2 * tn_gguf_count(file) + 64, llama) : NULL;
    if (!w)
        return NULL;
    w->owner = w->gguf = tn_retain(file);
    w->format = "GGUF";
    if (read_window(&n, &w->config) && take_weights(&n, w))
        return w;
    tn_release(w);
    return NULL;
}
