/* Packed weights as a language model's decoding and prefill use them, beside what the machine can do, measured in turn.
 * usage: packed [15M|110M] [THREADS] [ROUNDS] [KIND]
 * Prints for each kind: decode in tokens/s (products and preparing x alone) and GB/s of weights, with the share of the best of 1, 4 and 8
 * streams that read the same bytes; prefill of 256 tokens in tokens/s and GFLOP/s, with the shares of the fp32 peak and of the kind's own. */
#include <pthread.h>
#include <stdio.h>

#include "kernels/peaks.h"
#include "peak.h"

/* What a kind's products are made of: fp32, pairs of bf16, fours of bytes. */
static const tn_work_kind multiplied[] = {TN_WORK_F32, TN_WORK_BF16, TN_WORK_I8, TN_WORK_I8};

enum { PROMPT = 256, MOST_THREADS = 64, PRODUCTS = 7 };
typedef struct shape {
    const char *name;
    int64_t dim, hidden, layers, vocabulary;
} shape;
static const shape shapes[] = {{"15M", 288, 768, 6, 32000}, {"110M", 768, 2048, 12, 32000}};
static const char *const kinds[] = {"f32", "bf16", "q8", "q4"};

typedef struct model {
    shape shape;
    tn_packed_kind kind;
    tn_packed_matrix *w; /* layers of q, k, v, o, gate, up, down; the head */
    char *memory;
    size_t bytes;
    float *x, *y;
    void *prepared[MOST_THREADS];
    int64_t n;
    int threads;
    pthread_barrier_t *barrier;
} model;

/* Of one thread its processor time, so that other programs on a shared machine do not count; of several what the clock says. */
static double now_of(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void build(model *m)
{
    const shape s = m->shape;
    const int64_t sizes[PRODUCTS][2] = {{s.dim, s.dim}, {s.dim, s.dim}, {s.dim, s.dim}, {s.dim, s.dim}, {s.hidden, s.dim}, {s.hidden, s.dim}, {s.dim, s.hidden}};
    const int64_t count = s.layers * PRODUCTS + 1;
    m->w = calloc((size_t)count, sizeof *m->w);
    m->bytes = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t *size = sizes[i % PRODUCTS], head[] = {s.vocabulary, s.dim};
        size = i == count - 1 ? head : size;
        m->w[i] = (tn_packed_matrix){m->kind, size[0], size[1], NULL, NULL, NULL};
        m->bytes += tn_packed_bytes(m->kind, size[0], size[1]);
    }
    char *at = m->memory = peak_pages(m->bytes);
    float *row = calloc((size_t)s.hidden, sizeof *row);
    uint32_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        m->w[i].data = at;
        at += tn_packed_bytes(m->kind, m->w[i].rows, m->w[i].cols);
        for (int64_t k = 0; k < m->w[i].cols; k++)
            row[k] = (float)(int32_t)(state = state * 1664525u + 1013904223u) * 0x1p-36f;
        for (int64_t r = 0; r < m->w[i].rows; r++)
            tn_kernels_of(TN_CPU)->packed_pack(&m->w[i], r, 1, row, m->w[i].cols);
    }
    free(row);
    m->x = (float *)(void *)peak_pages(PROMPT * (size_t)s.hidden * sizeof(float));
    m->y = (float *)(void *)peak_pages(PROMPT * (size_t)s.hidden * sizeof(float) + 8 * (size_t)s.vocabulary * sizeof(float));
    for (int64_t i = 0; i < PROMPT * s.hidden; i++)
        m->x[i] = (float)(int32_t)(state = state * 1664525u + 1013904223u) * 0x1p-31f;
    for (int t = 0; t < MOST_THREADS; t++)
        m->prepared[t] = t < m->threads ? peak_pages(tn_packed_input_bytes(m->kind, PROMPT, s.hidden)) : NULL;
}

static void wait_for_all(const model *m)
{
    if (m->threads > 1)
        pthread_barrier_wait(m->barrier);
}

/* Thread t's share of a pass of n tokens: one token is prepared by each thread for itself. Of a prompt the head takes one row. */
static void pass(const model *m, int t)
{
    const tn_kernels *k = tn_kernels_of(TN_CPU);
    const shape s = m->shape;
    const bool own = m->n == 1;
    void *prepared = m->prepared[own ? t : 0];
    const int at = own ? 0 : t, of = own ? 1 : m->threads;
    for (int64_t layer = 0; layer < s.layers; layer++) {
        const tn_packed_matrix *w = m->w + layer * PRODUCTS;
        for (int i = 0; i < PRODUCTS; i++) {
            if (i == 0 || i == 3 || i == 4 || i == 6) {
                k->packed_input(m->kind, m->n, w[i].cols, m->x, s.hidden, prepared, at, of);
                if (!own)
                    wait_for_all(m);
            }
            k->packed_product(&w[i], m->n, prepared, m->y, w[i].rows, false, t, m->threads);
            if (i >= 2 && i != 4)
                wait_for_all(m);
        }
    }
    const int64_t outs = m->n == PROMPT ? 1 : m->n;
    k->packed_input(m->kind, outs, s.dim, m->x, s.hidden, m->prepared[t], 0, 1);
    k->packed_product(&m->w[s.layers * PRODUCTS], outs, m->prepared[t], m->y, s.vocabulary, false, t, m->threads);
    wait_for_all(m);
}

