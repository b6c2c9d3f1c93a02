/* The walk: from the outputs' gradients down to the leaves.
 *
 * 1. Every node and leaf that the outputs reach is entered in a table (a loop with a stack of its own: graphs are long).
 * 2. Nodes are visited in falling depth, so each sees the sum of all gradients that reach it; gradients are freed as soon as consumed.
 * 3. Leaves come last: .grad changes only when the whole walk has succeeded. */
#include <string.h>

#include <tenon/ops.h>

#include "autograd/node.h"
#include "core/loop.h"
#include "core/trace.h"

typedef struct entry {
    tn_object *target; /* a node or a leaf; counted, for the walk may release the graph */
    tn_tensor **grads; /* one for each output; owned */
    int outputs;
    bool wanted;   /* its gradient leads to something asked for */
    bool own;      /* of a leaf: .grad becomes grads[0] */
    bool one;      /* of the output's node: its gradient is ones, and not there */
    int64_t next;  /* in its depth's list */
    tn_tensor *first[1]; /* grads, where there is one output */
} entry;

typedef struct walk {
    entry *entries;
    int64_t count, capacity;
    int64_t *slots; /* hash table: 1 + index of an entry, 0 empty */
    int64_t slot_count;
    int64_t *heads; /* for each depth the last entry, -1 none */
    int64_t depths;
    tn_tensor **dx; /* of the node that is visited, where it has many inputs */
    size_t dx_bytes;
    bool create_graph, keep_graph;
    bool captures;       /* gradients are given to the caller */
    int autocast;        /* the thread's; inside the walk it is each node's own */
    bool detect_anomaly; /* the thread's; inside the walk it is off, for a NaN there is the node's */
    const struct walk *outer; /* the walk inside which this one runs, and the grad mode then */
    tn_grad_mode mode;
} walk;

static __thread const walk *current; /* for tn_wants */

/* ---- the table ---------------------------------------------------------------------------------------------------------- */

