"""Tokenisers made by the libraries themselves, and what those say of texts.

    python tests/reference/make_tokenizer.py                     # writes tokenizers/ and tokenizer_cases.h
    python tests/reference/make_tokenizer.py LIBTENON [COUNT]    # compares with Tenon's shared library on COUNT texts a kind, by hand

Needs sentencepiece, tokenizers, tiktoken and protobuf; the second form reads ../shared's texts and vocabularies where they are, and
cl100k_base.tiktoken in the folder that TIKTOKEN_RANKS names.
"""
import base64
import ctypes
import heapq
import io
import json
import os
import random
import struct
import sys
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import sentencepiece
import tiktoken
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.path.join(HERE, "../../../shared")
FOLDER = os.path.join(HERE, "tokenizers")

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
QWEN2 = LLAMA3.replace("{1,3}", "")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = "|".join([r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+", r"[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*", r"\p{N}",
                   r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])

# ---- texts -----------------------------------------------------------------------------------------------------------------

PARTS = ["the", "The", " the", "don't", "DON'T", "it's", "IT'S", "it\u2019s", "'\u017f", "we'LL", "12345", "3.14", "\u00bd\u2163\u0663\u0967", "  ", "   ",
         "\t", "\n", "\r\n", "\n\n\n", " \n", "\u00a0", "\u3000", "\u2028", "\x85", "\u180e", "\u200b", "\u200d", "\ufeff", "\ufffd", "\x00", "\x01",
         "e\u0301", "\u00e9", "\u0041\u030a", "\u1e69", "s\u0323\u0307", "s\u0307\u0323", "\ud55c\uae00", "\u1112\u1161\u11ab", "\uac00\u11a8", "\u4f60\u597d\u4e16\u754c",
         "\u3053\u3093\u306b\u3061\u306f", "\u30ab\u3099", "\uff21\uff22\uff11", "\ufb01", "\u2460", "\u00df", "\u0130", "\u01c5", "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd",
         "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001d518", "\U00020000", "\U0010ffff", "\u2581", "\u2581\u2581", "_",
         "<s>", "</s>", "<unk>", "<0x0A>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<sep>", "<user>", "[INST]", "<l>", "<r>", "<w>", "<n>",
         "int main(void) { return 0; }", "for (i = 0; i < n; i++)", "def f(x):\n    return x", "a/b/c", "x\u00b2", "...", "!!!", "--", "\u2014", "\"quoted\"", "aaaaaaaa", "abababab"]


def real_lines():
    lines = []
    for name in ("tinyshakespeare/input.txt", "tinyshakespeare/tinyshakespeare.txt", "cola/in_domain_train.tsv"):
        for folder, _, files in os.walk(os.path.join(SHARED, "data", name.split("/")[0])):
            for file in sorted(files):
                if file.endswith((".txt", ".tsv")) and not file.startswith("README"):
                    lines += open(os.path.join(folder, file), encoding="utf-8", errors="replace").read().split("\n")
    for folder in ("src/core", "src/text"):
        for file in sorted(os.listdir(os.path.join(HERE, "../..", folder))):
            if file.endswith(".c"):
                lines += open(os.path.join(HERE, "../..", folder, file), encoding="utf-8").read().split("\n")
    return [line for line in dict.fromkeys(lines) if line]


def any_point(rng):
    while True:
        c = rng.choice((rng.randrange(0x80), rng.randrange(0x800), rng.randrange(0x10000), rng.randrange(0x30000), rng.randrange(0x110000)))
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def make_text(rng, lines):
    kind = rng.randrange(8)
    if kind < 2:
        return rng.choice(lines)
    if kind == 2:
        return "".join(any_point(rng) for _ in range(rng.randrange(1, 24)))
    if kind == 3:
        return "".join(rng.choice(" \t\n\r\u00a0ab1.\u2581'") for _ in range(rng.randrange(1, 30)))
    if kind == 4:
        block = rng.choice((0x300, 0x900, 0xac00, 0x1100, 0x3040, 0x1f600, 0x600, 0x1e00, 0xf900, 0x2000, 0xff00))
        return "".join(chr(block + rng.randrange(0x70)) for _ in range(rng.randrange(1, 20)))
    text = "".join(rng.choice(PARTS) + rng.choice(("", "", " ", "a", "é")) for _ in range(rng.randrange(1, 9)))
    return text + rng.choice(lines)[:20] if kind == 5 else text


def make_texts(count, seed=1):
    rng = random.Random(seed)
    lines = real_lines() or ["To be, or not to be: that is the question."]
    texts = [make_text(rng, lines) for _ in range(count)]
    texts += ["\n".join(lines[i:i + 40]) for i in range(0, min(len(lines), count), 400)]
    return texts


def make_bytes(count, seed=2):
    """Bytes that may be no UTF-8: random ones, and texts with a few changed, cut or put in."""
    rng = random.Random(seed)
    out = []
    for text in make_texts(count, seed)[:count]:
        data = bytearray(text.encode()[:200])
        if rng.randrange(4) == 0:
            data = bytearray(rng.randbytes(rng.randrange(1, 30)))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data) + 1)
            data[at:at + rng.randrange(2)] = rng.choice((b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\x80", b"a"))
        out.append(bytes(data))
    return out


# ---- SentencePiece ---------------------------------------------------------------------------------------------------------


def train_sentencepiece(corpus, **options):
    model = io.BytesIO()
    options = {"vocab_size": 400, "minloglevel": 2, "character_coverage": 0.995, "num_threads": 1, "hard_vocab_limit": False, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=model, **options)
    proto = pb.ModelProto.FromString(model.getvalue())
    proto.trainer_spec.ClearField("input")
    proto.normalizer_spec.ClearField("normalization_rule_tsv")  # a file of this process
    return proto


class SentencePiece:
    extension = ".model"

    def __init__(self, proto):
        self.data = proto if isinstance(proto, bytes) else proto.SerializeToString()
        self.library = sentencepiece.SentencePieceProcessor(model_proto=self.data)

    def encode(self, data, special):
        return self.library.encode(data)

    def decode(self, ids):
        return self.library.decode(ids).encode() if ids else b""

    takes_bytes = True
    specials = (False,)


def unused(proto):
    """Some of the pieces unused, as a restricted vocabulary has them."""
    rng = random.Random(3)
    for piece in proto.pieces:
        if piece.type == 1 and len(piece.piece) > 1 and rng.randrange(4) == 0:
            piece.type = 5
    return proto


def sentencepiece_kinds(corpus, small):
    rules = os.path.join("/tmp", f"tenon-rules-{os.getpid()}.tsv")
    with open(rules, "w") as f:
        for a, b in (("\u00a0", " "), ("\t", " "), ("\n", " "), ("\u3000", " "), ("e\u0301", "\u00e9"), ("\ufb01", "fi"), ("\uff21", "A"), ("A", "a"), ("\u200b", ""), ("\u2460", "1"), ("\u2014", " - ")):
            f.write(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n")
    names = {"nmt": {"normalization_rule_name": "nmt_nfkc"}, "cf": {"normalization_rule_name": "nfkc_cf"}}
    if small:
        names = {"nmt": {"normalization_rule_tsv": rules}, "cf": {"normalization_rule_tsv": rules}}
    symbols = {"user_defined_symbols": ["<sep>", "<user>", "\u4f60\u597d", "aaa", "  "], "control_symbols": ["<|im_start|>", "[INST]"]}
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    train = lambda **options: train_sentencepiece(corpus, **options)
    yield "sp_bpe_llama", SentencePiece(train(model_type="bpe", byte_fallback=True, split_digits=True, vocab_size=500 if small else 600, **plain))
    yield "sp_bpe_rules", SentencePiece(train(model_type="bpe", **names["nmt"], **symbols))
    yield "sp_bpe_unused", SentencePiece(unused(train(model_type="bpe", **plain)))
    yield "sp_unigram_rules", SentencePiece(train(model_type="unigram", **names["nmt"]))
    yield "sp_unigram_bytes", SentencePiece(unused(train(model_type="unigram", byte_fallback=True, vocab_size=600, **names["cf"], **symbols)))
    if not small:
        yield "sp_unigram_identity", SentencePiece(train(model_type="unigram", add_dummy_prefix=False, **plain))
        yield "sp_bpe_cf", SentencePiece(train(model_type="bpe", vocab_size=2000, **names["cf"]))
        yield "sp_bpe_suffix", SentencePiece(train(model_type="bpe", treat_whitespace_as_suffix=True, **names["nmt"]))
        yield "sp_unigram_suffix", SentencePiece(train(model_type="unigram", treat_whitespace_as_suffix=True, byte_fallback=True, vocab_size=600, **symbols))
        yield "sp_bpe_no_prefix", SentencePiece(train(model_type="bpe", add_dummy_prefix=False, remove_extra_whitespaces=True))
        whole = train(model_type="bpe", **plain)
        whole.normalizer_spec.escape_whitespaces = False
        yield "sp_bpe_no_escape", SentencePiece(whole)
        real = os.path.join(SHARED, "models/llama2-32000/tokenizer.model")
        if os.path.exists(real):
            yield "sp_llama2_32000", SentencePiece(open(real, "rb").read())
    os.unlink(rules)


# ---- llama2.c and llama3.np ------------------------------------------------------------------------------------------------


class Llama2c:
    """run.c's encode() and decode(), without BOS."""
    extension = ".bin"
    takes_bytes = True
    specials = (False,)

    def __init__(self, data):
        self.data = data
        self.tokens, self.scores, at = [], [], 4
        while at < len(data):
            score, size = struct.unpack("<fi", data[at:at + 8])
            self.tokens.append(data[at + 8:at + 8 + size])
            self.scores.append(score)
            at += 8 + size
        self.ids = {}
        for i, token in enumerate(self.tokens):
            self.ids.setdefault(token, i)

    def first(self, data):
        ids = [self.ids[b" "]] if data else []
        at = 0
        while at < len(data):
            end = at + 1
            while end < len(data) and end - at < 4 and data[end] & 0xC0 == 0x80:
                end += 1
            id = self.ids.get(data[at:end], -1)
            ids += [id] if id >= 0 else [b + 3 for b in data[at:end]]
            at = end
        return ids

    def encode_long(self, text):
        """The same with a heap: best scores first, of equal ones the leftmost."""
        ids = self.first(text.encode())
        before, behind, heap = list(range(-1, len(ids) - 1)), list(range(1, len(ids) + 1)), []

        def offer(left):
            if left >= 0 and behind[left] < len(ids):
                id = self.ids.get(self.tokens[ids[left]] + self.tokens[ids[behind[left]]], -1)
                if id >= 0 and self.scores[id] > -1e10:
                    heapq.heappush(heap, (-self.scores[id], left, ids[left], ids[behind[left]], id))

        for i in range(len(ids)):
            offer(i)
        while heap:
            _, left, a, b, id = heapq.heappop(heap)
            right = behind[left]
            if ids[left] != a or right >= len(ids) or ids[right] != b:
                continue
            ids[left], ids[right] = id, None
            behind[left] = behind[right]
            if behind[left] < len(ids):
                before[behind[left]] = left
            offer(left)
            offer(before[left])
        return [id for id in ids if id is not None]

    def encode(self, text, special):
        ids = self.first(text.encode() if isinstance(text, str) else text)
        while True:
            best = (-1e10, -1, -1)
            for i in range(len(ids) - 1):
                id = self.ids.get(self.tokens[ids[i]] + self.tokens[ids[i + 1]], -1)
                if id >= 0 and self.scores[id] > best[0]:
                    best = (self.scores[id], id, i)
            if best[1] < 0:
                return ids
            ids[best[2]:best[2] + 2] = [best[1]]

    def decode(self, ids):
        out = b""
        for place, id in enumerate(ids):
            token = self.tokens[id]
            if token[:1] == b" " and (place == 0 or ids[place - 1] == 1):
                token = token[1:]
            if len(token) == 6 and token[:3] == b"<0x":
                token = bytes([int(token[3:5], 16)])
            out += token
        return out


class Llama3np(Llama2c):
    """tokenizer.py's encode() and decode(), which strips no token's text here."""
    extension = ".np"
    takes_bytes = False

    def __init__(self, data):
        self.data = data
        read = json.loads(data)
        self.tokens, self.scores, self.ids = [t.encode() for t in read["tokens"]], read["scores"], {}
        for i, token in enumerate(self.tokens):
            self.ids.setdefault(token, i)

    def first(self, data):
        return [i for i in (self.ids.get(c.encode(), -1) for c in data.decode()) if i >= 0]

    def decode(self, ids):
        return b"".join(self.tokens[i] for i in ids)


def llama2c_of(proto):
    out = struct.pack("<i", max(len(p.piece.encode()) for p in proto.pieces))
    for i, piece in enumerate(proto.pieces):
        text = {1: "\n<s>\n", 2: "\n</s>\n"}.get(i, piece.piece.replace("\u2581", " ")).encode()
        out += struct.pack("<fi", piece.score, len(text)) + text
    return out


def llama_kinds(corpus, small):
    proto = train_sentencepiece(corpus, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False)
    yield "llama2c", Llama2c(llama2c_of(proto))
    tokens = [p.piece.replace("\u2581", " ") if p.type != 6 else chr(int(p.piece[3:5], 16)) for p in proto.pieces]
    yield "llama3np", Llama3np(json.dumps({"tokens": tokens, "scores": [p.score for p in proto.pieces]}).encode())
    if not small:
        for name, path, kind in (("llama2c_32000", "llama2-32000/tokenizer.bin", Llama2c), ("llama2c_512", "aidreams260K/tokenizer.bin", Llama2c),
                                 ("llama3np_32000", "llama2-32000/tokenizer.model.np", Llama3np)):
            if os.path.exists(os.path.join(SHARED, "models", path)):
                yield name, kind(open(os.path.join(SHARED, "models", path), "rb").read())


# ---- Hugging Face ----------------------------------------------------------------------------------------------------------


class HuggingFace:
    extension = ".json"
    takes_bytes = False
    specials = (False, True)

    def __init__(self, tokenizer):
        self.data = tokenizer.to_str().encode()
        self.library = Tokenizer.from_str(tokenizer.to_str())

    def encode(self, text, special):
        self.library.encode_special_tokens = not special
        return self.library.encode(text, add_special_tokens=False).ids

    def around(self, text):
        self.library.encode_special_tokens = False
        return self.library.encode(text).ids

    def decode(self, ids):
        return self.library.decode(ids).encode()


ADDED = [AddedToken("<l>", lstrip=True, normalized=False), AddedToken("<r>", rstrip=True, normalized=False), AddedToken("<w>", single_word=True, normalized=False),
         AddedToken("<n>", normalized=True), AddedToken("<sep>", lstrip=True, rstrip=True, normalized=True), AddedToken("caf\u00e9", normalized=True, single_word=True),
         AddedToken("<lr>", lstrip=True, rstrip=True), AddedToken(" x ", normalized=False)]
SPECIAL = ["<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"]


def byte_level(corpus, pre, normalizer=None, vocab=600, added=ADDED, ignore_merges=False, prefix=False, template=None, special=True):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=vocab, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                      special_tokens=SPECIAL[:1] if special else []))
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(SPECIAL)
    t.add_tokens(added)
    if template:
        t.post_processor = processors.TemplateProcessing(single=template, special_tokens=[(s, t.token_to_id(s)) for s in SPECIAL])
    return t


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def unsplit(small):
    """GPT-2's splitter over tokens that were made without one, so that each splitter makes others of a text; some merges are gone: where a whole piece is
    taken as a token, it may be one that nothing merges into."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.train_from_iterator(make_texts(6000, 9), trainers.BpeTrainer(vocab_size=700 if small else 2000, show_progress=False, max_token_length=10,
                                                                   initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    whole, rng = json.loads(t.to_str()), random.Random(6)
    whole["model"]["merges"] = [merge for merge in whole["model"]["merges"] if rng.randrange(6)]
    t = Tokenizer.from_str(json.dumps(whole))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(SPECIAL)
    return t


def spiece(corpus, pre=None, normalizer=None, decoder=None, fallback=True, unk="<unk>", fuse=True, added=ADDED, vocab=700):
    """BPE in SentencePiece's style: of characters, spaces written as U+2581."""
    t = Tokenizer(models.BPE(unk_token=unk, fuse_unk=fuse, byte_fallback=fallback))
    t.normalizer = normalizer
    t.pre_tokenizer = pre or pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"] + ([f"<0x{i:02X}>" for i in range(256)] if fallback else [])
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=vocab, show_progress=False, special_tokens=special, limit_alphabet=100))
    whole = json.loads(t.to_str())
    whole["pre_tokenizer"] = json.loads(pre.__getstate__()) if pre else None
    whole["added_tokens"] = whole["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(whole))
    t.decoder = decoder
    t.add_tokens(added)
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def llama2_decoder():
    return decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def huggingface_kinds(corpus, small):
    by = lambda pattern: pre_tokenizers.Sequence([split(pattern), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    whole = lambda **o: pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **o})
    meta = lambda **o: pre_tokenizers.Metaspace(**o)
    llama2 = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    size = 340 if small else 500
    yield "hf_gpt2", HuggingFace(byte_level(corpus, whole(), vocab=size))
    yield "hf_llama3", HuggingFace(byte_level(corpus, by(LLAMA3), vocab=size, ignore_merges=True, template="<|begin_of_text|> $A"))
    yield "hf_qwen2", HuggingFace(byte_level(corpus, by(QWEN2), normalizers.NFC(), vocab=size))
    yield "hf_smollm", HuggingFace(byte_level(corpus, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole()]), vocab=size))
    yield "hf_llama2", HuggingFace(spiece(corpus, normalizer=llama2, decoder=llama2_decoder(), vocab=size + 80))
    yield "hf_first", HuggingFace(spiece(corpus, meta(prepend_scheme="first"), decoder=decoders.Metaspace(prepend_scheme="first"), fallback=False, vocab=size - 100))
    yield "hf_unsplit", HuggingFace(unsplit(small))
    if small:
        return
    yield "hf_gpt2_prefix", HuggingFace(byte_level(corpus, whole(add_prefix_space=True), vocab=3000))
    yield "hf_llama3_large", HuggingFace(byte_level(corpus, by(LLAMA3), vocab=6000, ignore_merges=True, special=False, template="<|begin_of_text|> $A <|eot_id|>"))
    yield "hf_nfd", HuggingFace(byte_level(corpus, by(QWEN2), normalizers.NFD()))
    yield "hf_strip", HuggingFace(byte_level(corpus, by(GPT2), normalizers.Sequence([normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.NFC()])))
    for behavior in ("removed", "merged_with_previous", "merged_with_next", "contiguous", "isolated"):
        for invert in (False, True):
            pre = pre_tokenizers.Sequence([split(r"\p{N}|\s|[!-/]", behavior, invert), pre_tokenizers.ByteLevel(add_prefix_space=True)])
            yield f"hf_{behavior}_{int(invert)}", HuggingFace(byte_level(corpus, pre))
    yield "hf_digits", HuggingFace(byte_level(corpus, pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.Split("the", "isolated"), whole()])))
    yield "hf_always", HuggingFace(spiece(corpus, meta(prepend_scheme="always"), decoder=decoders.Metaspace(prepend_scheme="always")))
    yield "hf_never", HuggingFace(spiece(corpus, meta(prepend_scheme="never"), decoder=decoders.Metaspace(prepend_scheme="never"), fuse=False, fallback=False))
    yield "hf_no_split", HuggingFace(spiece(corpus, meta(prepend_scheme="first", split=False), decoder=decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first"), decoders.Fuse()])))
    yield "hf_no_unk", HuggingFace(spiece(corpus, meta(), decoder=None, unk=None, fallback=False))
    yield "hf_gemma", HuggingFace(spiece(corpus, None, normalizers.Replace(" ", "\u2581"), decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])))


