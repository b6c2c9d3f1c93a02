/* Memory fails: for every n, the nth allocation of making a network, and of a training step of each network, gives nothing. Each time the
 * error is clear, nothing is lost or leaked, the parameters are what they were, and the same step then succeeds. */
#include "check.h"

#include <stdlib.h>

static int64_t countdown, outstanding; /* fails when countdown reaches 0; below: never */

static void *failing_alloc(size_t size, void *context)
{
    (void)context;
    if (countdown >= 0 && countdown-- == 0)
        return NULL;
    void *memory = NULL;
    if (posix_memalign(&memory, 64, size) != 0)
        return NULL;
    outstanding++;
    return memory;
}

static void failing_free(void *memory, size_t size, void *context)
{
    (void)size;
    (void)context;
    outstanding--;
    free(memory);
}

typedef struct {
    tn_module base;
    tn_module *fc1, *fc2, *fc3;
} mlp;
static tn_tensor *mlp_forward(mlp *net, tn_tensor *x)
{
    x = tn_relu(tn_call(net->fc1, tn_flatten(x, 1, -1)));
    return tn_call(net->fc3, tn_relu(tn_call(net->fc2, x)));
}
TN_MODULE(mlp, mlp_forward);
static void *mlp_new(void)
{
    mlp *net = TN_NEW(mlp);
    TN_CHILD(net, fc1, tn_linear_new(784, 32));
    TN_CHILD(net, fc2, tn_linear_new(32, 32));
    TN_CHILD(net, fc3, tn_linear_new(32, 10));
    return net;
}

typedef struct {
    tn_module base;
    tn_module *conv1, *conv2, *fc1, *fc2;
} lenet;
static tn_tensor *lenet_forward(lenet *net, tn_tensor *x)
{
    x = tn_max_pool2d(tn_relu(tn_call(net->conv1, x)), 2);
    x = tn_max_pool2d(tn_relu(tn_call(net->conv2, x)), 2);
    x = tn_relu(tn_call(net->fc1, tn_flatten(x, 1, -1)));
    return tn_call(net->fc2, x);
}
TN_MODULE(lenet, lenet_forward);
static void *lenet_new(void)
{
    lenet *net = TN_NEW(lenet);
    TN_CHILD(net, conv1, tn_conv2d_new(1, 20, 3, .padding = 1));
    TN_CHILD(net, conv2, tn_conv2d_new(20, 50, 3, .padding = 1));
    TN_CHILD(net, fc1, tn_linear_new(2450, 20)); /* narrower than the example's: its size is not what is tested */
    TN_CHILD(net, fc2, tn_linear_new(20, 10));
    return net;
}

/* Reads an image row by row, in both directions; some packing on the way. */
typedef struct {
    tn_module base;
    tn_module *lstm, *gru, *fc;
} reader;
static tn_tensor *reader_forward(reader *net, tn_tensor *x)
{
    int64_t lengths[] = {20, 28};
    tn_packed_sequence *rows = tn_pack_padded_sequence(tn_squeeze(x, 1), tn_from_ints(lengths, TN_SHAPE(2)), .batch_first = true,
                                                       .enforce_sorted = false);
    x = tn_pad_packed_sequence(tn_call_packed(net->lstm, rows));
    return tn_call(net->fc, tn_select(tn_call(net->gru, x), 0, -1));
}
TN_MODULE(reader, reader_forward);
static void *reader_new(void)
{
    reader *net = TN_NEW(reader);
    TN_CHILD(net, lstm, tn_lstm_new(28, 5, .bidirectional = true));
    TN_CHILD(net, gru, tn_gru_new(10, 6));
    TN_CHILD(net, fc, tn_linear_new(6, 10));
    return net;
}

static tn_status step(void *net, tn_optim *opt, tn_tensor *x, tn_tensor *y)
{
    TN_SCOPE;
    tn_zero_grad(opt);
    tn_tensor *loss = tn_cross_entropy(tn_call(net, x), y);
    tn_status status = tn_backward(loss);
    return status == TN_OK ? tn_step(opt) : status;
}

