"""GGUF files made by the gguf package (pip install gguf): each type's random blocks, and what the package makes of them in f32.

python tests/reference/make_gguf.py                 writes tests/reference/files/quants.gguf and values.gguf
python tests/reference/make_gguf.py FILE BLOCKS     writes such a file of many blocks, for TN_TEST_GGUF=FILE test_quant
python tests/reference/make_gguf.py --check FOLDER  reads what TN_TEST_KEEP=FOLDER test_gguf wrote"""
import os, sys
import numpy as np
import gguf
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")
types = "F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
# Where the f16 scales lie in a block.
scales = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
# Zeros, the smallest and largest denormal and normal numbers, infinities, NaNs quiet and not.
odd = np.array([0, 0x8000, 1, 0x8001, 0x3ff, 0x83ff, 0x400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xfe00, 0x7c01, 0x7fff], "<u2")


def blocks_of(name, count, rng):
    """Random bytes; of each 4 blocks 3 have scales of a weight's size and one odd ones."""
    block, size = GGML_QUANT_SIZES[Type[name]]
    if block == 1:
        count *= 64
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in scales.get(name, []):
        usual = (rng.standard_normal(count) * 0.05).astype("<f2").view("<u2")
        i = np.arange(count)
        data[:, at:at + 2] = np.where(i % 4 < 3, usual, odd[(i // 4 + at * 7 + 2) % len(odd)]).astype("<u2").view(np.uint8).reshape(count, 2)
    if name == "MXFP4":  # powers of two as denormals, and the largest
        data[3::4, 0] = np.resize([0, 1, 2, 254, 255], len(data[3::4]))
    return data


def make_quants(path, count):
    rng = np.random.default_rng(5)
    out = gguf.GGUFWriter(path, "test")
    for name in types:
        data = blocks_of(name, count if GGML_QUANT_SIZES[Type[name]][0] == 256 else count * 2, rng)
        with np.errstate(all="ignore"):
            floats = gguf.quants.dequantize(data.reshape(1, -1), Type[name])
        out.add_tensor(name, data.reshape(1, -1), raw_dtype=Type[name])
        out.add_tensor(name + ".f32", floats.astype(np.float32))
    x = (rng.standard_normal(64 * count) * 0.1).astype(np.float32)
    x[:64] = np.round(x[:64] * 100) / 2  # many halves, where the largest is 127
    x[[0, 32]] = 127
    out.add_tensor("x", x.reshape(1, -1))
    for name in ("F16", "BF16", "Q8_0"):
        out.add_tensor("x." + name, gguf.quants.quantize(x.reshape(1, -1), Type[name]), raw_dtype=Type[name])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


values = {"u8": (200, "uint8"), "i8": (-100, "int8"), "u16": (60000, "uint16"), "i16": (-30000, "int16"), "u32": (4000000000, "uint32"),
          "i32": (-2000000000, "int32"), "u64": (2**40, "uint64"), "i64": (-2**40, "int64"), "f32": (0.1, "float32"), "f64": (0.1, "float64"),
          "yes": (True, "bool"), "no": (False, "bool"), "text": ("déjà vu", "string")}
arrays = {"numbers": [1, -2, 300000], "reals": [0.5, -1.25], "flags": [True, False, True], "words": ["<unk>", "", "Ġhello"],
          "nested": [[1, 2], [3]]}


def make_values(path, alignment=None):
    out = gguf.GGUFWriter(path, "llama")
    if alignment:
        out.add_custom_alignment(alignment)
    for key, (value, kind) in values.items():
        getattr(out, "add_" + kind)(key, value)
    for key, value in arrays.items():
        out.add_array(key, value)
    out.add_tensor("token_embd.weight", np.arange(12, dtype=np.float32).reshape(3, 4) / 8)
    out.add_tensor("norm.weight", np.arange(3, dtype=np.float16))
    out.add_tensor("cube", np.arange(2 * 3 * 32, dtype=np.float32).reshape(2, 3, 32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def check(folder):
    file = gguf.GGUFReader(os.path.join(folder, "written.gguf"))
    fields = {key: field.contents() for key, field in file.fields.items()}
    assert fields["general.architecture"] == "llama", fields
    for key, (value, kind) in values.items():
        assert fields[key] == (np.float32(value) if kind == "float32" else value), (key, fields[key])
        assert gguf.GGUFValueType(file.fields[key].types[0]).name == kind.upper(), key
    for key, value in arrays.items():
        assert key == "nested" or list(fields[key]) == value, (key, fields[key])  # the package reads nested arrays as one
    tensors = {t.name: t for t in file.tensors}
    assert np.array_equal(tensors["token_embd.weight"].data, np.arange(12, dtype=np.float32).reshape(3, 4) / 8)
    x = np.cos(np.arange(512, dtype=np.float32)).reshape(2, 256)
    for name in "F32 F16 BF16 Q8_0 Q4_0 Q5_0 Q4_K Q6_K".split():
        y = gguf.quants.dequantize(tensors[name].data, Type[name]).reshape(2, 256)
        worst = {"F32": 2e-7, "F16": 5e-4, "BF16": 4e-3, "Q8_0": 5e-3, "Q4_0": 0.14, "Q5_0": 0.07, "Q4_K": 0.09, "Q6_K": 0.04}[name]
        assert tensors[name].tensor_type == Type[name] and np.abs(x - y).max() <= worst, (name, np.abs(x - y).max())
        assert tensors[name].data_offset % 64 == 0, name
    print("the gguf package reads the same")


if len(sys.argv) == 1:
    make_quants(os.path.join(here, "quants.gguf"), 4)
    make_values(os.path.join(here, "values.gguf"))
elif sys.argv[1] == "--check":
    check(sys.argv[2])
else:
    make_quants(sys.argv[1], int(sys.argv[2]))
