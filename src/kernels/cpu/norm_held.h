/* Normalisation of rows of a 16-bit dtype, a few at a time as floats: included by norm.c. */

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
