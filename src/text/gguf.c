/* A tokeniser from the arrays of a GGUF file's header (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), and any tokeniser as such. */
#include "text/text.h"

#include "io/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

/* The longest first. */
static int by_size(const void *a, const void *b)
{
    const tn_candidate *left = a, *right = b;
    return left->size != right->size ? (left->size < right->size ? 1 : -1) : left->id < right->id ? -1 : 1;
}

/* Control tokens and the unknown one where the caller allows it, user-defined ones always; the longest first, over the whole text. */
static bool read_added(tn_tokenizer *t, tn_text_step *step)
{
    int64_t count = 0;
    tn_candidate *found = tn_alloc((size_t)t->vocab.count * sizeof *found);
    bool good = found != NULL;
    for (int64_t id = 0; good && id < t->vocab.count; id++) {
        const tn_token *token = &t->vocab.tokens[id];
        t->special[id] = token->type == TN_TOKEN_CONTROL;
        if ((t->special[id] || token->type == TN_TOKEN_UNKNOWN || token->type == TN_TOKEN_USER) && token->size)
            found[count++] = (tn_candidate){0, token->size, (int32_t)id};
    }
    if (count)
        qsort(found, (size_t)count, sizeof *found, by_size);
    for (int64_t i = 0; good && i < count; i++) {
        const tn_token *token = &t->vocab.tokens[found[i].id];
        good = tn_add_token(t, step, token->text, token->size, (tn_added){found[i].id, .special = token->type != TN_TOKEN_USER});
    }
    tn_free(found, (size_t)t->vocab.count * sizeof *found);
    step->flag = true;
    return good;
}

/* SentencePiece's BPE as llama.cpp has it: tokens of any type merge, and bytes that are no UTF-8 stay bytes. What GGUF keeps of a normaliser is whether
 * a space is put in front, of the text and behind each token that was found in it. */
static bool read_llama(tn_tokenizer *t, const tn_tokenizer_gguf_args *a)
{
    static const char op[] = "tokenizer_gguf_new";
    tn_text_step *added = tn_add_step(t, op, tn_step_added);
    if (!added || !read_added(t, added) || !tn_add_step(t, op, tn_step_sentencepiece) || !tn_add_step(t, op, tn_step_merge))
        return false;
    for (int64_t id = 0; id < t->vocab.count && t->unk < 0; id++)
        t->unk = t->vocab.tokens[id].type == TN_TOKEN_UNKNOWN ? id : -1;
    tn_find_bytes(t);
    for (int i = 0; i < 256; i++)
        t->bytes[i] = t->bytes[i] >= 0 ? t->bytes[i] : tn_vocab_find(&t->vocab, &(char){(char)i}, 1);
    t->escape_spaces = t->byte_fallback = t->any_type = true;
    t->merge = TN_MERGE_SCORES;
    t->unit = TN_UNIT_CHARACTER;
    t->decode = tn_decode_gguf;
    t->lossy = TN_LOSSY_RAW;
    t->dummy_prefix = a->add_space_prefix;
    t->strip = ' ';
    t->strip_count = a->add_space_prefix;
    return true;
}

/* The splitters of the models of each name, as their tokenizer.json has them, one after the other; with Qwen's own, the normal form C. */
#define DIGITS "\\p{N}" /* each one alone */
#define PUNCTUATED " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
static const char deepseek_letters[] = "\\s?\\p{L}+", deepseek_signs[] = "\\s?\\p{P}+", deepseek_east[] = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";

