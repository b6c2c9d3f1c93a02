"""Attention's and rotary embedding's cases: python3 tests/reference/ops_attention.py"""
import math

import torch
import torch.nn.functional as functional

from ops_common import Family, bools, f, given, ints

F = Family("attention")
inf = float("inf")


def attend(q, k, v, mask=None, **options):
    return functional.scaled_dot_product_attention(q, k, v, mask, **options)


def case(q, k, v, *mask, **more):
    F.case("attend_masked" if mask else "attend", attend, [q, k, v, *mask], **more)


big = {"_gradcheck": False}
case(f(2, 3, 4, 5), f(2, 3, 6, 5), f(2, 3, 6, 5))
case(f(2, 3, 4, 5), f(2, 3, 6, 5), f(2, 3, 6, 2), scale=0.7)
case(f(3, 4, 5), f(3, 6, 5), f(3, 6, 5), scale=-0.5)
case(f(4, 5), f(6, 5), f(6, 3))
case(f(2, 2, 2, 3, 4), f(2, 2, 2, 3, 4), f(2, 2, 2, 3, 4))
case(f(2, 3, 4, 5), f(1, 3, 6, 5), f(1, 3, 6, 5))
case(f(1, 1, 1, 1), f(1, 1, 1, 1), f(1, 1, 1, 1))
case(f(1, 2, 1, 8), f(1, 2, 7, 8), f(1, 2, 7, 8))
case(f(2, 3, 0, 5), f(2, 3, 6, 5), f(2, 3, 6, 5))
case(f(2, 3, 4, 5), f(2, 3, 0, 5), f(2, 3, 0, 5))
case(f(0, 3, 4, 5), f(0, 3, 6, 5), f(0, 3, 6, 5))
# A row that sees one column alone has gradients that are 0 but for rounding.
rounded = {"_rtol32": 1e-3}
case(f(1, 2, 3, 5, low=-300, high=300), f(1, 2, 4, 5, low=-300, high=300), f(1, 2, 4, 5), **big, **rounded)
for l, s in ((4, 4), (3, 5), (5, 3), (1, 4), (4, 1)):
    case(f(2, 2, l, 3), f(2, 2, s, 3), f(2, 2, s, 3), is_causal=True, **(rounded if s == 1 else {}))
for shape in ((4, 6), (3, 1, 6), (2, 1, 1, 6), (2, 3, 4, 6), (1, 3, 4, 1), (1, 6), (1, 1)):
    case(f(2, 3, 4, 5), f(2, 3, 6, 5), f(2, 3, 6, 5), bools(*shape))
    # A mask's gradient that is 0 but for rounding has no value to compare in f32.
    case(f(2, 3, 4, 5), f(2, 3, 6, 5), f(2, 3, 6, 5), f(*shape), **({"_f32": False} if shape[-1] == 1 else {}))
case(f(1, 2, 3, 4), f(1, 2, 3, 4), f(1, 2, 3, 4), given([[1, 0, 1], [0, 0, 0], [1, 1, 0]], dtype="bool"))
F.case("attend_fixed", lambda q, k, v, m: attend(q, k, v, m.detach()), [f(1, 2, 3, 4), f(1, 2, 3, 4), f(1, 2, 3, 4),
                                                                        given([[0, -inf, 1], [-inf, -inf, -inf], [0, 0, -inf]])])
F.case("attend_fixed", lambda q, k, v, m: attend(q, k, v, m.detach()), [f(2, 2, 3, 4), f(2, 2, 5, 4), f(2, 2, 5, 4), f(2, 1, 3, 5)])
for heads, kv in ((4, 2), (4, 1), (6, 3), (2, 2)):
    case(f(2, heads, 3, 4), f(2, kv, 5, 4), f(2, kv, 5, 3), enable_gqa=True)
    case(f(2, heads, 4, 3), f(2, kv, 4, 3), f(2, kv, 4, 3), is_causal=True, enable_gqa=True)
    case(f(2, heads, 3, 4), f(2, kv, 5, 4), f(2, kv, 5, 3), bools(2, heads, 3, 5), enable_gqa=True)
    case(f(2, heads, 3, 4), f(2, kv, 5, 4), f(2, kv, 5, 3), f(heads, 3, 5), enable_gqa=True)
