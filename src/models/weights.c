/* A model's weights: what there must be by the configuration, in memory of a dict, a module or a file, by row and as floats. */
#include "models/weights.h"

#include "io/file.h"
#include "kernels/blocks.h"
#include "kernels/cpu/cpu.h"
#include "nn/linear.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void *tn_weights_fail(tn_weights_source source, tn_status status, const char *format, ...)
{
    char text[400];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return tn_fail(status, "%s: %s: %s", source.op, source.path, text);
}

void tn_weights_report(const tn_weights_target *t, const char *format, ...)
{
    char line[8192]; /* two paths */
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (t->report)
        t->report(line, t->context);
}

static void weights_free(void *self)
{
    tn_weights *w = self;
    tn_free(w->weights, (size_t)w->count * sizeof *w->weights);
    tn_release(w->rope_freqs);
    tn_release(w->owner);
}
static const tn_class weights_class = {"weights", sizeof(tn_weights), weights_free};

/* ---- what there must be --------------------------------------------------------------------------------------------------- */

enum size_name { NONE, VOCAB, HIDDEN, QUERIES, KEYS, HEAD, INTERMEDIATE };

static int64_t size_of(const tn_llama_args *c, enum size_name name)
{
    switch (name) {
    case VOCAB: return c->vocab_size;
    case HIDDEN: return c->hidden_size;
    case QUERIES: return c->num_attention_heads * c->head_dim;
    case KEYS: return c->num_key_value_heads * c->head_dim;
    case HEAD: return c->head_dim;
    case INTERMEDIATE: return c->intermediate_size;
    case NONE: break;
    }
    return 0;
}

static const struct {
    const char *ours, *gguf;
    enum size_name rows, columns;
} kinds[] = {
#define KIND(kind, ours, gguf, rows, columns, there) {ours, gguf, rows, columns},
    TN_WEIGHT_LIST(KIND)
#undef KIND
};

static bool has_kind(const tn_llama_args *c, tn_weight_kind kind)
{
    const bool there[] = {
#define THERE(kind, ours, gguf, rows, columns, there) there,
        TN_WEIGHT_LIST(THERE)
#undef THERE
    };
    return there[kind];
}

static bool in_layer(tn_weight_kind kind) { return kind > TN_WEIGHT_EMBED && kind < TN_WEIGHT_NORM; }

void tn_weight_name(tn_weight_kind kind, int64_t layer, bool gguf, char name[64])
{
    const char *own = gguf ? kinds[kind].gguf : kinds[kind].ours;
    if (in_layer(kind))
        snprintf(name, 64, "%s%lld.%s", gguf ? "blk." : "model.layers.", (long long)layer, own);
    else
        snprintf(name, 64, "%s", own);
}

int64_t tn_weight_heads(const tn_weights *w, const tn_weight *weight)
{
    if (weight->kind == TN_WEIGHT_Q || weight->kind == TN_WEIGHT_Q_BIAS)
        return w->config.num_attention_heads;
    return weight->kind == TN_WEIGHT_K || weight->kind == TN_WEIGHT_K_BIAS ? w->config.num_key_value_heads : 0;
}

static void name_weight(tn_weights *w, tn_weight_kind kind, int64_t layer, bool interleaved)
{
    tn_weight *weight = tn_weights_at(w, kind, layer);
    const int64_t rows = size_of(&w->config, kinds[kind].rows), columns = size_of(&w->config, kinds[kind].columns);
    *weight = (tn_weight){.kind = kind, .layer = layer};
    weight->interleaved_heads = interleaved ? tn_weight_heads(w, weight) : 0;
    weight->blocks = (tn_blocks){.type = TN_QUANT_NONE, .shape = columns ? TN_SHAPE(rows, columns) : TN_SHAPE(rows)};
    tn_weight_name(kind, layer, false, weight->name);
}

/* The places of the kinds, in the order of a state_dict: the embedding, layer by layer, the norm and the head. Gives how many weights there are. */
static int64_t place_kinds(tn_weights *w)
{
    const tn_llama_args *c = &w->config;
    int64_t count = 0;
    for (int kind = 0; kind < TN_WEIGHT_NORM; kind++)
        w->place[kind] = has_kind(c, (tn_weight_kind)kind) ? count++ : -1;
    w->per_layer = count - 1;
    count = 1 + c->num_hidden_layers * w->per_layer;
    for (int kind = TN_WEIGHT_NORM; kind < TN_WEIGHT_KINDS; kind++)
        w->place[kind] = has_kind(c, (tn_weight_kind)kind) ? count++ : -1;
    return count;
}

