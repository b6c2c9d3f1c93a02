/* The convolution, pooling and unfolding kernels against plain loops.
 * labels: isa, threads, quick, loops */
#include <stdlib.h>

#include "check.h"
#include "kernels/floats16.h"
#include "kernels/kernels.h"
#include "ulp.h"

static uint32_t state_of_random = 1;
static int64_t below(int64_t n)
{
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (int64_t)(state_of_random >> 8) % n;
}

/* Buffers are doubles in the loops and of a floating dtype in the kernels. Whole eighths: few sums round. */
typedef struct {
    int64_t count;
    double *plain;
    void *kernel;
} buffer;

static void set(tn_dtype dtype, buffer b, int64_t i, double v)
{
    b.plain[i] = v;
    switch (dtype) {
    case TN_F64: ((double *)b.kernel)[i] = v; break;
    case TN_F16: ((tn_f16 *)b.kernel)[i] = tn_store_f16((float)v); break;
    case TN_BF16: ((tn_bf16 *)b.kernel)[i] = tn_store_bf16((float)v); break;
    default: ((float *)b.kernel)[i] = (float)v;
    }
}

static buffer make(tn_dtype dtype, int64_t count)
{
    buffer b = {count, calloc((size_t)count + 1, sizeof(double)), calloc((size_t)(count > 0 ? count : 1), tn_dtype_size(dtype))}; /* no more than a kernel may touch */
    for (int64_t i = 0; i < count; i++)
        set(dtype, b, i, (double)(below(33) - 16) / 8);
    return b;
}

static double value(tn_dtype dtype, buffer b, int64_t i)
{
    switch (dtype) {
    case TN_F64: return ((double *)b.kernel)[i];
    case TN_F16: return tn_load_f16(((tn_f16 *)b.kernel)[i]);
    case TN_BF16: return tn_load_bf16(((tn_bf16 *)b.kernel)[i]);
    default: return ((float *)b.kernel)[i];
    }
}

/* 16-bit floats are what the others round to, once. */
static void same(tn_dtype dtype, const char *what, buffer b)
{
    const double half_ulp = dtype == TN_BF16 ? 1. / 256 : dtype == TN_F16 ? 1. / 2048 : 0, tolerance = dtype == TN_F32 ? 1e-4 : half_ulp > 0 ? 1e-6 : 1e-12;
    for (int64_t i = 0; i < b.count; i++)
        if (!(fabs(value(dtype, b, i) - b.plain[i]) <= tolerance + (tolerance + half_ulp) * fabs(b.plain[i])) && !(value(dtype, b, i) == b.plain[i]))
            fail_msg("%s[%lld] is %g, %g was due", what, (long long)i, value(dtype, b, i), b.plain[i]);
}

static void drop(buffer b)
{
    free(b.plain);
    free(b.kernel);
}

static tn_conv random_conv(void)
{
    tn_conv c = {.groups = below(4) ? 1 : 1 + below(3), .n = 1 + below(4), .kh = 1 + below(4), .kw = 1 + below(4)};
    c.c_in = c.groups * (1 + below(4));
    c.c_out = c.groups * (1 + below(14));
    c.stride_h = 1 + below(4), c.stride_w = 1 + below(3);
    c.pad_h = below(4), c.pad_w = below(4);
    c.dil_h = 1 + below(3), c.dil_w = 1 + below(3);
    c.h = (c.kh - 1) * c.dil_h + 1 + below(12), c.w = (c.kw - 1) * c.dil_w + 1 + below(30);
    c.oh = (c.h + 2 * c.pad_h - (c.kh - 1) * c.dil_h - 1) / c.stride_h + 1;
    c.ow = (c.w + 2 * c.pad_w - (c.kw - 1) * c.dil_w - 1) / c.stride_w + 1;
    return c;
}

/* Where output (oy, ox)'s tap reads, or -1. */
static int64_t reads(const tn_conv *c, int64_t oy, int64_t ox, int64_t tap)
{
    int64_t y = oy * c->stride_h - c->pad_h + tap / c->kw * c->dil_h, x = ox * c->stride_w - c->pad_w + tap % c->kw * c->dil_w;
    return y < 0 || y >= c->h || x < 0 || x >= c->w ? -1 : y * c->w + x;
}

