/* What belongs to a model beside its weights: files in its folder, texts in a GGUF file. */
#ifndef TN_MODELS_BESIDE_H
#define TN_MODELS_BESIDE_H

#include <tenon/gguf.h>

#include "core/core.h"
#include "text/text.h"

enum { TN_PATH_SIZE = 4096 };

/* The folder that a model's path is, or lies in, closed by a slash ("" of a name alone); false, with an error, where there is no such path. */
bool tn_model_folder(const char *op, const char *path, char folder[TN_PATH_SIZE]);
/* The path of a file in that folder; false, without an error, where there is none. */
bool tn_model_beside(const char *folder, const char *name, char path[TN_PATH_SIZE]);
/* The file of a tokeniser that lies beside the model; false, with an error or without one where there is none. */
bool tn_model_tokenizer(const char *op, const char *path, char file[TN_PATH_SIZE]);
/* The model's chat template in Jinja, tn_alloc()'s of *size, and the file that it is of; NULL with an error, or without one where there is none. */
char *tn_model_jinja(const char *op, const char *path, char file[TN_PATH_SIZE], size_t *size);
/* The ids that end a text by the GGUF file, or else the generation_config.json or the config.json beside the model; how many, 0 where they tell of
 * none or on error. */
int tn_model_ends(const char *op, const char *path, int64_t ends[TN_ENDS_MOST]);
/* Whether the path is a folder or a GGUF file, which may have a tokeniser; false of another, with an error where that is a file that cannot be read. */
bool tn_model_is(const char *op, const char *path);
/* The model mapped, the scope's, where it is a GGUF file; NULL of another, with an error where that is a file that cannot be read. */
tn_gguf *tn_model_gguf(const char *op, const char *path);
/* All of a file [*size] and a closing 0, tn_alloc()'s of *size + 1; NULL with an error. */
char *tn_model_text(const char *op, const char *path, size_t *size);

#endif
