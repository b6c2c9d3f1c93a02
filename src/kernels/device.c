/* The CUDA backend as this library sees it: opened when a CUDA device is first asked for. */
#include "kernels/device.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

static const char file_name[] = "libtenon_cuda.so";
static const tn_backend *cuda; /* NULL: could not be opened */
static char missing[256];      /* what no device hangs on */
static pthread_once_t opened = PTHREAD_ONCE_INIT;
static int tf32;

/* The library in one folder, NULL when it is not there; what keeps one that is there from being opened is remembered. */
static void *open_in(const char *folder, size_t length)
{
    char path[1024];
    int size = snprintf(path, sizeof path, "%.*s%s%s", (int)length, folder, length ? "/" : "", file_name);
    if (size < 0 || (size_t)size >= sizeof path)
        return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char *why = library ? NULL : dlerror();
    if (why && !strstr(why, "No such file"))
        snprintf(missing, sizeof missing, "%s", why);
    return library;
}

/* TENON_CUDA_PATH's folders, then the one that this library lies in, then where the system looks. */
static void *open_library(void)
{
    void *library = NULL;
    for (const char *path = getenv("TENON_CUDA_PATH"); path && *path && !library;) {
        size_t length = strcspn(path, ":");
        if (length)
            library = open_in(path, length);
        path += length + (path[length] == ':');
    }
    Dl_info self;
    const char *slash = !library && dladdr(file_name, &self) && self.dli_fname ? strrchr(self.dli_fname, '/') : NULL;
    if (slash)
        library = open_in(self.dli_fname, (size_t)(slash - self.dli_fname));
    return library ? library : open_in("", 0);
}

static void open_cuda(void)
{
    static const tn_host host = {tn_fail, &tf32};
    void *library = open_library();
    tn_backend_fn make = NULL;
    void *symbol = library ? dlsym(library, "tn_cuda_backend") : NULL;
    memcpy(&make, &symbol, sizeof make);
    const tn_backend *backend = make ? make(&host) : NULL;
    if (!library && !*missing)
        snprintf(missing, sizeof missing, "%s was not found (it is built where CUDA's compiler is; TENON_CUDA_PATH names its folder)", file_name);
    else if (library && (!backend || backend->build != TN_BACKEND_BUILD))
        snprintf(missing, sizeof missing, "%s is of another version than libtenon", file_name);
    else if (backend) {
        cuda = backend;
        snprintf(missing, sizeof missing, "%s", backend->why ? backend->why : "");
    }
}

const tn_backend *tn_cuda(const char **why)
{
    pthread_once(&opened, open_cuda);
    if (why)
        *why = missing;
    return cuda;
}

int tn_cuda_device_count(void)
{
    const tn_backend *backend = tn_cuda(NULL);
    return backend ? backend->devices : 0;
}

static char cuda_text[1200];
static void say_cuda(void)
{
    const char *why;
    const tn_backend *backend = tn_cuda(&why);
    if (backend && backend->devices)
        snprintf(cuda_text, sizeof cuda_text, "%s; %s", backend->name, backend->libraries());
    else
        snprintf(cuda_text, sizeof cuda_text, "%s", why);
}

const char *tn_cuda_text(void)
{
    static pthread_once_t said = PTHREAD_ONCE_INIT;
    pthread_once(&said, say_cuda);
    return cuda_text;
}

void tn_set_allow_tf32(bool allow) { __atomic_store_n(&tf32, allow, __ATOMIC_RELAXED); }
bool tn_get_allow_tf32(void) { return __atomic_load_n(&tf32, __ATOMIC_RELAXED); }

const tn_backend *tn_backend_for(const char *op, tn_device_id device)
{
    const char *why = "";
    const tn_backend *backend = device.type == TN_CUDA ? tn_cuda(&why) : NULL;
    int devices = backend ? backend->devices : 0;
    if (device.index >= 0 && device.index < devices)
        return backend;
    if (device.type != TN_CUDA)
        return tn_fail(TN_ERR_DEVICE, "%s: no device is of type %d", op, device.type);
    if (devices)
        return tn_fail(TN_ERR_DEVICE, "%s: %s is not there: this machine has cuda:0 to cuda:%d", op, tn_device_text(device), devices - 1);
    return tn_fail(TN_ERR_DEVICE, "%s: %s is not there: no CUDA here: %s; use \"cpu\"", op, tn_device_text(device), why);
}

const tn_kernels *tn_kernels_on(tn_device_id device)
{
    if (device.type == TN_CPU)
        return tn_kernels_of(TN_CPU);
    const tn_backend *backend = tn_cuda(NULL); /* a tensor on it exists, and so does the device */
    backend->use(device.index);
    return backend->kernels;
}

static int place(tn_device_id device) { return device.type == TN_CPU ? TN_ON_CPU : device.index; }

tn_status tn_copy_across(const tn_tensor *to, const tn_tensor *from)
{
    size_t bytes = (size_t)from->numel * tn_item_size(from);
    const tn_device_id there = to->storage->device, here = from->storage->device;
    if (!bytes)
        return TN_OK;
    if (there.type == TN_CPU && here.type == TN_CPU) {
        memcpy(tn_ptr(to), tn_ptr(from), bytes);
        return TN_OK;
    }
    return tn_cuda(NULL)->copy(tn_ptr(to), place(there), tn_ptr(from), place(here), bytes);
}

tn_status tn_synchronize(tn_device_id device)
{
    if (tn_failing() || device.type == TN_CPU)
        return tn_last_status();
    const tn_backend *backend = tn_backend_for("synchronize", device);
    return backend ? backend->synchronize(device.index) : tn_last_status();
}

tn_memory_stats tn_get_device_memory_stats(tn_device_id device)
{
    if (device.type == TN_CPU)
        return tn_get_memory_stats();
    const tn_backend *backend = tn_failing() ? NULL : tn_backend_for("get_device_memory_stats", device);
    return backend ? backend->stats(device.index) : (tn_memory_stats){0};
}

int64_t tn_memory_allocated(tn_device_id device) { return tn_get_device_memory_stats(device).in_use; }
int64_t tn_max_memory_allocated(tn_device_id device) { return tn_get_device_memory_stats(device).peak; }
int64_t tn_memory_reserved(tn_device_id device)
{
    const tn_memory_stats stats = tn_get_device_memory_stats(device);
    return stats.in_use + stats.cached;
}

tn_status tn_reset_peak_memory_stats(tn_device_id device)
{
    const tn_backend *backend = tn_failing() || device.type == TN_CPU ? NULL : tn_backend_for("reset_peak_memory_stats", device);
    if (backend)
        backend->reset_peak(device.index);
    else if (!tn_failing())
        tn_memory_reset_peak();
    return tn_last_status();
}

tn_status tn_device_memory_set_limit(tn_device_id device, int64_t bytes)
{
    const tn_backend *backend = tn_failing() || device.type == TN_CPU ? NULL : tn_backend_for("device_memory_set_limit", device);
    if (backend)
        backend->set_limit(device.index, bytes > 0 ? bytes : INT64_MAX);
    else if (!tn_failing())
        tn_memory_set_limit(bytes);
    return tn_last_status();
}

tn_status tn_device_memory_trim(tn_device_id device)
{
    const tn_backend *backend = tn_failing() || device.type == TN_CPU ? NULL : tn_backend_for("device_memory_trim", device);
    if (backend)
        backend->trim(device.index);
    else if (!tn_failing())
        tn_memory_trim();
    return tn_last_status();
}
