#!/bin/sh
# headers.sh CC [CXX]: each public header stands alone, as C11 and as C++17, without a warning; so do the macros as a user writes them.
cc=$1 cxx=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict="-Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude"
failed=0
for header in include/tenon/*.h include/tenon/*/*.h include/tenon/*.hpp; do
    name=${header#include/tenon/}
    [ -f "$header" ] && [ "$name" != sites.h ] || continue
    if [ "$name" = "${name%.hpp}" ]; then
        printf '#include <tenon/%s>\ntypedef int not_empty;\n' "$name" > "$work/one.c"
        "$cc" -std=c11 $strict "$work/one.c" || { echo "$name is no C11"; failed=1; }
    fi
    [ -n "$cxx" ] || continue
    printf '#include <tenon/%s>\n' "$name" > "$work/one.cpp"
    "$cxx" -std=c++17 $strict "$work/one.cpp" || { echo "$name is no C++17"; failed=1; }
done
[ -n "$cxx" ] || echo "no C++ compiler here: the headers are checked as C only"
exit $failed
