#!/bin/sh
# docs.sh OUTPUT VERSION: the reference from the headers' comments; any warning of Doxygen fails.
command -v doxygen > /dev/null || { echo "skipped: no doxygen here (Debian: apt-get install doxygen)"; exit 77; }
mkdir -p "$1"
TENON_DOCS=$1 TENON_VERSION=$2 doxygen Doxyfile || exit 1
for name in tn_backward_with tn_promote TN_ERR_SHAPE TN_BF16; do
    grep -rqs "$name" "$1/html" || { echo "$name is not in the reference"; exit 1; }
done
echo "$1/html/index.html"
