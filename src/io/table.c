/* CSV and TSV: a file in memory is cut into fields where it lies. */
#include "io/file.h"

#include <tenon/table.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tn_table {
    tn_object base;
    char *path;
    char *text; /* [size + 1]: the file; each field ends in a 0 */
    int64_t size, places;
    char **fields;  /* [places]: the names, where there are some, then row after row */
    int64_t *lines; /* [places] of each row, the header's included */
    int64_t rows, columns;
    bool header;
};

static void table_free(void *self)
{
    tn_table *t = self;
    if (t->path)
        tn_free(t->path, strlen(t->path) + 1);
    tn_free(t->text, (size_t)t->size + 1);
    tn_free(t->fields, (size_t)t->places * sizeof *t->fields);
    tn_free(t->lines, (size_t)t->places * sizeof *t->lines);
}
static const tn_class table_class = {"table", sizeof(tn_table), table_free};

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

/* The whole file into t->text; false with an error. What is gzip-ed shows its length at its end only. */
static bool read_all(tn_table *t, tn_reader *r)
{
    int64_t capacity = r->gzip ? (r->size < 1 << 16 ? 1 << 16 : r->size) : r->left, used = 0, got = 1;
    char *text = tn_alloc((size_t)capacity + 1);
    while (text && got > 0) {
        if (used == capacity && r->gzip) {
            char *more = tn_alloc(2 * (size_t)capacity + 1);
            if (more)
                memcpy(more, text, (size_t)used);
            tn_free(text, (size_t)capacity + 1);
            text = more;
            capacity *= 2;
            continue;
        }
        got = r->gzip ? tn_gzip_some(r->gzip, text + used, capacity - used) : tn_reader_raw(r, text + used, capacity - used);
        used += got > 0 ? got : 0;
    }
    t->text = text;
    t->size = capacity;
    if (!text || got < 0)
        return false;
    text[used] = 0;
    const char *zero = memchr(text, 0, (size_t)used);
    if (zero)
        tn_fail(TN_ERR_FORMAT, "load_table: %s: byte %lld is 0: not a file of text", r->path, (long long)(zero - text));
    return !zero;
}

typedef struct cutter {
    const char *path;
    char separator, quote;
    char *at;
    int64_t line;
} cutter;

/* Cuts a field off at c->at; true where the row goes on behind it. A quoted field is moved together where quotes are doubled in it. */
static bool cut_field(cutter *c, char **field)
{
    char *from = c->at, *to = c->at;
    *field = to;
    if (c->quote && *from == c->quote) {
        int64_t first = c->line;
        for (from++; *from && (*from != c->quote || from[1] == c->quote); *to++ = *from++) {
            from += *from == c->quote;
            c->line += *from == '\n';
        }
        if (!*from)
            tn_fail(TN_ERR_FORMAT, "load_table: %s:%lld: a quote is opened and not closed", c->path, (long long)first);
        from += *from != 0;
        if (*from && *from != c->separator && *from != '\n' && !(*from == '\r' && from[1] == '\n'))
            tn_fail(TN_ERR_FORMAT, "load_table: %s:%lld: \"%.1s\" follows a closing quote, where %s should", c->path, (long long)c->line, from,
                    c->separator == '\t' ? "a tab or the line's end" : "a separator or the line's end");
    } else {
        while (*from && *from != c->separator && *from != '\n')
            from++;
        to = from - (*from != c->separator && from > *field && from[-1] == '\r');
    }
    from += *from == '\r' && from[1] == '\n';
    bool more = *from && *from == c->separator;
    c->line += *from == '\n';
    c->at = from + (*from != 0);
    *to = 0;
    return more;
}

/* Past empty lines; false at the end. */
static bool next_row(cutter *c)
{
    for (; *c->at == '\n' || (*c->at == '\r' && (c->at[1] == '\n' || !c->at[1])); c->at++)
        c->line += *c->at == '\n';
    return *c->at != 0;
}

