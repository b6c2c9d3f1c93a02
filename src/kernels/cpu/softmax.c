/* Softmax, its logarithm, and cross-entropy of class indices, forward and backward. The greatest of a row is taken off before exp, so
 * that no row overflows; sums of blocks are added in f64.
 *
 * Errors of f32 in ulp: of softmax 5 of y (1 + |x - max|), since the difference that is raised is rounded; of its log 2.5 of 1 + |x - max| + log(sum);
 * of their gradients 5 and 2 of the terms' magnitudes. Of a cross-entropy 2.5 of the sum over its terms of the weight times 1 + |x - max| + log(sum); of
 * its gradient 5 of the terms' magnitudes, the probability counted so many times too. Where a lane of a block's sum, which has 64 terms at most, loses
 * half an ulp with each, 64 of all of these, for an ulp of the result may be half of the lane's. A probability below 2^-125.9 may be 0
 * (tests/test_softmax.c). */
#include <string.h>

#include "kernels/cpu/exp_sum.h"
#include "kernels/cpu/load.h"
#include "kernels/cpu/row_sums.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu/wide.h"

/* Elements of a row, and columns, taken at a time; elements of a short row, and rows of a group at most; elements fetched before they are read;
 * elements of a 16-bit dtype that are floats at a time. */
enum { BLOCK = 1024, COLUMNS = 64, SHORT = 128, GROUP = 16, AHEAD = 1024, NARROW = 4096 };

/* How the elements of a dtype are read and written in the work type. */
typedef struct tn_rows {
    tn_dtype dtype;
    int64_t element;
    bool direct;
    tn_load_fn load;
} tn_rows;

static tn_rows rows_of(tn_dtype dtype)
{
    return (tn_rows){dtype, (int64_t)tn_dtype_size(dtype), dtype == TN_F32 || dtype == TN_F64, tn_loader(dtype, tn_work_of(dtype))};
}

static double class_weight(const tn_cross_entropy_rows *c, const tn_rows *rows, int64_t class)
{
    return c->weight ? tn_load_float(rows->dtype, (const char *)c->weight + class * rows->element) : 1;
}

#define T float
#define FN(name) name##_f32
#include "kernels/cpu/softmax_rows.h"

#define T double
#define FN(name) name##_f64
#include "kernels/cpu/softmax_rows.h"

/* ---- softmax ------------------------------------------------------------------------------------------------------------ */

typedef struct softmax_task {
    const tn_softmax_rows *s;
    tn_rows rows;
    bool backward;
    float *held;   /* [workers, group, n]: exponentials, where x and y are bfloat16 */
    int64_t workers;
    int64_t spans; /* tasks that cover the inner positions; 0 where there is one and rows are contiguous */
} softmax_task;

