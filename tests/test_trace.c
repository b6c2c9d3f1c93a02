/* TENON_TRACE: a child runs a little training with it; its file is JSON, and the spans lie in each other as the calls did. */
#include "decimal_point.h"

#include <sys/wait.h>

#ifdef TENON_HAVE_CJSON
#include <cjson/cJSON.h>
#endif

static char path[128];
static char warning[256];
static void keep_warning(const char *text, void *context) { snprintf(context, sizeof warning, "%s", text); }

static void train(void)
{
    TN_SCOPE;
    tn_module *net = tn_adopt(tn_linear_new(3, 4));
    tn_tensor *loss = tn_mean(tn_exp(tn_call(net, tn_rand(TN_SHAPE(5, 3)))));
    if (tn_backward(loss) != TN_OK)
        exit(2);
}

/* Runs the child with TENON_TRACE=to; its exit status. */
static int run_child(const char *to)
{
    pid_t child = fork(); /* nothing of the library has run here: the child chooses its kernels */
    assert_true(child >= 0);
    if (child == 0) {
        set_decimal_point(",");
        setenv("TENON_TRACE", to, 1);
        tn_set_log_handler(keep_warning, warning);
        train();
        exit(strstr(warning, "cannot be written") ? 3 : *warning ? 4 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_a_file_that_cannot_be(void **state)
{
    (void)state;
    assert_int_equal(run_child("/nonexistent/trace.json"), 3);
    assert_int_equal(run_child(""), 0);
}

#ifdef TENON_HAVE_CJSON
static cJSON *spans;

/* The n-th span of that name and category. */
static const cJSON *span_of(const char *category, const char *name)
{
    const cJSON *span;
    cJSON_ArrayForEach(span, spans)
    {
        const cJSON *of = cJSON_GetObjectItem(span, "cat");
        if (of && strcmp(of->valuestring, category) == 0 && strcmp(cJSON_GetObjectItem(span, "name")->valuestring, name) == 0)
            return span;
    }
    fail_msg("no span %s of %s", name, category);
    return NULL;
}

static double number(const cJSON *span, const char *key) { return cJSON_GetObjectItem(span, key)->valuedouble; }
static const char *detail(const cJSON *span, const char *key)
{
    return cJSON_GetObjectItem(cJSON_GetObjectItem(span, "args"), key)->valuestring;
}

static void test_spans(void **state)
{
    (void)state;
    assert_int_equal(run_child(path), 0);
    static char text[1 << 20];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    spans = cJSON_Parse(text);
    assert_non_null(spans);
    assert_true(cJSON_IsArray(spans));

    const cJSON *module = span_of("module", "linear"), *gemm = span_of("kernel", "gemm"), *exp = span_of("kernel", "exp");
    const cJSON *backward = span_of("backward", "exp"), *mul = span_of("kernel", "mul");
    assert_string_equal(detail(gemm, "dtype"), "float32");
    assert_string_equal(detail(gemm, "batch, m, n, k"), "[1, 5, 4, 3]");
    assert_string_equal(detail(exp, "loop"), "[20]");
    const cJSON *args = cJSON_GetObjectItem(gemm, "args");
    const double us = number(gemm, "dur"), rate = number(args, "gflops"), bytes = number(args, "gbytes"), roofline = number(args, "roofline");
    assert_true(fabs(1e3 * rate * us - 2 * 5 * 4 * 3) < 0.0006 * 1e3 * us + 0.001 * 1e3 * rate); /* both are rounded to three digits */
    assert_true(fabs(1e3 * bytes * us - 4 * (15 + 12 + 4 + 20)) < 0.0006 * 1e3 * us + 0.001 * 1e3 * bytes);
    assert_true(roofline >= 0 && roofline < 3 && strlen(detail(gemm, "bound")) >= 2);
    assert_string_equal(detail(span_of("kernel", "reduce_mean"), "reduced"), "[20]");
    assert_true(number(gemm, "ts") >= number(module, "ts"));
    assert_true(number(gemm, "ts") + number(gemm, "dur") <= number(module, "ts") + number(module, "dur") + 0.01);
    assert_true(number(exp, "ts") >= number(module, "ts") + number(module, "dur") - 0.01);
    assert_true(number(mul, "ts") >= number(backward, "ts") && number(mul, "dur") <= number(backward, "dur"));
    assert_true(number(exp, "tid") == number(module, "tid") && number(exp, "pid") > 0);
    cJSON_Delete(spans);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef TENON_HAVE_CJSON
        TEST(test_spans),
#endif
        TEST(test_a_file_that_cannot_be),
    };
    if (!make_folder("trace"))
        return 1;
    snprintf(path, sizeof path, "%s", in_folder("trace.json"));
    return cmocka_run_group_tests(tests, NULL, NULL) + !remove_folder();
}
