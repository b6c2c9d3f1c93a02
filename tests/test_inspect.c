/* labels: quick */
/* What tn_llama_inspect() tells of files: values of GGUF, and files that are no model here. */
#include "folder.h"

#include <sys/stat.h>
#include <tenon/tenon.h>

static char text[1 << 14];

static void inspect(const char *name)
{
    const size_t length = tn_llama_inspect(in_folder(name), text, sizeof text);
    check_good();
    assert_int_equal(length, strlen(text));
    assert_int_equal(tn_llama_inspect(in_folder(name), NULL, 0), length);
}

static void says(const char *words)
{
    if (!strstr(text, words))
        fail_msg("\"%s\" is not in\n%s", words, text);
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------------------- */

static void save_values(const char *architecture, const char *path)
{
    TN_SCOPE;
    enum { MANY = 100 };
    const char *words[MANY];
    int32_t numbers[MANY];
    for (int i = 0; i < MANY; i++) {
        words[i] = i ? "t\xc3\xb6k" : "a\nb";
        numbers[i] = -i;
    }
    static char jinja[602];
    memset(jinja, 'x', sizeof jinja - 1);
    memcpy(jinja + 96, "\xe4\xbd\xa0\xe5\xa5\xbd", 6); /* the second is cut */
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    assert_int_equal(tn_gguf_set_string(w, "general.architecture", architecture), TN_OK);
    assert_int_equal(tn_gguf_set_int(w, "x.block_count", TN_GGUF_U32, 3), TN_OK);
    assert_int_equal(tn_gguf_set_int(w, "x.least", TN_GGUF_I64, INT64_MIN), TN_OK);
    assert_int_equal(tn_gguf_set_int(w, "x.yes", TN_GGUF_BOOL, true), TN_OK);
    assert_int_equal(tn_gguf_set_float(w, "x.epsilon", 1e-5), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "x.most", TN_GGUF_U64, &(uint64_t){UINT64_MAX}, 1), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "x.numbers", TN_GGUF_I32, numbers, MANY), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "tokenizer.ggml.tokens", TN_GGUF_STRING, words, MANY), TN_OK);
    assert_int_equal(tn_gguf_set_string(w, "tokenizer.chat_template", jinja), TN_OK);
    assert_int_equal(tn_gguf_add(w, "x.weight", tn_zeros(TN_SHAPE(4, 32)), TN_QUANT_Q8_0), TN_OK);
    assert_int_equal(tn_save_gguf(w, path), TN_OK);
}

static void check_listed(void)
{
    says("general.architecture                             STRING         ");
    says("\nx.block_count                                    U32            3\n");
    says("\nx.least                                          I64            -9223372036854775808\n");
    says("\nx.yes                                            BOOL           true\n");
    says("\nx.epsilon                                        F32            1e-05\n");
    says("\nx.most                                           U64[1]         18446744073709551615\n");
    says("\nx.numbers                                        I32[100]       0, -1, -2, -3, -4, -5, ...\n");
    says("\ntokenizer.ggml.tokens                            STRING[100]    a\\nb, t\xc3\xb6k, t\xc3\xb6k, t\xc3\xb6k, t\xc3\xb6k, t\xc3\xb6k, ...\n");
    says("x\xe4\xbd\xa0... (601 bytes)\n");
}

static void test_another_architecture(void **state)
{
    (void)state;
    save_values("mamba", in_folder("mamba.gguf"));
    inspect("mamba.gguf");
    says("mamba.gguf: GGUF\nno model that Tenon runs: ");
    says("architecture \"mamba\": llama, qwen2 and qwen3 are read");
    check_listed();
    says("\nx.weight                                         Q8_0    [4, 32]                 136\n1 tensors, 128 numbers, 136 bytes\n");
    save_values("llama", in_folder("llama.gguf"));
    inspect("llama.gguf");
    says("there is no \"token_embd.weight\"");
    check_listed();
}

static void test_a_llamas_values(void **state)
{
    (void)state;
    assert_true(tn_llama_inspect(TN_SOURCE_DIR "/tests/reference/llama/qwen3.gguf", text, sizeof text) > 0);
    says("\nnum_hidden_layers 2\n");
    says("\ngeneral.architecture                             STRING         qwen3\n");
    says("\nqwen3.block_count                                U32            2\n");
    says("\nmodel.layers.1.mlp.up_proj.weight ");
    assert_null(strstr(text, "no model"));
}

