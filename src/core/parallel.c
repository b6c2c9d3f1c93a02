/* One pool of threads: OpenMP's where the compiler has it, else the calling thread alone. */
#include "core/parallel.h"

#include "core/core.h"

#include <sched.h>

#ifdef _OPENMP
#include <omp.h>
#endif

static int default_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

int tn_get_num_threads(void) { return tn_this.num_threads ? tn_this.num_threads : default_threads(); }

tn_status tn_set_num_threads(int threads)
{
    if (tn_failing())
        return tn_last_status();
    if (threads < 1 || threads > 1024) {
        tn_fail(TN_ERR_ARGUMENT, "set_num_threads: %d is not between 1 and 1024", threads);
        return TN_ERR_ARGUMENT;
    }
    tn_this.num_threads = threads;
#ifdef _OPENMP
    omp_set_num_threads(threads); /* oneDNN asks OpenMP */
#endif
    return TN_OK;
}

int tn_parallel_width(void)
{
#ifdef _OPENMP
    if (omp_in_parallel())
        return 1;
    return tn_get_num_threads();
#else
    return 1;
#endif
}

void tn_parallel_for(int64_t n, int64_t grain, void (*body)(int64_t begin, int64_t end, void *context), void *context)
{
    if (n <= 0)
        return;
    int64_t most = grain > 0 ? (n + grain - 1) / grain : n;
    int64_t pieces = most > 1 ? tn_parallel_width() : 1;
    pieces = pieces < most ? pieces : most;
    if (pieces <= 1) {
        body(0, n, context);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads((int)pieces) schedule(static, 1)
    for (int64_t i = 0; i < pieces; i++)
        body(n * i / pieces, n * (i + 1) / pieces, context);
#endif
}

void tn_parallel_team(int most, void (*body)(int thread, int threads, void *context), void *context)
{
    const int width = tn_parallel_width(), threads = width < most ? width : most;
    if (threads <= 1) {
        body(0, 1, context);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
    body(omp_get_thread_num(), omp_get_num_threads(), context);
#endif
}

void tn_barrier_wait(tn_barrier *barrier, int threads)
{
    enum { SPINS = 2000 }; /* some microseconds; who has no core of its own must let the others run */
    if (threads <= 1)
        return;
    const unsigned turn = __atomic_load_n(&barrier->turn, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_ACQ_REL) == (unsigned)threads) {
        __atomic_store_n(&barrier->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier->turn, turn + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(&barrier->turn, __ATOMIC_ACQUIRE) == turn; spins++) {
        if (spins >= SPINS)
            sched_yield();
#if defined(__x86_64__)
        else
            __builtin_ia32_pause();
#endif
    }
}
