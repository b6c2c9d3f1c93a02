/* Finding what belongs to a model: its folder, its tokeniser. */
#include "models/beside.h"

#include <tenon/generate.h>

#include "io/file.h"
#include "models/weights.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#ifdef TENON_HAVE_CJSON
#include <cjson/cJSON.h>
#endif

bool tn_model_folder(const char *op, const char *path, char folder[TN_PATH_SIZE])
{
    struct stat st;
    if (tn_failing())
        return false;
    if (!path || stat(path, &st) != 0) {
        tn_fail(path ? TN_ERR_IO : TN_ERR_ARGUMENT, "%s: %s: there is no such file or folder", op, path ? path : "NULL");
        return false;
    }
    const char *slash = strrchr(path, '/');
    const size_t length = S_ISDIR(st.st_mode) ? strlen(path) : slash ? (size_t)(slash - path) + 1 : 0;
    if (length + 2 > TN_PATH_SIZE) {
        tn_fail(TN_ERR_ARGUMENT, "%s: a path of %zu bytes", op, length);
        return false;
    }
    memcpy(folder, path, length);
    strcpy(folder + length, S_ISDIR(st.st_mode) && length && path[length - 1] != '/' ? "/" : "");
    return true;
}

bool tn_model_beside(const char *folder, const char *name, char path[TN_PATH_SIZE])
{
    struct stat st;
    return snprintf(path, TN_PATH_SIZE, "%s%s", folder, name) < TN_PATH_SIZE && stat(path, &st) == 0;
}

/* Whether it is a GGUF file by its first bytes; false, with an error or without one, where it is not. */
static bool is_gguf(const char *op, const char *path)
{
    struct stat st;
    tn_reader r;
    char head[4] = "";
    if (tn_failing() || !path || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || !tn_reader_open(&r, op, path, false))
        return false;
    const bool good = r.size >= (int64_t)sizeof head && tn_reader_read(&r, head, sizeof head) && memcmp(head, "GGUF", sizeof head) == 0;
    tn_reader_close(&r);
    return good;
}

bool tn_model_is(const char *op, const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0 && (S_ISDIR(st.st_mode) || is_gguf(op, path));
}

tn_gguf *tn_model_gguf(const char *op, const char *path) { return is_gguf(op, path) ? tn_map_gguf(path) : NULL; }

char *tn_model_text(const char *op, const char *path, size_t *size)
{
    enum { MOST = 256 << 20 };
    tn_reader r;
    if (!tn_reader_open(&r, op, path, false))
        return NULL;
    *size = (size_t)r.size;
    char *text = r.size <= MOST ? tn_alloc(*size + 1) : tn_fail(TN_ERR_FORMAT, "%s: %s: a text of %lld bytes", op, path, (long long)r.size);
    if (text && !tn_reader_read(&r, text, r.size)) {
        tn_free(text, *size + 1);
        text = NULL;
    }
    if (text)
        text[*size] = 0;
    tn_reader_close(&r);
    return text;
}

/* ---- what ends a text ------------------------------------------------------------------------------------------------------ */

#ifdef TENON_HAVE_CJSON
/* "eos_token_id": an id or a list of them. */
static int ends_in(const char *op, const char *file, int64_t ends[TN_ENDS_MOST])
{
    size_t size;
    int count = 0;
    TN_C_NUMBERS;
    char *text = tn_model_text(op, file, &size);
    cJSON *json = text ? cJSON_ParseWithLength(text, size) : NULL;
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(json, "eos_token_id");
    bool good = !ids || cJSON_IsNull(ids) || cJSON_IsNumber(ids) || cJSON_IsArray(ids);
    for (const cJSON *id = cJSON_IsArray(ids) ? ids->child : cJSON_IsNumber(ids) ? ids : NULL; id && good; id = cJSON_IsArray(ids) ? id->next : NULL)
        if ((good = cJSON_IsNumber(id) && count < TN_ENDS_MOST))
            ends[count++] = id->valuedouble >= 0 && id->valuedouble <= INT32_MAX ? (int64_t)id->valuedouble : -1;
    if (text && (!json || !good))
        tn_fail(TN_ERR_FORMAT, "%s: %s: %s", op, file, json ? "\"eos_token_id\" is neither a token's id nor a list of up to 32" : "no JSON");
    cJSON_Delete(json);
    tn_free(text, text ? size + 1 : 0);
    return count;
}
#else
static int ends_in(const char *op, const char *file, int64_t ends[TN_ENDS_MOST])
{
    (void)op, (void)file, (void)ends;
    return 0; /* nor is there a model to read */
}
#endif

