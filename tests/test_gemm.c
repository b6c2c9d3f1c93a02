/* The product kernel of every instruction set that this machine has, against plain loops in f64.  labels: quick, loops */
#include <stdlib.h>

#include "check.h"

#include "kernels/kernels.h"
#include "ulp.h"

extern const tn_kernels tn_portable_kernels;
#ifdef TENON_HAVE_AVX2
extern const tn_kernels tn_avx2_kernels;
#endif
#ifdef TENON_HAVE_AVX512
extern const tn_kernels tn_avx512_kernels;
#endif

static const tn_kernels *tables[3];
static int table_count;

static void find_tables(void)
{
    tables[table_count++] = &tn_portable_kernels;
#ifdef TENON_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        tables[table_count++] = &tn_avx2_kernels;
#endif
#ifdef TENON_HAVE_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        tables[table_count++] = &tn_avx512_kernels;
#endif
}

/* ---- elements of any dtype as doubles ---------------------------------------------------------------------------- */

static double load(tn_dtype dtype, const void *data, int64_t i)
{
    switch (dtype) {
    case TN_F32: return (double)((const float *)data)[i];
    case TN_F64: return ((const double *)data)[i];
    case TN_BF16: {
        const uint32_t bits = (uint32_t)((const tn_bf16 *)data)[i].bits << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    case TN_F16: {
        const int bits = ((const tn_f16 *)data)[i].bits, exponent = bits >> 10 & 31, fraction = bits & 1023;
        const double size = exponent == 31 ? (fraction ? NAN : INFINITY)
                            : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                           : ldexp(fraction, -24);
        return bits & 0x8000 ? -size : size;
    }
    case TN_I64: return (double)((const int64_t *)data)[i];
    case TN_I32: return ((const int32_t *)data)[i];
    case TN_I16: return ((const int16_t *)data)[i];
    case TN_I8: return ((const int8_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
    }
}

/* Small whole numbers and halves: exact in every floating dtype. */
static void store(tn_dtype dtype, void *data, int64_t i, double value)
{
    switch (dtype) {
    case TN_F32: ((float *)data)[i] = (float)value; break;
    case TN_F64: ((double *)data)[i] = value; break;
    case TN_BF16: {
        const float single = (float)value;
        uint32_t bits;
        memcpy(&bits, &single, sizeof bits);
        ((tn_bf16 *)data)[i].bits = (uint16_t)(bits >> 16);
        break;
    }
    case TN_F16: {
        int exponent;
        const double fraction = frexp(fabs(value), &exponent);
        const int bits = value == 0 ? 0 : (exponent + 14) << 10 | ((int)(fraction * 2048) & 1023);
        ((tn_f16 *)data)[i].bits = (uint16_t)(bits | (value < 0 ? 0x8000 : 0));
        break;
    }
    case TN_I64: ((int64_t *)data)[i] = (int64_t)value; break;
    case TN_I32: ((int32_t *)data)[i] = (int32_t)value; break;
    case TN_I16: ((int16_t *)data)[i] = (int16_t)value; break;
    case TN_I8: ((int8_t *)data)[i] = (int8_t)value; break;
    default: ((uint8_t *)data)[i] = (uint8_t)(int64_t)value;
    }
}

static uint32_t random_state = 1;
static double random_number(tn_dtype dtype)
{
    random_state = random_state * 1664525u + 1013904223u;
    const int whole = (int)(random_state >> 24) % 31 - 15;
    if (dtype == TN_F64)
        return (double)random_state / 4294967296.0 - 0.5;
    if (dtype == TN_F32)
        return (double)((float)random_state / 4294967296.0f - 0.5f);
    return tn_dtype_is_float(dtype) ? whole / 8.0 : dtype == TN_U8 ? abs(whole) : whole;
}

/* ---- one product, against plain loops ---------------------------------------------------------------------------- */

typedef struct product {
    tn_dtype dtype;
    tn_gemm g;
    int64_t sizes[3]; /* elements of a, b and c */
    bool alike;       /* all terms of a sum are the same, and all its additions are rounded the same way */
} product;

/* layout: 0 row-major, 1 transposed, 2 neither stride 1. */
static product product_new(tn_dtype dtype, int64_t batch, int64_t m, int64_t n, int64_t k, int layout_a, int layout_b)
{
    product p = {.dtype = dtype, .g = {.batch = batch, .m = m, .n = n, .k = k, .c_row = n + 3, .alpha = 1}};
    const int64_t a_rows[] = {k + 1, 1, 2 * k + 3}, a_cols[] = {1, m + 2, 2};
    const int64_t b_rows[] = {n + 2, 1, 2 * n + 1}, b_cols[] = {1, k + 1, 2};
    p.g.a_row = a_rows[layout_a], p.g.a_col = a_cols[layout_a];
    p.g.b_row = b_rows[layout_b], p.g.b_col = b_cols[layout_b];
    p.g.a_batch = m * p.g.a_row + k * p.g.a_col, p.g.b_batch = k * p.g.b_row + n * p.g.b_col,
    p.g.c_batch = m * p.g.c_row + 5;
    p.sizes[0] = batch * p.g.a_batch + 1, p.sizes[1] = batch * p.g.b_batch + 1, p.sizes[2] = batch * p.g.c_batch + 1;
    void *data[3];
    for (int operand = 0; operand < 3; operand++) {
        data[operand] = malloc((size_t)p.sizes[operand] * tn_dtype_size(dtype));
        for (int64_t i = 0; i < p.sizes[operand]; i++)
            store(dtype, data[operand], i, random_number(dtype));
    }
    p.g.a = data[0], p.g.b = data[1], p.g.c = data[2];
    return p;
}

static void product_free(product *p)
{
    free((void *)(uintptr_t)p->g.a);
    free((void *)(uintptr_t)p->g.b);
    free(p->g.c);
}

/* An element as it is multiplied: to the nearest bf16, halves to even, where the product rounds. */
static double operand(const product *p, const void *data, int64_t i)
{
    const double value = load(p->dtype, data, i);
    int exponent;
    if (!p->g.rounded || value == 0)
        return value;
    const double fraction = frexp(value, &exponent);
    return ldexp(nearbyint(fraction * 256), exponent - 8);
}

/* A matrix of rows x cols as it is multiplied, row after row. */
static double *factors(const product *p, const void *data, int64_t first, int64_t rows, int64_t cols, int64_t row, int64_t col)
{
    double *values = malloc((size_t)(rows * cols + 1) * sizeof(double));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            values[i * cols + j] = operand(p, data, first + i * row + j * col);
    return values;
}

/* The sums of a row of a times all columns of b, and of their terms' magnitudes. */
static void sums_of_row(const double *a, const double *b, int64_t k, int64_t n, double *restrict sums, double *restrict magnitudes)
{
    memset(sums, 0, (size_t)n * sizeof(double));
    memset(magnitudes, 0, (size_t)n * sizeof(double));
    for (int64_t q = 0; q < k; q++)
        for (int64_t j = 0; j < n; j++) {
            const double term = a[q] * b[q * n + j];
            sums[j] += term;
            magnitudes[j] += fabs(term);
        }
}

/* c[i, j] of this sum, and with the terms' magnitudes the size of what was added. */
static double expected(const product *p, const double *c, int64_t place, int64_t j, double sum, double magnitudes, double *size)
{
    const double kept = p->g.beta != 0 ? p->g.beta * c[place] : 0;
    const double bias = p->g.bias ? load(p->dtype, p->g.bias, j) : 0, x = p->g.alpha * sum + kept + bias;
    *size = fabs(p->g.alpha) * magnitudes + fabs(kept) + fabs(bias);
    return p->g.activation && x < 0 ? 0 : x;
}

/* What an integer dtype keeps of x. */
static double wrapped(tn_dtype dtype, double x)
{
    char bytes[8];
    store(dtype, bytes, 0, dtype == TN_I64 ? x : (double)(int32_t)(uint32_t)(int64_t)x);
    return load(dtype, bytes, 0);
}

/* The bound of gemm.c in ulp of the sum of the terms' magnitudes. */
static double most_ulps(const product *p)
{
    const int64_t k = p->g.m == 1 || p->g.n == 1 ? p->g.k : p->g.k < 512 ? p->g.k : 512;
    return 1 + (p->alike ? (double)k / 5 : sqrt((double)k));
}

static double *elements_of_c(const product *p)
{
    double *elements = malloc((size_t)p->sizes[2] * sizeof(double));
    for (int64_t i = 0; i < p->sizes[2]; i++)
        elements[i] = load(p->dtype, p->g.c, i);
    return elements;
}

/* Compares every element of c, those between its rows included, with what is due where it was before; which is freed. */
static void check_c(const tn_kernels *table, const product *p, double *before)
{
    bool *written = calloc((size_t)p->sizes[2], 1);
    const double half = p->dtype == TN_F16 ? 0x1p-11 : p->dtype == TN_BF16 ? 0x1p-8 : 0;
    const bool either = p->g.rounded && (p->g.m == 1 || p->g.n == 1); /* a product of one row or column may round or not */
    double *sums = malloc((size_t)p->g.n * 2 * sizeof(double)), *magnitudes = sums + p->g.n;
    for (int64_t at = 0; at < p->g.batch; at++) {
        double *a = factors(p, p->g.a, at * p->g.a_batch, p->g.m, p->g.k, p->g.a_row, p->g.a_col);
        double *b = factors(p, p->g.b, at * p->g.b_batch, p->g.k, p->g.n, p->g.b_row, p->g.b_col);
        for (int64_t i = 0; i < p->g.m; i++) {
            sums_of_row(a + i * p->g.k, b, p->g.k, p->g.n, sums, magnitudes);
            for (int64_t j = 0; j < p->g.n; j++) {
                const int64_t place = at * p->g.c_batch + i * p->g.c_row + j;
                double size, due = expected(p, before, place, j, sums[j], magnitudes[j], &size);
                const double is = load(p->dtype, p->g.c, place);
                written[place] = true;
                if (!tn_dtype_is_float(p->dtype))
                    due = wrapped(p->dtype, due), size = 0;
                const double off = p->dtype == TN_F64 ? 1e-15 * (1 + size) : either ? 0x1p-7 * size : most_ulps(p) * ulp_of(size);
                if (!(fabs(is - due) <= off + half * fabs(due)))
                    fail_msg("%s %s %lldx%lldx%lld batch %lld: c[%lld, %lld] is %.17g, %.17g was due", table->name,
                             tn_dtype_name(p->dtype), (long long)p->g.m, (long long)p->g.n, (long long)p->g.k,
                             (long long)at, (long long)i, (long long)j, is, due);
            }
        }
        free(a);
        free(b);
    }
    free(sums);
    for (int64_t i = 0; i < p->sizes[2]; i++)
        if (!written[i] && load(p->dtype, p->g.c, i) != before[i])
            fail_msg("%s: element %lld between c's rows was written", table->name, (long long)i);
    free(before);
    free(written);
}

static void compare(const tn_kernels *table, const product *p)
{
    double *before = elements_of_c(p);
    assert_int_equal(table->gemm(p->dtype, &p->g), TN_OK);
    check_c(table, p, before);
}

static const int64_t shapes[][3] = {{1, 1, 1},   {1, 1, 37},    {1, 40, 5},   {1, 300, 70}, {70, 1, 33},
                                    {5, 3, 2},   {6, 16, 8},    {7, 17, 9},   {13, 33, 3},  {2, 64, 64},
                                    {12, 32, 4}, {3, 5, 600},   {33, 31, 29}, {96, 10, 40}, {10, 96, 7},
                                    {64, 48, 1}, {300, 20, 17}, {25, 70, 530},  {1, 1031, 29}, {1030, 1, 61},
                                    {50, 9, 800}, {53, 33, 53}, {150, 70, 531}};

/* Under an emulator (TENON_TEST_QUICK) and a sanitizer the large shapes would take minutes. */
static bool left_out(const int64_t *shape)
{
    return test_quickly() && shape[0] * shape[1] * shape[2] > (getenv("TENON_TEST_QUICK") ? 10000 : 100000);
}

static void test_shapes(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int dtype = TN_F32; dtype <= TN_F64 && !left_out(shapes[s]); dtype++)
                for (int layouts = 0; layouts < 9; layouts++) {
                    product p = product_new(dtype, s % 3 + 1, shapes[s][0], shapes[s][1], shapes[s][2], layouts % 3,
                                            layouts / 3);
                    compare(tables[t], &p);
                    product_free(&p);
                }
}

static void test_alpha_beta_bias_relu(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int how = 0; how < 64 && !left_out(shapes[s]); how++) {
                product p = product_new(how & 1 ? TN_F32 : TN_F64, 1, shapes[s][0], shapes[s][1], shapes[s][2], how >> 4 & 1,
                                        how >> 5);
                p.g.c_row = how & 8 ? p.g.n : p.g.c_row;
                p.g.alpha = how & 2 ? -0.75 : 1;
                p.g.beta = how & 4 ? 1.5 : how & 2 ? 0 : 1;
                p.g.bias = how & 8 ? p.g.b : NULL; /* any n numbers */
                p.g.activation = how & 8 ? TN_UNARY_RELU : 0;
                if (p.sizes[1] >= p.g.n)
                    compare(tables[t], &p);
                product_free(&p);
            }
}

static void test_dtypes(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int dtype = TN_F16; dtype <= TN_U8 && !left_out(shapes[s]); dtype++)
                for (int how = 0; how < 4; how++) {
                    product p = product_new(dtype, 2, shapes[s][0], shapes[s][1], shapes[s][2], how & 1, how >> 1);
                    p.g.alpha = how & 1 ? 2 : 1;
                    p.g.beta = how >> 1;
                    p.g.bias = how == 3 && p.sizes[1] >= p.g.n ? p.g.b : NULL;
                    /* After a wrap-around the sign is the processor's, which the plain loops here do not follow. */
                    p.g.activation = how == 3 && tn_dtype_is_float(dtype) ? TN_UNARY_RELU : 0;
                    compare(tables[t], &p);
                    product_free(&p);
                }
}

