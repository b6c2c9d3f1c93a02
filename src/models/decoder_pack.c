/* A decoder's weights, packed from a model's. */
#include "core/parallel.h"
#include "kernels/device.h"
#include "kernels/kernels.h"
#include "models/decoder.h"
#include "models/weights.h"
#include "ops/rope.h"

/* ---- where each part lies ------------------------------------------------------------------------------------------------- */

static void take_matrix(tn_packed_matrix *w, char *block, size_t *at, tn_packed_kind kind, int64_t rows, int64_t cols)
{
    *w = (tn_packed_matrix){kind, rows, cols, tn_taken(block, at, tn_packed_bytes(kind, rows, cols)), NULL, NULL};
}

/* What goes into down has few large elements among small ones (it is a product of two others): in blocks of 8 bits it loses more than all other
 * inputs together. Where its rows are no multiple of a block, a file of blocks has them as 16-bit floats, and so have we. */
static tn_packed_kind kind_of_down(tn_packed_kind kind, int64_t cols)
{
    if (tn_packed_in_blocks(kind) && cols % TN_PACKED_BLOCK != 0)
        return TN_PACKED_BF16;
    return kind == TN_PACKED_Q8 ? TN_PACKED_Q8_FINE : kind;
}

static float *take_floats(char *block, size_t *at, int64_t count) { return tn_taken(block, at, (size_t)count * sizeof(float)); }

tn_packed_kind tn_decoder_kind_of(tn_quant type)
{
#define KIND(name, ...) case TN_QUANT_##name: return TN_PACKED_##name;
    switch (type) {
    case TN_QUANT_F32: return TN_PACKED_F32;
    case TN_QUANT_BF16: return TN_PACKED_BF16;
    case TN_QUANT_F16: return TN_PACKED_F16;
    case TN_QUANT_Q8_0: return TN_PACKED_Q8;
    case TN_QUANT_Q4_0: return TN_PACKED_Q4;
    TN_LEVELS_LIST(KIND)
    default: return TN_PACKED_KINDS;
    }
#undef KIND
}

tn_packed_kind tn_decoder_kind_of_weight(const tn_weight *weight)
{
    if (weight->group)
        return weight->group % TN_PACKED_BLOCK ? TN_PACKED_F32 : TN_PACKED_Q8; /* groups that Q8 has, or has not */
    return tn_decoder_kind_of(weight->blocks.type);
}

/* The kind of a layer's weight: the one asked for, or its own. */
static tn_packed_kind kind_at(const tn_weights *weights, tn_packed_kind kind, tn_weight_kind which, int64_t layer)
{
    kind = kind == TN_PACKED_KINDS ? tn_decoder_kind_of_weight(tn_weights_at(weights, which, layer)) : kind;
    return which == TN_WEIGHT_DOWN ? kind_of_down(kind, tn_weights_at(weights, which, layer)->blocks.shape.sizes[1]) : kind;
}

/* q, k and v of a layer. */
static void lay_out_qkv(const tn_decoder *d, tn_decoder_layer *l, char *block, size_t *at, const tn_packed_kind kinds[3])
{
    const tn_llama_args *c = &d->config;
    const int64_t k = c->num_attention_heads * c->head_dim, v = k + c->num_key_value_heads * c->head_dim, all = tn_decoder_qkv_rows(d);
    const int64_t begin[] = {0, k, v, all};
    const bool alike = kinds[0] == kinds[1] && kinds[1] == kinds[2];
    float *bias = c->attention_bias ? take_floats(block, at, all) : NULL;
    l->qkv_count = alike ? 1 : 3;
    for (int i = 0; i < l->qkv_count; i++) {
        take_matrix(&l->qkv[i], block, at, kinds[i], alike ? all : begin[i + 1] - begin[i], c->hidden_size);
        l->qkv[i].bias = bias ? bias + begin[i] : NULL;
    }
}

