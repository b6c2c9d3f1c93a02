/* The embedding layer. */
#include "nn/layer.h"

typedef struct embedding {
    tn_module base;
    tn_tensor *weight; /* [rows, dim] */
    int64_t padding_idx;
} embedding;

static tn_tensor *embedding_forward(embedding *self, tn_tensor *index)
{
    tn_embedding_args args = {.size = sizeof args, .padding_idx = self->padding_idx, .index = index, .weight = self->weight};
    return tn_embedding_with(&args);
}

static size_t embedding_describe(const tn_module *module, char *text, size_t size)
{
    const embedding *self = (const embedding *)(const void *)module;
    tn_text_out out = {text, size, 0};
    tn_put(&out, "%lld, %lld", (long long)self->weight->sizes[0], (long long)self->weight->sizes[1]);
    if (self->padding_idx != TN_NO_PADDING)
        tn_put(&out, ", padding_idx=%lld", (long long)self->padding_idx);
    return out.length;
}
LAYER(embedding);

tn_module *tn_embedding_new_with(const tn_embedding_layer_args *a)
{
    TN_KNOWN(tn_embedding_layer_args, a);
    const int64_t padding = a->padding_idx < 0 && a->padding_idx != TN_NO_PADDING ? a->padding_idx + a->rows : a->padding_idx;
    if (tn_failing())
        return NULL;
    if (a->rows < 1 || a->dim < 1)
        return tn_fail(TN_ERR_ARGUMENT, "embedding_new: %lld rows of %lld: both must be at least 1", (long long)a->rows, (long long)a->dim);
    if (padding != TN_NO_PADDING && (padding < 0 || padding >= a->rows))
        return tn_fail(TN_ERR_ARGUMENT, "embedding_new: padding_idx is %lld, and there are %lld rows", (long long)a->padding_idx,
                       (long long)a->rows);
    TN_SCOPE;
    embedding *self = TN_NEW(embedding);
    if (!self)
        return NULL;
    tn_uniform_args law = {.size = sizeof law, .shape = TN_SHAPE(a->rows, a->dim), .a = 0, .b = 1, .dtype = a->dtype};
    tn_tensor *weight = tn_normal_with(&law);
    self->padding_idx = padding;
    if (weight && padding != TN_NO_PADDING)
        tn_zero_(tn_select(weight, 0, padding));
    TN_PARAM(self, weight, weight);
    return tn_finished(self);
}
