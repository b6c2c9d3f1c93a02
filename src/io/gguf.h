/* What reading and writing GGUF share. */
#ifndef TN_GGUF_H
#define TN_GGUF_H

#include <tenon/gguf.h>

#include "io/file.h"

enum { TN_GGUF_VERSION = 3, TN_GGUF_ALIGNMENT = 32 };
extern const tn_class tn_gguf_class;

/* Bytes of one number or bool; 0 of a string, an array, and of what is no kind. */
size_t tn_gguf_kind_bytes(int64_t kind);
/* The value of a key as it lies in the file, its kind before it; false with an error where there is no such key. */
bool tn_gguf_raw(const char *op, const tn_gguf *file, const char *key, const uint8_t **bytes, size_t *size);
/* A power of two from 1 to 2^30. */
bool tn_gguf_alignment_holds(int64_t alignment);

#endif
