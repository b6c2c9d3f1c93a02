/* The core as the library's rooms see it: objects, storage, the tensor's fields, the thread's state. */
#ifndef TN_CORE_H
#define TN_CORE_H

#ifndef TN_NO_SITES
#define TN_NO_SITES /* call sites are the caller's: the library's own calls name none */
#endif

#include <locale.h>
#include <stdarg.h>

#include <tenon/tensor.h>

#define TN_LIKELY(x) __builtin_expect(!!(x), 1)
#define TN_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TN_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* ---- objects ------------------------------------------------------------------------------------------------------------ */

struct tn_class {
    const char *name;
    size_t size;
    void (*free)(void *self); /* releases what the object holds, not the object itself; never fails */
};
enum { TN_OBJECT_MAGIC = 0x746e6f62 };

/* A cleared object of cls->size bytes with one reference, the caller's; NULL on no memory. */
void *tn_object_new(const tn_class *cls);
/* Puts an owned object into the current scope; on failure releases it and returns NULL. The way every op's result goes. */
void *tn_autorelease(void *object);

/* ---- the thread's state ------------------------------------------------------------------------------------------------- */

enum { TN_SMALL_CLASSES = 56 };
typedef struct tn_free_block {
    struct tn_free_block *next;
} tn_free_block;

typedef struct tn_thread {
    int status; /* the sticking error, TN_OK when none */
    bool no_grad;
    int autocast; /* the tn_dtype that products of f32 may round their operands to; TN_F32: none */
    bool detect_anomaly; /* every result and gradient is looked at for NaN */
    bool draining;
    bool registered; /* the thread's end will be noticed */
    bool site_known;
    bool aside; /* an error that sticks is set aside: messages go elsewhere */
    bool undrawn; /* random tensors stay as they are and nothing is drawn: a module is made for weights that a file has */
    int num_threads;   /* 0: the process's default */
    tn_object **stack; /* the temporaries of all open scopes */
    int64_t top, capacity;
    int64_t *marks; /* where each open scope begins; the root scope begins at 0 */
    int64_t depth, marks_capacity;
    tn_object *doomed; /* objects whose count reached 0, waiting to be freed by the loop in tn_release */
    struct tn_texts *texts; /* error.c */
    struct tn_graph *capturing; /* what the thread captures; NULL: nothing */
    struct tn_profile *profile; /* that times the kernels which the thread calls; NULL: none. Not counted */
    int64_t in_use_delta, cached_delta, allocations_delta;
    tn_free_block *small[TN_SMALL_CLASSES];
    int32_t small_count[TN_SMALL_CLASSES];
} tn_thread;

extern __thread tn_thread tn_this __attribute__((tls_model("initial-exec")));

/* Whether products of f32 are under TN_AUTOCAST(TN_BF16). */
static inline bool tn_rounds_to_bf16(void) { return tn_this.autocast == TN_BF16; }

/* True while an error sticks: operators return NULL at once. */
static inline bool tn_failing(void) { return TN_UNLIKELY(tn_this.status != TN_OK); }
/* Makes the end of the thread give back its scopes and caches; called before either is first used. */
bool tn_thread_register(void);
/* Frees the thread's scopes and their stack. */
void tn_thread_reset(void);
/* error.c: a buffer of TN_TEXT_SIZE for a part of a message, the thread's; good for as many as one message has. */
enum { TN_TEXT_SIZE = 200 };
char *tn_text_buffer(void);
/* text.c: text that is written as far as there is room, and counted beyond it. */
typedef struct tn_text_out {
    char *text;
    size_t size, length;
} tn_text_out;
void tn_put(tn_text_out *out, const char *format, ...) TN_PRINTF(2, 3);
bool tn_is_utf8(const char *text, size_t length);
/* A file's text on one line, which tells a terminal nothing: a line's end, a tab and a backslash as \n, \t and \\, each byte of another control (C0,
 * DEL, C1) and of what is not UTF-8 as \x1b; of more than `most` bytes the whole characters at the beginning and how many bytes there are. */
void tn_put_abridged(tn_text_out *out, const char *text, size_t length, size_t most);
/* The same of all of it, with spaces behind up to `width`. */
void tn_put_padded(tn_text_out *out, const char *text, size_t width);
/* A message, as vsnprintf() writes it, whose controls are told in the same way, for names out of files stand in it; a backslash stays. Its length;
 * size, where it was cut. */
