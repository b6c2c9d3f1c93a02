/* What the program that zeros.awk writes is made of. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tenon.h>

static int failures, sticking; /* sticking: this round has an error that sticks */
static const char *now = "";
static int64_t live;

static void crashed(int signal)
{
    (void)signal;
    fprintf(stderr, "%s: crashes\n", now);
    _Exit(1);
}

static void wrong(const char *what)
{
    fprintf(stderr, "%s: %s%s: %s\n", now, sticking ? "while an error sticks " : "", what, tn_last_error() ? tn_last_error() : "no error");
    failures++;
}

static void before(const char *name)
{
    now = name;
    live = tn_live_objects();
    if (sticking)
        tn_fail(TN_ERR_INDEX, "the first");
}

/* failed: what the result says. works: the function may do its work while an error sticks. */
static void after(int failed, int works)
{
    if (sticking && !works && !failed)
        wrong("it does not fail");
    if (sticking && (tn_last_status() != TN_ERR_INDEX || strcmp(tn_last_error(), "the first") != 0))
        wrong("the first error went");
    if (!sticking && tn_last_status() != TN_OK && strlen(tn_last_error()) < 10)
        wrong("the message says nothing");
    tn_clear_error();
    tn_scope_clear();
    if (tn_live_objects() != live)
        wrong("an object is left");
    now = "";
}

static const void *kept;
#define OWNED(name, call) (before(#name), kept = (call), tn_release(kept), after(!kept, 0))
#define KEPT(name, call) (before(#name), kept = (call), tn_release(kept), after(!kept, 1))
#define LENT(name, call) (before(#name), kept = (call), after(!kept, 0))
#define STATUS(name, call) (before(#name), after((call) != TN_OK, 0))
#define DOUBLE(name, call) (before(#name), after(isnan(call), 0))
#define OTHER(name, call) (before(#name), (void)(call), after(1, 1))
/* A struct that is NULL or has no size is refused, in words. */
#define OPTIONS(name, args)                                                                                                   \
    (before(#name), (void)!name(NULL), refused(), after(1, 1), before(#name), (void)!name(&(args){0}), refused(), after(1, 1))
static void refused(void)
{
    if (!sticking && (tn_last_status() != TN_ERR_ARGUMENT || strncmp(tn_last_error(), "options: ", 9) != 0))
        wrong("it does not look at its options' size: let it begin with TN_KNOWN()");
}

static void all(void);

int main(void)
{
    signal(SIGSEGV, crashed);
    all();
    sticking = 1;
    all();
    return failures != 0;
}
