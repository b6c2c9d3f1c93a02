// What llama.cpp makes of bytes and of tokens: asked by make_tokenizer_gguf.py over a pipe. Built by hand, against llama.cpp's libraries:
//     g++ -O1 -I L/include -I L/ggml/include llama_cpp_tokens.cpp L/build/src/libllama.a -Wl,--start-group L/build/ggml/src/libggml*.a -Wl,--end-group -fopenmp -ldl -o llama_cpp_tokens
// Standard input: 'e' or 'E' (special tokens count), a count and so many bytes: their ids; 'd' or 'D' (special tokens are written), a count and so many
// i32: their text; 'b', a count and so many bytes that are passed over: whether the beginning's token stands in front of a text, as i32. Each answer is
// a count and so many i32 or bytes; -1: llama.cpp threw.
#include <llama.h>

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

static void answer(const void *data, int32_t count, size_t size)
{
    fwrite(&count, 4, 1, stdout);
    fwrite(data, size, count, stdout);
    fflush(stdout);
}

static void encode(const llama_vocab *vocab, const std::string &text, bool special)
{
    std::vector<llama_token> ids(4 * text.size() + 8);
    const int32_t n = llama_tokenize(vocab, text.data(), (int32_t)text.size(), ids.data(), (int32_t)ids.size(), false, special);
    answer(ids.data(), n, 4);
}

static void decode(const llama_vocab *vocab, const std::vector<llama_token> &ids, bool special)
{
    std::string text;
    char piece[1 << 16];
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_SPM)
        text.append(piece, llama_detokenize(vocab, ids.data(), (int32_t)ids.size(), piece, sizeof piece, false, special));
    else // llama_detokenize() would take away what looks like a superfluous space
        for (const llama_token id : ids)
            text.append(piece, llama_token_to_piece(vocab, id, piece, sizeof piece, 0, special));
    answer(text.data(), (int32_t)text.size(), 1);
}

int main(int, char **argv)
{
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    llama_model *model = llama_model_load_from_file(argv[1], params);
    if (!model)
        return fprintf(stderr, "%s: not loaded\n", argv[1]), 1;
    const llama_vocab *vocab = llama_model_get_vocab(model);
    int32_t count;
    for (int what; (what = getchar()) != EOF;) {
        if (fread(&count, 4, 1, stdin) != 1)
            return 1;
        std::vector<llama_token> ids(what == 'd' || what == 'D' ? count : 0);
        std::string text(ids.empty() ? count : 0, 0);
        if (fread(ids.data(), 4, ids.size(), stdin) != ids.size() || fread(&text[0], 1, text.size(), stdin) != text.size())
            return 1;
        if (what == 'b') {
            const int32_t adds_bos = llama_vocab_get_add_bos(vocab);
            answer(&adds_bos, 1, 4);
            continue;
        }
        try {
            what == 'd' || what == 'D' ? decode(vocab, ids, what == 'D') : encode(vocab, text, what == 'E');
        } catch (const std::exception &) {
            const int32_t none = -1;
            fwrite(&none, 4, 1, stdout);
            fflush(stdout);
        }
    }
    llama_model_free(model);
}
