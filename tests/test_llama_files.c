/* labels: quick */
/* Files of Llama weights: what PyTorch computes with the models of tests/reference/llama, every format cut and changed, and formats into formats. */
#include "folder.h"

#include "models/weights.h"

#include <stdio.h>

#define MODELS TN_SOURCE_DIR "/tests/reference/llama/"

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static const char *const models[] = {"v0.bin", "v0_tied.bin", "v1.bin", "v1_tied.bin", "v2.bin", "v2_tied.bin", "npz/model.npz", "llama3",
                                     "linear", "mistral", "qwen2", "qwen2_window", "qwen2_layers", "qwen3_layers", "qwen3", "llama3.gguf", "llama_bias.gguf", "qwen2.gguf", "qwen3.gguf"};

static bool this_build_reads(const char *name)
{
#ifndef TENON_HAVE_ZIP
    return !strstr(name, ".npz");
#endif
    return name != NULL;
}

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, MODELS "%s", name);
    return path;
}

static void check_logits(tn_module *llama, const char *name, double tolerance)
{
    check_good();
    const tn_dict *expected = tn_load_safetensors(MODELS "expected.safetensors");
    tn_tensor *logits = tn_call(llama, tn_dict_get(expected, "tokens"));
    check_good();
    if (!tn_allclose(logits, tn_dict_get(expected, name), tolerance, tolerance, false))
        fail_msg("%s: other logits than PyTorch's", name);
}

static void test_logits_are_those_of_pytorch(void **state)
{
    (void)state;
    without_cjson_skip();
    for (int i = 0; i < TN_COUNT(models); i++) {
        TN_SCOPE;
        if (!this_build_reads(models[i]))
            continue;
        tn_manual_seed(3);
        tn_module *llama = tn_adopt(tn_llama_load(path_of(models[i])));
        check_good();
        assert_true(tn_get_random_state().offset == 0);
        check_logits(llama, models[i], 2e-5);
    }
}


/* ---- into each other ------------------------------------------------------------------------------------------------------- */

static const char *const targets[] = {"out.safetensors", "out.npz", "out.gguf", "out.bin", "out"};

/* The same model: equal weights to the bit, as floats, and an equal configuration. */
static void check_same(const tn_weights *a, const tn_weights *b, const char *what)
{
    check_good();
    assert_int_equal(a->count, b->count);
#define SAME(field) assert_true(a->config.field == b->config.field)
    SAME(vocab_size), SAME(hidden_size), SAME(intermediate_size), SAME(num_hidden_layers), SAME(num_attention_heads), SAME(num_key_value_heads);
    SAME(head_dim), SAME(max_position_embeddings), SAME(rms_norm_eps), SAME(rope_theta), SAME(sliding_window), SAME(tie_word_embeddings);
    SAME(attention_bias), SAME(qk_norm), SAME(full_layers.bits[0]);
#undef SAME
    for (int64_t i = 0; i < a->count; i++) {
        TN_SCOPE;
        assert_string_equal(a->weights[i].name, b->weights[i].name);
        tn_tensor *x = tn_weight_tensor(a, &a->weights[i], 0, TN_F32), *y = tn_weight_tensor(b, &b->weights[i], 0, TN_F32);
        check_good();
        if (!tn_equal(x, y))
            fail_msg("%s: %s is not what it was", what, a->weights[i].name);
        float row[64];
        for (int64_t r = 0; r < (tn_ndim(x) == 2 ? tn_size(x, 0) : 1) && tn_size(x, -1) <= 64; r++) {
            assert_int_equal(tn_weight_floats(&b->weights[i], r, row), TN_OK);
            assert_memory_equal(row, (const float *)tn_data(x) + r * tn_size(x, -1), (size_t)tn_size(x, -1) * sizeof *row);
        }
    }
}

/* What llama.cpp's own program makes several files of. */
static void test_a_model_that_llama_cpp_split(void **state)
{
    (void)state;
    TN_SCOPE;
    const tn_weights *whole = tn_adopt(tn_weights_open("llama_load", path_of("llama3.gguf")));
    const tn_weights *split = tn_adopt(tn_weights_open("llama_load", path_of("split-00001-of-00004.gguf")));
    check_good();
    check_same(whole, split, "split");
    check_good();
#ifdef TENON_HAVE_CJSON
    check_logits(tn_adopt(tn_llama_load(path_of("split-00001-of-00004.gguf"))), "llama3.gguf", 2e-5);
#endif
    assert_null(tn_llama_load(path_of("split-00002-of-00004.gguf")));
    check_error(TN_ERR_FORMAT, "this is not the first of the model's files");
}

/* What llama2.c's format cannot hold. */
static bool llama2_lacks(const tn_llama_args *c)
{
    return c->head_dim * c->num_attention_heads != c->hidden_size || c->attention_bias || c->qk_norm || c->sliding_window || c->rope_theta != 10000 ||
           c->rope_factor != 1;
}

static void test_every_format_into_every_other(void **state)
{
    (void)state;
    without_cjson_skip();
    for (int i = 0; i < TN_COUNT(models); i++)
        for (int k = 0; k < TN_COUNT(targets); k++) {
            TN_SCOPE;
            if (!this_build_reads(models[i]) || !this_build_reads(targets[k]))
                continue;
            const tn_weights *from = tn_adopt(tn_weights_open("llama_load", path_of(models[i])));
            check_good();
            const tn_status status = tn_llama_convert(path_of(models[i]), in_folder(targets[k]));
            if (strcmp(targets[k], "out.bin") == 0 && llama2_lacks(&from->config)) {
                assert_int_equal(status, TN_ERR_UNSUPPORTED);
                check_error(TN_ERR_UNSUPPORTED, "llama2.c has no model with");
                continue;
            }
            check_good();
            check_same(from, tn_adopt(tn_weights_open("llama_load", in_folder(targets[k]))), models[i]);
            tn_module *llama = tn_adopt(tn_llama_load(in_folder(targets[k])));
            check_logits(llama, models[i], 2e-5);
        }
}

