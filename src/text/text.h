/* A tokeniser is a chain of steps: each takes a piece of text and gives pieces to the next, the last one gives ids. A file's reader makes the
 * chain, the vocabulary that it uses, and the rules of decoding. */
#ifndef TN_TEXT_H
#define TN_TEXT_H

#include "core/core.h"

#include <string.h>

#include <tenon/tokenizer.h>

/* ---- bytes that grow (vocab.c) ------------------------------------------------------------------------------------------- */

typedef struct tn_bytes {
    char *data;
    size_t size, capacity;
} tn_bytes;
bool tn_bytes_add(tn_bytes *b, const void *data, int64_t size);
void tn_bytes_free(tn_bytes *b);

/* ---- Unicode (unicode.c) ------------------------------------------------------------------------------------------------- */

/* The code point at the start of text, whose size is over 0, and how many bytes it takes; -1 and 1 where they are no UTF-8. */
int32_t tn_utf8_next(const char *text, int64_t size, int *taken);
/* The same by the first byte's word alone, however long the character is and whatever it is up to 10ffff. */
int32_t tn_utf8_loose_next(const char *text, int64_t size, int *taken);
/* Of text that is no UTF-8: how many bytes at its start go together, as one U+FFFD; *cut: more of them could make a character. */
int tn_utf8_part(const char *text, int64_t size, bool *cut);
int tn_utf8_put(int32_t point, char out[4]);
/* A general category as a number, below 32; by its name, "Lu", "L": a bit for each that it takes in, 0 where there is none such. */
int tn_category(int32_t point);
uint32_t tn_category_mask(const char *name, int64_t size);
bool tn_white_space(int32_t point);
/* \w of Unicode's regular expressions. */
bool tn_word_point(int32_t point);
/* Text in the normal form D or, composed, C, behind what out has; what is no UTF-8 stays as it is. */
bool tn_normal_form(const char *text, int64_t size, bool compose, tn_bytes *out);
/* Text as UTF-8 behind what out has; U+FFFD for as long a part as could have begun a character. Loose, as llama.cpp reads it: for each byte, but
 * what is longer than it need be becomes what it means, and surrogates stay. */
bool tn_utf8_mend(const char *text, int64_t size, bool loose, tn_bytes *out);

/* ---- regular expressions (pattern.c) ------------------------------------------------------------------------------------- */

/* The part of their language that splitters use: alternatives, groups, (?i:), classes, \s \d \w \p{L}, + * ? {1,3} greedy, lazy or
 * possessive, (?= (?!, $. No memory of its own but its program. */
typedef struct tn_pattern tn_pattern;
/* lines: $ stands before a line's end too, as in Oniguruma. NULL with an error that names op. */
tn_pattern *tn_pattern_new(const char *op, const char *source, int64_t size, bool lines);
void tn_pattern_free(tn_pattern *p);
/* The first match at or after `from` in valid UTF-8; false where there is none, and with an error once *tries, which each look at a character takes
 * down, is used up: what a hostile pattern needs is no end of them. */
bool tn_pattern_find(const tn_pattern *p, const char *text, int64_t size, int64_t from, int64_t *tries, int64_t *start, int64_t *end);
static inline int64_t tn_pattern_tries(int64_t size) { return (1 << 20) + 256 * size; }

/* ---- vocabulary (vocab.c) ------------------------------------------------------------------------------------------------ */

/* SentencePiece's types, and GGUF's. */
enum { TN_TOKEN_NORMAL = 1, TN_TOKEN_UNKNOWN, TN_TOKEN_CONTROL, TN_TOKEN_USER, TN_TOKEN_UNUSED, TN_TOKEN_BYTE };
typedef struct tn_token {
    const char *text; /* in the vocabulary's memory, ended by a 0; NULL: no token has the id */
    int32_t size;
    uint8_t type;
    float score;
} tn_token;
typedef struct tn_slot {
    uint32_t hash; /* of the text: most that do not match are told by it alone */
    int32_t id;    /* -1: none */
} tn_slot;
typedef struct tn_vocab {
    tn_token *tokens; /* [count] */
    int64_t count;
    char *memory;
    size_t memory_size, memory_used;
    tn_slot *slots; /* [slot_count] */
    int64_t slot_count;
    int32_t longest; /* bytes of a token */
} tn_vocab;
/* Room for ids below count, whose texts have so many bytes in all. */
bool tn_vocab_init(tn_vocab *v, int64_t count, int64_t bytes);
/* Copies a token; `known` tells whether its text was there already (it is then found by its first id), or the id was. False only where it does not
 * fit the room. */
