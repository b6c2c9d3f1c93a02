/* labels: threads
 * Datasets, samplers, and the loader: its order and batches, its workers, the ways out of its loop, errors. Run
 * under the thread sanitizer. */
#include "check.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- a dataset of one's own --------------------------------------------------------------------------------------------- */

/* Item i is ([i, a random number], i). */
typedef struct {
    int64_t length, broken; /* get of the item `broken` fails; -1: none does */
    int kind;               /* how: 0 with an error of its own, 1 without one, 2 by a tensor of another shape */
    bool bare;              /* no y */
    int delay_us, gets, freed;
} own;

static int64_t own_length(void *self) { return ((own *)self)->length; }

static tn_status own_get(void *self, int64_t i, tn_tensor **x, tn_tensor **y)
{
    own *o = self;
    __atomic_fetch_add(&o->gets, 1, __ATOMIC_RELAXED);
    if (o->delay_us)
        usleep((useconds_t)(o->delay_us * (1 + i % 3)));
    if (i == o->broken && o->kind == 0) {
        tn_fail(TN_ERR_FORMAT, "item %lld is torn", (long long)i);
        return TN_ERR_FORMAT;
    }
    if (i == o->broken && o->kind == 1)
        return TN_ERR_IO;
    *x = i == o->broken ? tn_zeros(TN_SHAPE(3)) : tn_cat((tn_tensor *[]){tn_full(TN_SHAPE(1), (double)i), tn_rand(TN_SHAPE(1))}, 2, 0);
    if (!o->bare)
        *y = tn_full(tn_make_shape(0, NULL), (double)i, .dtype = TN_I64);
    return tn_last_status();
}

static void own_free(void *self) { ((own *)self)->freed++; }
static const tn_dataset_class own_class = {own_length, own_get, own_free};

static int thread_count(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return count;
}

/* The kernel lists a joined thread for a moment more. */
static void check_thread_count(int due)
{
    for (int i = 0; i < 2000 && thread_count() != due; i++)
        usleep(1000);
    assert_int_equal(thread_count(), due);
}

/* ---- datasets and samplers ---------------------------------------------------------------------------------------------- */

