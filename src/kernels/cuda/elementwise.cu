/* Element by element: the expressions of elementwise.h, casts, fills, choices, ranges, random numbers. One kernel for each type of elements:
 * which operator it is, all threads find alike. */
#include "kernels/cuda/math.h"
#include "kernels/philox.h"

/* ---- a thread's elements --------------------------------------------------------------------------------------------------- */

/* Which all are read before the first is computed. Where a loop is dense they lie side by side and go by 16 bytes; else a block's threads take
 * turns, and neighbours have neighbouring elements. */
template <class S> TN_HD constexpr int each_of(bool dense) { return dense && sizeof(S) < 4 ? 16 / (int)sizeof(S) : 4; }
template <class S, int COUNT> struct alignas(COUNT * sizeof(S)) pack { S v[COUNT]; };

/* N elements of each of the first K operands. */
template <int K, int N, bool DENSE> struct span {
    const tn_cuda_loop &loop;
    int64_t first;
    int64_t at[DENSE ? 1 : N][K];

    __device__ explicit span(const tn_cuda_loop &l) : loop(l)
    {
        first = DENSE ? tn_this_thread() * N : (int64_t)blockIdx.x * blockDim.x * N + threadIdx.x;
        TN_UNROLL
        for (int j = 0; j < N && !DENSE; j++)
            if (has(j))
                tn_places<K>(loop, first + j * (int64_t)blockDim.x, at[DENSE ? 0 : j]);
    }
    __device__ bool has(int j) const { return first + (DENSE ? j : j * (int64_t)blockDim.x) < loop.n; }

    /* v[j] is element j of operand k, as it is computed in where T is not S; what is not there stays as it was. */
    template <class S, class T> __device__ void get(int k, T *v) const
    {
        constexpr int COUNT = N * sizeof(S) > 16 ? 16 / sizeof(S) : N;
        const bool one = DENSE && (loop.on_cpu >> k & 1 || loop.strides[k][0] == 0);
        if (DENSE && !one && has(N - 1)) {
            TN_UNROLL
            for (int j = 0; j < N; j += COUNT) {
                const pack<S, COUNT> p = *(const pack<S, COUNT> *)(loop.data[k] + (first + j) * (int64_t)sizeof(S));
                TN_UNROLL
                for (int i = 0; i < COUNT; i++)
                    v[j + i] = as<T>(p.v[i]);
            }
            return;
        }
        TN_UNROLL
        for (int j = 0; j < N; j++)
            if (has(j))
                v[j] = as<T>(tn_element<S>(loop, k, !DENSE ? at[DENSE ? 0 : j][k] : one ? 0 : (first + j) * (int64_t)sizeof(S)));
    }
    /* The result's. */
    template <class S, class T> __device__ void put(const T *v) const
    {
        constexpr int COUNT = N * sizeof(S) > 16 ? 16 / sizeof(S) : N;
        if (DENSE && has(N - 1)) {
            TN_UNROLL
            for (int j = 0; j < N; j += COUNT) {
                pack<S, COUNT> p;
                TN_UNROLL
                for (int i = 0; i < COUNT; i++)
                    p.v[i] = of<S>(v[j + i]);
                *(pack<S, COUNT> *)(loop.data[0] + (first + j) * (int64_t)sizeof(S)) = p;
            }
            return;
        }
        TN_UNROLL
        for (int j = 0; j < N; j++)
            if (has(j))
                *(S *)(loop.data[0] + (DENSE ? (first + j) * (int64_t)sizeof(S) : at[DENSE ? 0 : j][0])) = of<S>(v[j]);
    }
    /* A test's result, or a number. */
    template <class S, class T> __device__ void put(const T *v, bool test) const
    {
        if (test)
            put<bool>(v);
        else
            put<S>(v);
    }

private:
    template <class T, class S> __device__ static T as(S x)
    {
        if constexpr (std::is_same<S, T>::value)
            return x;
        else
            return tn_load(x);
    }
    template <class S, class T> __device__ static S of(T x)
    {
        if constexpr (std::is_same<S, T>::value)
            return x;
        else
            return tn_store<S>(x);
    }
};