static void loops(const tn_conv *c, buffer x, buffer w, buffer bias, buffer y, buffer dy, buffer dx, buffer dw, buffer db)
{
    int64_t in = c->c_in / c->groups, taps = c->kh * c->kw;
    memset(dx.plain, 0, (size_t)dx.count * sizeof(double));
    memset(dw.plain, 0, (size_t)dw.count * sizeof(double));
    memset(db.plain, 0, (size_t)db.count * sizeof(double));
    for (int64_t p = 0; p < c->n * c->c_out; p++) { /* the planes of y */
        const int64_t o = p % c->c_out, first = p / c->c_out * c->c_in + o / (c->c_out / c->groups) * in, size = c->oh * c->ow;
        double *sums = y.plain + p * size, *g = dy.plain + p * size;
        for (int64_t i = 0; i < size; i++) {
            sums[i] = bias.plain[o];
            db.plain[o] += g[i];
        }
        for (int64_t j = 0; j < in * taps; j++) {
            const int64_t plane = (first + j / taps) * c->h * c->w, tap = j % taps;
            const double weight = w.plain[o * in * taps + j];
            double dweight = 0;
            for (int64_t oy = 0; oy < c->oh; oy++) {
                const int64_t row = oy * c->stride_h - c->pad_h + tap / c->kw * c->dil_h, left = tap % c->kw * c->dil_w - c->pad_w;
                for (int64_t ox = 0; ox < c->ow && row >= 0 && row < c->h; ox++) {
                    const int64_t i = oy * c->ow + ox, col = ox * c->stride_w + left, at = plane + row * c->w + col;
                    if (col < 0 || col >= c->w)
                        continue;
                    sums[i] += x.plain[at] * weight;
                    dx.plain[at] += g[i] * weight;
                    dweight += g[i] * x.plain[at];
                }
            }
            dw.plain[o * in * taps + j] += dweight;
        }
        for (int64_t i = 0; i < size; i++)
            sums[i] = c->activation && sums[i] < 0 ? 0 : sums[i];
    }
}

static void check_conv(tn_conv c, tn_dtype dtype)
{
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    buffer x = make(dtype, c.n * c.c_in * c.h * c.w), w = make(dtype, c.c_out * c.c_in / c.groups * c.kh * c.kw);
    buffer bias = make(dtype, c.c_out), y = make(dtype, c.n * c.c_out * c.oh * c.ow), dy = make(dtype, y.count);
    buffer dx = make(dtype, x.count), dw = make(dtype, w.count), db = make(dtype, c.c_out);
    loops(&c, x, w, bias, y, dy, dx, dw, db);
    c.x = x.kernel, c.weight = w.kernel, c.bias = bias.kernel, c.y = y.kernel;
    assert_int_equal(k->conv_forward(dtype, &c), TN_OK);
    assert_int_equal(k->conv_backward(dtype, &(tn_conv_grad){c, dy.kernel, dx.kernel, dw.kernel, db.kernel, NULL, NULL}), TN_OK);
    same(dtype, "y", y);
    same(dtype, "dx", dx);
    same(dtype, "dw", dw);
    same(dtype, "db", db);
    memset(db.kernel, 0, (size_t)db.count * tn_dtype_size(dtype));
    assert_int_equal(k->conv_backward(dtype, &(tn_conv_grad){c, dy.kernel, NULL, NULL, db.kernel, NULL, NULL}), TN_OK);
    same(dtype, "db alone", db);
    drop(x), drop(w), drop(bias), drop(y), drop(dy), drop(dx), drop(dw), drop(db);
}

static void test_conv(void **state)
{
    (void)state;
    for (int i = 0; i < 400; i++) {
        tn_conv c = random_conv();
        c.activation = below(2) ? TN_UNARY_RELU : 0;
        c.rounded = i % 4 > 1; /* eighths, and what tiles make of them, have no more digits than bf16 */
        assert_int_equal(tn_set_num_threads(1 + i % 3), TN_OK);
        check_conv(c, i % 2 ? TN_F64 : TN_F32);
    }
}

/* Wide rows, many channels, depthwise, a kernel as wide as its stride, one of 1 x 1, lines of nearly whole vectors: other paths than the small
 * grid takes. */
