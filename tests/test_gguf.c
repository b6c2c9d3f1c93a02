/* labels: quick */
/* GGUF: files of the gguf package, every rule of the format by hand, cut and changed anywhere, split models, and files written. */
#include "folder.h"

#include "core/core.h"

#include <stdarg.h>
#include <stdio.h>

#define VALUES TN_SOURCE_DIR "/tests/reference/files/values.gguf"

/* ---- files by hand -------------------------------------------------------------------------------------------------------- */

static uint8_t bytes[8192];
static size_t size;

/* Appends numbers of 1 byte (b), 4 (d) and 8 (q), text with its length (s), and zeros (z). */
static void put(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++) {
        const char *text = *format == 's' ? va_arg(arguments, const char *) : NULL;
        const uint64_t number = text ? strlen(text) : va_arg(arguments, uint64_t);
        const size_t width = *format == 'b' ? 1 : *format == 'd' ? 4 : *format == 'z' ? 0 : 8;
        for (size_t i = 0; i < width; i++)
            bytes[size++] = (uint8_t)(number >> 8 * i);
        if (text)
            memcpy(bytes + size, text, number);
        if (*format == 'z')
            memset(bytes + size, 0, number);
        size += text || *format == 'z' ? number : 0;
    }
    va_end(arguments);
}
#define N(number) (uint64_t)(number)

static void start(uint64_t version, uint64_t tensors, uint64_t values)
{
    size = 0;
    memcpy(bytes, "GGUF", 4);
    size = 4;
    put("dqq", version, tensors, values);
}

