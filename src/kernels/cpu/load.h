/* Elements of any dtype to and from the few types that kernels reckon in: float for f32 and the 16-bit floats, double, int64_t for the
 * integers and bool. */
#ifndef TN_LOAD_H
#define TN_LOAD_H

#include "kernels/cpu/cpu.h"

/* n elements, stride bytes apart, into out. */
typedef void (*tn_load_fn)(const char *from, int64_t stride, int64_t n, void *out);

#define TN_LOADER_(name, from_type, to_type, convert)                                                                         \
    static inline void tn_load_##name(const char *restrict from, int64_t stride, int64_t n, void *restrict out)               \
    {                                                                                                                         \
        to_type *restrict to = out;                                                                                                   \
        const from_type *restrict packed = (const from_type *)(const void *)from;                                             \
        if (stride == (int64_t)sizeof(from_type))                                                                             \
            for (int64_t i = 0; i < n; i++)                                                                                   \
                to[i] = (to_type)convert(packed[i]);                                                                          \
        else                                                                                                                  \
            for (int64_t i = 0; i < n; i++)                                                                                   \
                to[i] = (to_type)convert(*(const from_type *)(const void *)(from + i * stride));                              \
    }
TN_LOADER_(f32_as_f32, float, float, )
TN_LOADER_(f16_as_f32, tn_f16, float, tn_load_f16)
TN_LOADER_(bf16_as_f32, tn_bf16, float, tn_load_bf16)
TN_LOADER_(f64_as_f64, double, double, )
TN_LOADER_(f32_as_f64, float, double, )
TN_LOADER_(f16_as_f64, tn_f16, double, tn_load_f16)
TN_LOADER_(bf16_as_f64, tn_bf16, double, tn_load_bf16)
TN_LOADER_(i64_as_i64, int64_t, int64_t, )
TN_LOADER_(i32_as_i64, int32_t, int64_t, )
TN_LOADER_(i16_as_i64, int16_t, int64_t, )
TN_LOADER_(i8_as_i64, int8_t, int64_t, )
TN_LOADER_(u8_as_i64, uint8_t, int64_t, )
#undef TN_LOADER_

typedef enum tn_work { TN_WORK_F32, TN_WORK_F64, TN_WORK_I64 } tn_work;

static inline tn_work tn_work_of(tn_dtype dtype)
{
    return dtype == TN_F64 ? TN_WORK_F64 : dtype == TN_F32 || dtype == TN_F16 || dtype == TN_BF16 ? TN_WORK_F32 : TN_WORK_I64;
}

/* The loader of dtype into work; work is TN_WORK_F64 or tn_work_of(dtype). */
static inline tn_load_fn tn_loader(tn_dtype dtype, tn_work work)
{
    switch (dtype) {
    case TN_F32: return work == TN_WORK_F64 ? tn_load_f32_as_f64 : tn_load_f32_as_f32;
    case TN_F16: return work == TN_WORK_F64 ? tn_load_f16_as_f64 : tn_load_f16_as_f32;
    case TN_BF16: return work == TN_WORK_F64 ? tn_load_bf16_as_f64 : tn_load_bf16_as_f32;
    case TN_F64: return tn_load_f64_as_f64;
    case TN_I64: return tn_load_i64_as_i64;
    case TN_I32: return tn_load_i32_as_i64;
    case TN_I16: return tn_load_i16_as_i64;
    case TN_I8: return tn_load_i8_as_i64;
    default: return tn_load_u8_as_i64;
    }
}

/* n contiguous floats to dtype (f32, f16 or bf16). */
static inline void tn_store_f32_as(tn_dtype dtype, const float *from, int64_t n, void *to)
{
    if (dtype == TN_F16)
        for (int64_t i = 0; i < n; i++)
            ((tn_f16 *)to)[i] = tn_store_f16(from[i]);
    else if (dtype == TN_BF16)
        for (int64_t i = 0; i < n; i++)
            ((tn_bf16 *)to)[i] = tn_store_bf16(from[i]);
    else
        for (int64_t i = 0; i < n; i++)
            ((float *)to)[i] = from[i];
}

/* One number as an element of a floating dtype; f64 to a 16-bit float goes by f32, as in PyTorch. */
static inline void tn_store_float(tn_dtype dtype, double value, void *to)
{
    float narrow = (float)value;
    if (dtype == TN_F64)
        *(double *)to = value;
    else
        tn_store_f32_as(dtype, &narrow, 1, to);
}

static inline double tn_load_float(tn_dtype dtype, const void *from)
{
    double value;
    tn_loader(dtype, TN_WORK_F64)(from, 0, 1, &value);
    return value;
}

/* One integer as an element of an integer dtype or bool. */
static inline void tn_store_int(tn_dtype dtype, int64_t value, void *to)
{
    switch (dtype) {
    case TN_I64: *(int64_t *)to = value; break;
    case TN_I32: *(int32_t *)to = (int32_t)value; break;
    case TN_I16: *(int16_t *)to = (int16_t)value; break;
    case TN_I8: *(int8_t *)to = (int8_t)value; break;
    case TN_U8: *(uint8_t *)to = (uint8_t)value; break;
    default: *(bool *)to = value != 0;
    }
}

#endif
