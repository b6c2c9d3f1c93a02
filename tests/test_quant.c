/* labels: quick */
/* Quantised blocks: dequantised to the bit of the gguf package's reference, quantised with errors as small as the formats allow. */
#include "check.h"

#include "core/core.h"

#include <stdio.h>

#include "reference/quant_errors.h"

static const tn_quant all[] = {
#define TYPE(name, number, block, bytes, makes) TN_QUANT_##name,
    TN_QUANT_LIST(TYPE)};
enum { TYPES = TN_COUNT(all) };

static void test_what_types_are(void **state)
{
    (void)state;
    for (int i = 0; i < TYPES; i++)
        assert_int_equal(tn_quant_named(tn_quant_name(all[i])), all[i]);
    assert_string_equal(tn_quant_name(TN_QUANT_IQ4_XS), "IQ4_XS");
    assert_int_equal(tn_quant_block(TN_QUANT_Q5_K), 256);
    assert_int_equal(tn_quant_block_bytes(TN_QUANT_Q5_K), 176);
    assert_true(tn_quant_makes(TN_QUANT_Q4_K) && !tn_quant_makes(TN_QUANT_Q5_K));
    const tn_quant none[] = {TN_QUANT_NONE, (tn_quant)4, (tn_quant)38, (tn_quant)42, (tn_quant)INT32_MIN};
    for (int i = 0; i < TN_COUNT(none); i++) {
        assert_null(tn_quant_name(none[i]));
        assert_int_equal(tn_quant_block(none[i]), 0);
        assert_int_equal(tn_quant_block_bytes(none[i]), 0);
        assert_false(tn_quant_makes(none[i]));
    }
    assert_int_equal(tn_quant_named("IQ2_XXS"), TN_QUANT_IQ2_XXS);
    assert_int_equal(tn_quant_block_bytes(TN_QUANT_IQ2_XXS), 66);
    assert_false(tn_quant_makes(TN_QUANT_IQ2_XXS));
    assert_null(tn_dequantize((tn_blocks){TN_QUANT_IQ2_XXS, TN_SHAPE(256), all, 66}, TN_F32));
    check_error(TN_ERR_UNSUPPORTED, "blocks of IQ2_XXS are known by their size alone");
    assert_int_equal(tn_quant_named("Q9_9"), TN_QUANT_NONE);
    assert_int_equal(tn_quant_named(NULL), TN_QUANT_NONE);
    check_good();
    static const struct {
        tn_quant type;
        int64_t columns;
        tn_quant due;
    } rows[] = {{TN_QUANT_Q4_K, 512, TN_QUANT_Q4_K}, {TN_QUANT_Q4_K, 288, TN_QUANT_Q5_0}, {TN_QUANT_Q6_K, 288, TN_QUANT_Q8_0},
                {TN_QUANT_Q4_0, 172, TN_QUANT_F16},  {TN_QUANT_Q4_K, 172, TN_QUANT_F16},  {TN_QUANT_F32, 7, TN_QUANT_F32},
                {TN_QUANT_Q8_0, 32, TN_QUANT_Q8_0}};
    for (int i = 0; i < TN_COUNT(rows); i++)
        assert_int_equal(tn_quant_for_row(rows[i].type, rows[i].columns), rows[i].due);
    assert_int_equal(tn_blocks_bytes(TN_QUANT_Q4_K, TN_SHAPE(3, 512)), 3 * 2 * 144);
    assert_int_equal(tn_blocks_bytes(TN_QUANT_F16, TN_SCALAR), 2);
    assert_int_equal(tn_blocks_bytes(TN_QUANT_Q8_0, TN_SHAPE(0, 32)), 0);
    assert_int_equal(tn_blocks_bytes(TN_QUANT_Q4_K, TN_SHAPE(3, 288)), -1);
    check_error(TN_ERR_SHAPE, "rows of 288 are no whole number of Q4_K's blocks of 256: Q5_0 would fit");
    assert_int_equal(tn_blocks_bytes(TN_QUANT_NONE, TN_SHAPE(3)), -1);
    check_error(TN_ERR_ARGUMENT, "-1 is no type");
    assert_int_equal(tn_blocks_bytes(TN_QUANT_F32, TN_SHAPE(INT64_MAX, 2)), -1);
    check_error(TN_ERR_SHAPE, "blocks_bytes");
}

/* ---- dequantising ------------------------------------------------------------------------------------------------------- */

