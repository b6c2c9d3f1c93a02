/* tenon finetune: trains a language model on a text, all of it, some of its parameters, or LoRA's parts beside them. */
#include "command.h"

#include <argp.h>

typedef struct tuning {
    const char *model, *tokenizer, *data, *trainable, *targets, *save;
    int64_t steps, batch_size, context, rank, seed;
    double lr, alpha;
} tuning;

/* ---- options --------------------------------------------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
    {"model", 'm', "PATH", 0, "The model: a GGUF, llama2.c, safetensors or npz file, or a folder of transformers", 0},
    {"tokenizer", 'k', "FILE", 0, "Its tokenizer, where it is not in the model's file or beside it", 0},
    {"data", 'd', "FILE", 0, "The text; its last tenth is held back", 0},
    {"steps", 'n', "N", 0, "Steps of training (200)", 0},
    {"lr", 'r', "RATE", 0, "The learning rate (0.001)", 0},
    {"batch-size", 'b', "N", 0, "Windows in a step (8)", 0},
    {"context", 'x', "N", 0, "Tokens in a window (128)", 0},
    {"trainable", 't', "PREFIX,...", 0, "Train parameters whose names begin so, \"lm_head,model.layers.5\"; else all", 1},
    {"lora-rank", 'R', "N", 0, "Train low-rank parts of N beside the weights, which stay as they are", 1},
    {"lora-alpha", 'A', "A", 0, "They count A / N (16)", 1},
    {"lora-targets", 'T', "NAME,...", 0, "The layers that get them (q_proj,v_proj)", 1},
    {"seed", 's', "N", 0, "Of whatever is random (1)", 2},
    {"save", 'w', "FILE", 0, "Write what was trained, without the rest of the model, as safetensors", 2},
    {0},
};

static double number_of(const char *text, double least, double most, bool whole, struct argp_state *state)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most) || (whole && value != (double)(int64_t)value))
        argp_error(state, "'%s' is no %snumber from %g to %g", text, whole ? "whole " : "", least, most);
    return value;
}

static error_t read_option(int key, char *text, struct argp_state *state)
{
    tuning *t = state->input;
    switch (key) {
    case 'm': t->model = text; return 0;
    case 'k': t->tokenizer = text; return 0;
    case 'd': t->data = text; return 0;
    case 'n': t->steps = (int64_t)number_of(text, 1, 1e9, true, state); return 0;
    case 'r': t->lr = number_of(text, 1e-12, 1e3, false, state); return 0;
    case 'b': t->batch_size = (int64_t)number_of(text, 1, 1e6, true, state); return 0;
    case 'x': t->context = (int64_t)number_of(text, 1, 1e6, true, state); return 0;
    case 't': t->trainable = text; return 0;
    case 'R': t->rank = (int64_t)number_of(text, 1, 1e6, true, state); return 0;
    case 'A': t->alpha = number_of(text, -1e6, 1e6, false, state); return 0;
    case 'T': t->targets = text; return 0;
    case 's': t->seed = (int64_t)number_of(text, 0, 9e15, true, state); return 0;
    case 'w': t->save = text; return 0;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is no option", text); return 0;
    case ARGP_KEY_END:
        if (!t->model || !t->data)
            argp_error(state, "--model and --data must be given");
        if (t->trainable && t->rank)
            argp_error(state, "--trainable and --lora-rank: one of them");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ---- text ------------------------------------------------------------------------------------------------------------------ */

/* Its tokens [n]. */
static tn_tensor *tokens_of(const tuning *t, const tn_llama_args *config)
{
    const options o = {.model = t->model, .tokenizer = t->tokenizer};
    const tn_tokenizer *tokenizer = open_tokenizer(&o, config);
    int64_t bytes;
    char *text = tokenizer ? read_all(t->data, &bytes) : NULL;
    tn_tensor *ids = text ? tn_tokenizer_encode(tokenizer, text, bytes, .add_eos = 0) : NULL;
    free(text);
    if (ids && tn_numel(ids) < 10 * (t->context + 1))
        return tn_fail(TN_ERR_ARGUMENT, "%s has %lld tokens: for a --context of %lld there must be %lld", t->data, (long long)tn_numel(ids),
                       (long long)t->context, (long long)(10 * (t->context + 1)));
    return ids;
}

/* ---- training -------------------------------------------------------------------------------------------------------------- */

static bool begins(const char *name, const char *prefix, size_t length)
{
    return length && strncmp(name, prefix, length) == 0 && (!name[length] || name[length] == '.' || prefix[length - 1] == '.');
}

static void train_only(tn_module *llama, const char *prefixes)
{
    const tn_dict *all = tn_named_parameters(llama);
    tn_freeze(llama, true);
    for (size_t length; *prefixes; prefixes += length + (prefixes[length] == ',')) {
        bool found = false;
        length = strcspn(prefixes, ",");
        for (int64_t i = 0; i < tn_dict_count(all); i++)
            if (begins(tn_dict_name(all, i), prefixes, length)) {
                tn_check(tn_set_requires_grad(tn_dict_tensor(all, i), true));
                found = true;
            }
        if (!found)
            tn_fail(TN_ERR_ARGUMENT, "--trainable: the model has no parameter whose name begins with \"%.*s\"%s", (int)length, prefixes,
                    tn_llama_config(llama)->tie_word_embeddings ? " (its head is model.embed_tokens)" : "");
    }
}

