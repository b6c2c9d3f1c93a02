/* Packed weights (kernels/packed.h): rows into panels and back. */
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/cpu/packed_f28.h"

static char *panel_of(const tn_packed_matrix *w, int64_t row)
{
    return (char *)w->data + row / TN_PACKED_ROWS * tn_packed_panel_bytes(w->kind, w->cols);
}

/* ---- blocks, as GGUF has them: an f16, then what Q8_0 and Q4_0 hold --------------------------------------------------------- */

enum { Q8_BYTES = 34, Q4_BYTES = 18 };

/* Block b of a row, to its place: 4 bytes to a unit. */
static void place_block(const tn_packed_matrix *w, int64_t row, int64_t b, const uint8_t *block)
{
    const bool q8 = w->kind != TN_PACKED_Q4;
    const int units = q8 ? 8 : 4;
    const int64_t blocks = tn_packed_blocks(w->cols), lane = row % TN_PACKED_ROWS;
    char *panel = panel_of(w, row);
    uint32_t words[8];
    memcpy(words, block + 2, (size_t)units * 4);
    for (int u = 0; u < units; u++) {
        const uint32_t word = q8 ? words[u] ^ 0x80808080u : words[u];
        memcpy(panel + (b * units + u) * 64 + lane * 4, &word, 4);
    }
    memcpy(panel + blocks * units * 64 + (b * TN_PACKED_ROWS + lane) * 2, block, 2);
}

static void take_block(const tn_packed_matrix *w, int64_t row, int64_t b, float *out)
{
    const bool q8 = w->kind != TN_PACKED_Q4;
    const int units = q8 ? 8 : 4;
    const int64_t blocks = tn_packed_blocks(w->cols), lane = row % TN_PACKED_ROWS;
    const char *panel = panel_of(w, row);
    uint8_t bytes[32];
    tn_f16 half;
    for (int u = 0; u < units; u++)
        memcpy(bytes + u * 4, panel + (b * units + u) * 64 + lane * 4, 4);
    memcpy(&half, panel + blocks * units * 64 + (b * TN_PACKED_ROWS + lane) * 2, 2);
    const float scale = tn_load_f16(half);
    for (int k = 0; k < TN_PACKED_BLOCK; k++)
        out[k] = scale * (float)(q8 ? bytes[k] - 128 : (k < 16 ? bytes[k] & 15 : bytes[k - 16] >> 4) - 8);
}

/* ---- blocks of levels ------------------------------------------------------------------------------------------------------- */

#define READER(name, ...) tn_levels_##name,
static tn_levels_read *const readers[] = {TN_LEVELS_LIST(READER)};
#define TYPE(name, ...) TN_QUANT_##name,
static const tn_quant types[] = {TN_LEVELS_LIST(TYPE)};

/* Where block b of a row begins. */
static char *levels_of(const tn_packed_matrix *w, int64_t row, int64_t b)
{
    return panel_of(w, row) + b * tn_levels_bytes(tn_packed_form(w->kind));
}

/* d and dmin are as the file has them, so that the 16 bits hold them. */
static uint16_t narrow(tn_level_form f, float d) { return f.table == TN_TABLE_E2M1 ? tn_store_bf16(d).bits : tn_store_f16(d).bits; }
static float widened(tn_level_form f, uint16_t d) { return f.table == TN_TABLE_E2M1 ? tn_load_bf16((tn_bf16){d}) : tn_load_f16((tn_f16){d}); }

/* Byte i % 4 of unit u of a plane of so many bits is element 4 u + i's. */
static void place_levels(const tn_packed_matrix *w, int64_t row, int64_t b, const tn_levels *l)
{
    const tn_level_form f = tn_packed_form(w->kind);
    const int64_t lane = row % TN_PACKED_ROWS, groups = f.block / f.group, low = (1 << f.low) - 1;
    char *to = levels_of(w, row, b);
    for (int64_t at = 0; at < f.block; at += TN_PACKED_BLOCK, to += (f.low + f.high) * 64) {
        uint32_t words[6] = {0};
        for (int k = 0; k < TN_PACKED_BLOCK; k++) {
            const uint32_t level = l->level[at + k];
            const int u = k / 4, byte = k % 4 * 8;
            words[u % f.low] |= (level & (uint32_t)low) << (u / f.low * f.low + byte);
            if (f.high)
                words[f.low + u % f.high] |= (level >> f.low) << (u / f.high * f.high + byte);
        }
        for (int u = 0; u < f.low + f.high; u++)
            memcpy(to + u * 64 + lane * 4, &words[u], 4);
    }
    to = levels_of(w, row, b);
    int8_t *scales = (int8_t *)to + tn_levels_scales_at(f) + lane, *minima = (int8_t *)to + tn_levels_minima_at(f) + lane;
    for (int64_t g = 0; g < groups && groups > 1; g++) {
        scales[g * TN_PACKED_ROWS] = (int8_t)(l->scale[g] | (tn_levels_have_nibbles(f) ? l->min[g] * 16 : 0));
        if (f.min && !tn_levels_have_nibbles(f))
            minima[g * TN_PACKED_ROWS] = l->min[g];
    }
    uint16_t *d = (uint16_t *)(void *)(to + tn_levels_d_at(f)) + lane;
    *d = narrow(f, l->d);
    if (f.min)
        d[TN_PACKED_ROWS] = narrow(f, l->dmin);
}

