/* labels: quick */
/* Tokenisers written into GGUF files and read back, and taken along where a model is converted. */
#include "folder.h"

#include "text/text.h"

#include "io/file.h"

#include <sys/stat.h>
#include <tenon/tenon.h>

#include "reference/tokenizer_cases.h"
#include "reference/tokenizer_gguf_cases.h"

static char file[1 << 16];

/* The bytes of a reference file, in `file`, whose added tokens do without what GGUF has not. */
static size_t plain_reference(const char *name)
{
    static const char *const flags[] = {"\"lstrip\":true", "\"rstrip\":true", "\"single_word\":true", "\"normalized\":true"};
    char path[512];
    snprintf(path, sizeof path, TN_SOURCE_DIR "/tests/reference/tokenizers/%s", name);
    const size_t size = read_file(path, (unsigned char *)file, sizeof file - 1);
    assert_true(size > 0 && size < sizeof file - 1);
    file[size] = 0;
    for (int i = 0; i < TN_COUNT(flags) && strstr(name, ".json"); i++)
        for (char *at = file; (at = strstr(at, flags[i])) != NULL; at++)
            memcpy(at + strlen(flags[i]) - 4, "null", 4);
    return size;
}

static tn_tokenizer *open_bytes(size_t size, const char *pattern)
{
    write_file(in_folder("tokenizer"), file, size);
    return tn_adopt(tn_tokenizer_new(in_folder("tokenizer"), .pattern = pattern));
}

/* The tokeniser by way of a GGUF file. */
static tn_tokenizer *by_gguf(const tn_tokenizer *t, int64_t count)
{
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    assert_int_equal(tn_gguf_set_tokenizer(w, t, count), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("tokenizer.gguf")), TN_OK);
    tn_tokenizer *back = tn_adopt(tn_tokenizer_open(in_folder("tokenizer.gguf")));
    check_good();
    return back;
}

/* That file again, with gguf_odd's tokens behind its own. */
static tn_tokenizer *with_odd(void)
{
    enum { MOST = 600 };
    const char *texts[MOST];
    int32_t types[MOST];
    float scores[MOST];
    tn_gguf *file = tn_map_gguf(in_folder("tokenizer.gguf"));
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    const tn_tensor *known = tn_gguf_numbers(file, "tokenizer.ggml.token_type");
    const int64_t own = tn_numel(known), count = own + TN_COUNT(gguf_odd), *type = tn_data(known);
    assert_true(count <= MOST);
    for (int64_t i = 0; i < count; i++) {
        texts[i] = i < own ? tn_gguf_string_at(file, "tokenizer.ggml.tokens", i, NULL) : gguf_odd[i - own].text;
        types[i] = (int32_t)(i < own ? type[i] : gguf_odd[i - own].type);
        scores[i] = (float)-i;
    }
    for (int64_t i = 0; i < tn_gguf_key_count(file); i++)
        assert_int_equal(tn_gguf_copy_key(w, file, tn_gguf_entry_at(file, i).key), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "tokenizer.ggml.tokens", TN_GGUF_STRING, texts, count), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "tokenizer.ggml.token_type", TN_GGUF_I32, types, count), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "tokenizer.ggml.scores", TN_GGUF_F32, scores, count), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("odd.gguf")), TN_OK);
    return tn_adopt(tn_tokenizer_open(in_folder("odd.gguf")));
}

static void check_same(const tn_tokenizer *a, const tn_tokenizer *b)
{
    char texts[2][1024];
    for (int i = 0; i < TN_COUNT(tokenizer_cases); i++) {
        TN_SCOPE;
        const tokenizer_case *c = &tokenizer_cases[i];
        if (strstr(c->text, "\xe2\x96\x81") || !tn_is_utf8(c->text, (size_t)c->bytes)) /* GGUF has SentencePiece's and transformers' ways alone */
            continue;
        tn_tensor *ids = tn_tokenizer_encode(a, c->text, c->bytes, .allow_special = true, .add_bos = 0),
                  *others = tn_tokenizer_encode(b, c->text, c->bytes, .allow_special = true, .add_bos = 0);
        if (!tn_equal(ids, others))
            fail_msg("\"%s\" has other ids by way of GGUF", c->text);
        const int64_t size = tn_tokenizer_decode(a, ids, texts[0], sizeof texts[0]), *first = tn_data(ids);
        const bool spaced = a->decode != b->decode && b->strip_count && size && b->special[*first]; /* llama.cpp keeps the space behind such a one */
        assert_int_equal(tn_tokenizer_decode(b, ids, texts[1], sizeof texts[1]), size + spaced);
        assert_true(!spaced || *texts[1] == ' ');
        assert_memory_equal(texts[0], texts[1] + spaced, (size_t)size);
        check_good();
    }
    assert_int_equal(tn_tokenizer_bos(b), tn_tokenizer_bos(a));
    assert_int_equal(tn_tokenizer_eos(b), tn_tokenizer_eos(a));
}

