/* Tenon: modules, layers and initialisers.
 *
 * A model is a struct that begins with a tn_module named base, a forward function, and a line that ties them:
 *
 *     typedef struct {
 *         tn_module base;
 *         tn_module *fc1, *fc2;
 *     } mlp;
 *
 *     static tn_tensor *mlp_forward(mlp *net, tn_tensor *x)
 *     {
 *         return tn_call(net->fc2, tn_relu(tn_call(net->fc1, x)));
 *     }
 *     TN_MODULE(mlp, mlp_forward);
 *
 *     mlp *net = TN_NEW(mlp);                             you own it: tn_release(net)
 *     TN_CHILD(net, fc1, tn_linear_new(784, 1024));       parameters "fc1.weight" and "fc1.bias"
 *     TN_CHILD(net, fc2, tn_linear_new(1024, 10));
 *
 * Every function here that takes a `void *module` takes a tn_module * or a pointer to such a struct, and checks at run time that it is
 * one. A module is not written by its forward, so threads may share one for inference; training it, or changing its mode, is for one
 * thread at a time. */
#ifndef TENON_NN_H
#define TENON_NN_H

#include <tenon/list.h>
#include <tenon/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- modules of one's own ---------------------------------------------------------------------------------------------- */

typedef struct tn_module tn_module;
typedef struct tn_dict tn_dict; /* named tensors: io.h */

/* What is common to all modules of a kind. TN_MODULE() writes one; write it by hand, under the name <type>_module, for the hooks. */
typedef struct tn_module_type {
    size_t size;      /* sizeof(tn_module_type) */
    const char *name; /* "lenet" */
    size_t bytes;     /* sizeof(lenet) */
    int inputs;       /* how many tensors forward takes; -1: any number, forward checks */
    int outputs;      /* how many it can give; -1: any number */
    /* Computes out[0 ... n_out - 1] from in. Runs in a scope of its own, from which the outputs are passed up. */
    tn_status (*forward)(tn_module *module, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out);
    /* Frees what the struct holds besides parameters, buffers and children; NULL: nothing. */
    void (*destroy)(tn_module *module);
    /* Called on a copy whose plain fields are already copied, to copy deeply what destroy frees; NULL: nothing to do. On failure it
     * leaves nothing in copy that destroy must not free. */
    tn_status (*clone)(tn_module *copy, const tn_module *from);
    /* Writes the arguments as shown by tn_summary(), "784, 1024, bias=False", like snprintf; NULL: none. */
    size_t (*describe)(const tn_module *module, char *text, size_t size);
} tn_module_type;

struct tn_module {
    tn_object object;
    const tn_module_type *type;
    struct tn_module_state *state; /* the names of parameters, buffers and children */
    bool training;                 /* read it in forward; tn_train() sets it */
};

#define TN_MODULE_THUNK_(kind, body)                                                                                          \
    static tn_status kind##_thunk_(tn_module *module_, tn_tensor *const *in_, int n_in_, tn_tensor **out_, int n_out_)        \
    {                                                                                                                         \
        (void)n_in_, (void)n_out_;                                                                                            \
        body;                                                                                                                 \
    }                                                                                                                         \
    static const tn_module_type kind##_module TN_UNUSED_
#define TN_MODULE_TABLE_(kind, inputs, outputs)                                                                               \
    {                                                                                                                         \
        sizeof(tn_module_type), #kind, sizeof(kind), inputs, outputs, kind##_thunk_, NULL, NULL, NULL                         \
    }
#ifdef __cplusplus
#define TN_STATIC_ASSERT_(condition, text) static_assert(condition, text)
#else
#define TN_STATIC_ASSERT_(condition, text) _Static_assert(condition, text)
#endif
#define TN_BASE_FIRST_(kind)                                                                                                  \
    TN_STATIC_ASSERT_(offsetof(kind, base) == 0 && sizeof(((kind *)0)->base) == sizeof(tn_module),                            \
                      "a module's struct begins with `tn_module base;`");
#if defined(__GNUC__)
#define TN_UNUSED_ __attribute__((unused))
#else
#define TN_UNUSED_
#endif

/* Declares that `type` is a module whose forward is `tn_tensor *forward(type *self, tn_tensor *x)`. */
#define TN_MODULE(type, forward)                                                                                              \
    TN_BASE_FIRST_(type)                                                                                                  \
    TN_MODULE_THUNK_(type, out_[0] = forward((type *)(void *)module_, in_[0]); return tn_last_status()) =                     \
        TN_MODULE_TABLE_(type, 1, 1)
