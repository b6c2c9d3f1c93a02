/* The reduction, scan, softmax, cross-entropy and sort kernels against plain loops in f64.
 * labels: isa, loops */
#include "check.h"

#include <float.h>

#include "drawn.h"
#include "kernels/kernels.h"
#include "ulp.h"

static const tn_kernels *k(void) { return tn_kernels_of(TN_CPU); }

static uint16_t half_of(double x) /* for small whole numbers and halves, exactly */
{
    if (x == 0) return 0;
    int e;
    double m = frexp(fabs(x), &e);
    return (uint16_t)((x < 0) << 15 | (e + 14) << 10 | (int)(m * 2048 - 1024));
}

static void put(tn_dtype dtype, void *data, int64_t i, double x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    switch (dtype) {
    case TN_F32: ((float *)data)[i] = f; break;
    case TN_F64: ((double *)data)[i] = x; break;
    case TN_F16: ((tn_f16 *)data)[i].bits = half_of(x); break;
    case TN_BF16: ((tn_bf16 *)data)[i].bits = (uint16_t)(bits >> 16); break;
    case TN_I64: ((int64_t *)data)[i] = (int64_t)x; break;
    case TN_I32: ((int32_t *)data)[i] = (int32_t)x; break;
    case TN_I16: ((int16_t *)data)[i] = (int16_t)x; break;
    case TN_I8: ((int8_t *)data)[i] = (int8_t)x; break;
    case TN_U8: ((uint8_t *)data)[i] = (uint8_t)x; break;
    default: ((bool *)data)[i] = x != 0;
    }
}

static double at(tn_dtype dtype, const void *data, int64_t i)
{
    uint32_t bits;
    float f;
    switch (dtype) {
    case TN_F32: return (double)((const float *)data)[i];
    case TN_F64: return ((const double *)data)[i];
    case TN_F16: {
        uint16_t h = ((const tn_f16 *)data)[i].bits;
        int e = h >> 10 & 31, m = h & 1023;
        double x = e == 31 ? (m ? (double)NAN : HUGE_VAL) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
        return h >> 15 ? -x : x;
    }
    case TN_BF16:
        bits = (uint32_t)((const tn_bf16 *)data)[i].bits << 16;
        memcpy(&f, &bits, 4);
        return (double)f;
    case TN_I64: return (double)((const int64_t *)data)[i];
    case TN_I32: return ((const int32_t *)data)[i];
    case TN_I16: return ((const int16_t *)data)[i];
    case TN_I8: return ((const int8_t *)data)[i];
    case TN_U8: return ((const uint8_t *)data)[i];
    default: return ((const bool *)data)[i];
    }
}

static bool is_float(tn_dtype d) { return d == TN_F32 || d == TN_F64 || d == TN_F16 || d == TN_BF16; }

/* A small whole number or a half that every dtype holds. */
static double element(tn_dtype dtype)
{
    int64_t i = (int64_t)(next() % 9);
    return dtype == TN_BOOL ? (double)(i % 2) : dtype == TN_U8 ? (double)i : is_float(dtype) ? (double)(i - 4) / 2 : (double)(i - 4);
}

/* Factors whose product overflows nowhere. */
static double sign(tn_dtype dtype) { return next() % 64 ? 1 : dtype == TN_U8 || dtype == TN_BOOL ? 0 : -1; }

/* `size` becomes what the result's error is measured by: of sums that of their terms' magnitudes. */
static double naive(tn_reduce_op op, double p, const double *x, int64_t n, int64_t *index, double *size)
{
    double sum = 0, product = 1, mean = 0, best = 0, norm = 0, lse = 0, sizes = 0;
    bool any = false, all = true, max = op == TN_REDUCE_MAX || op == TN_REDUCE_ARGMAX || op == TN_REDUCE_LOGSUMEXP;
    *index = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i], sizes += fabs(x[i]);
        product *= x[i];
        any = any || x[i] != 0;
        all = all && x[i] != 0;
        if (isinf(p))
            norm = i == 0 ? fabs(x[i]) : p > 0 ? fmax(norm, fabs(x[i])) : fmin(norm, fabs(x[i]));
        else
            norm += op != TN_REDUCE_NORM ? 0 : p == 0 ? x[i] != 0 : pow(fabs(x[i]), p);
        if (i == 0 || (!isnan(best) && (isnan(x[i]) || (max ? x[i] > best : x[i] < best)))) best = x[*index = i];
    }
    mean = sum / (double)n;
    double squares = 0;
    for (int64_t i = 0; i < n; i++) {
        squares += (x[i] - mean) * (x[i] - mean);
        lse += op == TN_REDUCE_LOGSUMEXP ? exp(x[i] - best) : 0;
    }
    *size = op == TN_REDUCE_SUM ? sizes : sizes / (double)n;
    switch (op) {
    case TN_REDUCE_SUM: return sum;
    case TN_REDUCE_PROD: return product;
    case TN_REDUCE_ANY: return any;
    case TN_REDUCE_ALL: return all;
    case TN_REDUCE_MEAN: return mean;
    case TN_REDUCE_VAR: return squares / fmax(0, (double)n - p);
    case TN_REDUCE_STD: return sqrt(squares / fmax(0, (double)n - p));
    case TN_REDUCE_NORM: return p == 0 || isinf(p) ? norm : pow(norm, 1 / p);
    case TN_REDUCE_LOGSUMEXP: return log(lse) + best;
    default: return best;
    }
}

/* reduce.c's bounds in ulp: of the sum of the terms' magnitudes, or of the result, logsumexp's of 1 + |result|. */
static double most_ulps(tn_reduce_op op, bool lost)
{
    switch (op) {
    case TN_REDUCE_SUM:
    case TN_REDUCE_MEAN: return lost ? 32 : 4.5;
    case TN_REDUCE_VAR: return 4.5;
    case TN_REDUCE_STD: return 2.5;
    case TN_REDUCE_LOGSUMEXP: return 2;
    default: return 0.5 + 1e-3; /* their sums and products are of float64 */
    }
}

/* By how: of both signs; 31 of 1/16, just below 2 in all, before many of half an ulp of one, which lanes that begin with one do not take up;
 * far from 0; of all sizes; factors whose product is about 1. */
