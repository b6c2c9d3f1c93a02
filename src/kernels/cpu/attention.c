/* Scaled dot-product attention in tiles of up to ROWS x COLUMNS scores, and its gradients, which make the scores again (Dao et al. 2022).
 * The products read k' and v' in panels and all else where it lies (attention_products.h), rounded copies of it where they are of bf16 and the processor
 * has no such product, or are gemm's. A tile's place and the order of
 * sums depend on the shape alone, and so do the bits.
 *
 * Errors of f32 in ulp of the sum of the terms' magnitudes, a probability being counted 1 + m times, m being the largest sum of magnitudes that made
 * a score of its row, up to 1300 columns: of y 11, dq 1.5, dk 1, dv 4. Where products are rounded to bf16, in ulp of bf16: 1/4, 1/16, 1/64 and 0.4 of
 * what the rounded inputs give, as probabilities and their gradients are rounded too (tests/test_ops_attention.c). */
#include <string.h>

#include "kernels/cpu/exp_sum.h"
#include "kernels/cpu/wide.h"

enum { ROWS = 96, COLUMNS = 256, PITCH = COLUMNS + 16 /* between rows, so that those of a column share no set of the cache */ };
/* Rows of a tile whose products are our own, which pass over what no row may see; fewer rows are gemm's; blocks of rows that share panels;
 * wider heads are gemm's. */
enum { OWN_ROWS = 48, FEW_ROWS = 8, MOST_BLOCKS = 8, WIDEST = 256 };
enum { DQ = 1, DK = 2, DV = 4 };

typedef struct attention_task {
    const tn_attention *a;
    int wanted; /* backward: of DQ, DK, DV */
    bool whole; /* backward: a unit of work is all of a head of k and v; else a block of rows, or of columns */
    bool own;   /* the products are our own, else gemm's */
    int64_t rows;                  /* of a tile */
    int64_t span, spans;           /* forward: blocks of rows of a unit, and units of a head */
    int64_t row_blocks, column_blocks, units, workers;
    int64_t widest, panels, product, size; /* elements of a worker's scratch: for a row; for a set of panels; for products; all of it */
    void *scratch;                 /* [workers, size] */
} attention_task;

enum { TILE = ROWS * PITCH, EDGE = 64 /* gemm rounds sizes up by less */ };

/* A tile: head h of batch b, rows i0 ... and columns j0 ...; row i may see columns up to i + seen. */
typedef struct attention_tile {
    int64_t b, h, i0, j0, rows, columns, seen;
} attention_tile;

/* Which side of a product a tile's columns are, that rows may see in part. */
typedef enum attention_side { SEEN_N, SEEN_K, SEEN_M } attention_side;

/* Columns of the tile that row i may see. */
static int64_t seen_by(const attention_tile *t, int64_t i) { return tn_max_i64(0, tn_min_i64(i + 1 + t->seen, t->columns)); }

/* 0, n - 1, 1, n - 2 ...: neighbours together have as much work as any two others where it grows with the number. */
static int64_t folded(int64_t i, int64_t n) { return i % 2 ? n - 1 - i / 2 : i / 2; }
/* Columns that any of the rows before `end` may look at. */
static int64_t columns_of(const tn_attention *a, int64_t end) { return a->causal ? tn_min_i64(a->s, end) : a->s; }

/* The tile at row i and column j. */
static attention_tile tile_of(const attention_task *task, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const tn_attention *a = task->a;
    const int64_t rows = tn_min_i64(task->rows, a->l - i), columns = tn_min_i64(COLUMNS, columns_of(a, i + rows) - j);
    return (attention_tile){b, h, i, j, rows, columns, a->causal ? i - j : COLUMNS};
}

/* Whether our own products are those of rounded operands too: where nothing multiplies bf16 itself. */
#if defined(__AVX2__) && !defined(__AVX512F__)
enum { OWN_ROUNDED = 1 };
#else
enum { OWN_ROUNDED = 0 };
#endif

/* Vectors side by side in a tile of a product, and its rows: with 3, with 2 or fewer; where few rows are left with 2 or fewer, else 3 or 1. */
#if defined(__AVX512F__) || defined(__aarch64__)
enum { HIGH_3 = 8, HIGH_2 = 12, LOW_2 = 3 };
#elif defined(__AVX2__)
enum { HIGH_3 = 4, HIGH_2 = 6, LOW_2 = 4 };
#else
enum { HIGH_3 = 4, HIGH_2 = 6, LOW_2 = 3 };
#endif

