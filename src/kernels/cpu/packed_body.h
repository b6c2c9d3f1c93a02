/* Products with packed weights of one kind on one sort of processor: included by packed_product.c with
 *   NAME(x)       the names
 *   TARGET        what the functions may use beyond the instruction set's own
 *   STEP          sum += a unit of w times one of x: of floats (BLOCKS 0) or of whole numbers
 *   BLOCKS        0: F32, BF16; 8: Q8; 4: Q4: units of W to a block of 32
 *   PLANES        2: Q8_FINE, whose x is the bytes of 16 bits; left out: 1
 *   UNIT_BYTES    32: F16, whose units are made floats as they are read; left out: 64
 *   PER           2: BF16 OF_PAIRS, with x as floats; left out: 1
 *   MOST          rows of x at once
 * defined, and undefines them. */
#ifndef PLANES
#define PLANES 1
#endif
#ifndef PER
#define PER 1
#endif
#ifndef UNIT_BYTES
#define UNIT_BYTES 64
#endif

/* Adds to y what `panels` panels of the part and `width` rows of x give; all the while it fetches what is so far ahead of `fetched` panels from
 * panel `from` on. panels, width and fetched are constants where this is inlined. */
TARGET TN_INLINE void NAME(tile)(int panels, int width, int fetched, int from, int64_t ahead, const job *j, const part *part, const input_tile *x)
{
    vf sum[PANELS_MOST * NV][MOST];
    const char *w[PANELS_MOST];
    for (int p = 0; p < panels; p++)
        w[p] = part->w[p];
    TN_UNROLL
    for (int p = 0; p < panels * NV; p++)
        TN_UNROLL
        for (int i = 0; i < width; i++)
            sum[p][i] = splat(0);
    if (width > 1) /* what put() reads: lines so far apart that the processor does not see them coming */
        for (int p = 0; p < panels && part->panel[p] != NONE; p++)
            for (int i = 0; i < width; i++)
                __builtin_prefetch(j->y + (x->token + i) * j->y_row + part->panel[p] * TN_PACKED_ROWS, 1, 3);
#if BLOCKS == 0
    (void)fetched, (void)from, (void)ahead;
    for (int64_t u = 0; u < part->count; u++) {
        vi unit[PANELS_MOST * NV];
        TN_UNROLL
        for (int p = 0; p < panels; p++) {
            TN_UNROLL
            for (int v = 0; v < NV; v++)
                unit[p * NV + v] = UNIT_BYTES == 64 ? *(const vi *)(const void *)(w[p] + u * 64 + v * TN_VECTOR_BYTES)
                                                    : (vi)halves((const uint16_t *)(const void *)(w[p] + u * 32) + v * LANES);
        }
        TN_UNROLL
        for (int i = 0; i < width; i++) {
            const vi element = splat_i32(x->units[u * PER * width + i]);
#if PER == 2
            const vi second = splat_i32(x->units[(u * 2 + 1) * width + i]);
            TN_UNROLL
            for (int p = 0; p < panels * NV; p++)
                sum[p][i] = STEP(STEP(sum[p][i], unit[p] << 16, element), unit[p] & (int32_t)0xffff0000, second);
#else
            TN_UNROLL
            for (int p = 0; p < panels * NV; p++)
                sum[p][i] = STEP(sum[p][i], unit[p], element);
#endif
        }
    }
#else
    const char *scales[PANELS_MOST], *next[PANELS_MOST], *next_scales[PANELS_MOST];
    for (int p = 0; p < panels; p++)
        scales[p] = part->scales[p];
    TN_UNROLL
    for (int p = 0; p < fetched; p++) {
        next[p] = part->w[from + p] + ahead;
        next_scales[p] = part->scales[from + p] + ahead;
    }
    for (int64_t b = 0; b < part->count; b++) {
        vi whole[PANELS_MOST * NV][MOST];
        TN_UNROLL
        for (int i = 0; i < width; i++) {
            const vi less = splat_i32(PLANES == 1 ? x->less[b * width + i] : 0);
            TN_UNROLL
            for (int p = 0; p < panels * NV; p++)
                whole[p][i] = less;
        }
        TN_UNROLL
        for (int at = 0; at < BLOCKS * PLANES; at++) {
            const int u = at % BLOCKS;
            vi unit[PANELS_MOST * NV];
            TN_UNROLL
            for (int p = 0; p < panels; p++) {
                if (p < fetched && at == u)
                    __builtin_prefetch(next[p] + (b * BLOCKS + u) * 64, 0, 3);
                TN_UNROLL
                for (int v = 0; v < NV; v++)
                    unit[p * NV + v] = *(const vi *)(const void *)(w[p] + (b * BLOCKS + u) * 64 + v * TN_VECTOR_BYTES);
            }
            TN_UNROLL
            for (int i = 0; i < width; i++) {
                const vi element = splat_i32(x->units[(b * 8 * PLANES + at) * width + i]);
#if BLOCKS == 4 /* 16 times what the halves of the bytes are */
                const vi second = splat_i32(x->units[(b * 8 + 4 + u) * width + i]);
                TN_UNROLL
                for (int p = 0; p < panels * NV; p++)
                    whole[p][i] = STEP(STEP(whole[p][i], unit[p] << 4 & (int32_t)0xf0f0f0f0, element), unit[p] & (int32_t)0xf0f0f0f0, second);
#else
                TN_UNROLL
                for (int p = 0; p < panels * NV; p++)
                    whole[p][i] = STEP(whole[p][i], unit[p], element);
#endif
            }
#if PLANES == 2
            TN_UNROLL
            for (int i = 0; at == BLOCKS - 1 && i < width; i++) {
                const vi less = splat_i32(x->less[b * width + i]);
                TN_UNROLL
                for (int p = 0; p < panels * NV; p++)
                    whole[p][i] = (whole[p][i] << 8) + less;
            }
#endif
        }
        TN_UNROLL
        for (int p = 0; p < panels; p++) {
            if (p < fetched)
                __builtin_prefetch(next_scales[p] + b * 32, 0, 3);
            TN_UNROLL
            for (int v = 0; v < NV; v++) {
                const vf scale = halves((const uint16_t *)(const void *)(scales[p] + b * 32) + v * LANES);
                TN_UNROLL
                for (int i = 0; i < width; i++)
                    sum[p * NV + v][i] = fma_(floats(whole[p * NV + v][i]), scale * splat(x->scales[b * width + i]), sum[p * NV + v][i]);
            }
        }
    }
#endif
    put(panels, width, MOST, j, part, x->token, &sum[0][0]);
}