bool tn_vocab_set(tn_vocab *v, int64_t id, const char *text, int64_t size, int type, float score, bool *known);
int32_t tn_vocab_find(const tn_vocab *v, const char *text, int64_t size); /* -1: none */
void tn_vocab_free(tn_vocab *v);

/* Texts found at the start of a text. */
typedef struct tn_trie {
    uint64_t *edges; /* [edge_count] (node << 8 | byte) + 1, 0 where none */
    int32_t *next;   /* [edge_count] */
    int32_t *values; /* [nodes], -1: no text ends here */
    size_t edge_count, edges_used, nodes, nodes_capacity;
} tn_trie;
bool tn_trie_add(tn_trie *t, const char *text, int64_t size, int32_t value); /* the last value of a text counts */
int32_t tn_trie_step(const tn_trie *t, int32_t node, unsigned char byte);     /* the node behind; -1: none. The root is 0. */
int64_t tn_trie_longest(const tn_trie *t, const char *text, int64_t size, int32_t *value); /* its length; 0: none */
void tn_trie_free(tn_trie *t);

/* Which pairs of tokens merge: in what order, and into what. */
typedef struct tn_pair_rule {
    int32_t left, right, rank, id; /* left -1: none */
} tn_pair_rule;
typedef struct tn_pairs {
    tn_pair_rule *slots; /* [count] */
    size_t count;
} tn_pairs;
bool tn_pairs_init(tn_pairs *p, int64_t count);
void tn_pairs_set(tn_pairs *p, int32_t left, int32_t right, int32_t rank, int32_t id); /* the last one of a pair counts */
const tn_pair_rule *tn_pairs_find(const tn_pairs *p, int32_t left, int32_t right);
void tn_pairs_free(tn_pairs *p);

/* ---- the chain (steps.c, merge.c, unigram.c) ----------------------------------------------------------------------------- */

typedef struct tn_piece {
    const char *text;
    int64_t size;
    bool first; /* begins where the whole text does */
} tn_piece;
typedef struct tn_symbol {
    int32_t start, size, prev, next; /* next -1: the last; size 0: merged into another */
    int32_t id;                      /* -1: none yet; below: nothing merges with it */
} tn_symbol;
typedef struct tn_candidate {
    uint64_t order; /* the smallest comes first: a merge's rank or score, or a found token's place in `added`; below it the place in the text */
    int32_t size, id;
} tn_candidate;

enum { TN_STEPS_MAX = 32 };
/* One encoding. */
typedef struct tn_encoder {
    const tn_tokenizer *tokenizer;
    bool allow_special;
    int64_t *ids;
    size_t count, ids_capacity;
    tn_bytes texts[TN_STEPS_MAX]; /* what each step made */
    tn_symbol *symbols;
    size_t symbol_count, symbols_capacity;
    tn_candidate *heap;
    size_t heap_count, heap_capacity;
    int32_t *splits; /* [vocabulary], of unused tokens: where the last merge into one was made */
    int64_t work;    /* candidates looked at */
    bool last_unknown;
    size_t piece_ids; /* where the last piece's ids begin */
} tn_encoder;

