/* Counted objects, and the scopes that hold temporaries. */
#include "core/core.h"

#include <pthread.h>
#include <string.h>

__thread tn_thread tn_this __attribute__((tls_model("initial-exec")));

static int64_t live;

static void *mutable(const void *object) { return (void *)(uintptr_t)object; }

/* ---- objects ------------------------------------------------------------------------------------------------------------ */

void *tn_object_new(const tn_class *cls)
{
    tn_object *object = tn_alloc_zero(cls->size);
    if (!object)
        return NULL;
    object->cls = cls;
    object->magic = TN_OBJECT_MAGIC;
    object->refs = 1;
    __atomic_fetch_add(&live, 1, __ATOMIC_RELAXED);
    return object;
}

int64_t tn_live_objects(void) { return __atomic_load_n(&live, __ATOMIC_RELAXED); }

void *tn_retain(const void *pointer)
{
    tn_object *object = mutable(pointer);
    if (object)
        __atomic_fetch_add(&object->refs, 1, __ATOMIC_RELAXED);
    return object;
}

/* Freeing an object releases others; those wait in a queue, so that a chain of any length needs no stack. */
static void drain(void)
{
    tn_thread *t = &tn_this;
    t->draining = true;
    while (t->doomed) {
        tn_object *object = t->doomed;
        t->doomed = object->next;
        const tn_class *cls = object->cls;
        if (cls->free)
            cls->free(object);
        object->cls = NULL; /* who uses it still is told so, as long as the memory is not used again */
        object->magic = 0;
        tn_free(object, cls->size);
        __atomic_fetch_sub(&live, 1, __ATOMIC_RELAXED);
    }
    t->draining = false;
}

void tn_release(const void *pointer)
{
    tn_object *object = mutable(pointer);
    if (object && TN_UNLIKELY(object->magic != TN_OBJECT_MAGIC)) {
        tn_fail(TN_ERR_STATE, "release: the object was released already: what no _new, tn_keep() or tn_retain() gave you is its scope's to release");
        return;
    }
    if (!object || __atomic_fetch_sub(&object->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    object->next = tn_this.doomed;
    tn_this.doomed = object;
    if (!tn_this.draining)
        drain();
}

/* ---- scopes ------------------------------------------------------------------------------------------------------------- */

static pthread_key_t thread_end_key;
static pthread_once_t thread_end_once = PTHREAD_ONCE_INIT;
static bool thread_end_ready;

void tn_thread_reset(void)
{
    tn_thread *t = &tn_this;
    tn_scope_clear();
    tn_free(t->stack, (size_t)t->capacity * sizeof *t->stack);
    tn_free(t->marks, (size_t)t->marks_capacity * sizeof *t->marks);
    t->stack = NULL;
    t->marks = NULL;
    t->capacity = t->marks_capacity = t->depth = 0;
}

static void thread_end(void *unused)
{
    (void)unused;
    tn_thread_reset();
    tn_alloc_thread_end();
    tn_texts_thread_end();
    tn_this.registered = false;
}

static void thread_end_init(void) { thread_end_ready = pthread_key_create(&thread_end_key, thread_end) == 0; }

bool tn_thread_register(void)
{
    if (TN_LIKELY(tn_this.registered))
        return true;
    pthread_once(&thread_end_once, thread_end_init);
    tn_this.registered = thread_end_ready && pthread_setspecific(thread_end_key, &tn_this) == 0;
    return tn_this.registered;
}

enum { STACK_LEAST = 1024 }; /* entries, from the first one on: after a long loop the thread holds no more than before it */

/* A copy of an array of 8-byte entries with another capacity; NULL on no memory, the old one then stays. */
static void *resize(void *old, int64_t used, int64_t *capacity, int64_t wanted)
{
    void *other = tn_thread_register() ? tn_alloc((size_t)wanted * 8) : NULL;
    if (!other)
        return NULL;
    if (used)
        memcpy(other, old, (size_t)used * 8);
    tn_free(old, (size_t)*capacity * 8);
    *capacity = wanted;
    return other;
}

static void *grow(void *old, int64_t used, int64_t *capacity)
{
    return resize(old, used, capacity, *capacity ? *capacity * 2 : STACK_LEAST);
}

void *tn_autorelease(void *object)
{
    tn_thread *t = &tn_this;
    if (!object)
        return NULL;
    if (TN_UNLIKELY(t->top == t->capacity)) {
        tn_object **stack = grow(t->stack, t->top, &t->capacity);
        if (!stack) {
            tn_release(object);
            return tn_fail(TN_ERR_MEMORY, "out of memory: the scope cannot hold another object");
        }
        t->stack = stack;
    }
    return t->stack[t->top++] = object;
}

void *tn_adopt(const void *object) { return tn_autorelease(mutable(object)); }

/* Where the current scope holds the object, or -1. The newest come first: a result is among them. */
static int64_t find(const void *object)
{
    const tn_thread *t = &tn_this;
    int64_t mark = t->depth > 0 ? t->marks[t->depth - 1] : 0;
    for (int64_t i = t->top - 1; i >= mark; i--)
        if (t->stack[i] == object)
            return i;
    return -1;
}

void *tn_keep(const void *object)
{
    if (!object)
        return NULL;
    int64_t i = find(object);
    if (i < 0)
        return tn_retain(object);
    tn_thread *t = &tn_this;
    memmove(t->stack + i, t->stack + i + 1, (size_t)(t->top - i - 1) * sizeof *t->stack);
    t->top--;
    return mutable(object);
}

/* The entry changes places with the current scope's first one and the mark moves past it. */
void *tn_pass(const void *object)
{
    tn_thread *t = &tn_this;
    if (!object || t->depth == 0)
        return mutable(object);
    int64_t i = find(object);
    if (i < 0) { /* not of this scope: the one around it shares it */
        if (!tn_autorelease(tn_retain(object)))
            return NULL;
        i = t->top - 1;
    }
    int64_t mark = t->marks[t->depth - 1]++;
    t->stack[i] = t->stack[mark];
    t->stack[mark] = mutable(object);
    return mutable(object);
}

tn_scope tn_scope_open(void)
{
    tn_thread *t = &tn_this;
    if (TN_UNLIKELY(t->depth == t->marks_capacity)) {
        int64_t *marks = grow(t->marks, t->depth, &t->marks_capacity);
        if (!marks)
            return (tn_scope){0}; /* what the block makes then belongs to the scope around it */
        t->marks = marks;
    }
    t->marks[t->depth++] = t->top;
    return (tn_scope){t->depth};
}

static void release_down_to(int64_t mark)
{
    tn_thread *t = &tn_this;
    while (t->top > mark)
        tn_release(t->stack[--t->top]);
}

void tn_scope_close(tn_scope *scope)
{
    tn_thread *t = &tn_this;
    if (scope->depth <= 0 || scope->depth > t->depth)
        return;
    t->depth = scope->depth - 1;
    scope->depth = 0;
    release_down_to(t->marks[t->depth]);
    if (TN_UNLIKELY(t->capacity > STACK_LEAST && t->top < STACK_LEAST / 2 && !tn_failing())) { /* a long loop's stack goes with it */
        tn_object **stack = resize(t->stack, t->top, &t->capacity, STACK_LEAST);
        t->stack = stack ? stack : t->stack;
        tn_clear_error();
    }
}

void tn_scope_clear(void)
{
    release_down_to(0);
    for (int64_t i = 0; i < tn_this.depth; i++)
        tn_this.marks[i] = 0;
}

void tn_shutdown(void)
{
    if (tn_this.depth == 0)
        tn_thread_reset();
    tn_memory_trim();
}
