"""The cases of convolution and pooling as layers: python3 tests/reference/layers_windows.py"""
from torch import nn

from layers_common import Layers, f

L = Layers("windows")


def linear(features, bias=True):
    return nn.Linear(*features, bias=bias)


def conv2d(channels, kernel, stride=1, padding=0, dilation=1, groups=1, bias=True):
    return nn.Conv2d(*channels, kernel, stride, padding, dilation, groups, bias)


L.case("linear", linear, [f(4, 3)], features=[3, 5])
L.case("linear", linear, [f(2, 3, 3)], features=[3, 4], bias=False)
L.case("conv2d", conv2d, [f(2, 3, 5, 5)], channels=[3, 4], kernel=[3, 3], padding=[1, 1])
L.case("conv2d", conv2d, [f(2, 4, 6, 5)], channels=[4, 2], kernel=[2, 3], stride=[2, 1], groups=2, bias=False)
L.write()
