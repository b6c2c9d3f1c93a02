#include "op_table.h"

#define ELEMENTWISE(X)                                                                                                        \
    X(add, tn_add(in[0], in[1]))                                                                                              \
    X(mul, tn_mul(in[0], in[1]))                                                                                              \
    X(cast, tn_cast(in[0], op_dtype(args, "dtype")))
OP_TABLE(rows, ELEMENTWISE);

static void test_wrong_inputs(void **state)
{
    (void)state;
    tn_tensor *a = tn_ones(TN_SHAPE(2, 3)), *b = tn_ones(TN_SHAPE(4));
    check_fails(tn_add(a, b), TN_ERR_SHAPE, "add [2, 3] [4] test_ops_elementwise.c");
    check_fails(tn_add(a, NULL), TN_ERR_ARGUMENT, "add NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {OP_TABLE_TESTS, TEST(test_wrong_inputs)};
    return op_table_load("elementwise", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
