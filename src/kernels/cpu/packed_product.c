/* Products with packed weights (kernels/packed.h). */
#include <math.h>
#include <string.h>

#include "core/core.h"
#include "kernels/cpu/packed_f28.h"

/* Bytes that one row of x by W fetches ahead of each stream into the first cache, with blocks, and with those of levels, of up to 3.4 KB: their loops
 * are too long for the processor to see far enough itself. With F32 and BF16 it does, and what is asked for costs more than it brings (Zen 4 and 5). */
enum { AHEAD = 2048, LEVELS_AHEAD = 4096, PANELS_MOST = STREAMS > PANELS ? STREAMS : PANELS };

typedef struct job {
    const tn_packed_matrix *w;
    int64_t n;
    const char *prepared;
    float *y;
    int64_t y_row;
    bool add;
    int64_t length, chunk;    /* units or blocks of a row, and how many are summed before they go to y */
    int64_t unit;             /* bytes of one of them in W */
    int64_t panel_bytes;
    int64_t units, blocks;    /* of a row of x */
    int64_t per;              /* units of x to one of W, or a block */
} job;

/* `count` units or blocks of a few panels; where there are fewer one is read twice, and its second name is NONE. */
enum { NONE = -1 };
typedef struct part {
    int64_t panel[PANELS_MOST];
    const char *w[PANELS_MOST], *scales[PANELS_MOST];
    int64_t count;
    bool first;   /* of the row */
    bool plain;   /* all panels are whole, and there is no bias */
    float factor; /* the product is so many times the sums */
    int64_t done; /* rows of x that it was multiplied by while it was widened */
} part;

/* Rows of x side by side: units[u * width + i], scales[b * width + i]; less: -128 times the sum of a block; late: the same of its second half. Of
 * Q8_FINE's blocks first the units of the high bytes, then of the low ones; OF_PAIRS all are as packed_pairs.h says, and bytes are the units of Q8. */
typedef struct input_tile {
    int64_t token;
    const int32_t *units;
    const float *scales;
    const int32_t *less, *late, *bytes;
} input_tile;

/* How x is laid out, for both functions: tiles of `most` rows, then of 4 and of 2, then single ones. 8 are twice 4, each as many as W's loads keep
 * up with, where 6 and 2 are not. */
static inline int tile_width(int most, int64_t left)
{
    return left >= most && !(most == 6 && left == 8) ? most : most > 4 && left >= 4 ? 4 : most > 2 && left >= 2 ? 2 : 1;
}
static inline int most_of(tn_packed_kind kind) { return tn_packed_in_blocks(kind) ? NARROW : WIDE; }

static inline int64_t units_of(tn_packed_kind kind, int64_t cols)
{
    if (kind == TN_PACKED_BF16)
        return (cols + 1) / 2 * (OF_PAIRS ? 2 : 1);
    return kind == TN_PACKED_F32 || kind == TN_PACKED_F16 ? cols : tn_packed_blocks(cols) * (kind == TN_PACKED_Q8_FINE || OF_PAIRS ? 16 : 8);
}

/* From a unit (a block) of its rows on. */
TN_INLINE input_tile input_tile_of(const job *j, int64_t token, int width, int64_t begin)
{
    const int64_t at = token * j->blocks + begin * width;
    const int32_t *units = (const int32_t *)(const void *)j->prepared, *less = units + j->n * (j->units + j->blocks) + at;
    const float *scales = (const float *)(const void *)(units + j->n * j->units);
    const int32_t *late = less + j->n * j->blocks, *bytes = units + j->n * (j->units + 3 * j->blocks) + at * 8;
    return (input_tile){token, units + token * j->units + begin * j->per * width, scales + at, less, late, bytes};
}

TN_INLINE part part_of(const job *j, int64_t begin)
{
    const float factor = j->w->kind == TN_PACKED_Q4 && !OF_PAIRS ? 0.0625f : 1;
    return (part){.count = tn_min_i64(j->chunk, j->length - begin), .first = begin == 0, .plain = begin > 0 || !j->w->bias, .factor = factor};
}
TN_INLINE void part_panel(const job *j, part *part, int at, int64_t panel, int64_t begin)
{
    part->panel[at] = panel;
    if (panel == NONE) {
        part->w[at] = part->w[at - 1], part->scales[at] = part->scales[at - 1];
        return;
    }
    const char *w = (const char *)j->w->data + panel * j->panel_bytes;
    part->plain = part->plain && (panel + 1) * TN_PACKED_ROWS <= j->w->rows;
    part->w[at] = w + begin * j->unit;
    part->scales[at] = w + j->length * j->unit + begin * TN_PACKED_ROWS * 2;
}

