/* Functions of math.h for sixteen floats, with what AVX-512 has beyond plain C: conversions and masks in the place of clamps, and tables that one
 * instruction reads. Multiplications bound them (one vector a cycle on Zen 4; loads, sums and integers run beside them), and are counted. */
#ifndef TN_MATH_AVX512_H
#define TN_MATH_AVX512_H

#if defined(__AVX512F__)
#include <immintrin.h>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/math.h"

#define TN_ALL_(x) _mm512_set1_ps(x)

/* exp(x) = t + t p for |x| < 87.3, with 7 multiplications: x = n ln 2 / 16 + r, t = 2^(n / 16) and p = exp(r) - 1. A power is sought by the low
 * bits j of n, and n itself added to its exponent: the table has 2^(j / 16) in bits, less j 2^19. NaN in x is in p. */
static const uint32_t tn_sixteenths_[16] __attribute__((unused)) = {0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
    0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
TN_INLINE_ __m512 tn_split_exp_v_(__m512 x, __m512 *p)
{
    const __m512 rounder = TN_ALL_(TN_ROUNDER_), shifted = _mm512_fmadd_ps(x, TN_ALL_(23.0831207f), rounder), n = _mm512_sub_ps(shifted, rounder);
    const __m512 r = _mm512_fnmadd_ps(n, TN_ALL_(TN_LN2_LO_ / 16), _mm512_fnmadd_ps(n, TN_ALL_(TN_LN2_HI_ / 16), x));
    const __m512i bits = _mm512_castps_si512(shifted); /* the rounder's own are shifted out */
    const __m512i t = _mm512_permutexvar_epi32(bits, _mm512_loadu_si512(tn_sixteenths_));
    *p = _mm512_mul_ps(r, _mm512_fmadd_ps(r, _mm512_fmadd_ps(r, TN_ALL_(0.166670297f), TN_ALL_(0.500016250f)), TN_ALL_(1.0f)));
    return _mm512_castsi512_ps(_mm512_add_epi32(t, _mm512_slli_epi32(bits, 19)));
}

/* exp(x) for x <= 0; 0 below -87.3. */
TN_INLINE_ __m512 tn_exp_minus_v_(__m512 x)
{
    __m512 p;
    const __m512 t = tn_split_exp_v_(x, &p);
    return _mm512_maskz_fmadd_ps(_mm512_cmp_ps_mask(x, TN_ALL_(-87.3f), _CMP_NLT_UQ), t, p, t);
}

/* A lane's bits do not depend on the others, so that vectors may begin anywhere. */
TN_INLINE_ __m512 tn_exp_v_(__m512 x)
{
    __m512 p;
    const __m512 t = tn_split_exp_v_(x, &p);
    const __mmask16 far = _mm512_cmp_ps_mask(_mm512_abs_ps(x), TN_ALL_(87.3f), _CMP_GT_OQ);
    if (__builtin_expect(far == 0, 1))
        return _mm512_fmadd_ps(t, p, t);
    float lane[16];
    _mm512_storeu_ps(lane, x);
    for (int i = 0; i < 16; i++)
        lane[i] = tn_exp_f32_(lane[i]);
    return _mm512_mask_loadu_ps(_mm512_fmadd_ps(t, p, t), far, lane);
}

/* 1 / (1 + exp(-x)) or, below 0, exp(x) / (1 + exp(x)): by a reciprocal of 14 bits, and what the quotient then lacks, for what the sum was
 * rounded by too. */
TN_INLINE_ __m512 tn_sigmoid_v_(__m512 x)
{
    const __m512 one = TN_ALL_(1.0f), e = tn_exp_v_(_mm512_or_ps(x, TN_ALL_(-0.0f))), d = _mm512_add_ps(e, one), near = _mm512_rcp14_ps(d);
    const __m512 above = _mm512_mask_mov_ps(one, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), e), s = _mm512_mul_ps(above, near);
    const __m512 rest = _mm512_sub_ps(e, _mm512_sub_ps(d, one));
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(rest, s, _mm512_fnmadd_ps(d, s, above)), near, s);
}
TN_INLINE_ __m512 tn_silu_v_(__m512 x) { return _mm512_mul_ps(x, tn_sigmoid_v_(x)); }
TN_INLINE_ __m512 tn_silu_slope_v_(__m512 x)
{
    const __m512 s = tn_sigmoid_v_(x);
    return _mm512_mul_ps(s, _mm512_fmadd_ps(x, _mm512_sub_ps(TN_ALL_(1.0f), s), TN_ALL_(1.0f)));
}

/* Of a = |x| polynomials of degree 5 about 0, 0.4, 0.8, ... 5.6: least squares at Chebyshev's points of a normal's upper tail Q(a), of a Q(a) and
 * of Q(a) - a exp(-a^2 / 2) / sqrt(2 pi); from 5.8 on nothing, which infinity makes NaN. Absolute errors are 3e-8 and 5e-8 (1.1e-7 at 5.8). */
