/* Ids to text. A token's bytes wait until they are whole characters. */
#include "text/text.h"

#include "io/file.h"

#include <stdio.h>

/* ---- what is held back --------------------------------------------------------------------------------------------------- */

static bool put(tn_text_state *s, const char *text, int64_t size)
{
    const tn_tokenizer *t = s->tokenizer;
    for (; size && s->stripped < t->strip_count && *text == t->strip; text++, size--)
        s->stripped++;
    if (size)
        s->stripped = t->strip_count;
    s->begun |= size > 0;
    return tn_bytes_add(&s->out, text, size);
}

/* What no character begins with, or only a cut one: how much of it goes, as the library has it. */
static bool put_wrong(tn_text_state *s, const char *text, int64_t part, int64_t *taken)
{
    int lossy = s->tokenizer->lossy;
    *taken = lossy == TN_LOSSY_PART ? part : 1;
    return lossy == TN_LOSSY_RAW ? put(s, text, 1) : put(s, "\xef\xbf\xbd", 3);
}

bool tn_state_drain(tn_text_state *s, bool end)
{
    const char *held = s->held.data;
    int64_t size = (int64_t)s->held.size, at = 0;
    bool cut, good = true;
    if (s->whole_runs && !end)
        return true;
    bool all_wrong = s->whole_runs && size && !tn_is_utf8(held, (size_t)size);
    for (int64_t taken; good && at < size; at += taken) {
        int n;
        if (!all_wrong && tn_utf8_next(held + at, size - at, &n) >= 0) {
            taken = n;
            good = put(s, held + at, n);
            continue;
        }
        int64_t part = tn_utf8_part(held + at, size - at, &cut);
        if (cut && !end)
            break;
        good = put_wrong(s, held + at, part, &taken);
    }
    s->held.size = (size_t)(size - at);
    if (s->held.size)
        memmove(s->held.data, held + at, s->held.size);
    return good;
}

bool tn_state_text(tn_text_state *s, const char *text, int64_t size) { return tn_state_drain(s, true) && put(s, text, size); }
bool tn_state_bytes(tn_text_state *s, const char *bytes, int64_t size) { return tn_bytes_add(&s->held, bytes, size) && tn_state_drain(s, false); }

/* ---- each library's way -------------------------------------------------------------------------------------------------- */

/* A text in which each `from` is `to`. */
static bool put_replaced(tn_text_state *s, tn_span text, tn_span from, tn_span to)
{
    while (text.size) {
        const char *at = memmem(text.data, (size_t)text.size, from.data, (size_t)from.size);
        int64_t n = at ? at - text.data : text.size;
        if (!tn_state_text(s, text.data, n) || (at && !tn_state_text(s, to.data, to.size)))
            return false;
        n += at ? from.size : 0;
        text.data += n;
        text.size -= n;
    }
    return true;
}

static const tn_span metaspace = {"\xe2\x96\x81", 3}, space = {" ", 1};

static bool starts_with(const tn_token *token, tn_span with)
{
    return token->size >= with.size && memcmp(token->text, with.data, (size_t)with.size) == 0;
}

/* SentencePieceProcessor::Decode. */
bool tn_decode_sentencepiece(tn_text_state *s, int64_t id)
{
    const tn_tokenizer *t = s->tokenizer;
    const tn_token *token = &t->vocab.tokens[id];
    char byte = (char)tn_byte_token(token->text, token->size);
    if (token->type == TN_TOKEN_BYTE)
        return tn_state_bytes(s, &byte, 1);
    if (!tn_state_drain(s, true))
        return false;
    if (token->type == TN_TOKEN_CONTROL)
        return s->skip_special || tn_state_text(s, token->text, token->size);
    if (id == t->unk)
        return tn_state_text(s, t->unknown_text.data, (int64_t)t->unknown_text.size);
    tn_span text = {token->text, token->size};
    if (!s->begun && (t->dummy_prefix || t->remove_spaces) && starts_with(token, metaspace)) {
        text.data += 3;
        text.size -= 3;
        s->begun = !t->remove_spaces; /* where the normaliser removes spaces, all at the start go */
    }
    return put_replaced(s, text, metaspace, space);
}

/* run.c's decode(). */
bool tn_decode_llama2c(tn_text_state *s, int64_t id)
{
    const tn_token *token = &s->tokenizer->vocab.tokens[id];
    int byte = tn_byte_token(token->text, token->size);
    bool drop = (s->last == s->tokenizer->bos || s->last < 0) && token->size && *token->text == ' ';
    char c = (char)byte;
    if (s->tokenizer->special[id])
        return s->skip_special || tn_state_text(s, token->text, token->size);
    return byte >= 0 ? tn_state_bytes(s, &c, 1) : tn_state_bytes(s, token->text + drop, token->size - drop);
}

