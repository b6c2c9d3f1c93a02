/* Einstein's sum: labels for dims, then one product for each further operand. */
#include <ctype.h>
#include <string.h>

#include <tenon/ops.h>

#include "core/loop.h"
#include "ops/product.h"

/* Labels: 0 to 25 are A to Z, 26 to 51 a to z, and the last eight the dims of "...", the very last being the innermost.
 */
enum { LETTERS = 52, LABELS = LETTERS + TN_MAX_DIMS };

/* An operand, or what was made of some of them, and the label of each of its dims. */
typedef struct term {
    tn_tensor *x;
    int count; /* of labels, x->ndim */
    int label[TN_MAX_DIMS];
} term;

typedef struct plan {
    const char *equation;
    int64_t size[LABELS]; /* 1 until an operand says otherwise */
    int uses[LABELS];     /* how often the label stands in the operands */
    term out;             /* the result's labels */
} plan;

static uint64_t bit(int label) { return UINT64_C(1) << label; }

static uint64_t labels_of(const term *t)
{
    uint64_t set = 0;
    for (int d = 0; d < t->count; d++)
        set |= bit(t->label[d]);
    return set;
}

/* ---- the equation ------------------------------------------------------------------------------------------------ */

/* The labels between two places of the equation, "..." standing for `dots` dims; false, with an error, when it is
 * malformed. */
static bool read_labels(const plan *p, const char *at, const char *end, int dots, term *t)
{
    bool dotted = false;
    t->count = 0;
    for (; at < end; at++) {
        if (*at == ' ')
            continue;
        const bool dot = end - at >= 3 && !memcmp(at, "...", 3);
        if (!isalpha((unsigned char)*at) && (!dot || dotted)) {
            tn_fail(TN_ERR_ARGUMENT, "einsum: \"%s\": '%c' is neither a letter nor the only \"...\" of its operand",
                    p->equation, *at);
            return false;
        }
        if (t->count + (dot ? dots : 1) > TN_MAX_DIMS) {
            tn_fail(TN_ERR_ARGUMENT, "einsum: \"%s\": more than %d dimensions", p->equation, TN_MAX_DIMS);
            return false;
        }
        for (int e = 0; dot && e < dots; e++)
            t->label[t->count++] = LABELS - dots + e;
        if (!dot)
            t->label[t->count++] = *at >= 'a' ? *at - 'a' + 26 : *at - 'A';
        dotted |= dot;
        at += dot ? 2 : 0;
    }
    return true;
}

/* How many letters stand there, and whether "..." does. */
static int letters_in(const char *at, const char *end, bool *dotted)
{
    int letters = 0;
    for (*dotted = false; at < end; at++) {
        letters += isalpha((unsigned char)*at) != 0;
        *dotted |= *at == '.';
    }
    return letters;
}

/* An operand's labels, and what its sizes say of them. */
static bool read_operand(plan *p, const char *at, const char *end, tn_tensor *x, int index, term *t)
{
    bool dotted;
    const int letters = letters_in(at, end, &dotted), dots = x->ndim - letters;
    if (!read_labels(p, at, end, dotted && dots > 0 ? dots : 0, t))
        return false;
    if (dots < 0 || (dots > 0 && !dotted)) {
        tn_fail(TN_ERR_SHAPE, "einsum: \"%s\": operand %d is %s, but its %d letter%s name %s dimensions", p->equation,
                index, tn_text(x), letters, letters == 1 ? "" : "s", dots < 0 ? "more" : "fewer");
        return false;
    }
    t->x = x;
    for (int d = 0; d < t->count; d++) {
        int64_t *size = &p->size[t->label[d]];
        int before = 0;
        while (t->label[before] != t->label[d])
            before++;
        p->uses[t->label[d]]++;
        if (before < d ? x->sizes[before] != x->sizes[d] : *size != 1 && x->sizes[d] != 1 && *size != x->sizes[d]) {
            tn_fail(
                TN_ERR_SHAPE,
                "einsum: \"%s\": operand %d is %s: size %lld of its dim %d does not fit size %lld of the same letter",
                p->equation, index, tn_text(x), (long long)x->sizes[d], d,
                (long long)(before < d ? x->sizes[before] : *size));
            return false;
        }
        *size = *size == 1 ? x->sizes[d] : *size;
    }
    return true;
}

