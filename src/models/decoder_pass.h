/* A pass of a decoder: its rows by all layers' weights, for decoder.c, which finds its memory and begins it. */
#ifndef TN_MODELS_DECODER_PASS_H
#define TN_MODELS_DECODER_PASS_H

#include "core/parallel.h"
#include "kernels/kernels.h"
#include "models/decoder.h"

enum { TN_PASS_OWN_ROWS = 8 }; /* so many or fewer each thread prepares for itself, which is cheaper than to meet */

typedef struct tn_decoder_pass {
    const tn_decoder *d;
    const tn_kernels *kernels;
    int64_t n;                /* rows */
    const int64_t *tokens;    /* [n] */
    const int64_t *sequences; /* [n]; those of one sequence stand in order */
    const int64_t *positions; /* [n] */
    int64_t *told;            /* on a device: the three once more, one after the other, and the angles behind them */
    int64_t outs;             /* the last so many rows get logits */
    tn_decoder_cache rolled;  /* a layer's cache in order, for rows of which some would take the place of what others see; 0 rows: there is no such layer */
    float *x, *y, *q, *attended, *gate, *up; /* [n, hidden] twice, [n, q + k + v], [n, heads head_dim], [n, intermediate] twice */
    float *cos, *sin;                        /* [n, head_dim / 2] each, one after the other; on a device behind `told` */
    float *logits;                           /* [outs, vocab_size] */
    char *prepared;                          /* of packed_input; for TN_PASS_OWN_ROWS each thread has its own */
    size_t prepared_row;                     /* its bytes for a row, of the widest input */
    int64_t own_rows;                        /* of y and prepared that a thread has for itself */
    float *looks;                            /* each thread's scratch of decode_attention */
    int64_t looks_floats;
    tn_barrier *barrier;
    int threads; /* at most */
} tn_decoder_pass;

static inline int64_t upto(int64_t a, int64_t most) { return a < most ? a : most; }
static inline int64_t beyond(int64_t a, int64_t least) { return a > least ? a : least; }

static inline bool tn_pass_is_there(const tn_decoder_pass *p) { return p->d->device.type != TN_CPU; }
bool tn_pass_of_one_sequence(const tn_decoder_pass *p);
/* Whether some of the rows would take the place of what others see in that layer's cache. */
bool tn_pass_rolls(const tn_decoder_pass *p, const tn_decoder_layer *l);
/* The angles of rows [from, to): cosines and sines [n, head_dim / 2]. */
void tn_pass_angles(const tn_decoder_pass *p, int64_t from, int64_t to, float *cosines, float *sines);
/* A thread's part of a tn_decoder_pass: to be called by `threads` of them. */
void tn_pass_run(int thread, int threads, void *pass);

#endif
