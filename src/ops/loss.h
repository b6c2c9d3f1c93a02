/* What the losses share. */
#ifndef TN_LOSS_H
#define TN_LOSS_H

#include <tenon/ops/loss.h>

/* False, with an error, where reduction is none of its enum; TN_BATCHMEAN is for the KL divergence alone. */
bool tn_reduction_known(const char *op, tn_loss_reduction reduction);
/* The losses as they are, their mean or their sum. */
tn_tensor *tn_reduce_losses(tn_tensor *losses, tn_loss_reduction reduction);

#endif
