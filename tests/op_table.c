#include "op_table.h"

#include <stdio.h>

#ifdef TENON_HAVE_CJSON

#include <stdlib.h>

#include "core/core.h"

enum { MAX_TENSORS = 8, MAX_DIFFERENCES = 80 };

static const op_row *rows;
static cJSON *family_json;

static const cJSON *cases(void) { return case_get(family_json, "cases"); }

bool op_table_load(const char *family, const op_row *table)
{
    char name[64];
    snprintf(name, sizeof name, "ops_%s", family);
    family_json = case_file(name);
    rows = table;
    if (case_device()) /* the rest of a family's tests is about the operators, not the kernels */
        cmocka_set_test_filter("op_test_*");
    return family_json != NULL;
}

static const op_row *row_of(const char *op)
{
    const op_row *row = rows;
    while (row->name && strcmp(row->name, op))
        row++;
    return row->name ? row : NULL;
}

/* ---- comparing --------------------------------------------------------------------------------------------------------- */

typedef struct op_run {
    const cJSON *json;
    const op_row *row;
    op_args args;
    case_mode mode;
    tn_tensor *in[MAX_TENSORS], *out[MAX_TENSORS];
    int n_in, n_out;
    int wrong;
} op_run;

static bool wrong(op_run *run, const char *what, int index, const char *format, ...) TN_PRINTF(4, 5);
static bool wrong(op_run *run, const char *what, int index, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    print_error("%s: %s %d: %s\n", case_text(run->json, "name"), what, index, text);
    run->wrong++;
    return false;
}

/* A case may widen what a dtype is allowed, by rtol64 or rtol32. */
static double tolerance(const op_run *run, tn_dtype dtype)
{
    static const double usual[] = {[TN_F32] = 1e-5, [TN_F64] = 1e-10, [TN_F16] = 2e-3, [TN_BF16] = 1.6e-2};
    const cJSON *own = dtype == TN_F32 ? case_get(run->json, "rtol32") : dtype == TN_F64 ? case_get(run->json, "rtol64") : NULL;
    return own ? own->valuedouble : dtype <= TN_BF16 ? usual[dtype] : 0;
}

/* Against {dtype, shape, data} or, of large results, {.., step, data}: each step-th element. */
static bool matches(op_run *run, const char *what, int index, const tn_tensor *got, const cJSON *want)
{
    if (!got)
        return wrong(run, what, index, "NULL: %s", tn_last_error() ? tn_last_error() : "no error");
    tn_shape shape = case_shape(case_get(want, "shape"));
    tn_dtype dtype = case_dtype(case_text(want, "dtype"));
    if (run->mode == MODE_F32 && dtype == TN_F64 && !cJSON_IsTrue(case_get(want, "fixed")))
        dtype = TN_F32;
    if (!tn_shape_equal(tn_shape_of(got), shape))
        return wrong(run, what, index, "shape %s, not %s", tn_text(got), tn_shape_text(shape));
    if (tn_dtype_of(got) != dtype)
        return wrong(run, what, index, "dtype %s, not %s", tn_dtype_name(tn_dtype_of(got)), tn_dtype_name(dtype));
    int64_t step = case_get(want, "step") ? (int64_t)case_number(case_get(want, "step")) : 1, n = got->numel, i = 0;
    double *values = test_malloc(sizeof(double) * (size_t)(n + 1)), scale = 1e-2;
    bool same = true;
    if (tn_to_doubles(got, values, n))
        same = wrong(run, what, index, "%s", tn_last_error());
    const cJSON *item;
    cJSON_ArrayForEach(item, case_get(want, "data")) scale = isfinite(case_number(item)) ? fmax(scale, fabs(case_number(item))) : scale;
    cJSON_ArrayForEach(item, case_get(want, "data"))
    {
        double a = i < n ? values[i] : NAN, b = case_number(item), allowed = tolerance(run, dtype) * (fabs(b) + scale);
        if (same && !(a == b || (isnan(a) && isnan(b) && i < n) || (isfinite(b) && fabs(a - b) <= allowed)))
            same = wrong(run, what, index, "element %lld of %s is %.17g, not %.17g", (long long)i, tn_text(got), a, b);
        i += step;
    }
    test_free(values);
    return same;
}

