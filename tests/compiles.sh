#!/bin/sh
# compiles.sh COMPILER...: what DESIGN 3 to 5 leave to the compiler. The program below compiles without a word as C11 under each of the
# compilers that is here; with any one of the lines after it, it does not.
strict="-std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -c"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

cat > "$work/before.c" << 'C'
#include <tenon/tenon.h>

typedef struct {
    tn_module base;
    tn_module *fc;
} net;
typedef struct {
    tn_module *fc;
    tn_module base;
} late;
static tn_tensor *net_forward(net *self, tn_tensor *x) { return tn_call(self->fc, x); }
TN_MODULE(net, net_forward);
tn_status example(tn_tensor *x, tn_optim *optim, const tn_dict *dict);
tn_status example(tn_tensor *x, tn_optim *optim, const tn_dict *dict)
{
    TN_SCOPE;
    TN_NO_GRAD;
    net *n = TN_NEW(net);
    TN_CHILD(n, fc, tn_linear_new(2, 3, .bias = false, .activation = TN_ACTIVATION_RELU));
    tn_module *conv = tn_conv2d_new(1, 20, 3, .stride = 0, .padding_hw = {0, 1}, .groups = 0, .bias = false);
    tn_tensor *(*f)(tn_tensor *) = tn_relu;
    tn_tensor *y = tn_sum(tn_clamp(f(x), .min = 0, .max = 0), .dim = 0, .keepdim = false), *indices;
    y = tn_add(tn_mul(y, 2), tn_max(tn_full(TN_SHAPE(2, 3), 0.5, .dtype = TN_F64), .dim = 1, .indices = &indices));
    y = tn_sub(1, tn_sum(tn_from_floats((float[]){1, 2, 3}, TN_SHAPE(3), .requires_grad = true), .dims = TN_DIMS(0)));
    y = tn_index(y, TN_RANGE(0, 2), TN_ALL, 3);
    y = tn_linear_new() ? tn_zeros() : tn_cross_entropy(y, x, .ignore_index = 0, .weight = NULL);
    tn_check(tn_backward(y, .retain_graph = false));
    if (tn_load_state_dict(n, dict, .strict = false) != TN_OK)
        tn_release(n);
    const float *data = tn_data(x);
    ((float *)tn_data_mut(x))[0] = data[1];
    (void)conv;
C
printf '    return tn_step(optim);\n}\n' > "$work/after.c"

compiles() { # compiles COMPILER TEXT ['a' for after the program]
    { cat "$work/before.c"; [ -n "$3" ] || printf '%s\n' "$2"; cat "$work/after.c"; [ -z "$3" ] || printf '%s\n' "$2"; } > "$work/one.c"
    "$1" $strict "$work/one.c" -o "$work/one.o" > "$work/log" 2>&1
}

refused() {
    compiles "$@" || return
    echo "$1 compiles what it must not: $2"
    failed=1
}

for cc in "$@"; do
    command -v "$cc" > /dev/null || { echo "no $cc here: skipped"; continue; }
    compiles "$cc" "" || { echo "$cc does not compile the program, or has a word to say:"; cat "$work/log"; failed=1; }
    # Actions return a status that the compiler warns about when ignored.
    refused "$cc" 'tn_backward(x);'
    refused "$cc" 'tn_step(optim);'
    refused "$cc" 'tn_load_module(n, "file");'
    refused "$cc" 'tn_load_state_dict(n, dict);'
    # create_graph is an option of tn_grad_of alone.
    compiles "$cc" 'tn_grad_of(x, x, .create_graph = true);' || { echo "$cc: create_graph of tn_grad_of"; cat "$work/log"; failed=1; }
    refused "$cc" 'tn_check(tn_backward(x, .create_graph = true));'
    # tn_data is const; tensors are opaque; an option that is not there.
    refused "$cc" 'float *write = tn_data(x); write[0] = 1;'
    refused "$cc" 'x->storage = NULL;'
    refused "$cc" 'tn_sum(x, .axis = 1);'
    # A module's forward has its type (a typed thunk, never a cast function pointer), and its base is first.
    refused "$cc" 'static tn_tensor *wrong(tn_optim *self, tn_tensor *x) { (void)self; return x; }  typedef net other; TN_MODULE(other, wrong);' a
    refused "$cc" 'static tn_tensor *late_forward(late *self, tn_tensor *x) { (void)self; return x; }  TN_MODULE(late, late_forward);' a
    # The handler is void (void); tn_fail is printf-like.
    refused "$cc" 'static void handler(const char *message) { (void)message; }  void set(void); void set(void) { tn_set_error_handler(handler); }' a
    refused "$cc" 'tn_fail(TN_ERR_IO, "%d", "text");'
done
exit $failed
