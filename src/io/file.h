/* Files read to the last byte, plain or gzip-ed, and files written whole or not at all. */
#ifndef TN_FILE_H
#define TN_FILE_H

#include "core/core.h"

typedef struct tn_gzip tn_gzip;

/* A file being read. Errors name op and path. */
typedef struct tn_reader {
    const char *op, *path;
    int fd;
    int64_t size; /* of the file */
    int64_t left; /* bytes of the file not yet read */
    tn_gzip *gzip; /* NULL: a plain file */
} tn_reader;

/* Opens a regular file; where gzip is allowed, one that begins with its two bytes is read through zlib. False with an error. */
bool tn_reader_open(tn_reader *r, const char *op, const char *path, bool allow_gzip);
/* Reads exactly n bytes; false with an error, also where the file ends before. */
bool tn_reader_read(tn_reader *r, void *out, int64_t n);
/* The most bytes that can still follow: nothing larger is allocated on the word of the file. */
int64_t tn_reader_most(const tn_reader *r);
/* True when nothing follows and gzip's checksum and length hold; else false with an error. */
bool tn_reader_end(tn_reader *r);
void tn_reader_close(tn_reader *r);

/* gzip.c: a source of what a gzip stream holds. some() works like read(): the bytes given, 0 at the end, -1 with an error. */
tn_gzip *tn_gzip_open(tn_reader *r);
int64_t tn_gzip_some(tn_gzip *gzip, void *out, int64_t n);
void tn_gzip_close(tn_gzip *gzip);
/* The file's own next bytes, up to n: the count, 0 at the end, -1 with an error. */
int64_t tn_reader_raw(tn_reader *r, void *out, int64_t n);

/* A file being written, beside its final name until it is whole. A file that was there gives its mode and must be a regular one. Works while an
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

/* Reverses the bytes of each element. */
void tn_swap_bytes(void *data, int64_t count, size_t element);
/* x's elements in row-major order; x is on the CPU. */
void tn_pack(const tn_tensor *x, void *out);

#endif
