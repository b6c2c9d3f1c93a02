"""The cases of the recurrent layers and cells: python3 tests/reference/layers_recurrent.py"""
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from layers_common import Layers, f, given

L = Layers("recurrent")
KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CELLS = {"rnn_cell": nn.RNNCell, "lstm_cell": nn.LSTMCell, "gru_cell": nn.GRUCell}


def spread(y, state):
    return (y, *state) if isinstance(state, tuple) else (y, state)


def layer_of(kind):
    def make(sizes, enforce_sorted=True, total=None, padding=0, **options):
        return KINDS[kind](*sizes, **options)
    return make


def state_of(h, c):
    return h if c is None else (h, c)


def call_layer(module, x, h=None, c=None, **args):
    return spread(*module(x, state_of(h, c)))


def call_packed(module, x, lengths, h=None, c=None, batch_first=False, enforce_sorted=True, total=None, padding=0.0, **args):
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=enforce_sorted)
    y, state = module(packed, state_of(h, c))
    padded, back = pad_packed_sequence(y, batch_first=batch_first, padding_value=padding, total_length=total)
    return (*spread(padded, state), back)


def call_cell(module, x, h=None, c=None, **args):
    out = module(x, state_of(h, c))
    return out if isinstance(out, tuple) else (out,)


def states(kind, *shape, proj_size=0):
    return [f(*shape[:-1], k or shape[-1], low=-1, high=1) for k in ([proj_size, 0] if kind == "lstm" else [0])]


def layer(kind, steps, batch, sizes, state=True, **options):
    """A case over sequences; batch None: one sequence without the dim."""
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    if count > 1 or batch is None:
        options["_second"] = False  # second derivatives take long
    shape = (steps, sizes[0]) if batch is None else (batch, steps, sizes[0]) if options.get("batch_first") else (steps, batch, sizes[0])
    first = states(kind, count, *(() if batch is None else (batch,)), sizes[1], proj_size=options.get("proj_size", 0)) if state else []
    L.case(kind, layer_of(kind), [f(*shape)] + first, sizes=sizes, _call=call_layer, **options)


def packed(kind, lengths, sizes, state=True, extra=0, **options):
    steps, batch = max(lengths) + extra, len(lengths)
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    if count > 1:
        options["_second"] = False
    shape = (batch, steps, sizes[0]) if options.get("batch_first") else (steps, batch, sizes[0])
    first = states(kind, count, batch, sizes[1], proj_size=options.get("proj_size", 0)) if state else []
    said = "".join(f" {k}={v}" for k, v in options.items() if k[0] != "_")
    L.case("packed_" + kind, layer_of(kind), [f(*shape), given(lengths, dtype="int64")] + first, sizes=sizes, _call=call_packed,
           _name=f"packed_{kind} {lengths}{' state' if state else ''}{said}", **options)


