/* Decoding: a decoder's memory, its calls, and the steps of it that a device records. The passes over its weights are decoder_pass.c's. */
#include "models/decoder.h"

#include <string.h>

#include "kernels/device.h"
#include "kernels/graph.h"
#include "models/decoder_pass.h"
#include "models/weights.h"

enum { MOST_SEQUENCES = 1 << 20, FIRST_ROOM = 256 };

/* ---- its memory ----------------------------------------------------------------------------------------------------------- */

static void lay_out_cache(const tn_decoder *d, tn_decoder_cache *cache, int64_t sequences, char *block, size_t *at)
{
    const size_t rows = (size_t)(sequences * d->config.num_key_value_heads * cache->rows), data = rows * (size_t)d->config.head_dim * tn_dtype_size(d->cache);
    const size_t scales = d->cache == TN_I8 ? rows * sizeof(float) : 0;
    cache->keys = tn_taken(block, at, data);
    cache->key_scales = tn_taken(block, at, scales);
    cache->values = tn_taken(block, at, data);
    cache->value_scales = tn_taken(block, at, scales);
}

/* What a device is told of so many rows: tokens, sequences, positions and angles. */
static size_t told_bytes(const tn_decoder *d, int64_t rows)
{
    return (size_t)rows * (3 * sizeof(int64_t) + (size_t)d->config.head_dim * sizeof(float));
}

/* Lays a pass's buffers out in a block, or with NULL only measures them. */
static size_t lay_out(tn_decoder_pass *p, tn_decoder *d, char *block, int64_t rows, int64_t outs, int64_t rolled, int threads)
{
    const tn_llama_args *c = &d->config;
    const int64_t queries = c->num_attention_heads * c->head_dim;
    const int64_t own = p->own_rows = upto(rows, TN_PASS_OWN_ROWS), y_rows = beyond(rows, own * threads);
    const size_t row = sizeof(float) * (size_t)rows;
    size_t at = 0;
    p->x = tn_taken(block, &at, row * (size_t)c->hidden_size);
    p->y = tn_taken(block, &at, sizeof(float) * (size_t)(y_rows * c->hidden_size));
    p->q = tn_taken(block, &at, row * (size_t)tn_decoder_qkv_rows(d));
    p->attended = tn_taken(block, &at, row * (size_t)queries);
    p->gate = tn_taken(block, &at, row * (size_t)c->intermediate_size); /* up right behind it, for gated() */
    p->up = tn_taken(block, &at, row * (size_t)c->intermediate_size);
    p->told = tn_taken(block, &at, told_bytes(d, rows));
    p->cos = p->told ? (float *)(void *)(p->told + 3 * p->n) : NULL;
    p->sin = p->cos ? p->cos + p->n * (c->head_dim / 2) : NULL;
    const int64_t others = queries > c->hidden_size ? queries : c->hidden_size;
    const int64_t whole = tn_packed_blocks(others > c->intermediate_size ? others : c->intermediate_size) * TN_PACKED_BLOCK;
    p->prepared_row = tn_packed_input_bytes(TN_PACKED_F32, 1, whole); /* no kind takes more */
    p->prepared = tn_taken(block, &at, (size_t)y_rows * p->prepared_row);
    const int64_t of_one = (d->room + 15) / 16 * 16, of_many = tn_decode_tiles_floats(c->head_dim);
    p->looks_floats = rows > 1 && of_many > of_one ? of_many : of_one;
    p->looks = tn_taken(block, &at, sizeof(float) * (size_t)(threads * p->looks_floats));
    p->logits = tn_taken(block, &at, sizeof(float) * (size_t)(outs * c->vocab_size));
    p->rolled.rows = rolled;
    lay_out_cache(d, &p->rolled, 1, block, &at);
    return at;
}

/* Recorded steps are of the scratch as it is. */
static void forget_steps(tn_decoder *d)
{
    for (int n = 0; n < TN_COUNT(d->steps); n++) {
        tn_release(d->steps[n]);
        d->steps[n] = NULL;
    }
}

static void free_scratch(tn_decoder *d)
{
    if (d->device.type == TN_CPU)
        tn_free(d->scratch, d->scratch_bytes);
    else
        tn_decoder_free(d->device, d->scratch, d->scratch_bytes);
}

