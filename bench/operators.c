/* Operators, timed.  usage: operators THREADS [SECONDS] [WORD...] < operators.txt
 * For each line "family what sizes" prints "family.what.sizes threads median_ms least_ms gflop read updated written", the last three in MB: what the
 * operator must read, change in place and write at least. FLOPs are those of products and attention, a multiply-add being two; of other operators one
 * for each element. Words: bf16, products under autocast and all else on tensors of it but adam and empty, which are f32; cuda:0, on that device and
 * by its clock; tf32. operators.py is the same on PyTorch. */
#include <stdio.h>
#include <string.h>

#include <tenon/tenon.h>

#include "timing.h"

enum { MOST_INPUTS = 5, MOST_SIZES = 7 };

/* A row at work: its tensors and what it costs. What make() does not say of the costs follows from the tensors. */
typedef struct work {
    int64_t size[MOST_SIZES];
    tn_tensor *in[MOST_INPUTS];
    int inputs;
    bool first;                    /* in[0] needs no gradient */
    double flop, read, back_flop, back_read; /* of forward, and of backward where not twice and not y's gradient and the inputs; bytes */
    tn_optim *opt;
} work;

static tn_tensor *input(work *w, tn_tensor *x) { return w->in[w->inputs++] = x; }
static tn_dtype dtype = TN_F32; /* of what no product multiplies */
static tn_tensor *factor(work *w, tn_shape shape) { return input(w, tn_uniform(shape, -1, 1)); }
static tn_tensor *uniform(work *w, tn_shape shape) { return input(w, tn_cast(tn_uniform(shape, -1, 1), dtype)); }

/* ---- families -------------------------------------------------------------------------------------------------------------- */

static void linear_make(work *w)
{
    const int64_t *s = w->size;
    factor(w, TN_SHAPE(s[0], s[1]));
    factor(w, TN_SHAPE(s[2], s[1]));
    w->flop = 2. * (double)(s[0] * s[1] * s[2]);
}
static tn_tensor *linear(work *w) { return tn_linear(w->in[0], w->in[1], NULL); }

static void conv_make(work *w)
{
    const int64_t *s = w->size, out = s[3] / s[5];
    factor(w, TN_SHAPE(s[0], s[1], s[3], s[3]));
    factor(w, TN_SHAPE(s[2], s[1] / s[6], s[4], s[4]));
    factor(w, TN_SHAPE(s[2]));
    w->first = s[1] <= 3;
    w->flop = 2. * (double)(s[0] * s[2] * out * out * s[1] / s[6] * s[4] * s[4]);
    w->back_flop = w->first ? w->flop : 0;
}
static tn_tensor *conv(work *w)
{
    return tn_conv2d(w->in[0], w->in[1], w->in[2], .padding = w->size[4] / 2, .stride = w->size[5], .groups = w->size[6]);
}

static void image_make(work *w) { uniform(w, TN_SHAPE(w->size[0], w->size[1], w->size[2], w->size[2])); }
static tn_tensor *max_pool(work *w) { return tn_max_pool2d(w->in[0], w->size[3]); }
static tn_tensor *avg_pool(work *w) { return tn_avg_pool2d(w->in[0], w->size[3]); }
static void pool_make(work *w)
{
    image_make(w);
    w->back_read = (double)tn_dtype_size(dtype) * (double)tn_numel(w->in[0]) / (double)(w->size[3] * w->size[3]);
}
static void batch_norm_make(work *w)
{
    image_make(w);
    uniform(w, TN_SHAPE(w->size[1]));
    uniform(w, TN_SHAPE(w->size[1]));
}
static tn_tensor *batch_norm(work *w) { return tn_batch_norm(w->in[0], NULL, NULL, w->in[1], w->in[2], .training = true); }

static void rows_make(work *w) { uniform(w, TN_SHAPE(w->size[0], w->size[1])); }
static tn_tensor *softmax(work *w) { return tn_softmax(w->in[0], 1); }
static tn_tensor *sum(work *w) { return w->size[2] == 2 ? tn_sum(w->in[0]) : tn_sum(w->in[0], .dim = (int)w->size[2]); }
static tn_tensor *transpose(work *w) { return tn_contiguous(tn_transpose(w->in[0], 0, 1)); }
static void cross_entropy_make(work *w)
{
    rows_make(w);
    input(w, tn_randint(TN_SHAPE(w->size[0]), 0, (double)w->size[1]));
}
static tn_tensor *cross_entropy(work *w) { return tn_cross_entropy(w->in[0], w->in[1]); }
static void norm_make(work *w)
{
    rows_make(w);
    uniform(w, TN_SHAPE(w->size[1]));
    uniform(w, TN_SHAPE(w->size[1]));
}
static tn_tensor *layer_norm(work *w) { return tn_layer_norm(w->in[0], TN_SHAPE(w->size[1]), w->in[1], w->in[2]); }
static void rms_norm_make(work *w)
{
    rows_make(w);
    uniform(w, TN_SHAPE(w->size[1]));
}
static tn_tensor *rms_norm(work *w) { return tn_rms_norm(w->in[0], TN_SHAPE(w->size[1]), w->in[1]); }

