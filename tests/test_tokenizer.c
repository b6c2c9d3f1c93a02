/* labels: quick, threads */
/* Tokenisers against what their libraries said, by the files that those made; the whole text, and token by token. */
#include "folder.h"

#include "text/text.h"

#include "io/file.h"

#include "reference/tokenizer_cases.h"

static const char *reference(const char *file)
{
    static char path[2][512];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/tests/reference/tokenizers/%s", TN_SOURCE_DIR, file);
    return path[turn];
}

static bool without_cjson(const char *file)
{
#ifdef TENON_HAVE_CJSON
    (void)file;
    return false;
#else
    return strstr(file, ".json") || strstr(file, ".np");
#endif
}

/* The ids of "1 2 3". */
static int64_t parse_ids(const char *text, int64_t *ids, int64_t most)
{
    int64_t count = 0;
    char *end;
    for (; *text; text = end + (*end == ' ')) {
        assert_true(count < most);
        ids[count++] = strtoll(text, &end, 10);
    }
    return count;
}

static void check_stream(tn_tokenizer *t, const tokenizer_case *c, const int64_t *ids, int64_t count, bool skip)
{
    char text[1024];
    int64_t size = 0, bytes;
    tn_text_stream *stream = tn_text_stream_new(t, .skip_special = skip);
    for (int64_t i = 0; i <= count; i++) {
        const char *part = i < count ? tn_text_stream_push(stream, ids[i], &bytes) : tn_text_stream_end(stream, &bytes);
        check_good();
        assert_int_equal(part[bytes], 0);
        assert_true(size + bytes < (int64_t)sizeof text);
        memcpy(text + size, part, (size_t)bytes);
        size += bytes;
    }
    assert_int_equal(size, c->decoded_bytes);
    assert_memory_equal(text, c->decoded, (size_t)size);
    tn_release(stream);
}

static void check_case(tn_tokenizer *t, const tokenizer_case *c)
{
    TN_SCOPE;
    int64_t due[512], count = parse_ids(c->ids, due, 512);
    char text[1024];
    bool skip = !c->pattern && !strstr(c->file, ".bin") && !strstr(c->file, ".np");
    tn_tensor *ids = tn_tokenizer_encode(t, c->text, c->bytes, .allow_special = c->special, .add_bos = 0, .add_eos = 0);
    check_good();
    const int64_t *is = tn_data(ids);
    for (int64_t i = 0; i < tn_numel(ids) || i < count; i++)
        if (i >= count || i >= tn_numel(ids) || is[i] != due[i])
            fail_msg("%s, special %d, \"%s\": id %lld of %lld is %lld, of %lld due %lld", c->file, c->special, c->text, (long long)i, (long long)tn_numel(ids),
                     (long long)(i < tn_numel(ids) ? is[i] : -1), (long long)count, (long long)(i < count ? due[i] : -1));
    int64_t size = tn_tokenizer_decode(t, ids, text, sizeof text, .skip_special = skip);
    check_good();
    if (size != c->decoded_bytes || memcmp(text, c->decoded, (size_t)size) != 0)
        fail_msg("%s: \"%s\" is decoded as \"%s\", not as \"%s\"", c->file, c->text, text, c->decoded);
    check_stream(t, c, due, count, skip);
}

static void test_references(void **state)
{
    (void)state;
    tn_tokenizer *t = NULL;
    const char *file = "";
    for (size_t i = 0; i < sizeof tokenizer_cases / sizeof *tokenizer_cases; i++) {
        const tokenizer_case *c = &tokenizer_cases[i];
        if (without_cjson(c->file))
            continue;
        if (strcmp(file, c->file) != 0) {
            tn_release(t);
            t = tn_tokenizer_new(reference(c->file), .pattern = c->pattern);
            check_good();
            file = c->file;
        }
        check_case(t, c);
    }
    tn_release(t);
}

/* ---- options, ids and tokens --------------------------------------------------------------------------------------------- */

