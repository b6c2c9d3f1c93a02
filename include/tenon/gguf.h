/* Tenon: GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3, little endian: named values and named
 * tensors of quantised blocks (quant.h), read over a mapping of the file and written.
 *
 *     tn_gguf *file = tn_map_gguf("model.gguf");
 *     int64_t layers = tn_gguf_int(file, "llama.block_count", 0);
 *     tn_tensor *weight = tn_gguf_tensor(file, "token_embd.weight", TN_F32); */
#ifndef TENON_GGUF_H
#define TENON_GGUF_H

#include <tenon/quant.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

typedef struct tn_gguf tn_gguf;
/* A GGUF file, mapped as by tn_map_safetensors(): pages of tensors are read when they are first used, and as long as it or a tensor over it
 * lives nobody may cut the file or write into it. Of a split model it is given the first file, name-00001-of-0000N.gguf, and maps all.
 * The header is checked against the file before anything is allocated for it. TN_ERR_FORMAT names what is wrong: counts, lengths, kinds,
 * shapes and offsets that the file cannot hold, a name that is there twice, text of a name that is not UTF-8, an alignment that is no power
 * of two. TN_ERR_UNSUPPORTED: another version, big endian, a tensor of a type that quant.h has not or of more than 8 dimensions. */
TN_API tn_gguf *tn_map_gguf(const char *path);

/* What a value is: X(name, its number in the file, bytes of one). */
#define TN_GGUF_KIND_LIST(X)                                                                                                  \
    X(U8, 0, 1)                                                                                                               \
    X(I8, 1, 1)                                                                                                               \
    X(U16, 2, 2)                                                                                                              \
    X(I16, 3, 2)                                                                                                              \
    X(U32, 4, 4)                                                                                                              \
    X(I32, 5, 4)                                                                                                              \
    X(F32, 6, 4)                                                                                                              \
    X(BOOL, 7, 1)                                                                                                             \
    X(STRING, 8, 0)                                                                                                           \
    X(ARRAY, 9, 0)                                                                                                            \
    X(U64, 10, 8)                                                                                                             \
    X(I64, 11, 8)                                                                                                             \
    X(F64, 12, 8)
typedef enum tn_gguf_kind {
#define TN_GGUF_KIND_ENUM_(name, number, bytes) TN_GGUF_##name = number,
    TN_GGUF_KIND_LIST(TN_GGUF_KIND_ENUM_)
#undef TN_GGUF_KIND_ENUM_
} tn_gguf_kind;
TN_API const char *tn_gguf_kind_name(tn_gguf_kind kind); /* "U32"; NULL for what is none */

/* A value's name and what it is. */
typedef struct tn_gguf_entry {
    const char *key;      /* the file's; NULL where there is none */
    tn_gguf_kind kind;
    tn_gguf_kind element; /* of an array: what its elements are; else the kind */
    int64_t count;        /* of an array: how many; else 1 */
} tn_gguf_entry;
TN_API int64_t tn_gguf_key_count(const tn_gguf *file);                 /* 0 for NULL */
TN_API tn_gguf_entry tn_gguf_entry_at(const tn_gguf *file, int64_t i); /* in the file's order; key is NULL, with TN_ERR_INDEX, outside */
/* The place of a key, or -1; no error. */
TN_API int64_t tn_gguf_find_key(const tn_gguf *file, const char *key);

/* The value of a key, or `missing` where the file has none. One of another kind is TN_ERR_FORMAT, and the result 0, NaN, false or NULL. */
TN_API int64_t tn_gguf_int(const tn_gguf *file, const char *key, int64_t missing); /* of any integer kind that fits */
TN_API double tn_gguf_float(const tn_gguf *file, const char *key, double missing); /* F32, F64 or an integer */
TN_API bool tn_gguf_bool(const tn_gguf *file, const char *key, bool missing);
TN_API const char *tn_gguf_string(const tn_gguf *file, const char *key, const char *missing); /* the file's; closed by a 0 */
/* Element i of an array of strings, the file's, closed by a 0; its length, for one that has a 0 inside, goes into *length unless NULL.
 * NULL with TN_ERR_INDEX outside the array or where there is no such key, TN_ERR_FORMAT where it is no array of strings. */
