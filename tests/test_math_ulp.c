/* The vector functions, through the kernels, against the C library in double: errors in units in the last place over floats of every
 * size and sign, and the special values; conversions of 16-bit floats, all of them.  labels: isa, quick */
#include "check.h"

#include "kernels/kernels.h"
#include "ulp.h"

enum { BLOCK = 4096 };
static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void run(tn_unary_op op, float *y, const float *x, int n)
{
    const double none[2] = {0, 0};
    tn_loop loop = {.ndim = 1, .operands = 2, .sizes = {n}, .strides = {{4}, {4}}, .data = {(char *)y, (char *)(uintptr_t)x}};
    assert_int_equal(tn_kernels_of(TN_CPU)->unary(op, TN_F32, none, &loop), TN_OK);
}

static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double reciprocal(double x) { return 1 / x; }

static const struct {
    const char *name;
    tn_unary_op op;
    double (*exact)(double);
    double ulps;
} functions[] = {
    {"exp", TN_UNARY_EXP, exp, 1.1},          {"expm1", TN_UNARY_EXPM1, expm1, 1.6},    {"log", TN_UNARY_LOG, log, 1},
    {"log1p", TN_UNARY_LOG1P, log1p, 1.1},    {"log2", TN_UNARY_LOG2, log2, 1.5},       {"sqrt", TN_UNARY_SQRT, sqrt, 0.5},
    {"rsqrt", TN_UNARY_RSQRT, rsqrt, 1.5},    {"reciprocal", TN_UNARY_RECIPROCAL, reciprocal, 0.5},
    {"sin", TN_UNARY_SIN, sin, 1.6},          {"cos", TN_UNARY_COS, cos, 1.6},          {"tanh", TN_UNARY_TANH, tanh, 1.5},
    {"erf", TN_UNARY_ERF, erf, 1.3},          {"sigmoid", TN_UNARY_SIGMOID, sigmoid, 2.2},
    {"floor", TN_UNARY_FLOOR, floor, 0},      {"ceil", TN_UNARY_CEIL, ceil, 0},         {"round", TN_UNARY_ROUND, rint, 0},
};

static void check_block(int f, const float *x, int n)
{
    static float y[BLOCK];
    run(functions[f].op, y, x, n);
    for (int i = 0; i < n; i++) {
        double exact = functions[f].exact((double)x[i]), error = ulps(y[i], exact);
        if (!(error <= functions[f].ulps + 1e-6))
            fail_msg("%s(%a) is %a, and %.17g is exact: %.3g ulp", functions[f].name, (double)x[i], (double)y[i], exact, error);
    }
}

static void test_everywhere(void **state)
{
    (void)state;
    static float x[BLOCK];
    const uint64_t step = test_emulated() ? 20011 : 2003;
    for (int f = 0; f < (int)(sizeof functions / sizeof functions[0]); f++) {
        int n = 0;
        for (uint64_t bits = 0; bits < 1ull << 32; bits += step) {
            x[n++] = float_of((uint32_t)bits);
            if (n == BLOCK) {
                check_block(f, x, n);
                n = 0;
            }
        }
        check_block(f, x, n);
    }
}

/* Where the interesting things happen: around 0, 1 and the pieces' borders, each float of a short range. */
static void test_densely(void **state)
{
    (void)state;
    static const float centres[] = {0.0f, 0.3465736f, 0.625f, 0.70710678f, 0.92f, 1.0f, 1.41421356f, 3.14159265f, 4.0f, 88.72283f, 103.97f};
    static float x[BLOCK];
    for (int f = 0; f < (int)(sizeof functions / sizeof functions[0]); f++)
        for (int c = 0; c < (int)(sizeof centres / sizeof centres[0]); c++)
            for (int sign = 0; sign < 2; sign++) {
                uint32_t middle = bits_of(centres[c]);
                for (int i = 0; i < BLOCK; i++)
                    x[i] = float_of((middle < BLOCK / 2 ? (uint32_t)i : middle - BLOCK / 2 + (uint32_t)i) | (sign ? 0x80000000u : 0));
                check_block(f, x, BLOCK);
            }
}

static void test_special_values(void **state)
{
    (void)state;
    const float x[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, -1.0f, 1.0f, 0x1p-149f, -0x1p-149f, 0x1.fffffep127f, -0x1.fffffep127f, 1e10f, 3e38f};
    for (int f = 0; f < (int)(sizeof functions / sizeof functions[0]); f++)
        check_block(f, x, (int)(sizeof x / sizeof x[0]));
}

static void run_binary(tn_binary_op op, float *y, const float *a, const float *b, int n, bool one)
{
    tn_loop loop = {.ndim = 1, .operands = 3, .sizes = {n}, .strides = {{4}, {4}, {one ? 0 : 4}}};
    loop.data[0] = (char *)y, loop.data[1] = (char *)(uintptr_t)a, loop.data[2] = (char *)(uintptr_t)b;
    assert_int_equal(tn_kernels_of(TN_CPU)->binary(op, TN_F32, &loop), TN_OK);
}

