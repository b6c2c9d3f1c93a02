/* IDX, plain and gzip-ed. */
#include "fuzz.h"

static void read_back(const char *path)
{
    look_at(tn_load_idx(path));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t plain[] = {0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 1, 2, 3, 4, 5}, /* u8 [2, 3] */
        gzip[] = {31, 139, 8,  0,   0,  0, 0,  0,   2,  3,  99, 96, 224, 96, 98, 96, 96, 0, /* the same */
                  97, 102, 6, 70, 38, 102, 22, 86, 0,  38, 44, 35, 84,  18, 0,  0,  0};
    put_seed(*argv, *argc, "plain", plain, sizeof plain);
    put_seed(*argv, *argc, "gzip", gzip, sizeof gzip);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    return 0;
}
