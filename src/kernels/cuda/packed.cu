/* Products with packed weights (kernels/packed.h), whose panels of 16 rows suit a device as they are: a block has a panel, its threads the 16 rows
 * side by side and, above each other, parts of the row. Weights are packed by the CPU and copied. */
#include "kernels/cuda/packed.h"

enum { ROWS = TN_PACKED_ROWS, TOKENS = 8 };
static const int BLOCK = TN_PACKED_BLOCK;

struct weights {
    tn_packed_kind kind;
    int64_t rows, cols, items, panel_bytes; /* items: units of a row, or blocks of 32 */
    const char *data;
    const float *bias;
    /* Of levels: their form, and where the parts of a block of 16 rows are. */
    tn_level_form form;
    int64_t block_bytes, scales_at, minima_at, d_at;
    bool nibbles;
    uint8_t table[16];
};

static weights weights_of(const tn_packed_matrix *matrix)
{
    const tn_packed_kind kind = matrix->kind;
    weights w = {};
    w.kind = kind, w.rows = matrix->rows, w.cols = matrix->cols, w.data = (const char *)matrix->data, w.bias = matrix->bias;
    w.items = tn_packed_items(kind, w.cols);
    w.panel_bytes = tn_packed_panel_bytes(kind, w.cols);
    if (kind < TN_PACKED_OF_FLOATS)
        return w;
    w.form = tn_packed_form(kind);
    w.block_bytes = tn_levels_bytes(w.form), w.scales_at = tn_levels_scales_at(w.form), w.minima_at = tn_levels_minima_at(w.form);
    w.d_at = tn_levels_d_at(w.form), w.nibbles = tn_levels_have_nibbles(w.form);
    memcpy(w.table, tn_level_tables[w.form.table], sizeof w.table);
    return w;
}

/* ---- x --------------------------------------------------------------------------------------------------------------------- */

TN_KERNEL input_kernel(tn_packed_kind kind, int64_t n, int64_t cols, int64_t items, const float *x, int64_t x_row, void *prepared)
{
    const int64_t e = tn_this_thread(), row = e / items;
    if (row < n)
        tn_packed_prepare(kind, cols, tn_packed_x_of(kind, n, items, prepared), e, e % items, [=](int64_t i) { return x[row * x_row + i]; });
}

tn_status tn_cuda_packed_input(tn_packed_kind kind, int64_t n, int64_t cols, const float *x, int64_t x_row, void *prepared, int thread, int)
{
    const int64_t items = tn_packed_items(kind, cols);
    if (thread == 0 && n * items > 0)
        TN_LAUNCH_EACH(input_kernel, n * items, kind, n, cols, items, x, x_row, prepared);
    return tn_cuda_status("packed_input");
}

/* ---- W --------------------------------------------------------------------------------------------------------------------- */

TN_DEVICE uint32_t word_at(const char *at) { return *(const uint32_t *)at; }
TN_DEVICE float half_at(const char *at) { return tn_load_f16(*(const tn_f16 *)at); }

/* A block of 32 of one row: words of four signed numbers, and what they are multiplied with; less: what is taken off for each of x's elements. */
struct block {
    int32_t words[8];
    float scale[2], less[2]; /* of both halves */
    int32_t zero;            /* taken off each number */
};

/* Unit u of a plane of so many bits, as bytes. */
TN_DEVICE uint32_t plane(int bits, const char *from, int u)
{
    return word_at(from + u % bits * 64) >> u / bits * bits & 0x01010101u * ((1u << bits) - 1);
}
TN_DEVICE uint32_t looked_up(const uint8_t *table, uint32_t levels)
{
    uint32_t word = 0;
    for (int k = 0; k < 32; k += 8)
        word |= (uint32_t)table[levels >> k & 15] << k;
    return word;
}

