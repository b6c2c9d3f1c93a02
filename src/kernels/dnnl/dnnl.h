/* What oneDNN does better than our own kernels: it takes the slots that it fills here. */
#ifndef TN_DNNL_H
#define TN_DNNL_H

#include "kernels/kernels.h"

/* Called once, when the CPU's table is chosen and it is not the portable one. */
void tn_dnnl_override(tn_kernels *table);

#endif
