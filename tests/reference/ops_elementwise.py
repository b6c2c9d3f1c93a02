"""The elementwise family's cases: python3 tests/reference/ops_elementwise.py"""
import torch
import torch.nn.functional as nn

from ops_common import Family, bools, f, given, ints

F = Family("elementwise")
INF, NAN = float("inf"), float("nan")
SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 2.5, -1e15, 1e15, 1e-15]
INTEGERS = ["int64", "int32", "int16", "int8", "uint8"]

# ---- of one tensor -------------------------------------------------------------------------------------------------------

# The range where the function is smooth, and whether it takes integers and bool too.
EVERYWHERE, POSITIVE = {"low": -2.0, "high": 2.0}, {"low": 0.1, "high": 3.0}
FUNCTIONS = {
    "exp": EVERYWHERE, "expm1": EVERYWHERE, "log": POSITIVE, "log1p": {"low": -0.9, "high": 2.0}, "log2": POSITIVE,
    "sqrt": POSITIVE, "rsqrt": POSITIVE, "reciprocal": POSITIVE, "sin": EVERYWHERE, "cos": EVERYWHERE, "tanh": EVERYWHERE,
    "erf": EVERYWHERE, "sigmoid": EVERYWHERE,
}
NUMBERS = ["neg", "abs", "sign", "square", "floor", "ceil", "round", "relu"]
for name, span in FUNCTIONS.items():
    function = getattr(torch, name)
    for shape in [(5,), (3, 1, 4), (), (0, 2)] + [(70, 131)] * (name in ("exp", "sin", "rsqrt")):
        F.case(name, function, [f(*shape, **span)], _gradcheck=shape != (70, 131))
    F.case(name, function, [given(SPECIAL)], _gradcheck=False, _grads=False, _name=f"{name} of special values")
    F.case(name, function, [given([INF, -INF, NAN])], _gradcheck=False, _name=f"{name}'s gradient at infinity")
    F.case(name, function, [ints(2, 3, low=1, dtype="int32")])
    F.case(name, function, [bools(4)])
    F.case(name, function, [f(7, **span, dtype="float16")])
    F.case(name, function, [f(7, **span, dtype="bfloat16")])
for name in NUMBERS:
    function = getattr(torch, name)
    for shape in [(5,), (3, 1, 4), (), (0, 2)] + [(70, 131)] * (name in ("relu", "abs")):
        F.case(name, function, [f(*shape, low=0.6, high=0.9)], _gradcheck=shape != (70, 131))
        F.case(name, function, [f(*shape, low=-2.4, high=-1.6)], _gradcheck=False)
    F.case(name, function, [given(SPECIAL)], _gradcheck=False, _grads=False, _name=f"{name} of special values")
    F.case(name, function, [given([0.0, -0.0, 0.5, 1.5, 2.5, -0.5])], _gradcheck=False, _name=f"{name} at its edges")
    F.case(name, function, [f(7, dtype="float16")])
    for dtype in INTEGERS:
        F.case(name, function, [ints(9, low=0 if dtype == "uint8" else -5, dtype=dtype)])
F.case("abs", torch.abs, [given([-128, 127], dtype="int8")])
F.case("sign", torch.sign, [bools(5)])
F.case("square", torch.square, [bools(5)])
F.case("relu", torch.relu, [given([NAN, 1.0, -1.0])], _gradcheck=False, _name="relu's gradient at NaN")
F.case("elu", nn.elu, [given([1000.0, 90.0, -1.0, -1000.0])], _name="elu of large numbers")
F.case("neg", torch.neg, [given([0, 1, 255], dtype="uint8")])

for name, function, args in [
    ("leaky_relu", nn.leaky_relu, {}), ("leaky_relu", nn.leaky_relu, {"negative_slope": 0.2}), ("elu", nn.elu, {}),
    ("elu", nn.elu, {"alpha": 1.5}), ("gelu", nn.gelu, {}), ("gelu", nn.gelu, {"approximate": "tanh"}), ("silu", nn.silu, {}),
    ("softplus", nn.softplus, {}), ("softplus", nn.softplus, {"beta": 2.0, "threshold": 3.0}), ("mish", nn.mish, {}),
    ("hardswish", nn.hardswish, {}),
]:
    for inputs in [f(7, low=0.2, high=2.0), f(2, 1, 3, low=-2.0, high=-0.2), f(), f(0, 2)]:
        F.case(name, function, [inputs], **args)
    F.case(name, function, [f(23, low=-5.0, high=5.0)], **args, _gradcheck=False)
    F.case(name, function, [given([NAN, 0.0, 30.0, -30.0, 3.0, -3.0])], **args, _gradcheck=False, _name=f"{name} {args} at its edges",
           _grads=name != "hardswish")
    F.case(name, function, [given([INF, -INF])], **args, _gradcheck=False, _name=f"{name} {args} at infinity")
    F.case(name, function, [f(7, dtype="bfloat16")], **args)

