/* What decoding does between its products, on every instruction set that this machine has, against plain loops in f64; teams of threads, their
 * barrier and exact allocations.  labels: quick, threads */
#include "check.h"

#include "core/core.h"
#include "core/parallel.h"
#include "kernels/kernels.h"

extern const tn_kernels tn_portable_kernels;
#ifdef TENON_HAVE_AVX2
extern const tn_kernels tn_avx2_kernels;
#endif
#ifdef TENON_HAVE_AVX512
extern const tn_kernels tn_avx512_kernels;
#endif

static const tn_kernels *tables[3];
static int table_count;

static void find_tables(void)
{
    tables[table_count++] = &tn_portable_kernels;
#ifdef TENON_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        tables[table_count++] = &tn_avx2_kernels;
#endif
#ifdef TENON_HAVE_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        tables[table_count++] = &tn_avx512_kernels;
#endif
}

static float number(void)
{
    static uint32_t state = 7;
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)state * 0x1p-31f;
}

static void fill(float *x, int64_t n, float size)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = number() * size;
}

static const int64_t lengths[] = {1, 7, 16, 33, 64, 288, 1000};
enum { MOST = 1000, LENGTHS = sizeof lengths / sizeof *lengths };

static void test_rows(void **state)
{
    (void)state;
    float x[2 * MOST + 3], weight[MOST], y[2 * MOST + 3], up[2 * MOST + 3];
    for (int t = 0; t < table_count; t++)
        for (int s = 0; s < LENGTHS; s++) {
            const int64_t n = lengths[s];
            fill(x, n, 3), fill(weight, n, 1), fill(up, n, 1);
            double squares = 0;
            for (int64_t i = 0; i < n; i++)
                squares += (double)x[i] * (double)x[i];
            assert_int_equal(tables[t]->decode_norm(1, n, x, weight, 1e-5, y, TN_PACKED_F32, NULL), TN_OK);
            for (int64_t i = 0; i < n; i++)
                assert_true(fabs((double)y[i] - (double)x[i] * (double)weight[i] / sqrt(squares / (double)n + 1e-5)) <= 1e-6);
            const int64_t row = n + 3, both = n + row; /* what lies between two rows stays as it is */
            fill(x, both, 3), fill(up, both, 1);
            memcpy(y, x, sizeof x);
            assert_int_equal(tables[t]->decode_gate(2, n, y, up, row, TN_PACKED_F32, NULL), TN_OK);
            for (int64_t i = 0; i < both; i++) {
                const double due = i % row < n ? (double)x[i] / (1 + exp(-(double)x[i])) * (double)up[i] : (double)x[i];
                assert_true(fabs((double)y[i] - due) <= 1e-6);
            }
        }
}

static void test_argmax(void **state)
{
    (void)state;
    float x[MOST], max;
    int64_t index;
    for (int t = 0; t < table_count; t++)
        for (int s = 0; s < LENGTHS; s++) {
            const int64_t n = lengths[s], at = n * 2 / 3;
            fill(x, n, 1);
            x[at] = x[n - 1] = 2;
            assert_int_equal(tables[t]->decode_argmax(n, x, &index, &max), TN_OK);
            assert_int_equal(index, at);
            assert_true(max == 2);
            x[n - 1] = NAN;
            assert_int_equal(tables[t]->decode_argmax(n, x, &index, &max), TN_OK);
            assert_int_equal(index, n - 1);
            assert_true(isnan(max));
            for (int64_t i = 0; i < n; i++)
                x[i] = -INFINITY;
            assert_int_equal(tables[t]->decode_argmax(n, x, &index, &max), TN_OK);
            assert_int_equal(index, 0);
        }
}

/* Row j of head g as the cache keeps it. */
static double kept(tn_dtype dtype, const void *cache, const float *scale, int64_t g, int64_t j, int64_t d, const tn_decode_attention *a)
{
    const int64_t at = g * a->head + j * a->row + d;
    if (dtype == TN_F32)
        return (double)((const float *)cache)[at];
    if (dtype == TN_I8)
        return (double)scale[g * a->scale_head + j] * ((const int8_t *)cache)[at];
    const uint32_t bits = (uint32_t)((const tn_bf16 *)cache)[at].bits << 16;
    float value;
    memcpy(&value, &bits, 4);
    return (double)value;
}

