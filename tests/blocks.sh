#!/bin/sh
# blocks.sh CC BUILD FILE...: every block of C in these texts compiles without a warning, runs, and ends with 0. One without main() stands in one.
set -eu
cc=$1 build=$2
shift 2
include=$PWD/include model=$PWD/../shared/models/aidreams260K
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for file in "$@"; do
    awk -v base="$work/$(basename "$file" .md)" '
        /^```c$/ { inside = 1; name = sprintf("%s-%02d.c", base, ++count); next }
        /^```$/ { inside = 0 }
        inside { print > name }' "$file"
done
cd "$work"
[ ! -d "$model" ] || cp "$model/model.bin" "$model/tokenizer.bin" .
ran=0
for block in *.c; do
    if ! grep -q '^int main' "$block"; then
        { printf '#include <stdio.h>\n#include <tenon/tenon.h>\nint main(void)\n{\n'
          cat "$block"
          printf 'tn_check(tn_last_status());\nreturn tn_last_status() != TN_OK;\n}\n'; } > whole
        mv whole "$block"
    fi
    "$cc" -std=c11 -O1 -Wall -Wextra -Wpedantic -Werror -I"$include" "$block" -L"$build" -ltenon -lm -Wl,-rpath,"$build" -o program ||
        { cat -n "$block"; echo "$block does not compile"; exit 1; }
    if grep -q 'model\.bin' "$block" && [ ! -f model.bin ]; then
        echo "$block compiles, and is not run: no model in $model"
        continue
    fi
    ./program > said 2>&1 || { cat said; echo "$block failed"; exit 1; }
    ran=$((ran + 1))
done
[ $ran -ge $# ] || { echo "no blocks found"; exit 1; }
echo "$ran blocks of code compiled and ran"
