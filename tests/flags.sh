#!/bin/sh
# flags.sh BUILD: DESIGN 4 and 5: every C source of the library is compiled with -fexceptions (an exception closes the scopes it passes) and
# with -ffp-contract said (the same bits by any compiler).
commands=$1/compile_commands.json
[ -f "$commands" ] || { echo "skipped: this generator writes no compile_commands.json"; exit 77; }
sources=$(grep '"command":.* -DTN_NO_SITES .*\.c"' "$commands") # the mark of the library's own
count=$(printf '%s\n' "$sources" | wc -l)
[ "$count" -gt 50 ] || { echo "only $count sources of the library in $commands"; exit 1; }
for flag in -fexceptions -ffp-contract=; do
    without=$(printf '%s\n' "$sources" | grep -v -e "$flag")
    [ -z "$without" ] || { printf 'compiled without %s:\n%s\n' "$flag" "$without"; exit 1; }
done
echo "$count sources"