# ---- tiktoken --------------------------------------------------------------------------------------------------------------


class Tiktoken:
    extension = ".tiktoken"
    takes_bytes = True
    specials = (False, True)

    def __init__(self, pattern, ranks, special):
        self.pattern, self.count = pattern, len(ranks)
        self.texts = ["<|start|>user<|message|>a  b<|end|><|return|><|startoftext|><|reserved_200000|><|reserved_201087|><|fim_prefix|>"]
        self.data = b"".join(base64.b64encode(t) + b" %d\n" % r for t, r in sorted(ranks.items(), key=lambda x: x[1]))
        from tiktoken_ext import openai_public as public
        patterns = {"gpt2": public.r50k_pat_str, "p50k": public.r50k_pat_str, "p50k_edit": public.r50k_pat_str, "llama3": LLAMA3}
        source = open(public.__file__).read()
        if pattern == "cl100k":
            patterns[pattern] = r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
        if pattern.startswith("o200k"):
            u, l, e = UPPER, LOWER, "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            patterns[pattern] = "|".join([r"[^\r\n\p{L}\p{N}]?" + u + "*" + l + "+" + e, r"[^\r\n\p{L}\p{N}]?" + u + "+" + l + "*" + e, r"\p{N}{1,3}",
                                          r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
        if pattern == "cl100k":
            assert patterns[pattern] in source
        self.library = tiktoken.Encoding(pattern, pat_str=patterns[pattern], mergeable_ranks=ranks, special_tokens=special)

    def encode(self, text, special):
        if isinstance(text, bytes):
            return self.library._encode_bytes(text)
        return self.library.encode(text, allowed_special="all") if special else self.library.encode_ordinary(text)

    def decode(self, ids):
        return self.library.decode_bytes(ids)


