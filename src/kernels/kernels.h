/* The kernel table: everything that touches elements, behind raw pointers. Kernels know dtypes, sizes and strides and no tensors.
 *
 * A backend (cpu/, once an instruction set; cuda/) fills every slot of TN_KERNEL_LIST. The operators in src/ops check, promote,
 * broadcast and allocate; a kernel only computes. A slot returns TN_OK, or the status of a tn_fail() that it raised (no memory for
 * scratch, an index out of range); it never returns half a result without one.
 *
 * Work is split among threads by shape, scattered rows by where they go (core/parallel.h), so that bits do not depend on timing. */
#ifndef TN_KERNELS_H
#define TN_KERNELS_H

#include <string.h>

#include <tenon/tensor.h>

#include "kernels/decode.h"
#include "kernels/elementwise.h"
#include "kernels/packed.h"

/* Operands walked together, element by element: [0] is the result. Dims are outermost first and coalesced by tn_loop_make() (core/
 * loop.h): where all operands are dense, ndim is 1. Strides are in bytes; a broadcast operand has stride 0. ndim >= 1, sizes > 0. */
enum { TN_LOOP_OPERANDS = 4 };
typedef struct tn_loop {
    int16_t ndim, operands;
    int32_t on_cpu; /* on another device: a bit for each operand that is one element in the CPU's memory (a C number) */
    int64_t sizes[TN_MAX_DIMS];
    int64_t strides[TN_LOOP_OPERANDS][TN_MAX_DIMS];
    char *data[TN_LOOP_OPERANDS];
} tn_loop;

/* A reduction: outer dims are kept (each gives one result), inner dims are reduced, in the order of their listing. Coalesced by
 * tn_reduction_make() (ops/reduce.c); either count may be 0 (a scalar result; a copy) and inner sizes may be 0. Strides in bytes. */
typedef struct tn_reduction {
    int outer_ndim, inner_ndim;
    int64_t outer_sizes[TN_MAX_DIMS], inner_sizes[TN_MAX_DIMS];
    int64_t outer_strides[TN_MAX_DIMS]; /* the input over the outer dims */
    int64_t inner_strides[TN_MAX_DIMS]; /* the input over the reduced dims */
    int64_t out_strides[TN_MAX_DIMS];   /* the result over the outer dims */
    int64_t index_strides[TN_MAX_DIMS];
    const char *in;
    char *out;    /* may be NULL for ARGMAX and ARGMIN */
    char *index;  /* i64, for ARGMAX and ARGMIN: the position among the reduced ones */
    double param; /* VAR, STD: the correction; NORM: p */
} tn_reduction;

/* The result has the input's dtype but where said. f32 and the 16-bit floats are summed in f32 lanes that are emptied into f64 often. */
typedef enum tn_reduce_op {
    TN_REDUCE_SUM, TN_REDUCE_PROD,       /* integers and bool give i64 */
    TN_REDUCE_MAX, TN_REDUCE_MIN,        /* NaN where one is among the inputs */
    TN_REDUCE_ANY, TN_REDUCE_ALL,        /* bool */
    TN_REDUCE_ARGMAX, TN_REDUCE_ARGMIN,  /* the first of equals; NaN beats all */
    TN_REDUCE_MEAN, TN_REDUCE_VAR, TN_REDUCE_STD, TN_REDUCE_NORM, TN_REDUCE_LOGSUMEXP /* floats only */
} tn_reduce_op;

/* Contiguous [outer, n, inner]: softmax and its like over n. */
typedef struct tn_softmax_rows {
    int64_t outer, n, inner;
    bool log;
    const void *x; /* forward: the input; backward: the result that forward gave */
    const void *dy;
    void *y; /* forward: the result; backward: the gradient */
} tn_softmax_rows;

/* Cross-entropy of class indices. Row i's loss is (1 - s) w[t] (lse - x[t]) + s/c * the sum over j of w[j] (lse - x[j]), 0 where t is
 * ignore_index; MEAN divides the sum by the sum of w[t]. */
