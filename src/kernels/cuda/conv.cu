/* Convolutions, f32 and f64: of f32 by cuDNN, else products whose operands are read out of the image (no columns are laid out). */
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/window.h"

/* In each group: y[co, (image, oy, ox)] = sum over (ci, ky, kx) of w[co, (ci, ky, kx)] x[...]. */
template <class S> struct forward {
    typedef S A;
    tn_conv c;
    bool rows_together, columns_together;
    __device__ S left(int64_t group, int64_t i, int64_t k) const
    {
        return ((const S *)c.weight)[(group * (c.c_out / c.groups) + i) * (c.c_in / c.groups) * c.kh * c.kw + k];
    }
    __device__ S right(int64_t group, int64_t k, int64_t j) const
    {
        const int64_t channel = group * (c.c_in / c.groups) + k / (c.kh * c.kw), tap = k % (c.kh * c.kw), image = j / (c.oh * c.ow);
        const int64_t y = tn_place(j / c.ow % c.oh, c.stride_h, c.pad_h, tap / c.kw, c.dil_h);
        const int64_t x = tn_place(j % c.ow, c.stride_w, c.pad_w, tap % c.kw, c.dil_w);
        return y < 0 || y >= c.h || x < 0 || x >= c.w ? (S)0 : ((const S *)c.x)[((image * c.c_in + channel) * c.h + y) * c.w + x];
    }
    __device__ void put(int64_t group, int64_t i, int64_t j, S sum) const
    {
        const int64_t channel = group * (c.c_out / c.groups) + i;
        const S v = sum + (c.bias ? ((const S *)c.bias)[channel] : (S)0);
        ((S *)c.y)[(j / (c.oh * c.ow) * c.c_out + channel) * c.oh * c.ow + j % (c.oh * c.ow)] = c.activation == TN_UNARY_RELU && v < 0 ? (S)0 : v;
    }
};

/* dw[co, (ci, ky, kx)] = sum over (image, oy, ox) of dy[co, ...] x[...]. */
template <class S> struct of_weight {
    typedef S A;
    tn_conv_grad g;
    bool rows_together, columns_together;
    __device__ S left(int64_t group, int64_t i, int64_t k) const
    {
        const tn_conv &c = g.conv;
        const int64_t channel = group * (c.c_out / c.groups) + i, size = c.oh * c.ow;
        return ((const S *)g.dy)[(k / size * c.c_out + channel) * size + k % size];
    }
    __device__ S right(int64_t group, int64_t k, int64_t j) const
    {
        const forward<S> f = {g.conv, true, true};
        return f.right(group, j, k);
    }
    __device__ void put(int64_t group, int64_t i, int64_t j, S sum) const
    {
        const tn_conv &c = g.conv;
        ((S *)g.dw)[(group * (c.c_out / c.groups) + i) * (c.c_in / c.groups) * c.kh * c.kw + j] = sum;
    }
};

/* dx[ci, (image, y, x)] = sum over (co, ky, kx) of w[co, (ci, ky, kx)] dy[...]. */
template <class S> struct of_input {
    typedef S A;
    tn_conv_grad g;
    bool rows_together, columns_together;
    __device__ S left(int64_t group, int64_t i, int64_t k) const
    {
        const tn_conv &c = g.conv;
        const int64_t taps = c.kh * c.kw, channel = group * (c.c_out / c.groups) + k / taps;
        return ((const S *)c.weight)[(channel * (c.c_in / c.groups) + i) * taps + k % taps];
    }
    __device__ S right(int64_t group, int64_t k, int64_t j) const
    {
        const tn_conv &c = g.conv;
        const int64_t tap = k % (c.kh * c.kw), channel = group * (c.c_out / c.groups) + k / (c.kh * c.kw), image = j / (c.h * c.w);
        const int64_t oy = tn_output(j / c.w % c.h, c.stride_h, c.pad_h, tap / c.kw, c.dil_h, c.oh);
        const int64_t ox = tn_output(j % c.w, c.stride_w, c.pad_w, tap % c.kw, c.dil_w, c.ow);
        return oy < 0 || ox < 0 ? (S)0 : ((const S *)g.dy)[((image * c.c_out + channel) * c.oh + oy) * c.ow + ox];
    }
    __device__ void put(int64_t group, int64_t i, int64_t j, S sum) const
    {
        const tn_conv &c = g.conv;
        const int64_t channel = group * (c.c_in / c.groups) + i;
        ((S *)g.dx)[(j / (c.h * c.w) * c.c_in + channel) * c.h * c.w + j % (c.h * c.w)] = sum;
    }
};

