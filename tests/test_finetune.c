/* Fine-tuning a Llama, its head, everything or LoRA's parts, from the same weights and batches as by PyTorch: the loss of every step, what stays
 * as it was, and what was tuned through a file.
 * labels: isa */
#include "folder.h"
#include "op_table.h"
#include "reference/finetune.h"

#include <tenon/decoder.h>

enum { VOCAB = 48, BATCH = 3, LENGTH = 16, WRITTEN = 24 };
typedef enum way { HEAD, EVERYTHING, LORA, WAYS } way;

static tn_tensor *there(tn_tensor *x) { return tn_to(x, tn_get_default_device()); }

static void fill(tn_tensor *x, uint32_t seed, double low, double high)
{
    TN_SCOPE;
    TN_NO_GRAD;
    tn_tensor *values = tn_empty(tn_shape_of(x), .dtype = TN_F64, .device = &(tn_device_id){TN_CPU, 0});
    double *data = tn_data_mut(values);
    for (int64_t i = 0; i < tn_numel(x); i++)
        data[i] = op_fill(seed, i, low, high);
    tn_copy_(tn_detach(x), values);
    check_good();
}

static void fill_first(tn_tensor *x, double value)
{
    TN_NO_GRAD;
    tn_fill_(tn_narrow(tn_narrow(x, 0, 0, 1), 1, 0, 1), value);
    check_good();
}

static void fill_matrix(tn_tensor *x, uint32_t seed)
{
    const double bound = 1 / sqrt((double)tn_size(x, 1));
    fill(x, seed, -bound, bound);
}

/* make_finetune.py's, as it is before tuning; the scope's. */
static tn_module *untuned(tn_dtype dtype)
{
    tn_module *llama = tn_adopt(tn_llama_new(.vocab_size = VOCAB, .hidden_size = 32, .intermediate_size = 40, .num_hidden_layers = 2,
                                             .num_attention_heads = 4, .num_key_value_heads = 2, .dtype = dtype));
    const tn_list *params = tn_parameters(llama);
    check_good();
    for (int64_t k = 0; k < tn_list_count(params); k++) {
        tn_tensor *p = tn_list_at(params, k);
        if (tn_ndim(p) > 1)
            fill_matrix(p, (uint32_t)(10 + k));
        else
            fill(p, (uint32_t)(10 + k), 0.5, 1.5);
    }
    return llama;
}

static void choose(tn_module *llama, way how)
{
    static const char *const a[] = {"model.layers.0.self_attn.q_proj.lora_A", "model.layers.0.self_attn.v_proj.lora_A",
                                    "model.layers.1.self_attn.q_proj.lora_A", "model.layers.1.self_attn.v_proj.lora_A"};
    if (how == HEAD) {
        tn_freeze(llama, true);
        tn_freeze(tn_child(llama, "lm_head"), false);
    } else if (how == LORA) {
        assert_int_equal(tn_add_lora(llama, .rank = 8, .alpha = 16, .targets = "q_proj,v_proj"), TN_OK);
        for (uint32_t i = 0; i < 4; i++)
            fill_matrix(tn_parameter(llama, a[i]), 100 + i);
    }
}

static tn_tensor *loss_of(tn_module *llama, int t)
{
    int64_t tokens[BATCH * (LENGTH + 1)];
    for (int i = 0; i < BATCH * (LENGTH + 1); i++)
        tokens[i] = (int64_t)op_fill((uint32_t)(500 + t % 10), i, 0, VOCAB);
    tn_tensor *windows = there(tn_from_ints(tokens, TN_SHAPE(BATCH, LENGTH + 1)));
    tn_tensor *logits = tn_call(llama, tn_narrow(windows, 1, 0, LENGTH));
    return tn_cross_entropy(tn_flatten(logits, 0, 1), tn_flatten(tn_narrow(windows, 1, 1, LENGTH), 0, 1));
}

/* The frozen parameters of a tuned model have the bits of those before, the others do not; gives how many of the latter there are. */
static int64_t check_frozen(tn_module *llama, tn_module *before)
{
    const tn_dict *now = tn_named_parameters(llama), *then = tn_named_parameters(before);
    int64_t tuned = 0;
    for (int64_t i = 0; i < tn_dict_count(now); i++) {
        tn_tensor *x = tn_dict_tensor(now, i), *y = tn_dict_tensor(then, tn_dict_find(then, tn_dict_name(now, i)));
        tuned += tn_requires_grad(x);
        if (tn_equal(x, y) == tn_requires_grad(x))
            fail_msg("%s %s", tn_dict_name(now, i), tn_requires_grad(x) ? "did not train" : "is frozen, and changed");
    }
    check_good();
    return tuned;
}

