/* A thread's profile: a hash table of rows, one for each kernel and sizes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/trace.h"
#include "kernels/peaks.h"
#include "kernels/traced.h"

typedef struct row {
    uint64_t key; /* 0: free */
    char kernel[48], sizes[160];
    const char *bound;
    int64_t calls;
    double us, bound_ms, flop, bytes;
} row;

struct tn_profile {
    tn_object base;
    double begin, end; /* microseconds; end is 0 while it runs */
    row *rows;         /* [capacity], a power of two, at most half full */
    int64_t count, capacity;
};

static void stop(tn_profile *p)
{
    if (p->end > 0)
        return;
    p->end = tn_trace_now();
    if (tn_this.profile == p)
        tn_this.profile = NULL;
    tn_kernels_traced(false);
}

static void profile_free(void *self)
{
    tn_profile *p = self;
    stop(p);
    tn_free(p->rows, (size_t)p->capacity * sizeof *p->rows);
}
static const tn_class profile_class = {"profile", sizeof(tn_profile), profile_free};

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

static row *slot_of(row *rows, int64_t capacity, uint64_t key)
{
    uint64_t i = key & ((uint64_t)capacity - 1);
    while (rows[i].key && rows[i].key != key)
        i = (i + 1) & ((uint64_t)capacity - 1);
    return &rows[i];
}

static bool grow(tn_profile *p)
{
    const int64_t capacity = p->capacity ? 2 * p->capacity : 64;
    row *rows = tn_alloc_zero((size_t)capacity * sizeof *rows);
    if (!rows)
        return false;
    for (int64_t i = 0; i < p->capacity; i++)
        if (p->rows[i].key)
            *slot_of(rows, capacity, p->rows[i].key) = p->rows[i];
    tn_free(p->rows, (size_t)p->capacity * sizeof *p->rows);
    p->rows = rows;
    p->capacity = capacity;
    return true;
}

/* 64 bits of all that the notes say: two calls that differ have two of them, but for a chance that can be left out. */
static uint64_t key_of(const tn_call_notes *n)
{
    uint64_t h = (uint64_t)(uintptr_t)n->name;
    for (int i = 0; i < n->count; i++)
        for (int k = -1; k < n->all[i].count; k++) {
            h ^= k < 0 ? (uint64_t)n->all[i].count : (uint64_t)n->all[i].values[k];
            h *= 0x9e3779b97f4a7c15u;
            h ^= h >> 29;
        }
    return h ? h : 1;
}

/* Where the table cannot grow the call is not counted: the profile must not fail what it looks at. */
static row *row_of(tn_profile *p, const tn_call_notes *n)
{
    const uint64_t key = key_of(n);
    if (2 * p->count >= p->capacity && slot_of(p->rows, p->capacity, key)->key != key) {
        TN_ERROR_ASIDE;
        if (!grow(p))
            return NULL;
    }
    row *r = slot_of(p->rows, p->capacity, key);
    if (!r->key) {
        r->key = key;
        p->count++;
        tn_notes_name(n, r->kernel, sizeof r->kernel);
        tn_notes_text(n, false, r->sizes, sizeof r->sizes);
    }
    return r;
}

void tn_profile_add(tn_profile *p, const tn_call_notes *notes, double us, const tn_work *work)
{
    const tn_peaks *peaks = tn_peaks_of(notes->threads);
    row *r = row_of(p, notes);
    if (!r)
        return;
    r->calls++;
    r->us += us;
    r->flop += work->flop;
    r->bytes += work->read + 2 * work->updated + work->written;
    r->bound_ms += peaks ? tn_bound_ms(peaks, work, &r->bound) : 0;
}

/* ---- the public calls --------------------------------------------------------------------------------------------------------- */

tn_profile *tn_profile_new(void)
{
    if (tn_failing())
        return NULL;
    if (tn_this.profile)
        return tn_fail(TN_ERR_STATE, "profile: one runs on this thread already: stop it first, tn_profile_stop(profile)");
    tn_profile *p = tn_object_new(&profile_class);
    if (p && !grow(p)) {
        p->end = 1; /* it never ran */
        tn_release(p);
        return NULL;
    }
    if (!p)
        return NULL;
    tn_peaks_of(tn_get_num_threads());
    tn_kernels_traced(true);
    tn_this.profile = p;
    p->begin = tn_trace_now();
    return p;
}

