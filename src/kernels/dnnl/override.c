/* The one place that says which slots oneDNN takes.
 *
 * Products are not among them. On the networks' shapes (Zen 3, AVX2, one and two threads) oneDNN 2.6 took between 0.92
 * of our own kernel's time, where rows are no multiple of a cache line, and 1.9 of it, for b as it is read in dX; and
 * ours gives the same bits on any number of threads, which oneDNN does not promise. */
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/dnnl/dnnl.h"

void tn_dnnl_override(tn_kernels *table)
{
    /* oneDNN compiles for the processor that it finds: a forced instruction set must hold there too. The program's own
     * use of oneDNN is touched only then. */
    if (getenv("TENON_ISA") && !strcmp(table->name, "avx2"))
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
}
