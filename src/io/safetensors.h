/* What reading and writing safetensors share: the dtypes' names, and which text is UTF-8. */
#ifndef TN_SAFETENSORS_H
#define TN_SAFETENSORS_H

#include "io/file.h"

enum { TN_SAFETENSORS_HEADER_MAX = 100000000 };
/* "F32" of TN_F32 and back; TN_DTYPE_DEFAULT for a name that Tenon has no dtype for. */
const char *tn_safetensors_name(tn_dtype dtype);
tn_dtype tn_safetensors_dtype(const char *name);
bool tn_is_utf8(const char *text, size_t length);

#endif