TN_DEVICE block levels_of(const weights &w, const char *panel, int lane, int64_t item)
{
    const tn_level_form f = w.form;
    const int64_t per = f.block / BLOCK, in = item % per, groups = BLOCK / f.group;
    const char *whole = panel + item / per * w.block_bytes, *planes = whole + in * (f.low + f.high) * 64 + lane * 4;
    block b;
    b.zero = f.table ? 0 : f.zero;
    TN_UNROLL
    for (int u = 0; u < 8; u++) {
        uint32_t word = plane(f.low, planes, u);
        if (f.high)
            word |= plane(f.high, planes + f.low * 64, u) << f.low;
        b.words[u] = (int32_t)(f.table ? looked_up(w.table, word) ^ 0x80808080u : word); /* a table's numbers have 128 added */
    }
    const char *d = whole + w.d_at + lane * 2;
    const float scale = f.table == TN_TABLE_E2M1 ? tn_load_bf16(*(const tn_bf16 *)d) : half_at(d), min = f.min ? half_at(d + 2 * ROWS) : 0;
    TN_UNROLL
    for (int h = 0; h < 2; h++) {
        b.scale[h] = scale;
        b.less[h] = -min;
        if (f.block == f.group)
            continue;
        const int64_t group = in * groups + (groups == 2 ? h : 0);
        const int8_t s = ((const int8_t *)whole + w.scales_at)[group * ROWS + lane];
        b.scale[h] = scale * (float)(w.nibbles ? s & 15 : s);
        b.less[h] = !f.min ? 0 : min * (float)(w.nibbles ? s >> 4 & 15 : ((const int8_t *)whole + w.minima_at)[group * ROWS + lane]);
    }
    return b;
}

TN_DEVICE block block_of(const weights &w, const char *panel, int lane, int64_t item)
{
    if (w.kind >= TN_PACKED_OF_FLOATS)
        return levels_of(w, panel, lane, item);
    const int units = w.kind == TN_PACKED_Q4 ? 4 : 8;
    const char *at = panel + item * units * 64 + lane * 4;
    block b;
    b.zero = units == 4 ? 8 : 0;
    b.less[0] = b.less[1] = 0;
    b.scale[0] = b.scale[1] = half_at(panel + w.items * units * 64 + (item * ROWS + lane) * 2);
    TN_UNROLL
    for (int u = 0; u < 4; u++) {
        const uint32_t word = word_at(at + u * 64);
        b.words[u] = (int32_t)(units == 8 ? word ^ 0x80808080u : word & 0x0f0f0f0fu);
        b.words[4 + u] = (int32_t)(units == 8 ? word_at(at + (4 + u) * 64) ^ 0x80808080u : word >> 4 & 0x0f0f0f0fu);
    }
    return b;
}

/* Item `at` of x by a block. */
TN_DEVICE float times(tn_packed_kind kind, const block &b, const tn_packed_x &x, int64_t at)
{
    const int32_t *words = (const int32_t *)x.words + at * x.per_item;
    int32_t half[2] = {0, 0};
    TN_UNROLL
    for (int u = 0; u < 8; u++)
        half[u / 4] = __dp4a(b.words[u], words[u], half[u / 4]);
    if (kind == TN_PACKED_Q8_FINE)
        TN_UNROLL
        for (int u = 0; u < 8; u++)
            half[u / 4] = __dp4a(b.words[u], words[8 + u], u % 4 == 0 ? half[u / 4] << 8 : half[u / 4]);
    const float scale = x.scales[at];
    if (kind < TN_PACKED_OF_FLOATS)
        return (float)(half[0] + half[1] - b.zero * x.sums[at]) * (b.scale[0] * scale);
    const int32_t late = x.late[at], early = x.sums[at] - late;
    return ((float)(half[0] - b.zero * early) * b.scale[0] + (float)(half[1] - b.zero * late) * b.scale[1] -
            ((float)early * b.less[0] + (float)late * b.less[1])) * scale;
}

/* BLOCKS: of a kind in blocks. T rows of x from `token` on. */
template <bool BLOCKS, int T> TN_DEVICE void sums_of(const weights &w, const char *panel, const tn_packed_x &x, int64_t token, float *sum)
{
    const int lane = threadIdx.x % ROWS, slices = blockDim.x / ROWS;
    for (int64_t item = threadIdx.x / ROWS; item < w.items; item += slices) {
        if constexpr (BLOCKS) {
            const block b = block_of(w, panel, lane, item);
            TN_UNROLL
            for (int i = 0; i < T; i++)
                sum[i] += times(w.kind, b, x, (token + i) * w.items + item);
        } else if (w.kind == TN_PACKED_BF16) {
            const uint32_t word = word_at(panel + item * 64 + lane * 4);
            TN_UNROLL
            for (int i = 0; i < T; i++) {
                const uint32_t pair = x.words[(token + i) * w.items + item];
                sum[i] += tn_bits_f32(word << 16) * tn_bits_f32(pair << 16);
                sum[i] += tn_bits_f32(word & 0xffff0000u) * tn_bits_f32(pair & 0xffff0000u);
            }
        } else {
            const float v = w.kind == TN_PACKED_F32 ? tn_bits_f32(word_at(panel + item * 64 + lane * 4)) : half_at(panel + item * 32 + lane * 2);
            TN_UNROLL
            for (int i = 0; i < T; i++)
                sum[i] += v * tn_bits_f32(x.words[(token + i) * w.items + item]);
        }
    }
}

