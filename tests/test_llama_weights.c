/* labels: quick */
/* GGUF files of Llama weights, where they say it otherwise than Tenon writes it; and what memory weights of every format take. */
#include "folder.h"

#include "kernels/levels.h"
#include "models/weights.h"

#define MODELS TN_SOURCE_DIR "/tests/reference/llama/"

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, MODELS "%s", name);
    return path;
}

static void expect_failure(const char *path, tn_status status, const char *words)
{
    TN_SCOPE;
    if (tn_adopt(tn_llama_load(path)))
        fail_msg("%s loads, where an error with \"%s\" was due", path, words);
    check_error(status, words);
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------------------- */

/* All of a file, but for one tensor or none, to be written again; the scope's. */
static tn_gguf_writer *copy_of(const char *path, const char *without)
{
    tn_gguf *file = tn_map_gguf(path);
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    for (int64_t i = 0; i < tn_gguf_key_count(file); i++)
        assert_int_equal(tn_gguf_copy_key(w, file, tn_gguf_entry_at(file, i).key), TN_OK);
    for (int64_t i = 0; i < tn_gguf_count(file); i++)
        if (!without || strcmp(tn_gguf_name(file, i), without) != 0)
            assert_int_equal(tn_gguf_add_blocks(w, tn_gguf_name(file, i), tn_gguf_blocks(file, i), file), TN_OK);
    return w;
}

/* A GGUF file of a model with values changed or tensors left out. */
static void gguf_with(const char *model, const char *key, int64_t value, const char *text, const char *without)
{
    TN_SCOPE;
    tn_gguf_writer *w = copy_of(path_of(model), without);
    if (text)
        assert_int_equal(tn_gguf_set_string(w, key, text), TN_OK);
    else if (key)
        assert_int_equal(tn_gguf_set_int(w, key, TN_GGUF_U32, value), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("changed.gguf")), TN_OK);
}

static void test_values_of_gguf(void **state)
{
    (void)state;
    static const struct {
        const char *model, *key;
        int64_t value;
        const char *text, *without;
        tn_status status;
        const char *words;
    } changes[] = {
        {"llama3.gguf", "general.architecture", 0, "gemma", NULL, TN_ERR_UNSUPPORTED, "architecture \"gemma\""},
        {"llama3.gguf", "llama.embedding_length", 0, NULL, NULL, TN_ERR_FORMAT, "hidden_size is 0"},
        {"llama3.gguf", "llama.embedding_length", 16, NULL, NULL, TN_ERR_FORMAT, "\"token_embd.weight\" is [12, 8], and must be [12, 16]"},
        {"llama3.gguf", "llama.block_count", 4000000000, NULL, NULL, TN_ERR_FORMAT, "num_hidden_layers is 4000000000"},
        {"llama3.gguf", "llama.block_count", 2000000000, NULL, NULL, TN_ERR_FORMAT, "a model of 2000000000 layers"},
        {"llama3.gguf", "llama.block_count", 1, NULL, NULL, TN_ERR_UNSUPPORTED, "the file holds another model"},
        {"llama3.gguf", "llama.expert_count", 8, NULL, NULL, TN_ERR_UNSUPPORTED, "expert_count 8"},
        {"llama3.gguf", "llama.rope.dimension_count", 2, NULL, NULL, TN_ERR_UNSUPPORTED, "rope.dimension_count is 2"},
        {"llama3.gguf", "llama.rope.scaling.type", 0, "yarn", NULL, TN_ERR_UNSUPPORTED, "rope.scaling.type \"yarn\""},
        {"llama3.gguf", "llama.rope.scaling.attn_factor", 2, NULL, NULL, TN_ERR_UNSUPPORTED, "rope.scaling.attn_factor is 2"},
        {"llama3.gguf", "llama.attention.head_count", 0, "four", NULL, TN_ERR_FORMAT, "is STRING"},
        {"llama3.gguf", "llama.nextn_predict_layers", 1, NULL, NULL, TN_ERR_UNSUPPORTED, "llama.nextn_predict_layers: what Tenon's Llama has is causal"},
        {"llama3.gguf", NULL, 0, NULL, "output_norm.weight", TN_ERR_FORMAT, "there is no \"output_norm.weight\""},
        {"llama3.gguf", NULL, 0, NULL, "token_embd.weight", TN_ERR_FORMAT, "there is no \"token_embd.weight\""},
        {"qwen3.gguf", NULL, 0, NULL, "blk.1.attn_q_norm.weight", TN_ERR_FORMAT, "there is no \"blk.1.attn_q_norm.weight\""},
        {"llama_bias.gguf", NULL, 0, NULL, "blk.0.attn_q.bias", TN_ERR_UNSUPPORTED, "the file holds another model"},
        {"llama3.gguf", NULL, 0, NULL, "rope_freqs.weight", TN_OK, NULL},
        {"llama3.gguf", NULL, 0, NULL, "output.weight", TN_OK, NULL},
    };
    for (int i = 0; i < TN_COUNT(changes); i++) {
        TN_SCOPE;
        gguf_with(changes[i].model, changes[i].key, changes[i].value, changes[i].text, changes[i].without);
        if (changes[i].words)
            expect_failure(in_folder("changed.gguf"), changes[i].status, changes[i].words);
        else
            assert_non_null(tn_adopt(tn_llama_load(in_folder("changed.gguf"))));
        check_good();
    }
}

