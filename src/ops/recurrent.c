/* Recurrent layers: tanh and ReLU networks, LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), GRU (Cho et al.
 * 2014, in PyTorch's form, where r multiplies the hidden part of n after its product). A kernel walks all steps, and another walks them back
 * and makes all gradients. */
#include "ops/recurrent.h"

#include <tenon/ops.h>

#include "autograd/node.h"
#include "core/loop.h"

/* The node's inputs, which are also the first that it saves; after them come `first`, what the kernel keeps for backward, and y. */
enum { X, H, C, W_IH, W_HH, B_IH, B_HH, INPUTS, FIRST = INPUTS, KEPT, Y, SAVED };

typedef struct recurrence_attr {
    const char *op;
    tn_rnn_kind kind;
    bool reverse;
    int way; /* tn_rnn's */
} recurrence_attr;

static void *ptr(const tn_tensor *x) { return x ? tn_ptr(x) : NULL; }
static tn_tensor *like(const tn_tensor *x, const char *op, tn_shape shape) { return tn_new(op, shape, (tn_dtype)x->dtype, x->storage->device); }

/* A new contiguous tensor of from's values. */
static tn_tensor *copy_of(const char *op, const tn_tensor *from)
{
    tn_tensor *copy = from ? like(from, op, tn_shape_of(from)) : NULL;
    return copy && tn_overwrite(copy, from) == TN_OK ? copy : NULL;
}

static tn_tensor *linear(tn_tensor *x, tn_tensor *weight, tn_tensor *bias)
{
    return tn_linear_with(&(tn_linear_op_args){.size = sizeof(tn_linear_op_args), .x = x, .weight = weight, .bias = bias});
}

static int64_t hidden_of(tn_rnn_kind kind, const tn_tensor *w_hh) { return w_hh->sizes[0] / tn_rnn_gates(kind); }

/* x's shape with another last size. */
static tn_shape shape_with(const tn_tensor *x, int64_t last)
{
    tn_shape shape = tn_shape_of(x);
    shape.sizes[shape.ndim - 1] = last;
    return shape;
}

static tn_rnn geometry(const recurrence_attr *how, tn_tensor *const *t)
{
    return (tn_rnn){.kind = how->kind, .reverse = how->reverse, .rounded = tn_rounds_to_bf16(), .steps = t[FIRST]->numel - 1,
                    .batch = t[H]->sizes[0], .in = t[W_IH]->sizes[1], .hidden = t[H]->sizes[1], .first = (const int64_t *)(const void *)tn_ptr(t[FIRST]),
                    .x = ptr(t[X]), .w_ih = ptr(t[W_IH]), .w_hh = ptr(t[W_HH]), .b_ih = ptr(t[B_IH]), .b_hh = ptr(t[B_HH]),
                    .saved = ptr(t[KEPT]), .y = ptr(t[Y])};
}

/* ---- gradients that can be differentiated: the layer once more, of tensor operators -------------------------------------- */

static void same(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    (void)node;
    dx[0] = dy[0];
}

/* x under another name, so that a gradient with respect to it is not one with respect to what x was made of. */
static tn_tensor *renamed(tn_tensor *x)
{
    tn_tensor *view = x && tn_tracks(x) ? tn_view_of(x, x->ndim, x->sizes, x->strides, x->offset) : x;
    return view == x ? x : tn_record(view, "recurrent", same, TN_INPUTS(x), TN_NO_SAVED, TN_NO_ATTR);
}

/* Gate k of the sum of both parts. */
static tn_tensor *gate(tn_tensor *a, tn_tensor *b, int64_t k, int64_t hidden)
{
    return tn_add(tn_narrow(a, 1, k * hidden, hidden), tn_narrow(b, 1, k * hidden, hidden));
}

