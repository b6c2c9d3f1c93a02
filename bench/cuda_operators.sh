#!/bin/sh
# Operators on a GPU, Tenon's beside PyTorch's, process after process: ms by the device's events, their ratio, and Tenon's GB/s of what must be moved, as
# a share of what the faster one's copy moves.   usage: cuda_operators.sh FOLDER-OF-BENCHMARKS [SECONDS] [tf32]
# PYTHON names an interpreter that has PyTorch; without one Tenon's figures stand alone. The rows are those of operators_cuda.txt.
set -eu
bin=$1
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 100 "$bin/operators" 1 "${2:-0.05}" cuda:0 ${3:-} < "$here/operators_cuda.txt" > "$work/ours"
AGAIN=0 timeout 100 "${PYTHON:-python3}" "$here/operators.py" 1 "$here/operators_cuda.txt" "${2:-0.05}" cuda:0 ${3:-} > "$work/theirs" 2> "$work/why" < /dev/null || {
    tail -1 "$work/why"
    : > "$work/theirs"
}
echo 'operator ours_ms pytorch_ms ratio GB/s of_copy GFLOP/s'
awk 'FNR == NR { theirs[$1] = $3; next }
    { bytes = $6 + 2 * $7 + $8 }
    !copy { least = theirs[$1] && theirs[$1] < $3 ? theirs[$1] : $3; copy = bytes / least }
    {
        t = theirs[$1]
        printf "%s %.4f %s %s %.0f %.0f%% %.0f\n", $1, $3, t ? t : "-", t ? sprintf("%.2f", t / $3) : "-", bytes / $3, 100 * bytes / $3 / copy, 1e3 * $5 / $3
    }' "$work/theirs" "$work/ours"
