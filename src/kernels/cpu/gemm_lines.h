/* Lines along k side by side, with vectors of eight floats, included by gemm.c: the six of a panel of a at once, of b eight. Four at a time, as
 * gemm_template.h has them for every type, would leave two of six to be packed one element after the other, which took as long as all else of
 * packing. */

/* dst[p * 6 + i] = src[i * across + p]. Two lines are zipped to pairs, and three pairs are half of what eight steps store. */
static void six_lines(float *restrict dst, const float *restrict src, int64_t k, int64_t across)
{
    int64_t p = 0;
    for (; p + 8 <= k; p += 8, dst += 48) {
        vec_f32 low[3], high[3], part[6]; /* steps 0, 1 and 4, 5 of two lines; 2, 3 and 6, 7 */
        UNROLL
        for (int i = 0; i < 3; i++) {
            const vec_f32 even = *(const vec_f32 *)(src + 2 * i * across + p), odd = *(const vec_f32 *)(src + (2 * i + 1) * across + p);
            low[i] = __builtin_shufflevector(even, odd, 0, 8, 1, 9, 4, 12, 5, 13);
            high[i] = __builtin_shufflevector(even, odd, 2, 10, 3, 11, 6, 14, 7, 15);
        }
        part[0] = __builtin_shufflevector(low[0], low[1], 0, 1, 8, 9, 4, 5, 12, 13);
        part[1] = __builtin_shufflevector(low[2], low[0], 0, 1, 10, 11, 4, 5, 14, 15);
        part[2] = __builtin_shufflevector(low[1], low[2], 2, 3, 10, 11, 6, 7, 14, 15);
        part[3] = __builtin_shufflevector(high[0], high[1], 0, 1, 8, 9, 4, 5, 12, 13);
        part[4] = __builtin_shufflevector(high[2], high[0], 0, 1, 10, 11, 4, 5, 14, 15);
        part[5] = __builtin_shufflevector(high[1], high[2], 2, 3, 10, 11, 6, 7, 14, 15);
        UNROLL
        for (int i = 0; i < 3; i++) {
            *(vec_f32 *)(dst + 8 * i) = __builtin_shufflevector(part[2 * i], part[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11);
            *(vec_f32 *)(dst + 24 + 8 * i) = __builtin_shufflevector(part[2 * i], part[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15);
        }
    }
    for (; p < k; p++, dst += 6)
        for (int i = 0; i < 6; i++)
            dst[i] = src[i * across + p];
}

/* dst[p * width + i] = src[i * across + p] for i < 8: four lines in each half of a vector. */
static void eight_lines(float *restrict dst, int width, const float *restrict src, int64_t k, int64_t across)
{
    int64_t p = 0;
    for (; p + 4 <= k; p += 4, dst += 4 * width) {
        vec_f32 line[4];
        UNROLL
        for (int i = 0; i < 4; i++) {
            const vec4_f32 low = *(const vec4_f32 *)(src + i * across + p), high = *(const vec4_f32 *)(src + (i + 4) * across + p);
            line[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
        }
        const vec_f32 low01 = __builtin_shufflevector(line[0], line[1], 0, 8, 1, 9, 4, 12, 5, 13),
                      high01 = __builtin_shufflevector(line[0], line[1], 2, 10, 3, 11, 6, 14, 7, 15);
        const vec_f32 low23 = __builtin_shufflevector(line[2], line[3], 0, 8, 1, 9, 4, 12, 5, 13),
                      high23 = __builtin_shufflevector(line[2], line[3], 2, 10, 3, 11, 6, 14, 7, 15);
        *(vec_f32 *)dst = __builtin_shufflevector(low01, low23, 0, 1, 8, 9, 4, 5, 12, 13);
        *(vec_f32 *)(dst + width) = __builtin_shufflevector(low01, low23, 2, 3, 10, 11, 6, 7, 14, 15);
        *(vec_f32 *)(dst + 2 * width) = __builtin_shufflevector(high01, high23, 0, 1, 8, 9, 4, 5, 12, 13);
        *(vec_f32 *)(dst + 3 * width) = __builtin_shufflevector(high01, high23, 2, 3, 10, 11, 6, 7, 14, 15);
    }
    for (; p < k; p++, dst += width)
        for (int i = 0; i < 8; i++)
            dst[i] = src[i * across + p];
}

/* As many of the lines as can be taken so; how many they are. */
static int lines_f32(float *restrict dst, int width, const float *restrict src, int count, int64_t k, int64_t across)
{
    int i = 0;
    if (width == 6 && count == 6) {
        six_lines(dst, src, k, across);
        return 6;
    }
    for (; i + 8 <= count; i += 8)
        eight_lines(dst + i, width, src + i * across, k, across);
    return i;
}
