/* Decoding: one pass over the weights for the rows of a call, be they the tokens of a prompt or one token of each sequence. All threads
 * work through the layers together, meeting where a step needs what the others wrote. Of a few rows each takes some of a product's columns, so
 * that every weight is read once; of many each takes some of the rows, so that it reads what it wrote. */
#include "models/decoder.h"

#include <math.h>
#include <string.h>

#include "core/parallel.h"
#include "kernels/device.h"
#include "kernels/graph.h"
#include "models/weights.h"

enum {
    OWN_ROWS = 8,    /* so many or fewer each thread prepares for itself, which is cheaper than to meet */
    PART_ROWS = 48,  /* of so many to a thread each has its own: whole tiles of a product of any kind, and enough for it to wait for no weight */
    TILE_ROWS = 12,
    MOST_SEQUENCES = 1 << 20,
};

static int64_t upto(int64_t a, int64_t most) { return a < most ? a : most; }
static int64_t beyond(int64_t a, int64_t least) { return a > least ? a : least; }

/* ---- a pass --------------------------------------------------------------------------------------------------------------- */

typedef struct pass {
    const tn_decoder *d;
    const tn_kernels *kernels;
    int64_t n;                /* rows */
    const int64_t *tokens;    /* [n] */
    const int64_t *sequences; /* [n]; those of one sequence stand in order */
    const int64_t *positions; /* [n] */
    int64_t *told;            /* on a device: the three once more, one after the other, and the angles behind them */
    int64_t outs;             /* the last so many rows get logits */
    tn_decoder_cache rolled;  /* a layer's cache in order, for rows of which some would take the place of what others see; 0 rows: there is no such layer */
    float *x, *y, *q, *attended, *gate, *up; /* [n, hidden] twice, [n, q + k + v], [n, heads head_dim], [n, intermediate] twice */
    float *cos, *sin;                        /* [n, head_dim / 2] each, one after the other; on a device behind `told` */
    float *logits;                           /* [outs, vocab_size] */
    char *prepared;                          /* of packed_input; for OWN_ROWS each thread has its own */
    size_t prepared_row; /* its bytes for a row, of the widest input */
    int64_t own_rows;    /* of y and prepared that a thread has for itself */
    float *looks; /* each thread's scratch of decode_attention */
    int64_t looks_floats;
    tn_barrier *barrier;
    int threads; /* at most */
} pass;

static bool is_there(const pass *p) { return p->d->device.type != TN_CPU; }

static char *own_prepared(const pass *p, int thread) { return p->prepared + (size_t)(thread * p->own_rows) * p->prepared_row; }

/* x normed and as products take it. */
static const void *prepared_norm(const pass *p, const tn_packed_matrix *w, const float *x, const float *norm, int64_t n, int thread, int threads)
{
    const int64_t cols = w->cols;
    const double eps = p->d->config.rms_norm_eps;
    if (n <= OWN_ROWS || threads == 1) {
        char *own = own_prepared(p, thread);
        p->kernels->decode_norm(n, cols, x, norm, eps, p->y + thread * p->own_rows * cols, w->kind, own);
        return own;
    }
    const int64_t begin = n * thread / threads, end = n * (thread + 1) / threads;
    p->kernels->decode_norm(end - begin, cols, x + begin * cols, norm, eps, p->y + begin * cols, w->kind, NULL);
    tn_barrier_wait(p->barrier, threads);
    p->kernels->packed_input(w->kind, n, cols, p->y, cols, p->prepared, thread, threads);
    tn_barrier_wait(p->barrier, threads);
    return p->prepared;
}

/* Whether two weights take the same x prepared otherwise. */
static bool differ(const tn_packed_matrix *a, const tn_packed_matrix *b) { return tn_packed_input_kind(a->kind) != tn_packed_input_kind(b->kind); }

/* x as products take it; on a device floats as they are. */
static const void *prepared(const pass *p, const tn_packed_matrix *w, const float *x, int64_t n, int thread, int threads)
{
    if (is_there(p) && tn_packed_input_kind(w->kind) == TN_PACKED_F32)
        return x;
    const bool alone = n <= OWN_ROWS;
    char *own = alone ? own_prepared(p, thread) : p->prepared;
    p->kernels->packed_input(w->kind, n, w->cols, x, w->cols, own, alone ? 0 : thread, alone ? 1 : threads);
    if (!alone)
        tn_barrier_wait(p->barrier, threads);
    return own;
}

