/* A network of networks.h, timed.  usage: training NETWORK THREADS train|one|many [SECONDS] [bf16]
 * or training NETWORK THREADS profile [bf16]
 * or training NETWORK THREADS losses FILE [STEPS] [bf16]
 *   train       a step: zero_grad, forward, loss, backward and Adam; the batch changes each step
 *   one, many   the forward pass alone, of one example and of a batch
 * Prints "network.what threads median_ms least_ms gflop 0 0 0 peak_mb", the peak being the whole process's (bytes are operators.c's).
 *   profile     prints where the time of training steps goes, kernel by kernel
 *   losses      writes the first weights and the batches to FILE, for training.py, and prints the losses of the first STEPS (20)
 * bf16: under autocast. training.py is the same program on PyTorch. */
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
} program;

/* One step; gives the loss, or 0 of the forward pass alone. */
static double step(program *p)
{
    TN_SCOPE;
    tn_tensor *x = p->x[p->turn % BATCHES], *y = p->y[p->turn % BATCHES];
    p->turn++;
    if (!p->opt) {
        TN_NO_GRAD;
        tn_call(p->net, x);
        return 0;
    }
    tn_zero_grad(p->opt);
    tn_tensor *loss = p->kind->loss(tn_call(p->net, x), y);
    tn_check(tn_backward(loss));
    tn_check(tn_step(p->opt));
    return tn_item(loss);
}

static void print_losses(program *p, const char *path, int steps)
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
    for (int i = 0; i < steps; i++)
        printf("%.6f\n", step(p));
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

int main(int argc, char **argv)
{
    const bool bf16 = argc > 1 && !strcmp(argv[argc - 1], "bf16");
    argc -= bf16;
    const network *kind = argc > 3 ? network_named(argv[1]) : NULL;
    const char *what = argc > 3 ? argv[3] : "";
    const bool losses = !strcmp(what, "losses"), profile = !strcmp(what, "profile"), train = losses || profile || !strcmp(what, "train"), many = !strcmp(what, "many");
    if (!kind || (losses && argc < 5) || (!train && !many && strcmp(what, "one") != 0)) {
        fprintf(stderr, "usage: %s NETWORK THREADS train|one|many [SECONDS] [bf16]\n       %s NETWORK THREADS profile [bf16]\n"
                        "       %s NETWORK THREADS losses FILE [STEPS] [bf16]\n", argv[0], argv[0], argv[0]);
        return 2;
    }
    tn_set_error_handler(tn_die);
    tn_check(tn_set_num_threads(atoi(argv[2])));
    tn_manual_seed(1);
    tn_autocast_set(bf16 ? TN_BF16 : TN_F32);
    program p = {.kind = kind, .net = kind->make()};
    if (train)
        p.opt = tn_adam_new(tn_parameters(p.net), 1e-4);
    const int64_t batch = train ? kind->batch : many ? kind->many : 1;
    for (int i = 0; i < BATCHES; i++) {
        p.x[i] = drawn(batch, kind->x, kind->words);
        p.y[i] = drawn(batch, kind->y, kind->classes);
    }
    tn_train(p.net, train);
    if (losses) {
        print_losses(&p, argv[4], argc > 5 ? atoi(argv[5]) : 20);
    } else if (profile) {
        print_profile(&p);
    } else {
        static timing t;
        const double seconds = argc > 4 ? atof(argv[4]) : 1;
        for (int i = 0; i < WARMUP; i++)
            step(&p);
        while (timing_wants_more(&t, seconds)) {
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
    tn_release(p.opt);
    tn_release(p.net);
    return tn_check(tn_last_status()) != TN_OK;
}
