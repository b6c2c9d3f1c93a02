"""Writes tests/reference/optim.h: parameters after 50 steps of PyTorch's optimisers in float64 and in float32, on gradients that
test_optim.c makes too; of the first parameter every fourth element. Lion, which PyTorch has not, and Muon without its bfloat16
(muon_exact) are computed by their formulas. Writes files/optim.pt too: what some of the float64 runs are after 40 steps, saved as
PyTorch's programs save a checkpoint. Run: python tests/reference/make_optim.py"""
import copy
import os

import torch

from ops_common import fill

SHAPES = [(5, 7), (3,), (1,)]
MATRICES = [(5, 7), (3, 1), (2, 2)]


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0, maximize=False):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = -p.grad if group["maximize"] else p.grad
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * torch.sign(b1 * m + (1 - b1) * g))
                m.mul_(b2).add_((1 - b2) * g)


class ExactMuon(torch.optim.Muon):
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            a, b, c = group["ns_coefficients"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                x = p.grad.lerp(m, group["momentum"]) if group["nesterov"] else m.clone()
                tall = x.shape[0] > x.shape[1]
                x = x.T if tall else x
                x = x / x.norm().clamp(min=group["eps"])
                for _ in range(group["ns_steps"]):
                    gram = x @ x.T
                    x = a * x + (b * gram + c * gram @ gram) @ x
                x = x.T if tall else x
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(torch.optim._muon._adjust_lr(group["lr"], group["adjust_lr_fn"], p.shape) * x)


O = torch.optim
CASES = [
    ("sgd", O.SGD, dict(lr=0.1)),
    ("sgd_decay_maximize", O.SGD, dict(lr=0.1, weight_decay=0.01, maximize=True)),
    ("sgd_momentum", O.SGD, dict(lr=0.05, momentum=0.9)),
    ("sgd_dampening", O.SGD, dict(lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.02)),
    ("sgd_nesterov", O.SGD, dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.02)),
    ("adam", O.Adam, dict(lr=0.01)),
    ("adam_betas", O.Adam, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05)),
    ("adam_amsgrad", O.Adam, dict(lr=0.02, amsgrad=True, maximize=True)),
    ("adamw", O.AdamW, dict(lr=0.02)),
    ("adamw_options", O.AdamW, dict(lr=0.02, weight_decay=0.1, betas=(0.7, 0.9), amsgrad=True, maximize=True)),
    ("nadam", O.NAdam, dict(lr=0.01)),
    ("nadam_options", O.NAdam, dict(lr=0.02, betas=(0.8, 0.95), weight_decay=0.1, momentum_decay=0.05, maximize=True)),
    ("nadam_decoupled", O.NAdam, dict(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True)),
    ("radam", O.RAdam, dict(lr=0.02)),
    ("radam_options", O.RAdam, dict(lr=0.02, betas=(0.8, 0.9), eps=1e-5, weight_decay=0.1, maximize=True)),
    ("radam_decoupled", O.RAdam, dict(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True)),
    ("adamax", O.Adamax, dict(lr=0.01)),
    ("adamax_options", O.Adamax, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, maximize=True)),
    ("adagrad", O.Adagrad, dict(lr=0.1)),
    ("adagrad_options", O.Adagrad, dict(lr=0.1, lr_decay=0.02, weight_decay=0.1, initial_accumulator_value=0.5, eps=1e-4, maximize=True)),
    ("adadelta", O.Adadelta, dict(lr=1)),
    ("adadelta_options", O.Adadelta, dict(lr=2, rho=0.8, eps=1e-3, weight_decay=0.1, maximize=True)),
    ("rmsprop", O.RMSprop, dict(lr=0.01)),
    ("rmsprop_momentum", O.RMSprop, dict(lr=0.01, alpha=0.9, momentum=0.8, weight_decay=0.1)),
    ("rmsprop_centered", O.RMSprop, dict(lr=0.01, eps=1e-3, centered=True, maximize=True)),
    ("rmsprop_all", O.RMSprop, dict(lr=0.01, alpha=0.95, momentum=0.5, centered=True, weight_decay=0.1)),
    ("lion", Lion, dict(lr=0.01)),
    ("lion_options", Lion, dict(lr=0.01, betas=(0.8, 0.95), weight_decay=0.3, maximize=True)),
    ("muon", O.Muon, dict(lr=0.02)),
    ("muon_options", O.Muon, dict(lr=0.02, weight_decay=0.3, momentum=0.8, nesterov=False, ns_steps=3, adjust_lr_fn="match_rms_adamw")),
    ("muon_exact", ExactMuon, dict(lr=0.02)),
    ("muon_exact_options", ExactMuon, dict(lr=0.02, weight_decay=0.3, momentum=0.8, ns_coefficients=(3.0, -4.0, 2.0), ns_steps=3,
                                           adjust_lr_fn="spectral_unclamped")),
    ("groups", O.Adam, dict(lr=0.01, weight_decay=0.1)),  # the last two parameters with options of their own
]
SAVED = ["sgd_nesterov", "adam_amsgrad", "adamw", "nadam_options", "radam_options", "adamax_options", "adagrad_options", "adadelta_options",
         "rmsprop_all", "muon_exact_options", "groups"]
saved = {}


def run(name, kind, options, dtype, steps):
    torch.set_default_dtype(dtype)  # NAdam's mu_product has it
    shapes = MATRICES if "muon" in name else SHAPES
    params = [torch.nn.Parameter(fill(100 + i, torch.Size(s).numel(), -1, 1).reshape(s).to(dtype)) for i, s in enumerate(shapes)]
    if name == "groups":
        optim = kind([dict(params=params[:1]), dict(params=params[1:], lr=0.05, betas=(0.5, 0.9), maximize=True)], foreach=False, **options)
    elif kind in (Lion, O.Muon, ExactMuon):
        optim = kind(params, **options)
    else:
        optim = kind(params, foreach=False, **options)
    for t in range(steps):
        if t == 40 and name in SAVED and dtype == torch.float64:
            model = {str(i): p.data for i, p in enumerate(params)}
            saved[name] = copy.deepcopy({"model": model, "optim": optim.state_dict()})
        for i, p in enumerate(params):
            # The last parameter has no gradient in every third step.
            p.grad = None if i == 2 and t % 3 == 1 else fill(1000 * t + i, p.numel(), -1, 2).reshape(p.shape).to(dtype)
        optim.step()
    flat = [p.detach().reshape(-1) for p in params]
    return torch.cat([flat[0][::4], flat[1], flat[2]]).tolist()


here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "optim.h"), "w") as out:
    out.write("/* Written by make_optim.py with PyTorch %s. */\n" % torch.__version__.split("+")[0])
    for name, kind, options in CASES:
        for suffix, dtype, steps, digits in (("f64", torch.float64, 50, 17), ("f32", torch.float32, 50, 9)):
            values = ["%.*g" % (digits, v) for v in run(name, kind, options, dtype, steps)]
            rows = ["    " + ", ".join(values[i:i + 5]) for i in range(0, len(values), 5)]
            out.write("static const double %s_%s[] = {\n%s,\n};\n" % (name, suffix, ",\n".join(rows)))
torch.save(saved, os.path.join(here, "files", "optim.pt"))
