"""Small random Llamas in every format that tn_llama_load() reads, and the logits that PyTorch gives for them in f64:
LLAMA_GGUF_SPLIT=PROGRAM python tests/reference/make_llama_files.py      writes tests/reference/llama; PROGRAM is llama.cpp's"""
import glob, json, os, shutil, struct, subprocess
import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from layers_llama import Llama, frequencies

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama")
size = dict(vocab_size=12, hidden_size=8, intermediate_size=10, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
llama3 = dict(rope_theta=5000.0, rope_factor=8.0, rope_original_length=24, rope_low_freq_factor=1.0, rope_high_freq_factor=4.0)
tokens = torch.tensor([1, 5, 9, 2, 11, 3, 3, 0, 7])
expected = {"tokens": tokens}


def model(seed, dtype=torch.float32, **more):
    torch.manual_seed(seed)
    m = Llama(**{**size, **more})
    for p in m.parameters():
        p.data = (torch.randn(p.shape) * 0.3 + (p.dim() == 1)).to(dtype).float()
    return m


def expect(name, m):
    with torch.no_grad():
        expected[name] = m.double()(tokens).float()
    m.float()


def paired(w, heads):
    """Rows (j, j + half) of each head put as (2j, 2j + 1)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def state(m, pairs=False):
    c, out = m.config, {}
    for name, w in m.state_dict().items():
        heads = c.num_attention_heads if "q_proj" in name else c.num_key_value_heads if "k_proj" in name else 0
        out[name] = paired(w, heads) if pairs and heads else w
    return out


def llama2(name, m, version, group=4):
    c, w = m.config, state(m, True)
    layers = lambda part: [w[f"model.layers.{i}.{part}.weight"] for i in range(c.num_hidden_layers)]
    norms = [*layers("input_layernorm"), *layers("post_attention_layernorm"), w["model.norm.weight"]]
    attention = [*layers("self_attn.q_proj"), *layers("self_attn.k_proj"), *layers("self_attn.v_proj"), *layers("self_attn.o_proj")]
    gate, down, up = layers("mlp.gate_proj"), layers("mlp.down_proj"), layers("mlp.up_proj")
    embed, head = w["model.embed_tokens.weight"], [] if c.tie_word_embeddings else [w["lm_head.weight"]]
    vocab = -c.vocab_size if head and version == 0 else c.vocab_size
    out = struct.pack("7i", c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads, vocab, 32)
    if version == 0:
        tables = [torch.full((32, c.head_dim // 2), float("nan"))] * 2
        order = [embed, *norms[:2], *attention, *norms[2:4], *gate, *down, *up, norms[4], *tables, *head]
    else:
        out = (struct.pack("Ii", 0x616b3432, version) + out + struct.pack("<Bi", not head, group if version == 2 else 0)).ljust(256, b"\0")
        order = [*norms, embed, *attention, *gate, *down, *up, *head]
    for x in order:
        if version == 2 and x.dim() == 2:
            groups = x.reshape(-1, group)
            scale = groups.abs().max(1).values / 127
            q = (groups / scale[:, None]).round().to(torch.int8)
            x.copy_((q.float() * scale[:, None]).view(x.shape))
            out += q.numpy().tobytes() + scale.numpy().tobytes()
        else:
            out += x.numpy().astype("<f4").tobytes()
    open(os.path.join(here, name + ".bin"), "wb").write(out)
    if version == 2:  # what was rounded is the model, put back into its own order of rows
        for n, x in w.items():
            heads = c.num_attention_heads if "q_proj" in n else c.num_key_value_heads if "k_proj" in n else 0
            back = x.reshape(heads, -1, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape) if heads else x
            m.state_dict()[n].copy_(back)
    expect(name + ".bin", m)


def folder(name, kind, m, dtype, shards=1, **more):
    c, path = m.config, os.path.join(here, name)
    os.makedirs(path)
    config = {k: getattr(c, k) for k in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                                         "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "tie_word_embeddings")}
    config.update(architectures=["X"], model_type=kind, hidden_act="silu", max_position_embeddings=32, rope_scaling=None, **more)
    json.dump({k: v for k, v in config.items() if v != "absent"}, open(path + "/config.json", "w"))
    tensors = [(n, w.to(dtype).contiguous().clone()) for n, w in state(m).items()]
    if shards == 1:
        save_file(dict(tensors), path + "/model.safetensors", {"format": "pt"})
    else:
        where = {}
        for i in range(shards):
            part, file = tensors[i::shards], f"model-{i + 1:05}-of-{shards:05}.safetensors"
            save_file(dict(part), path + "/" + file, {"format": "pt"})
            where.update((n, file) for n, _ in part)
        json.dump({"metadata": {}, "weight_map": where}, open(path + "/model.safetensors.index.json", "w"))
    expect(name, m)


def gguf_file(name, arch, m, dtype=np.float32):
    c, out = m.config, gguf.GGUFWriter(os.path.join(here, name + ".gguf"), arch)
    out.add_context_length(32)
    out.add_embedding_length(c.hidden_size)
    out.add_block_count(c.num_hidden_layers)
    out.add_feed_forward_length(c.intermediate_size)
    out.add_head_count(c.num_attention_heads)
    out.add_head_count_kv(c.num_key_value_heads)
    out.add_layer_norm_rms_eps(c.rms_norm_eps)
    out.add_rope_freq_base(c.rope_theta)
    if c.head_dim != c.hidden_size // c.num_attention_heads:
        out.add_key_length(c.head_dim)
        out.add_value_length(c.head_dim)
    if c.rope_factor != 1 and not c.rope_original_length:
        out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        out.add_rope_scaling_factor(c.rope_factor)
    if c.rope_original_length:
        plain = c.rope_theta ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
        out.add_tensor("rope_freqs.weight", (plain / frequencies(c)).float().numpy())
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm", "mlp.gate_proj": "ffn_gate",
             "post_attention_layernorm": "ffn_norm", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "model.embed_tokens": "token_embd",
             "model.norm": "output_norm", "lm_head": "output", "model.layers.": "blk."}
    for n, w in state(m, arch == "llama").items():
        for ours, theirs in names.items():
            n = n.replace(ours, theirs)
        out.add_tensor(n, w.numpy().astype(dtype if w.dim() == 2 else np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    expect(name + ".gguf", m)


shutil.rmtree(here, ignore_errors=True)
os.makedirs(here)
llama2("v0", model(1), 0)
llama2("v0_tied", model(2, tie_word_embeddings=True), 0)
llama2("v1", model(3), 1)
llama2("v1_tied", model(4, tie_word_embeddings=True), 1)
llama2("v2", model(5), 2)
llama2("v2_tied", model(6, tie_word_embeddings=True), 2)
m = model(7)
os.makedirs(here + "/npz")
np.savez(here + "/npz/model.npz", **{n: w.numpy() for n, w in state(m, True).items()})
json.dump(dict(model_type="llama", rms_norm_eps=1e-5, max_position_embeddings=32, **size), open(here + "/npz/config.json", "w"))
expect("npz/model.npz", m)
scaling = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=24)
folder("llama3", "llama", model(8, head_dim=6, **llama3), torch.float32, shards=3)
config = json.load(open(here + "/llama3/config.json"))
json.dump({**config, "rope_scaling": scaling}, open(here + "/llama3/config.json", "w"))
os.makedirs(here + "/pt")
torch.save({n: t for f in sorted(glob.glob(here + "/llama3/*.safetensors")) for n, t in load_file(f).items()}, here + "/pt/model.pt")
shutil.copy(here + "/llama3/config.json", here + "/pt/config.json")
folder("linear", "llama", model(9, torch.float16, rope_factor=4.0, tie_word_embeddings=True), torch.float16,
       rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0))
folder("mistral", "mistral", model(10, torch.bfloat16, sliding_window=4), torch.bfloat16, sliding_window=4)
folder("qwen2", "qwen2", model(11, torch.bfloat16, attention_bias=True, tie_word_embeddings=True), torch.bfloat16, sliding_window=4,
       use_sliding_window=False, max_window_layers=0)
folder("qwen2_window", "qwen2", model(12, torch.bfloat16, attention_bias=True, sliding_window=4), torch.bfloat16, sliding_window=4, use_sliding_window=True,
       max_window_layers=0)
folder("qwen3", "qwen3", model(13, torch.float16, qk_norm=True, head_dim=6), torch.float16, sliding_window=None, use_sliding_window=False, attention_bias=False)
folder("qwen2_layers", "qwen2", model(18, torch.bfloat16, attention_bias=True, sliding_window=4, full_layers=1), torch.bfloat16, sliding_window=4,
       use_sliding_window=True, max_window_layers=1)
folder("qwen3_layers", "qwen3", model(19, torch.float16, qk_norm=True, sliding_window=3, full_layers=2), torch.float16, sliding_window=3,
       use_sliding_window=True, max_window_layers=1, layer_types=["sliding_attention", "full_attention"])
gguf_file("llama3", "llama", model(14, head_dim=6, **llama3))
# By llama.cpp: values alone in the first file, up to eight tensors in each of the others.
subprocess.run([os.environ["LLAMA_GGUF_SPLIT"], "--split", "--no-tensor-first-split", "--split-max-tensors", "8", here + "/llama3.gguf", here + "/split"], check=True)
gguf_file("llama_bias", "llama", model(15, attention_bias=True, tie_word_embeddings=True, rope_factor=2.0))
gguf_file("qwen2", "qwen2", model(16, torch.float16, attention_bias=True, tie_word_embeddings=True), np.float16)
gguf_file("qwen3", "qwen3", model(17, torch.float16, qk_norm=True, head_dim=6), np.float16)
save_file({n: x.contiguous() for n, x in expected.items()}, here + "/expected.safetensors")
