#include "kernels/work.h"

#include <math.h>

#include "core/core.h"

#define WORK(slot, ...) tn_work tn_work_##slot(__VA_ARGS__)

static double size_of(tn_dtype dtype) { return (double)tn_dtype_sizes[dtype]; }
static tn_work_kind kind_of(tn_dtype dtype) { return dtype == TN_F64 ? TN_WORK_F64 : TN_WORK_F32; }
static double product(int ndim, const int64_t *sizes)
{
    double n = 1;
    for (int i = 0; i < ndim; i++)
        n *= (double)sizes[i];
    return n;
}

/* ---- elementwise ------------------------------------------------------------------------------------------------------------ */

/* What there is of operand k: a dim along which it does not move counts once. */
static double elements(const tn_loop *loop, int k)
{
    double n = 1;
    for (int i = 0; i < loop->ndim; i++)
        n *= loop->strides[k][i] ? (double)loop->sizes[i] : 1;
    return n;
}

/* An elementwise call of so many operations on each element, whose result has elements of `out` bytes, the first operand of `first`. */
static tn_work over(const tn_loop *loop, double operations, tn_work_kind kind, double out, double first, double in)
{
    const double n = product(loop->ndim, loop->sizes);
    tn_work w = {.flop = operations * n, .written = out * n, .kind = kind};
    for (int k = 1; k < loop->operands; k++)
        w.read += (k == 1 ? first : in) * elements(loop, k);
    return w;
}

WORK(unary, tn_unary_op op, tn_dtype dtype, const double *param, const tn_loop *loop)
{
    (void)param;
#define TEST_(name, expression) case TN_UNARY_##name:
    double out = size_of(dtype);
    switch (op) {
        TN_UNARY_TEST_LIST(TEST_)
        out = 1;
        break;
    default:
        break;
    }
#undef TEST_
    return over(loop, op == TN_UNARY_NONE ? 0 : 1, kind_of(dtype), out, size_of(dtype), 0);
}

WORK(binary, tn_binary_op op, tn_dtype dtype, const tn_loop *loop)
{
#define TEST_(name, expression) case TN_BINARY_##name:
    double out = size_of(dtype);
    switch (op) {
        TN_BINARY_TEST_LIST(TEST_)
        out = 1;
        break;
    default:
        break;
    }
#undef TEST_
    return over(loop, 1, kind_of(dtype), out, size_of(dtype), size_of(dtype));
}

WORK(ternary, tn_ternary_op op, tn_dtype dtype, const tn_loop *loop)
{
    const bool where = op == TN_TERNARY_WHERE;
    return over(loop, where ? 1 : 3, kind_of(dtype), size_of(dtype), where ? 1 : size_of(dtype), size_of(dtype));
}

WORK(cast, tn_dtype to, tn_dtype from, const tn_loop *loop) { return over(loop, 0, TN_WORK_F32, size_of(to), size_of(from), 0); }

WORK(fill, size_t element, const void *value, const tn_loop *loop)
{
    (void)value;
    return (tn_work){.written = (double)element * product(loop->ndim, loop->sizes)};
}

WORK(gather, size_t element, const tn_loop *loop)
{
    const double n = product(loop->ndim, loop->sizes);
    return (tn_work){.read = (double)element * n + 8 * elements(loop, 2), .written = (double)element * n};
}

WORK(scatter, tn_dtype dtype, bool add, const tn_loop *loop)
{
    const double n = product(loop->ndim, loop->sizes), bytes = size_of(dtype) * n;
    return (tn_work){.flop = add ? n : 0, .read = size_of(dtype) * elements(loop, 0) + 8 * elements(loop, 2), .updated = add ? bytes : 0,
                     .written = add ? 0 : bytes, .kind = kind_of(dtype)};
}

