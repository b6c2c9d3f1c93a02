/* A device's kernels beside the CPU's, at sizes that the operators' tables have not: what is longer than a tile, many values that go to few places,
 * and what only the device does, as telling later that an index was wrong. */
#include "check.h"

#include <stdio.h>

#include <tenon/decoder.h>

#include "core/core.h"
#include "kernels/device.h"

static const tn_device_id cuda0 = {TN_CUDA, 0};

static void needs_device(void)
{
    if (!tn_cuda_available()) {
        print_message("skipped: no CUDA device\n");
        skip();
    }
}

/* ---- kernels that go by 16 bytes, and those that cannot ---------------------------------------------------------------------- */

/* A row kernel's result and gradients on a device. */
static void rows_on(tn_device_id device, int op, tn_dtype dtype, int64_t rows, int64_t n, tn_tensor *out[4])
{
    tn_manual_seed(21);
    tn_tensor *x = tn_randn(TN_SHAPE(rows, n)), *weight = tn_randn(TN_SHAPE(n)), *bias = tn_randn(TN_SHAPE(n)), *slope = tn_cast(tn_randn(TN_SHAPE(rows, n)), dtype);
    tn_tensor *in[] = {tn_to(tn_cast(x, dtype), device), tn_to(tn_cast(weight, dtype), device), tn_to(tn_cast(bias, dtype), device)};
    for (int i = 0; i < 3; i++)
        tn_set_requires_grad(in[i], true);
    tn_tensor *y = op == 0   ? tn_softmax(in[0], -1)
                   : op == 1 ? tn_log_softmax(in[0], -1)
                   : op == 2 ? tn_layer_norm(in[0], TN_SHAPE(n), .weight = in[1], .bias = in[2])
                   : op == 3 ? tn_rms_norm(in[0], TN_SHAPE(n), .weight = in[1])
                             : tn_add(tn_mul(tn_silu(in[0]), in[1]), in[2]);
    assert_int_equal(tn_backward(tn_sum(tn_mul(y, tn_to(slope, device)))), TN_OK);
    out[0] = tn_to(tn_detach(y), tn_device("cpu"));
    for (int i = 0; i < 3; i++)
        out[1 + i] = tn_grad(in[i]) ? tn_to(tn_grad(in[i]), tn_device("cpu")) : NULL;
}

static void test_rows_as_cpu(void **state)
{
    (void)state;
    needs_device();
    static const int64_t sizes[] = {20, 24, 256, 1028, 2304, 4100, 5001};
    static const struct {
        tn_dtype dtype;
        double off;
    } types[] = {{TN_F32, 2e-5}, {TN_F64, 1e-12}, {TN_F16, 0.02}, {TN_BF16, 0.1}};
    for (int op = 0; op < 5; op++)
        for (int s = 0; s < (int)(sizeof sizes / sizeof *sizes); s++)
            for (int t = 0; t < (s < 4 ? 4 : 1); t++) {
                TN_SCOPE;
                tn_tensor *here[4], *there[4];
                rows_on((tn_device_id){TN_CPU, 0}, op, types[t].dtype, 3, sizes[s], here);
                rows_on(cuda0, op, types[t].dtype, 3, sizes[s], there);
                check_good();
                for (int i = 0; i < 4; i++)
                    if (here[i] && !tn_allclose(here[i], there[i], types[t].off, types[t].off, false))
                        fail_msg("op %d, dtype %d, %d elements: result %d", op, (int)types[t].dtype, (int)sizes[s], i);
            }
}

/* Of so many that a block has several, and sums up what the parameters' gradients get of them. */
static void test_many_rows_as_cpu(void **state)
{
    (void)state;
    needs_device();
    static const int64_t shapes[][2] = {{8195, 20}, {8192, 16}, {1029, 2052}, {5000, 1024}}; /* the last ones on a GPU */
    for (int op = 2; op < 4; op++)
        for (int s = 0; s < (test_quickly() ? 2 : 4); s++) {
            TN_SCOPE;
            tn_tensor *here[4], *there[4];
            rows_on((tn_device_id){TN_CPU, 0}, op, TN_F32, shapes[s][0], shapes[s][1], here);
            rows_on(cuda0, op, TN_F32, shapes[s][0], shapes[s][1], there);
            check_good();
            for (int i = 0; i < 4; i++)
                if (here[i] && !tn_allclose(here[i], there[i], i < 2 ? 2e-5 : 2e-4, i < 2 ? 2e-5 : 2e-3, false))
                    fail_msg("op %d, %d rows: result %d", op, (int)shapes[s][0], i);
        }
}

