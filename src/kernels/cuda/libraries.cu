/* Where libraries are looked for. */
#include "kernels/cuda/libraries.h"

#include <cstdio>
#include <cstdlib>

#include <dlfcn.h>

static void *open_in(const char *folder, size_t length, const char *file, char *why, size_t size)
{
    char path[1024];
    const int n = snprintf(path, sizeof path, "%.*s%s%s", (int)length, folder, length ? "/" : "", file);
    if (n < 0 || (size_t)n >= sizeof path)
        return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char *error = library ? NULL : dlerror();
    if (error && !strstr(error, "No such file"))
        snprintf(why, size, "%s", error);
    return library;
}

static void *open_library(const char *file, char *why, size_t size)
{
    void *library = NULL;
    snprintf(why, size, "%s was not found", file);
    for (const char *path = getenv("TENON_CUDA_PATH"); path && *path && !library;) {
        const size_t length = strcspn(path, ":");
        if (length)
            library = open_in(path, length, file, why, size);
        path += length + (path[length] == ':');
    }
#ifndef TN_CUDA_EMULATED /* which the real ones cannot run on */
    static const char toolkit[] = "/usr/local/cuda/lib64";
    library = library ? library : open_in("", 0, file, why, size);
    library = library ? library : open_in(toolkit, sizeof toolkit - 1, file, why, size);
#endif
    return library;
}

bool tn_cuda_open_functions(const char *file, const char *const *names, size_t count, void *functions, char *why, size_t size)
{
    void *library = open_library(file, why, size);
    for (size_t i = 0; i < count && library; i++) {
        void *found = dlsym(library, names[i]);
        if (!found)
            return snprintf(why, size, "%s has no %s", file, names[i]), false;
        memcpy((char *)functions + i * sizeof found, &found, sizeof found);
    }
    return library != NULL;
}