/* Lays the weights out in a block, or with NULL only measures it. */
static size_t lay_out(tn_decoder *d, char *block, const tn_weights *weights, tn_packed_kind kind)
{
    const tn_llama_args *c = &d->config;
    const int64_t hidden = c->hidden_size, inner = c->intermediate_size;
    size_t at = 0;
    take_matrix(&d->embedding, block, &at, kind_at(weights, kind, TN_WEIGHT_EMBED, 0), c->vocab_size, hidden);
    if (c->tie_word_embeddings)
        d->head = d->embedding;
    else
        take_matrix(&d->head, block, &at, kind_at(weights, kind, TN_WEIGHT_LM_HEAD, 0), c->vocab_size, hidden);
    d->norm = take_floats(block, &at, hidden);
    for (int64_t i = 0; i < c->num_hidden_layers; i++) {
        tn_decoder_layer *l = &d->layers[i];
        const tn_packed_kind kinds[] = {kind_at(weights, kind, TN_WEIGHT_Q, i), kind_at(weights, kind, TN_WEIGHT_K, i),
                                        kind_at(weights, kind, TN_WEIGHT_V, i)};
        lay_out_qkv(d, l, block, &at, kinds);
        take_matrix(&l->out, block, &at, kind_at(weights, kind, TN_WEIGHT_O, i), hidden, c->num_attention_heads * c->head_dim);
        take_matrix(&l->gate, block, &at, kind_at(weights, kind, TN_WEIGHT_GATE, i), inner, hidden);
        take_matrix(&l->up, block, &at, kind_at(weights, kind, TN_WEIGHT_UP, i), inner, hidden);
        take_matrix(&l->down, block, &at, kind_at(weights, kind, TN_WEIGHT_DOWN, i), hidden, inner);
        l->input_norm = take_floats(block, &at, hidden);
        l->post_norm = take_floats(block, &at, hidden);
        l->q_norm = c->qk_norm ? take_floats(block, &at, c->head_dim) : NULL;
        l->k_norm = c->qk_norm ? take_floats(block, &at, c->head_dim) : NULL;
    }
    return at;
}

/* ---- packing -------------------------------------------------------------------------------------------------------------- */

typedef struct packing {
    const tn_decoder *d;
    const tn_weights *weights;
    float *floats; /* [threads, 16, widest] */
    int64_t widest;
    int thread, threads;
} packing;

static bool packs_as_it_is(const tn_packed_matrix *w, const tn_weight *weight)
{
    const tn_quant type = weight->blocks.type;
    if (w->kind >= TN_PACKED_OF_FLOATS)
        return true;
    return tn_packed_in_blocks(w->kind) && type == (w->kind == TN_PACKED_Q4 ? TN_QUANT_Q4_0 : TN_QUANT_Q8_0);
}

/* Rows as floats where they lie; NULL where they are not. */
static const float *floats_of(const tn_weight *weight, int64_t row)
{
    const void *at = weight->blocks.type == TN_QUANT_F32 && !weight->interleaved_heads ? tn_weight_row(weight, row) : NULL;
    return (uintptr_t)at % sizeof(float) == 0 ? at : NULL;
}

/* The thread's share of a layer's weight (layer 0 for what is no layer's) into rows of w from `first` on. */
static void pack(const packing *p, tn_weight_kind kind, int64_t layer, const tn_packed_matrix *w, int64_t first)
{
    const tn_kernels *kernels = tn_kernels_of(TN_CPU);
    const tn_weight *weight = tn_weights_at(p->weights, kind, layer);
    const int64_t rows = weight->blocks.shape.sizes[0], panels = tn_packed_panels(rows);
    float *own = p->floats + p->thread * TN_PACKED_ROWS * p->widest;
    for (int64_t panel = panels * p->thread / p->threads; panel < panels * (p->thread + 1) / p->threads; panel++) {
        const int64_t row = panel * TN_PACKED_ROWS, count = rows - row < TN_PACKED_ROWS ? rows - row : TN_PACKED_ROWS;
        if (packs_as_it_is(w, weight)) {
            for (int64_t i = 0; i < count; i++)
                kernels->packed_pack_blocks(w, first + row + i, 1, tn_weight_row(weight, row + i));
            continue;
        }
        if (w->kind == TN_PACKED_Q8 && weight->group) {
            bool fits = true;
            for (int64_t i = 0; i < count && fits; i++)
                if ((fits = tn_weight_row_q8(weight, row + i, (uint8_t *)own)))
                    kernels->packed_pack_blocks(w, first + row + i, 1, own);
            if (fits)
                continue;
        }
        const float *floats = floats_of(weight, row);
        for (int64_t i = 0; i < count && !floats; i++)
            (void)tn_weight_floats(weight, row + i, own + i * w->cols); /* of a matrix it does not fail */
        kernels->packed_pack(w, first + row, count, floats ? floats : own, w->cols);
    }
}

