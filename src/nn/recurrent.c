/* RNN, LSTM, GRU and their cells. Each layer and direction is one call of the operator in ops/recurrent.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/layer.h"
#include "nn/packed.h"
#include "ops/recurrent.h"

typedef struct recurrent {
    tn_module base; /* its first entries are the parameters, in PyTorch's order */
    tn_rnn_kind kind;
    int64_t input_size, hidden_size, proj_size; /* proj_size of an LSTM, or 0 */
    int num_layers, directions;
    bool cell, bias, batch_first;
    double dropout;
} recurrent;

static int state_count(const recurrent *self) { return self->kind == TN_RNN_KIND_LSTM ? 2 : 1; }

static tn_tensor *parameter(const recurrent *self, int i) { return tn_entry_tensor(&self->base.state->entries[i]); }

/* What h has of each sequence; c has hidden_size. */
static int64_t h_size(const recurrent *self) { return self->proj_size ? self->proj_size : self->hidden_size; }

/* One layer in one direction, number k of all. */
static tn_tensor *run(const recurrent *self, int k, tn_tensor *x, tn_tensor *first, tn_tensor *h0, tn_tensor *c0, tn_tensor **h, tn_tensor **c)
{
    const int biases = self->bias ? 2 : 0, at = k * (2 + biases + (self->proj_size != 0));
    const tn_recurrence layer = {.op = self->base.type->name, .kind = self->kind, .reverse = k % self->directions == 1, .x = x, .first = first,
                                 .h = h0, .c = c0, .w_ih = parameter(self, at), .w_hh = parameter(self, at + 1),
                                 .b_ih = self->bias ? parameter(self, at + 2) : NULL, .b_hh = self->bias ? parameter(self, at + 3) : NULL,
                                 .w_hr = self->proj_size ? parameter(self, at + 2 + biases) : NULL};
    return tn_recur(&layer, h, c);
}

/* ---- checks ------------------------------------------------------------------------------------------------------------- */

static bool inputs_fit(const recurrent *self, tn_tensor *const *in, int n_in, int most, int n_out)
{
    const char *op = self->base.type->name;
    const int states = state_count(self);
    if (n_in < 1 || n_in > most || n_out > 1 + states - self->cell)
        tn_fail(TN_ERR_ARGUMENT, "%s: it takes 1 to %d inputs and gives %d, and there are %d and %d", op, most, 1 + states - self->cell, n_in, n_out);
    else if (states == 2 && n_in > 1 && !in[1] != (n_in < 3 || !in[2]))
        tn_fail(TN_ERR_ARGUMENT, "%s: h0 and c0 are the state together: give both or neither", op);
    return !tn_failing() && tn_ready(op, "x", in[0]);
}

static bool dims_fit(const recurrent *self, const tn_tensor *x, int plain, bool batched)
{
    if (x->ndim == plain || (batched && x->ndim == plain + 1))
        return true;
    tn_fail(TN_ERR_SHAPE, "%s: x is %s: %s is needed", self->base.type->name, tn_text(x),
            self->cell ? "[batch, input_size] or [input_size]"
            : plain == 2 && !batched ? "[rows, input_size], as tn_pack_padded_sequence makes it,"
            : self->batch_first      ? "[batch, steps, input_size] or [steps, input_size]"
                                     : "[steps, batch, input_size] or [steps, input_size]");
    return false;
}

/* ---- layers ------------------------------------------------------------------------------------------------------------- */

/* The table of where each step's rows begin, from batch_sizes, or steps of `batch` rows each. */
static tn_tensor *first_rows(const char *op, tn_tensor *batch_sizes, int64_t steps, int64_t batch, int64_t rows)
{
    const tn_tensor *sizes = batch_sizes ? tn_to(tn_contiguous(tn_cast(batch_sizes, TN_I64)), (tn_device_id){TN_CPU, 0}) : NULL;
    if (tn_failing())
        return NULL;
    if (sizes && sizes->ndim == 1)
        steps = sizes->numel;
    if (steps < 1)
        return tn_fail(TN_ERR_SHAPE, "%s: the sequences have no step: at least one is needed", op);
    const int64_t *given = sizes ? (const int64_t *)(const void *)tn_ptr(sizes) : NULL;
    tn_tensor *first = tn_new(op, TN_SHAPE(steps + 1), TN_I64, (tn_device_id){TN_CPU, 0});
    int64_t *begin = first ? (int64_t *)(void *)tn_ptr(first) : NULL;
    bool falling = true;
    for (int64_t t = 0; t < steps && begin; t++) {
        const int64_t n = given ? given[t] : batch;
        begin[t] = t ? begin[t] : 0;
        begin[t + 1] = begin[t] + n;
        falling = falling && n >= 0 && (!given || (n > 0 && (t == 0 || n <= given[t - 1])));
    }
    if (begin && (!falling || begin[steps] != rows))
        return tn_fail(TN_ERR_ARGUMENT, "%s: batch_sizes must be positive, not rise, and sum to x's %lld rows", op, (long long)rows);
    return first;
}

