/* Chat templates. Models bring theirs as Jinja; the ones that there are differ in a few texts each, which stand here. */
#include <tenon/chat.h>

#include "models/beside.h"
#include "text/text.h"

#include <stdio.h>
#include <string.h>

#ifdef TENON_HAVE_CJSON
#include <cjson/cJSON.h>
#endif

enum place { ALONE, IN_FIRST, IN_LAST }; /* a system's message: by itself, or the beginning of the first or of the last user's */
enum trim { TRIM_NONE, TRIM_THOUGHTS, TRIM_ANSWERS, TRIM_ALL }; /* what goes: what an answer thought before; white space around answers, around all */
typedef struct chat_template {
    const char *name;
    const char *marks[2];     /* what its Jinja has; the first row with all of them is it */
    const char *bos;          /* before all */
    const char *system;       /* what stands for a system's message that is not there; NULL: nothing */
    enum place place;
    enum trim trim;
    const char *of_system[2]; /* around each message */
    const char *of_user[2];
    const char *of_answer[2]; /* the first is what a model begins with itself, where `begun` is "" */
    const char *begun;        /* behind the user's last message */
    const char *end;          /* the token that ends an answer */
} chat_template;

#define LLAMA3(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define CHATML(role) "<|im_start|>" role "\n"
#define CHATML_TEXTS {CHATML("system"), "<|im_end|>\n"}, {CHATML("user"), "<|im_end|>\n"}, {CHATML("assistant"), "<|im_end|>\n"}, CHATML("assistant"), "<|im_end|>"
#define QWEN "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define LLAMA3_TEXTS {LLAMA3("user"), "<|eot_id|>"}, {LLAMA3("assistant"), "<|eot_id|>"}, LLAMA3("assistant"), "<|eot_id|>"
#define CUTTING "Cutting Knowledge Date: December 2023\n"

static const chat_template templates[] = {
    {"qwen2.5", {"<|im_start|>", QWEN}, "", QWEN, ALONE, TRIM_NONE, CHATML_TEXTS},
    {"qwen2", {"<|im_start|>", "You are a helpful assistant"}, "", "You are a helpful assistant.", ALONE, TRIM_NONE, CHATML_TEXTS},
    {"qwen3", {"<|im_start|>", "</think>"}, "", NULL, ALONE, TRIM_THOUGHTS, CHATML_TEXTS},
    {"smollm2", {"<|im_start|>", "trained by Hugging Face<|im_end|>"}, "", "You are a helpful AI assistant named SmolLM, trained by Hugging Face", ALONE,
     TRIM_NONE, CHATML_TEXTS},
    {"chatml", {"<|im_start|>", "<|im_end|>"}, "", NULL, ALONE, TRIM_NONE, CHATML_TEXTS},
    {"llama3.1", {"<|start_header_id|>", "Cutting Knowledge Date"}, "<|begin_of_text|>", "", ALONE, TRIM_ALL,
     {LLAMA3("system") CUTTING "Today Date: 26 Jul 2024\n\n", "<|eot_id|>"}, LLAMA3_TEXTS},
    {"llama3", {"<|start_header_id|>", "<|eot_id|>"}, "<|begin_of_text|>", NULL, ALONE, TRIM_ALL, {LLAMA3("system"), "<|eot_id|>"}, LLAMA3_TEXTS},
    {"llama2", {"[INST]", "<<SYS>>"}, "", NULL, IN_FIRST, TRIM_ALL, {"<<SYS>>\n", "\n<</SYS>>\n\n"}, {"<s>[INST] ", " [/INST]"}, {" ", " </s>"}, "", "</s>"},
    {"mistral-v7", {"[INST]", "'[SYSTEM_PROMPT] '"}, "<s>", NULL, ALONE, TRIM_NONE, {"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"}, {"[INST] ", "[/INST]"},
     {" ", "</s>"}, "", "</s>"},
    {"mistral-v7-tekken", {"[INST]", "[SYSTEM_PROMPT]"}, "<s>", NULL, ALONE, TRIM_NONE, {"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"}, {"[INST]", "[/INST]"},
     {"", "</s>"}, "", "</s>"},
    {"mistral-v1", {"' [INST] '", "[/INST]"}, "<s>", NULL, IN_FIRST, TRIM_NONE, {"", "\n\n"}, {" [INST] ", " [/INST]"}, {" ", "</s>"}, "", "</s>"},
    {"mistral-v3-tekken", {"\"[INST]\"", "[AVAILABLE_TOOLS]"}, "<s>", NULL, IN_LAST, TRIM_NONE, {"", "\n\n"}, {"[INST]", "[/INST]"}, {"", "</s>"}, "", "</s>"},
    {"mistral-v3", {"[INST]", "[AVAILABLE_TOOLS]"}, "<s>", NULL, IN_LAST, TRIM_ANSWERS, {"", "\n\n"}, {"[INST] ", "[/INST]"}, {" ", "</s>"}, "", "</s>"},
    {"mistral", {"'[INST] '", "' [/INST]'"}, "<s>", NULL, IN_FIRST, TRIM_NONE, {"", "\n\n"}, {"[INST] ", " [/INST]"}, {"", "</s>"}, "", "</s>"},
};

