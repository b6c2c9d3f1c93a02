#!/bin/sh
# readme.sh: the READMEs name every room of include/tenon, and both the same files in the same rows.
set -u
failed=0
for header in include/tenon/*.h; do
    case ${header##*/} in base.h | list.h | ops.h | sites.h | tenon.h) continue ;; esac # what the others stand on
    for readme in README.md README.zh.md; do
        grep -q "^|.*]($header)" $readme || { echo "$readme: no row names $header"; failed=1; }
    done
done
links() { sed -n 's/^| *\(\[.*\]([^|]*)\) *|.*/\1/p' "$1" | sed 's/、/, /g'; }
rows() { grep -c '^|' "$1"; }
if [ "$(links README.md)" != "$(links README.zh.md)" ] || [ "$(rows README.md)" != "$(rows README.zh.md)" ]; then
    echo "README.md and README.zh.md have other rows"
    failed=1
fi
exit $failed
