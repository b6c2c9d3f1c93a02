/* Options, models and messages of all commands. */
#include "command.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* ---- options -------------------------------------------------------------------------------------------------------------- */

typedef struct option_row {
    char letter;
    const char *name, *value, *text; /* value NULL: a switch */
    size_t offset;                   /* of the field that takes the value */
    enum { TEXT, LIST, WHOLE, REAL, SWITCH } kind; /* const char *, texts, int64_t, double, bool */
    double least, most;              /* of a number */
    const char *choices;             /* of a text, "f32|bf16" */
} option_row;
#define AT(field) offsetof(options, field)
static const option_row option_rows[] = {
    {'m', "model", "PATH", "The model: a GGUF, llama2.c, safetensors, PyTorch or npz file, or a folder of transformers. A state_dict alone wants its config.json beside it", AT(model), TEXT, 0, 0, NULL},
    {'k', "tokenizer", "FILE", "A tokenizer, or a GGUF file or a folder with one, instead of the one in the model's file or beside it", AT(tokenizer), TEXT, 0, 0, NULL},
    {'z', "pattern", "NAME", "Of tiktoken's ranks, which do not tell it; else by how many there are", AT(pattern), TEXT, 0, 0, "gpt2|p50k|p50k_edit|cl100k|o200k|o200k_harmony|llama3"},
    {'F', "finetuned", "FILE", "What tenon finetune saved of this model", AT(finetuned), TEXT, 0, 0, NULL},
    {'d', "dtype", "TYPE", "Compute with weights of f32, bf16, q8_0 or q4_0; else as the file has them, or next to that", AT(dtype), TEXT, 0, 0,
     "f32|bf16|q8_0|q4_0"},
    {'c', "cache", "TYPE", "Keep keys and values as f32, bf16 or i8 (f32 with f32 and f16 weights, else bf16)", AT(cache), TEXT, 0, 0, "f32|bf16|i8"},
    {'x', "context", "N", "Tokens that are remembered; 0: as many as the model was made for", AT(context), WHOLE, 0, 2147483647, NULL},
    {'t', "threads", "N", "Threads; 0: as many as there are cores", AT(threads), WHOLE, 0, 4096, NULL},
    {'G', "device", "NAME", "Where to compute: cpu, or a GPU, cuda:0", AT(device), TEXT, 0, 0, NULL},
    {'p', "prompt", "TEXT", "The text to go on from; else what comes on standard input. Several are written together", AT(prompts),
     LIST, 0, 0, NULL},
    {'n', "tokens", "N", "Tokens to write at most, of each answer in a chat", AT(tokens), WHOLE, 0, 1e9, NULL},
    {'s', "seed", "N", "Of the draws, where the temperature is above 0, a second prompt's is N + 1; -1: others each time", AT(seed), WHOLE, -1, 9e15, NULL},
    {'T', "temperature", "T", "0: the likeliest token, always", AT(temperature), REAL, 0, 1e6, NULL},
    {'K', "top-k", "N", "Draw from the N likeliest; 0: from all", AT(top_k), WHOLE, 0, 1e9, NULL},
    {'P', "top-p", "P", "Draw from the fewest that have this share", AT(top_p), REAL, 1e-12, 1, NULL},
    {'M', "min-p", "P", "Draw from those at least so likely beside the likeliest", AT(min_p), REAL, 0, 1, NULL},
    {'r', "repetition-penalty", "R", "Divides the logits of tokens that were there", AT(repetition_penalty), REAL, 1e-6, 1e6, NULL},
    {'R', "presence-penalty", "R", "Is taken from the logits of tokens that were there", AT(presence_penalty), REAL, -1e6, 1e6, NULL},
    {'L', "penalty-last", "N", "There: among the last N", AT(penalty_last), WHOLE, 0, 1e9, NULL},
    {'S', "stop", "TEXT", "End before this text; may stand several times", AT(stop), LIST, 0, 0, NULL},
    {'e', "special", NULL, "Take special tokens in the text as such, and show them", AT(special), SWITCH, 0, 0, NULL},
    {'E', "special", NULL, "Take special tokens in the prompt as such", AT(special), SWITCH, 0, 0, NULL},
    {'f', "template", "NAME", "The form of the conversation; else the one in the model's files", AT(form), TEXT, 0, 0, NULL},
    {'y', "system", "TEXT", "What the model is told first", AT(system), TEXT, 0, 0, NULL},
    {'D', "decode", NULL, "Ids to text", AT(decode), SWITCH, 0, 0, NULL},
    {'w', "window", "N", "Tokens that are judged together", AT(window), WHOLE, 2, 1e9, NULL},
    {'q', "dtype", "TYPE", "Type of the matrices: f32, f16, bf16, and in GGUF files q8_0, q5_0, q4_0, q4_k and q6_k; else what they are", AT(type), TEXT,
     0, 0, NULL},
    {'V', "llama2-version", "N", "Of a llama2.c file of f32: 0 or 1", AT(llama2_version), WHOLE, 0, 1, NULL},
    {'a', "data", "FILE", "The text, - is standard input; its last tenth is held back", AT(data), TEXT, 0, 0, NULL},
    {'i', "steps", "N", "Steps of training", AT(steps), WHOLE, 1, 1e9, NULL},
    {'l', "lr", "RATE", "The learning rate", AT(lr), REAL, 1e-12, 1e3, NULL},
    {'b', "batch-size", "N", "Windows in a step", AT(batch_size), WHOLE, 1, 1e6, NULL},
    {'C', "context", "N", "Tokens in a window", AT(context), WHOLE, 1, 1e6, NULL},
    {'u', "trainable", "PREFIX,...", "Train parameters whose names begin so, \"lm_head,model.layers.5\"; else all", AT(trainable), TEXT, 0, 0, NULL},
    {'o', "lora-rank", "N", "Train low-rank parts of N beside the weights, which stay as they are; 0: none", AT(rank), WHOLE, 0, 1e6, NULL},
    {'A', "lora-alpha", "A", "They count A / N", AT(alpha), REAL, -1e6, 1e6, NULL},
    {'O', "lora-targets", "NAME,...", "The layers that get them", AT(targets), TEXT, 0, 0, NULL},
    {'g', "seed", "N", "Of whatever is random", AT(seed), WHOLE, 0, 9e15, NULL},
    {'W', "save", "FILE", "Write what was trained, without the rest of the model, as safetensors", AT(save), TEXT, 0, 0, NULL},
};
enum { OPTION_ROWS = sizeof option_rows / sizeof *option_rows };

