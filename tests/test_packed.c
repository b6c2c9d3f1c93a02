/* Packed weights on every instruction set that this machine has: each kind's products against the arithmetic that kernels/packed.h names,
 * written out here; blocks as GGUF has them without loss; F32 in 28 bits is F32 bit for bit; shares of any number of threads give the same bits.  labels: quick */
#include "check.h"

#include "core/core.h"
#include "kernels/blocks.h"
#include "kernels/cpu/cpu.h"
#include "kernels/kernels.h"

extern const tn_kernels tn_portable_kernels;
#ifdef TENON_HAVE_AVX2
extern const tn_kernels tn_avx2_kernels;
#endif
#ifdef TENON_HAVE_AVX512
extern const tn_kernels tn_avx512_kernels;
#endif

static const tn_kernels *tables[3];
static int table_count;

static void find_tables(void)
{
    tables[table_count++] = &tn_portable_kernels;
#ifdef TENON_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        tables[table_count++] = &tn_avx2_kernels;
#endif
#ifdef TENON_HAVE_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        tables[table_count++] = &tn_avx512_kernels;
#endif
}

/* ---- the arithmetic, once more --------------------------------------------------------------------------------------------- */

static float number(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)state * 0x1p-31f;
}

static float bf16_value(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, 4);
    return x;
}

enum { COLS_MOST = 2100 };

/* W's row as its kind keeps it; `blocks` gets what GGUF would hold. */
static void rounded(tn_packed_kind kind, int64_t cols, const float *row, float *out, uint8_t *blocks)
{
    for (int64_t k = 0; k < cols; k++)
        out[k] = kind == TN_PACKED_BF16 ? bf16_value(row[k]) : kind == TN_PACKED_F16 ? tn_load_f16(tn_store_f16(row[k])) : row[k];
    if (!tn_packed_in_blocks(kind))
        return;
    for (int64_t b = 0; b * 32 < cols; b++) {
        float x[32] = {0};
        for (int64_t k = 0; k < 32 && b * 32 + k < cols; k++)
            x[k] = row[b * 32 + k];
        const tn_quant_format *format = tn_quant_format_of(kind == TN_PACKED_Q4 ? TN_QUANT_Q4_0 : TN_QUANT_Q8_0);
        format->quantize(x, 1, blocks);
        format->dequantize(blocks, 1, x);
        blocks += format->bytes;
        for (int64_t k = 0; k < 32 && b * 32 + k < cols; k++)
            out[b * 32 + k] = x[k];
    }
}

/* The largest whole number of a block of x. */
static float top_of(tn_packed_kind kind) { return kind == TN_PACKED_Q8_FINE ? 32512 : 127; }

/* x's row as the kind takes it. */
static void rounded_input(tn_packed_kind kind, int64_t cols, const float *row, double *out)
{
    for (int64_t k = 0; k < cols; k++)
        out[k] = (double)(kind == TN_PACKED_BF16 ? bf16_value(row[k]) : row[k]);
    const float top = top_of(kind);
    for (int64_t b = 0; b * 32 < cols && tn_packed_in_blocks(kind); b++) {
        const int64_t end = b * 32 + 32 < cols ? b * 32 + 32 : cols;
        float most = 0;
        for (int64_t k = b * 32; k < end; k++)
            most = fabsf(row[k]) > most ? fabsf(row[k]) : most;
        for (int64_t k = b * 32; k < end; k++)
            out[k] = most > 0 ? (double)(most / top) * (double)rintf(row[k] * (top / most)) : 0;
    }
}

/* No element of x lies where a rounding before rintf() decides: one instruction set multiplies and adds in one step, another in two. */
static void avoid_ties(tn_packed_kind kind, float *row, int64_t cols)
{
    for (int64_t b = 0; b * 32 < cols; b++) {
        const int64_t end = b * 32 + 32 < cols ? b * 32 + 32 : cols;
        float most = 0;
        for (int64_t k = b * 32; k < end; k++)
            most = fabsf(row[k]) > most ? fabsf(row[k]) : most;
        for (int64_t k = b * 32; k < end && most > 0; k++) {
            const float place = row[k] * (top_of(kind) / most);
            if (fabsf(place - floorf(place) - 0.5f) < top_of(kind) * 8e-6f)
                row[k] = 0;
        }
    }
}