def harmony(n):
    """o200k_harmony's special tokens behind n ranks, 199998 of which it has, as tiktoken lists them: two of them have one id."""
    from tiktoken_ext import openai_public as public
    base, ranks = public.o200k_base, 199998
    public.o200k_base = lambda: {"pat_str": "", "mergeable_ranks": {}, "special_tokens": {"<|endoftext|>": ranks + 1, "<|endofprompt|>": ranks + 20}}  # whose ranks it would fetch
    special = public.o200k_harmony()["special_tokens"]
    public.o200k_base = base
    return {text: n + id - ranks for text, id in special.items()}


def ranks_of(corpus, pattern, vocab):
    t = byte_level(corpus, pre_tokenizers.Sequence([split(pattern), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), vocab=vocab, added=[], special=False)
    letters = [c for c in range(256) if 33 <= c < 127 or 161 <= c < 256 and c != 173]
    letters = {**{chr(c): c for c in letters}, **{chr(256 + i): c for i, c in enumerate(c for c in range(256) if c not in letters)}}
    ranks = {bytes([b]): b for b in range(256)}
    for a, b in json.loads(t.to_str())["model"]["merges"]:
        ranks.setdefault(bytes(letters[c] for c in a + b), len(ranks))
    return ranks


def tiktoken_kinds(corpus, small):
    ranks = ranks_of(corpus, LLAMA3, 350 if small else 4000)
    n = len(ranks)
    llama3 = {0: "<|begin_of_text|>", 1: "<|end_of_text|>", 4: "<|finetune_right_pad_id|>", 6: "<|start_header_id|>", 7: "<|end_header_id|>", 8: "<|eom_id|>",
              9: "<|eot_id|>", 10: "<|python_tag|>"}
    reserved = iter(range(256))
    llama3 = {llama3[i] if i in llama3 else f"<|reserved_special_token_{next(reserved)}|>": n + i for i in range(256)}
    cl100k = lambda n: {"<|endoftext|>": n + 1, "<|fim_prefix|>": n + 2, "<|fim_middle|>": n + 3, "<|fim_suffix|>": n + 4, "<|endofprompt|>": n + 20}
    yield "tiktoken_llama3", Tiktoken("llama3", ranks, llama3)
    # The end is not among the ranks; behind it are runs of spaces.
    gpt2 = ranks_of(corpus, GPT2, 320 if small else 3000)
    n50 = len(gpt2)
    p50k = {**gpt2, **{run: n50 + 1 + i for i, run in enumerate([b" " * k for k in range(2, 99) if b" " * k not in gpt2][:24])}}
    yield "tiktoken_p50k", Tiktoken("p50k", p50k, {"<|endoftext|>": n50})
    if not small:
        yield "tiktoken_p50k_edit", Tiktoken("p50k_edit", p50k, {"<|endoftext|>": n50, "<|fim_prefix|>": n50 + 25, "<|fim_middle|>": n50 + 26, "<|fim_suffix|>": n50 + 27})
    yield "tiktoken_harmony", Tiktoken("o200k_harmony", ranks, harmony(n))
    yield "tiktoken_o200k", Tiktoken("o200k", ranks, {"<|endoftext|>": n + 1, "<|endofprompt|>": n + 20})
    # Its pattern leaves white space at the end whole where Llama 3's splits it behind a line's end: seen by tokens that go on there alone.
    lines = {token: n + i for i, token in enumerate((b"\n ", b"\n  ", b"\n\n ", b"\r\n\t", b"\n\xc2", b" \n  "))}
    yield "tiktoken_cl100k", Tiktoken("cl100k", {**ranks, **lines}, cl100k(n + len(lines)))
    if not small:
        yield "tiktoken_gpt2", Tiktoken("gpt2", ranks_of(corpus, GPT2, 3000), {"<|endoftext|>": len(ranks_of(corpus, GPT2, 3000))})
        yield "tiktoken_cl100k_plain", Tiktoken("cl100k", ranks, cl100k(n))
        path = os.path.join(os.environ.get("TIKTOKEN_RANKS", "/nonexistent"), "cl100k_base.tiktoken")
        if os.path.exists(path):
            ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in open(path, "rb"))}
            yield "tiktoken_cl100k_base", Tiktoken("cl100k", ranks, cl100k(len(ranks)))