/* Sums in one part and in several, of rows and of columns, by 16 bytes and not. Whole numbers, so that all are exact. */
static void test_sums_as_cpu(void **state)
{
    (void)state;
    needs_device();
    static const int64_t shapes[][2] = {{3, 40001}, {70, 1024}, {5, 1003}, {2005, 160}, {1500, 33}};
    static const tn_dtype dtypes[] = {TN_F32, TN_F64, TN_F16, TN_I8};
    for (int s = 0; s < 5; s++)
        for (int t = 0; t < 4; t++) {
            TN_SCOPE;
            tn_manual_seed(22);
            tn_tensor *x = tn_cast(tn_randint(TN_SHAPE(shapes[s][0], shapes[s][1]), 0, 3), dtypes[t]), *there = tn_to(x, cuda0);
            tn_tensor *off = tn_narrow(there, 1, 1, shapes[s][1] - 1), *off_here = tn_narrow(x, 1, 1, shapes[s][1] - 1); /* not at multiples of 16 bytes */
            for (int dim = 0; dim < 2; dim++) {
                assert_true(tn_equal(tn_sum(x, .dim = dim), tn_to(tn_sum(there, .dim = dim), tn_device("cpu"))));
                assert_true(tn_equal(tn_sum(off_here, .dim = dim), tn_to(tn_sum(off, .dim = dim), tn_device("cpu"))));
            }
            if (dtypes[t] != TN_F16) /* which ends before the sum */
                assert_true(tn_equal(tn_sum(x), tn_to(tn_sum(there), tn_device("cpu"))));
        }
}

/* Rows that registers hold, and others. */
static void test_cross_entropy_as_cpu(void **state)
{
    (void)state;
    needs_device();
    static const int64_t sizes[] = {20, 1028, 1031, 4096, 8192};
    static const struct {
        tn_dtype dtype;
        double off;
    } types[] = {{TN_F32, 2e-5}, {TN_F64, 1e-12}, {TN_F16, 0.01}};
    for (int s = 0; s < 5; s++)
        for (int t = 0; t < 3; t++)
            for (int how = 0; how < 3; how++) {
                TN_SCOPE;
                tn_manual_seed(23);
                const int64_t rows = 1030 * 20 / sizes[s] + 3; /* of the fewest classes more than one block does alone */
                tn_tensor *x = tn_cast(tn_randn(TN_SHAPE(rows, sizes[s])), types[t].dtype), *weight = tn_cast(tn_rand(TN_SHAPE(sizes[s])), types[t].dtype);
                tn_tensor *target = tn_randint(TN_SHAPE(rows), 0, sizes[s]), *loss[2], *grad[2];
                ((int64_t *)tn_data(target))[1] = 7;
                for (int d = 0; d < 2; d++) {
                    const tn_device_id device = d ? cuda0 : (tn_device_id){TN_CPU, 0};
                    tn_tensor *in = tn_detach(tn_to(x, device));
                    tn_set_requires_grad(in, true);
                    tn_tensor *l = tn_cross_entropy(in, tn_to(target, device), .ignore_index = 7, .reduction = how == 0 ? TN_MEAN : how == 1 ? TN_SUM : TN_NONE,
                                                    .weight = how == 0 ? NULL : tn_to(weight, device), .label_smoothing = how == 2 ? 0.1 : 0);
                    assert_int_equal(tn_backward(tn_sum(l)), TN_OK);
                    loss[d] = tn_to(tn_detach(l), tn_device("cpu"));
                    grad[d] = tn_to(tn_grad(in), tn_device("cpu"));
                }
                check_good();
                if (!tn_allclose(loss[0], loss[1], types[t].off, types[t].off, false) || !tn_allclose(grad[0], grad[1], types[t].off, types[t].off, false))
                    fail_msg("%d classes, dtype %d, way %d", (int)sizes[s], (int)types[t].dtype, how);
            }
}

