/* Layer and RMS norm's rows of f32 and bfloat16 where vectors have 16 lanes: included by norm.c. Both dtypes take the same steps, so that rows of
 * bfloat16 give the statistics of the same numbers as floats, and their y rounded once. Rows go side by side: parameters are read once for all of
 * them, and the end of a row's sum, where lanes become one, runs beside the others'. */
#if defined(__AVX512F__)

/* Rows side by side at most, and of bfloat16 and f32: more were slower where they come from the third cache or from memory. f32's two forward gain a
 * fifth up to NEAR elements, which lie in the second cache with what is written, and lose a tenth beyond. */
enum { SIDE = 4, FORWARD_BF16 = 4, FORWARD_F32 = 2, BACKWARD_BF16 = 2, BACKWARD_F32 = 1, NEAR = 1 << 17 };

/* 32 elements from the i-th on, or the first few; those beyond become 0 and stay as they are. */
TN_INLINE void wide_load(bool bf16, __mmask32 lanes, const void *x, int64_t i, __m512 v[2])
{
    if (bf16) {
        tn_wide_pair_(lanes, (const tn_bf16 *)x + i, v);
        return;
    }
    v[0] = _mm512_maskz_loadu_ps((__mmask16)lanes, (const float *)x + i);
    v[1] = _mm512_maskz_loadu_ps((__mmask16)(lanes >> 16), (const float *)x + i + 16);
}
TN_INLINE void wide_store(bool bf16, __mmask32 lanes, const __m512 v[2], void *y, int64_t i)
{
    if (bf16) {
        tn_narrow_pair_((tn_bf16 *)y + i, lanes, v);
        return;
    }
    _mm512_mask_storeu_ps((float *)y + i, (__mmask16)lanes, v[0]);
    _mm512_mask_storeu_ps((float *)y + i + 16, (__mmask16)(lanes >> 16), v[1]);
}
/* Row r of such an array. */
TN_INLINE const void *wide_row(bool bf16, const void *x, int64_t r, int64_t m) { return (const char *)x + r * m * (bf16 ? 2 : 4); }

/* ---- forward -------------------------------------------------------------------------------------------------------------- */

/* Four vectors' sums, one to a lane, each added up in the same order. */
TN_INLINE __m256d wide_fold(const __m512 *v)
{
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    const __m512d p = _mm512_castps_pd(a), q = _mm512_castps_pd(b);
    const __m512 c = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(p, q)), _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)));
    const __m256 d = _mm256_add_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1));
    return _mm256_cvtps_pd(_mm_add_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1)));
}
/* Lane r in all lanes of the r-th vector. */
TN_INLINE void wide_spread(__m256d x, __m512 *each)
{
    const __m512 four = _mm512_broadcast_f32x4(_mm256_cvtpd_ps(x));
    each[0] = _mm512_permute_ps(four, 0x00);
    each[1] = _mm512_permute_ps(four, 0x55);
    each[2] = _mm512_permute_ps(four, 0xaa);
    each[3] = _mm512_permute_ps(four, 0xff);
}

/* The sums of 32 elements' x, or of the squares of x - mean where `square`, are added. */
TN_INLINE void wide_add(bool bf16, bool square, bool centre, __mmask32 lanes, const void *x, int64_t i, __m512 mean, __m512 sum[2])
{
    __m512 v[2];
    wide_load(bf16, lanes, x, i, v);
    TN_UNROLL
    for (int h = 0; h < 2; h++) {
        if (square && centre)
            v[h] = _mm512_maskz_sub_ps((__mmask16)(lanes >> 16 * h), v[h], mean);
        sum[h] = square ? _mm512_fmadd_ps(v[h], v[h], sum[h]) : _mm512_add_ps(sum[h], v[h]);
    }
}
/* Of `count` rows. */
TN_INLINE __m256d wide_sums(bool bf16, bool square, bool centre, int count, const tn_norm *f, int64_t row, const __m512 *mean)
{
    __m256d total = _mm256_setzero_pd();
    for (int64_t begin = 0; begin < f->c; begin += BLOCK) {
        const int64_t end = tn_min_i64(begin + BLOCK, f->c);
        __m512 sums[SIDE] = {{0}};
        TN_UNROLL
        for (int r = 0; r < count; r++) {
            const void *x = wide_row(bf16, f->x, row + r, f->c);
            __m512 sum[4] = {{0}};
            int64_t i = begin;
            for (; i + 64 <= end; i += 64) {
                wide_add(bf16, square, centre, 0xffffffff, x, i, mean[r], sum);
                wide_add(bf16, square, centre, 0xffffffff, x, i + 32, mean[r], sum + 2);
            }
            for (; i < end; i += 32)
                wide_add(bf16, square, centre, tn_first32_(end - i), x, i, mean[r], sum);
            sums[r] = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
        }
        total = _mm256_add_pd(total, wide_fold(sums));
    }
    return total;
}

