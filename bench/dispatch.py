"""bench/dispatch.c on PyTorch."""
import time

import torch

torch.set_num_threads(1)
ROUNDS, CALLS = 11, 5000


def report(name, call):
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        times.append((time.perf_counter_ns() - start) / CALLS)
    print(name, f"{sorted(times)[ROUNDS // 2]:.1f}")


x, w = torch.ones(8), torch.ones(8, requires_grad=True)
report("empty", lambda: torch.empty(8))
report("add", lambda: torch.add(x, x))
report("add_number", lambda: torch.add(x, 1))
report("add_recorded", lambda: torch.add(w, w))
report("add_sum_backward", lambda: torch.add(w, w).sum().backward())
