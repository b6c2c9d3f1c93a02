/* GGUF, written: version 3. Values are encoded when they are set; tensors are made into blocks one at a time when the file is saved. */
#include "io/gguf.h"

#include "io/file.h"

#include <string.h>

/* Bytes that grow. */
typedef struct buffer {
    uint8_t *data; /* NULL while only measured */
    size_t used, size;
} buffer;

typedef struct value {
    char *key;
    buffer bytes; /* its kind and what follows */
} value;

typedef struct entry {
    char *name;
    const void *owner; /* the tensor, or what blocks.data is of */
    tn_gguf_make *make; /* what makes the blocks of the context; NULL where they are there */
    const void *context;
    tn_blocks blocks;
} entry;

struct tn_gguf_writer {
    tn_object base;
    value *values;
    entry *entries;
    size_t value_count, value_capacity, entry_count, entry_capacity;
};

static void free_text(char *text)
{
    if (text)
        tn_free(text, strlen(text) + 1);
}

static void writer_free(void *self)
{
    tn_gguf_writer *w = self;
    for (size_t i = 0; i < w->value_count; i++) {
        free_text(w->values[i].key);
        tn_free(w->values[i].bytes.data, w->values[i].bytes.size);
    }
    for (size_t i = 0; i < w->entry_count; i++) {
        free_text(w->entries[i].name);
        tn_release(w->entries[i].owner);
    }
    tn_free(w->values, w->value_capacity * sizeof *w->values);
    tn_free(w->entries, w->entry_capacity * sizeof *w->entries);
}

static const tn_class writer_class = {"gguf_writer", sizeof(tn_gguf_writer), writer_free};
tn_gguf_writer *tn_gguf_writer_new(void) { return tn_failing() ? NULL : tn_object_new(&writer_class); }

/* ---- bytes -------------------------------------------------------------------------------------------------------------- */

static void put(buffer *b, const void *data, size_t n)
{
    if (b->data)
        memcpy(b->data + b->used, data, n);
    b->used += n;
}

static void put_little(buffer *b, uint64_t number, size_t bytes)
{
    uint8_t little[8];
    for (size_t i = 0; i < bytes; i++)
        little[i] = (uint8_t)(number >> 8 * i);
    put(b, little, bytes);
}

