"""The Llama family beside a plain PyTorch implementation, written here from the papers and the names of transformers' state_dicts."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from layers_common import Layers, ints

L = Layers("llama")


def frequencies(c):
    f = c.rope_theta ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
    if not c.rope_original_length:
        return f / c.rope_factor
    waves = 2 * math.pi / f
    smooth = (c.rope_original_length / waves - c.rope_low_freq_factor) / (c.rope_high_freq_factor - c.rope_low_freq_factor)
    mixed = (1 - smooth) * f / c.rope_factor + smooth * f
    out = torch.where(waves > c.rope_original_length / c.rope_low_freq_factor, f / c.rope_factor, mixed)
    return torch.where(waves < c.rope_original_length / c.rope_high_freq_factor, f, out)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotated(x, cos, sin, interleaved):
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    def __init__(self, c, window):
        super().__init__()
        self.c, self.window = c, window
        self.q_proj = nn.Linear(c.hidden_size, c.num_attention_heads * c.head_dim, bias=c.attention_bias)
        self.k_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=c.attention_bias)
        self.v_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=c.attention_bias)
        self.o_proj = nn.Linear(c.num_attention_heads * c.head_dim, c.hidden_size, bias=False)
        if c.qk_norm:
            self.q_norm, self.k_norm = RMSNorm(c.head_dim, c.rms_norm_eps), RMSNorm(c.head_dim, c.rms_norm_eps)

    def forward(self, x):
        c, (n, l, _) = self.c, x.shape
        q, k, v = (p(x).view(n, l, -1, c.head_dim).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        angles = torch.arange(l, dtype=torch.float64)[:, None] * frequencies(c)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        q, k = rotated(q, cos, sin, c.rope_interleaved), rotated(k, cos, sin, c.rope_interleaved)
        k, v = (t.repeat_interleave(c.num_attention_heads // c.num_key_value_heads, 1) for t in (k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(c.head_dim)
        distance = torch.arange(l)[:, None] - torch.arange(l)
        seen = (distance >= 0) & (distance < (self.window or l))
        y = scores.masked_fill(~seen, -math.inf).softmax(-1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(n, l, -1))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c, i):
        super().__init__()
        self.self_attn, self.mlp = Attention(c, 0 if c.full_layers >> i & 1 else c.sliding_window), MLP(c)
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, tokens):
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Config:
    num_key_value_heads = head_dim = rope_original_length = sliding_window = full_layers = 0  # full_layers: bit i is layer i
    rope_theta, rope_factor, rope_low_freq_factor, rope_high_freq_factor, rms_norm_eps = 10000.0, 1.0, 1.0, 4.0, 1e-5
    rope_interleaved = tie_word_embeddings = attention_bias = qk_norm = False

    def __init__(self, **args):
        vars(self).update(args)
        self.num_key_value_heads = self.num_key_value_heads or self.num_attention_heads
        self.head_dim = self.head_dim or self.hidden_size // self.num_attention_heads


class Llama(nn.Module):
    def __init__(self, **args):
        super().__init__()
        c = self.config = Config(**args)
        self.model = Model(c)
        if not c.tie_word_embeddings:
            self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)

    def forward(self, tokens):
        x = self.model(tokens if tokens.dim() == 2 else tokens[None])
        x = x if tokens.dim() == 2 else x[0]
        return F.linear(x, self.model.embed_tokens.weight) if self.config.tie_word_embeddings else self.lm_head(x)


if __name__ == "__main__":
    size = dict(vocab_size=7, hidden_size=8, intermediate_size=10, num_hidden_layers=2, num_attention_heads=4)
    llama3 = dict(rope_theta=5000.0, rope_factor=8.0, rope_original_length=24, rope_low_freq_factor=1.0, rope_high_freq_factor=4.0)
    ways = [dict(), dict(num_key_value_heads=2), dict(num_key_value_heads=1), dict(tie_word_embeddings=True), dict(rope_interleaved=True),
            dict(rope_factor=4.0), dict(head_dim=8, num_key_value_heads=2, **llama3), dict(attention_bias=True, num_key_value_heads=2),
            dict(qk_norm=True, head_dim=6, num_key_value_heads=2), dict(qk_norm=True, attention_bias=True, tie_word_embeddings=True),
            dict(sliding_window=2), dict(sliding_window=3, num_key_value_heads=2, rope_theta=1e6), dict(rms_norm_eps=0.1)]
    for way in ways:
        L.case("llama", Llama, [ints(2, 5, high=7)], _second=False, **{**size, "num_hidden_layers": 1, **way})
    L.case("llama", Llama, [ints(5, high=7)], _gradcheck=False, **size)
    L.case("llama", Llama, [ints(1, 1, high=7)], _gradcheck=False, **size)
    L.case("llama", Llama, [ints(2, 33, high=50)], _gradcheck=False, vocab_size=50, hidden_size=48, intermediate_size=80, num_hidden_layers=2,
           num_attention_heads=6, num_key_value_heads=3, tie_word_embeddings=True, **llama3)
    L.case("llama", Llama, [ints(2, 40, high=50)], _gradcheck=False, vocab_size=50, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
           num_attention_heads=4, num_key_value_heads=1, sliding_window=17)
    L.case("llama", Llama, [ints(2, 9, high=7)], _second=False, **{**size, "num_hidden_layers": 3}, num_key_value_heads=2, attention_bias=True, sliding_window=3,
           full_layers=2)
    L.write()
