/* Choosing a token from logits: penalties, temperature, and the three ways to leave the unlikely out. */
#include "models/sample.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/philox.h"

static bool penalises(const tn_llama_generate_args *how)
{
    return (how->repetition_penalty != 1 || how->presence_penalty != 0) && how->penalty_last > 0;
}

bool tn_chooser_make(tn_chooser *c, const tn_llama_generate_args *how, int64_t vocab)
{
    const bool penalties = penalises(how), drawn = how->temperature > 0;
    *c = (tn_chooser){.how = how, .vocab = vocab, .seed = how->seed >= 0 ? (uint64_t)how->seed : tn_random_below(UINT64_MAX)};
    if (penalties || drawn)
        c->logits = tn_alloc(sizeof *c->logits * (size_t)vocab);
    if (drawn)
        c->candidates = tn_alloc(sizeof *c->candidates * (size_t)vocab);
    if (penalties)
        c->last = tn_alloc(sizeof *c->last * (size_t)how->penalty_last);
    return !tn_failing();
}

void tn_chooser_done(tn_chooser *c)
{
    tn_free(c->logits, sizeof *c->logits * (size_t)c->vocab);
    tn_free(c->candidates, sizeof *c->candidates * (size_t)c->vocab);
    tn_free(c->last, sizeof *c->last * (size_t)c->how->penalty_last);
}

void tn_chooser_saw(tn_chooser *c, int64_t token)
{
    if (c->last)
        c->last[c->seen++ % c->how->penalty_last] = token;
}

/* Each token that was there once, however often it was. */
static void penalise(tn_chooser *c, const float *logits)
{
    const int64_t count = c->seen < c->how->penalty_last ? c->seen : c->how->penalty_last;
    for (int64_t i = 0; i < count; i++) {
        const float x = logits[c->last[i]];
        const double scaled = x > 0 ? x / c->how->repetition_penalty : x * c->how->repetition_penalty;
        c->logits[c->last[i]] = (float)(scaled - c->how->presence_penalty);
    }
}

/* Fills the candidates with chances relative to the best's, whose sum goes into *sum, but for those below `least`; how many. */
static int64_t likely(tn_chooser *c, float max, double least, double *sum)
{
    int64_t count = 0;
    *sum = 0;
    for (int64_t t = 0; t < c->vocab; t++) {
        const float p = expf((float)((c->logits[t] - max) / c->how->temperature));
        *sum += p;
        if (p > 0 && p >= least)
            c->candidates[count++] = (tn_choice){p, (int32_t)t};
    }
    return count;
}

/* Of equals the first token. */
static bool likelier(const tn_choice *x, const tn_choice *y) { return x->p > y->p || (x->p == y->p && x->token < y->token); }

static void swap(tn_choice *x, tn_choice *y)
{
    const tn_choice z = *x;
    *x = *y;
    *y = z;
}

/* Lets heap[i] sink to its place among heap [count], whose likeliest is the first. */
static void sink(tn_choice *heap, int64_t i, int64_t count)
{
    for (int64_t child; (child = 2 * i + 1) < count; i = child) {
        child += child + 1 < count && likelier(&heap[child + 1], &heap[child]);
        if (!likelier(&heap[child], &heap[i]))
            return;
        swap(&heap[child], &heap[i]);
    }
}

/* The likeliest of heap [count] goes behind the others, which stay a heap. */
static void pop(tn_choice *heap, int64_t count)
{
    swap(heap, heap + count - 1);
    sink(heap, 0, count - 1);
}

/* Brings those that top_k, top_p and min_p leave to the front, the likeliest first; how many. Only so many are sorted, without qsort(), which asks
 * for memory. What all together are less likely than 1 - top_p no cut can reach. */
static int64_t cut(tn_chooser *c, int64_t among, double sum)
{
    const tn_llama_generate_args *how = c->how;
    const double least = how->top_k > 0 ? 0 : (1 - how->top_p) * sum / (double)c->vocab;
    tn_choice *all = c->candidates;
    int64_t count = 0, popped = 0, n = 0;
    for (int64_t i = 0; i < among; i++)
        if (all[i].p >= least)
            all[count++] = all[i];
    tn_choice *last = all + count - 1; /* popped ones stand from there on to the front */
    for (int64_t i = count / 2; i-- > 0;)
        sink(all, i, count);
    if (how->top_k > 0 && how->top_k < count)
        for (sum = 0; popped < how->top_k; popped++) {
            pop(all, count - popped);
            sum += last[-popped].p;
        }
    const int64_t most = popped ? popped : count;
    for (double reached = 0; n < most; n++) {
        if (n == popped)
            pop(all, count - popped++);
        if (n && (reached >= how->top_p * sum || last[-n].p < how->min_p))
            break;
        reached += last[-n].p;
    }
    for (int64_t i = 0; i < n && i < count / 2; i++)
        swap(&all[i], last - i);
    return n;
}

int64_t tn_choose(tn_chooser *c, const float *logits)
{
    const tn_llama_generate_args *how = c->how;
    int64_t best;
    float max;
    if (c->logits) {
        memcpy(c->logits, logits, sizeof *logits * (size_t)c->vocab);
        if (c->last)
            penalise(c, logits);
        logits = c->logits;
    }
    tn_kernels_of(TN_CPU)->decode_argmax(c->vocab, logits, &best, &max);
    if (!c->candidates || !isfinite(max)) /* of NaN or infinity there is nothing to draw */
        return best;
    const bool cuts = how->top_k > 0 || how->top_p < 1;
    double sum;
    int64_t count = likely(c, max, cuts ? 0 : how->min_p, &sum);
    if (cuts)
        count = cut(c, count, sum);
    sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += c->candidates[i].p;
    double share = (double)(tn_philox_bits(c->seed, c->draws++, 0, 0) >> 11) * 0x1p-53 * sum;
    for (int64_t i = 0; i < count; i++)
        if ((share -= c->candidates[i].p) < 0)
            return c->candidates[i].token;
    return c->candidates[count - 1].token;
}
