/* Random tensors. Every one takes the next blocks of the thread's stream (core/random.h); kernels.h says which element gets which bits. */
#include "ops/random.h"

#include <math.h>

#include <tenon/ops.h>

#include "core/loop.h"
#include "core/random.h"
#include "kernels/philox.h"
#include "ops/create.h"

/* Fills the contiguous x; NULL on failure. */
static tn_tensor *filled(tn_tensor *x, tn_random_fill fill)
{
    if (!x || tn_this.undrawn)
        return x;
    fill.dtype = (tn_dtype)x->dtype;
    fill.n = x->numel;
    fill.out = tn_ptr(x);
    tn_random_take(&fill);
    return x->numel == 0 || tn_kernels_for(x)->random(&fill) == TN_OK ? x : NULL;
}

/* Uniform or normal numbers: the dtype must be a floating one. */
static tn_tensor *floats(const char *op, tn_tensor *x, tn_random_kind kind, double a, double b)
{
    if (x && !tn_dtype_is_float((tn_dtype)x->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: %s cannot hold it: give a floating dtype, or use tn_randint", op, tn_dtype_name((tn_dtype)x->dtype));
    return filled(x, (tn_random_fill){.kind = kind, .a = a, .b = b});
}

static tn_tensor *made(const char *op, const tn_shape_args *args)
{
    return tn_create(op, args->shape, args->dtype, args->device, args->requires_grad);
}
static tn_tensor *made_between(const char *op, const tn_uniform_args *args, tn_dtype dtype)
{
    return tn_create(op, args->shape, args->dtype == TN_DTYPE_DEFAULT ? dtype : args->dtype, args->device, args->requires_grad);
}

tn_tensor *tn_rand_with(const tn_shape_args *args)
{
    TN_KNOWN(tn_shape_args, args);
    return floats("rand", made("rand", args), TN_RANDOM_UNIFORM, 0, 1);
}
tn_tensor *tn_randn_with(const tn_shape_args *args)
{
    TN_KNOWN(tn_shape_args, args);
    return floats("randn", made("randn", args), TN_RANDOM_NORMAL, 0, 1);
}
tn_tensor *tn_rand_like_with(const tn_like_args *args)
{
    TN_KNOWN(tn_like_args, args);
    return floats("rand_like", tn_create_like("rand_like", args), TN_RANDOM_UNIFORM, 0, 1);
}
tn_tensor *tn_randn_like_with(const tn_like_args *args)
{
    TN_KNOWN(tn_like_args, args);
    return floats("randn_like", tn_create_like("randn_like", args), TN_RANDOM_NORMAL, 0, 1);
}

tn_tensor *tn_uniform_with(const tn_uniform_args *args)
{
    TN_KNOWN(tn_uniform_args, args);
    if (!tn_failing() && !(args->a <= args->b && isfinite(args->b - args->a)))
        return tn_fail(TN_ERR_ARGUMENT, "uniform: low %g and high %g are no interval: low must not be above high, both finite", args->a, args->b);
    return floats("uniform", made_between("uniform", args, TN_DTYPE_DEFAULT), TN_RANDOM_UNIFORM, args->a, args->b);
}

tn_tensor *tn_normal_with(const tn_uniform_args *args)
{
    TN_KNOWN(tn_uniform_args, args);
    if (!tn_failing() && !(args->b >= 0 && isfinite(args->b) && isfinite(args->a)))
        return tn_fail(TN_ERR_ARGUMENT, "normal: mean %g and std %g: both must be finite, std not negative", args->a, args->b);
    return floats("normal", made_between("normal", args, TN_DTYPE_DEFAULT), TN_RANDOM_NORMAL, args->a, args->b);
}

tn_tensor *tn_randint_with(const tn_uniform_args *args)
{
    TN_KNOWN(tn_uniform_args, args);
    double low = args->a, high = args->b;
    if (!tn_failing() && !(low == floor(low) && high == floor(high) && low < high && low >= -0x1p63 && high <= 0x1p63))
        return tn_fail(TN_ERR_ARGUMENT, "randint: low %g and high %g: give whole numbers of which low is the smaller (high is not drawn)", low,
                       high);
    tn_dtype dtype = args->dtype == TN_DTYPE_DEFAULT ? TN_I64 : args->dtype;
    if (!tn_failing() && (unsigned)dtype < TN_DTYPE_COUNT && !tn_dtype_is_float(dtype)) {
        double most = dtype == TN_BOOL ? 1 : dtype == TN_U8 ? 255 : ldexp(1, (int)tn_dtype_size(dtype) * 8 - 1) - 1;
        double least = dtype == TN_BOOL || dtype == TN_U8 ? 0 : -most - 1;
        if (low < least || high - 1 > most)
            return tn_fail(TN_ERR_ARGUMENT, "randint: %g to %g do not all fit into %s", low, high - 1, tn_dtype_name(dtype));
    }
    tn_tensor *x = made_between("randint", args, TN_I64);
    uint64_t range = high == 0x1p63 ? 0x8000000000000000u - (uint64_t)(int64_t)low : (uint64_t)(int64_t)high - (uint64_t)(int64_t)low;
    return filled(x, (tn_random_fill){.kind = TN_RANDOM_INTEGER, .low = (int64_t)low, .range = range});
}

/* How many of 0, 1, 2 ... each dtype holds exactly. */
static const double whole_numbers[TN_DTYPE_COUNT] = {
    [TN_F32] = 0x1p24, [TN_F64] = 0x1p53, [TN_F16] = 2049, [TN_BF16] = 257, [TN_I64] = 0x1p63,
    [TN_I32] = 0x1p31, [TN_I16] = 32768,  [TN_I8] = 128,   [TN_U8] = 256,   [TN_BOOL] = 2,
};

/* Fisher and Yates (1938), from the end: 64 bits for each exchange, so that the bias is below n / 2^64. */
tn_tensor *tn_randperm_with(const tn_randperm_args *args)
{
    TN_KNOWN(tn_randperm_args, args);
    tn_device_id cpu = {TN_CPU, 0};
    if (!tn_failing() && args->n < 0)
        return tn_fail(TN_ERR_ARGUMENT, "randperm: n is %lld: it must not be negative", (long long)args->n);
    if (!tn_failing() && (unsigned)args->dtype < TN_DTYPE_COUNT && (double)args->n > whole_numbers[args->dtype])
        return tn_fail(TN_ERR_ARGUMENT, "randperm: 0 to %lld do not all fit into %s", (long long)args->n - 1, tn_dtype_name(args->dtype));
    tn_tensor *x = tn_create("randperm", TN_SHAPE(args->n), TN_I64, &cpu, false), *bits = tn_new_owned("randperm", TN_SHAPE(args->n), TN_I64, cpu);
    if (!x || !filled(bits, (tn_random_fill){.kind = TN_RANDOM_BITS}) ||
        tn_kernels_of(TN_CPU)->range(TN_I64, args->n, 0, 0, 1, tn_ptr(x)) != TN_OK) {
        tn_release(bits);
        return NULL;
    }
    int64_t *order = (int64_t *)tn_ptr(x);
    const uint64_t *draw = (const uint64_t *)tn_ptr(bits);
    for (int64_t i = args->n - 1; i > 0; i--) {
        int64_t j = (int64_t)((tn_u128)draw[i] * (uint64_t)(i + 1) >> 64), former = order[i];
        order[i] = order[j];
        order[j] = former;
    }
    tn_release(bits);
    if (args->dtype != TN_DTYPE_DEFAULT)
        x = tn_cast(x, args->dtype);
    if (args->device)
        x = tn_to(x, *args->device);
    if (x && args->requires_grad && tn_set_requires_grad(x, true) != TN_OK)
        return NULL;
    return x;
}

tn_tensor *tn_bernoulli(const tn_tensor *p)
{
    if (!tn_ready("bernoulli", "p", p))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)p->dtype))
        return tn_fail(TN_ERR_DTYPE, "bernoulli: p is %s: probabilities are of a floating dtype", tn_dtype_name((tn_dtype)p->dtype));
    TN_SCOPE;
    tn_dtype wide = p->dtype == TN_F64 ? TN_F64 : TN_F32;
    tn_shape shape = tn_shape_of(p);
    tn_device_id device = p->storage->device;
    tn_reduce_args all = {.size = sizeof all, .dim = TN_ALL_DIMS};
    {
        TN_NO_GRAD;
        tn_tensor *detached = tn_detach((tn_tensor *)(uintptr_t)p);
        all.x = tn_logical_and(tn_ge(detached, tn_scalar_f64(0)), tn_le(detached, tn_scalar_f64(1)));
    }
    if (!tn_item_i64(tn_all_with(&all)))
        return tn_fail(TN_ERR_ARGUMENT, "bernoulli: p is %s: each of its numbers must be a probability, from 0 to 1", tn_text(p));
    const tn_tensor *u = floats("bernoulli", tn_new("bernoulli", shape, wide, device), TN_RANDOM_UNIFORM, 0, 1);
    tn_tensor *odds = tn_new("bernoulli", shape, wide, device), *hit = tn_new("bernoulli", shape, TN_BOOL, device);
    tn_tensor *y = tn_new("bernoulli", shape, (tn_dtype)p->dtype, device);
    tn_loop loop;
    if (!u || !odds || !hit || !y || !tn_copy_raw(odds, p))
        return NULL;
    if (tn_loop_make(&loop, hit, (const tn_tensor *const[]){u, odds}, 2) &&
        tn_kernels_for(p)->binary(TN_BINARY_LT, wide, &loop) != TN_OK)
        return NULL;
    return tn_copy_raw(y, hit) ? tn_pass(y) : NULL;
}

