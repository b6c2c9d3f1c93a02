/* Streams, events and graphs as objects over the backend's. */
#include <tenon/cuda.h>

#include <math.h>
#include <string.h>

#include "kernels/device.h"
#include "kernels/graph.h"

/* The backend of a CUDA device, for what the CPU has not; NULL with an error. */
static const tn_backend *cuda_of(const char *op, const char *what, tn_device_id device)
{
    if (tn_failing())
        return NULL;
    if (device.type == TN_CPU)
        return tn_fail(TN_ERR_DEVICE, "%s: the CPU has no %s: they are a CUDA device's", op, what);
    return tn_backend_for(op, device);
}

/* ---- streams -------------------------------------------------------------------------------------------------------------- */

struct tn_stream {
    tn_object base;
    tn_device_id device;
    void *handle;
};

static void stream_free(void *self)
{
    if (((tn_stream *)self)->handle)
        tn_cuda(NULL)->stream_free(((tn_stream *)self)->handle);
}
static const tn_class stream_class = {"stream", sizeof(tn_stream), stream_free};

tn_stream *tn_stream_new(tn_device_id device)
{
    const tn_backend *backend = cuda_of("stream_new", "streams", device);
    tn_stream *s = backend ? tn_object_new(&stream_class) : NULL;
    if (!s)
        return NULL;
    s->device = device;
    if ((s->handle = backend->stream_new(device.index)))
        return s;
    tn_release(s);
    return NULL;
}

