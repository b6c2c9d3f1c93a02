/* Recurrent layers in f32 whose weights stay in the cache: one kernel over time. A tile of sequences goes through all steps; in a step the
 * gates of a few sequences and of one vector of units are sums in registers, over x and over the h before, which the cell's formulas turn
 * into h there and then: nothing but what backward needs is written. Backward walks a tile the other way, and every few steps adds to the
 * weights' gradients from the gates' gradients that lie in the cache. Tiles, and the parts of them that share a sum of weights'
 * gradients, follow from the shape alone, and so do the bits. */
#include <string.h>

#include "kernels/cpu/pairs.h"
#include "kernels/cpu/recurrent.h"
#include "kernels/cpu/recurrent_cells.h"

/* Vectors of a sequence's sums in registers at most. */
enum { WIDE = 4 };

enum {
    WEIGHT_BYTES = 1 << 20, /* of both weights: what a second-level cache holds; beyond it products of all rows are faster */
    TILE = 48,              /* sequences walked together at most */
    FEW_WEIGHTS = 16 << 10, /* bytes; the first cache then has room for them and what SMALL_TILE sequences have in a step */
    SMALL_TILE = 24,
    LEAST_TILE = 8,
    MOST_PARTS = 16,
    CHUNK = 256,            /* rows of gates' gradients between two additions to the weights' */
    CHUNK_BYTES = 128 << 10,
    PAST_BYTES = 8 << 20    /* of what is saved: when backward reads it, other things are in the caches */
};

/* Vectors that belong to a block of LANES units, side by side in memory: slots. LSTM's are its gates; GRU's n keeps its two parts apart and its
 * slots are the input's part of n, r, z, the hidden part of n. The input adds to xn of them from x0 on, h to hn from h0 on; `kept` is how
 * many forward saves. */
typedef struct layout {
    int slots, x0, xn, h0, hn, kept;
} layout;
TN_INLINE layout layout_of(tn_rnn_kind kind)
{
    return kind == TN_RNN_KIND_LSTM ? (layout){4, 0, 4, 0, 4, 5} : kind == TN_RNN_KIND_GRU ? (layout){4, 0, 3, 1, 3, 4} : (layout){1, 0, 1, 0, 1, 0};
}
/* Where a slot's rows begin in the weights, in gates. */
static int gate_of(tn_rnn_kind kind, int slot) { return kind == TN_RNN_KIND_GRU ? (slot + 2) % 3 : slot; }

typedef struct walk {
    const tn_rnn *r;
    const tn_rnn_grad *d; /* NULL: forward */
    const struct products *p;
    layout l;
    int64_t units;                       /* blocks of LANES units; the last may have fewer */
    int64_t tiles, parts, workers;
    float *w_x, *w_h, *bias;             /* packed; of backward: for dx and for dh */
    float *sums;                         /* [parts, sums_size]: of w_x, w_h and the slots, as forward packs them */
    char *scratch;                       /* [workers] of backward's; [tiles] of forward's rows in pairs */
    int64_t sums_size, chunk;
    size_t scratch_bytes;
    bool past;                           /* forward saves past the caches */
} walk;

static int64_t packed_size(const walk *w, int64_t k, int n) { return w->units * k * n * LANES; }
static int64_t tile_begin(const walk *w, int64_t tile) { return w->r->batch * tile / w->tiles; }
static int64_t saved_width(const tn_rnn *r) { return tn_rnn_saved(r->kind, r->hidden); }

/* ---- packing -------------------------------------------------------------------------------------------------------------- */

/* A sequence at a step, forward. */
typedef struct place {
    const float *x, *h; /* as they are multiplied; h before the step */
    const float *before; /* that h itself */
    float *y, *c, *saved;
    const float *next_y, *next_saved; /* where the next step will write, to be fetched; its own place when it is the last; or NULL */
} place;

/* The same, backward. */
typedef struct grad_place {
    const float *saved, *y, *h, *c, *dy; /* h and c before the step */
    int64_t c_step;                      /* between c's blocks of units */
    float *dh, *dc;                      /* of what the step gave; become those of what it began with, but for what comes by W_hh */
    float *dgates;
    const float *next_saved, *next_dy, *next_h; /* what the step before will read, to be fetched; its own where there is none */
} grad_place;

/* Sequences' rows and those of weights as they are multiplied: `depth` elements of what is summed over are a unit, the size of a float. */
typedef struct products {
    int depth;
    void (*forward)(const walk *w, const place *at, int64_t n);
    void (*back)(const walk *w, int s0, int slots, const float *packed, const float *const *dgates, int64_t n, float *const *out, int64_t columns,
                 bool add, const grad_place *ahead);
    void (*outer)(const walk *w, const float *const *a, int64_t rows, const float *all, int64_t k, int s0, int slots, float *sums);
    void (*pair)(const float *a, const float *b, int64_t n, float *to); /* depth 2: units (a[i], b[i]); b NULL: zeros; to may be a */
    void (*pair_row)(const float *a, int64_t n, float *to);             /* depth 2: units (a[2i], a[2i + 1]) */
} products;
static int64_t units_of(const walk *w, int64_t k) { return tn_ceil_div(k, w->p->depth); }

