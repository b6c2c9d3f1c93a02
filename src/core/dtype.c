/* dtypes, devices, shapes: the small questions that every operator asks. */
#include "core/core.h"

#include <math.h>
#include "kernels/device.h"

#include <stdio.h>
#include <string.h>

/* ---- dtypes ------------------------------------------------------------------------------------------------------------- */

#define SIZE(name, type, text) sizeof(type),
#define NAME(name, type, text) text,
const uint8_t tn_dtype_sizes[TN_DTYPE_COUNT] = {TN_DTYPE_LIST(SIZE)};
static const char *const dtype_names[TN_DTYPE_COUNT] = {TN_DTYPE_LIST(NAME)};
#undef SIZE
#undef NAME

static bool dtype_known(tn_dtype dtype) { return (unsigned)dtype < TN_DTYPE_COUNT; }
const char *tn_dtype_name(tn_dtype dtype) { return dtype_known(dtype) ? dtype_names[dtype] : "unknown dtype"; }
size_t tn_dtype_size(tn_dtype dtype) { return dtype_known(dtype) ? tn_dtype_sizes[dtype] : 0; }
bool tn_dtype_is_float(tn_dtype dtype) { return dtype == TN_F32 || dtype == TN_F64 || dtype == TN_F16 || dtype == TN_BF16; }

static int default_dtype = TN_F32;

tn_dtype tn_get_default_dtype(void) { return (tn_dtype)__atomic_load_n(&default_dtype, __ATOMIC_RELAXED); }

tn_status tn_set_default_dtype(tn_dtype dtype)
{
    if (tn_failing())
        return tn_last_status();
    if (!tn_dtype_is_float(dtype)) {
        tn_fail(TN_ERR_DTYPE, "set_default_dtype: %s is no floating dtype", tn_dtype_name(dtype));
        return TN_ERR_DTYPE;
    }
    __atomic_store_n(&default_dtype, (int)dtype, __ATOMIC_RELAXED);
    return TN_OK;
}

tn_dtype tn_dtype_or_default(tn_dtype dtype) { return dtype == TN_DTYPE_DEFAULT ? tn_get_default_dtype() : dtype; }

/* 0 bool, 1 integers, 2 floats: a wrapped number promotes only to a higher kind. */
static int kind_of(tn_dtype dtype) { return dtype == TN_BOOL ? 0 : tn_dtype_is_float(dtype) ? 2 : 1; }

tn_dtype tn_promote(tn_dtype a, tn_dtype b)
{
    if (a == b)
        return a;
    int ka = kind_of(a), kb = kind_of(b);
    if (ka != kb)
        return ka > kb ? a : b;
    if (ka == 2) {
        if (a == TN_F64 || b == TN_F64)
            return TN_F64;
        return TN_F32; /* f32 with a 16-bit one, or f16 with bf16 */
    }
    if ((a == TN_U8 && b == TN_I8) || (a == TN_I8 && b == TN_U8))
        return TN_I16;
    size_t sa = tn_dtype_sizes[a], sb = tn_dtype_sizes[b];
    return sa == sb ? (a == TN_U8 ? b : a) : sa > sb ? a : b;
}

/* PyTorch's three classes: tensors with dims before rank-0 tensors before numbers; a lower class counts only by a higher kind. */
static int class_of(const tn_tensor *x) { return tn_has(x, TN_FLAG_WRAPPED) ? 0 : x->ndim == 0 ? 1 : 2; }

tn_dtype tn_result_dtype(const tn_tensor *a, const tn_tensor *b)
{
    tn_dtype da = (tn_dtype)a->dtype, db = (tn_dtype)b->dtype;
    if (TN_LIKELY(da == db && !tn_has(a, TN_FLAG_WRAPPED)))
        return da;
    int ca = class_of(a), cb = class_of(b);
    /* a C double brings the default dtype, not f64 */
    if (ca == 0 && da == TN_F64)
        da = tn_get_default_dtype();
    if (cb == 0 && db == TN_F64)
        db = tn_get_default_dtype();
    if (ca == cb)
        return tn_promote(da, db);
    tn_dtype high = ca > cb ? da : db, low = ca > cb ? db : da;
    return kind_of(low) > kind_of(high) ? low : high;
}

