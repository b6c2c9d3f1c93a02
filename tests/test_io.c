/* labels: quick */
/* Files: dicts, safetensors, IDX; cut at any byte, changed at any byte of the header. */
#include "folder.h"

#include "core/core.h"
#include "io/file.h"

#include <errno.h>
#include <sys/stat.h>

#ifdef TENON_HAVE_ZLIB
#include <zlib.h>
#endif

/* A tensor of these elements, by the core alone. */
static tn_tensor *made(const void *data, tn_dtype dtype, tn_shape shape)
{
    tn_tensor *x = tn_new("made", shape, dtype, (tn_device_id){TN_CPU, 0});
    if (x)
        memcpy(tn_ptr(x), data, (size_t)x->numel * tn_item_size(x));
    return x;
}
#define MADE(dtype, type, shape, ...) made((const type[]){__VA_ARGS__}, dtype, shape)

/* ---- dicts -------------------------------------------------------------------------------------------------------------- */

static void test_dict_keeps_order_and_replaces_in_place(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_dict *dict = tn_adopt(tn_dict_new());
    char name[16];
    for (int i = 0; i < 1000; i++) {
        TN_SCOPE;
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(tn_dict_set(dict, name, MADE(TN_I32, int, TN_SCALAR, i)), TN_OK);
    }
    assert_int_equal(tn_dict_set(dict, "t500", MADE(TN_I32, int, TN_SCALAR, -1)), TN_OK);
    assert_int_equal(tn_dict_count(dict), 1000);
    assert_string_equal(tn_dict_name(dict, 500), "t500");
    check_values(tn_dict_get(dict, "t500"), 0, -1);
    check_values(tn_dict_tensor(dict, 999), 0, 999);
    assert_int_equal(tn_dict_find(dict, "absent"), -1);
    check_good();
    assert_null(tn_dict_get(dict, "absent"));
    check_error(TN_ERR_INDEX, "no tensor \"absent\" among the dict's 1000");
    assert_null(tn_dict_name(dict, 1000));
    check_error(TN_ERR_INDEX, "out of range");
    assert_int_equal(tn_dict_set(dict, "x", NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "tensor is NULL");
    assert_int_equal(tn_dict_set_note(dict, "k", "1"), TN_OK);
    assert_int_equal(tn_dict_set_note(dict, "k", "2"), TN_OK);
    const tn_dict *part = tn_dict_part(dict, "t99");
    assert_int_equal(tn_dict_count(part), 11); /* "", "0" ... "9" */
    assert_int_equal(tn_dict_note_count(part), 0);
    check_values(tn_dict_get(part, ""), 0, 99);
    check_values(tn_dict_get(part, "7"), 0, 997);
    assert_string_equal(tn_dict_note(tn_dict_part(dict, ""), "k"), "2");
    assert_int_equal(tn_dict_count(tn_dict_part(dict, "absent.")), 0);
    check_good();
    assert_null(tn_dict_part(NULL, "t"));
    check_error(TN_ERR_ARGUMENT, "dict_part: dict is NULL");
    assert_null(tn_dict_part(dict, NULL));
    check_error(TN_ERR_ARGUMENT, "dict_part: prefix is NULL");
    assert_string_equal(tn_dict_note(dict, "k"), "2");
    assert_null(tn_dict_note(dict, "t1"));
    assert_string_equal(tn_dict_note_key(dict, 0), "k");
}

/* ---- safetensors -------------------------------------------------------------------------------------------------------- */

/* What tests/reference/make_safetensors.py has; the weight lies transposed and is packed on the way out. */
static tn_dict *sample(void)
{
    tn_dict *d = tn_adopt(tn_dict_new());
    tn_tensor *wt = MADE(TN_F32, float, TN_SHAPE(4, 3), -.5f, 0, .5f, -.375f, .125f, .625f, -.25f, .25f, .75f, -.125f, .375f, .875f);
    int bad = 0;
    bad |= tn_dict_set(d, "fc.weight", tn_view_of(wt, 2, (int64_t[]){3, 4}, (int64_t[]){1, 3}, 0));
    bad |= tn_dict_set(d, "fc.bias", MADE(TN_F64, double, TN_SHAPE(3), 1.5, -2, 3.25));
    bad |= tn_dict_set(d, "half", MADE(TN_F16, uint16_t, TN_SHAPE(2), 0x3800, 0xbd00));
    bad |= tn_dict_set(d, "brain", MADE(TN_BF16, uint16_t, TN_SHAPE(2, 1), 0x3f00, 0xc040));
    bad |= tn_dict_set(d, "num_batches_tracked", MADE(TN_I64, int64_t, TN_SCALAR, 1099511627777));
    bad |= tn_dict_set(d, "i32", MADE(TN_I32, int32_t, TN_SHAPE(2), -5, 7));
    bad |= tn_dict_set(d, "i16", MADE(TN_I16, int16_t, TN_SHAPE(3), -300, 300, 1));
    bad |= tn_dict_set(d, "i8", MADE(TN_I8, int8_t, TN_SHAPE(2), -128, 127));
    bad |= tn_dict_set(d, "u8", MADE(TN_U8, uint8_t, TN_SHAPE(3), 0, 255, 3));
    bad |= tn_dict_set(d, "mask", MADE(TN_BOOL, bool, TN_SHAPE(3), true, false, true));
    bad |= tn_dict_set(d, "empty", made("", TN_F32, TN_SHAPE(0, 5)));
    bad |= tn_dict_set(d, "na\xc3\xafve \"name\"\\", MADE(TN_F32, float, TN_SHAPE(1), 1));
    bad |= tn_dict_set_note(d, "format", "pt");
    bad |= tn_dict_set_note(d, "note", "line 1\nline 2");
    assert_int_equal(bad, TN_OK);
    return d;
}

static void check_same(const tn_dict *got, const tn_dict *due)
{
    check_good();
    assert_int_equal(tn_dict_count(got), tn_dict_count(due));
    for (int64_t i = 0; i < tn_dict_count(due); i++) {
        tn_tensor *x = tn_dict_get(got, tn_dict_name(due, i)), *y = tn_dict_tensor(due, i);
        check_good();
        assert_int_equal(tn_dtype_of(x), tn_dtype_of(y));
        assert_true(tn_same_shape(x, y));
        char *a = tn_alloc(1024), *b = tn_alloc(1024);
        tn_pack(x, a);
        tn_pack(y, b);
        assert_memory_equal(a, b, (size_t)x->numel * tn_item_size(x));
        tn_free(a, 1024);
        tn_free(b, 1024);
    }
    assert_int_equal(tn_dict_note_count(got), tn_dict_note_count(due));
    for (int64_t i = 0; i < tn_dict_note_count(due); i++)
        assert_string_equal(tn_dict_note(got, tn_dict_note_key(due, i)), tn_dict_note(due, tn_dict_note_key(due, i)));
}

static void test_safetensors_round_trip(void **state)
{
    (void)state;
    TN_SCOPE;
    const char *path = in_folder("round.safetensors");
    tn_dict *due = sample();
    for (int turn = 0; turn < 2; turn++) { /* the second replaces the first */
        assert_int_equal(tn_save_safetensors(due, path), TN_OK);
        tn_dict *got = tn_load_safetensors(path);
        check_same(got, due);
        for (int64_t i = 0; i < tn_dict_count(due); i++)
            assert_string_equal(tn_dict_name(got, i), tn_dict_name(due, i));
    }
    const char *keep = getenv("TN_TEST_KEEP"); /* for tests/reference/make_safetensors.py to read */
    assert_int_equal(keep ? tn_save_safetensors(due, keep) : TN_OK, TN_OK);
    assert_int_equal(tn_save_safetensors(tn_adopt(tn_dict_new()), path), TN_OK);
    assert_int_equal(tn_dict_count(tn_load_safetensors(path)), 0);
    check_good();
}

static void test_safetensors_of_pytorch(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_dict *got = tn_load_safetensors(TN_SOURCE_DIR "/tests/reference/torch.safetensors");
    check_same(got, sample());
}

static void test_saving_works_while_an_error_sticks(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = MADE(TN_F32, float, TN_SHAPE(2), 3, 3);
    tn_fail(TN_ERR_STATE, "an error of before");
    tn_dict *dict = tn_dict_new();
    assert_int_equal(tn_dict_set(dict, "x", x), TN_OK);
    assert_int_equal(tn_save_safetensors(dict, in_folder("sticking")), TN_OK);
    tn_release(dict);
    assert_null(tn_load_safetensors(in_folder("sticking")));
    check_error(TN_ERR_STATE, "an error of before");
    check_values(tn_dict_get(tn_load_safetensors(in_folder("sticking")), "x"), 0, 3, 3);
}

static void test_a_failed_save_leaves_the_old_file(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_dict *dict = tn_adopt(tn_dict_new());
    assert_int_equal(tn_save_safetensors(dict, "/nonexistent/x.safetensors"), TN_ERR_IO);
    check_error(TN_ERR_IO, "/nonexistent/x.safetensors");
    assert_int_equal(tn_dict_set(dict, "not \xff utf-8", MADE(TN_F32, float, TN_SHAPE(1), 1)), TN_OK);
    write_file(in_folder("old"), "old", 3);
    assert_int_equal(tn_save_safetensors(dict, in_folder("old")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "not UTF-8");
    unsigned char data[8];
    assert_int_equal(read_file(in_folder("old"), data, 8), 3);
    assert_int_equal(mkdir(in_folder("folder"), 0755), 0);
    assert_int_equal(tn_save_safetensors(tn_adopt(tn_dict_new()), in_folder("folder")), TN_ERR_IO);
    check_error(TN_ERR_IO, "folder: cannot be written: it is no regular file");
    assert_null(tn_load_safetensors(in_folder("folder")));
    check_error(TN_ERR_IO, "not a regular file");
}

/* The header, with its length before it and so many bytes of data behind. */
static void write_safetensors(const char *path, const char *header, size_t data)
{
    unsigned char file[1024] = {(unsigned char)strlen(header), (unsigned char)(strlen(header) >> 8)};
    memcpy(file + 8, header, strlen(header));
    write_file(path, file, 8 + strlen(header) + data);
}

static void test_every_rule_of_safetensors(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        int status;
        const char *words;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, TN_OK, ""},
        {"{\"a\":{\"data_offsets\":[4,8],\"shape\":[],\"dtype\":\"I32\"},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}  ",
         8, TN_OK, ""},
        {"{}", 0, TN_OK, ""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, TN_ERR_FORMAT, "8 bytes of data and the file holds 9"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, TN_ERR_FORMAT, "8 bytes of data and the file holds 7"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, TN_ERR_FORMAT, "needs 12 bytes by its shape and has 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, TN_ERR_FORMAT, "two offsets in order"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, TN_ERR_FORMAT, "begins at 4 and the data before it ends at 0"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6,
         TN_ERR_FORMAT, "begins at 2"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", 8,
         TN_ERR_FORMAT, "\"a\" is there twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"shape\":[4],\"data_offsets\":[0,4]}}", 4, TN_ERR_FORMAT, "does not have just"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}", 4, TN_ERR_FORMAT, "does not have just"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}}", 4, TN_ERR_FORMAT, "a shape that is none"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,1]}}", 1, TN_ERR_FORMAT, "a shape that is none"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, TN_ERR_FORMAT, "a shape that is none"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, TN_ERR_UNSUPPORTED, "F8_E4M3"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, TN_ERR_UNSUPPORTED, "9 dimensions"},
        {"[1]", 0, TN_ERR_FORMAT, "does not begin with {"},
        {" {}", 0, TN_ERR_FORMAT, "does not begin with {"},
        {"{}x", 0, TN_ERR_FORMAT, "no JSON object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, TN_ERR_FORMAT, "no text"},
        {"{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, TN_ERR_FORMAT, "control character"},
        {"{\"a\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, TN_ERR_FORMAT, "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TN_SCOPE;
        write_safetensors(in_folder("rule"), cases[i].header, cases[i].data);
        tn_dict *dict = tn_load_safetensors(in_folder("rule"));
        if (cases[i].status != TN_OK)
            check_error((tn_status)cases[i].status, cases[i].words);
        else
            assert_non_null(dict);
    }
    check_good();
    write_file(in_folder("rule"), "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    assert_null(tn_load_safetensors(in_folder("rule")));
    check_error(TN_ERR_FORMAT, "does not fit a file of 10");
    assert_null(tn_load_safetensors(NULL));
    check_error(TN_ERR_ARGUMENT, "path is NULL");
    assert_null(tn_load_safetensors(in_folder("absent")));
    check_error(TN_ERR_IO, "No such file");
}

/* Loads a file, which may fail: no leak, no more memory than the file warrants. True when it loaded. */
static bool load_is_sane(const char *path, bool idx, size_t size, size_t slack)
{
    int64_t live = tn_live_objects();
    bool loaded;
    {
        TN_SCOPE;
        tn_memory_reset_peak();
        int64_t before = tn_get_memory_stats().peak;
        tn_dict *dict = idx ? NULL : tn_load_safetensors(path);
        loaded = idx ? tn_load_idx(path) != NULL : dict != NULL;
        int64_t used = tn_get_memory_stats().peak - before;
        if (used > (int64_t)(16 * size + slack))
            fail_msg("%lld bytes allocated for a file of %zu", (long long)used, size);
        if (dict) /* what loads is consistent: it can be saved and is the same again */
            assert_int_equal(tn_save_safetensors(dict, in_folder("again")), TN_OK);
        if (dict)
            check_same(tn_load_safetensors(in_folder("again")), dict);
        assert_int_equal(loaded, tn_last_status() == TN_OK);
        if (!loaded)
            assert_true(strstr(tn_last_error(), path) != NULL);
        tn_clear_error();
    }
    assert_int_equal(tn_live_objects(), live);
    return loaded;
}

enum { SLACK = 8192, GZIP_SLACK = 262144 };

static void every_cut_and_change(const char *name, bool idx, size_t header, size_t slack)
{
    unsigned char file[8192];
    char path[128], cut[128], changed[128];
    snprintf(path, sizeof path, "%s", in_folder(name));
    size_t size = read_file(path, file, sizeof file);
    snprintf(cut, sizeof cut, "%s", in_folder("cut"));
    snprintf(changed, sizeof changed, "%s", in_folder("changed"));
    assert_true(load_is_sane(path, idx, size, slack));
    for (size_t length = 0; length < size; length++) {
        write_file(cut, file, length);
        if (load_is_sane(cut, idx, length, slack))
            fail_msg("%s cut to %zu of %zu bytes loads", path, length, size);
    }
    write_file(changed, file, size);
    int fd = open(changed, O_WRONLY);
    int step = getenv("TENON_TEST_LONG") ? 1 : 5;
    for (size_t at = 0; at < header; at++) {
        for (int flip = 1; flip < 256; flip += flip < 4 ? 1 : step) {
            unsigned char byte = file[at] ^ (unsigned char)flip;
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
            load_is_sane(changed, idx, size, slack);
        }
        assert_int_equal(pwrite(fd, &file[at], 1, (off_t)at), 1);
    }
    close(fd);
}

static void test_safetensors_cut_or_changed_anywhere(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_dict *dict = tn_adopt(tn_dict_new());
    assert_int_equal(tn_dict_set(dict, "a.b", MADE(TN_F32, float, TN_SHAPE(6), 0, 1, 2, 3, 4, 5)), TN_OK);
    assert_int_equal(tn_dict_set(dict, "m", MADE(TN_BOOL, bool, TN_SHAPE(2, 1), true, false)), TN_OK);
    assert_int_equal(tn_dict_set_note(dict, "format", "pt"), TN_OK);
    const char *path = in_folder("small");
    assert_int_equal(tn_save_safetensors(dict, path), TN_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    every_cut_and_change("small", false, (size_t)st.st_size, SLACK);
}

/* ---- IDX ---------------------------------------------------------------------------------------------------------------- */

static void test_idx_of_every_dtype(void **state)
{
    (void)state;
    TN_SCOPE;
    static const struct {
        const char *bytes;
        size_t size;
        tn_dtype dtype;
        double values[2];
    } cases[] = {
        {"\0\0\x08\1\0\0\0\2\x01\xff", 10, TN_U8, {1, 255}},
        {"\0\0\x09\1\0\0\0\2\x01\xff", 10, TN_I8, {1, -1}},
        {"\0\0\x0b\1\0\0\0\2\x01\x02\xff\xfe", 12, TN_I16, {258, -2}},
        {"\0\0\x0c\1\0\0\0\2\x01\x02\x03\x04\xff\xff\xff\xfe", 16, TN_I32, {16909060, -2}},
        {"\0\0\x0d\1\0\0\0\2\x3f\x80\0\0\xc0\0\0\0", 16, TN_F32, {1, -2}},
        {"\0\0\x0e\1\0\0\0\2\x3f\xf0\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0", 24, TN_F64, {1, -2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(in_folder("idx"), cases[i].bytes, cases[i].size);
        tn_tensor *x = tn_load_idx(in_folder("idx"));
        check_good();
        assert_int_equal(tn_dtype_of(x), cases[i].dtype);
        check_shape(x, 2);
        check_values(x, 0, cases[i].values[0], cases[i].values[1]);
    }
    write_file(in_folder("idx"), "\0\0\x08\2\0\0\0\0\0\0\0\5", 12);
    check_shape(tn_load_idx(in_folder("idx")), 0, 5);
    write_file(in_folder("idx"), "\0\0\x08\1\0\0\0\2\x01\xff!", 11);
    assert_null(tn_load_idx(in_folder("idx")));
    check_error(TN_ERR_FORMAT, "the header says [2] of uint8");
    write_file(in_folder("idx"), "\0\0\x0e\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16);
    assert_null(tn_load_idx(in_folder("idx")));
    check_error(TN_ERR_FORMAT, "the file of 16 bytes");
    write_file(in_folder("idx"), "\0\1\x08\1\0\0\0\1\1", 9);
    assert_null(tn_load_idx(in_folder("idx")));
    check_error(TN_ERR_FORMAT, "not an IDX file");
}

static const unsigned char small_idx[] = "\0\0\x08\3\0\0\0\2\0\0\0\2\0\0\0\3abcdefghijkl";
enum { SMALL_IDX = sizeof small_idx - 1, SMALL_IDX_HEADER = 16 };

static void test_idx_cut_or_changed_anywhere(void **state)
{
    (void)state;
    write_file(in_folder("plain"), small_idx, SMALL_IDX);
    every_cut_and_change("plain", true, SMALL_IDX_HEADER, SLACK);
}

#ifdef TENON_HAVE_ZLIB
static void write_gzip(const char *path, const char *mode, const void *data, unsigned size)
{
    gzFile file = gzopen(path, mode);
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

static void test_gzip(void **state)
{
    (void)state;
    TN_SCOPE;
    unsigned char file[256];
    char path[128];
    snprintf(path, sizeof path, "%s", in_folder("idx.gz"));
    write_gzip(path, "wb", small_idx, SMALL_IDX);
    size_t size = read_file(path, file, sizeof file);
    tn_tensor *x = tn_load_idx(path);
    check_good();
    check_shape(x, 2, 2, 3);
    assert_memory_equal(tn_data(x), "abcdefghijkl", 12);
    every_cut_and_change("idx.gz", true, size, GZIP_SLACK);
    file[size - 8] ^= 1; /* the checksum */
    write_file(path, file, size);
    assert_null(tn_load_idx(path));
    check_error(TN_ERR_FORMAT, "incorrect data check");
    file[size - 8] ^= 1;
    file[size - 4] ^= 1; /* the length */
    write_file(path, file, size);
    assert_null(tn_load_idx(path));
    check_error(TN_ERR_FORMAT, "incorrect length check");
    file[size - 4] ^= 1;
    file[size] = 'x'; /* a byte behind the stream */
    write_file(path, file, size + 1);
    assert_null(tn_load_idx(path));
    check_error(TN_ERR_FORMAT, "gzip");
    write_gzip(path, "wb", small_idx, 20); /* two members in one file are one stream */
    write_gzip(path, "ab", small_idx + 20, SMALL_IDX - 20);
    assert_memory_equal(tn_data(tn_load_idx(path)), "abcdefghijkl", 12);
    write_gzip(path, "ab", "more", 4);
    assert_null(tn_load_idx(path));
    check_error(TN_ERR_FORMAT, "more bytes follow");
}

/* A gzip file of 60 bytes that says it holds 2^32 of them. */
static void test_gzip_does_not_buy_memory(void **state)
{
    (void)state;
    write_gzip(in_folder("greedy"), "wb", "\0\0\x08\2\0\1\0\0\0\1\0\0data", 16);
    assert_false(load_is_sane(in_folder("greedy"), true, 60, GZIP_SLACK));
}

static void test_mnist(void **state)
{
    (void)state;
    TN_SCOPE;
    const char *data = getenv("TENON_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/mnist/train-images-idx3-ubyte.gz", data ? data : TN_SOURCE_DIR "/../shared/data");
    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s (TENON_DATA names the folder of data sets)\n", path);
        skip();
    }
    tn_tensor *x = tn_load_idx(path);
    check_good();
    check_shape(x, 10000, 28, 28);
    assert_int_equal(tn_dtype_of(x), TN_U8);
    const unsigned char *pixels = tn_data(x);
    double sum = 0;
    for (int64_t i = 0; i < tn_numel(x); i++)
        sum += pixels[i];
    assert_true(fabs(sum / (double)tn_numel(x) / 255 - 0.1307) < 0.002); /* MNIST's well-known mean */
}
#else
static void test_gzip(void **state)
{
    (void)state;
    write_file(in_folder("idx.gz"), "\x1f\x8b\x08\0", 4);
    assert_null(tn_load_idx(in_folder("idx.gz")));
    check_error(TN_ERR_UNSUPPORTED, "zlib");
}
static void test_gzip_does_not_buy_memory(void **state)
{
    (void)state;
    print_message("skipped: this build is without zlib\n");
    skip();
}
static void test_mnist(void **state)
{
    (void)state;
    print_message("skipped: this build is without zlib\n");
    skip();
}
#endif

/* ---- memory that fails -------------------------------------------------------------------------------------------------- */

static int64_t allowed;
static void *failing_alloc(size_t size, void *context)
{
    (void)context;
    return allowed-- > 0 ? aligned_alloc(64, (size + 63) / 64 * 64) : NULL;
}
static void failing_free(void *memory, size_t size, void *context)
{
    (void)size, (void)context;
    free(memory);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    write_file(in_folder("idx"), small_idx, SMALL_IDX);
    {
        TN_SCOPE;
        assert_int_equal(tn_save_safetensors(sample(), in_folder("dict")), TN_OK);
    }
    tn_scope_clear();
    tn_shutdown();
    const tn_allocator allocator = {failing_alloc, failing_free, NULL};
    bool whole = false;
    for (int64_t n = 0; !whole && n < 2000; n++) {
        allowed = INT64_MAX;
        if (tn_set_allocator(&allocator) != TN_OK) {
            print_message("skipped: %s\n", tn_last_error());
            tn_clear_error();
            skip();
        }
        {
            TN_SCOPE;
            allowed = n;
            tn_tensor *x = tn_load_idx(in_folder("idx"));
            tn_dict *dict = tn_load_safetensors(in_folder("dict"));
            whole = x && dict && tn_save_safetensors(dict, in_folder("copy")) == TN_OK;
            assert_int_equal(tn_last_status(), whole ? TN_OK : TN_ERR_MEMORY);
            tn_clear_error();
            allowed = INT64_MAX;
        }
        tn_scope_clear();
    }
    assert_true(whole);
    tn_shutdown();
    assert_int_equal(tn_set_allocator(NULL), TN_OK);
}

#ifdef TENON_HAVE_CJSON
static const bool have_json = true;
#else
static const bool have_json = false;
#endif

static void test_what_is_missing_is_named(void **state)
{
    (void)state;
    print_message("no cJSON in this build: safetensors files are not tested\n");
    tn_load_safetensors(TN_SOURCE_DIR "/tests/reference/torch.safetensors");
    check_error(TN_ERR_UNSUPPORTED, "libcjson-dev");
}

int main(void)
{
    if (!make_folder("io"))
        return 1;
    const struct CMUnitTest always[] = {
        TEST(test_dict_keeps_order_and_replaces_in_place),
        TEST(test_idx_of_every_dtype),
        TEST(test_idx_cut_or_changed_anywhere),
        TEST(test_gzip),
        TEST(test_gzip_does_not_buy_memory),
        TEST(test_mnist),
    };
    const struct CMUnitTest with_json[] = {
        TEST(test_safetensors_round_trip),
        TEST(test_safetensors_of_pytorch),
        TEST(test_saving_works_while_an_error_sticks),
        TEST(test_a_failed_save_leaves_the_old_file),
        TEST(test_every_rule_of_safetensors),
        TEST(test_safetensors_cut_or_changed_anywhere),
        TEST(test_every_allocation_may_fail),
    };
    const struct CMUnitTest without_json[] = {TEST(test_what_is_missing_is_named)};
    int failed = cmocka_run_group_tests(always, NULL, NULL);
    failed += have_json ? cmocka_run_group_tests(with_json, NULL, NULL) : cmocka_run_group_tests(without_json, NULL, NULL);
    return !remove_folder() || failed;
}