/* y of a panel that is not whole, or has a bias, and so many rows of x, from sums[row of x][16]. */
static void finish(const job *j, const part *part, int p, int width, int64_t token, const float *sums)
{
    const int64_t row = part->panel[p] * TN_PACKED_ROWS, rows = j->w->rows - row;
    const bool add = !part->first || j->add;
    const float *bias = part->first ? j->w->bias : NULL;
    for (int i = 0; i < width; i++, sums += TN_PACKED_ROWS) {
        float *y = j->y + (token + i) * j->y_row + row;
        for (int r = 0; r < TN_PACKED_ROWS && r < rows; r++)
            y[r] = ((add ? y[r] : -0.0f) + (bias ? bias[row + r] : -0.0f)) + sums[r] * part->factor; /* to which -0 adds nothing */
    }
}

/* y of so many panels and rows of x, from sums[panel][vector][row of x, of `most`]; constants but for the last three. */
TN_INLINE void put(int panels, int width, int most, const job *j, const part *part, int64_t token, const vf *sums)
{
    const bool add = !part->first || j->add;
    TN_UNROLL
    for (int p = 0; p < panels; p++) {
        const int64_t row = part->panel[p] * TN_PACKED_ROWS;
        if (part->panel[p] == NONE)
            continue;
        if (TN_LIKELY(part->plain)) {
            TN_UNROLL
            for (int i = 0; i < width; i++)
                TN_UNROLL
                for (int v = 0; v < NV; v++) {
                    vf *y = (vf *)(j->y + (token + i) * j->y_row + row + v * LANES);
                    vf sum = sums[(p * NV + v) * most + i] * splat(part->factor);
                    if (add)
                        sum += *y;
                    *y = sum;
                }
            continue;
        }
        float out[(WIDE > NARROW ? WIDE : NARROW) * TN_PACKED_ROWS] __attribute__((aligned(64)));
        TN_UNROLL
        for (int i = 0; i < width; i++)
            TN_UNROLL
            for (int v = 0; v < NV; v++)
                *(vf *)(out + i * TN_PACKED_ROWS + v * LANES) = sums[(p * NV + v) * most + i];
        finish(j, part, p, width, token, out);
    }
}

/* Unit u of a block of 32 as bytes without a sign. */
TN_INLINE vi plane(int bits, const char *from, int u, int v)
{
    const int32_t mask = (int32_t)(0x01010101u * ((1u << bits) - 1));
    return *(const vi *)(const void *)(from + u % bits * 64 + v * TN_VECTOR_BYTES) >> u / bits * bits & mask;
}
TN_INLINE vi levels_unit(tn_level_form f, const char *from, int u, int v)
{
    vi unit = plane(f.low, from, u, v);
    if (f.high)
        unit |= plane(f.high, from + f.low * 64, u, v) << f.low;
    return f.table ? looked_up(tn_level_tables[f.table], unit) : unit;
}

/* A group's scales and minima in a block of levels. */
TN_INLINE vf levels_d(tn_level_form f, const char *block, int at, int v)
{
    const uint16_t *d = (const uint16_t *)(const void *)(block + tn_levels_d_at(f)) + at * TN_PACKED_ROWS + v * LANES;
    return f.table == TN_TABLE_E2M1 ? bfloats(d) : halves(d);
}
TN_INLINE vf levels_scale(tn_level_form f, const char *block, int64_t group, int v)
{
    if (f.block == f.group)
        return levels_d(f, block, 0, v);
    const vi scale = signed_bytes((const int8_t *)block + tn_levels_scales_at(f) + group * TN_PACKED_ROWS + v * LANES);
    return levels_d(f, block, 0, v) * floats(tn_levels_have_nibbles(f) ? (vi)(scale & 15) : (vi)scale);
}
TN_INLINE vf levels_min(tn_level_form f, const char *block, int64_t group, int v)
{
    if (f.block == f.group)
        return -levels_d(f, block, 1, v);
    const vi min = signed_bytes((const int8_t *)block + tn_levels_minima_at(f) + group * TN_PACKED_ROWS + v * LANES);
    return levels_d(f, block, 1, v) * floats(tn_levels_have_nibbles(f) ? (vi)(min >> 4 & 15) : (vi)min);
}

/* What is taken apart as levels are: with OF_PAIRS also Q8 (and Q8_FINE) and Q4, whose scales lie apart. */
#if OF_PAIRS
#define APART_LIST(X) X(Q8, 8, 0, 32, 32, 128, false, TN_TABLE_NONE) X(Q4, 4, 0, 32, 32, 8, false, TN_TABLE_NONE)
#define AS_LEVELS_LIST(X) APART_LIST(X) TN_LEVELS_LIST(X)
#else
#define AS_LEVELS_LIST TN_LEVELS_LIST
#endif
TN_INLINE int64_t block_bytes(tn_level_form f, bool apart) { return apart ? f.low * 64 : tn_levels_bytes(f); }
TN_INLINE vf scales_apart(const part *part, int p, int64_t b, int v)
{
    return halves((const uint16_t *)(const void *)(part->scales[p] + b * 32) + v * LANES);
}

