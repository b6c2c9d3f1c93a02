/* JPEG through libjpeg, whose errors are longjmps here: each function that sets one up changes nothing of its own after it. */
#include "io/pixels.h"

#ifdef TENON_HAVE_JPEG

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <jerror.h>

typedef struct jpeg_work {
    struct jpeg_error_mgr errors; /* first: libjpeg hands its address out */
    jmp_buf back;
    const char *op, *path;
    struct jpeg_decompress_struct in;
    struct jpeg_compress_struct out;
    unsigned char *made; /* what was encoded, by malloc() */
    unsigned long made_size;
} jpeg_work;

static void jpeg_failed(j_common_ptr jpeg)
{
    jpeg_work *work = (jpeg_work *)(void *)jpeg->err;
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    bool memory = jpeg->err->msg_code == JERR_OUT_OF_MEMORY;
    tn_fail(memory ? TN_ERR_MEMORY : TN_ERR_FORMAT, "%s: %s: not a JPEG that is whole: %s", work->op, work->path, text);
    longjmp(work->back, 1);
}

/* libjpeg warns of damage and goes on with grey: here that is an error, but for bytes that it skips between two markers. */
static void jpeg_warned(j_common_ptr jpeg, int level)
{
    if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA)
        jpeg_failed(jpeg);
}

static void jpeg_work_init(jpeg_work *work)
{
    jpeg_std_error(&work->errors);
    work->errors.error_exit = jpeg_failed;
    work->errors.emit_message = jpeg_warned;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static bool decode(jpeg_work *work, const uint8_t *file, size_t size, tn_pixels *p)
{
    struct jpeg_decompress_struct *in = &work->in;
    if (setjmp(work->back))
        return false;
    jpeg_create_decompress(in);
    jpeg_mem_src(in, file, size);
    jpeg_read_header(in, TRUE);
    if (in->num_components != 1 && in->num_components != 3) {
        tn_fail(TN_ERR_UNSUPPORTED, "load_image: %s: a JPEG of %d components (CMYK?): grey and colour can be read", work->path,
                in->num_components);
        return false;
    }
    in->out_color_space = in->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    *p = (tn_pixels){.h = in->image_height, .w = in->image_width, .c = in->num_components};
    if (!tn_pixels_alloc(p, work->path, size, 4096)) /* a block of 64 takes a bit of a scan at least, and its colours few more */
        return false;
    jpeg_start_decompress(in);
    while (in->output_scanline < in->output_height) {
        JSAMPROW row = p->data + (int64_t)in->output_scanline * p->w * p->c;
        jpeg_read_scanlines(in, &row, 1);
    }
    jpeg_finish_decompress(in);
    return true;
}

bool tn_jpeg_decode(const char *path, const uint8_t *file, size_t size, tn_pixels *p)
{
    jpeg_work *work = tn_alloc_zero(sizeof *work);
    if (!work)
        return false;
    jpeg_work_init(work);
    work->in.err = &work->errors;
    work->op = "load_image";
    work->path = path;
    bool done = decode(work, file, size, p);
    jpeg_destroy_decompress(&work->in);
    tn_free(work, sizeof *work);
    return done;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

static bool encode(jpeg_work *work, const tn_pixels *p, int quality)
{
    struct jpeg_compress_struct *out = &work->out;
    if (setjmp(work->back))
        return false;
    jpeg_create_compress(out);
    jpeg_mem_dest(out, &work->made, &work->made_size);
    out->image_width = (JDIMENSION)p->w;
    out->image_height = (JDIMENSION)p->h;
    out->input_components = p->c;
    out->in_color_space = p->c == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(out);
    jpeg_set_quality(out, quality, TRUE);
    jpeg_start_compress(out, TRUE);
    while (out->next_scanline < out->image_height) {
        JSAMPROW row = p->data + (int64_t)out->next_scanline * p->w * p->c;
        jpeg_write_scanlines(out, &row, 1);
    }
    jpeg_finish_compress(out);
    return true;
}

tn_status tn_jpeg_encode(tn_writer *w, const tn_pixels *p, int quality)
{
    jpeg_work *work = tn_alloc_zero(sizeof *work);
    if (!work)
        return TN_ERR_MEMORY;
    jpeg_work_init(work);
    work->out.err = &work->errors;
    work->op = w->op;
    work->path = w->path;
    tn_status status = encode(work, p, quality) ? tn_writer_write(w, work->made, work->made_size) : tn_last_status();
    jpeg_destroy_compress(&work->out);
    free(work->made);
    tn_free(work, sizeof *work);
    return status;
}

#else

bool tn_jpeg_decode(const char *path, const uint8_t *file, size_t size, tn_pixels *p)
{
    (void)file, (void)size, (void)p;
    tn_fail(TN_ERR_UNSUPPORTED, "load_image: %s is a JPEG, and this build is without libjpeg", path);
    return false;
}

tn_status tn_jpeg_encode(tn_writer *w, const tn_pixels *p, int quality)
{
    (void)p, (void)quality;
    tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: this build is without libjpeg", w->op, w->path);
    return TN_ERR_UNSUPPORTED;
}

#endif