# ---- GGUF: the same tokenisers by their arrays ------------------------------------------------------------------------------


class Gguf:
    """Of text alone: what bytes and ids that are none mean is llama.cpp's to say, which make_tokenizer_gguf.py asks."""
    takes_bytes = False

    def __init__(self, of, arrays):
        self.of, self.arrays, self.specials = of, arrays, of.specials
        self.encode, self.decode = of.encode, of.decode


def gguf_kinds(corpus):
    proto = train_sentencepiece(corpus, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, vocab_size=800)
    yield "gguf_llama", Gguf(SentencePiece(proto), {"model": "llama", "tokens": [p.piece.encode() for p in proto.pieces], "scores": [p.score for p in proto.pieces],
                                                    "types": [p.type for p in proto.pieces]})
    by = lambda pattern: pre_tokenizers.Sequence([split(pattern), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    plain = [AddedToken("<user>", normalized=False)]
    for pre, tokenizer in (("gpt-2", byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=False), added=plain)),
                           ("llama-bpe", byte_level(corpus, by(LLAMA3), ignore_merges=True, added=plain)),
                           ("tekken", byte_level(corpus, by(TEKKEN), ignore_merges=True, added=plain)),
                           ("qwen2", byte_level(corpus, by(QWEN2), normalizers.NFC(), added=plain)),
                           ("smollm", byte_level(corpus, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), added=plain))):
        tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
        yield f"gguf_{pre}", Gguf(HuggingFace(tokenizer), {"model": "gpt2", "pre": pre, "tokens": [t.encode() for t in tokens],
                                                            "types": [3 if t in SPECIAL else 4 if t == "<user>" else 1 for t in tokens],
                                                            "merges": [f"{a} {b}".encode() for a, b in json.loads(tokenizer.to_str())["model"]["merges"]]})