/* Operations on an element, by tn_step_op. */
static const double of_step[TN_STEP_OPS] = {[TN_STEP_SGD] = 6,   [TN_STEP_ADAM] = 13,  [TN_STEP_RMSPROP] = 8, [TN_STEP_ADADELTA] = 13,
                                            [TN_STEP_ADAMAX] = 9, [TN_STEP_LION] = 8,  [TN_STEP_MUON] = 5,    [TN_STEP_SCALE] = 1,
                                            [TN_STEP_CLAMP] = 2,  [TN_STEP_LERP] = 3,  [TN_STEP_SWAP] = 0};
WORK(optim_step, tn_step_op op, const tn_step_item *items, int count)
{
    tn_work w = {0};
    for (int i = 0; i < count; i++) {
        const double bytes = size_of(items[i].dtype) * (double)items[i].n;
        w.flop += of_step[op] * (double)items[i].n;
        w.read += items[i].g ? bytes : 0;
        w.updated += bytes;
        for (int s = 0; s < TN_STEP_STATES; s++)
            w.updated += items[i].state[s] ? bytes : 0;
        w.kind = kind_of(items[i].dtype);
    }
    return w;
}

/* ---- products and convolutions ----------------------------------------------------------------------------------------------- */

WORK(gemm, tn_dtype dtype, const tn_gemm *g)
{
    const double batch = (double)g->batch, m = (double)g->m, n = (double)g->n, k = (double)g->k, size = size_of(dtype), c = size * batch * m * n;
    const double a = (g->a_batch ? batch : 1) * m * k, b = (g->b_batch ? batch : 1) * k * n, sums = g->a_sums ? m : 0;
    const double beside = g->beside ? n : 0; /* times m read, k written, of each a multiply-add */
    return (tn_work){.flop = 2 * (batch * n + beside) * m * k + sums * k, .read = size * (a + b + (g->bias ? n : 0) + beside * m), .updated = g->beta != 0 ? c : 0,
                     .written = (g->beta != 0 ? 0 : c) + size * (sums + beside * k), .kind = g->rounded || dtype == TN_BF16 ? TN_WORK_BF16 : kind_of(dtype)};
}

static double x_elements(const tn_conv *c) { return (double)(c->n * c->c_in) * (double)(c->h * c->w); }
static double y_elements(const tn_conv *c) { return (double)(c->n * c->c_out) * (double)(c->oh * c->ow); }
static double taps(const tn_conv *c) { return (double)(c->c_in / (c->groups ? c->groups : 1)) * (double)(c->kh * c->kw); } /* of an element of y */
static double columns(const tn_conv *c) { return (double)(c->n * c->c_in) * (double)(c->kh * c->kw) * (double)(c->oh * c->ow); }

WORK(conv_forward, tn_dtype dtype, const tn_conv *c)
{
    const double weight = taps(c) * (double)c->c_out;
    return (tn_work){.flop = 2 * y_elements(c) * taps(c), .read = size_of(dtype) * (x_elements(c) + weight + (c->bias ? (double)c->c_out : 0)),
                     .written = size_of(dtype) * y_elements(c), .kind = kind_of(dtype)};
}

WORK(conv_backward, tn_dtype dtype, const tn_conv_grad *g)
{
    const tn_conv *c = &g->conv;
    const double weight = taps(c) * (double)c->c_out, one = 2 * y_elements(c) * taps(c);
    const double relu = g->relu ? y_elements(c) : 0;
    return (tn_work){.flop = (g->dx ? one : 0) + (g->dw ? one : 0) + (g->db ? y_elements(c) : 0),
                     .read = size_of(dtype) * (relu + y_elements(c) + (g->dx ? weight : 0) + (g->dw ? x_elements(c) : 0)),
                     .written = size_of(dtype) * (relu + (g->dx ? x_elements(c) : 0) + (g->dw ? weight : 0) + (g->db ? (double)c->c_out : 0)),
                     .kind = kind_of(dtype)};
}

WORK(unfold, tn_dtype dtype, const tn_conv *conv, const void *x, void *out)
{
    (void)x, (void)out;
    return (tn_work){.read = size_of(dtype) * x_elements(conv), .written = size_of(dtype) * columns(conv)};
}