static const chat_template *template_of(const char *op, const char *name)
{
    for (int i = 0; i < TN_COUNT(templates) && !tn_failing() && name; i++)
        if (strcmp(templates[i].name, name) == 0)
            return &templates[i];
    return tn_fail(TN_ERR_ARGUMENT, "%s: no chat template is called \"%s\"", op, name ? name : "NULL");
}

const char *tn_chat_template_name(int64_t i) { return i >= 0 && i < TN_COUNT(templates) ? templates[i].name : NULL; }

const char *tn_chat_template_named_by(const char *jinja)
{
    for (int i = 0; i < TN_COUNT(templates) && jinja; i++)
        if (strstr(jinja, templates[i].marks[0]) && strstr(jinja, templates[i].marks[1]))
            return templates[i].name;
    return NULL;
}

const char *tn_chat_end(const char *name)
{
    const chat_template *t = template_of("chat_end", name);
    return t ? t->end : NULL;
}

/* ---- a model's own -------------------------------------------------------------------------------------------------------- */

static char *copied(const char *text, size_t *size)
{
    *size = strlen(text) + 1;
    char *copy = tn_alloc(*size);
    return copy ? memcpy(copy, text, *size) : NULL;
}

#ifdef TENON_HAVE_CJSON
/* "chat_template": a text, or [{"name": "default", "template": a text}, ...]; NULL, with an error or, where there is none, without one. */
static char *of_config(const char *op, const char *path, const char *text, size_t *size)
{
    TN_C_NUMBERS;
    cJSON *json = cJSON_ParseWithLength(text, *size);
    const cJSON *jinja = cJSON_GetObjectItemCaseSensitive(json, "chat_template"), *one;
    for (one = cJSON_IsArray(jinja) ? jinja->child : NULL; one; one = one->next) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(one, "name");
        if (cJSON_IsString(name) && strcmp(name->valuestring, "default") == 0) {
            jinja = cJSON_GetObjectItemCaseSensitive(one, "template");
            break;
        }
    }
    char *found = NULL;
    if (!json)
        tn_fail(TN_ERR_FORMAT, "%s: %s: no JSON", op, path);
    else if (cJSON_IsString(jinja))
        found = copied(jinja->valuestring, size);
    cJSON_Delete(json);
    return found;
}
#else
static char *of_config(const char *op, const char *path, const char *text, size_t *size)
{
    (void)text, (void)size;
    return tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: this build has no cJSON to read it with", op, path);
}
#endif

char *tn_model_jinja(const char *op, const char *path, char file[TN_PATH_SIZE], size_t *size)
{
    char folder[TN_PATH_SIZE];
    TN_SCOPE;
    if (!tn_model_folder(op, path, folder))
        return NULL;
    const tn_gguf *gguf = tn_model_gguf(op, path);
    const char *own = gguf ? tn_gguf_string(gguf, "tokenizer.chat_template", NULL) : NULL;
    snprintf(file, TN_PATH_SIZE, "%s", path);
    if (own || tn_failing())
        return tn_failing() ? NULL : copied(own, size);
    const bool alone = tn_model_beside(folder, "chat_template.jinja", file);
    char *text = alone || tn_model_beside(folder, "tokenizer_config.json", file) ? tn_model_text(op, file, size) : NULL;
    if (!text || alone) {
        *size += text != NULL; /* the closing 0 */
        return text;
    }
    const size_t whole = *size + 1;
    char *jinja = of_config(op, file, text, size);
    tn_free(text, whole);
    return jinja;
}

