/* labels: quick */
/* CSV and TSV: quotes, ends of lines, numbers, words, and files that are wrong. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef TENON_HAVE_ZLIB
#include <zlib.h>
#endif

static char path[64], tsv[64];

static void write_bytes(const char *to, const char *text, size_t size)
{
    unlink(to);
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    fclose(f);
}

static void write_text(const char *text) { write_bytes(path, text, strlen(text)); }

static void check_row(const tn_table *t, int64_t row, int count, const char *const *due)
{
    check_good();
    assert_int_equal(tn_table_columns(t), count);
    for (int i = 0; i < count; i++)
        assert_string_equal(tn_table_text(t, row, i), due[i]);
}
#define CHECK_ROW(t, row, ...)                                                                                                \
    check_row(t, row, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *const[]){__VA_ARGS__})

static void test_fields(void **state)
{
    (void)state;
    TN_SCOPE;
    write_text("\xef\xbb\xbfname,\"a, b\"\r\n\r\n\"say \"\"hi\"\"\",\"two\nlines\"\r\n,\n\"\",\"\"\nx\"y,no end");
    tn_table *t = tn_load_table(path);
    check_good();
    assert_int_equal(tn_table_rows(t), 4);
    assert_string_equal(tn_table_name(t, 0), "name");
    assert_string_equal(tn_table_name(t, 1), "a, b");
    assert_int_equal(tn_table_column(t, "a, b"), 1);
    CHECK_ROW(t, 0, "say \"hi\"", "two\nlines");
    CHECK_ROW(t, 1, "", "");
    CHECK_ROW(t, 2, "", "");
    CHECK_ROW(t, 3, "x\"y", "no end");

    t = tn_load_table(path, .header = false);
    assert_int_equal(tn_table_rows(t), 5);
    CHECK_ROW(t, 0, "name", "a, b");
    assert_null(tn_table_name(t, 0));
    check_good();

    write_bytes(tsv, "he said \"no\t1\n\"\t2\n", 17); /* as CoLA has them: quotes are letters */
    t = tn_load_table(tsv, .quote = 0, .header = false);
    CHECK_ROW(t, 0, "he said \"no", "1");
    CHECK_ROW(t, 1, "\"", "2");

    write_text("a;b;c\n1;2;\n");
    t = tn_load_table(path, .separator = ';');
    CHECK_ROW(t, 0, "1", "2", "");

    write_text("one\n1\n2\n\n\n");
    t = tn_load_table(path);
    assert_int_equal(tn_table_rows(t), 2);
    write_text("only,names\r\n");
    t = tn_load_table(path);
    assert_int_equal(tn_table_rows(t), 0);
    assert_int_equal(tn_table_columns(t), 2);
    check_shape(tn_table_numbers(t, 0, .columns = 2), 0, 2);
    check_shape(tn_table_classes(t, 1, NULL, 0, NULL), 0);
    write_text("");
    assert_int_equal(tn_table_rows(tn_load_table(path, .header = false)), 0);
    check_good();
}

static void test_numbers(void **state)
{
    (void)state;
    TN_SCOPE;
    write_text("a,b,c\n1, 2.5 ,9223372036854775807\n-3e2,,-1\n");
    tn_table *t = tn_load_table(path);
    check_values(tn_table_numbers(t, 0, .columns = 2), 0, 1, 2.5, -300, NAN);
    check_shape(tn_table_numbers(t, 0, .columns = 1), 2, 1);
    tn_tensor *x = tn_table_numbers(t, tn_table_column(t, "c"), .dtype = TN_I64);
    check_shape(x, 2);
    assert_int_equal(tn_item_i64(tn_select(x, 0, 0)), INT64_MAX);
    assert_int_equal(tn_dtype_of(tn_table_numbers(t, 0)), TN_F32);
    write_text("0.1\n");
    assert_true(tn_item(tn_table_numbers(tn_load_table(path, .header = false), 0, .dtype = TN_F64)) == 0.1);
}

static void test_classes(void **state)
{
    (void)state;
    TN_SCOPE;
    write_text("x,kind\n1,b\n2,a\n3,c\n4,a\n");
    tn_table *t = tn_load_table(path);
    const char *names[2];
    int64_t count;
    check_values(tn_table_classes(t, 1, names, 2, &count), 0, 1, 0, 2, 0);
    assert_int_equal(count, 3);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "b");
}

#ifdef TENON_HAVE_ZLIB
static void test_gzip(void **state)
{
    (void)state;
    TN_SCOPE;
    gzFile f = gzopen(path, "wb");
    for (int i = 0; i < 30000; i++)
        gzprintf(f, "%d,%d\n", i, 2 * i);
    gzclose(f);
    tn_tensor *x = tn_table_numbers(tn_load_table(path, .header = false), 0, .columns = 2, .dtype = TN_I64);
    check_shape(x, 30000, 2);
    assert_true(tn_equal(tn_select(x, 1, 0), tn_arange(0, 30000)));
    assert_true(tn_equal(tn_select(x, 1, 1), tn_arange(0, 60000, 2)));
    assert_int_equal(truncate(path, 1000), 0);
    assert_null(tn_load_table(path));
    check_error(TN_ERR_FORMAT, "load_table: ");
}
#endif