static const struct {
    const char *file, *pattern, *pre;
    int adds_bos;
} all[] = {{"sp_bpe_llama.model", NULL, NULL, 1},
           {"llama2c.bin", NULL, NULL, 1},
           {"tiktoken_llama3.tiktoken", "llama3", "llama-bpe", 1},
           {"tiktoken_llama3.tiktoken", "cl100k", "llama-bpe", 0},
#ifdef TENON_HAVE_CJSON
           {"hf_gpt2.json", NULL, "gpt-2", 0},
           {"hf_llama3.json", NULL, "llama-bpe", 1},
           {"hf_qwen2.json", NULL, "qwen2", 0},
           {"hf_smollm.json", NULL, "smollm", 0},
           {"hf_unsplit.json", NULL, "gpt-2", 0},
#endif
};

static void test_there_and_back(void **state)
{
    (void)state;
    for (int i = 0; i < TN_COUNT(all); i++) {
        TN_SCOPE;
        const tn_tokenizer *t = open_bytes(plain_reference(all[i].file), all[i].pattern), *g = by_gguf(t, 0);
        const int64_t count = tn_tokenizer_vocab_size(t);
        const tn_gguf *gguf = tn_map_gguf(in_folder("tokenizer.gguf"));
        assert_string_equal(tn_gguf_string(gguf, "tokenizer.ggml.model", ""), all[i].pre ? "gpt2" : "llama");
        assert_string_equal(tn_gguf_string(gguf, "tokenizer.ggml.pre", "none"), all[i].pre ? all[i].pre : "none");
        assert_int_equal(tn_tokenizer_vocab_size(g), count);
        assert_int_equal(tn_tokenizer_adds_bos(g), all[i].adds_bos);
        check_same(t, g);
        const tn_tokenizer *again = by_gguf(g, count + 2); /* a model's table may be larger */
        check_same(g, again);
        char last[32];
        snprintf(last, sizeof last, "[PAD%lld]", (long long)count + 1);
        assert_int_equal(tn_tokenizer_vocab_size(again), count + 2);
        assert_string_equal(tn_tokenizer_token(again, count + 1, NULL), last);
        assert_int_equal(again->vocab.tokens[count + 1].type, TN_TOKEN_UNUSED);
    }
}

/* The tokeniser of a GGUF file in the folder, written as tokenizer.json; both are kept in TN_TEST_KEEP for make_tokenizer_gguf.py --check. */
static void check_as_json(const tn_tokenizer *g, const char *gguf, const char *name, int adds_bos)
{
    const char *keep = getenv("TN_TEST_KEEP");
    char command[256];
    tn_bytes text = {0};
    assert_true(tn_tokenizer_write(g, &text));
    write_file(in_folder("tokenizer.json"), text.data, text.size);
    tn_tokenizer *j = tn_adopt(tn_tokenizer_new(in_folder("tokenizer.json")));
    check_good();
    assert_string_equal(j->file_name, "tokenizer.json");
    assert_int_equal(tn_tokenizer_vocab_size(j), tn_tokenizer_vocab_size(g));
    assert_int_equal(tn_tokenizer_adds_bos(j), adds_bos);
    tn_set_ends(j, &g->eos, 1); /* which another file of a folder names */
    check_same(j, g);
    snprintf(command, sizeof command, "cp %s/%s %s/%s.gguf && cp %s/tokenizer.json %s/%s.json", folder, gguf, keep, name, folder, keep, name);
    assert_true(!keep || system(command) == 0);
    tn_bytes_free(&text);
}

static void test_as_json(void **state)
{
    (void)state;
    without_cjson_skip();
    for (int i = 0; i < TN_COUNT(all); i++) {
        TN_SCOPE;
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        check_as_json(by_gguf(open_bytes(plain_reference(all[i].file), all[i].pattern), 0), "tokenizer.gguf", name, all[i].adds_bos);
    }
}

/* The same ids of a text by way of tokenizer.json. */
static void check_by_json(const tn_tokenizer *g, const char *words)
{
    const tn_tokenizer *j = tn_adopt(tn_tokenizer_new(in_folder("tokenizer.json")));
    tn_tensor *due = tn_tokenizer_encode(g, words, (int64_t)strlen(words)), *ids = tn_tokenizer_encode(j, words, (int64_t)strlen(words));
    check_good();
    if (!tn_equal(ids, due))
        fail_msg("\"%s\" has other ids", words);
}

