/* How fast so many threads read memory that is given, as decoding reads its weights: a stream each, or some. Functions of a header, so that each
 * program of this folder stays one file. (kernels/peaks.h measures multiply-adds and the levels of cache.) */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <tenon/tenon.h>

static inline double peak_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* Reads so many runs of memory side by side, by vectors of the instruction set's own size (of larger ones gcc keeps the sums on the stack): a line of
 * 64 bytes of each run at a time. */
#define PEAK_READ_(isa, attribute, bytes)                                                                              \
    typedef int64_t peak_vector_##isa __attribute__((vector_size(bytes), aligned(16), may_alias));                     \
    attribute __attribute__((always_inline)) static inline int64_t peak_streams_##isa(const char *data, size_t run, int streams) \
    {                                                                                                                  \
        peak_vector_##isa sum[8] = {{0}};                                                                              \
        int64_t total = 0;                                                                                             \
        for (size_t at = 0; at + 64 <= run; at += 64)                                                              \
            _Pragma("GCC unroll 8")                                                                                    \
            for (int s = 0; s < streams; s++)                                                                          \
                _Pragma("GCC unroll 4")                                                                                \
                for (size_t v = 0; v < 64; v += bytes)                                                                 \
                    sum[s] += *(const peak_vector_##isa *)(const void *)(data + (size_t)s * run + at + v);             \
        for (int s = 0; s < 8; s++)                                                                                    \
            total += sum[s][0];                                                                                        \
        return total;                                                                                                  \
    }                                                                                                                  \
    attribute static inline int64_t peak_read_##isa(const char *data, size_t run, int streams)                         \
    {                                                                                                                  \
        return streams == 1 ? peak_streams_##isa(data, run, 1) : streams == 4 ? peak_streams_##isa(data, run, 4)       \
                                                                             : peak_streams_##isa(data, run, 8);       \
    }
PEAK_READ_(portable, , 16)
#if defined(__x86_64__)
PEAK_READ_(avx512, __attribute__((target("avx512f"))), 64)
PEAK_READ_(avx2, __attribute__((target("avx2"))), 32)
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