/* Sorts longer than a tile, equals among them; sums of many values in few places. Whole numbers, so that both are exact. */
static tn_tensor *indexed(tn_device_id device, int op, tn_dtype dtype)
{
    tn_manual_seed(8);
    tn_tensor *x = tn_cast(tn_randint(TN_SHAPE(2, 1300), 0, 40), dtype), *many = tn_to(tn_cast(tn_randint(TN_SHAPE(700, 6), -4, 4), dtype), device);
    tn_tensor *few = tn_to(tn_randint(TN_SHAPE(700), 0, 3), device), *start = tn_to(tn_cast(tn_randint(TN_SHAPE(7, 6), 0, 9), dtype), device), *at = NULL;
    if (tn_dtype_is_float(dtype))
        tn_fill_(tn_narrow(x, 1, 77, 3), NAN);
    x = tn_to(x, device);
    switch (op) {
    case 0: (void)!tn_sort(x, .indices = &at); return at;
    case 1: (void)!tn_sort(x, .indices = &at, .descending = true); return at;
    case 2: return tn_sort(tn_narrow(x, 1, 100, 600));
    case 3: return tn_topk(tn_narrow(x, 1, 100, 900), 5);
    case 4: return tn_index_add(start, 0, few, many);
    case 5: return tn_scatter_add(tn_reshape(start, TN_SHAPE(-1)), 0, few, tn_contiguous(tn_select(many, 1, 2)));
    case 6: return tn_scatter_add(start, 0, tn_expand(tn_unsqueeze(few, 1), TN_SHAPE(700, 6)), many);
    case 7: return tn_scatter(start, 0, tn_to(tn_randint(TN_SHAPE(700, 6), 0, 3), device), many);
    case 8: return tn_cumsum(tn_narrow(x, 1, 100, 900), 1);
    case 9: return tn_masked_select(many, tn_gt(many, 1));
    case 10: return tn_nonzero(tn_gt(tn_expand(tn_unsqueeze(x, 0), TN_SHAPE(3, 2, 1300)), 10));
    default: return tn_sum(tn_narrow(x, 1, 101, 1099), .dim = 1);
    }
}

static void test_sorts_and_sums(void **state)
{
    (void)state;
    needs_device();
    static const tn_dtype dtypes[] = {TN_F32, TN_BF16, TN_I64, TN_U8};
    for (int op = 0; op < 12; op++)
        for (int t = 0; t < 4; t++) {
            if (dtypes[t] == TN_BF16 && (op == 4 || op == 5 || op == 6)) /* it rounds each sum on the CPU */
                continue;
            TN_SCOPE;
            tn_tensor *here = indexed((tn_device_id){TN_CPU, 0}, op, dtypes[t]), *there = tn_to(indexed(cuda0, op, dtypes[t]), tn_device("cpu"));
            check_good();
            if (!tn_equal(here, there))
                fail_msg("op %d, dtype %d", op, (int)dtypes[t]);
        }
}

/* Attention longer than a tile each way, within one, and of many heads, which go by large tiles: y and the gradients of q, k and v. Where `how` is
 * odd, a row's heads lie side by side in all of them. */