/* h0 or c0, [d layers, batch, size], of one sequence or of sequences in another order, as the layers take it. */
static tn_tensor *state_in(const recurrent *self, const char *name, tn_tensor *state, bool batched, tn_tensor *order, int64_t batch)
{
    const int count = self->num_layers * self->directions;
    const int64_t size = name[0] == 'h' ? h_size(self) : self->hidden_size;
    const char *what = size == self->hidden_size ? "hidden_size" : "proj_size";
    if (!state)
        return NULL;
    if (state->ndim != 2 + batched || state->sizes[0] != count || (batched && state->sizes[1] != batch) ||
        state->sizes[1 + batched] != size)
        return batched ? tn_fail(TN_ERR_SHAPE, "%s: %s is %s and must be [%d, %lld, %lld]: layers and directions, batch, %s",
                                 self->base.type->name, name, tn_text(state), count, (long long)batch, (long long)size, what)
                       : tn_fail(TN_ERR_SHAPE, "%s: %s is %s and must be [%d, %lld], as x is one sequence: layers and directions, %s",
                                 self->base.type->name, name, tn_text(state), count, (long long)size, what);
    state = batched ? state : tn_unsqueeze(state, 1);
    return order ? tn_index_select(state, 1, tn_to(order, state->storage->device)) : state;
}

static tn_tensor *state_out(tn_tensor *const *states, int count, bool batched, tn_tensor *order)
{
    tn_tensor *all = count == 1 && states[0] ? tn_unsqueeze(states[0], 0) : tn_stack(states, count, 0);
    all = all && order ? tn_index_select(all, 1, tn_to(order, all->storage->device)) : all;
    return batched ? all : tn_squeeze(all, 1);
}

/* All layers over x [steps, batch, input] or [rows, input]; h and c come as the first states or NULL, and go as the last ones; NULL on error. */
static tn_tensor *run_layers(recurrent *self, tn_tensor *x, tn_tensor *first, tn_tensor **h, tn_tensor **c, tn_tensor **hs, tn_tensor **cs)
{
    for (int layer = 0; layer < self->num_layers && x; layer++) {
        tn_tensor *y[2] = {NULL};
        for (int d = 0; d < self->directions && !tn_failing(); d++) {
            const int k = layer * self->directions + d;
            y[d] = run(self, k, x, first, *h ? tn_select(*h, 0, k) : NULL, *c ? tn_select(*c, 0, k) : NULL, &hs[k], &cs[k]);
        }
        x = self->directions == 2 && !tn_failing() ? tn_concat(y, 2, -1) : y[0];
        if (layer + 1 < self->num_layers && x)
            x = tn_dropout(x, self->dropout, self->base.training);
    }
    return x;
}

/* in: x, h0 (and c0), then of packed sequences batch_sizes, sorted_indices, unsorted_indices. */
static tn_status layers_forward(recurrent *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    const char *op = self->base.type->name;
    const int states = state_count(self), count = self->num_layers * self->directions;
    tn_tensor *all[6] = {NULL};
    if (!inputs_fit(self, in, n_in, 4 + states, n_out))
        return tn_last_status();
    memcpy(all, in, (size_t)n_in * sizeof *all);
    tn_tensor *x = all[0], *const *packing = all + 1 + states;
    const bool packed = packing[0] != NULL;
    if (!dims_fit(self, x, 2, !packed))
        return tn_last_status();
    const bool batched = packed || x->ndim == 3;
    x = batched ? x : tn_unsqueeze(x, self->batch_first ? 0 : 1);
    x = self->batch_first && !packed ? tn_transpose(x, 0, 1) : x;
    if (!x)
        return tn_last_status();
    const int64_t steps = x->sizes[0], n = packed ? 0 : x->sizes[1], rows = packed ? x->sizes[0] : steps * n;
    tn_tensor *first = first_rows(op, packing[0], steps, n, rows);
    const int64_t batch = first ? ((const int64_t *)(const void *)tn_ptr(first))[1] : 0;
    tn_tensor *h = state_in(self, "h0", all[1], batched, packing[1], batch);
    tn_tensor *c = states == 2 ? state_in(self, "c0", all[2], batched, packing[1], batch) : NULL;
    const size_t bytes = 2 * (size_t)count * sizeof(tn_tensor *);
    tn_tensor **last = tn_failing() ? NULL : tn_alloc_zero(bytes);
    if (!last)
        return tn_last_status();
    tn_tensor *y = run_layers(self, x, first, &h, &c, last, last + count);
    if (y && !packed) {
        y = self->batch_first ? tn_transpose(y, 0, 1) : y;
        y = batched ? y : tn_squeeze(y, self->batch_first ? 0 : 1);
    }
    out[0] = y;
    for (int k = 1; k < n_out && y; k++)
        out[k] = state_out(last + (k - 1) * count, count, batched, packing[2]);
    tn_free(last, bytes);
    return tn_last_status();
}

