/* Packed weights: a linear layer's W [rows, cols] laid out once for products y [n, rows] = x [n, cols] W', which decoding and prefill of
 * language models stand on. Raw pointers; internal. How it is used:
 *
 *   tn_packed_matrix w = {TN_PACKED_Q8, rows, cols, tn_alloc_pages(tn_packed_bytes(kind, rows, cols)), NULL, NULL};  (or a part of a larger block, aligned to 64)
 *   kernels->packed_pack(&w, 0, rows, floats, cols);                 once; any rows at a time, different rows from different threads
 *   kernels->packed_f28(&w, aside);                                  of many MB of F32, if one row of x at a time is what counts; or not
 *   kernels->packed_input(w.kind, n, cols, x, cols, prepared, 0, 1); once for all weights of a kind that take x: q, k and v; gate and up
 *   kernels->packed_product(&w, n, prepared, y, rows, false, 0, 1);       y[i * rows + r]
 *   kernels->packed_unpack(&w, n, tokens, out);                      rows as floats: a tied head is its own embedding
 *
 * Nothing here opens a parallel region, allocates or fails on good arguments: input, product and what decode.h has take (thread, threads)
 * and do that thread's share, so that a caller runs a whole token in one region (tn_parallel_team) with barriers where a step needs what
 * other threads wrote: between packed_input and packed_product when the input is shared (or each thread prepares n = 1 for itself, (0, 1)
 * into a buffer of its own, which is cheaper than a barrier), and after packed_product. Thread t of a product writes the rows that
 * tn_packed_share() gives: gate and up of equal shape have equal shares, so SwiGLU of one's own rows needs no barrier between.
 * The bits of y do not depend on threads, nor a row of y on n.
 *
 * The kinds' arithmetic, the same on every instruction set but for the order of sums:
 *   F32   x and W in f32. In 28 bits, without loss, W is read in 7/8 of the time; y's bits are the same.
 *   BF16  W and x rounded to bf16, sums in f32.
 *   Q8    blocks of 32 along cols, W = scale q with scale f16 and q int8: what GGUF's Q8_0 holds, bit for bit. x becomes such blocks too, its
 *         scale f32 and |q| <= 127; sums of 32 are whole numbers, those of blocks f32.
 *   Q4    the same with q = 0 ... 15 less 8: Q4_0.
 *   Q8_FINE  W as Q8; x in blocks of |q| <= 127 * 256, which takes twice the multiplications: for inputs of few large elements among small ones.
 *   F16   W in f16, x in f32.
 *   Q4_1 and the others of TN_LEVELS_LIST (kernels/levels.h): what GGUF's blocks are made of, bit for bit; x as for Q8. Of blocks only.
 * cols that is no multiple of 32 counts zeros up to one. Q8, Q8_FINE and Q4 of floats are rounded as kernels/blocks.h does for files.
 *
 * Layout, the same on every instruction set: panels of 16 rows, the last filled with zeros. A panel is a row of "units" of 16 x 4 bytes, for
 * each of its rows the next 1 (F32), 2 (BF16) or 4 (Q8) elements; Q8 and Q8_FINE have q + 128. Q4's unit has, in the low and high halves of 4 bytes, elements
 * 4u ... and 16 + 4u ... of the block. Behind the units of blocks are the scales, f16 [blocks, 16]; a panel's bytes are rounded up to 64. F16's unit is 16 x 2 bytes.
 * A block of levels holds all that is of it: for each 32 of a row's elements the planes of levels, low bits, then high ones: of b bits b units, unit u
 * having in bits b k ... of byte i element 4 (k b + u) + i; then int8 [groups, 16] of scales and of minima, if it has several groups (Q2_K: both in
 * one byte, the minimum above), and [16] of d and of dmin, f16, or for MXFP4 bf16. F32 in 28 bits is the CPU's own: kernels/cpu/packed_f28.h. */
#ifndef TN_KERNELS_PACKED_H
#define TN_KERNELS_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/levels.h"