# ---- Tenon -----------------------------------------------------------------------------------------------------------------


class Args(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("vocab_size", ctypes.c_int64), ("pattern", ctypes.c_char_p), ("tn_", ctypes.c_char), ("path", ctypes.c_char_p)]


class Span(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_int64)]


class GgufArgs(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("pre", ctypes.c_char_p), ("scores", ctypes.POINTER(ctypes.c_float)), ("types", ctypes.POINTER(ctypes.c_int32)),
                ("merges", ctypes.POINTER(Span)), ("merge_count", ctypes.c_int64), ("bos", ctypes.c_int64), ("eos", ctypes.c_int64), ("unk", ctypes.c_int64),
                ("add_bos", ctypes.c_bool), ("add_eos", ctypes.c_bool), ("add_space_prefix", ctypes.c_bool), ("tn_", ctypes.c_char), ("model", ctypes.c_char_p),
                ("tokens", ctypes.POINTER(Span)), ("count", ctypes.c_int64)]


class EncodeArgs(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("add_bos", ctypes.c_int), ("add_eos", ctypes.c_int), ("allow_special", ctypes.c_bool), ("tn_", ctypes.c_char),
                ("tokenizer", ctypes.c_void_p), ("text", ctypes.c_char_p), ("bytes", ctypes.c_int64)]


