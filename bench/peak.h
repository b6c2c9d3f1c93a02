/* What the machine can do, measured: fp32 multiply-adds and memory reads, on any number of threads. For the shares that
 * benchmarks print. Functions of a header, so that each program of this folder stays one file. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* A body runs so many rounds and returns something that depends on its work. */
typedef double (*peak_body)(int64_t rounds);

typedef struct peak_job {
    peak_body body;
    int64_t rounds;
    double seconds, result;
} peak_job;

/* The least time of nine tries, so that a thread that was interrupted does not lower the peak. */
static inline void *peak_run(void *context)
{
    peak_job *job = context;
    for (int t = 0; t < 9; t++) {
        const double begin = peak_now();
        job->result += job->body(job->rounds);
        const double seconds = peak_now() - begin;
        job->seconds = t == 0 || seconds < job->seconds ? seconds : job->seconds;
    }
    return NULL;
}

/* The sum over the threads of rounds per second; 0 when threads are refused. */
static inline double peak_rate(int threads, peak_body body, int64_t rounds)
{
    enum { MOST = 256 };
    peak_job jobs[MOST];
    pthread_t ids[MOST];
    int made = 0;
    double rate = 0;
    threads = threads < 1 ? 1 : threads > MOST ? MOST : threads;
    for (; made < threads; made++) {
        jobs[made] = (peak_job){.body = body, .rounds = rounds};
        if (pthread_create(&ids[made], NULL, peak_run, &jobs[made]))
            break;
    }
    for (int i = 0; i < made; i++) {
        pthread_join(ids[i], NULL);
        rate += (double)rounds / jobs[i].seconds;
    }
    return made == threads ? rate : 0;
}

/* ---- multiply-adds: twelve chains, for a latency of four to six cycles at two a cycle ---------------------------- */

#define PEAK_CHAINS_(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define PEAK_SUM_(i) memcpy(&first, &x##i, sizeof first), sum += (double)first;
#define PEAK_BODY_(isa, attribute, type, splat)                                                                        \
    attribute static inline double peak_##isa(int64_t rounds)                                                          \
    {                                                                                                                  \
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
#define PEAK_BEGIN_bf16(i) PEAK_BEGIN_avx512(i)
#define PEAK_STEP_bf16(i) x##i = _mm512_dpbf16_ps(x##i, (__m512bh)scale, (__m512bh)add);
PEAK_BODY_(bf16, __attribute__((target("avx512f,avx512bf16"))), __m512, _mm512_set1_ps)
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
    return 2e-9 * 12 * lanes * peak_rate(threads, body, 1000000);
}