WORK(fold, tn_dtype dtype, const tn_conv *conv, const void *in, void *x)
{
    (void)in, (void)x;
    return (tn_work){.flop = columns(conv), .read = size_of(dtype) * columns(conv), .written = size_of(dtype) * x_elements(conv),
                     .kind = kind_of(dtype)};
}

/* Pairs of a row of q and a row of k that a head looks at. */
static double pairs(const tn_attention *a)
{
    const double l = (double)a->l, s = (double)a->s, corner = l < s ? l : s;
    return (double)(a->batch * a->heads) * (a->causal ? corner * (corner + 1) / 2 + (l - corner) * s : l * s);
}
static double mask_bytes(tn_dtype dtype, const tn_attention *a)
{
    const double n = (a->mask.batch ? (double)a->batch : 1) * (a->mask.head ? (double)a->heads : 1) * (a->mask.row ? (double)a->l : 1);
    return a->mask.data ? n * (a->mask_column ? (double)a->s : 1) * (a->mask_is_bool ? 1 : size_of(dtype)) : 0;
}

WORK(attention, tn_dtype dtype, const tn_attention *a)
{
    const double rows = (double)(a->batch * a->heads * a->l), kept = (double)(a->batch * a->kv_heads * a->s);
    return (tn_work){.flop = 2 * pairs(a) * (double)(a->e + a->ev),
                     .read = size_of(dtype) * (rows * (double)a->e + kept * (double)(a->e + a->ev)) + mask_bytes(dtype, a),
                     .written = size_of(dtype) * rows * (double)(a->ev + (a->stats ? 2 : 0)),
                     .kind = a->rounded ? TN_WORK_BF16 : kind_of(dtype)};
}

/* The scores again, their gradient, and what was asked for. */
WORK(attention_backward, tn_dtype dtype, const tn_attention *a)
{
    const double rows = (double)(a->batch * a->heads * a->l), kept = (double)(a->batch * a->kv_heads * a->s), e = (double)a->e, ev = (double)a->ev;
    return (tn_work){.flop = 2 * pairs(a) * (e + ev + (a->dq.data ? e : 0) + (a->dk.data ? e : 0) + (a->dv.data ? ev : 0)),
                     .read = size_of(dtype) * (rows * (e + 2 * ev + 2) + kept * (e + ev)) + mask_bytes(dtype, a),
                     .written = size_of(dtype) * ((a->dq.data ? rows * e : 0) + (a->dk.data ? kept * e : 0) + (a->dv.data ? kept * ev : 0)),
                     .kind = a->rounded ? TN_WORK_BF16 : kind_of(dtype)};
}

