"""What llama.cpp makes of bytes and of tokens by the GGUF files that Tenon writes of the tokenisers beside this script.

    python tests/reference/make_tokenizer_gguf.py LIBTENON PROGRAM          # writes tokenizer_gguf_cases.h
    python tests/reference/make_tokenizer_gguf.py LIBTENON PROGRAM COUNT    # compares on COUNT texts a file, by hand
    python tests/reference/make_tokenizer_gguf.py LIBTENON --check FOLDER   # what TN_TEST_KEEP=FOLDER test_tokenizer_gguf wrote: tokenizers reads
                                                                            # the tokenizer.json of each GGUF file and makes the same ids

LIBTENON is Tenon's shared library, PROGRAM is built of llama_cpp_tokens.cpp; the package gguf is needed.
"""
import ctypes
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import unicodedata

import gguf

from make_tokenizer import FOLDER, HERE, Args, Tenon, literal, make_bytes, make_texts

FILES = (("sp_bpe_llama.model", None), ("llama2c.bin", None), ("tiktoken_llama3.tiktoken", "llama3"), ("hf_gpt2.json", None), ("hf_llama3.json", None),
         ("hf_qwen2.json", None), ("hf_smollm.json", None), ("sp_bpe_llama.model", "odd"), ("hf_gpt2.json", "odd"))
# Behind the tokens of an "odd" file, and their types: what text finds before all else, what is no letter of GPT-2's,
# what only merges make, and four that overlap.
ODD = ((b" b", 4), (b"<odd>", 4), ("x y\u2581\u00e9".encode(), 1), (b"\xffz", 1), ("\u2581the\u2581".encode(), 5), ("e\u2581t".encode(), 3), ("\u2581q".encode(), 4), (b"<q>", 2),
       (b"<ov", 4), (b"vlap>", 4), (b"lap><ov", 3), (b"><", 4))
ODD_TEXTS = [b"a b<odd>c", b"<odd> the<odd>", b"in the ", b"xe t", "\u2581q\u2581qu".encode(), b"be the<q>the",
             b"<ovlap> <ovlap><ovlap>", b"<<ov><vlap><ov<ovlap><"]
