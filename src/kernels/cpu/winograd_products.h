/* The products of winograd.c, included once for each way to multiply: floats, and pairs of bf16 in the bits of a float. The includer defines
 * NAME(x); STEP(a, b, c), which is c + a b, of pairs the sum of both products; and TARGET, the attribute of what uses it. They end here. */

/* m[r][0 ... 16 vectors) = the sum over k of u[k][r] v[k][...] */
TARGET TN_INLINE void NAME(product_block)(int rows, int vectors, int64_t k, const float *u, const float *v, float *m, int64_t pitch)
{
    __m512 acc[24];
    TN_UNROLL for (int i = 0; i < rows * vectors; i++)
        acc[i] = _mm512_setzero_ps();
    for (; k > 0; k--, u += rows, v += pitch) {
        __m512 x[3];
        TN_UNROLL for (int i = 0; i < vectors; i++)
            x[i] = _mm512_load_ps(v + 16 * i);
        TN_UNROLL for (int r = 0; r < rows; r++) {
            const __m512 a = _mm512_set1_ps(u[r]);
            TN_UNROLL for (int i = 0; i < vectors; i++)
                acc[r * vectors + i] = STEP(x[i], a, acc[r * vectors + i]);
        }
    }
    TN_UNROLL for (int r = 0; r < rows; r++) {
        TN_UNROLL for (int i = 0; i < vectors; i++)
            _mm512_store_ps(m + r * pitch + 16 * i, acc[r * vectors + i]);
    }
}

#define PRODUCT(rows)                                                                                                         \
    TARGET static void NAME(product_##rows)(int vectors, int64_t k, const float *u, const float *v, float *m, int64_t pitch)  \
    {                                                                                                                         \
        if (vectors == 3)                                                                                                     \
            NAME(product_block)(rows, 3, k, u, v, m, pitch);                                                                  \
        else if (vectors == 2)                                                                                                \
            NAME(product_block)(rows, 2, k, u, v, m, pitch);                                                                  \
        else                                                                                                                  \
            NAME(product_block)(rows, 1, k, u, v, m, pitch);                                                                  \
    }
PRODUCT(1)
PRODUCT(2)
PRODUCT(3)
PRODUCT(4)
PRODUCT(5)
PRODUCT(6)
PRODUCT(7)
PRODUCT(8)
#undef PRODUCT
static void (*const NAME(product_of)[])(int, int64_t, const float *, const float *, float *, int64_t) = {
    NULL,             NAME(product_1), NAME(product_2), NAME(product_3), NAME(product_4),
    NAME(product_5), NAME(product_6), NAME(product_7), NAME(product_8)};

/* sums[r][c] += the sum over `vectors` of dy[r] x[c], for 4 outputs and 4 inputs; where there are fewer, the last one again. */
TARGET static void NAME(dots)(int64_t vectors, const float *dy, int64_t outputs, const float *x, int64_t inputs, int64_t pitch, float *sums)
{
    __m512 acc[16];
    const float *rows[4], *cols[4];
    TN_UNROLL for (int i = 0; i < 4; i++) {
        rows[i] = dy + tn_min_i64(i, outputs - 1) * pitch;
        cols[i] = x + tn_min_i64(i, inputs - 1) * pitch;
    }
    TN_UNROLL for (int i = 0; i < 16; i++)
        acc[i] = _mm512_setzero_ps();
    for (int64_t at = 0; at < 16 * vectors; at += 16) {
        __m512 b[4];
        TN_UNROLL for (int i = 0; i < 4; i++)
            b[i] = _mm512_load_ps(cols[i] + at);
        TN_UNROLL for (int r = 0; r < 4; r++) {
            const __m512 a = _mm512_load_ps(rows[r] + at);
            TN_UNROLL for (int i = 0; i < 4; i++)
                acc[4 * r + i] = STEP(a, b[i], acc[4 * r + i]);
        }
    }
    _mm512_storeu_ps(sums, _mm512_loadu_ps(sums) + tn_sum_each_(acc));
}

#undef NAME
#undef STEP
#undef TARGET
