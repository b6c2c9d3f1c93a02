/* A folder of images, one sub-folder a class, as a dataset. */
#include "data/dataset.h"

#include <tenon/image.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

typedef struct texts {
    char **at; /* [capacity], count of them used, each by tn_alloc() */
    int64_t count, capacity;
} texts;

typedef struct folder {
    texts classes, paths;
    int64_t *ends; /* [classes.count] where each class's paths end */
    int channels;
    tn_image_transform transform;
    void *context;
} folder;

/* ---- lists of texts ----------------------------------------------------------------------------------------------------- */

static void texts_free(texts *t)
{
    for (int64_t i = 0; i < t->count; i++)
        tn_free(t->at[i], strlen(t->at[i]) + 1);
    tn_free(t->at, (size_t)t->capacity * sizeof *t->at);
}

/* Adds "folder/name", or "name" where folder is NULL; false with an error. */
static bool texts_add(texts *t, const char *in, const char *name)
{
    if (t->count == t->capacity) {
        int64_t capacity = t->capacity ? 2 * t->capacity : 16;
        char **at = tn_alloc((size_t)capacity * sizeof *at);
        if (!at)
            return false;
        if (t->count)
            memcpy(at, t->at, (size_t)t->count * sizeof *at);
        tn_free(t->at, (size_t)t->capacity * sizeof *at);
        t->at = at;
        t->capacity = capacity;
    }
    size_t size = (in ? strlen(in) + 1 : 0) + strlen(name) + 1;
    char *text = tn_alloc(size);
    if (!text)
        return false;
    snprintf(text, size, "%s%s%s", in ? in : "", in ? "/" : "", name);
    t->at[t->count++] = text;
    return true;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* By folder, then by name: files of a folder come before those of folders in it. */
static int by_folder(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    size_t m = (size_t)(strrchr(x, '/') - x), n = (size_t)(strrchr(y, '/') - y);
    int order = memcmp(x, y, m < n ? m : n);
    return order ? order : m != n ? (m < n ? -1 : 1) : strcmp(x + m, y + n);
}

/* ---- what is in the folder ---------------------------------------------------------------------------------------------- */

static bool is_image(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0);
}

/* The sub-folders and files of a folder, links followed; false with an error. Either list may be NULL. */
static bool list_folder(const char *path, texts *folders, texts *files)
{
    DIR *dir = opendir(path);
    if (!dir) {
        char text[128] = "";
        int number = errno;
        tn_fail(TN_ERR_IO, "image_folder_new: %s: cannot open: %s", path, strerror_r(number, text, sizeof text));
        return false;
    }
    for (struct dirent *entry; !tn_failing() && (entry = readdir(dir));) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || fstatat(dirfd(dir), entry->d_name, &st, 0) != 0)
            continue;
        if (S_ISDIR(st.st_mode) && folders)
            texts_add(folders, files ? path : NULL, entry->d_name);
        else if (S_ISREG(st.st_mode) && files && is_image(entry->d_name))
            texts_add(files, path, entry->d_name);
    }
    closedir(dir);
    return !tn_failing();
}

/* The images of a folder and of those below it. */
static bool find_images(const char *path, int depth, texts *files)
{
    enum { MOST_DEPTH = 64 };
    texts folders = {0};
    if (depth > MOST_DEPTH)
        tn_fail(TN_ERR_IO, "image_folder_new: %s: folders go deeper than %d: a link to a folder above itself?", path, MOST_DEPTH);
    bool found = !tn_failing() && list_folder(path, &folders, files);
    for (int64_t i = 0; found && i < folders.count; i++)
        found = find_images(folders.at[i], depth + 1, files);
    texts_free(&folders);
    return found;
}

static bool find_class(folder *f, const char *root, int64_t k)
{
    texts path = {0};
    int64_t start = f->paths.count;
    if (texts_add(&path, root, f->classes.at[k]) && find_images(path.at[0], 0, &f->paths)) {
        if (f->paths.count == start)
            tn_fail(TN_ERR_IO, "image_folder_new: %s has no file that ends in .png, .jpg or .jpeg", path.at[0]);
        else
            qsort(f->paths.at + start, (size_t)(f->paths.count - start), sizeof *f->paths.at, by_folder);
    }
    texts_free(&path);
    f->ends[k] = f->paths.count;
    return !tn_failing();
}

