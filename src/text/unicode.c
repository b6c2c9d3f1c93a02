/* UTF-8, categories, the normal forms C and D (Unicode Standard Annex 15), by tables that make_unicode.py writes. */
#include "text/text.h"

#include "io/file.h"
#include "text/unicode_tables.h"

#include <stdlib.h>

/* ---- UTF-8 --------------------------------------------------------------------------------------------------------------- */

/* How many bytes follow the first of a character, and between what the second must lie; -1: none begins so. */
static int follow(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80; /* nothing longer than it need be */
    *high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf; /* no surrogates, nothing above 10ffff */
    return first < 0x80 ? 0 : first < 0xc2 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : -1;
}

/* How many bytes of the character that begins at text are there, 1 where none begins; *due: how many it should have, 0 where none begins. */
static int part(const char *text, int64_t size, int *due)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char low, high;
    int more = follow(*at, &low, &high), n = 1;
    *due = more + 1;
    for (; n <= more && n < size && at[n] >= low && at[n] <= high; n++, low = 0x80, high = 0xbf)
        continue;
    return n;
}

int32_t tn_utf8_next(const char *text, int64_t size, int *taken)
{
    const unsigned char *at = (const unsigned char *)text;
    *taken = 1;
    if (*at < 0x80)
        return *at;
    int due, n = part(text, size, &due);
    if (n != due)
        return -1;
    *taken = n;
    int32_t point = *at & (0x7f >> n);
    for (int i = 1; i < n; i++)
        point = point << 6 | (at[i] & 0x3f);
    return point;
}

int tn_utf8_part(const char *text, int64_t size, bool *cut)
{
    int due, n = part(text, size, &due);
    *cut = n < due && n == size;
    return n;
}

int tn_utf8_put(int32_t point, char out[4])
{
    int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    for (int i = more; i > 0; i--, point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)(more ? (0xf00 >> (more + 1) & 0xff) | point : point);
    return more + 1;
}

int32_t tn_utf8_loose_next(const char *text, int64_t size, int *taken)
{
    const unsigned char *at = (const unsigned char *)text;
    const int more = *at < 0xc0 ? 0 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : *at < 0xf8 ? 3 : 0;
    int32_t point = *at & (0x3f >> more);
    *taken = 1;
    for (int i = 1; i <= more; i++) {
        if (i >= size || (at[i] & 0xc0) != 0x80)
            return -1;
        point = point << 6 | (at[i] & 0x3f);
    }
    if (!more || point > 0x10ffff)
        return -1;
    *taken = more + 1;
    return point;
}

bool tn_utf8_mend(const char *text, int64_t size, bool loose, tn_bytes *out)
{
    char put[4];
    int64_t good = 0, at = 0;
    while (at < size) {
        int due, taken;
        if (tn_utf8_next(text + at, size - at, &taken) >= 0) {
            at += taken;
            continue;
        }
        const int32_t point = loose ? tn_utf8_loose_next(text + at, size - at, &taken) : -1;
        taken = loose ? taken : part(text + at, size - at, &due);
        if (!tn_bytes_add(out, text + good, at - good) || !tn_bytes_add(out, put, tn_utf8_put(point < 0 ? 0xfffd : point, put)))
            return false;
        good = at += taken;
    }
    return tn_bytes_add(out, text + good, at - good);
}

/* ---- categories ---------------------------------------------------------------------------------------------------------- */

/* The last of runs that begins at or before the point, whose runs are sorted by what is above the lowest `shift` bits. */
static uint32_t run_of(const uint32_t *runs, int count, int32_t point, int shift)
{
    int low = 0, high = count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if ((int32_t)(runs[middle] >> shift) <= point)
            low = middle;
        else
            high = middle;
    }
    return runs[low];
}

int tn_category(int32_t point) { return (int)(run_of(category_runs, TN_COUNT(category_runs), point, 5) & 31); }

uint32_t tn_category_mask(const char *name, int64_t size)
{
    uint32_t mask = 0;
    for (int i = 0; i < TN_COUNT(category_names); i++)
        if (category_names[i][0] == name[0] && (size == 1 || (size == 2 && category_names[i][1] == name[1])))
            mask |= 1u << i;
    return mask;
}

bool tn_white_space(int32_t point)
{
    return point == ' ' || (point >= '\t' && point <= '\r') || point == 0x85 || point == 0xa0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200a) ||
           point == 0x2028 || point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

bool tn_word_point(int32_t point)
{
    static uint32_t mask; /* letters, marks, digits, numbers that are letters, connectors; the same whoever computes it */
    uint32_t is = __atomic_load_n(&mask, __ATOMIC_RELAXED);
    if (!is) {
        is = tn_category_mask("L", 1) | tn_category_mask("M", 1) | tn_category_mask("Nd", 2) | tn_category_mask("Nl", 2) | tn_category_mask("Pc", 2);
        __atomic_store_n(&mask, is, __ATOMIC_RELAXED);
    }
    return (is >> tn_category(point) & 1) || point == 0x200c || point == 0x200d || (point >= 0x24b6 && point <= 0x24e9) ||
           (point >= 0x1f130 && point <= 0x1f149) || (point >= 0x1f150 && point <= 0x1f169) || (point >= 0x1f170 && point <= 0x1f189);
}

