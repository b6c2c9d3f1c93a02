/* Checkpoints: bytes that begin as a safetensors file are one, and others are changes to the state that each part of a run gets back: an
 * optimiser of each method, a schedule of each law, a module, averages, a loader and the random state. What took it is used then. */
#include "fuzz.h"

#include <string.h>

typedef struct run {
    tn_module *net;
    tn_optim *optim;
    tn_schedule *schedule;
    tn_ema *ema;
    tn_loader *loader;
} run;

enum { METHODS = 11, LAWS = 14 };

static tn_optim *optim_new(int method, const tn_list *matrices)
{
    switch (method) {
    case 0: return tn_adam_new(matrices, 0.1);
    case 1: return tn_sgd_new(matrices, 0.1, .momentum = 0.9);
    case 2: return tn_adamw_new(matrices, 0.1, .amsgrad = true);
    case 3: return tn_nadam_new(matrices, 0.1);
    case 4: return tn_radam_new(matrices, 0.1);
    case 5: return tn_adamax_new(matrices, 0.1);
    case 6: return tn_adagrad_new(matrices, 0.1);
    case 7: return tn_adadelta_new(matrices, 0.1);
    case 8: return tn_rmsprop_new(matrices, 0.1, .momentum = 0.9, .centered = true);
    case 9: return tn_lion_new(matrices, 0.1);
    default: return tn_muon_new(matrices, 0.1);
    }
}

static double half(int64_t epoch, int group, void *context)
{
    (void)epoch, (void)group, (void)context;
    return 0.5;
}

static tn_schedule *schedule_new(int law, tn_optim *o)
{
    switch (law) {
    case 0: return tn_step_lr_new(o, 2);
    case 1: return tn_multi_step_lr_new(o, (int64_t[]){1, 3}, 2);
    case 2: return tn_exponential_lr_new(o, 0.9);
    case 3: return tn_constant_lr_new(o);
    case 4: return tn_linear_lr_new(o);
    case 5: return tn_polynomial_lr_new(o);
    case 6: return tn_cosine_annealing_lr_new(o, 5);
    case 7: return tn_cosine_annealing_warm_restarts_new(o, 2, .T_mult = 2);
    case 8: return tn_one_cycle_lr_new(o, 0.1, 8, .cycle_momentum = false);
    case 9: return tn_cyclic_lr_new(o, 0.1, 0.2, .step_size_up = 2, .cycle_momentum = false);
    case 10: return tn_reduce_lr_on_plateau_new(o);
    case 11: return tn_lambda_lr_new(o, half, NULL);
    case 12: return tn_sequential_lr_new(o, (tn_schedule *[]){tn_linear_lr_new(o), tn_exponential_lr_new(o, 0.9)}, 2, (int64_t[]){2});
    default: return tn_chained_lr_new(o, (tn_schedule *[]){tn_constant_lr_new(o), tn_step_lr_new(o, 3)}, 2);
    }
}

/* All are the scope's. */
static run run_new(int method, int law)
{
    tn_manual_seed(1);
    run r = {.net = tn_adopt(tn_sequential_new(tn_linear_new(1, 2, .bias = false), tn_batch_norm1d_new(2), tn_linear_new(2, 1, .bias = false)))};
    tn_list *matrices = TN_LIST(tn_parameter(r.net, "0.weight"), tn_parameter(r.net, "2.weight"));
    r.optim = tn_adopt(optim_new(method, matrices));
    r.schedule = tn_adopt(schedule_new(law, r.optim));
    r.ema = tn_adopt(tn_ema_new(tn_parameters(r.net), 0.5));
    r.loader = tn_adopt(tn_loader_new(tn_tensor_dataset_new(tn_arange(0, 6), NULL), .batch_size = 4, .shuffle = true, .seed = 1));
    return r;
}

/* Two steps; a state may be one that no training stands, but never one that ends the program. */
static void train(run *r)
{
    int turns = 0;
    TN_FOREACH_BATCH(batch, r->loader) {
        tn_tensor *x = tn_unsqueeze(tn_cast(batch->x, TN_F32), 1);
        tn_zero_grad(r->optim);
        (void)!tn_backward(tn_mean(tn_mul(tn_call(r->net, x), tn_randn_like(x))));
        (void)!tn_step(r->optim);
        (void)!tn_ema_update(r->ema);
        (void)!tn_schedule_step_metric(r->schedule, 1);
        if (++turns == 2)
            break;
    }
    tn_clear_error();
    look_at(tn_get_loader_state(r->loader));
    look_at_all(tn_optim_state_dict(r->optim));
    look_at_all(tn_schedule_state_dict(r->schedule));
    tn_clear_error();
}

/* ---- changes ------------------------------------------------------------------------------------------------------------ */

static struct {
    const uint8_t *data; /* NULL: the file is the checkpoint */
    size_t size;
} changes;

typedef struct change { /* as it stands in the input */
    uint8_t part, entry, kind, dtype, shape, value[8];
} change;