tn_weights *tn_weights_new(tn_weights_source source, const tn_llama_args *config, int64_t most, bool interleaved)
{
    char op[300];
    snprintf(op, sizeof op, "%s: %s", source.op, source.path);
    tn_llama_args c = *config;
    if (tn_failing() || !tn_llama_completed(op, TN_ERR_FORMAT, &c))
        return NULL;
    tn_weights *w = tn_object_new(&weights_class);
    if (!w)
        return NULL;
    c.rope_interleaved = false;
    w->config = c;
    const int64_t count = place_kinds(w);
    if (count > most)
        TN_WEIGHTS_BAD(source, "a model of %lld layers has %lld weights, which cannot be here", (long long)c.num_hidden_layers, (long long)count);
    else if ((w->weights = tn_alloc_zero((size_t)count * sizeof *w->weights)))
        w->count = count;
    if (!w->weights) {
        tn_release(w);
        return NULL;
    }
    for (int kind = 0; kind < TN_WEIGHT_KINDS; kind++)
        for (int64_t layer = 0; w->place[kind] >= 0 && layer < (in_layer((tn_weight_kind)kind) ? c.num_hidden_layers : 1); layer++)
            name_weight(w, (tn_weight_kind)kind, layer, interleaved);
    return w;
}

bool tn_weights_keep_freqs(tn_weights_source source, tn_weights *w, tn_tensor *freqs)
{
    if (!freqs)
        return !tn_failing();
    const int64_t half = w->config.head_dim / 2;
    const float *f = tn_data(freqs);
    for (int64_t i = 0; f && i < half && freqs->numel == half; i++)
        if (!(f[i] > 0 && f[i] < INFINITY))
            TN_WEIGHTS_BAD(source, "the frequencies' factor %lld is %g: it must be a positive number", (long long)i, (double)f[i]);
    if (freqs->numel != half)
        TN_WEIGHTS_BAD(source, "%lld factors of the frequencies, for heads of %lld", (long long)freqs->numel, (long long)w->config.head_dim);
    if (tn_failing())
        return false;
    w->rope_freqs = tn_retain(freqs);
    w->config.rope_freqs = w->rope_freqs;
    return true;
}

/* ---- in a dict and a module -------------------------------------------------------------------------------------------------- */

static tn_quant quant_of(tn_dtype dtype)
{
    return dtype == TN_F32 ? TN_QUANT_F32 : dtype == TN_F16 ? TN_QUANT_F16 : dtype == TN_BF16 ? TN_QUANT_BF16 : TN_QUANT_NONE;
}

tn_dtype tn_quant_dtype(tn_quant type)
{
    return type == TN_QUANT_F32 ? TN_F32 : type == TN_QUANT_F16 ? TN_F16 : type == TN_QUANT_BF16 ? TN_BF16 : TN_DTYPE_DEFAULT;
}

bool tn_weight_lies_in(tn_weights_source source, tn_weight *weight, const tn_tensor *x)
{
    const tn_quant type = quant_of((tn_dtype)x->dtype);
    if (!tn_shape_equal(tn_shape_of(x), weight->blocks.shape))
        return TN_WEIGHTS_BAD(source, "\"%s\" is %s, and must be %s", weight->name, tn_text(x), tn_shape_text(weight->blocks.shape));
    if (type == TN_QUANT_NONE || x->storage->device.type != TN_CPU || !tn_has(x, TN_FLAG_CONTIGUOUS))
        return tn_weights_fail(source, TN_ERR_DTYPE, "\"%s\" is %s on %s: it must be float32, float16 or bfloat16 on the CPU", weight->name,
                               tn_dtype_name((tn_dtype)x->dtype), tn_device_text(x->storage->device));
    weight->blocks.type = type;
    weight->blocks.data = tn_ptr(x);
    weight->blocks.size = (size_t)x->numel * tn_item_size(x);
    return true;
}

static bool ignored(const tn_weights *w, const char *name)
{
    const size_t length = strlen(name);
    return (w->config.tie_word_embeddings && strcmp(name, "lm_head.weight") == 0) || strcmp(name, TN_WEIGHTS_CONFIG) == 0 ||
           (length > 20 && strcmp(name + length - 20, ".rotary_emb.inv_freq") == 0);
}

