/* Texts of messages and listings: put together within their room, and what is in files told so that a terminal takes no orders from it. */
#include "core/core.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tn_put(tn_text_out *out, const char *format, ...)
{
    TN_C_NUMBERS;
    bool room = out->length < out->size;
    va_list list;
    va_start(list, format);
    int added = vsnprintf(room ? out->text + out->length : NULL, room ? out->size - out->length : 0, format, list);
    va_end(list);
    out->length += added > 0 ? (size_t)added : 0;
}

bool tn_is_utf8(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    while (at < end) {
        int more = *at < 0x80 ? 0 : *at >= 0xc2 && *at < 0xe0 ? 1 : *at >= 0xe0 && *at < 0xf0 ? 2 : *at >= 0xf0 && *at < 0xf5 ? 3 : -1;
        if (more < 0 || end - at <= more)
            return false;
        unsigned low = *at == 0xe0 ? 0xa0 : *at == 0xf0 ? 0x90 : 0x80; /* nothing longer than it need be */
        unsigned high = *at == 0xed ? 0x9f : *at == 0xf4 ? 0x8f : 0xbf; /* no surrogates, nothing above 10ffff */
        for (int i = 1; i <= more; i++, low = 0x80, high = 0xbf)
            if (at[i] < low || at[i] > high)
                return false;
        at += more + 1;
    }
    return true;
}

/* Bytes of the character that stands there; 0 of a control and of what is not UTF-8. */
static size_t shown(const char *text, size_t left)
{
    const unsigned char c = (unsigned char)*text;
    const size_t bytes = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (bytes > left || !tn_is_utf8(text, bytes))
        return 0;
    return c < ' ' || c == 127 || (c == 0xc2 && (unsigned char)text[1] < 0xa0) ? 0 : bytes;
}

/* What a terminal may have of the character there, ended by a 0; how many bytes of text that was. */
static size_t plain(const char *text, size_t left, char out[5])
{
    const size_t whole = shown(text, left);
    memcpy(out, text, whole);
    out[whole] = 0;
    if (!whole && (*text == '\n' || *text == '\t'))
        memcpy(out, *text == '\n' ? "\\n" : "\\t", 3);
    else if (!whole)
        snprintf(out, 5, "\\x%02x", (unsigned char)*text);
    return whole ? whole : 1;
}

void tn_put_abridged(tn_text_out *out, const char *text, size_t length, size_t most)
{
    size_t at = 0;
    char as[5];
    for (size_t bytes; at < length; at += bytes) {
        bytes = plain(text + at, length - at, as);
        if (bytes > most - at)
            break;
        tn_put(out, "%s%s", text[at] == '\\' ? "\\" : "", as);
    }
    if (at < length)
        tn_put(out, "... (%zu bytes)", length);
}

void tn_put_padded(tn_text_out *out, const char *text, size_t width)
{
    const size_t begin = out->length, length = strlen(text);
    tn_put_abridged(out, text, length, length);
    const size_t taken = out->length - begin;
    tn_put(out, "%*s", taken < width ? (int)(width - taken) : 0, "");
}

size_t tn_compose(char *out, size_t size, const char *format, va_list list)
{
    char text[1024], as[5];
    size_t used = 0, length;
    const int whole = vsnprintf(text, sizeof text, format, list);
    const size_t left = whole > 0 ? strlen(text) : 0;
    bool cut = false;
    for (size_t at = 0; at < left && !cut;) {
        at += plain(text + at, left - at, as);
        length = strlen(as);
        cut = used + length >= size;
        memcpy(out + used, as, cut ? 0 : length);
        used += cut ? 0 : length;
    }
    out[used] = 0;
    return cut || whole >= (int)sizeof text ? size : used;
}
