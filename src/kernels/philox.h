/* Philox 4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). A block of four 32-bit words is a
 * function of a 128-bit counter and a 64-bit key, so any element of a stream can be computed on its own. */
#ifndef TN_PHILOX_H
#define TN_PHILOX_H

#include <stdint.h>

#include "kernels/floats16.h"

__extension__ typedef unsigned __int128 tn_u128;

#define TN_PHILOX_M0 0xD2511F53u
#define TN_PHILOX_M1 0xCD9E8D57u
#define TN_PHILOX_W0 0x9E3779B9u
#define TN_PHILOX_W1 0xBB67AE85u

TN_HD static inline void tn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++, k0 += TN_PHILOX_W0, k1 += TN_PHILOX_W1) {
        uint64_t product0 = (uint64_t)TN_PHILOX_M0 * c0, product1 = (uint64_t)TN_PHILOX_M1 * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)product1;
        c3 = (uint32_t)product0;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* 64 random bits: half (0 or 1) of the block that counter names in the seed's stream. `attempt` is the counter's upper half: the spare
 * streams from which a rejected draw is repeated. */
TN_HD static inline uint64_t tn_philox_bits(uint64_t seed, uint64_t counter, uint32_t attempt, int half)
{
    const uint32_t at[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), attempt, 0}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];
    tn_philox(at, key, out);
    return (uint64_t)out[2 * half] << 32 | out[2 * half + 1];
}

/* A uniform integer below range (0: below 2^64), without bias: D. Lemire, "Fast random integer generation in an interval" (2019). */
TN_HD static inline uint64_t tn_philox_below(uint64_t range, uint64_t bits, uint64_t seed, uint64_t counter, int half)
{
    if (range == 0)
        return bits;
    tn_u128 product = (tn_u128)bits * range;
    if ((uint64_t)product < range) { /* rare: perhaps one of the few draws that would make some values likelier */
        uint64_t threshold = (0 - range) % range;
        for (uint32_t attempt = 1; (uint64_t)product < threshold; attempt++)
            product = (tn_u128)tn_philox_bits(seed, counter, attempt, half) * range;
    }
    return (uint64_t)(product >> 64);
}

#endif
