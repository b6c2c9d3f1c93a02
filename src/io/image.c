/* Images in files: which format, and pixels [h, w, c] to and from tensors [c, h, w]. */
#include "io/pixels.h"

#include <tenon/image.h>

#include <string.h>
#include <strings.h>

bool tn_pixels_alloc(tn_pixels *p, const char *path, size_t size, int64_t ratio)
{
    int64_t bytes;
    if (__builtin_mul_overflow(p->h, p->w, &bytes) || __builtin_mul_overflow(bytes, (int64_t)p->c, &bytes) || bytes / ratio > (int64_t)size) {
        tn_fail(TN_ERR_FORMAT, "load_image: %s: the header says %lld by %lld pixels, and a file of %lld bytes does not hold them", path,
                (long long)p->h, (long long)p->w, (long long)size);
        return false;
    }
    p->bytes = (size_t)bytes;
    p->data = tn_alloc(p->bytes);
    return p->data != NULL;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

/* One plane of the result: channel k of c, of pixels that have p->c. */
static void write_plane(const tn_pixels *p, int k, int c, uint8_t *out)
{
    int64_t n = p->h * p->w;
    const uint8_t *in = p->data;
    if (c == 1 && p->c >= 3) {
        for (int64_t i = 0; i < n; i++, in += p->c)
            out[i] = (uint8_t)((19595u * in[0] + 38470u * in[1] + 7471u * in[2] + 32768u) >> 16);
        return;
    }
    bool alpha = c % 2 == 0 && k == c - 1;
    if (alpha && p->c % 2) {
        memset(out, 255, (size_t)n);
        return;
    }
    in += alpha ? p->c - 1 : p->c < 3 ? 0 : k;
    for (int64_t i = 0; i < n; i++, in += p->c)
        out[i] = *in;
}

static bool decode(const char *path, const uint8_t *file, size_t size, tn_pixels *p)
{
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, jpeg[] = {0xff, 0xd8, 0xff};
    if (size >= sizeof png && memcmp(file, png, sizeof png) == 0)
        return tn_png_decode(path, file, size, p);
    if (size >= sizeof jpeg && memcmp(file, jpeg, sizeof jpeg) == 0)
        return tn_jpeg_decode(path, file, size, p);
    tn_fail(TN_ERR_FORMAT, "load_image: %s: neither a PNG nor a JPEG by its first bytes", path);
    return false;
}

tn_tensor *tn_load_image_with(const tn_load_image_args *args)
{
    TN_KNOWN(tn_load_image_args, args);
    tn_reader r;
    tn_tensor *x = NULL;
    if (!tn_failing() && (args->channels < 0 || args->channels > 4 || args->channels == 2))
        return tn_fail(TN_ERR_ARGUMENT, "load_image: channels is %d: 1, 3 or 4 is right, or 0 for those of the file", args->channels);
    if (!tn_reader_open(&r, "load_image", args->path, false))
        return NULL;
    size_t size = (size_t)r.left;
    uint8_t *file = tn_alloc(size);
    tn_pixels p = {0};
    if (file && tn_reader_read(&r, file, (int64_t)size) && decode(args->path, file, size, &p)) {
        int c = args->channels ? args->channels : p.c;
        x = tn_new("load_image", TN_SHAPE(c, p.h, p.w), TN_U8, (tn_device_id){TN_CPU, 0});
        for (int k = 0; x && k < c; k++)
            write_plane(&p, k, c, (uint8_t *)tn_ptr(x) + k * p.h * p.w);
    }
    tn_free(p.data, p.bytes);
    tn_free(file, size);
    tn_reader_close(&r);
    return x;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

/* 'p' for .png, 'j' for .jpg and .jpeg, 0 for any other. */
static int kind_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (!dot || strchr(dot, '/'))
        return 0;
    return strcasecmp(dot, ".png") == 0 ? 'p' : strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 ? 'j' : 0;
}

static bool can_save(const tn_save_image_args *a, int kind)
{
    const tn_tensor *x = a->x;
    int64_t most = kind == 'j' ? 65500 : 1000000; /* the libraries' own limits */
    if (!kind)
        tn_fail(TN_ERR_ARGUMENT, "save_image: %s ends neither in .png nor in .jpg or .jpeg", a->path);
    else if (x->storage->device.type != TN_CPU)
        tn_fail(TN_ERR_DEVICE, "save_image: x is on %s: bring it to the CPU by tn_to", tn_device_text(x->storage->device));
    else if (x->dtype != TN_U8)
        tn_fail(TN_ERR_DTYPE, "save_image: x is of %s: right is uint8, 0 to 255", tn_dtype_name((tn_dtype)x->dtype));
    else if (x->ndim != 3 || x->numel == 0 || x->sizes[0] > 4 || (kind == 'j' && x->sizes[0] % 2 == 0) || x->sizes[1] > most || x->sizes[2] > most)
        tn_fail(TN_ERR_SHAPE, "save_image: x is %s: right is [c, h, w] with c %s, neither h nor w 0 or more than %lld", tn_text(x),
                kind == 'j' ? "1 or 3" : "1 to 4", (long long)most);
    else if (a->quality < 1 || a->quality > 100)
        tn_fail(TN_ERR_ARGUMENT, "save_image: quality is %d, not between 1 and 100", a->quality);
    return !tn_failing();
}

/* x as pixels; false with an error. */
static bool interleave(const tn_tensor *x, tn_pixels *p)
{
    *p = (tn_pixels){.h = x->sizes[1], .w = x->sizes[2], .c = (int)x->sizes[0], .bytes = (size_t)x->numel};
    p->data = tn_alloc(p->bytes);
    if (!p->data)
        return false;
    tn_tensor rows = *x; /* the same elements, channels last: never more than looked at */
    for (int d = 0; d < 3; d++) {
        rows.sizes[d] = x->sizes[(d + 1) % 3];
        rows.strides[d] = x->strides[(d + 1) % 3];
    }
    rows.flags &= (uint8_t)~TN_FLAG_CONTIGUOUS;
    tn_pack(&rows, p->data);
    return true;
}

tn_status tn_save_image_with(const tn_save_image_args *args)
{
    TN_KNOWN(tn_save_image_args, args);
    if (!tn_ready("save_image", "x", args->x))
        return tn_last_status();
    if (!args->path) {
        tn_fail(TN_ERR_ARGUMENT, "save_image: path is NULL");
        return TN_ERR_ARGUMENT;
    }
    int kind = kind_of(args->path);
    tn_pixels p;
    if (!can_save(args, kind) || !interleave(args->x, &p))
        return tn_last_status();
    tn_writer w;
    tn_status status = tn_writer_open(&w, "save_image", args->path);
    if (status == TN_OK)
        status = tn_writer_close(&w, kind == 'j' ? tn_jpeg_encode(&w, &p, args->quality) : tn_png_encode(&w, &p));
    tn_free(p.data, p.bytes);
    return status;
}
