/* Tenon: indexing as x[...] does it in PyTorch, gathering, scattering. An index out of range is TN_ERR_INDEX: the message names it, the dim and
 * the dim's size. Index tensors are of any integer dtype. The gradient of what an index takes several times is the sum. */
#ifndef TENON_OPS_INDEX_H
#define TENON_OPS_INDEX_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- x[...] ------------------------------------------------------------------------------------------------------------- */

/* One item between the brackets. */
typedef enum tn_index_kind {
    TN_INDEX_RANGE,    /* start : stop : step */
    TN_INDEX_INT,      /* an integer: the dim is dropped */
    TN_INDEX_NEW_AXIS, /* a new dim of size 1 */
    TN_INDEX_ELLIPSIS, /* as many whole dims as are not named */
    TN_INDEX_TENSOR    /* integers, or a mask that stands for as many dims as it has */
} tn_index_kind;
typedef struct tn_index_item {
    tn_index_kind kind;
    int64_t start, stop, step; /* of a range; start is the integer */
    tn_tensor *tensor;
} tn_index_item;
typedef struct tn_index_items {
    int count;
    const tn_index_item *items;
} tn_index_items;

#define TN_END INT64_MAX                            /* the stop of a range that goes to the end */
#define TN_RANGE(...) tn_index_range_(__VA_ARGS__)  /* TN_RANGE(1, -1) is 1:-1, TN_RANGE(0, TN_END, 2) is ::2 */
#define TN_ALL tn_index_range_3_(0, TN_END, 1)      /* : */
#define TN_NEW_AXIS tn_index_other_(TN_INDEX_NEW_AXIS)
#define TN_ELLIPSIS tn_index_other_(TN_INDEX_ELLIPSIS)

/* What tn_index() and tn_assign() are made of; a program that does not know the number of items before it runs fills an array of them. */
TN_API tn_tensor *tn_index_at(tn_tensor *x, tn_index_items items);
TN_API tn_tensor *tn_assign_at(tn_tensor *x, tn_operand value, tn_index_items items);

/* x[...]: tn_index(x, 0, TN_RANGE(0, 5), TN_ALL, TN_NEW_AXIS, rows, mask). Items are integers, ranges, and tensors of integers or bool; dims
 * that are not named are taken whole. Without tensors a view. With tensors a copy: they are broadcast together, and their dims stand where
 * the first of them stood, or in front where other dims lie between them. */
#define tn_index(x, ...) tn_index_at(x, TN_ITEMS(__VA_ARGS__))
/* x[...] = value, in place: value (a tensor or a number) is broadcast and cast. Where a tensor of indices names a place twice, one of its
 * values stays. Returns x. Under autograd x must share its storage with no view (TN_ERR_GRAD); its gradient is then zero where it was assigned. */
#define tn_assign(x, value, ...) tn_assign_at(x, value, TN_ITEMS(__VA_ARGS__))

static inline tn_index_item tn_index_range_3_(int64_t start, int64_t stop, int64_t step)
{
    tn_index_item item = {TN_INDEX_RANGE, start, stop, step, NULL};
    return item;
}
static inline tn_index_item tn_index_other_(tn_index_kind kind)
{
    tn_index_item item = {kind, 0, 0, 0, NULL};
    return item;
}
static inline tn_index_item tn_item_int_(int64_t index)
{
    tn_index_item item = {TN_INDEX_INT, index, 0, 0, NULL};
    return item;
}
static inline tn_index_item tn_item_tensor_(const tn_tensor *index)
{
    tn_index_item item = {TN_INDEX_TENSOR, 0, 0, 0, (tn_tensor *)(uintptr_t)index};
    return item;
}
static inline tn_index_item tn_item_self_(tn_index_item item) { return item; }
static inline tn_index_items tn_make_items(int count, const tn_index_item *items)
{
    tn_index_items all = {count, items};
    return all;
}

/* ---- by an index along one dim ------------------------------------------------------------------------------------------- */

/* The places of the dim that index, of one dim, names. */
TN_API tn_tensor *tn_index_select(tn_tensor *x, int dim, tn_tensor *index);
/* A copy of x with source added at the places that index names: x[..., index[i], ...] += source[..., i, ...]. */
TN_API tn_tensor *tn_index_add(tn_tensor *x, int dim, tn_tensor *index, tn_tensor *source);
/* y[i][j][k] = x[i][index[i][j][k]][k], for dim 1; index has as many dims as x and, but for dim, is nowhere larger. */
TN_API tn_tensor *tn_gather(tn_tensor *x, int dim, tn_tensor *index);
/* A copy of x with y[i][index[i][j][k]][k] = source[i][j][k], for dim 1; source (a tensor or a number) is nowhere smaller than index. */
TN_API tn_tensor *tn_scatter(tn_tensor *x, int dim, tn_tensor *index, tn_operand source);
/* The same with += in place of =. */
TN_API tn_tensor *tn_scatter_add(tn_tensor *x, int dim, tn_tensor *index, tn_operand source);
/* 1 at each class, 0 elsewhere: [...] gives [..., classes], i64. classes <= 0: one more than the largest. */
TN_API tn_tensor *tn_one_hot(tn_tensor *x, int64_t classes);