/* So many units of levels by bytes of x have sums in 16 bits; 0: they are multiplied as pairs, or in 32 bits. */
TN_INLINE int units_together(tn_level_form f) { return OF_BYTES && !f.table ? 128 >> (f.low + f.high) : 0; }
TN_INLINE bool in_pairs(tn_level_form f) { return OF_PAIRS && !units_together(f); }

/* A part of PANELS panels as packed_levels.h and packed_pairs.h read it for many rows of x: the blocks' units as bytes without a sign, or, what is
 * multiplied as pairs, as these, with it; then f32 [2, 16] of scales and f32 [2, 16] of minima. */
enum { WIDE_UNITS = OF_PAIRS ? 16 : 8, WIDE_BYTES = (WIDE_UNITS + 4) * 64, WIDE_BLOCKS = 16 };
TN_INLINE void widen_unit(tn_level_form f, vi unit, int u, char *to)
{
    if (in_pairs(f)) {
        const vs16 zero = (vs16)splat_i32(f.zero * 0x10001);
        *(vs16 *)(void *)(to + 2 * u * 64) = (vs16)even_bytes(unit) - zero;
        *(vs16 *)(void *)(to + (2 * u + 1) * 64) = (vs16)odd_bytes(unit) - zero;
    } else {
        *(vi *)(void *)(to + u * 64) = unit;
    }
}
TN_INLINE void widen_part(tn_level_form f, bool apart, part *part, char *to)
{
    const int per = f.block / TN_PACKED_BLOCK, groups = TN_PACKED_BLOCK / f.group;
    for (int p = 0; p < PANELS; p++) {
        char *begin = to;
        for (int64_t b = 0; b < part->count * per; b++, to += WIDE_BYTES) {
            const char *block = part->w[p] + b / per * block_bytes(f, apart), *planes = block + b % per * (f.low + f.high) * 64;
            float *scales = (float *)(void *)(to + WIDE_UNITS * 64);
            TN_UNROLL
            for (int v = 0; v < NV; v++) {
                TN_UNROLL
                for (int u = 0; u < 8; u++)
                    widen_unit(f, levels_unit(f, planes, u, v), u, to + v * TN_VECTOR_BYTES);
                TN_UNROLL
                for (int g = 0; g < groups; g++) {
                    *(vf *)(scales + g * TN_PACKED_ROWS + v * LANES) =
                        apart ? scales_apart(part, p, b, v) : levels_scale(f, block, b % per * groups + g, v);
                    if (f.min)
                        *(vf *)(scales + (2 + g) * TN_PACKED_ROWS + v * LANES) = levels_min(f, block, b % per * groups + g, v);
                }
            }
        }
        part->w[p] = begin;
    }
    part->count *= per;
}
#define WIDEN(name, ...) \
    static void widen_##name(part *part, char *to) { widen_part((tn_level_form){__VA_ARGS__}, TN_PACKED_##name < TN_PACKED_OF_FLOATS, part, to); }
AS_LEVELS_LIST(WIDEN)
#undef WIDEN
#define WIDEN(name, ...) [TN_PACKED_##name] = widen_##name,
static void (*const widen_levels[])(part *part, char *to) = {AS_LEVELS_LIST(WIDEN)
#if OF_PAIRS
                                                             [TN_PACKED_Q8_FINE] = widen_Q8
#endif
};
#undef WIDEN

/* So many chunks of all rows of x as the caches hold. */
static int64_t chunks_of(const job *j)
{
    enum { OF_X = 1 << 20 };
    return tn_max_i64(1, OF_X / (j->n * (j->units / j->length) * 4) / j->chunk);
}

#define PLAIN

#define NAME(x) x##_f32
#define TARGET PLAIN
#define STEP floats_step
#define BLOCKS 0
#define MOST WIDE
#include "kernels/cpu/packed_body.h"

#define NAME(x) x##_f16
#define TARGET PLAIN
#define STEP floats_step
#define BLOCKS 0
#define UNIT_BYTES 32
#define MOST WIDE
#include "kernels/cpu/packed_body.h"

#define NAME(x) x##_bf16
#define TARGET PLAIN
#if OF_PAIRS
#define STEP floats_step
#define PER 2
#else
#define STEP halfs_plain
#endif
#define BLOCKS 0
#define MOST WIDE
#include "kernels/cpu/packed_body.h"

