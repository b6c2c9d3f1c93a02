/* Unary operators: the expressions of elementwise.h in a loop for every type that is computed in. */
#include "kernels/cpu/math.h"
#include "kernels/cpu/math_avx2.h"
#include "kernels/cpu/math_avx512.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/wide.h"

enum { PARAMS = 2 };
/* n elements; p is PARAMS parameters of the type that is computed in. */
typedef void (*loop_fn)(void *out, const void *in, int64_t n, const void *p);

#define LOOP(kind, T_, U_, O, NAME, expression)                                                                               \
    static void kind##_##NAME(void *out, const void *in, int64_t n, const void *params)                                       \
    {                                                                                                                         \
        typedef T_ T;                                                                                                         \
        typedef U_ U __attribute__((unused));                                                                                 \
        const T p[PARAMS] = {((const T *)params)[0], ((const T *)params)[1]};                                                 \
        const T *x_ = in;                                                                                                     \
        O *y = out;                                                                                                           \
        (void)p;                                                                                                              \
        TN_INDEPENDENT                                                                                                        \
        for (int64_t i = 0; i < n; i++) {                                                                                     \
            T x = x_[i];                                                                                                      \
            y[i] = (O)(expression);                                                                                           \
        }                                                                                                                     \
    }

#define F32(NAME, expression) LOOP(f32, float, float, float, NAME, expression)
#define F64(NAME, expression) LOOP(f64, double, double, double, NAME, expression)
#define I32(NAME, expression) LOOP(i32, int32_t, uint32_t, int32_t, NAME, expression)
#define I64(NAME, expression) LOOP(i64, int64_t, uint64_t, int64_t, NAME, expression)
#define F32_TEST(NAME, expression) LOOP(f32, float, float, uint8_t, NAME, expression)
#define F64_TEST(NAME, expression) LOOP(f64, double, double, uint8_t, NAME, expression)
#define I32_TEST(NAME, expression) LOOP(i32, int32_t, uint32_t, uint8_t, NAME, expression)
#define I64_TEST(NAME, expression) LOOP(i64, int64_t, uint64_t, uint8_t, NAME, expression)
/* Rounding leaves integers as they are. */
#define I32_SAME(NAME, expression) LOOP(i32, int32_t, uint32_t, int32_t, NAME, x)
#define I64_SAME(NAME, expression) LOOP(i64, int64_t, uint64_t, int64_t, NAME, x)
TN_UNARY_FLOAT_LIST(F32) TN_UNARY_NUMBER_LIST(F32) TN_UNARY_ROUND_LIST(F32) TN_UNARY_TEST_LIST(F32_TEST)
TN_UNARY_FLOAT_LIST(F64) TN_UNARY_NUMBER_LIST(F64) TN_UNARY_ROUND_LIST(F64) TN_UNARY_TEST_LIST(F64_TEST)
TN_UNARY_NUMBER_LIST(I32) TN_UNARY_ROUND_LIST(I32_SAME) TN_UNARY_TEST_LIST(I32_TEST)
TN_UNARY_NUMBER_LIST(I64) TN_UNARY_ROUND_LIST(I64_SAME) TN_UNARY_TEST_LIST(I64_TEST)

#define IN_F32(NAME, expression) [TN_UNARY_##NAME] = f32_##NAME,
#define IN_F64(NAME, expression) [TN_UNARY_##NAME] = f64_##NAME,
#define IN_I32(NAME, expression) [TN_UNARY_##NAME] = i32_##NAME,
#define IN_I64(NAME, expression) [TN_UNARY_##NAME] = i64_##NAME,
static loop_fn const loops[TN_KIND_COUNT][TN_UNARY_COUNT] = {
    [TN_KIND_F32] = {TN_UNARY_LIST(IN_F32)},
    [TN_KIND_F64] = {TN_UNARY_LIST(IN_F64)},
    [TN_KIND_I32] = {TN_UNARY_NUMBER_LIST(IN_I32) TN_UNARY_ROUND_LIST(IN_I32) TN_UNARY_TEST_LIST(IN_I32)},
    [TN_KIND_I64] = {TN_UNARY_NUMBER_LIST(IN_I64) TN_UNARY_ROUND_LIST(IN_I64) TN_UNARY_TEST_LIST(IN_I64)},
};