/* All matrices; threads need not meet. */
static void pack_all(int thread, int threads, void *context)
{
    packing p = *(const packing *)context;
    const tn_decoder *d = p.d;
    const tn_llama_args *c = &d->config;
    const int64_t k = c->num_attention_heads * c->head_dim, v = k + c->num_key_value_heads * c->head_dim; /* where they begin in qkv */
    p.thread = thread, p.threads = threads;
    pack(&p, TN_WEIGHT_EMBED, 0, &d->embedding, 0);
    if (d->head.data != d->embedding.data)
        pack(&p, TN_WEIGHT_LM_HEAD, 0, &d->head, 0);
    for (int64_t i = 0; i < c->num_hidden_layers; i++) {
        const tn_decoder_layer *l = &d->layers[i];
        const bool one = l->qkv_count == 1;
        pack(&p, TN_WEIGHT_Q, i, &l->qkv[0], 0);
        pack(&p, TN_WEIGHT_K, i, &l->qkv[one ? 0 : 1], one ? k : 0);
        pack(&p, TN_WEIGHT_V, i, &l->qkv[one ? 0 : 2], one ? v : 0);
        pack(&p, TN_WEIGHT_O, i, &l->out, 0);
        pack(&p, TN_WEIGHT_GATE, i, &l->gate, 0);
        pack(&p, TN_WEIGHT_UP, i, &l->up, 0);
        pack(&p, TN_WEIGHT_DOWN, i, &l->down, 0);
    }
}

static bool pack_matrices(const tn_decoder *d, const tn_weights *weights)
{
    const tn_decoder_layer *l = &d->layers[0];
    const int threads = tn_parallel_width();
    packing p = {.d = d, .weights = weights, .widest = d->embedding.cols};
    p.widest = l->out.cols > p.widest ? l->out.cols : p.widest;
    p.widest = l->down.cols > p.widest ? l->down.cols : p.widest;
    const size_t bytes = (size_t)threads * TN_PACKED_ROWS * (size_t)p.widest * sizeof(float);
    if (!(p.floats = tn_alloc(bytes)))
        return false;
    tn_parallel_team(threads, pack_all, &p);
    tn_free(p.floats, bytes);
    return true;
}

/* ---- F32 in 28 bits ------------------------------------------------------------------------------------------------------- */

/* Encoding takes a tenth of a second for a GB, and saves as much in about forty tokens. Of a small model the first token is what is waited for, and
 * its weights, or many of them, stay in the third cache of a large processor, which is faster than they could be decoded. */
size_t tn_decoder_f28_from = (size_t)256 << 20;

enum { OF_LAYER = 7 };
static int64_t matrix_count(const tn_decoder *d) { return 2 + d->config.num_hidden_layers * OF_LAYER; }
/* NULL where there is none of F32. */
static tn_packed_matrix *f32_matrix(tn_decoder *d, int64_t i)
{
    tn_decoder_layer *l = &d->layers[i < 2 ? 0 : (i - 2) / OF_LAYER];
    tn_packed_matrix *const of_layer[OF_LAYER] = {&l->out, &l->gate, &l->up, &l->down, &l->qkv[0], &l->qkv[1], &l->qkv[2]};
    const int64_t which = (i - 2) % OF_LAYER;
    const bool none = i == 1 ? d->head.data == d->embedding.data : i > 1 && which >= 4 + l->qkv_count;
    tn_packed_matrix *w = i == 0 ? &d->embedding : i == 1 ? &d->head : of_layer[which];
    return none || w->kind != TN_PACKED_F32 ? NULL : w;
}

static void encode(int64_t begin, int64_t end, void *context)
{
    tn_decoder *d = context;
    size_t at = 0;
    for (int64_t i = 0; i < end; i++) {
        tn_packed_matrix *w = f32_matrix(d, i);
        if (w && i >= begin)
            tn_kernels_of(TN_CPU)->packed_f28(w, d->aside + at);
        at += w ? tn_packed_aside_bytes(w->rows, w->cols) : 0;
    }
}

