/* IDX, the format of MNIST: two zero bytes, the type, the number of dimensions, the sizes and the elements, all big-endian. */
#include "io/file.h"

#include <tenon/io.h>

static tn_dtype idx_dtype(int code)
{
    switch (code) {
    case 0x08: return TN_U8;
    case 0x09: return TN_I8;
    case 0x0b: return TN_I16;
    case 0x0c: return TN_I32;
    case 0x0d: return TN_F32;
    case 0x0e: return TN_F64;
    default: return TN_DTYPE_DEFAULT;
    }
}

/* The shape and dtype of the array that follows; false with an error, also where the file is too short or too long for it. */
static bool read_header(tn_reader *r, tn_shape *shape, tn_dtype *dtype)
{
    unsigned char head[4], size[4];
    if (!tn_reader_read(r, head, 4))
        return false;
    *dtype = idx_dtype(head[2]);
    if (head[0] || head[1] || *dtype == TN_DTYPE_DEFAULT || head[3] > TN_MAX_DIMS) {
        tn_fail(TN_ERR_FORMAT, "%s: %s: not an IDX file: it begins %02x %02x %02x %02x; right are 00 00, a type 08 to 0e and at most %d"
                " dimensions", r->op, r->path, head[0], head[1], head[2], head[3], TN_MAX_DIMS);
        return false;
    }
    int64_t bytes = (int64_t)tn_dtype_size(*dtype);
    bool overflow = false;
    *shape = (tn_shape){.ndim = head[3]};
    for (int i = 0; i < shape->ndim; i++) {
        if (!tn_reader_read(r, size, 4))
            return false;
        shape->sizes[i] = (int64_t)size[0] << 24 | size[1] << 16 | size[2] << 8 | size[3];
        overflow |= __builtin_mul_overflow(bytes, shape->sizes[i], &bytes);
    }
    if (overflow || bytes > tn_reader_most(r) || (!r->gzip && bytes != r->left)) {
        tn_fail(TN_ERR_FORMAT, "%s: %s: the header says %s of %s, and the file of %lld bytes does not hold just that", r->op, r->path,
                tn_shape_text(*shape), tn_dtype_name(*dtype), (long long)r->size);
        return false;
    }
    return true;
}

tn_tensor *tn_load_idx(const char *path)
{
    tn_reader r;
    tn_shape shape;
    tn_dtype dtype;
    tn_tensor *x = NULL;
    if (!tn_reader_open(&r, "load_idx", path, true))
        return NULL;
    if (read_header(&r, &shape, &dtype))
        x = tn_new_owned("load_idx", shape, dtype, (tn_device_id){TN_CPU, 0});
    if (x && !(tn_reader_read(&r, tn_ptr(x), x->numel * (int64_t)tn_item_size(x)) && tn_reader_end(&r))) {
        tn_release(x);
        x = NULL;
    }
    tn_reader_close(&r);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (x)
        tn_swap_bytes(tn_ptr(x), x->numel, tn_item_size(x));
#endif
    return tn_autorelease(x);
}