static void test_conv_shapes(void **state)
{
    (void)state;
    static const tn_conv shapes[] = {
        {.n = 2, .c_in = 3, .h = 5, .w = 1100, .c_out = 7, .kh = 3, .kw = 3, .oh = 5, .ow = 1100, .stride_h = 1, .stride_w = 1,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 1, .c_in = 70, .h = 9, .w = 9, .c_out = 65, .kh = 3, .kw = 3, .oh = 5, .ow = 5, .stride_h = 2, .stride_w = 2,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 3, .c_in = 33, .h = 11, .w = 40, .c_out = 33, .kh = 3, .kw = 3, .oh = 11, .ow = 40, .stride_h = 1, .stride_w = 1,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 33},
        {.n = 2, .c_in = 3, .h = 32, .w = 32, .c_out = 20, .kh = 8, .kw = 8, .oh = 4, .ow = 4, .stride_h = 8, .stride_w = 8,
         .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 40, .c_in = 20, .h = 14, .w = 14, .c_out = 50, .kh = 3, .kw = 3, .oh = 14, .ow = 14, .stride_h = 1, .stride_w = 1,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 3, .c_in = 20, .h = 32, .w = 48, .c_out = 26, .kh = 1, .kw = 1, .oh = 32, .ow = 48, .stride_h = 1, .stride_w = 1,
         .dil_h = 1, .dil_w = 1, .groups = 2},
        {.n = 3, .c_in = 5, .h = 16, .w = 16, .c_out = 20, .kh = 3, .kw = 3, .oh = 8, .ow = 8, .stride_h = 2, .stride_w = 2,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1}, /* lines of 16 to lines of 8; at other heights; in groups */
        {.n = 4, .c_in = 6, .h = 21, .w = 16, .c_out = 10, .kh = 2, .kw = 3, .oh = 10, .ow = 8, .stride_h = 2, .stride_w = 2,
         .dil_h = 2, .pad_w = 1, .dil_w = 1, .groups = 2},
        {.n = 2, .c_in = 4, .h = 8, .w = 16, .c_out = 9, .kh = 3, .kw = 3, .oh = 8, .ow = 8, .stride_h = 1, .stride_w = 2,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 2, .c_in = 4, .h = 16, .w = 16, .c_out = 6, .kh = 4, .kw = 4, .oh = 8, .ow = 8, .stride_h = 2, .stride_w = 2,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 3, .c_in = 7, .h = 16, .w = 16, .c_out = 12, .kh = 1, .kw = 1, .oh = 8, .ow = 8, .stride_h = 2, .stride_w = 2,
         .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 3, .c_in = 5, .h = 13, .w = 60, .c_out = 20, .kh = 3, .kw = 3, .oh = 7, .ow = 30, .stride_h = 2, .stride_w = 2,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 1, .c_in = 3, .h = 64, .w = 64, .c_out = 5, .kh = 3, .kw = 3, .oh = 32, .ow = 32, .stride_h = 2, .stride_w = 2,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1},
        {.n = 33, .c_in = 3, .h = 10, .w = 32, .c_out = 15, .kh = 3, .kw = 3, .oh = 10, .ow = 32, .stride_h = 1, .stride_w = 1,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1}, /* lines of whole vectors: of two, and of one, some images together */
        {.n = 33, .c_in = 8, .h = 9, .w = 32, .c_out = 24, .kh = 3, .kw = 3, .oh = 5, .ow = 16, .stride_h = 2, .stride_w = 2,
         .pad_h = 1, .pad_w = 1, .dil_h = 1, .dil_w = 1, .groups = 2},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        tn_conv rounded = shapes[i];
        rounded.rounded = true;
        check_conv(shapes[i], TN_F32);
        if (test_quickly()) /* those loops are most of the time */
            continue;
        check_conv(rounded, TN_F32);
        check_conv(shapes[i], TN_F64);
    }
}

/* 3 x 3 taps with stride 1, which have tiles of their own: rows of tiles by 4, by 2 and alone, and in several pieces. */
static tn_conv three_by_three(int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, int64_t pad_h, int64_t pad_w)
{
    return (tn_conv){.n = n, .c_in = c_in, .h = h, .w = w, .c_out = c_out, .kh = 3, .kw = 3, .oh = h + 2 * pad_h - 2, .ow = w + 2 * pad_w - 2,
                     .stride_h = 1, .stride_w = 1, .pad_h = pad_h, .pad_w = pad_w, .dil_h = 1, .dil_w = 1, .groups = 1};
}

static void test_three_by_three(void **state)
{
    (void)state;
    for (int i = 0; i < (test_quickly() ? 12 : 60); i++) {
        tn_conv c = three_by_three(1 + below(12), 4 + below(14), 4 + below(14), 3 + below(20), 3 + below(i % 4 ? 20 : 80), below(3), below(3));
        c.activation = below(2) ? TN_UNARY_RELU : 0;
        c.rounded = i % 2;
        assert_int_equal(tn_set_num_threads(1 + i % 3), TN_OK);
        check_conv(c, TN_F32);
    }
    const tn_conv shapes[] = {three_by_three(33, 64, 64, 8, 8, 1, 1), three_by_three(5, 16, 16, 32, 32, 1, 1), three_by_three(2, 17, 12, 5, 301, 0, 2)};
    for (int i = 0; i < 6; i += test_emulated() ? 2 : 1) { /* an emulator has no products of bf16 */
        tn_conv c = shapes[i / 2];
        c.rounded = i % 2;
        check_conv(c, TN_F32);
    }
}

/* Depthwise of 3 x 3 taps: rows of a vector, of several, and with a rest; planes of a row; sums over more rows than float32 takes. */
static void test_depthwise(void **state)
{
    (void)state;
    for (int i = 0; i < 60; i++) {
        const int64_t channels = 1 + below(12);
        tn_conv c = three_by_three(1 + below(4), channels, channels, 1 + below(9), i % 3 ? 4 + below(50) : 16 * (1 + below(3)), 1, 1);
        c.groups = channels;
        c.activation = below(2) ? TN_UNARY_RELU : 0;
        assert_int_equal(tn_set_num_threads(1 + i % 3), TN_OK);
        check_conv(c, TN_F32);
    }
    tn_conv many = three_by_three(90, 8, 8, 16, 24, 1, 1);
    many.groups = 8;
    check_conv(many, TN_F32);
}