/* Whether the first operands, of elements of these sizes, are dense from a multiple of 16 bytes on; inputs may be one number too. */
static bool is_dense(const tn_cuda_loop &loop, int operands, const size_t *sizes)
{
    bool dense = loop.ndim == 1;
    for (int k = 0; k < operands; k++) {
        const bool one = k > 0 && (loop.on_cpu >> k & 1 || loop.strides[k][0] == 0);
        dense = dense && (one || (loop.strides[k][0] == (int64_t)sizes[k] && (uintptr_t)loop.data[k] % 16 == 0));
    }
    return dense;
}
static bool is_float(tn_dtype dtype) { return dtype <= TN_BF16; } /* of integers only what is not dense is compiled as such: they are rare */
/* kernel<S, whether dense>(loop, ...). */
#define LAUNCH_LOOP(kernel, S, loop, dense, ...)                                                                              \
    do {                                                                                                                      \
        const int each_ = each_of<S>(dense), threads_ = tn_threads((loop).n / each_);                                         \
        auto kernel_of_loop = (dense) ? kernel<S, true> : kernel<S, false>;                                                   \
        TN_LAUNCH(kernel_of_loop, tn_blocks((loop).n, each_ * threads_), threads_, loop, __VA_ARGS__);                        \
    } while (0)

/* ---- unary, binary --------------------------------------------------------------------------------------------------------- */

#define TEST_CASE(NAME, expression) case TN_UNARY_##NAME:
static bool is_test(tn_unary_op op)
{
    switch (op) {
        TN_UNARY_TEST_LIST(TEST_CASE) return true;
    default: return false;
    }
}
static bool is_for_floats(tn_unary_op op)
{
    switch (op) {
        TN_UNARY_FLOAT_LIST(TEST_CASE) return true;
    default: return false;
    }
}
#undef TEST_CASE
#define TEST_CASE(NAME, expression) case TN_BINARY_##NAME:
static bool is_test(tn_binary_op op)
{
    switch (op) {
        TN_BINARY_TEST_LIST(TEST_CASE) return true;
    default: return false;
    }
}
static bool is_for_floats(tn_binary_op op)
{
    switch (op) {
        TN_BINARY_FLOAT_LIST(TEST_CASE) return true;
    default: return false;
    }
}

template <class T> struct parameters { T p[2]; };

#define CASE(NAME, expression)                                                                                                \
    case TN_UNARY_##NAME:                                                                                                     \
        TN_UNROLL                                                                                                             \
        for (int j = 0; j < N; j++) {                                                                                         \
            const T x = v[j];                                                                                                 \
            v[j] = (T)(expression);                                                                                           \
        }                                                                                                                     \
        break;
template <class S, bool DENSE> TN_KERNEL unary_kernel(tn_cuda_loop loop, tn_unary_op op, bool test, parameters<typename tn_work<S>::T> parameter)
{
    typedef typename tn_work<S>::T T;
    typedef typename tn_wrapping<T>::U U;
    constexpr int N = each_of<S>(DENSE);
    const T p[2] = {parameter.p[0], parameter.p[1]};
    (void)p;
    const span<2, N, DENSE> mine(loop);
    T v[N];
    for (int j = 0; j < N; j++)
        v[j] = 1;
    mine.template get<S>(1, v);
    if constexpr (std::is_floating_point<T>::value)
        switch (op) {
            TN_UNARY_FLOAT_LIST(CASE)
        default:;
        }
    switch (op) {
        TN_UNARY_NUMBER_LIST(CASE)
        TN_UNARY_ROUND_LIST(CASE)
        TN_UNARY_TEST_LIST(CASE)
    default:;
    }
    mine.template put<S>(v, test);
}
#undef CASE

static int64_t saturate(double x, int64_t low, int64_t high) { return x <= (double)low ? low : x >= (double)high ? high : (int64_t)x; }

