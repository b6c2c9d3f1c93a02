/* Modules as this room sees them. */
#ifndef TN_MODULE_H
#define TN_MODULE_H

#include <tenon/nn.h>

#include "core/loop.h"

enum { TN_NAME_SIZE = 64, TN_KEY_SIZE = 512 };
#define TN_NO_FIELD ((size_t)-1)

/* A name and what it stands for: a tensor or a child. */
typedef struct tn_entry {
    char name[TN_NAME_SIZE];
    tn_entry_kind kind;
    size_t offset;     /* of the struct's field that points to it; TN_NO_FIELD: none */
    tn_object *object; /* one reference */
} tn_entry;

typedef struct tn_hook_entry {
    tn_forward_hook hook;
    void *context;
    int64_t handle;
} tn_hook_entry;

/* Lies behind the user's struct in the same block. The class is the module's own, for its size is. */
typedef struct tn_module_state {
    tn_class cls;
    tn_entry *entries;
    int count, capacity;
    tn_hook_entry *hooks;
    int hook_count, hook_capacity;
    int64_t handles; /* given out so far */
} tn_module_state;

/* The module behind a pointer; NULL with an error when one sticks, or when it is NULL or something else. */
tn_module *tn_module_of(const char *function, const void *module);
static inline tn_module *tn_entry_child(const tn_entry *e) { return (tn_module *)(void *)e->object; }
static inline tn_tensor *tn_entry_tensor(const tn_entry *e) { return (tn_tensor *)(void *)e->object; }

/* Names object, whose reference it takes, on failure too, and points the field at it; TN_NO_FIELD keeps the entry's. */
tn_status tn_entry_set(tn_module *owner, const char *name, tn_entry_kind kind, size_t offset, void *object);

/* Visits each tensor of the tree, depth first: own ones in their order, then the children's. path is "conv1.weight". A visitor that
 * returns false ends the walk, which then returns false. A path that is too long is TN_ERR_ARGUMENT. */
typedef bool (*tn_tensor_visitor)(tn_module *owner, tn_entry *entry, const char *path, void *context);
bool tn_visit_tensors(tn_module *module, tn_tensor_visitor visit, void *context);
/* Each module of the tree once for each of its names, parents first; path "" is the module itself. */
typedef bool (*tn_module_visitor)(tn_module *module, const char *path, int depth, void *context);
bool tn_visit_modules(tn_module *module, tn_module_visitor visit, void *context);

/* A growing set of pointers, each with a value: what a walk has seen. Cleared to begin. */
typedef struct tn_seen {
    struct tn_seen_slot {
        const void *key;
        void *value;
    } *slots;
    int64_t count, capacity;
} tn_seen;
/* The slot of key, made if it is new (then *is_new); NULL on no memory. */
struct tn_seen_slot *tn_seen_slot_of(tn_seen *seen, const void *key, bool *is_new);
void tn_seen_free(tn_seen *seen);

/* Looks at every call of a module on this thread, after its forward: how tn_summary() learns the output shapes. NULL: nobody. */
typedef void (*tn_observer)(tn_module *module, tn_tensor *const *out, int n_out, void *context);
extern __thread tn_observer tn_observer_now;
extern __thread void *tn_observer_context;

#endif