enum { LOST = 2 };
static double hard_element(tn_reduce_op op, int how, int64_t i)
{
    const double x = uniform();
    return op == TN_REDUCE_PROD ? 1 + x / 1000 : how == 1 ? 4 * x : how == LOST ? (i < 31 ? 0x1p-4 : 0x1p-28) : how == 3 ? 1e5 + x
           : ldexp(x, (int)(next() % 40) - 20);
}

/* A tensor of `ndim` sizes in the memory order of `order`, reduced over the dims of mask; where how is not 0, of hard elements and within the
 * bounds in ulp. */
static void check_reduce(tn_reduce_op op, tn_dtype dtype, int how, double p, int ndim, const int64_t *sizes, const int *order, unsigned mask)
{
    int64_t strides[TN_MAX_DIMS], numel = 1, results = 1, size = (int64_t)tn_dtype_size(dtype);
    for (int i = ndim - 1; i >= 0; i--) {
        strides[order[i]] = numel;
        numel *= sizes[order[i]];
    }
    bool total = op == TN_REDUCE_SUM || op == TN_REDUCE_PROD, test = op == TN_REDUCE_ANY || op == TN_REDUCE_ALL;
    bool arg = op == TN_REDUCE_ARGMAX || op == TN_REDUCE_ARGMIN;
    tn_dtype out_dtype = test ? TN_BOOL : total && !is_float(dtype) ? TN_I64 : dtype;
    tn_reduction r = {.param = p};
    for (int d = 0; d < ndim; d++) {
        if (mask >> d & 1) {
            r.inner_sizes[r.inner_ndim] = sizes[d];
            r.inner_strides[r.inner_ndim++] = strides[d] * size;
        } else {
            r.outer_sizes[r.outer_ndim] = sizes[d];
            r.outer_strides[r.outer_ndim++] = strides[d] * size;
            results *= sizes[d];
        }
    }
    int64_t out = (int64_t)tn_dtype_size(out_dtype), index = 8;
    for (int d = r.outer_ndim - 1; d >= 0; d--) {
        r.out_strides[d] = out, r.index_strides[d] = index;
        out *= r.outer_sizes[d], index *= r.outer_sizes[d];
    }
    void *x = malloc((size_t)(numel * size) + 1), *y = malloc((size_t)out + 1), *indices = malloc((size_t)index + 1);
    for (int64_t i = 0; i < numel; i++)
        put(dtype, x, i, how ? hard_element(op, how, i) : op == TN_REDUCE_PROD && numel > 20 ? sign(dtype) : element(dtype));
    r.in = x, r.out = y, r.index = arg ? indices : NULL;
    assert_int_equal(k()->reduce(op, dtype, &r), TN_OK);

    int64_t inner = numel / (results ? results : 1);
    double *values = malloc((size_t)(inner + 1) * sizeof(double));
    for (int64_t result = 0; result < results; result++) {
        int64_t base = 0, rest = result;
        for (int d = r.outer_ndim - 1; d >= 0; d--) {
            base += rest % r.outer_sizes[d] * r.outer_strides[d];
            rest /= r.outer_sizes[d];
        }
        for (int64_t i = 0; i < inner; i++) {
            int64_t offset = base, left = i;
            for (int d = r.inner_ndim - 1; d >= 0; d--) {
                offset += left % r.inner_sizes[d] * r.inner_strides[d];
                left /= r.inner_sizes[d];
            }
            values[i] = at(dtype, x, offset / size);
        }
        int64_t where;
        double size_of, expected = naive(op, p, values, inner, &where, &size_of), got = at(out_dtype, y, result);
        if (how) {
            const bool sums = op == TN_REDUCE_SUM || op == TN_REDUCE_MEAN;
            const double off = ulps_of((float)got, expected, sums ? size_of : op == TN_REDUCE_LOGSUMEXP ? 1 + fabs(expected) : expected);
            if (!(off <= most_ulps(op, how == LOST)))
                fail_msg("op %d of %lld elements, how %d, p %g, mask %u result %lld: %.9g instead of %.9g, %.3g ulp off", op, (long long)inner, how, p,
                         mask, (long long)result, got, expected, off);
            continue;
        }
        double eps = out_dtype == TN_F64 ? 1e-10 : out_dtype == TN_F32 ? 2e-6 : out_dtype == TN_F16 ? 1e-3 : 8e-3;
        if (out_dtype == TN_F16 && expected >= 65520) expected = HUGE_VAL;
        if (!(isnan(expected) && isnan(got)) && !(fabs(got - expected) <= eps * (1 + fabs(expected))) && got != expected)
            fail_msg("op %d dtype %s mask %u result %lld: %.9g instead of %.9g", op, tn_dtype_name(dtype), mask,
                     (long long)result, got, expected);
        if (arg) assert_int_equal(((int64_t *)indices)[result], where);
    }
    free(x), free(y), free(indices), free(values);
}

static void every_reduction(void **unused)
{
    (void)unused;
    static const int64_t shapes[][4] = {{2, 3, 5, 7}, {1, 40, 1, 33}, {3, 70, 6, 2}, {2, 1, 300, 5}};
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 1, 0, 2}, {0, 2, 3, 1}};
    static const double norms[] = {0, 1, 2, 3, (double)INFINITY, -(double)INFINITY, 0.5};
    for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++)
        for (int op = 0; op <= TN_REDUCE_LOGSUMEXP; op++)
            for (unsigned mask = 0; mask < 16; mask++)
                for (int i = 0; i < 12; i++) {
                    if (op >= TN_REDUCE_MEAN && !is_float((tn_dtype)dtype)) continue;
                    double p = op == TN_REDUCE_NORM ? norms[(mask + (unsigned)i) % 7] : 1;
                    check_reduce((tn_reduce_op)op, (tn_dtype)dtype, 0, p, 4, shapes[i % 4], orders[i / 4], mask);
                }
}