/* WHOLE: what rows of probabilities are rounded up to, so that none is alone. */
#define T float
#define WHOLE TN_LANES
#define FN(name) name##_f32
#define DTYPE TN_F32
#include "kernels/cpu/attention_body.h"

#define T double
#define WHOLE 1
#define FN(name) name##_f64
#define DTYPE TN_F64
#include "kernels/cpu/attention_body.h"

/* Units of so many multiplications each; tiles of scratch for a worker. */
static tn_status run(tn_dtype dtype, attention_task *task, int64_t units, double unit_work, int tiles,
                     void (*range)(int64_t, int64_t, void *))
{
    const int64_t widest = tn_max_i64(task->a->e, task->a->ev) + EDGE, copies = task->a->rounded ? 2 * (COLUMNS + OWN_ROWS) : 0;
    task->units = units;
    task->workers = tn_min_i64(units, tn_workers_for((int64_t)((double)units * unit_work)));
    task->widest = widest;
    task->panels = (COLUMNS + EDGE) * widest;
    task->product = task->own ? 2 * task->panels + copies * widest : (COLUMNS + EDGE) * (ROWS + EDGE) + (COLUMNS + ROWS + EDGE) * widest;
    task->size = tiles * TILE + task->product;
    const size_t bytes = (size_t)(task->workers * task->size) * tn_dtype_size(dtype);
    if (!(task->scratch = tn_alloc(bytes)))
        return TN_ERR_MEMORY;
    tn_parallel_for(task->workers, 1, range, task);
    tn_free(task->scratch, bytes);
    return TN_OK;
}

static attention_task task_of(tn_dtype dtype, const tn_attention *a)
{
    const int64_t lanes = TN_VECTOR_BYTES / (int64_t)tn_dtype_size(dtype);
    const bool own = (OWN_ROUNDED || !a->rounded) && a->l >= FEW_ROWS && a->e > 0 && a->ev > 0 && a->e % lanes == 0 && a->ev % lanes == 0 &&
                     tn_max_i64(a->e, a->ev) <= WIDEST;
    const int64_t rows = own ? OWN_ROWS : ROWS;
    return (attention_task){.a = a, .own = own, .rows = rows, .row_blocks = tn_ceil_div(a->l, rows), .column_blocks = tn_ceil_div(a->s, COLUMNS)};
}

tn_status TN_K(attention)(tn_dtype dtype, const tn_attention *a)
{
    attention_task task = task_of(dtype, a);
    const int64_t heads = a->batch * a->heads, share = heads * task.row_blocks / (4 * tn_parallel_width());
    task.span = tn_max_i64(1, tn_min_i64(tn_min_i64(share, MOST_BLOCKS), task.row_blocks));
    task.spans = tn_ceil_div(task.row_blocks, task.span);
    const double work = (double)(task.span * task.rows) * (double)a->s * (double)(a->e + a->ev);
    return run(dtype, &task, heads * task.spans, work, a->dropout > 0 ? 2 : 1, dtype == TN_F64 ? forward_range_f64 : forward_range_f32);
}

tn_status TN_K(attention_backward)(tn_dtype dtype, const tn_attention *a)
{
    void (*range)(int64_t, int64_t, void *) = dtype == TN_F64 ? backward_range_f64 : backward_range_f32;
    const double work = (double)(2 * a->e + 2 * a->ev);
    const int tiles = a->dropout > 0 ? 3 : 2;
    attention_task task = task_of(dtype, a);
    const int queries = a->dq.data ? DQ : 0, others = (a->dk.data ? DK : 0) | (a->dv.data ? DV : 0);
    /* With a head for each thread the scores are made once; else once for rows and once for columns. The sums are the same. */
    task.whole = a->batch * a->kv_heads >= tn_parallel_width();
    task.wanted = queries | others;
    if (task.whole)
        return run(dtype, &task, a->batch * a->kv_heads, work * (double)a->l * (double)a->s, tiles, range);
    task.wanted = queries;
    if (queries && run(dtype, &task, a->batch * a->heads * task.row_blocks, work * (double)(task.rows * a->s), tiles, range) != TN_OK)
        return TN_ERR_MEMORY;
    task.wanted = others;
    return others ? run(dtype, &task, a->batch * a->kv_heads * task.column_blocks, work * COLUMNS * (double)a->l, tiles, range) : TN_OK;
}
