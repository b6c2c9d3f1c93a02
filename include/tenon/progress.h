/* Tenon: a progress bar. */
#ifndef TENON_PROGRESS_H
#define TENON_PROGRESS_H

#include <stdio.h>
#include <tenon/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A bar of `total` steps (0 or less: unknown), for one thread at a time:
 *
 *     tn_progress_bar *bar = tn_progress_new(tn_loader_length(loader), stderr);
 *     TN_FOREACH_BATCH(batch, loader) { ... tn_progress(bar, "loss %.4f", tn_item(loss)); }
 *     tn_release(bar);
 *
 * On a terminal one line with bar, steps, steps a second, the text and the time left, drawn anew at most ten times a second. Where out
 * is no terminal plain lines, one at each tenth of the steps (of an unknown total: at 1, 2, 4, 8 ... steps) and one at the end. out NULL
 * is stderr; it must outlive the bar. Releasing a bar ends its line. */
typedef struct tn_progress_bar tn_progress_bar;
TN_API tn_progress_bar *tn_progress_new(int64_t total, FILE *out);
/* One step done; the text, printf-like and at most 255 bytes, stands in the line, NULL for none. Steps beyond the
 * total are not counted. Draws nothing while an error sticks; a NULL bar is allowed. */
TN_API void tn_progress(tn_progress_bar *bar, const char *format, ...) TN_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif

#endif
