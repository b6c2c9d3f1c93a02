/* NVIDIA's libraries, opened by name at their first use: one that is missing disables its own feature, for which our own kernels stand in.
 * To build, their headers are not needed: cublaslt.h and cudnn.h list what is used of them, and numbers.cu compares where they are. */
#ifndef TN_CUDA_LIBRARIES_H
#define TN_CUDA_LIBRARIES_H

#include "kernels/cuda/cuda.h"

#include <mutex>

/* An enumerator, a table's entry, and its name, of a list's. */
#define TN_NUMBER(name, value) name = value,
#define TN_FUNCTION(returns, name, parameters) returns(*name) parameters;
#define TN_NAME(returns, name, parameters) #name,

/* Opens the library of this file name: from TENON_CUDA_PATH's folders, from where the system looks, from the toolkit's own folder; and puts its
 * functions of these names into `functions`, pointers one after the other. False: it is not there, or has one not, and why says so. */
bool tn_cuda_open_functions(const char *file, const char *const *names, size_t count, void *functions, char *why, size_t size);
/* The same of a table of TN_FUNCTIONs. */
template <class Table, size_t COUNT> bool tn_cuda_open(const char *file, const char *const (&names)[COUNT], Table *table, char *why, size_t size)
{
    static_assert(sizeof *table == COUNT * sizeof(void *), "a name for each function");
    return tn_cuda_open_functions(file, names, COUNT, table, why, size);
}

/* What each is, or why it is missing; opened now if it was not. */
const char *tn_cublaslt_text();
const char *tn_cudnn_text();
const char *tn_cudnn_rnn_text(); /* empty where all is said */

/* cublaslt.cu: the product, if cuBLASLt is there and has it; false: it is not done, and no error. */
bool tn_cublaslt_gemm(tn_dtype dtype, const tn_gemm *g, tn_status *status);

/* cudnn.cu: one of a convolution's three products of f32, likewise. */
enum tn_cudnn_kind { TN_CUDNN_FORWARD, TN_CUDNN_OF_INPUT, TN_CUDNN_OF_WEIGHT };
struct tn_cudnn_data { /* as tn_conv has them: two are read and one is written */
    const void *x, *weight, *y;
    const void *bias; /* forward: added to y, or NULL */
};
bool tn_cudnn_conv(tn_cudnn_kind kind, const tn_conv *c, const tn_cudnn_data &data, tn_status *status);
/* What else runs by cuDNN needs: whether it is there, what an error means, and, while the lock is held, the handle of the device in use, on its
 * stream, into *handle; what cuDNN says of it is returned. */
bool tn_cudnn_is_there();
const char *tn_cudnn_error(int error);
extern std::mutex tn_cudnn_lock;
int tn_cudnn_handle(void **handle);

/* cudnn_rnn.cu: whether forward, which is asked to keep for backward, will run there: *r->way is then not 0, and *elements what it keeps at
 * least. Forward runs if *r->way says so, or, where nothing is kept, if it can; false: it did not, and *r->way is 0. Backward runs by the same
 * way as forward did, which is not 0. */
void tn_cudnn_rnn_saved(tn_dtype dtype, const tn_rnn *r, int64_t *elements);
bool tn_cudnn_rnn_forward(tn_dtype dtype, const tn_rnn *r, tn_status *status);
tn_status tn_cudnn_rnn_backward(tn_dtype dtype, const tn_rnn_grad *d);

/* The alignment of p in bytes, at most `most`. */
static inline int tn_cuda_alignment(const void *p, int most)
{
    const uintptr_t lowest = (uintptr_t)p & -(uintptr_t)p;
    return lowest == 0 || lowest > (uintptr_t)most ? most : (int)lowest;
}

/* Plans by a key without padding, whose bytes are compared. All are dropped when there are too many: shapes that keep changing. */
template <class Key> struct tn_cuda_hash {
    size_t operator()(const Key &key) const
    {
        uint64_t hash = 14695981039346656037u; /* FNV-1a, of words */
        const int64_t *words = (const int64_t *)&key;
        for (size_t i = 0; i < sizeof key / sizeof *words; i++)
            hash = (hash ^ (uint64_t)words[i]) * 1099511628211u, hash ^= hash >> 29;
        return (size_t)hash;
    }
};
template <class Key> struct tn_cuda_same {
    bool operator()(const Key &a, const Key &b) const { return memcmp(&a, &b, sizeof a) == 0; }
};
enum { TN_CUDA_PLANS = 1024, TN_CUDA_DEVICES = 16 };

#endif
