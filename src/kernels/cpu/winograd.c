/* Winograd's convolution F(2 x 2, 3 x 3) (Lavin and Gray 2016), with AVX-512 or AVX2. Of each tile
 *
 *     y = A'[ (G w G') . (B'x B) ]A        dw = G'[ (A dy A') . (B'x B) ]G        dx: the first, of dy and the weights turned about
 *
 * where . goes element by element over 4 x 4 planes, which for all channels and many tiles is 16 products of matrices:
 *
 *     B' = | 1  0 -1  0 |     G = | 1    0    0  |     A' = | 1  1  1  0 |
 *          | 0  1  1  0 |         | 1/2  1/2 1/2 |          | 0  1 -1  1 |
 *          | 0 -1  1  0 |         | 1/2 -1/2 1/2 |
 *          | 0 -1  0  1 |         | 0    0    1  |
 *
 * Blocks of tiles, cut by shape alone, go through all of it within the second cache.
 *
 * Errors in ulp: where numbers are of one size, 5 of the sum of the terms' magnitudes for y and dx, 2.5 for dw: no more than a plain sum's. But tiles add
 * and take away what is no term of a result, so that beside numbers far above its own it keeps fewer digits than a plain sum: always 4 + sqrt(c) / 4, of
 * the sum over all c channels of the magnitudes of nine numbers, summed, times those of nine weights, summed; of dw 2.5 of the sum over tiles of those
 * of 4 x 4 numbers times those of 2 x 2 gradients. 30 seeds came to seven tenths of these (tests/test_conv.c). */
#include "kernels/cpu/winograd.h"

#include <string.h>

#include "kernels/cpu/pairs.h"
#include "kernels/cpu/vector.h"

#if !defined(__AVX2__)

bool TN_K(winograd_fits)(tn_dtype dtype, const tn_conv *c) { return (void)dtype, (void)c, false; }
tn_status TN_K(winograd)(const tn_conv *c, bool transposed, const float *in, float *out, bool *whole)
{
    return (void)c, (void)transposed, (void)in, (void)out, *whole = false, TN_OK;
}
tn_status TN_K(winograd_weights)(const tn_conv *c, const float *dy, float *dw, float *db, bool *whole)
{
    return (void)c, (void)dy, (void)dw, (void)db, *whole = false, TN_OK;
}

#else

#include "kernels/cpu/winograd_vectors.h"
#include "kernels/cpu/winograd_tiles.h"

/* Planes of a tile; tiles below which the weights' transform does not pay; rows and vectors of a product's block, and inputs of 4 outputs' gradients,
 * as the registers hold; bytes that a block's tiles may take, and a block's of the weights' gradient; and most tiles of each. */
enum { PLANES = 16, FEW = 16 };
#if defined(__AVX512F__)
enum { ROWS = 8, VECTORS = 3, INPUTS = 4, BLOCK_BYTES = 256 << 10, GRAD_BYTES = 1 << 20, MOST = 384, MOST_GRADS = 256 };
#else
enum { ROWS = 6, VECTORS = 2, INPUTS = 3, BLOCK_BYTES = 512 << 10, GRAD_BYTES = 512 << 10, MOST = 384, MOST_GRADS = 256 };
#endif

bool TN_K(winograd_fits)(tn_dtype dtype, const tn_conv *c)
{
    return dtype == TN_F32 && c->kh == 3 && c->kw == 3 && c->stride_h == 1 && c->stride_w == 1 && c->dil_h == 1 && c->dil_w == 1 &&
           c->groups == 1 && c->pad_h <= 2 && c->pad_w <= 2 && c->c_in >= 4 && c->c_out >= 4 && c->c_in * c->c_out <= 1 << 18 &&
           c->n * c->oh * c->ow >= 4 * FEW && tn_max_i64(c->w, c->ow) <= WIDEST;
}

/* Whether what is multiplied is rounded to bf16: where the processor multiplies pairs of it, else it would only be slower. */
static bool rounds(const tn_conv *c) { return c->rounded && tn_has_pairs(); }

