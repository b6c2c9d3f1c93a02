/* Scaled dot-product attention in tiles of ROWS x COLUMNS scores, and its gradients, which make the scores again (Dao et al. 2022). The
 * products are gemm's. A tile's place and the order of sums depend on the shape alone, and so do the bits. */
#include <string.h>

#include "kernels/cpu/exp_sum.h"

enum { ROWS = 96, COLUMNS = 256 };
enum { DQ = 1, DK = 2, DV = 4 };

typedef struct attention_task {
    const tn_attention *a;
    int wanted; /* backward: of DQ, DK, DV */
    bool whole; /* backward: a unit of work is all of a head of k and v; else a block of rows, or of columns */
    int64_t row_blocks, column_blocks, units, workers;
    int64_t product, size;         /* elements of a worker's scratch: for gemm; all of it */
    void *scratch;                 /* [workers, size] */
} attention_task;

/* Fewer multiplications are not worth another thread. */
#define WORK_OF_A_THREAD 1e6
enum { TILE = ROWS * COLUMNS, EDGE = 64 /* gemm rounds sizes up by less */ };

/* A tile: head h of batch b, rows i0 ... and columns j0 ... */
typedef struct attention_tile {
    int64_t b, h, i0, j0, rows, columns;
} attention_tile;

/* 0, n - 1, 1, n - 2 ...: neighbours together have as much work as any two others where it grows with the number. */
static int64_t folded(int64_t i, int64_t n) { return i % 2 ? n - 1 - i / 2 : i / 2; }
/* Columns that any of the rows before `end` may look at. */
static int64_t columns_of(const tn_attention *a, int64_t end) { return a->causal ? tn_min_i64(a->s, end) : a->s; }

#define T float
#define FN(name) name##_f32
#define DTYPE TN_F32
#include "kernels/cpu/attention_body.h"

#define T double
#define FN(name) name##_f64
#define DTYPE TN_F64
#include "kernels/cpu/attention_body.h"

/* Units of so many multiplications each; tiles of scratch for a worker. */
static tn_status run(tn_dtype dtype, attention_task *task, int64_t units, double unit_work, int tiles,
                     void (*range)(int64_t, int64_t, void *))
{
    const int64_t widest = tn_max_i64(task->a->e, task->a->ev) + EDGE, most = 1 + (int64_t)((double)units * unit_work / WORK_OF_A_THREAD);
    task->units = units;
    task->workers = tn_min_i64(tn_min_i64(units, most), most > 1 ? tn_parallel_width() : 1);
    task->product = (COLUMNS + EDGE) * (ROWS + EDGE) + (COLUMNS + ROWS + EDGE) * widest;
    task->size = tiles * TILE + task->product;
    const size_t bytes = (size_t)(task->workers * task->size) * tn_dtype_size(dtype);
    if (!(task->scratch = tn_alloc(bytes)))
        return TN_ERR_MEMORY;
    tn_parallel_for(task->workers, 1, range, task);
    tn_free(task->scratch, bytes);
    return TN_OK;
}

static attention_task task_of(const tn_attention *a)
{
    return (attention_task){.a = a, .row_blocks = tn_ceil_div(a->l, ROWS), .column_blocks = tn_ceil_div(a->s, COLUMNS)};
}

tn_status TN_K(attention)(tn_dtype dtype, const tn_attention *a)
{
    attention_task task = task_of(a);
    const double work = (double)ROWS * (double)a->s * (double)(a->e + a->ev);
    return run(dtype, &task, a->batch * a->heads * task.row_blocks, work, a->dropout > 0 ? 2 : 1,
               dtype == TN_F64 ? forward_range_f64 : forward_range_f32);
}

tn_status TN_K(attention_backward)(tn_dtype dtype, const tn_attention *a)
{
    void (*range)(int64_t, int64_t, void *) = dtype == TN_F64 ? backward_range_f64 : backward_range_f32;
    const size_t item = tn_dtype_size(dtype), keys = (size_t)(a->batch * a->kv_heads * a->s);
    const double work = (double)(2 * a->e + 2 * a->ev);
    const int tiles = a->dropout > 0 ? 3 : 2;
    attention_task task = task_of(a);
    if (a->dq)
        memset(a->dq, 0, item * (size_t)(a->batch * a->heads * a->l * a->e));
    if (a->dk)
        memset(a->dk, 0, item * keys * (size_t)a->e);
    if (a->dv)
        memset(a->dv, 0, item * keys * (size_t)a->ev);
    const int queries = a->dq ? DQ : 0, others = (a->dk ? DK : 0) | (a->dv ? DV : 0);
    /* With a head for each thread the scores are made once; else once for rows and once for columns. The sums are the same. */
    task.whole = a->batch * a->kv_heads >= tn_parallel_width();
    task.wanted = queries | others;
    if (task.whole)
        return run(dtype, &task, a->batch * a->kv_heads, work * (double)a->l * (double)a->s, tiles, range);
    task.wanted = queries;
    if (queries && run(dtype, &task, a->batch * a->heads * task.row_blocks, work * ROWS * (double)a->s, tiles, range) != TN_OK)
        return TN_ERR_MEMORY;
    task.wanted = others;
    return others ? run(dtype, &task, a->batch * a->kv_heads * task.column_blocks, work * COLUMNS * (double)a->l, tiles, range) : TN_OK;
}
