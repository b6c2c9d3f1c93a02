"""llama.c's `run` on PyTorch and a GPU: a Llama of networks.py with a static cache.  usage: llama_cuda.py 15M|110M f32|bf16 [cuda:0|cpu] [tf32] [compile]
Prints "prefill_per_s decode_per_s captured_per_s": tokens/s of a prompt of 256 tokens, with the last one's logits, and of 256 tokens decoded greedily,
the argmax and the tokens staying on the device, whose clock measures; then the same replayed from a CUDA graph, 0 on the CPU. Medians of five.
compile: by torch.compile, where it works."""
import sys
import time

import torch
from torch.nn import functional as F

from networks import LlamaModel, turned

TOKENS, RUNS, CHECKED = 256, 5, 16
SHAPES = {"15M": (32000, 288, 768, 6, 6, TOKENS), "110M": (32000, 768, 2048, 12, 12, TOKENS)}
shape, words = SHAPES[sys.argv[1]], sys.argv[3:]
dtype = torch.bfloat16 if sys.argv[2] == "bf16" else torch.float32
device = torch.device("cpu" if "cpu" in words else "cuda:0")
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = "tf32" in words
torch.manual_seed(1)
model = LlamaModel(*shape).to(device, dtype).eval()
layers, heads, size = shape[3], shape[4], shape[1] // shape[4]
keys, values = (torch.zeros(layers, 1, heads, TOKENS, size, device=device, dtype=dtype) for _ in range(2))
places = torch.arange(TOKENS, device=device)
token, position, decoded = (torch.zeros(n, dtype=torch.int64, device=device) for n in (1, 1, TOKENS))


def attend(attention, x, cos, sin, k_cache, v_cache, positions, mask):
    n, width = x.shape
    q, k, v = (p(x).view(1, n, heads, size).transpose(1, 2) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
    q, k = turned(q, cos, sin), turned(k, cos, sin)
    k_cache.index_copy_(2, positions, k)
    v_cache.index_copy_(2, positions, v)
    if mask is None:  # a prompt, before which there is nothing
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        y = F.scaled_dot_product_attention(q, k_cache, v_cache, attn_mask=mask)
    return attention.o_proj(y.transpose(1, 2).reshape(n, width))


def logits_of(tokens, positions, mask=None):
    """Of the last of tokens [n] at positions [n]."""
    x = model.embed_tokens(tokens)
    cos, sin = model.cos[positions], model.sin[positions]
    for i, layer in enumerate(model.layers):
        x = x + attend(layer.self_attn, layer.input_layernorm(x), cos, sin, keys[i], values[i], positions, mask)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return F.linear(model.norm(x[-1:]), model.embed_tokens.weight)


def step():
    """The next token, whose place is known on the device alone."""
    logits = logits_of(token, position, (places <= position).view(1, 1, 1, TOKENS))
    token.copy_(logits.argmax(1))
    decoded.index_copy_(0, position, token)
    position.add_(1)


def seconds(work):
    """The median of runs, after one more."""
    times = []
    for _ in range(RUNS + 1):
        token.fill_(1)
        position.zero_()
        if device.type == "cpu":
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
            continue
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return sorted(times[1:])[RUNS // 2]


def many(step):
    for _ in range(TOKENS):
        step()


def captured():
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    position.zero_()
    with torch.cuda.stream(side):
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


with torch.inference_mode():
    prompt = 1 + torch.arange(TOKENS, device=device) * 97 % 31000
    whole = logits_of(prompt[:CHECKED], places[:CHECKED])
    for i in range(CHECKED):  # one after the other they come to the same
        each = logits_of(prompt[i:i + 1], places[i:i + 1], (places <= i).view(1, 1, 1, TOKENS))
    assert torch.allclose(each, whole, *((1e-3, 1e-3) if dtype == torch.float32 else (5e-2, 5e-2))), (each - whole).abs().max()
    if "compile" in words:
        logits_of = torch.compile(logits_of)
    prefill = seconds(lambda: logits_of(prompt, places))
    decode = seconds(lambda: many(step))
    eager = decoded.clone()
    again = 0
    if device.type == "cuda":
        replay = captured()
        again = TOKENS / seconds(lambda: many(replay))
        if not torch.equal(decoded, eager):  # where two logits are nearly the same
            print(f"the graph decodes other tokens from place {int((decoded != eager).nonzero()[0])} on", file=sys.stderr)
print(f"{TOKENS / prefill:.1f} {TOKENS / decode:.1f} {again:.1f}")