/* The same of multiply-adds of bf16 into fp32, where the processor has them; else of fp32. */
static inline double peak_bf16_gflops(int threads)
{
#if defined(__x86_64__)
    if (!strcmp(tn_cpu_isa(), "avx512") && __builtin_cpu_supports("avx512bf16"))
        return 2e-9 * 12 * 32 * peak_rate(threads, peak_bf16, 1000000);
#endif
    return peak_gflops(threads);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

typedef int64_t peak_line __attribute__((vector_size(64), aligned(16), may_alias));

/* Reads so many runs of memory side by side; streams is a constant where this is inlined. */
__attribute__((always_inline)) static inline int64_t peak_read_streams(const char *data, size_t run, int streams)
{
    peak_line sum[8] = {{0}};
    int64_t total = 0;
    for (size_t at = 0; at + sizeof *sum <= run; at += sizeof *sum)
        _Pragma("GCC unroll 8")
        for (int s = 0; s < streams; s++)
            sum[s] += *(const peak_line *)(const void *)(data + (size_t)s * run + at);
    for (int s = 0; s < 8; s++)
        total += sum[s][0];
    return total;
}
#define PEAK_READ_(isa, attribute)                                                                                     \
    attribute static inline int64_t peak_read_##isa(const char *data, size_t run, int streams)                         \
    {                                                                                                                  \
        return streams == 1 ? peak_read_streams(data, run, 1) : streams == 4 ? peak_read_streams(data, run, 4)         \
                                                                             : peak_read_streams(data, run, 8);        \
    }
PEAK_READ_(portable, )
#if defined(__x86_64__)
PEAK_READ_(avx512, __attribute__((target("avx512f"))))
PEAK_READ_(avx2, __attribute__((target("avx2"))))
#endif

enum { PEAK_MOST_PASSES = 1000, PEAK_MOST_READERS = 64 };
static const int peak_streams[] = {1, 4, 8};

typedef struct peak_reading {
    const char *data;
    size_t share; /* bytes of a thread, behind one another */
    int threads, passes;
    pthread_barrier_t barrier;
    double seconds[3][PEAK_MOST_PASSES]; /* of a pass of all threads */
} peak_reading;
typedef struct peak_reader {
    peak_reading *reading;
    int thread;
    int64_t sum;
} peak_reader;

static inline void *peak_read(void *context)
{
    peak_reader *r = context;
    peak_reading *all = r->reading;
    int64_t (*body)(const char *data, size_t run, int streams) = peak_read_portable;
#if defined(__x86_64__)
    body = !strcmp(tn_cpu_isa(), "avx512") ? peak_read_avx512 : !strcmp(tn_cpu_isa(), "avx2") ? peak_read_avx2 : body;
#endif
    for (int i = 0; i < all->passes; i++)
        for (int k = 0; k < 3; k++) {
            pthread_barrier_wait(&all->barrier);
            const double begin = peak_now();
            r->sum += body(all->data + (size_t)r->thread * all->share, all->share / (size_t)peak_streams[k] / 64 * 64, peak_streams[k]);
            pthread_barrier_wait(&all->barrier);
            if (r->thread == 0)
                all->seconds[k][i] = peak_now() - begin;
        }
    return NULL;
}

static inline int peak_by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* GB/s at which the threads together read `bytes` of data: the best of 1, 4 and 8 streams each, whose passes take turns. Of a stream's passes
 * counts the one at `quantile` of their times: 0 the least, 0.5 the median. 0 when threads or memory are refused. */
static inline double peak_gbytes(int threads, const char *data, size_t bytes, int passes, double quantile)
{
    pthread_t ids[PEAK_MOST_READERS];
    peak_reader readers[PEAK_MOST_READERS];
    peak_reading *all = malloc(sizeof *all);
    double best = 0;
    threads = threads < 1 ? 1 : threads > PEAK_MOST_READERS ? PEAK_MOST_READERS : threads;
    if (!all)
        return 0;
    all->data = data;
    all->share = bytes / (size_t)threads / 64 * 64;
    all->threads = threads;
    all->passes = passes < 1 ? 1 : passes > PEAK_MOST_PASSES ? PEAK_MOST_PASSES : passes;
    pthread_barrier_init(&all->barrier, NULL, (unsigned)threads);
    for (int t = 0; t < threads; t++) {
        readers[t] = (peak_reader){all, t, 0};
        if (pthread_create(&ids[t], NULL, peak_read, &readers[t]))
            exit(1); /* those that wait at the barrier cannot be called back */
    }
    for (int t = 0; t < threads; t++)
        pthread_join(ids[t], NULL);
    for (int k = 0; k < 3; k++) {
        qsort(all->seconds[k], (size_t)all->passes, sizeof(double), peak_by_size);
        const double rate = 1e-9 * (double)all->share * threads / all->seconds[k][(int)(quantile * (all->passes - 1))];
        best = rate > best ? rate : best;
    }
    pthread_barrier_destroy(&all->barrier);
    free(all);
    return best;
}

/* Zeros in pages of 2 MiB where the system has them; for the whole program. */
static inline char *peak_pages(size_t bytes)
{
    const size_t huge = (size_t)1 << 21;
    char *memory = mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        exit(1);
    memory += huge - (size_t)memory % huge;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    memset(memory, 0, bytes);
    return memory;
}

#endif
