// DESIGN 3 and 4: "a C++ exception thrown through a callback closes the scopes it passes": from a module's forward, a hook, an operator's
// rules, a checked function, a dataset, a sampler and the error handler. Afterwards nothing lives on, and the thread works as before.
#include <tenon/tenon.hpp>

#include <cstdio>
#include <stdexcept>

namespace
{
int failures;

void expect(bool good, const char *what)
{
    if (!good) {
        std::fprintf(stderr, "%s: %s\n", what, tn_last_error() ? tn_last_error() : "no error");
        failures++;
    }
    tn_clear_error();
}

[[noreturn]] void thrown()
{
    tn_ones(TN_SHAPE(7)); // of a scope that the exception passes
    throw std::runtime_error("out of a callback");
}

// Calls f, which must throw; what lived before lives after, and recording is on as before.
template <class F> void throws(const char *what, F f)
{
    const int64_t living = tn_live_objects();
    const tn_random_state random = tn_get_random_state();
    bool caught = false;
    try {
        tn::scope scope;
        f();
    } catch (const std::runtime_error &e) {
        caught = true;
    }
    expect(caught, what);
    expect(tn_live_objects() == living, what);
    expect(tn_grad_enabled(), what);
    expect(tn_get_random_state().offset == random.offset && tn_get_random_state().seed == random.seed, what);
}

struct throwing {
    tn_module base;
};
tn_tensor *throwing_forward(throwing *, tn_tensor *) { thrown(); }
TN_MODULE(throwing, throwing_forward);

tn_tensor *throwing_hook(tn_tensor *, void *) { thrown(); }

void plain_forward(tn_context *, tn_tensor *const *in, int n_in, tn_tensor **out, int)
{
    out[0] = tn_mul(in[0], in[n_in - 1]);
}
void throwing_forward_rule(tn_context *, tn_tensor *const *, int, tn_tensor **, int) { thrown(); }
void throwing_backward_rule(tn_context *, tn_tensor *const *, int, tn_tensor **, int) { thrown(); }
const tn_function in_forward = {"in_forward", throwing_forward_rule, throwing_backward_rule};
const tn_function in_backward = {"in_backward", plain_forward, throwing_backward_rule};

int calls;
tn_tensor *throws_when_moved(tn_tensor *const *in, int, void *)
{
    if (++calls == 2)
        thrown();
    return tn_sum(tn_mul(in[0], in[0]));
}

int64_t five(void *) { return 5; }
tn_status throwing_get(void *, int64_t i, tn_tensor **x, tn_tensor **)
{
    if (i == 3)
        thrown();
    *x = tn_rand(TN_SHAPE(2));
    return tn_last_status();
}
tn_status throwing_order(void *, int64_t *) { thrown(); }
const tn_dataset_class numbers = {five, throwing_get, nullptr};
const tn_sampler_class disorder = {five, throwing_order, nullptr, nullptr};

void throwing_handler() { throw std::runtime_error(tn_last_error()); }

void through_modules()
{
    tn::ref<tn_module> net(tn_sequential_new(tn_identity_new(), TN_NEW(throwing)));
    throws("a module's forward", [&] { tn_call(net.get(), tn_ones(TN_SHAPE(2))); });
    throws("a summary", [&] { tn_format_summary(net.get(), tn_ones(TN_SHAPE(2)), nullptr, 0); });
    expect(tn_is_training(net.get()) && tn_is_training(tn_child(net.get(), "1")), "a summary leaves the modes as they were");
}

void through_backward()
{
    tn::scope scope;
    tn_tensor *x = tn_ones(TN_SHAPE(3));
    expect(tn_set_requires_grad(x, true) == TN_OK, "a leaf");
    throws("a hook of a result", [&] {
        tn_tensor *y = tn_mul(x, 2);
        tn_add_hook(y, throwing_hook, nullptr);
        tn_check(tn_backward(tn_sum(tn_exp(y))));
    });
    throws("a hook of a leaf", [&] {
        tn_tensor *leaf = tn_ones(TN_SHAPE(2)), *others[] = {leaf, x};
        tn_tensor *results[2];
        tn_set_requires_grad(leaf, true);
        tn_add_hook(leaf, throwing_hook, nullptr);
        tn_tensor *y = tn_add(tn_sum(x), tn_sum(leaf));
        tn_check(tn_grads_of(&y, 1, others, 2, results));
    });
    throws("an operator's forward", [&] { tn_apply(&in_forward, &failures, sizeof failures, &x, 1); });
    throws("an operator's backward", [&] { tn_check(tn_backward(tn_sum(tn_apply(&in_backward, &failures, sizeof failures, &x, 1)))); });
    throws("an operator of many inputs", [&] {
        tn_tensor *many[20];
        for (tn_tensor *&each : many)
            each = x;
        tn_check(tn_backward(tn_sum(tn_apply(&in_backward, nullptr, 0, many, 20))));
    });
    expect(!tn_grad(x), "no .grad has changed");
    const double values[] = {1, 2};
    tn_tensor *checked = tn_from_doubles(values, TN_SHAPE(2));
    expect(tn_set_requires_grad(checked, true) == TN_OK, "a leaf of float64");
    throws("a checked function", [&] { tn_check(tn_gradcheck(throws_when_moved, nullptr, &checked, 1)); });
    expect(tn_at(checked, TN_SHAPE(0)) == 1, "gradcheck puts back what it moved");
    expect(tn_backward(tn_sum(tn_mul(x, 3))) == TN_OK && tn_item(tn_sum(tn_grad(x))) == 9, "backward works as before");
}

void through_loaders()
{
    tn_loader_args options;
    options.batch_size = 2;
    options.seed = 1;
    tn::ref<tn_loader> loader(tn_loader_new(tn_dataset_new(&numbers, nullptr), options));
    throws("a dataset", [&] {
        TN_FOREACH_BATCH (batch, loader.get())
            expect(batch->index == 0, "the second batch throws");
    });
    options.batch_size = 4;
    tn::ref<tn_loader> first(tn_loader_new(tn_dataset_new(&numbers, nullptr), options));
    throws("a dataset at once", [&] {
        TN_FOREACH_BATCH (batch, first.get())
            expect(!batch, "the first batch throws");
    });
    options.sampler = tn_sampler_new(&disorder, nullptr);
    tn::ref<tn_loader> disordered(tn_loader_new(tn_dataset_new(&numbers, nullptr), options));
    throws("a sampler", [&] {
        TN_FOREACH_BATCH (batch, disordered.get())
            expect(!batch, "no batch comes");
    });
}
} // namespace

int main()
{
    const int64_t living = tn_live_objects(), in_use = tn_get_memory_stats().in_use;
    tn_manual_seed(1);
    through_modules();
    through_backward();
    through_loaders();
    tn_set_error_handler(throwing_handler);
    throws("the error handler", [] { tn_check(tn_backward(tn_ones(TN_SHAPE(1)))); });
    tn_shutdown();
    expect(tn_live_objects() == living, "all is released");
    expect(tn_get_memory_stats().in_use == in_use, "memory is back where it was");
    return failures != 0;
}