/* The gates' products; forward and backward move the same arrays but for the gradients. */
static double rnn_rows(const tn_rnn *r) { return (double)r->first[r->steps]; }
static double rnn_weights(const tn_rnn *r)
{
    return (double)(tn_rnn_gates(r->kind) * r->hidden) * (double)(r->in + r->hidden + (r->b_ih != NULL) + (r->b_hh != NULL));
}
WORK(rnn_saved, tn_dtype dtype, const tn_rnn *r, int64_t *elements)
{
    (void)dtype, (void)r, (void)elements;
    return (tn_work){0};
}
WORK(rnn_forward, tn_dtype dtype, const tn_rnn *r)
{
    const double rows = rnn_rows(r), gates = (double)(tn_rnn_gates(r->kind) * r->hidden), states = (double)(r->batch * r->hidden * (r->c ? 2 : 1));
    return (tn_work){.flop = 2 * rows * gates * (double)(r->in + r->hidden), .read = size_of(dtype) * (rows * (double)r->in + rnn_weights(r)),
                     .updated = size_of(dtype) * states,
                     .written = size_of(dtype) * rows * (double)(r->hidden + (r->saved ? tn_rnn_saved(r->kind, r->hidden) : 0)), .kind = kind_of(dtype)};
}
WORK(rnn_backward, tn_dtype dtype, const tn_rnn_grad *g)
{
    const tn_rnn *r = &g->rnn;
    const double rows = rnn_rows(r), gates = (double)(tn_rnn_gates(r->kind) * r->hidden), in = (double)r->in, hidden = (double)r->hidden;
    return (tn_work){.flop = 2 * rows * gates * (hidden + (g->dx ? in : 0) + (g->dw_ih ? in : 0) + (g->dw_hh ? hidden : 0)),
                     .read = size_of(dtype) * (rows * (in + 2 * hidden + (double)tn_rnn_saved(r->kind, r->hidden)) + rnn_weights(r)),
                     .updated = size_of(dtype) * (double)(r->batch * r->hidden * (g->dc ? 2 : 1)),
                     .written = size_of(dtype) * ((g->dx ? rows * in : 0) + (g->dw_ih ? gates * in : 0) + (g->dw_hh ? gates * hidden : 0) +
                                                  (g->db_ih ? gates : 0) + (g->db_hh ? gates : 0)),
                     .kind = kind_of(dtype)};
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------------- */

/* Dense arrays of n elements: so many read, so many written. */
static tn_work dense(tn_dtype dtype, double n, double operations, double read, double written)
{
    return (tn_work){.flop = operations * n, .read = read * n * size_of(dtype), .written = written * n * size_of(dtype), .kind = kind_of(dtype)};
}

WORK(reduce, tn_reduce_op op, tn_dtype dtype, const tn_reduction *r)
{
    const double kept = product(r->outer_ndim, r->outer_sizes), all = kept * product(r->inner_ndim, r->inner_sizes);
    const bool places = op == TN_REDUCE_ARGMAX || op == TN_REDUCE_ARGMIN;
    double in = size_of(dtype), out = size_of(dtype), operations = 1;
    for (int i = 0; i < r->outer_ndim; i++)
        in *= r->outer_strides[i] ? (double)r->outer_sizes[i] : 1;
    for (int i = 0; i < r->inner_ndim; i++)
        in *= r->inner_strides[i] ? (double)r->inner_sizes[i] : 1;
    if (op == TN_REDUCE_ANY || op == TN_REDUCE_ALL)
        out = 1;
    else if ((op == TN_REDUCE_SUM || op == TN_REDUCE_PROD) && !tn_dtype_is_float(dtype))
        out = 8;
    if (op == TN_REDUCE_VAR || op == TN_REDUCE_STD)
        operations = 4; /* the mean; a difference, its square, their sum */
    else if (op == TN_REDUCE_NORM)
        operations = 2;
    else if (op == TN_REDUCE_LOGSUMEXP)
        operations = 4;
    return (tn_work){.flop = operations * all, .read = in, .written = kept * ((r->out ? out : 0) + (places ? 8 : 0)), .kind = kind_of(dtype)};
}

WORK(cumsum, tn_dtype dtype, const tn_cumsum_rows *r) { return dense(dtype, (double)(r->outer * r->n * r->inner), 1, 1, 1); }
/* The largest, the difference from it, its exponential, their sum, the quotient. */
WORK(softmax, tn_dtype dtype, const tn_softmax_rows *s) { return dense(dtype, (double)(s->outer * s->n * s->inner), 5, 1, 1); }
WORK(softmax_backward, tn_dtype dtype, const tn_softmax_rows *s) { return dense(dtype, (double)(s->outer * s->n * s->inner), 4, 2, 1); }

WORK(cross_entropy, tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    tn_work w = dense(dtype, (double)(c->rows * c->classes), 4, 1, 0);
    w.read += 8 * (double)c->rows + (c->weight ? size_of(dtype) * (double)c->classes : 0);
    w.written = 8 * (2 * (double)c->rows + 1) + size_of(dtype) * (c->reduction ? 1 : (double)c->rows);
    return w;
}
WORK(cross_entropy_backward, tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    tn_work w = dense(dtype, (double)(c->rows * c->classes), 3, 1, 1);
    w.read += 8 * (3 * (double)c->rows + 1) + (c->weight ? size_of(dtype) * (double)c->classes : 0) + size_of(dtype) * (c->reduction ? 1 : (double)c->rows);
    return w;
}

/* A step's states are the labels and the blanks between them; each has the log of a sum of three, in backward twice. */
WORK(ctc, tn_dtype dtype, const tn_ctc *c)
{
    const double states = (double)(c->time * c->batch) * (double)(2 * c->longest + 1);
    tn_work w = dense(dtype, (double)(c->time * c->batch * c->classes), 0, 1, c->dx ? 1 : 0);
    w.flop = 10 * states * (c->dx ? 2 : 1);
    w.written += size_of(dtype) * (double)c->batch;
    return w;
}

/* Mean and variance, four operations; x less the mean, times rstd; the weight and the bias; the residual and the activation. */
WORK(norm, tn_dtype dtype, const tn_norm *m)
{
    const double operations = (m->given ? 0 : m->centre ? 4 : 2) + (m->centre ? 2 : 1) + (m->weight ? 1 : 0) + (m->bias ? 1 : 0) +
                              (m->residual ? 1 : 0) + (m->activation ? 1 : 0);
    tn_work w = dense(m->held ? (tn_dtype)m->held : dtype, (double)(m->n * m->c * m->s), operations, m->residual ? 2 : 1, 1);
    w.read += size_of(dtype) * (double)m->c * ((m->weight ? 1 : 0) + (m->bias ? 1 : 0));
    return w;
}
/* dx: two sums of products over the pool, then dy less both terms, times rstd. */
WORK(norm_backward, tn_dtype dtype, const tn_norm *m)
{
    const double operations = (m->dx ? m->centre ? 10 : 8 : 0) + (m->dweight ? 3 : 0) + (m->dbias ? 1 : 0);
    tn_work w = dense(m->held ? (tn_dtype)m->held : dtype, (double)(m->n * m->c * m->s), operations, m->dx || m->dweight ? 2 : 1, m->dx ? 1 : 0);
    w.read += m->weight ? size_of(dtype) * (double)m->c : 0;
    w.written += size_of(dtype) * (double)m->c * ((m->dweight ? 1 : 0) + (m->dbias ? 1 : 0));
    return w;
}

WORK(sort, tn_dtype dtype, const tn_sort_rows *r)
{
    const double n = (double)r->n;
    tn_work w = dense(dtype, (double)(r->rows * r->n), n > 1 ? log2(n) : 0, 1, 0);
    w.written = (size_of(dtype) + 8) * (double)(r->rows * r->k);
    return w;
}

WORK(swiglu_backward, tn_dtype dtype, int64_t n, const void *dy, const void *gate, const void *up, void *dgate, void *dup)
{
    (void)dy, (void)gate, (void)up, (void)dgate, (void)dup;
    return dense(dtype, (double)n, 3, 3, 2);
}

/* Four products and two sums to a pair. */
WORK(rope, tn_dtype dtype, const tn_rope_rows *r)
{
    const double rows = (double)(r->batch * r->heads * r->l);
    tn_work w = dense(dtype, rows * (double)r->width, 0, 1, 1);
    w.flop = 6 * rows * (double)r->half;
    w.read += size_of(dtype) * 2 * (double)(r->table_rows * r->half);
    return w;
}

/* ---- pooling --------------------------------------------------------------------------------------------------------------------- */

static double pool_x(const tn_pool *p) { return (double)(p->planes * p->h) * (double)p->w; }
static double pool_y(const tn_pool *p) { return (double)(p->planes * p->oh) * (double)p->ow; }
static double index_size(const tn_pool *p) { return p->kh * p->kw > 256 ? 4 : 1; }

WORK(max_pool, tn_dtype dtype, const tn_pool *pool, const void *x, void *y, void *index)
{
    (void)x, (void)y;
    return (tn_work){.flop = pool_y(pool) * (double)(pool->kh * pool->kw), .read = size_of(dtype) * pool_x(pool),
                     .written = pool_y(pool) * (size_of(dtype) + (index ? index_size(pool) : 0)), .kind = kind_of(dtype)};
}
WORK(max_pool_backward, tn_dtype dtype, const tn_pool *pool, const void *dy, const void *index, void *dx)
{
    (void)dy, (void)index, (void)dx;
    return (tn_work){.flop = pool_y(pool), .read = pool_y(pool) * (size_of(dtype) + index_size(pool)), .written = size_of(dtype) * pool_x(pool),
                     .kind = kind_of(dtype)};
}
WORK(max_pool_take, tn_dtype dtype, const tn_pool *pool, const void *x, const void *index, void *y)
{
    (void)x, (void)index, (void)y;
    return (tn_work){.read = pool_y(pool) * (size_of(dtype) + index_size(pool)), .written = size_of(dtype) * pool_y(pool)};
}
WORK(max_pool_where, const tn_pool *pool, const void *index, int64_t *where)
{
    (void)index, (void)where;
    return (tn_work){.read = pool_y(pool) * index_size(pool), .written = 8 * pool_y(pool)};
}
WORK(avg_pool, tn_dtype dtype, const tn_pool *pool, const void *x, void *y)
{
    (void)x, (void)y;
    return (tn_work){.flop = pool_y(pool) * (double)(pool->kh * pool->kw), .read = size_of(dtype) * pool_x(pool),
                     .written = size_of(dtype) * pool_y(pool), .kind = kind_of(dtype)};
}
WORK(avg_pool_backward, tn_dtype dtype, const tn_pool *pool, const void *dy, void *dx)
{
    (void)dy, (void)dx;
    return (tn_work){.flop = pool_y(pool) * (double)(pool->kh * pool->kw), .read = size_of(dtype) * pool_y(pool),
                     .written = size_of(dtype) * pool_x(pool), .kind = kind_of(dtype)};
}

/* ---- places, numbers -------------------------------------------------------------------------------------------------------------- */

WORK(offsets, tn_offsets *o) { return (tn_work){.flop = 2 * (double)(o->n * o->count), .read = 8 * (double)(o->n * o->count), .written = 8 * (double)o->n}; }
WORK(positions, int64_t n, const bool *mask, int64_t *out, int64_t *count)
{
    (void)mask;
    return (tn_work){.read = (double)n, .written = out ? 8 * (double)*count : 0};
}
WORK(unravel, int64_t n, const int64_t *at, int ndim, const int64_t *sizes, int64_t row, int64_t column, int64_t *out)
{
    (void)at, (void)sizes, (void)row, (void)column, (void)out;
    return (tn_work){.read = 8 * (double)n, .written = 8 * (double)(n * ndim)};
}
WORK(random, const tn_random_fill *fill) { return (tn_work){.written = size_of(fill->dtype) * (double)fill->n}; }
WORK(range, tn_dtype dtype, int64_t n, int64_t first, double start, double step, void *out)
{
    (void)first, (void)start, (void)step, (void)out;
    return dense(dtype, (double)n, 2, 0, 1);
}
WORK(triangle, size_t element, bool upper, int64_t diagonal, int64_t batch, int64_t rows, int64_t cols, const void *x, void *out)
{
    (void)upper, (void)diagonal, (void)x, (void)out;
    const double bytes = (double)element * (double)(batch * rows) * (double)cols;
    return (tn_work){.read = bytes, .written = bytes};
}

/* ---- packed weights and decoding ---------------------------------------------------------------------------------------------------- */

static tn_work_kind kind_packed(tn_packed_kind kind) { return kind == TN_PACKED_F32 ? TN_WORK_F32 : kind == TN_PACKED_BF16 ? TN_WORK_BF16 : TN_WORK_I8; }
static double row_bytes(const tn_packed_matrix *w) { return (double)tn_packed_stride(w) / TN_PACKED_ROWS; }

WORK(packed_pack, const tn_packed_matrix *w, int64_t first, int64_t count, const float *rows, int64_t row)
{
    (void)first, (void)rows, (void)row;
    return (tn_work){.read = 4 * (double)(count * w->cols), .written = row_bytes(w) * (double)count};
}
WORK(packed_pack_blocks, const tn_packed_matrix *w, int64_t first, int64_t count, const void *blocks)
{
    (void)first, (void)blocks;
    return (tn_work){.read = (w->kind == TN_PACKED_Q4 ? 18 : 34) * (double)(count * tn_packed_blocks(w->cols)), .written = row_bytes(w) * (double)count};
}
WORK(packed_f28, tn_packed_matrix *w, void *aside)
{
    (void)aside;
    const double bytes = row_bytes(w) * (double)w->rows;
    return (tn_work){.read = bytes, .updated = bytes};
}
WORK(packed_unpack, const tn_packed_matrix *w, int64_t n, const int64_t *rows, float *out)
{
    (void)rows, (void)out;
    return (tn_work){.read = (double)n * row_bytes(w), .written = 4 * (double)(n * w->cols)};
}
WORK(packed_input, tn_packed_kind kind, int64_t n, int64_t cols, const float *x, int64_t x_row, void *prepared, int thread, int threads)
{
    (void)x, (void)x_row, (void)prepared, (void)thread, (void)threads;
    return (tn_work){.read = 4 * (double)(n * cols), .written = (double)tn_packed_input_bytes(kind, n, cols)};
}
WORK(packed_product, const tn_packed_matrix *w, int64_t n, const void *prepared, float *y, int64_t y_row, bool add, int thread, int threads)
{
    (void)prepared, (void)y, (void)y_row, (void)thread, (void)threads;
    const double out = 4 * (double)(n * w->rows);
    return (tn_work){.flop = 2 * (double)(n * w->rows) * (double)w->cols,
                     .read = row_bytes(w) * TN_PACKED_ROWS * (double)tn_packed_panels(w->rows) + (double)tn_packed_input_bytes(w->kind, n, w->cols) +
                             (w->bias ? 4 * (double)w->rows : 0),
                     .updated = add ? out : 0, .written = add ? 0 : out, .kind = kind_packed(w->kind)};
}

WORK(decode_norm, int64_t rows, int64_t n, const float *x, const float *weight, double eps, float *y, tn_packed_kind kind, void *prepared)
{
    (void)x, (void)weight, (void)eps, (void)y;
    tn_work w = dense(TN_F32, (double)(rows * n), 4, 2, 1);
    w.written += prepared ? (double)tn_packed_input_bytes(kind, rows, n) : 0;
    return w;
}
WORK(decode_gate, int64_t rows, int64_t n, float *gate, const float *up, int64_t row, tn_packed_kind kind, void *prepared)
{
    (void)gate, (void)up, (void)row;
    const double all = (double)(rows * n);
    return (tn_work){.flop = 5 * all, .read = 4 * all, .updated = 4 * all, .written = prepared ? (double)tn_packed_input_bytes(kind, rows, n) : 0};
}
WORK(decode_store, const tn_decode_store *s)
{
    const double kept = 2 * (double)(s->rows * s->kv_heads), turned = (double)(s->rows * (s->heads + s->kv_heads) * s->size);
    return (tn_work){.flop = 3 * turned, .read = 2 * kept * (double)s->size + 4 * (double)(s->rows * s->size), .updated = 4 * turned,
                     .written = kept * ((double)s->size * size_of(s->dtype) + (s->dtype == TN_I8 ? 4 : 0))};
}
/* Row i of the queries sees the first length - rows + 1 + i, and of those a window. */
WORK(decode_attention, const tn_decode_attention *a, int thread, int threads)
{
    (void)thread, (void)threads;
    const double rows = (double)a->rows, cache = (double)(a->kv_heads * a->length);
    double seen = 0;
    for (int64_t length = a->length - a->rows + 1; length <= a->length; length++)
        seen += (double)(a->window && a->window < length ? a->window : length);
    return (tn_work){.flop = 4 * seen * (double)(a->heads * a->size),
                     .read = 2 * cache * ((double)a->size * size_of(a->dtype) + (a->dtype == TN_I8 ? 4 : 0)) + 4 * rows * (double)(a->heads * a->size),
                     .written = 4 * rows * (double)(a->heads * a->size)};
}
WORK(decode_argmax, int64_t n, const float *x, int64_t *index, float *max)
{
    (void)x, (void)index, (void)max;
    return dense(TN_F32, (double)n, 1, 1, 0);
}
