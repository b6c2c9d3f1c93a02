/* Checkpoints: a run in one process that is taken up by other objects, the loader's place, and what does not fit. */
#include "folder.h"

#include <sys/stat.h>

typedef struct run {
    tn_module *net;
    tn_optim *optim;
    tn_schedule *schedule;
    tn_ema *ema;
    tn_loader *loader;
} run;

enum { ITEMS = 20, BATCH = 6, BATCHES = 4 };

static tn_loader *loader_new(int workers)
{
    return tn_loader_new(tn_tensor_dataset_new(tn_arange(0, ITEMS), NULL), .batch_size = BATCH, .shuffle = true, .seed = 3,
                         .workers = workers);
}

static run run_new(int seed)
{
    tn_manual_seed((uint64_t)seed);
    run r = {.net = tn_sequential_new(tn_linear_new(1, 4), tn_dropout_new(0.5), tn_linear_new(4, 1))};
    r.optim = tn_adam_new(tn_parameters(r.net), 0.01);
    r.schedule = tn_step_lr_new(r.optim, 1);
    r.ema = tn_ema_new(tn_parameters(r.net), 0.5);
    r.loader = loader_new(0);
    check_good();
    return r;
}

static void run_free(run *r)
{
    tn_release(r->loader);
    tn_release(r->ema);
    tn_release(r->schedule);
    tn_release(r->optim);
    tn_release(r->net);
}

#define SAVE(path, r, ...)                                                                                                    \
    tn_save_checkpoint(path, .module = (r).net, .optim = (r).optim, .schedule = (r).schedule, .ema = (r).ema, .loader = (r).loader, __VA_ARGS__)
#define LOAD(path, r, ...)                                                                                                    \
    tn_load_checkpoint(path, .module = (r).net, .optim = (r).optim, .schedule = (r).schedule, .ema = (r).ema, .loader = (r).loader, __VA_ARGS__)

/* Trains to the end of epoch 2, saving after `at` steps in all, or going on there where it stands. */
static void train(run *r, int at, const char *path)
{
    for (int64_t epoch = tn_loader_epoch(r->loader); epoch < 2; epoch++) {
        TN_FOREACH_BATCH(batch, r->loader) {
            tn_tensor *x = tn_unsqueeze(tn_cast(batch->x, TN_F32), 1);
            tn_zero_grad(r->optim);
            assert_int_equal(tn_backward(tn_mean(tn_mul(tn_call(r->net, x), x))), TN_OK);
            assert_int_equal(tn_step(r->optim), TN_OK);
            assert_int_equal(tn_ema_update(r->ema), TN_OK);
            if (path && epoch * BATCHES + batch->index + 1 == at)
                assert_int_equal(SAVE(path, *r, .extra = NULL), TN_OK);
        }
        assert_int_equal(tn_schedule_step(r->schedule), TN_OK);
    }
    check_good();
}

static void test_a_run_taken_up_gives_the_same_bits(void **state)
{
    (void)state;
    without_cjson_skip();
    static unsigned char due[1 << 16], got[1 << 16];
    for (int at = 1; at <= 2 * BATCHES; at++) {
        TN_SCOPE;
        run first = run_new(1), second = run_new(2);
        train(&first, at, in_folder("mid"));
        assert_int_equal(SAVE(in_folder("end"), first, .extra = NULL), TN_OK);
        size_t size = read_file(in_folder("end"), due, sizeof due);
        assert_int_equal(LOAD(in_folder("mid"), second, .extra = NULL), TN_OK);
        train(&second, 0, NULL);
        assert_int_equal(SAVE(in_folder("end"), second, .extra = NULL), TN_OK);
        assert_int_equal(read_file(in_folder("end"), got, sizeof got), size);
        assert_memory_equal(got, due, size);
        run_free(&first);
        run_free(&second);
    }
}