TEXTS = ["na\u00efve \U0001f600 \u4f60".encode(), b"ab\xff\xc3\xa9\xe2\x82 c", b"\xf0\x9f\x98", b"\x80 x\x80\x80", b"a\xe2 b\xc3", b"\xc0\x80\xc1\xa1 \xe0\x81\xa1", b"\xed\xa0\x80 a\xed\xbf\xbfa",
         b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80", b"<s\xe2\x82>\xf0\x9f<s>"]

# All names of splitters that Tenon has.
NAMES = """gpt-2 phi-2 mpt olmo jais jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert exaone4 trillion granite-docling
    llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano smaug-bpe dbrx qwen2 deepseek-r1-qwen stablelm2 megrez kormo f2llmv2
    hunyuan solar-open grok-2 smollm starcoder refact command-r codeshell exaone minerva-7b mellum2 tekken deepseek-coder seed-coder minicpm5 ufakzeka
    viking bloom poro-chat gpt3-finnish""".split()
# By which each two of them that split otherwise do so, and on which the models' own splitters agree with llama.cpp.
# The last one has a surrogate, which llama.cpp takes for a character.
SPLIT_TEXTS = ["It's IT'S we'LL, don't x'the  12345 x12345y 3.14", "if (x)  {\r\n\treturn -1;\n\n    }\n  \n", "the.\n\n!!!\nturn.. --\r\n--/a/b, ;i++  ",
               "\u4f60\u597d\u4e16\u754c\uff0ca\u3002\u3053\u3093\u306b\u3061\u306f \ud55c\uae00 \u0663\u0967", "\u00e9a \u00e9<i=\u00b2\u00a0 x\u00b2\u3000\u2028z",
               "x345 \U0001f468\u200d\U0001f469\u200d\U0001f467!",
               "aaaa\ud800aaaa.\udfff the"]


class LlamaCpp:
    def __init__(self, program, path):
        self.process = subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, what, count, data, size):
        self.process.stdin.write(what + struct.pack("<i", count) + data)
        self.process.stdin.flush()
        n = struct.unpack("<i", self.process.stdout.read(4))[0]
        return self.process.stdout.read(n * size) if n >= 0 else None

    def encode(self, data, special):
        ids = self.ask(b"E" if special else b"e", len(data), data, 4)
        return None if ids is None else list(struct.unpack(f"<{len(ids) // 4}i", ids))

    def decode(self, ids, special):
        return self.ask(b"D" if special else b"d", len(ids), struct.pack(f"<{len(ids)}i", *ids), 1)

    def adds_bos(self):
        return struct.unpack("<i", self.ask(b"b", 0, b"", 4))[0]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def add_odd(c, writer, path):
    """The tokens of the writer, saved once, and ODD."""
    if c.tn_save_gguf(writer, path.encode()):
        raise RuntimeError(c.tn_last_error().decode())
    c.tn_map_gguf.restype, c.tn_gguf_string_at.restype, c.tn_gguf_numbers.restype = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    file = ctypes.c_void_p(c.tn_map_gguf(path.encode()))
    types = ctypes.c_void_p(c.tn_gguf_numbers(file, b"tokenizer.ggml.token_type"))
    n = c.tn_numel(types)
    tokens = [c.tn_gguf_string_at(file, b"tokenizer.ggml.tokens", ctypes.c_int64(i), None) for i in range(n)] + [text for text, _ in ODD]
    types = list((ctypes.c_int64 * n).from_address(c.tn_data(types))) + [type for _, type in ODD]
    n += len(ODD)
    c.tn_gguf_set_array(writer, b"tokenizer.ggml.tokens", 8, (ctypes.c_char_p * n)(*tokens), ctypes.c_int64(n))
    c.tn_gguf_set_array(writer, b"tokenizer.ggml.token_type", 5, (ctypes.c_int32 * n)(*types), ctypes.c_int64(n))
    c.tn_gguf_set_array(writer, b"tokenizer.ggml.scores", 6, (ctypes.c_float * n)(*range(0, -n, -1)), ctypes.c_int64(n))


def write_gguf(tenon, file, pattern, folder):
    """The file's tokeniser as GGUF, with ODD behind it or not, with what llama.cpp asks of a model; its added tokens without what GGUF cannot say."""
    data = open(os.path.join(FOLDER, file), "rb").read()
    if file.endswith(".json"):
        data = re.sub(rb'"(lstrip|rstrip|single_word|normalized)":true', rb'"\1":null', data)
    path = os.path.join(folder, "model.gguf")
    with open(os.path.join(folder, file), "wb") as f:
        f.write(data)
    args = Args(size=ctypes.sizeof(Args), path=os.path.join(folder, file).encode(), pattern=pattern.encode() if pattern and pattern != "odd" else None)
    c, u32 = tenon.c, ctypes.c_int(4)
    c.tn_gguf_writer_new.restype = ctypes.c_void_p
    writer, tokenizer = ctypes.c_void_p(c.tn_gguf_writer_new()), ctypes.c_void_p(tenon.check(c.tn_tokenizer_new_with(ctypes.byref(args))))
    c.tn_gguf_set_string(writer, b"general.architecture", b"llama")
    for key in ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"):
        c.tn_gguf_set_int(writer, f"llama.{key}".encode(), u32, ctypes.c_int64(1))
    c.tn_gguf_set_tokenizer(writer, tokenizer, ctypes.c_int64(0))
    if pattern == "odd":
        add_odd(c, writer, path)
    if c.tn_save_gguf(writer, path.encode()):
        raise RuntimeError(c.tn_last_error().decode())
    c.tn_tokenizer_open.restype = ctypes.c_void_p
    return path, ctypes.c_void_p(tenon.check(c.tn_tokenizer_open(path.encode())))