#define SPAN(text) {text, sizeof text - 1}
static void test_as_json_by_hand(void **state)
{
    (void)state;
    without_cjson_skip();
    TN_SCOPE;
    tn_bytes text = {0};
    static const tn_span runs[] = {SPAN("<unk>"), SPAN("\xe2\x96\x81"), SPAN("\xe2\x96\x81\xe2\x96\x81"), SPAN("\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81"),
                                   SPAN("a"), SPAN("\x01"), SPAN("\n\""), SPAN("\\"), SPAN("\n"), SPAN("\"")};
    static const float scores[TN_COUNT(runs)] = {0, -9, -9, -9, -1, -1, -1, -1, -1, -1}; /* runs of spaces are Llama 2's so */
    static const int32_t types[TN_COUNT(runs)] = {2, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const tn_tokenizer *g = tn_adopt(tn_tokenizer_gguf_new("llama", runs, TN_COUNT(runs), .scores = scores, .types = types));
    assert_true(tn_tokenizer_write(g, &text));
    for (size_t i = 0; i < text.size; i++)
        assert_true((unsigned char)text.data[i] >= ' ' || text.data[i] == '\n');
    write_file(in_folder("tokenizer.json"), text.data, text.size);
    static const char *const words[] = {"", " ", "  ", "   ", "    a", "     a", "a       ", "a\x01\n\"\\\n\""};
    for (int i = 0; i < TN_COUNT(words); i++)
        check_by_json(g, words[i]);
    static const tn_span letters[] = {SPAN("a"), SPAN("b"), SPAN("c"), SPAN("abc")}, twice[] = {SPAN("a"), SPAN("a")}, other[] = {SPAN("\xff")};
    g = tn_adopt(tn_tokenizer_gguf_new("gpt2", letters, TN_COUNT(letters), .pre = "llama-bpe")); /* a whole word is a token that nothing merges into */
    text.size = 0;
    assert_true(tn_tokenizer_write(g, &text));
    write_file(in_folder("tokenizer.json"), text.data, text.size);
    check_by_json(g, "abc");
    check_by_json(g, "abcab");
    static const tn_span spaced[] = {SPAN("<unk>"), SPAN("\xe2\x96\x81"), SPAN("a"), SPAN(" "), SPAN(" a"), SPAN("a "), SPAN("b"), SPAN("ab"), SPAN("a b")}; /* of "ab" alone a merge can be written */
    static const float falling[TN_COUNT(spaced)] = {0, -1, -2, -3, -4, -5, -6, -7, -8};
    static const int32_t normal[TN_COUNT(spaced)] = {2, 1, 1, 1, 1, 1, 1, 1, 1};
    g = tn_adopt(tn_tokenizer_gguf_new("llama", spaced, TN_COUNT(spaced), .scores = falling, .types = normal));
    text.size = 0;
    assert_true(tn_tokenizer_write(g, &text));
    write_file(in_folder("tokenizer.json"), text.data, text.size);
    check_by_json(g, "ab");
    check_by_json(g, "a ba  ab");
    assert_non_null(memmem(text.data, text.size, "\"merges\": [\n    \"a b\"]", 22));
    assert_false(tn_tokenizer_write(tn_adopt(tn_tokenizer_gguf_new("llama", twice, 2)), &text));
    check_error(TN_ERR_UNSUPPORTED, "tokenizer.json cannot hold this tokenizer, for it has a token twice");
    assert_false(tn_tokenizer_write(tn_adopt(tn_tokenizer_gguf_new("llama", other, 1)), &text));
    check_error(TN_ERR_UNSUPPORTED, "a token that is not UTF-8");
    assert_false(tn_tokenizer_write_config(NULL, &text));
    check_error(TN_ERR_ARGUMENT, "tokenizer is NULL");
    tn_bytes_free(&text);
}

/* Token by token: the same text, in whole characters where it is UTF-8. */
static void check_stream(tn_tokenizer *t, const gguf_case *c, const tn_tensor *ids)
{
    tn_text_stream *stream = tn_adopt(tn_text_stream_new(t));
    const int64_t *is = tn_data(ids), count = tn_numel(ids);
    int64_t at = 0, bytes;
    for (int64_t i = 0; i <= count; i++) {
        const char *part = i < count ? tn_text_stream_push(stream, is[i], &bytes) : tn_text_stream_end(stream, &bytes);
        assert_true(bytes <= c->decoded_bytes - at);
        assert_memory_equal(part, c->decoded + at, (size_t)bytes);
        at += bytes;
        assert_true(tn_is_utf8(c->decoded, (size_t)at) || !tn_is_utf8(c->decoded, (size_t)c->decoded_bytes));
    }
    assert_int_equal(at, c->decoded_bytes);
}

/* Bytes that are no UTF-8, and tokens that no text gives: what llama.cpp makes of them by the files that Tenon writes. */
static void test_bytes_as_llama_cpp(void **state)
{
    (void)state;
    tn_tokenizer *t = NULL;
    for (int i = 0; i < TN_COUNT(gguf_cases); i++) {
        const gguf_case *c = &gguf_cases[i];
#ifndef TENON_HAVE_CJSON
        if (strstr(c->file, ".json"))
            continue;
#endif
        if (!i || strcmp(c->file, c[-1].file) != 0) {
            TN_SCOPE;
            const bool odd = c->pattern && strcmp(c->pattern, "odd") == 0;
            tn_release(t);
            t = by_gguf(open_bytes(plain_reference(c->file), odd ? NULL : c->pattern), 0);
            t = tn_keep(odd ? with_odd() : t);
        }
        TN_SCOPE;
        int64_t due[64], count = 0;
        char text[256], *end = NULL;
        for (const char *at = c->ids; *at; at = end)
            due[count++] = strtoll(at, &end, 10);
        tn_tensor *ids = tn_from_ints(due, TN_SHAPE(count));
        if (c->bytes >= 0 && !tn_equal(tn_tokenizer_encode(t, c->text, c->bytes, .add_bos = 0), ids))
            fail_msg("%s: \"%s\" has other ids", c->file, c->text);
        const int64_t size = tn_tokenizer_decode(t, ids, text, sizeof text);
        assert_int_equal(size, c->decoded_bytes);
        assert_memory_equal(text, c->decoded, (size_t)size);
        check_stream(t, c, ids);
        check_good();
    }
    tn_release(t);
}

/* Each type of token by its own: what is no text gives none, and where special tokens are shown, as they stand. */
static void test_types_as_llama_cpp(void **state)
{
    (void)state;
    TN_SCOPE;
    static const int32_t types[] = {2, 3, 4, 5, 6, 1, 1};
    char text[64];
    for (int gpt2 = 0; gpt2 < 2; gpt2++) {
        const char *const texts[] = {"<unk>", "<s>", "\xc3\xa9", "[PAD]", "<0xE9>", gpt2 ? "\xc3\xa9" "a" : "\xe2\x96\x81" "a", "b"};
        tn_span tokens[7];
        for (int i = 0; i < 7; i++)
            tokens[i] = (tn_span){texts[i], (int64_t)strlen(texts[i])};
        const tn_tokenizer *t = tn_adopt(tn_tokenizer_gguf_new(gpt2 ? "gpt2" : "llama", tokens, 7, .pre = "gpt-2", .types = types));
        const tn_tensor *ids = tn_from_ints(((int64_t[]){0, 1, 3, 5, 2, 4, 5, 6}), TN_SHAPE(8));
        check_good();
        tn_tokenizer_decode(t, ids, text, sizeof text);
        assert_string_equal(text, gpt2 ? "\xe9" "a\xc3\xa9\xe9\xe9" "ab" : " a\xc3\xa9\xe9 ab"); /* llama_detokenize() looks at the first token alone */
        tn_tokenizer_decode(t, ids, text, sizeof text, .skip_special = false);
        assert_string_equal(text, gpt2 ? "<unk><s>\xe9" "a\xc3\xa9\xe9\xe9" "ab" : "<unk><s> a\xc3\xa9\xe9 ab");
    }
}

/* The file that by_gguf() wrote, with another splitter's name, NULL: none, and without a word on the beginning's token. */
static tn_tokenizer *with_splitter(const char *pre)
{
    tn_gguf *of = tn_map_gguf(in_folder("tokenizer.gguf"));
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    for (int64_t i = 0; i < tn_gguf_key_count(of); i++) {
        const char *key = tn_gguf_entry_at(of, i).key;
        if (strcmp(key, "tokenizer.ggml.pre") != 0 && strcmp(key, "tokenizer.ggml.add_bos_token") != 0)
            assert_int_equal(tn_gguf_copy_key(w, of, key), TN_OK);
    }
    assert_int_equal(pre ? tn_gguf_set_string(w, "tokenizer.ggml.pre", pre) : TN_OK, TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("splitter.gguf")), TN_OK);
    return tn_adopt(tn_tokenizer_open(in_folder("splitter.gguf")));
}

