/* Tenon: tensors. A tensor is a shape, strides and an offset over counted storage; views share storage, as in PyTorch. */
#ifndef TENON_TENSOR_H
#define TENON_TENSOR_H

#include <tenon/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_tensor tn_tensor;

enum { TN_MAX_DIMS = 8 };

/* Every dtype: its name, the C type that holds one element, and what it is. 16-bit floats are structs of their bits. */
typedef struct tn_f16 { uint16_t bits; } tn_f16;
typedef struct tn_bf16 { uint16_t bits; } tn_bf16;
#define TN_DTYPE_LIST(X)                                                                                                      \
    X(F32, float, "float32")                                                                                                  \
    X(F64, double, "float64")                                                                                                 \
    X(F16, tn_f16, "float16")                                                                                                 \
    X(BF16, tn_bf16, "bfloat16")                                                                                              \
    X(I64, int64_t, "int64")                                                                                                  \
    X(I32, int32_t, "int32")                                                                                                  \
    X(I16, int16_t, "int16")                                                                                                  \
    X(I8, int8_t, "int8")                                                                                                     \
    X(U8, uint8_t, "uint8")                                                                                                   \
    X(BOOL, bool, "bool")
typedef enum tn_dtype {
#define TN_DTYPE_ENUM_(name, type, text) TN_##name,
    TN_DTYPE_LIST(TN_DTYPE_ENUM_)
#undef TN_DTYPE_ENUM_
    TN_DTYPE_COUNT,
    TN_DTYPE_DEFAULT = -1 /* "not said": the default dtype, or the input's */
} tn_dtype;

TN_API const char *tn_dtype_name(tn_dtype dtype); /* "float32" */
TN_API size_t tn_dtype_size(tn_dtype dtype);      /* bytes of one element */
TN_API bool tn_dtype_is_float(tn_dtype dtype);
/* The dtype of an operator on both, by PyTorch's table (i64 with f16 gives f16, f16 with bf16 gives f32). */
TN_API tn_dtype tn_promote(tn_dtype a, tn_dtype b);
/* The dtype of new tensors where none is said: TN_F32 at first; a floating dtype. Per process. */
TN_API tn_dtype tn_get_default_dtype(void);
TN_API tn_status tn_set_default_dtype(tn_dtype dtype);

typedef enum tn_device_type { TN_CPU, TN_CUDA } tn_device_type;
typedef struct tn_device_id {
    int type; /* a tn_device_type */
    int index;
} tn_device_id;
/* "cpu", "cuda" or "cuda:1". An unknown or absent device is TN_ERR_DEVICE and gives the CPU. */
TN_API tn_device_id tn_device(const char *name);
TN_API tn_device_id tn_get_default_device(void);
TN_API tn_status tn_set_default_device(tn_device_id device);
/* Work on a CUDA device is done later than it is asked for, in order. Waits for all of it, and raises what went wrong in it (an index out of
 * range); so does what brings numbers to the CPU (tn_item, tn_to). On the CPU there is nothing to wait for. */
TN_API tn_status tn_synchronize(tn_device_id device) TN_MUST_CHECK;
/* A device's memory, as tn_get_memory_stats() tells of the CPU's; a cap on the bytes in use and kept; what is kept for reuse given back. A
 * request beyond the cap, or beyond what the device has, is TN_ERR_MEMORY and names its size; the program goes on. */
TN_API tn_memory_stats tn_get_device_memory_stats(tn_device_id device);
/* The same by PyTorch's names: bytes in use, the most of them at once, and those in use and kept; 0 on error. The most begins anew by
 * tn_reset_peak_memory_stats(). */
TN_API int64_t tn_memory_allocated(tn_device_id device);
TN_API int64_t tn_max_memory_allocated(tn_device_id device);
TN_API int64_t tn_memory_reserved(tn_device_id device);
TN_API tn_status tn_reset_peak_memory_stats(tn_device_id device);
TN_API tn_status tn_device_memory_set_limit(tn_device_id device, int64_t bytes);
TN_API tn_status tn_device_memory_trim(tn_device_id device);

