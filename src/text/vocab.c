/* What every format's vocabulary is made of: bytes that grow, a table of texts, a trie, a table of pairs. */
#include "text/text.h"

#include "io/file.h"

bool tn_bytes_add(tn_bytes *b, const void *data, int64_t size)
{
    size_t due = b->size + (size_t)size;
    if (due > b->capacity) {
        size_t capacity = due < 64 ? 64 : due + due / 2;
        char *more = tn_alloc(capacity);
        if (!more)
            return false;
        if (b->size)
            memcpy(more, b->data, b->size);
        tn_free(b->data, b->capacity);
        b->data = more;
        b->capacity = capacity;
    }
    if (size)
        memcpy(b->data + b->size, data, (size_t)size);
    b->size = due;
    return true;
}

void tn_bytes_free(tn_bytes *b)
{
    tn_free(b->data, b->capacity);
    *b = (tn_bytes){0};
}

/* The smallest power of two from twice `count` on. */
static size_t room_for(size_t count)
{
    size_t room = 16;
    while (room < 2 * count)
        room *= 2;
    return room;
}

static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* ---- texts and their ids ------------------------------------------------------------------------------------------------- */

static uint64_t hash(const char *text, int64_t size)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (int64_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return mix(h);
}

bool tn_vocab_init(tn_vocab *v, int64_t count, int64_t bytes)
{
    v->slot_count = (int64_t)room_for((size_t)count);
    v->memory_size = (size_t)(bytes + count);
    v->memory = tn_alloc(v->memory_size);
    v->tokens = tn_alloc_zero((size_t)count * sizeof *v->tokens);
    v->slots = tn_alloc((size_t)v->slot_count * sizeof *v->slots);
    if (v->slots)
        memset(v->slots, 0xff, (size_t)v->slot_count * sizeof *v->slots);
    v->count = count;
    return v->memory && v->tokens && v->slots;
}

/* The slot of the text, or the empty one where it would stand. */
static tn_slot *slot_of(const tn_vocab *v, const char *text, int64_t size, uint64_t h)
{
    uint64_t mask = (uint64_t)v->slot_count - 1;
    for (uint64_t at = h & mask;; at = (at + 1) & mask) {
        tn_slot *s = &v->slots[at];
        if (s->id < 0 || (s->hash == (uint32_t)(h >> 32) && v->tokens[s->id].size == size && memcmp(v->tokens[s->id].text, text, (size_t)size) == 0))
            return s;
    }
}

bool tn_vocab_set(tn_vocab *v, int64_t id, const char *text, int64_t size, int type, float score, bool *known)
{
    *known = false;
    if (id < 0 || id >= v->count || size < 0 || size > INT32_MAX - 1 || v->memory_used + (size_t)size + 1 > v->memory_size)
        return false;
    uint64_t h = hash(text, size);
    tn_slot *slot = slot_of(v, text, size, h);
    *known = slot->id >= 0 || v->tokens[id].text;
    if (v->tokens[id].text)
        return true;
    char *copy = v->memory + v->memory_used;
    v->memory_used += (size_t)size + 1;
    if (size)
        memcpy(copy, text, (size_t)size);
    copy[size] = 0;
    v->tokens[id] = (tn_token){copy, (int32_t)size, (uint8_t)type, score};
    v->longest = size > v->longest ? (int32_t)size : v->longest;
    if (slot->id < 0)
        *slot = (tn_slot){(uint32_t)(h >> 32), (int32_t)id};
    return true;
}

int32_t tn_vocab_find(const tn_vocab *v, const char *text, int64_t size) { return v->slots ? slot_of(v, text, size, hash(text, size))->id : -1; }

void tn_vocab_free(tn_vocab *v)
{
    tn_free(v->memory, v->memory_size);
    tn_free(v->tokens, (size_t)v->count * sizeof *v->tokens);
    tn_free(v->slots, (size_t)v->slot_count * sizeof *v->slots);
}

/* ---- trie ---------------------------------------------------------------------------------------------------------------- */

static size_t edge_of(const tn_trie *t, uint64_t key)
{
    size_t at = mix(key) & (t->edge_count - 1);
    while (t->edges[at] && t->edges[at] != key)
        at = (at + 1) & (t->edge_count - 1);
    return at;
}