#define GGML "tokenizer.ggml."

/* The end of a text, of a turn and of a message. */
static int gguf_ends(const tn_gguf *file, int64_t ends[TN_ENDS_MOST])
{
    static const char *const keys[] = {GGML "eos_token_id", GGML "eot_token_id", GGML "eom_token_id"};
    int count = 0;
    for (int i = 0; i < TN_COUNT(keys); i++)
        if ((ends[count] = tn_gguf_int(file, keys[i], -1)) >= 0)
            count++;
    return count;
}

int tn_model_ends(const char *op, const char *path, int64_t ends[TN_ENDS_MOST])
{
    static const char *const files[] = {"generation_config.json", "config.json"};
    char folder[TN_PATH_SIZE], file[TN_PATH_SIZE];
    TN_SCOPE;
    const tn_gguf *gguf = tn_model_gguf(op, path);
    int count = gguf ? gguf_ends(gguf, ends) : 0;
    for (int i = 0; i < TN_COUNT(files) && !count; i++)
        if (tn_model_folder(op, path, folder) && tn_model_beside(folder, files[i], file))
            count = ends_in(op, file, ends);
    return tn_failing() ? 0 : count;
}

/* ---- the tokeniser -------------------------------------------------------------------------------------------------------- */

/* An array of strings, the file's, tn_alloc()'s; NULL where there is none. */
static tn_span *spans(const tn_gguf *file, const char *key, int64_t *count)
{
    const int64_t place = tn_gguf_find_key(file, key);
    *count = place >= 0 ? tn_gguf_entry_at(file, place).count : 0;
    tn_span *all = *count ? tn_alloc((size_t)*count * sizeof *all) : NULL;
    for (int64_t i = 0; all && i < *count; i++) {
        size_t length = 0;
        all[i].data = tn_gguf_string_at(file, key, i, &length);
        all[i].size = (int64_t)length;
    }
    return all;
}

/* An array of numbers, one for each token, as data of the dtype; NULL where there is none. */
static const void *numbers(const char *path, const tn_gguf *file, const char *key, int64_t count, tn_dtype dtype)
{
    tn_tensor *x = tn_gguf_find_key(file, key) >= 0 ? tn_gguf_numbers(file, key) : NULL;
    if (x && x->numel != count)
        return tn_fail(TN_ERR_FORMAT, "tokenizer_open: %s: %lld tokens and %lld numbers in %s", path, (long long)count, (long long)x->numel, key);
    return (x = x ? tn_cast(x, dtype) : NULL) ? tn_ptr(x) : NULL;
}