/* The same for `tn_tensor *forward(type *self, tn_tensor *x, tn_tensor *y)`. */
#define TN_MODULE2(type, forward)                                                                                             \
    TN_BASE_FIRST_(type)                                                                                                  \
    TN_MODULE_THUNK_(type, out_[0] = forward((type *)(void *)module_, in_[0], in_[1]); return tn_last_status()) =             \
        TN_MODULE_TABLE_(type, 2, 1)
/* The same for any numbers of both, which forward checks:
 * `tn_status forward(type *self, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)`, n_out >= 1. */
#define TN_MODULE_N(type, forward)                                                                                            \
    TN_BASE_FIRST_(type)                                                                                                  \
    TN_MODULE_THUNK_(type, return forward((type *)(void *)module_, in_, n_in_, out_, n_out_)) = TN_MODULE_TABLE_(type, -1, -1)

/* A new module of a type declared by TN_MODULE, its own fields cleared, in training mode; the caller owns it. */
#define TN_NEW(type) ((type *)tn_module_new(&type##_module))
TN_API void *tn_module_new(const tn_module_type *type);

/* Gives `child` to `owner` under the name of the field that will point to it. Takes the caller's reference to child, on failure too, so
 * that TN_CHILD(net, fc1, tn_linear_new(2, 3)) is whole: where owner or child is NULL, because making it failed, that error stays. The field
 * may be a tn_module * or a pointer to a struct of one's own; a child that a model may lack is simply not given, and its field stays NULL. Giving
 * a name again replaces what had it. Errors: a name with '.' or of more than 63 characters, an owner that is below child. */
