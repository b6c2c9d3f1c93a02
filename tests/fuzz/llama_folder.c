/* A folder of transformers whose config.json is the input or, where that begins with a blank, its index of shards. seeds: llama/llama3/config.json */
#include "fuzz.h"

#include <string.h>
#include <tenon/io.h>

static char folder[] = "/tmp/tenon-fuzz-XXXXXX";
static const uint8_t *input;
static size_t input_size;

static void write_whole(const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        abort();
}

static void read_back(const char *path)
{
    static const char config[] = "{\"model_type\":\"llama\",\"vocab_size\":4,\"hidden_size\":2,\"intermediate_size\":2,\"num_hidden_layers\":1,"
                                 "\"num_attention_heads\":1,\"tie_word_embeddings\":true}";
    const bool index = input_size > 0 && input[0] == ' ';
    (void)path;
    write_whole("config.json", index ? (const void *)config : input, index ? strlen(config) : input_size);
    if (index)
        write_whole("model.safetensors.index.json", input, input_size);
    tn_module *llama = tn_adopt(tn_llama_load(folder));
    if (llama)
        look_at(tn_call(llama, tn_arange(0, 1)));
    tn_clear_error();
}

/* One shard is a whole model; config.json's own fields may fit it. Without an index the model is model.safetensors. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[128];
    static const char index[] = " {\"weight_map\":{\"model.norm.weight\":\"shard\"}}";
    static const char config[] = "{\"model_type\":\"llama\",\"vocab_size\":4,\"hidden_size\":2,\"intermediate_size\":2,\"num_hidden_layers\":1,"
                                 "\"num_attention_heads\":1,\"tie_word_embeddings\":true,\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],"
                                 "\"long_factor\":[1],\"attention_factor\":1},\"rope_parameters\":null,\"layer_types\":[\"full_attention\"],\"head_dim\":2}";
    TN_SCOPE;
    tn_module *llama = tn_adopt(tn_llama_new(.vocab_size = 4, .hidden_size = 2, .intermediate_size = 2, .num_hidden_layers = 1,
                                             .num_attention_heads = 1, .tie_word_embeddings = true));
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/shard", folder);
    if (tn_save_safetensors(tn_state_dict(llama), path) != TN_OK)
        abort();
    put_seed(*argv, *argc, "index", index, strlen(index));
    put_seed(*argv, *argc, "config", config, strlen(config));
    write_whole("model.safetensors.index.json", index, strlen(index));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = data;
    input_size = size;
    try_bytes(data, 0);
    return 0;
}
