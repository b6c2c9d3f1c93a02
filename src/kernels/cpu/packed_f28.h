/* F32's panels in 28 bits to a float, without loss (kernels/packed.h): a row of x by W waits for memory, and an eighth less is read.
 *
 * The three low bytes of a float are kept as they are. Its high one, the sign and seven bits of the exponent, is a place in the panel's table of 16:
 * weights are within a few powers of 4 of each other. What the table lacks, 1 in 10,000, is an exception, which lies aside with its place.
 * 8 units are a group of 448 bytes, seven lines of the cache, read in turn: a line of places, byte 4 r + u % 4 having row r's of unit u in its low half
 * for u < 4, else in its high one; then of each unit the 16 rows' low bytes, 3 by 3. Groups of all panels lie one behind another, for a gap between
 * panels costs the processor's prefetch, and with it all of the gain; what is aside of panel p begins at p * tn_packed_aside_panel_bytes(cols). */
#ifndef TN_PACKED_F28_H
#define TN_PACKED_F28_H

#include "kernels/cpu/packed_vector.h"

enum { F28_UNITS = 8, F28_LOW = 64, F28_UNIT = 48, F28_GROUP = F28_LOW + F28_UNITS * F28_UNIT };
_Static_assert(F28_GROUP == 56 * F28_UNITS, "tn_packed_stride() counts 56 bytes to a unit");

typedef struct f28_exception {
    uint32_t at; /* unit * 16 + row */
    uint32_t bits;
} f28_exception;
typedef struct f28_aside {
    uint8_t table[16];          /* high bytes without the sign, then the same with it */
    f28_exception exceptions[]; /* in order; the one after the last is at UINT32_MAX */
} f28_aside;

static inline f28_aside *f28_aside_of(const tn_packed_matrix *w, int64_t panel)
{
    return (f28_aside *)(void *)((char *)(uintptr_t)w->aside + panel * tn_packed_aside_panel_bytes(w->cols));
}

#if defined(__AVX512F__)
#define VBMI __attribute__((target("avx512vbmi")))

/* Where the bytes of units come from: of 64 of a group, then of the high bytes of four units side by side. */
typedef struct f28_places {
    __m512i of[4];
} f28_places;
TN_INLINE f28_places f28_places_of_units(void)
{
    uint8_t first[64];
    for (int i = 0; i < 64; i++)
        first[i] = (uint8_t)(i % 4 < 3 ? i / 4 * 3 + i % 4 : 64 + i / 4 * 4);
    f28_places places;
    for (int u = 0; u < 4; u++) /* the last unit's bytes are read with the 16 before them, so that nothing behind a group is */
        places.of[u] = _mm512_add_epi8(_mm512_loadu_si512(first), _mm512_set1_epi32(u == 3 ? 3 << 24 | 0x101010 : u << 24));
    return places;
}

VBMI TN_INLINE void f28_units(const char *group, __m512i table, const f28_places *places, vf unit[F28_UNITS])
{
    const __m512i at = _mm512_loadu_si512(group), half = _mm512_set1_epi8(15);
    const __m512i high[] = {_mm512_shuffle_epi8(table, _mm512_and_si512(at, half)), _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi32(at, 4), half))};
    TN_UNROLL
    for (int u = 0; u < F28_UNITS; u++) {
        const __m512i low = _mm512_loadu_si512(group + F28_LOW + u * F28_UNIT - (u % 4 == 3 ? 16 : 0));
        unit[u] = (vf)_mm512_permutex2var_epi8(low, places->of[u % 4], high[u / 4]);
    }
}

TN_INLINE __m512i f28_table(const f28_aside *aside) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)aside->table)); }
#endif

#endif
