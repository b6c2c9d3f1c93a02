/* Zip archives read, through libzip, which checks each entry's CRC-32 where its last byte was read. */
#include "io/zip.h"

#ifdef TENON_HAVE_ZIP
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

enum { DEFLATE_RATIO = 1032 }; /* the most bytes that one byte of deflate can stand for */

static bool open_failed(const tn_zip *z, int code)
{
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    tn_fail(code == ZIP_ER_MEMORY ? TN_ERR_MEMORY : TN_ERR_FORMAT, "%s: %s: no zip archive, or a damaged one: %s", z->op, z->path,
            zip_error_strerror(&error));
    zip_error_fini(&error);
    return false;
}

/* Entries that lie over one another could make a small file claim any size. */
static bool entries_fit(tn_zip *z, int64_t size)
{
    uint64_t packed = 0;
    z->count = zip_get_num_entries(z->zip, 0);
    for (int64_t i = 0; i < z->count; i++) {
        zip_stat_t st;
        if (zip_stat_index(z->zip, (zip_uint64_t)i, 0, &st) != 0 || (~st.valid & (ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE)) ||
            st.comp_size > (uint64_t)size || (packed += st.comp_size) > (uint64_t)size) {
            tn_fail(TN_ERR_FORMAT, "%s: %s: entry %lld of the zip archive does not fit the file's %lld bytes", z->op, z->path, (long long)i,
                    (long long)size);
            return false;
        }
    }
    return true;
}

bool tn_zip_open(tn_zip *z, const char *op, const char *path)
{
    *z = (tn_zip){.op = op, .path = path};
    tn_reader file;
    if (!tn_reader_open(&file, op, path, false))
        return false;
    int code = 0;
    z->zip = zip_fdopen(file.fd, 0, &code);
    if (z->zip)
        file.fd = -1; /* libzip's now */
    bool ok = z->zip ? entries_fit(z, file.size) : open_failed(z, code);
    tn_reader_close(&file);
    if (!ok)
        tn_zip_close(z);
    return ok;
}

void tn_zip_close(tn_zip *z)
{
    if (z->zip)
        zip_discard(z->zip);
    z->zip = NULL;
}

const char *tn_zip_name(const tn_zip *z, int64_t i)
{
    const char *name = zip_get_name(z->zip, (zip_uint64_t)i, 0);
    return name ? name : "";
}

int64_t tn_zip_find(const tn_zip *z, const char *name) { return zip_name_locate(z->zip, name, 0); }

static uint32_t little(const uint8_t *b, int bytes)
{
    uint32_t number = 0;
    for (int i = 0; i < bytes; i++)
        number |= (uint32_t)b[i] << 8 * i;
    return number;
}

/* Where the central directory begins by the record at the archive's end, which a comment may follow; -1 where it is not found. */
static int64_t directory_of(const uint8_t *b, int64_t size)
{
    enum { END = 22, MOST_COMMENT = 65535 };
    for (int64_t at = size - END; at >= 0 && at >= size - END - MOST_COMMENT; at--)
        if (memcmp(b + at, "PK\5\6", 4) == 0 && at + END + little(b + at + 20, 2) == size)
            return little(b + at + 16, 4);
    return -1;
}

void tn_zip_places(const tn_zip *z, const void *bytes, int64_t size, int64_t *places)
{
    enum { CENTRAL = 46, LOCAL = 30 };
    const uint8_t *b = bytes;
    int64_t at = directory_of(b, size);
    for (int64_t i = 0; i < z->count; i++) {
        zip_stat_t st;
        places[i] = -1;
        if (at < 0 || at > size - CENTRAL || memcmp(b + at, "PK\1\2", 4) != 0 || zip_stat_index(z->zip, (zip_uint64_t)i, 0, &st) != 0)
            at = -1; /* and so are all that follow */
        if (at < 0)
            continue;
        const uint8_t *entry = b + at;
        const int64_t local = little(entry + 42, 4);
        at += CENTRAL + little(entry + 28, 2) + little(entry + 30, 2) + little(entry + 32, 2);
        if (st.comp_method != ZIP_CM_STORE || st.encryption_method != ZIP_EM_NONE || st.crc != little(entry + 16, 4) ||
            st.size != little(entry + 24, 4) || local > size - LOCAL || memcmp(b + local, "PK\3\4", 4) != 0)
            continue;
        const int64_t begin = local + LOCAL + little(b + local + 26, 2) + little(b + local + 28, 2);
        if (begin <= size && st.size <= (uint64_t)(size - begin))
            places[i] = begin;
    }
}

bool tn_zip_entry_open(tn_reader *r, const tn_zip *z, int64_t i, const char *path)
{
    *r = (tn_reader){.op = z->op, .path = path, .fd = -1};
    zip_stat_t st;
    if (zip_stat_index(z->zip, (zip_uint64_t)i, 0, &st) != 0 || (~st.valid & (ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD)) ||
        (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE) || st.encryption_method != ZIP_EM_NONE) {
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: is encrypted, or packed by another method than store and deflate", r->op, path);
        return false;
    }
    if (st.comp_method == ZIP_CM_STORE ? st.size != st.comp_size : st.size / DEFLATE_RATIO > st.comp_size) {
        tn_fail(TN_ERR_FORMAT, "%s: %s: %llu bytes cannot come of the %llu in the file", r->op, path, (unsigned long long)st.size,
                (unsigned long long)st.comp_size);
        return false;
    }
    r->size = r->left = (int64_t)st.size;
    r->entry = zip_fopen_index(z->zip, (zip_uint64_t)i, 0);
    if (!r->entry)
        tn_fail(TN_ERR_FORMAT, "%s: %s: %s", r->op, path, zip_strerror(z->zip));
    return r->entry != NULL;
}

int64_t tn_zip_some(tn_reader *r, void *out, int64_t n)
{
    zip_int64_t got = zip_fread(r->entry, out, (zip_uint64_t)(n < INT32_MAX ? n : INT32_MAX));
    if (got < 0)
        tn_fail(TN_ERR_FORMAT, "%s: %s: the zip archive is damaged: %s", r->op, r->path, zip_file_strerror(r->entry));
    r->left -= got > 0 ? got : 0;
    return got;
}

void tn_zip_entry_close(tn_reader *r)
{
    if (r->entry)
        zip_fclose(r->entry);
    r->entry = NULL;
}

#else

bool tn_zip_open(tn_zip *z, const char *op, const char *path)
{
    *z = (tn_zip){.op = op, .path = path};
    tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: this build is without libzip: build with it (libzip-dev)", op, path ? path : "(NULL)");
    return false;
}
void tn_zip_close(tn_zip *z) { (void)z; }
const char *tn_zip_name(const tn_zip *z, int64_t i) { return (void)z, (void)i, ""; }
int64_t tn_zip_find(const tn_zip *z, const char *name) { return (void)z, (void)name, -1; }
void tn_zip_places(const tn_zip *z, const void *bytes, int64_t size, int64_t *places) { (void)z, (void)bytes, (void)size, (void)places; }
bool tn_zip_entry_open(tn_reader *r, const tn_zip *z, int64_t i, const char *path) { return (void)r, (void)z, (void)i, (void)path, false; }
int64_t tn_zip_some(tn_reader *r, void *out, int64_t n) { return (void)r, (void)out, (void)n, -1; }
void tn_zip_entry_close(tn_reader *r) { (void)r; }

#endif