/* f32 whose operands are rounded to bf16, in pairs where the processor multiplies them. */
static void test_rounded(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int how = 0; how < 18 && !left_out(shapes[s]); how++) {
                product p = product_new(TN_F32, s % 3 + 1, shapes[s][0], shapes[s][1], shapes[s][2], how % 3, how / 3 % 3);
                p.g.rounded = true;
                p.g.alpha = how >= 9 ? -0.75 : 1;
                p.g.beta = how >= 9 ? 1.5 : 0;
                p.g.activation = how % 2 ? TN_UNARY_RELU : 0;
                compare(tables[t], &p);
                product_free(&p);
            }
}

/* What a[i] or b[i] becomes. */
typedef enum hard { POSITIVE, OF_EVERY_SIZE, ALIKE, CANCELLING, HARD } hard;
static float made_hard(hard how, float x, int64_t i)
{
    return how == POSITIVE ? fabsf(x) : how == OF_EVERY_SIZE ? ldexpf(x, (int)(i * 7 % 61) - 30) : how == ALIKE ? 0.1f : x;
}

static product hard_product(hard how, const int64_t *size, int layout)
{
    product p = product_new(TN_F32, 1, size[0], size[1], size[2], layout, layout);
    float *a = (float *)(uintptr_t)p.g.a, *b = (float *)(uintptr_t)p.g.b;
    p.alike = how == ALIKE;
    for (int64_t i = 0; i < p.sizes[0]; i++)
        a[i] = made_hard(how, a[i], i);
    for (int64_t i = 0; i < p.sizes[1]; i++)
        b[i] = made_hard(how, b[i], i / 3);
    const int64_t half = p.g.k / 2; /* what it gives, the other half takes away */
    for (int64_t q = half; q < 2 * half && how == CANCELLING; q++) {
        for (int64_t i = 0; i < p.g.m; i++)
            a[i * p.g.a_row + q * p.g.a_col] = -a[i * p.g.a_row + (q - half) * p.g.a_col];
        for (int64_t j = 0; j < p.g.n; j++)
            b[q * p.g.b_row + j * p.g.b_col] = b[(q - half) * p.g.b_row + j * p.g.b_col];
    }
    return p;
}

