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
    tn_dataset *whole; /* of a subset, itself none: item i is its item indices[i]; NULL for any other */
    int64_t *indices;  /* [count] */
    int64_t count;
};
struct tn_sampler {
    tn_object base;
    const tn_sampler_class *cls;
    void *self;
};

/* The items of a batch made into tensors, the scope's. False with an error. May be called by several threads at once. stop, unless NULL,
 * is looked at between items: once true the work is given up (false, without an error). */
bool tn_collate(tn_dataset *dataset, const int64_t *items, int64_t count, const bool *stop, tn_tensor **x, tn_tensor **y);
/* The same by a function of the user's. */
bool tn_collate_by(tn_collate_function collate, void *context, tn_dataset *dataset, const int64_t *items, int64_t count, const bool *stop,
                   tn_tensor **x, tn_tensor **y);

/* The thread's random state, to be put back when the block ends, by an exception of the user's code too. */
static inline void tn_put_back_random(tn_random_state *state) { tn_set_random_state(*state); }
#define TN_KEEP_RANDOM_STATE TN_CLEANUP_(tn_put_back_random) tn_random_state kept_state = tn_get_random_state()

/* A uniform number in [0, 1) of 53 bits, from the thread's state. */
static inline double tn_random_unit(void) { return (double)tn_random_below((uint64_t)1 << 53) * 0x1p-53; }
/* Puts items [count] into a random order (Fisher and Yates). */
void tn_shuffle(int64_t *items, int64_t count);

#endif
