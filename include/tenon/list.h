/* Tenon: lists of tensors: what tn_parameters() gives and an optimiser takes. */
#ifndef TENON_LIST_H
#define TENON_LIST_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A counted object that holds one reference to each of its tensors, in order. */
typedef struct tn_list tn_list;

TN_API tn_list *tn_list_new(void);
/* A list of the given tensors, each shared (the caller's references stay the caller's). */
TN_API tn_list *tn_list_from(tn_tensor *const *tensors, int64_t count);
/* Shares one more tensor. A NULL tensor is TN_ERR_ARGUMENT. */
TN_API tn_status tn_list_append(tn_list *list, tn_tensor *tensor) TN_MUST_CHECK;
/* How many tensors it holds; 0 for NULL. */
TN_API int64_t tn_list_count(const tn_list *list);
/* The i-th tensor, still the list's; negative i counts from the end. Out of range: NULL and TN_ERR_INDEX. */
TN_API tn_tensor *tn_list_at(const tn_list *list, int64_t i);

#ifdef __cplusplus
}
#endif

/* A list, of the current scope, of one or more tensors: tn_sgd_new(TN_LIST(w, b), 0.1). */
#define TN_LIST(...)                                                                                                          \
    __extension__({                                                                                                           \
        tn_tensor *tn_tensors_[] = {__VA_ARGS__};                                                                             \
        tn_list_from(tn_tensors_, (int64_t)(sizeof tn_tensors_ / sizeof *tn_tensors_));                                       \
    })

#endif
