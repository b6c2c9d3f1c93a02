/* Hugging Face's tokenizer.json (https://github.com/huggingface/tokenizers), and the JSON of tokens and scores that llama3.np and PyDyNet
 * read. What a file asks for and Tenon lacks is an error that names it: nothing is passed over. */
#include "text/text.h"

#ifdef TENON_HAVE_CJSON
#include "io/file.h"

#include <cjson/cJSON.h>
#include <math.h>

/* cJSON's texts end at a NUL, so that an escaped one stands as U+FDD0, which is no character, until it is read. */
#define NUL_STANDS_AS "\xef\xb7\x90"

typedef struct reader {
    tn_tokenizer *t;
    const tn_text_file *f;
    tn_bytes plain[2]; /* the last texts that had a NUL */
    int turn;
} reader;

static bool bad(const reader *r, const char *what)
{
    tn_fail(TN_ERR_FORMAT, "%s: %s: %s", r->f->op, r->f->path, what);
    return false;
}

static bool lacks(const reader *r, const char *kind, const char *type)
{
    tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: a %s of type \"%.40s\", so used: Tenon has none", r->f->op, r->f->path, kind, type ? type : "(none)");
    return false;
}

/* A text of the file, good until the call after the next. */
static tn_span text_of(reader *r, const char *text)
{
    tn_span plain = {text, (int64_t)strlen(text)};
    const char *at = strstr(text, NUL_STANDS_AS);
    if (!at)
        return plain;
    tn_bytes *b = &r->plain[r->turn = !r->turn];
    b->size = 0;
    for (; at; at = strstr(text, NUL_STANDS_AS)) {
        if (!tn_bytes_add(b, text, at - text) || !tn_bytes_add(b, "", 1))
            return (tn_span){"", 0};
        text = at + 3;
    }
    return tn_bytes_add(b, text, (int64_t)strlen(text)) ? (tn_span){b->data, (int64_t)b->size} : (tn_span){"", 0};
}

static const cJSON *get(const cJSON *object, const char *name) { return cJSON_GetObjectItemCaseSensitive(object, name); }
static const char *string(const cJSON *object, const char *name) { return cJSON_GetStringValue(get(object, name)); }
static bool is(const char *a, const char *b) { return a && strcmp(a, b) == 0; }
static bool is_true(const cJSON *object, const char *name) { return cJSON_IsTrue(get(object, name)); }
static bool there(const cJSON *item) { return item && !cJSON_IsNull(item); }

static bool whole(const cJSON *item, int64_t *value)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble < 1 << 30))
        return false;
    *value = (int64_t)item->valuedouble;
    return (double)*value == item->valuedouble;
}

/* ---- steps --------------------------------------------------------------------------------------------------------------- */

/* {"String": ...} or {"Regex": ...} as what the step looks for. */
static bool read_pattern(reader *r, const cJSON *pattern, tn_text_step *step)
{
    const char *text = string(pattern, "String"), *regex = string(pattern, "Regex");
    if (text && *text) {
        tn_span what = text_of(r, text);
        return tn_bytes_add(&step->what, what.data, what.size);
    }
    if (!regex)
        return bad(r, "a pattern that is neither a text nor a regular expression");
    step->pattern = tn_pattern_new(r->f->op, regex, (int64_t)strlen(regex), true);
    return step->pattern && tn_bytes_add(&step->what, regex, (int64_t)strlen(regex));
}

static bool read_content(reader *r, const cJSON *item, const char *name, tn_bytes *to)
{
    const char *text = string(item, name);
    if (!text)
        return bad(r, "a step without its text");
    tn_span span = text_of(r, text);
    return tn_bytes_add(to, span.data, span.size);
}

static tn_text_step *add(reader *r, tn_step_run run) { return tn_add_step(r->t, r->f->op, run); }

static bool read_normalizer(reader *r, const cJSON *item)
{
    const char *type = string(item, "type");
    tn_text_step *s;
    if (is(type, "Sequence")) {
        for (const cJSON *part = cJSON_IsArray(get(item, "normalizers")) ? get(item, "normalizers")->child : NULL; part; part = part->next)
            if (!read_normalizer(r, part))
                return false;
        return true;
    }
    if (is(type, "Prepend")) {
        if (!(s = add(r, tn_step_prepend)))
            return false;
        s->mode = TN_PREPEND_ALWAYS;
        return read_content(r, item, "prepend", &s->with);
    }
    if (is(type, "Replace"))
        return (s = add(r, tn_step_replace)) && read_pattern(r, get(item, "pattern"), s) && read_content(r, item, "content", &s->with);
    if (is(type, "NFC") || is(type, "NFD")) {
        if (!(s = add(r, tn_step_normal)))
            return false;
        s->flag = type[2] == 'C';
        return true;
    }
    if (is(type, "Strip")) {
        if (!(s = add(r, tn_step_strip)))
            return false;
        s->mode = is_true(item, "strip_left") | is_true(item, "strip_right") << 1;
        return true;
    }
    return lacks(r, "normalizer", type);
}