typedef struct worker {
    const model *m;
    int t, repeats;
    double best;
} worker;

static void *work(void *context)
{
    worker *w = context;
    for (int r = 0; r < w->repeats; r++) {
        wait_for_all(w->m);
        const double begin = now_of(w->m->threads);
        pass(w->m, w->t);
        const double seconds = now_of(w->m->threads) - begin;
        w->best = r == 0 || seconds < w->best ? seconds : w->best;
    }
    return NULL;
}

/* The least seconds of a pass. */
static double time_passes(model *m, int64_t n, int repeats)
{
    pthread_barrier_t barrier;
    pthread_t ids[MOST_THREADS];
    worker workers[MOST_THREADS];
    pthread_barrier_init(&barrier, NULL, (unsigned)m->threads);
    m->barrier = &barrier;
    m->n = n;
    for (int t = 0; t < m->threads; t++) {
        workers[t] = (worker){m, t, repeats, 0};
        if (pthread_create(&ids[t], NULL, work, &workers[t]))
            exit(1);
    }
    for (int t = 0; t < m->threads; t++)
        pthread_join(ids[t], NULL);
    pthread_barrier_destroy(&barrier);
    return workers[0].best;
}

int main(int argc, char **argv)
{
    const char *wanted = argc > 1 ? argv[1] : "15M";
    const int threads = argc > 2 ? atoi(argv[2]) : 1, rounds = argc > 3 ? atoi(argv[3]) : 3;
    const shape s = shapes[strcmp(wanted, "110M") == 0];
    double decode[4] = {0}, prefill[4] = {0}, eight[4] = {0}, read[4] = {0}, own[4] = {0}, fp32 = 0;
    model models[4];
    if (tn_set_num_threads(threads) != TN_OK)
        return 2;
    for (int k = 0; k < 4; k++) {
        models[k] = (model){.shape = s, .kind = (tn_packed_kind)k, .threads = threads < 1 || threads > MOST_THREADS ? 1 : threads};
        if (argc <= 4 || !strcmp(argv[4], kinds[k]))
            build(&models[k]);
    }
    for (int r = 0; r < rounds; r++) {
        const double peak = tn_peak_gflops(TN_WORK_F32, models[0].threads, TN_LONG);
        fp32 = peak > fp32 ? peak : fp32;
        for (int k = 0; k < 4; k++) {
            if (argc > 4 && strcmp(argv[4], kinds[k]))
                continue;
            const double own_peak = tn_peak_gflops(multiplied[k], models[k].threads, TN_LONG);
            own[k] = own_peak > own[k] ? own_peak : own[k];
            const int repeats = (int)(1 + 400000000 / models[k].bytes);
            const double of_decode = 1 / time_passes(&models[k], 1, repeats), of_prefill = 1 / time_passes(&models[k], PROMPT, 2),
                         of_eight = 8 / time_passes(&models[k], 8, 1 + repeats / 4);
            decode[k] = of_decode > decode[k] ? of_decode : decode[k];
            prefill[k] = of_prefill > prefill[k] ? of_prefill : prefill[k];
            eight[k] = of_eight > eight[k] ? of_eight : eight[k];
            const double rate = peak_gbytes(models[k].threads, models[k].memory, models[k].bytes, repeats, 0);
            read[k] = rate > read[k] ? rate : read[k];
        }
    }
    const double flop = 2.0 * PROMPT * (double)s.layers * (double)(4 * s.dim * s.dim + 3 * s.dim * s.hidden) + 2.0 * (double)(s.dim * s.vocabulary);
    printf("%s, %d threads, %s, fp32 peak %.1f GFLOP/s\n%-5s %9s %6s %6s %5s %9s | %9s %8s %7s %6s\n", s.name, models[0].threads, tn_cpu_isa(), fp32, "kind",
           "decode/s", "GB/s", "reads", "share", "8 tok/s", "prefill/s", "GFLOP/s", "of fp32", "of own");
    for (int k = 0; k < 4; k++)
        if (argc <= 4 || !strcmp(argv[4], kinds[k]))
            printf("%-5s %9.1f %6.1f %6.1f %4.0f%% %9.0f | %9.0f %8.1f %6.0f%% %5.0f%%\n", kinds[k], decode[k], 1e-9 * decode[k] * (double)models[k].bytes, read[k],
                   100e-9 * decode[k] * (double)models[k].bytes / read[k], eight[k], prefill[k] * PROMPT, 1e-9 * flop * prefill[k],
                   100e-9 * flop * prefill[k] / fp32, 100e-9 * flop * prefill[k] / own[k]);
    return 0;
}
