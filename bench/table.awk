# Lines of bench.csv as a table of Markdown. head=only: its head alone; head=no: without it; only=REGEX: rows that match.
# The bound is the longer of the FLOPs at the peak of multiply-adds (in bf16 twice that of f32) and the bytes at the bandwidth of the level that holds
# them: what is both read and written at that of copying, what is changed in place at that of changing, what is more at that of reading.
function time(ms) { return ms == "" ? "-" : ms < 0.001 ? sprintf("%.0f ns", 1e6 * ms) : ms < 1 ? sprintf("%.1f µs", 1e3 * ms) : sprintf("%.2f ms", ms) }
function ratio(a, b) { return a == "" ? "-" : sprintf("%.2f", a / b) }
function bound(    flops, bytes, both) {
    flops = $4 / ($19 * ($3 == "bf16" ? 2 : 1)) * 1000
    both = $5 < $7 ? $5 : $7
    bytes = $21 > 0 ? 2 * both / $21 + ($5 > $7 ? ($5 - both) / $20 : 2 * ($7 - both) / $21) + 2 * $6 / $22 : 0
    limit = bytes > flops ? $23 : "FLOP"
    return bytes > flops ? bytes : flops
}
BEGIN {
    if (head != "no") {
        print "| row | threads | dtype | Tenon | PyTorch default | ratio | PyTorch tuned | ratio | bound | of bound | MB | default MB |"
        print "|---|---|---|---|---|---|---|---|---|---|---|---|"
    }
}
$1 != "row" && (only == "" || $1 ~ only) {
    b = bound()
    printf("| %s | %s | %s | %s | %s%s | %s | %s%s | %s | %s | %s | %s | %s |\n", $1, $2, $3, time($8), time($11), $14 == "compile" ? " (compiled)" : "",
        ratio($11, $8), time($15), $18 == "compile" ? " (compiled)" : "", ratio($15, $8), b > 1e-4 ? limit : "calls",
        b > 1e-4 ? sprintf("%.0f %%", 100 * b / $8) : "-", $10 == "" || $10 == 0 ? "-" : sprintf("%.0f", $10), $13 == "" ? "-" : sprintf("%.0f", $13))
}
