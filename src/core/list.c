/* Lists of tensors. */
#include <tenon/list.h>

#include <string.h>

#include "core/core.h"

struct tn_list {
    tn_object base;
    tn_tensor **items;
    int64_t count, capacity;
};

static void list_free(void *self)
{
    tn_list *list = self;
    for (int64_t i = 0; i < list->count; i++)
        tn_release(list->items[i]);
    tn_free(list->items, (size_t)list->capacity * sizeof *list->items);
}

static const tn_class list_class = {"list", sizeof(tn_list), list_free};

tn_list *tn_list_new(void) { return tn_failing() ? NULL : tn_object_new(&list_class); }

tn_list *tn_list_from(tn_tensor *const *tensors, int64_t count)
{
    if (tn_failing())
        return NULL;
    if (count < 0 || (count && !tensors))
        return tn_fail(TN_ERR_ARGUMENT, "list: %lld tensors at %p", (long long)count, (const void *)tensors);
    tn_list *list = tn_list_new();
    for (int64_t i = 0; list && i < count; i++)
        if (tn_list_append(list, tensors[i]) != TN_OK) {
            tn_release(list);
            return NULL;
        }
    return tn_autorelease(list);
}

tn_status tn_list_append(tn_list *list, tn_tensor *tensor)
{
    if (tn_failing())
        return tn_last_status();
    if (!list || !tensor) {
        tn_fail(TN_ERR_ARGUMENT, "list: the %s to append is NULL", list ? "tensor" : "list");
        return TN_ERR_ARGUMENT;
    }
    if (list->count == list->capacity) {
        int64_t capacity = list->capacity ? list->capacity * 2 : 16;
        tn_tensor **items = tn_alloc((size_t)capacity * sizeof *items);
        if (!items)
            return TN_ERR_MEMORY;
        if (list->count)
            memcpy(items, list->items, (size_t)list->count * sizeof *items);
        tn_free(list->items, (size_t)list->capacity * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = tn_retain(tensor);
    return TN_OK;
}

int64_t tn_list_count(const tn_list *list) { return list ? list->count : 0; }

tn_tensor *tn_list_at(const tn_list *list, int64_t i)
{
    if (tn_failing())
        return NULL;
    int64_t count = tn_list_count(list), at = i < 0 ? i + count : i;
    if (at < 0 || at >= count)
        return tn_fail(TN_ERR_INDEX, "list: %lld is out of range for %lld tensors", (long long)i, (long long)count);
    return list->items[at];
}
