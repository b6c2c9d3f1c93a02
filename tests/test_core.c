/* DESIGN's ownership and errors, the allocator, shapes, dtypes, access and printing. */
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- ownership ---------------------------------------------------------------------------------------------------------- */

static void test_scope_releases_what_it_holds(void **state)
{
    (void)state;
    int64_t before = tn_live_objects();
    {
        TN_SCOPE;
        tn_tensor *x = tn_zeros(TN_SHAPE(2, 3));
        tn_add(tn_mul(x, 2), x);
        assert_true(tn_live_objects() > before);
    }
    assert_int_equal(tn_live_objects(), before);
}

static tn_tensor *passed_up(int how)
{
    for (int i = 0; i < 3; i++) {
        TN_SCOPE;
        tn_tensor *x = tn_full(TN_SHAPE(2), i);
        tn_add(x, x);
        if (how == 0 && i == 1)
            return tn_pass(x); /* return closes the scope of the loop's body */
        if (how == 1 && i == 1)
            break;
        if (how == 2)
            continue;
        if (how == 3)
            goto out;
    }
out:
    return NULL;
}

static void test_pass_and_every_way_out(void **state)
{
    (void)state;
    int64_t before = tn_live_objects();
    TN_SCOPE;
    tn_tensor *x = passed_up(0);
    check_values(x, 0, 1, 1);
    assert_int_equal(tn_live_objects(), before + 1);
    for (int how = 1; how < 4; how++)
        assert_null(passed_up(how));
    assert_int_equal(tn_live_objects(), before + 1);
}

static void test_pass_through_two_scopes(void **state)
{
    (void)state;
    int64_t before = tn_live_objects();
    {
        TN_SCOPE;
        tn_tensor *x = NULL;
        {
            TN_SCOPE;
            tn_ones(TN_SHAPE(4));
            {
                TN_SCOPE;
                tn_ones(TN_SHAPE(5));
                x = tn_full(TN_SHAPE(2), 7);
                tn_ones(TN_SHAPE(6));
                tn_pass(x);
            }
            tn_pass(x);
        }
        check_values(x, 0, 7, 7);
        assert_int_equal(tn_live_objects(), before + 1);
    }
    assert_int_equal(tn_live_objects(), before);
}

static void test_keep_adopt_retain(void **state)
{
    (void)state;
    int64_t before = tn_live_objects();
    tn_tensor *x;
    {
        TN_SCOPE;
        x = tn_keep(tn_ones(TN_SHAPE(3)));
    }
    check_values(x, 0, 1, 1, 1);
    assert_ptr_equal(tn_retain(x), x);
    tn_release(x);
    check_values(x, 0, 1, 1, 1);
    {
        TN_SCOPE;
        tn_adopt(x);
    }
    assert_int_equal(tn_live_objects(), before);
    assert_null(tn_retain(NULL));
    assert_null(tn_keep(NULL));
    assert_null(tn_adopt(NULL));
    assert_null(tn_pass(NULL));
    tn_release(NULL);
}

static void test_scope_clear_empties_the_root(void **state)
{
    (void)state;
    int64_t before = tn_live_objects();
    for (int i = 0; i < 1000; i++)
        tn_ones(TN_SHAPE(2));
    assert_int_equal(tn_live_objects(), before + 1000);
    tn_scope_clear();
    assert_int_equal(tn_live_objects(), before);
}

static void *make_in_a_thread(void *unused)
{
    (void)unused;
    tn_tensor *given = tn_keep(tn_ones(TN_SHAPE(5)));
    for (int i = 0; i < 10; i++)
        tn_ones(TN_SHAPE(3)); /* the root scope of the thread frees these at its end */
    return given;
}

static void test_a_threads_root_scope_ends_with_it(void **state)
{
    (void)state;
    int64_t before = tn_live_objects();
    pthread_t thread;
    void *given = NULL;
    assert_int_equal(pthread_create(&thread, NULL, make_in_a_thread, NULL), 0);
    pthread_join(thread, &given);
    assert_int_equal(tn_live_objects(), before + 1);
    check_values(given, 0, 1, 1, 1, 1, 1);
    tn_release(given); /* freed on another thread than it was made on */
    assert_int_equal(tn_live_objects(), before);
}

