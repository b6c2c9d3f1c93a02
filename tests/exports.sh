#!/bin/sh
# exports.sh NM LIBRARY: the shared library exports tn_ names only, has a versioned soname, exports something, and can be loaded at run time.
nm=$1 library=$2
names=$("$nm" -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }')
foreign=$(printf '%s\n' "$names" | grep -v '^tn_')
if [ -n "$foreign" ]; then
    printf 'exported, and not of tn_:\n%s\n' "$foreign"
    exit 1
fi
if ! printf '%s\n' "$names" | grep -q '^tn_version$'; then
    echo "tn_version is not exported"
    exit 1
fi
if ! readlink "$library" "$(dirname "$library")/libtenon.so" | grep -q '\.so\.[0-9]'; then
    echo "$library carries no version"
    exit 1
fi
# dlopen() has some 1600 bytes for the thread-local storage of all libraries like this one: beyond it no program can load this at run time.
storage=$(readelf -lW "$library" 2> /dev/null | awk '$1 == "TLS" { print $6 }')
if [ -n "$storage" ] && [ $((storage)) -gt 1024 ]; then
    echo "$library has $((storage)) bytes of thread-local storage: at most 1024, so that dlopen() can place it"
    exit 1
fi
echo "$(printf '%s\n' "$names" | wc -l) names, all of tn_"
