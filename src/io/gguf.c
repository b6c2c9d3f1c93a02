/* GGUF, read: every count, length, kind, shape and offset of the header is checked against the mapped file. The header is walked twice: once to
 * see that it is right and how much text it has, once to keep it. */
#include "io/gguf.h"

#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names -------------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) { return strcmp(((const tn_gguf_place *)a)->name, ((const tn_gguf_place *)b)->name); }

/* Sorts places; the name that is there twice, or NULL. */
static const char *sorted(tn_gguf_place *places, int64_t count)
{
    qsort(places, (size_t)count, sizeof *places, by_name);
    for (int64_t i = 1; i < count; i++)
        if (strcmp(places[i - 1].name, places[i].name) == 0)
            return places[i].name;
    return NULL;
}

int64_t tn_gguf_place_of(const tn_gguf_place *places, int64_t count, const char *name)
{
    const tn_gguf_place wanted = {name, 0};
    const tn_gguf_place *found = name && count > 0 ? bsearch(&wanted, places, (size_t)count, sizeof *places, by_name) : NULL;
    return found ? found->at : -1;
}

/* ---- bytes -------------------------------------------------------------------------------------------------------------- */

/* A walk through a header. */
typedef struct walk {
    tn_gguf_shard *shard;
    const uint8_t *at, *end;
    int64_t text_count; /* so far */
    size_t letter_count;
    bool keeps; /* the second walk */
} walk;

/* What is wrong in a walk; read_shard() puts the file in front. */
#define BAD(...) (tn_fail(TN_ERR_FORMAT, __VA_ARGS__), false)

uint64_t tn_gguf_little(const uint8_t *b, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)b[i] << 8 * i;
    return value;
}

static bool take(walk *w, size_t bytes, uint64_t *value)
{
    if ((size_t)(w->end - w->at) < bytes)
        return BAD("the file ends inside its header");
    *value = tn_gguf_little(w->at, bytes);
    w->at += bytes;
    return true;
}

/* How many of things that take at least `least` bytes each. */
static bool take_count(walk *w, const char *what, size_t least, int64_t *count)
{
    uint64_t n;
    if (!take(w, 8, &n))
        return false;
    if (n > (uint64_t)(w->end - w->at) / least)
        return BAD("%llu %s cannot stand in the %lld bytes that follow", (unsigned long long)n, what,
                   (long long)(w->end - w->at));
    *count = (int64_t)n;
    return true;
}

/* A string: its place among the texts goes into *number; in the second walk it is kept there. */
static bool take_text(walk *w, int64_t *number)
{
    int64_t length;
    if (!take_count(w, "letters of a string", 1, &length))
        return false;
    *number = w->text_count;
    if (w->keeps) {
        char *to = w->shard->letters + w->letter_count;
        memcpy(to, w->at, (size_t)length);
        to[length] = 0;
        w->shard->texts[w->text_count] = (tn_gguf_text){to, (size_t)length};
    }
    w->text_count++;
    w->letter_count += (size_t)length + 1;
    w->at += length;
    return true;
}

/* The same of a name: UTF-8 and no 0 in it. In the first walk it is in the mapping, with no 0 behind it. */
static bool take_name(walk *w, const char **name, size_t *length)
{
    int64_t number;
    const char *at = (const char *)w->at + 8;
    if (!take_text(w, &number))
        return false;
    *length = (size_t)((const char *)w->at - at);
    if (*length == 0 || memchr(at, 0, *length) || !tn_is_utf8(at, *length))
        return BAD("its name is empty, has a 0 in it or is not UTF-8");
    *name = w->keeps ? w->shard->texts[number].data : at;
    return true;
}

