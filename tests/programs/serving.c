/* labels: files
 * Written from the README and the headers alone. A server in one process: threads answer requests from the model that is current, while
 * another thread loads new ones from files and swaps them in. A request holds a reference to its model, so that an old one lives until its
 * last request is answered. Each answer must be exactly that of the model that was current; a request of a wrong shape, and a file that is
 * cut, end in a message to who asked. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <tenon/tenon.h>

enum { IN = 16, HIDDEN = 64, CLASSES = 10, WORKERS = 4, INPUTS = 50, SWAPS = 20 };

typedef struct {
    tn_module base;
    tn_module *fc1, *drop, *fc2;
} net;

static tn_tensor *net_forward(net *self, tn_tensor *x)
{
    x = tn_call(self->drop, tn_relu(tn_call(self->fc1, x)));
    return tn_softmax(tn_call(self->fc2, x), -1);
}
TN_MODULE(net, net_forward);

static net *net_new(void)
{
    net *self = TN_NEW(net);
    TN_CHILD(self, fc1, tn_linear_new(IN, HIDDEN));
    TN_CHILD(self, drop, tn_dropout_new(0.5));
    TN_CHILD(self, fc2, tn_linear_new(HIDDEN, CLASSES));
    tn_train(self, false); /* here, before any thread shares it: forward only reads it */
    return self;
}

static float inputs[INPUTS][IN], expected[2][INPUTS][CLASSES]; /* the answers of model 0 and of model 1 */
static char path[2][64], cut[64];                              /* their files, and one that is half a file */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t round;
    net *model; /* the server's own reference to the current model */
    int which;  /* 0 or 1: whose weights it has */
    int rounds; /* rounds of requests answered so far */
    bool stop;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .round = PTHREAD_COND_INITIALIZER};

/* What a thread saw. */
typedef struct {
    int by[2], refused, wrong;
    char said[256]; /* the last message */
} report;

/* The model's answer to `width` numbers. An error's text goes to said, and the thread is ready for the next request. */
static bool answer(net *model, const float *x, int64_t width, float *y, char said[256])
{
    TN_SCOPE;
    TN_NO_GRAD;
    if (tn_to_floats(tn_call(model, tn_from_floats(x, TN_SHAPE(1, width))), y, CLASSES) == TN_OK)
        return true;
    snprintf(said, 256, "%s", tn_last_error());
    tn_clear_error();
    return false;
}

static void request(int i, report *r)
{
    pthread_mutex_lock(&server.lock);
    net *model = tn_retain(server.model); /* under the lock: a swap cannot release it first */
    int which = server.which;
    pthread_mutex_unlock(&server.lock);

    float y[CLASSES];
    int64_t width = i % 7 == 3 ? IN - 1 : IN; /* some ask wrongly */
    bool fine = answer(model, inputs[i], width, y, r->said);
    tn_release(model);

    if (width != IN && !fine && strstr(r->said, "[1, 15]") && strstr(r->said, "[64, 16]"))
        r->refused++;
    else if (width == IN && fine && !memcmp(y, expected[which][i], sizeof y))
        r->by[which]++;
    else
        r->wrong++;
}

static void *work(void *context)
{
    tn_check(tn_set_num_threads(1)); /* the workers are the parallelism */
    for (bool last = false; !last;) {
        pthread_mutex_lock(&server.lock);
        last = server.stop; /* one more round then, by the last model */
        pthread_mutex_unlock(&server.lock);
        for (int i = 0; i < INPUTS; i++)
            request(i, context);
        pthread_mutex_lock(&server.lock);
        server.rounds++;
        pthread_cond_signal(&server.round);
        pthread_mutex_unlock(&server.lock);
    }
    return NULL;
}

/* Makes a model of the file's weights and swaps it in, once the current one has answered; where that fails that one stays. */
static void swap_in(const char *file, int which, report *r)
{
    net *fresh = net_new();
    if (tn_load_module(fresh, file) != TN_OK) {
        snprintf(r->said, sizeof r->said, "%s", tn_last_error());
        tn_clear_error();
        tn_release(fresh), r->refused++;
        return;
    }
    pthread_mutex_lock(&server.lock);
    for (int until = server.rounds + WORKERS + 1; server.rounds < until;) /* so many: one of them began after the last swap */
        pthread_cond_wait(&server.round, &server.lock);
    net *former = server.model;
    server.model = fresh;
    server.which = which;
    pthread_mutex_unlock(&server.lock);
    tn_release(former); /* outside the lock; its last request frees it */
    r->by[which]++;
}

static void *load(void *context)
{
    swap_in(cut, 1, context);
    for (int i = 1; i <= SWAPS; i++)
        swap_in(path[i % 2], i % 2, context);
    return NULL;
}

/* Both models' answers, files, and a file that ends early; model 0 is the server's first. False on an error. */
static bool prepare(void)
{
    TN_SCOPE;
    tn_manual_seed(1);
    bool fine = tn_to_floats(tn_randn(TN_SHAPE(INPUTS, IN)), inputs[0], INPUTS * IN) == TN_OK;
    for (int m = 1; m >= 0; m--) {
        report r;
        tn_release(server.model);
        server.model = net_new();
        for (int i = 0; i < INPUTS; i++)
            fine = fine && answer(server.model, inputs[i], IN, expected[m][i], r.said);
        snprintf(path[m], sizeof path[m], "/tmp/tenon_serving_%ld_%d.safetensors", (long)getpid(), m);
        fine = fine && tn_save_module(server.model, path[m]) == TN_OK && tn_save_module(server.model, cut) == TN_OK;
    }
    return fine && truncate(cut, 3000) == 0;
}

int main(void)
{
    int64_t start = tn_live_objects();
    snprintf(cut, sizeof cut, "/tmp/tenon_serving_%ld_cut.safetensors", (long)getpid());
    bool fine = prepare();
    pthread_t threads[WORKERS + 1];
    report reports[WORKERS + 1] = {0}, *loader = &reports[WORKERS];
    for (int i = 0; fine && i <= WORKERS; i++)
        fine = pthread_create(&threads[i], NULL, i < WORKERS ? work : load, &reports[i]) == 0;
    for (int i = WORKERS; fine && i >= 0; i--) { /* the loader first, then each worker's last round */
        pthread_join(threads[i], NULL);
        pthread_mutex_lock(&server.lock);
        server.stop = true;
        pthread_mutex_unlock(&server.lock);
    }
    int by[2] = {0};
    for (int i = 0; i < WORKERS; i++) {
        report *r = &reports[i];
        printf("worker %d: %d answers of model 0, %d of model 1, %d refused, %d wrong\n", i, r->by[0], r->by[1], r->refused, r->wrong);
        by[0] += r->by[0], by[1] += r->by[1];
        fine = fine && r->refused && !r->wrong;
    }
    printf("loader: %d models swapped in, %d refused\n  \"%s\"\n  \"%s\"\n", loader->by[0] + loader->by[1], loader->refused,
           reports[0].said, loader->said);
    fine = fine && by[0] && by[1] && loader->by[0] + loader->by[1] == SWAPS && loader->refused == 1 && strstr(loader->said, cut);
    tn_release(server.model);
    remove(path[0]), remove(path[1]), remove(cut);
    fine = fine && tn_live_objects() == start && !tn_last_error();
    printf("%s\n", fine ? "passed" : "FAILED");
    return !fine;
}
