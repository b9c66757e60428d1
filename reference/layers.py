#!/usr/bin/env python3
"""Makes layers.safetensors of the `trefoil-kernels` crate: what PyTorch computes, values and gradients, in double
precision, stored in single precision.

Usage:  python layers.py [--out ../crates/trefoil-kernels/tests/fixtures/layers.safetensors]

Each case has its inputs, `grad` (the gradient of its output), `out`, and `d.INPUT`, the gradient of each real input:
  linear.ACTIVATION   activation(x w^T + b): `x` [2, 9, 21], `w` [37, 21], `b` [37]; none, gelu, gelu_tanh, silu, quick_gelu
  gather              rows of `table` [11, 7] at `indices` [25]; row 4 is never named
  scatter_add         `values` [25, 7] added to 11 rows at `indices` [25]
  segment_mean        means of `rows` [11, 7]: node v has the neighbours indices[offsets[v]:offsets[v + 1]]; one has none
  scale_shift         silu(GN(x) (1 + scale) + shift): `x` [3, 12, 5, 7], 4 groups, epsilon 1e-5, `weight`, `bias` [12],
                      `scale`, `shift` [3, 12]
  softmax             over the last axis of `x` [3, 5, 19]
  layer_norm          of `x` [4, 5, 23] with `weight`, `bias` [23], epsilon 1e-5; add_layer_norm: of `x` + `residual`
  group_norm[_silu]   of `x` [3, 12, 5, 7], 4 groups, epsilon 1e-5, `weight`, `bias` [12]; followed by SiLU
  attention           softmax(q k^T / sqrt(8)) v: `q`, `k`, `v` [2, 3, 17, 8]; causal_attention: without later keys
  packed_attention    the same for 3 heads of `qkv` [2, 17, 72]: all queries, all keys, all values
"""
import argparse
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "crates", "trefoil-kernels", "tests", "fixtures", "layers.safetensors")
ACTIVATIONS = {
    "none": lambda x: x,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
}


def segment_mean(rows, offsets, indices):
    sums = [rows[indices[a:b]].sum(0) / max(b - a, 1) for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist())]
    return torch.stack(sums)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=OUT)
    out = ap.parse_args().out
    torch.manual_seed(11)
    torch.set_default_dtype(torch.float64)
    normal = lambda *shape: torch.randn(*shape).float().double()  # exact in single precision
    tensors = {}

    def case(name, f, real, integers=()):
        inputs = {key: value.clone().requires_grad_() for key, value in real.items()}
        output = f(**inputs, **dict(integers))
        grad = normal(*output.shape)
        gradients = torch.autograd.grad(output, list(inputs.values()), grad)
        parts = {**real, **dict(integers), "grad": grad, "out": output}
        parts |= {f"d.{key}": gradient for key, gradient in zip(inputs, gradients)}
        for key, value in parts.items():
            value = value.detach()
            value = value.float() if value.is_floating_point() else value.int()
            tensors[f"{name}.{key}"] = value.contiguous()

    x, w, b = normal(2, 9, 21), normal(37, 21) * 0.5, normal(37)
    for name, activation in ACTIVATIONS.items():
        case(f"linear.{name}", lambda x, w, b: activation(F.linear(x, w, b)), {"x": x, "w": w, "b": b})
    indices = torch.randint(0, 11, (25,))
    indices[indices == 4] = 5
    case("gather", lambda table, indices: F.embedding(indices, table), {"table": normal(11, 7)}, {"indices": indices})
    case("scatter_add", lambda values, indices: torch.zeros(11, 7).index_add(0, indices, values),
         {"values": normal(25, 7)}, {"indices": indices})
    offsets = torch.tensor([0, 3, 4, 4, 16, 25])
    case("segment_mean", segment_mean, {"rows": normal(11, 7)}, {"offsets": offsets, "indices": indices})

    def scale_shift(x, weight, bias, scale, shift):
        y = F.group_norm(x, 4, weight, bias, 1e-5)
        return F.silu(y * (1 + scale[:, :, None, None]) + shift[:, :, None, None])

    case("scale_shift", scale_shift, {"x": normal(3, 12, 5, 7) * 2 - 0.3, "weight": normal(12) + 1, "bias": normal(12),
                                      "scale": normal(3, 12) * 0.5, "shift": normal(3, 12)})
    case("softmax", lambda x: F.softmax(x, -1), {"x": normal(3, 5, 19) * 3})
    affine = {"weight": normal(23) + 1, "bias": normal(23)}
    norm = lambda x, weight, bias: F.layer_norm(x, (23,), weight, bias)
    case("layer_norm", norm, {"x": normal(4, 5, 23) * 2 + 0.5, **affine})
    case("add_layer_norm", lambda x, residual, weight, bias: norm(x + residual, weight, bias),
         {"x": normal(4, 5, 23), "residual": normal(4, 5, 23), **affine})
    affine = {"x": normal(3, 12, 5, 7) * 2 - 0.3, "weight": normal(12) + 1, "bias": normal(12)}
    norm = lambda x, weight, bias: F.group_norm(x, 4, weight, bias)
    case("group_norm", norm, affine)
    case("group_norm_silu", lambda **inputs: F.silu(norm(**inputs)), affine)
    heads = {name: normal(2, 3, 17, 8) for name in "qkv"}
    attention = F.scaled_dot_product_attention
    case("attention", lambda q, k, v: attention(q, k, v), heads)
    case("causal_attention", lambda q, k, v: attention(q, k, v, is_causal=True), heads)

    def packed(qkv):
        q, k, v = qkv.view(2, 17, 3, 3, 8).permute(2, 0, 3, 1, 4)
        return attention(q, k, v).transpose(1, 2).reshape(2, 17, 24)

    case("packed_attention", packed, {"qkv": normal(2, 17, 72)})
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    save_file(tensors, out)
    print(f"wrote {os.path.abspath(out)} ({os.path.getsize(out) / 1000:.0f} kB, {len(tensors)} tensors)")


if __name__ == "__main__":
    main()
