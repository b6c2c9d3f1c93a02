// tenon.hpp: references that own, scopes and stretches without recording, errors as exceptions.
#include <tenon/tenon.hpp>

#include <cstdio>
#include <cstring>
#include <utility>

static int failures;

static void expect(bool good, const char *what)
{
    if (!good) {
        std::fprintf(stderr, "%s: %s\n", what, tn_last_error() ? tn_last_error() : "no error");
        failures++;
    }
    tn_clear_error();
}

static void references()
{
    const int64_t living = tn_live_objects();
    {
        tn::ref<tn_tensor> kept;
        {
            tn::scope scope;
            kept = tn::keep(tn_full(TN_SHAPE(2), 3));
            tn_ones(TN_SHAPE(5));
        }
        expect(tn_live_objects() == living + 1, "what was kept outlives the scope, alone");
        tn::ref<tn_tensor> copy = kept, moved = std::move(copy);
        expect(!copy.get() && moved.get() == kept.get() && reinterpret_cast<tn_object *>(moved.get())->refs == 2, "a copy shares, a move does not");
        kept = moved;
        kept = std::move(moved);
        expect(tn_item(tn_sum(kept)) == 6, "it converts to a plain pointer");
        tn_release(kept.release());
        expect(!kept.get(), "release gives the reference away");
        tn::ref<tn_module> layer(tn_linear_new(2, 2));
        tn::ref<tn_module> net(tn_sequential_new(layer.release(), tn_relu_new()));
        expect(tn_num_children(net) == 2, "a receiver takes it");
        tn_scope_clear();
    }
    expect(tn_live_objects() == living, "references release what they own");
}

static void errors()
{
    tn::scope scope;
    bool thrown = false;
    try {
        tn::check(tn_matmul(tn_ones(TN_SHAPE(2, 3)), tn_ones(TN_SHAPE(4, 5))));
    } catch (const tn::error &e) {
        thrown = e.status == TN_ERR_SHAPE && std::strstr(e.what(), "the inner sizes 3 and 4 differ (");
    }
    expect(thrown && tn_last_status() == TN_OK, "a null result is thrown with the error, which sticks no longer");
    thrown = false;
    try {
        tn::check(tn_backward(tn_ones(TN_SHAPE(1))));
    } catch (const tn::error &e) {
        thrown = e.status == TN_ERR_GRAD;
    }
    expect(thrown, "a status is thrown");
    thrown = false;
    try {
        tn::ref<tn_module> none(tn_linear_new(-1, 2));
    } catch (const tn::error &e) {
        thrown = e.status == TN_ERR_ARGUMENT;
    }
    expect(thrown, "a reference to what failed is thrown");
    tn::check(TN_OK);
}

static void modes()
{
    {
        tn::no_grad off;
        expect(!tn_grad_enabled(), "no_grad");
    }
    expect(tn_grad_enabled(), "no_grad ends with its block");
}

int main()
{
    references();
    errors();
    modes();
    return failures != 0;
}
