/* PyTorch's files: a zip of data.pkl, a pickle that rebuilds tensors, and data/<key>, the bytes of each storage. */
#include "io/pickle.h"
#include "io/file.h"
#include "io/zip.h"

#include <stdio.h>
#include <string.h>

#include <tenon/io.h>

enum {
    PICKLE_MOST = 64 << 20, /* bytes of data.pkl */
    NAME_SIZE = 512,        /* of a path through the dicts */
    DEPTH_MOST = 32,        /* dicts and lists in one another */
    VISITS_MOST = 1 << 20,  /* values met on the way through them: a pickle may name one many times */
};

typedef struct load {
    const char *op, *path;
    tn_zip zip;
    char root[NAME_SIZE]; /* the folder in the zip that holds all */
    void *pickle;
    int64_t pickle_size;
    tn_pickle machine;
    bool swap;
    tn_dict *storages; /* by their keys, each as a tensor of one dimension */
    tn_dict *dict;
    int64_t visits;
    char name[NAME_SIZE];
} load;

#define NONE(...) tn_fail(TN_ERR_FORMAT, "%s: %s: " __VA_ARGS__)
#define BAD(...) (NONE(__VA_ARGS__), false)

/* ---- the archive -------------------------------------------------------------------------------------------------------- */

/* Entry i, read whole into memory of its size; NULL with an error. */
static void *read_entry(const load *l, int64_t i, int64_t most, int64_t *size)
{
    char where[2 * NAME_SIZE];
    snprintf(where, sizeof where, "%s: %s", l->path, tn_zip_name(&l->zip, i));
    tn_reader r;
    if (!tn_zip_entry_open(&r, &l->zip, i, where))
        return NULL;
    void *data = NULL;
    *size = r.size;
    if (r.size > most)
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: %lld bytes, and %lld are the most", l->op, where, (long long)r.size, (long long)most);
    else
        data = tn_alloc((size_t)r.size);
    if (data && !(tn_reader_read(&r, data, r.size) && tn_reader_end(&r))) {
        tn_free(data, (size_t)r.size);
        data = NULL;
    }
    tn_reader_close(&r);
    return data;
}

/* The place of root/name; -1 where there is none. */
static int64_t find(const load *l, const char *name)
{
    char full[2 * NAME_SIZE + 16];
    snprintf(full, sizeof full, "%s/%s", l->root, name);
    return tn_zip_find(&l->zip, full);
}

static bool find_root(load *l)
{
    for (int64_t i = 0; i < l->zip.count; i++) {
        const char *name = tn_zip_name(&l->zip, i), *slash = strchr(name, '/');
        if (slash && strcmp(slash, "/data.pkl") == 0 && slash - name < NAME_SIZE) {
            snprintf(l->root, sizeof l->root, "%.*s", (int)(slash - name), name);
            l->pickle = read_entry(l, i, PICKLE_MOST, &l->pickle_size);
            return l->pickle != NULL;
        }
    }
    return BAD("no file of torch.save(): the zip archive holds no data.pkl", l->op, l->path);
}

static bool read_byte_order(load *l)
{
    int64_t at = find(l, "byteorder"), size = 0;
    bool big = false;
    if (at >= 0) {
        char *text = read_entry(l, at, 16, &size);
        if (!text)
            return false;
        big = size == 3 && memcmp(text, "big", 3) == 0;
        bool known = big || (size == 6 && memcmp(text, "little", 6) == 0);
        tn_free(text, (size_t)size);
        if (!known)
            return BAD("byteorder is neither little nor big", l->op, l->path);
    }
    l->swap = big != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    return true;
}

/* ---- storages ----------------------------------------------------------------------------------------------------------- */

