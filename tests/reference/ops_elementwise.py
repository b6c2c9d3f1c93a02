"""The elementwise family's cases: python3 tests/reference/ops_elementwise.py"""
import torch

from ops_common import Family, bools, f, given, ints

F = Family("elementwise")

for name, function in {"add": torch.add, "mul": torch.mul}.items():
    F.case(name, function, [f(2, 3), f(2, 3)])
    F.case(name, function, [f(2, 3), f(3)])
    F.case(name, function, [f(4, 1, 3), f(2, 1)])
    F.case(name, function, [f(), f(2, 2)])
    F.case(name, function, [f(0, 3), f(3)])
    F.case(name, function, [f(1), f(1, 1)])
    F.case(name, function, [f(67, 129), f(129)])
    F.case(name, function, [given([float("nan"), float("inf"), 1.0]), f(3)], _gradcheck=False)
    F.case(name, function, [ints(2, 3), f(3)])
    F.case(name, function, [ints(2, 3, dtype="uint8"), ints(3, dtype="int8")])
    F.case(name, function, [bools(2, 3), ints(3, dtype="int16")])
    F.case(name, function, [f(2, 3, dtype="float16"), f(3, dtype="bfloat16")])
for dtype in ["float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]:
    F.case("cast", lambda x, dtype: x.to(getattr(torch, dtype)), [f(3, 5)], dtype=dtype)

F.write()