/* Fewer than `needed` numbers above 0 in a row, or one that is none to draw by: TN_ERR_ARGUMENT. */
static bool can_be_drawn(tn_tensor *p, int64_t needed)
{
    tn_reduce_args all = {.size = sizeof all, .dim = TN_ALL_DIMS}, row = {.size = sizeof row, .dim = -1};
    row.x = tn_gt(p, tn_scalar_f64(0));
    all.x = tn_logical_and(tn_ge(p, tn_scalar_f64(0)), tn_lt(p, tn_scalar_f64(INFINITY)));
    const bool fine = tn_item_i64(tn_all_with(&all));
    all.x = tn_ge(tn_sum_with(&row), tn_scalar_i64(needed));
    if (!tn_failing() && !(fine && tn_item_i64(tn_all_with(&all))))
        tn_fail(TN_ERR_ARGUMENT, "multinomial: p is %s: each number must be finite and not negative, and %lld or more of a row above 0", tn_text(p),
                (long long)needed);
    return !tn_failing();
}

/* Each index waits for an exponential time of rate p: the first to come is a draw, the next ones are draws among those that are left. */
tn_tensor *tn_multinomial_with(const tn_multinomial_args *a)
{
    TN_KNOWN(tn_multinomial_args, a);
    if (!tn_ready("multinomial", "p", a->p))
        return NULL;
    if (!tn_dtype_is_float((tn_dtype)a->p->dtype))
        return tn_fail(TN_ERR_DTYPE, "multinomial: p is %s: probabilities are of a floating dtype", tn_dtype_name((tn_dtype)a->p->dtype));
    if (a->p->ndim < 1 || a->p->ndim > 2 || a->num_samples < 1)
        return tn_fail(TN_ERR_ARGUMENT, "multinomial: p is %s and num_samples %lld: p must be [k] or [n, k], and num_samples 1 or more",
                       tn_text(a->p), (long long)a->num_samples);
    TN_SCOPE;
    TN_NO_GRAD;
    tn_tensor *p = tn_cast(tn_detach((tn_tensor *)(uintptr_t)a->p), TN_F64), *index = NULL;
    if (!p || !can_be_drawn(p, a->replacement ? 1 : a->num_samples))
        return NULL;
    tn_shape shape = tn_shape_of(p);
    if (a->replacement) { /* a race for each draw: [n, num_samples, k] */
        p = tn_unsqueeze(p, -2);
        shape.sizes[shape.ndim++] = shape.sizes[p->ndim - 2];
        shape.sizes[shape.ndim - 2] = a->num_samples;
    }
    tn_tensor *u = floats("multinomial", tn_new("multinomial", shape, TN_F64, a->p->storage->device), TN_RANDOM_UNIFORM, 0, 1);
    tn_tensor *rate = tn_div(p, tn_neg(tn_log1p(tn_neg(u)))); /* u is below 1; where it is 0 and p too, NaN would win */
    rate = tn_where(tn_gt(p, tn_scalar_f64(0)), rate, tn_scalar_f64(-1));
    if (a->replacement)
        return tn_pass(tn_argmax_with(&(tn_arg_args){.size = sizeof(tn_arg_args), .dim = -1, .x = rate}));
    const tn_topk_args most = {.size = sizeof most, .dim = -1, .largest = true, .indices = &index, .x = rate, .k = a->num_samples};
    return tn_topk_with(&most) ? tn_pass(index) : NULL;
}

tn_tensor *tn_random_mask(const char *op, tn_shape shape, tn_dtype dtype, tn_device_id device, double p, double value)
{
    return filled(tn_new(op, shape, dtype, device), (tn_random_fill){.kind = TN_RANDOM_BERNOULLI, .a = p, .b = value});
}
