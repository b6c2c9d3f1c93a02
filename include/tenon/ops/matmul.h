/* Tenon: products. Operands must have one dtype (any but bool) and one device: mixed ones are an error that names both.
 * Transposed and other strided operands are read where they lie, never copied. Products of integers wrap around; f16
 * and bf16 are summed in f32. */
#ifndef TENON_OPS_MATMUL_H
#define TENON_OPS_MATMUL_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- autocast, per thread ----------------------------------------------------------------------------------------------- */

/* TN_AUTOCAST(TN_BF16); is a declaration: to the end of the enclosing block products of float32 (matmul, linear, attention, convolutions,
 * recurrent layers, and what is made of them) may round the elements that they multiply to bfloat16. Tensors, parameters, gradients and sums
 * stay float32, so no loss needs a scale; a result is off by about 2^-8 of its largest terms. Backward runs as each operator's forward did,
 * wherever it is called. What would be no faster is not rounded: a product of one row or column, which is bound by memory, and, but for those
 * of matrices, products on processors without AVX512-BF16. With it they take up to half the time; without it the first use says to the log
 * that autocast is slower. A convolution of 3 x 3 taps and stride 1 multiplies transformed tiles (Winograd), and it is those that it rounds.
 * TN_AUTOCAST(TN_F16) rounds to float16 in the same way, what recurrent layers multiply excepted: of 2^-11, but beyond 65504 infinite and below
 * 6e-8 nothing, in backward too, which is what tn_grad_scaler (optim.h) is for. On a CPU it is no faster.
 * TN_AUTOCAST(TN_F32) switches it off. Unlike PyTorch's, results are float32.
 *
 * tn_autocast_set does it without a block: any other dtype is TN_ERR_DTYPE and changes nothing. It returns what tn_autocast_restore brings
 * back. tn_autocast_dtype: what is set, TN_F32 at first. */
typedef struct tn_autocast_mode {
    tn_dtype former;
} tn_autocast_mode;
TN_API tn_dtype tn_autocast_dtype(void);
TN_API tn_autocast_mode tn_autocast_set(tn_dtype dtype);
TN_API void tn_autocast_restore(tn_autocast_mode *mode);
#define TN_AUTOCAST(dtype) TN_CLEANUP_(tn_autocast_restore) tn_autocast_mode TN_UNIQUE_(tn_autocast_at_) = tn_autocast_set(dtype)

/* ---- products ----------------------------------------------------------------------------------------------------------- */

/* What an operator with an option .activation applies to its result, in the same pass. */
typedef enum tn_activation { TN_ACTIVATION_NONE, TN_ACTIVATION_RELU } tn_activation;

/* The matrix product in all of its cases, as torch.matmul: [k] x [k] is a scalar, [m, k] x [k] is [m], [k] x [k, n] is
 * [n], and [..., m, k] x [..., k, n] is [..., m, n] with the batch dims broadcast. TN_ERR_SHAPE when the inner sizes
 * differ, the batch dims do not broadcast or an operand is 0-dimensional. */
TN_API tn_tensor *tn_matmul(tn_tensor *a, tn_tensor *b);
/* [m, k] x [k, n] is [m, n]. */
TN_API tn_tensor *tn_mm(tn_tensor *a, tn_tensor *b);
/* [batch, m, k] x [batch, k, n] is [batch, m, n]. */
TN_API tn_tensor *tn_bmm(tn_tensor *a, tn_tensor *b);
/* [m, k] x [k] is [m]. */
TN_API tn_tensor *tn_mv(tn_tensor *a, tn_tensor *x);
/* [n] . [n] is a scalar: the sum of the products. */
TN_API tn_tensor *tn_dot(tn_tensor *a, tn_tensor *b);
/* [m] x [n] is [m, n], a[i] b[j]; dtypes are promoted, and bool is allowed, as in tn_mul. */
TN_API tn_tensor *tn_outer(tn_tensor *a, tn_tensor *b);

#define TN_ADDMM_OPTIONS(X)                                                                                            \
    X(double, beta, 1)                                                                                                 \
    X(double, alpha, 1)
typedef struct tn_addmm_args { /* tn_addmm(c, a, b, .beta = 0.5) */
    size_t size TN_SIZE_(tn_addmm_args);
    TN_ADDMM_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *c TN_ZERO_, *a TN_ZERO_, *b TN_ZERO_;
} tn_addmm_args;
/* beta c + alpha a b: a is [m, k], b is [k, n] and c broadcasts to [m, n]. Where beta is 0, c's values (NaN too) do not
 * matter. */
TN_API tn_tensor *tn_addmm_with(const tn_addmm_args *args);

/* Einstein's sum, as torch.einsum: tn_einsum("bij,bjk->bik", (tn_tensor *[]){a, b}, 2). A letter names a dim of each
 * operand in which it stands; a letter twice in one operand takes the diagonal; letters that the result does not name
 * are summed. Without "->" the result has the letters that occur once, in alphabetical order, A before a. "..." stands
 * for any further dims, which broadcast; so do dims of size 1. Spaces are skipped. Operands are contracted from left to
 * right. Errors: TN_ERR_ARGUMENT for the equation's form, TN_ERR_SHAPE where it does not fit the operands; the message
 * quotes the equation. */
TN_API tn_tensor *tn_einsum(const char *equation, tn_tensor *const *operands, int count);

#define TN_LINEAR_OPTIONS(X) X(tn_activation, activation, TN_ACTIVATION_NONE)
typedef struct tn_linear_op_args { /* tn_linear(x, weight, bias, .activation = TN_ACTIVATION_RELU) */
    size_t size TN_SIZE_(tn_linear_op_args);
    TN_LINEAR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *weight TN_ZERO_, *bias TN_ZERO_;
} tn_linear_op_args;
/* activation(x weight' + bias) in one pass: x is [..., in], weight [out, in], bias [out] or NULL for none; the result
 * is [..., out]. */
TN_API tn_tensor *tn_linear_with(const tn_linear_op_args *args);

#ifdef __cplusplus
}
#endif

#endif