tn_status tn_cuda_unary(tn_unary_op op, tn_dtype dtype, const double *param, const tn_loop *from)
{
    const bool test = is_test(op);
    const size_t sizes[2] = {test ? sizeof(bool) : tn_cuda_size(dtype), tn_cuda_size(dtype)};
    const tn_cuda_loop loop = tn_cuda_loop_of(from, sizes);
    if (dtype > TN_BF16 && is_for_floats(op))
        return tn_cuda_fail(TN_ERR_DTYPE, "unary kernel %d: it is for floats", (int)op), TN_ERR_DTYPE;
    TN_FOR_DTYPE(dtype, {
        typedef typename tn_work<S>::T T;
        parameters<T> p = {};
        for (int i = 0; i < 2 && param; i++)
            if (std::is_floating_point<T>::value)
                p.p[i] = (T)param[i];
            else
                p.p[i] = (T)saturate(param[i], sizeof(T) == 4 ? INT32_MIN : INT64_MIN, sizeof(T) == 4 ? INT32_MAX : INT64_MAX);
        LAUNCH_LOOP(unary_kernel, S, loop, is_float(dtype) && is_dense(loop, 2, sizes), op, test, p);
    })
    return tn_cuda_status("unary");
}

#define CASE(NAME, expression)                                                                                                \
    case TN_BINARY_##NAME:                                                                                                    \
        TN_UNROLL                                                                                                             \
        for (int j = 0; j < N; j++) {                                                                                         \
            const T a = v[j], b = w[j];                                                                                       \
            v[j] = (T)(expression);                                                                                           \
        }                                                                                                                     \
        break;
template <class S, bool DENSE> TN_KERNEL binary_kernel(tn_cuda_loop loop, tn_binary_op op, bool test)
{
    typedef typename tn_work<S>::T T;
    typedef typename tn_wrapping<T>::U U;
    constexpr int N = each_of<S>(DENSE);
    const span<3, N, DENSE> mine(loop);
    T v[N], w[N];
    for (int j = 0; j < N; j++)
        v[j] = w[j] = 1;
    mine.template get<S>(1, v);
    mine.template get<S>(2, w);
    if constexpr (std::is_floating_point<T>::value)
        switch (op) {
            TN_BINARY_FLOAT_LIST(CASE)
        default:;
        }
    switch (op) {
        TN_BINARY_NUMBER_LIST(CASE)
        TN_BINARY_TEST_LIST(CASE)
    default:;
    }
    mine.template put<S>(v, test);
}
#undef CASE

tn_status tn_cuda_binary(tn_binary_op op, tn_dtype dtype, const tn_loop *from)
{
    const bool test = is_test(op);
    const size_t size = tn_cuda_size(dtype), sizes[3] = {test ? sizeof(bool) : size, size, size};
    const tn_cuda_loop loop = tn_cuda_loop_of(from, sizes);
    if (dtype > TN_BF16 && is_for_floats(op))
        return tn_cuda_fail(TN_ERR_DTYPE, "binary kernel %d: it is for floats", (int)op), TN_ERR_DTYPE;
    TN_FOR_DTYPE(dtype, LAUNCH_LOOP(binary_kernel, S, loop, is_float(dtype) && is_dense(loop, 3, sizes), op, test);)
    return tn_cuda_status("binary");
}

/* ---- where, lerp ----------------------------------------------------------------------------------------------------------- */

template <class S, bool DENSE> TN_KERNEL where_kernel(tn_cuda_loop loop, int)
{
    constexpr int N = each_of<S>(DENSE);
    const span<4, N, DENSE> mine(loop);
    bool which[N] = {};
    S v[N] = {}, w[N] = {};
    mine.template get<bool>(1, which);
    mine.template get<S>(2, v);
    mine.template get<S>(3, w);
    for (int j = 0; j < N; j++)
        v[j] = which[j] ? v[j] : w[j];
    mine.template put<S>(v);
}

/* From the nearer end: the other one is hit exactly at w = 1. */
template <class S, bool DENSE> TN_KERNEL lerp_kernel(tn_cuda_loop loop, int)
{
    typedef typename tn_work<S>::T T;
    constexpr int N = each_of<S>(DENSE);
    const span<4, N, DENSE> mine(loop);
    T a[N] = {}, b[N] = {}, w[N] = {};
    mine.template get<S>(1, a);
    mine.template get<S>(2, b);
    mine.template get<S>(3, w);
    for (int j = 0; j < N; j++) {
        const T d = b[j] - a[j];
        a[j] = (w[j] < 0 ? -w[j] : w[j]) < (T)0.5 ? a[j] + w[j] * d : b[j] - d * ((T)1 - w[j]);
    }
    mine.template put<S>(a);
}

