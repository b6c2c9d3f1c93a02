/* What the machine can do, measured on the library's own threads: multiply-adds, and moving bytes by the level of cache that they lie in. The
 * roofline of profiles and traces, and what the benchmarks compare with. */
#ifndef TN_PEAKS_H
#define TN_PEAKS_H

#include "kernels/work.h"

typedef struct tn_level {
    const char *name;          /* "L1", "L2", "L3", "L3+memory" (up to thrice the third: part of it hits), "memory" */
    double capacity;           /* bytes that all threads together hold there */
    double read, copy, update; /* GB/s: of reading, of copying (bytes read and written) and of changing in place (likewise); 0 where no memory was
                                * to be had */
} tn_level;
enum { TN_LEVELS = 5 };

/* How long to measure: the best of so many tries of so many rounds of multiply-adds, or of so many bytes, is taken; and how many times the third
 * level's size lies in memory. */
typedef struct tn_effort {
    int tries;
    int64_t rounds;
    double bytes, beyond;
} tn_effort;
static const tn_effort TN_BRIEFLY = {3, 100000, 4e6, 4}, TN_LONG = {9, 1000000, 32e6, 8};

/* GFLOP/s of the instruction set that Tenon runs, at most `threads` of the calling thread's pool together; a multiply-add is two. Where the
 * processor has no instruction for the kind, f32's. */
double tn_peak_gflops(tn_work_kind kind, int threads, tn_effort effort);
void tn_measure_levels(int threads, tn_effort effort, tn_level levels[TN_LEVELS]);

typedef struct tn_peaks {
    double gflops[TN_WORK_KINDS];
    tn_level levels[TN_LEVELS];
} tn_peaks;
/* Those of so many threads, measured briefly (some 50 ms) at the first call with that number; NULL within a parallel region before that. */
const tn_peaks *tn_peaks_of(int threads);

/* The least time that the work can take, in ms: the longer of its FLOP and its bytes, at the rates of the first level that holds them. `by` is which:
 * "FLOP", or the level. */
double tn_bound_ms(const tn_peaks *peaks, const tn_work *work, const char **by);

#endif
