/* How fast the machine moves bytes, by where they lie.  usage: bandwidth [THREADS]
 * A line for each level of cache and for memory: "level kbytes read copy update", what all threads together hold there, and GB/s: of reading,
 * of copying (bytes read and written) and of changing in place (likewise). */
#include <stdio.h>

#include "peak.h"

enum { LANES = 16 };
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

static void print_level(const char *name, double capacity, int threads, double footprint)
{
    peak_body read = read_portable, copy = copy_portable, update = update_portable;
#if defined(__x86_64__)
    if (!strcmp(tn_cpu_isa(), "avx512"))
        read = read_avx512, copy = copy_avx512, update = update_avx512;
    else if (!strcmp(tn_cpu_isa(), "avx2"))
        read = read_avx2, copy = copy_avx2, update = update_avx2;
#endif
    const size_t count = (size_t)(footprint / sizeof(float)) / 128 * 128; /* a thread's */
    const int64_t rounds = (int64_t)((size_t)32 << 20) / (int64_t)(count * sizeof(float)) + 1;
    const double gbytes = 1e-9 * (double)count * sizeof(float);
    const double copied = peak_rate(threads, copy, rounds, count), by_library = peak_rate(threads, copy_library, rounds, count);
    printf("%s %.0f %.1f %.1f %.1f\n", name, capacity / 1024, gbytes * peak_rate(threads, read, rounds, count),
           gbytes * (copied > by_library ? copied : by_library), 2 * gbytes * peak_rate(threads, update, rounds, count));
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
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    const double l1 = cache_size(1, 32e3), l2 = cache_size(2, 512e3), l3 = cache_size(3, 8e6);
    print_level("L1", l1 * threads, threads, l1 / 2);
    print_level("L2", l2 * threads, threads, l2 / 2);
    print_level("L3", l3, threads, l3 / 2 / threads);
    print_level("memory", 1e15, threads, 8 * l3 / threads);
    return 0;
}
