/* Chat templates against their Jinja, recognised by it in each place where a model has it; and the tokeniser that belongs to a model.
 * labels: quick */
#include "folder.h"

#include "reference/chat_cases.h"
#include "text/text.h"

enum { CASES = sizeof chat_cases / sizeof *chat_cases };
#define SYSTEM {"system", " You are a helpful assistant"}
#define HELLO {"user", "Hello"}
static const struct {
    tn_chat_message messages[6];
    int64_t count;
} conversations[6] = {
    {{HELLO}, 1},
    {{SYSTEM, HELLO}, 2},
    {{HELLO, {"assistant", "Hi there"}, {"user", "Who are you"}}, 3},
    {{SYSTEM, {"user", " Hello "}, {"assistant", "   I am an assistant   "}, {"user", " Another  question \n"}}, 4},
    {{{"user", "\u3000 What is 2 + 2?\u00a0\n"}, {"assistant", "<think>\nTwo and two.\n</think>\n\n Four. \u2003"}, {"user", "\x1f\tAnd 3 + 3?"},
      {"assistant", "a</think>b</think>\n\nSix <think> no"}, {"user", "\u65e5\u672c\u3000"}}, 5},
    {{{"system", " \n"}, {"user", "a"}, {"assistant", "\n"}, {"user", "b"}, {"assistant", "[INST] \"c\" "}, {"user", "d"}}, 6},
};

static const char *text_of(const char *name, int conversation, int64_t count, int64_t read)
{
    static char texts[2][2000];
    static int turn;
    turn = !turn;
    const size_t length = tn_chat_text(name, conversations[conversation].messages, count, read, texts[turn], sizeof texts[turn]);
    check_good();
    assert_int_equal(length, strlen(texts[turn]));
    return texts[turn];
}

static void texts(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++)
        for (int c = 0; c < 6; c++)
            if (chat_cases[i].texts[c] && strcmp(text_of(chat_cases[i].name, c, conversations[c].count, 0), chat_cases[i].texts[c]))
                fail_msg("%s, conversation %d:\n%s\nis due, and this came:\n%s", chat_cases[i].model, c, chat_cases[i].texts[c],
                         text_of(chat_cases[i].name, c, conversations[c].count, 0));
}

/* The first turn, what the model writes, and what goes on behind it are the whole. */
static void turn_by_turn(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        char whole[2000], parts[2000];
        const char *name = chat_cases[i].name;
        strcpy(whole, text_of(name, 2, 3, 0));
        strcpy(parts, text_of(name, 2, 1, 0));
        if (whole[strlen(parts)] == ' ')
            strcat(parts, " "); /* the model's own */
        strcat(parts, "Hi there");
        strcat(parts, text_of(name, 2, 3, 2));
        assert_string_equal(parts, whole);
        assert_non_null(strstr(text_of(name, 2, 3, 2), tn_chat_end(name)));
    }
}

static void room(void **state)
{
    (void)state;
    char text[8] = "abcdefg";
    const size_t length = tn_chat_text("chatml", conversations[0].messages, 1, 0, NULL, 0);
    assert_int_equal(length, strlen("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"));
    assert_int_equal(tn_chat_text("chatml", conversations[0].messages, 1, 0, text, 5), length);
    assert_memory_equal(text, "<|im\0fg", 8);
    check_good();
}

static void mistakes(void **state)
{
    (void)state;
    const tn_chat_message bad[][3] = {{{"assistant", "a"}}, {{"user", "a"}, {"user", "b"}, {"user", "c"}}, {{"user", NULL}}, {{NULL, "a"}}, {{"tool", "a"}}};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(tn_chat_text("llama3", bad[i], i == 1 ? 3 : 1, 0, NULL, 0), 0);
        check_error(TN_ERR_ARGUMENT, "chat_text: messages go");
    }
    const tn_chat_message *good = conversations[2].messages;
    const struct {
        int64_t count, read;
    } rows[] = {{0, 0}, {2, 0}, {-1, 0}, {3, 1}, {3, 3}, {3, -2}, {1, 2}};
    for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++) {
        assert_int_equal(tn_chat_text("llama3", good, rows[i].count, rows[i].read, NULL, 0), 0);
        check_error(TN_ERR_ARGUMENT, "chat_text: messages go");
    }
    assert_int_equal(tn_chat_text("llama3", conversations[3].messages, 1, 0, NULL, 0), 0); /* a system's alone */
    check_error(TN_ERR_ARGUMENT, "chat_text: messages go");
    assert_int_equal(tn_chat_text("llama4", good, 1, 0, NULL, 0), 0);
    check_error(TN_ERR_ARGUMENT, "chat_text: no chat template is called \"llama4\"");
    assert_null(tn_chat_end(NULL));
    check_error(TN_ERR_ARGUMENT, "chat_end: no chat template is called \"NULL\"");
    assert_null(tn_chat_template_name(-1));
    assert_null(tn_chat_template_name(1000));
    assert_null(tn_chat_template_named_by(NULL));
    assert_null(tn_chat_template_named_by("{{ '<start_of_turn>' }}"));
    check_good();
}