static int released;
static void count_release(void *data, void *context)
{
    assert_ptr_equal(context, &released);
    free(data);
    released++;
}

static void test_a_callers_memory(void **state)
{
    (void)state;
    released = 0;
    float *data = malloc(4 * sizeof *data);
    for (int i = 0; i < 4; i++)
        data[i] = (float)i;
    {
        TN_SCOPE;
        tn_tensor *x = tn_from_memory(data, TN_SHAPE(2, 2), count_release, &released, .dtype = TN_F32);
        assert_ptr_equal(tn_data(x), data); /* used as it is */
        data[3] = 30;
        check_values(x, 0, 0, 1, 2, 30);
        assert_int_equal(released, 0);
    }
    assert_int_equal(released, 1);
    assert_null(tn_from_memory(malloc(4), TN_SHAPE(-1), count_release, &released, .dtype = TN_F32));
    check_error(TN_ERR_SHAPE, "negative");
    assert_int_equal(released, 2); /* on failure too */
    assert_null(tn_from_memory(malloc(4), TN_SHAPE(1), count_release, &released));
    check_error(TN_ERR_DTYPE, "say what the memory holds");
    assert_int_equal(released, 3);
}

static void test_own_storage_is_aligned(void **state)
{
    (void)state;
    TN_SCOPE;
    for (int64_t n = 1; n < 3000; n += 37)
        assert_int_equal((uintptr_t)tn_data(tn_empty(TN_SHAPE(n))) % 64, 0);
}

/* ---- errors ------------------------------------------------------------------------------------------------------------- */

static void test_the_first_error_sticks(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3)), *y = tn_ones(TN_SHAPE(4, 5));
    int line = __LINE__ + 1;
    assert_null(tn_matmul(x, y));
    char place[64];
    snprintf(place, sizeof place, "test_core.c:%d)", line);
    assert_non_null(strstr(tn_last_error(), "a is [2, 3] and b is [4, 5]"));
    assert_non_null(strstr(tn_last_error(), place));
    assert_null(tn_add(x, x));             /* no work while it sticks */
    assert_null(tn_zeros(TN_SHAPE(1)));
    assert_null(tn_add(x, 1));
    assert_true(isnan(tn_item(x)));
    assert_int_equal(tn_backward(x), TN_ERR_SHAPE);
    assert_int_equal(tn_set_num_threads(1), TN_ERR_SHAPE);
    assert_non_null(strstr(tn_last_error(), place)); /* still the first */
    tn_release(tn_retain(x)); /* these work */
    tn_print(x);
    tn_clear_error();
    assert_null(tn_last_error());
    check_values(tn_sum(x), 1e-7, 6);
}

static void test_the_place_is_the_innermost(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3));
    int line = __LINE__ + 3;
    assert_null(tn_relu(
        tn_add(x,
               tn_matmul(x, x))));
    char place[64];
    snprintf(place, sizeof place, "(%s:%d)", __FILE__, line);
    assert_non_null(strstr(tn_last_error(), place));
    tn_clear_error();
    tn_tensor *(*f)(tn_tensor *) = tn_relu; /* the name without arguments is the function */
    check_values(f(tn_full(TN_SHAPE(1), -1)), 0, 0);
}

static int handled;
static void handler(void)
{
    assert_non_null(tn_last_error());
    handled++;
}