/* One step: a and b are both parts of the gates; gives the new h and changes *c. */
static tn_tensor *composed_step(tn_rnn_kind kind, tn_tensor *a, tn_tensor *b, tn_tensor *h, tn_tensor **c, int64_t n)
{
    if (kind == TN_RNN_KIND_TANH)
        return tn_tanh(tn_add(a, b));
    if (kind == TN_RNN_KIND_RELU)
        return tn_relu(tn_add(a, b));
    tn_tensor *first = tn_sigmoid(gate(a, b, 0, n)), *second = tn_sigmoid(gate(a, b, 1, n));
    if (kind == TN_RNN_KIND_GRU) {
        tn_tensor *fresh = tn_tanh(tn_add(tn_narrow(a, 1, 2 * n, n), tn_mul(first, tn_narrow(b, 1, 2 * n, n))));
        return tn_add(tn_mul(tn_sub(h, fresh), second), fresh);
    }
    tn_tensor *added = tn_mul(first, tn_tanh(gate(a, b, 2, n))), *out = tn_sigmoid(gate(a, b, 3, n));
    *c = tn_add(tn_mul(second, *c), added);
    return tn_mul(out, tn_tanh(*c));
}

/* The first rows of x replaced. */
static tn_tensor *with_rows(tn_tensor *rows, tn_tensor *x)
{
    if (!rows || !x || rows->sizes[0] == x->sizes[0])
        return rows;
    return tn_concat((tn_tensor *[]){rows, tn_narrow(x, 0, rows->sizes[0], x->sizes[0] - rows->sizes[0])}, 2, 0);
}

/* y and the last states from a node's inputs, with a node for each operator. w_hr, unless NULL, makes h of what the gates let through. */
static bool composed(const recurrence_attr *how, tn_tensor *const *in, tn_tensor *w_hr, tn_tensor *first, tn_tensor **out)
{
    const int64_t *begin = (const int64_t *)(const void *)tn_ptr(first), steps = first->numel - 1, hidden = hidden_of(how->kind, in[W_HH]);
    const size_t bytes = (size_t)steps * sizeof(tn_tensor *);
    tn_tensor *x = tn_reshape(in[X], TN_SHAPE(begin[steps], in[X]->sizes[in[X]->ndim - 1])), *h = in[H], *c = in[C], **ys = tn_alloc_zero(bytes);
    tn_tensor *a = linear(x, in[W_IH], in[B_IH]);
    for (int64_t s = 0; s < steps && ys && !tn_failing(); s++) {
        const int64_t t = how->reverse ? steps - 1 - s : s, n = begin[t + 1] - begin[t];
        tn_tensor *before = tn_narrow(h, 0, 0, n), *cell = c ? tn_narrow(c, 0, 0, n) : NULL;
        ys[t] = composed_step(how->kind, tn_narrow(a, 0, begin[t], n), linear(before, in[W_HH], in[B_HH]), before, &cell, hidden);
        ys[t] = w_hr ? linear(ys[t], w_hr, NULL) : ys[t];
        h = with_rows(ys[t], h);
        c = c ? with_rows(cell, c) : NULL;
    }
    out[0] = ys && !tn_failing() ? tn_reshape(tn_concat(ys, (int)steps, 0), shape_with(in[X], h->sizes[1])) : NULL;
    out[1] = h;
    out[2] = c;
    tn_free(ys, bytes);
    return !tn_failing();
}

