#!/bin/sh
# sites.sh: the committed include/tenon/sites.h is what cmake/sites.awk makes of the other headers.
command -v awk > /dev/null || { echo "skipped: no awk here"; exit 77; }
headers=$(ls include/tenon/*.h include/tenon/*/*.h | grep -v -e /tenon.h -e /sites.h | LC_ALL=C sort)
awk -f cmake/sites.awk $headers | diff include/tenon/sites.h - && exit 0
echo "sites.h is out of date: build in a git checkout, or awk -f cmake/sites.awk ... > include/tenon/sites.h"
exit 1
