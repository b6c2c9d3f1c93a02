/* Tenon: data. Datasets, samplers, a loader with background workers, and digits to learn from. */
#ifndef TENON_DATA_H
#define TENON_DATA_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- datasets ----------------------------------------------------------------------------------------------------------- */

/* A dataset is three functions over the caller's self. */
typedef struct tn_dataset_class {
    int64_t (*length)(void *self);
    /* Item i, 0 <= i < length: a tensor for *x and one for *y (NULL at first, and may stay so for all items), both the scope's. Where a loader
     * has workers it is called by several threads at once. What it draws from the thread's random state depends on the loader's
     * seed, the epoch and the batch alone. On failure it raises an error and returns its status. */
    tn_status (*get)(void *self, int64_t i, tn_tensor **x, tn_tensor **y);
    void (*free)(void *self); /* may be NULL */
} tn_dataset_class;
typedef struct tn_dataset tn_dataset;
/* Takes self: free(self) is called when the dataset goes, and at once on failure. cls must outlive the dataset. */
TN_API tn_dataset *tn_dataset_new(const tn_dataset_class *cls, void *self);
/* Item i is (x[i], y[i]); y may be NULL. Shares both (retains them); tensors of one length on the CPU. A loader takes whole batches from it
 * by one copy of rows. What is not contiguous is copied here, once. */
TN_API tn_dataset *tn_tensor_dataset_new(tn_tensor *x, tn_tensor *y);
TN_API int64_t tn_dataset_length(const tn_dataset *dataset); /* -1 on error */
/* Item i by itself, the scope's. */
TN_API tn_status tn_dataset_get(tn_dataset *dataset, int64_t i, tn_tensor **x, tn_tensor **y) TN_MUST_CHECK;

/* Item i is the dataset's item indices[i] (copied; repeats are allowed). Takes the dataset, on failure too. An index outside of it is
 * TN_ERR_INDEX. */
TN_API tn_dataset *tn_subset_new(tn_dataset *dataset, const int64_t *indices, int64_t count);
/* All items of the first, then all of the second, ... Takes each of the datasets [count], on failure too; one that is NULL is TN_ERR_ARGUMENT. */
TN_API tn_dataset *tn_concat_dataset_new(tn_dataset *const *datasets, int count);

#define TN_RANDOM_SPLIT_OPTIONS(X)                                                                                            \
    X(const int64_t *, lengths, NULL)  /* [count] items of each part; their sum is the dataset's length */                    \
    X(const double *, shares, NULL)    /* [count] or the share of each; their sum is 1 */                                     \
    X(const tn_tensor *, labels, NULL) /* integers [length]: items of each label are split by the shares for themselves */    \
    X(int64_t, seed, -1)               /* -1: drawn from the thread's random state */
typedef struct tn_random_split_args { /* tn_random_split_new(dataset, parts, 2, .shares = (double[]){0.8, 0.2}, .seed = 0) */
    size_t size TN_SIZE_(tn_random_split_args);
    TN_RANDOM_SPLIT_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_dataset *dataset TN_ZERO_;
    tn_dataset **parts TN_ZERO_; /* [count] subsets, yours to release; all NULL on failure */
    int count TN_ZERO_;
} tn_random_split_args;
/* Splits the items at random, each into one part. Takes the dataset, on failure too. Shares become lengths as PyTorch's do: rounded down, the
 * items that are left one each to the first parts. With labels, each label's items are shared out for themselves and what rounding leaves
 * is evened out over the labels. */
TN_API tn_status tn_random_split_new_with(const tn_random_split_args *args) TN_MUST_CHECK;

/* ---- samplers ----------------------------------------------------------------------------------------------------------- */

/* The order of an epoch: length() items (repeats are allowed), written by order() at the start of each one. */
typedef struct tn_sampler_class {
    int64_t (*length)(void *self);
    tn_status (*order)(void *self, int64_t *items); /* [length]; draws from the thread's random state, which the loader has set */
    void (*free)(void *self);                       /* may be NULL */
    /* Of one that makes the batches too (PyTorch's batch_sampler): how many items, 1 or more, batch n = 0, 1, ... takes of the order; asked until
     * all are taken. A loader is then given neither .batch_size nor .drop_last. NULL: batches are the loader's. */
    int64_t (*batch)(void *self, int64_t n);
} tn_sampler_class;
typedef struct tn_sampler tn_sampler;
/* Takes self, as tn_dataset_new does. */
TN_API tn_sampler *tn_sampler_new(const tn_sampler_class *cls, void *self);
TN_API tn_sampler *tn_sequential_sampler_new(int64_t n); /* 0 ... n-1 */
TN_API tn_sampler *tn_random_sampler_new(int64_t n);     /* a permutation of them (Fisher and Yates) */

#define TN_WEIGHTED_SAMPLER_OPTIONS(X) X(bool, replacement, true) /* false: no item twice in an epoch */
typedef struct tn_weighted_sampler_args {
    size_t size TN_SIZE_(tn_weighted_sampler_args);
    TN_WEIGHTED_SAMPLER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_tensor *weights TN_ZERO_;
    int64_t count TN_ZERO_;
} tn_weighted_sampler_args;
/* tn_weighted_sampler_new(weights, count, .replacement = false): count items an epoch, item i drawn with a probability in proportion to
 * weights[i] (floats [n], none negative or NaN, not all 0; copied). Without replacement each draw is among those that are left (Efraimidis and
 * Spirakis 2006), and count is at most the number of weights that are not 0. */
