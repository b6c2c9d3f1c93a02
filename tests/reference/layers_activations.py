"""The cases of the activations as layers: python3 tests/reference/layers_activations.py"""
from torch import nn

from layers_common import Layers, f, given

L = Layers("activations")
INF, NAN = float("inf"), float("nan")

PLAIN = {"relu": nn.ReLU, "silu": nn.SiLU, "mish": nn.Mish, "hardswish": nn.Hardswish, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
         "relu6": nn.ReLU6, "selu": nn.SELU, "log_sigmoid": nn.LogSigmoid, "hardsigmoid": nn.Hardsigmoid, "softsign": nn.Softsign,
         "tanhshrink": nn.Tanhshrink}
# PyTorch's own gradients of hardsigmoid and, for an alpha that is no float, of celu use a constant in float32 (seen against exp in f64).
LOOSE = {"hardsigmoid": {"_rtol64": 1e-8}}
for name, module in PLAIN.items():
    L.case(name, module, [f(3, 5, low=-8, high=8)], **LOOSE.get(name, {}))
# Far out: nothing overflows, nothing is lost.
for name in ("log_sigmoid", "selu", "softsign", "hardsigmoid", "tanhshrink"):
    L.case(name, PLAIN[name], [given([-200.0, -50.0, -20.5, -1e-6, 1e-6, 20.5, 39.0, 50.0, 200.0])], _gradcheck=False,
           **LOOSE.get(name, {}))
    L.case(name, PLAIN[name], [given([INF, -INF])], _gradcheck=False, **LOOSE.get(name, {}), _name=f"{name} at infinity")
# At the corners themselves.
for name in ("relu", "relu6", "hardsigmoid"):
    L.case(name, PLAIN[name], [given([-3.0, 0.0, 3.0, 6.0])], _gradcheck=False, **LOOSE.get(name, {}))

L.case("leaky_relu", lambda negative_slope: nn.LeakyReLU(negative_slope), [f(3, 5)], negative_slope=0.2)
L.case("elu", lambda alpha: nn.ELU(alpha), [f(3, 5)], alpha=1.5)
L.case("gelu", lambda tanh: nn.GELU("tanh" if tanh else "none"), [f(3, 5)], tanh=False)
L.case("gelu", lambda tanh: nn.GELU("tanh" if tanh else "none"), [f(3, 5)], tanh=True)
L.case("softplus", lambda beta, threshold: nn.Softplus(beta, threshold), [f(3, 5)], beta=2.0, threshold=1.5)
L.case("softmax", lambda dim: nn.Softmax(dim), [f(2, 3, 4)], dim=1)
L.case("log_softmax", lambda dim: nn.LogSoftmax(dim), [f(2, 3, 4)], dim=-1)
L.case("softmin", lambda dim: nn.Softmin(dim), [f(2, 3, 4)], dim=1)
hardtanh = lambda low, high: nn.Hardtanh(low, high)  # noqa: E731
L.case("hardtanh", hardtanh, [f(3, 5)], low=-1.0, high=1.0)
L.case("hardtanh", hardtanh, [given([-0.5, 0.25, 0.75, 1.5])], low=-0.5, high=0.75, _gradcheck=False)
L.case("celu", lambda alpha: nn.CELU(alpha), [f(3, 5)], alpha=1.0)
L.case("celu", lambda alpha: nn.CELU(alpha), [f(3, 5, low=-5, high=5)], alpha=0.6, _rtol64=1e-8)
L.case("celu", lambda alpha: nn.CELU(alpha), [given([-100.0, 0.0, 100.0])], alpha=2.0, _gradcheck=False)
L.case("hardshrink", lambda lambd: nn.Hardshrink(lambd), [f(3, 5)], lambd=0.5)
L.case("hardshrink", lambda lambd: nn.Hardshrink(lambd), [given([-1.0, -0.75, 0.0, 0.75, 1.0])], lambd=0.75, _gradcheck=False)
L.case("softshrink", lambda lambd: nn.Softshrink(lambd), [f(3, 5)], lambd=0.5)
L.case("softshrink", lambda lambd: nn.Softshrink(lambd), [given([-1.0, -0.75, 0.0, 0.75, 1.0])], lambd=0.75, _gradcheck=False)
for name, module in ("hardshrink", nn.Hardshrink), ("softshrink", nn.Softshrink):
    L.case(name, lambda lambd, module=module: module(lambd), [given([INF, -INF, NAN])], lambd=0.75, _gradcheck=False, _grads=False, _name=f"{name} of special values")
L.case("threshold", lambda threshold, value: nn.Threshold(threshold, value), [f(3, 5)], threshold=0.3, value=-7.0)
L.case("threshold", lambda threshold, value: nn.Threshold(threshold, value), [given([0.0, 0.25, 0.5])], threshold=0.25, value=9.0, _gradcheck=False)
L.case("glu", lambda dim: nn.GLU(dim), [f(2, 4, 6)], dim=-1)
L.case("glu", lambda dim: nn.GLU(dim), [f(2, 4, 6)], dim=1)
L.case("glu", lambda dim: nn.GLU(dim), [f(0, 4)], dim=1)

prelu = lambda count: nn.PReLU(count)  # noqa: E731
L.case("prelu", prelu, [f(3, 5)], count=1)
L.case("prelu", prelu, [f(3, 4)], count=4)
L.case("prelu", prelu, [f(2, 3, 2, 4)], count=3)
L.case("prelu", prelu, [f(7)], count=1)
L.case("prelu", prelu, [given([[-1.0, 0.0, 2.0]])], count=3, _gradcheck=False)
L.case("prelu", prelu, [f(0, 3, 2)], count=3)

for shape in ((3, 4), (2, 3, 2)):
    L.case("flatten", lambda: nn.Flatten(), [f(*shape)])
L.case("identity", lambda: nn.Identity(), [f(3, 4)])
L.case("dropout", lambda p: nn.Dropout(p), [f(3, 4)], p=0.5, _train=False)
L.case("dropout", lambda p: nn.Dropout(p), [f(3, 4)], p=0.0)
L.case("dropout", lambda p: nn.Dropout(p), [f(3, 4)], p=1.0, _train=True)
L.write()