static void large_reductions(void **unused)
{
    (void)unused;
    static const int64_t shapes[][3] = {{1, 1, 80003}, {30001, 3, 1}, {16000, 1, 7}, {3, 30000, 1}, {2, 17000, 2}, {700, 150, 1}};
    static const int order[] = {0, 1, 2};
    static const tn_dtype dtypes[] = {TN_F32, TN_F64, TN_I64, TN_BF16, TN_U8};
    const int count = test_quickly() ? 1 : 6;
    for (int i = 0; i < count; i++)
        for (int op = 0; op <= TN_REDUCE_LOGSUMEXP; op++)
            for (int d = 0; d < (op >= TN_REDUCE_MEAN ? 2 : 5); d++)
                for (unsigned mask = 1; mask < 8; mask += d ? 3 : 1) /* all sets of dims in f32 */
                    check_reduce((tn_reduce_op)op, dtypes[d], 0, 2, 3, shapes[i], order, mask);
}

/* The bounds of reduce.c, in f32, over every set of dims. */
static void reduction_error(void **unused)
{
    (void)unused;
    state_of_random = 1; /* the same numbers, whatever was drawn before */
    static const int64_t shapes[][3] = {{3, 40, 33}, {1, 1, 40003}, {2, 1, 20003}, {700, 50, 1}, {1, 9000, 9}};
    static const int order[] = {0, 1, 2};
    static const tn_reduce_op ops[] = {TN_REDUCE_SUM, TN_REDUCE_MEAN, TN_REDUCE_PROD, TN_REDUCE_VAR, TN_REDUCE_STD, TN_REDUCE_LOGSUMEXP,
                                       TN_REDUCE_NORM, TN_REDUCE_NORM, TN_REDUCE_NORM};
    static const double p[] = {0, 0, 0, 1, 1, 0, 1, 2, 3};
    for (int i = 0; i < (test_quickly() ? 1 : 5); i++)
        for (size_t op = 0; op < sizeof ops / sizeof *ops; op++)
            for (unsigned mask = 1; mask < 8; mask++)
                for (int how = 1; how < 5; how++)
                    if (how != LOST || (ops[op] != TN_REDUCE_VAR && ops[op] != TN_REDUCE_STD)) /* tiny ones alone vary by nothing */
                        check_reduce(ops[op], TN_F32, how, p[op], 3, shapes[i], order, mask);
}

/* Rows, columns and all of few numbers, whose sums bfloat16 holds or, of long ones, rounds once, so that none may be left out or taken twice. */
static void sums_of_halves(void **unused)
{
    (void)unused;
    state_of_random = 1; /* the same numbers, whatever was drawn before */
    enum { ROWS = 3, LONGEST = 2100 };
    static tn_bf16 x[ROWS * LONGEST];
    for (int n = 1; n <= LONGEST; n += n < 100 ? 1 : 501)
        for (int way = 0; way < 3; way++) {
            tn_bf16 y[LONGEST];
            tn_reduction r = {.inner_ndim = 1, .in = (const char *)x, .out = (char *)y};
            const int results = way == 0 ? ROWS : way == 1 ? n : 1, each = ROWS * n / results, apart = way == 1 ? n : 1;
            r.inner_sizes[0] = each, r.inner_strides[0] = 2 * apart;
            if (way < 2)
                r.outer_ndim = 1, r.outer_sizes[0] = results, r.outer_strides[0] = way ? 2 : 2 * n, r.out_strides[0] = 2;
            for (int i = 0; i < ROWS * n; i++)
                put(TN_BF16, x, i, i % 2 ? -element(TN_I8) : element(TN_I8) / 2);
            assert_int_equal(k()->reduce(TN_REDUCE_SUM, TN_BF16, &r), TN_OK);
            for (int i = 0; i < results; i++) {
                double sum = 0;
                for (int j = 0; j < each; j++)
                    sum += at(TN_BF16, x, (way ? i : i * n) + j * apart);
                assert_true(ulps_of((float)at(TN_BF16, y, i), sum, sum) <= 0x1p15); /* half an ulp of bf16 */
            }
        }
}

static double reduce_all(tn_reduce_op op, const float *x, int64_t n, int64_t *index)
{
    float out = 0;
    tn_reduction r = {.inner_ndim = 1, .inner_sizes = {n}, .inner_strides = {4}, .in = (const char *)x, .out = (char *)&out};
    r.index = (char *)index;
    assert_int_equal(k()->reduce(op, TN_F32, &r), TN_OK);
    return (double)out;
}

static void specials(void **unused)
{
    (void)unused;
    enum { N = 70000 };
    float *x = malloc(N * sizeof(float));
    for (int position = 0; position < N; position += 6999) {
        int64_t index = -1;
        for (int i = 0; i < N; i++)
            x[i] = -1;
        x[position] = NAN;
        x[N - 1] = NAN;
        x[N / 2] = 5;
        assert_true(isnan(reduce_all(TN_REDUCE_MAX, x, N, NULL)));
        assert_true(isnan(reduce_all(TN_REDUCE_ARGMIN, x, N, &index)));
        assert_int_equal(index, position);
        assert_true(isnan(reduce_all(TN_REDUCE_LOGSUMEXP, x, N, NULL)));
        for (int i = 0; i < N; i++)
            x[i] = -INFINITY;
        assert_true(reduce_all(TN_REDUCE_ARGMAX, x, N, &index) == -HUGE_VAL);
        assert_int_equal(index, 0);
        assert_true(reduce_all(TN_REDUCE_LOGSUMEXP, x, N, NULL) == -HUGE_VAL);
        x[position] = 3;
        assert_true(fabs(reduce_all(TN_REDUCE_LOGSUMEXP, x, N, NULL) - 3) < 1e-6);
        x[position] = INFINITY;
        assert_true(reduce_all(TN_REDUCE_LOGSUMEXP, x, N, NULL) == HUGE_VAL);
    }
    assert_true(reduce_all(TN_REDUCE_SUM, x, 0, NULL) == 0);
    assert_true(isnan(reduce_all(TN_REDUCE_MEAN, x, 0, NULL)));
    assert_true(reduce_all(TN_REDUCE_PROD, x, 0, NULL) == 1);
    assert_true(reduce_all(TN_REDUCE_LOGSUMEXP, x, 0, NULL) == -HUGE_VAL);
    free(x);
}