size_t tn_compose(char *out, size_t size, const char *format, va_list list);
/* locale.c: to the end of the block the thread writes and reads numbers as C does (printf, strtod, cJSON), whatever locale the program has set: tn_put()
 * is so by itself. */
locale_t tn_locale_c(void);
void tn_locale_back(locale_t *before);
#define TN_C_NUMBERS TN_CLEANUP_(tn_locale_back) locale_t TN_UNIQUE_(tn_locale_at_) = tn_locale_c()
/* Frees the thread's message and buffers. */
void tn_texts_thread_end(void);
/* alloc.c: exactly so many bytes, of the system and back to it, for what is large and lives long: aligned to 64, from 4 MiB on in 2 MiB pages
 * where the system has them. Counted and limited as tn_alloc()'s; NULL with an error on no memory. */
void *tn_alloc_pages(size_t size);
void tn_free_pages(void *memory, size_t size);
/* alloc.c: gives the thread's cache and counts to the process. */
void tn_alloc_thread_end(void);

/* ---- storage and tensors ------------------------------------------------------------------------------------------------ */

typedef struct tn_storage {
    int32_t refs;
    int32_t aliases;  /* living views that were made of tensors over it */
    uint64_t version; /* raised by every write */
    tn_device_id device;
    char *data;
    size_t bytes;
    void (*release)(void *data, void *context); /* a caller's memory; NULL: our own, allocated behind this struct */
    void *context;
} tn_storage;

/* Storage of so many bytes on the device, not cleared, one reference; NULL on no memory. */
tn_storage *tn_storage_new(size_t bytes, tn_device_id device);
/* Storage over the caller's memory; release, unless NULL, is called when the last reference goes. */
tn_storage *tn_storage_over(void *data, size_t bytes, void (*release)(void *, void *), void *context);
static inline void tn_storage_retain(tn_storage *s) { __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED); }
void tn_storage_release(tn_storage *s);
static inline void tn_storage_touch(tn_storage *s) { __atomic_fetch_add(&s->version, 1, __ATOMIC_RELAXED); }

struct tn_node;
struct tn_hooks;
enum {
    TN_FLAG_REQUIRES_GRAD = 1, /* a leaf that asks for a gradient; a non-leaf has grad_fn instead */
    TN_FLAG_WRAPPED = 2,       /* a C number: does not promote within its kind */
    TN_FLAG_VIEW = 4,          /* a view of another tensor: counted in storage->aliases */
    TN_FLAG_CONTIGUOUS = 8,
    TN_FLAG_RETAIN_GRAD = 16,
};

struct tn_tensor {
    tn_object base;
    tn_storage *storage;
    int64_t offset; /* elements from the storage's start */
    int64_t numel;
    uint8_t dtype, ndim, flags;
    int32_t output_nr;       /* which output of grad_fn */
    struct tn_node *grad_fn; /* NULL: a leaf */
    tn_tensor *grad;
    struct tn_hooks *hooks; /* of a leaf; a non-leaf's are its node's */
    int64_t sizes[TN_MAX_DIMS], strides[TN_MAX_DIMS];
};

static inline bool tn_has(const tn_tensor *x, int flag) { return (x->flags & flag) != 0; }
extern const uint8_t tn_dtype_sizes[TN_DTYPE_COUNT];
static inline size_t tn_item_size(const tn_tensor *x) { return tn_dtype_sizes[x->dtype]; }
static inline char *tn_ptr(const tn_tensor *x) { return x->storage->data + (size_t)x->offset * tn_item_size(x); }
static inline bool tn_tracks(const tn_tensor *x) { return x->grad_fn || (x->flags & TN_FLAG_REQUIRES_GRAD); }
static inline bool tn_same_device(tn_device_id a, tn_device_id b) { return a.type == b.type && a.index == b.index; }

/* A new contiguous tensor, not cleared, owned by the current scope. */
tn_tensor *tn_new(const char *op, tn_shape shape, tn_dtype dtype, tn_device_id device);
/* The same, owned by the caller. */
tn_tensor *tn_new_owned(const char *op, tn_shape shape, tn_dtype dtype, tn_device_id device);
/* A view of x with other sizes, strides (elements) and offset, owned by the scope, without history: ops add theirs. */
tn_tensor *tn_view_of(const tn_tensor *x, int ndim, const int64_t *sizes, const int64_t *strides, int64_t offset);
/* x's storage and metadata in a tensor of no history that counts as no view: what a node saves of its output. Owned by the caller. */
tn_tensor *tn_alias_owned(const tn_tensor *x);
/* A tensor over storage whose reference it takes, on failure too; contiguous; owned by the scope. */
tn_tensor *tn_over_storage(tn_storage *storage, tn_shape shape, tn_dtype dtype);
/* The same with strides and offset (elements), which the caller has checked against the storage. */
tn_tensor *tn_over_storage_strided(tn_storage *storage, tn_shape shape, const int64_t *strides, int64_t offset, tn_dtype dtype);

