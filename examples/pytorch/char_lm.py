"""examples/char_lm.c on PyTorch: the same text, network, optimiser and schedule (windows in another random order)."""
import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn

CONTEXT, WRITTEN, WIDTH, HIDDEN, LAYERS, HEADS = 128, 500, 192, 512, 4, 6


def turned(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(WIDTH, 1e-5), nn.RMSNorm(WIDTH, 1e-5)
        self.qkv, self.o_proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate_up, self.down_proj = nn.Linear(WIDTH, 2 * HIDDEN, bias=False), nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        n, l, _ = x.shape
        q, k, v = (p.view(n, l, HEADS, -1).transpose(1, 2) for p in self.qkv(self.input_layernorm(x)).chunk(3, -1))
        y = F.scaled_dot_product_attention(turned(q, cos, sin), turned(k, cos, sin), v, is_causal=True)
        x = x + self.o_proj(y.transpose(1, 2).reshape(n, l, WIDTH))
        gate, up = self.gate_up(self.post_attention_layernorm(x)).chunk(2, -1)
        return x + self.down_proj(F.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.embed_tokens = nn.Embedding(count, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH, 1e-5)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, 0, 0.02)

    def forward(self, tokens):
        half = WIDTH // HEADS // 2
        angles = torch.arange(tokens.shape[1])[:, None] * 10000.0 ** (-torch.arange(half) / half)
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin())
        return F.linear(self.norm(x), self.embed_tokens.weight)


parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--steps", type=int, default=1500)
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--data", default="data/tinyshakespeare/input.txt")
o = parser.parse_args()

torch.manual_seed(o.seed)
data = open(o.data, "rb").read()
symbols = sorted(set(data))
text = torch.tensor([symbols.index(c) for c in data])
train, val = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
llama = Llama(len(symbols))
print(f"{len(text)} characters of {len(symbols)} kinds; a Llama of {sum(p.numel() for p in llama.parameters())} parameters")
opt = torch.optim.AdamW(llama.parameters(), o.lr, betas=(0.9, 0.99), weight_decay=0.1)
schedule = torch.optim.lr_scheduler.OneCycleLR(opt, o.lr, o.steps, pct_start=0.1, cycle_momentum=False)


def loss_of(windows):
    return F.cross_entropy(llama(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


@torch.no_grad()
def loss_over(text):
    n = (len(text) - 1) // CONTEXT
    windows = text[: n * CONTEXT + 1].unfold(0, CONTEXT + 1, CONTEXT)
    return sum(loss_of(w).item() * len(w) for w in windows.split(o.batch_size)) / n


start, total = time.time(), 0.0
for step in range(1, o.steps + 1):
    starts = torch.randint(0, len(train) - CONTEXT, (o.batch_size, 1))
    loss = loss_of(train[starts + torch.arange(CONTEXT + 1)])
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(llama.parameters(), 1)
    opt.step()
    schedule.step()
    total += loss.item()
    if step % 250 == 0 or step == o.steps:
        print(f"step {step:5}: train loss {total / ((step - 1) % 250 + 1):.4f}, validation loss {loss_over(val):.4f} ({time.time() - start:.0f} s)", flush=True)
        total = 0.0

written = val[:1]
with torch.no_grad():
    for _ in range(WRITTEN):
        written = torch.cat((written, torch.multinomial(llama(written[None, -CONTEXT:])[0, -1].softmax(-1), 1)))
print(bytes(symbols[i] for i in written[1:]).decode())
