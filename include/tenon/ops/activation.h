/* Tenon: the activations beside those of ops/elementwise.h. Floats only (TN_ERR_DTYPE); names, defaults and the slopes at corners are
 * PyTorch's. */
#ifndef TENON_OPS_ACTIVATION_H
#define TENON_OPS_ACTIVATION_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* x between 0 and 6. */
TN_API tn_tensor *tn_relu6(tn_tensor *x);
/* scale (x where x > 0, else alpha (exp(x) - 1)) with the scale and alpha of Klambauer et al. 2017. */
TN_API tn_tensor *tn_selu(tn_tensor *x);
/* log(sigmoid(x)), without overflow. */
TN_API tn_tensor *tn_log_sigmoid(tn_tensor *x);
/* relu6(x + 3) / 6. */
TN_API tn_tensor *tn_hardsigmoid(tn_tensor *x);
/* x / (1 + |x|). */
TN_API tn_tensor *tn_softsign(tn_tensor *x);
/* x - tanh(x). */
TN_API tn_tensor *tn_tanhshrink(tn_tensor *x);

#define TN_HARDTANH_OPTIONS(X)                                                                                                \
    X(double, min_val, -1.0)                                                                                                  \
    X(double, max_val, 1.0)
typedef struct tn_hardtanh_args { /* tn_hardtanh(x), tn_hardtanh(x, .min_val = 0) */
    size_t size TN_SIZE_(tn_hardtanh_args);
    TN_HARDTANH_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_hardtanh_args;
/* x between the bounds; min_val must be below max_val (TN_ERR_ARGUMENT). */
TN_API tn_tensor *tn_hardtanh_with(const tn_hardtanh_args *args);

#define TN_CELU_OPTIONS(X) X(double, alpha, 1.0)
typedef struct tn_celu_args { /* tn_celu(x, .alpha = 1.5) */
    size_t size TN_SIZE_(tn_celu_args);
    TN_CELU_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_celu_args;
/* x where x > 0, else alpha (exp(x / alpha) - 1) (Barron 2017). An alpha that is not positive is TN_ERR_ARGUMENT. */
TN_API tn_tensor *tn_celu_with(const tn_celu_args *args);

#define TN_SHRINK_OPTIONS(X) X(double, lambd, 0.5)
typedef struct tn_shrink_args { /* tn_hardshrink(x), tn_softshrink(x, .lambd = 1) */
    size_t size TN_SIZE_(tn_shrink_args);
    TN_SHRINK_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_shrink_args;
/* 0 where |x| <= lambd, else x. */
TN_API tn_tensor *tn_hardshrink_with(const tn_shrink_args *args);
/* 0 where |x| <= lambd, else x less lambd on its way to 0. A negative lambd is TN_ERR_ARGUMENT. */
TN_API tn_tensor *tn_softshrink_with(const tn_shrink_args *args);

/* x where x > threshold, else value. */
TN_API tn_tensor *tn_threshold(tn_tensor *x, double threshold, double value);
/* x where x > 0, else weight x: weight, of x's dtype, has one element, or one for each channel (x's dim 1) (He et al. 2015). */
TN_API tn_tensor *tn_prelu(tn_tensor *x, tn_tensor *weight);
/* The first half of dim times the sigmoid of the second (Dauphin et al. 2017); TN_ERR_SHAPE where the size is odd. */
TN_API tn_tensor *tn_glu(tn_tensor *x, int dim);
/* softmax(-x). */
TN_API tn_tensor *tn_softmin(tn_tensor *x, int dim);

#ifdef __cplusplus
}
#endif

#endif
