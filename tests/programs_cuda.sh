#!/bin/sh
# programs_cuda.sh BUILD: the command and examples with --device cuda:0 say what they say on the CPU. TENON_CUDA_PATH has the
# emulation or the real libtenon_cuda.so. Ends as skipped (77) where there is no GPU.
set -eu
bin=$(cd "$1" && pwd)
tenon=$bin/tools/tenon
model=$PWD/../shared/models/aidreams260K/model.bin reference=$PWD/tests/reference
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=1 # the tests run side by side
fail() { echo "$*"; exit 1; }

# same HERE THERE: the same words, numbers within a thousandth.
same() {
    [ -s "$1" ] && awk '
    function number(x) { return x ~ /^[-+(]?[0-9]*\.[0-9]+(e[-+]?[0-9]+)?[%,;:)]*$/ }
    function far(x, y) { sub(/^\(/, "", x); sub(/^\(/, "", y); x += 0; y += 0; return (x > y ? x - y : y - x) > 1e-3 * (1 + (x > 0 ? x : -x)) }
    NR == FNR { line[n = NR] = $0; next }
    {
        words = split(line[FNR], word)
        if (words != NF)
            exit wrong = 1
        for (i = 1; i <= NF; i++)
            if (word[i] != $i && !(number(word[i]) && number($i) && !far(word[i], $i)))
                exit wrong = 1
    }
    END { exit wrong || n != FNR }' "$1" "$2"
}
# alike COMMAND...: writes the same on cuda:0 as on the CPU.
alike() {
    "$@" --device cuda:0 2> told > there || { cat there told; fail "$*: fails on cuda:0"; }
    "$@" 2> /dev/null > here
    same here there || { cat here there; fail "$*: cuda:0 writes something else"; }
}
if ! "$bin/examples/shared_model" --device cuda:0 > /dev/null 2> told && grep -q 'no CUDA here' told; then
    echo "skipped: $(cat told)"
    exit 77
fi
alike "$bin/examples/autodiff1d"
alike "$bin/examples/shared_model"
"$tenon" generate --model "$reference/llama/v0.bin" --tokenizer "$reference/tokenizers/sp_bpe_llama.model" --prompt a --device cuda:99 2> said && fail "there is a cuda:99"
grep -q 'cuda:99 is not there: this machine has cuda:0 to cuda:' said || { cat said; fail "cuda:99 is not refused"; }
mkdir others # a library of that name that has nothing of it
ln -s "${TENON_CUDA_PATH%%:*}/libtenon_cuda.so" others/libcudnn.so.9
TENON_CUDA_PATH=$TENON_CUDA_PATH:$PWD/others "$tenon" info 2> told | grep -q 'libcudnn.so.9 has no cudnnGetVersion' || fail "a library without its functions is taken"
if [ ! -f "$model" ]; then
    echo "skipped: no trained model in $model"
    exit 0
fi
alike "$tenon" generate --model "$model" --prompt '' -n 12 --context 8
alike "$tenon" generate --model "$model" --prompt Echoes --prompt 'The light' -n 4
printf 'It adjusts what it is told, and then more of it. ' > text
alike "$tenon" perplexity text --model "$model" --window 16
for i in 1 2 3 4 5 6; do cat text; done > lesson
alike "$tenon" finetune --model "$model" --data lesson --steps 1 --batch-size 1 --context 8 --lora-rank 4 --save tuned.safetensors
alike "$tenon" generate --model "$model" --finetuned tuned.safetensors --prompt '' -n 6
printf 'hello\n' > line
"$tenon" chat --model "$model" --template llama2 -n 6 < line > here
"$tenon" chat --model "$model" --template llama2 -n 6 --device cuda:0 < line > there 2> /dev/null
cmp -s here there || { cat here there; fail "chat writes something else on cuda:0"; }
