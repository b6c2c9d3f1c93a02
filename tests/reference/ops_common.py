"""Writes the operators' reference cases: what PyTorch computes, in float64, for inputs that the tests can make again.

    from ops_common import Family, f, ints, bools, given
    F = Family("elementwise")
    F.case("add", torch.add, [f(2, 3), f(3)])
    F.case("sum", lambda x, dim, keepdim: x.sum(dim, keepdim), [f(2, 3, 4)], dim=[0, 2], keepdim=True)
    F.write()

A case's inputs are given to the function in order, its keyword arguments too; those also stand in the JSON for the row in C.
Floats of dtype "float" run as f64 and as f32 in the tests; another dtype (ints(..., dtype="int32"), given(..., dtype="float16")) stays.
Options of a case, by a leading underscore: _rtol32, _rtol64 (what is allowed), _f32=False (no run in f32), _gradcheck=False (a corner or a
step at the point: no finite differences), _second=False (no second derivative), _grads=False (no backward), _name.
"""
import json
import math
import os

import torch

FEW = 256  # results of more elements are sampled


def fill(seed, n, low, high):
    i = torch.arange(1, n + 1, dtype=torch.int64)
    mask = 0xFFFFFFFF
    x = (i * 2654435761 + seed * 2246822519) & mask
    x = x ^ (x >> 15)
    # The product of two 32-bit numbers, modulo 2^32, without overflowing 64 bits.
    x = ((x * (2246822519 & 0xFFFF)) + (((x * (2246822519 >> 16)) & 0xFFFF) << 16)) & mask
    x = x ^ (x >> 13)
    return (low + (high - low) * (x.double() / 4294967296.0)).float().double()


def f(*shape, low=-2.0, high=2.0, seed=None, dtype="float"):
    return {"shape": list(shape), "dtype": dtype, "seed": seed, "low": low, "high": high}


def ints(*shape, low=0, high=10, seed=None, dtype="int64"):
    return {"shape": list(shape), "dtype": dtype, "seed": seed, "low": low, "high": high, "whole": True}


def bools(*shape, seed=None):
    return ints(*shape, low=0, high=2, seed=seed, dtype="bool")


def given(values, dtype="float"):
    """Numbers (nan and inf too), nested as the shape is."""
    return {"values": torch.tensor(values, dtype=torch.float64), "dtype": dtype}


def number(v):
    if isinstance(v, float) and not math.isfinite(v):
        return str(v)
    if v == 0 and math.copysign(1, v) < 0:
        return -0.0
    return int(v) if v == int(v) and abs(v) < 2**53 else v


def flat(x):
    return [number(v) for v in x.detach().to(torch.float64).reshape(-1).tolist()]


def result(x, **more):
    r = {"dtype": str(x.dtype).removeprefix("torch."), "shape": list(x.shape), **more}
    n = x.numel()
    if n > FEW:
        r["step"] = n // 61 | 1
        r["data"] = flat(x.detach().reshape(-1)[:: r["step"]])
    else:
        r["data"] = flat(x)
    return r


class Family:
    def __init__(self, name):
        self.name, self.cases = name, []

    def make(self, spec, k):
        if "values" in spec:
            x = spec["values"].float().double()
        else:
            n = math.prod(spec["shape"])
            x = fill(spec["seed"] if spec["seed"] is not None else k + 1, n, spec["low"], spec["high"])
            x = (x.floor() if spec.get("whole") else x).reshape(spec["shape"])
        dtype = torch.float64 if spec["dtype"] == "float" else getattr(torch, spec["dtype"])
        j = {"dtype": spec["dtype"], "shape": list(x.shape)}
        if "values" in spec or spec.get("whole"):
            j["data"] = flat(x)
        else:
            j |= {"seed": spec["seed"] if spec["seed"] is not None else k + 1, "low": spec["low"], "high": spec["high"]}
        return x.to(dtype), j

    def case(self, op, function, inputs, **args):
        options = {k[1:]: args.pop(k) for k in list(args) if k.startswith("_")}
        made = [self.make(spec, k) for k, spec in enumerate(inputs)]
        grads = options.pop("grads", True)
        x = [t.clone().requires_grad_(grads and spec["dtype"] == "float") for (t, _), spec in zip(made, inputs)]
        outputs = function(*x, **args)
        outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
        shapes = " ".join(str(list(t.shape)).replace(" ", "") + ("" if s["dtype"] == "float" else s["dtype"]) for t, s in zip(x, inputs))
        said = "".join(f" {k}={v}" for k, v in args.items())
        case = {"op": op, "name": options.pop("name", f"{op} {shapes}{said}"), **options}
        if args:
            case["args"] = {k: number(v) if isinstance(v, float) else v for k, v in args.items()}
        case["inputs"] = [j for _, j in made]
        floating = any(s["dtype"] == "float" for s in inputs)
        case["outputs"] = [result(y, **({"weighted": True} if y.requires_grad else {}),
                                  **({} if floating or y.dtype != torch.float64 else {"fixed": True})) for y in outputs]
        weighted = [(k, y) for k, y in enumerate(outputs) if y.requires_grad]
        if weighted:
            loss = sum((y * fill(1000 + k, y.numel(), -1, 1).reshape(y.shape).to(y.dtype)).sum() for k, y in weighted)
            leaves = [t for t in x if t.requires_grad]
            found = iter(torch.autograd.grad(loss, leaves, allow_unused=True))
            case["grads"] = [(lambda g: None if g is None else result(g))(next(found)) if t.requires_grad else None for t in x]
        self.cases.append(case)

    def write(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"ops_{self.name}.json")
        with open(path, "w") as file:
            file.write('{"family": "%s", "torch": "%s", "cases": [\n' % (self.name, torch.__version__.split("+")[0]))
            file.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in self.cases))
            file.write("\n]}\n")
        print(f"{path}: {len(self.cases)} cases, {os.path.getsize(path) // 1024} KiB")
