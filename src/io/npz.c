/* NPZ: a zip archive whose entries, name.npy, are arrays in NumPy's format. */
#include "io/npy.h"
#include "io/zip.h"

#include <stdio.h>
#include <string.h>

#include <tenon/io.h>

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

enum { NAME_SIZE = 1024 };

/* Entry i, under its name without .npy; over the mapping where its bytes lie there from `at` on, which is -1 where they do not. */
static bool read_entry(const tn_zip *z, int64_t i, tn_dict *dict, tn_mapping *mapping, int64_t at)
{
    TN_SCOPE;
    char name[NAME_SIZE], where[2 * NAME_SIZE];
    size_t length = strlen(tn_zip_name(z, i));
    snprintf(name, sizeof name, "%s", tn_zip_name(z, i));
    snprintf(where, sizeof where, "%s: %s", z->path, name);
    if (length < 5 || length >= sizeof name || strcmp(name + length - 4, ".npy") != 0) {
        tn_fail(TN_ERR_FORMAT, "%s: %s: is no array, name.npy", z->op, where);
        return false;
    }
    name[length - 4] = 0;
    if (tn_dict_find(dict, name) >= 0) {
        tn_fail(TN_ERR_FORMAT, "%s: %s: is there twice", z->op, where);
        return false;
    }
    tn_reader r;
    tn_tensor *x = !tn_zip_entry_open(&r, z, i, where) ? NULL : at < 0 ? tn_npy_read(&r) : tn_npy_map(&r, mapping, at);
    tn_reader_close(&r);
    return x && tn_dict_set(dict, name, x) == TN_OK;
}

static tn_dict *read_entries(const tn_zip *z, tn_mapping *mapping, const int64_t *places)
{
    tn_dict *dict = tn_dict_new();
    bool ok = dict != NULL;
    for (int64_t i = 0; ok && i < z->count; i++)
        ok = read_entry(z, i, dict, mapping, places ? places[i] : -1);
    if (ok)
        return tn_autorelease(dict);
    tn_release(dict);
    return NULL;
}

tn_dict *tn_load_npz(const char *path)
{
    tn_zip z;
    if (!tn_zip_open(&z, "load_npz", path))
        return NULL;
    tn_dict *dict = read_entries(&z, NULL, NULL);
    tn_zip_close(&z);
    return dict;
}