static bool read_split(reader *r, const cJSON *item)
{
    static const struct {
        const char *name;
        int mode;
    } modes[] = {{"Isolated", TN_SPLIT_ISOLATED},
                 {"Removed", TN_SPLIT_REMOVED},
                 {"MergedWithPrevious", TN_SPLIT_PREVIOUS},
                 {"MergedWithNext", TN_SPLIT_NEXT},
                 {"Contiguous", TN_SPLIT_CONTIGUOUS}};
    tn_text_step *s = add(r, tn_step_split);
    if (!s)
        return false;
    s->invert = is_true(item, "invert");
    for (int i = 0; i < TN_COUNT(modes); i++)
        if (is(string(item, "behavior"), modes[i].name)) {
            s->mode = modes[i].mode;
            return read_pattern(r, get(item, "pattern"), s);
        }
    return lacks(r, "split", string(item, "behavior"));
}

static bool read_metaspace(reader *r, const cJSON *item)
{
    const char *scheme = string(item, "prepend_scheme");
    const cJSON *old = get(item, "add_prefix_space"), *split = get(item, "split");
    tn_text_step *replace = add(r, tn_step_replace), *prepend = replace ? add(r, tn_step_prepend) : NULL, *s;
    if (!prepend || !tn_bytes_add(&replace->what, " ", 1) || !read_content(r, item, "replacement", &replace->with) ||
        !read_content(r, item, "replacement", &prepend->with))
        return false;
    prepend->flag = true;
    prepend->mode = is(scheme, "never") || (!scheme && cJSON_IsFalse(old)) ? TN_PREPEND_NEVER : is(scheme, "first") ? TN_PREPEND_FIRST : TN_PREPEND_ALWAYS;
    if (scheme && !is(scheme, "never") && !is(scheme, "first") && !is(scheme, "always"))
        return lacks(r, "prepend_scheme", scheme);
    if (cJSON_IsFalse(split))
        return true;
    if (!(s = add(r, tn_step_split)))
        return false;
    s->mode = TN_SPLIT_NEXT;
    return read_content(r, item, "replacement", &s->what);
}

static bool read_pre_tokenizer(reader *r, const cJSON *item)
{
    const char *type = string(item, "type");
    tn_text_step *s;
    if (r->t->letters)
        return lacks(r, "pre_tokenizer behind ByteLevel", type);
    if (is(type, "Sequence")) {
        for (const cJSON *part = cJSON_IsArray(get(item, "pretokenizers")) ? get(item, "pretokenizers")->child : NULL; part; part = part->next)
            if (!read_pre_tokenizer(r, part))
                return false;
        return true;
    }
    if (is(type, "ByteLevel")) {
        if (is_true(item, "add_prefix_space")) {
            if (!(s = add(r, tn_step_prepend)) || !tn_bytes_add(&s->with, " ", 1))
                return false;
            s->mode = TN_PREPEND_ALWAYS;
            s->flag = true;
        }
        r->t->letters = true;
        return cJSON_IsFalse(get(item, "use_regex")) ||
               tn_add_split(r->t, r->f->op, tn_pattern_gpt2, (int64_t)strlen(tn_pattern_gpt2), TN_SPLIT_ISOLATED, false);
    }
    if (is(type, "Split"))
        return read_split(r, item);
    if (is(type, "Metaspace"))
        return read_metaspace(r, item);
    if (is(type, "Digits"))
        return tn_add_split(r->t, r->f->op, "\\p{N}", 5, is_true(item, "individual_digits") ? TN_SPLIT_ISOLATED : TN_SPLIT_CONTIGUOUS, false);
    return lacks(r, "pre_tokenizer", type);
}

/* ---- the model ----------------------------------------------------------------------------------------------------------- */