/* ---- products ---------------------------------------------------------------------------------------------------------------- */

static float *floats_new(int64_t n)
{
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = number();
    return x;
}

static const char *const kind_names[] = {"f32", "bf16", "q8", "q4", "q8_fine", "f16",
#define NAME(name, ...) #name,
                                        TN_LEVELS_LIST(NAME)};

/* All of y in `threads` shares; rows of y are y_row apart. */
static void multiply(const tn_kernels *table, const tn_packed_matrix *w, int64_t n, const float *x, int64_t x_row, float *y, int64_t y_row, bool add,
                     int threads)
{
    const size_t bytes = tn_packed_input_bytes(w->kind, n, w->cols);
    void *prepared = aligned_alloc(64, bytes ? bytes : 64); /* no more, for sanitizers to see what is written beyond */
    memset(prepared, 0x7f, bytes);
    for (int t = 0; t < threads; t++)
        assert_int_equal(table->packed_input(w->kind, n, w->cols, x, x_row, prepared, t, threads), TN_OK);
    for (int t = threads - 1; t >= 0; t--)
        assert_int_equal(table->packed_product(w, n, prepared, y, y_row, add, t, threads), TN_OK);
    free(prepared);
}

/* A row of W whose blocks have their highest levels in all but a few places, and one of x as large everywhere: the largest sums there are. */
static void largest_levels(float *row, float *x, int64_t cols)
{
    for (int64_t k = 0; k < cols; k++)
        row[k] = (k % 16 ? 7 : -8) * 0x1p-11f, x[k] = 1;
}

