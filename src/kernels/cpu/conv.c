/* Convolution, forward and its three gradients. The arithmetic is in conv_rows.h, conv_product.h and conv_weights.h; here are the plans, which
 * do not depend on the element type.
 *
 * Errors of f32 in ulp of the sum of the terms' magnitudes, depthwise.c's too: of y and of dx, whose k terms (channels times taps, and the bias) are
 * added one after another, 1 + 1.5 sqrt(k), for they may all be small beside the first, and 2 + k / 5 where all are alike and so all sums rounded the
 * same way; of dw 8, up to a thousand positions in a lane (of an image, or of 1024 in several); of db 4. Numbers of both signs and one size come to 6
 * at most, dw and db to 2. Of operands rounded to bf16, 2^15. 30 seeds came to three quarters of these (tests/test_conv.c). */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/depthwise.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/pairs.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu/winograd.h"

/* Elements past the planes that whole vectors may read; outputs computed in one piece, so that they stay in the first cache; and what images
 * whose weights' gradients are computed together may take of the second cache, and their rows of dy, which all taps read, of the first. */
enum { SLACK = 64, STRIP = 768, BATCH_BYTES = 384 << 10, ROWS_BYTES = 32 << 10 };

/* Most rows of a block, and most sums in registers. */
enum { ROWS = TN_VECTOR_BYTES == 64 ? 8 : 6, SUMS = TN_VECTOR_BYTES == 64 ? 24 : 12 };

/* How one dimension of an image is spread: position q of phase i holds image position q * stride + (i * dilation) % stride - pad. */
typedef struct {
    int64_t size, stride, phases, dilation, pad;
} axis;

typedef struct {
    int64_t begin, end, shift; /* positions [begin, end) of a phase hold image positions q * stride + shift */
} span;

typedef struct {
    axis y, x;
    int64_t h, w, plane; /* the image's plane, and the elements of one channel's spread planes */
    bool narrow;         /* each tap of a line has columns of its own, so that lines of outputs lie without a gap: see fits_narrow() */
} spread_plan;

/* out[row][y][x] = sum over k of weight[row][k] * spread[base + off[k] + y * cols + x] */
typedef struct {
    int64_t rows, k, oh, ow, cols, base, out_base, out_plane, out_row, out_col;
    int64_t *off, *channel, *tap; /* k distances, and which of the weights each one takes */
    bool alternates;              /* its columns of out and those of the next product alternate */
} product;

typedef struct {
    const tn_conv *conv;
    bool transposed, gaps;  /* the gradient of x; it has elements that no tap reaches */
    int64_t in, rows;       /* channels in and out, of one group */
    int64_t together;       /* channels in an element of the planes: 1, or pairs */
    int64_t depth;          /* channels of the planes */
    int64_t out_plane;      /* elements of a channel's result */
    int64_t packed;         /* elements of one group's packed weights */
    int64_t products;
    spread_plan plan;
    product *product;
    size_t memory_size;
} convolution;

typedef struct {
    int64_t k;
    const int64_t *off;
    int64_t images, lines, length, x_line; /* dy's lines lie one after another, x's x_line apart; where lines is 1, it is the whole plane */
    int64_t dy_plane, dy_image, x_image;
} weight_plan;

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static span axis_span(const axis *a, int64_t phase, int64_t n)
{
    int64_t shift = phase * a->dilation % a->stride - a->pad;
    span s = {tn_max_i64(0, -floor_div(shift, a->stride)), tn_min_i64(a->size, floor_div(n - 1 - shift, a->stride) + 1), shift};
    s.end = tn_max_i64(s.begin, s.end);
    return s;
}

static int64_t period_of(int64_t stride, int64_t dilation) { return stride / gcd(stride, dilation); }

static axis axis_forward(int64_t out, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad)
{
    return (axis){out + (kernel - 1) * dilation / stride, stride, tn_min_i64(kernel, period_of(stride, dilation)), dilation, pad};
}