#if defined(__AVX512F__)
static bool reads_directly(tn_dtype dtype) { return dtype == TN_F32 || dtype == TN_BF16; }
/* The lanes of the sum of dy y, for a log of dy, in a block. */
TN_INLINE __m512 slope_sum(bool log_of, const tn_bf16 *y, const tn_bf16 *dy, int64_t n)
{
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t i = 0; i < n; i += 32) {
        const two_vectors g = two_vectors_of(true, dy, i, n - i), p = log_of ? g : two_vectors_of(true, y, i, n - i);
        TN_UNROLL for (int k = 0; k < 2; k++)
            sum[k] = log_of ? _mm512_add_ps(sum[k], g.v[k]) : _mm512_fmadd_ps(g.v[k], p.v[k], sum[k]);
    }
    return _mm512_add_ps(sum[0], sum[1]);
}
TN_INLINE void slope_step(bool log_of, const tn_bf16 *y, const tn_bf16 *dy, tn_bf16 *dx, int64_t i, int64_t n, __m512 sum)
{
    two_vectors g = two_vectors_of(true, dy, i, n);
    const two_vectors p = two_vectors_of(true, y, i, n);
    TN_UNROLL for (int k = 0; k < 2; k++)
        g.v[k] = log_of ? _mm512_sub_ps(g.v[k], _mm512_mul_ps(tn_exp_minus_v_(p.v[k]), sum)) : _mm512_mul_ps(_mm512_sub_ps(g.v[k], sum), p.v[k]);
    two_vectors_to(true, &g, dx, i, n);
}
TN_INLINE void softmax_row_slope(bool log_of, const tn_bf16 *y, const tn_bf16 *dy, tn_bf16 *dx, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const __m512 lanes = slope_sum(log_of, y + i, dy + i, tn_min_i64(BLOCK, n - i));
        sum += (double)tn_fold16_((const tn_lanes16_ *)&lanes);
    }
    const __m512 all = _mm512_set1_ps((float)sum);
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        slope_step(log_of, y, dy, dx, i, 32, all);
    if (i < n)
        slope_step(log_of, y, dy, dx, i, n - i, all);
}
static void softmax_row_backward_bf16(const tn_bf16 *y, const tn_bf16 *dy, tn_bf16 *dx, int64_t n, bool log_of)
{
    log_of ? softmax_row_slope(true, y, dy, dx, n) : softmax_row_slope(false, y, dy, dx, n);
}
#elif TN_VECTOR_BYTES == 32
enum { VECTOR = TN_VECTOR_BYTES / 4 };
/* Where rows are no whole pairs of vectors, or exponentials are taken, by way of floats. */
static void softmax_row_backward_bf16(const tn_bf16 *y, const tn_bf16 *dy, tn_bf16 *dx, int64_t n, bool log_of)
{
    if (log_of || n % (2 * VECTOR) != 0) {
        const tn_rows rows = rows_of(TN_BF16);
        softmax_row_backward_f32(&rows, y, dy, dx, n, log_of);
        return;
    }
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = tn_min_i64(begin + BLOCK, n);
        tn_vector_f32_ a = {0}, b = {0};
        for (int64_t i = begin; i < end; i += 2 * VECTOR) {
            a += tn_wide_vector_(dy + i) * tn_wide_vector_(y + i);
            b += tn_wide_vector_(dy + i + VECTOR) * tn_wide_vector_(y + i + VECTOR);
        }
        a += b;
        sum += (double)tn_fold8_((const tn_lanes8_ *)&a);
    }
    for (int64_t i = 0; i < n; i += VECTOR)
        tn_narrow_vector_(dx + i, (tn_wide_vector_(dy + i) - (float)sum) * tn_wide_vector_(y + i));
}
#else
static void softmax_row_backward_bf16(const tn_bf16 *y, const tn_bf16 *dy, tn_bf16 *dx, int64_t n, bool log_of)
{
    const tn_rows rows = rows_of(TN_BF16);
    softmax_row_backward_f32(&rows, y, dy, dx, n, log_of);
}
#endif

static void softmax_one_row(const softmax_task *task, int64_t row)
{
    const tn_softmax_rows *s = task->s;
    int64_t at = row * s->n * task->rows.element;
    const void *x = (const char *)s->x + at;
    void *y = (char *)s->y + at;
    if (task->rows.dtype == TN_F64 && task->backward)
        softmax_row_backward_f64(&task->rows, x, (const char *)s->dy + at, y, s->n, s->log);
    else if (task->rows.dtype == TN_F64)
        softmax_row_f64(&task->rows, x, y, s->n, s->log);
    else if (task->rows.dtype == TN_BF16 && task->backward)
        softmax_row_backward_bf16(x, (const tn_bf16 *)(const void *)((const char *)s->dy + at), y, s->n, s->log);
    else if (task->backward)
        softmax_row_backward_f32(&task->rows, x, (const char *)s->dy + at, y, s->n, s->log);
    else
        softmax_row_f32(&task->rows, x, y, s->n, s->log);
}

