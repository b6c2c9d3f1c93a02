/* What every fuzzer does with its bytes: a file of them is read, and whatever comes of it, nothing is left behind. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tenon/tenon.h>

static void read_back(const char *path); /* the reader, on a file */

static inline void try_bytes(const void *data, size_t size)
{
    int fd = memfd_create("fuzz", 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    tn_memory_set_limit(1 << 30);
    int64_t live = tn_live_objects();
    {
        TN_SCOPE;
        read_back(path);
        if (tn_last_status() != TN_OK && (!tn_last_error() || !*tn_last_error()))
            abort();
        tn_clear_error();
    }
    if (tn_live_objects() != live)
        abort();
    close(fd);
}

/* What a reader gave is used: each element is looked at. */
static inline void look_at(const tn_tensor *x)
{
    if (x && tn_numel(x) < 1 << 20)
        (void)!tn_equal(x, x);
}
static inline void look_at_all(const tn_dict *dict)
{
    for (int64_t i = 0; i < tn_dict_count(dict); i++)
        look_at(tn_dict_tensor(dict, i));
}

/* A file for the corpus, libFuzzer's last argument, where that is a folder: of a reader that has no reference files. */
static inline void put_seed(char **arguments, int count, const char *name, const void *data, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", arguments[count - 1], name);
    FILE *file = fopen(path, "wb");
    if (file && (fwrite(data, 1, size, file) != size || fclose(file) != 0))
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
