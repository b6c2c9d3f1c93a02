"""The cases of the normalisation layers: python3 tests/reference/layers_norm.py"""
from torch import nn

from layers_common import Layers, f

L = Layers("norm")


def batch_norm(module):
    def make(features, momentum=0.1, cumulative=False, eps=1e-5, affine=True, track=True):
        return module(features, eps, None if cumulative else momentum, affine, track)
    return make


def layer_norm(shape, eps=1e-5, affine=True, bias=True):
    return nn.LayerNorm(shape, eps, affine, bias)


def rms_norm(shape, eps=None, affine=True):
    return nn.RMSNorm(shape, eps, affine)


def group_norm(groups, channels, eps=1e-5, affine=True):
    return nn.GroupNorm(groups, channels, eps, affine)


b1, b2 = batch_norm(nn.BatchNorm1d), batch_norm(nn.BatchNorm2d)
for layer, make, shapes in (("batch_norm1d", b1, [f(6, 4), f(3, 4, 5)]), ("batch_norm2d", b2, [f(3, 4, 2, 3)])):
    for x in shapes:
        L.case(layer, make, [x], features=4)
        L.case(layer, make, [x], features=4, momentum=0.3, eps=0.1)
        L.case(layer, make, [x], features=4, cumulative=True)
        L.case(layer, make, [x], features=4, cumulative=True, _calls=3, _gradcheck=False)
        L.case(layer, make, [x], features=4, affine=False)
        L.case(layer, make, [x], features=4, track=False)
        L.case(layer, make, [x], features=4, affine=False, track=False)
        L.case(layer, make, [x], features=4, _calls=4, _gradcheck=False)
L.case("batch_norm1d", b1, [f(1, 3, 6)], features=3)
L.case("batch_norm1d", b1, [f(5, 3, 1)], features=3)
L.case("batch_norm1d", b1, [f(2, 3)], features=3)
L.case("batch_norm1d", b1, [f(33, 130)], features=130, _gradcheck=False)
L.case("batch_norm1d", b1, [f(8, 5, 70)], features=5, _gradcheck=False)
L.case("batch_norm1d", b1, [f(40, 3, low=99, high=101)], features=3, _gradcheck=False, _rtol32=1e-4)
L.case("batch_norm2d", b2, [f(4, 6, 9, 8)], features=6, _gradcheck=False)
L.case("batch_norm2d", b2, [f(2, 3, 40, 40)], features=3, _gradcheck=False)
L.case("batch_norm1d", b1, [f(0, 3)], features=3)
L.case("batch_norm2d", b2, [f(0, 3, 4, 4)], features=3)

L.case("layer_norm", layer_norm, [f(4, 6)], shape=[6])
L.case("layer_norm", layer_norm, [f(2, 3, 5)], shape=[5], eps=0.1)
L.case("layer_norm", layer_norm, [f(2, 3, 4)], shape=[3, 4])
L.case("layer_norm", layer_norm, [f(2, 3, 4)], shape=[2, 3, 4])
L.case("layer_norm", layer_norm, [f(4, 6)], shape=[6], affine=False)
L.case("layer_norm", layer_norm, [f(4, 6)], shape=[6], bias=False)
L.case("layer_norm", layer_norm, [f(7)], shape=[7])
L.case("layer_norm", layer_norm, [f(4, 1)], shape=[1], _second=False)
L.case("layer_norm", layer_norm, [f(3, 33)], shape=[33])
L.case("layer_norm", layer_norm, [f(0, 6)], shape=[6])
L.case("layer_norm", layer_norm, [f(300, 65)], shape=[65], _gradcheck=False)
L.case("layer_norm", layer_norm, [f(2, 1300)], shape=[1300], _gradcheck=False)
L.case("layer_norm", layer_norm, [f(9, 40, low=99, high=101)], shape=[40], _gradcheck=False, _rtol32=1e-4)

L.case("rms_norm", rms_norm, [f(4, 6)], shape=[6], _f32=False)
L.case("rms_norm", rms_norm, [f(4, 6)], shape=[6], eps=1e-5)
L.case("rms_norm", rms_norm, [f(2, 3, 5)], shape=[5], eps=0.1)
L.case("rms_norm", rms_norm, [f(2, 3, 4)], shape=[3, 4], eps=1e-6)
L.case("rms_norm", rms_norm, [f(4, 6)], shape=[6], eps=1e-6, affine=False)
L.case("rms_norm", rms_norm, [f(7)], shape=[7], eps=1e-6)
L.case("rms_norm", rms_norm, [f(0, 6)], shape=[6], eps=1e-6)
L.case("rms_norm", rms_norm, [f(200, 70)], shape=[70], eps=1e-6, _gradcheck=False)

L.case("group_norm", group_norm, [f(2, 4, 3)], groups=2, channels=4)
L.case("group_norm", group_norm, [f(2, 4, 2, 3)], groups=2, channels=4, eps=0.1)
L.case("group_norm", group_norm, [f(2, 4, 2, 2)], groups=4, channels=4)
L.case("group_norm", group_norm, [f(2, 4, 2, 2)], groups=1, channels=4)
L.case("group_norm", group_norm, [f(3, 6)], groups=2, channels=6)
L.case("group_norm", group_norm, [f(2, 6, 3)], groups=3, channels=6, affine=False)
L.case("group_norm", group_norm, [f(0, 4, 3)], groups=2, channels=4)
L.case("group_norm", group_norm, [f(3, 8, 7, 9)], groups=4, channels=8, _gradcheck=False)
L.write()
