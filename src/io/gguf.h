/* What reading a GGUF file, asking it and writing one share. */
#ifndef TN_GGUF_H
#define TN_GGUF_H

#include <tenon/gguf.h>

#include "io/file.h"

enum { TN_GGUF_VERSION = 3, TN_GGUF_ALIGNMENT = 32 };
extern const tn_class tn_gguf_class;

/* A name to look for, and where what has it stands. */
typedef struct tn_gguf_place {
    const char *name;
    int64_t at;
} tn_gguf_place;

/* A string of the file in the shard's memory, with a 0 behind it. */
typedef struct tn_gguf_text {
    const char *data;
    size_t length;
} tn_gguf_text;

typedef struct tn_gguf_key {
    tn_gguf_entry entry;
    const uint8_t *kind_at, *at, *end; /* in the mapping: the kind's number, the value (of an array its first element), its end */
    int64_t first;                     /* its first string */
} tn_gguf_key;

typedef struct tn_gguf_item {
    const char *name;
    tn_blocks blocks;
    tn_mapping *mapping;
    int64_t offset; /* of its bytes in the mapping */
} tn_gguf_item;

/* One file. */
typedef struct tn_gguf_shard {
    tn_mapping *mapping;
    int64_t size;
    tn_gguf_key *keys;
    tn_gguf_place *by_key; /* sorted by name */
    tn_gguf_item *tensors;
    tn_gguf_text *texts;
    char *letters;
    int64_t key_count, tensor_count, text_count;
    size_t letter_count;
} tn_gguf_shard;

struct tn_gguf {
    tn_object base;
    char *path;
    size_t path_size;
    tn_gguf_shard *shards;
    tn_gguf_item *tensors; /* of all shards */
    tn_gguf_place *by_name;
    int64_t shard_count, tensor_count;
};

/* The place of a name among sorted ones, or -1. */
int64_t tn_gguf_place_of(const tn_gguf_place *places, int64_t count, const char *name);
/* A key of a file; NULL where there is none. */
const tn_gguf_key *tn_gguf_key_of(const tn_gguf_shard *shard, const char *name);
/* A little-endian number of so many bytes. */
uint64_t tn_gguf_little(const uint8_t *bytes, size_t count);
/* The integer or bool at an address; false where the kind is none or it does not fit. */
bool tn_gguf_whole(tn_gguf_kind kind, const uint8_t *at, int64_t *value);
/* A key's value as an integer; 0 with TN_ERR_FORMAT where it is none. */
int64_t tn_gguf_int_of(const char *op, const char *path, const tn_gguf_key *key);

/* Bytes of one number or bool; 0 of a string, an array, and of what is no kind. */
size_t tn_gguf_kind_bytes(int64_t kind);
/* The value of a key as it lies in the file, its kind before it; false with an error where there is no such key. */
bool tn_gguf_raw(const char *op, const tn_gguf *file, const char *key, const uint8_t **bytes, size_t *size);
/* A tensor of the writer's whose blocks [size] are made when the file is saved, one tensor at a time. The context lasts until then. */
typedef tn_status tn_gguf_make(const void *context, tn_quant type, void *blocks, size_t size);
tn_status tn_gguf_add_made(tn_gguf_writer *writer, const char *name, tn_quant type, tn_shape shape, tn_gguf_make *make, const void *context);
/* A file by itself, whatever the model that it is one of several files of; for listing. The scope's; NULL with an error. */
tn_gguf *tn_map_gguf_alone(const char *path);
/* Writes a line of what stands at place i: the key, its kind, its value, of a long array or text the beginning. */
void tn_gguf_put_value(const tn_gguf *file, int64_t i, tn_text_out *out);
/* A power of two from 1 to 2^30. */
bool tn_gguf_alignment_holds(int64_t alignment);

#endif