tn_status tn_cuda_ternary(tn_ternary_op op, tn_dtype dtype, const tn_loop *from)
{
    const bool where = op == TN_TERNARY_WHERE;
    const size_t size = tn_cuda_size(dtype), sizes[4] = {size, where ? 1 : size, size, size};
    const tn_cuda_loop loop = tn_cuda_loop_of(from, sizes);
    if (where)
        TN_FOR_SIZE(size, LAUNCH_LOOP(where_kernel, S, loop, is_dense(loop, 4, sizes), 0))
    else if (dtype > TN_BF16)
        return tn_cuda_fail(TN_ERR_DTYPE, "lerp: it is for floats"), TN_ERR_DTYPE;
    else
        TN_FOR_FLOAT(dtype, LAUNCH_LOOP(lerp_kernel, S, loop, is_dense(loop, 4, sizes), 0))
    return tn_cuda_status("ternary");
}

/* ---- the gradients of SwiGLU ----------------------------------------------------------------------------------------------- */

template <class T> TN_KERNEL swiglu_backward_kernel(int64_t n, const T *dy, const T *gate, const T *up, T *dgate, T *dup)
{
    const int64_t i = tn_this_thread();
    if (i >= n)
        return;
    const T d = dy[i], x = gate[i];
    dgate[i] = d * up[i] * tn_silu_slope_(x);
    dup[i] = x * tn_sigmoid_(x) * d;
}

tn_status tn_cuda_swiglu_backward(tn_dtype dtype, int64_t n, const void *dy, const void *gate, const void *up, void *dgate, void *dup)
{
    if (n > 0 && dtype == TN_F64)
        TN_LAUNCH_EACH(swiglu_backward_kernel<double>, n, n, (const double *)dy, (const double *)gate, (const double *)up, (double *)dgate, (double *)dup);
    else if (n > 0)
        TN_LAUNCH_EACH(swiglu_backward_kernel<float>, n, n, (const float *)dy, (const float *)gate, (const float *)up, (float *)dgate, (float *)dup);
    return tn_cuda_status("swiglu_backward");
}

/* ---- cast, fill ------------------------------------------------------------------------------------------------------------ */

template <class S, bool DENSE> TN_KERNEL copy_kernel(tn_cuda_loop loop, int)
{
    constexpr int N = each_of<S>(DENSE);
    const span<2, N, DENSE> mine(loop);
    S v[N] = {};
    mine.template get<S>(1, v);
    mine.template put<S>(v);
}

/* Floats to integers without undefined behaviour: toward zero, at the ends saturated, NaN to 0. */
TN_DEVICE int64_t whole(double x, bool wide)
{
    if (!(x == x))
        return 0;
    if (wide)
        return x >= 9223372036854775808.0 ? INT64_MAX : x <= -9223372036854775808.0 ? INT64_MIN : (int64_t)x;
    return x >= 2147483647.0 ? INT32_MAX : x <= -2147483648.0 ? INT32_MIN : (int64_t)x;
}

