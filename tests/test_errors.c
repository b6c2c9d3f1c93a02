/* DESIGN section 4, errors: each test is headed by the line that it stands for. The first error, its place and the handler are in
 * test_core.c and test_sites.c, memory that fails in test_torment.c, what every function does while an error sticks in zeros.awk, what the
 * compiler refuses in refused.sh.
 * labels: threads */
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/core.h"

#include <tenon/io.h>

/* ---- what is printed ------------------------------------------------------------------------------------------------------ */

/* Between both calls a stream goes into a file; the second gives how much that was, and the text. */
typedef struct captured {
    FILE *stream, *file;
    int former;
    char text[512];
} captured;

static void capture(captured *c, FILE *stream)
{
    fflush(stream);
    c->stream = stream;
    c->file = tmpfile();
    c->former = dup(fileno(stream));
    assert_non_null(c->file);
    assert_true(dup2(fileno(c->file), fileno(stream)) >= 0);
}

static size_t captured_text(captured *c)
{
    fflush(c->stream);
    dup2(c->former, fileno(c->stream));
    close(c->former);
    rewind(c->file);
    size_t length = fread(c->text, 1, sizeof c->text - 1, c->file);
    c->text[length] = 0;
    fclose(c->file);
    return length;
}

/* "The library never exits, never aborts, never prints, on anything a caller or a file can cause: shapes, dtypes, devices, indices, files,
 * memory." */
static void test_errors_are_silent(void **state)
{
    (void)state;
    TN_SCOPE;
    captured out, err;
    capture(&out, stdout);
    capture(&err, stderr);
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3));
    int failures = 0;
#define FAILS(call) (failures += !(call) && tn_last_status() != TN_OK, tn_clear_error())
    FAILS(tn_add(x, tn_ones(TN_SHAPE(4))));
    FAILS(tn_matmul(x, tn_ones(TN_SHAPE(3, 2), .dtype = TN_F64)));
    FAILS(tn_zeros(TN_SHAPE(2), .device = &(tn_device_id){TN_CUDA, 99}));
    FAILS(tn_select(x, 0, 5));
    FAILS(tn_load_safetensors("/no/such/file"));
    FAILS(tn_load_idx(TN_SOURCE_DIR "/LICENSE"));
    FAILS(tn_empty(TN_SHAPE(INT64_C(1) << 45)));
    FAILS(tn_cross_entropy(x, tn_from_ints(((int64_t[]){0, 7}), TN_SHAPE(2))));
    FAILS(tn_conv2d_new(1, 2, 0));
    FAILS(tn_backward(x) == TN_OK);
    FAILS(tn_sequential_new(tn_relu_new(), NULL));
    size_t printed = captured_text(&err) + captured_text(&out);
    assert_int_equal(failures, 11);
    assert_int_equal(printed, 0);
}

static char warned[512];
static void keep_warning(const char *text, void *context)
{
    (void)context;
    snprintf(warned, sizeof warned, "%s", text);
}

/* Names out of files stand in messages, which may go to a terminal. */
static void test_messages_tell_a_terminal_nothing(void **state)
{
    (void)state;
    static const char name[] = "\033[2J\r\n\t\177\xc2\x9b\xff\xe2\x82 \\d\xc3\xb6\xf0\x9f\xa6\x99",
                      told[] = "\\x1b[2J\\x0d\\n\\t\\x7f\\xc2\\x9b\\xff\\xe2\\x82 \\d\xc3\xb6\xf0\x9f\xa6\x99";
    char path[80], many[801];
    snprintf(path, sizeof path, "/absent/%s", name);
    assert_null(tn_load_idx(path));
    assert_non_null(strstr(tn_last_error(), told));
    tn_fail_within("in %s", name);
    char within[200];
    snprintf(within, sizeof within, "in %s: load_idx: /absent/%s", told, told);
    check_error(TN_ERR_IO, within);
    tn_set_log_handler(keep_warning, NULL);
    tn_warn("%s", name);
    tn_set_log_handler(NULL, NULL);
    assert_string_equal(warned, told);
    memset(many, 1, sizeof many - 1);
    many[sizeof many - 1] = 0;
    (tn_fail)(TN_ERR_FORMAT, "a%s", many); /* what there is no room for is cut, between two characters */
    const char *message = tn_last_error();
    const size_t length = strlen(message);
    assert_int_equal(length, 1 + 4 * 159); /* of 640 with the 0 at the end */
    for (size_t i = 1; i < length; i += 4)
        assert_memory_equal(message + i, "\\x01", 4);
    tn_fail_within("%s", many); /* nothing is left for what it is of */
    check_error(TN_ERR_FORMAT, "a\\x01");
}

