"""bench/training.c on PyTorch.  usage: training.py NETWORK THREADS train|one|many [SECONDS] [tuned] [compile] [bf16]
          or training.py NETWORK THREADS losses FILE STEPS, or training.py NETWORK 1 flops
Prints "network.what threads median_ms least_ms peak_mb", the peak being the process's less that after the imports. Settings: tuned
(channels_last, fused Adam, memory kept by malloc), compile (torch.compile), bf16 (autocast). losses begins with the weights and batches of FILE;
flops counts a training step and one example's forward pass."""
import contextlib
import resource
import sys
import time

import settings  # before torch
import torch

from networks import NETWORKS, drawn

network, threads, what, rest = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
tuned, compiled, bf16 = settings.tuned, "compile" in rest, "bf16" in rest
BATCHES, WARMUP = 4, 2
torch.set_num_threads(threads)
torch.manual_seed(1)
after_import = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
make, loss_of, batch, many, x_shape, y_shape, words, classes = NETWORKS[network]
train = what in ("train", "losses", "flops")
batch = batch if train else many if what == "many" else 1
net = make().train(train)
xs, ys = [], []
for _ in range(BATCHES):
    xs.append(drawn(batch, x_shape, words))
    ys.append(drawn(batch, y_shape, classes))
if what == "losses":
    from safetensors.torch import load_file
    file = load_file(rest[0])
    xs, ys = [file.pop(f"x.{i}") for i in range(BATCHES)], [file.pop(f"y.{i}") for i in range(BATCHES)]
    net.load_state_dict(file)
if tuned:
    net = net.to(memory_format=torch.channels_last)
    xs = [x.to(memory_format=torch.channels_last) if x.dim() == 4 else x for x in xs]
opt = torch.optim.Adam(net.parameters(), 1e-4, fused=True if tuned else None) if train else None
run = torch.compile(net) if compiled else net
cast = (lambda: torch.autocast("cpu", torch.bfloat16)) if bf16 else contextlib.nullcontext
turn = 0


def step():
    global turn
    x, y = xs[turn % BATCHES], ys[turn % BATCHES]
    turn += 1
    if not train:
        with torch.inference_mode(), cast():
            run(x)
        return 0
    opt.zero_grad()
    with cast():
        loss = loss_of(run(x), y)
    loss.backward()
    opt.step()
    return loss.item()


def flops(work):
    """FlopCounterMode's, with the half of causal attention taken off; a mkldnn LSTM is counted as its products."""
    from torch.utils.flop_counter import FlopCounterMode
    lstm = torch.backends.mkldnn.flags(enabled=False) if network == "lstm" else contextlib.nullcontext()
    with FlopCounterMode(display=False) as counter, lstm:
        work()
    counts = counter.get_flop_counts()["Global"]
    causal = sum(n for op, n in counts.items() if "attention" in str(op)) if network == "llama" else 0
    return (sum(counts.values()) - causal / 2) * 1e-9


if what == "flops":
    with torch.no_grad():  # in training mode: the Transformer's fast path is not counted
        forward = flops(lambda: net(xs[0][:1]))
    print(f"{network} {flops(step):.6g} {forward:.6g}")
elif what == "losses":
    for _ in range(int(rest[1])):
        print(f"{step():.6f}")
else:
    seconds = next((float(r) for r in rest if r[0].isdigit()), 1)
    for _ in range(WARMUP):
        step()
    for out in settings.turns():
        times, total = [], 0
        while len(times) < 3 or total < 1e3 * seconds and len(times) < 10000:
            begin = time.perf_counter()
            step()
            times.append((time.perf_counter() - begin) * 1e3)
            total += times[-1]
        times.sort()
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - after_import) / 1024
        print(f"{network}.{what} {threads} {times[len(times) // 2]:.4f} {times[0]:.4f} {peak:.1f}", file=out)
