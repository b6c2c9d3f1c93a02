#include "kernels/peaks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/parallel.h"
#include "core/trace.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* ---- so many rounds on each thread ----------------------------------------------------------------------------------------- */

/* A body runs so many rounds, over its thread's own floats where it takes any, and returns something that depends on its work. */
typedef double (*body)(int64_t rounds, const float *data, size_t count);
enum { MOST_THREADS = 256 };
typedef struct job {
    body body;
    int64_t rounds;
    int tries;
    float *data;  /* [threads, count] */
    size_t count; /* a thread's */
    tn_barrier barrier;
    double rate[MOST_THREADS], result[MOST_THREADS]; /* rounds in a second */
} job;

/* The best of the tries, so that a thread that was interrupted does not lower the figure. */
static void work(int thread, int threads, void *context)
{
    job *j = context;
    tn_barrier_wait(&j->barrier, threads);
    for (int t = 0; t < j->tries; t++) {
        const double begin = tn_trace_now();
        j->result[thread] += j->body(j->rounds, j->data ? j->data + (size_t)thread * j->count : NULL, j->count);
        const double rate = 1e6 * (double)j->rounds / (tn_trace_now() - begin);
        j->rate[thread] = rate > j->rate[thread] ? rate : j->rate[thread];
    }
}

/* Rounds in a second of all threads together. */
static double rate_of(body body, int threads, int64_t rounds, int tries, float *data, size_t count)
{
    job j = {.body = body, .rounds = rounds, .tries = tries, .data = data, .count = count};
    double rate = 0;
    tn_parallel_team(threads < MOST_THREADS ? threads : MOST_THREADS, work, &j);
    for (int i = 0; i < MOST_THREADS; i++)
        rate += j.rate[i];
    return rate;
}

/* ---- multiply-adds: twelve chains, for a latency of four to six cycles at two a cycle -------------------------------------- */

