/* tn_dict: names in the order of their setting, found by a hash table of places. */
#include "core/core.h"

#include <string.h>
#include <tenon/io.h>

/* One ordered map of names to values; a dict has one of tensors and one of texts. */
typedef struct entry {
    char *name;
    void *value; /* a tensor, or a text of its own */
} entry;
typedef struct map {
    entry *entries;
    int64_t count, capacity;
    int64_t *table; /* [2 * capacity] places, -1 where none; NULL while empty */
} map;
struct tn_dict {
    tn_object base;
    map tensors, notes;
};

static uint64_t hash(const char *name)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 1099511628211u;
    return h ^ h >> 32;
}

/* The slot of the table that holds name, or the empty one where it would stand. */
static int64_t *slot(const map *m, const char *name)
{
    uint64_t size = (uint64_t)m->capacity * 2;
    for (uint64_t at = hash(name) & (size - 1);; at = (at + 1) & (size - 1))
        if (m->table[at] < 0 || strcmp(m->entries[m->table[at]].name, name) == 0)
            return &m->table[at];
}

static int64_t map_find(const map *m, const char *name) { return m->table && name ? *slot(m, name) : -1; }

static bool map_grow(map *m)
{
    if (m->count < m->capacity)
        return true;
    map bigger = {.count = m->count, .capacity = m->capacity ? 2 * m->capacity : 16};
    bigger.entries = tn_alloc((size_t)bigger.capacity * sizeof(entry));
    bigger.table = tn_alloc((size_t)bigger.capacity * 2 * sizeof(int64_t));
    if (!bigger.entries || !bigger.table) {
        tn_free(bigger.entries, (size_t)bigger.capacity * sizeof(entry));
        tn_free(bigger.table, (size_t)bigger.capacity * 2 * sizeof(int64_t));
        return false;
    }
    memset(bigger.table, 0xff, (size_t)bigger.capacity * 2 * sizeof(int64_t));
    for (int64_t i = 0; i < m->count; i++) {
        bigger.entries[i] = m->entries[i];
        *slot(&bigger, m->entries[i].name) = i;
    }
    tn_free(m->entries, (size_t)m->capacity * sizeof(entry));
    tn_free(m->table, (size_t)m->capacity * 2 * sizeof(int64_t));
    *m = bigger;
    return true;
}

