/* Tenon: where a program's time goes, kernel by kernel, and how near each comes to what the machine can do.
 *
 *     tn_profile *profile = tn_profile_new();                     from here on
 *     for (int i = 0; i < 20; i++) step(&program);
 *     tn_profile_print(profile);
 *     tn_release(profile);
 *
 *     kernel             sizes                                      calls        ms  share  GFLOP/s    GB/s  of roofline
 *     gemm               float32 batch, m, n, k [1, 5632, 512, 2048]   10  1193.392   20 %     99.0     0.5   84 % FLOP
 *     attention          float32 q [128, 4, 44, 128] v [128, 4, ...]    5    90.533    2 %     28.0     2.6   24 % FLOP
 *     ...
 *     in kernels                                                      395  5824.520  100 %
 *     between them                                                            4.131    0 %
 *
 * TENON_TRACE in the environment (base.h) writes the same of each call, with the time at which it ran. */
#ifndef TENON_PROFILE_H
#define TENON_PROFILE_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_profile tn_profile;

/* Times each kernel that the calling thread calls, with the threads that help it, until tn_profile_stop() or its release; some 100 ns a call. One at
 * a time runs on a thread, which alone may stop and release it (else TN_ERR_STATE). What the machine can do is measured at the first profile of
 * a number of threads, in some 50 ms: multiply-adds of each kind, and reading, copying and changing memory in each level of cache. */
TN_API tn_profile *tn_profile_new(void);
/* What follows is not counted any more. TN_ERR_STATE where it runs no longer. */
TN_API tn_status tn_profile_stop(tn_profile *profile);

/* The calls of one kernel with arguments of one size. */
typedef struct tn_profile_row {
    const char *kernel; /* "gemm", or the operator where one kernel serves many: "exp"; the profile's, as the next two */
    const char *sizes;  /* "float32 batch, m, n, k [1, 256, 1024, 784]" */
    const char *bound;  /* which takes longer at the machine's best: "FLOP", or the bytes in "L1", "L2", "L3", "L3+memory" or "memory" */
    int64_t calls;
    double ms;       /* of all calls together, as the rest */
    double share;    /* ms over the time since tn_profile_new(), until the profile was stopped: all rows and what lies between kernels make 1 */
    double flop;     /* a multiply-add is two, however it is computed (so a convolution may pass 1); else each operation on an element is one */
    double bytes;    /* each operand read once, each result written once */
    double roofline; /* the least time that the FLOP or the bytes would take, over ms: 1 is all that the machine gives. The bytes are held to lie in
                      * the first level of cache that has room for one call's */
} tn_profile_row;
/* Fills rows with at most `most` of them, the longest first, and returns how many there are: tn_profile_rows(profile, NULL, 0) asks. Their texts are
 * good until the next kernel is timed or the profile goes. Works while an error sticks. */
TN_API int tn_profile_rows(const tn_profile *profile, tn_profile_row *rows, int most);
/* Writes the table above, at most size bytes with the closing 0; returns the length that it would need. */
TN_API size_t tn_profile_format(const tn_profile *profile, char *text, size_t size);
/* Prints it on stdout. */
TN_API void tn_profile_print(const tn_profile *profile);

#ifdef __cplusplus
}
#endif

#endif
