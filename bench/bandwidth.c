/* How fast the machine moves bytes, by where they lie.  usage: bandwidth [THREADS]
 * A line for each level of cache and for memory: "level kbytes read copy update", what all threads together hold there, and GB/s: of reading,
 * of copying (bytes read and written) and of changing in place (likewise). */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <tenon/tenon.h>

#include "timing.h"

enum { LANES = 16, MOST_THREADS = 256 };
typedef float vector __attribute__((vector_size(4 * LANES), may_alias));
#define KEEP(memory_) __asm__ volatile("" ::"r"(memory_) : "memory") /* or rounds are left out or changed places with the inner loop */

#define BODIES_(isa, attribute)                                                                                        \
    attribute static double read_##isa(int64_t rounds, const float *data, size_t count)                                \
    {                                                                                                                  \
        vector sum[4] = {{0}};                                                                                         \
        for (int64_t r = 0; r < rounds; r++)                                                                           \
            for (size_t i = 0; i + 4 * LANES <= count; i += 4 * LANES)                                                 \
                for (size_t v = 0; v < 4; v++)                                                                         \
                    sum[v] += *(const vector *)(data + i + v * LANES);                                                 \
        return (double)(sum[0] + sum[1] + sum[2] + sum[3])[0];                                                         \
    }                                                                                                                  \
    attribute static double update_##isa(int64_t rounds, const float *data, size_t count)                              \
    {                                                                                                                  \
        float *out = (float *)(uintptr_t)data;                                                                         \
        for (int64_t r = 0; r < rounds; r++) {                                                                         \
            for (size_t i = 0; i + LANES <= count; i += LANES)                                                         \
                *(vector *)(out + i) *= 0.999f;                                                                        \
            KEEP(out);                                                                                                 \
        }                                                                                                              \
        return (double)data[0];                                                                                        \
    }                                                                                                                  \
    attribute static double copy_##isa(int64_t rounds, const float *data, size_t count)                                \
    {                                                                                                                  \
        float *out = (float *)(uintptr_t)data + count / 2;                                                             \
        for (int64_t r = 0; r < rounds; r++) {                                                                         \
            for (size_t i = 0; i + LANES <= count / 2; i += LANES)                                                     \
                *(vector *)(out + i) = *(const vector *)(data + i);                                                    \
            KEEP(out);                                                                                                 \
        }                                                                                                              \
        return (double)out[0];                                                                                         \
    }
BODIES_(portable, )
#if defined(__x86_64__)
BODIES_(avx2, __attribute__((target("avx2,fma"))))
BODIES_(avx512, __attribute__((target("avx512f"))))
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

/* A body runs so many rounds over its thread's own memory. */
typedef double (*body)(int64_t rounds, const float *data, size_t count);
typedef struct job {
    body body;
    int64_t rounds;
    float *data;
    size_t count;
    double rate, result; /* rounds in a second */
} job;

/* The best of nine tries, so that a thread that was interrupted does not lower the figure. */
static void *work(void *context)
{
    job *j = context;
    for (int t = 0; t < 9; t++) {
        const double begin = now_ms();
        j->result += j->body(j->rounds, j->data, j->count);
        const double rate = 1e3 * (double)j->rounds / (now_ms() - begin);
        j->rate = rate > j->rate ? rate : j->rate;
    }
    return NULL;
}

/* Rounds in a second of all threads together. */
static double rate_of(body body, int threads, int64_t rounds, float *data, size_t count)
{
    job jobs[MOST_THREADS];
    pthread_t ids[MOST_THREADS];
    double rate = 0;
    for (int i = 0; i < threads; i++) {
        jobs[i] = (job){.body = body, .rounds = rounds, .data = data + (size_t)i * count, .count = count};
        if (pthread_create(&ids[i], NULL, work, &jobs[i]))
            exit(1);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        rate += jobs[i].rate;
    }
    return rate;
}

static void print_level(const char *name, double capacity, int threads, float *data, double footprint)
{
    body read = read_portable, copy = copy_portable, update = update_portable;
#if defined(__x86_64__)
    if (!strcmp(tn_cpu_isa(), "avx512"))
        read = read_avx512, copy = copy_avx512, update = update_avx512;
    else if (!strcmp(tn_cpu_isa(), "avx2"))
        read = read_avx2, copy = copy_avx2, update = update_avx2;
#endif
    const size_t count = (size_t)(footprint / sizeof(float)) / 128 * 128; /* a thread's */
    const int64_t rounds = (int64_t)((size_t)32 << 20) / (int64_t)(count * sizeof(float)) + 1;
    const double gbytes = 1e-9 * (double)count * sizeof(float);
    const double copied = rate_of(copy, threads, rounds, data, count), by_library = rate_of(copy_library, threads, rounds, data, count);
    printf("%s %.0f %.1f %.1f %.1f\n", name, capacity / 1024, gbytes * rate_of(read, threads, rounds, data, count),
           gbytes * (copied > by_library ? copied : by_library), 2 * gbytes * rate_of(update, threads, rounds, data, count));
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

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    const double l1 = cache_size(1, 32e3), l2 = cache_size(2, 512e3), l3 = cache_size(3, 8e6), most = 8 * l3;
    float *data = mmap(NULL, (size_t)most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return 1;
#ifdef MADV_HUGEPAGE
    madvise(data, (size_t)most, MADV_HUGEPAGE);
#endif
    memset(data, 0, (size_t)most);
    print_level("L1", l1 * threads, threads, data, l1 / 2);
    print_level("L2", l2 * threads, threads, data, l2 / 2);
    print_level("L3", l3, threads, data, l3 / 2 / threads);
    print_level("memory", 1e15, threads, data, most / threads);
    return 0;
}
