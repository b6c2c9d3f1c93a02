/* labels: quick, threads
 * Datasets made of others, random splits, the weighted sampler, and collate functions. */
#include "check.h"

static tn_dataset *numbers(double start, double end)
{
    return tn_tensor_dataset_new(tn_arange(start, end), tn_mul(tn_arange(start, end), 10));
}

/* x of all items, in the order of a loader, into values; how many. */
static int64_t all_of(tn_dataset *dataset, int workers, double *values)
{
    int64_t count = 0;
    tn_loader *loader = tn_loader_new(tn_retain(dataset), .batch_size = 3, .workers = workers);
    TN_FOREACH_BATCH(batch, loader) {
        assert_int_equal(tn_to_doubles(batch->x, values + count, batch->size), TN_OK);
        if (batch->y)
            assert_true(tn_equal(batch->y, tn_mul(batch->x, 10)));
        count += batch->size;
    }
    check_good();
    tn_release(loader);
    return count;
}

static void test_subset(void **state)
{
    (void)state;
    TN_SCOPE;
    double values[16];
    tn_dataset *some = tn_subset_new(numbers(0, 10), (int64_t[]){7, 2, 2, 9}, 4);
    for (int workers = 0; workers < 3; workers++) {
        assert_int_equal(all_of(some, workers, values), 4);
        assert_memory_equal(values, ((double[]){7, 2, 2, 9}), 4 * sizeof *values);
    }
    some = tn_subset_new(some, (int64_t[]){3, 0}, 2); /* of a subset */
    assert_int_equal(tn_dataset_length(some), 2);
    tn_tensor *x, *y;
    assert_int_equal(tn_dataset_get(some, 1, &x, &y), TN_OK);
    check_values(x, 0, 7);
    check_values(y, 0, 70);
    assert_int_equal(tn_dataset_get(some, 2, &x, &y), TN_ERR_INDEX);
    check_error(TN_ERR_INDEX, "item 2 of 2");
    tn_release(some);
    some = tn_subset_new(numbers(0, 3), NULL, 0);
    assert_int_equal(all_of(some, 1, values), 0);
    tn_release(some);
    assert_null(tn_subset_new(numbers(0, 3), (int64_t[]){1, 3}, 2));
    check_error(TN_ERR_INDEX, "index 1 is 3, and the dataset has 3 items");
    assert_null(tn_subset_new(numbers(0, 3), (int64_t[]){-1}, 1));
    check_error(TN_ERR_INDEX, "index 0 is -1");
    assert_null(tn_subset_new(numbers(0, 3), NULL, 1));
    check_error(TN_ERR_ARGUMENT, "indices is NULL");
    assert_null(tn_subset_new(numbers(0, 3), NULL, -1));
    check_error(TN_ERR_ARGUMENT, "count is -1");
}

static void test_concat(void **state)
{
    (void)state;
    TN_SCOPE;
    double values[16];
    tn_dataset *parts[] = {numbers(0, 3), tn_subset_new(numbers(0, 1), NULL, 0), numbers(5, 6), numbers(20, 24)};
    tn_dataset *all = tn_concat_dataset_new(parts, 4);
    assert_int_equal(tn_dataset_length(all), 8);
    for (int workers = 0; workers < 3; workers++) {
        assert_int_equal(all_of(all, workers, values), 8);
        assert_memory_equal(values, ((double[]){0, 1, 2, 5, 20, 21, 22, 23}), 8 * sizeof *values);
    }
    tn_release(all);
    tn_dataset *bad[] = {numbers(0, 3), NULL};
    assert_null(tn_concat_dataset_new(bad, 2));
    check_error(TN_ERR_ARGUMENT, "part 1: dataset_length: dataset is NULL");
    assert_null(tn_concat_dataset_new(NULL, 0));
    check_error(TN_ERR_ARGUMENT, "datasets is NULL");
    assert_null(tn_concat_dataset_new(bad, 0));
    check_error(TN_ERR_ARGUMENT, "count is 0");
}

/* ---- splits ------------------------------------------------------------------------------------------------------------- */

enum { MOST = 128 };

static void release_all(tn_dataset **parts, int count)
{
    for (int p = 0; p < count; p++)
        tn_release(parts[p]);
}

