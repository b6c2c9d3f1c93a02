/* The steps between a text and a model: added tokens, normalisers, splitters, as Hugging Face's tokenizers have them. */
#include "text/text.h"

#include "io/file.h"

/* The step's own text, emptied. */
static tn_bytes *own_text(tn_encoder *e, const tn_text_step *step)
{
    tn_bytes *b = &e->texts[step - e->tokenizer->steps];
    b->size = 0;
    return b;
}

static bool pass_on_own(tn_encoder *e, const tn_text_step *step, const tn_bytes *b, bool first)
{
    return tn_pass_on(e, step, b->data, (int64_t)b->size, first);
}

bool tn_step_mend(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    if (tn_is_utf8(p.text, (size_t)p.size))
        return tn_pass_on(e, step, p.text, p.size, p.first);
    tn_bytes *b = own_text(e, step);
    return tn_utf8_mend(p.text, p.size, step->flag, b) && pass_on_own(e, step, b, p.first);
}

/* ---- added tokens -------------------------------------------------------------------------------------------------------- */

static int64_t spaces_before(const char *text, int64_t end)
{
    while (end > 0) {
        int64_t at = end - 1;
        int taken;
        while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
            at--;
        if (!tn_white_space(tn_utf8_next(text + at, end - at, &taken)))
            break;
        end = at;
    }
    return end;
}

static int64_t spaces_behind(const char *text, int64_t size, int64_t at)
{
    int taken;
    while (at < size && tn_white_space(tn_utf8_next(text + at, size - at, &taken)))
        at += taken;
    return at;
}

/* Whether a word's character stands right before `start` or right behind `end`. */
static bool within_word(const tn_piece *p, int64_t start, int64_t end)
{
    int taken;
    int64_t at = start - 1;
    while (at > 0 && ((unsigned char)p->text[at] & 0xc0) == 0x80)
        at--;
    return (start > 0 && tn_word_point(tn_utf8_next(p->text + at, start - at, &taken))) ||
           (end < p->size && tn_word_point(tn_utf8_next(p->text + end, p->size - end, &taken)));
}

/* The longest token that counts at the start of so many bytes, as a candidate for `at`; its size is 0 where there is none. */
static tn_candidate longest_that_counts(const tn_encoder *e, const tn_text_step *step, const char *text, int64_t size, int64_t at)
{
    tn_candidate longest = {0};
    int32_t node = 0;
    for (int32_t i = 0; i < size && (node = tn_trie_step(&step->trie, node, (unsigned char)text[i])) >= 0; i++) {
        const int32_t place = step->trie.values[node];
        if (place >= 0 && (e->allow_special || !e->tokenizer->added[place].special))
            longest = (tn_candidate){(uint64_t)place << 32 | (uint64_t)at, i + 1, place};
    }
    return longest;
}

/* Of tokens that overlap those of the least place in tokenizer->added, and of one token the leftmost. */
static bool by_places(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    if (!tn_piece_fits(&p))
        return false;
    e->heap_count = 0;
    for (int64_t at = 0; at < p.size; at++) {
        const tn_candidate c = longest_that_counts(e, step, p.text + at, p.size - at, at);
        if (c.size && !tn_candidate_push(e, c))
            return false;
    }
    if (e->heap_count == 0)
        return tn_pass_on(e, step, p.text, p.size, p.first);
    tn_bytes *b = own_text(e, step);
    for (size_t i = 0; i < sizeof(int32_t); i++)
        if (!tn_bytes_add(b, p.text, p.size))
            return false;
    memset(b->data, -1, b->size);
    int32_t *taken = (int32_t *)(void *)b->data; /* [p.size] the place of the token that has the byte; -1: none */
    while (e->heap_count) {
        tn_candidate c = tn_candidate_pop(e);
        const int64_t at = (uint32_t)c.order;
        int32_t room = 0;
        while (room < c.size && taken[at + room] < 0)
            room++;
        for (int32_t i = 0; i < c.size && room == c.size; i++)
            taken[at + i] = c.id;
        if (room < c.size && (c = longest_that_counts(e, step, p.text + at, room, at)).size && !tn_candidate_push(e, c))
            return false;
    }
    int64_t done = 0;
    for (int64_t at = 0; at < p.size;) {
        if (taken[at] < 0) {
            at++;
            continue;
        }
        const int32_t id = e->tokenizer->added[taken[at]].id;
        if (!tn_pass_on(e, step, p.text + done, at - done, p.first && done == 0) || !tn_emit(e, id))
            return false;
        done = at += e->tokenizer->vocab.tokens[id].size;
    }
    return done >= p.size || tn_pass_on(e, step, p.text + done, p.size - done, p.first && done == 0);
}

/* Leftmost and of those the longest, one behind the other, as Hugging Face's tokenizers find them; with the flag as llama.cpp does, by their places. */
bool tn_step_added(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    int64_t done = 0;
    if (step->flag)
        return by_places(e, step, p);
    for (int64_t at = 0, n; at < p.size; at += n) {
        int32_t place;
        n = tn_trie_longest(&step->trie, p.text + at, p.size - at, &place);
        if (!n) {
            n = 1;
            continue;
        }
        const tn_added *added = &e->tokenizer->added[place];
        int64_t start = at, end = at + n;
        if ((added->special && !e->allow_special) || (added->single_word && within_word(&p, start, end)))
            continue;
        if (added->left)
            start = spaces_before(p.text, start);
        start = start > done ? start : done;
        if (added->right)
            end = spaces_behind(p.text, p.size, end);
        if (!tn_pass_on(e, step, p.text + done, start - done, p.first && done == 0) || !tn_emit(e, added->id))
            return false;
        done = end;
    }
    return done >= p.size || tn_pass_on(e, step, p.text + done, p.size - done, p.first && done == 0);
}