/* As llama.cpp has it: a factor without a type is linear, and what all layers have alike may be a list. */
static void test_other_ways_of_gguf(void **state)
{
    (void)state;
    TN_SCOPE;
    gguf_with("llama3.gguf", "llama.rope.scaling.factor", 4, NULL, NULL);
    assert_true(tn_llama_config(tn_adopt(tn_llama_load(in_folder("changed.gguf"))))->rope_factor == 4);
    tn_gguf_writer *both = copy_of(path_of("llama3.gguf"), NULL);
    assert_int_equal(tn_gguf_set_int(both, "llama.attention.causal", TN_GGUF_BOOL, 0) | tn_save_gguf(both, in_folder("both.gguf")), TN_OK);
    expect_failure(in_folder("both.gguf"), TN_ERR_UNSUPPORTED, "llama.attention.causal: what Tenon's Llama has is causal");
    static const int32_t heads[] = {2, 2}, other[] = {2, 4};
    static const float real[] = {2, 2};
    for (int i = 0; i < 4; i++) {
        tn_gguf_writer *w = copy_of(path_of("llama3.gguf"), NULL);
        assert_int_equal(tn_gguf_set_array(w, "llama.attention.head_count_kv", i == 2 ? TN_GGUF_F32 : TN_GGUF_I32, i == 0 ? heads : i == 1 ? other : (const void *)real,
                                           i == 3 ? 0 : 2), TN_OK);
        assert_int_equal(tn_save_gguf(w, in_folder("listed.gguf")), TN_OK);
        if (i == 0)
            assert_int_equal(tn_llama_config(tn_adopt(tn_llama_load(in_folder("listed.gguf"))))->num_key_value_heads, 2);
        else if (i == 1)
            expect_failure(in_folder("listed.gguf"), TN_ERR_UNSUPPORTED, "llama.attention.head_count_kv is 2 in layer 0 and 4 in layer 1");
        else
            expect_failure(in_folder("listed.gguf"), TN_ERR_FORMAT, "llama.attention.head_count_kv is no integer and no list of them");
    }
    check_good();
}

