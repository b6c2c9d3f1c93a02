/* Random numbers. labels: isa, quick, threads */
#include "cases.h"

#include "kernels/kernels.h"
#include "kernels/philox.h"

#include <stdlib.h>

/* The known answers of Random123 (kat_vectors, philox4x32 with 10 rounds). */
static void known_answers(void **state)
{
    (void)state;
    static const struct { uint32_t counter[4], key[2], out[4]; } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t out[4];
        tn_philox(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
}

/* Every element is the one that kernels.h says, whatever the length and the counter's carry. */
static void elements_by_definition(void **state)
{
    (void)state;
    uint64_t seed = 0x123456789abcdef0u, offset = 0xfffffffeu;
    for (int64_t n = 1; n < 2000; n += n < 20 ? 1 : 333) {
        uint64_t bits[2000];
        float u[2000];
        double d[2000];
        tn_random_fill fill = {.kind = TN_RANDOM_BITS, .dtype = TN_I64, .n = n, .out = bits, .seed = seed, .offset = offset};
        assert_int_equal(tn_kernels_of(TN_CPU)->random(&fill), TN_OK);
        fill = (tn_random_fill){.kind = TN_RANDOM_UNIFORM, .dtype = TN_F32, .n = n, .out = u, .seed = seed, .offset = offset, .b = 1};
        assert_int_equal(tn_kernels_of(TN_CPU)->random(&fill), TN_OK);
        fill.dtype = TN_F64;
        fill.out = d;
        assert_int_equal(tn_kernels_of(TN_CPU)->random(&fill), TN_OK);
        for (int64_t i = 0; i < n; i++) {
            uint64_t wide = tn_philox_bits(seed, offset + (uint64_t)i / 2, 0, (int)(i & 1));
            uint64_t pair = tn_philox_bits(seed, offset + (uint64_t)i / 4, 0, (int)(i >> 1 & 1));
            uint32_t lane = (uint32_t)(i & 1 ? pair : pair >> 32);
            assert_true(bits[i] == wide);
            assert_true(u[i] == (float)(lane >> 8) * 0x1p-24f);
            assert_true(d[i] == (double)(wide >> 11) * 0x1p-53);
        }
    }
}

enum { N = 300001 };

static tn_tensor *every_kind(int kind)
{
    switch (kind) {
    case 0: return tn_rand(TN_SHAPE(N));
    case 1: return tn_rand(TN_SHAPE(N), .dtype = TN_F64);
    case 2: return tn_randn(TN_SHAPE(N));
    case 3: return tn_randn(TN_SHAPE(N), .dtype = TN_F64);
    case 4: return tn_randint(TN_SHAPE(N), -5, 12);
    case 5: return tn_uniform(TN_SHAPE(N), -3, 7);
    case 6: return tn_normal(TN_SHAPE(N), 2, 3);
    case 7: return tn_randperm(N);
    case 8: return tn_rand(TN_SHAPE(N), .dtype = TN_F16);
    case 9: return tn_rand(TN_SHAPE(N), .dtype = TN_BF16);
    case 10: return tn_dropout(tn_ones(TN_SHAPE(N)), 0.3, true);
    case 11: return tn_dropout(tn_ones(TN_SHAPE(N), .dtype = TN_F64), 0.75, true);
    default: return tn_bernoulli(tn_full(TN_SHAPE(N), 0.3));
    }
}

static void threads_and_seeds(void **state)
{
    (void)state;
    int threads = tn_get_num_threads();
    for (int kind = 0; kind <= 12; kind++) {
        tn_manual_seed(7);
        assert_int_equal(tn_set_num_threads(1), TN_OK);
        tn_tensor *one = every_kind(kind);
        tn_random_state after = tn_get_random_state();
        tn_tensor *next = every_kind(kind);
        tn_manual_seed(7);
        assert_int_equal(tn_set_num_threads(2), TN_OK);
        tn_tensor *two = every_kind(kind);
        check_good();
        assert_true(tn_equal(one, two));
        assert_false(tn_equal(one, next));
        tn_set_random_state(after);
        assert_true(tn_equal(next, every_kind(kind)));
        tn_manual_seed(8);
        assert_false(tn_equal(one, every_kind(kind)));
    }
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
    check_good();
}

static void moments_are(tn_tensor *x, double mean, double var, double least, double below)
{
    static double v[N];
    double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
    check_good();
    assert_int_equal(tn_to_doubles(x, v, N), TN_OK);
    for (int i = 0; i < N; i++) {
        sum += v[i];
        low = v[i] < low ? v[i] : low;
        high = v[i] > high ? v[i] : high;
    }
    for (int i = 0; i < N; i++)
        squares += (v[i] - sum / N) * (v[i] - sum / N);
    double error = 5 * sqrt(var / N); /* five standard errors */
    if (fabs(sum / N - mean) > error || fabs(squares / N / var - 1) > 5 * sqrt(3.0 / N) || low < least || high >= below)
        fail_msg("mean %g, variance %g, from %g to %g; %g, %g, %g, %g were due", sum / N, squares / N, low, high, mean, var, least, below);
}

static void moments(void **state)
{
    (void)state;
    tn_manual_seed(11);
    moments_are(every_kind(0), 0.5, 1.0 / 12, 0, 1);
    moments_are(every_kind(1), 0.5, 1.0 / 12, 0, 1);
    moments_are(every_kind(2), 0, 1, -7, 7);
    moments_are(every_kind(3), 0, 1, -7, 7);
    moments_are(every_kind(4), 3, (17.0 * 17 - 1) / 12, -5, 12);
    moments_are(every_kind(5), 2, 100.0 / 12, -3, 7);
    moments_are(every_kind(6), 2, 9, -30, 30);
    moments_are(every_kind(8), 0.5 - 0x1p-12, 1.0 / 12, 0, 1);
    moments_are(every_kind(9), 0.5 - 0x1p-9, 1.0 / 12, 0, 1);
    moments_are(every_kind(10), 1, 0.3 / 0.7, 0, 1.43);
    moments_are(every_kind(11), 1, 3, 0, 4.1);
    moments_are(every_kind(12), 0.3, 0.21, 0, 1.1);
    moments_are(tn_rand_like(tn_zeros(TN_SHAPE(1, N)), .dtype = TN_F64), 0.5, 1.0 / 12, 0, 1);
    moments_are(tn_randn_like(tn_zeros(TN_SHAPE(N))), 0, 1, -7, 7);
}

/* Normals against the C library's functions, to some units in the last place. */
static void normals_by_formula(void **state)
{
    (void)state;
    static double wide[10000];
    static float narrow[10000];
    double worst = 0, worst_narrow = 0, pi = acos(-1);
    tn_random_fill fill = {.kind = TN_RANDOM_NORMAL, .dtype = TN_F64, .n = 10000, .out = wide, .seed = 3, .offset = 9, .b = 1};
    assert_int_equal(tn_kernels_of(TN_CPU)->random(&fill), TN_OK);
    fill.dtype = TN_F32;
    fill.out = narrow;
    assert_int_equal(tn_kernels_of(TN_CPU)->random(&fill), TN_OK);
    for (int i = 0; i < 10000; i += 2) {
        uint64_t first = tn_philox_bits(3, 9 + (uint64_t)i / 2, 0, 0) >> 11, second = tn_philox_bits(3, 9 + (uint64_t)i / 2, 0, 1) >> 11;
        double radius = sqrt(-2 * log(1 - (double)first * 0x1p-53)), angle = 2 * pi * ((double)second * 0x1p-53);
        worst = fmax(worst, fmax(fabs(wide[i] - radius * cos(angle)), fabs(wide[i + 1] - radius * sin(angle))));
        uint64_t pair = tn_philox_bits(3, 9 + (uint64_t)i / 4, 0, i >> 1 & 1);
        radius = sqrt(-2 * log((double)(float)(int32_t)(pair >> 33) * 0x1p-31 + 0x1p-32));
        angle = 2 * pi * ((double)((uint32_t)pair >> 2) * 0x1p-30);
        worst_narrow = fmax(worst_narrow, fmax(fabs(narrow[i] - radius * cos(angle)), fabs(narrow[i + 1] - radius * sin(angle))));
    }
    assert_true(worst < 4e-15);
    assert_true(worst_narrow < 2e-6);
}

static void permutations(void **state)
{
    (void)state;
    int64_t order[1000], seen[1000] = {0}, first[3] = {0};
    assert_int_equal(tn_to_ints(tn_randperm(1000), order, 1000), TN_OK);
    for (int i = 0; i < 1000; i++)
        seen[order[i]]++;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    for (int i = 0; i < 3000; i++) {
        TN_SCOPE;
        assert_int_equal(tn_to_ints(tn_randperm(3), order, 3), TN_OK);
        first[order[0]]++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(first[i], 850, 1150);
    assert_int_equal(tn_numel(tn_randperm(0)), 0);
    for (int i = 0; i < 1000; i++)
        assert_true(tn_random_below(7) < 7);
    check_good();
}

/* Shares of the draws, an index of probability 0 among none of them, and without replacement each once and the first as with it. */
static void multinomials(void **state)
{
    (void)state;
    tn_manual_seed(3);
    enum { ROWS = 4000 };
    const float p[4] = {1, 0, 3, 6};
    int64_t many[5000], pairs[2 * ROWS], with[4] = {0}, first[4] = {0}, second[4] = {0};
    assert_int_equal(tn_to_ints(tn_multinomial(tn_from_floats(p, TN_SHAPE(4)), 5000, .replacement = true), many, 5000), TN_OK);
    tn_tensor *rows = tn_contiguous(tn_expand(tn_from_floats(p, TN_SHAPE(1, 4)), TN_SHAPE(ROWS, 4)));
    assert_int_equal(tn_to_ints(tn_multinomial(rows, 2), pairs, 2 * ROWS), TN_OK);
    for (int i = 0; i < 5000; i++)
        with[many[i]]++;
    for (int i = 0; i < ROWS; i++) {
        assert_int_not_equal(pairs[2 * i], pairs[2 * i + 1]);
        first[pairs[2 * i]]++;
        second[pairs[2 * i + 1]]++;
    }
    assert_in_range(with[0], 420, 580);
    assert_in_range(with[2], 1380, 1620);
    assert_in_range(first[0], 320, 480);
    assert_in_range(first[3], 2300, 2500);
    assert_in_range(second[0], 0.1 * ROWS * (3. / 7 + 6. / 4) - 100, 0.1 * ROWS * (3. / 7 + 6. / 4) + 100);
    assert_int_equal(with[1] + first[1] + second[1], 0);
    tn_tensor *one = tn_multinomial(rows, 3, .replacement = true);
    assert_int_equal(tn_ndim(one), 2);
    assert_int_equal(tn_size(one, 1), 3);
    check_good();
}

/* Large ranges: every value in range, and the halves equally likely. */
static void large_integers(void **state)
{
    (void)state;
    int64_t v[2000], high = 0;
    double bound = 0x1p62 * 1.5;
    assert_int_equal(tn_to_ints(tn_randint(TN_SHAPE(2000), -bound / 2, bound / 2), v, 2000), TN_OK);
    for (int i = 0; i < 2000; i++) {
        assert_true((double)v[i] >= -bound / 2 && (double)v[i] < bound / 2);
        high += v[i] >= 0;
    }
    assert_in_range(high, 880, 1120);
    assert_int_equal(tn_to_ints(tn_randint(TN_SHAPE(2000), 0, 2, .dtype = TN_U8), v, 2000), TN_OK);
    check_good();
}

static void bad_inputs(void **state)
{
    (void)state;
    assert_null(tn_rand(TN_SHAPE(2), .dtype = TN_I32));
    check_error(TN_ERR_DTYPE, "rand: int32 cannot hold it");
    assert_null(tn_randint(TN_SHAPE(2), 3, 3));
    check_error(TN_ERR_ARGUMENT, "randint: low 3 and high 3");
    assert_null(tn_randint(TN_SHAPE(2), 0, 257, .dtype = TN_U8));
    check_error(TN_ERR_ARGUMENT, "randint: 0 to 256 do not all fit into uint8");
    assert_null(tn_randint(TN_SHAPE(2), -129, 5, .dtype = TN_I8));
    check_error(TN_ERR_ARGUMENT, "randint: -129 to 4 do not all fit into int8");
    assert_non_null(tn_randint(TN_SHAPE(2), -128, 128, .dtype = TN_I8));
    assert_non_null(tn_randint(TN_SHAPE(2), -0x1p63, 0x1p63));
    assert_null(tn_bernoulli(tn_full(TN_SHAPE(2), 1.5)));
    check_error(TN_ERR_ARGUMENT, "bernoulli: p is [2]");
    assert_null(tn_bernoulli(tn_full(TN_SHAPE(2), NAN)));
    check_error(TN_ERR_ARGUMENT, "bernoulli: p is [2]");
    const float few[4] = {0, 1, 0, 2}, odd[2] = {NAN, 1};
    assert_null(tn_multinomial(tn_from_floats(few, TN_SHAPE(4)), 3));
    check_error(TN_ERR_ARGUMENT, "3 or more of a row above 0");
    assert_null(tn_multinomial(tn_from_floats(few, TN_SHAPE(4)), 5));
    check_error(TN_ERR_ARGUMENT, "multinomial: p is [4]");
    assert_null(tn_multinomial(tn_zeros(TN_SHAPE(2, 2)), 1, .replacement = true));
    check_error(TN_ERR_ARGUMENT, "multinomial: p is [2, 2]");
    assert_null(tn_multinomial(tn_from_floats(odd, TN_SHAPE(2)), 1));
    check_error(TN_ERR_ARGUMENT, "multinomial: p is [2]");
    assert_null(tn_multinomial(tn_full(TN_SHAPE(2), -1), 1));
    check_error(TN_ERR_ARGUMENT, "multinomial: p is [2]");
    assert_null(tn_multinomial(tn_ones(TN_SHAPE(2)), 0));
    check_error(TN_ERR_ARGUMENT, "num_samples 0");
    assert_null(tn_multinomial(tn_ones(TN_SCALAR), 1));
    check_error(TN_ERR_ARGUMENT, "multinomial: p is []");
    assert_null(tn_multinomial(tn_ones(TN_SHAPE(2), .dtype = TN_I64), 1));
    check_error(TN_ERR_DTYPE, "multinomial: p is int64");
    assert_null(tn_uniform(TN_SHAPE(2), 3, 1));
    check_error(TN_ERR_ARGUMENT, "uniform: low 3 and high 1");
    assert_null(tn_normal(TN_SHAPE(2), 0, -1));
    check_error(TN_ERR_ARGUMENT, "normal: mean 0 and std -1");
    assert_null(tn_randperm(-1));
    check_error(TN_ERR_ARGUMENT, "randperm: n is -1");
    assert_null(tn_bernoulli(tn_zeros(TN_SHAPE(2), .dtype = TN_I64)));
    check_error(TN_ERR_DTYPE, "bernoulli: p is int64");
    assert_null(tn_randint(TN_SHAPE(2), 0, 3, .requires_grad = true));
    check_error(TN_ERR_DTYPE, "randint: only floating");
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {TEST(known_answers), TEST(elements_by_definition), TEST(threads_and_seeds), TEST(moments),
                                       TEST(normals_by_formula), TEST(permutations), TEST(multinomials), TEST(large_integers), TEST(bad_inputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
