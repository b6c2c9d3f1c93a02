/* What decoding does between its products (kernels/decode.h). */
#include "kernels/cuda/math.h"
#include "kernels/cuda/packed.h"

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

/* 1 / the root of the mean of squares of x [n]: a factor that the block's threads find together. */
TN_DEVICE float norm_scale(const float *x, int64_t n, double eps)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += (double)x[i] * x[i];
    return (float)(1 / sqrt(tn_block_sum(sum) / (double)n + eps));
}

/* A block for a row. */
TN_KERNEL decode_norm_kernel(int64_t n, const float *x, const float *weight, double eps, tn_packed_kind kind, int64_t items, void *prepared)
{
    const int64_t row = blockIdx.x;
    const tn_packed_x to = tn_packed_x_of(kind, gridDim.x, items, prepared);
    x += row * n;
    const float scale = norm_scale(x, n, eps);
    for (int64_t item = threadIdx.x; item < items; item += blockDim.x)
        tn_packed_prepare(kind, n, to, row * items + item, item, [=](int64_t i) { return x[i] * scale * weight[i]; });
}

/* y as it is is what weights of floats take. */
tn_status tn_cuda_decode_norm(int64_t rows, int64_t n, const float *x, const float *weight, double eps, float *y, tn_packed_kind kind, void *prepared)
{
    kind = prepared ? kind : TN_PACKED_F32;
    if (rows > 0 && n > 0)
        TN_LAUNCH(decode_norm_kernel, rows, tn_threads(n / 2), n, x, weight, eps, kind, tn_packed_items(kind, n), prepared ? prepared : (void *)y);
    return tn_cuda_status("decode_norm");
}

/* A thread for an item; to_row: items from a row's first to the next one's. */
TN_KERNEL decode_gate_kernel(int64_t rows, int64_t n, const float *gate, const float *up, int64_t row, tn_packed_kind kind, int64_t items, int64_t to_row,
                             void *prepared)
{
    const int64_t e = tn_this_thread(), first = e / items * row;
    if (e < rows * items)
        tn_packed_prepare(kind, n, tn_packed_x_of(kind, rows, items, prepared), e / items * to_row + e % items, e % items,
                          [=](int64_t i) { return gate[first + i] * tn_sigmoid_(gate[first + i]) * up[first + i]; });
}

tn_status tn_cuda_decode_gate(int64_t rows, int64_t n, float *gate, const float *up, int64_t row, tn_packed_kind kind, void *prepared)
{
    kind = prepared ? kind : TN_PACKED_F32;
    const int64_t items = tn_packed_items(kind, n);
    if (rows * items > 0)
        TN_LAUNCH_EACH(decode_gate_kernel, rows * items, rows, n, gate, up, row, kind, items, prepared ? items : row,
                       prepared ? prepared : (void *)gate);
    return tn_cuda_status("decode_gate");
}

/* ---- the cache -------------------------------------------------------------------------------------------------------------- */

/* A head [size] by a block, as it then lies in x. */
TN_DEVICE void turn(const tn_decode_store &s, int64_t row, const float *norm, float *x)
{
    const int64_t half = s.size / 2;
    const float *cosines = s.cos + row * half, *sines = s.sin + row * half;
    const float scale = norm ? norm_scale(x, s.size, s.eps) : 1;
    for (int64_t i = threadIdx.x; i < half; i += blockDim.x) {
        const float a = norm ? x[i] * scale * norm[i] : x[i], b = norm ? x[half + i] * scale * norm[half + i] : x[half + i];
        x[i] = a * cosines[i] - b * sines[i];
        x[half + i] = b * cosines[i] + a * sines[i];
    }
    __syncthreads();
}

