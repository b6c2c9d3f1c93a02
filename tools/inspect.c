/* tenon inspect: what a model's file holds. */
#include "command.h"

int inspect_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS,
                 .about = "Writes a model's kind, configuration and weights, with their types, shapes and bytes, and a GGUF file's values, of long ones the "
                          "beginning. Of other GGUF, safetensors, npz and PyTorch files, and of one of several that make a model, the values and tensors.",
                 .takes = "", .arguments = "FILE"};
    read_options(&o, argc, argv);
    const size_t length = tn_llama_inspect(o.words[0], NULL, 0);
    char *text = length ? malloc(length + 1) : NULL;
    if (text && tn_llama_inspect(o.words[0], text, length + 1))
        fputs(text, stdout);
    else if (length && !text)
        tn_fail(TN_ERR_MEMORY, "no memory for a text of %zu bytes", length);
    free(text);
    return done();
}
