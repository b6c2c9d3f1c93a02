/* SentencePiece's tokenizer.model: its protocol buffer (https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto),
 * and its normaliser, whose rules are a double array of Darts (precompiled_charsmap). */
#include "text/text.h"

#include <math.h>

#define SPACE "\xe2\x96\x81"

/* ---- the normaliser ------------------------------------------------------------------------------------------------------ */

static uint32_t little32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* The longest rule at the start of text: its length, and what comes in its place into *with; 0: none. */
static int64_t find_rule(const tn_tokenizer *t, const char *text, int64_t size, const char **with)
{
    int64_t longest = 0, texts = (int64_t)t->charsmap.size - 4 * t->charsmap_units;
    uint64_t node = 0, units = (uint64_t)t->charsmap_units;
    if (!units)
        return 0;
    uint32_t unit = little32(t->charsmap.data);
    node ^= (uint64_t)(unit >> 10) << ((unit & 512) >> 6);
    for (int64_t i = 0; i < size; i++) {
        node ^= (unsigned char)text[i];
        if (node >= units)
            break;
        unit = little32(t->charsmap.data + 4 * node);
        if ((unit & 0x800000ff) != (unsigned char)text[i])
            break;
        node ^= (uint64_t)(unit >> 10) << ((unit & 512) >> 6);
        if (unit & 256 && node < units) {
            int64_t at = little32(t->charsmap.data + 4 * node) & 0x7fffffff;
            if (at >= texts)
                continue;
            longest = i + 1;
            *with = t->charsmap.data + 4 * units + at;
        }
    }
    return longest;
}

/* What the beginning of text becomes, and how much of it was taken. */
static int64_t normal_prefix(const tn_tokenizer *t, const char *text, int64_t size, const char **with, int64_t *with_size)
{
    int32_t user;
    int64_t n = tn_trie_longest(&t->user, text, size, &user);
    int taken;
    *with = text;
    *with_size = n;
    if (n)
        return n;
    n = find_rule(t, text, size, with);
    if (n) {
        *with_size = (int64_t)strlen(*with);
        return n;
    }
    bool good = tn_utf8_next(text, size, &taken) >= 0 || t->lossy == TN_LOSSY_RAW;
    *with = good ? text : "\xef\xbf\xbd";
    *with_size = good ? taken : 3;
    return taken;
}

static bool add_escaped(const tn_tokenizer *t, tn_bytes *b, const char *text, int64_t size)
{
    for (int64_t i = 0, n; i < size; i += n + 1) {
        const char *space = t->escape_spaces ? memchr(text + i, ' ', (size_t)(size - i)) : NULL;
        n = space ? space - text - i : size - i;
        if (!tn_bytes_add(b, text + i, n) || (space && !tn_bytes_add(b, SPACE, 3)))
            return false;
    }
    return true;
}

/* Normalizer::Normalize. */
bool tn_step_sentencepiece(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    const tn_tokenizer *t = e->tokenizer;
    tn_bytes *b = &e->texts[step - t->steps];
    const char *with, *text = p.text;
    int64_t size = p.size, with_size, n;
    b->size = 0;
    for (; t->remove_spaces && size; text += n, size -= n) {
        n = normal_prefix(t, text, size, &with, &with_size);
        if (with_size != 1 || *with != ' ')
            break;
    }
    if (size == 0)
        return true;
    if (!t->suffix && t->dummy_prefix && !add_escaped(t, b, " ", 1))
        return false;
    for (bool after_space = t->remove_spaces; size; text += n, size -= n) {
        n = normal_prefix(t, text, size, &with, &with_size);
        for (; after_space && with_size && *with == ' '; with++)
            with_size--;
        if (!add_escaped(t, b, with, with_size))
            return false;
        if (with_size)
            after_space = t->remove_spaces && with[with_size - 1] == ' ';
    }
    size_t space = t->escape_spaces ? 3 : 1;
    while (t->remove_spaces && b->size >= space && memcmp(b->data + b->size - space, space == 3 ? SPACE : " ", space) == 0)
        b->size -= space;
    if (t->suffix && t->dummy_prefix && !add_escaped(t, b, " ", 1))
        return false;
    return tn_pass_on(e, step, b->data, (int64_t)b->size, p.first);
}

/* ---- the protocol buffer ------------------------------------------------------------------------------------------------- */

typedef struct field {
    uint64_t number, value; /* value: of a number; 4 bytes little-endian of a float */
    const char *data;       /* of bytes and messages */
    int64_t size;           /* -1: a number */
} field;
typedef struct message {
    const char *at, *end;
} message;

