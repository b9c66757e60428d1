#!/usr/bin/env python3
"""Makes resize.safetensors of the `trefoil-core` crate: two uint8 pictures of odd size and what Pillow makes of them.

Usage:  python resize.py [--out ../crates/trefoil-core/tests/fixtures/resize.safetensors]

Tensors (uint8, height x width x channel):
  random, smooth                              [29, 41, 3]  the pictures (height 29, width 41)
  PICTURE.FILTER.HxW                          [H, W, 3]    Image.resize((W, H), FILTER), FILTER lanczos or bicubic
"""
import argparse
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "crates", "trefoil-core", "tests", "fixtures", "resize.safetensors")
HEIGHT, WIDTH = 29, 41
# Height and width: both smaller, both larger, mixed, one side unchanged, one pixel, strong reduction.
SIZES = ((16, 16), (32, 32), (48, 64), (7, 5), (29, 16), (50, 41), (1, 1), (64, 13))


def pictures():
    rng = np.random.RandomState(5)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [127.5 + 127.5 * np.sin(x / (3 + 2 * k) + y / (5 - k)) for k in range(3)]
    return {
        "random": rng.randint(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8),
        "smooth": np.rint(np.stack(waves, -1)).astype(np.uint8),
    }


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=OUT)
    out = ap.parse_args().out
    tensors = {}
    for name, picture in pictures().items():
        tensors[name] = torch.from_numpy(picture)
        for label, kind in (("lanczos", Image.LANCZOS), ("bicubic", Image.BICUBIC)):
            for h, w in SIZES:
                resized = np.array(Image.fromarray(picture).resize((w, h), kind))
                tensors[f"{name}.{label}.{h}x{w}"] = torch.from_numpy(resized)
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    save_file(tensors, out)
    print(f"wrote {os.path.abspath(out)} ({os.path.getsize(out) / 1000:.0f} kB, {len(tensors)} tensors)")


if __name__ == "__main__":
    main()
