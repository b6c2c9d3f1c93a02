"""What llama.cpp makes of bytes and of tokens by the GGUF files that Tenon writes of the tokenisers beside this script.

    python tests/reference/make_tokenizer_gguf.py LIBTENON PROGRAM          # writes tokenizer_gguf_cases.h
    python tests/reference/make_tokenizer_gguf.py LIBTENON PROGRAM COUNT    # compares on COUNT texts a file, by hand
    python tests/reference/make_tokenizer_gguf.py LIBTENON --check FOLDER   # what TN_TEST_KEEP=FOLDER test_tokenizer_gguf wrote: tokenizers reads
                                                                            # the tokenizer.json of each GGUF file and makes the same ids

LIBTENON is Tenon's shared library, PROGRAM is built of llama_cpp_tokens.cpp.
"""
import ctypes
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import unicodedata

from make_tokenizer import FOLDER, HERE, Args, Tenon, literal, make_bytes, make_texts

FILES = (("sp_bpe_llama.model", None, None), ("llama2c.bin", None, None), ("tiktoken_llama3.tiktoken", "llama3", None), ("hf_gpt2.json", None, None),
         ("hf_llama3.json", None, None), ("hf_qwen2.json", None, None), ("hf_smollm.json", None, None), ("hf_llama3.json", None, "tekken"),
         ("sp_bpe_llama.model", "odd", None), ("hf_gpt2.json", "odd", None))
# Behind the tokens of an "odd" file, and their types: what text finds before all else, what is no letter of GPT-2's,
# what only merges make, and four that overlap.
ODD = ((b" b", 4), (b"<odd>", 4), ("x y\u2581\u00e9".encode(), 1), (b"\xffz", 1), ("\u2581the\u2581".encode(), 5), ("e\u2581t".encode(), 3), ("\u2581q".encode(), 4), (b"<q>", 2),
       (b"<ov", 4), (b"vlap>", 4), (b"lap><ov", 3), (b"><", 4))
ODD_TEXTS = [b"a b<odd>c", b"<odd> the<odd>", b"in the ", b"xe t", "\u2581q\u2581qu".encode(), b"be the<q>the",
             b"<ovlap> <ovlap><ovlap>", b"<<ov><vlap><ov<ovlap><"]
TEXTS = ["na\u00efve \U0001f600 \u4f60".encode(), b"ab\xff\xc3\xa9\xe2\x82 c", b"\xf0\x9f\x98", b"\x80 x\x80\x80", b"a\xe2 b\xc3", b"\xc0\x80\xc1\xa1 \xe0\x81\xa1", b"\xed\xa0\x80 a\xed\xbf\xbfa",
         b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80", b"<s\xe2\x82>\xf0\x9f<s>"]


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


def write_gguf(tenon, file, pattern, pre, folder):
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
    if pre:
        c.tn_gguf_set_string(writer, b"tokenizer.ggml.pre", pre.encode())
    if pattern == "odd":
        add_odd(c, writer, path)
    if c.tn_save_gguf(writer, path.encode()):
        raise RuntimeError(c.tn_last_error().decode())
    c.tn_tokenizer_open.restype = ctypes.c_void_p
    return path, ctypes.c_void_p(tenon.check(c.tn_tokenizer_open(path.encode())))


def random_ids(rng, size, odd):
    low, high = rng.choice((0, 3)), rng.choice((size, 259))
    low = size - len(ODD) if odd and high == size else low
    return [rng.randrange(low, high) for _ in range(rng.randrange(1, 12))]


def compare(tenon, peer, tokenizer, file, pattern, pre, count):
    wrong = {"ids": 0, "decoding": 0}
    thrown = 0
    rng = random.Random(7)

    def differs(what, of, ours, theirs):
        wrong[what] += 1
        if wrong[what] <= 3:
            print(f"  {file} {what}: {of!r:.200}\n    ours   {ours!r:.300}\n    theirs {theirs!r:.300}")

    odd = [b"".join(rng.choice(ODD)[0] if rng.random() < 0.5 else rng.choice((b" ", b"a", b"the", b" the", b"qu", b"  ", b"<ovlap>", b"lap>")) for _ in range(rng.randrange(1, 12)))
           for _ in range(count if pattern == "odd" else 0)]
    for text in make_bytes(count) + TEXTS + odd + [rng.randbytes(rng.randrange(40)) for _ in range(count)]:
        loose = text.decode(errors="surrogateescape")
        if "qwen2" in file and unicodedata.normalize("NFC", loose) != loose:
            continue  # llama.cpp leaves out Qwen's normal form
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
    print(f"{file:24} {pre or pattern or '':8} {4 * count} texts, {thrown} of which llama.cpp throws at: {wrong['ids']} other ids; {2 * count} sequences: {wrong['decoding']} other texts", flush=True)
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
        for file, pattern, pre in FILES:
            path, tokenizer = write_gguf(tenon, file, pattern, pre, folder)
            peer = LlamaCpp(sys.argv[2], path)
            if count:
                wrong += compare(tenon, peer, tokenizer, file, pattern, pre, count)
            elif not pre:
                write_cases(out, tenon, peer, tokenizer, file, pattern)
            peer.close()
        out.write("};\n")
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