/* Each of 0 ... n-1 is in just one of the parts. */
static void check_whole(tn_dataset **parts, int count, int64_t n)
{
    double values[MOST];
    bool seen[MOST] = {false};
    int64_t total = 0;
    for (int p = 0; p < count; p++) {
        int64_t length = all_of(parts[p], 0, values);
        for (int64_t i = 0; i < length; i++) {
            assert_false(seen[(int)values[i]]);
            seen[(int)values[i]] = true;
        }
        total += length;
    }
    assert_int_equal(total, n);
}

static void test_random_split(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_dataset *parts[3], *again[3];
    double first[MOST], second[MOST];
    assert_int_equal(tn_random_split_new(numbers(0, 100), parts, 3, .lengths = (int64_t[]){70, 0, 30}, .seed = 4), TN_OK);
    assert_int_equal(tn_dataset_length(parts[0]), 70);
    assert_int_equal(tn_dataset_length(parts[1]), 0);
    check_whole(parts, 3, 100);
    tn_random_state before = tn_get_random_state(), after;
    assert_int_equal(tn_random_split_new(numbers(0, 100), again, 3, .lengths = (int64_t[]){70, 0, 30}, .seed = 4), TN_OK);
    after = tn_get_random_state();
    assert_memory_equal(&before, &after, sizeof before);
    all_of(parts[0], 0, first);
    all_of(again[0], 2, second);
    assert_memory_equal(first, second, 70 * sizeof *first);
    release_all(again, 3);
    assert_int_equal(tn_random_split_new(numbers(0, 100), again, 3, .lengths = (int64_t[]){70, 0, 30}), TN_OK);
    all_of(again[0], 0, second);
    assert_memory_not_equal(first, second, 70 * sizeof *first);
    after = tn_get_random_state();
    assert_memory_not_equal(&before, &after, sizeof before);
    release_all(parts, 3);
    release_all(again, 3);

    /* torch.utils.data.random_split(range(11), [0.2, 0.3, 0.5]) has 3, 3 and 5 */
    assert_int_equal(tn_random_split_new(numbers(0, 11), parts, 3, .shares = (double[]){0.2, 0.3, 0.5}), TN_OK);
    assert_int_equal(tn_dataset_length(parts[0]), 3);
    assert_int_equal(tn_dataset_length(parts[1]), 3);
    assert_int_equal(tn_dataset_length(parts[2]), 5);
    check_whole(parts, 3, 11);
    release_all(parts, 3);
}

/* 60 items of label 5, 30 of -1, 10 of 7: each part has its share of each. */
static void test_stratified_split(void **state)
{
    (void)state;
    TN_SCOPE;
    int64_t labels[100];
    for (int i = 0; i < 100; i++)
        labels[i] = i % 10 < 6 ? 5 : i % 10 < 9 ? -1 : 7;
    tn_dataset *parts[2];
    tn_tensor *of = tn_from_ints(labels, TN_SHAPE(100));
    assert_int_equal(tn_random_split_new(numbers(0, 100), parts, 2, .shares = (double[]){0.8, 0.2}, .labels = of), TN_OK);
    check_whole(parts, 2, 100);
    double values[MOST];
    int64_t count[3] = {0}, ordered = 0;
    assert_int_equal(all_of(parts[1], 0, values), 20);
    for (int i = 0; i < 20; i++) {
        int64_t label = labels[(int)values[i]];
        count[label == 5 ? 0 : label == -1 ? 1 : 2]++;
        ordered += i > 0 && labels[(int)values[i - 1]] <= label;
    }
    assert_int_equal(count[0], 12);
    assert_int_equal(count[1], 6);
    assert_int_equal(count[2], 2);
    assert_true(ordered < 19); /* the labels are mixed */
    release_all(parts, 2);

    /* Many labels of few items: rounding never favours the first part. */
    for (int i = 0; i < 100; i++)
        labels[i] = i / 2;
    of = tn_from_ints(labels, TN_SHAPE(100));
    assert_int_equal(tn_random_split_new(numbers(0, 100), parts, 2, .shares = (double[]){0.75, 0.25}, .labels = of), TN_OK);
    assert_int_equal(tn_dataset_length(parts[0]), 75);
    check_whole(parts, 2, 100);
    release_all(parts, 2);
}

