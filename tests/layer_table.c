#include "layer_table.h"

#ifdef TENON_HAVE_CJSON

#include <stdio.h>
#include <stdlib.h>

#include <tenon/io.h>

#include "core/core.h"

enum { MAX_TENSORS = 8, MAX_LEAVES = 64, MAX_DIFFERENCES = 150, SUM_SEED = 77, STATE_SEED = 100 };

static const layer_row *rows;
static cJSON *family_json;

static const cJSON *cases(void) { return case_get(family_json, "cases"); }

bool layer_table_load(const char *family, const layer_row *table)
{
    char name[64];
    snprintf(name, sizeof name, "layers_%s", family);
    family_json = case_file(name);
    rows = table;
    if (case_device())
        cmocka_set_test_filter("layer_test_*");
    return family_json != NULL;
}

static const layer_row *row_of(const char *layer)
{
    const layer_row *row = rows;
    while (row->name && strcmp(row->name, layer))
        row++;
    return row->name ? row : NULL;
}

typedef struct layer_run {
    const cJSON *json;
    const layer_row *row;
    op_args args;
    case_mode mode;
    bool train;
    void *module; /* the scope's */
    tn_tensor *in[MAX_TENSORS], *out[MAX_TENSORS];
    int n_in, n_out;
    /* What a gradient is asked for: inputs, then parameters. */
    tn_tensor *leaves[MAX_LEAVES];
    const char *leaf_names[MAX_LEAVES];
    const cJSON *leaf_grads[MAX_LEAVES];
    int n_leaves;
    int wrong;
} layer_run;

static bool wrong(layer_run *run, const char *what, const char *format, ...) TN_PRINTF(3, 4);
static bool wrong(layer_run *run, const char *what, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    print_error("%s, %s: %s: %s\n", case_text(run->json, "name"), run->train ? "train" : "eval", what, text);
    run->wrong++;
    return false;
}

/* ---- comparing --------------------------------------------------------------------------------------------------------- */

static double tolerance(const layer_run *run, tn_dtype dtype)
{
    const cJSON *own = dtype == TN_F32 ? case_get(run->json, "rtol32") : case_get(run->json, "rtol64");
    return !tn_dtype_is_float(dtype) ? 0 : own ? own->valuedouble : dtype == TN_F32 ? 1e-5 : 1e-10;
}

static bool elements_match(layer_run *run, const char *what, const tn_tensor *got, const double *values, const cJSON *want)
{
    double scale = 1 + case_number(case_get(want, "max")), allowed = tolerance(run, tn_dtype_of(got)) * scale, sum = 0;
    int64_t n = tn_numel(got), i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, case_get(want, "data"))
    {
        double a = i < n ? values[i] : NAN, b = case_number(item);
        if (!(a == b || (isnan(a) && isnan(b) && i < n) || (isfinite(b) && fabs(a - b) <= allowed)))
            return wrong(run, what, "element %lld of %s is %.17g, not %.17g", (long long)i, tn_text(got), a, b);
        i += (int64_t)case_number(case_get(want, "step"));
    }
    for (i = 0; i < n; i++)
        sum += values[i] * op_fill(SUM_SEED, i, -1, 1);
    double due = case_number(case_get(want, "sum"));
    if (!(fabs(sum - due) <= fmax(allowed, 1e-10 * scale) * sqrt((double)n) || (isfinite(due) == 0 && isfinite(sum) == 0)))
        return wrong(run, what, "the weighted sum of %s is %.17g, not %.17g", tn_text(got), sum, due);
    return true;
}

static bool matches(layer_run *run, const char *what, const tn_tensor *got, const cJSON *want)
{
    if (!got)
        return wrong(run, what, "NULL: %s", tn_last_error() ? tn_last_error() : "no error");
    tn_shape shape = case_shape(case_get(want, "shape"));
    tn_dtype dtype = case_get(want, "dtype") ? case_dtype(case_text(want, "dtype")) : run->mode == MODE_F32 ? TN_F32 : TN_F64;
    if (!tn_shape_equal(tn_shape_of(got), shape))
        return wrong(run, what, "shape %s, not %s", tn_text(got), tn_shape_text(shape));
    if (tn_dtype_of(got) != dtype)
        return wrong(run, what, "dtype %s, not %s", tn_dtype_name(tn_dtype_of(got)), tn_dtype_name(dtype));
    int64_t n = tn_numel(got);
    if (!n)
        return true;
    double *values = test_malloc(sizeof(double) * (size_t)n);
    bool same = tn_to_doubles(got, values, n) == TN_OK ? elements_match(run, what, got, values, want)
                                                       : wrong(run, what, "%s", tn_last_error());
    test_free(values);
    return same;
}