/* Rows of `width` at `at` become units, where they lie. */
static void pair_rows(const walk *w, float *at, int64_t rows, int64_t width)
{
    for (int64_t i = 0; w->p->depth == 2 && i < rows; i += 2)
        w->p->pair(at + i * width, i + 1 < rows ? at + (i + 1) * width : NULL, width, at + i / 2 * width);
}

/* For each block of units and each k, a vector of each slot. */
static void pack_by_unit(const walk *w, const float *weight, int64_t k, int s0, int n, float *to)
{
    const int64_t hidden = w->r->hidden;
    for (int64_t u = 0; u < w->units; u++, to += units_of(w, k) * n * LANES) {
        for (int s = 0; s < n; s++)
            for (int64_t j = u * LANES; j < (u + 1) * LANES; j++) {
                const float *from = weight + (gate_of(w->r->kind, s0 + s) * hidden + j) * k;
                for (int64_t i = 0; i < k; i++)
                    to[(i * n + s) * LANES + j % LANES] = j < hidden ? from[i] : 0;
            }
        pair_rows(w, to, k, n * LANES);
    }
}
/* The other way: what has been summed by unit, into the weight's gradient. */
static void unpack_by_unit(const walk *w, const float *from, int64_t k, int s0, int n, float *weight)
{
    const int64_t hidden = w->r->hidden;
    for (int s = 0; s < n; s++)
        for (int64_t j = 0; j < hidden; j++) {
            const float *at = from + (j / LANES * k * n + s) * LANES + j % LANES;
            float *to = weight + (gate_of(w->r->kind, s0 + s) * hidden + j) * k;
            for (int64_t i = 0; i < k; i++)
                to[i] = at[i * n * LANES];
        }
}

/* Vectors of a panel of columns: 4, 2 or 1. */
static int panel_of(int64_t columns) { return columns > 2 * LANES ? 4 : columns > LANES ? 2 : 1; }
static int64_t panels_size(const walk *w, int64_t columns, int n)
{
    int64_t vectors = 0;
    for (int64_t j = 0; j < columns; j += panel_of(columns - j) * LANES)
        vectors += panel_of(columns - j);
    return vectors * LANES * w->units * n * LANES;
}

/* For each panel of the weight's columns, its rows in the order in which a row of gates' gradients has them. */
static void pack_by_column(const walk *w, const float *weight, int64_t columns, int s0, int n, float *to)
{
    const int64_t hidden = w->r->hidden, rows = w->units * n * LANES;
    for (int64_t j = 0, wide; j < columns; j += wide, to += units_of(w, rows) * wide) {
        wide = panel_of(columns - j) * LANES;
        const size_t bytes = (size_t)tn_min_i64(wide, columns - j) * sizeof *to;
        for (int64_t p = 0; p < rows; p++) {
            const int64_t unit = p / (n * LANES) * LANES + p % LANES;
            memset(to + p * wide, 0, (size_t)wide * sizeof *to);
            if (unit < hidden)
                memcpy(to + p * wide, weight + (gate_of(w->r->kind, s0 + (int)(p / LANES % n)) * hidden + unit) * columns + j, bytes);
        }
        pair_rows(w, to, rows, wide);
    }
}

static void pack_bias(const walk *w)
{
    const tn_rnn *r = w->r;
    const float *b_ih = r->b_ih, *b_hh = r->b_hh;
    float *to = w->bias;
    for (int64_t u = 0; u < w->units; u++)
        for (int s = 0; s < w->l.slots; s++)
            for (int64_t j = u * LANES; j < (u + 1) * LANES; j++, to++) {
                const int64_t from = gate_of(r->kind, s) * r->hidden + j;
                *to = b_ih && j < r->hidden && s < w->l.xn ? b_ih[from] : 0;
                *to += b_hh && j < r->hidden && s >= w->l.h0 ? b_hh[from] : 0;
            }
}

/* Asks for what will be read or written soon, some vectors of it. */
TN_INLINE void fetch(const float *p, int vectors, bool to_write)
{
    TN_UNROLL
    for (int s = 0; s < vectors; s++) {
        if (to_write)
            __builtin_prefetch(p + s * LANES, 1, 3);
        else
            __builtin_prefetch(p + s * LANES, 0, 3);
    }
}

