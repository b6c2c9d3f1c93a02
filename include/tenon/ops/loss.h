/* Tenon: losses. */
#ifndef TENON_OPS_LOSS_H
#define TENON_OPS_LOSS_H

#include <tenon/autograd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of the losses of the rows: each as it is, their mean, their sum; of tn_kl_div alone, their sum over the size of dim 0. */
typedef enum tn_loss_reduction { TN_NONE, TN_MEAN, TN_SUM, TN_BATCHMEAN } tn_loss_reduction;

/* ---- of classes --------------------------------------------------------------------------------------------------------- */

#define TN_CROSS_ENTROPY_OPTIONS(X)                                                                                           \
    X(tn_tensor *, weight, NULL) /* [c]: each class's weight, of the logits' dtype */                                         \
    X(int64_t, ignore_index, -100) /* targets of this value count for nothing */                                             \
    X(double, label_smoothing, 0) /* this share of each target goes to all classes evenly */                                 \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_cross_entropy_args { /* tn_cross_entropy(logits, target, .label_smoothing = 0.1) */
    size_t size TN_SIZE_(tn_cross_entropy_args);
    TN_CROSS_ENTROPY_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *logits TN_ZERO_, *target TN_ZERO_;
} tn_cross_entropy_args;
/* -log softmax(logits)[target], the classes being dim 1 (dim 0 of [c]): logits [n, c], [c] or [n, c, d1, ...].
 *
 * target holds class indices of any integer dtype, [n], [] or [n, d1, ...] (one outside of 0 ... c-1 that is not ignore_index is
 * TN_ERR_INDEX, which names its place); or class probabilities, of the logits' shape and dtype. The mean is weighted: the sum divided by the
 * sum of the targets' weights (by n d1 ... for probabilities); NaN where all are ignored. No row overflows, however far apart its logits. */
TN_API tn_tensor *tn_cross_entropy_with(const tn_cross_entropy_args *args);

#define TN_NLL_OPTIONS(X)                                                                                                     \
    X(tn_tensor *, weight, NULL)                                                                                              \
    X(int64_t, ignore_index, -100)                                                                                            \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_nll_loss_args { /* tn_nll_loss(tn_log_softmax(logits, 1), target) */
    size_t size TN_SIZE_(tn_nll_loss_args);
    TN_NLL_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *log_probs TN_ZERO_, *target TN_ZERO_;
} tn_nll_loss_args;
/* -log_probs[target], with shapes, weights and mean as of tn_cross_entropy with class indices. */
TN_API tn_tensor *tn_nll_loss_with(const tn_nll_loss_args *args);

/* ---- of a prediction and a target of one shape: a broadcast here is an error in most programs, and TN_ERR_SHAPE ----------- */

#define TN_MSE_OPTIONS(X) X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_mse_loss_args { /* tn_mse_loss(prediction, target), tn_l1_loss(prediction, target) */
    size_t size TN_SIZE_(tn_mse_loss_args);
    TN_MSE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_;
} tn_mse_loss_args;
/* (x - target)^2 of floats. */
TN_API tn_tensor *tn_mse_loss_with(const tn_mse_loss_args *args);
/* |x - target|; its slope at 0 is 0. */
TN_API tn_tensor *tn_l1_loss_with(const tn_mse_loss_args *args);

#define TN_SMOOTH_L1_OPTIONS(X)                                                                                               \
    X(double, beta, 1) /* 0: the L1 loss */                                                                                   \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_smooth_l1_loss_args { /* tn_smooth_l1_loss(prediction, target, .beta = 0.1) */
    size_t size TN_SIZE_(tn_smooth_l1_loss_args);
    TN_SMOOTH_L1_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_;
} tn_smooth_l1_loss_args;
/* With d = x - target: d^2 / (2 beta) where |d| < beta, else |d| - beta / 2 (Girshick 2015). */
TN_API tn_tensor *tn_smooth_l1_loss_with(const tn_smooth_l1_loss_args *args);

#define TN_HUBER_OPTIONS(X)                                                                                                   \
    X(double, delta, 1)                                                                                                       \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_huber_loss_args { /* tn_huber_loss(prediction, target, .delta = 0.1) */
    size_t size TN_SIZE_(tn_huber_loss_args);
    TN_HUBER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_;
} tn_huber_loss_args;
/* With d = x - target: d^2 / 2 where |d| < delta, else delta (|d| - delta / 2) (Huber 1964). */
TN_API tn_tensor *tn_huber_loss_with(const tn_huber_loss_args *args);

#define TN_BCE_OPTIONS(X)                                                                                                     \
    X(tn_tensor *, weight, NULL) /* of each element, broadcast to x's shape */                                                \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_binary_cross_entropy_args { /* tn_binary_cross_entropy(tn_sigmoid(logits), target) */
    size_t size TN_SIZE_(tn_binary_cross_entropy_args);
    TN_BCE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_;
} tn_binary_cross_entropy_args;
/* -(target log x + (1 - target) log(1 - x)) of probabilities x; one that is not from 0 to 1 is TN_ERR_ARGUMENT. The logarithms do not go
 * below -100, and the slope at 0 and 1 is finite, as in PyTorch. From logits the next one is the better. */
