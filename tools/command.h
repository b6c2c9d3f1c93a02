/* What the commands of `tenon` share: the list of them, their options, and a model to work with. */
#ifndef COMMAND_H
#define COMMAND_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tenon.h>

/* X(name, what it does): <name>_main() in a file of its own; the help, the dispatch and the shell's completion follow. */
#define COMMANDS(X)                                                                                                           \
    X(generate, "Write on from a prompt with a language model")                                                               \
    X(chat, "Talk with a language model")                                                                                     \
    X(tokenize, "Text to token ids and pieces, and back")                                                                     \
    X(finetune, "Train a language model on a text")                                                                           \
    X(perplexity, "How well a language model foretells a text")                                                               \
    X(convert, "A model's file into another format or type")                                                                  \
    X(inspect, "What a model's file holds")                                                                                   \
    X(info, "This build, this machine")
#define COMMAND_MAIN(name, about) int name##_main(int argc, char **argv);
COMMANDS(COMMAND_MAIN)
#undef COMMAND_MAIN

/* What an option that may stand several times was given. */
typedef struct texts {
    const char *text[256];
    int64_t count;
} texts;

/* The options of all commands; a command fills in its defaults. */
typedef struct options {
    const char *about;     /* what --help says */
    const char *takes;     /* the options by their letters in command.c */
    const char *arguments; /* "FILE", "IN OUT"; NULL: none; "[TEXT...]": any number */
    const char *model, *tokenizer, *finetuned, *dtype, *type, *cache, *form, *system, *data, *trainable, *targets, *save;
    const char *pattern; /* of tiktoken's ranks */
    texts prompts, stop;
    char **words; /* [word_count], the arguments */
    int64_t word_count, context, threads, seed, tokens, top_k, penalty_last, window, llama2_version, steps, batch_size, rank;
    double temperature, top_p, min_p, repetition_penalty, presence_penalty, lr, alpha;
    bool special, decode;
} options;
/* Of what loads a model, of what draws tokens. */
#define MODEL_OPTIONS "mkFdcxt"
#define DRAWING_OPTIONS "snTKPMrRL"
#define COMMAND_DEFAULTS                                                                                                      \
    .seed = -1, .tokens = 256, .top_p = 1, .repetition_penalty = 1, .penalty_last = 64, .window = 512

/* Ends the program on --help, and with status 64 on what is wrong. */
void read_options(options *o, int argc, char **argv);
/* Says what is wrong with how the command was called, and ends the program with status 64. */
void misused(const char *command, const char *format, ...) TN_PRINTF(2, 3);

/* Opened as the options say, the scope's; on failure NULL, and an error sticks. */
tn_decoder *open_decoder(const options *o);
tn_tokenizer *open_tokenizer(const options *o, const tn_llama_args *config); /* the model's, or NULL */
/* How the options say that tokens are drawn. */
tn_llama_generate_args drawing(const options *o, tn_decoder *decoder, tn_tokenizer *tokenizer);
/* A type's name in small letters or large. */
tn_quant quant_named(const char *name);
/* All of a file ("-": of standard input), malloc()'s and closed by a 0; NULL with an error, as of over 2^30 bytes, or 2^20 of a device. */
char *read_all(const char *path, int64_t *bytes);

/* Ctrl-C sets `interrupted`; a second one ends the program. */
extern volatile sig_atomic_t interrupted;
void catch_interrupts(void);
/* Writes on standard output at once; false after Ctrl-C. */
bool show_text(const char *text, int64_t bytes);
/* The command's exit status: 0, or 1 after it has said what error sticks. */
int done(void);

#endif
