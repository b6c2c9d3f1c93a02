/* tenon generate: text from a prompt, or from several together. */
#include "command.h"

#include <unistd.h>

/* What is written to: standard output, or where it waits for its turn. */
static bool show(const tn_llama_token *token, void *context)
{
    FILE *waiting = context;
    if (!waiting)
        return show_text(token->text, token->bytes);
    if (fwrite(token->text, 1, (size_t)token->bytes, waiting) != (size_t)token->bytes)
        tn_fail(TN_ERR_MEMORY, "no memory for the text");
    return !interrupted && tn_last_status() == TN_OK;
}

/* The prompt from standard input, whose last line's end is not the text's. */
static char *read_prompt(void)
{
    int64_t bytes = 0;
    char *text = read_all("-", &bytes);
    if (text && strlen(text) != (size_t)bytes)
        tn_fail(TN_ERR_ARGUMENT, "the prompt has a byte 0");
    else if (text && bytes && text[bytes - 1] == '\n')
        text[bytes - 1] = 0;
    return text;
}

/* One as it comes; several behind one another once all are written, a line apart. */
static void write_all(tn_llama_generate_args *each, int64_t count)
{
    struct {
        FILE *file;
        char *text;
        size_t bytes;
    } *waiting = count > 1 ? calloc((size_t)count, sizeof *waiting) : NULL;
    bool good = count == 1 || waiting;
    for (int64_t i = 0; i < count && count > 1 && good; i++) {
        each[i].context = waiting[i].file = open_memstream(&waiting[i].text, &waiting[i].bytes);
        good = waiting[i].file && fputs(each[i].prompt, waiting[i].file) >= 0;
    }
    if (!good)
        tn_fail(TN_ERR_MEMORY, "no memory for %lld texts", (long long)count);
    if (count == 1)
        show_text(each->prompt, (int64_t)strlen(each->prompt));
    tn_check(tn_llama_generate_all(each, count));
    if (count == 1)
        putchar('\n');
    for (int64_t i = 0; i < count && waiting; i++) {
        if (waiting[i].file && fclose(waiting[i].file) == 0 && tn_last_status() == TN_OK)
            printf("%s%s\n", i ? "\n" : "", waiting[i].text);
        free(waiting[i].text);
    }
    free(waiting);
}

static double rate(int64_t tokens, double seconds) { return seconds > 0 ? (double)tokens / seconds : 0; }

/* Of all together. */
static void tell_rates(const tn_generated *reports, int64_t count)
{
    tn_generated sum = {0};
    for (int64_t i = 0; i < count; i++) {
        sum.prompt_tokens += reports[i].prompt_tokens;
        sum.prompt_seconds += reports[i].prompt_seconds;
        sum.tokens += reports[i].tokens;
        sum.seconds = reports[i].seconds > sum.seconds ? reports[i].seconds : sum.seconds;
    }
    fprintf(stderr, "prompt: %lld tokens, %.1f tokens/s; text: %lld tokens, %.1f tokens/s\n", (long long)sum.prompt_tokens,
            rate(sum.prompt_tokens, sum.prompt_seconds), (long long)sum.tokens, rate(sum.tokens, sum.seconds));
}

int generate_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS,
                 .about = "Writes the prompt and what a language model makes of it, as it comes, and on standard error how fast that was.\v"
                          "Example: tenon generate --model stories15M/ --prompt \"There was a boy\"",
                 .takes = MODEL_OPTIONS "p" DRAWING_OPTIONS "SE"};
    TN_SCOPE;
    read_options(&o, argc, argv);
    if (!o.model)
        misused("generate", "--model is missing");
    if (!o.prompts.count && isatty(STDIN_FILENO))
        misused("generate", "--prompt is missing, and standard input is a terminal");
    tn_decoder *decoder = open_decoder(&o);
    tn_tokenizer *tokenizer = open_tokenizer(&o, tn_decoder_config(decoder));
    char *from_input = tn_last_status() == TN_OK && !o.prompts.count ? read_prompt() : NULL;
    if (from_input)
        o.prompts = (texts){{from_input}, 1};
    const int64_t count = o.prompts.count;
    tn_llama_generate_args each[sizeof o.prompts.text / sizeof *o.prompts.text];
    tn_generated reports[sizeof each / sizeof *each] = {0};
    if (tn_last_status() == TN_OK) {
        const tn_llama_generate_args how = drawing(&o, decoder, tokenizer);
        for (int64_t i = 0; i < count; i++) {
            each[i] = how;
            each[i].prompt = o.prompts.text[i];
            each[i].sequence = i;
            each[i].seed = o.seed < 0 ? -1 : o.seed + i;
            each[i].allow_special = o.special;
            each[i].stop = o.stop.text;
            each[i].stop_count = o.stop.count;
            each[i].on_token = show;
            each[i].report = &reports[i];
        }
        catch_interrupts();
        write_all(each, count);
    }
    free(from_input);
    const int status = done();
    if (status == 0)
        tell_rates(reports, count);
    return interrupted ? 128 + SIGINT : status;
}
