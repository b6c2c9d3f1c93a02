/* The one list of backends, and the choice among the CPU's instruction sets. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "core/trace.h"
#include "kernels/kernels.h"
#include "kernels/peaks.h"
#include "kernels/traced.h"
#ifdef TENON_HAVE_DNNL
#include "kernels/dnnl/dnnl.h"
#endif

static bool always(void) { return true; }
extern const tn_kernels tn_portable_kernels;

#if defined(TENON_HAVE_AVX2) || defined(TENON_HAVE_AVX512)
extern const tn_kernels tn_avx2_kernels;
static bool has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
#endif

#ifdef TENON_HAVE_AVX512
extern const tn_kernels tn_avx512_kernels;
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

/* The best first. */
static const struct {
    const tn_kernels *table;
    bool (*available)(void);
} cpu_tables[] = {
#ifdef TENON_HAVE_AVX512
    {&tn_avx512_kernels, has_avx512},
#endif
#ifdef TENON_HAVE_AVX2
    {&tn_avx2_kernels, has_avx2},
#endif
    {&tn_portable_kernels, always},
};

static tn_kernels cpu_kernels; /* the chosen table, with what other libraries do better in its slots */
static tn_kernels traced_kernels; /* the same with a slot in front of each that looks at the call */
static pthread_mutex_t traced_lock = PTHREAD_MUTEX_INITIALIZER;
static int traced; /* the trace and the profiles that want it */
static pthread_once_t cpu_chosen = PTHREAD_ONCE_INIT;
static const tn_kernels *cpu_ready;
static bool isa_unknown; /* TENON_ISA named none of them; until that is said */
static bool trace_failed; /* TENON_TRACE's file could not be made; likewise */

static void choose_cpu(void)
{
    const char *wanted = getenv("TENON_ISA");
    const tn_kernels *best = NULL, *forced = NULL;
    for (int i = 0; i < TN_COUNT(cpu_tables); i++) {
        if (!cpu_tables[i].available())
            continue;
        best = best ? best : cpu_tables[i].table;
        if (wanted && !strcmp(wanted, cpu_tables[i].table->name))
            forced = cpu_tables[i].table;
    }
    isa_unknown = wanted && *wanted && !forced;
    cpu_kernels = forced ? *forced : *best;
#ifdef TENON_HAVE_DNNL
    if (strcmp(cpu_kernels.name, tn_portable_kernels.name) != 0)
        tn_dnnl_override(&cpu_kernels);
#endif
    traced_kernels = cpu_kernels;
    tn_trace_kernels(&traced_kernels);
    trace_failed = !tn_trace_open();
    traced = tn_tracing;
    __atomic_store_n(&cpu_ready, traced ? &traced_kernels : &cpu_kernels, __ATOMIC_RELEASE);
}

void tn_kernels_traced(bool on)
{
    tn_kernels_of(TN_CPU);
    pthread_mutex_lock(&traced_lock);
    traced += on ? 1 : -1;
    __atomic_store_n(&cpu_ready, traced ? &traced_kernels : &cpu_kernels, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&traced_lock);
}

const tn_kernels *tn_kernels_of(int device_type)
{
    if (TN_UNLIKELY(device_type != TN_CPU))
        return NULL; /* no other backend is built */
    const tn_kernels *ready = __atomic_load_n(&cpu_ready, __ATOMIC_ACQUIRE);
    if (TN_LIKELY(ready != NULL))
        return ready;
    pthread_once(&cpu_chosen, choose_cpu);
    if (tn_tracing)
        tn_peaks_of(tn_get_num_threads()); /* now: not in the midst of what is traced */
    if (__atomic_exchange_n(&isa_unknown, false, __ATOMIC_RELAXED)) /* only now: the log's handler may call the library */
        tn_warn("TENON_ISA=%s is not an instruction set of this build and processor: %s is used", getenv("TENON_ISA"), cpu_kernels.name);
    if (__atomic_exchange_n(&trace_failed, false, __ATOMIC_RELAXED))
        tn_warn("TENON_TRACE=%s cannot be written: nothing is traced", getenv("TENON_TRACE"));
    return __atomic_load_n(&cpu_ready, __ATOMIC_ACQUIRE);
}

bool tn_has_bf16_products(void)
{
#ifdef TENON_HAVE_AVX512
    return strcmp(tn_kernels_of(TN_CPU)->name, tn_avx512_kernels.name) == 0 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

const char *tn_cpu_isa(void) { return tn_kernels_of(TN_CPU)->name; }
