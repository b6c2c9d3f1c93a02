/* tenon COMMAND [OPTION...]: finds the command. */
#include "command.h"

#include <sysexits.h>

static const struct command {
    const char *name, *about;
    int (*main)(int argc, char **argv);
} commands[] = {
#define COMMAND_ROW(name, about) {#name, about, name##_main},
    COMMANDS(COMMAND_ROW)
#undef COMMAND_ROW
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void help(FILE *to)
{
    fputs("Usage: tenon COMMAND [OPTION...]\nLanguage models on this machine.\n\n", to);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-12s%s\n", commands[i].name, commands[i].about);
    fputs("\n`tenon COMMAND --help' tells a command's options; `tenon --version' the version; `tenon --commands' the commands' names.\n", to);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0) {
            char full[64];
            snprintf(full, sizeof full, "tenon %s", name);
            argv[1] = full;
            return commands[i].main(argc - 1, argv + 1);
        }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-?") == 0 || strcmp(name, "help") == 0) {
        help(stdout);
    } else if (strcmp(name, "--version") == 0) {
        printf("tenon %s\n", tn_version());
    } else if (strcmp(name, "--commands") == 0) {
        for (int i = 0; i < COMMAND_COUNT; i++)
            puts(commands[i].name);
    } else {
        if (*name)
            fprintf(stderr, "tenon: '%s' is no command\n", name);
        help(stderr);
        return EX_USAGE;
    }
    return done();
}