/* An element in the widest type of its kind, f or i. */
struct wide {
    double f;
    int64_t i;
};
TN_DEVICE wide widened(int dtype, const tn_cuda_loop &loop, int64_t at)
{
    wide v = {0, 0};
    switch (dtype) {
    case TN_F32: v.f = tn_element<float>(loop, 1, at); break;
    case TN_F64: v.f = tn_element<double>(loop, 1, at); break;
    case TN_F16: v.f = tn_load(tn_element<tn_f16>(loop, 1, at)); break;
    case TN_BF16: v.f = tn_load(tn_element<tn_bf16>(loop, 1, at)); break;
    case TN_I64: v.i = tn_element<int64_t>(loop, 1, at); break;
    case TN_I32: v.i = tn_element<int32_t>(loop, 1, at); break;
    case TN_I16: v.i = tn_element<int16_t>(loop, 1, at); break;
    case TN_I8: v.i = tn_element<int8_t>(loop, 1, at); break;
    default: v.i = tn_element<uint8_t>(loop, 1, at); break;
    }
    return v;
}
enum { CAST = 4 };
TN_KERNEL cast_kernel(tn_cuda_loop loop, int to, int from)
{
    const bool floats = from <= TN_BF16;
    const span<2, CAST, false> mine(loop);
    for (int j = 0; j < CAST; j++) {
        if (!mine.has(j))
            continue;
        const int64_t *at = mine.at[j];
        const wide v = widened(from, loop, at[1]);
        char *out = loop.data[0] + at[0];
        const float narrow = floats ? (float)v.f : (float)v.i; /* never by double: it would be rounded twice */
        const int64_t i = floats ? whole(v.f, to == TN_I64) : v.i;
        switch (to) {
        case TN_F32: *(float *)out = narrow; break;
        case TN_F64: *(double *)out = floats ? v.f : (double)v.i; break;
        case TN_F16: *(tn_f16 *)out = tn_store_f16(narrow); break;
        case TN_BF16: *(tn_bf16 *)out = tn_store_bf16(narrow); break;
        case TN_I64: *(int64_t *)out = i; break;
        case TN_I32: *(int32_t *)out = (int32_t)i; break;
        case TN_I16: *(int16_t *)out = (int16_t)i; break;
        case TN_I8: *(int8_t *)out = (int8_t)i; break;
        case TN_U8: *(uint8_t *)out = (uint8_t)i; break;
        default: *(bool *)out = floats ? v.f != 0 : v.i != 0;
        }
    }
}

/* Floats of at most 32 bits, which are most casts, without a double. */
template <class S, bool DENSE> TN_KERNEL cast_float_kernel(tn_cuda_loop loop, int to)
{
    constexpr int N = each_of<S>(DENSE);
    const span<2, N, DENSE> mine(loop);
    float v[N] = {};
    mine.template get<S>(1, v);
    if (to == TN_F32)
        mine.template put<float>(v);
    else if (to == TN_F16)
        mine.template put<tn_f16>(v);
    else
        mine.template put<tn_bf16>(v);
}

static bool is_narrow(tn_dtype dtype) { return dtype == TN_F32 || dtype == TN_F16 || dtype == TN_BF16; }

tn_status tn_cuda_cast(tn_dtype to, tn_dtype from, const tn_loop *loop_)
{
    const size_t sizes[2] = {tn_cuda_size(to), tn_cuda_size(from)};
    tn_cuda_loop loop = tn_cuda_loop_of(loop_, sizes);
    const bool dense = is_dense(loop, 2, sizes);
    if (to == from && !dense && tn_cuda_widen(&loop, 2, sizes[0]))
        LAUNCH_LOOP(copy_kernel, tn_cuda_pack, loop, false, 0);
    else if (to == from)
        TN_FOR_SIZE(sizes[0], LAUNCH_LOOP(copy_kernel, S, loop, dense, 0))
    else if (is_narrow(to) && from == TN_F32)
        LAUNCH_LOOP(cast_float_kernel, float, loop, dense, to);
    else if (is_narrow(to) && from == TN_F16)
        LAUNCH_LOOP(cast_float_kernel, tn_f16, loop, dense, to);
    else if (is_narrow(to) && from == TN_BF16)
        LAUNCH_LOOP(cast_float_kernel, tn_bf16, loop, dense, to);
    else
        TN_LAUNCH(cast_kernel, tn_blocks(loop.n, CAST * tn_threads(loop.n / CAST)), tn_threads(loop.n / CAST), loop, to, from);
    return tn_cuda_status("cast");
}

/* value is in the CPU's memory: it goes as an operand that is. */
tn_status tn_cuda_fill(size_t element, const void *value, const tn_loop *from)
{
    tn_loop with = *from;
    with.operands = 2;
    with.on_cpu = 2;
    with.data[1] = (char *)value;
    memset(with.strides[1], 0, sizeof with.strides[1]);
    const size_t sizes[2] = {element, element};
    const tn_cuda_loop loop = tn_cuda_loop_of(&with, sizes);
    TN_FOR_SIZE(element, LAUNCH_LOOP(copy_kernel, S, loop, is_dense(loop, 2, sizes), 0))
    return tn_cuda_status("fill");
}