#if defined(__AVX512F__)
/* Sixteen elements from the i-th on, of bfloat16 where bf16, else of f32. */
TN_INLINE __m512 sixteen(bool bf16, __mmask16 lanes, const void *x, int64_t i)
{
    return bf16 ? tn_wide_(lanes, (const tn_bf16 *)x + i) : _mm512_maskz_loadu_ps(lanes, (const float *)x + i);
}
/* y = exp(x - max), n elements, and their sum's lanes; the last vector, where it is not whole, goes to rest, as what a masked store
 * wrote is slow to be read again. Returns the lanes of next's greatest, which cost little beside the exponentials and bring next near. */
TN_INLINE __m512 exp_row(bool bf16, const void *x, const void *next, float max, float *y, int64_t n, __m512 *sum, __m512 *rest)
{
    const __m512 shift = _mm512_set1_ps(max);
    __m512 greatest = _mm512_set1_ps(-HUGE_VALF), s = _mm512_setzero_ps();
    __m512d total = _mm512_setzero_pd();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 e = tn_exp_minus_v_(_mm512_sub_ps(sixteen(bf16, 0xffff, x, i), shift));
        __builtin_prefetch((const char *)next + (i + AHEAD) * (bf16 ? 2 : 4));
        greatest = _mm512_max_ps(sixteen(bf16, 0xffff, next, i), greatest); /* NaN is passed over: its exponential makes the row NaN */
        _mm512_storeu_ps(y + i, e);
        s = _mm512_add_ps(s, e);
        if (i % BLOCK == BLOCK - 16) {
            total = _mm512_add_pd(total, _mm512_cvtps_pd(_mm512_castps512_ps256(s)));
            total = _mm512_add_pd(total, _mm512_cvtps_pd(_mm512_extractf32x8_ps(s, 1)));
            s = _mm512_setzero_ps();
        }
    }
    if (i < n) {
        const __mmask16 lanes = tn_first_(n - i);
        *rest = tn_exp_minus_v_(_mm512_sub_ps(sixteen(bf16, lanes, x, i), shift));
        greatest = _mm512_mask_max_ps(greatest, lanes, sixteen(bf16, lanes, next, i), greatest);
        s = _mm512_mask_add_ps(s, lanes, s, *rest);
    }
    *sum = _mm512_add_ps(s, _mm512_zextps256_ps512(_mm512_cvtpd_ps(total)));
    return greatest;
}
static void scale_rows_f32(float *y, int64_t rows, int64_t n, const float *scale, const __m512 *rest)
{
    const int64_t whole = n / 16 * 16;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = row * n; i < row * n + whole; i++)
            y[i] *= scale[row];
    for (int64_t row = 0; row < rows && whole < n; row++) /* apart, as their stores reach into the next row, which would be slow to be read */
        _mm512_mask_storeu_ps(y + row * n + whole, tn_first_(n - whole), _mm512_mul_ps(rest[row], _mm512_set1_ps(scale[row])));
}
static void scale_rows_bf16(const float *e, tn_bf16 *y, int64_t rows, int64_t n, const float *scale, const __m512 *rest)
{
    const int64_t whole = n / 16 * 16;
    for (int64_t row = 0; row < rows; row++, e += n, y += n) {
        const __m512 factor = _mm512_set1_ps(scale[row]);
        for (int64_t i = 0; i < whole; i += 16)
            tn_narrow_(y + i, 0xffff, _mm512_mul_ps(_mm512_loadu_ps(e + i), factor));
        tn_narrow_(y + whole, tn_first_(n - whole), _mm512_mul_ps(rest[row], factor));
    }
}
static int64_t group_of(int64_t n) { return tn_max_i64(1, tn_min_i64(GROUP, 2 * BLOCK / n)); }
/* Groups of rows, which stay in L1 from pass to pass where they are short, so many that the end of a row, where its lanes become one, runs beside other rows. */
TN_INLINE void softmax_groups(bool bf16, const void *x, void *y, int64_t count, int64_t n, float *held)
{
    const tn_rows dtype = rows_of(bf16 ? TN_BF16 : TN_F32);
    const int64_t group = group_of(n), stride = n * dtype.element;
    __m512 greatest[GROUP] = {{0}}, sum[GROUP] = {{0}}, rest[GROUP] = {{0}};
    float max[GROUP], scale[GROUP];
    for (int64_t row = 0; row < tn_min_i64(group, count); row++)
        max[row] = row_max_f32(&dtype, (const char *)x + row * stride, n);
    for (int64_t first = 0; first < count; first += group) {
        const int64_t rows = tn_min_i64(group, count - first);
        float *e = bf16 ? held : (float *)y + first * n;
        for (int64_t row = 0; row < rows; row++) {
            const char *from = (const char *)x + (first + row) * stride, *next = first + group + row < count ? from + group * stride : from;
            greatest[row] = exp_row(bf16, from, next, max[row], e + row * n, n, &sum[row], &rest[row]);
        }
        _mm512_storeu_ps(max, tn_max_each_(greatest));
        _mm512_storeu_ps(scale, _mm512_div_ps(_mm512_set1_ps(1), tn_sum_each_(sum)));
        if (bf16)
            scale_rows_bf16(e, (tn_bf16 *)y + first * n, rows, n, scale, rest);
        else
            scale_rows_f32(e, rows, n, scale, rest);
    }
}
static void softmax_groups_f32(const float *x, float *y, int64_t count, int64_t n) { softmax_groups(false, x, y, count, n, NULL); }

