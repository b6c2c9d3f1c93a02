/* Choosing a token from logits. */
#ifndef TN_MODELS_SAMPLE_H
#define TN_MODELS_SAMPLE_H

#include <tenon/generate.h>

#include "core/core.h"

typedef struct tn_choice {
    float p;
    int32_t token;
} tn_choice;

typedef struct tn_chooser {
    const tn_llama_generate_args *how;
    int64_t vocab;
    float *logits;            /* [vocab], a copy that may be changed; NULL where the best is taken of them as they are */
    tn_choice *candidates; /* [vocab]; NULL without a temperature */
    int64_t *last;            /* [penalty_last], a ring of what was there; NULL without penalties */
    int64_t seen;             /* how many were there in all */
    uint64_t seed, draws;
} tn_chooser;

/* Takes its memory; false on no memory, and then tn_chooser_done() still is due. */
bool tn_chooser_make(tn_chooser *chooser, const tn_llama_generate_args *how, int64_t vocab);
void tn_chooser_done(tn_chooser *chooser);
/* A token that was there. */
void tn_chooser_saw(tn_chooser *chooser, int64_t token);
int64_t tn_choose(tn_chooser *chooser, const float *logits);

#endif
