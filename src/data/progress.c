/* A progress bar: one line drawn anew on a terminal, a few plain lines elsewhere. */
#include "core/core.h"

#include <tenon/progress.h>

#include <stdarg.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct tn_progress_bar {
    tn_object base;
    FILE *out;
    int64_t total, done;
    int64_t next;        /* plain lines: at which step the next one is due */
    double start, drawn; /* seconds */
    bool terminal, open; /* open: the line on the terminal has not been ended */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void progress_free(void *self)
{
    tn_progress_bar *bar = self;
    if (bar->open) {
        fputc('\n', bar->out);
        fflush(bar->out);
    }
}
static const tn_class progress_class = {"progress", sizeof(tn_progress_bar), progress_free};

static int64_t tenth(const tn_progress_bar *bar) { return bar->total / 10 + (bar->total % 10 != 0); }

tn_progress_bar *tn_progress_new(int64_t total, FILE *out)
{
    tn_progress_bar *bar = tn_failing() ? NULL : tn_object_new(&progress_class);
    if (!bar)
        return NULL;
    bar->out = out ? out : stderr;
    bar->total = total > 0 ? total : 0;
    bar->next = bar->total ? tenth(bar) : 1;
    bar->start = bar->drawn = now();
    int descriptor = fileno(bar->out);
    bar->terminal = descriptor >= 0 && isatty(descriptor);
    return bar;
}

/* "1:05", "2:03:04". */
static void write_time(char *out, size_t size, double seconds)
{
    long long s = seconds < 360000 ? (long long)(seconds + 0.5) : 360000;
    if (s < 3600)
        snprintf(out, size, "%lld:%02lld", s / 60, s % 60);
    else
        snprintf(out, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

static int columns_of(const tn_progress_bar *bar)
{
    struct winsize window;
    return ioctl(fileno(bar->out), TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
}

static void draw(tn_progress_bar *bar, double time, const char *text)
{
    char tail[400], clock[24];
    double elapsed = time - bar->start, rate = elapsed > 0 ? (double)bar->done / elapsed : 0;
    bool ended = bar->done == bar->total;
    write_time(clock, sizeof clock, ended || !bar->total || rate <= 0 ? elapsed : (double)(bar->total - bar->done) / rate);
    int length = snprintf(tail, sizeof tail, "%.*f it/s  %s%s%s%s", rate < 10 ? 2 : rate < 100 ? 1 : 0, rate, text, *text ? "  " : "", clock,
                          ended || !bar->total ? "" : " left");
    char steps[48];
    if (bar->total)
        length += snprintf(steps, sizeof steps, "%3d%%  %lld/%lld", (int)(100 * (double)bar->done / (double)bar->total),
                           (long long)bar->done, (long long)bar->total);
    else
        length += snprintf(steps, sizeof steps, "%lld", (long long)bar->done);
    if (!bar->terminal) {
        fprintf(bar->out, "%s  %s\n", steps, tail);
    } else {
        static const char full[] = "##############################", empty[] = "..............................";
        int width = columns_of(bar) - length - 8;
        width = !bar->total || width < 5 ? 0 : width > 30 ? 30 : width;
        int filled = bar->total ? (int)(width * (double)bar->done / (double)bar->total) : 0;
        fprintf(bar->out, "\r\033[?7l%s%.*s%.*s%s%s  %s\033[K\033[?7h", width ? "[" : "", filled, full, width - filled, empty,
                width ? "] " : "", steps, tail); /* ?7l: a terminal too narrow cuts the line instead of wrapping it */
        bar->open = !ended;
        if (ended)
            fputc('\n', bar->out);
    }
    fflush(bar->out);
    bar->drawn = time;
}

void tn_progress(tn_progress_bar *bar, const char *format, ...)
{
    if (!bar || tn_failing() || (bar->total && bar->done == bar->total))
        return;
    bar->done++;
    double time = now();
    bool ended = bar->done == bar->total;
    if (bar->terminal ? !ended && bar->open && time - bar->drawn < 0.1 : !ended && bar->done < bar->next)
        return;
    while (bar->next <= bar->done)
        bar->next += bar->total ? tenth(bar) : bar->next;
    char text[256] = "";
    if (format) {
        va_list list;
        va_start(list, format);
        vsnprintf(text, sizeof text, format, list);
        va_end(list);
    }
    draw(bar, time, text);
}
