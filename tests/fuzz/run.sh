#!/bin/sh
# run.sh FOLDER READER SECONDS: fuzzes a reader from the reference files of its format; a finding is the exit code, and lies in FOLDER.
set -eu
reference=$(dirname "$0")/../reference
case $2 in
safetensors) files="$reference/torch.safetensors" ;;
npz) files="$reference/files/*.npz" ;;
npy) files="$reference/files/*.npy" ;;
tokenizer) files="$reference/tokenizers/*" ;;
tokenize) files="$reference/make_*.py" ;;
pt) files="$reference/files/*.pt $reference/files/*.pkl" ;;
*) files= ;;
esac
mkdir -p "$1/corpus_$2"
# shellcheck disable=SC2086
[ -z "$files" ] || cp $files "$1/corpus_$2"
OMP_NUM_THREADS=1 "$1/fuzz_$2" -max_total_time="$3" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$1/" "$1/corpus_$2"
