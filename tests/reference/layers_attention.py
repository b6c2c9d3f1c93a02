"""The cases of attention and transformer layers: python3 tests/reference/layers_attention.py"""
import torch
from torch import nn

from layers_common import Layers, bools, f, given

L = Layers("attention")
inf = float("inf")


def attention(embed_dim, num_heads, bias=True, kdim=None, vdim=None, batch_first=False, is_causal=False,
              average_attn_weights=True, **more):
    return nn.MultiheadAttention(embed_dim, num_heads, bias=bias, kdim=kdim, vdim=vdim, batch_first=batch_first, **more)


def causal(l, s):
    return torch.ones(l, s, dtype=torch.bool).triu(1)


def plain(module, q, k, v, padding=None, mask=None, is_causal=False, batch_first=False, **_):
    if is_causal:
        l, s = (x.shape[-2] if batch_first or x.dim() == 2 else x.shape[0] for x in (q, k))
        mask = causal(l, s) if mask is None else mask | causal(l, s)
    return module(q, k, v, padding, False, mask)[0]


def alone(module, x, **args):
    return plain(module, x, x, x, **args)


def seen(module, q, k, v, padding=None, mask=None, is_causal=False, batch_first=False, average_attn_weights=True, **_):
    if is_causal:
        mask = causal(q.shape[0], k.shape[0])
    return module(q, k, v, padding, True, mask, average_attn_weights)


def padding(*lengths, size):
    return given([[j >= n for j in range(size)] for n in lengths], dtype="bool")


def mha(inputs, call=plain, **args):
    L.case("attention_seen" if call is seen else "attention", attention, inputs, _call=call, **args)


e = {"embed_dim": 6, "num_heads": 2}
q, k = f(3, 2, 6), f(4, 2, 6)
mha([q, k, k], **e)
mha([q, k, f(4, 2, 6)], **e, bias=False)
mha([f(2, 3, 6), f(2, 4, 6), f(2, 4, 6)], **e, batch_first=True)
mha([f(3, 6), f(4, 6), f(4, 6)], **e)
mha([f(3, 6), f(4, 6), f(4, 6)], **e, batch_first=True)
mha([q, f(4, 2, 5), f(4, 2, 3)], **e, kdim=5, vdim=3)
mha([q, f(4, 2, 6), f(4, 2, 3)], **e, vdim=3, bias=False)
mha([q, k, k, padding(2, 4, size=4)], **e)
mha([q, k, k, padding(0, 4, size=4)], **e)
mha([f(2, 3, 6), f(2, 4, 6), f(2, 4, 6), padding(3, 1, size=4)], **e, batch_first=True)
mha([q, k, k, f(2, 4)], **e)
mha([q, k, k, None, bools(3, 4)], **e)
mha([q, k, k, None, bools(4, 3, 4)], **e)
mha([q, k, k, None, f(3, 4)], **e)
mha([q, k, k, None, f(4, 3, 4)], **e)
mha([q, k, k, padding(2, 3, size=4), bools(3, 4)], **e)
mha([q, k, k, f(2, 4), f(3, 4)], **e)
mha([f(3, 6), f(4, 6), f(4, 6), given([0, 0, 1, 0], dtype="bool"), bools(2, 3, 4)], **e)
mha([f(2, 3, 6), f(2, 4, 6), f(2, 4, 6)], **e, batch_first=True, is_causal=True)
mha([q, k, k, padding(2, 3, size=4)], **e, is_causal=True)
mha([f(3, 2, 6), f(3, 2, 6), f(3, 2, 6)], embed_dim=6, num_heads=6)
mha([f(3, 2, 6), f(3, 2, 6), f(3, 2, 6)], embed_dim=6, num_heads=1)
for first in (False, True):
    L.case("attention_alone", attention, [f(4, 3, 6)], _call=alone, **e, batch_first=first)
    L.case("attention_alone", attention, [f(4, 3, 6)], _call=alone, **e, batch_first=first, is_causal=True)
    L.case("attention_alone", attention, [f(4, 6)], _call=alone, **e, batch_first=first)
mha([q, k, k], seen, **e)
mha([q, k, k], seen, **e, is_causal=True)
mha([f(2, 3, 6), f(2, 4, 6), f(2, 4, 6), padding(3, 2, size=4)], seen, **e, batch_first=True)
mha([q, k, k, padding(3, 2, size=4), f(3, 4)], seen, **e)
mha([q, k, k, None, given([[1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0]], dtype="bool")], seen, **e)
mha([f(3, 6), f(4, 6), f(4, 6)], seen, **e)
e4 = {"embed_dim": 4, "num_heads": 2}
own, zero = {"add_bias_kv": True}, {"add_zero_attn": True}
q, k = f(3, 2, 4), f(2, 2, 4)
for more in (own, zero, own | zero):
    mha([q, k, k], **e4, **more)
    mha([q, k, k], seen, **e4, **more)
    mha([f(3, 4), f(2, 4), f(2, 4)], **e4, **more, bias=False)
    mha([f(2, 3, 4), f(2, 2, 4), f(2, 2, 4), padding(0, 1, size=2)], **e4, **more, batch_first=True)
    mha([q, k, k, padding(2, 0, size=2), bools(4, 3, 2)], **e4, **more)
    mha([q, k, k, padding(2, 1, size=2), f(3, 2)], seen, **e4, **more)
    L.case("attention_alone", attention, [f(3, 2, 4)], _call=alone, **e4, **more, is_causal=True)
