/* What a GGUF file is asked for: values by their keys, and tensors. */
#include "io/gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- asking for values -------------------------------------------------------------------------------------------------- */

int64_t tn_gguf_key_count(const tn_gguf *g) { return g ? g->shards[0].key_count : 0; }
int64_t tn_gguf_find_key(const tn_gguf *g, const char *name) { return g ? tn_gguf_place_of(g->shards[0].by_key, g->shards[0].key_count, name) : -1; }

tn_gguf_entry tn_gguf_entry_at(const tn_gguf *g, int64_t i)
{
    if (i >= 0 && i < tn_gguf_key_count(g))
        return g->shards[0].keys[i].entry;
    tn_fail(TN_ERR_INDEX, "gguf_entry_at: place %lld is out of range for %lld", (long long)i, (long long)tn_gguf_key_count(g));
    return (tn_gguf_entry){0};
}

/* What a value is and what was wanted. */
static void *other_kind(const char *op, const char *path, const tn_gguf_key *k, const char *wanted)
{
    const bool array = k->entry.kind == TN_GGUF_ARRAY;
    return tn_fail(TN_ERR_FORMAT, "%s: %s: \"%s\" is %s%s%s, not %s", op, path, k->entry.key, array ? "an array of " : "",
                   tn_gguf_kind_name(k->entry.element), array ? "s" : "", wanted);
}

static double real(tn_gguf_kind kind, const uint8_t *at)
{
    union { uint32_t u; float f; } single = {(uint32_t)tn_gguf_little(at, 4)};
    if (kind == TN_GGUF_F32)
        return (double)single.f;
    union { uint64_t u; double f; } wide = {tn_gguf_little(at, 8)};
    return wide.f;
}

int64_t tn_gguf_int_of(const char *op, const char *path, const tn_gguf_key *k)
{
    int64_t value;
    if (tn_gguf_whole(k->entry.kind, k->at, &value))
        return value;
    other_kind(op, path, k, "an integer that fits");
    return 0;
}

/* The key, or NULL: with an error (*failed), or because there is none. */
static const tn_gguf_key *asked(const char *op, const tn_gguf *g, const char *name, bool *failed)
{
    if (!tn_failing() && (!g || g->base.cls != &tn_gguf_class || !name))
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is NULL", op, name ? "file" : "key");
    *failed = tn_failing();
    return *failed ? NULL : tn_gguf_key_of(&g->shards[0], name);
}

int64_t tn_gguf_int(const tn_gguf *g, const char *name, int64_t missing)
{
    bool failed;
    const tn_gguf_key *k = asked("gguf_int", g, name, &failed);
    return k ? tn_gguf_int_of("gguf_int", g->path, k) : failed ? 0 : missing;
}

double tn_gguf_float(const tn_gguf *g, const char *name, double missing)
{
    bool failed;
    int64_t value;
    const tn_gguf_key *k = asked("gguf_float", g, name, &failed);
    if (!k)
        return failed ? (double)NAN : missing;
    if (k->entry.kind == TN_GGUF_F32 || k->entry.kind == TN_GGUF_F64)
        return real(k->entry.kind, k->at);
    if (tn_gguf_whole(k->entry.kind, k->at, &value))
        return (double)value;
    other_kind("gguf_float", g->path, k, "a number");
    return (double)NAN;
}

bool tn_gguf_bool(const tn_gguf *g, const char *name, bool missing)
{
    bool failed;
    const tn_gguf_key *k = asked("gguf_bool", g, name, &failed);
    if (!k)
        return !failed && missing;
    if (k->entry.kind == TN_GGUF_BOOL)
        return *k->at != 0;
    return other_kind("gguf_bool", g->path, k, "a BOOL");
}

const char *tn_gguf_string(const tn_gguf *g, const char *name, const char *missing)
{
    bool failed;
    const tn_gguf_key *k = asked("gguf_string", g, name, &failed);
    if (!k)
        return failed ? NULL : missing;
    if (k->entry.kind == TN_GGUF_STRING)
        return g->shards[0].texts[k->first].data;
    return other_kind("gguf_string", g->path, k, "a STRING");
}

/* The same of a key that must be there. */
static const tn_gguf_key *needed(const char *op, const tn_gguf *g, const char *name)
{
    bool failed;
    const tn_gguf_key *k = asked(op, g, name, &failed);
    if (!k && !failed)
        tn_fail(TN_ERR_INDEX, "%s: %s: no value \"%s\"", op, g->path, name);
    return k;
}

const char *tn_gguf_string_at(const tn_gguf *g, const char *name, int64_t i, size_t *length)
{
    const tn_gguf_key *k = needed("gguf_string_at", g, name);
    if (!k)
        return NULL;
    if (k->entry.kind != TN_GGUF_ARRAY || k->entry.element != TN_GGUF_STRING)
        return other_kind("gguf_string_at", g->path, k, "an array of STRINGs");
    if (i < 0 || i >= k->entry.count)
        return tn_fail(TN_ERR_INDEX, "gguf_string_at: \"%s\" has %lld strings: %lld is outside", name, (long long)k->entry.count, (long long)i);
    const tn_gguf_text *t = &g->shards[0].texts[k->first + i];
    if (length)
        *length = t->length;
    return t->data;
}

