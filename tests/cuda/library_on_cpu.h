/* What the stand-ins for cuBLASLt and cuDNN share: they compute by loops what the descriptors say, in the emulated device's memory, and die
 * of a call that the real ones would not take. */
#ifndef LIBRARY_ON_CPU_H
#define LIBRARY_ON_CPU_H

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include <dlfcn.h>

#include "kernels/cuda/libraries.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

[[noreturn]] static inline void die(const char *library, const char *what)
{
    fprintf(stderr, "%s emulated on the CPU: %s\n", library, what);
    abort();
}

/* As a kernel, only then is the device's memory open; a graph keeps it. The emulation is the libtenon_cuda.so in the folder above this library's. */
static inline void on_device(cudaStream_t stream, const std::function<void()> &work)
{
    static void (*run)(cudaStream_t, const void *);
    if (!run) {
        Dl_info self;
        dladdr((const void *)&run, &self);
        const std::string path = self.dli_fname;
        void *emulation = dlopen((path.substr(0, path.rfind('/')) + "/../libtenon_cuda.so").c_str(), RTLD_NOW | RTLD_NOLOAD);
        void *symbol = emulation ? dlsym(emulation, "cuda_on_cpu_run") : NULL;
        memcpy(&run, &symbol, sizeof run);
        if (!run)
            die(path.c_str(), "there is no emulated device");
    }
    run(stream, &work);
}

/* x with its fraction cut to so many bits, to nearest: TF32 has 10, bf16 7. */
static inline float rounded(float x, int bits)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    const uint32_t unit = 1u << (23 - bits);
    u = (u + unit / 2) & ~(unit - 1);
    memcpy(&x, &u, sizeof u);
    return x;
}

#endif
