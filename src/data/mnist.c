/* MNIST from its four files. */
#include "core/core.h"

#include <tenon/data.h>
#include <tenon/io.h>

#include <stdio.h>
#include <unistd.h>

/* The array of folder/name or folder/name.gz; owned by the scope. */
static tn_tensor *load(const char *folder, const char *name)
{
    static const char *const endings[] = {"", ".gz"};
    char path[4096];
    for (int i = 0; i < TN_COUNT(endings); i++) {
        int length = snprintf(path, sizeof path, "%s/%s%s", folder, name, endings[i]);
        if (length < 0 || (size_t)length >= sizeof path)
            return tn_fail(TN_ERR_ARGUMENT, "load_mnist: the folder's name is longer than a path may be");
        if (access(path, F_OK) == 0)
            return tn_load_idx(path);
    }
    return tn_fail(TN_ERR_IO, "load_mnist: %s has neither %s nor %s.gz: scripts/fetch_mnist.sh fetches them", folder, name, name);
}

static bool labels_in_range(const tn_tensor *y)
{
    const uint8_t *labels = (const uint8_t *)tn_ptr(y);
    for (int64_t i = 0; i < y->numel; i++)
        if (labels[i] > 9) {
            tn_fail(TN_ERR_FORMAT, "load_mnist: label %lld is %d: digits are 0 to 9", (long long)i, labels[i]);
            return false;
        }
    return true;
}

tn_tensor *tn_load_mnist(const char *folder, bool train, tn_tensor **labels)
{
    if (labels)
        *labels = NULL;
    if (tn_failing())
        return NULL;
    if (!folder || !labels)
        return tn_fail(TN_ERR_ARGUMENT, "load_mnist: %s is NULL", folder ? "labels" : "folder");
    tn_tensor *x = load(folder, train ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte");
    tn_tensor *y = x ? load(folder, train ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte") : NULL;
    if (!y)
        return NULL;
    if (x->dtype != TN_U8 || x->ndim != 3 || x->sizes[1] != 28 || x->sizes[2] != 28)
        return tn_fail(TN_ERR_FORMAT, "load_mnist: the images in %s are %s of %s: right is u8 [n, 28, 28]", folder, tn_text(x),
                       tn_dtype_name((tn_dtype)x->dtype));
    if (y->dtype != TN_U8 || y->ndim != 1 || y->sizes[0] != x->sizes[0])
        return tn_fail(TN_ERR_FORMAT, "load_mnist: the labels in %s are %s of %s: right is u8 [%lld], one for each image", folder,
                       tn_text(y), tn_dtype_name((tn_dtype)y->dtype), (long long)x->sizes[0]);
    if (!labels_in_range(y))
        return NULL;
    *labels = y;
    return x;
}