static void check_product(const tn_kernels *table, tn_packed_kind kind, int64_t rows, int64_t cols, int64_t n)
{
    static uint8_t blocks[COLS_MOST / 32 * 34 + 34];
    static float unpacked[COLS_MOST];
    float *weights = floats_new(rows * cols), *kept = floats_new(rows * cols), *bias = floats_new(rows), *x = floats_new(n * (cols + 3));
    const int64_t y_row = rows + 5;
    float *y = floats_new(n * y_row), *again = floats_new(n * y_row), *start = floats_new(n * y_row);
    const size_t bytes = tn_packed_bytes(kind, rows, cols);
    tn_packed_matrix w = {kind, rows, cols, aligned_alloc(64, bytes + 64), NULL, NULL};
    tn_packed_matrix of_blocks = {kind, rows, cols, aligned_alloc(64, bytes + 64), bias, NULL};
    memset(w.data, 0x7f, bytes);
    memset(of_blocks.data, 0x7e, bytes);
    for (int64_t r = 0; r < cols && rows > 0; r += 7) /* a block of zeros, and one whose largest is negative */
        weights[r] = r < 32 ? 0 : -2;
    largest_levels(weights + (rows - 1) * cols, x, cols);
    const int64_t half = rows / 2;
    assert_int_equal(table->packed_pack(&w, 0, half, weights, cols), TN_OK);
    assert_int_equal(table->packed_pack(&w, half, rows - half, weights + half * cols, cols), TN_OK);
    for (int64_t r = 0; r < rows; r++) {
        rounded(kind, cols, weights + r * cols, kept + r * cols, blocks);
        if (tn_packed_in_blocks(kind))
            assert_int_equal(table->packed_pack_blocks(&of_blocks, r, 1, blocks), TN_OK);
        else
            assert_int_equal(table->packed_pack(&of_blocks, r, 1, kept + r * cols, cols), TN_OK);
        assert_int_equal(table->packed_unpack(&w, 1, &r, unpacked), TN_OK);
        for (int64_t k = 0; k < cols; k++)
            if (unpacked[k] != kept[r * cols + k])
                fail_msg("%s %s: row %lld, element %lld: %.9g where %.9g was due", table->name, kind_names[kind], (long long)r, (long long)k,
                         (double)unpacked[k], (double)kept[r * cols + k]);
    }

    for (int64_t i = 0; i < n; i++)
        avoid_ties(kind, x + i * (cols + 3), cols);
    multiply(table, &w, n, x, cols + 3, y, y_row, false, 1);
    double *element = malloc((size_t)(cols + 1) * sizeof *element);
    for (int64_t i = 0; i < n; i++) {
        rounded_input(kind, cols, x + i * (cols + 3), element);
        for (int64_t r = 0; r < rows; r++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < cols; k++) {
                const double term = element[k] * (double)kept[r * cols + k];
                sum += term, size += fabs(term);
            }
            if (!(fabs((double)y[i * y_row + r] - sum) <= 1e-6 * size + 1e-30))
                fail_msg("%s %s: [%lld, %lld] by %lld rows: y[%lld, %lld] is %.9g, %.9g was due", table->name, kind_names[kind], (long long)rows,
                         (long long)cols, (long long)n, (long long)i, (long long)r, (double)y[i * y_row + r], sum);
        }
    }
    free(element);

    memcpy(again, y, (size_t)(n * y_row) * sizeof(float)); /* what lies between the rows must stay */
    for (int threads = 2; threads <= (test_emulated() ? 3 : 5); threads++) {
        for (int64_t i = 0; i < n; i++)
            memset(again + i * y_row, 0x7f, (size_t)rows * sizeof(float));
        multiply(table, &of_blocks, n, x, cols + 3, again, y_row, false, threads);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t r = 0; r < rows; r++)
                assert_true(fabsf(again[i * y_row + r] - (y[i * y_row + r] + bias[r])) <= 1e-5f * (1 + fabsf(y[i * y_row + r])));
            assert_memory_equal(again + i * y_row + rows, y + i * y_row + rows, (size_t)(y_row - rows) * sizeof(float));
        }
        of_blocks.bias = NULL;
        multiply(table, &of_blocks, n, x, cols + 3, again, y_row, false, threads);
        assert_memory_equal(again, y, (size_t)(n * y_row) * sizeof(float));
        of_blocks.bias = bias;
    }

    memcpy(again, start, (size_t)(n * y_row) * sizeof(float));
    multiply(table, &w, n, x, cols + 3, again, y_row, true, 2);
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < rows; r++)
            assert_true(fabsf(again[i * y_row + r] - (start[i * y_row + r] + y[i * y_row + r])) <= 1e-5f * (1 + fabsf(y[i * y_row + r])));

    for (int64_t i = 0; i < n; i++) { /* a row of y does not depend on n */
        multiply(table, &w, 1, x + i * (cols + 3), cols, again, y_row, false, 1);
        assert_memory_equal(again, y + i * y_row, (size_t)rows * sizeof(float));
    }
    free(weights), free(kept), free(bias), free(x), free(y), free(again), free(start), free(w.data), free(of_blocks.data);
}

static void test_products(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},   {16, 32},  {15, 33},   {17, 31},  {64, 172},  {172, 64},
                                        {288, 288}, {100, 768}, {33, 2048}, {5, 2080}, {130, 97}};
    static const int64_t ns[] = {1, 2, 3, 5, 8, 17, 256};
    for (int t = 0; t < table_count; t++)
        for (int kind = 0; kind < TN_PACKED_OF_FLOATS; kind++)
            for (int s = 0; s < (int)(sizeof shapes / sizeof *shapes); s++)
                for (int i = 0; i < (int)(sizeof ns / sizeof *ns); i++)
                    if (ns[i] < 256 || s == 4 || (s == 9 && !test_quickly()))
                        check_product(tables[t], (tn_packed_kind)kind, shapes[s][0], shapes[s][1], ns[i]);
}

