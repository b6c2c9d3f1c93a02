/* Decoding on a device that is not the CPU: the module's operators, its caches a tensor a layer. */
#include <string.h>

#include <tenon/ops.h>

#include "models/decoder.h"
#include "models/weights.h"

tn_status tn_decoder_settle(tn_decoder *d, const tn_weights *weights, tn_dtype dtype, tn_device_id device)
{
    const tn_llama_args *c = &d->config;
    const size_t bytes = sizeof(tn_tensor *) * (size_t)c->num_hidden_layers;
    const tn_shape shape = TN_SHAPE(d->sequences, c->num_key_value_heads, d->capacity, c->head_dim);
    d->llama = tn_llama_of_weights(weights, dtype);
    d->keys = tn_alloc_zero(bytes);
    d->values = tn_alloc_zero(bytes);
    if (!d->llama || !d->keys || !d->values || tn_module_to(d->llama, device) != TN_OK)
        return tn_last_status();
    for (int64_t i = 0; i < c->num_hidden_layers && !tn_failing(); i++) {
        d->keys[i] = tn_new_owned("decoder", shape, dtype, device);
        d->values[i] = tn_new_owned("decoder", shape, dtype, device);
    }
    return tn_last_status();
}

typedef struct pass {
    const tn_decoder *d;
    int64_t n;
    const int64_t *sequences, *positions; /* [n] */
    tn_tensor *mask; /* bool [n, all that is remembered]: which each row of one sequence may look at; NULL: all up to its own place */
} pass;

/* The rows of dim 2 from `first` on. */
static tn_tensor *rows(tn_tensor *x, int64_t first, int64_t count) { return tn_narrow(x, 2, first, count); }

static tn_tensor *remembered(const pass *p, tn_tensor *cache, tn_tensor *x, int64_t row, int64_t count)
{
    const int64_t capacity = p->d->capacity, at = p->positions[row] % capacity, all = p->positions[row] + count;
    tn_tensor *of_sequence = tn_narrow(cache, 0, p->sequences[row], 1);
    return tn_copy_(rows(of_sequence, at, count), rows(x, row, count)) ? rows(of_sequence, 0, all < capacity ? all : capacity) : NULL;
}

static tn_tensor *look(void *context, int layer, tn_tensor *q, tn_tensor *k, tn_tensor *v)
{
    const pass *p = context;
    const bool one = p->n == 1 || p->sequences[0] == p->sequences[1];
    const int64_t count = one ? p->n : 1;
    tn_tensor *found = tn_empty_like_with(&(tn_like_args){.size = sizeof(tn_like_args), .dtype = TN_DTYPE_DEFAULT, .x = q});
    for (int64_t row = 0; row < p->n && !tn_failing(); row += count) {
        const tn_attention_args args = {.size = sizeof args, .attn_mask = p->mask, .is_causal = !p->mask && count > 1, .enable_gqa = true,
                                        .q = rows(q, row, count), .k = remembered(p, p->d->keys[layer], k, row, count),
                                        .v = remembered(p, p->d->values[layer], v, row, count)};
        tn_tensor *y = tn_failing() ? NULL : tn_scaled_dot_product_attention_with(&args);
        if (one)
            return y;
        tn_copy_(rows(found, row, count), y);
    }
    return found;
}

/* Rows of which none forgets what another looks at. */
static bool run_piece(tn_decoder *d, int64_t n, const int64_t *tokens, const int64_t *sequences, const int64_t *positions, int64_t outs, float *logits)
{
    TN_SCOPE;
    TN_NO_GRAD;
    const tn_device_id device = d->keys[0]->storage->device;
    pass p = {d, n, sequences, positions, NULL};
    if (n > 1 && sequences[0] == sequences[1] && positions[0] > 0) {
        const tn_shape_args ones = {.size = sizeof ones, .dtype = TN_BOOL, .device = &device, .shape = TN_SHAPE(n, positions[0] + n)};
        p.mask = tn_tril(tn_ones_with(&ones), (int)positions[0]);
    }
    tn_from_args from = {.size = sizeof from, .dtype = TN_I64, .device = &device, .data = tokens, .shape = TN_SHAPE(n)};
    tn_llama_rows_args args = {.tokens = tn_from_ints_with(&from), .outs = outs ? outs : 1, .look = look, .context = &p};
    from.data = positions;
    args.positions = tn_from_ints_with(&from);
    tn_tensor *y = tn_failing() ? NULL : tn_llama_rows(d->llama, &args);
    return y && (!outs || tn_to_floats(y, logits, y->numel) == TN_OK);
}

const float *tn_decoder_run_on_device(tn_decoder *d, int64_t n, const int64_t *tokens, const int64_t *sequences, const int64_t *positions, int64_t outs)
{
    const int64_t vocab = d->config.vocab_size;
    if (outs > d->scratch_outs || !d->scratch) {
        const size_t bytes = sizeof(float) * (size_t)((outs ? outs : 1) * vocab);
        char *scratch = tn_alloc(bytes);
        if (!scratch)
            return NULL;
        tn_free(d->scratch, d->scratch_bytes);
        d->scratch = scratch;
        d->scratch_bytes = bytes;
        d->scratch_outs = outs;
        d->logits = (float *)(void *)scratch;
    }
    const bool one = n == 1 || sequences[0] == sequences[1];
    for (int64_t first = 0, piece; first < n; first += piece) {
        const int64_t left = n - first, room = d->capacity - positions[first]; /* before the oldest are forgotten: then one by one */
        piece = !one || left <= room ? left : room > 0 ? room : 1;
        const int64_t skipped = n - outs - first; /* of the piece's rows: without logits */
        const int64_t wanted = skipped <= 0 ? piece : piece > skipped ? piece - skipped : 0;
        if (!run_piece(d, piece, tokens + first, sequences + first, positions + first, wanted, d->logits + (skipped < 0 ? -skipped : 0) * vocab))
            return NULL;
    }
    return d->logits;
}