typedef float tn_sixteen_[16];
TN_INLINE_ __m512 tn_pieces_v_(__m512 x, const tn_sixteen_ *c)
{
    const __m512 a = _mm512_abs_ps(x), rounder = TN_ALL_(TN_ROUNDER_), t = _mm512_fmadd_ps(_mm512_min_ps(TN_ALL_(6.1f), a), TN_ALL_(2.5f), rounder);
    const __m512 u = _mm512_fnmadd_ps(_mm512_sub_ps(t, rounder), TN_ALL_(0.4f), a);
    const __m512i piece = _mm512_castps_si512(t); /* its low bits */
    __m512 p = _mm512_permutexvar_ps(piece, _mm512_loadu_ps(c[5]));
    for (int i = 4; i >= 0; i--)
        p = _mm512_fmadd_ps(p, u, _mm512_permutexvar_ps(piece, _mm512_loadu_ps(c[i])));
    return p;
}
static const tn_sixteen_ tn_gelu_pieces_[6] __attribute__((unused)) = {
    {0, 0.137831293f, 0.169484325f, 0.138083618f, 0.0876788742f, 0.045500263f, 0.0196740823f, 0.0071543623f, 0.00219884073f, 0.000572791143f,
     0.000126685263f, 2.38153481e-05f, 3.80802948e-06f, 5.18164427e-07f, 6.00214317e-08f, 0},
    {0.5f, 0.197270223f, -0.019897826f, -0.117953597f, -0.122674055f, -0.0852318089f, -0.0455493371f, -0.0196081314f, -0.00694194245f,
     -0.0020437379f, -0.000503649794f, -0.000104334499f, -1.82209892e-05f, -2.6881202e-06f, -3.35515352e-07f, 0},
    {-0.398936243f, -0.338803839f, -0.196993242f, -0.0543781796f, 0.0310544457f, 0.0539913521f, 0.0421034935f, 0.0231143019f, 0.00982274455f,
     0.00335312392f, 0.000936678641f, 0.000216430975f, 4.16484348e-05f, 6.70561029e-06f, 9.06294914e-07f, 0},
    {0, 0.0942730083f, 0.129778286f, 0.0994234403f, 0.0425958984f, 1.5557759e-06f, -0.0157656892f, -0.0141850308f, -0.00793461714f,
     -0.00328967645f, -0.00107061511f, -0.00028091806f, -6.0322178e-05f, -1.06997032e-05f, -1.57755714e-06f, 0},
    {0.0659612093f, 0.0442721189f, -0.000650078553f, -0.0320097739f, -0.0338193329f, -0.0180230146f, -0.00305086551f, 0.00341233298f, 0.0036730995f,
     0.00207794919f, 0.000834158299f, 0.000257485395f, 6.32833668e-05f, 1.26193637e-05f, 2.06543901e-06f, 0},
    {0, -0.0197593289f, -0.021781091f, -0.00823021616f, 0.00521853431f, 0.008920656f, 0.00545345683f, 0.00127832999f, -0.000631006113f,
     -0.000792155941f, -0.000438522013f, -0.000166181003f, -4.7622789e-05f, -1.07540769e-05f, -1.95575707e-06f, 0}};
static const tn_sixteen_ tn_gelu_slope_pieces_[6] __attribute__((unused)) = {
    {0.5f, 0.197270244f, -0.0198978084f, -0.117953598f, -0.122674067f, -0.0852318166f, -0.0455493374f, -0.0196081287f, -0.00694194059f,
     -0.00204373744f, -0.000503649926f, -0.000104334669f, -1.82210709e-05f, -2.68814637e-06f, -3.35521577e-07f, 0},
    {-0.797884495f, -0.677617032f, -0.393980549f, -0.108744235f, 0.0621156612f, 0.107981952f, 0.0842034483f, 0.0462262385f, 0.0196448829f,
     0.00670644258f, 0.0018736226f, 0.000433001487f, 8.33459301e-05f, 1.34241173e-05f, 1.81524166e-06f, 0},
    {0, 0.282812828f, 0.389329577f, 0.298270582f, 0.127791128f, 6.99800366e-06f, -0.0472969726f, -0.0425559013f, -0.0238044085f, -0.00986916772f,
     -0.00321180576f, -0.00084270336f, -0.000180942f, -3.2091259e-05f, -4.73080397e-06f, 0},
    {0.265948332f, 0.178335742f, -0.00339165256f, -0.129655643f, -0.13617997f, -0.0719918139f, -0.0117316481f, 0.0139647195f, 0.0147732277f,
     0.00828583017f, 0.00330125766f, 0.00101133673f, 0.000246592073f, 4.87578909e-05f, 7.90817807e-06f, 0},
    {0, -0.0985900768f, -0.108729454f, -0.0411597926f, 0.0259782529f, 0.0445255908f, 0.0272641183f, 0.00641860967f, -0.00313645987f,
     -0.00395616766f, -0.00219392857f, -0.000832599004f, -0.000238931751f, -5.40320768e-05f, -9.84103394e-06f, 0},
    {-0.0591805753f, -0.031181645f, 0.0197834586f, 0.0404136948f, 0.0225659608f, -0.00250611267f, -0.011795349f, -0.00788468966f, -0.00202074234f,
     0.000649164779f, 0.000884388373f, 0.000465121342f, 0.000163534867f, 4.29890967e-05f, 8.83944947e-06f, 0}};

/* x cdf(x) = max(x, 0) - |x| Q(|x|), of infinity itself, and its slope, which is 1 - s(|x|) or, below 0, s. */
TN_INLINE_ __m512 tn_gelu_v_(__m512 x)
{
    const __m512 y = _mm512_max_ps(_mm512_setzero_ps(), x);
    return _mm512_mask_sub_ps(y, _mm512_cmp_ps_mask(x, TN_ALL_(6.0f), _CMP_NGT_UQ), y, tn_pieces_v_(x, tn_gelu_pieces_));
}
TN_INLINE_ __m512 tn_gelu_slope_v_(__m512 x)
{
    const __m512 s = tn_pieces_v_(x, tn_gelu_slope_pieces_);
    return _mm512_mask_sub_ps(s, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NLT_UQ), TN_ALL_(1.0f), s);
}
#endif

#endif
