/* safetensors, read and mapped. seeds: torch.safetensors */
#include "fuzz.h"

static void read_back(const char *path)
{
    look_at_all(tn_load_safetensors(path));
    tn_clear_error();
    look_at_all(tn_map_safetensors(path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    return 0;
}