static tn_tensor *heads_of(int how, tn_tensor *x) { return how % 2 ? tn_transpose(x, 1, 2) : x; }
static void attention_on(tn_device_id device, int how, tn_dtype dtype, tn_tensor *out[4])
{
    static const int64_t shapes[][6] = {{2, 1, 70, 90, 20, 68}, {2, 1, 70, 90, 20, 68}, {2, 1, 70, 90, 20, 68}, {2, 2, 30, 28, 66, 68}, {128, 64, 66, 65, 3, 2}, {256, 256, 40, 36, 3, 2}};
    const int64_t H = shapes[how][0], KV = shapes[how][1], L = shapes[how][2], S = shapes[how][3], E = shapes[how][4], EV = shapes[how][5];
    tn_manual_seed(17);
    const bool beside = how % 2;
    tn_tensor *in[] = {tn_randn(beside ? TN_SHAPE(1, L, H, E) : TN_SHAPE(1, H, L, E), .dtype = dtype),
                       tn_randn(beside ? TN_SHAPE(1, S, KV, E) : TN_SHAPE(1, KV, S, E), .dtype = dtype),
                       tn_randn(beside ? TN_SHAPE(1, S, KV, EV) : TN_SHAPE(1, KV, S, EV), .dtype = dtype)};
    tn_tensor *mask = tn_to(how == 1 ? tn_gt(tn_randn(TN_SHAPE(L, S)), 0) : tn_randn(TN_SHAPE(L, S), .dtype = dtype), device);
    tn_tensor *slope = heads_of(how, tn_to(tn_randn(beside ? TN_SHAPE(1, L, H, EV) : TN_SHAPE(1, H, L, EV), .dtype = dtype), device));
    for (int i = 0; i < 3; i++) {
        in[i] = tn_to(in[i], device);
        tn_set_requires_grad(in[i], true);
    }
    tn_tensor *q = heads_of(how, in[0]), *k = heads_of(how, in[1]), *v = heads_of(how, in[2]);
    out[0] = tn_scaled_dot_product_attention(q, k, v, .is_causal = how == 0, .attn_mask = how == 0 ? NULL : mask, .enable_gqa = true,
                                             .dropout_p = how >= 2 ? 0.2 : 0);
    assert_int_equal(tn_backward(tn_sum(tn_mul(out[0], slope))), TN_OK);
    out[0] = tn_to(tn_detach(out[0]), tn_device("cpu"));
    for (int i = 0; i < 3; i++)
        out[1 + i] = tn_to(tn_grad(in[i]), tn_device("cpu"));
}

static void test_long_attention(void **state)
{
    (void)state;
    needs_device();
    for (int how = 0; how < 6; how++) {
        TN_SCOPE;
        tn_tensor *here[4], *there[4];
        const tn_dtype dtype = how == 1 ? TN_F64 : TN_F32;
        attention_on((tn_device_id){TN_CPU, 0}, how, dtype, here);
        attention_on(cuda0, how, dtype, there);
        check_good();
        for (int i = 0; i < 4; i++)
            if (!tn_allclose(here[i], there[i], dtype == TN_F64 ? 1e-12 : 2e-5, dtype == TN_F64 ? 1e-12 : 2e-5, false))
                fail_msg("how %d: result %d", how, i);
    }
}

/* ---- indices, targets, labels -------------------------------------------------------------------------------------------- */

/* Each operator that takes indices says at the next wait which one was wrong. */
static void test_every_index_is_checked(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_tensor *x = tn_zeros(TN_SHAPE(5, 3), .device = &cuda0), *rows = tn_ones(TN_SHAPE(2, 3), .device = &cuda0);
    tn_tensor *bad = tn_to(tn_from_ints(((int64_t[]){1, 5}), TN_SHAPE(2)), cuda0), *wide = tn_to(tn_from_ints(((int64_t[]){1, 5, 0, 4, 3, 2}), TN_SHAPE(2, 3)), cuda0);
    for (int op = 0; op < 9; op++) {
        tn_tensor *y = op == 0   ? tn_index_select(x, 0, bad)
                       : op == 1 ? tn_index_add(x, 0, bad, rows)
                       : op == 2 ? tn_gather(x, 0, wide)
                       : op == 3 ? tn_scatter(x, 0, wide, rows)
                       : op == 4 ? tn_scatter_add(x, 0, wide, rows)
                       : op == 5 ? tn_embedding(bad, x)
                       : op == 6 ? tn_cross_entropy(rows, tn_sub(bad, 2))
                       : op == 7 ? tn_one_hot(bad, 5)
                                 : tn_index(x, bad);
        if (!y)
            fail_msg("op %d: at once: %s", op, tn_last_error());
        assert_int_equal(tn_synchronize(cuda0), TN_ERR_INDEX);
        check_error(TN_ERR_INDEX, op == 6 ? "target number 0 is -1, but there are 3 classes" : "index 5 is out of range for a dim of size");
        assert_int_equal(tn_synchronize(cuda0), TN_OK);
    }
}