/* data/<key> as a tensor of count elements, the scope's. */
static tn_tensor *read_storage(const load *l, const char *key, tn_dtype dtype, int64_t count)
{
    char folder[NAME_SIZE + 8], where[2 * NAME_SIZE];
    snprintf(folder, sizeof folder, "data/%s", key);
    snprintf(where, sizeof where, "%s: %s", l->path, folder);
    int64_t at = find(l, folder);
    tn_reader r;
    if (at < 0)
        return NONE("%s is not in the zip archive", l->op, l->path, folder);
    if (!tn_zip_entry_open(&r, &l->zip, at, where))
        return NULL;
    tn_tensor *x = NULL;
    if (r.size % (int64_t)tn_dtype_size(dtype) || r.size / (int64_t)tn_dtype_size(dtype) != count)
        NONE("%lld bytes, and %lld elements of %s are named", l->op, where, (long long)r.size, (long long)count, tn_dtype_name(dtype));
    else
        x = tn_new(l->op, TN_SHAPE(count), dtype, (tn_device_id){TN_CPU, 0});
    bool ok = x && tn_reader_read(&r, tn_ptr(x), r.size) && tn_reader_end(&r);
    tn_reader_close(&r);
    if (ok && l->swap)
        tn_swap_bytes(tn_ptr(x), count, tn_dtype_size(dtype));
    return ok ? x : NULL;
}

/* The storage of a value (key, count), read where it was not yet; NULL with an error. */
static tn_tensor *storage_of(const load *l, const tn_pickle_value *value)
{
    const tn_pickle_value *key = tn_pickle_item(&l->machine, value, 0);
    int64_t count = tn_pickle_item(&l->machine, value, 1)->integer;
    tn_dtype dtype = (tn_dtype)value->dtype;
    char name[NAME_SIZE];
    if (key->count >= sizeof name || memchr(key->text, 0, key->count))
        return NONE("a storage's key is none", l->op, l->path);
    snprintf(name, sizeof name, "%.*s", (int)key->count, key->text);
    int64_t at = tn_dict_find(l->storages, name);
    tn_tensor *x = at >= 0 ? tn_dict_tensor(l->storages, at) : read_storage(l, name, dtype, count);
    if (!x || (at < 0 && tn_dict_set(l->storages, name, x) != TN_OK))
        return NULL;
    if (dtype != (tn_dtype)x->dtype) /* x.view(dtype) in PyTorch */
        return tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: storage %s is read as %s and as %s", l->op, l->path, name,
                       tn_dtype_name((tn_dtype)x->dtype), tn_dtype_name(dtype));
    if (at < 0 && dtype == TN_BOOL && !tn_bools_hold(tn_ptr(x), x->numel))
        return NONE("a storage of bool holds a byte that is neither 0 nor 1", l->op, l->path);
    return x;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------------ */

/* The ints of a tuple; false where it holds others, a negative one, or another count. */
static bool sizes_of(const load *l, const tn_pickle_value *tuple, int64_t *out)
{
    for (uint32_t i = 0; i < tuple->count; i++) {
        const tn_pickle_value *item = tn_pickle_item(&l->machine, tuple, i);
        if (item->kind != TN_PICKLE_INT || item->integer < 0)
            return false;
        out[i] = item->integer;
    }
    return true;
}

/* Whether the tensor's last element is one of count. */
static bool lies_within(tn_shape shape, const int64_t *strides, int64_t offset, int64_t count)
{
    int64_t last = offset, reach;
    bool empty = false;
    for (int i = 0; i < shape.ndim; i++)
        empty |= shape.sizes[i] == 0;
    for (int i = 0; i < shape.ndim && !empty; i++)
        if (__builtin_mul_overflow(shape.sizes[i] - 1, strides[i], &reach) || __builtin_add_overflow(last, reach, &last))
            return false;
    return empty ? offset <= count : last < count;
}