/* A sum that is -0, or 0 where products are rounded first, is it for any number of rows of x, in whole panels and in others. */
static void test_signs_of_zeros(void **state)
{
    (void)state;
    enum { ROWS = 39, N = 13 };
    float rows[ROWS], x[N], y[N * ROWS];
    for (int t = 0; t < table_count; t++) {
        tn_packed_matrix w = {TN_PACKED_F32, ROWS, 1, aligned_alloc(64, tn_packed_bytes(TN_PACKED_F32, ROWS, 1)), NULL, NULL};
        for (int r = 0; r < ROWS; r++)
            rows[r] = -1e-30f;
        for (int i = 0; i < N; i++)
            x[i] = 1e-30f;
        assert_int_equal(tables[t]->packed_pack(&w, 0, ROWS, rows, 1), TN_OK);
        multiply(tables[t], &w, N, x, 1, y, ROWS, false, 1);
        const float zero = y[0];
        for (int64_t n = 1; n <= N; n += 6) {
            multiply(tables[t], &w, n, x, 1, y, ROWS, false, 1);
            for (int64_t i = 0; i < n * ROWS; i++)
                assert_true(y[i] == 0 && signbit(y[i]) == signbit(zero));
        }
        free(w.data);
    }
}

/* Every byte that Q8_0 and Q4_0 can hold, with scales of either sign, denormal and 0: products are whole numbers times scales. */
static void test_extreme_blocks(void **state)
{
    (void)state;
    static const uint16_t scales[] = {0x3c00, 0xbc00, 0x0001, 0x0000, 0x7bff};
    static const float values[] = {1, -1, 0x1p-24f, 0, 65504};
    enum { ROWS = 5, COLS = 256 };
    for (int t = 0; t < table_count; t++)
        for (tn_packed_kind kind = TN_PACKED_Q8; kind <= TN_PACKED_Q8_FINE; kind++) {
            const bool q8 = kind != TN_PACKED_Q4;
            uint8_t blocks[ROWS * COLS / 32 * 34], *at = blocks;
            float x[COLS], y[ROWS], row[COLS];
            double due[ROWS] = {0};
            for (int k = 0; k < COLS; k++)
                x[k] = (float)(k % 32 == 0 ? 127 : (k * 37) % 255 - 127);
            for (int r = 0; r < ROWS; r++)
                for (int b = 0; b < COLS / 32; b++) {
                    memcpy(at, &scales[r], 2);
                    at += 2;
                    for (int k = 0; k < (q8 ? 32 : 16); k++) {
                        const int byte = *at++ = (uint8_t)(r + b * 32 + k * (q8 ? 1 : 17));
                        if (q8)
                            due[r] += (double)x[b * 32 + k] * (int8_t)byte;
                        else
                            due[r] += (double)x[b * 32 + k] * ((byte & 15) - 8) + (double)x[b * 32 + 16 + k] * ((byte >> 4) - 8);
                    }
                }
            tn_packed_matrix w = {kind, ROWS, COLS, aligned_alloc(64, tn_packed_bytes(kind, ROWS, COLS)), NULL, NULL};
            assert_int_equal(tables[t]->packed_pack_blocks(&w, 0, ROWS, blocks), TN_OK);
            multiply(tables[t], &w, 1, x, COLS, y, ROWS, false, 1);
            for (int r = 0; r < ROWS; r++) {
                const double exact = due[r] * (double)values[r];
                if (fabs((double)y[r] - exact) > (values[r] > 1 ? 1e-6 * fabs(exact) : 0))
                    fail_msg("%s %s: row %d is %.9g, %.9g was due", tables[t]->name, kind_names[kind], r, (double)y[r], exact);
                assert_int_equal(tables[t]->packed_unpack(&w, 1, (int64_t[]){r}, row), TN_OK);
                const int8_t first = (int8_t)blocks[r * COLS / 32 * (q8 ? 34 : 18) + 2];
                assert_true(row[0] == values[r] * (float)(q8 ? first : (first & 15) - 8));
            }
            free(w.data);
        }
}

