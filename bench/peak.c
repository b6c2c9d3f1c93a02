/* "fp32_gflops read_gbytes bf16_gflops" of the machine on so many threads, measured: multiply-adds at best, and reading so many bytes (256 MiB)
 * again and again, as decoding reads its weights.  usage: peak [THREADS] [BYTES] */
#include <stdio.h>

#include "kernels/peaks.h"
#include "peak.h"

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    const size_t bytes = argc > 2 ? strtoull(argv[2], NULL, 10) : (size_t)256 << 20;
    if (tn_set_num_threads(threads) != TN_OK)
        return 2;
    printf("%.1f ", tn_peak_gflops(TN_WORK_F32, threads, TN_LONG));
    printf("%.2f ", peak_gbytes(threads, peak_pages(bytes), bytes, (int)(5 + 3000000000 / (bytes + 1)), 0.5));
    printf("%.1f\n", tn_peak_gflops(TN_WORK_BF16, threads, TN_LONG));
    return 0;
}
