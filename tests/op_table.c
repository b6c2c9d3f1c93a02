#include "op_table.h"

#include <stdio.h>

double op_fill(uint32_t seed, int64_t i, double low, double high)
{
    uint32_t x = (uint32_t)(i + 1) * 2654435761u + seed * 2246822519u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (double)(float)(low + (high - low) * (x / 4294967296.0));
}

#ifdef TENON_HAVE_CJSON

#include <math.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "core/core.h"

enum { MAX_TENSORS = 8, WEIGHT_SEED = 1000, MAX_DIFFERENCES = 80 };
typedef enum op_mode { MODE_F64, MODE_F32, MODE_STRIDED } op_mode;

static const op_row *rows;
static cJSON *family_json;

/* ---- reading ----------------------------------------------------------------------------------------------------------- */

static const cJSON *get(const void *json, const char *name) { return cJSON_GetObjectItemCaseSensitive((const cJSON *)json, name); }
static const cJSON *cases(void) { return get(family_json, "cases"); }
static const char *text_of(const void *json, const char *name) { return cJSON_GetStringValue(get(json, name)); }

/* JSON has no inf and nan: they are strings. */
static double number(const cJSON *item) { return cJSON_IsString(item) ? strtod(item->valuestring, NULL) : item ? item->valuedouble : NAN; }

static const cJSON *arg(const op_args *args, const char *name) { return get(get(args->json, "args"), name); }
bool op_has(const op_args *args, const char *name) { return arg(args, name) && !cJSON_IsNull(arg(args, name)); }
double op_number(const op_args *args, const char *name, double missing) { return op_has(args, name) ? number(arg(args, name)) : missing; }
int64_t op_int(const op_args *args, const char *name, int64_t missing)
{
    return op_has(args, name) ? (int64_t)number(arg(args, name)) : missing;
}
bool op_flag(const op_args *args, const char *name) { return cJSON_IsTrue(arg(args, name)); }
const char *op_text(const op_args *args, const char *name, const char *missing)
{
    return op_has(args, name) ? cJSON_GetStringValue(arg(args, name)) : missing;
}

static tn_shape shape_from(const cJSON *item)
{
    tn_shape shape = {0};
    if (cJSON_IsNumber(item))
        shape.sizes[shape.ndim++] = (int64_t)item->valuedouble;
    const cJSON *size;
    cJSON_ArrayForEach(size, item) shape.sizes[shape.ndim++] = (int64_t)size->valuedouble;
    return shape;
}
tn_shape op_shape(const op_args *args, const char *name) { return shape_from(arg(args, name)); }
tn_dims op_dims(const op_args *args, const char *name)
{
    tn_shape shape = op_shape(args, name);
    tn_dims dims = {.count = shape.ndim};
    for (int i = 0; i < shape.ndim; i++)
        dims.dim[i] = (int)shape.sizes[i];
    return dims;
}

static tn_dtype dtype_from(const char *name)
{
    for (int dtype = 0; name && dtype < TN_DTYPE_COUNT; dtype++)
        if (!strcmp(name, tn_dtype_name((tn_dtype)dtype)))
            return (tn_dtype)dtype;
    return TN_DTYPE_DEFAULT;
}
tn_dtype op_dtype(const op_args *args, const char *name) { return dtype_from(op_text(args, name, NULL)); }

bool op_table_load(const char *family, const op_row *table)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/reference/ops_%s.json", TN_SOURCE_DIR, family);
    FILE *file = fopen(path, "rb");
    static char *content;
    size_t size = 0;
    if (file && !fseek(file, 0, SEEK_END)) {
        size = (size_t)ftell(file);
        rewind(file);
        content = calloc(size + 1, 1);
        size = content ? fread(content, 1, size, file) : 0;
    }
    if (file)
        fclose(file);
    family_json = content ? cJSON_ParseWithLength(content, size) : NULL;
    free(content);
    rows = table;
    if (!family_json)
        fprintf(stderr, "%s cannot be read\n", path);
    return family_json != NULL;
}

