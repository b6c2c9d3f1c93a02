/* Pooling of planes. Max pooling keeps, for backward, which of the window's taps won: one byte, or an i32 where windows have more than
 * 256 taps. What lies outside the plane is -inf and is never chosen; a NaN is; of equals the first one, as in PyTorch. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/load.h"

/* Outputs of a row made together. */
enum { CHUNK = 256 };

/* Planes to go through: from x to y, or from y's gradient to x's. */
typedef struct {
    const tn_pool *p;
    const void *in;
    void *out;
    unsigned char *index; /* bytes, or i32 where wide */
    bool wide;
} pool_job;

typedef struct {
    int64_t begin, end;
} taps;

/* Division of a >= 0 or a < 0 by b > 0, rounded up. */
static int64_t up(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : a / b; }

/* The taps of output o's window that lie inside 0 ... n. */
static taps taps_of(int64_t o, int64_t stride, int64_t pad, int64_t dil, int64_t kernel, int64_t n)
{
    int64_t start = o * stride - pad;
    taps t = {tn_max_i64(0, up(-start, dil)), tn_min_i64(kernel, up(n - start, dil))};
    if (t.begin >= t.end)
        t.begin = t.end = 0;
    return t;
}

/* Of the outputs ox0 ... ox0 + count, those whose tap kx lies inside the row, counted from ox0. */
static taps outputs_of(int64_t kx, const tn_pool *p, int64_t ox0, int64_t count)
{
    int64_t start = ox0 * p->stride_w - p->pad_w + kx * p->dil_w;
    return (taps){tn_max_i64(0, up(-start, p->stride_w)), tn_min_i64(count, up(p->w - start, p->stride_w))};
}

/* Where tap `at` of output (oy, ox) lies in the plane; -1 when outside (a window of padding alone). */
static int64_t position_of(const tn_pool *p, int64_t oy, int64_t ox, int64_t at)
{
    int64_t y = oy * p->stride_h - p->pad_h + at / p->kw * p->dil_h, x = ox * p->stride_w - p->pad_w + at % p->kw * p->dil_w;
    return y < 0 || y >= p->h || x < 0 || x >= p->w ? -1 : y * p->w + x;
}

static int64_t index_at(const unsigned char *index, bool wide, int64_t i)
{
    return wide ? ((const int32_t *)index)[i] : index[i];
}

/* What an average divides by: the window, cut to the padded plane or to the plane. */
static int64_t divisor_of(const tn_pool *p, int64_t oy, int64_t ox)
{
    if (p->divisor)
        return p->divisor;
    int64_t y = oy * p->stride_h - p->pad_h, x = ox * p->stride_w - p->pad_w;
    int64_t y1 = tn_min_i64(y + p->kh, p->h + p->pad_h), x1 = tn_min_i64(x + p->kw, p->w + p->pad_w);
    if (p->count_include_pad)
        return (y1 - y) * (x1 - x);
    return (tn_min_i64(y1, p->h) - tn_max_i64(y, 0)) * (tn_min_i64(x1, p->w) - tn_max_i64(x, 0));
}

static int64_t grain_of(const tn_pool *p) { return TN_GRAIN / (p->h * p->w + 1) + 1; }

#define IS_NAN(v) ((v) != (v))
#define LOWEST (-INFINITY)
#define T float
#define N(name) name##_f32
#include "kernels/cpu/pool_body.h"
#undef T
#undef N
#define T double
#define N(name) name##_f64
#include "kernels/cpu/pool_body.h"
#undef T
#undef N
#undef LOWEST
#undef IS_NAN
#define IS_NAN(v) false
#define T int64_t
#define LOWEST INT64_MIN
#define WITHOUT_AVERAGE
#define N(name) name##_i64
#include "kernels/cpu/pool_body.h"
#undef N
#include "kernels/cpu/pool_2x2.h"

typedef void (*planes_function)(int64_t begin, int64_t end, void *job);

/* 16-bit floats, by way of float: a plane of the input and one of the result lie in a worker's scratch. */
typedef struct {
    pool_job job;
    planes_function planes;
    tn_dtype dtype;
    int64_t in_size, out_size, workers;
    float *scratch; /* [workers, in_size + out_size] */
} narrow_job;

static void narrow_planes(int64_t begin, int64_t end, void *context)
{
    const narrow_job *all = context;
    const tn_load_fn load = tn_loader(all->dtype, TN_WORK_F32);
    for (int64_t worker = begin; worker < end; worker++) {
        float *in = all->scratch + worker * (all->in_size + all->out_size), *out = in + all->in_size;
        const int64_t planes = all->job.p->planes, last = planes * (worker + 1) / all->workers;
        for (int64_t plane = planes * worker / all->workers; plane < last; plane++) {
            const int64_t outputs = all->job.p->oh * all->job.p->ow;
            pool_job one = all->job;
            one.in = in, one.out = out;
            one.index = one.index ? one.index + plane * outputs * (one.wide ? 4 : 1) : NULL;
            load((const char *)all->job.in + plane * all->in_size * 2, 2, all->in_size, in);
            all->planes(0, 1, &one);
            tn_store_f32_as(all->dtype, out, all->out_size, (char *)all->job.out + plane * all->out_size * 2);
        }
    }
}

