/* labels: quick */
/* Tokenisers of files that are wrong: cut, changed, of another kind, asking for what Tenon lacks; and of regular expressions. */
#include "folder.h"

#include "text/text.h"

static unsigned char bytes[16384];

static size_t read_reference(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/reference/tokenizers/%s", TN_SOURCE_DIR, name);
    size_t size = read_file(path, bytes, sizeof bytes);
    assert_in_range(size, 1, sizeof bytes - 1);
    return size;
}

/* Whatever a file holds: a tokeniser that takes a text and gives one back, or an error that says something. */
static void try_file(const char *path, const char *pattern)
{
    TN_SCOPE;
    static const char text[] = "A \xf0\x9f\x98\x80 the  <s> 12\xff\n";
    char back[256];
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(path, .pattern = pattern));
    assert_true(!t == (tn_last_status() != TN_OK));
    if (t)
        tn_tokenizer_decode(t, tn_tokenizer_encode(t, text, sizeof text - 1, .allow_special = true), back, sizeof back);
    assert_true(tn_last_status() == TN_OK || strlen(tn_last_error()) > 20);
    tn_clear_error();
}

static const struct {
    const char *name, *pattern;
} files[] = {{"llama2c.bin", NULL},          {"sp_bpe_rules.model", NULL}, {"sp_unigram_bytes.model", NULL}, {"tiktoken_llama3.tiktoken", "llama3"},
             {"llama3np.np", NULL},          {"hf_llama2.json", NULL},     {"hf_qwen2.json", NULL}};

static void test_cut(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        size_t size = read_reference(files[f].name), step = strchr(files[f].name, 'j') || test_quickly() ? 37 : 7;
        for (size_t cut = 0; cut < size; cut += cut < 200 || cut + 100 > size ? 1 : step) {
            write_file(in_folder("cut"), bytes, cut);
            try_file(in_folder("cut"), files[f].pattern);
        }
    }
}

static void test_changed(void **state)
{
    (void)state;
    tn_manual_seed(3);
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        size_t size = read_reference(files[f].name);
        for (int i = 0; i < (test_quickly() ? 60 : 300); i++) {
            size_t at = (size_t)tn_random_below(i % 2 ? size : 64);
            unsigned char was = bytes[at];
            bytes[at] = (unsigned char)tn_random_below(256);
            write_file(in_folder("changed"), bytes, size);
            try_file(in_folder("changed"), files[f].pattern);
            bytes[at] = was;
        }
    }
}

static void refuse(const void *data, size_t size, const char *pattern, tn_status status, const char *words)
{
    write_file(in_folder("bad"), data, size);
    assert_null(tn_tokenizer_new(in_folder("bad"), .pattern = pattern));
    check_error(status, words);
}
#define REFUSE(text, status, words) refuse(text, sizeof(text) - 1, NULL, status, words)

