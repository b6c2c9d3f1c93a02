"""examples/dropout_bn.c on PyTorch: the same data, networks and optimisers (split and batches in another random order)."""
import argparse

import numpy as np
import torch
from torch import nn


def mlp(dropout, batch_norm):
    layers, size = [nn.Flatten()], 64 * 64
    for out in (512, 128):
        layers.append(nn.Linear(size, out))
        if batch_norm:
            layers.append(nn.BatchNorm1d(out))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(0.2))
        size = out
    return nn.Sequential(*layers, nn.Linear(size, 40))


parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--lr", type=float, default=5e-4)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--device", default="cpu")
parser.add_argument("--data", default="data/olivetti/olivetti.npz")
o = parser.parse_args()

torch.manual_seed(o.seed)
faces = np.load(o.data)
x = torch.from_numpy(faces["images"]).float().div(127.5).sub(1).to(o.device)
y = torch.from_numpy(faces["labels"]).to(o.device)
train, test = [], []
for person in range(40):
    order = torch.nonzero(y == person).flatten()[torch.randperm(10)]
    train.append(order[:7])
    test.append(order[7:])
train, test = torch.cat(train), torch.cat(test)

names = ["plain", "dropout", "batch norm"]
nets = [mlp(False, False).to(o.device), mlp(True, False).to(o.device), mlp(False, True).to(o.device)]
opts = [torch.optim.Adam(net.parameters(), o.lr) for net in nets]
for epoch in range(1, o.epochs + 1):
    order, losses, batches = train[torch.randperm(len(train))], [0.0] * 3, 0
    for i in range(0, len(train), o.batch_size):
        items, batches = order[i:i + o.batch_size], batches + 1
        for k, (net, opt) in enumerate(zip(nets, opts)):
            loss = nn.functional.cross_entropy(net(x[items]), y[items])
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses[k] += loss.item()
    line = f"epoch {epoch:2d}:"
    for k, net in enumerate(nets):
        net.eval()
        with torch.no_grad():
            right = (net(x[test]).argmax(1) == y[test]).float().mean().item()
        net.train()
        line += f"  {names[k]}: loss {losses[k] / batches:.4f}, held-back accuracy {100 * right:5.2f} %"
    print(line)
