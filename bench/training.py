"""bench/training.c on PyTorch.  usage: training.py NETWORK THREADS train|one|many [SECONDS] [WORD...]
          or training.py NETWORK THREADS losses FILE STEPS, or training.py NETWORK 1 flops
Prints "network.what threads median_ms least_ms peak_mb", the peak being the process's less that after the imports, or "network.what threads
failed: why". Words: tuned (channels_last, fused Adam, memory kept by malloc), compile (torch.compile), bf16 (autocast); cuda:0, tf32 and captured
as training.c's, which may stand beside compile. losses begins with the weights and batches of FILE; flops counts a training step and one example's
forward pass."""
import contextlib
import faulthandler
import math
import resource
import sys
import time

import settings  # before torch
import torch

from networks import NETWORKS, drawn

network, threads, what, rest = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
tuned, compiled, bf16, captured, tf32 = settings.tuned, *(word in rest for word in ("compile", "bf16", "captured", "tf32"))
device = torch.device(next((r for r in rest if r.startswith("cuda")), "cpu"))
on_device = device.type == "cuda"
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
BATCHES, WARMUP = 4, 2
torch.set_num_threads(threads)


def say_why(kind, why, trace):
    """What fails on a device is a row too, in each turn."""
    sys.__excepthook__(kind, why, trace)
    for out in settings.turns():
        print(f"{network}.{what} {threads} failed: {kind.__name__}: {(str(why).strip() or '?').splitlines()[0]}", file=out)


if on_device:
    sys.excepthook = say_why
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
net, xs, ys = net.to(device), [x.to(device) for x in xs], [y.to(device) for y in ys]
if tuned:
    net = net.to(memory_format=torch.channels_last)
    xs = [x.to(memory_format=torch.channels_last) if x.dim() == 4 else x for x in xs]
opt = torch.optim.Adam(net.parameters(), 1e-4, fused=True if tuned else None, capturable=captured) if train else None
run = torch.compile(net) if compiled else net
cast = (lambda: torch.autocast(device.type, torch.bfloat16, cache_enabled=not captured)) if bf16 else contextlib.nullcontext
turn = 0


def batch_of_turn():
    global turn
    turn += 1
    return xs[(turn - 1) % BATCHES], ys[(turn - 1) % BATCHES]


def work(x, y):
    """The loss, None of the forward pass alone."""
    if not train:
        with torch.inference_mode(), cast():
            run(x)
        return None
    opt.zero_grad()
    with cast():
        loss = loss_of(run(x), y)
    loss.backward()
    opt.step()
    return loss


def step():
    return work(*batch_of_turn())


def read(loss):
    return loss.item() if train else 0


def capture():
    """A step by a CUDA graph, warmed up on a side stream as its documentation says."""
    fixed_x, fixed_y = xs[0].clone(), ys[0].clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(5):
            work(fixed_x, fixed_y)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    if train:
        opt.zero_grad()  # the graph makes its own
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = work(fixed_x, fixed_y)

    def replay():
        x, y = batch_of_turn()
        fixed_x.copy_(x)
        fixed_y.copy_(y)
        graph.replay()
        return loss

    return replay


def times_by_device(step, seconds):
    """Of a step, by events around runs of as many as take 0.2 s, 20 at least, with nothing read in between; seconds scales both."""
    least = steps = math.ceil(20 * seconds)
    times = []
    for i in range(-2, 5):  # the first runs tell how many steps one has
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(steps):
            loss = step()
        end.record()
        end.synchronize()
        ms = begin.elapsed_time(end)
        if i < 0:
            steps = max(least, int(200 * seconds * steps / ms))
        else:
            times.append(ms / steps)
    print(f"{network}: last loss {read(loss):.6f}", file=sys.stderr)
    assert math.isfinite(read(loss)), "the loss is not finite"
    return times


def times_here(step, seconds):
    times, total = [], 0
    while not times or total < 1e3 * seconds and len(times) < 10000:
        begin = time.perf_counter()
        read(step())
        times.append((time.perf_counter() - begin) * 1e3)
        total += times[-1]
    return times


@contextlib.contextmanager
def patience():
    """A device that hangs ends the process."""
    if on_device:
        faulthandler.dump_traceback_later(90, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


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
        print(f"{read(step()):.6f}")
else:
    seconds = next((float(r) for r in rest if r[0].isdigit()), 1)
    if on_device:
        print(f"allow_tf32: matmul {torch.backends.cuda.matmul.allow_tf32}, cudnn {torch.backends.cudnn.allow_tf32}", file=sys.stderr)
    with patience():
        for _ in range(WARMUP):
            step()
        go = capture() if captured else step
    for out in settings.turns():
        with patience():
            times = times_by_device(go, seconds) if on_device else times_here(go, seconds)
        times.sort()
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - after_import) / 1024
        print(f"{network}.{what} {threads} {times[len(times) // 2]:.4f} {times[0]:.4f} {peak:.1f}", file=out)
