/* labels: quick */
/* Files of NumPy and PyTorch, read and written, mapped; cut at any byte, changed at any byte; pickles that want more than tensors. */
#include "folder.h"
#include "zip_by_hand.h"

#include "core/core.h"
#include "io/file.h"
#include "io/pickle.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define REFERENCE TN_SOURCE_DIR "/tests/reference/files/"

#ifdef TENON_HAVE_ZIP
static const bool have_zip = true;
#else
static const bool have_zip = false;
#endif
#ifdef TENON_HAVE_CJSON
static const bool have_json = true;
#else
static const bool have_json = false;
#endif

/* ---- NPY ---------------------------------------------------------------------------------------------------------------- */

static void test_npy_of_numpy(void **state)
{
    (void)state;
    static const char *const files[] = {"v1", "v2", "v3", "fortran", "bigfortran"};
    for (int i = 0; i < 5; i++) {
        for (int mapped = 0; mapped < 2; mapped++) {
            TN_SCOPE;
            char path[256];
            snprintf(path, sizeof path, REFERENCE "%s.npy", files[i]);
            tn_tensor *x = mapped ? tn_map_npy(path) : tn_load_npy(path);
            check_good();
            check_shape(x, 2, 3);
            assert_int_equal(tn_dtype_of(x), i == 4 ? TN_I16 : TN_F32);
            assert_int_equal(tn_stride(x, 0), i >= 3 ? 1 : 3);
            assert_int_equal(tn_is_contiguous(x), i < 3);
            if (i == 4)
                check_values(x, 0, -3, -2, -1, 0, 1, 2);
            else
                check_values(x, 0, -.375, -.25, -.125, 0, .125, .25);
        }
    }
    assert_null(tn_load_npy(REFERENCE "complex.npy"));
    check_error(TN_ERR_UNSUPPORTED, "NumPy's dtype '<c8'");
    assert_null(tn_load_npy(REFERENCE "tensor.pt"));
    check_error(TN_ERR_FORMAT, "no NPY file");
}

/* An NPY file of this header and so many bytes of zeros. */
static void write_npy(const char *path, const char *header, size_t data)
{
    unsigned char file[1024] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)strlen(header), (unsigned char)(strlen(header) >> 8)};
    memcpy(file + 10, header, strlen(header));
    write_file(path, file, 10 + strlen(header) + data);
}

static void test_every_rule_of_npy(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        tn_status status;
        const char *words;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", 8, TN_OK, ""},
        {"{\"shape\":(2L,1),\"fortran_order\":True,\"descr\":\"=f4\"}", 8, TN_OK, ""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4, TN_OK, ""},
        {"{'descr': '|b1', 'fortran_order': False, 'shape': (0, 9), }", 0, TN_OK, ""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 7, TN_ERR_FORMAT, "[2] of float32, and 7 bytes follow"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 9, TN_ERR_FORMAT, "and 9 bytes follow"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905,), }", 4, TN_ERR_FORMAT, "bytes follow"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 4, TN_ERR_FORMAT, "no size in it"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 0), }", 0, TN_ERR_FORMAT, "bytes follow"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, TN_ERR_FORMAT, "no size in it"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1), }", 4, TN_ERR_FORMAT, "does not end"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }", 4, TN_ERR_UNSUPPORTED, "more than 8"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", 4, TN_ERR_FORMAT, "neither True nor False"},
        {"{'descr': '<f4', 'fortran_order': False}", 4, TN_ERR_FORMAT, "lacks one of"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, TN_ERR_FORMAT, "a key twice"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 4, TN_ERR_FORMAT, "none of descr"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, TN_ERR_FORMAT, "goes on"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4, TN_ERR_UNSUPPORTED, "records"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 4, TN_ERR_UNSUPPORTED, "'|O'"},
        {"{'descr': '<u4', 'fortran_order': False, 'shape': (1,)}", 4, TN_ERR_UNSUPPORTED, "'<u4'"},
        {"{'descr': '', 'fortran_order': False, 'shape': (1,)}", 4, TN_ERR_FORMAT, "empty descr"},
        {"(1, 2)", 4, TN_ERR_FORMAT, "is no dict"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", 4, TN_ERR_FORMAT, "does not end with }"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int mapped = 0; mapped < 2; mapped++) {
            TN_SCOPE;
            write_npy(in_folder("rule"), cases[i].header, cases[i].data);
            tn_tensor *x = mapped ? tn_map_npy(in_folder("rule")) : tn_load_npy(in_folder("rule"));
            if (cases[i].status != TN_OK)
                check_error(cases[i].status, cases[i].words);
            else
                assert_non_null(x);
        }
    }
    check_good();
    static const unsigned char v2[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 2, 0, 0xff, 0xff, 0xff, 0xff, '{'};
    write_file(in_folder("rule"), v2, sizeof v2);
    assert_null(tn_load_npy(in_folder("rule")));
    check_error(TN_ERR_FORMAT, "a header of 4294967295 bytes");
    assert_null(tn_load_npy(NULL));
    check_error(TN_ERR_ARGUMENT, "path is NULL");
    assert_null(tn_map_npy(in_folder("absent")));
    check_error(TN_ERR_IO, "map_npy");
    write_npy(in_folder("rule"), "{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}", 0);
    int fd = open(in_folder("rule"), O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "\2", 1), 1);
    close(fd);
    assert_null(tn_load_npy(in_folder("rule")));
    check_error(TN_ERR_FORMAT, "neither 0 nor 1");
}

