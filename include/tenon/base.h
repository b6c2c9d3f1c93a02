/* Tenon: errors, ownership, scopes, memory, threads. Everything else stands on this header.
 *
 * Ownership, in one rule: a function whose name ends in _new gives an object that you own and release with tn_release();
 * every other function that returns an object leaves it to the current scope (see TN_SCOPE).
 *
 * Errors, in one rule: a function that returns an object returns NULL on error, an action returns a tn_status. The first error
 * sticks, per thread, until tn_clear_error(); while one sticks every operator returns NULL and every action fails at once. */
#ifndef TENON_BASE_H
#define TENON_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TN_API __attribute__((visibility("default")))
#define TN_MUST_CHECK __attribute__((warn_unused_result))
#define TN_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define TN_CLEANUP_(function) __attribute__((cleanup(function), unused))
#else
#define TN_API
#define TN_MUST_CHECK
#define TN_PRINTF(text, first)
#endif

#define TN_VERSION_MAJOR 0
#define TN_VERSION_MINOR 1
#define TN_VERSION_PATCH 0

/* The version of the library that runs, as "0.1.0"; static. */
TN_API const char *tn_version(void);

/* ---- errors ------------------------------------------------------------------------------------------------------------ */

/* Every status the library knows: its name and what it says when nothing more is known. */
#define TN_STATUS_LIST(X)                                                                                                     \
    X(OK, "no error")                                                                                                         \
    X(ERR_SHAPE, "shapes do not fit")                                                                                         \
    X(ERR_DTYPE, "dtype does not fit")                                                                                        \
    X(ERR_DEVICE, "device does not fit or is absent")                                                                         \
    X(ERR_INDEX, "index or dimension out of range")                                                                           \
    X(ERR_ARGUMENT, "argument out of its range")                                                                              \
    X(ERR_STATE, "not allowed in this state")                                                                                 \
    X(ERR_GRAD, "gradient cannot be computed")                                                                                \
    X(ERR_MEMORY, "out of memory")                                                                                            \
    X(ERR_IO, "file cannot be read or written")                                                                               \
    X(ERR_FORMAT, "file is damaged or of another format")                                                                     \
    X(ERR_UNSUPPORTED, "not available in this build")

typedef enum tn_status {
#define TN_STATUS_ENUM_(name, text) TN_##name,
    TN_STATUS_LIST(TN_STATUS_ENUM_)
#undef TN_STATUS_ENUM_
} tn_status;

typedef void (*tn_error_handler)(void);

/* The thread's sticking error as text, with the call site where known: "matmul: a is [2, 3] ... (train.c:41)"; NULL when there is
 * none. Valid until the next error or tn_clear_error() on this thread. */
TN_API const char *tn_last_error(void);
TN_API tn_status tn_last_status(void);
TN_API void tn_clear_error(void);
/* The text of a status code; static. */
TN_API const char *tn_status_text(tn_status status);
/* Raises an error from a user's own code (an operator, a dataset), printf-like. Returns NULL, so that `return tn_fail(...)` serves
 * any function that returns a pointer. The first error sticks: a later one is dropped. */
TN_API void *tn_fail(tn_status status, const char *format, ...) TN_PRINTF(2, 3);
/* Calls the error handler when status is not TN_OK; returns status. Where an error arises nothing is called: it sticks, what follows gives NULL,
 * and the first tn_check() of an action (or the end of a TN_FOREACH_BATCH) reports it. A program that ends without an action checks
 * tn_check(tn_last_status()). */
TN_API tn_status tn_check(tn_status status);
/* Sets the process's handler, which tn_check() calls, and returns the former one; NULL sets the default, which does nothing. The handler
 * runs on the thread that checked, holds no lock, reads tn_last_error(), and must not longjmp. */
TN_API tn_error_handler tn_set_error_handler(tn_error_handler handler);
/* A handler: prints tn_last_error() on stderr and exits with 1. */
TN_API void tn_die(void);
/* Names the caller's place for the sticking error, once: used by the macros of sites.h. Returns its first argument. */
TN_API void *tn_site_(void *result, const char *file, int line);
TN_API tn_status tn_site_status_(tn_status status, const char *file, int line);

