#!/usr/bin/env python3
"""How far PyTorch is from itself: what the last bit of the noise, or single precision, does to recorded runs.

    python sensitivity.py DIR...     # folders that unidiffuser_oracle.py wrote

For each folder, relative to the largest magnitude of the tensor:
  * the runs of the double-precision reference again, in single precision (`original_*`);
  * the joint run of diffusers again, with every recorded number of its start one unit in the last place larger.
A run that moves further than a tolerance cannot be held to that tolerance by anybody.
"""
import json
import os
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors.torch import load_file

import unidiffuser_oracle as oracle
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPTextModel, CLIPVisionModelWithProjection

CHAINS = {"i2t2i": ("i2t", "t2i"), "t2i2t": ("t2i", "i2t")}


def relative(found, expected):
    return ((found.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def draws(group):
    return [group[k] for k in sorted(group) if k.startswith("noise.")]


def replay(group):
    queue = draws(group)

    def draw(*shape):
        noise = queue.pop(0)
        assert tuple(noise.shape) == shape
        return noise

    return draw


def single_precision(root, args):
    """The largest difference of each original run in single precision from the recorded one."""
    weights = load_file(os.path.join(root, "orig", f"uvit_v{args['version']}.safetensors"))
    net = oracle.RefUViT(weights, oracle.DIM["heads"], oracle.DIM["latent"], dtype=torch.float32)
    result = {}
    for mode in ("t2i", "t2i_empty", "i2t", "i", "t", "joint", "i2t2i", "t2i2t"):
        group = load_file(os.path.join(root, f"original_{mode}.safetensors"))
        kw = dict(steps=args["steps"], batch=1, rec=replay(group))
        text, image = group["cond.text"], (group["cond.z"], group["cond.clip"])
        tasks = CHAINS.get(mode, (mode,))
        for task in tasks:
            if task == "t2i_empty":
                out = oracle.original_sample(net, "t2i", cond=text, cfg_mode="empty_token",
                                             empty_text=group["empty_text"], **kw)
            else:
                cond = {"t2i": text, "i2t": image}.get(task)
                out = oracle.original_sample(net, task, cond=cond, **kw)
            text = out.get("text", text)
            image = (out["z"], out["clip"]) if "z" in out else image
        result[f"original_{mode}"] = max(relative(v, group[f"out.{k}"]) for k, v in out.items())
    return result


def pipeline(root):
    part = lambda cls, name, **kw: cls.from_pretrained(os.path.join(root, "hf", name), **kw)
    pipe = oracle.UniDiffuserPipeline(
        vae=part(AutoencoderKL, "vae"), text_encoder=part(CLIPTextModel, "text_encoder"),
        image_encoder=part(CLIPVisionModelWithProjection, "image_encoder"),
        clip_image_processor=part(CLIPImageProcessor, "clip_image_processor"),
        clip_tokenizer=part(AutoTokenizer, "clip_tokenizer"), text_tokenizer=part(AutoTokenizer, "text_tokenizer"),
        text_decoder=part(oracle.UniDiffuserTextDecoder, "text_decoder", low_cpu_mem_usage=False),
        unet=part(oracle.UniDiffuserModel, "unet"), scheduler=part(DPMSolverMultistepScheduler, "scheduler"))
    pipe.set_progress_bar_config(disable=True)
    pipe.set_joint_mode()
    return pipe


def nudged(root, args):
    """Ends of the joint run as recorded, and with its start one unit in the last place larger."""
    pipe, group, ends = pipeline(root), load_file(os.path.join(root, "pipeline_joint.safetensors")), []
    for factor in (1.0, 1.0 + torch.finfo(torch.float32).eps):
        queue = [noise * factor if i < 3 else noise for i, noise in enumerate(draws(group))]
        oracle.PIPE_MOD.randn_tensor = lambda shape, **kw: queue.pop(0)
        steps = []
        pipe(num_inference_steps=args["steps"], output_type="latent", guidance_scale=8.0,
             callback=lambda i, t, latents: steps.append(latents.clone()))
        ends.append(relative(steps[-1], group["latents"][-1]))
    return ends


def main():
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    for root in sys.argv[1:]:
        args = json.load(open(os.path.join(root, "manifest.json"), encoding="utf-8"))["args"]
        again, moved = nudged(root, args)
        print(json.dumps({"folder": root, "single_precision": single_precision(root, args),
                          "joint_again": again, "joint_nudged": moved}), flush=True)


if __name__ == "__main__":
    main()
