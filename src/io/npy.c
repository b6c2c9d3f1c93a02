/* NPY: a magic, a version, the length of a header, the header (a Python dict of descr, fortran_order and shape), and the elements. */
#include "io/npy.h"

#include <stdio.h>
#include <string.h>

#include <tenon/io.h>

/* NumPy's type characters: a kind and the bytes of an element. */
static const struct {
    char kind;
    uint8_t size;
} kinds[TN_DTYPE_COUNT] = {
    [TN_F32] = {'f', 4}, [TN_F64] = {'f', 8}, [TN_F16] = {'f', 2}, [TN_I64] = {'i', 8}, [TN_I32] = {'i', 4},
    [TN_I16] = {'i', 2}, [TN_I8] = {'i', 1},  [TN_U8] = {'u', 1},  [TN_BOOL] = {'b', 1}, /* bf16 NumPy has not */
};

/* ---- the header read ---------------------------------------------------------------------------------------------------- */

typedef struct header {
    tn_shape shape;
    tn_dtype dtype;
    bool fortran, swap;
} header;

/* A Python literal being read. */
typedef struct cursor {
    const tn_reader *file;
    const char *at, *end;
} cursor;

static bool bad(const cursor *c, const char *what)
{
    tn_fail(TN_ERR_FORMAT, "%s: %s: the header %s", c->file->op, c->file->path, what);
    return false;
}

/* Whether the next token is this one, which then is passed. */
static bool take(cursor *c, const char *token)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t'))
        c->at++;
    size_t length = strlen(token);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, token, length) != 0)
        return false;
    c->at += length;
    return true;
}

/* 'text' or "text" without escapes; NumPy writes no others. */
static bool take_text(cursor *c, char *out, size_t size)
{
    char quote[2] = {take(c, "'") ? '\'' : take(c, "\"") ? '"' : 0};
    size_t length = 0;
    for (; *quote && c->at < c->end && *c->at != *quote; c->at++) {
        if (length + 1 >= size || *c->at == '\\')
            return false;
        out[length++] = *c->at;
    }
    out[length] = 0;
    return *quote && take(c, quote);
}

static bool take_size(cursor *c, int64_t *size)
{
    take(c, "");
    const char *begin = c->at;
    *size = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(*size, 10, size) || __builtin_add_overflow(*size, *c->at - '0', size))
            return false;
    bool digits = c->at > begin;
    (void)(digits && take(c, "L")); /* Python 2's long */
    return digits;
}

/* "<f4" and its like. */
static bool read_descr(cursor *c, header *h)
{
    char text[16];
    if (take(c, "["))
        goto unknown;
    if (!take_text(c, text, sizeof text))
        return bad(c, "has a descr that is no text");
    bool order = *text && strchr("<>|=", *text) != NULL;
    char kind = text[order];
    for (int i = 0; i < TN_DTYPE_COUNT; i++)
        if (kind && kinds[i].kind == kind && text[order + 1] == '0' + kinds[i].size && !text[order + 2]) {
            h->dtype = (tn_dtype)i;
            h->swap = *text == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<');
            return true;
        }
    if (!order && !kind)
        return bad(c, "has an empty descr");
    tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: an array of NumPy's dtype '%s': Tenon has none such; float16 to float64, int8 to int64, uint8 and "
            "bool can be read", c->file->op, c->file->path, text);
    return false;
unknown:
    tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: an array of records: save its fields one by one", c->file->op, c->file->path);
    return false;
}

static bool read_shape(cursor *c, header *h)
{
    if (!take(c, "("))
        return bad(c, "has a shape that is no tuple");
    h->shape = (tn_shape){0};
    while (!take(c, ")")) {
        if (h->shape.ndim == TN_MAX_DIMS) {
            tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: an array of more than %d dimensions", c->file->op, c->file->path, TN_MAX_DIMS);
            return false;
        }
        if (!take_size(c, &h->shape.sizes[h->shape.ndim++]))
            return bad(c, "has a shape with no size in it");
        if (!take(c, ",")) {
            if (h->shape.ndim == 1 || !take(c, ")")) /* (3) is no tuple */
                return bad(c, "has a shape that does not end");
            break;
        }
    }
    return true;
}