static void test_error(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{5, 9, 4096}, {33, 17, 1000}, {13, 40, 257}, {1, 50, 3000}, {70, 1, 2000}, {1, 1, 5000}, {12, 32, 31}};
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int how = 0; how < 4 * HARD && !left_out(sizes[s]); how++) {
                product p = hard_product((hard)(how / 4), sizes[s], how & 1);
                p.g.rounded = how & 2;
                compare(tables[t], &p);
                product_free(&p);
            }
}

/* A result so large that it is stored past the caches, by whole lines, the rows' last ones narrower; and one that begins within a line. */
static void test_past_the_caches(void **state)
{
    (void)state;
    for (int t = 0; t < table_count && !test_quickly(); t++)
        for (int how = 0; how < 3; how++) {
            product p = product_new(TN_F32, 1, 1030, 8208, 3, 0, how & 1);
            free(p.g.c);
            p.g.c_row = p.g.n;
            p.sizes[2] = (p.g.m * p.g.n + 31) / 16 * 16;
            float *lines = aligned_alloc(64, (size_t)p.sizes[2] * sizeof(float));
            memset(lines, 0, (size_t)p.sizes[2] * sizeof(float));
            p.g.c = lines + (how == 2);
            p.sizes[2] -= how == 2;
            p.g.rounded = how == 1;
            p.g.bias = p.g.b;
            p.g.activation = how ? TN_UNARY_RELU : 0;
            compare(tables[t], &p);
            p.g.c = lines;
            product_free(&p);
        }
}

