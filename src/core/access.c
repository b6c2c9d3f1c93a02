/* Reading tensors out: items, copies to C arrays, comparison, text. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/loop.h"
#include "kernels/device.h"

/* ---- elements ----------------------------------------------------------------------------------------------------------- */

/* x as a contiguous CPU tensor of the dtype, the scope's; x itself where it is one. No history. */
static const tn_tensor *converted(const char *op, const tn_tensor *x, tn_dtype dtype)
{
    if (!tn_ready(op, "x", x))
        return NULL;
    if (x->dtype != dtype || !tn_has(x, TN_FLAG_CONTIGUOUS)) {
        tn_tensor *y = tn_new(op, tn_shape_of(x), dtype, x->storage->device);
        tn_loop loop;
        if (!y || (tn_loop_make(&loop, y, &x, 1) && tn_kernels_for(x)->cast(dtype, (tn_dtype)x->dtype, &loop) != TN_OK))
            return NULL;
        x = y;
    }
    if (TN_LIKELY(x->storage->device.type == TN_CPU))
        return x;
    tn_tensor *y = tn_new(op, tn_shape_of(x), dtype, (tn_device_id){TN_CPU, 0});
    return y && tn_copy_across(y, x) == TN_OK ? y : NULL;
}

static bool single(const char *op, const tn_tensor *x)
{
    if (!tn_ready(op, "x", x))
        return false;
    if (x->numel == 1)
        return true;
    tn_fail(TN_ERR_SHAPE, "%s: the tensor is %s, not a single element", op, tn_text(x));
    return false;
}

double tn_item(const tn_tensor *x)
{
    TN_SCOPE;
    const tn_tensor *y = single("item", x) ? converted("item", x, TN_F64) : NULL;
    return y ? *(const double *)tn_ptr(y) : NAN;
}

int64_t tn_item_i64(const tn_tensor *x)
{
    TN_SCOPE;
    const tn_tensor *y = single("item_i64", x) ? converted("item_i64", x, TN_I64) : NULL;
    return y ? *(const int64_t *)tn_ptr(y) : 0;
}

double tn_at(const tn_tensor *x, tn_shape index)
{
    TN_SCOPE;
    if (!tn_ready("at", "x", x))
        return NAN;
    if (index.ndim != x->ndim) {
        tn_fail(TN_ERR_INDEX, "at: %s needs %d indices, and %d were given", tn_text(x), x->ndim, index.ndim);
        return NAN;
    }
    int64_t offset = x->offset;
    for (int d = 0; d < x->ndim; d++) {
        int64_t i = index.sizes[d] < 0 ? index.sizes[d] + x->sizes[d] : index.sizes[d];
        if (i < 0 || i >= x->sizes[d]) {
            tn_fail(TN_ERR_INDEX, "at: index %" PRId64 " is out of range for dim %d of %s", index.sizes[d], d, tn_text(x));
            return NAN;
        }
        offset += i * x->strides[d];
    }
    return tn_item(tn_view_of(x, 0, NULL, NULL, offset));
}

static tn_status copy_out(const char *op, const tn_tensor *x, tn_dtype dtype, void *out, int64_t count)
{
    TN_SCOPE;
    const tn_tensor *y = converted(op, x, dtype);
    if (!y)
        return tn_last_status();
    if (count != y->numel || (!out && count)) {
        tn_fail(TN_ERR_SHAPE, "%s: %s has %" PRId64 " elements, and %" PRId64 " were asked for", op, tn_text(x), y->numel, count);
        return TN_ERR_SHAPE;
    }
    if (count)
        memcpy(out, tn_ptr(y), (size_t)count * tn_dtype_size(dtype));
    return TN_OK;
}

tn_status tn_to_floats(const tn_tensor *x, float *out, int64_t count) { return copy_out("to_floats", x, TN_F32, out, count); }
tn_status tn_to_doubles(const tn_tensor *x, double *out, int64_t count) { return copy_out("to_doubles", x, TN_F64, out, count); }
tn_status tn_to_ints(const tn_tensor *x, int64_t *out, int64_t count) { return copy_out("to_ints", x, TN_I64, out, count); }

/* ---- comparison --------------------------------------------------------------------------------------------------------- */

static bool same_number(double a, double b, double rtol, double atol, bool equal_nan)
{
    if (isnan(a) || isnan(b))
        return equal_nan && isnan(a) && isnan(b);
    return a == b || (isfinite(b) && fabs(a - b) <= atol + rtol * fabs(b));
}

bool tn_allclose(const tn_tensor *a, const tn_tensor *b, double rtol, double atol, bool equal_nan)
{
    TN_SCOPE;
    if (!tn_ready("allclose", "a", a) || !tn_ready("allclose", "b", b))
        return false;
    if (!tn_same_shape(a, b)) {
        tn_fail(TN_ERR_SHAPE, "allclose: a is %s and b is %s: the shapes must be equal", tn_text(a), tn_text(b));
        return false;
    }
    const tn_tensor *x = converted("allclose", a, TN_F64), *y = converted("allclose", b, TN_F64);
    for (int64_t i = 0; x && y && i < x->numel; i++)
        if (!same_number(((const double *)tn_ptr(x))[i], ((const double *)tn_ptr(y))[i], rtol, atol, equal_nan))
            return false;
    return x && y;
}

