#include "layer_table.h"
#include "ulp.h"

static int64_t padding(const op_args *args) { return op_int(args, "padding_idx", TN_NO_PADDING); }

#define TABLE                                                                                                                 \
    tn_embedding_new(op_int(args, "rows", 0), op_int(args, "dim", 0), .padding_idx = padding(args),                           \
                     .max_norm = op_number(args, "max_norm", 0), .norm_type = op_number(args, "norm_type", 2))

/* One table both looked up and, transposed, multiplied by. */
typedef struct tied {
    tn_module base;
    tn_module *table;
} tied;
static tn_tensor *tied_forward(tied *self, tn_tensor *index)
{
    return tn_linear(tn_tanh(tn_call(self->table, index)), tn_parameter(self->table, "weight"));
}
TN_MODULE(tied, tied_forward);
static tied *tied_new(const op_args *args)
{
    tied *self = TN_NEW(tied);
    TN_CHILD(self, table, TABLE);
    return self;
}

#define EMBEDDINGS(X)                                                                                                         \
    X(embedding, NULL, TABLE)                                                                                                 \
    X(tied, NULL, tied_new(args))
LAYER_TABLE(rows, EMBEDDINGS);

static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *weight = tn_ones(TN_SHAPE(3, 2)), *index = tn_from_ints((int64_t[]){0, 3}, TN_SHAPE(2));
    check_fails(tn_embedding(index, weight), TN_ERR_INDEX, "embedding: index 3 size 3");
    check_fails(tn_embedding(tn_from_ints((int64_t[]){-1}, TN_SHAPE(1)), weight), TN_ERR_INDEX, "embedding: index -1");
    check_fails(tn_embedding(weight, weight), TN_ERR_DTYPE, "embedding: index is float32");
    check_fails(tn_embedding(index, index), TN_ERR_SHAPE, "embedding: weight is [2] index is [2] [rows, dim]");
    check_fails(tn_embedding(NULL, weight), TN_ERR_ARGUMENT, "embedding: index is NULL");
    check_fails(tn_embedding(index), TN_ERR_ARGUMENT, "embedding: weight is NULL");
    check_fails(tn_embedding(index, weight, .padding_idx = 3), TN_ERR_INDEX, "embedding: padding_idx is 3 3 rows");
    check_fails(tn_embedding(index, weight, .padding_idx = -4), TN_ERR_INDEX, "embedding: padding_idx is -4 3 rows");
    check_fails(tn_embedding_new(0, 4), TN_ERR_ARGUMENT, "embedding_new: 0 rows of 4");
    check_fails(tn_embedding_new(3, 4, .padding_idx = 3), TN_ERR_ARGUMENT, "embedding_new: padding_idx is 3");
    check_fails(tn_embedding_new(3, 4, .max_norm = -1), TN_ERR_ARGUMENT, "embedding_new: max_norm is -1 above 0");
    check_fails(tn_embedding_new(3, 4, .max_norm = 1, .norm_type = NAN), TN_ERR_ARGUMENT, "embedding_new: norm_type nan");
    tn_module *layer = tn_adopt(tn_embedding_new(3, 4, .max_norm = 1));
    check_fails(tn_call(layer, index), TN_ERR_INDEX, "embedding: index 3 size 3");
    check_fails(tn_call(layer, weight), TN_ERR_DTYPE, "embedding: index is float32");
}

/* Standard normal, the padding zeros; integers of every kind index alike. */
static void test_initial(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(2);
    tn_module *layer = tn_embedding_new(100, 100, .padding_idx = -2);
    tn_tensor *weight = tn_parameter(layer, "weight");
    double mean = tn_item(tn_mean(weight)), std = tn_item(tn_std(weight));
    assert_true(fabs(mean) < 0.05 && fabs(std - 1) < 0.05 && tn_requires_grad(weight));
    assert_true(tn_item(tn_amax(tn_abs(tn_select(weight, 0, 98)))) == 0 && tn_item(tn_amax(tn_abs(tn_select(weight, 0, 97)))) > 0);
    tn_tensor *index = tn_from_ints((int64_t[]){3, 99, 0}, TN_SHAPE(3)), *y = tn_call(layer, index);
    tn_dtype kinds[] = {TN_I32, TN_I16, TN_I8, TN_U8};
    for (int i = 0; i < 4; i++)
        assert_true(tn_equal(y, tn_call(layer, tn_cast(index, kinds[i]))));
    tn_release(layer);
    check_good();
}

/* The padding's row gets nothing, of the first order and of the second; a row that is met twice gets both. */
static void test_twice(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *weight = tn_from_doubles((double[]){1, 2, 3, 4, 5, 6}, TN_SHAPE(3, 2), .requires_grad = true);
    tn_tensor *y = tn_embedding(tn_from_ints((int64_t[]){2, 0, 2, 1}, TN_SHAPE(4)), weight, .padding_idx = 1);
    tn_tensor *first = tn_grad_of(tn_sum(tn_pow(y, 3)), weight, .create_graph = true); /* 3 w^2 for each place */
    check_values(first, 1e-12, 3, 12, 0, 0, 150, 216);
    check_values(tn_grad_of(tn_sum(first), weight), 1e-12, 6, 12, 0, 0, 60, 72);
    check_good();
}

