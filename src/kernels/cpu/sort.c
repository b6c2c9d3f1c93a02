/* Sorting rows, stably. An element becomes an unsigned key whose order is the wanted one (all bits turned where descending; both zeros
 * one key, every NaN the greatest), so one algorithm serves all dtypes: keys of at most 32 bits are packed with their index in one
 * number, which makes every order stable; keys of 64 bits go beside it. Long rows go by radix, short ones by insertion, and the few
 * first of many by a heap. */
#include <string.h>

#include "kernels/cpu/load.h"

/* Rows of at most SHORT elements are sorted by insertion; a heap serves for less than one in HEAP of a row. */
enum { SHORT = 48, HEAP = 16, RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };

typedef struct sort_item {
    uint64_t key, index;
} sort_item;

typedef struct sort_task {
    const tn_sort_rows *rows;
    tn_dtype dtype;
    int64_t element;
    bool wide;     /* keys of 64 bits */
    char *scratch; /* two arrays of n items for each of `workers` */
    int64_t workers;
} sort_task;

static inline uint64_t key_of_double(double x)
{
    union { double f; uint64_t u; } v = {x == 0 ? 0 : x};
    return x != x ? UINT64_MAX : v.u >> 63 ? ~v.u : v.u | UINT64_C(1) << 63;
}

static inline uint32_t key_of_float(float x)
{
    uint32_t u = tn_f32_bits(x == 0 ? 0 : x);
    return x != x ? UINT32_MAX : u >> 31 ? ~u : u | UINT32_C(1) << 31;
}

static inline uint64_t key_at(tn_dtype dtype, const char *x)
{
    switch (dtype) {
    case TN_F32: return key_of_float(*(const float *)(const void *)x);
    case TN_F16: return key_of_float(tn_load_f16(*(const tn_f16 *)(const void *)x));
    case TN_BF16: return key_of_float(tn_load_bf16(*(const tn_bf16 *)(const void *)x));
    case TN_F64: return key_of_double(*(const double *)(const void *)x);
    case TN_I64: return (uint64_t)*(const int64_t *)(const void *)x ^ UINT64_C(1) << 63;
    case TN_I32: return (uint32_t)*(const int32_t *)(const void *)x ^ UINT32_C(1) << 31;
    case TN_I16: return (uint32_t)(*(const int16_t *)(const void *)x + 0x8000);
    case TN_I8: return (uint32_t)(*(const int8_t *)x + 0x80);
    default: return *(const uint8_t *)x;
    }
}

/* ---- packed keys: key << 32 | index ------------------------------------------------------------------------------------- */

static void insertion_packed(uint64_t *a, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        uint64_t moving = a[i];
        int64_t j = i;
        for (; j > 0 && a[j - 1] > moving; j--)
            a[j] = a[j - 1];
        a[j] = moving;
    }
}

/* By the upper 32 bits; the lower ones are in order already, and each pass keeps what it finds. Returns the one that holds the result. */
static uint64_t *radix_packed(uint64_t *a, uint64_t *b, int64_t n)
{
    for (int shift = 32; shift < 64; shift += RADIX_BITS) {
        int64_t count[RADIX] = {0}, at = 0;
        for (int64_t i = 0; i < n; i++)
            count[a[i] >> shift & (RADIX - 1)]++;
        if (count[a[0] >> shift & (RADIX - 1)] == n) continue;
        for (int d = 0; d < RADIX; d++) {
            int64_t here = count[d];
            count[d] = at;
            at += here;
        }
        for (int64_t i = 0; i < n; i++)
            b[count[a[i] >> shift & (RADIX - 1)]++] = a[i];
        uint64_t *swap = a;
        a = b, b = swap;
    }
    return a;
}

