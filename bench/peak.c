/* "fp32_gflops read_gbytes" of the machine on so many threads, measured.  usage: peak [THREADS] */
#include <stdio.h>

#include "peak.h"

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    printf("%.1f %.1f\n", peak_gflops(threads), peak_gbytes(threads));
    return 0;
}