/* Angles so large that the vector functions lose them, infinities among them: pieces of a row that hold one go through the C library. */
static void trig(void *out, const void *in, int64_t n, const void *p, loop_fn loop, float (*exact)(float))
{
    const float *x = in;
    float *y = out;
    for (int64_t begin = 0; begin < n; begin += TN_CHUNK) {
        int64_t end = tn_min_i64(begin + TN_CHUNK, n);
        int large = 0;
        for (int64_t i = begin; i < end; i++)
            large |= tn_abs_f32_(x[i]) > TN_TRIG_LIMIT_;
        if (!large)
            loop(y + begin, x + begin, end - begin, p);
        for (int64_t i = begin; large && i < end; i++)
            y[i] = exact(x[i]);
    }
}
static void any_sin(void *out, const void *in, int64_t n, const void *p) { trig(out, in, n, p, f32_SIN, sinf); }
static void any_cos(void *out, const void *in, int64_t n, const void *p) { trig(out, in, n, p, f32_COS, cosf); }

/* The same over bfloat16 from memory to memory, two to a word: a way through buffers of floats would cost more than the operator. */
#define BF16(NAME, expression)                                                                                                \
    TN_INLINE_ float of_##NAME(float x, const float *p)                                                                       \
    {                                                                                                                         \
        typedef float T;                                                                                                      \
        typedef float U __attribute__((unused));                                                                              \
        (void)p;                                                                                                              \
        return (T)(expression);                                                                                               \
    }                                                                                                                         \
    static void bf16_##NAME(void *out, const void *in, int64_t n, const void *params)                                         \
    {                                                                                                                         \
        const float p[PARAMS] = {((const float *)params)[0], ((const float *)params)[1]};                                     \
        const tn_pair_bf16 *x = in;                                                                                           \
        tn_pair_bf16 *y = out;                                                                                                \
        TN_INDEPENDENT                                                                                                        \
        for (int64_t i = 0; i < n / 2; i++)                                                                                   \
            y[i] = tn_pair_(of_##NAME(tn_low_(x[i]), p), of_##NAME(tn_high_(x[i]), p));                                       \
        if (n % 2)                                                                                                            \
            ((tn_bf16 *)out)[n - 1] = tn_store_bf16(of_##NAME(tn_load_bf16(((const tn_bf16 *)in)[n - 1]), p));                \
    }
#define IN_BF16(NAME, expression) [TN_UNARY_##NAME] = bf16_##NAME,
TN_UNARY_NUMBER_LIST(BF16) TN_UNARY_ROUND_LIST(BF16)
static loop_fn const loops_bf16[TN_UNARY_COUNT] = {TN_UNARY_NUMBER_LIST(IN_BF16) TN_UNARY_ROUND_LIST(IN_BF16)};

#if defined(__AVX512F__)
#define VECTORS(NAME, function)                                                                                               \
    static void vectors_##NAME(void *out, const void *in, int64_t n, const void *p)                                           \
    {                                                                                                                         \
        const __mmask16 rest = tn_first_(n % 16);                                                                             \
        const float *x = in;                                                                                                  \
        float *y = out;                                                                                                       \
        (void)p;                                                                                                              \
        for (; n >= 16; n -= 16, x += 16, y += 16)                                                                            \
            _mm512_storeu_ps(y, function(_mm512_loadu_ps(x)));                                                                \
        if (rest)                                                                                                             \
            _mm512_mask_storeu_ps(y, rest, function(_mm512_maskz_loadu_ps(rest, x)));                                         \
    }
VECTORS(EXP, tn_exp_v_)
VECTORS(GELU, tn_gelu_v_)
VECTORS(SIGMOID, tn_sigmoid_v_)
VECTORS(SILU, tn_silu_v_)
#elif defined(TN_EIGHTS_)
#define VECTORS(NAME, function)                                                                                               \
    static void vectors_##NAME(void *out, const void *in, int64_t n, const void *p)                                           \
    {                                                                                                                         \
        enum { MANY = TN_EIGHTS_AT_ONCE_ };                                                                                   \
        const float *x = in;                                                                                                  \
        float *y = out;                                                                                                       \
        tn_eight_ v[MANY];                                                                                                    \
        (void)p;                                                                                                              \
        for (; n >= 8 * MANY; n -= 8 * MANY, x += 8 * MANY, y += 8 * MANY) {                                                  \
            tn_load_eights_(MANY, x, v);                                                                                      \
            function(MANY, v);                                                                                                \
            tn_store_eights_(MANY, y, v);                                                                                     \
        }                                                                                                                     \
        for (; n > 0; n -= 8, x += 8, y += 8) {                                                                               \
            const __m256i lanes = tn_first_eight_(n);                                                                         \
            v[0] = tn_load_first_(x, lanes);                                                                                  \
            function(1, v);                                                                                                   \
            tn_store_first_(y, lanes, v[0]);                                                                                  \
        }                                                                                                                     \
    }
VECTORS(EXP, tn_exps_)
VECTORS(GELU, tn_gelus_)
VECTORS(GELU_TANH, tn_gelus_tanh_)
VECTORS(SIGMOID, tn_sigmoids_)
VECTORS(SILU, tn_silus_)
VECTORS(TANH, tn_tanhs_)
#endif

static loop_fn loop_of(tn_unary_op op, tn_kind kind)
{
#if defined(VECTORS)
    static loop_fn const vectors[TN_UNARY_COUNT] = {[TN_UNARY_EXP] = vectors_EXP, [TN_UNARY_GELU] = vectors_GELU,
                                                    [TN_UNARY_SIGMOID] = vectors_SIGMOID, [TN_UNARY_SILU] = vectors_SILU,
#if defined(TN_EIGHTS_)
                                                    [TN_UNARY_TANH] = vectors_TANH, [TN_UNARY_GELU_TANH] = vectors_GELU_TANH,
#endif
    };
    if (kind == TN_KIND_F32 && vectors[op])
        return vectors[op];
#endif
    if (kind == TN_KIND_F32 && op == TN_UNARY_SIN)
        return any_sin;
    if (kind == TN_KIND_F32 && op == TN_UNARY_COS)
        return any_cos;
    return loops[kind][op];
}

#define IS_TEST(NAME, expression) case TN_UNARY_##NAME:
static bool is_test(tn_unary_op op)
{
    switch (op) {
        TN_UNARY_TEST_LIST(IS_TEST) return true;
    default: return false;
    }
}
static bool is_slow(tn_unary_op op)
{
    switch (op) {
        TN_UNARY_FLOAT_LIST(IS_TEST) return true;
    default: return false;
    }
}

typedef struct job {
    loop_fn loop, dense; /* of the kind; over rows that lie dense in dtype, or NULL */
    tn_dtype dtype;
    int64_t size, result_size;
    bool test;   /* the result is bool, which the loop writes itself */
    bool direct; /* dtype is computed in as it is */
    union {
        float f32[PARAMS];
        double f64[PARAMS];
        int32_t i32[PARAMS];
        int64_t i64[PARAMS];
    } param;
} job;

static void row(char *const *data, const int64_t *strides, int64_t n, const void *context)
{
    const job *j = context;
    if (j->dense && strides[0] == j->result_size && strides[1] == j->size) {
        j->dense(data[0], data[1], n, &j->param);
        return;
    }
    tn_buffer buffers[2];
    for (int64_t i = 0; i < n; i += TN_CHUNK) {
        int64_t m = tn_min_i64(n - i, TN_CHUNK);
        char *out = data[0] + i * strides[0];
        const void *x = TN_K(load)(j->dtype, data[1] + i * strides[1], strides[1], m, &buffers[1]);
        bool in_place = strides[0] == j->result_size && (j->direct || j->test);
        j->loop(in_place ? (void *)out : buffers[0].data, x, m, &j->param);
        if (!in_place && j->test)
            TN_K(copy_row)(1, out, strides[0], buffers[0].data, 1, m);
        else if (!in_place)
            TN_K(store)(j->dtype, out, strides[0], m, buffers[0].data);
    }
}

static int64_t saturate(double x, int64_t low, int64_t high)
{
    return x <= (double)low ? low : x >= (double)high ? high : (int64_t)x;
}

tn_status TN_K(unary)(tn_unary_op op, tn_dtype dtype, const double *param, const tn_loop *loop)
{
    tn_kind kind = TN_K(kind_of)(dtype);
    job j = {.loop = loop_of(op, kind), .dtype = dtype, .test = is_test(op)};
    if (!j.loop) {
        tn_fail(TN_ERR_DTYPE, "unary kernel %d: not for %s", (int)op, tn_dtype_name(dtype));
        return TN_ERR_DTYPE;
    }
    for (int i = 0; i < PARAMS && param; i++)
        switch (kind) {
        case TN_KIND_F32: j.param.f32[i] = (float)param[i]; break;
        case TN_KIND_F64: j.param.f64[i] = param[i]; break;
        case TN_KIND_I32: j.param.i32[i] = (int32_t)saturate(param[i], INT32_MIN, INT32_MAX); break;
        default: j.param.i64[i] = saturate(param[i], INT64_MIN, INT64_MAX);
        }
    j.size = (int64_t)tn_dtype_size(dtype);
    j.result_size = (int64_t)tn_dtype_size(j.test ? TN_BOOL : dtype);
    j.direct = dtype == TN_F32 || dtype == TN_F64 || dtype == TN_I32 || dtype == TN_I64;
    j.dense = j.direct ? j.loop : dtype == TN_BF16 ? loops_bf16[op] : NULL;
    TN_K(rows)(loop, (size_t[]){(size_t)j.result_size, (size_t)j.size}, is_slow(op) ? TN_GRAIN / 4 : TN_GRAIN, row, &j);
    return TN_OK;
}