/* Beside a device's scratch: what it is told, and the logits after it. */
static bool find_outside(tn_decoder *d, int64_t rows, int64_t outs)
{
    const size_t told = (told_bytes(d, rows) + 63) / 64 * 64;
    const size_t bytes = told + (size_t)(outs * d->config.vocab_size) * sizeof(float);
    char *outside = tn_alloc(bytes);
    if (!outside)
        return false;
    tn_free(d->outside, d->outside_bytes);
    d->outside = outside;
    d->outside_bytes = bytes;
    d->logits = (float *)(void *)(outside + told);
    return true;
}

/* Rows that an array of a cache has of each sequence's heads go to a larger one. */
static void move_rows(const tn_decoder *d, const void *from, int64_t from_rows, void *to, int64_t to_rows, size_t row_bytes)
{
    const int64_t heads = d->config.num_key_value_heads;
    for (int64_t i = 0; i < d->sequences * heads && from && !tn_failing(); i++) {
        const size_t bytes = (size_t)upto(d->lengths[i / heads], from_rows) * row_bytes;
        const char *source = (const char *)from + (size_t)(i * from_rows) * row_bytes;
        char *target = (char *)to + (size_t)(i * to_rows) * row_bytes;
        if (d->device.type == TN_CPU)
            memcpy(target, source, bytes);
        else if (bytes)
            (void)!tn_cuda(NULL)->copy(target, d->device.index, source, d->device.index, bytes);
    }
}

static void move_cache(const tn_decoder *d, const tn_decoder_cache *from, const tn_decoder_cache *to)
{
    const size_t row_bytes = (size_t)d->config.head_dim * tn_dtype_size(d->cache), scale_bytes = d->cache == TN_I8 ? sizeof(float) : 0;
    move_rows(d, from->keys, from->rows, to->keys, to->rows, row_bytes);
    move_rows(d, from->values, from->rows, to->values, to->rows, row_bytes);
    move_rows(d, from->key_scales, from->rows, to->key_scales, to->rows, scale_bytes);
    move_rows(d, from->value_scales, from->rows, to->value_scales, to->rows, scale_bytes);
}

/* What is done with caches laid out in a block: nothing, for they are only measured; what was is moved there; the layers have them. */
typedef enum caches_use { MEASURED, MOVED, TAKEN } caches_use;

/* Lays caches with room for so many tokens out in a block, and does that with each. */
static size_t lay_out_caches(const tn_decoder *d, int64_t room, char *block, caches_use use)
{
    size_t at = 0;
    for (int64_t i = 0; i < d->config.num_hidden_layers; i++) {
        tn_decoder_cache *from = &d->layers[i].cache, to = {.rows = upto(room, d->layers[i].seen)};
        lay_out_cache(d, &to, d->sequences, block, &at);
        if (use == MOVED)
            move_cache(d, from, &to);
        else if (use == TAKEN)
            *from = to;
    }
    return at;
}

/* Gives the caches room for so many tokens of each sequence, or for all that the layers see: at least twice what they had, so that what is moved in
 * all is less than what they end with. No cache goes round before it has all its rows. Where a device cannot move them they stay what they are. */
static bool find_room(tn_decoder *d, int64_t tokens)
{
    if (tn_captures(d->device))
        tn_fail(TN_ERR_STATE, "decoder: while a graph is captured from %s: a decoder records its steps itself", tn_device_text(d->device));
    if (tn_failing() || tokens <= d->room || d->room == d->most)
        return !tn_failing();
    const int64_t room = upto(beyond(tokens, beyond(2 * d->room, FIRST_ROOM)), d->most);
    const size_t bytes = lay_out_caches(d, room, NULL, MEASURED);
    char *caches = tn_decoder_alloc(d->device, bytes);
    if (!caches)
        return false;
    lay_out_caches(d, room, caches, MOVED);
    if (tn_failing()) {
        tn_decoder_free(d->device, caches, bytes);
        return false;
    }
    forget_steps(d);
    lay_out_caches(d, room, caches, TAKEN);
    tn_decoder_free(d->device, d->caches, d->cache_bytes);
    d->caches = caches;
    d->cache_bytes = bytes;
    d->room = room;
    return true;
}