typedef struct tn_cross_entropy_rows {
    int64_t rows, classes;
    const void *x;         /* [rows, classes] */
    const int64_t *target; /* [rows] */
    const void *weight;    /* [classes], or NULL */
    int64_t ignore_index;
    double smoothing;
    int reduction; /* tn_loss_reduction: 0 none, 1 mean, 2 sum */
    double *stats; /* [2 rows + 1]: each row's max and log of the sum of exp(x - max), then what MEAN divides by; forward writes it */
    void *loss;    /* forward: [rows], or one */
    const void *grad; /* backward: the loss's gradient, [rows] or one; NULL: ones */
    void *dx;         /* backward: [rows, classes] */
} tn_cross_entropy_rows;

/* CTC of dense x, log probabilities; sequence n has input_lengths[n] steps and the labels targets[starts[n] ...]. f32 and f64. */
typedef struct tn_ctc {
    int64_t time, batch, classes, blank;
    int64_t longest;        /* of the target lengths */
    bool zero_infinity;     /* a target that no way gives: loss and gradient 0 */
    const void *x;          /* [time, batch, classes] */
    const int64_t *targets; /* none is blank */
    const int64_t *starts, *input_lengths, *target_lengths; /* [batch] */
    void *loss;             /* [batch] */
    void *dx;               /* each loss's gradient, [time, batch, classes], or NULL */
} tn_ctc;

/* Contiguous [outer, n, inner]: y is the running sum of x over n, from the end where reverse. */
typedef struct tn_cumsum_rows {
    int64_t outer, n, inner;
    bool reverse;
    const void *x;
    void *y;
} tn_cumsum_rows;

/* Contiguous rows of n: the k first of each in order, stable; NaN is the greatest. */
typedef struct tn_sort_rows {
    int64_t rows, n, k;
    bool descending;
    const void *x;    /* [rows, n] */
    void *values;     /* [rows, k] */
    int64_t *indices; /* [rows, k] */
} tn_sort_rows;

/* Elements of tn_norm's 16-bit rows at most. */
enum { TN_NORM_HELD = 8192 };
/* Normalisation of contiguous [n, c, s], f32 and f64, not empty. What shares a mean and a variance is a pool: where `batch`, all of a
 * channel, pool c; else c / groups channels of one sample, pool i groups + g. y = (x - mean) rstd weight[c] + bias[c],
 * rstd = 1 / sqrt(var + eps); the CPU's batch norm gives activation(y + residual). */
typedef struct tn_norm {
    int64_t n, c, s, groups;
    bool batch;
    bool centre; /* else the mean counts as 0 (RMS norm); without it s is 1 */
    bool given;  /* batch: mean and var are the caller's, and constants to backward; else forward finds them */
    int held;    /* the CPU's: the dtype of x, y, dy and dx where it is a 16-bit one, all else being f32, of whole rows (s is 1, not batch, one
                  * group) or of s > 1; else 0 */
    double eps;
    int activation; /* 0 or TN_UNARY_RELU: forward's alone, as residual is */
    const void *x, *weight, *bias; /* weight and bias are [c], or NULL */
    const void *residual;          /* [n, c, s], of x's dtype, or NULL */
    void *y;
    double *mean, *rstd, *var; /* [pools]; var without Bessel's correction */
    const void *dy;
    void *dx, *dweight, *dbias; /* backward writes them; each may be NULL: not asked for */
} tn_norm;

/* One product c = alpha op(a) op(b) + beta c, or a batch of them. Row-major; element (i, j) of a is a[i * a_row + j * a_col], one of the two
 * strides being 1 for the fast paths. Batch strides in elements. Where beta is 0, c is not read. */
typedef struct tn_gemm {
    int64_t batch, m, n, k;
    const void *a, *b;
    void *c;
    int64_t a_row, a_col, b_row, b_col, c_row; /* c's column stride is 1 */
    int64_t a_batch, b_batch, c_batch;
    double alpha, beta;
    const void *bias;   /* [n], added to each row, or NULL */
    int activation;     /* 0 or TN_UNARY_RELU, after bias */
    void *a_sums;       /* [m], unless NULL: becomes the sum over k of each row of op(a), of a batch of one; backends that do not find it while they
                         * multiply call their reduce (tn_gemm_sums) */
    const struct tn_gemm *beside; /* the product of a' by another b, of as many columns, that is due too, or NULL; alpha 1, beta 0, nothing after
                         * it and neither of a batch. A backend that does not read a once for both makes one after the other (tn_gemm_apart) */
    bool rounded;       /* f32: the elements of a and b may be rounded to bf16 before they are multiplied; sums are f32 all the same */
    /* Within the CPU's kernels, for many products with one b; else NULL. */
    const void *packed; /* b as gemm_pack() laid it out */
    void *scratch;      /* gemm_scratch_bytes() of the caller's: the product stays on the calling thread and cannot fail */
} tn_gemm;

