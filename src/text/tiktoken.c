/* tiktoken's ranks: a token in base64 and its rank on each line (https://github.com/openai/tiktoken, src/lib.rs). The regular expression and
 * the special tokens stand in programs: OpenAI's, and Meta's for Llama 3. */
#include "text/text.h"

#include <stdio.h>

#include "io/file.h"

#define ENGLISH "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LLAMA3(digits) ENGLISH "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const char tn_pattern_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char tn_pattern_llama3[] = LLAMA3("{1,3}");
const char tn_pattern_qwen2[] = LLAMA3("");
/* Llama 3's comes from it, but for white space at the end, of which \s++$ makes one piece, lines' ends among it or not. */
const char tn_pattern_cl100k[] = "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+"
                                 "|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s";
/* Mistral's: o200k's without English, and each digit alone. */
const char tn_pattern_tekken[] = "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*"
                                 "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char tn_pattern_minicpm5[] = LLAMA3("+"); /* behind three digits at a time */
/* Qwen's with lines' ends apart from signs; and without English. */
const char tn_pattern_seed_coder[] = ENGLISH "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char tn_pattern_ufakzeka[] = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char o200k[] = "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" ENGLISH "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" ENGLISH "?"
                            "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

enum { HARMONY = 199998 }; /* o200k's ranks, behind which its special tokens are */
/* What goes with a number of ranks: a pattern, and special tokens by their distance from the last rank + 1, the end's first. */
typedef struct known {
    const char *name, *pattern;
    int64_t ranks, last; /* how many tell the encoding, 0: none does; the last special token's distance */
    bool begins;         /* the second special token is the beginning's */
    enum { UNUSED, COUNTED, BY_ID } reserved; /* what the ids between are: nothing, "<|reserved_special_token_0|>", "<|reserved_200000|>" */
    struct {
        int64_t behind;
        const char *text;
    } special[12];
} known;
static const known encodings[] = {
    {.name = "gpt2", .pattern = tn_pattern_gpt2, .ranks = 50256, .special = {{0, "<|endoftext|>"}}},
    {.name = "p50k", .pattern = tn_pattern_gpt2, .ranks = 50280, .last = -1, .special = {{-25, "<|endoftext|>"}}}, /* gpt2's, and spaces behind the end */
    {.name = "p50k_edit", .pattern = tn_pattern_gpt2, .last = 2,
     .special = {{-25, "<|endoftext|>"}, {0, "<|fim_prefix|>"}, {1, "<|fim_middle|>"}, {2, "<|fim_suffix|>"}}},
    {.name = "cl100k", .pattern = tn_pattern_cl100k, .ranks = 100256, .last = 20,
     .special = {{1, "<|endoftext|>"}, {2, "<|fim_prefix|>"}, {3, "<|fim_middle|>"}, {4, "<|fim_suffix|>"}, {20, "<|endofprompt|>"}}},
    {.name = "o200k", .pattern = o200k, .ranks = HARMONY, .last = 20, .special = {{1, "<|endoftext|>"}, {20, "<|endofprompt|>"}}},
    {.name = "o200k_harmony", .pattern = o200k, .last = 1089, .begins = true, .reserved = BY_ID,
     .special = {{4, "<|return|>"}, {0, "<|startoftext|>"}, {1, "<|endoftext|>"}, {5, "<|constrain|>"}, {7, "<|channel|>"}, {8, "<|start|>"},
                 {9, "<|end|>"}, {10, "<|message|>"}, {14, "<|call|>"}, {20, "<|endofprompt|>"}, {20, "<|reserved_200018|>"}}},
    {.name = "llama3", .pattern = tn_pattern_llama3, .ranks = 128000, .last = 255, .begins = true, .reserved = COUNTED,
     .special = {{1, "<|end_of_text|>"}, {0, "<|begin_of_text|>"}, {4, "<|finetune_right_pad_id|>"}, {6, "<|start_header_id|>"}, {7, "<|end_header_id|>"},
                 {8, "<|eom_id|>"}, {9, "<|eot_id|>"}, {10, "<|python_tag|>"}}},
};

