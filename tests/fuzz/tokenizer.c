/* Tokenisers of every format: what a file makes encodes a text, decodes all its ids and is written as GGUF.
 * seeds: tokenizers/hf_*.json tokenizers/ll*.* tokenizers/sp_*.model tokenizers/tik*.tiktoken */
#include "fuzz.h"

static void use(tn_tokenizer *t)
{
    static const char text[] = "Hi, \xf0\x9f\x98\x80 the <s> caf\xc3\xa9 \xff  12345\n\n don't <|endoftext|> aaaaaaaa\xe2\x96\x81\xcc\x81";
    char back[512];
    for (int special = 0; special < 2 && t; special++)
        (void)tn_tokenizer_decode(t, tn_tokenizer_encode(t, text, sizeof text - 1, .allow_special = special), back, sizeof back);
    tn_clear_error();
    tn_gguf_writer *gguf = tn_gguf_writer_new();
    if (t)
        (void)!tn_gguf_set_tokenizer(gguf, t, 0);
    tn_clear_error();
    tn_release(gguf);
    tn_text_stream *stream = t ? tn_text_stream_new(t) : NULL;
    for (int64_t id = 0; stream && id < tn_tokenizer_vocab_size(t) && id < 4096; id++)
        (void)tn_text_stream_push(stream, id, NULL);
    tn_release(stream);
    tn_release(t);
}

static void read_back(const char *path)
{
    use(tn_tokenizer_new(path));
    if (tn_last_status() == TN_ERR_ARGUMENT) { /* tiktoken's ranks, by name */
        tn_clear_error();
        use(tn_tokenizer_new(path, .pattern = "llama3"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    return 0;
}
