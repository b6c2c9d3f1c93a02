"""Makes tests/reference/torch.safetensors by PyTorch's library, and with a path checks there what test_io wrote:
python tests/reference/make_safetensors.py [FILE written by test_io, see test_io.c]"""
import os, sys
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

here = os.path.dirname(os.path.abspath(__file__))
values = {
    "fc.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8 - 0.5,
    "fc.bias": torch.tensor([1.5, -2.0, 3.25], dtype=torch.float64),
    "half": torch.tensor([0.5, -1.25], dtype=torch.float16),
    "brain": torch.tensor([[0.5], [-3.0]], dtype=torch.bfloat16),
    "num_batches_tracked": torch.tensor(2**40 + 1),
    "i32": torch.tensor([-5, 7], dtype=torch.int32),
    "i16": torch.tensor([-300, 300, 1], dtype=torch.int16),
    "i8": torch.tensor([-128, 127], dtype=torch.int8),
    "u8": torch.tensor([0, 255, 3], dtype=torch.uint8),
    "mask": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 5),
    "naïve \"name\"\\": torch.ones(1),
}
if len(sys.argv) == 1:
    save_file(values, os.path.join(here, "torch.safetensors"), metadata={"format": "pt", "note": "line 1\nline 2"})
else:
    got = load_file(sys.argv[1])
    assert list(sorted(got)) == list(sorted(values)), sorted(got)
    for name, x in values.items():
        assert got[name].dtype == x.dtype and got[name].shape == x.shape and torch.equal(got[name], x), name
    with safe_open(sys.argv[1], "pt") as f:
        assert f.metadata() == {"format": "pt", "note": "line 1\nline 2"}, f.metadata()
    print("PyTorch reads the same")
