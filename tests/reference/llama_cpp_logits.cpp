// llama.cpp's logits and greedy tokens, asked by compare_llama_cpp.py, which builds it. usage: llama_cpp_logits FILE own|exact whole|single GREEDY
// Standard input: the tokens, i32. Standard output: the logits after each of them, f32 [tokens, vocabulary], then GREEDY tokens, i32, each the
// likeliest one after all before it. own: the cache and the attention that it has unless told otherwise; exact: a cache of f32 and no flash
// attention, which rounds to f16. whole: the tokens go in as one batch; single: one by one.
#include <llama.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static llama_context *opened(const char *path, bool exact, int32_t tokens)
{
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params model = llama_model_default_params();
    model.check_tensors = true;
    llama_context_params context = llama_context_default_params();
    context.n_ctx = context.n_batch = context.n_ubatch = tokens;
    context.n_threads = context.n_threads_batch = 1;
    if (exact) {
        context.type_k = context.type_v = GGML_TYPE_F32;
        context.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    llama_model *loaded = llama_model_load_from_file(path, model);
    return loaded ? llama_init_from_model(loaded, context) : nullptr;
}

// Feeds the tokens from place `first` on; writes the logits after each of them where asked to.
static bool feed(llama_context *context, llama_token *tokens, int32_t count, int32_t first, FILE *out)
{
    const size_t vocabulary = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(context)));
    llama_batch batch = llama_batch_init(count, 0, 1);
    batch.n_tokens = count;
    for (int32_t i = 0; i < count; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = first + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    bool good = llama_decode(context, batch) == 0;
    for (int32_t i = 0; good && out && i < count; i++)
        good = fwrite(llama_get_logits_ith(context, i), sizeof(float), vocabulary, out) == vocabulary;
    llama_batch_free(batch);
    return good;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 64;
    std::vector<llama_token> tokens;
    for (llama_token token; fread(&token, sizeof token, 1, stdin) == 1;)
        tokens.push_back(token);
    const int32_t count = (int32_t)tokens.size(), greedy = atoi(argv[4]), step = strcmp(argv[3], "whole") == 0 ? count : 1;
    llama_context *context = opened(argv[1], strcmp(argv[2], "exact") == 0, count + greedy);
    if (!context)
        return fprintf(stderr, "%s: not loaded\n", argv[1]), 1;
    const int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(context)));
    for (int32_t i = 0; i < count; i += step)
        if (!feed(context, &tokens[(size_t)i], step, i, stdout))
            return 1;
    std::vector<llama_token> made;
    for (int32_t i = 0; i < greedy; i++) {
        const float *logits = llama_get_logits_ith(context, -1);
        made.push_back((llama_token)(std::max_element(logits, logits + vocabulary) - logits));
        if (i < greedy - 1 && !feed(context, &made.back(), 1, count + i, nullptr))
            return 1;
    }
    return fwrite(made.data(), sizeof(llama_token), made.size(), stdout) == made.size() ? 0 : 1;
}