/* Only Qwen's have such layers in transformers. */
static void test_windows_of_some_layers(void **state)
{
    (void)state;
    without_cjson_skip();
    TN_SCOPE;
    char text[4000];
    tn_module *llama = tn_adopt(tn_llama_new(.vocab_size = 9, .hidden_size = 8, .intermediate_size = 12, .num_hidden_layers = 2, .num_attention_heads = 2,
                                             .sliding_window = 3, .full_layers = {{2}}));
    assert_int_equal(tn_llama_save(llama, in_folder("out")), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "a window in some layers alone");
    llama = tn_adopt(tn_llama_new(.vocab_size = 9, .hidden_size = 8, .intermediate_size = 12, .num_hidden_layers = 2, .num_attention_heads = 2,
                                  .sliding_window = 3, .full_layers = {{3}})); /* in none */
    for (int k = 0; k < TN_COUNT(targets); k++) {
        if (!this_build_reads(targets[k]))
            continue;
        assert_int_equal(tn_llama_save(llama, in_folder(targets[k])), TN_OK);
        check_same(tn_adopt(tn_weights_of(llama)), tn_adopt(tn_weights_open("llama_load", in_folder(targets[k]))), targets[k]);
    }
    assert_true(tn_llama_inspect(path_of("qwen3_layers"), text, sizeof text) > 0);
    assert_non_null(strstr(text, "sliding_window 3\nfull_layers 1\n"));
}

static void test_modules_saved_and_loaded(void **state)
{
    (void)state;
    without_cjson_skip();
    tn_manual_seed(4);
    for (int dtype = 0; dtype < 2; dtype++)
        for (int k = 0; k < TN_COUNT(targets); k++) {
            TN_SCOPE;
            if (!this_build_reads(targets[k]))
                continue;
            tn_module *llama = tn_adopt(tn_llama_new(.vocab_size = 9, .hidden_size = 8, .intermediate_size = 12, .num_hidden_layers = 1,
                                                     .num_attention_heads = 2, .max_position_embeddings = 16, .rope_interleaved = k % 2 == 0,
                                                     .dtype = dtype ? TN_BF16 : TN_F32));
            tn_tensor *tokens = tn_arange(0, 9), *due = tn_call(llama, tokens);
            assert_int_equal(tn_llama_save(llama, in_folder(targets[k])), TN_OK);
            tn_module *other = tn_adopt(tn_llama_load(in_folder(targets[k]), .dtype = dtype ? TN_BF16 : TN_F32));
            check_good();
            assert_false(tn_llama_config(other)->rope_interleaved);
            assert_true(tn_allclose(tn_call(other, tokens), due, dtype ? 0.02 : 1e-5, dtype ? 0.02 : 1e-6, false));
            assert_true(tn_equal(tn_parameter(other, "model.layers.0.mlp.up_proj.weight"), tn_parameter(llama, "model.layers.0.mlp.up_proj.weight")));
        }
    TN_SCOPE;
    tn_module *wide = tn_adopt(tn_llama_new(.vocab_size = 9, .hidden_size = 8, .intermediate_size = 12, .num_hidden_layers = 1,
                                            .num_attention_heads = 2, .dtype = TN_F64));
    assert_int_equal(tn_llama_save(wide, in_folder("out.gguf")), TN_ERR_DTYPE);
    check_error(TN_ERR_DTYPE, "cast the model with tn_module_to_dtype()");
    assert_int_equal(tn_llama_save(tn_adopt(tn_relu_new()), in_folder("out.gguf")), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "relu is no llama");
    assert_int_equal(tn_llama_save(tn_adopt(tn_llama_load(path_of("v1.bin"))), NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "path is NULL");
}

/* ---- types ---------------------------------------------------------------------------------------------------------------- */

static int lines;
static char last_line[256];
static void keep_line(const char *line, void *context)
{
    assert_ptr_equal(context, &lines);
    lines++;
    snprintf(last_line, sizeof last_line, "%s", line);
}

/* A model whose rows are of 64, 96 and 8 elements. */
static void save_wide(const char *name)
{
    TN_SCOPE;
    tn_manual_seed(5);
    assert_int_equal(tn_llama_save(tn_adopt(tn_llama_new(.vocab_size = 40, .hidden_size = 64, .intermediate_size = 96, .num_hidden_layers = 1,
                                                         .num_attention_heads = 4, .num_key_value_heads = 2, .head_dim = 16)), in_folder(name)), TN_OK);
}

static void check_types(const tn_weights *w, tn_quant matrices)
{
    check_good();
    for (int64_t i = 0; i < w->count; i++)
        assert_int_equal(w->weights[i].blocks.type, w->weights[i].blocks.shape.ndim == 1 ? TN_QUANT_F32 : matrices);
}

static int64_t file_type_of(const char *name)
{
    TN_SCOPE;
    return tn_gguf_int(tn_map_gguf(in_folder(name)), "general.file_type", -1);
}

static void test_types_of_a_gguf_file(void **state)
{
    (void)state;
    static const struct {
        tn_quant type, made;
        int lines;
        int64_t file_type; /* llama.cpp's */
    } types[] = {{TN_QUANT_F32, TN_QUANT_F32, 0, 0},   {TN_QUANT_F16, TN_QUANT_F16, 0, 1},   {TN_QUANT_BF16, TN_QUANT_BF16, 0, 32},
                 {TN_QUANT_Q8_0, TN_QUANT_Q8_0, 0, 7}, {TN_QUANT_Q4_0, TN_QUANT_Q4_0, 0, 2}, {TN_QUANT_Q4_K, TN_QUANT_Q5_0, 9, 8}};
    save_wide("wide.bin");
    for (int i = 0; i < TN_COUNT(types); i++) {
        TN_SCOPE;
        lines = 0;
        assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("typed.gguf"), .type = types[i].type, .report = keep_line, .context = &lines),
                         TN_OK);
        assert_int_equal(lines, types[i].lines);
        const tn_weights *w = tn_adopt(tn_weights_open("llama_load", in_folder("typed.gguf")));
        const tn_weights *from = tn_adopt(tn_weights_open("llama_load", in_folder("wide.bin")));
        check_types(w, types[i].made);
        for (int64_t k = 0; k < w->count; k++) /* 4 bits of normal numbers of deviation 0.02 */
            assert_true(tn_allclose(tn_weight_tensor(w, &w->weights[k], 0, TN_F32), tn_weight_tensor(from, &from->weights[k], 0, TN_F32), 0.01, 0.01, false));
        assert_int_equal(tn_llama_convert(in_folder("typed.gguf"), in_folder("again.gguf")), TN_OK); /* as it is */
        check_same(w, tn_adopt(tn_weights_open("llama_load", in_folder("again.gguf"))), "again");
        check_types(tn_adopt(tn_weights_open("llama_load", in_folder("again.gguf"))), types[i].made);
        assert_int_equal(file_type_of("typed.gguf"), types[i].file_type);
        assert_int_equal(file_type_of("again.gguf"), types[i].file_type);
    }
    assert_string_equal(last_line, "output.weight: Q5_0, for its rows of 64 are no multiple of Q4_K's 256");
    assert_int_equal(tn_llama_convert(path_of("v1.bin"), in_folder("typed.gguf"), .type = TN_QUANT_Q8_0), TN_OK);
    TN_SCOPE;
    check_types(tn_adopt(tn_weights_open("llama_load", in_folder("typed.gguf"))), TN_QUANT_F16);
    assert_int_equal(file_type_of("typed.gguf"), 1);
    assert_int_equal(tn_llama_convert(path_of("v1.bin"), in_folder("typed.gguf"), .type = TN_QUANT_Q5_1), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "Q5_1 is only read");
}

