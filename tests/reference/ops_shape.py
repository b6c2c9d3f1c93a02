"""The shape family's cases: python3 tests/reference/ops_shape.py"""
import torch
import torch.nn.functional as nn

from ops_common import Family, bools, f, given, ints

F = Family("shape")

F.case("reshape", lambda x, shape: x.reshape(shape), [f(2, 3, 4)], shape=[4, 6])
F.case("reshape", lambda x, shape: x.reshape(shape), [f(2, 3, 4)], shape=[-1, 2])
F.case("reshape", lambda x, shape: x.reshape(shape), [f(1)], shape=[])
F.case("reshape", lambda x, shape: x.reshape(shape), [f()], shape=[1, 1])
F.case("reshape", lambda x, shape: x.reshape(shape), [f(0, 3)], shape=[3, 0, 2])
F.case("reshape", lambda x, shape: x.reshape(shape), [ints(2, 6, dtype="int16")], shape=[3, 4])
F.case("transposed_reshape", lambda x, shape: x.transpose(0, 1).reshape(shape), [f(2, 3, 4)], shape=[6, -1])
F.case("transposed_reshape", lambda x, shape: x.transpose(0, 1).reshape(shape), [f(2, 3, 4)], shape=[3, 2, 2, 2])
for start, end in [(0, -1), (1, -1), (0, 1), (1, 1)]:
    F.case("flatten", lambda x, start, end: x.flatten(start, end), [f(2, 3, 4)], start=start, end=end)
F.case("flatten", lambda x, start, end: x.flatten(start, end), [f()], start=0, end=-1)
for a, b in [(0, 1), (-1, 0), (1, 1)]:
    F.case("transpose", lambda x, a, b: x.transpose(a, b), [f(2, 3, 4)], a=a, b=b)
    F.case("swapaxes", lambda x, a, b: x.swapaxes(a, b), [bools(2, 3, 4)], a=a, b=b)
F.case("permute", lambda x, dims: x.permute(dims), [f(2, 3, 4, 5)], dims=[2, 0, -1, 1])
F.case("permute", lambda x, dims: x.permute(dims), [f(2, 0)], dims=[1, 0])
F.case("squeeze", lambda x, dim: x.squeeze(dim), [f(2, 1, 3)], dim=1)
F.case("squeeze", lambda x, dim: x.squeeze(dim), [f(2, 1, 3)], dim=0)
F.case("squeeze_all", lambda x: x.squeeze(), [f(1, 2, 1, 3)])
F.case("squeeze_all", lambda x: x.squeeze(), [f(1, 1)])
for dim in [0, 1, 2, -1]:
    F.case("unsqueeze", lambda x, dim: x.unsqueeze(dim), [f(2, 3)], dim=dim)
F.case("unsqueeze", lambda x, dim: x.unsqueeze(dim), [f()], dim=0)
F.case("expand", lambda x, shape: x.expand(shape), [f(3, 1)], shape=[2, 3, 4])
F.case("expand", lambda x, shape: x.expand(shape), [f(3, 1)], shape=[-1, 4])
F.case("expand", lambda x, shape: x.expand(shape), [f()], shape=[2, 2])
F.case("expand", lambda x, shape: x.expand(shape), [f(1, 3)], shape=[0, 3])
F.case("narrow", torch.narrow, [f(3, 5)], dim=1, start=1, length=3)
F.case("narrow", torch.narrow, [f(3, 5)], dim=0, start=-2, length=2)
F.case("narrow", torch.narrow, [f(3, 5)], dim=0, start=3, length=0)
F.case("select", torch.select, [f(3, 5)], dim=1, index=-2)
F.case("select", torch.select, [f(3, 5, 2)], dim=0, index=1)
F.case("select", torch.select, [f(4)], dim=0, index=0)
F.case("contiguous", lambda x: x.transpose(0, 1).contiguous(), [f(3, 70)])
F.case("clone", lambda x: x.permute(2, 0, 1).clone(), [f(2, 3, 4)])
for dtype in ["int64", "int32", "int16", "int8", "uint8", "float16", "bfloat16"]:
    F.case("clone", lambda x: x.permute(2, 0, 1).clone(), [ints(2, 3, 4, dtype=dtype)])
