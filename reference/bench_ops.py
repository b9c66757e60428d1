"""Single operations for bench_torch.py: each takes a shape and options, and returns a call and its tracked inputs."""
import torch
import torch.nn.functional as F


def unary(function):
    def make(shape):
        x = torch.randn(*shape)
        return lambda: function(x), [x]

    return make


def add(shape):
    a, b = torch.randn(*shape), torch.randn(*shape)
    return lambda: a + b, [a, b]


def layer_norm(shape, residual=False):
    x, y = torch.randn(*shape), torch.randn(*shape)
    weight, bias = torch.ones(shape[-1]), torch.zeros(shape[-1])
    run = lambda: F.layer_norm(x + y if residual else x, shape[-1:], weight, bias)
    return run, [x, weight, bias] + [y] * residual


def group_norm(shape, groups=32, adaptive=False):
    x, weight, bias = torch.randn(*shape), torch.ones(shape[1]), torch.zeros(shape[1])
    scale, shift = (torch.randn(shape[0], shape[1], 1, 1) for _ in range(2))

    def run():
        y = F.group_norm(x, groups, weight, bias, 1e-5)
        return F.silu(torch.addcmul(shift, y, scale + 1) if adaptive else y)

    return run, [x, weight, bias] + [scale, shift] * adaptive


def attention(shape, causal=False):
    q, k, v = (torch.randn(*shape) for _ in range(3))
    return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal), [q, k, v]


def packed_attention(shape, heads):
    x = torch.randn(*shape)
    b, n, d = shape

    def run():
        q, k, v = x.view(b, n, 3, heads, d // 3 // heads).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d // 3)

    return run, [x]


def linear(shape, activation=None):
    rows, d_in, d_out = shape
    x, weight, bias = torch.randn(rows, d_in), torch.randn(d_out, d_in) / d_in**0.5, torch.zeros(d_out)
    after = {None: lambda y: y, "gelu": F.gelu, "silu": F.silu}[activation]
    return lambda: after(F.linear(x, weight, bias)), [x, weight, bias]


def conv2d(shape, c_out, kernel=3, stride=1, upsample=False):
    x, bias = torch.randn(*shape), torch.zeros(c_out)
    weight = torch.randn(c_out, shape[1], kernel, kernel) / (kernel * shape[1] ** 0.5)
    before = (lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest")) if upsample else lambda x: x
    return lambda: F.conv2d(before(x), weight, bias, stride, kernel // 2), [x, weight, bias]


def gather(shape, rows):
    table, index = torch.randn(*shape), torch.randint(0, shape[0], (rows,))
    return lambda: F.embedding(index, table), [table]


def segment_mean(shape, rows):
    """Mean of the rows of a table that each node lists; the nodes share the list equally."""
    table, index = torch.randn(*shape), torch.randint(0, shape[0], (rows,))
    nodes = shape[0]
    node = torch.arange(rows) * nodes // rows
    count = torch.bincount(node, minlength=nodes).clamp(min=1)[:, None].float()
    run = lambda: torch.zeros(nodes, shape[1]).index_add(0, node, F.embedding(index, table)) / count
    return run, [table]


def adamw(shape):
    """AdamW in one call, and an average of the weights."""
    parameter = torch.randn(*shape, requires_grad=True)
    parameter.grad = torch.randn(*shape)
    average = parameter.detach().clone()
    optimizer = torch.optim.AdamW([parameter], lr=1e-4, fused=True)

    def run():
        optimizer.step()
        return average.lerp_(parameter.detach(), 0.001)

    return run, []


OPS = {
    "gelu": unary(F.gelu),
    "gelu_tanh": unary(lambda x: F.gelu(x, approximate="tanh")),
    "quick_gelu": unary(lambda x: x * torch.sigmoid(1.702 * x)),
    "silu": unary(F.silu),
    "softmax": unary(lambda x: F.softmax(x, -1)),
    "permute": unary(lambda x: x.t().contiguous()),
    "add": add,
    "layer_norm": layer_norm,
    "group_norm_silu": group_norm,
    "attention": attention,
    "packed_attention": packed_attention,
    "linear": linear,
    "conv2d": conv2d,
    "gather": gather,
    "segment_mean": segment_mean,
    "adamw": adamw,
}
