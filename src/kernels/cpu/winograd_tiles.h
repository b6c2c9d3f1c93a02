/* Tiles, and how vectors of them are transformed: winograd.c.
 *
 * A tile is 2 x 2 outputs and the 4 x 4 inputs that they need. A group is up to as many tiles as a vector has lanes: tiles beside each other, or, where
 * the image is narrow, of 2 or 4 rows of tiles. */
#if defined(__AVX512F__)
#include "kernels/cpu/winograd_lines.h"
#else
#include "kernels/cpu/winograd_planes.h"
#endif

/* How many of `count` groups are of the first one's image. */
static int64_t of_one_image(const group *g, int64_t count)
{
    int64_t n = 1;
    while (n < count && g[n].image == g->image)
        n++;
    return n;
}

/* The transforms below act on one row of four or on four rows: B'd on inputs, A'm on products, A y on gradients. */
TN_INLINE void input_side(vec *d0, vec *d1, vec *d2, vec *d3)
{
    const vec e0 = *d0 - *d2, e1 = *d1 + *d2, e2 = *d2 - *d1, e3 = *d3 - *d1;
    *d0 = e0, *d1 = e1, *d2 = e2, *d3 = e3;
}

/* A group's tiles of a plane of x: plane p of the tile at v + p * step. */
TN_INLINE void transform_input(const tiling *t, const group *g, const float *x, float *v, int64_t step)
{
    vec d[4][4];
    TN_UNROLL for (int i = 0; i < 4; i++) {
        load_inputs(t, g, i, x, d[i]);
        input_side(&d[i][0], &d[i][1], &d[i][2], &d[i][3]);
    }
    TN_UNROLL for (int j = 0; j < 4; j++) {
        input_side(&d[0][j], &d[1][j], &d[2][j], &d[3][j]);
        TN_UNROLL for (int i = 0; i < 4; i++)
            V(storeu_ps)(v + (4 * i + j) * step, d[i][j]);
    }
}

/* The same of a plane of gradients of outputs. */
TN_INLINE void transform_grad(const tiling *t, const group *g, const float *dy, float *v, int64_t step)
{
    vec d[2][4];
    TN_UNROLL for (int i = 0; i < 2; i++) {
        load_outputs(t, g, i, dy, &d[i][0], &d[i][3]);
        d[i][1] = d[i][0] + d[i][3];
        d[i][2] = d[i][0] - d[i][3];
    }
    TN_UNROLL for (int j = 0; j < 4; j++) {
        V(storeu_ps)(v + j * step, d[0][j]);
        V(storeu_ps)(v + (4 + j) * step, d[0][j] + d[1][j]);
        V(storeu_ps)(v + (8 + j) * step, d[0][j] - d[1][j]);
        V(storeu_ps)(v + (12 + j) * step, d[1][j]);
    }
}

/* A group's tiles of a plane of y, of products m, with a bias; returns zeros, unless one is not finite. */
TN_INLINE vec transform_output(const tiling *t, const group *g, const float *m, int64_t step, vec bias, bool relu, float *y)
{
    const vec zero = V(setzero_ps)();
    const mask lanes = lanes_of(g);
    vec p[4][2], out[2][2], check = zero;
    TN_UNROLL for (int i = 0; i < 4; i++) {
        vec s[4];
        TN_UNROLL for (int j = 0; j < 4; j++)
            s[j] = V(loadu_ps)(m + (4 * i + j) * step);
        p[i][0] = s[0] + (s[1] + s[2]);
        p[i][1] = s[3] + (s[1] - s[2]);
    }
    TN_UNROLL for (int j = 0; j < 2; j++) {
        out[0][j] = p[0][j] + (p[1][j] + p[2][j]) + bias;
        out[1][j] = p[3][j] + (p[1][j] - p[2][j]) + bias;
    }
    TN_UNROLL for (int i = 0; i < 2; i++) {
        TN_UNROLL for (int j = 0; j < 2; j++) {
            check = V(fmadd_ps)(keep(lanes, out[i][j]), zero, check);
            if (relu)
                out[i][j] = V(max_ps)(out[i][j], zero);
        }
        store_outputs(t, g, i, y, out[i][0], out[i][1]);
    }
    return check;
}

/* Of `count` groups and `channels` planes: channel c of plane p at v + p * step + c * pitch. Plane by plane, which memory likes. */
static void transform_inputs(const tiling *t, const group *g, int64_t count, const float *x, int64_t channels, float *v, int64_t pitch,
                             int64_t step, float *room)
{
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        const float *image = x + g->image * channels * t->h * t->w;
        for (int64_t c = 0; c < channels; c++) {
            const float *plane = open_input(t, g, n, image, c, channels, room);
            for (int64_t i = 0; i < n; i++) {
                prefetch_input(t, &g[i], n, plane);
                transform_input(t, &g[i], plane, v + c * pitch + g[i].place, step);
            }
        }
    }
}

static void transform_grads(const tiling *t, const group *g, int64_t count, const float *dy, int64_t channels, float *v, int64_t pitch,
                            int64_t step, float *room)
{
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        const float *image = dy + g->image * channels * t->oh * t->ow;
        for (int64_t c = 0; c < channels; c++) {
            const float *plane = open_grad(t, g, n, image, c, channels, room);
            for (int64_t i = 0; i < n; i++) {
                prefetch_output(t, &g[i], n, plane, false);
                transform_grad(t, &g[i], plane, v + c * pitch + g[i].place, step);
            }
        }
    }
}

/* False where one is not finite. */
static bool transform_outputs(const tiling *t, const group *g, int64_t count, const float *m, int64_t channels, int64_t pitch,
                              int64_t step, const float *bias, bool relu, float *y, float *room)
{
    vec check = V(setzero_ps)();
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        float *image = y + g->image * channels * t->oh * t->ow;
        for (int64_t c = 0; c < channels; c++) {
            const vec b = V(set1_ps)(bias ? bias[c] : 0);
            float *plane = open_output(t, image, c, room);
            for (int64_t i = 0; i < n; i++) {
                prefetch_output(t, &g[i], n, plane, true);
                check += transform_output(t, &g[i], m + c * pitch + g[i].place, step, b, relu, plane);
            }
            close_output(t, g, n, image, c, channels, room);
        }
    }
    return all_zero(check);
}