static void vector_make(work *w) { uniform(w, TN_SHAPE(w->size[0])); }
static tn_tensor *copy(work *w) { return tn_clone(w->in[0]); }
static tn_tensor *relu(work *w) { return tn_relu(w->in[0]); }
static tn_tensor *gelu(work *w) { return tn_gelu(w->in[0]); }
static tn_tensor *exponential(work *w) { return tn_exp(w->in[0]); }
static void two_make(work *w)
{
    vector_make(w);
    vector_make(w);
}
static tn_tensor *add(work *w) { return tn_add(w->in[0], w->in[1]); }
static tn_tensor *multiply(work *w) { return tn_mul(w->in[0], w->in[1]); }
static void nothing_make(work *w) { (void)w; }
static tn_tensor *empty(work *w) { return tn_empty(TN_SHAPE(w->size[0])); }

static void embedding_make(work *w)
{
    uniform(w, TN_SHAPE(w->size[0], w->size[1]));
    input(w, tn_randint(TN_SHAPE(w->size[2]), 0, (double)w->size[0]));
    w->read = w->back_read = (double)tn_dtype_size(dtype) * (double)(w->size[1] * w->size[2]);
}
static tn_tensor *embedding(work *w) { return tn_embedding(w->in[1], w->in[0]); }

static void attention_make(work *w)
{
    const int64_t *s = w->size;
    for (int i = 0; i < 3; i++)
        factor(w, TN_SHAPE(s[0], s[1], s[2], s[3]));
    w->flop = (s[4] ? 2. : 4.) * (double)(s[0] * s[1] * s[2] * s[2] * s[3]);
    w->back_flop = 2.5 * w->flop;
}
static tn_tensor *attention(work *w) { return tn_scaled_dot_product_attention(w->in[0], w->in[1], w->in[2], .is_causal = w->size[4]); }

static void adam_make(work *w)
{
    enum { TENSORS = 10 };
    tn_list *all = tn_list_new();
    for (int i = 0; i < TENSORS; i++) {
        tn_tensor *x = tn_rand(TN_SHAPE(w->size[0] / TENSORS), .requires_grad = true);
        tn_check(tn_set_grad(x, tn_rand_like(x)));
        tn_check(tn_list_append(all, x));
    }
    w->opt = tn_adopt(tn_adam_new(tn_adopt(all), 1e-3));
}
static tn_tensor *adam(work *w)
{
    tn_check(tn_step(w->opt));
    return NULL;
}

static const struct {
    const char *name;
    void (*make)(work *w);
    tn_tensor *(*forward)(work *w);
} families[] = {
    {"linear", linear_make, linear},       {"conv", conv_make, conv},
    {"max_pool", pool_make, max_pool},     {"avg_pool", pool_make, avg_pool},
    {"softmax", rows_make, softmax},       {"cross_entropy", cross_entropy_make, cross_entropy},
    {"layer_norm", norm_make, layer_norm}, {"rms_norm", rms_norm_make, rms_norm},
    {"batch_norm", batch_norm_make, batch_norm},
    {"gelu", vector_make, gelu},           {"exp", vector_make, exponential},
    {"copy", vector_make, copy},           {"relu", vector_make, relu},
    {"add", two_make, add},                {"mul", two_make, multiply},
    {"sum", rows_make, sum},
    {"transpose", rows_make, transpose},   {"embedding", embedding_make, embedding},
    {"attention", attention_make, attention},
    {"adam", adam_make, adam},             {"empty", nothing_make, empty},
};

/* ---- a row ----------------------------------------------------------------------------------------------------------------- */

typedef tn_tensor *(*forward_function)(work *w);
typedef struct row {
    work w;
    forward_function forward;
    char what; /* f, b(ackward) or t(wo: both) */
    tn_tensor *y, *dy, *wanted[MOST_INPUTS];
    int wanted_count;
} row;

static void run(row *r)
{
    TN_SCOPE;
    if (r->what == 'b') {
        tn_tensor *gradients[MOST_INPUTS];
        tn_check(tn_grads_of(&r->y, 1, r->wanted, r->wanted_count, gradients, .grads = &r->dy, .retain_graph = true));
    } else if (r->what == 't') {
        tn_check(tn_backward(tn_sum(r->forward(&r->w))));
    } else {
        TN_NO_GRAD;
        r->forward(&r->w);
    }
}

