/* Products with weights in blocks of 32 on processors that multiply pairs of 16 bits: Q8, Q8_FINE and Q4 are levels too (kernels/levels.h), but for
 * their scales, which lie apart. Included by packed_product.c. Sums of a block are whole numbers, and those of blocks f32 in the same order for any rows
 * of x: the same bits. One row of x takes W apart in registers, few so Q8 and Q4; for more it is widened once.
 * In a block of x 16 units: 2 u has elements 4 u and 4 u + 2, 2 u + 1 has 4 u + 1 and 4 u + 3. */

static inline tn_level_form form_of(tn_packed_kind kind)
{
#define FORM(name, ...) [TN_PACKED_##name] = {__VA_ARGS__},
    static const tn_level_form forms[] = {AS_LEVELS_LIST(FORM)};
#undef FORM
    return forms[kind == TN_PACKED_Q8_FINE ? TN_PACKED_Q8 : kind];
}

/* One row of x takes four vectors at a time of so many panels: registers hold their sums beside what is multiplied. So many bytes ahead it fetches into
 * the second cache: what memory is slow for; from there the loop sees far enough itself. */
enum { ABREAST = 4 / NV, FAR_AHEAD = 16384 };

/* So many rows of x pay for widening what has its scales apart. */
enum { FEW = 12 };

/* A group's whole numbers of these panels. In 16 bits there is room for the sums of eight units of levels of 4 bits, of four of 5. */
TN_INLINE void pairs_group(tn_level_form f, int g, int32_t less, const char *const *planes, const int32_t *units, const int32_t *bytes, vi *whole)
{
    const int first = g * 4, end = first + f.group / 4, together = units_together(f);
    TN_UNROLL
    for (int v = 0; v < ABREAST * NV; v++)
        whole[v] = splat_i32(less * f.zero);
    if (!together) {
        TN_UNROLL
        for (int u = first; u < end; u++) {
            const vi even = splat_i32(units[2 * u]), odd = splat_i32(units[2 * u + 1]);
            TN_UNROLL
            for (int v = 0; v < ABREAST * NV; v++) {
                const vi unit = here(levels_unit(f, planes[v / NV], u, v % NV));
                whole[v] = here(whole[v] + pairs(even_bytes(unit), even) + pairs(odd_bytes(unit), odd));
            }
        }
        return;
    }
    TN_UNROLL
    for (int v = 0; v < ABREAST * NV; v++) {
        vi sum = {0};
        TN_UNROLL
        for (int u = first; u < end; u++) {
            const vi product = bytes_in_16_bits(levels_unit(f, planes[v / NV], u, v % NV), splat_i32(bytes[u]));
            sum = (u - first) % together == 0 ? product : (vi)((vs16)sum + (vs16)product);
            if ((u - first + 1) % together == 0 || u + 1 == end)
                whole[v] = here(whole[v] + pairs(sum, splat_i32(0x10001)));
        }
    }
}

/* Adds to y what STREAMS panels of the part and one row of x give; f and apart are constants where this is inlined. */
TN_INLINE void pairs_row(tn_level_form f, bool apart, const job *j, const part *part, const input_tile *x)
{
    vf sum[STREAMS * NV];
    const int per = f.block / TN_PACKED_BLOCK, groups = TN_PACKED_BLOCK / f.group;
    const int64_t stride = block_bytes(f, apart);
    TN_UNROLL
    for (int v = 0; v < STREAMS * NV; v++)
        sum[v] = splat(0);
    for (int64_t b = 0; b < part->count * per; b++) {
        const float x_scale = x->scales[b];
        const int32_t late = groups == 1 ? 0 : x->late[b];
        const int32_t *bytes = x->bytes + b * 8;
        for (int p = 0; p < STREAMS; p += ABREAST) {
            const int32_t *units = hidden(x->units + b * 16);
            const char *block[ABREAST], *planes[ABREAST];
            TN_UNROLL
            for (int k = 0; k < ABREAST; k++) {
                block[k] = part->w[p + k] + b / per * stride;
                planes[k] = block[k] + b % per * (f.low + f.high) * 64;
                TN_UNROLL
                for (int64_t line = 0; line < stride / per; line += 64)
                    __builtin_prefetch(block[k] + b % per * (stride / per) + line + FAR_AHEAD, 0, 2);
                if (apart)
                    __builtin_prefetch(part->scales[p + k] + b * 32 + FAR_AHEAD, 0, 2);
            }
            TN_UNROLL
            for (int g = 0; g < groups; g++) {
                const int32_t less = (g == 1 ? late : x->less[b] - late) >> 7; /* less the sum of x */
                vi whole[ABREAST * NV];
                pairs_group(f, g, less, planes, units, bytes, whole);
                TN_UNROLL
                for (int v = 0; v < ABREAST * NV; v++) {
                    const vf scale = apart ? scales_apart(part, p + v / NV, b, v % NV) : levels_scale(f, block[v / NV], b % per * groups + g, v % NV);
                    vf *to = &sum[p * NV + v];
                    *to = fma_(floats(whole[v]), scale * splat(x_scale), *to);
                    if (f.min)
                        *to = fma_(levels_min(f, block[v / NV], b % per * groups + g, v % NV), splat(x_scale * (float)less), *to);
                }
            }
        }
    }
    put(STREAMS, 1, 1, j, part, x->token, sum);
}

