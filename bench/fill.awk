# Puts tables of bench.csv into a page of Markdown: between "<!-- bench WORDS -->" and "<!-- end -->" goes what table.awk makes with WORDS, each a
# setting of its own; csv=NAME is of another CSV in the same folder.   usage: awk -v csv=FILE -v table=table.awk -f fill.awk PAGE
/^<!-- bench .*-->$/ {
    print
    from = csv
    command = "awk -F,"
    for (i = 3; i < NF; i++)
        if (sub(/^csv=/, "", $i))
            sub(/[^\/]*$/, $i, from)
        else
            command = command " -v '" $i "'"
    command = command " -f '" table "' '" from "'"
    while ((command | getline line) > 0)
        print line
    close(command)
    filling = 1
}
/^<!-- end -->$/ { filling = 0 }
!filling && !/^<!-- bench / { print }
