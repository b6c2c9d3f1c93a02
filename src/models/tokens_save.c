/* What goes with the weights into a folder: the tokeniser, the form of conversations, what ends a text. */
#include "models/beside.h"

#include <tenon/generate.h>

#include "io/file.h"
#include "models/weights.h"

#include <stdio.h>
#include <string.h>

bool tn_folder_write(const tn_weights_target *t, const char *name, const char *text, size_t size)
{
    char path[TN_PATH_SIZE];
    tn_writer out;
    if (snprintf(path, sizeof path, "%s/%s", t->path, name) >= (int)sizeof path)
        tn_fail(TN_ERR_ARGUMENT, "%s: a path of more than %zu bytes", t->op, sizeof path);
    if (tn_failing())
        return false;
    const tn_status status = tn_writer_open(&out, t->op, path);
    return tn_writer_close(&out, status == TN_OK ? tn_writer_write(&out, text, size) : status) == TN_OK;
}

static bool copy_file(const tn_weights_target *t, const char *from, const char *name)
{
    size_t size;
    char *text = tn_model_text(t->op, from, &size);
    const bool good = text && tn_folder_write(t, name, text, size);
    tn_free(text, text ? size + 1 : 0);
    return good;
}

bool tn_weights_passed_over(const tn_weights_target *t, const char *what)
{
    if (tn_last_status() == TN_ERR_MEMORY)
        return false;
    tn_weights_report(t, "%s is not written: %s", what, tn_last_error());
    tn_clear_error();
    return true;
}

/* ---- the tokeniser ------------------------------------------------------------------------------------------------------------ */

const char *tn_weights_home(const tn_weights_target *t) { return t->tokenizer && tn_model_is(t->op, t->tokenizer) ? t->tokenizer : t->in; }

tn_tokenizer *tn_weights_tokenizer(const tn_weights *w, const tn_weights_target *t)
{
    const char *home = tn_weights_home(t);
    const tn_tokenizer_args file = {.size = sizeof file, .vocab_size = w->config.vocab_size, .path = t->tokenizer};
    tn_tokenizer *tokenizer = tn_adopt(t->tokenizer && home != t->tokenizer ? tn_tokenizer_new_with(&file) : tn_tokenizer_open(home));
    int64_t ends[TN_ENDS_MOST];
    if (tokenizer && t->in && t->tokenizer && home != t->tokenizer)
        tn_set_ends(tokenizer, ends, tn_model_ends(t->op, t->in, ends));
    if (tokenizer && tokenizer->vocab.count > w->config.vocab_size)
        tn_fail(TN_ERR_ARGUMENT, "%s: %s: the tokenizer has %lld tokens and the model %lld", t->op, t->tokenizer ? t->tokenizer : home,
                (long long)tokenizer->vocab.count, (long long)w->config.vocab_size);
    return tn_failing() ? NULL : tokenizer;
}

/* A tokeniser of GGUF's arrays, which in a folder is a file, and what transformers must know of it. */
static bool write_tokenizer(const tn_weights_target *t, const tn_tokenizer *tokenizer)
{
    tn_bytes text = {0}, config = {0};
    const bool good = tn_tokenizer_write(tokenizer, &text) && tn_tokenizer_write_config(tokenizer, &config) &&
                      tn_folder_write(t, tokenizer->file_name, text.data, text.size) &&
                      tn_folder_write(t, "tokenizer_config.json", config.data, config.size);
    tn_bytes_free(&text);
    tn_bytes_free(&config);
    return good;
}

/* The tokeniser's file under the name by which it is found. One that lies beside the source is copied as it is; one that is named must be read. */
static bool save_tokenizer(const tn_weights *w, const tn_weights_target *t, bool in_gguf)
{
    char file[TN_PATH_SIZE] = "";
    const char *home = tn_weights_home(t);
    const bool named_file = t->tokenizer && home != t->tokenizer, beside = !named_file && !in_gguf && tn_model_tokenizer(t->op, home, file);
    if (tn_failing() || (!t->tokenizer && !in_gguf && !beside))
        return !tn_failing();
    tn_tokenizer *tokenizer = t->tokenizer || in_gguf ? tn_weights_tokenizer(w, t) : NULL;
    const char *source = named_file ? t->tokenizer : file, *slash = strrchr(source, '/');
    bool good = !tn_failing();
    if (good && in_gguf)
        good = write_tokenizer(t, tokenizer);
    else if (good)
        good = copy_file(t, source, named_file ? tokenizer->file_name : slash ? slash + 1 : source);
    return good || (!t->tokenizer && in_gguf && tn_last_status() != TN_ERR_IO && tn_weights_passed_over(t, "its tokenizer"));
}

/* ---- what else there is of a model, its folder's files or a GGUF file's values --------------------------------------------------- */

/* As its own file: what lies in a GGUF file, or with a tokeniser that is named. */
static bool save_template(const tn_weights_target *t, const char *from)
{
    char file[TN_PATH_SIZE] = "";
    size_t size = 0;
    char *jinja = tn_model_jinja(t->op, from, file, &size);
    const bool good = jinja ? tn_folder_write(t, "chat_template.jinja", jinja, size - 1) : !tn_failing() || tn_weights_passed_over(t, file);
    tn_free(jinja, size);
    return good;
}

static bool save_ends(const tn_weights_target *t, const char *from)
{
    char text[32 * TN_ENDS_MOST];
    int64_t ends[TN_ENDS_MOST];
    const int count = tn_model_ends(t->op, from, ends);
    tn_text_out out = {text, sizeof text, 0};
    if (!count)
        return !tn_failing();
    for (int i = 0; i < count; i++)
        tn_put(&out, "%s%lld", i ? ", " : "{\"eos_token_id\": [", (long long)ends[i]);
    tn_put(&out, "]}\n");
    return tn_folder_write(t, "generation_config.json", text, out.length);
}

static bool save_of(const tn_weights_target *t, const char *from, bool made_config)
{
    static const char *const files[] = {"tokenizer_config.json", "chat_template.jinja", "generation_config.json"};
    char folder[TN_PATH_SIZE], path[TN_PATH_SIZE];
    const bool gguf = tn_model_gguf(t->op, from) != NULL;
    bool good = tn_model_folder(t->op, from, folder), ends = false;
    for (int i = made_config; good && i < TN_COUNT(files); i++)
        if (tn_model_beside(folder, files[i], path)) {
            good = copy_file(t, path, files[i]);
            ends |= i == 2;
        }
    if (good && (gguf || from != t->in))
        good = save_template(t, from);
    return good && (gguf || !ends ? save_ends(t, from) : true) && !tn_failing();
}

bool tn_folder_tokens(const tn_weights *w, const tn_weights_target *t)
{
    TN_SCOPE;
    const char *home = tn_weights_home(t);
    if (!home && !t->tokenizer)
        return true;
    const tn_gguf *gguf = home ? tn_model_gguf(t->op, home) : NULL;
    const bool in_gguf = (home == t->tokenizer || !t->tokenizer) && tn_gguf_find_key(gguf, "tokenizer.ggml.tokens") >= 0;
    return save_tokenizer(w, t, in_gguf) && (!t->in || save_of(t, t->in, in_gguf)) && (!home || home == t->in || save_of(t, home, in_gguf));
}
