/* The thread's stream of random numbers. */
#ifndef TN_RANDOM_H
#define TN_RANDOM_H

#include "core/core.h"
#include "kernels/kernels.h"

/* Takes as many blocks of the thread's stream as the fill needs: sets its seed and offset. */
void tn_random_take(tn_random_fill *fill);

#endif
