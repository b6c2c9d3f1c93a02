/* tenon info: what was built, and what it runs on. */
#include "command.h"

#include <unistd.h>

static void cache(const char *name, int which)
{
    const long bytes = sysconf(which);
    if (bytes > 0)
        printf("%-10s%ld KiB\n", name, bytes / 1024);
}

int info_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS, .about = "Writes the version, what the build uses, the instruction set, the threads and the caches.", .takes = ""};
    read_options(&o, argc, argv);
    printf("version   %s\nbuild     %s\nuses      %s\nkernels   %s\nthreads   %d of %ld\nCUDA      %s\n", tn_version(), TENON_BUILD, TENON_USES, tn_cpu_isa(),
           tn_get_num_threads(), sysconf(_SC_NPROCESSORS_ONLN), tn_cuda_text());
#ifdef _SC_LEVEL1_DCACHE_SIZE
    cache("L1", _SC_LEVEL1_DCACHE_SIZE);
    cache("L2", _SC_LEVEL2_CACHE_SIZE);
    cache("L3", _SC_LEVEL3_CACHE_SIZE);
#else
    (void)cache;
#endif
    return done();
}
