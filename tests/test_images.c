/* labels: quick */
/* Images: PNG and JPEG files read, written, cut and changed; folders of them; transforms. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reference/images.h"

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[4][160];
    static unsigned turn;
    char *to = path[turn++ % 4];
    snprintf(to, sizeof path[0], "%s/%s", folder, name);
    return to;
}

static void write_file(const char *path, const void *data, size_t size)
{
    unlink(path); /* a file that is made anew need not be on disk at once, as one that is written over */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

static inline bool is_jpeg(const uint8_t *file) { return file[0] == 0xff; }

/* Whether the build reads the file; where it does not, that it says so. */
static bool can_read(const struct image_file *f)
{
#ifdef TENON_HAVE_PNG
    if (!is_jpeg(f->file))
        return true;
#endif
#ifdef TENON_HAVE_JPEG
    if (is_jpeg(f->file))
        return true;
#endif
    write_file(in_folder("x"), f->file, f->size);
    assert_null(tn_load_image(in_folder("x")));
    check_error(TN_ERR_UNSUPPORTED, "this build is without lib");
    return false;
}

static void check_pixels(const tn_tensor *x, const uint8_t *due, int c, int h, int w, int tolerance)
{
    check_good();
    check_shape(x, c, h, w);
    assert_int_equal(tn_dtype_of(x), TN_U8);
    const uint8_t *is = tn_data(x);
    for (int i = 0; i < c * h * w; i++)
        if (abs(is[i] - due[i]) > tolerance)
            fail_msg("pixel %d is %d, %d was due", i, is[i], due[i]);
}

enum { FILES = sizeof image_files / sizeof *image_files };

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static void test_pillow_files(void **state)
{
    (void)state;
    TN_SCOPE;
    const char *path = in_folder("x");
    for (int i = 0; i < FILES; i++) {
        const struct image_file *f = &image_files[i];
        if (!can_read(f))
            continue;
        write_file(path, f->file, f->size);
        tn_tensor *x = tn_load_image(path);
        check_pixels(x, f->pixels, f->c, IMAGE_H, IMAGE_W, f->tolerance);
        for (int channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1) {
            tn_tensor *y = tn_load_image(path, .channels = channels);
            check_shape(y, channels, IMAGE_H, IMAGE_W);
            if (channels == 4 && f->c % 2) /* no alpha: opaque */
                assert_int_equal(tn_item_i64(tn_amin(tn_cast(tn_select(y, 0, 3), TN_I64))), 255);
            if (channels == 3)
                for (int k = 0; k < 3; k++)
                    assert_true(tn_equal(tn_select(y, 0, k), tn_select(x, 0, f->c < 3 ? 0 : k)));
            if (channels == 1 && strcmp(f->name, "rgb") == 0)
                check_pixels(y, rgb_as_grey, 1, IMAGE_H, IMAGE_W, 0);
        }
    }
}

#ifdef TENON_HAVE_JPEG
static void test_cmyk(void **state)
{
    (void)state;
    write_file(in_folder("x"), cmyk_file, sizeof cmyk_file);
    assert_null(tn_load_image(in_folder("x")));
    check_error(TN_ERR_UNSUPPORTED, "4 components");
}
#endif

/* Cut anywhere a file is an error; changed anywhere it is an error or an image, and nothing worse. */
static void test_damaged_files(void **state)
{
    (void)state;
    const char *path = in_folder("x");
    for (int i = 0; i < FILES; i++) {
        const struct image_file *f = &image_files[i];
        if (!can_read(f))
            continue;
        uint8_t *data = malloc(f->size);
        for (size_t cut = 0; cut < f->size - 2; cut++) { /* a JPEG's last two bytes are its end marker, which libjpeg can do without */
            write_file(path, f->file, cut);
            if (tn_load_image(path))
                fail_msg("%s: cut to %zu of %zu bytes it was read", f->name, cut, f->size);
            check_error(TN_ERR_FORMAT, "load_image: ");
        }
        for (size_t at = 0; at < f->size; at++)
            for (int change = 0; change < 2; change++) {
                TN_SCOPE;
                memcpy(data, f->file, f->size);
                data[at] ^= change ? 0xff : 1;
                write_file(path, data, f->size);
                tn_tensor *x = tn_load_image(path);
                assert_true(!x == (tn_last_status() != TN_OK));
                tn_clear_error();
            }
        free(data);
    }
}