/* ---- by a mask ---------------------------------------------------------------------------------------------------------- */

/* The elements where mask (bool, broadcast with x) is true, in row-major order: [count]. */
TN_API tn_tensor *tn_masked_select(tn_tensor *x, tn_tensor *mask);
/* The coordinates of the elements that are not zero, in row-major order: i64 [count, ndim]. */
TN_API tn_tensor *tn_nonzero(tn_tensor *x);

#ifdef __cplusplus
}

template <class I> inline tn_index_item tn_item_(I index)
{
    static_assert(static_cast<I>(0.5) == static_cast<I>(0), "an index is an integer, a range or a tensor");
    return tn_item_int_(static_cast<int64_t>(index));
}
inline tn_index_item tn_item_(tn_index_item item) { return item; }
inline tn_index_item tn_item_(tn_tensor *index) { return tn_item_tensor_(index); }
inline tn_index_item tn_item_(const tn_tensor *index) { return tn_item_tensor_(index); }
inline tn_index_item tn_index_range_(int64_t start, int64_t stop, int64_t step = 1) { return tn_index_range_3_(start, stop, step); }
template <int n> struct tn_items_ {
    tn_index_item items[n];
    operator tn_index_items() const { return tn_make_items(n, items); }
};
template <class... I> inline tn_items_<static_cast<int>(sizeof...(I))> tn_items_of_(I... items)
{
    return {{tn_item_(items)...}};
}
#define TN_ITEMS(...) tn_items_of_(__VA_ARGS__)
#else
#define tn_index_range_(...) TN_PICK_13_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0, 0, 0, TN_RANGE_3_, TN_RANGE_2_, 0, 0)(__VA_ARGS__)
#define TN_RANGE_2_(start, stop) tn_index_range_3_(start, stop, 1)
#define TN_RANGE_3_(start, stop, step) tn_index_range_3_(start, stop, step)
#define TN_ITEM_(v)                                                                                                           \
    __extension__({                                                                                                           \
        __auto_type tn_v_ = (v);                                                                                              \
        _Generic(tn_v_, tn_index_item: tn_item_self_, tn_tensor *: tn_item_tensor_, const tn_tensor *: tn_item_tensor_,       \
                 void *: tn_item_tensor_, char: tn_item_int_, signed char: tn_item_int_, unsigned char: tn_item_int_,         \
                 short: tn_item_int_, unsigned short: tn_item_int_, int: tn_item_int_, unsigned: tn_item_int_,                \
                 long: tn_item_int_, unsigned long: tn_item_int_, long long: tn_item_int_,                                    \
                 unsigned long long: tn_item_int_)(tn_v_);                                                                    \
    })
#define TN_PICK_13_(a, b, c, d, e, f, g, h, i, j, k, l, m, ...) m
#define TN_ITEMS(...)                                                                                                         \
    tn_make_items(TN_PICK_13_(__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),                                         \
                  (const tn_index_item[]){TN_EACH_ITEM_(__VA_ARGS__)})
#define TN_EACH_ITEM_(...)                                                                                                    \
    TN_PICK_13_(__VA_ARGS__, TN_ITEM_12_, TN_ITEM_11_, TN_ITEM_10_, TN_ITEM_9_, TN_ITEM_8_, TN_ITEM_7_, TN_ITEM_6_,           \
                TN_ITEM_5_, TN_ITEM_4_, TN_ITEM_3_, TN_ITEM_2_, TN_ITEM_1_, 0)(__VA_ARGS__)
#define TN_ITEM_1_(v) TN_ITEM_(v)
#define TN_ITEM_2_(v, ...) TN_ITEM_(v), TN_ITEM_1_(__VA_ARGS__)
#define TN_ITEM_3_(v, ...) TN_ITEM_(v), TN_ITEM_2_(__VA_ARGS__)
#define TN_ITEM_4_(v, ...) TN_ITEM_(v), TN_ITEM_3_(__VA_ARGS__)
#define TN_ITEM_5_(v, ...) TN_ITEM_(v), TN_ITEM_4_(__VA_ARGS__)
#define TN_ITEM_6_(v, ...) TN_ITEM_(v), TN_ITEM_5_(__VA_ARGS__)
#define TN_ITEM_7_(v, ...) TN_ITEM_(v), TN_ITEM_6_(__VA_ARGS__)
#define TN_ITEM_8_(v, ...) TN_ITEM_(v), TN_ITEM_7_(__VA_ARGS__)
#define TN_ITEM_9_(v, ...) TN_ITEM_(v), TN_ITEM_8_(__VA_ARGS__)
#define TN_ITEM_10_(v, ...) TN_ITEM_(v), TN_ITEM_9_(__VA_ARGS__)
#define TN_ITEM_11_(v, ...) TN_ITEM_(v), TN_ITEM_10_(__VA_ARGS__)
#define TN_ITEM_12_(v, ...) TN_ITEM_(v), TN_ITEM_11_(__VA_ARGS__)
#endif

#endif
