"""Writes tests/reference/train.h: the losses of 100 steps of the MLP, one with batch norm, the LeNet, an LSTM, a GRU and a transformer by
PyTorch, in float64, and of 20 in float32, from weights and batches that test_train_reference.c makes too; and what the trained network
says in eval mode of the first batch's first image. Run: python tests/reference/make_train.py"""
import os

import torch
from torch import nn

from ops_common import fill


class Rows(nn.Module):
    """Reads an image row by row; the last step's h decides."""

    def __init__(self, recurrent, outputs):
        super().__init__()
        self.recurrent, self.fc = recurrent, nn.Linear(outputs, 10)

    def forward(self, x):
        return self.fc(self.recurrent(x[:, 0])[0][:, -1])


class Encoded(nn.Module):
    """Reads an image as a sequence of rows; the mean of what an encoder makes of them decides."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 48, dropout=0, batch_first=True, norm_first=True, activation="gelu")
        self.embed, self.fc = nn.Linear(28, 32), nn.Linear(32, 10)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), enable_nested_tensor=False)

    def forward(self, x):
        return self.fc(self.encoder(self.embed(x[:, 0])).mean(1))


CASES = {
    "mlp": (8, lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))),
    # No biases before batch norm: their gradients are 0 but for rounding, of which Adam makes steps.
    "norm": (8, lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(),
                                      nn.Linear(256, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))),
    "lenet": (4, lambda: nn.Sequential(nn.Conv2d(1, 20, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 3, padding=1), nn.ReLU(),
                                       nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2450, 500), nn.ReLU(), nn.Linear(500, 10))),
    "lstm": (8, lambda: Rows(nn.LSTM(28, 24, num_layers=2, bidirectional=True, batch_first=True), 48)),
    "gru": (8, lambda: Rows(nn.GRU(28, 40, batch_first=True), 40)),
    "encoder": (8, Encoded),
}


def run(make, batch, dtype, steps):
    net = make().to(dtype)
    for k, p in enumerate(net.parameters()):
        bound = 1 / (p[0].numel() if p.dim() > 1 else 100) ** 0.5
        p.data = fill(10 + k, p.numel(), -bound, bound).reshape(p.shape).to(dtype)
    optim = torch.optim.Adam(net.parameters(), lr=1e-3, foreach=False)
    losses, xs = [], [fill(500 + t, batch * 784, 0, 1).reshape(batch, 1, 28, 28).to(dtype) for t in range(10)]
    for t in range(steps):
        y = (torch.arange(batch) * 7 + t % 10 * 3) % 10
        loss = nn.functional.cross_entropy(net(xs[t % 10]), y)
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(loss.item())
    net.eval()
    return losses + net(xs[0])[0].tolist()


here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "train.h"), "w") as out:
    out.write("/* Written by make_train.py with PyTorch %s. */\n" % torch.__version__.split("+")[0])
    for name, (batch, make) in CASES.items():
        for suffix, dtype, steps, digits in (("f64", torch.float64, 100, 17), ("f32", torch.float32, 20, 9)):
            values = ["%.*g" % (digits, v) for v in run(make, batch, dtype, steps)]
            rows = ["    " + ", ".join(values[i:i + 5]) for i in range(0, len(values), 5)]
            out.write("static const double %s_%s[] = {\n%s,\n};\n" % (name, suffix, ",\n".join(rows)))
