/* Numbers drawn by a congruential generator (Knuth's MMIX), the same everywhere. */
#ifndef TN_TESTS_DRAWN_H
#define TN_TESTS_DRAWN_H

#include <stdint.h>

static uint64_t state_of_random = 1;

static inline uint64_t next(void)
{
    state_of_random = state_of_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return state_of_random >> 33;
}
static inline double uniform(void) { return (double)next() / 2147483648.0 * 2 - 1; } /* in [-1, 1) */

#endif