bool tn_equal(const tn_tensor *a, const tn_tensor *b)
{
    TN_SCOPE;
    if (!tn_ready("equal", "a", a) || !tn_ready("equal", "b", b) || a->dtype != b->dtype || !tn_same_shape(a, b))
        return false;
    tn_dtype wide = tn_dtype_is_float((tn_dtype)a->dtype) ? TN_F64 : TN_I64;
    const tn_tensor *x = converted("equal", a, wide), *y = converted("equal", b, wide);
    for (int64_t i = 0; x && y && i < x->numel; i++)
        if (wide == TN_I64 ? ((const int64_t *)tn_ptr(x))[i] != ((const int64_t *)tn_ptr(y))[i]
                           : ((const double *)tn_ptr(x))[i] != ((const double *)tn_ptr(y))[i])
            return false;
    return x && y;
}

/* ---- text, as NumPy prints ---------------------------------------------------------------------------------------------- */

enum { EDGE = 3, THRESHOLD = 1000, WIDTH_MAX = 75 };

typedef struct printer {
    char *text;
    size_t size, length;
    const tn_tensor *values; /* f64 or i64, contiguous */
    tn_dtype dtype;
    bool scientific, whole, cut; /* cut: only EDGE elements from each end of a dim */
    int decimals, width;
    int column;
} printer;

static void put(printer *p, const char *s)
{
    for (; *s; s++) {
        if (p->length + 1 < p->size)
            p->text[p->length] = *s;
        p->length++;
        p->column = *s == '\n' ? 0 : p->column + 1;
    }
}

static void element_text(const printer *p, int64_t i, char *out, size_t size)
{
    if (!tn_dtype_is_float(p->dtype)) {
        int64_t v = ((const int64_t *)tn_ptr(p->values))[i];
        if (p->dtype == TN_BOOL)
            snprintf(out, size, "%s", v ? "True" : "False");
        else
            snprintf(out, size, "%" PRId64, v);
        return;
    }
    double v = ((const double *)tn_ptr(p->values))[i];
    if (isnan(v))
        snprintf(out, size, "nan");
    else if (isinf(v))
        snprintf(out, size, v > 0 ? "inf" : "-inf");
    else if (p->scientific)
        snprintf(out, size, "%.*e", p->decimals, v);
    else if (p->whole)
        snprintf(out, size, "%.0f.", v);
    else
        snprintf(out, size, "%.*f", p->decimals, v);
}

/* Calls visit for each element that will be printed. */
static void each(printer *p, int dim, int64_t index, void (*visit)(printer *, int64_t))
{
    const tn_tensor *x = p->values;
    if (dim == x->ndim) {
        visit(p, index);
        return;
    }
    for (int64_t i = 0; i < x->sizes[dim]; i++) {
        if (p->cut && i == EDGE && x->sizes[dim] > 2 * EDGE)
            i = x->sizes[dim] - EDGE;
        each(p, dim + 1, index + i * x->strides[dim], visit);
    }
}

static void see_kind(printer *p, int64_t i)
{
    double v = ((const double *)tn_ptr(p->values))[i], size = fabs(v);
    if (!isfinite(v))
        return;
    if (v != floor(v))
        p->whole = false;
    if (v != 0 && (size >= 1e8 || size < 1e-4))
        p->scientific = true;
}

static void see_width(printer *p, int64_t i)
{
    char text[64];
    element_text(p, i, text, sizeof text);
    int width = (int)strlen(text);
    p->width = width > p->width ? width : p->width;
}

static void put_element(printer *p, int64_t i)
{
    char text[64], padded[96];
    element_text(p, i, text, sizeof text);
    snprintf(padded, sizeof padded, "%*s", p->width, text);
    put(p, padded);
}

static void put_dim(printer *p, int dim, int64_t index)
{
    const tn_tensor *x = p->values;
    if (dim == x->ndim) {
        put_element(p, index);
        return;
    }
    bool innermost = dim == x->ndim - 1;
    put(p, "[");
    for (int64_t i = 0; i < x->sizes[dim]; i++) {
        if (i > 0) {
            bool wrap = innermost && p->column + p->width + 2 > WIDTH_MAX;
            put(p, innermost ? (wrap ? "," : ", ") : ",\n");
            if (wrap)
                put(p, "\n");
            for (int k = 0; k <= dim && (wrap || !innermost); k++)
                put(p, " ");
        }
        if (p->cut && i == EDGE && x->sizes[dim] > 2 * EDGE) {
            put(p, "...");
            i = x->sizes[dim] - EDGE - 1;
            continue;
        }
        put_dim(p, dim + 1, index + i * x->strides[dim]);
    }
    put(p, "]");
}

size_t tn_format(const tn_tensor *x, char *text, size_t size)
{
    TN_SCOPE;
    size = text ? size : 0;
    if (size)
        text[0] = 0;
    if (!x)
        return (size_t)snprintf(text, size, "(null)");
    TN_ERROR_ASIDE;
    TN_C_NUMBERS;
    bool floating = tn_dtype_is_float((tn_dtype)x->dtype);
    printer p = {.text = text, .size = size, .dtype = (tn_dtype)x->dtype, .decimals = 4, .whole = true, .cut = x->numel > THRESHOLD};
    p.values = converted("format", x, floating ? TN_F64 : TN_I64);
    if (p.values) {
        if (floating)
            each(&p, 0, 0, see_kind);
        p.whole = p.whole && !p.scientific;
        each(&p, 0, 0, see_width);
        put_dim(&p, 0, 0);
    }
    if (size)
        text[p.length < size ? p.length : size - 1] = 0;
    return p.length;
}

void tn_print(const tn_tensor *x)
{
    TN_ERROR_ASIDE;
    size_t length = tn_format(x, NULL, 0);
    char *text = tn_alloc(length + 1);
    if (text) {
        tn_format(x, text, length + 1);
        puts(text);
    }
    tn_free(text, length + 1);
}