/* ---- devices ------------------------------------------------------------------------------------------------------------ */

static tn_device_id default_device = {TN_CPU, 0};

bool tn_cuda_available(void) { return tn_cuda_device_count() > 0; }

tn_device_id tn_device(const char *name)
{
    tn_device_id cpu = {TN_CPU, 0}, device = cpu;
    if (tn_failing())
        return cpu;
    char rest;
    if (name && strcmp(name, "cpu") == 0)
        return cpu;
    device.type = TN_CUDA;
    if (name && (strcmp(name, "cuda") == 0 || (sscanf(name, "cuda:%d%c", &device.index, &rest) == 1 && device.index >= 0))) {
        if (tn_backend_for("device", device))
            return device;
    } else {
        tn_fail(TN_ERR_DEVICE, "device: \"%s\" is unknown; give \"cpu\", \"cuda\" or \"cuda:0\"", name ? name : "(null)");
    }
    return cpu;
}

tn_device_id tn_get_default_device(void) { return default_device; }

tn_status tn_set_default_device(tn_device_id device)
{
    if (tn_failing())
        return tn_last_status();
    if (device.type != TN_CPU && !tn_backend_for("set_default_device", device))
        return TN_ERR_DEVICE;
    default_device = device;
    return TN_OK;
}

tn_device_id tn_device_or_default(const tn_device_id *device) { return device ? *device : default_device; }

bool tn_devices_agree(const char *op, const tn_tensor *a, const tn_tensor *b)
{
    if (TN_LIKELY(tn_same_device(a->storage->device, b->storage->device)) || tn_has(a, TN_FLAG_WRAPPED) || tn_has(b, TN_FLAG_WRAPPED))
        return true;
    tn_fail(TN_ERR_DEVICE, "%s: one operand is on %s and the other on %s: move one with tn_to", op,
            tn_device_text(a->storage->device), tn_device_text(b->storage->device));
    return false;
}

/* ---- texts for messages ------------------------------------------------------------------------------------------------- */

const char *tn_shape_text(tn_shape shape)
{
    char *text = tn_text_buffer();
    size_t used = (size_t)snprintf(text, TN_TEXT_SIZE, "[");
    for (int i = 0; i < shape.ndim && i < TN_MAX_DIMS; i++)
        used += (size_t)snprintf(text + used, TN_TEXT_SIZE - used, "%s%lld", i ? ", " : "", (long long)shape.sizes[i]);
    snprintf(text + used, TN_TEXT_SIZE - used, "]");
    return text;
}

const char *tn_text(const tn_tensor *x) { return x ? tn_shape_text(tn_shape_of(x)) : "NULL"; }

const char *tn_device_text(tn_device_id device)
{
    if (device.type == TN_CPU)
        return "cpu";
    char *text = tn_text_buffer();
    snprintf(text, TN_TEXT_SIZE, "cuda:%d", device.index);
    return text;
}

const char *tn_version(void)
{
#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
    return TEXT(TN_VERSION_MAJOR) "." TEXT(TN_VERSION_MINOR) "." TEXT(TN_VERSION_PATCH);
#undef TEXT
#undef TEXT2
}

/* ---- shapes ------------------------------------------------------------------------------------------------------------- */

tn_shape tn_make_shape(int ndim, const int64_t *sizes)
{
    tn_shape shape = {.ndim = ndim < 0 || ndim > TN_MAX_DIMS ? -1 : ndim};
    for (int i = 0; i < shape.ndim; i++)
        shape.sizes[i] = sizes[i];
    return shape;
}

tn_dims tn_make_dims(int count, const int *dim)
{
    tn_dims dims = {.count = count < 0 || count > TN_MAX_DIMS ? -1 : count};
    for (int i = 0; i < dims.count; i++)
        dims.dim[i] = dim[i];
    return dims;
}

