/* safetensors, written: 8 bytes of header length, a JSON header padded with spaces to 8, the data. */
#include "io/safetensors.h"

#include <stdio.h>
#include <string.h>
#include <tenon/io.h>
#include <tenon/ops.h>

static const char *const names[TN_DTYPE_COUNT] = {
    [TN_F32] = "F32", [TN_F64] = "F64", [TN_F16] = "F16", [TN_BF16] = "BF16", [TN_I64] = "I64",
    [TN_I32] = "I32", [TN_I16] = "I16", [TN_I8] = "I8",   [TN_U8] = "U8",     [TN_BOOL] = "BOOL"};

const char *tn_safetensors_name(tn_dtype dtype) { return names[dtype]; }

tn_dtype tn_safetensors_dtype(const char *name)
{
    for (int i = 0; i < TN_DTYPE_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return (tn_dtype)i;
    return TN_DTYPE_DEFAULT;
}

/* ---- the header --------------------------------------------------------------------------------------------------------- */

/* Text measured in a first pass (data NULL) and written in a second. */
typedef struct text {
    char *data;
    size_t used;
} text;

static void put(text *t, const char *s, size_t length)
{
    if (t->data)
        memcpy(t->data + t->used, s, length);
    t->used += length;
}

static void put_string(text *t, const char *s)
{
    put(t, "\"", 1);
    for (; *s; s++) {
        char escaped[8];
        if (*s == '"' || *s == '\\')
            put(t, (char[]){'\\', *s}, 2);
        else if ((unsigned char)*s < 0x20)
            put(t, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned char)*s));
        else
            put(t, s, 1);
    }
    put(t, "\"", 1);
}

static void put_number(text *t, const char *before, int64_t number)
{
    char digits[24];
    put(t, before, strlen(before));
    put(t, digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)number));
}

static size_t bytes_of(const tn_tensor *x) { return (size_t)x->numel * tn_item_size(x); }

static void put_notes(text *t, const tn_dict *dict)
{
    for (int64_t i = 0; i < tn_dict_note_count(dict); i++) {
        const char *key = tn_dict_note_key(dict, i);
        put(t, i ? "," : "\"__metadata__\":{", i ? 1 : 16);
        put_string(t, key);
        put(t, ":", 1);
        put_string(t, tn_dict_note(dict, key));
    }
    if (tn_dict_note_count(dict) > 0)
        put(t, tn_dict_count(dict) ? "}," : "}", tn_dict_count(dict) ? 2 : 1);
}

/* The header of a dict whose tensors begin at begins[i]. */
static void put_header(text *t, const tn_dict *dict, const int64_t *begins)
{
    t->used = 0;
    put(t, "{", 1);
    put_notes(t, dict);
    for (int64_t i = 0; i < tn_dict_count(dict); i++) {
        const tn_tensor *x = tn_dict_tensor(dict, i);
        put(t, ",", i > 0);
        put_string(t, tn_dict_name(dict, i));
        put(t, ":{\"dtype\":", 10);
        put_string(t, names[x->dtype]);
        put(t, ",\"shape\":[", 10);
        for (int d = 0; d < x->ndim; d++)
            put_number(t, d ? "," : "", x->sizes[d]);
        put_number(t, "],\"data_offsets\":[", begins[i]);
        put_number(t, ",", begins[i] + (int64_t)bytes_of(x));
        put(t, "]}", 2);
    }
    put(t, "}", 1);
    put(t, "       ", (8 - t->used % 8) % 8);
}

/* ---- the file ----------------------------------------------------------------------------------------------------------- */

static tn_status check(const tn_dict *dict)
{
    for (int64_t i = 0; i < tn_dict_count(dict); i++) {
        const char *name = tn_dict_name(dict, i);
        if (!tn_is_utf8(name, strlen(name)) || strcmp(name, "__metadata__") == 0) {
            tn_fail(TN_ERR_ARGUMENT, "save_safetensors: tensor %lld: its name is %s", (long long)i,
                    *name == '_' ? "kept for the notes: __metadata__" : "not UTF-8");
            return TN_ERR_ARGUMENT;
        }
    }
    for (int64_t i = 0; i < tn_dict_note_count(dict); i++) {
        const char *key = tn_dict_note_key(dict, i), *note = tn_dict_note(dict, key);
        if (!tn_is_utf8(key, strlen(key)) || !tn_is_utf8(note, strlen(note))) {
            tn_fail(TN_ERR_ARGUMENT, "save_safetensors: note %lld is not UTF-8", (long long)i);
            return TN_ERR_ARGUMENT;
        }
    }
    return TN_OK;
}

