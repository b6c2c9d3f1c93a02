/* The operators' test: tests/reference/ops_<family>.json holds inputs and what PyTorch makes of them (tests/reference/ops_<family>.py wrote it);
 * a family's test gives a row for each operator, and every case is run in f64, in f32, on strided inputs, backward, and against
 * finite differences of the first and the second order. */
#ifndef TN_TESTS_OP_TABLE_H
#define TN_TESTS_OP_TABLE_H

#include "cases.h"

typedef struct op_row {
    const char *name;
    /* Runs the operator: returns the first result, writes further ones to out[1], out[2], ... */
    tn_tensor *(*run)(tn_tensor *const *in, const op_args *args, tn_tensor **out);
} op_row;

/* OP_TABLE(table, LIST) from LIST(X): X(name, expression in `in`, `args` and `out`). */
#define OP_FUNCTION_(name, ...)                                                                                               \
    static tn_tensor *run_##name(tn_tensor *const *in, const op_args *args, tn_tensor **out)                                  \
    {                                                                                                                         \
        (void)in, (void)args, (void)out;                                                                                      \
        return __VA_ARGS__;                                                                                                   \
    }
#define OP_ROW_(name, ...) {#name, run_##name},
#define OP_TABLE(table, LIST) LIST(OP_FUNCTION_) static const op_row table[] = {LIST(OP_ROW_){NULL, NULL}}

/* Reads the family's cases; false after printing why not. Called in main() before the tests. */
bool op_table_load(const char *family, const op_row *rows);
/* The tests, for a family's array of struct CMUnitTest. */
#define OP_TABLE_TESTS                                                                                                        \
    TEST(op_test_rows), TEST(op_test_f64), TEST(op_test_f32),                             \
        TEST(op_test_strided), TEST(op_test_differences)
void op_test_rows(void **state);        /* each case has a row, each row a case */
void op_test_f64(void **state);         /* values and gradients against PyTorch, 1e-10 */
void op_test_f32(void **state);         /* the same in f32, 1e-5 */
void op_test_strided(void **state);     /* the same in f64 on transposed inputs with gaps */
void op_test_differences(void **state); /* tn_gradcheck, second derivatives too */

/* The expression must fail with this status and a message that has all of text's words in it; clears the error. */
#define check_fails(expression, code, text)                                                                                   \
    do {                                                                                                                      \
        TN_SCOPE;                                                                                                             \
        (void)!(expression);                                                                                                  \
        op_check_error(code, text, __FILE__, __LINE__);                                                                       \
    } while (0)
void op_check_error(tn_status status, const char *text, const char *file, int line);

#endif