/* A head to `to`, from its element `at` on. */
TN_DEVICE void keep(const tn_decode_store &s, const float *x, void *to, int64_t at, float *scale)
{
    float inverse = 0;
    if (s.dtype == TN_I8) {
        uint32_t most = 0;
        for (int64_t k = threadIdx.x; k < s.size; k += blockDim.x) { /* magnitudes are in order as whole numbers are */
            const uint32_t magnitude = tn_f32_bits(x[k]) & 0x7fffffffu;
            most = magnitude > most ? magnitude : most;
        }
        const float max = tn_bits_f32(tn_over_block(most, [](uint32_t a, uint32_t b) { return a > b ? a : b; }));
        inverse = max > 0 ? 127.0f / max : 0;
        if (threadIdx.x == 0)
            *scale = max < INFINITY ? max / 127.0f : NAN;
    }
    for (int64_t k = threadIdx.x; k < s.size; k += blockDim.x) {
        if (s.dtype == TN_F32)
            ((float *)to)[at + k] = x[k];
        else if (s.dtype == TN_BF16)
            ((tn_bf16 *)to)[at + k] = tn_store_bf16(x[k]);
        else /* adding 1.5 * 2^23 leaves the nearest whole number in the low bits */
            ((int8_t *)to)[at + k] = (int8_t)(int32_t)(tn_f32_bits(__fadd_rn(__fmul_rn(x[k], inverse), 12582912.0f)) - 0x4b400000u);
    }
}

/* A block for a head of a token: of q, then of k, then of v. */
TN_KERNEL decode_store_kernel(tn_decode_store s)
{
    const int64_t each = s.heads + 2 * s.kv_heads, row = blockIdx.x / each, head = blockIdx.x % each, of_k = head - s.heads, of_v = of_k - s.kv_heads;
    if (of_k < 0)
        return turn(s, row, s.q_norm, s.q + row * s.row + head * s.size);
    const int64_t group = s.sequences[row] * s.kv_heads + (of_v < 0 ? of_k : of_v), place = s.positions[row] % s.window;
    const int64_t at = group * s.head + place * s.size, scale_at = group * s.scale_head + place;
    if (of_v >= 0)
        return keep(s, s.v + row * s.row + of_v * s.size, s.values, at, s.value_scales + scale_at);
    float *k = s.k + row * s.row + of_k * s.size;
    turn(s, row, s.k_norm, k);
    keep(s, k, s.keys, at, s.key_scales + scale_at);
}

tn_status tn_cuda_decode_store(const tn_decode_store *s)
{
    const int64_t blocks = s->rows * (s->heads + 2 * s->kv_heads);
    if (blocks > 0 && s->size > 0)
        TN_LAUNCH(decode_store_kernel, blocks, tn_threads(s->size), *s);
    return tn_cuda_status("decode_store");
}

/* ---- the largest ------------------------------------------------------------------------------------------------------------ */

/* index and max are in the CPU's memory. */
tn_status tn_cuda_decode_argmax(int64_t n, const float *x, int64_t *index, float *max)
{
    struct { int64_t index; float max; } found;
    tn_cuda_scratch scratch(sizeof found);
    if (!scratch.data)
        return TN_ERR_MEMORY;
    tn_reduction r = {};
    r.inner_ndim = 1, r.inner_sizes[0] = n, r.inner_strides[0] = sizeof *x;
    r.in = (const char *)x, r.index = (char *)scratch.data, r.out = (char *)scratch.data + sizeof found.index;
    tn_status status = tn_cuda_reduce(TN_REDUCE_ARGMAX, TN_F32, &r);
    status = status == TN_OK ? tn_cuda_fetch(&found, scratch.data, sizeof found.index + sizeof found.max) : status;
    if (status == TN_OK)
        *index = found.index, *max = found.max;
    return status;
}

/* ---- attention -------------------------------------------------------------------------------------------------------------- */

enum { KEYS = 64, DEPTH = 32, WIDE = 4 }; /* keys at a time, elements of them at a time; values that a thread sums up */

/* Element d of row j of a key/value head, of all sequences'. */
TN_DEVICE float cached(const tn_decode_attention &a, const void *data, const float *scale, int64_t group, int64_t j, int64_t d)
{
    const int64_t at = group * a.head + j * a.row + d;
    if (a.dtype == TN_F32)
        return ((const float *)data)[at];
    if (a.dtype == TN_BF16)
        return tn_load_bf16(((const tn_bf16 *)data)[at]);
    return (float)((const int8_t *)data)[at] * scale[group * a.scale_head + j];
}

