/* A GGUF file of weights, as llama.cpp reads it. */
#include "models/weights.h"

#include "io/gguf.h"
#include "models/beside.h"
#include "ops/rope.h"

#include <stdio.h>
#include <string.h>

typedef struct writing {
    const tn_weights *w;
    const tn_weights_target *target;
    const char *architecture;
    tn_gguf_writer *out;
} writing;

/* ---- values ----------------------------------------------------------------------------------------------------------------- */

static const char *key_of(const writing *g, const char *name, char key[96])
{
    snprintf(key, 96, "%s.%s", g->architecture, name);
    return key;
}

static void put_whole(const writing *g, const char *name, int64_t value)
{
    char key[96];
    (void)!tn_gguf_set_int(g->out, key_of(g, name, key), TN_GGUF_U32, value);
}

static void put_number(const writing *g, const char *name, double value)
{
    char key[96];
    (void)!tn_gguf_set_float(g->out, key_of(g, name, key), value);
}

/* The tokeniser that is named or lies beside the source; without one llama.cpp wants to be told so. */
static bool put_tokenizer(const writing *g)
{
    const tn_weights_target *t = g->target;
    char beside[TN_PATH_SIZE];
    const bool found = !t->tokenizer && t->in && tn_model_tokenizer(t->op, t->in, beside);
    tn_tokenizer *tokenizer = t->tokenizer || found ? tn_weights_tokenizer(g->w, t) : NULL;
    if (tokenizer && tn_gguf_set_tokenizer(g->out, tokenizer, g->w->config.vocab_size) == TN_OK)
        return true;
    if (tn_failing() && (t->tokenizer || !tn_weights_passed_over(t, found ? beside : t->in)))
        return false;
    return tn_gguf_set_string(g->out, "tokenizer.ggml.model", "no_vocab") == TN_OK;
}

/* The chat template of the named tokeniser's model, or else the source's, in it or beside it. */
static bool put_template(const writing *g)
{
    const tn_weights_target *t = g->target;
    const char *home = tn_weights_home(t), *from[] = {home, home == t->in ? NULL : t->in};
    char file[TN_PATH_SIZE] = "";
    size_t size = 0;
    char *jinja = NULL;
    for (int i = 0; i < 2 && !jinja && from[i]; i++) {
        jinja = tn_model_jinja(t->op, from[i], file, &size);
        if (tn_failing() && !tn_weights_passed_over(t, file))
            return false;
    }
    const bool good = !jinja || tn_gguf_set_string(g->out, "tokenizer.chat_template", jinja) == TN_OK;
    tn_free(jinja, size);
    return good;
}

/* What the source says of its origin and its tokeniser. */
static bool copy_values(const writing *g)
{
    static const char *const own[] = {"general.architecture", "general.file_type", "general.quantization_version", "general.alignment"};
    const bool tokens = !g->target->tokenizer && tn_gguf_find_key(g->w->gguf, "tokenizer.ggml.tokens") >= 0;
    for (int64_t i = 0; i < tn_gguf_key_count(g->w->gguf); i++) {
        const char *key = tn_gguf_entry_at(g->w->gguf, i).key;
        bool copied = strncmp(key, "general.", 8) == 0 || (strncmp(key, "tokenizer.", 10) == 0 && (tokens || strncmp(key, "tokenizer.ggml.", 15) != 0));
        for (int k = 0; k < TN_COUNT(own); k++)
            copied = copied && strcmp(key, own[k]) != 0;
        if (copied && tn_gguf_copy_key(g->out, g->w->gguf, key) != TN_OK)
            return false;
    }
    return (tokens || put_tokenizer(g)) && put_template(g);
}

/* A weight's own type: int8 in groups is F32 here, for GGUF has no such groups. */
static tn_quant own_type(const tn_weight *weight) { return weight->group ? TN_QUANT_F32 : weight->blocks.type; }

/* What it is to become, and what it can be: its rows may not fit that. */
static tn_quant type_of(const writing *g, const tn_weight *weight, tn_quant *wanted)
{
    const tn_blocks *b = &weight->blocks;
    *wanted = b->shape.ndim == 1 ? TN_QUANT_F32 : g->target->type == TN_QUANT_NONE ? own_type(weight) : g->target->type;
    return *wanted == b->type ? *wanted : tn_quant_for_row(*wanted, b->shape.sizes[b->shape.ndim - 1]);
}

