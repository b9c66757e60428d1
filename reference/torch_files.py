#!/usr/bin/env python3
"""Makes the PyTorch files of the tests of `trefoil-core`: every container and number format that checkpoints use,
and what must be refused.

Usage:  python torch_files.py [--out ../crates/trefoil-core/tests/fixtures/torch]
"""
import argparse
import json
import os
import pickle
import zipfile
from collections import OrderedDict

import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_OUT = os.path.join(HERE, "..", "crates", "trefoil-core", "tests", "fixtures", "torch")


def state():
    """An ordered dictionary with prefixed names, masks of bytes, integers, a scalar, one storage under two names, a
    view with an offset, a transposed view, an empty tensor and every float format."""
    g = torch.Generator().manual_seed(41)
    base = torch.randn(6, 5, generator=g)
    table = torch.randn(4, 3, generator=g)
    values = OrderedDict()
    values["module.plain"] = torch.randn(2, 3, 4, generator=g)
    values["module.transposed"] = base.T
    values["module.offset"] = base[2:5]
    values["module.column"] = base[:, 1]
    values["module.mask"] = torch.tril(torch.ones(1, 1, 4, 4, dtype=torch.uint8))
    values["module.flags"] = torch.tensor([True, False])
    values["module.position_ids"] = torch.arange(7)[None] - 3
    values["module.small"] = torch.tensor([-5, 300], dtype=torch.int16)
    values["module.signed"] = torch.tensor([-5, 100], dtype=torch.int8)
    values["module.words"] = torch.tensor([[-70000], [5]], dtype=torch.int32)
    values["module.masked_bias"] = torch.tensor(-1e4)
    values["module.wte.weight"] = table
    values["module.lm_head.weight"] = table
    values["module.half"] = torch.randn(3, generator=g).half()
    values["module.bfloat16"] = torch.randn(3, generator=g).bfloat16()
    values["module.double"] = torch.randn(3, generator=g).double()
    values["module.empty"] = torch.zeros(0, 4)
    values["module.parameter"] = torch.nn.Parameter(torch.randn(2, 2, generator=g))
    return values


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([1.5, -2.0]))
        self.register_buffer("steps", torch.arange(3))

    def forward(self, x):
        return x * self.scale


class Outer(torch.nn.Module):
    """A scripted module: its archive has classes instead of dictionaries."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.inner = Inner()
        self.width = 3

    def forward(self, x):
        return self.linear(self.inner(x))


class Evil:
    """What an attacker puts in a pickle."""

    def __reduce__(self):
        return os.system, ("true",)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=DEFAULT_OUT)
    out = parser.parse_args().out
    os.makedirs(out, exist_ok=True)
    path = lambda name: os.path.join(out, name)
    values = state()
    torch.save(values, path("zip.pth"))
    torch.save(values, path("old.bin"), _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state": {"model": {"w": torch.ones(2)}, "names": ["a", None]}}, path("nested.pth"))
    plain = {k: v.detach().clone().contiguous() for k, v in values.items()}
    save_file(plain, path("expected.safetensors"))
    torch.manual_seed(3)
    outer = Outer()
    torch.jit.script(outer).save(path("script.pt"))
    save_file({k: v.detach().clone() for k, v in outer.state_dict().items()}, path("script.safetensors"))
    # shards, in both formats
    names = list(plain)
    halves = {"1": names[: len(names) // 2], "2": names[len(names) // 2:]}
    for i, part in halves.items():
        save_file({k: plain[k] for k in part}, path(f"shard-{i}-of-2.safetensors"))
    index = {"metadata": {"total_size": 0},
             "weight_map": {k: f"shard-{i}-of-2.safetensors" for i, part in halves.items() for k in part}}
    with open(path("shards.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump(index, f, indent=1, sort_keys=True)
        f.write("\n")
    torch.save({"w": Evil()}, path("evil.pth"))
    with zipfile.ZipFile(path("deflated.pth"), "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data.pkl", pickle.dumps({"a": 1} | {str(i): i for i in range(50)}, protocol=2))
    print(f"wrote {out} ({sum(os.path.getsize(path(f)) for f in os.listdir(out))} bytes)")


if __name__ == "__main__":
    main()