/* db, and dy's way through ReLU: a block for a part of a channel's images, then a thread for a channel, which adds its parts in order. */
template <class S> TN_KERNEL bias_parts(tn_conv_grad g, int64_t parts, double *sums)
{
    const tn_conv &c = g.conv;
    const S *dy = (const S *)g.dy, *relu = (const S *)g.relu;
    S *slope = (S *)g.slope;
    const int64_t channel = blockIdx.x / parts, size = c.oh * c.ow;
    double sum = 0;
    for (int64_t image = blockIdx.x % parts; image < c.n; image += parts)
        for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {
            const int64_t at = (image * c.c_out + channel) * size + e;
            const S v = relu && relu[at] <= 0 ? (S)0 : dy[at];
            if (relu)
                slope[at] = v;
            sum += (double)v;
        }
    sum = tn_block_sum(sum);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}
template <class S> TN_KERNEL bias_join(int64_t channels, int64_t parts, const double *sums, S *db)
{
    const int64_t channel = tn_this_thread();
    double sum = 0;
    for (int64_t i = 0; i < parts && channel < channels; i++)
        sum += sums[channel * parts + i];
    if (channel < channels)
        db[channel] = (S)sum;
}
template <class S> static tn_status bias_gradient(const tn_conv_grad *g)
{
    enum { BUSY = 1024 }; /* blocks that keep a device busy */
    const tn_conv *c = &g->conv;
    const int64_t wanted = tn_blocks(BUSY, c->c_out), parts = wanted < c->n ? wanted : c->n > 0 ? c->n : 1;
    tn_cuda_scratch sums((size_t)(c->c_out * parts) * sizeof(double));
    if (!sums.data)
        return TN_ERR_MEMORY;
    TN_LAUNCH(bias_parts<S>, c->c_out * parts, tn_threads(c->oh * c->ow), *g, parts, (double *)sums.data);
    TN_LAUNCH_EACH(bias_join<S>, c->c_out, c->c_out, parts, (const double *)sums.data, (S *)g->db);
    return tn_cuda_status("conv_backward");
}

template <class S> static tn_status conv_forward(const tn_conv *c)
{
    tn_status status = TN_OK;
    if (std::is_same<S, float>::value && tn_cudnn_conv(TN_CUDNN_FORWARD, c, {c->x, c->weight, c->y, c->bias}, &status))
        return status;
    const forward<S> o = {*c, true, true};
    return tn_product_run("conv_forward", c->groups, c->c_out / c->groups, c->n * c->oh * c->ow, c->c_in / c->groups * c->kh * c->kw, o);
}

template <class S> static tn_status conv_backward(const tn_conv_grad *given)
{
    tn_conv_grad after = *given;
    after.dy = given->relu ? given->slope : given->dy;
    const tn_conv_grad *g = &after;
    const tn_conv *c = &g->conv;
    const int64_t out = c->c_out / c->groups, in = c->c_in / c->groups, taps = c->kh * c->kw;
    const of_weight<S> w = {*g, true, false};
    const of_input<S> x = {*g, false, true};
    const bool f32 = std::is_same<S, float>::value;
    const tn_loop slope = tn_conv_slope(given, sizeof(S));
    tn_status status = g->db                           ? bias_gradient<S>(given)
                       : g->relu && slope.sizes[0] > 0 ? tn_cuda_binary(TN_BINARY_RELU_BACKWARD, f32 ? TN_F32 : TN_F64, &slope)
                                                       : TN_OK;
    if (g->dw && status == TN_OK && !(f32 && tn_cudnn_conv(TN_CUDNN_OF_WEIGHT, c, {c->x, g->dw, g->dy, NULL}, &status)))
        status = tn_product_run("conv_backward", c->groups, out, in * taps, c->n * c->oh * c->ow, w);
    if (g->dx && status == TN_OK && !(f32 && tn_cudnn_conv(TN_CUDNN_OF_INPUT, c, {g->dx, c->weight, g->dy, NULL}, &status)))
        status = tn_product_run("conv_backward", c->groups, in, c->n * c->h * c->w, out * taps, x);
    return status;
}

tn_status tn_cuda_conv_forward(tn_dtype dtype, const tn_conv *c) { return dtype == TN_F64 ? conv_forward<double>(c) : conv_forward<float>(c); }
tn_status tn_cuda_conv_backward(tn_dtype dtype, const tn_conv_grad *g)
{
    return dtype == TN_F64 ? conv_backward<double>(g) : conv_backward<float>(g);
}