static char *copy_text(const char *text)
{
    char *copy = tn_alloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

static void free_text(char *text)
{
    if (text)
        tn_free(text, strlen(text) + 1);
}

/* Where the value of name is to be put (NULL at first, else the old one); NULL on no memory. */
static void **map_place(map *m, const char *name)
{
    int64_t at = map_find(m, name);
    if (at >= 0)
        return &m->entries[at].value;
    char *copy = map_grow(m) ? copy_text(name) : NULL;
    if (!copy)
        return NULL;
    *slot(m, name) = m->count;
    m->entries[m->count] = (entry){.name = copy};
    return &m->entries[m->count++].value;
}

static void map_free(map *m)
{
    for (int64_t i = 0; i < m->count; i++)
        free_text(m->entries[i].name);
    tn_free(m->entries, (size_t)m->capacity * sizeof(entry));
    tn_free(m->table, (size_t)m->capacity * 2 * sizeof(int64_t));
}

static void dict_free(void *self)
{
    tn_dict *dict = self;
    for (int64_t i = 0; i < dict->tensors.count; i++)
        tn_release(dict->tensors.entries[i].value);
    for (int64_t i = 0; i < dict->notes.count; i++)
        free_text(dict->notes.entries[i].value);
    map_free(&dict->tensors);
    map_free(&dict->notes);
}

static const tn_class dict_class = {"dict", sizeof(tn_dict), dict_free};

tn_dict *tn_dict_new(void) { return tn_object_new(&dict_class); }

tn_status tn_dict_set(tn_dict *dict, const char *name, tn_tensor *tensor)
{
    if (!dict || !name || !tensor) {
        tn_fail(TN_ERR_ARGUMENT, "dict_set: %s is NULL", !dict ? "dict" : !name ? "name" : "tensor");
        return TN_ERR_ARGUMENT;
    }
    void **place = map_place(&dict->tensors, name);
    if (!place)
        return TN_ERR_MEMORY;
    tn_tensor *former = *place;
    *place = tn_retain(tensor);
    tn_release(former);
    return TN_OK;
}

tn_status tn_dict_set_note(tn_dict *dict, const char *key, const char *text)
{
    if (!dict || !key || !text) {
        tn_fail(TN_ERR_ARGUMENT, "dict_set_note: %s is NULL", !dict ? "dict" : !key ? "key" : "text");
        return TN_ERR_ARGUMENT;
    }
    char *copy = copy_text(text);
    void **place = copy ? map_place(&dict->notes, key) : NULL;
    if (!place) {
        free_text(copy);
        return TN_ERR_MEMORY;
    }
    free_text(*place);
    *place = copy;
    return TN_OK;
}

int64_t tn_dict_find(const tn_dict *dict, const char *name) { return dict ? map_find(&dict->tensors, name) : -1; }
int64_t tn_dict_count(const tn_dict *dict) { return dict ? dict->tensors.count : 0; }
int64_t tn_dict_note_count(const tn_dict *dict) { return dict ? dict->notes.count : 0; }

tn_tensor *tn_dict_get(const tn_dict *dict, const char *name)
{
    int64_t at = tn_dict_find(dict, name);
    if (at >= 0)
        return dict->tensors.entries[at].value;
    return tn_fail(TN_ERR_INDEX, "dict_get: no tensor \"%s\" among the dict's %lld", name ? name : "(NULL)",
                   (long long)tn_dict_count(dict));
}

tn_dict *tn_dict_part(const tn_dict *dict, const char *prefix)
{
    if (!dict || !prefix)
        return tn_fail(TN_ERR_ARGUMENT, "dict_part: %s is NULL", dict ? "prefix" : "dict");
    size_t length = strlen(prefix);
    tn_dict *part = tn_adopt(tn_dict_new());
    bool good = part != NULL;
    for (int64_t i = 0; good && i < dict->tensors.count; i++) {
        const entry *e = &dict->tensors.entries[i];
        good = strncmp(e->name, prefix, length) != 0 || tn_dict_set(part, e->name + length, e->value) == TN_OK;
    }
    for (int64_t i = 0; good && i < dict->notes.count; i++) {
        const entry *e = &dict->notes.entries[i];
        good = strncmp(e->name, prefix, length) != 0 || tn_dict_set_note(part, e->name + length, e->value) == TN_OK;
    }
    return good ? part : NULL;
}

static const entry *entry_at(const char *op, const map *m, int64_t i)
{
    if (m && i >= 0 && i < m->count)
        return &m->entries[i];
    return tn_fail(TN_ERR_INDEX, "%s: place %lld is out of range for %lld", op, (long long)i, (long long)(m ? m->count : 0));
}

const char *tn_dict_name(const tn_dict *dict, int64_t i)
{
    const entry *e = entry_at("dict_name", dict ? &dict->tensors : NULL, i);
    return e ? e->name : NULL;
}

tn_tensor *tn_dict_tensor(const tn_dict *dict, int64_t i)
{
    const entry *e = entry_at("dict_tensor", dict ? &dict->tensors : NULL, i);
    return e ? e->value : NULL;
}

const char *tn_dict_note_key(const tn_dict *dict, int64_t i)
{
    const entry *e = entry_at("dict_note_key", dict ? &dict->notes : NULL, i);
    return e ? e->name : NULL;
}

const char *tn_dict_note(const tn_dict *dict, const char *key)
{
    int64_t at = dict ? map_find(&dict->notes, key) : -1;
    return at >= 0 ? dict->notes.entries[at].value : NULL;
}