/* A shape: TN_SHAPE(2, 3), or TN_SCALAR for rank 0. Passed by value. */
typedef struct tn_shape {
    int ndim;
    int64_t sizes[TN_MAX_DIMS];
} tn_shape;
TN_API tn_shape tn_make_shape(int ndim, const int64_t *sizes); /* more than 8 dims: ndim is -1, which every function refuses */
#ifdef __cplusplus
}
template <class... N> inline tn_shape tn_shape_of_(N... n)
{
    const int64_t sizes[] = {static_cast<int64_t>(n)...};
    return tn_make_shape(static_cast<int>(sizeof...(n)), sizes);
}
#define TN_SHAPE(...) tn_shape_of_(__VA_ARGS__)
#define TN_SCALAR tn_make_shape(0, nullptr)
extern "C" {
#else
#define TN_SHAPE(...)                                                                                                         \
    tn_make_shape((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__})
#define TN_SCALAR tn_make_shape(0, NULL)
#endif

/* What an option that ends in _hw takes: height and width apart, .stride_hw = {2, 1}. Both 0: not said, the option without _hw holds. */
typedef struct tn_pair {
    int64_t h, w;
} tn_pair;

/* A set of dimensions, for reductions and permutations: TN_DIMS(0, -1). Empty means all, where a function says so. */
typedef struct tn_dims {
    int count;
    int dim[TN_MAX_DIMS];
} tn_dims;
TN_API tn_dims tn_make_dims(int count, const int *dim);
#ifdef __cplusplus
}
template <class... N> inline tn_dims tn_dims_of_(N... n)
{
    const int dim[] = {static_cast<int>(n)...};
    return tn_make_dims(static_cast<int>(sizeof...(n)), dim);
}
#define TN_DIMS(...) tn_dims_of_(__VA_ARGS__)
extern "C" {
#else
#define TN_DIMS(...) tn_make_dims((int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (const int[]){__VA_ARGS__})
#endif

/* ---- what a tensor is -------------------------------------------------------------------------------------------------- */

TN_API int tn_ndim(const tn_tensor *x);
TN_API int64_t tn_size(const tn_tensor *x, int dim); /* dim may be negative; out of range: -1 and TN_ERR_INDEX */
TN_API int64_t tn_stride(const tn_tensor *x, int dim); /* in elements */
TN_API int64_t tn_numel(const tn_tensor *x);
TN_API tn_shape tn_shape_of(const tn_tensor *x);
TN_API tn_dtype tn_dtype_of(const tn_tensor *x);
TN_API tn_device_id tn_device_of(const tn_tensor *x);
TN_API bool tn_is_contiguous(const tn_tensor *x);
TN_API bool tn_requires_grad(const tn_tensor *x);
TN_API bool tn_is_leaf(const tn_tensor *x);
/* How often the storage was written; a saved tensor whose version changed is an error at backward. */
TN_API uint64_t tn_version_of(const tn_tensor *x);
/* Whether both read the same storage. */
TN_API bool tn_shares_storage(const tn_tensor *a, const tn_tensor *b);

/* The first element's address (element [i, j] lies at i * stride(0) + j * stride(1) elements from it). CPU tensors only. */
TN_API const void *tn_data(const tn_tensor *x);
/* The same to write through: raises the storage's version. */
TN_API void *tn_data_mut(tn_tensor *x);
/* The single element as a double; NaN on any error (more elements than one: TN_ERR_SHAPE). */
TN_API double tn_item(const tn_tensor *x);
TN_API int64_t tn_item_i64(const tn_tensor *x); /* exact for integers; 0 on error */
/* The element at the given indices, one for each dimension. */
TN_API double tn_at(const tn_tensor *x, tn_shape index);
/* Copies all elements in row-major order into out, converted; count must be numel. */
TN_API tn_status tn_to_floats(const tn_tensor *x, float *out, int64_t count);
TN_API tn_status tn_to_doubles(const tn_tensor *x, double *out, int64_t count);
TN_API tn_status tn_to_ints(const tn_tensor *x, int64_t *out, int64_t count);
/* Writes the tensor as NumPy prints it, at most size bytes with the closing 0; returns the length that it would need. */
TN_API size_t tn_format(const tn_tensor *x, char *text, size_t size);
/* Prints it on stdout, with a newline. */
TN_API void tn_print(const tn_tensor *x);
/* |a - b| <= atol + rtol |b| everywhere; shapes must be equal; NaN equals NaN only with equal_nan. False on any error. */
TN_API bool tn_allclose(const tn_tensor *a, const tn_tensor *b, double rtol, double atol, bool equal_nan);
/* Same shape, same dtype and equal elements. */
TN_API bool tn_equal(const tn_tensor *a, const tn_tensor *b);

/* ---- making tensors ---------------------------------------------------------------------------------------------------- */

/* Options of all that make tensors: .dtype, .device, .requires_grad. */
#define TN_TENSOR_OPTIONS(X)                                                                                                  \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)                                                                                      \
    X(const tn_device_id *, device, NULL) /* NULL: the default device, or the input's */                                      \
    X(bool, requires_grad, false)

typedef struct tn_shape_args { /* tn_zeros(TN_SHAPE(2, 3), .dtype = TN_F64) */
    size_t size TN_SIZE_(tn_shape_args);
    TN_TENSOR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_shape shape;
    double value TN_ZERO_; /* tn_full */
} tn_shape_args;
TN_API tn_tensor *tn_empty_with(const tn_shape_args *args); /* not cleared */
TN_API tn_tensor *tn_zeros_with(const tn_shape_args *args);
TN_API tn_tensor *tn_ones_with(const tn_shape_args *args);
/* tn_full(shape, value): of the default dtype unless said, not of the value's; a value that an integer dtype cannot hold is TN_ERR_DTYPE. */
TN_API tn_tensor *tn_full_with(const tn_shape_args *args);

typedef struct tn_like_args { /* tn_zeros_like(x, .dtype = TN_I64): x's shape, dtype and device unless said */
    size_t size TN_SIZE_(tn_like_args);
    TN_TENSOR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_tensor *x TN_ZERO_;
    double value TN_ZERO_; /* tn_full_like */
} tn_like_args;
TN_API tn_tensor *tn_empty_like_with(const tn_like_args *args);
TN_API tn_tensor *tn_zeros_like_with(const tn_like_args *args);
TN_API tn_tensor *tn_ones_like_with(const tn_like_args *args);
TN_API tn_tensor *tn_full_like_with(const tn_like_args *args);
TN_API tn_tensor *tn_rand_like_with(const tn_like_args *args);
TN_API tn_tensor *tn_randn_like_with(const tn_like_args *args);

typedef struct tn_range_args { /* tn_arange(0, 10, 2), tn_arange(10), tn_linspace(0, 1, 11) */
    size_t size TN_SIZE_(tn_range_args);
    TN_TENSOR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    double start TN_ZERO_, end TN_ZERO_;
    double step TN_ZERO_; /* of tn_arange: 0 means 1; of tn_linspace: the number of points */
} tn_range_args;
/* start, start + step, ... below end; from 0 where only the end is given. The dtype is i64 where all three are whole numbers and none is said, else the default. */
TN_API tn_tensor *tn_arange_with(const tn_range_args *args);
/* `step` points from start to end, both included. */
TN_API tn_tensor *tn_linspace_with(const tn_range_args *args);

typedef struct tn_eye_args { /* tn_eye(3) or tn_eye(3, 4) */
    size_t size TN_SIZE_(tn_eye_args);
    TN_TENSOR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t rows TN_ZERO_, cols TN_ZERO_; /* cols 0: rows */
} tn_eye_args;
TN_API tn_tensor *tn_eye_with(const tn_eye_args *args);

typedef struct tn_from_args { /* tn_from_floats((float[]){1, 2, 3}, TN_SHAPE(3), .requires_grad = true) */
    size_t size TN_SIZE_(tn_from_args);
    TN_TENSOR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const void *data TN_ZERO_;
    tn_shape shape;
    void (*release)(void *data, void *context) TN_ZERO_; /* tn_from_memory only */
    void *context TN_ZERO_;
} tn_from_args;
/* Copies of the caller's numbers, row-major; the dtype is the C type's unless said. */
TN_API tn_tensor *tn_from_floats_with(const tn_from_args *args);
TN_API tn_tensor *tn_from_doubles_with(const tn_from_args *args);
TN_API tn_tensor *tn_from_ints_with(const tn_from_args *args); /* int64_t */
/* A tensor over the caller's memory, used as it is (.dtype must be said): tn_from_memory(data, shape, release, context). release, unless
 * NULL, is called once when the last tensor over it goes, and at once if this call fails. */
TN_API tn_tensor *tn_from_memory_with(const tn_from_args *args);
/* A tensor of one number, of rank 0, that does not promote another's dtype within its kind (PyTorch's wrapped number). */
TN_API tn_tensor *tn_scalar_f64(double value);
TN_API tn_tensor *tn_scalar_i64(int64_t value);
TN_API tn_tensor *tn_scalar_bool(bool value);

/* ---- random numbers ---------------------------------------------------------------------------------------------------- */

/* Philox 4x32-10 (Salmon et al. 2011), counter based: the same seed gives the same numbers on any number of threads. The state is
 * per thread: tn_manual_seed() is for the calling thread, and each further one that draws unseeded begins with a seed of its own. */
typedef struct tn_random_state {
    uint64_t seed, offset;
} tn_random_state;
TN_API void tn_manual_seed(uint64_t seed);
TN_API tn_random_state tn_get_random_state(void);
TN_API void tn_set_random_state(tn_random_state state);
/* The same as a tensor that a file can hold: i64 [2], the seed's and the offset's bits. */
TN_API tn_tensor *tn_get_rng_state(void);
TN_API tn_status tn_set_rng_state(const tn_tensor *state);
/* A uniform integer below n from the thread's state. */
TN_API uint64_t tn_random_below(uint64_t n);

TN_API tn_tensor *tn_rand_with(const tn_shape_args *args);  /* uniform on [0, 1) */
TN_API tn_tensor *tn_randn_with(const tn_shape_args *args); /* standard normal (Box and Muller) */
typedef struct tn_uniform_args { /* tn_uniform(shape, low, high), tn_normal(shape, mean, std), tn_randint(shape, low, high) */
    size_t size TN_SIZE_(tn_uniform_args);
    TN_TENSOR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_shape shape;
    double a TN_ZERO_, b TN_ZERO_;
} tn_uniform_args;
TN_API tn_tensor *tn_uniform_with(const tn_uniform_args *args);
TN_API tn_tensor *tn_normal_with(const tn_uniform_args *args);
TN_API tn_tensor *tn_randint_with(const tn_uniform_args *args); /* integers low <= i < high, i64 unless said */
typedef struct tn_randperm_args { /* tn_randperm(n) */
    size_t size TN_SIZE_(tn_randperm_args);
    TN_TENSOR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t n TN_ZERO_;
} tn_randperm_args;
TN_API tn_tensor *tn_randperm_with(const tn_randperm_args *args); /* a permutation of 0 ... n-1, i64 */
/* 1 with probability p (elementwise), else 0; p's shape and dtype. A p outside of 0 to 1 is TN_ERR_ARGUMENT. */
TN_API tn_tensor *tn_bernoulli(const tn_tensor *p);
#define TN_MULTINOMIAL_OPTIONS(X) X(bool, replacement, false)
typedef struct tn_multinomial_args { /* tn_multinomial(p, 5, .replacement = true) */
    size_t size TN_SIZE_(tn_multinomial_args);
    TN_MULTINOMIAL_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_tensor *p TN_ZERO_;
    int64_t num_samples TN_ZERO_;
} tn_multinomial_args;
/* Draws indices in proportion to p [k] or [n, k], floats, none negative, not all of a row 0: i64 [num_samples] or [n, num_samples]. Without
 * .replacement no index comes twice, and a row needs num_samples numbers above 0; with it takes memory for num_samples times p. */
TN_API tn_tensor *tn_multinomial_with(const tn_multinomial_args *args);

#ifdef __cplusplus
}
#endif