static int64_t count_trained(tn_module *llama)
{
    const tn_list *all = tn_parameters(llama);
    int64_t count = 0;
    for (int64_t i = 0; i < tn_list_count(all); i++)
        count += tn_requires_grad(tn_list_at(all, i)) ? tn_numel(tn_list_at(all, i)) : 0;
    return count;
}

/* Of saying the next tokens of windows that begin at starts [n, 1]. */
static tn_tensor *loss_of(tn_module *llama, tn_tensor *text, tn_tensor *starts, int64_t context)
{
    tn_tensor *windows = tn_index(text, tn_add(starts, tn_arange(0, context + 1)));  /* [n, context + 1] */
    tn_tensor *logits = tn_call(llama, tn_narrow(windows, 1, 0, context));           /* [n, context, vocab] */
    return tn_cross_entropy(tn_flatten(logits, 0, 1), tn_flatten(tn_narrow(windows, 1, 1, context), 0, 1));
}

/* The mean over the held-back text, at most its first 64 windows. */
static double held_back_loss(tn_module *llama, tn_tensor *text, const tuning *t)
{
    TN_NO_GRAD;
    const int64_t all = (tn_numel(text) - 1) / t->context, n = all < 64 ? all : 64;
    double sum = 0;
    for (int64_t first = 0; first < n && tn_last_status() == TN_OK; first += t->batch_size) {
        TN_SCOPE;
        const int64_t last = first + t->batch_size < n ? first + t->batch_size : n;
        tn_tensor *starts = tn_unsqueeze(tn_mul(tn_arange(first, last), t->context), 1);
        sum += tn_item(loss_of(llama, text, starts, t->context)) * (double)(last - first);
    }
    return sum / (double)n;
}

static void train(tn_module *llama, tn_tensor *text, const tuning *t)
{
    tn_optim *opt = tn_adopt(tn_adamw_new(tn_parameters(llama), t->lr));
    tn_progress_bar *bar = tn_progress_new(t->steps, stderr);
    for (int64_t step = 0; step < t->steps && tn_last_status() == TN_OK; step++) {
        TN_SCOPE;
        tn_tensor *starts = tn_randint(TN_SHAPE(t->batch_size, 1), 0, (double)(tn_numel(text) - t->context));
        tn_tensor *loss = loss_of(llama, text, starts, t->context);
        tn_zero_grad(opt);
        tn_check(tn_backward(loss));
        tn_clip_grad_norm(tn_parameters(llama), 1);
        tn_check(tn_step(opt));
        tn_progress(bar, "loss %.4f", tn_item(loss));
    }
    tn_release(bar);
}

static void tune(const tuning *t)
{
    tn_module *llama = tn_adopt(tn_llama_load(t->model));
    tn_tensor *ids = llama ? tokens_of(t, tn_llama_config(llama)) : NULL;
    const int64_t count = ids ? tn_numel(ids) * 9 / 10 : 0;
    if (llama && t->rank)
        tn_check(tn_add_lora(llama, .rank = t->rank, .alpha = t->alpha, .targets = t->targets));
    else if (llama && t->trainable)
        train_only(llama, t->trainable);
    if (!ids || tn_last_status() != TN_OK)
        return;
    tn_tensor *text = tn_narrow(ids, 0, 0, count), *held_back = tn_narrow(ids, 0, count, tn_numel(ids) - count);
    const double before = held_back_loss(llama, held_back, t);
    if (tn_last_status() == TN_OK)
        printf("%lld of %lld parameters train, on %lld tokens; %lld are held back: loss %.4f\n", (long long)count_trained(llama),
               (long long)tn_num_parameters(llama), (long long)count, (long long)tn_numel(held_back), before);
    fflush(stdout);
    train(llama, text, t);
    const double after = held_back_loss(llama, held_back, t);
    if (tn_last_status() == TN_OK)
        printf("after %lld steps: loss %.4f\n", (long long)t->steps, after);
    if (tn_last_status() == TN_OK && t->save)
        tn_check(tn_llama_save_tuned(llama, t->save, .model = t->model));
}

int finetune_main(int argc, char **argv)
{
    tuning t = {.steps = 200, .lr = 1e-3, .batch_size = 8, .context = 128, .alpha = 16, .targets = "q_proj,v_proj", .seed = 1};
    const struct argp argp = {argp_options, read_option, NULL,
                              "Trains a language model on a text, and writes the loss on a part held back before and after.\v"
                              "Example: tenon finetune --model stories15M.bin --data poems.txt --lora-rank 8 --save poet.safetensors",
                              NULL, NULL, NULL};
    TN_SCOPE;
    argp_parse(&argp, argc, argv, 0, NULL, &t);
    tn_manual_seed((uint64_t)t.seed);
    tune(&t);
    return done();
}
