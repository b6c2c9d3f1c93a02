/* llama2.c's checkpoints written: versions 0 and 1 in f32, version 2 in int8. */
#include "models/weights_llama2.h"

#include "io/file.h"
#include "ops/rope.h"

#include <math.h>
#include <string.h>

/* Its programs have no other models than those. */
static bool fits(const tn_weights *w, const tn_weights_target *t)
{
    const tn_llama_args *c = &w->config;
    const char *what = c->head_dim * c->num_attention_heads != c->hidden_size ? "heads that are not hidden_size / num_attention_heads wide"
                       : c->attention_bias                                    ? "biases"
                       : c->qk_norm                                           ? "norms of queries and keys"
                       : c->sliding_window                                    ? "a sliding window"
                       : c->rope_theta != 10000                               ? "another rope_theta than 10000"
                       : w->rope_freqs || c->rope_factor != 1                 ? "scaled rotary frequencies"
                       : fabs(c->rms_norm_eps - 1e-5) > 1e-9                  ? "another rms_norm_eps than 1e-5"
                                                                              : NULL;
    if (what)
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: llama2.c has no model with %s", t->op, t->path, what);
    else if (t->type != TN_QUANT_NONE && t->type != TN_QUANT_F32 && t->type != TN_QUANT_Q8_0)
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: a llama2.c checkpoint holds F32 or Q8_0, not %s", t->op, t->path,
                tn_quant_name(t->type) ? tn_quant_name(t->type) : "this type");
    else if (t->llama2_version < 0 || t->llama2_version > 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: llama2_version is %d: 0 and 1 are those of F32, and Q8_0 is 2", t->op, t->llama2_version);
    return !tn_failing();
}

static unsigned char *put_int(unsigned char *at, int64_t value)
{
    for (int i = 0; i < 4; i++)
        *at++ = (unsigned char)((uint64_t)value >> 8 * i);
    return at;
}

static tn_status write_header(tn_writer *out, const tn_llama_args *c, int version, int64_t group)
{
    unsigned char bytes[TN_LLAMA2_HEADER] = {0}, *at = bytes;
    if (version > 0)
        at = put_int(put_int(at, TN_LLAMA2_MAGIC), version);
    const int64_t sizes[] = {c->hidden_size, c->intermediate_size, c->num_hidden_layers, c->num_attention_heads, c->num_key_value_heads,
                             version == 0 && !c->tie_word_embeddings ? -c->vocab_size : c->vocab_size, c->max_position_embeddings};
    for (int i = 0; i < TN_COUNT(sizes); i++)
        at = put_int(at, sizes[i]);
    if (version > 0)
        *at++ = c->tie_word_embeddings;
    if (version == 2)
        put_int(at, group);
    return tn_writer_write(out, bytes, version ? TN_LLAMA2_HEADER : TN_LLAMA2_HEADER0);
}

/* Cosines, then sines, [max_position_embeddings, head_dim / 2], which older programs read. */
static tn_status write_tables(tn_writer *out, const tn_llama_args *c)
{
    const tn_rope_tables_args law = {.size = sizeof law, .base = c->rope_theta, .factor = 1, .dim = c->head_dim};
    const size_t half = (size_t)c->head_dim / 2;
    float *row = tn_alloc(half * sizeof *row);
    tn_status status = row ? TN_OK : TN_ERR_MEMORY;
    for (int table = 0; table < 2; table++)
        for (int64_t p = 0; p < c->max_position_embeddings && status == TN_OK; p++) {
            for (size_t j = 0; j < half; j++) {
                const double angle = (double)p * tn_rope_frequency(&law, (int64_t)j);
                row[j] = (float)(table ? sin(angle) : cos(angle));
            }
            status = tn_writer_write(out, row, half * sizeof *row);
        }
    tn_free(row, half * sizeof *row);
    return status;
}

/* False with an error. */
static bool all_finite(const tn_writer *out, const tn_weight *weight, const tn_tensor *x)
{
    const float *f = (const float *)(const void *)tn_ptr(x);
    for (int64_t i = 0; i < x->numel; i++)
        if (!isfinite(f[i])) {
            tn_fail(TN_ERR_ARGUMENT, "%s: %s: \"%s\" has an element that is %g, which int8 cannot hold", out->op, out->path, weight->name,
                    (double)f[i]);
            return false;
        }
    return true;
}

/* x as int8 with a scale a group, the largest of which is 127, all scales behind all numbers. */
static tn_status write_groups(tn_writer *out, const tn_tensor *x, int64_t group)
{
    const size_t bytes = (size_t)(x->numel + 4 * (x->numel / group));
    signed char *q = tn_alloc(bytes);
    if (!q)
        return TN_ERR_MEMORY;
    for (int64_t g = 0; g < x->numel / group; g++) {
        const float *from = (const float *)(const void *)tn_ptr(x) + g * group;
        float most = 0;
        for (int64_t i = 0; i < group; i++)
            most = fmaxf(most, fabsf(from[i]));
        const float scale = most / 127;
        for (int64_t i = 0; i < group; i++)
            q[g * group + i] = scale > 0 ? (signed char)rintf(from[i] / scale) : 0;
        memcpy(q + x->numel + 4 * g, &scale, sizeof scale);
    }
    const tn_status status = tn_writer_write(out, q, bytes);
    tn_free(q, bytes);
    return status;
}

static tn_status write_weights(tn_writer *out, const tn_weights *w, int version, int64_t group)
{
    const tn_weight_kind *order = version ? tn_llama2_order1 : tn_llama2_order0;
    tn_status status = TN_OK;
    for (int k = 0; k < TN_LLAMA2_KINDS && status == TN_OK; k++) {
        if (version == 0 && order[k] == TN_WEIGHT_LM_HEAD)
            status = write_tables(out, &w->config);
        for (int64_t layer = 0; layer < (tn_llama2_in_layer(order[k]) ? w->config.num_hidden_layers : 1) && status == TN_OK; layer++) {
            TN_SCOPE;
            const tn_weight *weight = tn_weights_at(w, order[k], layer);
            const tn_tensor *x = weight ? tn_weight_tensor(w, weight, tn_weight_heads(w, weight), TN_F32) : NULL;
            if (weight && !x)
                return tn_last_status();
            const bool groups = x && version == 2 && x->ndim == 2;
            if (groups && !all_finite(out, weight, x))
                return tn_last_status();
            if (x)
                status = groups ? write_groups(out, x, group) : tn_writer_write(out, tn_ptr(x), (size_t)x->numel * sizeof(float));
        }
    }
    return status;
}

tn_status tn_weights_save_llama2(const tn_weights *w, const tn_weights_target *t)
{
    tn_writer out;
    int64_t group = 64; /* one that fills the rows of every matrix, which runq.c's products need */
    while (w->config.hidden_size % group || w->config.intermediate_size % group)
        group /= 2;
    const int version = t->type == TN_QUANT_Q8_0 ? 2 : t->llama2_version;
    if (!fits(w, t))
        return tn_last_status();
    tn_status status = tn_writer_open(&out, t->op, t->path);
    status = status == TN_OK ? write_header(&out, &w->config, version, group) : status;
    status = status == TN_OK ? write_weights(&out, w, version, group) : status;
    return tn_writer_close(&out, status);
}
