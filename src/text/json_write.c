/* A tokeniser of a GGUF file's arrays as Hugging Face's tokenizer.json, which makes the same ids of text that is UTF-8. */
#include "text/text.h"

#include "io/file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct writing {
    const tn_tokenizer *t;
    tn_bytes *out;
    bool good;
} writing;

static void put(writing *w, const char *text, int64_t size) { w->good = w->good && tn_bytes_add(w->out, text, size); }
static void put_text(writing *w, const char *text) { put(w, text, (int64_t)strlen(text)); }

TN_PRINTF(2, 3) static void put_short(writing *w, const char *format, ...)
{
    char text[300];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    put_text(w, text);
}

static void put_escaped(writing *w, const char *text, int64_t size)
{
    for (int64_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20)
            put_short(w, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            put_short(w, "\\%c", c);
        else
            put(w, text + i, 1);
    }
}

static void put_string(writing *w, const char *text, int64_t size)
{
    put_text(w, "\"");
    put_escaped(w, text, size);
    put_text(w, "\"");
}

static void put_token(writing *w, int64_t id)
{
    const tn_token *token = &w->t->vocab.tokens[id];
    put_string(w, token->text, token->size);
}

/* ---- the parts of the file ------------------------------------------------------------------------------------------------- */

static bool refuse(const char *what)
{
    tn_fail(TN_ERR_UNSUPPORTED, "tokenizer_write: tokenizer.json cannot hold this tokenizer, for it has %s", what);
    return false;
}

static bool is_there(const tn_token *token) { return token->size > 0; }

static bool can_be_written(const tn_tokenizer *t)
{
    if (t->decode != tn_decode_gguf)
        return refuse("rules of its own");
    for (int64_t id = 0; id < t->vocab.count; id++) {
        const tn_token *token = &t->vocab.tokens[id];
        if (is_there(token) && !tn_is_utf8(token->text, (size_t)token->size))
            return refuse("a token that is not UTF-8");
        if (is_there(token) && tn_vocab_find(&t->vocab, token->text, token->size) != id)
            return refuse("a token twice");
    }
    return true;
}

/* What is found in the text before all else. */
static void put_added(writing *w)
{
    const char *comma = "";
    put_text(w, "  \"added_tokens\": [");
    for (int64_t id = 0; id < w->t->vocab.count; id++) {
        const tn_token *token = &w->t->vocab.tokens[id];
        if (!is_there(token) || (token->type != TN_TOKEN_CONTROL && token->type != TN_TOKEN_UNKNOWN && token->type != TN_TOKEN_USER))
            continue;
        put_short(w, "%s\n    {\"id\": %lld, \"content\": ", comma, (long long)id);
        put_token(w, id);
        put_short(w, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": %s}",
                  token->type == TN_TOKEN_USER ? "false" : "true");
        comma = ",";
    }
    put_text(w, "\n  ],\n");
}

/* Of "llama": spaces become U+2581, one in front of each piece between found tokens. */
static void put_spaces(writing *w)
{
    const bool prefix = w->t->dummy_prefix;
    put_short(w, "  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [%s"
              "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\xe2\x96\x81\"}]},\n",
              prefix ? "{\"type\": \"Prepend\", \"prepend\": \"\xe2\x96\x81\"}, " : "");
    put_text(w, "  \"pre_tokenizer\": null,\n  \"decoder\": {\"type\": \"Sequence\", \"decoders\": ["
             "{\"type\": \"Replace\", \"pattern\": {\"String\": \"\xe2\x96\x81\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}");
    put_short(w, "%s]},\n", prefix ? ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}" : "");
}

/* Of "gpt2": the splitters one after the other, then GPT-2's letters. */
static void put_splitters(writing *w)
{
    bool composes = false;
    for (int i = 0; i < w->t->step_count; i++)
        composes |= w->t->steps[i].run == tn_step_normal;
    put_short(w, "  \"normalizer\": %s,\n  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [", composes ? "{\"type\": \"NFC\"}" : "null");
    for (int i = 0; i < w->t->step_count; i++) {
        const tn_text_step *step = &w->t->steps[i];
        if (step->run != tn_step_split)
            continue;
        put_text(w, "{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        put_string(w, step->what.data, (int64_t)step->what.size);
        put_text(w, "}, \"behavior\": \"Isolated\", \"invert\": false}, ");
    }
    put_text(w, "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": false}]},\n"
             "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": false},\n");
}