/* A window in some layers, by a number or by a list: llama3.gguf has two layers. */
static void test_windows_of_gguf(void **state)
{
    (void)state;
    enum { NONE = -10, LIST, LONG }; /* else the number */
    static const char own[] = "is another than that of layers without a window";
    static const bool first[] = {true, false, false}, neither[] = {false, false};
    static const struct {
        int64_t pattern, window;
        const bool *list;
        const char *key; /* one more, whose value is 8 */
        tn_status status;
        const char *words;
        uint64_t full; /* layers without it */
    } rows[] = {
        {NONE, 3, NULL, NULL, TN_OK, NULL, 0}, {LIST, 3, first, NULL, TN_OK, NULL, 2}, {0, 3, NULL, NULL, TN_OK, NULL, 0}, {2, 3, NULL, NULL, TN_OK, NULL, 2},
        {3, 3, NULL, NULL, TN_OK, NULL, 0}, {LIST, 0, neither, NULL, TN_OK, NULL, 0}, {1, 0, NULL, NULL, TN_OK, NULL, 0},
        {LIST, 0, neither, "llama.rope.freq_base_swa", TN_OK, NULL, 0},
        {LIST, 0, first, NULL, TN_ERR_FORMAT, "sliding_window_pattern has layers with a window, and there is no", 0},
        {LONG, 3, first, NULL, TN_ERR_FORMAT, "sliding_window_pattern is 3 flags, and there are 2 layers", 0},
        {-1, 3, NULL, NULL, TN_ERR_FORMAT, "sliding_window_pattern is -1, and there are 2 layers", 0},
        {2, 3, NULL, "llama.rope.freq_base_swa", TN_ERR_UNSUPPORTED, own, 0},
        {2, 3, NULL, "llama.rope.dimension_count_swa", TN_ERR_UNSUPPORTED, own, 0},
        {NONE, 3, NULL, "llama.attention.key_length_swa", TN_ERR_UNSUPPORTED, own, 0},
        {NONE, 3, NULL, "llama.attention.value_length_swa", TN_ERR_UNSUPPORTED, own, 0},
    };
    for (int i = 0; i < TN_COUNT(rows); i++) {
        TN_SCOPE;
        static const char key[] = "llama.attention.sliding_window_pattern";
        tn_gguf_writer *w = copy_of(path_of("llama3.gguf"), NULL);
        int bad = rows[i].window ? tn_gguf_set_int(w, "llama.attention.sliding_window", TN_GGUF_U32, rows[i].window) : TN_OK;
        if (rows[i].list)
            bad |= tn_gguf_set_array(w, key, TN_GGUF_BOOL, rows[i].list, rows[i].pattern == LONG ? 3 : 2);
        else if (rows[i].pattern != NONE)
            bad |= tn_gguf_set_int(w, key, TN_GGUF_I32, rows[i].pattern);
        bad |= (rows[i].key ? tn_gguf_set_int(w, rows[i].key, TN_GGUF_U32, 8) : TN_OK) | tn_save_gguf(w, in_folder("windows.gguf"));
        assert_int_equal(bad, TN_OK);
        if (rows[i].words) {
            expect_failure(in_folder("windows.gguf"), rows[i].status, rows[i].words);
            continue;
        }
        const tn_llama_args *c = tn_llama_config(tn_adopt(tn_llama_load(in_folder("windows.gguf"))));
        check_good();
        assert_int_equal(c->sliding_window, rows[i].window);
        assert_int_equal(c->full_layers.bits[0], rows[i].full);
    }
    TN_SCOPE;
    tn_gguf_writer *w = copy_of(path_of("llama3.gguf"), NULL); /* more layers than a set holds, and more weights than they can have */
    int bad = tn_gguf_set_int(w, "llama.block_count", TN_GGUF_U32, 258) | tn_gguf_set_int(w, "llama.attention.sliding_window", TN_GGUF_U32, 3);
    bad |= tn_gguf_set_int(w, "llama.attention.sliding_window_pattern", TN_GGUF_U32, 258);
    for (int i = 0; i < 1300; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        bad |= tn_gguf_add(w, name, tn_zeros(TN_SHAPE(1)), TN_QUANT_F32);
    }
    assert_int_equal(bad | tn_save_gguf(w, in_folder("windows.gguf")), TN_OK);
    expect_failure(in_folder("windows.gguf"), TN_ERR_UNSUPPORTED, "a layer without the window beyond 256 layers");
}