static void test_errors_of_splits(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_dataset *parts[2];
    int64_t lengths[] = {2, 2};
    double shares[] = {0.5, 0.5};
#define refused(status, words, ...)                                                                                           \
    assert_int_equal(tn_random_split_new(numbers(0, 5), parts, 2, __VA_ARGS__), status);                                      \
    check_error(status, words);                                                                                               \
    assert_null(parts[0])
    refused(TN_ERR_ARGUMENT, "the lengths' sum is 4 and the dataset has 5", .lengths = lengths);
    refused(TN_ERR_ARGUMENT, "none negative", .lengths = ((int64_t[]){6, -1}));
    refused(TN_ERR_ARGUMENT, "sum is 1.1", .shares = ((double[]){0.5, 0.6}));
    refused(TN_ERR_ARGUMENT, "none negative", .shares = ((double[]){1.5, -0.5}));
    refused(TN_ERR_ARGUMENT, "sum is nan", .shares = ((double[]){NAN, 0.5}));
    refused(TN_ERR_ARGUMENT, "either .lengths or .shares", .seed = 0);
    refused(TN_ERR_ARGUMENT, "either .lengths or .shares", .lengths = lengths, .shares = shares);
    refused(TN_ERR_ARGUMENT, "seed is -2", .shares = shares, .seed = -2);
    refused(TN_ERR_ARGUMENT, "go with .shares", .lengths = lengths, .labels = tn_arange(0, 5));
    refused(TN_ERR_SHAPE, "labels is [4]", .shares = shares, .labels = tn_arange(0, 4));
    refused(TN_ERR_SHAPE, "of float32", .shares = shares, .labels = tn_zeros(TN_SHAPE(5)));
    assert_int_equal(tn_random_split_new(NULL, parts, 2, .shares = shares), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "dataset is NULL");
    assert_int_equal(tn_random_split_new(numbers(0, 5), NULL, 2, .shares = shares), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "parts is NULL");
    assert_int_equal(tn_random_split_new(numbers(0, 5), parts, 0, .shares = shares), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "count is 0");
}

/* ---- the weighted sampler ----------------------------------------------------------------------------------------------- */

static void test_weighted_sampler(void **state)
{
    (void)state;
    TN_SCOPE;
    enum { N = 20000 };
    tn_tensor *weights = tn_from_doubles(((double[]){0, 1, 3, 0, 4, 0}), TN_SHAPE(6));
    tn_loader *loader = tn_loader_new(numbers(0, 6), .batch_size = N, .sampler = tn_weighted_sampler_new(weights, N), .seed = 3);
    int64_t count[6] = {0};
    TN_FOREACH_BATCH(batch, loader)
        for (int64_t i = 0; i < batch->size; i++)
            count[batch->items[i]]++;
    check_good();
    tn_release(loader);
    assert_int_equal(count[0] + count[3] + count[5], 0);
    const double due[] = {0, 1, 3, 0, 4, 0}; /* eighths; 5 deviations of a binomial */
    for (int i = 0; i < 6; i++)
        assert_true(fabs((double)count[i] - N * due[i] / 8) <= 5 * sqrt(N * due[i] / 8 * (1 - due[i] / 8)));
}

/* Without replacement: item 2 of weights 0, 1, 3, 4 comes first in 3 of 8 orders, and item 1 after it in 1 of 5 of those. */
static void test_weighted_without_replacement(void **state)
{
    (void)state;
    TN_SCOPE;
    enum { N = 8000 };
    tn_tensor *weights = tn_from_floats(((float[]){0, 1, 3, 4}), TN_SHAPE(4));
    tn_sampler *sampler = tn_weighted_sampler_new(weights, 3, .replacement = false);
    tn_loader *loader = tn_loader_new(numbers(0, 4), .batch_size = 3, .sampler = sampler, .seed = 3);
    int64_t first = 0, then = 0;
    for (int i = 0; i < N; i++)
        TN_FOREACH_BATCH(batch, loader) {
            const int64_t *k = batch->items;
            assert_true(k[0] && k[1] && k[2] && k[0] + k[1] + k[2] == 6 && k[0] != k[1] && k[1] != k[2]);
            first += k[0] == 2;
            then += k[0] == 2 && k[1] == 1;
        }
    check_good();
    tn_release(loader);
    assert_true(fabs((double)first - N * 3. / 8) <= 5 * sqrt(N * 3. / 8 * 5 / 8));
    assert_true(fabs((double)then - N * 3. / 40) <= 5 * sqrt(N * 3. / 40 * 37 / 40));

    assert_null(tn_weighted_sampler_new(weights, 4, .replacement = false));
    check_error(TN_ERR_ARGUMENT, "the 3 weights that are not 0");
    assert_null(tn_weighted_sampler_new(weights, -1));
    check_error(TN_ERR_ARGUMENT, "count is -1");
    assert_null(tn_weighted_sampler_new(tn_neg(weights), 1));
    check_error(TN_ERR_ARGUMENT, "weight 1 is -1");
    assert_null(tn_weighted_sampler_new(tn_zeros(TN_SHAPE(3)), 1));
    check_error(TN_ERR_ARGUMENT, "sum is 0");
    assert_null(tn_weighted_sampler_new(tn_zeros(TN_SHAPE(3, 1)), 1));
    check_error(TN_ERR_SHAPE, "weights is [3, 1]");
    assert_null(tn_weighted_sampler_new(tn_arange(0, 3), 1));
    check_error(TN_ERR_SHAPE, "of int64");
    assert_null(tn_weighted_sampler_new(NULL, 1));
    check_error(TN_ERR_ARGUMENT, "weights is NULL");
}

