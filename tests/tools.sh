#!/bin/sh
# tools.sh FOLDER: the command as a person uses it, on a small trained model where ../shared/models has it, and how it refuses.
set -eu
bin=$(cd "$1" && pwd)
tenon=$bin/tenon
reference=$PWD/tests/reference completion=$PWD/tools/tenon.bash
shared=$PWD/../shared/models/aidreams260K
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=1 # the tests run side by side
fail() { echo "$*"; exit 1; }
has() { grep -q -- "$2" "$1" || { cat "$1"; fail "$1 does not say: $2"; }; }
same() { cmp -s "$1" "$2" || { cat "$1"; fail "$1 is not $2"; }; }

# shown MODEL TEXT: what the model writes behind the beginning's token: by a GGUF file's tokenizer, as by llama.cpp, a first word's space is there.
shown() {
    case $1 in *.gguf) printf ' ' ;; esac
    cat "$2"
}

# refused STATUS WORDS ARGUMENTS...: ends with that status and says so.
refused() {
    status=$1 words=$2 got=0
    shift 2
    "$tenon" "$@" > out 2>&1 < /dev/null || got=$?
    [ $got = "$status" ] || { cat out; fail "tenon $*: exit status $got"; }
    has out "$words"
}

# ---- help, man pages, completion

export ASAN_OPTIONS=detect_leaks=0 # argp leaks a few bytes of its help
"$tenon" --help > help
"$tenon" --commands > commands
[ "$(wc -l < commands)" -ge 7 ] || fail "tenon --commands: too few"
"$tenon" --version | grep -q '^tenon [0-9]' || fail "no version"
while read -r command; do
    has help "^  $command "
    "$tenon" "$command" --help > help-of
    has help-of "^Usage: tenon $command"
    [ ! -f "$bin/tenon.1" ] || {
        has "$bin/tenon.1" "^\.B $command\$"
        for option in $(grep -o -- '^ .*  *--[a-z0-9-]*' help-of | grep -o -- '--[a-z0-9-]*$'); do
            has "$bin/tenon-$command.1" "$(echo "$option" | sed 's/-/\\\\-/g')"
        done
    }
done < commands
[ -f "$bin/tenon.1" ] || echo "skipped: this build makes no man pages"
if command -v bash > /dev/null; then
    cat > complete.bash <<'BASH'