/* y's 32 elements from the j-th on of `count` rows. */
TN_INLINE void wide_write(bool bf16, bool centre, int count, const tn_norm *f, int64_t row, int64_t j, __mmask32 lanes, const __m512 *mean,
                          const __m512 *rstd)
{
    __m512 w[2] = {{0}}, b[2] = {{0}};
    if (f->weight)
        wide_load(false, lanes, f->weight, j, w);
    if (f->bias)
        wide_load(false, lanes, f->bias, j, b);
    TN_UNROLL
    for (int r = 0; r < count; r++) {
        __m512 v[2];
        wide_load(bf16, lanes, wide_row(bf16, f->x, row + r, f->c), j, v);
        TN_UNROLL
        for (int h = 0; h < 2; h++) {
            v[h] = _mm512_mul_ps(centre ? _mm512_sub_ps(v[h], mean[r]) : v[h], rstd[r]);
            if (f->weight && f->bias)
                v[h] = _mm512_fmadd_ps(v[h], w[h], b[h]);
            else if (f->weight)
                v[h] = _mm512_mul_ps(v[h], w[h]);
            else if (f->bias)
                v[h] = _mm512_add_ps(v[h], b[h]);
        }
        wide_store(bf16, lanes, v, (void *)(uintptr_t)wide_row(bf16, f->y, row + r, f->c), j);
    }
}

/* Groups of `count` rows. A group's first sums are taken before the group above is written, so that reading it and its sums' ends run beside that. */
TN_INLINE void wide_groups_forward(bool bf16, bool centre, int count, const tn_norm *f, int64_t row, int64_t end)
{
    const __m256d m = _mm256_set1_pd((double)f->c);
    const __mmask8 rows = (__mmask8)((1 << count) - 1);
    __m512 about[SIDE] = {{0}}, scale[SIDE];
    __m256d mean = _mm256_setzero_pd(), sums = wide_sums(bf16, !centre, centre, count, f, row, about);
    for (; row < end; row += count) {
        if (centre) {
            mean = _mm256_div_pd(sums, m);
            wide_spread(mean, about);
            sums = wide_sums(bf16, true, centre, count, f, row, about);
        }
        const __m256d var = _mm256_div_pd(sums, m);
        const __m256d rstd = _mm256_div_pd(_mm256_set1_pd(1), _mm256_sqrt_pd(_mm256_add_pd(var, _mm256_set1_pd(f->eps))));
        _mm256_mask_storeu_pd(f->mean + row, rows, mean);
        _mm256_mask_storeu_pd(f->var + row, rows, var);
        _mm256_mask_storeu_pd(f->rstd + row, rows, rstd);
        wide_spread(rstd, scale);
        if (row + count < end)
            sums = wide_sums(bf16, !centre, centre, count, f, row + count, about);
        int64_t j = 0;
        for (; j + 32 <= f->c; j += 32)
            wide_write(bf16, centre, count, f, row, j, 0xffffffff, about, scale);
        if (j < f->c)
            wide_write(bf16, centre, count, f, row, j, tn_first32_(f->c - j), about, scale);
    }
}
TN_INLINE void wide_forward(bool bf16, bool centre, const tn_norm *whole, int64_t begin, int64_t end)
{
    const tn_norm f = *whole; /* which no store to y can change */
    const int side = bf16 ? FORWARD_BF16 : FORWARD_F32;
    const int64_t rest = bf16 || f.n * f.c <= NEAR ? begin + (end - begin) / side * side : begin;
    if (begin < rest)
        wide_groups_forward(bf16, centre, side, &f, begin, rest);
    if (rest < end)
        wide_groups_forward(bf16, centre, 1, &f, rest, end);
}
static void rows_forward_wide(int64_t begin, int64_t end, void *context)
{
    const tn_norm *f = ((const norm_task *)context)->f;
    if (f->held)
        f->centre ? wide_forward(true, true, f, begin, end) : wide_forward(true, false, f, begin, end);
    else
        f->centre ? wide_forward(false, true, f, begin, end) : wide_forward(false, false, f, begin, end);
}