/* What runs: the best table, with the slots that another library takes (bf16, by oneDNN, on some processors). A shape comes twice, since
 * what was made for it is kept. */
static void test_the_chosen_table(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int how = 0; how < 18 && !left_out(shapes[s]); how++) {
                product p = product_new(TN_BF16, s % 3 + 1, shapes[s][0], shapes[s][1], shapes[s][2], how % 3, how / 3 % 3);
                p.g.bias = how >= 9 && p.sizes[1] >= p.g.n ? p.g.b : NULL;
                p.g.activation = how % 2 ? TN_UNARY_RELU : 0;
                compare(tn_kernels_of(TN_CPU), &p);
                product_free(&p);
            }
    product p = product_new(TN_BF16, 3, 40, 50, 60, 0, 0); /* one b for the whole batch */
    p.g.b_batch = 0;
    compare(tn_kernels_of(TN_CPU), &p);
    product_free(&p);
}

static void test_no_product_of_bool(void **state)
{
    (void)state;
    bool a[1] = {true}, c[1];
    const tn_gemm g = {.batch = 1, .m = 1, .n = 1, .k = 1, .a = a, .b = a, .c = c, .a_row = 1, .a_col = 1, .b_row = 1,
                       .b_col = 1, .c_row = 1, .alpha = 1};
    for (int t = 0; t < table_count; t++) {
        assert_int_equal(tables[t]->gemm(TN_BOOL, &g), TN_ERR_DTYPE);
        check_error(TN_ERR_DTYPE, "bool");
    }
}

