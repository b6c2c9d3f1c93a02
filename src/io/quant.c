/* Tensors to quantised blocks and back: the checks, and rows on all threads. */
#include <tenon/quant.h>

#include "core/core.h"
#include "core/parallel.h"
#include "kernels/blocks.h"
#include "kernels/cpu/load.h"

#include <math.h>
#include <string.h>
#include <tenon/ops.h>

/* ---- what the types are --------------------------------------------------------------------------------------------------- */

const char *tn_quant_name(tn_quant type)
{
    const tn_quant_format *format = tn_quant_format_of(type);
    return format ? format->name : NULL;
}

tn_quant tn_quant_named(const char *name)
{
#define NAMED(type, ...)                                                                              \
    if (name && strcmp(name, #type) == 0)                                                                                     \
        return TN_QUANT_##type;
    TN_QUANT_LIST(NAMED)
    TN_QUANT_NAMED_LIST(NAMED)
#undef NAMED
    return TN_QUANT_NONE;
}

int64_t tn_quant_block(tn_quant type)
{
    const tn_quant_format *format = tn_quant_format_of(type);
    return format ? format->block : 0;
}

size_t tn_quant_block_bytes(tn_quant type)
{
    const tn_quant_format *format = tn_quant_format_of(type);
    return format ? format->bytes : 0;
}

bool tn_quant_makes(tn_quant type)
{
    const tn_quant_format *format = tn_quant_format_of(type);
    return format && format->quantize;
}

tn_quant tn_quant_for_row(tn_quant type, int64_t columns)
{
    if (tn_quant_block(type) == 256 && columns % 256 != 0)
        type = type == TN_QUANT_Q6_K ? TN_QUANT_Q8_0 : TN_QUANT_Q5_0;
    return tn_quant_block(type) == 32 && columns % 32 != 0 ? TN_QUANT_F16 : type;
}

/* The format, the elements and the elements of a row; NULL with an error. */
static const tn_quant_format *checked(const char *op, tn_quant type, tn_shape shape, int64_t *numel)
{
    const tn_quant_format *format = tn_quant_format_of(type);
    if (tn_failing() || !tn_shape_check(op, shape, numel))
        return NULL;
    if (!format)
        return tn_fail(TN_ERR_ARGUMENT, "%s: %d is no type of blocks", op, (int)type);
    const int64_t row = shape.ndim > 0 ? shape.sizes[shape.ndim - 1] : 1;
    if (row % format->block != 0)
        return tn_fail(TN_ERR_SHAPE, "%s: rows of %lld are no whole number of %s's blocks of %lld: %s would fit", op, (long long)row,
                       format->name, (long long)format->block, tn_quant_name(tn_quant_for_row(type, row)));
    return format;
}

static int64_t bytes_of(const tn_quant_format *format, int64_t numel) { return numel / format->block * (int64_t)format->bytes; }

int64_t tn_blocks_bytes(tn_quant type, tn_shape shape)
{
    int64_t numel;
    const tn_quant_format *format = checked("blocks_bytes", type, shape, &numel);
    return format ? bytes_of(format, numel) : -1;
}

/* ---- blocks to tensors ------------------------------------------------------------------------------------------------------ */

enum { PIECE = 4096 }; /* elements that a thread turns at once: a multiple of every block */

typedef struct job {
    const tn_quant_format *format;
    uint8_t *blocks;
    float *floats;
    int64_t numel;
    tn_dtype dtype; /* of the tensor that `floats` is */
    int32_t bad;    /* set where an element is not finite or too large */
} job;

/* Pieces begin ... end. */
static void dequantize_pieces(int64_t begin, int64_t end, void *context)
{
    const job *j = context;
    for (int64_t at = begin * PIECE; at < end * PIECE && at < j->numel; at += PIECE) {
        const int64_t n = j->numel - at < PIECE ? j->numel - at : PIECE;
        const uint8_t *blocks = j->blocks + bytes_of(j->format, at);
        float piece[PIECE], *to = j->dtype == TN_F32 ? j->floats + at : piece;
        j->format->dequantize(blocks, n / j->format->block, to);
        if (to == piece)
            tn_store_f32_as(j->dtype, piece, n, (char *)j->floats + 2 * at);
    }
}

tn_tensor *tn_dequantize(tn_blocks blocks, tn_dtype dtype)
{
    int64_t numel;
    const tn_quant_format *format = checked("dequantize", blocks.type, blocks.shape, &numel);
    if (dtype == TN_DTYPE_DEFAULT)
        dtype = TN_F32;
    if (!format)
        return NULL;
    if (!format->dequantize)
        return tn_fail(TN_ERR_UNSUPPORTED, "dequantize: blocks of %s are known by their size alone: Tenon makes no numbers of them", format->name);
    if (dtype != TN_F32 && dtype != TN_F16 && dtype != TN_BF16)
        return tn_fail(TN_ERR_DTYPE, "dequantize: makes float32, float16 and bfloat16, not %s", tn_dtype_name(dtype));
    if (blocks.size != (size_t)bytes_of(format, numel) || (!blocks.data && numel > 0))
        return tn_fail(TN_ERR_ARGUMENT, "dequantize: %s of %s needs %lld bytes and has %zu", tn_shape_text(blocks.shape), format->name,
                       (long long)bytes_of(format, numel), blocks.data ? blocks.size : 0);
    tn_tensor *x = tn_new("dequantize", blocks.shape, dtype, (tn_device_id){TN_CPU, 0});
    if (!x)
        return NULL;
    job j = {format, (uint8_t *)(uintptr_t)blocks.data, (float *)tn_ptr(x), numel, dtype, 0};
    tn_parallel_for((numel + PIECE - 1) / PIECE, 8, dequantize_pieces, &j);
    return x;
}

/* ---- tensors to blocks ------------------------------------------------------------------------------------------------------ */

static void quantize_pieces(int64_t begin, int64_t end, void *context)
{
    job *j = context;
    const float most = j->format->block > 1 ? 65504 : INFINITY;
    for (int64_t at = begin * PIECE; at < end * PIECE && at < j->numel; at += PIECE) {
        const int64_t n = j->numel - at < PIECE ? j->numel - at : PIECE;
        bool good = true;
        for (int64_t i = at; i < at + n; i++)
            good &= fabsf(j->floats[i]) <= most && fabsf(j->floats[i]) < INFINITY;
        if (good)
            j->format->quantize(j->floats + at, n / j->format->block, j->blocks + bytes_of(j->format, at));
        else
            __atomic_store_n(&j->bad, 1, __ATOMIC_RELAXED);
    }
}

static tn_status refuse_element(const job *j)
{
    int64_t i = 0;
    while (fabsf(j->floats[i]) <= (j->format->block > 1 ? 65504 : 0x1.fffffep127f))
        i++;
    tn_fail(TN_ERR_ARGUMENT, "quantize: element %lld is %g: %s", (long long)i, (double)j->floats[i],
            isfinite(j->floats[i]) ? "blocks hold numbers up to 65504" : "blocks hold finite numbers");
    return TN_ERR_ARGUMENT;
}

tn_status tn_quantize(const tn_tensor *x, tn_quant type, void *blocks, size_t size)
{
    int64_t numel;
    if (!tn_ready("quantize", "x", x))
        return tn_last_status();
    const tn_quant_format *format = checked("quantize", type, tn_shape_of(x), &numel);
    if (!format)
        return tn_last_status();
    if (!format->quantize || !tn_dtype_is_float(tn_dtype_of(x)) || x->storage->device.type != TN_CPU) {
        tn_fail(!format->quantize ? TN_ERR_UNSUPPORTED : x->storage->device.type != TN_CPU ? TN_ERR_DEVICE : TN_ERR_DTYPE,
                "quantize: x is %s on %s, to be %s: floats on the CPU are made into F32, F16, BF16, Q8_0, Q4_0, Q5_0, Q4_K and Q6_K",
                tn_dtype_name(tn_dtype_of(x)), tn_device_text(x->storage->device), format->name);
        return tn_last_status();
    }
    if (size != (size_t)bytes_of(format, numel) || (!blocks && numel > 0)) {
        tn_fail(TN_ERR_ARGUMENT, "quantize: %s of %s makes %lld bytes, and there is room for %zu", tn_text(x), format->name,
                (long long)bytes_of(format, numel), blocks ? size : 0);
        return TN_ERR_ARGUMENT;
    }
    TN_SCOPE;
    TN_NO_GRAD;
    tn_tensor *floats = tn_contiguous(tn_cast((tn_tensor *)(uintptr_t)x, TN_F32));
    if (!floats)
        return tn_last_status();
    job j = {format, blocks, (float *)tn_ptr(floats), numel, TN_F32, 0};
    tn_parallel_for((numel + PIECE - 1) / PIECE, 1, quantize_pieces, &j);
    return j.bad ? refuse_element(&j) : TN_OK;
}
