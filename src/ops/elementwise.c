/* Running elementwise kernels over tensors. */
#include "ops/elementwise.h"

#include <string.h>

#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/broadcast.h"

/* ---- results -------------------------------------------------------------------------------------------------------------- */

/* Whether x's elements fill a block of memory, each once, in some order of the dims. */
static bool is_dense(const tn_tensor *x)
{
    int64_t expected = 1;
    uint32_t seen = 0;
    for (int found = 0; found < x->ndim; found++) {
        int next = -1;
        for (int d = 0; d < x->ndim && next < 0; d++)
            if (!(seen >> d & 1) && (x->strides[d] == expected || x->sizes[d] == 1))
                next = d;
        if (next < 0)
            return false;
        seen |= 1u << next;
        expected *= x->sizes[next];
    }
    return true;
}

tn_tensor *tn_new_like(const char *op, tn_shape shape, tn_dtype dtype, const tn_tensor *like)
{
    tn_tensor *y = tn_new(op, shape, dtype, like->storage->device);
    if (!y || tn_has(like, TN_FLAG_CONTIGUOUS) || like->numel != y->numel || like->ndim != y->ndim || !is_dense(like))
        return y;
    memcpy(y->strides, like->strides, sizeof y->strides);
    y->flags &= (uint8_t)~TN_FLAG_CONTIGUOUS;
    return y;
}

/* ---- operands ------------------------------------------------------------------------------------------------------------- */

bool tn_cast_into(tn_tensor *out, const tn_tensor *x)
{
    tn_loop loop;
    return !tn_loop_make(&loop, out, &x, 1) ||
           tn_kernels_for(out)->cast((tn_dtype)out->dtype, (tn_dtype)x->dtype, &loop) == TN_OK;
}

tn_tensor *tn_operand_as(const tn_tensor *x, tn_dtype dtype)
{
    if (x->dtype == dtype)
        return tn_retain(x);
    tn_tensor *y = tn_new_owned("cast", tn_shape_of(x), dtype, x->storage->device);
    if (y && !tn_cast_into(y, x)) {
        tn_release(y);
        return NULL;
    }
    return y;
}

/* A C number as one element of dtype, without a tensor: the way of tn_mul(x, 2). */
typedef union number {
    float f32;
    double f64;
    int64_t i64;
    int32_t i32;
} number;

static bool is_number(const tn_tensor *x, tn_dtype dtype)
{
    return tn_has(x, TN_FLAG_WRAPPED) && (dtype == TN_F32 || dtype == TN_F64 || (x->dtype == TN_I64 && (dtype == TN_I64 || dtype == TN_I32)));
}

static number number_of(const tn_tensor *x, tn_dtype dtype)
{
    const void *data = tn_ptr(x);
    number v = {.i64 = 0};
    if (dtype == TN_I64)
        v.i64 = *(const int64_t *)data;
    else if (dtype == TN_I32)
        v.i32 = (int32_t)*(const int64_t *)data;
    else {
        double value = x->dtype == TN_F64 ? *(const double *)data : x->dtype == TN_I64 ? (double)*(const int64_t *)data : *(const bool *)data;
        if (dtype == TN_F32)
            v.f32 = (float)value;
        else
            v.f64 = value;
    }
    return v;
}

static void set_number(tn_loop *loop, int operand, number *value)
{
    loop->data[operand] = (char *)value;
    loop->on_cpu |= 1 << operand;
    for (int d = 0; d < loop->ndim; d++)
        loop->strides[operand][d] = 0;
}

/* Kernels are fastest with a lone element on the right. */
static void swap_operands(tn_loop *loop)
{
    char *data = loop->data[1];
    loop->data[1] = loop->data[2];
    loop->data[2] = data;
    loop->on_cpu = (loop->on_cpu & ~6) | (loop->on_cpu & 2) << 1 | (loop->on_cpu & 4) >> 1;
    for (int d = 0; d < loop->ndim; d++) {
        int64_t stride = loop->strides[1][d];
        loop->strides[1][d] = loop->strides[2][d];
        loop->strides[2][d] = stride;
    }
}

bool tn_number_is_fine(const tn_tensor *x, tn_dtype dtype)
{
    if (!tn_has(x, TN_FLAG_WRAPPED) || (dtype != TN_F16 && dtype != TN_BF16))
        return false;
    tn_tensor *element = tn_operand_as(x, dtype);
    bool fine = element && (float)tn_item(element) != (float)tn_item(x);
    tn_release(element);
    return fine;
}

