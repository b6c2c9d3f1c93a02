/* The one place that says which slots oneDNN takes: products of bf16 on processors that multiply pairs of it (AVX-512 BF16, AMX), where our
 * own kernel goes through f32: twice as fast there (Zen 4, [1024, 1024] by [1024, 1024]: 1.9 of the fp32 peak).
 *
 * Products of f32 are not among them: on the networks' shapes ours are level or faster (Zen 3 and Zen 4, one and two threads), and give
 * the same bits on any number of threads, which oneDNN does not promise. Nor are convolutions, for the same reason. */
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <string.h>

#include "core/core.h"
#include "kernels/dnnl/dnnl.h"

static tn_status (*own_gemm)(tn_dtype dtype, const tn_gemm *gemm);
static tn_status (*own_reduce)(tn_reduce_op op, tn_dtype dtype, const tn_reduction *reduction);
static dnnl_engine_t engine;

/* What a primitive was made for; sizes and strides as in tn_gemm. */
typedef struct key {
    int64_t batch, m, n, k, a_row, a_col, b_row, b_col, c_row, a_batch, b_batch, c_batch;
    int64_t bias, relu, threads; /* oneDNN cuts the work when a primitive is made */
} key;
typedef struct made {
    key key;
    dnnl_primitive_t primitive; /* NULL: oneDNN has none for it */
    dnnl_memory_desc_t a, b, c, bias;
} made;

enum { MOST = 256 }; /* primitives kept; further shapes take our own kernel */
static made cache[MOST];
static int cached; /* entries below it are never written again */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool describe(dnnl_memory_desc_t *desc, int64_t batch, int64_t rows, int64_t cols, int64_t block, int64_t row, int64_t col)
{
    const bool shared = block == 0; /* one for the whole batch */
    const dnnl_dims_t sizes = {shared ? 1 : batch, rows, cols}, strides = {shared ? rows * cols : block, row, col};
    return dnnl_memory_desc_init_by_strides(desc, 3, sizes, dnnl_bf16, strides) == dnnl_success;
}

static dnnl_primitive_t make(made *e)
{
    const key *k = &e->key;
    if (!describe(&e->a, k->batch, k->m, k->k, k->batch > 1 ? k->a_batch : k->m * k->k, k->a_row, k->a_col) ||
        !describe(&e->b, k->batch, k->k, k->n, k->batch > 1 ? k->b_batch : k->k * k->n, k->b_row, k->b_col) ||
        !describe(&e->c, k->batch, k->m, k->n, k->batch > 1 ? k->c_batch : k->m * k->n, k->c_row, 1) ||
        !describe(&e->bias, 1, 1, k->n, k->n, k->n, 1))
        return NULL;
    dnnl_post_ops_t after = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t chosen = NULL;
    dnnl_primitive_t primitive = NULL;
    bool good = dnnl_primitive_attr_create(&attr) == dnnl_success && dnnl_post_ops_create(&after) == dnnl_success;
    if (good && k->relu)
        good = dnnl_post_ops_append_eltwise(after, 1, dnnl_eltwise_relu, 0, 0) == dnnl_success &&
               dnnl_primitive_attr_set_post_ops(attr, after) == dnnl_success;
    good = good && dnnl_matmul_desc_init(&desc, &e->a, &e->b, k->bias ? &e->bias : NULL, &e->c) == dnnl_success &&
           dnnl_primitive_desc_create(&chosen, &desc, attr, engine, NULL) == dnnl_success;
    if (good && dnnl_primitive_create(&primitive, chosen) != dnnl_success)
        primitive = NULL;
    dnnl_primitive_desc_destroy(chosen);
    dnnl_post_ops_destroy(after);
    dnnl_primitive_attr_destroy(attr);
    return primitive;
}

/* The primitive for a shape, made at the first call; NULL where there is none. */
static const made *primitive_for(const key *wanted)
{
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < cached && memcmp(&cache[i].key, wanted, sizeof *wanted) != 0)
        i++;
    if (i == cached && i < MOST) {
        cache[i].key = *wanted;
        cache[i].primitive = make(&cache[i]);
        cached++;
    }
    pthread_mutex_unlock(&lock);
    return i < MOST && cache[i].primitive ? &cache[i] : NULL;
}

static bool run(const made *e, const tn_gemm *g)
{
    const void *data[] = {g->a, g->b, g->c, g->bias};
    const dnnl_memory_desc_t *descs[] = {&e->a, &e->b, &e->c, &e->bias};
    static const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
    dnnl_exec_arg_t args[4] = {{0, NULL}};
    const int count = g->bias ? 4 : 3;
    dnnl_stream_t stream = NULL;
    bool good = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success;
    for (int i = 0; i < count && good; i++) {
        args[i].arg = names[i];
        good = dnnl_memory_create(&args[i].memory, descs[i], engine, (void *)(uintptr_t)data[i]) == dnnl_success;
    }
    good = good && dnnl_primitive_execute(e->primitive, stream, count, args) == dnnl_success && dnnl_stream_wait(stream) == dnnl_success;
    for (int i = 0; i < count; i++)
        dnnl_memory_destroy(args[i].memory);
    dnnl_stream_destroy(stream);
    return good;
}

static tn_status gemm(tn_dtype dtype, const tn_gemm *g)
{
    if (dtype != TN_BF16 || g->alpha != 1 || g->beta != 0 || g->batch * g->m * g->n * g->k < 32768)
        return own_gemm(dtype, g);
    if (g->beside)
        return tn_gemm_apart(gemm, dtype, g);
    const key wanted = {g->batch, g->m, g->n, g->k, g->a_row, g->a_col, g->b_row, g->b_col, g->c_row, g->a_batch, g->b_batch, g->c_batch,
                        g->bias != NULL, g->activation == TN_UNARY_RELU, tn_get_num_threads()};
    const made *e = primitive_for(&wanted);
    if (!e || !run(e, g))
        return own_gemm(dtype, g);
    const tn_reduction sums = tn_gemm_sums(g, sizeof(uint16_t));
    return g->a_sums ? own_reduce(TN_REDUCE_SUM, dtype, &sums) : TN_OK;
}

void tn_dnnl_override(tn_kernels *table)
{
    __builtin_cpu_init();
    if (strcmp(table->name, "avx512") != 0 || !__builtin_cpu_supports("avx512bf16") || dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success)
        return;
    own_gemm = table->gemm;
    own_reduce = table->reduce;
    table->gemm = gemm;
}