/* Each of the dict's tensors is one of the model's. */
static bool all_known(tn_weights_source source, const tn_weights *w, const tn_dict *dict)
{
    TN_SCOPE;
    tn_dict *known = tn_adopt(tn_dict_new());
    tn_tensor *mark = tn_scalar_bool(true);
    for (int64_t i = 0; known && mark && i < w->count; i++)
        if (tn_dict_set(known, w->weights[i].name, mark) != TN_OK)
            return false;
    for (int64_t i = 0; !tn_failing() && i < tn_dict_count(dict); i++)
        if (tn_dict_find(known, tn_dict_name(dict, i)) < 0 && !ignored(w, tn_dict_name(dict, i)))
            tn_weights_fail(source, TN_ERR_UNSUPPORTED, "\"%s\" is no weight of a Llama of this configuration", tn_dict_name(dict, i));
    return !tn_failing();
}

/* A tensor as weights can lie in it: on the CPU, in row-major order, and f64 rounded to f32. */
static bool plain_in(tn_dict *dict, const char *name, tn_tensor *x)
{
    TN_SCOPE;
    TN_NO_GRAD;
    if (x->dtype != TN_F64 && tn_has(x, TN_FLAG_CONTIGUOUS) && x->storage->device.type == TN_CPU)
        return true;
    x = tn_to(tn_contiguous(x->dtype == TN_F64 ? tn_cast(x, TN_F32) : x), (tn_device_id){TN_CPU, 0});
    return x && tn_dict_set(dict, name, x) == TN_OK;
}

tn_weights *tn_weights_of_dict(tn_weights_source source, const tn_llama_args *config, tn_tensor *freqs, tn_dict *dict, bool interleaved,
                               const char *format)
{
    tn_weights *w = dict ? tn_weights_new(source, config, 2 * tn_dict_count(dict) + 64, interleaved) : NULL;
    bool good = w && tn_weights_keep_freqs(source, w, freqs);
    for (int64_t i = 0; good && i < w->count; i++) {
        tn_weight *weight = &w->weights[i];
        const int64_t at = tn_dict_find(dict, weight->name);
        if (at < 0)
            good = TN_WEIGHTS_BAD(source, "there is no \"%s\"", weight->name);
        good = good && plain_in(dict, weight->name, tn_dict_tensor(dict, at)) && tn_weight_lies_in(source, weight, tn_dict_tensor(dict, at));
    }
    if (!good || !all_known(source, w, dict)) {
        tn_release(w);
        return NULL;
    }
    w->owner = tn_retain(dict);
    w->format = format;
    return w;
}

tn_weights *tn_weights_of(void *llama)
{
    TN_SCOPE;
    const tn_llama_args *config = tn_llama_config(llama);
    tn_tensor *freqs = config ? tn_llama_rope_freqs(llama) : NULL;
    freqs = freqs ? tn_to(freqs, (tn_device_id){TN_CPU, 0}) : NULL;
    tn_dict *dict = config ? tn_state_dict_merged(llama) : NULL;
    for (int64_t i = 0; i < tn_dict_count(dict); i++)
        if (tn_dict_tensor(dict, i)->dtype == TN_F64)
            return tn_fail(TN_ERR_DTYPE, "llama: %s is float64, which no file of weights holds: cast the model with tn_module_to_dtype() first",
                           tn_dict_name(dict, i));
    return dict ? tn_weights_of_dict((tn_weights_source){"llama", "the module"}, config, freqs, dict, config->rope_interleaved, "a module") : NULL;
}

/* ---- asking for weights ------------------------------------------------------------------------------------------------------ */

tn_weight *tn_weights_at(const tn_weights *w, tn_weight_kind kind, int64_t layer)
{
    return w->place[kind] < 0 ? NULL : &w->weights[w->place[kind] + (in_layer(kind) ? layer * w->per_layer : 0)];
}

const tn_weight *tn_weights_find(const tn_weights *w, const char *name)
{
    for (int64_t i = 0; i < w->count; i++)
        if (strcmp(w->weights[i].name, name) == 0)
            return &w->weights[i];
    return tn_fail(TN_ERR_FORMAT, "llama: the model has no weight \"%s\"", name);
}

/* Of `rows` rows in heads, where in pairs (2j, 2j + 1) the one stands that in halves (j, j + head_dim / 2) is number `row`. */
static int64_t in_pairs(int64_t row, int64_t rows, int64_t heads)
{
    const int64_t size = rows / heads, i = row % size;
    return row - i + (i < size / 2 ? 2 * i : 2 * (i - size / 2) + 1);
}