/* ---- running ----------------------------------------------------------------------------------------------------------- */

static void add_leaf(layer_run *run, const char *name, tn_tensor *x, const cJSON *grad)
{
    assert_true(run->n_leaves < MAX_LEAVES);
    run->leaves[run->n_leaves] = x;
    run->leaf_names[run->n_leaves] = name;
    run->leaf_grads[run->n_leaves++] = grad;
}

/* The module with the case's weights, which must be all that its state_dict names. */
static bool make_module(layer_run *run)
{
    run->module = tn_adopt(run->row->make(&run->args));
    if (!run->module || tn_module_to_dtype(run->module, run->mode == MODE_F32 ? TN_F32 : TN_F64))
        return wrong(run, "module", "%s", tn_last_error());
    tn_dict *weights = tn_adopt(tn_dict_new());
    const cJSON *entry; /* [name, shape, low, high] or [name, shape, low, high, dtype] */
    uint32_t seed = STATE_SEED;
    cJSON_ArrayForEach(entry, case_get(run->json, "state"))
    {
        const cJSON *shape = entry->child->next, *low = shape->next, *high = low->next;
        tn_dtype dtype = high->next ? case_dtype(high->next->valuestring) : run->mode == MODE_F32 ? TN_F32 : TN_F64;
        tn_tensor *values = case_filled(case_shape(shape), dtype, seed++, low->valuedouble, high->valuedouble);
        if (tn_dict_set(weights, entry->child->valuestring, values))
            return wrong(run, "state", "%s", tn_last_error());
    }
    if (tn_load_state_dict(run->module, weights))
        return wrong(run, "state", "%s", tn_last_error());
    tn_train(run->module, run->train);
    if (case_device() && tn_module_to(run->module, tn_device(case_device())))
        return wrong(run, "to the device", "%s", tn_last_error());
    return true;
}

static bool prepare(layer_run *run)
{
    const cJSON *item, *grads = case_get(run->json, "grads");
    cJSON_ArrayForEach(item, case_get(run->json, "inputs"))
    {
        const cJSON *grad = cJSON_GetArrayItem(grads, run->n_in);
        bool has_grad = grad && !cJSON_IsNull(grad);
        tn_tensor *x = cJSON_IsNull(item) ? NULL : case_input(item, run->mode, has_grad);
        if (!x && !cJSON_IsNull(item))
            return wrong(run, "input", "%s", tn_last_error());
        if (has_grad)
            add_leaf(run, "an input's gradient", x, grad);
        run->in[run->n_in++] = x;
    }
    run->args = (op_args){run->json, run->n_in};
    run->n_out = cJSON_GetArraySize(case_get(run->json, "outputs"));
    if (!make_module(run))
        return false;
    cJSON_ArrayForEach(item, case_get(run->json, "params")) add_leaf(run, item->string, tn_parameter(run->module, item->string), item);
    return !tn_last_error() || wrong(run, "parameters", "%s", tn_last_error());
}

static bool forward(layer_run *run)
{
    tn_status status = run->row->call ? run->row->call(run->module, run->in, &run->args, run->out, run->n_out)
                                      : tn_call_n(run->module, run->in, run->n_in, run->out, run->n_out);
    return status == TN_OK && !tn_last_error();
}

/* Gradients of sum(output * weights) over the outputs that PyTorch differentiates. */
static void backward(layer_run *run)
{
    tn_tensor *outputs[MAX_TENSORS], *weights[MAX_TENSORS], *grads[MAX_LEAVES];
    int n_out = 0;
    for (int k = 0; k < run->n_out; k++)
        if (cJSON_IsTrue(case_get(cJSON_GetArrayItem(case_get(run->json, "outputs"), k), "weighted"))) {
            outputs[n_out] = run->out[k];
            weights[n_out++] = case_weights(run->out[k], k);
        }
    if (!n_out || !run->n_leaves)
        return;
    tn_grads_of_args args = {.size = sizeof args, .grads = weights, .allow_unused = true, .outputs = outputs, .output_count = n_out,
                             .inputs = run->leaves, .input_count = run->n_leaves, .results = grads};
    if (tn_grads_of_with(&args)) {
        wrong(run, "backward", "%s", tn_last_error());
        return;
    }
    for (int k = 0; k < run->n_leaves; k++)
        matches(run, run->leaf_names[k], grads[k], run->leaf_grads[k]);
}