/* What a product's a_sums asks for; so many bytes an element. */
static inline tn_reduction tn_gemm_sums(const tn_gemm *g, size_t element)
{
    const int64_t size = (int64_t)element;
    tn_reduction r;
    memset(&r, 0, sizeof r);
    r.outer_ndim = g->m != 1;
    r.inner_ndim = g->k != 1;
    r.outer_sizes[0] = g->m;
    r.inner_sizes[0] = g->k;
    r.outer_strides[0] = g->a_row * size;
    r.inner_strides[0] = g->a_col * size;
    r.out_strides[0] = size;
    r.in = (const char *)g->a;
    r.out = (char *)g->a_sums;
    return r;
}

/* The product beside g, then g without it. */
static inline tn_status tn_gemm_apart(tn_status (*gemm)(tn_dtype dtype, const tn_gemm *gemm), tn_dtype dtype, const tn_gemm *g)
{
    tn_gemm alone = *g;
    alone.beside = NULL;
    const tn_status status = gemm(dtype, g->beside);
    return status == TN_OK ? gemm(dtype, &alone) : status;
}

/* Rows of heads, which lie side by side or apart: element (b, h, i, j) is data[b * batch + h * head + i * row + j]. */
typedef struct tn_head_rows {
    void *data;
    int64_t batch, head, row;
} tn_head_rows;

/* Scaled dot-product attention, f32 and f64, s above 0: y = (dropout of softmax(scale q k' + mask)) v, blocks of rows against blocks of
 * columns, so that scratch does not grow with l or s (Dao et al. 2022). Head h reads k and v of head h / (heads / kv_heads). A row of which
 * nothing is allowed gives zeros. dropout's mask is element by element what BERNOULLI fills a dense [batch, heads, l, s] with. */
typedef struct tn_attention {
    int64_t batch, heads, kv_heads, l, s, e, ev;
    tn_head_rows q, k, v; /* [batch, heads, l, e], [batch, kv_heads, s, e], [batch, kv_heads, s, ev] */
    tn_head_rows mask;    /* [batch, heads, l, s], or data is NULL; its columns lie mask_column apart */
    int64_t mask_column;
    bool mask_is_bool; /* true: allowed; else what is added, of the dtype */
    bool causal;       /* column j is allowed for row i where j <= i */
    bool rounded;      /* its products are as tn_gemm's rounded */
    double scale, dropout;
    uint64_t seed, offset;   /* of dropout's random numbers */
    tn_head_rows y, dy;      /* [batch, heads, l, ev] */
    void *stats;             /* dense [batch, heads, l, 2]: a row's max and 1 / its sum of exp(score - max) */
    tn_head_rows dq, dk, dv; /* of the sizes of q, k and v; backward writes them; data of each may be NULL: not asked for */
} tn_attention;

/* Rotary embedding, f32 and f64: the first 2 half elements of each row of x, in pairs (j, j + half), or (2j, 2j + 1) where interleaved, turn by
 * the angle whose cosine and sine are given, backwards where inverse; the others are copied. */
typedef struct tn_rope_rows {
    int64_t batch, heads, l, width, half;
    int64_t table_rows; /* row (b, h, i), the r-th, takes row r % table_rows of the tables */
    bool interleaved, inverse;
    tn_head_rows x, y;     /* [batch, heads, l, width] */
    const void *cos, *sin; /* dense [table_rows, half] */
} tn_rope_rows;

/* A recurrent layer in one direction over a batch of sequences, the longest first: their steps lie as rows, all of step 0, then all of
 * step 1, ..., and step t has the first first[t + 1] - first[t] sequences. float32 and float64; all dense but dy. Gates in the weights are
 * PyTorch's: LSTM's are i f g o, GRU's r z n, a plain network has one. */