static void test_refused(void **state)
{
    (void)state;
    assert_null(tn_tokenizer_new(NULL));
    check_error(TN_ERR_ARGUMENT, "path is NULL");
    assert_null(tn_tokenizer_new("/nonexistent/tokenizer.json"));
    check_error(TN_ERR_IO, "/nonexistent/tokenizer.json");
    REFUSE("", TN_ERR_FORMAT, "no file of a tokenizer that Tenon knows");
    REFUSE("\0\0\0\0\0\0\0\0\0\0\0\0", TN_ERR_FORMAT, "damaged at byte 0"); /* zeros */
    REFUSE("\5\0\0\0\0\0\0\0\6\0\0\0abcdef", TN_ERR_FORMAT, "damaged at byte 4"); /* longer than the longest */
    REFUSE("\5\0\0\0\0\0\xc0\x7f\1\0\0\0a", TN_ERR_FORMAT, "damaged at byte 4");   /* a score that is none */
    REFUSE("\5\0\0\0\0\0\0\0\xff\xff\xff\x7f" "a", TN_ERR_FORMAT, "damaged at byte 4");
    REFUSE("\n\3\n\1a\n\3\n\1a", TN_ERR_FORMAT, "there twice");
    REFUSE("\n\3\n\1a\n\3\n\1b", TN_ERR_FORMAT, "no piece stands for the unknown");
    REFUSE("\n\3\n\1a\n\7\n\1b", TN_ERR_FORMAT, "do not fit the file");
    REFUSE("\n\5\n\1a\x18\7", TN_ERR_FORMAT, "without a text, a type or a score");
    REFUSE("\n\5\n\1a\x18\2\x12\2\x18\3", TN_ERR_UNSUPPORTED, "words or characters");
    REFUSE("\n\5\n\1a\x18\2\x1a\7\x12\5\xff\xff\0\0\0", TN_ERR_FORMAT, "precompiled_charsmap");
    REFUSE("\n\5\n\1a\x18\2\x12\3\x98\2\1", TN_ERR_FORMAT, "byte_fallback without pieces");
    REFUSE("\n\5\n\1a\x18\2*\x12\n\x0cnmt_nfkc_cf_\x12\2ab", TN_ERR_UNSUPPORTED, "its denormalizer_spec has rules (precompiled_charsmap)");
    REFUSE("\n\5\n\1a\x18\2*\2\x12\7", TN_ERR_FORMAT, "its denormalizer_spec");
    refuse("YQ== 0\nYQ== 1\n", 14, "gpt2", TN_ERR_FORMAT, "there twice");
    refuse("YQ== 0\nYg== 1\n", 14, "gpt2", TN_ERR_FORMAT, "byte 0 has no token");
    refuse("YQ== 0\nYg==\n", 12, "gpt2", TN_ERR_FORMAT, ":2: a token in base64 and a space");
    refuse("YQ== 0\nYg== x\n", 14, "gpt2", TN_ERR_FORMAT, ":2: a rank");
    refuse("YQ== 9999999999\n", 16, "gpt2", TN_ERR_FORMAT, "more holes");
    refuse("YQ== 0\n", 7, NULL, TN_ERR_ARGUMENT, "say which .pattern");
    refuse("YQ== 0\n", 7, "klingon", TN_ERR_ARGUMENT, "\"klingon\"");
}

static void put_rank(FILE *out, const void *token, int size, int64_t rank)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = token;
    for (int i = 0; i < size; i += 3) {
        const unsigned bits = (unsigned)b[i] << 16 | (unsigned)(i + 1 < size ? b[i + 1] : 0) << 8 | (i + 2 < size ? b[i + 2] : 0);
        for (int k = 0; k < 4; k++)
            fputc(i + k <= size ? digits[bits >> (18 - 6 * k) & 63] : '=', out);
    }
    fprintf(out, " %lld\n", (long long)rank);
}

/* So many ranks: bytes, what tells the patterns apart, and tokens that no text here has; of 50,280, p50k's, none for its end. */
static tn_tokenizer *ranks_of(int64_t count, const char *pattern)
{
    static const char *const telling[] = {"1234", "\n ", "aB"};
    FILE *out = fopen(in_folder("ranks"), "wb");
    for (int64_t rank = 0; rank < count; rank++) {
        const unsigned char bytes3[] = {(unsigned char)(rank >> 16), (unsigned char)(rank >> 8), (unsigned char)rank};
        if (rank < 256)
            put_rank(out, &bytes3[2], 1, rank);
        else if (rank < 256 + TN_COUNT(telling))
            put_rank(out, telling[rank - 256], (int)strlen(telling[rank - 256]), rank);
        else
            put_rank(out, bytes3, 3, rank + (count == 50280 && rank >= 50256));
    }
    assert_int_equal(fclose(out), 0);
    return tn_adopt(tn_tokenizer_new(in_folder("ranks"), .pattern = pattern));
}