#if !OF_PAIRS
#define NAME(x) x##_q8
#define TARGET PLAIN
#define STEP bytes_plain
#define BLOCKS 8
#define MOST NARROW
#include "kernels/cpu/packed_body.h"

#define NAME(x) x##_q4
#define TARGET PLAIN
#define STEP bytes_plain
#define BLOCKS 4
#define MOST NARROW
#include "kernels/cpu/packed_body.h"

#define NAME(x) x##_q8_fine
#define TARGET PLAIN
#define STEP bytes_plain
#define BLOCKS 8
#define PLANES 2
#define MOST NARROW
#include "kernels/cpu/packed_body.h"

#define NAME(x) x##_plain
#define TARGET PLAIN
#define STEP bytes_plain
#define ONE_ROW 0
#include "kernels/cpu/packed_levels.h"
#endif

typedef struct product {
    void (*row)(const job *j, int64_t first, int64_t count);
    void (*rows)(const job *j, const part *part, int64_t begin);
} product;
static const product plain[] = {[TN_PACKED_F32] = {row_f32, rows_f32}, [TN_PACKED_BF16] = {row_bf16, rows_bf16}, [TN_PACKED_F16] = {row_f16, rows_f16},
#if !OF_PAIRS
                                [TN_PACKED_Q8] = {row_q8, rows_q8}, [TN_PACKED_Q4] = {row_q4, rows_q4}, [TN_PACKED_Q8_FINE] = {row_q8_fine, rows_q8_fine},
#endif
};

#if defined(__AVX512F__)
#define BF16 __attribute__((target("avx512bf16")))
BF16 TN_INLINE vf halfs_bf16(vf sum, vi w, vi x) { return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x); }
#define NAME(x) x##_bf16_own
#define TARGET BF16
#define STEP halfs_bf16
#define BLOCKS 0
#define MOST WIDE
#include "kernels/cpu/packed_body.h"

#define VNNI __attribute__((target("avx512vnni")))
VNNI TN_INLINE vi bytes_vnni(vi sum, vi w, vi x) { return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x); }
#define NAME(x) x##_q8_vnni
#define TARGET VNNI
#define STEP bytes_vnni
#define BLOCKS 8
#define MOST NARROW
#include "kernels/cpu/packed_body.h"

#define NAME(x) x##_q4_vnni
#define TARGET VNNI
#define STEP bytes_vnni
#define BLOCKS 4
#define MOST NARROW
#include "kernels/cpu/packed_body.h"

#define NAME(x) x##_q8_fine_vnni
#define TARGET VNNI
#define STEP bytes_vnni
#define BLOCKS 8
#define PLANES 2
#define MOST NARROW
#include "kernels/cpu/packed_body.h"

#define NAME(x) x##_vnni
#define TARGET VNNI
#define STEP bytes_vnni
#define ONE_ROW 1
#include "kernels/cpu/packed_levels.h"

/* A group from unit `first` on, with the exceptions that it has; the one after them. */
static const f28_exception *with_exceptions(const f28_exception *next, int64_t first, vf unit[F28_UNITS])
{
    float floats[F28_UNITS * TN_PACKED_ROWS];
    memcpy(floats, unit, sizeof floats);
    for (; next->at < (first + F28_UNITS) * TN_PACKED_ROWS; next++)
        floats[next->at - first * TN_PACKED_ROWS] = tn_bits_f32(next->bits);
    memcpy(unit, floats, sizeof floats);
    return next;
}

/* Adds to y what a part of one panel and `width` rows of x give, and writes the floats to `wide`, unless that is NULL. `next` is the first exception from
 * unit `begin` on, the result the one after the part. Where it fetches, it is what is 4 KB ahead; two panels side by side were no faster. */
VBMI TN_INLINE const f28_exception *f28_tile(int width, bool fetches, const job *j, const part *part, int64_t begin, const f28_aside *aside,
                                             const f28_exception *next, const f28_places *places, const input_tile *x, char *wide)
{
    enum { F28_AHEAD = 4096 };
    const __m512i table = f28_table(aside);
    const char *group = part->w[0];
    vf sum[WIDE];
    TN_UNROLL
    for (int i = 0; i < width; i++)
        sum[i] = splat(0);
    for (int64_t u = 0; u < part->count; u += F28_UNITS, group += F28_GROUP) {
        vf unit[F28_UNITS];
        TN_UNROLL
        for (int line = 0; line < F28_GROUP && fetches; line += 64)
            __builtin_prefetch(group + F28_AHEAD + line, 0, 3);
        f28_units(group, table, places, unit);
        if (TN_UNLIKELY(next->at < (begin + u + F28_UNITS) * TN_PACKED_ROWS))
            next = with_exceptions(next, begin + u, unit);
        if (wide)
            memcpy(wide + u * 64, unit, sizeof unit);
        TN_UNROLL
        for (int k = 0; k < F28_UNITS; k++)
            TN_UNROLL
            for (int i = 0; i < width; i++)
                sum[i] = fma_(unit[k], (vf)splat_i32(x->units[(u + k) * width + i]), sum[i]);
    }
    put(1, width, WIDE, j, part, x->token, sum);
    return next;
}

