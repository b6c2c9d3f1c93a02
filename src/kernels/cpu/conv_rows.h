/* Rows of images, and the planes they are spread over, for one type of elements T (ROW(name) makes the names): floats, doubles, or 16-bit ones.
 *
 * All products of a convolution read an image that was spread over padded planes, in which every tap of the kernel is a constant distance
 * from the output's position: for stride 1 that is the padded image itself, for stride s there is a plane for each of the s * s phases (of narrow lines for each tap). So one
 * loop over distances serves any stride, padding and dilation, with whole vectors of neighbouring outputs, without unfolding the image (im2col). */

typedef T ROW(vec) __attribute__((vector_size(TN_VECTOR_BYTES)));
typedef T ROW(uvec) __attribute__((vector_size(TN_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
typedef T ROW(half) __attribute__((vector_size(TN_VECTOR_BYTES / 2), aligned(sizeof(T)), may_alias));
#define WIDTH ((int64_t)(TN_VECTOR_BYTES / sizeof(T)))
#define HALF (WIDTH / 2)
#define LOAD(p) (*(const ROW(uvec) *)(p))
#define STORE(p, v) (*(ROW(uvec) *)(p) = (v))

/* out[0 ... n) = in[0 ... n): rows are short, so that memcpy's own dispatch would cost as much as the copy. */
TN_INLINE void ROW(copy_row)(T *out, const T *in, int64_t n)
{
    if (n >= WIDTH) {
        for (int64_t i = 0; i + WIDTH <= n; i += WIDTH)
            STORE(out + i, LOAD(in + i));
        STORE(out + n - WIDTH, LOAD(in + n - WIDTH));
    } else if (n >= HALF) {
        *(ROW(half) *)out = *(const ROW(half) *)in;
        *(ROW(half) *)(out + n - HALF) = *(const ROW(half) *)(in + n - HALF);
    } else {
        for (int64_t i = 0; i < n; i++)
            out[i] = in[i];
    }
}

/* out[0 ... n) = in[0], in[stride], ... */
TN_INLINE void ROW(pick_row)(T *out, const T *in, int64_t stride, int64_t n)
{
    typedef T eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
    if (stride == 2 && n >= 8) {
        for (int64_t next = 0; next < n; next += 8) {
            int64_t i = tn_min_i64(next, n - 8);
            eight low = *(const eight *)(in + 2 * i), high = *(const eight *)(in + 2 * i + 7); /* to the last that is picked */
            *(eight *)(out + i) = __builtin_shufflevector(low, high, 0, 2, 4, 6, 9, 11, 13, 15);
        }
    } else {
        for (int64_t i = 0; i < n; i++)
            out[i] = in[i * stride];
    }
}

/* out[0 ... 2 n) = even[0], odd[0], even[1], odd[1], ... */
TN_INLINE void ROW(zip_row)(T *out, const T *even, const T *odd, int64_t n)
{
#if TN_VECTOR_BYTES != 32
    typedef T sixteen __attribute__((vector_size(16 * sizeof(T)), aligned(sizeof(T)), may_alias));
#endif
    typedef T eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
    for (int64_t next = 0; next < n && n >= 8; next += 8) {
        const int64_t i = tn_min_i64(next, n - 8);
        const eight a = *(const eight *)(even + i), b = *(const eight *)(odd + i);
#if TN_VECTOR_BYTES == 32 /* gcc takes what is wider than a vector apart */
        *(eight *)(out + 2 * i) = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
        *(eight *)(out + 2 * i + 8) = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
        *(sixteen *)(out + 2 * i) = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
#endif
    }
    for (int64_t i = 0; i < n && n < 8; i++)
        out[2 * i] = even[i], out[2 * i + 1] = odd[i];
}

/* even[0 ... n) = in[0], in[2], ... and odd[0 ... n) = in[1], in[3], ..., of each row; n is 8 at least, and ends overlap. A function of its
 * own, for the plans of its caller would take the loop's registers. */
static __attribute__((noinline)) void ROW(part_rows)(T *even, T *odd, int64_t pitch, const T *in, int64_t in_pitch, int64_t rows, int64_t n)
{
    typedef T eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
#if TN_VECTOR_BYTES == 32
    for (int64_t next = 0; next < n; next += 8) {
        const int64_t i = tn_min_i64(next, n - 8);
        for (int64_t row = 0; row < rows; row++) {
            const T *from = in + row * in_pitch + 2 * i;
            const eight low = *(const eight *)from, high = *(const eight *)(from + 8);
            __builtin_prefetch(from + rows * in_pitch); /* the next channel's, or near: the processor looks no further than a page */
            *(eight *)(even + row * pitch + i) = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
            *(eight *)(odd + row * pitch + i) = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
        }
    }
#else
    typedef T sixteen __attribute__((vector_size(16 * sizeof(T)), aligned(sizeof(T)), may_alias));
    for (int64_t next = 0; next < n && n < 16; next += 8) {
        const int64_t i = tn_min_i64(next, n - 8);
        for (int64_t row = 0; row < rows; row++) {
            const sixteen all = *(const sixteen *)(in + row * in_pitch + 2 * i);
            *(eight *)(even + row * pitch + i) = __builtin_shufflevector(all, all, 0, 2, 4, 6, 8, 10, 12, 14);
            *(eight *)(odd + row * pitch + i) = __builtin_shufflevector(all, all, 1, 3, 5, 7, 9, 11, 13, 15);
        }
    }
    for (int64_t next = 0; next < n && n >= 16; next += 16) {
        const int64_t i = tn_min_i64(next, n - 16);
        for (int64_t row = 0; row < rows; row++) {
            const sixteen low = *(const sixteen *)(in + row * in_pitch + 2 * i), high = *(const sixteen *)(in + row * in_pitch + 2 * i + 16);
            *(sixteen *)(even + row * pitch + i) = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            *(sixteen *)(odd + row * pitch + i) = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        }
    }
#endif
}

/* spread() where columns go in turn to two planes of one width, each whole vectors wide; else returns false. */
static __attribute__((noinline)) bool ROW(spread_phases)(T *out, const spread_plan *s, const T *in, int64_t channels)
{
    if (TN_VECTOR_BYTES < 32 || sizeof(T) == sizeof(double) || s->x.stride != 2 || s->x.phases != 2)
        return false;
    const span a = axis_span(&s->x, 0, s->w), b = axis_span(&s->x, 1, s->w);
    const int64_t n = a.end - a.begin, odd = 2 * a.begin + a.shift; /* the first column of the first plane */
    if (b.end - b.begin != n || n < 8 || odd + 2 * b.begin + b.shift != 1)
        return false;
    for (int64_t phase = 0; phase < s->y.phases; phase++) {
        const span r = axis_span(&s->y, phase, s->h);
        for (int64_t c = 0; c < channels; c++) {
            T *first = out + c * s->plane + (2 * phase * s->y.size + r.begin) * s->x.size + a.begin;
            T *second = first + s->y.size * s->x.size + b.begin - a.begin;
            const T *from = in + (c * s->h + r.begin * s->y.stride + r.shift) * s->w;
            ROW(part_rows)(odd ? second : first, odd ? first : second, s->x.size, from, s->y.stride * s->w, r.end - r.begin, n);
        }
    }
    return true;
}

/* spread() for fits_narrow(): of each line of 16 the columns that the three taps of 8 outputs take. */
static __attribute__((noinline)) void ROW(spread_narrow)(T *out, const spread_plan *s, const T *in, int64_t channels)
{
    typedef T sixteen __attribute__((vector_size(16 * sizeof(T)), aligned(sizeof(T)), may_alias));
    typedef T eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
    const int64_t tap = s->y.size * 8;
    for (int64_t phase = 0; phase < s->y.phases; phase++) {
        const span r = axis_span(&s->y, phase, s->h);
        for (int64_t c = 0; c < channels; c++) {
            T *to = out + c * s->plane + phase * 3 * tap;
            for (int64_t q = r.begin; q < r.end; q++) {
                const T *from = in + (c * s->h + q * s->y.stride + r.shift) * 16;
                const sixteen line = *(const sixteen *)from, none = {0};
                __builtin_prefetch(from + 4 * s->h * 16); /* four channels on: the next one would still be on its way */
                *(eight *)(to + q * 8) = __builtin_shufflevector(line, none, 16, 1, 3, 5, 7, 9, 11, 13);
                *(eight *)(to + tap + q * 8) = __builtin_shufflevector(line, none, 0, 2, 4, 6, 8, 10, 12, 14);
                *(eight *)(to + 2 * tap + q * 8) = __builtin_shufflevector(line, none, 1, 3, 5, 7, 9, 11, 13, 15);
            }
        }
    }
}

/* spread() of fits_narrow()'s gradient: its lines of 8 as they lie, and from their second column on. */
static __attribute__((noinline)) void ROW(spread_shifted)(T *out, const spread_plan *s, const T *in, int64_t channels)
{
    typedef T eight __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
    const span r = axis_span(&s->y, 0, s->h);
    for (int64_t c = 0; c < channels; c++)
        for (int64_t q = r.begin; q < r.end; q++) {
            const eight line = *(const eight *)(in + (c * s->h + q + r.shift) * 8), none = {0};
            T *to = out + c * s->plane + q * 8;
            *(eight *)to = line;
            *(eight *)(to + s->y.size * 8) = __builtin_shufflevector(line, none, 1, 2, 3, 4, 5, 6, 7, 8);
        }
}

/* Copies `channels` planes [h, w] into spread planes; what lies outside the image was set to zero before. */
static void ROW(spread)(T *out, const spread_plan *s, const T *in, int64_t channels)
{
    if (s->narrow) {
        (s->x.phases == 3 ? ROW(spread_narrow) : ROW(spread_shifted))(out, s, in, channels);
        return;
    }
    if (s->x.stride == 2 && ROW(spread_phases)(out, s, in, channels))
        return;
    for (int64_t phase = 0; phase < s->y.phases * s->x.phases; phase++) {
        span ry = axis_span(&s->y, phase / s->x.phases, s->h), rx = axis_span(&s->x, phase % s->x.phases, s->w);
        for (int64_t c = 0; c < channels; c++) {
            T *plane = out + c * s->plane + phase * s->y.size * s->x.size;
            for (int64_t q = ry.begin; q < ry.end; q++) {
                const T *from = in + (c * s->h + q * s->y.stride + ry.shift) * s->w + rx.begin * s->x.stride + rx.shift;
                T *to = plane + q * s->x.size + rx.begin;
                for (int64_t ahead = 0; ahead < s->w; ahead += 64 / (int64_t)sizeof(T)) /* planes are shorter than the processor looks */
                    __builtin_prefetch(from + s->h * s->w + ahead);
                if (s->x.stride == 1)
                    ROW(copy_row)(to, from, rx.end - rx.begin);
                else
                    ROW(pick_row)(to, from, s->x.stride, rx.end - rx.begin);
            }
        }
    }
}

#undef WIDTH
#undef HALF
#undef LOAD
#undef STORE