TN_API const char *tn_gguf_string_at(const tn_gguf *file, const char *key, int64_t i, size_t *length);
/* An array of numbers [count]: i64 of integers, f32, f64 or bool. NULL with TN_ERR_INDEX where there is no such key, TN_ERR_FORMAT where it
 * is no array of numbers that fit. */
TN_API tn_tensor *tn_gguf_numbers(const tn_gguf *file, const char *key);

TN_API int64_t tn_gguf_count(const tn_gguf *file);              /* tensors, of all files of a split model; 0 for NULL */
TN_API const char *tn_gguf_name(const tn_gguf *file, int64_t i); /* the file's; NULL and TN_ERR_INDEX outside 0 ... count-1 */
TN_API int64_t tn_gguf_find(const tn_gguf *file, const char *name); /* the place of a tensor, or -1; no error */
/* Tensor i as it lies in the mapping, the file's; all 0 with TN_ERR_INDEX outside. Its shape is ours, rows last: GGUF's is the other way. */
TN_API tn_blocks tn_gguf_blocks(const tn_gguf *file, int64_t i);
/* The tensor of a name as f32, f16 or bf16; TN_DTYPE_DEFAULT is what it is in the file, or f32 for blocks. One that is of that dtype in the
 * file lies over the mapping without a copy, as with tn_map_safetensors(). NULL with TN_ERR_INDEX where there is none. */
TN_API tn_tensor *tn_gguf_tensor(const tn_gguf *file, const char *name, tn_dtype dtype);

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

/* What is to be a GGUF file: values and tensors, in the order of their setting. A key that is set again has the new value. */
typedef struct tn_gguf_writer tn_gguf_writer;
TN_API tn_gguf_writer *tn_gguf_writer_new(void);
/* An integer or BOOL of the kind, which it must fit (TN_ERR_ARGUMENT). llama.cpp wants U32 of most. */
TN_API tn_status tn_gguf_set_int(tn_gguf_writer *writer, const char *key, tn_gguf_kind kind, int64_t value) TN_MUST_CHECK;
TN_API tn_status tn_gguf_set_float(tn_gguf_writer *writer, const char *key, double value) TN_MUST_CHECK; /* F32 */
TN_API tn_status tn_gguf_set_string(tn_gguf_writer *writer, const char *key, const char *text) TN_MUST_CHECK;
/* An array of count elements of the kind's C type (uint8_t ... double, bool, const char *), copied. */
TN_API tn_status tn_gguf_set_array(tn_gguf_writer *writer, const char *key, tn_gguf_kind kind, const void *data,
                                   int64_t count) TN_MUST_CHECK;
/* A value of another file as it is there; TN_ERR_INDEX where it has no such key. */
TN_API tn_status tn_gguf_copy_key(tn_gguf_writer *writer, const tn_gguf *file, const char *key) TN_MUST_CHECK;
/* A tensor (floats, on the CPU, shared until the writer goes) that tn_save_gguf() writes as blocks of the type. TN_ERR_ARGUMENT on a name
 * that is there already, longer than 63 bytes or no UTF-8; TN_ERR_SHAPE on rows that are no whole number of blocks, on an empty tensor and
 * on more than 4 dimensions, which GGUF has not. */
TN_API tn_status tn_gguf_add(tn_gguf_writer *writer, const char *name, tn_tensor *tensor, tn_quant type) TN_MUST_CHECK;
/* Blocks byte for byte: a tensor of another file (tn_gguf_blocks(), the file the owner), or memory of one's own. The owner, any object or
 * NULL, is shared until the writer goes; the blocks must last as long. TN_ERR_ARGUMENT where their size is not that of the shape; else as
 * tn_gguf_add(). */
TN_API tn_status tn_gguf_add_blocks(tn_gguf_writer *writer, const char *name, tn_blocks blocks, const void *owner) TN_MUST_CHECK;
/* Writes version 3, each tensor aligned to 32 or to what general.alignment was set to. Ways and errors as tn_save_safetensors(); an element
 * that tn_quantize() refuses names its tensor. */
TN_API tn_status tn_save_gguf(const tn_gguf_writer *writer, const char *path) TN_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