typedef struct splitter {
    const char *names; /* with spaces between; the first is what is written */
    const char *patterns[6];
    bool compose, whole_first, begins; /* begins: the beginning's token stands in front unless the file says that it does not */
} splitter;
static const splitter splitters[] = {
    {.names = "gpt-2 phi-2 mpt olmo jais jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert exaone4 trillion granite-docling",
     .patterns = {tn_pattern_gpt2}},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .patterns = {tn_pattern_llama3}, .whole_first = true, .begins = true},
    {.names = "smaug-bpe dbrx", .patterns = {tn_pattern_llama3}},
    {.names = "qwen2 deepseek-r1-qwen", .patterns = {tn_pattern_qwen2}, .compose = true},
    {.names = "stablelm2 megrez kormo f2llmv2 hunyuan solar-open grok-2", .patterns = {tn_pattern_qwen2}},
    {.names = "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", .patterns = {DIGITS, tn_pattern_gpt2}},
    {.names = "tekken", .patterns = {tn_pattern_tekken}, .whole_first = true, .begins = true},
    {.names = "deepseek-coder", .patterns = {"[\r\n]", deepseek_letters, deepseek_signs, deepseek_east, DIGITS}},
    {.names = "seed-coder", .patterns = {tn_pattern_seed_coder}},
    {.names = "minicpm5", .patterns = {"\\p{N}{1,3}", tn_pattern_minicpm5}, .whole_first = true},
    {.names = "ufakzeka", .patterns = {tn_pattern_ufakzeka}},
    {.names = "viking", .patterns = {PUNCTUATED, DIGITS}},
    {.names = "bloom poro-chat gpt3-finnish", .patterns = {PUNCTUATED}},
};

/* How long the name is that a list begins with. */
static size_t name_length(const char *names) { return strcspn(names, " "); }

static const splitter *find_splitter(const char *pre)
{
    for (int k = 0; pre && k < TN_COUNT(splitters); k++) {
        size_t length;
        for (const char *name = splitters[k].names; *name; name += length + (name[length] == ' ')) {
            length = name_length(name);
            if (length == strlen(pre) && memcmp(pre, name, length) == 0)
                return &splitters[k];
        }
    }
    return NULL;
}

bool tn_gguf_begins(const char *model, const char *pre)
{
    const splitter *known = model && strcmp(model, "gpt2") == 0 ? find_splitter(pre) : NULL;
    return known ? known->begins : model && strcmp(model, "llama") == 0;
}

static bool refuse_pre(const char *op, const char *pre)
{
    tn_text_out names = {tn_text_buffer(), TN_TEXT_SIZE, 0};
    for (int k = 0; k < TN_COUNT(splitters); k++)
        tn_put(&names, "%s%.*s", k ? ", " : "", (int)name_length(splitters[k].names), splitters[k].names);
    tn_fail(TN_ERR_UNSUPPORTED, "%s: pre is %s%.40s%s: Tenon has %s and other names of these", op, pre ? "\"" : "", pre ? pre : "not said", pre ? "\"" : "", names.text);
    return false;
}

static bool add_splits(tn_tokenizer *t, const char *op, const splitter *known)
{
    bool good = true;
    for (int i = 0; good && i < TN_COUNT(known->patterns) && known->patterns[i]; i++)
        good = tn_add_split(t, op, known->patterns[i], (int64_t)strlen(known->patterns[i]), TN_SPLIT_ISOLATED, false);
    return good;
}

