/* Products by cuBLASLt, which knows columns where we know rows: c' = b' a' is asked for, so that c's bias lies along its first dim as the
 * epilogue wants it, and the sums of a's rows are those of cuBLASLt's b. Which algorithm runs hangs on shapes and alignments alone, and its sums are joined in one order. */
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/cublaslt.h"

#include <cstdio>
#include <mutex>
#include <optional>
#include <unordered_map>

enum { TN_CUBLASLT_NUMBERS(TN_NUMBER) };
static struct { TN_CUBLASLT_FUNCTIONS(TN_FUNCTION) } lt;

static bool there;
static char text[400];
static std::once_flag opened;
static void *handles[TN_CUDA_DEVICES];

/* True when all functions are there, and a handle can be made on the device in use: a library may be newer than the driver. */
static bool opens(const char *file, char *why, size_t size)
{
    void *handle = NULL;
    static const char *const names[] = {TN_CUBLASLT_FUNCTIONS(TN_NAME)};
    if (!tn_cuda_open(file, names, &lt, why, size))
        return false;
    const int error = lt.cublasLtCreate(&handle);
    if (error != CUBLAS_STATUS_SUCCESS)
        return snprintf(why, size, "%s: %s", file, lt.cublasLtGetStatusString(error)), false;
    handles[tn_cuda_device()] = handle;
    return true;
}

static bool is_there()
{
    std::call_once(opened, [] {
        static const char *const files[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
        char why[2][160] = {};
        for (int i = 0; i < 2 && !there; i++)
            there = opens(files[i], why[i], sizeof why[i]);
        const int version = there ? (int)lt.cublasLtGetVersion() : 0;
        if (there)
            snprintf(text, sizeof text, "cuBLASLt %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
        else
            snprintf(text, sizeof text, "no cuBLASLt, products run by kernels of our own: %s and %s", why[0], why[1]);
    });
    return there;
}

const char *tn_cublaslt_text() { return is_there(), text; }

/* ---- plans ------------------------------------------------------------------------------------------------------------------ */

/* A matrix as cuBLASLt knows it: columns of `rows`, ld apart. */
struct matrix {
    int64_t rows, cols, ld, batch_stride, transposed;
};
namespace { /* other files have keys and plans of other kinds */
/* What a plan is made of, in cuBLASLt's order: a is our b. */
struct key {
    int64_t device, type, compute, epilogue, batch;
    matrix a, b, c;
    int64_t align_a, align_b, align_c, align_bias;
};
struct plan {
    void *desc, *a, *b, *c;
    tn_lt_choice choice;
    bool usable;
};
} // namespace
static std::mutex lock;
static std::unordered_map<key, plan, tn_cuda_hash<key>, tn_cuda_same<key>> plans;
/* For split sums; more than this no algorithm gets, on any device. */
static const uint64_t WORKSPACE = 32 << 20;

static void drop(const plan &p)
{
    lt.cublasLtMatmulDescDestroy(p.desc);
    for (void *layout : {p.a, p.b, p.c})
        lt.cublasLtMatrixLayoutDestroy(layout);
}

static void *layout_of(const key &k, const matrix &m, int *error)
{
    void *layout = NULL;
    const int32_t batch = (int32_t)k.batch;
    *error = *error ? *error : lt.cublasLtMatrixLayoutCreate(&layout, (int)k.type, (uint64_t)m.rows, (uint64_t)m.cols, m.ld);
    if (!*error && batch > 1) {
        *error = lt.cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch);
        *error = *error ? *error : lt.cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &m.batch_stride,
                                                                       sizeof m.batch_stride);
    }
    return layout;
}

/* The best algorithm by the library's own estimate. */
static int choose(const key &k, plan *p)
{
    void *preference = NULL;
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* or none: partial sums are never of 16 bits, nor joined as they come */
    const struct { int attribute; int64_t bytes; } alignments[] = {
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, k.align_a}, {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, k.align_b},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, k.align_c}, {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, k.align_c}};
    int found = 0, error = lt.cublasLtMatmulPreferenceCreate(&preference);
    if (error)
        return error;
    error = lt.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE, sizeof WORKSPACE);
    error = error ? error : lt.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes,
                                                                    sizeof schemes);
    for (auto &a : alignments) {
        const uint32_t bytes = (uint32_t)a.bytes;
        error = error ? error : lt.cublasLtMatmulPreferenceSetAttribute(preference, a.attribute, &bytes, sizeof bytes);
    }
    error = error ? error : lt.cublasLtMatmulAlgoGetHeuristic(handles[k.device], p->desc, p->a, p->b, p->c, p->c, preference, 1, &p->choice,
                                                              &found);
    lt.cublasLtMatmulPreferenceDestroy(preference);
    return error ? error : !found ? CUBLAS_STATUS_NOT_SUPPORTED : p->choice.state;
}

