"""Golden numbers for a training step of distillation on pictures: losses and gradients by PyTorch's autograd.

Teacher, fake network and student are DDPM++ of `edm_torch.py` at a tiny size; weights, noise and pictures follow
from names, so that the Rust test repeats them. The losses are written as sums of inner products whose factors are
detached where the theory holds them constant, and nothing else is derived by hand. Of the gradient of each
parameter the norm and the inner product with a vector that follows from its name are stored.

    python reference/edm_distill.py    # needs torch; writes crates/uni-instruct/tests/fixtures/edm_distill.json
"""

import json
import math

import torch
import torch.nn.functional as F

from edm_torch import OUT, Net, Weights, uniform

SIDE, BATCH, DATA, START = 8, 2, 0.5, 2.5
SIGMA = torch.tensor([0.35, 4.0], dtype=torch.float64)


class Named(Weights):
    """Weights whose values follow from the name of the network as well."""

    def __init__(self, prefix):
        super().__init__()
        self.prefix = prefix

    def take(self, name, *shape):
        key = "model." + name
        if key not in self:
            value = uniform(f"{self.prefix}.{key}", shape)
            if "norm" in name:
                value = value * 0.25 + (1 if name.endswith("weight") else 0)
            elif name.endswith("bias"):
                value = value * 0.25
            else:
                value = value * (1.5 / math.sqrt(math.prod(shape[1:])))
            self[key] = value.float().double().requires_grad_(True)
        return self[key]


def network(prefix):
    net = Net("ddpm++", SIDE, 8, (1, 2), 1, (4,), 0, 0)
    net.w = Named(prefix)
    return net


def denoise(net, x, sigma):
    s = sigma[:, None, None, None]
    total = (s**2 + DATA**2).sqrt()
    raw, encoded = net(x / total, sigma.log() / 4, None, None)
    return DATA**2 / total**2 * x + s * DATA / total * raw, encoded


def draw(name):
    return uniform(name, (BATCH, 3, SIDE, SIDE)) * 1.5


def head():
    width = 16
    shapes = {"head_in.weight": (width, width), "head_in.bias": (width,), "head_out.weight": (1, width), "head_out.bias": (1,)}
    return {name: (uniform(name, shape) * 0.5).float().double().requires_grad_(True) for name, shape in shapes.items()}


def logits(of, encoded):
    tokens = encoded.flatten(2).transpose(1, 2)
    hidden = F.silu(F.linear(tokens, of["head_in.weight"], of["head_in.bias"]))
    return F.linear(hidden, of["head_out.weight"], of["head_out.bias"]).squeeze(2)


def inner(a, b):
    return (a * b).flatten(1).sum(1)


def fake_step():
    """The fake network on two clean pictures and two real ones: EDM's loss and binary cross-entropy."""
    fake, top = network("fake"), head()
    s = SIGMA[:, None, None, None]
    clean, real, noise = uniform("clean", (BATCH, 3, SIDE, SIDE)), uniform("real", (BATCH, 3, SIDE, SIDE)), draw("noise")
    found, encoded = denoise(fake, clean + s * noise, SIGMA)
    weight = (SIGMA**2 + DATA**2) / (SIGMA * DATA) ** 2
    denoising = ((found - clean) ** 2).flatten(1).mean(1) * weight
    false = logits(top, encoded)
    true = logits(top, denoise(fake, real + s * noise, SIGMA)[1])
    ones = torch.ones_like(true)
    entropy = F.binary_cross_entropy_with_logits
    entropy = (entropy(true, ones) + entropy(false, 1 - ones)) / 2
    loss = denoising.mean() + 0.7 * entropy
    loss.backward()
    return {"loss": loss.item(), "cross_entropy": entropy.item(), "gradients": gradients({**fake.w, **top})}


def student_step(method):
    """The student against frozen teacher and fake network."""
    teacher, fake, student, top = network("teacher"), network("fake"), network("student"), head()
    start = torch.full((BATCH,), START, dtype=torch.float64)
    s = SIGMA[:, None, None, None]
    x0, _ = denoise(student, START * draw("latent"), start)
    x = x0 + s * draw("noise")
    q, _ = denoise(teacher, x, SIGMA)
    p, encoded = denoise(fake, x, SIGMA)
    logit = logits(top, encoded)
    r = logit.mean(1).detach().exp()
    delta, a = q - p, p - x0
    c = 1 / (x0 - q).abs().flatten(1).mean(1).detach()
    if method == "forward-kl":  # h = r, r h' = r, h - r h' = 0, h'' = 0
        product = inner(delta, a)
        along = (r * product / SIGMA**2).detach()[:, None, None, None] * delta.detach()
        score = r * product + inner(along, x)
    elif method == "sid-1.2":  # h = 1, kappa = 2 - 2 alpha
        score = inner(delta, a) + (2 - 2 * 1.2) / 2 * inner(delta, delta)
    elif method == "jensen-shannon":  # the integral form, h = r / (r + 1)
        h = (r / (r + 1))[:, None, None, None]
        score = inner((h * (p - q)).detach(), x0)
    loss = (c * score).mean()
    if method == "forward-kl":
        values = x0[0].numel()
        loss = loss + 0.01 * (c[:, None] * values * F.softplus(-logit)).mean()
    loss.backward()
    return {"score": (c * score).mean().item(), "gradients": gradients(student.w)}


def gradients(tensors):
    def of(name, value):
        g = value.grad
        return [g.norm().item(), (g * uniform(f"probe.{name}", tuple(g.shape))).sum().item()]

    return {name: of(name, value) for name, value in tensors.items()}


if __name__ == "__main__":
    found = {"fake": fake_step()}
    for method in ("forward-kl", "sid-1.2", "jensen-shannon"):
        found[method] = student_step(method)
    (OUT / "edm_distill.json").write_text(json.dumps(found, indent=1) + "\n")
    print({name: {k: v for k, v in case.items() if k != "gradients"} for name, case in found.items()})