/* What encoding puts around a text, of one and of two texts. */
static void put_template(writing *w)
{
    const tn_tokenizer *t = w->t;
    const int64_t ids[] = {t->before_count ? t->before[0] : -1, t->behind_count ? t->behind[0] : -1};
    put_text(w, "  \"post_processor\": {\"type\": \"TemplateProcessing\", ");
    for (int pair = 0; pair < 2; pair++) {
        const char *comma = "";
        put_short(w, "\"%s\": [", pair ? "pair" : "single");
        for (int k = 0; k < 3 * (pair + 1); k++) { /* before, the text, behind */
            const int64_t id = k % 3 == 1 ? -1 : ids[k % 3 / 2];
            if (k % 3 != 1 && id < 0)
                continue;
            put_text(w, comma);
            put_short(w, k % 3 == 1 ? "{\"Sequence\": {\"id\": \"%c\"" : "{\"SpecialToken\": {\"id\": ", 'A' + k / 3);
            if (k % 3 != 1)
                put_token(w, id);
            put_short(w, ", \"type_id\": %d}}", k / 3);
            comma = ", ";
        }
        put_text(w, "], ");
    }
    put_text(w, "\"special_tokens\": {");
    for (int k = 0; k < 2; k++) {
        if (ids[k] < 0 || (k && ids[1] == ids[0]))
            continue;
        put_text(w, k && ids[0] >= 0 ? ", " : "");
        put_token(w, ids[k]);
        put_text(w, ": {\"id\": ");
        put_token(w, ids[k]);
        put_short(w, ", \"ids\": [%lld], \"tokens\": [", (long long)ids[k]);
        put_token(w, ids[k]);
        put_text(w, "]}");
    }
    put_text(w, "}},\n");
}

/* ---- the model -------------------------------------------------------------------------------------------------------------- */

static void put_merge(writing *w, const char **comma, tn_span left, tn_span right)
{
    put_text(w, *comma);
    put_text(w, "\n    \"");
    put_escaped(w, left.data, left.size);
    put_text(w, " ");
    put_escaped(w, right.data, right.size);
    put_text(w, "\"");
    *comma = ",";
}

static tn_span span_of(const tn_tokenizer *t, int32_t id) { return (tn_span){t->vocab.tokens[id].text, t->vocab.tokens[id].size}; }

static int by_rank(const void *a, const void *b)
{
    const tn_pair_rule *left = a, *right = b;
    return (left->rank > right->rank) - (left->rank < right->rank);
}

static bool put_pairs(writing *w, const char **comma)
{
    const tn_pairs *p = &w->t->pairs;
    size_t count = 0;
    tn_pair_rule *rules = tn_alloc(p->count * sizeof *rules);
    for (size_t i = 0; rules && i < p->count; i++)
        if (p->slots[i].left >= 0)
            rules[count++] = p->slots[i];
    if (count)
        qsort(rules, count, sizeof *rules, by_rank);
    for (size_t i = 0; i < count; i++)
        put_merge(w, comma, span_of(w->t, rules[i].left), span_of(w->t, rules[i].right));
    tn_free(rules, p->count * sizeof *rules);
    return rules != NULL;
}

/* A token in two parts that are tokens. */
typedef struct join {
    const tn_token *token;
    int32_t at, left, right; /* bytes of the left part; characters of both */
} join;

static int32_t characters(const char *text, int32_t size)
{
    int32_t count = 0;
    for (int32_t i = 0; i < size; i++)
        count += (text[i] & 0xc0) != 0x80;
    return count;
}

/* The best score first. Of equal ones, which SentencePiece merges from the left, the longest left part, so that what was merged last goes on to grow:
 * transformers' order when it converts such a model. */
static int by_score(const void *a, const void *b)
{
    const join *x = a, *y = b;
    if (x->token->score != y->token->score)
        return x->token->score < y->token->score ? 1 : -1;
    if (x->left != y->left)
        return x->left < y->left ? 1 : -1;
    return x->right != y->right ? (x->right < y->right ? 1 : -1) : (x->token > y->token) - (x->token < y->token);
}

