#!/bin/sh
# Makes of FOLDER/bench.csv: tables.md, and with gnuplot ratios.svg (PyTorch's time over ours) and roofline.svg (what each operator reached over its
# FLOP per byte, under the peak and the bandwidths measured beside it; one thread, f32).   usage: report.sh FOLDER
set -eu
folder=$1
csv=$folder/bench.csv
awk -F, -f "$(dirname "$0")/table.awk" "$csv" > "$folder/tables.md"
echo "the table: $folder/tables.md, its numbers: $csv"
command -v gnuplot > /dev/null || { echo 'gnuplot is not installed: no pictures'; exit 0; }
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
awk -F, -v dir="$data" '$1 == "row" || $2 != 1 || $3 != "f32" || $11 == "" { next }
    { print $1, $11 / $8, $15 / $8 > (dir "/" ($1 ~ /\.(train|one|many)$/ ? "networks" : "operators")) }' "$csv"
awk -F, -v dir="$data" '$1 == "row" || $2 != 1 || $3 != "f32" || $5 + $6 + $7 == 0 { next }
    { x = $4 / ($5 + 2 * $6 + $7) * 1e3; print x, $4 / $8 * 1e3, ($11 == "" ? "nan" : $4 / $11 * 1e3), $1 > (dir "/points")
      peak = $19 > peak ? $19 : peak; if ($21 > copy[$23]) copy[$23] = $21 }
    END { print "peak = " peak + 0 > (dir "/roofs"); n = split("L1 L2 L3 memory", level, " ")
          for (i = 1; i <= n; i++) print level[i] " = " (level[i] in copy ? copy[level[i]] : "NaN") > (dir "/roofs") }' "$csv"
panels=
for file in networks operators; do [ ! -f "$data/$file" ] || panels="$panels $file"; done
count=$(echo "$panels" | wc -w)
[ -z "$panels" ] || gnuplot << END
set terminal svg size 1500,$((450 * count)) dynamic background rgb 'white'
set output '$folder/ratios.svg'
set multiplot layout $count,1 title "PyTorch's time over Tenon's: one thread, f32"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.8
set logscale y 2
set xtics rotate by -60 noenhanced font ',9'
set grid y
set key top right
do for [file in '$panels'] {
    plot '$data/'.file using 2:xtic(1) title 'default' lc rgb '#4477aa', '' using 3 title 'tuned' lc rgb '#ee7733', 1 with lines lc rgb 'black' notitle
}
END
[ ! -f "$data/points" ] || gnuplot << END
set terminal svg size 1200,800 dynamic background rgb 'white'
set output '$folder/roofline.svg'
load '$data/roofs'
set title 'Operators under the roofs of the machine: one thread, f32'
set xlabel 'FLOP per byte'
set ylabel 'GFLOP/s'
set logscale xy
set key bottom right
set grid
roof(bandwidth, x) = bandwidth * x < peak ? bandwidth * x : peak
plot [0.02:2000] roof(L1, x) title sprintf('L1, %.0f GB/s', L1), roof(L2, x) title sprintf('L2, %.0f GB/s', L2), roof(L3, x) title sprintf('L3, %.0f GB/s', L3), \
    roof(memory, x) title sprintf('memory, %.0f GB/s', memory), '$data/points' using 1:2 with points pt 7 ps 0.6 lc rgb '#004488' title 'Tenon', \
    '$data/points' using 1:3 with points pt 6 ps 0.8 lc rgb '#bb5566' title 'PyTorch default'
END
echo "the pictures: ratios.svg and roofline.svg beside it"
