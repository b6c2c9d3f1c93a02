/* State to and from named tensors: what optimisers, averages and schedules save and load by. */
#ifndef TN_NAMED_H
#define TN_NAMED_H

#include <tenon/io.h>

#include "core/core.h"

/* Shares a tensor under a name made by printf. */
bool tn_named_put(tn_dict *dict, tn_tensor *x, const char *format, ...) TN_PRINTF(3, 4);
/* Sets an f64 or i64 tensor of rank 0, or of n numbers where n >= 0, or a bool of rank 0, under a name made by printf. */
bool tn_named_put_double(tn_dict *dict, const double *values, int64_t n, const char *format, ...) TN_PRINTF(4, 5);
bool tn_named_put_int(tn_dict *dict, const int64_t *values, int64_t n, const char *format, ...) TN_PRINTF(4, 5);
bool tn_named_put_bool(tn_dict *dict, bool value, const char *format, ...) TN_PRINTF(3, 4);
bool tn_named_put_note(tn_dict *dict, const char *text, const char *format, ...) TN_PRINTF(3, 4);
enum { TN_NAMED_SCALAR = -1 };

/* Reads a dict; each name that is asked for and there counts as used. */
typedef struct tn_named {
    const char *op;
    const tn_dict *dict;
    bool *used; /* [count of dict] */
} tn_named;
/* False with an error where one sticks, the dict is NULL or there is no memory; tn_named_end() is due either way. */
bool tn_named_begin(tn_named *in, const char *op, const tn_dict *dict);
/* False with an error when a name of the dict was not used, or an error sticks. `whose` is said in the message. */
bool tn_named_done(const tn_named *in, const char *whose);
void tn_named_end(tn_named *in);
/* Passes by what has the name made of both, and what is within it ("milestones.3" of "milestones"); gives whether there is any. */
bool tn_named_pass(tn_named *in, const char *prefix, const char *name);
/* The tensor of a name made by printf, or NULL without an error. */
const tn_tensor *tn_named_find(tn_named *in, const char *format, ...) TN_PRINTF(2, 3);
const char *tn_named_note(const tn_named *in, const char *format, ...) TN_PRINTF(2, 3);
/* Reads numbers of any dtype, one of rank 0 or n; false with an error where the name is missing, or the shape or a value is another. */
bool tn_named_get_double(tn_named *in, double *values, int64_t n, const char *format, ...) TN_PRINTF(4, 5);
bool tn_named_get_int(tn_named *in, int64_t *values, int64_t n, const char *format, ...) TN_PRINTF(4, 5);
/* One whole number that things are counted by: 0 or more, and below 2^53, so that counting goes on. */
bool tn_named_get_count(tn_named *in, int64_t *value, const char *format, ...) TN_PRINTF(3, 4);
/* An owned copy like x (its dtype, contiguous) of a tensor that must have its shape and be of floats; NULL with an error. */
tn_tensor *tn_named_copy(const tn_named *in, const tn_tensor *from, const tn_tensor *x, const char *what);

#endif