/* A block of any bytes, but for those of which elements are very large or no numbers. */
static void any_block(const tn_quant_format *format, uint8_t *block)
{
    float y[256], most;
    do {
        for (size_t k = 0; k < format->bytes; k++)
            block[k] = (uint8_t)((number() + 1) * 127.5f);
        format->dequantize(block, 1, y);
        most = 0;
        for (int64_t k = 0; k < format->block; k++)
            most = fabsf(y[k]) <= most ? most : fabsf(y[k]);
    } while (!(most < 256));
}

/* Blocks of levels: unpacked they are what the file's are, to the bit, and products are of that. */
static void check_levels(const tn_kernels *table, tn_packed_kind kind, tn_quant type, tn_levels_read *read, int64_t rows, int64_t cols)
{
    enum { N = 17 };
    const tn_quant_format *format = tn_quant_format_of(type);
    const tn_level_form f = tn_packed_form(kind);
    const int64_t of_row = cols / format->block;
    uint8_t *blocks = malloc((size_t)(rows * of_row) * format->bytes);
    float *kept = floats_new(rows * cols), *unpacked = floats_new(cols), *x = floats_new(N * cols), *y = floats_new(N * rows), *again = floats_new(N * rows);
    float *bounds = floats_new(rows * cols); /* of what sums to an element */
    float largest[256];
    largest_levels(largest, x, 256);
    largest_levels(unpacked, x, cols);
    for (int64_t i = 0; i < rows * of_row; i++) {
        tn_levels l;
        uint8_t *block = blocks + (size_t)i * format->bytes;
        any_block(format, block);
        if (i < of_row && format->quantize)
            format->quantize(largest, 1, block);
        format->dequantize(block, 1, kept + i * format->block);
        read(block, &l);
        for (int64_t k = 0; k < format->block; k++)
            bounds[i * format->block + k] = fabsf(kept[i * format->block + k]) + (f.min ? 2 * fabsf(l.dmin * l.min[k / f.group]) : 0);
    }
    const size_t bytes = tn_packed_bytes(kind, rows, cols);
    tn_packed_matrix w = {kind, rows, cols, aligned_alloc(64, bytes), NULL, NULL};
    memset(w.data, 0x7f, bytes);
    assert_int_equal(table->packed_pack_blocks(&w, 0, 1, blocks), TN_OK);
    assert_int_equal(table->packed_pack_blocks(&w, 1, rows - 1, blocks + (size_t)of_row * format->bytes), TN_OK);
    for (int64_t r = 0; r < rows; r++) {
        assert_int_equal(table->packed_unpack(&w, 1, &r, unpacked), TN_OK);
        assert_memory_equal(unpacked, kept + r * cols, (size_t)cols * sizeof(float));
    }
    double element[COLS_MOST];
    for (int64_t i = 0; i < N; i++)
        avoid_ties(kind, x + i * cols, cols);
    multiply(table, &w, N, x, cols, y, rows, false, 1);
    for (int64_t i = 0; i < N; i++) {
        rounded_input(kind, cols, x + i * cols, element);
        for (int64_t r = 0; r < rows; r++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < cols; k++)
                sum += element[k] * (double)kept[r * cols + k], size += fabs(element[k]) * (double)bounds[r * cols + k];
            if (!(fabs((double)y[i * rows + r] - sum) <= 1e-6 * size + 1e-30)) /* MXFP4's scale may be 2^-128 */
                fail_msg("%s %s: [%lld, %lld]: y[%lld, %lld] is %.9g, %.9g was due", table->name, kind_names[kind], (long long)rows,
                         (long long)cols, (long long)i, (long long)r, (double)y[i * rows + r], sum);
        }
        multiply(table, &w, 1, x + i * cols, cols, again + i * rows, rows, false, 1 + (int)i % 4);
    }
    assert_memory_equal(again, y, (size_t)(N * rows) * sizeof(float)); /* a row of y depends neither on n nor on threads */
    multiply(table, &w, N, x, cols, again, rows, false, 3);
    assert_memory_equal(again, y, (size_t)(N * rows) * sizeof(float));
    free(blocks), free(kept), free(unpacked), free(x), free(y), free(again), free(bounds), free(w.data);
}