static void check_ids(tn_tensor *ids, int count, const int64_t *due)
{
    check_good();
    assert_int_equal(tn_numel(ids), count);
    for (int i = 0; i < count; i++)
        assert_int_equal(((const int64_t *)tn_data(ids))[i], due[i]);
}
#define CHECK_IDS(ids, ...) check_ids(ids, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static void test_asking(void **state)
{
    (void)state;
    TN_SCOPE;
    int64_t bytes;
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(reference("sp_bpe_llama.model")));
    assert_int_equal(tn_tokenizer_vocab_size(t), 500);
    assert_int_equal(tn_tokenizer_bos(t), 1);
    assert_int_equal(tn_tokenizer_eos(t), 2);
    assert_int_equal(tn_tokenizer_unk(t), 0);
    assert_string_equal(tn_tokenizer_token(t, 13, &bytes), "<0x0A>");
    assert_int_equal(bytes, 6);
    assert_int_equal(tn_tokenizer_id(t, "<0x0A>"), 13);
    assert_int_equal(tn_tokenizer_id(t, "no such token"), -1);
    int64_t a = tn_tokenizer_id(t, "\xe2\x96\x81" "a");
    CHECK_IDS(tn_tokenizer_encode(t, "a", 1), a);
    CHECK_IDS(tn_tokenizer_encode(t, "a", 1, .add_bos = 1, .add_eos = 1), 1, a, 2);
    CHECK_IDS(tn_tokenizer_encode(t, "", 0, .add_bos = 1), 1);
    CHECK_IDS(tn_tokenizer_encode(t, "a</s>a", 6, .allow_special = true), a, 2, a); /* each part as a text of its own */
    check_shape(tn_tokenizer_encode(t, NULL, 0), 0);
    check_good();
    char text[4];
    tn_tensor *ids = tn_from_ints(((int64_t[]){1, a, a, a, 2}), TN_SHAPE(5));
    assert_int_equal(tn_tokenizer_decode(t, ids, text, sizeof text), 5); /* "a a a", cut */
    assert_string_equal(text, "a a");
    assert_int_equal(tn_tokenizer_decode(t, ids, NULL, 0, .skip_special = false), 13);
}

static void test_template(void **state)
{
    (void)state;
    without_cjson_skip();
    TN_SCOPE;
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(reference("hf_llama3.json")));
    int64_t bos = tn_tokenizer_id(t, "<|begin_of_text|>"), a = tn_tokenizer_id(t, "a"), end = tn_tokenizer_id(t, "<|endoftext|>");
    assert_int_equal(tn_tokenizer_bos(t), bos);
    assert_int_equal(tn_tokenizer_eos(t), tn_tokenizer_id(t, "<|im_end|>"));
    assert_int_equal(tn_tokenizer_unk(t), -1);
    CHECK_IDS(tn_tokenizer_encode(t, "a", 1), bos, a); /* as the file says */
    CHECK_IDS(tn_tokenizer_encode(t, "a", 1, .add_bos = 0), a);
    CHECK_IDS(tn_tokenizer_encode(t, "a<|endoftext|>", 14, .allow_special = true), bos, a, end);
    assert_string_equal(tn_tokenizer_token(t, tn_tokenizer_id(t, "\xc4\xa0the"), NULL), "\xc4\xa0the");
}

/* Characters come whole: a cut one waits, and a wrong one is replaced at the end. */
static void test_stream(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(reference("sp_bpe_llama.model")));
    tn_text_stream *s = tn_adopt(tn_text_stream_new(t));
    int64_t bytes;
    static const int smile[] = {0xf0, 0x9f, 0x98, 0x80};
    for (int i = 0; i < 3; i++)
        assert_string_equal(tn_text_stream_push(s, 3 + smile[i], &bytes), "");
    assert_string_equal(tn_text_stream_push(s, 3 + smile[3], &bytes), "\xf0\x9f\x98\x80");
    assert_int_equal(bytes, 4);
    assert_string_equal(tn_text_stream_push(s, 3 + 0xc3, &bytes), "");
    assert_string_equal(tn_text_stream_push(s, 3 + 'x', &bytes), "\xef\xbf\xbdx");
    assert_string_equal(tn_text_stream_push(s, 3 + 0xe2, NULL), "");
    assert_string_equal(tn_text_stream_end(s, NULL), "\xef\xbf\xbd");
    int64_t a = tn_tokenizer_id(t, "\xe2\x96\x81" "a");
    assert_string_equal(tn_text_stream_push(s, a, NULL), "a"); /* it began anew: the first space goes */
    assert_string_equal(tn_text_stream_push(s, a, NULL), " a");
    assert_null(tn_text_stream_push(s, 500, &bytes));
    check_error(TN_ERR_INDEX, "id 500 of a vocabulary of 500");
    assert_string_equal(tn_text_stream_push(s, a, NULL), " a");
}

/* ---- GGUF's arrays ------------------------------------------------------------------------------------------------------- */

enum { MOST = 600 };
static int64_t arrays_of(const tn_tokenizer *t, tn_span *tokens, int32_t *types, float *scores)
{
    int64_t count = tn_tokenizer_vocab_size(t);
    assert_true(count <= MOST);
    for (int64_t i = 0; i < count; i++) {
        tokens[i].data = tn_tokenizer_token(t, i, &tokens[i].size);
        types[i] = t->vocab.tokens[i].type;
        scores[i] = t->vocab.tokens[i].score;
    }
    return count;
}