def write_named(file, pre, folder):
    """The file's tokeniser, of bytes as letters, with that splitter; what a text begins with is not said."""
    whole = json.load(open(os.path.join(FOLDER, file)))
    tokens = sorted({**whole["model"]["vocab"], **{t["content"]: t["id"] for t in whole["added_tokens"]}}.items(), key=lambda token: token[1])
    path = os.path.join(folder, pre + ".gguf")
    out = gguf.GGUFWriter(path, "llama")
    for add in (out.add_context_length, out.add_embedding_length, out.add_block_count, out.add_feed_forward_length, out.add_head_count, out.add_bos_token_id):
        add(1)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_token_list([text for text, _ in tokens])
    out.add_token_types([1 if text in whole["model"]["vocab"] else 3 for text, _ in tokens])
    out.add_token_merges([" ".join(merge) for merge in whole["model"]["merges"]])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()
    return path


def is_own_way(pre, text):
    """Whether the model's own splitter, which Tenon has, makes other pieces of the text than llama.cpp's: Qwen's normal form C; (?i:'s) that takes a long
    s; Tekken's cases and marks of letters beyond ASCII."""
    return (pre in ("qwen2", "deepseek-r1-qwen") and unicodedata.normalize("NFC", text) != text) or (pre in NAMES and "'\u017f" in text) or \
        (pre == "tekken" and any(c > "\x7f" and unicodedata.category(c)[0] in "LM" for c in text))


def random_ids(rng, size, odd):
    low, high = rng.choice((0, 3)), rng.choice((size, 259))
    low = size - len(ODD) if odd and high == size else low
    return [rng.randrange(low, high) for _ in range(rng.randrange(1, 12))]


def compare(tenon, peer, tokenizer, file, pattern, pre, count):
    wrong = {"ids": 0, "decoding": 0}
    thrown = compared = 0
    rng = random.Random(7)

    def differs(what, of, ours, theirs):
        wrong[what] += 1
        if wrong[what] <= 3:
            print(f"  {file} {what}: {of!r:.200}\n    ours   {ours!r:.300}\n    theirs {theirs!r:.300}")

    odd = [b"".join(rng.choice(ODD)[0] if rng.random() < 0.5 else rng.choice((b" ", b"a", b"the", b" the", b"qu", b"  ", b"<ovlap>", b"lap>")) for _ in range(rng.randrange(1, 12)))
           for _ in range(count if pattern == "odd" else 0)]
    for text in make_bytes(count) + TEXTS + odd + [rng.randbytes(rng.randrange(40)) for _ in range(count)]:
        loose = text.decode(errors="surrogateescape")
        if is_own_way(pre or ("qwen2" if "qwen2" in file else None), loose):
            continue
        compared += 1
        for special in (False, True):
            theirs, ours = peer.encode(text, special), tenon.encode(tokenizer, text, special)[0]
            thrown += theirs is None
            if theirs is not None and ours != theirs:
                differs("ids", text, ours, theirs)
        tenon.clear()
    size = tenon.c.tn_tokenizer_vocab_size(tokenizer)
    for ids in (random_ids(rng, size, pattern == "odd") for _ in range(count)):
        for special in (False, True):
            ours, theirs = tenon.stream(tokenizer, ids, not special), peer.decode(ids, special)
            if ours != theirs:
                differs("decoding", ids, ours, theirs)
    print(f"{file:24} {pre or pattern or '':15} {2 * compared} texts, {thrown} of which llama.cpp throws at: {wrong['ids']} other ids; {2 * count} sequences: {wrong['decoding']} other texts", flush=True)
    return sum(wrong.values())


def write_cases(out, tenon, peer, tokenizer, file, pattern):
    rng = random.Random(3)
    size = tenon.c.tn_tokenizer_vocab_size(tokenizer)
    cases = [(text, peer.encode(text, False)) for text in TEXTS + (ODD_TEXTS if pattern == "odd" else [])] + [(None, random_ids(rng, size, pattern == "odd")) for _ in range(4)]
    for text, ids in cases:
        if ids is None:
            continue
        decoded = peer.decode(ids, False)
        name = f'"{pattern}"' if pattern else "0"
        out.write(f'{{"{file}", {name}, {-1 if text is None else len(text)}, {len(decoded)}, {literal(text or b"")}, "{" ".join(map(str, ids))}", {literal(decoded)}}},\n')


