"""Prints the literals of crates/trefoil-train/tests/optimizer.rs: four updates of torch.optim.AdamW with a
linear warm-up from zero, clipping of the global norm and a moving average of the weights."""

import torch

weight = torch.tensor([[0.5, -1.0], [2.0, 0.25]], requires_grad=True)
bias = torch.tensor([0.1, -0.2], requires_grad=True)
averages = [weight.detach().clone(), bias.detach().clone()]
optimizer = torch.optim.AdamW([weight, bias], lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 2, 1.0))
gradients = [
    ([[1.0, -2.0], [0.5, 0.0]], [0.25, -0.75]),
    ([[0.1, 0.2], [-0.3, 0.4]], [0.0, 0.1]),
    ([[-3.0, 1.0], [2.0, -1.0]], [1.5, 0.5]),
    ([[0.01, 0.0], [0.0, 0.02]], [-0.01, 0.0]),
]
for step, (of_weight, of_bias) in enumerate(gradients):
    weight.grad, bias.grad = torch.tensor(of_weight), torch.tensor(of_bias)
    norm = torch.nn.utils.clip_grad_norm_([weight, bias], 1.0)
    optimizer.step()
    schedule.step()
    for average, parameter in zip(averages, [weight, bias]):
        average.mul_(0.9).add_(parameter.detach(), alpha=0.1)
    values = [*weight.flatten().tolist(), *bias.tolist()]
    print(step, "norm", norm.item(), "parameters", [float(f"{v:.9g}") for v in values])
values = [*averages[0].flatten().tolist(), *averages[1].tolist()]
print("average", [float(f"{v:.9g}") for v in values])
