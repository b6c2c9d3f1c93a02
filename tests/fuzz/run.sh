#!/bin/sh
# run.sh FOLDER SECONDS [READER...]: fuzzes readers, all of them if none is named and four at a time, from the reference files that a reader's
# source names ("seeds:") or from those that it makes. A finding lies in FOLDER and is the exit code; its log is shown.
set -eu
here=$(dirname "$0")
folder=$1 seconds=$2
shift 2
if [ $# -eq 0 ]; then
    for source in "$here"/*.c; do set -- "$@" "$(basename "$source" .c)"; done
fi
if [ $# -gt 1 ]; then
    printf '%s\n' "$@" | xargs -n 1 -P 4 "$0" "$folder" "$seconds"
    exit
fi
corpus=$folder/corpus_$1 log=$folder/$1.log
mkdir -p "$corpus"
for seeds in $(sed -n '1,5s,.*seeds: \(.*\) \*/.*,\1,p' "$here/$1.c" | tr ' ' '\n'); do
    # shellcheck disable=SC2086
    cp "$here/../reference/"$seeds "$corpus"
done
if OMP_NUM_THREADS=1 "$folder/fuzz_$1" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$folder/$1-" "$corpus" > "$log" 2>&1; then
    echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, no finding"
else
    cat "$log"
    exit 1
fi
