/* Spans of time, written to the file that TENON_TRACE in the environment names, in Chrome's trace format (chrome://tracing, Perfetto):
 * each kernel with its dtype and sizes, each operator's backward, each module's forward, with its thread. Without TENON_TRACE a kernel costs
 * nothing more, and a span one predictable branch. */
#ifndef TN_TRACE_H
#define TN_TRACE_H

#include "core/core.h"

typedef struct tn_span {
    const char *category, *name; /* name is NULL: nothing is traced */
    double start;                /* microseconds */
} tn_span;

extern bool tn_tracing;
double tn_trace_now(void);
/* Opens the file, once, if the environment names one, and spans are traced from then on; false where it cannot be made. */
bool tn_trace_open(void);
/* Writes a span that ended then; details is JSON, "\"m\":2,\"n\":3", or "". */
void tn_trace_write(const tn_span *span, double end, const char *details);

static inline tn_span tn_span_begin(const char *category, const char *name)
{
    if (TN_LIKELY(!__atomic_load_n(&tn_tracing, __ATOMIC_RELAXED)))
        return (tn_span){NULL, NULL, 0};
    return (tn_span){category, name, tn_trace_now()};
}
static inline void tn_span_end(tn_span *span)
{
    if (TN_UNLIKELY(span->name != NULL))
        tn_trace_write(span, tn_trace_now(), "");
}

#endif