/* One vector of what the next step will write for a block of units, that many having been fetched: y's, and the `kept` ones that are saved. */
TN_INLINE void fetch_next(const place *at, int64_t fetched, int64_t u, int64_t kept)
{
    if (fetched == 0)
        fetch(at->next_y + u * LANES, 1, true);
    else if (fetched <= kept && at->next_saved)
        fetch(at->next_saved + (u * kept + fetched - 1) * LANES, 1, true);
}

/* One vector of what the step before will read, that many having been fetched: `saved` ones, and `units` of dy and of h each. */
TN_INLINE void fetch_ahead(const grad_place *at, int64_t fetched, int64_t saved, int64_t units)
{
    if (fetched < saved)
        fetch(at->next_saved + fetched * LANES, 1, false);
    else if (fetched < saved + units)
        fetch(at->next_dy + (fetched - saved) * LANES, 1, false);
    else if (fetched < saved + 2 * units)
        fetch(at->next_h + (fetched - saved - units) * LANES, 1, false);
}

/* ---- sums in registers ---------------------------------------------------------------------------------------------------- */

/* block(rows, ...) with rows, 1 ... most, as a constant. */
#if ROWS == 6
#define MORE_ROWS(block, ...)                                                                                                 \
    case 3: block(3, __VA_ARGS__); break;                                                                                     \
    case 4: block(4, __VA_ARGS__); break;                                                                                     \
    case 5: block(5, __VA_ARGS__); break;
#elif ROWS == 4
#define MORE_ROWS(block, ...)                                                                                                 \
    case 3: block(3, __VA_ARGS__); break;
#else
#define MORE_ROWS(block, ...)
#endif
#define BY_ROWS(rows, most, block, ...)                                                                                       \
    switch (rows) {                                                                                                           \
    case 1: block(1, __VA_ARGS__); break;                                                                                     \
    case 2: block(2, __VA_ARGS__); break;                                                                                     \
    MORE_ROWS(block, __VA_ARGS__)                                                                                             \
    default: block(most, __VA_ARGS__);                                                                                        \
    }

/* ---- forward -------------------------------------------------------------------------------------------------------------- */

/* A gate's vector into row i's saved ones. */
TN_INLINE void save(const place *at, int64_t to, vec gate, bool past)
{
    if (past)
        store_past(at->saved + to, gate);
    else
        AT(at->saved + to) = gate;
}

TN_INLINE void forward_lstm_cells(int rows, vec (*sum)[WIDE], const place *at, int64_t u, int64_t n, bool past)
{
    const int64_t j = u * LANES, to = 5 * j;
    vec gate[5][ROWS]; /* i f g o and the cell */
    TN_UNROLL
    for (int s = 0; s < 4; s++) {
        EACH(i, rows) gate[s][i] = sum[i][s];
        if (s == 2)
            hyperbolic_tangents(rows, gate[s]);
        else
            sigmoids(rows, gate[s]);
    }
    EACH(i, rows)
    {
        gate[4][i] = gate[1][i] * load_part(at[i].c + j, n) + gate[0][i] * gate[2][i];
        store_part(at[i].c + j, gate[4][i], n);
        if (at[i].saved) {
            TN_UNROLL
            for (int s = 0; s < 5; s++)
                save(&at[i], to + s * LANES, gate[s][i], past);
        }
    }
    hyperbolic_tangents(rows, gate[4]);
    EACH(i, rows) store_part(at[i].y + j, gate[3][i] * gate[4][i], n);
}

TN_INLINE void forward_gru_cells(int rows, vec (*sum)[WIDE], const place *at, int64_t u, int64_t n, bool past)
{
    const int64_t j = u * LANES, to = 4 * j;
    vec r[ROWS], z[ROWS], fresh[ROWS];
    EACH(i, rows) r[i] = sum[i][1], z[i] = sum[i][2];
    sigmoids(rows, r);
    sigmoids(rows, z);
    EACH(i, rows) fresh[i] = sum[i][0] + r[i] * sum[i][3];
    hyperbolic_tangents(rows, fresh);
    EACH(i, rows)
    {
        store_part(at[i].y + j, (load_part(at[i].before + j, n) - fresh[i]) * z[i] + fresh[i], n);
        if (at[i].saved) {
            save(&at[i], to, r[i], past), save(&at[i], to + LANES, z[i], past);
            save(&at[i], to + 2 * LANES, fresh[i], past), save(&at[i], to + 3 * LANES, sum[i][3], past);
        }
    }
}

/* Vector u of some sequences' sums becomes their h; past: what is saved goes past the caches. */
TN_INLINE void forward_cells(int rows, tn_rnn_kind kind, vec (*sum)[WIDE], const place *at, int64_t u, int64_t n, bool past)
{
    vec y[ROWS];
    switch (kind) {
    case TN_RNN_KIND_LSTM: forward_lstm_cells(rows, sum, at, u, n, past); return;
    case TN_RNN_KIND_GRU: forward_gru_cells(rows, sum, at, u, n, past); return;
    case TN_RNN_KIND_TANH:
        EACH(i, rows) y[i] = sum[i][0];
        hyperbolic_tangents(rows, y);
        break;
    case TN_RNN_KIND_RELU: EACH(i, rows) y[i] = at_least(0, sum[i][0]);
    }
    EACH(i, rows) store_part(at[i].y + u * LANES, y[i], n);
}