static tn_status by_way_of_float(tn_dtype dtype, const pool_job *job, int64_t in_size, int64_t out_size, planes_function planes)
{
    const tn_pool *p = job->p;
    narrow_job all = {*job, planes, dtype, in_size, out_size, tn_max_i64(1, tn_min_i64(tn_parallel_width(), tn_ceil_div(p->planes, grain_of(p)))), NULL};
    const size_t bytes = (size_t)(all.workers * (in_size + out_size)) * sizeof(float);
    if (!(all.scratch = tn_alloc(bytes)))
        return TN_ERR_MEMORY;
    tn_parallel_for(all.workers, 1, narrow_planes, &all);
    tn_free(all.scratch, bytes);
    return TN_OK;
}

/* One of the kernels for each dtype; the last two are for windows of 2 x 2. */
typedef struct {
    planes_function f32, f64, i64, f32_2x2, bf16_2x2;
} by_dtype;

static tn_status run_planes(by_dtype kernel, tn_dtype dtype, const tn_pool *p, const void *in, int64_t in_size, void *out, int64_t out_size, void *index)
{
    pool_job job = {p, in, out, index, p->kh * p->kw > 256};
    planes_function planes = is_2x2(p) ? kernel.f32_2x2 : kernel.f32;
    if (dtype == TN_BF16 && is_2x2(p))
        planes = kernel.bf16_2x2;
    else if (dtype == TN_BF16 || dtype == TN_F16)
        return by_way_of_float(dtype, &job, in_size, out_size, planes);
    else if (dtype != TN_F32)
        planes = dtype == TN_F64 ? kernel.f64 : kernel.i64;
    tn_parallel_for(p->planes, grain_of(p), planes, &job);
    return TN_OK;
}

tn_status TN_K(max_pool)(tn_dtype dtype, const tn_pool *p, const void *x, void *y, void *index)
{
    const by_dtype maxima = {max_planes_f32, max_planes_f64, max_planes_i64, max_planes_2x2_f32, max_planes_2x2_bf16};
    return run_planes(maxima, dtype, p, x, p->h * p->w, y, p->oh * p->ow, index);
}

tn_status TN_K(max_pool_backward)(tn_dtype dtype, const tn_pool *p, const void *dy, const void *index, void *dx)
{
    const by_dtype scatter = {scatter_planes_f32, scatter_planes_f64, scatter_planes_i64, scatter_planes_2x2_f32, scatter_planes_2x2_bf16};
    return run_planes(scatter, dtype, p, dy, p->oh * p->ow, dx, p->h * p->w, (void *)(uintptr_t)index);
}

tn_status TN_K(avg_pool)(tn_dtype dtype, const tn_pool *p, const void *x, void *y)
{
    const by_dtype averages = {average_planes_f32, average_planes_f64, NULL, average_planes_2x2_f32, average_planes_2x2_bf16};
    return run_planes(averages, dtype, p, x, p->h * p->w, y, p->oh * p->ow, NULL);
}

tn_status TN_K(avg_pool_backward)(tn_dtype dtype, const tn_pool *p, const void *dy, void *dx)
{
    const by_dtype spread = {spread_planes_f32, spread_planes_f64, NULL, scatter_planes_2x2_f32, scatter_planes_2x2_bf16};
    return run_planes(spread, dtype, p, dy, p->oh * p->ow, dx, p->h * p->w, NULL);
}

tn_status TN_K(max_pool_take)(tn_dtype dtype, const tn_pool *p, const void *x, const void *index, void *y)
{
    const size_t size = tn_dtype_size(dtype);
    for (int64_t i = 0; i < p->planes * p->oh * p->ow; i++) {
        const int64_t at = position_of(p, i / p->ow % p->oh, i % p->ow, index_at(index, p->kh * p->kw > 256, i));
        const int64_t from = i / (p->oh * p->ow) * p->h * p->w + at;
        char *to = (char *)y + (size_t)i * size;
        if (at < 0)
            memset(to, 0, size);
        else
            memcpy(to, (const char *)x + (size_t)from * size, size);
    }
    return TN_OK;
}

tn_status TN_K(max_pool_where)(const tn_pool *p, const void *index, int64_t *where)
{
    for (int64_t i = 0; i < p->planes * p->oh * p->ow; i++) {
        const int64_t position = position_of(p, i / p->ow % p->oh, i % p->ow, index_at(index, p->kh * p->kw > 256, i));
        where[i] = tn_max_i64(position, 0);
    }
    return TN_OK;
}
