"""Writes tests/reference/optim.h: parameters after 50 steps of PyTorch's optimisers in float64 and in float32, on gradients that
test_optim.c makes too. Run: python tests/reference/make_optim.py"""
import os

import torch

from ops_common import fill

SHAPES = [(5, 7), (3,), (1,)]
CASES = [
    ("sgd", torch.optim.SGD, dict(lr=0.1)),
    ("sgd_decay_maximize", torch.optim.SGD, dict(lr=0.1, weight_decay=0.01, maximize=True)),
    ("sgd_momentum", torch.optim.SGD, dict(lr=0.05, momentum=0.9)),
    ("sgd_dampening", torch.optim.SGD, dict(lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.02)),
    ("sgd_nesterov", torch.optim.SGD, dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.02)),
    ("adam", torch.optim.Adam, dict(lr=0.01)),
    ("adam_betas", torch.optim.Adam, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05)),
    ("adam_amsgrad", torch.optim.Adam, dict(lr=0.02, amsgrad=True, maximize=True)),
    ("adamw", torch.optim.AdamW, dict(lr=0.02, weight_decay=0.1)),
]


def run(kind, options, dtype, steps):
    params = [torch.nn.Parameter(fill(100 + i, torch.Size(s).numel(), -1, 1).reshape(s).to(dtype)) for i, s in enumerate(SHAPES)]
    optim = kind(params, foreach=False, fused=False, **options)
    for t in range(steps):
        for i, p in enumerate(params):
            # The last parameter has no gradient in every third step.
            p.grad = None if i == 2 and t % 3 == 1 else fill(1000 * t + i, p.numel(), -1, 2).reshape(p.shape).to(dtype)
        optim.step()
    return torch.cat([p.detach().reshape(-1) for p in params]).tolist()


here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "optim.h"), "w") as out:
    out.write("/* Written by make_optim.py with PyTorch %s. */\n" % torch.__version__.split("+")[0])
    for name, kind, options in CASES:
        for suffix, dtype, steps, digits in (("f64", torch.float64, 50, 17), ("f32", torch.float32, 50, 9)):
            values = ["%.*g" % (digits, v) for v in run(kind, options, dtype, steps)]
            rows = ["    " + ", ".join(values[i:i + 5]) for i in range(0, len(values), 5)]
            out.write("static const double %s_%s[] = {\n%s,\n};\n" % (name, suffix, ",\n".join(rows)))