typedef enum tn_rnn_kind { TN_RNN_KIND_TANH, TN_RNN_KIND_RELU, TN_RNN_KIND_LSTM, TN_RNN_KIND_GRU } tn_rnn_kind;
static inline int64_t tn_rnn_gates(tn_rnn_kind kind) { return kind == TN_RNN_KIND_LSTM ? 4 : kind == TN_RNN_KIND_GRU ? 3 : 1; }
/* Elements that our own kernels keep of a row for backward: gates, and LSTM: the cell, GRU: the hidden part of n. Their order is the kernel's
 * own. */
static inline int64_t tn_rnn_saved(tn_rnn_kind kind, int64_t hidden)
{
    return (kind == TN_RNN_KIND_LSTM ? 5 : kind == TN_RNN_KIND_GRU ? 4 : 0) * ((hidden + 15) / 16 * 16);
}
typedef struct tn_rnn {
    tn_rnn_kind kind;
    bool reverse; /* from the last step to the first */
    bool rounded; /* f32: what is multiplied may be rounded to bf16; sums and states are f32 all the same */
    int64_t steps, batch, in, hidden;
    const int64_t *first;                      /* [steps + 1] */
    const void *x;                             /* [rows, in] */
    const void *w_ih, *w_hh, *b_ih, *b_hh;     /* [gates hidden, in], [gates hidden, hidden], [gates hidden] or NULL */
    void *saved;                               /* as many elements as rnn_saved says; NULL: nobody goes backward, or needs none */
    int *way;                                  /* a note of the device's, from rnn_saved to forward, and on to backward; 0 at first */
    void *y;                                   /* [rows, hidden] */
    void *h, *c;                               /* [batch, hidden]: forward turns the first state into the last; c of LSTM only */
} tn_rnn;
typedef struct tn_rnn_grad {
    tn_rnn rnn;              /* as forward left it, but h and c: the first state */
    const void *dy;          /* of sequence b at step t at t dy_step + b dy_row, in elements; dy_step 0: at (first[t] + b) dy_row */
    int64_t dy_step, dy_row;
    void *dh, *dc;           /* [batch, hidden]: turns the last state's gradient into the first state's */
    void *dx, *dw_ih, *dw_hh, *db_ih, *db_hh; /* backward writes them; each may be NULL: not asked for */
} tn_rnn_grad;

/* A 2-D convolution, contiguous NCHW operands (1-D has height 1); float32 and float64. */
typedef struct tn_conv {
    int64_t n, c_in, h, w, c_out, kh, kw, oh, ow;
    int64_t stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups;
    const void *x, *weight, *bias; /* [n,c_in,h,w], [c_out,c_in/groups,kh,kw], [c_out] or NULL */
    void *y;                       /* [n,c_out,oh,ow] */
    int activation;                /* 0 or TN_UNARY_RELU */
    bool rounded;                  /* f32: what is multiplied may be rounded to bf16; sums are f32 all the same */
} tn_conv;
typedef struct tn_conv_grad {
    tn_conv conv;         /* its y is not used */
    const void *dy;       /* [n,c_out,oh,ow] */
    void *dx, *dw, *db;   /* each may be NULL: not asked for */
    const void *relu;     /* forward's y, after a ReLU whose slope dy goes through first, or NULL */
    void *slope;          /* with relu: becomes what dy is after it; may be dy */
} tn_conv_grad;
/* RELU_BACKWARD of dy and relu into slope, not empty; so many bytes an element. */
static inline tn_loop tn_conv_slope(const tn_conv_grad *g, size_t element)
{
    tn_loop loop;
    memset(&loop, 0, sizeof loop);
    loop.ndim = 1;
    loop.operands = 3;
    loop.sizes[0] = g->conv.n * g->conv.c_out * g->conv.oh * g->conv.ow;
    for (int k = 0; k < 3; k++)
        loop.strides[k][0] = (int64_t)element;
    loop.data[0] = (char *)g->slope;
    loop.data[1] = (char *)(uintptr_t)g->dy;
    loop.data[2] = (char *)(uintptr_t)g->relu;
    return loop;
}

/* 2-D pooling of planes: x is [planes, h, w], y is [planes, oh, ow]. */
typedef struct tn_pool {
    int64_t planes, h, w, oh, ow, kh, kw, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;
    bool count_include_pad; /* average: padding counts among the elements that a sum is divided by */
    int64_t divisor;        /* average: divides by this instead; 0: by the elements */
} tn_pool;
/* Max pooling is on floats and i64; index says which tap of its window won, a u8, or an i32 where kh * kw > 256 (or NULL: not wanted);
 * max_pool_take (floats) gathers by it, max_pool_where turns it into positions y * w + x of the plane. avg_pool: floats; sums of 16-bit ones are
 * f32. fold: f32 and f64; unfold: any dtype. Columns are [n, c_in * kh * kw, oh * ow]. Results are written whole. */

