/* NPY, read and mapped. seeds: files/?*.npy */
#include "fuzz.h"

static void read_back(const char *path)
{
    look_at(tn_load_npy(path));
    tn_clear_error();
    look_at(tn_map_npy(path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    return 0;
}