def write_names(out, program, folder):
    """What each splitter makes of SPLIT_TEXTS, once for those that make the same of them; and by name what it is like."""
    kinds, names = {}, []
    for name in NAMES:
        peer = LlamaCpp(program, write_named("hf_unsplit.json", name, folder))
        ids = [peer.encode(text.encode(errors="surrogatepass"), False) for text in SPLIT_TEXTS]
        names.append((name, kinds.setdefault(str(ids), (name, ids))[0], peer.adds_bos()))
        peer.close()
    out.write("/* hf_unsplit.json's tokens with each splitter. */\nstatic const struct {\n    const char *pre, *text, *ids;\n} gguf_split[] = {\n")
    for name, ids in kinds.values():
        for text, due in zip(SPLIT_TEXTS, ids):
            out.write(f'{{"{name}", {literal(text.encode(errors="surrogatepass"))}, "{" ".join(map(str, due))}"}},\n')
    out.write("};\n/* The names of all, which of those above they are like, and whether the beginning's token stands in front where a file does not say. */\n")
    out.write("static const struct {\n    const char *pre, *like;\n    int adds_bos;\n} gguf_pre[] = {" + ", ".join(f'{{"{n}", "{like}", {bos}}}' for n, like, bos in names) + "};\n")


def check_json(tenon, folder, count=10000):
    import tokenizers
    tenon.c.tn_tokenizer_open.restype = ctypes.c_void_p
    wrong = 0
    for name in sorted(f for f in os.listdir(folder) if f.endswith(".json")):
        theirs = tokenizers.Tokenizer.from_file(os.path.join(folder, name))
        ours = tenon.check(tenon.c.tn_tokenizer_open(os.path.join(folder, name[:-4] + "gguf").encode()))
        special = [t.content for t in theirs.get_added_tokens_decoder().values()]
        rng, differ = random.Random(5), 0
        for text in make_texts(count):
            if special and rng.random() < 0.3:  # special tokens within
                text = text[:9] + rng.choice(special) + text[9:]
            ids, expected = tenon.encode(ours, text.encode(), True, -1)[0], theirs.encode(text).ids
            tenon.clear()
            if ids != expected:
                differ += 1
                if differ <= 3:
                    print(f"  {name}: {text!r:.200}\n    GGUF {ids!r:.300}\n    json {expected!r:.300}")
        print(f"{name}: {count} texts: {differ} other ids", flush=True)
        wrong += differ
    sys.exit(wrong != 0)


def main():
    tenon = Tenon(sys.argv[1])
    if sys.argv[2] == "--check":
        check_json(tenon, sys.argv[3])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, open(os.devnull if count else os.path.join(HERE, "tokenizer_gguf_cases.h"), "w") as out:
        out.write("/* Generated by tests/reference/make_tokenizer_gguf.py: what llama.cpp makes of bytes (-1 of them: of tokens alone). clang-format off */\n")
        out.write("typedef struct gguf_case {\n    const char *file, *pattern;\n    int bytes, decoded_bytes;\n    const char *text, *ids, *decoded;\n} gguf_case;\n")
        out.write("/* The tokens behind the others of an \"odd\" file. */\n")
        out.write("static const struct {\n    const char *text;\n    int type;\n} gguf_odd[] = {" + ", ".join(f"{{{literal(text)}, {type}}}" for text, type in ODD) + "};\n")
        out.write("static const gguf_case gguf_cases[] = {\n")
        for file, pattern in FILES:
            path, tokenizer = write_gguf(tenon, file, pattern, folder)
            peer = LlamaCpp(sys.argv[2], path)
            if count:
                wrong += compare(tenon, peer, tokenizer, file, pattern, None, count)
            else:
                write_cases(out, tenon, peer, tokenizer, file, pattern)
            peer.close()
        out.write("};\n")
        for pre in NAMES if count else ():
            path = write_named("hf_unsplit.json", pre, folder)
            peer = LlamaCpp(sys.argv[2], path)
            wrong += compare(tenon, peer, ctypes.c_void_p(tenon.check(tenon.c.tn_tokenizer_open(path.encode()))), "hf_unsplit.json", None, pre, count)
            peer.close()
        if not count:
            write_names(out, sys.argv[2], folder)
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
