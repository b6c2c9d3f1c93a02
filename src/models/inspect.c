/* What a file holds, as text: a model's configuration and weights, or of what is none the values and tensors as they stand there. */
#include "models/beside.h"

#include "io/gguf.h"
#include "io/safetensors.h"
#include "models/weights.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A listing: where it goes, and what of tensors it has so far. */
typedef struct listing {
    tn_text_out out;
    const char *path;
    int64_t tensors, numbers, bytes;
} listing;

static void put_head(listing *l, const char *format, const char *why)
{
    tn_put_padded(&l->out, l->path, 0);
    tn_put(&l->out, ": %s\n", format);
    if (why)
        tn_put(&l->out, "no model that Tenon runs: %s\n", why);
}

static void put_tensor(listing *l, const char *name, const char *type, tn_shape shape, int64_t bytes)
{
    int64_t numel = 1;
    for (int d = 0; d < shape.ndim; d++)
        if (__builtin_mul_overflow(numel, shape.sizes[d], &numel)) /* of no bytes, for another size is 0 */
            numel = 0;
    tn_put_padded(&l->out, name, 48);
    tn_put(&l->out, " ");
    tn_put_padded(&l->out, type, 7);
    tn_put(&l->out, " %-14s %12lld\n", tn_shape_text(shape), (long long)bytes);
    l->tensors++;
    l->numbers = numel < INT64_MAX - l->numbers ? l->numbers + numel : INT64_MAX; /* of a dtype that is not known, the header may say anything */
    l->bytes += bytes;
}

static void put_totals(listing *l, const char *what)
{
    tn_put(&l->out, "%lld %s, %lld numbers, %lld bytes\n", (long long)l->tensors, what, (long long)l->numbers, (long long)l->bytes);
}

static void put_note(void *context, const char *key, const char *text)
{
    listing *l = context;
    tn_put_padded(&l->out, key, 48);
    tn_put(&l->out, " ");
    tn_put_abridged(&l->out, text, strlen(text), 100);
    tn_put(&l->out, "\n");
}

/* ---- a model ------------------------------------------------------------------------------------------------------------------ */

static void put_config(tn_text_out *out, const tn_weights *w)
{
    const tn_llama_args *c = &w->config;
#define WHOLE(field) tn_put(out, #field " %lld\n", (long long)c->field)
#define REAL(field) tn_put(out, #field " %g\n", c->field)
#define FLAG(field) tn_put(out, #field " %s\n", c->field ? "true" : "false")
    WHOLE(vocab_size);
    WHOLE(hidden_size);
    WHOLE(intermediate_size);
    WHOLE(num_hidden_layers);
    WHOLE(num_attention_heads);
    WHOLE(num_key_value_heads);
    WHOLE(head_dim);
    WHOLE(max_position_embeddings);
    WHOLE(sliding_window);
    if (tn_llama_mixed(c)) {
        tn_put(out, "full_layers");
        for (int64_t i = 0; i < c->num_hidden_layers; i++)
            if (!tn_llama_window(c, i))
                tn_put(out, " %lld", (long long)i);
        tn_put(out, "\n");
    }
    REAL(rms_norm_eps);
    REAL(rope_theta);
    REAL(rope_factor);
    REAL(rope_original_length);
    FLAG(tie_word_embeddings);
    FLAG(attention_bias);
    FLAG(qk_norm);
    if (w->rope_freqs)
        tn_put(out, "rope_freqs [%lld]\n", (long long)(c->head_dim / 2));
}

static void put_values(listing *l, const tn_gguf *file)
{
    for (int64_t i = 0; i < tn_gguf_key_count(file); i++)
        tn_gguf_put_value(file, i, &l->out);
}

static void list_weights(listing *l, const tn_weights *w)
{
    put_head(l, w->format, NULL);
    put_config(&l->out, w);
    put_values(l, w->gguf);
    for (int64_t i = 0; i < w->count; i++) {
        const tn_blocks *b = &w->weights[i].blocks;
        put_tensor(l, w->weights[i].name, tn_quant_name(b->type), b->shape, (int64_t)b->size);
    }
    put_totals(l, "weights");
}

/* ---- what is no model, or none that Tenon runs -------------------------------------------------------------------------------- */

