/* Tenon: metrics, how good a classifier or a language model is. No gradients. What counts classes starts from a confusion matrix, which may be
 * summed over batches:
 *
 *     tn_tensor *m = tn_zeros(TN_SHAPE(10, 10), .dtype = TN_I64);
 *     TN_FOREACH_BATCH(batch, loader)
 *         tn_add_(m, tn_confusion_matrix(tn_call(net, batch->x), batch->y, 10));
 *     printf("F1 %.4f\n", tn_item(tn_f1(m, TN_MACRO))); */
#ifndef TENON_METRICS_H
#define TENON_METRICS_H

#include <tenon/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TN_METRIC_OPTIONS(X) X(int64_t, ignore_index, -100) /* targets of this value count for nothing */
typedef struct tn_metric_args {
    size_t size TN_SIZE_(tn_metric_args);
    TN_METRIC_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_;
} tn_metric_args;
/* The share of x that is right: tn_accuracy(x, target). x is floats, scores whose greatest along dim 1 (dim 0 of [classes]) is the class, or
 * classes themselves; target integers of the shape that the classes leave. NaN where nothing counts, and on error. */
TN_API double tn_accuracy_with(const tn_metric_args *args);
/* exp of the mean cross-entropy of logits [n, classes], [classes] or [n, classes, d1, ...]: tn_perplexity(logits, target); NaN on error. Over
 * several batches it is exp of the mean over all, not the mean of these. */
TN_API double tn_perplexity_with(const tn_metric_args *args);

typedef struct tn_confusion_matrix_args { /* tn_confusion_matrix(x, target, 10) */
    size_t size TN_SIZE_(tn_confusion_matrix_args);
    TN_METRIC_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_, *target TN_ZERO_; /* as of tn_accuracy */
    int64_t classes TN_ZERO_;
} tn_confusion_matrix_args;
/* How often class i was taken for j: i64 [i, j]. A class that is not 0 ... classes - 1: TN_ERR_INDEX. */
TN_API tn_tensor *tn_confusion_matrix_with(const tn_confusion_matrix_args *args);

/* Each class's; the mean over the classes that occur as targets or predictions; of all decisions together, which is the accuracy. */
typedef enum tn_average { TN_PER_CLASS, TN_MACRO, TN_MICRO } tn_average;
/* Of a confusion matrix, any number dtype, f64 [] or [classes]; 0 where it divides by 0. The share of the predictions of a class that are right; the
 * share of a class that was found; their harmonic mean. */
TN_API tn_tensor *tn_precision(tn_tensor *confusion, tn_average average);
TN_API tn_tensor *tn_recall(tn_tensor *confusion, tn_average average);
TN_API tn_tensor *tn_f1(tn_tensor *confusion, tn_average average);
/* Matthews' correlation of targets and predictions, of any number of classes (Gorodkin 2004): 1 perfect, 0 chance. 0 where either is always
 * one class; NaN on error. */
TN_API double tn_matthews_corrcoef(tn_tensor *confusion);

#ifdef __cplusplus
}
#endif

#endif