typedef struct tn_text_step tn_text_step;
typedef bool (*tn_step_run)(tn_encoder *e, const tn_text_step *step, tn_piece piece);
enum { TN_SPLIT_ISOLATED, TN_SPLIT_REMOVED, TN_SPLIT_PREVIOUS, TN_SPLIT_NEXT, TN_SPLIT_CONTIGUOUS };
enum { TN_PREPEND_NEVER, TN_PREPEND_FIRST, TN_PREPEND_ALWAYS };
struct tn_text_step {
    tn_step_run run;
    tn_bytes what, with; /* what is looked for or put in, and what comes in its place */
    tn_pattern *pattern; /* NULL, or what is looked for, whose source is in `what` */
    tn_trie trie;
    int mode;            /* a split's, or when a step prepends */
    bool invert, flag;   /* see the steps */
};
/* Gives a piece to the step behind; an empty one goes nowhere. */
static inline bool tn_pass_on(tn_encoder *e, const tn_text_step *step, const char *text, int64_t size, bool first)
{
    return size == 0 || step[1].run(e, step + 1, (tn_piece){text, size, first});
}
bool tn_emit(tn_encoder *e, int64_t id);
/* What has no token: those of its bytes, or the unknown one, once for a run. */
bool tn_emit_unknown(tn_encoder *e, const char *text, int64_t size);
bool tn_piece_fits(const tn_piece *p); /* places in it are 32 bits; false with an error */
/* The heap: where it has some, the one of the least order comes out. */
bool tn_candidate_push(tn_encoder *e, tn_candidate c);
tn_candidate tn_candidate_pop(tn_encoder *e);

bool tn_step_mend(tn_encoder *e, const tn_text_step *step, tn_piece piece);    /* what is no UTF-8 becomes U+FFFD; flag: loosely */
bool tn_step_added(tn_encoder *e, const tn_text_step *step, tn_piece piece);   /* trie: places in tokenizer->added; flag: see there */
bool tn_step_prepend(tn_encoder *e, const tn_text_step *step, tn_piece piece); /* with; mode; flag: not where the text begins with it */
bool tn_step_replace(tn_encoder *e, const tn_text_step *step, tn_piece piece); /* what or pattern, with */
bool tn_step_normal(tn_encoder *e, const tn_text_step *step, tn_piece piece);  /* flag: composed */
bool tn_step_known(tn_encoder *e, const tn_text_step *step, tn_piece piece);   /* characters that are no tokens are left out */
bool tn_step_strip(tn_encoder *e, const tn_text_step *step, tn_piece piece);   /* white space: mode & 1 of the left, & 2 of the right */
bool tn_step_split(tn_encoder *e, const tn_text_step *step, tn_piece piece);   /* what or pattern; mode, invert */
bool tn_step_sentencepiece(tn_encoder *e, const tn_text_step *step, tn_piece piece); /* its normaliser: sentencepiece.c */
bool tn_step_merge(tn_encoder *e, const tn_text_step *step, tn_piece piece);   /* the last step of every model but unigram */
bool tn_step_unigram(tn_encoder *e, const tn_text_step *step, tn_piece piece); /* trie: the pieces */
bool tn_step_tiktoken(tn_encoder *e, const tn_text_step *step, tn_piece piece); /* before the split: what tiktoken does with bytes that are no UTF-8 */

/* ---- the tokeniser ------------------------------------------------------------------------------------------------------- */

/* A token that is found in the text before the model sees it. */
typedef struct tn_added {
    int32_t id;
    bool special, single_word, left, right; /* left, right: takes the white space there with it */
} tn_added;

/* What of a piece is a symbol at first: a byte, a character, or, as llama2.c has it, a byte and up to three that go on. */
enum { TN_UNIT_BYTE, TN_UNIT_CHARACTER, TN_UNIT_RUN };
/* What merges: two whose joined text is a token, by its score or its id; or pairs, by their rank. */
enum { TN_MERGE_SCORES, TN_MERGE_IDS, TN_MERGE_PAIRS };

typedef struct tn_text_state tn_text_state;
/* How a decoder ends what is no UTF-8, and SentencePiece's normaliser takes it. */
enum { TN_LOSSY_RAW, TN_LOSSY_EACH_BYTE, TN_LOSSY_PART };

