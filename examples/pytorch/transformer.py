"""examples/transformer.c on PyTorch: the same words, network, loss and optimiser (batches in another random order)."""
import argparse
import re
import time

import torch
from safetensors.torch import load_file
from torch import nn

LONGEST, WIDTH, HEADS = 44, 512, 4


class Judge(nn.Module):
    def __init__(self, words, dropout):
        super().__init__()
        self.word = nn.Embedding(words, WIDTH, padding_idx=0)
        self.place = nn.Embedding(LONGEST, WIDTH)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, HEADS, 2048, dropout, batch_first=True)
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, x):
        padding = x == 0
        h = self.word(x) + self.place(torch.arange(LONGEST, device=x.device))
        h = self.encoder(h, src_key_padding_mask=padding)
        words = (~padding)[..., None].float()
        return self.out((h * words).sum(1) / words.sum(1)).squeeze(1)


def read(path):
    rows = [line.rstrip(b"\n").split(b"\t") for line in open(path, "rb")]
    words = [re.findall(rb"[a-z0-9']+|[^a-z0-9'\s]", row[3].lower()) for row in rows]  # of bytes, as the example's
    return words, torch.tensor([float(row[1]) for row in rows])


parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--lr", type=float, default=1e-4)
parser.add_argument("--dropout", type=float, default=0.1)
parser.add_argument("--shuffle", type=int, default=1)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--device", default="cpu")
parser.add_argument("--data", default="data/cola")
parser.add_argument("--load", help="begin from the weights that the example's --save wrote")
o = parser.parse_args()

torch.manual_seed(o.seed)
train_words, train_y = read(o.data + "/in_domain_train.tsv")
dev_words, dev_y = read(o.data + "/dev.tsv")
numbers = {word: 2 + i for i, word in enumerate(sorted({w for words in train_words for w in words}))}


def number(sentences):
    x = torch.zeros(len(sentences), LONGEST, dtype=torch.long)
    for row, words in enumerate(sentences):
        for i, word in enumerate(words[:LONGEST]):
            x[row, i] = numbers.get(word, 1)
    return x.to(o.device)


train_x, dev_x, train_y, dev_y = number(train_words), number(dev_words), train_y.to(o.device), dev_y.to(o.device)
pos_weight = (1 - train_y.mean()) / train_y.mean()
net = Judge(2 + len(numbers), o.dropout).to(o.device)
if o.load:
    net.load_state_dict(load_file(o.load))
opt = torch.optim.Adam(net.parameters(), o.lr)
for epoch in range(1, o.epochs + 1):
    start, order, losses = time.time(), torch.randperm(len(train_x)) if o.shuffle else torch.arange(len(train_x)), []
    for i in range(0, len(train_x), o.batch_size):
        items = order[i:i + o.batch_size]
        loss = nn.functional.binary_cross_entropy_with_logits(net(train_x[items]), train_y[items], pos_weight=pos_weight)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        logits = torch.cat([net(dev_x[i:i + o.batch_size]) for i in range(0, len(dev_x), o.batch_size)])
    net.train()
    loss = nn.functional.binary_cross_entropy_with_logits(logits, dev_y, pos_weight=pos_weight).item()
    said, truth = (logits > 0).double(), dev_y.double()
    correlation = torch.corrcoef(torch.stack([said, truth]))[0, 1].nan_to_num().item()
    print(f"epoch {epoch:2d}: train loss {sum(losses) / len(losses):.4f}, dev loss {loss:.4f}, "
          f"accuracy {100 * (said == truth).double().mean().item():.2f} %, Matthews' correlation {correlation:.3f}, {time.time() - start:.1f} s")
