/* What reading, writing and listing safetensors share. */
#ifndef TN_SAFETENSORS_H
#define TN_SAFETENSORS_H

#include "io/file.h"

enum { TN_SAFETENSORS_HEADER_MAX = 100000000 };
/* What listing a file tells of it: the notes, then the tensors in the header's order, also of dtypes that Tenon has not. */
typedef struct tn_safetensors_lister {
    void (*note)(void *context, const char *key, const char *text);
    void (*tensor)(void *context, const char *name, const char *dtype, tn_shape shape, int64_t bytes);
    void *context;
} tn_safetensors_lister;
/* Checks the header as tn_map_safetensors() does, and reads no data. False with an error, and nothing told. */
bool tn_list_safetensors(const char *op, const char *path, const tn_safetensors_lister *lister);
/* "F32" of TN_F32 and back; TN_DTYPE_DEFAULT for a name that Tenon has no dtype for. */
const char *tn_safetensors_name(tn_dtype dtype);
tn_dtype tn_safetensors_dtype(const char *name);

#endif