/* ---- the ways to multiply ------------------------------------------------------------------------------------------------- */

#define NAME(x) x##_floats
#define DEPTH 1
#define SPLAT(x) ((x) - (vec){0})
#define STEP(a, b, c) ((c) + (a) * (b))
#define TARGET
#include "kernels/cpu/recurrent_products.h"
static const products in_floats = {1, forward_floats, back_floats, outer_floats, NULL, NULL};

#if defined(__AVX512F__)
#define TARGET TN_PAIRS
TARGET static void pair(const float *a, const float *b, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i += LANES) {
        const __mmask16 lanes = (__mmask16)(n - i < LANES ? (1u << (n - i)) - 1 : 0xffff);
        const __m256i low = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes, a + i));
        const __m256i high = b ? (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes, b + i)) : _mm256_setzero_si256();
        const __m512i both = _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
        _mm512_mask_storeu_epi32(to + i, lanes, both);
    }
}

TARGET static void pair_row(const float *a, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t left = tn_min_i64(n - i, LANES);
        const __m256i units = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), a + i));
        _mm256_mask_storeu_epi32(to + i / 2, (__mmask8)((1u << (left + 1) / 2) - 1), units);
    }
}

#define NAME(x) x##_pairs
#define DEPTH 2
#define SPLAT(x) ((vec)_mm512_set1_ps(x))
#define STEP(a, b, c) ((vec)_mm512_dpbf16_ps((__m512)(c), (__m512bh)(a), (__m512bh)(b)))
#include "kernels/cpu/recurrent_products.h"
static const products in_pairs = {2, forward_pairs, back_pairs, outer_pairs, pair, pair_row};
#endif

/* Whether what is multiplied is rounded to bf16: where the processor multiplies pairs of it, and the products are most of the work. */
static const products *products_of(const tn_rnn *r)
{
#if defined(__AVX512F__)
    if (r->rounded && r->hidden > 64 && tn_has_pairs())
        return &in_pairs;
#endif
    return (void)r, &in_floats;
}

/* ---- forward -------------------------------------------------------------------------------------------------------------- */

/* A tile's rows as units, at `to`. */
static void pair_places(const walk *w, place *at, int64_t n, float *to)
{
    const int64_t in = w->r->in, hidden = w->r->hidden;
    for (int64_t i = 0; i < n; i++, to += units_of(w, in) + units_of(w, hidden)) {
        w->p->pair_row(at[i].x, in, to);
        w->p->pair_row(at[i].before, hidden, to + units_of(w, in));
        at[i].x = to, at[i].h = to + units_of(w, in);
    }
}

/* A step's rows, those of its sequences 0 ... count; none before the first step and after the last. */
typedef struct step_rows {
    int64_t first, count;
} step_rows;
static step_rows rows_of(const tn_rnn *r, int64_t t)
{
    return t < 0 || t >= r->steps ? (step_rows){0, 0} : (step_rows){r->first[t], tn_rnn_active(r, t)};
}

static void forward_tile(const walk *w, int64_t begin, int64_t end, float *units)
{
    const tn_rnn *r = w->r;
    const int64_t hidden = r->hidden, width = saved_width(r);
    float *first = r->h, *c = r->c, *y = r->y, *saved = r->saved;
    place at[TILE];
    for (int64_t i = 0; i < r->steps; i++) {
        const int64_t t = r->reverse ? r->steps - 1 - i : i, on = r->reverse ? -1 : 1;
        const step_rows now = rows_of(r, t), former = rows_of(r, t - on), after = rows_of(r, t + on);
        const int64_t n = tn_min_i64(now.count, end) - begin;
        for (int64_t b = begin; b < begin + n; b++) {
            const int64_t row = now.first + b, next = b < after.count ? after.first + b : row;
            const float *before = b < former.count ? y + (former.first + b) * hidden : first + b * hidden;
            at[b - begin] = (place){.x = (const float *)r->x + row * r->in, .h = before, .before = before,
                                    .y = y + row * hidden, .c = c ? c + b * hidden : NULL, .saved = saved ? saved + row * width : NULL,
                                    .next_y = y + next * hidden, .next_saved = saved && !w->past ? saved + next * width : NULL};
        }
        if (units && n > 0)
            pair_places(w, at, n, units);
        if (n > 0)
            w->p->forward(w, at, n);
        for (int64_t b = tn_max_i64(begin, after.count); b < begin + n; b++) /* its last step */
            memcpy(first + b * hidden, at[b - begin].y, (size_t)hidden * sizeof(float));
    }
}