/* ---- running ----------------------------------------------------------------------------------------------------------- */

static bool has_gradient(const cJSON *json, int input)
{
    const cJSON *grad = cJSON_GetArrayItem(case_get(json, "grads"), input);
    return grad && !cJSON_IsNull(grad);
}

static bool forward(op_run *run)
{
    const cJSON *input;
    cJSON_ArrayForEach(input, case_get(run->json, "inputs"))
    {
        run->in[run->n_in] = case_input(input, run->mode, has_gradient(run->json, run->n_in));
        if (!run->in[run->n_in])
            return wrong(run, "input", run->n_in, "%s", tn_last_error());
        run->n_in++;
    }
    run->args = (op_args){run->json, run->n_in};
    run->n_out = cJSON_GetArraySize(case_get(run->json, "outputs"));
    run->out[0] = run->row->run(run->in, &run->args, run->out);
    return !tn_last_error() || wrong(run, "output", 0, "%s", tn_last_error());
}

/* Gradients of sum(output * weights) over the outputs that PyTorch differentiates. */
static void backward(op_run *run)
{
    tn_tensor *outputs[MAX_TENSORS], *weights[MAX_TENSORS], *inputs[MAX_TENSORS], *grads[MAX_TENSORS];
    int n_out = 0, n_in = 0, index[MAX_TENSORS];
    for (int k = 0; k < run->n_out; k++) {
        if (!cJSON_IsTrue(case_get(cJSON_GetArrayItem(case_get(run->json, "outputs"), k), "weighted")))
            continue;
        outputs[n_out] = run->out[k];
        weights[n_out++] = case_weights(run->out[k], k);
    }
    for (int k = 0; k < run->n_in; k++)
        if (has_gradient(run->json, k)) {
            index[n_in] = k;
            inputs[n_in++] = run->in[k];
        }
    if (!n_in || !n_out)
        return;
    tn_grads_of_args args = {.size = sizeof args, .grads = weights, .allow_unused = true, .outputs = outputs, .output_count = n_out,
                             .inputs = inputs, .input_count = n_in, .results = grads};
    if (tn_grads_of_with(&args)) {
        wrong(run, "backward", 0, "%s", tn_last_error());
        return;
    }
    for (int k = 0; k < n_in; k++)
        matches(run, "gradient", index[k], grads[k], cJSON_GetArrayItem(case_get(run->json, "grads"), index[k]));
}

static int run_case(const cJSON *json, case_mode mode)
{
    op_run run = {.json = json, .mode = mode, .row = row_of(case_text(json, "op"))};
    if (!run.row)
        return 0;
    int64_t living = tn_live_objects();
    {
        TN_SCOPE;
        if (forward(&run)) {
            bool good = true;
            for (int k = 0; k < run.n_out; k++)
                good = matches(&run, "output", k, run.out[k], cJSON_GetArrayItem(case_get(json, "outputs"), k)) && good;
            if (good)
                backward(&run);
        }
    }
    tn_clear_error();
    if (tn_live_objects() != living)
        wrong(&run, "leak", 0, "%lld objects", (long long)(tn_live_objects() - living));
    return run.wrong > 0;
}

static void run_all(case_mode mode)
{
    int count = 0, failures = 0;
    const cJSON *json;
    cJSON_ArrayForEach(json, cases())
    {
        if (mode == MODE_F32 && cJSON_IsFalse(case_get(json, "f32")))
            continue;
        count++;
        failures += run_case(json, mode);
    }
    if (failures)
        fail_msg("%d of %d cases", failures, count);
    case_report(count);
}