/* ---- while an error sticks ------------------------------------------------------------------------------------------------ */

/* "so a NULL that means "no bias" is never taken for one that failed" */
static void test_an_optional_argument_that_failed(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3)), *w = tn_ones(TN_SHAPE(4, 3));
    tn_tensor *image = tn_ones(TN_SHAPE(1, 1, 4, 4)), *k = tn_ones(TN_SHAPE(1, 1, 3, 3));
    assert_non_null(tn_linear(x, w, NULL));
    assert_null(tn_linear(x, w, tn_reshape(x, TN_SHAPE(4))));
    check_error(TN_ERR_SHAPE, "reshape");
    assert_non_null(tn_conv2d(image, k, NULL));
    assert_null(tn_conv2d(image, k, tn_select(x, 0, 9)));
    check_error(TN_ERR_INDEX, "select");
    tn_tensor *target = tn_from_ints(((int64_t[]){0, 1}), TN_SHAPE(2));
    assert_null(tn_cross_entropy(x, target, .weight = tn_zeros(TN_SHAPE(-3))));
    check_error(TN_ERR_SHAPE, "zeros");
    tn_tensor *leaf = tn_ones(TN_SHAPE(1), .requires_grad = true);
    assert_int_equal(tn_backward(tn_mul(leaf, 2), .grad = tn_add(leaf, tn_matmul(x, x))), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "matmul");
    assert_null(tn_grad(leaf));
    tn_module *net = tn_linear_new(3, 1);
    assert_int_equal(tn_set_grad(tn_parameter(net, "weight"), tn_matmul(x, x)), TN_ERR_SHAPE); /* NULL would clear it */
    check_error(TN_ERR_SHAPE, "matmul");
    tn_release(net);
}

/* "the first error sticks, per thread, until tn_clear_error()": and a new one is then told in its own words */
static void test_after_clearing_the_next_one_is_told(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3));
    assert_null(tn_matmul(x, x));
    assert_null(tn_select(x, 0, 9));
    check_error(TN_ERR_SHAPE, "matmul");
    assert_null(tn_select(x, 0, 9));
    check_error(TN_ERR_INDEX, "select");
}

/* "retain, release, closing a scope, print and saving still work" */
static void test_what_works_while_an_error_sticks(void **state)
{
    (void)state;
    char path[] = "/tmp/tenon-errors-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    int64_t live = tn_live_objects();
    tn_module *net = tn_sequential_new(tn_linear_new(2, 3), tn_linear_new(3, 1));
    tn_tensor *kept;
    {
        TN_SCOPE;
        tn_tensor *x = tn_arange(0, 4, .dtype = TN_F64), *strided = tn_transpose(tn_reshape(x, TN_SHAPE(2, 2)), 0, 1);
        tn_matmul(x, tn_ones(TN_SHAPE(3), .dtype = TN_F64));
        tn_status status = tn_last_status();
        assert_int_equal(status, TN_ERR_SHAPE);
        char before[512];
        snprintf(before, sizeof before, "%s", tn_last_error());

        kept = tn_retain(tn_keep(strided));
        tn_release(kept);
        captured out;
        capture(&out, stdout);
        tn_print(kept);
        captured_text(&out);
        assert_string_equal(out.text, "[[0., 2.],\n [1., 3.]]\n");
        tn_memory_trim();
        tn_memory_set_limit(1); /* printing fails now, and writes over no error */
        char text[64];
        tn_format(kept, text, sizeof text);
        tn_memory_set_limit(0);
        assert_string_equal(tn_last_error(), before);

        assert_int_equal(tn_save_module(net, path), TN_OK);
        assert_int_equal(tn_save_safetensors(tn_state_dict(net), path), TN_OK);
        assert_null(tn_state_dict(NULL)); /* which says nothing: the first error sticks */
        assert_int_not_equal(tn_save_module(net, "/no/such/folder/file"), TN_OK);
        assert_string_equal(tn_last_error(), before);
        assert_int_equal(tn_last_status(), status);
    } /* the scope closes */
    assert_int_equal(tn_last_status(), TN_ERR_SHAPE);
    tn_clear_error();
    check_values(kept, 0, 0, 2, 1, 3);
    tn_release(kept);
#ifdef TENON_HAVE_CJSON /* it came out whole */
    tn_module *other = tn_sequential_new(tn_linear_new(2, 3), tn_linear_new(3, 1));
    assert_int_equal(tn_load_module(other, path), TN_OK);
    assert_true(tn_equal(tn_parameter(net, "1.weight"), tn_parameter(other, "1.weight")));
    tn_release(other);
#endif
    tn_release(net);
    tn_scope_clear();
    assert_int_equal(tn_live_objects(), live);
    remove(path);
}