tn_dict *tn_map_npz(const char *path)
{
    tn_zip z;
    tn_reader file;
    if (!tn_zip_open(&z, "load_npz", path))
        return NULL;
    tn_mapping *mapping = tn_reader_open(&file, z.op, path, false) ? tn_mapping_new(&file) : NULL;
    int64_t *places = mapping ? tn_alloc((size_t)z.count * sizeof *places) : NULL;
    if (places)
        tn_zip_places(&z, tn_mapping_bytes(mapping), file.size, places);
    tn_dict *dict = places ? read_entries(&z, mapping, places) : NULL;
    tn_free(places, (size_t)z.count * sizeof *places);
    tn_mapping_release(mapping);
    tn_reader_close(&file);
    tn_zip_close(&z);
    return dict;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

#ifdef TENON_HAVE_ZIP
#include <errno.h>
#include <unistd.h>
#include <zip.h>

/* One tensor as libzip reads it: its header, then its elements, packed while the entry is open where they do not lie so. */
typedef struct source {
    const tn_tensor *x, *open; /* the dict's, and what is read while the entry is open */
    tn_made *made;
    const void *context;
    const char *name;
    char head[TN_NPY_HEADER_SIZE];
    size_t head_size, bytes, at;
    void *packed;
} source;

static void close_source(source *s)
{
    tn_free(s->packed, s->packed ? s->bytes : 0);
    tn_release(s->open);
    s->packed = NULL;
    s->open = NULL;
}

static zip_int64_t open_source(source *s)
{
    TN_SCOPE;
    s->at = 0;
    s->open = tn_retain(s->made ? s->made(s->context, s->name) : s->x);
    if (!s->open)
        return -1;
    if (tn_has(s->open, TN_FLAG_CONTIGUOUS))
        return 0;
    s->packed = tn_alloc(s->bytes);
    if (!s->packed)
        return close_source(s), -1;
    tn_pack(s->open, s->packed);
    return 0;
}

static zip_int64_t read_source(source *s, char *out, zip_uint64_t n)
{
    const char *data = s->packed ? s->packed : tn_ptr(s->open);
    size_t put = 0;
    while (put < n && s->at < s->head_size + s->bytes) {
        bool head = s->at < s->head_size;
        size_t part = head ? s->head_size - s->at : s->head_size + s->bytes - s->at;
        part = part < n - put ? part : (size_t)n - put;
        memcpy(out + put, head ? s->head + s->at : data + (s->at - s->head_size), part);
        s->at += part;
        put += part;
    }
    return (zip_int64_t)put;
}

static zip_int64_t source_call(void *self, void *data, zip_uint64_t size, zip_source_cmd_t command)
{
    source *s = self;
    switch (command) {
    case ZIP_SOURCE_OPEN: return open_source(s);
    case ZIP_SOURCE_READ: return read_source(s, data, size);
    case ZIP_SOURCE_CLOSE: return close_source(s), 0;
    case ZIP_SOURCE_STAT: {
        zip_stat_t st;
        zip_stat_init(&st);
        st.size = s->head_size + s->bytes;
        st.valid = ZIP_STAT_SIZE;
        memcpy(data, &st, sizeof st);
        return sizeof st;
    }
    case ZIP_SOURCE_ERROR: {
        int error[2] = {ZIP_ER_MEMORY, 0};
        memcpy(data, error, sizeof error);
        return sizeof error;
    }
    case ZIP_SOURCE_FREE: return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
                                              ZIP_SOURCE_FREE, -1);
    default: return -1;
    }
}

static bool add_entry(zip_t *zip, const char *name, source *s, bool compress)
{
    char entry[NAME_SIZE];
    enum { YEAR_1980 = 1 << 5 | 1 }; /* the zip format's first day: the same tensors give the same bytes */
    snprintf(entry, sizeof entry, "%s.npy", name);
    zip_source_t *from = zip_source_function(zip, source_call, s);
    zip_int64_t i = from ? zip_file_add(zip, entry, from, ZIP_FL_ENC_UTF_8) : -1;
    if (i >= 0)
        return zip_set_file_compression(zip, (zip_uint64_t)i, compress ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0) == 0 &&
               zip_file_set_dostime(zip, (zip_uint64_t)i, 0, YEAR_1980, 0) == 0;
    zip_source_free(from);
    return false;
}

/* The archive as libzip writes it: through the writer. Left to itself it would write a file of its own, which a kill leaves behind. */
static zip_int64_t archive_call(void *self, void *data, zip_uint64_t size, zip_source_cmd_t command)
{
    tn_writer *w = self;
    switch (command) {
    case ZIP_SOURCE_WRITE: return tn_writer_write(w, data, size) == TN_OK ? (zip_int64_t)size : -1;
    case ZIP_SOURCE_TELL_WRITE: return lseek(w->fd, 0, SEEK_CUR);
    case ZIP_SOURCE_SEEK_WRITE: {
        const off_t at = lseek(w->fd, 0, SEEK_CUR), end = lseek(w->fd, 0, SEEK_END);
        zip_int64_t to = zip_source_seek_compute_offset((zip_uint64_t)at, (zip_uint64_t)end, data, size, NULL);
        return to >= 0 && lseek(w->fd, to, SEEK_SET) == to ? 0 : -1;
    }
    case ZIP_SOURCE_STAT: zip_stat_init(data); return sizeof(zip_stat_t);
    case ZIP_SOURCE_ERROR: {
        int error[2] = {ZIP_ER_WRITE, errno};
        memcpy(data, error, sizeof error);
        return sizeof error;
    }
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                              ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_BEGIN_WRITE, ZIP_SOURCE_COMMIT_WRITE,
                                              ZIP_SOURCE_ROLLBACK_WRITE, ZIP_SOURCE_WRITE, ZIP_SOURCE_SEEK_WRITE, ZIP_SOURCE_TELL_WRITE,
                                              ZIP_SOURCE_REMOVE, -1);
    default: return 0;
    }
}