static void test_datasets(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_reshape(tn_arange(0, 12), TN_SHAPE(4, 3)), *y = tn_arange(0, 4), *a, *b;
    x = tn_transpose(tn_contiguous(tn_transpose(x, 0, 1)), 0, 1); /* a view that is not contiguous */
    tn_dataset *dataset = tn_tensor_dataset_new(x, y);
    assert_int_equal(tn_dataset_length(dataset), 4);
    assert_int_equal(tn_dataset_get(dataset, 2, &a, &b), TN_OK);
    check_values(a, 0, 6, 7, 8);
    check_values(b, 0, 2);
    assert_int_equal(tn_ndim(b), 0);
    assert_int_equal(tn_dataset_get(dataset, 4, &a, &b), TN_ERR_INDEX);
    check_error(TN_ERR_INDEX, "item 4 of 4");
    assert_int_equal(tn_dataset_get(dataset, 0, &a, NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the place for y is NULL");
    tn_release(dataset);

    assert_null(tn_tensor_dataset_new(x, tn_arange(0, 3)));
    check_error(TN_ERR_SHAPE, "one y for each x");
    assert_null(tn_tensor_dataset_new(tn_full(tn_make_shape(0, NULL), 1), NULL));
    check_error(TN_ERR_SHAPE, "single number");

    own o = {.length = 3, .broken = -1};
    assert_null(tn_dataset_new(&(tn_dataset_class){.free = own_free}, &o));
    check_error(TN_ERR_ARGUMENT, "a length and a get");
    assert_int_equal(o.freed, 1);
    dataset = tn_dataset_new(&own_class, &o);
    assert_int_equal(tn_dataset_get(dataset, 1, &a, &b), TN_OK);
    assert_int_equal(tn_item(b), 1);
    o.length = -5;
    assert_int_equal(tn_dataset_length(dataset), -1);
    check_error(TN_ERR_ARGUMENT, "-5");
    tn_release(dataset);
    assert_int_equal(o.freed, 2);
}

enum { MOST = 64 };

/* The items of one epoch, in their order; how many. */
static int64_t order_of(tn_loader *loader, int64_t items[MOST])
{
    int64_t count = 0;
    TN_FOREACH_BATCH(batch, loader) {
        assert_true(count + batch->size <= MOST);
        memcpy(items + count, batch->items, (size_t)batch->size * sizeof *items);
        count += batch->size;
    }
    check_good();
    return count;
}

static tn_dataset *numbers(int64_t n) { return tn_tensor_dataset_new(tn_arange(0, (double)n), NULL); }

static void test_sequential_sampler(void **state)
{
    (void)state;
    TN_SCOPE;
    int64_t items[MOST];
    tn_loader *loader = tn_loader_new(numbers(9), .sampler = tn_sequential_sampler_new(7));
    assert_int_equal(tn_loader_length(loader), 7);
    assert_int_equal(order_of(loader, items), 7);
    for (int i = 0; i < 7; i++)
        assert_int_equal(items[i], i);
    tn_release(loader);
    assert_null(tn_sequential_sampler_new(-1));
    check_error(TN_ERR_ARGUMENT, "sequential_sampler_new: n is -1");
}

/* Each epoch a permutation, and every item in every place about equally often. */
static void test_random_sampler(void **state)
{
    (void)state;
    TN_SCOPE;
    enum { N = 6, EPOCHS = 3000 };
    int64_t items[MOST];
    int counts[N][N] = {0};
    tn_loader *loader = tn_loader_new(numbers(N), .sampler = tn_random_sampler_new(N), .batch_size = N, .seed = 5);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        bool seen[N] = {0};
        assert_int_equal(order_of(loader, items), N);
        for (int i = 0; i < N; i++) {
            assert_false(seen[items[i]]);
            seen[items[i]] = true;
            counts[i][items[i]]++;
        }
    }
    double chi = 0;
    for (int i = 0; i < N * N; i++)
        chi += pow(counts[i / N][i % N] - EPOCHS / N, 2) / (EPOCHS / N);
    assert_true(chi < 60); /* (N - 1)^2 = 25 degrees of freedom: 60 is met by chance once in 10^4 */
    tn_release(loader);
}

typedef struct {
    int kind, freed; /* 0: ten items with repeats; 1: one out of range; 2: fails; 3: a negative length */
} odd;
static int64_t odd_length(void *self) { return ((odd *)self)->kind == 3 ? -1 : 10; }
static tn_status odd_order(void *self, int64_t *items)
{
    for (int i = 0; i < 10; i++)
        items[i] = i / 2 + (((odd *)self)->kind == 1 && i == 9);
    return ((odd *)self)->kind == 2 ? TN_ERR_IO : TN_OK;
}
static void odd_free(void *self) { ((odd *)self)->freed++; }

static void test_own_sampler(void **state)
{
    (void)state;
    TN_SCOPE;
    static const tn_sampler_class cls = {odd_length, odd_order, odd_free, NULL};
    int64_t items[MOST];
    for (int workers = 0; workers < 3; workers += 2) {
        odd o = {0};
        tn_loader *loader = tn_loader_new(numbers(5), .sampler = tn_sampler_new(&cls, &o), .batch_size = 4, .workers = workers);
        assert_int_equal(tn_loader_length(loader), 3);
        assert_int_equal(order_of(loader, items), 10);
        for (int i = 0; i < 10; i++)
            assert_int_equal(items[i], i / 2);
        const struct {
            tn_status status;
            const char *words;
        } cases[] = {{TN_ERR_INDEX, "item 5, and the dataset has 5"}, {TN_ERR_STATE, "order failed"}, {TN_ERR_ARGUMENT, "length is -1"}};
        for (o.kind = 1; o.kind <= 3; o.kind++) {
            TN_FOREACH_BATCH(batch, loader)
                fail_msg("a batch of a sampler that fails");
            check_error(cases[o.kind - 1].status, cases[o.kind - 1].words);
        }
        o.kind = 0;
        assert_int_equal(order_of(loader, items), 10); /* and it works again */
        tn_release(loader);
        assert_int_equal(o.freed, 1);
    }
    odd o = {0};
    assert_null(tn_sampler_new(&(tn_sampler_class){.free = odd_free}, &o));
    check_error(TN_ERR_ARGUMENT, "a length and an order");
    assert_int_equal(o.freed, 1);
}

/* A sampler that makes the batches too: 0 ... 9 backwards, of sizes that are others from epoch 3 on. */
typedef struct uneven {
    int64_t sizes[4];
    int epoch;
} uneven;
static int64_t uneven_length(void *self) { return (void)self, 10; }
static tn_status uneven_order(void *self, int64_t *items)
{
    for (int i = 0; i < 10; i++)
        items[i] = 9 - i;
    ((uneven *)self)->epoch++;
    return TN_OK;
}
static int64_t uneven_batch(void *self, int64_t n)
{
    const uneven *g = self;
    if (g->epoch == 4 && n == 1)
        tn_fail(TN_ERR_IO, "the sizes are lost");
    return g->epoch < 3 ? g->sizes[n] : 5;
}

static void test_batches_of_a_sampler(void **state)
{
    (void)state;
    TN_SCOPE;
    static const tn_sampler_class cls = {uneven_length, uneven_order, NULL, uneven_batch};
    for (int workers = 0; workers < 3; workers += 2) {
        uneven g = {.sizes = {3, 1, 5, 1}};
        tn_loader *loader = tn_loader_new(numbers(10), .sampler = tn_sampler_new(&cls, &g), .workers = workers);
        assert_int_equal(tn_loader_length(loader), 4);
        for (int epoch = 1; epoch <= 3; epoch++) {
            int64_t turns = 0, next = 9;
            TN_FOREACH_BATCH(batch, loader) {
                assert_int_equal(batch->size, epoch < 3 ? g.sizes[batch->index] : 5);
                check_shape(batch->x, batch->size);
                for (int64_t i = 0; i < batch->size; i++, next--) {
                    assert_int_equal(batch->items[i], next);
                    assert_true(tn_at(batch->x, TN_SHAPE(i)) == (double)next);
                }
                turns++;
            }
            check_good();
            assert_int_equal(turns, epoch < 3 ? 4 : 2);
            assert_int_equal(next, -1);
            assert_int_equal(tn_loader_length(loader), epoch < 3 ? 4 : 2);
        }
        TN_FOREACH_BATCH(batch, loader)
            fail_msg("a batch of a sampler that fails");
        check_error(TN_ERR_IO, "the sizes are lost");
        tn_tensor *place = tn_get_loader_state(loader); /* and a run goes on in the middle of such an epoch */
        ((int64_t *)tn_data_mut(place))[2] = 2;
        g.epoch = 0;
        assert_int_equal(tn_set_loader_state(loader, place), TN_OK);
        TN_FOREACH_BATCH(batch, loader) {
            assert_int_equal(batch->index, 2);
            assert_int_equal(batch->items[0], 5);
            break;
        }
        for (int k = 0; k < 2; k++) {
            g = (uneven){.sizes = {3, k ? 0 : 8}};
            TN_FOREACH_BATCH(batch, loader)
                fail_msg("a batch of sizes that do not fit");
            check_error(TN_ERR_ARGUMENT, k ? "batch 1 is of 0 items: 1 to the 7" : "batch 1 is of 8 items: 1 to the 7");
        }
        assert_int_equal(tn_loader_length(loader), -1);
        check_error(TN_ERR_ARGUMENT, "batch 1 is of 0 items");
        tn_release(loader);
        assert_null(tn_loader_new(numbers(10), .sampler = tn_sampler_new(&cls, &g), .batch_size = 2));
        check_error(TN_ERR_ARGUMENT, "batch_size or drop_last is given, and the sampler makes the batches");
    }
}

/* ---- batches ------------------------------------------------------------------------------------------------------------ */

static void test_batches(void **state)
{
    (void)state;
    TN_SCOPE;
    for (int workers = 0; workers <= 3; workers++)
        for (int drop = 0; drop < 2; drop++) {
            tn_tensor *x = tn_reshape(tn_arange(0, 22), TN_SHAPE(11, 2)), *y = tn_arange(0, 11);
            tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(x, y), .batch_size = 4, .drop_last = drop, .workers = workers);
            assert_int_equal(tn_loader_length(loader), 3 - drop);
            int64_t turns = 0;
            TN_FOREACH_BATCH(batch, loader) {
                assert_int_equal(batch->index, turns);
                assert_int_equal(batch->size, turns == 2 ? 3 : 4);
                check_shape(batch->x, batch->size, 2);
                check_shape(batch->y, batch->size);
                double values[8];
                assert_int_equal(tn_to_doubles(batch->x, values, batch->size * 2), TN_OK);
                for (int64_t i = 0; i < batch->size * 2; i++)
                    assert_true(values[i] == (double)(turns * 8 + i));
                assert_int_equal(batch->items[batch->size - 1], turns * 4 + batch->size - 1);
                turns++;
            }
            check_good();
            assert_int_equal(turns, 3 - drop);
            tn_release(loader);
        }
}