static tn_status write_tensor(tn_writer *w, const tn_tensor *x)
{
    size_t bytes = bytes_of(x);
    if (x->storage->device.type != TN_CPU && !(x = tn_to((tn_tensor *)(uintptr_t)x, (tn_device_id){TN_CPU, 0})))
        return tn_last_status();
    if (tn_has(x, TN_FLAG_CONTIGUOUS) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        return tn_writer_write(w, tn_ptr(x), bytes);
    void *packed = tn_alloc(bytes);
    if (!packed)
        return TN_ERR_MEMORY;
    tn_pack(x, packed);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    tn_swap_bytes(packed, x->numel, tn_item_size(x));
#endif
    tn_status status = tn_writer_write(w, packed, bytes);
    tn_free(packed, bytes);
    return status;
}

/* Widest elements first: with the header a multiple of 8, each tensor is then aligned to its elements. */
static const unsigned char widths[] = {8, 4, 2, 1};

static tn_status write_file(tn_writer *w, const tn_dict *dict, const text *header, tn_made *made, const void *context)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(header->used >> 8 * i);
    tn_status status = tn_writer_write(w, length, 8);
    if (status == TN_OK)
        status = tn_writer_write(w, header->data, header->used);
    for (int k = 0; k < TN_COUNT(widths); k++)
        for (int64_t i = 0; status == TN_OK && i < tn_dict_count(dict); i++) {
            TN_SCOPE;
            TN_NO_GRAD;
            const tn_tensor *x = tn_dict_tensor(dict, i);
            if (tn_item_size(x) != widths[k])
                continue;
            x = made ? made(context, tn_dict_name(dict, i)) : x;
            status = x ? write_tensor(w, x) : tn_last_status();
        }
    return status;
}

tn_status tn_save_safetensors(const tn_dict *dict, const char *path) { return tn_save_safetensors_made(dict, path, NULL, NULL); }

tn_status tn_save_safetensors_made(const tn_dict *dict, const char *path, tn_made *made, const void *context)
{
    if (!dict) {
        tn_fail(TN_ERR_ARGUMENT, "save_safetensors: dict is NULL");
        return TN_ERR_ARGUMENT;
    }
    tn_status status = check(dict);
    if (status != TN_OK)
        return status;
    int64_t count = tn_dict_count(dict), at = 0;
    int64_t *begins = tn_alloc((size_t)count * sizeof *begins);
    if (!begins)
        return TN_ERR_MEMORY;
    for (int k = 0; k < TN_COUNT(widths); k++) {
        for (int64_t i = 0; i < count; i++) {
            const tn_tensor *x = tn_dict_tensor(dict, i);
            if (tn_item_size(x) == widths[k]) {
                begins[i] = at;
                at += (int64_t)bytes_of(x);
            }
        }
    }
    text header = {0};
    put_header(&header, dict, begins);
    size_t length = header.used;
    header.data = tn_alloc(length);
    status = header.data ? TN_OK : TN_ERR_MEMORY;
    if (status == TN_OK && length > TN_SAFETENSORS_HEADER_MAX) {
        tn_fail(TN_ERR_ARGUMENT, "save_safetensors: a header of %zu bytes is over the format's limit of 100000000", length);
        status = TN_ERR_ARGUMENT;
    }
    if (status == TN_OK) {
        put_header(&header, dict, begins);
        tn_writer w;
        status = tn_writer_open(&w, "save_safetensors", path);
        status = tn_writer_close(&w, status == TN_OK ? write_file(&w, dict, &header, made, context) : status);
    }
    tn_free(header.data, length);
    tn_free(begins, (size_t)count * sizeof *begins);
    return status;
}
