/* The normalisation kernels against plain loops: every layout, both work types, sizes about the ends of lanes, blocks and chunks.
 * labels: isa, threads, loops */
#include <stdlib.h>

#include "check.h"
#include "kernels/kernels.h"
#include "ulp.h"

static uint32_t state_of_random = 7;
static int64_t below(int64_t n)
{
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (int64_t)(state_of_random >> 8) % n;
}

/* Doubles for the loops, and the same numbers in the kernel's type; of a result what its terms' magnitudes sum up to, too. */
typedef struct buffer {
    int64_t count;
    double *plain, *size;
    void *kernel;
} buffer;

/* Numbers of magnitude `scale` about `centre` times that. */
static buffer make(tn_dtype dtype, int64_t count, double centre, double scale)
{
    double *numbers = calloc(3 * (size_t)count + 1, sizeof(double));
    buffer b = {count, numbers, numbers + count, numbers + 2 * count};
    for (int64_t i = 0; i < count; i++) {
        const float x = (float)(((double)(below(1 << 24) - (1 << 23)) / (1 << 22) + centre) * scale);
        b.plain[i] = (double)x;
        if (dtype == TN_F64)
            ((double *)b.kernel)[i] = (double)x;
        else
            ((float *)b.kernel)[i] = x;
    }
    return b;
}

/* `most` is norm.c's bound in ulp of the terms' magnitudes. */
static void same(const char *what, tn_dtype dtype, const tn_norm *f, buffer b, double most)
{
    for (int64_t i = 0; i < b.count; i++) {
        const double is = dtype == TN_F64 ? ((double *)b.kernel)[i] : (double)((float *)b.kernel)[i], due = b.plain[i];
        const double off = dtype == TN_F64 ? 0 : ulps_of((float)is, due, b.size[i]);
        if (!(dtype == TN_F64 ? fabs(is - due) <= 1e-12 * b.size[i] : off <= most))
            fail_msg("%s[%lld] is %.9g, %.9g was due (%.3g ulp off): %s n %lld c %lld s %lld groups %lld batch %d centre %d given %d", what,
                     (long long)i, is, due, off, tn_dtype_name(dtype), (long long)f->n, (long long)f->c, (long long)f->s, (long long)f->groups,
                     f->batch, f->centre, f->given);
    }
}

static void drop(buffer b) { free(b.plain); }

static int64_t pool_of(const tn_norm *f, int64_t i)
{
    int64_t c = i / f->s % f->c, n = i / f->s / f->c;
    return f->batch ? c : n * f->groups + c / (f->c / f->groups);
}

typedef struct buffers {
    buffer x, weight, bias, y, dy, dx, dweight, dbias;
} buffers;

/* What a pool's elements share. */
typedef struct pool {
    double mean, size, var, rstd; /* size: the mean of the magnitudes */
    double of_g, of_gx, size_g, size_gx; /* means of g = dy w and of g (x - mean) rstd, and of their terms' magnitudes */
} pool;

static void find_pools(const tn_norm *f, const double *mean_given, const double *var_given, const buffers *b, pool *pools)
{
    const int64_t total = f->n * f->c * f->s, count = f->batch ? f->c : f->n * f->groups;
    const double size = (double)(total / count);
    for (int64_t i = 0; i < total && f->centre; i++) {
        pools[pool_of(f, i)].mean += b->x.plain[i] / size;
        pools[pool_of(f, i)].size += fabs(b->x.plain[i]) / size;
    }
    for (int64_t i = 0; i < total; i++)
        pools[pool_of(f, i)].var += pow(b->x.plain[i] - pools[pool_of(f, i)].mean, 2) / size;
    for (int64_t p = 0; p < count; p++) {
        if (f->given)
            pools[p].mean = mean_given[p], pools[p].size = fabs(mean_given[p]), pools[p].var = var_given[p];
        pools[p].rstd = 1 / sqrt(pools[p].var + f->eps);
    }
}