# Beyond one block of rows and of columns.
case(f(1, 2, 200, 16), f(1, 2, 300, 16), f(1, 2, 300, 24), **big)
case(f(1, 1, 97, 64), f(1, 1, 257, 64), f(1, 1, 257, 64), **big)
case(f(1, 2, 300, 8), f(1, 2, 300, 8), f(1, 2, 300, 8), is_causal=True, **big)
case(f(1, 1, 100, 8), f(1, 1, 530, 8), f(1, 1, 530, 8), is_causal=True, **big)
case(f(1, 1, 530, 8), f(1, 1, 100, 8), f(1, 1, 100, 8), is_causal=True, **big)
case(f(2, 4, 100, 8), f(2, 2, 280, 8), f(2, 2, 280, 8), bools(2, 1, 1, 280), enable_gqa=True, **big)
case(f(1, 2, 110, 8), f(1, 2, 280, 8), f(1, 2, 280, 8), f(110, 280), **big)
case(f(1, 1, 100, 300), f(1, 1, 100, 300), f(1, 1, 100, 300), scale=0.02, **big)
F.case("attend_fixed", lambda q, k, v, m: attend(q, k, v, m.detach()), [f(1, 2, 110, 8), f(1, 2, 280, 8), f(1, 2, 280, 8), f(110, 280)], **big)


def tables(positions, dim, base=10000.0, factor=1.0, original_length=0, low_freq_factor=1.0, high_freq_factor=4.0):
    """Llama's, as in its PyTorch models."""
    frequencies = []
    for j in range(0, dim, 2):
        f = base ** (-j / dim)
        wave = 2 * math.pi / f
        if not original_length or wave > original_length / low_freq_factor:
            f /= factor
        elif wave > original_length / high_freq_factor:
            smooth = (original_length / wave - low_freq_factor) / (high_freq_factor - low_freq_factor)
            f = (1 - smooth) * f / factor + smooth * f
        frequencies.append(f)
    angles = positions.double()[..., None] * torch.tensor(frequencies, dtype=torch.float64)
    return angles.cos(), angles.sin()


def rope(x, positions, interleaved=False, dim=None, **options):
    dim = dim or x.shape[-1]
    cos, sin = tables(positions, dim, **options)
    x, rest = x[..., :dim], x[..., dim:]
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.cat([torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2), rest], -1)
    a, b = x.chunk(2, -1)
    return torch.cat([torch.cat([a, b], -1) * torch.cat([cos, cos], -1) + torch.cat([-b, a], -1) * torch.cat([sin, sin], -1), rest], -1)


for interleaved in (False, True):
    F.case("rope", rope, [f(2, 3, 5, 8), ints(5, high=50)], interleaved=interleaved, dim=8)
    F.case("rope", rope, [f(2, 3, 5, 8), ints(2, 1, 5, high=50)], interleaved=interleaved, dim=8)
    F.case("rope", rope, [f(5, 2), ints(5)], interleaved=interleaved, dim=2)
    F.case("rope", rope, [f(3, 4, 7), ints(4)], interleaved=interleaved, dim=4)
    F.case("rope", rope, [f(2, 0, 4), ints(0)], interleaved=interleaved, dim=4)
    F.case("rope", rope, [f(2, 40, 64), ints(40, high=4000)], interleaved=interleaved, dim=64, _gradcheck=False, base=500000.0)
F.case("rope", rope, [f(3, 4, 6), ints(4)], dim=6, factor=4.0)
F.case("rope", rope, [f(4, 32), ints(4, high=9000)], dim=32, base=500000.0, factor=8.0, original_length=8192, _gradcheck=False)
F.case("rope", rope, [f(4, 32), ints(4, high=500)], dim=32, factor=2.0, original_length=100, low_freq_factor=2.0, high_freq_factor=3.0,
       _gradcheck=False)
F.case("rope_tables", lambda positions, **o: tables(positions, **o)[0], [ints(4, 3, high=100)], dim=10)
F.write()
