"""The cases of linear layers, convolution and pooling: python3 tests/reference/layers_windows.py"""
from torch import nn

from layers_common import Layers, f

L = Layers("windows")


def linear(features, bias=True):
    return nn.Linear(*features, bias=bias)


def conv(module):
    def make(channels, kernel, stride=1, padding=0, dilation=1, groups=1, bias=True):
        return module(*channels, kernel, stride, padding, dilation, groups, bias)
    return make


def transposed(module):
    def make(channels, kernel, stride=1, padding=0, output_padding=0, dilation=1, groups=1, bias=True):
        return module(*channels, kernel, stride, padding, output_padding, groups, bias, dilation)
    return make


def max_pool(module):
    def make(kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
        return module(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    return make


def avg_pool(module):
    def make(kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        return module(kernel, stride, padding, ceil_mode, count_include_pad)
    return make


L.case("linear", linear, [f(4, 3)], features=[3, 5])
L.case("linear", linear, [f(2, 3, 3)], features=[3, 4], bias=False)
L.case("linear", linear, [f(3)], features=[3, 4])

c2 = conv(nn.Conv2d)
L.case("conv2d", c2, [f(2, 3, 5, 5)], channels=[3, 4], kernel=[3, 3], padding=[1, 1])
L.case("conv2d", c2, [f(2, 4, 6, 5)], channels=[4, 2], kernel=[2, 3], stride=[2, 1], groups=2, bias=False)
L.case("conv2d", c2, [f(1, 4, 7, 7)], channels=[4, 4], kernel=[3, 3], dilation=[2, 1], groups=4)
L.case("conv2d", c2, [f(3, 6, 6)], channels=[3, 2], kernel=[1, 1])
L.case("conv2d", c2, [f(0, 3, 5, 5)], channels=[3, 2], kernel=[3, 3])

c1 = conv(nn.Conv1d)
L.case("conv1d", c1, [f(2, 3, 9)], channels=[3, 4], kernel=3)
L.case("conv1d", c1, [f(2, 3, 9)], channels=[3, 4], kernel=3, padding=2)
L.case("conv1d", c1, [f(2, 3, 10)], channels=[3, 5], kernel=4, stride=3, bias=False)
L.case("conv1d", c1, [f(2, 4, 9)], channels=[4, 6], kernel=3, groups=2, dilation=2, padding=1)
L.case("conv1d", c1, [f(2, 4, 9)], channels=[4, 8], kernel=3, groups=4, stride=2)
L.case("conv1d", c1, [f(3, 8)], channels=[3, 4], kernel=5, padding=2)
L.case("conv1d", c1, [f(2, 5, 7)], channels=[5, 3], kernel=1)
L.case("conv1d", c1, [f(0, 3, 9)], channels=[3, 4], kernel=3)
L.case("conv1d", c1, [f(3, 16, 40)], channels=[16, 24], kernel=7, padding=3, _gradcheck=False)

t1 = transposed(nn.ConvTranspose1d)
L.case("conv_transpose1d", t1, [f(2, 3, 5)], channels=[3, 4], kernel=3)
L.case("conv_transpose1d", t1, [f(2, 3, 5)], channels=[3, 4], kernel=3, stride=2, padding=1)
L.case("conv_transpose1d", t1, [f(2, 3, 5)], channels=[3, 2], kernel=4, stride=3, padding=1, output_padding=2)
L.case("conv_transpose1d", t1, [f(2, 4, 5)], channels=[4, 6], kernel=3, groups=2, dilation=2, output_padding=1)
L.case("conv_transpose1d", t1, [f(4, 5)], channels=[4, 2], kernel=2, stride=2, bias=False)
L.case("conv_transpose1d", t1, [f(0, 3, 5)], channels=[3, 4], kernel=3)

t2 = transposed(nn.ConvTranspose2d)
L.case("conv_transpose2d", t2, [f(2, 3, 4, 3)], channels=[3, 2], kernel=[3, 3])
L.case("conv_transpose2d", t2, [f(2, 3, 3, 4)], channels=[3, 2], kernel=[3, 2], stride=[2, 2], padding=[1, 0])
L.case("conv_transpose2d", t2, [f(2, 3, 3, 3)], channels=[3, 2], kernel=[3, 3], stride=[2, 3], padding=[1, 1], output_padding=[1, 2])
L.case("conv_transpose2d", t2, [f(1, 4, 3, 3)], channels=[4, 4], kernel=[2, 3], groups=2, dilation=[2, 1], output_padding=[1, 0])
L.case("conv_transpose2d", t2, [f(2, 4, 3, 3)], channels=[4, 4], kernel=[3, 3], groups=4, stride=[2, 2], bias=False)
L.case("conv_transpose2d", t2, [f(3, 4, 4)], channels=[3, 2], kernel=[2, 2], stride=[2, 2])
L.case("conv_transpose2d", t2, [f(2, 3, 4, 4)], channels=[3, 5], kernel=[1, 1])
L.case("conv_transpose2d", t2, [f(0, 3, 4, 4)], channels=[3, 2], kernel=[3, 3])
L.case("conv_transpose2d", t2, [f(2, 16, 9, 9)], channels=[16, 12], kernel=[4, 4], stride=[2, 2], padding=[1, 1], _gradcheck=False)

m2, a2, m1, a1 = max_pool(nn.MaxPool2d), avg_pool(nn.AvgPool2d), max_pool(nn.MaxPool1d), avg_pool(nn.AvgPool1d)
L.case("max_pool2d", m2, [f(2, 3, 6, 6)], kernel=[2, 2])
L.case("max_pool2d", m2, [f(2, 2, 7, 6)], kernel=[3, 2], stride=[2, 1], padding=[1, 1])
L.case("max_pool2d", m2, [f(2, 2, 7, 7)], kernel=[2, 2], stride=[2, 2], ceil_mode=True)
L.case("max_pool2d", m2, [f(2, 7, 7)], kernel=[3, 3], stride=[1, 1], dilation=[2, 2])
L.case("avg_pool2d", a2, [f(2, 3, 6, 6)], kernel=[2, 2])
L.case("avg_pool2d", a2, [f(2, 2, 7, 6)], kernel=[3, 2], stride=[2, 1], padding=[1, 1])
L.case("avg_pool2d", a2, [f(2, 2, 7, 7)], kernel=[3, 3], stride=[2, 2], padding=[1, 1], count_include_pad=False)
L.case("avg_pool2d", a2, [f(2, 7, 7)], kernel=[2, 2], ceil_mode=True)
L.case("max_pool1d", m1, [f(2, 3, 8)], kernel=2)
L.case("max_pool1d", m1, [f(2, 3, 9)], kernel=3, stride=2, padding=1)
L.case("max_pool1d", m1, [f(2, 3, 9)], kernel=2, ceil_mode=True)
L.case("max_pool1d", m1, [f(3, 9)], kernel=3, stride=1, dilation=2)
L.case("avg_pool1d", a1, [f(2, 3, 8)], kernel=2)
L.case("avg_pool1d", a1, [f(2, 3, 9)], kernel=3, stride=2, padding=1)
L.case("avg_pool1d", a1, [f(2, 3, 9)], kernel=3, stride=2, padding=1, count_include_pad=False)
L.case("avg_pool1d", a1, [f(3, 9)], kernel=4, ceil_mode=True)


def adaptive2d(size):
    return nn.AdaptiveAvgPool2d([s or None for s in size])


def adaptive1d(size):
    return nn.AdaptiveAvgPool1d(size)


L.case("adaptive_avg_pool2d", adaptive2d, [f(2, 3, 4, 5)], size=[1, 1])
L.case("adaptive_avg_pool2d", adaptive2d, [f(2, 3, 6, 4)], size=[3, 2])
L.case("adaptive_avg_pool2d", adaptive2d, [f(2, 2, 7, 5)], size=[3, 2])
L.case("adaptive_avg_pool2d", adaptive2d, [f(2, 5, 3)], size=[7, 4])
L.case("adaptive_avg_pool2d", adaptive2d, [f(2, 2, 5, 4)], size=[0, 3])
L.case("adaptive_avg_pool1d", adaptive1d, [f(2, 3, 8)], size=1)
L.case("adaptive_avg_pool1d", adaptive1d, [f(2, 3, 8)], size=4)
L.case("adaptive_avg_pool1d", adaptive1d, [f(2, 3, 7)], size=3)
L.case("adaptive_avg_pool1d", adaptive1d, [f(3, 5)], size=8)
L.write()