static uint64_t hash(const void *pointer)
{
    uint64_t h = (uint64_t)(uintptr_t)pointer * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static int64_t *slot_of(const walk *w, const void *target)
{
    uint64_t mask = (uint64_t)w->slot_count - 1, i = hash(target) & mask;
    while (w->slots[i] && w->entries[w->slots[i] - 1].target != target)
        i = (i + 1) & mask;
    return &w->slots[i];
}

static entry *find(const walk *w, const void *target)
{
    int64_t slot = target && w->slot_count ? *slot_of(w, target) : 0;
    return slot ? &w->entries[slot - 1] : NULL;
}

static bool grow(walk *w)
{
    int64_t capacity = w->capacity ? w->capacity * 2 : 32, slot_count = capacity * 2;
    entry *entries = tn_alloc((size_t)capacity * sizeof *entries);
    int64_t *slots = entries ? tn_alloc_zero((size_t)slot_count * sizeof *slots) : NULL;
    if (!slots) {
        tn_free(entries, (size_t)capacity * sizeof *entries);
        return false;
    }
    if (w->count)
        memcpy(entries, w->entries, (size_t)w->count * sizeof *entries);
    tn_free(w->entries, (size_t)w->capacity * sizeof *entries);
    tn_free(w->slots, (size_t)w->slot_count * sizeof *slots);
    w->entries = entries;
    w->slots = slots;
    w->capacity = capacity;
    w->slot_count = slot_count;
    for (int64_t i = 0; i < w->count; i++)
        *slot_of(w, entries[i].target) = i + 1;
    return true;
}

/* Enters a target that is not there yet; false on no memory. */
static bool enter(walk *w, tn_object *target)
{
    if (!target || find(w, target))
        return true;
    if (w->count == w->capacity && !grow(w))
        return false;
    *slot_of(w, target) = w->count + 1;
    int outputs = tn_is_tensor(target) ? 1 : ((tn_node *)target)->outputs;
    w->entries[w->count++] = (entry){.target = tn_retain(target), .outputs = outputs, .next = -1};
    return true;
}

/* grads[0 ... outputs-1] of an entry: inside it while it does not move, hence only after discovery. */
static bool allocate_grads(walk *w)
{
    for (int64_t i = 0; i < w->count; i++) {
        entry *e = &w->entries[i];
        e->grads = e->outputs == 1 ? e->first : tn_alloc_zero((size_t)e->outputs * sizeof(tn_tensor *));
        if (!e->grads)
            return false;
    }
    return true;
}

static bool discover(walk *w, tn_tensor *const *outputs, int count)
{
    for (int k = 0; k < count; k++)
        if (!enter(w, tn_edge_of(outputs[k]).target))
            return false;
    int64_t deepest = 0;
    for (int64_t i = 0; i < w->count; i++) { /* entries are the queue */
        if (tn_is_tensor(w->entries[i].target))
            continue;
        const tn_node *node = (const tn_node *)w->entries[i].target;
        deepest = node->depth > deepest ? node->depth : deepest;
        for (int k = 0; k < node->inputs; k++)
            if (!enter(w, node->edges[k].target))
                return false;
    }
    w->heads = tn_alloc((size_t)(deepest + 1) * sizeof *w->heads);
    w->depths = deepest + 1;
    if (!w->heads || !allocate_grads(w))
        return false;
    memset(w->heads, -1, (size_t)w->depths * sizeof *w->heads);
    for (int64_t i = w->count - 1; i >= 0; i--) {
        entry *e = &w->entries[i];
        if (tn_is_tensor(e->target))
            continue;
        int64_t *head = &w->heads[((tn_node *)e->target)->depth];
        e->next = *head;
        *head = i;
    }
    return true;
}

/* However the walk ends: by an exception that a hook or a rule of the user's throws, too. */
static void finish(walk **walking)
{
    walk *w = *walking;
    current = w->outer;
    tn_grad_mode_restore(&w->mode);
    tn_this.autocast = w->autocast;
    tn_this.detect_anomaly = w->detect_anomaly;
    for (int64_t i = 0; i < w->count; i++) {
        entry *e = &w->entries[i];
        for (int k = 0; e->grads && k < e->outputs; k++)
            tn_release(e->grads[k]);
        if (e->grads != e->first)
            tn_free(e->grads, (size_t)e->outputs * sizeof(tn_tensor *));
        tn_release(e->target);
    }
    tn_free(w->entries, (size_t)w->capacity * sizeof(entry));
    tn_free(w->slots, (size_t)w->slot_count * sizeof(int64_t));
    tn_free(w->heads, (size_t)w->depths * sizeof(int64_t));
    tn_free(w->dx, w->dx_bytes);
}

/* Marks what leads to the wanted inputs: all, when there is no list of them. */
static void mark_wanted(walk *w, tn_tensor *const *inputs, int count)
{
    for (int64_t i = 0; i < w->count; i++)
        w->entries[i].wanted = !inputs;
    for (int k = 0; k < count; k++) {
        entry *e = find(w, tn_edge_of(inputs[k]).target);
        if (e)
            e->wanted = true;
    }
    for (int64_t d = 0; inputs && d < w->depths; d++)
        for (int64_t i = w->heads[d]; i >= 0; i = w->entries[i].next) {
            const tn_node *node = (const tn_node *)w->entries[i].target;
            for (int k = 0; k < node->inputs && !w->entries[i].wanted; k++) {
                const entry *below = find(w, node->edges[k].target);
                w->entries[i].wanted = below && below->wanted;
            }
        }
}

bool tn_wants(const tn_node *node, int i)
{
    const entry *e = node->edges[i].target && current ? find(current, node->edges[i].target) : NULL;
    return e && e->wanted;
}

/* ---- gradients ---------------------------------------------------------------------------------------------------------- */

static bool add_in_place(tn_tensor *sum, const tn_tensor *more)
{
    tn_loop loop;
    const tn_tensor *inputs[] = {sum, more};
    if (tn_loop_make(&loop, sum, inputs, 2) &&
        tn_kernels_for(sum)->binary(TN_BINARY_ADD, (tn_dtype)sum->dtype, &loop) != TN_OK)
        return false;
    tn_storage_touch(sum->storage);
    return true;
}

/* True when nobody else can see the tensor's memory: a view of what is gone may still be a view. */
static bool sole(const tn_tensor *x)
{
    return x->base.refs == 1 && x->storage->refs == 1 && !x->storage->release && tn_has(x, TN_FLAG_CONTIGUOUS);
}
static bool exclusive(const tn_tensor *x) { return sole(x) && !tn_has(x, TN_FLAG_VIEW); }

bool tn_may_overwrite(const tn_tensor *dy)
{
    return current && !current->create_graph && !current->captures && !current->detect_anomaly && sole(dy);
}

static bool accumulate(const walk *w, entry *e, int output, tn_tensor *grad)
{
    tn_tensor **slot = &e->grads[output];
    if (!*slot) {
        *slot = tn_retain(grad);
        return true;
    }
    if (!w->create_graph && (*slot)->dtype == grad->dtype && sole(*slot))
        return add_in_place(*slot, grad);
    tn_tensor *sum = tn_keep(tn_add(*slot, grad));
    if (!sum)
        return false;
    tn_release(*slot);
    *slot = sum;
    return true;
}

/* input: which of the operator's; -1: the gradient is given to `who` itself. */
static bool fits(const char *who, int input, const tn_tensor *grad, tn_shape shape)
{
    if (tn_shape_equal(tn_shape_of(grad), shape))
        return true;
    if (input < 0)
        tn_fail(TN_ERR_SHAPE, "%s: the gradient is %s and what it belongs to is %s", who, tn_text(grad), tn_shape_text(shape));
    else
        tn_fail(TN_ERR_SHAPE, "%s: its backward gave %s as the gradient of input %d, which is %s", who, tn_text(grad), input,
                tn_shape_text(shape));
    return false;
}

/* Hooks, and .grad of those non-leaves that asked for it. */
static bool arrive(entry *e, tn_node *node)
{
    for (int k = 0; k < node->outputs; k++) {
        tn_output *out = &node->output[k];
        if (!e->grads[k])
            continue;
        if (out->hooks) {
            tn_tensor *grad = tn_hooks_run(out->hooks, e->grads[k]);
            if (!grad)
                return false;
            tn_retain(grad);
            tn_release(e->grads[k]);
            e->grads[k] = grad;
        }
        if (out->retained && tn_set_grad(out->retained, e->grads[k]) != TN_OK)
            return false;
    }
    return true;
}

/* Several results: a rule sees zeros for those that nothing used. */
static bool fill_missing(entry *e, const tn_node *node)
{
    for (int k = 0; k < node->outputs; k++) {
        const tn_output *out = &node->output[k];
        if (e->grads[k] || !tn_dtype_is_float(out->dtype))
            continue;
        tn_shape_args zeros = {.size = sizeof zeros, .dtype = out->dtype, .device = &out->device, .shape = out->shape};
        e->grads[k] = tn_keep(tn_zeros_with(&zeros));
        if (!e->grads[k])
            return false;
    }
    return true;
}

/* Room for the gradients of a node's inputs, cleared; the walk's. */
static tn_tensor **many_inputs(walk *w, int inputs)
{
    tn_free(w->dx, w->dx_bytes);
    w->dx_bytes = (size_t)inputs * sizeof *w->dx;
    return w->dx = tn_alloc_zero(w->dx_bytes);
}

static bool visit(walk *w, entry *e)
{
    enum { FEW = 16 };
    tn_node *node = (tn_node *)e->target;
    bool any = e->one;
    for (int k = 0; k < node->outputs; k++)
        any = any || e->grads[k];
    if (!any)
        return true;
    TN_SCOPE;
    if (!arrive(e, node))
        return false;
    bool needed = false; /* an input that is asked for may itself be a result: nothing below it need run */
    for (int i = 0; i < node->inputs && !needed; i++)
        needed = tn_wants(node, i);
    e->wanted = needed;
    if (!needed)
        return true;
    if (!e->one && !fill_missing(e, node))
        return false;
    if (node->released) {
        tn_fail(TN_ERR_GRAD, "backward of %s: the graph was released by an earlier backward: give that one .retain_graph = true, or tn_detach() "
                             "what is carried over from an earlier step",
                node->name);
        return false;
    }
    tn_tensor *few[FEW] = {NULL};
    tn_tensor **dx = node->inputs <= FEW ? few : many_inputs(w, node->inputs);
    if (!dx)
        return false;
    tn_span span = tn_span_begin("backward", node->name);
    tn_this.autocast = node->autocast;
    node->backward(node, e->grads, dx);
    tn_span_end(&span);
    bool good = !tn_failing() && (TN_LIKELY(!w->detect_anomaly) || tn_backward_is_sound(node, e->grads, dx));
    for (int i = 0; i < node->inputs && good; i++) {
        entry *below = dx[i] ? find(w, node->edges[i].target) : NULL;
        if (!below || !below->wanted)
            continue;
        int output = node->edges[i].output;
        const tn_tensor *leaf = tn_is_tensor(below->target) ? (const tn_tensor *)below->target : NULL;
        const tn_output *result = leaf ? NULL : &((const tn_node *)below->target)->output[output];
        tn_dtype dtype = (tn_dtype)(leaf ? leaf->dtype : result->dtype);
        tn_tensor *g = dx[i]->dtype == dtype ? dx[i] : tn_cast(dx[i], dtype); /* a user's rule may have promoted it */
        good = g && fits(node->name, i, g, leaf ? tn_shape_of(leaf) : result->shape) && accumulate(w, below, output, g);
    }
    return good;
}

/* The gradient's own memory, so that .grad can be added to: it itself where nobody else sees it, else a copy. Takes and gives a reference. */
static tn_tensor *own_copy(tn_tensor *grad)
{
    if (sole(grad) && tn_has(grad, TN_FLAG_VIEW) && (size_t)grad->numel * tn_item_size(grad) == grad->storage->bytes) { /* what it was a view of is gone */
        grad->flags &= (uint8_t)~TN_FLAG_VIEW;
        __atomic_fetch_sub(&grad->storage->aliases, 1, __ATOMIC_RELAXED);
    }
    if (exclusive(grad) && !grad->grad_fn)
        return grad;
    tn_tensor *copy = tn_new_owned("backward", tn_shape_of(grad), (tn_dtype)grad->dtype, grad->storage->device);
    tn_loop loop;
    const tn_tensor *inputs[] = {grad};
    if (copy && tn_loop_make(&loop, copy, inputs, 1) &&
        tn_kernels_for(grad)->cast((tn_dtype)grad->dtype, (tn_dtype)grad->dtype, &loop) != TN_OK) {
        tn_release(copy);
        copy = NULL;
    }
    tn_release(grad);
    return copy;
}

/* Every leaf's hooks run and copies are made before the first .grad changes. */
static bool settle_leaves(walk *w)
{
    for (int64_t i = 0; i < w->count; i++) {
        entry *e = &w->entries[i];
        tn_tensor *leaf = (tn_tensor *)e->target;
        if (!tn_is_tensor(e->target) || !e->grads[0])
            continue;
        TN_SCOPE;
        if (leaf->hooks) {
            tn_tensor *grad = tn_hooks_run(leaf->hooks, e->grads[0]);
            if (!grad)
                return false;
            tn_retain(grad);
            tn_release(e->grads[0]);
            e->grads[0] = grad;
        }
        if (!w->create_graph && !leaf->grad && !(e->grads[0] = own_copy(e->grads[0])))
            return false;
        if (leaf->grad && !exclusive(leaf->grad)) { /* someone holds the old .grad: it must not change under them */
            tn_tensor *sum = tn_keep(tn_add(leaf->grad, e->grads[0]));
            if (!sum)
                return false;
            tn_release(e->grads[0]);
            e->grads[0] = sum;
            e->own = true;
        } else {
            e->own = !leaf->grad;
        }
    }
    for (int64_t i = 0; i < w->count; i++) {
        entry *e = &w->entries[i];
        tn_tensor *leaf = (tn_tensor *)e->target;
        if (!tn_is_tensor(e->target) || !e->grads[0])
            continue;
        if (e->own) {
            tn_release(leaf->grad);
            leaf->grad = e->grads[0];
            e->grads[0] = NULL;
        } else if (!add_in_place(leaf->grad, e->grads[0])) {
            return false;
        }
    }
    return true;
}

/* What tn_grads_of asked for, put into the caller's scope: a leaf's gradient at the end, a non-leaf's when its node is about to be visited. */
static bool capture(entry *e, tn_tensor *const *inputs, int count, tn_tensor **kept)
{
    for (int k = 0; k < count; k++) {
        tn_edge edge = tn_edge_of(inputs[k]);
        if (edge.target != e->target || !e->grads[edge.output] || kept[k])
            continue;
        tn_tensor *grad = e->grads[edge.output];
        if (tn_is_tensor(e->target) && inputs[k]->hooks) {
            TN_SCOPE;
            kept[k] = tn_pass(tn_hooks_run(inputs[k]->hooks, grad));
        } else {
            kept[k] = tn_adopt(tn_retain(grad));
        }
        if (!kept[k])
            return false;
    }
    return true;
}

static bool run(walk *w, tn_tensor *const *inputs, int count, tn_tensor **kept)
{
    for (int64_t d = w->depths - 1; d >= 0; d--)
        for (int64_t i = w->heads[d]; i >= 0; i = w->entries[i].next) {
            entry *e = &w->entries[i];
            if (!visit(w, e) || (inputs && !capture(e, inputs, count, kept)))
                return false;
            for (int k = 0; k < e->outputs; k++) {
                tn_release(e->grads[k]);
                e->grads[k] = NULL;
            }
            if (!w->keep_graph && e->wanted)
                tn_node_release_saved((tn_node *)e->target);
        }
    if (!inputs)
        return settle_leaves(w);
    for (int64_t i = 0; i < w->count; i++)
        if (tn_is_tensor(w->entries[i].target) && !capture(&w->entries[i], inputs, count, kept))
            return false;
    return true;
}

/* Whether the node needs no gradient of ones laid out: its rule knows what they give, and nobody looks. */
static bool takes_one(const walk *w, const entry *e)
{
    const tn_node *node = tn_is_tensor(e->target) ? NULL : (const tn_node *)e->target;
    return node && node->takes_one && !node->output[0].hooks && !node->output[0].retained && !w->captures && !w->detect_anomaly;
}

/* The gradient that the walk starts from: given, or 1 for a single element. */
static bool seed(walk *w, const char *op, tn_tensor *output, tn_tensor *grad)
{
    TN_SCOPE;
    if (!grad) {
        if (output->numel != 1) {
            tn_fail(TN_ERR_GRAD, "%s: the output is %s, not a single number: give its gradient with .grad", op, tn_text(output));
            return false;
        }
        entry *first = find(w, tn_edge_of(output).target);
        first->one = takes_one(w, first);
        if (first->one)
            return true;
        tn_like_args ones = {.size = sizeof ones, .dtype = TN_DTYPE_DEFAULT, .x = output};
        grad = tn_ones_like_with(&ones);
        if (!grad)
            return false;
    } else if (!fits(op, -1, grad, tn_shape_of(output))) {
        return false;
    } else if (grad->dtype != output->dtype) {
        tn_fail(TN_ERR_DTYPE, "%s: the gradient given is %s and the output %s: they must be alike", op, tn_dtype_name((tn_dtype)grad->dtype),
                tn_dtype_name((tn_dtype)output->dtype));
        return false;
    }
    tn_edge edge = tn_edge_of(output);
    return accumulate(w, find(w, edge.target), edge.output, grad);
}

static bool walk_graph(walk *w, const char *op, tn_tensor *const *outputs, tn_tensor *const *grads, int n_out, tn_tensor *const *inputs,
                       int n_in, tn_tensor **kept)
{
    TN_CLEANUP_(finish) walk *walking = w;
    w->outer = current;
    w->mode = tn_grad_mode_set(w->create_graph);
    w->autocast = tn_this.autocast;
    w->detect_anomaly = tn_set_detect_anomaly(false);
    if (!discover(w, outputs, n_out))
        return false;
    mark_wanted(w, inputs, n_in);
    current = w;
    for (int k = 0; k < n_out; k++)
        if (!seed(w, op, outputs[k], grads ? grads[k] : NULL))
            return false;
    return run(w, inputs, n_in, kept);
}

/* ---- the public calls --------------------------------------------------------------------------------------------------- */

static bool output_fits(const char *op, const tn_tensor *y)
{
    if (!tn_ready(op, "the output", y))
        return false;
    if (!tn_tracks(y)) {
        tn_fail(TN_ERR_GRAD, "%s: the output depends on nothing that requires a gradient (was it made under TN_NO_GRAD, or detached?)", op);
        return false;
    }
    return true;
}

tn_status tn_backward_with(const tn_backward_args *args)
{
    TN_KNOWN(tn_backward_args, args);
    walk w = {.keep_graph = args->retain_graph};
    if (output_fits("backward", args->x))
        walk_graph(&w, "backward", &args->x, &args->grad, 1, NULL, 0, NULL);
    return tn_last_status();
}

tn_status tn_grads_of_with(const tn_grads_of_args *args)
{
    TN_KNOWN(tn_grads_of_args, args);
    int n = args->input_count;
    if (tn_failing())
        return tn_last_status();
    if (!args->outputs || !args->inputs || !args->results || n < 1 || args->output_count < 1) {
        tn_fail(TN_ERR_ARGUMENT, "grad_of: outputs, inputs and results must each be given");
        return TN_ERR_ARGUMENT;
    }
    memset(args->results, 0, (size_t)n * sizeof *args->results);
    for (int k = 0; k < args->output_count; k++)
        if (!output_fits("grad_of", args->outputs[k]))
            return tn_last_status();
    for (int k = 0; k < n; k++)
        if (!tn_ready("grad_of", "an input", args->inputs[k]))
            return tn_last_status();
    walk w = {.keep_graph = args->retain_graph || args->create_graph, .create_graph = args->create_graph,
              .captures = true};
    walk_graph(&w, "grad_of", args->outputs, args->grads, args->output_count, args->inputs, n, args->results);
    for (int k = 0; k < n; k++) {
        if (!args->results[k] && !args->allow_unused && !tn_failing())
            tn_fail(TN_ERR_GRAD, "grad_of: no output depends on input %d: give .allow_unused = true if that may be", k);
    }
    for (int k = 0; k < n && tn_failing(); k++)
        args->results[k] = NULL;
    return tn_last_status();
}

tn_tensor *tn_grad_of_with(const tn_grad_of_args *args)
{
    TN_KNOWN(tn_grad_of_args, args);
    tn_tensor *result = NULL;
    tn_tensor *const grad[] = {args->grad};
    tn_grads_of_args many = {.size = sizeof many, .grads = grad, .retain_graph = args->retain_graph, .create_graph = args->create_graph,
                             .allow_unused = args->allow_unused, .outputs = &args->output, .output_count = 1, .inputs = &args->input,
                             .input_count = 1, .results = &result};
    return tn_grads_of_with(&many) == TN_OK ? result : NULL;
}
