/* tenon tokenize: ids and pieces of a text, one a line, and back. */
#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>

/* A piece on one line: what is no printable ASCII and no UTF-8 stands as \n, \t, \\ or \x1f. */
static void put_piece(const char *piece, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)piece[i];
        if (c == '\n' || c == '\t' || c == '\\')
            printf("\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : c);
        else if (c < ' ' || c == 127)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
}

static void show_tokens(const options *o, const tn_tokenizer *tokenizer, const char *text, int64_t bytes)
{
    tn_tensor *ids = tn_tokenizer_encode(tokenizer, text, bytes, .allow_special = o->special);
    const int64_t *id = ids ? tn_data(ids) : NULL;
    for (int64_t i = 0; id && i < tn_numel(ids); i++) {
        int64_t size;
        const char *piece = tn_tokenizer_token(tokenizer, id[i], &size);
        printf("%" PRId64 "\t", id[i]);
        if (piece)
            put_piece(piece, size);
        putchar('\n');
    }
}

/* Numbers up to the end, or of each line up to a tab: what show_tokens() writes can be read. */
static int64_t read_ids(const char *text, int64_t *ids)
{
    int64_t count = 0;
    while (*text) {
        char *end;
        errno = 0;
        const long long id = strtoll(text, &end, 10);
        if (end == text || errno || !(*end == 0 || isspace((unsigned char)*end))) {
            tn_fail(TN_ERR_FORMAT, "\"%.20s\" is no token's id", text);
            return 0;
        }
        ids[count++] = id;
        if (*end == '\t')
            end += strcspn(end, "\n");
        text = end + strspn(end, " \t\r\n");
    }
    return count;
}

static void show_text_of(const options *o, const tn_tokenizer *tokenizer, const char *text, int64_t bytes)
{
    int64_t *ids = malloc(((size_t)bytes / 2 + 2) * sizeof *ids);
    text += strspn(text, " \t\r\n");
    if (!ids)
        tn_fail(TN_ERR_MEMORY, "no memory for the ids");
    const int64_t count = ids ? read_ids(text, ids) : 0;
    tn_tensor *all = tn_last_status() == TN_OK ? tn_from_ints(ids, TN_SHAPE(count)) : NULL;
    const int64_t length = tn_tokenizer_decode(tokenizer, all, NULL, 0, .skip_special = !o->special);
    char *out = length >= 0 ? malloc((size_t)length + 1) : NULL;
    if (out && tn_tokenizer_decode(tokenizer, all, out, length + 1, .skip_special = !o->special) == length)
        show_text(out, length);
    free(out);
    free(ids);
}

/* The arguments with a space between, or standard input as it is. */
static char *input_of(const options *o, int64_t *bytes)
{
    if (!o->word_count)
        return read_all("-", bytes);
    size_t size = 1;
    for (int64_t i = 0; i < o->word_count; i++)
        size += strlen(o->words[i]) + 1;
    char *text = calloc(size, 1), *at = text;
    for (int64_t i = 0; text && i < o->word_count; i++)
        at += sprintf(at, i ? " %s" : "%s", o->words[i]);
    *bytes = at - text;
    return text ? text : tn_fail(TN_ERR_MEMORY, "no memory for the text");
}

int tokenize_main(int argc, char **argv)
{
    options o = {COMMAND_DEFAULTS,
                 .about = "Writes a line for each token of the text, or of standard input: its id, a tab, and its piece as the tokenizer's file writes it. "
                          "With --decode the text of such lines, or of ids alone.\v"
                          "Example: tenon tokenize --tokenizer tokenizer.json \"Hello, world\"",
                 .takes = "mkzeD", .arguments = "[TEXT...]"};
    TN_SCOPE;
    read_options(&o, argc, argv);
    if (!o.model && !o.tokenizer)
        misused("tokenize", "--model or --tokenizer is missing");
    if (o.pattern && !o.tokenizer)
        misused("tokenize", "--pattern goes with --tokenizer");
    int64_t bytes = 0;
    tn_tokenizer *tokenizer = open_tokenizer(&o, NULL);
    char *text = tokenizer ? input_of(&o, &bytes) : NULL;
    if (text && o.decode)
        show_text_of(&o, tokenizer, text, bytes);
    else if (text)
        show_tokens(&o, tokenizer, text, bytes);
    free(text);
    return done();
}