static void sift_down(uint64_t *heap, int64_t k, int64_t at)
{
    uint64_t moving = heap[at];
    for (int64_t child; (child = 2 * at + 1) < k; at = child) {
        child += child + 1 < k && heap[child + 1] > heap[child];
        if (heap[child] <= moving) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* The k least of a to its front, in order: a heap of them, the greatest at its top. */
static void heap_packed(uint64_t *a, int64_t n, int64_t k)
{
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(a, k, i);
    for (int64_t i = k; i < n; i++) {
        if (a[i] >= a[0]) continue;
        a[0] = a[i];
        sift_down(a, k, 0);
    }
    for (int64_t end = k - 1; end > 0; end--) {
        uint64_t top = a[0];
        a[0] = a[end];
        a[end] = top;
        sift_down(a, end, 0);
    }
}

static void sort_packed(const sort_task *task, int64_t row, uint64_t *a, uint64_t *b)
{
    const tn_sort_rows *r = task->rows;
    const char *x = (const char *)r->x + row * r->n * task->element;
    int64_t *indices = r->indices + row * r->k;
    uint64_t turn = r->descending ? UINT32_MAX : 0;
    for (int64_t i = 0; i < r->n; i++)
        a[i] = (key_at(task->dtype, x + i * task->element) ^ turn) << 32 | (uint64_t)i;
    if (r->n <= SHORT)
        insertion_packed(a, r->n);
    else if (r->k < r->n / HEAP)
        heap_packed(a, r->n, r->k);
    else
        a = radix_packed(a, b, r->n);
    for (int64_t i = 0; i < r->k; i++)
        indices[i] = (int64_t)(uint32_t)a[i];
}

/* ---- keys of 64 bits, or rows too long for an index of 32 --------------------------------------------------------------- */

static void insertion_wide(sort_item *a, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        sort_item moving = a[i];
        int64_t j = i;
        for (; j > 0 && a[j - 1].key > moving.key; j--)
            a[j] = a[j - 1];
        a[j] = moving;
    }
}

static sort_item *radix_wide(sort_item *a, sort_item *b, int64_t n)
{
    for (int shift = 0; shift < 64; shift += RADIX_BITS) {
        int64_t count[RADIX] = {0}, at = 0;
        for (int64_t i = 0; i < n; i++)
            count[a[i].key >> shift & (RADIX - 1)]++;
        if (count[a[0].key >> shift & (RADIX - 1)] == n) continue;
        for (int d = 0; d < RADIX; d++) {
            int64_t here = count[d];
            count[d] = at;
            at += here;
        }
        for (int64_t i = 0; i < n; i++)
            b[count[a[i].key >> shift & (RADIX - 1)]++] = a[i];
        sort_item *swap = a;
        a = b, b = swap;
    }
    return a;
}

static void sort_wide(const sort_task *task, int64_t row, sort_item *a, sort_item *b)
{
    const tn_sort_rows *r = task->rows;
    const char *x = (const char *)r->x + row * r->n * task->element;
    int64_t *indices = r->indices + row * r->k;
    uint64_t turn = r->descending ? UINT64_MAX : 0;
    for (int64_t i = 0; i < r->n; i++)
        a[i] = (sort_item){key_at(task->dtype, x + i * task->element) ^ turn, (uint64_t)i};
    if (r->n <= SHORT)
        insertion_wide(a, r->n);
    else
        a = radix_wide(a, b, r->n);
    for (int64_t i = 0; i < r->k; i++)
        indices[i] = (int64_t)a[i].index;
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

static void sort_workers(int64_t begin, int64_t end, void *context)
{
    const sort_task *task = context;
    const tn_sort_rows *r = task->rows;
    size_t item = task->wide ? sizeof(sort_item) : sizeof(uint64_t), element = (size_t)task->element;
    for (int64_t worker = begin; worker < end; worker++) {
        char *a = task->scratch + (size_t)(2 * worker * r->n) * item, *b = a + (size_t)r->n * item;
        int64_t last = r->rows * (worker + 1) / task->workers;
        for (int64_t row = r->rows * worker / task->workers; row < last; row++) {
            if (task->wide)
                sort_wide(task, row, (sort_item *)(void *)a, (sort_item *)(void *)b);
            else
                sort_packed(task, row, (uint64_t *)(void *)a, (uint64_t *)(void *)b);
            const char *x = (const char *)r->x + (size_t)(row * r->n) * element;
            char *values = (char *)r->values + (size_t)(row * r->k) * element;
            for (int64_t i = 0; i < r->k; i++)
                memcpy(values + (size_t)i * element, x + (size_t)r->indices[row * r->k + i] * element, element);
        }
    }
}

tn_status TN_K(sort)(tn_dtype dtype, const tn_sort_rows *r)
{
    sort_task task = {.rows = r, .dtype = dtype, .element = (int64_t)tn_dtype_size(dtype)};
    if (r->rows == 0 || r->n == 0) return TN_OK;
    task.wide = dtype == TN_F64 || dtype == TN_I64 || r->n > (int64_t)UINT32_MAX;
    task.workers = tn_min_i64(tn_parallel_width(), tn_ceil_div(r->rows * r->n, TN_GRAIN / 8));
    task.workers = tn_min_i64(task.workers, r->rows);
    size_t bytes = (size_t)(2 * task.workers * r->n) * (task.wide ? sizeof(sort_item) : sizeof(uint64_t));
    if (!(task.scratch = tn_alloc(bytes))) return TN_ERR_MEMORY;
    tn_parallel_for(task.workers, 1, sort_workers, &task);
    tn_free(task.scratch, bytes);
    return TN_OK;
}
