/* Checkpoints: the state dicts of a run's parts, each under its prefix, in one safetensors file. */
#include <stdio.h>
#include <string.h>

#include <tenon/checkpoint.h>
#include <tenon/nn.h>

#include "core/core.h"

enum { NAME_SIZE = 1024 };

/* Puts a tensor or a note. */
static void put(tn_dict *all, const char *prefix, const char *name, tn_tensor *x, const char *note)
{
    char full[NAME_SIZE];
    if (snprintf(full, sizeof full, "%s%s", prefix, name) >= NAME_SIZE)
        tn_fail(TN_ERR_ARGUMENT, "save_checkpoint: the name %s is longer than %d bytes", name, NAME_SIZE - 1);
    else if (x)
        (void)tn_dict_set(all, full, x);
    else if (note)
        (void)tn_dict_set_note(all, full, note);
}

static void put_all(tn_dict *all, const char *prefix, const tn_dict *part)
{
    for (int64_t i = 0; i < tn_dict_count(part); i++)
        put(all, prefix, tn_dict_name(part, i), tn_dict_tensor(part, i), NULL);
    for (int64_t i = 0; i < tn_dict_note_count(part); i++)
        put(all, prefix, tn_dict_note_key(part, i), NULL, tn_dict_note(part, tn_dict_note_key(part, i)));
}

/* What stands under a prefix, its names without it; NULL with an error where there is nothing. */
static tn_dict *part_of(const tn_dict *all, const char *prefix)
{
    tn_dict *part = tn_dict_part(all, prefix);
    if (part && !tn_failing() && tn_dict_count(part) + tn_dict_note_count(part) == 0)
        tn_fail(TN_ERR_ARGUMENT, "the checkpoint holds no \"%s\"", prefix);
    return tn_failing() ? NULL : part;
}

static bool arguments_fit(const char *op, const tn_checkpoint_args *a)
{
    if (!tn_failing() && !a->path)
        tn_fail(TN_ERR_ARGUMENT, "%s: path is NULL", op);
    return !tn_failing();
}

tn_status tn_save_checkpoint_with(const tn_checkpoint_args *args)
{
    TN_KNOWN(tn_checkpoint_args, args);
    if (!arguments_fit("save_checkpoint", args))
        return tn_last_status();
    TN_SCOPE;
    tn_dict *all = tn_adopt(tn_dict_new());
    put_all(all, "module.", args->module ? tn_state_dict(args->module) : NULL);
    put_all(all, "optim.", args->optim ? tn_optim_state_dict(args->optim) : NULL);
    put_all(all, "schedule.", args->schedule ? tn_schedule_state_dict(args->schedule) : NULL);
    put_all(all, "ema.", args->ema ? tn_ema_state_dict(args->ema) : NULL);
    put_all(all, "extra.", args->extra);
    if (args->loader)
        put(all, "loader", "", tn_get_loader_state(args->loader), NULL);
    put(all, "random", "", tn_get_rng_state(), NULL);
    return tn_failing() ? tn_last_status() : tn_save_safetensors(all, args->path);
}

static void load_module(void *module, const tn_dict *part)
{
    tn_load_args args = {.size = sizeof args, .strict = true, .module = module, .dict = part};
    if (part)
        (void)!tn_load_state_dict_with(&args);
}

static void load_parts(const tn_checkpoint_args *a, const tn_dict *all)
{
    const tn_dict *part;
    if (a->module)
        load_module(a->module, part_of(all, "module."));
    if (a->optim && (part = part_of(all, "optim.")))
        (void)!tn_load_optim_state(a->optim, part);
    if (a->schedule && (part = part_of(all, "schedule.")))
        (void)!tn_load_schedule_state(a->schedule, part);
    if (a->ema && (part = part_of(all, "ema.")))
        (void)!tn_load_ema_state(a->ema, part);
    if (a->loader && (part = part_of(all, "loader")))
        (void)!tn_set_loader_state(a->loader, tn_dict_get(part, ""));
    if (!tn_failing() && (part = part_of(all, "random")))
        (void)!tn_set_rng_state(tn_dict_get(part, ""));
    if (a->extra && (part = part_of(all, "extra.")))
        put_all(a->extra, "", part);
}

tn_status tn_load_checkpoint_with(const tn_checkpoint_args *args)
{
    TN_KNOWN(tn_checkpoint_args, args);
    if (!arguments_fit("load_checkpoint", args))
        return tn_last_status();
    TN_SCOPE;
    const tn_dict *all = tn_load_safetensors(args->path);
    if (all)
        load_parts(args, all);
    if (all && tn_failing())
        tn_fail_within("load_checkpoint: %s", args->path);
    return tn_last_status();
}