class StreamArgs(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("skip_special", ctypes.c_bool), ("tn_", ctypes.c_char), ("tokenizer", ctypes.c_void_p)]


class DecodeArgs(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("skip_special", ctypes.c_bool), ("tn_", ctypes.c_char), ("tokenizer", ctypes.c_void_p), ("ids", ctypes.c_void_p),
                ("text", ctypes.c_char_p), ("capacity", ctypes.c_int64)]


class Tenon:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        for name in ("tn_tokenizer_new_with", "tn_tokenizer_gguf_new_with", "tn_tokenizer_encode_with", "tn_data", "tn_text_stream_new_with", "tn_text_stream_push",
                     "tn_text_stream_end"):
            getattr(self.c, name).restype = ctypes.c_void_p
        self.c.tn_last_error.restype = ctypes.c_char_p
        for name in ("tn_numel", "tn_tokenizer_decode_with", "tn_tokenizer_vocab_size"):
            getattr(self.c, name).restype = ctypes.c_int64

    def check(self, result):
        if not result:
            raise RuntimeError(self.c.tn_last_error().decode())
        return result

    def open(self, kind):
        if isinstance(kind, Gguf):
            a = kind.arrays
            spans = lambda texts: (Span * len(texts))(*[Span(t, len(t)) for t in texts])
            args = GgufArgs(size=ctypes.sizeof(GgufArgs), bos=-1, eos=-1, unk=-1, add_space_prefix=True, model=a["model"].encode(), tokens=spans(a["tokens"]), count=len(a["tokens"]),
                            types=(ctypes.c_int32 * len(a["types"]))(*a["types"]))
            if "scores" in a:
                args.scores = (ctypes.c_float * len(a["scores"]))(*a["scores"])
            else:
                args.pre, args.merges, args.merge_count = a["pre"].encode(), spans(a["merges"]), len(a["merges"])
            return self.check(self.c.tn_tokenizer_gguf_new_with(ctypes.byref(args)))
        path = f"/tmp/tenon-tokenizer-{os.getpid()}"
        with open(path, "wb") as f:
            f.write(kind.data)
        args = Args(size=ctypes.sizeof(Args), path=path.encode(), pattern=kind.pattern.encode() if isinstance(kind, Tiktoken) else None)
        result = self.c.tn_tokenizer_new_with(ctypes.byref(args))
        os.unlink(path)
        return self.check(result)

    def encode(self, tokenizer, data, special, around=0):
        args = EncodeArgs(size=ctypes.sizeof(EncodeArgs), add_bos=around, add_eos=around, allow_special=special, tokenizer=tokenizer, text=data, bytes=len(data))
        x = ctypes.c_void_p(self.check(self.c.tn_tokenizer_encode_with(ctypes.byref(args))))
        n = self.c.tn_numel(x)
        ids = list((ctypes.c_int64 * n).from_address(self.c.tn_data(x))) if n else []
        return ids, x

    def decode(self, tokenizer, x, skip):
        args = DecodeArgs(size=ctypes.sizeof(DecodeArgs), skip_special=skip, tokenizer=tokenizer, ids=x)
        n = self.c.tn_tokenizer_decode_with(ctypes.byref(args))
        text = ctypes.create_string_buffer(n + 1)
        args.text, args.capacity = ctypes.cast(text, ctypes.c_char_p), n + 1
        if n < 0 or self.c.tn_tokenizer_decode_with(ctypes.byref(args)) != n:
            raise RuntimeError(self.c.tn_last_error().decode())
        return text.raw[:n]

    def stream(self, tokenizer, ids, skip):
        args = StreamArgs(size=ctypes.sizeof(StreamArgs), skip_special=skip, tokenizer=tokenizer)
        stream = ctypes.c_void_p(self.check(self.c.tn_text_stream_new_with(ctypes.byref(args))))
        n, out = ctypes.c_int64(), b""
        for id in ids + [None]:
            text = self.c.tn_text_stream_end(stream, ctypes.byref(n)) if id is None else self.c.tn_text_stream_push(stream, ctypes.c_int64(id), ctypes.byref(n))
            out += ctypes.string_at(self.check(text), n.value)
        self.c.tn_release(stream)
        return out

    def clear(self):
        self.c.tn_scope_clear()