static bool varint(message *m, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        unsigned char byte = (unsigned char)*m->at++;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return true;
    }
    return false;
}

/* The next field; false at the end and, with m->at before it, where it is damaged. */
static bool next_field(message *m, field *f)
{
    uint64_t tag, size = 0;
    const char *start = m->at;
    if (m->at == m->end)
        return false;
    *f = (field){.size = -1};
    bool good = varint(m, &tag);
    f->number = tag >> 3;
    switch (good ? tag & 7 : 7) {
    case 0: good = varint(m, &f->value); break;
    case 1: size = 8; break;
    case 5: size = 4; break;
    case 2: good = varint(m, &size); break;
    default: good = false;
    }
    good = good && f->number && size <= (uint64_t)(m->end - m->at);
    if (!good) {
        m->at = start;
        return false;
    }
    f->data = m->at;
    f->size = (tag & 7) == 2 ? (int64_t)size : -1;
    if ((tag & 7) == 5)
        f->value = little32(m->at);
    m->at += size;
    return true;
}

typedef struct model {
    tn_tokenizer *t;
    const tn_text_file *f;
    int64_t pieces;
    uint64_t type; /* 1 unigram, 2 BPE */
    int64_t ids[3]; /* unknown, beginning, end */
} model;

static bool damaged(const model *m, const char *what)
{
    tn_fail(TN_ERR_FORMAT, "%s: %s: no SentencePiece model, or a damaged one: %s", m->f->op, m->f->path, what);
    return false;
}

static bool read_piece(model *m, message piece, int64_t id)
{
    const char *text = NULL;
    int64_t size = 0;
    uint64_t type = TN_TOKEN_NORMAL;
    float score = 0;
    bool known;
    for (field f; next_field(&piece, &f);) {
        if (f.number == 1 && f.size >= 0) {
            text = f.data;
            size = f.size;
        } else if (f.number == 2 && f.size < 0) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, 4);
        } else if (f.number == 3) {
            type = f.value;
        }
    }
    if (piece.at != piece.end || size == 0 || type < TN_TOKEN_NORMAL || type > TN_TOKEN_BYTE || !isfinite(score))
        return damaged(m, "a piece without a text, a type or a score");
    if (!tn_vocab_set(&m->t->vocab, id, text, size, (int)type, score, &known) || known)
        return damaged(m, "a piece that is there twice");
    return true;
}

static bool read_trainer(model *m, message spec)
{
    tn_tokenizer *t = m->t;
    for (field f; next_field(&spec, &f);) {
        if (f.number == 3 && f.size < 0)
            m->type = f.value;
        else if (f.number == 24 && f.size < 0)
            t->suffix = f.value != 0;
        else if (f.number == 35 && f.size < 0)
            t->byte_fallback = f.value != 0;
        else if (f.number >= 40 && f.number <= 42 && f.size < 0)
            m->ids[f.number - 40] = (int32_t)(uint32_t)f.value;
        else if (f.number == 44 && f.size >= 0) {
            t->unknown_text.size = 0;
            if (!tn_bytes_add(&t->unknown_text, f.data, f.size))
                return false;
        }
    }
    return spec.at == spec.end || damaged(m, "its trainer_spec");
}

static bool read_charsmap(model *m, const char *data, int64_t size)
{
    tn_tokenizer *t = m->t;
    if (size == 0)
        return true;
    uint32_t bytes = size >= 4 ? little32(data) : 0;
    if (size < 8 || bytes % 4 || bytes < 4 || bytes > size - 5 || data[size - 1] != 0)
        return damaged(m, "its precompiled_charsmap");
    t->charsmap_units = bytes / 4;
    t->charsmap.size = 0;
    return tn_bytes_add(&t->charsmap, data + 4, size - 4);
}

static bool read_normalizer(model *m, message spec)
{
    tn_tokenizer *t = m->t;
    for (field f; next_field(&spec, &f);) {
        if (f.number == 2 && f.size >= 0 && !read_charsmap(m, f.data, f.size))
            return false;
        if (f.size < 0 && f.number == 3)
            t->dummy_prefix = f.value != 0;
        else if (f.size < 0 && f.number == 4)
            t->remove_spaces = f.value != 0;
        else if (f.size < 0 && f.number == 5)
            t->escape_spaces = f.value != 0;
    }
    return spec.at == spec.end || damaged(m, "its normalizer_spec");
}

/* One without rules, as the trainer writes it unless told otherwise, changes nothing when a text is decoded. */
static bool read_denormalizer(const model *m, message spec)
{
    for (field f; next_field(&spec, &f);)
        if (f.number == 2 && f.size > 0) {
            tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: its denormalizer_spec has rules (precompiled_charsmap): Tenon decodes without such", m->f->op,
                    m->f->path);
            return false;
        }
    return spec.at == spec.end || damaged(m, "its denormalizer_spec");
}