static bool read_gpt2(tn_tokenizer *t, const tn_tokenizer_gguf_args *a)
{
    static const char op[] = "tokenizer_gguf_new";
    const splitter *known = find_splitter(a->pre);
    if (!known)
        return refuse_pre(op, a->pre);
    tn_text_step *added, *mend, *normal;
    if (!read_merges(t, a) || !(added = tn_add_step(t, op, tn_step_added)) || !read_added(t, added) || !(mend = tn_add_step(t, op, tn_step_mend)))
        return false;
    mend->flag = true;
    if (known->compose) {
        if (!(normal = tn_add_step(t, op, tn_step_normal)))
            return false;
        normal->flag = true;
    }
    if (!add_splits(t, op, known) || !tn_add_step(t, op, tn_step_merge))
        return false;
    t->merge = TN_MERGE_PAIRS;
    t->unit = TN_UNIT_BYTE;
    t->letters = t->names_letters = true;
    t->whole_first = known->whole_first;
    t->decode = tn_decode_gguf;
    t->lossy = TN_LOSSY_RAW;
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
    t->file_name = "tokenizer.json";
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

/* ---- the way back -------------------------------------------------------------------------------------------------------- */

static const char metaspace[] = "\xe2\x96\x81";

/* Texts one behind the other, each ended by a 0. */
typedef struct texts {
    tn_bytes bytes;
    int64_t count;
} texts;

typedef struct ggml {
    const tn_tokenizer *t;
    int64_t count;            /* of the tokens that are written */
    const splitter *splitter; /* of "gpt2"; NULL: the model is "llama" */
    bool space_prefix;
    float *scores;  /* [count] */
    int32_t *types; /* [count] */
    tn_pair_rule *merges; /* [merge_room] by their rank; left -1: none */
    size_t merge_room;
} ggml;

static bool is_text(const tn_bytes *b, const char *text) { return b->size == strlen(text) && memcmp(b->data, text, b->size) == 0; }

/* The steps that say how text is split, one after the other; the last one is the model. */
static const tn_text_step *next_step(const tn_tokenizer *t, int *i)
{
    const tn_text_step *s;
    do
        s = &t->steps[(*i)++];
    while (s->run == tn_step_mend || s->run == tn_step_added || s->run == tn_step_tiktoken);
    return s;
}

static bool splits_by(const tn_text_step *s, const char *pattern)
{
    return s->run == tn_step_split && s->pattern && s->mode == TN_SPLIT_ISOLATED && !s->invert && is_text(&s->what, pattern);
}

/* Whether some token goes on behind its last line's end. Without such a one white space at a text's end is the same tokens in one piece, which
 * cl100k's pattern makes of it, and in two, as Llama 3's has it; cl100k's own ranks have none. */
static bool lines_go_on(const tn_tokenizer *t)
{
    for (const tn_token *token = t->vocab.tokens, *end = token + t->vocab.count; token < end; token++) {
        int32_t line = token->size;
        while (line > 0 && token->text[line - 1] != '\n' && token->text[line - 1] != '\r')
            line--;
        if (line > 0 && line < token->size && !t->special[token - t->vocab.tokens])
            return true;
    }
    return false;
}

static bool splits_as(const tn_tokenizer *t, const tn_text_step *s, const char *pattern)
{
    return splits_by(s, pattern) || (pattern == tn_pattern_llama3 && t->merge == TN_MERGE_IDS && splits_by(s, tn_pattern_cl100k) && !lines_go_on(t));
}

static bool is_split_so(const tn_tokenizer *t, const splitter *known)
{
    int i = 0;
    const tn_text_step *s = next_step(t, &i);
    if (known->compose && (s->run != tn_step_normal || !s->flag || !(s = next_step(t, &i))))
        return false;
    for (int k = 0; k < TN_COUNT(known->patterns) && known->patterns[k]; k++, s = next_step(t, &i))
        if (!splits_as(t, s, known->patterns[k]))
            return false;
    return s->run == tn_step_merge && t->whole_first == known->whole_first;
}

/* Spaces become U+2581, with one in front or not, and nothing splits: SentencePiece's way. */
static bool is_sentencepieces(const tn_tokenizer *t, bool *prefix)
{
    bool escaped = false;
    int i = 0;
    *prefix = false;
    for (const tn_text_step *s = next_step(t, &i); s->run != tn_step_merge; s = next_step(t, &i)) {
        const bool replaces = s->run == tn_step_replace && !s->pattern && is_text(&s->what, " ");
        if (!is_text(&s->with, metaspace) || !(replaces || (s->run == tn_step_prepend && s->mode == TN_PREPEND_ALWAYS && !s->flag)))
            return false;
        escaped |= replaces;
        *prefix |= !replaces;
    }
    return escaped;
}

/* Of SentencePiece's pieces and their types, from its own file or GGUF's. */
static bool of_pieces(const tn_tokenizer *t) { return t->step_count > 1 && t->steps[1].run == tn_step_sentencepiece; }

static bool is_in(const tn_trie *trie, const tn_token *token)
{
    int32_t value;
    return token->size && tn_trie_longest(trie, token->text, token->size, &value) == token->size;
}

/* Whether another token b, as long as a or longer, may begin within a, at `from`, where a is the longest token that begins at its place. */
static bool hides(const tn_trie *trie, const tn_token *a, int32_t from, const tn_token *b)
{
    const int32_t both = a->size - from; /* bytes of a and of b */
    int32_t node = 0;
    if (b == a || b->size < a->size || !is_in(trie, b) || memcmp(a->text + from, b->text, (size_t)both) != 0)
        return false;
    for (int32_t i = 0; i < a->size; i++)
        node = tn_trie_step(trie, node, (unsigned char)a->text[i]);
    for (int32_t i = both; i < b->size && (node = tn_trie_step(trie, node, (unsigned char)b->text[i])) >= 0; i++)
        if (trie->values[node] >= 0)
            return false;
    return true;
}

/* Whether tokens overlap so that the leftmost, which counts here, is not the longest, which llama.cpp looks for first. */
static bool overlap(const tn_tokenizer *t, const tn_trie *trie)
{
    for (const tn_token *a = t->vocab.tokens, *end = a + t->vocab.count; trie->nodes && a < end; a++)
        for (int32_t from = 1; from < a->size && is_in(trie, a); from++) {
            int32_t node = 0;
            for (int32_t i = from; i < a->size && node >= 0; i++)
                node = tn_trie_step(trie, node, (unsigned char)a->text[i]);
            for (const tn_token *b = t->vocab.tokens; node >= 0 && b < end; b++) /* something begins with the rest of a */
                if (hides(trie, a, from, b))
                    return true;
        }
    return false;
}

/* A SentencePiece model's own tokens that llama.cpp finds otherwise: it puts a space behind them too, and looks for them where no space is U+2581 yet. */
static bool finds_otherwise(const tn_tokenizer *t)
{
    for (int64_t id = 0; t->user.nodes && id < t->vocab.count; id++) {
        const tn_token *token = &t->vocab.tokens[id];
        if (token->type == TN_TOKEN_USER && (t->dummy_prefix || memmem(token->text, (size_t)token->size, metaspace, sizeof metaspace - 1)))
            return true;
    }
    return overlap(t, &t->user);
}

/* What of a tokeniser GGUF cannot say; NULL: it can say all. */
static const char *obstacle(ggml *g)
{
    const tn_tokenizer *t = g->t;
    for (size_t i = 0; i < t->added_count; i++)
        if (t->added[i].left || t->added[i].right || t->added[i].single_word)
            return "added tokens that take white space with them or stand alone";
    bool normalised = false;
    for (int i = 0; i < t->step_count; i++) {
        const bool finds = t->steps[i].run == tn_step_added;
        if (finds && normalised && t->steps[i].trie.nodes)
            return "added tokens that are found in normalised text";
        if (finds && !t->steps[i].flag && overlap(t, &t->steps[i].trie))
            return "added tokens that overlap, which llama.cpp finds otherwise";
        normalised |= !finds && t->steps[i].run != tn_step_mend;
    }
    if (t->before_count > (t->bos >= 0) || t->behind_count > (t->eos >= 0) || (t->before_count && t->before[0] != t->bos) ||
        (t->behind_count && t->behind[0] != t->eos))
        return "a template of more than the beginning and the end";
    g->space_prefix = true;
    if (t->decode == tn_decode_llama2c)
        return NULL;
    g->space_prefix = t->dummy_prefix;
    if (of_pieces(t) && t->steps[t->step_count - 1].run == tn_step_unigram)
        return "a unigram model";
    if (of_pieces(t))
        return t->charsmap_units || t->remove_spaces || t->suffix || !t->escape_spaces ? "a normaliser"
               : !t->byte_fallback                                                     ? "no tokens of bytes"
               : finds_otherwise(t)                                                    ? "user-defined tokens, which llama.cpp finds otherwise"
                                                                                       : NULL;
    if (t->merge == TN_MERGE_SCORES || t->join_spaces)
        return t->join_spaces ? "no decoder" : "rules of llama3.np";
    if (t->unit == TN_UNIT_CHARACTER && (!t->byte_fallback || t->whole_first))
        return t->whole_first ? "ignore_merges" : "no tokens of bytes";
    if (t->unit == TN_UNIT_CHARACTER)
        return is_sentencepieces(t, &g->space_prefix) ? NULL : "a normaliser or splitter";
    for (int k = 0; k < TN_COUNT(splitters) && !g->splitter; k++)
        g->splitter = is_split_so(t, &splitters[k]) ? &splitters[k] : NULL;
    return g->splitter ? NULL : "a splitter";
}

static bool refuse(const char *what)
{
    tn_fail(TN_ERR_UNSUPPORTED, "gguf_set_tokenizer: GGUF cannot hold this tokenizer, for it has %s", what);
    return false;
}

static int32_t type_of(const tn_tokenizer *t, int64_t id)
{
    const tn_token *token = id < t->vocab.count ? &t->vocab.tokens[id] : NULL;
    if (!token || !token->text)
        return TN_TOKEN_UNUSED;
    if (of_pieces(t))
        return token->type;
    if (id == t->unk && t->unit != TN_UNIT_BYTE)
        return TN_TOKEN_UNKNOWN;
    if (t->special[id])
        return TN_TOKEN_CONTROL;
    const int byte = t->byte_fallback ? tn_byte_token(token->text, token->size) : -1;
    return byte >= 0 && t->bytes[byte] == id ? TN_TOKEN_BYTE : token->type;
}

/* Whether the token's text is bytes, which GGUF has as GPT-2's letters. */
static bool as_letters(const tn_tokenizer *t, int64_t id) { return t->merge == TN_MERGE_IDS && !t->special[id]; }

static bool fill_types(ggml *g)
{
    const tn_tokenizer *t = g->t;
    for (int64_t id = 0; id < g->count; id++) {
        const tn_token *token = id < t->vocab.count ? &t->vocab.tokens[id] : NULL;
        g->types[id] = type_of(t, id);
        g->scores[id] = token ? token->score : 0;
        if (token && token->size && tn_vocab_find(&t->vocab, token->text, token->size) != id)
            return refuse("a token twice"); /* which llama.cpp does not survive */
        if (token && token->size && !as_letters(t, id) && memchr(token->text, 0, (size_t)token->size))
            return refuse("a NUL in a token");
    }
    for (size_t i = 0; i < t->added_count; i++)
        if (!t->added[i].special)
            g->types[t->added[i].id] = TN_TOKEN_USER;
    return true;
}

/* ---- merges -------------------------------------------------------------------------------------------------------------- */

/* A normal token, as it is written. */
static int32_t normal_token(const ggml *g, const char *text, int64_t size)
{
    const int32_t id = tn_model_token(g->t, text, size);
    return id >= 0 && g->types[id] == TN_TOKEN_NORMAL ? id : -1;
}

/* tokenizer.json's pairs in their order. */
static bool list_pairs(ggml *g)
{
    const tn_pairs *p = &g->t->pairs;
    for (size_t i = 0; i < p->count; i++)
        if (p->slots[i].left >= 0 && (size_t)p->slots[i].rank >= g->merge_room)
            g->merge_room = (size_t)p->slots[i].rank + 1;
    g->merges = tn_alloc(g->merge_room * sizeof *g->merges);
    if (!g->merges)
        return false;
    memset(g->merges, 0xff, g->merge_room * sizeof *g->merges);
    for (size_t i = 0; i < p->count; i++) {
        const tn_pair_rule m = p->slots[i];
        if (m.left < 0)
            continue;
        if (g->types[m.left] != TN_TOKEN_NORMAL || g->types[m.right] != TN_TOKEN_NORMAL || g->types[m.id] != TN_TOKEN_NORMAL)
            return refuse("merges of special tokens");
        g->merges[m.rank] = m;
    }
    return true;
}

/* tiktoken's: any two tokens whose joined bytes are a token merge, the lowest one first; of one token in the order of the two. */
static bool list_joins(ggml *g)
{
    size_t count = 0;
    for (int64_t id = 0; id < g->t->vocab.count; id++) {
        const tn_token *token = &g->t->vocab.tokens[id];
        const size_t first = count;
        for (int32_t at = 1; at < token->size && g->types[id] == TN_TOKEN_NORMAL; at++) {
            const tn_pair_rule m = {tn_model_token(g->t, token->text, at), tn_model_token(g->t, token->text + at, token->size - at), 0, (int32_t)id};
            if (m.left < 0 || m.right < 0)
                continue;
            if (!tn_grow(&g->merges, count, &g->merge_room, sizeof *g->merges))
                return false;
            size_t place = count++;
            for (; place > first && m.left < g->merges[place - 1].left; place--)
                g->merges[place] = g->merges[place - 1];
            g->merges[place] = m;
        }
    }
    for (size_t i = count; i < g->merge_room; i++)
        g->merges[i].left = -1;
    return true;
}

/* Scores that let the same tokens merge in the same order as the pairs do: false where there are none such, for then a token has parts that do not
 * merge into it, or the pairs of two tokens take turns. */
static bool score_by_merges(ggml *g)
{
    const tn_tokenizer *t = g->t;
    int32_t last = -1;
    for (size_t rank = 0; rank < g->merge_room; rank++) {
        const tn_pair_rule *m = &g->merges[rank];
        if (m->left < 0 || m->id == last)
            continue;
        last = m->id;
        if (g->scores[last] < 0)
            return refuse("merges that no scores can order");
        g->scores[last] = -1 - (float)rank;
    }
    for (int64_t id = 0; id < t->vocab.count; id++) {
        const tn_token *token = &t->vocab.tokens[id];
        for (int32_t at = 1; at < token->size && g->types[id] == TN_TOKEN_NORMAL; at++) {
            const int32_t left = normal_token(g, token->text, at), right = left < 0 ? -1 : normal_token(g, token->text + at, token->size - at);
            if (right >= 0 && !tn_pairs_find(&t->pairs, left, right))
                return refuse("tokens whose parts do not merge");
        }
    }
    return true;
}

/* ---- texts --------------------------------------------------------------------------------------------------------------- */

/* A token's text behind the others: its bytes as letters, or its spaces as U+2581, where GGUF has it so. */
static bool add_token(texts *x, const tn_tokenizer *t, int64_t id)
{
    const tn_token *token = &t->vocab.tokens[id];
    const bool letters = as_letters(t, id), run = t->unit == TN_UNIT_RUN;
    const char *text = token->text;
    int32_t size = token->size;
    if (run && t->special[id] && size > 1 && text[0] == '\n' && text[size - 1] == '\n') { /* "\n<s>\n" */
        text++;
        size -= 2;
    }
    for (int32_t i = 0; i < size; i++) {
        char letter[4];
        const bool space = run && text[i] == ' ';
        const int n = letters ? tn_utf8_put(tn_letter_of_byte((unsigned char)text[i]), letter) : space ? 3 : 1;
        if (!tn_bytes_add(&x->bytes, letters ? letter : space ? metaspace : text + i, n))
            return false;
    }
    return true;
}

static bool end_text(texts *x)
{
    x->count++;
    return tn_bytes_add(&x->bytes, "", 1);
}

static bool list_tokens(const ggml *g, texts *x)
{
    char name[32];
    bool good = true;
    for (int64_t id = 0; good && id < g->count; id++) {
        if (id < g->t->vocab.count && g->t->vocab.tokens[id].text)
            good = add_token(x, g->t, id);
        else
            good = tn_bytes_add(&x->bytes, name, snprintf(name, sizeof name, "[PAD%lld]", (long long)id));
        good = good && end_text(x);
    }
    return good;
}

static bool list_merges(const ggml *g, texts *x)
{
    bool good = true;
    for (size_t rank = 0; good && rank < g->merge_room; rank++) {
        const tn_pair_rule *m = &g->merges[rank];
        good = m->left < 0 || (add_token(x, g->t, m->left) && tn_bytes_add(&x->bytes, " ", 1) && add_token(x, g->t, m->right) && end_text(x));
    }
    return good;
}

/* Sets an array of the texts that `list` gives. */
static bool set_texts(tn_gguf_writer *w, const char *key, const ggml *g, bool (*list)(const ggml *, texts *))
{
    texts x = {0};
    const bool good = list(g, &x);
    const size_t size = (size_t)x.count * sizeof(const char *);
    const char **all = good ? tn_alloc(size) : NULL, *at = x.bytes.data;
    for (int64_t i = 0; all && i < x.count; i++, at += strlen(at) + 1)
        all[i] = at;
    const bool set = all && tn_gguf_set_array(w, key, TN_GGUF_STRING, all, x.count) == TN_OK;
    tn_free(all, size);
    tn_bytes_free(&x.bytes);
    return set;
}

#define KEY(name) "tokenizer.ggml." name
static bool set_id(tn_gguf_writer *w, const char *key, int64_t id) { return id < 0 || tn_gguf_set_int(w, key, TN_GGUF_U32, id) == TN_OK; }

/* What ends a text beside eos, a turn's end the last of a list, as Llama 3 has it. */
static bool set_ends(tn_gguf_writer *w, const tn_tokenizer *t)
{
    int64_t others[TN_ENDS_MOST];
    int count = 0;
    for (int i = 0; i < t->end_count; i++)
        if (t->ends[i] != t->eos)
            others[count++] = t->ends[i];
    return (count < 1 || set_id(w, KEY("eot_token_id"), others[count - 1])) && (count < 2 || set_id(w, KEY("eom_token_id"), others[0]));
}

static bool set_all(tn_gguf_writer *w, const ggml *g)
{
    const tn_tokenizer *t = g->t;
    const bool llama = !g->splitter;
    char pre[40];
    snprintf(pre, sizeof pre, "%.*s", llama ? 0 : (int)name_length(g->splitter->names), llama ? "" : g->splitter->names);
    bool good = tn_gguf_set_string(w, KEY("model"), llama ? "llama" : "gpt2") == TN_OK && set_texts(w, KEY("tokens"), g, list_tokens) &&
                tn_gguf_set_array(w, KEY("token_type"), TN_GGUF_I32, g->types, g->count) == TN_OK;
    if (llama)
        good = good && tn_gguf_set_array(w, KEY("scores"), TN_GGUF_F32, g->scores, g->count) == TN_OK &&
               tn_gguf_set_int(w, KEY("add_space_prefix"), TN_GGUF_BOOL, g->space_prefix) == TN_OK;
    else
        good = good && tn_gguf_set_string(w, KEY("pre"), pre) == TN_OK && set_texts(w, KEY("merges"), g, list_merges);
    return good && set_id(w, KEY("bos_token_id"), t->bos) && set_id(w, KEY("eos_token_id"), t->eos) && set_ends(w, t) && set_id(w, KEY("unknown_token_id"), t->unk) &&
           tn_gguf_set_int(w, KEY("add_bos_token"), TN_GGUF_BOOL, t->tells_ends ? t->before_count > 0 : t->bos >= 0) == TN_OK &&
           tn_gguf_set_int(w, KEY("add_eos_token"), TN_GGUF_BOOL, t->behind_count > 0) == TN_OK;
}

tn_status tn_gguf_set_tokenizer(tn_gguf_writer *writer, const tn_tokenizer *t, int64_t count)
{
    if (!tn_is_tokenizer("gguf_set_tokenizer", t))
        return tn_last_status();
    ggml g = {.t = t, .count = count ? count : t->vocab.count};
    if (g.count < t->vocab.count || g.count > INT32_MAX / 2) {
        tn_fail(TN_ERR_ARGUMENT, "gguf_set_tokenizer: %lld tokens, and the tokenizer has %lld", (long long)g.count, (long long)t->vocab.count);
        return TN_ERR_ARGUMENT;
    }
    const char *what = obstacle(&g);
    if (what && !refuse(what))
        return TN_ERR_UNSUPPORTED;
    g.types = tn_alloc((size_t)g.count * sizeof *g.types);
    g.scores = tn_alloc((size_t)g.count * sizeof *g.scores);
    (void)(g.types && g.scores && fill_types(&g) && (t->merge != TN_MERGE_PAIRS || list_pairs(&g)) && (t->merge != TN_MERGE_IDS || list_joins(&g)) &&
           (g.splitter || t->merge != TN_MERGE_PAIRS || score_by_merges(&g)) && set_all(writer, &g));
    tn_free(g.types, (size_t)g.count * sizeof *g.types);
    tn_free(g.scores, (size_t)g.count * sizeof *g.scores);
    tn_free(g.merges, g.merge_room * sizeof *g.merges);
    return tn_last_status();
}