/* A header that claims a million pixels a side: refused before memory is asked for. */
static void test_huge_claims(void **state)
{
    (void)state;
    const char *path = in_folder("x");
    uint8_t data[2048];
#ifdef TENON_HAVE_PNG
    static const uint8_t head[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R', 0, 0x0f, 0x42, 0x40, 0, 0x0f,
                                   0x42, 0x40, 8, 2, 0, 0, 0, 0xd3, 0x0f, 0xaf, 0x2a, 0, 0, 0, 0, 'I', 'D', 'A', 'T', 0x35, 0xaf, 0x06, 0x1e};
    int64_t peak;
    tn_memory_reset_peak();
    peak = tn_get_memory_stats().peak;
    write_file(path, head, sizeof head);
    assert_null(tn_load_image(path));
    check_error(TN_ERR_FORMAT, "does not hold them");
    assert_true(tn_get_memory_stats().peak - peak < 1 << 20);
#endif
    for (int i = 0; i < FILES; i++) {
        const struct image_file *f = &image_files[i];
        if (strcmp(f->name, "jpeg") != 0 || !can_read(f))
            continue;
        memcpy(data, f->file, f->size);
        for (size_t at = 0; at + 9 < f->size; at++)
            if (data[at] == 0xff && data[at + 1] == 0xc0) /* the frame's header: length, bits, height, width */
                memcpy(data + at + 5, "\xff\x00\xff\x00", 4);
        write_file(path, data, f->size);
        assert_null(tn_load_image(path));
        check_error(TN_ERR_FORMAT, "65280 by 65280 pixels");
    }
}

static void test_errors_of_loading(void **state)
{
    (void)state;
    write_file(in_folder("x"), "GIF89a", 6);
    assert_null(tn_load_image(in_folder("x")));
    check_error(TN_ERR_FORMAT, "neither a PNG nor a JPEG");
    assert_null(tn_load_image(in_folder("none")));
    check_error(TN_ERR_IO, "none: cannot open");
    assert_null(tn_load_image(NULL));
    check_error(TN_ERR_ARGUMENT, "path is NULL");
    assert_null(tn_load_image("x", .channels = 2));
    check_error(TN_ERR_ARGUMENT, "channels is 2");
}

static void test_round_trip(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_manual_seed(1);
    for (int c = 1; c <= 4; c++) {
        tn_tensor *x = tn_transpose(tn_randint(TN_SHAPE(c, 5, 8), 0, 256, .dtype = TN_U8), 1, 2); /* not contiguous */
        const char *path = in_folder("round.PNG");
#ifdef TENON_HAVE_PNG
        assert_int_equal(tn_save_image(x, path), TN_OK);
        assert_true(tn_equal(tn_load_image(path), x));
#else
        assert_int_equal(tn_save_image(x, path), TN_ERR_UNSUPPORTED);
        check_error(TN_ERR_UNSUPPORTED, "without libpng");
#endif
    }
    for (int c = 1; c <= 3; c += 2) {
        tn_tensor *x = tn_expand(tn_reshape(tn_cast(tn_arange(0, 32), TN_U8), TN_SHAPE(1, 1, 32)), TN_SHAPE(c, 16, 32));
        const char *path = in_folder(c == 1 ? "round.jpg" : "round.jpeg");
#ifdef TENON_HAVE_JPEG
        struct stat small, large;
        assert_int_equal(tn_save_image(x, path, .quality = 20), TN_OK);
        assert_int_equal(stat(path, &small), 0);
        assert_int_equal(tn_save_image(x, path, .quality = 100), TN_OK);
        assert_int_equal(stat(path, &large), 0);
        assert_true(small.st_size < large.st_size);
        assert_true(tn_allclose(tn_cast(tn_load_image(path), TN_F32), tn_cast(x, TN_F32), 0, 2, false));
#else
        assert_int_equal(tn_save_image(x, path), TN_ERR_UNSUPPORTED);
        check_error(TN_ERR_UNSUPPORTED, "without libjpeg");
#endif
    }
}