/* A tuned model; the scope's. expected: the losses of the steps. */
static tn_module *tuned(way how, tn_dtype dtype, const double *expected, int steps, double tolerance)
{
    tn_module *llama = untuned(dtype);
    choose(llama, how);
    tn_module *before = tn_module_clone(llama);
    tn_optim *opt = tn_adamw_new(tn_parameters(llama), 3e-3);
    for (int t = 0; t < steps; t++) {
        TN_SCOPE;
        tn_tensor *loss = loss_of(llama, t);
        tn_zero_grad(opt);
        assert_int_equal(tn_backward(loss), TN_OK);
        assert_int_equal(tn_step(opt), TN_OK);
        const double value = tn_item(loss);
        if (!(fabs(value - expected[t]) <= tolerance * fabs(expected[t])))
            fail_msg("way %d, step %d: the loss is %.17g, and PyTorch's %.17g", how, t, value, expected[t]);
    }
    const int64_t count = tn_list_count(tn_parameters(llama));
    assert_int_equal(check_frozen(llama, before), how == HEAD ? 1 : how == LORA ? 8 : count);
    tn_release(opt);
    return llama;
}

static const double *const losses[WAYS][2] = {{head_f64, head_f32}, {everything_f64, everything_f32}, {lora_f64, lora_f32}};

static void losses_are_those_of_pytorch(void **state)
{
    (void)state;
    for (way how = 0; how < WAYS; how++) {
        TN_SCOPE;
        tuned(how, TN_F64, losses[how][0], 30, 1e-9);
        tuned(how, TN_F32, losses[how][1], 20, 1e-4);
    }
}

/* ---- decoders and files ------------------------------------------------------------------------------------------------------ */

static void write_greedily(tn_module *llama, int64_t tokens[WRITTEN])
{
    tn_decoder *decoder = tn_adopt(tn_decoder_new(llama));
    check_good();
    int64_t token = 7;
    for (int i = 0; i < WRITTEN; i++) {
        const float *logits = tn_decoder_feed(decoder, 0, &token, 1);
        assert_non_null(logits);
        for (int64_t j = token = 0; j < VOCAB; j++)
            token = logits[j] > logits[token] ? j : token;
        tokens[i] = token;
    }
}

static void decoders_take_in_lora(void **state)
{
    (void)state;
    TN_SCOPE;
    const int64_t tokens[5] = {7, 3, 40, 3, 11};
    tn_module *llama = tuned(LORA, TN_F32, lora_f32, 20, 1e-4);
    tn_decoder *parts = tn_adopt(tn_decoder_new(llama)), *plain = tn_adopt(tn_decoder_new(untuned(TN_F32)));
    float logits[VOCAB];
    memcpy(logits, tn_decoder_feed(parts, 0, tokens, 5), sizeof logits);
    assert_memory_not_equal(logits, tn_decoder_feed(plain, 0, tokens, 5), sizeof logits);
    {
        TN_NO_GRAD;
        tn_tensor *whole = tn_select(tn_call(llama, there(tn_from_ints(tokens, TN_SHAPE(5)))), 0, -1);
        assert_true(tn_allclose(there(tn_from_floats(logits, TN_SHAPE(VOCAB))), whole, 1e-5, 1e-5, false));
    }
    assert_int_equal(tn_merge_lora(llama), TN_OK);
    tn_decoder *merged = tn_adopt(tn_decoder_new(llama));
    assert_memory_equal(logits, tn_decoder_feed(merged, 0, tokens, 5), sizeof logits);
    check_good();
}

static void saved_models_have_lora_in_them(void **state)
{
    (void)state;
    without_cjson_skip();
    TN_SCOPE;
    int64_t before[WRITTEN], after[WRITTEN];
    tn_module *llama = tuned(LORA, TN_F32, lora_f32, 20, 1e-4);
    assert_int_equal(tn_llama_save(llama, in_folder("whole.safetensors")), TN_OK);
    assert_true(tn_dict_find(tn_state_dict(llama), "model.layers.0.self_attn.q_proj.lora_A") >= 0);
    tn_module *loaded = tn_adopt(tn_llama_load(in_folder("whole.safetensors")));
    check_good();
    write_greedily(llama, before);
    write_greedily(loaded, after);
    assert_memory_equal(before, after, sizeof before);
}

