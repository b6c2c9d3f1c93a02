/* The loader: an epoch's order, and its batches made by the caller or ahead of it by threads. Batch n depends on the seed, the epoch
 * and n alone: whoever makes it sets the random state that belongs to it, and the caller takes the batches by their number. */
#include "data/dataset.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <tenon/cuda.h>
#include <tenon/ops.h>

#include "kernels/device.h"
#include "kernels/graph.h"
#include "kernels/philox.h"

/* A batch made ahead. Batch n lies in slot n % slot_count; both tensors are owned. */
typedef struct slot {
    bool full;
    tn_tensor *x, *y;
    tn_event *ready; /* on the loader's stream; NULL: it has none */
} slot;

struct tn_loader {
    tn_object base;
    tn_dataset *dataset;
    tn_sampler *sampler;
    int64_t batch_size;
    bool drop_last;
    uint64_t seed;
    tn_collate_function collate; /* NULL: items are stacked */
    void *collate_context;
    tn_device_id device; /* where batches go; the CPU: they stay where they are made */
    tn_stream *stream;   /* on which workers bring them there; NULL: no workers, or the CPU */

    /* The epoch. Written by the caller while no worker works. */
    uint64_t epochs; /* how many were begun */
    bool active;
    int64_t *items; /* [count] */
    int64_t count, batches;
    int64_t *starts; /* [count + 1], batches + 1 of them used: where each batch of a sampler's own begins; NULL: at multiples of batch_size */
    size_t starts_bytes;
    int64_t most; /* items of the largest batch */
    int64_t given; /* batches of the epoch that its loop was given */
    int64_t skip;  /* of the next epoch: batches that a run before this one was given */

    int workers, prefetch, running; /* threads asked for, and those there are */
    bool started;                   /* the threads were asked for; lock and the conditions exist */
    pthread_t *threads;             /* [workers] */
    slot *slots;                    /* [workers * prefetch] */

    /* What the caller and the workers share, all under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t work, done; /* a worker may find work; a worker is done with a batch */
    int64_t claimed, taken;    /* batches that workers began, and that the caller took */
    int busy;                  /* workers that make a batch now */
    bool stop;                 /* they give it up; read without the lock */
    bool quit;
    int64_t failed; /* the first batch that could not be made; -1: none */
    int status;
    char message[640];
};

/* A batch with what it owns. */
typedef struct turn {
    tn_batch batch;
    int64_t *items;
    size_t bytes;
} turn;

/* ---- making a batch ----------------------------------------------------------------------------------------------------- */

/* The random state of part n of an epoch: 0 is its order, n + 1 its batch n. */
static tn_random_state state_of(const tn_loader *l, int64_t part)
{
    uint64_t epoch = tn_philox_bits(l->seed, l->epochs, 0, 0);
    return (tn_random_state){tn_philox_bits(epoch, (uint64_t)part, 0, 1), 0};
}

static int64_t start_of(const tn_loader *l, int64_t n) { return l->starts ? l->starts[n] : n * l->batch_size; }

static int64_t size_of(const tn_loader *l, int64_t n)
{
    if (l->starts)
        return l->starts[n + 1] - l->starts[n];
    int64_t rest = l->count - n * l->batch_size;
    return rest < l->batch_size ? rest : l->batch_size;
}

static bool make(tn_loader *l, int64_t n, const bool *stop, tn_tensor **x, tn_tensor **y)
{
    tn_set_random_state(state_of(l, n + 1));
    const int64_t *items = l->items + start_of(l, n);
    if (!(l->collate ? tn_collate_by(l->collate, l->collate_context, l->dataset, items, size_of(l, n), stop, x, y)
                     : tn_collate(l->dataset, items, size_of(l, n), stop, x, y)))
        return false;
    *x = tn_to(*x, l->device);
    *y = *y ? tn_to(*y, l->device) : NULL;
    return !tn_failing();
}

/* ---- the workers -------------------------------------------------------------------------------------------------------- */

static bool has_work(const tn_loader *l)
{
    return l->active && l->failed < 0 && l->claimed < l->batches && l->claimed - l->taken < (int64_t)l->running * l->prefetch;
}

/* Batches are claimed in order, so all before a failed one come: the caller meets the error where it would without workers. */
static void note_error(tn_loader *l, int64_t n)
{
    if (l->failed >= 0 && l->failed < n)
        return;
    l->failed = n;
    l->status = tn_last_status();
    snprintf(l->message, sizeof l->message, "%s", tn_last_error());
}

