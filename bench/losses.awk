# Lines "ours theirs", each a loss, become a line of bench.csv: row= its first columns, checked=, the greatest relative difference, allowed=. What is no
# finite number, or not there, differs by 1.
function size(x) { return x < 0 ? -x : x }
{
    d = $1 ~ /^-?[0-9]+[.]?[0-9]*$/ && $2 ~ /^-?[0-9]+[.]?[0-9]*$/ && $2 + 0 != 0 ? size($1 - $2) / size($2) : 1
    greatest = d > greatest ? d : greatest
}
END {
    printf "%s", row
    for (i = 4; i <= 24; i++)
        printf ","
    printf ",%s,%.6g,%s\n", checked, NR ? greatest : 1, allowed
}
