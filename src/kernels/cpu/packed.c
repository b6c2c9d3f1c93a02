/* Packed weights (kernels/packed.h): rows into panels and back. */
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/cpu/packed_vector.h"

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

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

/* One row; NULL: zeros. */
static void place_row(const tn_packed_matrix *w, int64_t row, const float *x)
{
    const int64_t lane = row % TN_PACKED_ROWS;
    if (w->kind == TN_PACKED_F32) {
        float *to = (float *)(void *)panel_of(w, row) + lane;
        for (int64_t k = 0; k < w->cols; k++)
            to[k * TN_PACKED_ROWS] = x ? x[k] : 0;
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
    const bool panels = !tn_packed_in_blocks(w->kind);
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
    const int64_t of_row = tn_packed_blocks(w->cols), bytes = w->kind == TN_PACKED_Q4 ? Q4_BYTES : Q8_BYTES;
    for (int64_t i = 0; i < count; i++)
        for (int64_t b = 0; b < of_row; b++)
            place_block(w, first + i, b, (const uint8_t *)blocks + (i * of_row + b) * bytes);
    place_rest(w, first + count);
    return TN_OK;
}

tn_status TN_K(packed_unpack)(const tn_packed_matrix *w, int64_t row, float *out)
{
    const int64_t lane = row % TN_PACKED_ROWS;
    const char *panel = panel_of(w, row);
    if (w->kind == TN_PACKED_F32) {
        for (int64_t k = 0; k < w->cols; k++)
            out[k] = ((const float *)(const void *)panel)[k * TN_PACKED_ROWS + lane];
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
    return TN_OK;
}
