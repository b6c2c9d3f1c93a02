/* Sequences of unequal lengths without their padding: rows are chosen by an index, so gradients find their way back. */
#include "nn/packed.h"

#include "core/loop.h"

static void packed_free(void *self)
{
    tn_packed_sequence *packed = self;
    tn_release(packed->data);
    tn_release(packed->batch_sizes);
    tn_release(packed->sorted_indices);
    tn_release(packed->unsorted_indices);
}

static const tn_class packed_class = {"packed sequence", sizeof(tn_packed_sequence), packed_free};

tn_packed_sequence *tn_packed_sequence_of(tn_tensor *data, tn_tensor *batch_sizes, tn_tensor *sorted, tn_tensor *unsorted)
{
    tn_packed_sequence *packed = data && !tn_failing() ? tn_object_new(&packed_class) : NULL;
    if (!packed)
        return NULL;
    packed->data = tn_retain(data);
    packed->batch_sizes = tn_retain(batch_sizes);
    packed->sorted_indices = sorted ? tn_retain(sorted) : NULL;
    packed->unsorted_indices = unsorted ? tn_retain(unsorted) : NULL;
    return tn_autorelease(packed);
}

static bool is_index(const tn_tensor *x)
{
    return x->dtype == TN_I64 && x->ndim == 1 && tn_has(x, TN_FLAG_CONTIGUOUS) && x->storage->device.type == TN_CPU;
}

bool tn_packed_sequence_check(const char *op, const tn_packed_sequence *p)
{
    if (tn_failing())
        return false;
    if (!p || !p->data || !p->batch_sizes)
        tn_fail(TN_ERR_ARGUMENT, p ? "%s: packed has no %s" : "%s: packed is NULL", op, p && p->data ? "batch_sizes" : "data");
    else if (p->data->ndim == 0 || !is_index(p->batch_sizes) || p->batch_sizes->numel == 0 ||
             *(const int64_t *)(const void *)tn_ptr(p->batch_sizes) < 1)
        tn_fail(TN_ERR_ARGUMENT, "%s: packed's batch_sizes, %s, must be contiguous int64 [longest length] on the CPU, at least 1, and data have rows", op,
                tn_text(p->batch_sizes));
    else if (p->sorted_indices && (!is_index(p->sorted_indices) ||
                                   p->sorted_indices->numel != *(const int64_t *)(const void *)tn_ptr(p->batch_sizes)))
        tn_fail(TN_ERR_ARGUMENT, "%s: packed's sorted_indices, %s, must be contiguous int64 [batch] on the CPU", op, tn_text(p->sorted_indices));
    return !tn_failing();
}

static tn_tensor *integers(const char *op, int64_t count) { return tn_new(op, TN_SHAPE(count), TN_I64, (tn_device_id){TN_CPU, 0}); }
static int64_t *data_of(const tn_tensor *x) { return x ? (int64_t *)(void *)tn_ptr(x) : NULL; }

/* x with its first two dims made one, so that an index can name a step of a sequence. */
static tn_tensor *as_rows(tn_tensor *x)
{
    tn_shape shape = tn_shape_of(x);
    shape.sizes[1] *= shape.sizes[0];
    for (int d = 1; d < shape.ndim; d++)
        shape.sizes[d - 1] = shape.sizes[d];
    shape.ndim--;
    return tn_reshape(x, shape);
}

static bool lengths_fit(const tn_pack_args *a, const tn_tensor *lengths, int64_t steps, int64_t batch)
{
    const char *op = "pack_padded_sequence";
    if (lengths->ndim != 1 || lengths->numel != batch || batch == 0)
        tn_fail(TN_ERR_SHAPE, "%s: x is %s and lengths %s: a length for each of %lld sequences is needed, and at least one", op, tn_text(a->x),
                tn_text(lengths), (long long)batch);
    const int64_t *length = data_of(lengths);
    for (int64_t b = 0; b < batch && !tn_failing(); b++)
        if (length[b] < 1 || length[b] > steps)
            tn_fail(TN_ERR_ARGUMENT, "%s: lengths[%lld] is %lld: 1 to the %lld steps of x are possible", op, (long long)b, (long long)length[b],
                    (long long)steps);
        else if (a->enforce_sorted && b > 0 && length[b] > length[b - 1])
            tn_fail(TN_ERR_ARGUMENT, "%s: lengths[%lld] is %lld, more than the one before: with .enforce_sorted = false they need not fall", op,
                    (long long)b, (long long)length[b]);
    return !tn_failing();
}

