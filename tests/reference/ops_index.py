"""The index family's cases: python3 tests/reference/ops_index.py"""
import torch

from ops_common import Family, bools, f, given, ints

F = Family("index")


def assign(x, value, *items):
    y = x.clone()
    y[items] = value
    return y


# Slices, integers, new axes, ellipses.
F.case("basic_0", lambda x: x[1], [f(3, 4)])
F.case("basic_1", lambda x: x[1:-1, ::2], [f(4, 5)])
F.case("basic_2", lambda x: x[..., -1], [f(2, 3, 4)])
F.case("basic_3", lambda x: x[None, :, 1, None], [f(2, 3, 4)])
F.case("basic_4", lambda x: x[-2:100, 5:2, 1:], [f(4, 6, 3)])
F.case("basic_5", lambda x: x[2, 1], [f(3, 2)])
F.case("basic_6", lambda x: x[1::3, ..., None, ::2], [f(8, 1, 5)])
# Tensors.
rows, cols = given([2, 0, -1, 2], "int64"), given([1, 1, 0, 3], "int32")
F.case("tensor_0", lambda x, i: x[i.long()], [f(3, 4), rows])
F.case("tensor_1", lambda x, i, j: x[i.long(), j.long()], [f(3, 4), rows, cols])
F.case("tensor_2", lambda x, i: x[:, i.long()], [f(2, 3, 4), rows])
F.case("tensor_3", lambda x, i, j: x[i.long(), :, j.long()], [f(3, 2, 4), rows, cols])
F.case("tensor_4", lambda x, i, j: x[:, i.long(), j.long()], [f(2, 3, 4), rows, cols])
F.case("tensor_5", lambda x, i, j: x[i.long(), j.long()], [f(3, 4), ints(3, 1, high=3), ints(2, high=4)])
F.case("tensor_6", lambda x, i: x[1:, None, i.long(), 0], [f(3, 3, 2), rows])
F.case("tensor_7", lambda x, i: x[i.long()], [f(3), ints(2, 0, high=3)])
F.case("tensor_8", lambda x, i, j: x[i.long(), 1, j.long()], [f(3, 2, 4), rows, cols])
# Masks.
F.case("mask_0", lambda x, m: x[m], [f(3, 4), bools(3, 4)])
F.case("mask_1", lambda x, m: x[m], [f(5, 2), bools(5)])
F.case("mask_2", lambda x, m: x[:, m], [f(2, 3, 4), bools(3, 4)])
F.case("mask_3", lambda x, m, i: x[m, i.long()], [f(4, 3), given([1, 0, 1, 0], "bool"), given([2, 0], "int64")])
F.case("mask_4", lambda x, m: x[1:, m], [f(3, 4), bools(4)])
F.case("mask_5", lambda x, m: x[m], [f(3), given([0, 0, 0], "bool")])
F.case("masked_select", torch.masked_select, [f(3, 4), bools(4)])
F.case("masked_select", torch.masked_select, [f(3, 1), bools(3, 4)])
# Assignment.
F.case("assign_0", lambda x, v: assign(x, v, 1), [f(3, 4), f(4)])
F.case("assign_1", lambda x, v: assign(x, v, slice(1, None), slice(None, None, 2)), [f(3, 4), f(2, 1)])
F.case("assign_2", lambda x, v: assign(x, v, Ellipsis, None, -1), [f(2, 3, 4), f()])
F.case("assign_3", lambda x, v, i: assign(x, v, i.long()), [f(4, 3), f(2, 3), given([3, 1], "int64")])
F.case("assign_4", lambda x, v, m: assign(x, v, m), [f(3, 4), f(), bools(3, 4)])
F.case("assign_5", lambda x, v, i: assign(x, v, slice(1, None), i.long()), [f(3, 4), f(2), given([3, 0], "int64")])
F.case("assign_6", lambda x, v, i: assign(x, v, i.long(), 1), [f(4, 3), f(2), given([3, 1], "int64")])
# By an index along one dim.
F.case("gather", lambda x, i, dim: x.gather(dim, i), [f(3, 4), ints(3, 2, high=4)], dim=1)
F.case("gather", lambda x, i, dim: x.gather(dim, i), [f(3, 4), ints(5, 3, high=3)], dim=0)
F.case("gather", lambda x, i, dim: x.gather(dim, i), [f(2, 3, 4), ints(2, 6, 3, high=3)], dim=-2)
F.case("gather", lambda x, i, dim: x.gather(dim, i), [f(), given(0, "int64")], dim=0)
F.case("gather", lambda x, i, dim: x.gather(dim, i), [ints(3, 4, dtype="uint8"), ints(3, 2, high=4)], dim=1)
F.case("scatter", lambda x, s, i, dim: x.scatter(dim, i, s), [f(3, 4), f(3, 2), given([[0, 3], [1, 2], [3, 0]], "int64")], dim=1)
F.case("scatter", lambda x, s, i, dim: x.scatter(dim, i, s), [f(3, 4), f(2, 5), given([[0, 2, 1], [1, 0, 2]], "int64")], dim=0, _grads=False)
F.case("scatter_add", lambda x, s, i, dim: x.scatter_add(dim, i, s), [f(3, 4), f(3, 6), ints(3, 6, high=4)], dim=1)
F.case("scatter_add", lambda x, s, i, dim: x.scatter_add(dim, i, s), [f(3, 4), f(5, 4), ints(5, 4, high=3)], dim=0)
F.case("index_select", lambda x, i, dim: x.index_select(dim, i), [f(3, 4), given([2, 0, 2], "int64")], dim=0)
F.case("index_select", lambda x, i, dim: x.index_select(dim, i), [f(3, 4), given([2, 0, 2, 3], "int32")], dim=1)
F.case("index_select", lambda x, i, dim: x.index_select(dim, i), [f(50, 33), ints(200, high=50)], dim=0)
F.case("index_add", lambda x, s, i, dim: x.index_add(dim, i, s), [f(3, 4), f(5, 4), given([2, 0, 2, 1, 2], "int64")], dim=0)
F.case("index_add", lambda x, s, i, dim: x.index_add(dim, i, s), [f(3, 4), f(3, 2), given([1, 1], "int64")], dim=1)
F.case("one_hot", lambda x, classes: torch.nn.functional.one_hot(x, classes), [ints(2, 3, high=4)], classes=5)
F.case("one_hot", lambda x, classes: torch.nn.functional.one_hot(x, classes), [given([2, 0, 1], "int64")], classes=-1)
F.case("nonzero", lambda x: x.nonzero(), [ints(3, 4, high=2)])
F.case("nonzero", lambda x: x.nonzero(), [bools(2, 3, 2)])
F.case("nonzero", lambda x: x.nonzero(), [f(2, 3)], _grads=False)