/* Sums of 0.1 in f32: the error stays that of the inputs; a variance far from 0 loses no digits to the mean. */
static void accuracy(void **unused)
{
    (void)unused;
    enum { N = 3000000 };
    float *x = malloc(N * sizeof(float));
    double sum = 0;
    for (int i = 0; i < N; i++) {
        x[i] = 0.1f + 0.01f * (float)uniform();
        sum += (double)x[i];
    }
    assert_true(fabs(reduce_all(TN_REDUCE_SUM, x, N, NULL) - sum) < 1e-7 * sum);
    double mean = 0, squares = 0;
    for (int i = 0; i < N; i++)
        mean += (double)(x[i] = 10000.0f + (float)uniform()) / N;
    for (int i = 0; i < N; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean) / N;
    assert_true(fabs(reduce_all(TN_REDUCE_VAR, x, N, NULL) - squares) < 1e-6 * squares);
    free(x);
}

static void check_softmax(tn_dtype dtype, bool log_of, int64_t outer, int64_t n, int64_t inner, double scale)
{
    int64_t numel = outer * n * inner, size = (int64_t)tn_dtype_size(dtype);
    void *x = malloc((size_t)(numel * size)), *y = malloc((size_t)(numel * size)), *dx = malloc((size_t)(numel * size));
    for (int64_t i = 0; i < numel; i++)
        put(dtype, x, i, element(dtype) * scale);
    tn_softmax_rows s = {.outer = outer, .n = n, .inner = inner, .log = log_of, .x = x, .y = y};
    assert_int_equal(k()->softmax(dtype, &s), TN_OK);
    tn_softmax_rows b = {.outer = outer, .n = n, .inner = inner, .log = log_of, .x = y, .dy = x, .y = dx};
    assert_int_equal(k()->softmax_backward(dtype, &b), TN_OK);
    double eps = dtype == TN_F64 ? 1e-13 : dtype == TN_F32 ? 1e-6 : dtype == TN_F16 ? 1e-3 : 8e-3;
    for (int64_t o = 0; o < outer * inner; o++) {
        int64_t base = o / inner * n * inner + o % inner;
        double max = -HUGE_VAL, sum = 0, dot = 0;
        for (int64_t i = 0; i < n; i++)
            max = fmax(max, at(dtype, x, base + i * inner));
        for (int64_t i = 0; i < n; i++)
            sum += exp(at(dtype, x, base + i * inner) - max);
        for (int64_t i = 0; i < n; i++)
            dot += at(dtype, x, base + i * inner) * (log_of ? 1 : at(dtype, y, base + i * inner));
        for (int64_t i = 0; i < n; i++) {
            double v = at(dtype, x, base + i * inner), e = log_of ? v - max - log(sum) : exp(v - max) / sum;
            double got = at(dtype, y, base + i * inner), slope = log_of ? v - exp(got) * dot : (v - dot) * got;
            assert_true(fabs(got - e) <= eps * (1 + fabs(e)));
            assert_true(fabs(at(dtype, dx, base + i * inner) - slope) <= eps * (10 + fabs(slope) + fabs(dot)));
        }
    }
    free(x), free(y), free(dx);
}

static void softmaxes(void **unused)
{
    (void)unused;
    for (int dtype = TN_F32; dtype <= TN_BF16; dtype++)
        for (int log_of = 0; log_of < 2; log_of++) {
            check_softmax((tn_dtype)dtype, log_of, 7, 10, 1, 1);
            check_softmax((tn_dtype)dtype, log_of, 37, 64, 1, 8);
            check_softmax((tn_dtype)dtype, log_of, 3, 2500, 1, 2);
            check_softmax((tn_dtype)dtype, log_of, 2, 17, 130, 4);
            check_softmax((tn_dtype)dtype, log_of, 1, 1, 5, 1);
        }
}

/* What is written as bfloat16 keeps denormal numbers, signs, infinities and NaN, and rounds to even, whichever way it went. */
static void softmax_backward_of_halves(void **unused)
{
    (void)unused;
    enum { N = 37 };
    tn_bf16 y[N] = {{0}}, dy[N] = {{0}}, dx[N];
    const tn_softmax_rows s = {.outer = 1, .n = N, .inner = 1, .x = y, .dy = dy, .y = dx};
    for (int i = 1; i < N; i++)
        put(TN_BF16, y, i, i % 2 ? 0x1p-120 : 1 + 0x1p-7), put(TN_BF16, dy, i, i % 2 ? 0x1p-12 : i % 4 ? 1.5 : -1.5);
    assert_int_equal(k()->softmax_backward(TN_BF16, &s), TN_OK); /* the sum of dy y is 0, but for what is too small */
    for (int i = 1; i < N; i++) /* 1.5 (1 + 2^-7) lies midway between 1.5 + 2^-7 and 1.5 + 2^-6, which is even */
        assert_true(at(TN_BF16, dx, i) == (i % 2 ? 0x1p-132 : i % 4 ? 1.5 + 0x1p-6 : -1.5 - 0x1p-6));
    put(TN_BF16, dy, 3, (double)NAN);
    assert_int_equal(k()->softmax_backward(TN_BF16, &s), TN_OK);
    for (int i = 1; i < N; i++)
        assert_true(isnan(at(TN_BF16, dx, i)));
}

/* Rows whose greatest lie far apart, so that another row's, or any but the last of every third row, would overflow or leave nothing; many
 * elements are alike, which a sum in f32 throughout would lose. */
static void softmax_of_rows(void **unused)
{
    (void)unused;
    enum { MOST = 200000 };
    static const int sizes[][2] = {{37, 1}, {37, 15}, {5, 16}, {50, 17}, {33, 64}, {35, 65}, {40, 130}, {19, 300},
                                   {7, 1000}, {5, 1024}, {4, 1041}, {2, 2500}, {1, MOST}};
    static float x[MOST], y[MOST];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int rows = sizes[i][0], n = sizes[i][1];
        for (int j = 0; j < rows * n; j++)
            x[j] = (float)(400 * (j / n % 5) - 800) + (j * 7 % n == 0 ? 0.7f : j % 3 == 0 ? (float)(j % 11) / -8 : 0);
        for (int row = 1; row < rows; row += 3)
            x[(row + 1) * n - 1] += 95;
        tn_softmax_rows s = {.outer = rows, .n = n, .inner = 1, .x = x, .y = y};
        assert_int_equal(k()->softmax(TN_F32, &s), TN_OK);
        for (int row = 0; row < rows; row++) {
            double sum = 0;
            for (int j = row * n; j < (row + 1) * n; j++)
                sum += exp((double)x[j] - (double)x[row * n]);
            for (int j = row * n; j < (row + 1) * n; j++) {
                const double exact = exp((double)x[j] - (double)x[row * n]) / sum;
                assert_true(fabs((double)y[j] - exact) <= 1e-6 * exact + 1e-37);
            }
        }
    }
}

