// The headers from C++17: overloads with options, numbers as operands, places in errors, scopes that an exception closes.
#include <tenon/tenon.h>

#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

static int failures;

static void expect(bool good, const char *what)
{
    if (!good) {
        std::fprintf(stderr, "%s: %s\n", what, tn_last_error() ? tn_last_error() : "no error");
        failures++;
    }
    tn_clear_error();
}

static void thrower()
{
    TN_SCOPE;
    tn_tensor *x = tn_zeros(TN_SHAPE(3));
    if (tn_numel(x) == 3)
        throw std::runtime_error("out");
}

int main()
{
    const int64_t living = tn_live_objects();
    {
        TN_SCOPE;
        const float values[] = {1, 2, 3};
        tn_from_args options;
        options.requires_grad = true;
        tn_tensor *x = tn_from_floats(values, TN_SHAPE(3), options);
        expect(tn_requires_grad(x), "options");
        tn_tensor *y = tn_sum(tn_mul(tn_add(x, 1), 2.0));
        expect(tn_item(y) == 18, "numbers as operands");
        expect(tn_backward(y) == TN_OK && tn_at(tn_grad(x), TN_SHAPE(1)) == 2, "backward");

        tn_tensor *z = tn_matmul(tn_zeros(TN_SHAPE(2, 3)), tn_zeros(TN_SHAPE(4, 5)));
        const std::string place = "cpp_headers.cpp:" + std::to_string(__LINE__ - 1);
        expect(!z && tn_last_error() && std::strstr(tn_last_error(), place.c_str()), "the place of an error");
        tn_tensor *(*product)(tn_tensor *, tn_tensor *) = tn_matmul;
        expect(product(tn_ones(TN_SHAPE(2)), tn_ones(TN_SHAPE(2))) != nullptr, "a function as a value");

        tn_tensor *mine = tn_keep(tn_ones(TN_SHAPE(2)));
        tn_release(mine);
    }
    try {
        thrower();
    } catch (const std::runtime_error &) {
    }
    expect(tn_live_objects() == living, "all is released");
    return failures != 0;
}
