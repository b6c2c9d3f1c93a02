/* A module's tensors by name: to a dict and to a file, and back. */
#include <stdio.h>

#include <tenon/io.h>

#include "nn/module.h"

static bool is_saved(const tn_entry *entry) { return entry->kind == TN_KIND_PARAMETER || entry->kind == TN_KIND_BUFFER; }

/* ---- out ---------------------------------------------------------------------------------------------------------------- */

static bool put_into_dict(tn_module *owner, tn_entry *entry, const char *path, void *context)
{
    (void)owner;
    if (!is_saved(entry))
        return true;
    tn_tensor *plain = tn_alias_owned(tn_entry_tensor(entry));
    bool good = plain && tn_dict_set(context, path, plain) == TN_OK;
    tn_release(plain);
    return good;
}

tn_dict *tn_state_dict(void *pointer)
{
    TN_ERROR_ASIDE;
    tn_module *module = tn_module_of("state_dict", pointer);
    tn_dict *dict = module ? tn_adopt(tn_dict_new()) : NULL;
    return dict && tn_visit_tensors(module, put_into_dict, dict) ? dict : NULL;
}

/* ---- in ----------------------------------------------------------------------------------------------------------------- */

typedef struct loading {
    const tn_dict *dict;
    bool *used; /* [dict's count] */
    tn_text_out names;
    int64_t missing, unexpected;
} loading;

static void add_name(loading *l, const char *what, int64_t before, const char *name)
{
    if (before)
        tn_put(&l->names, ", %s", name);
    else
        tn_put(&l->names, "%s%s: %s", l->names.length ? "; " : "", what, name);
}

static bool check_entry(tn_module *owner, tn_entry *entry, const char *path, void *context)
{
    (void)owner;
    loading *l = context;
    if (!is_saved(entry))
        return true;
    int64_t at = tn_dict_find(l->dict, path);
    if (at < 0) {
        add_name(l, "missing", l->missing++, path);
        return true;
    }
    l->used[at] = true;
    const tn_tensor *x = tn_entry_tensor(entry), *from = tn_dict_tensor(l->dict, at);
    if (tn_same_shape(x, from))
        return true;
    tn_fail(TN_ERR_SHAPE, "load_state_dict: \"%s\" is %s in the module and %s in the dict", path, tn_text(x), tn_text(from));
    return false;
}

static bool write_entry(tn_module *owner, tn_entry *entry, const char *path, void *context)
{
    (void)owner;
    const loading *l = context;
    int64_t at = is_saved(entry) ? tn_dict_find(l->dict, path) : -1;
    return at < 0 || tn_overwrite(tn_entry_tensor(entry), tn_dict_tensor(l->dict, at)) == TN_OK;
}

static void load(tn_module *module, loading *l, bool strict)
{
    if (!tn_visit_tensors(module, check_entry, l))
        return;
    for (int64_t i = 0; i < tn_dict_count(l->dict); i++)
        if (!l->used[i])
            add_name(l, "unexpected", l->unexpected++, tn_dict_name(l->dict, i));
    if (strict && (l->missing || l->unexpected))
        tn_fail(TN_ERR_ARGUMENT, "load_state_dict: %s does not fit: %s (.strict = false loads what does)", module->type->name, l->names.text);
    else
        tn_visit_tensors(module, write_entry, l);
}

tn_status tn_load_state_dict_with(const tn_load_args *args)
{
    TN_KNOWN(tn_load_args, args);
    tn_module *module = tn_module_of("load_state_dict", args->module);
    if (!module)
        return tn_last_status();
    if (!args->dict) {
        tn_fail(TN_ERR_ARGUMENT, "load_state_dict: the dict is NULL");
        return TN_ERR_ARGUMENT;
    }
    char text[400] = "";
    bool report = args->report && args->report_size;
    loading l = {.dict = args->dict, .names = {report ? args->report : text, report ? args->report_size : sizeof text, 0}};
    l.names.text[0] = 0;
    size_t size = (size_t)tn_dict_count(args->dict);
    l.used = tn_alloc_zero(size ? size : 1);
    if (l.used)
        load(module, &l, args->strict);
    tn_free(l.used, size ? size : 1);
    return tn_last_status();
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

tn_status tn_save_module(void *module, const char *path)
{
    TN_SCOPE;
    const tn_dict *dict = tn_state_dict(module);
    return dict ? tn_save_safetensors(dict, path) : tn_last_status();
}

tn_status tn_load_module(void *module, const char *path)
{
    TN_SCOPE;
    tn_load_args args = {.size = sizeof args, .strict = true, .module = module, .dict = tn_load_safetensors(path)};
    if (args.dict && tn_load_state_dict_with(&args) != TN_OK)
        tn_fail_within("load_module: %s", path);
    return tn_last_status();
}