static void test_levels(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++) {
#define CHECK(name, ...)                                                                                                      \
    check_levels(tables[t], TN_PACKED_##name, TN_QUANT_##name, tn_levels_##name, 37, tn_packed_form(TN_PACKED_##name).block);  \
    check_levels(tables[t], TN_PACKED_##name, TN_QUANT_##name, tn_levels_##name, 130, 1280);
        TN_LEVELS_LIST(CHECK)
    }
}

/* What is no number in a row of x is none in its row of y, and nowhere else. */
static void test_not_finite(void **state)
{
    (void)state;
    enum { ROWS = 20, COLS = 70, N = 3 };
    for (int t = 0; t < table_count; t++)
        for (int kind = 0; kind < TN_PACKED_OF_FLOATS; kind++)
            for (int bad = 0; bad < 2; bad++) {
                float *weights = floats_new(ROWS * COLS), *x = floats_new(N * COLS), y[N * ROWS];
                x[COLS + 40] = bad ? NAN : INFINITY;
                tn_packed_matrix w = {(tn_packed_kind)kind, ROWS, COLS, aligned_alloc(64, tn_packed_bytes((tn_packed_kind)kind, ROWS, COLS)), NULL, NULL};
                assert_int_equal(tables[t]->packed_pack(&w, 0, ROWS, weights, COLS), TN_OK);
                multiply(tables[t], &w, N, x, COLS, y, ROWS, false, 1);
                for (int i = 0; i < N * ROWS; i++)
                    assert_int_equal(isfinite(y[i]), i / ROWS != 1);
                free(weights), free(x), free(w.data);
            }
}

/* ---- F32 in 28 bits --------------------------------------------------------------------------------------------------------- */

static bool has_f28(const tn_kernels *table)
{
#ifdef TENON_HAVE_AVX512
    return table == &tn_avx512_kernels && __builtin_cpu_supports("avx512vbmi");
#else
    (void)table;
    return false;
#endif
}

static uint32_t any_bits(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}

/* Whether it went into 28 bits, as `fits` says; floats are what they were, bit for bit, and what it has of memory is little more than they. */
static void check_round_trip(const tn_kernels *table, const char *what, int64_t rows, int64_t cols, const uint32_t *bits, bool fits)
{
    const size_t bytes = tn_packed_bytes(TN_PACKED_F32, rows, cols), beside = tn_packed_aside_bytes(rows, cols);
    tn_packed_matrix w = {TN_PACKED_F32, rows, cols, aligned_alloc(64, bytes), NULL, NULL};
    void *aside = aligned_alloc(64, beside);
    float *row = malloc((size_t)cols * sizeof *row);
    assert_true((double)(bytes + beside) <= 1.1 * (double)((rows + 15) / 16 * 16 * cols * 4));
    assert_int_equal(table->packed_pack(&w, 0, rows, (const float *)(const void *)bits, cols), TN_OK);
    assert_int_equal(table->packed_f28(&w, aside), TN_OK);
    if ((w.aside != NULL) != (fits && has_f28(table)))
        fail_msg("%s: %s went %sinto 28 bits", table->name, what, w.aside ? "" : "not ");
    for (int64_t r = 0; r < rows; r++) {
        assert_int_equal(table->packed_unpack(&w, 1, &r, row), TN_OK);
        if (memcmp(row, bits + r * cols, (size_t)cols * 4))
            fail_msg("%s: %s: row %lld is another", table->name, what, (long long)r);
    }
    free(w.data), free(aside), free(row);
}

static void weights_of(int64_t count, uint32_t *bits)
{
    for (int64_t i = 0; i < count; i++) {
        const float x = (number() + number() + number()) * 0.02f;
        memcpy(&bits[i], &x, 4);
    }
}

static void test_f28_bits(void **state)
{
    (void)state;
    enum { ROWS = 37, COLS = 72, OF_PANEL = 16 * COLS };
    static const uint32_t zeros[] = {0, 0x80000000u, 1, 0x807fffffu};
    const int64_t room = (tn_packed_aside_panel_bytes(COLS) - 16) / 8 - 1; /* exceptions of a panel: a table is before them, an end behind */
    static uint32_t bits[48 * COLS];
    for (int t = 0; t < table_count; t++) {
        weights_of(ROWS * COLS, bits);
        check_round_trip(tables[t], "weights", ROWS, COLS, bits, true);
        for (int i = 0; i < 40; i++)
            bits[i * i * 7 % (20 * COLS)] = zeros[i % 4];
        check_round_trip(tables[t], "zeros and denormals among weights", ROWS, COLS, bits, true);
        for (int i = 0; i < ROWS * COLS; i++)
            bits[i] = any_bits() & 0x807fffffu;
        check_round_trip(tables[t], "denormals", ROWS, COLS, bits, true);
        memset(bits, 0, sizeof bits);
        check_round_trip(tables[t], "zeros", ROWS, COLS, bits, true);
        for (int i = 0; i < ROWS * COLS; i++)
            bits[i] = (any_bits() & 0x80ffffffu) | (uint32_t)(121 + i % 7) << 24; /* the eighth place is that of the zeros behind the last row */
        check_round_trip(tables[t], "the largest, infinities and NaN", ROWS, COLS, bits, true);
        for (int i = 0; i < ROWS * COLS; i++)
            bits[i] = any_bits();
        check_round_trip(tables[t], "any bits", ROWS, COLS, bits, false);
        for (int i = 0; i < ROWS * COLS; i++)
            bits[i] = (uint32_t)i << 23 | (any_bits() & 0x7fffff);
        check_round_trip(tables[t], "all exponents", ROWS, COLS, bits, false);
        for (int more = 0; more < 2; more++) { /* as many as there is room for, and one */
            for (int i = 0; i < 2 * OF_PANEL; i++)
                bits[i] = 0x3c000001u + (any_bits() & 0x80ffffffu);
            for (int64_t i = 0; i < room + more; i++)
                bits[OF_PANEL + i * 37] = 0x30123456u + (uint32_t)i;
            check_round_trip(tables[t], more ? "one exception more" : "as many exceptions as may be", 32, COLS, bits, !more);
        }
        bits[5] = 0x7f800000u;
        check_round_trip(tables[t], "an infinity", 32, COLS, bits, false);
        check_round_trip(tables[t], "cols no multiple of 8", 32, COLS - 4, bits, false);
    }
}

/* y of W in 28 bits and of its later rows alone, by plain floats. */
static void check_f28_product(const tn_kernels *table, int64_t rows, int64_t cols, int64_t n)
{
    const size_t bytes = tn_packed_bytes(TN_PACKED_F32, rows, cols), of_y = (size_t)(n * rows) * sizeof(float);
    float *bias = floats_new(rows), *x = floats_new(n * cols), *y = floats_new(n * rows), *again = floats_new(n * rows), *start = floats_new(n * rows);
    uint32_t *bits = malloc((size_t)(rows * cols) * 4);
    void *aside = aligned_alloc(64, tn_packed_aside_bytes(rows, cols));
    tn_packed_matrix plain = {TN_PACKED_F32, rows, cols, aligned_alloc(64, bytes), bias, NULL}, w = {TN_PACKED_F32, rows, cols, aligned_alloc(64, bytes), bias, NULL};
    weights_of(rows * cols, bits);
    for (int64_t p = 0; p < rows; p += 16) /* exceptions at the ends of a panel, two of a group, where a chunk of the sums ends, and anywhere */
        for (int64_t i = 0; i < 5; i++) {
            const int64_t k[] = {0, cols - 1, 1, 511 % cols, any_bits() % cols}, r[] = {0, 15, 3, 7, any_bits() % 16};
            if (cols >= 32 && p + r[i] < rows)
                bits[(p + r[i]) * cols + k[i]] = 0x2f000000u + (uint32_t)i;
        }
    assert_int_equal(table->packed_pack(&plain, 0, rows, (const float *)(const void *)bits, cols), TN_OK);
    assert_int_equal(table->packed_pack(&w, 0, rows, (const float *)(const void *)bits, cols), TN_OK);
    assert_int_equal(table->packed_f28(&w, aside), TN_OK);
    assert_non_null(w.aside);
    for (int add = 0; add < 2; add++)
        for (int threads = 1; threads <= 3; threads++) {
            memcpy(y, start, of_y);
            memcpy(again, start, of_y);
            multiply(table, &plain, n, x, cols, y, rows, add, 1);
            multiply(table, &w, n, x, cols, again, rows, add, threads);
            if (memcmp(y, again, of_y))
                fail_msg("[%lld, %lld] by %lld rows on %d threads: y is not what plain floats give", (long long)rows, (long long)cols, (long long)n, threads);
        }
    if (rows > 16) {
        const tn_packed_matrix part = tn_packed_rows(&w, 16, rows - 16), of_plain = tn_packed_rows(&plain, 16, rows - 16);
        multiply(table, &part, n, x, cols, again, rows, false, 1);
        multiply(table, &of_plain, n, x, cols, y, rows, false, 1);
        assert_memory_equal(y, again, of_y);
    }
    free(bias), free(x), free(y), free(again), free(start), free(bits), free(aside), free(plain.data), free(w.data);
}

static void test_f28_products(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 8}, {16, 32}, {37, 768}, {100, 776}, {33, 2048}, {5, 2080}, {50, 4120}};
    static const int64_t ns[] = {1, 2, 3, 5, 8, 17, 256};
    for (int t = 0; t < table_count; t++)
        for (int s = 0; s < TN_COUNT(shapes) && has_f28(tables[t]); s++)
            for (int i = 0; i < TN_COUNT(ns); i++)
                if (ns[i] < 256 || s == 2)
                    check_f28_product(tables[t], shapes[s][0], shapes[s][1], ns[i]);
}

