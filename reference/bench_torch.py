#!/usr/bin/env python3
"""PyTorch timings on the CPU, float32, as JSON lines on standard output.

Usage:
  python bench_torch.py [--threads 2] [--runs 10] [--warmup 2] --case block --json '{"batch": 2, "tokens": 1105}'
  python bench_torch.py [--threads 2] --file cases.json     # [{"case": "uvit", "batch": 8, ...}, ...]
  python bench_torch.py --list                              # the cases and their default shapes

Every line: {"case", "operation", "shape", "parameters", "threads", "warmup", "runs", "median_ms", "min_ms", "max_ms",
"torch"}. `shape` holds every value that was used, defaults included. "operations" in the shape chooses what is timed.

Cases:
  op      one operation of bench_ops.py at a shape: forward, backward (forward and gradients of a sum).
  unet    a residual block of EDM's U-Net (DDPM++): forward, backward.
  block   one U-ViT block. forward (inference mode), train (forward, backward, AdamW; the loss is the mean square).
  uvit    the whole UniDiffuser U-ViT (arXiv 2303.06555): post-normalised blocks, long skip connections. forward,
          backward (the same without the update), train (mean square error over the concatenated noises, backward,
          AdamW), sample (`steps` passes and one decoding by `vae`). `tokens`, when given, is the length of the whole
          sequence and sets the number of text tokens.
  vae     diffusers' AutoencoderKL. encode (moments), decode, train (reconstruction mean square error + weighted KL
          divergence, backward, AdamW).
"""
import argparse
import json
import math
import os
import resource
import statistics
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
from torch import nn

from bench_ops import OPS

DEFAULTS = {
    "op": dict(op="gelu", shape=[2208, 6144], options={}, operations=["forward", "backward"]),
    "unet": dict(batch=16, channels=128, embedding=512, groups=32, size=32, operations=["forward", "backward"]),
    "block": dict(batch=2, tokens=1105, embed_dim=1536, heads=24, mlp_ratio=4, skip=False, operations=["forward"]),
    "uvit": dict(batch=8, embed_dim=256, depth=8, heads=4, mlp_ratio=4, latent_size=16, latent_channels=4, patch=2,
                 text_tokens=77, text_dim=64, clip_dim=512, version=1, tokens=None, steps=50, vae=None,
                 operations=["forward", "train"]),
    "vae": dict(batch=16, size=32, in_channels=3, block_out_channels=[32, 64], layers_per_block=1, latent_channels=4,
                norm_groups=8, kl_weight=1e-6, operations=["encode", "decode", "train"]),
}


class Block(nn.Module):
    """x = LN(x + attention(x)); x = LN(x + mlp(x)); with a skip, first x = LN(linear([x, skip]))."""

    def __init__(self, dim, heads, mlp_ratio, skip):
        super().__init__()
        self.heads = heads
        self.skip = nn.Linear(2 * dim, dim) if skip else None
        self.norm_skip = nn.LayerNorm(dim) if skip else None
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.norm_attention = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, mlp_ratio * dim)
        self.fc2 = nn.Linear(mlp_ratio * dim, dim)
        self.norm_mlp = nn.LayerNorm(dim)

    def forward(self, x, skip=None):
        if self.skip is not None:
            x = self.norm_skip(self.skip(torch.cat([x, skip], -1)))
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = self.norm_attention(x + self.proj(attended))
        return self.norm_mlp(x + self.fc2(F.gelu(self.fc1(x))))