static int64_t rows_of(const tn_weight *weight) { return weight->blocks.shape.ndim == 2 ? weight->blocks.shape.sizes[0] : 1; }
static size_t row_bytes(const tn_weight *weight) { return weight->blocks.size / (size_t)rows_of(weight); }

/* Which row of the file our row of a matrix is. */
static int64_t row_there(const tn_weight *weight, int64_t row)
{
    return weight->interleaved_heads && weight->blocks.shape.ndim == 2 ? in_pairs(row, rows_of(weight), weight->interleaved_heads) : row;
}

const void *tn_weight_row(const tn_weight *weight, int64_t row)
{
    return (const char *)weight->blocks.data + (size_t)row_there(weight, row) * row_bytes(weight);
}

/* ---- int8 in groups ------------------------------------------------------------------------------------------------------------ */

/* The scale of element i. */
static float scale_of(const tn_weight *weight, int64_t i)
{
    float scale;
    const int64_t numel = weight->blocks.shape.sizes[0] * weight->blocks.shape.sizes[1];
    memcpy(&scale, (const char *)weight->blocks.data + numel + 4 * (i / weight->group), sizeof scale);
    return scale;
}

/* Row `row` of the file as floats. */
static void group_floats(const tn_weight *weight, int64_t row, float *out)
{
    const int64_t columns = weight->blocks.shape.sizes[1], first = row * columns;
    const signed char *q = (const signed char *)weight->blocks.data + first;
    for (int64_t i = 0; i < columns;) {
        const int64_t left = weight->group - (first + i) % weight->group, end = left < columns - i ? i + left : columns;
        const float scale = scale_of(weight, first + i);
        for (; i < end; i++)
            out[i] = (float)q[i] * scale;
    }
}

bool tn_weight_row_q8(const tn_weight *weight, int64_t row, uint8_t *blocks)
{
    enum { BLOCK = 32 };
    const int64_t columns = weight->blocks.shape.sizes[1], first = row_there(weight, row) * columns;
    if (!weight->group || weight->group % BLOCK != 0 || columns % BLOCK != 0)
        return false;
    for (int64_t i = 0; i < columns; i += BLOCK, blocks += 2 + BLOCK) {
        const float scale = scale_of(weight, first + i);
        if (scale != 0 && !(fabsf(scale) >= 0x1p-14f && fabsf(scale) <= 65504)) /* f16 has fewer bits there, or none */
            return false;
        const uint16_t bits = tn_store_f16(scale).bits;
        blocks[0] = (uint8_t)bits;
        blocks[1] = (uint8_t)(bits >> 8);
        memcpy(blocks + 2, (const char *)weight->blocks.data + first + i, BLOCK);
    }
    return true;
}

static tn_tensor *group_tensor(const tn_weight *weight, bool as_there)
{
    tn_tensor *x = tn_new("llama", weight->blocks.shape, TN_F32, (tn_device_id){TN_CPU, 0});
    const int64_t rows = rows_of(weight), columns = weight->blocks.shape.sizes[1];
    for (int64_t row = 0; x && row < rows; row++)
        group_floats(weight, as_there ? row : row_there(weight, row), (float *)(void *)tn_ptr(x) + row * columns);
    return x;
}

/* ---- all kinds ----------------------------------------------------------------------------------------------------------------- */

tn_status tn_weight_floats(const tn_weight *weight, int64_t row, float *out)
{
    const tn_quant_format *format = tn_quant_format_of(weight->blocks.type);
    const int64_t columns = weight->blocks.shape.sizes[weight->blocks.shape.ndim - 1];
    const bool turned = weight->interleaved_heads && weight->blocks.shape.ndim == 1;
    if (weight->group)
        return group_floats(weight, row_there(weight, row), out), TN_OK;
    float *to = turned ? tn_alloc((size_t)columns * sizeof *to) : out;
    if (!to)
        return TN_ERR_MEMORY;
    format->dequantize(tn_weight_row(weight, row), columns / format->block, to);
    for (int64_t i = 0; turned && i < columns; i++)
        out[i] = to[in_pairs(i, columns, weight->interleaved_heads)];
    if (turned)
        tn_free(to, (size_t)columns * sizeof *to);
    return TN_OK;
}