/* ---- ranges, triangles ----------------------------------------------------------------------------------------------------- */

template <class S> TN_KERNEL range_kernel(int64_t n, int64_t first, double start, double step, bool is_whole, S *out)
{
    const int64_t i = tn_this_thread();
    if (i >= n)
        return;
    const double value = start + __dmul_rn((double)(first + i), step); /* a product and a sum: never one operation, as on the CPU */
    if constexpr (std::is_same<S, tn_f16>::value || std::is_same<S, tn_bf16>::value || std::is_floating_point<S>::value || std::is_same<S, bool>::value)
        out[i] = tn_store<S>(value);
    else
        out[i] = (S)(is_whole ? (int64_t)start + (first + i) * (int64_t)step : (int64_t)value);
}

tn_status tn_cuda_range(tn_dtype dtype, int64_t n, int64_t first, double start, double step, void *out)
{
    const bool is_whole = fabs(start) < 0x1p53 && fabs(step) < 0x1p53 && start == floor(start) && step == floor(step);
    if (n > 0)
        TN_FOR_DTYPE(dtype, TN_LAUNCH_EACH(range_kernel<S>, n, n, first, start, step, is_whole, (S *)out))
    return tn_cuda_status("range");
}

template <class S> TN_KERNEL triangle_kernel(int64_t n, bool upper, int64_t diagonal, int64_t rows, int64_t cols, const S *x, S *out)
{
    const int64_t i = tn_this_thread();
    if (i >= n)
        return;
    const int64_t row = i / cols % rows, col = i % cols;
    out[i] = (upper ? col - row >= diagonal : col - row <= diagonal) ? x[i] : 0;
}

tn_status tn_cuda_triangle(size_t element, bool upper, int64_t diagonal, int64_t batch, int64_t rows, int64_t cols, const void *x, void *out)
{
    const int64_t n = batch * rows * cols;
    if (n > 0)
        TN_FOR_SIZE(element, TN_LAUNCH_EACH(triangle_kernel<S>, n, n, upper, diagonal, rows, cols, (const S *)x, (S *)out))
    return tn_cuda_status("triangle");
}

/* ---- random numbers -------------------------------------------------------------------------------------------------------- */

/* Box and Muller's two normals of 64 (f32) or 128 (f64) bits; the angle's nearest quarter of a turn is taken off exactly, as on the CPU. */
TN_DEVICE void turned(int32_t quarter, float *z, float radius, float s, float c)
{
    const float x = quarter & 1 ? s : c, y = quarter & 1 ? c : s;
    z[0] = radius * ((quarter + 1) & 2 ? -x : x);
    z[1] = radius * (quarter & 2 ? -y : y);
}
TN_DEVICE void turned(int32_t quarter, double *z, double radius, double s, double c)
{
    const double x = quarter & 1 ? s : c, y = quarter & 1 ? c : s;
    z[0] = radius * ((quarter + 1) & 2 ? -x : x);
    z[1] = radius * (quarter & 2 ? -y : y);
}
TN_DEVICE void normals(const uint32_t *w, float *z)
{
    const int32_t turn = (int32_t)(w[1] >> 2), quarter = (turn + (1 << 27)) >> 28;
    float s, c;
    sincospif((float)(turn - quarter * (1 << 28)) * 0x1p-29f, &s, &c);
    turned(quarter, z, sqrtf(-2.0f * logf((float)(int32_t)(w[0] >> 1) * 0x1p-31f + 0x1p-32f)), s, c);
}
TN_DEVICE void normals(const uint32_t *w, double *z)
{
    const int32_t turn = (int32_t)(w[2] >> 2), quarter = (turn + (1 << 27)) >> 28;
    double s, c;
    sincospi((double)(turn - quarter * (1 << 28)) * 0x1p-29 + (double)((w[2] & 3) << 21 | w[3] >> 11) * 0x1p-52, &s, &c);
    turned(quarter, z, sqrt(-2.0 * log(1.0 - ((double)w[0] * 0x1p-32 + (double)(w[1] >> 11) * 0x1p-53))), s, c);
}

