/* What the image formats make of a file, and what they make a file of. */
#ifndef TN_PIXELS_H
#define TN_PIXELS_H

#include "io/file.h"

typedef struct tn_pixels {
    int64_t h, w;
    int c;         /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha */
    uint8_t *data; /* [h, w, c], by tn_alloc() */
    size_t bytes;
} tn_pixels;

/* Room for the pixels of a file of `size` bytes, one byte of which stands for at most `ratio` of theirs; false with an error. */
bool tn_pixels_alloc(tn_pixels *p, const char *path, size_t size, int64_t ratio);

/* Decoders: a file in memory into p, whose data the caller frees, on failure too. False with an error that names path. */
bool tn_png_decode(const char *path, const uint8_t *file, size_t size, tn_pixels *p);
bool tn_jpeg_decode(const char *path, const uint8_t *file, size_t size, tn_pixels *p);
/* Encoders: the status, with an error that names the writer's path. */
tn_status tn_png_encode(tn_writer *w, const tn_pixels *p);
tn_status tn_jpeg_encode(tn_writer *w, const tn_pixels *p, int quality);

#endif
