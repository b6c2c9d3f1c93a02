/* Nothing but a comparison: what cublaslt.h and cudnn.h say is what NVIDIA's own headers say, where the compiler finds those. */
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cudnn.h"

#define SAME(name, value) static_assert((int)name == (value), #name);

#if defined(__CUDACC__) && __has_include(<cublasLt.h>)
#include <cublasLt.h>
TN_CUBLASLT_NUMBERS(SAME)
static_assert(CUDA_R_32F == (int)TN_CUDA_R_32F && CUDA_R_64F == (int)TN_CUDA_R_64F && CUDA_R_16F == (int)TN_CUDA_R_16F &&
                  CUDA_R_16BF == (int)TN_CUDA_R_16BF,
              "cudaDataType_t");
static_assert(sizeof(tn_lt_algo) == sizeof(cublasLtMatmulAlgo_t) && sizeof(tn_lt_choice) == sizeof(cublasLtMatmulHeuristicResult_t) &&
                  offsetof(tn_lt_choice, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
                  offsetof(tn_lt_choice, state) == offsetof(cublasLtMatmulHeuristicResult_t, state),
              "cublasLtMatmulHeuristicResult_t");
#endif

#if defined(__CUDACC__) && __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>
TN_CUDNN_NUMBERS(SAME)
#endif

#if defined(__CUDACC__) && __has_include(<cudnn_adv.h>)
#include <cudnn_adv.h>
TN_CUDNN_RNN_NUMBERS(SAME)
#endif
