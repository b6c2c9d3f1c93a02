/* The embedding layer. */
#include <math.h>

#include "nn/layer.h"

typedef struct embedding {
    tn_module base;
    tn_tensor *weight; /* [rows, dim] */
    int64_t padding_idx;
    double max_norm, norm_type; /* max_norm 0: none */
} embedding;

/* Scales the rows of a longer norm down in the table; nothing is written where there is none. */
static void renormalise(const embedding *self, tn_tensor *index)
{
    TN_NO_GRAD;
    tn_tensor *table = tn_detach(self->weight);
    const tn_embedding_args look = {.size = sizeof look, .padding_idx = TN_NO_PADDING, .index = index, .weight = table};
    tn_tensor *rows = tn_embedding_with(&look);
    const tn_norm_args measure = {.size = sizeof measure, .dim = -1, .keepdim = true, .p = self->norm_type, .x = rows};
    tn_tensor *norms = tn_norm_with(&measure), *over = tn_gt(norms, tn_scalar_f64(self->max_norm));
    if (tn_item(tn_any_with(&(tn_reduce_args){.size = sizeof(tn_reduce_args), .dim = TN_ALL_DIMS, .x = over})) != 1)
        return;
    tn_tensor *scale = tn_div(tn_scalar_f64(self->max_norm), tn_add(norms, tn_scalar_f64(1e-7)));
    scale = tn_where(over, scale, tn_scalar_f64(1));
    tn_assign_at(table, tn_mul(rows, scale), (tn_index_items){1, &(tn_index_item){.kind = TN_INDEX_TENSOR, .tensor = index}});
}

static tn_tensor *embedding_forward(embedding *self, tn_tensor *index)
{
    if (self->max_norm > 0)
        renormalise(self, index);
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
    if (self->max_norm > 0)
        tn_put(&out, ", max_norm=%g", self->max_norm);
    if (self->norm_type != 2)
        tn_put(&out, ", norm_type=%g", self->norm_type);
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
    if (!(a->max_norm >= 0) || isinf(a->max_norm) || isnan(a->norm_type))
        return tn_fail(TN_ERR_ARGUMENT, "embedding_new: max_norm is %g and norm_type %g: the first must be above 0, or 0 for none", a->max_norm,
                       a->norm_type);
    TN_SCOPE;
    embedding *self = TN_NEW(embedding);
    if (!self)
        return NULL;
    tn_uniform_args law = {.size = sizeof law, .shape = TN_SHAPE(a->rows, a->dim), .a = 0, .b = 1, .dtype = a->dtype};
    tn_tensor *weight = tn_normal_with(&law);
    self->padding_idx = padding;
    self->max_norm = a->max_norm;
    self->norm_type = a->norm_type;
    if (weight && padding != TN_NO_PADDING)
        tn_zero_(tn_select(weight, 0, padding));
    TN_PARAM(self, weight, weight);
    return tn_finished(self);
}