/* Labels may be here or there. */
static void test_ctc(void **state)
{
    (void)state;
    needs_device();
    TN_SCOPE;
    tn_tensor *x = tn_log(tn_from_floats(((float[]){0.6F, 0.4F, 0.3F, 0.7F}), TN_SHAPE(2, 1, 2))), *label = tn_from_ints(((int64_t[]){1}), TN_SHAPE(1, 1));
    tn_tensor *two = tn_from_ints(((int64_t[]){2}), TN_SHAPE(1)), *one = tn_from_ints(((int64_t[]){1}), TN_SHAPE(1));
    x = tn_to(x, cuda0);
    check_values(tn_ctc_loss(x, label, two, one), 1e-6, -log(0.4 * 0.7 + 0.6 * 0.7 + 0.4 * 0.3));
    check_values(tn_ctc_loss(x, tn_to(label, cuda0), tn_to(two, cuda0), one), 1e-6, -log(0.4 * 0.7 + 0.6 * 0.7 + 0.4 * 0.3));
    check_good();
}

/* ---- decoding ------------------------------------------------------------------------------------------------------------- */

enum { VOCAB = 40, LENGTH = 13 };
#define SIZES .vocab_size = VOCAB, .hidden_size = 48, .intermediate_size = 80, .num_hidden_layers = 2, .initializer_range = 0.3, .num_attention_heads = 4

/* How far a decoder there is from one here, in parts of the largest logit: a prompt, then token by token, then two sequences at once. */
static double decoders_differ(tn_module *llama, tn_quant weights, tn_dtype cache)
{
    TN_SCOPE;
    double most = 0, worst = 0;
    const int64_t both[] = {0, 1}, next[] = {5, 7};
    int64_t tokens[LENGTH];
    for (int i = 0; i < LENGTH; i++)
        tokens[i] = (i * i * 7 + 3 * i + 1) % VOCAB;
    tn_decoder *here = tn_adopt(tn_decoder_new(llama, .weights = weights, .cache = cache, .sequences = 2));
    tn_decoder *there = tn_adopt(tn_decoder_new(llama, .weights = weights, .cache = cache, .sequences = 2, .device = &cuda0));
    for (int i = 8; i <= LENGTH + 1; i++) {
        const float *a, *b;
        if (i == 8)
            a = tn_decoder_feed(here, 0, tokens, i), b = tn_decoder_feed(there, 0, tokens, i);
        else if (i <= LENGTH)
            a = tn_decoder_feed(here, 0, tokens + i - 1, 1), b = tn_decoder_feed(there, 0, tokens + i - 1, 1);
        else
            a = tn_decoder_step(here, both, next, 2), b = tn_decoder_step(there, both, next, 2);
        check_good();
        for (int k = 0; k < (i > LENGTH ? 2 : 1) * VOCAB; k++) {
            most = fmax(most, fabs((double)a[k]));
            worst = fmax(worst, isfinite(b[k]) ? fabs((double)a[k] - (double)b[k]) : INFINITY);
        }
    }
    return worst / most;
}