static void composed_backward(tn_node *node, tn_tensor *const *dy, tn_tensor *const *saved, tn_tensor **dx)
{
    tn_tensor *in[INPUTS], *out[3], *wanted[INPUTS], *results[INPUTS];
    int count = 0, which[INPUTS];
    for (int i = 0; i < INPUTS; i++) {
        in[i] = renamed(saved[i]);
        if (in[i] && tn_wants(node, i)) {
            wanted[count] = in[i];
            which[count++] = i;
        }
    }
    if (!composed(tn_node_attr(node), in, NULL, saved[FIRST], out))
        return;
    tn_grads_of_args args = {.size = sizeof args, .grads = dy, .create_graph = true, .allow_unused = true, .outputs = out,
                             .output_count = node->outputs, .inputs = wanted, .input_count = count, .results = results};
    if (tn_grads_of_with(&args) != TN_OK)
        return;
    for (int k = 0; k < count; k++)
        dx[which[k]] = results[k];
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

/* The gradient of y as the kernel takes it: any strides but of the last dim. */
static tn_tensor *gradient_rows(tn_tensor *dy, tn_rnn_grad *grad)
{
    const int last = dy->ndim - 1;
    if ((dy->strides[last] != 1 && dy->sizes[last] != 1) || (last == 2 && dy->strides[0] == 0))
        dy = tn_contiguous(dy);
    if (!dy)
        return NULL;
    grad->dy = tn_ptr(dy);
    grad->dy_row = dy->strides[last - 1];
    grad->dy_step = last == 2 ? dy->strides[0] : 0;
    return dy;
}

static void recurrent_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const recurrence_attr *how = tn_node_attr(node);
    tn_tensor *t[SAVED];
    for (int i = 0; i < SAVED; i++)
        t[i] = tn_node_saved(node, i);
    if (tn_failing())
        return;
    if (tn_grad_enabled()) {
        composed_backward(node, dy, t, dx);
        return;
    }
    tn_tensor *dh = copy_of(how->op, dy[1]), *dc = t[C] ? copy_of(how->op, dy[2]) : NULL;
    const int made[] = {X, W_IH, W_HH, B_IH, B_HH};
    for (int i = 0; i < TN_COUNT(made); i++)
        if (tn_wants(node, made[i]))
            dx[made[i]] = like(t[Y], how->op, tn_shape_of(t[made[i]]));
    tn_rnn_grad grad = {.rnn = geometry(how, t)};
    if (!gradient_rows(dy[0], &grad) || tn_failing())
        return;
    int way = how->way;
    grad.rnn.h = ptr(t[H]), grad.rnn.c = ptr(t[C]), grad.rnn.way = &way;
    grad.dh = ptr(dh), grad.dc = ptr(dc);
    grad.dx = ptr(dx[X]), grad.dw_ih = ptr(dx[W_IH]), grad.dw_hh = ptr(dx[W_HH]), grad.db_ih = ptr(dx[B_IH]), grad.db_hh = ptr(dx[B_HH]);
    dx[H] = dh;
    dx[C] = dc;
    (void)tn_kernels_for(t[Y])->rnn_backward((tn_dtype)t[Y]->dtype, &grad);
}

/* ---- checks and forward ------------------------------------------------------------------------------------------------- */

static bool alike(const char *op, const char *name, const tn_tensor *x, const tn_tensor *w)
{
    if (!x)
        return true;
    if (x->dtype != w->dtype)
        tn_fail(TN_ERR_DTYPE, "%s: %s is %s and the weights are %s: they must be alike: tn_cast it, or tn_module_to_dtype() the module", op,
                name, tn_dtype_name((tn_dtype)x->dtype), tn_dtype_name((tn_dtype)w->dtype));
    return !tn_failing() && tn_devices_agree(op, x, w);
}

static bool fits(const tn_recurrence *l, int64_t batch)
{
    const tn_tensor *states[] = {l->h, l->c};
    const char *names[] = {"h0", "c0"};
    const int64_t width[] = {l->w_hh->sizes[1], hidden_of(l->kind, l->w_hh)}, in = l->w_ih->sizes[1];
    if (l->w_hh->dtype != TN_F32 && l->w_hh->dtype != TN_F64)
        tn_fail(TN_ERR_DTYPE, "%s: the weights are %s: recurrent layers run in float32 and float64", l->op,
                tn_dtype_name((tn_dtype)l->w_hh->dtype));
    if (tn_failing() || !alike(l->op, "x", l->x, l->w_hh) || !alike(l->op, "h0", l->h, l->w_hh) || !alike(l->op, "c0", l->c, l->w_hh))
        return false;
    if (l->x->sizes[l->x->ndim - 1] != in)
        tn_fail(TN_ERR_SHAPE, "%s: x's last size is %lld, and input_size is %lld", l->op, (long long)l->x->sizes[l->x->ndim - 1], (long long)in);
    for (int k = 0; k < 2; k++)
        if (states[k] && (states[k]->ndim != 2 || states[k]->sizes[0] != batch || states[k]->sizes[1] != width[k]))
            tn_fail(TN_ERR_SHAPE, "%s: %s is %s and must be [%lld, %lld]: batch, hidden_size", l->op, names[k], tn_text(states[k]),
                    (long long)batch, (long long)width[k]);
    return !tn_failing();
}

