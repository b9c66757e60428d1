"""Times one iteration of distillation on pictures in PyTorch: an update of the fake network and one of the student,
as `trefoil distill` makes them, for comparison with the `samples_per_second` that it logs with the same sizes.

    python reference/bench_distill.py --side 16 --width 24 --mult 1 2 2 --blocks 1 --attn 8 --batch 64 --threads 1

Prints seconds per 1,000 pictures of the student for the integral form, the expanded form, and the expanded form with
discriminator and adversarial term.
"""

import argparse
import time

import torch
import torch.nn.functional as F

import edm_torch
from bench_edm import Single


def network(a):
    net = edm_torch.Net("ddpm++", a.side, a.width, a.mult, a.blocks, a.attn, labels=0, augment=0)
    net.w, net.filter = Single(), net.filter.float()
    return net


def denoise(net, x, sigma):
    s, total = sigma[:, None, None, None], (sigma**2 + 0.25).sqrt()[:, None, None, None]
    raw, encoded = net(x / total, sigma.log() / 4, None, None)
    return 0.25 / total**2 * x + s * 0.5 / total * raw, encoded


def trained(net, on):
    for w in net.w.values():
        w.requires_grad_(on)


def step(optimizer, loss):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 10.0)
    optimizer.step()


def iteration(nets, optimizers, head, shape, form):
    teacher, fake, student = nets
    start = torch.full((shape[0],), 2.5)
    inner = lambda a, b: (a * b).flatten(1).sum(1)
    logits = lambda encoded: head(encoded.flatten(2).transpose(1, 2)).squeeze(2)

    with torch.no_grad():
        clean, _ = denoise(student, 2.5 * torch.randn(shape), start)
    sigma = (torch.randn(shape[0]) * 1.2 - 1.2).exp()
    noise = sigma[:, None, None, None] * torch.randn(shape)
    found, encoded = denoise(fake, clean + noise, sigma)
    weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    loss = (((found - clean) ** 2).flatten(1).mean(1) * weight).mean()
    if form == "adversarial":
        true = logits(denoise(fake, torch.randn(shape) * 0.5 + noise, sigma)[1])
        loss = loss + (F.softplus(-true).mean() + F.softplus(logits(encoded)).mean()) / 2
    step(optimizers[0], loss)

    trained(fake, False)
    x0, _ = denoise(student, 2.5 * torch.randn(shape), start)
    sigma = (torch.rand(shape[0]) * 6 - 4).exp()
    x = x0 + sigma[:, None, None, None] * torch.randn(shape)
    seen = x.detach() if form == "integral" else x
    q, p_encoded = denoise(teacher, seen, sigma)[0], denoise(fake, seen, sigma)
    p, encoded = p_encoded
    c = 1 / (x0 - q).abs().flatten(1).mean(1).detach()
    if form == "integral":
        score = inner((p - q).detach(), x0)
    else:
        score = inner(q - p, p - x0) - 0.2 * inner(q - p, q - p)
    loss = (c * score).mean()
    if form == "adversarial":
        loss = loss + 0.001 * (c[:, None] * x0[0].numel() * F.softplus(-logits(encoded))).mean()
    step(optimizers[1], loss)
    trained(fake, True)


def main():
    parser = argparse.ArgumentParser()
    for name, value in [("side", 16), ("width", 24), ("blocks", 1), ("batch", 64), ("threads", 1), ("rounds", 5)]:
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--mult", type=int, nargs="+", default=[1, 2, 2])
    parser.add_argument("--attn", type=int, nargs="+", default=[8])
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_default_dtype(torch.float32)
    shape = (a.batch, 3, a.side, a.side)
    nets = [network(a) for _ in range(3)]
    for net in nets:
        denoise(net, torch.randn(shape), torch.ones(a.batch))
    trained(nets[0], False)
    wide = a.width * a.mult[-1]
    head = torch.nn.Sequential(torch.nn.Linear(wide, wide), torch.nn.SiLU(), torch.nn.Linear(wide, 1))
    parameters = [list(nets[1].w.values()) + list(head.parameters()), list(nets[2].w.values())]
    optimizers = [torch.optim.Adam([w for w in of if w.requires_grad], lr=1e-5, betas=(0.0, 0.999)) for of in parameters]
    for form in ("integral", "expanded", "adversarial"):
        times = []
        for _ in range(a.rounds + 1):
            clock = time.perf_counter()
            iteration(nets, optimizers, head, shape, form)
            times.append(time.perf_counter() - clock)
        best = sorted(times[1:])[len(times[1:]) // 2]
        print(f"{form}: {1000 * best / a.batch:.2f} s per 1,000 pictures ({a.threads} threads)")


if __name__ == "__main__":
    main()