/* ---- kernels -------------------------------------------------------------------------------------------------------------- */

tn_tensor *tn_unary_raw(const char *name, tn_unary_op op, tn_dtype dtype, const double *param, const tn_tensor *x)
{
    bool test = op == TN_UNARY_ISNAN || op == TN_UNARY_ISINF || op == TN_UNARY_LOGICAL_NOT;
    tn_tensor *operand = x->dtype == dtype ? NULL : tn_operand_as(x, dtype);
    tn_tensor *y = tn_failing() ? NULL : tn_new_like(name, tn_shape_of(x), test ? TN_BOOL : dtype, x);
    const tn_tensor *in = operand ? operand : x;
    tn_loop loop;
    if (y && tn_loop_make(&loop, y, &in, 1) && tn_kernels_for(y)->unary(op, dtype, param, &loop) != TN_OK)
        y = NULL;
    if (operand)
        tn_release(operand);
    return y;
}

static bool wide_into(tn_binary_op op, tn_tensor *out, const tn_tensor *a, const tn_tensor *b)
{
    tn_tensor *wide = tn_new_owned("wide", tn_shape_of(out), TN_F32, out->storage->device);
    bool good = wide && tn_binary_into(op, TN_F32, wide, a, b) && tn_cast_into(out, wide);
    tn_release(wide);
    return good;
}

bool tn_binary_into(tn_binary_op op, tn_dtype dtype, tn_tensor *out, const tn_tensor *a, const tn_tensor *b)
{
    bool arithmetic = op == TN_BINARY_ADD || op == TN_BINARY_SUB || op == TN_BINARY_MUL || op == TN_BINARY_DIV;
    if (arithmetic && out->dtype == dtype && (tn_number_is_fine(a, dtype) || tn_number_is_fine(b, dtype)))
        return wide_into(op, out, a, b);
    const tn_tensor *in[2] = {a, b};
    tn_tensor *held[2] = {NULL, NULL};
    number value[2];
    bool numbers[2] = {is_number(a, dtype), is_number(b, dtype)}, good = true;
    for (int k = 0; k < 2; k++) {
        if (numbers[k])
            value[k] = number_of(in[k], dtype);
        else if (TN_UNLIKELY(in[k]->dtype != dtype)) {
            in[k] = held[k] = tn_operand_as(in[k], dtype);
            good = good && held[k];
        }
    }
    tn_loop loop;
    if (good && tn_loop_make(&loop, out, in, 2)) {
        if (numbers[0])
            set_number(&loop, 1, &value[0]);
        if (numbers[1])
            set_number(&loop, 2, &value[1]);
        if ((op == TN_BINARY_ADD || op == TN_BINARY_MUL) && loop.strides[1][loop.ndim - 1] == 0)
            swap_operands(&loop);
        good = tn_kernels_for(out)->binary(op, dtype, &loop) == TN_OK;
    }
    tn_release(held[0]);
    tn_release(held[1]);
    return good;
}

tn_tensor *tn_binary_raw(const char *name, tn_binary_op op, tn_dtype dtype, tn_dtype result, const tn_tensor *a, const tn_tensor *b)
{
    tn_shape shape;
    if (tn_same_shape(a, b))
        shape = tn_shape_of(a);
    else if (!tn_broadcast_shapes(name, a, b, &shape))
        return NULL;
    const tn_tensor *like = a->ndim == shape.ndim && !tn_has(a, TN_FLAG_WRAPPED) && (a->numel >= b->numel || tn_has(b, TN_FLAG_WRAPPED)) ? a : b;
    tn_tensor *y = tn_new_like(name, shape, result, like);
    return y && tn_binary_into(op, dtype, y, a, b) ? y : NULL;
}

/* ---- gradients ------------------------------------------------------------------------------------------------------------ */

tn_tensor *tn_fit(const tn_node *node, int i, tn_tensor *grad)
{
    const tn_edge *edge = &node->edges[i];
    if (!grad || !edge->target)
        return NULL;
    tn_shape shape;
    tn_dtype dtype;
    if (tn_is_tensor(edge->target)) {
        shape = tn_shape_of((const tn_tensor *)edge->target);
        dtype = (tn_dtype)((const tn_tensor *)edge->target)->dtype;
    } else {
        const tn_output *output = &((const tn_node *)edge->target)->output[edge->output];
        shape = output->shape;
        dtype = output->dtype;
    }
    tn_tensor *summed = tn_sum_to_shape(grad, shape);
    return summed && summed->dtype != dtype ? tn_cast(summed, dtype) : summed;
}
