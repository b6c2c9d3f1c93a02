# Writes include/tenon/sites.h from the other headers: awk -f cmake/sites.awk include/tenon/*.h include/tenon/*/*.h > include/tenon/sites.h
# Reads prototypes (TN_API ... ;) and options structs (typedef struct tn_x_args { ... LIST(TN_FIELD_) ... char tn_ ...; positional fields }).

FNR == 1 { in_comment = 0; statement = ""; struct = "" }
FILENAME ~ /(sites|tenon)\.h$/ { next }
{ line = strip($0) }
struct != "" { struct_line(line); next }
line ~ /^typedef struct tn_[a-z0-9_]*_args \{/ {
    struct = word(line, 3)
    structs[++struct_count] = struct
    lists[struct] = fields[struct] = body = ""
    next
}
statement != "" || line ~ /^TN_API / {
    statement = statement " " line
    if (statement ~ /;/) {
        prototype(statement)
        statement = ""
    }
}
END {
    if (!failed)
        write()
    exit failed
}

function fail(what) { print FILENAME ":" FNR ": " what > "/dev/stderr"; failed = 1 }
function word(text, n,   parts) { split(text, parts, /[ \t]+/); return parts[n] }
function trim(text) { gsub(/[ \t]+/, " ", text); sub(/^ /, "", text); sub(/ $/, "", text); return text }

# The line without comments, of which one may go over several lines.
function strip(text,   out, at) {
    out = ""
    while (text != "") {
        at = index(text, in_comment ? "*/" : "/*")
        if (!at)
            return in_comment ? out : out text
        if (!in_comment)
            out = out substr(text, 1, at - 1)
        text = substr(text, at + 2)
        in_comment = !in_comment
    }
    return out
}

# A line of an options struct: its lists of options come first, its positional fields after `char tn_`.
function struct_line(text) {
    body = body " " text
    if (text !~ /^\}/)
        return
    while (match(body, /[A-Z][A-Z0-9_]*\(TN_FIELD_\)/)) {
        lists[struct] = lists[struct] " " substr(body, RSTART, RLENGTH - 11)
        body = substr(body, 1, RSTART - 1) substr(body, RSTART + RLENGTH)
    }
    if (match(body, /char tn_ TN_ZERO_;/))
        fields[struct] = trim(substr(body, RSTART + RLENGTH))
    else
        fail(struct " has no `char tn_ TN_ZERO_;`")
    sub(/ *\}[^}]*$/, "", fields[struct])
    struct = ""
}