/* Turns indices into byte offsets: out[i] is the sum over the terms of index * stride. With wrap a negative index counts from the end of its
 * dim. One out of range stops the kernel, which sets bad_term and bad_index and returns TN_ERR_INDEX without raising it: the caller knows
 * what the dim is called. */
typedef struct tn_offsets {
    int64_t n;
    int count;                          /* terms */
    const int64_t *index[TN_MAX_DIMS];  /* [n] each */
    int64_t sizes[TN_MAX_DIMS];         /* of the dim that the term walks */
    int64_t strides[TN_MAX_DIMS];       /* bytes */
    int64_t *out;                       /* [n] */
    bool wrap;
    int bad_term;
    int64_t bad_index;
} tn_offsets;

/* A fill with Philox 4x32-10 (kernels/philox.h). Element i takes, of the block that counter offset + i / 4 gives, lane i % 4; where it needs
 * 64 bits (f64, BITS, INTEGER), the lanes 2 (i % 2) and 2 (i % 2) + 1 of block offset + i / 2; NORMAL makes elements 2j and 2j + 1 of the bits
 * that those two would take. f32 uniforms are 24 bits times 2^-24, f64 53 times 2^-53, f16 11 times 2^-11, bf16 8 times 2^-8. */
typedef enum tn_random_kind {
    TN_RANDOM_UNIFORM,   /* a + u (b - a), u in [0, 1), below b: floats */
    TN_RANDOM_NORMAL,    /* a + b z: floats */
    TN_RANDOM_INTEGER,   /* low ... low + range - 1, without bias: any dtype; range 0 means 2^64 */
    TN_RANDOM_BERNOULLI, /* u < a ? b : 0, u of 24 bits: any dtype */
    TN_RANDOM_BITS       /* 64 bits as they come: i64 */
} tn_random_kind;
typedef struct tn_random_fill {
    tn_random_kind kind;
    tn_dtype dtype;
    int64_t n;
    void *out; /* dense */
    uint64_t seed, offset;
    double a, b;
    int64_t low;
    uint64_t range;
} tn_random_fill;
/* How many elements one block of four words makes. */
static inline int64_t tn_random_per_block(tn_random_kind kind, tn_dtype dtype)
{
    return kind == TN_RANDOM_INTEGER || kind == TN_RANDOM_BITS || (dtype == TN_F64 && kind != TN_RANDOM_BERNOULLI) ? 2 : 4;
}

/* A pass of optim_step over many tensors: an optimiser's update, or what else goes element by element over all of them. For each element,
 * with w = shrink p and x = sign g + decay w, p becomes what the op says; m0, m1, m2 are its states, in the item's order. A moment is
 * keep m + take x; lerp(m, x, t) is m + t (x - m). */
