/* Programs whose locale has another decimal point: files and texts have the point that they have elsewhere, and are read by it. */
#include "decimal_point.h"

#include <sys/stat.h>

static const char *contents(const char *name)
{
    static unsigned char text[4096];
    text[read_file(in_folder(name), text, sizeof text - 1)] = 0;
    return (const char *)text;
}

static void check_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in: %s", part, text);
}

static void test_printing(void **state)
{
    (void)state;
    char text[64];
    TN_SCOPE;
    tn_format(tn_from_floats((float[]){0.5f, 1.25f}, TN_SHAPE(2)), text, sizeof text);
    assert_string_equal(text, "[0.5000, 1.2500]");
    assert_true(strtod("0.5", NULL) == 0); /* the program's own numbers stay as it wants them */
}

static void test_tables(void **state)
{
    (void)state;
    TN_SCOPE;
    write_text("x.csv", "0.5,2.5e-1\n");
    check_values(tn_table_numbers(tn_load_table(in_folder("x.csv"), .header = false), 0, .columns = 2), 0, 0.5, 0.25);
}

static void test_plots(void **state)
{
    (void)state;
    char before[1024];
    snprintf(before, sizeof before, "%s", getenv("PATH"));
    write_text("gnuplot", "#!/bin/sh\nread first && exec /bin/cat > \"${0%/*}/script\"\n"); /* without the picture, so that saving fails */
    assert_int_equal(chmod(in_folder("gnuplot"), 0700), 0);
    setenv("PATH", folder, 1);
    tn_plot *plot = tn_plot_new(in_folder("x.svg"));
    tn_check(tn_plot_point(plot, "loss", 1.5, 0.25));
    assert_int_equal(tn_plot_save(plot), TN_ERR_IO);
    tn_clear_error();
    setenv("PATH", before, 1);
    assert_string_equal(contents("x.csv"), "x,loss\n1.5,0.25\n");
    check_has(contents("script"), "\n1.5 0.25 ");
    tn_release(plot);
}

static tn_module *llama_new(void)
{
    tn_manual_seed(1);
    return tn_adopt(tn_llama_new(.vocab_size = 16, .hidden_size = 32, .intermediate_size = 32, .num_hidden_layers = 1, .num_attention_heads = 2,
                                 .num_key_value_heads = 2, .rms_norm_eps = 1e-5, .rope_factor = 2.5));
}

static void test_llamas(void **state)
{
    (void)state;
    static const char *const files[] = {"x.gguf", "llama"};
    TN_SCOPE;
    without_cjson_skip();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tn_llama_save(llama_new(), in_folder(files[i])), TN_OK);
        const tn_llama_args *c = tn_llama_config(tn_adopt(tn_llama_load(in_folder(files[i]))));
        check_good();
        assert_true(c->rms_norm_eps == 1e-5 && c->rope_factor == 2.5);
    }
    check_has(contents("llama/config.json"), "\"rms_norm_eps\": 1.0000000000000001e-05,");
    check_has(contents("llama/config.json"), "\"initializer_range\": 0.02");
}

static void test_tuned_files(void **state)
{
    (void)state;
    TN_SCOPE;
    without_cjson_skip();
    tn_module *tuned = llama_new(), *other = llama_new();
    assert_int_equal(tn_add_lora(tuned, .rank = 2, .alpha = 2.5, .targets = "q_proj"), TN_OK);
    assert_int_equal(tn_llama_save_tuned(tuned, in_folder("tuned")), TN_OK);
    assert_string_equal(tn_dict_note(tn_load_safetensors(in_folder("tuned")), "lora_alpha"), "2.5");
    if (tn_llama_load_tuned(other, in_folder("tuned")) != TN_OK)
        fail_msg("%s", tn_last_error());
}

int main(void)
{
    static const char *const points[] = {",", "\xd9\xab"};
    const struct CMUnitTest tests[] = {TEST(test_printing), TEST(test_tables), TEST(test_plots), TEST(test_llamas), TEST(test_tuned_files)};
    int failed = 0, skipped = 0;
    if (!make_folder("locale"))
        return 1;
    for (int i = 0; i < 2; i++)
        if (set_decimal_point(points[i]))
            failed += cmocka_run_group_tests_name(i ? "a point of two bytes" : "a comma", tests, NULL, NULL);
        else
            skipped++;
    failed += !remove_folder();
    return failed ? failed : skipped ? 77 : 0;
}
