"""The cases of reductions, scans, softmax and sorting: python3 tests/reference/ops_reduce.py"""
import torch

from ops_common import Family, bools, f, given, ints

F = Family("reduce")
nan, inf = float("nan"), float("inf")


def over(function):
    """The function with dim left out where a case has none."""
    return lambda x, dim=None, keepdim=False, **more: function(x, dim=tuple(dim) if isinstance(dim, list) else dim, keepdim=keepdim, **more)


def all_dims(x, dim):
    return tuple(range(x.dim())) if dim is None else dim


FLOATS = {
    "sum": over(lambda x, dim, keepdim: torch.sum(x, dim, keepdim)),
    "mean": over(lambda x, dim, keepdim: torch.mean(x, dim, keepdim)),
    "amax": over(lambda x, dim, keepdim: torch.amax(x, all_dims(x, dim), keepdim)),
    "amin": over(lambda x, dim, keepdim: torch.amin(x, all_dims(x, dim), keepdim)),
    "logsumexp": over(lambda x, dim, keepdim: torch.logsumexp(x, all_dims(x, dim), keepdim)),
    "var": over(lambda x, dim, keepdim, correction=1: torch.var(x, dim, correction=correction, keepdim=keepdim)),
    "std": over(lambda x, dim, keepdim, correction=1: torch.std(x, dim, correction=correction, keepdim=keepdim)),
    "norm": over(lambda x, dim, keepdim, p=2: torch.linalg.vector_norm(x, float(p), dim, keepdim)),
}
for name, function in FLOATS.items():
    F.case(name, function, [f(3, 4)])
    F.case(name, function, [f(2, 3, 4)], dim=1)
    F.case(name, function, [f(2, 3, 4)], dim=[0, -1], keepdim=True)
    F.case(name, function, [f(2, 5)], dim=-1)
    F.case(name, function, [f(1, 3)], dim=1, keepdim=True)
    F.case(name, function, [f(70, 90)], dim=0)
    F.case(name, function, [f(3, 50, 40)], dim=[0, 2], _rtol32=3e-5)
    F.case(name, function, [f(2500)], _rtol32=3e-5)
    if name not in ("var", "std"):
        F.case(name, function, [f()])
        F.case(name, function, [f(5, 1)], dim=1)
    if name not in ("amax", "amin"):
        F.case(name, function, [f(3, 0)], dim=1)
    F.case(name, function, [f(0, 3)], dim=1)
    for dtype in ("float16", "bfloat16"):
        F.case(name, function, [f(7, 33, dtype=dtype)], dim=0)
        F.case(name, function, [f(7, 33, dtype=dtype)], dim=1)
    if name != "logsumexp":
        F.case(name, function, [given([1.0, nan, inf])], _gradcheck=False, _grads=False)

F.case("sum", FLOATS["sum"], [given([])])
F.case("mean", FLOATS["mean"], [given([])], _gradcheck=False)
F.case("var", FLOATS["var"], [f(4)], correction=0)
F.case("var", FLOATS["var"], [f(4, 3)], correction=2, dim=0)
F.case("var", FLOATS["var"], [f(1, 3)], dim=0, _grads=False)
F.case("var", FLOATS["var"], [f(1000, low=1000, high=1001)], _rtol32=1e-4)
F.case("std", FLOATS["std"], [f(5, 3)], correction=0, dim=0)
F.case("std", FLOATS["std"], [given([[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]])], dim=1, _gradcheck=False)
F.case("logsumexp", FLOATS["logsumexp"], [given([[1000.0, 1001.0], [-1000.0, -1002.0]])], dim=1, _rtol32=1e-4, _gradcheck=False)
F.case("logsumexp", FLOATS["logsumexp"], [given([[-inf, 1.0, 2.0], [0.0, 1.0, -inf]])], dim=1, _gradcheck=False)
F.case("logsumexp", FLOATS["logsumexp"], [given([[-inf, -inf], [0.0, inf], [nan, 1.0]])], dim=1, _grads=False)
F.case("logsumexp", FLOATS["logsumexp"], [given([[1.0, inf, 2.0], [0.0, 1.0, -inf]])], dim=1, _gradcheck=False,
       _name="logsumexp beside an infinity")