static void check_reference(const char *path)
{
    TN_SCOPE;
    tn_gguf *file = tn_map_gguf(path);
    check_good();
    for (int i = 0; i < TYPES; i++) {
        TN_SCOPE;
        char name[32];
        if (all[i] == TN_QUANT_F32)
            continue;
        snprintf(name, sizeof name, "%s.f32", tn_quant_name(all[i]));
        tn_blocks blocks = tn_gguf_blocks(file, tn_gguf_find(file, tn_quant_name(all[i])));
        tn_tensor *due = tn_gguf_tensor(file, name, TN_F32), *x = tn_dequantize(blocks, TN_F32);
        check_good();
        assert_int_equal(blocks.type, all[i]);
        assert_int_equal(tn_numel(x), tn_numel(due));
        const uint32_t *a = tn_data(x), *b = tn_data(due);
        for (int64_t k = 0; k < tn_numel(x); k++) {
            const bool nan = (a[k] & 0x7fffffff) > 0x7f800000 && (b[k] & 0x7fffffff) > 0x7f800000;
            if (a[k] != b[k] && !nan)
                fail_msg("%s: element %lld is %#x, %#x was due", tn_quant_name(all[i]), (long long)k, a[k], b[k]);
        }
        assert_true(tn_allclose(tn_dequantize(blocks, TN_F16), tn_cast(due, TN_F16), 0, 0, true));
        assert_true(tn_allclose(tn_dequantize(blocks, TN_BF16), tn_cast(due, TN_BF16), 0, 0, true));
        check_good();
    }
    static const char *const exact[] = {"x.F16", "x.BF16", "x.Q8_0"}; /* quantised to the same bytes */
    tn_tensor *x = tn_gguf_tensor(file, "x", TN_F32);
    for (int i = 0; i < TN_COUNT(exact); i++) {
        const tn_blocks due = tn_gguf_blocks(file, tn_gguf_find(file, exact[i]));
        uint8_t *blocks = malloc(due.size);
        assert_int_equal(tn_quantize(x, due.type, blocks, due.size), TN_OK);
        assert_memory_equal(blocks, due.data, due.size);
        free(blocks);
    }
}

static void test_as_the_reference_has_it(void **state)
{
    (void)state;
    check_reference(TN_SOURCE_DIR "/tests/reference/files/quants.gguf");
    if (getenv("TN_TEST_GGUF"))
        check_reference(getenv("TN_TEST_GGUF"));
}

/* Blocks of bytes any of which may be anything, to the end of their memory and no further. */
static void test_any_bytes_are_blocks(void **state)
{
    (void)state;
    for (int i = 0; i < TYPES; i++) {
        TN_SCOPE;
        const size_t size = 3 * tn_quant_block_bytes(all[i]);
        uint8_t *bytes = malloc(size);
        for (int turn = 0; turn < 20; turn++) {
            for (size_t k = 0; k < size; k++)
                bytes[k] = (uint8_t)(turn == 0 ? 255 : tn_random_below(256));
            assert_non_null(tn_dequantize((tn_blocks){all[i], TN_SHAPE(3, tn_quant_block(all[i])), bytes, size}, TN_DTYPE_DEFAULT));
        }
        free(bytes);
        check_good();
    }
}

/* ---- quantising --------------------------------------------------------------------------------------------------------- */

/* x as blocks and back. */
static tn_tensor *through(tn_tensor *x, tn_quant type)
{
    const int64_t size = tn_blocks_bytes(type, tn_shape_of(x));
    uint8_t *blocks = malloc(size > 0 ? (size_t)size : 1); /* what is written beyond it an address sanitizer sees */
    tn_tensor *y = NULL;
    if (tn_quantize(x, type, blocks, (size_t)size) == TN_OK)
        y = tn_dequantize((tn_blocks){type, tn_shape_of(x), blocks, (size_t)size}, TN_F32);
    free(blocks);
    check_good();
    return y;
}

/* The root of the mean squared error over that of the mean square. */
static double loss(tn_tensor *x, tn_quant type)
{
    const float *a = tn_data(x), *b = tn_data(through(x, type));
    double error = 0, all = 0;
    for (int64_t i = 0; i < tn_numel(x); i++) {
        error += ((double)b[i] - a[i]) * ((double)b[i] - a[i]);
        all += (double)a[i] * a[i];
    }
    return sqrt(error / all);
}

