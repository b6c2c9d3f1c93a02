/* A stand-in for cuDNN's recurrent layers: what is in kernels/cuda/cudnn.h of them, of one layer in one direction over packed sequences. Its
 * space for weights begins with those of h and has gaps. Backward writes into what forward kept, as the real one does. A layer with
 *   107 hidden elements has its gates' weights apart    109 has none that runs    113 fails when it runs. */
#include "library_on_cpu.h"
#include "kernels/cuda/cudnn.h"

#include <cmath>
#include <vector>

enum { TN_CUDNN_NUMBERS(TN_NUMBER) TN_CUDNN_RNN_NUMBERS(TN_NUMBER) GAP = 64, KEPT = 5, APART = 107, UNSUPPORTED = 109, FAILING = 113 };
#define CHECK(condition)                                                                                                      \
    if (!(condition))                                                                                                         \
    die("cuDNN's recurrent layers", #condition)

struct network {
    int mode, type, math, in, hidden;
    int gates() const { return mode == CUDNN_LSTM ? 4 : mode == CUDNN_GRU ? 3 : 1; }
    size_t item() const { return type == CUDNN_DATA_DOUBLE ? 8 : 4; }
    /* Elements before a gate's matrix or bias in the space; id counts the gates of the input, then those of h. */
    size_t place(int id, bool bias) const
    {
        const bool of_h = id >= gates();
        const size_t n = (size_t)hidden, whole = n * (size_t)gates(), gate = (size_t)(id % gates());
        const size_t begin = GAP + (of_h ? 0 : GAP + whole * (n + 1)), width = of_h ? n : (size_t)in;
        return begin + (bias ? whole * width + gate * n : gate * n * width) + (hidden == APART ? gate * GAP : 0);
    }
    size_t elements() const { return 4 * GAP + (size_t)gates() * (size_t)hidden * (size_t)(in + hidden + 2) + (hidden == APART ? 4 * GAP : 0); }
};
struct sequences {
    int type, steps, size;
    std::vector<int> lengths;
    std::vector<int> first; /* the row where each step begins, and the end */
};
struct tensor {
    int type, sizes[3];
};

static int made, ran; /* descriptors that live; calls run */
EXPORTED int cudnn_adv_on_cpu_made(void) { return made; }
EXPORTED int cudnn_adv_on_cpu_ran(void) { return ran; }

template <class D> static int make(void **descriptor) { return *descriptor = new D(), made++, CUDNN_STATUS_SUCCESS; }
template <class D> static int destroy(void *descriptor) { return delete (D *)descriptor, made--, CUDNN_STATUS_SUCCESS; }
EXPORTED int cudnnAdvVersionCheck(void) { return getenv("TENON_CUDNN_ADV_FAILS") ? CUDNN_STATUS_BAD_PARAM : CUDNN_STATUS_SUCCESS; }
EXPORTED int cudnnCreateTensorDescriptor(void **d) { return make<tensor>(d); }
EXPORTED int cudnnDestroyTensorDescriptor(void *d) { return destroy<tensor>(d); }
EXPORTED int cudnnCreateDropoutDescriptor(void **d) { return make<int>(d); }
EXPORTED int cudnnDestroyDropoutDescriptor(void *d) { return destroy<int>(d); }
EXPORTED int cudnnCreateRNNDescriptor(void **d) { return make<network>(d); }
EXPORTED int cudnnDestroyRNNDescriptor(void *d) { return destroy<network>(d); }
EXPORTED int cudnnCreateRNNDataDescriptor(void **d) { return make<sequences>(d); }
EXPORTED int cudnnDestroyRNNDataDescriptor(void *d) { return destroy<sequences>(d); }

EXPORTED int cudnnSetTensorNdDescriptor(void *d, int type, int ndim, const int *sizes, const int *strides)
{
    CHECK(ndim == 3 && strides[2] == 1 && strides[1] == sizes[2] && strides[0] == sizes[1] * sizes[2]);
    *(tensor *)d = {type, {sizes[0], sizes[1], sizes[2]}};
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED int cudnnSetDropoutDescriptor(void *d, void *handle, float dropout, void *states, size_t size, unsigned long long)
{
    CHECK(handle && dropout == 0 && !states && !size);
    *(int *)d = 1;
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED int cudnnSetRNNDescriptor_v8(void *d, int algo, int mode, int bias, int direction, int input, int type, int precision, int math,
                                      int32_t in, int32_t hidden, int32_t projected, int32_t layers, void *dropout, uint32_t flags)
{
    CHECK(algo == CUDNN_RNN_ALGO_STANDARD && bias == CUDNN_RNN_DOUBLE_BIAS && direction == CUDNN_UNIDIRECTIONAL && input == CUDNN_LINEAR_INPUT);
    CHECK((type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_DOUBLE) && precision == type && in > 0 && hidden > 0 && projected == hidden);
    CHECK(layers == 1 && *(int *)dropout == 1 && flags == CUDNN_RNN_PADDED_IO_DISABLED);
    CHECK(math == CUDNN_DEFAULT_MATH || (math == CUDNN_FMA_MATH && type == CUDNN_DATA_FLOAT));
    *(network *)d = {mode, type, math, in, hidden};
    return CUDNN_STATUS_SUCCESS;
}
EXPORTED int cudnnSetRNNDataDescriptor(void *d, int type, int layout, int steps, int batch, int size, const int *lengths, void *padding)
{
    sequences *s = (sequences *)d;
    CHECK(layout == CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED && batch > 0 && size > 0 && !padding && lengths[0] == steps);
    *s = {type, steps, size, std::vector<int>(lengths, lengths + batch), {0}};
    for (int t = 0; t < steps; t++) {
        int active = 0;
        for (int b = 0; b < batch; b++) {
            CHECK(lengths[b] > 0 && (b == 0 || lengths[b] <= lengths[b - 1]));
            active += lengths[b] > t;
        }
        s->first.push_back(s->first.back() + active);
    }
    return CUDNN_STATUS_SUCCESS;
}

EXPORTED int cudnnGetRNNWeightSpaceSize(void *handle, void *rnn, size_t *size)
{
    const network *n = (const network *)rnn;
    CHECK(handle);
    return *size = n->elements() * n->item(), CUDNN_STATUS_SUCCESS;
}
EXPORTED int cudnnGetRNNWeightParams(void *handle, void *rnn, int32_t layer, size_t size, const void *space, int32_t id, void *matrix,
                                     void **matrix_data, void *bias, void **bias_data)
{
    const network *n = (const network *)rnn;
    CHECK(handle && layer == 0 && size == n->elements() * n->item() && id >= 0 && id < 2 * n->gates() && matrix && bias);
    *matrix_data = (char *)space + n->place(id, false) * n->item();
    *bias_data = (char *)space + n->place(id, true) * n->item();
    return CUDNN_STATUS_SUCCESS;
}
static size_t kept(const network *n, const sequences *x) { return (size_t)x->first.back() * KEPT * (size_t)n->hidden * n->item() + 24; }
EXPORTED int cudnnGetRNNTempSpaceSizes(void *handle, void *rnn, int mode, void *x, size_t *work, size_t *reserve)
{
    CHECK(handle && (mode == CUDNN_FWD_MODE_TRAINING || !reserve));
    *work = 1000;
    if (reserve)
        *reserve = kept((const network *)rnn, (const sequences *)x);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- the formulas ----------------------------------------------------------------------------------------------------------- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* T is the layer's type. In what is kept each row has five times `hidden`: the gates, and the cell, or the hidden part of GRU's n; after
 * backward the gradients of the gates, and of the hidden part of n. */
template <class T> struct layer {
    const network n;
    const sequences x;
    const T *weights, *in, *hx, *cx;
    const int hidden = n.hidden, gates = n.gates(), steps = x.steps;

    int active(int t) const { return x.first[(size_t)t + 1] - x.first[(size_t)t]; }
    int row(int t, int b) const { return x.first[(size_t)t] + b; }
    const T *before(const T *rows, const T *state, int t, int b, int width) const
    {
        return t ? rows + (int64_t)row(t - 1, b) * width : state + (int64_t)b * hidden;
    }
    double operand(double v) const { return n.type == CUDNN_DATA_FLOAT && n.math == CUDNN_DEFAULT_MATH ? rounded((float)v, 10) : v; }
    double part(int id, int j, const T *v, int width) const
    {
        double sum = weights[n.place(id, true) + (size_t)j];
        for (int i = 0; i < width; i++)
            sum += operand(weights[n.place(id, false) + (size_t)(j * width + i)]) * operand(v[i]);
        return sum;
    }

    void forward(T *y, T *hy, T *cy, T *keep) const
    {
        std::vector<T> cells((size_t)(x.first.back() * hidden));
        for (int t = 0; t < steps; t++)
            for (int b = 0; b < active(t); b++)
                for (int j = 0; j < hidden; j++) {
                    const int64_t r = row(t, b), at = r * hidden + j;
                    const T *h = before(y, hx, t, b, hidden);
                    double a[4], u[4], g[5] = {};
                    for (int k = 0; k < gates; k++)
                        a[k] = part(k, j, in + r * n.in, n.in), u[k] = part(gates + k, j, h, hidden);
                    if (n.mode == CUDNN_LSTM) {
                        for (int k = 0; k < 4; k++)
                            g[k] = k == 2 ? tanh(a[k] + u[k]) : sigmoid(a[k] + u[k]);
                        g[4] = cells[(size_t)at] = (T)(g[1] * before(cells.data(), cx, t, b, hidden)[j] + g[0] * g[2]);
                        y[at] = (T)(g[3] * tanh(g[4]));
                        if (t == x.lengths[(size_t)b] - 1)
                            cy[b * hidden + j] = (T)g[4];
                    } else if (n.mode == CUDNN_GRU) {
                        g[0] = sigmoid(a[0] + u[0]), g[1] = sigmoid(a[1] + u[1]), g[4] = u[2], g[2] = tanh(a[2] + g[0] * u[2]);
                        y[at] = (T)((1 - g[1]) * g[2] + g[1] * h[j]);
                    } else {
                        const double sum = a[0] + u[0];
                        y[at] = (T)(g[0] = n.mode == CUDNN_RNN_TANH ? tanh(sum) : sum > 0 ? sum : 0);
                    }
                    if (t == x.lengths[(size_t)b] - 1)
                        hy[b * hidden + j] = y[at];
                    for (int k = 0; k < KEPT && keep; k++)
                        keep[(r * KEPT + k) * hidden + j] = (T)g[k];
                }
    }

    void backward(const T *y, const T *dy, const T *dhy, const T *dcy, T *dx, T *dhx, T *dcx, T *keep) const
    {
        std::vector<double> dh(dhy, dhy + x.lengths.size() * (size_t)hidden), dc(dh.size());
        for (size_t i = 0; i < dc.size() && n.mode == CUDNN_LSTM; i++)
            dc[i] = dcy[i];
        for (int t = steps - 1; t >= 0; t--)
            for (int b = 0; b < active(t); b++) {
                const int64_t r = row(t, b);
                T *const all = keep + r * KEPT * hidden;
                double *const up = &dh[(size_t)(b * hidden)], *const cell = &dc[(size_t)(b * hidden)];
                for (int j = 0; j < hidden; j++) {
                    double g[5], d[5] = {}, h = before(y, hx, t, b, hidden)[j];
                    for (int k = 0; k < KEPT; k++)
                        g[k] = all[k * hidden + j];
                    const double in_all = up[j] + dy[r * hidden + j];
                    up[j] = 0;
                    if (n.mode == CUDNN_LSTM) {
                        const double c = t ? keep[(row(t - 1, b) * KEPT + 4) * hidden + j] : cx[b * hidden + j], v = tanh(g[4]);
                        cell[j] += in_all * g[3] * (1 - v * v);
                        d[0] = cell[j] * g[2] * g[0] * (1 - g[0]), d[1] = cell[j] * c * g[1] * (1 - g[1]), d[2] = cell[j] * g[0] * (1 - g[2] * g[2]);
                        d[3] = in_all * v * g[3] * (1 - g[3]);
                        cell[j] *= g[1];
                    } else if (n.mode == CUDNN_GRU) {
                        d[2] = in_all * (1 - g[1]) * (1 - g[2] * g[2]), d[0] = d[2] * g[4] * g[0] * (1 - g[0]);
                        d[1] = in_all * (h - g[2]) * g[1] * (1 - g[1]), d[4] = d[2] * g[0];
                        up[j] = in_all * g[1];
                    } else
                        d[0] = in_all * (n.mode == CUDNN_RNN_TANH ? 1 - g[0] * g[0] : g[0] > 0);
                    for (int k = 0; k < KEPT; k++)
                        all[k * hidden + j] = (T)d[k];
                }
                for (int i = 0; i < n.in; i++) {
                    double sum = 0;
                    for (int k = 0; k < gates * hidden; k++)
                        sum += all[k] * weights[n.place(k / hidden, false) + (size_t)(k % hidden * n.in + i)];
                    dx[r * n.in + i] = (T)sum;
                }
                for (int k = 0; k < gates * hidden; k++)
                    for (int i = 0; i < hidden; i++)
                        up[i] += of_h(all, k) * weights[n.place(gates + k / hidden, false) + (size_t)(k % hidden * hidden + i)];
            }
        for (size_t i = 0; i < dh.size(); i++) {
            dhx[i] = (T)dh[i];
            if (n.mode == CUDNN_LSTM)
                dcx[i] = (T)dc[i];
        }
    }
    /* The gradient of the hidden part of gate k / hidden. */
    double of_h(const T *all, int k) const { return all[n.mode == CUDNN_GRU && k >= 2 * hidden ? k + 2 * hidden : k]; }

    void add_weights(const T *y, const T *keep, T *to) const
    {
        for (int t = 0; t < steps; t++)
            for (int b = 0; b < active(t); b++)
                for (int k = 0; k < gates * hidden; k++) {
                    const int64_t r = row(t, b);
                    const T *all = keep + r * KEPT * hidden, *h = before(y, hx, t, b, hidden);
                    const int id = k / hidden, j = k % hidden;
                    for (int i = 0; i < n.in; i++)
                        to[n.place(id, false) + (size_t)(j * n.in + i)] += (T)(all[k] * in[r * n.in + i]);
                    for (int i = 0; i < hidden; i++)
                        to[n.place(gates + id, false) + (size_t)(j * hidden + i)] += (T)(of_h(all, k) * h[i]);
                    to[n.place(id, true) + (size_t)j] += all[k];
                    to[n.place(gates + id, true) + (size_t)j] += (T)of_h(all, k);
                }
    }
};

/* ---- calls ------------------------------------------------------------------------------------------------------------------ */

static void check(const network *n, const sequences *x, const sequences *y, const tensor *h, const tensor *c, size_t weight_size, size_t work_size)
{
    CHECK(x->type == n->type && y->type == n->type && x->size == n->in && y->size == n->hidden && x->lengths == y->lengths);
    CHECK(h->type == n->type && h->sizes[0] == 1 && h->sizes[1] == (int)x->lengths.size() && h->sizes[2] == n->hidden);
    CHECK((n->mode == CUDNN_LSTM) == (c != NULL) && weight_size == n->elements() * n->item() && work_size == 1000);
}
/* `what` of the layer, for its type of numbers, and the workspace spoilt. */
template <class F> static int run(void *handle, const network *n, void *work, F what)
{
    if (n->hidden == UNSUPPORTED || n->hidden == FAILING)
        return n->hidden == FAILING ? CUDNN_STATUS_BAD_PARAM : CUDNN_STATUS_NOT_SUPPORTED + 2;
    ran++;
    on_device(*(cudaStream_t *)handle, [=, type = n->type] {
        type == CUDNN_DATA_DOUBLE ? what((double)0) : what((float)0);
        memset(work, 7, 1000);
    });
    return CUDNN_STATUS_SUCCESS;
}

EXPORTED int cudnnRNNForward(void *handle, void *rnn, int mode, const int32_t *lengths, void *x, const void *in, void *y, void *y_data, void *h,
                             const void *hx, void *hy, void *c, const void *cx, void *cy, size_t weight_size, const void *weights,
                             size_t work_size, void *work, size_t reserve_size, void *reserve)
{
    const network *n = (const network *)rnn;
    const sequences *s = (const sequences *)x;
    check(n, s, (const sequences *)y, (const tensor *)h, (const tensor *)c, weight_size, work_size);
    CHECK(handle && !lengths && hx != hy && (mode == CUDNN_FWD_MODE_TRAINING ? reserve && reserve_size == kept(n, s) : !reserve && !reserve_size));
    return run(handle, n, work, [=, n = *n, s = *s](auto zero) {
        typedef decltype(zero) T;
        layer<T>{n, s, (const T *)weights, (const T *)in, (const T *)hx, (const T *)cx}.forward((T *)y_data, (T *)hy, (T *)cy, (T *)reserve);
    });
}

EXPORTED int cudnnRNNBackwardData_v8(void *handle, void *rnn, const int32_t *lengths, void *y, const void *y_data, const void *dy, void *x,
                                     void *dx, void *h, const void *hx, const void *dhy, void *dhx, void *c, const void *cx, const void *dcy,
                                     void *dcx, size_t weight_size, const void *weights, size_t work_size, void *work, size_t reserve_size,
                                     void *reserve)
{
    const network *n = (const network *)rnn;
    const sequences *s = (const sequences *)x;
    check(n, s, (const sequences *)y, (const tensor *)h, (const tensor *)c, weight_size, work_size);
    CHECK(handle && !lengths && dx && dhx != dhy && reserve_size == kept(n, s) && (!c || (dcx && dcx != dcy)));
    return run(handle, n, work, [=, n = *n, s = *s](auto zero) {
        typedef decltype(zero) T;
        layer<T>{n, s, (const T *)weights, NULL, (const T *)hx, (const T *)cx}.backward((const T *)y_data, (const T *)dy, (const T *)dhy,
                                                                                         (const T *)dcy, (T *)dx, (T *)dhx, (T *)dcx, (T *)reserve);
    });
}

EXPORTED int cudnnRNNBackwardWeights_v8(void *handle, void *rnn, int add, const int32_t *lengths, void *x, const void *in, void *h, const void *hx,
                                        void *y, const void *y_data, size_t weight_size, void *dweights, size_t work_size, void *work,
                                        size_t reserve_size, void *reserve)
{
    const network *n = (const network *)rnn;
    const sequences *s = (const sequences *)x;
    check(n, s, (const sequences *)y, (const tensor *)h, n->mode == CUDNN_LSTM ? (const tensor *)h : NULL, weight_size, work_size);
    CHECK(handle && !lengths && add == CUDNN_WGRAD_MODE_ADD && reserve_size == kept(n, s));
    return run(handle, n, work, [=, n = *n, s = *s](auto zero) {
        typedef decltype(zero) T;
        layer<T>{n, s, NULL, (const T *)in, (const T *)hx, NULL}.add_weights((const T *)y_data, (const T *)reserve, (T *)dweights);
    });
}
