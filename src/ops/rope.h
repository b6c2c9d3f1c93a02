/* What else computes with the rotary embedding's frequencies. */
#ifndef TN_ROPE_H
#define TN_ROPE_H

#include <tenon/ops.h>

/* By what a position is multiplied for the angle of pair j, before .freq_factors. */
double tn_rope_frequency(const tn_rope_tables_args *args, int64_t j);

#endif