/* What is not finite shows where the plain sum has it, and nowhere else; what overflows only within a tile does not. */
static void test_not_finite(void **state)
{
    (void)state;
    static const float odd[] = {INFINITY, NAN, 3e38F};
    for (int run = 0; run < 6; run++) {
        const int i = run / 2;
        tn_conv c = three_by_three(3, run % 2 ? 3 : 4, 5, 16, 16, 1, 1);
        if (run % 2) /* pairs, of which an odd channel has a zero beside it, not the next image's first */
            c.rounded = true, c.stride_h = c.stride_w = 2, c.oh = c.ow = 8;
        buffer x = make(TN_F32, c.n * c.c_in * 256), w = make(TN_F32, c.c_out * c.c_in * 9), bias = make(TN_F32, c.c_out);
        buffer y = make(TN_F32, c.n * c.c_out * c.oh * c.ow), dy = make(TN_F32, y.count), dx = make(TN_F32, x.count), dw = make(TN_F32, w.count);
        const int64_t at = run % 2 ? 3 * 256 + 70 : 300, of_dy = run % 2 ? 5 * 64 + 27 : 700;
        buffer db = make(TN_F32, c.c_out);
        for (int64_t j = 0; j < w.count; j++)
            w.plain[j] = ((float *)w.kernel)[j] = 1;
        ((float *)x.kernel)[at] = odd[i], x.plain[at] = odd[i];
        ((float *)dy.kernel)[of_dy] = odd[i], dy.plain[of_dy] = odd[i];
        if (i == 2)
            ((float *)x.kernel)[at + 2] = -odd[i], x.plain[at + 2] = -odd[i];
        loops(&c, x, w, bias, y, dy, dx, dw, db);
        c.x = x.kernel, c.weight = w.kernel, c.bias = bias.kernel, c.y = y.kernel;
        const tn_kernels *k = tn_kernels_of(TN_CPU);
        assert_int_equal(k->conv_forward(TN_F32, &c), TN_OK);
        assert_int_equal(k->conv_backward(TN_F32, &(tn_conv_grad){c, dy.kernel, dx.kernel, dw.kernel, db.kernel, NULL, NULL}), TN_OK);
        for (int64_t j = 0; j < y.count; j++)
            assert_true(isfinite(((float *)y.kernel)[j]) == isfinite(y.plain[j]));
        for (int64_t j = 0; j < dx.count; j++)
            assert_true(isfinite(((float *)dx.kernel)[j]) == isfinite(dx.plain[j]));
        for (int64_t j = 0; j < dw.count && i < 2; j++)
            assert_true(isfinite(((float *)dw.kernel)[j]) == isfinite(dw.plain[j]));
        drop(x), drop(w), drop(bias), drop(y), drop(dy), drop(dx), drop(dw), drop(db);
    }
}

/* A NaN of one channel is in what is computed from it and in nothing of the channels, groups and images beside it, whichever thread had which. */
static void test_not_finite_beside(void **state)
{
    (void)state;
    const tn_conv shapes[] = {
        {.n = 20, .c_in = 4, .h = 5, .w = 2, .c_out = 4, .kh = 1, .kw = 1, .oh = 5, .ow = 2, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1,
         .groups = 2},
        {.n = 1, .c_in = 6, .h = 5, .w = 2, .c_out = 7, .kh = 1, .kw = 1, .oh = 5, .ow = 2, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1,
         .groups = 1},
        {.n = 3, .c_in = 3, .h = 9, .w = 9, .c_out = 5, .kh = 3, .kw = 3, .oh = 5, .ow = 5, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1,
         .dil_h = 1, .dil_w = 1, .groups = 1},
    };
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    for (int run = 0; run < 18; run++) {
        tn_conv c = shapes[run % 3];
        c.rounded = run / 3 % 2;
        assert_int_equal(tn_set_num_threads(1 + run / 6), TN_OK);
        buffer x = make(TN_F32, c.n * c.c_in * c.h * c.w), w = make(TN_F32, c.c_out * c.c_in / c.groups * c.kh * c.kw), bias = make(TN_F32, c.c_out);
        buffer y = make(TN_F32, c.n * c.c_out * c.oh * c.ow), dy = make(TN_F32, y.count), dx = make(TN_F32, x.count), dw = make(TN_F32, w.count);
        buffer db = make(TN_F32, c.c_out);
        const int64_t at = (c.n / 2 * c.c_in + c.c_in / 2) * c.h * c.w; /* of a middle channel the first element */
        ((float *)x.kernel)[at] = NAN, x.plain[at] = NAN;
        loops(&c, x, w, bias, y, dy, dx, dw, db);
        c.x = x.kernel, c.weight = w.kernel;
        assert_int_equal(k->conv_backward(TN_F32, &(tn_conv_grad){c, dy.kernel, NULL, dw.kernel, db.kernel, NULL, NULL}), TN_OK);
        for (int64_t j = 0; j < dw.count; j++)
            assert_true(isfinite(((float *)dw.kernel)[j]) == isfinite(dw.plain[j]));
        drop(x), drop(w), drop(bias), drop(y), drop(dy), drop(dx), drop(dw), drop(db);
    }
}

/* ---- errors ------------------------------------------------------------------------------------------------------------- */

