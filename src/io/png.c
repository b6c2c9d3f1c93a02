/* PNG through libpng, whose errors are longjmps: each function that sets one up changes nothing of its own after it. */
#include "io/pixels.h"

#ifdef TENON_HAVE_PNG

#include <png.h>
#include <stdio.h>
#include <string.h>

typedef struct png_work {
    const char *op, *path;
    const uint8_t *file;
    size_t size, at;
    tn_writer *writer;
    png_structp png;
    png_infop info;
} png_work;

static void png_failed(png_structp png, png_const_charp message)
{
    const png_work *work = png_get_error_ptr(png);
    tn_fail(work->writer ? TN_ERR_IO : TN_ERR_FORMAT, "%s: %s: %s%s", work->op, work->path, work->writer ? "" : "not a PNG that is whole: ",
            message);
    png_longjmp(png, 1);
}

static void png_warned(png_structp png, png_const_charp message) { (void)png, (void)message; }

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static void take_bytes(png_structp png, png_bytep out, size_t n)
{
    png_work *work = png_get_io_ptr(png);
    if (n > work->size - work->at)
        png_error(png, "the file ends too early");
    memcpy(out, work->file + work->at, n);
    work->at += n;
}

/* Reads all up to the pixels, which are to come as 8 bits of 1 to 4 channels. */
static void read_head(png_work *work, tn_pixels *p)
{
    png_structp png = work->png;
    png_read_info(png, work->info);
    png_set_scale_16(png);
    png_set_expand(png); /* a palette, less than 8 bits, a transparent colour */
    png_set_interlace_handling(png);
    png_read_update_info(png, work->info);
    p->h = png_get_image_height(png, work->info);
    p->w = png_get_image_width(png, work->info);
    p->c = png_get_channels(png, work->info);
}

/* Each pass of an interlaced picture goes over all rows. */
static void read_rows(png_work *work, tn_pixels *p, int passes)
{
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < p->h; y++)
            png_read_row(work->png, p->data + y * p->w * p->c, NULL);
    png_read_end(work->png, NULL);
}

static bool decode(png_work *work, tn_pixels *p)
{
    if (setjmp(png_jmpbuf(work->png)))
        return false;
    read_head(work, p);
    if (!tn_pixels_alloc(p, work->path, work->size, 1032 * 8)) /* deflate's most, of bits that become bytes */
        return false;
    read_rows(work, p, png_get_interlace_type(work->png, work->info) == PNG_INTERLACE_NONE ? 1 : 7);
    return true;
}

bool tn_png_decode(const char *path, const uint8_t *file, size_t size, tn_pixels *p)
{
    png_work work = {.op = "load_image", .path = path, .file = file, .size = size};
    work.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &work, png_failed, png_warned);
    work.info = work.png ? png_create_info_struct(work.png) : NULL;
    bool done = false;
    if (work.info) {
        png_set_read_fn(work.png, &work, take_bytes);
        done = decode(&work, p);
    } else {
        tn_fail(TN_ERR_MEMORY, "load_image: %s: no memory for libpng", path);
    }
    png_destroy_read_struct(&work.png, &work.info, NULL);
    return done;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

static void put_bytes(png_structp png, png_bytep data, size_t n)
{
    const png_work *work = png_get_io_ptr(png);
    if (tn_writer_write(work->writer, data, n) != TN_OK)
        png_error(png, "cannot write");
}

static void put_nothing(png_structp png) { (void)png; }

static tn_status encode(png_work *work, const tn_pixels *p)
{
    static const int kinds[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};
    if (setjmp(png_jmpbuf(work->png)))
        return tn_last_status();
    png_set_IHDR(work->png, work->info, (png_uint_32)p->w, (png_uint_32)p->h, 8, kinds[p->c - 1], PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(work->png, work->info);
    for (int64_t y = 0; y < p->h; y++)
        png_write_row(work->png, p->data + y * p->w * p->c);
    png_write_end(work->png, work->info);
    return TN_OK;
}

tn_status tn_png_encode(tn_writer *w, const tn_pixels *p)
{
    png_work work = {.op = w->op, .path = w->path, .writer = w};
    work.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &work, png_failed, png_warned);
    work.info = work.png ? png_create_info_struct(work.png) : NULL;
    tn_status status = TN_ERR_MEMORY;
    if (work.info) {
        png_set_write_fn(work.png, &work, put_bytes, put_nothing);
        status = encode(&work, p);
    } else {
        tn_fail(TN_ERR_MEMORY, "%s: %s: no memory for libpng", w->op, w->path);
    }
    png_destroy_write_struct(&work.png, &work.info);
    return status;
}

#else

bool tn_png_decode(const char *path, const uint8_t *file, size_t size, tn_pixels *p)
{
    (void)file, (void)size, (void)p;
    tn_fail(TN_ERR_UNSUPPORTED, "load_image: %s is a PNG, and this build is without libpng", path);
    return false;
}

tn_status tn_png_encode(tn_writer *w, const tn_pixels *p)
{
    (void)p;
    tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: this build is without libpng", w->op, w->path);
    return TN_ERR_UNSUPPORTED;
}

#endif