static tn_tensor *rebuild(const load *l, const tn_pickle_value *value)
{
    int64_t strides[TN_MAX_DIMS] = {0}, offset = tn_pickle_item(&l->machine, value, 1)->integer, numel;
    const tn_pickle_value *storage = tn_pickle_item(&l->machine, value, 0), *sizes = tn_pickle_item(&l->machine, value, 2),
                          *steps = tn_pickle_item(&l->machine, value, 3);
    tn_shape shape = {.ndim = (int)sizes->count};
    if (sizes->count > TN_MAX_DIMS)
        return tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: \"%s\" has %u dimensions: Tenon has %d at most", l->op, l->path, l->name, sizes->count,
                       TN_MAX_DIMS);
    if (steps->count != sizes->count || offset < 0 || !sizes_of(l, sizes, shape.sizes) || !sizes_of(l, steps, strides))
        return NONE("\"%s\" has sizes, strides or an offset that are none", l->op, l->path, l->name);
    tn_tensor *base = storage_of(l, storage);
    if (!base)
        return NULL;
    if (!tn_shape_check(l->op, shape, &numel))
        return tn_fail_within("%s: \"%s\"", l->path, l->name), NULL;
    if (!lies_within(shape, strides, offset, base->numel))
        return NONE("\"%s\" reaches beyond its storage", l->op, l->path, l->name);
    if (base->storage->refs > 1) /* shared with a tensor from before */
        return tn_view_of(base, shape.ndim, shape.sizes, strides, offset);
    tn_storage_retain(base->storage);
    return tn_over_storage_strided(base->storage, shape, strides, offset, (tn_dtype)base->dtype);
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */

static bool put(load *l, tn_tensor *x)
{
    const char *name = *l->name ? l->name : "tensor";
    if (x && tn_dict_find(l->dict, name) >= 0)
        return BAD("\"%s\" is there twice", l->op, l->path, name);
    return x && tn_dict_set(l->dict, name, x) == TN_OK;
}

static bool put_note(load *l, const tn_pickle_value *value)
{
    char *text = tn_alloc((size_t)value->count + 1);
    if (!text)
        return false;
    memcpy(text, value->text, value->count);
    text[value->count] = 0;
    bool ok = strlen(text) == value->count && tn_is_utf8(text, value->count)
                  ? tn_dict_set_note(l->dict, *l->name ? l->name : "text", text) == TN_OK
                  : BAD("\"%s\" is a text that is not UTF-8", l->op, l->path, l->name);
    tn_free(text, (size_t)value->count + 1);
    return ok;
}

/* Numbers of one kind as a tensor of rank 0, or of a list of them. */
static bool put_numbers(load *l, const tn_pickle_value *first, tn_shape shape, const tn_pickle_value *list)
{
    tn_dtype dtype = first->kind == TN_PICKLE_FLOAT ? TN_F64 : first->kind == TN_PICKLE_INT ? TN_I64 : TN_BOOL;
    tn_tensor *x = tn_new(l->op, shape, dtype, (tn_device_id){TN_CPU, 0});
    for (int64_t i = 0; x && i < x->numel; i++) {
        const tn_pickle_value *v = list ? tn_pickle_item(&l->machine, list, (uint32_t)i) : first;
        if (dtype == TN_BOOL)
            *(bool *)tn_ptr(x) = v->integer != 0;
        else
            memcpy(tn_ptr(x) + 8 * i, &v->integer, 8); /* a double's bytes too */
    }
    return put(l, x);
}

/* Whether all items are ints, or all are floats. */
static bool is_numbers(const load *l, const tn_pickle_value *list)
{
    uint8_t kind = list->count ? tn_pickle_item(&l->machine, list, 0)->kind : TN_PICKLE_NONE;
    for (uint32_t i = 1; i < list->count; i++)
        if (tn_pickle_item(&l->machine, list, i)->kind != kind)
            return false;
    return kind == TN_PICKLE_INT || kind == TN_PICKLE_FLOAT;
}

