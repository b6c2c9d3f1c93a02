"""Writes tests/reference/schedule.h: the learning rates of PyTorch's schedules at their start and after each of 200 steps, as pairs of a
value and how often it comes in a row; <name>_1 are those of the second group, <name>_m the momentum's (or beta1's). test_schedule.c
makes the same schedules. Writes files/schedule.pt too: their states, and the optimisers', after 97 steps. Run: python tests/reference/make_schedule.py"""
import copy
import os
import warnings

import torch
from torch.optim import lr_scheduler as S

from ops_common import fill

STEPS = 200
SAVED = 97
NOISE = fill(77, STEPS, 0, 1).tolist()


def metric(e):
    return max(0.2, 1 - e / 60) + 0.05 * NOISE[e]


def two(lr1=0.3, kind=torch.optim.SGD, **options):
    a, b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    return kind([dict(params=[a]), dict(params=[b], lr=lr1)], lr=0.1, **options)


def sgd():
    return two(momentum=0.9)


def adam():
    return two(kind=torch.optim.Adam)


CASES = [
    ("step", sgd, lambda o: S.StepLR(o, 30, gamma=0.5)),
    ("multi_step", sgd, lambda o: S.MultiStepLR(o, [60, 10, 60, 120], gamma=0.3)),
    ("exponential", sgd, lambda o: S.ExponentialLR(o, 0.98)),
    ("constant", sgd, lambda o: S.ConstantLR(o)),
    ("constant_options", sgd, lambda o: S.ConstantLR(o, 0.25, 50)),
    ("linear", sgd, lambda o: S.LinearLR(o)),
    ("linear_options", sgd, lambda o: S.LinearLR(o, 0.1, 0.6, 120)),
    ("polynomial", sgd, lambda o: S.PolynomialLR(o, 150)),
    ("polynomial_options", sgd, lambda o: S.PolynomialLR(o, 220, 2.5)),
    ("constant_0", sgd, lambda o: S.ConstantLR(o, 0.25, 0)),
    ("linear_0", sgd, lambda o: S.LinearLR(o, 0.1, 0.6, 0)),
    ("polynomial_0", sgd, lambda o: S.PolynomialLR(o, 0)),
    ("cosine", sgd, lambda o: S.CosineAnnealingLR(o, 60)),
    ("cosine_options", sgd, lambda o: S.CosineAnnealingLR(o, 37, eta_min=0.004)),
    ("restarts", sgd, lambda o: S.CosineAnnealingWarmRestarts(o, 40)),
    ("restarts_options", sgd, lambda o: S.CosineAnnealingWarmRestarts(o, 10, T_mult=2, eta_min=0.002)),
    ("one_cycle", sgd, lambda o: S.OneCycleLR(o, 0.5, total_steps=200)),
    ("one_cycle_options", adam, lambda o: S.OneCycleLR(o, [0.5, 0.7], total_steps=201, pct_start=0.4, anneal_strategy="linear", base_momentum=0.6,
                                                       max_momentum=0.8, div_factor=10, final_div_factor=100, three_phase=True)),
    ("cyclic", sgd, lambda o: S.CyclicLR(o, 0.01, 0.1, step_size_up=15)),
    ("cyclic_options", adam, lambda o: S.CyclicLR(o, [0.01, 0.02], [0.1, 0.3], step_size_up=10, step_size_down=25, mode="triangular2",
                                                  base_momentum=0.5, max_momentum=0.7)),
    ("cyclic_exp", sgd, lambda o: S.CyclicLR(o, 0.01, 0.1, step_size_up=12, mode="exp_range", gamma=0.99, cycle_momentum=False)),
    ("plateau", sgd, lambda o: S.ReduceLROnPlateau(o, factor=0.5, patience=3, cooldown=4)),
    ("plateau_options", sgd, lambda o: S.ReduceLROnPlateau(o, mode="max", factor=0.7, patience=6, threshold=0.01, threshold_mode="abs",
                                                           min_lr=[0.003, 0.02], eps=1e-4)),
    ("lambda", sgd, lambda o: S.LambdaLR(o, [lambda e: 0.95 ** e, lambda e: 2 * 0.95 ** e])),
    ("sequential", sgd, lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.1, total_iters=10), S.CosineAnnealingLR(o, 60), S.ExponentialLR(o, 0.97)],
                                                 [10, 90])),
    ("sequential_restarts", sgd, lambda o: S.SequentialLR(o, [S.ConstantLR(o), S.StepLR(o, 7), S.CosineAnnealingWarmRestarts(o, 20, 2)], [20, 41])),
    ("sequential_0", sgd, lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.1, total_iters=0), S.ConstantLR(o, 0.25, 0), S.ExponentialLR(o, 0.97)],
                                                   [10, 90])),
    ("sequential_late", sgd, lambda o: S.SequentialLR(o, [S.ConstantLR(o, 0.5, 20), S.StepLR(o, 7)], [150])),
    ("chained", sgd, lambda o: S.ChainedScheduler([S.ConstantLR(o, 0.3, 20), S.ExponentialLR(o, 0.99)])),
    ("chained_three", sgd, lambda o: S.ChainedScheduler([S.LinearLR(o, total_iters=50), S.MultiStepLR(o, [70]), S.CosineAnnealingLR(o, 250)])),
    ("chained_sequential", sgd, lambda o: S.ChainedScheduler([S.SequentialLR(o, [S.ConstantLR(o), S.ExponentialLR(o, 0.9)], [30]),
                                                              S.ExponentialLR(o, 0.995)])),
]


def momentum(group):
    return group["betas"][0] if "betas" in group else group["momentum"]


saved = {}


def run(name, make_optim, make):
    optim = make_optim()
    schedule = make(optim)
    rows = [[], [], []]
    for e in range(STEPS + 1):
        if e and isinstance(schedule, S.ReduceLROnPlateau):
            schedule.step(metric(e - 1) if schedule.mode == "min" else -metric(e - 1))
        elif e:
            schedule.step()
        if e == SAVED:
            saved[name] = copy.deepcopy({"schedule": schedule.state_dict(), "optim": optim.state_dict()})
        a, b = optim.param_groups
        for row, value in zip(rows, (a["lr"], b["lr"], momentum(a))):
            row.append(value)
    return rows


def runs(values):
    out = []
    for v in values:
        v = "%.10g" % v
        if out and out[-1][0] == v:
            out[-1][1] += 1
        else:
            out.append([v, 1])
    return out


warnings.simplefilter("ignore")
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "schedule.h"), "w") as out:
    out.write("/* Written by make_schedule.py with PyTorch %s. */\n" % torch.__version__.split("+")[0])
    for name, make_optim, make in CASES:
        first, second, moment = run(name, make_optim, make)
        proportional = all(abs(b - 3 * a) <= 1e-12 for a, b in zip(first, second))
        same = all(abs(b - a) <= 1e-12 for a, b in zip(first, second))
        rows = [("", first)] + ([] if proportional or same else [("_1", second)]) + ([("_m", moment)] if len(set(moment)) > 1 else [])
        for suffix, values in rows:
            pairs = ["%s,%d" % tuple(p) for p in runs(values)]
            lines, line = [], "   "
            for p in pairs:
                if len(line) + len(p) + 2 > 138:
                    lines.append(line)
                    line = "   "
                line += " " + p + ","
            out.write("static const double %s%s[] = {\n%s\n};\n" % (name, suffix, "\n".join(lines + [line])))
torch.save(saved, os.path.join(here, "files", "schedule.pt"))