def compare(tenon, name, kind, texts):
    tokenizer = ctypes.c_void_p(tenon.open(kind))
    wrong = {"ids": 0, "decoding": 0, "stream": 0}
    count = 0

    def differs(what, text, ours, theirs):
        wrong[what] += 1
        if wrong[what] <= 2:
            print(f"  {name} {what}: {text!r:.200}\n    ours   {ours!r:.300}\n    theirs {theirs!r:.300}")

    skip = not isinstance(kind, (Tiktoken, Llama2c))
    rng = random.Random(5)
    for text in texts + (make_bytes(len(texts) // 4) if kind.takes_bytes else []):
        data = text.encode() if isinstance(text, str) else text
        for special in kind.specials if isinstance(text, str) else (False,):
            count += 1
            theirs = kind.encode(text, special)
            ours, x = tenon.encode(tokenizer, data, special)
            if ours != theirs:
                differs("ids", text, ours, theirs)
            elif tenon.decode(tokenizer, x, skip) != kind.decode(theirs):
                differs("decoding", text, tenon.decode(tokenizer, x, skip), kind.decode(theirs))
            else:
                fallback = isinstance(kind, HuggingFace) and b'"byte_fallback":true' in kind.data
                whole = tenon.decode(tokenizer, x, skip)
                if tenon.stream(tokenizer, ours, skip) != whole and not (fallback and b"\xef\xbf\xbd" in whole):
                    differs("stream", text, tenon.stream(tokenizer, ours, skip), whole)
            if isinstance(kind, HuggingFace) and special and count % 10 == 0 and tenon.encode(tokenizer, data, True, -1)[0] != kind.around(text):
                differs("ids", text, tenon.encode(tokenizer, data, True, -1)[0], kind.around(text))
        tenon.clear()
    size = tenon.c.tn_tokenizer_vocab_size(tokenizer)
    for _ in range(0 if isinstance(kind, Gguf) else len(texts) // 2):  # ids as no text gives them
        ids = [rng.randrange(size) for _ in range(rng.randrange(1, 12))]
        if isinstance(kind, Tiktoken):
            ids = [i for i in ids if i < kind.count]
        values = (ctypes.c_int64 * len(ids))(*ids)
        shape = (ctypes.c_int64 * 9)()
        try:
            theirs = kind.decode(ids)
        except Exception:
            continue
        ours = tenon.stream(tokenizer, ids, skip)
        if ours != theirs and not (b"\xef\xbf\xbd" in theirs and isinstance(kind, HuggingFace)):
            differs("decoding", ids, ours, theirs)
    tenon.clear()
    long = "".join(t for t in texts if isinstance(t, str))
    seconds = []
    for data in (("".join(c for c in "lorem" * 250000)[:1 << 20]).encode(), (long * (1 + (1 << 20) // len(long.encode())))[:1 << 20].encode()[:1 << 20]):
        start = time.process_time()
        tenon.encode(tokenizer, data, False)
        seconds.append(time.process_time() - start)
        tenon.clear()
    tenon.c.tn_release(tokenizer)
    print(f"{name:24} {count:6} texts: {wrong['ids']} other ids, {wrong['decoding']} other decodings, {wrong['stream']} other streams;"
          f" 1 MB without a space {seconds[0]:.2f} s of CPU, of text {seconds[1]:.2f} s", flush=True)
    return sum(wrong.values())


def corpus():
    lines = real_lines()  # where ../shared is
    rng = random.Random(4)
    extra = ["".join(rng.choice(PARTS) + " " for _ in range(20)).replace("\x00", "") for _ in range(300)]
    return [line for line in lines if "\0" not in line][:20000] + extra


def kinds(text, small):
    yield from llama_kinds(text, small)
    yield from sentencepiece_kinds(text, small)
    yield from huggingface_kinds(text, small)
    yield from tiktoken_kinds(text, small)
    if not small:
        yield from gguf_kinds(text)


CASES = ["", " ", "Hello, world!", "  two  spaces\t and a tab\n\n  ", "I don't; you DON'T, it'\u017f we'LL", "12345 3.14 \u00bd\u0663", "na\u00efve cafe\u0301 s\u0307\u0323 \u1112\u1161\u11ab",
         "\u4f60\u597d\u4e16\u754c \u3053\u3093\u306b\u3061\u306f\u3000\uff21\ufb01\u2460", "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea!", "a\x00b\u0085c\u180e\u2028d", "\u2581\u2581a \u2581",
         "x <l> y <r> z<w>a <w> <n>b <sep> c", "<s>a</s> <|endoftext|> <|begin_of_text|>b<|eot_id|> [INST] <user>aaaaaaaa", "int f(void)\n{\n    return a[i] + 1;\n}\n",
         "First Citizen:\nBefore we proceed any further, hear me speak.", b"ab\xff\xc3\xa9\xe2\x82 c", b"\xf0\x9f\x98", b"\x80 x"]


def literal(data):
    out = ""
    for b in data:
        out += {34: '\\"', 92: "\\\\", 10: "\\n", 63: "\\?"}.get(b, chr(b) if 32 <= b < 127 else f"\\{b:03o}")
    return '"' + out + '"'


LONG = ["", "lorem", "a", "aaab", "\u4f60\u00e9", "7", "AbC"]
LONG_KINDS = ("sp_bpe_llama", "llama2c", "hf_llama3", "hf_llama2", "tiktoken_o200k", "sp_unigram_bytes")


def long_text(word, size):
    """A word without spaces, so often that it fills so many bytes; of "" letters at random, of many more merges."""
    if word:
        return word * (size // len(word.encode()))
    letters, x = [], 1
    for _ in range(size):
        x = (x * 1664525 + 1013904223) % 2**32
        letters.append("etaoinshrdlu"[(x >> 24) % 12])
    return "".join(letters)


def ids_of_long(kind, word, size):
    """How many ids the library makes of it, and a hash of them."""
    text = long_text(word, size)
    if isinstance(kind, Llama2c):
        assert kind.encode_long(text[:500]) == kind.encode(text[:500], False)
    ids = kind.encode_long(text) if isinstance(kind, Llama2c) else kind.encode(text, False)
    hash = 0
    for id in ids:
        hash = (hash ^ id) * 0x100000001B3 % 2**64
    return len(ids), hash


def write_long(out, all_kinds):
    out.write("/* Of a word so often that it fills 64 KB and 1 MB, without a space; of none letters at random. */\n")
    out.write("typedef struct tokenizer_long {\n    const char *file, *pattern, *word;\n    struct {\n        long count;\n        unsigned long long hash;\n    } due[2];\n} tokenizer_long;\n")
    out.write("static const tokenizer_long tokenizer_longs[] = {\n")
    for name, kind in all_kinds:
        for word in LONG if name in LONG_KINDS else ():
            pattern = f'"{kind.pattern}"' if isinstance(kind, Tiktoken) else "0"
            due = ", ".join("{%d, 0x%xull}" % ids_of_long(kind, word, 1 << bits) for bits in (16, 20))
            out.write(f'{{"{name}{kind.extension}", {pattern}, {literal(word.encode())}, {{{due}}}}},\n')
    out.write("};\n")


def write_references():
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(HERE, "tokenizer_cases.h"), "w") as out:
        out.write("/* Generated by tests/reference/make_tokenizer.py: what the libraries make of texts. clang-format off */\n")
        out.write("typedef struct tokenizer_case {\n    const char *file, *pattern;\n    int special, bytes, decoded_bytes;\n    const char *text, *ids, *decoded;\n} tokenizer_case;\n")
        out.write("static const tokenizer_case tokenizer_cases[] = {\n")
        all_kinds = list(kinds(corpus(), True))
        for name, kind in all_kinds:
            with open(os.path.join(FOLDER, name + kind.extension), "wb") as f:
                f.write(kind.data)
            for text in CASES + getattr(kind, "texts", []):
                data = text if isinstance(text, bytes) else text.encode()
                if isinstance(text, bytes) and not kind.takes_bytes:
                    continue
                for special in kind.specials if isinstance(text, str) and "<" in text else (False,):
                    ids = kind.encode(text, special)
                    decoded = kind.decode(ids)
                    pattern = f'"{kind.pattern}"' if isinstance(kind, Tiktoken) else "0"
                    out.write(f'{{"{name}{kind.extension}", {pattern}, {int(special)}, {len(data)}, {len(decoded)}, {literal(data)}, "{" ".join(map(str, ids))}", {literal(decoded)}}},\n')
        out.write("};\n")
        write_long(out, all_kinds)


def main():
    only = sys.argv[3:] if len(sys.argv) > 3 else []
    if len(sys.argv) > 1:
        tenon = Tenon(sys.argv[1])
        texts = make_texts(int(sys.argv[2]) if len(sys.argv) > 2 else 10000)
        wrong = sum(compare(tenon, name, kind, texts) for name, kind in kinds(corpus(), False) if not only or any(o in name for o in only))
        print(f"{wrong} differences")
        sys.exit(wrong != 0)
    write_references()


if __name__ == "__main__":
    main()
