#!/bin/sh
# Prefill and decoding of a Llama beside llama.cpp and llama2.c, in turn, in one run: random weights in the shapes of stories15M and
# stories110M, 256 tokens.   usage: llama.sh FOLDER-OF-BENCHMARKS [ROUNDS] [SHAPES] [THREADS]
# LLAMA_CPP names a folder with llama-bench and llama-quantize, LLAMA2C llama2.c's run and TOKENIZER its tokenizer.bin of 32,000; without one
# its columns stay empty. Medians in tokens/s; ratios over the better peer. Whole table: llama.csv in that folder.
set -eu
bin=$1
rounds=${2:-5}
shapes=${3:-15M 110M}
all_threads=${4:-1 2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; else print 0 }'; }

echo "shape,weights,threads,prefill,peer_prefill,decode,peer_decode,first_ms" > "$bin/llama.csv"
printf '%-5s %-5s %7s | %8s %8s %5s | %8s %8s %5s | %8s\n' shape type threads prefill peer ratio decode peer ratio first
for shape in $shapes; do
    "$bin/llama" make "$shape" "$work/$shape-f32.gguf"
    "$bin/llama" make "$shape" "$work/$shape-f32.bin"
    for weights in f32 bf16 q8_0 q4_0; do
        peer_file=$work/$shape-$weights.gguf
        [ -z "${LLAMA_CPP:-}" ] || [ -f "$peer_file" ] ||
            "$LLAMA_CPP/llama-quantize" --pure "$work/$shape-f32.gguf" "$peer_file" "$weights" > /dev/null 2>&1
        for threads in $all_threads; do
            export OMP_NUM_THREADS="$threads"
            for figure in prefill decode first peer_prefill peer_decode; do : > "$work/$figure"; done
            round=0
            while [ $round -lt "$rounds" ]; do
                "$bin/llama" run "$work/$shape-f32.gguf" $weights "$threads" > "$work/line"
                awk -v w="$work" '{ print $2 >> (w "/prefill"); print $4 >> (w "/decode"); print $6 >> (w "/first") }' "$work/line"
                [ -z "${LLAMA_CPP:-}" ] || "$LLAMA_CPP/llama-bench" -m "$peer_file" -p 256 -n 256 -t "$threads" -r 1 -o csv 2> /dev/null |
                    awk -F '","' -v w="$work" 'NR == 2 { print $(NF - 1) >> (w "/peer_prefill") } NR == 3 { print $(NF - 1) >> (w "/peer_decode") }'
                [ -z "${LLAMA2C:-}" ] || [ $weights != f32 ] ||
                    "$LLAMA2C" "$work/$shape-f32.bin" -z "$TOKENIZER" -t 0 -n 256 2>&1 > /dev/null |
                    awk -v w="$work" '/tok\/s/ { print $NF >> (w "/llama2c") }'
                round=$((round + 1))
            done
            peer_decode=$(median < "$work/peer_decode")
            if [ -s "$work/llama2c" ]; then
                peer_decode=$({ echo "$peer_decode"; median < "$work/llama2c"; } | sort -n | tail -n 1)
                rm "$work/llama2c"
            fi
            awk -v csv="$bin/llama.csv" -v s="$shape" -v k=$weights -v t="$threads" -v p="$(median < "$work/prefill")" -v d="$(median < "$work/decode")" \
                -v f="$(median < "$work/first")" -v pp="$(median < "$work/peer_prefill")" -v pd="$peer_decode" 'BEGIN {
                printf "%-5s %-5s %7d | %8.0f %8.0f %5s | %8.1f %8.1f %5s | %5.1f ms\n", s, k, t, p, pp, (pp > 0 ? sprintf("%.2f", p / pp) : "-"), d, pd,
                    (pd > 0 ? sprintf("%.2f", d / pd) : "-"), f
                printf "%s,%s,%d,%s,%s,%s,%s,%s\n", s, k, t, p, pp, d, pd, f >> csv }'
        done
    done
done
