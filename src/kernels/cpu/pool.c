/* Pooling of planes. Max pooling keeps, for backward, which of the window's taps won: one byte, or an i32 where windows have more than
 * 256 taps. What lies outside the plane is -inf and is never chosen; a NaN is; of equals the first one, as in PyTorch. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vector.h"

/* Outputs of a row made together. */
enum { CHUNK = 256 };

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

static bool is_2x2(const tn_pool *p)
{
    return p->kh == 2 && p->kw == 2 && p->stride_h == 2 && p->stride_w == 2 && p->pad_h == 0 && p->pad_w == 0 && p->dil_h == 1 &&
           p->dil_w == 1 && p->ow >= 4 && 2 * p->oh <= p->h && 2 * p->ow <= p->w;
}

/* Lanes of the vectors that make row oy of 2 x 2 windows. Where a row follows, 5 to 7 outputs are made as 8: what is too much, it writes anew. */
static int64_t lanes_2x2(const tn_pool *p, int64_t oy) { return p->ow >= 8 || (p->ow > 4 && oy + 1 < p->oh) ? 8 : 4; }

/* Where the vector that would begin at `next` of n outputs does: the last one overlaps the one before. */
static int64_t begin_2x2(int64_t next, int64_t n, int64_t lanes) { return tn_max_i64(0, tn_min_i64(next, n - lanes)); }

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

#define VECTOR_2X2
#define IS_NAN(v) ((v) != (v))
#define T float
#define H int32_t
#define LOWEST (-INFINITY)
#define N(name) name##_f32
#include "kernels/cpu/pool_body.h"
#undef T
#undef H
#undef N
#define T double
#define H int64_t
#define N(name) name##_f64
#include "kernels/cpu/pool_body.h"
#undef T
#undef H
#undef N
#undef LOWEST
#undef VECTOR_2X2
#undef IS_NAN
#define IS_NAN(v) false
#define T int64_t
#define LOWEST INT64_MIN
#define N(name) name##_i64
#include "kernels/cpu/pool_body.h"

static int64_t grain_of(const tn_pool *p) { return TN_GRAIN / (p->h * p->w + 1) + 1; }
static bool is_wide(const tn_pool *p) { return p->kh * p->kw > 256; }

tn_status TN_K(max_pool)(tn_dtype dtype, const tn_pool *p, const void *x, void *y, void *index)
{
    if (dtype == TN_F32)
        tn_parallel_for(p->planes, grain_of(p), max_planes_f32, &(pool_job_f32){p, x, y, index, is_wide(p)});
    else if (dtype == TN_F64)
        tn_parallel_for(p->planes, grain_of(p), max_planes_f64, &(pool_job_f64){p, x, y, index, is_wide(p)});
    else
        tn_parallel_for(p->planes, grain_of(p), max_planes_i64, &(pool_job_i64){p, x, y, index, is_wide(p)});
    return TN_OK;
}

tn_status TN_K(max_pool_backward)(tn_dtype dtype, const tn_pool *p, const void *dy, const void *index, void *dx)
{
    unsigned char *at = (unsigned char *)(uintptr_t)index;
    if (dtype == TN_F32)
        tn_parallel_for(p->planes, grain_of(p), scatter_planes_f32, &(pool_job_f32){p, dy, dx, at, is_wide(p)});
    else if (dtype == TN_F64)
        tn_parallel_for(p->planes, grain_of(p), scatter_planes_f64, &(pool_job_f64){p, dy, dx, at, is_wide(p)});
    else
        tn_parallel_for(p->planes, grain_of(p), scatter_planes_i64, &(pool_job_i64){p, dy, dx, at, is_wide(p)});
    return TN_OK;
}

tn_status TN_K(max_pool_take)(tn_dtype dtype, const tn_pool *p, const void *x, const void *index, void *y)
{
    for (int64_t i = 0; i < p->planes * p->oh * p->ow; i++) {
        int64_t at = position_of(p, i / p->ow % p->oh, i % p->ow, index_at(index, is_wide(p), i));
        int64_t from = i / (p->oh * p->ow) * p->h * p->w + at;
        if (dtype == TN_F32)
            ((float *)y)[i] = at < 0 ? 0 : ((const float *)x)[from];
        else
            ((double *)y)[i] = at < 0 ? 0 : ((const double *)x)[from];
    }
    return TN_OK;
}

tn_status TN_K(max_pool_where)(const tn_pool *p, const void *index, int64_t *where)
{
    for (int64_t i = 0; i < p->planes * p->oh * p->ow; i++) {
        int64_t position = position_of(p, i / p->ow % p->oh, i % p->ow, index_at(index, is_wide(p), i));
        where[i] = tn_max_i64(position, 0);
    }
    return TN_OK;
}

tn_status TN_K(avg_pool)(tn_dtype dtype, const tn_pool *p, const void *x, void *y)
{
    if (dtype == TN_F64)
        tn_parallel_for(p->planes, grain_of(p), average_planes_f64, &(pool_job_f64){p, x, y, NULL, false});
    else
        tn_parallel_for(p->planes, grain_of(p), average_planes_f32, &(pool_job_f32){p, x, y, NULL, false});
    return TN_OK;
}

tn_status TN_K(avg_pool_backward)(tn_dtype dtype, const tn_pool *p, const void *dy, void *dx)
{
    if (dtype == TN_F64)
        tn_parallel_for(p->planes, grain_of(p), spread_planes_f64, &(pool_job_f64){p, dy, dx, NULL, false});
    else
        tn_parallel_for(p->planes, grain_of(p), spread_planes_f32, &(pool_job_f32){p, dy, dx, NULL, false});
    return TN_OK;
}