/* ---- corners ----------------------------------------------------------------------------------------------------- */

static void test_empty(void **state)
{
    (void)state;
    const int64_t empty[][3] = {{0, 4, 3}, {4, 0, 3}, {4, 20, 0}, {1, 1, 0}, {0, 0, 0}};
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof empty / sizeof *empty; s++)
            for (int dtype = TN_F32; dtype <= TN_U8; dtype++)
                for (int beta = 0; beta < 3; beta++) {
                    product p = product_new(dtype, 2, empty[s][0], empty[s][1], empty[s][2], 0, 0);
                    p.g.beta = beta;
                    compare(tables[t], &p);
                    product_free(&p);
                }
}

/* Beta 0 does not read c; 0 times infinity is NaN in its row and column and nowhere else; relu keeps NaN. */
static void test_nan(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (int dtype = TN_F32; dtype <= TN_F64; dtype++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
                product p = product_new(dtype, 1, shapes[s][0], shapes[s][1], shapes[s][2], 0, 0);
                const int64_t row = p.g.m / 2, col = p.g.n / 2;
                for (int64_t i = 0; i < p.sizes[2]; i++)
                    store(dtype, p.g.c, i, NAN);
                store(dtype, (void *)(uintptr_t)p.g.a, row * p.g.a_row, INFINITY);
                store(dtype, (void *)(uintptr_t)p.g.b, col, 0);
                p.g.activation = TN_UNARY_RELU;
                assert_int_equal(tables[t]->gemm(dtype, &p.g), TN_OK);
                for (int64_t i = 0; i < p.g.m; i++)
                    for (int64_t j = 0; j < p.g.n; j++)
                        assert_int_equal(isnan(load(dtype, p.g.c, i * p.g.c_row + j)) != 0, i == row && j == col);
                product_free(&p);
            }
}

