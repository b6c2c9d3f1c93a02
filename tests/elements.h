/* The kernels' elements of any dtype as doubles. */
#ifndef TN_TEST_ELEMENTS_H
#define TN_TEST_ELEMENTS_H

#include "drawn.h"
#include "kernels/kernels.h"

static inline const tn_kernels *k(void) { return tn_kernels_of(TN_CPU); }

static inline uint16_t half_of(double x) /* for small whole numbers and halves, exactly */
{
    if (x == 0) return 0;
    int e;
    double m = frexp(fabs(x), &e);
    return (uint16_t)((x < 0) << 15 | (e + 14) << 10 | (int)(m * 2048 - 1024));
}

static inline void put(tn_dtype dtype, void *data, int64_t i, double x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    switch (dtype) {
    case TN_F32: ((float *)data)[i] = f; break;
    case TN_F64: ((double *)data)[i] = x; break;
    case TN_F16: ((tn_f16 *)data)[i].bits = half_of(x); break;
    case TN_BF16: ((tn_bf16 *)data)[i].bits = (uint16_t)(bits >> 16); break;
    case TN_I64: ((int64_t *)data)[i] = (int64_t)x; break;
    case TN_I32: ((int32_t *)data)[i] = (int32_t)x; break;
    case TN_I16: ((int16_t *)data)[i] = (int16_t)x; break;
    case TN_I8: ((int8_t *)data)[i] = (int8_t)x; break;
    case TN_U8: ((uint8_t *)data)[i] = (uint8_t)x; break;
    default: ((bool *)data)[i] = x != 0;
    }
}

static inline double at(tn_dtype dtype, const void *data, int64_t i)
{
    uint32_t bits;
    float f;
    switch (dtype) {
    case TN_F32: return (double)((const float *)data)[i];
    case TN_F64: return ((const double *)data)[i];
    case TN_F16: {
        uint16_t h = ((const tn_f16 *)data)[i].bits;
        int e = h >> 10 & 31, m = h & 1023;
        double x = e == 31 ? (m ? (double)NAN : HUGE_VAL) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
        return h >> 15 ? -x : x;
    }
    case TN_BF16:
        bits = (uint32_t)((const tn_bf16 *)data)[i].bits << 16;
        memcpy(&f, &bits, 4);
        return (double)f;
    case TN_I64: return (double)((const int64_t *)data)[i];
    case TN_I32: return ((const int32_t *)data)[i];
    case TN_I16: return ((const int16_t *)data)[i];
    case TN_I8: return ((const int8_t *)data)[i];
    case TN_U8: return ((const uint8_t *)data)[i];
    default: return ((const bool *)data)[i];
    }
}

static inline bool is_float(tn_dtype d) { return d == TN_F32 || d == TN_F64 || d == TN_F16 || d == TN_BF16; }

/* A small whole number or a half that every dtype holds. */
static inline double element(tn_dtype dtype)
{
    int64_t i = (int64_t)(next() % 9);
    return dtype == TN_BOOL ? (double)(i % 2) : dtype == TN_U8 ? (double)i : is_float(dtype) ? (double)(i - 4) / 2 : (double)(i - 4);
}

#endif
