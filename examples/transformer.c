/* Is a sentence good English? One Transformer layer, 512 wide, 4 heads, trained from nothing on CoLA (--data is the folder of its TSV files),
 * under a logistic loss that weighs both answers alike. examples/pytorch/transformer.py is the same program on PyTorch. */
#include <math.h>
#include <stdio.h>

#include "options.h"
#include "sentences.h"

enum { WIDTH = 512, HEADS = 4 };

typedef struct {
    tn_module base;
    tn_module *word, *place, *encoder, *out;
} judge;

static tn_tensor *judge_forward(judge *net, tn_tensor *x)                       /* [n, 44] word numbers */
{
    tn_tensor *padding = tn_eq(x, PADDING);                                     /* true where there is no word */
    tn_device_id on = tn_device_of(x);
    tn_tensor *h = tn_add(tn_call(net->word, x), tn_call(net->place, tn_arange(0, LONGEST, .device = &on)));
    h = tn_call(net->encoder, h, NULL, padding);                                /* [n, 44, 512] */
    tn_tensor *words = tn_cast(tn_unsqueeze(tn_logical_not(padding), -1), TN_F32);
    tn_tensor *mean = tn_div(tn_sum(tn_mul(h, words), .dim = 1), tn_sum(words, .dim = 1)); /* over the words alone: [n, 512] */
    return tn_squeeze(tn_call(net->out, mean), 1);                              /* [n]: above 0 is yes */
}
TN_MODULE(judge, judge_forward);

static judge *judge_new(int64_t words, double dropout)
{
    judge *net = TN_NEW(judge);
    TN_CHILD(net, word, tn_embedding_new(words, WIDTH, .padding_idx = PADDING));
    TN_CHILD(net, place, tn_embedding_new(LONGEST, WIDTH));
    TN_CHILD(net, encoder, tn_transformer_encoder_layer_new(WIDTH, HEADS, .dim_feedforward = 2048, .dropout = dropout, .batch_first = true));
    TN_CHILD(net, out, tn_linear_new(WIDTH, 1));
    return net;
}

int main(int argc, char **argv)
{
    options o = {.about = "A Transformer layer learns which sentences are acceptable.", .takes = "berofsvdpwl", .batch_size = 128,
                 .epochs = 10, .lr = 1e-4, .dropout = 0.1, .shuffle = 1, .seed = 1, .device = "cpu", .data = "data/cola", .plot = "transformer.png"};
    read_options(&o, argc, argv);
    tn_set_error_handler(tn_die);
    tn_manual_seed((uint64_t)o.seed);
    tn_table *train_table = open_sentences(o.data, "in_domain_train.tsv"), *dev_table = open_sentences(o.data, "dev.tsv");
    vocabulary words = vocabulary_of(train_table, 3);
    sentences train = number_sentences(train_table, &words), dev = number_sentences(dev_table, &words);
    tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(train.x, train.y), .batch_size = o.batch_size, .shuffle = o.shuffle,
                                     .device = &o.on);
    tn_loader *dev_loader = tn_loader_new(tn_tensor_dataset_new(dev.x, dev.y), .batch_size = o.batch_size, .device = &o.on);
    double good = tn_item(tn_mean(train.y));
    tn_tensor *pos_weight = tn_full(TN_SHAPE(1), (1 - good) / good, .device = &o.on);            /* the bad ones together weigh as much as the good ones */
    printf("%lld sentences, %.1f %% of them good; %lld words\n", (long long)tn_size(train.x, 0), 100 * good, (long long)words.count);

    judge *net = judge_new(FIRST_WORD + words.count, o.dropout);
    tn_check(tn_module_to(net, o.on));
    if (o.load)
        tn_check(tn_load_module(net, o.load));
    tn_optim *opt = tn_adam_new(tn_parameters(net), o.lr);
    tn_plot *plot = tn_plot_new(o.plot, .title = "Which sentences are acceptable?", .xlabel = "epoch", .ylabel = "loss", .y2label = "Matthews' correlation");
    tn_check(tn_plot_series(plot, "train loss"));
    tn_check(tn_plot_series(plot, "dev loss"));
    tn_check(tn_plot_series(plot, "dev correlation", .style = TN_PLOT_DASHED, .right = true, .colour_of = "dev loss"));
    for (int64_t epoch = 1; epoch <= o.epochs; epoch++) {
        TN_SCOPE;
        double loss_sum = 0, dev_sum = 0;
        tn_progress_bar *bar = tn_progress_new(tn_loader_length(loader), stdout);
        TN_FOREACH_BATCH(batch, loader) {
            tn_tensor *loss = tn_binary_cross_entropy_with_logits(tn_call(net, batch->x), batch->y, .pos_weight = pos_weight);
            tn_zero_grad(opt);
            tn_check(tn_backward(loss));
            tn_check(tn_step(opt));
            loss_sum += tn_item(loss) / (double)tn_loader_length(loader);
            tn_progress(bar, "epoch %lld, loss %.4f", (long long)epoch, tn_item(loss));
        }
        tn_release(bar);
        TN_NO_GRAD;
        tn_train(net, false);
        tn_tensor *confusion = tn_zeros(TN_SHAPE(2, 2), .dtype = TN_I64, .device = &o.on); /* [truth, said] */
        TN_FOREACH_BATCH(batch, dev_loader) {
            tn_tensor *logits = tn_call(net, batch->x);
            dev_sum += tn_item(tn_binary_cross_entropy_with_logits(logits, batch->y, .pos_weight = pos_weight)) * (double)batch->size;
            tn_add_(confusion, tn_confusion_matrix(tn_cast(tn_gt(logits, 0), TN_I64), tn_cast(batch->y, TN_I64), 2));
        }
        tn_train(net, true);
        double n = (double)tn_size(dev.x, 0), right = tn_at(confusion, TN_SHAPE(0, 0)) + tn_at(confusion, TN_SHAPE(1, 1));
        double correlation = tn_matthews_corrcoef(confusion);
        printf("epoch %2lld: train loss %.4f, dev loss %.4f, accuracy %.2f %%, Matthews' correlation %.3f\n", (long long)epoch, loss_sum, dev_sum / n,
               100 * right / n, correlation);
        tn_check(tn_plot_point(plot, "train loss", (double)epoch, loss_sum));
        tn_check(tn_plot_point(plot, "dev loss", (double)epoch, dev_sum / n));
        tn_check(tn_plot_point(plot, "dev correlation", (double)epoch, correlation));
    }
    if (o.save)
        tn_check(tn_save_module(net, o.save));
    printf("the picture: %s, its numbers: %s\n", save_picture(plot, o.plot), tn_plot_csv(plot));
    vocabulary_free(&words);
    tn_release(plot);
    tn_release(opt);
    tn_release(net);
    tn_release(loader);
    tn_release(dev_loader);
    return 0;
}