/* A block for a panel and for T rows of x. */
template <bool BLOCKS, int T> TN_KERNEL product_kernel(weights w, int64_t n, int64_t first, const void *prepared, float *y, int64_t y_row, bool add)
{
    __shared__ float parts[TN_THREADS];
    const int64_t panels = tn_blocks(w.rows, ROWS), panel = blockIdx.x % panels, token = first + blockIdx.x / panels * T, row = panel * ROWS + threadIdx.x % ROWS;
    const tn_packed_x x = tn_packed_x_of(w.kind, n, w.items, prepared);
    float sum[T] = {};
    sums_of<BLOCKS, T>(w, w.data + panel * w.panel_bytes, x, token, sum);
    TN_UNROLL
    for (int i = 0; i < T; i++) {
        parts[threadIdx.x] = sum[i];
        __syncthreads();
        if (threadIdx.x < ROWS && row < w.rows) {
            float all = 0;
            for (int k = threadIdx.x; k < (int)blockDim.x; k += ROWS)
                all += parts[k];
            float *out = y + (token + i) * y_row + row;
            *out = ((add ? *out : 0) + (w.bias ? w.bias[row] : 0)) + all;
        }
        __syncthreads();
    }
}

template <bool BLOCKS> static void launch(const weights &w, int64_t n, const void *prepared, float *y, int64_t y_row, bool add)
{
    const int64_t panels = tn_blocks(w.rows, ROWS), many = n / TOKENS;
    const int threads = tn_threads(w.items * ROWS);
    if (many > 0)
        TN_LAUNCH((product_kernel<BLOCKS, TOKENS>), panels * many, threads, w, n, (int64_t)0, prepared, y, y_row, add);
    if (n > many * TOKENS)
        TN_LAUNCH((product_kernel<BLOCKS, 1>), panels * (n - many * TOKENS), threads, w, n, many * TOKENS, prepared, y, y_row, add);
}

tn_status tn_cuda_packed_product(const tn_packed_matrix *matrix, int64_t n, const void *prepared, float *y, int64_t y_row, bool add, int thread, int)
{
    const weights w = weights_of(matrix);
    if (thread == 0 && n > 0 && w.rows > 0)
        (tn_packed_in_blocks(w.kind) ? launch<true> : launch<false>)(w, n, prepared, y, y_row, add);
    return tn_cuda_status("packed_product");
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

/* A thread for an item of a row. */
TN_KERNEL unpack_kernel(weights w, int64_t n, const int64_t *rows, float *out)
{
    const int64_t e = tn_this_thread(), i = e / w.items, item = e % w.items, each = w.items == w.cols ? 1 : w.kind == TN_PACKED_BF16 ? 2 : BLOCK;
    if (i >= n)
        return;
    const int64_t row = rows[i];
    const int lane = (int)(row % ROWS);
    const char *panel = w.data + row / ROWS * w.panel_bytes;
    block b;
    out += i * w.cols;
    if (w.kind != TN_PACKED_F32 && w.kind != TN_PACKED_F16 && w.kind != TN_PACKED_BF16)
        b = block_of(w, panel, lane, item);
    for (int64_t k = 0; k < each && item * each + k < w.cols; k++) {
        float v;
        if (w.kind == TN_PACKED_F32)
            v = tn_bits_f32(word_at(panel + item * 64 + lane * 4));
        else if (w.kind == TN_PACKED_F16)
            v = half_at(panel + item * 32 + lane * 2);
        else if (w.kind == TN_PACKED_BF16)
            v = tn_load_bf16(((const tn_bf16 *)(panel + item * 64 + lane * 4))[k]);
        else
            v = __fadd_rn(__fmul_rn(b.scale[k / 16], (float)((int8_t)(b.words[k / 4] >> k % 4 * 8) - b.zero)), -b.less[k / 16]);
        out[item * each + k] = v;
    }
}

/* rows are in the device's memory. */
tn_status tn_cuda_packed_unpack(const tn_packed_matrix *matrix, int64_t n, const int64_t *rows, float *out)
{
    const weights w = weights_of(matrix);
    if (n * w.items > 0)
        TN_LAUNCH_EACH(unpack_kernel, n * w.items, w, n, rows, out);
    return tn_cuda_status("packed_unpack");
}
