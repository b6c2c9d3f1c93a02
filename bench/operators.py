"""bench/operators.c on PyTorch.  usage: operators.py THREADS LIST [SECONDS] [tuned] [compile] [bf16] [cuda:0] [tf32]
LIST is a file of lines of operators.txt.
Prints "family.what.sizes threads median_ms least_ms". Settings as of training.py; by compile, which takes part in the calls timed, each must
give what it gives without."""
import sys
import time

import settings  # before torch
import torch
from torch.nn import functional as F

torch.set_num_threads(int(sys.argv[1]))
seconds = next((float(a) for a in sys.argv[3:] if a[0].isdigit()), 0.1)
device = next((a for a in sys.argv[3:] if a.startswith("cuda")), "cpu")
torch.set_default_device(device)
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = "tf32" in sys.argv
torch.manual_seed(1)
compiled = "compile" in sys.argv
if compiled:
    torch._dynamo.config.recompile_limit = 1000  # each row has sizes of its own: of one function many are compiled
    torch._functorch.config.donated_buffer = False  # a graph stays for the next call


def factor(*shape):
    """What products multiply: float32, under autocast."""
    return torch.rand(shape) * 2 - 1


def uniform(*shape):
    return factor(*shape).to(torch.bfloat16 if "bf16" in sys.argv else torch.float32)


def image(n, c, h, make=uniform):
    x = make(n, c, h, h)
    return x.to(memory_format=torch.channels_last) if settings.tuned else x


def adam(n):
    parameters = [torch.rand(n // 10, requires_grad=True) for _ in range(10)]
    for p in parameters:
        p.grad = torch.rand_like(p)
    opt = torch.optim.Adam(parameters, 1e-3, fused=True if settings.tuned else None)
    return [], opt.step


def conv(n, i, o, h, k, stride, groups):
    x, w, b = image(n, i, h, factor), factor(o, i // groups, k, k), factor(o)
    w = w.to(memory_format=torch.channels_last) if settings.tuned else w
    return [x, w, b], lambda x, w, b: F.conv2d(x, w, b, stride, k // 2, groups=groups)


def of(*inputs):
    """A family of one function on these inputs."""
    return lambda function: (inputs, function)


def summed(function):
    return lambda *inputs: function(*inputs).sum()


FAMILIES = {
    "linear": lambda m, k, n: of(factor(m, k), factor(n, k))(F.linear),
    "conv": conv,
    "max_pool": lambda n, c, h, k: of(image(n, c, h))(lambda x: F.max_pool2d(x, k)),
    "avg_pool": lambda n, c, h, k: of(image(n, c, h))(lambda x: F.avg_pool2d(x, k)),
    "softmax": lambda n, c: of(uniform(n, c))(lambda x: x.softmax(1)),
    "cross_entropy": lambda n, c: of(uniform(n, c), torch.randint(0, c, (n,)))(F.cross_entropy),
    "layer_norm": lambda n, c: of(uniform(n, c), uniform(c), uniform(c))(lambda x, w, b: F.layer_norm(x, (c,), w, b)),
    "rms_norm": lambda n, c: of(uniform(n, c), uniform(c))(lambda x, w: F.rms_norm(x, (c,), w)),
    "batch_norm": lambda n, c, h: of(image(n, c, h), uniform(c), uniform(c))(lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "copy": lambda n: of(uniform(n))(torch.clone),
    "gelu": lambda n: of(uniform(n))(F.gelu),
    "exp": lambda n: of(uniform(n))(torch.exp),
    "relu": lambda n: of(uniform(n))(torch.relu),
    "add": lambda n: of(uniform(n), uniform(n))(torch.add),
    "mul": lambda n: of(uniform(n), uniform(n))(torch.mul),
    "sum": lambda r, c, dim: of(uniform(r, c))(lambda x: x.sum() if dim == 2 else x.sum(dim)),
    "transpose": lambda r, c: of(uniform(r, c))(lambda x: x.t().contiguous()),
    "embedding": lambda r, c, n: of(uniform(r, c), torch.randint(0, r, (n,)))(lambda w, i: F.embedding(i, w)),
    "attention": lambda n, h, l, e, causal: of(*(factor(n, h, l, e) for _ in range(3)))(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=bool(causal))),
    "adam": adam,
    "empty": lambda n: of()(lambda: torch.empty(n)),
}


def timed(run, calls):
    """ms of so many calls, by the device's events where they run on one."""
    if device == "cpu":
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - begin) * 1e3
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def measure(name, run):
    run()
    once, times, total, least = timed(run, 1), [], 0, 0.1 if device == "cpu" else 2
    calls = int(least / (once + 1e-5)) + 1 if once < least else 1
    while not times or total < 1e3 * seconds and len(times) < 10000:
        passed = timed(run, calls)
        times.append(passed / calls)
        total += passed
    times.sort()
    print(f"{name} {sys.argv[1]} {times[len(times) // 2]:.6f} {times[0]:.6f}", file=out)


checked = set()


def same(name, function, eager, inputs, wanted):
    """The compiled function's result and gradients are of eager's type and shape, and in float32 near them: eager's own sums of bfloat16 are
    rounded as they grow. Of Adam, which gives nothing, this says nothing."""
    if name in checked:
        return
    checked.add(name)
    y, expected = function(*inputs), eager(*inputs)
    if wanted:
        dy = torch.rand_like(expected)
        y, expected = [y, *torch.autograd.grad(y, wanted, dy)], [expected, *torch.autograd.grad(expected, wanted, dy)]
    else:
        y, expected = [y], [expected]
    for a, b in zip(y, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=float("inf") if "bf16" in sys.argv else 1e-3 * float(b.abs().max()))


def row(family, what, *sizes):
    inputs, function = FAMILIES[family](*map(int, sizes))
    name = ".".join((family, what, *sizes))
    first = family == "conv" and inputs[0].shape[1] <= 3  # a first layer, without dx
    wanted = [x.requires_grad_() for x in inputs[first:] if what != "forward" and x.is_floating_point()]
    if what == "both":
        function = summed(function)
    with torch.set_grad_enabled(what != "forward"):
        if compiled:
            eager, function = function, torch.compile(function, dynamic=False)
            if inputs:
                same(name, function, eager, inputs, wanted)
        if what == "forward":
            measure(name, lambda: function(*inputs))
        elif what == "both":
            measure(name, lambda: function(*inputs).backward())
        else:
            y = function(*inputs)
            dy = torch.rand_like(y)
            measure(name, lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True))


with torch.autocast(device.split(":")[0], torch.bfloat16, enabled="bf16" in sys.argv):
    for out in settings.turns():
        for line in open(sys.argv[2]):
            if line.strip() and line[0] != "#":
                row(*line.split())