/* The result's labels: those after "->", or "..." and then the letters that occur once. */
static bool read_result(plan *p, const char *at)
{
    int dots = 0;
    for (int e = LETTERS; e < LABELS; e++)
        dots += p->uses[e] > 0;
    if (!at) {
        for (int l = LABELS - dots; l < LABELS; l++)
            p->out.label[p->out.count++] = l;
        for (int l = 0; l < LETTERS; l++)
            if (p->uses[l] == 1 && p->out.count < TN_MAX_DIMS)
                p->out.label[p->out.count++] = l;
        return true;
    }
    if (!read_labels(p, at, at + strlen(at), dots, &p->out))
        return false;
    for (int d = 0; d < p->out.count; d++) {
        const int l = p->out.label[d];
        const char letter = (char)(l < 26 ? 'A' + l : 'a' + l - 26);
        for (int e = 0; e < d; e++)
            if (p->out.label[e] == l)
                return tn_fail(TN_ERR_ARGUMENT, "einsum: \"%s\": the result names %c twice", p->equation, letter),
                       false;
        if (!p->uses[l])
            return tn_fail(TN_ERR_ARGUMENT, "einsum: \"%s\": no operand has the result's %c", p->equation, letter),
                   false;
    }
    return true;
}

static bool read_equation(plan *p, tn_tensor *const *operands, int count, term *terms)
{
    const char *arrow = strstr(p->equation, "->"), *at = p->equation, *end = arrow ? arrow : at + strlen(at);
    int commas = 0;
    for (const char *c = at; c < end; c++)
        commas += *c == ',';
    if (commas + 1 != count)
        return tn_fail(TN_ERR_ARGUMENT, "einsum: \"%s\" has %d operand%s, %d given", p->equation, commas + 1,
                       commas ? "s" : "", count),
               false;
    for (int l = 0; l < LABELS; l++)
        p->size[l] = 1;
    for (int i = 0; i < count; i++) {
        const char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma ? comma : end;
        if (!read_operand(p, at, stop, operands[i], i, &terms[i]))
            return false;
        at = stop + 1;
    }
    return read_result(p, arrow ? arrow + 2 : NULL);
}

/* ---- the diagonal of two dims, a view ---------------------------------------------------------------------------- */

typedef struct pair_of_dims {
    int i, j;
} pair_of_dims;

static tn_tensor *embed_diagonal(tn_tensor *x, pair_of_dims dims);

/* x's dim j taken along with dim i, without history. */
static tn_tensor *diagonal_view(const tn_tensor *x, pair_of_dims dims)
{
    int64_t sizes[TN_MAX_DIMS], strides[TN_MAX_DIMS];
    int ndim = 0;
    for (int d = 0; d < x->ndim; d++)
        if (d != dims.j) {
            sizes[ndim] = x->sizes[d];
            strides[ndim++] = x->strides[d] + (d == dims.i ? x->strides[dims.j] : 0);
        }
    return tn_view_of(x, ndim, sizes, strides, x->offset);
}

static void diagonal_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = embed_diagonal(dy[0], *(const pair_of_dims *)tn_node_attr(node));
}

static tn_tensor *take_diagonal(tn_tensor *x, pair_of_dims dims)
{
    return x ? tn_record(diagonal_view(x, dims), "diagonal", diagonal_backward, TN_INPUTS(x), TN_NO_SAVED,
                         TN_ATTR(dims))
             : NULL;
}