typedef enum tn_step_op {
    TN_STEP_SGD,      /* w - rate x, or with m0 = keep1 m0 + take1 x: w - rate (scale m0 + ahead x) */
    TN_STEP_ADAM,     /* m0 = lerp(m0, x, take1), m1 = keep2 m1 + take2 x²: w - (rate m0 + ahead x) / (scale sqrt(m1) + eps); with m2 the
                       * largest m1 so far instead */
    TN_STEP_RMSPROP,  /* m0 = keep2 m0 + take2 x²: w - rate y, y = x / (sqrt(m0) + eps); with m2 = lerp(m2, x, take2) of m0 - m2²; with
                       * m1 = keep1 m1 + y: w - rate m1 */
    TN_STEP_ADADELTA, /* m0 = keep2 m0 + take2 x²: w - rate y, y = x sqrt((m1 + eps) / (m0 + eps)); then m1 = keep2 m1 + take2 y² */
    TN_STEP_ADAMAX,   /* m0 = lerp(m0, x, take1), m1 = max(keep2 m1, |x| + eps): w - rate m0 / m1 */
    TN_STEP_LION,     /* w - rate sign(keep1 m0 + take1 x); then m0 = keep2 m0 + take2 x */
    TN_STEP_MUON,     /* m0 = lerp(m0, x, take1): w - rate m1, which is only read */
    TN_STEP_SCALE,    /* w */
    TN_STEP_CLAMP,    /* w within -rate ... rate */
    TN_STEP_LERP,     /* lerp(w, x, rate) */
    TN_STEP_SWAP,     /* m0, and m0 becomes w */
    TN_STEP_OPS
} tn_step_op;
enum { TN_STEP_STATES = 3 };
#define TN_STEP_SCALARS(X) X(sign) X(decay) X(shrink) X(rate) X(ahead) X(keep1) X(take1) X(keep2) X(take2) X(scale) X(eps)
typedef struct tn_step_scalars {
#define TN_STEP_SCALAR_(name) double name;
    TN_STEP_SCALARS(TN_STEP_SCALAR_)
#undef TN_STEP_SCALAR_
} tn_step_scalars;
typedef struct tn_step_item {
    tn_dtype dtype; /* f32 or f64, of all its arrays */
    int64_t n;      /* elements of each */
    int64_t start;  /* elements of the items before it */
    void *p;
    const void *g;                /* NULL where the op has no x */
    void *state[TN_STEP_STATES];  /* NULL where absent; which are there chooses the loop */
    tn_step_scalars c;
} tn_step_item;