/* Whether text is one of "conv|mlp". */
static bool is_choice(const char *choices, const char *text)
{
    for (size_t length; *choices; choices += length + (choices[length] == '|')) {
        length = strcspn(choices, "|");
        if (length == strlen(text) && strncmp(choices, text, length) == 0)
            return true;
    }
    return false;
}

static void take_number(const option_row *row, const char *text, void *field, struct argp_state *state)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= row->least && value <= row->most) || (row->kind == WHOLE && value != (double)(int64_t)value))
        argp_error(state, "--%s: '%s' is no %snumber from %g to %g", row->name, text, row->kind == WHOLE ? "whole " : "", row->least, row->most);
    if (row->kind == WHOLE)
        *(int64_t *)field = (int64_t)value;
    else
        *(double *)field = value;
}

static void take(const option_row *row, char *text, options *o, struct argp_state *state)
{
    void *field = (char *)o + row->offset;
    if (row->kind == SWITCH) {
        *(bool *)field = true;
    } else if (row->kind == WHOLE || row->kind == REAL) {
        take_number(row, text, field, state);
    } else if (row->kind == LIST) {
        texts *list = field;
        if (list->count == sizeof list->text / sizeof *list->text)
            argp_error(state, "--%s: more than %lld of them", row->name, (long long)list->count);
        list->text[list->count++] = text;
    } else {
        if (row->choices && !is_choice(row->choices, text))
            argp_error(state, "--%s: '%s' is none of %s", row->name, text, row->choices);
        *(const char **)field = text;
    }
}