static void test_the_handler(void **state)
{
    (void)state;
    handled = 0;
    assert_null(tn_set_error_handler(handler));
    tn_check(TN_OK);
    assert_int_equal(handled, 0);
    tn_fail(TN_ERR_ARGUMENT, "an error of %s", "ours");
    assert_int_equal(handled, 0); /* only tn_check calls it */
    assert_int_equal(tn_check(tn_last_status()), TN_ERR_ARGUMENT);
    assert_int_equal(handled, 1);
    assert_ptr_equal(tn_set_error_handler(NULL), handler);
    assert_int_equal(tn_check(TN_ERR_ARGUMENT), TN_ERR_ARGUMENT); /* the default does nothing */
    check_error(TN_ERR_ARGUMENT, "an error of ours");
    for (int s = 0; s <= TN_ERR_UNSUPPORTED; s++)
        assert_string_not_equal(tn_status_text((tn_status)s), "unknown status");
}

static void *fail_in_a_thread(void *unused)
{
    (void)unused;
    tn_fail(TN_ERR_INDEX, "elsewhere");
    return NULL;
}

static void test_errors_are_per_thread(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fail_in_a_thread, NULL), 0);
    pthread_join(thread, NULL);
    check_good();
}

/* ---- memory ------------------------------------------------------------------------------------------------------------- */

static void test_memory_limit(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_memory_trim();
    tn_memory_stats before = tn_get_memory_stats();
    tn_memory_set_limit(before.in_use + (1 << 20));
    assert_null(tn_zeros(TN_SHAPE(1 << 20)));
    check_error(TN_ERR_MEMORY, "out of memory");
    assert_non_null(tn_zeros(TN_SHAPE(1 << 10))); /* the program goes on */
    tn_memory_set_limit(0);
    assert_non_null(tn_zeros(TN_SHAPE(1 << 20)));
    check_good();
    assert_true(tn_get_memory_stats().peak >= before.in_use + (4 << 20));
}

/* What the thread keeps for itself makes way under a cap. */
static void test_memory_limit_and_the_cache(void **state)
{
    (void)state;
    tn_scope_clear();
    tn_memory_trim();
    tn_memory_set_limit(tn_get_memory_stats().in_use + (4 << 20));
    {
        TN_SCOPE;
        for (int i = 0; i < 3000; i++)
            assert_non_null(tn_empty(TN_SHAPE(1 + i % 8 * 32)));
    }
    tn_tensor *x = tn_empty(TN_SHAPE(800000));
    tn_memory_stats stats = tn_get_memory_stats();
    tn_memory_set_limit(0);
    check_good();
    assert_non_null(x);
    assert_true(stats.in_use + stats.cached <= stats.limit && stats.system <= stats.allocations);
}