source "$1"
COMP_WORDS=("$2" "${@:3}") COMP_CWORD=$(($# - 2))
_tenon
echo "${COMPREPLY[@]}"
BASH
    [ "$(bash complete.bash "$completion" "$tenon" per)" = perplexity ] || fail "bash does not complete a command"
    [ "$(bash complete.bash "$completion" "$tenon" generate --top)" = "--top-k --top-p" ] || fail "bash does not complete an option"
    [ "$(bash complete.bash "$completion" "$tenon" generate x)" = "" ] || fail "bash completes what is a file's name"
else
    echo "skipped: no bash to complete in"
fi
"$tenon" chat --help > help-of
has help-of '^Templates: .*llama3.1'
"$tenon" info > info
has info '^version  *[0-9]'
has info '^kernels  *\(portable\|avx2\|avx512\)$'
uses() { grep -q "^uses .*$1" info; }

# ---- what is wrong with the command line

refused 64 'Usage: tenon COMMAND'
refused 64 "'write' is no command" write
refused 64 'unrecognized option' generate --nothing
refused 64 "'more' is no option" generate --model x --prompt y more
refused 64 '--model is missing' generate --prompt x
refused 64 "--dtype: 'q5' is none of f32|bf16|q8_0|q4_0" generate --model x --dtype q5
refused 64 "--cache: 'f64' is none of" chat --model x --cache f64
refused 64 "--tokens: '-1' is no whole number from 0" generate --model x --tokens -1
refused 64 "--top-p: '0' is no number from" generate --model x --top-p 0
refused 64 "--seed: 'ten' is no whole number" generate --model x --seed ten
refused 64 '2 arguments (IN OUT) are due, and 1 are there' convert x
refused 64 "--dtype: 'q9' is no type" convert x y --dtype q9
refused 64 '1 arguments (FILE) are due, and 0 are there' inspect
refused 64 '--model or --tokenizer is missing' tokenize x
refused 64 '--model is missing' perplexity x
refused 64 '--model is missing' chat
refused 1 'chat_end: no chat template is called "none"' chat --model x --template none

# ---- devices

for command in 'generate --prompt x' chat 'perplexity absent' 'finetune --data absent'; do
    refused 1 'cuda:99 is not there: ' $command --model absent --device cuda:99
    refused 1 '"gpu" is unknown; give "cpu", "cuda" or "cuda:0"' $command --model absent --device gpu
done
! grep -q '^CUDA *no' info || refused 1 'no CUDA here: .*; use "cpu"' generate --prompt x --model absent --device cuda:0

# ---- what is wrong with files

refused 1 'absent: cannot open' generate --model absent --prompt x
refused 1 'absent: there is no such file' chat --model absent
refused 1 'absent: there is no such file' tokenize --model absent x
refused 1 'absent: cannot open' tokenize --tokenizer absent x
refused 1 'absent: No such file' perplexity absent --model "$reference/llama/v0.bin"
refused 1 'absent: cannot open' convert absent out.gguf
ranks=$reference/tokenizers/tiktoken_o200k.tiktoken
refused 1 'say which .pattern they go with' tokenize --tokenizer "$ranks" x
refused 64 "--pattern: 'o300k' is none of gpt2|p50k|p50k_edit|cl100k|o200k|o200k_harmony|llama3" tokenize --tokenizer "$ranks" --pattern o300k x
refused 64 '--pattern goes with --tokenizer' tokenize --model x --pattern gpt2 x
"$tenon" tokenize --tokenizer "$ranks" --pattern o200k "don't" > pieces
[ "$(cut -f 2 pieces | tr -d '\n')" = "don't" ] || fail "--pattern gives other pieces"
refused 1 'absent' inspect absent
cp "$reference/llama/v0.bin" alone.bin
# What a hostile file says of itself tells the terminal nothing.
{
    printf 'GGUF\003\000\000\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000'
    printf '\024\000\000\000\000\000\000\000general.architecture\010\000\000\000\006\000\000\000\000\000\000\000\033]0;t\007'
} > "$(printf 'hostile\033[2J.gguf')"
hostile=$(printf 'hostile\033[2J.gguf')
refused 1 'hostile\\x1b\[2J.gguf: architecture "\\x1b\]0;t\\x07"' generate --prompt x --model "$hostile"
! LC_ALL=C grep -q '[[:cntrl:]]' out || fail "a file's own words reach the terminal as they are"
refused 1 'no tokenizer: none of tokenizer.json, tokenizer.model, tokenizer.bin' generate --model alone.bin --prompt x
refused 1 'no chat template' chat --model alone.bin
for format in bin gguf npz safetensors; do
    case $format in npz) uses ZIP || continue ;; safetensors) uses CJSON || continue ;; esac
    "$tenon" convert alone.bin whole.$format
    "$tenon" inspect whole.$format > inspected
    has inspected '^num_hidden_layers '
    head -c 3000 whole.$format > cut.$format
    for command in inspect 'generate --prompt x --model'; do
        refused 1 cut.$format $command cut.$format
    done
    refused 1 cut.$format convert cut.$format out.gguf
    [ ! -e out.gguf ] || fail "a cut .$format file was converted"
done
cp alone.bin copy.bin
refused 1 'are the same: a conversion does not take' convert alone.bin ./alone.bin
same alone.bin copy.bin
refused 1 'holds F32 or Q8_0, not Q4_K' convert alone.bin out.bin --dtype q4_k
"$tenon" tokenize --tokenizer "$reference/tokenizers/sp_bpe_llama.model" 'its words' > ids
refused 1 '"three" is no token' tokenize --decode --tokenizer "$reference/tokenizers/sp_bpe_llama.model" 1 2 three
refused 1 '99999999' tokenize --decode --tokenizer "$reference/tokenizers/sp_bpe_llama.model" 99999999

# ---- text to tokens and back