void op_test_f64(void **state)
{
    (void)state;
    run_all(MODE_F64);
}
void op_test_f32(void **state)
{
    (void)state;
    run_all(MODE_F32);
}
void op_test_strided(void **state)
{
    (void)state;
    run_all(MODE_STRIDED);
}

void op_test_rows(void **state)
{
    (void)state;
    const cJSON *json;
    int missing = 0;
    cJSON_ArrayForEach(json, cases())
    {
        if (!row_of(case_text(json, "op"))) {
            print_error("%s: no row for %s\n", case_text(json, "name"), case_text(json, "op"));
            missing++;
        }
    }
    for (const op_row *row = rows; row->name; row++) {
        bool used = false;
        cJSON_ArrayForEach(json, cases()) used = used || !strcmp(row->name, case_text(json, "op"));
        if (!used) {
            print_error("no case for the row %s\n", row->name);
            missing++;
        }
    }
    assert_int_equal(missing, 0);
}

typedef struct differentiated {
    const op_run *run;
    int output;
} differentiated;

static tn_tensor *one_output(tn_tensor *const *inputs, int count, void *context)
{
    const differentiated *d = context;
    tn_tensor *out[MAX_TENSORS] = {NULL};
    (void)count;
    out[0] = d->run->row->run(inputs, &d->run->args, out);
    return out[d->output];
}

/* PyTorch's gradcheck: false in a case says that it has a corner at the point, second: false that the second derivative has. */
static int check_differences(const cJSON *json)
{
    op_run run = {.json = json, .mode = MODE_F64, .row = row_of(case_text(json, "op"))};
    if (!run.row || !case_get(json, "grads") || cJSON_IsFalse(case_get(json, "gradcheck")))
        return 0;
    TN_SCOPE;
    int64_t numel = 0;
    bool good = forward(&run);
    for (int k = 0; good && k < run.n_in; k++)
        numel += has_gradient(json, k) ? tn_numel(run.in[k]) : 0;
    for (int k = 0; good && numel <= MAX_DIFFERENCES && k < run.n_out; k++) {
        if (!cJSON_IsTrue(case_get(cJSON_GetArrayItem(case_get(json, "outputs"), k), "weighted")))
            continue;
        differentiated context = {&run, k};
        tn_gradcheck_args args = {.size = sizeof args, .eps = 1e-6, .atol = 1e-5, .rtol = 1e-3, .second = !cJSON_IsFalse(case_get(json, "second")),
                                  .function = one_output, .context = &context, .inputs = run.in, .count = run.n_in};
        if (tn_gradcheck_with(&args))
            good = wrong(&run, "differences", k, "%s", tn_last_error());
    }
    tn_clear_error();
    return !good;
}

void op_test_differences(void **state)
{
    (void)state;
    if (getenv("TENON_TEST_QUICK") || case_device()) {
        print_message("skipped: values and gradients only, under TENON_TEST_QUICK and on a device\n");
        skip();
    }
    int failures = 0;
    const cJSON *json;
    cJSON_ArrayForEach(json, cases()) failures += check_differences(json);
    if (failures)
        fail_msg("%d cases", failures);
}

#endif

/* ---- errors ------------------------------------------------------------------------------------------------------------ */

void op_check_error(tn_status status, const char *text, const char *file, int line)
{
    const char *error = tn_last_error();
    char words[256];
    snprintf(words, sizeof words, "%s", text);
    if (!error || tn_last_status() != status) {
        print_error("%s:%d: status %d, not %d: %s\n", file, line, (int)tn_last_status(), (int)status, error ? error : "no error");
        tn_clear_error();
        _fail(file, line);
    }
    for (char *rest = words, *word = strtok_r(rest, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (!strstr(error, word)) {
            print_error("%s:%d: no \"%s\" in: %s\n", file, line, word, error);
            tn_clear_error();
            _fail(file, line);
        }
    tn_clear_error();
}
