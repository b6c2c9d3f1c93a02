/* Recurrent layers of any size. The input's part of the gates comes as one product over all steps; what is left of a step is the product of h
 * with W_hh, packed once, and one pass over the gates. Sequences do not see each other: a thread takes some of them through all steps, and
 * in it blocks of them that stay in the cache, so that threads meet once a layer and not once a step. Rows of a product do not depend on
 * how they are blocked, so neither do the bits. Layers in f32 whose weights stay in the cache are recurrent_small.c's.
 *
 * Errors of f32, here and there, in ulp of what the formulas give with each term's magnitude in its place, where what goes through a gate's function
 * counts its own value, and its argument's size as often as the function's slope says (tests/sized.h): 4 + sqrt(k), k being the terms of a gate,
 * in + hidden + 2, and those of a gradient's own sum: all gates of dx and dh, all rows of weights and biases. It is 4 + k / 5 where all terms are
 * alike and so all sums rounded the same way, k counting as 512 at most where the sum is gemm.c's. That is of one step and of the h and c before it
 * (tests/test_recurrent_ulp.c), and half as much again as some seeds came to.
 *
 * Of T steps sizes are carried on as values are, and a step's h is off by what it adds itself and by what it makes of the h before, whose part in the
 * size grows alike: step t (from 0) by t + 1 times the bound of one step at most, and what goes back to it, by T steps and then T - t, by 2 T - t times.
 * Roundings of different steps are independent, and the square root of that many times holds, but where all terms are alike.
 *
 * Rounded to bf16 an operand is off by 2^-8 of itself, which of a term's size is 2^16 ulp at most: each product on the way adds 2^17, t + 1 of them to h
 * and 2 T - t to dx, dh and the weights' gradients, one less to the biases' and to dc. Of x, first state and weights that are bf16 already only
 * later states and the gates' gradients are rounded: 2^16 for each product but the first. */
#include <string.h>

#include "kernels/cpu/math.h"
#include "kernels/cpu/recurrent.h"

#define T float
#define FN(name) name##_f32
#include "kernels/cpu/recurrent_rows.h"

#define T double
#define FN(name) name##_f64
#include "kernels/cpu/recurrent_rows.h"

/* Sequences walked together: their products fill the micro-kernel's rows many times, and a step of theirs stays in the cache. */
enum { BLOCK_BYTES = 128 << 10, LEAST_ROWS = 24, MOST_ROWS = 240 };
/* Multiplications that are worth a thread. */
enum { WORK = 131072 };

typedef struct rnn_task {
    tn_dtype dtype;
    const tn_rnn *r;
    const tn_rnn_grad *grad; /* NULL: forward */
    char *gates, *kept;      /* [rows, gates hidden]: of a plain network y; [rows, hidden] of LSTM and GRU */
    char *dgates, *dkept, *before; /* backward, like those two, and [rows, hidden]: the h that each step began with */
    tn_gemm product;         /* of h with W_hh', or of the gates' gradient with W_hh */
    int64_t workers, rows;   /* sequences of a block */
    char *scratch;           /* of each worker: [rows, gates hidden], then a product's; NULL: that one's own */
    size_t part_bytes, product_bytes;
} rnn_task;

/* Row i of an array of rows of `width` elements; NULL stays NULL. */
static void *row(tn_dtype dtype, const void *base, int64_t i, int64_t width)
{
    return base ? (char *)(uintptr_t)base + (size_t)(i * width) * (dtype == TN_F64 ? 8 : 4) : NULL;
}