/* Puts a key, or a place in a list, behind the name; false with an error where it is none. */
static bool lengthen(load *l, size_t length, const tn_pickle_value *key, uint32_t place)
{
    char *at = l->name + length;
    size_t room = sizeof l->name - length;
    const char *dot = length ? "." : "";
    int added = -1;
    if (!key)
        added = snprintf(at, room, "%s%u", dot, place);
    else if (key->kind == TN_PICKLE_INT)
        added = snprintf(at, room, "%s%lld", dot, (long long)key->integer);
    else if (key->kind == TN_PICKLE_TEXT && !memchr(key->text, 0, key->count) && tn_is_utf8(key->text, key->count))
        added = snprintf(at, room, "%s%.*s", dot, (int)key->count, key->text);
    if (added < 0)
        return BAD("\"%.*s\" holds a key that is neither text nor a number", l->op, l->path, (int)length, l->name);
    return (size_t)added < room || BAD("a name of over %d bytes", l->op, l->path, NAME_SIZE - 1);
}

static bool walk(load *l, const tn_pickle_value *value, int depth);

static bool walk_items(load *l, const tn_pickle_value *value, int depth)
{
    size_t length = strlen(l->name);
    uint32_t step = value->kind == TN_PICKLE_DICT ? 2 : 1;
    if (step == 1 && is_numbers(l, value))
        return put_numbers(l, tn_pickle_item(&l->machine, value, 0), TN_SHAPE(value->count), value);
    for (uint32_t i = 0; i < value->count; i += step) {
        if (!lengthen(l, length, step == 2 ? tn_pickle_item(&l->machine, value, i) : NULL, i) ||
            !walk(l, tn_pickle_item(&l->machine, value, i + step - 1), depth + 1))
            return false;
        l->name[length] = 0;
    }
    return true;
}

static bool walk(load *l, const tn_pickle_value *value, int depth)
{
    TN_SCOPE;
    if (depth > DEPTH_MOST || l->visits++ > VISITS_MOST)
        return BAD("the pickle's dicts and lists are nested too deeply or too often", l->op, l->path);
    switch (value->kind) {
    case TN_PICKLE_NONE: return true;
    case TN_PICKLE_BOOL:
    case TN_PICKLE_INT:
    case TN_PICKLE_FLOAT: return put_numbers(l, value, TN_SCALAR, NULL);
    case TN_PICKLE_TEXT: return put_note(l, value);
    case TN_PICKLE_TUPLE:
    case TN_PICKLE_LIST:
    case TN_PICKLE_DICT: return walk_items(l, value, depth);
    case TN_PICKLE_TENSOR: return put(l, rebuild(l, value));
    default: return BAD("\"%s\" is a name or a storage by itself, not a tensor", l->op, l->path, l->name);
    }
}

/* ---- the file ----------------------------------------------------------------------------------------------------------- */

static bool read_all(load *l)
{
    if (!find_root(l) || !read_byte_order(l))
        return false;
    l->machine.op = l->op;
    l->machine.path = l->path;
    int64_t at = tn_pickle_read(&l->machine, l->pickle, (size_t)l->pickle_size);
    return at >= 0 && walk(l, &l->machine.values[at], 0);
}

bool tn_is_pt(const char *path)
{
    tn_zip zip;
    bool found = false;
    if (!tn_zip_open(&zip, "load_pt", path))
        return false;
    for (int64_t i = 0; i < zip.count && !found; i++) {
        const char *slash = strchr(tn_zip_name(&zip, i), '/');
        found = slash && strcmp(slash, "/data.pkl") == 0;
    }
    tn_zip_close(&zip);
    return found;
}

tn_dict *tn_load_pt(const char *path)
{
    load *l = tn_failing() ? NULL : tn_alloc_zero(sizeof *l);
    if (!l)
        return NULL;
    l->op = "load_pt";
    l->path = path;
    bool ok = tn_zip_open(&l->zip, l->op, path) && (l->dict = tn_dict_new()) && (l->storages = tn_dict_new()) && read_all(l);
    tn_release(l->storages);
    tn_pickle_free(&l->machine);
    tn_free(l->pickle, (size_t)l->pickle_size);
    tn_zip_close(&l->zip);
    tn_dict *dict = l->dict;
    tn_free(l, sizeof *l);
    if (ok)
        return tn_autorelease(dict);
    tn_release(dict);
    return NULL;
}