/* Gives the pass its buffers, made anew only where it needs more than any before. */
static bool find_memory(tn_decoder_pass *p, tn_decoder *d)
{
    const bool here = d->device.type == TN_CPU;
    const int threads = p->threads = here ? tn_parallel_width() : 1;
    int64_t rolled = d->scratch_rolled;
    for (int64_t i = 0; here && i < d->config.num_hidden_layers; i++)
        if (tn_pass_rolls(p, &d->layers[i]))
            rolled = beyond(rolled, d->layers[i].cache.rows + TN_DECODER_ROWS);
    if (p->n > d->scratch_rows || p->outs > d->scratch_outs || rolled > d->scratch_rolled || threads > d->scratch_threads || d->room > d->scratch_room) {
        const int64_t rows = beyond(p->n, d->scratch_rows), outs = beyond(beyond(p->outs, 1), d->scratch_outs);
        const int most = threads > d->scratch_threads ? threads : d->scratch_threads;
        const size_t bytes = lay_out(p, d, NULL, rows, outs, rolled, most);
        char *scratch = here ? tn_alloc(bytes) : tn_decoder_alloc(d->device, bytes);
        if (!scratch)
            return false;
        forget_steps(d);
        free_scratch(d);
        d->scratch = scratch;
        d->scratch_bytes = bytes;
        d->scratch_rows = d->scratch_outs = 0; /* until all is there */
        if (!here && !find_outside(d, rows, outs))
            return false;
        d->scratch_rows = rows;
        d->scratch_outs = outs;
        d->scratch_rolled = rolled;
        d->scratch_room = d->room;
        d->scratch_threads = most;
    }
    lay_out(p, d, d->scratch, d->scratch_rows, d->scratch_outs, d->scratch_rolled, d->scratch_threads);
    d->logits = here ? p->logits : d->logits;
    return true;
}

/* ---- on a device ---------------------------------------------------------------------------------------------------------- */

/* The pass as a graph; NULL where it cannot be recorded, and then none is any more. */
static tn_graph *recorded(tn_decoder_pass *p, tn_decoder *d)
{
    tn_graph *graph = tn_graph_new(d->device);
    if (graph && tn_capture_begin(graph) == TN_OK) {
        tn_pass_run(0, 1, p);
        (void)!tn_capture_end(graph);
    }
    if (!tn_failing())
        return graph;
    tn_clear_error();
    tn_release(graph);
    d->capture = false;
    return NULL;
}

/* One token of each of n sequences is the same work each time. Who does it for as many as last time will go on: it is recorded then, and replayed. */
static tn_graph *step_of(tn_decoder_pass *p, tn_decoder *d)
{
    const bool step = d->capture && p->outs == p->n && (p->n == 1 || !tn_pass_of_one_sequence(p));
    if (step && !d->steps[p->n] && d->stepped == p->n)
        d->steps[p->n] = recorded(p, d);
    d->stepped = step ? p->n : d->stepped;
    return step ? d->steps[p->n] : NULL;
}

/* What differs from pass to pass goes there first, the logits come back. */
static bool run_there(tn_decoder_pass *p, tn_decoder *d)
{
    const tn_backend *backend = tn_cuda(NULL);
    const size_t each = (size_t)p->n * sizeof(int64_t), logits = (size_t)(p->outs * d->config.vocab_size) * sizeof(float);
    float *cosines = (float *)(void *)(d->outside + 3 * each);
    memcpy(d->outside, p->tokens, each);
    memcpy(d->outside + each, p->sequences, each);
    memcpy(d->outside + 2 * each, p->positions, each);
    tn_pass_angles(p, 0, p->n, cosines, cosines + p->n * (d->config.head_dim / 2));
    if (backend->copy(p->told, d->device.index, d->outside, TN_ON_CPU, told_bytes(d, p->n)) != TN_OK)
        return false;
    tn_graph *step = step_of(p, d);
    if (step)
        (void)!tn_replay(step);
    else
        tn_pass_run(0, 1, p);
    return !tn_failing() && (!logits || backend->copy(d->logits, TN_ON_CPU, p->logits, d->device.index, logits) == TN_OK);
}

/* Runs n rows; logits of the last `outs`. */
static const float *run_rows(tn_decoder *d, int64_t n, const int64_t *tokens, const int64_t *sequences, const int64_t *positions, int64_t outs)
{
    tn_barrier barrier = {0};
    tn_decoder_pass p = {.d = d, .barrier = &barrier, .kernels = tn_kernels_on(d->device), .n = n, .tokens = tokens, .sequences = sequences, .positions = positions, .outs = outs};
    if (!find_memory(&p, d))
        return NULL;
    if (!tn_pass_is_there(&p))
        tn_parallel_team(p.threads, tn_pass_run, &p);
    else if (!run_there(&p, d))
        return NULL;
    for (int64_t i = 0; i < n; i++)
        d->lengths[sequences[i]] = positions[i] + 1;
    return d->logits;
}

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */

