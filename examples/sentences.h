/* What surrounds examples/transformer.c: the sentences of CoLA as rows of word numbers. */
#ifndef EXAMPLE_SENTENCES_H
#define EXAMPLE_SENTENCES_H

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tenon.h>

enum { LONGEST = 44, PADDING = 0, UNKNOWN = 1, FIRST_WORD = 2 };

/* The training sentences' words in the order of their bytes: word i has the number FIRST_WORD + i. */
typedef struct {
    char **words;
    int64_t count, capacity;
} vocabulary;

typedef struct {
    tn_tensor *x, *y; /* i64 [n, LONGEST] of word numbers, f32 [n]: 1 where the sentence is acceptable */
} sentences;

/* The next word at *text, lower-case: letters, digits and apostrophes, or one other character. False at the end. */
static inline bool next_word(const char **text, char word[64])
{
    const char *at = *text;
    int length = 0;
    while (isspace((unsigned char)*at))
        at++;
    while (*at && length < 63 && (isalnum((unsigned char)*at) || *at == '\'' || length == 0)) {
        bool alone = !isalnum((unsigned char)*at) && *at != '\'';
        word[length++] = (char)tolower((unsigned char)*at++);
        if (alone)
            break;
    }
    word[length] = 0;
    *text = at;
    return length > 0;
}

static inline int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static inline vocabulary vocabulary_of(const tn_table *table, int64_t column)
{
    vocabulary v = {0};
    char word[64];
    for (int64_t row = 0; row < tn_table_rows(table); row++)
        for (const char *text = tn_table_text(table, row, column); next_word(&text, word);) {
            if (v.count == v.capacity) {
                v.capacity = v.capacity ? 2 * v.capacity : 1024;
                v.words = realloc(v.words, (size_t)v.capacity * sizeof *v.words);
            }
            v.words[v.count++] = strdup(word);
        }
    qsort(v.words, (size_t)v.count, sizeof *v.words, by_bytes);
    int64_t kept = 0;
    for (int64_t i = 0; i < v.count; i++) {
        if (kept && strcmp(v.words[kept - 1], v.words[i]) == 0)
            free(v.words[i]);
        else
            v.words[kept++] = v.words[i];
    }
    v.count = kept;
    return v;
}

static inline void vocabulary_free(vocabulary *v)
{
    for (int64_t i = 0; i < v->count; i++)
        free(v->words[i]);
    free(v->words);
}

static inline int64_t number_of(const vocabulary *v, char *word)
{
    char **found = bsearch(&word, v->words, (size_t)v->count, sizeof *v->words, by_bytes);
    return found ? FIRST_WORD + (found - v->words) : UNKNOWN;
}

/* A file of CoLA: source, label, the author's mark, sentence. */
static inline tn_table *open_sentences(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    tn_table *table = tn_load_table(path, .quote = 0, .header = false);
    tn_check(tn_last_status());
    return table;
}

static inline sentences number_sentences(const tn_table *table, const vocabulary *v)
{
    int64_t n = tn_table_rows(table);
    sentences s = {tn_zeros(TN_SHAPE(n, LONGEST), .dtype = TN_I64), tn_table_numbers(table, 1)};
    int64_t *x = tn_data_mut(s.x);
    char word[64];
    for (int64_t row = 0; x && row < n; row++) {
        const char *text = tn_table_text(table, row, 3);
        for (int i = 0; i < LONGEST && next_word(&text, word); i++)
            x[row * LONGEST + i] = number_of(v, word);
    }
    tn_check(tn_last_status());
    return s;
}

#endif