for dtype in ("int64", "int32", "int16", "int8", "uint8"):
    F.case("logsumexp", FLOATS["logsumexp"], [ints(3, 4, dtype=dtype)], dim=1)
F.case("logsumexp", FLOATS["logsumexp"], [bools(3, 4)])
for p in (0, 1, 3, 0.5, 1.5, inf, -inf, -1):
    F.case("norm", FLOATS["norm"], [f(3, 4, low=0.5)], p=p, _gradcheck=p != 0)
    F.case("norm", FLOATS["norm"], [f(3, 4)], p=p, dim=1, _second=p not in (0.5, 1.5), _gradcheck=p != 0)
for p in (1, 2, 3, inf):
    F.case("norm", FLOATS["norm"], [given([[0.0, 0.0], [3.0, 0.0]])], p=p, dim=1, _gradcheck=False, _name=f"norm at 0, p={p}")
F.case("amax", FLOATS["amax"], [given([[1.0, 3.0, 3.0], [3.0, 3.0, 3.0]])], dim=1, _gradcheck=False, _name="amax of equals")
F.case("amin", FLOATS["amin"], [given([[1.0, 3.0, 1.0], [2.0, 2.0, 2.0]])], _gradcheck=False, _name="amin of equals")


def prod(x, dim=None, keepdim=False):
    """PyTorch's takes one dim: several in turn, the last first."""
    if dim is None:
        return torch.prod(x)
    for d in sorted([d % x.dim() for d in ([dim] if isinstance(dim, int) else dim)], reverse=True):
        x = torch.prod(x, d, keepdim)
    return x


F.case("prod", prod, [f(5)])
F.case("prod", prod, [f(2, 3, 4)], dim=1)
F.case("prod", prod, [f(2, 3, 4)], dim=[0, 2], keepdim=True)
F.case("prod", prod, [f(30, 3, low=0.8, high=1.2)], dim=0)
F.case("prod", prod, [f()])
F.case("prod", prod, [given([])])
F.case("prod", prod, [f(2, 0)], dim=1)
F.case("prod", prod, [given([[2.0, 0.0, 3.0], [0.0, 5.0, 0.0], [1.5, 2.0, -1.0]])], dim=1, _name="prod with zeros")
F.case("prod", prod, [given([[2.0, 0.0], [3.0, 5.0]])], _name="prod of all with a zero")
F.case("prod", prod, [given([[[2.0, 0.0], [3.0, 5.0]], [[0.0, 1.0], [0.0, 2.0]]])], dim=[0, 2], _name="prod over two dims with zeros")
F.case("prod", prod, [f(4, 5, dtype="float16")], dim=1)
for dtype in ("int64", "int32", "int16", "int8", "uint8", "bool"):
    spec = bools if dtype == "bool" else lambda *s, d=dtype: ints(*s, low=1, high=4, dtype=d)
    F.case("sum", FLOATS["sum"], [spec(5, 7)], dim=1)
    F.case("sum", FLOATS["sum"], [spec(5, 700)])
    F.case("prod", prod, [spec(5, 4)], dim=0)
    F.case("amax", FLOATS["amax"], [spec(5, 7)], dim=0)
    F.case("amin", FLOATS["amin"], [spec(5, 7)])
F.case("sum", FLOATS["sum"], [given([9007199254740993.0, 1.0], dtype="int64")])

# ---- any, all ----
for name, function in {"any": torch.any, "all": torch.all}.items():
    g = over(lambda x, dim, keepdim, function=function: function(x) if dim is None else function(x, dim=dim, keepdim=keepdim))
    for spec in (bools(4, 3), f(4, 3), ints(4, 3, high=2), given([[0.0, nan], [0.0, 0.0]])):
        F.case(name, g, [spec])
        F.case(name, g, [spec], dim=1)
        F.case(name, g, [spec], dim=0, keepdim=True)
    F.case(name, g, [f(3, 0)], dim=1)
    F.case(name, g, [given([])])

