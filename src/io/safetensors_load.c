/* safetensors, read: the whole header is checked against the file before anything is allocated for a tensor. */
#include "io/safetensors.h"

#include <tenon/io.h>

#ifdef TENON_HAVE_CJSON
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    const char *name, *dtype_name;
    tn_dtype dtype; /* TN_DTYPE_DEFAULT: one that Tenon has not, which is only listed */
    tn_shape shape;
    int64_t begin, end; /* bytes from the end of the header */
    tn_tensor *tensor;
} entry;

typedef struct load {
    tn_reader file;
    cJSON *json;
    entry *entries;
    int64_t count;
    tn_mapping *mapping; /* NULL: tensors are read */
    const tn_safetensors_lister *lister; /* not NULL: neither, they are listed */
    tn_dict *dict;
} load;

#define BAD(...) (tn_fail(TN_ERR_FORMAT, "%s: %s: " __VA_ARGS__), false)

/* A whole number that a double holds exactly. */
static bool whole(const cJSON *item, int64_t *value)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= 9007199254740992.0))
        return false;
    *value = (int64_t)item->valuedouble;
    return (double)*value == item->valuedouble;
}

/* JSON that no C string could carry (a NUL), or that cJSON would let pass and the format does not. */
static bool plain_text(const load *l, const char *text, int64_t length)
{
    for (int64_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        bool escape = c == '\\' && i + 1 < length;
        if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (escape && i + 5 < length && memcmp(text + i, "\\u0000", 6) == 0))
            return BAD("the header holds a control character", l->file.op, l->file.path);
        i += escape;
    }
    return tn_is_utf8(text, (size_t)length) || BAD("the header is not UTF-8", l->file.op, l->file.path);
}

static bool parse_json(load *l, int64_t length)
{
    char *text = tn_alloc((size_t)length);
    if (!text)
        return false;
    bool ok = tn_reader_read(&l->file, text, length) && plain_text(l, text, length);
    if (ok && text[0] != '{')
        ok = BAD("the header does not begin with {", l->file.op, l->file.path);
    if (ok) {
        const char *end = NULL;
        TN_C_NUMBERS;
        l->json = cJSON_ParseWithLengthOpts(text, (size_t)length, &end, false);
        while (l->json && end < text + length && *end == ' ')
            end++;
        if (!l->json || end != text + length)
            ok = BAD("the header is no JSON object: see byte %lld", l->file.op, l->file.path, (long long)(end ? 8 + (end - text) : 8));
    }
    tn_free(text, (size_t)length);
    return ok;
}

static bool read_header(load *l)
{
    unsigned char bytes[8];
    uint64_t length = 0;
    if (!tn_reader_read(&l->file, bytes, 8))
        return false;
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)bytes[i] << 8 * i;
    if (length > TN_SAFETENSORS_HEADER_MAX || length > (uint64_t)l->file.left || length < 2)
        return BAD("no safetensors file, or a damaged one: a header of %llu bytes does not fit a file of %lld", l->file.op, l->file.path, (unsigned long long)length,
                   (long long)l->file.size);
    return parse_json(l, (int64_t)length);
}

/* {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, and nothing else. */
static bool read_entry(const load *l, const cJSON *item, entry *e)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    const char *path = l->file.path;
    e->name = item->string;
    if (!cJSON_IsObject(item) || cJSON_GetArraySize(item) != 3 || !cJSON_IsString(dtype) || !cJSON_IsArray(shape) ||
        !cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !whole(offsets->child, &e->begin) ||
        !whole(offsets->child->next, &e->end) || e->begin > e->end)
        return BAD("\"%s\" does not have just a dtype, a shape and two offsets in order", l->file.op, path, e->name);
    e->dtype_name = dtype->valuestring;
    e->dtype = tn_safetensors_dtype(e->dtype_name);
    const bool known = e->dtype != TN_DTYPE_DEFAULT;
    int ndim = cJSON_GetArraySize(shape);
    if (!(known || l->lister) || ndim > TN_MAX_DIMS) {
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: \"%s\" is of dtype %s with %d dimensions: Tenon has no such tensor", l->file.op,
                path, e->name, dtype->valuestring, ndim);
        return false;
    }
    int64_t bytes = known ? (int64_t)tn_dtype_size(e->dtype) : 1;
    for (const cJSON *size = shape->child; size; size = size->next)
        if (!whole(size, &e->shape.sizes[e->shape.ndim]) ||
            __builtin_mul_overflow(bytes, e->shape.sizes[e->shape.ndim++], &bytes))
            return BAD("\"%s\" has a shape that is none", l->file.op, path, e->name);
    if (known && bytes != e->end - e->begin)
        return BAD("\"%s\" needs %lld bytes by its shape and has %lld by its offsets", l->file.op, path, e->name, (long long)bytes,
                   (long long)(e->end - e->begin));
    return true;
}

static bool read_notes(const load *l, const cJSON *notes)
{
    if (!cJSON_IsObject(notes) || tn_dict_note_count(l->dict) > 0)
        return BAD("__metadata__ is no object, or there twice", l->file.op, l->file.path);
    for (const cJSON *note = notes->child; note; note = note->next) {
        if (!cJSON_IsString(note))
            return BAD("__metadata__ holds \"%s\", which is no text", l->file.op, l->file.path, note->string);
        if (tn_dict_set_note(l->dict, note->string, note->valuestring) != TN_OK)
            return false;
    }
    return true;
}

