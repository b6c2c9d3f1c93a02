/* Byte-pair encoding in O(n log n): symbols in a doubly linked list, what may merge in a heap. All that differ are the first symbols, which
 * neighbours merge, and in what order. */
#include "text/text.h"

#include "io/file.h"

bool tn_emit(tn_encoder *e, int64_t id)
{
    if (!tn_grow(&e->ids, e->count, &e->ids_capacity, sizeof *e->ids))
        return false;
    e->ids[e->count++] = id;
    return true;
}

bool tn_piece_fits(const tn_piece *p)
{
    if (p->size > INT32_MAX / 2)
        tn_fail(TN_ERR_ARGUMENT, "tokenizer_encode: a part of the text has %lld bytes: at most %d go", (long long)p->size, INT32_MAX / 2);
    return p->size <= INT32_MAX / 2;
}

/* ---- the heap ------------------------------------------------------------------------------------------------------------ */

/* Four children each: as deep as half, and they lie side by side. */
bool tn_candidate_push(tn_encoder *e, tn_candidate c)
{
    if (!tn_grow(&e->heap, e->heap_count, &e->heap_capacity, sizeof *e->heap))
        return false;
    size_t at = e->heap_count++;
    for (; at > 0 && c.order < e->heap[(at - 1) / 4].order; at = (at - 1) / 4)
        e->heap[at] = e->heap[(at - 1) / 4];
    e->heap[at] = c;
    return true;
}

tn_candidate tn_candidate_pop(tn_encoder *e)
{
    tn_candidate *heap = e->heap, first = heap[0], last = heap[--e->heap_count];
    size_t at = 0, count = e->heap_count;
    for (size_t child; (child = 4 * at + 1) < count;) {
        size_t least = child, end = child + 4 < count ? child + 4 : count;
        for (child++; child < end; child++)
            least = heap[child].order < heap[least].order ? child : least;
        if (last.order <= heap[least].order)
            break;
        heap[at] = heap[least];
        at = least;
    }
    heap[at] = last;
    return first;
}

/* Ranks as they are, the smallest first; scores turned round, as whole numbers of the same order; behind either the place. */
static uint64_t order_of_rank(int32_t rank, int32_t left) { return (uint64_t)(uint32_t)rank << 32 | (uint32_t)left; }
static uint64_t order_of_score(float score, int32_t left)
{
    uint32_t bits;
    score = 0.0f - score; /* and no -0 */
    memcpy(&bits, &score, sizeof bits);
    bits = bits >> 31 ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)left;
}

/* ---- symbols ------------------------------------------------------------------------------------------------------------- */

/* Behind the list; one without bytes is none. */
static bool add_symbol(tn_encoder *e, int64_t start, int64_t size, int32_t id)
{
    if (!tn_grow(&e->symbols, e->symbol_count, &e->symbols_capacity, sizeof *e->symbols))
        return false;
    int32_t at = (int32_t)e->symbol_count++;
    e->symbols[at] = (tn_symbol){(int32_t)start, (int32_t)size, at - 1, at + 1, id};
    return true;
}

static bool merges_at_all(const tn_tokenizer *t, int32_t id)
{
    return t->any_type || t->vocab.tokens[id].type == TN_TOKEN_NORMAL || t->vocab.tokens[id].type == TN_TOKEN_USER ||
           t->vocab.tokens[id].type == TN_TOKEN_UNUSED;
}

