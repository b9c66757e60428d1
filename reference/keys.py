#!/usr/bin/env python3
"""Lists the parameter names and shapes of the full-size UniDiffuser components, without allocating them.

Every component is built on the "meta" device from the released hyper-parameters; the names of the original
checkpoints follow from the renaming in `unidiffuser_oracle.py`. One text file per component:
a comment with the number of tensors and elements, then `name [shape]` lines.

Usage:  python keys.py [--out ../crates/unidiffuser/tests/fixtures/keys]
"""
import argparse
import math
import os

import torch
from unidiffuser_oracle import UniDiffuserModel, UniDiffuserTextDecoder, unet_to_original, vae_to_original

from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "crates", "unidiffuser", "tests", "fixtures", "keys")


def unet(version):
    return UniDiffuserModel(
        text_dim=64, clip_img_dim=512, num_text_tokens=77, num_attention_heads=24, attention_head_dim=64, in_channels=4,
        out_channels=4, num_layers=30, sample_size=64, patch_size=2, activation_fn="gelu", num_embeds_ada_norm=1000,
        norm_type="layer_norm", block_type="unidiffuser", pre_layer_norm=False, use_timestep_embedding=False,
        ff_final_dropout=True, use_data_type_embedding=version == 1,
    ).state_dict()


def vae():
    return AutoencoderKL(
        sample_size=256, in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[128, 256, 512, 512], norm_num_groups=32, scaling_factor=0.18215,
    ).state_dict()


def text_decoder():
    return UniDiffuserTextDecoder(
        prefix_length=77, prefix_inner_dim=768, prefix_hidden_dim=64, vocab_size=50258, n_positions=1024, n_embd=768,
        n_layer=12, n_head=12,
    ).state_dict()


def clip_text():
    config = CLIPTextConfig(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                            num_attention_heads=12, max_position_embeddings=77)
    state = CLIPTextModel(config).state_dict()
    return {k if k.startswith("text_model.") else "text_model." + k: v for k, v in state.items()}


def clip_vision():
    return CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=224,
        patch_size=32, projection_dim=512)).state_dict()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=OUT)
    out = ap.parse_args().out
    os.makedirs(out, exist_ok=True)
    with torch.device("meta"):
        u0, u1, v = unet(0), unet(1), vae()
        components = {
            "unet_v0_diffusers": ("unet/diffusion_pytorch_model (diffusers)", u0),
            "unet_v1_diffusers": ("unet/diffusion_pytorch_model (diffusers)", u1),
            "uvit_v0_original": ("uvit_v0.pth (thu-ml), float32", unet_to_original(u0)),
            "uvit_v1_original": ("uvit_v1.pth (thu-ml), float32", unet_to_original(u1)),
            "vae_diffusers": ("vae/diffusion_pytorch_model (diffusers, new attention names)", v),
            "vae_original": ("autoencoder_kl.pth", vae_to_original(v, 4)),
            "text_decoder_diffusers": ("text_decoder (lm_head tied to wte; may be absent or duplicated in the file)",
                                       text_decoder()),
            "clip_text": ('text_encoder (transformers 4 spelling; 5.x drops "text_model.")', clip_text()),
            "clip_vision": ("image_encoder", clip_vision()),
        }
    for name, (title, state) in components.items():
        # Buffers that some library versions register are no parameters.
        state = {k: t for k, t in state.items() if not k.endswith(("position_ids", ".attn.bias", ".masked_bias"))}
        total = sum(math.prod(t.shape) for t in state.values())
        with open(os.path.join(out, f"unidiffuser_keys_{name}.txt"), "w", encoding="utf-8") as f:
            f.write(f"# {title}: {len(state)} tensors, {total} elements\n")
            f.writelines(f"{k} {list(t.shape)}\n" for k, t in sorted(state.items()))
    print(f"wrote {len(components)} lists to {os.path.abspath(out)}")


if __name__ == "__main__":
    main()
