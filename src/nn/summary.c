/* The table of a module's layers. */
#include <stdio.h>
#include <string.h>

#include "autograd/node.h"
#include "nn/module.h"

enum { LABEL_SIZE = 160, SHAPE_SIZE = 128 };

typedef struct row {
    tn_module *module;
    bool was_training, called;
    char label[LABEL_SIZE], shape[SHAPE_SIZE];
} row;

typedef struct table {
    row *rows;
    size_t bytes;
    int64_t count;
    bool filling; /* the rows are there: else they are only counted */
    tn_observer former; /* who looked before */
    void *former_context;
} table;

static bool add_row(tn_module *module, const char *path, int depth, void *context)
{
    table *t = context;
    if (t->filling) {
        row *r = &t->rows[t->count];
        const char *name = strrchr(path, '.');
        tn_text_out label = {r->label, sizeof r->label, 0};
        tn_put(&label, "%*s%s%s%s", 2 * depth, "", name ? name + 1 : path, *path ? " " : "", module->type->name);
        if (module->type->describe) {
            char arguments[LABEL_SIZE] = "";
            module->type->describe(module, arguments, sizeof arguments);
            tn_put(&label, "(%s)", arguments);
        }
        r->module = module;
        r->was_training = module->training;
    }
    t->count++;
    return true;
}

static void observe(tn_module *module, tn_tensor *const *out, int n_out, void *context)
{
    (void)n_out;
    table *t = context;
    for (int64_t i = 0; i < t->count; i++)
        if (t->rows[i].module == module && !t->rows[i].called) {
            t->rows[i].called = true;
            snprintf(t->rows[i].shape, SHAPE_SIZE, "%s", tn_text(out[0]));
        }
}

/* However the call ends: by an exception that the module's forward throws, too. */
static void end_run(table **running)
{
    const table *t = *running;
    for (int64_t i = t->count - 1; i >= 0; i--)
        t->rows[i].module->training = t->rows[i].was_training;
    tn_observer_now = t->former;
    tn_observer_context = t->former_context;
}

/* One call in evaluation mode, seen by observe(). */
static void run(tn_module *module, tn_tensor *x, table *t)
{
    TN_SCOPE;
    TN_NO_GRAD;
    TN_CLEANUP_(end_run) table *running = t;
    t->former = tn_observer_now;
    t->former_context = tn_observer_context;
    tn_observer_now = observe;
    tn_observer_context = t;
    tn_train(module, false);
    tn_call_array(module, &x, 1);
}

static void free_rows(table *t) { tn_free(t->rows, t->bytes); }

/* A module's own parameters; those that an earlier row counted are left out. */
static int64_t own_parameters(const tn_module *module, tn_seen *seen, int64_t *trainable)
{
    int64_t numel = 0;
    for (int i = 0; i < module->state->count; i++) {
        const tn_entry *entry = &module->state->entries[i];
        bool is_new = false;
        if (entry->kind != TN_KIND_PARAMETER || !tn_seen_slot_of(seen, entry->object, &is_new) || !is_new)
            continue;
        const tn_tensor *x = tn_entry_tensor(entry);
        numel += x->numel;
        *trainable += tn_has(x, TN_FLAG_REQUIRES_GRAD) ? x->numel : 0;
    }
    return numel;
}

static int widest(size_t column, const char *title, const table *t)
{
    size_t most = strlen(title);
    for (int64_t i = 0; i < t->count; i++) {
        size_t length = strlen((const char *)&t->rows[i] + column);
        most = length > most ? length : most;
    }
    return (int)most;
}

static void print_table(const table *t, tn_text_out *out)
{
    int labels = widest(offsetof(row, label), "Layer", t), shapes = widest(offsetof(row, shape), "Output shape", t);
    int64_t total = 0, trainable = 0;
    tn_seen seen = {0};
    tn_put(out, "%-*s  %-*s  %12s\n", labels, "Layer", shapes, "Output shape", "Parameters");
    for (int64_t i = 0; i < t->count; i++) {
        const row *r = &t->rows[i];
        int64_t numel = own_parameters(r->module, &seen, &trainable);
        total += numel;
        tn_put(out, "%-*s  %-*s  %12lld\n", labels, r->label, shapes, r->called ? r->shape : "-", (long long)numel);
    }
    tn_put(out, "Total: %lld parameters, %lld of them trainable\n", (long long)total, (long long)trainable);
    tn_seen_free(&seen);
}

size_t tn_format_summary(void *pointer, tn_tensor *x, char *text, size_t size)
{
    tn_module *module = tn_module_of("summary", pointer);
    size = text ? size : 0;
    if (size)
        text[0] = 0;
    if (!module || !tn_ready("summary", "x", x))
        return 0;
    TN_CLEANUP_(free_rows) table t = {0};
    tn_text_out out = {text, size, 0};
    tn_visit_modules(module, add_row, &t);
    t.bytes = (size_t)t.count * sizeof *t.rows;
    t.rows = tn_alloc_zero(t.bytes);
    if (t.rows) {
        t.count = 0;
        t.filling = true;
        tn_visit_modules(module, add_row, &t);
        run(module, x, &t);
        if (!tn_failing())
            print_table(&t, &out);
    }
    return tn_failing() ? 0 : out.length;
}

tn_status tn_summary(void *module, tn_tensor *x)
{
    size_t length = tn_format_summary(module, x, NULL, 0);
    char *text = length ? tn_alloc(length + 1) : NULL;
    if (text && tn_format_summary(module, x, text, length + 1))
        fputs(text, stdout);
    tn_free(text, length + 1);
    return tn_last_status();
}