/* By each name the ids that llama.cpp makes, and what it does at the beginning of a text where a file does not say. */
static void test_names_of_splitters(void **state)
{
    (void)state;
    without_cjson_skip();
    by_gguf(open_bytes(plain_reference("hf_unsplit.json"), NULL), 0);
    for (int i = 0; i < TN_COUNT(gguf_pre); i++) {
        TN_SCOPE;
        const tn_tokenizer *t = with_splitter(gguf_pre[i].pre);
        check_good();
        assert_int_equal(tn_tokenizer_adds_bos(t), gguf_pre[i].adds_bos);
        for (int k = 0; k < TN_COUNT(gguf_split); k++) {
            if (strcmp(gguf_split[k].pre, gguf_pre[i].like) != 0)
                continue;
            int64_t due[128], count = 0;
            char *end = NULL;
            for (const char *at = gguf_split[k].ids; *at; at = end)
                due[count++] = strtoll(at, &end, 10);
            const char *words = gguf_split[k].text;
            if (!tn_equal(tn_tokenizer_encode(t, words, (int64_t)strlen(words), .add_bos = 0), tn_from_ints(due, TN_SHAPE(count))))
                fail_msg("%s: \"%s\" has other ids", gguf_pre[i].pre, words);
        }
        const bool qwens = strcmp(gguf_pre[i].pre, "qwen2") == 0 || strcmp(gguf_pre[i].pre, "deepseek-r1-qwen") == 0; /* which composes, as llama.cpp does not */
        assert_int_equal(tn_equal(tn_tokenizer_encode(t, "e\xcc\x81", 3), tn_tokenizer_encode(t, "\xc3\xa9", 2)), qwens);
        check_as_json(t, "splitter.gguf", gguf_pre[i].pre, gguf_pre[i].adds_bos);
    }
    static const char *const none[] = {"default", "llama3 llama-v3", "llama", "", NULL};
    for (int i = 0; i < TN_COUNT(none); i++) {
        TN_SCOPE;
        with_splitter(none[i]);
        char words[160];
        snprintf(words, sizeof words, none[i] ? "pre is \"%s\": Tenon has gpt-2, llama-bpe, smaug-bpe, qwen2" : "pre is not said: Tenon has gpt-2", none[i]);
        check_error(TN_ERR_UNSUPPORTED, words);
    }
}