static int64_t block_count(int64_t rows) { return tn_ceil_div(rows, ROWS); }
static int64_t block_begin(int64_t rows, int64_t block) { return block * rows / block_count(rows); }

/* Groups of a block, and the floats between rows of its planes; `rows` is what lies in a block's planes together, and a float holds `together`
 * of a row's tiles. */
static int64_t groups_per_block(const tiling *t, int64_t together, int64_t rows, int64_t bytes, int64_t most, int64_t *pitch)
{
    const int64_t lanes = t->down * t->across, tiles = tn_min_i64(most, together * bytes / (PLANES * (int64_t)sizeof(float) * rows));
    const int64_t groups = whole_rows(t, tn_max_i64(1, tiles / lanes));
    *pitch = (tn_ceil_div(groups * lanes, 16 * together) | 1) * 16 + 16;
    return groups;
}

static int64_t group_floats(int64_t count) { return tn_ceil_div(count * (int64_t)sizeof(group), 64) * 16; }

/* Adds [4][INPUTS] vectors' sums to [4][4]. */
TN_INLINE void add_sums(float *sums, const vec *v)
{
#if defined(__AVX512F__)
    _mm512_storeu_ps(sums, _mm512_loadu_ps(sums) + tn_sum_each_(v));
#else
    TN_UNROLL for (int r = 0; r < 4; r++) {
        const vec some = _mm256_hadd_ps(_mm256_hadd_ps(v[3 * r], v[3 * r + 1]), _mm256_hadd_ps(v[3 * r + 2], _mm256_setzero_ps()));
        _mm_storeu_ps(sums + 4 * r, _mm_loadu_ps(sums + 4 * r) + (_mm256_castps256_ps128(some) + _mm256_extractf128_ps(some, 1)));
    }
#endif
}

/* ---- the ways to multiply ------------------------------------------------------------------------------------------------ */

#define NAME(x) x##_f32
#define STEP(a, b, c) V(fmadd_ps)(a, b, c)
#define TARGET
#include "kernels/cpu/winograd_products.h"

#if defined(__AVX512F__)
/* Under autocast what is multiplied, the transformed tiles and weights, is rounded: neighbouring channels' as pairs, which is where products
 * are summed over channels, and tiles' one after the other where over tiles. */
#define NAME(x) x##_bf16
#define STEP(a, b, c) _mm512_dpbf16_ps(c, (__m512bh)(a), (__m512bh)(b))
#define TARGET TN_PAIRS
#include "kernels/cpu/winograd_products.h"

/* u [in][rows] becomes pairs [in / 2, rounded up][rows] where it lies. */
TN_PAIRS static void pair_weights(float *u, int64_t in, int64_t rows)
{
    const __mmask16 lanes = (__mmask16)((1 << rows) - 1);
    for (int64_t i = 0; i < in; i += 2) {
        const __m512 low = _mm512_maskz_loadu_ps(lanes, u + i * rows);
        const __m512 high = i + 1 < in ? _mm512_maskz_loadu_ps(lanes, u + (i + 1) * rows) : _mm512_setzero_ps();
        _mm512_mask_storeu_ps(u + i / 2 * rows, lanes, tn_pairs_of(low, high));
    }
}

/* transform_inputs() of pairs: those of channels 2 c and 2 c + 1 at c * pitch. */
TN_PAIRS static void transform_input_pairs(const tiling *t, const group *g, int64_t count, const float *x, int64_t channels, float *v,
                                           int64_t pitch, int64_t step, float *room)
{
    (void)room;
    const int64_t size = t->h * t->w;
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        for (int64_t c = 0; c < channels; c += 2)
            for (int64_t i = 0; i < n; i++) {
                const float *plane = x + (g->image * channels + c) * size;
                float low[PLANES][16] __attribute__((aligned(64))), high[PLANES][16] __attribute__((aligned(64)));
                prefetch_lines(t, plane + planes_ahead(n) * size, g[i].in + 2, false);
                transform_input(t, &g[i], plane, *low, 16);
                if (c + 1 < channels) {
                    prefetch_lines(t, plane + (planes_ahead(n) + 1) * size, g[i].in + 2, false);
                    transform_input(t, &g[i], plane + size, *high, 16);
                } else {
                    memset(high, 0, sizeof high);
                }
                TN_UNROLL for (int p = 0; p < PLANES; p++)
                    _mm512_storeu_ps(v + p * step + c / 2 * pitch + g[i].place, tn_pairs_of(_mm512_load_ps(low[p]), _mm512_load_ps(high[p])));
            }
    }
}

