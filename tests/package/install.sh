#!/bin/sh
# install.sh CMAKE BUILD CC: installs the build into a fresh prefix and builds a program outside the tree against it: through
# pkg-config, and through the CMake package with the shared and the static library. Each program must run.
set -e
cmake=$1 build=$2 cc=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$build/package-test
rm -rf "$work"
mkdir -p "$work"
"$cmake" --install "$build" --prefix "$work/prefix" > "$work/install.log"
libdir=$(dirname "$(find "$work/prefix" -name libtenon.a)")
[ ! -x "$build/tools/tenon" ] || "$work/prefix/bin/tenon" --version # finds the library beside it

if command -v pkg-config > /dev/null; then
    export PKG_CONFIG_PATH="$libdir/pkgconfig"
    cflags=$(pkg-config --cflags tenon) libs=$(pkg-config --libs tenon)
    "$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror $cflags "$here/program.c" $libs -lm -o "$work/by-pkg-config"
    LD_LIBRARY_PATH="$libdir" "$work/by-pkg-config"
else
    echo "no pkg-config here: that way is not tested"
fi
"$cmake" -S "$here" -B "$work/cmake" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$work/prefix" > "$work/configure.log"
"$cmake" --build "$work/cmake"
"$work/cmake/by-shared"
"$work/cmake/by-static"
