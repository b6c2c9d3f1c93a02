/* A backtracking matcher of the regular expressions that tokenisers split by. The libraries' own are Oniguruma, and Rust's regex under
 * fancy-regex: this one agrees with both where they agree, on the Unicode that they know. */
#include "text/text.h"

#include "io/file.h"

enum { CODE_MAX = 1024, DEPTH_MAX = 16 };
enum { GREEDY, LAZY, POSSESSIVE };

/* A class of characters: any of the members, or none. */
typedef struct member {
    int32_t low, high; /* points; low > high: none */
    uint32_t categories;
    bool space, word, not;
} member;
typedef struct set {
    int first, count; /* members */
    bool not;
    uint8_t ascii[16]; /* a bit for each point below 128 */
} set;

/* SET s; REPEAT s min max mode; SPLIT a b: a is tried first; JUMP a; ATOM, LOOK a (not: b): what is behind, up to END, alone, a behind it; AT_END. */
typedef enum { SET, REPEAT, SPLIT, JUMP, ATOM, LOOK, AT_END, END } op;
typedef struct code {
    op op;
    int a, b, min, max, mode; /* max -1: no end */
} code;

struct tn_pattern {
    code *code;
    set *sets;
    member *members;
    size_t count, capacity, set_count, set_capacity, member_count, member_capacity;
    bool lines;
};

typedef struct parser {
    tn_pattern *p;
    const char *op, *source;
    int64_t size, at;
    bool ignore_case;
    int depth;
} parser;

/* ---- parsing ------------------------------------------------------------------------------------------------------------- */

static bool refuse(const parser *q, const char *what)
{
    tn_fail(TN_ERR_UNSUPPORTED, "%s: the regular expression \"%.*s\" has %s at byte %lld", q->op, (int)(q->size < 80 ? q->size : 80), q->source, what,
            (long long)q->at);
    return false;
}

static int peek(const parser *q, int ahead) { return q->at + ahead < q->size ? (unsigned char)q->source[q->at + ahead] : -1; }
static bool take(parser *q, const char *text)
{
    int64_t n = (int64_t)strlen(text);
    bool there = q->size - q->at >= n && memcmp(q->source + q->at, text, (size_t)n) == 0;
    q->at += there ? n : 0;
    return there;
}

static bool put(parser *q, code c)
{
    tn_pattern *p = q->p;
    if (p->count >= CODE_MAX)
        return refuse(q, "too many parts");
    if (!tn_grow(&p->code, p->count, &p->capacity, sizeof *p->code))
        return false;
    p->code[p->count++] = c;
    return true;
}

static bool put_member(parser *q, member m)
{
    tn_pattern *p = q->p;
    if (!tn_grow(&p->members, p->member_count, &p->member_capacity, sizeof *p->members))
        return false;
    p->members[p->member_count++] = m;
    p->sets[p->set_count - 1].count++;
    return true;
}

static bool new_set(parser *q, bool not)
{
    tn_pattern *p = q->p;
    if (!tn_grow(&p->sets, p->set_count, &p->set_capacity, sizeof *p->sets))
        return false;
    p->sets[p->set_count++] = (set){.first = (int)p->member_count, .not = not};
    return true;
}

static bool put_range(parser *q, int32_t low, int32_t high) { return put_member(q, (member){.low = low, .high = high}); }

/* Where case does not count, the letters of a range in the other case too, and the two beyond ASCII that fold to one of it. */
static bool put_letters(parser *q, int32_t low, int32_t high)
{
    if (!put_range(q, low, high) || !q->ignore_case)
        return !tn_failing();
    if (high > 127)
        return refuse(q, "(?i) over letters beyond ASCII, which Tenon has not,");
    for (int shift = 0; shift <= 32; shift += 32) {
        int32_t from = low > 'A' + shift ? low : 'A' + shift, to = high < 'Z' + shift ? high : 'Z' + shift, other = shift ? -32 : 32;
        if (from > to)
            continue;
        if (!put_range(q, from + other, to + other) || (from <= 'S' + shift && to >= 'S' + shift && !put_range(q, 0x17f, 0x17f)) ||
            (from <= 'K' + shift && to >= 'K' + shift && !put_range(q, 0x212a, 0x212a)))
            return false;
    }
    return true;
}

