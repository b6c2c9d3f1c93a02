/* A slot in front of each slot, made of TN_KERNEL_LIST: it calls the one behind and tells what the arguments say and how long it took. */
#include "kernels/traced.h"

#include <ctype.h>
#include <string.h>

#include "core/parallel.h"
#include "core/trace.h"
#include "kernels/peaks.h"

static tn_kernels behind;

/* ---- what an argument says ---------------------------------------------------------------------------------------------- */

typedef tn_call_notes notes;

static void add(notes *n, const char *argument, int kind, int count, const int64_t *values)
{
    if (n->count == TN_NOTES)
        return;
    tn_note *note = &n->all[n->count++];
    note->argument = argument;
    note->kind = kind;
    note->count = count;
    memcpy(note->values, values, (size_t)count * sizeof *values);
}

/* Slots that serve many operators, and those by their numbers. */
#define NAME(name, expression) #name,
static const char *const unary[] = {"none", TN_UNARY_LIST(NAME)}, *const binary[] = {TN_BINARY_LIST(NAME)};
#undef NAME
static const char *const ternary[] = {[TN_TERNARY_WHERE] = "where", [TN_TERNARY_LERP] = "lerp"};
static const char *const reduce[] = {
    [TN_REDUCE_SUM] = "reduce_sum", [TN_REDUCE_PROD] = "reduce_prod", [TN_REDUCE_MAX] = "reduce_max", [TN_REDUCE_MIN] = "reduce_min",
    [TN_REDUCE_ANY] = "reduce_any", [TN_REDUCE_ALL] = "reduce_all", [TN_REDUCE_ARGMAX] = "reduce_argmax", [TN_REDUCE_ARGMIN] = "reduce_argmin",
    [TN_REDUCE_MEAN] = "reduce_mean", [TN_REDUCE_VAR] = "reduce_var", [TN_REDUCE_STD] = "reduce_std", [TN_REDUCE_NORM] = "reduce_norm",
    [TN_REDUCE_LOGSUMEXP] = "reduce_logsumexp"};
static const struct {
    const char *slot, *const *names;
    int count;
} operators[] = {{"unary", unary, TN_COUNT(unary)}, {"binary", binary, TN_COUNT(binary)}, {"ternary", ternary, TN_COUNT(ternary)},
                 {"reduce", reduce, TN_COUNT(reduce)}};

static void note_number(notes *n, const char *argument, int64_t value)
{
    for (int i = 0; i < TN_COUNT(operators) && strcmp(argument, "op") == 0; i++)
        if (strcmp(n->slot, operators[i].slot) == 0 && value >= 0 && value < operators[i].count) {
            n->name = operators[i].names[value];
            return;
        }
    const bool dtype = strcmp(argument, "dtype") == 0 || strcmp(argument, "to") == 0 || strcmp(argument, "from") == 0;
    add(n, argument, dtype ? TN_NOTE_DTYPE : TN_NOTE_NUMBER, 1, &value);
    if (strcmp(argument, "threads") == 0)
        n->threads = (int)value;
}

static void note_sizes(notes *n, const char *argument, int ndim, const int64_t *sizes) { add(n, argument, TN_NOTE_SIZES, ndim, sizes); }