/* How many arguments there must be; -1: any number. */
static int64_t due(const options *o)
{
    int64_t count = o->arguments != NULL;
    for (const char *c = o->arguments; c && *c; c++)
        count += *c == ' ';
    return o->arguments && *o->arguments == '[' ? -1 : count;
}

static error_t read_option(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    if (key == ARGP_KEY_ARG)
        return due(o) ? ARGP_ERR_UNKNOWN : (argp_error(state, "'%s' is no option", text), 0);
    if (key == ARGP_KEY_ARGS) {
        o->words = state->argv + state->next;
        o->word_count = state->argc - state->next;
        return 0;
    }
    if (key == ARGP_KEY_END && due(o) >= 0 && o->word_count != due(o))
        argp_error(state, "%lld arguments (%s) are due, and %lld are there", (long long)due(o), o->arguments, (long long)o->word_count);
    for (const option_row *row = option_rows; row < option_rows + OPTION_ROWS; row++)
        if (row->letter == key && strchr(o->takes, key)) {
            take(row, text, o, state);
            return 0;
        }
    return ARGP_ERR_UNKNOWN;
}

/* What --help says of an option: its text and its default. */
static void describe(const option_row *row, const options *o, char text[200])
{
    const void *field = (const char *)o + row->offset;
    const char *value = row->kind == TEXT ? *(const char *const *)field : NULL;
    if (row->kind == WHOLE || row->kind == REAL)
        snprintf(text, 200, "%s (%g)", row->text, row->kind == WHOLE ? (double)*(const int64_t *)field : *(const double *)field);
    else
        snprintf(text, 200, value ? "%s (%s)" : "%s", row->text, value);
}

void read_options(options *o, int argc, char **argv)
{
    struct argp_option taken[OPTION_ROWS + 1] = {{0}};
    char texts[OPTION_ROWS][200];
    int count = 0;
    for (const char *letter = o->takes; *letter; letter++)
        for (const option_row *row = option_rows; row < option_rows + OPTION_ROWS; row++)
            if (row->letter == *letter) {
                describe(row, o, texts[count]);
                taken[count] = (struct argp_option){row->name, row->letter, row->value, 0, texts[count], 0};
                count++;
            }
    argp_parse(&(struct argp){taken, read_option, o->arguments, o->about, NULL, NULL, NULL}, argc, argv, 0, NULL, o);
    if (o->device)
        o->on = tn_device(o->device);
}

void misused(const char *command, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "tenon %s: ", command);
    vfprintf(stderr, format, list);
    fprintf(stderr, "\nTry `tenon %s --help' for more information.\n", command);
    va_end(list);
    exit(EX_USAGE);
}

/* ---- models --------------------------------------------------------------------------------------------------------------- */

tn_quant quant_named(const char *name)
{
    char large[16];
    size_t i = 0;
    for (; name[i] && i + 1 < sizeof large; i++)
        large[i] = (char)toupper((unsigned char)name[i]);
    large[i] = 0;
    return name[i] ? TN_QUANT_NONE : tn_quant_named(large);
}

tn_decoder *open_decoder(const options *o)
{
    const tn_dtype cache = !o->cache                    ? TN_DTYPE_DEFAULT
                           : strcmp(o->cache, "f32") == 0  ? TN_F32
                           : strcmp(o->cache, "bf16") == 0 ? TN_BF16
                                                          : TN_I8;
    if (o->threads)
        tn_check(tn_set_num_threads((int)o->threads));
    return tn_adopt(tn_decoder_open(o->model, .weights = o->dtype ? quant_named(o->dtype) : TN_QUANT_NONE, .cache = cache, .context = o->context,
                                    .sequences = o->prompts.count > 1 ? o->prompts.count : 1, .tuned = o->finetuned,
                                    .device = &o->on));
}

/* Whether a tokenizer's path is a model's that has one: a folder or a GGUF file. */
static bool is_model(const char *path)
{
    struct stat st;
    char head[4] = "";
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    FILE *file = fopen(path, "rb");
    const bool gguf = file && fread(head, 1, sizeof head, file) == sizeof head && memcmp(head, "GGUF", sizeof head) == 0;
    if (file)
        fclose(file);
    return gguf;
}