/* Fewer than WIDE rows of x by F32 in 28 bits. */
VBMI static void few_rows_f28(const job *j, int64_t first, int64_t last)
{
    const f28_places places = f28_places_of_units();
    for (int64_t panel = first; panel < last; panel++) {
        const f28_aside *aside = f28_aside_of(j->w, panel);
        const f28_exception *next = aside->exceptions, *after = next;
        __builtin_prefetch((const char *)aside + tn_packed_aside_panel_bytes(j->w->cols), 0, 3);
        for (int64_t begin = 0; begin < j->length; begin += j->chunk, next = after) {
            part part = part_of(j, begin);
            part_panel(j, &part, 0, panel, begin);
            for (int64_t token = 0, width; token < j->n; token += width) {
                width = tile_width(WIDE, j->n - token);
                const input_tile x = input_tile_of(j, token, (int)width, begin);
                if (width == 1 && token == 0)
                    after = f28_tile(1, true, j, &part, begin, aside, next, &places, &x, NULL);
                else if (width == 1)
                    after = f28_tile(1, false, j, &part, begin, aside, next, &places, &x, NULL);
                else if (width == 2)
                    after = f28_tile(2, token == 0, j, &part, begin, aside, next, &places, &x, NULL);
                else
                    after = f28_tile(4, token == 0, j, &part, begin, aside, next, &places, &x, NULL);
            }
        }
    }
}

/* At least WIDE rows of x: the first are multiplied as the part becomes plain floats, which hides both that and the wait for it. */
VBMI static void widen_f28(const job *j, part *part, int64_t begin, char *wide)
{
    const f28_places places = f28_places_of_units();
    const input_tile x = input_tile_of(j, 0, WIDE, begin);
    for (int p = 0; p < PANELS; p++, wide += part->count * 64) {
        if (p > 0 && part->panel[p] == NONE) {
            part->w[p] = part->w[p - 1];
            continue;
        }
        const f28_aside *aside = f28_aside_of(j->w, part->panel[p]);
        const f28_exception *next = aside->exceptions;
        struct part one = *part;
        one.panel[0] = part->panel[p];
        one.w[0] = part->w[p];
        while (next->at < begin * TN_PACKED_ROWS)
            next++;
        f28_tile(WIDE, true, j, &one, begin, aside, next, &places, &x, wide);
        part->w[p] = wide;
    }
    part->done = WIDE;
}

static void blocks_product(const job *j, int64_t first, int64_t last)
{
    (__builtin_cpu_supports("avx512vnni") ? levels_product_vnni : levels_product_plain)(j, first, last);
}
static product product_of(tn_packed_kind kind)
{
    if (kind == TN_PACKED_BF16 && __builtin_cpu_supports("avx512bf16"))
        return (product){row_bf16_own, rows_bf16_own};
    if (kind == TN_PACKED_Q8 && __builtin_cpu_supports("avx512vnni"))
        return (product){row_q8_vnni, rows_q8_vnni};
    if (kind == TN_PACKED_Q4 && __builtin_cpu_supports("avx512vnni"))
        return (product){row_q4_vnni, rows_q4_vnni};
    if (kind == TN_PACKED_Q8_FINE && __builtin_cpu_supports("avx512vnni"))
        return (product){row_q8_fine_vnni, rows_q8_fine_vnni};
    return plain[kind];
}
#else
#include "kernels/cpu/packed_pairs.h"

static void few_rows_f28(const job *j, int64_t first, int64_t last) { (void)j, (void)first, (void)last; } /* no weights are in 28 bits here */
static void widen_f28(const job *j, part *part, int64_t begin, char *wide) { (void)j, (void)part, (void)begin, (void)wide; }
static product product_of(tn_packed_kind kind) { return plain[kind]; }
#endif