static void work_once(tn_loader *l)
{
    int64_t n = l->claimed++;
    slot *s = &l->slots[n % ((int64_t)l->running * l->prefetch)];
    l->busy++;
    pthread_mutex_unlock(&l->lock);
    tn_tensor *x = NULL, *y = NULL;
    tn_stream_mode mode = l->stream ? tn_stream_set(l->stream) : (tn_stream_mode){NULL, NULL};
    bool made = make(l, n, &l->stop, &x, &y) && (!s->ready || tn_event_record(s->ready, NULL) == TN_OK);
    x = made ? tn_keep(x) : NULL;
    y = made ? tn_keep(y) : NULL;
    tn_scope_clear(); /* what was sent in vain is given back in the order of the stream that it went by */
    tn_stream_restore(&mode);
    pthread_mutex_lock(&l->lock);
    if (tn_failing())
        note_error(l, n);
    tn_clear_error();
    *s = (slot){made, x, y, s->ready};
    l->busy--;
    pthread_cond_signal(&l->done);
}

static void *worker(void *argument)
{
    tn_loader *l = argument;
    tn_set_num_threads(1);
    pthread_mutex_lock(&l->lock);
    while (!l->quit)
        if (has_work(l))
            work_once(l);
        else
            pthread_cond_wait(&l->work, &l->lock);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Fewer threads than asked for do the same work, and without any the caller does it. */
static void start_workers(tn_loader *l)
{
    if (l->started || l->workers == 0)
        return;
    l->started = true;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->done, NULL);
    sigset_t all, before; /* the program's signals are for its own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&l->lock); /* the workers read how many they are */
    while (l->running < l->workers && pthread_create(&l->threads[l->running], NULL, worker, l) == 0)
        l->running++;
    pthread_mutex_unlock(&l->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (l->running < l->workers)
        tn_warn("loader: %d of %d threads could be started", l->running, l->workers);
}

static void stop_workers(tn_loader *l)
{
    if (!l->started)
        return;
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->running; i++)
        pthread_join(l->threads[i], NULL);
    pthread_cond_destroy(&l->done);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
}

/* Empties a slot; what this thread asks of the device comes after the batch is there. */
static slot emptied(slot *s)
{
    TN_ERROR_ASIDE;
    const slot got = *s;
    if (got.full && got.ready)
        (void)!tn_event_wait(got.ready, NULL);
    *s = (slot){.ready = got.ready};
    return got;
}

/* Waits for batch n; its tensors then are the scope's. False with the error of the worker that made it. */
static bool take(tn_loader *l, int64_t n, tn_tensor **x, tn_tensor **y)
{
    if (tn_captures(l->device)) {
        tn_fail(TN_ERR_STATE, "loader: a batch while a graph is captured from %s: take it before", tn_device_text(l->device));
        return false;
    }
    pthread_mutex_lock(&l->lock);
    slot *s = &l->slots[n % ((int64_t)l->running * l->prefetch)], got;
    while (!s->full && l->failed != n)
        pthread_cond_wait(&l->done, &l->lock);
    got = emptied(s);
    if (!got.full)
        tn_fail((tn_status)l->status, "%s", l->message);
    l->taken = n + 1;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
    *x = tn_adopt(got.x);
    *y = tn_adopt(got.y);
    return !tn_failing();
}

/* ---- the loader --------------------------------------------------------------------------------------------------------- */

static void loader_free(void *self)
{
    tn_loader *l = self;
    stop_workers(l);
    for (int64_t i = 0; l->slots && i < (int64_t)l->workers * l->prefetch; i++)
        tn_release(l->slots[i].ready);
    tn_release(l->stream);
    tn_free(l->threads, (size_t)l->workers * sizeof *l->threads);
    tn_free(l->slots, (size_t)l->workers * (size_t)l->prefetch * sizeof *l->slots);
    tn_free(l->items, (size_t)l->count * sizeof *l->items);
    tn_free(l->starts, l->starts_bytes);
    tn_release(l->sampler);
    tn_release(l->dataset);
}
static const tn_class loader_class = {"loader", sizeof(tn_loader), loader_free};

enum { MOST_WORKERS = 1024, MOST_PREFETCH = 1 << 20 };