for args in [{"min": -0.5, "max": 0.75}, {"min": 0.25}, {"max": 0.5}, {"min": 1.0, "max": -1.0}, {"min": NAN}]:
    F.case("clamp", torch.clamp, [f(3, 5)], **args, _gradcheck=False)
F.case("clamp", torch.clamp, [given([NAN, INF, -INF, -1.0, 1.0, 0.0])], min=-1.0, max=1.0, _gradcheck=False)
F.case("clamp", torch.clamp, [ints(9, low=-5, dtype="int16")], min=-2, max=3)
F.case("clamp", torch.clamp, [ints(9, low=-5, dtype="int64")], min=0.5)
F.case("clamp", torch.clamp, [bools(4)], min=0)

for name in ["isnan", "isinf", "logical_not"]:
    F.case(name, getattr(torch, name), [given(SPECIAL)], _grads=False)
    F.case(name, getattr(torch, name), [given(SPECIAL, dtype="float16")])
    F.case(name, getattr(torch, name), [ints(5, high=2, dtype="int8")])
    F.case(name, getattr(torch, name), [bools(5)])

# ---- of two --------------------------------------------------------------------------------------------------------------

SMOOTH = {
    "add": EVERYWHERE, "sub": EVERYWHERE, "mul": EVERYWHERE, "div": POSITIVE, "pow": POSITIVE, "maximum": EVERYWHERE,
    "minimum": EVERYWHERE, "remainder": POSITIVE,
}
PAIRS = [((2, 3), (2, 3)), ((2, 3), (3,)), ((4, 1, 3), (2, 1)), ((), (2, 2)), ((2, 2), ()), ((0, 3), (3,)), ((1,), (1, 1)),
         ((67, 129), (129,)), ((67, 129), (67, 1)), ((2, 3, 1, 5), (3, 4, 1))]
for name, span in SMOOTH.items():
    function = getattr(torch, name)
    for a, b in PAIRS if name in ("add", "mul", "div") else PAIRS[:7]:
        F.case(name, function, [f(*a, **span), f(*b, **span)], _gradcheck=len(a) < 2 or a[0] != 67 if name != "remainder" else False)
    F.case(name, function, [given([[v] for v in SPECIAL]), given(SPECIAL)], _gradcheck=False, _grads=False,
           _name=f"{name} of special values")
    F.case(name, function, [f(2, 3, **span, dtype="float16"), f(3, **span, dtype="bfloat16")])
    F.case(name, function, [f(2, 3, **span, dtype="bfloat16"), f(3, **span, dtype="bfloat16")])
    F.case(name, function, [ints(2, 3, low=1), f(3, **span)], _gradcheck=False)
    for dtype in INTEGERS:
        F.case(name, function, [ints(2, 5, low=0 if dtype == "uint8" else -4, dtype=dtype), ints(5, low=1, high=5, dtype=dtype)])
    F.case(name, function, [ints(2, 3, low=1, dtype="uint8"), ints(3, low=1, high=4, dtype="int8")])
    if name != "sub":
        F.case(name, function, [bools(2, 3), ints(3, low=1, high=4, dtype="int16")])
    F.case(name, function, [f(2, 3, **span), ints(1, low=1, high=4, dtype="int64")])
for name in ["add", "mul", "maximum", "minimum"]:
    F.case(name, getattr(torch, name), [bools(2, 5), bools(5, seed=3)])
F.case("add", torch.add, [given([127, -128], dtype="int8"), given([1, -1], dtype="int8")])
F.case("mul", torch.mul, [given([200, 3], dtype="uint8"), given([2, 100], dtype="uint8")])
F.case("div", torch.div, [bools(3), bools(3)])
for name in ["maximum", "minimum"]:
    F.case(name, getattr(torch, name), [given([1.0, 2.0, 3.0]), given([1.0, 3.0, 2.0])], _gradcheck=False)
