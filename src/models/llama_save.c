/* Weights written: safetensors alone and in a folder, npz; and files of one kind made into another. */
#include "models/weights.h"

#include "io/file.h"
#include "models/beside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- dicts ------------------------------------------------------------------------------------------------------------------ */

/* What a weight becomes in a file that holds f32, f16 and, but for npz, bf16. */
static tn_dtype dtype_of(const tn_weight *weight, tn_quant type, bool npz)
{
    const tn_dtype dtype = tn_quant_dtype(type == TN_QUANT_NONE ? weight->blocks.type : type);
    return dtype == TN_DTYPE_DEFAULT || (npz && dtype == TN_BF16) ? TN_F32 : dtype;
}

/* What a dict's tensors are made of, one at a time. */
typedef struct making {
    const tn_weights *w;
    const tn_weights_target *t;
    const tn_dict *dict;
    bool npz;
} making;

/* tn_made(): a weight, in llama2.c's order of rows for npz; a tied model's head is its embedding; what is none is in the dict. */
static const tn_tensor *made(const void *context, const char *name)
{
    const making *m = context;
    for (int64_t i = 0; i < m->w->count; i++) {
        const tn_weight *weight = &m->w->weights[i];
        if (strcmp(name, weight->name) == 0)
            return tn_weight_tensor(m->w, weight, m->npz ? tn_weight_heads(m->w, weight) : 0, dtype_of(weight, m->t->type, m->npz));
    }
    return strcmp(name, TN_WEIGHTS_CONFIG) == 0 ? tn_dict_get(m->dict, name) : made(context, m->w->weights[0].name);
}

/* The weights under our names, all elements of each over the same one: made() has their values. An npz has a head even where it is the embedding,
 * which its programs ask for. The scope's. */
static tn_dict *dict_of(const tn_weights *w, const tn_weights_target *t, bool npz)
{
    if (t->type != TN_QUANT_NONE && (tn_quant_dtype(t->type) == TN_DTYPE_DEFAULT || (npz && t->type == TN_QUANT_BF16)))
        return tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: such a file holds F32%s and F16, not %s", t->op, t->path, npz ? "" : ", BF16",
                       tn_quant_name(t->type) ? tn_quant_name(t->type) : "this type");
    tn_dict *dict = tn_adopt(tn_dict_new());
    for (int64_t i = 0; dict && i < w->count; i++) {
        TN_SCOPE;
        const tn_weight *weight = &w->weights[i];
        tn_tensor *x = tn_expand(tn_new("llama", TN_SCALAR, dtype_of(weight, t->type, npz), (tn_device_id){TN_CPU, 0}), weight->blocks.shape);
        if (!x || tn_dict_set(dict, weight->name, x) != TN_OK)
            return NULL;
        if (npz && i == 0 && w->config.tie_word_embeddings && tn_dict_set(dict, "lm_head.weight", x) != TN_OK)
            return NULL;
    }
    return dict;
}

/* config.json as text that the caller frees; its bytes go into *size, one more with the closing 0. */
static char *config_text(const tn_weights *w, const tn_weights_target *t, size_t *size)
{
    const tn_dtype dtype = dtype_of(&w->weights[0], t->type, false);
    if (tn_llama_mixed(&w->config) && !w->config.attention_bias && !w->config.qk_norm)
        return tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: transformers' models with a window in some layers alone, Qwen 2 and 3, have biases or norms of queries "
                       "and keys", t->op, t->path);
    *size = tn_llama_config_write(w, dtype, NULL, 0) + 1;
    char *text = tn_alloc(*size);
    if (text)
        tn_llama_config_write(w, dtype, text, *size);
    return text;
}

static tn_status save_safetensors(const tn_weights *w, const tn_weights_target *t, const char *path, const char *config)
{
    tn_dict *dict = dict_of(w, t, false);
    if (!dict || tn_dict_set_note(dict, "format", "pt") != TN_OK || (config && tn_dict_set_note(dict, TN_WEIGHTS_CONFIG, config) != TN_OK))
        return tn_last_status();
    return tn_save_safetensors_made(dict, path, made, &(making){w, t, dict, false});
}

