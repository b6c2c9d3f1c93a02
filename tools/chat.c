/* tenon chat: a conversation, a line of the user's and an answer in turn. */
#include "command.h"

#include <errno.h>
#include <unistd.h>

typedef struct talk {
    const char *form;
    tn_llama_generate_args how;
    tn_chat_message *said; /* [count], all of the conversation */
    int64_t count;
    int64_t *known; /* [known_count] tokens: those that the decoder has, and behind them the one drawn last */
    int64_t known_count, known_room;
    FILE *answer; /* what is being written */
} talk;

static bool know(talk *t, const int64_t *tokens, int64_t count)
{
    if (t->known_count + count > t->known_room) {
        const int64_t room = 2 * (t->known_count + count);
        int64_t *more = realloc(t->known, sizeof *more * (size_t)room);
        if (!more)
            return tn_fail(TN_ERR_MEMORY, "no memory for %lld tokens", (long long)room);
        t->known = more;
        t->known_room = room;
    }
    memcpy(t->known + t->known_count, tokens, sizeof *tokens * (size_t)count);
    t->known_count += count;
    return true;
}

static bool show(const tn_llama_token *token, void *context)
{
    talk *t = context;
    const int64_t space = token->bytes && *token->text == ' ' && ftell(t->answer) == 0; /* belongs to the template */
    if (fwrite(token->text + space, 1, (size_t)(token->bytes - space), t->answer) != (size_t)(token->bytes - space))
        tn_fail(TN_ERR_MEMORY, "no memory for the answer");
    return know(t, &token->token, 1) && show_text(token->text + space, token->bytes - space);
}

/* Adds a message, whose text it takes. */
static void say(talk *t, const char *role, char *text)
{
    tn_chat_message *more = text ? realloc(t->said, sizeof *more * (size_t)(t->count + 1)) : NULL;
    if (!more) {
        tn_fail(TN_ERR_MEMORY, "no memory for %lld messages", (long long)t->count);
        free(text);
        return;
    }
    t->said = more;
    t->said[t->count++] = (tn_chat_message){role, text};
}

/* The tokens of the whole conversation as the template has it. */
static tn_tensor *whole(const talk *t)
{
    const size_t length = tn_chat_text(t->form, t->said, t->count, 0, NULL, 0);
    char *text = length ? malloc(length + 1) : NULL;
    if (length && !text)
        return tn_fail(TN_ERR_MEMORY, "no memory for a text of %zu bytes", length);
    if (text)
        tn_chat_text(t->form, t->said, t->count, 0, text, length + 1);
    tn_tensor *ids = text ? tn_tokenizer_encode(t->how.tokenizer, text, (int64_t)length, .add_bos = 0, .add_eos = 0, .allow_special = true) : NULL;
    free(text);
    return ids;
}

/* How many of the tokens the decoder has already; those that it has otherwise are taken back. A template may leave a part of an answer out, or put the
 * system's message elsewhere, and the answer's text may have other tokens than those that were drawn. */
static int64_t take_back(const talk *t, const int64_t *ids, int64_t count)
{
    int64_t length = tn_decoder_length(t->how.decoder, 0), same = 0;
    while (same < length && same < count - 1 && ids[same] == t->known[same])
        same++;
    if (same < length && tn_decoder_rewind(t->how.decoder, 0, same) == TN_ERR_STATE) {
        tn_clear_error(); /* the first ones were forgotten since: all are read again */
        same = 0;
        tn_check(tn_decoder_rewind(t->how.decoder, 0, 0));
    }
    return same;
}

static void answer(talk *t, const char *line)
{
    TN_SCOPE;
    char *text = NULL;
    size_t bytes;
    say(t, "user", strdup(line));
    const tn_tensor *tokens = tn_last_status() == TN_OK ? whole(t) : NULL;
    if (!tokens)
        return;
    const int64_t *ids = tn_data(tokens), count = tn_numel(tokens), read = take_back(t, ids, count);
    t->known_count = 0;
    if (know(t, ids, count) && !(t->answer = open_memstream(&text, &bytes)))
        tn_fail(TN_ERR_MEMORY, "no memory for the answer");
    if (tn_last_status() != TN_OK)
        return;
    t->how.ids = ids + read;
    t->how.id_count = count - read;
    tn_check(tn_llama_generate_with(&t->how));
    putchar('\n');
    fclose(t->answer);
    say(t, "assistant", text);
}

enum { LINE_MOST = 1 << 20 };

/* A line of standard input, without its end and closed by a 0, into line [LINE_MOST + 1]; false at the end of all, after Ctrl-C and with an error. */
static bool read_line(char *line)
{
    int64_t size = 0;
    int c = 0;
    while (size <= LINE_MOST && (c = getchar()) != EOF && c != '\n')
        line[size++] = (char)c;
    if (interrupted || (c == EOF && (size == 0 || ferror(stdin)))) {
        if (ferror(stdin) && !interrupted)
            tn_fail(TN_ERR_IO, "standard input: %s", strerror(errno));
        return false;
    }
    if (size > LINE_MOST) {
        tn_fail(TN_ERR_ARGUMENT, "standard input: a line of over %d bytes, which is the most that is read", LINE_MOST);
        return false;
    }
    line[size] = 0;
    return true;
}

static void converse(talk *t)
{
    const bool person = isatty(STDIN_FILENO);
    char *line = malloc(LINE_MOST + 1);
    if (!line)
        tn_fail(TN_ERR_MEMORY, "no memory for a line");
    while (tn_last_status() == TN_OK) {
        catch_interrupts();
        if (person)
            fputs("> ", stdout), fflush(stdout);
        if (!read_line(line)) {
            if (person)
                putchar('\n');
            break;
        }
        if (*line)
            answer(t, line);
    }
    free(line);
}

int chat_main(int argc, char **argv)
{
    char about[600] = "Answers each line of standard input. Ctrl-C ends an answer, or, where none is being written, the conversation, as Ctrl-D does."
                      "\vTemplates:";
    for (int64_t i = 0; tn_chat_template_name(i); i++)
        snprintf(about + strlen(about), sizeof about - strlen(about), "%s %s", i ? "," : "", tn_chat_template_name(i));
    options o = {COMMAND_DEFAULTS,
                 .about = about,
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
        t.how.eos = tn_tokenizer_id(tokenizer, end);
        t.how.stop = &end;
        t.how.stop_count = 1;
        t.how.on_token = show;
        t.how.context = &t;
        if (o.system)
            say(&t, "system", strdup(o.system));
        converse(&t);
    }
    while (t.count > 0)
        free((char *)(uintptr_t)t.said[--t.count].content);
    free(t.said);
    free(t.known);
    return done();
}
