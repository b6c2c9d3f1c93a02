/* The softmax and cross-entropy kernels against plain loops in f64.
 * labels: isa, loops */
#include "check.h"

#include "elements.h"
#include "ulp.h"

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
static void check_softmax_backward_of_halves(int n)
{
    enum { N = 48 };
    const int used = (n - 1) / 4 * 4 + 1; /* as many of one sign as of the other */
    tn_bf16 y[N] = {{0}}, dy[N] = {{0}}, dx[N];
    const tn_softmax_rows s = {.outer = 1, .n = n, .inner = 1, .x = y, .dy = dy, .y = dx};
    for (int i = 1; i < used; i++)
        put(TN_BF16, y, i, i % 2 ? 0x1p-120 : 1 + 0x1p-7), put(TN_BF16, dy, i, i % 2 ? 0x1p-12 : i % 4 ? 1.5 : -1.5);
    assert_int_equal(k()->softmax_backward(TN_BF16, &s), TN_OK); /* the sum of dy y is 0, but for what is too small */
    for (int i = 1; i < used; i++) /* 1.5 (1 + 2^-7) lies midway between 1.5 + 2^-7 and 1.5 + 2^-6, which is even */
        assert_true(at(TN_BF16, dx, i) == (i % 2 ? 0x1p-132 : i % 4 ? 1.5 + 0x1p-6 : -1.5 - 0x1p-6));
    put(TN_BF16, dy, 3, (double)NAN);
    assert_int_equal(k()->softmax_backward(TN_BF16, &s), TN_OK);
    for (int i = 1; i < used; i++)
        assert_true(isnan(at(TN_BF16, dx, i)));
}
static void softmax_backward_of_halves(void **unused)
{
    (void)unused;
    check_softmax_backward_of_halves(37);
    check_softmax_backward_of_halves(48); /* whole vectors */
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
static void run_cross_entropy(tn_dtype dtype, const tn_cross_entropy_rows *c)
{
    assert_int_equal(k()->cross_entropy(dtype, c), TN_OK);
    assert_int_equal(k()->cross_entropy_backward(dtype, c), TN_OK);
}

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
    run_cross_entropy(TN_F32, &c);
    c.x = x, c.loss = loss, c.dx = dx;
    run_cross_entropy(TN_BF16, &c);
    const int threads = tn_get_num_threads();
    assert_int_equal(tn_set_num_threads(threads == 3 ? 1 : 3), TN_OK);
    c.loss = loss_again, c.dx = dx_again;
    run_cross_entropy(TN_BF16, &c);
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
    run_cross_entropy(TN_F32, &c);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmaxes),
        cmocka_unit_test(softmax_backward_of_halves),
        cmocka_unit_test(softmax_of_rows),
        cmocka_unit_test(softmax_of_halves),
        cmocka_unit_test(softmax_of_special_values),
        cmocka_unit_test(softmax_error),
        cmocka_unit_test(cross_entropy_error),
        cmocka_unit_test(cross_entropies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
