/* The sampler that draws items by their weights. */
#include "data/dataset.h"

#include <math.h>
#include <stdlib.h>

typedef struct weighted {
    int64_t n, count;
    double *sums; /* [n] of the weights up to each, the item's own included */
    double *weights; /* [n] */
} weighted;

static void weighted_free(void *self)
{
    weighted *w = self;
    tn_free(w->sums, (size_t)w->n * sizeof *w->sums);
    tn_free(w->weights, (size_t)w->n * sizeof *w->weights);
    tn_free(w, sizeof *w);
}

static int64_t weighted_length(void *self) { return ((weighted *)self)->count; }

/* The first item whose sum is above a uniform share of all: never one of weight 0. */
static tn_status draw_with_replacement(void *self, int64_t *items)
{
    const weighted *w = self;
    for (int64_t k = 0; k < w->count; k++) {
        double share = tn_random_unit() * w->sums[w->n - 1];
        int64_t low = 0, high = w->n - 1;
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if (w->sums[middle] > share)
                high = middle;
            else
                low = middle + 1;
        }
        items[k] = low;
    }
    return TN_OK;
}

typedef struct keyed {
    double key;
    int64_t item;
} keyed;

static int by_key(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key ? -1 : 1) : x->item < y->item ? -1 : x->item > y->item;
}

/* Each item waits for an exponential time of rate weight: the order of arrival is that of draws among what is left. */
static tn_status draw_without_replacement(void *self, int64_t *items)
{
    const weighted *w = self;
    size_t bytes = (size_t)w->n * sizeof(keyed);
    keyed *keys = tn_alloc(bytes);
    if (!keys)
        return TN_ERR_MEMORY;
    for (int64_t i = 0; i < w->n; i++) {
        double time = -log1p(-tn_random_unit());
        keys[i] = (keyed){w->weights[i] > 0 ? time / w->weights[i] : INFINITY, i};
    }
    qsort(keys, (size_t)w->n, sizeof *keys, by_key);
    for (int64_t k = 0; k < w->count; k++)
        items[k] = keys[k].item;
    tn_free(keys, bytes);
    return TN_OK;
}

/* Reads the weights; false with an error. */
static bool take_weights(weighted *w, const tn_weighted_sampler_args *a)
{
    if (tn_to_doubles(a->weights, w->weights, w->n) != TN_OK)
        return false;
    double sum = 0;
    int64_t possible = 0;
    for (int64_t i = 0; i < w->n; i++) {
        if (!(w->weights[i] >= 0) || isinf(w->weights[i])) {
            tn_fail(TN_ERR_ARGUMENT, "weighted_sampler_new: weight %lld is %g: weights are 0 or more, and finite", (long long)i, w->weights[i]);
            return false;
        }
        possible += w->weights[i] > 0;
        w->sums[i] = sum += w->weights[i];
    }
    if (!(sum > 0) || isinf(sum))
        tn_fail(TN_ERR_ARGUMENT, "weighted_sampler_new: the weights' sum is %g: it must be above 0, and finite", sum);
    else if (!a->replacement && a->count > possible)
        tn_fail(TN_ERR_ARGUMENT, "weighted_sampler_new: count is %lld, and without replacement the %lld weights that are not 0 are all there is",
                (long long)a->count, (long long)possible);
    return !tn_failing();
}

tn_sampler *tn_weighted_sampler_new_with(const tn_weighted_sampler_args *a)
{
    static const tn_sampler_class with = {weighted_length, draw_with_replacement, weighted_free, NULL};
    static const tn_sampler_class without = {weighted_length, draw_without_replacement, weighted_free, NULL};
    TN_KNOWN(tn_weighted_sampler_args, a);
    if (!tn_ready("weighted_sampler_new", "weights", a->weights))
        return NULL;
    if (a->weights->ndim != 1 || a->weights->numel == 0 || !tn_dtype_is_float((tn_dtype)a->weights->dtype))
        return tn_fail(TN_ERR_SHAPE, "weighted_sampler_new: weights is %s of %s: right are floats [n], n not 0", tn_text(a->weights),
                       tn_dtype_name((tn_dtype)a->weights->dtype));
    if (a->count < 0)
        return tn_fail(TN_ERR_ARGUMENT, "weighted_sampler_new: count is %lld", (long long)a->count);
    weighted *w = tn_alloc_zero(sizeof *w);
    if (!w)
        return NULL;
    w->n = a->weights->numel;
    w->count = a->count;
    w->sums = tn_alloc((size_t)w->n * sizeof *w->sums);
    w->weights = w->sums ? tn_alloc((size_t)w->n * sizeof *w->weights) : NULL;
    if (w->weights && take_weights(w, a))
        return tn_sampler_new(a->replacement ? &with : &without, w);
    weighted_free(w);
    return NULL;
}
