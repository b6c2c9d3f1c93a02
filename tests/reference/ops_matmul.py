"""The products' cases: python3 tests/reference/ops_matmul.py"""
import torch
import torch.nn.functional as nn

from ops_common import Family, f, given, ints

F = Family("matmul")
nan, inf = float("nan"), float("inf")

for a, b in [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((1, 3), (3, 1)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (3,)),
             ((3,), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 1, 3), (1, 3, 4)), ((2, 1, 2, 3), (4, 3, 2)),
             ((2, 1, 2, 3), (1, 3, 3, 2)), ((1, 1, 2, 3), (2, 3, 2)), ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((2, 3), (3, 0)),
             ((0, 2, 3), (3, 4)), ((0,), (0,)), ((3, 0, 2), (2, 4)), ((2, 2, 0), (0, 2)), ((65, 33), (33, 70)), ((130, 5), (5, 2))]:
    F.case("matmul", torch.matmul, [f(*a), f(*b)])
F.case("matmul", torch.matmul, [f(60, 600), f(600, 40)], _gradcheck=False, _rtol32=1e-4)
F.case("matmul", torch.matmul, [given([[nan, 1.0], [2.0, inf]]), given([[0.0, 1.0], [0.0, 2.0]])], _gradcheck=False)
for dtype in ["int64", "int32", "int16", "int8", "uint8", "float16", "bfloat16"]:
    F.case("matmul", torch.matmul, [ints(3, 17, dtype=dtype), ints(17, 5, dtype=dtype)])

F.case("mm", torch.mm, [f(4, 3), f(3, 5)])
F.case("mm", torch.mm, [ints(4, 3), ints(3, 5)])
F.case("bmm", torch.bmm, [f(3, 4, 2), f(3, 2, 5)])
F.case("bmm", torch.bmm, [f(0, 4, 2), f(0, 2, 5)])
F.case("mv", torch.mv, [f(4, 3), f(3)])
F.case("dot", torch.dot, [f(7), f(7)])
F.case("outer", torch.outer, [f(3), f(4)])
F.case("outer", torch.outer, [ints(3), ints(4, dtype="int16")])

for c in [(2, 4), (4,), (1, 4), (2, 1), ()]:
    F.case("addmm", lambda c, a, b: torch.addmm(c, a, b), [f(*c), f(2, 3), f(3, 4)])
for beta, alpha in [(0.5, 1.0), (1.0, -2.0), (0.25, 3.0), (0.0, 2.0)]:
    F.case("addmm", torch.addmm, [f(2, 4), f(2, 3), f(3, 4)], beta=beta, alpha=alpha)
F.case("addmm", torch.addmm, [given([nan, inf]), f(2, 3), f(3, 2)], beta=0.0, _gradcheck=False, _grads=False)
F.case("addmm", torch.addmm, [f(2, 2), f(2, 0), f(0, 2)], beta=0.5)
F.case("addmm", torch.addmm, [ints(2, 2), ints(2, 3), ints(3, 2)], beta=2, alpha=3)

for x, out in [((2, 3), 4), ((3,), 4), ((2, 5, 3), 4), ((0, 3), 4), ((2, 0), 4), ((2, 1, 2, 3), 1), ((33, 70), 50), ((1, 9), 33)]:
    F.case("linear", nn.linear, [f(*x), f(out, x[-1]), f(out)])
    F.case("linear", lambda x, w: nn.linear(x, w), [f(*x), f(out, x[-1])])
    F.case("linear_relu", lambda x, w, b: nn.linear(x, w, b).relu(), [f(*x), f(out, x[-1]), f(out)])
F.case("linear_relu", lambda x, w: nn.linear(x, w).relu(), [f(4, 3), f(5, 3)])
F.case("linear", nn.linear, [given([[nan, 1.0], [1.0, 1.0]]), f(3, 2), f(3)], _gradcheck=False)


def einsum(*operands, equation):
    return torch.einsum(equation, *operands)


