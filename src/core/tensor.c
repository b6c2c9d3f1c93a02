/* Storage and tensors: making them, viewing them, freeing them. */
#include "core/core.h"
#include "autograd/node.h"
#include "kernels/device.h"

#include <string.h>

/* ---- storage ------------------------------------------------------------------------------------------------------------ */

enum { STORAGE_HEAD = 64 };
_Static_assert(sizeof(tn_storage) <= STORAGE_HEAD, "the data begins 64 bytes after the struct, aligned as it is");

static tn_storage *device_storage(size_t bytes, tn_device_id device)
{
    const tn_backend *backend = tn_backend_for("storage", device);
    tn_storage *s = backend ? tn_alloc(STORAGE_HEAD) : NULL;
    char *data = s ? backend->alloc(device.index, bytes) : NULL;
    if (data)
        *s = (tn_storage){.refs = 1, .device = device, .data = data, .bytes = bytes};
    else
        tn_free(s, STORAGE_HEAD);
    return data ? s : NULL;
}

tn_storage *tn_storage_new(size_t bytes, tn_device_id device)
{
    if (TN_UNLIKELY(device.type != TN_CPU))
        return device_storage(bytes, device);
    tn_storage *s = tn_alloc(STORAGE_HEAD + bytes);
    if (s)
        *s = (tn_storage){.refs = 1, .device = device, .data = (char *)s + STORAGE_HEAD, .bytes = bytes};
    return s;
}

tn_storage *tn_storage_over(void *data, size_t bytes, void (*release)(void *, void *), void *context)
{
    tn_storage *s = tn_alloc(STORAGE_HEAD);
    if (s)
        *s = (tn_storage){.refs = 1, .device = {TN_CPU, 0}, .data = data, .bytes = bytes, .release = release, .context = context};
    return s;
}