/* Of row i and those after it, where a device reads them; NULL on the CPU. */
static const int64_t *told_sequences(const pass *p, int64_t i) { return is_there(p) ? p->told + p->n + i : NULL; }
static const int64_t *told_positions(const pass *p, int64_t i) { return is_there(p) ? p->told + 2 * p->n + i : NULL; }

static float *projected(const pass *p, int64_t i) { return p->q + i * tn_decoder_qkv_rows(p->d); }

/* Row i's keys and values of `count` heads from g on go to row `at` of a cache and those of the next heads, and their queries are turned. On a
 * device this is done of `rows` rows, whose places in the cache of all it knows; `at` is 0. */
static void store(const pass *p, const tn_decoder_layer *l, int64_t i, int64_t rows, int64_t g, int64_t count, const tn_decoder_cache *to, int64_t at)
{
    const tn_decoder *d = p->d;
    const tn_llama_args *c = &d->config;
    const int64_t size = c->head_dim, kv_heads = c->num_key_value_heads, group = c->num_attention_heads / kv_heads;
    float *k = projected(p, i) + (c->num_attention_heads + g) * size;
    const size_t row_bytes = (size_t)size * tn_dtype_size(d->cache);
    const bool scaled = d->cache == TN_I8;
    const tn_decode_store kept = {
        .rows = rows, .heads = count * group, .kv_heads = count, .size = size, .q = projected(p, i) + g * group * size, .k = k, .v = k + kv_heads * size,
        .row = tn_decoder_qkv_rows(d), .q_norm = l->q_norm, .k_norm = l->k_norm, .eps = c->rms_norm_eps, .cos = p->cos + i * (size / 2),
        .sin = p->sin + i * (size / 2), .dtype = d->cache, .keys = to->keys + (size_t)at * row_bytes, .values = to->values + (size_t)at * row_bytes,
        .head = to->rows * size, .key_scales = scaled ? to->key_scales + at : NULL, .value_scales = scaled ? to->value_scales + at : NULL,
        .scale_head = to->rows, .sequences = told_sequences(p, i), .positions = told_positions(p, i), .window = to->rows};
    p->kernels->decode_store(&kept);
}

/* Rows of one cache of a head's into another. */
static void copy_rows(const tn_decoder *d, const tn_decoder_cache *from, int64_t from_row, const tn_decoder_cache *to, int64_t to_row, int64_t count)
{
    const size_t row_bytes = (size_t)d->config.head_dim * tn_dtype_size(d->cache);
    memcpy(to->keys + (size_t)to_row * row_bytes, from->keys + (size_t)from_row * row_bytes, (size_t)count * row_bytes);
    memcpy(to->values + (size_t)to_row * row_bytes, from->values + (size_t)from_row * row_bytes, (size_t)count * row_bytes);
    if (d->cache != TN_I8)
        return;
    memcpy(to->key_scales + to_row, from->key_scales + from_row, (size_t)count * sizeof(float));
    memcpy(to->value_scales + to_row, from->value_scales + from_row, (size_t)count * sizeof(float));
}

/* For rows of one sequence of which the last take the place of what the first see: what head g's cache has for them and then they go, in order, to
 * p->rolled, and the last of all to the cache. */
static void roll(const pass *p, const tn_decoder_layer *l, int64_t g)
{
    const int64_t rows = l->cache.rows, first = p->positions[0], end = first + p->n, seen = upto(first, rows - 1);
    const int64_t head = (p->sequences[0] * p->d->config.num_key_value_heads + g) * rows, there = g * p->rolled.rows + seen - first; /* of position 0 */
    for (int64_t at = first - seen, count; at < first; at += count) {
        count = upto(first - at, rows - at % rows);
        copy_rows(p->d, &l->cache, head + at % rows, &p->rolled, there + at, count);
    }
    for (int64_t i = 0; i < p->n; i++)
        store(p, l, i, 1, g, 1, &p->rolled, there + first + i);
    for (int64_t at = p->n > rows ? end - rows : first, count; at < end; at += count) {
        count = upto(end - at, rows - at % rows);
        copy_rows(p->d, &p->rolled, there + at, &l->cache, head + at % rows, count);
    }
}