tn_tokenizer *open_tokenizer(const options *o, const tn_llama_args *config)
{
    if (o->tokenizer && !o->pattern && is_model(o->tokenizer))
        return tn_adopt(tn_tokenizer_open(o->tokenizer));
    return tn_adopt(o->tokenizer ? tn_tokenizer_new(o->tokenizer, .vocab_size = config ? config->vocab_size : 0, .pattern = o->pattern) : tn_tokenizer_open(o->model));
}

static bool reads_on(int64_t read, int64_t count, void *context)
{
    (void)read, (void)count, (void)context;
    return !interrupted;
}

tn_llama_generate_args drawing(const options *o, tn_decoder *decoder, tn_tokenizer *tokenizer)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    tn_manual_seed(o->seed >= 0 ? (uint64_t)o->seed : (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 32);
    return (tn_llama_generate_args){.size = sizeof(tn_llama_generate_args), .decoder = decoder, .tokenizer = tokenizer, .max_tokens = o->tokens,
                              .temperature = o->temperature, .top_k = o->top_k, .top_p = o->top_p, .min_p = o->min_p,
                              .repetition_penalty = o->repetition_penalty, .presence_penalty = o->presence_penalty, .penalty_last = o->penalty_last,
                              .seed = o->seed, .eos = -1, .add_bos = -1, .on_prompt = reads_on};
}

/* ---- texts ---------------------------------------------------------------------------------------------------------------- */

/* A device is a terminal, or has no end. */
static size_t most_of(FILE *file)
{
    enum { TEXT_MOST = 1 << 30, DEVICE_MOST = 1 << 20 };
    struct stat st;
    return fstat(fileno(file), &st) == 0 && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) ? DEVICE_MOST : TEXT_MOST;
}

char *read_all(const char *path, int64_t *bytes)
{
    const bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    const size_t most = file ? most_of(file) : 0;
    size_t size = 0, room = 1 << 16;
    char *text = file ? malloc(room) : NULL;
    while (text && size <= most && !ferror(file) && !feof(file)) {
        size += fread(text + size, 1, room - 1 - size, file);
        char *more = size + 1 == room ? realloc(text, room *= 2) : text;
        if (!more)
            free(text);
        text = more;
    }
    if (!file || ferror(file))
        tn_fail(TN_ERR_IO, "%s: %s", path, strerror(errno));
    else if (!text)
        tn_fail(TN_ERR_MEMORY, "%s: no memory for %zu bytes", path, room);
    else if (size > most)
        tn_fail(TN_ERR_ARGUMENT, "%s: a text of over %zu bytes, which is the most that is read%s", standard ? "standard input" : path, most,
                most < 1 << 30 ? " from a device" : "");
    if (file && !standard)
        fclose(file);
    if (tn_last_status() != TN_OK) {
        free(text);
        return NULL;
    }
    text[size] = 0;
    *bytes = (int64_t)size;
    return text;
}

volatile sig_atomic_t interrupted;
static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}
void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND}; /* a read of standard input ends too */
    interrupted = 0;
    sigaction(SIGINT, &action, NULL);
}

bool show_text(const char *text, int64_t bytes)
{
    if (fwrite(text, 1, (size_t)bytes, stdout) != (size_t)bytes || fflush(stdout) != 0)
        tn_fail(TN_ERR_IO, "standard output: %s", strerror(errno));
    return !interrupted && tn_last_status() == TN_OK;
}

int done(void)
{
    if (fflush(stdout) != 0)
        tn_fail(TN_ERR_IO, "standard output: %s", strerror(errno));
    if (tn_last_status() == TN_OK)
        return 0;
    /* Where in this program the library was called, "(tools/chat.c:90)" at the end, tells a user nothing. */
    const char *text = tn_last_error(), *site = strrchr(text, '(');
    const bool ours = site && site - text > 1 && strstr(site, "tools/") && text[strlen(text) - 1] == ')';
    fprintf(stderr, "tenon: %.*s\n", (int)(ours ? site - text - 1 : (ptrdiff_t)strlen(text)), text);
    return 1;
}
