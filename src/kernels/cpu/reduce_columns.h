/* Sums of columns of one type of element: included with what reduce_block.h is, E (the element as it is read), WIDE(x) (it as U) and DIRECT (whether
 * E is what lies in memory; else it is loaded). Ends with E, WIDE and DIRECT undefined. */

/* Of w columns over so many inner positions: four rows at a time, the narrow lanes emptied into wide ones every ROWS rows. */
static void FN(sum_columns)(const tn_plan *plan, tn_walk *walk, int64_t rows, int64_t w, tn_partial *s)
{
    static const E zeros[COLUMNS];
    E loaded[4][COLUMNS];
    V_SUM wide[COLUMNS] = {0};
    for (int64_t done = 0; done < rows; done += ROWS) {
        int64_t end = rows - done < ROWS ? rows - done : ROWS;
        U lane[COLUMNS] = {0};
        for (int64_t r = 0; r < end; r += 4) {
            const E *row[4] = {zeros, zeros, zeros, zeros};
            for (int64_t j = 0; j < 4 && r + j < end; j++) {
                row[j] = (const E *)(const void *)walk->at;
                if (!DIRECT) {
                    plan->load(walk->at, plan->column_stride, w, loaded[j]);
                    row[j] = loaded[j];
                }
                tn_walk_step(walk);
            }
            for (int64_t c = 0; c < w; c++)
                lane[c] += (WIDE(row[0][c]) + WIDE(row[1][c])) + (WIDE(row[2][c]) + WIDE(row[3][c]));
        }
        for (int64_t c = 0; c < w; c++)
            wide[c] += (V_SUM)lane[c];
    }
    for (int64_t c = 0; c < w; c++) {
        s[c].value.V = (V_TYPE)((V_SUM)s[c].value.V + wide[c]);
        s[c].count += rows;
    }
}

#undef E
#undef WIDE
#undef DIRECT
