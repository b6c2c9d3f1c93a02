/* tenon finetune: trains a language model on a text, all of it, some of its parameters, or LoRA's parts beside them. */
#include "command.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

/* The text's tokens [n]. */
static tn_tensor *tokens_of(const options *o, const tn_llama_args *config)
{
    const tn_tokenizer *tokenizer = open_tokenizer(o, config);
    int64_t bytes = 0;
    char *text = tokenizer ? read_all(o->data, &bytes) : NULL;
    tn_tensor *ids = text ? tn_tokenizer_encode(tokenizer, text, bytes, .add_eos = 0) : NULL;
    free(text);
    if (ids && tn_numel(ids) < 10 * (o->context + 1))
        return tn_fail(TN_ERR_ARGUMENT, "%s has %lld tokens: for a --context of %lld there must be %lld", o->data, (long long)tn_numel(ids),
                       (long long)o->context, (long long)(10 * (o->context + 1)));
    return ids;
}

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
        if (!found) {
            tn_fail(TN_ERR_ARGUMENT, "--trainable: the model has no parameter whose name begins with \"%.*s\"%s", (int)length, prefixes,
                    tn_llama_config(llama)->tie_word_embeddings ? " (its head is model.embed_tokens)" : "");
            return;
        }
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
    const tn_device_id on = tn_device_of(text);
    tn_tensor *windows = tn_index(text, tn_add(starts, tn_arange(0, context + 1, .device = &on)));  /* [n, context + 1] */
    tn_tensor *logits = tn_call(llama, tn_narrow(windows, 1, 0, context));           /* [n, context, vocab] */
    return tn_cross_entropy(tn_flatten(logits, 0, 1), tn_flatten(tn_narrow(windows, 1, 1, context), 0, 1));
}

/* The mean over the held-back text, at most its first 64 windows. */
static double held_back_loss(tn_module *llama, tn_tensor *text, const options *o)
{
    TN_NO_GRAD;
    const int64_t all = (tn_numel(text) - 1) / o->context, n = all < 64 ? all : 64;
    double sum = 0;
    for (int64_t first = 0; first < n && tn_last_status() == TN_OK; first += o->batch_size) {
        TN_SCOPE;
        const int64_t last = first + o->batch_size < n ? first + o->batch_size : n;
        tn_tensor *starts = tn_unsqueeze(tn_mul(tn_arange(first, last, .device = &o->on), o->context), 1);
        sum += tn_item(loss_of(llama, text, starts, o->context)) * (double)(last - first);
    }
    return sum / (double)n;
}

static void train(tn_module *llama, tn_tensor *text, const options *o)
{
    tn_optim *opt = tn_adopt(tn_adamw_new(tn_parameters(llama), o->lr));
    tn_progress_bar *bar = tn_progress_new(o->steps, stderr);
    for (int64_t step = 0; step < o->steps && tn_last_status() == TN_OK; step++) {
        TN_SCOPE;
        tn_tensor *starts = tn_randint(TN_SHAPE(o->batch_size, 1), 0, (double)(tn_numel(text) - o->context), .device = &o->on);
        tn_tensor *loss = loss_of(llama, text, starts, o->context);
        tn_zero_grad(opt);
        tn_check(tn_backward(loss));
        tn_clip_grad_norm(tn_parameters(llama), 1);
        tn_check(tn_step(opt));
        const double now = tn_item(loss);
        if (tn_last_status() == TN_OK && !isfinite(now))
            tn_fail(TN_ERR_STATE, "step %lld: the loss is %g: a smaller --lr than %g may help", (long long)step + 1, now, o->lr);
        tn_progress(bar, "loss %.4f", now);
    }
    tn_release(bar);
}

static void tune(const options *o)
{
    tn_module *llama = tn_adopt(tn_llama_load(o->model));
    tn_tensor *ids = llama ? tokens_of(o, tn_llama_config(llama)) : NULL;
    const int64_t count = ids ? tn_numel(ids) * 9 / 10 : 0;
    if (llama && o->rank)
        tn_check(tn_add_lora(llama, .rank = o->rank, .alpha = o->alpha, .targets = o->targets));
    else if (llama && o->trainable)
        train_only(llama, o->trainable);
    if (llama)
        tn_check(tn_module_to(llama, o->on));
    ids = ids ? tn_to(ids, o->on) : NULL;
    if (!ids || tn_last_status() != TN_OK)
        return;
    tn_tensor *text = tn_narrow(ids, 0, 0, count), *held_back = tn_narrow(ids, 0, count, tn_numel(ids) - count);
    const double before = held_back_loss(llama, held_back, o);
    if (tn_last_status() == TN_OK)
        printf("%lld of %lld parameters train, on %lld tokens; %lld are held back: loss %.4f\n", (long long)count_trained(llama),
               (long long)tn_num_parameters(llama), (long long)count, (long long)tn_numel(held_back), before);
    fflush(stdout);
    train(llama, text, o);
    const double after = held_back_loss(llama, held_back, o);
    if (tn_last_status() == TN_OK)
        printf("after %lld steps: loss %.4f\n", (long long)o->steps, after);
    if (tn_last_status() == TN_OK && o->save)
        tn_check(tn_llama_save_tuned(llama, o->save, .model = o->model));
}

/* Before hours of training, not behind them: whether there is a folder to save in. */
static void look_where_to_save(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path + 1)) : strdup(".");
    if (!folder || access(folder, W_OK) != 0)
        tn_fail(TN_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    free(folder);
}

int finetune_main(int argc, char **argv)
{
    options o = {.about = "Trains a language model on a text, and writes the loss on a part held back before and after.\v"
                          "Example: tenon finetune --model stories15M.bin --data poems.txt --lora-rank 8 --save poet.safetensors",
                 .takes = "mkailbCuoAOgWG", .steps = 200, .lr = 1e-3, .batch_size = 8, .context = 128, .alpha = 16, .targets = "q_proj,v_proj", .seed = 1, .device = "cpu"};
    TN_SCOPE;
    read_options(&o, argc, argv);
    if (!o.model || !o.data)
        misused("finetune", "--model and --data must be given");
    if (o.trainable && o.rank)
        misused("finetune", "--trainable and --lora-rank: one of them");
    if (o.trainable && !*o.trainable)
        misused("finetune", "--trainable: names no parameter");
    tn_manual_seed((uint64_t)o.seed);
    if (o.save)
        look_where_to_save(o.save);
    if (tn_last_status() == TN_OK)
        tune(&o);
    return done();
}