static void test_shares(void **state)
{
    (void)state;
    for (int64_t rows = 0; rows < 200; rows += 7)
        for (int threads = 1; threads < 9; threads++) {
            int64_t at = 0;
            for (int t = 0; t < threads; t++) {
                int64_t begin, end;
                tn_packed_share(rows, t, threads, &begin, &end);
                assert_int_equal(begin, at);
                assert_true(begin == rows || begin % TN_PACKED_ROWS == 0);
                at = end;
            }
            assert_int_equal(at, rows);
        }
    /* At most 1.1 times what the file holds. */
    assert_true((double)tn_packed_bytes(TN_PACKED_Q8, 32000, 288) < 1.01 * 32000 * 9 * 34);
    assert_true((double)tn_packed_bytes(TN_PACKED_Q4, 32000, 288) < 1.03 * 32000 * 9 * 18);
#define IN_BYTES(name, low, high, block, ...) \
    assert_true((double)tn_packed_bytes(TN_PACKED_##name, 32000, 768) < 1.06 * 32000 * 768 / block * (double)tn_quant_block_bytes(TN_QUANT_##name));
    TN_LEVELS_LIST(IN_BYTES)
}

int main(void)
{
    find_tables();
    const struct CMUnitTest tests[] = {TEST(test_products), TEST(test_signs_of_zeros), TEST(test_extreme_blocks), TEST(test_levels),
                                       TEST(test_not_finite), TEST(test_f28_bits), TEST(test_f28_products), TEST(test_shares)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