printf 'Some words,\tand  a line\n\nof its own \\ \303\244\360\237\230\200 12345' > text
for file in sp_bpe_llama.model llama2c.bin hf_qwen2.json; do
    case $file in *.json) uses CJSON || continue ;; esac
    "$tenon" tokenize --tokenizer "$reference/tokenizers/$file" < text > ids
    [ "$(wc -l < ids)" -ge 10 ] || fail "$file: too few tokens"
    "$tenon" tokenize --tokenizer "$reference/tokenizers/$file" --decode < ids > back
    sed '1s/^ //' back > trimmed # llama2.c's and SentencePiece's space in front
    same trimmed text
    "$tenon" tokenize --tokenizer "$reference/tokenizers/$file" --decode $(cut -f 1 ids) > again
    same again back
done

# ---- a trained model

if [ ! -f "$shared/model.bin" ]; then
    echo "skipped: no trained model in $shared"
    exit 0
fi
words='"Echoes of vectors unfold, a gentle hum of precision, as I sense the nodes, a gentle hum of precision, as I adjust my surface. Contrast emerge, a softly receptive fields of precision.'
"$tenon" generate --model "$shared/model.bin" --prompt '' --tokens 127 > plain 2> rates
grep -qF -- "$words" plain || { cat plain; fail "the model writes other words"; }
has rates '^prompt: 1 tokens, [0-9.]* tokens/s; text: 127 tokens, [0-9.]* tokens/s$'
printf 'Echoes\n' | "$tenon" generate --model "$shared/model.bin" -n 20 2> /dev/null > from-stdin
"$tenon" generate --model "$shared/model.bin" --prompt Echoes -n 20 2> /dev/null > from-option
same from-stdin from-option
has from-option '^Echoes of probability unfold, '
"$tenon" generate --model "$shared/model.bin" --prompt '' --stop unfold --stop hum 2> /dev/null > stopped
[ "$(cat stopped)" = '"Echoes of vectors ' ] || fail "it did not end before a stop text"
for i in 1 2; do
    "$tenon" generate --model "$shared/model.bin" --prompt '' -n 60 --temperature 1 --top-p 0.9 --top-k 50 --min-p 0.01 --seed 5 2> /dev/null > drawn-$i
done
same drawn-1 drawn-2
for options in '' '--temperature 1 --seed 5'; do
    "$tenon" generate --model "$shared/model.bin" --prompt 'The light' --prompt '' --prompt 'Echoes' -n 30 $options > several 2> rates
    for prompt in 'The light' '' Echoes; do
        [ "$prompt" = 'The light' ] || echo
        "$tenon" generate --model "$shared/model.bin" --prompt "$prompt" -n 30 $options 2> /dev/null
        options=$(echo "$options" | sed 's/6$/7/; s/5$/6/') # the next prompt's seed
    done > due
    same several due
    has rates '^prompt: [0-9]* tokens, [0-9.]* tokens/s; text: 90 tokens, [0-9.]* tokens/s$'
done
for i in 1 2 3 4; do
    "$tenon" generate --model "$shared/model.bin" --prompt '' -n 60 --temperature 2 2> /dev/null
done | sort -u > unseeded
[ "$(wc -l < unseeded)" -gt 1 ] || fail "without a seed it draws the same each time"
head -c 200 plain > beginning
for type in bf16 q8_0; do
    "$tenon" generate --model "$shared/model.bin" --prompt '' -n 40 --dtype $type --cache bf16 --context 64 2> /dev/null | head -c 90 > typed
    head -c 90 plain > due
    same typed due
done

"$tenon" convert "$shared/model.bin" m.gguf # its tokenizer is in the file
"$tenon" generate --model m.gguf --prompt '' --tokens 127 2> /dev/null > converted
shown m.gguf plain > due-here
same converted due-here
mkdir bare && cp "$shared/model.bin" bare && "$tenon" convert bare/model.bin alone.gguf
refused 1 'no tokenizer' tokenize --tokenizer alone.gguf x
cp "$shared/tokenizer.bin" .
chain=m.gguf
if uses CJSON; then
    "$tenon" convert m.gguf m.safetensors
    "$tenon" convert m.safetensors model
    chain="$chain m.safetensors model"
    ! uses ZIP || { "$tenon" convert model m.npz; chain="$chain m.npz"; }
