#!/usr/bin/env python3
"""Writes crates/trefoil-core/tests/fixtures/storage.safetensors: weights rounded by PyTorch to 16 and 8 bits, and what
layers with them compute, in f64.

Eight bits: PyTorch's own quantisation per channel, where a channel is a run of numbers: 64 inputs of a linear layer, or 16
channels of a convolution with their pixels; the scale is the largest magnitude over 127.
"""
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "..", "crates", "trefoil-core", "tests", "fixtures", "storage.safetensors")


def eight_bits(weight, run):
    rows = weight.reshape(-1, run)
    scales = rows.abs().amax(1) / 127
    zeros = torch.zeros(len(rows), dtype=torch.int64)
    quantized = torch.quantize_per_channel(rows, scales, zeros, 0, torch.qint8)
    return quantized.dequantize().reshape(weight.shape)


def main():
    torch.manual_seed(0)
    x, bias = torch.randn(5, 128), torch.randn(48)
    picture, conv_bias = torch.randn(2, 16, 7, 6), torch.randn(8)
    # Some large weights, as trained networks have them, and some that are subnormal in half precision.
    weight = torch.randn(48, 128) * torch.randn(48, 128).abs()
    weight[3] *= 20
    weight[7] *= 1e-6
    kernel = torch.randn(8, 16, 3, 3)
    out = {"x": x, "bias": bias, "weight": weight, "transposed": weight.T.contiguous(), "picture": picture,
           "kernel": kernel, "conv_bias": conv_bias}
    rounded = {
        "bf16": lambda w, run: w.bfloat16().float(),
        "f16": lambda w, run: w.half().float(),
        "int8": eight_bits,
    }
    for name, to in rounded.items():
        w, k = to(weight, 64), to(kernel, 16 * 9)
        t = to(out["transposed"], 16)
        # In f64, so that only our own rounding counts; it is measured against the sum of the magnitudes that are
        # added up, because a sum of large numbers may be near zero.
        def layers(x, picture, bias, conv_bias, w, k, t):
            return {"linear": F.linear(x, w, bias), "linear_transposed": x @ t + bias,
                    "conv": F.conv2d(picture, k, conv_bias, padding=1)}

        arguments = [v.double() for v in (x, picture, bias, conv_bias, w, k, t)]
        exact = layers(*arguments)
        exact["linear_gelu"] = F.gelu(exact["linear"])
        magnitudes = layers(*[v.abs() for v in arguments])
        magnitudes["linear_gelu"] = magnitudes["linear"]
        out |= {f"{name}.weight": w, f"{name}.kernel": k, f"{name}.transposed": t}
        out |= {f"{name}.{layer}": value.float() for layer, value in exact.items()}
        out |= {f"{name}.{layer}.magnitude": value.float() for layer, value in magnitudes.items()}
    save_file({k: v.contiguous() for k, v in out.items()}, OUT)


if __name__ == "__main__":
    main()