TN_PAIRS TN_INLINE void store_halves(uint16_t *v, int64_t step, float (*tile)[16])
{
    TN_UNROLL for (int p = 0; p < PLANES; p++)
        _mm256_storeu_si256((__m256i *)(void *)(v + p * step), (__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(tile[p])));
}

/* transform_inputs() and transform_grads() of single ones; pitch and step are in floats all the same. */
TN_PAIRS static void transform_input_halves(const tiling *t, const group *g, int64_t count, const float *x, int64_t channels, float *v,
                                            int64_t pitch, int64_t step, float *room)
{
    (void)room;
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < n; i++) {
                const float *plane = x + (g->image * channels + c) * t->h * t->w;
                float tile[PLANES][16] __attribute__((aligned(64)));
                prefetch_lines(t, plane + planes_ahead(n) * t->h * t->w, g[i].in + 2, false);
                transform_input(t, &g[i], plane, *tile, 16);
                store_halves((uint16_t *)(void *)(v + c * pitch) + g[i].place, 2 * step, tile);
            }
    }
}

/* Adds the sum of each channel to db. */
TN_PAIRS static void transform_grad_halves(const tiling *t, const group *g, int64_t count, const float *dy, int64_t channels, float *v,
                                           int64_t pitch, int64_t step, float *room, float *db)
{
    (void)room;
    for (int64_t n; count > 0; g += n, count -= n) {
        n = of_one_image(g, count);
        for (int64_t c = 0; c < channels; c++) {
            __m512 sum = _mm512_setzero_ps();
            for (int64_t i = 0; i < n; i++) {
                const float *plane = dy + (g->image * channels + c) * t->oh * t->ow;
                float tile[PLANES][16] __attribute__((aligned(64)));
                prefetch_lines(t, plane + planes_ahead(n) * t->oh * t->ow, g[i].out, false);
                transform_grad(t, &g[i], plane, *tile, 16);
                sum += _mm512_maskz_load_ps(g[i].lanes, tile[5]);
                store_halves((uint16_t *)(void *)(v + c * pitch) + g[i].place, 2 * step, tile);
            }
            db[c] += _mm512_reduce_add_ps(sum);
        }
    }
}
#else
#define product_of_bf16 product_of_f32
#define dots_bf16 dots_f32
#define pair_weights(u, in, rows) (void)0
#define transform_input_pairs transform_inputs
#define transform_input_halves transform_inputs
#define transform_grad_halves(t, g, count, dy, channels, v, pitch, step, room, db) (void)(db)
#endif

/* ---- forward, and the gradient of x ----------------------------------------------------------------------------------------- */

typedef struct product_job {
    const tn_conv *c;
    const tiling *t;
    bool transposed, relu, rounded, whole;
    const float *in, *weight, *bias;
    float *out, *u, *scratch; /* u: [plane][block of out][in][row of the block]; rounded: pairs, which fill the half of each block */
    int64_t depth;            /* of a product: inputs, or pairs of them */
    int64_t in_channels, out_channels, pitch, in_step, out_step, per_block, blocks, workers, scratch_each, room;
} product_job;