static tn_status write_zip(tn_writer *w, const tn_npz_args *a, source *sources)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *to = zip_source_function_create(archive_call, w, &error);
    zip_t *zip = to ? zip_open_from_source(to, ZIP_CREATE | ZIP_TRUNCATE, &error) : NULL;
    bool ok = zip != NULL;
    for (int64_t i = 0; ok && i < tn_dict_count(a->dict); i++)
        ok = add_entry(zip, tn_dict_name(a->dict, i), &sources[i], a->compress);
    ok = ok && zip_close(zip) == 0;
    if (!ok)
        tn_fail(TN_ERR_IO, "%s: %s: cannot write: %s", w->op, w->path, zip ? zip_strerror(zip) : zip_error_strerror(&error));
    if (!ok && zip)
        zip_discard(zip);
    else if (!zip)
        zip_source_free(to);
    zip_error_fini(&error);
    return ok ? TN_OK : TN_ERR_IO;
}

static bool prepare(source *s, const char *name, const tn_tensor *x, tn_made *made, const void *context)
{
    if (strlen(name) + 5 > NAME_SIZE || !*name) {
        tn_fail(TN_ERR_ARGUMENT, "save_npz: a name of %zu bytes: 1 to %d can be written", strlen(name), NAME_SIZE - 5);
        return false;
    }
    if (!tn_npy_writable("save_npz", name, x))
        return false;
    *s = (source){.x = x, .name = name, .made = made, .context = context};
    s->bytes = (size_t)x->numel * tn_item_size(x);
    s->head_size = tn_npy_header("save_npz", x, s->head);
    return s->head_size > 0;
}

tn_status tn_save_npz_made(const tn_npz_args *args, tn_made *made, const void *context)
{
    TN_ERROR_ASIDE;
    int64_t count = tn_dict_count(args->dict);
    if (count == 0)
        tn_fail(TN_ERR_ARGUMENT, args->dict ? "save_npz: the dict holds no tensors" : "save_npz: dict is NULL");
    source *sources = tn_failing() ? NULL : tn_alloc_zero((size_t)count * sizeof *sources);
    bool ok = sources != NULL;
    for (int64_t i = 0; ok && i < count; i++) {
        ok = prepare(&sources[i], tn_dict_name(args->dict, i), tn_dict_tensor(args->dict, i), made, context);
        if (!ok && tn_last_status() != TN_ERR_ARGUMENT)
            tn_fail_within("\"%s\"", tn_dict_name(args->dict, i));
    }
    tn_writer w;
    if (ok) {
        tn_status status = tn_writer_open(&w, "save_npz", args->path);
        status = tn_writer_close(&w, status == TN_OK ? write_zip(&w, args, sources) : status);
        (void)status;
    }
    tn_free(sources, (size_t)count * sizeof *sources);
    return tn_last_status();
}

#else

tn_status tn_save_npz_made(const tn_npz_args *args, tn_made *made, const void *context)
{
    (void)args, (void)made, (void)context;
    TN_ERROR_ASIDE;
    tn_fail(TN_ERR_UNSUPPORTED, "save_npz: this build is without libzip: build with it (libzip-dev)");
    return tn_last_status();
}

#endif

tn_status tn_save_npz_with(const tn_npz_args *args)
{
    TN_KNOWN(tn_npz_args, args);
    return tn_save_npz_made(args, NULL, NULL);
}
