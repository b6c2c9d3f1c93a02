/* IDX, plain and gzip-ed. */
#include "fuzz.h"

static void read_back(const char *path)
{
    look_at(tn_load_idx(path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    return 0;
}