# Splits `type *tn_name(parameters) ATTRIBUTES;` and keeps what can fail.
function prototype(text,   open, head, name, type, parameters, kind) {
    text = trim(text)
    sub(/^TN_API /, "", text)
    open = index(text, "(")
    if (!open)
        return
    head = substr(text, 1, open - 1)
    if (!match(head, /tn_[a-z0-9_]+$/))
        return
    name = substr(head, RSTART)
    type = trim(substr(head, 1, RSTART - 1))
    parameters = substr(text, open + 1)
    sub(/\)[^)]*$/, "", parameters)
    if (text ~ / TN_PRINTF\(/) {
        sub(/\) TN_PRINTF\(.*/, "", parameters)
    }
    # Ends the library's own, text, the scope's bookkeeping and what reports on errors.
    if ((name ~ /_$/ && FILENAME !~ /tenon\/ops\//) || type == "const char *" ||
        name ~ /^tn_(retain|keep|adopt|pass|last_status|check|status_text|scope_open)$/)
        return
    kind = ""
    if (type ~ /\*$/)
        kind = "pointer"
    else if (type == "tn_status")
        kind = text ~ /TN_MUST_CHECK/ ? "checked" : "status"
    else if (type ~ /^(double|int64_t|int|bool)$/ && parameters ~ /\*/)
        kind = type
    else if (type == "tn_device_id" && parameters != "void")
        kind = "device"
    if (kind == "")
        return
    names[++count] = name
    types[name] = type
    kinds[name] = kind
    params[name] = parameters
}

# The name of the inline function that looks at a result.
function helper(name,   id) {
    id = types[name]
    if (kinds[name] == "pointer") {
        gsub(/ \*/, "_ptr", id)
        gsub(/[^a-z0-9_]/, "_", id)
        sub(/^tn_/, "", id)
        return "tn_at_" id "_"
    }
    return "tn_at_" kinds[name] "_"
}

function write_helper(id, type, attribute, failed_if) {
    if (id in written)
        return
    written[id] = 1
    print "static inline " attribute type (type ~ /\*$/ ? "" : " ") id "(" type (type ~ /\*$/ ? "" : " ") "result, const char *file, int line)"
    print "{"
    if (failed_if != "")
        print "    if (TN_UNLIKELY_(" failed_if "))"
    print "    " (failed_if != "" ? "    " : "") "tn_site_(NULL, file, line);"
    print "    return result;"
    print "}"
}

function write_helpers(   i, name, kind) {
    for (i = 1; i <= count; i++) {
        name = names[i]
        kind = kinds[name]
        write_helper(helper(name), types[name], kind == "checked" ? "TN_MUST_CHECK " : "", kind == "pointer" ? "!result" : \
            kind == "status" || kind == "checked" ? "result != TN_OK" : kind == "double" ? "result != result" : \
            kind == "bool" ? "!result" : kind == "device" ? "" : "result <= 0")
    }
}

# The struct of `tn_name_with(const tn_x_args *args)`, or "".
function options_of(name,   parameters) {
    parameters = params[name]
    if (name !~ /_with$/ || parameters !~ /^const tn_[a-z0-9_]*_args \*[a-z_]*$/)
        return ""
    parameters = word(parameters, 2)
    if (!(parameters in lists)) {
        fail("no struct " parameters " was seen for " name)
        return ""
    }
    return parameters
}

function short_name(name) { sub(/_with$/, "", name); return name }

# In C an options macro over the struct; its lists joined to one.
function write_options(   i, n, lists_of, j, name, args) {
    for (i = 1; i <= struct_count; i++) {
        n = split(trim(lists[structs[i]]), lists_of, " ")
        printf "#define TN_LIST_%s_(X)", structs[i]
        for (j = 1; j <= n; j++)
            printf " %s(X)", lists_of[j]
        print ""
    }
    for (i = 1; i <= count; i++) {
        name = names[i]
        args = options_of(name)
        if (args != "")
            define(short_name(name), "...", helper(name), "TN_CALL_((" name "), " args ", TN_LIST_" args "_, __VA_ARGS__)")
    }
}

function define(name, parameters, id, call) {
    print "#define " name "(" parameters ") \\"
    print "    " id "(" call ", __FILE__, __LINE__)"
}

# Splits a struct's positional fields into field_type, field_name; a function pointer's type has @ where its name stands.
function split_fields(text,   declarations, n, i, names_of, m, j, base, stars) {
    gsub(/ ?TN_ZERO_/, "", text)
    n = split(text, declarations, ";")
    fields_n = 0
    for (i = 1; i <= n; i++) {
        text = trim(declarations[i])
        if (text == "")
            continue
        if (text ~ /\[/)
            fail("an array among positional fields: " text)
        if (match(text, /\(\*[a-z_]+\)/)) {
            field_name[++fields_n] = substr(text, RSTART + 2, RLENGTH - 3)
            field_type[fields_n] = substr(text, 1, RSTART + 1) "@" substr(text, RSTART + RLENGTH - 1)
            continue
        }
        m = split(text, names_of, /, */)
        match(names_of[1], /\**[a-zA-Z_0-9]+$/)
        base = substr(names_of[1], 1, RSTART - 1)
        names_of[1] = substr(names_of[1], RSTART)
        for (j = 1; j <= m; j++) {
            stars = names_of[j]
            gsub(/[^*]/, "", stars)
            gsub(/\*/, "", names_of[j])
            field_name[++fields_n] = names_of[j]
            field_type[fields_n] = base stars "@"
        }
    }
}

# In C++ one overload for each number of positional arguments, the options struct last.
function write_overloads(   i, name, args, k, j, parameter, type) {
    for (i = 1; i <= count; i++) {
        name = names[i]
        args = options_of(name)
        if (args == "")
            continue
        split_fields(fields[args])
        type = types[name]
        for (k = fields_n ? 1 : 0; k <= fields_n; k++) {
            printf "inline %s%s(", type (type ~ /\*$/ ? "" : " "), short_name(name)
            for (j = 1; j <= k; j++) {
                parameter = field_type[j]
                sub(/@/, field_name[j], parameter)
                printf "%s, ", parameter
            }
            print args " args = {})"
            print "{"
            for (j = 1; j <= k; j++)
                print "    args." field_name[j] " = " field_name[j] ";"
            print "    return " name "(&args);"
            print "}"
        }
    }
}

# Plain functions: a macro of the same name; a tn_operand takes a number too.
function write_sites(   i, name, n, parameter, j, formal, actual) {
    for (i = 1; i <= count; i++) {
        name = names[i]
        formal = "..."
        actual = "__VA_ARGS__"
        if (params[name] ~ /(^|[ (])tn_operand /) {
            formal = actual = ""
            n = split(params[name], parameter, /, */)
            for (j = 1; j <= n; j++) {
                match(parameter[j], /[a-z_0-9]+$/)
                formal = formal (j > 1 ? ", " : "") substr(parameter[j], RSTART)
                actual = actual (j > 1 ? ", " : "") (parameter[j] ~ /^tn_operand / ? "TN_OPERAND_(" substr(parameter[j], RSTART) ")" : \
                    substr(parameter[j], RSTART))
            }
        }
        define(name, formal, helper(name), name "(" actual ")")
    }
}

function write_cplusplus_names(   i, name) {
    for (i = 1; i <= count; i++) {
        name = names[i]
        if (options_of(name) != "")
            define(short_name(name), "...", helper(name), short_name(name) "(__VA_ARGS__)")
    }
}

function write() {
    print "/* Generated by cmake/sites.awk from the other headers: do not edit.  clang-format off"
    print " *"
    print " * For each function that can fail a macro of the same name, which calls it and on failure names the caller's file and line in the"
    print " * error. The place is named after the call: calls among the arguments have named theirs by then. A function's name without"
    print " * parentheses is the function itself. For each tn_x_with(const args *) the form tn_x(positional..., .option = value). */"
    print "#ifndef TENON_SITES_H"
    print "#define TENON_SITES_H"
    print ""
    print "#if defined(__GNUC__)"
    print "#define TN_UNLIKELY_(condition) __builtin_expect(condition, 0)"
    print "#else"
    print "#define TN_UNLIKELY_(condition) (condition)"
    print "#endif"
    print ""
    write_helpers()
    print ""
    print "#ifdef __cplusplus"
    write_overloads()
    write_cplusplus_names()
    print "#else"
    write_options()
    print "#endif"
    print ""
    write_sites()
    print ""
    print "#endif"
}
