/* Tenon: shapes, views, joining, splitting, padding. Where a result is said to be a view it shares x's storage, as in PyTorch. Dims may be
 * negative: -1 is the last. */
#ifndef TENON_OPS_SHAPE_H
#define TENON_OPS_SHAPE_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- views -------------------------------------------------------------------------------------------------------------- */

/* The same elements in row-major order under another shape; one size may be -1, which is worked out. x itself where nothing changes, a view
 * where the strides allow it,
 * else a copy. */
TN_API tn_tensor *tn_reshape(tn_tensor *x, tn_shape shape);
/* The same, but never a copy: TN_ERR_STATE where x's strides do not allow a view. */
TN_API tn_tensor *tn_view(tn_tensor *x, tn_shape shape);
/* Dims start ... end made one: tn_flatten(x, 1, -1). As tn_reshape. */
TN_API tn_tensor *tn_flatten(tn_tensor *x, int start, int end);
/* Two dims exchanged; a view. */
TN_API tn_tensor *tn_transpose(tn_tensor *x, int dim0, int dim1);
TN_API tn_tensor *tn_swapaxes(tn_tensor *x, int dim0, int dim1); /* tn_transpose by its other name */
/* Dim i of the result is dims[i] of x: tn_permute(x, TN_DIMS(0, 2, 3, 1)); a view. */
TN_API tn_tensor *tn_permute(tn_tensor *x, tn_dims dims);
/* The dim, or every dim with TN_ALL_DIMS, dropped where its size is 1; a view. */
TN_API tn_tensor *tn_squeeze(tn_tensor *x, int dim);
/* A new dim of size 1 before dim (dim from -ndim - 1 to ndim); a view. */
TN_API tn_tensor *tn_unsqueeze(tn_tensor *x, int dim);
/* Dims of size 1 repeated without copying, new dims in front; a size of -1 keeps x's. A view with strides of 0: its gradient is summed. */
TN_API tn_tensor *tn_expand(tn_tensor *x, tn_shape shape);
/* `length` places of the dim from `start` on (negative: from the end); a view. */
TN_API tn_tensor *tn_narrow(tn_tensor *x, int dim, int64_t start, int64_t length);
/* One place of the dim, which is dropped; a view. */
TN_API tn_tensor *tn_select(tn_tensor *x, int dim, int64_t index);
/* x's elements without its history: no gradient flows through; a view. */
TN_API tn_tensor *tn_detach(tn_tensor *x);

/* ---- copies ------------------------------------------------------------------------------------------------------------- */

/* x itself where it is contiguous, else a contiguous copy. */
TN_API tn_tensor *tn_contiguous(tn_tensor *x);
/* A contiguous copy. */
TN_API tn_tensor *tn_clone(tn_tensor *x);
/* x on the device; x itself where it is there already. */
TN_API tn_tensor *tn_to(tn_tensor *x, tn_device_id device);
/* x repeated times.sizes[i] times along dim i; times may be longer than x's shape, for new dims in front. */
TN_API tn_tensor *tn_repeat(tn_tensor *x, tn_shape times);
/* The order of the places turned round along each of the dims; an empty set means all. */
TN_API tn_tensor *tn_flip(tn_tensor *x, tn_dims dims);
/* Places moved by `shift` along the dim, those beyond the end coming in at the start; TN_ALL_DIMS rolls the flattened elements. */
TN_API tn_tensor *tn_roll(tn_tensor *x, int64_t shift, int dim);
/* What lies above diagonal `diagonal` (0: the main one, positive: above it) of the last two dims set to 0, or what lies below it. */
TN_API tn_tensor *tn_tril(tn_tensor *x, int64_t diagonal);
TN_API tn_tensor *tn_triu(tn_tensor *x, int64_t diagonal);

typedef enum tn_pad_mode {
    TN_PAD_CONSTANT,
    TN_PAD_REFLECT,  /* mirrored at the border, which is not repeated: c b | a b c | b a; pads are less than the size */
    TN_PAD_REPLICATE /* the border's element again and again: a a | a b c | c c */
} tn_pad_mode;
#define TN_PAD_OPTIONS(X)                                                                                                     \
    X(tn_pad_mode, mode, TN_PAD_CONSTANT)                                                                                     \
    X(double, value, 0) /* of TN_PAD_CONSTANT */
typedef struct tn_pad_args { /* tn_pad(x, TN_SHAPE(1, 1, 2, 2), .mode = TN_PAD_REFLECT) */
    size_t size TN_SIZE_(tn_pad_args);
    TN_PAD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    tn_shape pads;
} tn_pad_args;
/* x with places added: pads has a pair (before, after) for the last dim, then one for the dim before it, and so on, as in PyTorch. A negative
 * pad takes places away (TN_PAD_CONSTANT only). */
TN_API tn_tensor *tn_pad_with(const tn_pad_args *args);

/* ---- joining and splitting ----------------------------------------------------------------------------------------------- */

/* An array of tensors and its length, for what takes both: tn_concat(TN_TENSORS(a, b), 1). */
#ifdef __cplusplus
}
template <int n> struct tn_tensors_ {
    tn_tensor *all[n];
};
template <class... T> char (&tn_count_of_(T...))[sizeof...(T)];
#define TN_TENSORS(...)                                                                                                       \
    tn_tensors_<static_cast<int>(sizeof(tn_count_of_(__VA_ARGS__)))>{{__VA_ARGS__}}.all,                                      \
        static_cast<int>(sizeof(tn_count_of_(__VA_ARGS__)))
extern "C" {
#else
#define TN_TENSORS(...) (tn_tensor *[]){__VA_ARGS__}, (int)(sizeof((tn_tensor *[]){__VA_ARGS__}) / sizeof(tn_tensor *))
#endif
/* The tensors one after the other along the dim, in which alone their shapes may differ; dtypes are promoted. */
TN_API tn_tensor *tn_concat(tn_tensor *const *tensors, int count, int dim);
TN_API tn_tensor *tn_cat(tn_tensor *const *tensors, int count, int dim); /* tn_concat by its other name */
/* Tensors of one shape along a new dim. */
TN_API tn_tensor *tn_stack(tn_tensor *const *tensors, int count, int dim);

/* Splitting fills the caller's array with views and returns how many there are, 0 on error (the array then holds NULLs). */
/* Pieces of `size` places along the dim, the last one perhaps smaller; more than `max` of them is an error. */
TN_API int tn_split(tn_tensor *x, int64_t size, int dim, tn_tensor **out, int max);
/* Pieces of the given sizes, which must add up to the dim's. */
TN_API int tn_split_sizes(tn_tensor *x, const int64_t *sizes, int count, int dim, tn_tensor **out);
/* At most `chunks` pieces of equal size but the last; out has room for `chunks`. As in PyTorch there may be fewer: 5 places in 4 chunks
 * are 2 + 2 + 1; what is left of out is set to NULL. */
TN_API int tn_chunk(tn_tensor *x, int chunks, int dim, tn_tensor **out);
/* Every place of the dim, which is dropped; out has room for `max`. */
TN_API int tn_unbind(tn_tensor *x, int dim, tn_tensor **out, int max);
/* `sections` equal pieces along dim 0, along dim 1 (dim 0 of a 1-D tensor), along dim 2; the size must be a multiple of `sections`. */
TN_API int tn_vsplit(tn_tensor *x, int sections, tn_tensor **out);
TN_API int tn_hsplit(tn_tensor *x, int sections, tn_tensor **out);
TN_API int tn_dsplit(tn_tensor *x, int sections, tn_tensor **out);

#ifdef __cplusplus
}
#endif

#endif