static void loops(const tn_norm *f, const double *mean_given, const double *var_given, const buffers *b)
{
    const int64_t total = f->n * f->c * f->s, count = f->batch ? f->c : f->n * f->groups;
    const double size = (double)(total / count);
    pool *pools = calloc((size_t)count, sizeof *pools);
    find_pools(f, mean_given, var_given, b, pools);
    for (int64_t c = 0; c < f->c; c++)
        b->dweight.plain[c] = b->dweight.size[c] = b->dbias.plain[c] = b->dbias.size[c] = 0;
    for (int64_t i = 0; i < total; i++) {
        pool *p = &pools[pool_of(f, i)];
        const int64_t c = i / f->s % f->c;
        const double v = (b->x.plain[i] - p->mean) * p->rstd, large = (fabs(b->x.plain[i]) + p->size) * p->rstd, dy = b->dy.plain[i];
        const double w = f->weight ? b->weight.plain[c] : 1, bias = f->bias ? b->bias.plain[c] : 0;
        b->y.plain[i] = v * w + bias, b->y.size[i] = large * fabs(w) + fabs(bias);
        p->of_g += dy * w / size, p->size_g += fabs(dy * w) / size;
        p->of_gx += dy * w * v / size, p->size_gx += fabs(dy * w) * large / size;
        b->dweight.plain[c] += dy * v, b->dweight.size[c] += fabs(dy) * large;
        b->dbias.plain[c] += dy, b->dbias.size[c] += fabs(dy);
    }
    for (int64_t i = 0; i < total; i++) {
        const pool *p = &pools[pool_of(f, i)];
        const double v = (b->x.plain[i] - p->mean) * p->rstd, large = (fabs(b->x.plain[i]) + p->size) * p->rstd;
        const double g = b->dy.plain[i] * (f->weight ? b->weight.plain[i / f->s % f->c] : 1);
        b->dx.plain[i] = f->given ? g * p->rstd : (g - (f->centre ? p->of_g : 0) - v * p->of_gx) * p->rstd;
        b->dx.size[i] = f->given ? fabs(g) * p->rstd : (fabs(g) + (f->centre ? p->size_g : 0) + large * p->size_gx) * p->rstd;
    }
    free(pools);
}

/* x lies about centre times scale, which is what it varies by. */
static void check_one(tn_dtype dtype, tn_norm f, double centre, double scale)
{
    int64_t total = f.n * f.c * f.s, pools = f.batch ? f.c : f.n * f.groups;
    buffers b = {make(dtype, total, centre, scale), make(dtype, f.c, 0, 1), make(dtype, f.c, 0, 1), make(dtype, total, 0, 1),
                 make(dtype, total, 0, 1), make(dtype, total, 0, 1), make(dtype, f.c, 0, 1), make(dtype, f.c, 0, 1)};
    double *statistics = calloc((size_t)pools * 3, sizeof(double)), *given = calloc((size_t)pools * 2, sizeof(double));
    bool weight = below(4) > 0, bias = below(4) > 0;
    f.x = b.x.kernel, f.weight = weight ? b.weight.kernel : NULL, f.bias = bias ? b.bias.kernel : NULL, f.y = b.y.kernel;
    f.mean = statistics, f.rstd = statistics + pools, f.var = statistics + 2 * pools;
    for (int64_t p = 0; p < pools; p++) {
        f.mean[p] = given[p] = ((double)(below(17) - 8) / 8 + centre) * scale;
        f.var[p] = given[pools + p] = (double)(1 + below(16)) / 8 * scale * scale;
    }
    f.dy = b.dy.kernel;
    f.dx = b.dx.kernel, f.dweight = weight ? b.dweight.kernel : NULL, f.dbias = bias ? b.dbias.kernel : NULL;
    loops(&f, given, given + pools, &b);
    assert_int_equal(tn_kernels_of(TN_CPU)->norm(dtype, &f), TN_OK);
    assert_int_equal(tn_kernels_of(TN_CPU)->norm_backward(dtype, &f), TN_OK);
    same("y", dtype, &f, b.y, 7);
    same("dx", dtype, &f, b.dx, 4);
    if (weight)
        same("dweight", dtype, &f, b.dweight, 3);
    if (bias)
        same("dbias", dtype, &f, b.dbias, 2);
    buffer all[] = {b.x, b.weight, b.bias, b.y, b.dy, b.dx, b.dweight, b.dbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
    free(statistics);
    free(given);
}

static void test_kernels(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 130};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    static const struct {
        double centre, scale;
    } inputs[] = {{0, 1}, {0, 1e-15}, {1000, 1}, {-3, 1e15}};
    for (int round = 0; round < 300; round++) {
        tn_norm f = {.groups = 1, .centre = true, .n = sizes[below(SIZES)], .c = sizes[below(SIZES)], .s = sizes[below(SIZES)]};
        switch (below(4)) {
        case 0: f.s = 1; f.centre = below(2); break;                  /* rows */
        case 1: f.batch = true; f.s = 1; f.given = below(2); break;   /* columns */
        case 2: f.batch = true; f.given = below(2); f.s++; break;     /* segments */
        default: f.s += below(2); f.groups = 1 + below(3); f.c *= f.groups; break;
        }
        const int input = round / 2 % 4;
        f.eps = 0.125 * pow(inputs[input].scale, 2);
        check_one(round % 2 ? TN_F32 : TN_F64, f, inputs[input].centre, inputs[input].scale);
    }
    check_one(TN_F32, (tn_norm){.groups = 1, .centre = true, .eps = 1e-5, .n = 700, .c = 40, .s = 1}, 0, 1);   /* many chunks */
    check_one(TN_F32, (tn_norm){.groups = 1, .centre = true, .eps = 1e-5, .n = 3, .c = 2100, .s = 1}, 0, 1);   /* more than a block */
    check_one(TN_F32, (tn_norm){.groups = 1, .batch = true, .centre = true, .eps = 1e-5, .n = 2, .c = 3, .s = 2100}, 0, 1);
    check_one(TN_F32, (tn_norm){.groups = 1, .batch = true, .centre = true, .eps = 1e-5, .n = 5, .c = 600, .s = 20}, 0, 1); /* more than share terms */
    check_good();
}