static int set_bias(const plan &p, const void *bias)
{
    return lt.cublasLtMatmulDescSetAttribute(p.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
}

/* Unusable where the library has no such product. */
static plan make(const key &k, const void *bias)
{
    plan p = {};
    const int32_t op_a = k.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = k.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const uint32_t epilogue = (uint32_t)k.epilogue;
    int error = lt.cublasLtMatmulDescCreate(&p.desc, (int)k.compute, k.type == TN_CUDA_R_64F ? TN_CUDA_R_64F : TN_CUDA_R_32F);
    error = error ? error : lt.cublasLtMatmulDescSetAttribute(p.desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a);
    error = error ? error : lt.cublasLtMatmulDescSetAttribute(p.desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b);
    error = error ? error : lt.cublasLtMatmulDescSetAttribute(p.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    error = error || !bias ? error : set_bias(p, bias);
    p.a = layout_of(k, k.a, &error);
    p.b = layout_of(k, k.b, &error);
    p.c = layout_of(k, k.c, &error);
    p.usable = (error ? error : choose(k, &p)) == CUBLAS_STATUS_SUCCESS;
    return p;
}

static plan &plan_of(const key &k, const void *bias)
{
    auto found = plans.find(k);
    if (found != plans.end())
        return found->second;
    if (plans.size() >= TN_CUDA_PLANS) {
        for (auto &each : plans)
            drop(each.second);
        plans.clear();
    }
    return plans.emplace(k, make(k, bias)).first->second;
}

/* ---- products --------------------------------------------------------------------------------------------------------------- */

/* Row-major [rows, cols] by strides as cuBLASLt's [cols, rows]: false where no leading dimension says it. */
static bool seen_as(int64_t rows, int64_t cols, int64_t row, int64_t col, int64_t batch_stride, matrix *m)
{
    if (col == 1 || cols == 1) {
        *m = {cols, rows, rows == 1 ? cols : row, batch_stride, 0};
        if (m->ld >= cols)
            return true;
    }
    if (row == 1 || rows == 1) {
        *m = {rows, cols, cols == 1 ? rows : col, batch_stride, 1};
        return m->ld >= rows;
    }
    return false;
}

static bool type_of(tn_dtype dtype, const tn_gemm *g, key *k)
{
    switch (dtype) {
    case TN_F32:
        k->type = TN_CUDA_R_32F;
        k->compute = g->rounded ? CUBLAS_COMPUTE_32F_FAST_16BF : tn_cuda_tf32() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
        return true;
    case TN_F64:
        k->type = TN_CUDA_R_64F;
        k->compute = CUBLAS_COMPUTE_64F;
        return true;
    case TN_F16:
    case TN_BF16:
        k->type = dtype == TN_F16 ? TN_CUDA_R_16F : TN_CUDA_R_16BF;
        k->compute = CUBLAS_COMPUTE_32F;
        return true;
    default:
        return false;
    }
}

/* Of all matrices of the batch. */
static int alignment(const void *data, tn_dtype dtype, int64_t batch, int64_t stride)
{
    const int first = tn_cuda_alignment(data, 256);
    return batch == 1 ? first : tn_cuda_alignment((const void *)(uintptr_t)(stride * (int64_t)tn_cuda_size(dtype)), first);
}

bool tn_cublaslt_gemm(tn_dtype dtype, const tn_gemm *g, tn_status *status)
{
    key k = {};
    if (!is_there() || !type_of(dtype, g, &k) || g->m == 0 || g->n == 0 || g->k == 0 || g->batch == 0 || g->batch > INT32_MAX ||
        !seen_as(g->k, g->n, g->b_row, g->b_col, g->b_batch, &k.a) || !seen_as(g->m, g->k, g->a_row, g->a_col, g->a_batch, &k.b) ||
        !seen_as(g->m, g->n, g->c_row, 1, g->c_batch, &k.c) || k.c.transposed)
        return false;
    const bool after = g->bias || g->activation, sums = g->a_sums != NULL;
    if (sums && (after || g->alpha != 1 || g->beta != 0 || g->batch != 1)) /* of which no epilogue says what it gives */
        return false;
    const void *vector = sums ? g->a_sums : g->bias; /* the epilogue's: written, or read */
    k.device = tn_cuda_device();
    k.batch = g->batch;
    k.epilogue = sums ? CUBLASLT_EPILOGUE_BGRADB
                 : g->activation == TN_UNARY_RELU ? g->bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU
                 : g->bias                      ? CUBLASLT_EPILOGUE_BIAS
                                                : CUBLASLT_EPILOGUE_DEFAULT;
    k.align_a = alignment(g->b, dtype, k.batch, g->b_batch);
    k.align_b = alignment(g->a, dtype, k.batch, g->a_batch);
    k.align_c = alignment(g->c, dtype, k.batch, g->c_batch);
    k.align_bias = vector ? tn_cuda_alignment(vector, 256) : 0;

    std::lock_guard<std::mutex> hold(lock);
    int error = handles[k.device] ? CUBLAS_STATUS_SUCCESS : lt.cublasLtCreate(&handles[k.device]);
    if (error)
        return *status = tn_cuda_library_failed("gemm", lt.cublasLtGetStatusString(error)), true;
    plan &p = plan_of(k, vector);
    if (!p.usable)
        return false;
    std::optional<tn_cuda_scratch> scratch;
    if (p.choice.workspace && !scratch.emplace(p.choice.workspace).data)
        return *status = TN_ERR_MEMORY, true;
    const float alpha32 = (float)g->alpha, beta32 = (float)g->beta;
    const bool wide = dtype == TN_F64;
    error = vector ? set_bias(p, vector) : CUBLAS_STATUS_SUCCESS; /* the plan's alignment is this one's */
    error = error ? error : lt.cublasLtMatmul(handles[k.device], p.desc, wide ? (const void *)&g->alpha : &alpha32, g->b, p.a, g->a, p.b,
                                              wide ? (const void *)&g->beta : &beta32, g->c, p.c, g->c, p.c, &p.choice.algo,
                                              scratch ? scratch->data : NULL, p.choice.workspace, tn_cuda_stream());
    if (error == CUBLAS_STATUS_NOT_SUPPORTED)
        return p.usable = false;
    *status = error ? tn_cuda_library_failed("gemm", lt.cublasLtGetStatusString(error)) : tn_cuda_status("gemm");
    return true;
}
