/* JPEG. */
#include "fuzz.h"
#include "reference/images.h"

static int channels; /* 0, 1, 3 or 4, by the input's size */

static void read_back(const char *path) { look_at(tn_load_image(path, .channels = channels)); }

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (size_t i = 0; i < sizeof image_files / sizeof *image_files; i++)
        if (image_files[i].file[0] == 0xff)
            put_seed(*argv, *argc, image_files[i].name, image_files[i].file, image_files[i].size);
    put_seed(*argv, *argc, "cmyk", cmyk_file, sizeof cmyk_file);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    channels = (int[]){0, 1, 3, 4}[size % 4];
    try_bytes(data, size);
    return 0;
}
