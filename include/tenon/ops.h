/* Tenon: operators. Each family has a header of its own; all results belong to the current scope, all errors give NULL, and all are
 * differentiable where PyTorch's are. A parameter of type tn_operand takes a tensor or a C number: tn_mul(x, 2). */
#ifndef TENON_OPS_H
#define TENON_OPS_H

#include <tenon/ops/elementwise.h>
#include <tenon/ops/activation.h>
#include <tenon/ops/reduce.h>
#include <tenon/ops/matmul.h>
#include <tenon/ops/shape.h>
#include <tenon/ops/index.h>
#include <tenon/ops/embedding.h>
#include <tenon/ops/conv.h>
#include <tenon/ops/norm.h>
#include <tenon/ops/loss.h>
#include <tenon/ops/attention.h>

#endif
