/* Streams, events, graphs, and memory of CUDA devices: what the CPU says when it is asked for them, and what they do where there is a device. */
#include "check.h"
#include "core/core.h"

#include <stdlib.h>

static const tn_device_id cuda0 = {TN_CUDA, 0}, cuda1 = {TN_CUDA, 1};

static void needs_devices(int count)
{
    if (tn_cuda_device_count() < count) {
        print_message("skipped: %d CUDA devices of %d\n", tn_cuda_device_count(), count);
        skip();
    }
}

static void test_cpu_has_none(void **state)
{
    (void)state;
    const tn_device_id cpu = {TN_CPU, 0}, absent = {TN_CUDA, 99};
    assert_null(tn_stream_new(cpu));
    check_error(TN_ERR_DEVICE, "stream_new: the CPU has no streams");
    assert_null(tn_event_new(cpu));
    check_error(TN_ERR_DEVICE, "event_new: the CPU has no events");
    assert_null(tn_graph_new(cpu));
    check_error(TN_ERR_DEVICE, "graph_new: the CPU has no graphs");
    assert_null(tn_graph_new(absent));
    check_error(TN_ERR_DEVICE, "graph_new: cuda:99 is not there");
    {
        TN_CAPTURE(NULL);
        check_error(TN_ERR_ARGUMENT, "capture_begin: graph is NULL");
    }
    assert_int_equal(tn_replay(NULL), TN_ERR_ARGUMENT);
    check_error(TN_ERR_ARGUMENT, "replay: graph is NULL");
    {
        TN_STREAM(NULL);
        check_error(TN_ERR_ARGUMENT, "stream_set: stream is NULL");
    }
    assert_int_equal(tn_stream_wait_stream(NULL, NULL), TN_ERR_ARGUMENT);
    tn_clear_error();
    assert_true(isnan(tn_event_elapsed_time(NULL, NULL)));
    check_error(TN_ERR_ARGUMENT, "event_elapsed_time: event is NULL");
    assert_true(tn_memory_allocated(cpu) > 0 || tn_max_memory_allocated(cpu) >= 0);
    assert_true(tn_memory_reserved(cpu) >= tn_memory_allocated(cpu));
    assert_int_equal(tn_reset_peak_memory_stats(cpu), TN_OK);
    assert_int_equal(tn_reset_peak_memory_stats(absent), TN_ERR_DEVICE);
    check_error(TN_ERR_DEVICE, "reset_peak_memory_stats: cuda:99");
}

/* ---- streams -------------------------------------------------------------------------------------------------------------- */

static void test_streams(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    tn_stream *side = tn_adopt(tn_stream_new(cuda0));
    tn_event *start = tn_adopt(tn_event_new(cuda0)), *end = tn_adopt(tn_event_new(cuda0));
    assert_true(isnan(tn_event_elapsed_time(start, end)));
    check_error(TN_ERR_STATE, "start was not recorded");
    tn_tensor *y = NULL;
    {
        TN_STREAM(side);
        assert_int_equal(tn_event_record(start, NULL), TN_OK);
        y = tn_add(tn_ones(TN_SHAPE(1000), .device = &cuda0), 2);
        assert_int_equal(tn_event_record(end, NULL), TN_OK);
    }
    (void)tn_event_query(end), (void)tn_stream_query(side); /* whatever they say, what is launched next is not blamed for it */
    assert_non_null(tn_zeros(TN_SHAPE(3), .device = &cuda0));
    check_good();
    assert_int_equal(tn_event_wait(end, NULL), TN_OK); /* without it the sum would be of what is not there yet */
    check_values(tn_sum(y), 0, 3000);
    assert_true(tn_event_query(end) && tn_stream_query(side));
    assert_true(tn_event_elapsed_time(start, end) >= 0);
    tn_tensor *z = tn_mul(y, 2);
    assert_int_equal(tn_stream_wait_stream(side, NULL), TN_OK);
    {
        TN_STREAM(side);
        check_values(tn_sum(z), 0, 6000);
    }
    assert_int_equal(tn_stream_synchronize(side), TN_OK);
    assert_int_equal(tn_event_synchronize(end), TN_OK);
    check_good();
}