/* G w G' of as many kernels as there are lanes, of which lane l has its first tap at w[at[l]], and the others `down` and `right` from there. */
TN_INLINE void transform_kernels(const float *w, places at, mask lanes, int down, int right, float *u, int64_t step)
{
    const vec half = V(set1_ps)(0.5F);
    vec rows[4][3];
    TN_UNROLL for (int x = 0; x < 3; x++) {
        vec tap[3];
        TN_UNROLL for (int y = 0; y < 3; y++)
            tap[y] = gather(lanes, at, w + y * down + x * right);
        rows[0][x] = tap[0], rows[3][x] = tap[2];
        rows[1][x] = (tap[0] + tap[2] + tap[1]) * half, rows[2][x] = (tap[0] + tap[2] - tap[1]) * half;
    }
    TN_UNROLL for (int y = 0; y < 4; y++, u += 4 * step) {
        const vec a = rows[y][0], b = rows[y][1], c = rows[y][2];
        put(u, lanes, a);
        put(u + step, lanes, (a + c + b) * half);
        put(u + 2 * step, lanes, (a + c - b) * half);
        put(u + 3 * step, lanes, c);
    }
}

/* Lanes are the rows of a block, for two inputs or more. */
static void transform_weights(int64_t begin, int64_t end, void *context)
{
    const product_job *job = context;
    const int64_t in = job->in_channels, out = job->out_channels;
    const int64_t of_row = 9 * (job->transposed ? 1 : in), of_input = 9 * (job->transposed ? out : 1);
    const int down = job->transposed ? -3 : 3, right = job->transposed ? -1 : 1;
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = block_begin(out, b), rows = block_begin(out, b + 1) - first, together = LANES / rows;
        const float *w = job->weight + first * of_row + (job->transposed ? 8 : 0);
        int32_t at[LANES] __attribute__((aligned(sizeof(places)))) = {0};
        for (int64_t l = 0; l < together * rows; l++)
            at[l] = (int32_t)(l % rows * of_row + l / rows * of_input);
        for (int64_t i = 0; i < in; i += together) {
            const mask lanes = first_lanes(tn_min_i64(together, in - i) * rows);
            transform_kernels(w + i * of_input, *(const places *)(const void *)at, lanes, down, right, job->u + first * in + i * rows, in * out);
        }
        for (int64_t p = 0; job->rounded && p < PLANES; p++)
            pair_weights(job->u + p * in * out + first * in, in, rows);
    }
}

/* The 16 products of one block of tiles. */
static void multiply(const product_job *job, int64_t tiles, const float *v, float *m)
{
    const int64_t in = job->in_channels, out = job->out_channels, vectors = tn_ceil_div(tiles, LANES);
    for (int64_t p = 0; p < PLANES; p++, v += job->in_step, m += job->out_step) {
        const float *u = job->u + p * in * out;
        for (int64_t i = 0; i < vectors; i += VECTORS)
            for (int64_t b = 0; b < block_count(out); b++) {
                const int64_t first = block_begin(out, b), rows = block_begin(out, b + 1) - first;
                (job->rounded ? product_of_bf16 : product_of_f32)[rows]((int)tn_min_i64(VECTORS, vectors - i), job->depth, u + first * in, v + LANES * i,
                                                                        m + first * job->pitch + LANES * i, job->pitch);
            }
    }
}

static void product_blocks(int64_t begin, int64_t end, void *context)
{
    product_job *job = context;
    const tiling *t = job->t;
    const int64_t all = job->c->n * t->groups;
    bool whole = true;
    for (int64_t worker = begin; worker < end; worker++) {
        float *v = job->scratch + worker * job->scratch_each, *m = v + PLANES * job->in_step;
        float *room = m + PLANES * job->out_step;
        group *g = (group *)(void *)(room + job->room);
        memset(v, 0, (size_t)(PLANES * job->in_step) * sizeof(float));
        memset(room, 0, (size_t)job->room * sizeof(float));
        for (int64_t b = worker * job->blocks / job->workers; b < (worker + 1) * job->blocks / job->workers; b++) {
            const int64_t first = b * job->per_block, count = tn_min_i64(job->per_block, all - first);
            const int64_t tiles = groups_between(t, first, first + count, g);
            (job->rounded ? transform_input_pairs : transform_inputs)(t, g, count, job->in, job->in_channels, v, job->pitch, job->in_step,
                                                                             room);
            multiply(job, tiles, v, m);
            whole &= transform_outputs(t, g, count, m, job->out_channels, job->pitch, job->out_step, job->bias, job->relu, job->out,
                                       room);
        }
    }
    if (!whole)
        __atomic_store_n(&job->whole, false, __ATOMIC_RELAXED);
}