/* Sequences b ... b + n of step t, forward; `part` is room for [n, gates hidden]. */
static tn_status step_forward(const rnn_task *task, int64_t t, int64_t b, int64_t n, tn_gemm *g, void *part)
{
    const tn_rnn *r = task->r;
    const int64_t hidden = r->hidden, wide = hidden * tn_rnn_gates(r->kind);
    const tn_dtype dtype = task->dtype;
    g->a = row(dtype, r->h, b, hidden), g->c = part;
    const tn_status status = TN_K(gemm)(dtype, g);
    for (int64_t i = 0; i < n && status == TN_OK; i++) {
        const int64_t at = r->first[t] + b + i;
        void *gates = row(dtype, task->gates, at, wide), *mine = row(dtype, part, i, wide), *kept = row(dtype, task->kept, at, hidden);
        void *h = row(dtype, r->h, b + i, hidden), *c = row(dtype, r->c, b + i, hidden), *y = row(dtype, r->y, at, hidden);
        (dtype == TN_F64 ? forward_row_f64 : forward_row_f32)(r->kind, hidden, gates, mine, kept, h, c, y);
    }
    return status;
}

/* The same backward: after it dh and dc are those of the step before. */
static tn_status step_backward(const rnn_task *task, int64_t t, int64_t b, int64_t n, tn_gemm *g, void *part)
{
    const tn_rnn *r = task->r;
    const tn_rnn_grad *d = task->grad;
    const int64_t hidden = r->hidden, wide = hidden * tn_rnn_gates(r->kind), at = r->first[t] + b;
    const tn_dtype dtype = task->dtype;
    const size_t row_bytes = (size_t)hidden * (dtype == TN_F64 ? 8 : 4);
    for (int64_t i = 0; i < n; i++) {
        const int64_t was = tn_rnn_former(r, t, b + i);
        const void *h = was < 0 ? row(dtype, r->h, b + i, hidden) : row(dtype, r->y, was, hidden);
        const void *c = was < 0 ? row(dtype, r->c, b + i, hidden) : row(dtype, task->kept, was, hidden);
        memcpy(row(dtype, task->before, at + i, hidden), h, row_bytes);
        (dtype == TN_F64 ? backward_row_f64 : backward_row_f32)(
            r->kind, hidden, row(dtype, task->gates, at + i, wide), row(dtype, r->y, at + i, hidden), row(dtype, task->kept, at + i, hidden), h, c,
            row(dtype, d->dy, tn_rnn_dy_at(d, t, b + i), 1), row(dtype, d->dh, b + i, hidden), row(dtype, d->dc, b + i, hidden),
            row(dtype, task->dgates, at + i, wide), row(dtype, task->dkept, at + i, hidden), row(dtype, part, i, wide));
    }
    g->a = r->kind == TN_RNN_KIND_GRU ? part : row(dtype, task->dgates, at, wide), g->c = row(dtype, d->dh, b, hidden);
    return TN_K(gemm)(dtype, g);
}

/* Sequences begin ... end through all steps. */
static tn_status walk(const rnn_task *task, int64_t begin, int64_t end, char *scratch)
{
    const tn_rnn *r = task->r;
    tn_gemm product = task->product;
    product.scratch = task->product_bytes ? scratch + task->part_bytes : NULL;
    tn_status status = TN_OK;
    for (int64_t b = begin; b < end; b += task->rows)
        for (int64_t s = 0; s < r->steps && status == TN_OK; s++) {
            const int64_t t = r->reverse == !task->grad ? r->steps - 1 - s : s;
            product.m = tn_min_i64(tn_min_i64(tn_rnn_active(r, t), end) - b, task->rows);
            if (product.m > 0) status = (task->grad ? step_backward : step_forward)(task, t, b, product.m, &product, scratch);
        }
    return status;
}

static void work(int64_t begin, int64_t end, void *context)
{
    const rnn_task *task = context;
    for (int64_t w = begin; w < end; w++)
        (void)walk(task, task->r->batch * w / task->workers, task->r->batch * (w + 1) / task->workers,
                   task->scratch + (size_t)w * (task->part_bytes + task->product_bytes));
}