static void test_no_items(void **state)
{
    (void)state;
    TN_SCOPE;
    for (int workers = 0; workers < 2; workers++) {
        tn_loader *loader = tn_loader_new(numbers(0), .batch_size = 4, .workers = workers, .shuffle = true);
        tn_loader *less = tn_loader_new(numbers(3), .batch_size = 4, .workers = workers, .drop_last = true);
        assert_int_equal(tn_loader_length(loader) + tn_loader_length(less), 0);
        TN_FOREACH_BATCH(batch, loader)
            fail_msg("a batch of nothing");
        TN_FOREACH_BATCH(batch, less)
            fail_msg("a batch that is not full");
        check_good();
        tn_release(loader);
        tn_release(less);
    }
}

/* What three epochs gave: which items, and the numbers that get drew for them. */
typedef struct {
    int64_t items[3][MOST];
    double drawn[3][MOST], labels[3][MOST];
} record;

static void run_epochs(record *r, int64_t seed, bool shuffle, int workers, int prefetch)
{
    own o = {.length = 23, .broken = -1, .delay_us = workers ? 50 : 0};
    tn_loader *loader = tn_loader_new(tn_dataset_new(&own_class, &o), .batch_size = 4, .shuffle = shuffle, .seed = seed,
                                      .workers = workers, .prefetch = prefetch);
    memset(r, 0, sizeof *r);
    for (int epoch = 0; epoch < 3; epoch++) {
        int64_t at = 0;
        tn_random_state before = tn_get_random_state();
        TN_FOREACH_BATCH(batch, loader) {
            double x[8];
            assert_int_equal(tn_to_doubles(batch->x, x, batch->size * 2), TN_OK);
            assert_int_equal(tn_to_doubles(batch->y, r->labels[epoch] + at, batch->size), TN_OK);
            for (int64_t i = 0; i < batch->size; i++, at++) {
                r->items[epoch][at] = batch->items[i];
                r->drawn[epoch][at] = x[2 * i + 1];
                assert_true(x[2 * i] == (double)batch->items[i] && r->labels[epoch][at] == x[2 * i]);
            }
        }
        check_good();
        tn_random_state after = tn_get_random_state(); /* the loop's own numbers are untouched */
        assert_true(before.seed == after.seed && before.offset == after.offset);
        assert_int_equal(at, 23);
    }
    tn_release(loader);
    assert_int_equal(o.freed, 1);
    assert_int_equal(o.gets, 69);
}