/* ---- backward ------------------------------------------------------------------------------------------------------------- */

/* The sums of 32 elements' g = dy w, where `centre`, and g (x - mean) are added. */
TN_INLINE void wide_add_products(bool bf16, bool centre, __mmask32 lanes, const void *x, const void *dy, const float *w, int64_t j, __m512 mean,
                                 __m512 g[2], __m512 gx[2])
{
    __m512 a[2], b[2], c[2];
    wide_load(bf16, lanes, x, j, a);
    wide_load(bf16, lanes, dy, j, b); /* 0 beyond the row, as the products are therefore */
    if (w)
        wide_load(false, lanes, w, j, c);
    TN_UNROLL
    for (int h = 0; h < 2; h++) {
        b[h] = w ? _mm512_mul_ps(b[h], c[h]) : b[h];
        if (centre)
            g[h] = _mm512_add_ps(g[h], b[h]);
        gx[h] = _mm512_fmadd_ps(b[h], centre ? _mm512_sub_ps(a[h], mean) : a[h], gx[h]);
    }
}
/* Of `count` rows. */
TN_INLINE void wide_products(bool bf16, bool centre, int count, const tn_norm *f, int64_t row, const __m512 *mean, __m256d *of_g, __m256d *of_gx)
{
    for (int64_t begin = 0; begin < f->c; begin += BLOCK) {
        const int64_t end = tn_min_i64(begin + BLOCK, f->c);
        __m512 g[SIDE] = {{0}}, gx[SIDE] = {{0}};
        TN_UNROLL
        for (int r = 0; r < count; r++) {
            const void *x = wide_row(bf16, f->x, row + r, f->c), *dy = wide_row(bf16, f->dy, row + r, f->c);
            __m512 a[4] = {{0}}, b[4] = {{0}};
            int64_t j = begin;
            for (; j + 64 <= end; j += 64) {
                wide_add_products(bf16, centre, 0xffffffff, x, dy, f->weight, j, mean[r], a, b);
                wide_add_products(bf16, centre, 0xffffffff, x, dy, f->weight, j + 32, mean[r], a + 2, b + 2);
            }
            for (; j < end; j += 32)
                wide_add_products(bf16, centre, tn_first32_(end - j), x, dy, f->weight, j, mean[r], a, b);
            g[r] = _mm512_add_ps(_mm512_add_ps(a[0], a[1]), _mm512_add_ps(a[2], a[3]));
            gx[r] = _mm512_add_ps(_mm512_add_ps(b[0], b[1]), _mm512_add_ps(b[2], b[3]));
        }
        *of_g = centre ? _mm256_add_pd(*of_g, wide_fold(g)) : *of_g;
        *of_gx = _mm256_add_pd(*of_gx, wide_fold(gx));
    }
}

/* What `count` rows share in writing: of each its mean, rstd, and what is taken off g and off it for each x - mean. */
typedef struct wide_slopes {
    __m512 mean[SIDE], rstd[SIDE], shift[SIDE], slope[SIDE];
} wide_slopes;