static void put_text(buffer *b, const char *text)
{
    put_little(b, strlen(text), 8);
    put(b, text, strlen(text));
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */

static char *copy_text(const char *text)
{
    char *copy = tn_alloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

/* False with an error: the writer is none, or the name is no text that a file can have. */
static bool good(const char *op, const tn_gguf_writer *w, const char *name)
{
    if (!tn_failing() && (!w || w->base.cls != &writer_class || !name))
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is NULL", op, name ? "writer" : "the name");
    if (!tn_failing() && (!*name || !tn_is_utf8(name, strlen(name))))
        tn_fail(TN_ERR_ARGUMENT, "%s: the name \"%s\" is %s", op, name, *name ? "not UTF-8" : "empty");
    return !tn_failing();
}

static value *value_of(const tn_gguf_writer *w, const char *key)
{
    for (size_t i = 0; i < w->value_count; i++)
        if (strcmp(w->values[i].key, key) == 0)
            return &w->values[i];
    return NULL;
}

/* Room of so many bytes for the value of a key, which is new or has it anew; NULL on no memory. */
static buffer *begin(tn_gguf_writer *w, const char *key, size_t size)
{
    buffer bytes = {tn_alloc(size), 0, size};
    value *v = value_of(w, key);
    if (bytes.data && !v) {
        char *copy = tn_grow(&w->values, w->value_count, &w->value_capacity, sizeof *w->values) ? copy_text(key) : NULL;
        if (copy) {
            v = &w->values[w->value_count++];
            *v = (value){.key = copy};
        }
    }
    if (!bytes.data || !v) {
        tn_free(bytes.data, size);
        return NULL;
    }
    tn_free(v->bytes.data, v->bytes.size);
    v->bytes = bytes;
    return &v->bytes;
}

static tn_status set_bits(tn_gguf_writer *w, const char *key, tn_gguf_kind kind, uint64_t bits)
{
    buffer *b = begin(w, key, 4 + tn_gguf_kind_bytes(kind));
    if (!b)
        return TN_ERR_MEMORY;
    put_little(b, (uint64_t)kind, 4);
    put_little(b, bits, tn_gguf_kind_bytes(kind));
    return TN_OK;
}

tn_status tn_gguf_set_int(tn_gguf_writer *w, const char *key, tn_gguf_kind kind, int64_t number)
{
    const size_t bytes = tn_gguf_kind_bytes(kind);
    if (!good("gguf_set_int", w, key))
        return tn_last_status();
    const bool is_signed = kind == TN_GGUF_I8 || kind == TN_GGUF_I16 || kind == TN_GGUF_I32 || kind == TN_GGUF_I64;
    const int width = kind == TN_GGUF_BOOL ? 1 : 8 * (int)bytes - is_signed; /* of numbers not below 0 */
    if (!bytes || kind == TN_GGUF_F32 || kind == TN_GGUF_F64) {
        tn_fail(TN_ERR_ARGUMENT, "gguf_set_int: \"%s\": kind %d is none of integers", key, (int)kind);
        return TN_ERR_ARGUMENT;
    }
    if ((number < 0 ? ~number : number) >> (width > 63 ? 63 : width) != 0 || (number < 0 && !is_signed)) {
        tn_fail(TN_ERR_ARGUMENT, "gguf_set_int: \"%s\": %lld does not fit %s", key, (long long)number, tn_gguf_kind_name(kind));
        return TN_ERR_ARGUMENT;
    }
    return set_bits(w, key, kind, (uint64_t)number);
}

tn_status tn_gguf_set_float(tn_gguf_writer *w, const char *key, double number)
{
    const union { float f; uint32_t u; } bits = {(float)number};
    return good("gguf_set_float", w, key) ? set_bits(w, key, TN_GGUF_F32, bits.u) : tn_last_status();
}

tn_status tn_gguf_set_string(tn_gguf_writer *w, const char *key, const char *text)
{
    if (!good("gguf_set_string", w, key))
        return tn_last_status();
    if (!text) {
        tn_fail(TN_ERR_ARGUMENT, "gguf_set_string: \"%s\": text is NULL", key);
        return TN_ERR_ARGUMENT;
    }
    buffer *b = begin(w, key, 12 + strlen(text));
    if (!b)
        return TN_ERR_MEMORY;
    put_little(b, TN_GGUF_STRING, 4);
    put_text(b, text);
    return TN_OK;
}

/* An array's kind, count and elements. */
static void put_array(buffer *b, tn_gguf_kind kind, const void *data, int64_t count)
{
    const size_t bytes = tn_gguf_kind_bytes(kind);
    put_little(b, TN_GGUF_ARRAY, 4);
    put_little(b, (uint64_t)kind, 4);
    put_little(b, (uint64_t)count, 8);
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        if (kind == TN_GGUF_STRING) {
            put_text(b, ((const char *const *)data)[i]);
            continue;
        }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        memcpy(&bits, (const char *)data + (size_t)i * bytes, bytes);
#else
        memcpy((char *)&bits + 8 - bytes, (const char *)data + (size_t)i * bytes, bytes);
#endif
        put_little(b, bits, bytes);
    }
}

tn_status tn_gguf_set_array(tn_gguf_writer *w, const char *key, tn_gguf_kind kind, const void *data, int64_t count)
{
    if (!good("gguf_set_array", w, key))
        return tn_last_status();
    bool fits = (tn_gguf_kind_bytes(kind) || kind == TN_GGUF_STRING) && count >= 0 && (data || count == 0);
    for (int64_t i = 0; fits && kind == TN_GGUF_STRING && i < count; i++)
        fits = ((const char *const *)data)[i] != NULL;
    if (!fits) {
        tn_fail(TN_ERR_ARGUMENT, "gguf_set_array: \"%s\": %lld elements of kind %d: one of them is NULL, or the kind is none of numbers or text",
                key, (long long)count, (int)kind);
        return TN_ERR_ARGUMENT;
    }
    buffer measured = {0};
    put_array(&measured, kind, data, count);
    buffer *b = begin(w, key, measured.used);
    if (!b)
        return TN_ERR_MEMORY;
    put_array(b, kind, data, count);
    return TN_OK;
}

tn_status tn_gguf_copy_key(tn_gguf_writer *w, const tn_gguf *file, const char *key)
{
    const uint8_t *bytes;
    size_t size;
    if (!good("gguf_copy_key", w, key) || !tn_gguf_raw("gguf_copy_key", file, key, &bytes, &size))
        return tn_last_status();
    buffer *b = begin(w, key, size);
    if (!b)
        return TN_ERR_MEMORY;
    put(b, bytes, size);
    return TN_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------------ */

enum { MOST_NAME = 63, MOST_DIMS = 4 };

/* Of the new entry its name is copied and its owner retained. */
static tn_status add(const char *op, tn_gguf_writer *w, const char *name, entry new)
{
    for (size_t i = 0; i < w->entry_count; i++) {
        if (strcmp(w->entries[i].name, name) == 0) {
            tn_fail(TN_ERR_ARGUMENT, "%s: \"%s\" is there already", op, name);
            return TN_ERR_ARGUMENT;
        }
    }
    if (strlen(name) > MOST_NAME) {
        tn_fail(TN_ERR_ARGUMENT, "%s: \"%s\" has %zu bytes: names of GGUF's tensors have up to %d", op, name, strlen(name), MOST_NAME);
        return TN_ERR_ARGUMENT;
    }
    if (new.blocks.shape.ndim > MOST_DIMS || new.blocks.size == 0) {
        tn_fail(TN_ERR_SHAPE, "%s: \"%s\" is %s: GGUF has tensors of 1 to %d dimensions and none that is empty", op, name,
                tn_shape_text(new.blocks.shape), MOST_DIMS);
        return TN_ERR_SHAPE;
    }
    new.name = tn_grow(&w->entries, w->entry_count, &w->entry_capacity, sizeof *w->entries) ? copy_text(name) : NULL;
    if (!new.name)
        return TN_ERR_MEMORY;
    tn_retain(new.owner);
    w->entries[w->entry_count++] = new;
    return TN_OK;
}

tn_status tn_gguf_add_made(tn_gguf_writer *w, const char *name, tn_quant type, tn_shape shape, tn_gguf_make *make, const void *context)
{
    const int64_t bytes = good("gguf_add", w, name) ? tn_blocks_bytes(type, shape) : -1;
    if (bytes < 0) {
        tn_fail_within("gguf_add: \"%s\"", name);
        return tn_last_status();
    }
    return add("gguf_add", w, name, (entry){.make = make, .context = context, .blocks = {type, shape, NULL, (size_t)bytes}});
}

static tn_status of_tensor(const void *tensor, tn_quant type, void *blocks, size_t size) { return tn_quantize(tensor, type, blocks, size); }

tn_status tn_gguf_add(tn_gguf_writer *w, const char *name, tn_tensor *tensor, tn_quant type)
{
    if (!good("gguf_add", w, name) || !tn_ready("gguf_add", "tensor", tensor))
        return tn_last_status();
    if (!tn_dtype_is_float(tn_dtype_of(tensor)) || tensor->storage->device.type != TN_CPU || !tn_quant_makes(type)) {
        tn_fail(TN_ERR_ARGUMENT, "gguf_add: \"%s\" is %s on %s, to be %s: see tn_quantize()", name, tn_dtype_name(tn_dtype_of(tensor)),
                tn_device_text(tensor->storage->device), tn_quant_name(type) ? tn_quant_name(type) : "of no type");
        return TN_ERR_ARGUMENT;
    }
    const int64_t bytes = tn_blocks_bytes(type, tn_shape_of(tensor));
    if (bytes < 0) {
        tn_fail_within("gguf_add: \"%s\"", name);
        return tn_last_status();
    }
    return add("gguf_add", w, name, (entry){.owner = tensor, .make = of_tensor, .context = tensor, .blocks = {type, tn_shape_of(tensor), NULL, (size_t)bytes}});
}

tn_status tn_gguf_add_blocks(tn_gguf_writer *w, const char *name, tn_blocks blocks, const void *owner)
{
    const int64_t bytes = good("gguf_add_blocks", w, name) ? tn_blocks_bytes(blocks.type, blocks.shape) : -1;
    if (bytes >= 0 && ((size_t)bytes != blocks.size || (!blocks.data && bytes > 0)))
        tn_fail(TN_ERR_ARGUMENT, "gguf_add_blocks: \"%s\": %s of %s needs %lld bytes and has %zu", name, tn_shape_text(blocks.shape),
                tn_quant_name(blocks.type), (long long)bytes, blocks.data ? blocks.size : 0);
    return tn_failing() ? tn_last_status() : add("gguf_add_blocks", w, name, (entry){.owner = owner, .blocks = blocks});
}

/* ---- the file ----------------------------------------------------------------------------------------------------------- */

static size_t padded(size_t size, size_t alignment) { return (size + alignment - 1) / alignment * alignment; }

static void put_header(buffer *b, const tn_gguf_writer *w, size_t alignment)
{
    b->used = 0;
    put(b, "GGUF", 4);
    put_little(b, TN_GGUF_VERSION, 4);
    put_little(b, w->entry_count, 8);
    put_little(b, w->value_count, 8);
    for (size_t i = 0; i < w->value_count; i++) {
        put_text(b, w->values[i].key);
        put(b, w->values[i].bytes.data, w->values[i].bytes.used);
    }
    size_t offset = 0;
    for (size_t i = 0; i < w->entry_count; i++) {
        const tn_blocks *blocks = &w->entries[i].blocks;
        put_text(b, w->entries[i].name);
        put_little(b, (uint64_t)blocks->shape.ndim, 4);
        for (int d = blocks->shape.ndim - 1; d >= 0; d--)
            put_little(b, (uint64_t)blocks->shape.sizes[d], 8);
        put_little(b, (uint64_t)blocks->type, 4);
        put_little(b, offset, 8);
        offset += padded(blocks->size, alignment);
    }
}

static tn_status write_zeros(tn_writer *out, size_t n)
{
    static const uint8_t zeros[4096];
    tn_status status = TN_OK;
    for (; status == TN_OK && n > 0; n -= n < sizeof zeros ? n : sizeof zeros)
        status = tn_writer_write(out, zeros, n < sizeof zeros ? n : sizeof zeros);
    return status;
}

static tn_status write_tensor(tn_writer *out, const entry *e)
{
    if (!e->make)
        return tn_writer_write(out, e->blocks.data, e->blocks.size);
    uint8_t *blocks = tn_alloc(e->blocks.size);
    if (!blocks)
        return TN_ERR_MEMORY;
    tn_status status = e->make(e->context, e->blocks.type, blocks, e->blocks.size);
    if (status != TN_OK)
        tn_fail_within("save_gguf: \"%s\"", e->name);
    else
        status = tn_writer_write(out, blocks, e->blocks.size);
    tn_free(blocks, e->blocks.size);
    return status;
}

static tn_status write_file(tn_writer *out, const tn_gguf_writer *w, const buffer *header, size_t alignment)
{
    tn_status status = tn_writer_write(out, header->data, header->used);
    if (status == TN_OK)
        status = write_zeros(out, padded(header->used, alignment) - header->used);
    for (size_t i = 0; status == TN_OK && i < w->entry_count; i++) {
        const size_t size = w->entries[i].blocks.size;
        status = write_tensor(out, &w->entries[i]);
        if (status == TN_OK)
            status = write_zeros(out, padded(size, alignment) - size);
    }
    return status;
}

/* What general.alignment was set to, a U32; 0 with an error. */
static size_t alignment_of(const tn_gguf_writer *w)
{
    const value *said = value_of(w, "general.alignment");
    int64_t alignment = TN_GGUF_ALIGNMENT;
    if (said)
        alignment = said->bytes.used == 8 && said->bytes.data[0] == TN_GGUF_U32
                        ? (int64_t)said->bytes.data[4] | said->bytes.data[5] << 8 | said->bytes.data[6] << 16 | (int64_t)said->bytes.data[7] << 24
                        : 0;
    if (tn_gguf_alignment_holds(alignment))
        return (size_t)alignment;
    tn_fail(TN_ERR_ARGUMENT, "save_gguf: general.alignment is not a power of two of kind U32");
    return 0;
}

tn_status tn_save_gguf(const tn_gguf_writer *w, const char *path)
{
    if (!tn_failing() && (!w || w->base.cls != &writer_class))
        tn_fail(TN_ERR_ARGUMENT, "save_gguf: writer is NULL");
    const size_t alignment = tn_failing() ? 0 : alignment_of(w);
    if (!alignment)
        return tn_last_status();
    buffer header = {0};
    put_header(&header, w, alignment);
    header.size = header.used;
    header.data = tn_alloc(header.size);
    if (!header.data)
        return TN_ERR_MEMORY;
    put_header(&header, w, alignment);
    tn_writer out;
    tn_status status = tn_writer_open(&out, "save_gguf", path);
    status = tn_writer_close(&out, status == TN_OK ? write_file(&out, w, &header, alignment) : status);
    tn_free(header.data, header.size);
    return status;
}