static void test_same_for_any_workers(void **state)
{
    (void)state;
    TN_SCOPE;
    record first, other;
    run_epochs(&first, 7, true, 0, 2);
    run_epochs(&other, 7, true, 1, 1);
    assert_memory_equal(&first, &other, sizeof first);
    run_epochs(&other, 7, true, 3, 2);
    assert_memory_equal(&first, &other, sizeof first);
    run_epochs(&other, 7, true, 2, 100);
    assert_memory_equal(&first, &other, sizeof first);

    assert_memory_not_equal(first.items[0], first.items[1], sizeof first.items[0]);
    assert_memory_not_equal(first.items[1], first.items[2], sizeof first.items[0]);
    run_epochs(&other, 8, true, 0, 2);
    assert_memory_not_equal(first.items[0], other.items[0], sizeof first.items[0]);
    assert_memory_not_equal(first.drawn[0], other.drawn[0], sizeof first.drawn[0]);

    run_epochs(&first, 7, false, 0, 2); /* in sequence the numbers drawn still are another epoch's */
    assert_memory_equal(first.items[0], first.items[1], sizeof first.items[0]);
    assert_memory_not_equal(first.drawn[0], first.drawn[1], sizeof first.drawn[0]);
    for (int i = 1; i < 23; i++)
        assert_true(first.drawn[0][i] != first.drawn[0][i - 1]);
}

