/* A network of networks.h, timed.  usage: training NETWORK THREADS train|one|many [SECONDS] [WORD...]
 * or training NETWORK THREADS profile [WORD...]
 * or training NETWORK THREADS losses FILE [STEPS] [WORD...]
 *   train       a step: zero_grad, forward, loss, backward and Adam; the batch changes each step
 *   one, many   the forward pass alone, of one example and of a batch
 * Prints "network.what threads median_ms least_ms gflop 0 0 0 peak_mb", the peak being the whole process's (bytes are operators.c's).
 *   profile     prints where the time of training steps goes, kernel by kernel
 *   losses      writes the first weights and the batches to FILE, for training.py, and prints the losses of the first STEPS (20)
 * Words: bf16, under autocast; cuda:0, network and batches on that device, whose own clock measures runs of as many steps as take 0.2 s, 20 at
 * least, with nothing read in between (SECONDS scales both; the last loss is printed on stderr); there also tf32 and captured: the step is a graph's,
 * and the batch copied into its inputs. training.py is the same program on PyTorch. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "networks.h"
#include "timing.h"

enum { BATCHES = 4, WARMUP = 2 };

typedef struct program {
    const network *kind;
    void *net;
    tn_optim *opt; /* NULL: forward alone */
    tn_tensor *x[BATCHES], *y[BATCHES];
    int64_t turn;
    tn_tensor *loss; /* of the last step */
    tn_graph *graph; /* NULL: not captured; else of a step on these */
    tn_tensor *fixed_x, *fixed_y;
} program;

/* The loss, NULL of the forward pass alone. */
static tn_tensor *work(program *p, tn_tensor *x, tn_tensor *y)
{
    TN_SCOPE;
    if (!p->opt) {
        TN_NO_GRAD;
        tn_call(p->net, x);
        return NULL;
    }
    tn_zero_grad(p->opt);
    tn_tensor *loss = p->kind->loss(tn_call(p->net, x), y);
    tn_check(tn_backward(loss));
    tn_check(tn_step(p->opt));
    return tn_keep(loss);
}

static void step(program *p)
{
    TN_SCOPE;
    const int64_t i = p->turn++ % BATCHES;
    if (p->graph) {
        tn_copy_(p->fixed_x, p->x[i]);
        tn_copy_(p->fixed_y, p->y[i]);
        tn_check(tn_replay(p->graph));
        return;
    }
    tn_release(p->loss);
    p->loss = work(p, p->x[i], p->y[i]);
}

/* After a step or more: they make the optimiser's states. */
static void capture(program *p)
{
    tn_release(p->loss);
    p->fixed_x = tn_clone(p->x[0]);
    p->fixed_y = tn_clone(p->y[0]);
    p->graph = tn_graph_new(tn_device_of(p->fixed_x));
    TN_CAPTURE(p->graph);
    p->loss = work(p, p->fixed_x, p->fixed_y);
}

/* Whether the last loss is finite. */
static bool time_by_device(program *p, tn_device_id device, double seconds, timing *t)
{
    enum { RUNS = 5, GUESSES = 2 }; /* the first runs tell how many steps one has */
    tn_event *begin = tn_adopt(tn_event_new(device)), *end = tn_adopt(tn_event_new(device));
    const int least = (int)ceil(20 * seconds);
    int steps = least;
    for (int run = -GUESSES; run < RUNS; run++) {
        tn_check(tn_event_record(begin, NULL));
        for (int i = 0; i < steps; i++)
            step(p);
        tn_check(tn_event_record(end, NULL));
        const double ms = tn_event_elapsed_time(begin, end);
        if (run < 0)
            steps = (int)fmax(least, fmin(200 * seconds * steps / ms, 1e6));
        else
            timing_add(t, ms, steps);
    }
    const double loss = p->loss ? tn_item(p->loss) : 0;
    fprintf(stderr, "%s: last loss %.6f\n", p->kind->name, loss);
    return isfinite(loss);
}