/* A tensor of the change's dtype and shape, or of x's, full of its value's bytes. */
static tn_tensor *changed(const change *c, const tn_tensor *x)
{
    tn_shape shape = {.ndim = c->shape & 3, .sizes = {c->shape >> 2 & 3, c->shape >> 4 & 3, c->shape >> 6 & 3}};
    bool same = c->kind % 4 != 3;
    tn_tensor *y = tn_zeros(same ? tn_shape_of(x) : shape, .dtype = same ? tn_dtype_of(x) : (tn_dtype)(c->dtype % TN_DTYPE_COUNT));
    uint8_t *bytes = y ? tn_data_mut(y) : NULL;
    size_t size = y ? (size_t)tn_numel(y) * tn_dtype_size(tn_dtype_of(y)) : 0;
    for (size_t i = 0; i < size; i++)
        bytes[i] = tn_dtype_of(y) == TN_BOOL ? c->value[0] & 1 : c->value[i % sizeof c->value];
    return y;
}

/* What part number `part` is given instead of its own state: an entry left out, given twice under another name, or of other values. */
static const tn_dict *with_changes(int part, const tn_dict *own)
{
    tn_dict *dict = tn_adopt(tn_dict_new());
    for (int64_t i = 0; i < tn_dict_count(own); i++) {
        const char *name = tn_dict_name(own, i);
        tn_tensor *x = tn_dict_tensor(own, i);
        for (size_t at = 0; x && at + sizeof(change) <= changes.size; at += sizeof(change)) {
            change c;
            memcpy(&c, changes.data + at, sizeof c);
            if (c.part % 6 != part || c.entry % tn_dict_count(own) != i)
                continue;
            if (c.kind % 4 == 1)
                (void)!tn_dict_set(dict, (char[]){(char)('0' + c.value[0] % 10), 0}, x);
            x = c.kind % 4 == 0 ? NULL : c.kind % 4 == 1 ? x : changed(&c, x);
        }
        if (x)
            (void)!tn_dict_set(dict, name, x);
    }
    return dict;
}

static const tn_tensor *first_of(const tn_dict *dict) { return tn_dict_count(dict) ? tn_dict_tensor(dict, 0) : NULL; }

static const tn_dict *dict_of(tn_tensor *x)
{
    tn_dict *dict = tn_adopt(tn_dict_new());
    (void)!tn_dict_set(dict, "0", x);
    return dict;
}

static void load_changed(run *r)
{
    (void)!tn_load_state_dict(r->net, with_changes(0, tn_state_dict(r->net)));
    tn_clear_error();
    (void)!tn_load_optim_state(r->optim, with_changes(1, tn_optim_state_dict(r->optim)));
    tn_clear_error();
    (void)!tn_load_schedule_state(r->schedule, with_changes(2, tn_schedule_state_dict(r->schedule)));
    tn_clear_error();
    (void)!tn_load_ema_state(r->ema, with_changes(3, tn_ema_state_dict(r->ema)));
    tn_clear_error();
    (void)!tn_set_loader_state(r->loader, first_of(with_changes(4, dict_of(tn_get_loader_state(r->loader)))));
    tn_clear_error();
    (void)!tn_set_rng_state(first_of(with_changes(5, dict_of(tn_get_rng_state()))));
    tn_clear_error();
}

static void read_back(const char *path)
{
    int method = changes.data ? changes.data[0] % METHODS : 0, law = changes.data ? changes.data[1] % LAWS : 0;
    run r = run_new(method, law);
    train(&r);
    if (changes.data) {
        changes.data += 2;
        changes.size -= 2;
        load_changed(&r);
    } else {
        (void)!tn_load_checkpoint(path, .module = r.net, .optim = r.optim, .schedule = r.schedule, .ema = r.ema, .loader = r.loader);
        tn_clear_error();
    }
    train(&r);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[4096];
    TN_SCOPE;
    run r = run_new(0, 0);
    train(&r);
    snprintf(path, sizeof path, "%s/file", (*argv)[*argc - 1]);
    (void)!tn_save_checkpoint(path, .module = r.net, .optim = r.optim, .schedule = r.schedule, .ema = r.ema, .loader = r.loader);
    tn_clear_error();
    for (int i = 0; i < METHODS || i < LAWS; i++) {
        uint8_t bytes[2 + 2 * sizeof(change)] = {(uint8_t)i, (uint8_t)i};
        const change both[] = {{.part = 1, .entry = (uint8_t)i, .kind = 2, .value = {[6] = 0xf0, [7] = 0x3f}}, /* 1.0 */
                               {.part = 2, .entry = (uint8_t)i, .kind = 2, .value = {4}}};
        memcpy(bytes + 2, both, sizeof both);
        snprintf(path, sizeof path, "changes%d", i);
        put_seed(*argv, *argc, path, bytes, sizeof bytes);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 9)
        return -1;
    bool file = data[8] == '{';
    changes.data = file ? NULL : data;
    changes.size = file ? 0 : size;
    try_bytes(data, file ? size : 0);
    return 0;
}