for kind in KINDS:
    relu = [{}, {"nonlinearity": "relu"}] if kind == "rnn" else [{}]
    for more in relu:
        layer(kind, 3, 2, [3, 2], **more)
        layer(kind, 3, 2, [2, 3], state=False, **more)
        layer(kind, 4, 2, [3, 2], bias=False, **more)
        layer(kind, 3, 3, [2, 2], batch_first=True, **more)
        layer(kind, 3, 2, [2, 2], bidirectional=True, **more)
        layer(kind, 2, 2, [2, 2], num_layers=2, **more)
        layer(kind, 3, None, [2, 3], **more)
        layer(kind, 1, 1, [3, 3], **more)
        layer(kind, 7, 5, [4, 17], **more)
        layer(kind, 5, 30, [3, 33], state=False, **more)
    layer(kind, 1, 4, [3, 2])
    layer(kind, 6, 1, [2, 3])
    layer(kind, 2, None, [2, 2], batch_first=True, bidirectional=True, num_layers=2)
    layer(kind, 3, 2, [2, 2], num_layers=3, bidirectional=True, bias=False)
    layer(kind, 3, 2, [3, 2], num_layers=2, bidirectional=True, batch_first=True)
    layer(kind, 3, 2, [2, 2], num_layers=2, dropout=1.0)
    layer(kind, 4, 2, [2, 3], num_layers=2, dropout=0.5, _train=False)
    layer(kind, 5, 3, [1, 64], bidirectional=True, state=False)
    layer(kind, 3, 70, [2, 40])
    layer(kind, 2, 13, [3, 300], bias=False)
    packed(kind, [3, 2, 1], [2, 2])
    packed(kind, [3, 3, 3], [2, 2])
    packed(kind, [4, 1], [2, 2], state=False)
    packed(kind, [1], [2, 3])
    packed(kind, [1, 1, 1], [2, 2])
    packed(kind, [2, 4, 3], [2, 2], enforce_sorted=False)
    packed(kind, [2, 4, 3], [2, 2], enforce_sorted=False, bidirectional=True)
    packed(kind, [3, 2], [2, 2], bidirectional=True)
    packed(kind, [3, 1, 1], [2, 2], batch_first=True, num_layers=2)
    packed(kind, [1, 3, 2], [2, 2], batch_first=True, enforce_sorted=False, num_layers=2, bidirectional=True)
    packed(kind, [3, 2, 2], [2, 2], extra=2, total=5, padding=-1.5)
    packed(kind, [2, 1], [2, 2], bias=False, total=4, batch_first=True)
    packed(kind, [5, 9, 1, 9, 3, 7], [5, 19], enforce_sorted=False, bidirectional=True, num_layers=2)
    packed(kind, [4, 3] + [2] * 40 + [1] * 20, [3, 16], bidirectional=True)
layer("lstm", 3, 2, [3, 4], proj_size=2)
layer("lstm", 3, 2, [2, 3], proj_size=1, state=False)
layer("lstm", 4, 2, [3, 3], proj_size=2, bias=False, batch_first=True)
layer("lstm", 3, None, [2, 3], proj_size=2)
layer("lstm", 1, 3, [2, 3], proj_size=2)
layer("lstm", 3, 2, [2, 3], proj_size=2, num_layers=3)
layer("lstm", 3, 2, [2, 3], proj_size=2, bidirectional=True)
layer("lstm", 3, 2, [3, 4], proj_size=3, num_layers=2, bidirectional=True, bias=False)
layer("lstm", 4, 2, [2, 3], proj_size=2, num_layers=2, dropout=0.5, _train=False)
layer("lstm", 4, 9, [5, 33], proj_size=17)
packed("lstm", [3, 2, 1], [2, 3], proj_size=2)
packed("lstm", [2, 4, 3], [2, 3], proj_size=2, enforce_sorted=False, bidirectional=True)
packed("lstm", [1, 3, 2], [2, 3], proj_size=1, batch_first=True, enforce_sorted=False, num_layers=2, bidirectional=True)
packed("lstm", [4, 1], [2, 3], proj_size=2, state=False, bias=False, total=5)
for kind in CELLS:
    for more in [{}, {"nonlinearity": "relu"}] if kind == "rnn_cell" else [{}]:
        def cell(shape, state, sizes, **options):
            first = states(kind.removesuffix("_cell"), *shape[:-1], sizes[1]) if state else []
            L.case(kind, lambda sizes, **options: CELLS[kind](*sizes, **options), [f(*shape)] + first, sizes=sizes, _call=call_cell, **options)
        cell((2, 3), True, [3, 2], **more)
        cell((2, 3), False, [3, 2], **more)
        cell((3, 2), True, [2, 2], bias=False, **more)
        cell((3,), True, [3, 2], **more)
        cell((3,), False, [3, 2], **more)
        cell((1, 2), True, [2, 3], **more)
        cell((9, 5), True, [5, 35], **more)
L.write()