static void test_gguf_llama(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_span tokens[MOST];
    int32_t types[MOST];
    float scores[MOST];
    tn_tokenizer *t = tn_adopt(tn_tokenizer_new(reference("sp_bpe_llama.model")));
    int64_t count = arrays_of(t, tokens, types, scores);
    tn_tokenizer *g = tn_adopt(tn_tokenizer_gguf_new("llama", tokens, count, .scores = scores, .types = types, .bos = 1, .eos = 2, .add_bos = true));
    check_good();
    CHECK_IDS(tn_tokenizer_encode(g, "a", 1, .add_eos = 1), 1, tn_tokenizer_id(t, "\xe2\x96\x81" "a"), 2);
    for (size_t i = 0; i < sizeof tokenizer_cases / sizeof *tokenizer_cases; i++) {
        const tokenizer_case *c = &tokenizer_cases[i];
        if (strcmp(c->file, "sp_bpe_llama.model") != 0 || !tn_is_utf8(c->text, (size_t)c->bytes)) /* llama.cpp keeps bytes that are none */
            continue;
        assert_true(tn_equal(tn_tokenizer_encode(g, c->text, c->bytes, .add_bos = 0), tn_tokenizer_encode(t, c->text, c->bytes)));
    }
    g = tn_adopt(tn_tokenizer_gguf_new("llama", tokens, count, .scores = scores, .types = types, .add_space_prefix = false));
    CHECK_IDS(tn_tokenizer_encode(g, "a", 1), tn_tokenizer_id(t, "a"));
    assert_null(tn_tokenizer_encode(g, "a", 1, .add_bos = 1));
    check_error(TN_ERR_STATE, "add_bos is asked for");
}

/* A vocabulary of the 256 letters, and what merges makes of them. */
static int64_t letters(tn_span *tokens, char (*texts)[5])
{
    for (int i = 0; i < 256; i++) {
        int n = tn_utf8_put(tn_letter_of_byte(i), texts[i]);
        assert_int_equal(tn_byte_of_letter(tn_letter_of_byte(i)), i);
        tokens[i] = (tn_span){texts[i], n};
    }
    return 256;
}
#define SPAN(text) ((tn_span){text, sizeof(text) - 1})

static void test_gguf_gpt2(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_span tokens[MOST];
    char texts[256][5];
    int32_t types[MOST];
    int64_t count = letters(tokens, texts);
    tokens[count++] = SPAN("11");
    tokens[count++] = SPAN("\xc3\x83\xc2\xa9"); /* the letters of the bytes of e with acute */
    tokens[count++] = SPAN("abc");
    tokens[count++] = SPAN("<|end|>");
    tokens[count++] = SPAN("<tool>");
    for (int64_t i = 0; i < count; i++)
        types[i] = i < 259 ? TN_TOKEN_NORMAL : i == 259 ? TN_TOKEN_CONTROL : TN_TOKEN_USER;
    const tn_span merges[] = {SPAN("1 1"), SPAN("\xc3\x83 \xc2\xa9")};
#define NEW(name) tn_adopt(tn_tokenizer_gguf_new("gpt2", tokens, count, .pre = name, .types = types, .merges = merges, .merge_count = 2, .eos = 259))
    tn_tokenizer *gpt2 = NEW("gpt-2"), *llama = NEW("llama-bpe"), *qwen = NEW("qwen2"), *smol = NEW("smollm"), *tekken = NEW("tekken");
    check_good();
    CHECK_IDS(tn_tokenizer_encode(gpt2, "1111", 4), 256, 256);
    CHECK_IDS(tn_tokenizer_encode(llama, "1111", 4), 256, '1', '1'); /* three digits and one */
    CHECK_IDS(tn_tokenizer_encode(qwen, "11", 2), '1', '1');
    CHECK_IDS(tn_tokenizer_encode(smol, "11", 2), '1', '1');
    CHECK_IDS(tn_tokenizer_encode(tekken, "11", 2), '1', '1');
    CHECK_IDS(tn_tokenizer_encode(tekken, "abcX", 4), 258, 'X'); /* small letters, and large ones */
    CHECK_IDS(tn_tokenizer_encode(llama, "abcX", 4), 'a', 'b', 'c', 'X');
    CHECK_IDS(tn_tokenizer_encode(gpt2, "abc", 3), 'a', 'b', 'c');
    CHECK_IDS(tn_tokenizer_encode(llama, "abc", 3), 258); /* whole, though nothing merges into it */
    CHECK_IDS(tn_tokenizer_encode(gpt2, "e\xcc\x81", 3), 'e', 0xcc, 0x81);
    CHECK_IDS(tn_tokenizer_encode(qwen, "e\xcc\x81", 3), 257); /* composed */
    CHECK_IDS(tn_tokenizer_encode(gpt2, "<tool>", 6), 260);
    assert_int_equal(tn_numel(tn_tokenizer_encode(gpt2, "<|end|>", 7)), 7);
    CHECK_IDS(tn_tokenizer_encode(gpt2, "<|end|>", 7, .allow_special = true, .add_eos = 1), 259, 259);
    char text[8];
    assert_int_equal(tn_tokenizer_decode(gpt2, tn_from_ints(((int64_t[]){257, 259, ' '}), TN_SHAPE(3)), text, sizeof text), 3);
    assert_string_equal(text, "\xc3\xa9 ");
}

