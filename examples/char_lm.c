/* A language model from nothing: a small Llama reads Shakespeare a character at a time (--data is a text file), and then writes.
 * examples/pytorch/char_lm.py is the same program on PyTorch. */
#include <stdio.h>

#include "options.h"

enum { CONTEXT = 128, SYMBOLS = 256, WRITTEN = 500 };

/* The bytes of a file as numbers 0 ... count - 1 [n], and what each number stands for. */
static tn_tensor *read_text(const char *path, char *symbols, int64_t *count)
{
    int64_t number[SYMBOLS] = {0}, size = 0;
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 20 * CONTEXT || fseek(file, 0, SEEK_SET)) {
        fprintf(stderr, "char_lm: %s is no text of %d characters or more\n", path, 20 * CONTEXT);
        exit(1);
    }
    tn_tensor *text = tn_empty(TN_SHAPE(size), .dtype = TN_U8), *numbers = tn_empty(TN_SHAPE(size), .dtype = TN_I64);
    unsigned char *bytes = tn_data_mut(text);
    int64_t *out = tn_data_mut(numbers);
    size = (int64_t)fread(bytes, 1, (size_t)size, file);
    fclose(file);
    for (int64_t i = 0; i < size; i++)
        number[bytes[i]] = 1;
    *count = 0;
    for (int c = 0; c < SYMBOLS; c++)
        if (number[c]) {
            symbols[*count] = (char)c;
            number[c] = (*count)++;
        }
    for (int64_t i = 0; i < size; i++)
        out[i] = number[bytes[i]];
    return numbers;
}

/* The windows of the text that begin at starts [n, 1]. */
static tn_tensor *windows_at(tn_tensor *text, tn_tensor *starts)
{
    tn_device_id on = tn_device_of(text);
    return tn_index(text, tn_add(starts, tn_arange(0, CONTEXT + 1, .device = &on)));
}

/* The loss of saying each window's next characters: windows [n, CONTEXT + 1]. */
static tn_tensor *loss_of(tn_module *llama, tn_tensor *windows)
{
    tn_tensor *logits = tn_call(llama, tn_narrow(windows, 1, 0, CONTEXT));                                     /* [n, CONTEXT, symbols] */
    return tn_cross_entropy(tn_flatten(logits, 0, 1), tn_flatten(tn_narrow(windows, 1, 1, CONTEXT), 0, 1));
}

/* The same over a whole text, in windows that follow one another. */
static double loss_over(tn_module *llama, tn_tensor *text, int64_t batch_size)
{
    TN_NO_GRAD;
    const int64_t n = (tn_numel(text) - 1) / CONTEXT;
    tn_device_id on = tn_device_of(text);
    double sum = 0;
    for (int64_t first = 0; first < n; first += batch_size) {
        TN_SCOPE;
        const int64_t last = first + batch_size < n ? first + batch_size : n;
        tn_tensor *starts = tn_unsqueeze(tn_mul(tn_arange(first, last, .device = &on), CONTEXT), 1);
        sum += tn_item(loss_of(llama, windows_at(text, starts))) * (double)(last - first);
    }
    return sum / (double)n;
}

/* Prints what the model goes on with, each character drawn by the probabilities. */
static void write_on(tn_module *llama, tn_tensor *beginning, const char *symbols)
{
    TN_NO_GRAD;
    tn_device_id on = tn_device_of(beginning);
    int64_t text[CONTEXT + WRITTEN], length = tn_numel(beginning);
    tn_check(tn_to_ints(beginning, text, length));
    for (const int64_t end = length + WRITTEN; length < end; length++) {
        TN_SCOPE;
        const int64_t seen = length < CONTEXT ? length : CONTEXT;
        tn_tensor *logits = tn_call(llama, tn_from_ints(text + length - seen, TN_SHAPE(seen), .device = &on));             /* [seen, symbols] */
        text[length] = tn_item_i64(tn_multinomial(tn_softmax(tn_select(logits, 0, -1), -1), 1));
        putchar(symbols[text[length]]);
    }
    putchar('\n');
}

int main(int argc, char **argv)
{
    options o = {.about = "A small Llama learns to write, character by character.", .takes = "birsvdpwl", .batch_size = 32, .steps = 1500,
                 .lr = 3e-3, .seed = 1, .device = "cpu", .data = "data/tinyshakespeare/input.txt", .plot = "char_lm.png"};
    read_options(&o, argc, argv);
    tn_set_error_handler(tn_die);
    tn_manual_seed((uint64_t)o.seed);
    char symbols[SYMBOLS];
    int64_t count;
    tn_tensor *text = tn_to(read_text(o.data, symbols, &count), o.on);
    const int64_t train_size = tn_numel(text) * 9 / 10;
    tn_tensor *train = tn_narrow(text, 0, 0, train_size), *val = tn_narrow(text, 0, train_size, tn_numel(text) - train_size);
    tn_module *llama = tn_llama_new(.vocab_size = count, .hidden_size = 192, .intermediate_size = 512, .num_hidden_layers = 4,
                                    .num_attention_heads = 6, .max_position_embeddings = CONTEXT, .tie_word_embeddings = true);
    printf("%lld characters of %lld kinds; a Llama of %lld parameters\n", (long long)tn_numel(text), (long long)count,
           (long long)tn_num_parameters(llama));
    tn_check(tn_module_to(llama, o.on));
    if (o.load)
        tn_check(tn_load_module(llama, o.load));
    tn_optim *opt = tn_adamw_new(tn_parameters(llama), o.lr, .beta2 = 0.99, .weight_decay = 0.1);
    tn_schedule *schedule = tn_one_cycle_lr_new(opt, o.lr, o.steps, .pct_start = 0.1, .cycle_momentum = false);
    tn_plot *plot = tn_plot_new(o.plot, .title = "A small Llama on Shakespeare", .xlabel = "step", .ylabel = "nats a character");
    tn_check(tn_plot_series(plot, "train loss"));
    tn_check(tn_plot_series(plot, "validation loss"));

    tn_progress_bar *bar = tn_progress_new(o.steps, stdout);
    double sum = 0;
    for (int64_t step = 1; step <= o.steps; step++) {
        TN_SCOPE;
        tn_tensor *starts = tn_randint(TN_SHAPE(o.batch_size, 1), 0, (double)(train_size - CONTEXT), .device = &o.on);
        tn_tensor *loss = loss_of(llama, windows_at(train, starts));
        tn_zero_grad(opt);
        tn_check(tn_backward(loss));
        tn_clip_grad_norm(tn_parameters(llama), 1);
        tn_check(tn_step(opt));
        tn_check(tn_schedule_step(schedule));
        sum += tn_item(loss);
        tn_progress(bar, "loss %.3f", tn_item(loss));
        if (step % 250 == 0 || step == o.steps) {
            const double val_loss = loss_over(llama, val, o.batch_size), train_loss = sum / (double)((step - 1) % 250 + 1);
            printf("\nstep %5lld: train loss %.4f, validation loss %.4f\n", (long long)step, train_loss, val_loss);
            tn_check(tn_plot_point(plot, "train loss", (double)step, train_loss));
            tn_check(tn_plot_point(plot, "validation loss", (double)step, val_loss));
            sum = 0;
        }
    }
    tn_release(bar);
    write_on(llama, tn_narrow(val, 0, 0, 1), symbols);
    if (o.save)
        tn_check(tn_save_module(llama, o.save));
    printf("the picture: %s, its numbers: %s\n", save_picture(plot, o.plot), tn_plot_csv(plot));
    tn_release(plot);
    tn_release(schedule);
    tn_release(opt);
    tn_release(llama);
    return 0;
}
