/* State to and from named tensors. */
#include "optim/named.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/loop.h"

enum { NAME_SIZE = 256 };
#define MAKE_NAME(name, format)                                                                                               \
    char name[NAME_SIZE];                                                                                                     \
    va_list arguments_;                                                                                                       \
    va_start(arguments_, format);                                                                                             \
    vsnprintf(name, sizeof name, format, arguments_);                                                                         \
    va_end(arguments_)

/* ---- out ---------------------------------------------------------------------------------------------------------------- */

bool tn_named_put(tn_dict *dict, tn_tensor *x, const char *format, ...)
{
    MAKE_NAME(name, format);
    tn_tensor *plain = x ? tn_alias_owned(x) : NULL;
    bool good = plain && tn_dict_set(dict, name, plain) == TN_OK;
    tn_release(plain);
    return good;
}

static bool put_numbers(tn_dict *dict, const char *name, tn_dtype dtype, const void *values, int64_t n)
{
    tn_shape shape = {.ndim = n == TN_NAMED_SCALAR ? 0 : 1, .sizes = {n}};
    tn_tensor *x = tn_new_owned("state_dict", shape, dtype, (tn_device_id){TN_CPU, 0});
    if (x && x->numel)
        memcpy(tn_ptr(x), values, (size_t)x->numel * tn_item_size(x));
    bool good = x && tn_dict_set(dict, name, x) == TN_OK;
    tn_release(x);
    return good;
}

bool tn_named_put_double(tn_dict *dict, const double *values, int64_t n, const char *format, ...)
{
    MAKE_NAME(name, format);
    return put_numbers(dict, name, TN_F64, values, n);
}

bool tn_named_put_int(tn_dict *dict, const int64_t *values, int64_t n, const char *format, ...)
{
    MAKE_NAME(name, format);
    return put_numbers(dict, name, TN_I64, values, n);
}

bool tn_named_put_bool(tn_dict *dict, bool value, const char *format, ...)
{
    MAKE_NAME(name, format);
    return put_numbers(dict, name, TN_BOOL, &value, TN_NAMED_SCALAR);
}

bool tn_named_put_note(tn_dict *dict, const char *text, const char *format, ...)
{
    MAKE_NAME(name, format);
    return tn_dict_set_note(dict, name, text) == TN_OK;
}

/* ---- in ----------------------------------------------------------------------------------------------------------------- */

static size_t used_size(const tn_named *in) { return (size_t)tn_dict_count(in->dict) + 1; }

bool tn_named_begin(tn_named *in, const char *op, const tn_dict *dict)
{
    *in = (tn_named){.op = op, .dict = dict};
    if (tn_failing())
        return false;
    if (!dict)
        tn_fail(TN_ERR_ARGUMENT, "%s: the dict is NULL", op);
    else
        in->used = tn_alloc_zero(used_size(in));
    return in->used != NULL;
}

void tn_named_end(tn_named *in)
{
    if (in->used)
        tn_free(in->used, used_size(in));
}

bool tn_named_done(const tn_named *in, const char *whose)
{
    for (int64_t i = 0; i < tn_dict_count(in->dict) && !tn_failing(); i++)
        if (!in->used[i])
            tn_fail(TN_ERR_ARGUMENT, "%s: \"%s\" is no part of the state of this %s", in->op, tn_dict_name(in->dict, i), whose);
    return !tn_failing();
}

static const tn_tensor *find(tn_named *in, const char *name)
{
    int64_t at = tn_dict_find(in->dict, name);
    if (at < 0)
        return NULL;
    in->used[at] = true;
    return tn_dict_tensor(in->dict, at);
}

bool tn_named_pass(tn_named *in, const char *prefix, const char *name)
{
    size_t before = strlen(prefix), length = strlen(name);
    bool any = false;
    for (int64_t i = 0; i < tn_dict_count(in->dict); i++) {
        const char *full = tn_dict_name(in->dict, i), *rest = full + before;
        if (strncmp(full, prefix, before) || strncmp(rest, name, length) || (rest[length] && rest[length] != '.'))
            continue;
        in->used[i] = any = true;
    }
    return any;
}

const tn_tensor *tn_named_find(tn_named *in, const char *format, ...)
{
    MAKE_NAME(name, format);
    return find(in, name);
}

const char *tn_named_note(const tn_named *in, const char *format, ...)
{
    MAKE_NAME(name, format);
    return tn_dict_note(in->dict, name);
}

/* The tensor of n numbers, or of one; NULL with an error. */
static const tn_tensor *numbers(tn_named *in, const char *name, int64_t n)
{
    const tn_tensor *x = find(in, name);
    if (!x)
        return tn_fail(TN_ERR_ARGUMENT, "%s: \"%s\" is missing", in->op, name);
    if (n == TN_NAMED_SCALAR ? x->numel == 1 : x->ndim == 1 && x->numel == n)
        return x;
    return tn_fail(TN_ERR_SHAPE, "%s: \"%s\" is %s: %lld %s due", in->op, name, tn_text(x), (long long)(n < 0 ? 1 : n),
                   n < 0 || n == 1 ? "number was" : "numbers were");
}

bool tn_named_get_double(tn_named *in, double *values, int64_t n, const char *format, ...)
{
    MAKE_NAME(name, format);
    const tn_tensor *x = numbers(in, name, n);
    return x && tn_to_doubles(x, values, x->numel) == TN_OK;
}

bool tn_named_get_int(tn_named *in, int64_t *values, int64_t n, const char *format, ...)
{
    MAKE_NAME(name, format);
    const tn_tensor *x = numbers(in, name, n);
    return x && tn_to_ints(x, values, x->numel) == TN_OK;
}

bool tn_named_get_count(tn_named *in, int64_t *value, const char *format, ...)
{
    MAKE_NAME(name, format);
    const tn_tensor *x = numbers(in, name, TN_NAMED_SCALAR);
    const double count = x ? tn_item(x) : 0;
    if (x && !(count >= 0 && count < 0x1p53 && count == floor(count)))
        tn_fail(TN_ERR_ARGUMENT, "%s: \"%s\" is %g: a whole number is needed, 0 or more", in->op, name, count);
    *value = tn_failing() ? 0 : (int64_t)count;
    return !tn_failing();
}

tn_tensor *tn_named_copy(const tn_named *in, const tn_tensor *from, const tn_tensor *x, const char *what)
{
    if (!tn_same_shape(from, x))
        return tn_fail(TN_ERR_SHAPE, "%s: %s is %s and its parameter is %s", in->op, what, tn_text(from), tn_text(x));
    if (!tn_dtype_is_float((tn_dtype)from->dtype))
        return tn_fail(TN_ERR_DTYPE, "%s: %s is %s: a floating dtype is needed", in->op, what, tn_dtype_name((tn_dtype)from->dtype));
    tn_tensor *copy = tn_new_owned(in->op, tn_shape_of(x), (tn_dtype)x->dtype, x->storage->device);
    if (copy && tn_overwrite(copy, from) == TN_OK)
        return copy;
    tn_release(copy);
    return NULL;
}