/* In a SentencePiece model's bytes, a piece of three bytes gets another type. */
static void retype(size_t size, const char *piece, char type)
{
    char *at = memmem(file, size, piece, 3);
    assert_true(at && at[3] == 0x15 && at[8] == 0x18);
    at[9] = type;
}

static void check_refused(const tn_tokenizer *t, const char *words)
{
    check_good();
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    assert_int_equal(tn_gguf_set_tokenizer(w, t, 0), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, words);
}

static void test_refused(void **state)
{
    (void)state;
    TN_SCOPE;
    const tn_tokenizer *t = open_bytes(plain_reference("llama2c.bin"), NULL);
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    assert_int_equal(tn_gguf_set_tokenizer(w, t, 399), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "399 tokens, and the tokenizer has 400");
    assert_int_equal(tn_gguf_set_tokenizer(w, NULL, 0), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "tokenizer is NULL");
    assert_int_equal(tn_gguf_set_tokenizer(NULL, t, 0), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "writer is NULL");
    check_refused(open_bytes(plain_reference("sp_bpe_rules.model"), NULL), "a normaliser");
    check_refused(open_bytes(plain_reference("sp_bpe_unused.model"), NULL), "no tokens of bytes");
    check_refused(open_bytes(plain_reference("sp_unigram_bytes.model"), NULL), "a unigram model");
    check_refused(open_bytes(plain_reference("tiktoken_o200k.tiktoken"), "o200k"), "a splitter");
    check_refused(open_bytes(plain_reference("tiktoken_cl100k.tiktoken"), "cl100k"), "a splitter"); /* whose "\n " makes it other than Llama 3's */
    const size_t size = plain_reference("sp_bpe_llama.model");
    retype(size, "<s>", TN_TOKEN_USER);
    check_refused(open_bytes(size, NULL), "user-defined tokens, which llama.cpp finds otherwise");
    tn_span twice[] = {{"a", 1}, {"a", 1}};
    check_refused(tn_adopt(tn_tokenizer_gguf_new("llama", twice, 2)), "a token twice");
#ifdef TENON_HAVE_CJSON
    check_refused(open_bytes(plain_reference("llama3np.np"), NULL), "rules of llama3.np");
    check_refused(open_bytes(plain_reference("hf_first.json"), NULL), "no tokens of bytes");
    char path[512];
    snprintf(path, sizeof path, TN_SOURCE_DIR "/tests/reference/tokenizers/hf_qwen2.json");
    check_refused(tn_adopt(tn_tokenizer_new(path)), "added tokens that take white space with them or stand alone");
#endif
}

#ifdef TENON_HAVE_CJSON
/* tokenizer.json in SentencePiece's style: bytes, single letters and what merges make of them; `added` are
 * further added tokens, and `more` other members. */
static tn_tokenizer *open_added(const char *letters, const char *merges, const char *added, const char *more)
{
    char *at = file;
    at += sprintf(at, "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"<unk>\",\"merges\":[%s],\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2",
                  merges);
    for (int i = 0; i < 256; i++)
        at += sprintf(at, ",\"<0x%02X>\":%d", i, i + 3);
    int id = 259;
    for (const char *text = letters; *text; text += strcspn(text, " ") + (strchr(text, ' ') != NULL))
        at += sprintf(at, ",\"%.*s\":%d", (int)strcspn(text, " "), text, id++);
    at += sprintf(at, "}},\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":\"<s>\",\"special\":true},"
                      "{\"id\":2,\"content\":\"</s>\",\"special\":true}%s],\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
                      "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
                      "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}%s}", added, more);
    return open_bytes((size_t)(at - file), NULL);
}
static tn_tokenizer *open_pairs(const char *letters, const char *merges, const char *more) { return open_added(letters, merges, "", more); }

#define SPACE "\xe2\x96\x81"
#define ESCAPED "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" SPACE "\"}"
#define NORMALIZER ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" SPACE "\"}," ESCAPED "]}"
#define LETTERS SPACE " a b c ab abc " SPACE "a"
#define MERGES "\"a b\",\"ab c\",\"" SPACE " a\""
static void test_pairs_as_scores(void **state)
{
    (void)state;
    TN_SCOPE;
    const tn_tokenizer *t = open_pairs(LETTERS, MERGES, NORMALIZER), *g = by_gguf(t, 0);
    check_same(t, g);
    check_values(tn_tokenizer_encode(g, "abc abab", 8), 0, 259, 264, 259, 263, 263);
    assert_string_equal(tn_gguf_string(tn_map_gguf(in_folder("tokenizer.gguf")), "tokenizer.ggml.model", ""), "llama");
    check_values(tn_tokenizer_encode(by_gguf(open_pairs(LETTERS, MERGES, ",\"normalizer\":" ESCAPED), 0), "abc", 3), 0, 264); /* no space in front */
    check_refused(open_pairs(LETTERS " bc", MERGES ",\"b c\"", NORMALIZER), "tokens whose parts do not merge"); /* a bc */
    check_refused(open_pairs(LETTERS " bc", "\"a b\",\"a bc\",\"b c\",\"ab c\",\"" SPACE " a\"", NORMALIZER), "merges that no scores can order");
    check_refused(open_pairs(LETTERS, MERGES, ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" SPACE "\"}"), "a normaliser or splitter");
    check_refused(open_pairs(LETTERS, MERGES, NORMALIZER ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
                                              "{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[1]}}}"),
                  "a template of more than");
}