/* ---- normal forms -------------------------------------------------------------------------------------------------------- */

enum { HANGUL = 0xac00, HANGULS = 11172, LEADS = 0x1100, VOWELS = 0x1161, TAILS = 0x11a7, TAIL_COUNT = 28, VOWEL_COUNT = 21, LEAD_COUNT = 19 };

typedef struct mark {
    int32_t point;
    int class;
    size_t place;
} mark;
typedef struct marks { /* a starter and the marks behind it */
    mark *list;
    size_t count, capacity;
} marks;

static int class_of(int32_t point) { return (int)(run_of(class_runs, TN_COUNT(class_runs), point, 8) & 255); }

static const uint32_t *parts_of(int32_t point)
{
    int low = 0, high = TN_COUNT(decompositions);
    while (low < high) {
        int middle = (low + high) / 2;
        int32_t is = (int32_t)(decompositions[middle][0] >> 1);
        if (is == point)
            return decompositions[middle];
        if (is < point)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The one point that a and b make; -1: none. */
static int32_t composed(int32_t a, int32_t b)
{
    if (a >= LEADS && a < LEADS + LEAD_COUNT && b >= VOWELS && b < VOWELS + VOWEL_COUNT)
        return HANGUL + ((a - LEADS) * VOWEL_COUNT + (b - VOWELS)) * TAIL_COUNT;
    if (a >= HANGUL && a < HANGUL + HANGULS && (a - HANGUL) % TAIL_COUNT == 0 && b > TAILS && b < TAILS + TAIL_COUNT)
        return a + (b - TAILS);
    for (int low = 0, high = TN_COUNT(compositions); low < high;) {
        const uint32_t *is = decompositions[compositions[(low + high) / 2]];
        int64_t order = (int64_t)is[1] != a ? (int64_t)is[1] - a : (int64_t)is[2] - b;
        if (order == 0)
            return (int32_t)(is[0] >> 1);
        if (order < 0)
            low = (low + high) / 2 + 1;
        else
            high = (low + high) / 2;
    }
    return -1;
}

static bool put_mark(marks *m, int32_t point)
{
    if (!tn_grow(&m->list, m->count, &m->capacity, sizeof *m->list))
        return false;
    int class = class_of(point);
    m->list[m->count] = (mark){point, class, m->count};
    m->count++;
    return true;
}

static bool decompose(marks *m, int32_t point)
{
    if (point >= HANGUL && point < HANGUL + HANGULS) {
        int32_t at = point - HANGUL, tail = at % TAIL_COUNT;
        return put_mark(m, LEADS + at / (VOWEL_COUNT * TAIL_COUNT)) && put_mark(m, VOWELS + at / TAIL_COUNT % VOWEL_COUNT) &&
               (!tail || put_mark(m, TAILS + tail));
    }
    const uint32_t *parts = point < 0xc0 ? NULL : parts_of(point);
    if (!parts)
        return put_mark(m, point);
    return decompose(m, (int32_t)parts[1]) && (!parts[2] || decompose(m, (int32_t)parts[2]));
}

static int by_class(const void *a, const void *b)
{
    const mark *x = a, *y = b;
    return x->class != y->class ? x->class - y->class : x->place < y->place ? -1 : 1;
}

static void sort_marks(marks *m)
{
    for (size_t at = 0, end; at < m->count; at = end + 1) {
        for (end = at; end < m->count && m->list[end].class; end++)
            continue;
        if (end - at > 1)
            qsort(m->list + at, end - at, sizeof *m->list, by_class);
    }
}

/* A mark joins the starter before it unless one between them has its class or a higher one. */
static void compose_marks(marks *m)
{
    size_t starter = 0, kept = 1;
    bool there = m->count && m->list[0].class == 0;
    for (size_t i = 1; i < m->count; i++) {
        mark now = m->list[i];
        int before = kept > starter + 1 ? m->list[kept - 1].class : -1;
        int32_t one = there && before < now.class ? composed(m->list[starter].point, now.point) : -1;
        if (one >= 0) {
            m->list[starter].point = one;
            continue;
        }
        if (now.class == 0) {
            starter = kept;
            there = true;
        }
        m->list[kept++] = now;
    }
    m->count = m->count ? kept : 0;
}

static bool put_out(marks *m, bool compose, tn_bytes *out)
{
    char bytes[4];
    bool good = true;
    sort_marks(m);
    if (compose)
        compose_marks(m);
    for (size_t i = 0; good && i < m->count; i++)
        good = tn_bytes_add(out, bytes, tn_utf8_put(m->list[i].point, bytes));
    m->count = 0;
    return good;
}

bool tn_normal_form(const char *text, int64_t size, bool compose, tn_bytes *out)
{
    marks m = {0};
    bool good = true;
    int taken;
    for (int64_t at = 0; good && at < size; at += taken) {
        int32_t point = tn_utf8_next(text + at, size - at, &taken);
        if (point < 0x300 || (point >= 0x3400 && point < 0xa000)) /* nothing before it can join it */
            good = put_out(&m, compose, out);
        good = good && (point < 0 ? tn_bytes_add(out, text + at, 1) : decompose(&m, point));
    }
    good = good && put_out(&m, compose, out);
    tn_free(m.list, m.capacity * sizeof *m.list);
    return good;
}
