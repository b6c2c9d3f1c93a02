"""The cases of convolution, pooling and unfolding: python3 tests/reference/ops_conv.py"""
import torch.nn.functional as F

from ops_common import Family, f, given, ints

T = Family("conv")
inf = float("inf")


def conv2d(x, w, b=None, stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=1, relu=False):
    y = F.conv2d(x, w, b, stride, padding, dilation, groups)
    return y.relu() if relu else y


def conv1d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    return F.conv1d(x, w, b, stride, padding, dilation, groups)


def max_pool2d(x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    return F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)


def max_pool1d(x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    return F.max_pool1d(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)


def avg_pool2d(x, kernel, stride=None, padding=0, ceil_mode=False, exclude_pad=False, divisor=None):
    return F.avg_pool2d(x, kernel, stride, padding, ceil_mode, not exclude_pad, divisor)


def avg_pool1d(x, kernel, stride=None, padding=0, ceil_mode=False, exclude_pad=False):
    return F.avg_pool1d(x, kernel, stride, padding, ceil_mode, not exclude_pad)


def unfold1d(x, kernel, stride=1, padding=0, dilation=1):
    return F.unfold(x.unsqueeze(-1), (kernel, 1), (dilation, 1), (padding, 0), (stride, 1))


def fold1d(x, length, kernel, stride=1, padding=0, dilation=1):
    return F.fold(x, (length, 1), (kernel, 1), (dilation, 1), (padding, 0), (stride, 1)).squeeze(-1)


def unfold(x, kernel, stride=1, padding=0, dilation=1):
    return F.unfold(x, kernel, dilation, padding, stride)


def fold(x, size, kernel, stride=1, padding=0, dilation=1):
    return F.fold(x, size, kernel, dilation, padding, stride)


T.case("conv2d", conv2d, [f(2, 3, 5, 6), f(4, 3, 3, 3), f(4)], padding=[1, 1])
T.case("conv2d", conv2d, [f(2, 3, 5, 6), f(4, 3, 2, 3)], stride=[2, 1], padding=[0, 2])
T.case("conv2d", conv2d, [f(2, 4, 7, 7), f(6, 2, 3, 3), f(6)], groups=2, dilation=[2, 1], padding=[2, 1])
T.case("conv2d", conv2d, [f(1, 3, 6, 6), f(6, 1, 3, 3), f(6)], groups=3, stride=[2, 2], padding=[1, 1])
T.case("conv2d", conv2d, [f(2, 3, 4, 4), f(5, 3, 1, 1), f(5)])
T.case("conv2d", conv2d, [f(3, 5, 5), f(4, 3, 3, 3), f(4)])
T.case("conv2d", conv2d, [f(2, 2, 5, 5), f(3, 2, 3, 3), f(3)], padding=[1, 1], relu=True, _gradcheck=False)
T.case("conv2d", conv2d, [f(0, 2, 5, 5), f(3, 2, 3, 3), f(3)])
T.case("conv2d", conv2d, [f(5, 20, 14, 14, low=-1, high=1), f(50, 20, 3, 3, low=-0.1, high=0.1), f(50)], padding=[1, 1], _gradcheck=False,
       _rtol32=1e-4)
T.case("conv1d", conv1d, [f(2, 3, 9), f(4, 3, 3), f(4)], padding=1, stride=2)
T.case("conv1d", conv1d, [f(4, 9), f(4, 2, 3)], groups=2, dilation=2)

T.case("max_pool2d", max_pool2d, [f(2, 3, 8, 8)], kernel=2)
T.case("max_pool2d", max_pool2d, [f(2, 3, 7, 9, low=-5, high=-1)], kernel=3, stride=2, padding=1)
T.case("max_pool2d", max_pool2d, [f(3, 7, 8)], kernel=3, stride=2, padding=1, ceil_mode=True)
T.case("max_pool2d", max_pool2d, [f(2, 2, 9, 9)], kernel=2, stride=1, dilation=3)
T.case("max_pool2d", max_pool2d, [given([[[1.0, float("nan"), 3.0], [4.0, 5.0, float("nan")], [1.0, 1.0, 1.0]]])], kernel=2, stride=1,
       _gradcheck=False)
T.case("max_pool2d", max_pool2d, [f(1, 1, 40, 40)], kernel=20, stride=10, _gradcheck=False)
T.case("max_pool1d", max_pool1d, [f(2, 3, 9)], kernel=2)
T.case("max_pool1d", max_pool1d, [f(3, 9)], kernel=3, stride=2, padding=1, ceil_mode=True)
T.case("max_pool2d", max_pool2d, [f(1, 2, 9, 3)], kernel=4, stride=4, ceil_mode=True, _name="max_pool2d of a window beyond the edge")
T.case("max_pool1d", max_pool1d, [f(1, 2, 3)], kernel=4, stride=2, ceil_mode=True)
T.case("avg_pool2d", avg_pool2d, [f(1, 2, 9, 3)], kernel=4, stride=4, ceil_mode=True, _name="avg_pool2d of a window beyond the edge")
T.case("avg_pool2d", avg_pool2d, [f(2, 3, 8, 8)], kernel=2)
T.case("avg_pool2d", avg_pool2d, [f(2, 3, 7, 8)], kernel=3, stride=2, padding=1)
T.case("avg_pool2d", avg_pool2d, [f(3, 7, 8)], kernel=3, stride=2, padding=1, ceil_mode=True)
T.case("avg_pool2d", avg_pool2d, [f(2, 2, 7, 8)], kernel=3, stride=2, padding=1, ceil_mode=True, exclude_pad=True)
T.case("avg_pool2d", avg_pool2d, [f(2, 2, 5, 5)], kernel=2, divisor=3)
T.case("avg_pool1d", avg_pool1d, [f(2, 3, 9)], kernel=3, stride=2, padding=1)
T.case("avg_pool1d", avg_pool1d, [f(3, 9)], kernel=2, ceil_mode=True, exclude_pad=True)

T.case("unfold", unfold, [f(2, 2, 5, 6)], kernel=3, padding=1)
T.case("unfold", unfold, [f(2, 5, 6)], kernel=2, stride=2, dilation=2)
T.case("fold", fold, [f(2, 8, 20)], size=[5, 6], kernel=2)
T.case("fold", fold, [f(9, 9)], size=[5, 5], kernel=3, stride=2, padding=1)
T.case("fold", fold, [f(2, 12, 9)], size=[5, 6], kernel=2, stride=2, padding=1, dilation=2)
T.case("unfold", unfold, [f(1, 2, 6, 7)], kernel=3, stride=2, padding=2, dilation=2)
T.case("unfold1d", unfold1d, [f(2, 3, 9)], kernel=3)
T.case("unfold1d", unfold1d, [f(3, 9)], kernel=2, stride=3, padding=1, dilation=2)
T.case("fold1d", fold1d, [f(2, 6, 8)], length=9, kernel=2)
T.case("fold1d", fold1d, [f(6, 5)], length=9, kernel=3, stride=2, padding=2, dilation=2)
# Where all of a window is -inf, and padding beside it.
T.case("max_pool2d", max_pool2d, [given([[[-inf, -inf, 1.0], [-inf, -inf, -2.0], [-inf, -inf, -inf]]])], kernel=2, stride=1, padding=1,
       _gradcheck=False)

# ---- nothing, and one element --------------------------------------------------------------------------------------------

T.case("conv2d", conv2d, [f(1, 1, 1, 1), f(1, 1, 1, 1), f(1)])
T.case("conv1d", conv1d, [f(1, 1, 1), f(1, 1, 1), f(1)])
T.case("conv1d", conv1d, [f(0, 2, 5), f(3, 2, 3), f(3)])
for n in (0, 1):
    for name, function in {"max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d, "unfold": unfold}.items():
        T.case(name, function, [f(n, 1, 1, 1)], kernel=1)
    for name, function in {"max_pool1d": max_pool1d, "avg_pool1d": avg_pool1d, "unfold1d": unfold1d}.items():
        T.case(name, function, [f(n, 1, 1)], kernel=1)
    T.case("fold", fold, [f(n, 1, 1)], size=[1, 1], kernel=1)
    T.case("fold1d", fold1d, [f(n, 1, 1)], length=1, kernel=1)

# ---- dtypes --------------------------------------------------------------------------------------------------------------

for dtype in ("float16", "bfloat16"):
    x, line = f(2, 2, 6, 7, dtype=dtype), f(2, 2, 9, dtype=dtype)
    T.case("conv2d", conv2d, [x, f(3, 2, 3, 3, dtype=dtype), f(3, dtype=dtype)], padding=[1, 1])
    T.case("conv1d", conv1d, [line, f(3, 2, 3, dtype=dtype), f(3, dtype=dtype)], stride=2)
    T.case("max_pool2d", max_pool2d, [x], kernel=2)
    T.case("max_pool1d", max_pool1d, [line], kernel=3, padding=1)
    T.case("avg_pool2d", avg_pool2d, [x], kernel=2)
    T.case("avg_pool1d", avg_pool1d, [line], kernel=3)
    T.case("unfold", unfold, [x], kernel=2)
    T.case("unfold1d", unfold1d, [line], kernel=2)
for dtype in ("int64", "int32", "int16", "int8", "uint8"):
    T.case("max_pool2d", max_pool2d, [ints(1, 2, 5, 6, low=0 if dtype == "uint8" else -9, dtype=dtype)], kernel=3, stride=2, padding=1)

T.write()