tn_status TN_K(winograd)(const tn_conv *c, bool transposed, const float *in, float *out, bool *whole)
{
    tiling t = transposed ? tiling_of(c->oh, c->ow, c->h, c->w, 2 - c->pad_h, 2 - c->pad_w)
                          : tiling_of(c->h, c->w, c->oh, c->ow, c->pad_h, c->pad_w);
    product_job job = {.c = c, .t = &t, .transposed = transposed, .relu = !transposed && c->activation == TN_UNARY_RELU, .whole = true,
                       .in = in, .weight = c->weight, .bias = transposed ? NULL : c->bias, .out = out,
                       .in_channels = transposed ? c->c_out : c->c_in, .out_channels = transposed ? c->c_in : c->c_out,
                       .rounded = rounds(c), .workers = tn_workers_for(PLANES * c->n * t.groups * t.down * t.across * c->c_in * c->c_out)};
    job.depth = job.rounded ? tn_ceil_div(job.in_channels, 2) : job.in_channels;
    job.per_block = groups_per_block(&t, 1, job.depth + job.out_channels, BLOCK_BYTES, MOST, &job.pitch);
    job.blocks = tn_ceil_div(c->n * t.groups, job.per_block);
    job.in_step = job.depth * job.pitch + 16;
    job.out_step = job.out_channels * job.pitch + 16;
    job.room = room_floats(&t, job.per_block);
    job.scratch_each = PLANES * (job.in_step + job.out_step) + job.room + group_floats(job.per_block);
    const size_t scratch_size = (size_t)(job.scratch_each * job.workers) * sizeof(float);
    const size_t u_size = (size_t)(PLANES * c->c_in * c->c_out) * sizeof(float);
    job.u = tn_alloc(u_size);
    job.scratch = job.u ? tn_alloc(scratch_size) : NULL;
    if (job.scratch) {
        tn_parallel_for(block_count(job.out_channels), tn_ceil_div(TN_GRAIN, job.in_channels * 9 * ROWS), transform_weights, &job);
        tn_parallel_for(job.workers, 1, product_blocks, &job);
    }
    *whole = job.whole;
    tn_free(job.scratch, scratch_size);
    tn_free(job.u, u_size);
    return job.scratch ? TN_OK : TN_ERR_MEMORY;
}

/* ---- the gradients of weight and bias ----------------------------------------------------------------------------------------- */

typedef struct weight_job {
    const tn_conv *c;
    const tiling *t;
    const float *dy;
    float *dw, *db, *sums, *scratch; /* sums: for each chunk, [plane][4 outputs][INPUTS][4 x 4], then db [c_out] */
    int64_t pitch, x_step, dy_step, per_block, blocks, chunks, workers, scratch_each, room, sums_each, db_at; /* of a chunk's sums, db's place */
    bool rounded, whole;
} weight_job;