static void test_bits_on_any_threads(void **state)
{
    (void)state;
    const int64_t large[][3] = {{200, 300, 150}, {7, 1000, 64},   {1, 5003, 285}, {5003, 1, 285},
                                {256, 10, 1024}, {10, 1024, 256}, {500, 90, 700}};
    const int threads = tn_get_num_threads();
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof large / sizeof *large; s++)
            for (int how = 0; how < 12 && !left_out(large[s]); how++) {
                product p = product_new(how & 1 || how >= 8 ? TN_F32 : TN_F64, how & 2 ? 2 : 1, large[s][0], large[s][1],
                                        large[s][2], how & 1, how >> 2);
                p.g.rounded = how >= 8;
                const size_t bytes = (size_t)p.sizes[2] * tn_dtype_size(p.dtype);
                void *first = malloc(bytes);
                for (int n = 1; n <= 5; n++) {
                    assert_int_equal(tn_set_num_threads(n), TN_OK);
                    assert_int_equal(tables[t]->gemm(p.dtype, &p.g), TN_OK);
                    if (n == 1)
                        memcpy(first, p.g.c, bytes);
                    else
                        assert_memory_equal(first, p.g.c, bytes);
                }
                free(first);
                product_free(&p);
            }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

/* A product with the sums of a's rows and with one beside it, each there or not: all are right, and have the same bits on any threads. */
static void check_beside(const tn_kernels *table, int dtype, const int64_t *shape, int how)
{
    product p = product_new(dtype, 1, shape[0], shape[1], shape[2], how & 4 ? 0 : 1, how & 8 ? 0 : 1), q = product_new(dtype, 1, shape[2], shape[1], shape[0], 0, how & 8 ? 1 : 0);
    product sums = product_new(dtype, 1, shape[0], 1, shape[2], 0, 0);
    void *const own[] = {(void *)(uintptr_t)q.g.a, (void *)(uintptr_t)sums.g.a};
    q.g.a = sums.g.a = p.g.a;
    q.g.a_row = p.g.a_col, q.g.a_col = p.g.a_row, sums.g.a_row = p.g.a_row, sums.g.a_col = p.g.a_col, sums.g.c_row = 1;
    for (int64_t i = 0; i < sums.sizes[1]; i++)
        store(dtype, (void *)(uintptr_t)sums.g.b, i, 1);
    p.g.a_sums = how & 1 ? sums.g.c : NULL;
    p.g.beside = how & 2 ? &q.g : NULL;
    product *const all[] = {&p, &q, &sums};
    const bool due[] = {true, how & 2, how & 1};
    double *before[3], *first[3];
    for (int i = 0; i < 3; i++)
        before[i] = elements_of_c(all[i]);
    const int threads = tn_get_num_threads();
    for (int n = 1; n <= 5; n += 2) {
        assert_int_equal(tn_set_num_threads(n), TN_OK);
        assert_int_equal(table->gemm(dtype, &p.g), TN_OK);
        for (int i = 0; i < 3; i++) {
            double *now = elements_of_c(all[i]);
            if (n == 1)
                first[i] = now;
            else
                assert_memory_equal(now, first[i], (size_t)all[i]->sizes[2] * sizeof(double));
            if (n > 1)
                free(now);
        }
    }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    q.g.a = p.g.a;
    for (int i = 0; i < 3; i++) {
        if (!due[i])
            assert_memory_equal(before[i], first[i], (size_t)all[i]->sizes[2] * sizeof(double));
        free(first[i]);
        if (due[i])
            check_c(table, all[i], before[i]);
        else
            free(before[i]);
    }
    q.g.a = own[0], sums.g.a = own[1];
    product_free(&p);
    product_free(&q);
    product_free(&sums);
}

