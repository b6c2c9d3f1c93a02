/* PyTorch's files: bytes that begin as a zip are one, and others are the pickle in one whose checksums hold.
 * seeds: files/?*.pt files/?*.pkl */
#include "fuzz.h"
#include "zip_by_hand.h"

static void read_back(const char *path) { look_at_all(tn_load_pt(path)); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const float numbers[2] = {1, 2};
    if (size > 2 && memcmp(data, "PK", 2) == 0)
        try_bytes(data, size);
    else if (size < ZIP_SIZE / 2)
        try_bytes(zip_bytes, zip_by_hand(2, (const char *const[]){"a/data.pkl", "a/data/0"}, (const void *const[]){data, numbers},
                                         (const size_t[]){size, sizeof numbers}));
    return 0;
}
