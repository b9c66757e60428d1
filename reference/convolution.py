#!/usr/bin/env python3
"""Makes convolution.safetensors of the `trefoil-kernels` crate: convolutions and their gradients by PyTorch.

Usage:  python convolution.py [--out ../crates/trefoil-kernels/tests/fixtures/convolution.safetensors]

Computed in double precision from single-precision inputs, stored in single precision. For every CASE below:
  CASE.x [B, C, H, W], CASE.weight [O, C, KH, KW], CASE.bias [O], CASE.grad (of the output)    inputs
  CASE.y, CASE.dx, CASE.dweight, CASE.dbias                                                    output and gradients
  CASE.options I64                                 stride (rows, columns), padding (top, bottom, left, right), doubled
"""
import argparse
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "crates", "trefoil-kernels", "tests", "fixtures", "convolution.safetensors")
# Name: input, outputs, kernel, stride, padding (top, bottom, left, right), doubled.
CASES = {
    "same": ((2, 5, 9, 11), 7, (3, 3), (1, 1), (1, 1, 1, 1), False),
    "point": ((3, 6, 4, 5), 9, (1, 1), (1, 1), (0, 0, 0, 0), False),
    "half": ((2, 4, 8, 8), 6, (3, 3), (2, 2), (0, 1, 0, 1), False),
    "patches": ((2, 3, 8, 12), 10, (4, 4), (4, 4), (0, 0, 0, 0), False),
    "odd": ((1, 3, 10, 7), 4, (2, 5), (3, 2), (1, 0, 2, 3), False),
    "doubled": ((2, 5, 6, 9), 8, (3, 3), (1, 1), (1, 1, 1, 1), True),
}


def case(shape, outputs, kernel, stride, padding, doubled):
    randn = lambda *size: torch.randn(size).double().requires_grad_()
    x, weight, bias = randn(*shape), randn(outputs, shape[1], *kernel), randn(outputs)
    top, bottom, left, right = padding
    picture = F.interpolate(x, scale_factor=2.0, mode="nearest") if doubled else x
    y = F.conv2d(F.pad(picture, (left, right, top, bottom)), weight, bias, stride)
    grad = torch.randn(y.shape).double()
    y.backward(grad)
    tensors = {"x": x, "weight": weight, "bias": bias, "grad": grad, "y": y, "dx": x.grad, "dweight": weight.grad,
               "dbias": bias.grad}
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    return {**tensors, "options": torch.tensor([*stride, *padding, int(doubled)])}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=OUT)
    out = ap.parse_args().out
    torch.manual_seed(11)
    tensors = {f"{name}.{key}": tensor for name, setting in CASES.items() for key, tensor in case(*setting).items()}
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    save_file(tensors, out)
    print(f"wrote {os.path.abspath(out)} ({os.path.getsize(out) / 1000:.0f} kB, {len(tensors)} tensors)")


if __name__ == "__main__":
    main()
