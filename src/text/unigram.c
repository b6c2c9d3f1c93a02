/* SentencePiece's unigram model: of all ways to cut a text into pieces the likeliest one (Viterbi), as its EncodeOptimized finds it (0.2.3). */
#include "text/text.h"

#include <math.h>

/* The best way to the place behind a piece. */
typedef struct place {
    int32_t id, start; /* of the last piece; start -1: no way here yet */
    float score;
    int32_t end; /* where, on the best way of all, the piece that begins here ends */
} place;

/* Sums are floats: as there, so that ties fall alike. */
static void reach(place *to, float score, int32_t start, int32_t id)
{
    if (to->start < 0 || score > to->score)
        *to = (place){id, start, score, 0};
}

/* Takes the score at `from` from those up to the frontier, the furthest place that was reached: of large sums floats would keep few digits. */
static void begin_anew(place *places, int64_t from, int64_t frontier)
{
    const float sum = places[from].score;
    for (int64_t i = from; i <= frontier; i++)
        if (places[i].start >= 0)
            places[i].score -= sum;
}

static void find_ways(const tn_tokenizer *t, const tn_trie *trie, tn_piece p, place *places)
{
    for (int64_t start = 0, frontier = 0, n; start < p.size; start += n) {
        if (fabsf(places[start].score) > 100000)
            begin_anew(places, start, frontier);
        const float here = places[start].score;
        bool single = false;
        n = "\1\1\1\1\1\1\1\1\1\1\1\1\2\2\3\4"[(unsigned char)p.text[start] >> 4];
        n = n < p.size - start ? n : p.size - start;
        int32_t node = 0;
        for (int64_t end = start; end < p.size;) {
            node = tn_trie_step(trie, node, (unsigned char)p.text[end++]);
            if (node < 0)
                break;
            int32_t id = trie->values[node];
            if (id < 0 || t->vocab.tokens[id].type == TN_TOKEN_UNUSED)
                continue;
            float score = t->vocab.tokens[id].type == TN_TOKEN_USER ? 0.1f * (float)(end - start - 1) : t->vocab.tokens[id].score;
            reach(&places[end], score + here, (int32_t)start, id);
            frontier = end > frontier ? end : frontier;
            single |= end - start == n;
        }
        if (!single) {
            reach(&places[start + n], t->least - 10.0f + here, (int32_t)start, -1);
            frontier = start + n > frontier ? start + n : frontier;
        }
    }
}

bool tn_step_unigram(tn_encoder *e, const tn_text_step *step, tn_piece p)
{
    const tn_tokenizer *t = e->tokenizer;
    size_t bytes = ((size_t)p.size + 1) * sizeof(place);
    place *places = tn_piece_fits(&p) ? tn_alloc(bytes) : NULL;
    if (!places)
        return false;
    places[0] = (place){-1, 0, 0, 0};
    for (int64_t i = 1; i <= p.size; i++)
        places[i].start = -1;
    find_ways(t, &step->trie, p, places);
    for (int32_t end = (int32_t)p.size; end > 0; end = places[end].start)
        places[places[end].start].end = end;
    e->last_unknown = false;
    bool good = true;
    for (int32_t at = 0, end; good && at < p.size; at = end) {
        end = places[at].end;
        bool known = places[end].id >= 0;
        good = known ? tn_emit(e, places[end].id) : tn_emit_unknown(e, p.text + at, end - at);
        e->last_unknown &= !known;
    }
    tn_free(places, bytes);
    return good;
}
