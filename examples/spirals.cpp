/* Tenon from C++17: a small network learns which of two spirals a point lies on. */
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include <tenon/tenon.hpp>

int main(int argc, char **argv)
try {
    if (argc != 1 && (argc != 3 || std::strcmp(argv[1], "--device") != 0)) {
        std::fprintf(stderr, "usage: spirals [--device cuda:0]\n");
        return 64;
    }
    const tn_device_id on = tn_device(argc == 3 ? argv[2] : "cpu");
    tn::check(tn_last_status());
    constexpr int points = 400;
    std::vector<float> xy; /* [400, 2] */
    std::vector<int64_t> label;
    for (int i = 0; i < points; i++) {
        const double turn = 0.25 + 2.5 * (i / 2) / (points / 2), angle = turn * 3.14159265 + (i % 2 ? 3.14159265 : 0);
        xy.push_back(static_cast<float>(turn * std::cos(angle)));
        xy.push_back(static_cast<float>(turn * std::sin(angle)));
        label.push_back(i % 2);
    }
    tn_manual_seed(1);
    tn::scope root;
    tn_tensor *x = tn_to(tn_from_floats(xy.data(), TN_SHAPE(points, 2)), on), *y = tn_to(tn_from_ints(label.data(), TN_SHAPE(points)), on);

    tn::ref net(tn_sequential_new(tn_linear_new(2, 64), tn_tanh_new(), tn_linear_new(64, 64), tn_tanh_new(), tn_linear_new(64, 2)));
    tn::check(tn_module_to(net, on));
    tn_adam_args options;
    options.weight_decay = 1e-5;
    tn::ref opt(tn_adam_new(tn_parameters(net), 1e-2, options));

    double accuracy = 0;
    for (int step = 1; step <= 600; step++) {
        tn::scope turn;
        tn_tensor *logits = tn_call(net, x), *loss = tn_cross_entropy(logits, y);
        tn_zero_grad(opt);
        tn::check(tn_backward(loss));
        tn::check(tn_step(opt));
        if (step % 100 == 0) {
            tn_arg_args over_classes;
            over_classes.dim = 1;
            tn_tensor *right = tn_eq(tn_argmax(logits, over_classes), y);
            accuracy = tn_item(tn_mean(tn_cast(right, TN_F32)));
            std::printf("step %3d: loss %.4f, accuracy %.1f %%\n", step, tn_item(loss), 100 * accuracy);
        }
    }

    /* An error is an exception that says what to change. */
    try {
        tn::scope turn;
        tn::check(tn_call(net, tn_to(tn_ones(TN_SHAPE(1, 3)), on)));
    } catch (const tn::error &e) {
        std::printf("a wrong size, on purpose: %s\n", e.what());
    }
    return accuracy > 0.95 ? 0 : 1;
} catch (const tn::error &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