#define SIZES(n, argument, ...) note_sizes(n, argument, TN_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__})
static void note_loop(notes *n, const char *argument, const tn_loop *l) { note_sizes(n, argument, l->ndim, l->sizes); }
static void note_reduction(notes *n, const char *argument, const tn_reduction *r)
{
    (void)argument;
    note_sizes(n, "kept", r->outer_ndim, r->outer_sizes);
    note_sizes(n, "reduced", r->inner_ndim, r->inner_sizes);
}
static void note_gemm(notes *n, const char *argument, const tn_gemm *g)
{
    (void)argument;
    SIZES(n, "batch, m, n, k", g->batch, g->m, g->n, g->k);
}
static void note_conv(notes *n, const char *argument, const tn_conv *c)
{
    (void)argument;
    SIZES(n, "x", c->n, c->c_in, c->h, c->w);
    SIZES(n, "weight", c->c_out, c->groups ? c->c_in / c->groups : c->c_in, c->kh, c->kw);
    SIZES(n, "y", c->n, c->c_out, c->oh, c->ow);
}
static void note_conv_grad(notes *n, const char *argument, const tn_conv_grad *g) { note_conv(n, argument, &g->conv); }
static void note_pool(notes *n, const char *argument, const tn_pool *p)
{
    (void)argument;
    SIZES(n, "x", p->planes, p->h, p->w);
    SIZES(n, "y", p->planes, p->oh, p->ow);
}
static void note_softmax(notes *n, const char *argument, const tn_softmax_rows *s) { SIZES(n, argument, s->outer, s->n, s->inner); }
static void note_cumsum(notes *n, const char *argument, const tn_cumsum_rows *c) { SIZES(n, argument, c->outer, c->n, c->inner); }
static void note_entropy(notes *n, const char *argument, const tn_cross_entropy_rows *c) { SIZES(n, argument, c->rows, c->classes); }
static void note_sort(notes *n, const char *argument, const tn_sort_rows *s) { SIZES(n, argument, s->rows, s->n); }
static void note_norm(notes *n, const char *argument, const tn_norm *m) { SIZES(n, argument, m->n, m->c, m->s); }
static void note_rnn(notes *n, const char *argument, const tn_rnn *r) { SIZES(n, argument, r->steps, r->batch, r->hidden); }
static void note_rnn_grad(notes *n, const char *argument, const tn_rnn_grad *g) { note_rnn(n, argument, &g->rnn); }
static void note_attention(notes *n, const char *argument, const tn_attention *a)
{
    (void)argument;
    SIZES(n, "q", a->batch, a->heads, a->l, a->e);
    SIZES(n, "v", a->batch, a->kv_heads, a->s, a->ev);
}
static void note_rope(notes *n, const char *argument, const tn_rope_rows *r) { SIZES(n, argument, r->batch, r->heads, r->l, r->width); }
static void note_packed(notes *n, const char *argument, const tn_packed_matrix *w)
{
    note_number(n, "kind", (int64_t)w->kind);
    SIZES(n, argument, w->rows, w->cols);
}
static void note_decode(notes *n, const char *argument, const tn_decode_attention *a) { SIZES(n, argument, a->rows, a->heads, a->length, a->size); }
static void note_store(notes *n, const char *argument, const tn_decode_store *s) { SIZES(n, argument, s->rows, s->heads, s->kv_heads, s->size); }
static void note_nothing(notes *n, const char *argument, ...) { (void)n, (void)argument; }