/* Batch norm's moments where means are far from zero, and the first image of each chunk far from the others (where a factor of 17
 * may cancel). */
static void test_moments(void **state)
{
    (void)state;
    enum { N = 40, C = 19, S = 49 };
    float *x = malloc(N * C * S * sizeof *x), *y = malloc(N * C * S * sizeof *y);
    double mean[C], var[C], rstd[C];
    for (int far = 0; far < 2; far++) {
        for (int i = 0; i < N * C * S; i++)
            x[i] = (float)(1000 * far + below(1000)) / 256 + (float)(i / (C * S) % 16 == 0 ? 4000 * far : 0);
        tn_norm f = {.groups = 1, .batch = true, .centre = true, .eps = 1e-5, .n = N, .c = C, .s = S,
                     .x = x, .y = y, .mean = mean, .var = var, .rstd = rstd};
        assert_int_equal(tn_kernels_of(TN_CPU)->norm(TN_F32, &f), TN_OK);
        const double bound = far ? 1e-5 : 1e-6;
        for (int c = 0; c < C; c++) {
            double m = 0, v = 0;
            for (int i = 0; i < N * S; i++)
                m += (double)x[(i / S * C + c) * S + i % S] / (N * S);
            for (int i = 0; i < N * S; i++)
                v += pow((double)x[(i / S * C + c) * S + i % S] - m, 2) / (N * S);
            assert_true(fabs(mean[c] - m) <= bound * sqrt(v) && fabs(var[c] - v) <= bound * v);
        }
    }
    free(x);
    free(y);
}

/* The same bits on any number of threads. */
static void test_threads(void **state)
{
    (void)state;
    const int threads = tn_get_num_threads();
    for (int layout = 0; layout < 7; layout++) { /* 403 rows: cut where those side by side are not whole */
        TN_SCOPE;
        tn_tensor *first[3] = {NULL};
        for (int t = 1; t <= 4; t += 3) {
            assert_int_equal(tn_set_num_threads(t), TN_OK);
            tn_manual_seed(5);
            const tn_dtype dtype = layout < 4 ? TN_F32 : TN_BF16;
            tn_tensor *x = tn_cast(tn_randn(layout % 4 == 2 ? TN_SHAPE(8, 24, 30) : TN_SHAPE(403, 200)), dtype);
            tn_tensor *w = tn_cast(tn_randn(TN_SHAPE(layout % 4 == 2 ? 24 : 200)), dtype);
            tn_check(tn_set_requires_grad(x, true));
            tn_check(tn_set_requires_grad(w, true));
            tn_tensor *y = layout % 4 == 0 ? tn_layer_norm(x, TN_SHAPE(200), w)
                           : layout == 2   ? tn_group_norm(x, 4, w)
                           : layout == 1 || layout == 6 ? tn_batch_norm(x, NULL, NULL, w, .training = true)
                                                        : tn_rms_norm(x, TN_SHAPE(200), w);
            assert_int_equal(tn_backward(tn_sum(tn_mul(y, tn_square(y)))), TN_OK);
            tn_tensor *results[] = {y, tn_grad(x), tn_grad(w)};
            for (int i = 0; i < 3; i++)
                if (t == 1)
                    first[i] = results[i];
                else
                    assert_true(tn_equal(first[i], results[i]));
        }
    }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    check_good();
}