static bool read_dict(cursor *c, header *h)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    int seen = 0;
    char key[16];
    if (!take(c, "{"))
        return bad(c, "is no dict");
    while (!take(c, "}")) {
        if (!take_text(c, key, sizeof key) || !take(c, ":"))
            return bad(c, "has a key that is none of descr, fortran_order and shape");
        int which = strcmp(key, "descr") == 0 ? DESCR : strcmp(key, "fortran_order") == 0 ? ORDER : strcmp(key, "shape") == 0 ? SHAPE : 0;
        if (!which || seen & which)
            return bad(c, "has a key twice, or one that is none of descr, fortran_order and shape");
        seen |= which;
        if (which == DESCR && !read_descr(c, h))
            return false;
        if (which == SHAPE && !read_shape(c, h))
            return false;
        if (which == ORDER && !(h->fortran = take(c, "True")) && !take(c, "False"))
            return bad(c, "has a fortran_order that is neither True nor False");
        if (!take(c, ",")) {
            if (!take(c, "}"))
                return bad(c, "does not end with }");
            break;
        }
    }
    take(c, "");
    return seen != (DESCR | ORDER | SHAPE) ? bad(c, "lacks one of descr, fortran_order and shape")
           : c->at != c->end               ? bad(c, "goes on behind its dict")
                                           : true;
}

static bool read_header(tn_reader *r, header *h)
{
    enum { MOST = 65536 };
    unsigned char head[8], length_bytes[4] = {0};
    if (!tn_reader_read(r, head, 8))
        return false;
    if (memcmp(head, "\x93NUMPY", 6) != 0 || head[6] < 1 || head[6] > 3 || head[7] != 0) {
        tn_fail(TN_ERR_FORMAT, "%s: %s: no NPY file of version 1, 2 or 3", r->op, r->path);
        return false;
    }
    if (!tn_reader_read(r, length_bytes, head[6] == 1 ? 2 : 4))
        return false;
    int64_t length = length_bytes[0] | length_bytes[1] << 8 | length_bytes[2] << 16 | (int64_t)length_bytes[3] << 24;
    if (length > MOST || length > r->left) {
        tn_fail(TN_ERR_FORMAT, "%s: %s: a header of %lld bytes, and %lld bytes follow: %d are the most", r->op, r->path, (long long)length,
                (long long)r->left, MOST);
        return false;
    }
    char *text = tn_alloc((size_t)length);
    if (!text)
        return false;
    cursor c = {r, text, text + length};
    bool ok = tn_reader_read(r, text, length) && read_dict(&c, h);
    tn_free(text, (size_t)length);
    if (!ok)
        return false;
    int64_t bytes = (int64_t)tn_dtype_size(h->dtype);
    bool overflow = false;
    for (int i = 0; i < h->shape.ndim; i++)
        overflow |= __builtin_mul_overflow(bytes, h->shape.sizes[i] ? h->shape.sizes[i] : 1, &bytes);
    for (int i = 0; i < h->shape.ndim; i++)
        bytes = h->shape.sizes[i] ? bytes : 0;
    int64_t numel;
    if (!overflow && bytes == r->left) {
        bool counts = tn_shape_check(r->op, h->shape, &numel);
        if (!counts)
            tn_fail_within("%s", r->path);
        return counts;
    }
    tn_fail(TN_ERR_FORMAT, "%s: %s: the header says %s of %s, and %lld bytes follow", r->op, r->path, tn_shape_text(h->shape),
            tn_dtype_name(h->dtype), (long long)r->left);
    return false;
}

/* ---- the array read ----------------------------------------------------------------------------------------------------- */

/* x as the file means it: its sizes the other way round, where the first index runs fastest. */
static tn_tensor *turned(tn_tensor *x, const header *h)
{
    if (!x || !h->fortran)
        return x;
    int64_t strides[TN_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++)
        strides[i] = x->strides[x->ndim - 1 - i];
    tn_storage_retain(x->storage);
    return tn_over_storage_strided(x->storage, h->shape, strides, 0, h->dtype);
}

/* The shape of the bytes as they lie. */
static tn_shape lying(const header *h)
{
    tn_shape shape = h->shape;
    for (int i = 0; h->fortran && i < shape.ndim; i++)
        shape.sizes[i] = h->shape.sizes[shape.ndim - 1 - i];
    return shape;
}

static bool elements_hold(const tn_reader *r, tn_tensor *x, const header *h)
{
    if (h->swap)
        tn_swap_bytes(tn_ptr(x), x->numel, tn_item_size(x));
    if (h->dtype != TN_BOOL || tn_bools_hold(tn_ptr(x), x->numel))
        return true;
    tn_fail(TN_ERR_FORMAT, "%s: %s: bool, and holds a byte that is neither 0 nor 1", r->op, r->path);
    return false;
}

/* What follows the header. */
static tn_tensor *read_elements(tn_reader *r, const header *h)
{
    tn_tensor *x = tn_new(r->op, lying(h), h->dtype, (tn_device_id){TN_CPU, 0});
    if (!x || !tn_reader_read(r, tn_ptr(x), x->numel * (int64_t)tn_item_size(x)) || !tn_reader_end(r) || !elements_hold(r, x, h))
        return NULL;
    return turned(x, h);
}