void tn_storage_release(tn_storage *s)
{
    if (!s || __atomic_fetch_sub(&s->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    bool own = s->data == (char *)s + STORAGE_HEAD;
    if (s->release)
        s->release(s->data, s->context);
    else if (TN_UNLIKELY(s->device.type != TN_CPU))
        tn_cuda(NULL)->free(s->device.index, s->data, s->bytes);
    tn_free(s, STORAGE_HEAD + (own ? s->bytes : 0));
}

/* ---- tensors ------------------------------------------------------------------------------------------------------------ */

static void tensor_free(void *self)
{
    tn_tensor *x = self;
    if (tn_has(x, TN_FLAG_RETAIN_GRAD))
        tn_forget_retained(x);
    if (x->storage && tn_has(x, TN_FLAG_VIEW))
        __atomic_fetch_sub(&x->storage->aliases, 1, __ATOMIC_RELAXED);
    tn_storage_release(x->storage);
    if (x->grad_fn)
        tn_release(x->grad_fn);
    if (x->grad)
        tn_release(x->grad);
    if (x->hooks)
        tn_hooks_free(x->hooks);
}

const tn_class tn_tensor_class = {"tensor", sizeof(tn_tensor), tensor_free};

bool tn_not_ready(const char *op, const char *argument, const tn_tensor *x)
{
    if (x)
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is no tensor: it was released (its scope has ended: tn_keep() or tn_pass() it), or is another object", op,
                argument);
    else
        tn_fail(TN_ERR_ARGUMENT, "%s: %s is NULL", op, argument);
    return false;
}

bool tn_is_tensor(const tn_object *object) { return object->cls == &tn_tensor_class; }

static void set_contiguous(tn_tensor *x, int ndim, const int64_t *sizes)
{
    int64_t n = 1;
    x->ndim = (uint8_t)ndim;
    for (int i = ndim - 1; i >= 0; i--) {
        x->sizes[i] = sizes[i];
        x->strides[i] = n;
        n *= sizes[i] ? sizes[i] : 1;
    }
    x->flags |= TN_FLAG_CONTIGUOUS;
}

static bool strides_are_contiguous(const tn_tensor *x)
{
    int64_t expected = 1;
    for (int i = x->ndim - 1; i >= 0; i--) {
        if (x->sizes[i] != 1 && x->strides[i] != expected && x->numel > 0)
            return false;
        expected *= x->sizes[i];
    }
    return true;
}

tn_tensor *tn_new_owned(const char *op, tn_shape shape, tn_dtype dtype, tn_device_id device)
{
    int64_t numel;
    if (tn_failing() || !tn_shape_check(op, shape, &numel))
        return NULL;
    tn_tensor *x = tn_object_new(&tn_tensor_class);
    if (!x)
        return NULL;
    x->storage = tn_storage_new((size_t)numel * tn_dtype_sizes[dtype], device);
    if (!x->storage) {
        tn_release(x);
        return NULL;
    }
    x->numel = numel;
    x->dtype = (uint8_t)dtype;
    set_contiguous(x, shape.ndim, shape.sizes);
    return x;
}

tn_tensor *tn_new(const char *op, tn_shape shape, tn_dtype dtype, tn_device_id device)
{
    return tn_autorelease(tn_new_owned(op, shape, dtype, device));
}

tn_tensor *tn_over_storage(tn_storage *storage, tn_shape shape, tn_dtype dtype)
{
    int64_t numel = 0;
    tn_tensor *x = storage && tn_shape_check("from_memory", shape, &numel) ? tn_object_new(&tn_tensor_class) : NULL;
    if (!x) {
        tn_storage_release(storage);
        return NULL;
    }
    x->storage = storage;
    x->numel = numel;
    x->dtype = (uint8_t)dtype;
    set_contiguous(x, shape.ndim, shape.sizes);
    return tn_autorelease(x);
}

tn_tensor *tn_over_storage_strided(tn_storage *storage, tn_shape shape, const int64_t *strides, int64_t offset, tn_dtype dtype)
{
    tn_tensor *x = tn_over_storage(storage, shape, dtype);
    if (!x)
        return NULL;
    x->offset = offset;
    memcpy(x->strides, strides, (size_t)shape.ndim * sizeof *strides);
    if (!strides_are_contiguous(x))
        x->flags &= (uint8_t)~TN_FLAG_CONTIGUOUS;
    return x;
}

tn_tensor *tn_view_of(const tn_tensor *x, int ndim, const int64_t *sizes, const int64_t *strides, int64_t offset)
{
    tn_tensor *y = tn_object_new(&tn_tensor_class);
    if (!y)
        return NULL;
    y->storage = x->storage;
    tn_storage_retain(y->storage);
    __atomic_fetch_add(&y->storage->aliases, 1, __ATOMIC_RELAXED);
    y->offset = offset;
    y->dtype = x->dtype;
    y->ndim = (uint8_t)ndim;
    y->numel = 1;
    for (int i = 0; i < ndim; i++) {
        y->sizes[i] = sizes[i];
        y->strides[i] = strides[i];
        y->numel *= sizes[i];
    }
    y->flags = TN_FLAG_VIEW;
    if (strides_are_contiguous(y))
        y->flags |= TN_FLAG_CONTIGUOUS;
    return tn_autorelease(y);
}

tn_tensor *tn_alias_owned(const tn_tensor *x)
{
    tn_tensor *y = tn_object_new(&tn_tensor_class);
    if (!y)
        return NULL;
    tn_object head = y->base;
    *y = *x;
    y->base = head;
    tn_storage_retain(y->storage);
    y->flags = x->flags & TN_FLAG_CONTIGUOUS;
    y->grad_fn = NULL;
    y->grad = NULL;
    y->hooks = NULL;
    return y;
}

/* ---- what a tensor is --------------------------------------------------------------------------------------------------- */

int tn_ndim(const tn_tensor *x) { return tn_ready("ndim", "x", x) ? x->ndim : 0; }
int64_t tn_numel(const tn_tensor *x) { return tn_ready("numel", "x", x) ? x->numel : 0; }
tn_dtype tn_dtype_of(const tn_tensor *x) { return tn_ready("dtype_of", "x", x) ? (tn_dtype)x->dtype : TN_DTYPE_DEFAULT; }
bool tn_is_contiguous(const tn_tensor *x) { return tn_ready("is_contiguous", "x", x) && tn_has(x, TN_FLAG_CONTIGUOUS); }
bool tn_requires_grad(const tn_tensor *x) { return tn_ready("requires_grad", "x", x) && tn_tracks(x); }
bool tn_is_leaf(const tn_tensor *x) { return tn_ready("is_leaf", "x", x) && !x->grad_fn; }
uint64_t tn_version_of(const tn_tensor *x) { return tn_ready("version_of", "x", x) ? x->storage->version : 0; }

int64_t tn_size(const tn_tensor *x, int dim)
{
    int d = tn_ready("size", "x", x) ? tn_wrap_dim("size", dim, x->ndim) : -1;
    return d < 0 ? -1 : x->ndim == 0 ? 1 : x->sizes[d];
}

int64_t tn_stride(const tn_tensor *x, int dim)
{
    int d = tn_ready("stride", "x", x) ? tn_wrap_dim("stride", dim, x->ndim) : -1;
    return d < 0 ? -1 : x->ndim == 0 ? 1 : x->strides[d];
}

tn_shape tn_shape_of(const tn_tensor *x)
{
    return x ? tn_make_shape(x->ndim, x->sizes) : (tn_shape){.ndim = -1};
}

tn_device_id tn_device_of(const tn_tensor *x)
{
    return tn_ready("device_of", "x", x) ? x->storage->device : (tn_device_id){TN_CPU, 0};
}

bool tn_shares_storage(const tn_tensor *a, const tn_tensor *b)
{
    return tn_ready("shares_storage", "a", a) && tn_ready("shares_storage", "b", b) && a->storage == b->storage;
}

const void *tn_data(const tn_tensor *x)
{
    if (!tn_ready("data", "x", x))
        return NULL;
    if (x->storage->device.type != TN_CPU)
        return tn_fail(TN_ERR_DEVICE, "data: the tensor is on %s: move it with tn_to first", tn_device_text(x->storage->device));
    return tn_ptr(x);
}

void *tn_data_mut(tn_tensor *x)
{
    const void *data = tn_data(x);
    if (data)
        tn_storage_touch(x->storage);
    return (void *)(uintptr_t)data;
}

/* ---- scalars and the caller's memory ------------------------------------------------------------------------------------ */

static tn_tensor *scalar(tn_dtype dtype, const void *value)
{
    tn_tensor *x = tn_new("scalar", TN_SCALAR, dtype, (tn_device_id){TN_CPU, 0});
    if (!x)
        return NULL;
    memcpy(tn_ptr(x), value, tn_dtype_sizes[dtype]);
    x->flags |= TN_FLAG_WRAPPED;
    return x;
}

tn_tensor *tn_scalar_f64(double value) { return scalar(TN_F64, &value); }
tn_tensor *tn_scalar_i64(int64_t value) { return scalar(TN_I64, &value); }
tn_tensor *tn_scalar_bool(bool value) { return scalar(TN_BOOL, &value); }

tn_tensor *tn_from_memory_with(const tn_from_args *args)
{
    TN_KNOWN(tn_from_args, args);
    int64_t numel = 0;
    tn_tensor *x = NULL;
    tn_storage *storage = NULL;
    if (tn_failing())
        goto failed;
    if ((unsigned)args->dtype >= TN_DTYPE_COUNT)
        tn_fail(TN_ERR_DTYPE, "from_memory: say what the memory holds: .dtype = TN_F32");
    else if (args->device && args->device->type != TN_CPU)
        tn_fail(TN_ERR_DEVICE, "from_memory: the memory is the CPU's; move the tensor with tn_to");
    else if (tn_shape_check("from_memory", args->shape, &numel) && !args->data && numel > 0)
        tn_fail(TN_ERR_ARGUMENT, "from_memory: data is NULL for the shape %s", tn_shape_text(args->shape));
    else if ((uintptr_t)args->data % tn_dtype_sizes[args->dtype])
        tn_fail(TN_ERR_ARGUMENT, "from_memory: the address is not aligned for %s", tn_dtype_name(args->dtype));
    else if (args->requires_grad && !tn_dtype_is_float(args->dtype))
        tn_fail(TN_ERR_DTYPE, "from_memory: only floating tensors can require a gradient, and this is %s", tn_dtype_name(args->dtype));
    if (tn_failing())
        goto failed;
    storage = tn_storage_over((void *)(uintptr_t)args->data, (size_t)numel * tn_dtype_sizes[args->dtype], args->release, args->context);
    if (!storage)
        goto failed;
    x = tn_over_storage(storage, args->shape, args->dtype); /* takes the storage, and so calls release, on failure too */
    if (x && args->requires_grad)
        x->flags |= TN_FLAG_REQUIRES_GRAD;
    return x;
failed:
    if (args->release)
        args->release((void *)(uintptr_t)args->data, args->context);
    return NULL;
}