bool tn_shape_check(const char *op, tn_shape shape, int64_t *numel)
{
    if (shape.ndim < 0 || shape.ndim > TN_MAX_DIMS) {
        tn_fail(TN_ERR_SHAPE, "%s: a shape has at most %d dimensions", op, TN_MAX_DIMS);
        return false;
    }
    int64_t n = 1, span = 1; /* span ignores zeros: strides must fit too */
    for (int i = 0; i < shape.ndim; i++) {
        if (shape.sizes[i] < 0) {
            tn_fail(TN_ERR_SHAPE, "%s: the shape %s has a negative size", op, tn_shape_text(shape));
            return false;
        }
        if (__builtin_mul_overflow(span, shape.sizes[i] ? shape.sizes[i] : 1, &span) || span > INT64_MAX / 16) {
            tn_fail(TN_ERR_SHAPE, "%s: the shape %s has more elements than can be counted", op, tn_shape_text(shape));
            return false;
        }
        n *= shape.sizes[i];
    }
    *numel = n;
    return true;
}

bool tn_shape_equal(tn_shape a, tn_shape b)
{
    return a.ndim == b.ndim && (a.ndim <= 0 || memcmp(a.sizes, b.sizes, (size_t)a.ndim * sizeof *a.sizes) == 0);
}

bool tn_same_shape(const tn_tensor *a, const tn_tensor *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->sizes[i] != b->sizes[i])
            return false;
    return true;
}

bool tn_broadcast_shapes(const char *op, const tn_tensor *a, const tn_tensor *b, tn_shape *out)
{
    out->ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = 1; i <= out->ndim; i++) {
        int64_t sa = i <= a->ndim ? a->sizes[a->ndim - i] : 1, sb = i <= b->ndim ? b->sizes[b->ndim - i] : 1;
        if (sa != sb && sa != 1 && sb != 1) {
            tn_fail(TN_ERR_SHAPE, "%s: shapes %s and %s do not broadcast: dimension %d from the end is %lld and %lld, and neither is 1",
                    op, tn_text(a), tn_text(b), i, (long long)sa, (long long)sb);
            return false;
        }
        out->sizes[out->ndim - i] = sa == 1 ? sb : sa;
    }
    return true;
}

int tn_wrap_dim(const char *op, int dim, int ndim)
{
    int range = ndim > 0 ? ndim : 1;
    if (dim >= -range && dim < range)
        return dim < 0 ? dim + range : dim;
    tn_fail(TN_ERR_INDEX, "%s: dim %d is out of range for %d dimension%s: give %d to %d", op, dim, ndim, ndim == 1 ? "" : "s", -range,
            range - 1);
    return -1;
}

bool tn_dims_mask(const char *op, tn_dims dims, int ndim, uint32_t *mask)
{
    if (dims.count < 0 || dims.count > TN_MAX_DIMS) {
        tn_fail(TN_ERR_INDEX, "%s: a set has at most %d dims", op, TN_MAX_DIMS);
        return false;
    }
    *mask = dims.count ? 0 : (1u << ndim) - 1;
    for (int i = 0; i < dims.count; i++) {
        int dim = tn_wrap_dim(op, dims.dim[i], ndim);
        if (dim < 0)
            return false;
        if (*mask & 1u << dim) {
            tn_fail(TN_ERR_INDEX, "%s: dim %d is named twice", op, dim);
            return false;
        }
        *mask |= 1u << dim;
    }
    return true;
}

bool tn_number_fits(const char *op, double value, tn_dtype dtype)
{
    if (tn_failing())
        return false;
    if ((unsigned)dtype >= TN_DTYPE_COUNT || tn_dtype_is_float(dtype) || dtype == TN_BOOL)
        return true;
    const bool sign = dtype != TN_U8;
    const double end = ldexp(1, (int)(8 * tn_dtype_size(dtype)) - sign), whole = trunc(value);
    if (whole >= (sign ? -end : 0) && whole < end)
        return true;
    tn_fail(TN_ERR_DTYPE, "%s: %.17g does not fit into %s: tn_cast() to a dtype that holds it", op, value, tn_dtype_name(dtype));
    return false;
}