/* Numbers by how: x from 0 to 1 and the others of both signs; of all sizes; all alike, so that sums round one way. */
enum { COMMON, SIZES, ALIKE, HOWS };
static float number(int how, bool of_x)
{
    const double u = (double)below(1 << 20) / (1 << 20);
    if (how == SIZES)
        return (float)ldexp(u - 0.5, -(int)below(20));
    return (float)(how == ALIKE ? 1 + u / 64 : of_x ? u : u - 0.5);
}

/* The results of a convolution, and what each one's error is measured by. */
enum { Y, DX, DW, DB, RESULTS };
static const char *const result_names[RESULTS] = {"y", "dx", "dw", "db"};

typedef struct {
    tn_conv c;
    buffer x, w, bias, dy, is[RESULTS], size[RESULTS]; /* is: the kernel's, and, plain, what was due */
} measured;

static void make_absolute(buffer b)
{
    for (int64_t i = 0; i < b.count; i++)
        b.plain[i] = fabs(b.plain[i]);
}

static measured measure(tn_conv c, int how)
{
    measured m = {.x = make(TN_F32, c.n * c.c_in * c.h * c.w), .w = make(TN_F32, c.c_out * c.c_in / c.groups * c.kh * c.kw)};
    m.bias = make(TN_F32, c.c_out), m.dy = make(TN_F32, c.n * c.c_out * c.oh * c.ow);
    const buffer in[] = {m.x, m.w, m.bias, m.dy};
    for (int i = 0; i < 4; i++)
        for (int64_t j = 0; j < in[i].count; j++)
            in[i].plain[j] = ((float *)in[i].kernel)[j] = number(how, i == 0);
    for (int i = 0; i < 2; i++) {
        buffer *out = i ? m.size : m.is;
        out[Y] = make(TN_F32, m.dy.count), out[DX] = make(TN_F32, m.x.count), out[DW] = make(TN_F32, m.w.count), out[DB] = make(TN_F32, c.c_out);
        loops(&c, m.x, m.w, m.bias, out[Y], m.dy, out[DX], out[DW], out[DB]);
        for (int j = 0; j < 4; j++)
            make_absolute(in[j]);
    }
    c.x = m.x.kernel, c.weight = m.w.kernel, c.bias = m.bias.kernel, c.y = m.is[Y].kernel;
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    assert_int_equal(k->conv_forward(TN_F32, &c), TN_OK);
    assert_int_equal(k->conv_backward(TN_F32, &(tn_conv_grad){c, m.dy.kernel, m.is[DX].kernel, m.is[DW].kernel, m.is[DB].kernel, NULL, NULL}), TN_OK);
    m.c = c;
    return m;
}

static void drop_measured(measured *m)
{
    for (int i = 0; i < RESULTS; i++)
        drop(m->is[i]), drop(m->size[i]);
    drop(m->x), drop(m->w), drop(m->bias), drop(m->dy);
}

/* The largest error of a result in ulp of its size. */
static double error_of(const measured *m, int result)
{
    double worst = 0;
    for (int64_t i = 0; i < m->is[result].count; i++) {
        const double off = ulps_of(((float *)m->is[result].kernel)[i], m->is[result].plain[i], m->size[result].plain[i]);
        worst = off > worst ? off : worst;
    }
    return worst;
}

/* Tiles make of a result's terms sums of all that they take in: its size becomes that of each channel's nine numbers, summed, times its nine weights,
 * summed; of a weight's gradient that of a tile's 4 x 4 numbers times its 2 x 2 gradients. */
static void widen(measured *m)
{
    const tn_conv *c = &m->c;
    for (int i = Y; i <= DW; i++)
        memset(m->size[i].plain, 0, (size_t)m->size[i].count * sizeof(double));
    for (int64_t o = 0; o < c->c_out; o++)
        for (int64_t i = 0; i < c->c_in; i++) {
            double weights = 0, of_dw = 0;
            for (int t = 0; t < 9; t++)
                weights += m->w.plain[(o * c->c_in + i) * 9 + t];
            for (int64_t image = 0; image < c->n; image++) {
                const double *x = m->x.plain + (image * c->c_in + i) * c->h * c->w, *dy = m->dy.plain + (image * c->c_out + o) * c->oh * c->ow;
                double *y = m->size[Y].plain + (dy - m->dy.plain), *dx = m->size[DX].plain + (x - m->x.plain);
                for (int64_t at = 0; at < c->oh * c->ow; at++) {
                    double seen = 0;
                    for (int t = 0; t < 9; t++) {
                        const int64_t from = reads(c, at / c->ow, at % c->ow, t);
                        if (from >= 0)
                            seen += x[from], dx[from] += weights * dy[at];
                    }
                    y[at] += weights * seen + (i ? 0 : m->bias.plain[o]);
                }
                for (int64_t ty = 0; ty < c->oh; ty += 2)
                    for (int64_t tx = 0; tx < c->ow; tx += 2) {
                        double grads = 0, seen = 0;
                        for (int t = 0; t < 4; t++)
                            if (ty + t / 2 < c->oh && tx + t % 2 < c->ow)
                                grads += dy[(ty + t / 2) * c->ow + tx + t % 2];
                        for (int t = 0; t < 16; t++) {
                            const int64_t py = ty - c->pad_h + t / 4, px = tx - c->pad_w + t % 4;
                            if (py >= 0 && py < c->h && px >= 0 && px < c->w)
                                seen += x[py * c->w + px];
                        }
                        of_dw += grads * seen;
                    }
            }
            for (int t = 0; t < 9; t++)
                m->size[DW].plain[(o * c->c_in + i) * 9 + t] = of_dw;
        }
}

