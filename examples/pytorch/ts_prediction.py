"""examples/ts_prediction.c on PyTorch: the same data, network, optimiser and batches (in another random order)."""
import argparse
import math

import torch
from torch import nn

POINTS, WINDOW = 2000, 40
WINDOWS = POINTS - WINDOW
TRAIN = WINDOWS * 8 // 10


class Predictor(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, 32, batch_first=True)
        self.fc = nn.Linear(32, 1)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.fc(y[:, -1]).squeeze(-1)


parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--lr", type=float, default=5e-3)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--device", default="cpu")
o = parser.parse_args()

torch.manual_seed(o.seed)
t = torch.arange(POINTS, dtype=torch.float64) * 0.01 * math.pi
series = (torch.sin(t) + torch.cos(2 * t) / 2).float()
at = torch.arange(WINDOWS)[:, None] + torch.arange(WINDOW)
x, y = series[at][..., None].to(o.device), series[WINDOW:].to(o.device)
net = Predictor().to(o.device)
opt = torch.optim.Adam(net.parameters(), o.lr)
for epoch in range(1, o.epochs + 1):
    order, total, count = torch.randperm(TRAIN), 0.0, 0
    for i in range(0, TRAIN, o.batch_size):
        items = order[i:i + o.batch_size]
        loss = nn.functional.mse_loss(net(x[items]), y[items])
        opt.zero_grad()
        loss.backward()
        opt.step()
        total, count = total + loss.item(), count + 1
    with torch.no_grad():
        test = nn.functional.mse_loss(net(x[TRAIN:]), y[TRAIN:]).item()
    print(f"epoch {epoch:2d}: train loss {total / count:.2e}, test loss {test:.2e}")
