/* DESIGN section 3, ownership: each test is headed by the line that it stands for. What the section says of tensors and scopes alone is in
 * test_core.c, of graphs in test_autograd.c, of loops over batches in test_loader.c, of exceptions in programs/cpp_exceptions.cpp.
 * labels: threads */
#include "check.h"

#include <pthread.h>

static int64_t one(void *self) { (void)self; return 1; }
static tn_status get(void *self, int64_t i, tn_tensor **x, tn_tensor **y)
{
    (void)self, (void)y;
    *x = tn_full(TN_SHAPE(1), (double)i);
    return tn_last_status();
}
static tn_status order(void *self, int64_t *items) { (void)self; items[0] = 0; return TN_OK; }
static const tn_dataset_class dataset_class = {one, get, NULL};
static const tn_sampler_class sampler_class = {one, order, NULL, NULL};

enum { KINDS = 9 };
/* One object of each kind, owned by the caller. */
static void *new_of(int kind)
{
    switch (kind) {
    case 0: return tn_linear_new(2, 3);
    case 1: return tn_sgd_new(TN_LIST(tn_ones(TN_SHAPE(2), .requires_grad = true)), 0.1);
    case 2: return tn_list_new();
    case 3: return tn_dict_new();
    case 4: return tn_dataset_new(&dataset_class, NULL);
    case 5: return tn_sampler_new(&sampler_class, NULL);
    case 6: return tn_loader_new(tn_dataset_new(&dataset_class, NULL), .batch_size = 1);
    case 7: return tn_progress_new(0, NULL);
    default: return tn_sequential_new(tn_relu_new(), tn_identity_new());
    }
}

/* "A name with _new gives you an object that you own and free." */
/* "All objects begin with one counted header; a scope can hold any of them." */
static void test_objects_of_every_kind(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        int64_t live = tn_live_objects();
        void *object;
        {
            TN_SCOPE;
            object = new_of(kind);
            check_good();
        }
        assert_true(tn_live_objects() > live); /* the scope did not hold it */
        {
            TN_SCOPE;
            assert_ptr_equal(tn_adopt(object), object);
            {
                TN_SCOPE;
                assert_ptr_equal(tn_adopt(tn_retain(object)), object);
                assert_ptr_equal(tn_pass(object), object);
            }
            assert_ptr_equal(tn_keep(object), object); /* twice held: one reference comes out */
        }
        assert_true(tn_live_objects() > live);
        tn_release(object);
        assert_int_equal(tn_live_objects(), live);
    }
}

/* "tn_parameters gives a list that the scope owns"; a state_dict and a clone are the scope's too */
static void test_what_the_scope_owns(void **state)
{
    (void)state;
    tn_module *net = tn_linear_new(2, 3);
    int64_t live = tn_live_objects();
    {
        TN_SCOPE;
        assert_int_equal(tn_list_count(tn_parameters(net)), 2);
        assert_int_equal(tn_dict_count(tn_state_dict(net)), 2);
        assert_int_equal(tn_dict_count(tn_named_parameters(net)), 2);
        assert_non_null(tn_module_clone(net));
        assert_true(tn_live_objects() > live);
    }
    assert_int_equal(tn_live_objects(), live);
    tn_release(net);
}

/* "TN_SCOPE; and TN_NO_GRAD; are declarations that hold to the end of the enclosing block ... so return, break and goto close them" */
static int recording_stops(int how)
{
    for (int i = 0; i < 2; i++) {
        TN_NO_GRAD;
        if (tn_grad_enabled())
            return -1;
        if (how == 0)
            return 0;
        if (how == 1)
            break;
        if (how == 2)
            goto out;
        TN_ENABLE_GRAD;
        if (!tn_grad_enabled())
            return -1;
    }
out:
    return 0;
}
static void test_no_grad_and_every_way_out(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        assert_int_equal(recording_stops(how), 0);
        assert_true(tn_grad_enabled());
        TN_NO_GRAD;
        assert_int_equal(recording_stops(how), 0);
        assert_false(tn_grad_enabled());
    }
}