for equation, *shapes in [
        ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij,jk->ki", (2, 3), (3, 4)), ("ji,jk->ik", (3, 2), (3, 4)),
        ("ba", (2, 3)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)), ("ii", (3, 3)), ("ii->i", (3, 3)), ("iji->j", (2, 3, 2)),
        ("iii->i", (2, 2, 2)), ("ijij->ij", (2, 3, 2, 3)), ("i,i->", (4,), (4,)), ("i,i->i", (4,), (4,)), ("i,j->ij", (2,), (3,)),
        ("i,j->ji", (2,), (3,)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("bhqk,bhkd->bqhd", (2, 2, 3, 5), (2, 2, 5, 4)), ("bn,anm,bm->ba", (2, 3), (4, 3, 5), (2, 5)), ("i,ij,j", (2,), (2, 3), (3,)),
        ("ij,kj,lj->ikl", (2, 3), (2, 3), (4, 3)), ("...ij,...jk->...ik", (5, 2, 3), (3, 4)), ("...ij,...jk", (5, 2, 3), (1, 3, 4)),
        ("i...,i...->...", (2, 3), (2, 4, 3)), ("...,...", (2, 3), (3,)), ("i...->i", (2, 3, 2)), ("i..., j...", (2, 3), (4, 3)),
        ("...ii->...i", (2, 3, 3)), (" i j , j k -> i k ", (2, 3), (3, 2)), ("aB,Bc", (2, 3), (3, 4)), ("ij,j->ij", (2, 1), (3,)),
        ("i,i->i", (1,), (3,)), ("i,i->", (1,), (3,)), ("ij,ij->i", (3, 4), (3, 4)), ("ij,ij->ij", (3, 4), (1, 4)), (",->", (), ()), ("->", ()),
        (",ij->ij", (), (2, 3)), ("ij,jk->ik", (0, 3), (3, 4)), ("ij,jk->ik", (2, 0), (0, 4)), ("ij->i...", (2, 3)), ("ijk,kj->i", (2, 3, 4), (4, 3)),
        ("ik,jkl,il->ij", (2, 3), (4, 3, 5), (2, 5)), ("abc,cd,def->abef", (2, 3, 2), (2, 3), (3, 2, 2)), ("ij,kl->", (2, 3), (2, 2))]:
    F.case("einsum", einsum, [f(*s) for s in shapes], equation=equation)
F.case("einsum", einsum, [ints(2, 3), ints(3, 4)], equation="ij,jk->ik")
F.case("einsum", einsum, [ints(2, 3, dtype="int32"), ints(2, 3, dtype="int32")], equation="ij,ij->ij")

# ---- nothing, and one element --------------------------------------------------------------------------------------------

for name, a, b in [("matmul", (1,), (1,)), ("matmul", (1, 1), (1, 1)), ("matmul", (2, 1, 1), (1, 1)), ("mm", (1, 1), (1, 1)),
                   ("mm", (2, 0), (0, 3)), ("bmm", (1, 1, 1), (1, 1, 1)), ("bmm", (2, 3, 0), (2, 0, 2)), ("mv", (1, 1), (1,)),
                   ("mv", (3, 0), (0,)), ("dot", (1,), (1,)), ("dot", (0,), (0,)), ("outer", (1,), (1,)), ("outer", (0,), (3,))]:
    F.case(name, getattr(torch, name), [f(*a), f(*b)])
F.case("linear_relu", lambda x, w, b: nn.linear(x, w, b).relu(), [f(1, 1, low=0.5), f(1, 1, low=0.5), f(1, low=0.5)])
for dtype in ["float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"]:
    many = lambda *s, seed=None, dtype=dtype: ints(*s, low=0, high=4, seed=seed, dtype=dtype)
    for name, a, b in [("mm", (3, 4), (4, 2)), ("bmm", (2, 3, 4), (2, 4, 2)), ("mv", (3, 4), (4,)), ("dot", (5,), (5,)), ("outer", (3,), (2,))]:
        F.case(name, getattr(torch, name), [many(*a), many(*b)])
    F.case("addmm", torch.addmm, [many(3, 2), many(3, 4), many(4, 2)], beta=2, alpha=3)
    if "int" not in dtype:
        F.case("linear", nn.linear, [many(3, 4), many(2, 4), many(2)])
        F.case("einsum", einsum, [many(2, 3, 4), many(4, 3)], equation="ijk,kj->i")

F.write()
