/* The pickle machine (Python's pickletools describes the operations): a stack of values, marks in it, and a memo. Each operation makes at
 * most one value and is a byte or more, so that nothing grows beyond a multiple of the file. */
#include "io/pickle.h"

#include <stdio.h>
#include <string.h>

/* The names that are understood. */
enum { ORDERED_DICT = 1, COUNTER, REBUILD_TENSOR, REBUILD_PARAMETER, SIZE, STORAGE_TYPE };
static const struct {
    const char *name;
    uint8_t global;
    int8_t dtype;
} globals[] = {
    {"collections.OrderedDict", ORDERED_DICT, TN_DTYPE_DEFAULT},
    {"collections.Counter", COUNTER, TN_DTYPE_DEFAULT}, /* the milestones of a schedule */
    {"torch._utils._rebuild_tensor_v2", REBUILD_TENSOR, TN_DTYPE_DEFAULT},
    {"torch._utils._rebuild_parameter", REBUILD_PARAMETER, TN_DTYPE_DEFAULT},
    {"torch.Size", SIZE, TN_DTYPE_DEFAULT},
    {"torch.FloatStorage", STORAGE_TYPE, TN_F32},
    {"torch.DoubleStorage", STORAGE_TYPE, TN_F64},
    {"torch.HalfStorage", STORAGE_TYPE, TN_F16},
    {"torch.BFloat16Storage", STORAGE_TYPE, TN_BF16},
    {"torch.LongStorage", STORAGE_TYPE, TN_I64},
    {"torch.IntStorage", STORAGE_TYPE, TN_I32},
    {"torch.ShortStorage", STORAGE_TYPE, TN_I16},
    {"torch.CharStorage", STORAGE_TYPE, TN_I8},
    {"torch.ByteStorage", STORAGE_TYPE, TN_U8},
    {"torch.BoolStorage", STORAGE_TYPE, TN_BOOL},
};

static bool bad(const tn_pickle *p, const char *what)
{
    tn_fail(TN_ERR_FORMAT, "%s: %s: the pickle %s (byte %lld)", p->op, p->path, what, (long long)(p->at - p->begin));
    return false;
}

/* ---- the stack, the values, the memo ------------------------------------------------------------------------------------ */

static bool push_place(tn_pickle *p, uint32_t place)
{
    if (!tn_grow(&p->stack, p->stack_count, &p->stack_capacity, sizeof *p->stack))
        return false;
    p->stack[p->stack_count++] = place;
    return true;
}

static bool push(tn_pickle *p, tn_pickle_value value)
{
    if (!tn_grow(&p->values, p->value_count, &p->value_capacity, sizeof *p->values))
        return false;
    p->values[p->value_count] = value;
    return push_place(p, (uint32_t)p->value_count++);
}

/* Whether so many values stand on the stack above the last mark, which no operation reaches below. */
static bool has(const tn_pickle *p, size_t count)
{
    size_t floor = p->mark_count ? p->marks[p->mark_count - 1] : 0;
    return p->stack_count - floor >= count || bad(p, "takes more from its stack than is there");
}
static tn_pickle_value *top(const tn_pickle *p, size_t below) { return &p->values[p->stack[p->stack_count - 1 - below]]; }

static bool add_item(tn_pickle_value *to, uint32_t place)
{
    size_t capacity = to->capacity;
    uint32_t *items = to->items;
    if (!tn_grow(&items, to->count, &capacity, sizeof *items))
        return false;
    to->items = items;
    to->capacity = (uint32_t)capacity;
    to->items[to->count++] = place;
    return true;
}

/* Takes the values above `from` off the stack, into `to`, a container, or nowhere. */
static bool take(tn_pickle *p, size_t from, tn_pickle_value *to)
{
    bool ok = true;
    for (size_t i = from; ok && to && i < p->stack_count; i++)
        ok = add_item(to, p->stack[i]);
    p->stack_count = from;
    return ok;
}