/* Puts which key or tensor it is in front of what is wrong with it: its number, and its name where that is known. False. */
static bool wrong(const char *what, int64_t i, const char *name, size_t length)
{
    const int most = length < 100 ? (int)length : 100;
    tn_fail_within("%s %lld%s%.*s%s", what, (long long)i, most ? ", \"" : "", most, most ? name : "", most ? "\"" : "");
    return false;
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */

size_t tn_gguf_kind_bytes(int64_t kind)
{
    static const uint8_t bytes[] = {
#define BYTES(name, number, size) [number] = size,
        TN_GGUF_KIND_LIST(BYTES)};
    return kind >= 0 && kind < TN_COUNT(bytes) ? bytes[kind] : 0;
}

const char *tn_gguf_kind_name(tn_gguf_kind kind)
{
    static const char *const names[] = {
#define NAME(name, number, size) [number] = #name,
        TN_GGUF_KIND_LIST(NAME)};
    return (int)kind >= 0 && (int)kind < TN_COUNT(names) ? names[kind] : NULL;
}

/* False where a number of an integer kind does not fit, or the kind is none of those. */
bool tn_gguf_whole(tn_gguf_kind kind, const uint8_t *at, int64_t *value)
{
    const size_t bytes = tn_gguf_kind_bytes(kind);
    const uint64_t bits = tn_gguf_little(at, bytes);
    switch (kind) {
    case TN_GGUF_U8:
    case TN_GGUF_U16:
    case TN_GGUF_U32: *value = (int64_t)bits; return true;
    case TN_GGUF_I8: *value = (int8_t)bits; return true;
    case TN_GGUF_I16: *value = (int16_t)bits; return true;
    case TN_GGUF_I32: *value = (int32_t)bits; return true;
    case TN_GGUF_U64:
    case TN_GGUF_I64: *value = (int64_t)bits; return kind == TN_GGUF_I64 || bits <= INT64_MAX;
    default: return false;
    }
}

enum { MOST_NESTED = 8 };

static bool take_array(walk *w, tn_gguf_entry *entry, int depth);

/* What follows its kind. */
static bool take_value(walk *w, uint64_t kind, tn_gguf_entry *entry, int depth)
{
    const size_t bytes = kind <= INT32_MAX ? tn_gguf_kind_bytes((int64_t)kind) : 0;
    uint64_t value;
    int64_t number;
    *entry = (tn_gguf_entry){NULL, (tn_gguf_kind)kind, (tn_gguf_kind)kind, 1};
    if (kind == TN_GGUF_STRING)
        return take_text(w, &number);
    if (kind == TN_GGUF_ARRAY)
        return take_array(w, entry, depth);
    if (!bytes)
        return BAD("kind %llu, which GGUF has not", (unsigned long long)kind);
    return take(w, bytes, &value) && (kind != TN_GGUF_BOOL || value <= 1 || BAD("a bool that is neither 0 nor 1"));
}

static bool take_array(walk *w, tn_gguf_entry *entry, int depth)
{
    uint64_t kind;
    tn_gguf_entry inner;
    if (!take(w, 4, &kind))
        return false;
    const size_t bytes = kind <= INT32_MAX ? tn_gguf_kind_bytes((int64_t)kind) : 0;
    if (depth == MOST_NESTED)
        return BAD("arrays inside arrays, more than %d deep", MOST_NESTED);
    if (!take_count(w, "elements of an array", bytes ? bytes : kind == TN_GGUF_ARRAY ? 12 : 8, &entry->count))
        return false;
    entry->element = (tn_gguf_kind)kind;
    if (bytes && kind != TN_GGUF_BOOL) { /* nothing of numbers can be wrong */
        w->at += (size_t)entry->count * bytes;
        return true;
    }
    if (entry->count == 0 && !tn_gguf_kind_name((tn_gguf_kind)kind))
        return BAD("an array of kind %llu, which GGUF has not", (unsigned long long)kind);
    for (int64_t i = 0; i < entry->count; i++)
        if (!take_value(w, kind, &inner, depth + 1))
            return false;
    return true;
}

static bool take_key(walk *w, int64_t i, tn_gguf_key *k)
{
    const char *name = NULL;
    size_t length = 0;
    uint64_t kind;
    if (!take_name(w, &name, &length) || !take(w, 4, &kind))
        return wrong("value", i, name, name ? length : 0);
    k->kind_at = w->at - 4;
    k->first = w->text_count;
    if (!take_value(w, kind, &k->entry, 0))
        return wrong("value", i, name, length);
    k->entry.key = name;
    k->at = k->kind_at + (kind == TN_GGUF_ARRAY ? 16 : 4);
    k->end = w->at;
    return true;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------------ */

bool tn_gguf_alignment_holds(int64_t alignment) { return alignment > 0 && alignment <= 1 << 30 && (alignment & (alignment - 1)) == 0; }

/* What follows a tensor's name: dimensions (rows first), type, offset from where the tensors begin. */
static bool take_shape(walk *w, tn_gguf_item *t)
{
    uint64_t dims, type, offset;
    if (!take(w, 4, &dims))
        return false;
    const uint8_t *sizes = w->at;
    if (dims > (size_t)(w->end - w->at) / 8)
        return BAD("%llu dimensions cannot stand in the %lld bytes that follow", (unsigned long long)dims,
                   (long long)(w->end - w->at));
    w->at += 8 * dims;
    if (!take(w, 4, &type) || !take(w, 8, &offset))
        return false;
    const int64_t block = type <= INT32_MAX ? tn_quant_block((tn_quant)type) : 0;
    if (dims > TN_MAX_DIMS || !block) {
        tn_fail(TN_ERR_UNSUPPORTED, "type %llu with %llu dimensions: Tenon has no such blocks",
                (unsigned long long)type, (unsigned long long)dims);
        return false;
    }
    t->blocks = (tn_blocks){.type = (tn_quant)type, .shape.ndim = (int)dims};
    int64_t numel = 1, bytes;
    for (int d = 0; d < (int)dims; d++) {
        const uint64_t size = tn_gguf_little(sizes + 8 * d, 8);
        if (size > INT64_MAX || __builtin_mul_overflow(numel, (int64_t)size, &numel))
            return BAD("its shape is none");
        t->blocks.shape.sizes[(int)dims - 1 - d] = (int64_t)size;
    }
    const int64_t row = dims ? t->blocks.shape.sizes[dims - 1] : 1;
    if (row % block != 0)
        return BAD("rows of %lld, no whole number of %s's blocks of %lld", (long long)row,
                   tn_quant_name((tn_quant)type), (long long)block);
    if (__builtin_mul_overflow(numel / block, (int64_t)tn_quant_block_bytes((tn_quant)type), &bytes) || offset > INT64_MAX)
        return BAD("it is larger than a file can be");
    t->blocks.size = (size_t)bytes;
    t->offset = (int64_t)offset;
    return true;
}

static bool take_tensor(walk *w, int64_t i, tn_gguf_item *t)
{
    size_t length = 0;
    t->name = NULL;
    return (take_name(w, &t->name, &length) && take_shape(w, t)) || wrong("tensor", i, t->name, t->name ? length : 0);
}

/* The tensors' bytes begin at `begin`, and all of them lie in the file. */
static bool place_tensors(walk *w, int64_t begin, int64_t alignment)
{
    for (int64_t i = 0; i < w->shard->tensor_count; i++) {
        tn_gguf_item *t = &w->shard->tensors[i];
        int64_t end;
        if (t->offset % alignment != 0)
            return BAD("\"%s\" is at %lld, no multiple of the alignment of %lld", t->name, (long long)t->offset,
                       (long long)alignment);
        if (__builtin_add_overflow(t->offset, begin, &t->offset) || __builtin_add_overflow(t->offset, (int64_t)t->blocks.size, &end) ||
            end > w->shard->size)
            return BAD("\"%s\" has %zu bytes from %lld on, and the file ends at %lld", t->name, t->blocks.size,
                       (long long)t->offset, (long long)w->shard->size);
        t->blocks.data = tn_mapping_bytes(w->shard->mapping) + t->offset;
        t->mapping = w->shard->mapping;
    }
    return true;
}

/* ---- a file ------------------------------------------------------------------------------------------------------------- */

static bool take_start(walk *w)
{
    uint64_t magic, version;
    if (w->shard->size < 24 || memcmp(w->at, "GGUF", 4) != 0)
        return BAD("no GGUF file");
    if (!take(w, 4, &magic) || !take(w, 4, &version))
        return false;
    if (version != 2 && version != TN_GGUF_VERSION) {
        const bool swapped = __builtin_bswap32((uint32_t)version) == TN_GGUF_VERSION;
        tn_fail(TN_ERR_UNSUPPORTED, "GGUF %s: versions 2 and 3 in little endian are read",
                swapped ? "in big endian" : version == 1 ? "of version 1" : "of a version that is not known");
        return false;
    }
    return take_count(w, "tensors", 24, &w->shard->tensor_count) && take_count(w, "values", 13, &w->shard->key_count);
}

/* A whole header. The first walk checks, and sees how much text there is; w->at is its end then. */
static bool take_header(walk *w, const uint8_t *bytes, bool keeps)
{
    tn_gguf_shard *s = w->shard;
    tn_gguf_key k;
    tn_gguf_item t;
    *w = (walk){s, bytes, bytes + s->size, 0, 0, keeps};
    if (!take_start(w))
        return false;
    for (int64_t i = 0; i < s->key_count; i++)
        if (!take_key(w, i, keeps ? &s->keys[i] : &k))
            return false;
    for (int64_t i = 0; i < s->tensor_count; i++)
        if (!take_tensor(w, i, keeps ? &s->tensors[i] : &t))
            return false;
    s->text_count = w->text_count;
    s->letter_count = w->letter_count;
    return true;
}

const tn_gguf_key *tn_gguf_key_of(const tn_gguf_shard *s, const char *name)
{
    const int64_t at = tn_gguf_place_of(s->by_key, s->key_count, name);
    return at >= 0 ? &s->keys[at] : NULL;
}

/* The shard's header in memory of its own, its tensors placed. */
static bool keep_header(walk *w, const uint8_t *bytes)
{
    tn_gguf_shard *s = w->shard;
    s->keys = tn_alloc_zero((size_t)s->key_count * sizeof *s->keys);
    s->by_key = tn_alloc((size_t)s->key_count * sizeof *s->by_key);
    s->tensors = tn_alloc_zero((size_t)s->tensor_count * sizeof *s->tensors);
    s->texts = tn_alloc((size_t)s->text_count * sizeof *s->texts);
    s->letters = tn_alloc(s->letter_count);
    if (!s->keys || !s->by_key || !s->tensors || !s->texts || !s->letters || !take_header(w, bytes, true))
        return false;
    for (int64_t i = 0; i < s->key_count; i++)
        s->by_key[i] = (tn_gguf_place){s->keys[i].entry.key, i};
    const char *twice = sorted(s->by_key, s->key_count);
    if (twice)
        return BAD("\"%s\" is there twice", twice);
    const tn_gguf_key *said = tn_gguf_key_of(s, "general.alignment");
    int64_t alignment = TN_GGUF_ALIGNMENT;
    if (said && !tn_gguf_whole(said->entry.kind, said->at, &alignment))
        return BAD("general.alignment is %s, not an integer that fits", tn_gguf_kind_name(said->entry.kind));
    if (!tn_gguf_alignment_holds(alignment))
        return BAD("an alignment of %lld, which is no power of two", (long long)alignment);
    const int64_t header = w->at - bytes;
    return place_tensors(w, (header + alignment - 1) / alignment * alignment, alignment);
}

static bool read_shard(const char *op, const char *path, tn_gguf_shard *s)
{
    tn_reader file;
    if (!tn_reader_open(&file, op, path, false))
        return false;
    walk w = {.shard = s};
    s->size = file.size;
    if (s->size > 0)
        s->mapping = tn_mapping_new(&file);
    else
        tn_fail(TN_ERR_FORMAT, "%s: %s: no GGUF file", op, path);
    tn_reader_close(&file);
    if (!s->mapping)
        return false;
    const uint8_t *bytes = (const uint8_t *)tn_mapping_bytes(s->mapping);
    if (take_header(&w, bytes, false) && keep_header(&w, bytes))
        return true;
    tn_fail_within("%s: %s", op, path);
    return false;
}

static void free_shard(tn_gguf_shard *s)
{
    tn_free(s->keys, (size_t)s->key_count * sizeof *s->keys);
    tn_free(s->by_key, (size_t)s->key_count * sizeof *s->by_key);
    tn_free(s->tensors, (size_t)s->tensor_count * sizeof *s->tensors);
    tn_free(s->texts, (size_t)s->text_count * sizeof *s->texts);
    tn_free(s->letters, s->letter_count);
    tn_mapping_release(s->mapping);
}

static void gguf_free(void *self)
{
    tn_gguf *g = self;
    for (int64_t i = 0; i < g->shard_count; i++)
        free_shard(&g->shards[i]);
    tn_free(g->shards, (size_t)g->shard_count * sizeof *g->shards);
    tn_free(g->tensors, (size_t)g->tensor_count * sizeof *g->tensors);
    tn_free(g->by_name, (size_t)g->tensor_count * sizeof *g->by_name);
    tn_free(g->path, g->path_size);
}

const tn_class tn_gguf_class = {"gguf", sizeof(tn_gguf), gguf_free};

/* ---- a model of one or more files --------------------------------------------------------------------------------------- */


/* An integer of the shard, or `missing`. */
static int64_t shard_int(const char *op, const char *path, const tn_gguf_shard *s, const char *name, int64_t missing)
{
    const tn_gguf_key *k = tn_gguf_key_of(s, name);
    return k ? tn_gguf_int_of(op, path, k) : missing;
}

/* "name-00001-of-00003.gguf": where its number stands, checked to be the first of count; NULL with an error. */
static char *split_number(const char *op, char *path, int64_t count)
{
    char due[32];
    const size_t length = (size_t)snprintf(due, sizeof due, "-00001-of-%05lld.gguf", (long long)count), size = strlen(path);
    if (size <= length || strcmp(path + size - length, due) != 0)
        return tn_fail(TN_ERR_FORMAT, "%s: %s: the first of %lld files of a model is named ...%s", op, path, (long long)count, due);
    return path + size - length + 1;
}

/* The other files of a model, each of which says which it is. */
static bool read_split(const char *op, tn_gguf *g, int64_t count)
{
    const char *path = g->path;
    if (shard_int(op, path, g->shards, "split.no", 0) != 0)
        return BAD("%s: %s: this is not the first of the model's files", op, path);
    char *number = split_number(op, g->path, count);
    tn_gguf_shard *all = number ? tn_alloc_zero((size_t)count * sizeof *all) : NULL;
    if (!all)
        return false;
    all[0] = g->shards[0];
    tn_free(g->shards, sizeof *all);
    g->shards = all;
    g->shard_count = count;
    bool ok = true;
    for (int64_t i = 1; ok && i < count; i++) {
        char digits[8];
        snprintf(digits, sizeof digits, "%05u", (unsigned)(i + 1) % 100000);
        memcpy(number, digits, 5);
        ok = read_shard(op, g->path, &all[i]);
        if (ok && (shard_int(op, path, &all[i], "split.no", -1) != i || shard_int(op, path, &all[i], "split.count", -1) != count))
            ok = BAD("%s: %s: this is not file %lld of %lld of the model", op, path, (long long)i + 1, (long long)count);
    }
    memcpy(number, "00001", 5);
    return ok;
}

static bool gather_tensors(const char *op, tn_gguf *g, int64_t due)
{
    int64_t count = 0;
    for (int64_t i = 0; i < g->shard_count; i++)
        count += g->shards[i].tensor_count;
    if (due >= 0 && due != count)
        return BAD("%s: %s: the model's files have %lld tensors, and %lld are due", op, g->path, (long long)count, (long long)due);
    g->tensor_count = count;
    g->tensors = tn_alloc((size_t)count * sizeof *g->tensors);
    g->by_name = tn_alloc((size_t)count * sizeof *g->by_name);
    if (!g->tensors || !g->by_name)
        return false;
    for (int64_t i = 0, at = 0; i < g->shard_count; i++)
        for (int64_t k = 0; k < g->shards[i].tensor_count; k++, at++) {
            g->tensors[at] = g->shards[i].tensors[k];
            g->by_name[at] = (tn_gguf_place){g->tensors[at].name, at};
        }
    const char *twice = sorted(g->by_name, count);
    return !twice || BAD("%s: %s: \"%s\" is there twice", op, g->path, twice);
}

/* alone: the file is all there is. */
static bool read_model(const char *op, const char *path, bool alone, tn_gguf *g)
{
    g->path_size = strlen(path) + 1;
    g->path = tn_alloc(g->path_size);
    g->shards = g->path ? tn_alloc_zero(sizeof *g->shards) : NULL;
    if (!g->shards)
        return false;
    memcpy(g->path, path, g->path_size);
    g->shard_count = 1;
    if (!read_shard(op, path, g->shards))
        return false;
    if (alone)
        return gather_tensors(op, g, -1);
    const int64_t count = shard_int(op, path, g->shards, "split.count", 1), tensors = shard_int(op, path, g->shards, "split.tensors.count", -1);
    if (tn_failing())
        return false;
    if (count < 0 || count > 99999)
        return BAD("%s: %s: a model of %lld files", op, path, (long long)count);
    return (count <= 1 || read_split(op, g, count)) && gather_tensors(op, g, tensors);
}

static tn_gguf *map(const char *path, bool alone)
{
    if (tn_failing())
        return NULL;
    if (!path)
        return tn_fail(TN_ERR_ARGUMENT, "map_gguf: path is NULL");
    tn_gguf *g = tn_object_new(&tn_gguf_class);
    if (g && read_model("map_gguf", path, alone, g))
        return tn_autorelease(g);
    tn_release(g);
    return NULL;
}

tn_gguf *tn_map_gguf(const char *path) { return map(path, false); }
tn_gguf *tn_map_gguf_alone(const char *path) { return map(path, true); }