/* `count` heads of queries from h on, all of one key/value head or of whole ones, of `rows` rows of a sequence from i on look at what its cache, or
 * p->rolled, holds. next: how many key/value heads on the thread's next ones lie. */
static void attend(const pass *p, const tn_decoder_layer *l, int64_t i, int64_t rows, int64_t h, int64_t count, int64_t next, int thread)
{
    const tn_decoder *d = p->d;
    const tn_llama_args *c = &d->config;
    const bool rolled = rows > 1 && p->positions[i] + rows > l->cache.rows;
    const tn_decoder_cache *from = rolled ? &p->rolled : &l->cache;
    const int64_t size = c->head_dim, kv_heads = c->num_key_value_heads, group = c->num_attention_heads / kv_heads, g = h / group, y_row = c->num_attention_heads * size;
    const int64_t head = ((rolled ? 0 : p->sequences[i] * kv_heads) + g) * from->rows;
    const size_t row_bytes = (size_t)size * tn_dtype_size(d->cache);
    const bool scaled = d->cache == TN_I8;
    const tn_decode_attention attention = {
        .rows = rows, .heads = count, .kv_heads = count > group ? count / group : 1, .size = size, .length = upto(p->positions[i], l->cache.rows - 1) + rows,
        .window = l->cache.rows, .scale = 1 / sqrt((double)size), .q = projected(p, i) + h * size, .q_row = tn_decoder_qkv_rows(d), .y_row = y_row,
        .dtype = d->cache, .k = from->keys + (size_t)head * row_bytes, .v = from->values + (size_t)head * row_bytes, .head = from->rows * size, .row = size,
        .ahead = head + next * from->rows < d->sequences * kv_heads * from->rows ? next * from->rows * size : 0,
        .k_scale = scaled ? from->key_scales + head : NULL, .v_scale = scaled ? from->value_scales + head : NULL, .scale_head = from->rows,
        .scratch = p->looks + thread * p->looks_floats, .y = p->attended + i * y_row + h * size};
    p->kernels->decode_attention(&attention, 0, 1);
}

static bool of_one_sequence(const pass *p) { return p->sequences[0] == p->sequences[p->n - 1]; }
static bool rolls(const pass *p, const tn_decoder_layer *l) { return p->n > 1 && of_one_sequence(p) && p->positions[p->n - 1] >= l->cache.rows; }

/* All heads' queries of `rows` rows from i on look at what a device's cache holds of their sequences. */
static void look_there(const pass *p, const tn_decoder_layer *l, int64_t i, int64_t rows)
{
    const tn_decoder *d = p->d;
    const tn_llama_args *c = &d->config;
    const int64_t size = c->head_dim, y_row = c->num_attention_heads * size;
    const tn_decode_attention attention = {
        .rows = rows, .heads = c->num_attention_heads, .kv_heads = c->num_key_value_heads, .size = size, .window = l->cache.rows,
        .scale = 1 / sqrt((double)size), .q = projected(p, i), .q_row = tn_decoder_qkv_rows(d), .y_row = y_row, .dtype = d->cache, .k = l->cache.keys,
        .v = l->cache.values, .head = l->cache.rows * size, .row = size, .k_scale = l->cache.key_scales, .v_scale = l->cache.value_scales,
        .scale_head = l->cache.rows, .y = p->attended + i * y_row, .sequences = told_sequences(p, i), .positions = told_positions(p, i)};
    p->kernels->decode_attention(&attention, 0, 1);
}

/* A device has threads for all rows and heads at once. Rows that roll go one after the other. */
static void attend_there(const pass *p, const tn_decoder_layer *l, int64_t wanted)
{
    const int64_t n = p->n, each = rolls(p, l) ? 1 : n;
    for (int64_t i = 0; i < n; i += each) {
        const int64_t first = beyond(i, n - wanted);
        store(p, l, i, each, 0, p->d->config.num_key_value_heads, &l->cache, 0);
        if (first < i + each)
            look_there(p, l, first, i + each - first);
    }
}

