/* The tokeniser: made by the reader of its file's format, asked for ids. */
#include "text/text.h"

#include "io/file.h"

#include <limits.h>

/* ---- the object ---------------------------------------------------------------------------------------------------------- */

static void tokenizer_free(void *self)
{
    tn_tokenizer *t = self;
    for (int i = 0; i < t->step_count; i++) {
        tn_text_step *s = &t->steps[i];
        tn_bytes_free(&s->what);
        tn_bytes_free(&s->with);
        tn_pattern_free(s->pattern);
        tn_trie_free(&s->trie);
    }
    tn_free(t->special, (size_t)t->vocab.count * sizeof *t->special);
    tn_free(t->added, t->added_capacity * sizeof *t->added);
    tn_free(t->shown, t->shown ? (size_t)t->vocab.count * sizeof *t->shown : 0);
    tn_bytes_free(&t->shown_texts);
    tn_vocab_free(&t->vocab);
    tn_pairs_free(&t->pairs);
    tn_trie_free(&t->user);
    tn_bytes_free(&t->charsmap);
    tn_bytes_free(&t->unknown_text);
    tn_bytes_free(&t->from);
    tn_bytes_free(&t->to);
}
static const tn_class tokenizer_class = {"tokenizer", sizeof(tn_tokenizer), tokenizer_free};