static void compare(layer_run *run)
{
    char what[32];
    const cJSON *buffer;
    for (int calls = case_get(run->json, "calls") ? case_get(run->json, "calls")->valueint : 1; calls > 0; calls--)
        if (!forward(run)) {
            wrong(run, "forward", "%s", tn_last_error());
            return;
        }
    for (int k = 0; k < run->n_out; k++) {
        snprintf(what, sizeof what, "output %d", k);
        if (!matches(run, what, run->out[k], cJSON_GetArrayItem(case_get(run->json, "outputs"), k)))
            return;
    }
    cJSON_ArrayForEach(buffer, case_get(run->json, "buffers"))
        matches(run, buffer->string, tn_parameter(run->module, buffer->string), buffer);
    backward(run);
}

static int run_case(const cJSON *json, case_mode mode, bool train)
{
    layer_run run = {.json = json, .mode = mode, .train = train, .row = row_of(case_text(json, "layer"))};
    if (!run.row)
        return 0;
    int64_t living = tn_live_objects();
    {
        TN_SCOPE;
        if (prepare(&run))
            compare(&run);
    }
    tn_clear_error();
    if (tn_live_objects() != living)
        wrong(&run, "leak", "%lld objects", (long long)(tn_live_objects() - living));
    return run.wrong > 0;
}

/* A case that does not say its mode gives the same in both. */
static bool has_mode(const cJSON *json, bool train)
{
    const cJSON *said = case_get(json, "train");
    return !said || (cJSON_IsTrue(said) != 0) == train;
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
        int failed = 0;
        for (int train = 0; train < 2; train++)
            if (has_mode(json, train))
                failed |= run_case(json, mode, train);
        failures += failed;
    }
    if (failures)
        fail_msg("%d of %d cases", failures, count);
    case_report(count);
}

void layer_test_f64(void **state)
{
    (void)state;
    run_all(MODE_F64);
}
void layer_test_f32(void **state)
{
    (void)state;
    run_all(MODE_F32);
}
void layer_test_strided(void **state)
{
    (void)state;
    run_all(MODE_STRIDED);
}

void layer_test_rows(void **state)
{
    (void)state;
    const cJSON *json;
    int missing = 0;
    cJSON_ArrayForEach(json, cases())
    {
        if (!row_of(case_text(json, "layer"))) {
            print_error("%s: no row for %s\n", case_text(json, "name"), case_text(json, "layer"));
            missing++;
        }
    }
    for (const layer_row *row = rows; row->name; row++) {
        bool used = false;
        cJSON_ArrayForEach(json, cases()) used = used || !strcmp(row->name, case_text(json, "layer"));
        if (!used) {
            print_error("no case for the row %s\n", row->name);
            missing++;
        }
    }
    assert_int_equal(missing, 0);
}

/* ---- differences ------------------------------------------------------------------------------------------------------- */

typedef struct differentiated {
    layer_run *run;
    int output;
} differentiated;

static tn_tensor *one_output(tn_tensor *const *leaves, int count, void *context)
{
    const differentiated *d = context;
    (void)leaves, (void)count; /* the run's own, changed in place */
    return forward(d->run) ? d->run->out[d->output] : NULL;
}

static int check_differences(const cJSON *json)
{
    layer_run run = {.json = json, .mode = MODE_F64, .train = has_mode(json, true), .row = row_of(case_text(json, "layer"))};
    if (!run.row || cJSON_IsFalse(case_get(json, "gradcheck")))
        return 0;
    TN_SCOPE;
    int64_t numel = 0;
    bool good = prepare(&run);
    for (int k = 0; good && k < run.n_leaves; k++)
        numel += tn_numel(run.leaves[k]);
    for (int k = 0; good && numel && numel <= MAX_DIFFERENCES && k < run.n_out; k++) {
        if (!cJSON_IsTrue(case_get(cJSON_GetArrayItem(case_get(json, "outputs"), k), "weighted")))
            continue;
        differentiated context = {&run, k};
        tn_gradcheck_args args = {.size = sizeof args, .eps = 1e-6, .atol = 1e-5, .rtol = 1e-3, .second = !cJSON_IsFalse(case_get(json, "second")),
                                  .function = one_output, .context = &context, .inputs = run.leaves, .count = run.n_leaves};
        if (tn_gradcheck_with(&args))
            good = wrong(&run, "differences", "output %d: %s", k, tn_last_error());
    }
    tn_clear_error();
    return !good;
}

void layer_test_differences(void **state)
{
    (void)state;
    if (test_quickly() || case_device()) {
        print_message("skipped: under TENON_TEST_QUICK, a sanitizer and on a device values and gradients only\n");
        skip();
    }
    int failures = 0;
    const cJSON *json;
    cJSON_ArrayForEach(json, cases()) failures += check_differences(json);
    if (failures)
        fail_msg("%d cases", failures);
}

#endif