static tn_tensor *norm_of(bool centre, tn_tensor *x, tn_tensor *w, tn_tensor *b)
{
    const tn_shape columns = TN_SHAPE(tn_size(x, 1));
    return centre ? tn_layer_norm(x, columns, w, b) : tn_rms_norm(x, columns, w, .eps = 1e-5);
}

/* Rows of a 16-bit dtype give what the same numbers give as floats, rounded once; so do their gradients, and second ones are to be had. */
static void test_halves(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{3, 7}, {70, 33}, {5, 2049}, {2, TN_NORM_HELD}, {2, TN_NORM_HELD + 1}, {300, 40}};
    for (int i = 0; i < 24; i++) {
        TN_SCOPE;
        const tn_dtype dtype = i % 2 ? TN_F16 : TN_BF16;
        const int64_t rows = sizes[i / 4][0], columns = sizes[i / 4][1];
        const bool centre = i & 2;
        tn_tensor *in[3], *wide[3];
        for (int k = 0; k < 3; k++) {
            in[k] = tn_cast(tn_randn(k ? TN_SHAPE(columns) : TN_SHAPE(rows, columns)), dtype);
            wide[k] = tn_cast(in[k], TN_F32);
            tn_check(tn_set_requires_grad(in[k], true));
            tn_check(tn_set_requires_grad(wide[k], true));
        }
        tn_tensor *y = norm_of(centre, in[0], in[1], in[2]), *expected = norm_of(centre, wide[0], wide[1], wide[2]);
        assert_int_equal(tn_dtype_of(y), dtype);
        assert_true(tn_equal(y, tn_cast(expected, dtype)));
        tn_tensor *dy = tn_cast(tn_randn(TN_SHAPE(rows, columns)), dtype), *wide_dy = tn_cast(dy, TN_F32), *d[3], *wide_d[3];
        const int inputs = centre ? 3 : 2;
        assert_int_equal(tn_grads_of(&y, 1, in, inputs, d, .grads = &dy, .create_graph = i % 4 == 0), TN_OK);
        assert_int_equal(tn_grads_of(&expected, 1, wide, inputs, wide_d, .grads = &wide_dy), TN_OK);
        for (int k = 0; k < inputs; k++) {
            assert_int_equal(tn_dtype_of(d[k]), dtype);
            assert_true(tn_allclose(d[k], tn_cast(wide_d[k], dtype), dtype == TN_F16 ? 0x1p-10 : 0x1p-7, 0x1p-12, false));
        }
        if (i % 4 == 0)
            assert_non_null(tn_grad_of(tn_sum(tn_square(d[0])), in[0]));
    }
    check_good();
}

/* Numbers that are none, and those beyond what bfloat16 holds as normal ones, are rounded as tn_cast() rounds. */
static void test_halves_at_the_ends(void **state)
{
    (void)state;
    TN_SCOPE;
    enum { ROWS = 9, COLUMNS = 71 };
    tn_tensor *x = tn_cast(tn_randn(TN_SHAPE(ROWS, COLUMNS)), TN_BF16), *w = tn_cast(tn_randn(TN_SHAPE(COLUMNS)), TN_BF16);
    tn_bf16 *of_x = tn_data_mut(x), *of_w = tn_data_mut(w);
    of_x[3 * COLUMNS + 40].bits = 0x7f81; /* a NaN that signals and, cut, would be infinity */
    of_x[6 * COLUMNS + 70].bits = 0xff80; /* -infinity */
    for (int j = 0; j < COLUMNS; j += 5)
        of_w[j].bits = (uint16_t)(j % 2 ? 0x0001 + j : j % 4 ? 0x7f7f : 0xffff); /* denormal, the greatest, NaN */
    for (int centre = 0; centre < 2; centre++) {
        tn_tensor *y = norm_of(centre, x, w, NULL), *wide = norm_of(centre, tn_cast(x, TN_F32), tn_cast(w, TN_F32), NULL);
        assert_true(tn_allclose(y, tn_cast(wide, TN_BF16), 0, 0, true));
    }
    check_good();
}

