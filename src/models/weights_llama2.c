/* llama2.c's checkpoints (https://github.com/karpathy/llama2.c, export.py), little endian: version 0, 7 int32 and f32 weights; version 1, 256
 * bytes of header and f32 weights; version 2, the same with int8 weights in groups that have an f32 scale each. */
#include "models/weights_llama2.h"

#include "io/file.h"

#include <string.h>

const tn_weight_kind tn_llama2_order0[] = {
    TN_WEIGHT_EMBED,     TN_WEIGHT_INPUT_NORM, TN_WEIGHT_Q,    TN_WEIGHT_K,  TN_WEIGHT_V,    TN_WEIGHT_O,
    TN_WEIGHT_POST_NORM, TN_WEIGHT_GATE,       TN_WEIGHT_DOWN, TN_WEIGHT_UP, TN_WEIGHT_NORM, TN_WEIGHT_LM_HEAD};
const tn_weight_kind tn_llama2_order1[] = {
    TN_WEIGHT_INPUT_NORM, TN_WEIGHT_POST_NORM, TN_WEIGHT_NORM, TN_WEIGHT_EMBED, TN_WEIGHT_Q,  TN_WEIGHT_K,
    TN_WEIGHT_V,          TN_WEIGHT_O,         TN_WEIGHT_GATE, TN_WEIGHT_DOWN,  TN_WEIGHT_UP, TN_WEIGHT_LM_HEAD};

typedef struct header {
    int version;
    int64_t size;  /* bytes before the weights */
    int64_t group; /* of version 2, weights with one scale */
    tn_llama_args config;
} header;