/* bfloat16 is read as it lies; a group's exponentials are held as floats till their sum is known. */
static void softmax_share_bf16(int64_t begin, int64_t end, void *context)
{
    const softmax_task *task = context;
    const tn_softmax_rows *s = task->s;
    for (int64_t worker = begin; worker < end; worker++) {
        const int64_t row = s->outer * worker / task->workers, rows = s->outer * (worker + 1) / task->workers - row, at = row * s->n;
        softmax_groups(true, (const tn_bf16 *)s->x + at, (tn_bf16 *)s->y + at, rows, s->n, task->held + worker * group_of(s->n) * s->n);
    }
}
static tn_status softmax_bf16(softmax_task *task, int64_t grain)
{
    task->workers = tn_min_i64(tn_parallel_width(), tn_ceil_div(task->s->outer, grain));
    const size_t bytes = (size_t)(task->workers * group_of(task->s->n) * task->s->n) * sizeof *task->held;
    if (!(task->held = tn_alloc(bytes)))
        return TN_ERR_MEMORY;
    tn_parallel_for(task->workers, 1, softmax_share_bf16, task);
    tn_free(task->held, bytes);
    return TN_OK;
}
/* Elements of the rows that go in groups at most. */
static int64_t longest_of(tn_dtype dtype) { return dtype == TN_F64 ? SHORT : dtype == TN_F16 ? NARROW : INT64_MAX; }

