/* "fp32_gflops read_gbytes bf16_gflops" of the machine on so many threads, measured: multiply-adds at best, and reading so many bytes (256 MiB)
 * again and again, as decoding reads its weights.  usage: peak [THREADS] [BYTES] */
#include <stdio.h>

#include "peak.h"

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    const size_t bytes = argc > 2 ? strtoull(argv[2], NULL, 10) : (size_t)256 << 20;
    printf("%.1f ", peak_gflops(threads));
    printf("%.2f ", peak_gbytes(threads, peak_pages(bytes), bytes, (int)(5 + 3000000000 / (bytes + 1)), 0.5));
    printf("%.1f\n", peak_bf16_gflops(threads));
    return 0;
}
