/* What else computes with the rotary embedding's frequencies. */
#ifndef TN_OPS_ROPE_H
#define TN_OPS_ROPE_H

#include <tenon/ops.h>

/* By what a position is multiplied for the angle of pair j, before .freq_factors. */
double tn_rope_frequency(const tn_rope_tables_args *args, int64_t j);
/* The same of all pairs, f [dim / 2], after them. False with an error. */
bool tn_rope_frequencies(const tn_rope_tables_args *args, double *f);

#endif