static bool has_tiles(const tn_conv *c)
{
    return strstr(tn_kernels_of(TN_CPU)->name, "avx") && c->kh == 3 && c->kw == 3 && c->stride_h == 1 && c->stride_w == 1 && c->groups == 1 &&
           c->c_in >= 4 && c->c_out >= 4;
}

/* The bounds of conv.c, and of winograd.c where there are tiles: of the terms, or of the wider size. */
static double most_ulps(const tn_conv *c, int how, int result, bool wide)
{
    const int64_t channels = (result == Y ? c->c_in : c->c_out) / c->groups, k = channels * c->kh * c->kw + 1;
    if (result == DB)
        return how == COMMON ? 2 : 4;
    if (wide)
        return result == DW ? 2.5 : 4 + sqrt((double)channels) / 4;
    if (result == DW)
        return has_tiles(c) ? 2.5 : how == COMMON ? 2 : 8;
    return has_tiles(c) ? 5 : how == COMMON ? fmin(6, 1 + 1.5 * sqrt((double)k)) : how == ALIKE ? 2 + (double)k / 5 : 1 + 1.5 * sqrt((double)k);
}

static void check_bounds(tn_conv c, int how)
{
    measured m = measure(c, how);
    const bool wide = has_tiles(&c) && how != COMMON;
    if (wide)
        widen(&m);
    for (int i = 0; i < RESULTS; i++) {
        const double off = error_of(&m, i), most = most_ulps(&c, how, i, wide);
        if (!(off <= most))
            fail_msg("%d x %d, %d to %d channels in %d groups, how %d: %s is off by %.3g ulp, %.3g are allowed", (int)c.kh, (int)c.kw, (int)c.c_in,
                     (int)c.c_out, (int)c.groups, how, result_names[i], off, most);
    }
    drop_measured(&m);
}

#define CONV(n_, in, height, width, out, k, stride, pad, groups_)                                                             \
    {.n = n_, .c_in = in, .h = height, .w = width, .c_out = out, .kh = k, .kw = k, .oh = ((height) + 2 * (pad) - (k)) / (stride) + 1,  \
     .ow = ((width) + 2 * (pad) - (k)) / (stride) + 1, .stride_h = stride, .stride_w = stride, .pad_h = pad, .pad_w = pad, .dil_h = 1, .dil_w = 1,   \
     .groups = groups_}

/* Narrow lines, whole vectors, one channel, many terms, groups of one, long sums, many images, depthwise of few and of many rows; and tiles. */
static void test_error(void **state)
{
    (void)state;
    state_of_random = 1; /* the same numbers, whatever was drawn before */
    static const tn_conv shapes[] = {
        CONV(4, 37, 16, 16, 48, 3, 2, 1, 1), CONV(4, 64, 16, 16, 48, 1, 1, 0, 1), CONV(6, 1, 28, 28, 20, 3, 1, 1, 1), CONV(2, 20, 14, 14, 50, 5, 1, 0, 1),
        CONV(2, 8, 14, 40, 8, 5, 1, 2, 8), CONV(2, 3, 48, 48, 4, 3, 1, 1, 1), CONV(160, 4, 16, 16, 4, 3, 2, 1, 1), CONV(3, 8, 11, 20, 8, 3, 1, 1, 8),
        CONV(90, 8, 16, 24, 8, 3, 1, 1, 8), CONV(4, 64, 16, 16, 48, 3, 1, 1, 1), CONV(3, 16, 32, 32, 16, 3, 1, 1, 1), CONV(2, 200, 8, 8, 8, 3, 1, 1, 1),
        CONV(2, 5, 64, 64, 4, 3, 1, 1, 1), CONV(40, 8, 8, 8, 8, 3, 1, 1, 1), CONV(3, 7, 16, 16, 7, 3, 1, 1, 1),
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i += test_quickly() ? 2 : 1)
        for (int how = 0; how < HOWS; how++)
            check_bounds(shapes[i], how);
}

/* Of operands rounded to bf16 results are within 2^15 ulp of their terms: twice that at most, where both are rounded the same way, and over 20 seeds
 * 0.89 times. The bias's gradient is not rounded. Tiles, and without: stride 2, and 1 x 1. */
