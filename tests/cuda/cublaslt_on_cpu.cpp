/* A stand-in for cuBLASLt: what is in kernels/cuda/cublaslt.h, and what tests ask. */
#include "library_on_cpu.h"
#include "kernels/cuda/cublaslt.h"

#include <map>
#include <vector>

enum { TN_CUBLASLT_NUMBERS(TN_NUMBER) };
enum { COMPUTE_TYPE = -1, SCALE_TYPE = -2, TYPE = -3, ROWS = -4, COLS = -5, LD = -6 }; /* what a descriptor is made with, beside its attributes */
struct object { std::map<int, int64_t> values; };
#define CHECK(condition)                                                                                                      \
    if (!(condition))                                                                                                         \
    die("cuBLASLt", #condition)

/* Rows of a product (our columns) that it has no algorithm for; that one promises and has not; and that fail. */
enum { UNKNOWN = 1013, UNSUPPORTED = 1019, FAILING = 1017 };
static int made, asked, ran, summed; /* descriptors that live; choices of an algorithm; products; those that summed b's columns */
EXPORTED int cublaslt_on_cpu_made(void) { return made; }
EXPORTED int cublaslt_on_cpu_asked(void) { return asked; }
EXPORTED int cublaslt_on_cpu_ran(void) { return ran; }
EXPORTED int cublaslt_on_cpu_summed(void) { return summed; }

static int create(void **object_of, const std::map<int, int64_t> &values)
{
    *object_of = new object{values};
    return made++, CUBLAS_STATUS_SUCCESS;
}
static int destroy(void *o) { return delete (object *)o, made--, CUBLAS_STATUS_SUCCESS; }
static int set(void *o, int attribute, const void *value, size_t bytes)
{
    int64_t wide = 0;
    CHECK(bytes == 4 || bytes == 8);
    memcpy(&wide, value, bytes);
    ((object *)o)->values[attribute] = wide;
    return CUBLAS_STATUS_SUCCESS;
}
static int64_t get(const object &o, int attribute, int64_t otherwise)
{
    const auto found = o.values.find(attribute);
    return found == o.values.end() ? otherwise : found->second;
}
static int64_t get(void *o, int attribute, int64_t otherwise) { return get(*(const object *)o, attribute, otherwise); }
static void *bias_of(const object &desc) { return (void *)(uintptr_t)get(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, 0); }

EXPORTED size_t cublasLtGetVersion(void) { return 130002; }
EXPORTED const char *cublasLtGetStatusString(int status) { return status == CUBLAS_STATUS_NOT_INITIALIZED ? "not initialised" : "emulated error"; }
EXPORTED int cublasLtCreate(void **handle)
{
    if (getenv("TENON_CUBLASLT_FAILS")) /* as without a driver that is new enough */
        return CUBLAS_STATUS_NOT_INITIALIZED;
    return create(handle, {}), made--, CUBLAS_STATUS_SUCCESS;
}
EXPORTED int cublasLtMatmulDescCreate(void **desc, int compute, int scale) { return create(desc, {{COMPUTE_TYPE, compute}, {SCALE_TYPE, scale}}); }
EXPORTED int cublasLtMatmulDescDestroy(void *desc) { return destroy(desc); }
EXPORTED int cublasLtMatmulDescSetAttribute(void *desc, int attribute, const void *value, size_t bytes)
{
    CHECK(bytes == (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? 8 : 4));
    return set(desc, attribute, value, bytes);
}
EXPORTED int cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    CHECK(rows > 0 && cols > 0 && ld >= (int64_t)rows);
    return create(layout, {{TYPE, type}, {ROWS, (int64_t)rows}, {COLS, (int64_t)cols}, {LD, ld}});
}
EXPORTED int cublasLtMatrixLayoutDestroy(void *layout) { return destroy(layout); }
EXPORTED int cublasLtMatrixLayoutSetAttribute(void *layout, int attribute, const void *value, size_t bytes)
{
    CHECK(bytes == (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? 4 : 8));
    return set(layout, attribute, value, bytes);
}
EXPORTED int cublasLtMatmulPreferenceCreate(void **preference) { return create(preference, {}); }
EXPORTED int cublasLtMatmulPreferenceDestroy(void *preference) { return destroy(preference); }
EXPORTED int cublasLtMatmulPreferenceSetAttribute(void *preference, int attribute, const void *value, size_t bytes)
{
    CHECK(bytes == (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4));
    return set(preference, attribute, value, bytes);
}

