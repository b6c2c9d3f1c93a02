/* Products of strided matrices of any numbers: of floats by cuBLASLt, else by our own kernel. */
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/libraries.h"

template <class S> struct matrices {
    typedef typename std::conditional<std::is_integral<S>::value, typename tn_wrapping<typename tn_work<S>::T>::U, typename tn_work<S>::T>::type A;
    tn_gemm g;
    bool rows_together, columns_together;
    A alpha, beta;
    __device__ A left(int64_t batch, int64_t i, int64_t k) const
    {
        return (A)tn_load(((const S *)g.a)[batch * g.a_batch + i * g.a_row + k * g.a_col]);
    }
    __device__ A right(int64_t batch, int64_t k, int64_t j) const
    {
        return (A)tn_load(((const S *)g.b)[batch * g.b_batch + k * g.b_row + j * g.b_col]);
    }
    __device__ void put(int64_t batch, int64_t i, int64_t j, A sum) const
    {
        S *out = (S *)g.c + batch * g.c_batch + i * g.c_row + j;
        A v = alpha * sum;
        if (beta != 0)
            v += beta * (A)tn_load(*out);
        if (g.bias)
            v += (A)tn_load(((const S *)g.bias)[j]);
        if constexpr (!std::is_integral<S>::value)
            v = g.activation == TN_UNARY_RELU && v < 0 ? 0 : v;
        *out = tn_store<S>(v);
    }
};

tn_status tn_cuda_gemm(tn_dtype dtype, const tn_gemm *g)
{
    tn_status status = TN_OK;
    if (dtype == TN_BOOL)
        return tn_cuda_fail(TN_ERR_DTYPE, "gemm: no product of bool"), TN_ERR_DTYPE;
    if (g->beside)
        return tn_gemm_apart(tn_cuda_gemm, dtype, g);
    if (tn_cublaslt_gemm(dtype, g, &status))
        return status;
    if (g->a_sums) {
        const tn_reduction sums = tn_gemm_sums(g, tn_cuda_size(dtype));
        tn_gemm alone = *g;
        alone.a_sums = NULL;
        status = tn_cuda_gemm(dtype, &alone);
        return status == TN_OK ? tn_cuda_reduce(TN_REDUCE_SUM, dtype, &sums) : status;
    }
    TN_FOR_DTYPE(dtype, {
        typedef typename matrices<S>::A A;
        const matrices<S> o = {*g, g->a_col == 1, g->b_col == 1, std::is_integral<S>::value ? (A)(int64_t)g->alpha : (A)g->alpha,
                               std::is_integral<S>::value ? (A)(int64_t)g->beta : (A)g->beta};
        status = tn_product_run("gemm", g->batch, g->m, g->n, g->k, o);
    })
    return status;
}