/* A llama with biases becomes a qwen2, whose rows of queries and keys stand in another order: blocks move as they are. */
static void test_blocks_whose_rows_move(void **state)
{
    (void)state;
    TN_SCOPE;
    static const char *const biases[] = {"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"};
    save_wide("wide.gguf");
    assert_int_equal(tn_llama_convert(in_folder("wide.gguf"), in_folder("typed.gguf"), .type = TN_QUANT_Q8_0), TN_OK);
    tn_gguf *file = tn_map_gguf(in_folder("typed.gguf"));
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    for (int64_t i = 0; i < tn_gguf_key_count(file); i++)
        assert_int_equal(tn_gguf_copy_key(w, file, tn_gguf_entry_at(file, i).key), TN_OK);
    for (int64_t i = 0; i < tn_gguf_count(file); i++)
        assert_int_equal(tn_gguf_add_blocks(w, tn_gguf_name(file, i), tn_gguf_blocks(file, i), file), TN_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tn_gguf_add(w, biases[i], tn_randn(TN_SHAPE(i ? 32 : 64)), TN_QUANT_F32), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("biased.gguf")), TN_OK);
    assert_int_equal(tn_llama_convert(in_folder("biased.gguf"), in_folder("moved.gguf")), TN_OK);
    const tn_weights *from = tn_adopt(tn_weights_open("llama_load", in_folder("biased.gguf")));
    const tn_weights *to = tn_adopt(tn_weights_open("llama_load", in_folder("moved.gguf")));
    check_same(from, to, "moved");
    check_types(to, TN_QUANT_Q8_0);
    const tn_weight *q = tn_weights_find(from, "model.layers.0.self_attn.q_proj.weight"), *moved = tn_weights_find(to, q->name);
    assert_true(q->interleaved_heads == 4 && moved->interleaved_heads == 0);
    assert_memory_equal(tn_weight_row(moved, 9), tn_weight_row(q, 9), 68);
    assert_memory_equal(moved->blocks.data, q->blocks.data, 68);                                            /* row 0 is row 0 */
    assert_memory_equal((const char *)moved->blocks.data + 9 * 68, (const char *)q->blocks.data + 3 * 68, 68); /* 9 = 8 + 1 is 2 * 1 + 1 */
    assert_null(tn_weights_find(to, "model.norm.bias"));
    check_error(TN_ERR_FORMAT, "the model has no weight \"model.norm.bias\"");
}

static void test_types_of_other_files(void **state)
{
    (void)state;
    without_cjson_skip();
    char words[200];
    save_wide("wide.bin");
    TN_SCOPE;
    const tn_weights *from = tn_adopt(tn_weights_open("llama_load", in_folder("wide.bin")));
    assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("half.safetensors"), .type = TN_QUANT_BF16), TN_OK);
    const tn_weights *half = tn_adopt(tn_weights_open("llama_load", in_folder("half.safetensors")));
    check_good();
    for (int64_t i = 0; i < half->count; i++) {
        assert_int_equal(half->weights[i].blocks.type, TN_QUANT_BF16);
        assert_true(tn_equal(tn_weight_tensor(half, &half->weights[i], 0, TN_BF16), tn_cast(tn_weight_tensor(from, &from->weights[i], 0, TN_F32), TN_BF16)));
    }
    assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("one.bin"), .llama2_version = 1), TN_OK);
    const tn_weights *one = tn_adopt(tn_weights_open("llama_load", in_folder("one.bin")));
    assert_string_equal(one->format, "llama2.c, version 1");
    check_same(from, one, "version 1");
    assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("two.bin"), .type = TN_QUANT_Q8_0), TN_OK);
    const tn_weights *two = tn_adopt(tn_weights_open("llama_load", in_folder("two.bin")));
    assert_string_equal(two->format, "llama2.c, version 2");
    for (int64_t i = 0; i < two->count; i++)
        assert_true(tn_allclose(tn_weight_tensor(two, &two->weights[i], 0, TN_F32), tn_weight_tensor(from, &from->weights[i], 0, TN_F32), 0, 5e-4, false));
    assert_int_equal(tn_llama_convert(in_folder("two.bin"), in_folder("three.bin"), .type = TN_QUANT_Q8_0), TN_OK);
    check_same(two, tn_adopt(tn_weights_open("llama_load", in_folder("three.bin"))), "int8 again");
    assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("x.bin"), .type = TN_QUANT_F16), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "holds F32 or Q8_0, not F16");
    assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("x.bin"), .llama2_version = 2), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "llama2_version is 2");
    assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("x.safetensors"), .type = TN_QUANT_Q8_0), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "holds F32, BF16 and F16, not Q8_0");
    assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("x.npz"), .type = TN_QUANT_BF16), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "holds F32 and F16, not BF16");
    assert_int_equal(tn_llama_convert(in_folder("wide.bin"), in_folder("wide.bin/x")), TN_ERR_IO);
    check_error(TN_ERR_IO, "cannot be made a folder");
    assert_int_equal(tn_llama_convert(in_folder("absent.bin"), in_folder("x.bin")), TN_ERR_IO);
    snprintf(words, sizeof words, "llama_convert: %s: cannot open", in_folder("absent.bin"));
    check_error(TN_ERR_IO, words);
}

