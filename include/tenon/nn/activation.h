/* Tenon: activations as modules, beside nn.h's; each is the operator of its name. */
#ifndef TENON_NN_ACTIVATION_H
#define TENON_NN_ACTIVATION_H

#include <tenon/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* x where x > 0, else weight x. Parameter weight [count], which begins as `initial`: count is 1, or x's channels. PyTorch's defaults are 1
 * and 0.25. */
TN_API tn_module *tn_prelu_new(int64_t count, double initial);

TN_API tn_module *tn_relu6_new(void);
TN_API tn_module *tn_selu_new(void);
TN_API tn_module *tn_log_sigmoid_new(void);
TN_API tn_module *tn_hardsigmoid_new(void);
TN_API tn_module *tn_softsign_new(void);
TN_API tn_module *tn_tanhshrink_new(void);
TN_API tn_module *tn_hardtanh_new(double min_val, double max_val); /* PyTorch's default: -1, 1 */
TN_API tn_module *tn_celu_new(double alpha);                       /* 1 */
TN_API tn_module *tn_hardshrink_new(double lambd);                 /* 0.5 */
TN_API tn_module *tn_softshrink_new(double lambd);                 /* 0.5 */
TN_API tn_module *tn_threshold_new(double threshold, double value);
TN_API tn_module *tn_glu_new(int dim); /* -1 */
TN_API tn_module *tn_softmin_new(int dim);

#ifdef __cplusplus
}
#endif

#endif
