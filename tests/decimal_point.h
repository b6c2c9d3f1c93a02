/* A locale with another decimal point, made for the test: systems come without one. */
#ifndef TN_TEST_DECIMAL_POINT_H
#define TN_TEST_DECIMAL_POINT_H

#include "folder.h"

#include <locale.h>

static inline void write_text(const char *name, const char *text) { write_file(in_folder(name), text, strlen(text)); }

/* "," or "\u066b", of two bytes, in the folder; false, and said, where the system makes none (no localedef, no glibc). */
static inline bool set_decimal_point(const char *point)
{
    const char *name = *point == ',' ? "comma" : "arabic"; /* glibc keeps what it has read by its name */
    char text[200];
    const int length = snprintf(text, sizeof text, "cd %s && LC_ALL=C I18NPATH=. localedef -c -i source -f ./characters ./%s > /dev/null 2>&1", folder, name);
    assert_true(length < (int)sizeof text);
    write_text("characters", "<escape_char> /\n<mb_cur_min> 1\n<mb_cur_max> 2\nCHARMAP\n<U0000>..<U007F> /x00\n<U066B> /xd9/xab\nEND CHARMAP\n");
    write_text("source", *point == ',' ? "LC_NUMERIC\ndecimal_point \"<U002C>\"\nthousands_sep \"\"\ngrouping -1\nEND LC_NUMERIC\n"
                                       : "LC_NUMERIC\ndecimal_point \"<U066B>\"\nthousands_sep \"\"\ngrouping -1\nEND LC_NUMERIC\n");
    (void)!system(text); /* fails for what else a locale has, and writes what there is */
    setenv("LOCPATH", folder, 1);
    const bool set = setlocale(LC_NUMERIC, name) && strcmp(localeconv()->decimal_point, point) == 0;
    if (!set)
        print_message("skipped: this system makes no locale whose decimal point is '%s'\n", point);
    return set;
}

#endif
