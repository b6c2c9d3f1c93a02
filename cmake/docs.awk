# Doxygen's filter: a header's comments become Doxygen's. A comment that begins a line is about what follows, one after code about that
# line; the file's first is about the file. An options struct shows its options, from the list X(type, name, default) that it is made of.
# What Doxygen would read as its own commands or as HTML is left as it is written.
BEGIN {
    while ((getline line < "include/tenon/tensor.h") > 0)
        collect(line)
    list = ""
}
{ collect($0) }
FNR == 1 && /^\/\* / {
    inside = !/\*\//
    print "/** @file"
    print " * " escape(substr($0, 4))
    next
}
/^ +[A-Z0-9_]+\(TN_FIELD_\)$/ {
    split($0, parts, /[ (]+/)
    printf "%s", options[parts[2]]
    next
}
{
    line = $0
    at = index(line, "/*")
    if (!at || inside || line ~ /\\$/ || line ~ /^ *\/\* ----/)
        print inside ? escape(line) : line
    else if (line ~ /^ *\/\*/)
        print substr(line, 1, at - 1) "/**" escape(substr(line, at + 2))
    else if (line ~ /\{ *\/\*.*\*\//)
        print "/**" escape(substr(line, at + 2)) "\n" substr(line, 1, at - 1)
    else
        print substr(line, 1, at - 1) "/**<" escape(substr(line, at + 2))
    if (at)
        inside = 1
    if (line ~ /\*\//)
        inside = 0
}

# Remembers the lists of options: X(type, name, default) each, then perhaps a comment.
function collect(text,   item, parts, comment) {
    if (match(text, /^#define TN_[A-Z0-9_]+\(X\)/)) {
        list = substr(text, 9, RLENGTH - 11)
        options[list] = ""
        text = substr(text, RLENGTH + 1)
    }
    while (list != "" && match(text, /^ +X\([^,]*, *[A-Za-z_0-9]+, */)) {
        item = substr(text, RSTART, RLENGTH)
        text = substr(text, RLENGTH + 1)
        sub(/^ +X\(/, "", item)
        split(item, parts, / *, */)
        match(text, /\) *( X\(|\/\*|\\$|$)/)
        item = substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + 1)
        comment = match(text, /^ *\/\*.*\*\//) ? ". " substr(text, index(text, "/*") + 3) : ""
        sub(/ *\*\/.*/, "", comment)
        options[list] = options[list] "    " parts[1] " " parts[2] "; /**< default " escape(item comment) " */\n"
    }
    if (text !~ /\\$/)
        list = ""
}

function escape(text) {
    gsub(/\\/, "\\\\", text)
    gsub(/</, "\\<", text)
    gsub(/@/, "\\@", text)
    gsub(/#/, "\\#", text)
    return text
}