static void test_a_loader_goes_on(void **state)
{
    (void)state;
    for (int workers = 0; workers < 3; workers++) {
        for (int stop = 1; stop <= BATCHES; stop++) {
            TN_SCOPE;
            double due[2 * ITEMS] = {0}, got[2 * ITEMS] = {0};
            int64_t n = 0;
            tn_tensor *place = NULL;
            tn_loader *l = tn_adopt(loader_new(workers)), *other = tn_adopt(loader_new(2 - workers));
            for (int epoch = 0; epoch < 2; epoch++) {
                assert_int_equal(tn_loader_epoch(l), epoch);
                TN_FOREACH_BATCH(batch, l) {
                    assert_int_equal(tn_to_doubles(batch->x, due + n, batch->size), TN_OK);
                    n += batch->size;
                    if (epoch == 0 && batch->index + 1 == stop)
                        place = tn_keep(tn_get_loader_state(l));
                    assert_int_equal(tn_loader_epoch(l), epoch);
                }
            }
            assert_int_equal(n, 2 * ITEMS);
            tn_adopt(place);
            assert_int_equal(tn_set_loader_state(other, place), TN_OK);
            assert_true(tn_equal(tn_get_loader_state(other), place)); /* before its loop it stands there still */
            n = stop * BATCH < ITEMS ? stop * BATCH : ITEMS;
            for (int epoch = 0; epoch < 2; epoch++) {
                int64_t index = epoch == 0 ? stop : 0;
                assert_int_equal(tn_loader_epoch(other), epoch);
                TN_FOREACH_BATCH(batch, other) {
                    assert_int_equal(batch->index, index++);
                    assert_int_equal(tn_to_doubles(batch->x, got + n, batch->size), TN_OK);
                    assert_memory_equal(got + n, due + n, (size_t)batch->size * sizeof(double));
                    n += batch->size;
                }
                assert_int_equal(index, BATCHES);
            }
            assert_int_equal(n, 2 * ITEMS);
            check_good();
        }
    }
}

static void test_a_loader_refuses_what_is_none_of_its_states(void **state)
{
    (void)state;
    TN_SCOPE;
    tn_loader *l = tn_adopt(loader_new(0));
    static const struct {
        int64_t state[4];
        const char *words;
    } cases[] = {{{-1, 0, 0, BATCH}, "negative"},      {{0, -1, 0, BATCH}, "negative"},
                 {{0, 0, -1, BATCH}, "negative"},      {{0, INT64_MAX, 0, BATCH}, "no run comes to"},
                 {{0, 0, 0, 5}, "batches of 5, and the loader's have 6"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tn_set_loader_state(l, tn_from_ints(cases[i].state, TN_SHAPE(4))), TN_ERR_ARGUMENT);
        check_error(TN_ERR_ARGUMENT, cases[i].words);
    }
    assert_int_equal(tn_set_loader_state(l, tn_zeros(TN_SHAPE(4))), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "int64 of [4]");
    assert_int_equal(tn_set_loader_state(NULL, tn_get_loader_state(l)), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "loader is NULL");
    TN_FOREACH_BATCH(batch, l) {
        assert_int_equal(tn_set_loader_state(l, tn_get_loader_state(l)), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "inside the loop");
    }
    assert_int_equal(tn_set_loader_state(l, tn_from_ints(((int64_t[]){0, 0, BATCHES + 1, BATCH}), TN_SHAPE(4))), TN_OK);
    TN_FOREACH_BATCH(batch, l)
        fail();
    check_error(TN_ERR_STATE, "an epoch with 5 batches or more, and this one has 4");
    tn_set_loader_state(l, tn_from_ints(((int64_t[]){0, 0, 0, BATCH}), TN_SHAPE(4))) == TN_OK ? (void)0 : fail();
}

