/* Operators of a user's own. */
#include <string.h>

#include "autograd/node.h"

enum { MOST_SAVED = 16, MOST_OUTPUTS = 8 };

struct tn_context {
    const void *data;
    tn_node *node; /* in backward */
    int saved_count;
    tn_tensor *saved[MOST_SAVED]; /* in forward */
};

/* False, with an error, when an error sticks or context is NULL. */
static bool ready(const char *function, const tn_context *context)
{
    if (!context)
        tn_fail(TN_ERR_ARGUMENT, "%s: context is NULL: it is the one that forward and backward are given", function);
    return !tn_failing();
}

tn_status tn_save(tn_context *context, tn_tensor *x)
{
    if (!ready("save", context))
        return tn_last_status();
    if (context->node || context->saved_count == MOST_SAVED) {
        tn_fail(TN_ERR_STATE, context->node ? "save: only forward may save" : "save: at most %d tensors can be saved", MOST_SAVED);
        return TN_ERR_STATE;
    }
    context->saved[context->saved_count++] = x;
    return TN_OK;
}

tn_tensor *tn_saved(tn_context *context, int i)
{
    if (!ready("saved", context))
        return NULL;
    if (!context->node || i < 0 || i >= context->node->saved_count)
        return tn_fail(TN_ERR_INDEX, "saved: %d is out of range: forward saved %d", i, context->node ? context->node->saved_count : 0);
    return tn_node_saved(context->node, i);
}

/* Also while an error sticks: a rule that had one goes on to read its data. */
const void *tn_context_data(const tn_context *context)
{
    return context ? context->data : tn_fail(TN_ERR_ARGUMENT, "context_data: context is NULL");
}

bool tn_needs_grad(const tn_context *context, int i)
{
    return ready("needs_grad", context) && context->node && i >= 0 && i < context->node->inputs && tn_wants(context->node, i);
}

typedef struct custom_attr {
    const tn_function *function;
    char data[]; /* the user's bytes */
} custom_attr;

static void custom_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    const custom_attr *attr = tn_node_attr(node);
    tn_context context = {.data = attr->data, .node = node};
    attr->function->backward(&context, dy, node->outputs, dx, node->inputs);
}

static bool forward(const tn_function *function, tn_context *context, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    {
        TN_NO_GRAD;
        function->forward(context, in, n_in, out, n_out);
    }
    for (int k = 0; k < n_out && !tn_failing(); k++) {
        if (!out[k])
            tn_fail(TN_ERR_ARGUMENT, "%s: forward left result %d NULL", function->name, k);
        for (int i = 0; i < n_in; i++)
            if (out[k] == in[i])
                tn_fail(TN_ERR_ARGUMENT, "%s: forward gave back input %d itself: give a clone of it", function->name, i);
    }
    return !tn_failing();
}

tn_status tn_apply_n(const tn_function *function, const void *data, size_t size, tn_tensor *const *in, int n_in, tn_tensor **out, int n_out)
{
    if (tn_failing())
        return tn_last_status();
    if (!function || !function->forward || !function->backward)
        tn_fail(TN_ERR_ARGUMENT, "apply: %s is NULL", !function ? "the function" : !function->forward ? "its forward" : "its backward");
    else if (n_in < 0 || n_out < 1 || n_out > MOST_OUTPUTS)
        tn_fail(TN_ERR_ARGUMENT, "apply: %s of %d inputs and %d results: 0 or more and 1 to %d can be", function->name, n_in, n_out, MOST_OUTPUTS);
    else if ((n_in && !in) || !out)
        tn_fail(TN_ERR_ARGUMENT, "apply: %s: %s is NULL", function->name, out ? "the array of inputs" : "the place for its results");
    else if (size && !data)
        tn_fail(TN_ERR_ARGUMENT, "apply: %s: data is NULL, and of %zu bytes", function->name, size);
    if (tn_failing())
        return tn_last_status();
    for (int i = 0; i < n_in; i++)
        if (!tn_ready(function->name, "an input", in[i]))
            return tn_last_status();
    memset(out, 0, (size_t)n_out * sizeof *out);
    tn_context context = {.data = data};
    size_t bytes = sizeof(custom_attr) + size;
    custom_attr *attr = forward(function, &context, in, n_in, out, n_out) ? tn_alloc(bytes) : NULL;
    if (attr) {
        attr->function = function;
        if (size)
            memcpy(attr->data, data, size);
        tn_record_many(out, n_out, function->name, custom_backward, in, n_in, context.saved, context.saved_count, attr, bytes);
    }
    tn_free(attr, bytes);
    for (int k = 0; k < n_out && tn_failing(); k++)
        out[k] = NULL;
    return tn_last_status();
}

tn_tensor *tn_apply(const tn_function *function, const void *data, size_t size, tn_tensor *const *in, int n_in)
{
    tn_tensor *out = NULL;
    return tn_apply_n(function, data, size, in, n_in, &out, 1) == TN_OK ? out : NULL;
}