/* ---- in a model's files --------------------------------------------------------------------------------------------------- */

static void write_text(const char *name, const char *text) { write_file(in_folder(name), text, strlen(text)); }

/* A text as JSON has it. */
static const char *as_json(const char *text)
{
    static char out[4000];
    size_t n = 0;
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            out[n++] = '\\';
        out[n++] = *text;
    }
    out[n] = 0;
    return out;
}

static void recognised(void **state)
{
    (void)state;
    bool seen[20] = {false};
    for (int i = 0; i < CASES; i++) {
        char json[5000];
        const char *found = tn_chat_template_named_by(chat_cases[i].marks);
        if (!found || strcmp(found, chat_cases[i].name))
            fail_msg("%s is taken for %s", chat_cases[i].model, found);
        write_text("chat_template.jinja", chat_cases[i].marks);
        assert_string_equal(tn_chat_template_of(folder), chat_cases[i].name);
        unlink(in_folder("chat_template.jinja"));
#ifdef TENON_HAVE_CJSON
        snprintf(json, sizeof json, "{\"bos_token\": null, \"chat_template\": \"%s\"}", as_json(chat_cases[i].marks));
        write_text("tokenizer_config.json", json);
        assert_string_equal(tn_chat_template_of(in_folder("tokenizer_config.json")), chat_cases[i].name); /* or any file in the folder */
        snprintf(json, sizeof json, "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"x\"}, {\"name\": \"default\", \"template\": \"%s\"}]}",
                 as_json(chat_cases[i].marks));
        write_text("tokenizer_config.json", json);
        assert_string_equal(tn_chat_template_of(folder), chat_cases[i].name);
        unlink(in_folder("tokenizer_config.json"));
#else
        (void)json, (void)as_json;
#endif
        TN_SCOPE;
        tn_gguf_writer *writer = tn_adopt(tn_gguf_writer_new());
        tn_tensor *x = tn_zeros(TN_SHAPE(32));
        assert_int_equal(tn_gguf_set_string(writer, "tokenizer.chat_template", chat_cases[i].marks), TN_OK);
        assert_int_equal(tn_gguf_add(writer, "x", x, TN_QUANT_F32), TN_OK);
        assert_int_equal(tn_save_gguf(writer, in_folder("m.gguf")), TN_OK);
        assert_string_equal(tn_chat_template_of(in_folder("m.gguf")), chat_cases[i].name);
        unlink(in_folder("m.gguf"));
        for (int k = 0; tn_chat_template_name(k); k++)
            seen[k] |= strcmp(tn_chat_template_name(k), chat_cases[i].name) == 0;
    }
    for (int k = 0; tn_chat_template_name(k); k++)
        if (!seen[k])
            fail_msg("%s has no case", tn_chat_template_name(k));
}

static void none(void **state)
{
    (void)state;
    assert_null(tn_chat_template_of(NULL));
    check_error(TN_ERR_ARGUMENT, "chat_template_of: NULL");
    assert_null(tn_chat_template_of(in_folder("absent")));
    check_error(TN_ERR_IO, "absent: there is no such file or folder");
    assert_null(tn_chat_template_of(folder));
    check_error(TN_ERR_IO, "no chat template");
    write_text("chat_template.jinja", "{{ '<start_of_turn>' }}");
    assert_null(tn_chat_template_of(folder));
    check_error(TN_ERR_UNSUPPORTED, "is none of those");
    unlink(in_folder("chat_template.jinja"));
#ifdef TENON_HAVE_CJSON
    write_text("tokenizer_config.json", "{\"bos_token\": \"<s>\"}");
    assert_null(tn_chat_template_of(folder));
    check_error(TN_ERR_IO, "no chat template");
    write_text("tokenizer_config.json", "{\"bos_token\": ");
    assert_null(tn_chat_template_of(folder));
    check_error(TN_ERR_FORMAT, "tokenizer_config.json: no JSON");
    unlink(in_folder("tokenizer_config.json"));
#endif
}

/* ---- the tokeniser of a model --------------------------------------------------------------------------------------------- */

