/* Files read to the last byte, plain or gzip-ed, and files written whole or not at all. */
#ifndef TN_FILE_H
#define TN_FILE_H

#include <tenon/io.h>

#include "core/core.h"

typedef struct tn_gzip tn_gzip;
struct zip_file;

/* A file being read, or an entry of a zip. Errors name op and path. */
typedef struct tn_reader {
    const char *op, *path;
    int fd;
    int64_t size; /* of the file; of an entry, unpacked */
    int64_t left; /* bytes of the file, or of the unpacked entry, not yet read */
    tn_gzip *gzip;          /* NULL: not gzip-ed */
    struct zip_file *entry; /* NULL: no entry of a zip */
} tn_reader;

/* Opens a regular file; where gzip is allowed, one that begins with its two bytes is read through zlib. False with an error. */
bool tn_reader_open(tn_reader *r, const char *op, const char *path, bool allow_gzip);
/* Reads exactly n bytes; false with an error, also where the file ends before. */
bool tn_reader_read(tn_reader *r, void *out, int64_t n);
/* The most bytes that can still follow: nothing larger is allocated on the word of the file. */
int64_t tn_reader_most(const tn_reader *r);
/* True when nothing follows and the checksum of gzip or zip holds; else false with an error. */
bool tn_reader_end(tn_reader *r);
void tn_reader_close(tn_reader *r);

/* gzip.c: a source of what a gzip stream holds. some() works like read(): the bytes given, 0 at the end, -1 with an error. */
tn_gzip *tn_gzip_open(tn_reader *r);
int64_t tn_gzip_some(tn_gzip *gzip, void *out, int64_t n);
void tn_gzip_close(tn_gzip *gzip);
/* The file's own next bytes, up to n: the count, 0 at the end, -1 with an error. */
int64_t tn_reader_raw(tn_reader *r, void *out, int64_t n);

/* zip.c: the same of an entry of a zip. The read at its end checks the CRC: -1 with an error where it does not hold. */
int64_t tn_zip_some(tn_reader *r, void *out, int64_t n);
void tn_zip_entry_close(tn_reader *r);

/* The whole file in memory, private: what is written there stays out of the file. Counted; it goes with the last storage over it. */
typedef struct tn_mapping tn_mapping;
tn_mapping *tn_mapping_new(const tn_reader *r); /* r's file is not empty; NULL with an error */
void tn_mapping_release(tn_mapping *mapping);
const char *tn_mapping_bytes(const tn_mapping *mapping);
/* A contiguous tensor over the mapping's bytes from `at` on, the scope's; a copy of them where they are not aligned for its elements. */
tn_tensor *tn_mapping_tensor(tn_mapping *mapping, int64_t at, tn_shape shape, tn_dtype dtype);
/* The same never copied, for who reads its bytes at any alignment: no op may see it. */
tn_tensor *tn_mapping_over(tn_mapping *mapping, int64_t at, tn_shape shape, tn_dtype dtype);

/* A file being written, beside its final name until it is whole: path.tenon0.part, or with another number where that one is written to. What a
 * kill leaves there goes with the next writer of the path. A file that was there gives its mode and must be a regular one. Works while an
 * error sticks. */
typedef struct tn_writer {
    const char *op, *path;
    char *target, *temporary; /* what is replaced: path, or what that links to; what is written */
    size_t target_size, temporary_size;
    int fd;
} tn_writer;
tn_status tn_writer_open(tn_writer *w, const char *op, const char *path);
tn_status tn_writer_write(tn_writer *w, const void *data, size_t n);
/* Ends the writing: status OK syncs and renames, any other removes the temporary; returns status or what went wrong here. */
tn_status tn_writer_close(tn_writer *w, tn_status status);

/* What gives a tensor of a dict that is being saved when it is its turn, the scope's: of the shape and dtype of the dict's, which has no memory of
 * its own. NULL with an error. */
typedef const tn_tensor *tn_made(const void *context, const char *name);
tn_status tn_save_safetensors_made(const tn_dict *dict, const char *path, tn_made *made, const void *context);
tn_status tn_save_npz_made(const tn_npz_args *args, tn_made *made, const void *context);

/* Whether a zip archive is of torch.save(); false, with an error or without one, where it is not. */
bool tn_is_pt(const char *path);
/* tn_load_npz() without memory for what lies in the file as it is: f32 and f16 that are not packed are over a mapping, as by tn_mapping_over(). */
tn_dict *tn_map_npz(const char *path);

/* Room for one more element in *array, whose capacity doubles where it is full; false on no memory. */
bool tn_grow(void *array, size_t count, size_t *capacity, size_t element);
/* Reverses the bytes of each element. */
void tn_swap_bytes(void *data, int64_t count, size_t element);
/* x's elements in row-major order; x is on the CPU. */
void tn_pack(const tn_tensor *x, void *out);
/* Whether each byte of a bool tensor's count elements is 0 or 1. */
bool tn_bools_hold(const void *data, int64_t count);

#endif
