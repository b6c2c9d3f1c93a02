/* Errors: the first one sticks, per thread, with its text and the caller's place. */
#include "core/core.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A thread's texts: on the heap, since thread-local storage of the initial-exec model must be small for dlopen() to place it. */
enum { MESSAGE_SIZE = 640 };
typedef struct tn_texts {
    char messages[2][MESSAGE_SIZE]; /* that of the error that sticks; those that come while it is set aside */
    char buffers[6][TN_TEXT_SIZE];
    unsigned turn;
} tn_texts;
static tn_texts last_resort; /* where there is no memory for a thread's own */

static tn_texts *own(void)
{
    if (!tn_this.texts && tn_thread_register())
        tn_this.texts = calloc(1, sizeof *tn_this.texts);
    return tn_this.texts ? tn_this.texts : &last_resort;
}

static char *message(void) { return own()->messages[tn_this.aside]; }

void tn_texts_thread_end(void)
{
    free(tn_this.texts);
    tn_this.texts = NULL;
}

char *tn_text_buffer(void)
{
    tn_texts *t = own();
    return t->buffers[t->turn++ % TN_COUNT(t->buffers)];
}

static tn_error_handler handler;
static tn_log_handler log_handler;
static void *log_context;

void *tn_fail(tn_status status, const char *format, ...)
{
    if (tn_failing())
        return NULL;
    tn_this.status = status == TN_OK ? TN_ERR_STATE : (int)status;
    tn_this.site_known = false;
    va_list list;
    va_start(list, format);
    tn_compose(message(), MESSAGE_SIZE, format, list);
    va_end(list);
    return NULL;
}

void tn_fail_within(const char *format, ...)
{
    if (!tn_failing())
        return;
    char text[MESSAGE_SIZE];
    va_list list;
    va_start(list, format);
    const size_t length = tn_compose(text, sizeof text, format, list);
    va_end(list);
    if (length >= sizeof text)
        return;
    snprintf(text + length, sizeof text - length, ": %.*s", (int)(sizeof text - length - 3), message());
    memcpy(message(), text, sizeof text);
}

tn_status tn_site_status_(tn_status status, const char *file, int line)
{
    if (status != TN_OK && tn_failing() && !tn_this.site_known) {
        tn_this.site_known = true;
        char *text = message();
        size_t length = strlen(text);
        snprintf(text + length, MESSAGE_SIZE - length, " (%s:%d)", file, line);
    }
    return status;
}

void *tn_site_(void *result, const char *file, int line)
{
    if (!result)
        tn_site_status_((tn_status)tn_this.status, file, line);
    return result;
}

const char *tn_last_error(void) { return tn_failing() ? message() : NULL; }
tn_status tn_last_status(void) { return (tn_status)tn_this.status; }
void tn_clear_error(void) { tn_this.status = TN_OK; }

tn_aside tn_error_aside(void)
{
    tn_aside aside = {tn_this.status, tn_this.site_known, tn_this.aside};
    if (tn_failing())
        tn_this.aside = true;
    tn_this.status = TN_OK;
    return aside;
}

void tn_error_back(tn_aside *aside)
{
    if (aside->status == TN_OK)
        return;
    tn_this.aside = aside->aside;
    tn_this.status = aside->status;
    tn_this.site_known = aside->site_known;
}

const char *tn_status_text(tn_status status)
{
    static const char *const texts[] = {
#define TEXT(name, text) text,
        TN_STATUS_LIST(TEXT)
#undef TEXT
    };
    return (unsigned)status < (unsigned)TN_COUNT(texts) ? texts[status] : "unknown status";
}

tn_status tn_check(tn_status status)
{
    tn_error_handler call = __atomic_load_n(&handler, __ATOMIC_ACQUIRE);
    if (status != TN_OK && call)
        call();
    return status;
}

tn_error_handler tn_set_error_handler(tn_error_handler next) { return __atomic_exchange_n(&handler, next, __ATOMIC_ACQ_REL); }

void tn_die(void)
{
    const char *text = tn_last_error();
    fprintf(stderr, "tenon: %s\n", text ? text : "tn_die was called, and no error sticks");
    exit(1);
}

void tn_set_log_handler(tn_log_handler next, void *context)
{
    log_context = context;
    __atomic_store_n(&log_handler, next, __ATOMIC_RELEASE);
}

void tn_warn(const char *format, ...)
{
    tn_log_handler call = __atomic_load_n(&log_handler, __ATOMIC_ACQUIRE);
    if (!call)
        return;
    char text[512];
    va_list list;
    va_start(list, format);
    tn_compose(text, sizeof text, format, list);
    va_end(list);
    call(text, log_context);
}