static void tuned_files_give_the_same_tokens(void **state)
{
    (void)state;
    without_cjson_skip();
    for (way how = 0; how < WAYS; how++) {
        TN_SCOPE;
        int64_t plain[WRITTEN], before[WRITTEN], after[WRITTEN];
        tn_module *llama = tuned(how, TN_F32, losses[how][1], 20, 1e-4), *loaded = untuned(TN_F32);
        const int64_t count = how == HEAD ? 1 : how == LORA ? 8 : tn_list_count(tn_parameters(llama));
        assert_int_equal(tn_llama_save_tuned(llama, in_folder("tuned.safetensors"), .model = "make_finetune.py's"), TN_OK);
        const tn_dict *file = tn_load_safetensors(in_folder("tuned.safetensors"));
        assert_int_equal(tn_dict_count(file), count);
        assert_string_equal(tn_dict_note(file, "model"), "make_finetune.py's");
        assert_string_equal(tn_dict_note(file, "config"), "vocab_size=48, hidden_size=32, intermediate_size=40, heads=4 of 8, key/value heads=2, layers=2");
        assert_true(how == LORA ? strcmp(tn_dict_note(file, "lora_alpha"), "16") == 0 && strcmp(tn_dict_note(file, "lora_rank"), "8") == 0
                                : !tn_dict_note(file, "lora_alpha") && !tn_dict_note(file, "lora_rank"));
        write_greedily(loaded, plain);
        tn_manual_seed(4);
        assert_int_equal(tn_llama_load_tuned(loaded, in_folder("tuned.safetensors")), TN_OK);
        assert_true(tn_get_random_state().offset == 0);
        const tn_dict *ours = tn_named_parameters(llama), *its = tn_named_parameters(loaded);
        for (int64_t i = 0; i < tn_dict_count(ours); i++) {
            assert_true(tn_equal(tn_dict_tensor(ours, i), tn_dict_tensor(its, i)));
            assert_true(tn_requires_grad(tn_dict_tensor(ours, i)) == tn_requires_grad(tn_dict_tensor(its, i)));
        }
        write_greedily(llama, before);
        write_greedily(loaded, after);
        assert_memory_not_equal(plain, after, sizeof plain);
        assert_memory_equal(before, after, sizeof before);
        assert_true(tn_item(loss_of(llama, 3)) == tn_item(loss_of(loaded, 3)));
    }
}

/* A file's decoder with what was tuned of it computes in the file's own type, or in the one that is asked for. */
static void decoders_open_with_tuned_files(void **state)
{
    (void)state;
    without_cjson_skip();
    TN_SCOPE;
    const struct {
        tn_quant file, asked, computed;
    } rows[] = {{TN_QUANT_F32, TN_QUANT_NONE, TN_QUANT_F32}, {TN_QUANT_BF16, TN_QUANT_NONE, TN_QUANT_BF16}, {TN_QUANT_Q8_0, TN_QUANT_NONE, TN_QUANT_Q8_0},
                {TN_QUANT_Q8_0, TN_QUANT_F32, TN_QUANT_F32}};
    const int64_t tokens[5] = {7, 3, 40, 3, 11};
    const tn_device_id on = tn_get_default_device();
    assert_int_equal(tn_llama_save(untuned(TN_F32), in_folder("base.gguf")), TN_OK);
    assert_int_equal(tn_llama_save_tuned(tuned(LORA, TN_F32, lora_f32, 20, 1e-4), in_folder("tuned.safetensors")), TN_OK);
    for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++) {
        float opened[VOCAB];
        assert_int_equal(tn_llama_convert(in_folder("base.gguf"), in_folder("typed.gguf"), .type = rows[i].file), TN_OK);
        tn_decoder *decoder = tn_adopt(tn_decoder_open(in_folder("typed.gguf"), .tuned = in_folder("tuned.safetensors"), .weights = rows[i].asked, .device = &on));
        check_good();
        memcpy(opened, tn_decoder_feed(decoder, 0, tokens, 5), sizeof opened);
        tn_module *llama = tn_adopt(tn_llama_load(in_folder("typed.gguf")));
        tn_decoder *plain = tn_adopt(tn_decoder_new(llama, .weights = rows[i].computed));
        assert_memory_not_equal(opened, tn_decoder_feed(plain, 0, tokens, 5), sizeof opened);
        assert_int_equal(tn_llama_load_tuned(llama, in_folder("tuned.safetensors")), TN_OK);
        tn_decoder *due = tn_adopt(tn_decoder_new(llama, .weights = rows[i].computed));
        assert_memory_equal(opened, tn_decoder_feed(due, 0, tokens, 5), sizeof opened);
    }
    check_fails(tn_decoder_open(in_folder("typed.gguf"), .tuned = in_folder("absent")), TN_ERR_IO, "absent");
    check_fails(tn_decoder_open(in_folder("absent"), .tuned = in_folder("tuned.safetensors")), TN_ERR_IO, "absent");
}