/* By how: of a common spread, far from 0, of which one is far above the others, spread so far that most results are 0; a first one whose exponential is 1
 * and others of which each adds half an ulp of it, which the sum does not take up. */
enum { UNTAKEN = 4, HOWS };
static float hard_logit(int how, int64_t i, int64_t n)
{
    const double x = uniform();
    if (how == UNTAKEN)
        return i % n ? -16.64F : 0;
    return (float)(how == 0 ? 4 * x : how == 1 ? 1000 + x : how == 2 ? x + (i % n == n / 2 ? 30 : 0) : 75 * x);
}

/* The bounds of softmax.c. Of y in ulp of y (1 + |x - max|), as the difference is rounded before it is an exponent; of its log in ulp of
 * 1 + |x - max| + log of the sum; of dx in ulp of its terms' magnitudes. What is below 2^-125.9 may be 0. */
static const double least = 0x1.1p-126;
static void check_softmax_error(int how, bool log_of, int64_t outer, int64_t n, int64_t inner)
{
    const int64_t numel = outer * n * inner;
    float *x = malloc((size_t)numel * 4 * sizeof *x), *dy = x + numel, *y = dy + numel, *dx = y + numel;
    for (int64_t i = 0; i < numel; i++)
        x[i] = hard_logit(how, i / inner, n), dy[i] = (float)uniform();
    const tn_softmax_rows s = {.outer = outer, .n = n, .inner = inner, .log = log_of, .x = x, .y = y};
    assert_int_equal(k()->softmax(TN_F32, &s), TN_OK);
    const tn_softmax_rows b = {.outer = outer, .n = n, .inner = inner, .log = log_of, .x = y, .dy = dy, .y = dx};
    assert_int_equal(k()->softmax_backward(TN_F32, &b), TN_OK);
    for (int64_t row = 0; row < outer * inner; row++) {
        const int64_t first = row / inner * n * inner + row % inner, end = first + n * inner;
        double max = -HUGE_VAL, sum = 0, dot = 0, size = 0;
        for (int64_t i = first; i < end; i += inner)
            max = fmax(max, (double)x[i]);
        for (int64_t i = first; i < end; i += inner) {
            const double term = (double)dy[i] * (log_of ? 1 : (double)y[i]);
            sum += exp((double)x[i] - max), dot += term, size += fabs(term);
        }
        for (int64_t i = first; i < end; i += inner) {
            const double away = max - (double)x[i], p = exp(-away) / sum, g = (double)dy[i], is = log_of ? exp((double)y[i]) : (double)y[i];
            const double off = log_of ? ulps_of(y[i], -away - log(sum), 1 + away + log(sum)) : ulps_of(y[i], p, p * (1 + away));
            const double slope = log_of ? g - is * dot : is * (g - dot), large = log_of ? fabs(g) + is * size : is * (fabs(g) + size);
            const double most = how == UNTAKEN ? 64 : log_of ? 2.5 : 5, most_dx = how == UNTAKEN ? 64 : log_of ? 2 : 5;
            if (!(off <= most) && !(!log_of && p < least && (double)y[i] < least))
                fail_msg("log %d, %d x %d x %d, how %d: y is %a, %a was due: %.3g ulp", log_of, (int)outer, (int)n, (int)inner, how, (double)y[i],
                         log_of ? -away - log(sum) : p, off);
            if (!(ulps_of(dx[i], slope, large) <= most_dx))
                fail_msg("log %d, %d x %d x %d, how %d: dx is %a, %a was due", log_of, (int)outer, (int)n, (int)inner, how, (double)dx[i], slope);
        }
    }
    free(x);
}

static void softmax_error(void **unused)
{
    (void)unused;
    state_of_random = 1; /* the same numbers, whatever was drawn before */
    static const int64_t sizes[][3] = {{50, 1, 1},   {37, 15, 1},   {33, 64, 1},  {35, 65, 1}, {19, 300, 1},
                                       {4, 1041, 1}, {2, 20000, 1}, {2, 17, 130}, {1, 3000, 3}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 2 * HOWS; way++)
            check_softmax_error(way / 2, way % 2, sizes[i][0], sizes[i][1], sizes[i][2]);
}

/* What is masked by -infinity is 0, a row with NaN is NaN and leaves its neighbours alone; in short rows and in long ones. */
static void softmax_of_special_values(void **unused)
{
    (void)unused;
    enum { ROWS = 3, MOST = 1500 };
    static const int sizes[] = {31, 64, MOST};
    static float x[ROWS * MOST], y[ROWS * MOST];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int n = sizes[i];
        for (int j = 0; j < ROWS * n; j++)
            x[j] = j % 2 ? -INFINITY : 1;
        x[n + n / 2] = NAN;
        tn_softmax_rows s = {.outer = ROWS, .n = n, .inner = 1, .x = x, .y = y};
        assert_int_equal(k()->softmax(TN_F32, &s), TN_OK);
        for (int j = 0; j < ROWS * n; j++)
            assert_true(j / n == 1 ? isnan(y[j]) : x[j] < 0 ? y[j] == 0 : y[j] > 0);
    }
}

