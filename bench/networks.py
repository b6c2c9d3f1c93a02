"""bench/networks.h on PyTorch: the same networks under the same parameter names, as most people write them."""
import torch
from torch import nn
from torch.nn import functional as F


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(784, 1024), nn.Linear(1024, 1024), nn.Linear(1024, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 3, padding=1), nn.Conv2d(20, 50, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(2450, 500), nn.Linear(500, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class Transformer(nn.Module):
    def __init__(self, hidden=2048):
        super().__init__()
        self.word = nn.Embedding(8000, 512)
        self.encoder = nn.TransformerEncoderLayer(512, 4, hidden, dropout=0, batch_first=True)
        self.out = nn.Linear(512, 1)

    def forward(self, x):
        return self.out(self.encoder(self.word(x)).mean(1))


def turned(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class LlamaAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x, cos, sin):
        n, l, width = x.shape
        q, k, v = (p(x).view(n, l, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(turned(q, cos, sin), turned(k, cos, sin), v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(n, l, width))


class LlamaMLP(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, width, hidden, heads):
        super().__init__()
        self.self_attn, self.mlp = LlamaAttention(width, heads), LlamaMLP(width, hidden)
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    def __init__(self, words, width, hidden, layers, heads, longest):
        super().__init__()
        self.embed_tokens = nn.Embedding(words, width)
        self.layers = nn.ModuleList(LlamaLayer(width, hidden, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        size = width // heads
        angles = torch.outer(torch.arange(longest).float(), 10000 ** (-torch.arange(0, size, 2).float() / size)).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)

    def forward(self, tokens):
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.norm(x)


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = LlamaModel(4096, 288, 768, 6, 6, 256)

    def forward(self, tokens):
        return F.linear(self.model(tokens), self.model.embed_tokens.weight)


class Sequence(nn.Module):
    def __init__(self, recurrent, outputs):
        super().__init__()
        self.recurrent, self.fc = recurrent, nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, x):
        return self.fc(self.recurrent(x)[0][:, -1])


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.shortcut = nn.Identity() if i == o else nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.blocks = nn.Sequential(*(Block(i, o, o // i) for i, o in zip(widths, widths[1:])))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.blocks(F.relu(self.bn(self.conv(x)))).mean((2, 3)))


def entropy(out, y):
    return F.cross_entropy(out.flatten(0, -2), y.flatten())


# name: makes it, loss, examples of a training step and of many, one example's x and y, numbers below (0: floats)
NETWORKS = {
    "mlp": (MLP, entropy, 256, 1024, (1, 28, 28), (), 0, 10),
    "lenet": (LeNet, entropy, 256, 1024, (1, 28, 28), (), 0, 10),
    "transformer": (Transformer, F.binary_cross_entropy_with_logits, 128, 1024, (44,), (1,), 8000, 0),
    "transformer_1536": (lambda: Transformer(1536), F.binary_cross_entropy_with_logits, 256, 1024, (44,), (1,), 8000, 0),
    "llama": (Llama, entropy, 8, 32, (256,), (256,), 4096, 4096),
    "resnet": (ResNet, entropy, 128, 1024, (3, 32, 32), (), 0, 10),
    "gru": (lambda: Sequence(nn.GRU(1, 32, batch_first=True), 1), F.mse_loss, 1568, 1024, (40, 1), (1,), 0, 0),
    "lstm": (lambda: Sequence(nn.LSTM(64, 128, batch_first=True), 10), entropy, 64, 1024, (100, 64), (), 0, 10),
}


def drawn(n, example, below):
    return torch.randint(0, below, (n, *example)) if below else torch.rand(n, *example)