static void test_beside(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{96, 1, 1}, {96, 1, 3}, {17, 2, 70}, {65, 2, 70}, {130, 3, 1031}, {16, 4, 9}, {15, 1, 20}, {1030, 4, 7}, {1024, 4, 150}, {40, 5, 33}, {96, 1, 5003}};
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int how = 0; how < 32 && !left_out(sizes[s]); how++)
                check_beside(tables[t], how & 16 ? TN_F64 : TN_F32, sizes[s], how & 15);
}

/* Infinity stays what it is: no lane without an element has a part in a sum. */
static void test_beside_infinity(void **state)
{
    (void)state;
    float a[2 * 69], b[2] = {1, 2}, w[69], c[69], sums[69], back[2];
    for (int i = 0; i < 69; i++)
        a[i] = a[69 + i] = w[i] = 1;
    a[66] = INFINITY;
    const tn_gemm beside = {.batch = 1, .m = 2, .n = 1, .k = 69, .a = a, .b = w, .c = back, .a_row = 69, .a_col = 1, .b_row = 1, .b_col = 1, .c_row = 1, .alpha = 1};
    const tn_gemm g = {.batch = 1, .m = 69, .n = 1, .k = 2, .a = a, .b = b, .c = c, .a_row = 1, .a_col = 69, .b_row = 1, .b_col = 1, .c_row = 1, .alpha = 1,
                       .a_sums = sums, .beside = &beside};
    for (int t = 0; t < table_count; t++) {
        assert_int_equal(tables[t]->gemm(TN_F32, &g), TN_OK);
        for (int i = 0; i < 69; i++) {
            assert_float_equal(c[i], i == 66 ? INFINITY : 3, 0);
            assert_float_equal(sums[i], i == 66 ? INFINITY : 2, 0);
        }
        assert_true(isinf(back[0]) && back[0] > 0);
        assert_float_equal(back[1], 69, 0);
    }
}

static void *no_memory(size_t size, void *context) { return (void)size, (void)context, NULL; }
static void no_free(void *memory, size_t size, void *context) { (void)memory, (void)size, (void)context; }

