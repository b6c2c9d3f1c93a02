/* The file of spans. Its events stand in an array whose end a viewer can do without: a program that is killed leaves what was flushed. */
#include "core/trace.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool tn_tracing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *file; /* written under the lock */

double tn_trace_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

bool tn_trace_open(void)
{
    const char *path = getenv("TENON_TRACE");
    if (!path || !*path)
        return true;
    pthread_mutex_lock(&lock);
    if (!file && (file = fopen(path, "we"))) {
        fprintf(file, "[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%ld,\"args\":{\"name\":\"tenon\"}}", (long)getpid());
        __atomic_store_n(&tn_tracing, true, __ATOMIC_RELAXED);
    }
    bool open = file != NULL;
    pthread_mutex_unlock(&lock);
    return open;
}

static long thread_id(void)
{
    static __thread long id;
    if (!id)
        id = syscall(SYS_gettid);
    return id;
}

void tn_trace_write(const tn_span *span, double end, const char *details)
{
    char name[64]; /* of it what needs no escape */
    int n = 0;
    for (const char *at = span->name; *at && n < (int)sizeof name - 1; at++)
        if (isprint((unsigned char)*at) && *at != '"' && *at != '\\')
            name[n++] = *at;
    name[n] = 0;
    TN_C_NUMBERS;
    pthread_mutex_lock(&lock);
    if (file)
        fprintf(file, ",\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,\"pid\":%ld,\"tid\":%ld,\"args\":{%s}}", name,
                span->category, span->start, end - span->start, (long)getpid(), thread_id(), details);
    pthread_mutex_unlock(&lock);
}

__attribute__((destructor)) static void close_file(void)
{
    pthread_mutex_lock(&lock);
    __atomic_store_n(&tn_tracing, false, __ATOMIC_RELAXED);
    if (file) {
        fprintf(file, "\n]\n");
        fclose(file);
    }
    file = NULL;
    pthread_mutex_unlock(&lock);
}