static const tn_class decoder_class;

static bool is_decoder(const char *name, const tn_decoder *d)
{
    if (!tn_failing() && (!d || d->base.cls != &decoder_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: decoder is %s", name, d ? "no decoder" : "NULL");
    return !tn_failing();
}

static bool rows_fit(const char *name, const tn_decoder *d, const int64_t *sequences, int64_t sequence_count, const int64_t *tokens, int64_t count)
{
    if (!is_decoder(name, d))
        return false;
    if (!tokens || !sequences || count < 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: %lld tokens%s: at least one is needed", name, (long long)count, tokens && sequences ? "" : ", NULL");
    for (int64_t i = 0; i < sequence_count && !tn_failing(); i++)
        if (sequences[i] < 0 || sequences[i] >= d->sequences)
            tn_fail(TN_ERR_INDEX, "%s: sequence %lld: the decoder has %lld", name, (long long)sequences[i], (long long)d->sequences);
    for (int64_t i = 0; i < count && !tn_failing(); i++)
        if (tokens[i] < 0 || tokens[i] >= d->config.vocab_size)
            tn_fail(TN_ERR_INDEX, "%s: token %lld is %lld: the model has %lld", name, (long long)i, (long long)tokens[i],
                    (long long)d->config.vocab_size);
    return !tn_failing();
}

/* Feeds in pieces; where all logits are wanted they must be one piece, which grows the scratch. more may be NULL. */
static const float *fed(const char *name, tn_decoder *d, int64_t sequence, const int64_t *tokens, int64_t count, bool all, tn_prompt_callback more, void *context)
{
    if (!rows_fit(name, d, &sequence, 1, tokens, count) || !find_room(d, d->lengths[sequence] + count))
        return NULL;
    const int64_t before = d->lengths[sequence];
    const float *logits = NULL;
    int64_t sequences[TN_DECODER_ROWS], positions[TN_DECODER_ROWS];
    for (int64_t first = 0, n; first < count; first += n) {
        n = count - first < TN_DECODER_ROWS ? count - first : TN_DECODER_ROWS;
        if (more && (!more(first, count, context) || tn_failing())) {
            d->lengths[sequence] = tn_failing() ? before : d->lengths[sequence];
            return NULL;
        }
        for (int64_t i = 0; i < n; i++) {
            sequences[i] = sequence;
            positions[i] = before + first + i;
        }
        logits = run_rows(d, n, tokens + first, sequences, positions, all ? n : first + n == count);
        if (!logits) {
            d->lengths[sequence] = before;
            return NULL;
        }
    }
    return logits;
}

const float *tn_decoder_feed(tn_decoder *d, int64_t sequence, const int64_t *tokens, int64_t count)
{
    return fed("decoder_feed", d, sequence, tokens, count, false, NULL, NULL);
}

const float *tn_decoder_feed_asking(tn_decoder *d, int64_t sequence, const int64_t *tokens, int64_t count, tn_prompt_callback more, void *context)
{
    return fed("decoder_feed", d, sequence, tokens, count, false, more, context);
}

const float *tn_decoder_feed_all(tn_decoder *d, int64_t sequence, const int64_t *tokens, int64_t count)
{
    if (count > TN_DECODER_ROWS)
        return tn_fail(TN_ERR_ARGUMENT, "decoder_feed_all: %lld tokens: at most %d at a time", (long long)count, TN_DECODER_ROWS);
    return fed("decoder_feed_all", d, sequence, tokens, count, true, NULL, NULL);
}

const float *tn_decoder_step(tn_decoder *d, const int64_t *sequences, const int64_t *tokens, int64_t count)
{
    int64_t positions[TN_DECODER_ROWS], longest = 0;
    if (!rows_fit("decoder_step", d, sequences, count, tokens, count))
        return NULL;
    if (count > TN_DECODER_ROWS)
        return tn_fail(TN_ERR_ARGUMENT, "decoder_step: %lld sequences: at most %d at a time", (long long)count, TN_DECODER_ROWS);
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < i; j++)
            if (sequences[i] == sequences[j])
                return tn_fail(TN_ERR_ARGUMENT, "decoder_step: sequence %lld is there twice", (long long)sequences[i]);
        positions[i] = d->lengths[sequences[i]];
        longest = beyond(longest, positions[i] + 1);
    }
    return find_room(d, longest) ? run_rows(d, count, tokens, sequences, positions, count) : NULL;
}

int64_t tn_decoder_length(const tn_decoder *d, int64_t sequence)
{
    int64_t token = 0;
    return rows_fit("decoder_length", d, &sequence, 1, &token, 1) ? d->lengths[sequence] : -1;
}

tn_status tn_decoder_rewind(tn_decoder *d, int64_t sequence, int64_t length)
{
    const int64_t now = tn_decoder_length(d, sequence);
    if (now < 0)
        return tn_last_status();
    if (length < 0 || length > now)
        tn_fail(TN_ERR_INDEX, "decoder_rewind: length %lld: the sequence has %lld tokens", (long long)length, (long long)now);
    else if (now > d->least && length < now && length > 0)
        tn_fail(TN_ERR_STATE, "decoder_rewind: length %lld: of %lld tokens the last %lld are remembered, and what came before cannot be again",
                (long long)length, (long long)now, (long long)d->least);
    if (!tn_failing())
        d->lengths[sequence] = length;
    return tn_last_status();
}

tn_status tn_decoder_reserve(tn_decoder *d, int64_t tokens)
{
    if (is_decoder("decoder_reserve", d) && tokens < 0)
        tn_fail(TN_ERR_ARGUMENT, "decoder_reserve: %lld tokens", (long long)tokens);
    if (!tn_failing())
        find_room(d, tokens);
    return tn_last_status();
}

const tn_llama_args *tn_decoder_config(const tn_decoder *d) { return is_decoder("decoder_config", d) ? &d->config : NULL; }

/* ---- making one ----------------------------------------------------------------------------------------------------------- */

static void decoder_free(void *self)
{
    tn_decoder *d = self;
    forget_steps(d);
    tn_decoder_free(d->device, d->block, d->block_bytes);
    tn_free_pages(d->aside, d->aside_bytes);
    tn_decoder_free(d->device, d->caches, d->cache_bytes);
    free_scratch(d);
    tn_free(d->outside, d->outside_bytes);
    tn_free(d->frequencies, sizeof *d->frequencies * (size_t)d->config.head_dim / 2);
    tn_free(d->layers, sizeof *d->layers * (size_t)d->config.num_hidden_layers);
    tn_free(d->lengths, sizeof *d->lengths * (size_t)d->sequences);
}
static const tn_class decoder_class = {"decoder", sizeof(tn_decoder), decoder_free};

/* The kind that is asked for, or else the one that most of the weights' bytes are, or that is next to it, among those that floats can become. */
static tn_packed_kind kind_for(const tn_decoder_args *a, const tn_weights *weights)
{
    size_t bytes[TN_PACKED_KINDS] = {0};
    if (a->weights != TN_QUANT_NONE || !weights)
        return tn_decoder_kind_of(a->weights);
    for (int64_t i = 0; i < weights->count; i++) {
        const tn_packed_kind kind = tn_decoder_kind_of_weight(&weights->weights[i]);
        bytes[kind >= TN_PACKED_OF_FLOATS ? TN_PACKED_Q8 : kind] += weights->weights[i].blocks.size;
    }
    int most = 0;
    for (int kind = 1; kind < TN_PACKED_KINDS; kind++)
        most = bytes[kind] > bytes[most] ? kind : most;
    return (tn_packed_kind)most;
}

/* How much each layer sees: its window, and at most the context. */
static bool find_windows(tn_decoder *d, int64_t context)
{
    const tn_llama_args *c = &d->config;
    size_t rows;
    d->least = INT64_MAX;
    for (int64_t i = 0; i < c->num_hidden_layers; i++) {
        const int64_t window = tn_llama_window(c, i), seen = window && window < context ? window : context;
        d->layers[i].seen = seen;
        d->least = upto(d->least, seen);
        d->most = beyond(d->most, seen);
    }
    if (__builtin_mul_overflow((size_t)d->sequences * (size_t)d->most, (size_t)c->num_key_value_heads, &rows) || rows > SIZE_MAX >> 34) {
        tn_fail(TN_ERR_MEMORY, "decoder: a cache of %lld sequences of %lld tokens is beyond any memory", (long long)d->sequences, (long long)d->most);
        return false;
    }
    return true;
}

/* From weights, which it releases, on a device: of that kind, or each of its own where `own`. */
static tn_decoder *decoder_of(tn_weights *weights, const tn_decoder_args *a, tn_packed_kind kind, bool own, tn_device_id device)
{
    tn_decoder *d = weights ? tn_object_new(&decoder_class) : NULL;
    if (d) {
        d->config = weights->config;
        d->cache = a->cache != TN_DTYPE_DEFAULT ? a->cache : kind == TN_PACKED_F32 || kind == TN_PACKED_F16 ? TN_F32 : TN_BF16;
        d->device = device;
        d->capture = a->capture;
        d->sequences = a->sequences;
        d->lengths = tn_alloc_zero(sizeof *d->lengths * (size_t)d->sequences);
        d->layers = tn_alloc_zero(sizeof *d->layers * (size_t)d->config.num_hidden_layers);
        if (!d->lengths || !d->layers || !find_windows(d, a->context ? a->context : d->config.max_position_embeddings) || tn_decoder_pack(d, weights, own ? TN_PACKED_KINDS : kind) != TN_OK) {
            tn_release(d);
            d = NULL;
        }
    }
    tn_release(weights);
    return d;
}

static bool options_fit(const tn_decoder_args *a)
{
    if (tn_failing())
        return false;
    if (a->weights != TN_QUANT_NONE && tn_decoder_kind_of(a->weights) >= TN_PACKED_OF_FLOATS)
        tn_fail(TN_ERR_UNSUPPORTED, "decoder: weights are computed with as F32, F16, BF16, Q8_0 or Q4_0, not %s",
                tn_quant_name(a->weights) ? tn_quant_name(a->weights) : "what is no type");
    else if (a->cache != TN_DTYPE_DEFAULT && a->cache != TN_F32 && a->cache != TN_BF16 && a->cache != TN_I8)
        tn_fail(TN_ERR_DTYPE, "decoder: the cache is f32, bf16 or i8, not %s", tn_dtype_name(a->cache));
    else if (a->context < 0 || a->context > INT32_MAX || a->sequences < 1 || a->sequences > MOST_SEQUENCES)
        tn_fail(TN_ERR_ARGUMENT, "decoder: context %lld and sequences %lld: from 0 (the model's), and from 1 to %d", (long long)a->context,
                (long long)a->sequences, MOST_SEQUENCES);
    return !tn_failing() && (!a->device || a->device->type == TN_CPU || tn_backend_for("decoder", *a->device));
}

tn_decoder *tn_decoder_new_with(const tn_decoder_args *a)
{
    TN_KNOWN(tn_decoder_args, a);
    tn_weights *weights = options_fit(a) ? tn_weights_of(a->llama) : NULL;
    TN_SCOPE;
    const tn_device_id device = a->device ? *a->device : weights ? tn_device_of(tn_dict_tensor(tn_named_parameters(a->llama), 0)) : (tn_device_id){TN_CPU, 0};
    return decoder_of(weights, a, kind_for(a, weights), a->weights == TN_QUANT_NONE, device);
}

tn_decoder *tn_decoder_open_with(const tn_decoder_open_args *a)
{
    TN_KNOWN(tn_decoder_open_args, a);
    const tn_decoder_args args = {.size = sizeof args, .weights = a->weights, .cache = a->cache, .context = a->context, .sequences = a->sequences, .device = a->device, .capture = a->capture};
    const tn_device_id device = a->device ? *a->device : (tn_device_id){TN_CPU, 0};
    tn_weights *weights = options_fit(&args) ? tn_weights_open("decoder_open", a->path) : NULL;
    const tn_packed_kind kind = kind_for(&args, weights);
    if (!weights || !a->tuned)
        return decoder_of(weights, &args, kind, a->weights == TN_QUANT_NONE, device);
    TN_SCOPE;
    tn_release(weights);
    const tn_llama_load_args whole = {.size = sizeof whole, .dtype = TN_F32, .path = a->path};
    tn_module *llama = tn_adopt(tn_llama_load_with(&whole));
    return llama && tn_llama_load_tuned(llama, a->tuned) == TN_OK ? decoder_of(tn_weights_of(llama), &args, kind, false, device) : NULL;
}