static void forward_tiles(int64_t begin, int64_t end, void *context)
{
    const walk *w = context;
    for (int64_t tile = begin; tile < end; tile++) {
        float *units = w->scratch ? (float *)(void *)(w->scratch + (size_t)tile * w->scratch_bytes) : NULL;
        forward_tile(w, tile_begin(w, tile), tile_begin(w, tile + 1), units);
    }
    if (w->past)
        tn_fence_past();
}

/* ---- backward ------------------------------------------------------------------------------------------------------------- */

/* What a worker has: its parts' sums, and of the tile and the rows since the last addition. */
typedef struct grad_work {
    float *sum_x, *sum_h, *sum_slots;
    float *dh, *dc, *c0; /* [TILE, units LANES] */
    float *dgates;       /* [chunk, slots units LANES]; then pairs_at() */
    int64_t rows;
    const float *x[CHUNK], *h[CHUNK]; /* of each row of dgates */
} grad_work;

/* Gives the slots' gradients, and changes dh and dc. */
TN_INLINE void backward_cell(tn_rnn_kind kind, const grad_place *at, int64_t u, int64_t n, vec *slope)
{
    const int64_t j = u * LANES;
    const float *saved = at->saved ? at->saved + u * layout_of(kind).kept * LANES : NULL;
    const vec up = AT_CONST(at->dh + j) + load_part(at->dy + j, n);
    if (kind == TN_RNN_KIND_LSTM) {
        const vec i = AT_CONST(saved), f = AT_CONST(saved + LANES), g = AT_CONST(saved + 2 * LANES), o = AT_CONST(saved + 3 * LANES);
        vec t = AT_CONST(saved + 4 * LANES);
        hyperbolic_tangents(1, &t);
        const vec dc = AT_CONST(at->dc + j) + up * o * (1 - t * t);
        slope[0] = dc * g * i * (1 - i);
        slope[1] = dc * AT_CONST(at->c + u * at->c_step) * f * (1 - f);
        slope[2] = dc * i * (1 - g * g);
        slope[3] = up * t * o * (1 - o);
        AT(at->dc + j) = dc * f;
    } else if (kind == TN_RNN_KIND_GRU) {
        const vec r = AT_CONST(saved), z = AT_CONST(saved + LANES), fresh = AT_CONST(saved + 2 * LANES), hidden = AT_CONST(saved + 3 * LANES);
        slope[0] = up * (1 - z) * (1 - fresh * fresh);
        slope[1] = slope[0] * hidden * r * (1 - r);
        slope[2] = up * (load_part(at->h + j, n) - fresh) * z * (1 - z);
        slope[3] = slope[0] * r;
        AT(at->dh + j) = up * z;
    } else {
        const vec y = load_part(at->y + j, n);
        if (kind == TN_RNN_KIND_TANH)
            slope[0] = up * (1 - y * y);
        else
            slope[0] = (vec)((vec_i32)up & (y > 0));
    }
}

/* n sequences of a step: their rows of dgates, and the slots' sums. */
#define BACKWARD_STEP(name, kind)                                                                                             \
    static void name(const walk *w, const grad_place *at, int64_t n, float *sums)                                             \
    {                                                                                                                         \
        enum { SLOTS = kind == TN_RNN_KIND_LSTM || kind == TN_RNN_KIND_GRU ? 4 : 1 };                                         \
        for (int64_t u = 0; u < w->units; u++) {                                                                              \
            float *to = sums + u * SLOTS * LANES;                                                                             \
            vec sum[SLOTS], slope[SLOTS];                                                                                     \
            for (int s = 0; s < SLOTS; s++)                                                                                   \
                sum[s] = AT(to + s * LANES);                                                                                  \
            for (int64_t i = 0; i < n; i++) {                                                                                 \
                backward_cell(kind, &at[i], u, w->r->hidden - u * LANES, slope);                                              \
                for (int s = 0; s < SLOTS; s++) {                                                                             \
                    AT(at[i].dgates + (u * SLOTS + s) * LANES) = slope[s];                                                    \
                    sum[s] += slope[s];                                                                                       \
                }                                                                                                             \
            }                                                                                                                 \
            for (int s = 0; s < SLOTS; s++)                                                                                   \
                AT(to + s * LANES) = sum[s];                                                                                  \
        }                                                                                                                     \
    }
BACKWARD_STEP(backward_lstm, TN_RNN_KIND_LSTM)
BACKWARD_STEP(backward_gru, TN_RNN_KIND_GRU)
BACKWARD_STEP(backward_tanh, TN_RNN_KIND_TANH)
BACKWARD_STEP(backward_relu, TN_RNN_KIND_RELU)

