/* Tenon: images. PNG and JPEG files, folders of them as datasets, and what is done to images before a network sees them.
 *
 * An image is a tensor [c, h, w], u8 from 0 to 255 or floats; what works on an image works on a batch [n, c, h, w] too. The transforms are
 * functions of a tensor: a chain of them is a function that calls one after the other. Random ones draw from the thread's random state (in a
 * loader: from what its seed and the batch set), once for a whole batch. They are for data: no gradient flows through a resize. */
#ifndef TENON_IMAGE_H
#define TENON_IMAGE_H

#include <tenon/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- files -------------------------------------------------------------------------------------------------------------- */

#define TN_LOAD_IMAGE_OPTIONS(X) X(int, channels, 0) /* 1: grey, 3: RGB, 4: RGB and alpha; 0: as the file has them, 1 to 4 */
typedef struct tn_load_image_args { /* tn_load_image("cat.jpg", .channels = 3) */
    size_t size TN_SIZE_(tn_load_image_args);
    TN_LOAD_IMAGE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *path TN_ZERO_;
} tn_load_image_args;
/* The u8 [c, h, w] of a PNG or a JPEG, told by its first bytes. 16 bits become 8, a palette its colours; grey of colours is
 * (19595 r + 38470 g + 7471 b + 32768) / 65536, as Pillow's. TN_ERR_FORMAT on a file that is cut, damaged or claims more pixels than it can
 * hold; TN_ERR_UNSUPPORTED on CMYK and in a build without the format's library. */
TN_API tn_tensor *tn_load_image_with(const tn_load_image_args *args);

#define TN_SAVE_IMAGE_OPTIONS(X) X(int, quality, 90) /* of a JPEG, 1 to 100 */
typedef struct tn_save_image_args { /* tn_save_image(x, "cat.jpg", .quality = 75) */
    size_t size TN_SIZE_(tn_save_image_args);
    TN_SAVE_IMAGE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_tensor *x TN_ZERO_;
    const char *path TN_ZERO_;
} tn_save_image_args;
/* Writes x, u8 [c, h, w]: c is 1 to 4 (grey, grey and alpha, RGB, RGB and alpha) to a path that ends in .png, 1 or 3 to one that ends in .jpg
 * or .jpeg. The file appears whole or not at all. */
TN_API tn_status tn_save_image_with(const tn_save_image_args *args) TN_MUST_CHECK;

/* ---- a folder with one folder a class -------------------------------------------------------------------------------------- */

typedef tn_tensor *(*tn_image_transform)(tn_tensor *image, void *context);
#define TN_IMAGE_FOLDER_OPTIONS(X)                                                                                            \
    X(int, channels, 3) /* as tn_load_image() takes them */                                                                   \
    X(tn_image_transform, transform, NULL) /* x is what it makes of the image; several threads may call it */                 \
    X(void *, context, NULL)               /* what it gets */
typedef struct tn_image_folder_args { /* tn_image_folder_new("train", .transform = prepare) */
    size_t size TN_SIZE_(tn_image_folder_args);
    TN_IMAGE_FOLDER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *folder TN_ZERO_;
} tn_image_folder_args;
/* x is an image and y, i64, its class: folder/cat/1.png, folder/dog/3/2.jpg. Classes are the sub-folders in the order of their names' bytes;
 * items are the files below each that end in .png, .jpg or .jpeg, in the order of their paths (torchvision's ImageFolder). A class without
 * an image is TN_ERR_IO, as is a folder without a class. Files are read when an item is asked for. */
TN_API tn_dataset *tn_image_folder_new_with(const tn_image_folder_args *args);
TN_API int64_t tn_image_folder_class_count(const tn_dataset *dataset); /* -1 on error */
/* The name of class i, and the path of item i; the dataset's. NULL and TN_ERR_INDEX outside. */
TN_API const char *tn_image_folder_class(const tn_dataset *dataset, int64_t i);
TN_API const char *tn_image_folder_path(const tn_dataset *dataset, int64_t i);

/* ---- transforms --------------------------------------------------------------------------------------------------------- */

/* Integers to the default dtype, u8 divided by 255; floats are cast. */
TN_API tn_tensor *tn_image_to_float(tn_tensor *x);
/* (x - mean[k]) / std[k] in each channel k of floats; mean and std are [channels], and channels is x's count or 1. */
TN_API tn_tensor *tn_image_normalize(tn_tensor *x, const double *mean, const double *std, int channels);
/* The middle h by w, a view where x is large enough; what is missing is padded with 0. Odd rests as in torchvision: round(half), half to even. */
TN_API tn_tensor *tn_image_center_crop(tn_tensor *x, int64_t h, int64_t w);
#define TN_RANDOM_CROP_OPTIONS(X)                                                                                             \
    X(int64_t, padding, 0) /* added on each side first */                                                                     \
    X(double, fill, 0)     /* what is padded with */
typedef struct tn_random_crop_args { /* tn_image_random_crop(x, 32, 32, .padding = 4) */
    size_t size TN_SIZE_(tn_random_crop_args);
    TN_RANDOM_CROP_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
    int64_t h TN_ZERO_, w TN_ZERO_;
} tn_random_crop_args;
/* h by w from a uniformly random place. An x that is smaller, padding included, is TN_ERR_SHAPE. */
TN_API tn_tensor *tn_image_random_crop_with(const tn_random_crop_args *args);
TN_API tn_tensor *tn_image_flip(tn_tensor *x);                    /* left to right */
TN_API tn_tensor *tn_image_random_flip(tn_tensor *x, double p);  /* with probability p, else x */
#define TN_IMAGE_RESIZE_OPTIONS(X) X(bool, antialias, true) /* false: two neighbours a side, however small the result */
typedef struct tn_image_resize_args { /* tn_image_resize(x, 224, 224, .antialias = false) */
    size_t size TN_SIZE_(tn_image_resize_args);
    TN_IMAGE_RESIZE_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const tn_tensor *x TN_ZERO_;
    int64_t h TN_ZERO_, w TN_ZERO_;
} tn_image_resize_args;
/* To h by w, bilinear, as torch.nn.functional.interpolate with align_corners=False: u8 (computed in f32 and rounded, half to even), f32 or
 * f64 on the CPU, not empty; h and w are 1 or more. */
TN_API tn_tensor *tn_image_resize_with(const tn_image_resize_args *args);

#ifdef __cplusplus
}
#endif

#endif