class UViT(nn.Module):
    def __init__(self, s):
        super().__init__()
        d, self.patch, self.version = s["embed_dim"], s["patch"], s["version"]
        self.grid, self.channels = s["latent_size"] // s["patch"], s["latent_channels"]
        self.text_tokens, half = s["text_tokens"], s["depth"] // 2
        self.patch_in = nn.Conv2d(self.channels, d, self.patch, self.patch)
        self.text_in, self.clip_in = nn.Linear(s["text_dim"], d), nn.Linear(s["clip_dim"], d)
        self.data_type = nn.Embedding(2, d) if s["version"] == 1 else None
        self.head_tokens = 3 if s["version"] == 1 else 2
        length = self.head_tokens + self.text_tokens + 1 + self.grid**2
        self.position = nn.Parameter(0.02 * torch.randn(1, length, d))
        block = lambda skip: Block(d, s["heads"], s["mlp_ratio"], skip)
        self.down = nn.ModuleList(block(False) for _ in range(half))
        self.middle = block(False)
        self.up = nn.ModuleList(block(True) for _ in range(half))
        self.norm = nn.LayerNorm(d)
        self.patch_out = nn.Linear(d, self.patch**2 * self.channels)
        self.text_out, self.clip_out = nn.Linear(d, s["text_dim"]), nn.Linear(d, s["clip_dim"])
        self.register_buffer("frequency", torch.exp(-math.log(10000.0) * torch.arange(d // 2) / (d // 2)))

    def time_token(self, t):
        angle = t[:, None] * self.frequency
        return torch.cat([angle.cos(), angle.sin()], -1)[:, None]

    def forward(self, z, clip, text, t_img, t_text, data_type):
        head = [self.time_token(t_img), self.time_token(t_text)]
        if self.data_type is not None:
            head.append(self.data_type(data_type)[:, None])
        image = self.patch_in(z).flatten(2).transpose(1, 2)
        x = torch.cat([*head, self.text_in(text), self.clip_in(clip), image], 1) + self.position
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.middle(x)
        for block in self.up:
            x = block(x, skips.pop())
        x = self.norm(x)
        text_end = self.head_tokens + self.text_tokens
        image = self.patch_out(x[:, text_end + 1:])
        b, g, p, c = z.shape[0], self.grid, self.patch, self.channels
        image = image.view(b, g, g, p, p, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, g * p, g * p)
        return image, self.clip_out(x[:, text_end:text_end + 1]), self.text_out(x[:, self.head_tokens:text_end])


def adamw(module):
    return torch.optim.AdamW(module.parameters(), lr=2e-4, betas=(0.9, 0.9), weight_decay=0.03, foreach=True)


def training_step(module, loss):
    module.train()
    optimizer = adamw(module)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


def gradients(module, loss):
    def step():
        module.zero_grad(set_to_none=True)
        loss().backward()

    return step


def inference(call):
    def run():
        with torch.inference_mode():
            call()

    return run


def block_case(s):
    block = Block(s["embed_dim"], s["heads"], s["mlp_ratio"], s["skip"])
    x = torch.randn(s["batch"], s["tokens"], s["embed_dim"])
    skip = torch.randn_like(x) if s["skip"] else None
    return block, {
        "forward": lambda: inference(lambda: block(x, skip)),
        "train": lambda: training_step(block, lambda: block(x, skip).square().mean()),
    }


def uvit_case(s):
    other = (3 if s["version"] == 1 else 2) + 1 + (s["latent_size"] // s["patch"]) ** 2
    if s["tokens"] is not None:
        s["text_tokens"] = s["tokens"] - other
        if s["text_tokens"] < 1:
            sys.exit(f"tokens = {s['tokens']} leaves no text token: the other modalities take {other}")
    s["tokens"] = other + s["text_tokens"]
    net, b = UViT(s), s["batch"]
    x = (torch.randn(b, s["latent_channels"], s["latent_size"], s["latent_size"]), torch.randn(b, 1, s["clip_dim"]),
         torch.randn(b, s["text_tokens"], s["text_dim"]))
    t_img, t_text = torch.randint(1, 1001, (b,)).float(), torch.randint(1, 1001, (b,)).float()
    kind, noise = torch.randint(0, 2, (b,)), tuple(torch.randn_like(v) for v in x)
    flat = lambda parts: torch.cat([p.flatten(1) for p in parts], 1)
    loss = lambda: F.mse_loss(flat(net(*x, t_img, t_text, kind)), flat(noise))
    parts = nn.ModuleList([net])
    if s["vae"]:  # sampling decodes, without its guidance's second half
        given = {k: v for k, v in s["vae"].items() if k != "case"}
        vae, _ = vae_case({**DEFAULTS["vae"], **given})
        parts.append(vae)

    def sample():
        for _ in range(s["steps"]):
            net(*x, t_img, t_text, kind)
        vae.decode(x[0][: b // 2]).sample

    return parts, {
        "forward": lambda: inference(lambda: net(*x, t_img, t_text, kind)),
        "backward": lambda: gradients(net, loss),
        "train": lambda: training_step(net, loss),
        "sample": lambda: inference(sample),
    }


class UNetBlock(nn.Module):
    """Residual block with scale and shift from an embedding (arXiv 2206.00364, appendix F)."""

    def __init__(self, channels, embedding, groups):
        super().__init__()
        self.norm0, self.norm1 = (nn.GroupNorm(groups, channels, eps=1e-6) for _ in range(2))
        self.conv0, self.conv1 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.affine = nn.Linear(embedding, 2 * channels)

    def forward(self, x, embedding):
        h = self.conv0(F.silu(self.norm0(x)))
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(torch.addcmul(shift, self.norm1(h), scale + 1)))
        return (h + x) * 0.5**0.5


def unet_case(s):
    block = UNetBlock(s["channels"], s["embedding"], s["groups"])
    x = torch.randn(s["batch"], s["channels"], s["size"], s["size"], requires_grad=True)
    embedding = torch.randn(s["batch"], s["embedding"], requires_grad=True)
    return block, {
        "forward": lambda: inference(lambda: block(x, embedding)),
        "backward": lambda: gradients(block, lambda: block(x, embedding).sum()),
    }


def op_case(s):
    if s["op"] not in OPS:
        sys.exit(f"unknown operation {s['op']!r}; known: {', '.join(OPS)}")
    run, inputs = OPS[s["op"]](s["shape"], **s["options"])
    tracked = [x.requires_grad_() for x in inputs]

    def backward():
        for x in tracked:
            x.grad = None
        run().sum().backward()

    return nn.Module(), {"forward": lambda: inference(run), "backward": lambda: backward}


def vae_case(s):
    from diffusers import AutoencoderKL

    levels = len(s["block_out_channels"])
    vae = AutoencoderKL(
        in_channels=s["in_channels"], out_channels=s["in_channels"], down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels, block_out_channels=s["block_out_channels"],
        layers_per_block=s["layers_per_block"], latent_channels=s["latent_channels"],
        norm_num_groups=s["norm_groups"], sample_size=s["size"],
    )
    x = torch.rand(s["batch"], s["in_channels"], s["size"], s["size"]) * 2 - 1
    side = s["size"] // 2 ** (levels - 1)
    z = torch.randn(s["batch"], s["latent_channels"], side, side)

    def loss():
        posterior = vae.encode(x).latent_dist
        return F.mse_loss(vae.decode(posterior.sample()).sample, x) + s["kl_weight"] * posterior.kl().mean()

    return vae, {
        "encode": lambda: inference(lambda: vae.encode(x).latent_dist.parameters),
        "decode": lambda: inference(lambda: vae.decode(z).sample),
        "train": lambda: training_step(vae, loss),
    }


CASES = {"op": op_case, "unet": unet_case, "block": block_case, "uvit": uvit_case, "vae": vae_case}


def measure(step, warmup, runs):
    for _ in range(warmup):
        step()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    return times


def run_case(name, given, args):
    if name not in CASES:
        sys.exit(f"unknown case {name!r}; known: {', '.join(CASES)}")
    unknown = set(given) - set(DEFAULTS[name])
    if unknown:
        sys.exit(f"case {name!r} has no {sorted(unknown)}; known: {sorted(DEFAULTS[name])}")
    torch.manual_seed(0)
    shape = {**DEFAULTS[name], **given}
    module, operations = CASES[name](shape)
    module.eval()
    for operation in shape["operations"]:
        if args.memory:
            measure(operations[operation](), 1, 1)
            print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            continue
        if operation not in operations:
            sys.exit(f"case {name!r} has no operation {operation!r}; known: {sorted(operations)}")
        times = measure(operations[operation](), args.warmup, args.runs)
        print(json.dumps({
            "case": name, "operation": operation, "shape": {k: v for k, v in shape.items() if k != "operations"},
            "parameters": sum(p.numel() for p in module.parameters()), "threads": args.threads,
            "warmup": args.warmup, "runs": args.runs, "median_ms": round(statistics.median(times), 4),
            "min_ms": round(min(times), 4), "max_ms": round(max(times), 4), "torch": torch.__version__,
        }), flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--runs", type=int, default=10)
    ap.add_argument("--warmup", type=int, default=2)
    what = ap.add_mutually_exclusive_group(required=True)
    what.add_argument("--case", choices=sorted(CASES))
    what.add_argument("--file", help="a JSON list of objects: \"case\" and shape values")
    what.add_argument("--list", action="store_true")
    ap.add_argument("--memory", action="store_true", help="run --case twice and print the process's peak in bytes")
    ap.add_argument("--json", default="{}", help="shape values of --case, as one JSON object")
    args = ap.parse_args()
    if args.runs < 1:
        ap.error("--runs must be at least 1")
    if args.list:
        print(json.dumps(DEFAULTS, indent=1))
        return
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    if args.file:
        with open(args.file, encoding="utf-8") as f:
            cases = json.load(f)
    else:
        cases = [{"case": args.case, **json.loads(args.json)}]
    for case in cases:
        run_case(case.pop("case"), case, args)


if __name__ == "__main__":
    main()
