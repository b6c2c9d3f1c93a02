/* What the machine can do, measured: fp32 multiply-adds and memory reads, on any number of threads. For the shares that
 * benchmarks print. Functions of a header, so that each program of this folder stays one file. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tenon/tenon.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

static inline double peak_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A body runs so many rounds and returns something that depends on its work; `data` is the thread's own memory. */
typedef double (*peak_body)(int64_t rounds, const float *data, size_t count);

typedef struct peak_job {
    peak_body body;
    int64_t rounds;
    float *data;
    size_t count;
    double seconds, result;
} peak_job;

/* The least time of nine tries, so that a thread that was interrupted does not lower the peak. */
static inline void *peak_run(void *context)
{
    peak_job *job = context;
    for (int t = 0; t < 9; t++) {
        const double begin = peak_now();
        job->result += job->body(job->rounds, job->data, job->count);
        const double seconds = peak_now() - begin;
        job->seconds = t == 0 || seconds < job->seconds ? seconds : job->seconds;
    }
    return NULL;
}

/* The sum over the threads of rounds per second; 0 when threads or memory are refused. */
static inline double peak_rate(int threads, peak_body body, int64_t rounds, size_t count)
{
    enum { MOST = 256 };
    peak_job jobs[MOST];
    pthread_t ids[MOST];
    int made = 0;
    bool good = true;
    double rate = 0;
    threads = threads < 1 ? 1 : threads > MOST ? MOST : threads;
    for (; good && made < threads; made++) {
        jobs[made] = (peak_job){.body = body, .rounds = rounds, .count = count};
        jobs[made].data = aligned_alloc(64, (count + 16) * sizeof(float));
        good = jobs[made].data != NULL;
        if (good)
            memset(jobs[made].data, 0, (count + 16) * sizeof(float));
        good = good && !pthread_create(&ids[made], NULL, peak_run, &jobs[made]);
        if (!good)
            free(jobs[made--].data);
    }
    for (int i = 0; i < made; i++) {
        pthread_join(ids[i], NULL);
        rate += (double)rounds / jobs[i].seconds;
        free(jobs[i].data);
    }
    return good ? rate : 0;
}

/* ---- multiply-adds: twelve chains, for a latency of four to six cycles at two a cycle ---------------------------- */

#define PEAK_CHAINS_(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define PEAK_SUM_(i) memcpy(&first, &x##i, sizeof first), sum += (double)first;
#define PEAK_BODY_(isa, attribute, type, splat)                                                                        \
    attribute static inline double peak_##isa(int64_t rounds, const float *data, size_t count)                         \
    {                                                                                                                  \
        (void)data, (void)count;                                                                                       \
        const type scale = splat(0.999f), add = splat(0.001f);                                                         \
        PEAK_CHAINS_(PEAK_BEGIN_##isa)                                                                                 \
        for (int64_t r = 0; r < rounds; r++) {                                                                         \
            PEAK_CHAINS_(PEAK_STEP_##isa)                                                                              \
        }                                                                                                              \
        float first;                                                                                                   \
        double sum = 0;                                                                                                \
        PEAK_CHAINS_(PEAK_SUM_)                                                                                        \
        return sum;                                                                                                    \
    }

#if defined(__x86_64__)
enum { PEAK_PORTABLE_LANES = 4 };
#define PEAK_BEGIN_avx512(i) __m512 x##i = _mm512_set1_ps(0.01f * (i));
#define PEAK_STEP_avx512(i) x##i = _mm512_fmadd_ps(x##i, scale, add);
#define PEAK_BEGIN_avx2(i) __m256 x##i = _mm256_set1_ps(0.01f * (i));
#define PEAK_STEP_avx2(i) x##i = _mm256_fmadd_ps(x##i, scale, add);
#define PEAK_BEGIN_portable(i) __m128 x##i = _mm_set1_ps(0.01f * (i));
#define PEAK_STEP_portable(i) x##i = _mm_add_ps(_mm_mul_ps(x##i, scale), add);
PEAK_BODY_(avx512, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps)
PEAK_BODY_(avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps)
PEAK_BODY_(portable, , __m128, _mm_set1_ps)
#elif defined(__aarch64__)
enum { PEAK_PORTABLE_LANES = 4 };
#define PEAK_BEGIN_portable(i) float32x4_t x##i = vdupq_n_f32(0.01f * (i));
#define PEAK_STEP_portable(i) x##i = vfmaq_f32(add, x##i, scale);
PEAK_BODY_(portable, , float32x4_t, vdupq_n_f32)
#else
enum { PEAK_PORTABLE_LANES = 1 };
#define PEAK_BEGIN_portable(i) float x##i = 0.01f * (i);
#define PEAK_STEP_portable(i) x##i = x##i * scale + add;
PEAK_BODY_(portable, , float, )
#endif

/* The fp32 peak in GFLOP/s of the instruction set that Tenon runs (tn_cpu_isa()), a multiply-add being two. */
static inline double peak_gflops(int threads)
{
    peak_body body = peak_portable;
    int lanes = PEAK_PORTABLE_LANES;
#if defined(__x86_64__)
    if (!strcmp(tn_cpu_isa(), "avx512"))
        body = peak_avx512, lanes = 16;
    else if (!strcmp(tn_cpu_isa(), "avx2"))
        body = peak_avx2, lanes = 8;
#endif
    return 2e-9 * 12 * lanes * peak_rate(threads, body, 1000000, 0);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static inline double peak_read(int64_t rounds, const float *data, size_t count)
{
    typedef float line __attribute__((vector_size(16), may_alias));
    line sum[8] = {{0}};
    for (int64_t r = 0; r < rounds; r++)
        for (size_t i = 0; i + 32 <= count; i += 32)
            for (int v = 0; v < 8; v++)
                sum[v] += *(const line *)(data + i + 4 * v);
    double total = 0;
    for (int v = 0; v < 8; v++)
        total += (double)sum[v][0];
    return total;
}

/* What the threads together read from memory in GB/s, each from 128 MiB of its own: more than caches hold. */
static inline double peak_gbytes(int threads)
{
    const size_t count = (size_t)32 << 20;
    return 1e-9 * (double)count * sizeof(float) * peak_rate(threads, peak_read, 1, count);
}

#endif
