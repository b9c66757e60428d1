"""Golden numbers for Inception-v3 (2015-12-05) in uni-instruct: an implementation of our own in PyTorch.

Weights come from the generator of `edm_torch.py`; pictures are 24x20 bytes. Stored are some pool features and
class probabilities, and all keys with their shapes.

    python reference/inception.py      # needs torch; writes crates/uni-instruct/tests/fixtures/inception.json
"""

import gzip
import json
import math

import numpy as np
import torch
import torch.nn.functional as F

from edm_torch import OUT, uniform

torch.set_num_threads(1)
keys = {}


def conv(x, name, out, kernel, stride=1, padding=0):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    shape = (out, x.shape[1], *kernel)
    keys[name + ".conv.weight"] = shape
    weight = uniform(name + ".conv.weight", shape) * math.sqrt(6 / math.prod(shape[1:]))
    x = F.conv2d(x, weight.float(), None, stride, padding)
    norm = {}
    for part, scale, offset in [("weight", 0.25, 1), ("bias", 0.25, 0), ("running_mean", 0.25, 0), ("running_var", 0.25, 1)]:
        keys[f"{name}.bn.{part}"] = (out,)
        norm[part] = (uniform(f"{name}.bn.{part}", (out,)) * scale + offset).float()
    x = F.batch_norm(x, norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"], eps=1e-3)
    return F.relu(x)


def mean3(x):
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def block_a(x, q, pool):
    five = conv(conv(x, q + "branch5x5_1", 48, 1), q + "branch5x5_2", 64, 5, padding=2)
    three = conv(conv(x, q + "branch3x3dbl_1", 64, 1), q + "branch3x3dbl_2", 96, 3, padding=1)
    three = conv(three, q + "branch3x3dbl_3", 96, 3, padding=1)
    return torch.cat([conv(x, q + "branch1x1", 64, 1), five, three, conv(mean3(x), q + "branch_pool", pool, 1)], 1)


def block_b(x, q):
    three = conv(conv(x, q + "branch3x3dbl_1", 64, 1), q + "branch3x3dbl_2", 96, 3, padding=1)
    three = conv(three, q + "branch3x3dbl_3", 96, 3, stride=2)
    return torch.cat([conv(x, q + "branch3x3", 384, 3, stride=2), three, F.max_pool2d(x, 3, 2)], 1)


def block_c(x, q, c):
    seven = conv(conv(x, q + "branch7x7_1", c, 1), q + "branch7x7_2", c, (1, 7), padding=(0, 3))
    seven = conv(seven, q + "branch7x7_3", 192, (7, 1), padding=(3, 0))
    twice = conv(x, q + "branch7x7dbl_1", c, 1)
    for i, out in [(2, c), (3, c), (4, c), (5, 192)]:
        upright = i % 2 == 0
        kernel, padding = ((7, 1), (3, 0)) if upright else ((1, 7), (0, 3))
        twice = conv(twice, f"{q}branch7x7dbl_{i}", out, kernel, padding=padding)
    return torch.cat([conv(x, q + "branch1x1", 192, 1), seven, twice, conv(mean3(x), q + "branch_pool", 192, 1)], 1)


def block_d(x, q):
    three = conv(conv(x, q + "branch3x3_1", 192, 1), q + "branch3x3_2", 320, 3, stride=2)
    seven = conv(conv(x, q + "branch7x7x3_1", 192, 1), q + "branch7x7x3_2", 192, (1, 7), padding=(0, 3))
    seven = conv(seven, q + "branch7x7x3_3", 192, (7, 1), padding=(3, 0))
    seven = conv(seven, q + "branch7x7x3_4", 192, 3, stride=2)
    return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)


def block_e(x, q, pool):
    def both(x, name):
        one = conv(x, name + "a", 384, (1, 3), padding=(0, 1))
        return torch.cat([one, conv(x, name + "b", 384, (3, 1), padding=(1, 0))], 1)

    single = both(conv(x, q + "branch3x3_1", 384, 1), q + "branch3x3_2")
    double = conv(conv(x, q + "branch3x3dbl_1", 448, 1), q + "branch3x3dbl_2", 384, 3, padding=1)
    double = both(double, q + "branch3x3dbl_3")
    return torch.cat([conv(x, q + "branch1x1", 320, 1), single, double, conv(pool(x), q + "branch_pool", 192, 1)], 1)


def network(x):
    x = conv(x, "Conv2d_1a_3x3", 32, 3, stride=2)
    x = conv(conv(x, "Conv2d_2a_3x3", 32, 3), "Conv2d_2b_3x3", 64, 3, padding=1)
    x = conv(F.max_pool2d(x, 3, 2), "Conv2d_3b_1x1", 80, 1)
    x = F.max_pool2d(conv(x, "Conv2d_4a_3x3", 192, 3), 3, 2)
    for name, pool in [("5b", 32), ("5c", 64), ("5d", 64)]:
        x = block_a(x, f"Mixed_{name}.", pool)
    x = block_b(x, "Mixed_6a.")
    for name, c in [("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)]:
        x = block_c(x, f"Mixed_{name}.", c)
    x = block_d(x, "Mixed_7a.")
    x = block_e(x, "Mixed_7b.", mean3)
    x = block_e(x, "Mixed_7c.", lambda x: F.max_pool2d(x, 3, 1, 1))
    return x.mean((2, 3))


def legacy_resize(picture, side=299):
    height, width, _ = picture.shape

    def places(length):
        at = np.arange(side, dtype=np.float32) * np.float32(length / side)
        low = np.minimum(at.astype(int), length - 1)
        return low, np.minimum(low + 1, length - 1), (at - low).astype(np.float32)

    top, bottom, down = places(height)
    left, right, across = places(width)
    picture = picture.astype(np.float32)
    across, down = across[None, :, None], down[:, None, None]
    upper = picture[top][:, left] + (picture[top][:, right] - picture[top][:, left]) * across
    lower = picture[bottom][:, left] + (picture[bottom][:, right] - picture[bottom][:, left]) * across
    return upper + (lower - upper) * down


def main():
    pictures = ((uniform("inception.pictures", (2, 24, 20, 3)) + 1) * 128).numpy().astype(np.uint8)
    x = np.stack([legacy_resize(p) for p in pictures]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        features = network((torch.from_numpy(x) - 128) / 128)
        keys["fc.weight"], keys["fc.bias"] = (1008, 2048), (1008,)
        classifier = uniform("fc.weight", (1008, 2048)).float() * math.sqrt(3 / 2048)
        probabilities = torch.softmax(features @ classifier.T, dim=1)
    values = {
        "features": features[:, ::16].tolist(),
        "probabilities": probabilities[:, ::16].tolist(),
        "keys": [[name, list(shape)] for name, shape in sorted(keys.items())],
    }
    with gzip.GzipFile(OUT / "inception.json.gz", "wb", mtime=0) as file:
        file.write(json.dumps(values).encode())
    print("mean feature", features.mean().item(), features.abs().max().item(), len(keys), "tensors")


if __name__ == "__main__":
    main()