static bool find_all(folder *f, const char *root)
{
    if (!list_folder(root, &f->classes, NULL))
        return false;
    if (f->classes.count == 0) {
        tn_fail(TN_ERR_IO, "image_folder_new: %s has no folder in it: there is to be one for each class", root);
        return false;
    }
    qsort(f->classes.at, (size_t)f->classes.count, sizeof *f->classes.at, by_bytes);
    f->ends = tn_alloc((size_t)f->classes.count * sizeof *f->ends);
    for (int64_t k = 0; f->ends && k < f->classes.count; k++)
        if (!find_class(f, root, k))
            return false;
    return f->ends != NULL;
}

/* ---- the dataset -------------------------------------------------------------------------------------------------------- */

static void folder_free(void *self)
{
    folder *f = self;
    tn_free(f->ends, (size_t)f->classes.count * sizeof *f->ends);
    texts_free(&f->paths);
    texts_free(&f->classes);
    tn_free(f, sizeof *f);
}

static int64_t folder_length(void *self) { return ((folder *)self)->paths.count; }

static tn_status folder_get(void *self, int64_t i, tn_tensor **x, tn_tensor **y)
{
    const folder *f = self;
    int64_t k = 0;
    while (f->ends[k] <= i)
        k++;
    tn_load_image_args args = {.size = sizeof args, .channels = f->channels, .path = f->paths.at[i]};
    *x = tn_load_image_with(&args);
    if (*x && f->transform) {
        *x = f->transform(*x, f->context);
        if (!*x)
            tn_fail(TN_ERR_STATE, "image_folder: the transform failed and raised no error (tn_fail)");
        tn_fail_within("%s", f->paths.at[i]);
    }
    *y = tn_failing() ? NULL : tn_new("image_folder", TN_SCALAR, TN_I64, (tn_device_id){TN_CPU, 0});
    if (*y)
        *(int64_t *)(void *)tn_ptr(*y) = k;
    return tn_last_status();
}
static const tn_dataset_class folder_class = {folder_length, folder_get, folder_free};

tn_dataset *tn_image_folder_new_with(const tn_image_folder_args *args)
{
    TN_KNOWN(tn_image_folder_args, args);
    if (tn_failing())
        return NULL;
    if (!args->folder)
        return tn_fail(TN_ERR_ARGUMENT, "image_folder_new: folder is NULL");
    folder *f = tn_alloc_zero(sizeof *f);
    if (!f)
        return NULL;
    f->channels = args->channels;
    f->transform = args->transform;
    f->context = args->context;
    if (find_all(f, args->folder))
        return tn_dataset_new(&folder_class, f);
    folder_free(f);
    return NULL;
}

static const folder *folder_of(const char *op, const tn_dataset *dataset)
{
    if (!tn_failing() && (!dataset || dataset->cls != &folder_class))
        tn_fail(TN_ERR_ARGUMENT, "%s: the dataset is %s", op, dataset ? "no image folder" : "NULL");
    return tn_failing() ? NULL : dataset->self;
}

int64_t tn_image_folder_class_count(const tn_dataset *dataset)
{
    const folder *f = folder_of("image_folder_class_count", dataset);
    return f ? f->classes.count : -1;
}

static const char *text_at(const char *op, const texts *t, int64_t i)
{
    if (i < 0 || i >= t->count)
        return tn_fail(TN_ERR_INDEX, "%s: %lld of %lld", op, (long long)i, (long long)t->count);
    return t->at[i];
}

const char *tn_image_folder_class(const tn_dataset *dataset, int64_t i)
{
    const folder *f = folder_of("image_folder_class", dataset);
    return f ? text_at("image_folder_class", &f->classes, i) : NULL;
}

const char *tn_image_folder_path(const tn_dataset *dataset, int64_t i)
{
    const folder *f = folder_of("image_folder_path", dataset);
    return f ? text_at("image_folder_path", &f->paths, i) : NULL;
}