/* Where added tokens overlap, here the leftmost counts and there the longest; where the leftmost is the longest too, both find the same. */
static void test_overlapping(void **state)
{
    (void)state;
    TN_SCOPE;
#define ADDED(id, text) ",{\"id\":" #id ",\"content\":\"" text "\",\"special\":false,\"normalized\":false}"
    const tn_tokenizer *t = open_added(LETTERS " <ov vlap>", MERGES, ADDED(266, "<ov") ADDED(267, "vlap>"), NORMALIZER);
    check_values(tn_tokenizer_encode(t, "<ovlap>", 7), 0, 266, 259, 111, 260, 115, 65);
    check_refused(t, "added tokens that overlap, which llama.cpp finds otherwise");
    t = open_added(LETTERS " -- ---", MERGES, ADDED(266, "--") ADDED(267, "---"), NORMALIZER);
    check_values(tn_tokenizer_encode(by_gguf(t, 0), "-----", 5), 0, 267, 266);
#undef ADDED
}
#endif

/* ---- with a model --------------------------------------------------------------------------------------------------------- */

static int lines;
static char line[1024];
static void keep_line(const char *text, void *context)
{
    (void)context;
    lines++;
    snprintf(line, sizeof line, "%s", text);
}

/* llama2.c's file of 12 tokens, as many as tests/reference/llama/v1.bin has. */
static size_t small_tokenizer(char data[256])
{
    static const char *const texts[] = {"<unk>", "\n<s>\n", "\n</s>\n", " ", "a", "b", "c", "d", "e", "ab", " a", " ab"};
    int32_t size = 6;
    size_t at = 4;
    memcpy(data, &size, 4);
    for (int i = 0; i < 12; i++, at += 8 + (size_t)size) {
        const float score = (float)-i;
        size = (int32_t)strlen(texts[i]);
        memcpy(data + at, &score, 4);
        memcpy(data + at + 4, &size, 4);
        memcpy(data + at + 8, texts[i], (size_t)size);
    }
    return at;
}

/* A folder with a model of its own and, unless NULL, what is beside it. */
static void make_source(const char *name, const char *beside, const void *data, size_t size)
{
    static unsigned char model[1 << 14];
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder(name));
    assert_int_equal(mkdir(path, 0777), 0);
    const size_t length = read_file(TN_SOURCE_DIR "/tests/reference/llama/v1.bin", model, sizeof model);
    snprintf(path, sizeof path, "%s/model.bin", in_folder(name));
    write_file(path, model, length);
    snprintf(path, sizeof path, "%s/%s", in_folder(name), beside);
    if (data)
        write_file(path, data, size);
}

static void check_ab(const char *model)
{
    check_values(tn_tokenizer_encode(tn_adopt(tn_tokenizer_open(in_folder(model))), "ab", 2, .add_bos = 0), 0, 11);
    check_good();
}

static void test_converting_takes_it_along(void **state)
{
    (void)state;
    TN_SCOPE;
    char small[256];
    const size_t size = small_tokenizer(small);
    make_source("model", "tokenizer.bin", small, size);
    check_ab("model"); /* a folder that has the tokeniser, and no model that a folder's name stands for */
    write_file(in_folder("model/chat_template.jinja"), "{{ '[INST]' '<<SYS>>' }}", 24);
    assert_int_equal(tn_llama_convert(in_folder("model/model.bin"), in_folder("alone.gguf"), .report = keep_line), TN_OK);
    check_ab("alone.gguf");
    assert_string_equal(tn_chat_template_of(in_folder("alone.gguf")), "llama2");
    assert_int_equal(tn_llama_convert(in_folder("alone.gguf"), in_folder("copy.gguf"), .report = keep_line), TN_OK);
    check_ab("copy.gguf");
    assert_string_equal(tn_chat_template_of(in_folder("copy.gguf")), "llama2");
    assert_int_equal(tn_llama_convert(in_folder("model/model.bin"), in_folder("copied"), .report = keep_line), TN_OK);
    assert_int_equal(lines, 0);
    assert_int_equal(access(in_folder("copied/tokenizer.bin"), R_OK), 0);
    assert_string_equal(tn_chat_template_of(in_folder("copied")), "llama2");
#ifdef TENON_HAVE_CJSON
    check_ab("copied");
#endif
    assert_int_equal(tn_llama_convert(in_folder("alone.gguf"), in_folder("bare"), .report = keep_line), TN_OK);
    assert_int_equal(lines, 0);
    assert_int_equal(access(in_folder("bare/tokenizer.json"), R_OK), 0);
    assert_string_equal(tn_chat_template_of(in_folder("bare")), "llama2");
#ifdef TENON_HAVE_CJSON
    check_ab("bare");
#endif
}