TN_INLINE void minus_row(bool bf16, const void *x, void *y, int64_t n, float max, float shift)
{
    for (int64_t i = 0; i < n; i += 32) {
        two_vectors t = two_vectors_of(bf16, x, i, n - i);
        TN_UNROLL for (int k = 0; k < 2; k++)
            t.v[k] = _mm512_sub_ps(_mm512_sub_ps(t.v[k], _mm512_set1_ps(max)), _mm512_set1_ps(shift));
        two_vectors_to(bf16, &t, y, i, n - i);
    }
}
static void log_softmax_range(int64_t begin, int64_t end, void *context)
{
    const softmax_task *task = context;
    const tn_softmax_rows *s = task->s;
    const bool bf16 = task->rows.dtype == TN_BF16;
    row_sums sums = row_sums_of(bf16, s->x, s->n, begin, end, NULL, 0);
    while (row_sums_next(&sums))
        for (int64_t j = 0; j < sums.rows; j++) {
            const int64_t at = sums.row[j] * sums.stride;
            const float max = sums.max[j], shift = (float)log((double)sums.sum[j]);
            bf16 ? minus_row(true, (const char *)s->x + at, (char *)s->y + at, s->n, max, shift)
                 : minus_row(false, (const char *)s->x + at, (char *)s->y + at, s->n, max, shift);
        }
}
#elif TN_VECTOR_BYTES == 32
/* Of 16-bit dtypes long rows come here too, so that their exponentials are taken once. */
static void softmax_groups_f32(const float *x, float *y, int64_t count, int64_t n)
{
    const tn_rows rows = rows_of(TN_F32);
    if (n <= SHORT)
        softmax_short_rows_f32(x, y, count, n);
    for (int64_t row = 0; row < count && n > SHORT; row++)
        softmax_row_f32(&rows, x + row * n, y + row * n, n, false);
}
static int64_t longest_of(tn_dtype dtype) { return dtype == TN_F64 || dtype == TN_F32 ? SHORT : NARROW; }
#else
static void softmax_groups_f32(const float *x, float *y, int64_t count, int64_t n) { softmax_short_rows_f32(x, y, count, n); }
static int64_t longest_of(tn_dtype dtype)
{
    (void)dtype;
    return SHORT;
}
#endif

/* The same of a 16-bit dtype, a group at a time as floats, where it is not read as it lies. */
static void softmax_groups_16(const softmax_task *task, int64_t begin, int64_t end)
{
    const tn_softmax_rows *s = task->s;
    const int64_t element = task->rows.element, group = tn_max_i64(1, tn_min_i64(GROUP, NARROW / s->n));
    float x[NARROW];
    for (int64_t row = begin; row < end; row += group) {
        const int64_t rows = tn_min_i64(group, end - row), at = row * s->n * element;
        task->rows.load((const char *)s->x + at, element, rows * s->n, x);
        softmax_groups_f32(x, x, rows, s->n);
        tn_store_f32_as(task->rows.dtype, x, rows * s->n, (char *)s->y + at);
    }
}

static void softmax_grouped(int64_t begin, int64_t end, void *context)
{
    const softmax_task *task = context;
    const int64_t n = task->s->n, at = begin * n;
    if (!task->rows.direct)
        softmax_groups_16(task, begin, end);
    else if (task->rows.dtype == TN_F64)
        softmax_short_rows_f64((const double *)task->s->x + at, (double *)task->s->y + at, end - begin, n);
    else
        softmax_groups_f32((const float *)task->s->x + at, (float *)task->s->y + at, end - begin, n);
}

static void softmax_range(int64_t begin, int64_t end, void *context)
{
    const softmax_task *task = context;
    const tn_softmax_rows *s = task->s;
    for (int64_t i = begin; i < end; i++) {
        if (task->spans == 0) {
            softmax_one_row(task, i);
            continue;
        }
        int64_t column = i % task->spans * COLUMNS, w = tn_min_i64(COLUMNS, s->inner - column);
        int64_t at = i / task->spans * s->n * s->inner + column;
        if (task->rows.dtype == TN_F64)
            (task->backward ? softmax_columns_backward_f64 : softmax_columns_f64)(&task->rows, s, at, w);
        else
            (task->backward ? softmax_columns_backward_f32 : softmax_columns_f32)(&task->rows, s, at, w);
    }
}

static tn_status softmax(tn_dtype dtype, const tn_softmax_rows *s, bool backward)
{
    softmax_task task = {.s = s, .rows = rows_of(dtype), .backward = backward, .spans = s->inner == 1 ? 0 : tn_ceil_div(s->inner, COLUMNS)};
    int64_t tasks = s->outer * tn_max_i64(1, task.spans), width = tn_min_i64(COLUMNS, s->inner);
    if (s->outer == 0 || s->n == 0 || s->inner == 0) return TN_OK;
    const bool grouped = !backward && !s->log && task.spans == 0 && s->n <= longest_of(dtype);
    const int64_t grain = tn_ceil_div(TN_GRAIN / 8, s->n * width);
#if defined(__AVX512F__)
    if (grouped && dtype == TN_BF16) return softmax_bf16(&task, grain);
    if (!backward && s->log && task.spans == 0 && reads_directly(dtype)) {
        tn_parallel_for(tasks, grain, log_softmax_range, &task);
        return TN_OK;
    }
#endif
    tn_parallel_for(tasks, grain, grouped ? softmax_grouped : softmax_range, &task);
    return TN_OK;
}