F.case("pow", torch.pow, [given([0.0, 0.0, 0.0, 2.0]), given([2.0, 0.0, 1.0, 0.0])], _gradcheck=False)
F.case("pow", torch.pow, [given([2, -1, 1, 3, 0], dtype="int32"), given([-1, -3, -2, 4, 0], dtype="int32")])
F.case("remainder", torch.remainder, [given([5.5, -5.5, 5.5, -5.5, 0.0]), given([3.0, 3.0, -3.0, -3.0, 3.0])], _gradcheck=False)
F.case("remainder", torch.remainder, [given([1.0, 0.7, -1.0]), given([0.1, 0.1, 0.1])], _gradcheck=False, _rtol32=1e-3,
       _name="remainder where the quotient rounds up")
F.case("remainder", torch.remainder, [given([7, -7, 7, -7], dtype="int32"), given([3, 3, -3, -3], dtype="int32")])
for exponent in [2, 3, 0, 1, 0.5, -0.5, -1, 1.5, -2]:
    F.case("pow_number", torch.pow, [f(2, 3, low=0.2, high=2.0)], exponent=exponent)
F.case("pow_number", torch.pow, [given([0.0, -1.0, 2.0])], exponent=2, _gradcheck=False)
F.case("pow_number", torch.pow, [ints(5, low=-3, dtype="int32")], exponent=3)
F.case("pow_number", torch.pow, [ints(5, low=1, dtype="int64")], exponent=0.5)
F.case("number_pow", lambda x, base: torch.pow(base, x), [f(2, 3)], base=2)
for dtype in ["float", "float16", "int64", "uint8"]:
    for name, function in {"plus_number": torch.add, "times_number": torch.mul, "over_number": torch.div}.items():
        x = ints(2, 3, dtype=dtype) if dtype != "float" else f(2, 3)
        F.case(name, function, [x], other=3)
        F.case(name, function, [x], other=0.5)
    F.case("number_minus", lambda x, other: other - x, [ints(2, 3, dtype=dtype) if dtype != "float" else f(2, 3)], other=1)

for name in ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"]:
    function = getattr(torch, name)
    F.case(name, function, [given([[v] for v in SPECIAL]), given(SPECIAL)], _grads=False, _name=f"{name} of special values")
    F.case(name, function, [ints(2, 5, high=3, dtype="int16"), ints(5, high=3)])
    F.case(name, function, [ints(70, 131, high=3, dtype="float32"), ints(131, high=3, dtype="float32")])
    F.case(name, function, [bools(2, 5), bools(5, seed=3)])
    F.case(name, function, [given([0.0, 1.0, NAN], dtype="bfloat16"), given([0.0, 2.0, NAN], dtype="bfloat16")])

# One tensor on both sides.
for name, function in {
    "sub_self": lambda x: x - x, "mul_self": lambda x: x * x, "div_self": lambda x: x / x, "pow_self": lambda x: x**x,
    "maximum_self": lambda x: torch.maximum(x, x),
}.items():
    F.case(name, function, [f(2, 3, low=0.5, high=2.0)])

# ---- of three, casts -----------------------------------------------------------------------------------------------------

F.case("where", torch.where, [bools(2, 3), f(2, 3), f(2, 3)])
F.case("where", torch.where, [bools(3), f(2, 3), f(1)])
F.case("where", torch.where, [bools(70, 131), f(131), f(70, 1)])
F.case("where", torch.where, [bools(2, 3), ints(3, dtype="int8"), f(2, 1)])
F.case("where", torch.where, [bools(0, 3), f(3), f(1)])
for dtype in INTEGERS + ["float16", "bool"]:
    F.case("where", torch.where, [bools(2, 3), ints(2, 3, high=2, dtype=dtype), ints(3, high=2, seed=5, dtype=dtype)])
F.case("where_number", torch.where, [bools(2, 3), f(2, 3)], other=0.5)
F.case("masked_fill", torch.masked_fill, [f(2, 3), bools(3)], value=7.5)
F.case("masked_fill", torch.masked_fill, [f(2, 3), bools(2, 1)], value=-INF, _gradcheck=False)
F.case("masked_fill", torch.masked_fill, [ints(2, 3, dtype="int16"), bools(2, 3)], value=2)
F.case("lerp", torch.lerp, [f(2, 3), f(2, 3), f(2, 3, low=0.0, high=1.0)], _second=False)
F.case("lerp", torch.lerp, [f(2, 3), f(3), f(2, 1, low=0.0, high=1.0)], _second=False)
F.case("lerp", torch.lerp, [f(5, dtype="float16"), f(5, seed=9, dtype="float16"), f(5, seed=4, dtype="float16")])
F.case("lerp_number", torch.lerp, [f(2, 3), f(3)], weight=0.3)
F.case("lerp_number", torch.lerp, [f(2, 3), f(3)], weight=0.75)

