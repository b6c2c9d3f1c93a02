"""Tenon's GGUF files, its quantisers and its quantised logits beside llama.cpp's.

    LLAMA_CPP=FOLDER python tests/reference/compare_llama_cpp.py BUILD [MODEL ...]      # a folder that Tenon was built in; names that begin so

LLAMA_CPP is llama.cpp's folder of libraries and programs (llama-quantize, llama-gguf-split), build/bin in its sources, whose headers are needed
too; the packages are numpy, gguf and safetensors. Models are those of ../shared, where it is, and random weights: stories15M's shape and small ones of each architecture. Of each
  tokens   llama.cpp reads the F32 file and decodes greedily; Tenon, by that file and by its source, writes the same, by the same logits
  weights  the root mean squared error of each tensor, quantised by tenon convert and by llama-quantize --pure: ours may not be larger
  logits   their RMS difference from those in f32, each program's own: ours may be 1.05 times llama.cpp's. The prompt as one piece and
           token by token; with the caches that each has unless told otherwise, and in f32. Types that Tenon only reads, too
  split    the logits by llama-gguf-split's files are those by the whole file, to the bit
Ratios are ours over llama.cpp's; a bound that is missed is marked and makes the exit status 1."""
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import typing

import gguf
import numpy as np
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.path.join(HERE, "../../../shared/models")
TYPES = ("BF16", "Q8_0", "Q4_0", "Q4_K")
READ = ("F16", "Q4_1", "Q5_0", "Q5_1", "Q6_K", "Q5_K", "Q3_K", "Q2_K", "IQ4_NL", "IQ4_XS", "MXFP4")  # files of llama-quantize's alone
WEIGHTS, LOGITS, F32 = 1 + 1e-6, 1.05, 1e-5  # the bounds
missed = 0


def bounded(ratio, bound, text="{:.3f}"):
    global missed
    missed += not ratio <= bound
    return text.format(ratio) + ("" if ratio <= bound else "!")


def run(*command, data=b""):
    done = subprocess.run(list(map(str, command)), input=data, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stderr.decode()[-2000:]}")
    return done.stdout


# ---- the two programs --------------------------------------------------------------------------------------------------------------


class DecoderArgs(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("weights", ctypes.c_int), ("cache", ctypes.c_int), ("context", ctypes.c_int64), ("sequences", ctypes.c_int64),
                ("device", ctypes.c_void_p), ("capture", ctypes.c_bool), ("tuned", ctypes.c_char_p), ("tn_", ctypes.c_char), ("path", ctypes.c_char_p)]


class Tenon:
    name, caches = "tenon", {"own": -1, "f32": 0}

    def __init__(self, build):
        self.program = os.path.join(build, "tools/tenon")
        self.c = ctypes.CDLL(os.path.join(build, "libtenon.so"))
        for name in ("tn_decoder_open_with", "tn_decoder_feed_all"):
            getattr(self.c, name).restype = ctypes.c_void_p
        self.c.tn_last_error.restype = ctypes.c_char_p

    def convert(self, source, target, type, *more):
        run(self.program, "convert", source, target, "--dtype", type.lower(), *more)

    def check(self, result):
        return result or sys.exit(self.c.tn_last_error().decode())

    def logits(self, path, tokens, vocabulary, cache, way, greedy=0, weights=None):
        """[tokens, vocabulary], and so many tokens after them."""
        type = gguf.GGMLQuantizationType[weights].value if weights else -1
        args = DecoderArgs(size=ctypes.sizeof(DecoderArgs), weights=type, cache=self.caches[cache], context=len(tokens) + greedy, sequences=1, path=path.encode())
        decoder = ctypes.c_void_p(self.check(self.c.tn_decoder_open_with(ctypes.byref(args))))

        def feed(ids):
            at = self.check(self.c.tn_decoder_feed_all(decoder, ctypes.c_int64(0), (ctypes.c_int64 * len(ids))(*ids), ctypes.c_int64(len(ids))))
            return np.ctypeslib.as_array((ctypes.c_float * (len(ids) * vocabulary)).from_address(at)).reshape(len(ids), vocabulary).copy()

        logits = feed(tokens) if way == "whole" else np.concatenate([feed([t]) for t in tokens])
        made, last = [], logits[-1]
        for i in range(greedy):
            made.append(int(last.argmax()))
            last = feed(made[-1:])[0] if i < greedy - 1 else last
        self.c.tn_release(decoder)
        return logits, made


