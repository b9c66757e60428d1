#!/usr/bin/env python3
"""Loads two model folders with diffusers and transformers and compares what every network computes.

    trefoil models convert ORIGINAL CONVERTED --precision f32
    python converted_in_diffusers.py ORIGINAL CONVERTED

The first folder is the reference, for example one that `unidiffuser_oracle.py` wrote (`DIR/hf`). When it holds the authors'
files (`DIR/orig`), those of CONVERTED are opened by `torch.load` with `weights_only=True` and compared tensor by tensor.
Otherwise CONVERTED is opened as a whole, by its `model_index.json`, and the pipeline of diffusers draws with it. Exits with 1
when a relative difference is above `--tolerance` (0: the conversion lost nothing).
"""
import argparse
import glob
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from diffusers import AutoencoderKL, UniDiffuserPipeline
from transformers import AutoTokenizer, CLIPTextModel, CLIPVisionModelWithProjection

try:
    from diffusers.pipelines.deprecated.unidiffuser import UniDiffuserModel, UniDiffuserTextDecoder
except ImportError:
    from diffusers.pipelines.unidiffuser import UniDiffuserModel, UniDiffuserTextDecoder


def compute(folder):
    """Outputs of every network on inputs that follow from the configurations."""
    part = lambda cls, name, **kw: cls.from_pretrained(
        os.path.join(folder, name), torch_dtype=torch.float32, **kw).eval()
    unet, vae = part(UniDiffuserModel, "unet"), part(AutoencoderKL, "vae")
    decoder = part(UniDiffuserTextDecoder, "text_decoder", low_cpu_mem_usage=False)
    text, image = part(CLIPTextModel, "text_encoder"), part(CLIPVisionModelWithProjection, "image_encoder")
    clip_tok = AutoTokenizer.from_pretrained(os.path.join(folder, "clip_tokenizer"))
    gpt_tok = AutoTokenizer.from_pretrained(os.path.join(folder, "text_tokenizer"))
    g = torch.Generator().manual_seed(1)
    rnd = lambda *shape: torch.randn(shape, generator=g)
    c = unet.config
    z = rnd(1, c.in_channels, c.sample_size, c.sample_size)
    clip, code = rnd(1, 1, c.clip_img_dim), rnd(1, c.num_text_tokens, c.text_dim)
    ids = clip_tok(["the sea and the moon"], padding="max_length", max_length=c.num_text_tokens, truncation=True,
                   return_tensors="pt").input_ids
    words = torch.tensor([gpt_tok(" the sea")["input_ids"]])
    hidden = text(ids)[0]
    pixels = rnd(1, 3, vae.config.sample_size, vae.config.sample_size)
    view = rnd(1, 3, image.config.image_size, image.config.image_size)
    noise = unet(z, clip, code, timestep_img=torch.tensor([700.0]), timestep_text=torch.tensor([10.0]), data_type=1)
    return {
        "tokens of a prompt": ids.float(), "tokens of a caption": words.float(), "text_encoder": hidden,
        "image_encoder": image(view).image_embeds, "vae encoder": vae.encode(pixels).latent_dist.parameters,
        "vae decoder": vae.decode(z).sample, "unet z": noise[0], "unet clip": noise[1], "unet text": noise[2],
        "text_decoder": decoder(words, hidden)[0].logits,
    }


def draws(folder):
    """Whether the pipeline opens the folder as it is and draws a picture of finite numbers."""
    pipe = UniDiffuserPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.set_text_to_image_mode()
    picture = pipe(prompt="the sea", num_inference_steps=2, output_type="latent",
                   generator=torch.Generator().manual_seed(1)).images
    print(f"{'pipeline':<22}draws {tuple(picture.shape)}")
    return bool(picture.isfinite().all())


def authors(folder):
    """The tensors of the authors' files, without the frozen CLIP and the masks in the caption decoder."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.pth"))):
        state = torch.load(path, map_location="cpu", weights_only=True)
        unused = lambda k: k.startswith("module.clip") or k.endswith((".attn.bias", ".attn.masked_bias")) and ".h." in k
        found.update({f"{os.path.basename(path)}: {k}": v.float() for k, v in state.items() if not unused(k)})
    return found


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("original")
    ap.add_argument("converted")
    ap.add_argument("--tolerance", type=float, default=0.0)
    args = ap.parse_args()
    torch.set_grad_enabled(False)
    of_authors = bool(glob.glob(os.path.join(args.original, "uvit_v*.pth")))
    read = authors if of_authors else compute
    expected, found = read(args.original), read(args.converted)
    failed = expected.keys() != found.keys()
    if failed:
        print("not in both:", ", ".join(sorted(expected.keys() ^ found.keys())))
    worst = 0.0
    for name in expected.keys() & found.keys() if of_authors else ():
        a, b = expected[name], found[name]
        same = a.shape == b.shape
        worst = max(worst, ((a - b).abs().max() / a.abs().max().clamp(min=1e-12)).item() if same else float("inf"))
    if of_authors:
        print(f"{len(expected)} tensors of PyTorch's files, largest difference {worst:.1e}")
        sys.exit(1 if failed or worst > args.tolerance else 0)
    for name, value in expected.items():
        other = found[name]
        same = value.shape == other.shape
        difference = (value - other).abs().max().item() / max(value.abs().max().item(), 1e-12) if same else float("inf")
        failed |= difference > args.tolerance
        print(f"{name:<22}{difference:.1e}")
    failed |= not draws(args.converted)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