/* llama.cpp's number of a mix of types (llama_ftype): the source's, where no weight changes its type, else that of the type which most numbers of
 * the matrices have; of a type with several mixes the plainest, Q4_K_S of Q4_K. */
static int64_t file_type(const writing *g)
{
    static const struct {
        tn_quant type;
        int64_t number;
    } mixes[] = {{TN_QUANT_F32, 0},   {TN_QUANT_F16, 1},   {TN_QUANT_Q4_0, 2},  {TN_QUANT_Q4_1, 3},  {TN_QUANT_Q8_0, 7},    {TN_QUANT_Q5_0, 8},
                 {TN_QUANT_Q5_1, 9},  {TN_QUANT_Q2_K, 10}, {TN_QUANT_Q3_K, 11}, {TN_QUANT_Q4_K, 14}, {TN_QUANT_Q5_K, 16},   {TN_QUANT_Q6_K, 18},
                 {TN_QUANT_IQ4_NL, 25}, {TN_QUANT_IQ4_XS, 30}, {TN_QUANT_BF16, 32}, {TN_QUANT_MXFP4, 38}};
    static const char key[] = "general.file_type";
    int64_t numbers[TN_COUNT(mixes)] = {0}, most = 0;
    tn_quant wanted;
    if (g->target->type == TN_QUANT_NONE && g->w->gguf && tn_gguf_find_key(g->w->gguf, key) >= 0)
        return tn_gguf_int(g->w->gguf, key, 0);
    for (int64_t i = 0; i < g->w->count; i++) {
        const tn_shape shape = g->w->weights[i].blocks.shape;
        for (int k = 0; k < TN_COUNT(mixes) && shape.ndim == 2; k++)
            numbers[k] += type_of(g, &g->w->weights[i], &wanted) == mixes[k].type ? shape.sizes[0] * shape.sizes[1] : 0;
    }
    for (int k = 1; k < TN_COUNT(mixes); k++)
        most = numbers[k] > numbers[most] ? k : most;
    return mixes[most].number;
}

/* Flags of the layers with a window, where others are without. */
static void put_pattern(const writing *g)
{
    const tn_llama_args *c = &g->w->config;
    const size_t layers = (size_t)c->num_hidden_layers;
    char key[96];
    bool *flags = tn_llama_mixed(c) ? tn_alloc(layers) : NULL;
    for (size_t i = 0; flags && i < layers; i++)
        flags[i] = tn_llama_window(c, (int64_t)i) != 0;
    if (flags)
        (void)!tn_gguf_set_array(g->out, key_of(g, "attention.sliding_window_pattern", key), TN_GGUF_BOOL, flags, (int64_t)layers);
    tn_free(flags, layers);
}

static bool put_values(const writing *g)
{
    const tn_llama_args *c = &g->w->config;
    char key[96];
    if (tn_gguf_set_string(g->out, "general.architecture", g->architecture) != TN_OK || !copy_values(g))
        return false;
    (void)!tn_gguf_set_int(g->out, "general.file_type", TN_GGUF_U32, file_type(g));
    (void)!tn_gguf_set_int(g->out, "general.quantization_version", TN_GGUF_U32, 2);
    put_whole(g, "context_length", c->max_position_embeddings);
    put_whole(g, "embedding_length", c->hidden_size);
    put_whole(g, "block_count", c->num_hidden_layers);
    put_whole(g, "feed_forward_length", c->intermediate_size);
    put_whole(g, "attention.head_count", c->num_attention_heads);
    put_whole(g, "attention.head_count_kv", c->num_key_value_heads);
    put_whole(g, "attention.key_length", c->head_dim);
    put_whole(g, "attention.value_length", c->head_dim);
    put_whole(g, "rope.dimension_count", c->head_dim);
    put_whole(g, "vocab_size", c->vocab_size);
    if (c->sliding_window)
        put_whole(g, "attention.sliding_window", c->sliding_window);
    put_pattern(g);
    put_number(g, "attention.layer_norm_rms_epsilon", c->rms_norm_eps);
    put_number(g, "rope.freq_base", c->rope_theta);
    if (c->rope_factor != 1 && c->rope_original_length == 0) {
        (void)!tn_gguf_set_string(g->out, key_of(g, "rope.scaling.type", key), "linear");
        put_number(g, "rope.scaling.factor", c->rope_factor);
    }
    return !tn_failing();
}

/* ---- tensors --------------------------------------------------------------------------------------------------------------- */

