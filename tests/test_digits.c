/* Digits to learn from: those drawn here, and MNIST's files, plain and gzip-ed, whole and damaged. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef TENON_HAVE_ZLIB
#include <zlib.h>
#endif

/* ---- drawn digits ------------------------------------------------------------------------------------------------------- */

enum { SIDE = 28, PIXELS = SIDE * SIDE, MANY = 4000 };

static void test_the_seed_decides(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *y[4];
    tn_manual_seed(3);
    tn_tensor *x = tn_draw_digits(20, &y[0]);
    tn_random_state after = tn_get_random_state();
    tn_tensor *next = tn_draw_digits(20, &y[1]);
    check_good();
    check_shape(x, 20, SIDE, SIDE);
    check_shape(y[0], 20);
    assert_true(tn_dtype_of(x) == TN_U8 && tn_dtype_of(y[0]) == TN_U8);
    assert_false(tn_equal(x, next));
    assert_true(after.offset >= 20 * PIXELS / 2 / 4); /* each pixel's noise is its own: a block is 4 words, a word serves 2 pixels */
    tn_manual_seed(3);
    assert_int_equal(tn_set_num_threads(2), TN_OK);
    tn_tensor *first = tn_draw_digits(5, &y[2]); /* fewer are the first of more, and the stream goes on where they end */
    tn_tensor *rest = tn_draw_digits(15, &y[3]);
    assert_true(tn_equal(tn_cat(((tn_tensor *[]){first, rest}), 2, 0), x));
    assert_true(tn_equal(tn_cat(((tn_tensor *[]){y[2], y[3]}), 2, 0), y[0]));
    assert_true(tn_get_random_state().offset == after.offset);
    tn_manual_seed(4);
    assert_false(tn_equal(tn_draw_digits(20, &y[2]), x));
    check_good();
}

/* Every digit as often as the next, ink in the middle and none to speak of at the border, and no two images alike. */
static void test_what_is_drawn(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(5);
    tn_tensor *labels, *x = tn_draw_digits(MANY, &labels);
    check_good();
    const uint8_t *pixels = tn_data(x), *y = tn_data(labels);
    int counts[10] = {0};
    double inside = 0, border = 0;
    for (int i = 0; i < MANY; i++) {
        assert_true(y[i] < 10);
        counts[y[i]]++;
        double ink = 0;
        for (int p = 0; p < PIXELS; p++) {
            int row = p / SIDE, column = p % SIDE;
            bool edge = row < 2 || row >= SIDE - 2 || column < 2 || column >= SIDE - 2;
            *(edge ? &border : &inside) += pixels[i * PIXELS + p] / 255.;
            ink += pixels[i * PIXELS + p] > 127;
        }
        if (!(ink > 12 && ink < 300))
            fail_msg("image %d, a %d, has %g pixels of ink", i, y[i], ink);
        if (i > 0)
            assert_memory_not_equal(pixels + i * PIXELS, pixels + (i - 1) * PIXELS, PIXELS);
    }
    double chi = 0;
    for (int d = 0; d < 10; d++)
        chi += pow(counts[d] - MANY / 10, 2) / (MANY / 10);
    assert_true(chi < 30); /* 9 degrees of freedom: once in 2000 */
    inside /= (double)MANY * 24 * 24;
    border /= (double)MANY * (PIXELS - 24 * 24);
    assert_true(inside > 0.12 && inside < 0.3); /* MNIST's: 0.18 */
    assert_true(border < 0.05);
}

/* The digits can be told apart: nearest of the ten mean images, far above chance on images that were not averaged. */
static void test_there_is_something_to_learn(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(6);
    tn_tensor *labels, *x = tn_draw_digits(MANY, &labels);
    check_good();
    const uint8_t *pixels = tn_data(x), *y = tn_data(labels);
    static double mean[10][PIXELS];
    int counts[10] = {0}, right = 0;
    for (int i = 0; i < MANY / 2; i++) {
        counts[y[i]]++;
        for (int p = 0; p < PIXELS; p++)
            mean[y[i]][p] += pixels[i * PIXELS + p];
    }
    for (int i = MANY / 2; i < MANY; i++) {
        int best = 0;
        double least = INFINITY;
        for (int d = 0; d < 10; d++) {
            double far = 0;
            for (int p = 0; p < PIXELS; p++)
                far += pow(pixels[i * PIXELS + p] - mean[d][p] / counts[d], 2);
            if (far < least) {
                least = far;
                best = d;
            }
        }
        right += best == y[i];
    }
    assert_true(right > MANY / 2 * 0.5);  /* chance: 0.1 */
    assert_true(right < MANY / 2 * 0.95); /* and a network still has what to learn */
    print_message("nearest mean image: %.1f %% of drawn digits\n", 100. * right / (MANY / 2.));
}

