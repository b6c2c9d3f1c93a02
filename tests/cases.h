/* What the tables of operators and of layers share: cases read from JSON, numbers that both sides make by one formula. */
#ifndef TN_TESTS_CASES_H
#define TN_TESTS_CASES_H

#include "check.h"

/* The formula of both sides: element i of the numbers that a seed gives, in [low, high), rounded to f32. */
double op_fill(uint32_t seed, int64_t i, double low, double high);

/* A case's arguments beside its tensors, by name; the second parameter is what a missing one reads as. */
typedef struct op_args {
    const void *json;
    int count; /* of input tensors */
} op_args;
bool op_has(const op_args *args, const char *name);
double op_number(const op_args *args, const char *name, double missing);
int64_t op_int(const op_args *args, const char *name, int64_t missing);
bool op_flag(const op_args *args, const char *name);
const char *op_text(const op_args *args, const char *name, const char *missing);
tn_dtype op_dtype(const op_args *args, const char *name); /* TN_DTYPE_DEFAULT when missing */
tn_shape op_shape(const op_args *args, const char *name); /* a number is a shape of one; rank 0 when missing */
tn_dims op_dims(const op_args *args, const char *name);   /* a number is a set of one; empty when missing */

/* TENON_TEST_DEVICE: the device that the tables' inputs are moved to and their operators run on; NULL: the CPU. Ends the
 * program as skipped where it is not there. */
const char *case_device(void);
/* In main(): what the tests make lies on that device, where they name no other. */
void case_use_device(void);
/* Whether a device is so slow (TENON_TEST_QUICK: the emulation, a sanitizer) that what takes long there is left to a GPU by itself. */
bool case_slow_device(void);
void case_skip_slow_device(void);
/* Skips a test of what only the CPU has. */
void case_cpu_only(void);

#ifdef TENON_HAVE_CJSON
#include <cjson/cJSON.h>

/* tests/reference/<name>.json; NULL after printing why not. */
cJSON *case_file(const char *name);
const cJSON *case_get(const void *json, const char *name);
const char *case_text(const void *json, const char *name);
double case_number(const cJSON *item); /* JSON has no inf and nan: they are strings */
tn_shape case_shape(const cJSON *item);
tn_dtype case_dtype(const char *name); /* TN_DTYPE_DEFAULT for NULL and what is none */

/* Says how many cases there were, and where. */
void case_report(int count);

typedef enum case_mode { MODE_F64, MODE_F32, MODE_STRIDED } case_mode;
/* The tensor of dtype that op_fill(seed, ...) makes; owned by the scope. */
tn_tensor *case_filled(tn_shape shape, tn_dtype dtype, uint32_t seed, double low, double high);
/* The tensor {dtype, shape, data} or {dtype, shape, seed, low, high}; dtype "float" is the mode's. */
tn_tensor *case_input(const cJSON *input, case_mode mode, bool requires_grad);
/* What output k's elements are multiplied by before they are summed and differentiated: of x's shape and dtype. */
tn_tensor *case_weights(const tn_tensor *x, int k);
#endif

#endif
