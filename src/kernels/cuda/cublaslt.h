/* What is used of cuBLASLt 12 and 13. Source: NVIDIA's documentation of cuBLAS 13.0, "Using the cublasLt API". */
#ifndef TN_CUDA_CUBLASLT_H
#define TN_CUDA_CUBLASLT_H

#define TN_CUBLASLT_NUMBERS(X)                                                                                                \
    X(CUBLAS_STATUS_SUCCESS, 0)                                                                                               \
    X(CUBLAS_STATUS_NOT_INITIALIZED, 1)                                                                                       \
    X(CUBLAS_STATUS_INVALID_VALUE, 7)                                                                                         \
    X(CUBLAS_STATUS_NOT_SUPPORTED, 15)                                                                                        \
    X(CUBLAS_OP_N, 0)                                                                                                         \
    X(CUBLAS_OP_T, 1)                                                                                                         \
    X(CUBLAS_COMPUTE_32F, 68)                                                                                                 \
    X(CUBLAS_COMPUTE_64F, 70)                                                                                                 \
    X(CUBLAS_COMPUTE_32F_FAST_16BF, 75)                                                                                       \
    X(CUBLAS_COMPUTE_32F_FAST_TF32, 77)                                                                                       \
    X(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 5)                                                                                  \
    X(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 6)                                                                         \
    X(CUBLASLT_MATMUL_DESC_TRANSA, 3)                                                                                         \
    X(CUBLASLT_MATMUL_DESC_TRANSB, 4)                                                                                         \
    X(CUBLASLT_MATMUL_DESC_EPILOGUE, 7)                                                                                       \
    X(CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8)                                                                                   \
    X(CUBLASLT_EPILOGUE_DEFAULT, 1)                                                                                           \
    X(CUBLASLT_EPILOGUE_RELU, 2)                                                                                              \
    X(CUBLASLT_EPILOGUE_BIAS, 4)                                                                                              \
    X(CUBLASLT_EPILOGUE_RELU_BIAS, 6)                                                                                         \
    X(CUBLASLT_EPILOGUE_BGRADB, 512)                                                                                          \
    X(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 2)                                                                              \
    X(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1)                                                                            \
    X(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 3)                                                                          \
    X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5)                                                                          \
    X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 6)                                                                          \
    X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 7)                                                                          \
    X(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8)
/* cudaDataType_t, whose own names the runtime's headers may have. */
enum { TN_CUDA_R_32F = 0, TN_CUDA_R_64F = 1, TN_CUDA_R_16F = 2, TN_CUDA_R_16BF = 14 };

struct tn_lt_algo { /* cublasLtMatmulAlgo_t */
    uint64_t data[8];
};
struct tn_lt_choice { /* cublasLtMatmulHeuristicResult_t */
    tn_lt_algo algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

/* X(what it returns, name, (parameters)); enumerations are int, descriptors and handles void *. */
#define TN_CUBLASLT_FUNCTIONS(X)                                                                                              \
    X(size_t, cublasLtGetVersion, (void))                                                                                     \
    X(const char *, cublasLtGetStatusString, (int status))                                                                    \
    X(int, cublasLtCreate, (void **handle))                                                                                   \
    X(int, cublasLtMatmulDescCreate, (void **desc, int compute_type, int scale_type))                                         \
    X(int, cublasLtMatmulDescDestroy, (void *desc))                                                                           \
    X(int, cublasLtMatmulDescSetAttribute, (void *desc, int attribute, const void *value, size_t bytes))                      \
    X(int, cublasLtMatrixLayoutCreate, (void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld))                   \
    X(int, cublasLtMatrixLayoutDestroy, (void *layout))                                                                       \
    X(int, cublasLtMatrixLayoutSetAttribute, (void *layout, int attribute, const void *value, size_t bytes))                  \
    X(int, cublasLtMatmulPreferenceCreate, (void **preference))                                                               \
    X(int, cublasLtMatmulPreferenceDestroy, (void *preference))                                                               \
    X(int, cublasLtMatmulPreferenceSetAttribute, (void *preference, int attribute, const void *value, size_t bytes))          \
    X(int, cublasLtMatmulAlgoGetHeuristic, (void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference,   \
                                            int asked, tn_lt_choice *choices, int *found))                                    \
    X(int, cublasLtMatmul, (void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b,        \
                            void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,         \
                            const tn_lt_algo *algo, void *workspace, size_t bytes, cudaStream_t stream))

#endif