tn_status TN_K(softmax)(tn_dtype dtype, const tn_softmax_rows *s) { return softmax(dtype, s, false); }
tn_status TN_K(softmax_backward)(tn_dtype dtype, const tn_softmax_rows *s) { return softmax(dtype, s, true); }

/* ---- cross-entropy ------------------------------------------------------------------------------------------------------ */

typedef struct loss_task {
    const tn_cross_entropy_rows *c;
    tn_rows rows;
    double *losses; /* [rows] */
    double grad;    /* of each row's loss, where the loss is one number */
    double all;     /* the sum of all classes' weights */
} loss_task;

#if defined(__AVX512F__)
static void loss_groups(const loss_task *task, int64_t begin, int64_t end)
{
    const tn_cross_entropy_rows *c = task->c;
    row_sums s = row_sums_of(task->rows.dtype == TN_BF16, c->x, c->classes, begin, end, c->target, c->ignore_index);
    memset(task->losses + begin, 0, (size_t)(end - begin) * sizeof *task->losses); /* of what is ignored */
    while (row_sums_next(&s))
        for (int64_t j = 0; j < s.rows; j++)
            task->losses[s.row[j]] = loss_of_f32(&task->rows, c, s.row[j], s.max[j], (double)s.sum[j]);
}

/* 32 of dx = own exp(x - max - shift), n at most, less own where the target is among them. */
TN_INLINE void loss_slope(bool bf16, const void *x, void *dx, int64_t i, int64_t n, const __m512 max, const __m512 shift, const __m512 own, int64_t target)
{
    two_vectors t = two_vectors_of(bf16, x, i, n);
    const uint64_t at = (uint64_t)(target - i);
    const __mmask16 hit = (__mmask16)(at < 32 ? 1 << (bf16 ? at / 2 : at % 16) : 0);
    const bool second = bf16 ? at % 2 : at / 16;
    fetch_two(bf16, x, i + AHEAD);
    TN_UNROLL for (int k = 0; k < 2; k++) {
        const __m512 p = _mm512_mul_ps(tn_exp_minus_v_(_mm512_sub_ps(_mm512_sub_ps(t.v[k], max), shift)), own);
        t.v[k] = _mm512_mask_sub_ps(p, second == k ? hit : 0, p, own);
    }
    two_vectors_to(bf16, &t, dx, i, n);
}
TN_INLINE void loss_row_slope(bool bf16, const tn_cross_entropy_rows *c, int64_t row, float g)
{
    const int64_t n = c->classes, at = row * n * (bf16 ? 2 : 4), target = c->target[row];
    const __m512 max = _mm512_set1_ps((float)c->stats[2 * row]), shift = _mm512_set1_ps((float)c->stats[2 * row + 1]), own = _mm512_set1_ps(g);
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        loss_slope(bf16, (const char *)c->x + at, (char *)c->dx + at, i, 32, max, shift, own, target);
    if (i < n)
        loss_slope(bf16, (const char *)c->x + at, (char *)c->dx + at, i, n - i, max, shift, own, target);
}
static void loss_row_backward(const loss_task *task, int64_t row, double g)
{
    const float own = (float)(g * class_weight(task->c, &task->rows, task->c->target[row]));
    task->rows.dtype == TN_BF16 ? loss_row_slope(true, task->c, row, own) : loss_row_slope(false, task->c, row, own);
}
#endif