/* What was tuned goes with its own model, in any type, not with another one of its sizes; where all was tuned there is nothing that could be another. */
static void tuned_files_know_their_model(void **state)
{
    (void)state;
    without_cjson_skip();
    for (way how = 0; how < WAYS; how++) {
        TN_SCOPE;
        tn_module *llama = tuned(how, TN_F32, losses[how][1], 20, 1e-4), *same = untuned(TN_F64), *other = untuned(TN_F32), *norm = untuned(TN_F32);
        const tn_list *params = tn_parameters(other);
        for (int64_t k = 0; k < tn_list_count(params); k++)
            if (tn_ndim(tn_list_at(params, k)) > 1)
                fill_matrix(tn_list_at(params, k), (uint32_t)(60 + k));
        fill(tn_parameter(norm, "model.norm.weight"), 1, 0.5, 1.5);
        assert_int_equal(tn_llama_save_tuned(llama, in_folder("tuned.safetensors"), .model = "poet.bin"), TN_OK);
        assert_true((tn_dict_note(tn_load_safetensors(in_folder("tuned.safetensors")), "base") == NULL) == (how == EVERYTHING));
        assert_int_equal(tn_llama_load_tuned(same, in_folder("tuned.safetensors")), TN_OK);
        if (how == EVERYTHING) {
            assert_int_equal(tn_llama_load_tuned(other, in_folder("tuned.safetensors")), TN_OK);
            continue;
        }
        assert_int_equal(tn_llama_load_tuned(norm, in_folder("tuned.safetensors")), TN_OK); /* vectors do not count */
        check_fails(tn_llama_load_tuned(other, in_folder("tuned.safetensors")), TN_ERR_ARGUMENT,
                    "llama_load_tuned: tuned.safetensors another model of the same sizes, poet.bin: differs by %");
    }
}

/* A model with elements that are no numbers is known by the others; one without a number is none that was tuned. */
static void tuned_files_know_models_that_are_not_finite(void **state)
{
    (void)state;
    static const char embedding[] = "model.embed_tokens.weight";
    TN_SCOPE;
    without_cjson_skip();
    tn_module *llama = untuned(TN_F32), *same = untuned(TN_F32), *other = untuned(TN_F32);
    tn_list *params = tn_parameters(other);
    for (int64_t k = 0; k < tn_list_count(params); k++)
        if (tn_ndim(tn_list_at(params, k)) > 1)
            fill_matrix(tn_list_at(params, k), (uint32_t)(60 + k));
    choose(llama, HEAD);
    for (int i = 0; i < 2; i++) { /* saved from a whole model, then from one that is not */
        assert_int_equal(tn_llama_save_tuned(llama, in_folder("tuned.safetensors")), TN_OK);
        assert_non_null(tn_dict_note(tn_load_safetensors(in_folder("tuned.safetensors")), "base"));
        fill_first(tn_parameter(llama, embedding), INFINITY);
        fill_first(tn_parameter(other, embedding), NAN);
        assert_int_equal(tn_llama_load_tuned(same, in_folder("tuned.safetensors")), TN_OK);
        assert_int_equal(tn_llama_load_tuned(llama, in_folder("tuned.safetensors")), TN_OK);
        check_fails(tn_llama_load_tuned(other, in_folder("tuned.safetensors")), TN_ERR_ARGUMENT, "another model of the same sizes: differs by %");
    }
    for (int64_t k = 0; k < tn_list_count(params); k++)
        tn_fill_(tn_detach(tn_list_at(params, k)), NAN);
    check_fails(tn_llama_load_tuned(other, in_folder("tuned.safetensors")), TN_ERR_ARGUMENT, "another model of the same sizes: differs by 100 %");
}

