"""bench/training.c on PyTorch: the same row, as most people run it.  usage: training.py mlp|lenet THREADS [STEPS]"""
import resource
import sys
import time

import torch
from torch import nn

BATCH, BATCHES, WARMUP = 256, 4, 5
network, threads = sys.argv[1], int(sys.argv[2])
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 40
torch.set_num_threads(threads)
torch.manual_seed(1)
if network == "mlp":
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
else:
    net = nn.Sequential(nn.Conv2d(1, 20, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 3, padding=1), nn.ReLU(),
                        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2450, 500), nn.ReLU(), nn.Linear(500, 10))
opt = torch.optim.Adam(net.parameters(), 1e-3)
xs = [torch.rand(BATCH, 1, 28, 28) for _ in range(BATCHES)]
ys = [torch.randint(0, 10, (BATCH,)) for _ in range(BATCHES)]
loss_fn = nn.CrossEntropyLoss()
times = []
for i in range(-WARMUP, steps):
    start = time.perf_counter()
    k = (i + WARMUP) % BATCHES
    opt.zero_grad()
    loss = loss_fn(net(xs[k]), ys[k])
    loss.backward()
    opt.step()
    value = loss.item()
    if i >= 0:
        times.append((time.perf_counter() - start) * 1e3)
times.sort()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{network} {threads} {times[len(times) // 2]:.4f} {times[0]:.4f} {2.449 if network == 'mlp' else 4.742} {peak:.1f} {value:.6f}")