/* A channel of one number far from 0 becomes its bias, to the last bit. */
static void test_constant_channels(void **state)
{
    (void)state;
    static const tn_dtype dtypes[] = {TN_F32, TN_F64, TN_BF16, TN_F16};
    for (int i = 0; i < 4 * 2; i++) {
        TN_SCOPE;
        const tn_dtype dtype = dtypes[i / 2];
        tn_tensor *each = tn_cast(tn_from_floats((float[]){255, -1000, 60000}, TN_SHAPE(3, 1)), dtype), *bias = tn_cast(tn_randn(TN_SHAPE(3)), dtype);
        tn_tensor *x = tn_contiguous(tn_expand(each, i % 2 ? TN_SHAPE(6, 3, 137) : TN_SHAPE(2, 3, 1100)));
        tn_tensor *y = tn_batch_norm(x, NULL, NULL, tn_cast(tn_randn(TN_SHAPE(3)), dtype), bias, .training = true);
        assert_true(tn_equal(y, tn_contiguous(tn_expand(tn_unsqueeze(bias, 1), tn_shape_of(x)))));
    }
    check_good();
}

/* The same of channels: batch norm with statistics of its own and given ones, group norm; segments of s that fit and not. */
static void test_halves_of_channels(void **state)
{
    (void)state;
    static const int64_t lengths[] = {2, 37, TN_NORM_HELD, TN_NORM_HELD + 1}; /* chunks of several segments, of 1 */
    for (int i = 0; i < 24; i++) {
        TN_SCOPE;
        const tn_dtype dtype = i % 2 ? TN_F16 : TN_BF16;
        const int64_t n = i < 12 ? 35 : 5, c = i < 12 ? 22 : 4;
        tn_tensor *in[3], *wide[3], *y[2], *dy = NULL, *d[3], *wide_d[3];
        for (int k = 0; k < 3; k++) {
            in[k] = tn_cast(tn_randn(k ? TN_SHAPE(c) : TN_SHAPE(n, c, lengths[i / 6])), dtype);
            wide[k] = tn_cast(in[k], TN_F32);
            tn_check(tn_set_requires_grad(in[k], true));
            tn_check(tn_set_requires_grad(wide[k], true));
        }
        for (int w = 0; w < 2; w++) {
            tn_tensor **x = w ? wide : in, *mean = tn_full(TN_SHAPE(c), 0.5, .dtype = tn_dtype_of(x[0])), *var = tn_full(TN_SHAPE(c), 2, .dtype = tn_dtype_of(x[0]));
            const int form = i / 2 % 3;
            y[w] = form == 2 ? tn_group_norm(x[0], 2, x[1], x[2]) : tn_batch_norm(x[0], mean, var, x[1], x[2], .training = form == 0);
        }
        const double off = dtype == TN_F16 ? 0x1p-9 : 0x1p-6;
        assert_int_equal(tn_dtype_of(y[0]), dtype);
        assert_true(tn_allclose(tn_cast(y[0], TN_F32), y[1], off, off / 8, false));
        dy = tn_cast(tn_randn_like(y[1]), dtype);
        tn_tensor *wide_dy = tn_cast(dy, TN_F32);
        assert_int_equal(tn_grads_of(&y[0], 1, in, 3, d, .grads = &dy), TN_OK);
        assert_int_equal(tn_grads_of(&y[1], 1, wide, 3, wide_d, .grads = &wide_dy), TN_OK);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(tn_dtype_of(d[k]), dtype);
            assert_true(tn_allclose(tn_cast(d[k], TN_F32), wide_d[k], off, off / 8, false));
        }
    }
    check_good();
}

/* y, and the gradients of x, weight, bias and residual; with create_graph, [4], a second one of x. */
static tn_tensor *ended(bool fused, tn_tensor *const *in, bool training, int ending, tn_tensor **d, bool create_graph)
{
    const int64_t c = tn_size(in[0], 1);
    tn_tensor *mean = tn_full(TN_SHAPE(c), 0.5, .dtype = tn_dtype_of(in[0])), *var = tn_full(TN_SHAPE(c), 2, .dtype = tn_dtype_of(in[0])), *y, *dy;
    tn_tensor *residual = ending & 1 ? in[3] : NULL;
    const tn_activation activation = ending & 2 ? TN_ACTIVATION_RELU : TN_ACTIVATION_NONE;
    if (fused) {
        y = tn_batch_norm(in[0], mean, var, in[1], in[2], .training = training, .residual = residual, .activation = activation);
    } else {
        y = tn_batch_norm(in[0], mean, var, in[1], in[2], .training = training);
        y = residual ? tn_add(y, residual) : y;
        y = activation ? tn_relu(y) : y;
    }
    dy = tn_add(tn_mul(y, y), 1);
    assert_int_equal(tn_grads_of(&y, 1, in, residual ? 4 : 3, d, .grads = &dy, .create_graph = create_graph), TN_OK);
    d[4] = create_graph ? tn_grad_of(tn_add(tn_sum(tn_square(d[0])), tn_sum(tn_square(d[1]))), in[0]) : NULL;
    return y;
}

