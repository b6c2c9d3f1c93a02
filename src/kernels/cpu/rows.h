/* Elementwise kernels walk a loop row by row, and within a row see operands as they like them: contiguous, of a type that is computed in. */
#ifndef TN_CPU_ROWS_H
#define TN_CPU_ROWS_H

#include "kernels/cpu/cpu.h"

/* The types that are computed in; every dtype has one (16-bit floats f32, small integers and bool i32). */
typedef enum tn_kind { TN_KIND_F32, TN_KIND_F64, TN_KIND_I32, TN_KIND_I64, TN_KIND_COUNT } tn_kind;
tn_kind TN_K(kind_of)(tn_dtype dtype);

/* One row: n elements of each operand (data[0] is the result), strides in bytes. */
typedef void (*tn_row_fn)(char *const *data, const int64_t *strides, int64_t n, const void *context);
/* Calls `row` over the whole loop, on several threads in pieces of about `grain` elements. sizes: an operand's bytes per element. */
void TN_K(rows)(const tn_loop *loop, const size_t *sizes, int64_t grain, tn_row_fn row, const void *context);

/* Elements of a size, whatever they are. */
typedef uint8_t __attribute__((may_alias)) tn_bits8;
typedef uint16_t __attribute__((may_alias)) tn_bits16;
typedef uint32_t __attribute__((may_alias)) tn_bits32;
typedef uint64_t __attribute__((may_alias)) tn_bits64;

/* How many elements go through a buffer at once. */
enum { TN_CHUNK = 512 };
typedef struct tn_buffer {
    _Alignas(64) char data[TN_CHUNK * 8];
} tn_buffer;

/* n <= TN_CHUNK elements of dtype at src as its kind, contiguous: in the buffer (of as many), or src itself where it already is so. */
const void *TN_K(load)(tn_dtype dtype, const char *src, int64_t stride, int64_t n, void *buffer);
/* The way back: n contiguous elements of dtype's kind into dst. */
void TN_K(store)(tn_dtype dtype, char *dst, int64_t stride, int64_t n, const void *value);
/* Copies operand 1 to operand 0 where the one is dense along one dimension and the other along another; else returns false. */
bool TN_K(transpose)(size_t element, const tn_loop *loop);
/* Copies n elements of 1, 2, 4 or 8 bytes between strides in bytes. */
void TN_K(copy_row)(size_t element, char *dst, int64_t dst_stride, const char *src, int64_t src_stride, int64_t n);

#endif
