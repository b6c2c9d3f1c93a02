/* Initialisers. */
#include <math.h>

#include "core/parallel.h"
#include "nn/module.h"

typedef tn_tensor *(*random_fill)(const tn_uniform_args *args);

static tn_tensor *fill_random(const char *op, tn_tensor *x, random_fill fill, double a, double b)
{
    if (!tn_ready(op, "x", x))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: x is %s, and only floating tensors are initialised so", op, tn_dtype_name((tn_dtype)x->dtype));
    TN_SCOPE;
    tn_uniform_args args = {.size = sizeof args, .dtype = (tn_dtype)x->dtype, .device = &x->storage->device, .shape = tn_shape_of(x),
                            .a = a, .b = b};
    const tn_tensor *values = fill(&args);
    return values && tn_overwrite(x, values) == TN_OK ? x : NULL;
}

tn_tensor *tn_init_uniform(tn_tensor *x, double low, double high)
{
    return fill_random("init_uniform", x, tn_uniform_with, low, high);
}

tn_tensor *tn_init_normal(tn_tensor *x, double mean, double std) { return fill_random("init_normal", x, tn_normal_with, mean, std); }

tn_tensor *tn_init_constant(tn_tensor *x, double value)
{
    if (!tn_ready("init_constant", "x", x))
        return NULL;
    TN_SCOPE;
    const tn_tensor *scalar = tn_scalar_f64(value);
    return scalar && tn_overwrite(x, scalar) == TN_OK ? x : NULL;
}

tn_tensor *tn_init_zeros(tn_tensor *x) { return tn_init_constant(x, 0); }
tn_tensor *tn_init_ones(tn_tensor *x) { return tn_init_constant(x, 1); }

double tn_init_gain(tn_nonlinearity nonlinearity, double a)
{
    switch (nonlinearity) {
    case TN_NONLINEARITY_LEAKY_RELU: return sqrt(2 / (1 + a * a));
    case TN_NONLINEARITY_RELU: return sqrt(2);
    case TN_NONLINEARITY_LINEAR: return 1;
    case TN_NONLINEARITY_TANH: return 5. / 3;
    case TN_NONLINEARITY_SELU: return 3. / 4;
    }
    tn_fail(TN_ERR_ARGUMENT, "init_gain: %d is none of tn_nonlinearity", (int)nonlinearity);
    return NAN;
}

/* Fan in and out of a weight; false with an error. */
static bool fans(const char *op, const tn_tensor *x, double *in, double *out)
{
    if (!tn_ready(op, "x", x))
        return false;
    if (x->ndim < 2) {
        tn_fail(TN_ERR_SHAPE, "%s: x is %s: a weight [out, in, ...] is needed", op, tn_text(x));
        return false;
    }
    double receptive = 1;
    for (int d = 2; d < x->ndim; d++)
        receptive *= (double)x->sizes[d];
    *in = (double)x->sizes[1] * receptive;
    *out = (double)x->sizes[0] * receptive;
    return true;
}

/* Values of that standard deviation; a weight without elements is left as it is. */
static tn_tensor *spread(const char *op, tn_tensor *x, double std, bool normal)
{
    if (!x->numel || tn_failing())
        return tn_failing() ? NULL : x;
    return normal ? fill_random(op, x, tn_normal_with, 0, std) : fill_random(op, x, tn_uniform_with, -sqrt(3) * std, sqrt(3) * std);
}

static tn_tensor *kaiming(const char *op, const tn_kaiming_args *args, bool normal)
{
    double in, out;
    if (!fans(op, args->x, &in, &out))
        return NULL;
    return spread(op, args->x, tn_init_gain(args->nonlinearity, args->a) / sqrt(args->mode == TN_FAN_OUT ? out : in), normal);
}

tn_tensor *tn_init_kaiming_uniform_with(const tn_kaiming_args *args)
{
    TN_KNOWN(tn_kaiming_args, args);
    return kaiming("init_kaiming_uniform", args, false);
}
tn_tensor *tn_init_kaiming_normal_with(const tn_kaiming_args *args)
{
    TN_KNOWN(tn_kaiming_args, args);
    return kaiming("init_kaiming_normal", args, true);
}

static tn_tensor *xavier(const char *op, const tn_xavier_args *args, bool normal)
{
    double in, out;
    return fans(op, args->x, &in, &out) ? spread(op, args->x, args->gain * sqrt(2 / (in + out)), normal) : NULL;
}

tn_tensor *tn_init_xavier_uniform_with(const tn_xavier_args *args)
{
    TN_KNOWN(tn_xavier_args, args);
    return xavier("init_xavier_uniform", args, false);
}
tn_tensor *tn_init_xavier_normal_with(const tn_xavier_args *args)
{
    TN_KNOWN(tn_xavier_args, args);
    return xavier("init_xavier_normal", args, true);
}

/* ---- truncated normal ------------------------------------------------------------------------------------------------------- */

static double normal_cdf(double x) { return erfc(-x * 0.70710678118654752440) / 2; }

/* Its inverse: Winitzki's approximation (2008, to 2e-3), then two of Halley's steps, which triple the digits each. */
static double normal_quantile(double p)
{
    double l = log(4 * p * (1 - p)), t = 4.3307467508 + l / 2; /* 2 / (pi 0.147) */
    double x = copysign(1.41421356237309504880 * sqrt(sqrt(t * t - l / 0.147) - t), p - 0.5);
    for (int i = 0; i < 2 && isfinite(x); i++) {
        double u = (normal_cdf(x) - p) * 2.50662827463100050242 * exp(x * x / 2);
        x -= u / (1 + x * u / 2);
    }
    return x;
}

typedef struct truncation {
    double *x;        /* uniform on [0, 1) before */
    double low, high; /* the distribution at the bounds */
    double mean, std, a, b;
} truncation;