/* A result's bits do not depend on how many numbers lie beside it, and nothing is written beyond them. */
static void test_places(void **state)
{
    (void)state;
    static const tn_unary_op unary[] = {TN_UNARY_EXP, TN_UNARY_GELU, TN_UNARY_GELU_TANH, TN_UNARY_SIGMOID, TN_UNARY_SILU, TN_UNARY_TANH};
    static const tn_binary_op binary[] = {TN_BINARY_GELU_BACKWARD, TN_BINARY_SILU_BACKWARD, TN_BINARY_SWIGLU};
    enum { MOST = 100, UNARY = sizeof unary / sizeof *unary, ALL = UNARY + 2 * sizeof binary / sizeof *binary };
    float x[MOST], other[MOST], alone[MOST], y[MOST + 1];
    for (int i = 0; i < MOST; i++)
        x[i] = (float)(i % 2 ? i : -i) * (i % 3 ? 0.05f : 1.1f), other[i] = (float)(i - 31) * 0.125f;
    for (int k = 0; k < ALL; k++) {
        const bool one = k % 2; /* of binary ones: b is one number */
        for (int n = 0; n <= MOST; n++) { /* 0: each number alone */
            const int times = n ? 1 : MOST, numbers = n ? n : 1;
            for (int i = 0; i < times; i++) {
                const int from = n ? MOST - n : i;
                float *to = n ? y : alone + i;
                y[n] = 7;
                if (k < UNARY)
                    run(unary[k], to, x + from, numbers);
                else
                    run_binary(binary[(k - UNARY) / 2], to, x + from, one ? x + 5 : other + from, numbers, one);
            }
            assert_memory_equal(y, alone + MOST - n, (size_t)n * sizeof *y);
            assert_true(y[n] == 7);
        }
    }
}

static double gelu(double x) { return x * 0.5 * erfc(-x * 0.70710678118654752440); }
static double gelu_tanh(double x) { return x * 0.5 * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))); }
static double silu(double x) { return x * sigmoid(x); }
static double mish(double x) { return x * tanh(x > 20 ? x : log1p(exp(x))); }
static double softplus(double x) { return x > 20 ? x : log1p(exp(x)); }
static double elu(double x) { return x > 0 ? x : expm1(x); }
static double hardswish(double x) { return x >= 3 ? x : x <= -3 ? 0 : x * (x + 3) / 6; }
static double gelu_slope(double x) { return 0.5 * erfc(-x * 0.70710678118654752440) + x * 0.39894228040143267794 * exp(-0.5 * x * x); }
static double gelu_tanh_slope(double x)
{
    const double t = tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t + x * (1 - t * t) * 0.79788456080286535588 * (1 + 0.134145 * x * x));
}
static double silu_slope(double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }
static double sigmoid_slope(double y) { return y * (1 - y); }
static double tanh_slope(double y) { return 1 - y * y; }

static double of_result(double x, double y) { return (void)x, y; }
static double of_argument(double x, double y) { return (void)y, x; }
static double of_one(double x, double y) { return (void)x, (void)y, 1; }

typedef struct activation {
    const char *name;
    int op;
    double (*exact)(double), (*size)(double x, double y), low, high, ulps;
} activation;

/* n of them from low to high, a quarter of them near 0, of every size. */
static void arguments(const activation *f, float *x, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] = (float)(f->low + (f->high - f->low) * i / n);
        if (i % 4 == 3) /* 2^-40 ... */
            x[i] = (float)fmax(f->low, fmin(f->high, (i % 8 == 3 ? 1 : -1) * ldexp(1 + i / (double)n, i / 8 % 48 - 40)));
    }
}

static void check_activation(const activation *f, const float *x, const float *y, int n)
{
    for (int i = 0; i < n; i++) {
        const double exact = f->exact((double)x[i]), error = ulps_of(y[i], exact, f->size((double)x[i], exact));
        if (!(error <= f->ulps))
            fail_msg("%s(%a) is %a, and %.17g is exact: %.3g ulp", f->name, (double)x[i], (double)y[i], exact, error);
    }
}

/* Of the result; GELU far below 0 and the hard swish above -3 have the error of a factor that is about 1 beside it: of the argument. */
static void test_activations(void **state)
{
    (void)state;
    static const activation all[] = {
        {"gelu", TN_UNARY_GELU, gelu, of_argument, -30, 30, 6},
        {"gelu_tanh", TN_UNARY_GELU_TANH, gelu_tanh, of_argument, -30, 30, 1.3},
        {"silu", TN_UNARY_SILU, silu, of_result, -80, 100, 3},
        {"mish", TN_UNARY_MISH, mish, of_result, -80, 100, 2.8},
        {"softplus", TN_UNARY_SOFTPLUS, softplus, of_result, -80, 100, 1.5},
        {"elu", TN_UNARY_ELU, elu, of_result, -100, 10, 0.9},
        {"hardswish", TN_UNARY_HARDSWISH, hardswish, of_argument, -4, 4, 1.1},
    };
    enum { N = 1 << 16 };
    static float x[N], y[N];
    for (size_t f = 0; f < sizeof all / sizeof *all; f++) {
        tn_loop loop = {.ndim = 1, .operands = 2, .sizes = {N}, .strides = {{4}, {4}}, .data = {(char *)y, (char *)x}};
        arguments(&all[f], x, N);
        assert_int_equal(tn_kernels_of(TN_CPU)->unary((tn_unary_op)all[f].op, TN_F32, (double[]){1, 20}, &loop), TN_OK);
        check_activation(&all[f], x, y, N);
    }
}