/* Without .seed, the thread's random state decides. */
static void test_seed_of_the_thread(void **state)
{
    (void)state;
    TN_SCOPE;
    int64_t orders[3][MOST] = {0};
    const uint64_t seeds[] = {1, 1, 2};
    for (int i = 0; i < 3; i++) {
        tn_manual_seed(seeds[i]);
        tn_loader *loader = tn_loader_new(numbers(20), .shuffle = true);
        order_of(loader, orders[i]);
        tn_release(loader);
    }
    assert_memory_equal(orders[0], orders[1], sizeof orders[0]);
    assert_memory_not_equal(orders[0], orders[2], sizeof orders[0]);
}

static void test_tensors_outlive_their_turn(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *kept = NULL;
    tn_loader *loader = tn_loader_new(numbers(6), .batch_size = 2, .workers = 2);
    TN_FOREACH_BATCH(batch, loader)
        if (batch->index == 1)
            kept = tn_retain(batch->x);
    tn_release(loader);
    check_values(kept, 0, 2, 3);
    tn_release(kept);
}

/* DESIGN 3: "Loader threads run kernels on one thread"; the caller's own number stays. */
static tn_status get_threads(void *self, int64_t i, tn_tensor **x, tn_tensor **y)
{
    (void)self, (void)i, (void)y;
    *x = tn_full(TN_SHAPE(1), tn_get_num_threads());
    return tn_last_status();
}
static const tn_dataset_class threads_class = {own_length, get_threads, NULL};

static void test_workers_run_kernels_on_one_thread(void **state)
{
    (void)state;
    TN_SCOPE;
    int before = tn_get_num_threads();
    own o = {.length = 6};
    assert_int_equal(tn_set_num_threads(2), TN_OK);
    for (int workers = 0; workers <= 2; workers++) {
        tn_loader *loader = tn_loader_new(tn_dataset_new(&threads_class, &o), .batch_size = 2, .workers = workers);
        TN_FOREACH_BATCH(batch, loader)
            check_values(batch->x, 0, workers ? 1 : 2, workers ? 1 : 2);
        check_good();
        assert_int_equal(tn_get_num_threads(), 2);
        tn_release(loader);
    }
    assert_int_equal(tn_set_num_threads(before), TN_OK);
}

/* ---- ways out of the loop ----------------------------------------------------------------------------------------------- */

static tn_tensor *second_x(tn_loader *loader)
{
    TN_FOREACH_BATCH(batch, loader)
        if (batch->index == 1)
            return tn_pass(tn_add(batch->x, 100));
    return NULL;
}

static void test_leaving_early(void **state)
{
    (void)state;
    TN_SCOPE;
    int64_t items[MOST];
    for (int workers = 0; workers <= 3; workers++) {
        int64_t live = tn_live_objects();
        usleep(5000); /* the threads of the test before are gone */
        int threads = thread_count();
        own o = {.length = 40, .broken = -1, .bare = true, .delay_us = 20};
        tn_loader *loader = tn_loader_new(tn_dataset_new(&own_class, &o), .batch_size = 3, .workers = workers, .prefetch = 3);
        int64_t idle = tn_live_objects();
        TN_FOREACH_BATCH(batch, loader) {
            assert_null(batch->y);
            tn_mul(batch->x, 2);
            if (batch->index == 2)
                break;
        }
        check_good();
        assert_int_equal(tn_live_objects(), idle); /* the turn's temporaries, and batches made ahead */
        int gets = o.gets;
        usleep(2000);
        assert_int_equal(o.gets, gets); /* nobody works on */
        {
            TN_SCOPE;
            tn_tensor *x = second_x(loader);
            assert_true(tn_item(tn_select(tn_select(x, 0, 0), 0, 0)) == 103);
        }
        assert_int_equal(tn_live_objects(), idle);
        TN_FOREACH_BATCH(batch, loader) {
            if (batch->index < 12)
                continue;
            goto out;
        }
    out:
        assert_int_equal(order_of(loader, items), 40);
        assert_int_equal(items[39], 39);
        assert_int_equal(tn_live_objects(), idle);
        if (workers && threads)
            check_thread_count(threads + workers);
        tn_release(loader);
        assert_int_equal(tn_live_objects(), live);
        check_thread_count(threads);
        assert_int_equal(o.freed, 1);
    }
}