static bool list_gguf(listing *l, const char *why)
{
    const tn_gguf *file = tn_map_gguf_alone(l->path);
    if (!file)
        return false;
    put_head(l, "GGUF", why);
    put_values(l, file);
    for (int64_t i = 0; i < tn_gguf_count(file); i++) {
        const tn_blocks b = tn_gguf_blocks(file, i);
        put_tensor(l, tn_gguf_name(file, i), tn_quant_name(b.type), b.shape, (int64_t)b.size);
    }
    return true;
}

static void tell_tensor(void *context, const char *name, const char *dtype, tn_shape shape, int64_t bytes)
{
    put_tensor(context, name, dtype, shape, bytes);
}

static bool list_safetensors(listing *l, const char *why)
{
    put_head(l, "safetensors", why);
    return tn_list_safetensors("llama_inspect", l->path, &(tn_safetensors_lister){put_note, tell_tensor, l});
}

static bool list_dict(listing *l, const char *why)
{
    const bool torch = tn_is_pt(l->path);
    const tn_dict *dict = torch ? tn_load_pt(l->path) : tn_map_npz(l->path);
    if (!dict)
        return false;
    put_head(l, torch ? "PyTorch" : "npz", why);
    for (int64_t i = 0; i < tn_dict_note_count(dict); i++)
        put_note(l, tn_dict_note_key(dict, i), tn_dict_note(dict, tn_dict_note_key(dict, i)));
    for (int64_t i = 0; i < tn_dict_count(dict); i++) {
        const tn_tensor *x = tn_dict_tensor(dict, i);
        put_tensor(l, tn_dict_name(dict, i), tn_safetensors_name((tn_dtype)x->dtype), tn_shape_of(x), x->numel * (int64_t)tn_item_size(x));
    }
    return true;
}

static int is_safetensors(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name), tail = strlen(".safetensors");
    return length > tail && strcmp(entry->d_name + length - tail, ".safetensors") == 0;
}

/* A folder's files, one after the other. */
static bool list_folder(listing *l, const char *why)
{
    struct dirent **files;
    char folder[TN_PATH_SIZE], path[TN_PATH_SIZE];
    const char *given = l->path;
    const int count = tn_model_folder("llama_inspect", given, folder) ? scandir(given, &files, is_safetensors, alphasort) : -1;
    bool good = count > 0;
    for (int i = 0; i < count; i++) {
        good = good && tn_model_beside(folder, files[i]->d_name, path);
        l->path = path;
        good = good && list_safetensors(l, i ? NULL : why);
        free(files[i]);
    }
    if (count >= 0)
        free(files);
    l->path = given;
    return good;
}

/* By its first bytes, as tn_weights_list(); false, with an error or without one, where it is of no such format. */
static bool list_any(listing *l, const char *why)
{
    struct stat st;
    if (l->path && stat(l->path, &st) == 0 && S_ISDIR(st.st_mode))
        return list_folder(l, why);
    switch (tn_file_kind_of("llama_inspect", l->path)) {
    case TN_FILE_GGUF: return list_gguf(l, why);
    case TN_FILE_ZIP: return list_dict(l, why);
    case TN_FILE_SAFETENSORS: return list_safetensors(l, why);
    default: return false;
    }
}

size_t tn_llama_inspect(const char *path, char *text, size_t size)
{
    char why[TN_PATH_SIZE + 512];
    TN_SCOPE;
    const tn_dict *tuned = tn_tuned_list("llama_inspect", path);
    if (tuned)
        return tn_tuned_inspect(tuned, path, text, size);
    listing l = {.out = {text, text ? size : 0, 0}, .path = path};
    const tn_weights *w = tn_adopt(tn_weights_list("llama_inspect", path));
    if (w) {
        list_weights(&l, w);
        return l.out.length;
    }
    const tn_status status = tn_last_status();
    if (status == TN_ERR_MEMORY || status == TN_ERR_ARGUMENT)
        return 0;
    snprintf(why, sizeof why, "%s", tn_last_error());
    tn_clear_error();
    if (list_any(&l, why) && !tn_failing()) {
        put_totals(&l, "tensors");
        return l.out.length;
    }
    if (tn_last_status() != TN_ERR_MEMORY) { /* what stands in the way of a model says more */
        tn_clear_error();
        tn_fail(status, "%s", why);
    }
    return 0;
}
