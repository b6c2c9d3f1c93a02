/* tenon chat: a conversation, a line of the user's and an answer in turn. */
#include "command.h"

#include <errno.h>
#include <unistd.h>

typedef struct talk {
    const char *form;
    tn_chat_message messages[3]; /* of them the template needs the system's, the last answer's place and the user's */
    tn_generate_args how;
    char *text;
    size_t room;
} talk;

/* The turn's text: the first with the system's message, the others behind the answer that was written. */
static const char *turn_text(talk *t, const char *system, const char *line, bool first)
{
    tn_chat_message *m = t->messages;
    int64_t count = 0;
    if (system && first)
        m[count++] = (tn_chat_message){"system", system};
    if (!first) {
        m[count++] = (tn_chat_message){"user", ""};
        m[count++] = (tn_chat_message){"assistant", ""};
    }
    m[count] = (tn_chat_message){"user", line};
    const size_t length = tn_chat_text(t->form, m, count + 1, first ? 0 : count, NULL, 0);
    if (length >= t->room) {
        char *more = realloc(t->text, t->room = 2 * length + 1);
        if (!more)
            return tn_fail(TN_ERR_MEMORY, "no memory for a text of %zu bytes", length);
        t->text = more;
    }
    return tn_chat_text(t->form, m, count + 1, first ? 0 : count, t->text, t->room) ? t->text : NULL;
}

static void converse(talk *t, const char *system)
{
    const bool person = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t room = 0;
    for (bool first = true; tn_last_status() == TN_OK;) {
        catch_interrupts();
        if (person)
            fputs("> ", stdout), fflush(stdout);
        const ssize_t bytes = getline(&line, &room, stdin);
        if (bytes < 0 || interrupted) {
            if (ferror(stdin) && !interrupted)
                tn_fail(TN_ERR_IO, "standard input: %s", strerror(errno));
            if (person)
                putchar('\n');
            break;
        }
        line[strcspn(line, "\n")] = 0;
        if (!*line)
            continue;
        if ((t->how.prompt = turn_text(t, system, line, first)))
            tn_check(tn_generate_with(&t->how));
        putchar('\n');
        first = false;
    }
    free(line);
}

int chat_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS,
                 .about = "Answers each line of standard input. Ctrl-C ends an answer, or, where none is being written, the conversation, as Ctrl-D does.\v"
                          "Templates: llama2, llama3, llama3.1, mistral, mistral-v1, mistral-v3, mistral-v3-tekken, mistral-v7, mistral-v7-tekken, "
                          "chatml, qwen2, qwen2.5.",
                 .takes = MODEL_OPTIONS "fy" DRAWING_OPTIONS};
    TN_SCOPE;
    read_options(&o, argc, argv);
    if (!o.model)
        misused("chat", "--model is missing");
    const char *form = o.form ? o.form : tn_chat_template_of(o.model);
    talk t = {.form = form};
    const char *end = form ? tn_chat_end(form) : NULL;
    tn_decoder *decoder = end ? open_decoder(&o) : NULL;
    tn_tokenizer *tokenizer = open_tokenizer(&o, tn_decoder_config(decoder));
    if (tn_last_status() == TN_OK) {
        t.how = drawing(&o, decoder, tokenizer);
        t.how.seed = -1; /* one stream of draws for all answers */
        t.how.add_bos = 0; /* the template has it */
        t.how.allow_special = true;
        t.how.eos = tn_tokenizer_id(tokenizer, end);
        t.how.stop = &end;
        t.how.stop_count = 1;
        converse(&t, o.system);
    }
    free(t.text);
    return done();
}