/* ---- normalisers --------------------------------------------------------------------------------------------------------- */

bool tn_step_prepend(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    bool has = step->flag && p.size >= (int64_t)step->with.size && memcmp(p.text, step->with.data, step->with.size) == 0;
    if (has || step->mode == TN_PREPEND_NEVER || (step->mode == TN_PREPEND_FIRST && !p.first))
        return tn_pass_on(e, step, p.text, p.size, p.first);
    tn_bytes *b = own_text(e, step);
    return tn_bytes_add(b, step->with.data, (int64_t)step->with.size) && tn_bytes_add(b, p.text, p.size) && pass_on_own(e, step, b, p.first);
}

/* The next place of what the step looks for, from `from` on; start is p.size where there is none. False with an error. */
static bool find(const tn_text_step *step, const tn_piece *p, int64_t from, int64_t *tries, int64_t *start, int64_t *end)
{
    *start = *end = p->size;
    if (step->pattern)
        return tn_pattern_find(step->pattern, p->text, p->size, from, tries, start, end) || !tn_failing();
    const char *at = from < p->size ? memmem(p->text + from, (size_t)(p->size - from), step->what.data, step->what.size) : NULL;
    if (at) {
        *start = at - p->text;
        *end = *start + (int64_t)step->what.size;
    }
    return true;
}

bool tn_step_replace(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    int64_t at = 0, start, end, tries = tn_pattern_tries(p.size);
    tn_bytes *b = own_text(e, step);
    for (; at < p.size; at = end) {
        if (!find(step, &p, at, &tries, &start, &end) || !tn_bytes_add(b, p.text + at, start - at) ||
            (start < end && !tn_bytes_add(b, step->with.data, (int64_t)step->with.size)))
            return false;
    }
    return pass_on_own(e, step, b, p.first);
}

bool tn_step_normal(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    int64_t ascii = 0;
    while (ascii < p.size && (unsigned char)p.text[ascii] < 128)
        ascii++;
    if (ascii == p.size)
        return tn_pass_on(e, step, p.text, p.size, p.first);
    tn_bytes *b = own_text(e, step);
    return tn_normal_form(p.text, p.size, step->flag, b) && pass_on_own(e, step, b, p.first);
}

bool tn_step_known(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    tn_bytes *b = own_text(e, step);
    int taken;
    for (int64_t at = 0; at < p.size; at += taken) {
        tn_utf8_next(p.text + at, p.size - at, &taken);
        if (tn_vocab_find(&e->tokenizer->vocab, p.text + at, taken) >= 0 && !tn_bytes_add(b, p.text + at, taken))
            return false;
    }
    return pass_on_own(e, step, b, p.first);
}

bool tn_step_strip(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    int64_t start = step->mode & 1 ? spaces_behind(p.text, p.size, 0) : 0;
    int64_t end = step->mode & 2 ? spaces_before(p.text, p.size) : p.size;
    return start >= end || tn_pass_on(e, step, p.text + start, end - start, p.first);
}

/* ---- splitters ----------------------------------------------------------------------------------------------------------- */

/* Where a split is: a part that may grow yet. */
typedef struct cut {
    tn_encoder *e;
    const tn_text_step *step;
    tn_piece p;
    int64_t start, end; /* the part that waits; start == end: none */
    bool was_match;
} cut;

static bool flush(cut *c)
{
    int64_t start = c->start, size = c->end - c->start;
    c->start = c->end;
    return tn_pass_on(c->e, c->step, c->p.text + start, size, c->p.first && start == 0);
}

/* The next part, which begins where the last one ended; match: it is what was looked for. */
static bool next_part(cut *c, int64_t start, int64_t end, bool match)
{
    bool joins = false, waits = c->start < c->end;
    if (start == end)
        return true;
    match ^= c->step->invert;
    switch (c->step->mode) {
    case TN_SPLIT_PREVIOUS: joins = match && !c->was_match && waits; break;
    case TN_SPLIT_NEXT: joins = !match && c->was_match && waits; break;
    case TN_SPLIT_CONTIGUOUS: joins = waits && match == c->was_match; break;
    default: break;
    }
    c->was_match = match;
    if (!joins) {
        if (!flush(c))
            return false;
        c->start = start;
    }
    c->end = end;
    if (match && c->step->mode == TN_SPLIT_REMOVED)
        c->start = end;
    return true;
}

bool tn_step_split(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    cut c = {.e = e, .step = step, .p = p};
    int64_t start, end, tries = tn_pattern_tries(p.size);
    for (int64_t at = 0; at < p.size; at = end)
        if (!find(step, &p, at, &tries, &start, &end) || !next_part(&c, at, start, false) || !next_part(&c, start, end, true))
            return false;
    return flush(&c);
}
