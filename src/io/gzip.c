/* gzip (RFC 1952) through zlib, whose inflate checks each member's CRC-32 and length. */
#include "io/file.h"

#ifdef TENON_HAVE_ZLIB
#include <string.h>
#include <zlib.h>

enum { INPUT = 1 << 16, BLOCK_HEAD = 64 };
struct tn_gzip {
    tn_reader *file;
    z_stream z;
    bool ended;
    unsigned char input[INPUT];
};

/* zlib's memory is ours too: a block begins with its size. */
static void *block_alloc(void *unused, unsigned count, unsigned size)
{
    (void)unused;
    size_t bytes = (size_t)count * size + BLOCK_HEAD;
    char *block = tn_alloc(bytes);
    if (!block)
        return NULL;
    memcpy(block, &bytes, sizeof bytes);
    return block + BLOCK_HEAD;
}

static void block_free(void *unused, void *memory)
{
    (void)unused;
    char *block = (char *)memory - BLOCK_HEAD;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    tn_free(block, bytes);
}

tn_gzip *tn_gzip_open(tn_reader *r)
{
    tn_gzip *gzip = tn_alloc_zero(sizeof *gzip);
    if (!gzip)
        return NULL;
    gzip->file = r;
    gzip->z.zalloc = block_alloc;
    gzip->z.zfree = block_free;
    if (inflateInit2(&gzip->z, 16 + MAX_WBITS) == Z_OK) /* 16: gzip's wrapping and no other */
        return gzip;
    tn_free(gzip, sizeof *gzip);
    return tn_fail(TN_ERR_MEMORY, "%s: %s: zlib cannot start", r->op, r->path);
}

void tn_gzip_close(tn_gzip *gzip)
{
    if (!gzip)
        return;
    inflateEnd(&gzip->z);
    tn_free(gzip, sizeof *gzip);
}

/* At least one byte of input; false at the end of the file (with an error only where reading failed). */
static bool refill(tn_gzip *gzip)
{
    if (gzip->z.avail_in > 0)
        return true;
    int64_t got = tn_reader_raw(gzip->file, gzip->input, INPUT);
    gzip->z.next_in = gzip->input;
    gzip->z.avail_in = got > 0 ? (unsigned)got : 0;
    return got > 0;
}

int64_t tn_gzip_some(tn_gzip *gzip, void *out, int64_t n)
{
    z_stream *z = &gzip->z;
    const tn_reader *r = gzip->file;
    unsigned wanted = n < 1 << 30 ? (unsigned)n : 1u << 30;
    z->next_out = out;
    z->avail_out = wanted;
    while (z->avail_out == wanted && !gzip->ended) {
        if (!refill(gzip)) {
            tn_fail(TN_ERR_FORMAT, "%s: %s: the gzip stream is cut off", r->op, r->path);
            return -1;
        }
        int rc = inflate(z, Z_NO_FLUSH);
        if (rc == Z_STREAM_END) {
            if (!refill(gzip))
                gzip->ended = true;
            else if (inflateReset(z) != Z_OK) /* another member follows, as RFC 1952 allows */
                rc = Z_STREAM_ERROR;
        }
        if (rc != Z_OK && rc != Z_STREAM_END) {
            tn_fail(rc == Z_MEM_ERROR ? TN_ERR_MEMORY : TN_ERR_FORMAT, "%s: %s: the gzip stream is damaged: %s", r->op, r->path,
                    z->msg ? z->msg : zError(rc));
            return -1;
        }
        if (tn_failing())
            return -1;
    }
    return wanted - z->avail_out;
}

#else

tn_gzip *tn_gzip_open(tn_reader *r)
{
    return tn_fail(TN_ERR_UNSUPPORTED, "%s: %s is gzip-ed and this build is without zlib: gunzip it, or build with zlib (zlib1g-dev)",
                   r->op, r->path);
}
int64_t tn_gzip_some(tn_gzip *gzip, void *out, int64_t n) { return (void)gzip, (void)out, (void)n, -1; }
void tn_gzip_close(tn_gzip *gzip) { (void)gzip; }

#endif