/* Whether threads share the key/value heads evenly and of q, k and v each takes just the rows that its heads are, so that it need not wait for others. */
static bool by_heads(const pass *p, int threads)
{
    const tn_llama_args *c = &p->d->config;
    return threads > 1 && !is_there(p) && c->num_key_value_heads % threads == 0 && c->head_dim % TN_PACKED_ROWS == 0;
}

/* The keys and values of all of a pass's rows, and the looks of the last `wanted`: all, or of one sequence the last one or none; those of one
 * sequence at once. A key/value head of a sequence is one thread's, which reads what it wrote; where threads would be left over they meet in
 * between and share out the heads of queries. */
static void attend_all(const pass *p, const tn_decoder_layer *l, int64_t wanted, int thread, int threads)
{
    const int64_t n = p->n, kv_heads = p->d->config.num_key_value_heads, heads = p->d->config.num_attention_heads, group = heads / kv_heads;
    const int64_t rows = of_one_sequence(p) ? n : 1, runs = n / rows, look = upto(rows, wanted); /* `look` of `rows` look at once */
    const bool even = kv_heads % threads == 0, split = group > 1 && runs * kv_heads < 2 * threads && runs * kv_heads % threads != 0;
    const int64_t share = kv_heads / threads;
    for (int64_t i = 0; i < n; i += rows)
        for (int64_t g = 0; g < kv_heads; g++) {
            const int64_t head = p->sequences[i] * kv_heads + g, next = !even ? threads : (g + 1) % share ? 1 : kv_heads - share + 1;
            if (thread != (even ? g / share : head % threads))
                continue;
            if (rolls(p, l))
                roll(p, l, g);
            else
                for (int64_t k = i; k < i + rows; k++)
                    store(p, l, k, 1, g, 1, &l->cache, head * l->cache.rows + p->positions[k] % l->cache.rows);
            if (!split && look)
                attend(p, l, i + rows - look, look, g * group, group, next, thread);
        }
    if (!split || !look)
        return;
    tn_barrier_wait(p->barrier, threads);
    for (int64_t at = thread; at < runs * heads; at += threads)
        attend(p, l, (at / heads + 1) * rows - look, look, at % heads, 1, threads, thread);
}

/* What the layer's last product takes of x [n, hidden]. On a device gate and up, which lie one behind the other, are one product where they can be. */
static const void *gated(const pass *p, const tn_decoder_layer *l, const float *x, int64_t n, int thread, int threads)
{
    const int64_t wide = l->gate.rows;
    const bool one = is_there(p) && l->gate.kind == l->up.kind && wide % TN_PACKED_ROWS == 0;
    const tn_packed_matrix both = {l->gate.kind, 2 * wide, l->gate.cols, l->gate.data, NULL};
    const void *input = prepared_norm(p, &l->gate, x, l->post_norm, n, thread, threads);
    if (one) { /* [n, 2 wide] into gate and up, which follow each other as well */
        p->kernels->packed_product(&both, n, input, p->gate, 2 * wide, false, thread, threads);
    } else {
        p->kernels->packed_product(&l->gate, n, input, p->gate, wide, false, thread, threads);
        if (differ(&l->gate, &l->up))
            input = prepared_norm(p, &l->up, x, l->post_norm, n, thread, threads);
        p->kernels->packed_product(&l->up, n, input, p->up, wide, false, thread, threads);
    }
    int64_t begin, end; /* the rows of gate and up that are this thread's */
    tn_packed_share(wide, thread, threads, &begin, &end);
    p->kernels->decode_gate(n, end - begin, p->gate + begin, (one ? p->gate + wide : p->up) + begin, one ? 2 * wide : wide, l->down.kind,
                            threads == 1 ? p->prepared : NULL);
    tn_barrier_wait(p->barrier, threads);
    return threads == 1 ? p->prepared : prepared(p, &l->down, p->gate, n, thread, threads);
}