static bool arguments_fit(const tn_loader_args *a)
{
    if (tn_failing())
        return false;
    if (!a->dataset)
        tn_fail(TN_ERR_ARGUMENT, "loader_new: dataset is NULL");
    else if (a->batch_size < 1)
        tn_fail(TN_ERR_ARGUMENT, "loader_new: batch_size is %lld: 1 or more is needed", (long long)a->batch_size);
    else if (a->workers < 0 || a->workers > MOST_WORKERS)
        tn_fail(TN_ERR_ARGUMENT, "loader_new: workers is %d, not between 0 and %d", a->workers, MOST_WORKERS);
    else if (a->prefetch < 1 || a->prefetch > MOST_PREFETCH)
        tn_fail(TN_ERR_ARGUMENT, "loader_new: prefetch is %d, not between 1 and %d", a->prefetch, MOST_PREFETCH);
    else if (a->seed < -1)
        tn_fail(TN_ERR_ARGUMENT, "loader_new: seed is %lld: 0 or more is needed, or -1 for one that is drawn", (long long)a->seed);
    else if (a->shuffle && a->sampler)
        tn_fail(TN_ERR_ARGUMENT, "loader_new: shuffle and a sampler are both given: the order is the sampler's alone");
    else if (a->sampler && a->sampler->cls->batch && (a->batch_size != 1 || a->drop_last))
        tn_fail(TN_ERR_ARGUMENT, "loader_new: batch_size or drop_last is given, and the sampler makes the batches");
    else if (a->device && a->device->type != TN_CPU)
        tn_backend_for("loader_new", *a->device);
    return !tn_failing();
}

static tn_sampler *default_sampler(const tn_loader_args *a)
{
    int64_t length = tn_dataset_length(a->dataset);
    if (length < 0)
        return NULL;
    return a->shuffle ? tn_random_sampler_new(length) : tn_sequential_sampler_new(length);
}

tn_loader *tn_loader_new_with(const tn_loader_args *a)
{
    TN_KNOWN(tn_loader_args, a);
    tn_loader *l = arguments_fit(a) ? tn_object_new(&loader_class) : NULL;
    if (!l) {
        tn_release(a->sampler);
        tn_release(a->dataset);
        return NULL;
    }
    l->dataset = a->dataset;
    l->sampler = a->sampler ? a->sampler : default_sampler(a);
    l->batch_size = a->batch_size;
    l->drop_last = a->drop_last;
    l->workers = a->workers;
    l->prefetch = a->prefetch;
    l->collate = a->collate;
    l->collate_context = a->collate_context;
    l->device = a->device ? *a->device : (tn_device_id){TN_CPU, 0};
    l->failed = -1;
    if (l->workers) {
        l->threads = tn_alloc((size_t)l->workers * sizeof *l->threads);
        l->slots = tn_alloc_zero((size_t)l->workers * (size_t)l->prefetch * sizeof *l->slots);
    }
    if (l->slots && l->device.type != TN_CPU) {
        l->stream = tn_stream_new(l->device);
        for (int64_t i = 0; i < (int64_t)l->workers * l->prefetch && !tn_failing(); i++)
            l->slots[i].ready = tn_event_new(l->device);
    }
    if (tn_failing()) {
        tn_release(l);
        return NULL;
    }
    l->seed = a->seed < 0 ? tn_random_below(INT64_MAX) : (uint64_t)a->seed;
    return l;
}

/* How many items an epoch has; -1 with an error. */
static int64_t item_count(const tn_loader *l)
{
    int64_t count = l->sampler->cls->length(l->sampler->self);
    if (count < 0)
        tn_fail(TN_ERR_ARGUMENT, "loader: the sampler's length is %lld", (long long)count);
    return tn_failing() ? -1 : count;
}

/* How many batches an order of so many items has; -1 with an error. starts, unless NULL, gets where a sampler's own begin. */
static int64_t batch_count(const tn_loader *l, int64_t items, int64_t *starts)
{
    const tn_sampler *s = l->sampler;
    int64_t n = 0, taken = 0;
    if (!s->cls->batch)
        return items / l->batch_size + (!l->drop_last && items % l->batch_size);
    for (; taken < items; n++) {
        const int64_t size = s->cls->batch(s->self, n);
        if (!tn_failing() && (size < 1 || size > items - taken))
            tn_fail(TN_ERR_ARGUMENT, "loader: the sampler's batch %lld is of %lld items: 1 to the %lld that are left are possible", (long long)n,
                    (long long)size, (long long)(items - taken));
        if (tn_failing())
            return -1;
        if (starts)
            starts[n] = taken;
        taken += size;
    }
    if (starts)
        starts[n] = taken;
    return n;
}

int64_t tn_loader_length(const tn_loader *l)
{
    if (tn_failing() || !l) {
        tn_fail(TN_ERR_ARGUMENT, "loader_length: loader is NULL");
        return -1;
    }
    int64_t count = item_count(l);
    return count < 0 ? -1 : batch_count(l, count, NULL);
}

/* ---- the place in a run ------------------------------------------------------------------------------------------------- */

