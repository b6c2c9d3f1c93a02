/* A table of kernels whose calls are written to the trace and added to the calling thread's profile. */
#ifndef TN_TRACED_H
#define TN_TRACED_H

#include <tenon/profile.h>

#include "kernels/work.h"

/* Puts in front of every slot one that looks at the call. For one table. */
void tn_trace_kernels(tn_kernels *table);
/* backends.c: one more who wants the CPU's calls to be looked at, or one fewer. */
void tn_kernels_traced(bool on);

/* What a call's arguments say: dtypes, sizes and numbers, by their names. */
enum { TN_NOTES = 8 };
typedef struct tn_note {
    const char *argument;
    enum { TN_NOTE_NUMBER, TN_NOTE_DTYPE, TN_NOTE_SIZES } kind;
    int count;
    int64_t values[TN_MAX_DIMS];
} tn_note;
typedef struct tn_call_notes {
    const char *slot, *name; /* name: in capitals, of the operator where one slot serves many; else the slot */
    int threads;             /* that share the call */
    int count;
    tn_note all[TN_NOTES];
} tn_call_notes;
/* The name in small letters. */
void tn_notes_name(const tn_call_notes *notes, char *text, size_t size);
/* "float32 loop [2, 3]", or as JSON: "\"dtype\":\"float32\",\"loop\":\"[2, 3]\"". */
size_t tn_notes_text(const tn_call_notes *notes, bool json, char *text, size_t size);

/* profile.c: the thread's profile gets one more call, of so many microseconds. */
void tn_profile_add(tn_profile *profile, const tn_call_notes *notes, double us, const tn_work *work);

#endif