/* q, k and v of all rows. */
static void project(const pass *p, const tn_decoder_layer *l, int thread, int threads)
{
    const int64_t all = tn_decoder_qkv_rows(p->d), size = p->d->config.head_dim;
    const int64_t rows[] = {p->d->config.num_attention_heads * size, p->d->config.num_key_value_heads * size, p->d->config.num_key_value_heads * size};
    const bool whole = l->qkv_count == 1 && !by_heads(p, threads);
    const void *input = NULL;
    int64_t first = 0;
    for (int i = 0; i < (whole ? 1 : 3); first += rows[i++]) {
        const tn_packed_matrix *w = &l->qkv[l->qkv_count == 1 ? 0 : i], part = tn_packed_rows(w, l->qkv_count == 1 ? first : 0, whole ? all : rows[i]);
        if (i == 0 || differ(w, &l->qkv[l->qkv_count == 1 ? 0 : i - 1]))
            input = prepared_norm(p, w, p->x, l->input_norm, p->n, thread, threads);
        p->kernels->packed_product(&part, p->n, input, p->q + first, all, false, thread, threads);
    }
    if (!by_heads(p, threads))
        tn_barrier_wait(p->barrier, threads);
}

/* What of a layer comes after its attention, for the last `wanted` rows. */
static void finish_layer(const pass *p, const tn_decoder_layer *l, int64_t wanted, int thread, int threads)
{
    const tn_llama_args *c = &p->d->config;
    const int64_t n = p->n, hidden = c->hidden_size, queries = c->num_attention_heads * c->head_dim;
    float *x = p->x + (n - wanted) * hidden;
    const void *input = prepared(p, &l->out, p->attended + (n - wanted) * queries, wanted, thread, threads);
    p->kernels->packed_product(&l->out, wanted, input, x, hidden, true, thread, threads);
    tn_barrier_wait(p->barrier, threads);
    input = gated(p, l, x, wanted, thread, threads);
    p->kernels->packed_product(&l->down, wanted, input, x, hidden, true, thread, threads);
    tn_barrier_wait(p->barrier, threads);
}

/* After the last layer only the rows that get logits are wanted: of the others it takes keys and values, and goes no further. */
static void run_layer(const pass *p, const tn_decoder_layer *l, int64_t wanted, int thread, int threads)
{
    project(p, l, thread, threads);
    if (!is_there(p))
        attend_all(p, l, wanted, thread, threads);
    else
        attend_there(p, l, wanted);
    if (!wanted)
        return;
    tn_barrier_wait(p->barrier, threads);
    finish_layer(p, l, wanted, thread, threads);
}

/* ---- threads with rows of their own --------------------------------------------------------------------------------------- */

static bool goes_by_rows(const pass *p, int threads)
{
    bool by_rows = threads > 1 && p->n >= PART_ROWS * threads;
    for (int64_t i = 0; i < p->d->config.num_hidden_layers; i++)
        by_rows = by_rows && !rolls(p, &p->d->layers[i]);
    return by_rows;
}

/* Where a thread's rows begin, which are whole tiles of a product; of a prompt's the first ones, which look at less, are as many or more. */
static int64_t rows_begin(int64_t n, int thread, int threads)
{
    const int64_t tiles = (n + TILE_ROWS - 1) / TILE_ROWS;
    return upto(n, (tiles * thread + threads - 1) / threads * TILE_ROWS);
}

/* A thread's rows, as a pass of one thread. */
static pass part_of(const pass *p, int thread, int threads)
{
    const tn_llama_args *c = &p->d->config;
    const int64_t first = rows_begin(p->n, thread, threads);
    pass own = *p;
    own.n = rows_begin(p->n, thread + 1, threads) - first;
    own.tokens += first, own.sequences += first, own.positions += first;
    own.x += first * c->hidden_size, own.y += first * c->hidden_size;
    own.q += first * tn_decoder_qkv_rows(p->d), own.attended += first * c->num_attention_heads * c->head_dim;
    own.gate += first * c->intermediate_size, own.up += first * c->intermediate_size;
    own.cos += first * (c->head_dim / 2), own.sin += first * (c->head_dim / 2);
    own.prepared += (size_t)first * p->prepared_row;
    own.looks += thread * p->looks_floats;
    return own;
}