/* "a for in disguise would swallow break": a declaration stands among others, twice in a block, and in a case of a switch */
static void test_scopes_are_declarations(void **state)
{
    (void)state;
    int64_t live = tn_live_objects();
    switch (KINDS) {
    default: {
        TN_SCOPE;
        tn_tensor *x = tn_ones(TN_SHAPE(2));
        TN_SCOPE;
        tn_pass(tn_add(x, x));
        assert_int_equal(tn_live_objects(), live + 2);
        break;
    }
    }
    assert_int_equal(tn_live_objects(), live);
}

/* "TN_FOREACH_BATCH is exactly one for" */
static int64_t batches_of(tn_loader *loader, bool all)
{
    int64_t count = 0;
    if (all)
        TN_FOREACH_BATCH(batch, loader)
            count++;
    else
        TN_FOREACH_BATCH(batch, loader)
            for (;;) {
                count = -1;
                break; /* of the inner loop alone */
            }
    return count;
}
static void test_a_loop_over_batches_is_one_statement(void **state)
{
    (void)state;
    tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(tn_arange(0, 6), NULL), .batch_size = 2);
    assert_int_equal(batches_of(loader, true), 3);
    assert_int_equal(batches_of(loader, false), -1);
    tn_release(loader);
}

/* "Who receives an object takes the caller's reference, on failure too; retain it first to keep one." */
static void receives(int who, void *object)
{
    tn_module *owner = NULL;
    void *const children[] = {object, NULL};
    switch (who) {
    case 0: TN_CHILD(owner, state, object); break; /* no owner */
    case 1: tn_release(tn_sequential_new_from(children, 2)); break;
    case 2: tn_release(tn_module_list_new_from(children, 2)); break;
    case 3: tn_append(owner, object); break;
    case 4: tn_release(tn_loader_new(object, .batch_size = 0)); break;
    case 5: tn_release(tn_loader_new(NULL, .sampler = object)); break;
    default: break;
    }
}
static void test_receivers_take_references(void **state)
{
    (void)state;
    for (int who = 0; who <= 5; who++)
        for (int sticking = 0; sticking < 2; sticking++) {
            int64_t live = tn_live_objects();
            void *object = new_of(who < 4 ? 8 : who == 4 ? 4 : 5), *held = tn_retain(object);
            if (sticking)
                tn_fail(TN_ERR_IO, "an error before");
            receives(who, object);
            assert_int_equal(tn_last_status(), sticking ? TN_ERR_IO : TN_ERR_ARGUMENT);
            tn_clear_error();
            assert_true(tn_live_objects() > live); /* it was retained first */
            tn_release(held);
            assert_int_equal(tn_live_objects(), live);
        }
}
static void test_receivers_take_references_on_success(void **state)
{
    (void)state;
    int64_t live = tn_live_objects();
    tn_module *held = tn_retain(tn_linear_new(1, 1)), *net = tn_sequential_new(held, tn_relu_new());
    tn_loader *loader = tn_loader_new(tn_dataset_new(&dataset_class, NULL), .sampler = tn_sampler_new(&sampler_class, NULL));
    check_good();
    tn_release(loader);
    tn_release(net);
    check_shape(tn_call(held, tn_ones(TN_SHAPE(2, 1))), 2, 1);
    tn_release(held);
    tn_scope_clear();
    assert_int_equal(tn_live_objects(), live);
}

