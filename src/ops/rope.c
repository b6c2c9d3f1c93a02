/* Rotary embedding and its tables. */
#include "ops/rope.h"

#include <math.h>

#include "core/loop.h"
#include "kernels/graph.h"
#include "ops/create.h"
#include "ops/heads.h"
#include "ops/reduction.h"
#include "ops/window.h"

typedef struct turning {
    bool interleaved, inverse;
} turning;

static tn_tensor *turn(tn_tensor *x, tn_tensor *cos, tn_tensor *sin, turning how);

/* The rotation's inverse is its transpose. */
static void rope_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    turning how = *(const turning *)tn_node_attr(node);
    how.inverse = !how.inverse;
    dx[0] = turn(dy[0], tn_node_saved(node, 0), tn_node_saved(node, 1), how);
}

/* x [..., l, e]; cos and sin dense, of as many rows as x or as its l. */
static tn_tensor *turn(tn_tensor *x, tn_tensor *cos, tn_tensor *sin, turning how)
{
    const int64_t *last = x ? x->sizes + x->ndim - 2 : NULL;
    const bool as_it_lies = x && x->ndim == 4 && x->strides[3] == 1;
    tn_tensor *from = tn_failing() ? NULL : as_it_lies ? x : tn_packed(x), *y = NULL;
    if (from)
        y = as_it_lies ? tn_new_heads("rope", x, last[1]) : tn_new("rope", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (!y)
        return NULL;
    const int64_t half = cos->sizes[cos->ndim - 1], l = last[0], width = last[1], heads = x->ndim > 2 ? last[-1] : 1, each = heads * l * width;
    const tn_head_rows dense_x = {tn_ptr(from), each, l * width, width}, dense_y = {tn_ptr(y), each, l * width, width};
    const tn_rope_rows rows = {.batch = each ? x->numel / each : 0, .heads = heads, .l = l, .width = width, .half = half,
                               .table_rows = half ? cos->numel / half : 1, .interleaved = how.interleaved, .inverse = how.inverse,
                               .x = as_it_lies ? tn_heads_of(x) : dense_x, .y = as_it_lies ? tn_heads_of(y) : dense_y,
                               .cos = tn_ptr(cos), .sin = tn_ptr(sin)};
    if (x->numel && tn_kernels_for(x)->rope((tn_dtype)x->dtype, &rows) != TN_OK)
        return NULL;
    return tn_record(y, "rope", rope_backward, TN_INPUTS(x), TN_SAVED(cos, sin), TN_ATTR(how));
}

/* A table as the kernel takes it; NULL with an error where it does not fit x. */
static tn_tensor *table_of(const char *name, tn_tensor *t, const tn_tensor *x)
{
    tn_shape shape = tn_shape_of(x);
    if (!tn_ready("rope", name, t) || !tn_floats_only("rope", t) || !tn_devices_agree("rope", x, t))
        return NULL;
    if (tn_grad_enabled() && tn_tracks(t))
        return tn_fail(TN_ERR_GRAD, "rope: %s requires a gradient, and none flows to the tables: tn_detach it", name);
    bool fits = t->ndim >= 2 && t->ndim <= x->ndim && 2 * t->sizes[t->ndim - 1] <= shape.sizes[shape.ndim - 1];
    for (int d = 2; fits && d <= t->ndim; d++)
        fits = t->sizes[t->ndim - d] == shape.sizes[shape.ndim - d] || (d > 2 && t->sizes[t->ndim - d] == 1);
    if (!fits)
        return tn_fail(TN_ERR_SHAPE, "rope: x is %s and %s is %s: it must be [l, r] with 2r at most e, where x is [..., l, e]",
                       tn_text(x), name, tn_text(t));
    const int64_t half = t->sizes[t->ndim - 1];
    shape.sizes[shape.ndim - 1] = half;
    t = tn_as_dtype(tn_detach(t), tn_compute_dtype(x));
    const bool shared = t && t->numel == shape.sizes[shape.ndim - 2] * half;
    return t ? tn_contiguous(shared ? t : tn_expand(t, shape)) : NULL;
}

tn_tensor *tn_rope_with(const tn_rope_args *a)
{
    TN_KNOWN(tn_rope_args, a);
    tn_tensor *x = a->x, *cos, *sin;
    if (!tn_ready("rope", "x", x) || !tn_floats_only("rope", x))
        return NULL;
    if (x->ndim < 2)
        return tn_fail(TN_ERR_SHAPE, "rope: x is %s: it must be [..., l, e]", tn_text(x));
    TN_SCOPE;
    if (!(cos = table_of("cos", a->cos, x)) || !(sin = table_of("sin", a->sin, x)))
        return NULL;
    if (!tn_same_shape(a->cos, a->sin))
        return tn_fail(TN_ERR_SHAPE, "rope: cos is %s and sin is %s: both must be alike", tn_text(a->cos), tn_text(a->sin));
    return tn_pass(tn_as_dtype(turn(tn_as_dtype(x, tn_compute_dtype(x)), cos, sin, (turning){a->interleaved, false}), (tn_dtype)x->dtype));
}

/* Llama 3.1's law where there is an original length. */
double tn_rope_frequency(const tn_rope_tables_args *a, int64_t j)
{
    const double frequency = pow(a->base, -2 * (double)j / (double)a->dim);
    if (a->original_length == 0)
        return frequency / a->factor;
    const double waves = a->original_length * frequency / (2 * 3.14159265358979323846);
    const double kept = (waves - a->low_freq_factor) / (a->high_freq_factor - a->low_freq_factor), share = fmin(1, fmax(0, kept));
    return share * frequency + (1 - share) * frequency / a->factor;
}

bool tn_rope_frequencies(const tn_rope_tables_args *a, double *f)
{
    const int64_t half = a->dim / 2;
    const tn_tensor *factors = a->freq_factors;
    if (factors && (!tn_ready("rope_tables", "freq_factors", factors) || tn_to_doubles(factors, f, half) != TN_OK))
        return false;
    for (int64_t j = 0; j < half; j++) {
        const double frequency = tn_rope_frequency(a, j);
        if (factors && !(f[j] > 0)) {
            tn_fail(TN_ERR_ARGUMENT, "rope_tables: freq_factors has %g at %lld: it must be positive", f[j], (long long)j);
            return false;
        }
        f[j] = factors ? frequency / f[j] : frequency;
    }
    return true;
}

/* x, a row of f64 on the CPU, there. A graph that is captured takes nothing from the CPU but arguments of kernels. */
static tn_tensor *constants_on(tn_device_id device, tn_tensor *x)
{
    if (!tn_captures(device))
        return tn_to(x, device);
    tn_tensor *there = tn_new("rope_tables", tn_shape_of(x), TN_F64, device);
    for (int64_t j = 0; there && j < x->numel; j++)
        if (!tn_fill_raw(tn_select(there, 0, j), ((const double *)(const void *)tn_ptr(x))[j]))
            return NULL;
    return there;
}

tn_tensor *tn_rope_tables_with(const tn_rope_tables_args *a)
{
    TN_KNOWN(tn_rope_tables_args, a);
    if (!tn_ready("rope_tables", "positions", a->positions))
        return NULL;
    if (a->dim < 2 || a->dim % 2 || !a->sin)
        return tn_fail(TN_ERR_ARGUMENT, "rope_tables: dim is %lld%s: it must be even and at least 2, with a place for the sines",
                       (long long)a->dim, a->sin ? "" : " and sin NULL");
    if (!(a->base > 0) || !(a->factor > 0) || !(a->original_length >= 0) || !(a->high_freq_factor > a->low_freq_factor))
        return tn_fail(TN_ERR_ARGUMENT, "rope_tables: base %g and factor %g must be positive, original_length %g not negative, and "
                       "high_freq_factor %g above low_freq_factor %g", a->base, a->factor, a->original_length,
                       a->high_freq_factor, a->low_freq_factor);
    *a->sin = NULL;
    TN_SCOPE;
    TN_NO_GRAD;
    const int64_t half = a->dim / 2;
    tn_tensor *frequencies = tn_new("rope_tables", TN_SHAPE(half), TN_F64, (tn_device_id){TN_CPU, 0});
    if (!frequencies || !tn_rope_frequencies(a, (double *)(void *)tn_ptr(frequencies)))
        return NULL;
    tn_tensor *angles = tn_mul(tn_unsqueeze(tn_cast(a->positions, TN_F64), -1), constants_on(a->positions->storage->device, frequencies));
    const tn_dtype dtype = tn_dtype_or_default(a->dtype);
    tn_tensor *sin = tn_pass(tn_cast(tn_sin(angles), dtype)), *cos = tn_pass(tn_cast(tn_cos(angles), dtype));
    *a->sin = cos ? sin : NULL;
    return cos;
}