/* tiktoken's file does not say which encoding it is of: its number of ranks does. */
static void test_encodings_by_their_ranks(void **state)
{
    (void)state;
    static const struct {
        const char *pattern; /* NULL: the number tells it */
        int64_t ranks, tokens, bos, eos;
        const char *last;
        int64_t id, parts[3]; /* of "1234", "\n " and "aB" */
    } all[] = {{NULL, 50256, 50257, -1, 50256, "<|endoftext|>", 50256, {1, 1, 1}},
               {NULL, 50280, 50281, -1, 50256, "<|endoftext|>", 50256, {1, 1, 1}},
               {"p50k_edit", 50280, 50284, -1, 50256, "<|fim_suffix|>", 50283, {1, 1, 1}},
               {NULL, 100256, 100277, -1, 100257, "<|endofprompt|>", 100276, {4, 1, 1}},
               {NULL, 128000, 128256, 128000, 128001, "<|reserved_special_token_247|>", 128255, {4, 2, 1}},
               {NULL, 199998, 200019, -1, 199999, "<|endofprompt|>", 200018, {4, 2, 2}},
               {"o200k_harmony", 199998, 201088, 199998, 200002, "<|reserved_201087|>", 201087, {4, 2, 2}}};
    for (int i = 0; i < TN_COUNT(all); i++) {
        TN_SCOPE;
        const tn_tokenizer *t = ranks_of(all[i].ranks, all[i].pattern);
        check_good();
        assert_int_equal(tn_tokenizer_vocab_size(t), all[i].tokens);
        assert_int_equal(tn_tokenizer_id(t, all[i].last), all[i].id);
        assert_int_equal(tn_tokenizer_bos(t), all[i].bos);
        assert_int_equal(tn_tokenizer_eos(t), all[i].eos);
        static const char *const texts[] = {"1234", "\n ", "aB"};
        for (int k = 0; k < TN_COUNT(texts); k++)
            assert_int_equal(tn_numel(tn_tokenizer_encode(t, texts[k], (int64_t)strlen(texts[k]), .add_bos = 0)), all[i].parts[k]);
        if (all[i].tokens == 201088)
            check_values(tn_tokenizer_encode(t, "<|endofprompt|><|reserved_200018|>", 34, .add_bos = 0, .allow_special = true), 0, 200018, 200018);
    }
    TN_SCOPE;
    assert_null(ranks_of(50256, "p50k"));
    check_error(TN_ERR_FORMAT, "ranks: rank 50231 is a token, where the encoding has <|endoftext|>");
}

/* A denormalizer_spec that is empty, or has a name and no rules. */
static void test_denormalizer_without_rules(void **state)
{
    (void)state;
    static const char *const models[] = {"\n\5\n\1a\x18\2*", "\n\5\n\1a\x18\2*\x0c\n\x08identity\x12"};
    for (int i = 0; i < 2; i++) {
        write_file(in_folder("plain"), models[i], strlen(models[i]) + 1); /* a length of 0 at the end */
        tn_tokenizer *t = tn_tokenizer_new(in_folder("plain"));
        check_good();
        assert_non_null(t);
        tn_release(t);
    }
}

#ifdef TENON_HAVE_CJSON
#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
static void test_json_refused(void **state)
{
    (void)state;
    REFUSE("{\"a\":", TN_ERR_FORMAT, "no JSON");
    REFUSE("{} x", TN_ERR_FORMAT, "no JSON: see byte 3");
    REFUSE("{\"a\":\"\xff\"}", TN_ERR_FORMAT, "not UTF-8");
    REFUSE("{}", TN_ERR_FORMAT, "no tokenizer that Tenon knows");
    REFUSE("{\"tokens\":[\"a\"],\"scores\":[]}", TN_ERR_FORMAT, "not as many tokens as scores");
    REFUSE("{\"tokens\":[1],\"scores\":[1]}", TN_ERR_FORMAT, "a token that is no text");
    REFUSE("{\"tokens\":[\"a\"],\"scores\":[\"a\"]}", TN_ERR_FORMAT, "a score that is no number");
    REFUSE("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", TN_ERR_UNSUPPORTED, "a model of type \"WordPiece\"");
    REFUSE("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}", TN_ERR_UNSUPPORTED, "end_of_word_suffix");
    REFUSE("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", TN_ERR_UNSUPPORTED, "dropout");
    REFUSE("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0.5},\"merges\":[]}}", TN_ERR_FORMAT, "whose id is none");
    REFUSE("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999},\"merges\":[]}}", TN_ERR_FORMAT, "more holes");
    REFUSE("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", TN_ERR_FORMAT, "there twice");
    REFUSE("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", TN_ERR_FORMAT, "a merge of tokens");
    REFUSE("{" MODEL ",\"added_tokens\":[{\"id\":7}]}", TN_ERR_FORMAT, "without id and content");
    REFUSE("{" MODEL ",\"added_tokens\":[{\"id\":2,\"content\":\"x\"}]}", TN_ERR_FORMAT, "whose id another one has");
    REFUSE("{" MODEL ",\"normalizer\":{\"type\":\"Lowercase\"}}", TN_ERR_UNSUPPORTED, "a normalizer of type \"Lowercase\"");
    REFUSE("{" MODEL ",\"normalizer\":{\"type\":\"Prepend\"}}", TN_ERR_FORMAT, "without its text");
    REFUSE("{" MODEL ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{},\"content\":\"\"}}", TN_ERR_FORMAT, "neither a text nor");
    REFUSE("{" MODEL ",\"pre_tokenizer\":{\"type\":\"Whitespace\"}}", TN_ERR_UNSUPPORTED, "\"Whitespace\"");
    REFUSE("{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?<=a)\"},\"behavior\":\"Isolated\"}}", TN_ERR_UNSUPPORTED, "a group of a kind");
    REFUSE("{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Often\"}}", TN_ERR_UNSUPPORTED, "\"Often\"");
    REFUSE("{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}}", TN_ERR_UNSUPPORTED, "behind ByteLevel");
    REFUSE("{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}}", TN_ERR_UNSUPPORTED, "\"last\"");
    REFUSE("{" MODEL ",\"decoder\":{\"type\":\"CTC\"}}", TN_ERR_UNSUPPORTED, "a decoder of type \"CTC\"");
    REFUSE("{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\"}}", TN_ERR_UNSUPPORTED, "\"BertProcessing\"");
    REFUSE("{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}", TN_ERR_FORMAT, "a template without the text");
    REFUSE("{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]}}", TN_ERR_FORMAT, "whose token is none");
}

