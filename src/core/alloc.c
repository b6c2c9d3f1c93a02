/* The caching allocator. Sizes are rounded to classes (64-byte steps, then eight to a doubling); each thread keeps free small blocks of its
 * own, without a lock; larger ones lie in lists that all threads share. A caller's allocator, or an address sanitizer, gets every request. */
#include "core/core.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CACHING false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CACHING false
#endif
#endif
#ifndef CACHING
#define CACHING true
#endif

enum { CLASSES = 320, FLUSH_BYTES = 1 << 16, SMALL_BYTES_KEPT = 1 << 18 };
static const size_t HUGE_PAGE = (size_t)1 << 21;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tn_free_block *shared[CLASSES];
static tn_allocator custom;
static int64_t in_use, peak, cached, allocations, from_system;
static int64_t limit = INT64_MAX;

/* Classes 0 ... 15 are 64 to 1024 bytes in steps of 64; then eight to a doubling. */
static int class_of(size_t size)
{
    if (size <= 1024)
        return size ? (int)((size - 1) / 64) : 0;
    int log = 63 - __builtin_clzll(size - 1); /* size is in (2^log, 2^(log + 1)] */
    return 16 + (log - 10) * 8 + (int)((size - 1 - ((size_t)1 << log)) >> (log - 3));
}

static size_t class_size(int c)
{
    return c < 16 ? (size_t)(c + 1) * 64 : (size_t)(9 + (c - 16) % 8) << ((c - 16) / 8 + 7);
}

static void *system_alloc(size_t size)
{
    if (custom.alloc)
        return custom.alloc(size, custom.context);
    bool huge = size >= 2 * HUGE_PAGE;
    void *memory = NULL;
    if (posix_memalign(&memory, huge ? HUGE_PAGE : 64, size) != 0)
        return NULL;
#ifdef __linux__
    if (huge)
        madvise(memory, size & ~(HUGE_PAGE - 1), MADV_HUGEPAGE);
#endif
    return memory;
}

static void system_free(void *memory, size_t size)
{
    if (custom.free)
        custom.free(memory, size, custom.context);
    else
        free(memory);
}

/* Adds the thread's counts to the process's. The lock is held. */
static void settle(void)
{
    tn_thread *t = &tn_this;
    in_use += t->in_use_delta;
    cached += t->cached_delta;
    allocations += t->allocations_delta;
    t->in_use_delta = t->cached_delta = t->allocations_delta = 0;
    if (in_use > peak)
        peak = in_use;
}

/* Frees shared blocks, the largest first, until `need` more bytes fit under the cap or none is left. The lock is held. */
static void trim_to(int64_t need, int64_t cap)
{
    for (int c = CLASSES - 1; c >= 0; c--)
        while (shared[c] && need > cap - in_use - cached) {
            tn_free_block *block = shared[c];
            shared[c] = block->next;
            cached -= (int64_t)class_size(c);
            system_free(block, class_size(c));
        }
}

/* Gives the thread's own free blocks to all. The lock is held. */
static void share_small(void)
{
    tn_thread *t = &tn_this;
    settle();
    for (int c = 0; c < TN_SMALL_CLASSES; c++)
        while (t->small[c]) {
            tn_free_block *block = t->small[c];
            t->small[c] = block->next;
            block->next = shared[c];
            shared[c] = block;
        }
    memset(t->small_count, 0, sizeof t->small_count);
}

/* The same as trim_to(), with the thread's own blocks where the shared ones are not enough. */
static void make_room(int64_t need, int64_t cap)
{
    trim_to(need, cap);
    if (need > cap - in_use - cached) {
        share_small();
        trim_to(need, cap);
    }
}

/* So many bytes from the system, if the limit lets them. The lock is held. */
static void *take_system(int64_t size)
{
    void *block = NULL;
    from_system++;
    make_room(size, limit);
    if (size <= limit - in_use - cached) {
        block = system_alloc((size_t)size);
        if (!block && cached > 0) { /* the system has none: what we cached may help */
            make_room(INT64_MAX / 2, 0);
            block = system_alloc((size_t)size);
        }
    }
    return block;
}

/* A block of the class from the shared lists or the system. */
static void *alloc_shared(int c, int64_t size)
{
    pthread_mutex_lock(&lock);
    settle();
    tn_free_block *block = shared[c];
    if (block) {
        shared[c] = block->next;
        cached -= size;
    } else {
        block = take_system(size);
    }
    if (block)
        in_use += size;
    if (in_use > peak)
        peak = in_use;
    pthread_mutex_unlock(&lock);
    return block;
}