# ---- max, min, argmax, argmin ----
for name, function in {"max": torch.max, "min": torch.min}.items():
    along = lambda x, dim, keepdim=False, function=function: tuple(function(x, dim, keepdim))
    F.case(name, lambda x, function=function: function(x), [f(3, 4)])
    F.case(name, lambda x, function=function: function(x), [given([3.0, 1.0, 3.0, 1.0])], _gradcheck=False, _name=name + " of equals")
    F.case(name, lambda x, function=function: function(x), [f()])
    F.case(name + "_dim", along, [f(2, 3, 4)], dim=1)
    F.case(name + "_dim", along, [f(2, 3, 4)], dim=-1, keepdim=True)
    F.case(name + "_dim", along, [f(60, 70)], dim=0)
    F.case(name + "_dim", along, [f(3, 2000)], dim=1)
    F.case(name + "_dim", along, [f(0, 3)], dim=1)
    F.case(name + "_dim", along, [given([[1.0, nan, 5.0, nan], [2.0, 7.0, -inf, 0.0]])], dim=1, _gradcheck=False)
    F.case(name + "_dim", along, [given([[-inf, -inf], [inf, inf]])], dim=1, _gradcheck=False)
    F.case(name + "_dim", along, [bools(3, 1)], dim=1)
    for dtype in ("int64", "int32", "int16", "int8", "uint8", "float16", "bfloat16"):
        spec = f(6, 9, dtype=dtype) if dtype.endswith("16") and dtype != "int16" else ints(6, 9, low=0, high=100, dtype=dtype)
        F.case(name + "_dim", along, [spec], dim=1)
        F.case(name + "_dim", along, [spec], dim=0)
    where = getattr(torch, "arg" + name)
    F.case("arg" + name, lambda x, where=where: where(x), [f(30, 40)])
    F.case("arg" + name, lambda x, where=where: where(x), [given([[1.0, nan], [nan, 2.0]])])
    F.case("arg" + name, lambda x, dim, keepdim=False, where=where: where(x, dim, keepdim), [f(2, 3, 4)], dim=1)
    F.case("arg" + name, lambda x, dim, keepdim=False, where=where: where(x, dim, keepdim), [f(4, 7)], dim=0, keepdim=True)
    F.case("arg" + name, lambda x, dim, keepdim=False, where=where: where(x, dim, keepdim), [ints(4, 7, dtype="int32", high=100)], dim=-1)

# ---- cumsum, softmax ----
for dim, shape in ((0, (5,)), (1, (2, 5)), (0, (4, 3)), (1, (2, 3, 4)), (0, ()), (1, (2, 0)), (-1, (3, 400))):
    F.case("cumsum", torch.cumsum, [f(*shape)], dim=dim)
    F.case("softmax", torch.softmax, [f(*shape)], dim=dim)
    F.case("log_softmax", torch.log_softmax, [f(*shape)], dim=dim)
for dtype in ("int64", "int32", "uint8"):
    F.case("cumsum", torch.cumsum, [ints(3, 4, dtype=dtype)], dim=0)
F.case("cumsum", torch.cumsum, [bools(9)], dim=0)
F.case("cumsum", torch.cumsum, [f(3, 4, dtype="float16")], dim=1)
for name, function in {"softmax": torch.softmax, "log_softmax": torch.log_softmax}.items():
    F.case(name, function, [f(90, 80)], dim=0)
    F.case(name, function, [f(3, 2000)], dim=1)
    F.case(name, function, [given([[1000.0, -1000.0, 999.0], [-1e9, 0.0, -1e9]])], dim=1, _rtol32=1e-4, _gradcheck=False)
    F.case(name, function, [given([[-inf, 1.0, 2.0], [0.0, -inf, -inf]])], dim=1, _gradcheck=False)
    F.case(name, function, [given([[-inf, -inf], [nan, 0.0]])], dim=1, _grads=False)
    for dtype in ("float16", "bfloat16"):
        F.case(name, function, [f(4, 33, dtype=dtype)], dim=1)
        F.case(name, function, [f(9, 5, dtype=dtype)], dim=0)