/* Pairs of a step's rows, [TILE, slots units LANES / 2], and then of two rows of x and of h, [chunk / 2, in + hidden]. */
static float *pairs_at(const walk *w, const grad_work *work) { return work->dgates + w->chunk * w->l.slots * w->units * LANES; }

/* The rows since the last addition go into the weights' sums. */
static void add_rows(const walk *w, grad_work *work)
{
    const int64_t in = w->r->in, hidden = w->r->hidden, width = w->units * w->l.slots * LANES, rows = units_of(w, work->rows);
    if (w->p->depth == 2) {
        float *at = pairs_at(w, work) + TILE * width / 2;
        for (int64_t i = 0; i < rows; i++, at += in + hidden) {
            const bool two = 2 * i + 1 < work->rows;
            w->p->pair(work->x[2 * i], two ? work->x[2 * i + 1] : NULL, in, at);
            w->p->pair(work->h[2 * i], two ? work->h[2 * i + 1] : NULL, hidden, at + in);
            work->x[i] = at, work->h[i] = at + in;
        }
        pair_rows(w, work->dgates, work->rows, width);
    }
    if (w->d->dw_ih)
        w->p->outer(w, work->x, rows, work->dgates, in, w->l.x0, w->l.xn, work->sum_x);
    if (w->d->dw_hh)
        w->p->outer(w, work->h, rows, work->dgates, hidden, w->l.h0, w->l.hn, work->sum_h);
    work->rows = 0;
}

/* A place's fields that are set after it is made. With vectors of 32 bytes gcc cleared a place of which some were left out by a string instruction,
 * 30 cycles of a row. */
#if ROWS == 4
#define LATER , .c = NULL, .c_step = 0, .next_saved = NULL, .next_dy = NULL, .next_h = NULL
#else
#define LATER
#endif

/* Sequences begin ... begin + n at step t. */
static void backward_step(const walk *w, grad_work *work, int64_t t, int64_t begin, int64_t n)
{
    static void (*const step[])(const walk *, const grad_place *, int64_t, float *) = {
        [TN_RNN_KIND_TANH] = backward_tanh, [TN_RNN_KIND_RELU] = backward_relu, [TN_RNN_KIND_LSTM] = backward_lstm, [TN_RNN_KIND_GRU] = backward_gru};
    const tn_rnn *r = w->r;
    const tn_rnn_grad *d = w->d;
    const int64_t on = r->reverse ? -1 : 1, dy_now = tn_rnn_dy_at(d, t, 0);
    const step_rows now = rows_of(r, t), former = rows_of(r, t - on), earlier = rows_of(r, t - 2 * on);
    const int64_t dy_before = former.count > 0 ? tn_rnn_dy_at(d, t - on, 0) : dy_now;
    const int64_t hidden = r->hidden, padded = w->units * LANES, saved_row = saved_width(r), cell = (w->l.kept - 1) * LANES;
    const float *x = r->x, *y = r->y, *dy = d->dy, *saved = r->saved, *dgates[TILE];
    float *dh[TILE], *dx[TILE];
    grad_place at[TILE];
    if (work->rows + n > w->chunk)
        add_rows(w, work);
    for (int64_t i = 0; i < n; i++, work->rows++) {
        const int64_t b = begin + i, row = now.first + b, was = former.first + b;
        const bool begins = b >= former.count;
        grad_place *p = &at[i];
        *p = (grad_place){.saved = saved ? saved + row * saved_row : NULL, .y = y + row * hidden,
                          .h = begins ? (const float *)r->h + b * hidden : y + was * hidden, .dy = dy + dy_now + b * d->dy_row,
                          .dh = work->dh + i * padded, .dc = work->dc + i * padded, .dgates = work->dgates + work->rows * w->l.slots * padded LATER};
        if (d->dc)
            p->c = begins ? work->c0 + i * padded : saved + was * saved_row + cell, p->c_step = begins ? LANES : w->l.kept * LANES;
        p->next_saved = saved && !begins ? saved + was * saved_row : p->saved;
        p->next_h = b < earlier.count ? y + (earlier.first + b) * hidden : p->h;
        p->next_dy = begins ? p->dy : dy + dy_before + b * d->dy_row;
        work->x[work->rows] = x + row * r->in, work->h[work->rows] = p->h;
        dgates[i] = p->dgates, dh[i] = p->dh, dx[i] = d->dx ? (float *)d->dx + row * r->in : NULL;
    }
    step[r->kind](w, at, n, work->sum_slots);
    for (int64_t i = 0, width = w->l.slots * padded; w->p->depth == 2 && i < n; i++) {
        float *units = pairs_at(w, work) + i * width / 2;
        w->p->pair_row(dgates[i], width, units);
        dgates[i] = units;
    }
    w->p->back(w, w->l.h0, w->l.hn, w->w_h, dgates, n, dh, hidden, r->kind == TN_RNN_KIND_GRU, at);
    if (d->dx)
        w->p->back(w, w->l.x0, w->l.xn, w->w_x, dgates, n, dx, r->in, false, NULL);
}