static void test_errors(void **state)
{
    (void)state;
    TN_SCOPE;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"a,b\n1,2\n\n1,2,3\n", ":4: 3 fields, and the first row has 2"},
        {"a,b\n1\n", ":2: 1 fields"},
        {"a,b\n1,\"2\n3\n", ":2: a quote is opened and not closed"},
        {"a,b\n\"1\n\n\"x,2\n", ":4: \"x\" follows a closing quote"},
        {"a\n\"", ":2: a quote is opened"},
        {"", "empty, where the first row should name"},
        {"\n\r\n", "empty, where"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(bad[i].text);
        assert_null(tn_load_table(path));
        check_error(TN_ERR_FORMAT, bad[i].words);
    }
    write_bytes(path, "a,b\n1,\0", 7);
    assert_null(tn_load_table(path));
    check_error(TN_ERR_FORMAT, "byte 6 is 0");
    assert_null(tn_load_table("/nonexistent.csv"));
    check_error(TN_ERR_IO, "/nonexistent.csv");
    assert_null(tn_load_table(NULL));
    check_error(TN_ERR_ARGUMENT, "path is NULL");
    write_text("a,b\n1,x\n2,99999999999999999999\n3,0.5\n");
    assert_null(tn_load_table(path, .separator = '"'));
    check_error(TN_ERR_ARGUMENT, "separator and quote");
    assert_null(tn_load_table(path, .quote = '\n'));
    check_error(TN_ERR_ARGUMENT, "separator and quote");

    tn_table *t = tn_load_table(path);
    assert_null(tn_table_numbers(t, 0, .columns = 2));
    check_error(TN_ERR_FORMAT, ":2: column 1 (b): \"x\" is no number");
    assert_null(tn_table_numbers(t, 0, .columns = 3));
    check_error(TN_ERR_INDEX, "3 columns from 0 on, and the table has 2");
    assert_null(tn_table_numbers(t, 0, .columns = INT64_MAX));
    check_error(TN_ERR_INDEX, "the table has 2");
    assert_null(tn_table_numbers(t, 2));
    check_error(TN_ERR_INDEX, "column 2 of 2");
    assert_null(tn_table_numbers(t, 0, .dtype = TN_U8));
    check_error(TN_ERR_DTYPE, "uint8");
    assert_int_equal(tn_table_column(t, "z"), -1);
    check_error(TN_ERR_INDEX, "no column \"z\" among its 2");
    assert_null(tn_table_text(t, 3, 0));
    check_error(TN_ERR_INDEX, "row 3 of 3");
    assert_null(tn_table_text(t, 0, -1));
    check_error(TN_ERR_INDEX, "column -1");
    assert_null(tn_table_name(t, 2));
    check_error(TN_ERR_INDEX, "column 2");
    assert_null(tn_table_classes(t, 2, NULL, 0, NULL));
    check_error(TN_ERR_INDEX, "column 2");
    assert_int_equal(tn_table_rows(NULL), -1);
    check_error(TN_ERR_ARGUMENT, "table is NULL");
    write_text("99999999999999999999\n");
    t = tn_load_table(path, .header = false);
    assert_null(tn_table_numbers(t, 0, .dtype = TN_I64));
    check_error(TN_ERR_FORMAT, ":1: column 0: \"99999999999999999999\" is no whole number");
    write_text("\n\n0.5\n");
    t = tn_load_table(path, .header = false);
    assert_null(tn_table_numbers(t, 0, .dtype = TN_I64));
    check_error(TN_ERR_FORMAT, ":3: column 0: \"0.5\" is no whole number");
}

/* Any bytes end in a table or an error. */
static void test_noise(void **state)
{
    (void)state;
    static const char letters[] = "\",\n\r\t1a.";
    tn_manual_seed(1);
    for (int i = 0; i < 4000; i++) {
        TN_SCOPE;
        char text[33];
        size_t n = (size_t)tn_random_below(32);
        for (size_t k = 0; k < n; k++)
            text[k] = letters[tn_random_below(sizeof letters - 1)];
        write_bytes(path, text, n);
        tn_table *t = tn_load_table(path, .header = i % 2);
        assert_true(!t == (tn_last_status() != TN_OK));
        for (int64_t row = 0; t && row < tn_table_rows(t); row++)
            for (int64_t column = 0; column < tn_table_columns(t); column++)
                assert_true(strlen(tn_table_text(t, row, column)) <= n);
        tn_clear_error();
    }
}

static int make_paths(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/tenon-table-%ld.csv", (long)getpid());
    snprintf(tsv, sizeof tsv, "/tmp/tenon-table-%ld.tsv", (long)getpid());
    return 0;
}
static int remove_paths(void **state)
{
    (void)state;
    unlink(path);
    unlink(tsv);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fields),
        TEST(test_numbers),
        TEST(test_classes),
#ifdef TENON_HAVE_ZLIB
        TEST(test_gzip),
#endif
        TEST(test_errors),
        TEST(test_noise),
    };
    return cmocka_run_group_tests(tests, make_paths, remove_paths);
}