/* Tokens that are their text: tiktoken's bytes, llama3.np's. */
bool tn_decode_texts(tn_text_state *s, int64_t id)
{
    const tn_token *token = &s->tokenizer->vocab.tokens[id];
    return (s->tokenizer->special[id] && s->skip_special) || tn_state_bytes(s, token->text, token->size);
}

/* As llama.cpp has it: a letter's byte, or the bytes of a character that is none by their numbers, with the whole token behind. */
static bool put_named(tn_text_state *s, tn_span text)
{
    tn_bytes loose = {0};
    char name[32];
    bool good = tn_utf8_mend(text.data, text.size, true, &loose);
    for (int64_t at = 0, n, size = (int64_t)loose.size; good && at < size; at += n) {
        int taken, length = 0;
        const int32_t point = tn_utf8_next(loose.data + at, size - at, &taken);
        const int byte = tn_byte_of_letter(point);
        n = point < 0 && size - at >= 3 ? 3 : taken; /* a surrogate */
        if (byte >= 0) {
            good = tn_state_bytes(s, &(char){(char)byte}, 1);
            continue;
        }
        for (int64_t i = at; i < at + n; i++)
            length += snprintf(name + length, sizeof name - (size_t)length, "%s%02x", i == at ? "[UNK_BYTE_0x" : "", (unsigned char)loose.data[i]);
        good = tn_state_bytes(s, name, length) && tn_state_bytes(s, text.data, text.size) && tn_state_bytes(s, "]", 1);
    }
    tn_bytes_free(&loose);
    return good;
}

/* The bytes that a token's letters stand for; where one is no letter, those of its text, or as llama.cpp shows them. */
static bool put_letters(tn_text_state *s, tn_span text)
{
    for (int pass = 0; pass < 2; pass++)
        for (int64_t at = 0, n; at < text.size; at += n) {
            int taken, byte = tn_byte_of_letter(tn_utf8_next(text.data + at, text.size - at, &taken));
            char c = (char)byte;
            n = taken;
            if (byte < 0)
                return s->tokenizer->names_letters && text.size <= TN_NAMED_MOST ? put_named(s, text) : tn_state_bytes(s, text.data, text.size);
            if (pass == 1 && !tn_state_bytes(s, &c, 1))
                return false;
        }
    return true;
}

/* tokenizer.json's decoders. */
bool tn_decode_json(tn_text_state *s, int64_t id)
{
    const tn_tokenizer *t = s->tokenizer;
    tn_span text = tn_token_text(t, id);
    bool first = !s->any;
    if (t->special[id] && s->skip_special)
        return true;
    s->any = true;
    if (t->join_spaces && !first && !tn_state_text(s, " ", 1))
        return false;
    if (t->decode_letters)
        return put_letters(s, text);
    int byte = t->decode_bytes ? tn_byte_token(text.data, text.size) : -1;
    char c = (char)byte;
    if (byte >= 0)
        return tn_state_bytes(s, &c, 1);
    if (!t->from.size)
        return tn_state_text(s, text.data, text.size);
    tn_span from = {t->from.data, (int64_t)t->from.size}, to = {t->to.data, (int64_t)t->to.size};
    if (first && t->drop_first)
        to.size = 0;
    return put_replaced(s, text, from, to);
}

/* llama_token_to_piece() of llama.cpp. */
static bool put_piece(tn_text_state *s, int64_t id)
{
    const tn_tokenizer *t = s->tokenizer;
    const tn_token *token = &t->vocab.tokens[id];
    const bool special = token->type == TN_TOKEN_CONTROL || token->type == TN_TOKEN_UNKNOWN;
    const tn_span text = {token->text, token->size};
    if (token->type == TN_TOKEN_UNUSED || (special && s->skip_special))
        return true;
    const int byte = token->type == TN_TOKEN_BYTE ? tn_byte_token(text.data, text.size) : -1;
    const char c = (char)byte;
    if (byte >= 0)
        return tn_state_bytes(s, &c, 1);
    if (special || token->type == TN_TOKEN_USER)
        return tn_state_bytes(s, text.data, text.size);
    return t->letters ? put_letters(s, text) : put_replaced(s, text, metaspace, space);
}

/* llama_detokenize() of "llama": the space that was put in front of the text goes if the first token, even one that gives no text, begins with it. */
bool tn_decode_gguf(tn_text_state *s, int64_t id)
{
    const bool good = put_piece(s, id);
    s->stripped = s->tokenizer->strip_count;
    return good;
}

/* ---- the public functions ------------------------------------------------------------------------------------------------ */

struct tn_text_stream {
    tn_object base;
    tn_tokenizer *tokenizer;
    tn_text_state state;
};

static void state_begin(tn_text_state *s, const tn_tokenizer *t, bool skip_special)
{
    tn_bytes held = s->held, out = s->out;
    held.size = out.size = 0;
    *s = (tn_text_state){.tokenizer = t, .skip_special = skip_special, .last = -1, .held = held, .out = out};
}