F.case("repeat", lambda x, times: x.repeat(times), [f(2, 3)], times=[2, 2])
F.case("repeat", lambda x, times: x.repeat(times), [f(2, 3)], times=[3, 1, 2])
F.case("repeat", lambda x, times: x.repeat(times), [f(2, 3)], times=[1, 1])
F.case("repeat", lambda x, times: x.repeat(times), [f(2, 3)], times=[2, 0])
F.case("repeat", lambda x, times: x.repeat(times), [f()], times=[3])
F.case("flip", lambda x, dims: x.flip(dims), [f(2, 3, 4)], dims=[1])
F.case("flip", lambda x, dims: x.flip(dims), [f(2, 3, 4)], dims=[0, -1])
F.case("flip", lambda x, dims: x.flip(dims), [f(0, 3)], dims=[0, 1])
for shift, dim in [(1, 0), (-2, 1), (7, -1), (0, 0)]:
    F.case("roll", lambda x, shift, dim: x.roll(shift, dim), [f(3, 5)], shift=shift, dim=dim)
F.case("roll_all", lambda x, shift: x.roll(shift), [f(3, 5)], shift=4)
for diagonal in [0, 1, -1, -9, 9]:
    F.case("tril", torch.tril, [f(4, 5)], diagonal=diagonal)
    F.case("triu", torch.triu, [f(2, 4, 3)], diagonal=diagonal)
F.case("triu", torch.triu, [ints(3, 3, dtype="int8")], diagonal=0)

F.case("pad", lambda x, pads, mode, value: nn.pad(x, pads, mode, value), [f(3, 4)], pads=[1, 2], mode="constant", value=1.5)
F.case("pad", lambda x, pads, mode, value: nn.pad(x, pads, mode, value), [f(2, 3, 4)], pads=[1, 0, 2, 1], mode="constant", value=0)
F.case("pad", lambda x, pads, mode, value: nn.pad(x, pads, mode, value), [f(3, 5)], pads=[-1, 2, 1, -1], mode="constant", value=-1)
F.case("pad", lambda x, pads, mode, value: nn.pad(x, pads, mode, value), [f(0, 2)], pads=[1, 1, 1, 1], mode="constant", value=3)
for mode in ["reflect", "replicate"]:
    F.case("pad", lambda x, pads, mode: nn.pad(x, pads, mode), [f(1, 2, 4, 5)], pads=[2, 1, 1, 3], mode=mode)
    F.case("pad", lambda x, pads, mode: nn.pad(x, pads, mode), [f(2, 3, 5)], pads=[4, 2], mode=mode)

F.case("concat", lambda *x, dim: torch.cat(x, dim), [f(2, 3), f(2, 1), f(2, 4)], dim=1)
F.case("concat", lambda *x, dim: torch.cat(x, dim), [f(2, 3), f(0, 3), f(1, 3)], dim=0)
F.case("concat", lambda *x, dim: torch.cat(x, dim), [f(0), f(2, 3)], dim=-1)
F.case("concat", lambda *x, dim: torch.cat(x, dim), [ints(2, 3), f(2, 3)], dim=0)
F.case("concat", lambda *x, dim: torch.cat(x, dim), [ints(2, dtype="uint8"), ints(3, dtype="int8")], dim=0)
F.case("stack", lambda *x, dim: torch.stack(x, dim), [f(2, 3), f(2, 3)], dim=0)
F.case("stack", lambda *x, dim: torch.stack(x, dim), [f(2, 3), f(2, 3), f(2, 3)], dim=-1)
F.case("stack", lambda *x, dim: torch.stack(x, dim), [f(), f()], dim=0)
F.case("split", lambda x, size, dim: x.split(size, dim), [f(5, 3)], size=2, dim=0)
F.case("split", lambda x, size, dim: x.split(size, dim), [f(3, 6)], size=3, dim=-1)
F.case("split_sizes", lambda x, sizes, dim: x.split(sizes, dim), [f(2, 6)], sizes=[1, 0, 5], dim=1)
F.case("chunk", lambda x, chunks, dim: x.chunk(chunks, dim), [f(5, 2)], chunks=4, dim=0)
F.case("chunk", lambda x, chunks, dim: x.chunk(chunks, dim), [f(2, 8)], chunks=4, dim=1)
F.case("unbind", lambda x, dim: x.unbind(dim), [f(2, 3, 4)], dim=1)
F.case("vsplit", lambda x, sections: x.vsplit(sections), [f(4, 2)], sections=2)
F.case("hsplit", lambda x, sections: x.hsplit(sections), [f(2, 6)], sections=3)
F.case("hsplit", lambda x, sections: x.hsplit(sections), [f(6)], sections=3)
F.case("dsplit", lambda x, sections: x.dsplit(sections), [f(2, 3, 4)], sections=2)

F.write()