/* Many rows of x: BF16's part as floats, with OF_PAIRS, and Q4's as Q8's units, 16 times, without. */
static void widen(part *part, char *to)
{
    const int64_t bytes = OF_PAIRS ? 64 : 256;
    const int32_t mask = (int32_t)(OF_PAIRS ? 0xffff0000 : 0xf0f0f0f0);
    for (int p = 0; p < PANELS; p++, to += part->count * bytes * 2) {
        for (int64_t b = 0; b < part->count; b++)
            for (int64_t v = 0; v < bytes; v += TN_VECTOR_BYTES) {
                const vi unit = *(const vi *)(const void *)(part->w[p] + b * bytes + v);
                *(vi *)(void *)(to + b * 2 * bytes + v) = unit << (OF_PAIRS ? 16 : 4) & mask;
                *(vi *)(void *)(to + (b * 2 + 1) * bytes + v) = unit & mask;
            }
        part->w[p] = to;
    }
    part->count *= OF_PAIRS ? 2 : 1;
}

/* Rows of x by panels first ... last. As much of x at a time as the caches hold; a group of panels goes by all of x. */
static void many_rows(const job *j, int64_t first, int64_t last)
{
    enum { ROWS_TO_WIDEN = 12 };
    char wide[PANELS * CHUNK * 64] __attribute__((aligned(64)));
    const bool widens = j->w->kind == (OF_PAIRS ? TN_PACKED_BF16 : TN_PACKED_Q4) && j->n >= ROWS_TO_WIDEN;
    const product product = product_of(!widens ? j->w->kind : OF_PAIRS ? TN_PACKED_F32 : TN_PACKED_Q8);
    const int64_t step = chunks_of(j) * j->chunk;
    for (int64_t from = 0; from < j->length; from += step)
        for (int64_t panel = first; panel < last; panel += PANELS)
            for (int64_t begin = from; begin < j->length && begin < from + step; begin += j->chunk) {
                part part = part_of(j, begin);
                for (int p = 0; p < PANELS; p++)
                    part_panel(j, &part, p, panel + p < last ? panel + p : NONE, begin);
                if (widens)
                    widen(&part, wide);
                else if (j->w->aside)
                    widen_f28(j, &part, begin, wide);
                product.rows(j, &part, begin);
            }
}

tn_status TN_K(packed_product)(const tn_packed_matrix *w, int64_t n, const void *prepared, float *y, int64_t y_row, bool add, int thread, int threads)
{
    static const int64_t unit[] = {64, 64, 512, 256, 512, 32};
    const bool blocks = tn_packed_in_blocks(w->kind), levels = w->kind >= TN_PACKED_OF_FLOATS, as_levels = levels || (OF_PAIRS && blocks);
    const tn_level_form f = levels ? tn_packed_form(w->kind) : (tn_level_form){.block = TN_PACKED_BLOCK};
    job j = {.w = w, .n = n, .prepared = prepared, .y = y, .y_row = y_row, .add = add, .units = units_of(w->kind, w->cols),
             .blocks = blocks ? tn_packed_blocks(w->cols) : 0, .panel_bytes = tn_packed_stride(w),
             .unit = levels ? tn_levels_bytes(f) : w->aside ? F28_GROUP / F28_UNITS : unit[w->kind]};
    j.per = blocks ? units_of(w->kind, TN_PACKED_BLOCK) : w->kind == TN_PACKED_BF16 && OF_PAIRS ? 2 : 1;
    j.length = blocks ? w->cols / f.block + (w->cols % f.block != 0) : j.units / j.per;
    const int64_t chunks = tn_ceil_div(j.length, as_levels ? WIDE_BLOCKS * TN_PACKED_BLOCK / f.block : blocks ? CHUNK / 8 : CHUNK / j.per);
    j.chunk = tn_ceil_div(j.length, tn_max_i64(1, chunks));
    if (!blocks) /* whole groups, whether they are in 28 bits or not: the same sums */
        j.chunk = tn_ceil_div(j.chunk, F28_UNITS) * F28_UNITS;
    int64_t begin, end;
    tn_packed_share(w->rows, thread, threads, &begin, &end);
    if (begin >= end || n == 0)
        return TN_OK;
    const int64_t first = begin / TN_PACKED_ROWS, last = tn_packed_panels(end);
    if (as_levels)
        blocks_product(&j, first, last);
    else if (n < WIDE && w->aside)
        few_rows_f28(&j, first, last);
    else if (n == 1)
        product_of(w->kind).row(&j, first, last - first);
    else
        many_rows(&j, first, last);
    return TN_OK;
}

/* ---- x ------------------------------------------------------------------------------------------------------------------ */

/* A tile of F32 or BF16. */
TN_INLINE void lay(int width, tn_packed_kind kind, int64_t cols, const float *x, int64_t x_row, int32_t *to)
{
    if (kind == TN_PACKED_BF16 && !OF_PAIRS) {
        side_by_side(width, true, cols, x, x_row, to, width);
        return;
    }
    side_by_side(width, false, cols, x, x_row, to, width);
    if (kind == TN_PACKED_BF16) {
        float *rounded = (float *)(void *)to;
        for (int64_t k = 0; k < cols * width; k++)
            rounded[k] = tn_load_bf16(tn_store_bf16(rounded[k]));
        for (int64_t k = cols * width; k < units_of(kind, cols) * width; k++)
            rounded[k] = 0;
    }
}

