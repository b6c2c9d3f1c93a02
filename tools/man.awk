# A man page of what --help says: awk -v command=generate -v version=0.1.0 -f man.awk help.txt
function escaped(s)
{
    gsub(/\\/, "\\e", s)
    gsub(/-/, "\\-", s)
    if (s ~ /^[.']/)
        s = "\\&" s
    return s
}
function item(what, rest)
{
    if (!listed)
        printf ".SH %s\n", command == "" ? "COMMANDS" : "OPTIONS"
    listed = 1
    sub(/^ +/, "", what)
    sub(/ +$/, "", what)
    printf ".TP\n.B %s\n", escaped(what)
    if (rest != "")
        print escaped(rest)
}
BEGIN {
    name = command == "" ? "tenon" : "tenon-" command
    printf ".TH %s 1 \"\" \"Tenon %s\" \"User Commands\"\n", toupper(name), version
}
/^Usage: / { usage = substr($0, 8); next }
!described && $0 != "" { about = about == "" ? $0 : about " " $0; next } # the paragraph behind the usage
!described {
    first = about
    sub(/\. .*|\.$/, "", first)
    printf ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n%s\n.SH DESCRIPTION\n%s\n", escaped(name), escaped(first), escaped(usage), escaped(about)
    described = 1
    next
}
/^  (    )?-/ { item(substr($0, 1, 29), substr($0, 30)); next } # where argp begins an option's text
/^  [a-z]/ { item(substr($0, 1, 14), substr($0, 15)); next }
/^$/ { print ".PP"; next }
{ sub(/^ +/, ""); print escaped($0) }