static void loss_range(int64_t begin, int64_t end, void *context)
{
    const loss_task *task = context;
    const tn_cross_entropy_rows *c = task->c;
#if defined(__AVX512F__)
    if (reads_directly(task->rows.dtype)) {
        loss_groups(task, begin, end);
        return;
    }
#endif
    for (int64_t row = begin; row < end; row++) {
        if (c->target[row] == c->ignore_index)
            task->losses[row] = 0;
        else if (task->rows.dtype == TN_F64)
            task->losses[row] = cross_entropy_row_f64(&task->rows, c, row);
        else
            task->losses[row] = cross_entropy_row_f32(&task->rows, c, row);
    }
}

static tn_status check_targets(const tn_cross_entropy_rows *c)
{
    for (int64_t row = 0; row < c->rows; row++) {
        int64_t t = c->target[row];
        if (t == c->ignore_index || (t >= 0 && t < c->classes)) continue;
        tn_fail(TN_ERR_INDEX,
                "cross_entropy: target number %lld is %lld, but there are %lld classes: targets are 0 to %lld, or ignore_index (%lld)",
                (long long)row, (long long)t, (long long)c->classes, (long long)c->classes - 1, (long long)c->ignore_index);
        return TN_ERR_INDEX;
    }
    return TN_OK;
}

tn_status TN_K(cross_entropy)(tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    loss_task task = {.c = c, .rows = rows_of(dtype)};
    size_t bytes = (size_t)tn_max_i64(1, c->rows) * sizeof(double);
    tn_status status = check_targets(c);
    if (status != TN_OK) return status;
    if (!(task.losses = tn_alloc(bytes))) return TN_ERR_MEMORY;
    tn_parallel_for(c->rows, tn_ceil_div(TN_GRAIN / 8, tn_max_i64(1, c->classes)), loss_range, &task);

    double total = 0, sum = 0;
    for (int64_t row = 0; row < c->rows; row++) {
        if (c->target[row] != c->ignore_index) total += class_weight(c, &task.rows, c->target[row]);
        sum += task.losses[row];
        if (c->reduction == 0) tn_store_float(dtype, task.losses[row], (char *)c->loss + row * task.rows.element);
    }
    if (c->reduction != 0) tn_store_float(dtype, c->reduction == 1 ? sum / total : sum, c->loss);
    c->stats[2 * c->rows] = total;
    tn_free(task.losses, bytes);
    return TN_OK;
}

static void loss_range_backward(int64_t begin, int64_t end, void *context)
{
    const loss_task *task = context;
    const tn_cross_entropy_rows *c = task->c;
    int64_t element = task->rows.element;
    for (int64_t row = begin; row < end; row++) {
        double g = c->reduction == 0 && c->grad ? tn_load_float(task->rows.dtype, (const char *)c->grad + row * element) : task->grad;
        if (c->target[row] == c->ignore_index)
            memset((char *)c->dx + row * c->classes * element, 0, (size_t)(c->classes * element));
#if defined(__AVX512F__)
        else if (c->smoothing == 0 && reads_directly(task->rows.dtype))
            loss_row_backward(task, row, g);
#endif
        else if (task->rows.dtype == TN_F64)
            cross_entropy_row_backward_f64(&task->rows, c, row, g, task->all);
        else
            cross_entropy_row_backward_f32(&task->rows, c, row, g, task->all);
    }
}

tn_status TN_K(cross_entropy_backward)(tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    loss_task task = {.c = c, .rows = rows_of(dtype)};
    for (int64_t j = 0; j < c->classes; j++)
        task.all += class_weight(c, &task.rows, j);
    task.grad = (c->reduction != 0 && c->grad ? tn_load_float(dtype, c->grad) : 1) / (c->reduction == 1 ? c->stats[2 * c->rows] : 1);
    tn_parallel_for(c->rows, tn_ceil_div(TN_GRAIN / 8, tn_max_i64(1, c->classes)), loss_range_backward, &task);
    return TN_OK;
}