/* ms of so many calls, by the device's events where they run on one. */
static double timed(row *r, int calls)
{
    TN_SCOPE;
    const tn_device_id device = tn_get_default_device();
    if (device.type == TN_CPU) {
        const double begin = now_ms();
        for (int i = 0; i < calls; i++)
            run(r);
        return now_ms() - begin;
    }
    tn_event *begin = tn_adopt(tn_event_new(device)), *end = tn_adopt(tn_event_new(device));
    tn_check(tn_event_record(begin, NULL));
    for (int i = 0; i < calls; i++)
        run(r);
    tn_check(tn_event_record(end, NULL));
    return tn_event_elapsed_time(begin, end);
}

static double bytes(const tn_tensor *x) { return (double)tn_numel(x) * (double)tn_dtype_size(tn_dtype_of(x)); }

static void measure(row *r, const char *name, const char *threads, double seconds)
{
    for (int i = r->w.first; i < r->w.inputs; i++)
        if (r->what != 'f' && tn_dtype_of(r->w.in[i]) != TN_I64) {
            tn_check(tn_set_requires_grad(r->w.in[i], true));
            r->wanted[r->wanted_count++] = r->w.in[i];
        }
    r->y = r->forward(&r->w);
    r->dy = r->what == 'b' ? tn_rand_like(r->y) : NULL;

    static timing t;
    memset(&t, 0, sizeof t);
    run(r);
    const double once = timed(r, 1), least = tn_get_default_device().type == TN_CPU ? 0.1 : 2; /* a time that the clock can tell */
    const int calls = once < least ? (int)(least / (once + 1e-5)) + 1 : 1;
    while (timing_wants_more(&t, seconds))
        timing_add(&t, timed(r, calls), calls);
    timing_close(&t);

    double flop = r->w.flop, elements = r->y ? (double)tn_numel(r->y) : 0, read = 0, updated = 0, written = r->y ? bytes(r->y) : 0;
    for (int i = 0; i < r->w.inputs; i++) {
        read += bytes(r->w.in[i]);
        elements = r->w.read > 0 || (double)tn_numel(r->w.in[i]) < elements ? elements : (double)tn_numel(r->w.in[i]);
    }
    if (r->w.read > 0)
        read = r->w.read;
    if (r->what == 'b') {
        flop = r->w.back_flop > 0 ? r->w.back_flop : 2 * flop;
        read = r->w.back_read > 0 ? r->w.back_read : read + bytes(r->dy);
        written = 0;
        for (int i = 0; i < r->wanted_count; i++)
            written += bytes(r->wanted[i]);
    }
    if (r->w.opt) /* the gradient; the parameter and two moments */
        elements = (double)r->w.size[0], read = 4 * elements, updated = 3 * read;
    if (!r->w.inputs && !r->w.opt)
        elements = written = 0; /* making a tensor touches nothing */
    if (flop <= 0)
        flop = elements;
    printf("%s %s %.6f %.6f %.6g %.6g %.6g %.6g\n", name, threads, t.median, t.least, 1e-9 * flop, 1e-6 * read, 1e-6 * updated, 1e-6 * written);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *threads = argc > 1 ? argv[1] : "1";
    double seconds = 0.1;
    tn_set_error_handler(tn_die);
    tn_check(tn_set_num_threads(atoi(threads)));
    tn_manual_seed(1);
    for (int i = 2; i < argc; i++)
        if (!strcmp(argv[i], "bf16"))
            tn_autocast_set(TN_BF16), dtype = TN_BF16;
        else if (!strcmp(argv[i], "tf32"))
            tn_set_allow_tf32(true);
        else if (!strncmp(argv[i], "cuda", 4))
            tn_check(tn_set_default_device(tn_device(argv[i])));
        else
            seconds = atof(argv[i]);
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        TN_SCOPE;
        line[strcspn(line, "\n")] = 0;
        if (*line == '#' || !*line)
            continue;
        for (char *at = line; (at = strchr(at, ' '));)
            *at = '.';
        row r = {.what = strstr(line, ".backward.") ? 'b' : strstr(line, ".both.") ? 't' : 'f'};
        const size_t length = strcspn(line, ".");
        for (size_t i = 0; i < sizeof families / sizeof *families; i++)
            if (strlen(families[i].name) == length && !memcmp(families[i].name, line, length)) {
                const char *at = line + length + 1;
                for (int k = 0; k < MOST_SIZES && (at = strchr(at, '.')); k++)
                    r.w.size[k] = strtoll(++at, NULL, 10);
                r.forward = families[i].forward;
                families[i].make(&r.w);
                measure(&r, line, threads, seconds);
            }
        if (!r.forward) {
            fprintf(stderr, "%s: no such operator\n", line);
            return 2;
        }
    }
    return tn_check(tn_last_status()) != TN_OK;
}