/* The gradient's rows as the gradient of x reads them: from the first that a phase of x needs to the last. */
static axis axis_backward(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad)
{
    int64_t low = pad / stride - (kernel - 1) * dilation / stride, high = (size - 1 + pad) / stride;
    return (axis){high - low + 1, 1, 1, 1, -low};
}

/* Rows in blocks of nearly the same size: a block's sums, times vectors, are the registers of the inner loop. */
static int64_t block_count(int64_t rows) { return tn_ceil_div(rows, ROWS); }
static int64_t block_begin(int64_t rows, int64_t block) { return block * rows / block_count(rows); }

static int64_t product_strip(const product *p) { return tn_min_i64(p->oh, tn_max_i64(1, STRIP / p->cols)); }
static int64_t product_pitch(const product *p)
{
    return (tn_ceil_div((product_strip(p) - 1) * p->cols + p->ow, 16) | 1) * 16;
}

static tn_status plan_alloc(convolution *v, int64_t products, int64_t k)
{
    v->memory_size = (size_t)products * sizeof(product) + 3 * (size_t)k * sizeof(int64_t);
    v->product = tn_alloc(v->memory_size);
    return v->product ? TN_OK : TN_ERR_MEMORY;
}

/* Lines of 8 outputs, half a vector, of lines of 16 in steps of 2: at the planes' pitch of 9 a fifth of all lanes would be for nothing. With an even
 * number of lines they are whole vectors, which go to the result as they are (is_dense()). */
static bool fits_narrow(tn_dtype dtype, const tn_conv *c)
{
    return TN_VECTOR_BYTES == 64 && dtype == TN_F32 && c->kw == 3 && c->stride_w == 2 && c->dil_w == 1 && c->pad_w == 1 && c->w == 16 && c->ow == 8 &&
           c->oh % 2 == 0;
}

static tn_status plan_forward(convolution *v, const tn_conv *c, int64_t together, bool narrow)
{
    *v = (convolution){.conv = c, .in = c->c_in / c->groups, .rows = c->c_out / c->groups, .out_plane = c->oh * c->ow, .products = 1};
    v->together = together;
    v->depth = tn_ceil_div(v->in, together);
    axis y = axis_forward(c->oh, c->kh, c->stride_h, c->dil_h, c->pad_h);
    axis x = narrow ? (axis){.size = c->ow, .phases = c->kw} : axis_forward(c->ow, c->kw, c->stride_w, c->dil_w, c->pad_w);
    v->plan = (spread_plan){y, x, c->h, c->w, y.phases * x.phases * y.size * x.size, narrow};
    int64_t k = v->depth * c->kh * c->kw;
    v->packed = v->rows * k;
    if (plan_alloc(v, 1, k) != TN_OK)
        return TN_ERR_MEMORY;
    int64_t *off = (int64_t *)(v->product + 1);
    *v->product = (product){v->rows, k, c->oh, c->ow, x.size, 0, 0, v->out_plane, c->ow, 1, off, off + k, off + 2 * k, false};
    for (int64_t i = 0; i < k; i++) {
        int64_t channel = i / (c->kh * c->kw), ky = i / c->kw % c->kh, kx = i % c->kw;
        int64_t phase = ky % period_of(c->stride_h, c->dil_h) * x.phases + (narrow ? kx : kx % period_of(c->stride_w, c->dil_w));
        off[i] = channel * v->plan.plane + (phase * y.size + ky * c->dil_h / c->stride_h) * x.size + (narrow ? 0 : kx * c->dil_w / c->stride_w);
        v->product->channel[i] = channel;
        v->product->tap[i] = ky * c->kw + kx;
    }
    return TN_OK;
}

