/* NPZ. seeds: files/?*.npz */
#include "fuzz.h"

static void read_back(const char *path)
{
    look_at_all(tn_load_npz(path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    return 0;
}
