/* A slot in front of each slot, made of TN_KERNEL_LIST: it calls the one behind and writes the span, with what the arguments say. */
#include "kernels/traced.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/trace.h"

static tn_kernels behind;

/* ---- what an argument says ---------------------------------------------------------------------------------------------- */

typedef struct notes {
    const char *slot;
    char name[48]; /* of the span: the slot, or the operator where one slot serves many */
    char text[512];
    size_t length;
} notes;

static void add(notes *n, const char *format, ...) TN_PRINTF(2, 3);
static void add(notes *n, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int more = vsnprintf(n->text + n->length, sizeof n->text - n->length, format, list);
    va_end(list);
    if (more >= 0 && (size_t)more < sizeof n->text - n->length)
        n->length += (size_t)more;
    else
        n->text[n->length] = 0; /* half a detail is none */
}

static const char *comma(const notes *n) { return n->length ? "," : ""; }

static void set_name(notes *n, const char *const *names, int64_t count, int64_t op)
{
    int i = 0;
    for (const char *at = op >= 0 && op < count ? names[op] : n->slot; *at && i < (int)sizeof n->name - 1; at++)
        n->name[i++] = (char)tolower((unsigned char)*at);
    n->name[i] = 0;
}

static void note_number(notes *n, const char *argument, int64_t value)
{
#define NAME(name, expression) #name,
    static const char *const unary[] = {"none", TN_UNARY_LIST(NAME)}, *const binary[] = {TN_BINARY_LIST(NAME)};
#undef NAME
    if (strcmp(argument, "op") == 0 && strcmp(n->slot, "unary") == 0)
        set_name(n, unary, TN_COUNT(unary), value);
    else if (strcmp(argument, "op") == 0 && strcmp(n->slot, "binary") == 0)
        set_name(n, binary, TN_COUNT(binary), value);
    else if (strcmp(argument, "dtype") == 0 || strcmp(argument, "to") == 0 || strcmp(argument, "from") == 0)
        add(n, "%s\"%s\":\"%s\"", comma(n), argument, tn_dtype_name((tn_dtype)value));
    else
        add(n, "%s\"%s\":%lld", comma(n), argument, (long long)value);
}

static void note_sizes(notes *n, const char *argument, int ndim, const int64_t *sizes)
{
    add(n, "%s\"%s\":\"%s\"", comma(n), argument, tn_shape_text(tn_make_shape(ndim, sizes)));
}

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
static void note_nothing(notes *n, const char *argument, ...) { (void)n, (void)argument; }

#define NOTE(x)                                                                                                               \
    _Generic((x), int: note_number, unsigned: note_number, bool: note_number, int64_t: note_number, size_t: note_number,      \
             const tn_loop *: note_loop, const tn_reduction *: note_reduction, const tn_gemm *: note_gemm,                    \
             const tn_conv *: note_conv, const tn_conv_grad *: note_conv_grad, const tn_pool *: note_pool,                    \
             const tn_softmax_rows *: note_softmax, const tn_cumsum_rows *: note_cumsum,                                      \
             const tn_cross_entropy_rows *: note_entropy, const tn_sort_rows *: note_sort, const tn_norm *: note_norm,        \
             const tn_rnn *: note_rnn, const tn_rnn_grad *: note_rnn_grad, default: note_nothing)(&notes_, #x, x);
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

/* ---- the table ---------------------------------------------------------------------------------------------------------- */

static void write_span(tn_span *span, const notes *n)
{
    if (!span->name)
        return;
    span->name = n->name;
    tn_trace_write(span, n->text);
}

#define TRACED(slot_, parameters, names)                                                                                      \
    static tn_status traced_##slot_ parameters                                                                                \
    {                                                                                                                         \
        notes notes_ = {.slot = #slot_, .name = #slot_};                                                                      \
        NOTES names                                                                                                           \
        tn_span span_ = tn_span_begin("kernel", #slot_);                                                                      \
        tn_status status_ = behind.slot_ names;                                                                               \
        write_span(&span_, &notes_);                                                                                          \
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
