/* Tenon: files. Named tensors (tn_dict), safetensors, NumPy's NPY and NPZ, PyTorch's .pt, IDX.
 *
 * A loader checks every size in a file against the file before it allocates for it: a file that is cut, damaged or hostile ends in an
 * error that says where. A writer makes the new file beside the old one and renames it: a reader sees the one or the other, whole. What a kill
 * left of a new file, path.tenon0.part, the next save to that path removes. */
#ifndef TENON_IO_H
#define TENON_IO_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- named tensors ------------------------------------------------------------------------------------------------------ */

/* An ordered map of names to tensors, a state_dict, with notes (text for text) beside it. Order is that of the first setting.
 * Setting and asking work while an error sticks, so that a program can still save what it has. */
typedef struct tn_dict tn_dict;
TN_API tn_dict *tn_dict_new(void);
/* Shares the tensor under a name (copied), in the place of the one that had it. name is UTF-8; NULL for either is TN_ERR_ARGUMENT. */
TN_API tn_status tn_dict_set(tn_dict *dict, const char *name, tn_tensor *tensor);
/* The tensor of that name, lent by the dict; NULL and TN_ERR_INDEX when there is none. */
TN_API tn_tensor *tn_dict_get(const tn_dict *dict, const char *name);
/* The place of a name, or -1; no error. */
TN_API int64_t tn_dict_find(const tn_dict *dict, const char *name);
TN_API int64_t tn_dict_count(const tn_dict *dict); /* 0 for NULL */
/* What stands at place i; NULL and TN_ERR_INDEX outside 0 ... count-1. Lent by the dict. */
TN_API const char *tn_dict_name(const tn_dict *dict, int64_t i);
TN_API tn_tensor *tn_dict_tensor(const tn_dict *dict, int64_t i);
/* The tensors and notes whose names begin with prefix, under what follows it; the dict is the scope's: "fc.weight" of tn_dict_part(dict,
 * "model."). Empty where there are none; NULL for either is TN_ERR_ARGUMENT. */
TN_API tn_dict *tn_dict_part(const tn_dict *dict, const char *prefix);
/* Notes: __metadata__ of a safetensors file ("format" is "pt" in PyTorch's). */
TN_API tn_status tn_dict_set_note(tn_dict *dict, const char *key, const char *text);
TN_API const char *tn_dict_note(const tn_dict *dict, const char *key); /* NULL where there is none; no error */
TN_API int64_t tn_dict_note_count(const tn_dict *dict);
TN_API const char *tn_dict_note_key(const tn_dict *dict, int64_t i); /* NULL and TN_ERR_INDEX outside 0 ... count-1 */

/* ---- safetensors (https://huggingface.co/docs/safetensors) --------------------------------------------------------------- */

/* Writes all tensors and notes: the header in the dict's order, the data widest dtype first (each tensor aligned to its elements).
 * TN_ERR_IO names the file and the system's reason, and the file that was there stays as it was. Works while an error sticks. */
TN_API tn_status tn_save_safetensors(const tn_dict *dict, const char *path) TN_MUST_CHECK;
/* The tensors of a file, in its header's order, on the CPU. TN_ERR_FORMAT on a file that breaks a rule of the format (header length, JSON,
 * names twice, dtype and shape against offsets, holes, overlaps, bytes too few or too many), TN_ERR_UNSUPPORTED on a dtype that Tenon
 * has not, on more than 8 dimensions, and in a build without cJSON. */
TN_API tn_dict *tn_load_safetensors(const char *path);

/* The same without a copy: the tensors lie over a private mapping of the file, which goes with the last of them. Pages are read when they
 * are first used; writing to a tensor does not change the file, and unlinking or renaming the file changes no tensor. As long as they
 * live nobody may cut the file or write into it. What is not aligned in the file is copied. */
TN_API tn_dict *tn_map_safetensors(const char *path);

/* ---- NumPy (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html) ---------------------------------------- */

/* The array of an NPY file, versions 1 to 3, of either byte order: f16 to f64, i8 to i64, u8 and bool, up to 8 dimensions; others are
 * TN_ERR_UNSUPPORTED, a file that is not just one array TN_ERR_FORMAT. One in Fortran's order has its strides. */
TN_API tn_tensor *tn_load_npy(const char *path);
/* The same without a copy; see tn_map_safetensors(). Bytes in the other order are turned in memory. */
TN_API tn_tensor *tn_map_npy(const char *path);
/* Writes one, version 1, row-major. bf16, which NumPy has not, is TN_ERR_UNSUPPORTED. Works while an error sticks. */
TN_API tn_status tn_save_npy(const tn_tensor *x, const char *path) TN_MUST_CHECK;
/* The arrays of an NPZ file (numpy.savez, numpy.savez_compressed) in its order, by their names; each one's CRC is checked. In a build
 * without libzip, as all that is a zip, TN_ERR_UNSUPPORTED. */
TN_API tn_dict *tn_load_npz(const char *path);
/* tn_save_npz(dict, path, .compress = true): writes all tensors, not the notes. Errors and ways as tn_save_npy() and
 * tn_save_safetensors(); an empty dict is TN_ERR_ARGUMENT (libzip writes no empty archive). */
#define TN_NPZ_OPTIONS(X) X(bool, compress, false)
typedef struct tn_npz_args {
    size_t size TN_SIZE_(tn_npz_args);
    TN_NPZ_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_dict *dict TN_ZERO_;
    const char *path TN_ZERO_;
} tn_npz_args;
TN_API tn_status tn_save_npz_with(const tn_npz_args *args) TN_MUST_CHECK;

/* ---- PyTorch (https://pytorch.org/docs/stable/notes/serialization.html) ---------------------------------------------------- */

/* What torch.save() wrote (1.6 and later): the tensors, by their paths through dicts, lists and tuples: "model.fc.weight",
 * "optimizer.state.0.exp_avg". A number or a bool is a tensor of rank 0 (i64, f64, bool), a list of only ints or only floats one of rank 1,
 * a text a note; None is left out; a tensor alone has the name "tensor". Strides and storage shared between tensors stay.
 * The pickle in the file is not run: what rebuilds tensors is understood, and any other name that it calls is
 * TN_ERR_UNSUPPORTED, "posix.system is refused: only tensors are read". Load it in PyTorch and save its state_dict() then. */
TN_API tn_dict *tn_load_pt(const char *path);

/* ---- IDX (http://yann.lecun.com/exdb/mnist) ------------------------------------------------------------------------------ */

/* The array of an IDX file, plain or gzip-ed (told by its first bytes): u8, i8, i16, i32, f32 or f64, up to 8 dimensions. Checks the
 * length exactly and gzip's checksum. In a build without zlib a gzip-ed file is TN_ERR_UNSUPPORTED. */
TN_API tn_tensor *tn_load_idx(const char *path);

#ifdef __cplusplus
}
#endif

#endif