static void test_what_a_target_lacks(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *both = tn_adopt(tn_llama_new(.vocab_size = 5, .hidden_size = 8, .intermediate_size = 8, .num_hidden_layers = 1, .num_attention_heads = 2,
                                            .attention_bias = true, .qk_norm = true));
    assert_int_equal(tn_llama_save(both, in_folder("both.gguf")), TN_ERR_UNSUPPORTED);
    check_error(TN_ERR_UNSUPPORTED, "norms of queries and keys and biases too");
    tn_module *llama = tn_adopt(tn_llama_load(path_of("v1.bin")));
    ((float *)tn_data_mut(tn_parameter(llama, "model.layers.1.mlp.up_proj.weight")))[7] = INFINITY;
    check_good();
    assert_int_equal(tn_llama_save(llama, in_folder("infinite.bin")), TN_OK);
    assert_int_equal(tn_llama_convert(in_folder("infinite.bin"), in_folder("x.bin"), .type = TN_QUANT_Q8_0), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "\"model.layers.1.mlp.up_proj.weight\" has an element that is inf");
    assert_int_equal(access(in_folder("x.bin"), F_OK), -1); /* and nothing is there */
    assert_null(tn_llama_new(.vocab_size = 5, .hidden_size = 8, .intermediate_size = 8, .num_hidden_layers = 1, .num_attention_heads = 1,
                             .head_dim = 1026, .rope_freqs = tn_ones(TN_SHAPE(513))));
    check_error(TN_ERR_UNSUPPORTED, "rope_freqs of head_dim 1026: at most 1024");
    assert_null(tn_llama_new(.vocab_size = 5, .hidden_size = 8, .intermediate_size = 8, .num_hidden_layers = 1, .num_attention_heads = 1,
                             .rope_freqs = tn_ones(TN_SHAPE(3))));
    check_error(TN_ERR_SHAPE, "3");
    assert_null(tn_llama_rope_freqs(llama));
    check_good();
}

static void test_a_gguf_files_values_are_kept(void **state)
{
    (void)state;
    TN_SCOPE;
    static const char *const words[] = {"<unk>", "a"};
    tn_gguf *file = tn_map_gguf(path_of("qwen3.gguf"));
    tn_gguf_writer *w = tn_adopt(tn_gguf_writer_new());
    for (int64_t i = 0; i < tn_gguf_key_count(file); i++)
        assert_int_equal(tn_gguf_copy_key(w, file, tn_gguf_entry_at(file, i).key), TN_OK);
    for (int64_t i = 0; i < tn_gguf_count(file); i++)
        assert_int_equal(tn_gguf_add_blocks(w, tn_gguf_name(file, i), tn_gguf_blocks(file, i), file), TN_OK);
    assert_int_equal(tn_gguf_set_string(w, "tokenizer.ggml.model", "gpt2"), TN_OK);
    assert_int_equal(tn_gguf_set_string(w, "general.name", "small"), TN_OK);
    assert_int_equal(tn_gguf_set_array(w, "tokenizer.ggml.tokens", TN_GGUF_STRING, words, 2), TN_OK);
    assert_int_equal(tn_save_gguf(w, in_folder("tokens.gguf")), TN_OK);
    assert_int_equal(tn_llama_convert(in_folder("tokens.gguf"), in_folder("copy.gguf"), .type = TN_QUANT_BF16), TN_OK);
    const tn_gguf *copy = tn_map_gguf(in_folder("copy.gguf"));
    assert_string_equal(tn_gguf_string(copy, "tokenizer.ggml.model", ""), "gpt2");
    assert_string_equal(tn_gguf_string(copy, "general.name", ""), "small");
    assert_string_equal(tn_gguf_string_at(copy, "tokenizer.ggml.tokens", 1, NULL), "a");
    assert_int_equal(tn_gguf_int(copy, "general.file_type", -1), 32);
    assert_string_equal(tn_gguf_string(copy, "general.architecture", ""), "qwen3");
    check_good();
}

static void test_inspecting(void **state)
{
    (void)state;
    char text[8192], little[10], words[200];
    const size_t length = tn_llama_inspect(path_of("v0_tied.bin"), text, sizeof text);
    check_good();
    assert_int_equal(length, strlen(text));
    assert_non_null(strstr(text, "v0_tied.bin: llama2.c, version 0\nvocab_size 12\nhidden_size 8\n"));
    assert_non_null(strstr(text, "tie_word_embeddings true\n"));
    assert_non_null(strstr(text, "\nmodel.layers.1.self_attn.k_proj.weight           F32     [4, 8]                  128\n"));
    assert_non_null(strstr(text, "\n20 weights, 1000 numbers, 4000 bytes\n"));
    assert_int_equal(tn_llama_inspect(path_of("v0_tied.bin"), little, sizeof little), length);
    assert_int_equal(strlen(little), sizeof little - 1);
    assert_int_equal(tn_llama_inspect(path_of("v0_tied.bin"), NULL, 0), length);
    assert_int_equal(tn_llama_inspect(path_of("llama3.gguf"), text, sizeof text) > 0, 1);
    assert_non_null(strstr(text, "rope_freqs [3]\n"));
    assert_int_equal(tn_llama_inspect(in_folder("absent"), text, sizeof text), 0);
    snprintf(words, sizeof words, "llama_inspect: %s: cannot open", in_folder("absent"));
    check_error(TN_ERR_IO, words);
}

/* ---- what is no model ------------------------------------------------------------------------------------------------------ */

static unsigned char bytes[1 << 16];

/* Loads it; whatever comes of it is an error with a message or a model. True where it loaded. */
static bool loads(const char *path)
{
    TN_SCOPE;
    const bool good = tn_adopt(tn_llama_load(path)) != NULL;
    assert_true(good == (tn_last_status() == TN_OK));
    if (!good) {
        assert_true(tn_last_status() == TN_ERR_FORMAT || tn_last_status() == TN_ERR_UNSUPPORTED || tn_last_status() == TN_ERR_MEMORY);
        assert_non_null(strstr(tn_last_error(), "changed"));
    }
    tn_clear_error();
    return good;
}