/* A file over a model that has LoRA's parts of another alpha and values: the file's count. */
static void tuned_files_over_tuned_models(void **state)
{
    (void)state;
    without_cjson_skip();
    TN_SCOPE;
    tn_module *llama = untuned(TN_F32), *other = untuned(TN_F32);
    assert_int_equal(tn_add_lora(llama, .rank = 3, .alpha = 5, .targets = "o_proj"), TN_OK);
    assert_int_equal(tn_add_lora(llama, .rank = 2, .alpha = 5, .targets = "up_proj,lm_head"), TN_OK);
    fill_matrix(tn_parameter(llama, "model.layers.1.self_attn.o_proj.lora_B"), 1);
    fill_matrix(tn_parameter(llama, "lm_head.lora_B"), 2);
    tn_freeze(llama, true); /* LoRA's parts are written all the same */
    assert_int_equal(tn_llama_save_tuned(llama, in_folder("tuned.safetensors")), TN_OK);
    assert_null(tn_dict_note(tn_load_safetensors(in_folder("tuned.safetensors")), "lora_rank"));
    assert_int_equal(tn_add_lora(other, .rank = 3, .alpha = 9, .targets = "o_proj"), TN_OK);
    assert_int_equal(tn_llama_load_tuned(other, in_folder("tuned.safetensors")), TN_OK);
    assert_true(tn_equal(tn_call(llama, tn_arange(0, 9)), tn_call(other, tn_arange(0, 9))));
    check_good();
}

/* ---- errors ------------------------------------------------------------------------------------------------------------------ */

static void saving_fails(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_module *llama = untuned(TN_F32);
    check_fails(tn_llama_save_tuned(NULL, "x"), TN_ERR_ARGUMENT, "llama_config NULL");
    check_fails(tn_llama_save_tuned(tn_child(llama, "lm_head"), "x"), TN_ERR_ARGUMENT, "linear is no llama");
    check_fails(tn_llama_save_tuned(llama, NULL), TN_ERR_ARGUMENT, "NULL");
    check_fails(tn_llama_save_tuned(llama, in_folder("none/x")), TN_ERR_IO, "none/x");
    tn_freeze(llama, true);
    check_fails(tn_llama_save_tuned(llama, in_folder("x")), TN_ERR_ARGUMENT, "llama_save_tuned: no parameter of the model requires a gradient");
    assert_int_equal(tn_add_lora(llama, .alpha = 4, .targets = "q_proj"), TN_OK);
    assert_int_equal(tn_add_lora(llama, .alpha = 5, .targets = "k_proj"), TN_OK);
    check_fails(tn_llama_save_tuned(llama, in_folder("x")), TN_ERR_UNSUPPORTED, "alpha is 5 in model.layers.0.self_attn.k_proj and 4");
}

/* A file with a tensor of this name, sizes and notes; rows 0: none. */
typedef struct bad_file {
    const char *name;
    int64_t rows, columns;
    const char *second;
    int64_t second_rows, second_columns;
    const char *note, *text;
    tn_status status;
    const char *message;
} bad_file;
#define Q "model.layers.0.self_attn.q_proj"
#define V "model.layers.0.self_attn.v_proj"