static void test_error_of_rounded(void **state)
{
    (void)state;
    state_of_random = 1;
    const int64_t n = test_emulated() ? 1 : 4;
    tn_conv shapes[] = {CONV(n, 64, 16, 16, 48, 3, 1, 1, 1), CONV(n, 37, 16, 16, 48, 3, 2, 1, 1), CONV(n, 64, 16, 16, 48, 1, 1, 0, 1)};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        shapes[i].rounded = true;
        measured m = measure(shapes[i], COMMON);
        for (int j = 0; j < RESULTS; j++) {
            const double off = error_of(&m, j);
            if (!(off <= (j == DB ? 4 : 0x1p15)))
                fail_msg("shape %d: %s is off by %g ulp", (int)i, result_names[j], off);
            if (j != DB && tn_has_bf16_products() && off < 1000)
                fail_msg("shape %d: %s is off by %g ulp: it was not rounded", (int)i, result_names[j], off);
        }
        drop_measured(&m);
    }
}

/* The number of threads changes no bit. */
static void test_threads(void **state)
{
    (void)state;
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    tn_conv c = three_by_three(37, 5, 9, 12, 13, 1, 1);
    buffer x = make(TN_F32, c.n * c.c_in * c.h * c.w), w = make(TN_F32, c.c_out * c.c_in * 9), dy = make(TN_F32, c.n * c.c_out * c.h * c.w);
    for (int64_t i = 0; i < dy.count; i++)
        ((float *)dy.kernel)[i] /= 3; /* so that the order of sums shows */
    buffer results[2][4];
    c.x = x.kernel, c.weight = w.kernel;
    for (int run = 0; run < 2; run++) {
        buffer *r = results[run];
        r[0] = make(TN_F32, dy.count), r[1] = make(TN_F32, x.count), r[2] = make(TN_F32, w.count), r[3] = make(TN_F32, c.c_out);
        c.y = r[0].kernel;
        assert_int_equal(tn_set_num_threads(run ? 3 : 1), TN_OK);
        assert_int_equal(k->conv_forward(TN_F32, &c), TN_OK);
        assert_int_equal(k->conv_backward(TN_F32, &(tn_conv_grad){c, dy.kernel, r[1].kernel, r[2].kernel, r[3].kernel, NULL, NULL}), TN_OK);
    }
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(results[0][i].kernel, results[1][i].kernel, (size_t)results[0][i].count * sizeof(float));
        drop(results[0][i]), drop(results[1][i]);
    }
    drop(x), drop(w), drop(dy);
}

static const tn_dtype floats[] = {TN_F32, TN_F64, TN_BF16, TN_F16};

static tn_pool random_pool(int i)
{
    tn_pool p = {.planes = 1 + below(4), .kh = 1 + below(4), .kw = 1 + below(4), .stride_h = 1 + below(3), .stride_w = 1 + below(3)};
    p.dil_h = 1 + below(2), p.dil_w = 1 + below(2);
    if (i % 3 == 0)
        p.kh = p.kw = p.stride_h = p.stride_w = 2, p.dil_h = p.dil_w = 1;
    p.pad_h = i % 3 ? below(p.kh / 2 + 1) : 0, p.pad_w = i % 3 ? below(p.kw / 2 + 1) : 0;
    p.h = (p.kh - 1) * p.dil_h + 1 + below(9), p.w = (p.kw - 1) * p.dil_w + 1 + below(i % 7 ? 30 : 600);
    p.oh = (p.h + 2 * p.pad_h - (p.kh - 1) * p.dil_h - 1) / p.stride_h + 1;
    p.ow = (p.w + 2 * p.pad_w - (p.kw - 1) * p.dil_w - 1) / p.stride_w + 1;
    return p;
}

static int64_t pool_reads(const tn_pool *p, int64_t o, int64_t tap)
{
    tn_conv c = {.h = p->h, .w = p->w, .kh = p->kh, .kw = p->kw, .stride_h = p->stride_h, .stride_w = p->stride_w, .pad_h = p->pad_h,
                 .pad_w = p->pad_w, .dil_h = p->dil_h, .dil_w = p->dil_w};
    return reads(&c, o / p->ow % p->oh, o % p->ow, tap);
}

static void check_max_pool(tn_pool p, tn_dtype dtype)
{
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    int64_t plane = p.h * p.w;
    buffer x = make(dtype, p.planes * plane), y = make(dtype, p.planes * p.oh * p.ow), dy = make(dtype, y.count), dx = make(dtype, x.count);
    int64_t *where = calloc((size_t)y.count, sizeof *where);
    void *index = calloc((size_t)y.count, 4);
    if (below(3) == 0)
        set(dtype, x, below(x.count), NAN);
    buffer bare = make(dtype, y.count), taken = make(dtype, y.count);
    assert_int_equal(k->max_pool(dtype, &p, x.kernel, bare.kernel, NULL), TN_OK); /* without an index */
    assert_int_equal(k->max_pool(dtype, &p, x.kernel, y.kernel, index), TN_OK);
    assert_int_equal(k->max_pool_take(dtype, &p, x.kernel, index, taken.kernel), TN_OK);
    assert_int_equal(k->max_pool_backward(dtype, &p, dy.kernel, index, dx.kernel), TN_OK);
    assert_int_equal(k->max_pool_where(&p, index, where), TN_OK);
    memset(dx.plain, 0, (size_t)dx.count * sizeof(double));
    for (int64_t o = 0; o < y.count; o++) {
        int64_t from = o / (p.oh * p.ow) * plane, best = -1;
        for (int64_t tap = 0; tap < p.kh * p.kw; tap++) {
            int64_t at = pool_reads(&p, o, tap);
            if (at >= 0 && (best < 0 || x.plain[from + at] > x.plain[from + best] || isnan(x.plain[from + at])))
                best = at;
        }
        assert_int_equal(where[o], best);
        double due = x.plain[from + best];
        for (int i = 0; i < 3; i++) {
            const double v = value(dtype, i == 0 ? y : i == 1 ? bare : taken, o);
            assert_true(v == due || (isnan(due) && isnan(v)));
        }
        dx.plain[from + best] += dy.plain[o];
    }
    same(dtype, "dx", dx);
    drop(x), drop(y), drop(dy), drop(dx), drop(bare), drop(taken);
    free(where);
    free(index);
}