static void embed_backward(tn_node *node, tn_tensor *const *dy, tn_tensor **dx)
{
    dx[0] = take_diagonal(dy[0], *(const pair_of_dims *)tn_node_attr(node));
}

/* Zeros of one dim more, j, with x on the diagonal of i and j. */
static tn_tensor *embed_diagonal(tn_tensor *x, pair_of_dims dims)
{
    if (!x)
        return NULL;
    tn_shape shape = {.ndim = x->ndim + 1};
    for (int d = 0, from = 0; d < shape.ndim; d++)
        shape.sizes[d] = d == dims.j ? x->sizes[dims.i] : x->sizes[from++];
    tn_shape_args zeros = {
        .size = sizeof zeros, .dtype = (tn_dtype)x->dtype, .device = &x->storage->device, .shape = shape};
    tn_tensor *y = tn_zeros_with(&zeros), *view = y ? diagonal_view(y, dims) : NULL;
    const tn_tensor *from = x;
    tn_loop loop;
    if (!view || (tn_loop_make(&loop, view, &from, 1) &&
                  tn_kernels_for(y)->cast((tn_dtype)y->dtype, (tn_dtype)x->dtype, &loop) != TN_OK))
        return NULL;
    return tn_record(y, "diagonal_backward", embed_backward, TN_INPUTS(x), TN_NO_SAVED, TN_ATTR(dims));
}

/* ---- contraction ------------------------------------------------------------------------------------------------- */

/* Each label once, and none whose size is 1 here and more elsewhere: broadcasting is then the lack of a label. */
static void simplify(const plan *p, term *t)
{
    for (int i = 0; i < t->count; i++)
        for (int j = t->count - 1; j > i; j--)
            if (t->label[j] == t->label[i]) {
                t->x = take_diagonal(t->x, (pair_of_dims){i, j});
                memmove(&t->label[j], &t->label[j + 1], (size_t)(--t->count - j) * sizeof t->label[0]);
            }
    tn_shape shape = {.ndim = 0};
    int count = 0;
    for (int d = 0; t->x && d < t->count; d++)
        if (t->x->sizes[d] != 1 || p->size[t->label[d]] == 1) {
            t->label[count++] = t->label[d];
            shape.sizes[shape.ndim++] = t->x->sizes[d];
        }
    if (count < t->count)
        t->x = tn_reshape(t->x, shape);
    t->count = count;
}

/* Sums the labels that are not in `keep`, in the operand's dtype. */
static void sum_out(term *t, uint64_t keep)
{
    tn_reduce_args sum = {.size = sizeof sum, .dim = TN_ALL_DIMS, .x = t->x};
    int count = 0;
    for (int d = 0; d < t->count; d++)
        if (keep & bit(t->label[d]))
            t->label[count++] = t->label[d];
        else
            sum.dims.dim[sum.dims.count++] = d;
    t->count = count;
    if (!sum.dims.count || !t->x)
        return;
    const tn_dtype dtype = (tn_dtype)t->x->dtype;
    t->x = tn_sum_with(&sum);
    if (t->x && t->x->dtype != dtype)
        t->x = tn_cast(t->x, dtype);
}

/* Appends t's labels that are in `set` to a list and multiplies their sizes. */
static int64_t collect(const plan *p, const term *t, uint64_t set, term *list)
{
    int64_t size = 1;
    for (int d = 0; d < t->count; d++)
        if (set & bit(t->label[d])) {
            list->label[list->count++] = t->label[d];
            size *= p->size[t->label[d]];
        }
    return size;
}

/* t's tensor with its dims in the order of a list of the same labels. */
static tn_tensor *arranged(const term *t, const term *order)
{
    tn_dims dims = {.count = order->count};
    bool changed = false;
    for (int d = 0; d < order->count; d++) {
        while (t->label[dims.dim[d]] != order->label[d])
            dims.dim[d]++;
        changed |= dims.dim[d] != d;
    }
    return changed && t->x ? tn_permute(t->x, dims) : t->x;
}

