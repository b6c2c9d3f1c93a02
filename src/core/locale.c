/* Numbers in texts, whatever the program's locale. */
#include <pthread.h>

#include "core/core.h"

static locale_t c_locale; /* made once; glibc's and musl's takes no memory */
static void make_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

locale_t tn_locale_c(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_locale);
    return uselocale(c_locale);
}

void tn_locale_back(locale_t *before) { uselocale(*before); }