#define TN_PACKED_ENUM_(name, ...) TN_PACKED_##name,
typedef enum tn_packed_kind {
    TN_PACKED_F32, TN_PACKED_BF16, TN_PACKED_Q8, TN_PACKED_Q4, TN_PACKED_Q8_FINE, TN_PACKED_F16,
    TN_LEVELS_LIST(TN_PACKED_ENUM_)
    TN_PACKED_KINDS,
    TN_PACKED_OF_FLOATS = TN_PACKED_F16 + 1 /* so many can be packed of floats; the others are those of levels */
} tn_packed_kind;
#undef TN_PACKED_ENUM_
enum { TN_PACKED_ROWS = 16, TN_PACKED_BLOCK = 32 };

typedef struct tn_packed_matrix {
    tn_packed_kind kind;
    int64_t rows, cols;
    void *data;        /* tn_packed_bytes(), aligned to 64 */
    const float *bias; /* [rows], added to each row of y; or NULL */
    const char *aside; /* of F32 in 28 bits: what packed_f28 wrote there; or NULL */
} tn_packed_matrix;

static inline int64_t tn_packed_blocks(int64_t cols) { return (cols + TN_PACKED_BLOCK - 1) / TN_PACKED_BLOCK; }

static inline bool tn_packed_in_blocks(tn_packed_kind kind) { return kind != TN_PACKED_F32 && kind != TN_PACKED_BF16 && kind != TN_PACKED_F16; }
/* The kind as which x is prepared: weights of kinds for which that is the same share it. */
static inline tn_packed_kind tn_packed_input_kind(tn_packed_kind kind)
{
    return kind == TN_PACKED_F16 ? TN_PACKED_F32 : kind == TN_PACKED_Q4 || kind >= TN_PACKED_OF_FLOATS ? TN_PACKED_Q8 : kind;
}

/* How a kind's levels are; of a kind from TN_PACKED_OF_FLOATS on. */
static inline tn_level_form tn_packed_form(tn_packed_kind kind)
{
#define TN_LEVEL_FORM_(name, ...) {__VA_ARGS__},
    static const tn_level_form forms[] = {TN_LEVELS_LIST(TN_LEVEL_FORM_)};
#undef TN_LEVEL_FORM_
    return forms[kind - TN_PACKED_OF_FLOATS];
}
/* Where the scales, minima and d of a block of 16 rows of levels begin, and all its bytes. */
static inline int64_t tn_levels_scales_at(tn_level_form f) { return f.block / TN_PACKED_BLOCK * (f.low + f.high) * 64; }
static inline bool tn_levels_have_nibbles(tn_level_form f) { return f.low == 2 && f.min; }
static inline int64_t tn_levels_minima_at(tn_level_form f)
{
    return tn_levels_scales_at(f) + (f.block > f.group && !tn_levels_have_nibbles(f) ? f.block / f.group * TN_PACKED_ROWS : 0);
}
static inline int64_t tn_levels_d_at(tn_level_form f)
{
    return tn_levels_minima_at(f) + (f.block > f.group && f.min ? f.block / f.group * TN_PACKED_ROWS : 0);
}
static inline int64_t tn_levels_bytes(tn_level_form f) { return tn_levels_d_at(f) + TN_PACKED_ROWS * (f.min ? 4 : 2); }

/* Bytes of one panel of 16 rows. */
static inline int64_t tn_packed_panel_bytes(tn_packed_kind kind, int64_t cols)
{
    const int64_t blocks = tn_packed_blocks(cols), of_q8 = blocks * (512 + 32), of_q4 = blocks * (256 + 32);
    const int64_t of_kind[] = {cols * 64, (cols + 1) / 2 * 64, of_q8, of_q4, of_q8, cols * 32};
    if (kind < TN_PACKED_OF_FLOATS)
        return (of_kind[kind] + 63) / 64 * 64;
    const tn_level_form f = tn_packed_form(kind);
    return ((cols + f.block - 1) / f.block * tn_levels_bytes(f) + 63) / 64 * 64;
}
static inline int64_t tn_packed_panels(int64_t rows) { return (rows + TN_PACKED_ROWS - 1) / TN_PACKED_ROWS; }
static inline size_t tn_packed_bytes(tn_packed_kind kind, int64_t rows, int64_t cols)
{
    return (size_t)(tn_packed_panels(rows) * tn_packed_panel_bytes(kind, cols));
}