/* ---- work, files that are there ------------------------------------------------------------------------------------------ */

/* A word so often that it fills the size, or letters at random; how many bytes there are. */
static size_t fill_long(const char *word, char *text, size_t size)
{
    const size_t n = strlen(word);
    uint32_t x = 1;
    for (size_t i = 0; i < size; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = n ? word[i % n] : "etaoinshrdlu"[(x >> 24) % 12];
    }
    return n ? size - size % n : size;
}

/* A megabyte without a space: the library's tokens, and work that grows with its length, not with its square. */
static void test_long_text(void **state)
{
    (void)state;
    const bool quickly = test_quickly();
    const size_t size = quickly ? 1 << 16 : 1 << 20;
    char *text = malloc(size);
    tn_tokenizer *t = NULL;
    const char *file = "";
    for (size_t i = 0; i < sizeof tokenizer_longs / sizeof *tokenizer_longs; i++) {
        const tokenizer_long *c = &tokenizer_longs[i];
        if (without_cjson(c->file))
            continue;
        TN_SCOPE;
        if (strcmp(file, c->file) != 0) {
            tn_release(t);
            t = tn_tokenizer_new(reference(file = c->file), .pattern = c->pattern);
        }
        const int64_t whole = (int64_t)fill_long(c->word, text, size);
        int64_t work;
        const tn_tensor *ids = tn_tokenizer_encode_counted(
            &(tn_tokenizer_encode_args){.size = sizeof(tn_tokenizer_encode_args), .tokenizer = t, .text = text, .bytes = whole}, &work);
        check_good();
        assert_true(work <= 3 * whole); /* each merge looks at two neighbours */
        uint64_t hash = 0;
        for (int64_t k = 0; k < tn_numel(ids); k++)
            hash = (hash ^ (uint64_t)((const int64_t *)tn_data(ids))[k]) * 0x100000001b3;
        if (tn_numel(ids) != c->due[!quickly].count || hash != c->due[!quickly].hash)
            fail_msg("%s, \"%s\" in %lld bytes: %lld ids with the hash %#llx, %ld with %#llx were due", c->file, c->word, (long long)whole,
                     (long long)tn_numel(ids), (unsigned long long)hash, c->due[!quickly].count, c->due[!quickly].hash);
        assert_int_equal(tn_tokenizer_decode(t, ids, NULL, 0), whole);
    }
    tn_release(t);
    free(text);
}

static void test_real_vocabularies(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/../shared/models/llama2-32000/tokenizer.model", TN_SOURCE_DIR);
    if (access(path, R_OK) != 0) {
        print_message("skipped: ../shared/models/llama2-32000 is not here\n");
        skip();
    }
    TN_SCOPE;
    static const char text[] = "There was a boy with \xf0\x9f\x98\x80 and 42 caf\xc3\xa9s,\n\n  indented.";
    tn_tokenizer *model = tn_adopt(tn_tokenizer_new(path));
    snprintf(path, sizeof path, "%s/../shared/models/llama2-32000/tokenizer.bin", TN_SOURCE_DIR);
    tn_tokenizer *bin = tn_adopt(tn_tokenizer_new(path, .vocab_size = 32000));
    tn_tensor *ids = tn_tokenizer_encode(model, text, sizeof text - 1);
    check_good();
    assert_int_equal(((const int64_t *)tn_data(ids))[0], 1670);
    assert_true(tn_equal(ids, tn_tokenizer_encode(bin, text, sizeof text - 1)));
    assert_null(tn_tokenizer_new(path, .vocab_size = 31999));
    check_error(TN_ERR_FORMAT, "31999");
    snprintf(path, sizeof path, "%s/../shared/models/aidreams260K/tokenizer.bin", TN_SOURCE_DIR);
    tn_tokenizer *small = tn_adopt(tn_tokenizer_new(path));
    assert_int_equal(tn_tokenizer_vocab_size(small), 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_references), TEST(test_asking),   TEST(test_template),  TEST(test_stream),
        TEST(test_gguf_llama), TEST(test_gguf_gpt2), TEST(test_long_text), TEST(test_real_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