/* Adds to `whole` the whole numbers of units first ... end of a block, by pairs: of two vectors of a panel from v on, and `width` rows of x. */
TN_INLINE void tile_pairs(tn_level_form f, bool wide, int width, int first, int end, const char *planes, int v, const int32_t *units, vi whole[2][NARROW])
{
    if (wide) { /* gcc keeps the sums in registers where this loop stays one */
        for (int at = 2 * first; at < 2 * end; at++) {
            const vi *pair = (const vi *)(const void *)(planes + at * 64) + v;
            TN_UNROLL
            for (int i = 0; i < width; i++) {
                const vi element = splat_i32(units[at * width + i]);
                whole[0][i] += pairs(pair[0], element);
                whole[1][i] += pairs(pair[1], element);
            }
        }
        return;
    }
    TN_UNROLL
    for (int u = first; u < end; u++) {
        const vi unit[2] = {levels_unit(f, planes, u, v), levels_unit(f, planes, u, v + 1)};
        TN_UNROLL
        for (int odd = 0; odd < 2; odd++)
            TN_UNROLL
            for (int i = 0; i < width; i++) {
                const vi element = splat_i32(units[(2 * u + odd) * width + i]);
                TN_UNROLL
                for (int k = 0; k < 2; k++)
                    whole[k][i] = here(whole[k][i] + pairs(odd ? odd_bytes(unit[k]) : even_bytes(unit[k]), element));
            }
    }
}
/* The same by bytes, `together` units of which have room in 16 bits. */
TN_INLINE void tile_bytes(tn_level_form f, int together, int width, int first, int end, const char *planes, int v, const int32_t *bytes, vi whole[2][NARROW])
{
    vi sum[2][NARROW];
    TN_UNROLL
    for (int u = first; u < end; u++) {
        const vi unit[2] = {levels_unit(f, planes, u, v), levels_unit(f, planes, u, v + 1)};
        TN_UNROLL
        for (int i = 0; i < width; i++) {
            const vi element = splat_i32(bytes[u * width + i]);
            TN_UNROLL
            for (int k = 0; k < 2; k++) {
                const vi product = bytes_in_16_bits(unit[k], element);
                sum[k][i] = here((u - first) % together == 0 ? product : (vi)((vs16)sum[k][i] + (vs16)product));
            }
        }
        if ((u - first + 1) % together != 0 && u + 1 < end)
            continue;
        TN_UNROLL
        for (int i = 0; i < width; i++) {
            whole[0][i] = here(whole[0][i] + pairs(sum[0][i], splat_i32(0x10001)));
            whole[1][i] = here(whole[1][i] + pairs(sum[1][i], splat_i32(0x10001)));
        }
    }
}

/* Adds to y what a panel and `width` rows of x give, two vectors of W at a time: as it is packed where the scales are apart, else widened; all but the
 * last three are constants where this is inlined. */
TN_INLINE void pairs_tile(tn_level_form own, bool apart, int width, const job *j, const part *part, const input_tile *x)
{
    vf sum[NV][NARROW];
    const bool wide = !apart;
    const tn_level_form f = apart ? own : (tn_level_form){8, 0, TN_PACKED_BLOCK, own.group, own.zero, own.min, TN_TABLE_NONE};
    const int groups = TN_PACKED_BLOCK / f.group;
    const int64_t stride = apart ? block_bytes(f, apart) : WIDE_BYTES;
    TN_UNROLL
    for (int v = 0; v < NV; v++)
        TN_UNROLL
        for (int i = 0; i < width; i++)
            sum[v][i] = splat(0);
    for (int64_t b = 0; b < part->count; b++) {
        const char *block = part->w[0] + b * stride;
        const float *scales = (const float *)(const void *)(block + WIDE_UNITS * 64);
        const int32_t *units = hidden(x->units + b * 16 * width), *bytes = hidden(x->bytes + b * 8 * width);
        TN_UNROLL
        for (int at = 0; at < groups * NV / 2; at++) {
            const int g = at / (NV / 2), first = at % (NV / 2) * 2;
            const int begin = g * 4, end = begin + f.group / 4, together = units_together(own);
            int32_t less[NARROW]; /* the sum of x */
            vi whole[2][NARROW];
            TN_UNROLL
            for (int i = 0; i < width; i++) {
                const int32_t late = groups == 1 ? 0 : x->late[b * width + i];
                less[i] = (g == 1 ? late : x->less[b * width + i] - late) >> 7;
                whole[0][i] = whole[1][i] = splat_i32(wide && !together ? 0 : less[i] * f.zero);
            }
            if (together)
                tile_bytes(f, together, width, begin, end, block, first, bytes, whole);
            else
                tile_pairs(f, wide, width, begin, end, block, first, units, whole);
            TN_UNROLL
            for (int v = 0; v < 2; v++) {
                const float *kept = scales + g * TN_PACKED_ROWS + (first + v) * LANES;
                const vf scale = apart ? scales_apart(part, 0, b, first + v) : *(const vf *)kept;
                TN_UNROLL
                for (int i = 0; i < width; i++) {
                    const float x_scale = x->scales[b * width + i];
                    vf *to = &sum[first + v][i];
                    *to = fma_(floats(whole[v][i]), scale * splat(x_scale), *to);
                    if (f.min)
                        *to = fma_(*(const vf *)(kept + 2 * TN_PACKED_ROWS), splat(x_scale * (float)less[i]), *to);
                }
            }
        }
    }
    put(1, width, NARROW, j, part, x->token, &sum[0][0]);
}

