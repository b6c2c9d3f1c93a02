/* llama2.c's tokenizer.bin: an i32, the most bytes that a token has, then of each token its f32 score, i32 size and text
 * (https://github.com/karpathy/llama2.c, tokenizer.py and run.c). */
#include "text/text.h"

#include <math.h>

static bool read_i32(const tn_text_file *f, int64_t *at, int32_t *value)
{
    if (f->size - *at < 4)
        return false;
    const unsigned char *b = (const unsigned char *)f->data + *at;
    *value = (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
    *at += 4;
    return true;
}

static bool damaged(const tn_text_file *f, int64_t at)
{
    tn_fail(TN_ERR_FORMAT, "%s: %s: no file of a tokenizer that Tenon knows; as llama2.c's it is damaged at byte %lld", f->op, f->path, (long long)at);
    return false;
}

/* The token at *at; false where there is none whole. */
static bool next_token(const tn_text_file *f, int64_t *at, int32_t most, float *score, tn_span *text)
{
    int32_t bits, size;
    int64_t to = *at;
    if (!read_i32(f, &to, &bits) || !read_i32(f, &to, &size) || size < 0 || size > most || size > f->size - to)
        return false;
    memcpy(score, &bits, 4);
    *text = (tn_span){f->data + to, size};
    if (!isfinite(*score))
        return false;
    *at = to + size;
    return true;
}

bool tn_read_llama2c(tn_tokenizer *t, const tn_text_file *f, int64_t vocab_size)
{
    int64_t at = 0, count = 0, start;
    int32_t most;
    float score;
    tn_span text;
    bool known;
    if (!read_i32(f, &at, &most) || most < 1)
        return damaged(f, 0);
    for (start = at; at < f->size && (vocab_size <= 0 || count < vocab_size); count++)
        if (!next_token(f, &at, most, &score, &text))
            return damaged(f, at);
    if (count == 0 || at != f->size || (vocab_size > 0 && count != vocab_size)) {
        tn_fail(TN_ERR_FORMAT, "%s: %s: %s%lld tokens, and %lld are due", f->op, f->path, at != f->size ? "more than " : "", (long long)count,
                (long long)vocab_size);
        return false;
    }
    if (!tn_vocab_init(&t->vocab, count, f->size) || !tn_finish_vocab(t))
        return false;
    at = start;
    for (int64_t id = 0; id < count && next_token(f, &at, most, &score, &text); id++)
        if (!tn_vocab_set(&t->vocab, id, text.data, text.size, TN_TOKEN_NORMAL, score, &known))
            return damaged(f, at);
    tn_find_bytes(t);
    t->byte_fallback = t->any_type = true;
    t->unit = TN_UNIT_RUN;
    t->merge = TN_MERGE_SCORES;
    t->bos = count > 1 ? 1 : -1; /* run.c's, whatever the vocabulary */
    t->eos = count > 2 ? 2 : -1;
    t->unk = count > 0 ? 0 : -1;
    t->special[0] = true;
    for (int id = 1; id < 3 && id < count; id++)
        t->special[id] = true;
    t->file_name = "tokenizer.bin";
    t->decode = tn_decode_llama2c;
    t->lossy = TN_LOSSY_RAW;
    tn_text_step *added = tn_add_step(t, f->op, tn_step_added), *prepend = added ? tn_add_step(t, f->op, tn_step_prepend) : NULL;
    if (!prepend || !tn_bytes_add(&prepend->with, " ", 1) || !tn_add_step(t, f->op, tn_step_merge))
        return false;
    prepend->mode = TN_PREPEND_ALWAYS;
    static const char names[][5] = {"<s>", "</s>"}; /* the file has them with a line's end on either side, to be shown */
    for (int32_t id = 1; id < 3 && id < count; id++)
        if (!tn_add_token(t, added, names[id - 1], (int64_t)strlen(names[id - 1]), (tn_added){id, .special = true}))
            return false;
    return true;
}