class LlamaCpp:
    name, caches = "llama.cpp", {"own": "own", "f32": "exact"}

    def __init__(self, folder, work):
        self.quantiser, self.splitter, self.program = os.path.join(folder, "llama-quantize"), os.path.join(folder, "llama-gguf-split"), os.path.join(work, "llama_cpp_logits")
        source = os.path.join(folder, "../..")
        run("c++", "-O1", "-I", os.path.join(source, "include"), "-I", os.path.join(source, "ggml/include"), os.path.join(HERE, "llama_cpp_logits.cpp"), "-L", folder,
            "-Wl,-rpath," + os.path.abspath(folder), "-lllama", "-lggml", "-lggml-base", "-o", self.program)

    def convert(self, source, target, type):
        """Of MXFP4 llama-quantize has experts alone, unless told of each tensor."""
        every = ("--tensor-type", ".*=mxfp4", "--token-embedding-type", "mxfp4", "--output-tensor-type", "mxfp4") if type == "MXFP4" else ()
        run(self.quantiser, "--pure", *every, source, target, "Q8_0" if every else type)

    def logits(self, path, tokens, vocabulary, cache, way, greedy=0):
        out = run(self.program, path, self.caches[cache], way, greedy, data=np.array(tokens, "<i4").tobytes())
        size = len(tokens) * vocabulary * 4
        return np.frombuffer(out[:size], "<f4").reshape(len(tokens), vocabulary), np.frombuffer(out[size:], "<i4").tolist()


# ---- the models --------------------------------------------------------------------------------------------------------------------