/* What one query of head h is due to see, [size]. */
static void look(const tn_decode_attention *a, int64_t h, const float *q, int64_t length, const double *k, const double *v, double *p, double *due)
{
    const int64_t at = h / (a->heads / a->kv_heads) * a->length * a->size;
    const int64_t first = a->window && a->window < length ? length - a->window : 0;
    double most = -INFINITY, sum = 0;
    for (int64_t j = first; j < length; j++) {
        p[j] = 0;
        for (int64_t d = 0; d < a->size; d++)
            p[j] += a->scale * (double)q[d] * k[at + j * a->size + d];
        most = p[j] > most ? p[j] : most;
    }
    for (int64_t j = first; j < length; j++)
        sum += p[j] = exp(p[j] - most);
    memset(due, 0, (size_t)a->size * sizeof *due);
    for (int64_t j = first; j < length; j++)
        for (int64_t d = 0; d < a->size; d++)
            due[d] += p[j] / sum * v[at + j * a->size + d];
}

static void check_attention(const tn_kernels *table, tn_dtype dtype, const int64_t heads[3], int64_t rows, int64_t length, int64_t window)
{
    enum { THREADS = 4 };
    static const double steps[] = {0, 1.0 / 256, 1.0 / 254}; /* half a step of the cache at magnitude 1 */
    const int64_t kv_heads = heads[1], size = heads[2], row = size + length % 2 * 3; /* dense, which is done otherwise, and not */
    const int64_t head = (length + 2) * row, rounded = (length + 15) / 16 * 16;
    const int64_t q_row = heads[0] * size + 5, y_row = heads[0] * size + 2, floats = rows > 1 ? THREADS * tn_decode_tiles_floats(size) : THREADS * rounded;
    float *x = malloc((size_t)(length * size) * sizeof *x), *q = malloc((size_t)(rows * q_row) * sizeof *q);
    float *y = malloc((size_t)(rows * y_row) * sizeof *y), *once = malloc((size_t)(rows * y_row) * sizeof *y);
    float *scratch = aligned_alloc(64, (size_t)(floats + 15) / 16 * 64), *scales = malloc((size_t)(2 * kv_heads * (length + 1)) * sizeof *scales);
    double *p = malloc((size_t)(length + size) * sizeof *p), *seen[2];
    float cosines[64], sines[64] = {0}; /* no turn */
    char *caches[2], *aside = malloc((size_t)head * 4);
    tn_decode_attention a = {.rows = rows, .heads = heads[0], .kv_heads = kv_heads, .size = size, .length = length, .window = window, .scale = 0.7, .q = q,
                             .q_row = q_row, .y_row = y_row, .dtype = dtype, .head = head, .row = row, .scale_head = length + 1,
                             .scratch = scratch, .y = y};
    fill(q, rows * q_row, 2);
    for (int i = 0; i < 64; i++)
        cosines[i] = 1;
    memset(scratch, 0x7f, (size_t)floats * sizeof *scratch);
    memset(y, 0, (size_t)(rows * y_row) * sizeof *y);
    for (int of = 0; of < 2; of++) {
        caches[of] = malloc((size_t)(kv_heads * head) * 4);
        seen[of] = malloc((size_t)(kv_heads * length * size) * sizeof *seen[of]);
        memset(caches[of], 0x7f, (size_t)(kv_heads * head) * 4);
        for (int64_t g = 0; g < kv_heads; g++) {
            float *scale = scales + (of * kv_heads + g) * (length + 1);
            char *to = caches[of] + g * head * (dtype == TN_F32 ? 4 : dtype == TN_BF16 ? 2 : 1);
            fill(x, length * size, 1);
            const tn_decode_store store = {.rows = 1, .kv_heads = length, .size = size, .k = x, .v = x, .cos = cosines, .sin = sines, .dtype = dtype,
                                           .keys = of ? aside : to, .values = of ? to : aside, .head = a.row, .key_scales = scale, .value_scales = scale, .scale_head = 1};
            assert_int_equal(table->decode_store(&store), TN_OK);
            for (int64_t j = 0; j < length; j++)
                for (int64_t d = 0; d < size; d++) {
                    const double value = kept(dtype, caches[of], scales + of * kv_heads * (length + 1), g, j, d, &a);
                    assert_true(fabs(value - (double)x[j * size + d]) <= steps[dtype == TN_F32 ? 0 : dtype == TN_BF16 ? 1 : 2] * 1.001);
                    seen[of][(g * length + j) * size + d] = value;
                }
        }
    }
    a.k = caches[0], a.v = caches[1];
    if (dtype == TN_I8)
        a.k_scale = scales, a.v_scale = scales + kv_heads * (length + 1);
    assert_int_equal(table->decode_attention(&a, 0, 1), TN_OK);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t h = 0; h < heads[0]; h++) {
            look(&a, h, q + i * q_row + h * size, length - rows + 1 + i, seen[0], seen[1], p + size, p);
            for (int64_t d = 0; d < size; d++)
                if (!(fabs((double)y[i * y_row + h * size + d] - p[d]) <= 1e-5))
                    fail_msg("%s: %lld heads of %lld, %lld rows of %lld: y[%lld, %lld, %lld] is %.9g, %.9g was due", table->name, (long long)heads[0],
                             (long long)size, (long long)rows, (long long)length, (long long)i, (long long)h, (long long)d,
                             (double)y[i * y_row + h * size + d], p[d]);
        }
    memcpy(once, y, (size_t)(rows * y_row) * sizeof *y);
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(table->decode_attention(&a, t, THREADS), TN_OK);
    assert_memory_equal(once, y, (size_t)(rows * y_row) * sizeof *y);
    free(x), free(q), free(y), free(once), free(scratch), free(scales), free(p), free(aside);
    for (int of = 0; of < 2; of++)
        free(caches[of]), free(seen[of]);
}