/* Rows of a state, of `from` apart, into rows of `to` apart. */
static void copy_rows(float *to, int64_t to_row, const float *from, int64_t from_row, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * to_row, from + i * from_row, (size_t)width * sizeof *to);
}

static void backward_tile(const walk *w, grad_work *work, int64_t begin, int64_t end)
{
    const tn_rnn *r = w->r;
    const int64_t hidden = r->hidden, padded = w->units * LANES, n = end - begin;
    copy_rows(work->dh, padded, (const float *)w->d->dh + begin * hidden, hidden, n, hidden);
    if (w->d->dc) {
        copy_rows(work->dc, padded, (const float *)w->d->dc + begin * hidden, hidden, n, hidden);
        copy_rows(work->c0, padded, (const float *)r->c + begin * hidden, hidden, n, hidden);
    }
    for (int64_t i = 0; i < r->steps; i++) {
        const int64_t t = r->reverse ? i : r->steps - 1 - i, active = tn_min_i64(tn_rnn_active(r, t), end) - begin;
        if (active > 0)
            backward_step(w, work, t, begin, active);
    }
    add_rows(w, work);
    copy_rows((float *)w->d->dh + begin * hidden, hidden, work->dh, padded, n, hidden);
    if (w->d->dc)
        copy_rows((float *)w->d->dc + begin * hidden, hidden, work->dc, padded, n, hidden);
}

/* Workers take parts, and their tiles from the last to the first: what forward wrote last is in the cache still. */
static void backward_parts(int64_t begin, int64_t end, void *context)
{
    const walk *w = context;
    for (int64_t k = begin; k < end; k++) {
        const int64_t state = TILE * w->units * LANES;
        grad_work *work = (grad_work *)(void *)(w->scratch + (size_t)k * w->scratch_bytes);
        float *at = (float *)(void *)((char *)work + (sizeof *work + 63) / 64 * 64);
        memset(at, 0, (size_t)(3 * state) * sizeof *at);
        work->rows = 0, work->dh = at, work->dc = at + state, work->c0 = at + 2 * state, work->dgates = at + 3 * state;
        for (int64_t part = w->parts * (k + 1) / w->workers - 1; part >= w->parts * k / w->workers; part--) {
            work->sum_x = w->sums + part * w->sums_size;
            work->sum_h = work->sum_x + packed_size(w, w->r->in, w->l.xn);
            work->sum_slots = work->sum_h + packed_size(w, w->r->hidden, w->l.hn);
            memset(work->sum_x, 0, (size_t)w->sums_size * sizeof(float));
            for (int64_t tile = w->tiles * (part + 1) / w->parts - 1; tile >= w->tiles * part / w->parts; tile--)
                backward_tile(w, work, tile_begin(w, tile), tile_begin(w, tile + 1));
        }
    }
}

static void add_parts(int64_t begin, int64_t end, void *context)
{
    const walk *w = context;
    for (int64_t part = 1; part < w->parts; part++) {
        const float *from = w->sums + part * w->sums_size;
        for (int64_t i = begin; i < end; i++)
            w->sums[i] += from[i];
    }
}

static void write_gradients(const walk *w)
{
    const tn_rnn_grad *d = w->d;
    const int64_t x = packed_size(w, w->r->in, w->l.xn), h = packed_size(w, w->r->hidden, w->l.hn);
    if (d->dw_ih)
        unpack_by_unit(w, w->sums, w->r->in, w->l.x0, w->l.xn, d->dw_ih);
    if (d->dw_hh)
        unpack_by_unit(w, w->sums + x, w->r->hidden, w->l.h0, w->l.hn, d->dw_hh);
    for (int64_t i = 0; i < w->l.slots * w->r->hidden; i++) {
        const int64_t s = i / w->r->hidden, j = i % w->r->hidden, to = gate_of(w->r->kind, (int)s) * w->r->hidden + j;
        const float sum = w->sums[x + h + (j / LANES * w->l.slots + s) * LANES + j % LANES];
        if (d->db_ih && s < w->l.xn)
            ((float *)d->db_ih)[to] = sum;
        if (d->db_hh && s >= w->l.h0)
            ((float *)d->db_hh)[to] = sum;
    }
}

/* ---- whole calls ---------------------------------------------------------------------------------------------------------- */

bool TN_K(rnn_is_small)(tn_dtype dtype, const tn_rnn *r)
{
    const int64_t most = WEIGHT_BYTES / (int64_t)sizeof(float);
    return dtype == TN_F32 && r->hidden > 0 && r->batch > 0 && r->hidden < most && r->in < most &&
           tn_rnn_gates(r->kind) * r->hidden * (r->in + r->hidden) <= most;
}