/* A block's products added to its chunk's sums, and, unless that was done, dy to db. The lanes from `tiles` on count nothing. */
static void add_block(const weight_job *job, int64_t tiles, float *x, float *dy, float *sums)
{
    const int64_t in = job->c->c_in, out = job->c->c_out, bytes = job->rounded ? 2 : 4, vectors = tn_ceil_div(tiles * bytes, 4 * LANES);
    for (int64_t p = 0; p < PLANES && tiles * bytes % (4 * LANES); p++) {
        for (int64_t i = 0; i < in; i++)
            clear_beyond(x + p * job->x_step + i * job->pitch + LANES * (vectors - 1), tiles * bytes % (4 * LANES));
        for (int64_t o = 0; o < out; o++)
            clear_beyond(dy + p * job->dy_step + o * job->pitch + LANES * (vectors - 1), tiles * bytes % (4 * LANES));
    }
    for (int64_t p = 0; p < PLANES; p++)
        for (int64_t o = 0; o < out; o += 4)
            for (int64_t i = 0; i < in; i += INPUTS, sums += 16)
                (job->rounded ? dots_bf16 : dots_f32)(vectors, dy + p * job->dy_step + o * job->pitch, out - o,
                                                      x + p * job->x_step + i * job->pitch, in - i, job->pitch, sums);
    for (int64_t o = 0; o < out && !job->rounded; o++) { /* plane (1, 1) of A dy A' is the sum of a tile */
        vec sum = V(setzero_ps)();
        for (int64_t i = 0; i < vectors; i++)
            sum += V(load_ps)(dy + 5 * job->dy_step + o * job->pitch + LANES * i);
        sums[o] += sum_of(sum);
    }
}

static void weight_blocks(int64_t begin, int64_t end, void *context)
{
    const weight_job *job = context;
    const tn_conv *c = job->c;
    const tiling *t = job->t;
    const int64_t all = c->n * t->groups;
    for (int64_t worker = begin; worker < end; worker++) {
        float *x = job->scratch + worker * job->scratch_each, *dy = x + PLANES * job->x_step;
        float *room = dy + PLANES * job->dy_step;
        group *g = (group *)(void *)(room + job->room);
        memset(room, 0, (size_t)job->room * sizeof(float));
        for (int64_t chunk = worker * job->chunks / job->workers; chunk < (worker + 1) * job->chunks / job->workers; chunk++) {
            float *sums = job->sums + chunk * job->sums_each;
            memset(sums, 0, (size_t)job->sums_each * sizeof(float));
            for (int64_t b = chunk * job->blocks / job->chunks; b < (chunk + 1) * job->blocks / job->chunks; b++) {
                const int64_t first = b * job->per_block, count = tn_min_i64(job->per_block, all - first);
                const int64_t tiles = groups_between(t, first, first + count, g);
                (job->rounded ? transform_input_halves : transform_inputs)(t, g, count, c->x, c->c_in, x, job->pitch, job->x_step, room);
                if (job->rounded)
                    transform_grad_halves(t, g, count, job->dy, c->c_out, dy, job->pitch, job->dy_step, room, sums + job->db_at);
                else
                    transform_grads(t, g, count, job->dy, c->c_out, dy, job->pitch, job->dy_step, room);
                add_block(job, tiles, x, dy, sums);
            }
        }
    }
}

/* dw of 4 outputs and INPUTS inputs: their sums, of all chunks in their order, turned back. Zeros, unless one is not finite. */
static vec weights_of(const weight_job *job, const float *sums, int64_t step, int64_t o, int64_t i)
{
    const tn_conv *c = job->c;
    const vec half = V(set1_ps)(0.5F);
    vec check = V(setzero_ps)();
    float w[9][16];
    TN_UNROLL for (int at = 0; at < 16; at += LANES) {
        vec s[4][4], t[4][3];
        for (int p = 0; p < PLANES; p++) {
            s[p / 4][p % 4] = V(loadu_ps)(sums + p * step + at);
            for (int64_t chunk = 1; chunk < job->chunks; chunk++)
                s[p / 4][p % 4] += V(loadu_ps)(sums + p * step + at + chunk * job->sums_each);
        }
        for (int y = 0; y < 4; y++) {
            t[y][0] = s[y][0] + (s[y][1] + s[y][2]) * half;
            t[y][1] = (s[y][1] - s[y][2]) * half;
            t[y][2] = s[y][3] + (s[y][1] + s[y][2]) * half;
        }
        for (int x = 0; x < 3; x++) {
            const vec tap[3] = {t[0][x] + (t[1][x] + t[2][x]) * half, (t[1][x] - t[2][x]) * half, t[3][x] + (t[1][x] + t[2][x]) * half};
            for (int y = 0; y < 3; y++) {
                V(storeu_ps)(w[3 * y + x] + at, tap[y]);
                check = V(fmadd_ps)(tap[y], V(setzero_ps)(), check);
            }
        }
    }
    for (int64_t r = 0; r < tn_min_i64(4, c->c_out - o); r++)
        for (int64_t k = 0; k < tn_min_i64(INPUTS, c->c_in - i); k++)
            for (int tap = 0; tap < 9; tap++)
                job->dw[((o + r) * c->c_in + i + k) * 9 + tap] = w[tap][4 * r + k];
    return check;
}

