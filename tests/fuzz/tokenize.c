/* Texts through tokenisers of every kind: the first byte says which, the rest is the text; tiktoken's ids give the text again.
 * seeds: make_*.py */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/tenon.h>

static const char *const files[] = {"llama2c.bin", "llama3np.np", "sp_bpe_rules.model", "sp_bpe_unused.model", "sp_unigram_bytes.model", "hf_first.json",
                                    "hf_gpt2.json", "hf_llama2.json", "hf_llama3.json", "hf_qwen2.json", "hf_smollm.json", "tiktoken_llama3.tiktoken",
                                    "tiktoken_o200k.tiktoken", "tiktoken_cl100k.tiktoken", /* and by way of GGUF: */ "sp_bpe_llama.model",
                                    "tiktoken_llama3.tiktoken", "tiktoken_llama3.tiktoken"};
static const char *const splitters[] = {NULL, "qwen2", "tekken"}; /* of the last ones; NULL: "llama" */
enum { FILES = sizeof files / sizeof *files, GGUF = FILES - sizeof splitters / sizeof *splitters };

/* The tokeniser as a GGUF file has it, with another splitter. */
static tn_tokenizer *by_gguf(tn_tokenizer *t, const char *pre)
{
    TN_SCOPE;
    char path[] = "/tmp/fuzz-tokenize-XXXXXX";
    tn_gguf_writer *writer = tn_adopt(tn_gguf_writer_new());
    tn_check(tn_gguf_set_tokenizer(writer, tn_adopt(t), 0));
    if (pre)
        tn_check(tn_gguf_set_string(writer, "tokenizer.ggml.pre", pre));
    close(mkstemp(path));
    tn_check(tn_save_gguf(writer, path));
    t = tn_tokenizer_open(path);
    unlink(path);
    return t;
}

static tn_tokenizer *open_file(int i)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/reference/tokenizers/%s", TN_SOURCE_DIR, files[i]);
    tn_tokenizer *t = tn_tokenizer_new(path, .pattern = strstr(files[i], "o200k")      ? "o200k"
                                                        : strstr(files[i], "cl100k")   ? "cl100k"
                                                        : strstr(files[i], "tiktoken") ? "llama3"
                                                                                       : NULL);
    if (i >= GGUF)
        t = by_gguf(t, splitters[i - GGUF]);
    if (!t)
        abort();
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tn_tokenizer *tokenizers[FILES];
    if (!tokenizers[0])
        for (int i = 0; i < FILES; i++)
            tokenizers[i] = open_file(i);
    if (size == 0)
        return 0;
    TN_SCOPE;
    int kind = data[0] % FILES;
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
