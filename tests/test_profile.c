/* labels: isa
 * tn_profile: FLOP and bytes of known shapes, times that add up to no more than the clock's, and the table. */
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { MOST = 64 };

/* The profile's row of that kernel; the test fails where there is none. */
static tn_profile_row row_of(const tn_profile *profile, const char *kernel)
{
    tn_profile_row rows[MOST];
    const int count = tn_profile_rows(profile, rows, MOST);
    for (int i = 0; i < count && i < MOST; i++)
        if (!strcmp(rows[i].kernel, kernel))
            return rows[i];
    fail_msg("no row of %s among %d", kernel, count);
    return rows[0];
}

static void check_row(const tn_profile *profile, const char *kernel, int calls, double flop, double bytes)
{
    const tn_profile_row r = row_of(profile, kernel);
    if (r.calls != calls || r.flop != flop || r.bytes != bytes)
        fail_msg("%s %s: %lld calls, %g FLOP, %g bytes, and %d, %g, %g are due", kernel, r.sizes, (long long)r.calls, r.flop, r.bytes, calls, flop, bytes);
}

static void test_counts(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *a = tn_rand(TN_SHAPE(2, 5, 3)), *b = tn_rand(TN_SHAPE(2, 3, 4)), *row = tn_rand(TN_SHAPE(7)), *m = tn_rand(TN_SHAPE(6, 7));
    tn_tensor *picture = tn_rand(TN_SHAPE(2, 3, 8, 8)), *weight = tn_rand(TN_SHAPE(4, 3, 3, 3), .requires_grad = true), *bias = tn_rand(TN_SHAPE(4));
    tn_tensor *wide = tn_rand(TN_SHAPE(6, 7), .dtype = TN_F64);
    tn_profile *p = tn_adopt(tn_profile_new());
    tn_matmul(a, b);
    tn_add(m, row); /* of the row there are 7 */
    tn_softmax(m, -1);
    tn_lt(m, row);
    tn_exp(wide);
    tn_exp(wide);
    tn_tensor *y = tn_conv2d(picture, weight, .bias = bias);
    tn_max_pool2d(tn_detach(y), 2);
    assert_int_equal(tn_backward(y, .grad = tn_detach(y)), TN_OK);
    assert_int_equal(tn_profile_stop(p), TN_OK);
    tn_tanh(m); /* after it */
    check_row(p, "gemm", 1, 2 * 2 * 5 * 4 * 3, 4 * 2 * (15 + 12 + 20));
    check_row(p, "add", 1, 42, 4 * (42 + 7 + 42));
    check_row(p, "softmax", 1, 5 * 42, 4 * (42 + 42));
    check_row(p, "lt", 1, 42, 4 * (42 + 7) + 42);
    check_row(p, "exp", 2, 2 * 42, 2 * 8 * (42 + 42));
    check_row(p, "conv_forward", 1, 2.0 * 2 * 4 * 36 * 27, 4 * (2 * 3 * 64 + 4 * 27 + 4 + 2 * 4 * 36));
    check_row(p, "conv_backward", 1, 2.0 * 2 * 4 * 36 * 27, 4 * (2 * 3 * 64 + 2 * 4 * 36 + 4 * 27)); /* nobody asked for dx */
    check_row(p, "max_pool", 1, 2 * 4 * 9 * 4, 4 * 2 * 4 * (36 + 9));
    tn_profile_row rows[MOST];
    for (int i = tn_profile_rows(p, rows, MOST) - 1; i >= 0; i--)
        assert_string_not_equal(rows[i].kernel, "tanh");
    assert_string_equal(row_of(p, "gemm").sizes, "float32 batch, m, n, k [2, 5, 4, 3]");
}