/* The last mark's place on the stack, and the mark gone. */
static bool pop_mark(tn_pickle *p, size_t *from)
{
    if (!p->mark_count)
        return bad(p, "has no mark where one is needed");
    *from = p->marks[--p->mark_count];
    return true;
}

static bool push_mark(tn_pickle *p)
{
    if (!tn_grow(&p->marks, p->mark_count, &p->mark_capacity, sizeof *p->marks))
        return false;
    p->marks[p->mark_count++] = (uint32_t)p->stack_count;
    return true;
}

/* A container of the values above `from`. */
static bool collect(tn_pickle *p, tn_pickle_kind kind, size_t from)
{
    if (kind == TN_PICKLE_DICT && (p->stack_count - from) % 2)
        return bad(p, "has a dict with a key and no value");
    tn_pickle_value value = {.kind = (uint8_t)kind, .items = NULL};
    bool ok = take(p, from, &value) && push(p, value);
    if (!ok)
        tn_free(value.items, value.capacity * sizeof *value.items);
    return ok;
}

/* APPENDS and SETITEMS: what stands above `from` goes into the container below it. */
static bool extend(tn_pickle *p, tn_pickle_kind kind, size_t from)
{
    size_t floor = p->mark_count ? p->marks[p->mark_count - 1] : 0;
    if (from <= floor || p->values[p->stack[from - 1]].kind != kind)
        return bad(p, kind == TN_PICKLE_LIST ? "appends to what is no list" : "sets an item of what is no dict");
    if (kind == TN_PICKLE_DICT && (p->stack_count - from) % 2)
        return bad(p, "has a dict with a key and no value");
    return take(p, from, &p->values[p->stack[from - 1]]);
}

static bool memo_put(tn_pickle *p, uint64_t at)
{
    if (!has(p, 1))
        return false;
    if (at >= (uint64_t)(p->end - p->begin))
        return bad(p, "numbers its memo beyond its length");
    size_t before = p->memo_capacity;
    while (at >= p->memo_capacity)
        if (!tn_grow(&p->memo, p->memo_capacity, &p->memo_capacity, sizeof *p->memo))
            return false;
    if (p->memo_capacity > before)
        memset(p->memo + before, 0, (p->memo_capacity - before) * sizeof *p->memo);
    p->memo[at] = p->stack[p->stack_count - 1] + 1;
    return true;
}

static bool memo_get(tn_pickle *p, uint64_t at)
{
    if (at >= p->memo_capacity || !p->memo[at])
        return bad(p, "asks its memo for what is not there");
    return push_place(p, p->memo[at] - 1);
}

/* ---- arguments of operations -------------------------------------------------------------------------------------------- */

static bool number(tn_pickle *p, int bytes, uint64_t *value)
{
    if (p->end - p->at < bytes)
        return bad(p, "ends too early");
    *value = 0;
    for (int i = 0; i < bytes; i++)
        *value |= (uint64_t)*p->at++ << 8 * i;
    return true;
}

static bool push_int(tn_pickle *p, int64_t value) { return push(p, (tn_pickle_value){.kind = TN_PICKLE_INT, .integer = value}); }
static bool push_bool(tn_pickle *p, bool value) { return push(p, (tn_pickle_value){.kind = TN_PICKLE_BOOL, .integer = value}); }

static bool unsigned_int(tn_pickle *p, int bytes)
{
    uint64_t value;
    return number(p, bytes, &value) && push_int(p, (int64_t)value);
}

static bool signed_int(tn_pickle *p)
{
    uint64_t value;
    return number(p, 4, &value) && push_int(p, (int32_t)value);
}

/* LONG1: a length, and so many bytes of two's complement. */
static bool long_int(tn_pickle *p)
{
    uint64_t length, value = 0;
    if (!number(p, 1, &length))
        return false;
    if (length > 8) {
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: the pickle holds an integer of %d bytes: 8 can be read", p->op, p->path, (int)length);
        return false;
    }
    if (!number(p, (int)length, &value))
        return false;
    if (length > 0 && length < 8 && value >> (8 * length - 1))
        value |= ~(uint64_t)0 << 8 * length;
    return push_int(p, (int64_t)value);
}

