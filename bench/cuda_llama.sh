#!/bin/sh
# Prefill and decoding of a Llama on a GPU, tokens/s of Tenon's beside PyTorch's with a static cache, both uncaptured (eager) and replayed from a CUDA
# graph, which is how Tenon decodes where nothing else is said: random weights in the shape of stories15M, 256 tokens.
# usage: cuda_llama.sh FOLDER-OF-BENCHMARKS [TYPES] [SHAPES]
# TYPES are f32 and bf16, SHAPES 15M and 110M: both, and the first, where not said. PYTHON names an interpreter that has PyTorch; without one Tenon's
# figures stand alone. cuda_llama.log in that folder has what the programs said besides.
set -eu
bin=$1
types=${2:-f32 bf16}
shapes=${3:-15M}
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$bin/cuda_llama.log
: > "$log"
format='%-5s %-5s %10s %10s %10s | %10s %10s %10s | %s\n'
printf "$format" shape type prefill uncaptured captured prefill eager captured 'over captured'
for shape in $shapes; do
    "$bin/llama" make "$shape" "$work"
    for type in $types; do
        ours=$(timeout 40 "$bin/llama" run "$work/f32.gguf" "$type" 1 cuda:0 2>> "$log" || echo - - - -)
        plain=$(timeout 40 "$bin/llama" run "$work/f32.gguf" "$type" 1 cuda:0 uncaptured 2>> "$log" || echo - - - -)
        theirs=$(timeout 60 "${PYTHON:-python3}" "$here/llama_cuda.py" "$shape" "$type" 2>> "$log" || echo - - -)
        echo "$shape $type $ours $plain $theirs" | awk -v format="$format" '{ printf format, $1, $2, $3, $8, $4, $11, $12, $13,
            ($4 > 0 && $13 > 0) ? sprintf("%.2f", $4 / $13) : "-" }'
    done
done
