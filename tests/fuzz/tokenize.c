/* Texts through tokenisers of every kind: the first byte says which, the rest is the text; tiktoken's ids give the text again.
 * seeds: make_*.py */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/tenon.h>

static const char *const files[] = {"llama2c.bin", "llama3np.np", "sp_bpe_rules.model", "sp_bpe_unused.model", "sp_unigram_bytes.model", "hf_first.json",
                                    "hf_gpt2.json", "hf_llama2.json", "hf_llama3.json", "hf_qwen2.json", "hf_smollm.json", "tiktoken_llama3.tiktoken",
                                    "tiktoken_o200k.tiktoken", "tiktoken_cl100k.tiktoken"};
/* By way of GGUF: sp_bpe_llama.model, "llama", and tiktoken_llama3.tiktoken with each of GGUF's splitters. */
static const char *const splitters[] = {"llama", "gpt-2", "llama-bpe", "smaug-bpe", "qwen2", "stablelm2", "smollm", "tekken", "deepseek-coder",
                                        "seed-coder", "minicpm5", "ufakzeka", "viking", "bloom"};
enum { GGUF = sizeof files / sizeof *files, KINDS = GGUF + sizeof splitters / sizeof *splitters };

/* The tokeniser as a GGUF file has it, with another splitter. */
static tn_tokenizer *by_gguf(tn_tokenizer *t, const char *pre)
{
    TN_SCOPE;
    char path[] = "/tmp/fuzz-tokenize-XXXXXX";
    tn_gguf_writer *writer = tn_adopt(tn_gguf_writer_new());
    tn_check(tn_gguf_set_tokenizer(writer, tn_adopt(t), 0));
    if (strcmp(pre, "llama") != 0)
        tn_check(tn_gguf_set_string(writer, "tokenizer.ggml.pre", pre));
    close(mkstemp(path));
    tn_check(tn_save_gguf(writer, path));
    t = tn_tokenizer_open(path);
    unlink(path);
    return t;
}

static tn_tokenizer *open_kind(int kind)
{
    const char *name = kind < GGUF ? files[kind] : kind == GGUF ? "sp_bpe_llama.model" : "tiktoken_llama3.tiktoken";
    char path[512];
    snprintf(path, sizeof path, "%s/tests/reference/tokenizers/%s", TN_SOURCE_DIR, name);
    tn_tokenizer *t = tn_tokenizer_new(path, .pattern = strstr(name, "o200k")      ? "o200k"
                                                        : strstr(name, "cl100k")   ? "cl100k"
                                                        : strstr(name, "tiktoken") ? "llama3"
                                                                                   : NULL);
    if (kind >= GGUF)
        t = by_gguf(t, splitters[kind - GGUF]);
    if (!t)
        abort();
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tn_tokenizer *tokenizers[KINDS];
    if (!tokenizers[0])
        for (int kind = 0; kind < KINDS; kind++)
            tokenizers[kind] = open_kind(kind);
    if (size == 0)
        return 0;
    TN_SCOPE;
    int kind = data[0] % KINDS;
    const char *text = (const char *)data + 1;
    int64_t bytes = (int64_t)size - 1;
    tn_tensor *ids = tn_tokenizer_encode(tokenizers[kind], text, bytes, .allow_special = data[0] >= 128, .add_bos = 0);
    char *back = malloc(size * 8 + 64);
    int64_t n = tn_tokenizer_decode(tokenizers[kind], ids, back, (int64_t)size * 8 + 64, .skip_special = false);
    if (!ids || n < 0)
        abort();
    if (kind < GGUF && strstr(files[kind], "tiktoken") && data[0] < 128 && (n != bytes || memcmp(back, text, (size_t)n) != 0))
        abort();
    free(back);
    return 0;
}