/* An optimiser shares its parameters: the list stays the scope's, and the tensors live as long as the optimiser. */
static void test_an_optimiser_shares_its_parameters(void **state)
{
    (void)state;
    tn_optim *opt;
    tn_tensor *w;
    {
        TN_SCOPE;
        w = tn_ones(TN_SHAPE(2), .requires_grad = true);
        opt = tn_sgd_new(TN_LIST(w), 0.5);
        assert_null(tn_sgd_new(TN_LIST(w), -1));
        check_error(TN_ERR_ARGUMENT, "lr is -1");
    }
    assert_int_equal(tn_backward(tn_sum(w)), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    check_values(w, 0, 0.5, 0.5);
    tn_release(opt);
}

/* "Children are given as an array and a count, never up to a NULL: a child that failed is NULL" - and its error is the one reported */
static void test_a_child_that_failed(void **state)
{
    (void)state;
    int64_t live = tn_live_objects();
    assert_null(tn_sequential_new(tn_relu_new(), tn_linear_new(-2, 3), tn_relu_new()));
    check_error(TN_ERR_ARGUMENT, "linear: in_features is -2 and out_features 3");
    assert_int_equal(tn_live_objects(), live);
    tn_module *list = tn_module_list_new(tn_relu_new());
    assert_int_equal(tn_append(list, tn_dropout_new(2)), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "dropout: p is 2");
    assert_int_equal(tn_num_children(list), 1);
    tn_release(list);
}

/* "A module's call opens and closes a scope of its own and passes its result up, so that activations which backward does not need go at once." */
static void test_a_modules_call_leaves_its_result_alone(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = tn_sequential_new(tn_linear_new(4, 8), tn_tanh_new(), tn_linear_new(8, 8), tn_sigmoid_new(), tn_linear_new(8, 2));
    tn_tensor *x = tn_ones(TN_SHAPE(3, 4));
    TN_NO_GRAD;
    int64_t live = tn_live_objects();
    tn_tensor *y = tn_call(net, x);
    assert_int_equal(tn_live_objects(), live + 1);
    check_shape(y, 3, 2);
    assert_null(tn_call(net, y)); /* an error passes nothing up */
    check_error(TN_ERR_SHAPE, "linear");
    assert_int_equal(tn_live_objects(), live + 1);
    tn_release(net);
}

/* "Each node of backward runs in its own scope; a gradient is freed once consumed" */
static void test_backward_holds_few_gradients(void **state)
{
    (void)state;
    TN_SCOPE;
    enum { N = 1 << 20, DEPTH = 24 };
    int64_t bytes = N * (int64_t)sizeof(float);
    tn_tensor *x = tn_ones(TN_SHAPE(N), .requires_grad = true), *h = x;
    for (int i = 0; i < DEPTH; i++) {
        TN_SCOPE;
        h = tn_pass(tn_mul(tn_neg(h), 0.5));
    }
    tn_tensor *y = tn_sum(h);
    int64_t before = tn_get_memory_stats().in_use;
    tn_memory_reset_peak();
    assert_int_equal(tn_backward(y), TN_OK);
    assert_true(tn_get_memory_stats().peak - before < 5 * bytes); /* of 2 * DEPTH that were made */
    assert_true(tn_get_memory_stats().in_use - before < 2 * bytes); /* .grad alone is left */
}

/* ".grad belongs to its leaf and zero_grad makes it NULL" */
static void test_grad_belongs_to_its_leaf(void **state)
{
    (void)state;
    int64_t live = tn_live_objects();
    tn_tensor *held;
    {
        TN_SCOPE;
        tn_tensor *x = tn_ones(TN_SHAPE(2), .requires_grad = true), *other = tn_ones(TN_SHAPE(2), .requires_grad = true);
        {
            TN_SCOPE;
            assert_int_equal(tn_backward(tn_sum(tn_mul(x, other))), TN_OK);
        }
        check_values(tn_grad(x), 0, 1, 1); /* no scope took it */
        held = tn_retain(tn_grad(other));
        tn_optim *opt = tn_sgd_new(TN_LIST(x), 0.1);
        tn_zero_grad(opt);
        assert_null(tn_grad(x));
        tn_release(opt);
    }
    assert_int_equal(tn_live_objects(), live + 1);
    check_values(held, 0, 1, 1); /* who retains it keeps it */
    tn_release(held);
}

/* "a saved output keeps storage and metadata ... no node owns itself": a result that goes takes its graph with it */
static void test_no_node_owns_itself(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_full(TN_SHAPE(2), 0.5, .dtype = TN_F64, .requires_grad = true);
    int64_t live = tn_live_objects();
    tn_tensor *y;
    {
        TN_SCOPE;
        y = tn_keep(tn_sigmoid(tn_exp(tn_softmax(tn_tanh(x), 0))));
    }
    assert_true(tn_live_objects() > live);
    tn_release(y);
    assert_int_equal(tn_live_objects(), live);
    { /* the saved output outlives the tensor that the user had, and is tied to its node again */
        TN_SCOPE;
        tn_tensor *sum;
        {
            TN_SCOPE;
            sum = tn_pass(tn_sum(tn_exp(x)));
        }
        tn_tensor *slope = tn_grad_of(sum, x, .create_graph = true);
        check_values(tn_grad_of(tn_sum(slope), x), 1e-14, exp(0.5), exp(0.5));
    }
    assert_int_equal(tn_live_objects(), live);
}

/* "Storage has a version that every write raises (tn_data is const, tn_data_mut raises it)" */
static void test_every_write_raises_the_version(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(4)), *view = tn_reshape(x, TN_SHAPE(2, 2));
    const float *read = tn_data(x);
    assert_true(read[0] == 1);
    assert_int_equal(tn_version_of(x), 0);
    int64_t due = 0;
#define RAISES(write)                                                                                                         \
    do {                                                                                                                      \
        assert_true(write);                                                                                                   \
        assert_true((int64_t)tn_version_of(x) > due);                                                                         \
        assert_int_equal(tn_version_of(x), tn_version_of(view));                                                              \
        due = (int64_t)tn_version_of(view);                                                                                   \
    } while (0)
    RAISES(tn_data_mut(x));
    RAISES(tn_data_mut(view));
    RAISES(tn_add_(x, 1) && tn_sub_(view, 1));
    RAISES(tn_mul_(x, 2));
    RAISES(tn_div_(x, 2));
    RAISES(tn_fill_(view, 3));
    RAISES(tn_zero_(x));
    RAISES(tn_copy_(x, tn_ones(TN_SHAPE(4))));
    RAISES(tn_assign(view, 7, 0, 0));
    RAISES(tn_init_uniform(x, 0, 1));
    RAISES(tn_init_constant(view, 2));
    tn_module *net = tn_identity_new();
    tn_add_parameter(net, "x", x);
    tn_dict *dict = tn_adopt(tn_dict_new());
    assert_int_equal(tn_dict_set(dict, "x", tn_ones(TN_SHAPE(4))), TN_OK);
    RAISES(tn_load_state_dict(net, dict) == TN_OK);
    assert_int_equal(tn_set_grad(x, tn_ones(TN_SHAPE(4))), TN_OK);
    tn_optim *sgd = tn_sgd_new(tn_parameters(net), 0.5), *adam = tn_adam_new(tn_parameters(net), 0.5);
    RAISES(tn_step(sgd) == TN_OK);
    RAISES(tn_step(adam) == TN_OK);
    tn_release(sgd);
    tn_release(adam);
    tn_release(net);
}