/* Counts tokens and their bytes, and finds the largest id. */
static bool measure(const reader *r, const cJSON *vocab, const cJSON *added, int64_t *most, int64_t *bytes)
{
    int64_t count = 0, id;
    *most = -1;
    *bytes = 0;
    for (const cJSON *item = vocab->child; item; item = item->next, count++) {
        if (!whole(item, &id))
            return bad(r, "a token of the vocabulary whose id is none");
        *most = id > *most ? id : *most;
        *bytes += (int64_t)strlen(item->string);
    }
    for (const cJSON *item = added ? added->child : NULL; item; item = item->next, count++) {
        if (!whole(get(item, "id"), &id) || !string(item, "content"))
            return bad(r, "an added token without id and content");
        *most = id > *most ? id : *most;
        *bytes += (int64_t)strlen(string(item, "content"));
    }
    return (count > 0 && *most <= 2 * count + 65536) || bad(r, "no vocabulary, or one with more holes than tokens");
}

static bool read_vocab(reader *r, const cJSON *vocab, const cJSON *added)
{
    tn_tokenizer *t = r->t;
    int64_t most, bytes;
    bool known;
    if (!measure(r, vocab, added, &most, &bytes) || !tn_vocab_init(&t->vocab, most + 1, bytes) || !tn_finish_vocab(t))
        return false;
    for (const cJSON *item = vocab->child; item; item = item->next) {
        tn_span text = text_of(r, item->string);
        if (!tn_vocab_set(&t->vocab, (int64_t)item->valuedouble, text.data, text.size, TN_TOKEN_NORMAL, 0, &known) || known)
            return tn_failing() ? false : bad(r, "a token or an id that is there twice");
    }
    for (const cJSON *item = added ? added->child : NULL; item; item = item->next) {
        tn_span text = text_of(r, string(item, "content"));
        int32_t id = tn_vocab_find(&t->vocab, text.data, text.size);
        int64_t said = (int64_t)get(item, "id")->valuedouble;
        int type = is_true(item, "special") ? TN_TOKEN_CONTROL : TN_TOKEN_USER;
        if (id < 0 && (!tn_vocab_set(&t->vocab, said, text.data, text.size, type, 0, &known) || known))
            return tn_failing() ? false : bad(r, "an added token whose id another one has");
        t->special[id < 0 ? said : id] |= is_true(item, "special");
    }
    return true;
}

/* "a b" or ["a", "b"]. */
static bool read_merge(reader *r, const cJSON *item, int32_t rank)
{
    tn_span left = {NULL, 0}, right;
    if (cJSON_IsString(item)) {
        left = text_of(r, item->valuestring);
        const char *gap = memchr(left.data, ' ', (size_t)left.size);
        right = gap ? (tn_span){gap + 1, left.data + left.size - gap - 1} : left;
        left.size = gap ? gap - left.data : 0;
    } else if (cJSON_IsArray(item) && cJSON_GetArraySize(item) == 2 && cJSON_IsString(item->child) && cJSON_IsString(item->child->next)) {
        left = text_of(r, item->child->valuestring);
        right = text_of(r, item->child->next->valuestring);
    }
    if (left.size && tn_add_merge(r->t, left, right, rank))
        return true;
    return !tn_failing() && bad(r, "a merge of tokens that the vocabulary has not");
}

static bool read_model(reader *r, const cJSON *model, const cJSON *added)
{
    tn_tokenizer *t = r->t;
    const cJSON *vocab = get(model, "vocab"), *merges = get(model, "merges");
    const char *type = string(model, "type"), *unk = string(model, "unk_token"), *prefix = string(model, "continuing_subword_prefix"),
               *suffix = string(model, "end_of_word_suffix");
    if ((type && !is(type, "BPE")) || !cJSON_IsObject(vocab) || !cJSON_IsArray(merges))
        return lacks(r, "model", type ? type : "no BPE");
    if ((prefix && *prefix) || (suffix && *suffix))
        return lacks(r, "BPE model", prefix && *prefix ? "with continuing_subword_prefix" : "with end_of_word_suffix");
    if (get(model, "dropout") && get(model, "dropout")->valuedouble > 0)
        return lacks(r, "BPE model", "with dropout");
    if (!read_vocab(r, vocab, added) || !tn_pairs_init(&t->pairs, cJSON_GetArraySize(merges)))
        return false;
    int32_t rank = 0;
    for (const cJSON *item = merges->child; item; item = item->next)
        if (!read_merge(r, item, rank++))
            return false;
    t->unk = unk ? tn_model_token(t, unk, (int64_t)strlen(unk)) : -1;
    t->byte_fallback = is_true(model, "byte_fallback");
    t->fuse_unknown = is_true(model, "fuse_unk");
    t->whole_first = is_true(model, "ignore_merges");
    t->merge = TN_MERGE_PAIRS;
    return true;
}