static void finish_weights(int64_t begin, int64_t end, void *context)
{
    weight_job *job = context;
    const tn_conv *c = job->c;
    const int64_t across = tn_ceil_div(c->c_in, INPUTS), step = 16 * across * tn_ceil_div(c->c_out, 4);
    vec check = V(setzero_ps)();
    for (int64_t b = begin; b < end; b++)
        check += weights_of(job, job->sums + 16 * b, step, b / across * 4, b % across * INPUTS);
    if (!all_zero(check))
        __atomic_store_n(&job->whole, false, __ATOMIC_RELAXED);
    for (int64_t o = 0; o < c->c_out && job->db && begin == 0; o++) {
        const float *own = job->sums + job->db_at + o;
        job->db[o] = 0;
        for (int64_t chunk = 0; chunk < job->chunks; chunk++)
            job->db[o] += own[chunk * job->sums_each];
    }
}

tn_status TN_K(winograd_weights)(const tn_conv *c, const float *dy, float *dw, float *db, bool *whole)
{
    tiling t = tiling_of(c->h, c->w, c->oh, c->ow, c->pad_h, c->pad_w);
    weight_job job = {.c = c, .t = &t, .dy = dy, .dw = dw, .db = db, .rounded = rounds(c), .whole = true};
    job.workers = tn_workers_for(PLANES * c->n * t.groups * t.down * t.across * c->c_in * c->c_out);
    job.per_block = groups_per_block(&t, job.rounded ? 2 : 1, c->c_in + c->c_out, GRAD_BYTES, (job.rounded ? 2 : 1) * MOST_GRADS, &job.pitch);
    job.blocks = tn_ceil_div(c->n * t.groups, job.per_block);
    job.x_step = c->c_in * job.pitch + 16;
    job.dy_step = c->c_out * job.pitch + 16;
    job.room = room_floats(&t, job.per_block);
    job.scratch_each = PLANES * (job.x_step + job.dy_step) + job.room + group_floats(job.per_block);
    job.db_at = PLANES * 16 * tn_ceil_div(c->c_out, 4) * tn_ceil_div(c->c_in, INPUTS);
    job.sums_each = job.db_at + tn_ceil_div(c->c_out, 16) * 16;
    job.chunks = tn_max_i64(1, tn_min_i64(tn_min_i64(job.blocks, 16), ((int64_t)8 << 20) / job.sums_each));
    const size_t scratch_size = (size_t)(job.scratch_each * job.workers) * sizeof(float);
    const size_t sums_size = (size_t)(job.sums_each * job.chunks) * sizeof(float);
    job.sums = tn_alloc(sums_size);
    job.scratch = job.sums ? tn_alloc(scratch_size) : NULL;
    if (job.scratch) {
        tn_parallel_for(job.workers, 1, weight_blocks, &job);
        tn_parallel_for(tn_ceil_div(c->c_out, 4) * tn_ceil_div(c->c_in, INPUTS), 32, finish_weights, &job);
    }
    *whole = job.whole;
    tn_free(job.scratch, scratch_size);
    tn_free(job.sums, sums_size);
    return job.scratch ? TN_OK : TN_ERR_MEMORY;
}

#endif