enum { TN_ENDS_MOST = 32 };
struct tn_tokenizer {
    tn_object base;
    const char *file_name; /* by which a folder has such a file, "tokenizer.json"; of GGUF's arrays that of what tn_tokenizer_write() makes */
    tn_vocab vocab;
    bool *special; /* [vocab.count] */
    int64_t bos, eos, unk;
    int64_t ends[TN_ENDS_MOST]; /* [end_count] what ends a text beside eos */
    int end_count;
    int64_t before[8], behind[8]; /* what encoding puts around the text unless told otherwise */
    int before_count, behind_count;
    bool tells_ends; /* the file says what those are, none too; else it is the caller's to say */

    tn_text_step steps[TN_STEPS_MAX];
    int step_count;
    tn_added *added; /* [added_count] */
    size_t added_count, added_capacity;
    int32_t *shown;     /* [vocab.count] where in shown_texts a token's text lies that is another than the one it is found by, -1: none; or NULL */
    tn_bytes shown_texts;

    int unit, merge;
    bool any_type;      /* tokens of every type merge, not normal ones alone */
    bool whole_first;   /* a piece that is a token is not taken apart */
    bool letters;       /* the vocabulary writes bytes as letters: GPT-2's alphabet */
    bool names_letters; /* llama.cpp's: decoding names what is no letter */
    bool byte_fallback, fuse_unknown, has_unused;
    int32_t bytes[256]; /* the token of each byte, -1: none */
    tn_pairs pairs;
    tn_trie user;       /* SentencePiece's user-defined tokens, which nothing takes apart */
    float least;        /* of normal tokens' scores */

    tn_bytes charsmap;  /* SentencePiece's normaliser: a double array of charsmap_units, then texts */
    int64_t charsmap_units;
    bool dummy_prefix, remove_spaces, escape_spaces, suffix;

    bool (*decode)(tn_text_state *s, int64_t id); /* adds a token's text to s */
    int lossy;
    tn_bytes unknown_text; /* SentencePiece's, of its unknown token */
    bool decode_letters, decode_bytes, join_spaces; /* tokenizer.json's decoder: letters, "<0x0A>" are bytes; a space between tokens */
    tn_bytes from, to;  /* what is replaced in each token; */
    bool drop_first;    /* in the first one, by nothing */
    char strip;         /* an ASCII character dropped at the text's start, */
    int strip_count;    /* so often at the most */
};

/* A decoding. */
struct tn_text_state {
    const tn_tokenizer *tokenizer;
    bool skip_special;
    bool whole_runs;   /* byte tokens in a row wait for the last one, and are replaced together or not at all */
    bool any, begun;   /* a token was seen; there is text, or a space before it was dropped */
    int64_t last;      /* the token before; -1: none */
    int stripped;      /* characters at the start */
    tn_bytes held;     /* bytes of characters that are not whole yet */
    tn_bytes out;
};
/* Adds text that is whole; bytes, which may be a part of a character. */
bool tn_state_text(tn_text_state *s, const char *text, int64_t size);
bool tn_state_bytes(tn_text_state *s, const char *bytes, int64_t size);
/* Gives out what of the held bytes is whole; at the end, all. */
bool tn_state_drain(tn_text_state *s, bool end);
/* decode.c: the readers' choices. */
bool tn_decode_sentencepiece(tn_text_state *s, int64_t id);
bool tn_decode_llama2c(tn_text_state *s, int64_t id);
bool tn_decode_json(tn_text_state *s, int64_t id);
bool tn_decode_gguf(tn_text_state *s, int64_t id);
bool tn_decode_texts(tn_text_state *s, int64_t id);

/* False, with an error, where an error sticks or t is no tokeniser. */
bool tn_is_tokenizer(const char *op, const tn_tokenizer *t);
bool tn_ends_text(const tn_tokenizer *t, int64_t id);
/* What ends a text by the model's files: eos is the first of them, unless the tokeniser's own file says with what encoding ends. Ids that the
 * vocabulary has not are passed over. */
