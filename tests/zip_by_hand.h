/* Zip archives made without a library, so that what is in them may be anything and their checksums still hold. */
#ifndef TN_TEST_ZIP_BY_HAND_H
#define TN_TEST_ZIP_BY_HAND_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t crc32_of(const unsigned char *data, size_t size)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

enum { ZIP_SIZE = 1 << 17 };
static unsigned char zip_bytes[ZIP_SIZE];
typedef struct zip_part {
    unsigned char *data;
    size_t size;
} zip_part;
static inline void put_number(zip_part *z, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        z->data[z->size++] = (unsigned char)(value >> 8 * i);
}

/* A stored zip of these entries, which are small, in zip_bytes; gives its size. */
static inline size_t zip_by_hand(int count, const char *const *names, const void *const *data, const size_t *sizes)
{
    static unsigned char behind[1024];
    zip_part z = {zip_bytes, 0}, directory = {behind, 0};
    for (int i = 0; i < count; i++) {
        uint32_t at = (uint32_t)z.size;
        for (int k = 0; k < 2; k++) {
            zip_part *to = k ? &directory : &z;
            put_number(to, k ? 0x02014b50 : 0x04034b50, 4);
            if (k)
                put_number(to, 20, 2);
            put_number(to, 20, 2);
            put_number(to, 0, 4);
            put_number(to, 0x210000, 4); /* the time and the first day of 1980 */
            put_number(to, crc32_of(data[i], sizes[i]), 4);
            put_number(to, (uint32_t)sizes[i], 4);
            put_number(to, (uint32_t)sizes[i], 4);
            put_number(to, (uint32_t)strlen(names[i]), 2);
            put_number(to, 0, 2);
            if (k) {
                put_number(to, 0, 4);
                put_number(to, 0, 4);
                put_number(to, 0, 2);
                put_number(to, at, 4);
            }
            memcpy(to->data + to->size, names[i], strlen(names[i]));
            to->size += strlen(names[i]);
        }
        memcpy(z.data + z.size, data[i], sizes[i]);
        z.size += sizes[i];
    }
    uint32_t begin = (uint32_t)z.size;
    memcpy(z.data + z.size, directory.data, directory.size);
    z.size += directory.size;
    put_number(&z, 0x06054b50, 4);
    put_number(&z, 0, 4);
    put_number(&z, (uint32_t)count, 2);
    put_number(&z, (uint32_t)count, 2);
    put_number(&z, (uint32_t)directory.size, 4);
    put_number(&z, begin, 4);
    put_number(&z, 0, 2);
    return z.size;
}

#endif
