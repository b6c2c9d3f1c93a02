/* Low-rank additions to linear layers. */
#include <tenon/io.h>

#include "nn/linear.h"

#include <math.h>
#include <string.h>

tn_tensor *tn_lora_part(const linear *self, tn_tensor *x)
{
    tn_linear_op_args down = {.size = sizeof down, .x = x, .weight = self->lora_A}, up = {.size = sizeof up, .weight = self->lora_B};
    up.x = tn_linear_with(&down);
    return tn_mul(tn_linear_with(&up), tn_scalar_f64(self->lora_scale));
}

/* Whether the last part of path is among "q_proj,v_proj"; NULL: every one. */
static bool is_target(const char *targets, const char *path)
{
    const char *name = strrchr(path, '.') ? strrchr(path, '.') + 1 : path;
    if (!targets)
        return true;
    for (size_t length; *targets; targets += length + (targets[length] == ',')) {
        length = strcspn(targets, ",");
        if (length == strlen(name) && strncmp(targets, name, length) == 0)
            return true;
    }
    return false;
}

typedef struct adding {
    const tn_lora_args *args;
    int64_t count;
    bool adds; /* or only counts */
} adding;

static bool visit_adding(tn_module *module, const char *path, int depth, void *context)
{
    adding *a = context;
    (void)depth;
    if (module->type != tn_linear_type || !is_target(a->args->targets, path))
        return true;
    linear *self = (linear *)(void *)module;
    a->count++;
    if (!a->adds || self->lora_A) /* a layer of two names is met twice */
        return true;
    TN_SCOPE;
    const tn_tensor *w = self->weight;
    const double bound = 1 / sqrt((double)w->sizes[1]); /* a linear layer's law, as in the authors' code */
    tn_uniform_args uniform = {.size = sizeof uniform, .shape = TN_SHAPE(a->args->rank, w->sizes[1]), .a = -bound, .b = bound, .dtype = (tn_dtype)w->dtype};
    tn_shape_args zeros = {.size = sizeof zeros, .shape = TN_SHAPE(w->sizes[0], a->args->rank), .dtype = (tn_dtype)w->dtype};
    uniform.device = zeros.device = &w->storage->device;
    TN_PARAM(self, lora_A, tn_uniform_with(&uniform));
    TN_PARAM(self, lora_B, tn_zeros_with(&zeros));
    self->lora_scale = a->args->alpha / (double)a->args->rank;
    return !tn_failing();
}

static bool visit_freezing(tn_module *owner, tn_entry *entry, const char *path, void *context)
{
    (void)path, (void)context;
    const linear *self = owner->type == tn_linear_type ? (const linear *)(const void *)owner : NULL;
    tn_tensor *tensor = tn_entry_tensor(entry);
    if (entry->kind == TN_KIND_PARAMETER && !(self && (tensor == self->lora_A || tensor == self->lora_B)))
        (void)tn_set_requires_grad(tensor, false);
    return !tn_failing();
}

tn_status tn_add_lora_with(const tn_lora_args *args)
{
    TN_KNOWN(tn_lora_args, args);
    tn_module *module = tn_module_of("add_lora", args->module);
    adding a = {.args = args};
    if (!module)
        return tn_last_status();
    if (args->rank < 1 || args->rank > INT32_MAX || !isfinite(args->alpha))
        tn_fail(TN_ERR_ARGUMENT, "add_lora: rank is %lld and alpha %g: rank must be 1 or more, alpha finite", (long long)args->rank, args->alpha);
    else if (tn_visit_modules(module, visit_adding, &a) && a.count == 0)
        tn_fail(TN_ERR_ARGUMENT, "add_lora: %s has no linear layer%s%s", module->type->name, args->targets ? " named " : "",
                args->targets ? args->targets : "");
    a.adds = true;
    if (!tn_failing() && tn_visit_modules(module, visit_adding, &a))
        tn_visit_tensors(module, visit_freezing, NULL);
    return tn_last_status();
}

/* What the low-rank matrices make of the weight [out, in]. */
static tn_tensor *part_of_weight(const linear *self)
{
    return tn_mul(tn_matmul(self->lora_B, self->lora_A), tn_scalar_f64(self->lora_scale));
}

static bool visit_merging(tn_module *module, const char *path, int depth, void *context)
{
    (void)path, (void)depth, (void)context;
    linear *self = module->type == tn_linear_type ? (linear *)(void *)module : NULL;
    if (!self || !self->lora_A)
        return true;
    TN_SCOPE;
    TN_NO_GRAD;
    tn_add_(self->weight, part_of_weight(self));
    tn_init_zeros(self->lora_B);
    return !tn_failing();
}

tn_status tn_merge_lora(void *pointer)
{
    tn_module *module = tn_module_of("merge_lora", pointer);
    if (module)
        tn_visit_modules(module, visit_merging, NULL);
    return tn_last_status();
}

static bool put_merged(tn_module *owner, tn_entry *entry, const char *path, void *dict)
{
    TN_SCOPE;
    TN_NO_GRAD;
    const linear *self = owner->type == tn_linear_type ? (const linear *)(const void *)owner : NULL;
    tn_tensor *tensor = tn_entry_tensor(entry);
    const bool low_rank = self && self->lora_A;
    if (entry->kind == TN_KIND_UNSAVED || (low_rank && (tensor == self->lora_A || tensor == self->lora_B)))
        return true;
    if (low_rank && tensor == self->weight)
        tensor = tn_add(tensor, part_of_weight(self));
    tensor = tn_detach(tensor);
    return tensor && tn_dict_set(dict, path, tensor) == TN_OK;
}

tn_dict *tn_state_dict_merged(tn_module *module)
{
    tn_dict *dict = tn_adopt(tn_dict_new());
    return dict && tn_visit_tensors(module, put_merged, dict) ? dict : NULL;
}
