/* The thread's random state. A stream is a seed and how many of its blocks were used; who fills takes the next ones. */
#include "core/random.h"

#include <string.h>

#include "kernels/philox.h"

static const uint64_t default_seed = 67280421310721u; /* PyTorch's */

static __thread struct {
    bool seeded;
    tn_random_state state;
} stream;

/* The first thread to ask has the default seed, the others the following ones: threads never share a stream unseeded. */
static tn_random_state *current(void)
{
    static uint64_t threads;
    if (TN_UNLIKELY(!stream.seeded)) {
        stream.seeded = true;
        stream.state = (tn_random_state){default_seed + __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED), 0};
    }
    return &stream.state;
}

void tn_manual_seed(uint64_t seed) { tn_set_random_state((tn_random_state){seed, 0}); }
tn_random_state tn_get_random_state(void) { return *current(); }

void tn_set_random_state(tn_random_state state)
{
    stream.seeded = true;
    stream.state = state;
}

tn_tensor *tn_get_rng_state(void)
{
    if (tn_failing())
        return NULL;
    tn_tensor *x = tn_new("get_rng_state", TN_SHAPE(2), TN_I64, (tn_device_id){TN_CPU, 0});
    if (x)
        memcpy(tn_ptr(x), current(), sizeof(tn_random_state));
    return x;
}

tn_status tn_set_rng_state(const tn_tensor *x)
{
    if (!tn_ready("set_rng_state", "state", x))
        return tn_last_status();
    int64_t words[2];
    if (x->dtype != TN_I64 || x->ndim != 1 || x->sizes[0] != 2)
        tn_fail(TN_ERR_ARGUMENT, "set_rng_state: state is %s of %s: what tn_get_rng_state() gave is int64 of [2]", tn_text(x),
                tn_dtype_name((tn_dtype)x->dtype));
    else if (tn_to_ints(x, words, 2) == TN_OK)
        tn_set_random_state((tn_random_state){(uint64_t)words[0], (uint64_t)words[1]});
    return tn_last_status();
}

void tn_random_take(tn_random_fill *fill)
{
    tn_random_state *state = current();
    int64_t each = tn_random_per_block(fill->kind, fill->dtype);
    fill->seed = state->seed;
    fill->offset = state->offset;
    state->offset += (uint64_t)((fill->n + each - 1) / each);
}

uint64_t tn_random_below(uint64_t n)
{
    tn_random_state *state = current();
    uint64_t counter = state->offset++;
    return n ? tn_philox_below(n, tn_philox_bits(state->seed, counter, 0, 0), state->seed, counter, 0) : 0;
}