static int64_t address_space(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Where the system has no more, what lies in the cache is given back and asked for again. */
static void test_the_cache_helps_a_system_without_memory(void **state)
{
    (void)state;
    {
        TN_SCOPE;
        tn_empty(TN_SHAPE(24 << 20)); /* 96 MiB */
    }
    int64_t now = address_space();
    if (tn_get_memory_stats().cached < 96 << 20 || !now) {
        print_message("skipped: nothing is cached, or no /proc\n");
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit most = {(rlim_t)now + (16 << 20), (rlim_t)now + (16 << 20)};
        bool good = setrlimit(RLIMIT_AS, &most) == 0 && tn_empty(TN_SHAPE(20 << 20)) && !tn_empty(TN_SHAPE(28 << 20)) &&
                    tn_last_status() == TN_ERR_MEMORY;
        _exit(good ? 0 : 1);
    }
    int status = -1;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    tn_memory_trim();
}

static void test_memory_comes_back(void **state)
{
    (void)state;
    tn_scope_clear();
    int64_t before = tn_get_memory_stats().in_use;
    for (int round = 0; round < 3; round++) {
        TN_SCOPE;
        for (int64_t n = 1; n < 2000000; n = n * 3 + 1)
            tn_empty(TN_SHAPE(n));
        assert_true(tn_get_memory_stats().in_use > before + 4000000);
    }
    assert_int_equal(tn_get_memory_stats().in_use, before);
    tn_memory_trim();
    assert_int_equal(tn_get_memory_stats().cached, 0);
}

static void test_sizes_that_cannot_be(void **state)
{
    (void)state;
    assert_null(tn_zeros(TN_SHAPE(INT64_MAX / 2, 8)));
    check_error(TN_ERR_SHAPE, "more elements than can be counted");
    assert_null(tn_zeros(TN_SHAPE(INT64_C(1) << 45)));
    check_error(TN_ERR_MEMORY, "out of memory");
    assert_null(tn_zeros(TN_SHAPE(2, -1)));
    check_error(TN_ERR_SHAPE, "negative");
    assert_null(tn_zeros(TN_SHAPE(1, 1, 1, 1, 1, 1, 1, 1, 1)));
    check_error(TN_ERR_SHAPE, "at most 8");
}

/* ---- dtypes, shapes, access --------------------------------------------------------------------------------------------- */

static void test_promotion(void **state)
{
    (void)state;
    assert_int_equal(tn_promote(TN_I64, TN_F16), TN_F16);
    assert_int_equal(tn_promote(TN_F16, TN_BF16), TN_F32);
    assert_int_equal(tn_promote(TN_U8, TN_I8), TN_I16);
    assert_int_equal(tn_promote(TN_U8, TN_I16), TN_I16);
    assert_int_equal(tn_promote(TN_BOOL, TN_U8), TN_U8);
    assert_int_equal(tn_promote(TN_F32, TN_F64), TN_F64);
    for (int a = 0; a < TN_DTYPE_COUNT; a++)
        for (int b = 0; b < TN_DTYPE_COUNT; b++)
            assert_int_equal(tn_promote((tn_dtype)a, (tn_dtype)b), tn_promote((tn_dtype)b, (tn_dtype)a));
    TN_SCOPE;
    tn_tensor *half = tn_ones(TN_SHAPE(2), .dtype = TN_F16), *whole = tn_ones(TN_SHAPE(2), .dtype = TN_I32);
    assert_int_equal(tn_dtype_of(tn_add(half, 2.5)), TN_F16);
    assert_int_equal(tn_dtype_of(tn_add(whole, 2)), TN_I32);
    assert_int_equal(tn_dtype_of(tn_add(whole, 2.5)), TN_F32);
    assert_int_equal(tn_dtype_of(tn_add(whole, true)), TN_I32);
    assert_int_equal(tn_dtype_of(tn_add(half, tn_ones(TN_SCALAR, .dtype = TN_F64))), TN_F16);
    assert_int_equal(tn_dtype_of(tn_add(half, tn_ones(TN_SHAPE(1), .dtype = TN_F64))), TN_F64);
}

static void test_what_a_tensor_is(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_arange(0, 6, .dtype = TN_F32), *m = tn_reshape(x, TN_SHAPE(2, 3));
    assert_int_equal(tn_ndim(m), 2);
    assert_int_equal(tn_size(m, -1), 3);
    assert_int_equal(tn_stride(m, 0), 3);
    assert_int_equal(tn_numel(m), 6);
    assert_true(tn_is_contiguous(m));
    assert_true(tn_shares_storage(x, m));
    assert_true(tn_at(m, TN_SHAPE(1, -1)) == 5);
    assert_int_equal(tn_size(m, 2), -1);
    check_error(TN_ERR_INDEX, "dim 2 is out of range");
    assert_true(isnan(tn_at(m, TN_SHAPE(2, 0))));
    check_error(TN_ERR_INDEX, "index 2 is out of range for dim 0 of [2, 3]");
    assert_true(isnan(tn_item(m)));
    check_error(TN_ERR_SHAPE, "not a single element");
    float few[3];
    assert_int_equal(tn_to_floats(m, few, 3), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "6 elements, and 3 were asked for");
    uint64_t version = tn_version_of(x);
    ((float *)tn_data_mut(m))[0] = 9;
    assert_int_equal(tn_version_of(x), version + 1); /* views share the version too */
    assert_true(tn_at(x, TN_SHAPE(0)) == 9);
    assert_int_equal(tn_numel(tn_zeros(TN_SHAPE(0, 3))), 0);
    assert_int_equal(tn_numel(tn_zeros(TN_SCALAR)), 1);
    assert_int_equal(tn_numel(NULL), 0);
    check_error(TN_ERR_ARGUMENT, "x is NULL");
}

static void test_devices(void **state)
{
    (void)state;
    assert_int_equal(tn_device("cpu").type, TN_CPU);
    if (!tn_cuda_available()) {
        tn_device("cuda:0");
        check_error(TN_ERR_DEVICE, "no CUDA");
    }
    tn_device("tpu");
    check_error(TN_ERR_DEVICE, "\"tpu\" is unknown");
    tn_device("cuda:x");
    check_error(TN_ERR_DEVICE, "unknown");
}

static void check_text(const tn_tensor *x, const char *due)
{
    char text[512];
    assert_int_equal(tn_format(x, text, sizeof text), strlen(due));
    assert_string_equal(text, due);
}

static void test_printing(void **state)
{
    (void)state;
    TN_SCOPE;
    check_text(tn_from_doubles((double[]){2, 1.5, 4.0 / 3}, TN_SHAPE(3)), "[2.0000, 1.5000, 1.3333]");
    check_text(tn_reshape(tn_arange(0, 4), TN_SHAPE(2, 2)), "[[0, 1],\n [2, 3]]");
    check_text(tn_full(TN_SCALAR, 3), "3.");
    check_text(tn_zeros(TN_SHAPE(0)), "[]");
    check_text(tn_from_doubles((double[]){NAN, -INFINITY, 1}, TN_SHAPE(3)), "[ nan, -inf,   1.]");
    check_text(tn_from_doubles((double[]){1e10, 1}, TN_SHAPE(2)), "[1.0000e+10, 1.0000e+00]");
    check_text(tn_arange(0, 2000), "[   0,    1,    2, ..., 1997, 1998, 1999]");
    char tiny[4];
    assert_int_equal(tn_format(tn_arange(0, 4), tiny, sizeof tiny), strlen("[0, 1, 2, 3]")); /* cut, and closed */
    assert_string_equal(tiny, "[0,");
    assert_int_equal(tn_format(tn_ones(TN_SHAPE(2)), NULL, 10), 8); /* as snprintf: how long it would be */
}

static void test_allclose(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *a = tn_from_doubles((double[]){1, NAN, INFINITY}, TN_SHAPE(3)), *b = tn_from_doubles((double[]){1.00001, NAN, INFINITY}, TN_SHAPE(3));
    assert_true(tn_allclose(a, b, 1e-4, 0, true));
    assert_false(tn_allclose(a, b, 1e-4, 0, false));
    assert_false(tn_allclose(a, b, 1e-7, 0, true));
    assert_false(tn_equal(a, b));
    tn_tensor *c = tn_arange(0, 3);
    assert_true(tn_equal(c, tn_arange(0, 3)));
    assert_false(tn_equal(c, tn_arange(0, 3, .dtype = TN_F32)));
    assert_false(tn_allclose(a, tn_zeros(TN_SHAPE(2)), 0, 0, false));
    check_error(TN_ERR_SHAPE, "allclose");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_scope_releases_what_it_holds), TEST(test_pass_and_every_way_out), TEST(test_pass_through_two_scopes),
        TEST(test_keep_adopt_retain), TEST(test_scope_clear_empties_the_root), TEST(test_a_threads_root_scope_ends_with_it),
        TEST(test_a_callers_memory), TEST(test_own_storage_is_aligned), TEST(test_the_first_error_sticks),
        TEST(test_the_place_is_the_innermost), TEST(test_the_handler), TEST(test_errors_are_per_thread), TEST(test_memory_limit),
        TEST(test_memory_limit_and_the_cache),
        TEST(test_the_cache_helps_a_system_without_memory), TEST(test_memory_comes_back), TEST(test_sizes_that_cannot_be), TEST(test_promotion), TEST(test_what_a_tensor_is),
        TEST(test_devices), TEST(test_printing), TEST(test_allclose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