/* A layer for a thread's own rows. The threads meet where rows look at what others stored; and where not all are wanted they share out the columns of those. */
static void run_part(const pass *p, const pass *own, const tn_decoder_layer *l, int64_t wanted, int thread, int threads)
{
    const int64_t kv_heads = p->d->config.num_key_value_heads, group = p->d->config.num_attention_heads / kv_heads, n = own->n;
    const int64_t first = rows_begin(p->n, thread, threads), rows = of_one_sequence(own) ? n : 1;
    const int64_t look = upto(rows, beyond(0, first + n - (p->n - wanted))); /* `look` of `rows` look at once */
    project(own, l, 0, 1);
    for (int64_t i = 0; i < n; i++)
        store(own, l, i, 1, 0, kv_heads, &l->cache, own->sequences[i] * kv_heads * l->cache.rows + own->positions[i] % l->cache.rows);
    tn_barrier_wait(p->barrier, threads);
    for (int64_t i = rows; i <= n && look; i += rows)
        for (int64_t g = 0; g < kv_heads; g++)
            attend(own, l, i - look, look, g * group, group, 1, 0);
    if (wanted == p->n) {
        finish_layer(own, l, n, 0, 1);
    } else if (wanted) {
        tn_barrier_wait(p->barrier, threads);
        finish_layer(p, l, wanted, thread, threads);
    }
}

/* The angles of rows [from, to): cosines and sines [n, head_dim / 2]. */
static void turn_rows(const pass *p, int64_t from, int64_t to, float *cosines, float *sines)
{
    const int64_t half = p->d->config.head_dim / 2;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < half; k++) {
            const double angle = (double)p->positions[i] * p->d->frequencies[k];
            cosines[i * half + k] = (float)cos(angle);
            sines[i * half + k] = (float)sin(angle);
        }
}

