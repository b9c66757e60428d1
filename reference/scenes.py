"""Golden numbers for the renderer of voxel scenes: pictures, silhouettes and the gradient of the voxels by PyTorch.

Written from the description alone and in other steps than the renderer: cameras by rotation matrices, the grid by
`grid_sample`, transmittance by a running product.

    python reference/scenes.py    # needs torch; writes crates/uni-instruct/tests/fixtures/scenes.json
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

from edm_torch import OUT, uniform

GRID, SIDE, SAMPLES, DISTANCE, FIELD_OF_VIEW = 5, 4, 7, 2.5, 75.0
# Scene, azimuth and elevation in degrees.
SHOTS = [(0, 0.0, 0.0), (1, 37.0, 25.0), (0, 205.0, -40.0), (1, 300.0, 70.0)]


def rotation(azimuth, elevation):
    a, e = math.radians(azimuth), -math.radians(elevation)
    about_x = torch.tensor([[1, 0, 0], [0, math.cos(e), -math.sin(e)], [0, math.sin(e), math.cos(e)]], dtype=torch.float64)
    about_y = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]], dtype=torch.float64)
    return about_y @ about_x


def render(volume, azimuth, elevation):
    """volume: [4, z, y, x]; returns colours [3, SIDE, SIDE] in [-1, 1] and opacity [SIDE, SIDE]."""
    turn = rotation(azimuth, elevation)
    eye = turn @ torch.tensor([0.0, 0.0, DISTANCE], dtype=torch.float64)
    line = ((torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE * 2 - 1) * math.tan(math.radians(FIELD_OF_VIEW) / 2)
    down, across = torch.meshgrid(-line, line, indexing="ij")
    ways = F.normalize(torch.stack([across, down, -torch.ones_like(across)], -1), dim=-1) @ turn.T
    faces = torch.stack([(-1 - eye) / ways, (1 - eye) / ways])
    near, far = faces.amin(0).amax(-1), faces.amax(0).amin(-1)
    step = (far - near).clamp(min=0) / SAMPLES
    t = near[..., None] + (torch.arange(SAMPLES, dtype=torch.float64) + 0.5) * step[..., None]
    points = eye + t[..., None] * ways[:, :, None, :]
    found = F.grid_sample(volume[None], points[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
    density, colour = found[0], found[1:]
    alpha = 1 - torch.exp(-density * step[..., None])
    ones = torch.ones_like(alpha[..., :1])
    weight = alpha * torch.cumprod(torch.cat([ones, 1 - alpha], -1), -1)[..., :-1]
    opacity = weight.sum(-1)
    return (weight * colour).sum(-1) * 2 + (1 - opacity) * 2 - 1, opacity


def main():
    voxels = GRID**3
    raw = uniform("scenes.fields", (2 * voxels, 4)).double()
    scale, offset = torch.tensor([2.0, 0.5, 0.5, 0.5]), torch.tensor([2.0, 0.5, 0.5, 0.5])
    fields = (raw * scale + offset).float().double().requires_grad_(True)
    volumes = fields.reshape(2, GRID, GRID, GRID, 4).permute(0, 4, 1, 2, 3)
    views = [render(volumes[scene], azimuth, elevation) for scene, azimuth, elevation in SHOTS]
    pictures = torch.stack([colours.flatten() for colours, _ in views])
    opacity = torch.stack([silhouette.flatten() for _, silhouette in views])
    probe = uniform("scenes.probe", tuple(pictures.shape)).double()
    (pictures * probe).sum().backward()
    numbers = lambda tensor: [float(f"{v:.9g}") for v in tensor.detach().flatten().tolist()]
    missing = int((opacity == 0).sum())
    assert 0 < missing < opacity.numel(), missing
    content = {"picture": numbers(pictures), "opacity": numbers(opacity), "gradient": numbers(fields.grad)}
    path = Path(OUT) / "scenes.json"
    path.write_text(json.dumps(content) + "\n")
    print(path, path.stat().st_size, "bytes;", missing, "rays miss the cube")


if __name__ == "__main__":
    main()