/* 32 elements of dx, where it is asked for, and what they give to the parameters' gradients. */
TN_INLINE void wide_write_slopes(bool bf16, bool centre, int count, const tn_norm *f, int64_t row, int64_t j, __mmask32 lanes,
                                 const wide_slopes *s, float *dw, float *db)
{
    __m512 w[2] = {{0}}, of_w[2] = {{0}}, of_b[2] = {{0}};
    if (f->weight)
        wide_load(false, lanes, f->weight, j, w);
    if (dw)
        wide_load(false, lanes, dw, j, of_w);
    if (db)
        wide_load(false, lanes, db, j, of_b);
    TN_UNROLL
    for (int r = 0; r < count; r++) {
        __m512 x[2], dy[2];
        wide_load(bf16, lanes, wide_row(bf16, f->x, row + r, f->c), j, x);
        wide_load(bf16, lanes, wide_row(bf16, f->dy, row + r, f->c), j, dy);
        TN_UNROLL
        for (int h = 0; h < 2; h++) {
            x[h] = centre ? _mm512_sub_ps(x[h], s->mean[r]) : x[h];
            if (dw)
                of_w[h] = _mm512_fmadd_ps(dy[h], _mm512_mul_ps(x[h], s->rstd[r]), of_w[h]);
            if (db)
                of_b[h] = _mm512_add_ps(of_b[h], dy[h]);
            const __m512 g = f->weight ? _mm512_mul_ps(dy[h], w[h]) : dy[h];
            dy[h] = _mm512_mul_ps(_mm512_fnmadd_ps(x[h], s->slope[r], centre ? _mm512_sub_ps(g, s->shift[r]) : g), s->rstd[r]);
        }
        if (f->dx)
            wide_store(bf16, lanes, dy, (void *)(uintptr_t)wide_row(bf16, f->dx, row + r, f->c), j);
    }
    if (dw)
        wide_store(false, lanes, of_w, dw, j);
    if (db)
        wide_store(false, lanes, of_b, db, j);
}

TN_INLINE void wide_rows_backward(bool bf16, bool centre, int count, const tn_norm *f, int64_t row, float *dw, float *db)
{
    const __mmask8 rows = (__mmask8)((1 << count) - 1);
    const __m256d m = _mm256_set1_pd((double)f->c), rstd = _mm256_maskz_loadu_pd(rows, f->rstd + row);
    __m256d of_g = _mm256_setzero_pd(), of_gx = of_g;
    wide_slopes s;
    wide_spread(_mm256_maskz_loadu_pd(rows, f->mean + row), s.mean);
    if (f->dx)
        wide_products(bf16, centre, count, f, row, s.mean, &of_g, &of_gx);
    wide_spread(rstd, s.rstd);
    wide_spread(_mm256_div_pd(of_g, m), s.shift);
    wide_spread(_mm256_div_pd(_mm256_mul_pd(of_gx, _mm256_mul_pd(rstd, rstd)), m), s.slope);
    int64_t j = 0;
    for (; j + 32 <= f->c; j += 32)
        wide_write_slopes(bf16, centre, count, f, row, j, 0xffffffff, &s, dw, db);
    if (j < f->c)
        wide_write_slopes(bf16, centre, count, f, row, j, tn_first32_(f->c - j), &s, dw, db);
}

/* A chunk's rows; own is [2, c]. */
TN_INLINE void wide_backward(bool bf16, bool centre, const tn_norm *whole, int64_t begin, int64_t end, float *own)
{
    const tn_norm f = *whole; /* which no store to dx can change */
    float *dw = f.dweight ? own : NULL, *db = f.dbias ? own + f.c : NULL;
    int64_t row = begin;
    const int side = bf16 ? BACKWARD_BF16 : BACKWARD_F32;
    for (; row + side <= end; row += side)
        wide_rows_backward(bf16, centre, side, &f, row, dw, db);
    for (; row < end; row++)
        wide_rows_backward(bf16, centre, 1, &f, row, dw, db);
}
static void rows_backward_wide(int64_t begin, int64_t end, void *context)
{
    const norm_task *task = context;
    const tn_norm *f = task->f;
    for (int64_t k = begin; k < end; k++) {
        float *own = (float *)task->scratch + k * 2 * f->c;
        const int64_t first = k * task->chunk, last = tn_min_i64(first + task->chunk, f->n);
        memset(own, 0, (size_t)(2 * f->c) * sizeof(float));
        if (f->held)
            f->centre ? wide_backward(true, true, f, first, last, own) : wide_backward(true, false, f, first, last, own);
        else
            f->centre ? wide_backward(false, true, f, first, last, own) : wide_backward(false, false, f, first, last, own);
    }
}
#endif
