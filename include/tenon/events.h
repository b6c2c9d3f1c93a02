/* Tenon: event files, for TensorBoard to draw curves of while a program trains.
 *
 *     tn_event_writer *log = tn_event_writer_new("runs/first");           tensorboard --logdir runs
 *     tn_check(tn_event_scalar(log, "loss/train", tn_item(loss), step));
 *     tn_release(log); */
#ifndef TENON_EVENTS_H
#define TENON_EVENTS_H

#include <tenon/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A new file events.out.tfevents.<seconds>.<process>.<count> in the folder, which is made where it is absent (its parent must be there).
 * TN_ERR_IO names what cannot be written. A writer belongs to one thread at a time. */
typedef struct tn_event_writer tn_event_writer;
TN_API tn_event_writer *tn_event_writer_new(const char *folder);
#define TN_EVENT_SCALAR_OPTIONS(X) X(double, wall_time, 0) /* seconds since 1970; 0: now */
typedef struct tn_event_scalar_args {
    size_t size TN_SIZE_(tn_event_scalar_args);
    TN_EVENT_SCALAR_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_event_writer *writer TN_ZERO_;
    const char *tag TN_ZERO_;
    double value TN_ZERO_;
    int64_t step TN_ZERO_;
} tn_event_scalar_args;
/* tn_event_scalar(writer, "loss/train", 0.25, step): one more point of the curve `tag`, as a float. The record is in the file when the call
 * returns, whole: a program that is killed loses none of those before. */
TN_API tn_status tn_event_scalar_with(const tn_event_scalar_args *args) TN_MUST_CHECK;
/* The file's path, the writer's; NULL for NULL. */
TN_API const char *tn_event_path(const tn_event_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