tn_blocks tn_weight_blocks(const tn_weights *w, const tn_weight *weight, int64_t heads, void **owner)
{
    tn_blocks blocks = weight->blocks;
    const int64_t rows = blocks.shape.sizes[0];
    const size_t bytes = blocks.size / (size_t)rows;
    *owner = w->owner;
    if ((weight->interleaved_heads > 0) == (heads > 0))
        return blocks;
    tn_tensor *moved = tn_new("llama", TN_SHAPE((int64_t)blocks.size), TN_U8, (tn_device_id){TN_CPU, 0});
    for (int64_t row = 0; moved && row < rows; row++) {
        const int64_t pair = in_pairs(row, rows, heads ? heads : weight->interleaved_heads);
        memcpy(tn_ptr(moved) + (size_t)(heads ? pair : row) * bytes, (const char *)blocks.data + (size_t)(heads ? row : pair) * bytes, bytes);
    }
    blocks.data = moved ? tn_ptr(moved) : NULL;
    *owner = moved;
    return blocks;
}

static void release_owner(void *data, void *owner)
{
    (void)data;
    tn_release(owner);
}

tn_tensor *tn_weight_tensor(const tn_weights *w, const tn_weight *weight, int64_t heads, tn_dtype dtype)
{
    TN_SCOPE;
    void *owner;
    if (weight->group)
        return tn_pass(tn_cast(group_tensor(weight, heads > 0), dtype));
    const tn_blocks blocks = tn_weight_blocks(w, weight, heads, &owner);
    if (!owner)
        return NULL;
    if (tn_quant_dtype(blocks.type) != dtype)
        return tn_pass(tn_dequantize(blocks, dtype));
    if ((uintptr_t)blocks.data % tn_dtype_size(dtype) != 0) { /* in a zip */
        tn_tensor *x = tn_new("llama", blocks.shape, dtype, (tn_device_id){TN_CPU, 0});
        return x ? memcpy(tn_ptr(x), blocks.data, blocks.size), tn_pass(x) : NULL;
    }
    const tn_from_args args = {.size = sizeof args, .dtype = dtype, .data = blocks.data, .shape = blocks.shape, .release = release_owner,
                               .context = tn_retain(owner)};
    return tn_pass(tn_from_memory_with(&args));
}

/* ---- which format a file is of --------------------------------------------------------------------------------------------------- */

tn_file_kind tn_file_kind_of(const char *op, const char *path)
{
    tn_reader r;
    unsigned char head[9] = {0};
    if (!tn_reader_open(&r, op, path, false))
        return TN_FILE_OTHER;
    const bool good = tn_reader_read(&r, head, r.size < 9 ? r.size : 9);
    tn_reader_close(&r);
    if (!good)
        return TN_FILE_OTHER;
    if (memcmp(head, "GGUF", 4) == 0)
        return TN_FILE_GGUF;
    if (memcmp(head, "PK", 2) == 0)
        return TN_FILE_ZIP;
    /* a header of under 2^32 bytes; the first two sizes of a llama2.c file are never 0 */
    return head[8] == '{' && memcmp(head + 4, "\0\0\0", 4) == 0 ? TN_FILE_SAFETENSORS : TN_FILE_OTHER;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return !tn_failing() && path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

tn_dict *tn_tuned_list(const char *op, const char *path)
{
    if (is_folder(path) || tn_file_kind_of(op, path) != TN_FILE_SAFETENSORS)
        return NULL;
    tn_dict *dict = tn_map_safetensors(path);
    return tn_dict_note(dict, TN_TUNED_SIZES) && !tn_dict_note(dict, TN_WEIGHTS_CONFIG) ? dict : NULL;
}

tn_weights *tn_weights_list(const char *op, const char *path)
{
    const tn_weights_source source = {op, path};
    TN_SCOPE;
    if (is_folder(path))
        return tn_weights_folder(source);
    switch (tn_file_kind_of(op, path)) {
    case TN_FILE_GGUF: return tn_weights_gguf(source);
    case TN_FILE_ZIP: return tn_is_pt(path) ? tn_weights_pt(source) : tn_weights_npz(source);
    case TN_FILE_SAFETENSORS: return tn_weights_safetensors(source);
    default: return tn_failing() ? NULL : tn_weights_llama2(source);
    }
}

tn_weights *tn_weights_open(const char *op, const char *path)
{
    tn_weights *w = tn_weights_list(op, path);
    for (int64_t i = 0; w && i < w->count; i++) {
        const tn_weight *weight = &w->weights[i];
        if (!weight->group && !tn_quant_format_of(weight->blocks.type)->dequantize) {
            tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: \"%s\" is %s: Tenon makes no numbers of such blocks", op, path, weight->name,
                    tn_quant_name(weight->blocks.type));
            tn_release(w);
            return NULL;
        }
    }
    return w;
}