static void test_max_pool(void **state)
{
    (void)state;
    for (int i = 0; i < 800; i++) {
        assert_int_equal(tn_set_num_threads(1 + i / 4 % 2), TN_OK);
        check_max_pool(random_pool(i), floats[i % 4]);
    }
    /* more than 256 taps: indices of four bytes */
    check_max_pool((tn_pool){.planes = 2, .h = 40, .w = 40, .oh = 3, .ow = 3, .kh = 20, .kw = 20, .stride_h = 10, .stride_w = 10,
                             .dil_h = 1, .dil_w = 1}, TN_F32);
}

static void test_avg_pool(void **state)
{
    (void)state;
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    for (int i = 0; i < 400; i++) {
        tn_pool p = random_pool(i);
        tn_dtype dtype = floats[i % 4];
        p.dil_h = p.dil_w = 1;
        p.oh = (p.h + 2 * p.pad_h - p.kh) / p.stride_h + 1, p.ow = (p.w + 2 * p.pad_w - p.kw) / p.stride_w + 1;
        p.count_include_pad = below(2);
        p.divisor = below(4) ? 0 : 3;
        buffer x = make(dtype, p.planes * p.h * p.w), y = make(dtype, p.planes * p.oh * p.ow), dy = make(dtype, y.count);
        buffer dx = make(dtype, x.count);
        assert_int_equal(k->avg_pool(dtype, &p, x.kernel, y.kernel), TN_OK);
        assert_int_equal(k->avg_pool_backward(dtype, &p, dy.kernel, dx.kernel), TN_OK);
        memset(dx.plain, 0, (size_t)dx.count * sizeof(double));
        for (int64_t o = 0; o < y.count; o++) {
            double sum = 0, inside = 0, *plane = x.plain + o / (p.oh * p.ow) * p.h * p.w, *to = dx.plain + (plane - x.plain);
            for (int64_t tap = 0; tap < p.kh * p.kw; tap++) {
                int64_t at = pool_reads(&p, o, tap);
                sum += at < 0 ? 0 : plane[at];
                inside += at >= 0;
            }
            double divisor = p.divisor ? (double)p.divisor : p.count_include_pad ? (double)(p.kh * p.kw) : inside;
            y.plain[o] = sum / divisor;
            for (int64_t tap = 0; tap < p.kh * p.kw; tap++)
                if (pool_reads(&p, o, tap) >= 0)
                    to[pool_reads(&p, o, tap)] += dy.plain[o] / divisor;
        }
        same(dtype, "y", y);
        same(dtype, "dx", dx);
        drop(x), drop(y), drop(dy), drop(dx);
    }
}

static void test_unfold(void **state)
{
    (void)state;
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    for (int i = 0; i < 100; i++) {
        tn_conv c = random_conv();
        tn_dtype dtype = i % 2 ? TN_F64 : TN_F32;
        int64_t spatial = c.oh * c.ow, taps = c.kh * c.kw;
        buffer x = make(dtype, c.n * c.c_in * c.h * c.w), columns = make(dtype, c.n * c.c_in * taps * spatial), back = make(dtype, x.count);
        assert_int_equal(k->unfold(dtype, &c, x.kernel, columns.kernel), TN_OK);
        assert_int_equal(k->fold(dtype, &c, columns.kernel, back.kernel), TN_OK);
        memset(back.plain, 0, (size_t)back.count * sizeof(double));
        for (int64_t j = 0; j < columns.count; j++) {
            int64_t plane = j / spatial / taps, at = reads(&c, j / c.ow % c.oh, j % c.ow, j / spatial % taps);
            columns.plain[j] = at < 0 ? 0 : x.plain[plane * c.h * c.w + at];
            if (at >= 0)
                back.plain[plane * c.h * c.w + at] += columns.plain[j];
        }
        same(dtype, "columns", columns);
        same(dtype, "x", back);
        drop(x), drop(columns), drop(back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_conv), TEST(test_conv_shapes), TEST(test_three_by_three), TEST(test_depthwise),
                                       TEST(test_not_finite), TEST(test_not_finite_beside), TEST(test_error), TEST(test_error_of_rounded),
                                       TEST(test_threads), TEST(test_max_pool), TEST(test_avg_pool), TEST(test_unfold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