/* A network whose making fails at the nth allocation leaves nothing behind. */
static void torment_making(void *(*make)(void))
{
    for (int64_t n = 0;; n++) {
        int64_t live = tn_live_objects();
        countdown = n;
        void *net = make();
        bool failed = countdown < 0;
        countdown = -1;
        if (!failed) {
            assert_true(n > 10);
            tn_release(net);
            break;
        }
        check_error(TN_ERR_MEMORY, "out of memory");
        tn_release(net);
        tn_scope_clear();
        assert_int_equal(tn_live_objects(), live);
    }
}

static void torment_step(void *(*make)(void))
{
    tn_manual_seed(5);
    void *net = make();
    tn_optim *opt = tn_adam_new(tn_parameters(net), 1e-2);
    tn_tensor *x = tn_keep(tn_rand(TN_SHAPE(2, 1, 28, 28))), *y = tn_keep(tn_randint(TN_SHAPE(2), 0, 10));
    void *before = tn_keep(tn_module_clone(net));
    check_good();
    tn_scope_clear();
    int64_t n = 0, failures = 0;
    for (;; n++) {
        int64_t live = tn_live_objects();
        countdown = n;
        tn_status status = step(net, opt, x, y);
        bool failed = countdown < 0;
        countdown = -1;
        if (!failed) {
            assert_int_equal(status, TN_OK);
            break;
        }
        failures++;
        assert_int_equal(status, TN_ERR_MEMORY);
        check_error(TN_ERR_MEMORY, "out of memory");
        tn_zero_grad(opt);
        tn_scope_clear();
        assert_true(tn_live_objects() <= live + 64); /* the optimiser's own state may have been made */
        TN_SCOPE;
        tn_list *now = tn_parameters(net), *then = tn_parameters(before);
        for (int64_t i = 0; i < tn_list_count(now); i++)
            assert_true(tn_equal(tn_list_at(now, i), tn_list_at(then, i)));
    }
    assert_true(failures > 50);
    print_message("%lld allocations of a step failed in turn\n", (long long)failures);
    { /* and the step that went through did what a network that never failed does */
        TN_SCOPE;
        tn_optim *fresh = tn_adam_new(tn_parameters(before), 1e-2);
        assert_int_equal(step(before, fresh, x, y), TN_OK);
        tn_list *now = tn_parameters(net), *then = tn_parameters(before);
        for (int64_t i = 0; i < tn_list_count(now); i++)
            assert_true(tn_equal(tn_list_at(now, i), tn_list_at(then, i)));
        tn_release(fresh);
    }
    tn_release(opt);
    tn_release(net);
    tn_release(before);
    tn_release(x);
    tn_release(y);
}

static void test_making_the_mlp(void **state) { (void)state; torment_making(mlp_new); }
static void test_making_the_lenet(void **state) { (void)state; torment_making(lenet_new); }
static void test_a_step_of_the_mlp(void **state) { (void)state; torment_step(mlp_new); }
static void test_a_step_of_the_lenet(void **state) { (void)state; torment_step(lenet_new); }
static void test_making_the_reader(void **state) { (void)state; torment_making(reader_new); }
static void test_a_step_of_the_reader(void **state) { (void)state; torment_step(reader_new); }

static void test_nothing_is_left(void **state)
{
    (void)state;
    countdown = -1;
    tn_shutdown();
    assert_int_equal(tn_live_objects(), 0);
    assert_int_equal(tn_set_allocator(NULL), TN_OK);
    assert_int_equal(outstanding, 0);
}

int main(void)
{
    countdown = -1;
    const tn_allocator allocator = {failing_alloc, failing_free, NULL};
    if (tn_set_num_threads(1) != TN_OK || tn_set_allocator(&allocator) != TN_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(test_making_the_mlp), TEST(test_making_the_lenet), TEST(test_a_step_of_the_mlp), TEST(test_a_step_of_the_lenet),
        TEST(test_making_the_reader), TEST(test_a_step_of_the_reader),
        cmocka_unit_test(test_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