#define TN_CHILD(owner, field, child)                                                                                         \
    tn_set_child_at((owner), #field, offsetof(__typeof__(*(owner)), field), sizeof((owner)->field), (child))
/* Names a tensor of the model's own as a parameter, and makes it require a gradient. The tensor, a leaf of a floating dtype, is shared:
 * TN_PARAM(net, scale, tn_ones(TN_SHAPE(8))). The same tensor under two names is one parameter (tied weights). */
#define TN_PARAM(owner, field, tensor)                                                                                        \
    tn_set_tensor_at((owner), #field, offsetof(__typeof__(*(owner)), field), sizeof((owner)->field), (tensor), TN_KIND_PARAMETER)
/* Names a tensor that is saved and moved with the model and not trained (a running mean). Shared as with TN_PARAM. */
#define TN_BUFFER(owner, field, tensor)                                                                                       \
    tn_set_tensor_at((owner), #field, offsetof(__typeof__(*(owner)), field), sizeof((owner)->field), (tensor), TN_KIND_BUFFER)
/* A buffer that is moved with the model and not part of its state_dict (a mask, a table of positions). */
#define TN_BUFFER_UNSAVED(owner, field, tensor)                                                                               \
    tn_set_tensor_at((owner), #field, offsetof(__typeof__(*(owner)), field), sizeof((owner)->field), (tensor), TN_KIND_UNSAVED)

typedef enum tn_entry_kind { TN_KIND_PARAMETER, TN_KIND_BUFFER, TN_KIND_UNSAVED, TN_KIND_CHILD } tn_entry_kind;
TN_API tn_status tn_set_child_at(void *owner, const char *name, size_t offset, size_t size, void *child);
TN_API tn_status tn_set_tensor_at(void *owner, const char *name, size_t offset, size_t size, tn_tensor *tensor, tn_entry_kind kind);
/* The same where no field points to it: a child, or a tensor, by a name made at run time. The name is copied. */
TN_API tn_status tn_add_child(void *owner, const char *name, void *child);
TN_API tn_status tn_add_parameter(void *owner, const char *name, tn_tensor *tensor);
TN_API tn_status tn_add_buffer(void *owner, const char *name, tn_tensor *tensor);

/* ---- calling ----------------------------------------------------------------------------------------------------------- */

/* tn_call(module, x, ...): the module's first output on one or more inputs. Runs forward in a scope of its own: what it made and backward
 * does not need is gone afterwards. Errors: those of forward, a number of inputs that the module does not take. */
#define tn_call(module, ...)                                                                                                  \
    __extension__({                                                                                                           \
        tn_tensor *tn_in_[] = {__VA_ARGS__};                                                                                  \
        tn_call_array((module), tn_in_, (int)(sizeof tn_in_ / sizeof *tn_in_));                                               \
    })
TN_API tn_tensor *tn_call_array(void *module, tn_tensor *const *in, int n_in);
/* All outputs: fills out[0 ... n_out - 1], which the current scope owns; all NULL on error. */
TN_API tn_status tn_call_n(void *module, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out) TN_MUST_CHECK;

/* Called after each forward of the module, in its scope: may look at in and out, and put other tensors into out. */
typedef void (*tn_forward_hook)(tn_module *module, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out, void *context);
/* Adds a hook; gives its handle, > 0, or 0 on error. Hooks run in the order in which they were added. */
TN_API int64_t tn_add_forward_hook(void *module, tn_forward_hook hook, void *context);
TN_API void tn_remove_forward_hook(void *module, int64_t handle);

/* ---- what is in a module ----------------------------------------------------------------------------------------------- */

/* All parameters of the module and its descendants, in the order of their naming, a shared one once. */
TN_API tn_list *tn_parameters(void *module);
/* The same by name, "conv1.weight"; a shared one under its first name. */
TN_API tn_dict *tn_named_parameters(void *module);
TN_API tn_dict *tn_named_buffers(void *module);
/* One parameter or buffer by its path, "fc1.weight"; still the module's. NULL and TN_ERR_ARGUMENT where there is none. */
TN_API tn_tensor *tn_parameter(void *module, const char *path);
/* One descendant by its path, "features.0"; still its owner's. NULL and TN_ERR_ARGUMENT where there is none. */
TN_API tn_module *tn_child(void *module, const char *path);
TN_API int tn_num_children(const void *module);
/* The i-th child and its name; negative i counts from the end. Out of range: NULL and TN_ERR_INDEX. */
TN_API tn_module *tn_child_at(void *module, int i);
TN_API const char *tn_child_name(void *module, int i);
/* How many numbers the parameters hold, shared ones counted once. */
TN_API int64_t tn_num_parameters(void *module);

/* Switches the module and its descendants to training or to evaluation (dropout, batch norm); nothing else. */
TN_API void tn_train(void *module, bool training);
TN_API bool tn_is_training(const void *module);
/* Whether the parameters take part in training: freezing drops their .grad and backward passes them by; an optimiser leaves them as they are. */
TN_API void tn_freeze(void *module, bool frozen);
/* Moves parameters and buffers, in the same tensors, so that optimisers and saved pointers stay valid; .grad is dropped. */
TN_API tn_status tn_module_to(void *module, tn_device_id device) TN_MUST_CHECK;
/* Casts parameters and floating buffers to a floating dtype, in the same tensors; .grad is dropped. All or none. */
TN_API tn_status tn_module_to_dtype(void *module, tn_dtype dtype) TN_MUST_CHECK;
/* A deep copy, of the current scope: new parameters, buffers and children of equal values, what was shared within it shared again, no
 * hooks. tn_keep() it to own it. */
TN_API void *tn_module_clone(void *module);

/* All parameters and saved buffers by name, every name of a shared one, without history: they share the module's storage. */
TN_API tn_dict *tn_state_dict(void *module);
/* Copies values into the module's tensors by name, converted to their dtypes. Checks everything first: on failure nothing has changed.
 * .strict: TN_ERR_ARGUMENT names what is missing and what is unexpected. With false those are left out and named in .report, at
 * most .report_size bytes with the closing 0 ("missing: fc2.bias; unexpected: fc3.bias", empty when all fits). A shape that differs is
 * an error with both. */
#define TN_LOAD_OPTIONS(X)                                                                                                    \
    X(bool, strict, true)                                                                                                     \
    X(char *, report, NULL)                                                                                                   \
    X(size_t, report_size, 0)
typedef struct tn_load_args {
    size_t size TN_SIZE_(tn_load_args);
    TN_LOAD_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    void *module TN_ZERO_;
    const tn_dict *dict TN_ZERO_; /* tn_load_state_dict(module, dict, ...) */
} tn_load_args;
TN_API tn_status tn_load_state_dict_with(const tn_load_args *args) TN_MUST_CHECK;
/* The state_dict to and from a safetensors file, which PyTorch reads and writes by the same names. Loading is strict. */
TN_API tn_status tn_save_module(void *module, const char *path) TN_MUST_CHECK;
TN_API tn_status tn_load_module(void *module, const char *path) TN_MUST_CHECK;

/* A table of layers with their output shapes and parameters, and the totals. Runs the module once on x, in evaluation mode and without
 * recording a graph; forward hooks run as in any call. Writes at most size bytes with the closing 0 and returns the length that it would
 * need; 0 on error. */
TN_API size_t tn_format_summary(void *module, tn_tensor *x, char *text, size_t size);
/* Prints it on stdout. */
TN_API tn_status tn_summary(void *module, tn_tensor *x);

/* ---- layers ------------------------------------------------------------------------------------------------------------ */

/* y = x Wᵀ + b, x [..., in], y [..., out]; parameters weight [out, in] and bias [out], both uniform on ±1/√in (PyTorch's law).
 * tn_linear_new(in, out, ...). .activation is applied to y in the same pass. Less than 1 in or out is TN_ERR_ARGUMENT. */
#define TN_LINEAR_LAYER_OPTIONS(X)                                                                                                  \
    X(bool, bias, true)                                                                                                       \
    X(tn_activation, activation, TN_ACTIVATION_NONE)                                                                          \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_linear_layer_args {
    size_t size TN_SIZE_(tn_linear_layer_args);
    TN_LINEAR_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t in_features TN_ZERO_, out_features TN_ZERO_;
} tn_linear_layer_args;
TN_API tn_module *tn_linear_new_with(const tn_linear_layer_args *args);

/* LoRA (Hu et al. 2021): trains a few numbers beside a model's own. Each linear layer of the module whose name is among .targets (all, where NULL) computes
 * x Wᵀ + b + alpha / rank x Aᵀ Bᵀ from now on, with new parameters lora_A [rank, in], uniform on ±1/√in, and lora_B [out, rank], zeros; every other
 * parameter is frozen. tn_add_lora(llama, .rank = 8, .targets = "q_proj,v_proj"). A layer that has them keeps them. No layer of that name is
 * TN_ERR_ARGUMENT. */
#define TN_LORA_OPTIONS(X)                                                                                                    \
    X(int64_t, rank, 8)                                                                                                       \
    X(double, alpha, 16)                                                                                                      \
    X(const char *, targets, NULL)
typedef struct tn_lora_args {
    size_t size TN_SIZE_(tn_lora_args);
    TN_LORA_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    void *module TN_ZERO_; /* tn_add_lora(module, ...) */
} tn_lora_args;
TN_API tn_status tn_add_lora_with(const tn_lora_args *args) TN_MUST_CHECK;
/* Adds alpha / rank B A to each weight and makes B zeros: the module computes what it did, by its weights alone. */
TN_API tn_status tn_merge_lora(void *module) TN_MUST_CHECK;

/* A 2-D cross-correlation: x [n, in, h, w], y [n, out, h', w'], h' = (h + 2 padding - dilation (kernel - 1) - 1) / stride + 1 rounded
 * down. Parameters weight [out, in / groups, kernel, kernel] and bias [out], both uniform on ±1/√(in / groups kernel²).
 * tn_conv2d_new(in, out, kernel, ...); what ends in _hw gives height and width apart: .stride_hw = {2, 1}. */
#define TN_CONV2D_LAYER_OPTIONS(X)                                                                                            \
    X(tn_pair, kernel_hw, TN_NONE_)                                                                                      \
    X(int64_t, stride, 1)                                                                                                     \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                      \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                     \
    X(int64_t, dilation, 1)                                                                                                   \
    X(tn_pair, dilation_hw, TN_NONE_)                                                                                    \
    X(int64_t, groups, 1)                                                                                                     \
    X(bool, bias, true)                                                                                                       \
    X(tn_activation, activation, TN_ACTIVATION_NONE)                                                                          \
    X(tn_dtype, dtype, TN_DTYPE_DEFAULT)
typedef struct tn_conv2d_layer_args {
    size_t size TN_SIZE_(tn_conv2d_layer_args);
    TN_CONV2D_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t in_channels TN_ZERO_, out_channels TN_ZERO_, kernel TN_ZERO_;
} tn_conv2d_layer_args;
TN_API tn_module *tn_conv2d_new_with(const tn_conv2d_layer_args *args);

/* Max pooling of x [n, c, h, w] over kernel windows; padding counts as -infinity. tn_max_pool2d_new(kernel, ...); a stride of 0 is the kernel.
 * No parameters. */
#define TN_MAX_POOL2D_LAYER_OPTIONS(X)                                                                                        \
    X(tn_pair, kernel_hw, TN_NONE_)                                                                                           \
    X(int64_t, stride, 0)                                                                                                     \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                           \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                          \
    X(int64_t, dilation, 1)                                                                                                   \
    X(tn_pair, dilation_hw, TN_NONE_)                                                                                         \
    X(bool, ceil_mode, false)
typedef struct tn_max_pool2d_layer_args {
    size_t size TN_SIZE_(tn_max_pool2d_layer_args);
    TN_MAX_POOL2D_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_max_pool2d_layer_args;
TN_API tn_module *tn_max_pool2d_new_with(const tn_max_pool2d_layer_args *args);

/* Average pooling; at the border the padding's zeros are counted unless .count_include_pad = false. tn_avg_pool2d_new(kernel, ...). */
#define TN_AVG_POOL2D_LAYER_OPTIONS(X)                                                                                        \
    X(tn_pair, kernel_hw, TN_NONE_)                                                                                           \
    X(int64_t, stride, 0)                                                                                                     \
    X(tn_pair, stride_hw, TN_NONE_)                                                                                           \
    X(int64_t, padding, 0)                                                                                                    \
    X(tn_pair, padding_hw, TN_NONE_)                                                                                          \
    X(bool, ceil_mode, false)                                                                                                 \
    X(bool, count_include_pad, true)
typedef struct tn_avg_pool2d_layer_args {
    size_t size TN_SIZE_(tn_avg_pool2d_layer_args);
    TN_AVG_POOL2D_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    int64_t kernel TN_ZERO_;
} tn_avg_pool2d_layer_args;
TN_API tn_module *tn_avg_pool2d_new_with(const tn_avg_pool2d_layer_args *args);

/* Zeroes each element with probability p while training and scales the rest by 1 / (1 - p); gives x as it is in evaluation.
 * tn_dropout_new(0.5). p outside [0, 1] is TN_ERR_ARGUMENT. */
TN_API tn_module *tn_dropout_new(double p);
/* The same as a function. */
TN_API tn_tensor *tn_dropout(tn_tensor *x, double p, bool training);

/* Dims start_dim to end_dim made one: tn_flatten_new() keeps the batch, [n, ...] to [n, features]. */
#define TN_FLATTEN_LAYER_OPTIONS(X)                                                                                           \
    X(int, start_dim, 1)                                                                                                      \
    X(int, end_dim, -1)
typedef struct tn_flatten_layer_args {
    size_t size TN_SIZE_(tn_flatten_layer_args);
    TN_FLATTEN_LAYER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
} tn_flatten_layer_args;
TN_API tn_module *tn_flatten_new_with(const tn_flatten_layer_args *args);
TN_API tn_module *tn_identity_new(void); /* x as it is */

/* Activations as modules, for tn_sequential_new(); each is the operator of its name. */
TN_API tn_module *tn_relu_new(void);
TN_API tn_module *tn_leaky_relu_new(double negative_slope); /* PyTorch's default: 0.01 */
TN_API tn_module *tn_elu_new(double alpha);                 /* 1 */
TN_API tn_module *tn_gelu_new(bool tanh_form);              /* false: by erf */
TN_API tn_module *tn_silu_new(void);
TN_API tn_module *tn_mish_new(void);
TN_API tn_module *tn_hardswish_new(void);
TN_API tn_module *tn_softplus_new(double beta, double threshold); /* 1, 20 */
TN_API tn_module *tn_sigmoid_new(void);
TN_API tn_module *tn_tanh_new(void);
TN_API tn_module *tn_softmax_new(int dim);
TN_API tn_module *tn_log_softmax_new(int dim);

/* Modules one after the other, each on the former's output: children "0", "1", ... tn_sequential_new(tn_linear_new(2, 8), tn_relu_new())
 * takes the caller's reference to each, on failure too; a child that is NULL is an error (the one that made it so). Children are made in
 * the order in which they are written. */
#define tn_sequential_new(...) TN_CHILDREN_(tn_sequential_new_from, __VA_ARGS__)
TN_API tn_module *tn_sequential_new_from(void *const *children, int count);
/* A list of modules to call oneself: a forward of its own it has none. */
#define tn_module_list_new(...) TN_CHILDREN_(tn_module_list_new_from, __VA_ARGS__)
TN_API tn_module *tn_module_list_new_from(void *const *children, int count);
/* One more child at the end of either, under the next number; takes the caller's reference, on failure too. */
TN_API tn_status tn_append(tn_module *container, void *child);
#define TN_CHILDREN_(function, ...)                                                                                           \
    __extension__({                                                                                                           \
        void *tn_children_[] = {__VA_ARGS__};                                                                                 \
        function(tn_children_, (int)(sizeof tn_children_ / sizeof *tn_children_));                                            \
    })

/* ---- initialisers: write into a tensor, without recording, and give it back (NULL on error) ------------------------------ */

TN_API tn_tensor *tn_init_uniform(tn_tensor *x, double low, double high);
TN_API tn_tensor *tn_init_normal(tn_tensor *x, double mean, double std);
TN_API tn_tensor *tn_init_constant(tn_tensor *x, double value);
TN_API tn_tensor *tn_init_zeros(tn_tensor *x);
TN_API tn_tensor *tn_init_ones(tn_tensor *x);

/* Of a weight [out, in, ...]: fan in is in times the kernel's size, fan out is out times it. Fewer dims than 2: TN_ERR_SHAPE. */
typedef enum tn_fan { TN_FAN_IN, TN_FAN_OUT } tn_fan;
typedef enum tn_nonlinearity {
    TN_NONLINEARITY_LEAKY_RELU, /* gain sqrt(2 / (1 + a²)), a the slope */
    TN_NONLINEARITY_RELU,       /* sqrt(2) */
    TN_NONLINEARITY_LINEAR,     /* 1; convolutions and the sigmoid too */
    TN_NONLINEARITY_TANH,       /* 5 / 3 */
    TN_NONLINEARITY_SELU,       /* 3 / 4 */
} tn_nonlinearity;
TN_API double tn_init_gain(tn_nonlinearity nonlinearity, double a);
/* He et al. 2015: standard deviation gain / sqrt(fan), uniform on ±sqrt(3) of it, or normal. tn_init_kaiming_uniform(weight, ...). */
#define TN_KAIMING_OPTIONS(X)                                                                                                 \
    X(double, a, 0)                                                                                                           \
    X(tn_fan, mode, TN_FAN_IN)                                                                                                \
    X(tn_nonlinearity, nonlinearity, TN_NONLINEARITY_LEAKY_RELU)
typedef struct tn_kaiming_args {
    size_t size TN_SIZE_(tn_kaiming_args);
    TN_KAIMING_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_kaiming_args;
TN_API tn_tensor *tn_init_kaiming_uniform_with(const tn_kaiming_args *args);
TN_API tn_tensor *tn_init_kaiming_normal_with(const tn_kaiming_args *args);
/* Glorot and Bengio 2010: standard deviation gain sqrt(2 / (fan in + fan out)). tn_init_xavier_uniform(weight, .gain = 5. / 3). */
#define TN_XAVIER_OPTIONS(X) X(double, gain, 1)
typedef struct tn_xavier_args {
    size_t size TN_SIZE_(tn_xavier_args);
    TN_XAVIER_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_xavier_args;
TN_API tn_tensor *tn_init_xavier_uniform_with(const tn_xavier_args *args);
TN_API tn_tensor *tn_init_xavier_normal_with(const tn_xavier_args *args);
/* Rows or columns, the fewer of the two, of length gain and at right angles; x as [out, in ...]. Uniform on all such (Saxe et al. 2014).
 * Takes time like out in min(out, in). tn_init_orthogonal(weight, .gain = sqrt(2)). */
TN_API tn_tensor *tn_init_orthogonal_with(const tn_xavier_args *args);

#define TN_TRUNC_NORMAL_OPTIONS(X)                                                                                            \
    X(double, mean, 0)                                                                                                        \
    X(double, std, 1)                                                                                                         \
    X(double, a, -2) /* the bounds themselves, not in units of std */                                                         \
    X(double, b, 2)
typedef struct tn_trunc_normal_args { /* tn_init_trunc_normal(weight, .std = 0.02) */
    size_t size TN_SIZE_(tn_trunc_normal_args);
    TN_TRUNC_NORMAL_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_tensor *x TN_ZERO_;
} tn_trunc_normal_args;
/* The normal law given that the number is from a to b, however far out those are. */
TN_API tn_tensor *tn_init_trunc_normal_with(const tn_trunc_normal_args *args);

#ifdef __cplusplus
}
#endif

#include <tenon/nn/activation.h>
#include <tenon/nn/attention.h>
#include <tenon/nn/conv.h>
#include <tenon/nn/embedding.h>
#include <tenon/nn/norm.h>
#include <tenon/nn/recurrent.h>

#endif