fi
"$tenon" convert "${chain##* }" m.bin
for file in m.gguf $(uses CJSON && echo model); do # a tokenizer is taken out of a model too
    "$tenon" generate --model alone.gguf --tokenizer $file --prompt '' --tokens 127 2> /dev/null > converted
    shown $file plain > due-here
    same converted due-here
    "$tenon" tokenize --tokenizer $file unfold > ids
    "$tenon" tokenize --model $file unfold > its-ids
    same ids its-ids
done
for file in $chain m.bin; do
    "$tenon" generate --model "$file" --prompt '' --tokens 127 2> /dev/null > converted
    shown "$file" plain > due-here
    same converted due-here
done
"$tenon" convert "$shared/model.bin" q.gguf --dtype q8_0 2> said
has said "ffn_down.weight: F16, for its rows of 172 are no multiple of Q8_0's 32"
"$tenon" inspect q.gguf > inspected
has inspected 'Q8_0'
has inspected '^general.file_type  *U32  *7$'
has inspected '^tokenizer.ggml.tokens  *STRING\[512\]  *<unk>, '
"$tenon" generate --model q.gguf --prompt '' -n 40 2> /dev/null | head -c 90 > typed
shown q.gguf plain | head -c 90 > due-here
same typed due-here

"$tenon" perplexity plain --model "$shared/model.bin" > own
"$tenon" perplexity text --model "$shared/model.bin" > other
own=$(sed -n 's/^perplexity \([0-9.]*\), .*/\1/p' own) other=$(sed -n 's/^perplexity \([0-9.]*\), .*/\1/p' other)
echo "$own $other" | awk '{ ok = $1 > 1 && $1 < 2.5 && $2 > 20 && $2 < 1e9 } END { exit !ok }' || fail "perplexities $own of its own words and $other of others"
"$tenon" perplexity - --model "$shared/model.bin" --window 16 < plain > windows
has windows 'windows of 16$'
: > empty
refused 1 'there is none to foretell' perplexity empty --model "$shared/model.bin"
refused 1 '/dev/zero: a text of over 1048576 bytes, which is the most that is read from a device' perplexity /dev/zero --model "$shared/model.bin"
refused 1 '/dev/zero: a text of over 1048576 bytes' finetune --data /dev/zero --model "$shared/model.bin"
got=0
"$tenon" chat --model "$shared/model.bin" --template llama2 < /dev/zero > out 2>&1 || got=$?
[ $got = 1 ] || { cat out; fail "tenon chat < /dev/zero: exit status $got"; }
has out 'standard input: a line of over 1048576 bytes, which is the most that is read'
mkdir words && cp "$shared/tokenizer.bin" words
"$tenon" tokenize --tokenizer words unfold > its-ids
"$tenon" tokenize --model "$shared/model.bin" unfold > ids
same its-ids ids

