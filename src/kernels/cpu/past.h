/* Stores past the caches. */
#ifndef TN_CPU_PAST_H
#define TN_CPU_PAST_H

#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "kernels/cpu/vector.h"

/* Results of so many bytes leave no cache room for themselves: they are stored past the caches, which saves reading their lines before. */
enum { TN_PAST_CACHES = 1 << 25 };

/* A line of 64 bytes; both are aligned to it. tn_fence_past() comes before another thread reads what was so stored. */
TN_INLINE void tn_store_past(char *to, const char *from)
{
#if defined(__AVX512F__)
    _mm512_stream_si512((__m512i *)(void *)to, _mm512_load_si512(from));
#elif defined(__SSE2__)
    for (int i = 0; i < 64; i += 16)
        _mm_stream_si128((__m128i *)(void *)(to + i), _mm_load_si128((const __m128i *)(const void *)(from + i)));
#else
    memcpy(to, from, 64);
#endif
}
TN_INLINE void tn_fence_past(void)
{
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

#endif