/* More than goes through pinned memory at once, and changed by the CPU at once. */
static void test_large_copy(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    enum { N = 5 << 20 };
    tn_tensor *x = tn_arange(N, .dtype = TN_I32), *there = tn_to(x, cuda0);
    assert_non_null(tn_zero_(x));
    assert_true(tn_equal(tn_to(there, (tn_device_id){TN_CPU, 0}), tn_arange(N, .dtype = TN_I32)));
}

static void test_two_devices(void **state)
{
    (void)state;
    needs_devices(2);
    TN_SCOPE;
    tn_tensor *a = tn_full(TN_SHAPE(3), 2, .device = &cuda0), *b = tn_to(a, cuda1);
    assert_int_equal(tn_device_of(b).index, 1);
    check_values(tn_mul(b, 3), 0, 6, 6, 6);
    assert_null(tn_add(a, b));
    check_error(TN_ERR_DEVICE, "one operand is on cuda:0 and the other on cuda:1");
    check_values(tn_add(a, tn_to(b, cuda0)), 0, 4, 4, 4);
    tn_event *event = tn_adopt(tn_event_new(cuda0));
    assert_int_equal(tn_event_record(event, tn_adopt(tn_stream_new(cuda1))), TN_ERR_DEVICE);
    check_error(TN_ERR_DEVICE, "event_record: the event is of cuda:0 and the stream of cuda:1");
    assert_int_equal(tn_device("cuda:1").index, 1);
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

static void test_memory(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    const int64_t before = tn_memory_allocated(cuda0);
    assert_int_equal(tn_reset_peak_memory_stats(cuda0), TN_OK);
    for (int i = 0; i < 200; i++) { /* changing shapes leave nothing behind */
        TN_SCOPE;
        check_values(tn_sum(tn_ones(TN_SHAPE(100 + i % 37 * 1000), .device = &cuda0)), 0, 100 + i % 37 * 1000);
    }
    assert_int_equal(tn_memory_allocated(cuda0), before);
    assert_true(tn_max_memory_allocated(cuda0) >= before + 36100 * 4 && tn_max_memory_allocated(cuda0) < before + 200000);
    assert_int_equal(tn_device_memory_trim(cuda0), TN_OK);
    const int64_t kept = tn_memory_reserved(cuda0);
    {
        TN_SCOPE;
        tn_zeros(TN_SHAPE(1 << 20), .device = &cuda0);
        assert_true(tn_memory_reserved(cuda0) >= kept + (4 << 20));
        assert_int_equal(tn_device_memory_set_limit(cuda0, tn_memory_allocated(cuda0) + (4 << 20)), TN_OK);
        assert_null(tn_zeros(TN_SHAPE((1 << 20) + 1), .device = &cuda0));
        check_error(TN_ERR_MEMORY, "4194308 bytes asked for");
        tn_zeros(TN_SHAPE(1000), .device = &cuda0);
        check_good();
    }
    {
        TN_SCOPE;
        tn_zeros(TN_SHAPE(3 << 19), .device = &cuda0); /* fits only where what is kept is given back */
        check_good();
    }
    assert_int_equal(tn_device_memory_set_limit(cuda0, 0), TN_OK);
    assert_null(tn_empty(TN_SHAPE((int64_t)1 << 40), .dtype = TN_U8, .device = &cuda0)); /* the device has not so much */
    check_error(TN_ERR_MEMORY, "1099511627776 bytes asked for");
    check_values(tn_sum(tn_ones(TN_SHAPE(5), .device = &cuda0)), 0, 5);
}

/* Where a tensor of so many elements that is made and let go had its memory. */
static const void *place_of(int64_t elements)
{
    TN_SCOPE;
    return tn_ptr(tn_empty(TN_SHAPE(elements), .device = &cuda0));
}

/* What one stream let go of is taken by it again, by another stream not before it is given back. */
static void test_memory_is_kept(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    assert_int_equal(tn_device_memory_trim(cuda0), TN_OK);
    const int64_t kept = tn_memory_reserved(cuda0);
    tn_stream *stream = tn_stream_new(cuda0);
    const void *theirs;
    {
        TN_STREAM(stream);
        theirs = place_of(3000);
        assert_ptr_equal(place_of(3000), theirs);
    }
    const void *ours = place_of(3000);
    assert_ptr_not_equal(ours, theirs);
    assert_ptr_equal(place_of(3000), ours);
    for (int64_t i = 1; i <= 17; i++) /* more than is kept */
        assert_non_null(place_of((1 << 20) - i * 64));
    tn_release(stream);
    assert_int_equal(tn_device_memory_trim(cuda0), TN_OK);
    assert_int_equal(tn_memory_reserved(cuda0), kept);
}

/* Training on batches and images of sizes that change leaves behind what its first step did. */
static void test_changing_shapes(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    const char *folders = getenv("TENON_CUDA_PATH");
    const int steps = folders && strstr(folders, "cuda_on_cpu") ? 40 : 10000; /* the emulation's take long */
    tn_module *conv = tn_adopt(tn_conv2d_new(1, 2, 3, .padding = 1)), *linear = tn_adopt(tn_linear_new(2, 3));
    tn_module *net = tn_adopt(tn_sequential_new(tn_retain(conv), tn_retain(linear)));
    assert_int_equal(tn_module_to(net, cuda0), TN_OK);
    tn_optim *opt = tn_adopt(tn_adam_new(tn_parameters(net), 1e-3));
    int64_t allocated = 0, reserved = 0, objects = 0;
    for (int i = 0; i <= steps; i++) {
        {
            TN_SCOPE;
            tn_tensor *x = tn_rand(TN_SHAPE(1 + i % 5, 1, 3 + i % 7, 3 + i % 4), .device = &cuda0);
            tn_tensor *y = tn_randint(TN_SHAPE(1 + i % 5), 0, 3, .device = &cuda0);
            tn_tensor *pooled = tn_mean(tn_flatten(tn_relu(tn_call(conv, x)), 2, -1), .dim = 2);
            assert_int_equal(tn_backward(tn_cross_entropy(tn_call(linear, pooled), y)), TN_OK);
            assert_int_equal(tn_step(opt), TN_OK);
            tn_zero_grad(opt);
        }
        if (i > 0 && i < steps)
            continue;
        assert_int_equal(tn_device_memory_trim(cuda0), TN_OK);
        if (i == 0) {
            allocated = tn_memory_allocated(cuda0);
            reserved = tn_memory_reserved(cuda0);
            objects = tn_live_objects();
        }
    }
    check_good();
    assert_int_equal(tn_memory_allocated(cuda0), allocated);
    assert_int_equal(tn_memory_reserved(cuda0), reserved);
    assert_int_equal(tn_live_objects(), objects);
}

/* ---- graphs --------------------------------------------------------------------------------------------------------------- */

static void test_replay(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    const int64_t before = tn_memory_allocated(cuda0);
    {
        TN_SCOPE;
        tn_tensor *x = tn_zeros(TN_SHAPE(3), .device = &cuda0), *y = NULL;
        tn_graph *graph = tn_adopt(tn_graph_new(cuda0));
        assert_int_equal(tn_replay(graph), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "replay: the graph was not captured");
        {
            TN_CAPTURE(graph);
            y = tn_add(tn_mul(tn_add(x, 1), 2), x);
        }
        check_good();
        for (int i = 0; i < 3; i++) {
            tn_copy_(x, tn_full(TN_SHAPE(3), i));
            assert_int_equal(tn_replay(graph), TN_OK);
            check_values(y, 0, 3 * i + 2, 3 * i + 2, 3 * i + 2);
        }
        assert_int_equal(tn_capture_begin(graph), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "the graph was captured before");
        assert_int_equal(tn_capture_end(graph), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "capture_end: this thread does not capture the graph");
    }
    assert_int_equal(tn_memory_allocated(cuda0), before);
}

/* A net with a convolution and dropout, whose steps are the same done and replayed. */
static void steps_of(bool replayed, int steps, double *losses, tn_tensor *weight[2])
{
    tn_manual_seed(21);
    tn_module *net = tn_adopt(tn_sequential_new(tn_conv2d_new(1, 2, 3, .padding = 1), tn_relu_new(), tn_max_pool2d_new(2), tn_flatten_new(),
                                                tn_linear_new(12, 8), tn_relu_new(), tn_dropout_new(0.25), tn_linear_new(8, 3)));
    assert_int_equal(tn_module_to(net, cuda0), TN_OK);
    tn_optim *opt = tn_adopt(tn_adamw_new(tn_parameters(net), 0.05));
    tn_ema *ema = tn_adopt(tn_ema_new(tn_parameters(net), 0.5));
    tn_tensor *data = tn_randn(TN_SHAPE(8, 4, 1, 4, 6)), *x = tn_to(tn_zeros(TN_SHAPE(4, 1, 4, 6)), cuda0), *loss = NULL;
    tn_tensor *y = tn_to(tn_from_ints(((int64_t[]){0, 1, 2, 1}), TN_SHAPE(4)), cuda0);
    tn_graph *graph = replayed ? tn_adopt(tn_graph_new(cuda0)) : NULL;
    for (int i = 0; i < steps; i++) {
        TN_SCOPE;
        tn_copy_(x, tn_select(data, 0, i % 8));
        if (i == steps / 2)
            assert_int_equal(tn_set_lr(opt, 0.01), TN_OK); /* which a replay takes */
        if (replayed && i == 1) {
            tn_zero_grad(opt);
            TN_CAPTURE(graph);
            loss = tn_keep(tn_cross_entropy(tn_call(net, x), y));
            assert_int_equal(tn_backward(loss), TN_OK);
            assert_int_equal(tn_step(opt), TN_OK);
            assert_int_equal(tn_ema_update(ema), TN_OK);
        }
        if (replayed && i > 0) {
            assert_int_equal(tn_replay(graph), TN_OK);
            losses[i] = tn_item(loss);
            continue;
        }
        tn_tensor *now = tn_cross_entropy(tn_call(net, x), y);
        tn_zero_grad(opt);
        assert_int_equal(tn_backward(now), TN_OK);
        assert_int_equal(tn_step(opt), TN_OK);
        assert_int_equal(tn_ema_update(ema), TN_OK);
        losses[i] = tn_item(now);
    }
    const tn_dict *averages = tn_ema_state_dict(ema);
    check_values(tn_dict_get(averages, "n_averaged"), 0, steps);
    weight[0] = tn_to(tn_parameter(net, "0.weight"), (tn_device_id){TN_CPU, 0});
    weight[1] = tn_to(tn_dict_get(averages, "0"), (tn_device_id){TN_CPU, 0});
    if (loss)
        tn_release(loss);
    check_good();
}

static void test_training_replayed(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    enum { STEPS = 6 };
    double done[STEPS], again[STEPS];
    tn_tensor *a[2], *b[2]; /* a weight, and its moving average */
    steps_of(false, STEPS, done, a);
    steps_of(true, STEPS, again, b);
    for (int i = 0; i < STEPS; i++)
        assert_true(done[i] == again[i]);
    assert_true(tn_equal(a[0], b[0]) && tn_equal(a[1], b[1]) && !tn_equal(a[0], a[1]));
    assert_true(done[1] != done[2]);
}

/* A Llama's step: the frequencies of its tables come from the CPU. */
static void test_rope_captured(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    tn_tensor *positions = tn_arange(0, 5, .device = &cuda0), *sin, *sin_again, *cos_again, *cos = tn_rope_tables(positions, 6, &sin, .base = 500);
    tn_graph *graph = tn_adopt(tn_graph_new(cuda0));
    {
        TN_CAPTURE(graph);
        cos_again = tn_rope_tables(positions, 6, &sin_again, .base = 500);
    }
    assert_int_equal(tn_replay(graph), TN_OK);
    assert_true(tn_equal(cos, cos_again) && tn_equal(sin, sin_again));
    check_good();
}

static void test_not_while_captured(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(4), .device = &cuda0), *here = tn_ones(TN_SHAPE(4)), *y = NULL;
    tn_module *net = tn_adopt(tn_linear_new(4, 1));
    assert_int_equal(tn_module_to(net, cuda0), TN_OK);
    tn_optim *opt = tn_adopt(tn_adam_new(tn_parameters(net), 1e-2));
    tn_graph *graph = tn_adopt(tn_graph_new(cuda0)), *other = tn_adopt(tn_graph_new(cuda0));
    tn_stream *side = tn_adopt(tn_stream_new(cuda0));
    tn_ema *ema = tn_adopt(tn_ema_new(tn_parameters(net), 0.5));
    tn_loader *loader = tn_adopt(tn_loader_new(tn_tensor_dataset_new(here, here), .batch_size = 2, .workers = 1, .device = &cuda0));
    {
        TN_CAPTURE(graph);
        assert_true(isnan(tn_item(tn_sum(x))));
        check_error(TN_ERR_STATE, "numbers are read while a graph is captured from cuda:0: nothing is computed before its replay");
        assert_null(tn_to(here, cuda0));
        check_error(TN_ERR_STATE, "numbers are brought from elsewhere while a graph is captured");
        assert_int_equal(tn_synchronize(cuda0), TN_ERR_STATE);
        tn_clear_error();
        assert_int_equal(tn_replay(graph), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "replay: the graph was not captured");
        assert_int_equal(tn_capture_begin(other), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "this thread captures a graph already");
        assert_int_equal(tn_backward(tn_sum(tn_call(net, tn_reshape(x, TN_SHAPE(1, 4))))), TN_OK);
        assert_int_equal(tn_step(opt), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "an optimiser's first step makes its states: take one before a graph is captured");
        tn_tensor *q = tn_reshape(x, TN_SHAPE(1, 1, 2, 2));
        assert_null(tn_scaled_dot_product_attention(q, q, q, .dropout_p = 0.5));
        check_error(TN_ERR_STATE, "dropout_p while a graph is captured");
        {
            TN_STREAM(side);
            check_error(TN_ERR_STATE, "stream_set while a graph is captured from cuda:0");
        }
        assert_int_equal(tn_ema_update(ema), TN_ERR_STATE);
        check_error(TN_ERR_STATE, "ema_update: the first update copies the parameters: make it before a graph is captured");
        TN_FOREACH_BATCH(batch, loader)
            fail_msg("batch %d", (int)batch->index);
        check_error(TN_ERR_STATE, "loader: a batch while a graph is captured from cuda:0: take it before");
        tn_fail(TN_ERR_ARGUMENT, "left");
    }
    check_error(TN_ERR_ARGUMENT, "left"); /* and the graph is empty again */
    {
        TN_CAPTURE(graph);
        x = tn_mul(x, 5);
    }
    assert_int_equal(tn_replay(graph), TN_OK);
    check_values(x, 0, 5, 5, 5, 5);
    x = tn_ones(TN_SHAPE(4), .device = &cuda0);
    tn_stream_mode mode = tn_stream_set(side);
    assert_int_equal(tn_capture_begin(other), TN_OK);
    tn_stream_restore(&mode); /* what follows is captured still, and after it the former stream is the one */
    y = tn_mul(x, 5);
    assert_int_equal(tn_replay(graph), TN_ERR_STATE);
    check_error(TN_ERR_STATE, "replay while another graph is captured from cuda:0: end that first");
    assert_int_equal(tn_capture_end(other), TN_OK);
    tn_copy_(x, tn_full(TN_SHAPE(4), 2));
    assert_int_equal(tn_replay(other), TN_OK);
    check_values(y, 0, 10, 10, 10, 10);
    check_good();
}