static void test_errors_of_drawing(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *y;
    check_shape(tn_draw_digits(0, &y), 0, SIDE, SIDE);
    check_shape(y, 0);
    assert_null(tn_draw_digits(-1, &y));
    check_error(TN_ERR_ARGUMENT, "draw_digits: n is -1");
    assert_null(y);
    assert_null(tn_draw_digits(3, NULL));
    check_error(TN_ERR_ARGUMENT, "labels is NULL");
    assert_null(tn_draw_digits(INT64_MAX / 4, &y));
    check_error(TN_ERR_SHAPE, "draw_digits");
    tn_random_state before = tn_get_random_state();
    tn_fail(TN_ERR_STATE, "an earlier error");
    assert_null(tn_draw_digits(3, &y));
    check_error(TN_ERR_STATE, "an earlier error");
    assert_true(tn_get_random_state().offset == before.offset);
}

/* ---- MNIST's files ------------------------------------------------------------------------------------------------------ */

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_bytes(const char *name, const void *data, size_t size)
{
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

/* An IDX file of u8: images [n, side, 28] or, where side is 0, labels [n]; element i is i % 10. */
static size_t idx_bytes(unsigned char *out, int n, int side)
{
    size_t head = side ? 16 : 8, elements = (size_t)n * (size_t)(side ? side * SIDE : 1);
    const unsigned char header[16] = {0, 0, 8, side ? 3 : 1, 0, 0, 0, (unsigned char)n, 0, 0, 0, (unsigned char)side, 0, 0, 0, SIDE};
    memcpy(out, header, head);
    for (size_t i = 0; i < elements; i++)
        out[head + i] = (unsigned char)(i % 10);
    return head + elements;
}

static unsigned char bytes[8192];
static void write_idx(const char *name, int n, int side) { write_bytes(name, bytes, idx_bytes(bytes, n, side)); }

static void check_loads(bool train)
{
    TN_SCOPE;
    tn_tensor *y, *x = tn_load_mnist(folder, train, &y);
    check_good();
    check_shape(x, train ? 3 : 2, SIDE, SIDE);
    check_shape(y, train ? 3 : 2);
    assert_true(tn_dtype_of(x) == TN_U8 && tn_dtype_of(y) == TN_U8);
    assert_int_equal(((const uint8_t *)tn_data(x))[PIXELS + 7], (PIXELS + 7) % 10);
    assert_int_equal(((const uint8_t *)tn_data(y))[1], 1);
}

static void check_refused(tn_status status, const char *words)
{
    tn_tensor *y = (tn_tensor *)(uintptr_t)1;
    assert_null(tn_load_mnist(folder, true, &y));
    assert_null(y);
    check_error(status, words);
}

static void test_the_four_files(void **state)
{
    (void)state;
    TN_SCOPE;
    check_refused(TN_ERR_IO, "train-images-idx3-ubyte.gz: scripts/fetch_mnist.sh");
    write_idx("train-images-idx3-ubyte", 3, SIDE);
    check_refused(TN_ERR_IO, "neither train-labels-idx1-ubyte nor");
    write_idx("train-labels-idx1-ubyte", 3, 0);
    write_idx("t10k-images-idx3-ubyte", 2, SIDE);
    write_idx("t10k-labels-idx1-ubyte", 2, 0);
    check_loads(true);
    check_loads(false);

    write_idx("train-labels-idx1-ubyte", 4, 0);
    check_refused(TN_ERR_FORMAT, "are [4] of uint8: right is u8 [3], one for each image");
    write_idx("train-labels-idx1-ubyte", 3, SIDE);
    check_refused(TN_ERR_FORMAT, "the labels in");
    size_t size = idx_bytes(bytes, 3, 0);
    bytes[size - 1] = 10;
    write_bytes("train-labels-idx1-ubyte", bytes, size);
    check_refused(TN_ERR_FORMAT, "label 2 is 10: digits are 0 to 9");
    write_bytes("train-labels-idx1-ubyte", bytes, size - 1);
    check_refused(TN_ERR_FORMAT, "train-labels-idx1-ubyte: the header says [3]");
    write_idx("train-labels-idx1-ubyte", 3, 0);
    write_idx("train-images-idx3-ubyte", 3, 9);
    check_refused(TN_ERR_FORMAT, "[3, 9, 28] of uint8: right is u8 [n, 28, 28]");
    write_bytes("train-images-idx3-ubyte", bytes, 0);
    check_refused(TN_ERR_FORMAT, "train-images-idx3-ubyte");

    tn_tensor *y;
    assert_null(tn_load_mnist("/nonexistent", true, &y));
    check_error(TN_ERR_IO, "/nonexistent has neither");
    assert_null(tn_load_mnist(NULL, true, &y));
    check_error(TN_ERR_ARGUMENT, "folder is NULL");
    assert_null(tn_load_mnist(folder, true, NULL));
    check_error(TN_ERR_ARGUMENT, "labels is NULL");
    char *long_name = calloc(1, 5001);
    memset(long_name, 'a', 5000);
    assert_null(tn_load_mnist(long_name, true, &y));
    check_error(TN_ERR_ARGUMENT, "longer than a path");
    free(long_name);
}

static void test_gzip_ed_files(void **state)
{
    (void)state;
#ifdef TENON_HAVE_ZLIB
    const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"};
    size_t sizes[2];
    for (int i = 0; i < 2; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s.gz", in_folder(names[i]));
        unlink(in_folder(names[i]));
        gzFile file = gzopen(path, "wb");
        assert_non_null(file);
        unsigned size = (unsigned)idx_bytes(bytes, 3, i ? 0 : SIDE);
        assert_int_equal(gzwrite(file, bytes, size), size);
        assert_int_equal(gzclose(file), Z_OK);
        FILE *again = fopen(path, "rb");
        sizes[i] = fread(bytes, 1, sizeof bytes, again);
        fclose(again);
    }
    check_loads(true);
    bytes[sizes[1] - 6] ^= 1; /* the labels' checksum */
    write_bytes("train-labels-idx1-ubyte.gz", bytes, sizes[1]);
    check_refused(TN_ERR_FORMAT, "incorrect data check");
    bytes[sizes[1] - 6] ^= 1;
    for (size_t cut = 0; cut < sizes[1]; cut++) {
        write_bytes("train-labels-idx1-ubyte.gz", bytes, cut);
        check_refused(TN_ERR_FORMAT, "train-labels-idx1-ubyte.gz");
    }
#else
    print_message("skipped: this build is without zlib\n");
    skip();
#endif
}

static void test_the_real_ones(void **state)
{
    (void)state;
    TN_SCOPE;
    const char *data = getenv("TENON_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/mnist", data ? data : TN_SOURCE_DIR "/../shared/data");
    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s (TENON_DATA names the folder of data sets)\n", path);
        skip();
    }
#ifndef TENON_HAVE_ZLIB
    print_message("skipped: this build is without zlib\n");
    skip();
#endif
    for (int train = 0; train < 2; train++) {
        tn_tensor *y, *x = tn_load_mnist(path, train, &y);
        check_good();
        check_shape(x, 10000, SIDE, SIDE);
        int counts[10] = {0};
        for (int i = 0; i < 10000; i++)
            counts[((const uint8_t *)tn_data(y))[i]]++;
        for (int d = 0; d < 10; d++)
            assert_in_range(counts[d], 800, 1200);
    }
}

int main(void)
{
    snprintf(folder, sizeof folder, "/tmp/tenon-digits-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(test_the_seed_decides), TEST(test_what_is_drawn), TEST(test_there_is_something_to_learn), TEST(test_errors_of_drawing),
        TEST(test_the_four_files),   TEST(test_gzip_ed_files), TEST(test_the_real_ones),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) || failed;
}