/* Rows whose greatest lie far apart, as bfloat16 and as f32; some with -infinity, some with NaN, which their neighbours must not see. */
static void far_rows(tn_bf16 *x, float *wide, int rows, int n)
{
    for (int j = 0; j < rows * n; j++) {
        const int row = j / n;
        put(TN_BF16, x, j, 400 * (row % 5) - 800 + (j % n == n - 1 && row % 3 == 1 ? 90 : 8 * uniform()));
        if (row % 4 == 2 && j % n % 3)
            put(TN_BF16, x, j, (double)-INFINITY);
        if (row % 8 == 3 && j % n == n / 2)
            put(TN_BF16, x, j, (double)NAN);
        wide[j] = (float)at(TN_BF16, x, j);
    }
}
/* y is what f32 gave, rounded: half of what the last bit is worth off, and some ulp of f32. */
static void check_rounded(const char *what, const tn_bf16 *y, const float *exact, int rows, int n)
{
    for (int j = 0; j < rows * n; j++) {
        uint32_t bits;
        memcpy(&bits, exact + j, 4);
        const int64_t off = (int64_t)bits - ((int64_t)y[j].bits << 16);
        if (isnan(exact[j]) ? !isnan(at(TN_BF16, y, j)) : off > 0x8000 + 4 || off < -0x8000 - 4)
            fail_msg("%s, %d x %d, row %d, element %d: %a, of f32 %a", what, rows, n, j / n, j % n, at(TN_BF16, y, j), (double)exact[j]);
    }
}

/* Of bfloat16 what f32 gives, rounded, on any number of threads. */
static void check_softmax_of_halves(int rows, int n, bool log_of)
{
    const int numel = rows * n;
    tn_bf16 *x = malloc((size_t)numel * 3 * sizeof *x), *y = x + numel, *again = y + numel;
    float *wide = malloc((size_t)numel * 2 * sizeof *wide), *exact = wide + numel;
    far_rows(x, wide, rows, n);
    tn_softmax_rows s = {.outer = rows, .n = n, .inner = 1, .log = log_of, .x = wide, .y = exact};
    assert_int_equal(k()->softmax(TN_F32, &s), TN_OK);
    s.x = x, s.y = y;
    assert_int_equal(k()->softmax(TN_BF16, &s), TN_OK);
    const int threads = tn_get_num_threads();
    assert_int_equal(tn_set_num_threads(threads == 3 ? 1 : 3), TN_OK);
    s.y = again;
    assert_int_equal(k()->softmax(TN_BF16, &s), TN_OK);
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    assert_memory_equal(y, again, (size_t)numel * sizeof *y);
    check_rounded(log_of ? "log_softmax" : "softmax", y, exact, rows, n);
    for (int j = 0; j < numel; j++)
        assert_true(isnan(exact[j]) == (j / n % 8 == 3));
    free(x), free(wide);
}

/* So of losses and their gradients, whichever rows are ignored; those of ignored rows are 0. */
static void check_cross_entropy_of_halves(int rows, int n, int ignored)
{
    const size_t numel = (size_t)(rows * n), count = (size_t)rows;
    tn_bf16 *x = malloc((3 * numel + 2 * count) * sizeof *x), *dx = x + numel, *loss = dx + numel, *dx_again = loss + rows, *loss_again = dx_again + numel;
    float *wide = malloc((2 * numel + count) * sizeof *wide), *exact_dx = wide + numel, *exact = exact_dx + numel;
    int64_t *target = malloc(count * sizeof *target);
    double *stats = malloc((2 * count + 1) * sizeof *stats);
    far_rows(x, wide, rows, n);
    for (int row = 0; row < rows; row++)
        target[row] = row % 7 < ignored ? -1 : row * 13 % n / 3 * 3; /* not those that are -infinity */
    tn_cross_entropy_rows c = {.rows = rows, .classes = n, .x = wide, .target = target, .ignore_index = -1, .stats = stats, .loss = exact, .dx = exact_dx};
    assert_int_equal(k()->cross_entropy(TN_F32, &c) | k()->cross_entropy_backward(TN_F32, &c), TN_OK);
    c.x = x, c.loss = loss, c.dx = dx;
    assert_int_equal(k()->cross_entropy(TN_BF16, &c) | k()->cross_entropy_backward(TN_BF16, &c), TN_OK);
    const int threads = tn_get_num_threads();
    assert_int_equal(tn_set_num_threads(threads == 3 ? 1 : 3), TN_OK);
    c.loss = loss_again, c.dx = dx_again;
    assert_int_equal(k()->cross_entropy(TN_BF16, &c) | k()->cross_entropy_backward(TN_BF16, &c), TN_OK);
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    assert_memory_equal(dx, dx_again, (numel + count) * sizeof *dx);
    check_rounded("cross_entropy", loss, exact, rows, 1);
    check_rounded("its gradient", dx, exact_dx, rows, n);
    for (int row = 0; row < rows; row++) {
        assert_true(isnan(exact[row]) == (target[row] >= 0 && row % 8 == 3));
        for (int j = 0; j < n && target[row] < 0; j++)
            assert_true(exact[row] == 0 && exact_dx[row * n + j] == 0);
    }
    free(x), free(wide), free(target), free(stats);
}

static void softmax_of_halves(void **unused)
{
    (void)unused;
    static const int sizes[][2] = {{37, 1}, {37, 15}, {5, 16}, {50, 17}, {33, 64}, {35, 65}, {19, 129}, {19, 300}, {7, 1024},
                                   {5, 1041}, {9, 2049}, {1, 4097}, {4, 32001}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 2; way++) {
            check_softmax_of_halves(sizes[i][0], sizes[i][1], way);
            check_cross_entropy_of_halves(sizes[i][0], sizes[i][1], 3 * way);
        }
    check_cross_entropy_of_halves(40, 10, 7);
}