/* The numbers of make_quant.py: about normal, uniform, and with long tails. */
static void make_numbers(tn_tensor *normal, tn_tensor *uniform, tn_tensor *cubes)
{
    uint32_t x = 1;
    float *a = tn_data_mut(normal), *b = tn_data_mut(uniform), *c = tn_data_mut(cubes);
    for (int i = 0; i < 12 * QUANT_ROWS * QUANT_COLUMNS; i += 12) {
        double sum = 0;
        for (int k = i; k < i + 12; k++) {
            x = x * 1664525 + 1013904223;
            const double draw = (double)(x >> 16) - 32768;
            if (k < QUANT_ROWS * QUANT_COLUMNS)
                b[k] = (float)(draw * 0x1p-18);
            sum += draw;
        }
        a[i / 12] = (float)(sum * 0x1p-21);
        c[i / 12] = (float)(sum * sum * sum * 0x1p-54);
    }
}

static void check_loss(tn_tensor *x, tn_quant type, double due)
{
    const double lost = loss(x, type);
    print_message("%-5s loses %.6f, llama.cpp's %.6f\n", tn_quant_name(type), lost, due);
    assert_true(lost <= due * (1 + 1e-9)); /* the same bytes may add up in another order */
}

static void test_errors_are_no_larger_than_llama_cpps(void **state)
{
    (void)state;
    tn_tensor *normal = tn_empty(TN_SHAPE(QUANT_ROWS, QUANT_COLUMNS)), *uniform = tn_empty(TN_SHAPE(QUANT_ROWS, QUANT_COLUMNS)),
              *cubes = tn_empty(TN_SHAPE(QUANT_ROWS, QUANT_COLUMNS));
    make_numbers(normal, uniform, cubes);
    int checked = 0;
    for (int i = 0; i < TN_COUNT(quant_errors); i++, checked++) {
        TN_SCOPE;
        check_loss(normal, quant_errors[i].type, quant_errors[i].normal);
        check_loss(uniform, quant_errors[i].type, quant_errors[i].uniform);
        check_loss(cubes, quant_errors[i].type, quant_errors[i].cubes);
    }
    for (int i = 0; i < TYPES; i++)
        checked -= all[i] != TN_QUANT_F32 && tn_quant_makes(all[i]);
    assert_int_equal(checked, 0);
    assert_true(tn_equal(through(cubes, TN_QUANT_F32), cubes));
}

/* What the type can say exactly comes back so: whole numbers times a scale, the largest among them. */
static void test_what_fits_is_exact(void **state)
{
    (void)state;
    static const struct {
        tn_quant type;
        int low, high;
    } ranges[] = {{TN_QUANT_Q8_0, -127, 127}, {TN_QUANT_Q4_0, -8, 7}, {TN_QUANT_Q5_0, -16, 15}, {TN_QUANT_Q6_K, -32, 31}};
    for (int i = 0; i < TN_COUNT(ranges); i++) {
        TN_SCOPE;
        const int span = ranges[i].high - ranges[i].low + 1;
        tn_tensor *q = tn_cast(tn_randint(TN_SHAPE(16, 16, 16), ranges[i].low, ranges[i].high + 1), TN_F32);
        for (int64_t k = 0; k < tn_numel(q); k += 16)
            ((float *)tn_data_mut(q))[k] = (float)ranges[i].low;
        tn_tensor *x = tn_reshape(tn_mul(q, 3 * 0x1p-9), TN_SHAPE(16, 256));
        assert_true(tn_equal(through(x, ranges[i].type), x));
        assert_true(span > 0);
    }
}

static void test_odd_rows(void **state)
{
    (void)state;
    static const double values[] = {0, 1, -1, 65504, -65504, 1e-3, -1e-5, 3e-8, -1e-9, 1e-30, 1e-42};
    for (int i = 0; i < TYPES; i++) {
        if (!tn_quant_makes(all[i]))
            continue;
        TN_SCOPE;
        for (int k = 0; k < TN_COUNT(values); k++) {
            TN_SCOPE;
            tn_tensor *same = tn_full(TN_SHAPE(2, 256), values[k]), *one = tn_zeros(TN_SHAPE(2, 256));
            ((float *)tn_data_mut(one))[77] = (float)values[k];
            ((float *)tn_data_mut(one))[300] = (float)-values[k] / 2;
            const double slack = all[i] == TN_QUANT_F32 ? 0 : 0.1 * fabs(values[k]) + 3.1e-8;
            if (!tn_allclose(through(same, all[i]), same, 0, slack, false))
                fail_msg("%s: %g became %g", tn_quant_name(all[i]), values[k], tn_at(through(same, all[i]), TN_SHAPE(0, 0)));
            if (!tn_allclose(through(one, all[i]), one, 0, slack, false))
                fail_msg("%s: one of %g became %g", tn_quant_name(all[i]), values[k], tn_at(through(one, all[i]), TN_SHAPE(0, 77)));
        }
        assert_int_equal(tn_numel(through(tn_zeros(TN_SHAPE(0, 256)), all[i])), 0);
    }
}