static tn_gguf *mapped(const char *name)
{
    write_file(in_folder(name), bytes, size);
    return tn_map_gguf(in_folder(name));
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static void check_values_of(const tn_gguf *file)
{
    static const struct {
        const char *key;
        tn_gguf_kind kind;
        int64_t value;
    } ints[] = {{"u8", TN_GGUF_U8, 200},         {"i8", TN_GGUF_I8, -100},          {"u16", TN_GGUF_U16, 60000},
                {"i16", TN_GGUF_I16, -30000},    {"u32", TN_GGUF_U32, 4000000000},  {"i32", TN_GGUF_I32, -2000000000},
                {"u64", TN_GGUF_U64, 1ll << 40}, {"i64", TN_GGUF_I64, -(1ll << 40)}};
    check_good();
    for (int i = 0; i < TN_COUNT(ints); i++) {
        const tn_gguf_entry entry = tn_gguf_entry_at(file, tn_gguf_find_key(file, ints[i].key));
        assert_string_equal(entry.key, ints[i].key);
        assert_int_equal(entry.kind, ints[i].kind);
        assert_int_equal(entry.element, ints[i].kind);
        assert_int_equal(entry.count, 1);
        assert_true(tn_gguf_int(file, ints[i].key, 7) == ints[i].value);
        assert_true(tn_gguf_float(file, ints[i].key, 7) == (double)ints[i].value);
    }
    assert_true(tn_gguf_float(file, "f32", 0) == (double)0.1f);
    assert_true(tn_gguf_bool(file, "yes", false) && !tn_gguf_bool(file, "no", true));
    assert_string_equal(tn_gguf_string(file, "general.architecture", NULL), "llama");
    assert_string_equal(tn_gguf_string(file, "text", ""), "d\xc3\xa9j\xc3\xa0 vu");
    assert_int_equal(tn_dtype_of(tn_gguf_numbers(file, "numbers")), TN_I64);
    check_values(tn_gguf_numbers(file, "numbers"), 0, 1, -2, 300000);
    check_values(tn_gguf_numbers(file, "reals"), 0, 0.5, -1.25);
    assert_int_equal(tn_dtype_of(tn_gguf_numbers(file, "reals")), TN_F32);
    check_values(tn_gguf_numbers(file, "flags"), 0, 1, 0, 1);
    assert_int_equal(tn_dtype_of(tn_gguf_numbers(file, "flags")), TN_BOOL);
    const tn_gguf_entry words = tn_gguf_entry_at(file, tn_gguf_find_key(file, "words"));
    assert_true(words.kind == TN_GGUF_ARRAY && words.element == TN_GGUF_STRING && words.count == 3);
    static const char *const due[] = {"<unk>", "", "\xc4\xa0hello"};
    for (int i = 0; i < 3; i++) {
        size_t length = 99;
        assert_string_equal(tn_gguf_string_at(file, "words", i, &length), due[i]);
        assert_int_equal(length, strlen(due[i]));
    }
    tn_tensor *x = tn_gguf_tensor(file, "token_embd.weight", TN_DTYPE_DEFAULT);
    check_shape(x, 3, 4);
    check_values(x, 0, 0, .125, .25, .375, .5, .625, .75, .875, 1, 1.125, 1.25, 1.375);
    check_good();
}

static void test_values_of_the_package(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_gguf *file = tn_map_gguf(VALUES);
    check_values_of(file);
    assert_true(tn_gguf_float(file, "f64", 0) == 0.1);
    assert_int_equal(tn_gguf_entry_at(file, tn_gguf_find_key(file, "nested")).element, TN_GGUF_ARRAY);
    assert_int_equal(tn_gguf_count(file), 3);
    assert_int_equal(tn_gguf_find(file, "norm.weight"), 1);
    assert_string_equal(tn_gguf_name(file, 1), "norm.weight");
    assert_int_equal(tn_gguf_blocks(file, 1).type, TN_QUANT_F16);
    assert_int_equal(tn_dtype_of(tn_gguf_tensor(file, "norm.weight", TN_DTYPE_DEFAULT)), TN_F16);
    check_values(tn_gguf_tensor(file, "norm.weight", TN_F32), 0, 0, 1, 2);
    check_values(tn_gguf_tensor(file, "norm.weight", TN_BF16), 0, 0, 1, 2);
    check_shape(tn_gguf_tensor(file, "cube", TN_F32), 2, 3, 32);
    tn_tensor *x = tn_keep(tn_gguf_tensor(file, "cube", TN_F32)), *y = tn_gguf_tensor(file, "cube", TN_F32);
    assert_true(tn_data(x) == tn_data(y)); /* no copy, and good after the file */
    tn_release(tn_keep(file));
    check_values(tn_narrow(tn_flatten(x, 0, -1), 0, 190, 2), 0, 190, 191);
    tn_release(x);
}

static void test_what_is_not_there(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_gguf *file = tn_map_gguf(VALUES);
    assert_int_equal(tn_gguf_int(file, "absent", -5), -5);
    assert_true(tn_gguf_float(file, "absent", 2.5) == 2.5);
    assert_true(tn_gguf_bool(file, "absent", true));
    assert_string_equal(tn_gguf_string(file, "absent", "x"), "x");
    assert_null(tn_gguf_string(file, "absent", NULL));
    assert_int_equal(tn_gguf_find_key(file, "absent"), -1);
    assert_int_equal(tn_gguf_find(file, "absent"), -1);
    assert_int_equal(tn_gguf_find(file, NULL), -1);
    check_good();
    assert_int_equal(tn_gguf_int(file, "text", 3), 0);
    check_error(TN_ERR_FORMAT, "\"text\" is STRING, not an integer that fits");
    assert_int_equal(tn_gguf_int(file, "numbers", 3), 0);
    check_error(TN_ERR_FORMAT, "\"numbers\" is an array of I32s");
    assert_true(isnan(tn_gguf_float(file, "yes", 3)));
    check_error(TN_ERR_FORMAT, "not a number");
    assert_false(tn_gguf_bool(file, "u8", true));
    check_error(TN_ERR_FORMAT, "not a BOOL");
    assert_null(tn_gguf_string(file, "u8", "x"));
    check_error(TN_ERR_FORMAT, "not a STRING");
    assert_null(tn_gguf_string_at(file, "words", 3, NULL));
    check_error(TN_ERR_INDEX, "3 strings: 3 is outside");
    assert_null(tn_gguf_string_at(file, "numbers", 0, NULL));
    check_error(TN_ERR_FORMAT, "not an array of STRINGs");
    assert_null(tn_gguf_string_at(file, "absent", 0, NULL));
    check_error(TN_ERR_INDEX, "no value \"absent\"");
    assert_null(tn_gguf_numbers(file, "words"));
    check_error(TN_ERR_FORMAT, "not an array of numbers");
    assert_null(tn_gguf_numbers(file, "nested"));
    check_error(TN_ERR_FORMAT, "an array of ARRAYs");
    assert_null(tn_gguf_numbers(file, "absent"));
    check_error(TN_ERR_INDEX, "absent");
    assert_null(tn_gguf_entry_at(file, 1000).key);
    check_error(TN_ERR_INDEX, "1000 is out of range");
    assert_null(tn_gguf_name(file, 3));
    check_error(TN_ERR_INDEX, "3 is out of range for 3");
    assert_null(tn_gguf_blocks(file, -1).data);
    check_error(TN_ERR_INDEX, "gguf_blocks");
    assert_null(tn_gguf_tensor(file, "absent", TN_F32));
    check_error(TN_ERR_INDEX, "no tensor \"absent\" among the file's 3");
    assert_null(tn_gguf_tensor(file, "cube", TN_I8));
    check_error(TN_ERR_DTYPE, "int8");
    assert_null(tn_map_gguf(NULL));
    check_error(TN_ERR_ARGUMENT, "path is NULL");
    assert_null(tn_map_gguf(in_folder("absent")));
    check_error(TN_ERR_IO, "No such file");
    write_file(in_folder("empty"), "", 0);
    assert_null(tn_map_gguf(in_folder("empty")));
    check_error(TN_ERR_FORMAT, "no GGUF file");
    assert_null(tn_gguf_kind_name((tn_gguf_kind)13));
    assert_string_equal(tn_gguf_kind_name(TN_GGUF_U64), "U64");
}

/* One tensor of 2 x 32 of the type, its sizes, offset and the bytes behind the header to be said. */
static void one_tensor(uint64_t columns, uint64_t rows, uint64_t type, uint64_t offset, size_t behind)
{
    start(3, 1, 0);
    put("sdqqdq", "w", N(2), columns, rows, type, offset);
    put("z", N((32 - size % 32) % 32 + behind));
}

static void test_every_rule_of_tensors(void **state)
{
    (void)state;
    static const struct {
        uint64_t columns, rows, type, offset;
        size_t behind;
        tn_status status;
        const char *words;
    } cases[] = {
        {32, 2, TN_QUANT_Q8_0, 0, 68, TN_OK, ""},
        {32, 2, TN_QUANT_Q8_0, 32, 100, TN_OK, ""},
        {0, 2, TN_QUANT_Q8_0, 0, 0, TN_OK, ""},
        {32, 2, TN_QUANT_Q8_0, 0, 67, TN_ERR_FORMAT, "\"w\" has 68 bytes from 96 on, and the file ends at 163"},
        {32, 2, TN_QUANT_Q8_0, 4, 128, TN_ERR_FORMAT, "\"w\" is at 4, no multiple of the alignment of 32"},
        {32, 2, TN_QUANT_Q8_0, 1ull << 62, 128, TN_ERR_FORMAT, "the file ends at"},
        {32, 2, TN_QUANT_Q8_0, INT64_MAX - 31, 128, TN_ERR_FORMAT, "the file ends at"},
        {32, 2, TN_QUANT_Q8_0, 1ull << 63, 128, TN_ERR_FORMAT, "tensor 0, \"w\": it is larger than a file can be"},
        {33, 2, TN_QUANT_Q8_0, 0, 128, TN_ERR_FORMAT, "rule: tensor 0, \"w\": rows of 33, no whole number of Q8_0's blocks of 32"},
        {1ull << 32, 1ull << 31, TN_QUANT_F32, 0, 128, TN_ERR_FORMAT, "shape is none"},
        {1ull << 31, 1ull << 31, TN_QUANT_F32, 0, 128, TN_ERR_FORMAT, "tensor 0, \"w\": it is larger than a file can be"},
        {UINT64_MAX, 1, TN_QUANT_F32, 0, 128, TN_ERR_FORMAT, "shape is none"},
        {32, 2, 4, 0, 128, TN_ERR_UNSUPPORTED, "type 4 with 2 dimensions"},
        {256, 2, TN_QUANT_IQ2_XXS, 0, 132, TN_ERR_UNSUPPORTED, "dequantize: blocks of IQ2_XXS are known by their size alone"},
        {256, 2, TN_QUANT_IQ2_XXS, 0, 131, TN_ERR_FORMAT, "\"w\" has 132 bytes from 96 on, and the file ends at 227"},
        {32, 2, TN_QUANT_IQ2_XXS, 0, 128, TN_ERR_FORMAT, "rows of 32, no whole number of IQ2_XXS's blocks of 256"},
        {32, 2, TN_QUANT_I32, 0, 256, TN_ERR_UNSUPPORTED, "blocks of I32 are known by their size alone"},
        {32, 2, 42, 0, 128, TN_ERR_UNSUPPORTED, "type 42"},
        {32, 2, UINT32_MAX, 0, 128, TN_ERR_UNSUPPORTED, "type 4294967295"},
    };
    for (int i = 0; i < TN_COUNT(cases); i++) {
        TN_SCOPE;
        one_tensor(cases[i].columns, cases[i].rows, cases[i].type, cases[i].offset, cases[i].behind);
        tn_gguf *file = mapped("rule");
        tn_tensor *w = file ? tn_gguf_tensor(file, "w", TN_F32) : NULL;
        if (cases[i].status != TN_OK)
            check_error(cases[i].status, cases[i].words);
        else
            check_shape(w, (int64_t)cases[i].rows, (int64_t)cases[i].columns);
    }
    start(3, 1, 0);
    put("sd", "w", N(9));
    put("qqqqqqqqqdq", N(1), N(1), N(1), N(1), N(1), N(1), N(1), N(1), N(1), N(0), N(0));
    assert_null(mapped("rule"));
    check_error(TN_ERR_UNSUPPORTED, "with 9 dimensions");
    start(3, 1, 0);
    put("sdqqq", "w", N(UINT32_MAX), N(0), N(0), N(0));
    assert_null(mapped("rule"));
    check_error(TN_ERR_FORMAT, "4294967295 dimensions cannot stand");
    start(3, 1, 0);
    put("sddqz", "w", N(0), N(TN_QUANT_F32), N(0), N(64));
    assert_int_equal(tn_ndim(tn_gguf_tensor(mapped("rule"), "w", TN_F32)), 0);
    start(3, 2, 0);
    put("sdqdqsdqdqz", "w", N(1), N(1), N(0), N(0), "w", N(1), N(1), N(0), N(0), N(64));
    assert_null(mapped("rule"));
    check_error(TN_ERR_FORMAT, "\"w\" is there twice");
}

static void test_every_rule_of_values(void **state)
{
    (void)state;
    TN_SCOPE;
#define REFUSED(status, words)                                                                                                \
    do {                                                                                                                      \
        assert_null(mapped("rule"));                                                                                          \
        check_error(status, words);                                                                                           \
    } while (0)
    start(2, 0, 1);
    put("sdd", "a", N(TN_GGUF_U32), N(5));
    assert_int_equal(tn_gguf_int(mapped("rule"), "a", 0), 5);
    start(1, 0, 0);
    REFUSED(TN_ERR_UNSUPPORTED, "of version 1");
    start(4, 0, 0);
    REFUSED(TN_ERR_UNSUPPORTED, "a version that is not known");
    start(3u << 24, 0, 0);
    REFUSED(TN_ERR_UNSUPPORTED, "in big endian");
    start(3, 0, 0);
    bytes[3] = 'f';
    REFUSED(TN_ERR_FORMAT, "no GGUF file");
    start(3, UINT64_MAX, 0);
    put("z", N(64));
    REFUSED(TN_ERR_FORMAT, "18446744073709551615 tensors cannot stand in the 72 bytes");
    start(3, 0, 1ull << 40);
    put("z", N(64));
    REFUSED(TN_ERR_FORMAT, "1099511627776 values cannot stand in the 64 bytes");
    start(3, 0, 1);
    put("qz", N(1ull << 63), N(64));
    REFUSED(TN_ERR_FORMAT, "letters of a string cannot stand");
    start(3, 0, 1);
    put("sdd", "", N(TN_GGUF_U32), N(5));
    REFUSED(TN_ERR_FORMAT, "rule: value 0: its name is empty");
    start(3, 0, 1);
    put("sdd", "a\xff", N(TN_GGUF_U32), N(5));
    REFUSED(TN_ERR_FORMAT, "value 0: its name is empty, has a 0 in it or is not UTF-8");
    start(3, 0, 1);
    put("qbbdd", N(2), N('a'), N(0), N(TN_GGUF_U32), N(5));
    REFUSED(TN_ERR_FORMAT, "has a 0 in it");
    start(3, 0, 1);
    put("sdd", "a", N(13), N(5));
    REFUSED(TN_ERR_FORMAT, "value 0, \"a\": kind 13");
    start(3, 0, 1);
    put("sdb", "a", N(TN_GGUF_BOOL), N(2));
    REFUSED(TN_ERR_FORMAT, "neither 0 nor 1");
    start(3, 0, 1);
    put("sddqbb", "a", N(TN_GGUF_ARRAY), N(TN_GGUF_BOOL), N(2), N(1), N(2));
    REFUSED(TN_ERR_FORMAT, "neither 0 nor 1");
    start(3, 0, 1);
    put("sddqz", "a", N(TN_GGUF_ARRAY), N(TN_GGUF_F64), N(1ull << 61), N(64));
    REFUSED(TN_ERR_FORMAT, "elements of an array cannot stand");
    start(3, 0, 1);
    put("sddqz", "a", N(TN_GGUF_ARRAY), N(TN_GGUF_STRING), N(9), N(64));
    REFUSED(TN_ERR_FORMAT, "9 elements of an array cannot stand");
    start(3, 0, 1);
    put("sddqz", "a", N(TN_GGUF_ARRAY), N(99), N(0), N(64));
    REFUSED(TN_ERR_FORMAT, "an array of kind 99");
    start(3, 0, 1);
    put("sd", "a", N(TN_GGUF_ARRAY));
    for (int i = 0; i < 20; i++)
        put("dq", N(TN_GGUF_ARRAY), N(1));
    put("dq", N(TN_GGUF_U8), N(0));
    REFUSED(TN_ERR_FORMAT, "arrays inside arrays");
    start(3, 0, 2);
    put("sddsdd", "a", N(TN_GGUF_U32), N(5), "a", N(TN_GGUF_U32), N(5));
    REFUSED(TN_ERR_FORMAT, "\"a\" is there twice");
    start(3, 0, 1);
    put("sdd", "general.alignment", N(TN_GGUF_U32), N(48));
    REFUSED(TN_ERR_FORMAT, "an alignment of 48, which is no power of two");
    start(3, 0, 1);
    put("sdd", "general.alignment", N(TN_GGUF_U32), N(0));
    REFUSED(TN_ERR_FORMAT, "an alignment of 0");
    start(3, 0, 1);
    put("sds", "general.alignment", N(TN_GGUF_STRING), "32");
    REFUSED(TN_ERR_FORMAT, "general.alignment is STRING, not an integer");
    start(3, 0, 2);
    put("sdqsddqq", "a", N(TN_GGUF_U64), UINT64_MAX, "b", N(TN_GGUF_ARRAY), N(TN_GGUF_U64), N(1), UINT64_MAX);
    tn_gguf *file = mapped("rule");
    assert_int_equal(tn_gguf_int(file, "a", 0), 0);
    check_error(TN_ERR_FORMAT, "\"a\" is U64, not an integer that fits");
    assert_null(tn_gguf_numbers(file, "b"));
    check_error(TN_ERR_FORMAT, "not an array of numbers that fit");
    start(3, 0, 1);
    put("sddqqbbb", "s", N(TN_GGUF_ARRAY), N(TN_GGUF_STRING), N(1), N(3), N('a'), N(0), N('b'));
    size_t length;
    assert_memory_equal(tn_gguf_string_at(mapped("rule"), "s", 0, &length), "a\0b", 4);
    assert_int_equal(length, 3);
}

static void test_alignment_is_honoured(void **state)
{
    (void)state;
    TN_SCOPE;
    start(3, 2, 1);
    put("sdd", "general.alignment", N(TN_GGUF_U32), N(64));
    put("sdqdqsdqdq", "a", N(1), N(1), N(0), N(0), "b", N(1), N(1), N(0), N(64));
    put("z", N((64 - size % 64) % 64));
    put("dzd", N(0x3f800000), N(60), N(0x40000000));
    tn_gguf *file = mapped("aligned");
    check_values(tn_gguf_tensor(file, "a", TN_F32), 0, 1);
    check_values(tn_gguf_tensor(file, "b", TN_F32), 0, 2);
}

/* ---- cut and changed anywhere ----------------------------------------------------------------------------------------------- */

/* Reads all that a file has; no leak, and no more memory than the file warrants. */
static bool read_all(const char *path, size_t length)
{
    const int64_t live = tn_live_objects();
    bool loaded;
    {
        TN_SCOPE;
        tn_memory_reset_peak();
        const int64_t before = tn_get_memory_stats().peak;
        tn_gguf *file = tn_map_gguf(path);
        loaded = file != NULL;
        const int64_t used = tn_get_memory_stats().peak - before;
        if (used > (int64_t)(16 * length + 8192))
            fail_msg("%lld bytes allocated for a file of %zu", (long long)used, length);
        assert_int_equal(loaded, tn_last_status() == TN_OK);
        if (!loaded)
            assert_true(strstr(tn_last_error(), path) != NULL);
        for (int64_t i = 0; i < tn_gguf_count(file); i++) {
            (void)tn_gguf_tensor(file, tn_gguf_name(file, i), TN_F32);
            check_good();
        }
        tn_clear_error();
    }
    assert_int_equal(tn_live_objects(), live);
    return loaded;
}

static void test_cut_or_changed_anywhere(void **state)
{
    (void)state;
    size = read_file(VALUES, bytes, sizeof bytes);
    char path[128];
    snprintf(path, sizeof path, "%s", in_folder("cut"));
    assert_true(read_all(VALUES, size));
    for (size_t length = 0; length + 31 < size; length++) { /* the last tensor's padding may be gone */
        write_file(path, bytes, length);
        if (read_all(path, length))
            fail_msg("cut to %zu of %zu bytes it loads", length, size);
    }
    write_file(path, bytes, size);
    int fd = open(path, O_WRONLY);
    for (size_t at = 0; at < size; at++) {
        for (int flip = 1; flip < 256; flip += flip < 4 || getenv("TENON_TEST_LONG") ? 1 : 50) {
            const uint8_t byte = bytes[at] ^ (uint8_t)flip;
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
            read_all(path, size);
        }
        assert_int_equal(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
    }
    close(fd);
}

/* ---- split models --------------------------------------------------------------------------------------------------------- */

/* File `number` of `count`, with one tensor of its name and number. */
static const char *write_split(const char *name, int number, int count, int tensors)
{
    char tensor[8];
    snprintf(tensor, sizeof tensor, "t%d", number);
    start(3, 1, tensors >= 0 ? 3 : 2);
    put("sdbbsdbb", "split.no", N(TN_GGUF_U16), N(number), N(0), "split.count", N(TN_GGUF_U16), N(count), N(0));
    if (tensors >= 0)
        put("sdd", "split.tensors.count", N(TN_GGUF_I32), N(tensors));
    put("sdqdq", tensor, N(1), N(1), N(0), N(0));
    put("z", N((32 - size % 32) % 32));
    put("d", N(0x3f800000 + ((uint64_t)number << 23)));
    write_file(in_folder(name), bytes, size);
    return in_folder(name);
}

static void test_split_models(void **state)
{
    (void)state;
    TN_SCOPE;
    write_split("m-00002-of-00003.gguf", 1, 3, 3);
    write_split("m-00003-of-00003.gguf", 2, 3, 3);
    tn_gguf *file = tn_map_gguf(write_split("m-00001-of-00003.gguf", 0, 3, 3));
    check_good();
    assert_int_equal(tn_gguf_count(file), 3);
    check_values(tn_gguf_tensor(file, "t0", TN_F32), 0, 1);
    check_values(tn_gguf_tensor(file, "t1", TN_F32), 0, 2);
    check_values(tn_gguf_tensor(file, "t2", TN_F32), 0, 4);
    assert_null(tn_map_gguf(in_folder("m-00002-of-00003.gguf")));
    check_error(TN_ERR_FORMAT, "not the first of the model's files");
    assert_null(tn_map_gguf(write_split("other.gguf", 0, 3, 3)));
    check_error(TN_ERR_FORMAT, "the first of 3 files of a model is named ...-00001-of-00003.gguf");
    assert_null(tn_map_gguf(write_split("n-00001-of-00002.gguf", 0, 2, 2)));
    check_error(TN_ERR_IO, "n-00002-of-00002.gguf: cannot open: No such file");
    write_split("n-00002-of-00002.gguf", 0, 2, 2);
    assert_null(tn_map_gguf(in_folder("n-00001-of-00002.gguf")));
    check_error(TN_ERR_FORMAT, "this is not file 2 of 2 of the model");
    write_split("n-00002-of-00002.gguf", 1, 3, 2);
    assert_null(tn_map_gguf(in_folder("n-00001-of-00002.gguf")));
    check_error(TN_ERR_FORMAT, "this is not file 2 of 2 of the model");
    write_split("n-00002-of-00002.gguf", 1, 2, -1);
    assert_int_equal(tn_gguf_count(tn_map_gguf(in_folder("n-00001-of-00002.gguf"))), 2);
    write_split("n-00001-of-00002.gguf", 0, 2, 3);
    assert_null(tn_map_gguf(in_folder("n-00001-of-00002.gguf")));
    check_error(TN_ERR_FORMAT, "the model's files have 2 tensors, and 3 are due");
    write_split("n-00001-of-00002.gguf", 0, 2, 1);
    assert_null(tn_map_gguf(in_folder("n-00001-of-00002.gguf")));
    check_error(TN_ERR_FORMAT, "the model's files have 2 tensors, and 1 are due");
    start(3, 0, 1);
    put("sdd", "split.count", N(TN_GGUF_I32), N(-2));
    assert_null(mapped("n-00001-of-00002.gguf"));
    check_error(TN_ERR_FORMAT, "a model of -2 files");
}

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

static void set_values(tn_gguf_writer *w)
{
    int bad = tn_gguf_set_string(w, "general.architecture", "llama");
    bad |= tn_gguf_set_int(w, "u8", TN_GGUF_U8, 200) | tn_gguf_set_int(w, "i8", TN_GGUF_I8, -100);
    bad |= tn_gguf_set_int(w, "u16", TN_GGUF_U16, 60000) | tn_gguf_set_int(w, "i16", TN_GGUF_I16, -30000);
    bad |= tn_gguf_set_int(w, "u32", TN_GGUF_U32, 4000000000) | tn_gguf_set_int(w, "i32", TN_GGUF_I32, -2000000000);
    bad |= tn_gguf_set_int(w, "u64", TN_GGUF_U64, 1ll << 40) | tn_gguf_set_int(w, "i64", TN_GGUF_I64, -(1ll << 40));
    bad |= tn_gguf_set_float(w, "f32", 0.5) | tn_gguf_set_float(w, "f32", 0.1);
    bad |= tn_gguf_set_int(w, "yes", TN_GGUF_BOOL, 1) | tn_gguf_set_int(w, "no", TN_GGUF_BOOL, 0);
    bad |= tn_gguf_set_string(w, "text", "d\xc3\xa9j\xc3\xa0 vu");
    bad |= tn_gguf_set_array(w, "numbers", TN_GGUF_I32, (int32_t[]){1, -2, 300000}, 3);
    bad |= tn_gguf_set_array(w, "reals", TN_GGUF_F32, (float[]){.5f, -1.25f}, 2);
    bad |= tn_gguf_set_array(w, "flags", TN_GGUF_BOOL, (bool[]){true, false, true}, 3);
    bad |= tn_gguf_set_array(w, "words", TN_GGUF_STRING, (const char *[]){"<unk>", "", "\xc4\xa0hello"}, 3);
    assert_int_equal(bad, TN_OK);
}

static const tn_quant made[] = {TN_QUANT_F32,  TN_QUANT_F16,  TN_QUANT_BF16, TN_QUANT_Q8_0,
                                TN_QUANT_Q4_0, TN_QUANT_Q5_0, TN_QUANT_Q4_K, TN_QUANT_Q6_K};

static void test_written_and_read(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_gguf *reference = tn_map_gguf(VALUES);
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    set_values(w);
    assert_int_equal(tn_gguf_copy_key(w, reference, "f64"), TN_OK);
    assert_int_equal(tn_gguf_copy_key(w, reference, "nested"), TN_OK);
    assert_int_equal(tn_gguf_set_int(w, "general.alignment", TN_GGUF_U32, 64), TN_OK);
    assert_int_equal(tn_gguf_add_blocks(w, "token_embd.weight", tn_gguf_blocks(reference, 0), reference), TN_OK);
    tn_tensor *x = tn_cos(tn_reshape(tn_arange(512, .dtype = TN_F32), TN_SHAPE(2, 256)));
    for (int i = 0; i < TN_COUNT(made); i++)
        assert_int_equal(tn_gguf_add(w, tn_quant_name(made[i]), x, made[i]), TN_OK);
    tn_release(tn_keep(reference)); /* the writer has it still */
    assert_int_equal(tn_save_gguf(w, in_folder("written.gguf")), TN_OK);
    const char *keep = getenv("TN_TEST_KEEP"); /* for tests/reference/make_gguf.py --check */
    char path[256];
    snprintf(path, sizeof path, "%s/written.gguf", keep ? keep : "");
    assert_int_equal(keep ? tn_save_gguf(w, path) : TN_OK, TN_OK);
    tn_gguf *file = tn_map_gguf(in_folder("written.gguf"));
    check_values_of(file);
    assert_true(tn_gguf_float(file, "f64", 0) == 0.1);
    assert_int_equal(tn_gguf_entry_at(file, tn_gguf_find_key(file, "nested")).element, TN_GGUF_ARRAY);
    for (int i = 0; i < TN_COUNT(made); i++) {
        const tn_blocks blocks = tn_gguf_blocks(file, tn_gguf_find(file, tn_quant_name(made[i])));
        uint8_t due[4096];
        assert_int_equal(blocks.type, made[i]);
        assert_int_equal(tn_quantize(x, made[i], due, blocks.size), TN_OK);
        assert_memory_equal(blocks.data, due, blocks.size);
        assert_int_equal(((uintptr_t)blocks.data) % 64, 0);
    }
    /* A file of copies alone is the same to the byte. */
    tn_gguf_writer *copy = tn_adopt(tn_gguf_writer_new());
    int bad = 0;
    for (int64_t i = 0; i < tn_gguf_key_count(file); i++)
        bad |= tn_gguf_copy_key(copy, file, tn_gguf_entry_at(file, i).key);
    for (int64_t i = 0; i < tn_gguf_count(file); i++)
        bad |= tn_gguf_add_blocks(copy, tn_gguf_name(file, i), tn_gguf_blocks(file, i), i % 2 ? NULL : file);
    assert_int_equal(bad | tn_save_gguf(copy, in_folder("copied.gguf")), TN_OK);
    static uint8_t a[16384], b[16384];
    const size_t length = read_file(in_folder("written.gguf"), a, sizeof a);
    assert_int_equal(read_file(in_folder("copied.gguf"), b, sizeof b), length);
    assert_memory_equal(a, b, length);
    check_good();
}

static void test_what_is_not_written(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_gguf *reference = tn_map_gguf(VALUES);
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    static const struct {
        tn_gguf_kind kind;
        int64_t value;
    } unfit[] = {{TN_GGUF_U8, 256}, {TN_GGUF_U8, -1}, {TN_GGUF_I8, 128}, {TN_GGUF_I8, -129}, {TN_GGUF_BOOL, 2}, {TN_GGUF_U64, -1},
                 {TN_GGUF_U32, 1ll << 32}, {TN_GGUF_I32, 1ll << 31}};
    for (int i = 0; i < TN_COUNT(unfit); i++) {
        assert_int_equal(tn_gguf_set_int(w, "k", unfit[i].kind, unfit[i].value), TN_ERR_ARGUMENT);
        check_error(TN_ERR_ARGUMENT, "does not fit");
    }
    assert_int_equal(tn_gguf_set_int(w, "k", TN_GGUF_I64, INT64_MIN), TN_OK);
    assert_int_equal(tn_gguf_set_int(w, "k", TN_GGUF_F32, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "kind 6 is none of integers");
    assert_int_equal(tn_gguf_set_int(w, "", TN_GGUF_U8, 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "empty");
    assert_int_equal(tn_gguf_set_string(w, "a\xff", ""), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "not UTF-8");
    assert_int_equal(tn_gguf_set_string(w, "a", NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "text is NULL");
    assert_int_equal(tn_gguf_set_array(w, "a", TN_GGUF_STRING, (const char *[]){"x", NULL}, 2), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "is NULL");
    assert_int_equal(tn_gguf_set_array(w, "a", TN_GGUF_ARRAY, "", 1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "of kind 9");
    assert_int_equal(tn_gguf_copy_key(w, reference, "absent"), TN_ERR_INDEX);
    check_error(TN_ERR_INDEX, "absent");
    assert_int_equal(tn_gguf_add_blocks(w, "b", (tn_blocks){TN_QUANT_F16, TN_SHAPE(4), "1234567", 7}, NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"b\": [4] of F16 needs 8 bytes and has 7");
    assert_int_equal(tn_gguf_add_blocks(w, "b", (tn_blocks){TN_QUANT_F16, TN_SHAPE(4), NULL, 8}, NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "has 0");
    assert_int_equal(tn_gguf_add_blocks(w, "b", tn_gguf_blocks(reference, 99), reference), TN_ERR_INDEX);
    check_error(TN_ERR_INDEX, "99 is out of range");
    tn_tensor *x = tn_zeros(TN_SHAPE(2, 32));
    assert_int_equal(tn_gguf_add(w, "x", x, TN_QUANT_Q8_0), TN_OK);
    assert_int_equal(tn_gguf_add(w, "x", x, TN_QUANT_Q8_0), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"x\" is there already");
    assert_int_equal(tn_gguf_add(w, "a-name-of-64-bytes-is-one-more-than-what-llama.cpp-has-room-for!!", x, TN_QUANT_F32), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "have up to 63");
    assert_int_equal(tn_gguf_add(w, "y", x, TN_QUANT_Q4_K), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "gguf_add: \"y\": blocks_bytes: rows of 32");
    assert_int_equal(tn_gguf_add(w, "y", x, TN_QUANT_Q5_1), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "to be Q5_1");
    assert_int_equal(tn_gguf_add(w, "y", tn_zeros(TN_SHAPE(2), .dtype = TN_I64), TN_QUANT_F32), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "is int64");
    assert_int_equal(tn_gguf_add(w, "y", tn_zeros(TN_SHAPE(0, 32)), TN_QUANT_F32), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "none that is empty");
    assert_int_equal(tn_gguf_add(w, "y", tn_zeros(TN_SHAPE(1, 1, 1, 1, 1)), TN_QUANT_F32), TN_ERR_SHAPE);
    check_error(TN_ERR_SHAPE, "1 to 4 dimensions");
    assert_int_equal(tn_save_gguf(w, "/nonexistent/x.gguf"), TN_ERR_IO);
    check_error(TN_ERR_IO, "/nonexistent/x.gguf");
    write_file(in_folder("old"), "old", 3);
    assert_int_equal(tn_gguf_add(w, "nan", tn_full(TN_SHAPE(32), NAN), TN_QUANT_Q4_0), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("old")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "save_gguf: \"nan\": quantize: element 0 is");
    assert_int_equal(read_file(in_folder("old"), bytes, 8), 3);
    assert_int_equal(tn_gguf_set_int(w, "general.alignment", TN_GGUF_U32, 48), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("old")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "no");
    assert_int_equal(tn_gguf_set_int(w, "general.alignment", TN_GGUF_U64, 64), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("old")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "power of two of kind U32");
    assert_int_equal(tn_save_gguf(NULL, in_folder("old")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "writer is NULL");
}

int main(void)
{
    if (!make_folder("gguf"))
        return 1;
    const struct CMUnitTest tests[] = {TEST(test_values_of_the_package), TEST(test_what_is_not_there), TEST(test_every_rule_of_tensors),
                                       TEST(test_every_rule_of_values), TEST(test_alignment_is_honoured), TEST(test_cut_or_changed_anywhere),
                                       TEST(test_split_models), TEST(test_written_and_read), TEST(test_what_is_not_written)};
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return !remove_folder() || failed;
}