/* Puts where the sticking error arose, "net.safetensors", in front of what it says. */
void tn_fail_within(const char *format, ...) TN_PRINTF(1, 2);

/* ---- options structs ---------------------------------------------------------------------------------------------------- */

/* The first line of every function that takes an options struct: from here on args is a struct as this build knows it. */
#define TN_KNOWN(type, args)                                                                                                  \
    type known_;                                                                                                              \
    if (TN_UNLIKELY(!(args) || (args)->size != sizeof known_))                                                                \
    (args) = tn_known_args(&known_, sizeof known_, (args))
/* Fills known from args, whose size may be an older or a newer header's; what args has not is 0. On error known still may be read. */
const void *tn_known_args(void *known, size_t size, const void *args);

/* ---- errors set aside ----------------------------------------------------------------------------------------------------- */

/* What works while an error sticks (printing, saving) begins with TN_ERROR_ASIDE: what fails to the end of the block is dropped where an
 * error stuck before, and that one sticks again. */
typedef struct tn_aside {
    int status;
    bool site_known, aside;
} tn_aside;
tn_aside tn_error_aside(void);
void tn_error_back(tn_aside *aside);
#define TN_ERROR_ASIDE TN_CLEANUP_(tn_error_back) tn_aside TN_UNIQUE_(tn_aside_at_) = tn_error_aside()

/* ---- what every op begins with ------------------------------------------------------------------------------------------ */

extern const tn_class tn_tensor_class;
/* Raises what is wrong with x, which is NULL or no tensor; false. */
bool tn_not_ready(const char *op, const char *argument, const tn_tensor *x);
/* False, with an error, when an error sticks or x is NULL or no tensor, as one is that was released. */
static inline bool tn_ready(const char *op, const char *argument, const tn_tensor *x)
{
    return !tn_failing() && (TN_LIKELY(x && x->base.cls == &tn_tensor_class) || tn_not_ready(op, argument, x));
}
/* dim made non-negative for ndim dimensions (0-d counts as 1-d); -1 with TN_ERR_INDEX when it is out of range. */
int tn_wrap_dim(const char *op, int dim, int ndim);
/* A bit for each dim of the set; an empty set means all. False on a dim out of range or named twice. */
bool tn_dims_mask(const char *op, tn_dims dims, int ndim, uint32_t *mask);
/* The dtype that new tensors take: dtype, or the default one. */
tn_dtype tn_dtype_or_default(tn_dtype dtype);
/* A C number that an element of the dtype can hold, its fraction dropped; false with an error. */
bool tn_number_fits(const char *op, double value, tn_dtype dtype);
tn_device_id tn_device_or_default(const tn_device_id *device);
/* Checks ndim, sizes >= 0 and that the product fits; false with an error. */
bool tn_shape_check(const char *op, tn_shape shape, int64_t *numel);
bool tn_shape_equal(tn_shape a, tn_shape b);
bool tn_same_shape(const tn_tensor *a, const tn_tensor *b);
/* PyTorch's broadcasting of both shapes; false with an error that names both. */
bool tn_broadcast_shapes(const char *op, const tn_tensor *a, const tn_tensor *b, tn_shape *out);
/* The dtype of an operator on both, wrapped numbers and rank-0 tensors not promoting within their kind. */
tn_dtype tn_result_dtype(const tn_tensor *a, const tn_tensor *b);
/* Both on one device (a wrapped number goes anywhere); false with an error. */
bool tn_devices_agree(const char *op, const tn_tensor *a, const tn_tensor *b);
/* "[2, 3]" for messages, in one of a few buffers of the thread. */
const char *tn_shape_text(tn_shape shape);
const char *tn_text(const tn_tensor *x);         /* shape_text of x */
const char *tn_device_text(tn_device_id device); /* "cpu", "cuda:0" */
void tn_warn(const char *format, ...) TN_PRINTF(1, 2);

#endif