/* A block's whole numbers. */
TN_INLINE void round_to(int planes, const vi *q, int8_t *bytes, int8_t *fours)
{
    enum { VECTORS = TN_PACKED_BLOCK / LANES };
#if OF_PAIRS
    TN_UNROLL
    for (int v = 0; v < VECTORS; v += 2)
        *(vi *)(void *)(bytes + v * 2 * LANES) = paired(q[v], q[v + 1]);
    if (OF_BYTES && planes == 1)
        narrowed_block(q, fours);
#else
    (void)fours;
    TN_UNROLL
    for (int v = 0; v < VECTORS; v++) {
        narrowed(planes == 1 ? q[v] : (vi)((q[v] + 128) >> 8), bytes + v * LANES);
        if (planes > 1)
            narrowed(q[v], bytes + TN_PACKED_BLOCK + v * LANES);
    }
#endif
}

/* At most LANES blocks of a row, of which `left` elements are there, as bytes, or, OF_PAIRS, as pairs (packed_pairs.h) and OF_BYTES as `fours` too; planes:
 * of bytes, the high one of a block first (|low| is at most 128); what the row has of scales, less and late goes `width` apart. All blocks' magnitudes,
 * then their sums, are found together. NaN and infinity give a scale of NaN. */
TN_INLINE void round_blocks(int planes, int count, int64_t left, const float *x, int8_t *bytes, int8_t *fours, int64_t width, float *scales, int32_t *less,
                            int32_t *late)
{
    enum { VECTORS = TN_PACKED_BLOCK / LANES };
    const float top = planes == 1 ? 127.0f : 32512.0f;
    static const float zeros[TN_PACKED_BLOCK];
    float last[TN_PACKED_BLOCK] = {0}; /* what is no whole block */
    vf most[LANES], sum[LANES], second[LANES];
    for (int b = count; b < LANES; b++)
        most[b] = sum[b] = second[b] = splat(0);
    if (left < count * TN_PACKED_BLOCK)
        memcpy(last, x + left / TN_PACKED_BLOCK * TN_PACKED_BLOCK, (size_t)(left % TN_PACKED_BLOCK) * sizeof(float));
    for (int b = 0; b < count; b++) {
        const float *from = (b + 1) * TN_PACKED_BLOCK <= left ? x + b * TN_PACKED_BLOCK : last;
        vi size = {0}; /* magnitudes are in order as whole numbers are */
        for (int v = 0; v < VECTORS; v++)
            size = larger_whole(size, *(const vi *)(const void *)(from + v * LANES) & 0x7fffffff);
        most[b] = (vf)size;
    }
    const vf max = across(OF_LARGEST_WHOLE, most), inverses = (vf)((vi)(splat(top) / max) & (max > 0));
    const vi finite = max < INFINITY;
    const vf all_scales = (vf)(((vi)(max / splat(top)) & finite) | ((vi)splat(NAN) & ~finite));
    float inverse[LANES], scale[LANES];
    *(vf *)inverse = inverses;
    *(vf *)scale = all_scales;
    for (int b = 0; b < count; b++, bytes += (OF_PAIRS ? 2 : planes) * TN_PACKED_BLOCK) {
        const bool plain = scale[b] == scale[b] && inverse[b] < INFINITY; /* neither what no whole number is near nor all but nothing */
        const float *from = !plain ? zeros : (b + 1) * TN_PACKED_BLOCK <= left ? x + b * TN_PACKED_BLOCK : last;
        const vf by = splat(plain ? inverse[b] : 0);
        vi whole = {0}, of_second = {0}, all[VECTORS];
        TN_UNROLL
        for (int v = 0; v < VECTORS; v++) { /* adding 1.5 * 2^23 leaves the nearest whole number in the low bits */
            const vi q = (vi)(*(const vf *)(from + v * LANES) * by + splat(12582912.0f)) - 0x4b400000;
            whole += q;
            if (v >= VECTORS / 2)
                of_second += q;
            all[v] = q;
        }
        round_to(planes, all, bytes, fours + b * TN_PACKED_BLOCK);
        sum[b] = (vf)whole;
        second[b] = (vf)of_second;
    }
    int32_t of_all[LANES], of_late[LANES];
    *(vi *)of_all = (vi)across(OF_WHOLE_SUMS, sum) * -128;
    *(vi *)of_late = (vi)across(OF_WHOLE_SUMS, second) * -128;
    for (int b = 0; b < count; b++) {
        scales[b * width] = scale[b];
        less[b * width] = of_all[b];
        late[b * width] = of_late[b];
    }
}