/* What follows from the pieces: who is special, found whole, a byte, and the least score. */
static bool ready(tn_tokenizer *t, tn_trie *pieces)
{
    t->least = INFINITY;
    for (int64_t id = 0; id < t->vocab.count; id++) {
        const tn_token *token = &t->vocab.tokens[id];
        t->special[id] = token->type == TN_TOKEN_CONTROL;
        t->has_unused |= token->type == TN_TOKEN_UNUSED;
        if (token->type == TN_TOKEN_UNKNOWN && t->unk < 0)
            t->unk = id;
        if (token->type == TN_TOKEN_NORMAL)
            t->least = token->score < t->least ? token->score : t->least;
        bool in_text = token->type == TN_TOKEN_NORMAL || token->type == TN_TOKEN_USER || token->type == TN_TOKEN_UNUSED;
        if ((token->type == TN_TOKEN_USER && token->size && !tn_trie_add(&t->user, token->text, token->size, (int32_t)id)) ||
            (pieces && in_text && !tn_trie_add(pieces, token->text, token->size, (int32_t)id)))
            return false;
    }
    tn_find_bytes(t);
    return true;
}

/* Control tokens and the unknown one are found in the text where the caller allows it. */
static bool add_steps(tn_tokenizer *t, const char *op)
{
    tn_text_step *added = tn_add_step(t, op, tn_step_added), *s = added ? tn_add_step(t, op, tn_step_sentencepiece) : NULL;
    if (!s)
        return false;
    for (int64_t id = 0; id < t->vocab.count; id++) {
        const tn_token *token = &t->vocab.tokens[id];
        if ((token->type == TN_TOKEN_CONTROL || token->type == TN_TOKEN_UNKNOWN) && token->size &&
            !tn_add_token(t, added, token->text, token->size, (tn_added){(int32_t)id, .special = true}))
            return false;
    }
    t->merge = TN_MERGE_SCORES;
    t->unit = TN_UNIT_CHARACTER;
    t->file_name = "tokenizer.model";
    t->decode = tn_decode_sentencepiece;
    t->lossy = TN_LOSSY_EACH_BYTE;
    return true;
}

static bool count_pieces(model *m, message file)
{
    int64_t bytes = 0;
    for (field f; next_field(&file, &f);)
        if (f.number == 1 && f.size >= 0) {
            m->pieces++;
            bytes += f.size;
        }
    if (file.at != file.end || m->pieces == 0)
        return damaged(m, "its fields do not fit the file");
    return tn_vocab_init(&m->t->vocab, m->pieces, bytes);
}

bool tn_read_sentencepiece(tn_tokenizer *t, const tn_text_file *file)
{
    model m = {.t = t, .f = file, .type = 1, .ids = {0, 1, 2}};
    message all = {file->data, file->data + file->size};
    t->dummy_prefix = t->remove_spaces = t->escape_spaces = true;
    if (!tn_bytes_add(&t->unknown_text, " \xe2\x81\x87 ", 5) || !count_pieces(&m, all))
        return false;
    int64_t id = 0;
    for (field f; next_field(&all, &f);) {
        message part = {f.data, f.data + (f.size > 0 ? f.size : 0)};
        if (f.size >= 0 && ((f.number == 1 && !read_piece(&m, part, id++)) || (f.number == 2 && !read_trainer(&m, part)) ||
                            (f.number == 3 && !read_normalizer(&m, part)) || (f.number == 5 && !read_denormalizer(&m, part))))
            return false;
    }
    if (m.type != 1 && m.type != 2) {
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: a model of words or characters: Tenon reads unigram and BPE models", file->op, file->path);
        return false;
    }
    if (!tn_finish_vocab(t))
        return false;
    t->bos = m.ids[1] >= 0 && m.ids[1] < m.pieces ? m.ids[1] : -1;
    t->eos = m.ids[2] >= 0 && m.ids[2] < m.pieces ? m.ids[2] : -1;
    if (!add_steps(t, file->op))
        return false;
    tn_text_step *last = tn_add_step(t, file->op, m.type == 1 ? tn_step_unigram : tn_step_merge);
    if (!last || !ready(t, m.type == 1 ? &last->trie : NULL))
        return false;
    if (t->unk < 0)
        return damaged(&m, "no piece stands for the unknown");
    return !t->byte_fallback || t->bytes[0] >= 0 || damaged(&m, "byte_fallback without pieces for bytes");
}