/* The taps of phase (ry, rx) of x, which begins with its `first` column, for each channel of the gradient; returns how many. */
static int64_t plan_taps(const convolution *v, product *p, int64_t ry, int64_t rx, int64_t first)
{
    const tn_conv *c = v->conv;
    int64_t k = 0;
    for (int64_t channel = 0; channel < v->depth; channel++) {
        for (int64_t tap = 0; tap < c->kh * c->kw; tap++) {
            int64_t y = tap / c->kw * c->dil_h, x = tap % c->kw * c->dil_w;
            if (y % c->stride_h != ry || x % c->stride_w != rx)
                continue;
            const int64_t column = first - x / c->stride_w; /* a plane of its own where narrow, 0 or 1 */
            p->off[k] = channel * v->plan.plane - y / c->stride_h * p->cols + (v->plan.narrow ? column * v->plan.y.size * p->cols : column);
            p->channel[k] = channel;
            p->tap[k++] = tap;
        }
    }
    return k;
}

static tn_status plan_backward(convolution *v, const tn_conv *c, int64_t together, bool narrow)
{
    *v = (convolution){.conv = c, .transposed = true, .in = c->c_out / c->groups, .rows = c->c_in / c->groups};
    v->together = together;
    v->depth = tn_ceil_div(v->in, together);
    axis y = axis_backward(c->h, c->kh, c->stride_h, c->dil_h, c->pad_h);
    axis x = narrow ? (axis){.size = c->ow, .phases = 2} : axis_backward(c->w, c->kw, c->stride_w, c->dil_w, c->pad_w);
    v->plan = (spread_plan){y, x, c->oh, c->ow, y.size * x.phases * x.size, narrow};
    v->out_plane = c->h * c->w;
    int64_t all = v->depth * c->kh * c->kw, used = 0;
    v->packed = v->rows * all;
    if (plan_alloc(v, c->stride_h * c->stride_w, all) != TN_OK)
        return TN_ERR_MEMORY;
    int64_t *memory = (int64_t *)(v->product + c->stride_h * c->stride_w);
    bool kept = false; /* the product of the phase before */
    axis py = {INT64_MAX, c->stride_h, 1, 1, c->pad_h}, px = {INT64_MAX, c->stride_w, 1, 1, c->pad_w};
    for (int64_t phase = 0; phase < c->stride_h * c->stride_w; phase++) {
        int64_t ry = phase / c->stride_w, rx = phase % c->stride_w;
        span sy = axis_span(&py, ry, c->h), sx = axis_span(&px, rx, c->w);
        product *p = &v->product[v->products];
        *p = (product){.rows = v->rows, .oh = sy.end - sy.begin, .ow = sx.end - sx.begin, .cols = x.size};
        p->base = (sy.begin + y.pad) * x.size + x.pad;
        p->out_base = (sy.begin * c->stride_h + sy.shift) * c->w + sx.begin * c->stride_w + sx.shift;
        p->out_plane = v->out_plane;
        p->out_row = c->stride_h * c->w;
        p->out_col = c->stride_w;
        p->off = memory + used;
        p->channel = p->off + all;
        p->tap = p->channel + all;
        p->k = plan_taps(v, p, ry, rx, sx.begin);
        used += p->k;
        if (c->stride_w == 2 && rx == 1 && kept && p->k > 0)
            p[-1].alternates = p[-1].ow == p->ow;
        kept = p->k > 0;
        v->gaps |= p->k == 0;
        v->products += p->k > 0;
    }
    return TN_OK;
}

static void plan_free(convolution *v) { tn_free(v->product, v->memory_size); }

/* Lines of outputs lie one after another in the planes as in the result, and strips are of whole vectors. */
static bool is_dense(const product *p, int64_t width)
{
    return p->cols == p->ow && p->out_row == p->ow && p->out_col == 1 && p->oh * p->ow % width == 0 && product_strip(p) * p->cols % width == 0;
}

/* A 1 x 1 kernel reads the image as it lies and writes the result as it lies. */
static bool is_direct(const convolution *v, int64_t width)
{
    const tn_conv *c = v->conv;
    return c->kh == 1 && c->kw == 1 && c->stride_h == 1 && c->stride_w == 1 && c->pad_h == 0 && c->pad_w == 0 && is_dense(&v->product[0], width);
}

