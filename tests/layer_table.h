/* The layers' test: tests/reference/layers_<family>.json holds cases (tests/reference/layers_<family>.py wrote it by layers_common.py); a
 * family's test gives a row for each layer. A case is run in f64, in f32 and on strided inputs: the module is made, PyTorch's weights are
 * loaded into it by name, strictly, and outputs, the gradients of every input and parameter, and the buffers are compared with PyTorch's,
 * in train and in eval mode; and finite differences of the first and the second order in f64. */
#ifndef TN_TESTS_LAYER_TABLE_H
#define TN_TESTS_LAYER_TABLE_H

#include "op_table.h"

typedef struct layer_row {
    const char *name;
    /* Makes the module, the caller's, from the case's arguments. */
    void *(*make)(const op_args *args);
    /* Calls it: fills out[0 ... n_out - 1]; NULL is tn_call_n() with all inputs. */
    tn_status (*call)(void *module, tn_tensor *const *in, const op_args *args, tn_tensor **out, int n_out);
} layer_row;

/* LAYER_TABLE(table, LIST) from LIST(X): X(name, call or NULL, expression in `args` that makes the module). */
#define LAYER_FUNCTION_(name, call, ...)                                                                                      \
    static void *make_##name(const op_args *args)                                                                             \
    {                                                                                                                         \
        (void)args;                                                                                                           \
        return __VA_ARGS__;                                                                                                   \
    }
#define LAYER_ROW_(name, call, ...) {#name, make_##name, call},
#define LAYER_TABLE(table, LIST) LIST(LAYER_FUNCTION_) static const layer_row table[] = {LIST(LAYER_ROW_){NULL, NULL, NULL}}

/* Reads the family's cases; false after printing why not. Called in main() before the tests. */
bool layer_table_load(const char *family, const layer_row *rows);
/* The tests, for a family's array of struct CMUnitTest. */
#define LAYER_TABLE_TESTS                                                                                                     \
    TEST(layer_test_rows), TEST(layer_test_f64), TEST(layer_test_f32), TEST(layer_test_strided), TEST(layer_test_differences)
void layer_test_rows(void **state);        /* each case has a row, each row a case */
void layer_test_f64(void **state);         /* against PyTorch, to within 1e-10 (1 + the largest of the tensor) */
void layer_test_f32(void **state);         /* the same in f32, 1e-5 */
void layer_test_strided(void **state);     /* the same in f64 on transposed inputs with gaps */
void layer_test_differences(void **state); /* tn_gradcheck of inputs and parameters together, second derivatives too */

#endif
