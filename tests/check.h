/* What every test program uses: cmocka, and checks that say what Tenon's error was. */
#ifndef TN_TEST_CHECK_H
#define TN_TEST_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <tenon/tenon.h>

/* Under an address sanitizer the library caches no memory, and it is the sanitizer that tells of memory used after its release. */
#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif
#ifndef ADDRESS_SANITIZER
#define ADDRESS_SANITIZER 0
#endif

/* Under an emulator (TENON_TEST_QUICK) and a sanitizer what takes minutes there is left to the plain run. */
static inline bool test_emulated(void) { return getenv("TENON_TEST_QUICK") != NULL; }
static inline bool test_quickly(void) { return ADDRESS_SANITIZER || test_emulated(); }

/* For a test that loads safetensors. */
static inline void without_cjson_skip(void)
{
#ifndef TENON_HAVE_CJSON
    print_message("skipped: no cJSON in this build to read safetensors with\n");
    skip();
#endif
}

static inline void without_zip_skip(void)
{
#ifndef TENON_HAVE_ZIP
    print_message("skipped: no libzip in this build to read .pt files with\n");
    skip();
#endif
}

/* What a safetensors file makes of the dict; in a build without cJSON, which reads none, the dict itself. */
static inline tn_dict *through_a_file(tn_dict *dict, const char *path)
{
#ifdef TENON_HAVE_CJSON
    return tn_save_safetensors(dict, path) == TN_OK ? tn_load_safetensors(path) : NULL;
#else
    (void)path;
    return dict;
#endif
}

/* No error sticks. */
#define check_good()                                                                                                          \
    do {                                                                                                                      \
        if (tn_last_status() != TN_OK)                                                                                        \
            fail_msg("unexpected error: %s", tn_last_error());                                                                \
    } while (0)

/* The status sticks and the message has the words; clears it. */
#define check_error(status, words)                                                                                            \
    do {                                                                                                                      \
        if (tn_last_status() == TN_OK)                                                                                        \
            fail_msg("no error, where one with \"%s\" was due", words);                                                       \
        if (!strstr(tn_last_error(), words))                                                                                  \
            fail_msg("\"%s\" does not have \"%s\"", tn_last_error(), words);                                                  \
        assert_int_equal(tn_last_status(), status);                                                                           \
        tn_clear_error();                                                                                                     \
    } while (0)

/* The tensor's elements, in row-major order, are those given, to within tolerance * (1 + |expected|); NaN equals NaN. */
#define check_values(x, tolerance, ...)                                                                                       \
    check_values_((x), (tolerance), (const double[]){__VA_ARGS__}, (int64_t)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)),   \
                  __FILE__, __LINE__)
static inline void check_values_(const tn_tensor *x, double tolerance, const double *expected, int64_t count, const char *file, int line)
{
    double values[4096];
    check_good();
    if (tn_numel(x) != count || count > 4096)
        fail_msg("%s:%d: %lld elements where %lld were due", file, line, (long long)tn_numel(x), (long long)count);
    if (tn_to_doubles(x, values, count) != TN_OK)
        fail_msg("%s:%d: %s", file, line, tn_last_error());
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(values[i] - expected[i]) <= tolerance * (1 + fabs(expected[i]))) && values[i] != expected[i] &&
            !(isnan(values[i]) && isnan(expected[i])))
            fail_msg("%s:%d: element %lld is %.17g, %.17g was due", file, line, (long long)i, values[i], expected[i]);
}

#define check_shape(x, ...)                                                                                                   \
    do {                                                                                                                      \
        tn_shape due_ = TN_SHAPE(__VA_ARGS__), is_ = tn_shape_of(x);                                                          \
        assert_int_equal(is_.ndim, due_.ndim);                                                                                \
        for (int i_ = 0; i_ < due_.ndim; i_++)                                                                                \
            assert_int_equal(is_.sizes[i_], due_.sizes[i_]);                                                                  \
    } while (0)

/* setup and teardown of each test: what lives at the end must have lived at the start, and no error may stick. */
static int64_t live_at_start_;
static inline int begin_test(void **state)
{
    (void)state;
    live_at_start_ = tn_live_objects();
    return 0;
}
static inline int end_test(void **state)
{
    (void)state;
    if (tn_last_status() != TN_OK)
        print_error("an error was left sticking: %s\n", tn_last_error());
    int failed = tn_last_status() != TN_OK;
    tn_clear_error();
    tn_scope_clear();
    if (tn_live_objects() != live_at_start_) {
        print_error("%lld objects live, %lld at the start\n", (long long)tn_live_objects(), (long long)live_at_start_);
        failed = 1;
    }
    return failed;
}
#define TEST(function) cmocka_unit_test_setup_teardown(function, begin_test, end_test)

#endif