static void test_decoder(void **state)
{
    (void)state;
    needs_device();
    const int64_t before = tn_get_device_memory_stats(cuda0).in_use;
    /* In blocks of 8 bits an input whose last bit differs may round to another whole number: two devices agree as far as such steps go. */
    static const struct {
        int model;
        tn_quant weights;
        tn_dtype cache;
        double off;
    } rows[] = {{0, TN_QUANT_F32, TN_F32, 1e-5},    {1, TN_QUANT_F32, TN_F32, 1e-5},    {2, TN_QUANT_F32, TN_F32, 1e-5}, {0, TN_QUANT_F16, TN_F32, 1e-5},
                {0, TN_QUANT_BF16, TN_BF16, 0.02},  {1, TN_QUANT_Q8_0, TN_BF16, 0.02},  {0, TN_QUANT_Q4_0, TN_F32, 0.05}, {1, TN_QUANT_F32, TN_I8, 0.02}};
    for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++) {
        TN_SCOPE;
        tn_manual_seed(4);
        tn_module *llama = rows[i].model == 0   ? tn_llama_new(SIZES, .tie_word_embeddings = true)
                           : rows[i].model == 1 ? tn_llama_new(SIZES, .num_key_value_heads = 2, .qk_norm = true, .attention_bias = true, .head_dim = 24)
                                                : tn_llama_new(SIZES, .sliding_window = 5);
        const double off = decoders_differ(tn_adopt(llama), rows[i].weights, rows[i].cache);
        if (!(off <= rows[i].off))
            fail_msg("row %d: %g", i, off);
    }
    TN_SCOPE;
    tn_module *llama = tn_adopt(tn_llama_new(SIZES));
    assert_int_equal(tn_module_to(llama, cuda0), TN_OK); /* it decodes where the module is */
    tn_decoder *decoder = tn_decoder_new(llama);
    const int64_t token = 3;
    assert_non_null(tn_decoder_feed(decoder, 0, &token, 1));
    tn_release(decoder);
    assert_int_equal(tn_module_to(llama, (tn_device_id){TN_CPU, 0}), TN_OK);
    assert_int_equal(tn_get_device_memory_stats(cuda0).in_use, before);
    assert_null(tn_decoder_new(llama, .device = &(tn_device_id){TN_CUDA, 99}));
    check_error(TN_ERR_DEVICE, "decoder: cuda:99 is not there");
}

/* Bytes there. */
static tn_tensor *bytes_there(const void *data, int64_t bytes)
{
    return tn_to(tn_from_memory((void *)(uintptr_t)data, TN_SHAPE(bytes), NULL, NULL, .dtype = TN_U8), cuda0);
}

/* Each kind's products and rows, by those of the CPU. */
static void test_packed_kinds(void **state)
{
    (void)state;
    needs_device();
    enum { ROWS = 37, COLS = 512, N = 11 };
    static float w[ROWS * COLS], x[N * COLS], y[2][N * ROWS], row[2][2 * COLS];
    const int64_t seen[] = {ROWS - 1, 3};
    static uint8_t blocks[ROWS * COLS * 2];
    uint32_t random = 1;
    for (int i = 0; i < ROWS * COLS; i++)
        w[i] = (float)(int32_t)(random = random * 1664525u + 1013904223u) * 0x1p-31f;
    for (int i = 0; i < N * COLS; i++)
        x[i] = (float)(int32_t)(random = random * 1664525u + 1013904223u) * 0x1p-31f;
    for (int kind = 0; kind < TN_PACKED_KINDS; kind++) {
        TN_SCOPE;
        const tn_kernels *here = tn_kernels_of(TN_CPU), *there = tn_kernels_on(cuda0);
        const size_t bytes = tn_packed_bytes((tn_packed_kind)kind, ROWS, COLS), of_x = tn_packed_input_bytes((tn_packed_kind)kind, N, COLS);
        tn_packed_matrix packed = {(tn_packed_kind)kind, ROWS, COLS, aligned_alloc(64, (bytes + 63) / 64 * 64), NULL, NULL};
        if (kind < TN_PACKED_OF_FLOATS) {
            assert_int_equal(here->packed_pack(&packed, 0, ROWS, w, COLS), TN_OK);
        } else { /* any bytes are blocks, but for what is infinite as a scale */
            for (size_t i = 0; i < sizeof blocks; i++)
                blocks[i] = (uint8_t)(i * 31 % 251 & (kind == TN_PACKED_MXFP4 ? 127 : 0xbb));
            assert_int_equal(here->packed_pack_blocks(&packed, 0, ROWS, blocks), TN_OK);
        }
        void *prepared = aligned_alloc(64, (of_x + 127) / 64 * 64);
        assert_int_equal(here->packed_input(packed.kind, N, COLS, x, COLS, prepared, 0, 1), TN_OK);
        assert_int_equal(here->packed_product(&packed, N, prepared, y[0], ROWS, false, 0, 1), TN_OK);
        assert_int_equal(here->packed_unpack(&packed, 2, seen, row[0]), TN_OK);
        tn_tensor *data = bytes_there(packed.data, (int64_t)bytes), *input = bytes_there(x, sizeof x), *space = tn_zeros(TN_SHAPE((int64_t)of_x), .dtype = TN_U8, .device = &cuda0);
        tn_tensor *out = tn_zeros(TN_SHAPE(N, ROWS), .device = &cuda0), *unpacked = tn_zeros(TN_SHAPE(2, COLS), .device = &cuda0);
        tn_tensor *which = tn_to(tn_from_ints(seen, TN_SHAPE(2)), cuda0);
        check_good();
        free(packed.data);
        packed.data = tn_ptr(data);
        assert_int_equal(there->packed_input(packed.kind, N, COLS, (const float *)(const void *)tn_ptr(input), COLS, tn_ptr(space), 0, 1), TN_OK);
        assert_int_equal(there->packed_product(&packed, N, tn_ptr(space), (float *)(void *)tn_ptr(out), ROWS, false, 0, 1), TN_OK);
        assert_int_equal(there->packed_unpack(&packed, 2, (const int64_t *)(const void *)tn_ptr(which), (float *)(void *)tn_ptr(unpacked)), TN_OK);
        memcpy(y[1], tn_data(tn_to(out, tn_device("cpu"))), sizeof y[1]);
        memcpy(row[1], tn_data(tn_to(unpacked, tn_device("cpu"))), sizeof row[1]);
        free(prepared);
        double size = 0;
        for (int i = 0; i < N * ROWS; i++)
            size = fabs((double)y[0][i]) > size ? fabs((double)y[0][i]) : size;
        assert_true(size > 0 && isfinite(size));
        for (int i = 0; i < N * ROWS; i++)
            if (!(fabs((double)y[1][i] - (double)y[0][i]) <= 2e-6 * size))
                fail_msg("kind %d: y[%d] is %.9g there, %.9g here", kind, i, (double)y[1][i], (double)y[0][i]);
        for (int k = 0; k < 2 * COLS; k++)
            if (!(fabsf(row[1][k] - row[0][k]) <= 1e-6f * fabsf(row[0][k])))
                fail_msg("kind %d: element %d is %.9g there, %.9g here", kind, k, (double)row[1][k], (double)row[0][k]);
    }
}