/* ---- collate ------------------------------------------------------------------------------------------------------------ */

/* Item i is i + 1 numbers i, which a stack would refuse: the batch is their concatenation, and y their lengths. */
static int64_t ragged_length(void *self) { return *(int64_t *)self; }
static tn_status ragged_get(void *self, int64_t i, tn_tensor **x, tn_tensor **y)
{
    (void)self, (void)y;
    *x = tn_full(TN_SHAPE(i + 1), (double)i);
    return tn_last_status();
}
static const tn_dataset_class ragged_class = {ragged_length, ragged_get, NULL};

static tn_status join(tn_tensor *const *xs, tn_tensor *const *ys, int64_t count, void *context, tn_tensor **x, tn_tensor **y)
{
    int64_t lengths[8];
    for (int64_t i = 0; i < count; i++) {
        lengths[i] = tn_numel(xs[i]);
        assert_null(ys[i]);
    }
    *x = tn_mul(tn_cat(xs, (int)count, 0), *(double *)context);
    *y = tn_from_ints(lengths, TN_SHAPE(count));
    return tn_last_status();
}

static tn_status refuse(tn_tensor *const *xs, tn_tensor *const *ys, int64_t count, void *context, tn_tensor **x, tn_tensor **y)
{
    (void)xs, (void)ys, (void)count, (void)x, (void)y;
    if (context)
        tn_fail(TN_ERR_FORMAT, "these do not go together");
    return context ? TN_ERR_FORMAT : TN_OK;
}

static void test_collate(void **state)
{
    (void)state;
    TN_SCOPE;
    int64_t length = 5;
    double factor = 2;
    for (int workers = 0; workers < 3; workers++) {
        tn_dataset *dataset = tn_dataset_new(&ragged_class, &length);
        tn_loader *loader = tn_loader_new(tn_retain(dataset), .batch_size = 3, .workers = workers, .collate = join, .collate_context = &factor);
        int64_t live = tn_live_objects();
        TN_FOREACH_BATCH(batch, loader) {
            if (batch->index == 0) {
                check_values(batch->x, 0, 0, 2, 2, 4, 4, 4);
                check_values(batch->y, 0, 1, 2, 3);
            } else {
                check_values(batch->x, 0, 6, 6, 6, 6, 8, 8, 8, 8, 8);
                check_values(batch->y, 0, 4, 5);
            }
        }
        check_good();
        assert_int_equal(tn_live_objects(), live);
        tn_release(loader);
        for (int raises = 0; raises < 2; raises++) {
            loader = tn_loader_new(tn_retain(dataset), .workers = workers, .collate = refuse, .collate_context = raises ? &factor : NULL);
            TN_FOREACH_BATCH(batch, loader)
                fail_msg("a batch that was refused");
            if (raises)
                check_error(TN_ERR_FORMAT, "do not go together");
            else
                check_error(TN_ERR_STATE, "collate failed and raised no error");
            tn_release(loader);
        }
        tn_release(dataset);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_subset),
        TEST(test_concat),
        TEST(test_random_split),
        TEST(test_stratified_split),
        TEST(test_errors_of_splits),
        TEST(test_weighted_sampler),
        TEST(test_weighted_without_replacement),
        TEST(test_collate),
    };
    if (tn_set_num_threads(1) != TN_OK) /* the thread sanitizer does not know how OpenMP's threads wait */
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
