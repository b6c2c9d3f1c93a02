/* What each call of a kernel has to do, whatever way it takes: from its arguments alone, so that times can be told as shares of what is possible.
 *
 * FLOP: a multiply-add of a product, convolution or attention is two, whichever way they are computed, and their bias, activation and softmax
 * count nothing; elsewhere each operation on an element is one, a function (exp, tanh, Adam's square root) too. Bytes: each operand read once,
 * each result written once; of a broadcast operand what there is. Of a kernel that threads of a team share, the whole. */
#ifndef TN_WORK_H
#define TN_WORK_H

#include "kernels/kernels.h"

typedef enum tn_work_kind { TN_WORK_F32, TN_WORK_F64, TN_WORK_BF16, TN_WORK_I8, TN_WORK_KINDS } tn_work_kind; /* what is multiplied */
typedef struct tn_work {
    double flop;
    double read, updated, written; /* bytes; updated: read and written in place */
    tn_work_kind kind;
} tn_work;

/* tn_work_gemm(dtype, gemm), ...: one for each slot. After the call: what a kernel found is in its arguments. */
#define TN_WORK_SLOT_(slot, parameters, names) tn_work tn_work_##slot parameters;
TN_KERNEL_LIST(TN_WORK_SLOT_)
#undef TN_WORK_SLOT_

#endif