/* A type that no numbers are made of is listed, and refused where its numbers are needed. */
static void test_types_that_are_only_named(void **state)
{
    (void)state;
    TN_SCOPE;
    char text[4096];
    static const uint8_t zeros[256 * 66];
    void *llama = tn_adopt(tn_llama_new(.vocab_size = 5, .hidden_size = 256, .intermediate_size = 256, .num_hidden_layers = 1,
                                        .num_attention_heads = 2));
    assert_int_equal(tn_llama_save(llama, in_folder("plain.gguf")), TN_OK);
    tn_gguf_writer *to = copy_of(in_folder("plain.gguf"), "blk.0.ffn_up.weight");
    const tn_blocks blocks = {TN_QUANT_IQ2_XXS, TN_SHAPE(256, 256), zeros, sizeof zeros};
    assert_int_equal(tn_gguf_add_blocks(to, "blk.0.ffn_up.weight", blocks, NULL), TN_OK);
    assert_int_equal(tn_save_gguf(to, in_folder("named.gguf")), TN_OK);
    assert_true(tn_llama_inspect(in_folder("named.gguf"), text, sizeof text) > 0);
    assert_non_null(strstr(text, "\nmodel.layers.0.mlp.up_proj.weight                IQ2_XXS [256, 256]            16896\n"));
    check_good();
    static const char words[] = "named.gguf: \"model.layers.0.mlp.up_proj.weight\" is IQ2_XXS: Tenon makes no numbers of such blocks";
    assert_null(tn_llama_load(in_folder("named.gguf")));
    check_error(TN_ERR_UNSUPPORTED, words);
    assert_null(tn_decoder_open(in_folder("named.gguf")));
    check_error(TN_ERR_UNSUPPORTED, words);
    assert_int_equal(tn_llama_convert(in_folder("named.gguf"), in_folder("x.gguf"), .type = TN_QUANT_F32), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, words);
}

static int64_t file_type_of(const char *name)
{
    TN_SCOPE;
    return tn_gguf_int(tn_map_gguf(in_folder(name)), "general.file_type", -1);
}

/* What is copied keeps llama.cpp's number of its mix of types, that of Q4_K_M say; else it is that of what most numbers are. */
static void test_the_mix_of_types(void **state)
{
    (void)state;
    TN_SCOPE;
    static const char embedding[] = "token_embd.weight";
    void *llama = tn_adopt(tn_llama_new(.vocab_size = 40, .hidden_size = 64, .intermediate_size = 96, .num_hidden_layers = 1, .num_attention_heads = 4));
    assert_int_equal(tn_llama_save(llama, in_folder("floats.bin")), TN_OK);
    assert_int_equal(tn_llama_convert(in_folder("floats.bin"), in_folder("blocks.gguf"), .type = TN_QUANT_Q8_0), TN_OK);
    tn_gguf_writer *w = copy_of(in_folder("blocks.gguf"), embedding);
    assert_int_equal(tn_gguf_add(w, embedding, tn_parameter(llama, "model.embed_tokens.weight"), TN_QUANT_F32), TN_OK);
    assert_int_equal(tn_gguf_set_int(w, "general.file_type", TN_GGUF_U32, 15), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("mixed.gguf")), TN_OK);
    assert_int_equal(tn_llama_convert(in_folder("mixed.gguf"), in_folder("again.gguf")), TN_OK);
    assert_int_equal(file_type_of("again.gguf"), 15);
    assert_int_equal(tn_llama_convert(in_folder("mixed.gguf"), in_folder("again.gguf"), .type = TN_QUANT_Q4_0), TN_OK);
    assert_int_equal(file_type_of("again.gguf"), 2);
    tn_gguf *mixed = tn_map_gguf(in_folder("mixed.gguf"));
    w = tn_adopt(tn_gguf_writer_new()); /* without its number */
    for (int64_t i = 0; i < tn_gguf_key_count(mixed); i++)
        if (strcmp(tn_gguf_entry_at(mixed, i).key, "general.file_type") != 0)
            assert_int_equal(tn_gguf_copy_key(w, mixed, tn_gguf_entry_at(mixed, i).key), TN_OK);
    for (int64_t i = 0; i < tn_gguf_count(mixed); i++)
        assert_int_equal(tn_gguf_add_blocks(w, tn_gguf_name(mixed, i), tn_gguf_blocks(mixed, i), mixed), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("unsaid.gguf")), TN_OK);
    assert_int_equal(tn_llama_convert(in_folder("unsaid.gguf"), in_folder("again.gguf")), TN_OK);
    assert_int_equal(file_type_of("again.gguf"), 7);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------------- */