/* ---- added tokens -------------------------------------------------------------------------------------------------------- */

/* The content as the normalizer, the steps from the third to the late one, leaves it. */
typedef struct sink {
    tn_encoder e;
    tn_bytes text;
} sink;
static bool collect(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    (void)step;
    return tn_bytes_add(&((sink *)(void *)e)->text, p.text, p.size);
}

static bool normalized(tn_tokenizer *t, tn_text_step *late, const char *text, tn_bytes *out)
{
    sink s = {.e = {.tokenizer = t}};
    tn_text_step *first = &t->steps[2];
    late->run = collect;
    bool good = first->run(&s.e, first, (tn_piece){text, (int64_t)strlen(text), true});
    late->run = tn_step_added;
    for (int i = 0; i < TN_STEPS_MAX; i++)
        tn_bytes_free(&s.e.texts[i]);
    *out = s.text;
    return good;
}

/* A token is written as the normalizer leaves it. */
static bool show(tn_tokenizer *t, int32_t id, tn_span content, const tn_bytes *text)
{
    size_t bytes = (size_t)t->vocab.count * sizeof *t->shown;
    if (content.size == (int64_t)text->size && memcmp(content.data, text->data, text->size) == 0)
        return true;
    if (!t->shown && (t->shown = tn_alloc(bytes)))
        memset(t->shown, 0xff, bytes);
    if (!t->shown || t->shown_texts.size > INT32_MAX / 2)
        return false;
    t->shown[id] = (int32_t)t->shown_texts.size;
    return tn_bytes_add(&t->shown_texts, text->data, (int64_t)text->size) && tn_bytes_add(&t->shown_texts, "", 1);
}

/* The added tokens that are looked for before the normalizer, or those behind it. */
static bool read_added(reader *r, const cJSON *added, tn_text_step *step, bool behind)
{
    tn_tokenizer *t = r->t;
    for (const cJSON *item = added ? added->child : NULL; item; item = item->next) {
        tn_bytes text = {0};
        tn_span content = text_of(r, string(item, "content"));
        int32_t id = tn_vocab_find(&t->vocab, content.data, content.size);
        if (is_true(item, "normalized") != behind || content.size == 0)
            continue;
        bool good = behind ? normalized(t, step, string(item, "content"), &text) : tn_bytes_add(&text, content.data, content.size);
        tn_added a = {id, is_true(item, "special"), is_true(item, "single_word"), is_true(item, "lstrip"), is_true(item, "rstrip")};
        good = good && (text.size == 0 || tn_add_token(t, step, text.data, (int64_t)text.size, a)) && (!behind || show(t, id, content, &text));
        tn_bytes_free(&text);
        if (!good)
            return false;
    }
    return true;
}

/* ---- post_processor and decoder ------------------------------------------------------------------------------------------ */

static bool read_template(reader *r, const cJSON *item)
{
    tn_tokenizer *t = r->t;
    bool seen = false;
    const cJSON *single = get(item, "single");
    for (const cJSON *part = single ? single->child : NULL; part; part = part->next) {
        const cJSON *special = get(part, "SpecialToken"), *ids = get(get(get(item, "special_tokens"), special ? string(special, "id") : ""), "ids");
        if (!special) {
            if (seen || !is(string(get(part, "Sequence"), "id"), "A"))
                return lacks(r, "post_processor", "TemplateProcessing");
            seen = true;
            continue;
        }
        for (const cJSON *number = cJSON_IsArray(ids) ? ids->child : NULL; number; number = number->next) {
            int64_t id;
            int *count = seen ? &t->behind_count : &t->before_count;
            if (!whole(number, &id) || id >= t->vocab.count || *count == TN_COUNT(t->before))
                return bad(r, "a template whose token is none, or too many of them");
            (seen ? t->behind : t->before)[(*count)++] = id;
        }
        if (!cJSON_IsArray(ids))
            return bad(r, "a template whose token is none");
    }
    return seen || bad(r, "a template without the text");
}

static bool read_post_processor(reader *r, const cJSON *item)
{
    const char *type = string(item, "type");
    if (is(type, "Sequence")) {
        for (const cJSON *part = cJSON_IsArray(get(item, "processors")) ? get(item, "processors")->child : NULL; part; part = part->next)
            if (!read_post_processor(r, part))
                return false;
        return true;
    }
    if (is(type, "TemplateProcessing"))
        return read_template(r, item);
    return is(type, "ByteLevel") || lacks(r, "post_processor", type);
}