static void test_converting_with_one_that_is_named(void **state)
{
    (void)state;
    TN_SCOPE;
    char small[256];
    const size_t size = small_tokenizer(small);
    make_source("named", "tokenizer.bin", "no tokenizer", 12);
    write_file(in_folder("named/tokenizer_config.json"), "{", 1);
    lines = 0;
    assert_int_equal(tn_llama_convert(in_folder("named/model.bin"), in_folder("none.gguf"), .report = keep_line), TN_OK);
    assert_int_equal(lines, 2);
    assert_non_null(strstr(line, "named/tokenizer_config.json is not written: "));
    unlink(in_folder("named/tokenizer_config.json"));
    assert_int_equal(tn_llama_convert(in_folder("named/model.bin"), in_folder("none.gguf"), .report = keep_line), TN_OK);
    assert_int_equal(lines, 3);
    assert_non_null(strstr(line, "named/tokenizer.bin is not written: "));
    assert_string_equal(tn_gguf_string(tn_map_gguf(in_folder("none.gguf")), "tokenizer.ggml.model", ""), "no_vocab");
    char words[128];
    snprintf(words, sizeof words, "%s", in_folder("words.bin"));
    write_file(words, small, size);
    assert_int_equal(tn_llama_convert(in_folder("none.gguf"), in_folder("named.gguf"), .tokenizer = words), TN_OK);
    check_ab("named.gguf");
    assert_int_equal(tn_llama_convert(in_folder("named.gguf"), in_folder("folder"), .tokenizer = words), TN_OK);
    assert_int_equal(access(in_folder("folder/tokenizer.bin"), R_OK), 0);
    assert_int_equal(tn_llama_convert(in_folder("named.gguf"), in_folder("x.gguf"), .tokenizer = "/nonexistent/tokenizer.model"), TN_ERR_IO);
    check_error(TN_ERR_IO, "/nonexistent/tokenizer.model");
    assert_int_equal(tn_llama_convert(in_folder("named.gguf"), in_folder("folder"), .tokenizer = "/nonexistent/tokenizer.model"), TN_ERR_IO);
    check_error(TN_ERR_IO, "/nonexistent/tokenizer.model");
    write_file(words, small, size - 11); /* without its last token */
    assert_int_equal(tn_llama_convert(in_folder("named.gguf"), in_folder("x.gguf"), .tokenizer = words), TN_ERR_FORMAT);
    check_error(TN_ERR_FORMAT, "11 tokens, and 12 are due");
}

/* A folder of a model for so many tokens. */
static void make_model(const char *name, int64_t count)
{
    TN_SCOPE;
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder(name));
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/model.bin", in_folder(name));
    assert_int_equal(tn_llama_save(tn_adopt(tn_llama_new(.vocab_size = count, .hidden_size = 4, .intermediate_size = 4, .num_hidden_layers = 1,
                                                         .num_attention_heads = 1)), path), TN_OK);
}

/* Whatever the name of a tokeniser's file, a folder has it by that under which it is looked for. */
static void test_names_in_a_folder(void **state)
{
    (void)state;
    static const struct {
        const char *file, *name;
    } all[] = {{"sp_bpe_llama.model", "tokenizer.model"}, {"sp_unigram_bytes.model", "tokenizer.model"}, {"llama2c.bin", "tokenizer.bin"},
               {"hf_llama3.json", "tokenizer.json"},      {"llama3np.np", "tokenizer.model.np"}};
    without_cjson_skip();
    char model[256], words[128], path[256];
    snprintf(words, sizeof words, "%s", in_folder("words.model"));
    for (int i = 0; i < TN_COUNT(all); i++) {
        TN_SCOPE;
        const size_t size = plain_reference(all[i].file);
        write_file(words, file, size);
        const tn_tokenizer *t = tn_adopt(tn_tokenizer_new(words));
        char large[16];
        snprintf(large, sizeof large, "large-%d", i);
        make_model(large, tn_tokenizer_vocab_size(t));
        snprintf(model, sizeof model, "%s/model.bin", in_folder(large));
        snprintf(path, sizeof path, "%s-%d", in_folder("by"), i);
        assert_int_equal(tn_llama_convert(model, path, .tokenizer = words), TN_OK);
        check_same(t, tn_adopt(tn_tokenizer_open(path)));
        snprintf(path, sizeof path, "%s-%d/%s", in_folder("by"), i, all[i].name);
        assert_int_equal(access(path, R_OK), 0);
    }
    write_file(words, "{\"model\": 1}", 12);
    assert_int_equal(tn_llama_convert(model, in_folder("by-x"), .tokenizer = words), TN_ERR_FORMAT);
    check_error(TN_ERR_FORMAT, "words.model: JSON without a \"model\"");
    static const char *const without[] = {"x.safetensors", "x.npz", "x.bin"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tn_llama_convert(model, in_folder(without[i]), .tokenizer = words), TN_ERR_ARGUMENT);
        check_error(TN_ERR_ARGUMENT, "such a file holds no tokenizer: a GGUF file and a folder do");
    }
}