int64_t tn_loader_epoch(const tn_loader *l)
{
    if (!tn_failing() && l)
        return (int64_t)l->epochs - l->active;
    tn_fail(TN_ERR_ARGUMENT, "loader_epoch: loader is NULL");
    return -1;
}

enum { SEED, EPOCH, BATCH, BATCH_SIZE, STATE_SIZE };

tn_tensor *tn_get_loader_state(const tn_loader *l)
{
    int64_t epoch = tn_loader_epoch(l);
    tn_tensor *x = epoch < 0 ? NULL : tn_new("get_loader_state", TN_SHAPE(STATE_SIZE), TN_I64, (tn_device_id){TN_CPU, 0});
    if (x) {
        const int64_t state[STATE_SIZE] = {(int64_t)l->seed, epoch, l->active ? l->given : l->skip, l->batch_size};
        memcpy(tn_ptr(x), state, sizeof state);
    }
    return x;
}

tn_status tn_set_loader_state(tn_loader *l, const tn_tensor *x)
{
    int64_t state[STATE_SIZE];
    if (!tn_ready("set_loader_state", "state", x))
        return tn_last_status();
    if (!l)
        tn_fail(TN_ERR_ARGUMENT, "set_loader_state: loader is NULL");
    else if (x->dtype != TN_I64 || x->ndim != 1 || x->sizes[0] != STATE_SIZE)
        tn_fail(TN_ERR_ARGUMENT, "set_loader_state: state is %s of %s: what tn_get_loader_state() gave is int64 of [%d]", tn_text(x),
                tn_dtype_name((tn_dtype)x->dtype), STATE_SIZE);
    else if (l->active)
        tn_fail(TN_ERR_STATE, "set_loader_state: inside the loop over an epoch: set it before");
    else if (tn_to_ints(x, state, STATE_SIZE) == TN_OK && (state[SEED] < 0 || state[EPOCH] < 0 || state[EPOCH] >= 1LL << 53 || state[BATCH] < 0))
        tn_fail(TN_ERR_ARGUMENT, "set_loader_state: a number in the state is negative, or an epoch that no run comes to");
    else if (!tn_failing() && state[BATCH_SIZE] != l->batch_size)
        tn_fail(TN_ERR_ARGUMENT, "set_loader_state: the state is of batches of %lld, and the loader's have %lld", (long long)state[BATCH_SIZE],
                (long long)l->batch_size);
    if (tn_failing())
        return tn_last_status();
    l->seed = (uint64_t)state[SEED];
    l->epochs = (uint64_t)state[EPOCH];
    l->skip = state[BATCH];
    return TN_OK;
}

/* ---- epochs ------------------------------------------------------------------------------------------------------------- */

/* The sampler's order, written into l->items; false with an error. */
static bool draw_order(tn_loader *l)
{
    TN_SCOPE;
    TN_KEEP_RANDOM_STATE;
    tn_set_random_state(state_of(l, 0));
    if (l->sampler->cls->order(l->sampler->self, l->items) != TN_OK)
        tn_fail(TN_ERR_STATE, "loader: the sampler's order failed and raised no error (tn_fail)");
    int64_t length = tn_dataset_length(l->dataset);
    for (int64_t i = 0; i < l->count && !tn_failing(); i++)
        if (l->items[i] < 0 || l->items[i] >= length)
            tn_fail(TN_ERR_INDEX, "loader: the sampler gave item %lld, and the dataset has %lld", (long long)l->items[i],
                    (long long)length);
    return !tn_failing();
}

/* The epoch's batches, of the order drawn; how many, or -1 with an error. */
static int64_t draw_batches(tn_loader *l)
{
    if (l->sampler->cls->batch) {
        tn_free(l->starts, l->starts_bytes);
        l->starts_bytes = ((size_t)l->count + 1) * sizeof *l->starts;
        l->starts = tn_alloc(l->starts_bytes);
    }
    const int64_t batches = tn_failing() ? -1 : batch_count(l, l->count, l->starts);
    l->most = 0;
    for (int64_t n = 0; n < batches; n++)
        l->most = size_of(l, n) > l->most ? size_of(l, n) : l->most;
    return batches;
}

