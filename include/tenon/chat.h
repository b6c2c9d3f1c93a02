/* Tenon: conversations as the text that a model was trained on.
 *
 *     const char *form = tn_chat_template_of("Llama-3.2-1B-Instruct/");               "llama3.1"
 *     tn_chat_message said[] = {{"system", "Be brief."}, {"user", "Who are you?"}};
 *     tn_chat_text(form, said, 2, 0, text, sizeof text);
 *     tn_check(tn_llama_generate(decoder, tokenizer, text, .add_bos = 0, .allow_special = true,
 *                                .eos = tn_tokenizer_id(tokenizer, tn_chat_end(form)))); */
#ifndef TENON_CHAT_H
#define TENON_CHAT_H

#include <tenon/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The templates that there are, by their names: "llama2", "llama3", "llama3.1" (to 3.3), "mistral" (the first ones), "mistral-v1", "mistral-v3",
 * "mistral-v3-tekken", "mistral-v7", "mistral-v7-tekken", "chatml" (the first SmolLM and many), "smollm2", "qwen2", "qwen2.5", "qwen3". NULL,
 * without an error, outside. */
TN_API const char *tn_chat_template_name(int64_t i);
/* The name of the one that a Jinja text is, recognised by its special tokens; NULL, without an error, where it is none of them. */
TN_API const char *tn_chat_template_named_by(const char *jinja);
/* The name of a model's, from its own files: the GGUF file's tokenizer.chat_template, or the folder's chat_template.jinja or
 * tokenizer_config.json. NULL with TN_ERR_IO where those tell of none, TN_ERR_UNSUPPORTED where it is none of the above. */
TN_API const char *tn_chat_template_of(const char *path);
/* The text of the token that ends an answer, "<|im_end|>"; static. NULL and TN_ERR_ARGUMENT where no template has that name. */
TN_API const char *tn_chat_end(const char *name);

typedef struct tn_chat_message {
    const char *role, *content; /* "system", the first alone, "user" and "assistant" in turn */
} tn_chat_message;
/* What transformers' apply_chat_template() makes of messages [count], the last of which is the user's, with the beginning of the answer
 * (add_generation_prompt), and without tools; the day of llama3.1 is its template's default, 26 Jul 2024. The first `read` messages, the last of
 * them an answer, are left out: a decoder that has read and written those goes on with what is given. (Two templates change what stands before:
 * mistral-v3's put the system's message into the user's last one, qwen3 leaves an answer's thoughts out once it is answered.) At most size bytes
 * with the closing 0; returns the length that it would need, 0 on error: TN_ERR_ARGUMENT for no such name, roles in another order. */
TN_API size_t tn_chat_text(const char *name, const tn_chat_message *messages, int64_t count, int64_t read, char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