/* A NUL in a token, which cJSON's texts do not carry. */
static void test_nul(void **state)
{
    (void)state;
    TN_SCOPE;
    static const char json[] = "{\"model\":{\"vocab\":{\"a\":0,\"\\u0000\":1,\"a\\u0000b\":2,\"b\":3,\"a\\u0000\":4},\"merges\":[[\"a\",\"\\u0000\"],[\"a\\u0000\",\"b\"]]}}";
    write_file(in_folder("nul"), json, sizeof json - 1);
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(in_folder("nul")));
    tn_tensor *ids = tn_tokenizer_encode(t, "a\0b\0", 4);
    check_values(ids, 0, 2, 1);
    char text[8];
    assert_int_equal(tn_tokenizer_decode(t, ids, text, sizeof text), 5); /* without a decoder, a space between tokens */
    assert_memory_equal(text, "a\0b \0", 5);
}
#endif

static void test_arguments(void **state)
{
    (void)state;
    TN_SCOPE;
    char path[512], text[4];
    snprintf(path, sizeof path, "%s/tests/reference/tokenizers/llama2c.bin", TN_SOURCE_DIR);
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(path));
    tn_tensor *ids = tn_from_ints(((int64_t[]){1, 400}), TN_SHAPE(2));
    assert_int_equal(tn_tokenizer_decode(t, ids, text, sizeof text), -1);
    check_error(TN_ERR_INDEX, "id 400 of a vocabulary of 400");
    assert_int_equal(tn_tokenizer_decode(t, tn_from_floats((float[]){1}, TN_SHAPE(1)), text, 4), -1);
    check_error(TN_ERR_DTYPE, "float32");
    assert_int_equal(tn_tokenizer_decode(t, ids, NULL, 4), -1);
    check_error(TN_ERR_ARGUMENT, "text is NULL");
    assert_int_equal(tn_tokenizer_decode(NULL, ids, text, 4), -1);
    check_error(TN_ERR_ARGUMENT, "tokenizer is NULL");
    assert_null(tn_tokenizer_encode(t, NULL, 4));
    check_error(TN_ERR_ARGUMENT, "text is NULL");
    assert_null(tn_tokenizer_encode(t, "a", -1));
    check_error(TN_ERR_ARGUMENT, "-1 bytes");
    assert_null(tn_tokenizer_encode(t, "a", (1LL << 30) + 1));
    check_error(TN_ERR_ARGUMENT, "at most 2^30");
    assert_null(tn_tokenizer_token(t, -1, NULL));
    check_error(TN_ERR_INDEX, "id -1");
    assert_int_equal(tn_tokenizer_id(t, NULL), -1);
    check_error(TN_ERR_ARGUMENT, "token is NULL");
    assert_null(tn_text_stream_push(NULL, 0, NULL));
    check_error(TN_ERR_ARGUMENT, "stream is NULL");
}

