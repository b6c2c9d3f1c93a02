/* Files read to the last byte, and files written whole or not at all. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static void system_error(const char *op, const char *path, const char *what)
{
    char text[128] = "";
    int number = errno;
    tn_fail(TN_ERR_IO, "%s: %s: %s: %s", op, path, what, strerror_r(number, text, sizeof text));
}

bool tn_reader_open(tn_reader *r, const char *op, const char *path, bool allow_gzip)
{
    *r = (tn_reader){.op = op, .path = path, .fd = -1};
    if (tn_failing())
        return false;
    if (!path) {
        tn_fail(TN_ERR_ARGUMENT, "%s: path is NULL", op);
        return false;
    }
    r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a pipe of that name must not hold us */
    struct stat st;
    if (r->fd < 0 || fstat(r->fd, &st) != 0) {
        system_error(op, path, "cannot open");
        tn_reader_close(r);
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        tn_fail(TN_ERR_IO, "%s: %s: not a regular file", op, path);
        tn_reader_close(r);
        return false;
    }
    r->size = r->left = st.st_size;
    unsigned char magic[2] = {0};
    if (allow_gzip && pread(r->fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b) {
        r->gzip = tn_gzip_open(r);
        if (!r->gzip) {
            tn_reader_close(r);
            return false;
        }
    }
    return true;
}