static tn_shape shape_of_labels(const plan *p, const term *t, uint64_t present)
{
    tn_shape shape = {.ndim = t->count};
    for (int d = 0; d < t->count; d++)
        shape.sizes[d] = present & bit(t->label[d]) ? p->size[t->label[d]] : 1;
    return shape;
}

/* a = a b, summed over the labels of both that are not in `keep`. */
static bool contract(const plan *p, term *a, term *b, uint64_t keep)
{
    sum_out(a, labels_of(b) | keep);
    sum_out(b, labels_of(a) | keep);
    const uint64_t in_a = labels_of(a), in_b = labels_of(b), summed = in_a & in_b & ~keep, batch = in_a & in_b & keep;
    if (__builtin_popcountll(in_a | in_b) - __builtin_popcountll(summed) > TN_MAX_DIMS)
        return tn_fail(TN_ERR_ARGUMENT, "einsum: \"%s\": a partial result has more than %d dimensions", p->equation,
                       TN_MAX_DIMS),
               false;
    /* a as [batch, left, summed], b as [batch, summed, right], the result as [batch, left, right]. */
    term order_a = {.count = 0}, order_b = {.count = 0}, result = {.count = 0};
    const int64_t batches = collect(p, a, batch, &order_a), left = collect(p, a, in_a & ~in_b, &order_a);
    const int64_t inner = collect(p, a, summed, &order_a);
    collect(p, a, batch, &order_b);
    collect(p, a, summed, &order_b);
    const int64_t right = collect(p, b, in_b & ~in_a, &order_b);
    collect(p, a, batch, &result);
    collect(p, a, in_a & ~in_b, &result);
    collect(p, b, in_b & ~in_a, &result);
    tn_tensor *x = arranged(a, &order_a), *y = arranged(b, &order_b);
    if (!summed)
        result.x =
            tn_mul(tn_reshape(x, shape_of_labels(p, &result, in_a)), tn_reshape(y, shape_of_labels(p, &result, in_b)));
    else if (x && y)
        result.x = tn_reshape(tn_product("einsum", tn_reshape(x, TN_SHAPE(batches, left, inner)), false,
                                         tn_reshape(y, TN_SHAPE(batches, inner, right)), false),
                              shape_of_labels(p, &result, ~UINT64_C(0)));
    *a = result;
    return result.x != NULL;
}

tn_tensor *tn_einsum(const char *equation, tn_tensor *const *operands, int count)
{
    enum { MOST = 32 };
    term terms[MOST];
    plan p = {.equation = equation};
    if (tn_failing())
        return NULL;
    if (!equation || !operands || count < 1 || count > MOST)
        return tn_fail(TN_ERR_ARGUMENT, "einsum: it takes an equation and 1 to %d operands, %d given", MOST, count);
    for (int i = 0; i < count; i++) {
        if (!tn_ready("einsum", "an operand", operands[i]) || !tn_devices_agree("einsum", operands[0], operands[i]))
            return NULL;
        if (operands[i]->dtype != operands[0]->dtype)
            return tn_fail(TN_ERR_DTYPE,
                           "einsum: operand 0 is %s and operand %d is %s: all must have one dtype: tn_cast them",
                           tn_dtype_name((tn_dtype)operands[0]->dtype), i, tn_dtype_name((tn_dtype)operands[i]->dtype));
    }
    if (!read_equation(&p, operands, count, terms))
        return NULL;
    for (int i = 0; i < count; i++)
        simplify(&p, &terms[i]);
    for (int i = 1; i < count; i++) {
        uint64_t keep = labels_of(&p.out);
        for (int later = i + 1; later < count; later++)
            keep |= labels_of(&terms[later]);
        if (tn_failing() || !contract(&p, &terms[0], &terms[i], keep))
            return NULL;
    }
    sum_out(&terms[0], labels_of(&p.out));
    return arranged(&terms[0], &p.out);
}