/* All rows of x by a part of a panel. */
TN_INLINE void pairs_rows(tn_level_form f, bool apart, const job *j, const part *part, int64_t begin)
{
    for (int64_t token = 0; token < j->n;) {
        const int width = tile_width(NARROW, j->n - token);
        const input_tile x = input_tile_of(j, token, width, begin);
        if (width == NARROW)
            pairs_tile(f, apart, NARROW, j, part, &x);
        else if (width == 4)
            pairs_tile(f, apart, 4, j, part, &x);
        else if (width == 2)
            pairs_tile(f, apart, 2, j, part, &x);
        else
            pairs_tile(f, apart, 1, j, part, &x);
        token += width;
    }
}
#define ROWS(name, ...)                                                                                                       \
    static void wide_rows_##name(const job *j, const part *part, int64_t begin)                                               \
    {                                                                                                                         \
        pairs_rows((tn_level_form){__VA_ARGS__}, false, j, part, begin);                                                      \
    }
AS_LEVELS_LIST(ROWS)
#undef ROWS
#define ROWS(name, ...) [TN_PACKED_##name] = wide_rows_##name,
static void (*const wide_rows[])(const job *j, const part *part, int64_t begin) = {AS_LEVELS_LIST(ROWS)[TN_PACKED_Q8_FINE] = wide_rows_Q8};
#undef ROWS
#define ROWS(name, ...)                                                                                                       \
    static void apart_rows_##name(const job *j, const part *part, int64_t begin)                                              \
    {                                                                                                                         \
        pairs_rows((tn_level_form){__VA_ARGS__}, true, j, part, begin);                                                       \
    }
APART_LIST(ROWS)
#undef ROWS
#define ROWS(name, ...) [TN_PACKED_##name] = apart_rows_##name,
static void (*const apart_rows[])(const job *j, const part *part, int64_t begin) = {APART_LIST(ROWS)[TN_PACKED_Q8_FINE] = apart_rows_Q8};
#undef ROWS

#define ROW(name, ...)                                                                                                        \
    static void pairs_##name(const job *j, const part *part, const input_tile *x)                                              \
    {                                                                                                                         \
        pairs_row((tn_level_form){__VA_ARGS__}, TN_PACKED_##name < TN_PACKED_OF_FLOATS, j, part, x);                          \
    }
AS_LEVELS_LIST(ROW)
#undef ROW
#define ROW(name, ...) [TN_PACKED_##name] = pairs_##name,
static void (*const pairs_of_row[])(const job *j, const part *part, const input_tile *x) = {AS_LEVELS_LIST(ROW)[TN_PACKED_Q8_FINE] = pairs_Q8};
#undef ROW

/* One row of x by panels first ... last, in STREAMS runs side by side. */
static void pairs_one(const job *j, int64_t first, int64_t last)
{
    const int64_t run = tn_ceil_div(last - first, STREAMS), per = form_of(j->w->kind).block / TN_PACKED_BLOCK;
    for (int64_t panel = first; panel < first + run; panel++)
        for (int64_t begin = 0; begin < j->length; begin += j->chunk) {
            part part = part_of(j, begin);
            for (int s = 0; s < STREAMS; s++)
                part_panel(j, &part, s, panel + s * run < last ? panel + s * run : NONE, begin);
            const input_tile x = input_tile_of(j, 0, 1, begin * per);
            pairs_of_row[j->w->kind](j, &part, &x);
        }
}

/* As much of x at a time as the second cache holds: each part of a panel goes by all of its rows. */
static void blocks_product(const job *j, int64_t first, int64_t last)
{
    char wide[WIDE_BLOCKS * WIDE_BYTES] __attribute__((aligned(64)));
    const tn_level_form f = form_of(j->w->kind);
    const int64_t step = chunks_of(j) * j->chunk;
    const bool apart = j->w->kind < TN_PACKED_OF_FLOATS && j->n < FEW;
    if (j->n == 1) {
        pairs_one(j, first, last);
        return;
    }
    for (int64_t from = 0; from < j->length; from += step)
        for (int64_t panel = first; panel < last; panel++)
            for (int64_t begin = from; begin < j->length && begin < from + step; begin += j->chunk) {
                part part = part_of(j, begin);
                part_panel(j, &part, 0, panel, begin);
                if (!apart)
                    widen_levels[j->w->kind](&part, wide);
                (apart ? apart_rows : wide_rows)[j->w->kind](j, &part, begin * (f.block / TN_PACKED_BLOCK));
            }
}
