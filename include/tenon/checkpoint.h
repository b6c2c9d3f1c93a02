/* Tenon: checkpoints. All that a run needs to go on, in one file:
 *
 *     if (access("run.safetensors", R_OK) == 0)
 *         tn_check(tn_load_checkpoint("run.safetensors", .module = net, .optim = opt, .schedule = schedule, .loader = loader));
 *     for (int64_t epoch = tn_loader_epoch(loader); epoch < epochs; epoch++) {
 *         TN_FOREACH_BATCH(batch, loader) {
 *             ...
 *             tn_check(tn_step(opt));
 *             if (batch->index % 100 == 99)
 *                 tn_check(tn_save_checkpoint("run.safetensors", .module = net, .optim = opt, .schedule = schedule, .loader = loader));
 *         }
 *         tn_check(tn_schedule_step(schedule));
 *     }
 *
 * A run that is stopped anywhere, by kill -9 too, goes on from the last checkpoint and gives the same bits as one that was not. */
#ifndef TENON_CHECKPOINT_H
#define TENON_CHECKPOINT_H

#include <tenon/data.h>
#include <tenon/io.h>
#include <tenon/optim.h>
#include <tenon/schedule.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a checkpoint holds: each part under a prefix of its own, "module.fc.weight", "optim.state.0.exp_avg", "schedule.last_epoch", "ema.0",
 * "loader", "extra.best_loss", and the thread's random state, "random"; so the notes of state dicts and of extra. NULL: not in it. */
#define TN_CHECKPOINT_OPTIONS(X)                                                                                              \
    X(void *, module, NULL)                                                                                                   \
    X(tn_optim *, optim, NULL)                                                                                                \
    X(tn_schedule *, schedule, NULL)                                                                                          \
    X(tn_ema *, ema, NULL)                                                                                                    \
    X(tn_loader *, loader, NULL)                                                                                              \
    X(tn_dict *, extra, NULL) /* tensors and notes of one's own; a load sets those of the file in it */
typedef struct tn_checkpoint_args {
    size_t size TN_SIZE_(tn_checkpoint_args);
    TN_CHECKPOINT_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *path TN_ZERO_;
} tn_checkpoint_args;
/* tn_save_checkpoint(path, .module = net, ...): writes a safetensors file beside the old one and renames it, once it is on the disk: at any
 * moment path is the old checkpoint or the new one, whole. A kill while it is written may leave path.tenon0.part, which nobody reads and the next save removes.
 * Not while an error sticks. */
TN_API tn_status tn_save_checkpoint_with(const tn_checkpoint_args *args) TN_MUST_CHECK;
/* tn_load_checkpoint(path, .module = net, ...): takes the parts that are given, and the random state, out of a file, into objects that were
 * made as those that it was saved from; parts of the file that are not asked for stay there. TN_ERR_ARGUMENT names what a part lacks. On
 * failure the parts before the one named have been loaded: module, optim, schedule, ema, loader. */
TN_API tn_status tn_load_checkpoint_with(const tn_checkpoint_args *args) TN_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