static void *no_memory(size_t wanted)
{
    return tn_fail(TN_ERR_MEMORY, "out of memory: %zu bytes asked for, %lld in use", wanted, (long long)tn_get_memory_stats().in_use);
}

void *tn_alloc(size_t wanted)
{
    tn_thread *t = &tn_this;
    if (TN_UNLIKELY(wanted > (size_t)1 << 46))
        return tn_fail(TN_ERR_MEMORY, "out of memory: %zu bytes asked for", wanted);
    int c = class_of(wanted);
    int64_t size = (int64_t)class_size(c);
    t->allocations_delta++;
    if (TN_LIKELY(c < TN_SMALL_CLASSES && t->small[c] != NULL)) {
        tn_free_block *block = t->small[c];
        t->small[c] = block->next;
        t->small_count[c]--;
        t->in_use_delta += size;
        t->cached_delta -= size;
        if (TN_UNLIKELY(t->in_use_delta > FLUSH_BYTES)) {
            pthread_mutex_lock(&lock);
            settle();
            pthread_mutex_unlock(&lock);
        }
        return block;
    }
    void *memory = alloc_shared(c, size);
    return memory ? memory : no_memory(wanted);
}

void *tn_alloc_pages(size_t size)
{
    if (TN_UNLIKELY(size > (size_t)1 << 46))
        return tn_fail(TN_ERR_MEMORY, "out of memory: %zu bytes asked for", size);
    pthread_mutex_lock(&lock);
    settle();
    allocations++;
    void *block = take_system((int64_t)size);
    in_use += block ? (int64_t)size : 0;
    peak = in_use > peak ? in_use : peak;
    pthread_mutex_unlock(&lock);
    return block ? block : no_memory(size);
}

void tn_free_pages(void *memory, size_t size)
{
    if (!memory)
        return;
    pthread_mutex_lock(&lock);
    settle();
    in_use -= (int64_t)size;
    system_free(memory, size);
    pthread_mutex_unlock(&lock);
}

void *tn_alloc_zero(size_t size)
{
    void *memory = tn_alloc(size);
    if (memory)
        memset(memory, 0, size);
    return memory;
}

void tn_free(void *memory, size_t wanted)
{
    if (!memory)
        return;
    tn_thread *t = &tn_this;
    int c = class_of(wanted);
    int64_t size = (int64_t)class_size(c);
    bool keep = CACHING && !custom.free;
    tn_free_block *block = memory;
    if (TN_LIKELY(keep && c < TN_SMALL_CLASSES && t->small_count[c] * size < SMALL_BYTES_KEPT && tn_thread_register())) {
        block->next = t->small[c];
        t->small[c] = block;
        t->small_count[c]++;
        t->in_use_delta -= size;
        t->cached_delta += size;
        return;
    }
    pthread_mutex_lock(&lock);
    settle();
    in_use -= size;
    if (keep) {
        block->next = shared[c];
        shared[c] = block;
        cached += size;
    } else {
        system_free(memory, (size_t)size);
    }
    pthread_mutex_unlock(&lock);
}

void tn_alloc_thread_end(void)
{
    pthread_mutex_lock(&lock);
    share_small();
    pthread_mutex_unlock(&lock);
}

tn_memory_stats tn_get_memory_stats(void)
{
    pthread_mutex_lock(&lock);
    settle();
    tn_memory_stats stats = {in_use, peak, cached, limit, allocations, from_system};
    pthread_mutex_unlock(&lock);
    return stats;
}

void tn_memory_reset_peak(void)
{
    pthread_mutex_lock(&lock);
    settle();
    peak = in_use;
    pthread_mutex_unlock(&lock);
}

void tn_memory_set_limit(int64_t bytes)
{
    pthread_mutex_lock(&lock);
    limit = bytes > 0 ? bytes : INT64_MAX;
    pthread_mutex_unlock(&lock);
}

void tn_memory_trim(void)
{
    tn_alloc_thread_end();
    pthread_mutex_lock(&lock);
    trim_to(INT64_MAX / 2, 0);
    pthread_mutex_unlock(&lock);
}

tn_status tn_set_allocator(const tn_allocator *allocator)
{
    if (tn_failing())
        return tn_last_status();
    if (tn_live_objects() != 0)
        tn_fail(TN_ERR_STATE, "set_allocator: %lld objects live; set it before the first is made", (long long)tn_live_objects());
    else if (allocator && (!allocator->alloc || !allocator->free))
        tn_fail(TN_ERR_ARGUMENT, "set_allocator: alloc and free must both be given");
    if (tn_failing())
        return tn_last_status();
    tn_thread_reset();
    tn_memory_trim();
    custom = allocator ? *allocator : (tn_allocator){0};
    return TN_OK;
}