# ---- nothing, and one element --------------------------------------------------------------------------------------------

none = ints(0)
F.case("basic_0", lambda x: x[1], [f(2, 0)])
F.case("basic_1", lambda x: x[1:-1, ::2], [f(1, 1)])
F.case("basic_2", lambda x: x[..., -1], [f(0, 1)])
F.case("basic_4", lambda x: x[-2:100, 5:2, 1:], [f(1, 1, 1)])
F.case("tensor_0", lambda x, i: x[i.long()], [f(1), given(0, "int64")])
F.case("tensor_0", lambda x, i: x[i.long()], [f(3, 4), none])
F.case("tensor_1", lambda x, i, j: x[i.long(), j.long()], [f(3, 4), none, none])
F.case("tensor_2", lambda x, i: x[:, i.long()], [f(0, 3), rows])
F.case("mask_0", lambda x, m: x[m], [f(0, 3), bools(0, 3)])
F.case("mask_0", lambda x, m: x[m], [f(1), given([1], "bool")])
F.case("mask_2", lambda x, m: x[:, m], [f(2, 3, 4), given([[0] * 4] * 3, "bool")])
F.case("assign_0", lambda x, v: assign(x, v, 1), [f(3, 0), f(1)])
F.case("assign_3", lambda x, v, i: assign(x, v, i.long()), [f(4, 3), f(0, 3), none])
F.case("assign_4", lambda x, v, m: assign(x, v, m), [f(1), f(), given([1], "bool")])
F.case("assign_4", lambda x, v, m: assign(x, v, m), [f(3), f(1), given([0, 0, 0], "bool")])
for shape, many in [((0, 3), (0, 3)), ((1, 1), (1, 1)), ((3, 2), (3, 0))]:
    at = ints(*many, high=1)
    F.case("gather", lambda x, i, dim: x.gather(dim, i), [f(*shape), at], dim=1)
    F.case("scatter", lambda x, s, i, dim: x.scatter(dim, i, s), [f(*shape), f(*many), at], dim=1)
    F.case("scatter_add", lambda x, s, i, dim: x.scatter_add(dim, i, s), [f(*shape), f(*many), at], dim=1)
    F.case("index_select", lambda x, i, dim: x.index_select(dim, i), [f(*shape), ints(many[1], high=1)], dim=1)
    F.case("index_add", lambda x, s, i, dim: x.index_add(dim, i, s), [f(*shape), f(*many), ints(many[1], high=1)], dim=1)
    F.case("masked_select", torch.masked_select, [f(*shape), bools(*shape)])
    F.case("nonzero", lambda x: x.nonzero(), [f(*shape)], _grads=False)
    F.case("one_hot", lambda x, classes: torch.nn.functional.one_hot(x, classes), [at], classes=2)
for dtype in ["int32", "int16", "int8", "uint8", "bool", "float16", "bfloat16"]:
    x, s = ints(3, 4, high=2, dtype=dtype), ints(3, 2, high=2, seed=7, dtype=dtype)
    F.case("tensor_1", lambda x, i, j: x[i.long(), j.long()], [x, rows, cols])
    F.case("mask_0", lambda x, m: x[m], [x, bools(3, 4)])
    F.case("assign_1", lambda x, v: assign(x, v, slice(1, None), slice(None, None, 2)), [x, ints(2, 1, high=2, dtype=dtype)])
    F.case("scatter", lambda x, s, i, dim: x.scatter(dim, i, s), [x, s, given([[0, 3], [1, 2], [3, 0]], "int64")], dim=1)
    F.case("index_select", lambda x, i, dim: x.index_select(dim, i), [x, given([2, 0, 2], "int64")], dim=0)
    F.case("nonzero", lambda x: x.nonzero(), [x])
    if dtype != "bool":
        F.case("scatter_add", lambda x, s, i, dim: x.scatter_add(dim, i, s), [x, s, ints(3, 2, high=4)], dim=1)

F.write()