/* What Llama 3.1's law divides the frequencies by, or what the source says; NULL where it is 1. */
static tn_tensor *factors_of(const writing *g)
{
    const tn_llama_args *c = &g->w->config;
    if (g->w->rope_freqs || c->rope_original_length == 0)
        return g->w->rope_freqs;
    tn_rope_tables_args plain = {.size = sizeof plain, .base = c->rope_theta, .factor = 1, .dim = c->head_dim}, law = plain;
    law.factor = c->rope_factor;
    law.original_length = c->rope_original_length;
    law.low_freq_factor = c->rope_low_freq_factor;
    law.high_freq_factor = c->rope_high_freq_factor;
    tn_tensor *factors = tn_new("llama", TN_SHAPE(c->head_dim / 2), TN_F32, (tn_device_id){TN_CPU, 0});
    for (int64_t j = 0; factors && j < c->head_dim / 2; j++)
        ((float *)(void *)tn_ptr(factors))[j] = (float)(tn_rope_frequency(&plain, j) / tn_rope_frequency(&law, j));
    return factors;
}

/* What makes a tensor when it is its turn to be written. */
typedef struct making {
    const tn_weights *w;
    const tn_weight *weight;
    int64_t heads; /* tn_weight_blocks()'s */
} making;

static tn_status make(const void *context, tn_quant type, void *blocks, size_t size)
{
    TN_SCOPE;
    const making *m = context;
    void *owner;
    if (type == m->weight->blocks.type) {
        const tn_blocks moved = tn_weight_blocks(m->w, m->weight, m->heads, &owner);
        return owner ? memcpy(blocks, moved.data, size), TN_OK : tn_last_status();
    }
    const tn_dtype dtype = tn_quant_dtype(m->weight->blocks.type);
    const tn_tensor *x = tn_weight_tensor(m->w, m->weight, m->heads, dtype == TN_DTYPE_DEFAULT ? TN_F32 : dtype);
    return x ? tn_quantize(x, type, blocks, size) : tn_last_status();
}

static bool put_tensor(const writing *g, const tn_weight *weight, making *m)
{
    char name[64];
    const tn_blocks *b = &weight->blocks;
    const int64_t heads = strcmp(g->architecture, "llama") == 0 ? tn_weight_heads(g->w, weight) : 0, columns = b->shape.sizes[b->shape.ndim - 1];
    tn_quant wanted;
    const tn_quant type = type_of(g, weight, &wanted);
    tn_weight_name(weight->kind, weight->layer, true, name);
    if (type != wanted)
        tn_weights_report(g->target, "%s: %s, for its rows of %lld are no multiple of %s's %lld", name, tn_quant_name(type), (long long)columns,
                          tn_quant_name(wanted), (long long)tn_quant_block(wanted));
    if (type == b->type && (heads > 0) == (weight->interleaved_heads > 0))
        return tn_gguf_add_blocks(g->out, name, *b, g->w->owner) == TN_OK;
    *m = (making){g->w, weight, heads};
    return tn_gguf_add_made(g->out, name, type, b->shape, make, m) == TN_OK;
}

tn_status tn_weights_save_gguf(const tn_weights *w, const tn_weights_target *t)
{
    const tn_llama_args *c = &w->config;
    if (c->qk_norm && c->attention_bias)
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: no architecture of GGUF has norms of queries and keys and biases too", t->op, t->path);
    if (t->type != TN_QUANT_NONE && !tn_quant_makes(t->type))
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: %s is only read", t->op, t->path, tn_quant_name(t->type) ? tn_quant_name(t->type) : "this type");
    const writing g = {w, t, c->qk_norm ? "qwen3" : c->attention_bias ? "qwen2" : "llama", tn_adopt(tn_gguf_writer_new())};
    if (!g.out || !put_values(&g))
        return tn_last_status();
    tn_tensor *factors = factors_of(&g);
    making *makings = tn_failing() ? NULL : tn_alloc((size_t)w->count * sizeof *makings);
    bool good = makings && (!factors || tn_gguf_add(g.out, "rope_freqs.weight", factors, TN_QUANT_F32) == TN_OK);
    for (int64_t i = 0; good && i < w->count; i++)
        good = put_tensor(&g, &w->weights[i], &makings[i]);
    const tn_status status = good ? tn_save_gguf(g.out, t->path) : tn_last_status();
    tn_free(makings, (size_t)w->count * sizeof *makings);
    return status;
}