/* ---- bytes that are no UTF-8 --------------------------------------------------------------------------------------------- */

static bool all_space(const tn_token *token)
{
    for (int32_t i = 0; i < token->size; i++)
        if (token->text[i] != ' ' && token->text[i] != '\n' && token->text[i] != '\t')
            return false;
    return true;
}

/* Encoding._encode_bytes: the text up to the first such byte is split; its last piece and all that follows are one piece. */
bool tn_step_tiktoken(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    const tn_token *tokens = e->tokenizer->vocab.tokens;
    int64_t good = 0;
    for (int taken; good < p.size && tn_utf8_next(p.text + good, p.size - good, &taken) >= 0;)
        good += taken;
    size_t before = e->count;
    e->piece_ids = before;
    if (!tn_pass_on(e, step, p.text, good, p.first) || good == p.size)
        return good == p.size && !tn_failing();
    size_t last = e->piece_ids;
    if (last < e->count && all_space(&tokens[e->ids[last]]))
        while (last > before && all_space(&tokens[e->ids[last - 1]]))
            last--;
    tn_bytes *b = &e->texts[step - e->tokenizer->steps];
    b->size = 0;
    for (size_t i = last; i < e->count; i++)
        if (!tn_bytes_add(b, tokens[e->ids[i]].text, tokens[e->ids[i]].size))
            return false;
    e->count = last;
    return tn_bytes_add(b, p.text + good, p.size - good) && tn_step_merge(e, step, (tn_piece){b->data, (int64_t)b->size, p.first});
}

/* ---- the file ------------------------------------------------------------------------------------------------------------ */

static int base64(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

typedef struct lines {
    const tn_text_file *f;
    int64_t at, line;
} lines;

static bool damaged(const lines *l, const char *what)
{
    tn_fail(TN_ERR_FORMAT, "%s: %s:%lld: %s", l->f->op, l->f->path, (long long)l->line, what);
    return false;
}

/* The next line's token and rank; false at the end, or with an error. */
static bool next_line(lines *l, tn_bytes *token, int64_t *rank)
{
    const char *data = l->f->data; /* ended by a 0 */
    uint32_t bits = 0;
    int have = 0, digits = 0;
    while (data[l->at] == '\n' || data[l->at] == '\r')
        l->at++;
    if (l->at == l->f->size)
        return false;
    l->line++;
    token->size = 0;
    for (int value; (value = base64(data[l->at])) >= 0; l->at++) {
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            char byte = (char)(bits >> have);
            if (!tn_bytes_add(token, &byte, 1))
                return false;
        }
    }
    while (data[l->at] == '=')
        l->at++;
    if (token->size == 0 || have >= 6 || data[l->at++] != ' ')
        return damaged(l, "a token in base64 and a space are due");
    for (*rank = 0; data[l->at] >= '0' && data[l->at] <= '9' && digits < 10; digits++)
        *rank = *rank * 10 + data[l->at++] - '0';
    if (!digits || (data[l->at] != '\n' && data[l->at] != '\r' && l->at != l->f->size))
        return damaged(l, "a rank and the line's end are due");
    return true;
}

/* How many lines, and the largest rank. */
static bool measure(const tn_text_file *f, int64_t *count, int64_t *most)
{
    lines l = {.f = f};
    tn_bytes token = {0};
    int64_t rank;
    *count = *most = 0;
    while (next_line(&l, &token, &rank)) {
        ++*count;
        *most = rank > *most ? rank : *most;
    }
    tn_bytes_free(&token);
    if (!tn_failing() && *most > 2 * *count + 65536)
        return damaged(&l, "its ranks have more holes than tokens");
    return !tn_failing();
}

static bool read_ranks(tn_tokenizer *t, const tn_text_file *f)
{
    lines l = {.f = f};
    tn_bytes token = {0};
    int64_t rank;
    bool known;
    while (next_line(&l, &token, &rank))
        if (!tn_vocab_set(&t->vocab, rank, token.data, (int64_t)token.size, TN_TOKEN_NORMAL, 0, &known) || known)
            damaged(&l, "a token or a rank that is there twice");
    tn_bytes_free(&token);
    for (int i = 0; i < 256 && !tn_failing(); i++) {
        char byte = (char)i;
        if (tn_vocab_find(&t->vocab, &byte, 1) < 0)
            tn_fail(TN_ERR_FORMAT, "%s: %s: byte %d has no token", f->op, f->path, i);
    }
    return !tn_failing();
}