static void test_released_inside_the_loop(void **state)
{
    (void)state;
    TN_SCOPE;
    for (int workers = 0; workers < 3; workers++) {
        own o = {.length = 10, .broken = -1};
        tn_loader *loader = tn_loader_new(tn_dataset_new(&own_class, &o), .batch_size = 2, .workers = workers);
        int64_t turns = 0;
        TN_FOREACH_BATCH(batch, loader) {
            if (turns++ == 0)
                tn_release(loader);
            assert_int_equal(o.freed, 0);
        }
        assert_int_equal(turns, 5);
        assert_int_equal(o.freed, 1);
    }
}

static void test_never_used(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_release(tn_loader_new(numbers(3), .workers = 2));
}

static void test_epoch_inside_an_epoch(void **state)
{
    (void)state;
    TN_SCOPE;
    for (int workers = 0; workers <= 3; workers += 3) {
        int64_t items[MOST], outer = 0;
        tn_loader *loader = tn_loader_new(numbers(12), .batch_size = 2, .workers = workers, .shuffle = true);
        TN_FOREACH_BATCH(batch, loader) {
            int64_t first = batch->items[0];
            assert_int_equal(order_of(loader, items), 12);
            assert_int_equal(batch->items[0], first);
            assert_int_equal(tn_item(tn_select(batch->x, 0, 0)), first);
            outer++;
        }
        assert_int_equal(outer, 1);
        check_error(TN_ERR_STATE, "another epoch was begun");
        TN_FOREACH_BATCH(batch, loader) { /* leaving the outer loop leaves the inner epoch alone */
            TN_FOREACH_BATCH(inner, loader)
                break;
            break;
        }
        check_good();
        assert_int_equal(order_of(loader, items), 12);
        tn_release(loader);
    }
}

static void test_two_loaders_at_once(void **state)
{
    (void)state;
    TN_SCOPE;
    own o = {.length = 12, .broken = -1};
    tn_dataset *dataset = tn_dataset_new(&own_class, &o);
    tn_loader *a = tn_loader_new(tn_retain(dataset), .batch_size = 3, .workers = 2);
    tn_loader *b = tn_loader_new(dataset, .batch_size = 4, .workers = 3, .shuffle = true);
    int64_t turns = 0;
    TN_FOREACH_BATCH(outer, a)
        TN_FOREACH_BATCH(inner, b) {
            double label = tn_item(tn_select(inner->y, 0, 0));
            assert_true(label == (double)inner->items[0]);
            assert_true(tn_item(tn_select(outer->y, 0, 0)) == (double)(outer->index * 3));
            turns++;
        }
    check_good();
    assert_int_equal(turns, 12);
    tn_release(a);
    assert_int_equal(o.freed, 0);
    tn_release(b);
    assert_int_equal(o.freed, 1);
}

/* ---- errors ------------------------------------------------------------------------------------------------------------- */

static void test_errors_of_get(void **state)
{
    (void)state;
    TN_SCOPE;
    const struct {
        tn_status status;
        const char *words;
    } cases[] = {{TN_ERR_FORMAT, "item 10 is torn"}, {TN_ERR_STATE, "get of item 10 failed"}, {TN_ERR_SHAPE, "x of item 10 is [3]"}};
    for (int workers = 0; workers <= 3; workers++)
        for (int kind = 0; kind < 3; kind++) {
            own o = {.length = 30, .broken = 10, .kind = kind};
            tn_loader *loader = tn_loader_new(tn_dataset_new(&own_class, &o), .batch_size = 4, .workers = workers);
            int64_t turns = 0, live = tn_live_objects(), items[MOST];
            TN_FOREACH_BATCH(batch, loader)
                turns++;
            check_error(cases[kind].status, cases[kind].words);
            assert_int_equal(turns, 2); /* the batches before it came */
            assert_int_equal(tn_live_objects(), live);
            o.broken = -1;
            assert_int_equal(order_of(loader, items), 30);
            tn_release(loader);
        }
}

static tn_status slow_first(void *self, int64_t i, tn_tensor **x, tn_tensor **y)
{
    (void)self, (void)x, (void)y;
    if (i == 0)
        usleep(20000);
    tn_fail(TN_ERR_IO, "item %lld", (long long)i);
    return TN_ERR_IO;
}

/* Of several batches that fail the first one's error comes, also when it is the last to fail. */
static void test_the_first_error(void **state)
{
    (void)state;
    TN_SCOPE;
    static const tn_dataset_class cls = {own_length, slow_first, NULL};
    own o = {.length = 8};
    tn_loader *loader = tn_loader_new(tn_dataset_new(&cls, &o), .workers = 3);
    for (int epoch = 0; epoch < 3; epoch++) {
        TN_FOREACH_BATCH(batch, loader)
            fail_msg("a batch of items that fail");
        check_error(TN_ERR_IO, "item 0");
    }
    tn_release(loader);
}