/* x b + a, rounded twice and kept at or below the bound. */
TN_DEVICE float affine(float x, float a, float b, float below) { return fminf(__fadd_rn(__fmul_rn(x, b), a), below); }
TN_DEVICE double affine(double x, double a, double b, double below) { return fmin(__dadd_rn(__dmul_rn(x, b), a), below); }

struct random_how {
    tn_random_fill fill;
    double scale, below; /* of floats */
    uint32_t hit;        /* of BERNOULLI: what 24 bits must lie below */
    const tn_cuda_draws *replay;
};

/* A thread makes the elements of one block of four words. */
template <class S> TN_KERNEL random_kernel(random_how h, int64_t blocks, int each)
{
    const tn_random_fill &f = h.fill;
    const int64_t block = tn_this_thread();
    if (block >= blocks)
        return;
    const uint64_t seed = h.replay ? h.replay->seed : f.seed, counter = f.offset + (h.replay ? h.replay->offset : 0) + (uint64_t)block;
    const uint32_t at[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, 0}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t w[4];
    tn_philox(at, key, w);
    for (int i = 0; i < each; i++) {
        const int64_t place = block * each + i;
        if (place >= f.n)
            return;
        S *out = (S *)f.out + place;
        if (f.kind == TN_RANDOM_BERNOULLI) {
            if constexpr (std::is_same<S, double>::value)
                *out = w[i] >> 8 < h.hit ? f.b : 0;
            else
                *out = tn_store<S>(w[i] >> 8 < h.hit ? (float)f.b : 0.0f);
        } else if (f.kind == TN_RANDOM_INTEGER || f.kind == TN_RANDOM_BITS) {
            uint64_t bits = (uint64_t)w[2 * i] << 32 | w[2 * i + 1];
            if (f.kind == TN_RANDOM_INTEGER)
                bits = tn_philox_below(f.range, bits, seed, counter, i) + (uint64_t)f.low;
            *out = tn_store<S>((int64_t)bits);
        } else if constexpr (std::is_same<S, double>::value) {
            double z[2] = {(double)w[2 * i] * 0x1p-32 + (double)(w[2 * i + 1] >> 11) * 0x1p-53, 0};
            if (f.kind == TN_RANDOM_NORMAL)
                normals(w, z), z[0] = z[i];
            *out = f.a != 0.0 || h.scale != 1.0 ? affine(z[0], f.a, h.scale, h.below) : z[0];
        } else {
            const int bits = std::is_same<S, tn_f16>::value ? 11 : std::is_same<S, tn_bf16>::value ? 8 : 24;
            float z[2] = {(float)(int32_t)(w[i] >> (32 - bits)) * (1.0f / (1 << bits)), 0};
            if (f.kind == TN_RANDOM_NORMAL)
                normals(w + (i & 2), z), z[0] = z[i & 1];
            const float a = (float)f.a, scale = (float)h.scale;
            *out = tn_store<S>(a != 0.0f || scale != 1.0f ? affine(z[0], a, scale, (float)h.below) : z[0]);
        }
    }
}

tn_status tn_cuda_random(const tn_random_fill *fill)
{
    const int each = (int)tn_random_per_block(fill->kind, fill->dtype);
    const int64_t blocks = tn_blocks(fill->n, each);
    const bool normal = fill->kind == TN_RANDOM_NORMAL, bound = !normal && fill->a < fill->b;
    random_how h = {*fill, normal ? fill->b : fill->b - fill->a, INFINITY, 0, tn_cuda_draws_of_replay()};
    if (fill->kind == TN_RANDOM_BERNOULLI)
        h.hit = (uint32_t)ceil(fill->a * 0x1p24);
    else if (bound)
        h.below = fill->dtype == TN_F64 ? nextafter(fill->b, fill->a) : (double)nextafterf((float)fill->b, (float)fill->a);
    if (blocks > 0)
        TN_FOR_DTYPE(fill->dtype, TN_LAUNCH_EACH(random_kernel<S>, blocks, h, blocks, each))
    return tn_cuda_status("random");
}