const char *tn_chat_template_of(const char *path)
{
    static const char op[] = "chat_template_of";
    char file[TN_PATH_SIZE];
    size_t size = 0;
    char *jinja = tn_model_jinja(op, path, file, &size);
    const char *name = jinja ? tn_chat_template_named_by(jinja) : NULL;
    if (!jinja && !tn_failing())
        tn_fail(TN_ERR_IO, "%s: %s: no chat template: none in chat_template.jinja, tokenizer_config.json or a GGUF file", op, path);
    else if (!name && !tn_failing())
        tn_fail(TN_ERR_UNSUPPORTED, "%s: %s: its chat template is none of those that Tenon has", op, file);
    tn_free(jinja, size);
    return name;
}

/* ---- a conversation as text ----------------------------------------------------------------------------------------------- */

typedef struct writing {
    char *text;
    size_t size, length; /* of the room; of what would be there */
} writing;

static void put(writing *w, const char *s, size_t length)
{
    if (w->length < w->size)
        memcpy(w->text + w->length, s, length < w->size - w->length ? length : w->size - w->length);
    w->length += length;
}
static void put_all(writing *w, const char *s) { put(w, s, strlen(s)); }

/* Python's isspace() of the character at s; how many bytes it has, 0 where it is none. */
static size_t space(const char *s, size_t length)
{
    int taken = 0;
    const int32_t point = length ? tn_utf8_next(s, (int64_t)length, &taken) : -1;
    return tn_white_space(point) || (point >= 0x1C && point <= 0x1F) ? (size_t)taken : 0;
}

/* Python's strip(), of both ends or the right one alone. */
static void put_trimmed(writing *w, const char *s, bool left, bool right)
{
    size_t length = strlen(s), end = 0; /* end: behind the last character that is no white space */
    for (size_t n; left && (n = space(s, length)); length -= n)
        s += n;
    for (size_t at = 0, n; right && at < length; at += n) {
        if (!(n = space(s + at, length - at)))
            end = at + (n = 1);
    }
    put(w, s, right ? end : length);
}

/* What an answer has behind its thoughts. */
static const char *behind_thoughts(const char *s)
{
    for (const char *mark; (mark = strstr(s, "</think>"));) {
        s = mark + strlen("</think>");
        s += strspn(s, "\n");
    }
    return s;
}

static bool is_role(const tn_chat_message *m, const char *role) { return m->role && m->content && strcmp(m->role, role) == 0; }

/* [system], user, assistant, user, ... up to a user; an answer before `read`. */
static bool in_order(const tn_chat_message *m, int64_t count, int64_t read)
{
    const int64_t first = m && count > 0 && is_role(&m[0], "system");
    bool good = m && count > first && (count - first) % 2 == 1 && (read == 0 || (read > first && read < count && (read - first) % 2 == 0));
    for (int64_t i = first; good && i < count; i++)
        good = is_role(&m[i], (i - first) % 2 ? "assistant" : "user");
    if (!good)
        tn_fail(TN_ERR_ARGUMENT, "chat_text: messages go system (or not), user, assistant, user, ... to a user's, and those that were read to an assistant's");
    return good;
}

size_t tn_chat_text(const char *name, const tn_chat_message *messages, int64_t count, int64_t read, char *text, size_t size)
{
    const chat_template *t = template_of("chat_text", name);
    if (!t || !in_order(messages, count, read))
        return 0;
    writing w = {text, text ? size : 0, 0};
    const bool given = is_role(&messages[0], "system"), all = t->trim == TRIM_ALL;
    const char *system = given ? messages[0].content : t->system;
    put_all(&w, read ? t->of_answer[1] : t->bos);
    if (read == 0 && system && t->place == ALONE) {
        put_all(&w, t->of_system[0]);
        put_trimmed(&w, system, all, all);
        put_all(&w, t->of_system[1]);
    }
    for (int64_t i = read ? read : given; i < count; i++) {
        const bool user = is_role(&messages[i], "user"), inside = system && i == (t->place == IN_FIRST ? given : t->place == IN_LAST ? count - 1 : -1);
        put_all(&w, user ? t->of_user[0] : t->of_answer[0]);
        if (inside) {
            put_all(&w, t->of_system[0]);
            put_all(&w, system);
            put_all(&w, t->of_system[1]);
        }
        const char *content = !user && t->trim == TRIM_THOUGHTS ? behind_thoughts(messages[i].content) : messages[i].content;
        const bool trimmed = all || (!user && t->trim == TRIM_ANSWERS);
        put_trimmed(&w, content, trimmed && !inside, trimmed);
        put_all(&w, user ? t->of_user[1] : t->of_answer[1]);
    }
    put_all(&w, t->begun);
    if (w.size)
        w.text[w.length < w.size ? w.length : w.size - 1] = 0;
    return w.length;
}