static tn_status run(rnn_task *task)
{
    const tn_rnn *r = task->r;
    const int64_t wide = r->hidden * tn_rnn_gates(r->kind), item = task->dtype == TN_F64 ? 8 : 4, width = tn_parallel_width();
    if (r->hidden == 0 || r->batch == 0) return TN_OK;
    const bool few = r->batch < width; /* too few sequences for all threads: these share each product */
    task->workers = few ? 1 : tn_min_i64(width, 1 + r->first[r->steps] * wide * r->hidden / WORK);
    task->rows = tn_max_i64(LEAST_ROWS, tn_min_i64(MOST_ROWS, BLOCK_BYTES / (wide * item)));
    task->rows = tn_min_i64(task->rows, tn_ceil_div(r->batch, task->workers));
    task->part_bytes = (size_t)tn_ceil_div(task->rows * wide * item, 64) * 64;
    task->product_bytes = few ? 0 : (TN_K(gemm_scratch_bytes)(task->dtype, &task->product, task->rows) + 63) / 64 * 64;
    const size_t packed_bytes = TN_K(gemm_packed_bytes)(task->dtype, &task->product);
    const size_t bytes = (size_t)task->workers * (task->part_bytes + task->product_bytes) + packed_bytes;
    if (!(task->scratch = tn_alloc(bytes))) return TN_ERR_MEMORY;
    char *packed = task->scratch + bytes - packed_bytes;
    TN_K(gemm_pack)(task->dtype, &task->product, packed);
    task->product.packed = packed;
    tn_status status = TN_OK;
    if (task->workers == 1)
        status = walk(task, 0, r->batch, task->scratch);
    else
        tn_parallel_for(task->workers, 1, work, task);
    tn_free(task->scratch, bytes);
    return status;
}

/* The gates and what is kept, at `saved`. */
static void place_saved(rnn_task *task, void *saved)
{
    const tn_rnn *r = task->r;
    const bool plain = tn_rnn_gates(r->kind) == 1;
    task->gates = plain ? r->y : saved;
    task->kept = plain ? NULL : row(task->dtype, saved, r->first[r->steps], r->hidden * tn_rnn_gates(r->kind));
}

tn_status TN_K(rnn_saved)(tn_dtype dtype, const tn_rnn *r, int64_t *elements)
{
    (void)dtype;
    *elements = r->first[r->steps] * tn_rnn_saved(r->kind, r->hidden);
    return TN_OK;
}

tn_status TN_K(rnn_forward)(tn_dtype dtype, const tn_rnn *r)
{
    if (TN_K(rnn_is_small)(dtype, r)) return TN_K(rnn_small_forward)(r);
    const int64_t wide = r->hidden * tn_rnn_gates(r->kind), rows = r->first[r->steps], saved = tn_rnn_saved(r->kind, r->hidden);
    const size_t bytes = r->saved ? 0 : (size_t)(rows * saved) * tn_dtype_size(dtype);
    rnn_task task = {.dtype = dtype, .r = r};
    void *scratch = bytes ? tn_alloc(bytes) : NULL;
    if (bytes && !scratch) return TN_ERR_MEMORY;
    place_saved(&task, bytes ? scratch : r->saved);
    const tn_gemm input = {.batch = 1, .m = rows, .n = wide, .k = r->in, .a = r->x, .b = r->w_ih, .c = task.gates, .a_row = r->in, .a_col = 1,
                           .b_row = 1, .b_col = r->in, .c_row = wide, .alpha = 1, .bias = r->b_ih, .rounded = r->rounded};
    task.product = (tn_gemm){.batch = 1, .n = wide, .k = r->hidden, .b = r->w_hh, .a_row = r->hidden, .a_col = 1, .b_row = 1,
                             .b_col = r->hidden, .c_row = wide, .alpha = 1, .bias = r->b_hh, .rounded = r->rounded};
    tn_status status = TN_K(gemm)(dtype, &input);
    status = status == TN_OK ? run(&task) : status;
    if (bytes) tn_free(scratch, bytes);
    return status;
}