/* Either file of a model in two is listed without the other. */
static void test_a_part_of_a_model(void **state)
{
    (void)state;
    static const char *const names[] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
    for (int i = 0; i < 2; i++) {
        TN_SCOPE;
        char name[32];
        tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
        snprintf(name, sizeof name, "tensor.%d", i);
        assert_int_equal(tn_gguf_set_int(w, "split.no", TN_GGUF_U16, i), TN_OK);
        assert_int_equal(tn_gguf_set_int(w, "split.count", TN_GGUF_U16, 2), TN_OK);
        assert_int_equal(tn_gguf_set_int(w, "split.tensors.count", TN_GGUF_I32, 2), TN_OK);
        assert_int_equal(tn_gguf_add(w, name, tn_zeros(TN_SHAPE(2, 3)), TN_QUANT_F32), TN_OK);
        assert_int_equal(tn_save_gguf(w, in_folder(names[i])), TN_OK);
        inspect(names[i]);
        says(i ? "this is not the first of the model's files" : "m-00002-of-00002.gguf: cannot open");
        says("\nsplit.count                                      U16            2\n");
        says(i ? "\ntensor.1  " : "\ntensor.0  ");
        says("\n1 tensors, 6 numbers, 24 bytes\n");
    }
}

/* ---- others ------------------------------------------------------------------------------------------------------------------ */

static void save_header(const char *name, const char *json, size_t data)
{
    static unsigned char bytes[4096];
    const size_t length = strlen(json);
    memset(bytes, 0, sizeof bytes);
    bytes[0] = (unsigned char)length;
    bytes[1] = (unsigned char)(length >> 8);
    memcpy(bytes + 8, json, length);
    write_file(in_folder(name), bytes, 8 + length + data);
}

static void test_safetensors(void **state)
{
    (void)state;
    without_cjson_skip();
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F8_E4M3\",\"shape\":[3,4],\"data_offsets\":[20,32]},"
                                 "\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}";
    char folder_name[128];
    save_header("eight.safetensors", header, 32);
    inspect("eight.safetensors");
    says("eight.safetensors: safetensors\nno model that Tenon runs: ");
    says("\nformat                                           pt\n"
         "b                                                F8_E4M3 [3, 4]                   12\n"
         "a                                                F32     [5]                      20\n"
         "2 tensors, 17 numbers, 32 bytes\n");
    snprintf(folder_name, sizeof folder_name, "%s", in_folder("other"));
    assert_int_equal(mkdir(folder_name, 0777), 0);
    write_file(in_folder("other/config.json"), "{\"model_type\": \"gpt2\"}", 22);
    save_header("other/model-00001-of-00002.safetensors", header, 32);
    save_header("other/model-00002-of-00002.safetensors", "{\"c\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4);
    inspect("other");
    says("model_type \"gpt2\" is not among what Tenon's Llama has");
    says("other/model-00002-of-00002.safetensors: safetensors\nc         ");
    says("\n3 tensors, 18 numbers, 36 bytes\n");
    save_header("cut.safetensors", header, 31); /* what is not well formed is an error, whatever the dtypes */
    assert_int_equal(tn_llama_inspect(in_folder("cut.safetensors"), text, sizeof text), 0);
    check_error(TN_ERR_UNSUPPORTED, "cut.safetensors: ");
    save_header("short.safetensors", "{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,16]}}", 16);
    assert_int_equal(tn_llama_inspect(in_folder("short.safetensors"), text, sizeof text), 0);
    check_error(TN_ERR_FORMAT, "needs 20 bytes by its shape");
    save_header("twice.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]},"
                                     "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 3);
    assert_int_equal(tn_llama_inspect(in_folder("twice.safetensors"), text, sizeof text), 0);
    check_error(TN_ERR_FORMAT, "\"a\" is there twice");
}

static void test_zips(void **state)
{
    (void)state;
#ifdef TENON_HAVE_ZIP
    TN_SCOPE;
    tn_dict *dict = tn_adopt(tn_dict_new());
    assert_int_equal(tn_dict_set(dict, "fc.weight", tn_cast(tn_zeros(TN_SHAPE(2, 3)), TN_F16)), TN_OK);
    assert_int_equal(tn_save_npz(dict, in_folder("other.npz")), TN_OK);
    inspect("other.npz");
    says("other.npz: npz\nno model that Tenon runs: ");
    says("\nfc.weight                                        F16     [2, 3]                   12\n1 tensors, 6 numbers, 12 bytes\n");
    assert_true(tn_llama_inspect(TN_SOURCE_DIR "/tests/reference/llama/pt/model.pt", text, sizeof text) > 0);
    says("model.pt: PyTorch\nvocab_size ");
    assert_true(tn_llama_inspect(TN_SOURCE_DIR "/tests/reference/files/big.pt", text, sizeof text) > 0);
    says("big.pt: PyTorch\nno model that Tenon runs: ");
    says("no configuration in the file, and no config.json beside it");
#endif
}

/* ---- what would be more than text to a terminal ---------------------------------------------------------------------------------- */

/* No control but the ends of lines. */
static void check_plain(void)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < ' ' && *c != '\n') || *c == 127 || (*c == 0xc2 && c[1] < 0xa0))
            fail_msg("byte %td of the listing is 0x%02x:\n%s", c - (const unsigned char *)text, *c, text);
}