/* ---- the ways to multiply ---------------------------------------------------------------------------------------------------------- */

#define STEP(sum, x, w) ((sum) + (x) * (w))
#define SPLAT(w) ((w) - (VEC){0}) /* w - 0 is w */
#define WEIGHT(w, next) (w)
#define PREPARE(room, image, channels, plane) ((void)(room), (image))
#define PUT_ROW ROW(copy_row)
#define SUM ROW(sum)
#define TARGET
#define T float
#define E float
#define N(name) name##_f32
#define ROW(name) name##_f32
#include "kernels/cpu/conv_rows.h"
#include "kernels/cpu/conv_product.h"
#include "kernels/cpu/conv_weights.h"
#undef T
#undef E
#undef N
#undef ROW
#define T double
#define E double
#define N(name) name##_f64
#define ROW(name) name##_f64
#include "kernels/cpu/conv_rows.h"
#include "kernels/cpu/conv_product.h"
#include "kernels/cpu/conv_weights.h"
#undef T
#undef E
#undef N
#undef ROW
#undef STEP
#undef SPLAT
#undef WEIGHT
#undef PREPARE
#undef PUT_ROW
#undef SUM
#undef TARGET

#if defined(__AVX512F__)
/* Under autocast: neighbouring channels as pairs where products are summed over channels, neighbouring positions where over positions. */
TN_PAIRS static const float *pair_channels(float *to, const float *image, int64_t channels, int64_t plane)
{
    float *at = to;
    for (int64_t c = 0; c < channels; c += 2, image += 2 * plane, at += plane)
        for (int64_t i = 0; i < plane; i += 16) {
            const __mmask16 lanes = tn_first_(plane - i), second = c + 1 < channels ? lanes : 0;
            const __m512 low = _mm512_maskz_loadu_ps(lanes, image + i), high = _mm512_maskz_loadu_ps(second, image + plane + i);
            _mm512_mask_storeu_ps(at + i, lanes, tn_pairs_of(low, high));
        }
    return to;
}

TN_PAIRS static const uint16_t *halve_channels(uint16_t *to, const float *image, int64_t channels, int64_t plane)
{
    tn_halve(to, image, channels * plane);
    return to;
}

#define STEP(sum, x, w) ((VEC)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(x), (__m512bh)(w)))
#define SPLAT(w) ((VEC)_mm512_set1_ps(w))
#define WEIGHT tn_pair_of
#define PREPARE pair_channels
#define TARGET TN_PAIRS
#define T float
#define N(name) name##_pairs
#define ROW(name) name##_f32
#include "kernels/cpu/conv_product.h"
#undef T
#undef N
#undef ROW
#undef PREPARE
#define PREPARE halve_channels
#define PUT_ROW tn_halve
#define SUM sum_f32
#define T uint16_t
#define ROW(name) name##_u16
#include "kernels/cpu/conv_rows.h"
#undef T
#define T float
#define E uint16_t
#define N(name) name##_pairs
#include "kernels/cpu/conv_weights.h"

static bool pairs(tn_dtype dtype, const tn_conv *c) { return dtype == TN_F32 && c->rounded && tn_has_pairs(); }
#else
static bool pairs(tn_dtype dtype, const tn_conv *c) { return (void)dtype, (void)c, false; }
#define multiply_all_pairs multiply_all_f32
#define weight_grad_pairs weight_grad_f32
#endif

/* Of one channel there is no second to make pairs with. */
static int64_t together(tn_dtype dtype, const tn_conv *c, int64_t channels) { return channels > c->groups && pairs(dtype, c) ? 2 : 1; }

