/* Products with weights of levels (kernels/levels.h) on one sort of processor: included by packed_product.c with NAME(x), TARGET and STEP as
 * packed_body.h has them, and undefines them. One row of x takes the levels apart in registers (where ONE_ROW is 1: it is much code, for
 * processors that people decode on); for more of them they are taken apart once, to `wide` blocks of 32: Q8's 8 units, f32 [2, 16] of scales and
 * f32 [2, 16] of minima, which are d's and dmin's multiples. */

/* Adds to y what `panels` panels of the part and `width` rows of x give; all but the last three are constants where this is inlined. */
TARGET TN_INLINE void NAME(levels_tile)(tn_level_form f, bool wide, int panels, int width, const job *j, const part *part, const input_tile *x)
{
    vf sum[PANELS_MOST * NV][NARROW];
    const int per = f.block / TN_PACKED_BLOCK, groups = TN_PACKED_BLOCK / f.group;
    const int64_t bytes = wide ? (int64_t)per * WIDE_BYTES : tn_levels_bytes(f);
    TN_UNROLL
    for (int p = 0; p < panels * NV; p++)
        TN_UNROLL
        for (int i = 0; i < width; i++)
            sum[p][i] = splat(0);
    for (int64_t b = 0; b < part->count * per; b++) {
        const char *from[PANELS_MOST];
        const int64_t at = b / per * bytes, in = b % per;
        for (int p = 0; p < panels; p++) {
            from[p] = part->w[p] + (wide ? b * WIDE_BYTES : at);
            for (int64_t line = 0; line < bytes / per && !wide; line += 64)
                __builtin_prefetch(from[p] + in * (bytes / per) + line + LEVELS_AHEAD, 0, 3);
        }
        TN_UNROLL
        for (int g = 0; g < groups; g++) {
            vi whole[PANELS_MOST * NV][NARROW];
            int32_t less[NARROW];
            TN_UNROLL
            for (int i = 0; i < width; i++) {
                const int32_t late = groups == 1 ? 0 : x->late[b * width + i];
                less[i] = g == 1 ? late : x->less[b * width + i] - late;
                TN_UNROLL
                for (int p = 0; p < panels * NV; p++)
                    whole[p][i] = splat_i32((less[i] >> 7) * f.zero);
            }
            TN_UNROLL
            for (int k = 0; k < 8 / groups; k++) {
                const int u = g * 4 + k;
                vi unit[PANELS_MOST * NV];
                TN_UNROLL
                for (int p = 0; p < panels * NV; p++)
                    unit[p] = wide ? *(const vi *)(const void *)(from[p / NV] + u * 64 + p % NV * TN_VECTOR_BYTES)
                                   : levels_unit(f, from[p / NV] + in * (f.low + f.high) * 64, u, p % NV);
                TN_UNROLL
                for (int i = 0; i < width; i++) {
                    const vi element = splat_i32(x->units[(b * 8 + u) * width + i]);
                    TN_UNROLL
                    for (int p = 0; p < panels * NV; p++)
                        whole[p][i] = STEP(whole[p][i], unit[p], element);
                }
            }
            TN_UNROLL
            for (int p = 0; p < panels * NV; p++) {
                const float *kept = (const float *)(const void *)(from[p / NV] + 512) + g * TN_PACKED_ROWS + p % NV * LANES;
                const int64_t group = in * groups + g;
                const vf scale = wide ? *(const vf *)kept : levels_scale(f, from[p / NV], group, p % NV);
                const vf min = !f.min ? splat(0) : wide ? *(const vf *)(kept + 2 * TN_PACKED_ROWS) : levels_min(f, from[p / NV], group, p % NV);
                TN_UNROLL
                for (int i = 0; i < width; i++) {
                    const float x_scale = x->scales[b * width + i];
                    sum[p][i] = fma_(floats(whole[p][i]), scale * splat(x_scale), sum[p][i]);
                    if (f.min)
                        sum[p][i] = fma_(min, splat(x_scale * (float)(less[i] >> 7)), sum[p][i]);
                }
            }
        }
    }
    put(panels, width, NARROW, j, part, x->token, &sum[0][0]);
}

/* All rows of x by a wide part; what differs between forms there. */
TARGET TN_INLINE void NAME(levels_rows)(int group, bool min, const job *j, const part *part, int64_t begin)
{
    const tn_level_form own = tn_packed_form(j->w->kind), f = {8, 0, TN_PACKED_BLOCK, group, own.zero, min, TN_TABLE_NONE};
    for (int64_t token = 0; token < j->n;) {
        const int width = tile_width(NARROW, j->n - token);
        const input_tile x = input_tile_of(j, token, width, begin);
        if (width == NARROW)
            NAME(levels_tile)(f, true, PANELS, NARROW, j, part, &x);
        else if (width == 4)
            NAME(levels_tile)(f, true, PANELS, NARROW > 4 ? 4 : 1, j, part, &x);
        else if (width == 2)
            NAME(levels_tile)(f, true, PANELS, NARROW > 2 ? 2 : 1, j, part, &x);
        else
            NAME(levels_tile)(f, true, PANELS, 1, j, part, &x);
        token += width;
    }
}
TARGET static void NAME(levels_many)(const job *j, const part *part, int64_t begin)
{
    const tn_level_form f = tn_packed_form(j->w->kind);
    if (f.group == 16 && f.min)
        NAME(levels_rows)(16, true, j, part, begin);
    else if (f.group == 16)
        NAME(levels_rows)(16, false, j, part, begin);
    else if (f.min)
        NAME(levels_rows)(32, true, j, part, begin);
    else
        NAME(levels_rows)(32, false, j, part, begin);
}

#if ONE_ROW
#define ROW(name, ...)                                                                                                        \
    TARGET static void NAME(levels_##name)(const job *j, const part *part, const input_tile *x)                                \
    {                                                                                                                         \
        NAME(levels_tile)((tn_level_form){__VA_ARGS__}, false, STREAMS, 1, j, part, x);                                       \
    }
TN_LEVELS_LIST(ROW)
#undef ROW
#define ROW(name, ...) NAME(levels_##name),
static void (*const NAME(levels_row)[])(const job *j, const part *part, const input_tile *x) = {TN_LEVELS_LIST(ROW)};
#undef ROW
#endif

/* The same as packed_product() of kinds of levels. */
TARGET static void NAME(levels_product)(const job *j, int64_t first, int64_t last)
{
    char wide[PANELS * WIDE_BLOCKS * WIDE_BYTES] __attribute__((aligned(64)));
    const int64_t per = tn_packed_form(j->w->kind).block / TN_PACKED_BLOCK;
    const bool one = ONE_ROW && j->n == 1;
    const int streams = one ? STREAMS : PANELS;
    const int64_t run = one ? tn_ceil_div(last - first, STREAMS) : 1; /* panels from one stream's to the next's */
    for (int64_t panel = first; panel < (one ? first + run : last); panel += one ? 1 : PANELS)
        for (int64_t begin = 0; begin < j->length; begin += j->chunk) {
            part part = part_of(j, begin);
            for (int s = 0; s < streams; s++)
                part_panel(j, &part, s, panel + s * run < last ? panel + s * run : NONE, begin);
#if ONE_ROW
            if (one) {
                const input_tile x = input_tile_of(j, 0, 1, begin * per);
                NAME(levels_row)[j->w->kind - TN_PACKED_OF_FLOATS](j, &part, &x);
                continue;
            }
#endif
            widen_levels[j->w->kind](&part, wide);
            NAME(levels_many)(j, &part, begin * per);
        }
}

#undef NAME
#undef TARGET
#undef STEP
#undef ONE_ROW
