/* Folders as transformers writes them, config.json with model.safetensors or with shards and their index; a safetensors file and one of PyTorch alone. */
#include "models/weights.h"

#include "io/file.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_SIZE = 4096 };

static bool exists(tn_weights_source source, const char *name, char path[PATH_SIZE])
{
    struct stat st;
    return snprintf(path, PATH_SIZE, "%s/%s", source.path, name) < PATH_SIZE && stat(path, &st) == 0;
}

#ifdef TENON_HAVE_CJSON
#include <cjson/cJSON.h>

/* Adds a file's tensors, once a file. */
static bool add_shard(tn_weights_source source, const char *name, tn_dict *seen, tn_dict *all)
{
    char path[PATH_SIZE];
    if (tn_dict_note(seen, name))
        return true;
    if (!*name || strchr(name, '/') || snprintf(path, sizeof path, "%s/%s", source.path, name) >= (int)sizeof path)
        return TN_WEIGHTS_BAD(source, "the index names a file \"%s\", which is outside of the folder", name);
    tn_dict *shard = tn_dict_set_note(seen, name, "") == TN_OK ? tn_map_safetensors(path) : NULL;
    for (int64_t i = 0; shard && i < tn_dict_count(shard); i++) {
        if (tn_dict_find(all, tn_dict_name(shard, i)) >= 0)
            TN_WEIGHTS_BAD(source, "\"%s\" is there twice, once in %s", tn_dict_name(shard, i), name);
        if (tn_failing() || tn_dict_set(all, tn_dict_name(shard, i), tn_dict_tensor(shard, i)) != TN_OK)
            return false;
    }
    return !tn_failing();
}

/* {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors", ...}} */
static bool add_shards(tn_weights_source source, const cJSON *index, tn_dict *all)
{
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map");
    tn_dict *seen = tn_adopt(tn_dict_new());
    if (!cJSON_IsObject(map))
        return TN_WEIGHTS_BAD(source, "the index has no weight_map");
    for (const cJSON *item = map->child; seen && item; item = item->next) {
        if (!cJSON_IsString(item))
            return TN_WEIGHTS_BAD(source, "the index's weight_map names no file for \"%s\"", item->string);
        if (!add_shard(source, item->valuestring, seen, all))
            return false;
        if (tn_dict_find(all, item->string) < 0)
            return TN_WEIGHTS_BAD(source, "the index names %s for \"%s\", which is not in it", item->valuestring, item->string);
    }
    return seen != NULL;
}

static tn_dict *read_shards(tn_weights_source source, const char *path)
{
    enum { INDEX_MOST = 64 << 20 };
    tn_reader r;
    TN_C_NUMBERS;
    if (!tn_reader_open(&r, source.op, path, false))
        return NULL;
    const size_t size = (size_t)r.size;
    char *text = r.size <= INDEX_MOST ? tn_alloc(size + 1) : TN_WEIGHTS_BAD(source, "an index of %lld bytes", (long long)r.size);
    cJSON *index = text && tn_reader_read(&r, text, r.size) ? cJSON_ParseWithLength(text, size) : NULL;
    tn_dict *all = tn_adopt(tn_dict_new());
    if (all && !tn_failing() && !add_shards(source, index, all))
        all = NULL;
    cJSON_Delete(index);
    tn_free(text, size + 1);
    tn_reader_close(&r);
    return all;
}

#else

static tn_dict *read_shards(tn_weights_source source, const char *path)
{
    (void)source;
    return tn_map_safetensors(path); /* which says what the build is without */
}

#endif

tn_weights *tn_weights_folder(tn_weights_source source)
{
    char path[PATH_SIZE];
    bool found;
    tn_llama_config_text text;
    if (!tn_llama_config_read(source, true, &found, &text))
        return NULL;
    if (!found)
        return tn_weights_fail(source, TN_ERR_IO, "the folder has no config.json");
    tn_dict *dict = NULL;
    if (exists(source, "model.safetensors", path))
        dict = tn_map_safetensors(path);
    else if (exists(source, "model.safetensors.index.json", path))
        dict = read_shards(source, path);
    else
        tn_weights_fail(source, TN_ERR_IO, "the folder has neither model.safetensors nor model.safetensors.index.json");
    return dict ? tn_weights_of_dict(source, &text.config, text.rope_freqs, dict, false, "a folder of transformers") : NULL;
}

/* A state_dict alone does not tell how many heads there are. */
static void *without_config(tn_weights_source source)
{
    return tn_weights_fail(source, TN_ERR_FORMAT, "no configuration in the file, and no config.json beside it: put the model's there, or write the weights by "
                           "tn_llama_save(), which keeps it");
}

tn_weights *tn_weights_safetensors(tn_weights_source source)
{
    bool found = true;
    tn_llama_config_text text;
    tn_dict *dict = tn_map_safetensors(source.path);
    const char *config = tn_dict_note(dict, TN_WEIGHTS_CONFIG);
    if (!config && tn_dict_note(dict, TN_TUNED_SIZES)) {
        const char *model = tn_dict_note(dict, TN_TUNED_MODEL);
        return tn_weights_fail(source, TN_ERR_FORMAT, "what fine-tuning changed, and no model: it goes with the one that was tuned (.tuned, --finetuned)%s%s",
                               model ? ", " : "", model ? model : "");
    }
    if (!dict || !(config ? tn_llama_config_parse(source, config, strlen(config), &text) : tn_llama_config_read(source, false, &found, &text)))
        return NULL;
    return found ? tn_weights_of_dict(source, &text.config, text.rope_freqs, dict, false, "safetensors") : without_config(source);
}

tn_weights *tn_weights_pt(tn_weights_source source)
{
    bool found;
    tn_llama_config_text text;
    tn_dict *dict = tn_load_pt(source.path);
    if (!dict || !tn_llama_config_read(source, false, &found, &text))
        return NULL;
    return found ? tn_weights_of_dict(source, &text.config, text.rope_freqs, dict, false, "PyTorch") : without_config(source);
}