static bool is_profile(const tn_profile *p) { return p && p->base.cls == &profile_class; }

tn_status tn_profile_stop(tn_profile *profile)
{
    if (tn_failing())
        return tn_last_status();
    if (!is_profile(profile))
        tn_fail(TN_ERR_ARGUMENT, "profile: it is NULL or no profile");
    else if (profile != tn_this.profile)
        tn_fail(TN_ERR_STATE, "profile: it does not run on this thread");
    else
        stop(profile);
    return tn_last_status();
}

static int by_time(const void *a, const void *b)
{
    const row *const *x = a, *const *y = b;
    return ((*x)->us < (*y)->us) - ((*x)->us > (*y)->us);
}

int tn_profile_rows(const tn_profile *profile, tn_profile_row *rows, int most)
{
    if (!is_profile(profile) || !profile->count || most < 1 || !rows)
        return is_profile(profile) ? (int)profile->count : 0;
    TN_ERROR_ASIDE;
    const double all = (profile->end > 0 ? profile->end : tn_trace_now()) - profile->begin;
    const size_t bytes = (size_t)profile->count * sizeof(row *);
    const row **sorted = tn_alloc(bytes);
    if (!sorted)
        return 0;
    int64_t count = 0;
    for (int64_t i = 0; i < profile->capacity; i++)
        if (profile->rows[i].key)
            sorted[count++] = &profile->rows[i];
    qsort(sorted, (size_t)count, sizeof *sorted, by_time);
    for (int i = 0; i < count && i < most; i++) {
        const row *r = sorted[i];
        rows[i] = (tn_profile_row){.kernel = r->kernel, .sizes = r->sizes, .bound = r->bound ? r->bound : "", .calls = r->calls, .ms = 1e-3 * r->us,
                                   .share = r->us / all, .flop = r->flop, .bytes = r->bytes, .roofline = r->us > 0 ? 1e3 * r->bound_ms / r->us : 0};
    }
    tn_free(sorted, bytes);
    return (int)count;
}

size_t tn_profile_format(const tn_profile *profile, char *text, size_t size)
{
    TN_ERROR_ASIDE;
    int most = tn_profile_rows(profile, NULL, 0), widest = 5;
    const size_t bytes = (size_t)(most ? most : 1) * sizeof(tn_profile_row);
    tn_profile_row *rows = tn_alloc(bytes);
    tn_text_out out = {text, text ? size : 0, 0};
    if (out.size)
        text[0] = 0;
    if (!rows)
        return 0;
    const int count = tn_profile_rows(profile, rows, most);
    double ms = 0, share = 0;
    int64_t calls = 0;
    for (int i = 0; i < count; i++)
        widest = (int)strlen(rows[i].sizes) > widest ? (int)strlen(rows[i].sizes) : widest;
    tn_put(&out, "%-22s %-*s %8s %10s %6s %8s %7s  %s\n", "kernel", widest, "sizes", "calls", "ms", "share", "GFLOP/s", "GB/s", "of roofline");
    for (int i = 0; i < count; i++) {
        const tn_profile_row *r = &rows[i];
        tn_put(&out, "%-22s %-*s %8lld %10.3f %4.0f %% %8.1f %7.1f %4.0f %% %s\n", r->kernel, widest, r->sizes, (long long)r->calls, r->ms,
            100 * r->share, r->ms > 0 ? 1e-6 * r->flop / r->ms : 0, r->ms > 0 ? 1e-6 * r->bytes / r->ms : 0, 100 * r->roofline, r->bound);
        ms += r->ms, share += r->share, calls += r->calls;
    }
    tn_put(&out, "%-22s %-*s %8lld %10.3f %4.0f %%\n", "in kernels", widest, "", (long long)calls, ms, 100 * share);
    tn_put(&out, "%-22s %-*s %8s %10.3f %4.0f %%\n", "between them", widest, "", "", share > 0 ? ms / share - ms : 0, share > 0 ? 100 - 100 * share : 100);
    tn_free(rows, bytes);
    return out.length;
}

void tn_profile_print(const tn_profile *profile)
{
    TN_ERROR_ASIDE;
    const size_t size = tn_profile_format(profile, NULL, 0) + 256; /* while it runs its times grow */
    char *text = tn_alloc(size);
    if (!text)
        return;
    tn_profile_format(profile, text, size);
    fputs(text, stdout);
    tn_free(text, size);
}