/* "packed copies of weights know when they are stale": after each kind of write a layer gives what a fresh copy of it gives */
static void check_fresh(tn_module *net, tn_tensor *x, const tn_tensor *before)
{
    TN_NO_GRAD;
    tn_tensor *now = tn_call(net, x);
    assert_true(tn_equal(now, tn_call(tn_module_clone(net), x)));
    assert_false(tn_equal(now, before));
    check_good();
}
static void check_staleness(tn_module *net, tn_tensor *x)
{
    for (int how = 0; how < 5; how++) {
        TN_SCOPE;
        tn_tensor *weight = tn_parameter(net, "weight"), *before;
        {
            TN_NO_GRAD;
            tn_call(net, x);
            before = tn_pass(tn_call(net, x)); /* twice: a cache is warm */
            if (how == 0)
                ((float *)tn_data_mut(weight))[0] += 1;
            else if (how == 1)
                assert_non_null(tn_mul_(weight, 1.5));
            else if (how == 2)
                assert_non_null(tn_add_(tn_detach(weight), 0.25)); /* through a view */
        }
        if (how == 3) {
            tn_optim *opt = tn_sgd_new(tn_parameters(net), 0.1);
            assert_int_equal(tn_backward(tn_sum(tn_call(net, x))), TN_OK);
            assert_int_equal(tn_step(opt), TN_OK);
            tn_release(opt);
        } else if (how == 4) {
            tn_dict *dict = tn_adopt(tn_dict_new());
            tn_dict_set(dict, "weight", tn_rand_like(weight));
            assert_int_equal(tn_load_state_dict(net, dict, .strict = false), TN_OK);
        }
        check_fresh(net, x, before);
    }
    tn_release(net);
}
static void test_packed_weights_know_when_they_are_stale(void **state)
{
    (void)state;
    tn_manual_seed(1);
    check_staleness(tn_linear_new(40, 24), tn_rand(TN_SHAPE(6, 40)));
    check_staleness(tn_conv2d_new(3, 8, 3, .padding = 1), tn_rand(TN_SHAPE(2, 3, 9, 9)));
}

