/* tenon inspect: what a model's file holds. */
#include "command.h"

int inspect_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS, .about = "Writes a model's kind, configuration and weights, with their types, shapes and bytes.", .takes = "", .arguments = "FILE"};
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