static void test_any_floats_in_any_order(void **state)
{
    (void)state;
    tn_tensor *x = tn_randn(TN_SHAPE(256, 64)), *t = tn_transpose(x, 0, 1);
    assert_true(tn_equal(through(t, TN_QUANT_Q4_K), through(tn_contiguous(t), TN_QUANT_Q4_K)));
    assert_true(tn_equal(through(tn_cast(x, TN_F64), TN_QUANT_Q8_0), through(x, TN_QUANT_Q8_0)));
    tn_tensor *narrow = tn_cast(x, TN_BF16);
    assert_true(tn_equal(through(narrow, TN_QUANT_F16), tn_cast(tn_cast(narrow, TN_F16), TN_F32)));
    tn_tensor *y = through(t, TN_QUANT_Q4_K);
    const int threads = tn_get_num_threads();
    assert_int_equal(tn_set_num_threads(3), TN_OK);
    assert_true(tn_equal(through(t, TN_QUANT_Q4_K), y));
    assert_int_equal(tn_set_num_threads(threads), TN_OK);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    uint8_t room[1024];
    static const float bad[] = {NAN, INFINITY, -INFINITY, 65536};
    for (int i = 0; i < TN_COUNT(bad); i++) {
        float data[64] = {0};
        data[40] = bad[i];
        tn_tensor *x = tn_from_floats(data, TN_SHAPE(2, 32));
        assert_int_equal(tn_quantize(x, TN_QUANT_Q8_0, room, 68), TN_ERR_ARGUMENT);
        check_error(TN_ERR_ARGUMENT, i < 3 ? "element 40 is" : "element 40 is 65536: blocks hold numbers up to 65504");
        const tn_status status = tn_quantize(x, TN_QUANT_BF16, room, 128);
        assert_int_equal(status, i < 3 ? TN_ERR_ARGUMENT : TN_OK);
        tn_clear_error();
    }
    tn_tensor *x = tn_zeros(TN_SHAPE(2, 32));
    assert_int_equal(tn_quantize(x, TN_QUANT_Q8_0, room, 67), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "[2, 32] of Q8_0 makes 68 bytes, and there is room for 67");
    assert_int_equal(tn_quantize(x, TN_QUANT_Q8_0, NULL, 68), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "room for 0");
    assert_int_equal(tn_quantize(x, TN_QUANT_Q4_1, room, 40), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "to be Q4_1");
    assert_int_equal(tn_quantize(tn_zeros(TN_SHAPE(2, 32), .dtype = TN_I32), TN_QUANT_Q8_0, room, 68), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "x is int32");
    assert_int_equal(tn_quantize(NULL, TN_QUANT_Q8_0, room, 68), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "x is NULL");
    assert_int_equal(tn_quantize(x, TN_QUANT_Q4_K, room, 68), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "rows of 32");
    tn_blocks blocks = {TN_QUANT_Q8_0, TN_SHAPE(2, 32), room, 67};
    assert_null(tn_dequantize(blocks, TN_F32));
    check_error(TN_ERR_ARGUMENT, "[2, 32] of Q8_0 needs 68 bytes and has 67");
    blocks.size = 68;
    assert_null(tn_dequantize(blocks, TN_I32));
    check_error(TN_ERR_DTYPE, "not int32");
    blocks.data = NULL;
    assert_null(tn_dequantize(blocks, TN_F32));
    check_error(TN_ERR_ARGUMENT, "has 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_what_types_are), TEST(test_as_the_reference_has_it), TEST(test_any_bytes_are_blocks),
                                       TEST(test_errors_are_no_larger_than_llama_cpps), TEST(test_what_fits_is_exact), TEST(test_odd_rows),
                                       TEST(test_any_floats_in_any_order), TEST(test_what_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