static void test_gguf_refused(void **state)
{
    (void)state;
    tn_span tokens[2] = {{"a", 1}, {"b", 1}}, merge = {"a c", 3};
    assert_null(tn_tokenizer_gguf_new("t5", tokens, 2));
    check_error(TN_ERR_UNSUPPORTED, "model is \"t5\"");
    assert_null(tn_tokenizer_gguf_new("gpt2", tokens, 2, .pre = "falcon"));
    check_error(TN_ERR_UNSUPPORTED, "pre is \"falcon\"");
    assert_null(tn_tokenizer_gguf_new("gpt2", NULL, 2));
    check_error(TN_ERR_ARGUMENT, "2 tokens at NULL");
    assert_null(tn_tokenizer_gguf_new("gpt2", tokens, 2, .pre = "gpt-2", .merges = &merge, .merge_count = 1));
    check_error(TN_ERR_FORMAT, "a merge of tokens");
    assert_null(tn_tokenizer_gguf_new("llama", tokens, 2, .bos = 2));
    check_error(TN_ERR_FORMAT, "outside the vocabulary");
    assert_null(tn_tokenizer_gguf_new("llama", tokens, 2, .types = (int32_t[]){1, 9}));
    check_error(TN_ERR_FORMAT, "none of 1 to 6");
    tokens[1].size = -1;
    assert_null(tn_tokenizer_gguf_new("llama", tokens, 2));
    check_error(TN_ERR_FORMAT, "without a size");
}

/* ---- regular expressions ------------------------------------------------------------------------------------------------- */

/* The first match, as "start-end", or "none". */
static void check_match(const char *source, const char *text, int64_t start, int64_t end)
{
    int64_t is_start = -1, is_end = -1, tries = tn_pattern_tries((int64_t)strlen(text));
    tn_pattern *p = tn_pattern_new("test", source, (int64_t)strlen(source), false);
    check_good();
    tn_pattern_find(p, text, (int64_t)strlen(text), 0, &tries, &is_start, &is_end);
    check_good();
    tn_pattern_free(p);
    if (is_start != start || is_end != end)
        fail_msg("%s in \"%s\": %lld to %lld, not %lld to %lld", source, text, (long long)is_start, (long long)is_end, (long long)start, (long long)end);
}

static void test_patterns(void **state)
{
    (void)state;
    check_match("a|ab", "xab", 1, 2);
    check_match("a*b", "aaab", 0, 4);
    check_match("a+?", "aaa", 0, 1);
    check_match("a++a", "aaa", -1, -1);
    check_match("a{2,3}", "aaaa", 0, 3);
    check_match("(?:ab|a)(?:c|bd)", "abd", 0, 3);
    check_match("(?>ab|a)bd", "abd", -1, -1);
    check_match("(?:ab)?+abc", "abc", -1, -1);
    check_match("(?:ab)??abc", "abc", 0, 3);
    check_match("\\s+(?!\\S)", "a   b", 1, 3);
    check_match("a(?=b)", "aab", 1, 2);
    check_match("(?i:k)", "\xe2\x84\xaa", 0, 3); /* the Kelvin sign */
    check_match("(?i:[a-z]s)", "B\xc5\xbf", 0, 3); /* the long s */
    check_match("[^\\s\\p{L}]", "a \xc3\xa9" "1", 4, 5);
    check_match("\\P{L}", "a1", 1, 2);
    check_match("[\\p{Lu}\\x{1F600}-\\x{1F64F}]", "a\xf0\x9f\x98\x80", 1, 5);
    check_match("\\s", "\xe1\xa0\x8e\xc2\x85", 3, 5); /* U+180E is no white space, U+0085 is */
    check_match("a$", "ab a", 3, 4);
    static const char *const bad[] = {"(", ")", "[", "[]", "a**", "a{", "a{2,1}", "\\p{Xx}", "\\b", "(?<a>b)", "[a[b]]", "(?:ab)+", "\\q", "\\x{110000}", "[b-a]", "(?i:\xc3\xa9)", "\xff", "*"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(tn_pattern_new("test", bad[i], (int64_t)strlen(bad[i]), false));
        check_error(TN_ERR_UNSUPPORTED, "test: the regular expression");
    }
    char text[20001];
    memset(text, 'a', 20000);
    int64_t start, end, tries = tn_pattern_tries(20000);
    tn_pattern *p = tn_pattern_new("test", "a*a*a*b", 7, false);
    assert_false(tn_pattern_find(p, text, 20000, 0, &tries, &start, &end));
    check_error(TN_ERR_ARGUMENT, "tries too much in vain");
    tn_pattern_free(p);
}

static int make(void **state) { return (void)state, make_folder("tokenizer") ? 0 : -1; }
static int clean(void **state) { return (void)state, remove_folder() ? 0 : -1; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cut),       TEST(test_changed), TEST(test_refused), TEST(test_denormalizer_without_rules), TEST(test_encodings_by_their_ranks),
#ifdef TENON_HAVE_CJSON
        TEST(test_json_refused), TEST(test_nul),
#endif
        TEST(test_arguments), TEST(test_gguf_refused), TEST(test_patterns),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
