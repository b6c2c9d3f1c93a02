/* Rotary embedding's frequencies, for what makes its tables itself. */
#ifndef TN_OPS_ROPE_H
#define TN_OPS_ROPE_H

#include <tenon/ops.h>

/* f[j], j < dim / 2: the angle that one position turns pair j by. False with an error. */
bool tn_rope_frequencies(const tn_rope_tables_args *args, double *f);

#endif
