/* Datasets and samplers as the loader sees them. */
#ifndef TN_DATASET_H
#define TN_DATASET_H

#include "core/core.h"

#include <tenon/data.h>

struct tn_dataset {
    tn_object base;
    const tn_dataset_class *cls;
    void *self;
    tn_tensor *x, *y; /* of a tensor dataset, contiguous; both NULL for any other */
};
struct tn_sampler {
    tn_object base;
    const tn_sampler_class *cls;
    void *self;
};

/* The items of a batch made into tensors, the scope's. False with an error. May be called by several threads at once. stop, unless NULL,
 * is looked at between items: once true the work is given up (false, without an error). */
bool tn_collate(tn_dataset *dataset, const int64_t *items, int64_t count, const bool *stop, tn_tensor **x, tn_tensor **y);

#endif