static int32_t int_at(const unsigned char *at)
{
    return (int32_t)((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
}

static bool read_header(tn_weights_source source, tn_reader *r, header *h)
{
    unsigned char bytes[TN_LLAMA2_HEADER];
    const unsigned char *at = bytes;
    const int64_t there = r->size < (int64_t)sizeof bytes ? r->size : (int64_t)sizeof bytes;
    if (there < TN_LLAMA2_HEADER0)
        return TN_WEIGHTS_BAD(source, "%lld bytes are no model of any kind", (long long)r->size);
    if (!tn_reader_read(r, bytes, there))
        return false;
    h->size = TN_LLAMA2_HEADER0;
    if (int_at(bytes) == TN_LLAMA2_MAGIC) {
        h->version = int_at(bytes + 4);
        h->size = TN_LLAMA2_HEADER;
        at += 8;
        if (h->version < 1 || h->version > 2)
            return tn_weights_fail(source, TN_ERR_UNSUPPORTED, "a llama2.c checkpoint of version %d: 0, 1 and 2 are known", h->version);
        if (there < h->size)
            return TN_WEIGHTS_BAD(source, "the file ends inside its header");
    }
    const int64_t vocab = int_at(at + 20);
    h->config = tn_llama_defaults(); /* those of run.c and runq.c, for every model */
    h->config.hidden_size = int_at(at);
    h->config.intermediate_size = int_at(at + 4);
    h->config.num_hidden_layers = int_at(at + 8);
    h->config.num_attention_heads = int_at(at + 12);
    h->config.num_key_value_heads = int_at(at + 16);
    h->config.vocab_size = vocab < 0 ? -vocab : vocab;
    h->config.max_position_embeddings = int_at(at + 24);
    h->config.tie_word_embeddings = h->version == 0 ? vocab > 0 : at[28] != 0;
    h->group = h->version == 2 ? int_at(at + 29) : 1;
    if (h->config.num_key_value_heads < 1 || (h->version > 0 && (vocab < 1 || at[28] > 1)) || h->group < 1)
        return TN_WEIGHTS_BAD(source, "no model of any kind, or a damaged llama2.c checkpoint: %lld key/value heads, a vocabulary of %lld, groups "
                              "of %lld", (long long)h->config.num_key_value_heads, (long long)vocab, (long long)h->group);
    if (h->config.num_attention_heads > 0 && h->config.hidden_size % h->config.num_attention_heads)
        return TN_WEIGHTS_BAD(source, "no model of any kind, or a damaged llama2.c checkpoint: %lld heads of a width of %lld",
                              (long long)h->config.num_attention_heads, (long long)h->config.hidden_size);
    return true;
}

static int64_t numel_of(const tn_weight *weight)
{
    return weight->blocks.shape.sizes[0] * (weight->blocks.shape.ndim == 2 ? weight->blocks.shape.sizes[1] : 1);
}

/* A weight at byte *at, of a version that quantises or not; false where a group does not fill it, or the file ends before. */
static bool measure(tn_weights_source source, const header *h, const tn_weight *weight, int64_t file, int64_t *at)
{
    const int64_t numel = numel_of(weight);
    const bool floats = h->version < 2 || weight->blocks.shape.ndim == 1;
    if (!floats && numel % h->group)
        return TN_WEIGHTS_BAD(source, "\"%s\" has %lld elements, no whole number of groups of %lld", weight->name, (long long)numel,
                              (long long)h->group);
    const int64_t scales = floats ? numel : numel / h->group;
    if (scales > (file - *at) / 4 || (!floats && numel > file - *at - 4 * scales))
        return TN_WEIGHTS_BAD(source, "no model of any kind, or a llama2.c checkpoint that is cut: it ends inside \"%s\"", weight->name);
    *at += 4 * scales + (floats ? 0 : numel);
    return true;
}

/* Points each weight to its place in the file. */
static bool walk(tn_weights_source source, const header *h, tn_weights *w, const char *data, int64_t file)
{
    const tn_weight_kind *order = h->version ? tn_llama2_order1 : tn_llama2_order0;
    int64_t at = h->size;
    for (int k = 0; k < TN_LLAMA2_KINDS; k++) {
        if (h->version == 0 && order[k] == TN_WEIGHT_LM_HEAD) { /* what once was the table of rotations */
            const int64_t table = h->config.max_position_embeddings * (h->config.hidden_size / h->config.num_attention_heads);
            if (table > (file - at) / 4)
                return TN_WEIGHTS_BAD(source, "no model of any kind, or a llama2.c checkpoint that is cut: it ends inside the table of rotations");
            at += 4 * table;
        }
        for (int64_t layer = 0; layer < (tn_llama2_in_layer(order[k]) ? h->config.num_hidden_layers : 1); layer++) {
            tn_weight *weight = tn_weights_at(w, order[k], layer);
            const int64_t begin = at;
            if (!weight)
                continue;
            if (!measure(source, h, weight, file, &at))
                return false;
            weight->group = h->version == 2 && weight->blocks.shape.ndim == 2 ? h->group : 0;
            weight->blocks.type = weight->group ? TN_QUANT_I8 : TN_QUANT_F32;
            weight->blocks.size = (size_t)(at - begin);
            weight->blocks.data = data + begin;
        }
    }
    if (at != file)
        return TN_WEIGHTS_BAD(source, "no model of any kind, or a damaged llama2.c checkpoint: its header tells of %lld bytes, and there are %lld",
                              (long long)at, (long long)file);
    return true;
}

static bool lay_out(tn_weights_source source, const header *h, tn_weights *w, const tn_reader *r)
{
    tn_mapping *mapping = tn_mapping_new(r);
    tn_tensor *file = mapping ? tn_mapping_tensor(mapping, 0, TN_SHAPE(r->size), TN_U8) : NULL;
    tn_mapping_release(mapping);
    w->owner = tn_retain(file);
    return file && walk(source, h, w, tn_ptr(file), r->size);
}

tn_weights *tn_weights_llama2(tn_weights_source source)
{
    static const char *const formats[] = {"llama2.c, version 0", "llama2.c, version 1", "llama2.c, version 2"};
    tn_reader r;
    header h = {0};
    if (!tn_reader_open(&r, source.op, source.path, false))
        return NULL;
    /* The smallest weight, a norm of 2 floats, takes 8 bytes. */
    tn_weights *w = read_header(source, &r, &h) ? tn_weights_new(source, &h.config, r.size / 8 + 3, true) : NULL;
    const bool good = w && lay_out(source, &h, w, &r);
    tn_reader_close(&r);
    if (good)
        w->format = formats[h.version];
    else
        tn_release(w);
    return good ? w : NULL;
}