static bool is_stream(const char *op, const tn_stream *s)
{
    if (!tn_failing() && (!s || s->base.cls != &stream_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: stream is %s", op, s ? "no stream" : "NULL");
    return !tn_failing();
}

tn_stream_mode tn_stream_set(tn_stream *s)
{
    if (!is_stream("stream_set", s))
        return (tn_stream_mode){NULL, NULL};
    if (tn_captures(s->device)) {
        tn_fail(TN_ERR_STATE, "stream_set while a graph is captured from %s: what goes to another stream would not be in it", tn_device_text(s->device));
        return (tn_stream_mode){NULL, NULL};
    }
    return (tn_stream_mode){tn_retain(s), tn_cuda(NULL)->stream_use(s->device.index, s->handle)};
}

void tn_stream_restore(tn_stream_mode *mode)
{
    if (!mode || !mode->stream)
        return;
    tn_cuda(NULL)->stream_use(mode->stream->device.index, mode->former);
    tn_release(mode->stream);
    mode->stream = NULL;
}

tn_status tn_stream_wait_stream(tn_stream *s, tn_stream *other)
{
    if (!is_stream("stream_wait_stream", s ? s : other) || !is_stream("stream_wait_stream", other ? other : s))
        return tn_last_status();
    TN_SCOPE;
    tn_event *event = tn_adopt(tn_event_new((other ? other : s)->device));
    if (event && tn_event_record(event, other) == TN_OK)
        (void)!tn_event_wait(event, s);
    return tn_last_status();
}

tn_status tn_stream_synchronize(tn_stream *s)
{
    return is_stream("stream_synchronize", s) ? tn_cuda(NULL)->stream_synchronize(s->device.index, s->handle) : tn_last_status();
}

bool tn_stream_query(const tn_stream *s)
{
    return is_stream("stream_query", s) && tn_cuda(NULL)->stream_query(s->device.index, s->handle);
}

/* ---- events --------------------------------------------------------------------------------------------------------------- */

struct tn_event {
    tn_object base;
    tn_device_id device;
    void *handle;
    bool recorded;
};

static void event_free(void *self)
{
    if (((tn_event *)self)->handle)
        tn_cuda(NULL)->event_free(((tn_event *)self)->handle);
}
static const tn_class event_class = {"event", sizeof(tn_event), event_free};

tn_event *tn_event_new(tn_device_id device)
{
    const tn_backend *backend = cuda_of("event_new", "events", device);
    tn_event *e = backend ? tn_object_new(&event_class) : NULL;
    if (!e)
        return NULL;
    e->device = device;
    if ((e->handle = backend->event_new(device.index)))
        return e;
    tn_release(e);
    return NULL;
}

static bool is_event(const char *op, const tn_event *e)
{
    if (!tn_failing() && (!e || e->base.cls != &event_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: event is %s", op, e ? "no event" : "NULL");
    return !tn_failing();
}

tn_status tn_event_record(tn_event *e, tn_stream *s)
{
    if (!is_event("event_record", e) || (s && !is_stream("event_record", s)))
        return tn_last_status();
    if (s && !tn_same_device(s->device, e->device)) {
        tn_fail(TN_ERR_DEVICE, "event_record: the event is of %s and the stream of %s", tn_device_text(e->device), tn_device_text(s->device));
        return TN_ERR_DEVICE;
    }
    if (tn_cuda(NULL)->event_record(e->device.index, e->handle, s ? s->handle : NULL) == TN_OK)
        e->recorded = true;
    return tn_last_status();
}

tn_status tn_event_wait(tn_event *e, tn_stream *s)
{
    if (!is_event("event_wait", e) || (s && !is_stream("event_wait", s)) || !e->recorded)
        return tn_last_status();
    return tn_cuda(NULL)->event_wait(s ? s->device.index : e->device.index, e->handle, s ? s->handle : NULL);
}

tn_status tn_event_synchronize(tn_event *e)
{
    return is_event("event_synchronize", e) ? tn_cuda(NULL)->event_synchronize(e->device.index, e->handle) : tn_last_status();
}

bool tn_event_query(const tn_event *e) { return is_event("event_query", e) && tn_cuda(NULL)->event_query(e->device.index, e->handle); }

double tn_event_elapsed_time(const tn_event *start, const tn_event *end)
{
    double milliseconds = NAN;
    if (!is_event("event_elapsed_time", start) || !is_event("event_elapsed_time", end))
        return NAN;
    if (!start->recorded || !end->recorded)
        tn_fail(TN_ERR_STATE, "event_elapsed_time: %s was not recorded", start->recorded ? "end" : "start");
    else if (!tn_same_device(start->device, end->device))
        tn_fail(TN_ERR_DEVICE, "event_elapsed_time: start is of %s and end of %s", tn_device_text(start->device), tn_device_text(end->device));
    else
        tn_cuda(NULL)->event_elapsed(start->handle, end->handle, &milliseconds);
    return tn_failing() ? NAN : milliseconds;
}

/* ---- graphs --------------------------------------------------------------------------------------------------------------- */

/* An optimiser's step within: a replay makes its scalars anew, from `first` on. */
typedef struct graph_step {
    void *object; /* retained */
    tn_step_again again;
    int first, count;
    int places[]; /* [count] */
} graph_step;

struct tn_graph {
    tn_object base;
    tn_device_id device;
    void *handle;             /* of the backend; NULL until it is captured */
    tn_random_state random;   /* before the capture */
    uint64_t drawn;           /* blocks of random numbers that a replay takes */
    tn_step_scalars *scalars; /* [count], of all items of optim_step */
    int count;
    graph_step **steps; /* [step_count] */
    int step_count;
};

static void graph_empty(tn_graph *g)
{
    for (int i = 0; i < g->step_count; i++) {
        tn_release(g->steps[i]->object);
        tn_free(g->steps[i], sizeof *g->steps[i] + (size_t)g->steps[i]->count * sizeof(int));
    }
    tn_free(g->steps, (size_t)g->step_count * sizeof *g->steps);
    tn_free(g->scalars, (size_t)g->count * sizeof *g->scalars);
    if (g->handle)
        tn_cuda(NULL)->graph_free(g->handle);
    *g = (tn_graph){.base = g->base, .device = g->device};
}

static void graph_free(void *self) { graph_empty(self); }
static const tn_class graph_class = {"graph", sizeof(tn_graph), graph_free};

tn_graph *tn_graph_new(tn_device_id device)
{
    tn_graph *g = cuda_of("graph_new", "graphs", device) ? tn_object_new(&graph_class) : NULL;
    if (g)
        g->device = device;
    return g;
}

static bool is_graph(const char *op, const tn_graph *g)
{
    if (!tn_failing() && (!g || g->base.cls != &graph_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: graph is %s", op, g ? "no graph" : "NULL");
    return !tn_failing();
}

tn_status tn_capture_begin(tn_graph *g)
{
    if (!is_graph("capture_begin", g))
        return tn_last_status();
    if (tn_this.capturing)
        tn_fail(TN_ERR_STATE, "capture_begin: this thread captures a graph already");
    else if (g->handle)
        tn_fail(TN_ERR_STATE, "capture_begin: the graph was captured before: make another");
    else if ((g->handle = tn_cuda(NULL)->graph_begin(g->device.index))) {
        g->random = tn_get_random_state();
        tn_this.capturing = tn_retain(g);
    }
    return tn_last_status();
}

tn_status tn_capture_end(tn_graph *g)
{
    if (!g || tn_this.capturing != g) {
        tn_fail(TN_ERR_STATE, "capture_end: this thread does not capture the graph");
        return tn_last_status();
    }
    tn_this.capturing = NULL;
    g->drawn = tn_get_random_state().offset - g->random.offset;
    tn_set_random_state(g->random); /* nothing was drawn yet */
    tn_cuda(NULL)->graph_end(g->handle);
    if (tn_failing())
        graph_empty(g);
    tn_release(g);
    return tn_last_status();
}

tn_capture_mode tn_capture_set(tn_graph *g) { return (tn_capture_mode){tn_capture_begin(g) == TN_OK ? g : NULL}; }

void tn_capture_restore(tn_capture_mode *mode)
{
    if (mode && mode->graph)
        (void)!tn_capture_end(mode->graph);
}

bool tn_captures(tn_device_id device) { return tn_this.capturing && tn_same_device(tn_this.capturing->device, device); }

/* An array of count elements made longer by `more`; NULL on no memory, and then it stays. */
static void *longer(void *array, size_t element, int count, int more)
{
    void *all = tn_alloc((size_t)(count + more) * element);
    if (!all)
        return NULL;
    if (count)
        memcpy(all, array, (size_t)count * element);
    tn_free(array, (size_t)count * element);
    return all;
}

tn_status tn_capture_scalars(const tn_step_item *items, int count)
{
    tn_graph *g = tn_this.capturing;
    tn_step_scalars *scalars = longer(g->scalars, sizeof *scalars, g->count, count);
    if (!scalars)
        return tn_last_status();
    g->scalars = scalars;
    for (int i = 0; i < count; i++)
        g->scalars[g->count++] = items[i].c;
    return TN_OK;
}

tn_status tn_capture_step(void *object, tn_step_again again, const int *places, int count)
{
    tn_graph *g = tn_this.capturing;
    graph_step *step = tn_alloc(sizeof *step + (size_t)count * sizeof(int));
    graph_step **steps = step ? longer(g->steps, sizeof *steps, g->step_count, 1) : NULL;
    if (!steps) {
        tn_free(step, sizeof *step + (size_t)count * sizeof(int));
        return tn_last_status();
    }
    *step = (graph_step){.object = tn_retain(object), .again = again, .first = g->count - count, .count = count};
    memcpy(step->places, places, (size_t)count * sizeof(int));
    g->steps = steps;
    g->steps[g->step_count++] = step;
    return TN_OK;
}

tn_status tn_replay(tn_graph *g)
{
    if (!is_graph("replay", g))
        return tn_last_status();
    if (!g->handle || tn_this.capturing == g) {
        tn_fail(TN_ERR_STATE, "replay: the graph was not captured");
        return TN_ERR_STATE;
    }
    if (tn_captures(g->device)) { /* before the optimisers in it count a step */
        tn_fail(TN_ERR_STATE, "replay while another graph is captured from %s: end that first", tn_device_text(g->device));
        return TN_ERR_STATE;
    }
    for (int i = 0; i < g->step_count; i++)
        g->steps[i]->again(g->steps[i]->object, g->steps[i]->places, g->steps[i]->count, g->scalars + g->steps[i]->first);
    tn_random_state random = tn_get_random_state(), moved = {random.seed, random.offset - g->random.offset};
    if (tn_cuda(NULL)->graph_replay(g->handle, moved, g->scalars) == TN_OK) {
        random.offset += g->drawn;
        tn_set_random_state(random);
    }
    return tn_last_status();
}
