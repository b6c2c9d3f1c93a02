# The lines of all rounds, in the files peak, bandwidth, ours, default, tuned, default compiled, tuned compiled, become a line of CSV for each row:
# medians over the rounds, and least times; of eager and compiled the one whose median is less, but the memory is eager's, for compiling takes much
# more. Where a row has bytes, its level is the first that holds them, and the bandwidths are that level's.
function median(file, key, column,    n, i, j, v, t) {
    n = count[file, key]
    for (i = 1; i <= n; i++) {
        t = value[file, key, column, i]
        for (j = i - 1; j > 0 && v[j] > t; j--)
            v[j + 1] = v[j]
        v[j + 1] = t
    }
    return n ? (n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2) : ""
}
function least(file, key, column,    n, i, m) {
    n = count[file, key]
    m = n ? value[file, key, column, 1] : ""
    for (i = 2; i <= n; i++)
        if (value[file, key, column, i] < m)
            m = value[file, key, column, i]
    return m
}
function better(eager, compiled, key) { return count[compiled, key] && count[compiled, key] == count[eager, key] && median(compiled, key, 3) < median(eager, key, 3) ? compiled : eager }
FNR == 1 { file++; while (file < 7 && FILENAME !~ ("/" file "$")) file++ }
{
    key = file == 1 ? "peak" : $1
    n = ++count[file, key]
    for (i = 1; i <= NF; i++)
        value[file, key, i, n] = $i
    if (n == 1 && file == 2)
        levels[++level_count] = $1
    if (n == 1 && file == 3)
        rows[++row_count] = $1
}
END {
    how[4] = how[5] = "eager"
    how[6] = how[7] = "compile"
    for (r = 1; r <= row_count; r++) {
        key = rows[r]
        bytes = median(3, key, 6) + median(3, key, 7) + median(3, key, 8)
        for (l = 1; l < level_count && 1e6 * bytes > 1024 * value[2, levels[l], 2, 1]; l++)
            ;
        base = better(4, 6, key)
        tuned = better(5, 7, key)
        print key, threads, dtype, median(3, key, 5), median(3, key, 6), median(3, key, 7), median(3, key, 8), median(3, key, 3), least(3, key, 4),
            median(3, key, 9), median(base, key, 3), least(base, key, 4), value[4, key, 5, 1], how[base], median(tuned, key, 3), least(tuned, key, 4),
            value[5, key, 5, 1], how[tuned],
            median(1, "peak", dtype == "bf16" ? 3 : 1), median(2, levels[l], 3), median(2, levels[l], 4), median(2, levels[l], 5), levels[l], disturbed
    }
}
