/* Datasets, samplers, and items made into batches. */
#include "data/dataset.h"

#include "io/file.h"

#include <string.h>

/* ---- datasets ----------------------------------------------------------------------------------------------------------- */

static void dataset_free(void *self)
{
    tn_dataset *dataset = self;
    if (dataset->cls && dataset->cls->free)
        dataset->cls->free(dataset->self);
    tn_release(dataset->x);
    tn_release(dataset->y);
    tn_release(dataset->whole);
    tn_free(dataset->indices, (size_t)dataset->count * sizeof *dataset->indices);
}
static const tn_class dataset_class = {"dataset", sizeof(tn_dataset), dataset_free};

tn_dataset *tn_dataset_new(const tn_dataset_class *cls, void *self)
{
    tn_dataset *dataset = NULL;
    if (!tn_failing() && (!cls || !cls->length || !cls->get))
        tn_fail(TN_ERR_ARGUMENT, "dataset_new: a dataset has a length and a get");
    if (!tn_failing())
        dataset = tn_object_new(&dataset_class);
    if (dataset) {
        dataset->cls = cls;
        dataset->self = self;
    } else if (cls && cls->free) {
        cls->free(self);
    }
    return dataset;
}

/* x itself, or a contiguous copy; owned by the caller. */
static tn_tensor *dense(tn_tensor *x)
{
    if (tn_has(x, TN_FLAG_CONTIGUOUS))
        return tn_retain(x);
    tn_tensor *copy = tn_new_owned("tensor_dataset_new", tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (copy)
        tn_pack(x, tn_ptr(copy));
    return copy;
}

static bool has_rows(const char *name, const tn_tensor *x)
{
    if (!tn_ready("tensor_dataset_new", name, x))
        return false;
    if (x->storage->device.type != TN_CPU)
        tn_fail(TN_ERR_DEVICE, "tensor_dataset_new: %s is on %s: a dataset is the CPU's, its batches go to a device by tn_to", name,
                tn_device_text(x->storage->device));
    else if (x->ndim == 0)
        tn_fail(TN_ERR_SHAPE, "tensor_dataset_new: %s is a single number: its items lie along its first dimension", name);
    return !tn_failing();
}

tn_dataset *tn_tensor_dataset_new(tn_tensor *x, tn_tensor *y)
{
    if (!has_rows("x", x) || (y && !has_rows("y", y)))
        return NULL;
    if (y && x->sizes[0] != y->sizes[0])
        return tn_fail(TN_ERR_SHAPE, "tensor_dataset_new: x is %s and y is %s: one y for each x, so the first sizes must be equal",
                       tn_text(x), tn_text(y));
    tn_dataset *dataset = tn_object_new(&dataset_class);
    if (!dataset)
        return NULL;
    dataset->x = dense(x);
    dataset->y = y && dataset->x ? dense(y) : NULL;
    if (dataset->x && (!y || dataset->y))
        return dataset;
    tn_release(dataset);
    return NULL;
}

/* The subset of a subset is one of the whole: no chain of them is ever walked. */
tn_dataset *tn_subset_new(tn_dataset *whole, const int64_t *indices, int64_t count)
{
    int64_t length = tn_dataset_length(whole);
    if (!tn_failing() && (count < 0 || count > (int64_t)(SIZE_MAX / sizeof *indices)))
        tn_fail(TN_ERR_ARGUMENT, "subset_new: count is %lld", (long long)count);
    else if (!tn_failing() && count && !indices)
        tn_fail(TN_ERR_ARGUMENT, "subset_new: indices is NULL");
    for (int64_t i = 0; i < count && !tn_failing(); i++)
        if (indices[i] < 0 || indices[i] >= length)
            tn_fail(TN_ERR_INDEX, "subset_new: index %lld is %lld, and the dataset has %lld items", (long long)i, (long long)indices[i],
                    (long long)length);
    tn_dataset *dataset = tn_failing() ? NULL : tn_object_new(&dataset_class);
    if (!dataset) {
        tn_release(whole);
        return NULL;
    }
    dataset->whole = whole->whole ? tn_retain(whole->whole) : whole;
    dataset->indices = tn_alloc((size_t)count * sizeof *indices);
    dataset->count = dataset->indices ? count : 0;
    for (int64_t i = 0; i < dataset->count; i++)
        dataset->indices[i] = whole->whole ? whole->indices[indices[i]] : indices[i];
    if (whole->whole)
        tn_release(whole);
    if (dataset->indices)
        return dataset;
    tn_release(dataset);
    return NULL;
}

int64_t tn_dataset_length(const tn_dataset *dataset)
{
    if (tn_failing() || !dataset) {
        tn_fail(TN_ERR_ARGUMENT, "dataset_length: dataset is NULL");
        return -1;
    }
    if (dataset->whole)
        return dataset->count;
    int64_t length = dataset->x ? dataset->x->sizes[0] : dataset->cls->length(dataset->self);
    if (length < 0)
        tn_fail(TN_ERR_ARGUMENT, "dataset_length: the dataset says %lld", (long long)length);
    return tn_failing() ? -1 : length;
}

/* The status of the error that sticks; a get that failed and raised none gets one. */
static tn_status get_failed(int64_t i)
{
    tn_fail(TN_ERR_STATE, "dataset: get of item %lld failed and raised no error (tn_fail)", (long long)i);
    return tn_last_status();
}

static tn_tensor *row(const tn_tensor *x, int64_t i)
{
    tn_tensor *y = tn_new("dataset_get", tn_make_shape(x->ndim - 1, x->sizes + 1), (tn_dtype)x->dtype, x->storage->device);
    size_t bytes = y ? (size_t)y->numel * tn_item_size(y) : 0;
    if (bytes)
        memcpy(tn_ptr(y), tn_ptr(x) + (size_t)i * bytes, bytes);
    return y;
}

tn_status tn_dataset_get(tn_dataset *dataset, int64_t i, tn_tensor **x, tn_tensor **y)
{
    if (!x || !y) {
        tn_fail(TN_ERR_ARGUMENT, "dataset_get: the place for %s is NULL", x ? "y" : "x");
        return tn_last_status();
    }
    *x = *y = NULL;
    int64_t length = tn_dataset_length(dataset);
    if (length < 0)
        return tn_last_status();
    if (i < 0 || i >= length) {
        tn_fail(TN_ERR_INDEX, "dataset_get: item %lld of %lld", (long long)i, (long long)length);
        return TN_ERR_INDEX;
    }
    if (dataset->whole)
        return tn_dataset_get(dataset->whole, dataset->indices[i], x, y);
    if (!dataset->x)
        return dataset->cls->get(dataset->self, i, x, y) == TN_OK && *x && !tn_failing() ? TN_OK : get_failed(i);
    *x = row(dataset->x, i);
    *y = dataset->y ? row(dataset->y, i) : NULL;
    return tn_last_status();
}

/* ---- items made into a batch -------------------------------------------------------------------------------------------- */

static tn_tensor *gather_rows(const tn_tensor *x, const int64_t *items, int64_t count)
{
    tn_shape shape = tn_shape_of(x);
    shape.sizes[0] = count;
    tn_tensor *out = tn_new("loader", shape, (tn_dtype)x->dtype, x->storage->device);
    size_t bytes = out && out->numel ? (size_t)(out->numel / count) * tn_item_size(x) : 0;
    for (int64_t i = 0; bytes && i < count; i++)
        memcpy(tn_ptr(out) + (size_t)i * bytes, tn_ptr(x) + (size_t)items[i] * bytes, bytes);
    return out;
}

/* Room for count items like the first; NULL with an error. */
static tn_tensor *stack_of(const tn_tensor *first, int64_t count)
{
    if (first->ndim == TN_MAX_DIMS)
        return tn_fail(TN_ERR_SHAPE, "loader: an item has %d dimensions, and a batch needs one more than Tenon has", TN_MAX_DIMS);
    tn_shape shape = {.ndim = first->ndim + 1, .sizes = {count}};
    memcpy(shape.sizes + 1, first->sizes, (size_t)first->ndim * sizeof *shape.sizes);
    return tn_new("loader", shape, (tn_dtype)first->dtype, (tn_device_id){TN_CPU, 0});
}

/* Puts item number k of a batch into its place; false with an error where it is not like the others. */
static bool put_item(tn_tensor *out, const char *name, const tn_tensor *item, int64_t k, const int64_t *items)
{
    if (item && item->storage->device.type != TN_CPU) {
        tn_fail(TN_ERR_DEVICE, "loader: %s of item %lld is on %s: get gives CPU tensors", name, (long long)items[k],
                tn_device_text(item->storage->device));
        return false;
    }
    bool like = item && item->dtype == out->dtype && item->ndim == out->ndim - 1;
    for (int d = 0; like && d < item->ndim; d++)
        like = item->sizes[d] == out->sizes[d + 1];
    if (!like) {
        tn_fail(TN_ERR_SHAPE, "loader: %s of item %lld is %s of %s, and that of item %lld was %s of %s: the items of a batch are alike", name,
                (long long)items[k], item ? tn_text(item) : "NULL", item ? tn_dtype_name((tn_dtype)item->dtype) : "no dtype",
                (long long)items[0], tn_shape_text(tn_make_shape(out->ndim - 1, out->sizes + 1)), tn_dtype_name((tn_dtype)out->dtype));
        return false;
    }
    tn_pack(item, tn_ptr(out) + (size_t)(k * item->numel) * tn_item_size(item));
    return true;
}

static bool collate_item(tn_dataset *dataset, const int64_t *items, int64_t count, int64_t k, tn_tensor **x, tn_tensor **y)
{
    TN_SCOPE;
    tn_tensor *item_x, *item_y;
    if (tn_dataset_get(dataset, items[k], &item_x, &item_y) != TN_OK)
        return false;
    if (k == 0) {
        *x = tn_pass(stack_of(item_x, count));
        *y = *x && item_y ? tn_pass(stack_of(item_y, count)) : NULL;
        if (tn_failing())
            return false;
    }
    if (!*y && item_y) {
        tn_fail(TN_ERR_SHAPE, "loader: item %lld has a y and item %lld had none", (long long)items[k], (long long)items[0]);
        return false;
    }
    return put_item(*x, "x", item_x, k, items) && (!*y || put_item(*y, "y", item_y, k, items));
}

static bool given_up(const bool *stop) { return stop && __atomic_load_n(stop, __ATOMIC_RELAXED); }

bool tn_collate(tn_dataset *dataset, const int64_t *items, int64_t count, const bool *stop, tn_tensor **x, tn_tensor **y)
{
    *x = *y = NULL;
    if (dataset->whole) {
        size_t bytes = (size_t)count * sizeof *items;
        int64_t *places = tn_alloc(bytes);
        for (int64_t i = 0; places && i < count; i++)
            places[i] = dataset->indices[items[i]];
        bool made = places && tn_collate(dataset->whole, places, count, stop, x, y);
        tn_free(places, bytes);
        return made;
    }
    if (dataset->x) {
        *x = gather_rows(dataset->x, items, count);
        *y = *x && dataset->y ? gather_rows(dataset->y, items, count) : NULL;
        return !tn_failing();
    }
    for (int64_t k = 0; k < count; k++)
        if (given_up(stop) || !collate_item(dataset, items, count, k, x, y))
            return false;
    return true;
}

/* A user's function is handed what is the scope's of this call, and its results move up. */
bool tn_collate_by(tn_collate_function collate, void *context, tn_dataset *dataset, const int64_t *items, int64_t count, const bool *stop,
                   tn_tensor **x, tn_tensor **y)
{
    *x = *y = NULL;
    TN_SCOPE;
    tn_tensor *list = tn_new("loader", TN_SHAPE(2, count), TN_I64, (tn_device_id){TN_CPU, 0}); /* room for the pointers, whoever throws */
    if (!list)
        return false;
    tn_tensor **xs = (tn_tensor **)(void *)tn_ptr(list), **ys = xs + count, *made_x = NULL, *made_y = NULL;
    for (int64_t k = 0; k < count; k++)
        if (given_up(stop) || tn_dataset_get(dataset, items[k], &xs[k], &ys[k]) != TN_OK)
            return false;
    if (collate(xs, ys, count, context, &made_x, &made_y) != TN_OK || !made_x)
        tn_fail(TN_ERR_STATE, "loader: collate failed and raised no error (tn_fail)");
    if (tn_failing())
        return false;
    *x = tn_pass(made_x);
    *y = tn_pass(made_y);
    return !tn_failing();
}

/* ---- samplers ----------------------------------------------------------------------------------------------------------- */

static void sampler_free(void *self)
{
    tn_sampler *sampler = self;
    if (sampler->cls && sampler->cls->free)
        sampler->cls->free(sampler->self);
}
static const tn_class sampler_class = {"sampler", sizeof(tn_sampler), sampler_free};

tn_sampler *tn_sampler_new(const tn_sampler_class *cls, void *self)
{
    tn_sampler *sampler = NULL;
    if (!tn_failing() && (!cls || !cls->length || !cls->order))
        tn_fail(TN_ERR_ARGUMENT, "sampler_new: a sampler has a length and an order");
    if (!tn_failing())
        sampler = tn_object_new(&sampler_class);
    if (sampler) {
        sampler->cls = cls;
        sampler->self = self;
    } else if (cls && cls->free) {
        cls->free(self);
    }
    return sampler;
}

/* The two samplers of our own keep their count in place of a pointer. */
static int64_t count_of(void *self) { return (int64_t)(intptr_t)self; }

static tn_status in_sequence(void *self, int64_t *items)
{
    for (int64_t i = 0; i < count_of(self); i++)
        items[i] = i;
    return TN_OK;
}

void tn_shuffle(int64_t *items, int64_t count)
{
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t k = (int64_t)tn_random_below((uint64_t)i + 1), item = items[i];
        items[i] = items[k];
        items[k] = item;
    }
}

static tn_status in_random_order(void *self, int64_t *items)
{
    in_sequence(self, items);
    tn_shuffle(items, count_of(self));
    return TN_OK;
}

static tn_sampler *counted(const char *op, const tn_sampler_class *cls, int64_t n)
{
    if (n < 0)
        return tn_fail(TN_ERR_ARGUMENT, "%s: n is %lld", op, (long long)n);
    return tn_sampler_new(cls, (void *)(intptr_t)n);
}

tn_sampler *tn_sequential_sampler_new(int64_t n)
{
    static const tn_sampler_class cls = {count_of, in_sequence, NULL, NULL};
    return counted("sequential_sampler_new", &cls, n);
}

tn_sampler *tn_random_sampler_new(int64_t n)
{
    static const tn_sampler_class cls = {count_of, in_random_order, NULL, NULL};
    return counted("random_sampler_new", &cls, n);
}
