/* Tenon: tables of text. CSV and TSV files, whose columns are numbers or words. */
#ifndef TENON_TABLE_H
#define TENON_TABLE_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of fields, all as text; numbers are read from it when asked for. */
typedef struct tn_table tn_table;
#define TN_LOAD_TABLE_OPTIONS(X)                                                                                              \
    X(char, separator, 0) /* between fields; 0: a tab where the path ends in .tsv or .tsv.gz, else a comma */                 \
    X(char, quote, '"')   /* around fields that have separators or ends of lines in them, doubled inside; 0: none */          \
    X(bool, header, true) /* the first row has the columns' names */
typedef struct tn_load_table_args { /* tn_load_table("iris.csv"), tn_load_table("train.tsv", .quote = 0, .header = false) */
    size_t size TN_SIZE_(tn_load_table_args);
    TN_LOAD_TABLE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *path TN_ZERO_;
} tn_load_table_args;
/* A table of a file (RFC 4180), plain or gzip-ed: lines end in LF, CR LF or the file's end; empty lines are skipped, as is UTF-8's mark at the
 * start. A row with more or fewer fields than the first, a quote that does not close, text behind one that did and a zero byte are
 * TN_ERR_FORMAT, which names the line. */
TN_API tn_table *tn_load_table_with(const tn_load_table_args *args);

TN_API int64_t tn_table_rows(const tn_table *table); /* without the header; -1 on error */
TN_API int64_t tn_table_columns(const tn_table *table);
/* A column's name, the table's; NULL and TN_ERR_INDEX outside, NULL without a header. */
TN_API const char *tn_table_name(const tn_table *table, int64_t column);
/* The first column of that name; -1 and TN_ERR_INDEX when there is none. */
TN_API int64_t tn_table_column(const tn_table *table, const char *name);
/* A field, the table's; NULL and TN_ERR_INDEX outside. */
TN_API const char *tn_table_text(const tn_table *table, int64_t row, int64_t column);

#define TN_TABLE_NUMBERS_OPTIONS(X)                                                                                           \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT) /* f32, f64 or i64 */                                                                \
    X(int64_t, columns, 0)               /* how many, side by side; 0: the one, without a dimension for it */
typedef struct tn_table_numbers_args { /* tn_table_numbers(table, 0, .columns = 4), tn_table_numbers(table, 5, .dtype = TN_I64) */
    size_t size TN_SIZE_(tn_table_numbers_args);
    TN_TABLE_NUMBERS_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_table *table TN_ZERO_;
    int64_t column TN_ZERO_;
} tn_table_numbers_args;
/* Columns as numbers, [rows] or [rows, columns]. Of floats an empty field is NaN. A field that is no number (of i64: no whole one that fits)
 * is TN_ERR_FORMAT, which names the file, its line and the column. Numbers are C's, whatever the program's locale. */
TN_API tn_tensor *tn_table_numbers_with(const tn_table_numbers_args *args);
/* A column's words numbered, i64 [rows]: 0 for the first of them in the order of their bytes, 1 for the next other one, ... names, unless NULL,
 * gets up to `most` of them, the table's; how many there are goes into *count, unless NULL. */
TN_API tn_tensor *tn_table_classes(const tn_table *table, int64_t column, const char **names, int64_t most, int64_t *count);

#ifdef __cplusplus
}
#endif

#endif
