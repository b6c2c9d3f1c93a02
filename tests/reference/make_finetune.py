"""Writes tests/reference/finetune.h: the losses of 30 steps of AdamW by PyTorch, in float64, and of 20 in float32, of a small Llama whose head
alone, everything, or low-rank parts of q_proj and v_proj train; test_finetune.c makes the same weights and tokens.
Run: python tests/reference/make_finetune.py"""
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

from layers_llama import Llama
from ops_common import fill

VOCAB, BATCH, LENGTH, STEPS, RANK, ALPHA = 48, 3, 16, 30, 8, 16
SIZES = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)


class LoRA(nn.Module):
    """A linear layer with a low-rank part beside it (Hu et al. 2021)."""

    def __init__(self, linear, seed):
        super().__init__()
        self.linear, (rows, columns), dtype = linear, linear.weight.shape, linear.weight.dtype
        self.lora_A = nn.Parameter(fill(seed, RANK * columns, -columns**-0.5, columns**-0.5).reshape(RANK, columns).to(dtype))
        self.lora_B = nn.Parameter(torch.zeros(rows, RANK, dtype=dtype))

    def forward(self, x):
        return self.linear(x) + ALPHA / RANK * F.linear(F.linear(x, self.lora_A), self.lora_B)


def head(net):
    net.requires_grad_(False)
    net.lm_head.requires_grad_(True)


def everything(net):
    pass


def lora(net):
    net.requires_grad_(False)
    for i, layer in enumerate(net.model.layers):
        layer.self_attn.q_proj = LoRA(layer.self_attn.q_proj, 100 + 2 * i)
        layer.self_attn.v_proj = LoRA(layer.self_attn.v_proj, 101 + 2 * i)


def run(choose, dtype, steps):
    net = Llama(**SIZES).to(dtype)
    for k, p in enumerate(net.parameters()):
        low, high = (-p.shape[1] ** -0.5, p.shape[1] ** -0.5) if p.dim() > 1 else (0.5, 1.5)
        p.data = fill(10 + k, p.numel(), low, high).reshape(p.shape).to(dtype)
    choose(net)
    optim = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=3e-3, foreach=False)
    losses = []
    for t in range(steps):
        tokens = fill(500 + t % 10, BATCH * (LENGTH + 1), 0, VOCAB).long().reshape(BATCH, LENGTH + 1)
        loss = F.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(loss.item())
    return losses


here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "finetune.h"), "w") as out:
    out.write("/* Written by make_finetune.py with PyTorch %s. */\n" % torch.__version__.split("+")[0])
    for choose in (head, everything, lora):
        for suffix, dtype, steps, digits in (("f64", torch.float64, STEPS, 17), ("f32", torch.float32, 20, 9)):
            values = ["%.*g" % (digits, v) for v in run(choose, dtype, steps)]
            rows = ["    " + ", ".join(values[i:i + 5]) for i in range(0, len(values), 5)]
            out.write("static const double %s_%s[] = {\n%s,\n};\n" % (choose.__name__, suffix, ",\n".join(rows)))