static bool begin_epoch(tn_loader *l)
{
    l->epochs++;
    int64_t count = item_count(l);
    if (count >= 0 && count != l->count) {
        tn_free(l->items, (size_t)l->count * sizeof *l->items);
        l->items = count <= (int64_t)(SIZE_MAX / sizeof *l->items) ? tn_alloc((size_t)count * sizeof *l->items) : NULL;
        l->count = l->items ? count : 0;
        if (!l->items)
            tn_fail(TN_ERR_MEMORY, "loader: no memory for the order of %lld items", (long long)count);
    }
    const int64_t batches = count < 0 || tn_failing() || !draw_order(l) ? -1 : draw_batches(l);
    if (batches >= 0 && l->skip > batches)
        tn_fail(TN_ERR_STATE, "loader: its state is of an epoch with %lld batches or more, and this one has %lld", (long long)l->skip,
                (long long)batches);
    if (batches < 0 || tn_failing())
        return false;
    start_workers(l);
    if (l->running)
        pthread_mutex_lock(&l->lock);
    l->batches = batches;
    l->active = true;
    l->claimed = l->taken = l->given = l->skip;
    l->skip = 0;
    l->failed = -1;
    if (l->running) {
        pthread_cond_broadcast(&l->work);
        pthread_mutex_unlock(&l->lock);
    }
    return true;
}

/* Afterwards no worker works and nothing made ahead is left. */
static void end_epoch(tn_loader *l)
{
    if (!l->running) {
        l->active = false;
        return;
    }
    pthread_mutex_lock(&l->lock);
    l->active = false;
    __atomic_store_n(&l->stop, true, __ATOMIC_RELAXED);
    while (l->busy)
        pthread_cond_wait(&l->done, &l->lock);
    __atomic_store_n(&l->stop, false, __ATOMIC_RELAXED);
    for (int64_t i = 0; i < (int64_t)l->running * l->prefetch; i++) {
        const slot left = emptied(&l->slots[i]);
        tn_release(left.x);
        tn_release(left.y);
    }
    pthread_mutex_unlock(&l->lock);
}

/* ---- the loop's turns --------------------------------------------------------------------------------------------------- */

static void batch_free(void *self)
{
    turn *t = self;
    tn_free(t->items, t->bytes);
    tn_release(t->batch.loader_);
}
static const tn_class batch_class = {"batch", sizeof(turn), batch_free};

/* A batch before the first that is still to be given. Its items are its own: another epoch writes over the loader's. */
static tn_batch *batch_new(tn_loader *l)
{
    turn *t = tn_object_new(&batch_class);
    if (!t)
        return NULL;
    t->batch.loader_ = tn_retain(l);
    t->batch.epoch_ = l->epochs;
    t->batch.index = l->given - 1;
    t->bytes = (size_t)l->most * sizeof *t->items;
    t->batch.items = t->items = tn_alloc(t->bytes);
    if (t->items)
        return &t->batch;
    tn_release(t);
    return NULL;
}

/* Fills the batch with the next one; false at the epoch's end and on errors. */
static bool fill(tn_batch *b)
{
    tn_loader *l = b->loader_;
    if (tn_failing() || b->index + 1 >= l->batches)
        return false;
    b->index++;
    l->given = b->index + 1;
    b->size = size_of(l, b->index);
    memcpy(((turn *)b)->items, l->items + start_of(l, b->index), (size_t)b->size * sizeof *b->items);
    b->scope_ = tn_scope_open();
    if (tn_failing())
        return false;
    if (l->running)
        return take(l, b->index, &b->x, &b->y);
    TN_KEEP_RANDOM_STATE;
    return make(l, b->index, NULL, &b->x, &b->y);
}

/* A loop that an error ends is where a program learns of it: it has no call to check. */
tn_batch *tn_batch_first_(tn_loader *l)
{
    if (tn_failing() || !l) {
        tn_fail(TN_ERR_ARGUMENT, "loader: TN_FOREACH_BATCH over a loader that is NULL");
        tn_check(tn_last_status());
        return NULL;
    }
    end_epoch(l);
    TN_CLEANUP_(tn_batch_done_) tn_batch *b = begin_epoch(l) ? batch_new(l) : NULL;
    if (!b)
        end_epoch(l);
    if (!b || !fill(b)) {
        tn_check(tn_last_status());
        return NULL;
    }
    tn_batch *first = b;
    b = NULL; /* it is the loop's */
    return first;
}

tn_batch *tn_batch_next_(tn_batch *b)
{
    tn_scope_close(&b->scope_);
    b->x = b->y = NULL;
    if (b->epoch_ != b->loader_->epochs)
        tn_fail(TN_ERR_STATE, "loader: another epoch was begun inside the loop over this one: use a loader for each loop");
    if (!fill(b)) {
        tn_check(tn_last_status()); /* may throw in C++: b is still the loop's */
        tn_batch_done_(&b);
    }
    return b;
}

void tn_batch_done_(tn_batch **batch)
{
    tn_batch *b = *batch;
    if (!b)
        return;
    tn_scope_close(&b->scope_);
    if (b->epoch_ == b->loader_->epochs)
        end_epoch(b->loader_);
    tn_release(b);
    *batch = NULL;
}