def write_random(folder, kind, vocabulary, hidden, inner, layers, heads, kv_heads, tied, seed=1, **more):
    """A folder of transformers; each product about as large as its input, so that all layers count."""
    rng = np.random.default_rng(seed)
    matrix = lambda rows, columns: (rng.standard_normal((rows, columns)) / columns**0.5).astype("f4")
    vector = lambda n, mean: (mean + 0.1 * rng.standard_normal(n)).astype("f4")
    size = hidden // heads
    t = {"model.embed_tokens.weight": (0.5 * rng.standard_normal((vocabulary, hidden))).astype("f4"), "model.norm.weight": vector(hidden, 1)}
    if not tied:
        t["lm_head.weight"] = matrix(vocabulary, hidden)
    for i in range(layers):
        layer = f"model.layers.{i}."
        for name, rows, columns in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv_heads * size, hidden), ("self_attn.v_proj", kv_heads * size, hidden),
                                    ("self_attn.o_proj", hidden, hidden), ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner)):
            t[layer + name + ".weight"] = matrix(rows, columns)
            if kind == "qwen2" and name[-6:] in ("q_proj", "k_proj", "v_proj"):
                t[layer + name + ".bias"] = vector(rows, 0)
        for name in ("input_layernorm", "post_attention_layernorm"):
            t[layer + name + ".weight"] = vector(hidden, 1)
        for name in ("q_norm", "k_norm") if kind == "qwen3" else ():
            t[layer + f"self_attn.{name}.weight"] = vector(size, 1)
    os.mkdir(folder)
    save_file(t, os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump({"model_type": kind, "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
                   "num_key_value_heads": kv_heads, "head_dim": size, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
                   "tie_word_embeddings": tied, "torch_dtype": "float32", **more}, out)
    return folder


class Model(typing.NamedTuple):
    name: str
    source: str
    more: list  # what tenon convert is told besides
    vocabulary: int
    prompts: list  # of tokens
    greedy: int  # how many to decode after each


def models(work, tenon):
    rng = np.random.default_rng(7)
    prompts = lambda vocabulary, count, size: [[int(i) for i in rng.integers(3, vocabulary, size)] for _ in range(count)]
    path = os.path.join(SHARED, "aidreams260K/model.bin")
    if os.path.exists(path):
        texts = [start + tenon.logits(path, start, 512, "f32", "whole", 98)[1] for start in ([1, int(i)] for i in rng.integers(259, 512, 6))]
        yield Model("aidreams260K", path, [], 512, [[1]] + texts + prompts(512, 6, 100), 28)
    tokeniser = os.path.join(SHARED, "llama2-32000/tokenizer.model")
    more = ["--tokenizer", tokeniser] if os.path.exists(tokeniser) else []
    yield Model("stories15M", write_random(os.path.join(work, "15M"), "llama", 32000, 288, 768, 6, 6, 6, True), more, 32000, prompts(32000, 1, 200), 56)
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    for name, kind, kv_heads, tied, options in (("llama3", "llama", 2, False, {"rope_scaling": scaling}), ("qwen2", "qwen2", 1, True, {}), ("qwen3", "qwen3", 4, False, {})):
        yield Model(name, write_random(os.path.join(work, name), kind, 2000, 512, 1024, 3, 8, kv_heads, tied, **options), [], 2000, prompts(2000, 2, 200), 56)


# ---- the comparisons ---------------------------------------------------------------------------------------------------------------


def compare_tokens(model, tenon, peer, f32):
    """Of the source and of the GGUF file; and how far the logits in f32 are apart."""
    global missed
    same = total = worst = 0
    for prompt in model.prompts:
        logits, due = peer.logits(f32, prompt, model.vocabulary, "f32", "whole", model.greedy)
        for path in (model.source, f32):
            ours, made = tenon.logits(path, prompt, model.vocabulary, "own", "whole", model.greedy)
            same += sum(a == b for a, b in zip(made, due))
            total += len(due)
            worst = max(worst, np.abs(ours - logits).max() / np.abs(logits).max())
    missed += same != total
    print(f"{model.name:14} tokens   {same} of {total} that Tenon decodes greedily are llama.cpp's{'' if same == total else '!'}; "
          f"logits in f32 differ by {bounded(worst, F32, '{:.1e}')} of the largest", flush=True)


def errors_of(path, exact):
    """For each matrix its type and the RMS error."""
    return {t.name: (t.tensor_type.name, float(np.sqrt(np.mean((gguf.quants.dequantize(t.data, t.tensor_type).astype("f8").ravel() - exact[t.name]) ** 2))))
            for t in gguf.GGUFReader(path).tensors if len(t.shape) > 1}


def compare_weights(name, type, path, peer_path, exact):
    global missed
    ours, theirs = errors_of(path, exact), errors_of(peer_path, exact)
    by_type = {}
    for tensor, (kind, error) in ours.items():
        peer_kind, peer_error = theirs[tensor]
        if kind != peer_kind:
            missed += 1
            print(f"{name:14} {type:6} {tensor} is {kind}, of llama-quantize {peer_kind} !")
        by_type.setdefault(kind, []).append((error / peer_error if peer_error else 1 + error, tensor))
    for kind, ratios in by_type.items():
        most, where = max(ratios)
        print(f"{name:14} {type:6} weights  {len(ratios):3} {kind:4} error {min(ratios)[0]:.4f} to {bounded(most, WEIGHTS, '{:.4f}')} times llama-quantize's, the largest of {where}", flush=True)


def rms_of(program, path, model, cache, way, base, **more):
    return np.sqrt(np.mean([np.mean((program.logits(path, p, model.vocabulary, cache, way, **more)[0].astype("f8") - b) ** 2) for p, b in zip(model.prompts, base)]))


def compare_logits(model, type, tenon, peer, f32, path, peer_path):
    for way in ("whole", "single"):
        due, base = ([q.logits(f32, p, model.vocabulary, "f32", way)[0] for p in model.prompts] for q in (peer, tenon))
        size = np.sqrt(np.mean([np.mean(np.square(b)) for b in due]))
        for cache in ("own", "f32"):
            theirs = rms_of(peer, peer_path, model, cache, way, due)
            errors = {"their file": rms_of(tenon, peer_path, model, cache, way, base)}
            if path:
                errors["our file"] = rms_of(tenon, path, model, cache, way, base)
                errors["llama.cpp on our file"] = rms_of(peer, path, model, cache, way, due)
            if path and type != "Q4_K":  # which --dtype has not
                errors["at load"] = rms_of(tenon, f32, model, cache, way, base, weights=type)
            print(f"{model.name:14} {type:6} logits   {way:6} {cache} cache: llama.cpp's error {theirs / size:.5f} of the logits; "
                  + ", ".join(f"{what} {bounded(error / theirs, LOGITS)}" for what, error in errors.items()), flush=True)


def compare_split(model, tenon, peer, path, type):
    global missed
    for how in (("--split-max-tensors", "5"), ("--no-tensor-first-split", "--split-max-tensors", "1"), ("--split-max-size", "40M")):
        with tempfile.TemporaryDirectory() as folder:
            run(peer.splitter, "--split", *how, path, os.path.join(folder, "part"))
            parts = sorted(os.listdir(folder))
            due, got = (tenon.logits(p, model.prompts[0], model.vocabulary, "own", "whole")[0] for p in (path, os.path.join(folder, parts[0])))
        same = np.array_equal(due, got)
        missed += not same
        print(f"{model.name:14} {type:6} split    {' '.join(how)}: {len(parts)} files, {'the same logits' if same else 'other logits!'}", flush=True)


def main():
    folder = os.environ.get("LLAMA_CPP") or sys.exit("LLAMA_CPP (a folder with llama-quantize and libllama) is not set")
    tenon = Tenon(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        peer = LlamaCpp(folder, work)
        for model in models(work, tenon):
            if sys.argv[2:] and not model.name.startswith(tuple(sys.argv[2:])):
                continue
            f32 = os.path.join(work, model.name + ".F32.gguf")
            tenon.convert(model.source, f32, "F32", *model.more)
            compare_tokens(model, tenon, peer, f32)
            compare_split(model, tenon, peer, f32, "F32")
            exact = {t.name: t.data.astype("f8").ravel() for t in gguf.GGUFReader(f32).tensors}
            for type in TYPES:
                path, peer_path = (os.path.join(work, f"{model.name}.{type}.{q.name}.gguf") for q in (tenon, peer))
                tenon.convert(model.source, path, type, *model.more)
                peer.convert(f32, peer_path, type)
                compare_weights(model.name, type, path, peer_path, exact)
                compare_logits(model, type, tenon, peer, f32, path, peer_path)
            for type in READ:
                peer_path = os.path.join(work, f"{model.name}.{type}.{peer.name}.gguf")
                peer.convert(f32, peer_path, type)
                compare_logits(model, type, tenon, peer, f32, None, peer_path)
            compare_split(model, tenon, peer, peer_path, type)
    print(f"{missed} bounds missed")
    sys.exit(missed != 0)


if __name__ == "__main__":
    main()