static void test_controls_of_gguf(void **state)
{
    (void)state;
    TN_SCOPE;
    const char *words[] = {"\x9bK", "\xc3", "\xe2\x80", "\xc0\x80", "\xed\xa0\x80", "\xc2\xa0\xf0\x9f\xa6\x99"};
    char stray[201] = "";
    memset(stray, 0x80, sizeof stray - 1);
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    assert_int_equal(tn_gguf_set_string(w, "general.architecture", "\033]0;title\a"), TN_OK);
    assert_int_equal(tn_gguf_set_string(w, "x.\033[2J", "a\\b\tc\r\177\xc2\x9b"), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "x.words", TN_GGUF_STRING, words, sizeof words / sizeof *words), TN_OK);
    assert_int_equal(tn_gguf_set_string(w, "x.stray", stray), TN_OK);
    assert_int_equal(tn_gguf_add(w, "w\n\xc2\x85\xc3\xb6", tn_zeros(TN_SHAPE(4)), TN_QUANT_F32), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("controls.gguf")), TN_OK);
    inspect("controls.gguf");
    check_plain();
    says("architecture \"\\x1b]0;title\\x07\": ");
    says("\nx.\\x1b[2J                                        STRING         a\\\\b\\tc\\x0d\\x7f\\xc2\\x9b\n");
    says(" STRING[6]      \\x9bK, \\xc3, \\xe2\\x80, \\xc0\\x80, \\xed\\xa0\\x80, \xc2\xa0\xf0\x9f\xa6\x99\n");
    says("\\x80\\x80... (200 bytes)\n");
    says("\nw\\n\\xc2\\x85\xc3\xb6                                    F32     [4] ");
    assert_null(tn_llama_load(in_folder("controls.gguf")));
    check_error(TN_ERR_UNSUPPORTED, "architecture \"\\x1b]0;title\\x07\": ");
}

static void test_controls_of_safetensors(void **state)
{
    (void)state;
    without_cjson_skip();
    save_header("controls.safetensors", "{\"__metadata__\":{\"k\\u001b[2J\":\"\\u0085\"},\"w\\u009b\":{\"dtype\":\"\\u001bc\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    inspect("controls.safetensors");
    check_plain();
    says("\"w\\xc2\\x9b\" is of dtype \\x1bc with 1 dimensions");
    says("\nk\\x1b[2J                                         \\xc2\\x85\n");
    says("\nw\\xc2\\x9b                                        \\x1bc   [4] ");
    save_header("tuned.safetensors", "{\"__metadata__\":{\"config\":\"s\\u001b[2J\"},\"w\\u009b.lora_A\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]}}", 4);
    inspect("tuned.safetensors");
    check_plain();
    says("\nconfig s\\x1b[2J\n");
    says("\nw\\xc2\\x9b.lora_A  ");
    says("  rank 1 beside w\\xc2\\x9b.weight\n");
}

static int make(void **state) { return (void)state, make_folder("inspect") ? 0 : -1; }
static int clean(void **state) { return (void)state, remove_folder() ? 0 : -1; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_another_architecture), TEST(test_a_llamas_values), TEST(test_a_part_of_a_model), TEST(test_safetensors), TEST(test_zips),
        TEST(test_controls_of_gguf), TEST(test_controls_of_safetensors),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
