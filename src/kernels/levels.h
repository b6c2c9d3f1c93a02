/* GGUF's quantised blocks of few bits as what they are made of: a whole number, its level, for each element; for each group of elements whole
 * numbers as scale and minimum; and d and dmin of the block:
 *
 *   element = (d scale[group]) (level - zero) - dmin min[group]        with a table's number in the place of level - zero where there is one */
#ifndef TN_LEVELS_H
#define TN_LEVELS_H

#include <stdbool.h>
#include <stdint.h>

/* X(type, low bits of a level, high bits, elements of a block, of a group, zero, whether it has minima, table). Blocks that are one group have
 * scale 1 and min -1 (dmin is added). What a table has is kept with 128 added. */
#define TN_LEVELS_LIST(X)                                                                                                     \
    X(Q4_1, 4, 0, 32, 32, 0, true, TN_TABLE_NONE)                                                                             \
    X(Q5_0, 4, 1, 32, 32, 16, false, TN_TABLE_NONE)                                                                           \
    X(Q5_1, 4, 1, 32, 32, 0, true, TN_TABLE_NONE)                                                                             \
    X(Q2_K, 2, 0, 256, 16, 0, true, TN_TABLE_NONE)                                                                            \
    X(Q3_K, 2, 1, 256, 16, 4, false, TN_TABLE_NONE)                                                                           \
    X(Q4_K, 4, 0, 256, 32, 0, true, TN_TABLE_NONE)                                                                            \
    X(Q5_K, 4, 1, 256, 32, 0, true, TN_TABLE_NONE)                                                                            \
    X(Q6_K, 4, 2, 256, 16, 32, false, TN_TABLE_NONE)                                                                          \
    X(IQ4_NL, 4, 0, 32, 32, 128, false, TN_TABLE_IQ4)                                                                         \
    X(IQ4_XS, 4, 0, 256, 32, 128, false, TN_TABLE_IQ4)                                                                        \
    X(MXFP4, 4, 0, 32, 32, 128, false, TN_TABLE_E2M1)

/* IQ4_NL's sixteen levels, closer together near 0; the numbers of four bits of MXFP4 (e2m1), doubled. */
typedef enum tn_level_table { TN_TABLE_NONE, TN_TABLE_IQ4, TN_TABLE_E2M1 } tn_level_table;
static const uint8_t tn_level_tables[3][16] = {
    {0},
    {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241},
    {128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116}};

typedef struct tn_level_form {
    int low, high, block, group, zero;
    bool min;
    tn_level_table table;
} tn_level_form;

typedef struct tn_levels {
    uint8_t level[256];
    int8_t scale[16], min[16];
    float d, dmin; /* each an f16 in the file; MXFP4's d is a power of two, which a bf16 holds */
} tn_levels;
/* The parts of a block. */
typedef void tn_levels_read(const uint8_t *block, tn_levels *out);
#define TN_LEVELS_PROTOTYPE_(name, ...) tn_levels_read tn_levels_##name;
TN_LEVELS_LIST(TN_LEVELS_PROTOTYPE_)
#undef TN_LEVELS_PROTOTYPE_
/* y[0 ... form.block - 1], every operation rounded. */
void tn_levels_floats(tn_level_form form, const tn_levels *levels, float *y);

#endif
