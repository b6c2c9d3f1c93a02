/* A device other than the CPU: what its backend, a library of its own that is opened at the first use, gives to this one. libtenon_cuda.so
 * exports tn_cuda_backend() and nothing else, and names no symbol of libtenon: what it needs of it is in tn_host. */
#ifndef TN_KERNELS_DEVICE_H
#define TN_KERNELS_DEVICE_H

#include <tenon/tensor.h>

#include "kernels/kernels.h"

/* Both sides must have been built of one source. */
#define TN_BACKEND_BUILD ((int)(sizeof(tn_kernels) + sizeof(tn_backend) + 100000 * TN_VERSION_MINOR + 1000000 * TN_VERSION_MAJOR))

typedef struct tn_host {
    void *(*fail)(tn_status status, const char *format, ...) TN_PRINTF(2, 3); /* tn_fail() */
    const int *tf32; /* tn_get_allow_tf32() */
} tn_host;

enum { TN_ON_CPU = -1 }; /* as a device of copy */

/* Functions raise their errors by host->fail. Work on a device's own stream is done in the order in which it was asked for, by all threads. */
typedef struct tn_backend {
    int build;        /* TN_BACKEND_BUILD */
    const char *name; /* for messages: "CUDA 13.0" */
    int devices;      /* 0: none is there, and `why` says what is missing */
    const char *why;
    const tn_kernels *kernels;
    tn_status (*use)(int device); /* the calling thread's kernels go there from now on */
    void *(*alloc)(int device, size_t bytes);
    void (*free)(int device, void *memory, size_t bytes);
    /* From the CPU the memory may be used again when it returns; to the CPU it waits for what was asked for before. */
    tn_status (*copy)(void *to, int to_device, const void *from, int from_device, size_t bytes);
    tn_status (*synchronize)(int device); /* waits, and raises what went wrong meanwhile */
    tn_memory_stats (*stats)(int device);
    void (*reset_peak)(int device);
    void (*set_limit)(int device, int64_t bytes);
    void (*trim)(int device);
    /* Streams and events; NULL as a stream: the one that the calling thread uses. stream_use gives the thread's former choice, NULL: the device's own. */
    void *(*stream_new)(int device);
    void (*stream_free)(void *stream);
    void *(*stream_use)(int device, void *stream);
    tn_status (*stream_synchronize)(int device, void *stream);
    bool (*stream_query)(int device, void *stream);
    void *(*event_new)(int device);
    void (*event_free)(void *event);
    tn_status (*event_record)(int device, void *event, void *stream);
    tn_status (*event_wait)(int device, void *event, void *stream);
    tn_status (*event_synchronize)(int device, void *event);
    bool (*event_query)(int device, void *event);
    tn_status (*event_elapsed)(void *start, void *end, double *milliseconds);
    /* What the calling thread asks of the device from graph_begin to graph_end is recorded. A replay has the scalars of each item of optim_step
     * in turn, and draws with random's seed, from offsets that are random's further. */
    void *(*graph_begin)(int device);
    tn_status (*graph_end)(void *graph);
    tn_status (*graph_replay)(void *graph, tn_random_state random, const tn_step_scalars *scalars);
    void (*graph_free)(void *graph);
    const char *(*libraries)(void); /* those that it opened, and what is missing */
} tn_backend;

typedef const tn_backend *(*tn_backend_fn)(const tn_host *host);

/* The CUDA backend, opened now if it was not; NULL where none can be, and *why, unless why is NULL, says what is missing. */
const tn_backend *tn_cuda(const char **why);
/* The backend of a device that is there; NULL with TN_ERR_DEVICE for another, which the message says for op. */
const tn_backend *tn_backend_for(const char *op, tn_device_id device);
/* from's elements, of the same dtype and number; both contiguous, on any devices. */
tn_status tn_copy_across(const tn_tensor *to, const tn_tensor *from);

#endif
