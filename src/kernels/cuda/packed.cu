/* Products with packed weights (kernels/packed.h), whose panels of 16 rows suit a device as they are: a block has a panel, its threads the 16 rows
 * side by side and, above each other, parts of the row. Weights are packed by the CPU and copied.
 *
 * A prepared x, rows in turn: F32 [n, cols] floats; BF16 [n, (cols + 1) / 2] pairs; of kinds of blocks words of four bytes [n, blocks, 8] (Q8_FINE:
 * 16, the high bytes first), then [n, blocks] scales, sums of a block, and sums of its second half. */
#include "kernels/cuda/cuda.h"

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
    w.items = tn_packed_in_blocks(kind) ? tn_packed_blocks(w.cols) : kind == TN_PACKED_BF16 ? (w.cols + 1) / 2 : w.cols;
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

struct input {
    const uint32_t *words;
    const float *scales;
    const int32_t *sums, *late;
    int64_t per_item; /* words of one of `items` */
};
TN_HD static inline int64_t words_per_item(tn_packed_kind kind)
{
    return kind == TN_PACKED_F32 || kind == TN_PACKED_F16 || kind == TN_PACKED_BF16 ? 1 : kind == TN_PACKED_Q8_FINE ? 16 : 8;
}
TN_DEVICE input input_of(tn_packed_kind kind, int64_t n, int64_t items, const void *prepared)
{
    input x;
    x.per_item = words_per_item(kind);
    x.words = (const uint32_t *)prepared;
    x.scales = (const float *)(x.words + n * items * x.per_item);
    x.sums = (const int32_t *)(x.scales + n * items);
    x.late = x.sums + n * items;
    return x;
}

/* A thread for a word of floats or for a block. */
TN_KERNEL input_kernel(tn_packed_kind kind, int64_t n, int64_t cols, int64_t items, const float *x, int64_t x_row, void *prepared)
{
    const int64_t e = tn_this_thread(), row = e / items, item = e % items;
    if (row >= n)
        return;
    x += row * x_row;
    const input to = input_of(kind, n, items, prepared);
    uint32_t *words = (uint32_t *)to.words + e * to.per_item;
    if (kind == TN_PACKED_F32 || kind == TN_PACKED_F16) {
        words[0] = tn_f32_bits(x[item]);
        return;
    }
    if (kind == TN_PACKED_BF16) {
        const uint32_t low = tn_store_bf16(x[2 * item]).bits, high = 2 * item + 1 < cols ? tn_store_bf16(x[2 * item + 1]).bits : 0;
        words[0] = low | high << 16;
        return;
    }
    const bool fine = kind == TN_PACKED_Q8_FINE;
    const int64_t left = cols - item * BLOCK < BLOCK ? cols - item * BLOCK : BLOCK;
    uint32_t most = 0;
    for (int k = 0; k < left; k++) { /* magnitudes are in order as whole numbers are */
        const uint32_t size = tn_f32_bits(x[item * BLOCK + k]) & 0x7fffffffu;
        most = size > most ? size : most;
    }
    const float max = tn_bits_f32(most), top = fine ? 32512.0f : 127.0f, inverse = max > 0 ? top / max : 0;
    int32_t sum = 0, late = 0;
    for (int u = 0; u < 8; u++) {
        uint32_t word = 0, low = 0;
        for (int k = 0; k < 4; k++) {
            const float v = 4 * u + k < left ? x[item * BLOCK + 4 * u + k] : 0;
            const int32_t q = (int32_t)(tn_f32_bits(__fadd_rn(__fmul_rn(v, inverse), 12582912.0f)) - 0x4b400000u); /* 1.5 * 2^23: the nearest */
            sum += q;
            late += u >= 4 ? q : 0;
            word |= ((uint32_t)(fine ? (q + 128) >> 8 : q) & 255) << 8 * k;
            low |= ((uint32_t)q & 255) << 8 * k;
        }
        words[u] = word;
        if (fine)
            words[8 + u] = low;
    }
    ((float *)to.scales)[e] = max < INFINITY ? max / top : NAN;
    ((int32_t *)to.sums)[e] = sum;
    ((int32_t *)to.late)[e] = late;
}

tn_status tn_cuda_packed_input(tn_packed_kind kind, int64_t n, int64_t cols, const float *x, int64_t x_row, void *prepared, int thread, int)
{
    tn_packed_matrix w = {};
    w.kind = kind, w.cols = cols;
    const int64_t items = weights_of(&w).items;
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
TN_DEVICE float times(tn_packed_kind kind, const block &b, const input &x, int64_t at)
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
template <bool BLOCKS, int T> TN_DEVICE void sums_of(const weights &w, const char *panel, const input &x, int64_t token, float *sum)
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
    const input x = input_of(w.kind, n, w.items, prepared);
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

/* ---- a row ------------------------------------------------------------------------------------------------------------------ */

/* A thread for an item. */
TN_KERNEL unpack_kernel(weights w, int64_t row, float *out)
{
    const int64_t item = tn_this_thread(), each = w.items == w.cols ? 1 : w.kind == TN_PACKED_BF16 ? 2 : BLOCK;
    const int lane = (int)(row % ROWS);
    const char *panel = w.data + row / ROWS * w.panel_bytes;
    if (item >= w.items)
        return;
    block b;
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

tn_status tn_cuda_packed_unpack(const tn_packed_matrix *matrix, int64_t row, float *out)
{
    const weights w = weights_of(matrix);
    if (w.items > 0)
        TN_LAUNCH_EACH(unpack_kernel, w.items, w, row, out);
    return tn_cuda_status("packed_unpack");
}