static void check_cross_entropy(tn_dtype dtype, int64_t rows, int64_t n, bool weighted, double smoothing, int reduction)
{
    size_t size = tn_dtype_size(dtype);
    void *x = malloc((size_t)(rows * n) * size), *dx = malloc((size_t)(rows * n) * size), *w = malloc((size_t)n * size);
    void *loss = malloc((size_t)rows * size), *grad = malloc((size_t)rows * size);
    int64_t *target = malloc((size_t)rows * 8);
    double *stats = malloc((size_t)(2 * rows + 1) * 8), total = 0, sum = 0, all = 0;
    for (int64_t i = 0; i < rows * n; i++)
        put(dtype, x, i, element(dtype) * 2);
    for (int64_t i = 0; i < n; i++) {
        put(dtype, w, i, weighted ? (double)(1 + i % 3) / 2 : 1);
        all += at(dtype, w, i);
    }
    for (int64_t i = 0; i < rows; i++) {
        target[i] = i % 4 == 3 ? -100 : (int64_t)(next() % (uint64_t)n);
        total += target[i] < 0 ? 0 : at(dtype, w, target[i]);
        put(dtype, grad, i, 0.5);
    }
    tn_cross_entropy_rows c = {.rows = rows, .classes = n, .x = x, .target = target, .weight = weighted ? w : NULL,
                               .ignore_index = -100, .smoothing = smoothing, .reduction = reduction, .stats = stats,
                               .loss = loss, .grad = grad, .dx = dx};
    assert_int_equal(k()->cross_entropy(dtype, &c), TN_OK);
    assert_int_equal(k()->cross_entropy_backward(dtype, &c), TN_OK);
    double eps = dtype == TN_F64 ? 1e-12 : dtype == TN_F32 ? 2e-6 : dtype == TN_F16 ? 2e-3 : 1e-2;
    for (int64_t i = 0; i < rows; i++) {
        double lse = 0, row = 0, g = reduction == 1 ? 0.5 / total : 0.5;
        int64_t t = target[i];
        for (int64_t j = 0; j < n; j++)
            lse += exp(at(dtype, x, i * n + j));
        for (int64_t j = 0; j < n && t >= 0; j++) {
            double coefficient = (j == t ? 1 - smoothing : 0) + smoothing / (double)n, p = exp(at(dtype, x, i * n + j)) / lse;
            row += coefficient * at(dtype, w, j) * (log(lse) - at(dtype, x, i * n + j));
            double slope = g * (p * ((1 - smoothing) * at(dtype, w, t) + smoothing / (double)n * all) - coefficient * at(dtype, w, j));
            assert_true(fabs(at(dtype, dx, i * n + j) - slope) <= eps);
        }
        for (int64_t j = 0; j < n && t < 0; j++)
            assert_true(at(dtype, dx, i * n + j) == 0);
        if (reduction == 0) assert_true(fabs(at(dtype, loss, i) - row) <= eps * (1 + row));
        sum += row;
    }
    double expected = reduction == 1 ? sum / total : sum;
    if (reduction != 0) assert_true(fabs(at(dtype, loss, 0) - expected) <= eps * (1 + expected));
    free(x), free(dx), free(w), free(loss), free(grad), free(target), free(stats);
}

/* The bounds of softmax.c, as those of log softmax: each term of a loss counts its weight times 1 + |x - max| + log of the sum of its
 * exponentials; a gradient's terms count their magnitudes, the probability 1 + |x - max| + log of the sum times. */
static void check_cross_entropy_error(int how, int64_t rows, int64_t n, bool weighted, double smoothing, int reduction)
{
    float *x = malloc((size_t)(2 * rows * n + n + 2 * rows) * sizeof *x), *dx = x + rows * n, *w = dx + rows * n, *loss = w + n, *grad = loss + rows;
    int64_t *target = malloc((size_t)rows * sizeof *target);
    const double most = how == UNTAKEN ? 64 : 2.5, most_dx = how == UNTAKEN ? 64 : 5;
    double *stats = malloc((size_t)(2 * rows + 1) * sizeof *stats), total = 0, sum_of = 0, size_of = 0, all = 0;
    for (int64_t i = 0; i < rows * n; i++)
        x[i] = hard_logit(how, i, n);
    for (int64_t i = 0; i < n; i++)
        all += (double)(w[i] = weighted ? (float)(1.5 + uniform()) : 1);
    for (int64_t i = 0; i < rows; i++) {
        target[i] = i % 3 == 0 ? 0 : i % 3 == 1 ? n / 2 : (int64_t)(next() % (uint64_t)n);
        total += (double)w[target[i]];
        grad[i] = (float)uniform();
    }
    const tn_cross_entropy_rows c = {.rows = rows, .classes = n, .x = x, .target = target, .weight = weighted ? w : NULL, .ignore_index = -100,
                                     .smoothing = smoothing, .reduction = reduction, .stats = stats, .loss = loss, .grad = grad, .dx = dx};
    assert_int_equal(k()->cross_entropy(TN_F32, &c), TN_OK);
    assert_int_equal(k()->cross_entropy_backward(TN_F32, &c), TN_OK);
    for (int64_t i = 0; i < rows; i++) {
        const float *row = x + i * n;
        const int64_t t = target[i];
        const double g = reduction == 0 ? (double)grad[i] : (double)grad[0] / (reduction == 1 ? total : 1);
        const double own = (1 - smoothing) * (double)w[t], share = smoothing / (double)n;
        double max = -HUGE_VAL, sum = 0, due = 0, size = 0;
        for (int64_t j = 0; j < n; j++)
            max = fmax(max, (double)row[j]);
        for (int64_t j = 0; j < n; j++)
            sum += exp((double)row[j] - max);
        for (int64_t j = 0; j < n; j++) {
            const double away = max - (double)row[j], one = (j == t ? own : 0) + share * (double)w[j], p = exp(-away) / sum;
            due += one * (away + log(sum)), size += one * (1 + away + log(sum));
            const double slope = g * (p * (own + share * all) - one), large = fabs(g) * (p * (1 + away + log(sum)) * (own + share * all) + one);
            const double off = ulps_of(dx[i * n + j], slope, large);
            if (!(off <= most_dx) && !(p < least && one == 0 && fabs((double)dx[i * n + j]) < least))
                fail_msg("%d x %d, how %d, smoothing %g, reduction %d: dx is %a, %a was due: %.3g ulp", (int)rows, (int)n, how, smoothing, reduction,
                         (double)dx[i * n + j], slope, off);
        }
        sum_of += due, size_of += size;
        if (reduction == 0 && !(ulps_of(loss[i], due, size) <= most))
            fail_msg("%d x %d, how %d, smoothing %g: loss is %a, %a was due: %.3g ulp", (int)rows, (int)n, how, smoothing, (double)loss[i], due,
                     ulps_of(loss[i], due, size));
    }
    const double by = reduction == 1 ? total : 1;
    if (reduction != 0 && !(ulps_of(*loss, sum_of / by, size_of / by) <= most))
        fail_msg("%d x %d, how %d, smoothing %g, reduction %d: loss is %a, %a was due: %.3g ulp", (int)rows, (int)n, how, smoothing, reduction,
                 (double)*loss, sum_of / by, ulps_of(*loss, sum_of / by, size_of / by));
    free(x), free(target), free(stats);
}