enum { HIDDEN = 256, INNER = 512, LAYERS = 6, VOCAB = 320 };
static const int64_t largest = HIDDEN * INNER * 4; /* bytes in f32 of the largest weight, of 16 MB in all */

static int64_t in_use(void) { return tn_get_memory_stats().in_use; }

/* Bytes of memory that a conversion takes at most. */
static int64_t converting(const char *from, const char *to, tn_quant type)
{
    char in[128], out[128];
    snprintf(in, sizeof in, "%s", in_folder(from));
    snprintf(out, sizeof out, "%s", in_folder(to));
    tn_memory_reset_peak();
    const int64_t before = in_use();
    assert_int_equal(tn_llama_convert(in, out, .type = type), TN_OK);
    check_good();
    return tn_get_memory_stats().peak - before;
}

static void make_large(void)
{
    void *llama = tn_adopt(tn_llama_new(.vocab_size = VOCAB, .hidden_size = HIDDEN, .intermediate_size = INNER, .num_hidden_layers = LAYERS,
                                        .num_attention_heads = 4, .max_position_embeddings = 16));
    assert_int_equal(tn_llama_save(llama, in_folder("large.gguf")), TN_OK);
}

/* Files are mapped: only what changes takes memory, a weight at a time, as floats and as what they become. */
static void test_memory_of_converting(void **state)
{
    (void)state;
    TN_SCOPE;
    make_large();
    static const struct {
        const char *from, *to;
        tn_quant type;
    } ways[] = {{"large.gguf", "large.bin", TN_QUANT_NONE},
                {"large.gguf", "large.safetensors", TN_QUANT_NONE},
                {"large.gguf", "large-q8.gguf", TN_QUANT_Q8_0},
                {"large.gguf", "large-q4.gguf", TN_QUANT_Q4_0},
                {"large.gguf", "large-bf16.gguf", TN_QUANT_BF16},
                {"large.bin", "large-2.bin", TN_QUANT_Q8_0},
                {"large.bin", "out.gguf", TN_QUANT_BF16},
                {"large-2.bin", "out.gguf", TN_QUANT_F32},
                {"large-2.bin", "out.safetensors", TN_QUANT_F16},
                {"large-q8.gguf", "out.gguf", TN_QUANT_F32},
                {"large-q8.gguf", "out.bin", TN_QUANT_NONE},
                {"large-q4.gguf", "out.safetensors", TN_QUANT_BF16},
                {"large.safetensors", "out.gguf", TN_QUANT_F16},
#ifdef TENON_HAVE_ZIP
                {"large.gguf", "large.npz", TN_QUANT_F16},
                {"large.gguf", "large.npz", TN_QUANT_NONE},
                {"large.npz", "out.npz", TN_QUANT_F16},
                {"large.npz", "out.gguf", TN_QUANT_NONE},
                {"large.npz", "out.safetensors", TN_QUANT_BF16}
#endif
    };
    without_cjson_skip();
    for (int i = 0; i < TN_COUNT(ways); i++) {
        TN_SCOPE;
        const int64_t taken = converting(ways[i].from, ways[i].to, ways[i].type);
        if (taken > 3 * largest)
            fail_msg("%s to %s as %s takes %lld bytes", ways[i].from, ways[i].to, tn_quant_name(ways[i].type), (long long)taken);
    }
}

#ifdef __linux__
static bool is_mapped(const char *path)
{
    char line[1024];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        found = found || strstr(line, path);
    fclose(maps);
    return found;
}
#else
static bool is_mapped(const char *path) { return (void)path, false; }
#endif

