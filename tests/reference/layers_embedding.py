"""The cases of the embedding layer: python3 tests/reference/layers_embedding.py"""
import torch
from torch import nn

from layers_common import Layers, given, ints

L = Layers("embedding")


def embedding(rows, dim, padding_idx=None, **norm):
    return nn.Embedding(rows, dim, padding_idx, **norm)


L.case("embedding", embedding, [ints(4, high=5)], rows=5, dim=3)
L.case("embedding", embedding, [ints(2, 3, high=4, dtype="int32")], rows=4, dim=2)
L.case("embedding", embedding, [given([2, 2, 0, 2, 2], dtype="int64")], rows=3, dim=4)
L.case("embedding", embedding, [given([[0, 1, 1], [3, 0, 0]], dtype="int64")], rows=4, dim=3, padding_idx=0, _gradcheck=False)
L.case("embedding", embedding, [given([3, 1, 3, 3, 2], dtype="int64")], rows=4, dim=3, padding_idx=-1, _gradcheck=False)
L.case("embedding", embedding, [given(1, dtype="int64")], rows=3, dim=2)
L.case("embedding", embedding, [ints(2, 1, 2, 2, high=3)], rows=3, dim=1)
L.case("embedding", embedding, [ints(0, 3, high=3)], rows=3, dim=2)
L.case("embedding", embedding, [ints(9, 40, high=50)], rows=50, dim=33, padding_idx=7, _gradcheck=False)


class Tied(nn.Module):
    """One table both looked up and, transposed, multiplied by."""
    def __init__(self, rows, dim, padding_idx=None, **norm):
        super().__init__()
        self.table = nn.Embedding(rows, dim, padding_idx, **norm)

    def forward(self, index):
        return torch.tanh(self.table(index)) @ self.table.weight.T


for norm in ({"max_norm": 0.5}, {"max_norm": 0.5, "norm_type": 1.0}, {"max_norm": 0.3, "norm_type": 3.0}, {"max_norm": 9.0}):
    L.case("embedding", embedding, [given([[2, 0], [2, 3]], dtype="int64")], rows=5, dim=3, **norm, _gradcheck=False)
    L.case("tied", Tied, [given([1, 3, 1], dtype="int64")], rows=4, dim=3, **norm, _gradcheck=False)  # sees what was written
L.case("embedding", embedding, [given([1, 0, 1], dtype="int32")], rows=3, dim=4, padding_idx=1, max_norm=0.4, _gradcheck=False)
L.case("embedding", embedding, [ints(0, 2, high=3)], rows=3, dim=2, max_norm=0.1, _gradcheck=False)
L.case("tied", Tied, [ints(5, high=4)], rows=4, dim=3)
L.case("tied", Tied, [given([1, 3, 1, 0], dtype="int64")], rows=4, dim=3, padding_idx=1, _gradcheck=False)
L.write()