/* One with a space never does, for spaces have become U+2581 by then; and a merge is written as two words. */
static bool merges(const tn_tokenizer *t, const char *text, int64_t size)
{
    const int32_t id = memchr(text, ' ', (size_t)size) ? -1 : tn_vocab_find(&t->vocab, text, size);
    return id >= 0 && (t->vocab.tokens[id].type == TN_TOKEN_NORMAL || t->vocab.tokens[id].type == TN_TOKEN_UNUSED);
}

/* Any two tokens that make a third merge, by its score, where all three are normal or unused. */
static bool put_joins(writing *w, const char **comma)
{
    const tn_tokenizer *t = w->t;
    size_t count = 0, room = 0;
    join *all = NULL;
    for (int64_t id = 0; id < t->vocab.count && w->good; id++) {
        const tn_token *token = &t->vocab.tokens[id];
        for (int32_t at = 1; at < token->size && merges(t, token->text, token->size); at++) {
            if (!merges(t, token->text, at) || !merges(t, token->text + at, token->size - at))
                continue;
            if (!(w->good = w->good && tn_grow(&all, count, &room, sizeof *all)))
                break;
            all[count++] = (join){token, at, characters(token->text, at), characters(token->text + at, token->size - at)};
        }
    }
    if (count)
        qsort(all, count, sizeof *all, by_score);
    for (size_t i = 0; i < count; i++)
        put_merge(w, comma, (tn_span){all[i].token->text, all[i].at}, (tn_span){all[i].token->text + all[i].at, all[i].token->size - all[i].at});
    tn_free(all, room * sizeof *all);
    return w->good;
}

static bool put_model(writing *w)
{
    const tn_tokenizer *t = w->t;
    const char *comma = "";
    put_text(w, "  \"model\": {\"type\": \"BPE\", \"dropout\": null, \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"unk_token\": ");
    if (t->unk >= 0 && is_there(&t->vocab.tokens[t->unk]))
        put_token(w, t->unk);
    else
        put_text(w, "null");
    put_short(w, ", \"fuse_unk\": false, \"byte_fallback\": %s, \"ignore_merges\": %s, \"vocab\": {",
              !t->letters && tn_vocab_find(&t->vocab, "<0x0A>", 6) >= 0 ? "true" : "false", t->whole_first ? "true" : "false");
    for (int64_t id = 0; id < t->vocab.count; id++) {
        if (!is_there(&t->vocab.tokens[id]))
            continue;
        put_short(w, "%s\n    ", comma);
        put_token(w, id);
        put_short(w, ": %lld", (long long)id);
        comma = ",";
    }
    put_text(w, "},\n  \"merges\": [");
    comma = "";
    const bool good = t->merge == TN_MERGE_PAIRS ? put_pairs(w, &comma) : put_joins(w, &comma);
    put_text(w, "]}\n}\n");
    return good;
}

bool tn_tokenizer_write(const tn_tokenizer *t, tn_bytes *out)
{
    writing w = {t, out, true};
    if (!tn_is_tokenizer("tokenizer_write", t) || !can_be_written(t))
        return false;
    put_text(&w, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    put_added(&w);
    if (t->letters)
        put_splitters(&w);
    else
        put_spaces(&w);
    put_template(&w);
    return put_model(&w) && w.good;
}

static void put_named(writing *w, const char *name, int64_t id)
{
    if (id < 0 || !is_there(&w->t->vocab.tokens[id]))
        return;
    put_short(w, "  \"%s\": ", name);
    put_token(w, id);
    put_text(w, ",\n");
}

bool tn_tokenizer_write_config(const tn_tokenizer *t, tn_bytes *out)
{
    writing w = {t, out, tn_is_tokenizer("tokenizer_write", t)};
    if (!w.good)
        return false;
    put_text(&w, "{\n");
    put_named(&w, "bos_token", t->bos);
    put_named(&w, "eos_token", t->eos);
    put_named(&w, "unk_token", t->unk);
    put_text(&w, "  \"clean_up_tokenization_spaces\": false,\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
    return w.good;
}