static tn_status save_npz(const tn_weights *w, const tn_weights_target *t, const char *config, size_t size)
{
    tn_dict *dict = dict_of(w, t, true);
    const tn_shape_args shape = {.size = sizeof shape, .shape = TN_SHAPE((int64_t)size - 1), .dtype = TN_U8};
    tn_tensor *bytes = dict ? tn_empty_with(&shape) : NULL;
    if (!bytes)
        return tn_last_status();
    memcpy(tn_ptr(bytes), config, size - 1);
    if (tn_dict_set(dict, TN_WEIGHTS_CONFIG, bytes) != TN_OK)
        return tn_last_status();
    return tn_save_npz_made(&(tn_npz_args){.size = sizeof(tn_npz_args), .dict = dict, .path = t->path}, made, &(making){w, t, dict, true});
}

static bool ends_in(const char *path, const char *end)
{
    const size_t length = strlen(path), tail = strlen(end);
    return length > tail && strcmp(path + length - tail, end) == 0;
}

/* The configuration last: a folder with it is whole. */
static tn_status save_folder(const tn_weights *w, const tn_weights_target *t, const char *config, size_t size)
{
    char path[TN_PATH_SIZE];
    struct stat st;
    const bool there = stat(t->path, &st) == 0;
    if ((there && !S_ISDIR(st.st_mode)) || (!there && mkdir(t->path, 0777) != 0)) {
        char text[128] = "";
        const int number = there ? ENOTDIR : errno;
        tn_fail(TN_ERR_IO, "%s: %s: cannot be made a folder: %s", t->op, t->path, strerror_r(number, text, sizeof text));
        return TN_ERR_IO;
    }
    if (snprintf(path, sizeof path, "%s/model.safetensors", t->path) >= (int)sizeof path)
        tn_fail(TN_ERR_ARGUMENT, "%s: a path of more than %zu bytes", t->op, sizeof path);
    if (tn_failing() || save_safetensors(w, t, path, NULL) != TN_OK || !tn_folder_tokens(w, t) || !tn_folder_write(t, "config.json", config, size - 1))
        return tn_last_status();
    return TN_OK;
}

/* ---- which kind ------------------------------------------------------------------------------------------------------------ */

static tn_status save(const tn_weights *w, const tn_weights_target *t)
{
    size_t size = 0;
    if (!t->path) {
        tn_fail(TN_ERR_ARGUMENT, "%s: path is NULL", t->op);
        return TN_ERR_ARGUMENT;
    }
    if (ends_in(t->path, ".gguf"))
        return tn_weights_save_gguf(w, t);
    if (t->tokenizer && (ends_in(t->path, ".bin") || ends_in(t->path, ".safetensors") || ends_in(t->path, ".npz"))) {
        tn_fail(TN_ERR_ARGUMENT, "%s: %s: such a file holds no tokenizer: a GGUF file and a folder do", t->op, t->path);
        return TN_ERR_ARGUMENT;
    }
    if (ends_in(t->path, ".bin"))
        return tn_weights_save_llama2(w, t);
    char *config = config_text(w, t, &size);
    tn_status status = tn_last_status();
    if (config && ends_in(t->path, ".safetensors"))
        status = save_safetensors(w, t, t->path, config);
    else if (config)
        status = ends_in(t->path, ".npz") ? save_npz(w, t, config, size) : save_folder(w, t, config, size);
    tn_free(config, size);
    return status;
}

tn_status tn_llama_save(void *llama, const char *path)
{
    TN_ERROR_ASIDE;
    TN_SCOPE;
    const tn_weights *w = tn_adopt(tn_weights_of(llama));
    return w ? save(w, &(tn_weights_target){.op = "llama_save", .path = path, .type = TN_QUANT_NONE}) : tn_last_status();
}

tn_status tn_llama_convert_with(const tn_llama_convert_args *args)
{
    TN_KNOWN(tn_llama_convert_args, args);
    TN_SCOPE;
    struct stat in, out;
    if (!tn_failing() && args->in && args->out && stat(args->in, &in) == 0 && stat(args->out, &out) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        tn_fail(TN_ERR_ARGUMENT, "llama_convert: %s and %s are the same: a conversion does not take its source's place", args->in, args->out);
    const tn_weights *w = tn_adopt(tn_weights_open("llama_convert", args->in));
    const tn_weights_target target = {"llama_convert", args->out, args->type, args->llama2_version, args->report, args->context, args->in, args->tokenizer};
    return w ? save(w, &target) : tn_last_status();
}
