#!/bin/sh
# Tenon beside PyTorch, in turn, in one run: a training step of each network on 1 and 2 threads, the dispatch of a small operator, peak
# memory, and the share of the machine's measured peak.   usage: run.sh FOLDER-OF-BENCHMARKS [ROUNDS]
# PYTHON names an interpreter that has PyTorch; without one only Tenon's figures are printed. Whole table: bench.csv in that folder.
set -eu
bin=$1
rounds=${2:-5}
here=$(dirname "$0")
python=${PYTHON:-python3}
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE MALLOC_ARENA_MAX || true
if "$python" -c 'import torch' 2>/dev/null; then peer=yes; else
    peer=no
    echo "PyTorch is not installed for '$python' (set PYTHON=...): Tenon's figures alone."
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
column() { awk -v c="$2" '{ print $c }' "$1" | median; }

echo "network,threads,tenon_ms,pytorch_ms,ratio,tenon_share_of_peak,pytorch_share_of_peak,tenon_mb,pytorch_mb" > "$bin/bench.csv"
printf '%-8s %7s | %9s %9s %6s | %7s %7s | %8s %8s\n' network threads tenon pytorch ratio 'share' 'of peak' 'tenon' 'pytorch'
for network in mlp lenet gru lstm; do
    for threads in 1 2; do
        : > "$work/ours"
        : > "$work/theirs"
        : > "$work/peak"
        round=0
        while [ $round -lt "$rounds" ]; do
            OMP_NUM_THREADS=$threads "$bin/peak" "$threads" >> "$work/peak"
            OMP_NUM_THREADS=$threads "$bin/training" $network $threads >> "$work/ours"
            [ $peer = no ] || OMP_NUM_THREADS=$threads "$python" "$here/training.py" $network $threads >> "$work/theirs"
            round=$((round + 1))
        done
        peak=$(column "$work/peak" 1) # GFLOP/s of fp32 FMA on these threads
        ours=$(column "$work/ours" 3)
        gflop=$(column "$work/ours" 5)
        our_mb=$(column "$work/ours" 6)
        theirs=nan their_mb=nan
        [ $peer = no ] || { theirs=$(column "$work/theirs" 3) their_mb=$(column "$work/theirs" 6); }
        awk -v csv="$bin/bench.csv" -v n=$network -v t=$threads -v a="$ours" -v b="$theirs" -v g="$gflop" -v p="$peak" -v ma="$our_mb" -v mb="$their_mb" 'BEGIN {
            none = b == "nan"
            printf "%-8s %7d | %6.2f ms %9s %6s | %6.0f%% %7s | %5.0f MB %8s\n", n, t, a, none ? "-" : sprintf("%.2f ms", b),
                none ? "-" : sprintf("%.2f", b / a), 100 * g / a * 1000 / p, none ? "-" : sprintf("%.0f%%", 100 * g / b * 1000 / p),
                ma, none ? "-" : sprintf("%.0f MB", mb)
            printf "%s,%d,%s,%s,%s,%.4f,%s,%s,%s\n", n, t, a, b, none ? "nan" : b / a, g / a * 1000 / p,
                none ? "nan" : g / b * 1000 / p, ma, mb >> csv }'
    done
done

echo
printf '%-20s | %9s %9s %6s\n' 'small operators' tenon pytorch ratio
"$bin/dispatch" > "$work/ours"
if [ $peer = yes ]; then "$python" "$here/dispatch.py" > "$work/theirs"; else : > "$work/theirs"; fi
awk 'NR == FNR { theirs[$1] = $2; next }
     { b = theirs[$1]; printf "%-20s | %6.0f ns %9s %6s\n", $1, $2, b ? sprintf("%.0f ns", b) : "-", b ? sprintf("%.1f", b / $2) : "-" }' \
    "$work/theirs" "$work/ours"

echo
echo 'packed weights in the shapes of stories15M and stories110M: decode beside reading the same bytes, prefill beside the peaks'
for shape in 15M 110M; do
    for threads in 1 2; do "$bin/packed" $shape $threads "$rounds"; done
done