/* An error of the loop's body ends the loop too. */
static void test_errors_of_the_body(void **state)
{
    (void)state;
    TN_SCOPE;
    for (int workers = 0; workers < 3; workers++) {
        tn_loader *loader = tn_loader_new(numbers(20), .batch_size = 2, .workers = workers);
        int64_t turns = 0;
        TN_FOREACH_BATCH(batch, loader) {
            turns++;
            tn_add(batch->x, tn_zeros(TN_SHAPE(7)));
        }
        assert_int_equal(turns, 1);
        TN_FOREACH_BATCH(batch, loader) /* while it sticks no epoch begins */
            turns++;
        assert_int_equal(turns, 1);
        check_error(TN_ERR_SHAPE, "add");
        tn_release(loader);
    }
}

static void test_errors_of_making(void **state)
{
    (void)state;
    TN_SCOPE;
    assert_null(tn_loader_new(NULL, .sampler = tn_random_sampler_new(3)));
    check_error(TN_ERR_ARGUMENT, "dataset is NULL");
    assert_null(tn_loader_new(numbers(3), .batch_size = 0));
    check_error(TN_ERR_ARGUMENT, "batch_size is 0");
    assert_null(tn_loader_new(numbers(3), .workers = -1));
    check_error(TN_ERR_ARGUMENT, "workers is -1");
    assert_null(tn_loader_new(numbers(3), .workers = 1, .prefetch = 0));
    check_error(TN_ERR_ARGUMENT, "prefetch is 0");
    assert_null(tn_loader_new(numbers(3), .seed = -2));
    check_error(TN_ERR_ARGUMENT, "seed is -2");
    assert_null(tn_loader_new(numbers(3), .shuffle = true, .sampler = tn_random_sampler_new(3)));
    check_error(TN_ERR_ARGUMENT, "shuffle and a sampler");
    assert_int_equal(tn_loader_length(NULL), -1);
    check_error(TN_ERR_ARGUMENT, "loader is NULL");
    TN_FOREACH_BATCH(batch, NULL)
        fail_msg("a batch of NULL");
    check_error(TN_ERR_ARGUMENT, "loader that is NULL");
}

/* Under a cap on memory that leaves room for no batch, an epoch fails with an error and the next one, without the cap, is whole. */
static void test_no_memory(void **state)
{
    (void)state;
    TN_SCOPE;
    for (int workers = 0; workers <= 2; workers++) {
        tn_tensor *x = tn_zeros(TN_SHAPE(8, 1 << 18));
        tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(x, NULL), .batch_size = 4, .workers = workers);
        int64_t turns = 0, live = tn_live_objects();
        tn_memory_trim();
        tn_memory_set_limit(tn_get_memory_stats().in_use + (2 << 20));
        TN_FOREACH_BATCH(batch, loader)
            turns++;
        check_error(TN_ERR_MEMORY, "memory");
        tn_memory_set_limit(0);
        assert_int_equal(turns, 0);
        assert_int_equal(tn_live_objects(), live);
        TN_FOREACH_BATCH(batch, loader)
            turns++;
        assert_int_equal(turns, 2);
        tn_release(loader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_datasets),
        TEST(test_sequential_sampler),
        TEST(test_random_sampler),
        TEST(test_own_sampler),
        TEST(test_batches_of_a_sampler),
        TEST(test_batches),
        TEST(test_no_items),
        TEST(test_same_for_any_workers),
        TEST(test_seed_of_the_thread),
        TEST(test_tensors_outlive_their_turn),
        TEST(test_workers_run_kernels_on_one_thread),
        TEST(test_leaving_early),
        TEST(test_released_inside_the_loop),
        TEST(test_never_used),
        TEST(test_epoch_inside_an_epoch),
        TEST(test_two_loaders_at_once),
        TEST(test_errors_of_get),
        TEST(test_the_first_error),
        TEST(test_errors_of_the_body),
        TEST(test_errors_of_making),
        TEST(test_no_memory),
    };
    if (tn_set_num_threads(1) != TN_OK) /* the thread sanitizer does not know how OpenMP's threads wait */
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