# ---- in place, on a copy in x's layout ------------------------------------------------------------------------------------

IN_PLACE = {name: getattr(torch.Tensor, name) for name in ["add_", "sub_", "mul_", "div_", "copy_"]}
for name, method in IN_PLACE.items():
    function = lambda x, other, method=method: method(x * 1, other)
    for a, b in [((2, 3), (2, 3)), ((2, 3), (3,)), ((4, 1, 3), (1, 1)), ((2, 2), ()), ((), ()), ((0, 3), (3,)), ((1,), (1, )), ((67, 129), (67, 1))]:
        F.case(name, function, [f(*a, low=0.5), f(*b, low=0.5)], _gradcheck=a != (67, 129))
    F.case(name, function, [f(2, 3, dtype="bfloat16"), f(3, dtype="float16")])
    F.case(name, function, [f(2, 3), ints(3, low=1)], _gradcheck=False)
    for dtype in INTEGERS if name != "div_" else []:
        F.case(name, function, [ints(2, 5, low=1, dtype=dtype), ints(5, low=1, high=9)])
for dtype in ["float", "float16", "int64", "uint8"]:
    F.case("fill_", lambda x, value: (x * 1).fill_(value), [ints(2, 3, dtype=dtype)], value=7.5)
F.case("fill_", lambda x, value: (x * 1).fill_(value), [f()], value=-INF, _gradcheck=False)
F.case("fill_", lambda x, value: (x * 1).fill_(value), [f(0, 2)], value=1.0)

for dtype in ["float16", "bfloat16", "bool", *INTEGERS]:
    F.case("cast", lambda x, dtype: x.to(getattr(torch, dtype)), [f(3, 5)], dtype=dtype, _gradcheck=False, _grads=False)
    for source in ["float16", "bfloat16", "bool", *INTEGERS]:
        F.case("cast", lambda x, dtype: x.to(getattr(torch, dtype)), [ints(3, 5, high=100, dtype=source)], dtype=dtype)
F.case("cast", lambda x, dtype: x.to(getattr(torch, dtype)), [given([300, -300, 70000, -1], dtype="int64")], dtype="int16")
F.case("cast", lambda x, dtype: x.to(getattr(torch, dtype)), [given([0.5, 0.0, -0.0, NAN], dtype="float16")], dtype="bool")

# ---- nothing, and one element --------------------------------------------------------------------------------------------

for shape in [(0, 3), (), (1, 1)]:
    F.case("clamp", torch.clamp, [f(*shape, low=0.1, high=0.4)], min=0.0, max=0.5)
    F.case("where_number", torch.where, [bools(*shape), f(*shape)], other=0.5)
    F.case("masked_fill", torch.masked_fill, [f(*shape), bools(*shape)], value=7.5)
    F.case("lerp", torch.lerp, [f(*shape), f(*shape), f(*shape, low=0.0, high=1.0)], _second=False)
    F.case("lerp_number", torch.lerp, [f(*shape), f(*shape)], weight=0.3)
    F.case("pow_number", torch.pow, [f(*shape, low=0.2)], exponent=3)
    F.case("number_pow", lambda x, base: torch.pow(base, x), [f(*shape)], base=0.5)
    F.case("number_minus", lambda x, other: other - x, [f(*shape)], other=1)
    for name, function in {"plus_number": torch.add, "times_number": torch.mul, "over_number": torch.div}.items():
        F.case(name, function, [f(*shape)], other=0.5)
    for name in ["isnan", "isinf", "logical_not"]:
        F.case(name, getattr(torch, name), [f(*shape)], _grads=False)
    for name in ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"]:
        F.case(name, getattr(torch, name), [f(*shape), f(3)], _grads=False)
    for name, function in {
        "sub_self": lambda x: x - x, "mul_self": lambda x: x * x, "div_self": lambda x: x / x, "pow_self": lambda x: x**x,
        "maximum_self": lambda x: torch.maximum(x, x),
    }.items():
        F.case(name, function, [f(*shape, low=0.5, high=2.0)])
    F.case("cast", lambda x, dtype: x.to(getattr(torch, dtype)), [f(*shape)], dtype="int16", _grads=False)
# A cast among floats has a gradient, of the input's dtype.
F.case("cast", lambda x, dtype: x.to(getattr(torch, dtype)), [f(2, 3)], dtype="bfloat16", _gradcheck=False)

F.write()