static void print_losses(program *p, const char *path, int steps, bool captured)
{
    tn_dict *all = tn_state_dict(p->net);
    for (int i = 0; i < BATCHES; i++) {
        char name[8];
        snprintf(name, sizeof name, "x.%d", i);
        tn_check(tn_dict_set(all, name, p->x[i]));
        name[0] = 'y';
        tn_check(tn_dict_set(all, name, p->y[i]));
    }
    tn_check(tn_save_safetensors(all, path));
    for (int i = 0; i < steps; i++) {
        if (captured && i == 1)
            capture(p);
        step(p);
        printf("%.6f\n", tn_item(p->loss));
    }
}

static void print_profile(program *p)
{
    enum { STEPS = 5 };
    for (int i = 0; i < WARMUP; i++)
        step(p);
    tn_profile *profile = tn_profile_new();
    for (int i = 0; i < STEPS; i++)
        step(p);
    tn_check(tn_profile_stop(profile));
    tn_profile_print(profile);
    tn_release(profile);
}

struct words {
    bool bf16, tf32, captured;
    const char *device;
};

/* The words that arguments end in; gives how many arguments stand before them. */
static int take_words(int argc, char **argv, struct words *words)
{
    for (; argc > 1; argc--) {
        const char *word = argv[argc - 1];
        if (!strcmp(word, "bf16"))
            words->bf16 = true;
        else if (!strcmp(word, "tf32"))
            words->tf32 = true;
        else if (!strcmp(word, "captured"))
            words->captured = true;
        else if (!strncmp(word, "cuda", 4))
            words->device = word;
        else
            break;
    }
    return argc;
}

int main(int argc, char **argv)
{
    struct words words = {.device = "cpu"};
    argc = take_words(argc, argv, &words);
    const network *kind = argc > 3 ? network_named(argv[1]) : NULL;
    const char *what = argc > 3 ? argv[3] : "";
    const bool losses = !strcmp(what, "losses"), profile = !strcmp(what, "profile"), train = losses || profile || !strcmp(what, "train"), many = !strcmp(what, "many");
    if (!kind || (losses && argc < 5) || (!train && !many && strcmp(what, "one") != 0)) {
        fprintf(stderr, "usage: %s NETWORK THREADS train|one|many [SECONDS] [WORD...]\n       %s NETWORK THREADS profile [WORD...]\n"
                        "       %s NETWORK THREADS losses FILE [STEPS] [WORD...]\nwords: bf16 cuda:0 tf32 captured\n", argv[0], argv[0], argv[0]);
        return 2;
    }
    tn_set_error_handler(tn_die);
    tn_check(tn_set_num_threads(atoi(argv[2])));
    tn_manual_seed(1);
    tn_autocast_set(words.bf16 ? TN_BF16 : TN_F32);
    tn_set_allow_tf32(words.tf32);
    const tn_device_id device = tn_device(words.device);
    program p = {.kind = kind, .net = kind->make()};
    tn_check(tn_module_to(p.net, device));
    if (train)
        p.opt = tn_adam_new(tn_parameters(p.net), 1e-4);
    const int64_t batch = train ? kind->batch : many ? kind->many : 1;
    for (int i = 0; i < BATCHES; i++) {
        p.x[i] = tn_to(drawn(batch, kind->x, kind->words), device);
        p.y[i] = tn_to(drawn(batch, kind->y, kind->classes), device);
    }
    tn_train(p.net, train);
    if (losses) {
        print_losses(&p, argv[4], argc > 5 ? atoi(argv[5]) : 20, words.captured);
    } else if (profile) {
        print_profile(&p);
    } else {
        static timing t;
        const double seconds = argc > 4 ? atof(argv[4]) : 1;
        for (int i = 0; i < WARMUP; i++)
            step(&p);
        if (words.captured)
            capture(&p);
        if (device.type == TN_CUDA && !time_by_device(&p, device, seconds, &t))
            return 1;
        while (device.type == TN_CPU && timing_wants_more(&t, seconds)) {
            const double begin = now_ms();
            step(&p);
            timing_add(&t, now_ms() - begin, 1);
        }
        timing_close(&t);
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        printf("%s.%s %s %.4f %.4f %.6g 0 0 0 %.1f\n", kind->name, what, argv[2], t.median, t.least,
               train ? kind->gflop : (double)batch * kind->forward, (double)usage.ru_maxrss / 1024);
    }
    tn_release(p.graph);
    tn_release(p.loss);
    tn_release(p.opt);
    tn_release(p.net);
    return tn_check(tn_last_status()) != TN_OK;
}