static void cut_rows(tn_table *t, cutter *c)
{
    int64_t count = 0;
    while (!tn_failing() && next_row(c)) {
        int64_t line = c->line, start = count;
        t->lines[t->rows] = line;
        while (cut_field(c, &t->fields[count++]) && !tn_failing())
            continue;
        if (t->rows++ == 0)
            t->columns = count;
        else if (count - start != t->columns)
            tn_fail(TN_ERR_FORMAT, "load_table: %s:%lld: %lld fields, and the first row has %lld", c->path, (long long)line,
                    (long long)(count - start), (long long)t->columns);
    }
    if (!tn_failing() && t->header && t->rows == 0)
        tn_fail(TN_ERR_FORMAT, "load_table: %s: empty, where the first row should name the columns", c->path);
    t->rows -= t->header;
}

/* As many fields as there can be: one, and one behind each separator and each end of a line. */
static bool make_places(tn_table *t, const cutter *c)
{
    t->places = 1;
    for (const char *at = c->at; *at; at++)
        t->places += *at == c->separator || *at == '\n';
    t->fields = tn_alloc((size_t)t->places * sizeof *t->fields);
    t->lines = t->fields ? tn_alloc((size_t)t->places * sizeof *t->lines) : NULL;
    return t->lines != NULL;
}

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

