#!/bin/sh
# Prefill and decoding of a Llama beside llama.cpp and llama2.c, in turn, in one run: random weights in the shapes of stories15M and
# stories110M, 256 tokens, on 1 and 2 threads.   usage: llama.sh FOLDER-OF-BENCHMARKS [ROUNDS] [SHAPES] [THREADS] [TYPES]
# LLAMA_CPP names a folder with llama-bench and llama-quantize, LLAMA2C one with run, runq and tokenizer.bin (of 32,000, as in its repository);
# without one its columns stay empty. Columns, whole in llama.csv in that folder:
#   prefill, decode   tokens/s, of the better peer too, and the ratio; medians of the rounds, as all figures are
#   fma, read         with them, what f32 prefill reaches of the processor's multiply-adds, and decoding of what these threads read from memory:
#                     the best of 1, 4 and 8 streams, 2 MiB pages, the same bytes, in every round
#   first             milliseconds from opening the file, which is in the page cache, to the first token: ten new processes one after another
#   eight             eight prompts decoded together, in all, over one
#   over 1 thread     of prefill, decoding and reading
set -eu
bin=$1
rounds=${2:-5}
shapes=${3:-15M 110M}
all_threads=${4:-1 2}
types=${5:-f32 bf16 q8_0 q4_0}
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cpp=${LLAMA_CPP:-}
llama2c=${LLAMA2C:-}
[ -n "$cpp" ] || echo 'LLAMA_CPP (a folder with llama-bench and llama-quantize) is not set: Llama without llama.cpp beside it.'
[ -n "$llama2c" ] || echo 'LLAMA2C (a folder with run, runq and tokenizer.bin) is not set: Llama without llama2.c beside it.'

median() { # median FILE COLUMN
    awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

row() { # row SHAPE TYPE THREADS
    file=$work/$1/f32.gguf
    export OMP_NUM_THREADS="$3"
    eight=: of_cpp=: of_llama2c=:
    [ "$2" != q8_0 ] || eight="'$bin/llama' run '$file' $2 $3 8"
    if [ -n "$cpp" ]; then
        peer_file=$work/$1/$2.gguf
        [ -f "$peer_file" ] || "$cpp/llama-quantize" --pure "$file" "$peer_file" "$2" > /dev/null 2>&1
        of_cpp="'$cpp/llama-bench' -m '$peer_file' -p 256 -n 256 -t $3 -r 1 -o csv 2> /dev/null |
            awk -F '\",\"' '{ figure[NR] = \$(NF - 1) } END { print figure[2], figure[3] }'"
    fi
    case $2 in f32) program=run ;; q8_0) program=runq ;; *) program= ;; esac
    [ -z "$llama2c" ] || [ -z "$program" ] ||
        of_llama2c="'$llama2c/$program' '$work/$1/$2.bin' -z '$llama2c/tokenizer.bin' -t 0 -n 256 2>&1 > /dev/null | awk '/tok.s/ { print \$NF }'"
    bytes=$("$bin/llama" run "$file" "$2" "$3" | awk '{ print $4 }') # and once, so that the first round finds a warm machine too
    mkdir "$work/turns" "$work/first"
    sh "$here/turns.sh" "$rounds" "$work/turns" "'$bin/llama' run '$file' $2 $3" "'$bin/peak' $3 $bytes" "$of_cpp" "$of_llama2c" "$eight"
    sh "$here/turns.sh" 1 "$work/first" "for i in 1 2 3 4 5 6 7 8 9 10; do '$bin/llama' first '$file' $2 $3; done"
    figures="$1 $2 $3 $(median "$work/turns/1" 1) $(median "$work/turns/3" 1) $(median "$work/turns/1" 2)"
    figures="$figures $(median "$work/turns/3" 2) $(median "$work/turns/4" 1) $(median "$work/turns/5" 2) $(median "$work/first/1" 1)"
    echo "$figures $(median "$work/turns/1" 3) $bytes $(median "$work/turns/2" 1) $(median "$work/turns/2" 2)" | tr ' ' , >> "$bin/llama.csv"
    rm -r "$work/turns" "$work/first"
    awk -F , 'function over(a, b, format) { return b > 0 ? sprintf(format, a / b) : "-" }
        { alone[$1 $2 $3] = NR; prefill[NR] = $4; decode[NR] = $6; read[NR] = $14 }
        END { peer = $7 > $8 ? $7 : $8; one = $3 > 1 ? alone[$1 $2 1] : 0
            printf "%-5s %-5s %7d | %7.0f %7.0f %5s %4s | %7.1f %7.1f %5s %3.0f%% | %6.2f ms %5s | %4s %4s %4s\n", $1, $2, $3, $4, $5, over($4, $5, "%.2f"),
                $2 == "f32" ? sprintf("%.0f%%", 100 * $4 / 256 * $11 / $13) : "-", $6, peer, over($6, peer, "%.2f"), 100e-9 * $6 * $12 / $14,
                $10, $9 ? over($9, $6, "%.1f") : "-", over($4, prefill[one], "%.2f"), over($6, decode[one], "%.2f"), over($14, read[one], "%.2f") }' "$bin/llama.csv"
}

echo shape,weights,threads,prefill,llama_cpp_prefill,decode,llama_cpp_decode,llama2c_decode,eight_decode,first_ms,prompt_gflop,weight_bytes,fma_gflops,read_gbytes \
    > "$bin/llama.csv"
printf '%-5s %-5s %7s | %7s %7s %5s %4s | %7s %7s %5s %4s | %9s %5s | %s\n' shape type threads prefill peer ratio fma decode peer ratio read first eight 'over 1 thread'
for shape in $shapes; do
    mkdir "$work/$shape"
    "$bin/llama" make "$shape" "$work/$shape"
    for type in $types; do
        for threads in $all_threads; do row "$shape" "$type" "$threads"; done
    done
done
