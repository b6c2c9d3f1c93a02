/* Normalisation: layer, RMS and group norm, which pool what belongs to one sample, and batch norm, which pools a channel.
 *
 * Errors of f32 in ulp of what the formulas give with each term's magnitude in its place, a mean's being the mean of magnitudes: of y 7, dx 4,
 * weight's gradient 3, bias's 2 (tests/test_norm.c). 16-bit rows and segments are rounded once beyond that. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/load.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu/wide.h"

/* Terms that are summed in the work type at most; columns taken at a time. */
enum { BLOCK = 1024, COLUMNS = 64 };
/* Small segments of one channel that are summed together, and channels taken at a time. */
enum { SEGMENTS = 16, CHANNELS = 16 };
enum { TOGETHER = 4, SHARED = 512 }; /* segments of at most BLOCK; channels whose terms a thread finds once for all segments of batch norm */

typedef struct norm_task {
    const tn_norm *f;
    double *sums;   /* [n c, 2], of segments; moments: of chunks of a pool's segments */
    double *pools;  /* [pools, 2], backward's: the means of dy weight and of dy weight (x - mean) rstd */
    void *scratch;  /* rows' partial sums */
    int64_t chunk;  /* rows' n, or segments, at a time */
} norm_task;

static int64_t pool_count(const tn_norm *f) { return f->batch ? f->c : f->n * f->groups; }
/* The pool of segment k, which is channel k % c of sample k / c. */
static int64_t pool_of(const tn_norm *f, int64_t k) { return f->batch ? k % f->c : k / (f->c / f->groups); }

static double weight_at(const tn_norm *f, size_t element, int64_t c)
{
    return !f->weight ? 1 : element == sizeof(float) ? (double)((const float *)f->weight)[c] : ((const double *)f->weight)[c];
}

static void set_pool(const tn_norm *f, int64_t pool, double mean, double var)
{
    f->mean[pool] = mean;
    f->var[pool] = var;
    f->rstd[pool] = 1 / sqrt(var + f->eps);
}

/* Rows of bfloat16 are read as they lie, and in backward two go side by side; of 16 lanes norm_wide.h does that. */
#define EIGHT_LANES (TN_VECTOR_BYTES == 32)

/* Loaded from anywhere. */
typedef float vec_f32 __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));
typedef double vec_f64 __attribute__((vector_size(TN_VECTOR_BYTES), aligned(8), may_alias));

static inline vec_f32 load_f16(const tn_f16 *x)
{
    float lane[TN_VECTOR_BYTES / sizeof(float)];
    for (size_t l = 0; l < sizeof lane / sizeof *lane; l++)
        lane[l] = tn_load_f16(x[l]);
    return *(const vec_f32 *)lane;
}
static inline void store_f16(tn_f16 *to, vec_f32 x)
{
    float lane[TN_VECTOR_BYTES / sizeof(float)];
    memcpy(lane, &x, sizeof lane);
    for (size_t l = 0; l < sizeof lane / sizeof *lane; l++)
        to[l] = tn_store_f16(lane[l]);
}

/* The sum of a vector's lanes and of what was left beside them. */
static double fold_f32(const vec_f32 *v, float rest)
{
#if TN_VECTOR_BYTES == 64
    return (double)(tn_fold16_((const tn_lanes16_ *)v) + rest);
#elif TN_VECTOR_BYTES == 32
    return (double)(tn_fold8_((const tn_lanes8_ *)v) + rest);
#else
    return (double)(((*v)[0] + (*v)[2]) + ((*v)[1] + (*v)[3]) + rest);
#endif
}
static double fold_f64(const vec_f64 *v, double rest)
{
    double lane[TN_VECTOR_BYTES / sizeof(double)];
    memcpy(lane, v, sizeof lane);
    for (int width = TN_VECTOR_BYTES / 16; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0] + rest;
}

#define fold_bf16 fold_f32
#define fold_f16 fold_f32

#define E float
#define T float
#define VEC vec_f32
#define LOAD(p) (*(const vec_f32 *)(p))
#define STORE(p, v) (*(vec_f32 *)(p) = (v))
#define ONE(e) (e)
#define CUT(x) (x)
#define FN(name) name##_f32
#define ROWS 1
#include "kernels/cpu/norm_segments.h"

#define E double
#define T double
#define VEC vec_f64
#define LOAD(p) (*(const vec_f64 *)(p))
#define STORE(p, v) (*(vec_f64 *)(p) = (v))
#define ONE(e) (e)
#define CUT(x) (x)
#define FN(name) name##_f64
#define ROWS 1
#include "kernels/cpu/norm_segments.h"