/* One decoder of a chain; *fused: those before it have joined the tokens. */
static bool read_decoder(reader *r, const cJSON *item, bool *fused)
{
    tn_tokenizer *t = r->t;
    const char *type = string(item, "type"), *content = string(item, "content");
    int64_t start, stop;
    if (is(type, "Sequence")) {
        for (const cJSON *part = cJSON_IsArray(get(item, "decoders")) ? get(item, "decoders")->child : NULL; part; part = part->next)
            if (!read_decoder(r, part, fused))
                return false;
        return true;
    }
    if (is(type, "Fuse")) {
        *fused = true;
        return true;
    }
    if (is(type, "Strip") && *fused && content && content[0] && !content[1] && (unsigned char)content[0] < 128 && whole(get(item, "start"), &start) &&
        whole(get(item, "stop"), &stop) && stop == 0 && t->strip_count == 0) {
        t->strip = content[0];
        t->strip_count = (int)start;
        return true;
    }
    if (*fused || t->decode_letters)
        return lacks(r, "decoder", type);
    if (is(type, "ByteLevel")) {
        t->decode_letters = true;
        t->lossy = TN_LOSSY_PART;
        return !t->from.size && !t->decode_bytes ? true : lacks(r, "decoder", type);
    }
    if (is(type, "ByteFallback")) {
        t->decode_bytes = true;
        return true;
    }
    if (is(type, "Replace") && !t->from.size && string(get(item, "pattern"), "String") && *string(get(item, "pattern"), "String"))
        return read_content(r, get(item, "pattern"), "String", &t->from) && read_content(r, item, "content", &t->to);
    if (is(type, "Metaspace") && !t->from.size) {
        t->drop_first = !is(string(item, "prepend_scheme"), "never") && !(!string(item, "prepend_scheme") && cJSON_IsFalse(get(item, "add_prefix_space")));
        return read_content(r, item, "replacement", &t->from) && tn_bytes_add(&t->to, " ", 1);
    }
    return lacks(r, "decoder", type);
}

/* The token that a text begins or ends with: the template's, or the first of the usual names that there is. */
static int64_t find_end(const tn_tokenizer *t, const int64_t *ids, int count, const char *const *names)
{
    if (count == 1)
        return ids[0];
    for (; *names; names++) {
        int32_t id = tn_vocab_find(&t->vocab, *names, (int64_t)strlen(*names));
        if (id >= 0 && t->special[id])
            return id;
    }
    return -1;
}

static bool read_hugging_face(reader *r, const cJSON *root)
{
    static const char *const begins[] = {"<s>", "<|begin_of_text|>", NULL};
    static const char *const ends[] = {"</s>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", NULL};
    tn_tokenizer *t = r->t;
    const cJSON *added = cJSON_IsArray(get(root, "added_tokens")) ? get(root, "added_tokens") : NULL;
    const cJSON *normalizer = get(root, "normalizer"), *pre = get(root, "pre_tokenizer"), *post = get(root, "post_processor"),
                *decoder = get(root, "decoder");
    bool fused = false;
    tn_text_step *early, *late;
    if (!read_model(r, get(root, "model"), added) || !add(r, tn_step_mend) || !(early = add(r, tn_step_added)) || !read_added(r, added, early, false) ||
        (there(normalizer) && !read_normalizer(r, normalizer)))
        return false;
    if (!(late = add(r, tn_step_added)) || !read_added(r, added, late, true) || (there(pre) && !read_pre_tokenizer(r, pre)) || !add(r, tn_step_merge))
        return false;
    t->unit = t->letters ? TN_UNIT_BYTE : TN_UNIT_CHARACTER;
    if (t->letters)
        tn_find_letters(t);
    else
        tn_find_bytes(t);
    t->file_name = "tokenizer.json";
    t->decode = tn_decode_json;
    t->lossy = TN_LOSSY_EACH_BYTE;
    t->join_spaces = !there(decoder);
    if ((there(post) && !read_post_processor(r, post)) || (there(decoder) && !read_decoder(r, decoder, &fused)))
        return false;
    t->tells_ends = true;
    t->bos = find_end(t, t->before, t->before_count, begins);
    t->eos = find_end(t, t->behind, t->behind_count, ends);
    return true;
}

/* ---- llama3.np's --------------------------------------------------------------------------------------------------------- */

