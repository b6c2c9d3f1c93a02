/* NumPy's format of one array (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), by itself or in an npz. */
#ifndef TN_NPY_H
#define TN_NPY_H

#include "io/file.h"

/* The array that r holds to its end, read; the scope's. */
tn_tensor *tn_npy_read(tn_reader *r);
/* The same over the mapping where that holds r's bytes from `at` on, if they are f32 or f16 as they lie, by tn_mapping_over(). They are read too, for
 * their checksum. */
tn_tensor *tn_npy_map(tn_reader *r, tn_mapping *mapping, int64_t at);
/* The header of x's file and its length; 0 with an error for a dtype that NumPy has not. */
enum { TN_NPY_HEADER_SIZE = 384 };
size_t tn_npy_header(const char *op, const tn_tensor *x, char out[TN_NPY_HEADER_SIZE]);
/* What writing asks of a tensor: that it is one, and on the CPU. False with an error. */
bool tn_npy_writable(const char *op, const char *name, const tn_tensor *x);

#endif