/* "tn_to(module, device) swaps storage inside the same tensors, so optimisers stay valid" */
static void test_a_module_that_is_moved_keeps_its_tensors(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *net = tn_linear_new(2, 1, .bias = false);
    tn_tensor *weight = tn_parameter(net, "weight"), *x = tn_ones(TN_SHAPE(1, 2));
    tn_init_constant(weight, 1);
    tn_optim *opt = tn_sgd_new(tn_parameters(net), 0.5);
    tn_device_id devices[] = {tn_device("cpu"), tn_cuda_available() ? tn_device("cuda") : tn_device("cpu"), tn_device("cpu")};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tn_module_to(net, devices[i]), TN_OK);
        assert_ptr_equal(tn_parameter(net, "weight"), weight);
        assert_int_equal(tn_device_of(weight).type, devices[i].type);
    }
    tn_tensor *squares = tn_sum(tn_mul(weight, weight)); /* a graph that saved the weight as it was */
    assert_int_equal(tn_module_to_dtype(net, TN_F64), TN_OK); /* the same way: another storage, the same tensor */
    assert_ptr_equal(tn_parameter(net, "weight"), weight);
    assert_int_equal(tn_backward(squares), TN_ERR_GRAD);
    check_error(TN_ERR_GRAD, "changed");
    assert_int_equal(tn_backward(tn_sum(tn_call(net, tn_cast(x, TN_F64)))), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    check_values(weight, 0, 0.5, 0.5);
    tn_release(opt);
    tn_release(net);
}

/* "a caller's memory is used as it is, with a release function of theirs": called once, however many views there were */
static int releases;
static void count_release(void *data, void *context) { (void)data; ++*(int *)context; }
static void test_a_callers_memory_is_released_once(void **state)
{
    (void)state;
    static float data[6];
    releases = 0;
    tn_tensor *row;
    {
        TN_SCOPE;
        tn_tensor *x = tn_from_memory(data, TN_SHAPE(2, 3), count_release, &releases, .dtype = TN_F32);
        row = tn_keep(tn_select(tn_transpose(x, 0, 1), 0, 2));
        tn_fill_(x, 4);
        assert_true(data[5] == 4);
    }
    assert_int_equal(releases, 0);
    check_values(row, 0, 4, 4);
    tn_release(row);
    assert_int_equal(releases, 1);
    tn_fail(TN_ERR_IO, "an error before");
    assert_null(tn_from_memory(data, TN_SHAPE(6), count_release, &releases, .dtype = TN_F32)); /* on failure too */
    assert_int_equal(releases, 2);
    tn_clear_error();
    assert_null(tn_from_memory(NULL, TN_SHAPE(6), count_release, &releases, .dtype = TN_F32));
    check_error(TN_ERR_ARGUMENT, "data is NULL");
    assert_int_equal(releases, 3);
}

