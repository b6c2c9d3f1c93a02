"""Makes the small files of tests/reference/files by NumPy and PyTorch, and with a folder checks there what test_files wrote:
python tests/reference/make_files.py [FOLDER written by TN_TEST_KEEP=FOLDER test_files]"""
import collections, io, os, sys, zipfile
import numpy as np
import torch

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")
a = np.arange(-3, 3).reshape(2, 3)
arrays = {
    "f2": (a / 4).astype("<f2"), "f4": (a / 8).astype("<f4"), "f8": (a / 8).astype("<f8"), "i1": a.astype("i1"), "i2": a.astype("<i2"),
    "i4": a.astype("<i4"), "i8": a.astype("<i8") << 40, "u1": (a + 3).astype("u1"), "b1": a > 0, "scalar": np.array(2.5),
    "empty": np.zeros((0, 3), "<f4"), "fortran": np.asfortranarray((a / 8).astype("<f4")), "big": (a / 8).astype(">f8"),
    "bigfortran": np.asfortranarray(a.astype(">i2")), "one": np.array([7], "<i4"),
}


def npy(array, version):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


def make():
    os.makedirs(here, exist_ok=True)
    for version in (1, 2, 3):
        open(os.path.join(here, f"v{version}.npy"), "wb").write(npy(arrays["f4"], (version, 0)))
    for name in ("fortran", "bigfortran"):
        open(os.path.join(here, name + ".npy"), "wb").write(npy(arrays[name], (1, 0)))
    np.savez(os.path.join(here, "stored.npz"), **arrays)
    np.savez_compressed(os.path.join(here, "deflated.npz"), **arrays)
    np.save(os.path.join(here, "complex.npy"), np.zeros(2, "c8"))

    torch.manual_seed(1)
    net = torch.nn.Sequential(collections.OrderedDict(fc=torch.nn.Linear(3, 2), bn=torch.nn.BatchNorm1d(2)))
    with torch.no_grad():
        net.fc.weight.copy_(torch.arange(6.0).reshape(2, 3) / 8)
        net.fc.bias.copy_(torch.tensor([0.5, -0.5]))
    opt = torch.optim.Adam(net.parameters(), lr=0.25)
    net(torch.ones(2, 3)).sum().backward()
    opt.step()
    base = torch.arange(12, dtype=torch.float64)
    whole = {
        "model": net.state_dict(), "optimizer": opt.state_dict(), "epoch": 3, "big": -2**40, "rate": 0.125, "done": True, "nothing": None,
        "text": "déjà vu", "tuple": (torch.tensor([1, 2]), [torch.tensor(3.0)]),
        "t": base.reshape(3, 4).t(), "tail": base[9:], "step": base[1::5], "half": torch.tensor([0.5, -1.25]).half(),
        "brain": torch.tensor([0.5, -3.0]).bfloat16(), "mask": torch.tensor([True, False]), "u8": torch.tensor([0, 255], dtype=torch.uint8),
        "i8": torch.tensor([-128], dtype=torch.int8), "i16": torch.tensor([-300], dtype=torch.int16),
        "i32": torch.tensor([70000], dtype=torch.int32), "none": torch.zeros(0, 4), "expanded": torch.tensor([1.5]).expand(3),
        "size": torch.Size([2, 3]), "parameter": torch.nn.Parameter(torch.tensor([2.0])),
    }
    torch.save(whole, os.path.join(here, "whole.pt"))
    torch.save(net.state_dict(), os.path.join(here, "protocol4.pt"), pickle_protocol=4)
    torch.save(torch.tensor([1.0, 2.0]), os.path.join(here, "tensor.pt"))
    torch.save(net, os.path.join(here, "module.pt"))
    torch.save({"x": torch.tensor([1.0])}, os.path.join(here, "old.pt"), _use_new_zipfile_serialization=False)
    # The same tensor as a big-endian machine writes it.
    little = zipfile.ZipFile(os.path.join(here, "tensor.pt"))
    open(os.path.join(here, "tensor.pkl"), "wb").write(little.read("tensor/data.pkl"))
    with zipfile.ZipFile(os.path.join(here, "big.pt"), "w") as big:
        for entry in little.namelist():
            data = little.read(entry)
            if entry.endswith("byteorder"):
                data = b"big"
            if "/data/" in entry:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            big.writestr(zipfile.ZipInfo(entry), data)


def check(folder):
    for file in ("stored.npz", "deflated.npz"):
        got = np.load(os.path.join(folder, file))
        assert sorted(got.files) == sorted(arrays), got.files
        for name, array in arrays.items():
            assert got[name].dtype == array.dtype.newbyteorder("=") and np.array_equal(got[name], array), name
            assert got[name].shape == array.shape, name
    for name in ("f4", "scalar", "fortran", "empty"):
        x = np.load(os.path.join(folder, name + ".npy"))
        assert x.dtype == arrays[name].dtype and x.shape == arrays[name].shape and np.array_equal(x, arrays[name]), name
    print("NumPy reads the same")


make() if len(sys.argv) == 1 else check(sys.argv[1])
