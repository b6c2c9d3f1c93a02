/* What binary rules share: the gradient of broadcasting is a sum. */
#ifndef TN_BROADCAST_H
#define TN_BROADCAST_H

#include "autograd/node.h"

/* grad summed over the dims in which `like` was broadcast to grad's shape, and cast to like's dtype; grad itself when nothing changed. */
tn_tensor *tn_sum_to(tn_tensor *grad, const tn_tensor *like);
/* The same for a shape alone. */
tn_tensor *tn_sum_to_shape(tn_tensor *grad, tn_shape shape);

#endif