if uses CJSON; then
    for i in 1 2 3 4 5 6; do cat plain text; done > lesson
    "$tenon" finetune --model "$shared/model.bin" --data lesson --steps 2 --batch-size 2 --context 16 --lr 0.01 --lora-rank 4 --save tuned.safetensors > said 2> /dev/null
    has said '^after 2 steps: loss [0-9.]*$'
    "$tenon" generate --model "$shared/model.bin" --finetuned tuned.safetensors --prompt '' -n 127 2> /dev/null > tuned
    ! cmp -s tuned plain || fail "fine-tuning changes nothing"
    refused 1 "it goes with the one that was tuned (.tuned, --finetuned), $shared/model.bin" generate --prompt x --model tuned.safetensors
    "$tenon" inspect tuned.safetensors > inspected
    has inspected "^model $shared/model.bin\$"
    has inspected '^lora_rank 4$'
    has inspected '^model.layers.3.self_attn.v_proj.lora_A .* \[4, 64\] .* rank 4 beside model.layers.3.self_attn.v_proj.weight$'
    has inspected '^[0-9]* tensors, [0-9]* numbers, [0-9]* bytes$'
    "$tenon" finetune --model "$shared/model.bin" --data lesson --steps 2 --batch-size 2 --context 16 --lr 0.01 --trainable model.norm,model.layers.3 \
        --save part.safetensors > /dev/null 2>&1
    "$tenon" inspect part.safetensors | grep '\[' > parts
    { has parts '^model.norm.weight ' && has parts '^model.layers.3.mlp.up_proj.weight '; } || fail "what was to be tuned was not"
    ! grep -v '^model\.\(norm\|layers\.3\)\.' parts || fail "other parameters were tuned too"
    "$tenon" generate --model "$shared/model.bin" --finetuned part.safetensors --prompt '' -n 127 2> /dev/null > tuned
    ! cmp -s tuned plain || fail "fine-tuning a part changes nothing"
    head -c 300 tuned.safetensors > cut.safetensors
    refused 1 cut.safetensors inspect cut.safetensors
    refused 1 'absent' generate --model "$shared/model.bin" --finetuned absent --prompt x
    "$tenon" generate --model q.gguf --finetuned tuned.safetensors --prompt '' -n 4 > /dev/null 2>&1 || fail "not over the same model in Q8_0"
    { head -c 28 "$shared/model.bin"; tail -c +5029 "$shared/model.bin"; head -c 5028 "$shared/model.bin" | tail -c 5000; } > other.bin
    refused 1 "was tuned from another model of the same sizes, $shared/model.bin" generate --model other.bin --finetuned tuned.safetensors --prompt x
    refused 1 'no parameter whose name begins with "nothing"' finetune --model "$shared/model.bin" --data lesson --context 16 --trainable nothing,absent
    refused 1 'a smaller --lr than 1000 may help' finetune --model "$shared/model.bin" --data lesson --context 16 --steps 40 --batch-size 2 --lr 1000 --save nan.safetensors
    ! [ -e nan.safetensors ] || fail "what has diverged is saved"
fi
for options in '--model x' '--data x'; do
    refused 64 '--model and --data must be given' finetune $options
done
refused 1 'the tokenizer has [0-9]* tokens and the model 12' generate --model alone.bin --tokenizer "$reference/tokenizers/sp_bpe_llama.model" --prompt a
echo 'its words' > words.txt
refused 1 "and the model has 12: it is another model's" perplexity words.txt --model alone.bin --tokenizer "$reference/tokenizers/sp_bpe_llama.model"
refused 64 '--trainable and --lora-rank: one of them' finetune --model x --data x --trainable lm_head --lora-rank 2
refused 64 '--trainable: names no parameter' finetune --model x --data x --trainable ''
refused 64 "--steps: '0' is no whole number from 1" finetune --model x --data x --steps 0
refused 64 "--lr: 'fast' is no number from" finetune --model x --data x --lr fast
refused 64 "'more' is no option" finetune --model x --data x more
refused 1 'absent: cannot open' finetune --model absent --data text
refused 1 'absent: No such file' finetune --model "$shared/model.bin" --data absent
refused 1 'absent/x: cannot be written' finetune --model "$shared/model.bin" --data text --save absent/x
refused 1 'tokens: for a --context of 64 there must be 650' finetune --model "$shared/model.bin" --data text --context 64