static void truncate_piece(int64_t begin, int64_t end, void *context)
{
    const truncation *t = context;
    for (int64_t i = begin; i < end; i++) {
        double value = t->mean + t->std * normal_quantile(t->low + t->x[i] * (t->high - t->low));
        t->x[i] = fmin(fmax(value, t->a), t->b);
    }
}

tn_tensor *tn_init_trunc_normal_with(const tn_trunc_normal_args *args)
{
    TN_KNOWN(tn_trunc_normal_args, args);
    const char *op = "init_trunc_normal";
    tn_tensor *x = args->x;
    if (!tn_ready(op, "x", x))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: x is %s, and only floating tensors are initialised so", op, tn_dtype_name((tn_dtype)x->dtype));
    if (!(args->std > 0 && isfinite(args->std) && isfinite(args->mean)))
        return tn_fail(TN_ERR_ARGUMENT, "%s: .mean %g and .std %g: both must be finite, std above 0", op, args->mean, args->std);
    if (!(args->a < args->b))
        return tn_fail(TN_ERR_ARGUMENT, "%s: .a %g and .b %g: a must be below b", op, args->a, args->b);
    TN_SCOPE;
    tn_shape_args all = {.size = sizeof all, .dtype = TN_F64, .device = &(tn_device_id){TN_CPU, 0}, .shape = tn_shape_of(x)};
    tn_tensor *values = tn_rand_with(&all);
    if (!values)
        return NULL;
    /* In the upper tail the distribution is 1 to all digits: there what is drawn is the negative. */
    truncation t = {(double *)(void *)tn_ptr(values), 0, 0, args->mean, args->std, args->a, args->b};
    bool upper = args->a > args->mean;
    if (upper)
        t = (truncation){t.x, 0, 0, -args->mean, args->std, -args->b, -args->a};
    t.low = normal_cdf((t.a - t.mean) / t.std);
    t.high = normal_cdf((t.b - t.mean) / t.std);
    tn_parallel_for(values->numel, 4096, truncate_piece, &t);
    if (upper)
        values = tn_neg(values);
    return values && tn_overwrite(x, values) == TN_OK ? x : NULL;
}

/* ---- orthogonal ------------------------------------------------------------------------------------------------------------- */

/* Rows of m, each reflected at the plane that is normal to v: r -= scale (v . r) v, in elements from `at` on. */
typedef struct reflection {
    double *rows; /* [, m] */
    const double *v;
    double scale;
    int64_t m, at;
} reflection;

static double dot(const double *a, const double *b, int64_t n)
{
    double sums[8] = {0}; /* that the compiler may take several at once */
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            sums[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        sums[0] += a[i] * b[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

static void reflect_piece(int64_t begin, int64_t end, void *context)
{
    const reflection *f = context;
    int64_t n = f->m - f->at;
    for (int64_t row = begin; row < end; row++) {
        double *r = f->rows + row * f->m + f->at, share = f->scale * dot(f->v, r, n);
        for (int64_t i = 0; i < n; i++)
            r[i] -= share * f->v[i];
    }
}

static void reflect(reflection f, int64_t count) { tn_parallel_for(count, 32768 / (f.m - f.at) + 1, reflect_piece, &f); }

/* QR of a's rows by reflections (Householder 1958): q's rows, zeros before, become orthonormal with the same span. a [k, m] is used up, k <= m.
 * With R's diagonal made positive q is uniform on the orthogonal matrices where a is normal (Mezzadri 2007). */
static void orthonormalise(double *a, double *q, double *scale, int64_t k, int64_t m)
{
    for (int64_t i = 0; i < k; i++) {
        double *v = a + i * m + i, length = sqrt(dot(v, v, m - i)), sign = v[0] < 0 ? 1 : -1;
        v[0] -= sign * length; /* R's diagonal is sign length */
        double square = dot(v, v, m - i);
        scale[i] = square > 0 ? 2 / square : 0;
        reflect((reflection){a + (i + 1) * m, v, scale[i], m, i}, k - i - 1);
        q[i * m + i] = sign;
    }
    for (int64_t i = k - 1; i >= 0; i--)
        reflect((reflection){q + i * m, a + i * m + i, scale[i], m, i}, k - i);
}

tn_tensor *tn_init_orthogonal_with(const tn_xavier_args *args)
{
    TN_KNOWN(tn_xavier_args, args);
    double in, out;
    tn_tensor *x = args->x;
    if (!fans("init_orthogonal", x, &in, &out))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "init_orthogonal: x is %s, and only floating tensors are initialised so", tn_dtype_name((tn_dtype)x->dtype));
    if (!x->numel)
        return x;
    TN_SCOPE;
    int64_t rows = x->sizes[0], cols = x->numel / rows, k = rows < cols ? rows : cols, m = rows < cols ? cols : rows;
    tn_shape_args all = {.size = sizeof all, .dtype = TN_F64, .device = &(tn_device_id){TN_CPU, 0}, .shape = TN_SHAPE(k, m)};
    tn_tensor *a = tn_randn_with(&all), *q = tn_zeros_with(&all), *scale = tn_new("init_orthogonal", TN_SHAPE(k), TN_F64, *all.device);
    if (!a || !q || !scale)
        return NULL;
    orthonormalise((double *)(void *)tn_ptr(a), (double *)(void *)tn_ptr(q), (double *)(void *)tn_ptr(scale), k, m);
    q = tn_mul(rows < cols ? q : tn_transpose(q, 0, 1), tn_scalar_f64(args->gain));
    q = q ? tn_reshape(q, tn_shape_of(x)) : NULL;
    return q && tn_overwrite(x, q) == TN_OK ? x : NULL;
}
