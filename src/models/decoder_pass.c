/* One pass over the weights for the rows of a call, be they the tokens of a prompt or one token of each sequence. All threads work through
 * the layers together, meeting where a step needs what the others wrote. Of a few rows each takes some of a product's columns, so that
 * every weight is read once; of many each takes some of the rows, so that it reads what it wrote. */
#include "models/decoder_pass.h"

#include <math.h>
#include <string.h>

enum {
    PART_ROWS = 48, /* of so many to a thread each has its own: whole tiles of a product of any kind, and enough for it to wait for no weight */
    TILE_ROWS = 12,
};

static char *own_prepared(const tn_decoder_pass *p, int thread) { return p->prepared + (size_t)(thread * p->own_rows) * p->prepared_row; }

/* x normed and as products take it. */
static const void *prepared_norm(const tn_decoder_pass *p, const tn_packed_matrix *w, const float *x, const float *norm, int64_t n, int thread, int threads)
{
    const int64_t cols = w->cols;
    const double eps = p->d->config.rms_norm_eps;
    if (n <= TN_PASS_OWN_ROWS || threads == 1) {
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
static const void *prepared(const tn_decoder_pass *p, const tn_packed_matrix *w, const float *x, int64_t n, int thread, int threads)
{
    if (tn_pass_is_there(p) && tn_packed_input_kind(w->kind) == TN_PACKED_F32)
        return x;
    const bool alone = n <= TN_PASS_OWN_ROWS;
    char *own = alone ? own_prepared(p, thread) : p->prepared;
    p->kernels->packed_input(w->kind, n, w->cols, x, w->cols, own, alone ? 0 : thread, alone ? 1 : threads);
    if (!alone)
        tn_barrier_wait(p->barrier, threads);
    return own;
}

/* Of row i and those after it, where a device reads them; NULL on the CPU. */
static const int64_t *told_sequences(const tn_decoder_pass *p, int64_t i) { return tn_pass_is_there(p) ? p->told + p->n + i : NULL; }
static const int64_t *told_positions(const tn_decoder_pass *p, int64_t i) { return tn_pass_is_there(p) ? p->told + 2 * p->n + i : NULL; }

static float *projected(const tn_decoder_pass *p, int64_t i) { return p->q + i * tn_decoder_qkv_rows(p->d); }

/* Row i's keys and values of `count` heads from g on go to row `at` of a cache and those of the next heads, and their queries are turned. On a
 * device this is done of `rows` rows, whose places in the cache of all it knows; `at` is 0. */
static void store(const tn_decoder_pass *p, const tn_decoder_layer *l, int64_t i, int64_t rows, int64_t g, int64_t count, const tn_decoder_cache *to, int64_t at)
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
static void roll(const tn_decoder_pass *p, const tn_decoder_layer *l, int64_t g)
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
 * p->rolled, holds. next: how many key/value heads behind the last of theirs the thread's next ones lie. */
static void attend(const tn_decoder_pass *p, const tn_decoder_layer *l, int64_t i, int64_t rows, int64_t h, int64_t count, int64_t next, int thread)
{
    const tn_decoder *d = p->d;
    const tn_llama_args *c = &d->config;
    const bool rolled = rows > 1 && p->positions[i] + rows > l->cache.rows;
    const tn_decoder_cache *from = rolled ? &p->rolled : &l->cache;
    const int64_t size = c->head_dim, kv_heads = c->num_key_value_heads, group = c->num_attention_heads / kv_heads, g = h / group, y_row = c->num_attention_heads * size;
    const int64_t head = ((rolled ? 0 : p->sequences[i] * kv_heads) + g) * from->rows, of = count > group ? count / group : 1; /* key/value heads */
    const size_t row_bytes = (size_t)size * tn_dtype_size(d->cache);
    const bool scaled = d->cache == TN_I8;
    const tn_decode_attention attention = {
        .rows = rows, .heads = count, .kv_heads = of, .size = size, .length = upto(p->positions[i], l->cache.rows - 1) + rows,
        .window = l->cache.rows, .scale = 1 / sqrt((double)size), .q = projected(p, i) + h * size, .q_row = tn_decoder_qkv_rows(d), .y_row = y_row,
        .dtype = d->cache, .k = from->keys + (size_t)head * row_bytes, .v = from->values + (size_t)head * row_bytes, .head = from->rows * size, .row = size,
        .ahead = head + (of - 1 + next) * from->rows < d->sequences * kv_heads * from->rows ? next * from->rows * size : 0,
        .k_scale = scaled ? from->key_scales + head : NULL, .v_scale = scaled ? from->value_scales + head : NULL, .scale_head = from->rows,
        .scratch = p->looks + thread * p->looks_floats, .y = p->attended + i * y_row + h * size};
    p->kernels->decode_attention(&attention, 0, 1);
}

bool tn_pass_of_one_sequence(const tn_decoder_pass *p) { return p->sequences[0] == p->sequences[p->n - 1]; }
bool tn_pass_rolls(const tn_decoder_pass *p, const tn_decoder_layer *l) { return p->n > 1 && tn_pass_of_one_sequence(p) && p->positions[p->n - 1] >= l->cache.rows; }

/* All heads' queries of `rows` rows from i on look at what a device's cache holds of their sequences. */
static void look_there(const tn_decoder_pass *p, const tn_decoder_layer *l, int64_t i, int64_t rows)
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
static void attend_there(const tn_decoder_pass *p, const tn_decoder_layer *l, int64_t wanted)
{
    const int64_t n = p->n, each = tn_pass_rolls(p, l) ? 1 : n;
    for (int64_t i = 0; i < n; i += each) {
        const int64_t first = beyond(i, n - wanted);
        store(p, l, i, each, 0, p->d->config.num_key_value_heads, &l->cache, 0);
        if (first < i + each)
            look_there(p, l, first, i + each - first);
    }
}

/* Whether threads share the key/value heads evenly and of q, k and v each takes just the rows that its heads are, so that it need not wait for others. */
static bool by_heads(const tn_decoder_pass *p, int threads)
{
    const tn_llama_args *c = &p->d->config;
    return threads > 1 && !tn_pass_is_there(p) && c->num_key_value_heads % threads == 0 && c->head_dim % TN_PACKED_ROWS == 0;
}

/* The keys and values of all of a pass's rows, and the looks of the last `wanted`: all, or of one sequence the last one or none; those of one
 * sequence at once. A key/value head of a sequence is one thread's, which reads what it wrote; where threads would be left over they meet in
 * between and share out the heads of queries. */
static void attend_all(const tn_decoder_pass *p, const tn_decoder_layer *l, int64_t wanted, int thread, int threads)
{
    const int64_t n = p->n, kv_heads = p->d->config.num_key_value_heads, heads = p->d->config.num_attention_heads, group = heads / kv_heads;
    const int64_t rows = tn_pass_of_one_sequence(p) ? n : 1, runs = n / rows, look = upto(rows, wanted); /* `look` of `rows` look at once */
    const bool even = kv_heads % threads == 0, split = group > 1 && runs * kv_heads < 2 * threads && runs * kv_heads % threads != 0;
    const int64_t share = kv_heads / threads, each = even && !split && !tn_pass_rolls(p, l) ? share : 1; /* heads at once */
    for (int64_t i = 0; i < n; i += rows)
        for (int64_t g = 0; g < kv_heads; g += each) {
            const int64_t head = p->sequences[i] * kv_heads + g, next = !even ? threads : (g + each) % share ? 1 : kv_heads - share + 1;
            if (thread != (even ? g / share : head % threads))
                continue;
            if (tn_pass_rolls(p, l))
                roll(p, l, g);
            else
                for (int64_t k = i; k < i + rows; k++)
                    store(p, l, k, 1, g, each, &l->cache, head * l->cache.rows + p->positions[k] % l->cache.rows);
            if (!split && look)
                attend(p, l, i + rows - look, look, g * group, each * group, next, thread);
        }
    if (!split || !look)
        return;
    tn_barrier_wait(p->barrier, threads);
    for (int64_t at = thread; at < runs * heads; at += threads)
        attend(p, l, (at / heads + 1) * rows - look, look, at % heads, 1, threads, thread);
}

/* What the layer's last product takes of x [n, hidden]. On a device gate and up, which lie one behind the other, are one product where they can be. */
static const void *gated(const tn_decoder_pass *p, const tn_decoder_layer *l, const float *x, int64_t n, int thread, int threads)
{
    const int64_t wide = l->gate.rows;
    const bool one = tn_pass_is_there(p) && l->gate.kind == l->up.kind && wide % TN_PACKED_ROWS == 0;
    const tn_packed_matrix both = {l->gate.kind, 2 * wide, l->gate.cols, l->gate.data, NULL, NULL};
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
static void project(const tn_decoder_pass *p, const tn_decoder_layer *l, int thread, int threads)
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
static void finish_layer(const tn_decoder_pass *p, const tn_decoder_layer *l, int64_t wanted, int thread, int threads)
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
static void run_layer(const tn_decoder_pass *p, const tn_decoder_layer *l, int64_t wanted, int thread, int threads)
{
    project(p, l, thread, threads);
    if (!tn_pass_is_there(p))
        attend_all(p, l, wanted, thread, threads);
    else
        attend_there(p, l, wanted);
    if (!wanted)
        return;
    tn_barrier_wait(p->barrier, threads);
    finish_layer(p, l, wanted, thread, threads);
}

/* ---- threads with rows of their own --------------------------------------------------------------------------------------- */

static bool goes_by_rows(const tn_decoder_pass *p, int threads)
{
    bool by_rows = threads > 1 && p->n >= PART_ROWS * threads;
    for (int64_t i = 0; i < p->d->config.num_hidden_layers; i++)
        by_rows = by_rows && !tn_pass_rolls(p, &p->d->layers[i]);
    return by_rows;
}

/* Where a thread's rows begin, which are whole tiles of a product; of a prompt's the first ones, which look at less, are as many or more. */
static int64_t rows_begin(int64_t n, int thread, int threads)
{
    const int64_t tiles = (n + TILE_ROWS - 1) / TILE_ROWS;
    return upto(n, (tiles * thread + threads - 1) / threads * TILE_ROWS);
}

/* A thread's rows, as a pass of one thread. */
static tn_decoder_pass part_of(const tn_decoder_pass *p, int thread, int threads)
{
    const tn_llama_args *c = &p->d->config;
    const int64_t first = rows_begin(p->n, thread, threads);
    tn_decoder_pass own = *p;
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
static void run_part(const tn_decoder_pass *p, const tn_decoder_pass *own, const tn_decoder_layer *l, int64_t wanted, int thread, int threads)
{
    const int64_t kv_heads = p->d->config.num_key_value_heads, group = p->d->config.num_attention_heads / kv_heads, n = own->n;
    const int64_t first = rows_begin(p->n, thread, threads), rows = tn_pass_of_one_sequence(own) ? n : 1;
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
void tn_pass_angles(const tn_decoder_pass *p, int64_t from, int64_t to, float *cosines, float *sines)
{
    const int64_t half = p->d->config.head_dim / 2;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < half; k++) {
            const double angle = (double)p->positions[i] * p->d->frequencies[k];
            cosines[i * half + k] = (float)cos(angle);
            sines[i * half + k] = (float)sin(angle);
        }
}

void tn_pass_run(int thread, int threads, void *context)
{
    const tn_decoder_pass *p = context;
    const tn_decoder *d = p->d;
    const bool by_rows = goes_by_rows(p, threads);
    const int64_t hidden = d->config.hidden_size, layers = d->config.num_hidden_layers;
    const int64_t first = by_rows ? rows_begin(p->n, thread, threads) : p->n * thread / threads;
    const int64_t end = by_rows ? rows_begin(p->n, thread + 1, threads) : p->n * (thread + 1) / threads;
    const tn_decoder_pass own = part_of(p, thread, threads);
    p->kernels->packed_unpack(&d->embedding, end - first, (tn_pass_is_there(p) ? p->told : p->tokens) + first, p->x + first * hidden);
    if (!tn_pass_is_there(p))
        tn_pass_angles(p, first, end, p->cos, p->sin);
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