static void test_errors_of_saving(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_zeros(TN_SHAPE(3, 4, 4), .dtype = TN_U8);
#define refused(status, words, ...)                                                                                           \
    assert_int_equal(tn_save_image(__VA_ARGS__), status);                                                                     \
    check_error(status, words)
    refused(TN_ERR_ARGUMENT, "x.gif ends neither", x, in_folder("x.gif"));
    refused(TN_ERR_ARGUMENT, "ends neither", x, "a.png/x");
    refused(TN_ERR_ARGUMENT, "path is NULL", x, NULL);
    refused(TN_ERR_ARGUMENT, "x is NULL", NULL, "x.png");
    refused(TN_ERR_DTYPE, "float32", tn_cast(x, TN_F32), "x.png");
    refused(TN_ERR_SHAPE, "1 to 4", tn_zeros(TN_SHAPE(5, 4, 4), .dtype = TN_U8), "x.png");
    refused(TN_ERR_SHAPE, "1 or 3", tn_zeros(TN_SHAPE(4, 4, 4), .dtype = TN_U8), "x.jpg");
    refused(TN_ERR_SHAPE, "[3, 0, 4]", tn_zeros(TN_SHAPE(3, 0, 4), .dtype = TN_U8), "x.png");
    refused(TN_ERR_SHAPE, "[4, 4]", tn_select(x, 0, 0), "x.png");
    refused(TN_ERR_ARGUMENT, "quality is 0", x, "x.jpg", .quality = 0);
    refused(TN_ERR_IO, "/nonexistent/x.png", x, "/nonexistent/x.png");
#undef refused
}

/* ---- image folders ------------------------------------------------------------------------------------------------------ */

#ifdef TENON_HAVE_PNG
static void put_image(const char *name, int value)
{
    TN_SCOPE;
    assert_int_equal(tn_save_image(tn_full(TN_SHAPE(1, 2, 2), value, .dtype = TN_U8), in_folder(name)), TN_OK);
}

static tn_tensor *halved(tn_tensor *image, void *context) { return context ? NULL : tn_mul(tn_image_to_float(image), 0.5); }