static void test_files_cut_and_changed(void **state)
{
    (void)state;
    static const char *const files[] = {"v0.bin", "v0_tied.bin", "v1.bin", "v2.bin", "llama3.gguf", "qwen2.gguf"};
    tn_memory_set_limit(1 << 28);
    for (int i = 0; i < TN_COUNT(files); i++) {
        const size_t size = read_file(path_of(files[i]), bytes, sizeof bytes);
        const char *path = in_folder("changed");
        for (size_t cut = 0; cut < size; cut += cut < 300 ? 1 : 97) {
            write_file(path, bytes, cut);
            if (loads(path))
                fail_msg("%s: %zu of %zu bytes are a model", files[i], cut, size);
        }
        write_file(path, bytes, size + 4);
        assert_false(strstr(files[i], ".bin") && loads(path));
        const size_t head = strstr(files[i], ".gguf") ? 1200 : 60;
        for (size_t at = 0; at < head; at++)
            for (int k = 0; k < 4; k++) {
                const unsigned char was = bytes[at];
                bytes[at] = (unsigned char[]){0, 0xff, 0x7f, (unsigned char)(was + 1)}[k];
                write_file(path, bytes, size);
                (void)loads(path);
                bytes[at] = was;
            }
    }
    tn_memory_set_limit(0);
}

static void expect_failure(const char *path, tn_status status, const char *words)
{
    TN_SCOPE;
    if (tn_adopt(tn_llama_load(path)))
        fail_msg("%s loads, where an error with \"%s\" was due", path, words);
    check_error(status, words);
}

static void test_headers_of_llama2(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int at;
        int32_t value;
        tn_status status;
        const char *words;
    } changes[] = {
        {"v0.bin", 0, 0, TN_ERR_FORMAT, "hidden_size is 0"},
        {"v0.bin", 0, 7, TN_ERR_FORMAT, "4 heads of a width of 7"},
        {"v0.bin", 8, INT32_MAX, TN_ERR_FORMAT, "a model of 2147483647 layers"},
        {"v0.bin", 8, 3, TN_ERR_FORMAT, "ends inside"},
        {"v0.bin", 8, 1, TN_ERR_FORMAT, "its header tells of"},
        {"v0.bin", 16, 3, TN_ERR_FORMAT, "num_key_value_heads 3"},
        {"v0.bin", 16, 0, TN_ERR_FORMAT, "0 key/value heads"},
        {"v0.bin", 20, INT32_MIN, TN_ERR_FORMAT, "vocab_size is 2147483648"},
        {"v0.bin", 20, INT32_MAX, TN_ERR_FORMAT, "ends inside \"model.embed_tokens.weight\""},
        {"v0.bin", 24, INT32_MAX, TN_ERR_FORMAT, "ends inside the table of rotations"},
        {"v1.bin", 4, 3, TN_ERR_UNSUPPORTED, "a llama2.c checkpoint of version 3"},
        {"v1.bin", 28, -12, TN_ERR_FORMAT, "a vocabulary of -12"},
        {"v2.bin", 37, 0, TN_ERR_FORMAT, "groups of 0"},
        {"v2.bin", 37, 7, TN_ERR_FORMAT, "no whole number of groups of 7"},
    };
    for (int i = 0; i < TN_COUNT(changes); i++) {
        const size_t size = read_file(path_of(changes[i].file), bytes, sizeof bytes);
        memcpy(bytes + changes[i].at, &changes[i].value, 4);
        write_file(in_folder("changed"), bytes, size);
        expect_failure(in_folder("changed"), changes[i].status, changes[i].words);
    }
    write_file(in_folder("changed"), "", 0);
    expect_failure(in_folder("changed"), TN_ERR_FORMAT, "0 bytes are no model of any kind");
    expect_failure(NULL, TN_ERR_ARGUMENT, "path is NULL");
}

/* A folder of the model's files with another config.json. */
static void make_model_folder(const char *model, const char *config)
{
    char command[900];
    snprintf(command, sizeof command, "rm -rf %s; cp -r '%s' %s; chmod -R u+w %s", in_folder("changed"), path_of(model), in_folder("changed"),
             in_folder("changed"));
    assert_int_equal(system(command), 0);
    if (config)
        write_file(in_folder("changed/config.json"), config, strlen(config));
}