/* The bound of index.c in ulp of the sum of the terms' magnitudes: of a row that is met k times, on whatever device adds in whatever order,
 * (k - 1) / 2, and on the CPU 1 + sqrt(k) / 5 where terms are not alike. */
static void test_gradient_error(void **state)
{
    (void)state;
    enum { N = 3000, ROWS = 40, DIM = 33 };
    for (int alike = 0; alike < 2; alike++) {
        TN_SCOPE;
        static int64_t index[N], met[ROWS];
        static float g[N * DIM];
        static double due[ROWS * DIM], size[ROWS * DIM];
        memset(met, 0, sizeof met), memset(due, 0, sizeof due), memset(size, 0, sizeof size);
        for (int i = 0; i < N; i++) {
            const double far = op_fill(1, i, 0, 1);
            met[index[i] = (int64_t)(ROWS * far * far * far)]++; /* the first rows often, the last ones seldom */
            for (int j = 0; j < DIM; j++) {
                g[i * DIM + j] = alike ? 0.94522F : (float)op_fill(2, i * DIM + j, -1, 1);
                due[index[i] * DIM + j] += (double)g[i * DIM + j], size[index[i] * DIM + j] += fabs((double)g[i * DIM + j]);
            }
        }
        tn_tensor *weight = tn_zeros(TN_SHAPE(ROWS, DIM), .requires_grad = true), *y = tn_embedding(tn_from_ints(index, TN_SHAPE(N)), weight);
        tn_tensor *d = tn_to(tn_grad_of(tn_sum(tn_mul(y, tn_from_floats(g, TN_SHAPE(N, DIM)))), weight), (tn_device_id){TN_CPU, 0});
        check_good();
        const float *is = tn_data(d);
        for (int i = 0; i < ROWS * DIM; i++) {
            const double k = (double)met[i / DIM], off = ulps_of(is[i], due[i], size[i]), most = alike ? (k - 1) / 2 : fmin((k - 1) / 2, 1 + sqrt(k) / 5);
            if (!(k ? off <= most : is[i] == 0))
                fail_msg("alike %d: a row met %d times is %a, %a was due: %.3g ulp", alike, (int)k, (double)is[i], due[i], off);
        }
    }
}

/* Only rows that are looked up and too long are written; of others the version stays, so that threads may look up together. */
static void test_max_norm(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *layer = tn_adopt(tn_embedding_new(3, 2, .max_norm = 1, .dtype = TN_F64));
    tn_tensor *weight = tn_parameter(layer, "weight"), *rows = tn_from_doubles((double[]){3, 4, 0.6, 0.7, 30, 40}, TN_SHAPE(3, 2));
    memcpy(tn_data_mut(weight), tn_data(rows), 6 * sizeof(double));
    uint64_t version = tn_version_of(weight);
    const double scale = 1 / (5 + 1e-7);
    check_values(tn_call(layer, tn_from_ints((int64_t[]){1}, TN_SHAPE(1))), 1e-15, 0.6, 0.7);
    assert_true(tn_version_of(weight) == version);
    check_values(tn_call(layer, tn_from_ints((int64_t[]){1, 0, 0}, TN_SHAPE(3))), 1e-15, 0.6, 0.7, 3 * scale, 4 * scale, 3 * scale, 4 * scale);
    check_values(weight, 1e-15, 3 * scale, 4 * scale, 0.6, 0.7, 30, 40);
    assert_true(tn_version_of(weight) > version && tn_requires_grad(weight));
    version = tn_version_of(weight);
    tn_tensor *y = tn_call(layer, tn_from_ints((int64_t[]){0, 1}, TN_SHAPE(2)));
    assert_true(tn_version_of(weight) == version);
    assert_int_equal(tn_backward(tn_sum(y)), TN_OK);
    check_values(tn_grad(weight), 0, 1, 1, 1, 1, 0, 0);
    tn_module *largest = tn_adopt(tn_embedding_new(3, 2, .max_norm = 20, .norm_type = INFINITY, .dtype = TN_F64));
    memcpy(tn_data_mut(tn_parameter(largest, "weight")), tn_data(rows), 6 * sizeof(double));
    check_values(tn_call(largest, tn_from_ints((int64_t[]){2, 0}, TN_SHAPE(2))), 1e-7, 15, 20, 3, 4);
    char text[512];
    tn_format_summary(largest, tn_from_ints((int64_t[]){0}, TN_SHAPE(1)), text, sizeof text);
    assert_non_null(strstr(text, "embedding(3, 2, max_norm=20, norm_type=inf)"));
    check_good();
}

int main(void)
{
    const struct CMUnitTest tests[] = {LAYER_TABLE_TESTS, TEST(test_errors), TEST(test_initial), TEST(test_twice), TEST(test_gradient_error),
                                       TEST(test_max_norm)};
    return layer_table_load("embedding", rows) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
