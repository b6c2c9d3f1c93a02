#include "cases.h"

#include <stdio.h>

double op_fill(uint32_t seed, int64_t i, double low, double high)
{
    uint32_t x = (uint32_t)(i + 1) * 2654435761u + seed * 2246822519u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (double)(float)(low + (high - low) * (x / 4294967296.0));
}

const char *case_device(void)
{
    const char *device = getenv("TENON_TEST_DEVICE");
    if (device && !tn_cuda_available()) {
        printf("skipped: %s: %s\n", device, (tn_device(device), tn_last_error()));
        exit(77);
    }
    return device;
}

void case_use_device(void)
{
    if (case_device())
        tn_check(tn_set_default_device(tn_device(case_device())));
}

bool case_slow_device(void) { return case_device() && test_quickly(); }

void case_skip_slow_device(void)
{
    if (case_slow_device()) {
        print_message("skipped: takes long on a device under TENON_TEST_QUICK\n");
        skip();
    }
}

void case_cpu_only(void)
{
    if (case_device()) {
        print_message("skipped: of the CPU alone\n");
        skip();
    }
}

#ifdef TENON_HAVE_CJSON

#include <stdlib.h>

#include "core/core.h"

enum { WEIGHT_SEED = 1000 };

/* ---- reading ----------------------------------------------------------------------------------------------------------- */

const cJSON *case_get(const void *json, const char *name) { return cJSON_GetObjectItemCaseSensitive((const cJSON *)json, name); }
const char *case_text(const void *json, const char *name) { return cJSON_GetStringValue(case_get(json, name)); }

double case_number(const cJSON *item) { return cJSON_IsString(item) ? strtod(item->valuestring, NULL) : item ? item->valuedouble : NAN; }

static const cJSON *arg(const op_args *args, const char *name) { return case_get(case_get(args->json, "args"), name); }
bool op_has(const op_args *args, const char *name) { return arg(args, name) && !cJSON_IsNull(arg(args, name)); }
double op_number(const op_args *args, const char *name, double missing) { return op_has(args, name) ? case_number(arg(args, name)) : missing; }
int64_t op_int(const op_args *args, const char *name, int64_t missing)
{
    return op_has(args, name) ? (int64_t)case_number(arg(args, name)) : missing;
}
bool op_flag(const op_args *args, const char *name) { return cJSON_IsTrue(arg(args, name)); }
const char *op_text(const op_args *args, const char *name, const char *missing)
{
    return op_has(args, name) ? cJSON_GetStringValue(arg(args, name)) : missing;
}

tn_shape case_shape(const cJSON *item)
{
    tn_shape shape = {0};
    if (cJSON_IsNumber(item))
        shape.sizes[shape.ndim++] = (int64_t)item->valuedouble;
    const cJSON *size;
    cJSON_ArrayForEach(size, item) shape.sizes[shape.ndim++] = (int64_t)size->valuedouble;
    return shape;
}
tn_shape op_shape(const op_args *args, const char *name) { return case_shape(arg(args, name)); }
tn_dims op_dims(const op_args *args, const char *name)
{
    tn_shape shape = op_shape(args, name);
    tn_dims dims = {.count = shape.ndim};
    for (int i = 0; i < shape.ndim; i++)
        dims.dim[i] = (int)shape.sizes[i];
    return dims;
}

tn_dtype case_dtype(const char *name)
{
    for (int dtype = 0; name && dtype < TN_DTYPE_COUNT; dtype++)
        if (!strcmp(name, tn_dtype_name((tn_dtype)dtype)))
            return (tn_dtype)dtype;
    return TN_DTYPE_DEFAULT;
}
tn_dtype op_dtype(const op_args *args, const char *name) { return case_dtype(op_text(args, name, NULL)); }

cJSON *case_file(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/reference/%s.json", TN_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    char *content = NULL;
    size_t size = 0;
    if (file && !fseek(file, 0, SEEK_END)) {
        size = (size_t)ftell(file);
        rewind(file);
        content = calloc(size + 1, 1);
        size = content ? fread(content, 1, size, file) : 0;
    }
    if (file)
        fclose(file);
    cJSON *json = content ? cJSON_ParseWithLength(content, size) : NULL;
    free(content);
    if (!json)
        fprintf(stderr, "%s cannot be read\n", path);
    return json;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------------ */

static double element(const cJSON *input, const cJSON **next, int64_t i)
{
    if (case_get(input, "data")) {
        *next = i ? (*next)->next : case_get(input, "data")->child;
        return case_number(*next);
    }
    return op_fill((uint32_t)case_number(case_get(input, "seed")), i, case_number(case_get(input, "low")), case_number(case_get(input, "high")));
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

void case_report(int count)
{
    print_message("%d cases%s%s\n", count, case_device() ? " on " : "", case_device() ? case_device() : "");
}

static tn_tensor *case_on_device(tn_tensor *x) { return case_device() ? tn_to(x, tn_device(case_device())) : x; }

tn_tensor *case_input(const cJSON *input, case_mode mode, bool requires_grad)
{
    const char *name = case_text(input, "dtype");
    tn_dtype dtype = strcmp(name, "float") ? case_dtype(name) : mode == MODE_F32 ? TN_F32 : TN_F64;
    tn_dtype written = written_as(dtype);
    tn_shape shape = case_shape(case_get(input, "shape"));
    tn_tensor *x = mode == MODE_STRIDED ? strided(shape, written) : tn_new("test", shape, written, tn_device("cpu"));
    const cJSON *next = NULL;
    for (int64_t i = 0; x && i < x->numel; i++)
        store(tn_ptr(x) + (size_t)place(x, i) * tn_item_size(x), written, element(input, &next, i));
    if (written != dtype)
        x = tn_cast(x, dtype);
    x = x ? case_on_device(x) : NULL;
    if (requires_grad && x && tn_set_requires_grad(x, true))
        return NULL;
    return x;
}

tn_tensor *case_filled(tn_shape shape, tn_dtype dtype, uint32_t seed, double low, double high)
{
    tn_tensor *x = tn_new("test", shape, written_as(dtype), tn_device("cpu"));
    for (int64_t i = 0; x && i < x->numel; i++)
        store(tn_ptr(x) + (size_t)i * tn_item_size(x), x->dtype, op_fill(seed, i, low, high));
    return written_as(dtype) == dtype ? x : tn_cast(x, dtype);
}

tn_tensor *case_weights(const tn_tensor *x, int k)
{
    return tn_to(case_filled(tn_shape_of(x), tn_dtype_of(x), WEIGHT_SEED + (uint32_t)k, -1, 1), tn_device_of(x));
}

#endif
