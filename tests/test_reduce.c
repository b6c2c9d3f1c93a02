/* The reduction, scan and sort kernels against plain loops in f64.
 * labels: isa, loops */
#include "check.h"

#include "elements.h"
#include "ulp.h"

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
        cmocka_unit_test(every_reduction), cmocka_unit_test(large_reductions), cmocka_unit_test(specials), cmocka_unit_test(accuracy),
        cmocka_unit_test(sums_of_halves),  cmocka_unit_test(reduction_error),  cmocka_unit_test(cumsums),  cmocka_unit_test(sorts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