/* Bytes aside of a panel of F32 in 28 bits, and of all: a table, and room for 1 exception in 64. */
static inline int64_t tn_packed_aside_panel_bytes(int64_t cols) { return (cols * 2 + 127) / 64 * 64; }
static inline size_t tn_packed_aside_bytes(int64_t rows, int64_t cols) { return (size_t)(tn_packed_panels(rows) * tn_packed_aside_panel_bytes(cols)); }

/* Bytes from a panel of W to the next. */
static inline int64_t tn_packed_stride(const tn_packed_matrix *w) { return w->aside ? w->cols * 56 : tn_packed_panel_bytes(w->kind, w->cols); }

/* `count` rows of W from `first` on, where a panel begins. */
static inline tn_packed_matrix tn_packed_rows(const tn_packed_matrix *w, int64_t first, int64_t count)
{
    const int64_t panel = first / TN_PACKED_ROWS;
    return (tn_packed_matrix){w->kind, count, w->cols, (char *)w->data + panel * tn_packed_stride(w), w->bias ? w->bias + first : NULL,
                              w->aside ? w->aside + panel * tn_packed_aside_panel_bytes(w->cols) : NULL};
}

/* Bytes of a prepared input, aligned to 64: room for elements of BF16 as floats, and for those of blocks in 16 bits and as bytes. */
static inline size_t tn_packed_input_bytes(tn_packed_kind kind, int64_t n, int64_t cols)
{
    const int64_t blocks = tn_packed_blocks(cols);
    const int64_t of_blocks = blocks * (64 + 32 + 12), of_kind[] = {cols * 4, (cols + 1) / 2 * 8, of_blocks, of_blocks, of_blocks};
    return (size_t)(n * of_kind[tn_packed_input_kind(kind)] + 63) / 64 * 64;
}

/* The rows of y that a thread's packed_product writes: whole panels. */
static inline void tn_packed_share(int64_t rows, int thread, int threads, int64_t *begin, int64_t *end)
{
    const int64_t parts = tn_packed_panels(rows);
    *begin = parts * thread / threads * TN_PACKED_ROWS;
    *end = parts * (thread + 1) / threads * TN_PACKED_ROWS;
    *begin = *begin < rows ? *begin : rows;
    *end = *end < rows ? *end : rows;
}

/* The slots, for TN_KERNEL_LIST.
 *   packed_pack: rows first ... first + count of W are rows[i * row + j].
 *   packed_pack_blocks: the same of GGUF's blocks, dense: Q8 and Q8_FINE take Q8_0 (34 bytes), Q4 takes Q4_0 (18), ceil(cols / 32) to a row; a kind of levels
 *     its own, cols being whole blocks.
 *   packed_f28: all of F32's W, packed, into 28 bits where it lies, with what is aside of it at `aside`, tn_packed_aside_bytes() aligned to 64, which
 *     must stay; w->aside says that it was done. Left as it was: another kind, cols no multiple of 8, a processor without AVX-512 VBMI, more exceptions
 *     than there is room for (infinities, NaN, a panel whose numbers are of many powers of 4).
 *   These three are the CPU's: a device takes what the first two made, byte for byte.
 *   packed_unpack: these rows of W, [n, cols].
 *   packed_input: x is x[i * x_row + j]; threads share the rows of x.
 *   packed_product: y[i * y_row + r] = product + bias, or += where add (a residual). */
#define TN_PACKED_KERNEL_LIST(X)                                                                                              \
    X(packed_pack, (const tn_packed_matrix *w, int64_t first, int64_t count, const float *rows, int64_t row), (w, first, count, rows, row)) \
    X(packed_pack_blocks, (const tn_packed_matrix *w, int64_t first, int64_t count, const void *blocks), (w, first, count, blocks))  \
    X(packed_f28, (tn_packed_matrix *w, void *aside), (w, aside))                                                             \
    X(packed_unpack, (const tn_packed_matrix *w, int64_t n, const int64_t *rows, float *out), (w, n, rows, out))                      \
    X(packed_input, (tn_packed_kind kind, int64_t n, int64_t cols, const float *x, int64_t x_row, void *prepared, int thread, int threads), \
      (kind, n, cols, x, x_row, prepared, thread, threads))                                                                   \
    X(packed_product, (const tn_packed_matrix *w, int64_t n, const void *prepared, float *y, int64_t y_row, bool add, int thread, int threads), \
      (w, n, prepared, y, y_row, add, thread, threads))

#endif