static void test_image_folder(void **state)
{
    (void)state;
    TN_SCOPE;
    static const char *const folders[] = {"set", "set/dog", "set/Cat", "set/Cat/b", "set/Cat/a-a", "set/bird"};
    for (int i = 0; i < 6; i++)
        assert_int_equal(mkdir(in_folder(folders[i]), 0755), 0);
    assert_null(tn_image_folder_new(in_folder("set/bird")));
    check_error(TN_ERR_IO, "bird has no folder in it");
    assert_null(tn_image_folder_new(in_folder("set")));
    check_error(TN_ERR_IO, "set/Cat has no file that ends in");
    /* torchvision.datasets.ImageFolder lists them in this order */
    static const char *const names[] = {"set/Cat/z.png", "set/Cat/a-a/1.PNG", "set/Cat/b/10.png", "set/Cat/b/9.png", "set/bird/x.png", "set/dog/0.png"};
    for (int i = 5; i >= 0; i--)
        put_image(names[i], 40 * i);
    write_file(in_folder("set/dog/notes.txt"), "x", 1);
    write_file(in_folder("set/read.me"), "x", 1);
    tn_dataset *set = tn_image_folder_new(in_folder("set"));
    check_good();
    assert_int_equal(tn_dataset_length(set), 6);
    assert_int_equal(tn_image_folder_class_count(set), 3);
    assert_string_equal(tn_image_folder_class(set, 0), "Cat");
    assert_string_equal(tn_image_folder_class(set, 1), "bird");
    assert_string_equal(tn_image_folder_class(set, 2), "dog");
    assert_null(tn_image_folder_class(set, 3));
    check_error(TN_ERR_INDEX, "3 of 3");
    for (int i = 0; i < 6; i++)
        assert_string_equal(tn_image_folder_path(set, i), in_folder(names[i]));
    assert_null(tn_image_folder_path(set, -1));
    check_error(TN_ERR_INDEX, "-1 of 6");
    tn_release(set);

    for (int workers = 0; workers < 3; workers++) {
        tn_loader *loader = tn_loader_new(tn_image_folder_new(in_folder("set"), .transform = halved), .batch_size = 6, .workers = workers);
        TN_FOREACH_BATCH(batch, loader) {
            check_shape(batch->x, 6, 3, 2, 2);
            check_values(batch->y, 0, 0, 0, 0, 0, 1, 2);
            for (int i = 0; i < 6; i++)
                assert_float_equal(tn_at(batch->x, TN_SHAPE(i, 1, 1, 1)), 40. * i / 255 / 2, 1e-6);
        }
        check_good();
        tn_release(loader);
    }

    tn_tensor *x, *y;
    set = tn_image_folder_new(in_folder("set"), .transform = halved, .context = folder);
    assert_int_equal(tn_dataset_get(set, 0, &x, &y), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "z.png: image_folder: the transform failed");
    write_file(in_folder("set/Cat/z.png"), "x", 1);
    assert_int_equal(tn_dataset_get(set, 0, &x, &y), TN_ERR_FORMAT);
    check_error(TN_ERR_FORMAT, "z.png: neither");
    tn_release(set);
    assert_int_equal(symlink("..", in_folder("set/dog/up")), 0);
    assert_null(tn_image_folder_new(in_folder("set")));
    check_error(TN_ERR_IO, ""); /* the system's limit of links, or ours of depth */

    assert_null(tn_image_folder_new(in_folder("none")));
    check_error(TN_ERR_IO, "none: cannot open");
    assert_null(tn_image_folder_new(NULL));
    check_error(TN_ERR_ARGUMENT, "folder is NULL");
    set = tn_tensor_dataset_new(tn_zeros(TN_SHAPE(1)), NULL);
    assert_int_equal(tn_image_folder_class_count(set), -1);
    check_error(TN_ERR_ARGUMENT, "no image folder");
    assert_null(tn_image_folder_class(NULL, 0));
    check_error(TN_ERR_ARGUMENT, "NULL");
    tn_release(set);
}
#endif

/* ---- transforms --------------------------------------------------------------------------------------------------------- */

static void test_to_float_and_normalize(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *bytes = tn_reshape(tn_cast(tn_arange(0, 8), TN_U8), TN_SHAPE(2, 1, 4)), *x = tn_image_to_float(bytes);
    check_values(x, 1e-7, 0, 1 / 255., 2 / 255., 3 / 255., 4 / 255., 5 / 255., 6 / 255., 7 / 255.);
    assert_int_equal(tn_dtype_of(x), TN_F32);
    check_values(tn_image_to_float(tn_cast(bytes, TN_I64)), 0, 0, 1, 2, 3, 4, 5, 6, 7);
    check_values(tn_image_to_float(tn_cast(bytes, TN_F64)), 0, 0, 1, 2, 3, 4, 5, 6, 7);
    double mean[] = {1, 2}, std[] = {0.5, 4};
    x = tn_cast(bytes, TN_F64);
    check_values(tn_image_normalize(x, mean, std, 2), 1e-15, -2, 0, 2, 4, 0.5, 0.75, 1, 1.25);
    check_values(tn_image_normalize(tn_unsqueeze(x, 0), mean, std, 1), 1e-15, -2, 0, 2, 4, 6, 8, 10, 12);
    assert_null(tn_image_normalize(bytes, mean, std, 2));
    check_error(TN_ERR_DTYPE, "tn_image_to_float");
    assert_null(tn_image_normalize(x, mean, std, 3));
    check_error(TN_ERR_SHAPE, "3 means for x of [2, 1, 4]");
    assert_null(tn_image_normalize(x, mean, (double[]){1, 0}, 2));
    check_error(TN_ERR_ARGUMENT, "std[1] is 0");
    assert_null(tn_image_normalize(x, NULL, std, 2));
    check_error(TN_ERR_ARGUMENT, "mean is NULL");
    assert_null(tn_image_to_float(tn_zeros(TN_SHAPE(3, 3))));
    check_error(TN_ERR_SHAPE, "image_to_float: x is [3, 3]");
}