static void cross_entropy_error(void **unused)
{
    (void)unused;
    state_of_random = 1; /* the same numbers, whatever was drawn before */
    static const int64_t sizes[][2] = {{50, 2}, {37, 15}, {33, 64}, {35, 65}, {19, 300}, {4, 1041}, {2, 20000}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 12 * HOWS; way++)
            check_cross_entropy_error(way / 12, sizes[i][0], sizes[i][1], way & 1, way & 2 ? 0.25 : 0, way / 4 % 3);
}

static void cross_entropies(void **unused)
{
    (void)unused;
    for (int dtype = TN_F32; dtype <= TN_BF16; dtype++)
        for (int i = 0; i < 12; i++) {
            check_cross_entropy((tn_dtype)dtype, 9, 10, i & 1, i & 2 ? 0.25 : 0, i / 4);
            check_cross_entropy((tn_dtype)dtype, 3, 2100, i & 1, i & 2 ? 0.25 : 0, i / 4);
        }
    int64_t target[] = {1, 5};
    float x[10] = {0}, loss;
    double stats[5];
    tn_cross_entropy_rows c = {.rows = 2, .classes = 5, .x = x, .target = target, .ignore_index = -100, .reduction = 1,
                               .stats = stats, .loss = &loss};
    assert_int_equal(k()->cross_entropy(TN_F32, &c), TN_ERR_INDEX);
    assert_non_null(strstr(tn_last_error(), "target number 1 is 5, but there are 5 classes"));
    tn_clear_error();
}

static void cumsums(void **unused)
{
    (void)unused;
    static const int64_t shapes[][3] = {{3, 50, 1}, {2, 9, 100}, {1, 5000, 1}};
    for (int dtype = 0; dtype <= TN_I64; dtype++)
        for (int i = 0; i < 6; i++) {
            int64_t outer = shapes[i / 2][0], n = shapes[i / 2][1], inner = shapes[i / 2][2];
            size_t bytes = (size_t)(outer * n * inner) * tn_dtype_size((tn_dtype)dtype);
            void *x = malloc(bytes), *y = malloc(bytes);
            for (int64_t j = 0; j < outer * n * inner; j++)
                put((tn_dtype)dtype, x, j, element((tn_dtype)dtype));
            tn_cumsum_rows rows = {outer, n, inner, i % 2, x, y};
            assert_int_equal(k()->cumsum((tn_dtype)dtype, &rows), TN_OK);
            for (int64_t o = 0; o < outer * inner; o++) {
                double total = 0;
                for (int64_t j = 0; j < n; j++) {
                    int64_t here = (o / inner * n + (i % 2 ? n - 1 - j : j)) * inner + o % inner;
                    total += at((tn_dtype)dtype, x, here);
                    assert_true(fabs(at((tn_dtype)dtype, y, here) - total) <= fabs(total) / 256);
                }
            }
            free(x), free(y);
        }
}

/* Whether a comes before b, as PyTorch's stable sort has it. */
static bool before(double a, double b, bool descending)
{
    return descending ? (isnan(a) ? !isnan(b) : a > b) : (isnan(b) ? !isnan(a) : a < b);
}

static void check_sort(tn_dtype dtype, int64_t n, int64_t count, bool descending)
{
    enum { ROWS = 3 };
    size_t size = tn_dtype_size(dtype);
    void *x = malloc((size_t)(ROWS * n) * size), *values = malloc((size_t)(ROWS * count) * size);
    int64_t *indices = malloc((size_t)(ROWS * count) * 8);
    char *seen = calloc((size_t)n, 1);
    for (int64_t i = 0; i < ROWS * n; i++)
        put(dtype, x, i, i % 3 ? element(dtype) : dtype == TN_F32 || dtype == TN_F64 ? uniform() * 1e6 : element(dtype));
    if (dtype == TN_F32) {
        ((float *)x)[1] = NAN;
        ((float *)x)[n - 1] = -INFINITY;
        ((float *)x)[n / 2] = -0.0f;
        ((float *)x)[n / 3] = NAN;
    }
    tn_sort_rows rows = {ROWS, n, count, descending, x, values, indices};
    assert_int_equal(k()->sort(dtype, &rows), TN_OK);
    for (int row = 0; row < ROWS; row++) {
        memset(seen, 0, (size_t)n);
        for (int64_t i = 0; i < count; i++) {
            int64_t here = indices[row * count + i];
            double v = at(dtype, x, row * n + here);
            assert_true(here >= 0 && here < n && !seen[here]++);
            assert_memory_equal((char *)values + (size_t)(row * count + i) * size, (char *)x + (size_t)(row * n + here) * size, size);
            if (i == 0) continue;
            int64_t former = indices[row * count + i - 1];
            double u = at(dtype, x, row * n + former);
            assert_true(before(u, v, descending) || (!before(v, u, descending) && former < here));
        }
        for (int64_t i = 0; i < n; i++)
            if (!seen[i])
                assert_false(before(at(dtype, x, row * n + i), at(dtype, values, (row + 1) * count - 1), descending));
    }
    free(x), free(values), free(indices), free(seen);
}

static void sorts(void **unused)
{
    (void)unused;
    static const int64_t sizes[][2] = {{5, 5}, {48, 48}, {49, 49}, {1000, 1000}, {1000, 7}, {1000, 900}, {20000, 20000}, {20000, 40}};
    for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++)
        for (int i = 0; i < 16; i++)
            check_sort((tn_dtype)dtype, sizes[i / 2][0], sizes[i / 2][1], i % 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reduction), cmocka_unit_test(large_reductions), cmocka_unit_test(specials),
        cmocka_unit_test(accuracy),        cmocka_unit_test(softmaxes),        cmocka_unit_test(sums_of_halves),
        cmocka_unit_test(softmax_backward_of_halves), cmocka_unit_test(softmax_of_rows), cmocka_unit_test(softmax_of_halves),
        cmocka_unit_test(softmax_of_special_values),
        cmocka_unit_test(softmax_error), cmocka_unit_test(cross_entropy_error), cmocka_unit_test(reduction_error),
        cmocka_unit_test(cross_entropies),
        cmocka_unit_test(cumsums),         cmocka_unit_test(sorts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