/* An algorithm is the alignments that were promised to it, and a mark. Every third wants memory. */
EXPORTED int cublasLtMatmulAlgoGetHeuristic(void *, void *desc, void *a, void *b, void *c, void *d, void *preference, int wanted,
                                            tn_lt_choice *choice, int *found)
{
    const int64_t batch = get(a, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 1);
    const bool ta = get(desc, CUBLASLT_MATMUL_DESC_TRANSA, 0) == CUBLAS_OP_T, tb = get(desc, CUBLASLT_MATMUL_DESC_TRANSB, 0) == CUBLAS_OP_T;
    const int type = (int)get(d, TYPE, -1), compute = (int)get(desc, COMPUTE_TYPE, -1), epilogue = (int)get(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, 1);
    CHECK(wanted == 1 && c == d);
    CHECK(get(a, ta ? COLS : ROWS, 0) == get(d, ROWS, 0) && get(b, tb ? ROWS : COLS, 0) == get(d, COLS, 0));
    CHECK(get(a, ta ? ROWS : COLS, 0) == get(b, tb ? COLS : ROWS, 0));
    CHECK(get(a, TYPE, -1) == type && get(b, TYPE, -1) == type);
    CHECK(get(b, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 1) == batch && get(d, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 1) == batch);
    CHECK((type == TN_CUDA_R_64F) == (compute == CUBLAS_COMPUTE_64F));
    CHECK(get(desc, SCALE_TYPE, -1) == (type == TN_CUDA_R_64F ? TN_CUDA_R_64F : TN_CUDA_R_32F));
    CHECK(type == TN_CUDA_R_32F || (compute != CUBLAS_COMPUTE_32F_FAST_TF32 && compute != CUBLAS_COMPUTE_32F_FAST_16BF));
    CHECK(!(epilogue & (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADB)) || bias_of(*(object *)desc));
    CHECK(!(epilogue & CUBLASLT_EPILOGUE_BGRADB) || batch == 1);
    CHECK(get(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 7) == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    CHECK(get(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 0) > 0);
    memset(choice, 0, sizeof *choice);
    *found = get(d, ROWS, 0) != UNKNOWN && !(type == TN_CUDA_R_64F && epilogue == CUBLASLT_EPILOGUE_BGRADB);
    for (int i = 0; i < 4; i++)
        choice->algo.data[i] = (uint64_t)get(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i, 256);
    choice->algo.data[4] = 4711;
    choice->algo.data[5] = (uint64_t)tn_cuda_alignment(bias_of(*(object *)desc), 256);
    choice->workspace = asked % 3 == 0 ? 1000 : 0;
    return asked++, CUBLAS_STATUS_SUCCESS;
}

template <class S, class A> struct product {
    object desc, a, b, d; /* as they were when it was asked for */
    const S *pa, *pb;
    S *pd;
    A alpha, beta;
    void run() const
    {
        const int64_t m = get(d, ROWS, 0), n = get(d, COLS, 0), lda = get(a, LD, 0), ldb = get(b, LD, 0), ldd = get(d, LD, 0);
        const bool ta = get(desc, CUBLASLT_MATMUL_DESC_TRANSA, 0) == CUBLAS_OP_T, tb = get(desc, CUBLASLT_MATMUL_DESC_TRANSB, 0) == CUBLAS_OP_T;
        const int64_t k = get(a, ta ? ROWS : COLS, 0), batch = get(d, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 1);
        const int compute = (int)get(desc, COMPUTE_TYPE, 0), epilogue = (int)get(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, 1);
        const int bits = compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? 10 : compute == CUBLAS_COMPUTE_32F_FAST_16BF ? 7 : 0;
        const S *bias = (const S *)bias_of(desc);
        for (int64_t e = 0; e < batch; e++) {
            const S *x = pa + e * get(a, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 0);
            const S *y = pb + e * get(b, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 0);
            S *z = pd + e * get(d, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 0);
            for (int64_t j = 0; j < n; j++)
                for (int64_t i = 0; i < m; i++) {
                    A sum = 0;
                    for (int64_t t = 0; t < k; t++) {
                        const A u = tn_load(x[ta ? t + i * lda : i + t * lda]), v = tn_load(y[tb ? j + t * ldb : t + j * ldb]);
                        sum += bits ? rounded((float)u, bits) * rounded((float)v, bits) : u * v;
                    }
                    sum = alpha * sum + (beta != 0 ? beta * tn_load(z[i + j * ldd]) : 0);
                    sum += epilogue & CUBLASLT_EPILOGUE_BIAS ? tn_load(bias[i]) : 0;
                    z[i + j * ldd] = tn_store<S>(epilogue & CUBLASLT_EPILOGUE_RELU && sum < 0 ? 0 : sum);
                }
            for (int64_t j = 0; j < n && epilogue & CUBLASLT_EPILOGUE_BGRADB; j++) {
                A sum = 0;
                for (int64_t t = 0; t < k; t++)
                    sum += tn_load(y[tb ? j + t * ldb : t + j * ldb]);
                ((S *)bias_of(desc))[j] = tn_store<S>(sum);
            }
        }
    }
};

EXPORTED int cublasLtMatmul(void *, void *desc, const void *alpha, const void *a, void *la, const void *b, void *lb, const void *beta, const void *c,
                            void *lc, void *d, void *ld, const tn_lt_algo *algo, void *workspace, size_t bytes, cudaStream_t stream)
{
    const void *pointers[] = {a, b, c, d};
    CHECK(algo->data[4] == 4711 && c == d && lc == ld);
    CHECK(bytes == 0 || workspace);
    for (int i = 0; i < 4; i++)
        CHECK((uintptr_t)pointers[i] % algo->data[i] == 0);
    CHECK((uintptr_t)bias_of(*(object *)desc) % algo->data[5] == 0);
    if (get(ld, ROWS, 0) == UNSUPPORTED || get(ld, ROWS, 0) == FAILING)
        return get(ld, ROWS, 0) == FAILING ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_NOT_SUPPORTED;
    ran++;
    summed += get(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, 1) == CUBLASLT_EPILOGUE_BGRADB;
    switch (get(ld, TYPE, -1)) {
#define OF_TYPE(name, S, A)                                                                                                   \
    case name:                                                                                                                \
        on_device(stream, [p = product<S, A>{*(object *)desc, *(object *)la, *(object *)lb, *(object *)ld, (const S *)a, (const S *)b, (S *)d, \
                                             *(A *)alpha, *(A *)beta}] { p.run(); });                                         \
        break;
        OF_TYPE(TN_CUDA_R_64F, double, double)
        OF_TYPE(TN_CUDA_R_32F, float, float)
        OF_TYPE(TN_CUDA_R_16F, tn_f16, float)
        OF_TYPE(TN_CUDA_R_16BF, tn_bf16, float)
    default:
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (workspace) /* which is ours to write on */
        on_device(stream, [=] { memset(workspace, 7, bytes); });
    return CUBLAS_STATUS_SUCCESS;
}
