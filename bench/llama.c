/* A Llama's prefill and decoding, for bench/llama.sh to run beside llama.cpp and llama2.c.
 * usage: llama make 15M|110M FILE              a model of random weights in the shape of stories15M or stories110M, as .gguf or .bin
 *        llama run FILE f32|bf16|q8_0|q4_0 THREADS [SEQUENCES]
 * run prints tokens/s of a prompt of 256 tokens and of 256 tokens decoded after one, each with its logits and their argmax (by SEQUENCES at a
 * time, then in all), and the milliseconds from opening the file to the first token. */
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

static int make(const char *shape, const char *path)
{
    const bool large = strcmp(shape, "110M") == 0;
    tn_manual_seed(1);
    tn_module *llama = tn_adopt(tn_llama_new(.vocab_size = 32000, .hidden_size = large ? 768 : 288, .intermediate_size = large ? 2048 : 768,
                                             .num_hidden_layers = large ? 12 : 6, .num_attention_heads = large ? 12 : 6,
                                             .max_position_embeddings = large ? 1024 : 512, .tie_word_embeddings = true));
    tn_check(tn_llama_save(llama, path));
    return 0;
}

static int64_t best(const float *logits, int64_t count)
{
    int64_t at = 0;
    for (int64_t i = 1; i < count; i++)
        at = logits[i] > logits[at] ? i : at;
    return at;
}

static int run(const char *path, const char *weights, int64_t sequences)
{
    const char *const names[] = {"f32", "F32", "bf16", "BF16", "q8_0", "Q8_0", "q4_0", "Q4_0"};
    tn_quant type = TN_QUANT_NONE;
    for (int i = 0; i < 8; i += 2)
        if (strcmp(weights, names[i]) == 0)
            type = tn_quant_named(names[i + 1]);
    const double start = now();
    tn_decoder *decoder = tn_adopt(tn_decoder_open(path, .weights = type, .sequences = sequences));
    int64_t tokens[TOKENS], ids[MOST_SEQUENCES], next[MOST_SEQUENCES], vocabulary;
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = 1 + i * 97 % 31000;
    const float *logits = tn_decoder_feed(decoder, 0, tokens, 1);
    tn_check(tn_last_status());
    const double first = now() - start;
    vocabulary = tn_decoder_config(decoder)->vocab_size;
    double prompt = 0, decode = 0;
    for (int round = 0; round < 2; round++) { /* the first warms up */
        tn_check(tn_decoder_rewind(decoder, 0, 0));
        const double before = now();
        logits = tn_decoder_feed(decoder, 0, tokens, TOKENS);
        prompt = now() - before;
    }
    for (int64_t s = 0; s < sequences; s++) {
        ids[s] = s;
        next[s] = best(logits, vocabulary);
        tn_check(tn_decoder_rewind(decoder, s, 0));
    }
    const double before = now();
    for (int i = 0; i < TOKENS && logits; i++) {
        logits = tn_decoder_step(decoder, ids, next, sequences);
        for (int64_t s = 0; s < sequences && logits; s++)
            next[s] = best(logits + s * vocabulary, vocabulary);
    }
    decode = now() - before;
    tn_check(tn_last_status());
    printf("prefill %.1f decode %.1f first %.2f\n", TOKENS / prompt, (double)(TOKENS * sequences) / decode, 1e3 * first);
    return 0;
}

int main(int argc, char **argv)
{
    tn_set_error_handler(tn_die);
    if (argc == 4 && strcmp(argv[1], "make") == 0)
        return make(argv[2], argv[3]);
    const int64_t sequences = argc > 5 ? atoi(argv[5]) : 1;
    if ((argc == 5 || argc == 6) && strcmp(argv[1], "run") == 0 && sequences >= 1 && sequences <= MOST_SEQUENCES) {
        tn_check(tn_set_num_threads(atoi(argv[4])));
        return run(argv[2], argv[3], sequences);
    }
    fprintf(stderr, "usage: llama make 15M|110M FILE, or llama run FILE f32|bf16|q8_0|q4_0 THREADS [SEQUENCES]\n");
    return 64;
}