/* Tokenizer of llama3.np's tokenizer.py: characters, merged by score; those that are no tokens are left out. */
static bool read_tokens_and_scores(reader *r, const cJSON *tokens, const cJSON *scores)
{
    tn_tokenizer *t = r->t;
    int64_t count = cJSON_GetArraySize(tokens), bytes = 0, id = 0;
    bool known;
    if (count == 0 || count != cJSON_GetArraySize(scores))
        return bad(r, "not as many tokens as scores, or none");
    for (const cJSON *item = tokens->child; item; item = item->next) {
        if (!cJSON_IsString(item))
            return bad(r, "a token that is no text");
        bytes += (int64_t)strlen(item->valuestring);
    }
    if (!tn_vocab_init(&t->vocab, count, bytes) || !tn_finish_vocab(t))
        return false;
    const cJSON *score = scores->child;
    for (const cJSON *item = tokens->child; item; item = item->next, score = score->next) {
        tn_span text = text_of(r, item->valuestring);
        if (!cJSON_IsNumber(score) || !isfinite((float)score->valuedouble))
            return bad(r, "a score that is no number");
        if (!tn_vocab_set(&t->vocab, id++, text.data, text.size, TN_TOKEN_NORMAL, (float)score->valuedouble, &known))
            return false;
    }
    tn_text_step *added = add(r, tn_step_added);
    for (int64_t i = 1; added && i < 3 && i < count; i++) {
        const tn_token *token = &t->vocab.tokens[i];
        t->special[i] = true;
        if (token->size && !tn_add_token(t, added, token->text, token->size, (tn_added){(int32_t)i, .special = true}))
            return false;
    }
    t->any_type = true;
    t->unit = TN_UNIT_CHARACTER;
    t->merge = TN_MERGE_SCORES;
    t->bos = count > 1 ? 1 : -1; /* tokenizer.py's */
    t->eos = count > 2 ? 2 : -1;
    t->file_name = "tokenizer.model.np";
    t->decode = tn_decode_texts;
    t->lossy = TN_LOSSY_EACH_BYTE;
    return added && add(r, tn_step_mend) && add(r, tn_step_known) && add(r, tn_step_merge);
}

/* ---- the file ------------------------------------------------------------------------------------------------------------ */

/* \u0000 becomes \ufdd0, in a text that may be changed. */
static void stand_for_nul(char *text, int64_t size)
{
    for (int64_t i = 0; i + 5 < size; i++) {
        if (text[i] != '\\')
            continue;
        if (memcmp(text + i + 1, "u0000", 5) == 0)
            memcpy(text + i + 2, "fdd0", 4);
        i++;
    }
}

bool tn_read_json(tn_tokenizer *t, const tn_text_file *f)
{
    reader r = {.t = t, .f = f};
    char *text = tn_is_utf8(f->data, (size_t)f->size) && !memchr(f->data, 0, (size_t)f->size) ? tn_alloc((size_t)f->size) : NULL;
    if (!text)
        return !tn_failing() && bad(&r, "JSON that is not UTF-8");
    memcpy(text, f->data, (size_t)f->size);
    stand_for_nul(text, f->size);
    const char *end = NULL;
    TN_C_NUMBERS;
    cJSON *root = cJSON_ParseWithLengthOpts(text, (size_t)f->size, &end, false);
    while (root && end < text + f->size && strchr(" \t\r\n", *end))
        end++;
    bool good = root && end == text + f->size;
    if (!good)
        tn_fail(TN_ERR_FORMAT, "%s: %s: no JSON: see byte %lld", f->op, f->path, (long long)(end ? end - text : 0));
    else if (cJSON_IsArray(get(root, "tokens")) && cJSON_IsArray(get(root, "scores")))
        good = read_tokens_and_scores(&r, get(root, "tokens"), get(root, "scores"));
    else if (cJSON_IsObject(get(root, "model")))
        good = read_hugging_face(&r, root);
    else
        good = bad(&r, "JSON without a \"model\", and without \"tokens\" and \"scores\": no tokenizer that Tenon knows");
    cJSON_Delete(root);
    tn_free(text, (size_t)f->size);
    tn_bytes_free(&r.plain[0]);
    tn_bytes_free(&r.plain[1]);
    return good;
}

#else

bool tn_read_json(tn_tokenizer *t, const tn_text_file *f)
{
    (void)t;
    tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: this build is without cJSON: build with it (libcjson-dev)", f->op, f->path);
    return false;
}

#endif
