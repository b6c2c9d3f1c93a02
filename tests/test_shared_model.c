/* labels: threads
 * Threads that share one model: forward, gradients that leave .grad alone, errors and random numbers of their own; a model replaced while
 * others answer from it. Run under the thread sanitizer. */
#include "cases.h"

#include <pthread.h>

enum { THREADS = 4, TURNS = 25 };

typedef struct {
    tn_module *net;
    tn_tensor *x;
    double sum, slope, random;
    char error[128];
} worker;

static void *work(void *argument)
{
    worker *w = argument;
    if (tn_set_num_threads(1) != TN_OK)
        return NULL;
    tn_manual_seed(3);
    for (int i = 0; i < TURNS; i++) {
        TN_SCOPE;
        {
            TN_NO_GRAD;
            w->sum += tn_item(tn_sum(tn_call(w->net, w->x)));
        }
        tn_tensor *weight = tn_parameter(w->net, "0.weight");
        w->slope += tn_item(tn_sum(tn_grad_of(tn_sum(tn_call(w->net, w->x)), weight)));
        w->random += tn_item(tn_sum(tn_rand(TN_SHAPE(100))));
    }
    TN_SCOPE;
    tn_call(w->net, tn_zeros(TN_SHAPE(1, 1, 2, 2))); /* an error of this thread alone */
    if (tn_last_error())
        strncpy(w->error, tn_last_error(), sizeof w->error - 1);
    tn_clear_error();
    return NULL;
}

static void test_threads_share_a_model(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(1);
    tn_module *net = tn_sequential_new(tn_conv2d_new(1, 4, 3, .padding = 1), tn_relu_new(), tn_max_pool2d_new(2), tn_flatten_new(),
                                       tn_linear_new(4 * 4 * 4, 5));
    tn_train(net, false);
    tn_tensor *x = tn_rand(TN_SHAPE(3, 1, 8, 8));
    worker workers[THREADS];
    pthread_t threads[THREADS];
    check_good();
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){.net = net, .x = x};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_true(isfinite(workers[i].sum) && workers[i].slope != 0);
        assert_true(workers[i].sum == workers[0].sum && workers[i].slope == workers[0].slope);
        assert_true(workers[i].random == workers[0].random);
        assert_non_null(strstr(workers[i].error, "linear"));
    }
    assert_null(tn_grad(tn_parameter(net, "0.weight")));
    check_good();
    tn_release(net);
}

/* Readers take a reference under a lock and answer without it; a writer puts new models in place. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tn_module *current;
static bool stop;

static void *answer(void *unused)
{
    (void)unused;
    for (;;) {
        TN_SCOPE;
        TN_NO_GRAD;
        pthread_mutex_lock(&lock);
        tn_module *net = stop ? NULL : tn_retain(current);
        pthread_mutex_unlock(&lock);
        if (!net)
            return NULL;
        double value = tn_item(tn_sum(tn_call(net, tn_ones(TN_SHAPE(1, 8)))));
        tn_release(net);
        if (value != floor(value))
            return &lock;
    }
}

static void test_a_model_is_replaced(void **state)
{
    (void)state;
    pthread_t threads[2];
    for (int turn = 0; turn <= 30; turn++) {
        TN_SCOPE;
        tn_module *next = tn_linear_new(8, 2, .bias = false);
        assert_non_null(tn_init_constant(tn_parameter(next, "weight"), turn));
        pthread_mutex_lock(&lock);
        tn_module *former = current;
        current = next;
        pthread_mutex_unlock(&lock);
        tn_release(former);
        for (int i = 0; turn == 0 && i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, answer, NULL), 0);
    }
    pthread_mutex_lock(&lock);
    stop = true;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < 2; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    tn_release(current);
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {TEST(test_threads_share_a_model), TEST(test_a_model_is_replaced)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