static void test_npy_written(void **state)
{
    (void)state;
    TN_SCOPE;
    const char *keep = getenv("TN_TEST_KEEP"); /* for tests/reference/make_files.py to read */
    for (int dtype = 0; dtype < TN_DTYPE_COUNT; dtype++) {
        tn_tensor *x = tn_cast(tn_reshape(tn_arange(0, 6), TN_SHAPE(2, 3)), (tn_dtype)dtype);
        tn_tensor *inputs[] = {x, tn_transpose(x, 0, 1), tn_select(tn_flatten(x, 0, -1), 0, 1), tn_narrow(x, 0, 0, 0)};
        for (int i = 0; i < 4; i++) {
            tn_status status = tn_save_npy(inputs[i], in_folder("x.npy"));
            if (dtype == TN_BF16) {
                check_error(TN_ERR_UNSUPPORTED, "bfloat16 has no place in NumPy's files");
                continue;
            }
            assert_int_equal(status, TN_OK);
            tn_tensor *y = tn_load_npy(in_folder("x.npy"));
            check_good();
            assert_true(tn_equal(inputs[i], y));
            assert_true(tn_equal(inputs[i], tn_map_npy(in_folder("x.npy"))));
        }
    }
    static const char *const names[] = {"f4", "scalar", "fortran", "empty"};
    tn_dict *dict = have_zip ? tn_load_npz(REFERENCE "stored.npz") : NULL;
    for (int i = 0; keep && dict && i < 4; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s.npy", keep, names[i]);
        assert_int_equal(tn_save_npy(tn_dict_get(dict, names[i]), path), TN_OK);
    }
    assert_int_equal(tn_save_npy(NULL, in_folder("x.npy")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "x is NULL");
    assert_int_equal(tn_save_npy(tn_zeros(TN_SHAPE(1)), "/nonexistent/x.npy"), TN_ERR_IO);
    check_error(TN_ERR_IO, "/nonexistent/x.npy");
    tn_tensor *x = tn_ones(TN_SHAPE(2));
    tn_fail(TN_ERR_STATE, "an error of before");
    assert_int_equal(tn_save_npy(x, in_folder("x.npy")), TN_OK);
    check_error(TN_ERR_STATE, "an error of before");
    check_values(tn_load_npy(in_folder("x.npy")), 0, 1, 1);
}

/* ---- NPZ ---------------------------------------------------------------------------------------------------------------- */

static void check_npz(const tn_dict *dict)
{
    check_good();
    assert_int_equal(tn_dict_count(dict), 15);
    static const struct {
        const char *name;
        tn_dtype dtype;
        double scale, add;
    } cases[] = {{"f2", TN_F16, .25, 0}, {"f4", TN_F32, .125, 0}, {"f8", TN_F64, .125, 0}, {"i1", TN_I8, 1, 0},
                 {"i2", TN_I16, 1, 0},   {"i4", TN_I32, 1, 0},    {"i8", TN_I64, 1099511627776, 0}, {"u1", TN_U8, 1, 3},
                 {"fortran", TN_F32, .125, 0}, {"big", TN_F64, .125, 0}, {"bigfortran", TN_I16, 1, 0}};
    for (int i = 0; i < TN_COUNT(cases); i++) {
        tn_tensor *x = tn_dict_get(dict, cases[i].name);
        check_good();
        assert_int_equal(tn_dtype_of(x), cases[i].dtype);
        check_shape(x, 2, 3);
        double s = cases[i].scale, a = cases[i].add;
        check_values(x, 0, -3 * s + a, -2 * s + a, -s + a, a, s + a, 2 * s + a);
    }
    check_values(tn_dict_get(dict, "b1"), 0, 0, 0, 0, 0, 1, 1);
    assert_int_equal(tn_ndim(tn_dict_get(dict, "scalar")), 0);
    check_values(tn_dict_get(dict, "scalar"), 0, 2.5);
    check_shape(tn_dict_get(dict, "empty"), 0, 3);
    check_values(tn_dict_get(dict, "one"), 0, 7);
}

static void test_npz(void **state)
{
    (void)state;
    TN_SCOPE;
    check_npz(tn_load_npz(REFERENCE "deflated.npz"));
    tn_dict *dict = tn_load_npz(REFERENCE "stored.npz");
    check_npz(dict);
    const char *keep = getenv("TN_TEST_KEEP");
    for (int compress = 0; compress < 2; compress++) {
        assert_int_equal(tn_save_npz(dict, in_folder("x.npz"), .compress = compress), TN_OK);
        check_npz(tn_load_npz(in_folder("x.npz")));
        char path[256];
        snprintf(path, sizeof path, "%s/%s.npz", keep ? keep : folder, compress ? "deflated" : "stored");
        assert_int_equal(tn_save_npz(dict, path, .compress = compress), TN_OK);
    }
    tn_dict *other = tn_adopt(tn_dict_new());
    assert_int_equal(tn_save_npz(other, in_folder("x.npz")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "holds no tensors");
    assert_int_equal(tn_dict_set(other, "w", tn_zeros(TN_SHAPE(2), .dtype = TN_BF16)), TN_OK);
    assert_int_equal(tn_save_npz(other, in_folder("x.npz")), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "\"w\": save_npz: bfloat16 has no place");
    assert_int_equal(tn_save_npz(dict, "/nonexistent/x.npz"), TN_ERR_IO);
    check_error(TN_ERR_IO, "/nonexistent/x.npz");
    check_npz(tn_load_npz(in_folder("x.npz"))); /* what failed left it */
    assert_null(tn_load_npz(REFERENCE "tensor.pt"));
    check_error(TN_ERR_FORMAT, "is no array");
    assert_null(tn_load_npz(REFERENCE "v1.npy"));
    check_error(TN_ERR_FORMAT, "no zip archive");
    tn_fail(TN_ERR_STATE, "an error of before");
    assert_int_equal(tn_save_npz(dict, in_folder("x.npz")), TN_OK);
    check_error(TN_ERR_STATE, "an error of before");
}

/* ---- PyTorch ------------------------------------------------------------------------------------------------------------ */

static void test_pt_of_pytorch(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_dict *d = tn_load_pt(REFERENCE "whole.pt");
    check_good();
    check_shape(tn_dict_get(d, "model.fc.weight"), 2, 3);
    assert_int_equal(tn_dtype_of(tn_dict_get(d, "model.bn.num_batches_tracked")), TN_I64);
    check_values(tn_dict_get(d, "model.bn.num_batches_tracked"), 0, 1);
    check_values(tn_dict_get(d, "optimizer.state.0.step"), 0, 1);
    check_shape(tn_dict_get(d, "optimizer.state.0.exp_avg"), 2, 3);
    check_values(tn_dict_get(d, "optimizer.param_groups.0.lr"), 0, .25);
    check_values(tn_dict_get(d, "optimizer.param_groups.0.betas"), 0, .9, .999);
    check_values(tn_dict_get(d, "optimizer.param_groups.0.params"), 0, 0, 1, 2, 3);
    check_values(tn_dict_get(d, "optimizer.param_groups.0.amsgrad"), 0, 0);
    assert_int_equal(tn_dtype_of(tn_dict_get(d, "optimizer.param_groups.0.amsgrad")), TN_BOOL);
    check_values(tn_dict_get(d, "epoch"), 0, 3);
    check_values(tn_dict_get(d, "big"), 0, -1099511627776);
    assert_int_equal(tn_dtype_of(tn_dict_get(d, "big")), TN_I64);
    check_values(tn_dict_get(d, "rate"), 0, .125);
    check_values(tn_dict_get(d, "done"), 0, 1);
    assert_int_equal(tn_dict_find(d, "nothing"), -1);
    assert_string_equal(tn_dict_note(d, "text"), "d\xc3\xa9j\xc3\xa0 vu");
    check_values(tn_dict_get(d, "tuple.0"), 0, 1, 2);
    check_values(tn_dict_get(d, "tuple.1.0"), 0, 3);
    check_shape(tn_dict_get(d, "t"), 4, 3);
    assert_false(tn_is_contiguous(tn_dict_get(d, "t")));
    check_values(tn_dict_get(d, "t"), 0, 0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11);
    check_values(tn_dict_get(d, "tail"), 0, 9, 10, 11);
    check_values(tn_dict_get(d, "step"), 0, 1, 6, 11);
    assert_true(tn_shares_storage(tn_dict_get(d, "t"), tn_dict_get(d, "tail")));
    check_values(tn_dict_get(d, "half"), 0, .5, -1.25);
    check_values(tn_dict_get(d, "brain"), 0, .5, -3);
    check_values(tn_dict_get(d, "mask"), 0, 1, 0);
    check_values(tn_dict_get(d, "u8"), 0, 0, 255);
    check_values(tn_dict_get(d, "i8"), 0, -128);
    check_values(tn_dict_get(d, "i16"), 0, -300);
    check_values(tn_dict_get(d, "i32"), 0, 70000);
    check_shape(tn_dict_get(d, "none"), 0, 4);
    check_values(tn_dict_get(d, "expanded"), 0, 1.5, 1.5, 1.5);
    check_values(tn_dict_get(d, "size"), 0, 2, 3);
    check_values(tn_dict_get(d, "parameter"), 0, 2);
    check_values(tn_dict_get(tn_load_pt(REFERENCE "tensor.pt"), "tensor"), 0, 1, 2);
    check_values(tn_dict_get(tn_load_pt(REFERENCE "big.pt"), "tensor"), 0, 1, 2);
    d = tn_load_pt(REFERENCE "protocol4.pt");
    check_values(tn_dict_get(d, "bn.num_batches_tracked"), 0, 1);
    check_good();
    assert_null(tn_load_pt(REFERENCE "module.pt"));
    check_error(TN_ERR_UNSUPPORTED, "torch.nn.modules.container.Sequential is refused: only tensors are read");
    assert_null(tn_load_pt(REFERENCE "old.pt"));
    check_error(TN_ERR_FORMAT, "no zip archive");
    assert_null(tn_load_pt(REFERENCE "stored.npz"));
    check_error(TN_ERR_FORMAT, "no data.pkl");
}

#define STORAGE(key, count) "(X\x07\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" key "X\3\0\0\0cpuK" count "tQ"
#define TENSOR(offset, sizes, strides) "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("0", "\2") offset sizes strides "\x89" "}tR"

/* Pickles that want something else than tensors, or are broken. */
static const struct {
    const char *data;
    size_t size;
    tn_status status;
    const char *words;
} pickles[] = {
#define P(text, status, words) {text, sizeof(text) - 1, status, words}
    P("\x80\2cposix\nsystem\nX\4\0\0\0true\x85R.", TN_ERR_UNSUPPORTED, "posix.system is refused: only tensors are read"),
    P("\x80\4\x8c\x08" "builtins\x8c\4eval\x93\x8c\1" "1\x85R.", TN_ERR_UNSUPPORTED, "builtins.eval is refused"),
    P("cnumpy.core.multiarray\n_reconstruct\n.", TN_ERR_UNSUPPORTED, "numpy.core.multiarray._reconstruct is refused"),
    P("c\xff\n\1\n.", TN_ERR_UNSUPPORTED, "?.? is refused"),
    P("ctorch\nFloatStorage\n)R.", TN_ERR_FORMAT, "calls a known name with other arguments"),
    P("ccollections\nOrderedDict\nK\1\x85R.", TN_ERR_FORMAT, "other arguments"),
    P("ccollections\nCounter\n)\x85R.", TN_ERR_FORMAT, "other arguments"),
    P("ccollections\nCounter\n)R.", TN_ERR_FORMAT, "other arguments"),
    P("ccollections\nOrderedDict\n)\x81.", TN_ERR_UNSUPPORTED, "operation 0x81"),
    P("I1\n.", TN_ERR_UNSUPPORTED, "operation 0x49 at byte 0"),
    P("", TN_ERR_FORMAT, "ends without its stop"),
    P(".", TN_ERR_FORMAT, "other than one value"),
    P("NN.", TN_ERR_FORMAT, "other than one value"),
    P("(N.", TN_ERR_FORMAT, "other than one value"),
    P("N.N", TN_ERR_FORMAT, "before its end"),
    P("t.", TN_ERR_FORMAT, "no mark"),
    P("N\x86.", TN_ERR_FORMAT, "more from its stack than is there"),
    P("N(0.", TN_ERR_FORMAT, "more from its stack than is there"),
    P("N(Na.", TN_ERR_FORMAT, "more from its stack"),
    P("(Ne.", TN_ERR_FORMAT, "appends to what is no list"),
    P("}(Nu.", TN_ERR_FORMAT, "a key and no value"),
    P("](NNu.", TN_ERR_FORMAT, "no dict"),
    P("(Nd.", TN_ERR_FORMAT, "a key and no value"),
    P("h\1.", TN_ERR_FORMAT, "memo"),
    P("Nr\xff\xff\xff\xff.", TN_ERR_FORMAT, "memo beyond"),
    P("X\xff\xff\xff\xff" "a.", TN_ERR_FORMAT, "ends within a text"),
    P("\x8d\xff\xff\xff\xff\xff\xff\xff\xff" "a.", TN_ERR_FORMAT, "ends within a text"),
    P("\x8a\x09" "123456789.", TN_ERR_UNSUPPORTED, "an integer of 9 bytes"),
    P("NNb.", TN_ERR_FORMAT, "state of what is no OrderedDict"),
    P("NQ.", TN_ERR_FORMAT, "persistent id"),
    P("cposix", TN_ERR_FORMAT, "ends within a name"),
    P("\x80\x09N.", TN_ERR_FORMAT, "later protocol"),
    P("NN\x93.", TN_ERR_FORMAT, "names what is no text"),
    P("ctorch._utils\n_rebuild_tensor_v2\n)R.", TN_ERR_FORMAT, "rebuilds a tensor from other things"),
    /* what the machine takes and the loader does not */
    P("]q\0h\0a.", TN_ERR_FORMAT, "nested too deeply"),
    P("}NNs.", TN_ERR_FORMAT, "neither text nor a number"),
    P("}(X\1\0\0\0aK\1h\0u.", TN_ERR_FORMAT, "memo"),
    P("}(X\3\0\0\0a.bK\1X\1\0\0\0a}X\1\0\0\0bK\1su.", TN_ERR_FORMAT, "\"a.b\" is there twice"),
    P("ctorch\nFloatStorage\n.", TN_ERR_FORMAT, "a name or a storage by itself"),
    P(TENSOR("K\0", "K\2\x85", "K\1\x85") ".", TN_OK, ""),
    P(TENSOR("K\0", "K\2K\3\x86", "K\0K\0\x86") ".", TN_OK, ""),
    P(TENSOR("K\0", "K\3\x85", "K\1\x85") ".", TN_ERR_FORMAT, "reaches beyond its storage"),
    P(TENSOR("K\1", "K\2\x85", "K\1\x85") ".", TN_ERR_FORMAT, "reaches beyond its storage"),
    P(TENSOR("K\3", "K\0\x85", "K\1\x85") ".", TN_ERR_FORMAT, "reaches beyond its storage"),
    P(TENSOR("J\xff\xff\xff\xff", "K\1\x85", "K\1\x85") ".", TN_ERR_FORMAT, "sizes, strides or an offset that are none"),
    P(TENSOR("K\0", "J\xff\xff\xff\xff\x85", "K\1\x85") ".", TN_ERR_FORMAT, "that are none"),
    P(TENSOR("K\0", "K\1\x85", ")") ".", TN_ERR_FORMAT, "that are none"),
    P(TENSOR("K\0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85") ".", TN_ERR_SHAPE, "\"\": load_pt: the shape [9223372036854775807] has more"),
    P(TENSOR("K\1", "\x8a\x05\0\0\0\0\x10K\2\x86", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\1\x86") ".", TN_ERR_FORMAT, "reaches beyond"),
    P(TENSOR("K\0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\2\x86", "K\0K\0\x86") ".", TN_ERR_SHAPE, "[9223372036854775807, 2]"),
    P(TENSOR("K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t") ".", TN_ERR_UNSUPPORTED, "9 dimensions"),
    P("ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("1", "\2") "K\0K\1\x85K\1\x85\x89}tR.", TN_ERR_FORMAT, "data/1 is not in the zip"),
    P("ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("0", "\3") "K\0K\1\x85K\1\x85\x89}tR.", TN_ERR_FORMAT, "8 bytes, and 3 elements"),
    P(STORAGE("0", "\2") ".", TN_ERR_FORMAT, "a storage by itself"),
#undef P
};

static void test_pickles_that_want_more(void **state)
{
    (void)state;
    static const float two[2] = {1, 2};
    for (int i = 0; i < TN_COUNT(pickles); i++) {
        TN_SCOPE;
        write_file(in_folder("p.pt"), zip_bytes, zip_by_hand(2, (const char *const[]){"a/data.pkl", "a/data/0"}, (const void *const[]){pickles[i].data, two},
                  (const size_t[]){pickles[i].size, sizeof two}));
        tn_dict *dict = tn_load_pt(in_folder("p.pt"));
        if (pickles[i].status == TN_OK) {
            check_good();
            assert_int_equal(tn_dict_count(dict), 1);
        } else {
            assert_null(dict);
            if (tn_last_status() != pickles[i].status)
                print_error("pickle %d\n", i);
            check_error(pickles[i].status, pickles[i].words);
        }
    }
}

/* A list of ten of a list of ten of ...: few bytes, and endless work for who goes through it. */
static void test_a_pickle_of_laughs(void **state)
{
    (void)state;
    TN_SCOPE;
    char data[4096];
    size_t size = 0;
    data[size++] = ']';
    data[size++] = 'q';
    data[size++] = 0;
    for (int level = 1; level < 30; level++) {
        data[size++] = ']';
        data[size++] = '(';
        for (int i = 0; i < 10; i++) {
            data[size++] = 'h';
            data[size++] = (char)(level - 1);
        }
        data[size++] = 'e';
        data[size++] = 'q';
        data[size++] = (char)level;
        data[size++] = 0x86 - 256;
        data[size++] = '0';
        data[size++] = 'h';
        data[size++] = (char)level;
    }
    data[size++] = '.';
    write_file(in_folder("p.pt"), zip_bytes, zip_by_hand(1, (const char *const[]){"a/data.pkl"}, (const void *const[]){data}, &size));
    assert_null(tn_load_pt(in_folder("p.pt")));
    check_error(TN_ERR_FORMAT, "too deeply or too often");
}

/* ---- writers ------------------------------------------------------------------------------------------------------------ */

static bool is_there(const char *name) { return access(in_folder(name), F_OK) == 0; }

static void check_saved(int64_t value, const char *name)
{
    assert_int_equal(tn_save_npy(tn_full(TN_SHAPE(2), (double)value), in_folder(name)), TN_OK);
    check_values(tn_load_npy(in_folder(name)), 0, (double)value, (double)value);
}

static void test_what_a_kill_left_goes_with_the_next_save(void **state)
{
    (void)state;
    TN_SCOPE;
    check_saved(1, "k");
    pid_t child = fork();
    if (child == 0) {
        tn_writer w;
        if (tn_writer_open(&w, "test", in_folder("k")) == TN_OK && tn_writer_write(&w, "half", 4) == TN_OK)
            raise(SIGKILL);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && is_there("k.tenon0.part"));
    check_values(tn_load_npy(in_folder("k")), 0, 1, 1);
    check_saved(2, "k");
    assert_false(is_there("k.tenon0.part") || is_there("k.tenon1.part"));
    check_good();
}

static void test_writers_of_one_path_do_not_meet(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_writer first, second;
    assert_int_equal(tn_writer_open(&first, "test", in_folder("w")), TN_OK);
    assert_int_equal(tn_writer_open(&second, "test", in_folder("w")), TN_OK);
    check_saved(3, "w");
    assert_int_equal(tn_writer_write(&first, "first", 5), TN_OK);
    assert_int_equal(tn_writer_write(&second, "second", 6), TN_OK);
    unsigned char text[16];
    assert_int_equal(tn_writer_close(&second, TN_OK), TN_OK);
    assert_int_equal(read_file(in_folder("w"), text, sizeof text), 6);
    assert_int_equal(tn_writer_close(&first, TN_OK), TN_OK);
    assert_int_equal(read_file(in_folder("w"), text, sizeof text), 5);
    assert_memory_equal(text, "first", 5);
    assert_false(is_there("w.tenon0.part") || is_there("w.tenon1.part") || is_there("w.tenon2.part"));
    assert_int_equal(mkdir(in_folder("w.tenon0.part"), 0700), 0); /* what is no file of ours stays */
    check_saved(4, "w");
    assert_int_equal(rmdir(in_folder("w.tenon0.part")), 0);
    check_good();
}

/* ---- mapping ------------------------------------------------------------------------------------------------------------ */

static void test_a_mapping_is_private(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_dict *dict = tn_adopt(tn_dict_new());
    assert_int_equal(tn_dict_set(dict, "a", tn_arange(0, 5, .dtype = TN_F32)), TN_OK);
    assert_int_equal(tn_dict_set(dict, "b", tn_arange(0, 3)), TN_OK);
    assert_int_equal(tn_dict_set(dict, "empty", tn_zeros(TN_SHAPE(0, 2))), TN_OK);
    assert_int_equal(tn_save_safetensors(dict, in_folder("m")), TN_OK);
    int64_t in_use = tn_get_memory_stats().in_use;
    tn_dict *mapped = tn_map_safetensors(in_folder("m"));
    check_good();
    assert_true(tn_get_memory_stats().in_use - in_use < 8192);
    assert_int_equal(unlink(in_folder("m")), 0);
    tn_tensor *a = tn_dict_get(mapped, "a"), *b = tn_keep(tn_dict_get(mapped, "b"));
    check_values(a, 0, 0, 1, 2, 3, 4);
    assert_int_equal(tn_save_safetensors(dict, in_folder("m")), TN_OK);
    mapped = tn_map_safetensors(in_folder("m"));
    a = tn_dict_get(mapped, "a");
    ((float *)tn_data_mut(a))[1] = 100;
    check_values(a, 0, 0, 100, 2, 3, 4);
    check_values(tn_dict_get(tn_map_safetensors(in_folder("m")), "a"), 0, 0, 1, 2, 3, 4);
    check_values(tn_dict_get(tn_load_safetensors(in_folder("m")), "a"), 0, 0, 1, 2, 3, 4);
    check_values(b, 0, 0, 1, 2); /* of the first mapping, whose dict may be gone */
    tn_release(b);
}

static void test_what_is_misaligned_is_copied(void **state)
{
    (void)state;
    TN_SCOPE;
    char file[256] = {0};
    const char *header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}";
    const float two[2] = {1.5f, -2};
    file[0] = (char)strlen(header);
    memcpy(file + 8, header, strlen(header));
    file[8 + strlen(header)] = 7;
    memcpy(file + 9 + strlen(header), two, 8);
    write_file(in_folder("m"), file, 17 + strlen(header));
    tn_dict *dict = tn_map_safetensors(in_folder("m"));
    check_values(tn_dict_get(dict, "a"), 0, 7);
    check_values(tn_dict_get(dict, "b"), 0, 1.5, -2);
    assert_int_equal((uintptr_t)tn_data(tn_dict_get(dict, "b")) % 4, 0);
    write_file(in_folder("m"), file, 16 + strlen(header));
    assert_null(tn_map_safetensors(in_folder("m")));
    check_error(TN_ERR_FORMAT, "map_safetensors");
}

/* ---- every cut and change ----------------------------------------------------------------------------------------------- */

typedef enum format { NPY, NPY_MAPPED, NPZ, PT } format;

/* Loads a file, which may fail: in words that name it, without a leak, and with no more memory than the file warrants. */
static bool load_is_sane(const char *path, format f, size_t size)
{
    int64_t live = tn_live_objects();
    bool loaded;
    {
        TN_SCOPE;
        tn_memory_reset_peak();
        int64_t before = tn_get_memory_stats().peak;
        void *got = f == NPY ? (void *)tn_load_npy(path) : f == NPY_MAPPED ? (void *)tn_map_npy(path)
                                                       : f == NPZ          ? (void *)tn_load_npz(path)
                                                                           : (void *)tn_load_pt(path);
        loaded = got != NULL;
        int64_t used = tn_get_memory_stats().peak - before;
        if (used > (int64_t)(128 * size + 65536))
            fail_msg("%lld bytes allocated for a file of %zu", (long long)used, size);
        assert_int_equal(loaded, tn_last_status() == TN_OK);
        if (!loaded)
            assert_non_null(strstr(tn_last_error(), path));
        tn_clear_error();
    }
    assert_int_equal(tn_live_objects(), live);
    return loaded;
}

static void every_cut_and_change(const char *name, format f)
{
    static unsigned char file[1 << 16];
    char path[256], cut[128], changed[128];
    snprintf(path, sizeof path, REFERENCE "%s", name);
    size_t size = read_file(path, file, sizeof file);
    snprintf(cut, sizeof cut, "%s", in_folder("cut"));
    snprintf(changed, sizeof changed, "%s", in_folder("changed"));
    assert_true(load_is_sane(path, f, size));
    bool quick = getenv("TENON_TEST_QUICK") != NULL; /* under an emulator */
    write_file(cut, file, size);
    for (size_t length = size; length-- > 0;) {
        if (quick && length % 13)
            continue;
        assert_int_equal(truncate(cut, (off_t)length), 0);
        if (load_is_sane(cut, f, length))
            fail_msg("%s cut to %zu of %zu bytes loads", path, length, size);
    }
    write_file(changed, file, size);
    int fd = open(changed, O_WRONLY), step = getenv("TENON_TEST_LONG") ? 1 : size > 1000 ? 85 : 5;
    for (size_t at = 0; at < size; at += quick ? 13 : 1) {
        for (int flip = 1; flip < 256; flip += step) {
            unsigned char byte = file[at] ^ (unsigned char)flip;
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
            load_is_sane(changed, f, size);
        }
        assert_int_equal(pwrite(fd, &file[at], 1, (off_t)at), 1);
    }
    close(fd);
}

static void test_npy_cut_or_changed_anywhere(void **state)
{
    (void)state;
    every_cut_and_change("v2.npy", NPY);
    every_cut_and_change("v1.npy", NPY_MAPPED);
}
static void test_zips_cut_or_changed_anywhere(void **state)
{
    (void)state;
    every_cut_and_change("deflated.npz", NPZ);
    every_cut_and_change("tensor.pt", PT);
    every_cut_and_change("protocol4.pt", PT);
}

/* A pickle changed at any byte, its CRC made right again: the machine itself meets it. */
static void test_pickles_changed_anywhere(void **state)
{
    (void)state;
    static const float two[2] = {1, 2};
    char path[128];
    snprintf(path, sizeof path, "%s", in_folder("p.pt"));
    for (int i = 0; i < TN_COUNT(pickles); i++) {
        char data[256];
        memcpy(data, pickles[i].data, pickles[i].size);
        for (size_t at = 0; at < pickles[i].size; at++) {
            for (int flip = 1; flip < 256; flip += getenv("TENON_TEST_LONG") ? 1 : 50) {
                data[at] = (char)(pickles[i].data[at] ^ flip);
                write_file(path, zip_bytes, zip_by_hand(2, (const char *const[]){"a/data.pkl", "a/data/0"}, (const void *const[]){data, two},
                          (const size_t[]){pickles[i].size, sizeof two}));
                load_is_sane(path, PT, 512);
            }
            data[at] = pickles[i].data[at];
        }
    }
}

static void test_what_is_missing_is_named(void **state)
{
    (void)state;
    TN_SCOPE;
    assert_null(tn_load_npz(REFERENCE "stored.npz"));
    check_error(TN_ERR_UNSUPPORTED, "libzip-dev");
    assert_null(tn_load_pt(REFERENCE "tensor.pt"));
    check_error(TN_ERR_UNSUPPORTED, "libzip-dev");
    assert_int_equal(tn_save_npz(tn_adopt(tn_dict_new()), in_folder("x")), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "libzip-dev");
}

int main(void)
{
    if (!make_folder("files"))
        return 1;
    const struct CMUnitTest always[] = {TEST(test_npy_of_numpy), TEST(test_every_rule_of_npy), TEST(test_npy_written),
                                        TEST(test_npy_cut_or_changed_anywhere), TEST(test_what_a_kill_left_goes_with_the_next_save),
                                        TEST(test_writers_of_one_path_do_not_meet)};
    const struct CMUnitTest with_zip[] = {TEST(test_npz), TEST(test_pt_of_pytorch), TEST(test_pickles_that_want_more),
                                          TEST(test_a_pickle_of_laughs), TEST(test_zips_cut_or_changed_anywhere),
                                          TEST(test_pickles_changed_anywhere)};
    const struct CMUnitTest without_zip[] = {TEST(test_what_is_missing_is_named)};
    const struct CMUnitTest with_json[] = {TEST(test_a_mapping_is_private), TEST(test_what_is_misaligned_is_copied)};
    int failed = cmocka_run_group_tests(always, NULL, NULL);
    failed += have_zip ? cmocka_run_group_tests(with_zip, NULL, NULL) : cmocka_run_group_tests(without_zip, NULL, NULL);
    failed += have_json ? cmocka_run_group_tests(with_json, NULL, NULL) : 0;
    return !remove_folder() || failed;
}