/* Sequences of a tile: many, for which weights from the second cache are read the more seldom, or few whose rows stay in the first. */
static int64_t tile_of(const tn_rnn *r)
{
    const int64_t weights = tn_rnn_gates(r->kind) * r->hidden * (r->in + r->hidden);
    return weights * (int64_t)sizeof(float) <= FEW_WEIGHTS ? SMALL_TILE : TILE;
}

static walk walk_of(const tn_rnn *r, const tn_rnn_grad *d)
{
    walk w = {.r = r, .d = d, .p = products_of(r), .l = layout_of(r->kind), .units = tn_ceil_div(r->hidden, LANES)};
    const int64_t few = tn_max_i64(1, r->batch / LEAST_TILE);
    w.tiles = tn_min_i64(few, tn_ceil_div(tn_ceil_div(r->batch, tile_of(r)), 4) * 4);
    w.parts = tn_min_i64(w.tiles, MOST_PARTS);
    return w;
}

tn_status TN_K(rnn_small_forward)(const tn_rnn *r)
{
    walk w = walk_of(r, NULL);
    const int64_t x = packed_size(&w, r->in, w.l.xn), h = packed_size(&w, r->hidden, w.l.hn), slots = packed_size(&w, 1, w.l.slots);
    w.scratch_bytes = w.p->depth == 2 ? (size_t)(TILE * (units_of(&w, r->in) + units_of(&w, r->hidden))) * sizeof(float) : 0;
    const size_t floats = (size_t)(x + h + slots) * sizeof(float), bytes = floats + (size_t)w.tiles * w.scratch_bytes;
    if (!(w.w_x = tn_alloc(bytes)))
        return TN_ERR_MEMORY;
    w.w_h = w.w_x + x, w.bias = w.w_h + h;
    w.scratch = w.scratch_bytes ? (char *)w.w_x + floats : NULL;
    /* Two threads, which share the memory, gained 3 % so in some processes and lost a fifth in others. */
    w.past = tn_parallel_width() == 1 && r->saved && (uintptr_t)r->saved % TN_VECTOR_BYTES == 0 &&
             r->first[r->steps] * saved_width(r) >= PAST_BYTES / (int64_t)sizeof(float);
    pack_by_unit(&w, r->w_ih, r->in, w.l.x0, w.l.xn, w.w_x);
    pack_by_unit(&w, r->w_hh, r->hidden, w.l.h0, w.l.hn, w.w_h);
    pack_bias(&w);
    tn_parallel_for(w.tiles, 1, forward_tiles, &w);
    tn_free(w.w_x, bytes);
    return TN_OK;
}

tn_status TN_K(rnn_small_backward)(const tn_rnn_grad *d)
{
    const tn_rnn *r = &d->rnn;
    walk w = walk_of(r, d);
    const int64_t row = packed_size(&w, 1, w.l.slots), x = d->dx ? panels_size(&w, r->in, w.l.xn) : 0, h = panels_size(&w, r->hidden, w.l.hn);
    w.workers = tn_min_i64(w.parts, tn_parallel_width());
    w.chunk = tn_max_i64(TILE, tn_min_i64(CHUNK, CHUNK_BYTES / (row * (int64_t)sizeof(float))));
    if (tile_of(r) == SMALL_TILE)
        w.chunk = 2 * SMALL_TILE;
    w.sums_size = packed_size(&w, r->in, w.l.xn) + packed_size(&w, r->hidden, w.l.hn) + row;
    const int64_t pairs = w.p->depth == 2 ? TILE * row / 2 + tn_ceil_div(w.chunk, 2) * (r->in + r->hidden) : 0;
    w.scratch_bytes = (sizeof(grad_work) + 63) / 64 * 64 + (size_t)(3 * TILE * w.units * LANES + w.chunk * row + pairs) * sizeof(float);
    w.scratch_bytes = (w.scratch_bytes + 63) / 64 * 64;
    const size_t floats = ((size_t)(x + h + w.parts * w.sums_size) * sizeof(float) + 63) / 64 * 64;
    const size_t bytes = floats + (size_t)w.workers * w.scratch_bytes;
    if (!(w.w_x = tn_alloc(bytes)))
        return TN_ERR_MEMORY;
    w.w_h = w.w_x + x, w.sums = w.w_h + h;
    w.scratch = (char *)w.w_x + floats;
    if (d->dx)
        pack_by_column(&w, r->w_ih, r->in, w.l.x0, w.l.xn, w.w_x);
    pack_by_column(&w, r->w_hh, r->hidden, w.l.h0, w.l.hn, w.w_h);
    tn_parallel_for(w.workers, 1, backward_parts, &w);
    tn_parallel_for(w.sums_size, TN_GRAIN, add_parts, &w);
    write_gradients(&w);
    tn_free(w.w_x, bytes);
    return TN_OK;
}