TN_API tn_tensor *tn_binary_cross_entropy_with(const tn_binary_cross_entropy_args *args);

#define TN_BCE_LOGITS_OPTIONS(X)                                                                                              \
    X(tn_tensor *, weight, NULL)     /* of each element, broadcast to x's shape */                                            \
    X(tn_tensor *, pos_weight, NULL) /* of what target says is true; broadcast too, [classes] as a rule */                    \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_binary_cross_entropy_with_logits_args { /* tn_binary_cross_entropy_with_logits(logits, target) */
    size_t size TN_SIZE_(tn_binary_cross_entropy_with_logits_args);
    TN_BCE_LOGITS_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_;
} tn_binary_cross_entropy_with_logits_args;
/* The same of sigmoid(x): pos_weight target log(1 + exp(-x)) + (1 - target) log(1 + exp(x)). No logit is too far out. */
TN_API tn_tensor *tn_binary_cross_entropy_with_logits_with(const tn_binary_cross_entropy_with_logits_args *args);

#define TN_KL_DIV_OPTIONS(X)                                                                                                  \
    X(bool, log_target, false)               /* target holds logarithms too */                                                \
    X(tn_loss_reduction, reduction, TN_MEAN) /* TN_BATCHMEAN is the divergence itself, where dim 0 is a batch */
typedef struct tn_kl_div_args { /* tn_kl_div(tn_log_softmax(logits, 1), probabilities, .reduction = TN_BATCHMEAN) */
    size_t size TN_SIZE_(tn_kl_div_args);
    TN_KL_DIV_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_;
} tn_kl_div_args;
/* target (log target - x), x being the logarithm of probabilities (Kullback and Leibler 1951); 0 where target is 0 and x finite. */
TN_API tn_tensor *tn_kl_div_with(const tn_kl_div_args *args);

/* ---- of two vectors' angle ---------------------------------------------------------------------------------------------- */

#define TN_COSINE_OPTIONS(X)                                                                                                  \
    X(int, dim, 1)                                                                                                            \
    X(double, eps, 1e-8) /* a length counts as at least this, then as a constant (PyTorch's gradient goes on through it) */
typedef struct tn_cosine_similarity_args { /* tn_cosine_similarity(a, b, .dim = -1) */
    size_t size TN_SIZE_(tn_cosine_similarity_args);
    TN_COSINE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x1 TN_ZERO_, *x2 TN_ZERO_;
} tn_cosine_similarity_args;
/* x1 . x2 / (|x1| |x2|) along dim, which goes; x1 and x2 are broadcast. */
TN_API tn_tensor *tn_cosine_similarity_with(const tn_cosine_similarity_args *args);

#define TN_COSINE_EMBEDDING_OPTIONS(X)                                                                                        \
    X(double, margin, 0)                                                                                                      \
    X(tn_loss_reduction, reduction, TN_MEAN)
typedef struct tn_cosine_embedding_loss_args { /* tn_cosine_embedding_loss(a, b, target, .margin = 0.5) */
    size_t size TN_SIZE_(tn_cosine_embedding_loss_args);
    TN_COSINE_EMBEDDING_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x1 TN_ZERO_, *x2 TN_ZERO_, *target TN_ZERO_;
} tn_cosine_embedding_loss_args;
/* 1 - cos where target is 1, max(cos - margin, 0) where it is -1, else 0: x1 and x2 [n, d] and target [n], or [d], [d] and []. */
TN_API tn_tensor *tn_cosine_embedding_loss_with(const tn_cosine_embedding_loss_args *args);

/* ---- of sequences without an alignment ---------------------------------------------------------------------------------- */

#define TN_CTC_OPTIONS(X)                                                                                                     \
    X(int64_t, blank, 0)                                                                                                      \
    X(tn_loss_reduction, reduction, TN_MEAN) /* the mean of each loss over its target's length (at least 1) */                \
    X(bool, zero_infinity, false)            /* a target too long for its input: 0, and no gradient, in place of infinity */
typedef struct tn_ctc_loss_args { /* tn_ctc_loss(tn_log_softmax(logits, 2), targets, input_lengths, target_lengths) */
    size_t size TN_SIZE_(tn_ctc_loss_args);
    TN_CTC_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *log_probs TN_ZERO_, *targets TN_ZERO_, *input_lengths TN_ZERO_, *target_lengths TN_ZERO_;
} tn_ctc_loss_args;
/* Connectionist temporal classification (Graves et al. 2006): minus the log of the probability of all alignments that give the target.
 *
 * log_probs [time, n, classes] f32 or f64, targets [n, longest] (what lies behind a target's length is not read) or all in one row
 * [sum of lengths], both lengths [n]; or of one sequence [time, classes], [length] and lengths []. Labels other than blank and within the
 * classes, else TN_ERR_INDEX names the place. Summed in f64. The gradient is that of log_probs as they stand; through tn_log_softmax it is
 * PyTorch's: of an infinite loss too NaN within the input's length, 0 behind it. It has no second derivative (TN_ERR_GRAD). */
TN_API tn_tensor *tn_ctc_loss_with(const tn_ctc_loss_args *args);

#ifdef __cplusplus
}
#endif

#endif