static void loading_fails(void **state)
{
    (void)state;
    without_cjson_skip();
    static const bad_file files[] = {
        {"lm_head.weight", 48, 32, "lm_head.bias", 1, 48, "x", "", TN_ERR_ARGUMENT, "llama_load_tuned: bad.safetensors the model has no parameter \"lm_head.bias\""},
        {"lm_head.weight", 47, 32, NULL, 0, 0, "x", "", TN_ERR_SHAPE, "\"lm_head.weight\" is [48, 32] in the model [47, 32] in the file"},
        {"lm_head.weight", 48, 32, NULL, 0, 0, "config", "layers=3", TN_ERR_ARGUMENT, "for a model with layers=3, and this one has vocab_size=48 layers=2"},
        {Q ".lora_A", 4, 32, Q ".lora_B", 32, 4, "lora_rank", "4", TN_ERR_FORMAT, "no note \"lora_alpha\""},
        {Q ".lora_A", 4, 32, Q ".lora_B", 32, 4, "lora_alpha", "4x", TN_ERR_FORMAT, "no note \"lora_alpha\""},
        {Q ".lora_A", 4, 32, Q ".lora_B", 32, 4, "lora_alpha", "inf", TN_ERR_FORMAT, "no note \"lora_alpha\""},
        {Q ".lora_A", 4, 32, NULL, 0, 0, "lora_alpha", "4", TN_ERR_FORMAT, "q_proj.lora_A\" is there q_proj.lora_B\" is not"},
        {Q ".lora_B", 32, 4, "lm_head.weight", 48, 32, "lora_alpha", "4", TN_ERR_FORMAT, "q_proj.lora_B\" is there q_proj.lora_A\" is not"},
        {Q ".lora_A", 4, 32, Q ".lora_B", 32, 3, "lora_alpha", "4", TN_ERR_SHAPE, "q_proj.lora_A\" is [4, 32] [32, 3] for a weight of [32, 32]"},
        {Q ".lora_A", 4, 31, Q ".lora_B", 32, 4, "lora_alpha", "4", TN_ERR_SHAPE, "q_proj.lora_A\" is [4, 31]"},
        {Q ".lora_A", 0, 32, Q ".lora_B", 32, 0, "lora_alpha", "4", TN_ERR_SHAPE, "q_proj.lora_A\" is [0, 32]"},
        {V ".lora_A", 4, 32, V ".lora_B", 16, 4, "lora_alpha", "4", TN_ERR_SHAPE, "parts of another rank"},
        {"model.norm.lora_A", 4, 32, "model.norm.lora_B", 32, 4, "lora_alpha", "4", TN_ERR_ARGUMENT, "model.norm.lora_A\": rms_norm is no linear layer"},
        {"model.layers.9.lora_A", 4, 32, "model.layers.9.lora_B", 32, 4, "lora_alpha", "4", TN_ERR_ARGUMENT, "no child \"model.layers.9\""},
        {"lm_head.weight", 48, 32, NULL, 0, 0, "base", "1 2 3", TN_ERR_FORMAT, "\"base\" has not 32 numbers"},
        {Q ".lora_A", 4, 32, Q ".lora_B", 32, 4, "lora_alpha", "4", TN_OK, NULL},
    };
    TN_SCOPE;
    tn_module *llama = untuned(TN_F32), *before;
    assert_int_equal(tn_add_lora(llama, .rank = 3, .targets = "v_proj"), TN_OK);
    before = tn_module_clone(llama);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        TN_SCOPE;
        const bad_file *f = &files[i];
        tn_dict *dict = tn_adopt(tn_dict_new());
        assert_int_equal(tn_dict_set(dict, f->name, tn_ones(TN_SHAPE(f->rows, f->columns))), TN_OK);
        if (f->second)
            assert_int_equal(tn_dict_set(dict, f->second, tn_ones(TN_SHAPE(f->second_rows, f->second_columns))), TN_OK);
        assert_int_equal(tn_dict_set_note(dict, f->note, f->text), TN_OK);
        assert_int_equal(tn_save_safetensors(dict, in_folder("bad.safetensors")), TN_OK);
        if (!f->message) {
            assert_int_equal(tn_llama_load_tuned(llama, in_folder("bad.safetensors")), TN_OK);
            continue;
        }
        check_fails(tn_llama_load_tuned(llama, in_folder("bad.safetensors")), f->status, f->message);
        const tn_dict *now = tn_state_dict(llama), *then = tn_state_dict(before);
        assert_int_equal(tn_dict_count(now), tn_dict_count(then));
        for (int64_t k = 0; k < tn_dict_count(now); k++)
            assert_true(tn_equal(tn_dict_tensor(now, k), tn_dict_tensor(then, k)));
    }
    check_fails(tn_llama_load_tuned(llama, in_folder("none")), TN_ERR_IO, "none");
    check_fails(tn_llama_load_tuned(tn_child(llama, "lm_head"), "x"), TN_ERR_ARGUMENT, "linear is no llama");
    check_fails(tn_llama_load_tuned(llama, NULL), TN_ERR_ARGUMENT, "NULL");
}

int main(void)
{
    case_use_device();
    const struct CMUnitTest tests[] = {
        TEST(losses_are_those_of_pytorch), TEST(decoders_take_in_lora), TEST(saved_models_have_lora_in_them), TEST(tuned_files_give_the_same_tokens),
        TEST(decoders_open_with_tuned_files), TEST(tuned_files_know_their_model),
        TEST(tuned_files_know_models_that_are_not_finite), TEST(tuned_files_over_tuned_models), TEST(saving_fails), TEST(loading_fails),
    };
    if (!make_folder("finetune"))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return remove_folder() ? failed : 1;
}
