/* PNG: bytes that begin as one, as they are and with checksums that hold, without which few changes get past libpng's first look; other bytes
 * are what a PNG is made of here: header, palette, transparency and pixels. */
#include "fuzz.h"
#include "reference/images.h"
#include "zip_by_hand.h"

static int channels; /* 0, 1, 3 or 4, by the input's size */

static void read_back(const char *path) { look_at(tn_load_image(path, .channels = channels)); }

static uint8_t file[1 << 16];
static size_t used;
static void put(const void *data, size_t n)
{
    memcpy(file + used, data, n);
    used += n;
}
static void put_big(uint32_t value) { put((uint8_t[]){(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value}, 4); }

/* A chunk is its length, a name and data of that length, and a checksum of both; numbers are big-endian. */
static void put_chunk(const char *name, const void *data, size_t n)
{
    put_big((uint32_t)n);
    put(name, 4);
    put(data, n);
    put_big(crc32_of(file + used - n - 4, n + 4));
}

static void mend_checksums(const uint8_t *data, size_t size)
{
    used = 0;
    put(data, 8);
    for (size_t at = 8, n; size - at >= 12; at += 12 + n) {
        n = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
        if (n > size - at - 12)
            return;
        put_chunk((const char *)data + at + 4, data + at + 8, n);
    }
}

/* The bytes of all rows, each after its filter's, of the passes that there are: as many as a header asks for. */
static size_t make_rows(uint8_t *rows, const uint8_t *pixels, size_t count, const uint8_t *head)
{
    static const uint8_t begin_x[] = {0, 4, 0, 2, 0, 1, 0}, begin_y[] = {0, 0, 4, 0, 2, 0, 1}, step_x[] = {8, 8, 4, 4, 2, 2, 1},
                         step_y[] = {8, 8, 8, 4, 4, 2, 2}, samples[] = {1, 0, 3, 1, 2, 0, 4};
    const size_t w = head[3], h = head[7], bits = (size_t)head[8] * samples[head[9]];
    size_t n = 0, taken = 0;
    for (int pass = head[12] ? 0 : 6; pass < 7; pass++) {
        const size_t x0 = head[12] ? begin_x[pass] : 0, y0 = head[12] ? begin_y[pass] : 0, dx = step_x[pass], dy = head[12] ? step_y[pass] : 1;
        const size_t wide = w > x0 ? (w - x0 + dx - 1) / dx : 0;
        for (size_t y = y0; wide && y < h; y += dy)
            for (size_t i = 0; i <= (wide * bits + 7) / 8; i++, taken++)
                rows[n++] = i ? pixels[taken % count] : pixels[taken % count] % 5;
    }
    return n;
}

/* data: width, height, depth, colour, interlacing, how many colours and how many transparent values, these, and pixels, over and over. */
static void make_png(const uint8_t *data, size_t size)
{
    static uint8_t packed[1 << 15];
    const uint8_t depth = (uint8_t)(1 << data[2] % 5), colour = (uint8_t[]){0, 2, 3, 4, 6}[data[3] % 5];
    const uint8_t head[13] = {[3] = data[0] % 40, [7] = data[1] % 40, [8] = depth, [9] = colour, [12] = data[4] & 1};
    const size_t colours = data[5] * 3u, clear = data[6];
    if (size < 8 + colours + clear)
        return;
    used = 0;
    put("\x89PNG\r\n\x1a\n", 8);
    put_chunk("IHDR", head, sizeof head);
    if (colours)
        put_chunk("PLTE", data + 7, colours);
    if (clear)
        put_chunk("tRNS", data + 7 + colours, clear);
    const size_t n = make_rows(packed + 7, data + 7 + colours + clear, size - 7 - colours - clear, head);
    uint32_t a = 1, b = 0; /* a zlib stream of one stored block, and Adler's sum */
    for (size_t i = 0; i < n; i++) {
        a = (a + packed[7 + i]) % 65521;
        b = (b + a) % 65521;
    }
    memcpy(packed, (uint8_t[]){0x78, 1, 1, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n, (uint8_t)(~n >> 8)}, 7);
    memcpy(packed + 7 + n, (uint8_t[]){(uint8_t)(b >> 8), (uint8_t)b, (uint8_t)(a >> 8), (uint8_t)a}, 4);
    put_chunk("IDAT", packed, n + 11);
    put_chunk("IEND", "", 0);
    try_bytes(file, used);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (size_t i = 0; i < sizeof image_files / sizeof *image_files; i++)
        if (image_files[i].file[0] == 0x89)
            put_seed(*argv, *argc, image_files[i].name, image_files[i].file, image_files[i].size);
    for (uint8_t i = 0; i < 50; i++) {
        const uint8_t parts[16] = {9, 6, i, i / 5 % 5, i / 25, i / 5 % 5 == 2 ? 2 : 0, i / 5 % 5 == 2 ? 1 : 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xff};
        char name[16];
        snprintf(name, sizeof name, "parts%d", i);
        put_seed(*argv, *argc, name, parts, sizeof parts);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8 || size > sizeof file / 2)
        return -1;
    channels = (int[]){0, 1, 3, 4}[size % 4];
    if (memcmp(data, "\x89PNG", 4) != 0) {
        make_png(data, size);
        return 0;
    }
    try_bytes(data, size);
    mend_checksums(data, size);
    try_bytes(file, used);
    return 0;
}