/* One row of x by `count` panels from first on, in STREAMS runs side by side. */
TARGET static void NAME(row)(const job *j, int64_t first, int64_t count)
{
    const int64_t run = tn_ceil_div(count, STREAMS);
    for (int64_t at = 0; at < run; at++)
        for (int64_t begin = 0; begin < j->length; begin += j->chunk) {
            part part = part_of(j, begin);
            for (int s = 0; s < STREAMS; s++)
                part_panel(j, &part, s, s * run + at < count ? first + s * run + at : NONE, begin);
            const input_tile x = input_tile_of(j, 0, 1, begin);
            NAME(tile)(STREAMS, 1, BLOCKS ? STREAMS : 0, 0, AHEAD, j, &part, &x);
        }
}

/* With blocks the first tiles of x bring the panels after next, each the same share: the processor has as many lines as it can wait for under way. */
TARGET TN_INLINE void NAME(tile_fetching)(int width, const job *j, const part *part, const input_tile *x)
{
    const int64_t ahead = 2 * PANELS * j->panel_bytes;
    const int at = x->token == 0 ? 0 : x->token == tile_width(MOST, j->n) ? 1 : 2; /* of the tiles */
    if (BLOCKS && at == 0 && (PANELS == 1 || j->n == width))
        NAME(tile)(PANELS, width, PANELS, 0, ahead, j, part, x);
    else if (BLOCKS && at < PANELS)
        NAME(tile)(PANELS, width, 1, at, ahead, j, part, x);
    else if (!BLOCKS && part->panel[PANELS - 1] == NONE) /* at the end of a thread's share; it keeps the processor as busy as two */
        NAME(tile)(1, width, 0, 0, 0, j, part, x);
    else
        NAME(tile)(PANELS, width, 0, 0, 0, j, part, x);
}

/* All rows of x that are left by a part of PANELS panels. */
TARGET static void NAME(rows)(const job *j, const part *part, int64_t begin)
{
    for (int64_t token = part->done; token < j->n;) {
        const int width = tile_width(MOST, j->n - token);
        const input_tile x = input_tile_of(j, token, width, begin);
        if (width == MOST)
            NAME(tile_fetching)(MOST, j, part, &x);
        else if (width == 4)
            NAME(tile_fetching)(MOST > 4 ? 4 : 1, j, part, &x);
        else if (width == 2)
            NAME(tile_fetching)(MOST > 2 ? 2 : 1, j, part, &x);
        else
            NAME(tile_fetching)(1, j, part, &x);
        token += width;
    }
}

#undef NAME
#undef TARGET
#undef STEP
#undef BLOCKS
#undef PLANES
#undef PER
#undef UNIT_BYTES
#undef MOST