static void copy(const char *from, const char *name)
{
    static unsigned char data[1 << 20];
    char path[512];
    snprintf(path, sizeof path, TN_SOURCE_DIR "/tests/reference/%s", from);
    write_file(in_folder(name), data, read_file(path, data, sizeof data));
}

static void opens(const char *model, int64_t vocab_size)
{
    TN_SCOPE;
    tn_tokenizer *t = tn_adopt(tn_tokenizer_open(model));
    check_good();
    assert_int_equal(tn_tokenizer_vocab_size(t), vocab_size);
}

static int64_t vocab_of(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, TN_SOURCE_DIR "/tests/reference/tokenizers/%s", name);
    TN_SCOPE;
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(path));
    check_good();
    return tn_tokenizer_vocab_size(t);
}

static void beside(void **state)
{
    (void)state;
    copy("llama/v0.bin", "model.bin");
    assert_null(tn_tokenizer_open(in_folder("model.bin")));
    check_error(TN_ERR_IO, "none of tokenizer.json, tokenizer.model, tokenizer.bin and tokenizer.model.np in");
    copy("tokenizers/sp_bpe_llama.model", "tokenizer.model");
    opens(in_folder("model.bin"), vocab_of("sp_bpe_llama.model"));
    opens(folder, vocab_of("sp_bpe_llama.model"));
    copy("tokenizers/llama2c.bin", "tokenizer.bin"); /* that goes before, beside a .bin, and must have the model's number of tokens */
    assert_null(tn_tokenizer_open(in_folder("model.bin")));
    check_error(TN_ERR_FORMAT, "tokens, and");
    opens(folder, vocab_of("sp_bpe_llama.model"));
    unlink(in_folder("tokenizer.bin"));
#ifdef TENON_HAVE_CJSON
    copy("tokenizers/hf_llama2.json", "tokenizer.json");
    opens(folder, vocab_of("hf_llama2.json"));
    copy("tokenizers/llama3np.np", "tokenizer.model.np");
    write_text("m.npz", "PK");
    opens(in_folder("m.npz"), vocab_of("llama3np.np"));
    unlink(in_folder("m.npz"));
    unlink(in_folder("tokenizer.model.np"));
    unlink(in_folder("tokenizer.json"));
#endif
    unlink(in_folder("tokenizer.model"));
    unlink(in_folder("model.bin"));
    assert_null(tn_tokenizer_open(NULL));
    check_error(TN_ERR_ARGUMENT, "tokenizer_open: NULL");
    assert_null(tn_tokenizer_open(in_folder("absent.gguf")));
    check_error(TN_ERR_IO, "absent.gguf");
}

/* A GGUF file with a vocabulary; types: how many numbers tokenizer.ggml.token_type has; eot, eom: -1: none. */
static void write_gguf(int64_t types, const char *model, int64_t eot, int64_t eom)
{
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "▁", "a", "b", "▁ab", "ab"};
    TN_SCOPE;
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    tn_tensor *x = tn_zeros(TN_SHAPE(32));
    assert_int_equal(tn_gguf_set_string(w, "tokenizer.ggml.model", model), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "tokenizer.ggml.tokens", TN_GGUF_STRING, tokens, 8), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "tokenizer.ggml.scores", TN_GGUF_F32, (float[]){0, 0, 0, -1, -2, -3, -4, -5}, 8), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "tokenizer.ggml.token_type", TN_GGUF_I32, (int32_t[]){2, 3, 3, 1, 1, 1, 1, 1}, types), TN_OK);
    assert_int_equal(tn_gguf_set_int(w, "tokenizer.ggml.bos_token_id", TN_GGUF_U32, 1), TN_OK);
    assert_int_equal(tn_gguf_set_int(w, "tokenizer.ggml.eos_token_id", TN_GGUF_U32, 2), TN_OK);
    assert_true(eot < 0 || tn_gguf_set_int(w, "tokenizer.ggml.eot_token_id", TN_GGUF_U32, eot) == TN_OK);
    assert_true(eom < 0 || tn_gguf_set_int(w, "tokenizer.ggml.eom_token_id", TN_GGUF_U32, eom) == TN_OK);
    assert_int_equal(tn_gguf_add(w, "x", x, TN_QUANT_F32), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("m.gguf")), TN_OK);
}