void tn_set_ends(tn_tokenizer *t, const int64_t *ids, int count);
tn_tokenizer *tn_tokenizer_empty(void);
/* tn_tokenizer_encode(), and how many candidates for merging were looked at. */
tn_tensor *tn_tokenizer_encode_counted(const tn_tokenizer_encode_args *args, int64_t *work);
/* The normal token of that text; -1: none. */
int32_t tn_model_token(const tn_tokenizer *t, const char *text, int64_t size);
/* Bytes that a stream has room for at once, enough for any token: each byte of it may become a U+FFFD, or be named with the whole token. */
enum { TN_NAMED_MOST = 64 }; /* bytes of a token that is named */
static inline int64_t tn_most_text(const tn_tokenizer *t)
{
    return 3 * (int64_t)t->vocab.longest + 64 + (t->names_letters ? TN_NAMED_MOST * (TN_NAMED_MOST + 24) : 0);
}
/* What the token of an id below vocab.count is written as. */
tn_span tn_token_text(const tn_tokenizer *t, int64_t id);
/* A step at the chain's end, cleared; NULL with an error where there are too many. */
tn_text_step *tn_add_step(tn_tokenizer *t, const char *op, tn_step_run run);
/* The token "<0x0A>" as 10; -1 where text is none such. */
int tn_byte_token(const char *text, int64_t size);
/* Fills t->bytes by the tokens that write bytes, "<0x0A>". */
void tn_find_bytes(tn_tokenizer *t);
/* GPT-2's alphabet: the code point of a byte; the byte of a code point, -1: none. */
int32_t tn_letter_of_byte(int byte);
int tn_byte_of_letter(int32_t point);
/* Fills t->bytes by the tokens of single letters. */
void tn_find_letters(tn_tokenizer *t);
/* A step that splits by a pattern. */
bool tn_add_split(tn_tokenizer *t, const char *op, const char *pattern, int64_t size, int mode, bool lines);
/* Two tokens that merge; false where one of the three is no normal token, or with an error. */
bool tn_add_merge(tn_tokenizer *t, tn_span left, tn_span right, int32_t rank);
/* A token that the step finds. */
bool tn_add_token(tn_tokenizer *t, tn_text_step *step, const char *text, int64_t size, tn_added added);
/* Behind tn_vocab_init(): what has a place for each token. */
bool tn_finish_vocab(tn_tokenizer *t);
extern const char tn_pattern_gpt2[], tn_pattern_cl100k[], tn_pattern_llama3[], tn_pattern_qwen2[], tn_pattern_tekken[], tn_pattern_minicpm5[], tn_pattern_seed_coder[],
    tn_pattern_ufakzeka[];
/* Whether the beginning's token stands in front where a GGUF file does not say: by tokenizer.ggml.model and .pre, either may be NULL. */
bool tn_gguf_begins(const char *model, const char *pre);

/* ---- readers: a file's bytes into a cleared tokeniser; false with an error ------------------------------------------------ */

typedef struct tn_text_file {
    const char *op, *path;
    const char *data;
    int64_t size;
} tn_text_file;
bool tn_read_sentencepiece(tn_tokenizer *t, const tn_text_file *f);
bool tn_read_llama2c(tn_tokenizer *t, const tn_text_file *f, int64_t vocab_size);
bool tn_read_json(tn_tokenizer *t, const tn_text_file *f); /* tokenizer.json and llama3.np's */
bool tn_read_tiktoken(tn_tokenizer *t, const tn_text_file *f, const char *pattern);

/* ---- and back (json_write.c): behind what out has; false with an error ----------------------------------------------------- */

/* A tokeniser of GGUF's arrays as tokenizer.json. TN_ERR_UNSUPPORTED says what such a file cannot hold. */
bool tn_tokenizer_write(const tn_tokenizer *t, tn_bytes *out);
/* The tokenizer_config.json beside it, by which transformers knows the beginning, the end and the unknown. */
bool tn_tokenizer_write_config(const tn_tokenizer *t, tn_bytes *out);

#endif
