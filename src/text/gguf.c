/* A tokeniser from the arrays of a GGUF file's header (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */
#include "text/text.h"

#include <math.h>

static bool bad(const char *what)
{
    tn_fail(TN_ERR_FORMAT, "tokenizer_gguf_new: %s", what);
    return false;
}

static bool read_vocab(tn_tokenizer *t, const tn_tokenizer_gguf_args *a)
{
    int64_t bytes = 0;
    bool known;
    for (int64_t i = 0; i < a->count; i++) {
        if (a->tokens[i].size < 0 || a->tokens[i].size > 1 << 20 || (a->tokens[i].size && !a->tokens[i].data))
            return bad("a token without a size that can be");
        bytes += a->tokens[i].size;
    }
    if (!tn_vocab_init(&t->vocab, a->count, bytes) || !tn_finish_vocab(t))
        return false;
    for (int64_t i = 0; i < a->count; i++) {
        int type = a->types ? a->types[i] : TN_TOKEN_NORMAL;
        float score = a->scores ? a->scores[i] : 0;
        if (type < TN_TOKEN_NORMAL || type > TN_TOKEN_BYTE || !isfinite(score))
            return bad("a token's type is none of 1 to 6, or its score no number");
        if (!tn_vocab_set(&t->vocab, i, a->tokens[i].data, a->tokens[i].size, type, score, &known))
            return false;
    }
    int64_t ids[3] = {a->bos, a->eos, a->unk};
    for (int i = 0; i < 3; i++)
        if (ids[i] < -1 || ids[i] >= a->count)
            return bad("bos, eos or unk is outside the vocabulary");
    return true;
}

/* SentencePiece's BPE, without a normaliser's rules: what GGUF keeps of them is whether a space is put in front. */
static bool read_llama(tn_tokenizer *t, const tn_tokenizer_gguf_args *a)
{
    t->dummy_prefix = a->add_space_prefix;
    t->escape_spaces = t->byte_fallback = true;
    return tn_bytes_add(&t->unknown_text, " \xe2\x81\x87 ", 5) && tn_sentencepiece_steps(t, "tokenizer_gguf_new") &&
           tn_add_step(t, "tokenizer_gguf_new", tn_step_merge) && tn_sentencepiece_ready(t, NULL);
}

static bool read_merges(tn_tokenizer *t, const tn_tokenizer_gguf_args *a)
{
    if (!tn_pairs_init(&t->pairs, a->merge_count))
        return false;
    for (int64_t i = 0; i < a->merge_count; i++) {
        tn_span m = a->merges[i];
        const char *gap = m.size > 0 && m.data ? memchr(m.data, ' ', (size_t)m.size) : NULL;
        if (!gap || !tn_add_merge(t, (tn_span){m.data, gap - m.data}, (tn_span){gap + 1, m.data + m.size - gap - 1}, (int32_t)i))
            return !tn_failing() && bad("a merge of tokens that the vocabulary has not");
    }
    return true;
}

/* Control tokens where the caller allows it, user-defined ones always. */
static bool read_added(tn_tokenizer *t, tn_text_step *step)
{
    for (int64_t id = 0; id < t->vocab.count; id++) {
        const tn_token *token = &t->vocab.tokens[id];
        bool control = token->type == TN_TOKEN_CONTROL;
        t->special[id] = control;
        if ((control || token->type == TN_TOKEN_USER) && token->size &&
            !tn_add_token(t, step, token->text, token->size, (tn_added){(int32_t)id, .special = control}))
            return false;
    }
    return true;
}

/* The splitters, and with Qwen the normal form C, as these models' tokenizer.json has them. */
static bool read_gpt2(tn_tokenizer *t, const tn_tokenizer_gguf_args *a)
{
    static const struct {
        const char *name, *pattern;
        bool compose, digits, whole_first;
    } known[] = {{"gpt-2", tn_pattern_gpt2, false, false, false},
                 {"llama-bpe", tn_pattern_llama3, false, false, true},
                 {"llama3", tn_pattern_llama3, false, false, true},
                 {"qwen2", tn_pattern_qwen2, true, false, false},
                 {"smollm", tn_pattern_gpt2, false, true, false}};
    static const char op[] = "tokenizer_gguf_new";
    int k = 0;
    while (k < TN_COUNT(known) && (!a->pre || strcmp(a->pre, known[k].name) != 0))
        k++;
    if (k == TN_COUNT(known)) {
        tn_fail(TN_ERR_UNSUPPORTED, "%s: pre is \"%.40s\": Tenon has gpt-2, llama-bpe, qwen2 and smollm", op, a->pre ? a->pre : "NULL");
        return false;
    }
    tn_text_step *added, *normal;
    if (!read_merges(t, a) || !tn_add_step(t, op, tn_step_mend) || !(added = tn_add_step(t, op, tn_step_added)) || !read_added(t, added))
        return false;
    if (known[k].compose) {
        if (!(normal = tn_add_step(t, op, tn_step_normal)))
            return false;
        normal->flag = true;
    }
    if ((known[k].digits && !tn_add_split(t, op, "\\p{N}", 5, TN_SPLIT_ISOLATED, false)) ||
        !tn_add_split(t, op, known[k].pattern, (int64_t)strlen(known[k].pattern), TN_SPLIT_ISOLATED, false) || !tn_add_step(t, op, tn_step_merge))
        return false;
    t->merge = TN_MERGE_PAIRS;
    t->unit = TN_UNIT_BYTE;
    t->letters = t->decode_letters = true;
    t->whole_first = known[k].whole_first;
    t->decode = tn_decode_json;
    t->lossy = TN_LOSSY_PART;
    tn_find_letters(t);
    return true;
}

static bool read_arrays(tn_tokenizer *t, const tn_tokenizer_gguf_args *a)
{
    bool llama = a->model && strcmp(a->model, "llama") == 0;
    if (!llama && !(a->model && strcmp(a->model, "gpt2") == 0)) {
        tn_fail(TN_ERR_UNSUPPORTED, "tokenizer_gguf_new: model is \"%.40s\": Tenon has llama and gpt2", a->model ? a->model : "NULL");
        return false;
    }
    if (a->count <= 0 || a->count > INT32_MAX / 2 || !a->tokens || a->merge_count < 0 || a->merge_count > INT32_MAX / 2 || (a->merge_count && !a->merges)) {
        tn_fail(TN_ERR_ARGUMENT, "tokenizer_gguf_new: %lld tokens at %s, %lld merges at %s", (long long)a->count, a->tokens ? "an address" : "NULL",
                (long long)a->merge_count, a->merges ? "an address" : "NULL");
        return false;
    }
    if (!read_vocab(t, a) || !(llama ? read_llama(t, a) : read_gpt2(t, a)))
        return false;
    t->bos = a->bos;
    t->eos = a->eos;
    t->unk = a->unk >= 0 ? a->unk : t->unk;
    t->tells_ends = true;
    if (a->add_bos && a->bos >= 0)
        t->before[t->before_count++] = a->bos;
    if (a->add_eos && a->eos >= 0)
        t->behind[t->behind_count++] = a->eos;
    return true;
}

tn_tokenizer *tn_tokenizer_gguf_new_with(const tn_tokenizer_gguf_args *args)
{
    TN_KNOWN(tn_tokenizer_gguf_args, args);
    tn_tokenizer *t = tn_failing() ? NULL : tn_tokenizer_empty();
    if (!t || read_arrays(t, args))
        return t;
    tn_release(t);
    return NULL;
}
