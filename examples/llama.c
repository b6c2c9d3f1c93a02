/* A language model writes on from a prompt: llama model.bin "There was a boy". */
#include <stdio.h>

#include "options.h"

static bool show(const tn_llama_token *token, void *context)
{
    (void)context;
    return fputs(token->text, stdout) >= 0 && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    options o = {.about = "A language model writes on from a prompt.", .takes = "v", .device = "cpu", .arguments = "[MODEL [PROMPT]]",
                 .words = {"model.bin", ""}};
    read_options(&o, argc, argv);
    const char *model = o.words[0], *prompt = o.words[1];
    tn_set_error_handler(tn_die);
    tn_decoder *decoder = tn_decoder_open(model, .device = &o.on); /* GGUF, a folder of transformers, llama2.c's .bin, safetensors, npz */
    tn_tokenizer *tokenizer = tn_tokenizer_open(model); /* its own, or the one beside it */
    tn_check(tn_llama_generate(decoder, tokenizer, prompt, .max_tokens = 200, .on_token = show));
    putchar('\n');
    tn_release(decoder);
    tn_release(tokenizer);
    return 0;
}