/* ---- objects and ownership --------------------------------------------------------------------------------------------- */

typedef struct tn_class tn_class;

/* The head of every object: tensors, modules, optimisers, lists, loaders. Its fields are the library's. */
typedef struct tn_object {
    const tn_class *cls;
    struct tn_object *next; /* the queue of objects that wait to be freed: chains of any length are released by a loop */
    uint32_t magic;
    int32_t refs;
} tn_object;

/* Shares an object: one more tn_release() will be needed. Atomic; NULL gives NULL. */
TN_API void *tn_retain(const void *object);
/* Gives up one reference; the last one frees the object. NULL is allowed. Works while an error sticks. Never release what a scope holds
 * (an operator's result, tn_parameters()): its scope does. Releasing once too often is TN_ERR_STATE as long as the memory is not used again. */
TN_API void tn_release(const void *object);
/* Takes an object out of the current scope: the caller owns it. One that this scope does not hold is shared, as by tn_retain(). NULL gives NULL. */
TN_API void *tn_keep(const void *object);
/* Gives an object that the caller owns to the current scope. On failure the object is released and NULL returned. */
TN_API void *tn_adopt(const void *object);
/* Moves an object from the current scope to the one around it, for `return tn_pass(y);`. NULL gives NULL. */
TN_API void *tn_pass(const void *object);
/* How many objects exist in the process: back at its starting value when all is released. */
TN_API int64_t tn_live_objects(void);

/* A scope is a mark on the thread's stack of temporaries. */
typedef struct tn_scope {
    int64_t depth;
} tn_scope;
/* Opens a scope: what is made from here on belongs to it, until it is closed. */
TN_API tn_scope tn_scope_open(void);
/* Releases everything that the current scope holds, and scopes opened inside it that were left open. */
TN_API void tn_scope_close(tn_scope *scope);
/* Releases everything that the thread's root scope and all open ones hold; marks stay. */
TN_API void tn_scope_clear(void);

#define TN_CAT2_(a, b) a##b
#define TN_CAT_(a, b) TN_CAT2_(a, b)
#define TN_UNIQUE_(prefix) TN_CAT_(prefix, __COUNTER__)
/* A declaration, so inside braces: a scope that holds to the end of the enclosing block, however that is left. Outside of any, objects
 * belong to the thread's root scope, which is emptied when the thread ends: what a thread gives to another it keeps or retains. */
#define TN_SCOPE TN_CLEANUP_(tn_scope_close) tn_scope TN_UNIQUE_(tn_scope_at_) = tn_scope_open()

/* ---- options: structs set by designated initialisers ------------------------------------------------------------------- */

/* A struct begins with its size, so that programs built with older headers go on working: a later version adds options at its end,
 * where 0 means what was before. A call of the plain form, tn_x_with(&args), sets .size = sizeof args; what it leaves out is 0.
 *
 * One list X(type, name, default) an options struct makes its fields, its defaults in C (by the macros) and in C++ (members). */
#ifdef __cplusplus
#define TN_FIELD_(type, name, value) type name = value;
#define TN_ZERO_ = 0
#define TN_SIZE_(type) = sizeof(type)
#define TN_NONE_ {} /* the default of an option that is a struct */
#else
#define TN_FIELD_(type, name, value) type name;
#define TN_ZERO_
#define TN_SIZE_(type)
#define TN_NONE_ {0}
#endif
#define TN_DEFAULT_(type, name, value) .name = value,
#define TN_CALL_(function, type, LIST, ...)                                                                                   \
    __extension__({                                                                                                           \
        _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Woverride-init\"")                                  \
        __auto_type tn_result_ = function(&(type){.size = sizeof(type), LIST(TN_DEFAULT_).tn_ = 0, __VA_ARGS__});             \
        _Pragma("GCC diagnostic pop") tn_result_;                                                                             \
    })

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

typedef struct tn_memory_stats {
    int64_t in_use;      /* bytes handed out now */
    int64_t peak;        /* the most bytes handed out at once since the start or tn_memory_reset_peak() */
    int64_t cached;      /* bytes kept for reuse */
    int64_t limit;       /* the cap on in_use + cached; INT64_MAX when there is none */
    int64_t allocations; /* requests so far */
    int64_t system;      /* requests that the cache could not serve */
} tn_memory_stats;