/* Gradients' factors, by gradients of 1: of the result where nothing cancels, else of 1, about which the largest is. */
static void test_slopes(void **state)
{
    (void)state;
    static const activation all[] = {
        {"gelu's slope", TN_BINARY_GELU_BACKWARD, gelu_slope, of_one, -30, 30, 1.4},
        {"gelu_tanh's slope", TN_BINARY_GELU_TANH_BACKWARD, gelu_tanh_slope, of_one, -30, 30, 5},
        {"silu's slope", TN_BINARY_SILU_BACKWARD, silu_slope, of_one, -80, 100, 9},
        {"sigmoid's slope", TN_BINARY_SIGMOID_BACKWARD, sigmoid_slope, of_result, 0, 1, 1.1},
        {"tanh's slope", TN_BINARY_TANH_BACKWARD, tanh_slope, of_one, -1, 1, 0.5},
    };
    enum { N = 1 << 16 };
    static float x[N], y[N], one[1] = {1};
    for (size_t f = 0; f < sizeof all / sizeof *all; f++) {
        tn_loop loop = {.ndim = 1, .operands = 3, .sizes = {N}, .strides = {{4}, {0}, {4}}, .data = {(char *)y, (char *)one, (char *)x}};
        arguments(&all[f], x, N);
        assert_int_equal(tn_kernels_of(TN_CPU)->binary((tn_binary_op)all[f].op, TN_F32, &loop), TN_OK);
        check_activation(&all[f], x, y, N);
    }
}

/* ---- 16-bit floats -------------------------------------------------------------------------------------------------------- */

static void cast(tn_dtype to, void *y, tn_dtype from, const void *x, int n)
{
    tn_loop loop = {.ndim = 1, .operands = 2, .sizes = {n}, .data = {y, (char *)(uintptr_t)x}};
    loop.strides[0][0] = (int64_t)tn_dtype_size(to);
    loop.strides[1][0] = (int64_t)tn_dtype_size(from);
    assert_int_equal(tn_kernels_of(TN_CPU)->cast(to, from, &loop), TN_OK);
}

static double half_value(uint32_t bits)
{
    int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    double size = exponent == 31 ? (fraction ? NAN : INFINITY) : exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return bits & 0x8000 ? -size : size;
}
static double bf16_value(uint32_t bits) { return (double)float_of(bits << 16); }

/* Every value is loaded exactly and stored back to the same bits; in between, the nearer neighbour is taken, of two the even one. */
static void check_format(tn_dtype dtype, double (*value)(uint32_t), uint32_t infinity)
{
    static uint16_t bits[65536], back[65536];
    static float loaded[65536], between[65536];
    for (uint32_t i = 0; i < 65536; i++)
        bits[i] = (uint16_t)i;
    cast(TN_F32, loaded, dtype, bits, 65536);
    cast(dtype, back, TN_F32, loaded, 65536);
    for (uint32_t i = 0; i < 65536; i++) {
        bool nan = isnan(value(i));
        if (nan ? !isnan(loaded[i]) : (double)loaded[i] != value(i) || (signbit(loaded[i]) != 0) != (i >> 15 != 0))
            fail_msg("%s: bits %04x are loaded as %a", tn_dtype_name(dtype), i, (double)loaded[i]);
        if (nan ? !isnan(value(back[i])) : back[i] != i)
            fail_msg("%s: bits %04x come back as %04x", tn_dtype_name(dtype), i, back[i]);
    }
    for (int step = 1; step < 8; step++) {
        for (uint32_t i = 0; i < infinity; i++) {
            double low = value(i), high = i + 1 < infinity ? value(i + 1) : 2 * low - value(i - 1);
            between[i] = (float)(low + (high - low) * step / 8);
        }
        cast(dtype, back, TN_F32, between, (int)infinity);
        for (uint32_t i = 0; i < infinity; i++) {
            uint32_t due = step < 4 || (step == 4 && i % 2 == 0) ? i : i + 1;
            if (back[i] != due)
                fail_msg("%s: %a is stored as %04x, not %04x", tn_dtype_name(dtype), (double)between[i], back[i], due);
        }
    }
}
static void test_f16(void **state)
{
    (void)state;
    check_format(TN_F16, half_value, 0x7c00);
}
static void test_bf16(void **state)
{
    (void)state;
    check_format(TN_BF16, bf16_value, 0x7f80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_everywhere), TEST(test_densely), TEST(test_special_values), TEST(test_places),
                                       TEST(test_activations), TEST(test_slopes), TEST(test_f16), TEST(test_bf16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