/* Each matrix that can be, of a decoder on the CPU whose matrices are packed. */
static bool to_f28(tn_decoder *d)
{
    const bool tied = d->head.data == d->embedding.data;
    size_t bytes = 0, aside = 0;
    for (int64_t i = 0; i < matrix_count(d); i++) {
        const tn_packed_matrix *w = f32_matrix(d, i);
        bytes += w ? tn_packed_bytes(w->kind, w->rows, w->cols) : 0;
        aside += w ? tn_packed_aside_bytes(w->rows, w->cols) : 0;
    }
    if (d->device.type != TN_CPU || bytes == 0 || bytes < tn_decoder_f28_from)
        return true;
    if (!(d->aside = tn_alloc_pages(aside)))
        return false;
    d->aside_bytes = aside;
    tn_parallel_for(matrix_count(d), 1, encode, d);
    bool used = false;
    for (int64_t i = 0; i < matrix_count(d) && !used; i++)
        used = f32_matrix(d, i) && f32_matrix(d, i)->aside;
    if (!used) {
        tn_free_pages(d->aside, aside);
        d->aside = NULL, d->aside_bytes = 0;
    }
    if (tied)
        d->head = d->embedding;
    return true;
}

/* A vector. */
static bool copy(const tn_weights *weights, tn_weight_kind kind, int64_t layer, float *out)
{
    return tn_weight_floats(tn_weights_at(weights, kind, layer), 0, out) == TN_OK;
}

static bool copy_layer(const tn_decoder *d, const tn_weights *weights, int64_t i)
{
    const tn_llama_args *c = &d->config;
    const tn_decoder_layer *l = &d->layers[i];
    const int64_t k = c->num_attention_heads * c->head_dim, v = k + c->num_key_value_heads * c->head_dim;
    float *bias = (float *)(uintptr_t)l->qkv[0].bias;
    return copy(weights, TN_WEIGHT_INPUT_NORM, i, l->input_norm) && copy(weights, TN_WEIGHT_POST_NORM, i, l->post_norm) &&
           (!bias || (copy(weights, TN_WEIGHT_Q_BIAS, i, bias) && copy(weights, TN_WEIGHT_K_BIAS, i, bias + k) &&
                      copy(weights, TN_WEIGHT_V_BIAS, i, bias + v))) &&
           (!l->q_norm || (copy(weights, TN_WEIGHT_Q_NORM, i, l->q_norm) && copy(weights, TN_WEIGHT_K_NORM, i, l->k_norm)));
}

static bool find_frequencies(const tn_decoder *d, const tn_tensor *divisors)
{
    const tn_llama_args *c = &d->config;
    const tn_rope_tables_args tables = {.size = sizeof tables, .base = c->rope_theta, .factor = c->rope_factor,
                                        .original_length = c->rope_original_length, .low_freq_factor = c->rope_low_freq_factor,
                                        .high_freq_factor = c->rope_high_freq_factor, .freq_factors = divisors, .dim = c->head_dim};
    return tn_rope_frequencies(&tables, d->frequencies);
}

char *tn_decoder_alloc(tn_device_id device, size_t bytes)
{
    return device.type == TN_CPU ? tn_alloc_pages(bytes) : tn_cuda(NULL)->alloc(device.index, bytes);
}

void tn_decoder_free(tn_device_id device, char *memory, size_t bytes)
{
    if (device.type == TN_CPU)
        tn_free_pages(memory, bytes);
    else if (memory)
        tn_cuda(NULL)->free(device.index, memory, bytes);
}

/* What was packed goes to the device as it is. */
static bool to_device(tn_decoder *d, const tn_weights *weights, tn_packed_kind kind)
{
    char *packed = d->block;
    if (d->device.type == TN_CPU)
        return true;
    d->block = tn_decoder_alloc(d->device, d->block_bytes);
    const bool good = d->block && tn_cuda(NULL)->copy(d->block, d->device.index, packed, TN_ON_CPU, d->block_bytes) == TN_OK;
    lay_out(d, d->block, weights, kind);
    tn_free_pages(packed, d->block_bytes);
    return good;
}

tn_status tn_decoder_pack(tn_decoder *d, const tn_weights *weights, tn_packed_kind kind)
{
    d->block_bytes = lay_out(d, NULL, weights, kind);
    d->frequencies = tn_alloc((size_t)d->config.head_dim / 2 * sizeof *d->frequencies);
    if (!d->frequencies || !(d->block = tn_alloc_pages(d->block_bytes)))
        return TN_ERR_MEMORY;
    lay_out(d, d->block, weights, kind);
    bool good = find_frequencies(d, weights->rope_freqs) && pack_matrices(d, weights) && to_f28(d) && copy(weights, TN_WEIGHT_NORM, 0, d->norm);
    for (int64_t i = 0; good && i < d->config.num_hidden_layers; i++)
        good = copy_layer(d, weights, i);
    return to_device(d, weights, kind) && good ? TN_OK : tn_last_status();
}
