/* Two threads answer from one model: any thread may read shared tensors and run shared modules forward; what each makes, its errors and
 * its scopes are its own. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "options.h"

enum { REQUESTS = 200 };

typedef struct {
    tn_module *net; /* shared */
    tn_device_id on;
    int id;
    double sum;
} worker;

static void *answer(void *argument)
{
    worker *w = argument;
    TN_NO_GRAD;
    tn_check(tn_set_num_threads(1));
    for (int i = 0; i < REQUESTS; i++) {
        TN_SCOPE; /* each request leaves nothing behind */
        tn_tensor *x = tn_full(TN_SHAPE(1, 16), (double)i / REQUESTS, .device = &w->on);
        w->sum += tn_item(tn_sum(tn_call(w->net, x)));
    }
    return NULL;
}

int main(int argc, char **argv)
{
    options o = {.about = "Two threads answer from one model.", .takes = "v", .device = "cpu"};
    read_options(&o, argc, argv);
    tn_set_error_handler(tn_die);
    tn_manual_seed(7);
    tn_module *net = tn_sequential_new(tn_linear_new(16, 64), tn_relu_new(), tn_linear_new(64, 4));
    tn_train(net, false);
    tn_check(tn_module_to(net, o.on));
    worker workers[2] = {{net, o.on, 0, 0}, {net, o.on, 1, 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, answer, &workers[i]) != 0)
            return 1;
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        printf("thread %d answered %d requests, sum %.6f\n", workers[i].id, REQUESTS, workers[i].sum);
    }
    tn_release(net);
    return workers[0].sum == workers[1].sum && isfinite(workers[0].sum) ? 0 : 1;
}
