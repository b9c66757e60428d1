"""Times one training step of an EDM network in PyTorch, for comparison with the `samples_per_second` that
`trefoil train edm` logs with the same recipe.

    python reference/bench_edm.py --side 16 --width 32 --mult 1 2 2 --blocks 2 --attn 8 --batch 64 --threads 2
"""

import argparse
import time

import torch

import edm_torch


class Single(edm_torch.Weights):
    """Weights in single precision that are trained."""

    def take(self, name, *shape):
        key = "model." + name
        if key not in self:
            super().take(name, *shape)
            self[key] = self[key].detach().float().requires_grad_(not name.endswith("freqs"))
        return self[key]


def options():
    parser = argparse.ArgumentParser()
    for name, value in [("side", 16), ("width", 32), ("blocks", 2), ("batch", 64), ("threads", 2), ("rounds", 5)]:
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--mult", type=int, nargs="+", default=[1, 2, 2])
    parser.add_argument("--attn", type=int, nargs="+", default=[8])
    parser.add_argument("--family", default="ddpm++")
    return parser


def measure(a):
    """Number of parameters and the seconds of each step."""
    torch.set_num_threads(a.threads)
    net = edm_torch.Net(a.family, a.side, a.width, a.mult, a.blocks, a.attn, labels=0, augment=9)
    net.w, net.filter = Single(), net.filter.float()
    optimizer, times = None, []
    for _ in range(a.rounds + 2):
        start = time.perf_counter()
        clean, noise = torch.randn(2, a.batch, 3, a.side, a.side) * 0.5
        sigma = (torch.randn(a.batch) * 1.2 - 1.2).exp()
        s, total = sigma[:, None, None, None], (sigma**2 + 0.25).sqrt()[:, None, None, None]
        x = clean + s * noise
        with torch.autocast("cpu", enabled=False):
            torch.set_default_dtype(torch.float32)
            raw, _ = net(x / total, sigma.log() / 4, None, torch.zeros(a.batch, 9))
        denoised = 0.25 / total**2 * x + s * 0.5 / total * raw
        loss = ((total / (s * 0.5) * (denoised - clean)) ** 2).mean()
        if optimizer is None:
            optimizer = torch.optim.AdamW([w for w in net.w.values() if w.requires_grad], lr=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return sum(w.numel() for w in net.w.values()), times[2:]


def main():
    a = options().parse_args()
    count, times = measure(a)
    median = sorted(times)[len(times) // 2]
    print(f"{count} parameters, {median:.3f} s per step, {a.batch / median:.1f} samples per second")


if __name__ == "__main__":
    main()