/* Offers the symbol and the one behind it, where they make a token. */
static bool offer(tn_encoder *e, const char *text, int32_t left)
{
    const tn_tokenizer *t = e->tokenizer;
    const tn_symbol *a = &e->symbols[left], *b = left >= 0 && a->next >= 0 ? &e->symbols[a->next] : NULL;
    if (!b || a->id < -1 || b->id < -1)
        return true;
    int32_t size = a->size + b->size, id;
    uint64_t order;
    e->work++;
    if (t->merge == TN_MERGE_PAIRS) {
        const tn_pair_rule *pair = tn_pairs_find(&t->pairs, a->id, b->id);
        if (!pair)
            return true;
        id = pair->id;
        order = order_of_rank(pair->rank, left);
    } else {
        id = size <= t->vocab.longest ? tn_vocab_find(&t->vocab, text + a->start, size) : -1;
        if (id < 0 || !merges_at_all(t, id))
            return true;
        order = t->merge == TN_MERGE_IDS ? order_of_rank(id, left) : order_of_score(t->vocab.tokens[id].score, left);
        if (e->splits && t->vocab.tokens[id].type == TN_TOKEN_UNUSED)
            e->splits[id] = a->size;
    }
    return tn_candidate_push(e, (tn_candidate){order, size, id});
}

static bool merge_all(tn_encoder *e, const char *text)
{
    tn_symbol *s = e->symbols;
    e->heap_count = 0;
    for (size_t i = 0; i + 1 < e->symbol_count; i++)
        if (!offer(e, text, (int32_t)i))
            return false;
    while (e->heap_count) {
        tn_candidate c = tn_candidate_pop(e);
        int32_t left = (int32_t)(uint32_t)c.order;
        tn_symbol *a = &s[left];
        if (a->size == 0 || a->next < 0 || a->size + s[a->next].size != c.size)
            continue; /* one of the two has merged otherwise since */
        tn_symbol *b = &s[a->next];
        a->size = c.size;
        a->id = c.id;
        a->next = b->next;
        if (b->next >= 0)
            s[b->next].prev = left;
        b->size = 0;
        if (!offer(e, text, a->prev) || !offer(e, text, left))
            return false;
    }
    return true;
}

/* ---- first symbols ------------------------------------------------------------------------------------------------------- */

static int64_t unit_size(const tn_tokenizer *t, const char *text, int64_t size)
{
    if (t->unit == TN_UNIT_BYTE)
        return 1;
    int64_t n = "\1\1\1\1\1\1\1\1\1\1\1\1\2\2\3\4"[(unsigned char)*text >> 4];
    if (t->unit == TN_UNIT_RUN)
        for (n = 1; n < size && n < 4 && ((unsigned char)text[n] & 0xc0) == 0x80; n++)
            continue;
    return n < size ? n : size;
}

/* SentencePiece's and llama2.c's: each character; its token, if it has one, is looked for at the end. */
static bool first_of_texts(tn_encoder *e, tn_piece p)
{
    const tn_tokenizer *t = e->tokenizer;
    for (int64_t at = 0, n; at < p.size; at += n) {
        int32_t user;
        bool prefix = t->unit == TN_UNIT_RUN && at == 0; /* the space that was put in front stands alone, whatever follows */
        n = tn_trie_longest(&t->user, p.text + at, p.size - at, &user);
        int32_t id = n ? -2 : -1;
        n = n ? n : prefix ? 1 : unit_size(t, p.text + at, p.size - at);
        if (!add_symbol(e, at, n, id))
            return false;
    }
    return true;
}

static bool add_bytes(tn_encoder *e, tn_piece p, int64_t at, int64_t n, bool *whole)
{
    const int32_t *bytes = e->tokenizer->bytes;
    *whole = true;
    for (int64_t i = at; i < at + n; i++)
        *whole &= bytes[(unsigned char)p.text[i]] >= 0;
    for (int64_t i = at; *whole && i < at + n; i++)
        if (!add_symbol(e, i, 1, bytes[(unsigned char)p.text[i]]))
            return false;
    return true;
}