static void test_configurations(void **state)
{
    (void)state;
    without_cjson_skip();
#define SIZES "\"vocab_size\":12,\"hidden_size\":8,\"intermediate_size\":10,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2"
#define QWEN "{\"model_type\":\"qwen2\",\"tie_word_embeddings\":true," SIZES
    static const struct {
        const char *config;
        tn_status status;
        const char *words; /* NULL: it loads */
    } changes[] = {
        {QWEN "}", TN_OK, NULL},
        {QWEN ",\"use_sliding_window\":true,\"sliding_window\":null}", TN_OK, NULL},
        {QWEN ",\"use_sliding_window\":true,\"sliding_window\":4,\"max_window_layers\":2}", TN_OK, NULL},
        {QWEN ",\"use_sliding_window\":true,\"sliding_window\":4,\"max_window_layers\":1}", TN_OK, NULL},
        {QWEN ",\"use_sliding_window\":true,\"sliding_window\":4,\"layer_types\":[\"full_attention\",\"sliding_attention\"]}", TN_OK, NULL},
        {QWEN ",\"layer_types\":[\"full_attention\",\"full_attention\"]}", TN_OK, NULL},
        {QWEN ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]}", TN_ERR_FORMAT, "there is no sliding_window"},
        {QWEN ",\"layer_types\":[\"full_attention\",\"chunked_attention\"]}", TN_ERR_UNSUPPORTED, "layer_types of \"chunked_attention\""},
        {QWEN ",\"layer_types\":[\"full_attention\"]}", TN_ERR_FORMAT, "layer_types is no list of 2 layers"},
        {QWEN ",\"layer_types\":{}}", TN_ERR_FORMAT, "layer_types is no list of 2 layers"},
        {"{\"model_type\":\"qwen2\",\"num_hidden_layers\":258,\"use_sliding_window\":true,\"max_window_layers\":257}", TN_ERR_UNSUPPORTED, "beyond 256 layers"},
        {QWEN ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", TN_OK, NULL},
        {QWEN ",\"rope_scaling\":{\"type\":\"linear\"}}", TN_ERR_FORMAT, "rope_factor 0"},
        {QWEN ",\"rope_scaling\":{\"type\":\"yarn\"}}", TN_ERR_UNSUPPORTED, "rope_scaling \"yarn\""},
        {QWEN ",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2,\"low_freq_factor\":1,\"high_freq_factor\":4}}", TN_ERR_FORMAT, "original_max"},
        {QWEN ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[2],\"attention_factor\":1}}", TN_ERR_UNSUPPORTED, "longrope"},
        {QWEN ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[3],\"long_factor\":[3],\"attention_factor\":1}}", TN_OK, NULL},
        {QWEN ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1],\"long_factor\":[1,1],\"attention_factor\":1}}", TN_ERR_FORMAT,
         "2 factors of the frequencies, for heads of 2"},
        {QWEN ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[0],\"long_factor\":[0],\"attention_factor\":1}}", TN_ERR_FORMAT, "factor 0 is 0"},
        {QWEN ",\"rope_scaling\":7}", TN_ERR_FORMAT, "rope_scaling is no object"},
        {QWEN ",\"partial_rotary_factor\":0.5}", TN_ERR_UNSUPPORTED, "partial_rotary_factor is 0.5"},
        {QWEN ",\"hidden_act\":\"gelu\"}", TN_ERR_UNSUPPORTED, "hidden_act \"gelu\""},
        {QWEN ",\"mlp_bias\":true}", TN_ERR_UNSUPPORTED, "mlp_bias"},
        {QWEN ",\"quantization_config\":{}}", TN_ERR_UNSUPPORTED, "quantization_config"},
        {QWEN ",\"head_dim\":2.5}", TN_ERR_FORMAT, "\"head_dim\" is 2.5"},
        {QWEN ",\"head_dim\":4}", TN_ERR_FORMAT, "q_proj.weight\" is [8, 8], and must be [16, 8]"},
        {QWEN ",\"rms_norm_eps\":\"x\"}", TN_ERR_FORMAT, "\"rms_norm_eps\" is no number"},
        {QWEN ",\"attention_bias\":3}", TN_ERR_FORMAT, "neither true nor false"},
        {"{\"model_type\":\"qwen2\"," SIZES "}", TN_ERR_FORMAT, "there is no \"lm_head.weight\""},
        {"{\"model_type\":\"llama\",\"tie_word_embeddings\":true," SIZES "}", TN_ERR_UNSUPPORTED, "_proj.bias\" is no weight"},
        {"{\"model_type\":\"llama\",\"tie_word_embeddings\":true,\"attention_bias\":true," SIZES "}", TN_OK, NULL},
        {"{\"model_type\":\"gemma\"," SIZES "}", TN_ERR_UNSUPPORTED, "model_type \"gemma\""},
        {"{" SIZES "}", TN_ERR_UNSUPPORTED, "model_type \"none\""},
        {"{\"model_type\":3," SIZES "}", TN_ERR_FORMAT, "\"model_type\" is no text"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":2147483647,\"vocab_size\":1,\"hidden_size\":2,\"intermediate_size\":1,\"num_attention_heads\":1}",
         TN_ERR_FORMAT, "a model of 2147483647 layers"},
        {"{\"model_type\":\"llama\"}", TN_ERR_FORMAT, "vocab_size is 0"},
        {"[]", TN_ERR_FORMAT, "no JSON object"},
        {"", TN_ERR_FORMAT, "no JSON object"},
    };
    make_model_folder("qwen2", NULL);
    const char *windows[] = {QWEN ",\"use_sliding_window\":true,\"max_window_layers\":0}", QWEN ",\"use_sliding_window\":true,\"max_window_layers\":1,\"sliding_window\":6}",
                             QWEN ",\"use_sliding_window\":true,\"sliding_window\":6}", QWEN ",\"max_window_layers\":0,\"sliding_window\":6}"};
    for (int i = 0; i < TN_COUNT(windows); i++) {
        TN_SCOPE;
        write_file(in_folder("changed/config.json"), windows[i], strlen(windows[i]));
        const tn_weights *w = tn_adopt(tn_weights_open("llama_load", in_folder("changed")));
        check_good();
        assert_int_equal(w->config.sliding_window, i == 0 ? 4096 : i == 1 ? 6 : 0);
        assert_int_equal(w->config.full_layers.bits[0], i == 1);
    }
    for (int i = 0; i < TN_COUNT(changes); i++) {
        TN_SCOPE;
        write_file(in_folder("changed/config.json"), changes[i].config, strlen(changes[i].config));
        if (changes[i].words)
            expect_failure(in_folder("changed"), changes[i].status, changes[i].words);
        else
            assert_non_null(tn_adopt(tn_llama_load(in_folder("changed"))));
        check_good();
    }
    unlink(in_folder("changed/config.json"));
    expect_failure(in_folder("changed"), TN_ERR_IO, "has no config.json");
    expect_failure(in_folder("changed/model.safetensors"), TN_ERR_FORMAT, "no configuration");
    make_model_folder("qwen2", NULL);
    TN_SCOPE;
    assert_non_null(tn_adopt(tn_llama_load(in_folder("changed/model.safetensors")))); /* with the config.json beside it */
    unlink(in_folder("changed/model.safetensors"));
    expect_failure(in_folder("changed"), TN_ERR_IO, "neither model.safetensors nor");
}