/* A decoder holds its packed weights, little more than what they take in the file, which it lets go. */
static void test_memory_of_decoding(void **state)
{
    (void)state;
    TN_SCOPE;
    make_large();
    static const tn_quant types[] = {TN_QUANT_F32, TN_QUANT_F16, TN_QUANT_BF16, TN_QUANT_Q8_0, TN_QUANT_Q4_0, TN_QUANT_Q4_K, TN_QUANT_Q6_K,
                                     TN_QUANT_Q5_0, TN_QUANT_I8};
    for (int i = 0; i < TN_COUNT(types); i += test_quickly() ? 4 : 1) {
        TN_SCOPE;
        const bool int8 = types[i] == TN_QUANT_I8; /* llama2.c's */
        const char *file = int8 ? "typed.bin" : "typed.gguf";
        (void)converting("large.gguf", file, int8 ? TN_QUANT_Q8_0 : types[i]);
        int64_t due = 0;
        const tn_weights *w = tn_weights_open("llama_load", in_folder(file));
        for (int64_t k = 0; k < w->count; k++)
            due += (int64_t)w->weights[k].blocks.size;
        tn_release(w);
        const int64_t before = in_use();
        tn_decoder *decoder = tn_decoder_open(in_folder(file), .context = 1);
        check_good();
        const int64_t taken = in_use() - before;
        if (taken > due + due / 10)
            fail_msg("%s in %s is decoded with %lld bytes, and has %lld", tn_quant_name(types[i]), file, (long long)taken, (long long)due);
        assert_false(is_mapped(file));
        tn_release(decoder);
    }
}

/* A model whose matrices are of that type, of the blocks that tests/reference/files/quants.gguf has of it; those of values
 * stay f16. */
static void make_of_type(tn_quant type)
{
    tn_gguf *seeds = tn_map_gguf(TN_SOURCE_DIR "/tests/reference/files/quants.gguf"), *from = tn_map_gguf(in_folder("small.gguf"));
    tn_gguf_writer *to = tn_adopt(tn_gguf_writer_new());
    const tn_blocks seed = tn_gguf_blocks(seeds, tn_gguf_find(seeds, tn_quant_name(type)));
    const size_t bytes = tn_quant_block_bytes(type);
    const int64_t count = (int64_t)(seed.size / bytes), each = tn_quant_block(type);
    const uint8_t *good[64];
    int goods = 0;
    check_good();
    for (int64_t b = 0; b < count && goods < 64; b++) { /* those of numbers that a model may have */
        TN_SCOPE;
        const uint8_t *block = (const uint8_t *)seed.data + (size_t)b * bytes;
        tn_tensor *x = tn_dequantize((tn_blocks){type, TN_SHAPE(each), block, bytes}, TN_F32);
        const float most = (float)tn_item(tn_amax(tn_abs(x)));
        if (most > 0 && most < 8)
            good[goods++] = block;
    }
    if (goods == 0)
        fail_msg("quants.gguf has no plain block of %s", tn_quant_name(type));
    for (int64_t i = 0; i < tn_gguf_key_count(from); i++)
        assert_int_equal(tn_gguf_copy_key(to, from, tn_gguf_entry_at(from, i).key), TN_OK);
    for (int64_t i = 0; i < tn_gguf_count(from); i++) {
        tn_blocks blocks = tn_gguf_blocks(from, i);
        const char *name = tn_gguf_name(from, i);
        if (blocks.shape.ndim < 2 || strstr(name, "attn_v")) {
            assert_int_equal(tn_gguf_add_blocks(to, name, blocks, from), TN_OK);
            continue;
        }
        const int64_t size = tn_blocks_bytes(type, blocks.shape);
        tn_tensor *memory = tn_empty(TN_SHAPE(size), .dtype = TN_U8);
        uint8_t *data = tn_data_mut(memory);
        for (int64_t at = 0; at * (int64_t)bytes < size; at++)
            memcpy(data + (size_t)at * bytes, good[tn_random_below((uint32_t)goods)], bytes);
        assert_int_equal(tn_gguf_add_blocks(to, name, (tn_blocks){type, blocks.shape, data, (size_t)size}, memory), TN_OK);
    }
    assert_int_equal(tn_save_gguf(to, in_folder("of-type.gguf")), TN_OK);
    check_good();
}

static double distance(const float *a, const float *b, int64_t n)
{
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        all += (double)b[i] * (double)b[i];
    }
    return sqrt(off / all);
}