# ---- sort, topk, argsort ----
sort = lambda x, dim=-1, descending=False: tuple(torch.sort(x, dim=dim, descending=descending, stable=True))
for descending in (False, True):
    F.case("sort", sort, [f(9)], descending=descending)
    F.case("sort", sort, [f(3, 5)], dim=0, descending=descending)
    F.case("sort", sort, [f(2, 4, 3)], dim=1, descending=descending)
    F.case("sort", sort, [f(3, 300)], descending=descending)
    F.case("sort", sort, [given([[2.0, nan, -inf, 2.0, inf, -0.0, 0.0, nan]])], descending=descending, _gradcheck=False)
    F.case("sort", sort, [f()], dim=0, descending=descending)
    F.case("sort", sort, [f(3, 0)], descending=descending)
    for dtype in ("int64", "int32", "int16", "int8", "uint8"):
        F.case("sort", sort, [ints(2, 90, low=0, high=30, dtype=dtype)], descending=descending)
    F.case("sort", sort, [bools(9)], descending=descending)
    F.case("sort", sort, [f(60, dtype="float16")], descending=descending)
    F.case("sort", sort, [f(60, dtype="bfloat16")], descending=descending)
    F.case("argsort", lambda x, dim, descending: torch.argsort(x, dim=dim, descending=descending, stable=True), [f(4, 6)], dim=0,
           descending=descending)
topk = lambda x, k, dim=-1, largest=True: tuple(torch.topk(x, k, dim, largest))
for largest in (True, False):
    F.case("topk", topk, [f(9)], k=3, largest=largest)
    F.case("topk", topk, [f(4, 6)], k=2, dim=0, largest=largest)
    F.case("topk", topk, [f(2, 1000)], k=5, largest=largest)
    F.case("topk", topk, [f(2, 300)], k=200, largest=largest)
    F.case("topk", topk, [f(3, 4)], k=0, largest=largest)
    F.case("topk", topk, [ints(50, high=100000, dtype="int32")], k=4, largest=largest)

for name in ("max", "min"):
    F.case(name, getattr(torch, name), [given([[1.0, nan], [nan, 2.0]])], _gradcheck=False, _name=f"{name} of NaN: the gradient goes there")

# ---- nothing, and one element --------------------------------------------------------------------------------------------

for shape in ((), (1, 1)):
    one = f(*shape)
    for name in ("max", "min"):
        F.case(name, getattr(torch, name), [one])
        F.case(name + "_dim", lambda x, dim, name=name: tuple(getattr(torch, name)(x, dim)), [one], dim=-1)
        F.case("arg" + name, lambda x, name=name: getattr(torch, "arg" + name)(x), [one], _grads=False)
    for name in ("any", "all"):
        F.case(name, lambda x, name=name: getattr(torch, name)(x), [one], _grads=False)
    for name in ("var", "std"):
        F.case(name, FLOATS[name], [one], correction=0, _gradcheck=False)
        F.case(name, FLOATS[name], [one], _grads=False)
    F.case("argsort", lambda x, dim, descending: torch.argsort(x, dim=dim, descending=descending, stable=True), [one], dim=0, descending=True)
    F.case("topk", topk, [one], k=1, largest=True)
for name in ("max", "min"):
    F.case(name + "_dim", lambda x, dim, name=name: tuple(getattr(torch, name)(x, dim)), [f(0, 3)], dim=1)
    F.case("arg" + name, lambda x, dim, name=name: getattr(torch, "arg" + name)(x, dim), [f(0, 3)], dim=1, _grads=False)
    for dtype in ("int64", "int16", "int8", "uint8", "float16", "bfloat16"):
        F.case(name, getattr(torch, name), [ints(4, 7, high=9, dtype=dtype)])
        F.case("arg" + name, lambda x, dim, name=name: getattr(torch, "arg" + name)(x, dim), [ints(4, 7, high=9, dtype=dtype)], dim=1)
F.case("argsort", lambda x, dim, descending: torch.argsort(x, dim=dim, descending=descending, stable=True), [f(0, 2)], dim=1, descending=False)
for dtype in ("int64", "int16", "int8", "uint8"):
    F.case("topk", topk, [given([[3, 1, 2, 7], [4, 9, 0, 5]], dtype=dtype)], k=2, largest=True)
F.case("topk", topk, [f(0, 4)], k=2, largest=False)

F.write()