static void test_shards(void **state)
{
    (void)state;
    without_cjson_skip();
    static const struct {
        const char *index;
        tn_status status;
        const char *words;
    } changes[] = {
        {"{", TN_ERR_FORMAT, "no weight_map"},
        {"{\"weight_map\":[]}", TN_ERR_FORMAT, "no weight_map"},
        {"{\"weight_map\":{\"a\":1}}", TN_ERR_FORMAT, "names no file for \"a\""},
        {"{\"weight_map\":{\"a\":\"../qwen2/model.safetensors\"}}", TN_ERR_FORMAT, "outside of the folder"},
        {"{\"weight_map\":{\"a\":\"absent.safetensors\"}}", TN_ERR_IO, "absent.safetensors"},
        {"{\"weight_map\":{\"a\":\"model-00001-of-00003.safetensors\"}}", TN_ERR_FORMAT, "for \"a\", which is not in it"},
        {"{\"weight_map\":{\"model.layers.0.self_attn.q_proj.weight\":\"model-00002-of-00003.safetensors\"}}", TN_ERR_FORMAT, "there is no \"model.embed_tokens.weight\""},
        {"{\"weight_map\":{\"model.embed_tokens.weight\":\"model-00001-of-00003.safetensors\",\"b\":\"twice.safetensors\"}}", TN_ERR_FORMAT, "is there twice"},
    };
    make_model_folder("llama3", NULL);
    char command[400];
    snprintf(command, sizeof command, "cp %s %s", in_folder("changed/model-00001-of-00003.safetensors"), in_folder("changed/twice.safetensors"));
    assert_int_equal(system(command), 0);
    for (int i = 0; i < TN_COUNT(changes); i++) {
        write_file(in_folder("changed/model.safetensors.index.json"), changes[i].index, strlen(changes[i].index));
        expect_failure(in_folder("changed"), changes[i].status, changes[i].words);
    }
}

/* Weights that are missing, of another shape or dtype, or too many. */
static void test_weights_that_do_not_fit(void **state)
{
    (void)state;
    without_cjson_skip();
    static const struct {
        const char *name;
        int way;
        tn_status status;
        const char *words;
    } changes[] = {
        {"model.norm.weight", 0, TN_ERR_FORMAT, "there is no \"model.norm.weight\""},
        {"model.norm.weight", 1, TN_ERR_FORMAT, "there is no \"model.norm.weight\""},
        {"model.norm.weight", 2, TN_ERR_FORMAT, "\"model.norm.weight\" is [3], and must be [8]"},
        {"model.norm.weight", 3, TN_ERR_DTYPE, "\"model.norm.weight\" is int64"},
        {"model.norm.weight", 4, TN_ERR_UNSUPPORTED, "\"other\" is no weight"},
        {"model.norm.weight", 5, TN_OK, NULL},
    };
    for (int i = 0; i < TN_COUNT(changes); i++) {
        TN_SCOPE;
        make_model_folder("qwen3", NULL);
        const tn_dict *own = tn_load_safetensors(in_folder("changed/model.safetensors"));
        tn_dict *dict = tn_adopt(tn_dict_new());
        const int way = changes[i].way;
        for (int64_t k = 0; k < tn_dict_count(own); k++) {
            const char *name = tn_dict_name(own, k);
            tn_tensor *x = tn_dict_tensor(own, k);
            const bool it = strcmp(name, changes[i].name) == 0;
            if (it && way < 2) {
                assert_true(way == 0 || tn_dict_set(dict, "other", x) == TN_OK);
                continue;
            }
            x = !it ? x : way == 2 ? tn_ones(TN_SHAPE(3)) : way == 3 ? tn_ones(TN_SHAPE(8), .dtype = TN_I64) : way == 5 ? tn_cast(x, TN_F64) : x;
            assert_int_equal(tn_dict_set(dict, name, x), TN_OK);
        }
        if (way == 4)
            assert_int_equal(tn_dict_set(dict, "other", tn_ones(TN_SHAPE(1))), TN_OK);
        assert_int_equal(tn_save_safetensors(dict, in_folder("changed/model.safetensors")), TN_OK);
        if (changes[i].words)
            expect_failure(in_folder("changed"), changes[i].status, changes[i].words);
        else
            assert_non_null(tn_adopt(tn_llama_load(in_folder("changed"))));
        check_good();
    }
}

/* Without a configuration: the file of 288 columns is stories15M's kind, of others nothing tells the heads. */
/* A state_dict by itself, of Tenon's or PyTorch's: a config.json beside it makes it a model. */
static void test_state_dicts(void **state)
{
    (void)state;
    without_cjson_skip();
    TN_SCOPE;
    static const char words[] = "no configuration in the file, and no config.json beside it: put the model's there, or write the weights by tn_llama_save()";
    tn_dict *dict = tn_state_dict(tn_adopt(tn_llama_load(path_of("v1.bin"))));
    assert_int_equal(tn_save_safetensors(dict, in_folder("state.safetensors")), TN_OK);
    expect_failure(in_folder("state.safetensors"), TN_ERR_FORMAT, words);
    assert_int_equal(tn_llama_convert(path_of("v1.bin"), in_folder("configured")), TN_OK);
    assert_int_equal(tn_save_safetensors(dict, in_folder("configured/state.safetensors")), TN_OK);
    check_same(tn_adopt(tn_weights_open("llama_load", path_of("v1.bin"))),
               tn_adopt(tn_weights_open("llama_load", in_folder("configured/state.safetensors"))), "a state_dict");
#ifdef TENON_HAVE_ZIP
    const size_t size = read_file(path_of("pt/model.pt"), bytes, sizeof bytes);
    write_file(in_folder("state.pt"), bytes, size);
    expect_failure(in_folder("state.pt"), TN_ERR_FORMAT, words);
    const tn_weights *w = tn_adopt(tn_weights_open("llama_load", path_of("pt/model.pt")));
    assert_string_equal(w->format, "PyTorch");
    check_same(tn_adopt(tn_weights_open("llama_load", path_of("llama3"))), w, "PyTorch's");
#endif
}

