/* Datasets made of others: several one after the other, and one split at random. */
#include "data/dataset.h"

#include <math.h>
#include <string.h>

/* ---- one after the other ------------------------------------------------------------------------------------------------ */

typedef struct chain {
    int count;
    tn_dataset **parts; /* [count] */
    int64_t *ends;      /* [count] where the items of each end among all */
} chain;

static void chain_free(void *self)
{
    chain *c = self;
    for (int i = 0; c->parts && i < c->count; i++)
        tn_release(c->parts[i]);
    tn_free(c->parts, (size_t)c->count * sizeof *c->parts);
    tn_free(c->ends, (size_t)c->count * sizeof *c->ends);
    tn_free(c, sizeof *c);
}

static int64_t chain_length(void *self)
{
    const chain *c = self;
    return c->ends[c->count - 1];
}

static tn_status chain_get(void *self, int64_t i, tn_tensor **x, tn_tensor **y)
{
    const chain *c = self;
    int low = 0, high = c->count - 1; /* the first part that ends beyond i */
    while (low < high) {
        int middle = (low + high) / 2;
        if (c->ends[middle] > i)
            high = middle;
        else
            low = middle + 1;
    }
    return tn_dataset_get(c->parts[low], i - (low ? c->ends[low - 1] : 0), x, y);
}
static const tn_dataset_class chain_class = {chain_length, chain_get, chain_free};

/* A chain that owns the parts; NULL with an error, and then it does not. */
static chain *chain_new(tn_dataset *const *parts, int count)
{
    chain *c = tn_alloc_zero(sizeof *c);
    if (!c)
        return NULL;
    c->count = count;
    c->ends = tn_alloc((size_t)count * sizeof *c->ends);
    int64_t end = 0;
    for (int i = 0; c->ends && i < count && !tn_failing(); i++) {
        int64_t length = tn_dataset_length(parts[i]);
        if (!tn_failing() && __builtin_add_overflow(end, length, &end))
            tn_fail(TN_ERR_ARGUMENT, "concat_dataset_new: the datasets have more items than can be counted");
        tn_fail_within("concat_dataset_new: part %d", i);
        c->ends[i] = end;
    }
    c->parts = tn_failing() ? NULL : tn_alloc((size_t)count * sizeof *c->parts);
    if (c->parts) {
        memcpy(c->parts, parts, (size_t)count * sizeof *parts);
        return c;
    }
    chain_free(c);
    return NULL;
}

tn_dataset *tn_concat_dataset_new(tn_dataset *const *parts, int count)
{
    if (!tn_failing() && (!parts || count < 1))
        tn_fail(TN_ERR_ARGUMENT, !parts ? "concat_dataset_new: datasets is NULL" : "concat_dataset_new: count is %d: 1 or more is needed", count);
    chain *c = tn_failing() ? NULL : chain_new(parts, count);
    if (c)
        return tn_dataset_new(&chain_class, c);
    for (int i = 0; parts && i < count; i++)
        tn_release(parts[i]);
    return NULL;
}

/* ---- split at random ---------------------------------------------------------------------------------------------------- */

static bool lengths_fit(const int64_t *lengths, int count, int64_t n)
{
    int64_t sum = 0;
    bool fit = true;
    for (int p = 0; p < count; p++)
        fit = fit && lengths[p] >= 0 && !__builtin_add_overflow(sum, lengths[p], &sum);
    if (!fit || sum != n)
        tn_fail(TN_ERR_ARGUMENT, "random_split_new: the lengths' sum is %lld and the dataset has %lld items: they must be equal, and none negative",
                (long long)sum, (long long)n);
    return !tn_failing();
}

static bool shares_fit(const double *shares, int count)
{
    double sum = 0;
    bool fit = true;
    for (int p = 0; p < count; p++) {
        fit = fit && shares[p] >= 0;
        sum += shares[p];
    }
    if (!fit || !(fabs(sum - 1) <= 1e-6))
        tn_fail(TN_ERR_ARGUMENT, "random_split_new: the shares' sum is %g: it must be 1, and none negative", sum);
    return !tn_failing();
}

static bool split_fits(const tn_random_split_args *a, int64_t n)
{
    if (tn_failing())
        return false;
    if (!a->parts || a->count < 1) {
        tn_fail(TN_ERR_ARGUMENT, !a->parts ? "random_split_new: parts is NULL" : "random_split_new: count is %d: 1 or more is needed", a->count);
        return false;
    }
    if (!a->lengths == !a->shares)
        tn_fail(TN_ERR_ARGUMENT, "random_split_new: give either .lengths or .shares");
    else if (a->seed < -1)
        tn_fail(TN_ERR_ARGUMENT, "random_split_new: seed is %lld: 0 or more is needed, or -1 for one that is drawn", (long long)a->seed);
    else if (a->labels && a->lengths)
        tn_fail(TN_ERR_ARGUMENT, "random_split_new: .labels go with .shares: lengths need not have each label's share in them");
    else if (a->labels && tn_ready("random_split_new", "labels", a->labels) &&
             (a->labels->ndim != 1 || a->labels->sizes[0] != n || tn_dtype_is_float((tn_dtype)a->labels->dtype)))
        tn_fail(TN_ERR_SHAPE, "random_split_new: labels is %s of %s: right are integers [%lld], one for each item", tn_text(a->labels),
                tn_dtype_name((tn_dtype)a->labels->dtype), (long long)n);
    return !tn_failing() && (a->lengths ? lengths_fit(a->lengths, a->count, n) : shares_fit(a->shares, a->count));
}

