/* The command line of the examples: --epochs, --lr and so on. An example fills in its defaults and says which options it takes. */
#ifndef EXAMPLE_OPTIONS_H
#define EXAMPLE_OPTIONS_H

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tenon.h>

typedef struct options {
    const char *about;    /* what the program does */
    const char *takes;    /* the options by their letters below: "ersp" are epochs, lr, seed and plot */
    const char *networks; /* the choices of --network, "conv|mlp" */
    const char *arguments; /* "[MODEL [PROMPT]]"; NULL: none */
    const char *words[2];  /* [word_count], the arguments */
    int word_count;
    const char *network;
    int64_t batch_size, test_batch_size, epochs, steps, seed, shuffle;
    double lr, dropout;
    const char *device, *data, *plot, *save, *load;
    tn_device_id on; /* what device names: the CPU where it is NULL */
} options;

typedef struct option_row {
    char letter;
    const char *name, *value, *text;
    size_t offset;                   /* of the field that takes the value */
    enum { TEXT, WHOLE, REAL } kind; /* const char *, int64_t, double */
    double least, most;              /* of a number */
} option_row;
static const option_row option_rows[] = {
    {'n', "network", "NAME", "The network", offsetof(options, network), TEXT, 0, 0},
    {'b', "batch-size", "N", "Items in a training batch", offsetof(options, batch_size), WHOLE, 1, 1e6},
    {'t', "test-batch-size", "N", "Items in a test batch", offsetof(options, test_batch_size), WHOLE, 1, 1e6},
    {'e', "epochs", "N", "Passes over the training data", offsetof(options, epochs), WHOLE, 1, 1e5},
    {'i', "steps", "N", "Training steps", offsetof(options, steps), WHOLE, 1, 1e7},
    {'r', "lr", "RATE", "The learning rate", offsetof(options, lr), REAL, 1e-12, 1e3},
    {'o', "dropout", "P", "The share of activations that is dropped", offsetof(options, dropout), REAL, 0, 1},
    {'f', "shuffle", "0|1", "Whether the items come in random order", offsetof(options, shuffle), WHOLE, 0, 1},
    {'s', "seed", "N", "Of whatever is random", offsetof(options, seed), WHOLE, 0, 9e15},
    {'v', "device", "NAME", "cpu, or cuda:0: where it computes", offsetof(options, device), TEXT, 0, 0},
    {'d', "data", "PATH", "Where the data are", offsetof(options, data), TEXT, 0, 0},
    {'p', "plot", "FILE", "The picture, .png or .svg; a CSV lies beside it", offsetof(options, plot), TEXT, 0, 0},
    {'w', "save", "FILE", "Write the weights as safetensors", offsetof(options, save), TEXT, 0, 0},
    {'l', "load", "FILE", "Begin from such a file", offsetof(options, load), TEXT, 0, 0},
};
enum { OPTION_ROWS = sizeof option_rows / sizeof *option_rows };

/* Whether text is one of "conv|mlp". */
static inline bool is_choice(const char *choices, const char *text)
{
    for (size_t length; *choices; choices += length + (choices[length] == '|')) {
        length = strcspn(choices, "|");
        if (length == strlen(text) && strncmp(choices, text, length) == 0)
            return true;
    }
    return false;
}

static inline error_t read_option(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    for (const option_row *row = option_rows; row < option_rows + OPTION_ROWS; row++) {
        if (row->letter != key || !strchr(o->takes, key))
            continue;
        if (key == 'n' && !is_choice(o->networks, text))
            argp_error(state, "the network is one of %s, not '%s'", o->networks, text);
        void *field = (char *)o + row->offset;
        if (row->kind == TEXT) {
            *(const char **)field = text;
            return 0;
        }
        char *end;
        double value = strtod(text, &end);
        if (end == text || *end || !(value >= row->least && value <= row->most) || (row->kind == WHOLE && value != (double)(int64_t)value))
            argp_error(state, "--%s: '%s' is no %snumber from %g to %g", row->name, text, row->kind == WHOLE ? "whole " : "", row->least, row->most);
        if (row->kind == WHOLE)
            *(int64_t *)field = (int64_t)value;
        else
            *(double *)field = value;
        return 0;
    }
    if (key == ARGP_KEY_ARG && o->arguments && o->word_count < (int)(sizeof o->words / sizeof *o->words)) {
        o->words[o->word_count++] = text;
        return 0;
    }
    if (key == ARGP_KEY_ARG)
        argp_error(state, "'%s' is no option", text);
    return ARGP_ERR_UNKNOWN;
}

/* Ends the program on --help and on what is wrong, a device that is not there too. */
static inline void read_options(options *o, int argc, char **argv)
{
    struct argp_option taken[OPTION_ROWS + 1] = {{0}};
    char texts[OPTION_ROWS][160]; /* what --help says: the option and its default */
    int count = 0;
    for (int i = 0; i < OPTION_ROWS; i++) {
        const option_row *row = &option_rows[i];
        const void *field = (char *)o + row->offset;
        const char *value = row->kind == TEXT ? *(const char *const *)field : NULL, *text = row->letter == 'n' ? o->networks : row->text;
        if (!strchr(o->takes, row->letter))
            continue;
        if (row->kind == TEXT)
            snprintf(texts[i], sizeof texts[i], value ? "%s (%s)" : "%s", text, value);
        else
            snprintf(texts[i], sizeof texts[i], "%s (%g)", text, row->kind == WHOLE ? (double)*(const int64_t *)field : *(const double *)field);
        taken[count++] = (struct argp_option){row->name, row->letter, row->value, 0, texts[i], 0};
    }
    argp_parse(&(struct argp){taken, read_option, o->arguments, o->about, NULL, NULL, NULL}, argc, argv, 0, NULL, o);
    if (o->device)
        o->on = tn_device(o->device);
    if (tn_last_status() != TN_OK)
        tn_die();
}

/* Draws the picture, and says what to call it: without gnuplot the numbers are in the CSV all the same. */
static inline const char *save_picture(tn_plot *plot, const char *path)
{
    const tn_status drawn = tn_plot_save(plot);
    if (drawn != TN_ERR_UNSUPPORTED)
        tn_check(drawn);
    tn_clear_error();
    return drawn == TN_OK ? path : "(no gnuplot for the picture)";
}

#endif
