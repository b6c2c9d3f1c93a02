/* A Llama's prefill and decoding, for bench/llama.sh to run beside llama.cpp and llama2.c.
 * usage: llama make 15M|110M FOLDER      random weights in the shape of stories15M or stories110M: f32.gguf, f32.bin and q8_0.bin (llama2.c's)
 *        llama run FILE f32|bf16|q8_0|q4_0 THREADS [SEQUENCES] [cuda:0 [uncaptured]]
 *        llama first FILE f32|bf16|q8_0|q4_0 THREADS [cuda:0]
 * run prints "prefill_per_s decode_per_s gflop bytes": tokens/s of a prompt of 256 tokens, with the last one's logits, and of 256 tokens decoded, each
 * with its logits and their argmax (by SEQUENCES at a time, then in all); what the products and the attention of all the prompt's tokens take in all
 * layers (in the last one neither Tenon nor llama.cpp computes all of it for tokens that get no logits), and the weights that a decoded token reads. first prints the milliseconds from opening the file to the first token's logits. cuda:0: on that device, whose logits come
 * back for each argmax, and which replays its steps as a graph, or, uncaptured, does not; llama_cuda.py is the same on PyTorch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tenon/tenon.h>

enum { TOKENS = 256, MOST_SEQUENCES = 64 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int make(const char *shape, const char *folder)
{
    const bool large = strcmp(shape, "110M") == 0;
    char gguf[1000], plain[1000], whole[1000];
    snprintf(gguf, sizeof gguf, "%s/f32.gguf", folder);
    snprintf(plain, sizeof plain, "%s/f32.bin", folder);
    snprintf(whole, sizeof whole, "%s/q8_0.bin", folder);
    tn_manual_seed(1);
    tn_module *llama = tn_adopt(tn_llama_new(.vocab_size = 32000, .hidden_size = large ? 768 : 288, .intermediate_size = large ? 2048 : 768,
                                             .num_hidden_layers = large ? 12 : 6, .num_attention_heads = large ? 12 : 6,
                                             .max_position_embeddings = large ? 1024 : 512, .tie_word_embeddings = true));
    tn_check(tn_llama_save(llama, gguf));
    tn_check(tn_llama_save(llama, plain));
    tn_check(tn_llama_convert(gguf, whole, .type = TN_QUANT_Q8_0));
    return 0;
}

/* The largest; by lanes, as a vector of any width holds them. */
static float largest(const float *x, int64_t n)
{
    enum { LANES = 32 };
    float most[LANES], all;
    for (int l = 0; l < LANES; l++)
        most[l] = x[0];
    for (int64_t i = 0; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            most[l] = x[i + l] > most[l] ? x[i + l] : most[l];
    all = most[0];
    for (int l = 1; l < LANES; l++)
        all = most[l] > all ? most[l] : all;
    for (int64_t i = n / LANES * LANES; i < n; i++)
        all = x[i] > all ? x[i] : all;
    return all;
}

/* The first of the largest, sought only in the first part that has it. */
static int64_t best(const float *x, int64_t n)
{
    enum { PART = 1024 };
    int64_t part = 0, at;
    float all = x[0];
    for (int64_t i = 0; i < n; i += PART) {
        const float most = largest(x + i, n - i < PART ? n - i : PART);
        if (most > all) {
            all = most;
            part = i;
        }
    }
    for (at = part; at < n - 1 && x[at] != all; at++)
        ;
    return at;
}

static tn_device_id device; /* the CPU, or the last word's */
static bool uncaptured;

static tn_decoder *opened(const char *path, const char *weights, int64_t sequences)
{
    const char *const names[] = {"f32", "F32", "bf16", "BF16", "q8_0", "Q8_0", "q4_0", "Q4_0"};
    tn_quant type = TN_QUANT_NONE;
    for (int i = 0; i < 8; i += 2)
        if (strcmp(weights, names[i]) == 0)
            type = tn_quant_named(names[i + 1]);
    return tn_adopt(tn_decoder_open(path, .weights = type, .sequences = sequences, .device = &device, .capture = !uncaptured));
}

static int first(const char *path, const char *weights)
{
    const double start = now();
    const int64_t token = 1;
    tn_decoder *decoder = opened(path, weights, 1);
    const float *logits = tn_decoder_feed(decoder, 0, &token, 1);
    tn_check(tn_last_status());
    const int64_t next = best(logits, tn_decoder_config(decoder)->vocab_size);
    const double seconds = now() - start;
    printf("%.2f\n", next >= 0 ? 1e3 * seconds : 0);
    return 0;
}

static int run(const char *path, const char *weights, int64_t sequences)
{
    tn_decoder *decoder = opened(path, weights, sequences);
    int64_t tokens[TOKENS], ids[MOST_SEQUENCES], next[MOST_SEQUENCES];
    const float *logits = NULL;
    double prompt = 0;
    tn_check(tn_last_status());
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = 1 + i * 97 % 31000;
    for (int round = 0; round < 3; round++) { /* the first warms up */
        tn_check(tn_decoder_rewind(decoder, 0, 0));
        const double before = now();
        logits = tn_decoder_feed(decoder, 0, tokens, TOKENS);
        prompt += round ? (now() - before) / 2 : 0;
    }
    const tn_llama_args *c = tn_decoder_config(decoder);
    const int64_t vocabulary = c->vocab_size, head = vocabulary * c->hidden_size;
    for (int64_t s = 0; s < sequences; s++) { /* each begins anew, in memory that it has used */
        logits = s ? tn_decoder_feed(decoder, s, tokens, TOKENS) : logits;
        tn_check(tn_last_status());
        ids[s] = s;
        next[s] = best(logits, vocabulary);
        tn_check(tn_decoder_rewind(decoder, s, 0));
    }
    for (int i = 0; i < 2; i++) /* a device records the second */
        tn_decoder_step(decoder, ids, next, sequences);
    for (int64_t s = 0; s < sequences; s++)
        tn_check(tn_decoder_rewind(decoder, s, 0));
    const double before = now();
    for (int i = 0; i < TOKENS && logits; i++) {
        logits = tn_decoder_step(decoder, ids, next, sequences);
        for (int64_t s = 0; s < sequences && logits; s++)
            next[s] = best(logits + s * vocabulary, vocabulary);
    }
    const double decode = now() - before;
    tn_check(tn_last_status());
    const int64_t layers = c->num_hidden_layers * (4 * c->hidden_size * c->hidden_size + 3 * c->hidden_size * c->intermediate_size);
    const double each = strcmp(weights, "f32") == 0 ? 4 : strcmp(weights, "bf16") == 0 ? 2 : strcmp(weights, "q8_0") == 0 ? 34.0 / 32 : 18.0 / 32;
    const int64_t attention = c->num_hidden_layers * c->hidden_size * TOKENS * (TOKENS + 1); /* a token looks at itself and those before it */
    printf("%.1f %.1f %.4f %.0f\n", TOKENS / prompt, (double)(TOKENS * sequences) / decode, 2e-9 * (double)(TOKENS * layers + attention + head),
           each * (double)(layers + head));
    return 0;
}

int main(int argc, char **argv)
{
    tn_set_error_handler(tn_die);
    if (argc == 4 && strcmp(argv[1], "make") == 0)
        return make(argv[2], argv[3]);
    uncaptured = argc > 6 && strcmp(argv[argc - 1], "uncaptured") == 0;
    argc -= uncaptured;
    if (argc > 5 && strncmp(argv[argc - 1], "cuda", 4) == 0)
        device = tn_device(argv[--argc]);
    const int64_t sequences = argc > 5 ? atoi(argv[5]) : 1;
    if ((argc == 5 || argc == 6) && sequences >= 1 && sequences <= MOST_SEQUENCES) {
        tn_check(tn_set_num_threads(atoi(argv[4])));
        if (strcmp(argv[1], "run") == 0)
            return run(argv[2], argv[3], sequences);
        if (strcmp(argv[1], "first") == 0 && argc == 5)
            return first(argv[2], argv[3]);
    }
    fprintf(stderr, "usage: llama make 15M|110M FOLDER, llama run FILE f32|bf16|q8_0|q4_0 THREADS [SEQUENCES] [cuda:0 [uncaptured]], or llama "
                    "first FILE TYPE THREADS [cuda:0]\n");
    return 64;
}