static bool table_read(tn_table *t, tn_reader *r, const tn_load_table_args *a)
{
    bool tabs = ends_in(a->path, ".tsv") || ends_in(a->path, ".tsv.gz");
    cutter c = {.path = a->path, .separator = a->separator ? a->separator : tabs ? '\t' : ',', .quote = a->quote, .line = 1};
    t->path = tn_alloc(strlen(a->path) + 1);
    if (!t->path)
        return false;
    strcpy(t->path, a->path);
    if (c.separator == c.quote || c.separator == '\n' || c.separator == '\r' || c.quote == '\n' || c.quote == '\r') {
        tn_fail(TN_ERR_ARGUMENT, "load_table: separator and quote must differ from each other and from a line's end");
        return false;
    }
    if (!read_all(t, r))
        return false;
    c.at = t->text + (strncmp(t->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    t->header = a->header;
    if (make_places(t, &c))
        cut_rows(t, &c);
    return !tn_failing();
}

tn_table *tn_load_table_with(const tn_load_table_args *args)
{
    TN_KNOWN(tn_load_table_args, args);
    tn_reader r;
    if (!tn_reader_open(&r, "load_table", args->path, true))
        return NULL;
    tn_table *t = tn_object_new(&table_class);
    if (t && !table_read(t, &r, args)) {
        tn_release(t);
        t = NULL;
    }
    tn_reader_close(&r);
    return tn_autorelease(t);
}

/* ---- asking ------------------------------------------------------------------------------------------------------------- */

static bool is_table(const char *op, const tn_table *t)
{
    if (!tn_failing() && (!t || t->base.cls != &table_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: table is %s", op, t ? "no table" : "NULL");
    return !tn_failing();
}

static bool in_range(const char *op, const char *what, int64_t i, int64_t count)
{
    if (i < 0 || i >= count)
        tn_fail(TN_ERR_INDEX, "%s: %s %lld of %lld", op, what, (long long)i, (long long)count);
    return !tn_failing();
}

static char *field_of(const tn_table *t, int64_t row, int64_t column) { return t->fields[(row + t->header) * t->columns + column]; }

int64_t tn_table_rows(const tn_table *t) { return is_table("table_rows", t) ? t->rows : -1; }
int64_t tn_table_columns(const tn_table *t) { return is_table("table_columns", t) ? t->columns : -1; }

const char *tn_table_name(const tn_table *t, int64_t column)
{
    return is_table("table_name", t) && in_range("table_name", "column", column, t->columns) && t->header ? t->fields[column] : NULL;
}

int64_t tn_table_column(const tn_table *t, const char *name)
{
    if (!is_table("table_column", t))
        return -1;
    for (int64_t i = 0; name && t->header && i < t->columns; i++)
        if (strcmp(t->fields[i], name) == 0)
            return i;
    tn_fail(TN_ERR_INDEX, "table_column: %s has no column \"%s\" among its %lld", t->path, name ? name : "NULL", (long long)t->columns);
    return -1;
}

const char *tn_table_text(const tn_table *t, int64_t row, int64_t column)
{
    bool there = is_table("table_text", t) && in_range("table_text", "row", row, t->rows) && in_range("table_text", "column", column, t->columns);
    return there ? field_of(t, row, column) : NULL;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------ */

static const char *past_blanks(const char *text) { return text + strspn(text, " \t"); }

/* The field's number into *value or, of an integer, *whole; false where it has none. */
static bool parse(const char *text, bool integer, double *value, int64_t *whole)
{
    char *end;
    text = past_blanks(text);
    if (!*text && !integer) {
        *value = __builtin_nan("");
        return true;
    }
    errno = 0;
    if (integer)
        *whole = strtoll(text, &end, 10);
    else
        *value = strtod(text, &end);
    return end != text && !*past_blanks(end) && (!integer || errno == 0);
}

static void not_a_number(const tn_table *t, int64_t row, int64_t column, tn_dtype dtype)
{
    const char *name = t->header ? t->fields[column] : "";
    tn_fail(TN_ERR_FORMAT, "table_numbers: %s:%lld: column %lld%s%.40s%s: \"%.40s\" is no %s", t->path, (long long)t->lines[row + t->header],
            (long long)column, t->header ? " (" : "", name, t->header ? ")" : "", field_of(t, row, column),
            dtype == TN_I64 ? "whole number of 64 bits" : "number");
}

tn_tensor *tn_table_numbers_with(const tn_table_numbers_args *a)
{
    TN_KNOWN(tn_table_numbers_args, a);
    const tn_table *t = a->table;
    int64_t n = a->columns ? a->columns : 1, last;
    if (!is_table("table_numbers", t) || !in_range("table_numbers", "column", a->column, t->columns))
        return NULL;
    if (n < 0 || __builtin_add_overflow(a->column, n, &last) || last > t->columns)
        return tn_fail(TN_ERR_INDEX, "table_numbers: %lld columns from %lld on, and the table has %lld", (long long)n, (long long)a->column,
                       (long long)t->columns);
    tn_dtype dtype = tn_dtype_or_default(a->dtype);
    if (dtype != TN_F32 && dtype != TN_F64 && dtype != TN_I64)
        return tn_fail(TN_ERR_DTYPE, "table_numbers: %s: numbers are read as float32, float64 or int64", tn_dtype_name(dtype));
    TN_C_NUMBERS;
    tn_tensor *x = tn_new("table_numbers", a->columns ? TN_SHAPE(t->rows, n) : TN_SHAPE(t->rows), dtype, (tn_device_id){TN_CPU, 0});
    char *out = x ? tn_ptr(x) : NULL;
    for (int64_t i = 0; x && i < x->numel; i++) {
        double value = 0;
        int64_t whole = 0, row = i / n, column = a->column + i % n;
        if (!parse(field_of(t, row, column), dtype == TN_I64, &value, &whole)) {
            not_a_number(t, row, column, dtype);
            return NULL;
        }
        if (dtype == TN_F32)
            ((float *)(void *)out)[i] = (float)value;
        else if (dtype == TN_F64)
            ((double *)(void *)out)[i] = value;
        else
            ((int64_t *)(void *)out)[i] = whole;
    }
    return x;
}

/* ---- classes ------------------------------------------------------------------------------------------------------------ */

typedef struct word {
    const char *text;
    int64_t row;
} word;

static int by_text(const void *a, const void *b) { return strcmp(((const word *)a)->text, ((const word *)b)->text); }

tn_tensor *tn_table_classes(const tn_table *t, int64_t column, const char **names, int64_t most, int64_t *count)
{
    if (count)
        *count = 0;
    if (!is_table("table_classes", t) || !in_range("table_classes", "column", column, t->columns))
        return NULL;
    tn_tensor *x = tn_new("table_classes", TN_SHAPE(t->rows), TN_I64, (tn_device_id){TN_CPU, 0});
    size_t bytes = (size_t)t->rows * sizeof(word);
    word *words = x ? tn_alloc(bytes) : NULL;
    if (!words)
        return NULL;
    for (int64_t i = 0; i < t->rows; i++)
        words[i] = (word){field_of(t, i, column), i};
    qsort(words, (size_t)t->rows, sizeof *words, by_text);
    int64_t class = -1;
    for (int64_t i = 0; i < t->rows; i++) {
        if (i == 0 || strcmp(words[i].text, words[i - 1].text) != 0) {
            class++;
            if (names && class < most)
                names[class] = words[i].text;
        }
        ((int64_t *)(void *)tn_ptr(x))[words[i].row] = class;
    }
    if (count)
        *count = class + 1;
    tn_free(words, bytes);
    return x;
}