/* ---- cells -------------------------------------------------------------------------------------------------------------- */

static tn_status cell_forward(recurrent *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    const char *op = self->base.type->name;
    if (!inputs_fit(self, in, n_in, 1 + state_count(self), n_out) || !dims_fit(self, in[0], 1, true))
        return tn_last_status();
    const bool batched = in[0]->ndim == 2;
    const int64_t batch = batched ? in[0]->sizes[0] : 1;
    tn_tensor *all[3] = {NULL}, *h = NULL;
    for (int i = 0; i < n_in; i++) {
        if (in[i] && in[i]->ndim != 1 + batched) {
            tn_fail(TN_ERR_SHAPE, "%s: x is %s and %s is %s: with or without the batch, both", op, tn_text(in[0]), i == 1 ? "h0" : "c0",
                    tn_text(in[i]));
            return TN_ERR_SHAPE;
        }
        all[i] = in[i] && !batched ? tn_unsqueeze(in[i], 0) : in[i];
    }
    tn_tensor *first = first_rows(op, NULL, 1, batch, batch), *c = NULL;
    out[0] = run(self, 0, all[0], first, all[1], all[2], &h, &c);
    if (n_out > 1)
        out[1] = c;
    for (int k = 0; k < n_out && !batched && !tn_failing(); k++)
        out[k] = tn_squeeze(out[k], 0);
    return tn_last_status();
}

/* ---- construction ------------------------------------------------------------------------------------------------------- */