#define E tn_bf16
#define T float
#define VEC vec_f32
#define LOAD(p) tn_wide_vector_(p)
#define STORE(p, v) tn_narrow_vector_(p, v)
#define ONE(e) tn_load_bf16(e)
#define CUT(x) tn_store_bf16(x)
#define FN(name) name##_bf16
#define ROWS EIGHT_LANES
#include "kernels/cpu/norm_segments.h"

#define E tn_f16
#define T float
#define VEC vec_f32
#define LOAD(p) load_f16(p)
#define STORE(p, v) store_f16(p, v)
#define ONE(e) tn_load_f16(e)
#define CUT(x) tn_store_f16(x)
#define FN(name) name##_f16
#define ROWS 0
#include "kernels/cpu/norm_segments.h"

#define T float
#define VEC vec_f32
#define FN(name) name##_f32
#include "kernels/cpu/norm_body.h"
#undef T
#undef VEC
#undef FN

#define T double
#define VEC vec_f64
#define FN(name) name##_f64
#include "kernels/cpu/norm_body.h"

typedef void (*body)(int64_t begin, int64_t end, void *context);
/* The work type's form of a loop, and the element's. */
#define OF(dtype, name) ((dtype) == TN_F64 ? (body)name##_f64 : (body)name##_f32)
#define OF_ELEMENT(f, dtype, name) ((f)->held == TN_BF16 ? (body)name##_bf16 : (f)->held == TN_F16 ? (body)name##_f16 : OF(dtype, name))

static int64_t grain(int64_t elements) { return tn_ceil_div(TN_GRAIN / 4, tn_max_i64(1, elements)); }

/* The segments of a pool: first, first + step, ... */
typedef struct pool_walk {
    int64_t first, step, count;
} pool_walk;
static pool_walk walk_of(const tn_norm *f, int64_t pool)
{
    const int64_t m = f->c / f->groups;
    return f->batch ? (pool_walk){pool, f->c, f->n} : (pool_walk){pool * m, 1, m};
}

/* How many segments of a channel are summed together. */
static int64_t chunk_of(const tn_norm *f)
{
    return f->batch ? tn_max_i64(1, tn_min_i64(SEGMENTS, BLOCK / tn_max_i64(1, f->s))) : 1;
}

#include "kernels/cpu/norm_wide.h"

/* The loops over rows of f32 or f64. */
static body rows_of(tn_dtype dtype, const tn_norm *f, bool backward)
{
#if defined(__AVX512F__)
    if (dtype == TN_F32 && f->groups == 1)
        return backward ? rows_backward_wide : rows_forward_wide;
#endif
    (void)f;
    return backward ? OF(dtype, rows_backward) : OF(dtype, rows_forward);
}

#include "kernels/cpu/norm_held.h"

/* The same of any dtype. */
static body rows_of_any(tn_dtype dtype, const tn_norm *f, bool backward)
{
#if defined(__AVX512F__)
    if (f->held == TN_BF16)
        return rows_of(dtype, f, backward);
#elif EIGHT_LANES
    if (f->held == TN_BF16)
        return backward ? rows_backward_bf16 : rows_forward_bf16;
#endif
    return !f->held ? rows_of(dtype, f, backward) : backward ? rows_backward_16 : rows_forward_16;
}

/* ---- forward -------------------------------------------------------------------------------------------------------------- */

/* Means and sums of squares of shares made those of all (Chan et al. 1979). */
static void join_moments(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    for (int64_t pool = begin; pool < end; pool++) {
        const pool_walk w = walk_of(f, pool);
        double mean = 0, squares = 0;
        for (int64_t i = 0; i * task->chunk < w.count; i++)
            mean += task->sums[2 * (w.first + i * w.step)] * (double)tn_min_i64(task->chunk, w.count - i * task->chunk);
        mean /= (double)w.count;
        for (int64_t i = 0; i * task->chunk < w.count; i++) {
            const double *own = &task->sums[2 * (w.first + i * w.step)], away = own[0] - mean;
            squares += own[1] + away * away * (double)(tn_min_i64(task->chunk, w.count - i * task->chunk) * f->s);
        }
        set_pool(f, pool, mean, squares / (double)(w.count * f->s));
    }
}

