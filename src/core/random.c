/* The thread's random state. A stream is a seed and how many of its blocks were used; who fills takes the next ones. */
#include "core/random.h"

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