static void in_gguf(void **state)
{
    (void)state;
    write_gguf(8, "llama", -1, -1);
    {
        TN_SCOPE;
        tn_tokenizer *t = tn_adopt(tn_tokenizer_open(in_folder("m.gguf")));
        check_good();
        assert_int_equal(tn_tokenizer_bos(t), 1);
        assert_int_equal(tn_tokenizer_eos(t), 2);
        assert_int_equal(tn_tokenizer_adds_bos(t), 1);
        check_values(tn_tokenizer_encode(t, "ab", 2), 0, 1, 6);
    }
    write_gguf(7, "llama", -1, -1);
    assert_null(tn_tokenizer_open(in_folder("m.gguf")));
    check_error(TN_ERR_FORMAT, "8 tokens and 7 numbers in tokenizer.ggml.token_type");
    write_gguf(8, "rwkv", -1, -1);
    assert_null(tn_tokenizer_open(in_folder("m.gguf")));
    check_error(TN_ERR_UNSUPPORTED, "m.gguf");
    write_text("m.gguf", "GGUF\3");
    assert_null(tn_tokenizer_open(in_folder("m.gguf")));
    check_error(TN_ERR_FORMAT, "m.gguf");
    unlink(in_folder("m.gguf"));
}

/* ---- what ends a text ----------------------------------------------------------------------------------------------------- */

/* The ids that end a text of the model at in_folder(name), least first. */
static void check_ends(const char *name, int64_t eos, const int64_t *ends, int count)
{
    TN_SCOPE;
    const tn_tokenizer *t = tn_adopt(tn_tokenizer_open(in_folder(name)));
    int found = 0;
    check_good();
    assert_int_equal(tn_tokenizer_eos(t), eos);
    for (int64_t id = 0; id < tn_tokenizer_vocab_size(t); id++)
        if (tn_ends_text(t, id)) {
            assert_true(found < count);
            assert_int_equal(id, ends[found++]);
        }
    assert_int_equal(found, count);
}

static void ends(void **state)
{
    (void)state;
    write_gguf(8, "llama", 4, -1);
    check_ends("m.gguf", 2, (int64_t[]){2, 4}, 2);
    write_gguf(8, "llama", 4, 99); /* no token */
    check_ends("m.gguf", 2, (int64_t[]){2, 4}, 2);
    unlink(in_folder("m.gguf"));
#ifdef TENON_HAVE_CJSON
    write_text("tokenizer.json", "{\"added_tokens\": [{\"id\": 2, \"content\": \"</s>\", \"special\": true}, {\"id\": 3, \"content\": \"<|im_end|>\", \"special\": true}],"
               "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"</s>\": 2, \"<|im_end|>\": 3}, \"merges\": []}}");
    write_text("model.safetensors", "");
    check_ends("model.safetensors", 2, (int64_t[]){2}, 1);
    write_text("config.json", "{\"eos_token_id\": null}");
    check_ends("model.safetensors", 2, (int64_t[]){2}, 1);
    write_text("config.json", "{\"eos_token_id\": 3}");
    check_ends("model.safetensors", 3, (int64_t[]){3}, 1);
    write_text("config.json", "{\"eos_token_id\": [3, 1, 1e300, -7, 99]}");
    check_ends("model.safetensors", 3, (int64_t[]){1, 3}, 2);
    write_text("generation_config.json", "{\"eos_token_id\": [0, 2]}"); /* has the last word */
    check_ends("model.safetensors", 0, (int64_t[]){0, 2}, 2);
    static const char *const bad[] = {"{\"eos_token_id\": \"</s>\"}", "{\"eos_token_id\": [1, null]}", "{\"eos_token_id\": ", ""};
    for (int i = 0; i < 4; i++) {
        write_text("generation_config.json", bad[i]);
        assert_null(tn_tokenizer_open(in_folder("model.safetensors")));
        check_error(TN_ERR_FORMAT, i < 2 ? "\"eos_token_id\" is neither" : "no JSON");
    }
    char long_list[400] = "{\"eos_token_id\": [0";
    for (int i = 0; i < 32; i++)
        strcat(long_list, ", 1");
    write_text("generation_config.json", strcat(long_list, "]}"));
    assert_null(tn_tokenizer_open(in_folder("model.safetensors")));
    check_error(TN_ERR_FORMAT, "nor a list of up to 32");
    unlink(in_folder("generation_config.json"));
    unlink(in_folder("config.json"));
    unlink(in_folder("model.safetensors"));
    unlink(in_folder("tokenizer.json"));
#else
    puts("skipped: no cJSON to read a config.json with");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(texts), TEST(turn_by_turn), TEST(room), TEST(mistakes), TEST(recognised), TEST(none), TEST(beside), TEST(in_gguf), TEST(ends),
    };
    if (!make_folder("chat"))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return remove_folder() ? failed : 1;
}
