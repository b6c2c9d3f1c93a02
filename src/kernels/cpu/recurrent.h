/* Of the two ways of walking a recurrent layer: recurrent.c's, for any, and recurrent_small.c's, for f32 whose weights stay in the cache. */
#ifndef TN_CPU_RECURRENT_H
#define TN_CPU_RECURRENT_H

#include "kernels/cpu/cpu.h"

bool TN_K(rnn_is_small)(tn_dtype dtype, const tn_rnn *r);
tn_status TN_K(rnn_small_forward)(const tn_rnn *r);
tn_status TN_K(rnn_small_backward)(const tn_rnn_grad *grad);

/* Sequences that have step t. */
static inline int64_t tn_rnn_active(const tn_rnn *r, int64_t t) { return r->first[t + 1] - r->first[t]; }

/* The row that sequence b had before step t; -1: none, its first state. */
static inline int64_t tn_rnn_former(const tn_rnn *r, int64_t t, int64_t b)
{
    const int64_t before = r->reverse ? t + 1 : t - 1;
    return before < 0 || before == r->steps || b >= tn_rnn_active(r, before) ? -1 : r->first[before] + b;
}

/* Row first[t] + b of what lies apart by dy's strides, in elements. */
static inline int64_t tn_rnn_dy_at(const tn_rnn_grad *d, int64_t t, int64_t b)
{
    return (d->dy_step ? t * d->dy_step : d->rnn.first[t] * d->dy_row) + b * d->dy_row;
}

#endif
