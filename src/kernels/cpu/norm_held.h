/* Normalisation of a 16-bit dtype, a few rows or a segment at a time as floats: included by norm.c. */

enum { FEW = 2048, HALF = 2 }; /* elements of rows at a time; bytes of an element */

/* n elements from the first on, as floats. */
static void held_load(const tn_norm *f, const void *from, int64_t first, int64_t n, float *x)
{
    tn_loader((tn_dtype)f->held, TN_WORK_F32)((const char *)from + first * HALF, HALF, n, x);
}
static void held_store(const tn_norm *f, const float *x, int64_t n, void *to, int64_t first)
{
    tn_store_f32_as((tn_dtype)f->held, x, n, (char *)to + first * HALF);
}

/* ---- rows ----------------------------------------------------------------------------------------------------------------- */

static void rows_forward_16(int64_t begin, int64_t end, void *context)
{
    const tn_norm *f = ((const norm_task *)context)->f;
    const int64_t step = tn_max_i64(1, FEW / f->c);
    float x[TN_NORM_HELD], y[TN_NORM_HELD];
    tn_norm few = *f;
    const norm_task own = {.f = &few};
    few.x = x, few.y = y, few.held = 0;
    for (int64_t row = begin; row < end; row += step) {
        few.n = tn_min_i64(step, end - row);
        few.mean = f->mean + row, few.rstd = f->rstd + row, few.var = f->var + row;
        held_load(f, f->x, row * f->c, few.n * f->c, x);
        rows_of(TN_F32, &few, false)(0, few.n, (void *)(uintptr_t)&own);
        held_store(f, y, few.n * f->c, f->y, row * f->c);
    }
}

static void rows_backward_16(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    float x[TN_NORM_HELD], dy[TN_NORM_HELD], dx[TN_NORM_HELD];
    tn_norm one = *f;
    one.x = x, one.dy = dy, one.dx = f->dx ? dx : NULL;
    for (int64_t k = begin; k < end; k++) {
        float *own = (float *)task->scratch + k * 2 * f->c;
        memset(own, 0, (size_t)(2 * f->c) * sizeof(float));
        for (int64_t row = k * task->chunk; row < tn_min_i64((k + 1) * task->chunk, f->n); row++) {
            one.mean = f->mean + row, one.rstd = f->rstd + row;
            held_load(f, f->x, row * f->c, f->c, x);
            held_load(f, f->dy, row * f->c, f->c, dy);
            row_backward_f32(&one, 0, f->dweight ? own : NULL, f->dbias ? own + f->c : NULL);
            if (f->dx)
                held_store(f, dx, f->c, f->dx, row * f->c);
        }
    }
}

/* ---- segments ------------------------------------------------------------------------------------------------------------- */

static int64_t few_segments(const tn_norm *f, int64_t k, int64_t end) { return tn_min_i64(tn_max_i64(1, FEW / f->s), end - k); }

static void segments_moments_16(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    float x[TN_NORM_HELD];
    tn_norm few = *f;
    few.x = x;
    for (int64_t k = begin, count; k < end; k += count) {
        count = few_segments(f, k, end);
        const norm_task own = {.f = &few, .sums = task->sums + 2 * k};
        held_load(f, f->x, k * f->s, count * f->s, x);
        segments_moments_f32(0, count, (void *)(uintptr_t)&own);
    }
}

static void segments_sums_16(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    float x[TN_NORM_HELD], dy[TN_NORM_HELD];
    for (int64_t k = begin; k < end; k++) {
        const int64_t pool = pool_of(f, k);
        held_load(f, f->x, k * f->s, f->s, x);
        held_load(f, f->dy, k * f->s, f->s, dy);
        task->sums[2 * k] = total_f32(dy, f->s);
        task->sums[2 * k + 1] = sum_product_f32(dy, x, (float)f->mean[pool], f->s) * f->rstd[pool];
    }
}

/* What chunks_moments() and chunks_sums() do for batch norm's chunk k, a few channels at a time. */
enum { FEW_CHANNELS = 4 };
static void chunk_16(const norm_task *task, int64_t k, void (*of_chunk)(int64_t begin, int64_t end, void *context))
{
    const tn_norm *f = task->f;
    const int64_t blocks = tn_ceil_div(f->c, CHANNELS), chunk = k / blocks, first = chunk * task->chunk;
    const int64_t last = tn_min_i64(first + task->chunk, f->n), beyond = tn_min_i64((k % blocks + 1) * CHANNELS, f->c);
    float x[FEW_CHANNELS * BLOCK], dy[FEW_CHANNELS * BLOCK]; /* a chunk's part of a channel is a block at most */
    tn_norm few = *f;
    few.x = x, few.dy = dy, few.n = last - first;
    for (int64_t c = k % blocks * CHANNELS; c < beyond; c += few.c) {
        few.c = tn_min_i64(FEW_CHANNELS, beyond - c);
        few.mean = f->mean + c, few.rstd = f->rstd + c;
        for (int64_t i = 0; i < few.n; i++) {
            held_load(f, f->x, ((first + i) * f->c + c) * f->s, few.c * f->s, x + i * few.c * f->s);
            if (f->dy)
                held_load(f, f->dy, ((first + i) * f->c + c) * f->s, few.c * f->s, dy + i * few.c * f->s);
        }
        of_chunk(0, 1, &(norm_task){.f = &few, .sums = task->sums + 2 * (chunk * f->c + c), .chunk = few.n});
    }
}
static void chunks_moments_16(int64_t begin, int64_t end, void *context)
{
    for (int64_t k = begin; k < end; k++)
        chunk_16(context, k, chunks_moments_f32);
}
static void chunks_sums_16(int64_t begin, int64_t end, void *context)
{
    for (int64_t k = begin; k < end; k++)
        chunk_16(context, k, chunks_sums_f32);
}

static void segments_forward_16(int64_t begin, int64_t end, void *context)
{
    const tn_norm *f = ((const norm_task *)context)->f;
    float x[TN_NORM_HELD];
    for (int64_t k = begin, count; k < end; k += count) {
        count = few_segments(f, k, end);
        held_load(f, f->x, k * f->s, count * f->s, x);
        for (int64_t j = 0; j < count; j++)
            segment_forward_f32(f, k + j, (k + j) % f->c, x + j * f->s, x + j * f->s);
        held_store(f, x, count * f->s, f->y, k * f->s);
    }
}

static void segments_backward_16(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    float x[TN_NORM_HELD], dy[TN_NORM_HELD];
    for (int64_t k = begin, count; k < end; k += count) {
        count = few_segments(f, k, end);
        held_load(f, f->x, k * f->s, count * f->s, x);
        held_load(f, f->dy, k * f->s, count * f->s, dy);
        for (int64_t j = 0; j < count; j++)
            segment_backward_f32(task, k + j, (k + j) % f->c, x + j * f->s, dy + j * f->s, dy + j * f->s);
        held_store(f, dy, count * f->s, f->dx, k * f->s);
    }
}