static size_t describe(const tn_module *module, char *text, size_t size)
{
    const recurrent *self = (const recurrent *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, %lld", (long long)self->input_size, (long long)self->hidden_size);
    if (self->proj_size)
        tn_put(&out, ", proj_size=%lld", (long long)self->proj_size);
    if (self->num_layers > 1)
        tn_put(&out, ", num_layers=%d", self->num_layers);
    tn_put(&out, "%s%s", self->bias ? "" : ", bias=False", self->batch_first ? ", batch_first=True" : "");
    if (self->dropout > 0)
        tn_put(&out, ", dropout=%g", self->dropout);
    tn_put(&out, "%s%s", self->directions == 2 ? ", bidirectional=True" : "", self->kind == TN_RNN_KIND_RELU ? ", nonlinearity=relu" : "");
    return out.length;
}

typedef recurrent rnn, lstm, gru, rnn_cell, lstm_cell, gru_cell;
#define KIND(kind, forward)                                                                                                   \
    TN_MODULE_THUNK_(kind, return forward((recurrent *)(void *)module_, in_, n_in_, out_, n_out_)) = {                        \
        sizeof(tn_module_type), #kind, sizeof(recurrent), -1, -1, kind##_thunk_, NULL, NULL, describe,                        \
    }
KIND(rnn, layers_forward);
KIND(lstm, layers_forward);
KIND(gru, layers_forward);
KIND(rnn_cell, cell_forward);
KIND(lstm_cell, cell_forward);
KIND(gru_cell, cell_forward);

/* A parameter uniform on ±1/sqrt(hidden_size). */
static void add_parameter(recurrent *self, const char *what, const char *suffix, tn_shape shape, tn_dtype dtype)
{
    char name[TN_NAME_SIZE];
    const double bound = 1 / sqrt((double)self->hidden_size);
    tn_uniform_args args = {.size = sizeof args, .shape = shape, .a = -bound, .b = bound, .dtype = dtype};
    snprintf(name, sizeof name, "%s%s", what, suffix);
    tn_add_parameter(self, name, tn_uniform_with(&args));
}

/* The module as `model` describes it, with new parameters. */
static tn_module *build(const tn_module_type *type, const recurrent *model, tn_dtype dtype)
{
    const char *op = type->name;
    if (tn_failing())
        return NULL;
    if (model->input_size < 1 || model->hidden_size < 1 || model->num_layers < 1)
        return tn_fail(TN_ERR_ARGUMENT, "%s: input_size %lld, hidden_size %lld and num_layers %d: each must be given, 1 or more", op,
                       (long long)model->input_size, (long long)model->hidden_size, model->num_layers);
    if (model->proj_size < 0 || model->proj_size >= model->hidden_size)
        return tn_fail(TN_ERR_ARGUMENT, "%s: proj_size is %lld: less than hidden_size, %lld, is needed, or 0 for no projection", op,
                       (long long)model->proj_size, (long long)model->hidden_size);
    if (!(model->dropout >= 0 && model->dropout <= 1))
        return tn_fail(TN_ERR_ARGUMENT, "%s: dropout is %g: a probability, 0 to 1, is needed", op, model->dropout);
    TN_SCOPE;
    recurrent *self = tn_module_new(type);
    if (!self)
        return NULL;
    const tn_module base = self->base;
    *self = *model;
    self->base = base;
    const int64_t wide = tn_rnn_gates(self->kind) * self->hidden_size;
    for (int k = 0; k < self->num_layers * self->directions; k++) {
        const int layer = k / self->directions;
        char suffix[TN_NAME_SIZE / 2] = "";
        if (!self->cell)
            snprintf(suffix, sizeof suffix, "_l%d%s", layer, k % self->directions ? "_reverse" : "");
        add_parameter(self, "weight_ih", suffix, TN_SHAPE(wide, layer ? self->directions * h_size(self) : self->input_size), dtype);
        add_parameter(self, "weight_hh", suffix, TN_SHAPE(wide, h_size(self)), dtype);
        if (self->bias) {
            add_parameter(self, "bias_ih", suffix, TN_SHAPE(wide), dtype);
            add_parameter(self, "bias_hh", suffix, TN_SHAPE(wide), dtype);
        }
        if (self->proj_size)
            add_parameter(self, "weight_hr", suffix, TN_SHAPE(self->proj_size, self->hidden_size), dtype);
    }
    return tn_finished(self);
}

#define LAYER_OF(a, kind_)                                                                                                    \
    &(recurrent) { .kind = kind_, .input_size = (a)->input_size, .hidden_size = (a)->hidden_size, .num_layers = (a)->num_layers,        \
                   .directions = (a)->bidirectional ? 2 : 1, .bias = (a)->bias, .batch_first = (a)->batch_first, .dropout = (a)->dropout }
#define CELL_OF(a, kind_)                                                                                                     \
    &(recurrent) { .kind = kind_, .input_size = (a)->input_size, .hidden_size = (a)->hidden_size, .num_layers = 1, .directions = 1,     \
                   .cell = true, .bias = (a)->bias }

static tn_rnn_kind plain_kind(const char *op, tn_rnn_nonlinearity nonlinearity)
{
    if (nonlinearity != TN_RNN_TANH && nonlinearity != TN_RNN_RELU)
        tn_fail(TN_ERR_ARGUMENT, "%s: nonlinearity %d is neither TN_RNN_TANH nor TN_RNN_RELU", op, (int)nonlinearity);
    return nonlinearity == TN_RNN_RELU ? TN_RNN_KIND_RELU : TN_RNN_KIND_TANH;
}

tn_module *tn_lstm_new_with(const tn_lstm_layer_args *a)
{
    TN_KNOWN(tn_lstm_layer_args, a);
    recurrent *model = LAYER_OF(a, TN_RNN_KIND_LSTM);
    model->proj_size = a->proj_size;
    return build(&lstm_module, model, a->dtype);
}

tn_module *tn_gru_new_with(const tn_gru_layer_args *a)
{
    TN_KNOWN(tn_gru_layer_args, a);
    return build(&gru_module, LAYER_OF(a, TN_RNN_KIND_GRU), a->dtype);
}

tn_module *tn_rnn_new_with(const tn_rnn_layer_args *a)
{
    TN_KNOWN(tn_rnn_layer_args, a);
    return build(&rnn_module, LAYER_OF(a, plain_kind("rnn", a->nonlinearity)), a->dtype);
}

tn_module *tn_lstm_cell_new_with(const tn_cell_args *a)
{
    TN_KNOWN(tn_cell_args, a);
    return build(&lstm_cell_module, CELL_OF(a, TN_RNN_KIND_LSTM), a->dtype);
}

tn_module *tn_gru_cell_new_with(const tn_cell_args *a)
{
    TN_KNOWN(tn_cell_args, a);
    return build(&gru_cell_module, CELL_OF(a, TN_RNN_KIND_GRU), a->dtype);
}

tn_module *tn_rnn_cell_new_with(const tn_rnn_cell_args *a)
{
    TN_KNOWN(tn_rnn_cell_args, a);
    return build(&rnn_cell_module, CELL_OF(a, plain_kind("rnn_cell", a->nonlinearity)), a->dtype);
}

/* ---- calls with states -------------------------------------------------------------------------------------------------- */

static recurrent *recurrent_of(const char *function, void *module)
{
    tn_module *m = tn_module_of(function, module);
    const tn_module_type *type = m ? m->type : NULL;
    if (m && type->forward != rnn_thunk_ && type->forward != lstm_thunk_ && type->forward != gru_thunk_ && type->forward != rnn_cell_thunk_ &&
        type->forward != lstm_cell_thunk_ && type->forward != gru_cell_thunk_)
        return tn_fail(TN_ERR_ARGUMENT, "%s: the module is %s, not a recurrent layer", function, type->name);
    return (recurrent *)(void *)m;
}

/* in[1] and in[2] are set from the options; the outputs that are asked for go where they say. */
static tn_tensor *call(recurrent *self, tn_tensor **in, int n_in, const tn_recurrent_call_args *a)
{
    const bool lstm_kind = self->kind == TN_RNN_KIND_LSTM;
    tn_tensor *out[3] = {NULL};
    if (!lstm_kind && (a->c0 || a->c_n))
        return tn_fail(TN_ERR_ARGUMENT, "%s: c0 and c_n are of an LSTM: it has no c", self->base.type->name);
    in[1] = a->h0;
    if (lstm_kind)
        in[2] = a->c0;
    /* A cell's y is its h. */
    const int outputs = self->cell ? (a->c_n ? 2 : 1) : a->c_n ? 3 : a->h_n ? 2 : 1;
    if (tn_call_n(self, in, n_in, out, outputs) != TN_OK)
        return NULL;
    if (a->h_n)
        *a->h_n = out[self->cell ? 0 : 1];
    if (a->c_n)
        *a->c_n = out[self->cell ? 1 : 2];
    return out[0];
}

tn_tensor *tn_call_recurrent_with(const tn_recurrent_call_args *a)
{
    TN_KNOWN(tn_recurrent_call_args, a);
    recurrent *self = recurrent_of("call_recurrent", a->module);
    tn_tensor *in[3] = {a->x};
    tn_tensor *y = self ? call(self, in, 1 + state_count(self), a) : NULL;
    if (!y && a->h_n)
        *a->h_n = NULL;
    if (!y && a->c_n)
        *a->c_n = NULL;
    return y;
}

tn_packed_sequence *tn_call_packed_with(const tn_packed_call_args *a)
{
    TN_KNOWN(tn_packed_call_args, a);
    recurrent *self = recurrent_of("call_packed", a->module);
    const tn_packed_sequence *x = a->x;
    if (a->h_n)
        *a->h_n = NULL;
    if (a->c_n)
        *a->c_n = NULL;
    if (!self)
        return NULL;
    if (self->cell)
        return tn_fail(TN_ERR_ARGUMENT, "call_packed: %s takes one step, not packed sequences", self->base.type->name);
    if (!tn_packed_sequence_check("call_packed", x))
        return NULL;
    const int states = state_count(self);
    tn_tensor *in[6] = {x->data};
    in[1 + states] = x->batch_sizes, in[2 + states] = x->sorted_indices, in[3 + states] = x->unsorted_indices;
    const tn_recurrent_call_args plain = {.size = sizeof plain, .h0 = a->h0, .c0 = a->c0, .h_n = a->h_n, .c_n = a->c_n};
    return tn_packed_sequence_of(call(self, in, 4 + states, &plain), x->batch_sizes, x->sorted_indices, x->unsorted_indices);
}
