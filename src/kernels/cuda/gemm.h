/* A tiled product c = a b for any way of reading a and b and of writing c: that of strided matrices (gemm.cu) and those of convolutions
 * (conv.cu). Where there are few tiles and many terms, the terms are cut among blocks, whose sums are added in order. */
#ifndef TN_CUDA_GEMM_H
#define TN_CUDA_GEMM_H

#include "kernels/cuda/cuda.h"

#include <optional>

enum { TN_TILE = 64, TN_DEPTH = 16, TN_FOUR = 4 };

/* The sums of [m, n] for each of `batch`, k terms each, in `splits` parts of `share` terms. */
struct tn_product {
    int64_t batch, m, n, k;
    int64_t splits, share;
    void *parts; /* [splits, batch, m, n], where splits > 1 */
};

/* Operands has: A, the type of sums; left(batch, i, term) and right(batch, term, j); put(batch, i, j, sum), which writes. Where rows_together, neighbouring
 * terms of a lie together (else neighbouring rows), and where columns_together neighbouring columns of b (else terms). */
template <class Operands> TN_KERNEL tn_product_kernel(tn_product p, Operands o)
{
    typedef typename Operands::A A;
    __shared__ A as[TN_DEPTH][TN_TILE + 1], bs[TN_DEPTH][TN_TILE + 1];
    const int64_t tiles_n = tn_blocks(p.n, TN_TILE), tiles_m = tn_blocks(p.m, TN_TILE);
    int64_t rest = blockIdx.x;
    const int64_t j0 = rest % tiles_n * TN_TILE;
    rest /= tiles_n;
    const int64_t i0 = rest % tiles_m * TN_TILE;
    rest /= tiles_m;
    const int64_t batch = rest % p.batch, split = rest / p.batch;
    const int64_t first = split * p.share, end = first + p.share < p.k ? first + p.share : p.k;
    const int t = threadIdx.x, row = t / (TN_TILE / TN_FOUR) * TN_FOUR, column = t % (TN_TILE / TN_FOUR) * TN_FOUR;
    A sum[TN_FOUR][TN_FOUR];
    for (int y = 0; y < TN_FOUR; y++)
        for (int x = 0; x < TN_FOUR; x++)
            sum[y][x] = 0;
    for (int64_t k0 = first; k0 < end; k0 += TN_DEPTH) {
        for (int e = t; e < TN_TILE * TN_DEPTH; e += TN_THREADS) {
            const int ai = o.rows_together ? e / TN_DEPTH : e % TN_TILE, ak = o.rows_together ? e % TN_DEPTH : e / TN_TILE;
            const int bj = o.columns_together ? e % TN_TILE : e / TN_DEPTH, bk = o.columns_together ? e / TN_TILE : e % TN_DEPTH;
            as[ak][ai] = i0 + ai < p.m && k0 + ak < end ? o.left(batch, i0 + ai, k0 + ak) : (A)0;
            bs[bk][bj] = j0 + bj < p.n && k0 + bk < end ? o.right(batch, k0 + bk, j0 + bj) : (A)0;
        }
        __syncthreads();
        for (int k = 0; k < TN_DEPTH; k++) {
            A a[TN_FOUR], b[TN_FOUR];
            for (int y = 0; y < TN_FOUR; y++)
                a[y] = as[k][row + y], b[y] = bs[k][column + y];
            for (int y = 0; y < TN_FOUR; y++)
                for (int x = 0; x < TN_FOUR; x++)
                    sum[y][x] += a[y] * b[x];
        }
        __syncthreads();
    }
    for (int y = 0; y < TN_FOUR; y++)
        for (int x = 0; x < TN_FOUR; x++) {
            const int64_t i = i0 + row + y, j = j0 + column + x;
            if (i >= p.m || j >= p.n)
                continue;
            if (p.splits > 1)
                ((A *)p.parts)[((split * p.batch + batch) * p.m + i) * p.n + j] = sum[y][x];
            else
                o.put(batch, i, j, sum[y][x]);
        }
}

template <class Operands> TN_KERNEL tn_product_join(tn_product p, Operands o)
{
    typedef typename Operands::A A;
    const int64_t e = tn_this_thread(), all = p.batch * p.m * p.n;
    if (e >= all)
        return;
    A sum = 0;
    for (int64_t split = 0; split < p.splits; split++)
        sum += ((const A *)p.parts)[split * all + e];
    o.put(e / (p.m * p.n), e / p.n % p.m, e % p.n, sum);
}

template <class Operands> static tn_status tn_product_run(const char *op, int64_t batch, int64_t m, int64_t n, int64_t k, const Operands &o)
{
    enum { BUSY = 256, LEAST = 256 }; /* blocks that keep a device busy; terms that are worth a block */
    const int64_t tiles = batch * tn_blocks(m, TN_TILE) * tn_blocks(n, TN_TILE);
    tn_product p = {batch, m, n, k, 1, k > 0 ? k : 1, NULL};
    if (tiles == 0)
        return TN_OK;
    if (tiles < BUSY && k >= 2 * LEAST) {
        p.splits = BUSY / tiles < k / LEAST ? BUSY / tiles : k / LEAST;
        p.share = tn_blocks(tn_blocks(k, p.splits), TN_DEPTH) * TN_DEPTH;
        p.splits = tn_blocks(k, p.share);
    }
    std::optional<tn_cuda_scratch> scratch;
    if (p.splits > 1 && !scratch.emplace((size_t)(p.splits * batch * m * n) * sizeof(typename Operands::A)).data)
        return TN_ERR_MEMORY;
    p.parts = scratch ? scratch->data : NULL;
    TN_LAUNCH(tn_product_kernel<Operands>, tiles * p.splits, TN_THREADS, p, o);
    if (p.splits > 1)
        TN_LAUNCH_EACH(tn_product_join<Operands>, batch * m * n, p, o);
    return tn_cuda_status(op);
}

#endif