#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
enum { CHAINS_COUNT = 12 };
#define SUM(i) memcpy(&first, &x##i, sizeof first), sum += (double)first;
#define BODY(isa, attribute, type, splat)                                                                                     \
    attribute static double adds_##isa(int64_t rounds, const float *data, size_t count)                                       \
    {                                                                                                                         \
        const type scale = splat(0.999f), add = splat(0.001f);                                                                \
        CHAINS(BEGIN_##isa)                                                                                                   \
        for (int64_t r = 0; r < rounds; r++) {                                                                                \
            CHAINS(STEP_##isa)                                                                                                \
        }                                                                                                                     \
        float first;                                                                                                          \
        double sum = 0;                                                                                                       \
        (void)data, (void)count;                                                                                              \
        CHAINS(SUM)                                                                                                           \
        return sum;                                                                                                           \
    }

#if defined(__x86_64__)
enum { PORTABLE_LANES = 4 };
#define BEGIN_avx512(i) __m512 x##i = _mm512_set1_ps(0.01f * (i));
#define STEP_avx512(i) x##i = _mm512_fmadd_ps(x##i, scale, add);
#define BEGIN_avx2(i) __m256 x##i = _mm256_set1_ps(0.01f * (i));
#define STEP_avx2(i) x##i = _mm256_fmadd_ps(x##i, scale, add);
#define BEGIN_portable(i) __m128 x##i = _mm_set1_ps(0.01f * (i));
#define STEP_portable(i) x##i = _mm_add_ps(_mm_mul_ps(x##i, scale), add);
#define BEGIN_bf16(i) BEGIN_avx512(i)
#define STEP_bf16(i) x##i = _mm512_dpbf16_ps(x##i, (__m512bh)scale, (__m512bh)add);
#define BEGIN_vnni(i) BEGIN_avx512(i)
#define STEP_vnni(i) x##i = (__m512)_mm512_dpbusd_epi32((__m512i)x##i, (__m512i)scale, (__m512i)add);
BODY(vnni, __attribute__((target("avx512f,avx512vnni"))), __m512, _mm512_set1_ps)
BODY(bf16, __attribute__((target("avx512f,avx512bf16"))), __m512, _mm512_set1_ps)
BODY(avx512, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps)
BODY(avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps)
BODY(portable, , __m128, _mm_set1_ps)
#elif defined(__aarch64__)
enum { PORTABLE_LANES = 4 };
#define BEGIN_portable(i) float32x4_t x##i = vdupq_n_f32(0.01f * (i));
#define STEP_portable(i) x##i = vfmaq_f32(add, x##i, scale);
BODY(portable, , float32x4_t, vdupq_n_f32)
#else
enum { PORTABLE_LANES = 1 };
#define BEGIN_portable(i) float x##i = 0.01f * (i);
#define STEP_portable(i) x##i = x##i * scale + add;
BODY(portable, , float, )
#endif

double tn_peak_gflops(tn_work_kind kind, int threads, tn_effort effort)
{
    body chosen = adds_portable;
    int lanes = PORTABLE_LANES;
#if defined(__x86_64__)
    const bool avx512 = !strcmp(tn_cpu_isa(), "avx512");
    if (avx512 && kind == TN_WORK_BF16 && __builtin_cpu_supports("avx512bf16"))
        chosen = adds_bf16, lanes = 32;
    else if (avx512 && kind == TN_WORK_I8 && __builtin_cpu_supports("avx512vnni"))
        chosen = adds_vnni, lanes = 64;
    else if (avx512)
        chosen = adds_avx512, lanes = 16;
    else if (!strcmp(tn_cpu_isa(), "avx2"))
        chosen = adds_avx2, lanes = 8;
#endif
    const double gflops = 2e-9 * CHAINS_COUNT * lanes * rate_of(chosen, threads, effort.rounds, effort.tries, NULL, 0);
    return kind == TN_WORK_F64 ? gflops / 2 : gflops; /* half the lanes */
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------------ */

#define KEEP(memory_) __asm__ volatile("" ::"r"(memory_) : "memory") /* or rounds are left out or changed places with the inner loop */

/* By vectors of the instruction set's own size: of larger ones gcc keeps the sums on the stack. */
#define BODIES(isa, attribute, bytes)                                                                                         \
    typedef float vector_##isa __attribute__((vector_size(bytes), may_alias));                                                \
    attribute static double read_##isa(int64_t rounds, const float *data, size_t count)                                       \
    {                                                                                                                         \
        enum { LANES = (bytes) / 4, CHAINS_OF_SUMS = 8 };                                                                     \
        vector_##isa sum[CHAINS_OF_SUMS] = {{0}}, total = {0};                                                                \
        for (int64_t r = 0; r < rounds; r++)                                                                                  \
            for (size_t i = 0; i + CHAINS_OF_SUMS * LANES <= count; i += CHAINS_OF_SUMS * LANES)                              \
                for (size_t v = 0; v < CHAINS_OF_SUMS; v++)                                                                   \
                    sum[v] += *(const vector_##isa *)(data + i + v * LANES);                                                  \
        for (size_t v = 0; v < CHAINS_OF_SUMS; v++)                                                                           \
            total += sum[v];                                                                                                  \
        return (double)total[0];                                                                                              \
    }                                                                                                                         \
    attribute static double update_##isa(int64_t rounds, const float *data, size_t count)                                     \
    {                                                                                                                         \
        enum { LANES = (bytes) / 4 };                                                                                         \
        float *out = (float *)(uintptr_t)data;                                                                                \
        for (int64_t r = 0; r < rounds; r++) {                                                                                \
            for (size_t i = 0; i + LANES <= count; i += LANES)                                                                \
                *(vector_##isa *)(out + i) *= 0.999f;                                                                         \
            KEEP(out);                                                                                                        \
        }                                                                                                                     \
        return (double)data[0];                                                                                               \
    }                                                                                                                         \
    attribute static double copy_##isa(int64_t rounds, const float *data, size_t count)                                       \
    {                                                                                                                         \
        enum { LANES = (bytes) / 4 };                                                                                         \
        float *out = (float *)(uintptr_t)data + count / 2;                                                                    \
        for (int64_t r = 0; r < rounds; r++) {                                                                                \
            for (size_t i = 0; i + LANES <= count / 2; i += LANES)                                                            \
                *(vector_##isa *)(out + i) = *(const vector_##isa *)(data + i);                                               \
            KEEP(out);                                                                                                        \
        }                                                                                                                     \
        return (double)out[0];                                                                                                \
    }
BODIES(portable, , 16)
#if defined(__x86_64__)
BODIES(avx2, __attribute__((target("avx2,fma"))), 32)
BODIES(avx512, __attribute__((target("avx512f"))), 64)
#endif

/* The C library's copy, which passes the caches by where that is faster. */
static double copy_library(int64_t rounds, const float *data, size_t count)
{
    float *out = (float *)(uintptr_t)data + count / 2;
    for (int64_t r = 0; r < rounds; r++) {
        memcpy(out, data, count / 2 * sizeof *data);
        KEEP(out);
    }
    return (double)out[0];
}

/* footprint: a thread's bytes. */
static void measure_level(tn_level *level, int threads, tn_effort effort, float *data, double footprint)
{
    body read = read_portable, copy = copy_portable, update = update_portable;
#if defined(__x86_64__)
    if (!strcmp(tn_cpu_isa(), "avx512"))
        read = read_avx512, copy = copy_avx512, update = update_avx512;
    else if (!strcmp(tn_cpu_isa(), "avx2"))
        read = read_avx2, copy = copy_avx2, update = update_avx2;
#endif
    const size_t count = (size_t)(footprint / sizeof(float)) / 128 * 128;
    const int64_t rounds = (int64_t)(effort.bytes / (double)(count * sizeof(float))) + 1;
    const double gbytes = 1e-9 * (double)count * sizeof(float);
    const double copied = rate_of(copy, threads, rounds, effort.tries, data, count);
    const double by_library = rate_of(copy_library, threads, rounds, effort.tries, data, count);
    level->read = gbytes * rate_of(read, threads, rounds, effort.tries, data, count);
    level->copy = gbytes * (copied > by_library ? copied : by_library);
    level->update = 2 * gbytes * rate_of(update, threads, rounds, effort.tries, data, count);
}

/* The bytes of a core's cache of that level; `unknown` where the system does not say. */
static double cache_size(int level, double unknown)
{
    char path[64];
    double size = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", level == 1 ? 0 : level); /* 1 is the first one's instructions */
    FILE *file = fopen(path, "re");
    if (!file)
        return unknown;
    if (fscanf(file, "%lfK", &size) != 1)
        size = 0;
    fclose(file);
    return size > 0 ? 1024 * size : unknown;
}

void tn_measure_levels(int threads, tn_effort effort, tn_level levels[TN_LEVELS])
{
    const double l1 = cache_size(1, 32e3), l2 = cache_size(2, 512e3), l3 = cache_size(3, 8e6), most = effort.beyond * l3;
    const double footprints[TN_LEVELS] = {l1 / 2, l2 / 2, l3 / 2 / threads, 2 * l3 / threads, most / threads};
    const tn_level empty[TN_LEVELS] = {{"L1", l1 * threads, 0, 0, 0},
                                       {"L2", l2 * threads, 0, 0, 0},
                                       {"L3", l3, 0, 0, 0},
                                       {"L3+memory", 3 * l3, 0, 0, 0},
                                       {"memory", 1e15, 0, 0, 0}};
    memcpy(levels, empty, sizeof empty);
    float *data = mmap(NULL, (size_t)most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return;
#ifdef MADV_HUGEPAGE
    madvise(data, (size_t)most, MADV_HUGEPAGE);
#endif
    memset(data, 0, (size_t)most);
    for (int i = 0; i < TN_LEVELS; i++)
        measure_level(&levels[i], threads, effort, data, footprints[i]);
    munmap(data, (size_t)most);
}

/* ---- the roofline ------------------------------------------------------------------------------------------------------------ */

const tn_peaks *tn_peaks_of(int threads)
{
    static tn_peaks peaks[MOST_THREADS + 1];
    static bool known[MOST_THREADS + 1];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    if (TN_LIKELY(__atomic_load_n(&known[threads], __ATOMIC_ACQUIRE)))
        return &peaks[threads];
    if (tn_parallel_width() < threads)
        return NULL;
    tn_cpu_isa();
    pthread_mutex_lock(&lock);
    if (!known[threads]) {
        for (int k = 0; k < TN_WORK_KINDS; k++)
            peaks[threads].gflops[k] = tn_peak_gflops((tn_work_kind)k, threads, TN_BRIEFLY);
        tn_measure_levels(threads, TN_BRIEFLY, peaks[threads].levels);
        __atomic_store_n(&known[threads], true, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return &peaks[threads];
}

/* What is both read and written moves as a copy does; what is written only is read into the cache first. */
double tn_bound_ms(const tn_peaks *peaks, const tn_work *work, const char **by)
{
    const double flops = 1e-6 * work->flop / peaks->gflops[work->kind], bytes = work->read + work->updated + work->written;
    int l = 0;
    while (l < TN_LEVELS - 1 && bytes > peaks->levels[l].capacity)
        l++;
    const tn_level *level = &peaks->levels[l];
    *by = "FLOP";
    if (level->read <= 0)
        return flops;
    const double both = work->read < work->written ? work->read : work->written;
    const double moved = 1e-6 * (2 * work->written / level->copy + (work->read - both) / level->read + 2 * work->updated / level->update);
    if (moved <= flops)
        return flops;
    *by = level->name;
    return moved;
}
