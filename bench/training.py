"""bench/training.c on PyTorch: the same row, as most people run it.  usage: training.py mlp|lenet|gru|lstm THREADS [STEPS]"""
import resource
import sys
import time

import torch
from torch import nn

BATCHES, WARMUP = 4, 5
network, threads = sys.argv[1], int(sys.argv[2])
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 40
torch.set_num_threads(threads)
torch.manual_seed(1)


class Sequence(nn.Module):
    """The last step's h of a recurrent layer, and a linear one over it."""

    def __init__(self, recurrent, outputs):
        super().__init__()
        self.recurrent, self.fc = recurrent, nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, x):
        return self.fc(self.recurrent(x)[0][:, -1])


# makes the network; x's shape; classes, or 0: the squared error of one number; GFLOP of a step
NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)),
            (256, 1, 28, 28), 10, 2.449),
    "lenet": (lambda: nn.Sequential(nn.Conv2d(1, 20, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 3, padding=1), nn.ReLU(),
                                    nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2450, 500), nn.ReLU(), nn.Linear(500, 10)),
              (256, 1, 28, 28), 10, 4.742),
    "gru": (lambda: Sequence(nn.GRU(1, 32, batch_first=True), 1), (1568, 40, 1), 0, 1.180),
    "lstm": (lambda: Sequence(nn.LSTM(64, 128, batch_first=True), 10), (64, 100, 64), 10, 3.356),
}
make, shape, classes, gflop = NETWORKS[network]
net = make()
opt = torch.optim.Adam(net.parameters(), 1e-3)
xs = [torch.rand(shape) for _ in range(BATCHES)]
ys = [torch.randint(0, classes, (shape[0],)) if classes else torch.rand(shape[0], 1) for _ in range(BATCHES)]
loss_fn = nn.CrossEntropyLoss() if classes else nn.MSELoss()
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
print(f"{network} {threads} {times[len(times) // 2]:.4f} {times[0]:.4f} {gflop} {peak:.1f} {value:.6f}")