/* SwiGLU where it lies, of rows that are apart. */
static void test_gate(void **state)
{
    (void)state;
    needs_device();
    enum { N = 10, ROW = 16, ROWS = 3 };
    float gate[ROWS * ROW], up[ROWS * ROW], there[ROWS * ROW];
    for (int i = 0; i < ROWS * ROW; i++)
        gate[i] = (float)(i % 7 - 3), up[i] = (float)(i % 5 - 2);
    tn_tensor *g = tn_from_floats(gate, TN_SHAPE(ROWS, ROW)), *u = tn_from_floats(up, TN_SHAPE(ROWS, ROW));
    g = tn_to(g, cuda0), u = tn_to(u, cuda0);
    check_good();
    assert_int_equal(tn_kernels_on(cuda0)->decode_gate(ROWS, N, (float *)(void *)tn_ptr(g), (const float *)(const void *)tn_ptr(u), ROW, TN_PACKED_F32, NULL),
                     TN_OK);
    memcpy(there, tn_data(tn_to(g, tn_device("cpu"))), sizeof there);
    assert_int_equal(tn_kernels_of(TN_CPU)->decode_gate(ROWS, N, gate, up, ROW, TN_PACKED_F32, NULL), TN_OK);
    for (int i = 0; i < ROWS * ROW; i++)
        assert_true(fabs((double)there[i] - (double)gate[i]) <= 1e-6);
}


int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows_as_cpu), TEST(test_many_rows_as_cpu), TEST(test_sorts_and_sums), TEST(test_long_attention), TEST(test_every_index_is_checked),
        TEST(test_ctc),         TEST(test_decoder),          TEST(test_packed_kinds),   TEST(test_sums_as_cpu),    TEST(test_cross_entropy_as_cpu),
        TEST(test_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