/* The slots: X(name, (parameters), (their names)). Each is `tn_status name(parameters)`. */
#define TN_KERNEL_LIST(X)                                                                                                     \
    X(optim_step, (tn_step_op op, const tn_step_item *items, int count), (op, items, count))                                  \
    X(unary, (tn_unary_op op, tn_dtype dtype, const double *param, const tn_loop *loop), (op, dtype, param, loop))            \
    X(binary, (tn_binary_op op, tn_dtype dtype, const tn_loop *loop), (op, dtype, loop))                                      \
    X(ternary, (tn_ternary_op op, tn_dtype dtype, const tn_loop *loop), (op, dtype, loop))                                    \
    /* of silu(gate) up, n dense elements of f32 or f64: dgate = dy up silu'(gate), dup = dy silu(gate); dup may be dy */     \
    X(swiglu_backward, (tn_dtype dtype, int64_t n, const void *dy, const void *gate, const void *up, void *dgate, void *dup), \
      (dtype, n, dy, gate, up, dgate, dup))                                                                                   \
    X(cast, (tn_dtype to, tn_dtype from, const tn_loop *loop), (to, from, loop))                                              \
    X(fill, (size_t element, const void *value, const tn_loop *loop), (element, value, loop))                                 \
    X(gemm, (tn_dtype dtype, const tn_gemm *gemm), (dtype, gemm))                                                             \
    X(reduce, (tn_reduce_op op, tn_dtype dtype, const tn_reduction *reduction), (op, dtype, reduction))                       \
    X(cumsum, (tn_dtype dtype, const tn_cumsum_rows *rows), (dtype, rows))                                                    \
    X(softmax, (tn_dtype dtype, const tn_softmax_rows *softmax), (dtype, softmax))                                            \
    X(softmax_backward, (tn_dtype dtype, const tn_softmax_rows *softmax), (dtype, softmax))                                   \
    X(cross_entropy, (tn_dtype dtype, const tn_cross_entropy_rows *rows), (dtype, rows))                                      \
    X(cross_entropy_backward, (tn_dtype dtype, const tn_cross_entropy_rows *rows), (dtype, rows))                             \
    X(ctc, (tn_dtype dtype, const tn_ctc *ctc), (dtype, ctc))                                                                 \
    X(norm, (tn_dtype dtype, const tn_norm *norm), (dtype, norm))                                                             \
    X(norm_backward, (tn_dtype dtype, const tn_norm *norm), (dtype, norm))                                                    \
    X(sort, (tn_dtype dtype, const tn_sort_rows *rows), (dtype, rows))                                                        \
    /* result, source, i64 byte offsets: result = *(source + offset) */                                                       \
    X(gather, (size_t element, const tn_loop *loop), (element, loop))                                                         \
    /* values, target, i64 byte offsets: *(target + offset) = or += value; one target element belongs to one (place, offset) */ \
    X(scatter, (tn_dtype dtype, bool add, const tn_loop *loop), (dtype, add, loop))                                           \
    X(offsets, (tn_offsets *offsets), (offsets))                                                                              \
    /* where mask is true, ascending; out may be NULL: only counted */                                                        \
    X(positions, (int64_t n, const bool *mask, int64_t *out, int64_t *count), (n, mask, out, count))                          \
    /* positions in a dense array of these sizes to coordinates: out[i * row + d * column] */                                 \
    X(unravel, (int64_t n, const int64_t *positions, int ndim, const int64_t *sizes, int64_t row, int64_t column, int64_t *out), \
      (n, positions, ndim, sizes, row, column, out))                                                                          \
    X(random, (const tn_random_fill *fill), (fill))                                                                           \
    /* out[i] = start + (first + i) * step, computed in f64 (in i64 for whole start and step into integers) */                \
    X(range, (tn_dtype dtype, int64_t n, int64_t first, double start, double step, void *out),                                \
      (dtype, n, first, start, step, out))                                                                                    \
    /* dense matrices [batch, rows, cols]: what lies on the wrong side of the diagonal becomes 0 */                           \
    X(triangle, (size_t element, bool upper, int64_t diagonal, int64_t batch, int64_t rows, int64_t cols, const void *x,      \
                 void *out), (element, upper, diagonal, batch, rows, cols, x, out))                                           \
    X(attention, (tn_dtype dtype, const tn_attention *attention), (dtype, attention))                                         \
    X(attention_backward, (tn_dtype dtype, const tn_attention *attention), (dtype, attention))                                \
    X(rope, (tn_dtype dtype, const tn_rope_rows *rows), (dtype, rows))                                                        \
    X(conv_forward, (tn_dtype dtype, const tn_conv *conv), (dtype, conv))                                                     \
    X(conv_backward, (tn_dtype dtype, const tn_conv_grad *grad), (dtype, grad))                                               \
    X(unfold, (tn_dtype dtype, const tn_conv *conv, const void *x, void *columns), (dtype, conv, x, columns))                 \
    X(fold, (tn_dtype dtype, const tn_conv *conv, const void *columns, void *x), (dtype, conv, columns, x))                   \
    X(max_pool, (tn_dtype dtype, const tn_pool *pool, const void *x, void *y, void *index), (dtype, pool, x, y, index))       \
    X(max_pool_backward, (tn_dtype dtype, const tn_pool *pool, const void *dy, const void *index, void *dx),                  \
      (dtype, pool, dy, index, dx))                                                                                           \
    X(max_pool_take, (tn_dtype dtype, const tn_pool *pool, const void *x, const void *index, void *y),                        \
      (dtype, pool, x, index, y))                                                                                             \
    X(max_pool_where, (const tn_pool *pool, const void *index, int64_t *where), (pool, index, where))                         \
    X(avg_pool, (tn_dtype dtype, const tn_pool *pool, const void *x, void *y), (dtype, pool, x, y))                           \
    X(avg_pool_backward, (tn_dtype dtype, const tn_pool *pool, const void *dy, void *dx), (dtype, pool, dy, dx))              \
    /* how many elements forward will keep; asked before it, and only where backward may follow */                            \
    X(rnn_saved, (tn_dtype dtype, const tn_rnn *rnn, int64_t *elements), (dtype, rnn, elements))                              \
    X(rnn_forward, (tn_dtype dtype, const tn_rnn *rnn), (dtype, rnn))                                                         \
    X(rnn_backward, (tn_dtype dtype, const tn_rnn_grad *grad), (dtype, grad))                                                 \
    TN_PACKED_KERNEL_LIST(X)                                                                                                  \
    TN_DECODE_KERNEL_LIST(X)

typedef struct tn_kernels {
    const char *name;
#define TN_KERNEL_SLOT_(slot, parameters, names) tn_status (*slot) parameters;
    TN_KERNEL_LIST(TN_KERNEL_SLOT_)
#undef TN_KERNEL_SLOT_
} tn_kernels;

/* The table of a device, NULL where no backend is built for it; its choice of instruction set is made once. The one list of backends is in kernels/backends.c. */
const tn_kernels *tn_kernels_of(int device_type);
/* The same, and what the calling thread asks of it from now on goes to this device. */
const tn_kernels *tn_kernels_on(tn_device_id device);
/* Whether the CPU's products of f32 are faster where they may round to bf16. */
bool tn_has_bf16_products(void);

#endif