tn_packed_sequence *tn_pack_padded_sequence_with(const tn_pack_args *a)
{
    TN_KNOWN(tn_pack_args, a);
    const char *op = "pack_padded_sequence";
    if (!tn_ready(op, "x", a->x) || !tn_ready(op, "lengths", a->lengths))
        return NULL;
    if (a->x->ndim < 2)
        return tn_fail(TN_ERR_SHAPE, "%s: x is %s: steps and batch are needed", op, tn_text(a->x));
    if (tn_dtype_is_float((tn_dtype)a->lengths->dtype) || a->lengths->dtype == TN_BOOL)
        return tn_fail(TN_ERR_DTYPE, "%s: lengths is %s: integers are needed", op, tn_dtype_name((tn_dtype)a->lengths->dtype));
    TN_SCOPE;
    tn_tensor *x = a->batch_first ? tn_transpose(a->x, 0, 1) : a->x, *lengths = tn_to(tn_contiguous(tn_cast(a->lengths, TN_I64)), (tn_device_id){TN_CPU, 0});
    if (tn_failing() || !lengths_fit(a, lengths, x->sizes[0], x->sizes[1]))
        return NULL;
    const int64_t batch = x->sizes[1];
    tn_tensor *sorted = NULL, *unsorted = NULL;
    if (!a->enforce_sorted) {
        tn_sort_args by_length = {.size = sizeof by_length, .dim = 0, .descending = true, .x = lengths};
        sorted = tn_argsort_with(&by_length);
        unsorted = integers(op, batch);
    }
    const int64_t *length = data_of(lengths), *order = data_of(sorted);
    int64_t total = 0, longest = 0, *back = data_of(unsorted);
    for (int64_t b = 0; b < batch; b++) {
        total += length[b];
        longest = length[b] > longest ? length[b] : longest;
        if (back && order)
            back[order[b]] = b;
    }
    tn_tensor *sizes = integers(op, longest), *rows = integers(op, total);
    if (tn_failing())
        return NULL;
    int64_t *size = data_of(sizes), *row = data_of(rows), n = batch;
    for (int64_t t = 0; t < longest; t++) {
        while (length[order ? order[n - 1] : n - 1] <= t)
            n--;
        size[t] = n;
        for (int64_t b = 0; b < n; b++)
            *row++ = t * batch + (order ? order[b] : b);
    }
    return tn_pass(tn_packed_sequence_of(tn_index_select(as_rows(x), 0, tn_to(rows, x->storage->device)), sizes, sorted, unsorted));
}

/* Which row of data stands at each [step, sequence]; `rows`, one past the last, where there is padding. Writes the lengths too. */
static bool places(const tn_packed_sequence *p, int64_t steps, int64_t *place, int64_t *length)
{
    const int64_t longest = p->batch_sizes->numel, rows = p->data->sizes[0], *size = data_of(p->batch_sizes), batch = size[0];
    const int64_t *order = data_of(p->sorted_indices);
    int64_t row = 0;
    for (int64_t i = 0; i < steps * batch; i++)
        place[i] = rows;
    for (int64_t b = 0; b < batch; b++)
        length[b] = 0;
    for (int64_t t = 0; t < longest; t++)
        for (int64_t b = 0; b < size[t]; b++) {
            const int64_t sequence = order ? order[b] : b;
            if (size[t] > batch || sequence < 0 || sequence >= batch)
                return false;
            place[t * batch + sequence] = row++;
            length[sequence] = t + 1;
        }
    return row == rows;
}

tn_tensor *tn_pad_packed_sequence_with(const tn_pad_packed_args *a)
{
    TN_KNOWN(tn_pad_packed_args, a);
    const char *op = "pad_packed_sequence";
    const tn_packed_sequence *p = a->packed;
    if (a->lengths)
        *a->lengths = NULL;
    if (!tn_packed_sequence_check(op, p))
        return NULL;
    const int64_t longest = p->batch_sizes->numel, steps = a->total_length ? a->total_length : longest;
    if (steps < longest)
        return tn_fail(TN_ERR_ARGUMENT, "%s: total_length is %lld, and the longest sequence has %lld steps", op, (long long)steps,
                       (long long)longest);
    TN_SCOPE;
    const int64_t batch = data_of(p->batch_sizes)[0];
    tn_tensor *index = integers(op, steps * batch), *lengths = integers(op, batch);
    if (tn_failing())
        return NULL;
    if (!places(p, steps, data_of(index), data_of(lengths)))
        return tn_fail(TN_ERR_ARGUMENT, "%s: batch_sizes and sorted_indices do not fit data, %s", op, tn_text(p->data));
    tn_shape shape = tn_shape_of(p->data);
    shape.sizes[0] = 1;
    const tn_device_id device = p->data->storage->device;
    tn_tensor *padding = tn_full_with(&(tn_shape_args){.size = sizeof(tn_shape_args), .shape = shape, .value = a->padding_value,
                                                       .dtype = (tn_dtype)p->data->dtype, .device = &device});
    tn_tensor *rows = tn_index_select(tn_concat((tn_tensor *[]){p->data, padding}, 2, 0), 0, tn_to(index, device));
    for (int d = shape.ndim++; d > 1; d--)
        shape.sizes[d] = shape.sizes[d - 1];
    shape.sizes[0] = steps, shape.sizes[1] = batch;
    tn_tensor *y = rows ? tn_reshape(rows, shape) : NULL;
    y = y && a->batch_first ? tn_transpose(y, 0, 1) : y;
    if (y && a->lengths)
        *a->lengths = tn_pass(lengths);
    return y ? tn_pass(y) : NULL;
}