tn_tensor *tn_npy_read(tn_reader *r)
{
    header h = {0};
    return read_header(r, &h) ? read_elements(r, &h) : NULL;
}

tn_tensor *tn_npy_map(tn_reader *r, tn_mapping *mapping, int64_t at)
{
    header h = {0};
    char passed[4096];
    if (!read_header(r, &h))
        return NULL;
    if (h.fortran || h.swap || (h.dtype != TN_F32 && h.dtype != TN_F16))
        return read_elements(r, &h);
    tn_tensor *x = tn_mapping_over(mapping, at + r->size - r->left, h.shape, h.dtype);
    while (x && r->left > 0)
        if (!tn_reader_read(r, passed, r->left < (int64_t)sizeof passed ? r->left : (int64_t)sizeof passed))
            return NULL;
    return x && tn_reader_end(r) ? x : NULL;
}

static tn_tensor *map(const tn_reader *r, const header *h)
{
    tn_mapping *mapping = tn_mapping_new(r);
    if (!mapping)
        return NULL;
    tn_tensor *x = tn_mapping_tensor(mapping, r->size - r->left, lying(h), h->dtype);
    tn_mapping_release(mapping);
    return x && elements_hold(r, x, h) ? turned(x, h) : NULL;
}

static tn_tensor *load(const char *op, const char *path, bool mapped)
{
    tn_reader r;
    header h = {0};
    if (!tn_reader_open(&r, op, path, false))
        return NULL;
    tn_tensor *x = NULL;
    {
        TN_SCOPE;
        x = tn_keep(!mapped ? tn_npy_read(&r) : read_header(&r, &h) ? map(&r, &h) : NULL);
    }
    tn_reader_close(&r);
    return tn_autorelease(x);
}

tn_tensor *tn_load_npy(const char *path) { return load("load_npy", path, false); }
tn_tensor *tn_map_npy(const char *path) { return load("map_npy", path, true); }

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

size_t tn_npy_header(const char *op, const tn_tensor *x, char out[TN_NPY_HEADER_SIZE])
{
    enum { BEFORE = 10, ALIGN = 64 }; /* magic, version and length; where the data begin, as NumPy has it */
    if (!kinds[x->dtype].kind) {
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s has no place in NumPy's files: convert it with tn_cast(x, TN_F32), or save safetensors", op,
                tn_dtype_name((tn_dtype)x->dtype));
        return 0;
    }
    char order = kinds[x->dtype].size == 1 ? '|' : __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';
    char *at = out + BEFORE, *end = out + TN_NPY_HEADER_SIZE;
    at += snprintf(at, (size_t)(end - at), "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (", order, kinds[x->dtype].kind,
                   kinds[x->dtype].size);
    for (int i = 0; i < x->ndim; i++)
        at += snprintf(at, (size_t)(end - at), i ? ", %lld" : "%lld", (long long)x->sizes[i]);
    at += snprintf(at, (size_t)(end - at), x->ndim == 1 ? ",), }" : "), }");
    while ((at + 1 - out) % ALIGN)
        *at++ = ' ';
    *at++ = '\n';
    size_t length = (size_t)(at - out) - BEFORE;
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)length;
    out[9] = (char)(length >> 8);
    return length + BEFORE;
}

bool tn_npy_writable(const char *op, const char *name, const tn_tensor *x)
{
    if (!x || x->base.cls != &tn_tensor_class)
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is %s", op, name, x ? "no tensor" : "NULL");
    else if (x->storage->device.type != TN_CPU)
        tn_fail(TN_ERR_DEVICE, "%s: %s is on %s: move it with tn_to first", op, name, tn_device_text(x->storage->device));
    else
        return true;
    return false;
}

tn_status tn_save_npy(const tn_tensor *x, const char *path)
{
    TN_ERROR_ASIDE;
    char head[TN_NPY_HEADER_SIZE];
    size_t length = tn_npy_writable("save_npy", "x", x) ? tn_npy_header("save_npy", x, head) : 0;
    if (!length)
        return tn_last_status();
    size_t bytes = (size_t)x->numel * tn_item_size(x);
    bool whole = tn_has(x, TN_FLAG_CONTIGUOUS);
    void *packed = whole ? NULL : tn_alloc(bytes);
    if (!whole && !packed)
        return TN_ERR_MEMORY;
    if (packed)
        tn_pack(x, packed);
    tn_writer w;
    tn_status status = tn_writer_open(&w, "save_npy", path);
    if (status == TN_OK)
        status = tn_writer_write(&w, head, length);
    if (status == TN_OK)
        status = tn_writer_write(&w, packed ? packed : tn_ptr(x), bytes);
    status = tn_writer_close(&w, status);
    tn_free(packed, packed ? bytes : 0);
    return status;
}
