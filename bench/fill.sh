#!/bin/sh
# Puts the tables of docs/performance.csv, and of others where the page names them, into docs/performance.md; with a folder of benchmarks first takes its
# CSV and pictures, or its CSV alone as docs/NAME.   usage: fill.sh [FOLDER [NAME]]
set -eu
here=$(dirname "$0")
docs=$here/../docs
if [ $# -gt 0 ]; then
    cp "$1/bench.csv" "$docs/${2:-performance.csv}"
    [ $# -gt 1 ] || cp "$1/ratios.svg" "$1/roofline.svg" "$docs/"
fi
awk -v csv="$docs/performance.csv" -v table="$here/table.awk" -f "$here/fill.awk" "$docs/performance.md" > "$docs/performance.new"
mv "$docs/performance.new" "$docs/performance.md"
