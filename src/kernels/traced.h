/* A table of kernels whose calls are written to the trace. */
#ifndef TN_TRACED_H
#define TN_TRACED_H

#include "kernels/kernels.h"

/* Puts in front of every slot one that traces the call. For one table. */
void tn_trace_kernels(tn_kernels *table);

#endif
