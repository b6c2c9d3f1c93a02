/* What fine-tuning changed in a Llama: to a file, back into the model, and listed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "models/weights.h"
#include "nn/linear.h"

/* Length of a name without ".lora_A" or ".lora_B", which part is; 0 of any other name. */
static size_t layer_length(const char *name, const char *part)
{
    const size_t length = strlen(name), tail = strlen(part);
    return length > tail && strcmp(name + length - tail, part) == 0 ? length - tail : 0;
}

static bool is_lora(const char *name) { return layer_length(name, ".lora_A") || layer_length(name, ".lora_B"); }

/* What tells models of different sizes apart, for people to read: "vocab_size=512, ..., layers=5". */
static void sizes_text(tn_module *llama, char *text, size_t size)
{
    tn_text_out out = {text, size, 0};
    out.length = llama->type->describe(llama, text, size);
    tn_put(&out, ", layers=%lld", (long long)tn_llama_config(llama)->num_hidden_layers);
}

/* ---- which model it was ---------------------------------------------------------------------------------------------------- */

enum { SUMS = 32 };

/* Sums of what tuning left as it was, each element of the matrices in one, with signs by turns that look random: two models' differ about as much, for
 * their length, as the models do, whatever file or type they come from. (Vectors are left out: norms' are near 1 in every model. So is what is not
 * finite.) False: all sums are 0, as where there is no such matrix. */
