"""Writes the layers' reference cases: what a PyTorch module makes, in float64, of weights and inputs that the tests make again.

    from layers_common import Layers, f, ints, bools, given
    L = Layers("norm")
    L.case("layer_norm", lambda shape, eps=1e-5: torch.nn.LayerNorm(shape, eps), [f(4, 6)], shape=[6])
    L.write()                                  # tests/reference/layers_norm.json, for tests/test_layers_norm.c

The function makes the module from the case's arguments, which the row in C gets by name too. Every tensor of its state_dict, at place i, is
filled by ops_common.fill with seed 100 + i (so a C module whose state_dict has other names or shapes cannot load it), the inputs as in
ops_common; an input None stays None (NULL). A case runs in train and in eval mode: where the two agree, one case serves both.
Kept of each result: its shape, its largest value, a sum weighted by the formula, which sees every element, and a few elements.

Options of a case, by a leading underscore: _call=function(module, *inputs, **args) (how it is called, where not by the inputs alone;
a row of C has its own call then), _calls=3 (so many calls, of which the last is compared: running statistics), _state={"name": (low, high)}
(the range of a tensor, else ±0.6; for running_var 0.5 to 2), _train=True or False (that mode alone), _gradcheck=False, _second=False,
_grads=False (no backward), _rtol32, _rtol64, _f32=False, _name.
"""
import json
import os

import torch

from ops_common import Family, bools, f, fill, flat, given, ints  # noqa: F401

FEW = 6  # elements kept of a result
SUM_SEED, STATE_SEED = 77, 100


def rounded(v):
    return v if isinstance(v, (str, int)) else float("%.12g" % v)


def result(x, **more):
    r = {"shape": list(x.shape), **more}
    if x.dtype != torch.float64:
        r["dtype"] = str(x.dtype).removeprefix("torch.")
    v = x.detach().to(torch.float64).reshape(-1)
    n = v.numel()
    if n:
        step = -(-n // FEW) | 1
        finite = v[v.isfinite()]
        r["max"] = float("%.3g" % (finite.abs().max().item() if finite.numel() else 0))
        r["sum"] = rounded(flat((v * fill(SUM_SEED, n, -1, 1)).sum())[0])
        r["step"] = step
        r["data"] = [rounded(e) for e in flat(v[::step])]
    return r


def fill_state(module, ranges):
    state = []
    for i, (name, x) in enumerate(module.state_dict().items()):
        low, high = ranges.get(name, (0.5, 2.0) if name.endswith("running_var") else (-0.6, 0.6) if x.is_floating_point() else (3, 3))
        values = fill(STATE_SEED + i, x.numel(), low, high).reshape(x.shape)
        with torch.no_grad():
            x.copy_(values if x.is_floating_point() else values.floor())
        state.append([name, list(x.shape), low, high] + ([] if x.is_floating_point() else [str(x.dtype).removeprefix("torch.")]))
    return state


class Layers(Family):
    def write(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"layers_{self.name}.json")
        with open(path, "w") as file:
            file.write('{"family": "%s", "torch": "%s", "cases": [\n' % (self.name, torch.__version__.split("+")[0]))
            file.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in self.cases))
            file.write("\n]}\n")
        print(f"{path}: {len(self.cases)} cases, {os.path.getsize(path) // 1024} KiB")

    def run(self, make, inputs, args, options, train):
        """The results of one mode: outputs, grads, params and buffers."""
        module = make(**args).double().train(train)
        state = fill_state(module, options.get("state", {}))
        made = [(None, None) if spec is None else self.make(spec, k) for k, spec in enumerate(inputs)]
        grads = options.get("grads", True)
        x = [None if t is None else t.clone().requires_grad_(grads and spec["dtype"] == "float")
             for (t, _), spec in zip(made, inputs)]
        call = options.get("call", lambda module, *x, **args: module(*x))
        for _ in range(options.get("calls", 1)):
            y = call(module, *x, **args)
        outputs = list(y) if isinstance(y, (tuple, list)) else [y]
        found = {"outputs": [result(t, **({"weighted": True} if grads and t.requires_grad else {})) for t in outputs]}
        loss = sum((t * fill(1000 + k, t.numel(), -1, 1).reshape(t.shape)).sum() for k, t in enumerate(outputs) if t.requires_grad)
        if grads and torch.is_tensor(loss):
            loss.backward()
            found["grads"] = [None if t is None or t.grad is None else result(t.grad) for t in x]
            found["params"] = {n: result(p.grad) for n, p in module.named_parameters() if p.grad is not None}
        found["buffers"] = {n: result(b) for n, b in module.state_dict().items() if n in dict(module.named_buffers())}
        return {k: v for k, v in found.items() if v}, state, [j for _, j in made]

    def case(self, layer, make, inputs, **args):
        options = {k[1:]: args.pop(k) for k in list(args) if k.startswith("_")}
        shapes = " ".join("-" if s is None else str(list(self.make(s, 0)[0].shape)).replace(" ", "") for s in inputs)
        said = "".join(f" {k}={v}" for k, v in args.items())
        modes = [options["train"]] if "train" in options else [True, False]
        done = {train: self.run(make, inputs, args, options, train) for train in modes}
        alike = len(done) == 2 and done[True] == done[False]
        for train, (found, state, made) in done.items():
            if alike and not train:
                continue
            case = {"layer": layer, "name": options.get("name", f"{layer} {shapes}{said}") + ("" if alike else " train" if train else " eval")}
            case |= {k: v for k, v in options.items() if k not in ("name", "call", "state", "grads", "train")}
            if not alike:
                case["train"] = train
            if args:
                case["args"] = args
            self.cases.append(case | {"inputs": made, "state": state} | found)