static void test_crops(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_reshape(tn_arange(0, 30), TN_SHAPE(1, 5, 6));
    /* torchvision.transforms.functional.center_crop: top = int(round((5 - 2) / 2)) = 2, left = round(1.5) = 2 */
    check_values(tn_image_center_crop(x, 2, 3), 0, 14, 15, 16, 20, 21, 22);
    check_values(tn_image_center_crop(tn_reshape(tn_arange(0, 3), TN_SHAPE(1, 1, 3)), 1, 2), 0, 0, 1); /* round(0.5) = 0 */
    check_values(tn_image_center_crop(tn_reshape(tn_arange(1, 3), TN_SHAPE(1, 1, 2)), 2, 5), 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0);
    assert_true(tn_shares_storage(tn_image_center_crop(x, 5, 2), x));
    assert_null(tn_image_center_crop(x, 0, 3));
    check_error(TN_ERR_ARGUMENT, "0 by 3 pixels");

    /* Each of the 3 * 4 places comes, each shows x's own pixels, the seed decides. */
    bool seen[3][4] = {{false}};
    tn_manual_seed(5);
    for (int i = 0; i < 200; i++) {
        TN_SCOPE;
        tn_tensor *y = tn_image_random_crop(x, 3, 3);
        check_shape(y, 1, 3, 3);
        int64_t at = tn_item_i64(tn_select(tn_select(tn_select(y, 0, 0), 0, 0), 0, 0));
        assert_true(at / 6 < 3 && at % 6 < 4);
        assert_int_equal(tn_item_i64(tn_select(tn_select(tn_select(y, 0, 0), 0, 2), 0, 2)), at + 14);
        seen[at / 6][at % 6] = true;
    }
    for (int i = 0; i < 12; i++)
        assert_true(seen[i / 4][i % 4]);
    tn_manual_seed(6);
    tn_tensor *a = tn_image_random_crop(x, 5, 6, .padding = 3, .fill = -1);
    tn_manual_seed(6);
    assert_true(tn_equal(a, tn_image_random_crop(x, 5, 6, .padding = 3, .fill = -1)));
    a = tn_image_random_crop(x, 11, 12, .padding = 3, .fill = -1);
    check_values(tn_select(tn_select(a, 0, 0), 0, 3), 0, -1, -1, -1, 0, 1, 2, 3, 4, 5, -1, -1, -1);
    assert_null(tn_image_random_crop(x, 6, 6));
    check_error(TN_ERR_SHAPE, "6 by 6 pixels of x [1, 5, 6]");
    assert_null(tn_image_random_crop(x, 1, 1, .padding = -1));
    check_error(TN_ERR_ARGUMENT, "padding is -1");
}

static void test_flips(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_tensor *x = tn_reshape(tn_arange(0, 6), TN_SHAPE(1, 2, 3));
    check_values(tn_image_flip(x), 0, 2, 1, 0, 5, 4, 3);
    int flipped = 0;
    tn_manual_seed(2);
    for (int i = 0; i < 1000; i++) {
        TN_SCOPE;
        flipped += !tn_equal(tn_image_random_flip(x, 0.3), x);
    }
    assert_true(flipped > 227 && flipped < 373); /* 5 deviations of a binomial */
    assert_true(tn_equal(tn_image_random_flip(x, 0), x));
    assert_true(tn_equal(tn_image_random_flip(x, 1), tn_image_flip(x)));
    assert_null(tn_image_random_flip(x, 1.5));
    check_error(TN_ERR_ARGUMENT, "p is 1.5");
}