/* A second name of an id is found in a text, too. */
static bool add_special(tn_tokenizer *t, const tn_text_file *f, tn_text_step *step, int64_t id, const char *text)
{
    const int64_t size = (int64_t)strlen(text);
    bool known;
    if (tn_vocab_find(&t->vocab, text, size) >= 0)
        return true; /* the ranks have it: it is no special one */
    if (t->vocab.tokens[id].text && !t->special[id])
        return tn_fail(TN_ERR_FORMAT, "%s: %s: rank %lld is a token, where the encoding has %s", f->op, f->path, (long long)id, text);
    if (!tn_vocab_set(&t->vocab, id, text, size, TN_TOKEN_CONTROL, 0, &known))
        return false;
    t->special[id] = true;
    return tn_add_token(t, step, text, size, (tn_added){(int32_t)id, .special = true});
}

static bool add_specials(tn_tokenizer *t, const tn_text_file *f, tn_text_step *step, const known *k, int64_t ranks)
{
    bool good = true;
    for (int i = 0; good && i < TN_COUNT(k->special) && k->special[i].text; i++)
        good = add_special(t, f, step, ranks + k->special[i].behind, k->special[i].text);
    char name[40];
    for (int i = 0, number = 0; good && k->reserved != UNUSED && i <= k->last; i++) {
        if (t->vocab.tokens[ranks + i].text)
            continue;
        if (k->reserved == COUNTED)
            snprintf(name, sizeof name, "<|reserved_special_token_%d|>", number++);
        else
            snprintf(name, sizeof name, "<|reserved_%d|>", HARMONY + i);
        good = add_special(t, f, step, ranks + i, name);
    }
    return good;
}

static const known *find_encoding(const tn_text_file *f, const char *name, int64_t ranks)
{
    for (int i = 0; i < TN_COUNT(encodings); i++)
        if (name ? strcmp(name, encodings[i].name) == 0 : encodings[i].ranks == ranks && ranks)
            return &encodings[i];
    if (name)
        return tn_fail(TN_ERR_ARGUMENT, "%s: pattern is \"%s\": Tenon has gpt2, p50k, p50k_edit, cl100k, o200k, o200k_harmony and llama3", f->op, name);
    return tn_fail(TN_ERR_ARGUMENT, "%s: %s: %lld ranks are no known encoding's: say which .pattern they go with", f->op, f->path, (long long)ranks);
}

bool tn_read_tiktoken(tn_tokenizer *t, const tn_text_file *f, const char *pattern)
{
    int64_t count, most;
    if (!measure(f, &count, &most))
        return false;
    const known *k = find_encoding(f, pattern, count);
    int64_t ranks = most + 1;
    if (!k || !tn_vocab_init(&t->vocab, ranks + k->last + 1, f->size + (k->last + TN_COUNT(k->special)) * 40) || !read_ranks(t, f) || !tn_finish_vocab(t))
        return false;
    tn_text_step *added = tn_add_step(t, f->op, tn_step_added);
    if (!added || !add_specials(t, f, added, k, ranks) || !tn_add_step(t, f->op, tn_step_tiktoken) ||
        !tn_add_split(t, f->op, k->pattern, (int64_t)strlen(k->pattern), TN_SPLIT_ISOLATED, false) || !tn_add_step(t, f->op, tn_step_merge))
        return false;
    t->whole_first = true;
    t->unit = TN_UNIT_BYTE;
    t->merge = TN_MERGE_IDS;
    t->file_name = "tokenizer.model"; /* as Meta has Llama 3's */
    t->decode = tn_decode_texts;
    t->lossy = TN_LOSSY_RAW;
    t->bos = k->begins ? ranks + k->special[1].behind : -1;
    t->eos = ranks + k->special[0].behind;
    return true;
}
