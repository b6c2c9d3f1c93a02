"""Makes tests/reference/torch.safetensors by PyTorch's library, or checks by it what Tenon wrote: sample.safetensors is the same, and the
checkpoints go on by PyTorch as they did by Tenon. Of a FOLDER:
TN_TEST_KEEP=FOLDER/sample.safetensors test_io && TN_TEST_KEEP=FOLDER test_checkpoint && python tests/reference/make_safetensors.py FOLDER"""
import glob, os, sys
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


def check_sample(path):
    got = load_file(path)
    assert list(sorted(got)) == list(sorted(values)), sorted(got)
    for name, x in values.items():
        assert got[name].dtype == x.dtype and got[name].shape == x.shape and torch.equal(got[name], x), name
    with safe_open(path, "pt") as f:
        assert f.metadata() == {"format": "pt", "note": "line 1\nline 2"}, f.metadata()
    print("PyTorch reads the sample as it was")


def optim_state(checkpoint):
    """What load_state_dict() of an optimiser takes, from a checkpoint's names."""
    parts = {"state": {}, "param_groups": {}}
    for name, x in checkpoint.items():
        if name.startswith("optim."):
            _, part, i, key = name.split(".", 3)
            parts[part].setdefault(int(i), {})[key] = x if part == "state" else x.tolist()
    return {"state": parts["state"], "param_groups": [group for _, group in sorted(parts["param_groups"].items())]}


def go_on(path):
    checkpoint, after = load_file(path), load_file(path.replace(".safetensors", ".after.safetensors"))
    net = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)).double()
    net.load_state_dict({name[7:]: x for name, x in checkpoint.items() if name.startswith("module.")})
    kind = os.path.basename(path).split(".")[0]
    opt = getattr(torch.optim, kind)(net.parameters(), lr=1)
    opt.load_state_dict(optim_state(checkpoint))
    x = torch.arange(20, dtype=torch.float64).reshape(20, 1) / 10
    for _ in range(5):
        opt.zero_grad()
        torch.nn.functional.mse_loss(net(x), torch.sin(x)).backward()
        opt.step()
    apart = max(((x - after[name]).abs().max() / (1 + x.abs().max())).item() for name, x in net.state_dict().items())
    assert sorted(net.state_dict()) == sorted(after) and apart < 1e-12, (path, apart)
    print(f"{kind}: PyTorch goes on from Tenon's checkpoint; the two ends differ by {apart:.1e}")


if len(sys.argv) == 1:
    save_file(values, os.path.join(here, "torch.safetensors"), metadata={"format": "pt", "note": "line 1\nline 2"})
else:
    check_sample(os.path.join(sys.argv[1], "sample.safetensors"))
    for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.after.safetensors"))):
        go_on(path.replace(".after", ""))