tn_status TN_K(norm)(tn_dtype dtype, const tn_norm *f)
{
    norm_task task = {.f = f};
    for (int64_t pool = 0; pool < pool_count(f) && f->given; pool++)
        set_pool(f, pool, f->mean[pool], f->var[pool]);
    if (f->s == 1 && !f->batch) {
        tn_parallel_for(pool_count(f), grain(f->c / f->groups), rows_of_any(dtype, f, false), &task);
        return TN_OK;
    }
    if (f->s == 1) {
        tn_parallel_for(tn_ceil_div(f->c, COLUMNS), grain(f->n * COLUMNS), OF(dtype, columns_forward), &task);
        return TN_OK;
    }
    size_t bytes = (size_t)(2 * f->n * f->c) * sizeof(double);
    if (!f->given) {
        if (!(task.sums = tn_alloc(bytes)))
            return TN_ERR_MEMORY;
        task.chunk = chunk_of(f);
        if (task.chunk == 1)
            tn_parallel_for(f->n * f->c, grain(f->s), OF_ELEMENT(f, dtype, segments_moments), &task);
        else
            tn_parallel_for(tn_ceil_div(f->n, task.chunk) * tn_ceil_div(f->c, CHANNELS), 1,
                            OF_ELEMENT(f, dtype, chunks_moments), &task);
        tn_parallel_for(pool_count(f), grain(walk_of(f, 0).count), join_moments, &task);
        tn_free(task.sums, bytes);
    }
    tn_parallel_for(f->n * f->c, grain(f->s), OF_ELEMENT(f, dtype, segments_forward), &task);
    return TN_OK;
}

/* ---- backward ------------------------------------------------------------------------------------------------------------- */

static tn_status rows_backward(tn_dtype dtype, const tn_norm *f)
{
    norm_task task = {.f = f};
    task.chunk = tn_max_i64(tn_ceil_div(f->n, 32), tn_ceil_div(TN_GRAIN / 4, f->c));
    task.chunk = tn_min_i64(tn_min_i64(task.chunk, f->n), 128);
    const int64_t chunks = tn_ceil_div(f->n, task.chunk);
    size_t bytes = (size_t)(chunks * 2 * f->c) * tn_dtype_size(dtype);
    if (!(task.scratch = tn_alloc(bytes)))
        return TN_ERR_MEMORY;
    tn_parallel_for(chunks, 1, rows_of_any(dtype, f, true), &task);
    for (int which = 0; which < 2; which++)
        if (which ? f->dbias : f->dweight)
            (dtype == TN_F64 ? rows_gather_f64 : rows_gather_f32)(&task, chunks, which, which ? f->dbias : f->dweight);
    tn_free(task.scratch, bytes);
    return TN_OK;
}

/* What the segments' sums come to: the parameters' gradients, and each pool's two means. */
static void join_sums(tn_dtype dtype, const norm_task *task)
{
    const tn_norm *f = task->f;
    const size_t element = tn_dtype_size(dtype);
    for (int64_t pool = 0; pool < pool_count(f); pool++) {
        const pool_walk w = walk_of(f, pool);
        double *mean = &task->pools[2 * pool], size = (double)(w.count * f->s);
        mean[0] = mean[1] = 0;
        for (int64_t i = 0; i * task->chunk < w.count && !f->given; i++) {
            const int64_t k = w.first + i * w.step;
            const double weight = weight_at(f, element, k % f->c) / size;
            mean[0] += weight * task->sums[2 * k];
            mean[1] += weight * task->sums[2 * k + 1];
        }
    }
    for (int64_t c = 0; c < f->c; c++) {
        double total[2] = {0, 0};
        for (int64_t k = c; k < tn_ceil_div(f->n, task->chunk) * f->c; k += f->c) {
            total[0] += task->sums[2 * k + 1];
            total[1] += task->sums[2 * k];
        }
        for (int which = 0; which < 2; which++) {
            void *out = which ? f->dbias : f->dweight;
            if (out && dtype == TN_F64)
                ((double *)out)[c] = total[which];
            else if (out)
                ((float *)out)[c] = (float)total[which];
        }
    }
}

tn_status TN_K(norm_backward)(tn_dtype dtype, const tn_norm *f)
{
    norm_task task = {.f = f};
    if (f->s == 1 && !f->batch)
        return rows_backward(dtype, f);
    if (f->s == 1) {
        tn_parallel_for(tn_ceil_div(f->c, COLUMNS), grain(f->n * COLUMNS), OF(dtype, columns_backward), &task);
        return TN_OK;
    }
    size_t bytes = (size_t)(2 * (f->n * f->c + pool_count(f))) * sizeof(double);
    if (!(task.sums = tn_alloc(bytes)))
        return TN_ERR_MEMORY;
    task.pools = task.sums + 2 * f->n * f->c;
    task.chunk = chunk_of(f);
    if (task.chunk == 1)
        tn_parallel_for(f->n * f->c, grain(f->s), OF_ELEMENT(f, dtype, segments_sums), &task);
    else
        tn_parallel_for(tn_ceil_div(f->n, task.chunk) * tn_ceil_div(f->c, CHANNELS), 1,
                        OF_ELEMENT(f, dtype, chunks_sums), &task);
    join_sums(dtype, &task);
    if (f->dx)
        tn_parallel_for(f->n * f->c, grain(f->s), OF_ELEMENT(f, dtype, segments_backward), &task);
    tn_free(task.sums, bytes);
    return TN_OK;
}