TN_API tn_sampler *tn_weighted_sampler_new_with(const tn_weighted_sampler_args *args);

/* ---- the loader --------------------------------------------------------------------------------------------------------- */

/* Makes a batch of items x[i] and y[i] (NULL where an item has none), which it may keep parts of: *x, and *y, which may stay NULL, are the
 * scope's. With workers it is called by several threads at once. On failure it raises an error and returns its status. */
typedef tn_status (*tn_collate_function)(tn_tensor *const *xs, tn_tensor *const *ys, int64_t count, void *context, tn_tensor **x,
                                         tn_tensor **y);

typedef struct tn_loader tn_loader;
#define TN_LOADER_OPTIONS(X)                                                                                                  \
    X(int64_t, batch_size, 1)                                                                                                 \
    X(bool, shuffle, false)                                                                                                   \
    X(bool, drop_last, false)      /* leave out a last batch that is not full */                                              \
    X(int, workers, 0)             /* threads that make batches ahead; 0: the caller makes each when it asks */               \
    X(int, prefetch, 2)            /* batches that each worker makes ahead */                                                 \
    X(int64_t, seed, -1)           /* of the order and of what get() draws; -1: drawn from the thread's random state */       \
    X(tn_sampler *, sampler, NULL) /* an order of one's own, in place of .shuffle, or batches; taken, on failure too */       \
    X(tn_collate_function, collate, NULL) /* how items become a batch; NULL: stacked along a new first dimension */            \
    X(void *, collate_context, NULL)      /* what it gets */                                                                  \
    X(const tn_device_id *, device, NULL) /* batches are brought there, ahead of the loop where there are workers; NULL: the CPU */
typedef struct tn_loader_args {
    size_t size TN_SIZE_(tn_loader_args);
    TN_LOADER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_dataset *dataset TN_ZERO_;
} tn_loader_args;
/* tn_loader_new(dataset, .batch_size = 256, .shuffle = true, .workers = 2): takes the dataset, on failure too (retain it first to keep it).
 * The order and every number drawn depend on the seed and the count of epochs begun, not on the workers, whose kernels run on one
 * thread each. A loader belongs to one thread at a time. */
TN_API tn_loader *tn_loader_new_with(const tn_loader_args *args);
/* How many batches an epoch has; -1 on error. */
TN_API int64_t tn_loader_length(const tn_loader *loader);
/* How many epochs were begun and have ended, those of the run whose state was set too; -1 on error. */
TN_API int64_t tn_loader_epoch(const tn_loader *loader);
/* Where the loader stands, as a tensor that a file can hold: i64 [4]: seed, epochs that ended, batches that the loop over the present one
 * was given, batch_size. */
TN_API tn_tensor *tn_get_loader_state(const tn_loader *loader);
/* A loader with the same dataset and options goes on from there: its next loop begins with the batch after the last that was given, and
 * has no turn where that was the epoch's last. Not inside a loop: TN_ERR_STATE. On failure nothing has changed. */
TN_API tn_status tn_set_loader_state(tn_loader *loader, const tn_tensor *state) TN_MUST_CHECK;

/* Items of a dataset, stacked along a new first dimension (or as .collate has it). The tensors belong to the loop's turn: tn_retain() to keep one. */
typedef struct tn_batch {
    tn_object base;
    tn_tensor *x, *y;     /* [size, ...]; y is NULL where the dataset has none */
    int64_t index;        /* which batch of the epoch, from 0 */
    int64_t size;         /* how many items */
    const int64_t *items; /* [size] which items of the dataset */
    tn_loader *loader_;   /* the rest is the library's */
    tn_scope scope_;
    uint64_t epoch_;
} tn_batch;

/* One epoch: TN_FOREACH_BATCH(batch, loader) { ... batch->x ... }. Exactly one `for`; each turn has a scope of its own, closed by the next
 * turn and by break, continue, return and goto alike. The loop ends when an error sticks, also a worker's, which becomes this
 * thread's, and hands it to the error handler, as tn_check() does. Leaving early stops the epoch; beginning another inside the loop ends the outer one with TN_ERR_STATE. */
#define TN_FOREACH_BATCH(batch, loader)                                                                                       \
    for (TN_CLEANUP_(tn_batch_done_) tn_batch *batch = tn_batch_first_(loader); batch; batch = tn_batch_next_(batch))
TN_API tn_batch *tn_batch_first_(tn_loader *loader);
TN_API tn_batch *tn_batch_next_(tn_batch *batch);
TN_API void tn_batch_done_(tn_batch **batch);

/* ---- digits ------------------------------------------------------------------------------------------------------------- */

/* MNIST from a folder that has its files, plain or gzip-ed: train-images-idx3-ubyte and train-labels-idx1-ubyte, or t10k-... where train is
 * false. Images u8 [n, 28, 28]; labels u8 [n] go into *labels. TN_ERR_IO names the file that is absent. */
TN_API tn_tensor *tn_load_mnist(const char *folder, bool train, tn_tensor **labels);
/* n drawn digits as MNIST has them: strokes under random shift, turn, scale, slant, width and noise. Images u8 [n, 28, 28]; labels u8
 * [n], uniform on 0 ... 9, go into *labels. From the thread's random state. */
TN_API tn_tensor *tn_draw_digits(int64_t n, tn_tensor **labels);

#ifdef __cplusplus
}
#endif

#endif