static int by_name(const void *a, const void *b) { return strcmp((*(entry *const *)a)->name, (*(entry *const *)b)->name); }

static bool names_differ(const load *l, entry **order)
{
    for (int64_t i = 0; i < l->count; i++)
        order[i] = &l->entries[i];
    qsort(order, (size_t)l->count, sizeof(entry *), by_name);
    for (int64_t i = 1; i < l->count; i++)
        if (by_name(&order[i - 1], &order[i]) == 0)
            return BAD("\"%s\" is there twice", l->file.op, l->file.path, order[i]->name);
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const entry *x = *(entry *const *)a, *y = *(entry *const *)b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* e's tensor, owned. Data are read in their order; a mapping's begin where the header ends, at l->file.left from the file's end. */
static bool read_tensor(load *l, entry *e)
{
    if (l->mapping) {
        e->tensor = tn_keep(tn_mapping_tensor(l->mapping, l->file.size - l->file.left + e->begin, e->shape, e->dtype));
        if (!e->tensor)
            return false;
    } else {
        e->tensor = tn_new_owned("load_safetensors", e->shape, e->dtype, (tn_device_id){TN_CPU, 0});
        if (!e->tensor || !tn_reader_read(&l->file, tn_ptr(e->tensor), e->end - e->begin))
            return false;
    }
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    tn_swap_bytes(tn_ptr(e->tensor), e->tensor->numel, tn_item_size(e->tensor));
#endif
    if (e->dtype == TN_BOOL && !tn_bools_hold(tn_ptr(e->tensor), e->tensor->numel))
        return BAD("\"%s\" is BOOL and holds a byte that is neither 0 nor 1", l->file.op, l->file.path, e->name);
    return true;
}

/* The data in the order of the file: no holes, no overlap, no byte left. order has all entries. */
static bool read_data(load *l, entry **order)
{
    qsort(order, (size_t)l->count, sizeof(entry *), by_offset);
    int64_t at = 0;
    for (int64_t i = 0; i < l->count; at = order[i++]->end)
        if (order[i]->begin != at)
            return BAD("\"%s\" begins at %lld and the data before it ends at %lld", l->file.op, l->file.path, order[i]->name,
                       (long long)order[i]->begin, (long long)at);
    if (at != l->file.left)
        return BAD("the header tells of %lld bytes of data and the file holds %lld", l->file.op, l->file.path, (long long)at,
                   (long long)l->file.left);
    if (l->lister)
        return true;
    for (int64_t i = 0; i < l->count; i++)
        if (!read_tensor(l, order[i]))
            return false;
    return true;
}

static void tell(const load *l)
{
    for (int64_t i = 0; i < tn_dict_note_count(l->dict); i++) {
        const char *key = tn_dict_note_key(l->dict, i);
        l->lister->note(l->lister->context, key, tn_dict_note(l->dict, key));
    }
    for (int64_t i = 0; i < l->count; i++) {
        const entry *e = &l->entries[i];
        l->lister->tensor(l->lister->context, e->name, e->dtype_name, e->shape, e->end - e->begin);
    }
}

static bool read_tensors(load *l)
{
    size_t size = (size_t)cJSON_GetArraySize(l->json);
    entry **order = tn_alloc(size * sizeof *order);
    l->entries = tn_alloc_zero(size * sizeof *l->entries);
    bool ok = order && l->entries;
    for (const cJSON *item = l->json->child; ok && item; item = item->next)
        ok = strcmp(item->string, "__metadata__") == 0 ? read_notes(l, item) : read_entry(l, item, &l->entries[l->count++]);
    ok = ok && names_differ(l, order) && read_data(l, order);
    if (ok && l->lister)
        tell(l);
    for (int64_t i = 0; i < l->count && !l->lister; i++) {
        const entry *e = &l->entries[i];
        ok = ok && tn_dict_set(l->dict, e->name, e->tensor) == TN_OK;
        tn_release(e->tensor);
    }
    tn_free(order, size * sizeof *order);
    tn_free(l->entries, size * sizeof *l->entries);
    return ok;
}

static tn_dict *open_and_read(const char *op, const char *path, bool map, const tn_safetensors_lister *lister)
{
    load l = {.lister = lister};
    if (!tn_reader_open(&l.file, op, path, false))
        return NULL;
    l.dict = tn_dict_new();
    bool ok = l.dict && read_header(&l) && (!map || (l.mapping = tn_mapping_new(&l.file))) && read_tensors(&l);
    cJSON_Delete(l.json);
    tn_mapping_release(l.mapping);
    tn_reader_close(&l.file);
    if (ok)
        return tn_autorelease(l.dict);
    tn_release(l.dict);
    return NULL;
}

#else

static tn_dict *open_and_read(const char *op, const char *path, bool map, const tn_safetensors_lister *lister)
{
    (void)map, (void)lister;
    return tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: this build is without cJSON: build with it (libcjson-dev)", op, path ? path : "(NULL)");
}

#endif

tn_dict *tn_load_safetensors(const char *path) { return open_and_read("load_safetensors", path, false, NULL); }
tn_dict *tn_map_safetensors(const char *path) { return open_and_read("map_safetensors", path, true, NULL); }

bool tn_list_safetensors(const char *op, const char *path, const tn_safetensors_lister *lister)
{
    TN_SCOPE;
    return open_and_read(op, path, false, lister) != NULL;
}