/* "Counts are atomic." */
enum { THREADS = 4, TURNS = 200000 };
static pthread_barrier_t together;
static void *share(void *object)
{
    pthread_barrier_wait(&together);
    for (int i = 0; i < TURNS; i++)
        tn_release(tn_retain(object));
    return NULL;
}
static void test_counts_are_atomic(void **state)
{
    (void)state;
    int64_t live = tn_live_objects();
    tn_tensor *x = tn_keep(tn_ones(TN_SHAPE(2)));
    pthread_t threads[THREADS];
    tn_retain(x);
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, share, x), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&together);
    check_values(x, 0, 1, 1);
    assert_int_equal(((tn_object *)(void *)x)->refs, 2);
    tn_release(x);
    tn_release(x);
    assert_int_equal(tn_live_objects(), live);
}

/* "Scope, error, grad mode and random state are per thread." */
static void *look_around(void *seen)
{
    tn_random_state mine = tn_get_random_state();
    *(bool *)seen = tn_grad_enabled() && tn_last_status() == TN_OK && mine.seed != 77;
    TN_NO_GRAD;
    tn_manual_seed(5);
    tn_ones(TN_SHAPE(2));
    tn_scope_clear(); /* of this thread alone */
    tn_fail(TN_ERR_IO, "here");
    return NULL;
}
static void test_the_threads_own(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(77);
    tn_tensor *x = tn_ones(TN_SHAPE(2));
    pthread_t thread;
    bool seen = false;
    {
        TN_NO_GRAD;
        tn_fail(TN_ERR_INDEX, "there");
        assert_int_equal(pthread_create(&thread, NULL, look_around, &seen), 0);
        pthread_join(thread, NULL);
        assert_false(tn_grad_enabled());
    }
    assert_true(seen);
    assert_true(tn_grad_enabled());
    check_error(TN_ERR_INDEX, "there");
    assert_true(tn_get_random_state().seed == 77 && tn_get_random_state().offset == 0);
    check_values(x, 0, 1, 1);
}

/* "a tensor may be freed on another thread than it was made on": a graph and a module as well */
static void *release_all(void *object)
{
    tn_release(object);
    return NULL;
}
static void test_release_of_what_another_thread_made(void **state)
{
    (void)state;
    int64_t live = tn_live_objects(), in_use = tn_get_memory_stats().in_use;
    for (int turn = 0; turn < 3; turn++) {
        void *objects[2];
        {
            TN_SCOPE;
            tn_module *net = tn_sequential_new(tn_linear_new(3, 300), tn_relu_new(), tn_linear_new(300, 1));
            objects[0] = tn_keep(tn_sum(tn_call(net, tn_ones(TN_SHAPE(64, 3)))));
            objects[1] = net;
        }
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, release_all, objects[i]), 0);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(tn_live_objects(), live);
    }
    assert_true(tn_get_memory_stats().in_use < in_use + (64 << 10)); /* the scope's stack may have grown */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_objects_of_every_kind), TEST(test_what_the_scope_owns), TEST(test_no_grad_and_every_way_out),
        TEST(test_scopes_are_declarations), TEST(test_a_loop_over_batches_is_one_statement), TEST(test_receivers_take_references),
        TEST(test_receivers_take_references_on_success), TEST(test_an_optimiser_shares_its_parameters), TEST(test_a_child_that_failed),
        TEST(test_a_modules_call_leaves_its_result_alone), TEST(test_backward_holds_few_gradients), TEST(test_grad_belongs_to_its_leaf),
        TEST(test_no_node_owns_itself), TEST(test_every_write_raises_the_version), TEST(test_packed_weights_know_when_they_are_stale),
        TEST(test_a_module_that_is_moved_keeps_its_tensors), TEST(test_a_callers_memory_is_released_once), TEST(test_counts_are_atomic),
        TEST(test_the_threads_own), TEST(test_release_of_what_another_thread_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
