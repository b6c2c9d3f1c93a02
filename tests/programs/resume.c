/* labels: files
 * A run that is killed: a process trains and saves a checkpoint after each step, is killed by kill -9 at random moments and started again,
 * and must end with the same bits as one that was never stopped; a checkpoint that is there stays there, whole. The network has a
 * dropout and a batch norm, the loader shuffles and has workers, the schedule steps by the epoch. resume [kills], 4 of them unless said. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tenon/tenon.h>

enum { ITEMS = 90, IN = 8, HIDDEN = 32, CLASSES = 3, BATCH = 16, EPOCHS = 60 };

typedef struct {
    tn_module base;
    tn_module *fc1, *norm, *drop, *fc2;
} net;
static tn_tensor *net_forward(net *self, tn_tensor *x)
{
    x = tn_call(self->drop, tn_relu(tn_call(self->norm, tn_call(self->fc1, x))));
    return tn_call(self->fc2, x);
}
TN_MODULE(net, net_forward);

static char checkpoint[128], last[128];

static int train(void)
{
    tn_set_error_handler(tn_die);
    tn_manual_seed(1);
    tn_tensor *x = tn_randn(TN_SHAPE(ITEMS, IN)), *y = tn_randint(TN_SHAPE(ITEMS), 0, CLASSES);
    net *model = TN_NEW(net);
    TN_CHILD(model, fc1, tn_linear_new(IN, HIDDEN));
    TN_CHILD(model, norm, tn_batch_norm1d_new(HIDDEN));
    TN_CHILD(model, drop, tn_dropout_new(0.3));
    TN_CHILD(model, fc2, tn_linear_new(HIDDEN, CLASSES));
    tn_optim *optim = tn_adam_new(tn_parameters(model), 1e-2);
    tn_schedule *schedule = tn_cosine_annealing_lr_new(optim, EPOCHS);
    tn_ema *ema = tn_ema_new(tn_parameters(model), 0.9);
    tn_loader *loader = tn_loader_new(tn_tensor_dataset_new(x, y), .batch_size = BATCH, .shuffle = true, .workers = 2, .seed = 5);
    if (access(checkpoint, F_OK) == 0) {
        tn_check(tn_load_checkpoint(checkpoint, .module = model, .optim = optim, .schedule = schedule, .ema = ema, .loader = loader));
        printf("goes on in epoch %lld\n", (long long)tn_loader_epoch(loader));
    }
    for (int64_t epoch = tn_loader_epoch(loader); epoch < EPOCHS; epoch++) {
        TN_FOREACH_BATCH(batch, loader) {
            tn_zero_grad(optim);
            tn_check(tn_backward(tn_cross_entropy(tn_call(model, batch->x), batch->y)));
            tn_check(tn_step(optim));
            tn_check(tn_ema_update(ema));
            tn_check(tn_save_checkpoint(checkpoint, .module = model, .optim = optim, .schedule = schedule, .ema = ema, .loader = loader));
        }
        tn_check(tn_schedule_step(schedule));
    }
    tn_check(tn_save_checkpoint(last, .module = model, .optim = optim, .schedule = schedule, .ema = ema, .loader = loader));
    tn_release(loader);
    tn_release(ema);
    tn_release(schedule);
    tn_release(optim);
    tn_release(model);
    return 0;
}

static void sleep_for(double seconds)
{
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Starts the run, kills it after so many seconds (below 0: not at all), and says whether it was killed. */
static bool start(const char *program, const char *folder, const char *name, double seconds)
{
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, "--train", folder, name, (char *)NULL);
        _exit(127);
    }
    if (seconds >= 0) {
        sleep_for(seconds);
        kill(child, SIGKILL);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !(WIFSIGNALED(status) || WEXITSTATUS(status) == 0)) {
        printf("the run failed\n");
        exit(1);
    }
    return WIFSIGNALED(status);
}

static void name_files(const char *folder, const char *name)
{
    snprintf(checkpoint, sizeof checkpoint, "%s/%s.run", folder, name);
    snprintf(last, sizeof last, "%s/%s.last", folder, name);
}

static size_t read_last(const char *folder, const char *name, char *data, size_t size)
{
    name_files(folder, name);
    FILE *file = fopen(last, "rb");
    size_t got = file ? fread(data, 1, size, file) : 0;
    if (file)
        fclose(file);
    return got;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc == 4 && strcmp(argv[1], "--train") == 0) {
        name_files(argv[2], argv[3]);
        return train();
    }
    int kills = argc > 1 ? atoi(argv[1]) : 4, killed = 0;
    char folder[] = "resume-XXXXXX";
    static char whole[1 << 16], broken[1 << 16];
    if (tn_load_checkpoint("/dev/null") == TN_ERR_UNSUPPORTED) {
        printf("skipped: %s\n", tn_last_error());
        return 77;
    }
    tn_clear_error();
    if (!mkdtemp(folder))
        return 1;
    double begin = now();
    start(argv[0], folder, "whole", -1);
    double span = now() - begin;
    srand((unsigned)time(NULL));
    bool there = false;
    for (int i = 0; i < kills; i++) {
        killed += start(argv[0], folder, "broken", span / kills * (double)rand() / RAND_MAX);
        name_files(folder, "broken");
        if (there && access(checkpoint, F_OK) != 0) {
            printf("the checkpoint is lost\n");
            return 1;
        }
        there = access(checkpoint, F_OK) == 0;
    }
    start(argv[0], folder, "broken", -1);
    size_t size = read_last(folder, "whole", whole, sizeof whole);
    bool same = size > 0 && size == read_last(folder, "broken", broken, sizeof broken) && memcmp(whole, broken, size) == 0;
    printf("%d kills in a run of %.2f s: %s\n", killed, span, same ? "the same bits" : "OTHER BITS");
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) != 0 || !same;
}