static void test_checkpoints_hold_what_is_given(void **state)
{
    (void)state;
    without_cjson_skip();
    TN_SCOPE;
    const char *path = in_folder("c");
    run r = run_new(1);
    tn_dict *extra = tn_adopt(tn_dict_new()), *back = tn_adopt(tn_dict_new());
    assert_int_equal(tn_dict_set(extra, "best", tn_full(TN_SHAPE(1), 0.5)), TN_OK);
    assert_int_equal(tn_dict_set_note(extra, "who", "me"), TN_OK);
    assert_int_equal(tn_save_checkpoint(path, .module = r.net, .extra = extra), TN_OK);
    tn_tensor *drawn = tn_rand(TN_SHAPE(3));
    assert_int_equal(tn_load_checkpoint(path, .extra = back), TN_OK);
    check_values(tn_dict_get(back, "best"), 0, .5);
    assert_string_equal(tn_dict_note(back, "who"), "me");
    assert_true(tn_equal(tn_rand(TN_SHAPE(3)), drawn)); /* the random state is in it */
    tn_dict *all = tn_load_safetensors(path);
    check_shape(tn_dict_get(all, "module.0.weight"), 4, 1);
    assert_int_equal(tn_dict_find(all, "loader"), -1);
    assert_int_equal(tn_load_checkpoint(path, .module = r.net, .optim = r.optim), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "the checkpoint holds no \"optim.\"");
    tn_module *other = tn_adopt(tn_linear_new(1, 4));
    assert_int_equal(tn_load_checkpoint(path, .module = other), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "load_checkpoint: ");
    assert_int_equal(tn_save_safetensors(extra, path), TN_OK);
    assert_int_equal(tn_load_checkpoint(path), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "holds no \"random\"");
    assert_int_equal(tn_load_checkpoint(in_folder("absent")), TN_ERR_IO);
    check_error(TN_ERR_IO, "No such file");
    assert_int_equal(tn_save_checkpoint(NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "path is NULL");
    run_free(&r);
}

/* A checkpoint in the middle of a run and the weights at its end, in TN_TEST_KEEP for tests/reference/make_safetensors.py, which goes on from
 * the one to the other by PyTorch. */
static void test_checkpoints_for_pytorch(void **state)
{
    (void)state;
    without_cjson_skip();
    const char *keep = getenv("TN_TEST_KEEP");
    static const char *const names[] = {"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        TN_SCOPE;
        char path[256], after[256];
        snprintf(path, sizeof path, "%s/%s.safetensors", keep ? keep : folder, names[i]);
        snprintf(after, sizeof after, "%s/%s.after.safetensors", keep ? keep : folder, names[i]);
        tn_module *net = tn_sequential_new(tn_linear_new(1, 4), tn_tanh_new(), tn_batch_norm1d_new(4), tn_linear_new(4, 1));
        assert_int_equal(tn_module_to_dtype(net, TN_F64), TN_OK);
        tn_list *params = tn_parameters(net);
        tn_optim *opt = i == 0   ? tn_sgd_new(params, 0.1, .momentum = 0.9, .nesterov = true)
                        : i == 1 ? tn_adam_new(params, 0.01, .beta1 = 0.8, .amsgrad = true)
                        : i == 2 ? tn_adamw_new(params, 0.01)
                        : i == 3 ? tn_rmsprop_new(params, 0.01, .centered = true, .momentum = 0.5)
                        : i == 4 ? tn_adagrad_new(params, 0.1, .lr_decay = 0.1)
                                 : tn_nadam_new(params, 0.01);
        tn_tensor *x = tn_div(tn_reshape(tn_arange(0, ITEMS, .dtype = TN_F64), TN_SHAPE(ITEMS, 1)), 10);
        for (int t = 0; t < 10; t++) {
            if (t == 5)
                assert_int_equal(tn_save_checkpoint(path, .module = net, .optim = opt), TN_OK);
            tn_zero_grad(opt);
            assert_int_equal(tn_backward(tn_mse_loss(tn_call(net, x), tn_sin(x))), TN_OK);
            assert_int_equal(tn_step(opt), TN_OK);
        }
        assert_int_equal(tn_save_module(net, after), TN_OK);
        assert_true(tn_dict_find(tn_load_safetensors(path), "optim.state.3.step") >= 0 || i == 0);
        tn_release(opt);
        tn_release(net);
    }
}

int main(void)
{
    if (!make_folder("checkpoint"))
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(test_a_loader_goes_on), TEST(test_a_loader_refuses_what_is_none_of_its_states),
        TEST(test_a_run_taken_up_gives_the_same_bits), TEST(test_checkpoints_hold_what_is_given), TEST(test_checkpoints_for_pytorch),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return !remove_folder() || failed;
}
