/* Times of repeated work: their median and least. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_TIMES = 10000 };

typedef struct timing {
    double median, least, sum; /* ms */
    int count;
    double times[MOST_TIMES];
} timing;

static inline double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static inline int by_size_(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Whether to go on: until they make so many seconds, one at least. */
static inline bool timing_wants_more(const timing *t, double seconds)
{
    return t->count == 0 || (t->sum < 1e3 * seconds && t->count < MOST_TIMES);
}

/* So many calls took so long. */
static inline void timing_add(timing *t, double ms, int calls)
{
    t->sum += ms;
    t->times[t->count++] = ms / calls;
}

static inline void timing_close(timing *t)
{
    qsort(t->times, (size_t)t->count, sizeof *t->times, by_size_);
    t->median = t->times[t->count / 2];
    t->least = t->times[0];
}

#endif