/* Nor on where a tile ends: some rows and columns alone are as they are among all. */
static void test_bits_of_a_part(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (int how = 0; how < 16; how++) {
            product p = product_new(how & 1 ? TN_F64 : TN_F32, 1, 60, 100, 96, how >> 1 & 1, how >> 2 & 1);
            const size_t item = tn_dtype_size(p.dtype), bytes = (size_t)p.sizes[2] * item;
            char *whole = malloc(bytes), *part = malloc(bytes);
            p.g.alpha = 0.3, p.g.beta = 1.25, p.g.rounded = how & 8;
            memcpy(whole, p.g.c, bytes);
            memcpy(part, p.g.c, bytes);
            tn_gemm g = p.g;
            g.c = whole;
            assert_int_equal(tables[t]->gemm(p.dtype, &g), TN_OK);
            g.c = part, g.m = 55, g.n = 77;
            assert_int_equal(tables[t]->gemm(p.dtype, &g), TN_OK);
            for (int64_t i = 0; i < g.m; i++)
                assert_memory_equal(whole + (size_t)(i * g.c_row) * item, part + (size_t)(i * g.c_row) * item, (size_t)g.n * item);
            free(whole);
            free(part);
            product_free(&p);
        }
}

static void test_no_memory(void **state)
{
    (void)state;
    const tn_allocator none = {no_memory, no_free, NULL};
    for (int t = 0; t < table_count; t++)
        for (int dtype = TN_F32; dtype <= TN_F16; dtype++) {
            product p = product_new(dtype, 1, 100, 100, 100, 0, 0);
            assert_int_equal(tn_set_allocator(&none), TN_OK);
            for (int thin = 0; thin <= (dtype == TN_F32); thin++) { /* one of few columns, which has sums of its own */
                float sums[100];
                if (thin)
                    p.g.a_sums = sums, p.g.n = p.g.a_row = 1;
                assert_int_equal(tables[t]->gemm(dtype, &p.g), TN_ERR_MEMORY);
                assert_int_equal(tn_last_status(), TN_ERR_MEMORY);
                tn_clear_error();
            }
            assert_int_equal(tn_set_allocator(NULL), TN_OK);
            product_free(&p);
        }
}

/* Large results of few terms: with a bias and a ReLU, rounded, on any threads, of any strides. */
static void test_few_terms(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{2737, 96, 1}, {4099, 70, 2}, {2051, 130, 3}, {16385, 16, 4}, {320, 900, 4}, {2737, 96, 5}};
    const tn_allocator none = {no_memory, no_free, NULL};
    const int threads = tn_get_num_threads();
    for (int t = 0; t < table_count; t++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int how = 0; how < 8 && !left_out(sizes[s]); how++) {
                product p = product_new(TN_F32, 1, sizes[s][0], sizes[s][1], sizes[s][2], how % 3, how & 1);
                p.g.c_row = how & 1 ? p.g.n : p.g.c_row;
                p.g.bias = how & 2 ? p.g.a : NULL; /* any n numbers */
                p.g.activation = how & 2 ? TN_UNARY_RELU : 0;
                p.g.rounded = how & 4;
                assert_int_equal(tn_set_num_threads(1 + how % 5), TN_OK);
                compare(tables[t], &p);
                if (sizes[s][2] <= 4) {
                    assert_int_equal(tn_set_allocator(&none), TN_OK);
                    assert_int_equal(tables[t]->gemm(TN_F32, &p.g), sizes[s][1] < 900 ? TN_ERR_MEMORY : TN_OK);
                    tn_clear_error();
                    assert_int_equal(tn_set_allocator(NULL), TN_OK);
                }
                product_free(&p);
            }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_shapes),
                                       TEST(test_alpha_beta_bias_relu),
                                       TEST(test_rounded),
                                       TEST(test_error),
                                       TEST(test_past_the_caches),
                                       TEST(test_dtypes),
                                       TEST(test_the_chosen_table),
                                       TEST(test_empty),
                                       TEST(test_no_product_of_bool),
                                       TEST(test_nan),
                                       TEST(test_bits_on_any_threads), TEST(test_bits_of_a_part),
                                       TEST(test_beside), TEST(test_beside_infinity), TEST(test_few_terms),
                                       TEST(test_no_memory)};
    find_tables();
    if (test_quickly())
        print_message("the largest products are left to the plain run: here they take minutes\n");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