int64_t tn_reader_raw(tn_reader *r, void *out, int64_t n)
{
    if (n > r->left)
        n = r->left;
    if (n > INT32_MAX)
        n = INT32_MAX & ~4095;
    if (n == 0)
        return 0;
    ssize_t got;
    do
        got = read(r->fd, out, (size_t)n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        system_error(r->op, r->path, "cannot read");
    else if (got == 0)
        tn_fail(TN_ERR_IO, "%s: %s: became shorter while it was read", r->op, r->path);
    r->left -= got > 0 ? got : 0;
    return got > 0 ? got : -1;
}

static int64_t some(tn_reader *r, void *out, int64_t n)
{
    return r->gzip ? tn_gzip_some(r->gzip, out, n) : r->entry ? tn_zip_some(r, out, n) : tn_reader_raw(r, out, n);
}

bool tn_reader_read(tn_reader *r, void *out, int64_t n)
{
    for (char *at = out; n > 0;) {
        int64_t got = some(r, at, n);
        if (got == 0)
            tn_fail(TN_ERR_FORMAT, "%s: %s: the file ends %lld bytes too early", r->op, r->path, (long long)n);
        if (got <= 0)
            return false;
        at += got;
        n -= got;
    }
    return true;
}

int64_t tn_reader_most(const tn_reader *r)
{
    enum { DEFLATE_RATIO = 1032 }; /* the most bytes that one byte of deflate can stand for */
    if (!r->gzip)
        return r->left;
    return r->size > INT64_MAX / DEFLATE_RATIO ? INT64_MAX : r->size * DEFLATE_RATIO;
}

bool tn_reader_end(tn_reader *r)
{
    char byte;
    int64_t got = r->gzip || r->entry ? some(r, &byte, 1) : r->left;
    if (got > 0)
        tn_fail(TN_ERR_FORMAT, "%s: %s: more bytes follow where the data should end", r->op, r->path);
    return got == 0;
}

void tn_reader_close(tn_reader *r)
{
    tn_gzip_close(r->gzip);
    r->gzip = NULL;
    tn_zip_entry_close(r);
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

/* ---- mapping ------------------------------------------------------------------------------------------------------------ */

struct tn_mapping {
    char *data;
    size_t size;
    int32_t refs;
};

tn_mapping *tn_mapping_new(const tn_reader *r)
{
    tn_mapping *m = tn_alloc(sizeof *m);
    if (!m)
        return NULL;
    /* MAP_NORESERVE: a file larger than the memory may be read, and few pages are written to. */
    void *data = mmap(NULL, (size_t)r->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, r->fd, 0);
    if (data == MAP_FAILED) {
        system_error(r->op, r->path, "cannot be mapped");
        tn_free(m, sizeof *m);
        return NULL;
    }
    *m = (tn_mapping){data, (size_t)r->size, 1};
    return m;
}

void tn_mapping_release(tn_mapping *m)
{
    if (!m || __atomic_fetch_sub(&m->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    munmap(m->data, m->size);
    tn_free(m, sizeof *m);
}

const char *tn_mapping_bytes(const tn_mapping *m) { return m->data; }

static void release_mapping(void *data, void *mapping)
{
    (void)data;
    tn_mapping_release(mapping);
}

tn_tensor *tn_mapping_over(tn_mapping *m, int64_t at, tn_shape shape, tn_dtype dtype)
{
    int64_t numel;
    if (!tn_shape_check("map", shape, &numel))
        return NULL;
    tn_storage *storage = tn_storage_over(m->data + at, (size_t)numel * tn_dtype_size(dtype), release_mapping, m);
    if (storage)
        __atomic_fetch_add(&m->refs, 1, __ATOMIC_RELAXED);
    return tn_over_storage(storage, shape, dtype);
}

tn_tensor *tn_mapping_tensor(tn_mapping *m, int64_t at, tn_shape shape, tn_dtype dtype)
{
    if ((uintptr_t)(m->data + at) % tn_dtype_size(dtype) == 0)
        return tn_mapping_over(m, at, shape, dtype);
    tn_tensor *x = tn_new("map", shape, dtype, (tn_device_id){TN_CPU, 0});
    return x ? memcpy(tn_ptr(x), m->data + at, (size_t)x->numel * tn_dtype_size(dtype)), x : NULL;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

static void free_names(tn_writer *w)
{
    tn_free(w->temporary, w->temporary_size);
    tn_free(w->target, w->target_size);
    w->temporary = w->target = NULL;
}

/* A new file of that name, locked as long as it is open; -1 with errno, EWOULDBLOCK where another file has the name. One that a killed writer
 * left, which nobody locks, is removed. Between an open and its lock others may rename or remove the file: then all is tried again. */
static int create_locked(const char *name, mode_t mode)
{
    for (int tries = 0; tries < 100; tries++) {
        struct stat mine, there;
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        const bool made = fd >= 0;
        if (!made && errno != EEXIST)
            return -1;
        if (!made)
            fd = open(name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 && errno == ENOENT)
            continue;
        if (fd < 0)
            break;
        const bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0, no_locks = !locked && errno != EWOULDBLOCK;
        const bool same = fstat(fd, &mine) == 0 && stat(name, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
        if (made && same && (locked || no_locks))
            return fd;
        if (!made && same && locked)
            unlink(name);
        close(fd);
        if (same && !locked)
            break;
    }
    errno = EWOULDBLOCK;
    return -1;
}

enum { MOST_WRITERS = 1000 }; /* of one path at a time */

tn_status tn_writer_open(tn_writer *w, const char *op, const char *path)
{
    *w = (tn_writer){.op = op, .path = path, .fd = -1};
    if (!path) {
        tn_fail(TN_ERR_ARGUMENT, "%s: path is NULL", op);
        return TN_ERR_ARGUMENT;
    }
    struct stat former;
    const bool exists = stat(path, &former) == 0;
    if (exists && !S_ISREG(former.st_mode)) {
        tn_fail(TN_ERR_IO, "%s: %s: cannot be written: it is no regular file", op, path);
        return TN_ERR_IO;
    }
    char *behind = exists ? realpath(path, NULL) : NULL; /* a link stays one: what it names is replaced */
    const char *target = behind ? behind : path;
    w->target_size = strlen(target) + 1;
    w->temporary_size = w->target_size + 40;
    w->target = tn_alloc(w->target_size);
    w->temporary = w->target ? tn_alloc(w->temporary_size) : NULL;
    if (w->temporary) {
        memcpy(w->target, target, w->target_size);
        for (int i = 0; w->fd < 0 && i < MOST_WRITERS && (i == 0 || errno == EWOULDBLOCK); i++) {
            snprintf(w->temporary, w->temporary_size, "%s.tenon%d.part", target, i);
            w->fd = create_locked(w->temporary, exists ? former.st_mode & 0777 : 0666);
        }
        if (w->fd < 0)
            system_error(op, path, "cannot be written: no file can be made beside it");
    }
    free(behind);
    if (w->fd >= 0)
        return TN_OK;
    const tn_status status = w->temporary ? TN_ERR_IO : TN_ERR_MEMORY;
    free_names(w);
    return status;
}

tn_status tn_writer_write(tn_writer *w, const void *data, size_t n)
{
    for (const char *at = data; n > 0;) {
        ssize_t put = write(w->fd, at, n < INT32_MAX ? n : INT32_MAX & ~4095);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            system_error(w->op, w->path, "cannot write");
            return TN_ERR_IO;
        }
        at += put;
        n -= (size_t)put;
    }
    return TN_OK;
}

/* The rename is on disk once the folder is; a file system that cannot sync a folder is no error. Overwrites the temporary's name. */
static void sync_folder(tn_writer *w)
{
    char *slash = strrchr(w->temporary, '/');
    strcpy(slash ? slash + 1 : w->temporary, slash ? "" : ".");
    int fd = open(w->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

tn_status tn_writer_close(tn_writer *w, tn_status status)
{
    if (!w->temporary)
        return status;
    if (status == TN_OK && !(fsync(w->fd) == 0 && rename(w->temporary, w->target) == 0)) {
        system_error(w->op, w->path, "cannot write");
        status = TN_ERR_IO;
    }
    if (status == TN_OK)
        sync_folder(w);
    else
        unlink(w->temporary);
    close(w->fd); /* and with it the lock, which is on no name any more */
    free_names(w);
    *w = (tn_writer){.fd = -1};
    return status;
}

/* ---- arrays that grow --------------------------------------------------------------------------------------------------- */

bool tn_grow(void *array, size_t count, size_t *capacity, size_t element)
{
    void *old, *bigger;
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? 2 * *capacity : 4;
    memcpy(&old, array, sizeof old);
    bigger = tn_alloc(wanted * element);
    if (!bigger)
        return false;
    if (old)
        memcpy(bigger, old, count * element);
    tn_free(old, *capacity * element);
    *capacity = wanted;
    memcpy(array, &bigger, sizeof bigger);
    return true;
}

/* ---- elements ----------------------------------------------------------------------------------------------------------- */

void tn_swap_bytes(void *data, int64_t count, size_t element)
{
    if (element == 2) {
        for (uint16_t *p = data, *end = p + count; p < end; p++)
            *p = __builtin_bswap16(*p);
    } else if (element == 4) {
        for (uint32_t *p = data, *end = p + count; p < end; p++)
            *p = __builtin_bswap32(*p);
    } else if (element == 8) {
        for (uint64_t *p = data, *end = p + count; p < end; p++)
            *p = __builtin_bswap64(*p);
    }
}

static char *pack_dim(const tn_tensor *x, int dim, const char *from, char *out)
{
    size_t element = tn_item_size(x);
    if (dim == x->ndim) {
        memcpy(out, from, element);
        return out + element;
    }
    int64_t step = x->strides[dim] * (int64_t)element;
    if (dim == x->ndim - 1 && x->strides[dim] == 1) {
        memcpy(out, from, (size_t)x->sizes[dim] * element);
        return out + (size_t)x->sizes[dim] * element;
    }
    for (int64_t i = 0; i < x->sizes[dim]; i++)
        out = pack_dim(x, dim + 1, from + i * step, out);
    return out;
}

void tn_pack(const tn_tensor *x, void *out)
{
    if (x->numel == 0)
        return;
    if (tn_has(x, TN_FLAG_CONTIGUOUS))
        memcpy(out, tn_ptr(x), (size_t)x->numel * tn_item_size(x));
    else
        pack_dim(x, 0, tn_ptr(x), out);
}

bool tn_bools_hold(const void *data, int64_t count)
{
    unsigned char all = 0;
    for (const unsigned char *p = data, *end = p + count; p < end; p++)
        all |= *p;
    return all <= 1;
}
