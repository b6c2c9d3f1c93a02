/* PNG: the bytes as they are, and with checksums that hold, without which few changes get past libpng's first look. */
#include "fuzz.h"
#include "reference/images.h"
#include "zip_by_hand.h"

static int channels; /* 0, 1, 3 or 4, by the input's size */

static void read_back(const char *path) { look_at(tn_load_image(path, .channels = channels)); }

/* Each chunk is its length, a name and data of that length, and a checksum of both; numbers are big-endian. */
static void mend_checksums(uint8_t *file, size_t size)
{
    for (size_t at = 8, length; size - at >= 12; at += 12 + length) {
        length = (size_t)file[at] << 24 | (size_t)file[at + 1] << 16 | (size_t)file[at + 2] << 8 | file[at + 3];
        if (length > size - at - 12)
            return;
        uint32_t crc = crc32_of(file + at + 4, length + 4);
        for (int i = 0; i < 4; i++)
            file[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (size_t i = 0; i < sizeof image_files / sizeof *image_files; i++)
        if (image_files[i].file[0] == 0x89)
            put_seed(*argv, *argc, image_files[i].name, image_files[i].file, image_files[i].size);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t mended[1 << 16];
    if (size < 8 || size > sizeof mended)
        return -1;
    channels = (int[]){0, 1, 3, 4}[size % 4];
    try_bytes(data, size);
    memcpy(mended, data, size);
    mend_checksums(mended, size);
    try_bytes(mended, size);
    return 0;
}
