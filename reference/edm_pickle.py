"""Tiny files in the form of EDM's published .pkl files, made without the authors' code.

The modules `torch_utils.persistence` and `dnnlib.util` are stand-ins of our own: what matters is how their
objects look in a pickle. Weights are those of `edm_torch.py`, stored as single precision.

    python reference/edm_pickle.py     # needs torch; writes crates/uni-instruct/tests/fixtures/edm_*.pkl
"""

import os
import pickle
import sys
import types

import numpy as np
import torch

from edm_torch import CASES, OUT, Net, case

for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
    sys.modules[name] = types.ModuleType(name)
persistence, util = sys.modules["torch_utils.persistence"], sys.modules["dnnlib.util"]


def _reconstruct_persistent_obj(meta):
    raise NotImplementedError


class EasyDict(dict):
    pass


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
EasyDict.__module__ = "dnnlib.util"
util.EasyDict = EasyDict


class Persistent(torch.nn.Module):
    """A module whose class travels as text."""

    def __reduce__(self):
        meta = dict(
            type="class",
            version=6,
            module_src="raise SystemExit('this text must never run')",
            class_name=type(self).__name__,
            state=dict(self.__dict__),
        )
        return _reconstruct_persistent_obj, (meta,), None


def nest(tensors, buffers):
    """Modules for dotted names."""
    root = Persistent()
    for key, value in tensors.items():
        *path, leaf = key.split(".")
        module = root
        for depth, name in enumerate(path):
            if name not in module._modules:
                # Encoder and decoder are dictionaries of modules in the published files.
                inner = torch.nn.ModuleDict() if path[depth - 1 :] and name in ("enc", "dec") else Persistent()
                module._modules[name] = inner
            module = module._modules[name]
        if key in buffers:
            module.register_buffer(leaf, value)
        else:
            module.register_parameter(leaf, torch.nn.Parameter(value, requires_grad=False))
    return root


def main():
    settings = CASES["ncsnpp"]
    net = Net(**settings)
    side = settings["side"]
    with torch.no_grad():
        one = torch.zeros(1, dtype=torch.float64)
        x, augment = torch.zeros(1, 3, side, side, dtype=torch.float64), torch.zeros(1, 9, dtype=torch.float64)
        net(x, one, None, augment)
    tensors = {name: value.detach().float() for name, value in net.w.items()}
    buffers = {"model.map_noise.freqs"}
    changed = [f"model.enc.{side // 2}x{side // 2}_down", f"model.dec.{side}x{side}_up"]
    names = [f"{n}.{part}" for n in changed for part in ("conv0", "skip")]
    for name in [*names, f"model.enc.{side // 2}x{side // 2}_aux_residual"]:
        tensors[name + ".resample_filter"] = net.filter.float()[None, None]
        buffers.add(name + ".resample_filter")
    network = nest(tensors, buffers)
    network.sigma_data = 0.5
    network.label_dim = 0
    network.sigma_max = float("inf")
    network.model.skip_scale = np.sqrt(0.5)
    network._init_kwargs = EasyDict(resolution=side)
    data = {"ema": network, "dataset_kwargs": EasyDict(path="pictures.zip"), "augment_pipe": None}
    with open(OUT / "edm_ncsnpp.pkl", "wb") as file:
        pickle.dump(data, file)

    class Call:
        def __reduce__(self):
            return os.system, ("echo this must never run",)

    with open(OUT / "edm_hostile.pkl", "wb") as file:
        pickle.dump({"ema": Call()}, file)
    print(os.path.getsize(OUT / "edm_ncsnpp.pkl"), "bytes")


if __name__ == "__main__":
    main()