tn_tensor *tn_gguf_numbers(const tn_gguf *g, const char *name)
{
    const tn_gguf_key *k = needed("gguf_numbers", g, name);
    if (!k)
        return NULL;
    const tn_gguf_kind kind = k->entry.element;
    const size_t bytes = tn_gguf_kind_bytes(kind);
    if (k->entry.kind != TN_GGUF_ARRAY || !bytes)
        return other_kind("gguf_numbers", g->path, k, "an array of numbers");
    const tn_dtype dtype = kind == TN_GGUF_F32 ? TN_F32 : kind == TN_GGUF_F64 ? TN_F64 : kind == TN_GGUF_BOOL ? TN_BOOL : TN_I64;
    tn_tensor *x = tn_new("gguf_numbers", TN_SHAPE(k->entry.count), dtype, (tn_device_id){TN_CPU, 0});
    for (int64_t i = 0; x && i < k->entry.count; i++) {
        const uint8_t *at = k->at + (size_t)i * bytes;
        if (dtype == TN_F32)
            ((float *)tn_ptr(x))[i] = (float)real(kind, at);
        else if (dtype == TN_F64)
            ((double *)tn_ptr(x))[i] = real(kind, at);
        else if (dtype == TN_BOOL)
            ((bool *)tn_ptr(x))[i] = *at != 0;
        else if (!tn_gguf_whole(kind, at, (int64_t *)tn_ptr(x) + i))
            return other_kind("gguf_numbers", g->path, k, "an array of numbers that fit");
    }
    return x;
}

bool tn_gguf_raw(const char *op, const tn_gguf *g, const char *name, const uint8_t **bytes, size_t *size)
{
    const tn_gguf_key *k = needed(op, g, name);
    if (!k)
        return false;
    *bytes = k->kind_at;
    *size = (size_t)(k->end - k->kind_at);
    return true;
}

/* ---- listing -------------------------------------------------------------------------------------------------------------- */

static void put_scalar(tn_text_out *out, tn_gguf_kind kind, const uint8_t *at)
{
    int64_t value;
    if (kind == TN_GGUF_F32 || kind == TN_GGUF_F64)
        tn_put(out, "%.7g", real(kind, at));
    else if (kind == TN_GGUF_BOOL)
        tn_put(out, *at ? "true" : "false");
    else if (tn_gguf_whole(kind, at, &value))
        tn_put(out, "%lld", (long long)value);
    else
        tn_put(out, "%llu", (unsigned long long)tn_gguf_little(at, 8));
}

void tn_gguf_put_value(const tn_gguf *g, int64_t i, tn_text_out *out)
{
    enum { SHOWN = 6, TEXT_SHOWN = 100, ELEMENT_SHOWN = 24 };
    const tn_gguf_key *k = &g->shards[0].keys[i];
    const tn_gguf_kind kind = k->entry.element;
    const bool array = k->entry.kind == TN_GGUF_ARRAY;
    const int64_t shown = kind == TN_GGUF_ARRAY ? 0 : k->entry.count < SHOWN ? k->entry.count : SHOWN;
    char name[40];
    snprintf(name, sizeof name, array ? "%s[%lld]" : "%s", tn_gguf_kind_name(kind), (long long)k->entry.count);
    tn_put_padded(out, k->entry.key, 48);
    tn_put(out, " %-14s ", name);
    for (int64_t n = 0; n < shown; n++) {
        const tn_gguf_text *text = kind == TN_GGUF_STRING ? &g->shards[0].texts[k->first + n] : NULL;
        tn_put(out, n ? ", " : "");
        if (text)
            tn_put_abridged(out, text->data, text->length, array ? ELEMENT_SHOWN : TEXT_SHOWN);
        else
            put_scalar(out, kind, k->at + (size_t)n * tn_gguf_kind_bytes(kind));
    }
    tn_put(out, shown == k->entry.count ? "\n" : shown ? ", ...\n" : "...\n");
}

/* ---- asking for tensors ------------------------------------------------------------------------------------------------- */

int64_t tn_gguf_count(const tn_gguf *g) { return g ? g->tensor_count : 0; }
int64_t tn_gguf_find(const tn_gguf *g, const char *name) { return g ? tn_gguf_place_of(g->by_name, g->tensor_count, name) : -1; }

static const tn_gguf_item *tensor_at(const char *op, const tn_gguf *g, int64_t i)
{
    if (i >= 0 && i < tn_gguf_count(g))
        return &g->tensors[i];
    return tn_fail(TN_ERR_INDEX, "%s: place %lld is out of range for %lld", op, (long long)i, (long long)tn_gguf_count(g));
}

const char *tn_gguf_name(const tn_gguf *g, int64_t i)
{
    const tn_gguf_item *t = tensor_at("gguf_name", g, i);
    return t ? t->name : NULL;
}

tn_blocks tn_gguf_blocks(const tn_gguf *g, int64_t i)
{
    const tn_gguf_item *t = tensor_at("gguf_blocks", g, i);
    return t ? t->blocks : (tn_blocks){0};
}

tn_tensor *tn_gguf_tensor(const tn_gguf *g, const char *name, tn_dtype dtype)
{
    bool failed;
    (void)asked("gguf_tensor", g, name, &failed);
    if (failed)
        return NULL;
    const int64_t at = tn_gguf_find(g, name);
    if (at < 0)
        return tn_fail(TN_ERR_INDEX, "gguf_tensor: %s: no tensor \"%s\" among the file's %lld", g->path, name, (long long)g->tensor_count);
    const tn_gguf_item *t = &g->tensors[at];
    const tn_quant type = t->blocks.type;
    const tn_dtype own = type == TN_QUANT_F16 ? TN_F16 : type == TN_QUANT_BF16 ? TN_BF16 : TN_F32;
    if (dtype == TN_DTYPE_DEFAULT)
        dtype = own;
    if (dtype == own && (own != TN_F32 || type == TN_QUANT_F32) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        return tn_mapping_tensor(t->mapping, t->offset, t->blocks.shape, dtype);
    return tn_dequantize(t->blocks, dtype);
}
