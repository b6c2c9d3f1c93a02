#!/bin/sh
# Operators on a GPU, Tenon's beside PyTorch's, process after process: ms by the device's events, and what share of its bandwidth of copying and of
# its products that is.   usage: cuda_operators.sh FOLDER-OF-BENCHMARKS [SECONDS] [LIST] [SETTINGS]
# LIST is a file of rows, operators_cuda.txt where not said. SETTINGS are f32 (strict), tuned (the same with PyTorch's channels_last and fused Adam, of
# what they touch), tf32 and bf16 (autocast), of products, convolutions and attention: all where not said. PYTHON names an interpreter that has PyTorch;
# without one Tenon's figures stand alone. A row that fails is told and left out. In that folder cuda_operators.csv has the table and
# cuda_operators.log what the programs said besides.
set -eu
bin=$1
seconds=${2:-0.05}
here=$(dirname "$0")
list=${3:-$here/operators_cuda.txt}
settings=${4:-f32 tuned tf32 bf16}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$bin/cuda_operators.log
: > "$log"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null || :
"$python" -c 'import torch; print("PyTorch", torch.__version__)' 2> /dev/null || {
    echo "PyTorch is not installed for '$python' (set PYTHON=...): Tenon's figures alone."
    python=
}

# The rows of $work/left by a command that reads it: one that fails is left out, and the next begin anew; so many seconds in all.
rows() { # rows OUT COMMAND
    : > "$1"
    end=$(($(date +%s) + 40))
    while [ -s "$work/left" ] && [ "$(date +%s)" -lt $end ]; do
        : > "$work/now"
        timeout $((end - $(date +%s))) sh -c "$2" > "$work/now" 2>> "$log" && failed= || failed=yes
        cat "$work/now" >> "$1"
        [ -n "$failed" ] || break
        at=$(($(wc -l < "$work/now") + 1))
        sed -n "${at}s/^/failed: /p" "$work/left" | tee -a "$log" | sed "s|^|${1##*/} |" >> "$work/failed"
        sed -i "1,${at}d" "$work/left"
    done
}

: > "$work/failed"
: > "$work/theirs.none"
for setting in $settings; do
    case $setting in
    f32) grep '^[a-z]' "$list" > "$work/list" ;;
    tuned) grep -E '^(conv|max_pool|avg_pool|batch_norm|adam)' "$list" > "$work/list" || : ;;
    *) grep -E '^(linear|conv|attention)' "$list" > "$work/list" || : ;;
    esac
    if [ $setting != tuned ]; then
        cp "$work/list" "$work/left"
        rows "$work/ours.$setting" "'$bin/operators' 1 $seconds cuda:0 ${setting#f32} < '$work/left'"
    fi
    [ -n "$python" ] || continue
    cp "$work/list" "$work/left"
    rows "$work/theirs.$setting" "'$python' -u '$here/operators.py' 1 '$work/left' $seconds cuda:0 ${setting#f32}"
done

# GB/s are of what must be read and written, changing being both; the copy's is the best that either program reached.
awk -v csv="$bin/cuda_operators.csv" '
    { file = FILENAME; sub(/.*\//, "", file); split(file, part, "."); setting = part[2] }
    part[1] == "ours" {
        rows[++count] = $1 " " setting
        ours[$1, setting] = $3; gflop[$1] = $5; mb[$1] = $6 + 2 * $7 + $8
        if ($1 ~ /^copy/ && mb[$1] / $4 > copy) copy = mb[$1] / $4
    }
    part[1] == "theirs" { theirs[$1, setting] = $3 }
    part[1] == "theirs" && $1 ~ /^copy/ && ($1 in mb) && mb[$1] / $4 > copy { copy = mb[$1] / $4 }
    $1 ~ /^linear/ && ($1 in gflop) && gflop[$1] / $4 > peak[setting] { peak[setting] = gflop[$1] / $4 }
    function over(a, b, format) { return a > 0 && b > 0 ? sprintf(format, a / b) : "-" }
    END {
        printf "copying: %.0f GB/s; products: f32 %.1f, tf32 %.1f, bf16 %.1f TFLOP/s at best\n", copy, peak["f32"], peak["tf32"], peak["bf16"]
        head = "row setting ours_ms pytorch_ms tuned_ms ratio GB/s of_copy TFLOP/s of_products"
        gsub(" ", ",", head); print head > csv; gsub(",", " ", head)
        split(head, h, " ")
        format = "%-36s %-5s %9s %9s %9s %6s %6s %5s %7s %5s\n"
        printf format, h[1], h[2], h[3], h[4], h[5], h[6], h[7], "share", h[9], "share" # of copying, of products
        for (i = 1; i <= count; i++) {
            split(rows[i], r, " ")
            t = ours[r[1], r[2]]; p = theirs[r[1], r[2]]; tuned = r[2] == "f32" ? theirs[r[1], "tuned"] : ""
            best = tuned > 0 && tuned < p ? tuned : p
            of_flop = gflop[r[1]] > 10e-3 * mb[r[1]]
            line = sprintf(format, r[1], r[2], sprintf("%.4f", t), over(p, 1, "%.4f"), over(tuned, 1, "%.4f"), over(best, t, "%.2f"),
                           over(mb[r[1]], t, "%.0f"), of_flop ? "-" : over(100 * mb[r[1]] / t, copy, "%.0f%%"),
                           of_flop ? over(gflop[r[1]], t, "%.1f") : "-", of_flop ? over(100 * gflop[r[1]] / t, peak[r[2]], "%.0f%%") : "-")
            printf "%s", line
            gsub(/ +/, ",", line); printf "%s", line > csv
        }
    }' $(ls -tr "$work"/ours.* "$work"/theirs.*)
cat "$work/failed"
