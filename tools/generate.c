/* tenon generate: text from a prompt. */
#include "command.h"

#include <unistd.h>

static double rate(int64_t tokens, double seconds) { return seconds > 0 ? (double)tokens / seconds : 0; }

/* The prompt from --prompt or standard input, whose last line's end is not the text's. */
static char *prompt_of(const options *o)
{
    int64_t bytes = 0;
    char *text = o->prompt ? strdup(o->prompt) : read_all("-", &bytes);
    if (text && !o->prompt && strlen(text) != (size_t)bytes) {
        tn_fail(TN_ERR_ARGUMENT, "the prompt has a byte 0");
    } else if (text && !o->prompt && bytes && text[bytes - 1] == '\n') {
        text[bytes - 1] = 0;
    }
    return text;
}

int generate_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS,
                 .about = "Writes the prompt and what a language model makes of it, as it comes, and on standard error how fast that was.\v"
                          "Example: tenon generate --model stories15M/ --prompt \"There was a boy\"",
                 .takes = MODEL_OPTIONS "p" DRAWING_OPTIONS "Se"};
    TN_SCOPE;
    read_options(&o, argc, argv);
    if (!o.model)
        misused("generate", "--model is missing");
    if (!o.prompt && isatty(STDIN_FILENO))
        misused("generate", "--prompt is missing, and standard input is a terminal");
    tn_decoder *decoder = open_decoder(&o);
    tn_tokenizer *tokenizer = open_tokenizer(&o, tn_decoder_config(decoder));
    char *prompt = tn_last_status() == TN_OK ? prompt_of(&o) : NULL;
    tn_generated report = {0};
    if (tn_last_status() == TN_OK) {
        tn_generate_args how = drawing(&o, decoder, tokenizer);
        how.prompt = prompt;
        how.allow_special = o.special;
        how.stop = o.stop;
        how.stop_count = o.stop_count;
        how.report = &report;
        catch_interrupts();
        show_text(prompt, (int64_t)strlen(prompt), NULL);
        tn_check(tn_generate_with(&how));
        putchar('\n');
    }
    free(prompt);
    const int status = done();
    if (status == 0)
        fprintf(stderr, "prompt: %lld tokens, %.1f tokens/s; text: %lld tokens, %.1f tokens/s\n", (long long)report.prompt_tokens,
                rate(report.prompt_tokens, report.prompt_seconds), (long long)report.tokens, rate(report.tokens, report.seconds));
    return interrupted ? 128 + SIGINT : status;
}
