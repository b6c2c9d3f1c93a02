/* tenon convert: a model's file into another. */
#include "command.h"

static void report(const char *line, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

int convert_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS,
                 .about = "Reads a model of any kind and writes OUT, whose name says what it is to be: .gguf, .safetensors, .npz, .bin (llama2.c's) or else a "
                          "folder of transformers. Weights that cannot have the type are named with the one that they get. The tokenizer goes into a GGUF file and "
                          "a folder, with the chat template and the ids that end a text; one that is named and cannot be kept there is an error.\v"
                          "Example: tenon convert stories15M.bin stories15M.gguf --dtype q8_0",
                 .takes = "qVk", .arguments = "IN OUT"};
    read_options(&o, argc, argv);
    const tn_quant type = o.type ? quant_named(o.type) : TN_QUANT_NONE;
    if (o.type && type == TN_QUANT_NONE)
        misused("convert", "--dtype: '%s' is no type", o.type);
    tn_check(tn_llama_convert(o.words[0], o.words[1], .type = type, .llama2_version = (int)o.llama2_version, .tokenizer = o.tokenizer, .report = report));
    return done();
}