/* PyTorch's random_split: rounded down, and what is left goes round. */
static void whole_lengths(const double *shares, int count, int64_t n, int64_t *lengths)
{
    int64_t left = n;
    for (int p = 0; p < count; p++) {
        lengths[p] = (int64_t)floor((double)n * shares[p]);
        lengths[p] = lengths[p] < left ? lengths[p] : left;
        left -= lengths[p];
    }
    for (int p = 0; left > 0; p = (p + 1) % count, left--)
        lengths[p]++;
}

/* The same for the n items of one label. owed[p] is what part p lacks so far: over all labels it stays below one item or so. */
static void even_lengths(const double *shares, int count, int64_t n, double *owed, int64_t *lengths)
{
    int64_t left = n;
    for (int p = 0; p < count; p++) {
        owed[p] += (double)n * shares[p];
        int64_t whole = (int64_t)floor((double)n * shares[p]);
        lengths[p] = whole < left ? whole : left;
        owed[p] -= (double)lengths[p];
        left -= lengths[p];
    }
    for (; left > 0; left--) {
        int most = 0;
        for (int p = 1; p < count; p++)
            most = owed[p] > owed[most] ? p : most;
        lengths[most]++;
        owed[most]--;
    }
}

/* items [n] in an order by labels, shuffled among equals: stable, by merging. */
static void sort_by(const int64_t *labels, int64_t *items, int64_t n, int64_t *scratch)
{
    if (n < 2)
        return;
    int64_t half = n / 2, i = 0, k = half;
    sort_by(labels, items, half, scratch);
    sort_by(labels, items + half, n - half, scratch);
    memcpy(scratch, items, (size_t)n * sizeof *items);
    for (int64_t at = 0; at < n; at++)
        items[at] = k == n || (i < half && labels[scratch[i]] <= labels[scratch[k]]) ? scratch[i++] : scratch[k++];
}

/* Cuts items [n] into the parts, [count] arrays of which filled[p] places are taken. */
static void deal(const int64_t *items, const int64_t *lengths, int count, int64_t *const *parts, int64_t *filled)
{
    for (int p = 0; p < count; p++) {
        memcpy(parts[p] + filled[p], items, (size_t)lengths[p] * sizeof *items);
        filled[p] += lengths[p];
        items += lengths[p];
    }
}

/* What splitting works with: arrays of one element a part, and of one an item. */
typedef struct parting {
    int64_t **at;      /* [count] a part's items, [n] each */
    int64_t *filled;   /* [count] how many of them there are */
    int64_t *lengths;  /* [count] */
    double *owed;      /* [count] */
    int64_t *items, *work; /* [n] */
} parting;

static bool split(const tn_random_split_args *a, int64_t n, const parting *s)
{
    for (int64_t i = 0; i < n; i++)
        s->items[i] = i;
    tn_shuffle(s->items, n);
    if (!a->labels) {
        if (a->shares)
            whole_lengths(a->shares, a->count, n, s->lengths);
        deal(s->items, a->shares ? s->lengths : a->lengths, a->count, s->at, s->filled);
        return true;
    }
    tn_tensor *labels = tn_new("random_split_new", TN_SHAPE(n), TN_I64, (tn_device_id){TN_CPU, 0});
    int64_t *label = labels ? (int64_t *)(void *)tn_ptr(labels) : NULL;
    if (!labels || tn_to_ints(a->labels, label, n) != TN_OK)
        return false;
    sort_by(label, s->items, n, s->work);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && label[s->items[end]] == label[s->items[i]];)
            end++;
        even_lengths(a->shares, a->count, end - i, s->owed, s->lengths);
        deal(s->items + i, s->lengths, a->count, s->at, s->filled);
    }
    for (int p = 0; p < a->count; p++)
        tn_shuffle(s->at[p], s->filled[p]);
    return true;
}

static void make_parts(const tn_random_split_args *a, int64_t n)
{
    TN_SCOPE;
    int64_t count = a->count;
    size_t bytes = (size_t)count * (sizeof(int64_t *) + 2 * sizeof(int64_t) + sizeof(double));
    tn_tensor *places = tn_new("random_split_new", TN_SHAPE(count + 2, n), TN_I64, (tn_device_id){TN_CPU, 0});
    char *arrays = places ? tn_alloc_zero(bytes) : NULL;
    if (!arrays)
        return;
    int64_t *place = (int64_t *)(void *)tn_ptr(places);
    parting s = {.at = (int64_t **)(void *)arrays, .items = place + count * n, .work = place + (count + 1) * n};
    s.filled = (int64_t *)(void *)(s.at + count);
    s.lengths = s.filled + count;
    s.owed = (double *)(void *)(s.lengths + count);
    for (int64_t p = 0; p < count; p++)
        s.at[p] = place + p * n;
    if (split(a, n, &s))
        for (int64_t p = 0; p < count && !tn_failing(); p++)
            a->parts[p] = tn_subset_new(tn_retain(a->dataset), s.at[p], s.filled[p]);
    tn_free(arrays, bytes);
}

tn_status tn_random_split_new_with(const tn_random_split_args *a)
{
    TN_KNOWN(tn_random_split_args, a);
    int64_t n = tn_dataset_length(a->dataset);
    for (int p = 0; a->parts && p < a->count; p++)
        a->parts[p] = NULL;
    if (split_fits(a, n)) {
        TN_KEEP_RANDOM_STATE;
        if (a->seed >= 0)
            tn_manual_seed((uint64_t)a->seed);
        make_parts(a, n);
        if (a->seed < 0)
            kept_state = tn_get_random_state(); /* the thread's own went on */
    }
    tn_release(a->dataset);
    for (int p = 0; tn_failing() && a->parts && p < a->count; p++) {
        tn_release(a->parts[p]);
        a->parts[p] = NULL;
    }
    return tn_last_status();
}
