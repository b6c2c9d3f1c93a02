/* The products of winograd.c, included once for each way to multiply: floats, and pairs of bf16 in the bits of a float. The includer defines
 * NAME(x); STEP(a, b, c), which is c + a b, of pairs the sum of both products; and TARGET, the attribute of what uses it. They end here. */

/* m[r][0 ... LANES * vectors) = the sum over k of u[k][r] v[k][...] */
TARGET TN_INLINE void NAME(product_block)(int rows, int vectors, int64_t k, const float *u, const float *v, float *m, int64_t pitch)
{
    vec acc[ROWS * VECTORS];
    TN_UNROLL for (int i = 0; i < rows * vectors; i++)
        acc[i] = V(setzero_ps)();
    for (; k > 0; k--, u += rows, v += pitch) {
        vec x[VECTORS];
        TN_UNROLL for (int i = 0; i < vectors; i++)
            x[i] = V(load_ps)(v + LANES * i);
        TN_UNROLL for (int r = 0; r < rows; r++) {
            const vec a = V(set1_ps)(u[r]);
            TN_UNROLL for (int i = 0; i < vectors; i++)
                acc[r * vectors + i] = STEP(x[i], a, acc[r * vectors + i]);
        }
    }
    TN_UNROLL for (int r = 0; r < rows; r++) {
        TN_UNROLL for (int i = 0; i < vectors; i++)
            V(store_ps)(m + r * pitch + LANES * i, acc[r * vectors + i]);
    }
}

#define PRODUCT(rows)                                                                                                         \
    TARGET static void NAME(product_##rows)(int vectors, int64_t k, const float *u, const float *v, float *m, int64_t pitch)  \
    {                                                                                                                         \
        if (vectors == 3 && VECTORS == 3)                                                                                     \
            NAME(product_block)(rows, 3, k, u, v, m, pitch);                                                                  \
        else if (vectors == 2)                                                                                                \
            NAME(product_block)(rows, 2, k, u, v, m, pitch);                                                                  \
        else                                                                                                                  \
            NAME(product_block)(rows, 1, k, u, v, m, pitch);                                                                  \
    }
/* What four rows and more are evenly cut into. */
#if defined(__AVX512F__)
#define EACH_HEIGHT(X) X(4) X(5) X(6) X(7) X(8)
#else
#define EACH_HEIGHT(X) X(3) X(4) X(5) X(6)
#endif
EACH_HEIGHT(PRODUCT)
#undef PRODUCT
#define PRODUCT(rows) [rows] = NAME(product_##rows),
static void (*const NAME(product_of)[])(int, int64_t, const float *, const float *, float *, int64_t) = {EACH_HEIGHT(PRODUCT)};
#undef PRODUCT
#undef EACH_HEIGHT

/* sums[r][c] += the sum over `vectors` of dy[r] x[c], for 4 outputs and INPUTS inputs; where there are fewer, the last one again. */
TARGET static void NAME(dots)(int64_t vectors, const float *dy, int64_t outputs, const float *x, int64_t inputs, int64_t pitch, float *sums)
{
    vec acc[4 * INPUTS];
    const float *rows[4], *cols[INPUTS];
    TN_UNROLL for (int i = 0; i < 4; i++)
        rows[i] = dy + tn_min_i64(i, outputs - 1) * pitch;
    TN_UNROLL for (int i = 0; i < INPUTS; i++)
        cols[i] = x + tn_min_i64(i, inputs - 1) * pitch;
    TN_UNROLL for (int i = 0; i < 4 * INPUTS; i++)
        acc[i] = V(setzero_ps)();
    for (int64_t at = 0; at < LANES * vectors; at += LANES) {
        vec b[INPUTS];
        TN_UNROLL for (int i = 0; i < INPUTS; i++)
            b[i] = V(load_ps)(cols[i] + at);
        TN_UNROLL for (int r = 0; r < 4; r++) {
            const vec a = V(load_ps)(rows[r] + at);
            TN_UNROLL for (int i = 0; i < INPUTS; i++)
                acc[INPUTS * r + i] = STEP(a, b[i], acc[INPUTS * r + i]);
        }
    }
    add_sums(sums, acc);
}

#undef NAME
#undef STEP
#undef TARGET
