/* Depthwise convolution of 3 x 3 taps: a row of the plane is loaded once, the two that are shifted by a column are made of it in registers, and
 * it goes into the sums of the three rows of outputs that it is seen from. What lies outside of the plane is zero. */
#include "kernels/cpu/depthwise.h"
#include "kernels/cpu/vector.h"

typedef float vec __attribute__((vector_size(TN_VECTOR_BYTES)));
typedef float uvec __attribute__((vector_size(TN_VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(TN_VECTOR_BYTES)));
enum { WIDTH = TN_VECTOR_BYTES / 4, TAPS = 9 };

/* x with `edge`, which is the same in all lanes, moved in from the left, or from the right. */
#if TN_VECTOR_BYTES == 64
#define FROM_LEFT(edge, x) __builtin_shufflevector(edge, x, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30)
#define FROM_RIGHT(x, edge) __builtin_shufflevector(x, edge, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
#elif TN_VECTOR_BYTES == 32
#define FROM_LEFT(edge, x) __builtin_shufflevector(edge, x, 7, 8, 9, 10, 11, 12, 13, 14)
#define FROM_RIGHT(x, edge) __builtin_shufflevector(x, edge, 1, 2, 3, 4, 5, 6, 7, 8)
#else
#define FROM_LEFT(edge, x) __builtin_shufflevector(edge, x, 3, 4, 5, 6)
#define FROM_RIGHT(x, edge) __builtin_shufflevector(x, edge, 1, 2, 3, 4)
#endif

bool TN_K(depthwise_fits)(tn_dtype dtype, const tn_conv *c)
{
    return dtype == TN_F32 && c->kh == 3 && c->kw == 3 && c->stride_h == 1 && c->stride_w == 1 && c->dil_h == 1 && c->dil_w == 1 &&
           c->pad_h == 1 && c->pad_w == 1 && c->groups == c->c_in && c->groups == c->c_out && c->h > 0 && c->w >= WIDTH;
}

TN_INLINE vec any(const float *at) { return *(const uvec *)at; }

/* What the three columns of taps see of a row; first, last: it begins, ends at the plane's edge. */
TN_INLINE void load(vec x[3], const float *at, bool first, bool last)
{
    const vec zero = {0};
    x[1] = any(at);
    x[0] = FROM_LEFT(first ? zero : at[-1] - zero, x[1]);
    x[2] = FROM_RIGHT(x[1], last ? zero : at[WIDTH] - zero);
}

TN_INLINE void store(float *out, vec sum, bool relu)
{
    const vec zero = {0};
    *(uvec *)out = relu ? (vec)((ivec)sum & ~(sum < zero)) : sum; /* NaN stays */
}

typedef struct plane {
    int64_t h, w;
    const float *x, *dy;
    float *y;
} plane;

/* The outputs of a vector's columns, from `at` on. */
TN_INLINE void columns(const plane *p, int64_t at, bool first, bool last, const vec tap[TAPS], vec bias, bool relu)
{
    const float *x = p->x + at;
    float *y = p->y + at;
    vec above = bias, here = bias;
    for (int64_t row = 0; row < p->h; row++, x += p->w) {
        vec in[3], below = bias;
        load(in, x, first, last);
        TN_UNROLL for (int j = 0; j < 3; j++) {
            above += in[j] * tap[6 + j];
            here += in[j] * tap[3 + j];
            below += in[j] * tap[j];
        }
        if (row > 0) {
            store(y, above, relu);
            y += p->w;
        }
        above = here;
        here = below;
    }
    store(y, above, relu);
}

/* sums[t] += dy times what tap t sees, sums[TAPS] += dy, for a vector's columns from `at` on of which the first `skip` were counted before. */
TN_INLINE void products(const plane *p, int64_t at, int64_t skip, bool first, bool last, vec sums[TAPS + 1])
{
    const float *x = p->x + at, *dy = p->dy + at;
    vec sum[TAPS + 1], above = {0};
    ivec counted;
    for (int l = 0; l < WIDTH; l++)
        counted[l] = l < skip ? 0 : -1;
    TN_UNROLL for (int t = 0; t <= TAPS; t++)
        sum[t] = sums[t];
    vec here = (vec)((ivec)any(dy) & counted);
    for (int64_t row = 0; row < p->h; row++, x += p->w) {
        vec in[3], below = {0};
        load(in, x, first, last);
        dy += p->w;
        if (row < p->h - 1)
            below = (vec)((ivec)any(dy) & counted);
        TN_UNROLL for (int j = 0; j < 3; j++) {
            sum[j] += in[j] * below;
            sum[3 + j] += in[j] * here;
            sum[6 + j] += in[j] * above;
        }
        sum[TAPS] += here;
        above = here;
        here = below;
    }
    TN_UNROLL for (int t = 0; t <= TAPS; t++)
        sums[t] = sum[t];
}

/* CALL(at, skip, first, last) for each vector of columns; the last one overlaps that before where rows are not of whole vectors. */
#define EACH_COLUMN(w, CALL)                                                                                                  \
    if ((w) == WIDTH) {                                                                                                       \
        CALL(0, 0, true, true);                                                                                               \
    } else {                                                                                                                  \
        int64_t at = WIDTH;                                                                                                   \
        CALL(0, 0, true, false);                                                                                              \
        for (; at + WIDTH < (w); at += WIDTH)                                                                                 \
            CALL(at, 0, false, false);                                                                                        \
        CALL((w) - WIDTH, at + WIDTH - (w), false, true);                                                                     \
    }

typedef struct job {
    const tn_conv *c;
    bool transposed;
    const float *in; /* forward's x, or dy */
    float *out, *dw, *db;
} job;

static void forward_planes(int64_t begin, int64_t end, void *context)
{
    const job *j = context;
    const tn_conv *c = j->c;
    const bool relu = !j->transposed && c->activation == TN_UNARY_RELU;
    const vec zero = {0};
    for (int64_t k = begin; k < end; k++) {
        const int64_t channel = k % c->groups, at_plane = k * c->h * c->w;
        const float *weight = (const float *)c->weight + channel * TAPS;
        const plane p = {.h = c->h, .w = c->w, .x = j->in + at_plane, .y = j->out + at_plane};
        const vec bias = (!j->transposed && c->bias ? ((const float *)c->bias)[channel] : 0) - zero;
        vec tap[TAPS];
        TN_UNROLL for (int t = 0; t < TAPS; t++)
            tap[t] = weight[j->transposed ? TAPS - 1 - t : t] - zero;
#define CALL(at, skip, first, last) ((void)(skip), columns(&p, at, first, last, tap, bias, relu))
        EACH_COLUMN(c->w, CALL)
#undef CALL
    }
}

void TN_K(depthwise)(const tn_conv *c, bool transposed, const float *in, float *out)
{
    job j = {.c = c, .transposed = transposed, .in = in, .out = out};
    tn_parallel_for(c->n * c->groups, tn_ceil_div(TN_GRAIN / 4, c->h * c->w), forward_planes, &j);
}

/* Channels, each over all images: rows are summed in float32 for some thousand terms of a lane at most, and in float64 from there on. */
static void weight_planes(int64_t begin, int64_t end, void *context)
{
    enum { ROWS = 1024 };
    const job *j = context;
    const tn_conv *c = j->c;
    for (int64_t channel = begin; channel < end; channel++) {
        vec sums[TAPS + 1] = {{0}};
        double total[TAPS + 1] = {0};
        for (int64_t image = 0, rows = 0; image < c->n; image++) {
            const int64_t at_plane = (image * c->groups + channel) * c->h * c->w;
            const plane p = {.h = c->h, .w = c->w, .x = (const float *)c->x + at_plane, .dy = j->in + at_plane};
#define CALL(at, skip, first, last) products(&p, at, skip, first, last, sums)
            EACH_COLUMN(c->w, CALL)
#undef CALL
            rows += c->h * tn_ceil_div(c->w, WIDTH);
            if (rows < ROWS && image < c->n - 1)
                continue;
            for (int t = 0; t <= TAPS; t++) {
                for (int l = 0; l < WIDTH; l++)
                    total[t] += (double)sums[t][l];
                sums[t] = (vec){0};
            }
            rows = 0;
        }
        for (int t = 0; t < TAPS && j->dw; t++)
            j->dw[channel * TAPS + t] = (float)total[t];
        if (j->db)
            j->db[channel] = (float)total[TAPS];
    }
}

void TN_K(depthwise_weights)(const tn_conv *c, const float *dy, float *dw, float *db)
{
    job j = {.c = c, .in = dy, .dw = dw, .db = db};
    tn_parallel_for(c->groups, tn_ceil_div(TN_GRAIN / 4, tn_max_i64(1, c->n * c->h * c->w)), weight_planes, &j);
}