static tn_tokenizer *of_gguf(const char *path, const tn_gguf *file)
{
    tn_tokenizer_gguf_args a = {.size = sizeof a};
    a.model = tn_gguf_string(file, GGML "model", NULL);
    a.pre = tn_gguf_string(file, GGML "pre", NULL);
    tn_span *tokens = spans(file, GGML "tokens", &a.count), *merges = spans(file, GGML "merges", &a.merge_count);
    a.tokens = tokens;
    a.merges = merges;
    a.scores = numbers(path, file, GGML "scores", a.count, TN_F32);
    a.types = numbers(path, file, GGML "token_type", a.count, TN_I32);
    a.bos = tn_gguf_int(file, GGML "bos_token_id", -1);
    a.eos = tn_gguf_int(file, GGML "eos_token_id", -1);
    a.unk = tn_gguf_int(file, GGML "unknown_token_id", -1);
    a.add_bos = tn_gguf_bool(file, GGML "add_bos_token", tn_gguf_begins(a.model, a.pre));
    a.add_eos = tn_gguf_bool(file, GGML "add_eos_token", false);
    a.add_space_prefix = tn_gguf_bool(file, GGML "add_space_prefix", true);
    tn_tokenizer *tokenizer = tn_failing() ? NULL : tn_tokenizer_gguf_new_with(&a);
    tn_free(tokens, (size_t)a.count * sizeof *tokens);
    tn_free(merges, (size_t)a.merge_count * sizeof *merges);
    if (!tokenizer)
        return tn_fail_within("%s", path), NULL;
    int64_t ends[TN_ENDS_MOST];
    tn_set_ends(tokenizer, ends, gguf_ends(file, ends));
    return tokenizer;
}

/* Whether the path is a model's; that of a folder with a tokeniser alone is none. */
static bool is_model(const char *path)
{
    struct stat st;
    char folder[TN_PATH_SIZE], file[TN_PATH_SIZE];
    return stat(path, &st) == 0 && (!S_ISDIR(st.st_mode) || (tn_model_folder("tokenizer_open", path, folder) &&
           (tn_model_beside(folder, "model.safetensors", file) || tn_model_beside(folder, "model.safetensors.index.json", file))));
}

static tn_tokenizer *of_file(const char *file, const char *model)
{
    tn_tokenizer_args a = {.size = sizeof a, .path = file};
    const size_t length = strlen(file);
    if (length >= 4 && strcmp(file + length - 4, ".bin") == 0 && is_model(model)) { /* only llama2.c's asks for the number of tokens */
        tn_weights *weights = tn_weights_open("tokenizer_open", model);
        a.vocab_size = weights ? weights->config.vocab_size : 0;
        tn_release(weights);
    }
    tn_tokenizer *tokenizer = tn_tokenizer_new_with(&a);
    int64_t ends[TN_ENDS_MOST];
    if (tokenizer)
        tn_set_ends(tokenizer, ends, tn_model_ends("tokenizer_open", model, ends));
    if (!tn_failing())
        return tokenizer;
    tn_release(tokenizer);
    return NULL;
}

static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tokenizer.bin", "tokenizer.model.np"};

bool tn_model_tokenizer(const char *op, const char *path, char file[TN_PATH_SIZE])
{
    static const struct {
        const char *ending, *first; /* what is looked for first beside such a file */
    } pairs[] = {{".bin", "tokenizer.bin"}, {".npz", "tokenizer.model.np"}};
    char folder[TN_PATH_SIZE];
    if (!tn_model_folder(op, path, folder))
        return false;
    const size_t length = strlen(path);
    for (int i = 0; i < TN_COUNT(pairs); i++)
        if (length >= 4 && strcmp(path + length - 4, pairs[i].ending) == 0 && tn_model_beside(folder, pairs[i].first, file))
            return true;
    for (int i = 0; i < TN_COUNT(names); i++)
        if (tn_model_beside(folder, names[i], file))
            return true;
    return false;
}

tn_tokenizer *tn_tokenizer_open(const char *path)
{
    char folder[TN_PATH_SIZE], file[TN_PATH_SIZE];
    TN_SCOPE;
    tn_gguf *gguf = tn_model_gguf("tokenizer_open", path);
    if (gguf && tn_gguf_find_key(gguf, GGML "tokens") >= 0)
        return of_gguf(path, gguf);
    if (tn_failing() || tn_model_tokenizer("tokenizer_open", path, file))
        return tn_failing() ? NULL : of_file(file, path);
    return !tn_model_folder("tokenizer_open", path, folder)
               ? NULL
               : tn_fail(TN_ERR_IO, "tokenizer_open: %s: no tokenizer: %snone of %s, %s, %s and %s in %s", path, gguf ? "none in the file, and " : "", names[0],
                         names[1], names[2], names[3], *folder ? folder : "this folder");
}