/* Units of four rows, from_row apart, side by side: unit u of row i to to[u * to_row + i]; four at a time. */
TN_INLINE void four_units(const int32_t *from, int64_t from_row, int32_t *to, int64_t to_row)
{
    typedef int32_t four __attribute__((vector_size(16), aligned(4), may_alias));
    const four a = *(const four *)from, b = *(const four *)(from + from_row), c = *(const four *)(from + 2 * from_row), d = *(const four *)(from + 3 * from_row);
    const four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const four later_ab = __builtin_shufflevector(a, b, 2, 6, 3, 7), later_cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(four *)to = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(four *)(to + to_row) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    *(four *)(to + 2 * to_row) = __builtin_shufflevector(later_ab, later_cd, 0, 1, 4, 5);
    *(four *)(to + 3 * to_row) = __builtin_shufflevector(later_ab, later_cd, 2, 3, 6, 7);
}

/* Rows of units, from_row apart, side by side. */
TN_INLINE void units_side_by_side(int64_t width, int64_t units, const int32_t *from, int64_t from_row, int32_t *to)
{
    const int64_t by_four = width >= 4 ? 4 : 0;
    for (int64_t u = 0; u < units && by_four; u += 4)
        four_units(from + u, from_row, to + u * width, width);
    for (int64_t u = 0; u < units; u++)
        for (int64_t i = by_four; i < width; i++)
            to[u * width + i] = from[i * from_row + u];
}

/* Where a tile of x goes. */
typedef struct laid {
    int32_t *units, *less, *late, *bytes;
    float *scales;
} laid;

/* A tile of blocks: LANES blocks of all its rows at a time, which then go side by side. */
TN_INLINE void lay_blocks(int planes, int64_t width, int64_t cols, const float *x, int64_t x_row, laid to)
{
    enum { ROW = LANES * 2 * TN_PACKED_BLOCK / 4, FOURS = LANES * TN_PACKED_BLOCK / 4 };
    const int64_t blocks = tn_packed_blocks(cols), of_block = (OF_PAIRS ? 2 : planes) * TN_PACKED_BLOCK / 4;
    for (int64_t first = 0; first < blocks; first += LANES) {
        const int64_t count = tn_min_i64(LANES, blocks - first), at = first * width;
        int32_t rounded[NARROW * ROW], narrow[NARROW * FOURS], *out = to.units + at * of_block, *rows = width == 1 ? out : rounded;
        for (int64_t i = 0; i < width; i++)
            round_blocks(planes, (int)count, cols - first * TN_PACKED_BLOCK, x + i * x_row + first * TN_PACKED_BLOCK, (int8_t *)(rows + i * ROW),
                         (int8_t *)(narrow + i * FOURS), width, to.scales + at + i, to.less + at + i, to.late + at + i);
        if (width > 1)
            units_side_by_side(width, count * of_block, rows, ROW, out);
        if (OF_BYTES && planes == 1)
            units_side_by_side(width, count * 8, narrow, FOURS, to.bytes + at * 8);
    }
}

tn_status TN_K(packed_input)(tn_packed_kind kind, int64_t n, int64_t cols, const float *x, int64_t x_row, void *prepared, int thread, int threads)
{
    const int64_t units = units_of(kind, cols), blocks = tn_packed_blocks(cols), begin = n * thread / threads, end = n * (thread + 1) / threads;
    int32_t *words = prepared, *all_less = words + n * (units + blocks);
    float *scales = (float *)(void *)(words + n * units);
    for (int64_t token = 0, width; token < end; token += width) { /* a tile is the thread's who has its first row */
        width = tile_width(most_of(kind), n - token);
        int32_t *to = words + token * units, *less = all_less + token * blocks;
        const laid blocks_to = {to, less, less + n * blocks, all_less + 2 * n * blocks + token * blocks * 8, scales + token * blocks};
        const float *from = x + token * x_row;
        if (token < begin)
            continue;
        if (kind == TN_PACKED_Q8_FINE)
            lay_blocks(2, width, cols, from, x_row, blocks_to);
        else if (tn_packed_in_blocks(kind))
            lay_blocks(1, width, cols, from, x_row, blocks_to);
        else if (width == WIDE)
            lay(WIDE, kind, cols, from, x_row, to);
        else if (width == 4)
            lay(4, kind, cols, from, x_row, to);
        else if (width == 2)
            lay(2, kind, cols, from, x_row, to);
        else
            lay(1, kind, cols, from, x_row, to);
    }
    return TN_OK;
}