/* A replay that is refused is no step. */
static void test_refused_replay(void **state)
{
    (void)state;
    needs_devices(1);
    TN_SCOPE;
    tn_tensor *x = tn_ones(TN_SHAPE(2), .device = &cuda0, .requires_grad = true);
    tn_optim *opt = tn_adopt(tn_adam_new(TN_LIST(x), 1e-2));
    tn_graph *graph = tn_adopt(tn_graph_new(cuda0)), *other = tn_adopt(tn_graph_new(cuda0));
    assert_int_equal(tn_backward(tn_sum(x)), TN_OK);
    assert_int_equal(tn_step(opt), TN_OK);
    tn_zero_grad(opt);
    {
        TN_CAPTURE(graph);
        assert_int_equal(tn_backward(tn_sum(x)), TN_OK);
        assert_int_equal(tn_step(opt), TN_OK);
    }
    {
        TN_CAPTURE(other);
        assert_int_equal(tn_replay(graph), TN_ERR_STATE);
        tn_clear_error();
    }
    check_values(tn_dict_get(tn_optim_state_dict(opt), "state.0.step"), 0, 1);
    assert_int_equal(tn_replay(graph), TN_OK);
    check_values(tn_dict_get(tn_optim_state_dict(opt), "state.0.step"), 0, 2);
    check_good();
}

int main(void)
{
    setenv("TENON_CUDA_EMULATED_DEVICES", "2", 0);
    const struct CMUnitTest tests[] = {
        TEST(test_cpu_has_none), TEST(test_streams), TEST(test_large_copy),        TEST(test_two_devices),
        TEST(test_memory),       TEST(test_memory_is_kept), TEST(test_changing_shapes), TEST(test_replay), TEST(test_training_replayed),
        TEST(test_not_while_captured), TEST(test_refused_replay), TEST(test_rope_captured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
