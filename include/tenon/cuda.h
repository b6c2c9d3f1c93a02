/* Tenon: streams, events and graphs of CUDA devices. The CPU has none: asking it for one is TN_ERR_DEVICE.
 *
 *     tn_stream *side = tn_stream_new(tn_device("cuda:0"));
 *     {
 *         TN_STREAM(side);                                 to the end of the block this thread's work on cuda:0 goes to it
 *         x = tn_to(batch, device);
 *     }
 *     tn_check(tn_stream_wait_stream(NULL, side));         what is asked for from here on comes after it
 *
 * What is asked of a device is done later, in order, on the device's own stream, which all threads share, or on the one that a thread has chosen.
 * Memory is given back in the order of the stream that a thread uses when it releases the last tensor over it: let that stream wait for the
 * others that use the memory. */
#ifndef TENON_CUDA_H
#define TENON_CUDA_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- streams -------------------------------------------------------------------------------------------------------------- */

typedef struct tn_stream tn_stream;
/* A further queue of work on a CUDA device, whose work runs beside that of the others; the caller's. */
TN_API tn_stream *tn_stream_new(tn_device_id device);
typedef struct tn_stream_mode {
    tn_stream *stream;
    void *former;
} tn_stream_mode;
/* What the calling thread asks of the stream's device goes to it from now on; tn_stream_restore() brings back what was before. */
TN_API tn_stream_mode tn_stream_set(tn_stream *stream);
TN_API void tn_stream_restore(tn_stream_mode *mode);
/* A declaration: the same to the end of the enclosing block. */
#define TN_STREAM(stream) TN_CLEANUP_(tn_stream_restore) tn_stream_mode TN_UNIQUE_(tn_stream_at_) = tn_stream_set(stream)
/* What is asked of stream from now on waits for what was asked of other so far. One of them may be NULL: the one that this thread uses on the
 * other's device. */
TN_API tn_status tn_stream_wait_stream(tn_stream *stream, tn_stream *other) TN_MUST_CHECK;
/* Waits for all that was asked of it, and raises what went wrong, as tn_synchronize(). */
TN_API tn_status tn_stream_synchronize(tn_stream *stream) TN_MUST_CHECK;
/* Whether all that was asked of it is done; false on error. */
TN_API bool tn_stream_query(const tn_stream *stream);

/* ---- events --------------------------------------------------------------------------------------------------------------- */

typedef struct tn_event tn_event;
/* A mark in a stream of the device, with its time; the caller's. */
TN_API tn_event *tn_event_new(tn_device_id device);
/* Marks what was asked of the stream so far, NULL: of the one that this thread uses; of what it marked before nothing is known any more. */
TN_API tn_status tn_event_record(tn_event *event, tn_stream *stream) TN_MUST_CHECK;
/* What is asked of the stream, NULL: of the one that this thread uses, from now on waits for what the event marks. One that marks nothing is not
 * waited for. */
TN_API tn_status tn_event_wait(tn_event *event, tn_stream *stream) TN_MUST_CHECK;
/* Waits for what it marks, and raises what went wrong. */
TN_API tn_status tn_event_synchronize(tn_event *event) TN_MUST_CHECK;
/* Whether what it marks is done; false on error. */
TN_API bool tn_event_query(const tn_event *event);
/* Milliseconds on the device from start's mark to end's, for which it waits. NaN on error: TN_ERR_STATE where one was not recorded. */
TN_API double tn_event_elapsed_time(const tn_event *start, const tn_event *end);

/* ---- graphs --------------------------------------------------------------------------------------------------------------- */

/* A step recorded once and replayed with what its inputs hold then, by one launch: for steps of many small kernels.
 *
 *     tn_tensor *x = ..., *y = ...;                        on the device, and kept
 *     train(x, y);                                         once or more as usual: optimisers make their states
 *     tn_graph *graph = tn_graph_new(device);
 *     {
 *         TN_CAPTURE(graph);                               nothing is computed in here
 *         loss = tn_keep(train(x, y));
 *     }
 *     TN_FOREACH_BATCH(batch, loader) {
 *         tn_copy_(x, batch->x), tn_copy_(y, batch->y);
 *         tn_check(tn_replay(graph));                      loss, the parameters and their .grad are as after the step
 *     }
 */
typedef struct tn_graph tn_graph;
/* An empty graph of a CUDA device; the caller's. */
TN_API tn_graph *tn_graph_new(tn_device_id device);
/* From here to tn_capture_end() what this thread asks of the device is recorded and not computed; it must be of one kind at each replay: shapes,
 * and what the CPU decides, are as they were. The tensors that it makes are filled by each replay; their memory is the graph's, and so is older
 * memory that is let go meanwhile. Not possible are, as TN_ERR_STATE: reading numbers (tn_item(), tn_print(), masks and indices whose count the CPU
 * needs), copies between the device and elsewhere, waiting, an optimiser's first step, dropout within attention. A graph is captured once. */
TN_API tn_status tn_capture_begin(tn_graph *graph) TN_MUST_CHECK;
/* The error that sticks, where one arose meanwhile: the graph then can be captured again. */
TN_API tn_status tn_capture_end(tn_graph *graph) TN_MUST_CHECK;
typedef struct tn_capture_mode {
    tn_graph *graph;
} tn_capture_mode;
/* A declaration: a capture to the end of the enclosing block; errors stick. */
#define TN_CAPTURE(graph) TN_CLEANUP_(tn_capture_restore) tn_capture_mode TN_UNIQUE_(tn_capture_at_) = tn_capture_set(graph)
TN_API tn_capture_mode tn_capture_set(tn_graph *graph);
TN_API void tn_capture_restore(tn_capture_mode *mode);
/* Does the step, on the stream that this thread uses. Random numbers are those that this thread would draw now, and optimisers count a step and take
 * their options as they are: a replay gives the bits that the step itself would. */
TN_API tn_status tn_replay(tn_graph *graph) TN_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