static void take_levels(const tn_packed_matrix *w, int64_t row, int64_t b, float *out)
{
    const tn_level_form f = tn_packed_form(w->kind);
    const int64_t lane = row % TN_PACKED_ROWS, groups = f.block / f.group;
    const char *from = levels_of(w, row, b);
    tn_levels l;
    for (int64_t at = 0; at < f.block; at += TN_PACKED_BLOCK, from += (f.low + f.high) * 64)
        for (int k = 0; k < TN_PACKED_BLOCK; k++) {
            const int u = k / 4;
            const uint8_t *byte = (const uint8_t *)from + lane * 4 + k % 4;
            l.level[at + k] = byte[u % f.low * 64] >> u / f.low * f.low & ((1 << f.low) - 1);
            if (f.high)
                l.level[at + k] |= (uint8_t)((byte[(f.low + u % f.high) * 64] >> u / f.high * f.high & ((1 << f.high) - 1)) << f.low);
        }
    from = levels_of(w, row, b);
    const int8_t *scales = (const int8_t *)from + tn_levels_scales_at(f) + lane, *minima = (const int8_t *)from + tn_levels_minima_at(f) + lane;
    l.scale[0] = 1, l.min[0] = -1;
    for (int64_t g = 0; g < groups && groups > 1; g++) {
        const int8_t scale = scales[g * TN_PACKED_ROWS];
        l.scale[g] = tn_levels_have_nibbles(f) ? scale & 15 : scale;
        l.min[g] = tn_levels_have_nibbles(f) ? scale >> 4 & 15 : f.min ? minima[g * TN_PACKED_ROWS] : 0;
    }
    const uint16_t *d = (const uint16_t *)(const void *)(from + tn_levels_d_at(f)) + lane;
    l.d = widened(f, *d);
    l.dmin = f.min ? widened(f, d[TN_PACKED_ROWS]) : 0;
    tn_levels_floats(f, &l, out);
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

/* One row; NULL: zeros. */
static void place_row(const tn_packed_matrix *w, int64_t row, const float *x)
{
    const int64_t lane = row % TN_PACKED_ROWS;
    if (w->kind == TN_PACKED_F32) {
        float *to = (float *)(void *)panel_of(w, row) + lane;
        for (int64_t k = 0; k < w->cols; k++)
            to[k * TN_PACKED_ROWS] = x ? x[k] : 0;
    } else if (w->kind == TN_PACKED_F16) {
        tn_f16 *to = (tn_f16 *)(void *)panel_of(w, row) + lane;
        for (int64_t k = 0; k < w->cols; k++)
            to[k * TN_PACKED_ROWS] = tn_store_f16(x ? x[k] : 0);
    } else if (w->kind >= TN_PACKED_OF_FLOATS) {
        const tn_levels zeros = {.d = 0};
        for (int64_t b = 0; b * tn_packed_form(w->kind).block < w->cols && !x; b++)
            place_levels(w, row, b, &zeros);
    } else if (w->kind == TN_PACKED_BF16) {
        tn_bf16 *to = (tn_bf16 *)(void *)panel_of(w, row) + lane * 2;
        for (int64_t k = 0; k < (w->cols + 1) / 2 * 2; k++)
            to[k / 2 * TN_PACKED_ROWS * 2 + k % 2] = tn_store_bf16(x && k < w->cols ? x[k] : 0);
    } else {
        for (int64_t b = 0; b * TN_PACKED_BLOCK < w->cols; b++) {
            float part[TN_PACKED_BLOCK] = {0};
            uint8_t block[Q8_BYTES];
            if (x)
                memcpy(part, x + b * TN_PACKED_BLOCK, (size_t)tn_min_i64(TN_PACKED_BLOCK, w->cols - b * TN_PACKED_BLOCK) * sizeof(float));
            (w->kind == TN_PACKED_Q4 ? tn_quantize_Q4_0 : tn_quantize_Q8_0)(part, 1, block);
            place_block(w, row, b, block);
        }
    }
}

/* All rows of a panel, of floats. */
static void place_panel(const tn_packed_matrix *w, int64_t first, const float *x, int64_t x_row)
{
    int32_t *to = (int32_t *)(void *)panel_of(w, first);
    for (int lane = 0; lane < TN_PACKED_ROWS; lane += LANES)
        if (w->kind == TN_PACKED_F32)
            side_by_side(LANES, false, w->cols, x + lane * x_row, x_row, to + lane, TN_PACKED_ROWS);
        else
            side_by_side(LANES, true, w->cols, x + lane * x_row, x_row, to + lane, TN_PACKED_ROWS);
}

/* What the last panel has beyond the last row. */
static void place_rest(const tn_packed_matrix *w, int64_t end)
{
    if (end == w->rows)
        for (int64_t row = end; row % TN_PACKED_ROWS != 0; row++)
            place_row(w, row, NULL);
}

tn_status TN_K(packed_pack)(const tn_packed_matrix *w, int64_t first, int64_t count, const float *rows, int64_t row)
{
    const bool panels = w->kind == TN_PACKED_F32 || w->kind == TN_PACKED_BF16;
    for (int64_t i = 0, step; i < count; i += step) {
        step = panels && (first + i) % TN_PACKED_ROWS == 0 && count - i >= TN_PACKED_ROWS ? TN_PACKED_ROWS : 1;
        if (step == 1)
            place_row(w, first + i, rows + i * row);
        else
            place_panel(w, first + i, rows + i * row, row);
    }
    place_rest(w, first + count);
    return TN_OK;
}

tn_status TN_K(packed_pack_blocks)(const tn_packed_matrix *w, int64_t first, int64_t count, const void *blocks)
{
    const uint8_t *at = blocks;
    if (w->kind >= TN_PACKED_OF_FLOATS) {
        const int index = (int)w->kind - TN_PACKED_OF_FLOATS;
        const int64_t of_row = w->cols / tn_packed_form(w->kind).block, bytes = (int64_t)tn_quant_format_of(types[index])->bytes;
        for (int64_t i = 0; i < count; i++)
            for (int64_t b = 0; b < of_row; b++, at += bytes) {
                tn_levels levels;
                readers[index](at, &levels);
                place_levels(w, first + i, b, &levels);
            }
    } else {
        const int64_t of_row = tn_packed_blocks(w->cols), bytes = w->kind == TN_PACKED_Q4 ? Q4_BYTES : Q8_BYTES;
        for (int64_t i = 0; i < count; i++)
            for (int64_t b = 0; b < of_row; b++, at += bytes)
                place_block(w, first + i, b, at);
    }
    place_rest(w, first + count);
    return TN_OK;
}

static void unpack_f28(const tn_packed_matrix *w, int64_t row, float *out)
{
    const int64_t lane = row % TN_PACKED_ROWS, panel = row / TN_PACKED_ROWS;
    const uint8_t *group = (const uint8_t *)w->data + panel * tn_packed_stride(w);
    const f28_aside *aside = f28_aside_of(w, panel);
    for (int64_t k = 0; k < w->cols; k++) {
        const int u = (int)(k % F28_UNITS), place = group[lane * 4 + u % 4] >> u / 4 * 4 & 15;
        const uint8_t *low = group + F28_LOW + u * F28_UNIT + lane * 3;
        out[k] = tn_bits_f32(low[0] | (uint32_t)low[1] << 8 | (uint32_t)low[2] << 16 | (uint32_t)aside->table[place] << 24);
        group += u == F28_UNITS - 1 ? F28_GROUP : 0;
    }
    for (const f28_exception *e = aside->exceptions; e->at != UINT32_MAX; e++)
        if (e->at % TN_PACKED_ROWS == lane)
            out[e->at / TN_PACKED_ROWS] = tn_bits_f32(e->bits);
}

static void unpack_row(const tn_packed_matrix *w, int64_t row, float *out)
{
    const int64_t lane = row % TN_PACKED_ROWS;
    const char *panel = panel_of(w, row);
    if (w->aside) {
        unpack_f28(w, row, out);
    } else if (w->kind == TN_PACKED_F32) {
        for (int64_t k = 0; k < w->cols; k++)
            out[k] = ((const float *)(const void *)panel)[k * TN_PACKED_ROWS + lane];
    } else if (w->kind == TN_PACKED_F16) {
        for (int64_t k = 0; k < w->cols; k++)
            out[k] = tn_load_f16(((const tn_f16 *)(const void *)panel)[k * TN_PACKED_ROWS + lane]);
    } else if (w->kind >= TN_PACKED_OF_FLOATS) {
        const int64_t block = tn_packed_form(w->kind).block;
        for (int64_t b = 0; b * block < w->cols; b++)
            take_levels(w, row, b, out + b * block);
    } else if (w->kind == TN_PACKED_BF16) {
        for (int64_t k = 0; k < w->cols; k++)
            out[k] = tn_load_bf16(((const tn_bf16 *)(const void *)panel)[(k / 2 * TN_PACKED_ROWS + lane) * 2 + k % 2]);
    } else {
        for (int64_t b = 0; b * TN_PACKED_BLOCK < w->cols; b++) {
            float part[TN_PACKED_BLOCK];
            take_block(w, row, b, part);
            memcpy(out + b * TN_PACKED_BLOCK, part, (size_t)tn_min_i64(TN_PACKED_BLOCK, w->cols - b * TN_PACKED_BLOCK) * sizeof(float));
        }
    }
}

tn_status TN_K(packed_unpack)(const tn_packed_matrix *w, int64_t n, const int64_t *rows, float *out)
{
    for (int64_t i = 0; i < n; i++)
        unpack_row(w, rows[i], out + i * w->cols);
    return TN_OK;
}