static bool read_property(parser *q, member *m)
{
    bool not = q->source[q->at - 1] == 'P';
    const char *name = q->source + q->at;
    int64_t size = 1;
    if (take(q, "{")) {
        not ^= take(q, "^");
        name = q->source + q->at;
        const char *end = memchr(name, '}', (size_t)(q->size - q->at));
        size = end ? end - name : 0;
        q->at += end ? size + 1 : 0;
    } else {
        q->at++;
    }
    uint32_t mask = size > 0 && q->at <= q->size ? tn_category_mask(name, size) : 0;
    *m = (member){.low = 1, .categories = mask, .not = not};
    return mask || refuse(q, "a property that Tenon lacks");
}

static int hex(int c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* \x41, \x{1f600}, \u0041. */
static bool read_hex(parser *q, int digits, int32_t *point)
{
    bool braces = take(q, "{");
    int n = 0;
    *point = 0;
    for (; hex(peek(q, 0)) >= 0 && n < (braces ? 6 : digits); n++)
        *point = *point * 16 + hex((unsigned char)q->source[q->at++]);
    bool good = (braces ? n > 0 && take(q, "}") : n == digits) && *point < 0x110000;
    return good || refuse(q, "a number that is none");
}

/* What follows a backslash: a class into *m (true in *is_class) or a point. */
static bool read_escape(parser *q, member *m, bool *is_class, int32_t *point)
{
    int c = peek(q, 0);
    *m = (member){.low = 1};
    *is_class = true;
    q->at += c >= 0;
    switch (c) {
    case 's': case 'S': m->space = true; m->not = c == 'S'; return true;
    case 'w': case 'W': m->word = true; m->not = c == 'W'; return true;
    case 'd': case 'D': m->categories = tn_category_mask("Nd", 2); m->not = c == 'D'; return true;
    case 'p': case 'P': return read_property(q, m);
    default: *is_class = false;
    }
    switch (c) {
    case 'r': *point = '\r'; return true;
    case 'n': *point = '\n'; return true;
    case 't': *point = '\t'; return true;
    case 'f': *point = '\f'; return true;
    case 'v': *point = '\v'; return true;
    case 'x': return read_hex(q, 2, point);
    case 'u': return read_hex(q, 4, point);
    default: *point = c;
    }
    bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c < 0 || c > 127;
    return !letter || refuse(q, "an escape that Tenon lacks");
}

static bool read_point(parser *q, int32_t *point)
{
    int taken;
    *point = tn_utf8_next(q->source + q->at, q->size - q->at, &taken);
    q->at += taken;
    return true;
}

/* One member of a class in brackets, or its beginning where a range follows. */
static bool read_member(parser *q)
{
    member m;
    bool is_class = false;
    int32_t low, high;
    if (peek(q, 0) == '[' || (peek(q, 0) == '&' && peek(q, 1) == '&'))
        return refuse(q, "a class within a class");
    if (!(take(q, "\\") ? read_escape(q, &m, &is_class, &low) : read_point(q, &low)))
        return false;
    if (is_class)
        return put_member(q, m);
    high = low;
    if (peek(q, 0) == '-' && peek(q, 1) >= 0 && peek(q, 1) != ']') {
        q->at++;
        if (!(take(q, "\\") ? read_escape(q, &m, &is_class, &high) : read_point(q, &high)))
            return false;
        if (is_class || high < low)
            return refuse(q, "a range that is none");
    }
    return put_letters(q, low, high);
}

static bool in_set(const tn_pattern *p, const set *s, int32_t point);

static bool read_class(parser *q)
{
    if (!new_set(q, take(q, "^")))
        return false;
    if (peek(q, 0) == ']')
        return refuse(q, "an empty class");
    while (peek(q, 0) != ']') {
        if (peek(q, 0) < 0)
            return refuse(q, "a class without an end");
        if (!read_member(q))
            return false;
    }
    q->at++;
    return true;
}

static bool alternatives(parser *q);

/* Behind a "(": the group's kind. The rest of the group is code behind ATOM or LOOK up to END, or plain code. */
static bool read_group(parser *q)
{
    bool case_was = q->ignore_case, look = false, atom = false, not = false;
    if (q->depth >= DEPTH_MAX)
        return refuse(q, "groups too deep");
    if (take(q, "?i:"))
        q->ignore_case = true;
    else if (take(q, "?=") || (not = take(q, "?!")))
        look = true;
    else if (take(q, "?>"))
        atom = true;
    else if (!take(q, "?:") && peek(q, 0) == '?')
        return refuse(q, "a group of a kind that Tenon lacks");
    size_t head = q->p->count;
    if ((look || atom) && !put(q, (code){.op = look ? LOOK : ATOM, .b = not}))
        return false;
    q->depth++;
    if (!alternatives(q))
        return false;
    q->depth--;
    if (!take(q, ")"))
        return refuse(q, "a group without an end");
    if (look || atom) {
        if (!put(q, (code){.op = END}))
            return false;
        q->p->code[head].a = (int)q->p->count;
    }
    q->ignore_case = case_was;
    return true;
}

static bool read_atom(parser *q)
{
    tn_pattern *p = q->p;
    int c = peek(q, 0);
    member m;
    bool is_class = false;
    int32_t point;
    if (take(q, "("))
        return read_group(q);
    if (take(q, "$"))
        return put(q, (code){.op = AT_END});
    if (c == '^' || c == '*' || c == '+' || c == '?' || c == '{')
        return refuse(q, "a sign that Tenon lacks there");
    if (take(q, "[")) {
        if (!read_class(q))
            return false;
    } else if (take(q, ".")) {
        if (!new_set(q, true) || !put_range(q, '\n', '\n'))
            return false;
    } else {
        if (!(take(q, "\\") ? read_escape(q, &m, &is_class, &point) : read_point(q, &point)))
            return false;
        if (!new_set(q, false) || !(is_class ? put_member(q, m) : put_letters(q, point, point)))
            return false;
    }
    set *s = &p->sets[p->set_count - 1];
    for (int i = 0; i < 128; i++)
        s->ascii[i / 8] |= (uint8_t)(in_set(p, s, i) << i % 8);
    return put(q, (code){.op = SET, .a = (int)p->set_count - 1});
}

static bool read_number(parser *q, int *value)
{
    int digits = 0;
    for (*value = 0; peek(q, 0) >= '0' && peek(q, 0) <= '9' && digits < 4; digits++)
        *value = *value * 10 + q->source[q->at++] - '0';
    return digits > 0;
}

/* * + ? {n} {n,} {n,m}, then + or ?; false where there is none, or with an error. */
static bool read_count(parser *q, int *min, int *max, int *mode)
{
    *mode = GREEDY;
    if (take(q, "*")) {
        *min = 0;
        *max = -1;
    } else if (take(q, "+")) {
        *min = 1;
        *max = -1;
    } else if (take(q, "?")) {
        *min = 0;
        *max = 1;
    } else if (take(q, "{")) {
        if (!read_number(q, min))
            return refuse(q, "a count that is none");
        *max = *min;
        if (take(q, ",") && !read_number(q, max))
            *max = -1;
        if (!take(q, "}") || (*max >= 0 && *max < *min))
            return refuse(q, "a count that is none");
    } else {
        return false;
    }
    if (take(q, "+"))
        *mode = POSSESSIVE;
    else if (take(q, "?"))
        *mode = LAZY;
    return true;
}

/* The code from `from` on moves n places up: jumps within it go along. */
static bool make_room(parser *q, size_t from, int n)
{
    tn_pattern *p = q->p;
    for (int i = 0; i < n; i++)
        if (!put(q, (code){0}))
            return false;
    memmove(p->code + from + n, p->code + from, (p->count - (size_t)n - from) * sizeof *p->code);
    for (size_t i = from + (size_t)n; i < p->count; i++)
        if (p->code[i].op == SPLIT || p->code[i].op == JUMP || p->code[i].op == ATOM || p->code[i].op == LOOK) {
            p->code[i].a += n;
            p->code[i].b += p->code[i].op == SPLIT ? n : 0;
        }
    return true;
}

/* What was read from `from` on, so often. A single class counts for itself; a group may be there or not. */
static bool repeat(parser *q, size_t from, int min, int max, int mode)
{
    tn_pattern *p = q->p;
    if (p->count == from + 1 && p->code[from].op == SET) {
        p->code[from] = (code){.op = REPEAT, .a = p->code[from].a, .min = min, .max = max, .mode = mode};
        return true;
    }
    if (min != 0 || max != 1)
        return refuse(q, "a group repeated, which Tenon has not,");
    bool atom = mode == POSSESSIVE;
    if (!make_room(q, from, 1 + atom))
        return false;
    size_t head = from + atom;
    p->code[head] = (code){.op = SPLIT, .a = (int)head + 1, .b = (int)p->count};
    if (mode == LAZY)
        p->code[head] = (code){.op = SPLIT, .a = (int)p->count, .b = (int)head + 1};
    if (!atom)
        return true;
    if (!put(q, (code){.op = END}))
        return false;
    p->code[from] = (code){.op = ATOM, .a = (int)p->count};
    return true;
}

static bool sequence(parser *q)
{
    while (peek(q, 0) >= 0 && peek(q, 0) != '|' && peek(q, 0) != ')') {
        size_t from = q->p->count;
        int min, max, mode;
        if (!read_atom(q))
            return false;
        if (read_count(q, &min, &max, &mode) ? !repeat(q, from, min, max, mode) : tn_failing())
            return false;
    }
    return true;
}

/* a|b|c: SPLIT to a or on, a, JUMP behind, SPLIT to b or on, ... */
static bool alternatives(parser *q)
{
    tn_pattern *p = q->p;
    size_t jumps[256], count = 0;
    for (;;) {
        size_t from = p->count;
        if (!sequence(q))
            return false;
        if (!take(q, "|"))
            break;
        if (count == TN_COUNT(jumps))
            return refuse(q, "too many alternatives");
        if (!make_room(q, from, 1) || !put(q, (code){.op = JUMP}))
            return false;
        p->code[from] = (code){.op = SPLIT, .a = (int)from + 1, .b = (int)p->count};
        jumps[count++] = p->count - 1;
    }
    for (size_t i = 0; i < count; i++)
        p->code[jumps[i]].a = (int)p->count;
    return true;
}

tn_pattern *tn_pattern_new(const char *op, const char *source, int64_t size, bool lines)
{
    tn_pattern *p = tn_alloc_zero(sizeof *p);
    parser q = {.p = p, .op = op, .source = source, .size = size};
    if (!p)
        return NULL;
    p->lines = lines;
    bool good = tn_is_utf8(source, (size_t)size) || refuse(&q, "no UTF-8");
    good = good && alternatives(&q) && (q.at == size || refuse(&q, "a \")\" too many")) && put(&q, (code){.op = END});
    if (good)
        return p;
    tn_pattern_free(p);
    return NULL;
}

void tn_pattern_free(tn_pattern *p)
{
    if (!p)
        return;
    tn_free(p->code, p->capacity * sizeof *p->code);
    tn_free(p->sets, p->set_capacity * sizeof *p->sets);
    tn_free(p->members, p->member_capacity * sizeof *p->members);
    tn_free(p, sizeof *p);
}

/* ---- matching ------------------------------------------------------------------------------------------------------------ */

static bool in_set(const tn_pattern *p, const set *s, int32_t point)
{
    bool in = false;
    for (int i = 0; !in && i < s->count; i++) {
        const member *m = &p->members[s->first + i];
        bool has = (point >= m->low && point <= m->high) || (m->categories && (m->categories >> tn_category(point) & 1)) ||
                   (m->space && tn_white_space(point)) || (m->word && tn_word_point(point));
        in = has != m->not;
    }
    return in != s->not;
}

typedef struct matcher {
    const tn_pattern *p;
    const char *text;
    int64_t size, *tries;
} matcher;

/* How many bytes the set takes at `at`; 0: none. */
static int one(const matcher *m, int index, int64_t at)
{
    const set *s = &m->p->sets[index];
    int taken;
    if (at >= m->size)
        return 0;
    unsigned char c = (unsigned char)m->text[at];
    if (c < 128)
        return s->ascii[c / 8] >> c % 8 & 1;
    int32_t point = tn_utf8_next(m->text + at, m->size - at, &taken);
    if (point < 0) /* a surrogate, which tn_utf8_mend() leaves where it is loose: one character */
        point = tn_utf8_loose_next(m->text + at, m->size - at, &taken);
    return in_set(m->p, s, point) ? taken : 0;
}

static int64_t match(matcher *m, int pc, int64_t at);

/* As many as there may be, then fewer until what follows matches. */
static int64_t match_repeat(matcher *m, const code *c, int pc, int64_t at)
{
    int64_t count = 0, from = at, end;
    int n;
    if (c->mode == LAZY) {
        for (;; at += n, count++) {
            if (count >= c->min && (end = match(m, pc + 1, at)) >= 0)
                return end;
            if ((c->max >= 0 && count >= c->max) || !(n = one(m, c->a, at)) || --*m->tries < 0)
                return -1;
        }
    }
    while ((c->max < 0 || count < c->max) && (n = one(m, c->a, at))) {
        at += n;
        if (++count == c->min)
            from = at;
    }
    *m->tries -= count;
    if (count < c->min || *m->tries < 0)
        return -1;
    if (c->mode == POSSESSIVE)
        return match(m, pc + 1, at);
    for (;; at--) {
        if (at < from || --*m->tries < 0)
            return -1;
        if (at > from && at < m->size && ((unsigned char)m->text[at] & 0xc0) == 0x80)
            continue;
        if ((end = match(m, pc + 1, at)) >= 0)
            return end;
    }
}

/* Where a match of the code from pc to its END ends; -1: there is none. It calls itself once for each part of the code at most. */
static int64_t match(matcher *m, int pc, int64_t at)
{
    int n;
    int64_t end;
    for (const code *c;;) {
        c = &m->p->code[pc];
        if (--*m->tries < 0)
            return -1;
        switch (c->op) {
        case SET:
            if (!(n = one(m, c->a, at)))
                return -1;
            at += n;
            pc++;
            break;
        case REPEAT: return match_repeat(m, c, pc, at);
        case SPLIT:
            if ((end = match(m, c->a, at)) >= 0)
                return end;
            pc = c->b;
            break;
        case JUMP: pc = c->a; break;
        case ATOM:
        case LOOK:
            end = match(m, pc + 1, at);
            if (c->op == LOOK ? (end >= 0) == c->b : end < 0)
                return -1;
            at = c->op == LOOK ? at : end;
            pc = c->a;
            break;
        case AT_END:
            if (at < m->size && !(m->p->lines && m->text[at] == '\n'))
                return -1;
            pc++;
            break;
        case END: return at;
        }
    }
}

bool tn_pattern_find(const tn_pattern *p, const char *text, int64_t size, int64_t from, int64_t *tries, int64_t *start, int64_t *end)
{
    matcher m = {.p = p, .text = text, .size = size, .tries = tries};
    for (int64_t at = from; at <= size; at++) {
        if (at < size && ((unsigned char)text[at] & 0xc0) == 0x80)
            continue;
        int64_t to = match(&m, 0, at);
        if (*tries < 0) {
            tn_fail(TN_ERR_ARGUMENT, "tokenizer_encode: the regular expression tries too much in vain at byte %lld", (long long)at);
            return false;
        }
        if (to > at) { /* what matches nothing splits nothing */
            *start = at;
            *end = to;
            return true;
        }
    }
    return false;
}
