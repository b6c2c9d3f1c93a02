/* What is in a module: walks over the tree, names, modes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <tenon/io.h>

#include "autograd/node.h"
#include "nn/module.h"

/* ---- sets of pointers --------------------------------------------------------------------------------------------------- */

static struct tn_seen_slot *probe(const tn_seen *seen, const void *key)
{
    uint64_t at = ((uint64_t)(uintptr_t)key >> 4) * 0x9e3779b97f4a7c15u >> 32;
    for (;; at++) {
        struct tn_seen_slot *slot = &seen->slots[at & (uint64_t)(seen->capacity - 1)];
        if (!slot->key || slot->key == key)
            return slot;
    }
}

static bool grow_seen(tn_seen *seen)
{
    tn_seen larger = {.count = seen->count, .capacity = seen->capacity ? seen->capacity * 2 : 64};
    larger.slots = tn_alloc_zero((size_t)larger.capacity * sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (int64_t i = 0; i < seen->capacity; i++)
        if (seen->slots[i].key)
            *probe(&larger, seen->slots[i].key) = seen->slots[i];
    tn_seen_free(seen);
    *seen = larger;
    return true;
}

struct tn_seen_slot *tn_seen_slot_of(tn_seen *seen, const void *key, bool *is_new)
{
    if (2 * seen->count >= seen->capacity && !grow_seen(seen))
        return NULL;
    struct tn_seen_slot *slot = probe(seen, key);
    *is_new = !slot->key;
    if (*is_new) {
        slot->key = key;
        seen->count++;
    }
    return slot;
}

void tn_seen_free(tn_seen *seen)
{
    tn_free(seen->slots, (size_t)seen->capacity * sizeof *seen->slots);
    *seen = (tn_seen){0};
}

/* ---- walks -------------------------------------------------------------------------------------------------------------- */

/* Adds ".name" to the path of `length` characters; the new length, or 0 with an error. */
static size_t extend(char *path, size_t length, const char *name)
{
    int added = snprintf(path + length, TN_KEY_SIZE - length, "%s%s", length ? "." : "", name);
    if (added > 0 && length + (size_t)added < TN_KEY_SIZE)
        return length + (size_t)added;
    tn_fail(TN_ERR_ARGUMENT, "module: the path %.60s... has more than %d characters", path, TN_KEY_SIZE - 1);
    return 0;
}

static bool visit_tensors(tn_module *module, char *path, size_t length, tn_tensor_visitor visit, void *context)
{
    for (int children = 0; children < 2; children++)
        for (int i = 0; i < module->state->count; i++) {
            tn_entry *entry = &module->state->entries[i];
            if ((entry->kind == TN_KIND_CHILD) != (children == 1))
                continue;
            size_t longer = extend(path, length, entry->name);
            if (!longer)
                return false;
            bool more = children ? visit_tensors(tn_entry_child(entry), path, longer, visit, context) : visit(module, entry, path, context);
            path[length] = 0;
            if (!more)
                return false;
        }
    return true;
}

bool tn_visit_tensors(tn_module *module, tn_tensor_visitor visit, void *context)
{
    char path[TN_KEY_SIZE] = "";
    return visit_tensors(module, path, 0, visit, context);
}

static bool visit_modules(tn_module *module, char *path, size_t length, int depth, tn_module_visitor visit, void *context)
{
    if (!visit(module, path, depth, context))
        return false;
    for (int i = 0; i < module->state->count; i++) {
        tn_entry *entry = &module->state->entries[i];
        if (entry->kind != TN_KIND_CHILD)
            continue;
        size_t longer = extend(path, length, entry->name);
        if (!longer || !visit_modules(tn_entry_child(entry), path, longer, depth + 1, visit, context))
            return false;
        path[length] = 0;
    }
    return true;
}

bool tn_visit_modules(tn_module *module, tn_module_visitor visit, void *context)
{
    char path[TN_KEY_SIZE] = "";
    return visit_modules(module, path, 0, 0, visit, context);
}

/* ---- lists and names ---------------------------------------------------------------------------------------------------- */

/* What a collection takes, and where it goes. */
typedef struct collection {
    bool parameters; /* parameters, or buffers */
    tn_seen seen;
    tn_list *list;
    tn_dict *dict;
    int64_t numel;
} collection;

static bool collect(tn_module *owner, tn_entry *entry, const char *path, void *context)
{
    (void)owner;
    collection *c = context;
    tn_tensor *tensor = tn_entry_tensor(entry);
    bool is_new;
    if ((entry->kind == TN_KIND_PARAMETER) != c->parameters)
        return true;
    if (!tn_seen_slot_of(&c->seen, tensor, &is_new))
        return false;
    if (!is_new)
        return true;
    c->numel += tensor->numel;
    return (!c->list || tn_list_append(c->list, tensor) == TN_OK) && (!c->dict || tn_dict_set(c->dict, path, tensor) == TN_OK);
}

static bool collect_all(const char *function, void *module, collection *c)
{
    tn_module *m = tn_module_of(function, module);
    bool good = m && tn_visit_tensors(m, collect, c);
    tn_seen_free(&c->seen);
    return good;
}

tn_list *tn_parameters(void *module)
{
    collection c = {.parameters = true, .list = tn_adopt(tn_list_new())};
    return c.list && collect_all("parameters", module, &c) ? c.list : NULL;
}

static tn_dict *named(const char *function, void *module, bool parameters)
{
    collection c = {.parameters = parameters, .dict = tn_failing() ? NULL : tn_adopt(tn_dict_new())};
    return c.dict && collect_all(function, module, &c) ? c.dict : NULL;
}

tn_dict *tn_named_parameters(void *module) { return named("named_parameters", module, true); }
tn_dict *tn_named_buffers(void *module) { return named("named_buffers", module, false); }

int64_t tn_num_parameters(void *module)
{
    collection c = {.parameters = true};
    return collect_all("num_parameters", module, &c) ? c.numel : 0;
}

/* The entry at the end of a path from module, or NULL. */
static tn_entry *entry_at(tn_module *module, const char *path)
{
    for (;;) {
        size_t length = strcspn(path, ".");
        tn_entry *found = NULL;
        for (int i = 0; i < module->state->count && !found; i++) {
            tn_entry *entry = &module->state->entries[i];
            if (strlen(entry->name) == length && !memcmp(entry->name, path, length))
                found = entry;
        }
        if (!found || !path[length])
            return found;
        if (found->kind != TN_KIND_CHILD)
            return NULL;
        module = tn_entry_child(found);
        path += length + 1;
    }
}

tn_tensor *tn_parameter(void *pointer, const char *path)
{
    tn_module *module = tn_module_of("parameter", pointer);
    tn_entry *entry = module && path ? entry_at(module, path) : NULL;
    if (module && (!entry || entry->kind == TN_KIND_CHILD))
        return tn_fail(TN_ERR_ARGUMENT, "parameter: %s has no parameter or buffer \"%s\"", module->type->name, path ? path : "NULL");
    return module ? tn_entry_tensor(entry) : NULL;
}

tn_module *tn_child(void *pointer, const char *path)
{
    tn_module *module = tn_module_of("child", pointer);
    tn_entry *entry = module && path ? entry_at(module, path) : NULL;
    if (module && (!entry || entry->kind != TN_KIND_CHILD))
        return tn_fail(TN_ERR_ARGUMENT, "child: %s has no child \"%s\"", module->type->name, path ? path : "NULL");
    return module ? tn_entry_child(entry) : NULL;
}

int tn_num_children(const void *pointer)
{
    const tn_module *module = tn_module_of("num_children", pointer);
    int count = 0;
    for (int i = 0; module && i < module->state->count; i++)
        count += module->state->entries[i].kind == TN_KIND_CHILD;
    return count;
}

static tn_entry *child_entry(void *pointer, int i)
{
    tn_module *module = tn_module_of("child", pointer);
    int count = module ? tn_num_children(module) : 0, at = i < 0 ? i + count : i;
    for (int j = 0; module && at >= 0 && j < module->state->count; j++)
        if (module->state->entries[j].kind == TN_KIND_CHILD && at-- == 0)
            return &module->state->entries[j];
    if (module)
        tn_fail(TN_ERR_INDEX, "child: %d is out of range for the %d children of %s", i, count, module->type->name);
    return NULL;
}

tn_module *tn_child_at(void *module, int i)
{
    tn_entry *entry = child_entry(module, i);
    return entry ? tn_entry_child(entry) : NULL;
}

const char *tn_child_name(void *module, int i)
{
    tn_entry *entry = child_entry(module, i);
    return entry ? entry->name : NULL;
}

/* ---- modes -------------------------------------------------------------------------------------------------------------- */

static bool set_training(tn_module *module, const char *path, int depth, void *context)
{
    (void)path, (void)depth;
    module->training = *(bool *)context;
    return true;
}

void tn_train(void *pointer, bool training)
{
    tn_module *module = tn_module_of("train", pointer);
    if (module)
        tn_visit_modules(module, set_training, &training);
}

bool tn_is_training(const void *pointer)
{
    const tn_module *module = tn_module_of("is_training", pointer);
    return module && module->training;
}

static bool set_frozen(tn_module *owner, tn_entry *entry, const char *path, void *context)
{
    (void)owner, (void)path;
    bool frozen = *(bool *)context;
    if (entry->kind != TN_KIND_PARAMETER)
        return true;
    if (frozen && tn_set_grad(tn_entry_tensor(entry), NULL) != TN_OK)
        return false;
    return tn_set_requires_grad(tn_entry_tensor(entry), !frozen) == TN_OK;
}

void tn_freeze(void *pointer, bool frozen)
{
    tn_module *module = tn_module_of("freeze", pointer);
    if (module)
        tn_visit_tensors(module, set_frozen, &frozen);
}
