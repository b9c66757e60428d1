"""Golden numbers for the networks of EDM in uni-instruct: an implementation of our own in PyTorch.

The three networks (DDPM++, NCSN++, ADM) as functions over a dictionary of tensors with the published names,
at tiny sizes. Weights and inputs come from a generator that the Rust tests repeat, so that only results are
stored: raw output, denoised picture, last encoder output, loss, and the gradient of every parameter and of
the input.

    python reference/edm_torch.py      # needs torch and safetensors; writes crates/uni-instruct/tests/fixtures

Computed in double precision, stored in single.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = Path(__file__).parent.parent / "crates/uni-instruct/tests/fixtures"

CASES = {
    "ddpmpp": dict(family="ddpm++", side=8, width=8, mult=(1, 2), blocks=1, attn=(4,), labels=3, augment=9),
    "ncsnpp": dict(family="ncsn++", side=8, width=8, mult=(1, 2), blocks=1, attn=(8,), labels=0, augment=9),
    "adm": dict(family="adm", side=8, width=8, mult=(1, 2), blocks=1, attn=(4,), labels=3, augment=0, head=8),
}


def uniform(name, shape):
    """Numbers in [-1, 1) that follow from a name: splitmix64 of its CRC-32 and the position."""
    count = math.prod(shape)
    state = np.uint64(zlib.crc32(name.encode())) << np.uint64(32)
    z = state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    values = (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    # As they are after rounding to single precision.
    return torch.tensor(values.astype(np.float32).astype(np.float64)).reshape(shape)


class Weights(dict):
    """Makes a tensor when it is asked for by name and shape."""

    def take(self, name, *shape):
        key = "model." + name
        if key not in self:
            value = uniform(key, shape)
            if name.endswith("freqs"):
                value = value * 2
            elif "norm" in name:
                value = value * 0.25 + (1 if name.endswith("weight") else 0)
            elif name.endswith("bias"):
                value = value * 0.25
            else:
                value = value * (1.5 / math.sqrt(math.prod(shape[1:])))
            value = value.float().double()
            self[key] = value.requires_grad_(not name.endswith("freqs"))
        return self[key]


class Net:
    def __init__(self, family, side, width, mult, blocks, attn, labels, augment, head=None):
        self.head = head
        self.w, self.family, self.adm = Weights(), family, family == "adm"
        self.side, self.width, self.mult, self.blocks, self.attn = side, width, mult, blocks, attn
        self.labels, self.augment, self.emb = labels, augment, 4 * width
        taps = torch.tensor([1.0, 3, 3, 1] if family == "ncsn++" else [1.0, 1], dtype=torch.float64)
        self.filter = torch.outer(taps, taps) / taps.sum() ** 2

    def linear(self, x, name, out, bias=True):
        weight = self.w.take(name + ".weight", out, x.shape[1])
        return F.linear(x, weight, self.w.take(name + ".bias", out) if bias else None)

    def conv(self, x, name, out, k=3, padding=None):
        weight = self.w.take(name + ".weight", out, x.shape[1], k, k)
        return F.conv2d(x, weight, self.w.take(name + ".bias", out), padding=k // 2 if padding is None else padding)

    def norm(self, x, name, eps):
        c = x.shape[1]
        weight, bias = self.w.take(name + ".weight", c), self.w.take(name + ".bias", c)
        return F.group_norm(x, min(32, c // 4), weight, bias, eps)

    def down(self, x, padding=None):
        c, k = x.shape[1], len(self.filter)
        f = self.filter.expand(c, 1, k, k)
        return F.conv2d(x, f, stride=2, groups=c, padding=(k - 1) // 2 if padding is None else padding)

    def up(self, x):
        c, k = x.shape[1], len(self.filter)
        return F.conv_transpose2d(x, 4 * self.filter.expand(c, 1, k, k), stride=2, groups=c, padding=(k - 1) // 2)

    def block(self, x, e, name, out, change=None, attention=False):
        eps, scale = (1e-5, 1.0) if self.adm else (1e-6, math.sqrt(0.5))
        resample = {None: lambda v: v, "down": self.down, "up": self.up}[change]
        h = resample(F.silu(self.norm(x, name + ".norm0", eps)))
        h = self.conv(h, name + ".conv0", out)
        p = self.linear(e, name + ".affine", out * (2 if self.adm else 1))[:, :, None, None]
        if self.adm:
            gain, shift = p.chunk(2, dim=1)
            h = F.silu(shift + self.norm(h, name + ".norm1", eps) * (1 + gain))
        else:
            h = F.silu(self.norm(h + p, name + ".norm1", eps))
        h = self.conv(h, name + ".conv1", out)
        if x.shape[1] != out or (change and not self.adm):
            x = self.conv(resample(x), name + ".skip", out, k=1)
        else:
            x = resample(x)
        x = (h + x) * scale
        if attention:
            b, c, height, width = x.shape
            heads = c // self.head if self.head else 1
            qkv = self.conv(self.norm(x, name + ".norm2", eps), name + ".qkv", 3 * c, k=1)
            q, k, v = qkv.reshape(b * heads, c // heads, 3, height * width).unbind(2)
            weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / math.sqrt(c // heads), dim=2)
            a = torch.einsum("bij,bcj->bci", weights, v).reshape(b, c, height, width)
            x = (self.conv(a, name + ".proj", c, k=1) + x) * scale
        return x

    def embed(self, noise, label, augment):
        n = self.width * (2 if self.family == "ncsn++" else 1)
        half = n // 2
        if self.family == "ncsn++":
            angles = noise[:, None] * 2 * math.pi * self.w.take("map_noise.freqs", half)
        else:
            last = half if self.adm else half - 1
            angles = noise[:, None] * (1e-4 ** (torch.arange(half, dtype=noise.dtype) / last))
        parts = [angles.sin(), angles.cos()]
        x = torch.cat(parts[::-1] if self.adm else parts, dim=1)
        if self.labels and not self.adm:
            x = x + self.linear(label * math.sqrt(self.labels), "map_label", n)
        if self.augment:
            x = x + self.linear(augment, "map_augment", n, bias=False)
        x = F.silu(self.linear(x, "map_layer0", self.emb))
        x = self.linear(x, "map_layer1", self.emb)
        if self.labels and self.adm:
            x = x + self.linear(label, "map_label", self.emb, bias=False)
        return F.silu(x)

    def __call__(self, x, noise, label, augment):
        e = self.embed(noise, label, augment)
        aux, skips = x, []
        for level, m in enumerate(self.mult):
            side = self.side >> level
            if level == 0:
                x = self.conv(x, f"enc.{side}x{side}_conv", self.width * (m if self.adm else 1))
            else:
                x = self.block(x, e, f"enc.{side}x{side}_down", x.shape[1], change="down")
                if self.family == "ncsn++":
                    fused = self.conv(aux, f"enc.{side}x{side}_aux_residual", x.shape[1], padding=2)
                    aux = x = (x + self.down(fused, padding=0)) / math.sqrt(2)
            skips.append(x)
            for i in range(self.blocks):
                x = self.block(x, e, f"enc.{side}x{side}_block{i}", self.width * m, attention=side in self.attn)
                skips.append(x)
        encoded = x
        for level, m in reversed(list(enumerate(self.mult))):
            side = self.side >> level
            if level == len(self.mult) - 1:
                x = self.block(x, e, f"dec.{side}x{side}_in0", x.shape[1], attention=True)
                x = self.block(x, e, f"dec.{side}x{side}_in1", x.shape[1])
            else:
                x = self.block(x, e, f"dec.{side}x{side}_up", x.shape[1], change="up")
            for i in range(self.blocks + 1):
                attention = side in self.attn and (self.adm or i == self.blocks)
                name = f"dec.{side}x{side}_block{i}"
                x = self.block(torch.cat([x, skips.pop()], dim=1), e, name, self.width * m, attention=attention)
        names = ("out_norm", "out_conv") if self.adm else [f"dec.{side}x{side}_aux_{n}" for n in ("norm", "conv")]
        x = F.silu(self.norm(x, names[0], 1e-5 if self.adm else 1e-6))
        return self.conv(x, names[1], 3), encoded


def case(name, settings):
    net = Net(**settings)
    batch, side = 2, settings["side"]
    clean = uniform(f"{name}.clean", (batch, 3, side, side)).requires_grad_(True)
    noise = uniform(f"{name}.noise", (batch, 3, side, side)) * 1.5
    label = torch.eye(3, dtype=torch.float64)[[2, 0]]
    augment = uniform(f"{name}.augment", (batch, 9))
    sigma, data = torch.tensor([0.35, 4.0], dtype=torch.float64), 0.5

    s = sigma[:, None, None, None]
    total = (s**2 + data**2).sqrt()
    x = clean + s * noise
    raw, encoded = net(x / total, sigma.log() / 4, label, augment)
    denoised = data**2 / total**2 * x + s * data / total * raw
    loss = (total**2 / (s * data) ** 2 * (denoised - clean) ** 2).mean()
    loss.backward()
    tensors = {"raw": raw, "encoded": encoded, "denoised": denoised, "loss": loss.reshape(1)}
    tensors["grad.clean"] = clean.grad
    for key, value in net.w.items():
        if value.grad is not None:
            tensors[f"grad.{key}"] = value.grad
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, OUT / f"edm_{name}.safetensors")
    print(name, sum(v.numel() for v in net.w.values()), "parameters, loss", loss.item())


def churn():
    """Algorithm 2 of the paper on Gaussian data, with given noise; double precision."""
    mean, deviation = 0.3, 0.5
    steps, s_churn, s_min, s_max, s_noise = 6, 4.0, 0.05, 50.0, 1.003
    roots = [80 ** (1 / 7) + i / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7)) for i in range(steps)]
    t = [r**7 for r in roots] + [0.0]
    x = np.array([-120.0, 0.0, 55.0])
    noise = [[0.3, -1.1, 0.7], [1.2, 0.4, -0.6], [-0.9, 0.1, 1.5], [0.2, -0.3, 0.8], [2.0, -1.7, 0.05], [0.6, 0.9, -0.4]]

    def slope(x, t):
        denoised = mean + deviation**2 / (deviation**2 + t**2) * (x - mean)
        return (x - denoised) / t

    for i in range(steps):
        gamma = min(s_churn / steps, math.sqrt(2) - 1) if s_min <= t[i] <= s_max else 0.0
        raised = t[i] * (1 + gamma)
        x = x + math.sqrt(raised**2 - t[i] ** 2) * s_noise * np.array(noise[i])
        d = slope(x, raised)
        step = x + (t[i + 1] - raised) * d
        if t[i + 1] > 0:
            step = x + (t[i + 1] - raised) * (d + slope(step, t[i + 1])) / 2
        x = step
    print("churned Heun", json.dumps(x.tolist()))


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for name, settings in CASES.items():
        case(name, settings)
    churn()