static bool real(tn_pickle *p)
{
    uint64_t bits;
    double value;
    if (!number(p, 8, &bits))
        return false;
    bits = __builtin_bswap64(bits); /* big-endian in the file */
    memcpy(&value, &bits, sizeof value);
    return push(p, (tn_pickle_value){.kind = TN_PICKLE_FLOAT, .number = value});
}

static bool text(tn_pickle *p, int length_bytes)
{
    uint64_t length;
    if (!number(p, length_bytes, &length))
        return false;
    if (length > (uint64_t)(p->end - p->at))
        return bad(p, "ends within a text");
    const char *begin = (const char *)p->at;
    p->at += length;
    return push(p, (tn_pickle_value){.kind = TN_PICKLE_TEXT, .count = (uint32_t)length, .text = begin});
}

/* ---- names and what they call ------------------------------------------------------------------------------------------- */

static bool push_global(tn_pickle *p, const char *module, size_t module_length, const char *name, size_t name_length)
{
    char full[128];
    snprintf(full, sizeof full, "%.*s.%.*s", (int)(module_length < 128 ? module_length : 128), module,
             (int)(name_length < 128 ? name_length : 128), name);
    for (int i = 0; i < TN_COUNT(globals); i++)
        if (strcmp(full, globals[i].name) == 0)
            return push(p, (tn_pickle_value){.kind = TN_PICKLE_GLOBAL, .global = globals[i].global, .dtype = globals[i].dtype});
    for (char *c = full; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
            *c = '?';
    tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: %s is refused: only tensors are read (save a state_dict)", p->op, p->path, full);
    return false;
}

static bool line(tn_pickle *p, const char **begin, size_t *length)
{
    const unsigned char *end = memchr(p->at, '\n', (size_t)(p->end - p->at));
    if (!end)
        return bad(p, "ends within a name");
    *begin = (const char *)p->at;
    *length = (size_t)(end - p->at);
    p->at = end + 1;
    return true;
}

static bool global(tn_pickle *p)
{
    const char *module, *name;
    size_t module_length, name_length;
    return line(p, &module, &module_length) && line(p, &name, &name_length) && push_global(p, module, module_length, name, name_length);
}

static bool stack_global(tn_pickle *p)
{
    if (!has(p, 2))
        return false;
    tn_pickle_value module = *top(p, 1), name = *top(p, 0);
    if (module.kind != TN_PICKLE_TEXT || name.kind != TN_PICKLE_TEXT)
        return bad(p, "names what is no text");
    return take(p, p->stack_count - 2, NULL) && push_global(p, module.text, module.count, name.text, name.count);
}

static bool is(const tn_pickle *p, const tn_pickle_value *of, uint32_t i, tn_pickle_kind kind)
{
    return i < of->count && tn_pickle_item(p, of, i)->kind == kind;
}

/* Puts a value of these items of `from`, a tuple, in the place of the uppermost `popped`. */
static bool replace(tn_pickle *p, size_t popped, tn_pickle_value value, const tn_pickle_value *from, const uint8_t *which, int count)
{
    bool ok = true;
    tn_pickle_value tuple = *from; /* values may move */
    for (int i = 0; ok && i < count; i++)
        ok = add_item(&value, tuple.items[which[i]]);
    ok = ok && take(p, p->stack_count - popped, NULL) && push(p, value);
    if (!ok)
        tn_free(value.items, value.capacity * sizeof *value.items);
    return ok;
}

/* ("storage", torch.FloatStorage, key, device, count) */
static bool persistent(tn_pickle *p)
{
    if (!has(p, 1))
        return false;
    const tn_pickle_value *id = top(p, 0);
    if (id->kind != TN_PICKLE_TUPLE || id->count != 5 || !is(p, id, 0, TN_PICKLE_TEXT) || !is(p, id, 1, TN_PICKLE_GLOBAL) ||
        tn_pickle_item(p, id, 1)->global != STORAGE_TYPE || !is(p, id, 2, TN_PICKLE_TEXT) || !is(p, id, 3, TN_PICKLE_TEXT) ||
        !is(p, id, 4, TN_PICKLE_INT) || tn_pickle_item(p, id, 0)->count != 7 || memcmp(tn_pickle_item(p, id, 0)->text, "storage", 7) != 0)
        return bad(p, "has a persistent id that is no storage's");
    tn_pickle_value storage = {.kind = TN_PICKLE_STORAGE, .dtype = tn_pickle_item(p, id, 1)->dtype, .items = NULL};
    return replace(p, 1, storage, id, (const uint8_t[]){2, 4}, 2);
}

/* (storage, offset, sizes, strides, requires_grad, hooks), and a dict of what else there is, which must be empty */
static bool rebuild_tensor(tn_pickle *p, const tn_pickle_value *args)
{
    if (args->count < 6 || args->count > 7 || !is(p, args, 0, TN_PICKLE_STORAGE) || !is(p, args, 1, TN_PICKLE_INT) ||
        !is(p, args, 2, TN_PICKLE_TUPLE) || !is(p, args, 3, TN_PICKLE_TUPLE) ||
        (args->count == 7 && !is(p, args, 6, TN_PICKLE_NONE) && (!is(p, args, 6, TN_PICKLE_DICT) || tn_pickle_item(p, args, 6)->count)))
        return bad(p, "rebuilds a tensor from other things than storage, offset, sizes and strides");
    return replace(p, 2, (tn_pickle_value){.kind = TN_PICKLE_TENSOR, .items = NULL}, args, (const uint8_t[]){0, 1, 2, 3}, 4);
}

static bool reduce(tn_pickle *p)
{
    if (!has(p, 2))
        return false;
    const tn_pickle_value *args = top(p, 0), *callee = top(p, 1);
    if (callee->kind != TN_PICKLE_GLOBAL || args->kind != TN_PICKLE_TUPLE)
        return bad(p, "calls what is no name, or without a tuple");
    if (callee->global == REBUILD_TENSOR)
        return rebuild_tensor(p, args);
    if (callee->global == ORDERED_DICT && args->count == 0)
        return replace(p, 2, (tn_pickle_value){.kind = TN_PICKLE_DICT, .items = NULL}, args, NULL, 0);
    if ((callee->global == REBUILD_PARAMETER && is(p, args, 0, TN_PICKLE_TENSOR)) ||
        (callee->global == SIZE && args->count == 1 && is(p, args, 0, TN_PICKLE_TUPLE)) ||
        (callee->global == COUNTER && args->count == 1 && is(p, args, 0, TN_PICKLE_DICT))) {
        uint32_t place = args->items[0];
        return take(p, p->stack_count - 2, NULL) && push_place(p, place);
    }
    return bad(p, "calls a known name with other arguments than PyTorch does");
}

/* An OrderedDict's attributes (_metadata) are left out. */
static bool build(tn_pickle *p)
{
    if (!has(p, 2))
        return false;
    if (top(p, 1)->kind != TN_PICKLE_DICT)
        return bad(p, "sets the state of what is no OrderedDict");
    return take(p, p->stack_count - 1, NULL);
}

/* ---- the operations ----------------------------------------------------------------------------------------------------- */

static bool tuple_of(tn_pickle *p, size_t count) { return has(p, count) && collect(p, TN_PICKLE_TUPLE, p->stack_count - count); }

static bool operate(tn_pickle *p, unsigned char operation)
{
    uint64_t n = 0;
    size_t from;
    switch (operation) {
    case 0x80: return number(p, 1, &n) && (n <= 5 || bad(p, "is of a later protocol than 5"));
    case 0x95: return number(p, 8, &n); /* FRAME */
    case '(': return push_mark(p);
    case '0': return has(p, 1) && take(p, p->stack_count - 1, NULL);
    case '1': return pop_mark(p, &from) && take(p, from, NULL);
    case '2': return has(p, 1) && push_place(p, p->stack[p->stack_count - 1]);
    case 'N': return push(p, (tn_pickle_value){.kind = TN_PICKLE_NONE});
    case 0x88: return push_bool(p, true);
    case 0x89: return push_bool(p, false);
    case 'J': return signed_int(p);
    case 'K': return unsigned_int(p, 1);
    case 'M': return unsigned_int(p, 2);
    case 0x8a: return long_int(p);
    case 'G': return real(p);
    case 0x8c: return text(p, 1);
    case 'X': return text(p, 4);
    case 0x8d: return text(p, 8);
    case ')': return collect(p, TN_PICKLE_TUPLE, p->stack_count);
    case 0x85: return tuple_of(p, 1);
    case 0x86: return tuple_of(p, 2);
    case 0x87: return tuple_of(p, 3);
    case 't': return pop_mark(p, &from) && collect(p, TN_PICKLE_TUPLE, from);
    case ']': return collect(p, TN_PICKLE_LIST, p->stack_count);
    case 'l': return pop_mark(p, &from) && collect(p, TN_PICKLE_LIST, from);
    case 'a': return has(p, 2) && extend(p, TN_PICKLE_LIST, p->stack_count - 1);
    case 'e': return pop_mark(p, &from) && extend(p, TN_PICKLE_LIST, from);
    case '}': return collect(p, TN_PICKLE_DICT, p->stack_count);
    case 'd': return pop_mark(p, &from) && collect(p, TN_PICKLE_DICT, from);
    case 's': return has(p, 3) && extend(p, TN_PICKLE_DICT, p->stack_count - 2);
    case 'u': return pop_mark(p, &from) && extend(p, TN_PICKLE_DICT, from);
    case 'q': return number(p, 1, &n) && memo_put(p, n);
    case 'r': return number(p, 4, &n) && memo_put(p, n);
    case 0x94: return has(p, 1) && memo_put(p, p->memo_next++);
    case 'h': return number(p, 1, &n) && memo_get(p, n);
    case 'j': return number(p, 4, &n) && memo_get(p, n);
    case 'c': return global(p);
    case 0x93: return stack_global(p);
    case 'Q': return persistent(p);
    case 'R': return reduce(p);
    case 'b': return build(p);
    default:
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: the pickle's operation 0x%02x at byte %lld is refused: only tensors are read", p->op, p->path,
                operation, (long long)(p->at - p->begin - 1));
        return false;
    }
}

int64_t tn_pickle_read(tn_pickle *p, const void *data, size_t length)
{
    p->at = p->begin = data;
    p->end = p->begin + length;
    for (;;) {
        if (p->at == p->end)
            return bad(p, "ends without its stop"), -1;
        unsigned char operation = *p->at++;
        if (operation == '.')
            break;
        if (!operate(p, operation))
            return -1;
    }
    if (p->mark_count || p->stack_count != 1 || p->at != p->end)
        return bad(p, "stops with other than one value, or before its end"), -1;
    return p->stack[0];
}

void tn_pickle_free(tn_pickle *p)
{
    for (size_t i = 0; i < p->value_count; i++) {
        const tn_pickle_value *v = &p->values[i];
        if (v->kind >= TN_PICKLE_TUPLE && v->kind != TN_PICKLE_GLOBAL)
            tn_free(v->items, v->capacity * sizeof *v->items);
    }
    tn_free(p->values, p->value_capacity * sizeof *p->values);
    tn_free(p->stack, p->stack_capacity * sizeof *p->stack);
    tn_free(p->marks, p->mark_capacity * sizeof *p->marks);
    tn_free(p->memo, p->memo_capacity * sizeof *p->memo);
}
