/* Zip archives read, through libzip: every size is checked against the file before an entry is opened. */
#ifndef TN_ZIP_H
#define TN_ZIP_H

#include "io/file.h"

struct zip;
typedef struct tn_zip {
    const char *op, *path;
    struct zip *zip;
    int64_t count; /* entries */
} tn_zip;

/* Opens the archive of a regular file. False with an error, also where the entries are together larger than the file. */
bool tn_zip_open(tn_zip *z, const char *op, const char *path);
void tn_zip_close(tn_zip *z);
/* The name of entry i, lent by the archive; "" where it has none. */
const char *tn_zip_name(const tn_zip *z, int64_t i);
/* The place of a name, or -1; no error. */
int64_t tn_zip_find(const tn_zip *z, const char *name);
/* Where in the archive's bytes [size] each entry's own begin [count]: -1 of one that is packed, or of an archive over 4 GB. */
void tn_zip_places(const tn_zip *z, const void *bytes, int64_t size, int64_t *places);
/* Entry i as a reader, whose errors name path. Close it before the archive. False with an error. */
bool tn_zip_entry_open(tn_reader *r, const tn_zip *z, int64_t i, const char *path);

#endif
