/* F32's panels into 28 bits to a float (packed_f28.h), where they lie, and rows of them back. */
#include "kernels/cpu/packed_f28.h"

#if defined(__AVX512F__)

/* A table's place for each high byte without a sign; NONE: it has none. */
typedef struct inverse {
    uint8_t place[128];
} inverse;
enum { PLACES = 8, NONE = 16 };

/* The eight high bytes that end with the largest, or, where there are zeros or numbers as small, the seven and 0. */
static inverse choose_table(const float *panel, int64_t cols, f28_aside *aside)
{
    __m512i most = _mm512_setzero_si512(), least = _mm512_set1_epi32(-1);
    for (int64_t u = 0; u < cols; u++) {
        const __m512i size = _mm512_slli_epi32(_mm512_loadu_si512(panel + u * TN_PACKED_ROWS), 1);
        most = _mm512_max_epu32(most, size);
        least = _mm512_min_epu32(least, size);
    }
    const int top = (int)(_mm512_reduce_max_epu32(most) >> 25), first = top < PLACES ? 0 : top - PLACES + 1;
    const bool zeros = _mm512_reduce_min_epu32(least) >> 25 == 0;
    inverse inverse;
    memset(inverse.place, NONE, sizeof inverse.place);
    for (int k = 0; k < PLACES; k++) {
        const int high = k == 0 && zeros ? 0 : first + k;
        aside->table[k] = (uint8_t)high;
        aside->table[PLACES + k] = (uint8_t)(high | 128);
        inverse.place[high] = (uint8_t)k;
    }
    return inverse;
}

/* Each lane's place in the table, from its high byte; bit 4: it has none. */
VBMI TN_INLINE __m512i places_of(const inverse *inverse, __m512i unit)
{
    const __m512i high = _mm512_and_si512(_mm512_srli_epi32(unit, 24), _mm512_set1_epi32(127));
    const __m512i place = _mm512_permutex2var_epi8(_mm512_loadu_si512(inverse->place), high, _mm512_loadu_si512(inverse->place + 64));
    return _mm512_or_si512(_mm512_and_si512(place, _mm512_set1_epi32(31)), _mm512_and_si512(_mm512_srli_epi32(unit, 28), _mm512_set1_epi32(PLACES)));
}

/* A panel's exceptions; false where there is no room for them. */
VBMI static bool set_aside(const inverse *inverse, const float *panel, int64_t cols, f28_aside *aside)
{
    f28_exception *to = aside->exceptions;
    const f28_exception *last = (const f28_exception *)(const void *)((const char *)aside + tn_packed_aside_panel_bytes(cols)) - 1;
    for (int64_t u = 0; u < cols; u++) {
        const __m512i unit = _mm512_loadu_si512(panel + u * TN_PACKED_ROWS);
        uint32_t lacks = _mm512_test_epi32_mask(places_of(inverse, unit), _mm512_set1_epi32(NONE));
        for (; lacks; lacks &= lacks - 1) {
            const int64_t at = u * TN_PACKED_ROWS + __builtin_ctz(lacks);
            if (to == last)
                return false;
            *to++ = (f28_exception){(uint32_t)at, tn_f32_bits(panel[at])};
        }
    }
    *to = (f28_exception){UINT32_MAX, 0};
    return true;
}

/* Groups of a panel; to may be where it lies, or before that. */
VBMI static void encode(const inverse *inverse, const float *panel, int64_t cols, char *to)
{
    uint8_t kept[64];
    for (int i = 0; i < 64; i++)
        kept[i] = (uint8_t)(i / 3 * 4 + i % 3);
    const __m512i low = _mm512_loadu_si512(kept);
    for (int64_t first = 0; first < cols; first += F28_UNITS, to += F28_GROUP) {
        __m512i units[F28_UNITS], places = _mm512_setzero_si512();
        TN_UNROLL
        for (int u = 0; u < F28_UNITS; u++) {
            units[u] = _mm512_loadu_si512(panel + (first + u) * TN_PACKED_ROWS);
            places = _mm512_or_si512(places, _mm512_slli_epi32(_mm512_and_si512(places_of(inverse, units[u]), _mm512_set1_epi32(15)), u % 4 * 8 + u / 4 * 4));
        }
        _mm512_storeu_si512(to, places);
        TN_UNROLL
        for (int u = 0; u < F28_UNITS; u++)
            _mm512_mask_storeu_epi8(to + F28_LOW + u * F28_UNIT, (1ull << F28_UNIT) - 1, _mm512_permutexvar_epi8(low, units[u]));
    }
}

/* The table of a panel whose aside is there. */
static inverse inverse_of(const f28_aside *aside)
{
    inverse inverse;
    memset(inverse.place, NONE, sizeof inverse.place);
    for (int k = 0; k < PLACES; k++)
        inverse.place[aside->table[k]] = (uint8_t)k;
    return inverse;
}

tn_status TN_K(packed_f28)(tn_packed_matrix *w, void *aside)
{
    const int64_t panels = tn_packed_panels(w->rows), of_panel = w->cols * TN_PACKED_ROWS;
    if (w->kind != TN_PACKED_F32 || w->aside || w->cols % F28_UNITS != 0 || of_panel >= UINT32_MAX || !__builtin_cpu_supports("avx512vbmi"))
        return TN_OK;
    const tn_packed_matrix packed = {w->kind, w->rows, w->cols, w->data, w->bias, aside};
    const float *floats = w->data;
    for (int64_t p = 0; p < panels; p++) {
        const inverse inverse = choose_table(floats + p * of_panel, w->cols, f28_aside_of(&packed, p));
        if (!set_aside(&inverse, floats + p * of_panel, w->cols, f28_aside_of(&packed, p)))
            return TN_OK;
    }
    for (int64_t p = 0; p < panels; p++) {
        const inverse inverse = inverse_of(f28_aside_of(&packed, p));
        encode(&inverse, floats + p * of_panel, w->cols, (char *)w->data + p * tn_packed_stride(&packed));
    }
    w->aside = aside; /* and nothing else: other threads read the rest */
    return TN_OK;
}

#else
tn_status TN_K(packed_f28)(tn_packed_matrix *w, void *aside)
{
    (void)w, (void)aside;
    return TN_OK;
}
#endif