static bool sum_untuned(const tn_dict *all, const tn_dict *tuned, double sums[SUMS])
{
    uint64_t turn = 0;
    double length = 0;
    memset(sums, 0, SUMS * sizeof *sums);
    for (int64_t i = 0; !tn_failing() && i < tn_dict_count(all); i++) {
        const char *name = tn_dict_name(all, i);
        const tn_tensor *x = tn_dict_tensor(all, i);
        if (x->ndim < 2 || is_lora(name) || tn_dict_find(tuned, name) >= 0)
            continue;
        float *data = tn_alloc((size_t)x->numel * sizeof *data);
        if (data && tn_to_floats(x, data, x->numel) == TN_OK)
            for (int64_t at = 0; at < x->numel; at += SUMS, turn++) {
                const uint64_t mixed = turn * 0x9e3779b97f4a7c15u;
                const double sign = ((mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9u) >> 63 ? -1 : 1;
                const int64_t n = x->numel - at < SUMS ? x->numel - at : SUMS;
                for (int64_t j = 0; j < n; j++)
                    sums[j] += isfinite(data[at + j]) ? sign * (double)data[at + j] : 0;
            }
        tn_free(data, (size_t)x->numel * sizeof *data);
    }
    for (int j = 0; j < SUMS; j++)
        length += sums[j] * sums[j];
    return length > 0;
}

static bool note_base(tn_dict *tuned, const tn_dict *all)
{
    double sums[SUMS];
    char text[SUMS * 16] = "";
    tn_text_out out = {text, sizeof text, 0};
    if (!sum_untuned(all, tuned, sums))
        return !tn_failing();
    for (int j = 0; j < SUMS; j++)
        tn_put(&out, "%s%.6g", j ? " " : "", sums[j]);
    return tn_dict_set_note(tuned, TN_TUNED_BASE, text) == TN_OK;
}

/* Whether the file, if it tells, was tuned from this model. Quantised to 2 bits one is still itself, at half its length. */
static bool is_base(const tn_dict *all, const tn_dict *tuned)
{
    const char *text = tn_dict_note(tuned, TN_TUNED_BASE), *model = tn_dict_note(tuned, TN_TUNED_MODEL);
    double sums[SUMS], difference = 0, length = 0;
    char *end;
    if (!text)
        return true;
    sum_untuned(all, tuned, sums);
    for (int j = 0; j < SUMS; j++, text = end) {
        const double due = strtod(text, &end);
        if (end == text || !isfinite(due))
            return tn_fail(TN_ERR_FORMAT, "the note \"%s\" has not %d numbers", TN_TUNED_BASE, SUMS), false;
        difference += (sums[j] - due) * (sums[j] - due);
        length += due * due;
    }
    if (difference > 0.25 * length)
        tn_fail(TN_ERR_ARGUMENT, "the file was tuned from another model of the same sizes%s%s: what it leaves as it was differs by %.0f %%", model ? ", " : "",
                model ? model : "", 100 * sqrt(difference / length));
    return !tn_failing();
}

/* ---- out ------------------------------------------------------------------------------------------------------------------- */

typedef struct lora_notes {
    double alpha; /* of all layers */
    int64_t rank; /* of all layers; 0: they differ */
    int64_t count;
} lora_notes;

static bool visit_lora(tn_module *module, const char *path, int depth, void *context)
{
    (void)depth;
    lora_notes *notes = context;
    const linear *self = module->type == tn_linear_type ? (const linear *)(const void *)module : NULL;
    if (!self || !self->lora_A)
        return true;
    const int64_t rank = self->lora_A->sizes[0];
    const double alpha = self->lora_scale * (double)rank;
    if (notes->count++ == 0)
        *notes = (lora_notes){alpha, rank, 1};
    notes->rank = notes->rank == rank ? rank : 0;
    if (fabs(alpha - notes->alpha) > 1e-12 * fabs(alpha))
        tn_fail(TN_ERR_UNSUPPORTED, "llama_save_tuned: LoRA's alpha is %g in %s and %g in a layer before it: the file holds one", alpha, path, notes->alpha);
    return !tn_failing();
}

static bool note_number(tn_dict *dict, const char *key, double value)
{
    char text[32];
    tn_put(&(tn_text_out){text, sizeof text, 0}, "%.17g", value);
    return tn_dict_set_note(dict, key, text) == TN_OK;
}

static bool put_notes(tn_dict *dict, tn_module *llama, const char *model)
{
    char sizes[400];
    lora_notes notes = {0};
    sizes_text(llama, sizes, sizeof sizes);
    return tn_dict_set_note(dict, "format", "pt") == TN_OK && (!model || tn_dict_set_note(dict, TN_TUNED_MODEL, model) == TN_OK) &&
           tn_dict_set_note(dict, TN_TUNED_SIZES, sizes) == TN_OK && tn_visit_modules(llama, visit_lora, &notes) &&
           (!notes.count || note_number(dict, "lora_alpha", notes.alpha)) && (!notes.rank || note_number(dict, "lora_rank", (double)notes.rank));
}

tn_status tn_llama_save_tuned_with(const tn_llama_save_tuned_args *args)
{
    TN_KNOWN(tn_llama_save_tuned_args, args);
    TN_ERROR_ASIDE;
    TN_SCOPE;
    tn_dict *all = tn_llama_config(args->llama) ? tn_named_parameters(args->llama) : NULL, *tuned = all ? tn_adopt(tn_dict_new()) : NULL;
    for (int64_t i = 0; tuned && i < tn_dict_count(all); i++)
        if ((tn_requires_grad(tn_dict_tensor(all, i)) || is_lora(tn_dict_name(all, i))) &&
            tn_dict_set(tuned, tn_dict_name(all, i), tn_dict_tensor(all, i)) != TN_OK)
            return tn_last_status();
    if (tuned && tn_dict_count(tuned) == 0)
        tn_fail(TN_ERR_ARGUMENT, "llama_save_tuned: no parameter of the model requires a gradient: nothing was tuned");
    else if (tuned && put_notes(tuned, args->llama, args->model) && note_base(tuned, all))
        return tn_save_safetensors(tuned, args->path);
    return tn_last_status();
}

/* ---- in -------------------------------------------------------------------------------------------------------------------- */

/* The linear layer that a name's LoRA part belongs to, NULL with an error. */
static linear *layer_of(tn_module *llama, const char *name)
{
    char path[TN_KEY_SIZE];
    snprintf(path, sizeof path, "%.*s", (int)(strlen(name) - strlen(".lora_A")), name);
    tn_module *layer = tn_child(llama, path);
    if (layer && layer->type != tn_linear_type)
        return tn_fail(TN_ERR_ARGUMENT, "\"%s\": %s is no linear layer", name, layer->type->name);
    return (linear *)(void *)layer;
}

/* The other of a LoRA pair, A for B and B for A, is in the file too, and both fit the layer. */
static bool pair_fits(tn_module *llama, const tn_dict *dict, const char *name)
{
    const linear *layer = layer_of(llama, name);
    char pair[2][TN_KEY_SIZE];
    const tn_tensor *part[2];
    for (int i = 0; layer && i < 2; i++) {
        snprintf(pair[i], sizeof pair[i], "%.*s%c", (int)strlen(name) - 1, name, "AB"[i]);
        const int64_t at = tn_dict_find(dict, pair[i]);
        if (at < 0)
            return tn_fail(TN_ERR_FORMAT, "\"%s\" is there and \"%s\" is not", name, pair[i]), false;
        part[i] = tn_dict_tensor(dict, at);
    }
    if (!layer)
        return false;
    const int64_t in = layer->weight->sizes[1], out = layer->weight->sizes[0];
    const int64_t rank = layer->lora_A ? layer->lora_A->sizes[0] : part[0]->ndim == 2 ? part[0]->sizes[0] : 0;
    if (rank < 1 || !tn_shape_equal(tn_shape_of(part[0]), TN_SHAPE(rank, in)) || !tn_shape_equal(tn_shape_of(part[1]), TN_SHAPE(out, rank)))
        tn_fail(TN_ERR_SHAPE, "\"%s\" is %s and \"%s\" %s, for a weight of %s%s", pair[0], tn_text(part[0]), pair[1], tn_text(part[1]),
                tn_text(layer->weight), layer->lora_A ? " that has such parts of another rank" : "");
    return !tn_failing();
}

/* Everything that can be wrong with the file. *alpha: of its LoRA parts; unset where it has none. */
static bool file_fits(tn_module *llama, const tn_dict *dict, double *alpha)
{
    char sizes[400];
    const char *its_sizes = tn_dict_note(dict, TN_TUNED_SIZES), *its_alpha = tn_dict_note(dict, "lora_alpha");
    const tn_dict *all = tn_named_parameters(llama);
    TN_C_NUMBERS;
    if (!all)
        return false;
    sizes_text(llama, sizes, sizeof sizes);
    if (its_sizes && strcmp(its_sizes, sizes) != 0)
        tn_fail(TN_ERR_ARGUMENT, "the file is for a model with %s, and this one has %s", its_sizes, sizes);
    for (int64_t i = 0; !tn_failing() && i < tn_dict_count(dict); i++) {
        const char *name = tn_dict_name(dict, i);
        const tn_tensor *from = tn_dict_tensor(dict, i), *to;
        char *end;
        if (is_lora(name)) {
            *alpha = its_alpha ? strtod(its_alpha, &end) : NAN;
            if (!isfinite(*alpha) || *end)
                tn_fail(TN_ERR_FORMAT, "\"%s\" is there, and no note \"lora_alpha\" says how much it counts", name);
            else
                pair_fits(llama, dict, name);
        } else if (tn_dict_find(all, name) < 0)
            tn_fail(TN_ERR_ARGUMENT, "the model has no parameter \"%s\"", name);
        else if (!tn_same_shape(from, to = tn_dict_get(all, name)))
            tn_fail(TN_ERR_SHAPE, "\"%s\" is %s in the model and %s in the file", name, tn_text(to), tn_text(from));
    }
    return !tn_failing() && is_base(all, dict);
}

/* The layers that the file has LoRA parts for have them too, of this alpha. */
static bool add_parts(tn_module *llama, const tn_dict *dict, double alpha)
{
    tn_this.undrawn = true;
    for (int64_t i = 0; !tn_failing() && i < tn_dict_count(dict); i++) {
        if (!layer_length(tn_dict_name(dict, i), ".lora_A"))
            continue;
        linear *layer = layer_of(llama, tn_dict_name(dict, i));
        const tn_lora_args args = {.size = sizeof args, .module = layer, .rank = tn_dict_tensor(dict, i)->sizes[0], .alpha = alpha};
        if (layer && tn_add_lora_with(&args) == TN_OK)
            layer->lora_scale = alpha / (double)args.rank;
    }
    tn_this.undrawn = false;
    return !tn_failing();
}

tn_status tn_llama_load_tuned(void *llama, const char *path)
{
    TN_SCOPE;
    double alpha = 0;
    tn_dict *dict = tn_llama_config(llama) ? tn_load_safetensors(path) : NULL;
    if (dict && !file_fits(llama, dict, &alpha))
        tn_fail_within("llama_load_tuned: %s", path);
    if (!dict || tn_failing() || !add_parts(llama, dict, alpha) ||
        tn_load_state_dict_with(&(tn_load_args){.size = sizeof(tn_load_args), .module = llama, .dict = dict}) != TN_OK)
        return tn_last_status();
    const tn_dict *all = tn_named_parameters(llama);
    for (int64_t i = 0; i < tn_dict_count(all); i++)
        (void)tn_set_requires_grad(tn_dict_tensor(all, i), tn_dict_find(dict, tn_dict_name(all, i)) >= 0);
    return tn_last_status();
}

/* ---- what there is --------------------------------------------------------------------------------------------------------- */

size_t tn_tuned_inspect(const tn_dict *dict, const char *path, char *text, size_t size)
{
    static const char *const notes[] = {TN_TUNED_MODEL, TN_TUNED_SIZES, "lora_rank", "lora_alpha"};
    tn_text_out out = {text, text ? size : 0, 0};
    int64_t numbers = 0, bytes = 0;
    tn_put(&out, "%s: what fine-tuning changed\n", path);
    for (int i = 0; i < TN_COUNT(notes); i++)
        if (tn_dict_note(dict, notes[i])) {
            tn_put(&out, "%s ", notes[i]);
            tn_put_padded(&out, tn_dict_note(dict, notes[i]), 0);
            tn_put(&out, "\n");
        }
    for (int64_t i = 0; i < tn_dict_count(dict); i++) {
        const char *name = tn_dict_name(dict, i);
        const tn_tensor *x = tn_dict_tensor(dict, i);
        const size_t layer = layer_length(name, ".lora_A");
        tn_put_padded(&out, name, 48);
        tn_put(&out, " %-8s %-14s %12zu", tn_dtype_name((tn_dtype)x->dtype), tn_shape_text(tn_shape_of(x)), (size_t)x->numel * tn_item_size(x));
        if (layer && x->ndim == 2) {
            tn_put(&out, "  rank %lld beside ", (long long)x->sizes[0]);
            tn_put_abridged(&out, name, layer, layer);
            tn_put(&out, ".weight");
        }
        tn_put(&out, "\n");
        numbers += x->numel;
        bytes += x->numel * (int64_t)tn_item_size(x);
    }
    tn_put(&out, "%lld tensors, %lld numbers, %lld bytes\n", (long long)tn_dict_count(dict), (long long)numbers, (long long)bytes);
    return out.length;
}
