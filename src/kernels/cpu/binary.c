/* Binary operators: the expressions of elementwise.h in a loop for every type that is computed in. */
#include "kernels/cpu/math.h"
#include "kernels/cpu/math_avx2.h"
#include "kernels/cpu/math_avx512.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/wide.h"

/* n elements; with `scalar` the right operand is one element for all. */
typedef void (*loop_fn)(void *out, const void *left, const void *right, int64_t n, bool scalar);

#define LOOP(kind, T_, U_, O, NAME, expression)                                                                               \
    static void kind##_##NAME(void *out, const void *left, const void *right, int64_t n, bool scalar)                         \
    {                                                                                                                         \
        typedef T_ T;                                                                                                         \
        typedef U_ U __attribute__((unused));                                                                                 \
        O *y = out;                                                                                                           \
        const T *l = left, *r = right;                                                                                        \
        if (scalar) {                                                                                                         \
            const T b = *r;                                                                                                   \
            TN_INDEPENDENT                                                                                                    \
            for (int64_t i = 0; i < n; i++) {                                                                                 \
                T a = l[i];                                                                                                   \
                y[i] = (O)(expression);                                                                                       \
            }                                                                                                                 \
            return;                                                                                                           \
        }                                                                                                                     \
        TN_INDEPENDENT                                                                                                        \
        for (int64_t i = 0; i < n; i++) {                                                                                     \
            T a = l[i], b = r[i];                                                                                             \
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
TN_BINARY_NUMBER_LIST(F32) TN_BINARY_FLOAT_LIST(F32) TN_BINARY_TEST_LIST(F32_TEST)
TN_BINARY_NUMBER_LIST(F64) TN_BINARY_FLOAT_LIST(F64) TN_BINARY_TEST_LIST(F64_TEST)
TN_BINARY_NUMBER_LIST(I32) TN_BINARY_TEST_LIST(I32_TEST)
TN_BINARY_NUMBER_LIST(I64) TN_BINARY_TEST_LIST(I64_TEST)

#define IN_F32(NAME, expression) [TN_BINARY_##NAME] = f32_##NAME,
#define IN_F64(NAME, expression) [TN_BINARY_##NAME] = f64_##NAME,
#define IN_I32(NAME, expression) [TN_BINARY_##NAME] = i32_##NAME,
#define IN_I64(NAME, expression) [TN_BINARY_##NAME] = i64_##NAME,
static loop_fn const loops[TN_KIND_COUNT][TN_BINARY_COUNT] = {
    [TN_KIND_F32] = {TN_BINARY_LIST(IN_F32)},
    [TN_KIND_F64] = {TN_BINARY_LIST(IN_F64)},
    [TN_KIND_I32] = {TN_BINARY_NUMBER_LIST(IN_I32) TN_BINARY_TEST_LIST(IN_I32)},
    [TN_KIND_I64] = {TN_BINARY_NUMBER_LIST(IN_I64) TN_BINARY_TEST_LIST(IN_I64)},
};

/* The same over bfloat16 from memory to memory, two to a word: a way through buffers of floats would cost more than the operator. */
#define BF16(NAME, expression)                                                                                                \
    TN_INLINE_ float of_##NAME(float a, float b)                                                                              \
    {                                                                                                                         \
        typedef float T;                                                                                                      \
        typedef float U __attribute__((unused));                                                                              \
        return (T)(expression);                                                                                               \
    }                                                                                                                         \
    static void bf16_##NAME(void *out, const void *left, const void *right, int64_t n, bool scalar)                           \
    {                                                                                                                         \
        const tn_bf16 *l = left, *r = right;                                                                                  \
        const tn_pair_bf16 *ls = left, *rs = right;                                                                           \
        tn_pair_bf16 *y = out;                                                                                                \
        const float b = scalar ? tn_load_bf16(*r) : 0;                                                                        \
        if (scalar)                                                                                                           \
            TN_INDEPENDENT                                                                                                    \
            for (int64_t i = 0; i < n / 2; i++)                                                                               \
                y[i] = tn_pair_(of_##NAME(tn_low_(ls[i]), b), of_##NAME(tn_high_(ls[i]), b));                                 \
        else                                                                                                                  \
            TN_INDEPENDENT                                                                                                    \
            for (int64_t i = 0; i < n / 2; i++)                                                                               \
                y[i] = tn_pair_(of_##NAME(tn_low_(ls[i]), tn_low_(rs[i])), of_##NAME(tn_high_(ls[i]), tn_high_(rs[i])));      \
        if (n % 2)                                                                                                            \
            ((tn_bf16 *)out)[n - 1] = tn_store_bf16(of_##NAME(tn_load_bf16(l[n - 1]), scalar ? b : tn_load_bf16(r[n - 1])));  \
    }
TN_BINARY_NUMBER_LIST(BF16) TN_BINARY_FLOAT_LIST(BF16)
#define IN_BF16(NAME, expression) [TN_BINARY_##NAME] = bf16_##NAME,
static loop_fn const loops_bf16[TN_BINARY_COUNT] = {TN_BINARY_NUMBER_LIST(IN_BF16) TN_BINARY_FLOAT_LIST(IN_BF16)};

#if defined(__AVX512F__)
/* a is l[i ...], b r[i ...] or its one element. */
#define VECTORS(NAME, expression)                                                                                             \
    static void vectors_##NAME(void *out, const void *left, const void *right, int64_t n, bool scalar)                        \
    {                                                                                                                         \
        const float *l = left, *r = right;                                                                                    \
        float *y = out;                                                                                                       \
        int64_t i = 0;                                                                                                        \
        for (; i + 16 <= n; i += 16) {                                                                                        \
            const __m512 a = _mm512_loadu_ps(l + i), b = scalar ? _mm512_set1_ps(*r) : _mm512_loadu_ps(r + i);                \
            _mm512_storeu_ps(y + i, expression);                                                                              \
        }                                                                                                                     \
        if (i < n) {                                                                                                          \
            const __mmask16 lanes = tn_first_(n - i);                                                                         \
            const __m512 a = _mm512_maskz_loadu_ps(lanes, l + i);                                                             \
            const __m512 b = scalar ? _mm512_set1_ps(*r) : _mm512_maskz_loadu_ps(lanes, r + i);                               \
            _mm512_mask_storeu_ps(y + i, lanes, expression);                                                                  \
        }                                                                                                                     \
    }
VECTORS(GELU_BACKWARD, _mm512_mul_ps(a, tn_gelu_slope_v_(b)))
VECTORS(SILU_BACKWARD, _mm512_mul_ps(a, tn_silu_slope_v_(b)))
VECTORS(SWIGLU, _mm512_mul_ps(tn_silu_v_(a), b))
#elif defined(TN_EIGHTS_)
/* The product of a, l[i ...], and b, r[i ...] or its one element, when one of them has become its function. */
#define VECTORS(NAME, function, of)                                                                                           \
    static void vectors_##NAME(void *out, const void *left, const void *right, int64_t n, bool scalar)                        \
    {                                                                                                                         \
        enum { MANY = TN_EIGHTS_AT_ONCE_ };                                                                                   \
        const float *l = left, *r = right;                                                                                    \
        float *y = out;                                                                                                       \
        tn_eight_ a[MANY], b[MANY];                                                                                           \
        int64_t i = 0;                                                                                                        \
        for (; i + 8 * MANY <= n; i += 8 * MANY) {                                                                            \
            tn_load_eights_(MANY, l + i, a);                                                                                  \
            if (scalar)                                                                                                       \
                TN_EACH_EIGHT_(k, MANY) b[k] = (tn_eight_)TN_ALL_EIGHT_(*r);                                                  \
            else                                                                                                              \
                tn_load_eights_(MANY, r + i, b);                                                                              \
            function(MANY, of);                                                                                               \
            TN_EACH_EIGHT_(k, MANY) a[k] = a[k] * b[k];                                                                       \
            tn_store_eights_(MANY, y + i, a);                                                                                 \
        }                                                                                                                     \
        for (; i < n; i += 8) {                                                                                               \
            const __m256i lanes = tn_first_eight_(n - i);                                                                     \
            a[0] = tn_load_first_(l + i, lanes);                                                                              \
            b[0] = scalar ? (tn_eight_)TN_ALL_EIGHT_(*r) : tn_load_first_(r + i, lanes);                                      \
            function(1, of);                                                                                                  \
            tn_store_first_(y + i, lanes, a[0] * b[0]);                                                                       \
        }                                                                                                                     \
    }
VECTORS(GELU_BACKWARD, tn_gelu_slopes_, b)
VECTORS(SILU_BACKWARD, tn_silu_slopes_, b)
VECTORS(SWIGLU, tn_silus_, a)
#endif

static loop_fn loop_of(tn_binary_op op, tn_kind kind)
{
#if defined(VECTORS)
    static loop_fn const vectors[TN_BINARY_COUNT] = {[TN_BINARY_GELU_BACKWARD] = vectors_GELU_BACKWARD,
                                                     [TN_BINARY_SILU_BACKWARD] = vectors_SILU_BACKWARD, [TN_BINARY_SWIGLU] = vectors_SWIGLU};
    if (kind == TN_KIND_F32 && vectors[op])
        return vectors[op];
#endif
    return loops[kind][op];
}

#define IS_TEST(NAME, expression) case TN_BINARY_##NAME:
static bool is_test(tn_binary_op op)
{
    switch (op) {
        TN_BINARY_TEST_LIST(IS_TEST) return true;
    default: return false;
    }
}

typedef struct job {
    loop_fn loop, dense; /* of the kind; over rows that lie dense in dtype, or NULL */
    tn_dtype dtype;
    int64_t size, result_size;
    bool test;   /* the result is bool, which the loop writes itself */
    bool direct; /* dtype is computed in as it is */
} job;

static void row(char *const *data, const int64_t *strides, int64_t n, const void *context)
{
    const job *j = context;
    bool scalar = strides[2] == 0 && n > 1;
    if (j->dense && strides[0] == j->result_size && strides[1] == j->size && (scalar || strides[2] == j->size)) {
        j->dense(data[0], data[1], data[2], n, scalar);
        return;
    }
    tn_buffer buffers[3];
    int64_t first = tn_min_i64(n, TN_CHUNK);
    const void *l = strides[1] ? NULL : TN_K(load)(j->dtype, data[1], 0, first, &buffers[1]);
    const void *r = strides[2] ? NULL : TN_K(load)(j->dtype, data[2], 0, scalar ? 1 : first, &buffers[2]);
    for (int64_t i = 0; i < n; i += TN_CHUNK) {
        int64_t m = tn_min_i64(n - i, TN_CHUNK);
        char *out = data[0] + i * strides[0];
        if (strides[1])
            l = TN_K(load)(j->dtype, data[1] + i * strides[1], strides[1], m, &buffers[1]);
        if (strides[2])
            r = TN_K(load)(j->dtype, data[2] + i * strides[2], strides[2], m, &buffers[2]);
        bool in_place = strides[0] == j->result_size && (j->direct || j->test);
        j->loop(in_place ? (void *)out : buffers[0].data, l, r, m, scalar);
        if (!in_place && j->test)
            TN_K(copy_row)(1, out, strides[0], buffers[0].data, 1, m);
        else if (!in_place)
            TN_K(store)(j->dtype, out, strides[0], m, buffers[0].data);
    }
}

tn_status TN_K(binary)(tn_binary_op op, tn_dtype dtype, const tn_loop *loop)
{
    tn_kind kind = TN_K(kind_of)(dtype);
    job j = {.loop = loop_of(op, kind), .dtype = dtype, .test = is_test(op)};
    if (!j.loop) {
        tn_fail(TN_ERR_DTYPE, "binary kernel %d: not for %s", (int)op, tn_dtype_name(dtype));
        return TN_ERR_DTYPE;
    }
    j.size = (int64_t)tn_dtype_size(dtype);
    j.result_size = (int64_t)tn_dtype_size(j.test ? TN_BOOL : dtype);
    j.direct = dtype == TN_F32 || dtype == TN_F64 || dtype == TN_I32 || dtype == TN_I64;
    j.dense = j.direct ? j.loop : dtype == TN_BF16 && j.loop == loops[kind][op] ? loops_bf16[op] : NULL;
    bool slow = op == TN_BINARY_POW || op == TN_BINARY_REMAINDER || (op > TN_BINARY_DIV && !j.test);
    TN_K(rows)(loop, (size_t[]){(size_t)j.result_size, (size_t)j.size, (size_t)j.size}, slow ? TN_GRAIN / 8 : TN_GRAIN, row, &j);
    return TN_OK;
}

/* ---- the gradients of SwiGLU ---------------------------------------------------------------------------------------------- */

typedef struct swiglu_grad {
    const void *dy, *gate, *up;
    void *dgate, *dup;
} swiglu_grad;

#define SWIGLU_BACKWARD(T, name)                                                                                              \
    static void name(int64_t begin, int64_t end, void *context)                                                               \
    {                                                                                                                         \
        const swiglu_grad *g = context;                                                                                       \
        const T *dy = g->dy, *gate = g->gate, *up = g->up;                                                                    \
        T *dgate = g->dgate, *dup = g->dup;                                                                                   \
        TN_INDEPENDENT                                                                                                        \
        for (int64_t i = begin; i < end; i++) {                                                                               \
            const T d = dy[i], x = gate[i];                                                                                   \
            dgate[i] = d * up[i] * tn_silu_slope_(x);                                                                         \
            dup[i] = x * tn_sigmoid_(x) * d;                                                                                  \
        }                                                                                                                     \
    }
SWIGLU_BACKWARD(double, swiglu_backward_f64)
#if defined(__AVX512F__)
static void swiglu_backward_f32(int64_t begin, int64_t end, void *context)
{
    const swiglu_grad *g = context;
    const float *dy = g->dy, *gate = g->gate, *up = g->up;
    float *dgate = g->dgate, *dup = g->dup;
    int64_t i = begin;
    for (; i + 16 <= end; i += 16) {
        const __m512 d = _mm512_loadu_ps(dy + i), x = _mm512_loadu_ps(gate + i), u = _mm512_loadu_ps(up + i);
        _mm512_storeu_ps(dgate + i, _mm512_mul_ps(_mm512_mul_ps(d, u), tn_silu_slope_v_(x)));
        _mm512_storeu_ps(dup + i, _mm512_mul_ps(tn_silu_v_(x), d));
    }
    if (i == end)
        return;
    const __mmask16 lanes = tn_first_(end - i);
    const __m512 d = _mm512_maskz_loadu_ps(lanes, dy + i), x = _mm512_maskz_loadu_ps(lanes, gate + i), u = _mm512_maskz_loadu_ps(lanes, up + i);
    _mm512_mask_storeu_ps(dgate + i, lanes, _mm512_mul_ps(_mm512_mul_ps(d, u), tn_silu_slope_v_(x)));
    _mm512_mask_storeu_ps(dup + i, lanes, _mm512_mul_ps(tn_silu_v_(x), d));
}
#else
SWIGLU_BACKWARD(float, swiglu_backward_f32)
#endif

tn_status TN_K(swiglu_backward)(tn_dtype dtype, int64_t n, const void *dy, const void *gate, const void *up, void *dgate, void *dup)
{
    swiglu_grad g = {dy, gate, up, dgate, dup};
    tn_parallel_for(n, TN_GRAIN / 8, dtype == TN_F64 ? swiglu_backward_f64 : swiglu_backward_f32, &g);
    return TN_OK;
}
