/* Pooling as modules: each is its operator with arguments that it remembers. */
#include "nn/layer.h"
#include "ops/window.h"

typedef struct pool {
    tn_module base;
    tn_window window;
    int dims;
    bool count_include_pad; /* of the averages */
} pool;

static tn_tensor *max_pool_forward(pool *self, tn_tensor *x)
{
    return tn_max_pool_of(self->base.type->name, x, &self->window, NULL, self->dims);
}

static tn_tensor *avg_pool_forward(pool *self, tn_tensor *x)
{
    return tn_avg_pool_of(self->base.type->name, x, &self->window, self->count_include_pad, 0, self->dims);
}

static size_t max_pool_describe(const tn_module *module, char *text, size_t size)
{
    const pool *self = (const pool *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put_pair(&out, "kernel", self->window.kernel, self->dims);
    tn_put_pair(&out, "stride", self->window.stride, self->dims);
    tn_put_pair(&out, "padding", self->window.padding, self->dims);
    return out.length;
}
#define avg_pool_describe max_pool_describe

typedef pool max_pool;
typedef pool avg_pool;
LAYER_NAMED(max_pool1d, max_pool);
LAYER_NAMED(max_pool2d, max_pool);
LAYER_NAMED(avg_pool1d, avg_pool);
LAYER_NAMED(avg_pool2d, avg_pool);

static tn_module *pool_new(const tn_module_type *type, tn_window window, int dims, bool count_include_pad)
{
    if (!tn_failing() && (window.kernel.h < 1 || window.kernel.w < 1))
        tn_fail(TN_ERR_ARGUMENT, "%s: the kernel is %lldx%lld: it must be given, 1 or more", type->name, (long long)window.kernel.h,
                (long long)window.kernel.w);
    if (!window.stride.w && (dims == 1 || !window.stride.h)) /* not said */
        window.stride = window.kernel;
    if (tn_failing() || !tn_window_range(type->name, &window))
        return NULL;
    pool *self = tn_module_new(type);
    if (self) {
        self->window = window;
        self->dims = dims;
        self->count_include_pad = count_include_pad;
    }
    return (tn_module *)self;
}

tn_module *tn_max_pool2d_new_with(const tn_max_pool2d_layer_args *a)
{
    TN_KNOWN(tn_max_pool2d_layer_args, a);
    tn_window window = {.kernel = tn_pair_or(a->kernel_hw, a->kernel), .stride = tn_pair_or(a->stride_hw, a->stride),
                        .padding = tn_pair_or(a->padding_hw, a->padding), .dilation = tn_pair_or(a->dilation_hw, a->dilation),
                        .ceil_mode = a->ceil_mode};
    return pool_new(&max_pool2d_module, window, 2, false);
}

tn_module *tn_avg_pool2d_new_with(const tn_avg_pool2d_layer_args *a)
{
    TN_KNOWN(tn_avg_pool2d_layer_args, a);
    tn_window window = {.kernel = tn_pair_or(a->kernel_hw, a->kernel), .stride = tn_pair_or(a->stride_hw, a->stride),
                        .padding = tn_pair_or(a->padding_hw, a->padding), .dilation = {1, 1}, .ceil_mode = a->ceil_mode};
    return pool_new(&avg_pool2d_module, window, 2, a->count_include_pad);
}

tn_module *tn_max_pool1d_new_with(const tn_max_pool1d_layer_args *a)
{
    TN_KNOWN(tn_max_pool1d_layer_args, a);
    tn_window window = {.kernel = {1, a->kernel}, .stride = {1, a->stride}, .padding = {0, a->padding}, .dilation = {1, a->dilation},
                        .ceil_mode = a->ceil_mode};
    return pool_new(&max_pool1d_module, window, 1, false);
}

tn_module *tn_avg_pool1d_new_with(const tn_avg_pool1d_layer_args *a)
{
    TN_KNOWN(tn_avg_pool1d_layer_args, a);
    tn_window window = {.kernel = {1, a->kernel}, .stride = {1, a->stride}, .padding = {0, a->padding}, .dilation = {1, 1},
                        .ceil_mode = a->ceil_mode};
    return pool_new(&avg_pool1d_module, window, 1, a->count_include_pad);
}

/* ---- to a given size ------------------------------------------------------------------------------------------------------ */

typedef struct adaptive {
    tn_module base;
    tn_pair size;
    int dims;
} adaptive;

static tn_tensor *adaptive_forward(adaptive *self, tn_tensor *x)
{
    return self->dims == 2 ? tn_adaptive_avg_pool2d(x, self->size.h, self->size.w) : tn_adaptive_avg_pool1d(x, self->size.w);
}

static size_t adaptive_describe(const tn_module *module, char *text, size_t size)
{
    const adaptive *self = (const adaptive *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put_pair(&out, "size", self->size, self->dims);
    return out.length;
}
LAYER_NAMED(adaptive_avg_pool1d, adaptive);
LAYER_NAMED(adaptive_avg_pool2d, adaptive);

static tn_module *adaptive_new(const tn_module_type *type, tn_pair size, int dims)
{
    adaptive *self = tn_module_new(type);
    if (self) {
        self->size = size;
        self->dims = dims;
    }
    return (tn_module *)self;
}

tn_module *tn_adaptive_avg_pool2d_new(int64_t oh, int64_t ow) { return adaptive_new(&adaptive_avg_pool2d_module, (tn_pair){oh, ow}, 2); }
tn_module *tn_adaptive_avg_pool1d_new(int64_t length) { return adaptive_new(&adaptive_avg_pool1d_module, (tn_pair){1, length}, 1); }