/* ---- the handler ---------------------------------------------------------------------------------------------------------- */

static pthread_t handled_on;
static double handled_sum;
static char handled_text[256];

/* Does what a program may want to: it reads the error, clears it, computes, allocates and asks for statistics. */
static void busy_handler(void)
{
    handled_on = pthread_self();
    snprintf(handled_text, sizeof handled_text, "%s", tn_last_error());
    tn_clear_error();
    TN_SCOPE;
    tn_memory_trim();
    handled_sum = tn_item(tn_sum(tn_ones(TN_SHAPE(1 << 20)))) + (double)(tn_get_memory_stats().limit > 0);
    tn_set_error_handler(busy_handler);
    tn_set_log_handler(NULL, NULL);
}

static void *fail_here(void *argument)
{
    TN_SCOPE;
    tn_memory_set_limit(tn_get_memory_stats().in_use + (8 << 20)); /* an error from under the allocator's lock */
    tn_check((tn_zeros(TN_SHAPE(1 << 22)), tn_last_status()));
    tn_memory_set_limit(0);
    *(pthread_t *)argument = pthread_self();
    return NULL;
}

/* "The handler ... runs on the failing thread with no lock held" */
static void test_the_handler_may_call_the_library(void **state)
{
    (void)state;
    tn_set_error_handler(busy_handler);
    pthread_t thread, failed_on;
    assert_int_equal(pthread_create(&thread, NULL, fail_here, &failed_on), 0);
    pthread_join(thread, NULL);
    assert_true(pthread_equal(handled_on, failed_on));
    assert_true(handled_sum == (1 << 20) + 1);
    assert_non_null(strstr(handled_text, "out of memory"));
    assert_ptr_equal(tn_set_error_handler(NULL), busy_handler);
    check_good();
}

/* "tn_die prints and exits" */
static void test_tn_die(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        tn_set_error_handler(tn_die);
        tn_fail(TN_ERR_IO, "a disk of %d bytes", 3);
        tn_check(tn_last_status());
        _exit(0); /* it did not */
    }
    close(ends[1]);
    char text[256] = "";
    ssize_t length = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_true(length > 0 && strstr(text, "tenon: a disk of 3 bytes"));
}

/* ---- the message ---------------------------------------------------------------------------------------------------------- */

/* "matmul: a is [2, 3] and b is [4, 5]: the inner sizes 3 and 4 differ (train.c:41)" */
static void test_the_message_of_the_design(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *a = tn_ones(TN_SHAPE(2, 3)), *b = tn_ones(TN_SHAPE(4, 5));
#line 41 "train.c"
    tn_matmul(a, b);
    check_error(TN_ERR_SHAPE, "matmul: a is [2, 3] and b is [4, 5]: the inner sizes 3 and 4 differ (train.c:41)");
}

/* "The message names the op, the argument, the shapes, dtypes and devices ... and what would be right" */
static void test_messages_name_what_differs(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2, 3));
    tn_cat((tn_tensor *[]){x, tn_ones(TN_SHAPE(2, 4, 1))}, 2, 0);
    check_error(TN_ERR_SHAPE, "[2, 4, 1]");
    tn_linear(x, tn_ones(TN_SHAPE(3, 3), .dtype = TN_F64), NULL);
    check_error(TN_ERR_DTYPE, "float64");
    tn_zeros(TN_SHAPE(2), .device = &(tn_device_id){TN_CUDA, 99});
    check_error(TN_ERR_DEVICE, "cuda:99");
    tn_sum(x, .dim = 4);
    check_error(TN_ERR_INDEX, "sum: dim 4 is out of range for 2 dimensions: give -2 to 1");
    tn_add_(x, tn_ones(TN_SHAPE(5, 2, 3)));
    check_error(TN_ERR_SHAPE, "add_: x is [2, 3] and the result would be [5, 2, 3]");
    tn_call(NULL, x);
    check_error(TN_ERR_ARGUMENT, "call: the module is NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_errors_are_silent), TEST(test_messages_tell_a_terminal_nothing), TEST(test_an_optional_argument_that_failed), TEST(test_after_clearing_the_next_one_is_told),
        TEST(test_what_works_while_an_error_sticks), TEST(test_the_handler_may_call_the_library), TEST(test_tn_die),
        TEST(test_the_message_of_the_design), TEST(test_messages_name_what_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
