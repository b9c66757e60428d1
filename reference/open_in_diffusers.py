#!/usr/bin/env python3
"""Opens a model folder that Trefoil wrote with diffusers and transformers, and draws and captions with it.

    python open_in_diffusers.py models/openmoji-32 --prompt "red apple" --out /tmp/apple.png

Every component is loaded strictly by the libraries' own loaders; the differences of the samplers (multistep solver, one
marginal noise) make the pictures differ from Trefoil's, not their kind.
"""
import argparse
import json
import os

import torch
from diffusers import AutoencoderKL, UniDiffuserPipeline
from diffusers.pipelines.deprecated.unidiffuser import UniDiffuserModel, UniDiffuserTextDecoder
from transformers import CLIPTextModel, CLIPVisionModelWithProjection


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("folder")
    ap.add_argument("--prompt", default="red apple")
    ap.add_argument("--steps", type=int, default=25)
    ap.add_argument("--guidance", type=float, default=3.0)
    ap.add_argument("--out", default="opened.png")
    args = ap.parse_args()
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    part = lambda cls, name, **kw: cls.from_pretrained(
        os.path.join(args.folder, name), torch_dtype=torch.float32, **kw)
    parts = dict(
        vae=part(AutoencoderKL, "vae"),
        unet=part(UniDiffuserModel, "unet"),
        text_decoder=part(UniDiffuserTextDecoder, "text_decoder", low_cpu_mem_usage=False),
        text_encoder=part(CLIPTextModel, "text_encoder"),
        image_encoder=part(CLIPVisionModelWithProjection, "image_encoder"),
    )
    for name, module in parts.items():
        print(f"{name}: {sum(p.numel() for p in module.parameters())} parameters")
    index = json.load(open(os.path.join(args.folder, "model_index.json")))
    from diffusers import DPMSolverMultistepScheduler
    from transformers import AutoTokenizer, CLIPImageProcessor
    pipe = UniDiffuserPipeline(
        clip_image_processor=CLIPImageProcessor.from_pretrained(os.path.join(args.folder, "clip_image_processor")),
        clip_tokenizer=AutoTokenizer.from_pretrained(os.path.join(args.folder, "clip_tokenizer")),
        text_tokenizer=AutoTokenizer.from_pretrained(os.path.join(args.folder, "text_tokenizer")),
        scheduler=DPMSolverMultistepScheduler.from_pretrained(os.path.join(args.folder, "scheduler")),
        **parts,
    )
    print("components in the index:", ", ".join(k for k in index if not k.startswith("_")))
    pipe.set_progress_bar_config(disable=True)
    picture = pipe(prompt=args.prompt, num_inference_steps=args.steps, guidance_scale=args.guidance).images[0]
    picture.save(args.out)
    text = pipe(image=picture, num_inference_steps=args.steps, guidance_scale=args.guidance).text[0]
    print(f"{args.prompt!r} drawn to {args.out}; described as {text!r}")


if __name__ == "__main__":
    main()
