/* A recurrence of 100,000 steps, its backward, and memory back where it was. */
#include <stdio.h>
#include <tenon/tenon.h>

static double slope(int steps)
{
    TN_SCOPE;
    tn_tensor *w = tn_full(TN_SHAPE(1), 0.5, .dtype = TN_F64, .requires_grad = true);
    tn_tensor *h = tn_zeros(TN_SHAPE(1), .dtype = TN_F64);
    for (int t = 0; t < steps; t++) {
        TN_SCOPE;
        h = tn_pass(tn_add(tn_mul(h, w), 1));
    }
    tn_check(tn_backward(h));
    return tn_item(tn_grad(w));
}

int main(void)
{
    tn_set_error_handler(tn_die);
    slope(10); /* what the library keeps for each thread is there */
    int64_t objects = tn_live_objects(), bytes = tn_get_memory_stats().in_use;
    double dh = slope(100000); /* h = 1 / (1 - w), dh/dw = 1 / (1 - w)^2 */
    printf("%g, %lld objects and %lld bytes more than before\n", dh, (long long)(tn_live_objects() - objects),
           (long long)(tn_get_memory_stats().in_use - bytes));
    return dh != 4 || tn_live_objects() != objects || tn_get_memory_stats().in_use != bytes;
}