static tn_status multiply_all(tn_dtype dtype, const convolution *v, const void *in, const void *bias, bool relu, void *out)
{
    const tn_conv *c = v->conv;
    return (dtype == TN_F64 ? multiply_all_f64(v, in, c->weight, bias, relu, out)
            : v->together == 2 ? multiply_all_pairs(v, in, c->weight, bias, relu, out) : multiply_all_f32(v, in, c->weight, bias, relu, out));
}

tn_status TN_K(conv_forward)(tn_dtype dtype, const tn_conv *c)
{
    convolution v;
    if (c->n == 0 || c->c_out == 0)
        return TN_OK;
    tn_status status = TN_OK;
    bool whole = false;
    if (TN_K(depthwise_fits)(dtype, c))
        return TN_K(depthwise)(c, false, c->x, c->y), TN_OK;
    if (TN_K(winograd_fits)(dtype, c))
        status = TN_K(winograd)(c, false, c->x, c->y, &whole);
    if (status != TN_OK || whole || (status = plan_forward(&v, c, together(dtype, c, c->c_in), fits_narrow(dtype, c))) != TN_OK)
        return status;
    status = multiply_all(dtype, &v, c->x, c->bias, c->activation == TN_UNARY_RELU, c->y);
    plan_free(&v);
    return status;
}

static tn_status input_grad(tn_dtype dtype, const tn_conv_grad *g)
{
    const tn_conv *c = &g->conv;
    convolution v;
    tn_status status = TN_OK;
    bool whole = false;
    if (TN_K(depthwise_fits)(dtype, c))
        return TN_K(depthwise)(c, true, g->dy, g->dx), TN_OK;
    if (TN_K(winograd_fits)(dtype, c))
        status = TN_K(winograd)(c, true, g->dy, g->dx, &whole);
    if (status != TN_OK || whole || (status = plan_backward(&v, c, together(dtype, c, c->c_out), fits_narrow(dtype, c))) != TN_OK)
        return status;
    status = multiply_all(dtype, &v, g->dy, NULL, false, g->dx);
    plan_free(&v);
    return status;
}

static tn_status weight_grad(tn_dtype dtype, const tn_conv_grad *g)
{
    const tn_conv *c = &g->conv;
    convolution v;
    tn_status status = TN_OK;
    bool whole = false;
    if (TN_K(depthwise_fits)(dtype, c) && c->groups >= 8) /* enough for threads */
        return TN_K(depthwise_weights)(c, g->dy, g->dw, g->db), TN_OK;
    if (g->dw && TN_K(winograd_fits)(dtype, c))
        status = TN_K(winograd_weights)(c, g->dy, g->dw, g->db, &whole);
    if (status != TN_OK || whole || (status = plan_forward(&v, c, 1, fits_narrow(dtype, c))) != TN_OK)
        return status;
    status = dtype == TN_F64 ? weight_grad_f64(&v, c->x, g->dy, g->dw, g->db)
             : pairs(dtype, c) ? weight_grad_pairs(&v, c->x, g->dy, g->dw, g->db) : weight_grad_f32(&v, c->x, g->dy, g->dw, g->db);
    plan_free(&v);
    return status;
}

static tn_status gradients(tn_dtype dtype, const tn_conv_grad *g)
{
    const tn_conv *c = &g->conv;
    tn_status status = g->dx && c->n > 0 ? input_grad(dtype, g) : TN_OK;
    return status == TN_OK && (g->dw || g->db) && c->c_out > 0 ? weight_grad(dtype, g) : status;
}

tn_status TN_K(conv_backward)(tn_dtype dtype, const tn_conv_grad *g)
{
    if (!g->relu)
        return gradients(dtype, g);
    tn_conv_grad after = *g;
    after.dy = g->slope;
    const tn_loop slope = tn_conv_slope(g, tn_dtype_size(dtype));
    const tn_status status = slope.sizes[0] > 0 ? TN_K(binary)(TN_BINARY_RELU_BACKWARD, dtype, &slope) : TN_OK;
    return status == TN_OK ? gradients(dtype, &after) : status;
}
