#!/bin/sh
# Makes of FOLDER/bench.csv: tables.md, and with gnuplot ratios.svg (PyTorch's time over ours: networks on one and on two threads, operators on one in
# f32 and in bf16) and roofline.svg (what each operator reached over its FLOP per byte, under the peak and the bandwidths measured beside it; one
# thread, f32; those furthest below their bound are named).   usage: report.sh FOLDER
set -eu
folder=$1
csv=$folder/bench.csv
awk -F, -f "$(dirname "$0")/table.awk" "$csv" > "$folder/tables.md"
echo "the table: $folder/tables.md, its numbers: $csv"
command -v gnuplot > /dev/null || { echo 'gnuplot is not installed: no pictures'; exit 0; }
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
# Of a network: default and tuned in f32, in bf16; "-" where one was not measured.
awk -F, -v dir="$data" '$1 == "row" || $2 > 2 || $11 == "" { next }
    $1 !~ /\.(train|one|many)$/ { if ($2 == 1) print $1, $11 / $8, ($15 == "" ? "-" : $15 / $8) > (dir "/operators." $3); next }
    { key = $1 " " $2; ratios[key, $3] = $11 / $8 " " ($15 == "" ? "-" : $15 / $8); if (!seen[key]++) keys[++count] = key }
    function of(dtype) { return (key SUBSEP dtype in ratios) ? ratios[key, dtype] : "- -" }
    END { for (i = 1; i <= count; i++) { key = keys[i]; split(key, k, " "); print k[1], of("f32"), of("bf16") > (dir "/networks." k[2]) } }' "$csv"
awk -F, -v dir="$data" '$1 == "row" || $2 != 1 || $3 != "f32" || $5 + $6 + $7 < 1e-3 { next } # what is bound by calls has no roof
    { x = $4 / ($5 + 2 * $6 + $7) * 1e3; print x, $4 / $8 * 1e3, ($11 == "" ? "nan" : $4 / $11 * 1e3), substr($1, 1, index($1, ".") - 1), $1 > (dir "/points")
      peak = $19 > peak ? $19 : peak; if ($21 > copy[$23]) copy[$23] = $21 }
    END { print "peak = " peak + 0 > (dir "/roofs"); n = split("L1 L2 L3 memory", level, " ")
          for (i = 1; i <= n; i++) print level[i] " = " (level[i] in copy ? copy[level[i]] : "NaN") > (dir "/roofs") }' "$csv"
# The eight operators that are furthest below their bound, each family once: their places, numbered, and what the numbers mean.
awk -F ' *[|] *' '$3 == 1 && $4 == "f32" && $11 ~ /%/ && $2 ~ /[.](forward|backward)[.]/ { sub(/ .*/, "", $2); print $2, $11 + 0 }' "$folder/tables.md" |
    sort -n -k 2 | awk -v data="$data" 'BEGIN { while ((getline line < (data "/points")) > 0) { split(line, p, " "); place[p[5]] = p[1] " " p[2]; family[p[5]] = p[4] } }
        ($1 in place) && $2 < 60 && !seen[family[$1]]++ && count < 8 {
            if (!count) print "set label \"furthest below their bound, a family once:\" at graph 0.3,0.3 font \",10\" textcolor rgb \"#004488\"" > (data "/names")
            print place[$1], ++count > (data "/numbers")
            printf "set label \"%d  %s, %d %%\" at graph 0.3,%g noenhanced font \",10\" textcolor rgb \"#004488\"\n", count, $1, $2, 0.3 - 0.03 * count > (data "/names") }'
panel() { # panel FILE TITLE MARGIN PLOT
    [ ! -f "$data/$1" ] || { echo "set bmargin $3; set title \"$2\""; echo "file = '$data/$1'"; echo "plot $4, 1 with lines lc rgb 'black' notitle"; } >> "$data/panels"
}
two="file using 2:xtic(1) title 'default' lc rgb '#4477aa', '' using 3 title 'tuned' lc rgb '#ee7733'"
four="file using 2:xtic(1) title 'f32, default' lc rgb '#4477aa', '' using 3 title 'f32, tuned' lc rgb '#ee7733'"
four="$four, '' using 4 title 'bf16, default' lc rgb '#99bbdd', '' using 5 title 'bf16, tuned' lc rgb '#ffcc99'"
panel networks.1 'Networks, one thread' 8 "$four"
panel networks.2 'Networks, two threads' 8 "$four"
panel operators.f32 'Operators, one thread, f32' 14 "$two"
panel operators.bf16 'Operators, one thread, bf16' 14 "$two"
count=$([ ! -f "$data/panels" ] || grep -c '^plot' "$data/panels")
[ -z "$count" ] || gnuplot << END
set terminal svg size 1800,$((480 * count)) dynamic background rgb 'white'
set output '$folder/ratios.svg'
set datafile missing '-'
set multiplot layout $count,1 title "PyTorch's time over Tenon's"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.8
set lmargin 6
set logscale y 2
set xtics rotate by 90 right noenhanced font ',8'
set yrange [0.5:*]
set grid y
set key above right
load '$data/panels'
END
[ ! -f "$data/points" ] || gnuplot << END
set terminal svg size 1200,800 dynamic background rgb 'white'
set output '$folder/roofline.svg'
load '$data/roofs'
$([ ! -f "$data/names" ] || cat "$data/names")
set title 'Operators under the roofs of the machine: one thread, f32'
set xlabel 'FLOP per byte'
set ylabel 'GFLOP/s'
set logscale xy
set key bottom right
set grid
roof(bandwidth, x) = bandwidth * x < peak ? bandwidth * x : peak
plot [0.02:2000] roof(L1, x) title sprintf('L1, %.0f GB/s', L1), roof(L2, x) title sprintf('L2, %.0f GB/s', L2), roof(L3, x) title sprintf('L3, %.0f GB/s', L3), \
    roof(memory, x) title sprintf('memory, %.0f GB/s', memory), '$data/points' using 1:2 with points pt 7 ps 0.6 lc rgb '#004488' title 'Tenon', \
    '$data/points' using 1:3 with points pt 6 ps 0.8 lc rgb '#bb5566' title 'PyTorch default' $([ ! -f "$data/numbers" ] ||
    echo ", '$data/numbers' using 1:2:3 with labels left offset 0.6,-0.3 font ',12' textcolor rgb '#004488' notitle")
END
echo "the pictures: ratios.svg and roofline.svg beside it"
