/* Threads for kernels: one pool for the whole library. */
#ifndef TN_PARALLEL_H
#define TN_PARALLEL_H

#include <stdint.h>

/* Calls body(begin, end, context) over 0 ... n in pieces of at least `grain`, on as many threads as the calling thread may use. A body
 * must give the same result however 0 ... n is cut. Nested calls run on the calling thread. */
void tn_parallel_for(int64_t n, int64_t grain, void (*body)(int64_t begin, int64_t end, void *context), void *context);
/* How many pieces run at once at most: tn_get_num_threads(), 1 inside a body. */
int tn_parallel_width(void);

/* Calls body(thread, threads, context) once on each of at most `most` threads, which may wait for each other: a program of many short steps in
 * one parallel region. On one thread where it is called within a body. */
void tn_parallel_team(int most, void (*body)(int thread, int threads, void *context), void *context);
/* Returns when all `threads` of the team have called it; what they wrote before is seen after. The barrier begins as zeros. */
typedef struct tn_barrier {
    unsigned arrived, turn;
} tn_barrier;
void tn_barrier_wait(tn_barrier *barrier, int threads);

#endif