int32_t tn_trie_step(const tn_trie *t, int32_t node, unsigned char byte)
{
    if (!t->edge_count)
        return -1;
    size_t at = edge_of(t, ((uint64_t)node << 8 | byte) + 1);
    return t->edges[at] ? t->next[at] : -1;
}

static bool trie_grow(tn_trie *t)
{
    tn_trie more = *t;
    more.edge_count = room_for(t->edges_used + 1);
    more.edges = tn_alloc_zero(more.edge_count * sizeof *more.edges);
    more.next = tn_alloc(more.edge_count * sizeof *more.next);
    if (!more.edges || !more.next) {
        tn_free(more.edges, more.edge_count * sizeof *more.edges);
        tn_free(more.next, more.edge_count * sizeof *more.next);
        return false;
    }
    for (size_t i = 0; i < t->edge_count; i++)
        if (t->edges[i]) {
            size_t at = edge_of(&more, t->edges[i]);
            more.edges[at] = t->edges[i];
            more.next[at] = t->next[i];
        }
    tn_free(t->edges, t->edge_count * sizeof *t->edges);
    tn_free(t->next, t->edge_count * sizeof *t->next);
    *t = more;
    return true;
}

static int32_t new_node(tn_trie *t)
{
    if (!tn_grow(&t->values, t->nodes, &t->nodes_capacity, sizeof *t->values))
        return -1;
    t->values[t->nodes] = -1;
    return (int32_t)t->nodes++;
}

bool tn_trie_add(tn_trie *t, const char *text, int64_t size, int32_t value)
{
    int32_t node = 0;
    if (t->nodes == 0 && new_node(t) < 0)
        return false;
    for (int64_t i = 0; i < size; i++) {
        if (2 * (t->edges_used + 1) > t->edge_count && !trie_grow(t))
            return false;
        uint64_t key = ((uint64_t)node << 8 | (unsigned char)text[i]) + 1;
        size_t at = edge_of(t, key);
        if (!t->edges[at]) {
            int32_t fresh = new_node(t);
            if (fresh < 0)
                return false;
            t->edges[at] = key;
            t->next[at] = fresh;
            t->edges_used++;
        }
        node = t->next[at];
    }
    t->values[node] = value;
    return true;
}

int64_t tn_trie_longest(const tn_trie *t, const char *text, int64_t size, int32_t *value)
{
    int64_t longest = 0;
    int32_t node = 0;
    for (int64_t i = 0; i < size; i++) {
        node = tn_trie_step(t, node, (unsigned char)text[i]);
        if (node < 0)
            break;
        if (t->values[node] >= 0) {
            longest = i + 1;
            *value = t->values[node];
        }
    }
    return longest;
}

void tn_trie_free(tn_trie *t)
{
    tn_free(t->edges, t->edge_count * sizeof *t->edges);
    tn_free(t->next, t->edge_count * sizeof *t->next);
    tn_free(t->values, t->nodes_capacity * sizeof *t->values);
    *t = (tn_trie){0};
}

/* ---- pairs --------------------------------------------------------------------------------------------------------------- */

bool tn_pairs_init(tn_pairs *p, int64_t count)
{
    p->count = room_for((size_t)count);
    p->slots = tn_alloc(p->count * sizeof *p->slots);
    if (p->slots)
        memset(p->slots, 0xff, p->count * sizeof *p->slots);
    return p->slots != NULL;
}

static tn_pair_rule *pair_slot(const tn_pairs *p, int32_t left, int32_t right)
{
    size_t at = mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right) & (p->count - 1);
    while (p->slots[at].left >= 0 && (p->slots[at].left != left || p->slots[at].right != right))
        at = (at + 1) & (p->count - 1);
    return &p->slots[at];
}

void tn_pairs_set(tn_pairs *p, int32_t left, int32_t right, int32_t rank, int32_t id)
{
    *pair_slot(p, left, right) = (tn_pair_rule){left, right, rank, id};
}

const tn_pair_rule *tn_pairs_find(const tn_pairs *p, int32_t left, int32_t right)
{
    const tn_pair_rule *pair = pair_slot(p, left, right);
    return pair->left >= 0 ? pair : NULL;
}

void tn_pairs_free(tn_pairs *p) { tn_free(p->slots, p->count * sizeof *p->slots); }