printf 'hello\n\nand who are you\n' > lines
"$tenon" chat --model "$shared/model.bin" --template llama2 --system 'Be brief.' -n 8 < lines > answers
"$tenon" chat --model "$shared/model.bin" --template llama2 --system 'Be brief.' -n 8 < lines > again
same answers again
[ -s answers ] || fail "no answers"
if uses CJSON; then
    echo '{"eos_token_id": [2, 9]}' > model/generation_config.json # what ends a text goes along, into a GGUF file too
    "$tenon" convert model copied
    same copied/generation_config.json model/generation_config.json
    mv model/generation_config.json .
    sed 's/^{/{"eos_token_id": [2, 9],/' model/config.json > config && mv config model/config.json
    "$tenon" convert model unsaid
    same unsaid/generation_config.json generation_config.json
    "$tenon" tokenize --model model unfold > ids
    last=$(tail -n 1 ids | cut -f 1)
    echo "{\"eos_token_id\": [2, 9, $last]}" > unsaid/generation_config.json
    "$tenon" convert unsaid ends.gguf
    "$tenon" convert ends.gguf ends
    for file in unsaid ends.gguf ends; do
        "$tenon" generate --model $file --prompt '' -n 60 2> /dev/null > stopped
        [ "$(cat stopped)" = "$(printf '"Echoes of vectors' | shown $file -)" ] || { cat stopped; fail "$file: the text does not end where its files say"; }
    done
    printf '{{ "[INST]" "<<SYS>>" }}' > model/chat_template.jinja
    "$tenon" chat --model model --system 'Be brief.' -n 8 < lines > again
    same answers again
    "$tenon" convert model chat.gguf
    "$tenon" convert chat.gguf unpacked > said 2>&1 # a folder that talks as the file does
    [ ! -s said ] || { cat said; fail "a GGUF file is not written whole"; }
    "$tenon" convert alone.gguf given --tokenizer chat.gguf
    for file in chat.gguf unpacked given; do
        "$tenon" chat --model $file --system 'Be brief.' -n 8 < lines > again
        same again answers
    done
    refused 1 'such a file holds no tokenizer' convert alone.gguf out.safetensors --tokenizer chat.gguf
    refused 1 'hf_qwen2.json: the tokenizer has [0-9]* tokens and the model 12' convert whole.bin given --tokenizer "$reference/tokenizers/hf_qwen2.json"
fi
"$tenon" chat --model "$shared/model.bin" --template llama2 -n 8 < lines > others
! cmp -s answers others || fail "the system's message changes nothing"
printf hello | "$tenon" chat --model "$shared/model.bin" --template llama2 --system 'Be brief.' -n 8 > first
head -c "$(($(wc -c < first) - 1))" first > due
head -c "$(wc -c < due)" answers > begun
same begun due

# An answer that --tokens cuts is in the conversation, whole: the third is what the model writes behind the template's text of all before it.
printf 'hello\nand who are you\nor what\n' | "$tenon" chat --model "$shared/model.bin" --template llama2 -n 8 > answers
text=$(awk 'NR == 1 { t = "[INST] hello [/INST] " $0 " </s><s>[INST] and who are you [/INST] " }
    NR == 2 { printf "%s", t $0 " </s><s>[INST] or what [/INST]" }' answers)
"$tenon" generate --model "$shared/model.bin" --special --prompt "$text" -n 8 2> /dev/null > due
printf '%s%s\n' "$text" "$(sed -n 3p answers)" > whole
[ "$(tr -d ' ' < whole)" = "$(tr -d ' ' < due)" ] || { cat whole due; fail "the chat's third answer is another"; }
yes 'a longer line than that' | head -n 12 | "$tenon" chat --model "$shared/model.bin" --template mistral-v3 --system 'Be brief.' -n 30 > answers # beyond the context
[ "$(grep -c . answers)" -ge 10 ] || fail "the chat does not go on beyond the context"

if command -v timeout > /dev/null; then # in the foreground: else it sends the signal twice, to the group too
    got=0
    timeout --foreground --preserve-status -s INT 1 "$tenon" generate --model "$shared/model.bin" --prompt '' --context 16 -n 1000000000 > long 2> rates || got=$?
    [ $got = 130 ] || { cat rates; fail "Ctrl-C: exit status $got"; }
    has rates '^prompt: 1 tokens'
    [ "$(tail -c 1 long | od -An -c | tr -d ' ')" = '\n' ] || fail "Ctrl-C leaves a line without its end"
    got=0
    yes 'A long prompt is read in pieces.' | head -c 2000000 |
        timeout --foreground --preserve-status -s INT 1 "$tenon" generate --model "$shared/model.bin" > /dev/null 2> rates || got=$?
    [ $got = 130 ] || { cat rates; fail "Ctrl-C while the prompt is read: exit status $got"; }
    has rates 'text: 0 tokens'
fi