/* to [m, n] = a' b over all rows. */
static tn_status rows_product(const rnn_task *task, const void *a, int64_t m, int64_t a_row, const void *b, int64_t n, void *to)
{
    const tn_gemm g = {.batch = 1, .m = m, .n = n, .k = task->r->first[task->r->steps], .a = a, .b = b, .c = to, .a_row = 1, .a_col = a_row,
                       .b_row = n, .b_col = 1, .c_row = n, .alpha = 1, .rounded = task->r->rounded};
    return TN_K(gemm)(task->dtype, &g);
}

/* What the gates' gradients come to. Of GRU's n the hidden part has a gradient of its own. */
static tn_status from_gates(const rnn_task *task)
{
    const tn_rnn *r = task->r;
    const tn_rnn_grad *d = task->grad;
    const tn_dtype dtype = task->dtype;
    const int64_t rows = r->first[r->steps], hidden = r->hidden, wide = hidden * tn_rnn_gates(r->kind);
    const int64_t shared = r->kind == TN_RNN_KIND_GRU ? 2 * hidden : wide;
    void (*sum)(int64_t, int64_t, const void *, int64_t, void *) = dtype == TN_F64 ? sum_rows_f64 : sum_rows_f32;
    const tn_gemm dx = {.batch = 1, .m = rows, .n = r->in, .k = wide, .a = task->dgates, .b = r->w_ih, .c = d->dx, .a_row = wide, .a_col = 1,
                        .b_row = r->in, .b_col = 1, .c_row = r->in, .alpha = 1, .rounded = r->rounded};
    if (d->dx && TN_K(gemm)(dtype, &dx) != TN_OK) return TN_ERR_MEMORY;
    if (d->dw_ih && rows_product(task, task->dgates, wide, wide, r->x, r->in, d->dw_ih) != TN_OK) return TN_ERR_MEMORY;
    if (d->dw_hh && rows_product(task, task->dgates, shared, wide, task->before, hidden, d->dw_hh) != TN_OK) return TN_ERR_MEMORY;
    if (d->dw_hh && shared < wide &&
        rows_product(task, task->dkept, hidden, hidden, task->before, hidden, row(dtype, d->dw_hh, shared, hidden)) != TN_OK)
        return TN_ERR_MEMORY;
    if (d->db_ih) sum(rows, wide, task->dgates, wide, d->db_ih);
    if (d->db_hh) sum(rows, shared, task->dgates, wide, d->db_hh);
    if (d->db_hh && shared < wide) sum(rows, hidden, task->dkept, hidden, row(dtype, d->db_hh, shared, 1));
    return TN_OK;
}

tn_status TN_K(rnn_backward)(tn_dtype dtype, const tn_rnn_grad *grad)
{
    const tn_rnn *r = &grad->rnn;
    if (TN_K(rnn_is_small)(dtype, r)) return TN_K(rnn_small_backward)(grad);
    const bool gru = r->kind == TN_RNN_KIND_GRU;
    const int64_t wide = r->hidden * tn_rnn_gates(r->kind), rows = r->first[r->steps];
    const size_t bytes = (size_t)(rows * (wide + (gru ? 2 : 1) * r->hidden)) * tn_dtype_size(dtype) + 64;
    rnn_task task = {.dtype = dtype, .r = r, .grad = grad};
    if (!(task.dgates = tn_alloc(bytes))) return TN_ERR_MEMORY;
    place_saved(&task, r->saved);
    task.before = row(dtype, task.dgates, rows, wide);
    task.dkept = gru ? row(dtype, task.before, rows, r->hidden) : NULL;
    task.product = (tn_gemm){.batch = 1, .n = r->hidden, .k = wide, .b = r->w_hh, .a_row = wide, .a_col = 1, .b_row = r->hidden, .b_col = 1,
                             .c_row = r->hidden, .alpha = 1, .beta = gru ? 1 : 0, .rounded = r->rounded};
    tn_status status = run(&task);
    status = status == TN_OK ? from_gates(&task) : status;
    tn_free(task.dgates, bytes);
    return status;
}