/* Files of every type are decoded from what they hold: in at most 1.1 times their bytes, and with the logits of the f32 model that they are, of a
 * prompt and of each token by itself, but for the rounding of each product's input. */
static void test_every_type_decodes_as_it_is(void **state)
{
    (void)state;
    TN_SCOPE;
    static const int64_t tokens[] = {1, 300, 7, 42, 42, 0, 99, 256, 3, 17, 5, 200, 11};
    enum { LENGTH = sizeof tokens / sizeof *tokens };
    static const tn_quant types[] = {
#define TYPE(name, ...) TN_QUANT_##name,
        TN_LEVELS_LIST(TYPE) TN_QUANT_F16, TN_QUANT_Q8_0, TN_QUANT_Q4_0};
    tn_manual_seed(5);
    void *llama = tn_adopt(tn_llama_new(.vocab_size = VOCAB, .hidden_size = HIDDEN, .intermediate_size = INNER, .num_hidden_layers = 1,
                                        .num_attention_heads = 4, .num_key_value_heads = 2, .max_position_embeddings = 16));
    assert_int_equal(tn_llama_save(llama, in_folder("first.gguf")), TN_OK);
    (void)converting("first.gguf", "small.gguf", TN_QUANT_F16);
    for (int i = 0; i < TN_COUNT(types); i++) {
        TN_SCOPE;
        make_of_type(types[i]);
        const tn_weights *w = tn_weights_open("llama_load", in_folder("of-type.gguf"));
        int64_t due = 0;
        for (int64_t k = 0; k < w->count; k++)
            due += (int64_t)w->weights[k].blocks.size;
        tn_release((void *)(uintptr_t)w);
        const int64_t before = in_use();
        tn_decoder *decoder = tn_adopt(tn_decoder_open(in_folder("of-type.gguf"), .context = 1));
        check_good();
        if (in_use() - before > due + due / 10)
            fail_msg("%s is decoded with %lld bytes, and has %lld", tn_quant_name(types[i]), (long long)(in_use() - before), (long long)due);
        decoder = tn_adopt(tn_decoder_open(in_folder("of-type.gguf"), .cache = TN_F32));
        tn_decoder *plain = tn_adopt(tn_decoder_open(in_folder("of-type.gguf"), .weights = TN_QUANT_F32));
        tn_decoder *eight = tn_adopt(tn_decoder_open(in_folder("of-type.gguf"), .weights = TN_QUANT_Q8_0, .cache = TN_F32));
        const float *right = tn_decoder_feed_all(plain, 0, tokens, LENGTH);
        const double of_int8 = distance(tn_decoder_feed_all(eight, 0, tokens, LENGTH), right, LENGTH * VOCAB);
        const double most = types[i] == TN_QUANT_F16 ? 1e-4 : fmin(2 * of_int8 + 2e-3, 0.06); /* int8 has not all of MXFP4's scales */
        float one[LENGTH * VOCAB];
        const double off = distance(tn_decoder_feed_all(decoder, 0, tokens, LENGTH), right, LENGTH * VOCAB);
        assert_int_equal(tn_decoder_rewind(decoder, 0, 0), TN_OK);
        for (int t = 0; t < LENGTH; t++)
            memcpy(one + t * VOCAB, tn_decoder_feed(decoder, 0, tokens + t, 1), VOCAB * sizeof *one);
        const double off_one = distance(one, right, LENGTH * VOCAB);
        if (!(off < most && off_one < most))
            fail_msg("%s: logits are %g off of a prompt, %g token by token, with int8 %g", tn_quant_name(types[i]), off, off_one, of_int8);
        check_good();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_values_of_gguf),
        TEST(test_other_ways_of_gguf),
        TEST(test_windows_of_gguf),
        TEST(test_types_that_are_only_named), TEST(test_the_mix_of_types),
        TEST(test_memory_of_converting),
        TEST(test_memory_of_decoding),
        TEST(test_every_type_decodes_as_it_is),
    };
    if (!make_folder("llama-weights"))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return remove_folder() ? failed : 1;
}