TN_API tn_memory_stats tn_get_memory_stats(void);
TN_API void tn_memory_reset_peak(void);
/* Caps the bytes that the library holds on the CPU; a request beyond it is TN_ERR_MEMORY. bytes <= 0 lifts the cap. */
TN_API void tn_memory_set_limit(int64_t bytes);
/* Gives cached memory back to the system. */
TN_API void tn_memory_trim(void);

/* A caller's allocator. alloc returns `size` bytes aligned to 64 or NULL; free gets the same size back. While one is set the library
 * caches nothing: each request reaches it. Set it before the first object is made; NULL restores the library's own. */
typedef struct tn_allocator {
    void *(*alloc)(size_t size, void *context);
    void (*free)(void *memory, size_t size, void *context);
    void *context;
} tn_allocator;
TN_API tn_status tn_set_allocator(const tn_allocator *allocator) TN_MUST_CHECK;

/* The library's one allocator: 64-byte aligned, not cleared; on failure NULL and TN_ERR_MEMORY sticks. Free with the size asked for. */
TN_API void *tn_alloc(size_t size);
TN_API void *tn_alloc_zero(size_t size);
TN_API void tn_free(void *memory, size_t size);

/* Where warnings go (a slower path, a skipped field of a file): NULL, the default, drops them. */
typedef void (*tn_log_handler)(const char *message, void *context);
TN_API void tn_set_log_handler(tn_log_handler handler, void *context);

/* ---- threads and processor ---------------------------------------------------------------------------------------------- */

/* How many threads kernels may use when called from this thread; at first OMP_NUM_THREADS or the number of cores. Threads wait by spinning:
 * beside other busy programs, set fewer than there are cores, or OMP_WAIT_POLICY=passive in the environment. */
TN_API int tn_get_num_threads(void);
TN_API tn_status tn_set_num_threads(int threads);
/* The instruction set that kernels run: "portable", "avx2" or "avx512"; TENON_ISA in the environment forces a lower one. */
TN_API const char *tn_cpu_isa(void);
/* Whether there is a CUDA device; the backend, libtenon_cuda.so, is opened by the first call that asks. It is looked for in the folders of
 * TENON_CUDA_PATH (separated by colons), beside this library, and where the system looks. */
TN_API bool tn_cuda_available(void);
TN_API int tn_cuda_device_count(void);
/* What runs there: "CUDA 13.0; cuBLASLt 13.0.2; cuDNN 9.19.0". A library that is missing, looked for in the same places and in the toolkit's
 * own folder, is said to be, and why: kernels of our own do its work. Without a device: why there is none. */
TN_API const char *tn_cuda_text(void);
/* Whether products and convolutions of float32 on a CUDA device may round what they multiply to TF32 (10 bits of fraction; sums are float32
 * all the same), several times faster on tensor cores. At first false. PyTorch's torch.backends.cuda.matmul.allow_tf32, which is false, and
 * torch.backends.cudnn.allow_tf32, which is true, are one here. For the whole process. */
TN_API void tn_set_allow_tf32(bool allow);
TN_API bool tn_get_allow_tf32(void);
/* TENON_TRACE=file in the environment writes what runs when, in Chrome's trace format (chrome://tracing, ui.perfetto.dev): each kernel with
 * its dtype and sizes, its GFLOP/s and GB/s and the share of what the machine can do that these are (profile.h says how that is counted), each
 * operator's backward, each module's forward, by thread. The file is whole when the program ends. */

/* Frees the caches of the library and the calling thread. Objects that still live stay valid. */
TN_API void tn_shutdown(void);

#ifdef __cplusplus
}

template <class T> T *tn_retain(T *object) { return static_cast<T *>(tn_retain(static_cast<const void *>(object))); }
template <class T> T *tn_keep(T *object) { return static_cast<T *>(tn_keep(static_cast<const void *>(object))); }
template <class T> T *tn_adopt(T *object) { return static_cast<T *>(tn_adopt(static_cast<const void *>(object))); }
template <class T> T *tn_pass(T *object) { return static_cast<T *>(tn_pass(static_cast<const void *>(object))); }
#endif

#endif