/* In place: what is updated is read and written. */
static void test_counts_of_a_step(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = tn_adopt(tn_linear_new(10, 10, .bias = false));
    tn_optim *opt = tn_adopt(tn_adam_new(tn_parameters(net), 1e-3));
    assert_int_equal(tn_backward(tn_sum(tn_call(net, tn_ones(TN_SHAPE(2, 10))))), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    tn_profile *p = tn_adopt(tn_profile_new());
    assert_int_equal(tn_step(opt), TN_OK);
    check_row(p, "optim_step", 1, 13 * 100, 4 * 100 * (1 + 2 * 3));
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void test_times(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_rand(TN_SHAPE(192, 192));
    tn_matmul(x, x);
    tn_profile *p = tn_adopt(tn_profile_new());
    const double begin = now_ms();
    for (int i = 0; i < 20; i++) {
        TN_SCOPE;
        tn_exp(tn_add(tn_matmul(x, x), x));
    }
    assert_int_equal(tn_profile_stop(p), TN_OK);
    const double wall = now_ms() - begin;
    tn_profile_row rows[MOST];
    const int count = tn_profile_rows(p, rows, MOST);
    double ms = 0, share = 0;
    assert_int_equal(count, 3);
    for (int i = 0; i < count; i++) {
        assert_int_equal(rows[i].calls, 20);
        assert_true(rows[i].ms > 0 && (i == 0 || rows[i].ms <= rows[i - 1].ms));
        assert_true(rows[i].roofline > 0 && rows[i].roofline < 3); /* bytes may lie nearer than their level */
        ms += rows[i].ms;
        share += rows[i].share;
    }
    assert_true(ms <= 1.001 * wall);
    assert_true(share > 0 && share <= 1.0001);
    assert_string_equal(row_of(p, "gemm").bound, "FLOP");
    assert_string_not_equal(row_of(p, "add").bound, "FLOP");
    assert_true(row_of(p, "gemm").roofline < 1.2); /* no product is faster than multiply-adds alone, but for the clock */

    char text[4096], *line = text;
    const size_t length = tn_profile_format(p, text, sizeof text);
    assert_int_equal(length, strlen(text));
    assert_int_equal(tn_profile_format(p, NULL, 0), length);
    assert_int_equal(strncmp(text, "kernel ", 7), 0);
    for (int i = 0; i < count; i++) {
        line = strchr(line, '\n') + 1;
        assert_int_equal(strncmp(line, rows[i].kernel, strlen(rows[i].kernel)), 0);
    }
    assert_non_null(strstr(line, "\nin kernels "));
    assert_non_null(strstr(line, "\nbetween them "));
    char little[16];
    assert_int_equal(tn_profile_format(p, little, sizeof little), length);
    assert_int_equal(strlen(little), sizeof little - 1);
}

static void *work(void *argument)
{
    TN_SCOPE;
    tn_cos(tn_ones(TN_SHAPE(3)));
    return argument;
}

/* A profile is its thread's: another's kernels are not in it, and it runs alone there. */
static void test_threads_and_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_profile *p = tn_adopt(tn_profile_new());
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(tn_profile_rows(p, NULL, 0), 0);
    assert_null(tn_profile_new());
    check_error(TN_ERR_STATE, "one runs on this thread already");
    for (int i = 0; i < 200; i++) /* more sizes than the first table holds */
        tn_sin(tn_ones(TN_SHAPE(i + 1)));
    assert_int_equal(tn_profile_rows(p, NULL, 0), 401); /* fill and sin of each; the 1 that is filled with is cast */
    assert_int_equal(tn_profile_stop(p), TN_OK);
    assert_int_equal(tn_profile_stop(p), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "does not run on this thread");
    assert_int_equal(tn_profile_stop(NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "NULL or no profile");
    assert_int_equal(tn_profile_rows(NULL, NULL, 0), 0);
    tn_release(tn_profile_new()); /* one that still runs */
    tn_profile *second = tn_profile_new();
    assert_non_null(second);
    tn_release(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_counts), TEST(test_counts_of_a_step), TEST(test_times), TEST(test_threads_and_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
