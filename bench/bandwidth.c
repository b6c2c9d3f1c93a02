/* How fast the machine moves bytes, by where they lie.  usage: bandwidth [THREADS]
 * A line for each level of cache and for memory: "level kbytes read copy update", what all threads together hold there, and GB/s: of reading,
 * of copying (bytes read and written) and of changing in place (likewise). */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/peaks.h"

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    tn_level levels[TN_LEVELS];
    if (tn_set_num_threads(threads) != TN_OK)
        return 2;
    tn_measure_levels(threads, TN_LONG, levels);
    for (int i = 0; i < TN_LEVELS; i++)
        printf("%s %.0f %.1f %.1f %.1f\n", levels[i].name, levels[i].capacity / 1024, levels[i].read, levels[i].copy, levels[i].update);
    return levels[0].read <= 0;
}