static const tn_dtype dtypes[] = {TN_F32, TN_BF16, TN_I8};

static void test_attention(void **state)
{
    (void)state;
    static const int64_t heads[][3] = {{6, 6, 48}, {8, 4, 8}, {4, 1, 64}, {2, 2, 128}, {3, 3, 21}};
    static const int64_t rows[] = {1, 2, 15, 16, 17, 100, 257};
    for (int t = 0; t < table_count; t++)
        for (int d = 0; d < 3; d++)
            for (int h = 0; h < 5; h++)
                for (int r = 0; r < 7; r++)
                    check_attention(tables[t], dtypes[d], heads[h], 1, rows[r], 0);
}

/* Rows of a sequence, with and without earlier ones. */
static void test_attention_of_rows(void **state)
{
    (void)state;
    static const int64_t heads[][3] = {{2, 2, 48}, {3, 1, 8}, {3, 1, 64}, {6, 2, 128}, {1, 1, 21}};
    static const int64_t rows[][2] = {{2, 0}, {2, 62}, {7, 0}, {7, 130}, {64, 0}, {64, 1}, {65, 70}};
    for (int t = 0; t < table_count; t++)
        for (int d = 0; d < 3; d++) {
            for (int h = 0; h < 5; h++)
                for (int r = 0; r < 7; r++)
                    check_attention(tables[t], dtypes[d], heads[h], rows[r][0], rows[r][0] + rows[r][1], 0);
            check_attention(tables[t], dtypes[d], heads[0], 256, 256, 5);
            check_attention(tables[t], dtypes[d], heads[1], 256, 300, 0);
            check_attention(tables[t], dtypes[d], heads[1], 200, 300, 70);
        }
}

enum { STEPS = 200, TEAM = 4 };
typedef struct relay {
    tn_barrier barrier;
    int threads, wrong;
    int at[2][TEAM];
} relay;

/* Each step reads what all wrote in the one before. */
static void run_relay(int thread, int threads, void *context)
{
    relay *r = context;
    if (thread == 0)
        r->threads = threads;
    for (int step = 0; step < STEPS; step++) {
        r->at[step % 2][thread] = step;
        tn_barrier_wait(&r->barrier, threads);
        for (int t = 0; t < threads; t++)
            if (r->at[step % 2][t] != step)
                __atomic_store_n(&r->wrong, 1, __ATOMIC_RELAXED);
    }
}

static void test_team(void **state)
{
    (void)state;
    const int before = tn_get_num_threads();
    for (int threads = 1; threads <= TEAM; threads++) {
        relay r = {.threads = 0};
        assert_int_equal(tn_set_num_threads(threads), TN_OK);
        tn_parallel_team(3, run_relay, &r);
        assert_true(r.threads >= 1 && r.threads <= (threads < 3 ? threads : 3));
        assert_int_equal(r.wrong, 0);
    }
    assert_int_equal(tn_set_num_threads(before), TN_OK);
}

static void test_pages(void **state)
{
    (void)state;
    const int64_t before = tn_get_memory_stats().in_use;
    const size_t size = ((size_t)9 << 20) + 64;
    char *memory = tn_alloc_pages(size);
    check_good();
    assert_int_equal((uintptr_t)memory % 64, 0);
    memset(memory, 1, size);
    assert_int_equal(tn_get_memory_stats().in_use - before, (int64_t)size);
    tn_free_pages(memory, size);
    tn_free_pages(NULL, 1);
    assert_int_equal(tn_get_memory_stats().in_use, before);
    tn_memory_set_limit(before + 1000);
    assert_null(tn_alloc_pages(2000));
    check_error(TN_ERR_MEMORY, "2000 bytes");
    tn_memory_set_limit(0);
    assert_null(tn_alloc_pages((size_t)1 << 47));
    check_error(TN_ERR_MEMORY, "out of memory");
}

int main(void)
{
    find_tables();
    const struct CMUnitTest tests[] = {TEST(test_rows), TEST(test_argmax), TEST(test_attention), TEST(test_attention_of_rows), TEST(test_team), TEST(test_pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
