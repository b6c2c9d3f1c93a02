"""examples/mnist.c on PyTorch: the same digits, networks and optimiser (batches in another random order). --data is the folder of MNIST's
four files, gzip-ed or not; it draws no digits itself."""
import argparse
import gzip
import os

import numpy as np
import torch
from torch import nn


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 3, padding=1)
        self.conv2 = nn.Conv2d(20, 50, 3, padding=1)
        self.fc1 = nn.Linear(50 * 7 * 7, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


def read(name):
    """The bytes of an IDX file: a header of 4 bytes, the last of them the count of sizes, then the sizes, then the array."""
    path = os.path.join(o.data, name)
    data = open(path, "rb").read() if os.path.exists(path) else gzip.open(path + ".gz").read()
    sizes = np.frombuffer(data, ">i4", data[3], 4)
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sizes).copy())


def load(part):
    x, y = read(part + "-images-idx3-ubyte"), read(part + "-labels-idx1-ubyte")
    return x.reshape(-1, 1, 28, 28).to(o.device) / 255, y.long().to(o.device)


def accuracy(x, y):
    net.eval()
    with torch.no_grad():
        right = sum((net(x[i:i + o.test_batch_size]).argmax(1) == y[i:i + o.test_batch_size]).sum().item()
                    for i in range(0, len(x), o.test_batch_size))
    net.train()
    return 100 * right / len(x)


parser = argparse.ArgumentParser()
parser.add_argument("--network", choices=["conv", "mlp"], default="conv")
parser.add_argument("--batch-size", type=int, default=256)
parser.add_argument("--test-batch-size", type=int, default=1024)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--device", default="cpu")
parser.add_argument("--data", default="data/mnist")
o = parser.parse_args()

torch.manual_seed(o.seed)
print(f"MNIST from {o.data}")
train_x, train_y = load("train")
test_x, test_y = load("t10k")
net = (mlp() if o.network == "mlp" else LeNet()).to(o.device)
opt = torch.optim.Adam(net.parameters(), o.lr)
for epoch in range(1, o.epochs + 1):
    order, losses = torch.randperm(len(train_x)), []
    for i in range(0, len(train_x), o.batch_size):
        items = order[i:i + o.batch_size]
        loss = nn.functional.cross_entropy(net(train_x[items]), train_y[items])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    test = accuracy(test_x, test_y)
    print(f"epoch {epoch:2d}: loss {sum(losses) / len(losses):.4f}, train accuracy {accuracy(train_x, train_y):.2f} %, test accuracy {test:.2f} %")
print(f"test accuracy {test:.2f} %")