mha([q, f(2, 2, 3), f(2, 2, 5)], **e4, **own, kdim=3, vdim=5)
mha([q, q, q], seen, **e4, **own, **zero, is_causal=True)
for more in ({}, own):
    mha([q, k, k], seen, **e4, **more, average_attn_weights=False)
    mha([f(3, 4), f(2, 4), f(2, 4)], seen, **e4, **more, average_attn_weights=False)
q, k = f(3, 2, 6), f(4, 2, 6)
# A row that sees nothing: NaN where the weights are asked for, else zeros (above).
L.case("attention_seen", attention, [q, k, k, padding(0, 4, size=4)], _call=seen, _grads=False, **e)


def options(activation="relu", norm_first=False, batch_first=False, bias=True, eps=1e-5, is_causal=False):
    return dict(activation=activation, norm_first=norm_first, batch_first=batch_first, bias=bias, layer_norm_eps=eps, dropout=0.0)


def layer(d_model, nhead, dim_feedforward, **more):
    return nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward, **options(**more))


def decoder_layer(d_model, nhead, dim_feedforward, **more):
    return nn.TransformerDecoderLayer(d_model, nhead, dim_feedforward, **options(**more))


def encode(module, x, mask=None, padding=None, batch_first=False, is_causal=False, **_):
    if is_causal:
        mask = causal(*2 * [x.shape[-2] if batch_first or x.dim() == 2 else x.shape[0]])
    return module(x, mask, src_key_padding_mask=padding)


def decode(module, x, memory, mask=None, memory_mask=None, padding=None, memory_padding=None, batch_first=False, is_causal=False, **_):
    if is_causal:
        mask = causal(*2 * [x.shape[-2] if batch_first or x.dim() == 2 else x.shape[0]])
    return module(x, memory, mask, memory_mask, padding, memory_padding)


d = {"d_model": 4, "nhead": 2, "dim_feedforward": 5}
ways = [dict(), dict(norm_first=True), dict(activation="gelu"), dict(activation="gelu", norm_first=True, batch_first=True), dict(bias=False),
        dict(batch_first=True, eps=0.1)]
for way in ways:
    L.case("encoder_layer", layer, [f(3, 2, 4)], _call=encode, **d, **way)
    L.case("decoder_layer", decoder_layer, [f(3, 2, 4), f(3, 2, 4)], _call=decode, **d, **way)
L.case("encoder_layer", layer, [f(3, 4)], _call=encode, **d)
L.case("encoder_layer", layer, [f(3, 2, 4), bools(3, 3)], _call=encode, **d)
L.case("encoder_layer", layer, [f(3, 2, 4), f(3, 3), padding(2, 3, size=3)], _call=encode, **d, _gradcheck=False)
L.case("encoder_layer", layer, [f(3, 2, 4), None, padding(2, 3, size=3)], _call=encode, **d)
L.case("encoder_layer", layer, [f(3, 2, 4)], _call=encode, **d, is_causal=True)
L.case("encoder_layer", layer, [f(2, 3, 4)], _call=encode, **d, is_causal=True, batch_first=True, norm_first=True)
L.case("encoder_layer", layer, [f(2, 30, 64)], _call=encode, d_model=64, nhead=4, dim_feedforward=100, batch_first=True, _gradcheck=False)
L.case("decoder_layer", decoder_layer, [f(3, 4), f(2, 4)], _call=decode, **d)
L.case("decoder_layer", decoder_layer, [f(3, 2, 4), f(4, 2, 4), None, bools(3, 4)], _call=decode, **d)
L.case("decoder_layer", decoder_layer, [f(3, 2, 4), f(4, 2, 4), None, None, padding(2, 3, size=3), padding(4, 1, size=4)], _call=decode, **d)
L.case("decoder_layer", decoder_layer, [f(3, 2, 4), f(4, 2, 4)], _call=decode, **d, is_causal=True)
L.case("decoder_layer", decoder_layer, [f(3, 2, 4), f(4, 2, 4)], _call=decode, **d, is_causal=True, norm_first=True, activation="gelu")


def encoder(num_layers, norm=False, **more):
    return nn.TransformerEncoder(layer(**more), num_layers, nn.LayerNorm(more["d_model"]) if norm else None, enable_nested_tensor=False)


def decoder(num_layers, norm=False, **more):
    return nn.TransformerDecoder(decoder_layer(**more), num_layers, nn.LayerNorm(more["d_model"]) if norm else None)


for norm in (False, True):
    for n in (1, 3):
        L.case("encoder", encoder, [f(3, 2, 4)], _call=encode, num_layers=n, norm=norm, **d)
        L.case("decoder", decoder, [f(3, 2, 4), f(2, 2, 4)], _call=decode, num_layers=n, norm=norm, **d)
    L.case("encoder", encoder, [f(2, 3, 4), bools(3, 3)], _call=encode, num_layers=2, norm=norm, **d, batch_first=True, norm_first=True)
L.case("encoder", encoder, [f(2, 3, 4), None, padding(2, 3, size=3)], _call=encode, num_layers=2, **d, batch_first=True, norm_first=True)
L.case("encoder", encoder, [f(2, 3, 4)], _call=encode, num_layers=2, **d, batch_first=True, is_causal=True)
L.case("decoder", decoder, [f(2, 3, 4), f(2, 2, 4)], _call=decode, num_layers=2, **d, batch_first=True, is_causal=True)
L.write()