#define NOTE(x)                                                                                                               \
    _Generic((x), int: note_number, unsigned: note_number, bool: note_number, int64_t: note_number, size_t: note_number,      \
             const tn_loop *: note_loop, const tn_reduction *: note_reduction, const tn_gemm *: note_gemm,                    \
             const tn_conv *: note_conv, const tn_conv_grad *: note_conv_grad, const tn_pool *: note_pool,                    \
             const tn_softmax_rows *: note_softmax, const tn_cumsum_rows *: note_cumsum,                                      \
             const tn_cross_entropy_rows *: note_entropy, const tn_sort_rows *: note_sort, const tn_norm *: note_norm,        \
             const tn_rnn *: note_rnn, const tn_rnn_grad *: note_rnn_grad, const tn_attention *: note_attention,                \
             const tn_rope_rows *: note_rope, const tn_packed_matrix *: note_packed, const tn_decode_attention *: note_decode,\
             const tn_decode_store *: note_store, default: note_nothing)(&notes_, #x, x);
#define NOTE_1(a) NOTE(a)
#define NOTE_2(a, ...) NOTE(a) NOTE_1(__VA_ARGS__)
#define NOTE_3(a, ...) NOTE(a) NOTE_2(__VA_ARGS__)
#define NOTE_4(a, ...) NOTE(a) NOTE_3(__VA_ARGS__)
#define NOTE_5(a, ...) NOTE(a) NOTE_4(__VA_ARGS__)
#define NOTE_6(a, ...) NOTE(a) NOTE_5(__VA_ARGS__)
#define NOTE_7(a, ...) NOTE(a) NOTE_6(__VA_ARGS__)
#define NOTE_8(a, ...) NOTE(a) NOTE_7(__VA_ARGS__)
#define PICK(a, b, c, d, e, f, g, h, note, ...) note
#define NOTES(...) PICK(__VA_ARGS__, NOTE_8, NOTE_7, NOTE_6, NOTE_5, NOTE_4, NOTE_3, NOTE_2, NOTE_1, )(__VA_ARGS__)

/* ---- as text ------------------------------------------------------------------------------------------------------------ */

void tn_notes_name(const notes *n, char *text, size_t size)
{
    size_t i = 0;
    for (; n->name[i] && i + 1 < size; i++)
        text[i] = (char)tolower((unsigned char)n->name[i]);
    text[i] = 0;
}

size_t tn_notes_text(const notes *n, bool json, char *text, size_t size)
{
    tn_text_out out = {text, size, 0};
    text[0] = 0;
    for (int i = 0; i < n->count; i++) {
        const tn_note *note = &n->all[i];
        const char *between = i == 0 ? "" : json ? "," : " ";
        const size_t before = out.length;
        if (note->kind == TN_NOTE_DTYPE)
            tn_put(&out, json ? "%s\"%s\":\"%s\"" : "%s%.0s%s", between, note->argument, tn_dtype_name((tn_dtype)note->values[0]));
        else if (note->kind == TN_NOTE_SIZES)
            tn_put(&out, json ? "%s\"%s\":\"%s\"" : "%s%s %s", between, note->argument, tn_shape_text(tn_make_shape(note->count, note->values)));
        else
            tn_put(&out, json ? "%s\"%s\":%lld" : "%s%s %lld", between, note->argument, (long long)note->values[0]);
        if (out.length >= size) { /* half a detail is none */
            text[before] = 0;
            return before;
        }
    }
    return out.length;
}

/* ---- the table ---------------------------------------------------------------------------------------------------------- */

/* What the span says beside the sizes: rates, and the share of what the machine can do. */
static void write_span(const notes *n, double begin, double end, const tn_work *work)
{
    char name[48], details[768];
    tn_notes_name(n, name, sizeof name);
    tn_text_out out = {details, sizeof details, tn_notes_text(n, true, details, 512)};
    const double us = end - begin;
    const tn_peaks *peaks = tn_peaks_of(n->threads);
    const char *by;
    if (us > 0) {
        tn_put(&out, "%s\"gflops\":%.3f", out.length ? "," : "", 1e-3 * work->flop / us);
        tn_put(&out, ",\"gbytes\":%.3f", 1e-3 * (work->read + 2 * work->updated + work->written) / us);
    }
    if (us > 0 && peaks) {
        const double bound = 1e3 * tn_bound_ms(peaks, work, &by);
        tn_put(&out, ",\"roofline\":%.3f,\"bound\":\"%s\"", bound / us, by);
    }
    const tn_span span = {"kernel", name, begin};
    tn_trace_write(&span, end, details);
}

static void tell(const notes *n, double begin, double end, const tn_work *work)
{
    if (tn_this.profile)
        tn_profile_add(tn_this.profile, n, end - begin, work);
    if (__atomic_load_n(&tn_tracing, __ATOMIC_RELAXED))
        write_span(n, begin, end, work);
}

#define TRACED(slot_, parameters, names)                                                                                      \
    static tn_status traced_##slot_ parameters                                                                                \
    {                                                                                                                         \
        if (!tn_this.profile && !__atomic_load_n(&tn_tracing, __ATOMIC_RELAXED))                                              \
            return behind.slot_ names;                                                                                        \
        notes notes_;                                                                                                         \
        notes_.slot = notes_.name = #slot_;                                                                                   \
        notes_.count = 0;                                                                                                     \
        notes_.threads = tn_parallel_width();                                                                                 \
        NOTES names                                                                                                           \
        const double begin_ = tn_trace_now();                                                                                 \
        const tn_status status_ = behind.slot_ names;                                                                         \
        const double end_ = tn_trace_now();                                                                                   \
        const tn_work work_ = status_ == TN_OK ? tn_work_##slot_ names : (tn_work){.flop = 0};                                \
        tell(&notes_, begin_, end_, &work_);                                                                                  \
        return status_;                                                                                                       \
    }
TN_KERNEL_LIST(TRACED)
#undef TRACED

void tn_trace_kernels(tn_kernels *table)
{
    behind = *table;
#define FRONT(slot, parameters, names) table->slot = traced_##slot;
    TN_KERNEL_LIST(FRONT)
#undef FRONT
}
