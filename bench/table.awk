# Lines of bench.csv as a table of Markdown. head=no: without its head; only=REGEX, dtype=: rows that match; view=threads: what a second thread gives
# to rows that were measured on one and on two; view=behind: rows in which PyTorch is faster, in either setting; view=losses: how far losses are from those
# that they must be near. A * is for each round that others disturbed and that was kept.
# The bound is the longer of the FLOPs at the peak of multiply-adds of the dtype and the bytes at the bandwidth of the level that holds
# them: what is both read and written at that of copying, what is changed in place at that of changing, what is more at that of reading.
function time(ms) {
    return ms == "" ? "-" : ms < 0.001 ? sprintf("%.0f ns", 1e6 * ms) : ms < 1 ? sprintf("%.1f µs", 1e3 * ms) : sprintf("%.2f ms", ms)
}
function ratio(a, b) { return a == "" || b == "" ? "-" : sprintf("%.2f", a / b) }
function stars(n) { return n > 0 ? " " substr("**********", 1, n) : "" }
function megabytes(mb) { return mb > 0 ? sprintf("%.0f", mb) : "-" }
function bound(    flops, bytes, both) {
    flops = $4 / $19 * 1000
    both = $5 < $7 ? $5 : $7
    bytes = $21 > 0 ? 2 * both / $21 + ($5 > $7 ? ($5 - both) / $20 : 2 * ($7 - both) / $21) + 2 * $6 / $22 : 0
    limit = bytes > flops ? $23 : "FLOP"
    return bytes > flops ? bytes : flops
}
BEGIN {
    compiled["compile"] = " (compiled)"
    if (view == "threads")
        print "| row | dtype | 2 threads over 1 | multiply-adds alone | PyTorch default | PyTorch tuned |\n|---|---|---|---|---|---|"
    else if (view == "losses")
        print "| network | dtype | losses | greatest relative difference | allowed |\n|---|---|---|---|---|"
    else if (head != "no")
        print "| row | threads | dtype | Tenon | PyTorch default | ratio | PyTorch tuned | ratio | bound | of bound | MB | default MB |\n" \
            "|---|---|---|---|---|---|---|---|---|---|---|---|"
}
$1 == "row" || (view == "behind" && ($11 == "" || ($8 <= $11 && ($15 == "" || $8 <= $15)))) || (only != "" && $1 !~ only) || (dtype != "" && $3 != dtype) { next }
($27 != "") != (view == "losses") { next }
view == "losses" {
    sub(/[.]losses$/, "", $1)
    printf("| %s | %s | %s | %s | %s |\n", $1, $3, $25, sprintf("%.1e", $26), $27)
    next
}
view == "threads" {
    if ($2 == 1) {
        ours[$1 $3] = $8
        theirs[$1 $3] = $11
        tuned[$1 $3] = $15
        peak[$1 $3] = $19
        disturbed[$1 $3] = $24
    } else if ($2 == 2 && $1 $3 in ours)
        printf("| %s%s | %s | %s | %s | %s | %s |\n", $1, stars($24 + disturbed[$1 $3]), $3, ratio(ours[$1 $3], $8), ratio($19, peak[$1 $3]),
            ratio(theirs[$1 $3], $11), ratio(tuned[$1 $3], $15))
    next
}
{
    b = bound()
    printf("| %s%s | %s | %s | %s | %s%s | %s | %s%s | %s | %s | %s | %s | %s |\n", $1, stars($24), $2, $3, time($8), time($11), compiled[$14],
        ratio($11, $8), time($15), compiled[$18], ratio($15, $8), b > 1e-4 ? limit : "calls", b > 1e-4 ? sprintf("%.0f %%", 100 * b / $8) : "-", megabytes($10),
        megabytes($13))
}