/* A parameter that takes a tensor or, through the macros, a C number. */
typedef tn_tensor *tn_operand;

#ifdef __cplusplus
inline tn_tensor *tn_operand_(tn_tensor *x) { return x; }
inline tn_tensor *tn_operand_(decltype(nullptr)) { return nullptr; }
inline tn_tensor *tn_operand_(bool value) { return tn_scalar_bool(value); }
inline tn_tensor *tn_operand_(double value) { return tn_scalar_f64(value); }
inline tn_tensor *tn_operand_(float value) { return tn_scalar_f64(static_cast<double>(value)); }
template <class I> inline tn_tensor *tn_operand_(I value) { return tn_scalar_i64(static_cast<int64_t>(value)); }
#define TN_OPERAND_(v) tn_operand_(v)
#else
static inline tn_tensor *tn_operand_(const void *x) { return (tn_tensor *)(uintptr_t)x; }
/* A tensor, or a C number made into a scalar tensor. */
#define TN_OPERAND_(v)                                                                                                        \
    __extension__({                                                                                                           \
        __auto_type tn_v_ = (v); /* once: operators nest deeply, and a macro's text doubles with each use */                   \
        _Generic(tn_v_, bool: tn_scalar_bool, float: tn_scalar_f64, double: tn_scalar_f64, char: tn_scalar_i64,               \
                 signed char: tn_scalar_i64, unsigned char: tn_scalar_i64, short: tn_scalar_i64,                              \
                 unsigned short: tn_scalar_i64, int: tn_scalar_i64, unsigned: tn_scalar_i64, long: tn_scalar_i64,             \
                 unsigned long: tn_scalar_i64, long long: tn_scalar_i64, unsigned long long: tn_scalar_i64,                   \
                 tn_tensor *: tn_operand_, const tn_tensor *: tn_operand_, void *: tn_operand_)(tn_v_);                                                                                \
    })
#endif

#endif