bool tn_is_tokenizer(const char *op, const tn_tokenizer *t)
{
    if (!tn_failing() && (!t || t->base.cls != &tokenizer_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: tokenizer is %s", op, t ? "no tokenizer" : "NULL");
    return !tn_failing();
}

tn_tokenizer *tn_tokenizer_empty(void)
{
    tn_tokenizer *t = tn_object_new(&tokenizer_class);
    if (t)
        t->bos = t->eos = t->unk = -1;
    return t;
}

/* ---- what ends a text ---------------------------------------------------------------------------------------------------- */

bool tn_ends_text(const tn_tokenizer *t, int64_t id)
{
    bool ends = id == t->eos;
    for (int i = 0; i < t->end_count; i++)
        ends |= id == t->ends[i];
    return ends;
}

void tn_set_ends(tn_tokenizer *t, const int64_t *ids, int count)
{
    const int64_t named = t->behind_count ? t->eos : -1; /* by the file itself */
    t->end_count = 0;
    for (int i = 0; i < count; i++)
        if (ids[i] >= 0 && ids[i] < t->vocab.count && t->end_count < TN_ENDS_MOST)
            t->ends[t->end_count++] = ids[i];
    if (named < 0 && t->end_count)
        t->eos = t->ends[0];
}

/* ---- what readers build with --------------------------------------------------------------------------------------------- */

tn_text_step *tn_add_step(tn_tokenizer *t, const char *op, tn_step_run run)
{
    if (t->step_count == TN_STEPS_MAX - 1) /* the last place's text is the model's */
        return tn_fail(TN_ERR_UNSUPPORTED, "%s: more than %d normalisers and splitters", op, TN_STEPS_MAX - 1);
    t->steps[t->step_count].run = run;
    return &t->steps[t->step_count++];
}

bool tn_add_split(tn_tokenizer *t, const char *op, const char *pattern, int64_t size, int mode, bool lines)
{
    tn_text_step *s = tn_add_step(t, op, tn_step_split);
    if (!s || !tn_bytes_add(&s->what, pattern, size))
        return false;
    s->mode = mode;
    s->pattern = tn_pattern_new(op, pattern, size, lines);
    return s->pattern != NULL;
}

bool tn_add_token(tn_tokenizer *t, tn_text_step *step, const char *text, int64_t size, tn_added added)
{
    if (!tn_grow(&t->added, t->added_count, &t->added_capacity, sizeof *t->added))
        return false;
    t->added[t->added_count] = added;
    return tn_trie_add(&step->trie, text, size, (int32_t)t->added_count++);
}

bool tn_finish_vocab(tn_tokenizer *t)
{
    t->special = tn_alloc_zero((size_t)t->vocab.count * sizeof *t->special);
    return t->special != NULL;
}

tn_span tn_token_text(const tn_tokenizer *t, int64_t id)
{
    const tn_token *token = &t->vocab.tokens[id];
    if (t->shown && t->shown[id] >= 0) {
        const char *text = t->shown_texts.data + t->shown[id];
        return (tn_span){text, (int64_t)strlen(text)};
    }
    return token->text ? (tn_span){token->text, token->size} : (tn_span){"", 0};
}

int32_t tn_model_token(const tn_tokenizer *t, const char *text, int64_t size)
{
    int32_t id = tn_vocab_find(&t->vocab, text, size);
    return id >= 0 && t->vocab.tokens[id].type == TN_TOKEN_NORMAL ? id : -1;
}

bool tn_add_merge(tn_tokenizer *t, tn_span left, tn_span right, int32_t rank)
{
    tn_bytes joined = {0};
    int32_t a = tn_model_token(t, left.data, left.size), b = tn_model_token(t, right.data, right.size);
    bool good = a >= 0 && b >= 0 && tn_bytes_add(&joined, left.data, left.size) && tn_bytes_add(&joined, right.data, right.size);
    int32_t id = good ? tn_model_token(t, joined.data, (int64_t)joined.size) : -1;
    tn_bytes_free(&joined);
    if (id >= 0)
        tn_pairs_set(&t->pairs, a, b, rank, id);
    return id >= 0;
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

int tn_byte_token(const char *text, int64_t size)
{
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex(text[3]), low = hex(text[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

void tn_find_bytes(tn_tokenizer *t)
{
    static const char digits[] = "0123456789ABCDEF";
    for (int i = 0; i < 256; i++)
        t->bytes[i] = tn_vocab_find(&t->vocab, (char[]){'<', '0', 'x', digits[i / 16], digits[i % 16], '>'}, 6);
}

/* Bytes that are no visible letters of Latin 1 are U+0100, U+0101, ... in their order. */
static bool visible(int byte) { return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad); }

int32_t tn_letter_of_byte(int byte)
{
    return visible(byte) ? byte : byte <= ' ' ? 0x100 + byte : byte <= 0xa0 ? 0x100 + 33 + byte - 0x7f : 0x143;
}

int tn_byte_of_letter(int32_t point)
{
    if (point < 0x100)
        return point >= 0 && visible(point) ? point : -1;
    return point <= 0x120 ? point - 0x100 : point <= 0x142 ? point - 0x121 + 0x7f : point == 0x143 ? 0xad : -1;
}

void tn_find_letters(tn_tokenizer *t)
{
    char letter[4];
    for (int i = 0; i < 256; i++)
        t->bytes[i] = tn_model_token(t, letter, tn_utf8_put(tn_letter_of_byte(i), letter));
}

/* ---- files --------------------------------------------------------------------------------------------------------------- */

static bool is_json(const tn_text_file *f)
{
    int64_t at = 0;
    while (at < f->size && strchr(" \t\r\n", f->data[at]))
        at++;
    return at < f->size && f->data[at] == '{';
}

/* A first piece, which has a text first. A llama2.c file of tokens of ten bytes begins with 10 too, and then a 0. */
static bool is_sentencepiece(const tn_text_file *f)
{
    const unsigned char *b = (const unsigned char *)f->data;
    int64_t at = 1;
    if (f->size < 4 || b[0] != 10 || b[1] == 0)
        return false;
    while (at < f->size - 1 && at < 10 && b[at] & 128)
        at++;
    return at + 1 < f->size && b[at + 1] == 10;
}

/* A first line of base64, a space and a number. */
static bool is_tiktoken(const tn_text_file *f)
{
    int64_t at = 0, digits;
    while (at < f->size && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=", f->data[at]) && f->data[at])
        at++;
    if (at == 0 || at >= f->size || f->data[at] != ' ')
        return false;
    for (digits = ++at; at < f->size && f->data[at] >= '0' && f->data[at] <= '9'; at++)
        continue;
    return at > digits && (at == f->size || f->data[at] == '\n' || f->data[at] == '\r');
}

static bool read_as_what_it_is(tn_tokenizer *t, const tn_text_file *f, const tn_tokenizer_args *a)
{
    if (is_json(f))
        return tn_read_json(t, f);
    if (is_sentencepiece(f))
        return tn_read_sentencepiece(t, f);
    return is_tiktoken(f) ? tn_read_tiktoken(t, f, a->pattern) : tn_read_llama2c(t, f, a->vocab_size);
}

tn_tokenizer *tn_tokenizer_new_with(const tn_tokenizer_args *args)
{
    TN_KNOWN(tn_tokenizer_args, args);
    tn_reader r;
    tn_text_file f = {.op = "tokenizer_new", .path = args->path};
    if (!tn_reader_open(&r, f.op, f.path, false))
        return NULL;
    f.size = r.left;
    char *data = tn_alloc((size_t)f.size + 1);
    tn_tokenizer *t = data ? tn_tokenizer_empty() : NULL;
    bool good = t && tn_reader_read(&r, data, f.size);
    tn_reader_close(&r);
    if (good) {
        data[f.size] = 0;
        f.data = data;
        good = read_as_what_it_is(t, &f, args);
    }
    tn_free(data, (size_t)f.size + 1);
    if (good)
        return t;
    tn_release(t);
    return NULL;
}

/* ---- encoding ------------------------------------------------------------------------------------------------------------ */

static bool add_around(tn_encoder *e, int asked, const int64_t *ids, int count, int64_t id, const char *what)
{
    if (asked == 0)
        return true;
    for (int i = 0; i < count; i++)
        if (!tn_emit(e, ids[i]))
            return false;
    if (count || asked < 0)
        return true;
    if (id < 0)
        tn_fail(TN_ERR_STATE, "tokenizer_encode: %s is asked for, and the tokenizer has no such token", what);
    return id >= 0 && tn_emit(e, id);
}

static void encoder_free(tn_encoder *e)
{
    for (int i = 0; i < TN_STEPS_MAX; i++)
        tn_bytes_free(&e->texts[i]);
    tn_free(e->ids, e->ids_capacity * sizeof *e->ids);
    tn_free(e->symbols, e->symbols_capacity * sizeof *e->symbols);
    tn_free(e->heap, e->heap_capacity * sizeof *e->heap);
    tn_free(e->splits, e->splits ? (size_t)e->tokenizer->vocab.count * sizeof *e->splits : 0);
}

tn_tensor *tn_tokenizer_encode_counted(const tn_tokenizer_encode_args *a, int64_t *work)
{
    const tn_tokenizer *t = a->tokenizer;
    if (!tn_is_tokenizer("tokenizer_encode", t))
        return NULL;
    if (a->bytes < 0 || a->bytes > 1 << 30 || (a->bytes && !a->text))
        return tn_fail(TN_ERR_ARGUMENT, "tokenizer_encode: text is %s of %lld bytes: at most 2^30 go", a->text ? "one" : "NULL", (long long)a->bytes);
    tn_encoder e = {.tokenizer = t, .allow_special = a->allow_special};
    bool good = true;
    if (t->has_unused && t->merge == TN_MERGE_SCORES)
        good = (e.splits = tn_alloc_zero((size_t)t->vocab.count * sizeof *e.splits)) != NULL;
    good = good && add_around(&e, a->add_bos, t->before, t->before_count, t->bos, "add_bos") &&
           (a->bytes == 0 || t->steps[0].run(&e, &t->steps[0], (tn_piece){a->text, a->bytes, true})) &&
           add_around(&e, a->add_eos, t->behind, t->behind_count, t->eos, "add_eos");
    tn_tensor *ids = good ? tn_new("tokenizer_encode", TN_SHAPE((int64_t)e.count), TN_I64, (tn_device_id){TN_CPU, 0}) : NULL;
    if (ids && e.count)
        memcpy(tn_ptr(ids), e.ids, e.count * sizeof *e.ids);
    *work = e.work;
    encoder_free(&e);
    return ids;
}

tn_tensor *tn_tokenizer_encode_with(const tn_tokenizer_encode_args *args)
{
    TN_KNOWN(tn_tokenizer_encode_args, args);
    int64_t work;
    return tn_tokenizer_encode_counted(args, &work);
}

/* ---- asking -------------------------------------------------------------------------------------------------------------- */

int tn_tokenizer_adds_bos(const tn_tokenizer *t)
{
    return !tn_is_tokenizer("tokenizer_adds_bos", t) || !t->tells_ends ? -1 : t->before_count > 0;
}

int64_t tn_tokenizer_vocab_size(const tn_tokenizer *t) { return tn_is_tokenizer("tokenizer_vocab_size", t) ? t->vocab.count : -1; }
int64_t tn_tokenizer_bos(const tn_tokenizer *t) { return tn_is_tokenizer("tokenizer_bos", t) ? t->bos : -1; }
int64_t tn_tokenizer_eos(const tn_tokenizer *t) { return tn_is_tokenizer("tokenizer_eos", t) ? t->eos : -1; }
int64_t tn_tokenizer_unk(const tn_tokenizer *t) { return tn_is_tokenizer("tokenizer_unk", t) ? t->unk : -1; }

const char *tn_tokenizer_token(const tn_tokenizer *t, int64_t id, int64_t *bytes)
{
    if (bytes)
        *bytes = 0;
    if (!tn_is_tokenizer("tokenizer_token", t))
        return NULL;
    if (id < 0 || id >= t->vocab.count)
        return tn_fail(TN_ERR_INDEX, "tokenizer_token: id %lld of a vocabulary of %lld", (long long)id, (long long)t->vocab.count);
    tn_span text = tn_token_text(t, id);
    if (bytes)
        *bytes = text.size;
    return text.data;
}

int64_t tn_tokenizer_id(const tn_tokenizer *t, const char *token)
{
    if (!tn_is_tokenizer("tokenizer_id", t))
        return -1;
    if (!token)
        tn_fail(TN_ERR_ARGUMENT, "tokenizer_id: token is NULL");
    return token ? tn_vocab_find(&t->vocab, token, (int64_t)strlen(token)) : -1;
}