static void test_resize(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof resize_cases / sizeof *resize_cases; i++) {
        TN_SCOPE;
        const struct resize_case *c = &resize_cases[i];
        tn_tensor *x = tn_from_doubles(resize_in, TN_SHAPE(1, 7, 10));
        tn_tensor *y = tn_from_doubles(c->y, TN_SHAPE(1, c->h, c->w));
        tn_tensor *z = tn_image_resize(x, c->h, c->w, .antialias = c->antialias);
        check_good();
        assert_true(tn_allclose(z, y, 0, 1e-10, false));
        z = tn_image_resize(tn_cast(x, TN_F32), c->h, c->w, .antialias = c->antialias);
        assert_true(tn_allclose(z, tn_cast(y, TN_F32), 0, 2e-6, false));
        tn_tensor *batch = tn_stack((tn_tensor *[]){tn_neg(x), x}, 2, 0); /* each plane for itself, whatever its strides */
        batch = tn_transpose(tn_contiguous(tn_transpose(batch, 2, 3)), 2, 3);
        z = tn_image_resize(batch, c->h, c->w, .antialias = c->antialias);
        assert_true(tn_allclose(tn_select(z, 0, 0), tn_neg(y), 0, 1e-10, false));
        assert_true(tn_allclose(tn_select(z, 0, 1), y, 0, 1e-10, false));
        x = tn_from_memory((void *)(uintptr_t)resize_in_u8, TN_SHAPE(1, 13, 11), .dtype = TN_U8);
        z = tn_image_resize(x, c->h, c->w, .antialias = c->antialias);
        check_pixels(z, c->y8, 1, c->h, c->w, 0);
    }
}

static void test_errors_of_resizing(void **state)
{
    (void)state;
    TN_SCOPE;
    assert_null(tn_image_resize(tn_zeros(TN_SHAPE(1, 2, 2)), 3, 0));
    check_error(TN_ERR_ARGUMENT, "3 by 0 pixels");
    assert_null(tn_image_resize(tn_zeros(TN_SHAPE(1, 2, 0)), 3, 3));
    check_error(TN_ERR_SHAPE, "nothing to resize");
    assert_null(tn_image_resize(tn_zeros(TN_SHAPE(2, 2)), 3, 3));
    check_error(TN_ERR_SHAPE, "x is [2, 2]");
    assert_null(tn_image_resize(tn_zeros(TN_SHAPE(1, 2, 2), .dtype = TN_I64), 3, 3));
    check_error(TN_ERR_DTYPE, "int64");
    assert_null(tn_image_resize(tn_zeros(TN_SHAPE(1, 2, 2), .requires_grad = true), 3, 3));
    check_error(TN_ERR_GRAD, "detach it first");
    assert_null(tn_image_resize(tn_zeros(TN_SHAPE(1, 2, 2)), INT64_MAX / 4, 3));
    assert_true(tn_last_status() == TN_ERR_SHAPE || tn_last_status() == TN_ERR_MEMORY);
    tn_clear_error();
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/tenon-images-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}
static int remove_folder(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pillow_files),
#ifdef TENON_HAVE_JPEG
        TEST(test_cmyk),
#endif
        TEST(test_damaged_files),
        TEST(test_huge_claims),
        TEST(test_errors_of_loading),
        TEST(test_round_trip),
        TEST(test_errors_of_saving),
#ifdef TENON_HAVE_PNG
        TEST(test_image_folder),
#endif
        TEST(test_to_float_and_normalize),
        TEST(test_crops),
        TEST(test_flips),
        TEST(test_resize),
        TEST(test_errors_of_resizing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
