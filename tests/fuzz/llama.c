/* A file that is a Llama or none, told by its first bytes: llama2.c's checkpoints, GGUF, safetensors, zips. seeds: llama/?*.bin llama/?*.gguf llama/pt/?*.pt */
#include "fuzz.h"

static void read_back(const char *path)
{
    static char text[1 << 16];
    (void)tn_llama_inspect(path, text, sizeof text);
    tn_clear_error();
    tn_module *llama = tn_adopt(tn_llama_load(path));
    if (!llama || tn_num_parameters(llama) > 1 << 20)
        return;
    look_at(tn_call(llama, tn_arange(0, 1)));
    tn_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    return 0;
}