/* Adds a token to the state; false with an error. */
static bool push(const char *op, tn_text_state *s, int64_t id)
{
    const tn_tokenizer *t = s->tokenizer;
    if (id < 0 || id >= t->vocab.count) {
        tn_fail(TN_ERR_INDEX, "%s: id %lld of a vocabulary of %lld", op, (long long)id, (long long)t->vocab.count);
        return false;
    }
    bool good = !t->vocab.tokens[id].text || t->decode(s, id);
    s->last = id;
    return good;
}

int64_t tn_tokenizer_decode_with(const tn_tokenizer_decode_args *a)
{
    TN_KNOWN(tn_tokenizer_decode_args, a);
    const tn_tokenizer *t = a->tokenizer;
    if (!tn_is_tokenizer("tokenizer_decode", t) || !tn_ready("tokenizer_decode", "ids", a->ids))
        return -1;
    if (a->capacity < 0 || (a->capacity && !a->text)) {
        tn_fail(TN_ERR_ARGUMENT, "tokenizer_decode: text is %s of %lld bytes", a->text ? "room" : "NULL", (long long)a->capacity);
        return -1;
    }
    if (tn_dtype_is_float(tn_dtype_of(a->ids))) {
        tn_fail(TN_ERR_DTYPE, "tokenizer_decode: ids are %s, and ids are integers", tn_dtype_name(tn_dtype_of(a->ids)));
        return -1;
    }
    int64_t count = tn_numel(a->ids);
    int64_t *ids = tn_alloc((size_t)count * sizeof *ids);
    if (!ids)
        return -1;
    tn_text_state s = {0};
    state_begin(&s, t, a->skip_special);
    s.whole_runs = t->decode_bytes;
    bool good = tn_to_ints(a->ids, ids, count) == TN_OK;
    for (int64_t i = 0; good && i < count; i++)
        good = push("tokenizer_decode", &s, ids[i]);
    good = good && tn_state_drain(&s, true);
    int64_t size = good ? (int64_t)s.out.size : -1, copied = size < a->capacity ? size : a->capacity - 1;
    if (good && a->capacity) {
        if (copied)
            memcpy(a->text, s.out.data, (size_t)copied);
        a->text[copied] = 0;
    }
    tn_bytes_free(&s.held);
    tn_bytes_free(&s.out);
    tn_free(ids, (size_t)count * sizeof *ids);
    return size;
}

static void stream_free(void *self)
{
    tn_text_stream *stream = self;
    tn_bytes_free(&stream->state.held);
    tn_bytes_free(&stream->state.out);
    tn_release(stream->tokenizer);
}
static const tn_class stream_class = {"text_stream", sizeof(tn_text_stream), stream_free};

tn_text_stream *tn_text_stream_new_with(const tn_text_stream_args *a)
{
    TN_KNOWN(tn_text_stream_args, a);
    if (!tn_is_tokenizer("text_stream_new", a->tokenizer))
        return NULL;
    tn_text_stream *stream = tn_object_new(&stream_class);
    if (!stream)
        return NULL;
    stream->tokenizer = tn_retain(a->tokenizer);
    state_begin(&stream->state, a->tokenizer, a->skip_special);
    tn_bytes *room[] = {&stream->state.held, &stream->state.out};
    for (int i = 0; i < 2; i++) {
        room[i]->capacity = (size_t)tn_most_text(a->tokenizer);
        if (!(room[i]->data = tn_alloc(room[i]->capacity))) {
            tn_release(stream);
            return NULL;
        }
    }
    return stream;
}

static bool is_stream(const char *op, const tn_text_stream *stream)
{
    if (!tn_failing() && (!stream || stream->base.cls != &stream_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: stream is %s", op, stream ? "no text stream" : "NULL");
    return !tn_failing();
}

/* What the state has to give, ended by a 0. */
static const char *text_of(tn_text_state *s, bool good, int64_t *bytes)
{
    size_t size = s->out.size;
    if (bytes)
        *bytes = good ? (int64_t)size : 0;
    return good && tn_bytes_add(&s->out, "", 1) ? s->out.data : NULL;
}

const char *tn_text_stream_push(tn_text_stream *stream, int64_t id, int64_t *bytes)
{
    if (bytes)
        *bytes = 0;
    if (!is_stream("text_stream_push", stream))
        return NULL;
    stream->state.out.size = 0;
    return text_of(&stream->state, push("text_stream_push", &stream->state, id), bytes);
}

const char *tn_text_stream_end(tn_text_stream *stream, int64_t *bytes)
{
    if (bytes)
        *bytes = 0;
    if (!is_stream("text_stream_end", stream))
        return NULL;
    tn_text_state *s = &stream->state;
    s->out.size = 0;
    const char *text = text_of(s, tn_state_drain(s, true), bytes);
    tn_bytes out = s->out;
    state_begin(s, stream->tokenizer, s->skip_special);
    s->out = out;
    return text;
}