static void run(int thread, int threads, void *context)
{
    const pass *p = context;
    const tn_decoder *d = p->d;
    const bool by_rows = goes_by_rows(p, threads);
    const int64_t hidden = d->config.hidden_size, layers = d->config.num_hidden_layers;
    const int64_t first = by_rows ? rows_begin(p->n, thread, threads) : p->n * thread / threads;
    const int64_t end = by_rows ? rows_begin(p->n, thread + 1, threads) : p->n * (thread + 1) / threads;
    const pass own = part_of(p, thread, threads);
    p->kernels->packed_unpack(&d->embedding, end - first, (is_there(p) ? p->told : p->tokens) + first, p->x + first * hidden);
    if (!is_there(p))
        turn_rows(p, first, end, p->cos, p->sin);
    if (!by_rows)
        tn_barrier_wait(p->barrier, threads);
    for (int64_t i = 0; i < layers; i++) {
        const int64_t wanted = i + 1 < layers ? p->n : p->outs;
        if (by_rows)
            run_part(p, &own, &d->layers[i], wanted, thread, threads);
        else
            run_layer(p, &d->layers[i], wanted, thread, threads);
    }
    if (p->outs) {
        const float *last = p->x + (p->n - p->outs) * hidden;
        if (by_rows)
            tn_barrier_wait(p->barrier, threads);
        const void *normed = prepared_norm(p, &d->head, last, d->norm, p->outs, thread, threads);
        p->kernels->packed_product(&d->head, p->outs, normed, p->logits, d->head.rows, false, thread, threads);
    }
}

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
static size_t lay_out(pass *p, tn_decoder *d, char *block, int64_t rows, int64_t outs, int64_t rolled, int threads)
{
    const tn_llama_args *c = &d->config;
    const int64_t queries = c->num_attention_heads * c->head_dim, group = c->num_attention_heads / c->num_key_value_heads;
    const int64_t own = p->own_rows = upto(rows, OWN_ROWS), y_rows = beyond(rows, own * threads);
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
    const int64_t of_one = group * ((d->most + 15) / 16 * 16), of_many = tn_decode_tiles_floats(c->head_dim);
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

/* Gives the pass its buffers, made anew only where it needs more than any before. */
static bool find_memory(pass *p, tn_decoder *d)
{
    const bool here = d->device.type == TN_CPU;
    const int threads = p->threads = here ? tn_parallel_width() : 1;
    int64_t rolled = d->scratch_rolled;
    for (int64_t i = 0; here && i < d->config.num_hidden_layers; i++)
        if (rolls(p, &d->layers[i]))
            rolled = beyond(rolled, d->layers[i].cache.rows + TN_DECODER_ROWS);
    if (p->n > d->scratch_rows || p->outs > d->scratch_outs || rolled > d->scratch_rolled || threads > d->scratch_threads) {
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
        d->scratch_threads = most;
    }
    lay_out(p, d, d->scratch, d->scratch_rows, d->scratch_outs, d->scratch_rolled, d->scratch_threads);
    d->logits = here ? p->logits : d->logits;
    return true;
}

/* ---- on a device ---------------------------------------------------------------------------------------------------------- */

/* The pass as a graph; NULL where it cannot be recorded, and then none is any more. */
static tn_graph *recorded(pass *p, tn_decoder *d)
{
    tn_graph *graph = tn_graph_new(d->device);
    if (graph && tn_capture_begin(graph) == TN_OK) {
        run(0, 1, p);
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
static tn_graph *step_of(pass *p, tn_decoder *d)
{
    const bool step = d->capture && p->outs == p->n && (p->n == 1 || !of_one_sequence(p));
    if (step && !d->steps[p->n] && d->stepped == p->n)
        d->steps[p->n] = recorded(p, d);
    d->stepped = step ? p->n : d->stepped;
    return step ? d->steps[p->n] : NULL;
}

/* What differs from pass to pass goes there first, the logits come back. */
static bool run_there(pass *p, tn_decoder *d)
{
    const tn_backend *backend = tn_cuda(NULL);
    const size_t each = (size_t)p->n * sizeof(int64_t), logits = (size_t)(p->outs * d->config.vocab_size) * sizeof(float);
    float *cosines = (float *)(void *)(d->outside + 3 * each);
    memcpy(d->outside, p->tokens, each);
    memcpy(d->outside + each, p->sequences, each);
    memcpy(d->outside + 2 * each, p->positions, each);
    turn_rows(p, 0, p->n, cosines, cosines + p->n * (d->config.head_dim / 2));
    if (backend->copy(p->told, d->device.index, d->outside, TN_ON_CPU, told_bytes(d, p->n)) != TN_OK)
        return false;
    tn_graph *step = step_of(p, d);
    if (step)
        (void)!tn_replay(step);
    else
        run(0, 1, p);
    return !tn_failing() && (!logits || backend->copy(d->logits, TN_ON_CPU, p->logits, d->device.index, logits) == TN_OK);
}

/* Runs n rows; logits of the last `outs`. */
static const float *run_rows(tn_decoder *d, int64_t n, const int64_t *tokens, const int64_t *sequences, const int64_t *positions, int64_t outs)
{
    tn_barrier barrier = {0};
    if (tn_captures(d->device))
        return tn_fail(TN_ERR_STATE, "decoder: while a graph is captured from %s: a decoder records its steps itself", tn_device_text(d->device));
    pass p = {.d = d, .barrier = &barrier, .kernels = tn_kernels_on(d->device), .n = n, .tokens = tokens, .sequences = sequences, .positions = positions, .outs = outs};
    if (!find_memory(&p, d))
        return NULL;
    if (!is_there(&p))
        tn_parallel_team(p.threads, run, &p);
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

/* Feeds in pieces; where all logits are wanted they must be one piece, which grows the scratch. */
static const float *fed(const char *name, tn_decoder *d, int64_t sequence, const int64_t *tokens, int64_t count, bool all)
{
    if (!rows_fit(name, d, &sequence, 1, tokens, count))
        return NULL;
    const int64_t before = d->lengths[sequence];
    const float *logits = NULL;
    int64_t sequences[TN_DECODER_ROWS], positions[TN_DECODER_ROWS];
    for (int64_t first = 0, n; first < count; first += n) {
        n = count - first < TN_DECODER_ROWS ? count - first : TN_DECODER_ROWS;
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
    return fed("decoder_feed", d, sequence, tokens, count, false);
}

const float *tn_decoder_feed_all(tn_decoder *d, int64_t sequence, const int64_t *tokens, int64_t count)
{
    if (count > TN_DECODER_ROWS)
        return tn_fail(TN_ERR_ARGUMENT, "decoder_feed_all: %lld tokens: at most %d at a time", (long long)count, TN_DECODER_ROWS);
    return fed("decoder_feed_all", d, sequence, tokens, count, true);
}

const float *tn_decoder_step(tn_decoder *d, const int64_t *sequences, const int64_t *tokens, int64_t count)
{
    int64_t positions[TN_DECODER_ROWS];
    if (!rows_fit("decoder_step", d, sequences, count, tokens, count))
        return NULL;
    if (count > TN_DECODER_ROWS)
        return tn_fail(TN_ERR_ARGUMENT, "decoder_step: %lld sequences: at most %d at a time", (long long)count, TN_DECODER_ROWS);
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < i; j++)
            if (sequences[i] == sequences[j])
                return tn_fail(TN_ERR_ARGUMENT, "decoder_step: sequence %lld is there twice", (long long)sequences[i]);
        positions[i] = d->lengths[sequences[i]];
    }
    return run_rows(d, count, tokens, sequences, positions, count);
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

const tn_llama_args *tn_decoder_config(const tn_decoder *d) { return is_decoder("decoder_config", d) ? &d->config : NULL; }

/* ---- making one ----------------------------------------------------------------------------------------------------------- */

static void decoder_free(void *self)
{
    tn_decoder *d = self;
    forget_steps(d);
    tn_decoder_free(d->device, d->block, d->block_bytes);
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

static size_t lay_out_caches(tn_decoder *d, char *block)
{
    size_t at = 0;
    for (int64_t i = 0; i < d->config.num_hidden_layers; i++)
        lay_out_cache(d, &d->layers[i].cache, d->sequences, block, &at);
    return at;
}

/* A cache for each layer: of its window, and at most of the context. */
static bool take_caches(tn_decoder *d, int64_t context)
{
    const tn_llama_args *c = &d->config;
    size_t rows;
    d->least = INT64_MAX;
    for (int64_t i = 0; i < c->num_hidden_layers; i++) {
        const int64_t window = tn_llama_window(c, i), seen = window && window < context ? window : context;
        d->layers[i].cache.rows = seen;
        d->least = upto(d->least, seen);
        d->most = beyond(d->most, seen);
    }
    if (__builtin_mul_overflow((size_t)d->sequences * (size_t)d->most, (size_t)c->num_key_value_heads, &rows) || rows > SIZE_MAX >> 34) {
        tn_fail(TN_ERR_MEMORY, "decoder: a cache of %lld sequences of %lld tokens is beyond any memory", (long long)d->sequences, (long long)d->most);
        return false;
    }
    d->cache_bytes = lay_out_caches(d, NULL);
    if ((d->caches = tn_decoder_alloc(d->device, d->cache_bytes)))
        lay_out_caches(d, d->caches);
    return d->caches != NULL;
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
        if (!d->lengths || !d->layers || !take_caches(d, a->context ? a->context : d->config.max_position_embeddings) || tn_decoder_pack(d, weights, own ? TN_PACKED_KINDS : kind) != TN_OK) {
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
    tn_weights *weights = options_fit(&args) ? tn_weights_open(a->path) : NULL;
    const tn_packed_kind kind = kind_for(&args, weights);
    if (!weights || !a->tuned)
        return decoder_of(weights, &args, kind, a->weights == TN_QUANT_NONE, device);
    TN_SCOPE;
    tn_release(weights);
    const tn_llama_load_args whole = {.size = sizeof whole, .dtype = TN_F32, .path = a->path};
    tn_module *llama = tn_adopt(tn_llama_load_with(&whole));
    return llama && tn_llama_load_tuned(llama, a->tuned) == TN_OK ? decoder_of(tn_weights_of(llama), &args, kind, false, device) : NULL;
}