/* A state as the kernel takes it: zeros where there is none. */
static tn_tensor *state_or_zeros(const tn_recurrence *l, tn_tensor *state, int64_t batch, int64_t width)
{
    const tn_device_id device = l->x->storage->device;
    if (state)
        return tn_contiguous(state);
    return tn_zeros_with(&(tn_shape_args){.size = sizeof(tn_shape_args), .shape = TN_SHAPE(batch, width),
                                          .dtype = (tn_dtype)l->x->dtype, .device = &device});
}

/* Runs the kernel: out is y and the last states; t's places from KEPT on are filled, KEPT where backward will follow. */
static bool forward(const tn_recurrence *l, recurrence_attr *how, tn_tensor **t, tn_tensor **out)
{
    const tn_kernels *kernels = tn_kernels_for(t[X]);
    const tn_dtype dtype = (tn_dtype)t[X]->dtype;
    tn_rnn rnn = geometry(how, t);
    rnn.way = &how->way;
    int64_t kept = 0;
    if (tn_recording(t, INPUTS) && kernels->rnn_saved(dtype, &rnn, &kept) != TN_OK)
        return false;
    TN_NO_GRAD;
    t[KEPT] = kept ? like(t[X], l->op, TN_SHAPE(kept)) : NULL;
    out[0] = t[Y] = like(t[X], l->op, shape_with(t[X], rnn.hidden));
    out[1] = copy_of(l->op, t[H]);
    out[2] = how->kind == TN_RNN_KIND_LSTM ? copy_of(l->op, t[C]) : NULL;
    if (tn_failing())
        return false;
    rnn.saved = ptr(t[KEPT]), rnn.y = ptr(t[Y]), rnn.h = ptr(out[1]), rnn.c = ptr(out[2]);
    return kernels->rnn_forward(dtype, &rnn) == TN_OK;
}

tn_tensor *tn_recur(const tn_recurrence *l, tn_tensor **h, tn_tensor **c)
{
    const bool lstm = l->kind == TN_RNN_KIND_LSTM;
    *h = NULL;
    if (lstm)
        *c = NULL;
    if (!tn_ready(l->op, "x", l->x) || !tn_ready(l->op, "the table of steps", l->first))
        return NULL;
    const int64_t *first = (const int64_t *)(const void *)tn_ptr(l->first), batch = first[1];
    if (!fits(l, batch))
        return NULL;
    TN_SCOPE;
    recurrence_attr how = {l->op, l->kind, l->reverse, 0};
    tn_tensor *t[SAVED] = {tn_contiguous(l->x), state_or_zeros(l, l->h, batch, l->w_hh->sizes[1]),
                           lstm ? state_or_zeros(l, l->c, batch, hidden_of(l->kind, l->w_hh)) : NULL, tn_contiguous(l->w_ih), tn_contiguous(l->w_hh),
                           l->b_ih ? tn_contiguous(l->b_ih) : NULL, l->b_hh ? tn_contiguous(l->b_hh) : NULL, l->first};
    tn_tensor *out[3] = {NULL};
    if (tn_failing())
        return NULL;
    if (l->w_hr ? !composed(&how, t, l->w_hr, l->first, out)
                : !forward(l, &how, t, out) ||
                      !tn_record_many(out, lstm ? 3 : 2, l->op, recurrent_backward, t, INPUTS, t, SAVED, TN_ATTR(how)))
        return NULL;
    *h = tn_pass(out[1]);
    if (lstm)
        *c = tn_pass(out[2]);
    return tn_pass(out[0]);
}