/* The bits, zeros' signs too, of results without NaN; else the numbers. */
static bool is_same(const tn_tensor *a, const tn_tensor *b, bool finite)
{
    const size_t bytes = (size_t)tn_numel(a) * tn_dtype_size(tn_dtype_of(a));
    return tn_allclose(a, b, 0, 0, true) && (!finite || memcmp(tn_data(a), tn_data(b), bytes) == 0);
}

/* Batch norm with a residual, an activation or both gives the bits of the operators one after another, and so do gradients; second ones,
 * whose terms are added up in another order, to rounding. What is NaN stays NaN. */
static void test_endings(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 2, 37, 1100};
    const tn_dtype dtypes[] = {TN_F32, TN_F64, TN_BF16, TN_F16};
    for (int i = 0; i < 4 * 4 * 2 * 2 * 4; i++) {
        TN_SCOPE;
        const tn_dtype dtype = dtypes[i % 4];
        const int64_t n = 35, c = 22, s = lengths[i / 4 % 4];
        const bool training = i / 16 % 2, create_graph = i / 32 % 2;
        const int ending = i / 64;
        const tn_shape shape = s == 1 ? TN_SHAPE(n, c) : TN_SHAPE(n, c, s);
        tn_tensor *in[4], *d[2][5] = {{NULL}}, *y[2];
        for (int k = 0; k < 4; k++) {
            in[k] = tn_cast(tn_randn(k == 1 || k == 2 ? TN_SHAPE(c) : shape), dtype);
            if (k == 3 && !training)
                tn_fill_(tn_select(in[k], 0, 3), NAN);
            tn_check(tn_set_requires_grad(in[k], true));
        }
        for (int fused = 0; fused < 2; fused++)
            y[fused] = ended(fused, in, training, ending, d[fused], create_graph);
        assert_true(is_same(y[0], y[1], training));
        for (int k = 0; k < 4; k++)
            if (d[0][k])
                assert_true(is_same(d[0][k], d[1][k], training));
        if (create_graph && dtype != TN_F16) { /* whose range they leave */
            const double off = training ? (dtype == TN_F64 ? 1e-14 : 1e-6) * tn_item(tn_amax(tn_abs(d[0][4]))) : 0;
            assert_true(tn_allclose(d[0][4], d[1][4], 0, off, true));
        }
    }
    check_good();
}

/* The residual may be all that a gradient is asked for, may be x, and need not be contiguous. */
static void test_residuals(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_randn(TN_SHAPE(4, 5, 6)), *mean = tn_randn(TN_SHAPE(5)), *var = tn_rand(TN_SHAPE(5)), *rows = tn_randn(TN_SHAPE(4, 6, 5));
    tn_check(tn_set_requires_grad(rows, true));
    tn_tensor *residual = tn_transpose(rows, 1, 2), *plain = tn_batch_norm(x, mean, var, NULL, NULL), *apart = tn_relu(tn_add(plain, residual));
    tn_tensor *y = tn_batch_norm(x, mean, var, NULL, NULL, .residual = residual, .activation = TN_ACTIVATION_RELU);
    assert_true(is_same(y, apart, true));
    tn_tensor *d = tn_grad_of(tn_sum(tn_square(y)), rows, .retain_graph = true);
    assert_true(is_same(d, tn_grad_of(tn_sum(tn_square(apart)), rows), false));
    assert_true(is_same(tn_batch_norm(x, mean, var, NULL, NULL, .residual = x), tn_add(plain, x), true));
    check_good();
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_kernels), TEST(test_moments), TEST(test_threads), TEST(test_halves),
                                       TEST(test_halves_at_the_ends), TEST(test_halves_of_channels), TEST(test_constant_channels), TEST(test_endings), TEST(test_residuals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
