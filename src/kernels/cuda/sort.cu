/* Sorting rows, and the first of them. */
#include "kernels/cuda/sort.h"

template <class S> TN_KERNEL start_kernel(int64_t count, int64_t n, const S *x, S *values, int64_t *indices)
{
    const int64_t e = tn_this_thread();
    if (e < count) {
        values[e] = x[e];
        indices[e] = e % n;
    }
}
template <class S> TN_KERNEL take_kernel(int64_t count, int64_t n, int64_t k, const S *values, const int64_t *indices, S *to, int64_t *to_indices)
{
    const int64_t e = tn_this_thread(), from = e / k * n + e % k;
    if (e < count) {
        to[e] = values[from];
        to_indices[e] = indices[from];
    }
}

template <class S> static tn_status sort_rows(const tn_sort_rows *r)
{
    tn_cuda_sorted<S> sorted(r->rows, r->n);
    if (!sorted.good())
        return TN_ERR_MEMORY;
    TN_LAUNCH_EACH(start_kernel<S>, r->rows * r->n, r->rows * r->n, r->n, (const S *)r->x, sorted.values, sorted.indices);
    sorted.sort(r->descending);
    TN_LAUNCH_EACH(take_kernel<S>, r->rows * r->k, r->rows * r->k, r->n, r->k, (const S *)sorted.values, (const int64_t *)sorted.indices, (S *)r->values, r->indices);
    return TN_OK;
}

tn_status tn_cuda_sort(tn_dtype dtype, const tn_sort_rows *r)
{
    tn_status status = TN_OK;
    if (r->rows > 0 && r->n > 0 && r->k > 0)
        TN_FOR_DTYPE(dtype, status = sort_rows<S>(r))
    return status == TN_OK ? tn_cuda_status("sort") : status;
}