/* tokenizers' BPE: the token of each character, else those of its bytes, else the unknown one. */
static bool first_of_pairs(tn_encoder *e, tn_piece p)
{
    const tn_tokenizer *t = e->tokenizer;
    int64_t unknown_at = 0, unknown = 0; /* characters that wait to be one unknown token */
    for (int64_t at = 0, n; at < p.size; at += n) {
        n = unit_size(t, p.text + at, p.size - at);
        int32_t id = t->letters ? t->bytes[(unsigned char)p.text[at]] : tn_model_token(t, p.text + at, n);
        bool whole = false;
        if (id < 0 && t->byte_fallback && !add_bytes(e, p, at, n, &whole))
            return false;
        if (whole || (id < 0 && t->unk < 0))
            continue;
        if (unknown && (id >= 0 || !t->fuse_unknown)) {
            if (!add_symbol(e, unknown_at, unknown, (int32_t)t->unk))
                return false;
            unknown = 0;
        }
        if (id >= 0 && !add_symbol(e, at, n, id))
            return false;
        if (id < 0) {
            unknown_at = unknown ? unknown_at : at;
            unknown += n;
        }
    }
    return !unknown || add_symbol(e, unknown_at, unknown, (int32_t)t->unk);
}

/* ---- what comes out ------------------------------------------------------------------------------------------------------ */

bool tn_emit_unknown(tn_encoder *e, const char *text, int64_t size)
{
    const tn_tokenizer *t = e->tokenizer;
    bool fresh = !e->last_unknown;
    if (t->byte_fallback) {
        for (int64_t i = 0; i < size; i++) {
            int32_t id = t->bytes[(unsigned char)text[i]];
            if (id >= 0 ? !tn_emit(e, id) : t->unk >= 0 && !tn_emit(e, t->unk))
                return false;
        }
        return true;
    }
    e->last_unknown = true;
    return t->unk < 0 || !fresh || tn_emit(e, t->unk); /* SentencePiece: a run of unknown characters is one token */
}

/* A text as the token it is; one that is unused is taken apart where it was merged. */
static bool emit_text(tn_encoder *e, const char *text, int64_t size)
{
    const tn_tokenizer *t = e->tokenizer;
    int32_t id = tn_vocab_find(&t->vocab, text, size);
    const bool whatever = t->any_type && t->unit == TN_UNIT_CHARACTER; /* llama.cpp's: any text that is a token is that token */
    if (id < 0 || (id == t->unk && !whatever))
        return tn_emit_unknown(e, text, size);
    int32_t left = e->splits && t->vocab.tokens[id].type == TN_TOKEN_UNUSED ? e->splits[id] : 0;
    if (left > 0 && left < size)
        return emit_text(e, text, left) && emit_text(e, text + left, size - left);
    e->last_unknown = false;
    return tn_emit(e, id);
}

bool tn_step_merge(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    (void)step;
    const tn_tokenizer *t = e->tokenizer;
    if (!tn_piece_fits(&p))
        return false;
    e->piece_ids = e->count;
    if (t->whole_first) {
        int32_t id = t->letters ? -1 : tn_model_token(t, p.text, p.size);
        if (t->letters) {
            tn_bytes *b = &e->texts[TN_STEPS_MAX - 1];
            char letter[4];
            b->size = 0;
            for (int64_t i = 0; i < p.size && i < INT16_MAX; i++)
                if (!tn_bytes_add(b, letter, tn_utf8_put(tn_letter_of_byte((unsigned char)p.text[i]), letter)))
                    return false;
            id = p.size < INT16_MAX ? tn_model_token(t, b->data, (int64_t)b->size) : -1;
        }
        if (id >= 0)
            return tn_emit(e, id);
    }
    e->symbol_count = 0;
    e->last_unknown = false;
    if (!(t->merge == TN_MERGE_PAIRS ? first_of_pairs(e, p) : first_of_texts(e, p)))
        return false;
    if (e->symbol_count == 0)
        return true;
    e->symbols[e->symbol_count - 1].next = -1;
    if (!merge_all(e, p.text))
        return false;
    for (int32_t i = 0; i >= 0; i = e->symbols[i].next) {
        const tn_symbol *s = &e->symbols[i];
        if (t->merge == TN_MERGE_PAIRS ? !tn_emit(e, s->id) : !emit_text(e, p.text + s->start, s->size))
            return false;
    }
    return true;
}