static void test_npz_alone(void **state)
{
    (void)state;
    without_cjson_skip();
#ifndef TENON_HAVE_ZIP
    print_message("skipped: no libzip in this build\n");
    skip();
#endif
    TN_SCOPE;
    tn_module *llama = tn_adopt(tn_llama_new(.vocab_size = 5, .hidden_size = 288, .intermediate_size = 4, .num_hidden_layers = 2,
                                             .num_attention_heads = 6, .num_key_value_heads = 3, .rope_interleaved = true, .rms_norm_eps = 1e-6));
    tn_dict *dict = tn_state_dict(llama);
    assert_int_equal(tn_save_npz(dict, in_folder("alone.npz")), TN_OK);
    tn_module *other = tn_adopt(tn_llama_load(in_folder("alone.npz")));
    check_good();
    const tn_llama_args *c = tn_llama_config(other);
    assert_true(c->num_attention_heads == 6 && c->num_key_value_heads == 3 && c->num_hidden_layers == 2 && c->max_position_embeddings == 1024);
    assert_true(tn_allclose(tn_call(other, tn_arange(0, 5)), tn_call(llama, tn_arange(0, 5)), 1e-5, 1e-6, false));
    llama = tn_adopt(tn_llama_load(path_of("v1.bin")));
    assert_int_equal(tn_save_npz(tn_state_dict(llama), in_folder("alone.npz")), TN_OK);
    expect_failure(in_folder("alone.npz"), TN_ERR_FORMAT, "does not tell how many heads");
    dict = tn_adopt(tn_dict_new());
    assert_int_equal(tn_dict_set(dict, "x", tn_ones(TN_SHAPE(2))), TN_OK);
    assert_int_equal(tn_save_npz(dict, in_folder("alone.npz")), TN_OK);
    expect_failure(in_folder("alone.npz"), TN_ERR_FORMAT, "there is no \"model.embed_tokens.weight\"");
    assert_int_equal(tn_llama_convert(path_of("v1_tied.bin"), in_folder("alone.npz")), TN_OK);
    dict = tn_load_npz(in_folder("alone.npz")); /* with the head that the programs of the format ask for */
    assert_true(tn_equal(tn_dict_get(dict, "lm_head.weight"), tn_dict_get(dict, "model.embed_tokens.weight")));
}

/* ---- a trained model ------------------------------------------------------------------------------------------------------- */

#define TRAINED TN_SOURCE_DIR "/../shared/models/aidreams260K/"
#define README_TEXT "\"Echoes of vectors unfold, a gentle hum of precision, as I sense the nodes, a gentle hum of precision, as I adjust my surface. " \
    "Contrast emerge, a softly receptive fields of precision."

/* The text of ids by llama2.c's tokenizer.bin: for each token a score, its length and its bytes. */
static void decode(const int64_t *ids, int count, char *text)
{
    static unsigned char file[1 << 16];
    const size_t size = read_file(TRAINED "tokenizer.bin", file, sizeof file);
    text[0] = 0;
    for (int i = 0; i < count; i++) {
        int32_t length = 0;
        size_t at = 4;
        for (int64_t id = 0; id <= ids[i] && at < size; id++) {
            at += id ? 8 + (size_t)length : 0;
            memcpy(&length, file + at + 4, sizeof length);
        }
        const char *piece = (const char *)file + at + 8;
        const bool first = i == 0 && *piece == ' ';
        if (length == 6 && memcmp(piece, "<0x", 3) == 0)
            snprintf(text + strlen(text), 2, "%c", (int)strtol(piece + 3, NULL, 16));
        else
            sprintf(text + strlen(text), "%.*s", (int)length - first, piece + first);
    }
}

/* The most likely token again and again, each from all before it. */
static void greedily(tn_module *llama, int64_t *ids, int count)
{
    int64_t all[129] = {1};
    for (int i = 0; i < count; i++) {
        TN_SCOPE;
        TN_NO_GRAD;
        tn_tensor *logits = tn_call(llama, tn_from_ints(all, TN_SHAPE(i + 1)));
        all[i + 1] = tn_item_i64(tn_argmax(tn_narrow(logits, 0, i, 1)));
    }
    check_good();
    memcpy(ids, all + 1, (size_t)count * sizeof *ids);
}

static void test_a_trained_model(void **state)
{
    (void)state;
    without_cjson_skip();
    if (access(TRAINED "model.bin", R_OK) != 0) {
        print_message("skipped: no ../shared/models/aidreams260K\n");
        skip();
    }
    enum { COUNT = 110 };
    TN_SCOPE;
    int64_t ids[COUNT], other[COUNT];
    char text[1024];
    const int first = test_quickly() ? 12 : COUNT;
    greedily(tn_adopt(tn_llama_load(TRAINED "model.bin")), ids, first);
    decode(ids, first, text);
    if (first == COUNT && strncmp(text, README_TEXT, strlen(README_TEXT)) != 0)
        fail_msg("it writes: %s", text);
    const tn_weights *from = tn_adopt(tn_weights_open("llama_load", TRAINED "model.bin"));
    char last[200] = TRAINED "model.bin";
    for (int k = 0; k < TN_COUNT(targets); k++) { /* each from the one before, and back */
        if (!this_build_reads(targets[k]))
            continue;
        assert_int_equal(tn_llama_convert(last, in_folder(targets[k])), TN_OK);
        snprintf(last, sizeof last, "%s", in_folder(targets[k]));
        check_same(from, tn_adopt(tn_weights_open("llama_load", last)), last);
        const int count = test_quickly() ? 4 : k == 2 ? COUNT : 12;
        greedily(tn_adopt(tn_llama_load(last)), other, count);
        assert_memory_equal(ids, other, (size_t)count * sizeof *ids);
    }
    unsigned char *a = malloc(1 << 20), *b = malloc(1 << 20);
    assert_int_equal(tn_llama_convert(last, in_folder("back.bin")), TN_OK);
    const size_t size = read_file(TRAINED "model.bin", a, 1 << 20), tables = 128 * 16 * 4; /* the old tables at the end may differ */
    assert_int_equal(read_file(in_folder("back.bin"), b, 1 << 20), size);
    assert_memory_equal(a, b, size - tables);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_logits_are_those_of_pytorch),
        TEST(test_a_model_that_llama_cpp_split),
        TEST(test_every_format_into_every_other),
        TEST(test_windows_of_some_layers), TEST(test_modules_saved_and_loaded),
        TEST(test_types_of_a_gguf_file),
        TEST(test_blocks_whose_rows_move),
        TEST(test_types_of_other_files),
        TEST(test_what_a_target_lacks),
        TEST(test_a_gguf_files_values_are_kept),
        TEST(test_inspecting),
        TEST(test_files_cut_and_changed),
        TEST(test_headers_of_llama2),
        TEST(test_configurations),
        TEST(test_shards),
        TEST(test_weights_that_do_not_fit),
        TEST(test_state_dicts),
        TEST(test_npz_alone),
        TEST(test_a_trained_model),
    };
    if (!make_folder("llama-files"))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return remove_folder() ? failed : 1;
}