/* A block for a head of a row: KEYS rows of the cache at a time, what was summed so far shrinking as greater scores come. `width` threads lie
 * along the elements of v, and the others above them take turns with the rows. */
TN_KERNEL decode_attention_kernel(tn_decode_attention a, int width)
{
    __shared__ float q[DEPTH], keys[KEYS][DEPTH + 1], parts[TN_THREADS], p[KEYS];
    const int t = threadIdx.x, key = t % KEYS, quarter = t / KEYS, d0 = t % width, turn = t / width, turns = TN_THREADS / width;
    const int64_t row = blockIdx.x / a.heads, head = blockIdx.x % a.heads, group = a.sequences[row] * a.kv_heads + head / (a.heads / a.kv_heads);
    const int64_t length = a.positions[row] < a.window ? a.positions[row] + 1 : a.window;
    const float *query = a.q + row * a.q_row + head * a.size;
    float most = -INFINITY, total = 0, sum[WIDE] = {};
    for (int64_t j0 = 0; j0 < length; j0 += KEYS) {
        float score = 0;
        for (int64_t e0 = 0; e0 < a.size; e0 += DEPTH) {
            for (int e = t; e < KEYS * DEPTH; e += TN_THREADS) {
                const int64_t j = j0 + e / DEPTH, d = e0 + e % DEPTH;
                keys[e / DEPTH][e % DEPTH] = j < length && d < a.size ? cached(a, a.k, a.k_scale, group, j, d) : 0;
            }
            if (t < DEPTH)
                q[t] = e0 + t < a.size ? query[e0 + t] : 0;
            __syncthreads();
            for (int d = quarter; d < DEPTH; d += TN_THREADS / KEYS)
                score += q[d] * keys[key][d];
            __syncthreads();
        }
        parts[t] = score;
        __syncthreads();
        if (t < KEYS) {
            for (int k = t + KEYS; k < TN_THREADS; k += KEYS)
                score += parts[k];
            p[t] = j0 + t < length ? score * (float)a.scale : -INFINITY;
        }
        __syncthreads();
        float now = most;
        for (int k = 0; k < KEYS; k++)
            now = p[k] > now || p[k] != p[k] ? p[k] : now;
        const float shrink = most == -INFINITY ? 0 : expf(most - now);
        most = now;
        __syncthreads();
        if (t < KEYS)
            p[t] = expf(p[t] - most);
        __syncthreads();
        total *= shrink;
        for (int k = 0; k < KEYS; k++)
            total += p[k];
        for (int w = 0; w < WIDE; w++) {
            const int64_t d = d0 + w * TN_THREADS;
            sum[w] *= shrink;
            for (int k = turn; k < KEYS && j0 + k < length && d < a.size; k += turns)
                sum[w] += p[k] * cached(a, a.v, a.v_scale, group, j0 + k, d);
        }
        __syncthreads();
    }
    for (int w = 0; w < WIDE; w++) {
        const int64_t d = d0 + w * TN_THREADS;
        parts[t] = sum[w];
        __syncthreads();
        float all = 0;
        for (int k = 0; k < turns; k++)
            all += parts[k * width + d0];
        if (turn == 0 && d < a.size)
            a.y[row * a.y_row + head * a.size + d] = all / total;
        __syncthreads();
    }
}

tn_status tn_cuda_decode_attention(const tn_decode_attention *a, int thread, int)
{
    if (a->size > WIDE * TN_THREADS)
        return tn_cuda_fail(TN_ERR_UNSUPPORTED, "decode_attention: heads of %lld elements: at most %d", (long long)a->size, WIDE * TN_THREADS), TN_ERR_UNSUPPORTED;
    if (thread == 0 && a->rows * a->heads > 0)
        TN_LAUNCH(decode_attention_kernel, a->rows * a->heads, TN_THREADS, *a, tn_threads(a->size));
    return tn_cuda_status("decode_attention");
}