static void check_model(const tn_tokenizer *due, const char *model)
{
    TN_SCOPE;
    const tn_tokenizer *t = tn_adopt(tn_tokenizer_open(in_folder(model)));
    check_good();
    if (due->decode == tn_decode_gguf)
        check_same(t, due);
    else
        check_same(due, t);
    assert_true(tn_ends_text(t, 2) && tn_ends_text(t, 9) && tn_ends_text(t, 5) && !tn_ends_text(t, 8));
    assert_string_equal(tn_chat_template_of(in_folder(model)), "llama2");
}

/* Out of a GGUF file into a folder and back, and from a model that is named, a GGUF file or a folder: the tokeniser, what ends a text and the template. */
static void test_models_that_are_named(void **state)
{
    (void)state;
    TN_SCOPE;
    without_cjson_skip();
    char named[128];
    const size_t size = plain_reference("sp_bpe_llama.model");
    const int64_t count = tn_tokenizer_vocab_size(open_bytes(size, NULL));
    make_model("plain", count);
    make_model("whole", count);
    write_file(in_folder("whole/tokenizer.model"), file, size);
    write_file(in_folder("whole/chat_template.jinja"), "{{ '[INST]' '<<SYS>>' }}", 24);
    write_file(in_folder("whole/generation_config.json"), "{\"eos_token_id\": [2, 5, 9]}", 27);
    lines = 0;
    assert_int_equal(tn_llama_convert(in_folder("whole/model.bin"), in_folder("whole.gguf"), .report = keep_line), TN_OK);
    write_file(in_folder("tokenizer_config.json"), "{}", 2); /* another model's: what is in the GGUF file counts */
    assert_int_equal(tn_llama_convert(in_folder("whole.gguf"), in_folder("unpacked"), .report = keep_line), TN_OK);
    unlink(in_folder("tokenizer_config.json"));
    unsigned char config[512];
    const size_t config_size = read_file(in_folder("unpacked/tokenizer_config.json"), config, sizeof config);
    assert_non_null(memmem(config, config_size, "\"eos_token\": \"</s>\"", 19));
    assert_int_equal(tn_llama_convert(in_folder("unpacked"), in_folder("packed.gguf"), .report = keep_line), TN_OK);
    const tn_tokenizer *due = tn_adopt(tn_tokenizer_open(in_folder("whole.gguf")));
    static const char *const models[] = {"whole.gguf", "unpacked", "packed.gguf", "whole"};
    for (int i = 0; i < TN_COUNT(models); i++) {
        snprintf(named, sizeof named, "%s", in_folder(models[i]));
        check_model(due, models[i]);
        assert_int_equal(tn_llama_convert(in_folder("plain/model.bin"), in_folder("to.gguf"), .tokenizer = named, .report = keep_line), TN_OK);
        check_model(due, "to.gguf");
        assert_int_equal(tn_llama_convert(in_folder("plain/model.bin"), in_folder("to"), .tokenizer = named, .report = keep_line), TN_OK);
        check_model(due, "to");
        char command[160];
        snprintf(command, sizeof command, "rm -r %s", in_folder("to"));
        assert_int_equal(system(command), 0);
    }
    assert_int_equal(lines, 0);
    snprintf(named, sizeof named, "%s", in_folder("plain"));
    assert_int_equal(tn_llama_convert(in_folder("whole.gguf"), in_folder("to.gguf"), .tokenizer = named), TN_ERR_IO);
    check_error(TN_ERR_IO, "plain: no tokenizer");
    assert_int_equal(tn_llama_convert(in_folder("whole.gguf"), in_folder("to"), .tokenizer = named), TN_ERR_IO);
    check_error(TN_ERR_IO, "plain: no tokenizer");
    make_model("few", 11);
    snprintf(named, sizeof named, "%s", in_folder("whole.gguf"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tn_llama_convert(in_folder("few/model.bin"), in_folder(i ? "to.gguf" : "to"), .tokenizer = named), TN_ERR_ARGUMENT);
        check_error(TN_ERR_ARGUMENT, "tokens and the model 11");
    }
}

static int make(void **state) { return (void)state, make_folder("tokenizer-gguf") ? 0 : -1; }
static int clean(void **state) { return (void)state, remove_folder() ? 0 : -1; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_there_and_back), TEST(test_as_json), TEST(test_as_json_by_hand), TEST(test_bytes_as_llama_cpp), TEST(test_types_as_llama_cpp), TEST(test_names_of_splitters), TEST(test_refused),
#ifdef TENON_HAVE_CJSON
        TEST(test_pairs_as_scores),
        TEST(test_overlapping),
#endif
        TEST(test_converting_takes_it_along), TEST(test_converting_with_one_that_is_named), TEST(test_names_in_a_folder), TEST(test_models_that_are_named),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
