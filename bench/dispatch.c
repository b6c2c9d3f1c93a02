/* What a small operator costs: "name nanoseconds", the median of many rounds. bench/dispatch.py is the same on PyTorch. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <tenon/tenon.h>

enum { ROUNDS = 41, CALLS = 20000, PER_SCOPE = 50 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, void (*call)(tn_tensor *), tn_tensor *x)
{
    double times[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        double start = now_ns();
        for (int i = 0; i < CALLS / PER_SCOPE; i++) {
            TN_SCOPE;
            for (int k = 0; k < PER_SCOPE; k++)
                call(x);
        }
        times[r] = (now_ns() - start) / CALLS;
    }
    qsort(times, ROUNDS, sizeof *times, by_size);
    printf("%s %.1f\n", name, times[ROUNDS / 2]);
}

static void add(tn_tensor *x) { tn_add(x, x); }
static void add_number(tn_tensor *x) { tn_add(x, 1); }
static void add_backward(tn_tensor *x) { tn_check(tn_backward(tn_sum(tn_add(x, x)))); }
static void make(tn_tensor *x)
{
    (void)x;
    tn_empty(TN_SHAPE(8));
}

int main(void)
{
    tn_set_error_handler(tn_die);
    tn_tensor *x = tn_ones(TN_SHAPE(8)), *w = tn_ones(TN_SHAPE(8), .requires_grad = true);
    report("empty", make, x);
    report("add", add, x);
    report("add_number", add_number, x);
    report("add_recorded", add, w);
    report("add_sum_backward", add_backward, w);
    return 0;
}
