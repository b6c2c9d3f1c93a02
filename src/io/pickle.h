/* A pickle machine that runs nothing: it understands the few operations and names by which PyTorch writes tensors, and refuses all else. */
#ifndef TN_PICKLE_H
#define TN_PICKLE_H

#include "io/file.h"

typedef enum tn_pickle_kind {
    TN_PICKLE_NONE,
    TN_PICKLE_BOOL,
    TN_PICKLE_INT,
    TN_PICKLE_FLOAT,
    TN_PICKLE_TEXT,
    TN_PICKLE_TUPLE,
    TN_PICKLE_LIST,
    TN_PICKLE_DICT,    /* items are key, value, key, value; OrderedDict too */
    TN_PICKLE_GLOBAL,  /* a name by itself */
    TN_PICKLE_STORAGE, /* two items: its key, a text, and its count of elements, an int */
    TN_PICKLE_TENSOR,  /* four items: storage, offset, sizes, strides; of the kinds STORAGE, INT, TUPLE, TUPLE */
} tn_pickle_kind;

typedef struct tn_pickle_value {
    uint8_t kind;
    int8_t dtype;             /* GLOBAL: of the storage type that it names, or TN_DTYPE_DEFAULT; STORAGE: its elements' */
    uint8_t global;           /* GLOBAL: which */
    uint32_t count, capacity; /* of items; of a text, its bytes */
    union {
        int64_t integer; /* BOOL too */
        double number;
        const char *text; /* in the pickle, not closed by a 0 */
        uint32_t *items;  /* [count] places of values */
    };
} tn_pickle_value;

typedef struct tn_pickle {
    const char *op, *path; /* for messages */
    tn_pickle_value *values;
    uint32_t *stack, *marks, *memo; /* places of values; of the stack; of values + 1 */
    size_t value_count, value_capacity, stack_count, stack_capacity, mark_count, mark_capacity, memo_capacity;
    uint64_t memo_next; /* of MEMOIZE */
    const unsigned char *at, *begin, *end;
} tn_pickle;

/* Reads a pickle of so many bytes, which must live as long as its values. Gives the place of what it holds, or -1 with an error; memory
 * is bounded by a small multiple of the length. tn_pickle_free() in either case. */
int64_t tn_pickle_read(tn_pickle *p, const void *data, size_t length);
void tn_pickle_free(tn_pickle *p);
static inline const tn_pickle_value *tn_pickle_item(const tn_pickle *p, const tn_pickle_value *of, uint32_t i)
{
    return &p->values[of->items[i]];
}

#endif