static const op_row *row_of(const char *op)
{
    const op_row *row = rows;
    while (row->name && strcmp(row->name, op))
        row++;
    return row->name ? row : NULL;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------------ */

static double element(const cJSON *input, const cJSON **next, int64_t i)
{
    if (get(input, "data")) {
        *next = i ? (*next)->next : get(input, "data")->child;
        return number(*next);
    }
    return op_fill((uint32_t)number(get(input, "seed")), i, number(get(input, "low")), number(get(input, "high")));
}

/* What numbers are written as: 16-bit floats as f32, cast then. */
static tn_dtype written_as(tn_dtype dtype) { return dtype == TN_F16 || dtype == TN_BF16 ? TN_F32 : dtype; }

static void store(char *at, tn_dtype dtype, double value)
{
    switch (dtype) {
#define STORE(name, type)                                                                                                     \
    case TN_##name:                                                                                                           \
        *(type *)(void *)at = (type)value;                                                                                    \
        break;
        STORE(F32, float)
        STORE(F64, double)
        STORE(I64, int64_t)
        STORE(I32, int32_t)
        STORE(I16, int16_t)
        STORE(I8, int8_t)
        STORE(U8, uint8_t)
        STORE(BOOL, bool)
    default:
        fail_msg("no input of this dtype");
    }
}

/* Where element i of a row-major walk lies. */
static int64_t place(const tn_tensor *x, int64_t i)
{
    int64_t at = 0;
    for (int d = x->ndim - 1; d >= 0; d--) {
        at += i % x->sizes[d] * x->strides[d];
        i /= x->sizes[d];
    }
    return at;
}

/* x's elements in the opposite order of dims, a gap after each: what transposing and slicing leave. */
static tn_tensor *strided(tn_shape shape, tn_dtype dtype)
{
    int64_t strides[TN_MAX_DIMS] = {0}, step = 2;
    for (int d = 0; d < shape.ndim; d++) {
        strides[d] = step;
        step = step * shape.sizes[d] + 1;
    }
    tn_tensor *base = tn_new("test", TN_SHAPE(step + 2), dtype, tn_device("cpu"));
    if (base)
        memset(tn_ptr(base), 0, (size_t)base->numel * tn_item_size(base));
    return base ? tn_view_of(base, shape.ndim, shape.sizes, strides, 1) : NULL;
}

static tn_tensor *make_input(const cJSON *input, op_mode mode, bool requires_grad)
{
    const char *name = text_of(input, "dtype");
    tn_dtype dtype = strcmp(name, "float") ? dtype_from(name) : mode == MODE_F32 ? TN_F32 : TN_F64;
    tn_dtype written = written_as(dtype);
    tn_shape shape = shape_from(get(input, "shape"));
    tn_tensor *x = mode == MODE_STRIDED ? strided(shape, written) : tn_new("test", shape, written, tn_device("cpu"));
    const cJSON *next = NULL;
    for (int64_t i = 0; x && i < x->numel; i++)
        store(tn_ptr(x) + (size_t)place(x, i) * tn_item_size(x), written, element(input, &next, i));
    if (written != dtype)
        x = tn_cast(x, dtype);
    if (requires_grad && x && tn_set_requires_grad(x, true))
        return NULL;
    return x;
}

/* ---- comparing --------------------------------------------------------------------------------------------------------- */

typedef struct op_run {
    const cJSON *json;
    const op_row *row;
    op_args args;
    op_mode mode;
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
    print_error("%s: %s %d: %s\n", text_of(run->json, "name"), what, index, text);
    run->wrong++;
    return false;
}

/* A case may widen what a dtype is allowed, by rtol64 or rtol32. */
static double tolerance(const op_run *run, tn_dtype dtype)
{
    static const double usual[] = {[TN_F32] = 1e-5, [TN_F64] = 1e-10, [TN_F16] = 2e-3, [TN_BF16] = 1.6e-2};
    const cJSON *own = dtype == TN_F32 ? get(run->json, "rtol32") : dtype == TN_F64 ? get(run->json, "rtol64") : NULL;
    return own ? own->valuedouble : dtype <= TN_BF16 ? usual[dtype] : 0;
}

/* Against {dtype, shape, data} or, of large results, {.., step, data}: each step-th element. */
static bool matches(op_run *run, const char *what, int index, const tn_tensor *got, const cJSON *want)
{
    if (!got)
        return wrong(run, what, index, "NULL: %s", tn_last_error() ? tn_last_error() : "no error");
    tn_shape shape = shape_from(get(want, "shape"));
    tn_dtype dtype = dtype_from(text_of(want, "dtype"));
    if (run->mode == MODE_F32 && dtype == TN_F64 && !cJSON_IsTrue(get(want, "fixed")))
        dtype = TN_F32;
    if (!tn_shape_equal(tn_shape_of(got), shape))
        return wrong(run, what, index, "shape %s, not %s", tn_text(got), tn_shape_text(shape));
    if (tn_dtype_of(got) != dtype)
        return wrong(run, what, index, "dtype %s, not %s", tn_dtype_name(tn_dtype_of(got)), tn_dtype_name(dtype));
    int64_t step = get(want, "step") ? (int64_t)number(get(want, "step")) : 1, n = got->numel, i = 0;
    double *values = test_malloc(sizeof(double) * (size_t)(n + 1)), scale = 1e-2;
    bool same = true;
    if (tn_to_doubles(got, values, n))
        same = wrong(run, what, index, "%s", tn_last_error());
    const cJSON *item;
    cJSON_ArrayForEach(item, get(want, "data")) scale = isfinite(number(item)) ? fmax(scale, fabs(number(item))) : scale;
    cJSON_ArrayForEach(item, get(want, "data"))
    {
        double a = i < n ? values[i] : NAN, b = number(item), allowed = tolerance(run, dtype) * (fabs(b) + scale);
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
    const cJSON *grad = cJSON_GetArrayItem(get(json, "grads"), input);
    return grad && !cJSON_IsNull(grad);
}

static bool forward(op_run *run)
{
    const cJSON *input;
    cJSON_ArrayForEach(input, get(run->json, "inputs"))
    {
        run->in[run->n_in] = make_input(input, run->mode, has_gradient(run->json, run->n_in));
        if (!run->in[run->n_in])
            return wrong(run, "input", run->n_in, "%s", tn_last_error());
        run->n_in++;
    }
    run->args = (op_args){run->json, run->n_in};
    run->n_out = cJSON_GetArraySize(get(run->json, "outputs"));
    run->out[0] = run->row->run(run->in, &run->args, run->out);
    return !tn_last_error() || wrong(run, "output", 0, "%s", tn_last_error());
}

/* Gradients of sum(output * weights) over the outputs that PyTorch differentiates. */
static void backward(op_run *run)
{
    tn_tensor *outputs[MAX_TENSORS], *weights[MAX_TENSORS], *inputs[MAX_TENSORS], *grads[MAX_TENSORS];
    int n_out = 0, n_in = 0, index[MAX_TENSORS];
    for (int k = 0; k < run->n_out; k++) {
        if (!cJSON_IsTrue(get(cJSON_GetArrayItem(get(run->json, "outputs"), k), "weighted")))
            continue;
        tn_dtype dtype = tn_dtype_of(run->out[k]);
        tn_tensor *w = tn_new("test", tn_shape_of(run->out[k]), written_as(dtype), tn_device("cpu"));
        for (int64_t i = 0; w && i < w->numel; i++)
            store(tn_ptr(w) + (size_t)i * tn_item_size(w), w->dtype, op_fill(WEIGHT_SEED + (uint32_t)k, i, -1, 1));
        outputs[n_out] = run->out[k];
        weights[n_out++] = written_as(dtype) == dtype ? w : tn_cast(w, dtype);
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
        matches(run, "gradient", index[k], grads[k], cJSON_GetArrayItem(get(run->json, "grads"), index[k]));
}

static int run_case(const cJSON *json, op_mode mode)
{
    op_run run = {.json = json, .mode = mode, .row = row_of(text_of(json, "op"))};
    if (!run.row)
        return 0;
    int64_t living = tn_live_objects();
    {
        TN_SCOPE;
        if (forward(&run)) {
            bool good = true;
            for (int k = 0; k < run.n_out; k++)
                good = matches(&run, "output", k, run.out[k], cJSON_GetArrayItem(get(json, "outputs"), k)) && good;
            if (good)
                backward(&run);
        }
    }
    tn_clear_error();
    if (tn_live_objects() != living)
        wrong(&run, "leak", 0, "%lld objects", (long long)(tn_live_objects() - living));
    return run.wrong > 0;
}

static void run_all(op_mode mode)
{
    int count = 0, failures = 0;
    const cJSON *json;
    cJSON_ArrayForEach(json, cases())
    {
        if (mode == MODE_F32 && cJSON_IsFalse(get(json, "f32")))
            continue;
        count++;
        failures += run_case(json, mode);
    }
    if (failures)
        fail_msg("%d of %d cases", failures, count);
    print_message("%d cases\n", count);
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
        if (!row_of(text_of(json, "op"))) {
            print_error("%s: no row for %s\n", text_of(json, "name"), text_of(json, "op"));
            missing++;
        }
    }
    for (const op_row *row = rows; row->name; row++) {
        bool used = false;
        cJSON_ArrayForEach(json, cases()) used = used || !strcmp(row->name, text_of(json, "op"));
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
    op_run run = {.json = json, .mode = MODE_F64, .row = row_of(text_of(json, "op"))};
    if (!run.row || !get(json, "grads") || cJSON_IsFalse(get(json, "gradcheck")))
        return 0;
    TN_SCOPE;
    int64_t numel = 0;
    bool good = forward(&run);
    for (int k = 0; good && k < run.n_in; k++)
        numel += has_gradient(json, k) ? tn_numel(run.in[k]) : 0;
    for (int k = 0; good && numel <= MAX_DIFFERENCES && k < run.n_out; k++) {
        if (!cJSON_IsTrue(get(cJSON_GetArrayItem(get(json, "outputs"), k), "weighted")))
            continue;
        differentiated context = {&run, k};
        tn_gradcheck_args args = {.size = sizeof args, .eps = 1e-6, .atol = 1e-5, .rtol = 1e-3, .second = !cJSON_IsFalse(get(json, "second")),
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
    if (getenv("TENON_TEST_QUICK")) {
        print_message("skipped: TENON_TEST_QUICK asks for values and gradients only\n");
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
