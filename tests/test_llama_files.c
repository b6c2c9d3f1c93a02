/* labels: quick */
/* Files of Llama weights: what PyTorch computes with the models of tests/reference/llama, every format cut and changed, and formats into formats. */
#include "folder.h"

#include "models/weights.h"

#include <stdio.h>
#include <sys/stat.h>

#define MODELS TN_SOURCE_DIR "/tests/reference/llama/"

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static const char *const models[] = {"v0.bin", "v0_tied.bin", "v1.bin", "v1_tied.bin", "v2.bin", "v2_tied.bin", "npz/model.npz", "llama3",
                                     "linear", "mistral", "qwen2", "qwen2_window", "qwen3", "llama3.gguf", "llama_bias.gguf", "qwen2.gguf", "qwen3.gguf"};

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_logits_are_those_of_pytorch),
    };
    if (!make_folder("llama-files"))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return remove_folder() ? failed : 1;
}
