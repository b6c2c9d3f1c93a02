# Writes a program that calls every public function with zeros in the place of all its arguments: awk -f zeros.awk headers > zeros.c
# Once plainly: nothing crashes or is lost, and a function that fails says why. Once while an error sticks: what is no bookkeeping does
# nothing at all (DESIGN 4). Options structs are given as NULL, without a size, and as all zeros (DESIGN 5).

/^TN_API / { statement = "" }
{ statement = statement " " $0 }
statement ~ /TN_API [^;]*;/ {
    gsub(/\/\*[^*]*\*\//, "", statement)
    sub(/.*TN_API /, "", statement)
    sub(/;.*/, "", statement)
    prototype(statement)
    statement = ""
}
END {
    print "static void all(void)\n{"
    for (i = 1; i <= calls; i++)
        print "    " call[i]
    print "}"
}
BEGIN {
    print "#define TN_NO_SITES\n#include \"zeros.h\""
}

function trim(text) { gsub(/[ \t]+/, " ", text); sub(/^ /, "", text); sub(/ $/, "", text); return text }

# How a call is seen: by its name, its type, and by what may be done while an error sticks.
function prototype(text,   open, head, name, type, parameters, n, part, i, list, args) {
    text = trim(text)
    open = index(text, "(")
    if (!open || text !~ /^[a-z]/)
        return
    head = substr(text, 1, open - 1)
    match(head, /tn_[a-z0-9_]+$/)
    name = substr(head, RSTART)
    type = trim(substr(head, 1, RSTART - 1))
    parameters = substr(text, open + 1)
    sub(/\) TN_[A-Z_]+$/, ")", parameters)
    sub(/\)[^)]*$/, "", parameters)
    # A macro's own part, what a macro gives a variable of its own, what ends the program, memory without an owner, text, and formats.
    if (name ~ /_$/ && FILENAME !~ /elementwise/ || name ~ /^tn_(die|fail|clear_error|alloc|alloc_zero|scope_close|scope_open|grad_mode_restore|grad_mode_set|autocast_restore|autocast_set|progress)$/)
        return
    n = parameters == "void" ? 0 : split(parameters, part, /, */)
    list = ""
    for (i = 1; i <= n; i++) {
        sub(/[a-z_0-9]+$/, "", part[i])
        list = list (i > 1 ? ", " : "") "(" trim(part[i]) "){0}"
    }
    kind = type ~ /^const char \*$/ || type == "void" || type == "size_t" || type !~ /\*$/ && type !~ /^(tn_status|double)$/ ? "OTHER" : \
        type ~ /\*$/ ? (name ~ /_new(_with|_from)?$/ ? "OWNED" : "LENT") : type == "double" ? "DOUBLE" : "STATUS"
    # What works while an error sticks, by DESIGN and the headers' word; some of it gives numbers, which are not looked at.
    if (name ~ /^tn_(retain|keep|adopt|pass|state_dict|context_data|dict_.*|check|last_status|get_lr|init_gain|set_error_handler|alloc.*)$/)
        kind = kind == "OWNED" ? "KEPT" : "OTHER"
    if (name ~ /_with$/) {
        args = parameters
        sub(/^const /, "", args)
        sub(/ \*.*/, "", args)
        call[++calls] = "OPTIONS(" name ", " args ");"
        call[++calls] = kind "(" name ", " name "(&(" args "){.size = sizeof(" args ")}));"
        return
    }
    call[++calls] = kind "(" name ", " name "(" list "));"
}
